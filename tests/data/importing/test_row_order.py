"""Arrays that carry the table's ids in another order are matched by them or refused, never taken by row."""

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from qinn.data.importing import TableOptions, TaskOptions, import_data
from qinn.data.stores.store import Store
from qinn.errors import DataError

IDS = [f"i{row}" for row in range(6)]
VALUES = np.arange(6, dtype="f4")[:, None] * np.ones((1, 2), "f4")
BACK = slice(None, None, -1)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [f"{name},{row / 3 - 1:.2f},s{row % 3}" for row, name in enumerate(IDS)]
    (tmp_path / "c.csv").write_text("\n".join(["id,label,who", *lines]) + "\n")
    return tmp_path


def load(table: Path, feature: str, **options) -> Store:
    found = TableOptions(
        task=TaskOptions(scale="mosi"), features=(feature.replace("@@", str(table)),), **options
    )
    return import_data(table / "c.csv", table / "store", found, overwrite=True)


def write_npz(folder: Path, **arrays: object) -> str:
    np.savez(folder / "f.npz", **arrays)
    return "a=@@/f.npz:a"


def write_h5(folder: Path, **arrays: np.ndarray) -> str:
    with h5py.File(folder / "f.h5", "w") as file:
        for key, values in arrays.items():
            file[f"group/{key}"] = values.astype("S") if values.dtype.kind == "U" else values
    return "a=@@/f.h5:group/a"


def offsets(folder: Path, names: list[str]) -> str:
    """Sequences of one, two … steps, cut by offsets, in the order of the names."""
    rows = [IDS.index(name) for name in names]
    steps = np.concatenate([np.full((row + 1, 2), row, "f4") for row in rows])
    bounds = np.cumsum([0, *(row + 1 for row in rows)])
    return write_npz(folder, a=steps, o=bounds, utterance=np.array(names)) + "@o"


def padded(folder: Path, names: list[str]) -> str:
    """(samples, time, features) with lengths, and the names as bytes in a column."""
    rows = [IDS.index(name) for name in names]
    values = np.stack([np.full((3, 2), row, "f4") for row in rows])
    return write_h5(folder, a=values, n=np.full(6, 2), ids=np.array(names)[:, None]) + "@group/n"


def rows(names: list[str]) -> np.ndarray:
    return VALUES[[IDS.index(name) for name in names]]


CARRIERS: dict[str, Callable[[Path, list[str]], str]] = {
    "npz": lambda folder, names: write_npz(folder, id=np.array(names), a=rows(names)),
    "npz, bytes by another name": lambda folder, names: write_npz(
        folder, who=np.array(names, "S"), a=rows(names)
    ),
    "npz, objects as pandas gives them": lambda folder, names: write_npz(
        folder, id=np.array(names, object), a=rows(names)
    ),
    "npz, one row": lambda folder, names: write_npz(folder, id=np.array(names)[None], a=rows(names)),
    "npz, offsets": offsets,
    "HDF5": lambda folder, names: write_h5(folder, segments=np.array(names), a=rows(names)),
    "HDF5, padded": padded,
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_ids_in_another_order_are_matched_and_said(carrier: str, table: Path) -> None:
    store = load(table, CARRIERS[carrier](table, IDS[BACK]))
    first = [float(store.values("a")[start, 0]) for start in store.offsets("a")[:-1]]
    assert first == list(range(6))
    assert "which has the ids in another order" in "".join(store.manifest["notes"])


@pytest.mark.parametrize("carrier", CARRIERS)
def test_ids_in_the_same_order_are_remembered(carrier: str, table: Path) -> None:
    store = load(table, CARRIERS[carrier](table, IDS))
    assert [float(store.values("a")[start, 0]) for start in store.offsets("a")[:-1]] == list(range(6))
    assert "confirms the order of the rows" in "".join(store.manifest["notes"])


@pytest.mark.parametrize("kind", ["npz", "HDF5"])
def test_ids_of_other_samples_among_those_of_the_table_are_refused(kind: str, table: Path) -> None:
    write = write_npz if kind == "npz" else write_h5
    feature = write(table, id=np.array([*IDS[1:], "other"]), a=VALUES)
    with pytest.raises(
        DataError, match=r"names samples of the table, but also `other`; .*FILE:ARRAY#(group/)?id"
    ):
        load(table, feature)


def test_an_id_that_occurs_twice_is_refused(table: Path) -> None:
    feature = write_npz(table, id=np.array([*IDS[:5], "i0"]), a=VALUES)
    with pytest.raises(DataError, match="it names sample `i0` twice, in rows 1, 6"):
        load(table, feature)


WRITINGS: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "a space behind": lambda name: name + " ",
    "a folder before": lambda name: "clip/" + name,
    "a suffix": lambda name: name + ".wav",
    "other names": lambda name: f"x{ord(name[1])}",
}


