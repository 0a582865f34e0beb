"""What is cheap to check is checked before anything is encoded or read, and all of it is said at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.importing import CsdOptions, MisaOptions, MmsaOptions, TableOptions, TaskOptions, import_data
from qinn.data.importing.transcripts import Deferred
from qinn.errors import ConfigError, DataError
from qinn.face import importing

MOSI = TaskOptions(scale="mosi")


def never() -> Any:
    raise AssertionError("the encoder was loaded before the checks")


UNTOUCHED = Deferred(never)


def written(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return folder / "t.csv"


def refusal(source: Path, options: Any, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as refused:
        import_data(source, source.parent / "s", options, encoder=UNTOUCHED)
    assert not (source.parent / "s").exists()
    return str(refused.value)


def test_ids_splits_and_labels_are_all_said_before_a_text_is_encoded(tmp_path):
    rows = [
        "a,good,1,train",
        "b,bad,-9,train",
        "c,so,zero,tests",
        "a,so,0,test",
        ",x,4,valid",
        "c,y,nan,valid",
    ]
    source = written(tmp_path, "\n".join(["id,text,label,split", *rows]) + "\n")
    said = refusal(source, TableOptions(task=MOSI, text_column="text", split_column="split"))
    assert said.startswith("3 things are wrong. (1) 2 things are wrong. (1) ")
    for part in (
        "line 6 has no id",
        "line 5 has the id `a`, which",
        "The same is wrong at 1 more",
        "the split `tests`",
        "the label `zero`",
        "the label -9",
    ):
        assert part in said


def test_columns_that_are_not_there_are_all_named(tmp_path):
    source = written(tmp_path, "name,note,y\na,x,1\n")
    options = TableOptions(
        task=MOSI, text_column="text", group_column="who", split_column="part", extra_columns=("e",)
    )
    said = refusal(source, options, ConfigError)
    for column in ("id", "label", "text", "who", "part", "e"):
        assert f"has no column `{column}`" in said
    assert said.count("has no column") == 6


def test_files_of_features_that_are_not_there_are_said_beside_labels(tmp_path):
    source = written(tmp_path, "id,text,label\na,x,5\nb,y,0\n")
    (tmp_path / "audio").mkdir()
    np.save(tmp_path / "audio" / "a.npy", np.ones(3))
    options = TableOptions(task=MOSI, text_column="text", features=(f"audio={tmp_path}/audio/",))
    said = refusal(source, options)
    assert "the label 5" in said
    assert "no features for sample `b`" in said


def test_a_duplicate_in_the_last_row_comes_before_the_encoder(tmp_path):
    source = written(
        tmp_path, "id,text,label\n" + "".join(f"a{row},so,0\n" for row in range(40)) + "a0,so,0\n"
    )
    with pytest.raises(DataError, match=r"line 42 has the id `a0`, which .* line 2 has already") as refused:
        importing.import_data(
            source, tmp_path / "s", scale="sims", text_column="text", encode_text="folder:nowhere"
        )
    assert "nowhere" not in str(refused.value)


def test_duplicates_of_pickles_come_before_the_encoder(mmsa, misa, pickled):
    content = mmsa()
    content["test"]["id"][4] = content["train"]["id"][0]
    said = refusal(pickled(content), MmsaOptions(text_source="encode"))
    assert f"has the id `{content['train']['id'][0]}`" in said
    content = mmsa()
    content["valid"]["regression_labels"][[0, 2]] = 7
    content["test"]["id"][4] = content["test"]["id"][0]
    said = refusal(pickled(content), MmsaOptions(text_source="encode", task=MOSI))
    assert said.startswith("2 things are wrong.")
    assert "the label 7" in said
    twins = misa(size=4)
    twins[3] = (*twins[3][:2], twins[0][2])
    assert "which" in refusal(pickled(twins), MisaOptions())


@pytest.mark.parametrize("task", [MOSI, TaskOptions("classification", label_map={"1": "a"})])
def test_labels_that_share_a_mistake_are_counted_and_placed(task, tmp_path):
    source = written(
        tmp_path, "id,text,label\n" + "".join(f"a{row},so,{1 + 8 * (row > 2)}\n" for row in range(12))
    )
    said = refusal(source, TableOptions(task=task, text_column="text"))
    assert "The same is wrong at 8 more: " in said
    assert said.count("(sample `") == 5
    assert said.endswith(", ….")


def test_the_encoder_is_loaded_where_all_is_right(tmp_path, encoder):
    loads: list[int] = []

    def load() -> Any:
        loads.append(1)
        return encoder

    source = written(tmp_path, "id,text,label\na,so good,1\nb,x,0\n")
    store = import_data(
        source, tmp_path / "s", TableOptions(task=MOSI, text_column="text"), encoder=Deferred(load)
    )
    assert len(store) == 2
    assert loads == [1]


ZEROS = {
    "files": lambda folder: (
        [np.save(folder / "f" / f"{one}.npy", np.ones(2)) for one in (1, 2, 3)],
        f"a={folder}/f/",
    ),
    "named rows": lambda folder: (
        [np.savez(folder / "f.npz", x=np.ones((3, 2)), i=np.array([1, 2, 3]))],
        f"a={folder}/f.npz:x#i",
    ),
    "an array of ids beside": lambda folder: (
        [np.savez(folder / "f.npz", x=np.ones((3, 2)), id=np.array([3, 1, 2]))],
        f"a={folder}/f.npz:x",
    ),
    "numbers with a point": lambda folder: (
        [np.savez(folder / "f.npz", x=np.ones((3, 2)), id=np.array(["1.0", "2.0", "3.0"]))],
        f"a={folder}/f.npz:x#id",
    ),
}


@pytest.mark.parametrize("name", ZEROS)
def test_leading_zeros_that_one_side_lost_are_named(name, tmp_path):
    (tmp_path / "f").mkdir()
    _, feature = ZEROS[name](tmp_path)
    source = written(tmp_path, "id,label\n003,1\n001,0\n002,2\n")
    with pytest.raises(DataError, match=r"are one number, written otherwise.*lost leading zeros"):
        import_data(source, tmp_path / "s", TableOptions(task=MOSI, features=(feature,)))


def test_numbers_that_count_the_rows_are_no_ids_in_another_order(tmp_path):
    # The array says 1, 2, 3 and the table 003, 001, 002: rows in the order of the table would be others' features.
    np.savez(tmp_path / "f.npz", x=np.eye(3), id=np.array([1, 2, 3]))
    source = written(tmp_path, "id,label\n003,1\n001,0\n002,2\n")
    options = TableOptions(task=MOSI, features=(f"a={tmp_path}/f.npz:x",))
    with pytest.raises(DataError, match="lost leading zeros"):
        import_data(source, tmp_path / "s", options)
    source = written(tmp_path, "id,label\n001,1\n002,0\n003,2\n")
    assert len(import_data(source, tmp_path / "s", options)) == 3


def test_features_without_a_row_and_rows_in_order_are_noted(tmp_path):
    (tmp_path / "f").mkdir()
    for name in ("a", "b", "x", "y"):
        np.save(tmp_path / "f" / f"{name}.npy", np.ones(2))
    np.save(tmp_path / "v.npy", np.ones((2, 2)))
    np.savez(tmp_path / "n.npz", x=np.ones((3, 2)), i=np.array(["a", "b", "z"]))
    source = written(tmp_path, "id,label\na,1\nb,0\n")
    features = (f"files={tmp_path}/f/", f"rows={tmp_path}/v.npy", f"named={tmp_path}/n.npz:x#i")
    notes = import_data(source, tmp_path / "s", TableOptions(task=MOSI, features=features)).manifest["notes"]
    assert "2 files of `files` belong to no row of the table, as that of `x`" in notes
    assert "1 row of `named` belongs to no row of the table, as that of `z`" in notes
    assert "`rows`: rows were taken in the order of the table, which nothing in the file confirms" in notes


def test_layouts_with_options_alone_are_refused_as_before(tmp_path):
    with pytest.raises(ConfigError, match="Labels alone make no store"):
        import_data(tmp_path / "a.csd", tmp_path / "s", CsdOptions())


def test_columns_that_stand_for_nothing_are_noted_with_what_they_look_like(tmp_path):
    source = written(tmp_path, "id,label,mode,speaker,mood,f1,f2\na,1,train,p,x,1,2\nb,,test,q,y,3,4\n")
    options = TableOptions(task=MOSI, features=("audio=:f*",))
    notes = import_data(source, tmp_path / "s", options).manifest["notes"]
    said = "3 columns of the table were not used: `mode`, `speaker`, `mood` (perhaps meant: --split-column mode, "
    assert any(note.startswith(said.replace("--", "`--").replace("mode, ", "mode`, ")) for note in notes)
    assert "1 of 2 samples has no label" in notes


def test_a_scale_that_nobody_stated_is_noted(mmsa, misa, pickled, encoder, tmp_path):
    store = import_data(pickled(mmsa()), tmp_path / "a", MmsaOptions())
    assert "the scale of the labels was found to be mosi, [-3, 3]" in store.manifest["notes"]
    store = import_data(pickled(misa(), "train.pkl"), tmp_path / "b", MisaOptions(), encoder=encoder)
    assert any("taken to be on the scale mosi" in note for note in store.manifest["notes"])
    stated = MisaOptions(task=TaskOptions(low=-3, high=3))
    store = import_data(pickled(misa(), "train.pkl"), tmp_path / "c", stated, encoder=encoder)
    assert not any("scale" in note for note in store.manifest["notes"])
