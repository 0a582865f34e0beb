"""A table with features in any form becomes the same store, and what does not fit is refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.data.files import arrays as array_module
from qinn.data.importing import FeatureSpec, TableOptions, TaskOptions, TextOptions, import_data, parse_pairs
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError

MOSI = TaskOptions(scale="mosi")


def load(table: Path, *features: str, source: str = "t.csv", encoder: Any = None, **options: Any) -> Store:
    """Import the table of the fixture, with its folder in place of @@."""
    options.setdefault("task", MOSI)
    specs = tuple(spec.replace("@@", str(table)) for spec in features)
    return import_data(
        table / source,
        table / "stores" / "store",
        TableOptions(features=specs, **options),
        encoder=encoder,
        overwrite=True,
    )


def lengths(store: Store, modality: str) -> list[int]:
    return np.diff(store.offsets(modality)).tolist()


def test_columns_arrive_in_the_store_as_they_are(table: Path) -> None:
    store = load(
        table,
        "v=@@/v.npy",
        split_column="split",
        group_column="group",
        fold_column="fold",
        text_column="text",
        extra_columns=("score",),
    )
    rows = store.table.to_pylist()
    assert rows[1] == {
        "id": "b",
        "split": "valid",
        "label": -3.0,
        "group": "q",
        "fold": "1",
        "text": "one, two",
        "score": "8",
    }
    assert rows[2]["label"] is None
    assert store.manifest["layout"] == "table"
    assert [source["file"] for source in store.manifest["sources"]] == ["t.csv", "v.npy"]
    assert store.tiers["v"] == "v.npy"


@pytest.mark.parametrize(
    ("spec", "kind", "dim", "steps", "of_a", "of_d"),
    [
        ("v=@@/f.npz:vectors", "vector", 3, [1, 1, 1, 1], [[0, 1, 2]], [[9, 10, 11]]),
        ("v=@@/named.npz:vectors#id", "vector", 3, [1, 1, 1, 1], [[9, 10, 11]], [[0, 1, 2]]),
        ("v=@@/f.npz:vectors+scalar", "vector", 4, [1, 1, 1, 1], [[0, 1, 2, 0]], [[9, 10, 11, 3]]),
        ("v=@@/f.npz:scalar", "vector", 1, [1, 1, 1, 1], [[0]], [[3]]),
        ("v=@@/f.npz:steps@offsets", "sequence", 2, [3, 1, 0, 6], [[0, 0], [1, 10], [2, 20]], None),
        ("v=@@/named.npz:steps@offsets#id", "sequence", 2, [6, 0, 1, 3], None, [[0, 0], [1, 10], [2, 20]]),
        (
            "v=@@/f.npz:steps+steps@offsets",
            "sequence",
            4,
            [3, 1, 0, 6],
            [[0, 0] * 2, [1, 10] * 2, [2, 20] * 2],
            None,
        ),
        ("v=@@/f.npz:padded@lengths", "sequence", 2, [3, 1, 0, 5], [[1, 1], [2, 11], [3, 21]], None),
        ("v=@@/f.npz:padded", "sequence", 2, [3, 1, 0, 5], [[1, 1], [2, 11], [3, 21]], None),
        ("v=@@/v.npy", "vector", 2, [1, 1, 1, 1], [[0, 1]], [[6, 7]]),
        ("v=@@/f.h5:group/vectors", "vector", 3, [1, 1, 1, 1], [[0, 1, 2]], [[9, 10, 11]]),
        ("v=@@/named.h5:group/vectors#id", "vector", 3, [1, 1, 1, 1], [[9, 10, 11]], [[0, 1, 2]]),
        ("v=@@/f.h5:steps@offsets", "sequence", 2, [3, 1, 0, 6], [[0, 0], [1, 10], [2, 20]], None),
        ("v=@@/f.h5:each", "sequence", 2, [1, 2, 3, 4], [[0, 0]], [[3, 3]] * 4),
        ("v=@@/f.h5:deep/{id}/frames", "sequence", 3, [1, 2, 3, 4], [[0] * 3], [[3] * 3] * 4),
        ("v=@@/files/", "sequence", 2, [1, 2, 3, 4], [[0, 0]], [[3, 3]] * 4),
        ("v=@@/files/{id}.npy", "sequence", 2, [1, 2, 3, 4], [[0, 0]], [[3, 3]] * 4),
        ("v=@@/files/{id}.npz:one+two", "vector", 3, [1, 1, 1, 1], [[1, 1, 0]], [[1, 1, 3]]),
    ],
)
def test_features_in_every_form_reach_their_samples(
    spec: str, kind: str, dim: int, steps: list[int], of_a: Any, of_d: Any, table: Path
) -> None:
    store = load(table, spec, "w=@@/v.npy")
    assert store.manifest["modalities"]["v"]["kind"] == kind
    assert store.modalities == {"v": dim, "w": 2}
    assert lengths(store, "v") == steps
    for row, expected in ((0, of_a), (3, of_d)):
        if expected is not None:
            np.testing.assert_array_equal(store.sample(row, "v"), expected)


def test_arrays_larger_than_the_memory_limit_are_mapped_from_disk(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_module, "IN_MEMORY_BYTES", 0)
    with array_module.open_arrays(table / "f.npz") as file:
        assert isinstance(file.array("steps"), np.memmap)
    store = load(table, "v=@@/f.npz:steps@offsets", "w=@@/f.npz:vectors")
    np.testing.assert_array_equal(store.sample(0, "v"), [[0, 0], [1, 10], [2, 20]])


@pytest.mark.parametrize("source", ["t.tsv", "t.parquet", "t.npz"])
def test_the_same_table_in_another_format_makes_the_same_store(source: str, table: Path) -> None:
    columns = {"id": ["a", "b"], "label": [1.5, -3.0], "group": [1, 2]}
    (table / "t.tsv").write_text("id\tlabel\tgroup\na\t1.5\t1\nb\t-3\t2\n")
    pq.write_table(pa.table(columns), table / "t.parquet")
    np.savez(
        table / "t.npz", names=np.array(["x"]), **{key: np.array(value) for key, value in columns.items()}
    )
    np.save(table / "two.npy", np.ones((2, 2)))
    store = load(table, "v=@@/two.npy", source=source, group_column="group")
    kept = [{key: row[key] for key in ("id", "label", "group")} for row in store.table.to_pylist()]
    assert kept == [{"id": "a", "label": 1.5, "group": "1"}, {"id": "b", "label": -3.0, "group": "2"}]


def test_several_columns_name_samples_and_features_together(table: Path) -> None:
    np.savez(
        table / "n.npz", v=np.arange(4.0), first=np.array(["d", "c", "b", "a"]), last=np.array([10, 9, 8, 7])
    )
    store = load(table, "v=@@/n.npz:v#first+last", id_columns=("id", "score"))
    assert store.table["id"].to_pylist() == ["a_7", "b_8", "c_9", "d_10"]
    assert store.values("v")[:, 0].tolist() == [3, 2, 1, 0]


def test_groups_come_from_the_id_by_a_pattern(table: Path) -> None:
    store = load(table, "v=@@/v.npy", id_columns=("group", "id"), group_pattern="(.)_")
    assert store.table["group"].to_pylist() == ["p", "q", "q", "p"]


def test_dropped_labels_leave_and_the_rest_keeps_its_features(table: Path) -> None:
    task = TaskOptions("classification", label_map={"7": "low", "8": "low", "10": "high"}, drop_labels=("9",))
    store = load(table, "v=@@/v.npy", "w=@@/f.npz:steps@offsets", label_column="score", task=task)
    assert store.task.classes == ("low", "high")
    assert store.table["id"].to_pylist() == ["a", "b", "d"]
    assert store.table["label"].to_pylist() == [0, 0, 1]
    assert store.values("v")[:, 0].tolist() == [0, 2, 6]
    assert "1 sample with the label 9 was left out" in store.manifest["notes"]


def test_without_names_the_classes_are_what_occurs(table: Path) -> None:
    store = load(table, "v=@@/v.npy", label_column="score", task=TaskOptions("classification"))
    assert store.task.classes == ("7", "8", "9", "10")


def test_labels_of_a_plain_scale_can_be_mapped(table: Path) -> None:
    task = TaskOptions(scale="plain", low=0, high=1, label_map={"p": 0, "q": 1})
    assert load(table, "v=@@/v.npy", label_column="group", task=task).table["label"].to_pylist() == [
        0,
        1,
        1,
        0,
    ]


def test_unlabelled_samples_can_be_imported(table: Path) -> None:
    assert load(table, "v=@@/v.npy", label_column=None).table["label"].to_pylist() == [None] * 4


@pytest.mark.parametrize(
    ("unit", "lowercase", "words", "first"),
    [
        ("tokens", False, None, [[5, 1], [3, 1], [5, 1]]),
        ("words", True, None, [[5, 0], [3, 0], [5, 0]]),
        ("words", False, "@@/f.npz:words@word_offsets", [[5, 1], [3, 1], [5, 1]]),
        ("words", False, "@@/named.npz:words@word_offsets#id", [[1, 0], [1, 0]]),
    ],
)
def test_transcripts_are_encoded_first_in_the_stated_units(
    unit: str, lowercase: bool, words: str | None, first: list[list[int]], table: Path, encoder: Any
) -> None:
    store = load(
        table,
        "v=@@/v.npy",
        encoder=encoder,
        text=TextOptions(unit=unit, lowercase=lowercase),
        **({"words": words.replace("@@", str(table))} if words else {"text_column": "text"}),
    )
    assert list(store.modalities) == ["text", "v"]
    assert store.sample(0, "text").tolist() == first
    assert store.tiers["text"].startswith("letters")
    assert store.table["text"][0].as_py() in ("HELLO BIG WORLD", "y z")


def test_absent_features_are_allowed_only_when_asked_for(table: Path) -> None:
    (table / "files" / "b.npy").unlink()
    with pytest.raises(DataError, match="no features for sample `b`; add them"):
        load(table, "v=@@/files/", "w=@@/v.npy")
    assert lengths(load(table, "v=@@/files/", "w=@@/v.npy", absent_features="allow"), "v") == [1, 0, 3, 4]
    np.savez(table / "some.npz", v=np.ones((2, 2)), id=np.array(["d", "a"]))
    assert lengths(load(table, "v=@@/some.npz:v#id", "w=@@/v.npy", absent_features="allow"), "v") == [
        1,
        0,
        0,
        1,
    ]


def test_samples_without_any_step_are_dropped_only_when_asked_for(table: Path) -> None:
    with pytest.raises(DataError, match="`c` has no step in any modality"):
        load(table, "v=@@/f.npz:steps@offsets")
    store = load(table, "v=@@/f.npz:steps@offsets", empty="drop")
    assert store.table["id"].to_pylist() == ["a", "b", "d"]
    assert "1 sample without a step in any modality was left out" in store.manifest["notes"]


@pytest.mark.parametrize(("policy", "steps"), [("zero", [3, 1, 0, 6]), ("drop-step", [2, 0, 0, 6])])
def test_steps_that_are_no_numbers_follow_the_policy(policy: str, steps: list[int], table: Path) -> None:
    values = np.arange(20.0).reshape(10, 2)
    values[1, 0], values[3, 1] = np.nan, -np.inf
    np.savez(table / "nan.npz", v=values, o=np.array([0, 3, 4, 4, 10]))
    with pytest.raises(DataError, match=r"`a` has the value nan in `.*nan.npz:v` \(step 1, feature 0\)"):
        load(table, "v=@@/nan.npz:v@o", "w=@@/v.npy")
    store = load(table, "v=@@/nan.npz:v@o", "w=@@/v.npy", nan=policy)
    assert lengths(store, "v") == steps
    assert any(note.startswith("2 ") for note in store.manifest["notes"])


def test_progress_is_told(table: Path) -> None:
    told: list[tuple[int, int]] = []
    options = TableOptions(task=MOSI, features=(f"v={table}/v.npy",))
    import_data(
        table / "t.csv", table / "store", options, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(4, 4)]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a=x.npz:k", FeatureSpec("a", "x.npz", ("k",))),
        ("a=C:\\d\\x.h5:g/k@o#i+j", FeatureSpec("a", "C:\\d\\x.h5", ("g/k",), "o", ("i", "j"))),
        ("a=x.npy", FeatureSpec("a", "x.npy")),
        ("a=d/", FeatureSpec("a", "d/{id}.npy")),
        ("a=d.npy/{id}.NPZ:k", FeatureSpec("a", "d.npy/{id}.NPZ", ("k",))),
    ],
)
def test_specifications_are_understood(text: str, parsed: FeatureSpec) -> None:
    assert FeatureSpec.parse(text) == parsed


def csv(content: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def npz(**content: Any) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "f.npz", allow_pickle=True, **content)


def cut(name: str, keep: int) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:keep])

    return apply


def flip(name: str, marker: bytes) -> Callable[[Path], None]:
    """Damage the compressed bytes some way behind a marker."""

    def apply(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        at = content.index(marker) + 60
        content[at : at + 8] = b"\xff" * 8
        (folder / name).write_bytes(content)

    return apply


def elsewhere(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "f.h5", "a") as file:
        file["linked"] = h5py.ExternalLink("other.h5", "v")
    with h5py.File(folder / "other.h5", "w") as file:
        file["v"] = np.ones((4, 2))


def strings(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "f.h5", "a") as file:
        file["said"] = ["a", "b", "c", "d"]
        file["pairs"] = np.zeros(4, [("x", "f4"), ("y", "f4")])


def mixed_files(folder: Path) -> None:
    np.save(folder / "files" / "c.npy", np.zeros((2, 5)))


def nothing(folder: Path) -> None: ...


V = "v=@@/f.npz:"
BAD: dict[str, tuple[Callable[[Path], None], str, dict[str, Any], str]] = {
    # name: (what is wrong, feature, options, what the message must say)
    "no table": (lambda folder: (folder / "t.csv").unlink(), "v=@@/v.npy", {}, "t.csv` does not exist"),
    "empty file": (csv(""), "v=@@/v.npy", {}, "t.csv` has no rows"),
    "header only": (csv("id,label\n"), "v=@@/v.npy", {}, "t.csv` has no rows"),
    "binary garbage": (csv(b"\xff\xfe\x00\xd8id,label\n"), "v=@@/v.npy", {}, "t.csv` is not text in UTF-8"),
    "latin-1": (csv("id,label\né,1\n".encode("latin-1")), "v=@@/v.npy", {}, "t.csv` is not text in UTF-8"),
    "ragged rows": (csv("id,label\na,1\nb,1,2\n"), "v=@@/v.npy", {}, "t.csv` line 3 has 3 fields"),
    "open quote": (csv('id,label\na,"1\n'), "v=@@/v.npy", {}, "t.csv` is damaged near line"),
    "column twice": (csv("id,label,id\na,1,b\n"), "v=@@/v.npy", {}, "two columns `id`"),
    "no id": (csv("id,label\n,1\n"), "v=@@/v.npy", {}, "line 2 has no id"),
    "same id": (csv("id,label\na,1\nb,1\na,2\n"), "v=@@/v.npy", {}, "line 4 has the id `a`"),
    "word for a label": (
        csv("id,label\na,good\n"),
        "v=@@/v.npy",
        {},
        "line 2 (sample `a`) has the label `good`",
    ),
    "NaN label": (csv("id,label\na,nan\n"), "v=@@/v.npy", {}, "sample `a`) has the label nan"),
    "infinite label": (csv("id,label\na,-inf\n"), "v=@@/v.npy", {}, "has the label -inf"),
    "label out of scale": (csv("id,label\na,3.2\n"), "v=@@/v.npy", {}, "label 3.2 in column `label`"),
    "unknown split": (csv("id,label,s\na,1,eval\n"), "v=@@/v.npy", {"split_column": "s"}, "split `eval`"),
    "no such column": (nothing, "v=@@/v.npy", {"text_column": "txt"}, "no column `txt`; did you mean `text`"),
    "unknown class": (
        nothing,
        "v=@@/v.npy",
        {"label_column": "score", "task": TaskOptions("classification", classes=("7", "8"))},
        "the label `9`",
    ),
    "label not in the map": (
        nothing,
        "v=@@/v.npy",
        {"label_column": "score", "task": TaskOptions("classification", label_map={"7": "x"})},
        "the label `8`",
    ),
    "one class": (
        csv("id,label\na,x\nb,x\n"),
        "v=@@/v.npy",
        {"task": TaskOptions("classification")},
        "two distinct classes",
    ),
    "dropped label that is none": (
        nothing,
        "v=@@/v.npy",
        {"task": TaskOptions(scale="mosi", drop_labels=("5",))},
        "Label `5`",
    ),
    "no range": (nothing, "v=@@/v.npy", {"task": TaskOptions()}, "run from -3 to 1.5"),
    "range turned round": (
        nothing,
        "v=@@/v.npy",
        {"task": TaskOptions(scale="plain", low=3, high=-3)},
        "low < high",
    ),
    "wrong range of a scale": (
        nothing,
        "v=@@/v.npy",
        {"task": TaskOptions(scale="mosi", low=0, high=3)},
        "must have the range",
    ),
    "pattern that does not match": (nothing, "v=@@/v.npy", {"group_pattern": "(x)"}, "`a` does not match"),
    "pattern without a group": (nothing, "v=@@/v.npy", {"group_pattern": "x"}, "parenthesis"),
    "pattern that is none": (nothing, "v=@@/v.npy", {"group_pattern": "("}, "no regular expression"),
    "reserved column": (nothing, "v=@@/v.npy", {"extra_columns": ("group",)}, "a store keeps for itself"),
    "no modality": (nothing, "", {}, "at least one modality"),
    "feature without file": (nothing, "audio", {}, "Feature `audio` is not understood"),
    "feature without name": (nothing, "=@@/v.npy", {}, "must begin with a modality's name"),
    "impossible name": (nothing, "a b=@@/v.npy", {}, "a b"),
    "feature file missing": (nothing, "v=@@/none.npz:x", {}, "none.npz` does not exist"),
    "feature of another kind": (nothing, "v=@@/t.xml", {}, "not understood"),
    "folder for a file": (
        lambda folder: (folder / "d.npz").mkdir(),
        "v=@@/d.npz:x",
        {},
        "it is a folder, not a regular file",
    ),
    "key missing": (nothing, V + "nope", {}, "f.npz` has no array `nope`; it has vectors"),
    "no key": (nothing, "v=@@/f.npz", {}, "holds several arrays; say which"),
    "npy with a key": (nothing, "v=@@/v.npy:x", {}, "leave out `:x`"),
    "corrupt zip": (cut("f.npz", 300), V + "vectors", {}, "f.npz` is no npz archive or is damaged"),
    "no zip at all": (
        lambda folder: (folder / "f.npz").write_text("hi"),
        V + "vectors",
        {},
        "no npz archive",
    ),
    "damaged member": (flip("f.npz", b"vectors.npy"), V + "vectors", {}, "f.npz:vectors` is damaged"),
    "corrupt npy": (cut("v.npy", 40), "v=@@/v.npy", {}, "v.npy` is no npy file or is damaged"),
    "short npy": (cut("v.npy", 140), "v=@@/v.npy", {}, "v.npy` is no npy file or is damaged"),
    "objects in npz": (npz(v=np.array([{}, 1], object)), V + "v", {}, "f.npz:v` holds Python objects"),
    "objects in npy": (
        lambda folder: np.save(folder / "v.npy", np.array([{}], object), allow_pickle=True),
        "v=@@/v.npy",
        {},
        "v.npy` holds Python objects",
    ),
    "text in npz": (nothing, V + "words", {}, "must hold numbers"),
    "no HDF5": (cut("f.h5", 100), "v=@@/f.h5:steps", {}, "f.h5` is no HDF5 file or is damaged"),
    "HDF5 without the dataset": (nothing, "v=@@/f.h5:nope", {}, "f.h5` has no array `nope`"),
    "HDF5 link to another file": (elsewhere, "v=@@/f.h5:linked", {}, "lies in another file"),
    "HDF5 text": (strings, "v=@@/f.h5:said", {}, "must hold numbers"),
    "HDF5 records": (strings, "v=@@/f.h5:pairs", {}, "neither numbers nor text"),
    "four axes": (npz(v=np.zeros((4, 2, 2, 2))), V + "v", {}, "(4, 2, 2, 2)"),
    "no axis": (npz(v=np.zeros(())), V + "v", {}, "has shape ()"),
    "no features": (npz(v=np.zeros((4, 0))), V + "v", {}, "has shape (4, 0)"),
    "arrays that do not fit": (nothing, V + "vectors+steps", {}, "has shape (4, 3) + (10, 2)"),
    "other number of rows": (nothing, V + "steps", {}, "has 10 samples, but the table has 4"),
    "offsets that fall": (npz(v=np.ones((5, 2)), o=np.array([0, 3, 2, 4, 5])), V + "v@o", {}, "entry 2 is 2"),
    "offsets that start late": (
        npz(v=np.ones((5, 2)), o=np.array([1, 2, 3, 4, 5])),
        V + "v@o",
        {},
        "entry 0 is 1",
    ),
    "offsets too far": (npz(v=np.ones((5, 2)), o=np.array([0, 1, 2, 3, 9])), V + "v@o", {}, "must end at 5"),
    "offsets of halves": (npz(v=np.ones((5, 2)), o=np.ones(5)), V + "v@o", {}, "list of whole numbers"),
    "offsets for other samples": (
        npz(v=np.ones((5, 2)), o=np.array([0, 2, 5])),
        V + "v@o",
        {},
        "has 2 samples",
    ),
    "no offsets": (nothing, V + "steps@nope", {}, "has no array `nope`"),
    "lengths too long": (
        npz(v=np.ones((4, 2, 3)), n=np.array([1, 2, 3, 1])),
        V + "v@n",
        {},
        "between 0 and 2",
    ),
    "id not found": (
        npz(v=np.ones((3, 2)), i=np.array(["a", "b", "c"])),
        V + "v#i",
        {},
        "no features for sample `d`",
    ),
    "id twice": (npz(v=np.ones((2, 2)), i=np.array(["a", "a"])), V + "v#i", {}, "names sample `a` twice"),
    "too few ids": (npz(v=np.ones((4, 2)), i=np.array(["a", "b"])), V + "v#i", {}, "names 2 samples"),
    "ids in two axes": (npz(v=np.ones((4, 2)), i=np.zeros((4, 2))), V + "v#i", {}, "must be one-dimensional"),
    "infinity": (npz(v=np.array([1, np.inf, 1, 1])), V + "v", {}, "`b` has the value inf in"),
    "beyond single precision": (npz(v=np.array([1, 1e300, 1, 1])), V + "v", {}, "`b` has the value inf in"),
    "no sample of its own": (nothing, "v=@@/f.h5:group", {}, "no features for sample `a` and 3 others"),
    "other width in a file": (mixed_files, "v=@@/files/", {}, "`c` has shape (2, 5)"),
    "several arrays in a file": (nothing, "v=@@/files/{id}.npz", {}, "say which"),
    "arrays of a file that do not fit": (
        lambda folder: np.savez(folder / "files" / "a.npz", one=np.ones((2, 2)), two=np.ones(2)),
        "v=@@/files/{id}.npz:one+two",
        {},
        "(2, 2) + (2,)",
    ),
    "id that leaves the folder": (csv("id,label\n../v,1\n"), "v=@@/files/", {}, "path separator"),
    "words without offsets": (nothing, "v=@@/v.npy", {"words": "@@/f.npz:words"}, "FILE:WORDS@OFFSETS"),
    "offsets beyond the words": (
        nothing,
        "v=@@/v.npy",
        {"words": "@@/f.npz:words@offsets"},
        "the number of words",
    ),
    "offsets of words in halves": (
        npz(w=np.array(["a"]), o=np.ones(2)),
        "v=@@/v.npy",
        {"words": "@@/f.npz:w@o"},
        "whole numbers",
    ),
    "words for other samples": (
        npz(w=np.array(["a"]), o=np.array([0, 1])),
        "v=@@/v.npy",
        {"words": "@@/f.npz:w@o"},
        "into 1 samples",
    ),
    "words without a sample": (
        npz(w=np.array(["a"]), o=np.array([0, 1, 1]), i=np.array(["b", "z"])),
        "v=@@/v.npy",
        {"words": "@@/f.npz:w@o#i"},
        "no words for sample `a`",
    ),
    "words of other samples": (
        npz(w=np.array(["a"]), o=np.array([0, 1]), i=np.array(["z"])),
        "v=@@/v.npy",
        {"words": "@@/f.npz:w@o#i", "absent_features": "allow"},
        "f.npz:i` names none of the table's samples (`z`, where the table has `a`)",
    ),
    "words of a sample twice": (
        npz(w=np.array(["a", "b"]), o=np.array([0, 1, 2]), i=np.array(["a", "a"])),
        "v=@@/v.npy",
        {"words": "@@/f.npz:w@o#i"},
        "f.npz:i` names sample `a` twice",
    ),
    "numbers as objects": (
        npz(v=np.array([[1.0], [2.0]], object)),
        V + "v",
        {},
        "f.npz:v` must hold numbers, but its type is object; save it with a type of numbers, as by `.astype(",
    ),
    "words of too few ids": (
        npz(w=np.array(["a"]), o=np.array([0, 1, 1]), i=np.array(["z"])),
        "v=@@/v.npy",
        {"words": "@@/f.npz:w@o#i"},
        "names 1 samples",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_sentence_and_leaves_no_store(name: str, table: Path) -> None:
    spoil, spec, options, reason = BAD[name]
    spoil(table)
    if "words" in options:
        options = {**options, "words": options["words"].replace("@@", str(table))}
    with pytest.raises((DataError, ConfigError)) as refusal:
        load(table, *([spec] if spec else []), **options)
    message = str(refusal.value)
    assert reason in message
    assert "\n" not in message
    assert not (table / "stores").exists() or not list((table / "stores").iterdir())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"id_columns": ()}, "at least one column"),
        ({"group_column": "g", "group_pattern": "(g)"}, "exclude each other"),
        ({"text_column": "t", "words": "w"}, "exclude each other"),
        ({"nan": "ignore"}, "refuse, zero or drop-step"),
        ({"absent_features": "ignore"}, "refuse or allow"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        TableOptions(**options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "ranking"}, "regression, classification or multilabel"),
        ({"scale": "percent"}, "mosi, sims or plain"),
        ({"kind": "classification", "scale": "mosi"}, "no scale"),
        ({"classes": ("a", "b")}, "no classes"),
        ({"high": 1.0}, "both ends"),
    ],
)
def test_tasks_that_contradict_themselves_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        TaskOptions(**options)


@pytest.mark.parametrize(
    ("item", "reason"), [("a", "but has `a`"), ("a=", "has `a=`"), ("a=1,a=2", "`a` twice")]
)
def test_pairs_must_be_pairs(item: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_pairs([item], "label_map")


def test_names_of_modalities_must_differ(table: Path, encoder: Any) -> None:
    with pytest.raises(ConfigError, match="twice; give it once"):
        load(table, "v=@@/v.npy", "v=@@/v.npy")
    with pytest.raises(ConfigError, match="name of the encoded text"):
        load(table, "text=@@/v.npy", text_column="text", encoder=encoder)
    with pytest.raises(ConfigError, match="needs transcripts"):
        load(table, "v=@@/v.npy", encoder=encoder)
    with pytest.raises(ConfigError, match="tokens, words or ids"):
        TextOptions(unit="letters")
    with pytest.raises(ConfigError, match="refuse or drop"):
        load(table, "v=@@/v.npy", empty="keep")


@pytest.mark.parametrize("name", ["t.csv", "f.npz", "f.h5", "v.npy"])
def test_files_that_may_not_be_read_are_named(
    name: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the refusal of the system is imitated."""
    real_open = Path.open

    def refuse(self: Path, *arguments: Any, **keywords: Any) -> Any:
        if self.name == name:
            raise PermissionError(13, "Permission denied")
        return real_open(self, *arguments, **keywords)

    (table / name).chmod(0)
    if os.access(table / name, os.R_OK):
        monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.setattr("qinn.data.files.text_lines.open_regular", lambda path: refuse(path, "rb"))
        monkeypatch.setattr(
            array_module.zipfile,
            "ZipFile",
            lambda path: refuse(Path(path)) if Path(path).name == name else None,
        )
    spec = {"f.npz": V + "vectors", "f.h5": "v=@@/f.h5:steps@offsets"}.get(name, "v=@@/v.npy")
    with pytest.raises(DataError, match=f"{name}` can't be read: permission denied"):
        load(table, spec)


