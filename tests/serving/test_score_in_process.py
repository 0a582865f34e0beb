"""The process that scores: it loads once, says how far it is but not too often, and what the clip is to blame for."""

from types import SimpleNamespace

import pytest

from qinn.errors import ClipError
from qinn.serving import score_in_process

from ..clip_scores import made_score

JOB = {
    "path": "/x/1",
    "name": "a.mp4",
    "begin": 1.0,
    "end": None,
    "words": ["so", "good"],
    "max_seconds": 20.0,
}


class Scorer:
    name, tiers, task = "a run", {"text": "hash@1/words"}, SimpleNamespace(kind="regression")

    stages = ("decoding", "scoring")

    def __init__(self) -> None:
        self.given = {}
        self.error: Exception | None = None

    def score(self, path, *, progress, **given):
        self.given = {"path": path, **given}
        for share in range(100):
            progress("decoding", share / 100)
        progress("scoring", None)
        if self.error is not None:
            raise self.error
        return made_score()


@pytest.fixture
def scorer(monkeypatch):
    found = Scorer()
    loaded = []
    loader = SimpleNamespace(load=lambda folder, level: loaded.append((folder, level)) or found)
    monkeypatch.setattr(score_in_process, "ClipScorer", loader)
    about = score_in_process.do({"load": "some-run", "level": 0.8}, print)
    assert about == {
        "name": "a run",
        "tiers": {"text": "hash@1/words"},
        "kind": "regression",
        "stages": ("decoding", "scoring"),
    }
    assert loaded == [("some-run", 0.8)]
    return found


def test_a_clip_is_scored_as_it_was_asked_for(scorer):
    told = []
    assert score_in_process.do(JOB, told.append) == made_score().to_json()
    assert scorer.given["path"] == "/x/1"
    assert scorer.given["limits"].max_seconds == 20.0
    assert [scorer.given[name] for name in ("name", "begin", "end", "words")] == [
        "a.mp4",
        1.0,
        None,
        ["so", "good"],
    ]
    assert (told[0], told[-1]) == (["decoding", 0.0], ["scoring", None])
    assert len(told) < 20


def test_a_lack_of_memory_is_said_of_the_clip(scorer):
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        scorer.error = error
        with pytest.raises(ClipError, match=r"^`a\.mp4` needs more memory than there is"):
            score_in_process.do(JOB, print)
    scorer.error = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        score_in_process.do(JOB, print)
