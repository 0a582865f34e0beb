"""Whether a modality is there may tell the label, and words may lie where no sound does: both are found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.checking.informative_absence import LEVEL, informative_absence, p_of_absence
from qinn.data.checking.inspection import inspect
from qinn.data.checking.word_places import segments, word_spans, word_times
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.task import Task

SCORES = Task("regression", -3.0, 3.0, "mosi")
CLASSES = Task("classification", classes=("sad", "glad"))
SIZE = 120


def written(
    path: Path, there: dict[str, np.ndarray], labels: Any, task: Task = SCORES, **columns: list[str]
) -> Store:
    """A store whose modalities are there where it is said."""
    modalities = {"sound": Modality(1), **{name: Modality(1) for name in there}}
    with StoreWriter(path, name="s", task=task, modalities=modalities, layout="test") as writer:
        features: dict[str, Any] = {"sound": [np.full((2, 1), row) for row in range(len(labels))]}
        features |= {
            name: [np.full((1, 1), row) if one else None for row, one in enumerate(some)]
            for name, some in there.items()
        }
        writer.add_many([f"c{row}" for row in range(len(labels))], features, labels=list(labels), **columns)
    return Store.open(path)


def halves(seed: int = 0) -> tuple[np.random.Generator, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator, generator.random(SIZE) < 0.6


@pytest.mark.parametrize("task", [SCORES, CLASSES], ids=["scores", "classes"])
def test_presence_that_goes_with_the_label_is_found_and_other_presence_is_not(task, tmp_path):
    generator, face = halves()
    noise = generator.random(SIZE) < 0.7
    scores = np.clip(generator.normal(size=SIZE) + 1.5 * face, -3, 3)
    labels = scores if task is SCORES else (scores > 0.75).astype(int).tolist()
    (found,) = informative_absence(written(tmp_path / "s", {"face": face, "noise": noise}, labels, task))
    assert found.kind == "informative-absence"
    assert found.message.startswith("Whether face is there tells the label")
    assert "corrected for 2 modalities" in found.message
    assert found.count == (~face).sum()


def test_the_inspection_has_the_finding(tmp_path):
    _, face = halves()
    store = written(tmp_path / "s", {"face": face}, np.where(face, 1.0, -1.0))
    assert "informative-absence" in {finding.kind for finding in inspect(store).findings}


def test_presence_that_goes_with_the_split_alone_is_no_finding(tmp_path):
    # Labels and presence both differ between splits, and within one they have nothing to do with each other.
    generator = np.random.default_rng(3)
    splits = ["train"] * (SIZE // 2) + ["test"] * (SIZE // 2)
    early = np.arange(SIZE) < SIZE // 2
    face = generator.random(SIZE) < np.where(early, 0.9, 0.3)
    labels = np.clip(generator.normal(size=SIZE) * 0.3 + 1.5 * early, -3, 3)
    assert list(informative_absence(written(tmp_path / "a", {"face": face}, labels, splits=splits))) == []
    assert len(list(informative_absence(written(tmp_path / "b", {"face": face}, labels)))) == 1


def test_what_few_samples_lack_or_have_is_not_tested(tmp_path):
    face = np.arange(SIZE) >= 4
    store = written(tmp_path / "s", {"face": face}, np.where(face, 1.0, -1.0))
    assert list(informative_absence(store)) == []


@pytest.mark.parametrize("grouped", [False, True])
def test_the_level_holds_where_there_is_nothing_to_find(grouped, monkeypatch):
    monkeypatch.setattr("qinn.data.checking.informative_absence._MOST_DRAWS", 999)
    # Whole groups share label and presence: taken one by one, their samples would look like evidence.
    generator = np.random.default_rng(5)
    nothing, rejected, trials = np.full(SIZE, ""), 0, 200
    for _ in range(trials):
        owner = np.repeat(np.arange(24), SIZE // 24) if grouped else np.arange(SIZE)
        there = (generator.random(owner.max() + 1) < 0.5)[owner]
        targets = generator.normal(size=owner.max() + 1)[owner][:, None]
        groups = np.array([f"g{one}" for one in owner]) if grouped else nothing
        rejected += p_of_absence(there, targets, nothing, groups) <= 10 * LEVEL
    # 200 trials at a level of 10 %: beyond 35 with a probability of 0.1 %.
    assert rejected <= 35


def spoken(
    path: Path, moved: float = 0.0, spans: Any = None, text: str = "so good a film", **extra: Any
) -> Store:
    """Twenty clips of four words and a second of sound, with words moved in time."""
    generator = np.random.default_rng(0)
    modalities = {"text": Modality(1), "audio": Modality(1)}
    said = np.array([0.1, 0.3, 0.6, 0.8]) + 0.0
    with StoreWriter(path, name="s", task=SCORES, modalities=modalities, layout="test") as writer:
        writer.add_many(
            [f"c{row}" for row in range(20)],
            {
                "text": [generator.normal(size=(4, 1)) for _ in range(20)],
                "audio": [generator.normal(size=(51, 1)) for _ in range(20)],
            },
            labels=[row / 10 for row in range(20)],
            texts=[text] * 20,
            spans={"text": [np.array(spans or [[0, 2], [3, 7], [8, 9], [10, 14]])] * 20},
            times={"text": [said + moved] * 20, "audio": [np.linspace(0, 1, 51)] * 20},
            **extra,
        )
    return Store.open(path)


def test_words_within_the_sound_are_no_finding(tmp_path):
    store = spoken(tmp_path / "s")
    assert [*word_times(store), *word_spans(store), *segments(store)] == []


@pytest.mark.parametrize(
    ("moved", "said"),
    [(0.5, "shifted by +0.45 s"), (0.9, r"shifted by \+0.85 s"), (700.0, "longer recording")],
)
def test_words_shifted_against_the_sound_are_found_with_the_shift(moved, said, tmp_path):
    (found,) = word_times(spoken(tmp_path / "s", moved))
    assert found.kind == "words-shifted"
    assert "in 20 of 20 samples" in found.message
    assert said.replace("\\", "") in found.message


@pytest.mark.parametrize(
    ("kind", "spans", "text"),
    [
        ("text-cut", [[0, 2], [3, 7], [8, 9], [10, 14]], "so good a film and more"),
        ("spans-out-of-order", [[3, 7], [0, 2], [8, 9], [10, 14]], "so good a film"),
        ("spans-overlap", [[0, 4], [3, 7], [8, 9], [10, 14]], "so good a film"),
    ],
)
def test_places_of_words_that_do_not_fit_the_transcript_are_found(kind, spans, text, tmp_path):
    (found,) = word_spans(spoken(tmp_path / "s", spans=spans, text=text))
    assert (found.kind, found.count) == (kind, 20)


def test_pieces_of_one_letter_and_a_full_stop_behind_the_last_word_are_no_finding(tmp_path):
    spans = [[0, 2], [3, 7], [3, 7], [10, 14]]
    assert list(word_spans(spoken(tmp_path / "s", spans=spans, text="so good a film … !"))) == []


@pytest.mark.parametrize(
    ("kind", "starts", "ends", "count"),
    [
        (
            "segments-overlap",
            [5.0 * row - (row == 3) for row in range(20)],
            [5.0 * row + 5 for row in range(20)],
            1,
        ),
        (
            "segment-order",
            [5.0 * row for row in range(20)],
            [5.0 * row + 5 * (row != 7) for row in range(20)],
            1,
        ),
        ("steps-beyond-end", [5.0 * row for row in range(20)], [5.0 * row + 0.5 for row in range(20)], 20),
    ],
)
def test_intervals_of_clips_that_cannot_be_are_found(kind, starts, ends, count, tmp_path):
    store = spoken(tmp_path / "s", groups=["v"] * 20, extra={"start": starts, "end": ends})
    found = {one.kind: one for one in segments(store)}
    assert found[kind].count == count
    assert set(found) - {kind} <= {"steps-beyond-end"}
