"""Clips that wait, and results that are kept, without any process: what is told, and what is forgotten first."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qinn.errors import ConfigError
from qinn.serving.jobs import FullError, Job, Jobs, State
from qinn.serving.scoring import Clip, ScoringSettings, _stage, refusal_of
from qinn.serving.spool import Spool


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
