"""Clips that wait, and results that are kept, without any process: what is told, and what is forgotten first."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qinn.errors import ConfigError
from qinn.serving.app import _events
from qinn.serving.jobs import FullError, Job, Jobs, State
from qinn.serving.scoring import Clip, ScoringProcess, ScoringSettings, _stage, refusal_of
from qinn.serving.spool import Spool

from ..clip_scores import made_score


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    spool = Spool(tmp_path)
    yield Jobs(ScoringSettings(run=tmp_path), spool, waiting=1, workers=2)
    spool.close()


@pytest.mark.parametrize(("taken", "seconds"), [([30.0, 50.0], 80), ([3600.0], 120), ([], 20), ([0.01], 2)])
def test_who_is_sent_away_hears_when_all_before_him_will_be_done(jobs, taken, seconds):
    jobs._taken.extend(taken)
    for _ in range(3):
        jobs.reserve("a.mp4", None, None, None)
    # Three clips, two at a time, none of which is expected to take more than a minute.
    with pytest.raises(FullError, match=f"^3 clips are being scored or wait .* in {seconds} s") as refused:
        jobs.reserve("b.mp4", None, None, None)
    assert refused.value.seconds == seconds


def ended(jobs: Jobs, size: int, *, ago: float) -> Job:
    job = jobs.reserve("a.mp4", None, None, None)
    job.state, job.result, job.asked = State.DONE, bytes(size), time.monotonic() - ago
    return job


def test_the_results_longest_unasked_for_go_first_unless_they_are_watched(jobs, monkeypatch):
    monkeypatch.setattr("qinn.serving.jobs._MOST_KEPT", 1)
    watched, middle, last = (ended(jobs, 1, ago=ago) for ago in (30.0, 20.0, 10.0))
    watched.watchers = 1
    jobs._forget()
    assert list(jobs._jobs.values()) == [watched, last]
    assert middle.id not in jobs._jobs


def test_results_have_so_many_bytes_in_all(jobs, monkeypatch):
    monkeypatch.setattr("qinn.serving.jobs._MOST_BYTES", 10)
    kept = [ended(jobs, 6, ago=ago) for ago in (30.0, 20.0, 10.0)]
    jobs._forget()
    assert list(jobs._jobs.values()) == kept[2:]


class _Stubborn(type(Path())):
    """A file that cannot be removed, as on a disk that went read-only."""

    def unlink(self, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")


class _Scorer(ScoringProcess):
    """A process that scores at once; it counts how often it was ended."""

    def __init__(self) -> None:
        pass

    must_be_replaced = False
    memory = 0
    kills = 0

    def score(self, clip, tell):
        tell("reading", 0.5)
        return made_score()

    def kill(self):
        self.kills += 1

    def close(self):
        pass


def arrived(jobs: Jobs, path: type[Path]) -> Job:
    job = jobs.reserve("a.mp4", None, None, None)
    job.clip = replace(job.clip, path=path(job.clip.path))
    job.clip.path.write_bytes(b"a clip")
    jobs.submit(job)
    return job


def test_a_file_that_cannot_be_removed_costs_neither_result_nor_thread(jobs):
    said, scorer = [], _Scorer()
    jobs._log = said.append
    scored = arrived(jobs, _Stubborn)
    jobs._score(scorer, jobs._next(0))
    assert (scored.state, bool(scored.result), scored.stage, scored.share) == (State.DONE, True, "", None)
    unasked = arrived(jobs, _Stubborn)
    jobs.remove(unasked)
    assert said == ["a clip could not be removed: Permission denied"] * 2
    assert not jobs._running


def test_while_a_clip_is_kept_nothing_ends_the_process_that_scored_it(jobs, tmp_path, monkeypatch):
    scorer = _Scorer()
    jobs._processes[0], jobs.keep = scorer, tmp_path / "kept"
    jobs.keep.mkdir()
    job = arrived(jobs, Path)

    def keep(source, target):
        jobs.remove(job)

    monkeypatch.setattr("qinn.serving.jobs.shutil.move", keep)
    jobs._score(scorer, jobs._next(0))
    assert (scorer.kills, list(jobs.keep.iterdir())) == (0, [])
    assert not job.clip.path.exists()


def test_the_last_state_is_told_however_slow_the_reader_is(jobs):
    async def told() -> list[str]:
        job = arrived(jobs, Path)
        jobs._next(0)
        states = []
        async for event in _events(jobs, job):
            states.append(json.loads(event.partition("data: ")[2])["state"])
            if states == ["running"]:
                jobs._settle(job, State.DONE)
        return states

    assert asyncio.run(told()) == ["running", "done"]


def test_what_a_process_says_of_its_progress_is_a_share():
    assert [_stage(["decoding", share])[1] for share in (-1, 0.5, 7, None)] == [0.0, 0.5, 1.0, None]
    assert _stage(["x" * 99, None])[0] == "x" * 40


def test_a_refusal_calls_the_run_by_its_name_alone():
    clip = Clip(path=Path("/spool/1"), name="a.mp4")
    said = ConfigError("Run `/home/me/my-run` reads words; give them for `/spool/1`.")
    assert (
        refusal_of(said, clip, Path("/home/me/my-run")) == "Run `my-run` reads words; give them for `a.mp4`."
    )
    assert refusal_of(said, clip) is None
