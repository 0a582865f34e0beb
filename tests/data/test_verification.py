"""A verification finds whatever was changed since the import, and says which source is another file."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.data.checking.verification import Check, Verification, verify
from qinn.data.stores.store import Modality, Source, Store, StoreWriter
from qinn.errors import DataError
from qinn.task import Task

from ..tiny import rewritten

MODALITIES = {"text": Modality(3), "face": Modality(2, "vector")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with StoreWriter(
        tmp_path / "store",
        name="small",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities=MODALITIES,
        layout="test",
    ) as writer:
        writer.add_many(
            ["a", "b", "c"],
            {"text": (np.ones((6, 3)), np.array([1, 3, 2])), "face": np.ones((3, 2))},
            splits=["train", "train", "test"],
            labels=[-1, 0.5, 2],
        )
    return Store.open(tmp_path / "store")


def outcomes(found: Verification) -> dict[str, str]:
    return {check.name: check.outcome for check in found.checks}


def test_a_store_as_written_is_right(store: Store) -> None:
    found = verify(store)
    assert found.is_right
    assert outcomes(found) == dict.fromkeys(["text", "face", "table", "content", "files"], "right")
    assert json.loads(json.dumps(found.to_json()))["is_right"] is True
    assert found.render().splitlines()[0] == f"small: content {store.sha256}"
    assert found.render().endswith("nothing is wrong")


def _values(change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        values = np.load(path / "text.values.npy")
        change(values)
        np.save(path / "text.values.npy", values)

    return damage


def _offsets(name: str, offsets: list[int]) -> Callable[[Path], None]:
    return lambda path: np.save(path / f"{name}.offsets.npy", np.array(offsets))


def _column(position: int, name: str, values: list) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        table = pq.read_table(path / "samples.parquet")
        pq.write_table(table.set_column(position, name, pa.array(values)), path / "samples.parquet")

    return damage


def _manifest(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = path / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return damage


def _ruin_table(path: Path) -> None:
    content = bytearray((path / "samples.parquet").read_bytes())
    content[4:200] = b"\xff" * 196
    (path / "samples.parquet").write_bytes(content)


CHANGES: dict[str, tuple[Callable[[Path], None], set[str], str]] = {
    "a value": (_values(lambda v: v.__setitem__((2, 1), 1.5)), {"content"}, "hash .*manifest says"),
    "a value that is no number": (
        _values(lambda v: v.__setitem__((2, slice(2)), np.nan)),
        {"text", "content"},
        "text: 2 values are not finite",
    ),
    "where a sample ends": (_offsets("text", [0, 1, 5, 6]), {"text", "content"}, "has 4 steps, not 3"),
    "offsets that fall": (_offsets("text", [0, 5, 4, 6]), {"text", "content"}, "offsets must rise"),
    "a vector of two steps": (_offsets("face", [0, 2, 2, 3]), {"face", "content"}, "a vector has one step"),
    "an id twice": (_column(0, "id", ["a", "a", "c"]), {"table", "content"}, "1 ids appear .* `a`"),
    "an empty id": (_column(0, "id", ["", "b", "c"]), {"table", "content"}, "empty id"),
    "a split": (
        _column(1, "split", ["train", "test", "test"]),
        {"table", "content"},
        "test 2, train 1 samples, not test 1, train 2",
    ),
    "an unknown split": (_column(1, "split", ["dev", "train", "test"]), {"table", "content"}, "splits `dev`"),
    "a label": (_column(2, "label", [-1, 0.5, 2.5]), {"table", "content"}, r"over \[-1.0, 2.5\], not"),
    "a label out of range": (
        _column(2, "label", [-1, 0.5, 9.0]),
        {"table", "content"},
        r"1 labels lie outside \[-3, 3\], such as that of `c`",
    ),
    "no label at all": (
        _column(2, "label", pa.array([None] * 3, pa.float64())),  # pyright: ignore[reportArgumentType]
        {"table", "content"},
        "over None",
    ),
    "a damaged table": (_ruin_table, {"table", "content"}, "is damaged"),
    "the hash": (_manifest(sha256="0" * 64), {"content"}, "manifest says 000"),
}


@pytest.mark.parametrize(("change", "wrong", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_every_change_is_found_where_it_is(
    store: Store, change: Callable, wrong: set[str], message: str
) -> None:
    change(store.path)
    found = verify(Store.open(store.path))
    assert not found.is_right
    assert {name for name, outcome in outcomes(found).items() if outcome == "wrong"} == wrong | {"files"}
    assert re.search(message, found.render()), found.render()
    assert found.render().endswith("something is wrong")


def test_class_indices_beyond_the_classes_are_found(tmp_path: Path) -> None:
    task = Task("classification", classes=("sad", "glad"))
    with StoreWriter(tmp_path / "s", name="c", task=task, modalities=MODALITIES, layout="l") as writer:
        writer.add_many(["a", "b"], {"face": np.ones((2, 2))}, labels=[0, 1])
    _column(2, "label", [0, 2])(tmp_path / "s")
    assert "outside [0, 1], such as that of `b`" in verify(Store.open(tmp_path / "s")).render()


@pytest.fixture
def sourced(store: Store, tmp_path: Path) -> Store:
    names = ("kept.npz", "moved.csv", "edited.csv", "cut.csv", "lost.csv")
    for name in names:
        (tmp_path / name).write_text(f"content of {name}")
    entries = [vars(Source.of(tmp_path / name)) for name in names]
    (tmp_path / "edited.csv").write_text("CONTENT of edited.csv")
    (tmp_path / "cut.csv").write_text("content")
    (tmp_path / "lost.csv").unlink()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "moved.csv").rename(tmp_path / "deep" / "er" / "moved.csv")
    rewritten(store.path / "manifest.json", lambda manifest: manifest.update({"sources": entries}))
    return Store.open(store.path)


def test_sources_are_found_by_name_and_compared_by_hash(sourced: Store, tmp_path: Path) -> None:
    found = {check.name.removeprefix("source "): check for check in verify(sourced, [tmp_path]).checks}
    expected = {"kept.npz": "right", "moved.csv": "right", "edited.csv": "wrong", "cut.csv": "wrong"}
    assert {name: found[name].outcome for name in expected} == expected
    assert found["lost.csv"].outcome == "not found"
    assert "another hash" in found["edited.csv"].message
    assert "not 18 bytes" in found["cut.csv"].message


def test_a_changed_copy_beside_the_original_is_no_fault(sourced: Store, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "kept.npz").write_text("CONTENT of kept.npz")
    found = outcomes(verify(sourced, [tmp_path / "copy", tmp_path / "kept.npz"]))
    assert found["source kept.npz"] == "right"


def test_sources_that_are_not_there_are_not_wrong(sourced: Store, tmp_path: Path) -> None:
    assert verify(sourced).is_right
    assert "say where the sources are" in verify(sourced).render()
    with pytest.raises(DataError, match=r"`.*nowhere` does not exist; give the source files"):
        verify(sourced, [tmp_path / "nowhere"])


def test_of_many_sources_only_the_wrong_ones_are_listed_in_full() -> None:
    checks = [Check(f"source {number}", "right", "same") for number in range(40)]
    checks[33] = Check("source 33", "wrong", "changed")
    text = Verification("many", "0" * 64, tuple(checks)).render()
    assert "wrong  source 33: changed" in text
    assert "right  and 34 more sources" in text
    assert len(text.splitlines()) == 9
