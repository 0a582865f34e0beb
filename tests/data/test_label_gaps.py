"""Inspection finds the classes and labels of which a part of a data set tells nothing, and those alone."""

from pathlib import Path

import numpy as np
import pytest

from qinn.data.checking.inspection import inspect
from qinn.data.stores.label_gaps import label_gaps
from qinn.data.stores.manifest import Modality
from qinn.data.stores.store import Store, StoreWriter
from qinn.task import Task

SPLITS = ["train"] * 40 + ["valid"] * 20 + ["test"] * 20
CLASSES = Task("classification", classes=("bad", "fine", "good"))
LABELS = Task("multilabel", labels=("bad", "fine", "good"))
OF_GAPS = {f"{which}-{what}" for which in ("unseen", "absent", "unheld") for what in ("class", "label")} | {
    "constant-label",
    "constant-label-split",
}


def store(path: Path, task: Task, gone: dict[int, str]) -> Store:
    """A store in whose parts all three occur but those that are gone, number → splits."""
    generator = np.random.default_rng(0)
    features = list(generator.normal(size=(80, 2, 3)))
    classes = [
        next(one for one in (row % 3, (row + 1) % 3, (row + 2) % 3) if split not in gone.get(one, ""))
        for row, split in enumerate(SPLITS)
    ]
    labels = classes if task.kind == "classification" else np.eye(3, dtype=int)[classes].tolist()
    with StoreWriter(path, name="s", task=task, modalities={"text": Modality(3)}, layout="test") as writer:
        writer.add_many(
            [f"s{row:02d}" for row in range(80)], {"text": features}, splits=SPLITS, labels=labels
        )
    return Store.open(path)


@pytest.mark.parametrize("task", [CLASSES, LABELS], ids=["class", "label"])
@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ({}, {}),
        ({2: "train"}, {"unseen": "error"}),
        ({2: "train valid"}, {"unseen": "error"}),
        ({2: "train valid test"}, {"absent": "warning"}),
        ({2: "valid"}, {"unheld": "warning"}),
        ({1: "train", 2: "valid"}, {"unseen": "error", "unheld": "warning"}),
        ({2: "test"}, {}),
    ],
)
def test_what_no_part_says_is_found(task, gone, expected, tmp_path):
    kind = "class" if task.kind == "classification" else "label"
    found = {one.kind: one for one in inspect(store(tmp_path / "s", task, gone)).findings}
    said = {name: one.severity for name, one in found.items() if name in OF_GAPS - {"constant-label-split"}}
    assert said == {f"{which}-{kind}": severity for which, severity in expected.items()}
    for name in said:
        assert found[name].examples == (("fine",) if len(gone) > 1 and "unseen" in name else ("good",))


@pytest.mark.parametrize("task", [CLASSES, LABELS], ids=["class", "label"])
def test_what_training_has_throughout_is_an_error(task, tmp_path):
    everything = store(tmp_path / "s", task, {0: "train", 1: "train"})
    found = {one.kind: one for one in inspect(everything).findings}
    assert "train" in found["constant-label-split"].message
    assert found["constant-label-split"].severity == "error"


def test_one_class_throughout_is_found(tmp_path):
    throughout = {0: "train valid test", 1: "train valid test"}
    found = {one.kind for one in inspect(store(tmp_path / "s", CLASSES, throughout)).findings}
    assert {"constant-label", "absent-class"} <= found


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (Task("classification", classes=("bad", "good")), [0, -1, -1]),
        (Task("regression", -1.0, 1.0), [0.5, np.nan, np.nan]),
    ],
)
def test_a_single_label_is_not_that_of_every_sample(task, labels):
    assert label_gaps(np.array(labels), task).every == ()
    assert label_gaps(np.array([labels[0], *labels]), task).every != ()


def test_what_is_not_known_of_a_label_is_neither_present_nor_absent():
    found = label_gaps(np.array([[1, 0, -1], [-1, -1, -1], [1, 1, 0]]), LABELS)
    assert (found.none, found.every) == (("good",), ("bad",))
