"""Several labels at once, from every layout that can hold them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qinn.data.importing import (
    CsdOptions,
    MfnOptions,
    MisaOptions,
    MmsaOptions,
    MultOptions,
    TableOptions,
    TaskOptions,
    import_data,
)
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError
from qinn.task import Task

MOSEI = ("happy=1", "sad=2", "anger=3", "surprise=4", "disgust=5", "fear=6")
EMOTIONS = TaskOptions("multilabel", labels=MOSEI)
"""The columns of CMU-MOSEI's `All Labels` after sentiment."""

INTENSITIES = np.array([[1.5, 0, 2 / 3, 0, 0, 0, 3], [-2, 1 / 3, 0, 0, 0, 0, 0]], np.float32)
PRESENT = [[0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]


def table(folder: Path, text: str, **options: Any) -> Store:
    (folder / "t.csv").write_text(text)
    np.save(folder / "sound.npy", np.ones((text.count("\n") - 1, 2)))
    given = {"task": TaskOptions("multilabel", labels=("happy", "sad")), **options}
    feature = f"audio={folder}/sound.npy"
    return import_data(
        folder / "t.csv", folder / "store", TableOptions(features=(feature,), **given), overwrite=True
    )


def mfn(folder: Path, labels: np.ndarray) -> Path:
    (folder / "files").mkdir()
    for split in ("train", "valid", "test"):
        with h5py.File(folder / "files" / f"audio_{split}.h5", "w") as file:
            file["d1"] = np.ones((len(labels), 2, 3))
        with h5py.File(folder / "files" / f"y_{split}.h5", "w") as file:
            file["d1"] = labels
    return folder / "files"


def test_columns_of_a_table_are_labels_and_empty_cells_are_not_known(tmp_path: Path) -> None:
    text = "id,happy,sad,label\na,1,0,2\nb,,0.5,1\nc,0,,0\nd,,,0\n"
    store = table(tmp_path, text)
    assert store.task == Task("multilabel", labels=("happy", "sad"))
    assert store.labels.tolist() == [[1, 0], [-1, 1], [0, -1], [-1, -1]]
    assert store.label_name == "happy, sad"
    notes = "; ".join(store.manifest["notes"])
    assert "present where its value is above 0, as CMU-MOSEI counts" in notes
    assert "2 labels of samples that have others are not known" in notes
    assert "1 of 4 samples has no label" in notes


def test_labels_may_be_called_otherwise_than_their_columns_and_be_words(tmp_path: Path) -> None:
    task = TaskOptions(
        "multilabel",
        labels=("glad=h", "sad"),
        label_map={"yes": 1, "no": 0, "0": 0, "2": 2},
        present_above=1,
        threshold=0.3,
    )
    store = table(tmp_path, "id,h,sad\na,yes,2\nb,no,0\n", task=task)
    assert store.labels.tolist() == [[0, 1], [0, 0]]
    assert (store.task.names, store.task.threshold) == (("glad", "sad"), 0.3)
    assert any("above 1" in note for note in store.manifest["notes"])


def test_emotions_of_mfn_lie_behind_sentiment(tmp_path: Path) -> None:
    store = import_data(mfn(tmp_path, INTENSITIES), tmp_path / "s", MfnOptions(task=EMOTIONS))
    assert store.labels.tolist() == PRESENT * 3
    assert store.manifest["label_range"] == [0, 1]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("happy", "sad"), "7 columns of labels, but option `labels` names 2 (happy,sad)"),
        (("happy=1", "sad"), "names 2 (happy=1,sad); give each as NAME=COLUMN"),
        (("happy=1", "sad=7"), "names 2 (happy=1,sad=7)"),
        (("happy=1", "sad=01"), "another for each"),
        (("1=2", "2=1", "x=y"), "names 3 (1=2,2=1,x=y)"),
    ],
)
def test_columns_that_are_not_clear_are_refused(labels: Any, reason: str, tmp_path: Path) -> None:
    source, task = mfn(tmp_path, INTENSITIES), TaskOptions("multilabel", labels=labels)
    with pytest.raises(ConfigError) as refused:
        import_data(source, tmp_path / "s", MfnOptions(task=task))
    assert reason in str(refused.value)
    with pytest.raises(ConfigError, match="`label_index` says where the one label of a sample lies"):
        import_data(source, tmp_path / "s", MfnOptions(task=task, label_index=1))


def test_one_hot_emotions_of_iemocap_are_present_or_absent(tmp_path: Path, pickled: Any) -> None:
    one_hot = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]])
    task = TaskOptions("multilabel", labels=("happy", "angry"))
    store = import_data(mfn(tmp_path, one_hot), tmp_path / "s", MfnOptions(task=task))
    assert store.labels.tolist() == [[0, 1], [1, 1]] * 3
    part = {name: np.ones((2, 3, 2)) for name in ("text", "audio", "vision")}
    content = {split: {**part, "labels": one_hot} for split in ("train", "valid", "test")}
    store = import_data(pickled(content), tmp_path / "t", MultOptions(task=task))
    assert store.labels.tolist() == [[0, 1], [1, 1]] * 3


