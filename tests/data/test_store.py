"""A store gives back what was written, refuses what is wrong, and is either complete or not there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qinn
from qinn import atomic_writing
from qinn.data.stores import step_arrays, writing
from qinn.data.stores.step_arrays import array_header
from qinn.data.stores.store import Modality, Source, Store, StoreWriter
from qinn.errors import ArgumentError, DataError, OutputError, QinnError
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")
EMOTIONS = Task("classification", classes=("sad", "glad"))
MODALITIES = {"text": Modality(3, tier="words@1"), "face": Modality(2, "vector")}


def writer_at(path: Path, **changes: object) -> StoreWriter:
    settings = {"name": "test", "task": MOSI, "modalities": MODALITIES, "layout": "test"}
    return StoreWriter(path, **(settings | changes))  # pyright: ignore[reportArgumentType]


def write_small(path: Path, value: float = 1.0, **changes: object) -> Store:
    with writer_at(path, **changes) as writer:
        writer.add("a", {"text": np.full((2, 3), value), "face": np.zeros(2)}, split="train", label=1)
        writer.add("b", {"text": np.full((4, 3), value)}, split="test", label=-2.5, text="so so")
    return Store.open(path)


samples = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 1),
        st.sampled_from(["train", "valid", "test", ""]),
        st.none() | st.floats(-3, 3, allow_subnormal=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.none() | st.integers(-5, 5),
    ).filter(lambda row: row[0] + row[1] > 0),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(rows=samples, seed=st.integers(0, 99), vectorised=st.booleans())
def test_what_is_written_is_read_back(rows: list[tuple], seed: int, vectorised: bool) -> None:
    generator = np.random.default_rng(seed)
    features = [
        {"text": generator.normal(size=(text, 3)), "face": generator.normal(size=(face, 2)) if face else None}
        for text, face, *_ in rows
    ]
    ids = [f"id-{number}" for number in range(len(rows))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with writer_at(path) as writer:
            if vectorised:
                writer.add_many(
                    ids,
                    {name: [sample[name] for sample in features] for name in MODALITIES},
                    splits=[row[2] for row in rows],
                    labels=[row[3] for row in rows],
                    texts=[row[4] for row in rows],
                    groups=[row[4] for row in rows],
                    extra={"age": [row[5] for row in rows]},
                )
            else:
                for identifier, sample, row in zip(ids, features, rows, strict=True):
                    writer.add(
                        identifier,
                        sample,
                        split=row[2],
                        label=row[3],
                        text=row[4],
                        group=row[4],
                        extra={"age": row[5]},
                    )
        store = Store.open(path)
        store.verify()
        assert store.task == MOSI
        assert store.modalities == {"text": 3, "face": 2}
        assert store.tiers == {"text": "words@1", "face": ""}
        assert store.table.column("id").to_pylist() == ids
        for column, position in (("split", 2), ("label", 3), ("text", 4), ("group", 4), ("age", 5)):
            assert store.table.column(column).to_pylist() == [row[position] for row in rows]
        for row, sample in enumerate(features):
            for name, dim in store.modalities.items():
                expected = np.empty((0, dim)) if sample[name] is None else sample[name]
                np.testing.assert_array_equal(store.sample(row, name), expected.astype(np.float32))
        assert sum(store.manifest["splits"].values()) == len(store) == len(rows)
        assert {entry.name for entry in Path(folder).iterdir()} == {"store"}


@pytest.mark.parametrize(
    "features",
    [
        pytest.param({"text": np.ones((2, 4, 3)), "face": np.ones((2, 2))}, id="padded and vectors"),
        pytest.param({"text": (np.ones((8, 3)), np.array([4, 4])), "face": np.ones((2, 2))}, id="ragged"),
        pytest.param({"text": [np.ones((4, 3), np.int8)] * 2, "face": [np.ones(2)] * 2}, id="lists"),
    ],
)
def test_every_form_of_features_makes_the_same_content(tmp_path: Path, features: dict) -> None:
    with writer_at(tmp_path / "one") as writer:
        writer.add_many(["a", "b"], features)
    with writer_at(tmp_path / "two", name="other", sources=[Source("x", "0", 1)]) as writer:
        for identifier in "ab":
            writer.add(identifier, {"text": np.ones((4, 3), np.float16), "face": np.ones((1, 2))})
    assert Store.open(tmp_path / "one").sha256 == Store.open(tmp_path / "two").sha256


def test_padded_sequences_are_cut_to_their_lengths(tmp_path: Path) -> None:
    padded = np.arange(12.0).reshape(2, 2, 3)
    with writer_at(tmp_path / "store") as writer:
        writer.add_many(
            ["a", "b"], {"text": padded, "face": np.ones((2, 2))}, lengths={"text": np.array([1, 0])}
        )
    store = Store.open(tmp_path / "store")
    assert store.sample(0, "text").tolist() == [[0, 1, 2]]
    assert store.sample(1, "text").shape == (0, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"label": 2},
        {"text": "other"},
        {"split": "valid"},
        {"extra": {"age": 3}},
        {"id": "z"},
        {"features": {"text": np.full((2, 3), 2.0)}},
        {"features": {"text": np.ones((3, 3))}},
    ],
    ids=str,
)
def test_the_content_hash_changes_with_the_content(tmp_path: Path, change: dict) -> None:
    sample = {"id": "a", "features": {"text": np.ones((2, 3))}, "split": "train", "label": 1}
    hashes = []
    for name, values in (("one", sample), ("two", sample | change)):
        with writer_at(tmp_path / name) as writer:
            writer.add(**values)
        hashes.append(Store.open(tmp_path / name).sha256)
    assert hashes[0] != hashes[1]


def test_the_content_hash_tells_where_a_sample_ends(tmp_path: Path) -> None:
    for name, lengths in (("one", [1, 2]), ("two", [2, 1])):
        with writer_at(tmp_path / name) as writer:
            writer.add_many(["a", "b"], {"text": (np.ones((3, 3)), np.array(lengths))})
    assert Store.open(tmp_path / "one").sha256 != Store.open(tmp_path / "two").sha256


def test_no_path_of_the_machine_is_stored(tmp_path: Path) -> None:
    source = tmp_path / "private folder" / "features.npz"
    source.parent.mkdir()
    source.write_bytes(b"content")
    write_small(tmp_path / "store", sources=[source, Source(r"C:\Users\me\labels.csv", "0", 1)])
    text = (tmp_path / "store" / "manifest.json").read_text()
    assert str(tmp_path) not in text
    assert "private folder" not in text
    assert [entry["file"] for entry in json.loads(text)["sources"]] == ["features.npz", "labels.csv"]
    assert json.loads(text)["sources"][0]["bytes"] == 7
    with pytest.raises(DataError, match="Cannot read"):
        Source.of(tmp_path / "missing")


def test_features_stay_on_disk_until_they_are_used(tmp_path: Path) -> None:
    store = write_small(tmp_path / "store")
    assert isinstance(store.values("text"), np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.values("text")[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        store.labels[0] = 0


def test_a_modality_that_nobody_has_opens(tmp_path: Path) -> None:
    with writer_at(tmp_path / "store") as writer:
        writer.add("a", {"text": np.ones((1, 3))})
        writer.note("a remark")
        assert len(writer) == 1
    store = Store.open(tmp_path / "store")
    assert store.values("face").shape == (0, 2)
    assert store.manifest["notes"] == ["a remark"]
    assert store.manifest["label_range"] is None
    assert "1 samples" in repr(store)
    store.verify()


def test_non_finite_values_are_set_to_zero_when_asked_and_counted(tmp_path: Path) -> None:
    with writer_at(tmp_path / "store", non_finite="zero") as writer:
        writer.add("a", {"text": np.array([[1, np.nan, -np.inf], [1e300, 5, 6]])})
    store = Store.open(tmp_path / "store")
    assert store.sample(0, "text").tolist() == [[1, 0, 0], [0, 5, 6]]
    assert store.manifest["notes"] == ["3 non-finite values of `text` were replaced by 0"]


GOOD = {"text": np.ones((2, 3))}
BAD_SAMPLES: dict[str, tuple[dict, str]] = {
    "NaN": (
        {"features": {"text": np.array([[1, 2, 3], [4, np.nan, 6]])}},
        "`new`.*`text`, step 1, feature 1",
    ),
    "infinite": ({"features": {"text": np.array([[1, 2, -np.inf]])}}, "`new` has the value -inf"),
    "too large for float32": ({"features": {"text": np.full((1, 3), 1e300)}}, "`new` has the value inf"),
    "wrong width": ({"features": {"text": np.ones((2, 4))}}, r"`new` has shape \(2, 4\)"),
    "three axes": ({"features": {"text": np.ones((1, 2, 3))}}, r"shape \(1, 2, 3\)"),
    "text as features": ({"features": {"text": np.array([["a", "b", "c"]])}}, "real numbers"),
    "complex features": ({"features": {"text": np.ones((1, 3), complex)}}, "real numbers"),
    "unknown modality": ({"features": GOOD | {"smell": np.ones((1, 1))}}, "undeclared modality `smell`"),
    "two steps of a vector": ({"features": {"face": np.ones((2, 2))}}, "2 steps in `face`"),
    "no modality at all": ({"features": {"text": None, "face": np.empty((0, 2))}}, "`new` has no step"),
    "duplicate id": ({"id": "old"}, "`old` appears twice"),
    "empty id": ({"id": ""}, "empty id"),
    "unknown split": ({"split": "dev"}, "split `dev`"),
    "label out of range": ({"label": 3.5}, r"label 3.5, outside the task's range \[-3, 3\]"),
    "label NaN": ({"label": float("nan")}, "label nan"),
    "label infinite": ({"label": float("inf")}, "label inf"),
    "reserved extra column": ({"extra": {"label": 3}}, "standard column"),
}


@pytest.mark.parametrize(("change", "message"), BAD_SAMPLES.values(), ids=BAD_SAMPLES.keys())
def test_a_bad_sample_is_refused_and_leaves_no_trace(tmp_path: Path, change: dict, message: str) -> None:
    sample = {"id": "new", "features": GOOD} | change
    with writer_at(tmp_path / "store") as writer:
        writer.add("old", GOOD)
        with pytest.raises(DataError, match=message) as caught:
            writer.add(**sample)
        writer.add("new", GOOD)
    assert "\n" not in str(caught.value)
    store = Store.open(tmp_path / "store")
    store.verify()
    assert store.strings("id").tolist() == ["old", "new"]
    assert len(store.values("text")) == 4


BAD_TABLES: dict[str, tuple[dict, str]] = {
    "too few labels": ({"labels": [1]}, "one value per sample"),
    "a label in words": ({"labels": ["good", "bad"]}, "not a number"),
    "wrong first axis": ({"features": {"text": np.ones((3, 2, 3))}}, "must have shape"),
    "too few arrays": ({"features": {"text": [np.ones((1, 3))]}}, "one entry per sample"),
    "ragged without enough steps": (
        {"features": {"text": (np.ones((3, 3)), np.array([1, 1]))}},
        "must have 2 steps",
    ),
    "negative length": ({"features": {"text": (np.ones((1, 3)), np.array([2, -1]))}}, "`b` has length -1"),
    "length beyond the padding": (
        {"lengths": {"text": np.array([1, 9])}},
        "`b` has length 9.*between 0 and 2",
    ),
    "lengths as floats": ({"lengths": {"text": np.array([1.0, 2.0])}}, "integers"),
    "strings": ({"features": {"text": np.full((2, 1, 3), "x")}}, "real numbers"),
    "duplicate inside": ({"ids": ["a", "a"]}, "`a` appears twice"),
    "NaN in the second": (
        {"features": {"text": np.where(np.arange(12).reshape(2, 2, 3) == 10, np.nan, 1)}},
        "`b` has the value nan in modality `text`, step 1, feature 1",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_bad_columns_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    arguments = {"ids": ["a", "b"], "features": {"text": np.ones((2, 2, 3))}} | change
    with pytest.raises(DataError, match=message), writer_at(tmp_path / "store") as writer:
        writer.add_many(**arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", [0.5, 2, -1])
def test_a_class_index_outside_the_classes_is_refused(tmp_path: Path, label: float) -> None:
    with (
        pytest.raises(DataError, match=r"class index.*glad"),
        writer_at(tmp_path / "store", task=EMOTIONS) as writer,
    ):
        writer.add("a", GOOD, label=label)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": {}}, "at least one modality"),
        ({"modalities": {"../text": Modality(1)}}, r"`\.\./text`"),
        ({"non_finite": "keep"}, "`refuse` or `zero`"),
    ],
)
def test_an_impossible_declaration_is_refused(
    tmp_path: Path, unchecked_types: None, changes: dict, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        writer_at(tmp_path / "s", **changes)


def test_an_impossible_modality_is_refused(unchecked_types: None) -> None:
    with pytest.raises(ArgumentError, match="at least 1"):
        Modality(0)
    with pytest.raises(ArgumentError, match="`sequence` or `vector`"):
        Modality(1, "matrix")


def test_mixed_kinds_in_an_extra_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`age` mixes"), writer_at(tmp_path / "store") as writer:
        writer.add_many(["a", "b"], {"text": np.ones((2, 3))}, extra={"age": [3, "three"]})
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would be empty"), writer_at(tmp_path / "store"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_samples_outside_the_block_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="inside its `with` block"):
        writer_at(tmp_path / "store").add("a", GOOD)


# A store is complete or not there.


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with writer_at(tmp_path / "deep" / "store") as writer:
            writer.add("a", GOOD)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "deep").iterdir()) == []


def test_an_existing_store_stays_unless_asked(tmp_path: Path) -> None:
    first = write_small(tmp_path / "store", 1)
    with pytest.raises(OutputError, match="exists already"):
        write_small(tmp_path / "store", 2)
    assert Store.open(tmp_path / "store").sha256 == first.sha256
    second = write_small(tmp_path / "store", 2, overwrite=True)
    assert second.sha256 != first.sha256
    assert first.sample(0, "text")[0, 0] == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"store"}


def test_an_empty_folder_is_a_good_place_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_small(tmp_path / "empty")
    for name, content in (("mine", None), ("other", "[]"), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("years of work")
        if content:
            (tmp_path / name / "manifest.json").write_text(content)
        with pytest.raises(OutputError, match="not a store, so it is not overwritten"):
            write_small(tmp_path / name, overwrite=True)
        assert (tmp_path / name / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("overwrite", "exchange", "failing"),
    [
        *((False, True, step) for step in range(8)),
        *((True, True, step) for step in range(8)),
        *((True, False, step) for step in range(10)),
    ],
)
def test_a_failure_at_any_step_of_the_end_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, exchange: bool, failing: int
) -> None:
    if not exchange:
        monkeypatch.setattr(atomic_writing, "_exchange", lambda first, second: False)
    old = write_small(tmp_path / "store", 1) if overwrite else None
    calls = []

    def failing_at(name: str, module: object) -> None:
        real = getattr(module, name)

        def step(*arguments: object, **keywords: object) -> object:
            calls.append(name)
            if len(calls) - 1 == failing:
                raise OSError(28, "No space left on device")
            return real(*arguments, **keywords)

        monkeypatch.setattr(module, name, step)

    for name in ("flush", "flush_folder", "put_in_place"):
        failing_at(name, writing)
    failing_at("flush", step_arrays)
    if not exchange:
        failing_at("rename", Path)
    with pytest.raises(OutputError, match="No space left on device"):
        write_small(tmp_path / "store", 2, overwrite=overwrite)
    if old is None:
        assert list(tmp_path.iterdir()) == []
    else:
        assert {entry.name for entry in tmp_path.iterdir()} == {"store"}
        store = Store.open(tmp_path / "store")
        store.verify()
        assert store.sha256 == old.sha256


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_sentence_even_if_the_error_is_swallowed(tmp_path: Path) -> None:
    def swallowing() -> None:
        with Path("/dev/full").open("wb", buffering=0) as full, writer_at(tmp_path / "store") as writer:
            writer.add("a", GOOD)
            text = writer._arrays["values", "text"]
            text.close()
            text._stream = full
            with pytest.raises(OutputError, match=r"Cannot write the store .*No space left.*; free space"):
                writer.add("b", GOOD)

    with pytest.raises(DataError, match="incomplete because a write failed"):
        swallowing()
    assert list(tmp_path.iterdir()) == []


def test_an_old_store_is_replaced_where_folders_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    write_small(tmp_path / "store", 1)
    write_small(tmp_path / "store", 2, overwrite=True).verify()
    assert Store.open(tmp_path / "store").sample(0, "text")[0, 0] == 2
    assert {entry.name for entry in tmp_path.iterdir()} == {"store"}


@pytest.mark.parametrize("number", [1, 2])
def test_an_interruption_between_two_renames_leaves_the_old_store(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    old = write_small(tmp_path / "store", 1)
    rename, calls = Path.rename, iter(range(1, 10))

    def interrupted(path: Path, target: Path) -> Path:
        if next(calls) == number:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_small(tmp_path / "store", 2, overwrite=True)
    assert Store.open(tmp_path / "store").sha256 == old.sha256
    assert {entry.name for entry in tmp_path.iterdir()} == {"store"}


def test_an_old_store_comes_back_after_a_kill_between_two_renames(tmp_path: Path) -> None:
    old = write_small(tmp_path / "store", 1)
    (tmp_path / "store").rename(tmp_path / ".store.12ab-old.partial")
    (tmp_path / ".store.12ab.partial").mkdir()
    atomic_writing.remove_stale(tmp_path / "store")
    assert Store.open(tmp_path / "store").sha256 == old.sha256
    assert {entry.name for entry in tmp_path.iterdir()} == {"store"}


def test_an_old_store_is_left_to_the_running_process_that_takes_it_away(tmp_path: Path) -> None:
    write_small(tmp_path / "store", 1)
    folder, lock = atomic_writing.locked_folder(tmp_path / "store")
    old = folder.with_name(folder.name.removesuffix(".partial") + "-old.partial")
    (tmp_path / "store").rename(old)
    atomic_writing.remove_stale(tmp_path / "store")
    assert set(tmp_path.iterdir()) == {folder, old}
    os.close(lock)


def test_an_exchange_that_the_system_does_not_offer_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_writing.ctypes, "CDLL", lambda *_, **__: object())
    assert not atomic_writing._exchange(tmp_path / "a", tmp_path / "b")


def test_a_working_folder_taken_by_another_import_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the folder vanishes, then it is locked, then there are no locks at all."""
    real_open, real_lock = os.open, atomic_writing.fcntl.flock
    outcomes = iter([FileNotFoundError(), None, None])
    locks = iter([BlockingIOError(), OSError(95, "Operation not supported")])

    def opening(*arguments: object) -> int:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return real_open(*arguments)

    def locking(*_: object) -> None:
        raise next(locks)

    monkeypatch.setattr(atomic_writing.os, "open", opening)
    monkeypatch.setattr(atomic_writing.fcntl, "flock", locking)
    folder, descriptor = atomic_writing.locked_folder(tmp_path / "store")
    monkeypatch.setattr(atomic_writing.os, "open", real_open)
    assert folder.is_dir()
    (tmp_path / ".store.link.partial").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(atomic_writing.fcntl, "flock", real_lock)
    os.close(descriptor)
    atomic_writing.remove_stale(tmp_path / "store")
    assert [entry.name for entry in tmp_path.iterdir()] == [".store.link.partial"]