@pytest.mark.parametrize(
    ("writing", "key"),
    # Nothing says that other names in an array `who` are names.
    [
        (writing, key)
        for writing in WRITINGS
        for key in ("id", "who")
        if (writing, key) != ("other names", "who")
    ],
)
def test_ids_written_otherwise_are_refused(writing: str, key: str, table: Path) -> None:
    names = np.array([WRITINGS[writing](name) for name in IDS[BACK]])
    feature = write_npz(table, **{key: names}, a=VALUES[BACK])
    with pytest.raises(
        DataError, match=rf"array `{key}`, which calls its rows otherwise .* or leave `{key}` out of the file"
    ):
        load(table, feature)
    assert not (table / "store").exists()


@pytest.mark.parametrize(
    "names",
    [
        np.arange(6),
        np.arange(1, 7),
        np.arange(6.0),
        np.array(list("012345")),
        np.array(["v", "v", "v", "w", "w", "w"]),
    ],
    ids=["numbers", "from 1", "floats", "text", "videos"],
)
def test_numbers_of_rows_and_names_of_videos_are_no_ids(names: np.ndarray, table: Path) -> None:
    store = load(table, write_npz(table, name=names, a=VALUES))
    assert store.values("a")[:, 0].tolist() == list(range(6))


@pytest.mark.parametrize(
    "ids",
    [
        np.array([{"name": name} for name in IDS]),
        np.array([[name] for name in IDS[:5]] + [[]], object),
        np.array([(name, 1) for name in IDS], "U4,i4"),
        np.array([[name, "0"] for name in IDS]),
    ],
    ids=["dicts", "lists", "records", "pairs"],
)
@pytest.mark.parametrize("said", ["", "#id"])
def test_ids_that_cannot_be_read_are_refused(ids: np.ndarray, said: str, table: Path) -> None:
    with pytest.raises(DataError, match=r"f\.npz:id` (holds Python objects .*astype\(str\)|must )"):
        load(table, write_npz(table, id=ids, a=VALUES) + said)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("#id", "names none of the table's samples (`x0`, where the table has `i0`)"),
        ("#id+turn", "names 5 samples, but"),
        ("#twice", "names sample `i1` twice"),
    ],
)
def test_ids_that_name_no_sample_are_refused_where_samples_may_be_absent(
    said: str, message: str, table: Path
) -> None:
    others = np.array([f"x{row}" for row in range(6)])
    twice = np.array(["i1", *IDS[1:]])
    np.save(table / "v.npy", VALUES)
    feature = write_npz(table, id=others, turn=np.arange(5), twice=twice, a=VALUES)
    options = TableOptions(
        task=TaskOptions(scale="mosi"),
        features=(f"v={table}/v.npy", feature.replace("@@", str(table)) + said),
        absent_features="allow",
    )
    with pytest.raises(DataError, match=re.escape(message)):
        import_data(table / "c.csv", table / "store", options)


def test_columns_of_a_table_may_be_objects(table: Path) -> None:
    labels = np.array([0.5, 1, None, -1, 0, 2], object)
    who = np.array(["s0", float("nan"), None, "s1", "s1", "s1"], object)
    np.savez(table / "t.npz", id=np.array(IDS, object), label=labels, who=who)
    np.save(table / "v.npy", VALUES)
    options = TableOptions(task=TaskOptions(scale="mosi"), features=(f"v={table}/v.npy",), group_column="who")
    store = import_data(table / "t.npz", table / "store", options)
    assert store.strings("id").tolist() == IDS
    assert store.strings("group").tolist() == ["s0", "", "", "s1", "s1", "s1"]
    assert np.isnan(store.labels).tolist() == [False, False, True, False, False, False]


def test_the_remedy_for_another_number_of_samples_names_the_array(table: Path) -> None:
    feature = write_npz(table, a=VALUES[:4], names=np.array(IDS[3::-1]))
    with pytest.raises(DataError, match="match them by `names`, as in FILE:ARRAY#names"):
        load(table, feature)
    store = load(table, f"{feature}#names", absent_features="allow", empty="drop")
    assert store.values("a")[:, 0].tolist() == [3, 2, 1, 0]


def test_whole_numbers_are_ids_only_where_they_are_called_so(table: Path) -> None:
    (table / "c.csv").write_text("id,label\n" + "".join(f"{row},0.5\n" for row in range(6)))
    back = np.arange(6)[BACK]
    assert load(table, write_npz(table, rank=back, a=VALUES)).values("a")[:, 0].tolist() == list(range(6))
    assert load(table, write_npz(table, ids=back, a=VALUES[BACK])).values("a")[:, 0].tolist() == list(
        range(6)
    )


def test_words_of_transcripts_are_matched_too(table: Path) -> None:
    words = np.array([f"word{name}" for name in IDS[BACK]])
    np.savez(table / "w.npz", words=words, o=np.arange(7), id=np.array(IDS[BACK]))
    np.save(table / "v.npy", VALUES)
    store = load(table, "v=@@/v.npy", words=f"{table}/w.npz:words@o")
    assert store.strings("text").tolist() == [f"word{name}" for name in IDS]
    assert "rows were matched by the array `id`" in "".join(store.manifest["notes"])
