"""Stores with several labels per sample: written, read, divided, inspected and converted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.checking.inspection import inspect
from qinn.data.checking.verification import verify
from qinn.data.exporting import ConversionOptions, convert
from qinn.data.importing import TableOptions, TaskOptions, import_data
from qinn.data.stores.label_column import labelled_mask
from qinn.data.stores.manifest import task_from_json, task_to_json
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.subsets.division import SplitOptions, divide
from qinn.data.subsets.stratified_draw import hold_out
from qinn.errors import ArgumentError, DataError
from qinn.task import Task, refuse_labels

TASK = Task("multilabel", labels=("happy", "sad", "fear"), threshold=0.4)


def write(path: Path, labels: Any, splits: Any = "train", task: Task = TASK) -> Store:
    ids = [f"s{row}" for row in range(len(labels))]
    modalities = {"audio": Modality(2, "vector", "x@1")}
    with StoreWriter(path, name="s", task=task, modalities=modalities, layout="example") as writer:
        features = {"audio": np.random.default_rng(0).normal(size=(len(ids), 2))}
        writer.add_many(ids, features, splits=splits, labels=labels)
    return Store.open(path)


def drawn(size: int = 60) -> list[list[int | None]]:
    random = np.random.default_rng(0)
    states = (random.random((size, 3)) < [0.5, 0.3, 0.1]).astype(int).tolist()
    states[5][0] = None
    return states


def test_labels_come_back_as_they_were_and_version_2_says_so(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [[1, 0, None], None, [0, 0, 1], np.array([1, -1, 0])])
    assert store.labels.tolist() == [[1, 0, -1], [-1, -1, -1], [0, 0, 1], [1, -1, 0]]
    assert labelled_mask(store.labels).tolist() == [True, False, True, True]
    assert store.task == TASK
    assert store.manifest["version"] == 2
    assert store.manifest["label_range"] == [0, 1]
    store.verify()
    assert {check.outcome for check in verify(store).checks} == {"right"}


def test_stores_of_other_tasks_are_what_they_were(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [1.0, None], task=Task("regression", -3.0, 3.0, "mosi"))
    assert store.manifest["version"] == 1
    assert store.sha256 == "656a0aaf800f61c6eaa8d5bcf3b66801e73e31d2597defb1c1a5d60989c93a59"
    task = {"kind": "regression", "low": -3.0, "high": 3.0, "scale": "mosi", "classes": []}
    assert json.loads((tmp_path / "s" / "manifest.json").read_text())["task"] == task


def test_the_task_survives_json() -> None:
    for task in (TASK, Task("classification", classes=("a", "b"))):
        assert task_from_json(json.loads(json.dumps(task_to_json(task)))) == task


@pytest.mark.parametrize("labels", [[[1, 0]], [[1, 0, 2]], [1], ["abc"], [[0.5, 0, 0]]])
def test_labels_that_are_neither_0_nor_1_are_refused(labels: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Sample `s0` has the labels .* 0, 1 or None for each of happy, sad"):
        write(tmp_path / "s", labels)


def test_rare_labels_are_held_out_in_their_share(tmp_path: Path) -> None:
    labels = np.zeros((100, 2), int)
    labels[:50, 0] = 1
    labels[[3, 13, 23, 33, 43, 53, 60, 70, 80, 90], 1] = 1
    held = hold_out(labels, np.full(100, "", object), 0.2, seed=0)
    assert held.sum() == 20
    assert labels[held, 1].sum() == 2
    assert abs(labels[held, 0].sum() - 10) <= 1
    store = write(tmp_path / "s", labels.tolist(), task=Task("multilabel", labels=("a", "b")))
    division = divide(store, SplitOptions())
    assert all(counts["b"] for counts in division.labels.values())
    assert "a" in division.render()


def test_inspection_says_how_often_each_label_is_there(tmp_path: Path) -> None:
    labels = drawn()
    for row in labels:
        row[2] = 0
    labels[0][2] = 1
    found = inspect(write(tmp_path / "s", labels, ["train"] * 40 + ["test"] * 20))
    said = {finding.kind: finding for finding in found.findings}
    share = np.mean([row[1] for row in labels])
    assert f"sad {share:.1%}" in said["label-prevalence"].message
    assert "fear" in said["rare-label"].message
    assert "1 labels are not known" in said["partial-labels"].message
    assert "of test or in none" in said["constant-label-split"].message
    assert f"{sum(row[1] for row in labels)}" in found.render()


def test_a_subset_has_the_labels_of_its_samples(tmp_path: Path) -> None:
    labels = drawn()
    store = write(tmp_path / "s", labels, ["train"] * 30 + ["valid"] * 10 + ["test"] * 20)
    fold = fixed_fold(store)
    assert np.array_equal(np.asarray(fold.test.labels), store.labels[40:])
    assert fold.development.train.labelled.all()


def test_an_npz_file_makes_the_same_store_and_the_pickle_of_mmsa_is_refused(tmp_path: Path) -> None:
    store = write(tmp_path / "s", drawn(), ["train"] * 30 + ["valid"] * 10 + ["test"] * 20)
    report = convert(store, tmp_path / "s.npz", ConversionOptions())
    assert "--task multilabel --labels happy,sad,fear --threshold 0.4" in report.notes[0]
    options = TableOptions(
        task=TaskOptions("multilabel", labels=TASK.names, threshold=0.4),
        features=(f"audio={tmp_path}/s.npz:audio_features@audio_offsets",),
        split_column="split",
    )
    again = import_data(tmp_path / "s.npz", tmp_path / "t", options)
    assert again.labels.tolist() == store.labels.tolist()
    assert again.task == store.task
    with pytest.raises(
        ArgumentError, match=r"layout of MMSA has one score .* multi-label \(happy, sad, fear\)"
    ):
        convert(store, tmp_path / "s.pkl", ConversionOptions())


def test_tasks_that_cannot_be_are_refused() -> None:
    for names, reason in (((), "at least two"), (("a",), "of a single one"), (("a", "a"), "distinct")):
        with pytest.raises(ArgumentError, match=reason):
            Task("multilabel", labels=names)
    with pytest.raises(ArgumentError, match="`threshold` must lie between 0 and 1"):
        Task("multilabel", labels=("a", "b"), threshold=1.0)
    with pytest.raises(ArgumentError, match="A regression task has no labels and no threshold"):
        Task("regression", -1.0, 1.0, labels=("a", "b"))
    refuse_labels(Task("regression", -1.0, 1.0), "This", "leave it")
