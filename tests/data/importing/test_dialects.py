"""A table is read whatever divides its cells, with a header or without one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.files.arrays import open_arrays
from qinn.data.importing import TableOptions, TaskOptions, import_data
from qinn.data.importing.folds import read_folds
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError

ROWS = [
    ("video", "clip", "label", "said", "mode"),
    ("v_0", "0001", "0.8", "so, so; fine", "train"),
    ("v_0", "0002", "-0.2", "well, well, well", "valid"),
    ("v_1", "0001", "0.0", "a\tb, c, d", "test"),
]
"""The table of all tests; what is said holds all three delimiters."""
KEYS: dict[str, Any] = {
    "id_columns": ("video", "clip"),
    "split_column": "mode",
    "text_column": "said",
    "task": TaskOptions(scale="sims"),
}


def written(file: Path, delimiter: str, rows: list[tuple[str, ...]], quoted: bool = True) -> Path:
    """Write a table; cells that hold its delimiter are quoted."""
    lines = [
        delimiter.join(f'"{cell}"' if delimiter in cell and quoted else cell for cell in row) for row in rows
    ]
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return file


def load(table: Path, **options: Any) -> Store:
    np.save(table.parent / "v.npy", np.arange(6.0).reshape(3, 2))
    return import_data(
        table,
        table.parent / "store",
        TableOptions(features=(f"audio={table.parent}/v.npy",), **(KEYS | options)),
        overwrite=True,
    )


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_divided_by_anything_make_the_same_store(delimiter: str, name: str, tmp_path: Path) -> None:
    store = load(written(tmp_path / name, delimiter, ROWS))
    rows = store.table.to_pylist()
    assert [row["id"] for row in rows] == ["v_0_0001", "v_0_0002", "v_1_0001"]
    assert [row["text"] for row in rows] == [row[3] for row in ROWS[1:]]
    assert [row["split"] for row in rows] == ["train", "valid", "test"]
    assert store.labels.tolist() == [0.8, -0.2, 0.0]
    own = {"t.csv": ",", "t.tsv": "\t"}[name] == delimiter
    said = {",": "commas", ";": "semicolons", "\t": "tabs"}[delimiter]
    assert (f"the cells of `{name}` are divided by {said}" in store.manifest["notes"]) is not own


def test_commas_in_unquoted_sentences_do_not_divide_a_table_of_semicolons(tmp_path: Path) -> None:
    rows = [("id", "label", "said, as heard, by hand, later"), ("a", "0.5", "no, no, no"), ("b", "0", "x")]
    store = load(
        written(tmp_path / "t.csv", ";", [*rows, ("c", "1", "y")]),
        id_columns=("id",),
        split_column=None,
        text_column="said, as heard, by hand, later",
    )
    assert store.strings("text").tolist() == ["no, no, no", "x", "y"]


def test_of_two_that_fit_what_divides_rows_into_more_cells_is_taken(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id;label;said, heard\na;0.5;no, no\nb;0;x, y\nc;1;z, z\n")
    store = load(tmp_path / "t.csv", id_columns=("id",), split_column=None, text_column="said, heard")
    assert store.strings("text").tolist() == ["no, no", "x, y", "z, z"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_without_a_header_is_read_by_the_names_of_its_columns(delimiter: str, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", delimiter, ROWS[1:])
    store = load(table, columns=ROWS[0])
    assert store.strings("id").tolist() == ["v_0_0001", "v_0_0002", "v_1_0001"]
    assert store.labels.tolist() == [0.8, -0.2, 0.0]


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        (
            ROWS[1:],
            {},
            "of which `0001` is a number; if the first line is a sample already, name the columns",
        ),
        ([("a", "0.5", "0.5", "x", "train")], {}, "two columns `0.5`; rename one, or if the first line is"),
        (ROWS, {"columns": ROWS[0]}, "names `clip` itself; leave the option out"),
        (ROWS[1:], {"columns": ("id", "label")}, "line 1 has 5 fields, but 2 columns are named"),
        (ROWS[1:], {"columns": ("id", "id", "label", "said", "mode")}, "two columns `id`"),
    ],
)
def test_a_header_that_is_missing_or_there_is_named(
    rows: list[tuple[str, ...]], options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=reason):
        load(written(tmp_path / "t.csv", ",", rows), **options)
    assert not (tmp_path / "store").exists()


def test_columns_of_what_names_its_own_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", id=np.array(["a", "b", "c"]), label=np.zeros(3))
    with pytest.raises(ConfigError, match="names its own; leave it out"):
        load(tmp_path / "t.npz", columns=("id", "label"))


def test_lists_of_splits_and_tables_of_a_clip_are_divided_alike(tmp_path: Path) -> None:
    folds = written(tmp_path / "folds.csv", ";", [("video", "split"), ("a", "train"), ("b", "dev")])
    assert read_folds(folds) == {"a": "train", "b": "valid"}
    clip = written(tmp_path / "clip.csv", "\t", [("f, 0", "g, 1"), ("1", "2"), ("3", "4")])
    with open_arrays(clip) as arrays:
        assert arrays.array("").tolist() == [[1, 2], [3, 4]]
