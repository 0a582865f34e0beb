"""A label that is no finite number: every reader names the sample and what to do in its kind of file."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.data.exporting.options import parse_lengths
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
from qinn.errors import ArgumentError, ConfigError, DataError
from qinn.experiment.absence_sweep import parse_rates

from .test_mult import mult

MOSI = TaskOptions(scale="mosi")


def mmsa(labels: list[Any]) -> dict[str, Any]:
    def part(name: str) -> dict[str, Any]:
        return {
            "id": [f"{name}$_${row}" for row in range(3)],
            "raw_text": ["a"] * 3,
            "text": np.ones((3, 2, 2), "f4"),
            "audio": np.ones((3, 2, 2), "f4"),
            "vision": np.ones((3, 2, 2), "f4"),
            "regression_labels": np.array(labels, "f4"),
            "classification_labels": np.array(labels, "f4"),
        }

    return {"train": part("train"), "valid": part("valid"), "test": part("test")}


def table(folder: Path, suffix: str) -> Path:
    columns = {"id": ["a", "b"], "label": [1.0, float("nan")]}
    path = folder / f"t{suffix}"
    if suffix == ".csv":
        path.write_text("id,label\na,1\nb,nan\n")
    elif suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        np.savez(path, **{key: np.array(values) for key, values in columns.items()})
    np.save(folder / "v.npy", np.ones((2, 2)))
    return path


@pytest.mark.parametrize("scale", [None, "mosi", "sims"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_mmsa_names_the_label_the_sample_and_the_split(scale, bad, pickled, tmp_path):
    path = pickled(mmsa([0.5, bad, 0.25]))
    with pytest.raises(DataError) as error:
        import_data(path, tmp_path / "s", MmsaOptions(task=TaskOptions(scale=scale)))
    message = str(error.value)
    assert f"[train] sample `train$_$1` has the label {bad} in `regression_labels`" in message
    assert f"--drop-label {bad}" in message
    assert "cell" not in message
    task = TaskOptions(scale=scale or "sims", drop_labels=(str(bad),))
    assert len(import_data(path, tmp_path / "s", MmsaOptions(task=task))) == 6


def test_mmsa_classes_are_no_nan(pickled, tmp_path):
    options = MmsaOptions(task=TaskOptions("classification"))
    with pytest.raises(
        DataError, match=r"sample `train\$_\$1` has the label nan in `classification_labels`, which is no"
    ):
        import_data(pickled(mmsa([0, np.nan, 1])), tmp_path / "s", options)


def test_mult_says_how_to_leave_the_sample_out(pickled, tmp_path):
    content = mult()
    content["train"]["labels"][1] = np.nan
    with pytest.raises(
        DataError, match=r"\[train\] sample `.*` has the label nan in `labels`.*`--drop-label nan`"
    ):
        import_data(pickled(content), tmp_path / "s", MultOptions(task=MOSI))


def test_misa_says_to_take_the_sample_out(pickled, tmp_path):
    sample = ((np.zeros(2), np.ones((2, 3)), np.ones((2, 3)), ["a", "b"]), np.array([[np.nan]], "f4"), "v[0]")
    options = MisaOptions(modalities=("audio", "vision"), task=MOSI)
    with pytest.raises(
        DataError, match=r"sample `v\[0\]` has the label nan .*take the sample out of the file"
    ):
        import_data(pickled([sample]), tmp_path / "s", options)


def test_mfn_says_to_take_the_sample_out(tmp_path):
    for name, values in (("audio_train", np.ones((2, 3, 2))), ("y_train", np.array([1.0, np.nan]))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"] = values
    with pytest.raises(
        DataError, match=r"sample `train-0001` has the label nan in the y files.*take the sample out"
    ):
        import_data(tmp_path, tmp_path / "s", MfnOptions(task=MOSI))


def test_csd_says_to_take_the_sample_out(tmp_path):
    for name, values in (("labels", np.array([[1.0], [np.nan]])), ("a", np.ones((2, 3)))):
        with h5py.File(tmp_path / f"{name}.csd", "w") as file:
            file[f"{name}/data/v/features"] = values
            file[f"{name}/data/v/intervals"] = np.array([[0.0, 1.0], [1.0, 2.0]])
    options = CsdOptions(features={"a": f"{tmp_path}/a.csd"}, task=MOSI)
    with pytest.raises(
        DataError, match=r"sample `v\[1\]` has the label nan .*take the sample out of the file"
    ):
        import_data(tmp_path / "labels.csd", tmp_path / "s", options)


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        (".csv", r"line 3 .*leave the cell empty"),
        (".parquet", r"row 2 .*make it null"),
        (".npz", r"row 2 .*make the column text, empty where a sample is unlabelled"),
    ],
)
def test_tables_say_what_is_unlabelled_in_their_kind(suffix, words, tmp_path):
    options = TableOptions(task=MOSI, features=(f"v={tmp_path}/v.npy",))
    with pytest.raises(DataError, match=words):
        import_data(table(tmp_path, suffix), tmp_path / "s", options)
    assert not (tmp_path / "s").exists()
    shutil.rmtree(tmp_path / "s", ignore_errors=True)


@pytest.mark.parametrize("cell", ["1_0", "1_5", "1_0.5", "١", "１", "0x1", "1e", "--1", "1 0"])
def test_what_only_python_takes_for_a_number_is_none(cell, tmp_path):
    (tmp_path / "t.csv").write_text(f"id,label\na,1\nb,{cell}\n", encoding="utf-8")
    np.save(tmp_path / "v.npy", np.ones((2, 2)))
    options = TableOptions(
        features=(f"v={tmp_path}/v.npy",), task=TaskOptions(scale="plain", low=0, high=100)
    )
    with pytest.raises(DataError, match=f"line 3 .* has the label `{cell}` in .*, which is not a number"):
        import_data(tmp_path / "t.csv", tmp_path / "s", options)
    with pytest.raises(ArgumentError, match="must be numbers"):
        parse_rates(f"0,{cell}")
    with pytest.raises(ConfigError, match="MODALITY=STEPS"):
        parse_lengths([f"a={cell}"])
    options = replace(options, task=TaskOptions("classification"))
    assert cell in import_data(tmp_path / "t.csv", tmp_path / "s", options).task.classes


@pytest.mark.parametrize(
    ("cell", "label"), [("+1", 1), (" 2.50 ", 2.5), ("1.", 1), (".5", 0.5), ("1E1", 10), ("-0", 0)]
)
def test_numbers_are_read_as_ever(cell, label, tmp_path):
    (tmp_path / "t.csv").write_text(f"id,label\na,{cell}\n", encoding="utf-8")
    np.save(tmp_path / "v.npy", np.ones((1, 2)))
    task = TaskOptions(scale="plain", low=0, high=100)
    options = TableOptions(features=(f"v={tmp_path}/v.npy",), task=task)
    assert import_data(tmp_path / "t.csv", tmp_path / "s", options).labels.tolist() == [label]