def test_other_tables_are_refused(table: Path) -> None:
    (table / "t.xlsx").write_text("x")
    (table / "bad.parquet").write_text("x")
    np.savez(table / "flat.npz", v=np.ones((2, 2)))
    for source, reason in [
        ("t.xlsx", "must be one of .csv"),
        ("bad.parquet", "damaged or no parquet"),
        ("flat.npz", "no one-dimensional"),
        ("files", "no table"),
    ]:
        with pytest.raises(DataError, match=reason):
            load(table, "v=@@/v.npy", source=source)


def test_places_of_one_name_are_put_side_by_side(table: Path) -> None:
    store = load(
        table, "v=@@/f.npz:steps@offsets", "w=@@/v.npy", "v=@@/f.npz:vectors", absent_features="allow"
    )
    assert store.modalities == {"v": 5, "w": 2}
    assert store.manifest["modalities"]["v"]["kind"] == "sequence"
    assert store.tiers["v"] == "f.npz:steps + f.npz:vectors"
    assert lengths(store, "v") == [3, 1, 0, 6]
    np.testing.assert_array_equal(store.sample(0, "v"), [[0, 0, 0, 1, 2], [1, 10, 0, 1, 2], [2, 20, 0, 1, 2]])
    assert [source["file"] for source in store.manifest["sources"]] == ["t.csv", "f.npz", "v.npy"]
    vectors = load(table, "v=@@/f.npz:vectors", "v=@@/v.npy")
    assert vectors.manifest["modalities"]["v"]["kind"] == "vector"
    np.testing.assert_array_equal(vectors.sample(3, "v"), [[9, 10, 11, 6, 7]])