def test_misa_samples_have_seven_labels(tmp_path: Path, pickled: Any) -> None:
    content = [
        ((["word"], np.ones((1, 2)), np.ones((1, 2))), row[None], f"v{number}[0]")
        for number, row in enumerate(INTENSITIES)
    ]
    options = MisaOptions(modalities=("audio", "vision"), task=EMOTIONS, split="train")
    store = import_data(pickled(content, "train.pkl"), tmp_path / "s", options)
    assert store.labels.tolist() == PRESENT
    assert not any("the first of" in note for note in store.manifest["notes"])


def test_a_sequence_of_labels_of_the_sdk_holds_all_emotions(tmp_path: Path) -> None:
    for name, values in (("All Labels", INTENSITIES), ("COVAREP", np.ones((2, 3)))):
        with h5py.File(tmp_path / f"{name.split()[0]}.csd", "w") as file:
            video = file.create_group(f"{name}/data/v")
            video["features"], video["intervals"] = values, np.array([[0.0, 1], [1, 2]])
    options = CsdOptions(features={"audio": str(tmp_path / "COVAREP.csd")}, task=EMOTIONS)
    store = import_data(tmp_path / "All.csd", tmp_path / "s", options)
    assert store.labels.tolist() == PRESENT


def test_keys_of_a_pickle_of_mmsa_are_labels(mmsa: Any, tmp_path: Path, pickled: Any) -> None:
    content = mmsa()
    for part in content.values():
        part["joy"] = np.abs(part["regression_labels"]) > 1
    task = TaskOptions("multilabel", labels=("joy", "positive=regression_labels"))
    store = import_data(pickled(content), tmp_path / "s", MmsaOptions(task=task))
    expected = np.concatenate([part["regression_labels"] for part in content.values()])
    np.testing.assert_array_equal(store.labels, np.stack([np.abs(expected) > 1, expected > 0], axis=1))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "multilabel"}, "needs the names of its labels"),
        ({"kind": "multilabel", "labels": ("a", "a")}, "must name each label once"),
        ({"kind": "multilabel", "labels": ("a=x", "b=x")}, "names `x` twice"),
        ({"kind": "multilabel", "labels": ("a=b", "b")}, "names `b` twice"),
        ({"kind": "multilabel", "labels": ("a", "b=")}, "says nothing behind `b=`"),
        ({"kind": "multilabel", "labels": ("a", "b"), "threshold": 0.0}, "between 0 and 1, but it is 0.0"),
        ({"kind": "multilabel", "labels": ("a", "b"), "scale": "mosi"}, "option `scale` says nothing"),
        (
            {"kind": "multilabel", "labels": ("a", "b"), "classes": ("x", "y")},
            "option `classes` says nothing",
        ),
        (
            {"kind": "multilabel", "labels": ("a", "b"), "drop_labels": ("9",)},
            "option `drop_label` says nothing",
        ),
        ({"labels": ("a", "b"), "scale": "mosi"}, "`labels` is one of a multi-label task"),
        ({"present_above": 1, "scale": "mosi"}, "`present_above` is one of a multi-label task"),
        (
            {"kind": "multilabel", "labels": ("a", "b"), "threshold": 1.5},
            "must be 0.0 or more and at most 1.0, but it is 1.5",
        ),
    ],
)
def test_options_that_say_nothing_of_the_task_are_refused(options: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        TaskOptions(**options).places()


def test_values_that_are_no_numbers_are_named_with_their_label(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"sample `b`.* has `much` for the label `sad` in column `happy, sad`"
    ):
        table(tmp_path, "id,happy,sad\na,1,0\nb,0,much\n")
    with pytest.raises((DataError, ConfigError), match="`sad`"):
        table(tmp_path, "id,happy\na,1\nb,0\n")
    with pytest.raises(ConfigError, match=r"threshold` must lie between 0 and 1"):
        table(
            tmp_path,
            "id,a,b\nx,1,0\n",
            task=TaskOptions("multilabel", labels=("a", "b"), threshold=1.0),
        )


def test_a_label_without_end_is_refused_and_one_that_is_not_known_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sample `b`.* has `inf` for the label `sad`.* no finite number"):
        table(tmp_path, "id,happy,sad\na,1,0\nb,0,inf\n")
    assert table(tmp_path, "id,happy,sad\na,1,0\nb,0,nan\n").labels.tolist() == [[1, 0], [0, -1]]


def test_labels_that_are_called_by_numbers_lie_where_it_is_said(tmp_path: Path) -> None:
    """A name that is its own place is a place all the same: `1=1,0=0` names columns 1 and 0, in this order."""
    labels = np.array([[1, 0], [1, 1]], np.float32)
    task = TaskOptions("multilabel", labels=("1=1", "0=0"))
    store = import_data(mfn(tmp_path, labels), tmp_path / "s", MfnOptions(task=task))
    assert store.task.names == ("1", "0")
    assert store.labels.tolist() == [[0, 1], [1, 1]] * 3


PLAIN = [f"{name}={column}" for name, column in (("third", 2), ("first", 0), ("last", 6))]


@pytest.mark.parametrize("layout", ["mfn", "mult", "misa", "csd"])
def test_every_label_is_that_of_its_own_column(layout: str, tmp_path: Path, pickled: Any) -> None:
    """Columns that differ from each other everywhere, so that one taken for its neighbour is seen."""
    columns = np.array([[1, 0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 0, 1, 0], [1, 0, 1, 1, 0, 1, 1]], np.float32)
    expected = columns[:, [2, 0, 6]].astype(int).tolist()
    task = TaskOptions("multilabel", labels=tuple(PLAIN))
    steps = np.ones((3, 2, 2))
    if layout == "mfn":
        store = import_data(mfn(tmp_path, columns), tmp_path / "s", MfnOptions(task=task))
    elif layout == "mult":
        part = {"audio": steps, "vision": steps, "text": steps, "labels": columns[:, :, None]}
        store = import_data(pickled({"train": part}), tmp_path / "s", MultOptions(task=task))
    elif layout == "misa":
        content = [
            ((["word"], np.ones((1, 2)), np.ones((1, 2))), row[None], f"v{n}[0]")
            for n, row in enumerate(columns)
        ]
        options = MisaOptions(modalities=("audio", "vision"), task=task, split="train")
        store = import_data(pickled(content, "train.pkl"), tmp_path / "s", options)
    else:
        for name, values in (("Labels", columns), ("COVAREP", np.ones((3, 2)))):
            with h5py.File(tmp_path / f"{name}.csd", "w") as file:
                video = file.create_group(f"{name}/data/v")
                video["features"] = values
                video["intervals"] = np.array([[0.0, 1], [1, 2], [2, 3]])
        features = {"audio": str(tmp_path / "COVAREP.csd")}
        store = import_data(tmp_path / "Labels.csd", tmp_path / "s", CsdOptions(features=features, task=task))
    assert store.labels.tolist()[:3] == expected


def test_the_columns_of_a_table_and_the_keys_of_a_pickle_are_not_exchanged(
    mmsa: Any, tmp_path: Path, pickled: Any
) -> None:
    text = "id,sad,other,happy\na,1,0,0\nb,0,1,1\nc,0,0,1\n"
    assert table(tmp_path, text).labels.tolist() == [[0, 1], [1, 0], [1, 0]]
    content = mmsa()
    for part in content.values():
        size = len(part["regression_labels"])
        part["joy"], part["fear"], part["rage"] = np.eye(3, dtype=int)[np.arange(size) % 3].T
    task = TaskOptions("multilabel", labels=("rage", "joy"))
    store = import_data(pickled(content), tmp_path / "m", MmsaOptions(task=task))
    first = np.arange(len(content["train"]["joy"])) % 3
    assert store.labels[: len(first)].tolist() == [[int(one == 2), int(one == 0)] for one in first]


def test_where_one_label_lies_is_refused_where_there_are_several(
    mmsa: Any, tmp_path: Path, pickled: Any
) -> None:
    reason = r"says where the one label of a sample lies.*`--labels NAME=PLACE"
    with pytest.raises(ConfigError, match=f"`label_column` {reason}"):
        table(tmp_path, "id,happy,sad\na,1,0\n", label_column="happy")
    content = mmsa()
    for part in content.values():
        part["joy"] = np.abs(part["regression_labels"]) > 1
    file = pickled(content)
    task = TaskOptions("multilabel", labels=("joy", "positive=regression_labels"))
    with pytest.raises(ConfigError, match=f"`label_key` {reason}"):
        import_data(file, tmp_path / "s", MmsaOptions(task=task, label_key="joy"))
    for name in ("Labels", "COVAREP"):
        with h5py.File(tmp_path / f"{name}.csd", "w") as written:
            video = written.create_group(f"{name}/data/v")
            video["features"], video["intervals"] = np.ones((2, 2)), np.array([[0.0, 1], [1, 2]])
    features = {"audio": str(tmp_path / "COVAREP.csd")}
    task = TaskOptions("multilabel", labels=("a", "b"))
    with pytest.raises(ConfigError, match=f"`label_column` {reason}"):
        import_data(
            tmp_path / "Labels.csd", tmp_path / "s", CsdOptions(features=features, task=task, label_column=1)
        )