@pytest.mark.parametrize("name", ["store [1]", "a*b", "ünïcode 文"])
def test_any_folder_name_works_and_is_cleaned(tmp_path: Path, name: str) -> None:
    stale = tmp_path / f".{name}.0123.partial"
    stale.mkdir()
    write_small(tmp_path / name).verify()
    assert {entry.name for entry in tmp_path.iterdir()} == {name}


def test_a_folder_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Cannot write .*; (free space or )?choose a folder"):
        write_small(tmp_path / "file" / "store")


def test_a_failure_at_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step_arrays, "array_header", refuse)
    with pytest.raises(OutputError, match="No space left"):
        write_small(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


IMPORTER = """
import sys, numpy as np
from qinn.data.stores.store import Modality, StoreWriter
from qinn.data.stores import writing
from qinn.task import Task

def wait(*arguments, **keywords):
    print("ready", flush=True)
    sys.stdin.read()

def writer_at(path):
    return StoreWriter(path, name="n", task=Task("regression", -3, 3, "mosi"),
                       modalities={"text": Modality(3)},
                       layout="l")

writing.put_in_place = wait
with writer_at(sys.argv[1]) as unfinished:
    for number in range(200):
        unfinished.add(str(number), {"text": np.ones((50, 3))})
    with writer_at(sys.argv[2]) as finished:
        finished.add("a", {"text": np.ones((50, 3))})
"""


@pytest.mark.slow
def test_a_killed_import_leaves_nothing_that_opens_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    """Two imports of one process are killed: one while adding, one when only the renaming is left."""
    environment = os.environ | {"PYTHONPATH": str(Path(qinn.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    names = ("adding", "placing")
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTER, *(str(tmp_path / name) for name in names)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for name in names:
            with pytest.raises(KeyError), writer_at(tmp_path / name):
                raise KeyError
            assert len(list(tmp_path.glob(f".{name}.*.partial"))) == 1, (
                "a running import must not be cleaned away"
            )
        process.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2
    for name in names:
        with pytest.raises(DataError, match="does not exist"):
            Store.open(tmp_path / name)
        with pytest.raises(DataError, match="unfinished import"):
            Store.open(next(tmp_path.glob(f".{name}.*.partial")))
        write_small(tmp_path / name).verify()
    assert {entry.name for entry in tmp_path.iterdir()} == set(names)


def test_of_two_imports_to_one_place_the_first_to_end_wins(tmp_path: Path) -> None:
    def slow() -> None:
        with writer_at(tmp_path / "store") as writer:
            writer.add("a", GOOD)
            write_small(tmp_path / "store")
            writer.add("b", GOOD)
            writer.add("c", GOOD)

    with pytest.raises(OutputError, match="exists already"):
        slow()
    assert len(Store.open(tmp_path / "store")) == 2
    assert {entry.name for entry in tmp_path.iterdir()} == {"store"}


# A damaged store is refused.


def _edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return damage


def _cut(name: str, num_bytes: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("r+b") as stream:
            stream.truncate(stream.seek(0, 2) - num_bytes)

    return damage


def _array(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array, allow_pickle=array.dtype == object)


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def _replace_by_folder(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def _replace_folder_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def _table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda folder: pq.write_table(
        change(pq.read_table(folder / "samples.parquet")), folder / "samples.parquet"
    )


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder missing": (shutil.rmtree, "does not exist"),
    "folder is a file": (
        _replace_folder_by_file,
        "is a file",
    ),
    "manifest missing": (lambda folder: (folder / "manifest.json").unlink(), "no manifest.json"),
    "manifest a folder": (
        _replace_by_folder("manifest.json"),
        "Cannot read",
    ),
    "manifest cut": (_cut("manifest.json", 20), "not JSON"),
    "manifest binary": (_write("manifest.json", b"\xff\xfe\x00"), "not JSON"),
    "manifest deeply nested": (_write("manifest.json", b"[" * 200_000), "not JSON"),
    "manifest a list": (_write("manifest.json", b"[]"), "does not say format"),
    "foreign": (_edit(lambda manifest: manifest.update(format="zarr")), "does not say format"),
    "newer": (_edit(lambda manifest: manifest.update(version=3)), "version 3.*install a newer qinn"),
    "version in words": (_edit(lambda manifest: manifest.update(version="one")), "import the data again"),
    "key missing": (_edit(lambda manifest: manifest.pop("sha256")), "key `sha256`"),
    "key of another type": (_edit(lambda manifest: manifest.update(num_samples="2")), "key `num_samples`"),
    "boolean number": (_edit(lambda manifest: manifest.update(num_samples=True)), "key `num_samples`"),
    "impossible task": (_edit(lambda manifest: manifest["task"].update(low=5)), "task, modalities or splits"),
    "task without kind": (_edit(lambda manifest: manifest["task"].pop("kind")), "task, modalities or splits"),
    "no modalities": (_edit(lambda manifest: manifest.update(modalities={})), "at least one modality"),
    "modality leaves the folder": (
        _edit(lambda manifest: manifest["modalities"].update({"../../x": manifest["modalities"]["text"]})),
        "task, modalities or splits",
    ),
    "modality a number": (_edit(lambda manifest: manifest["modalities"].update(text=3)), "not valid"),
    "split sizes wrong": (_edit(lambda manifest: manifest["splits"].update(train=7)), "do not add up"),
    "split sizes without end": (
        _edit(lambda manifest: manifest["splits"].update(train=float("inf"))),
        "do not add up",
    ),
    "split sizes in part": (_edit(lambda manifest: manifest.update(splits={"train": 2.5})), "do not add up"),
    "dimension without end": (
        _edit(lambda manifest: manifest["modalities"]["text"].update(dim=float("inf"))),
        "not valid",
    ),
    "unknown split": (_edit(lambda manifest: manifest.update(splits={"dev": 2})), "do not add up"),
    "other dimension": (_edit(lambda manifest: manifest["modalities"]["text"].update(dim=4)), "of shape"),
    "other number of steps": (
        _edit(lambda manifest: manifest["modalities"]["text"].update(num_steps=5)),
        "rise from 0 to 5",
    ),
    "values missing": (lambda folder: (folder / "text.values.npy").unlink(), "no text.values.npy"),
    "values a folder": (
        _replace_by_folder("text.values.npy"),
        "Cannot read",
    ),
    "values cut": (_cut("text.values.npy", 1), "text.values.npy` is damaged.*bytes instead of"),
    "values empty": (_write("text.values.npy", b""), "is no part of a store but an empty file"),
    "values of another type": (_array("text.values.npy", np.ones((6, 3))), "float32"),
    "values in Fortran order": (_array("text.values.npy", np.ones((6, 3), np.float32, order="F")), "float32"),
    "values pickled": (_array("text.values.npy", np.array([{}], dtype=object)), "Python objects|is damaged"),
    "offsets cut": (_cut("text.offsets.npy", 8), "offsets.npy` is damaged"),
    "offsets of floats": (_array("text.offsets.npy", np.zeros(3)), "int64 offsets"),
    "offsets start late": (_array("text.offsets.npy", np.array([1, 2, 6])), "rise from 0"),
    "table missing": (lambda folder: (folder / "samples.parquet").unlink(), "no samples.parquet"),
    "table cut": (_cut("samples.parquet", 9), "samples.parquet` is damaged"),
    "table shorter": (_table(lambda table: table.slice(1)), "1 rows"),
    "column missing": (_table(lambda table: table.drop_columns(["group"])), "column `group`"),
    "label of another type": (
        _table(lambda table: table.set_column(2, "label", pa.array(["1", "2"]))),
        "column `label`",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_store_does_not_open(tmp_path: Path, damage: Callable, message: str) -> None:
    write_small(tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(QinnError, match=re.compile(message, re.DOTALL)) as caught:
        Store.open(tmp_path / "store")
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)


def test_a_changed_value_or_label_is_found_by_verify(tmp_path: Path) -> None:
    write_small(tmp_path / "store")
    values = np.load(tmp_path / "store" / "text.values.npy")
    values[3, 1] += 1e-3
    np.save(tmp_path / "store" / "text.values.npy", values)
    with pytest.raises(DataError, match="has changed since it was written"):
        Store.open(tmp_path / "store").verify()
    write_small(tmp_path / "other")
    _table(lambda table: table.set_column(2, "label", pa.array([1.0, 2.0])))(tmp_path / "other")
    with pytest.raises(DataError, match="has changed"):
        Store.open(tmp_path / "other").verify()


def test_a_table_that_is_damaged_inside_is_refused_when_read(tmp_path: Path) -> None:
    store = write_small(tmp_path / "store")
    path = tmp_path / "store" / "samples.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        _ = store.table


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "store",
        "__import__('qinn.data.checking.verification').data.checking.verification.verify(store)",
        "__import__('qinn.data.checking.inspection').data.checking.inspection.inspect(store)",
        "__import__('qinn.data.subsets.subset').data.subsets.subset.subset_of(store).padded([0])",
    ],
    ids=["open", "verify", "inspect", "read"],
)
def test_stores_do_not_need_torch(tmp_path: Path, use: str) -> None:
    write_small(tmp_path / "s")
    code = (
        "import sys\nfrom pathlib import Path\nfrom qinn.data.stores.store import Store\n"
        f"store = Store.open(Path({str(tmp_path / 's')!r}))\nfound = {use}\n"
        "print(found is not None, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(qinn.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["True", "False"]


def test_opening_takes_no_longer_for_a_large_store(tmp_path: Path) -> None:
    """A sparse file of 8 GB of values opens in a moment, so they are not read."""
    with writer_at(tmp_path / "store", modalities={"text": Modality(100)}) as writer:
        writer.add("a", {"text": np.ones((1, 100))})
    num_steps = 20_000_000
    with (tmp_path / "store" / "text.values.npy").open("r+b") as stream:
        stream.write(array_header("<f4", num_steps, 100))
        stream.truncate(128 + num_steps * 400)
    np.save(tmp_path / "store" / "text.offsets.npy", np.array([0, num_steps]))
    _edit(lambda manifest: manifest["modalities"]["text"].update(num_steps=num_steps))(tmp_path / "store")
    started = time.process_time()
    assert len(Store.open(tmp_path / "store").sample(0, "text")) == num_steps
    assert time.process_time() - started < 0.5