def test_places_that_do_not_fit_side_by_side_are_refused(table: Path) -> None:
    with pytest.raises(DataError, match=r"has 3 and 1 steps in the places of `v`"):
        load(table, "v=@@/f.npz:steps@offsets", "v=@@/f.h5:each")
    (table / "some").mkdir()
    np.save(table / "some" / "a.npy", np.ones(2))
    with pytest.raises(DataError, match=r"Sample `b` has no features in .*some.*, but has others of `v`"):
        load(table, "v=@@/v.npy", "v=@@/some/", absent_features="allow")


def test_what_made_the_features_is_stated_or_found_beside_them(table):
    np.savez(table / "said.npz", a=np.ones((4, 2)), b=np.ones((4, 3)), extractor="egemaps@2.0")
    np.savez(table / "each.npz", a=np.ones((4, 2)), b=np.ones((4, 3)), b_extractor=np.array(["covarep@1.4"]))
    store = load(table, "v=@@/said.npz:a", "w=@@/each.npz:b", "x=@@/each.npz:a", extractors={"x": "mine@3"})
    assert store.tiers == {"v": "egemaps@2.0", "w": "covarep@1.4", "x": "mine@3"}
    assert not [note for note in store.manifest["notes"] if "nothing says what made" in note]
    # Of two places only one says it: nothing is known of the other.
    both = load(table, "v=@@/said.npz:a", "v=@@/v.npy")
    assert both.tiers == {"v": "said.npz:a + v.npy"}
    assert any("nothing says what made the features of v" in note for note in both.manifest["notes"])


@pytest.mark.parametrize("said", [np.arange(3), np.array(["a@1", "b@2"]), np.array([""]), "said.npz:a"])
def test_an_extractor_that_is_no_name_is_refused(said, table):
    np.savez(table / "said.npz", a=np.ones((4, 2)), extractor=said)
    with pytest.raises(DataError, match=r"said.npz:extractor` must be one text, name and version"):
        load(table, "v=@@/said.npz:a")


@pytest.mark.parametrize(
    ("extractors", "words"),
    [
        ({"voice": "egemaps@2.0"}, "names `voice`, but that is no modality of the source, which has v"),
        ({"v": "v.npy"}, "`v.npy` names a file or a layout"),
        ({"v": ""}, "names a file or a layout"),
    ],
)
def test_an_extractor_of_nothing_is_refused(extractors, words, table):
    with pytest.raises(ConfigError, match=words):
        load(table, "v=@@/v.npy", extractors=extractors)


def test_a_text_encoder_says_itself_what_it_is(table, encoder):
    with pytest.raises(ConfigError, match="names `text`, but that is made by the text encoder"):
        load(table, "v=@@/v.npy", encoder=encoder, text_column="text", extractors={"text": "bert@1"})
