"""A store of many samples is written in parts, opened without reading it, and never half there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import qinn
from qinn.data.stores import writing
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.subsets.cross_validation import shared_groups
from qinn.data.subsets.stratified_draw import hold_out
from qinn.data.subsets.subset import subset_of
from qinn.errors import DataError
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")
MODALITIES = {"text": Modality(3), "face": Modality(2, "vector")}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(qinn.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def write(path: Path, n: int = 23, **extra: list) -> Store:
    generator = np.random.default_rng(0)
    with StoreWriter(path, name="large", task=MOSI, modalities=MODALITIES, layout="test") as writer:
        for start in range(0, n, 5):
            count = min(5, n - start)
            lengths = generator.integers(1, 5, count)
            writer.add_many(
                [f"s{row}" for row in range(start, start + count)],
                {"text": (generator.normal(size=(lengths.sum(), 3)), lengths), "face": np.ones((count, 2))},
                splits=["train" if row % 3 else "test" for row in range(start, start + count)],
                labels=generator.uniform(-3, 3, count),
                groups=[f"g{row // 4}" for row in range(start, start + count)],
                extra={name: values[start : start + count] for name, values in extra.items()},
            )
    return Store.open(path)


def test_parts_of_any_size_make_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ages = [None] * 11 + [3] * 6 + [2.5] * 6
    whole = write(tmp_path / "whole", age=ages)
    monkeypatch.setattr(writing, "_ROWS_AT_ONCE", 4)
    monkeypatch.setattr("qinn.data.stores.identifiers._RECENT", 4)
    parts = write(tmp_path / "parts", age=ages)
    assert pq.ParquetFile(tmp_path / "parts" / "samples.parquet").num_row_groups > 3
    assert parts.sha256 == whole.sha256
    parts.verify()
    # The table lies in parts of other sizes, so its file is another.
    different = ("created", "qinn_version", "files", "content_sha256")
    first, second = ({**one.manifest, **dict.fromkeys(different)} for one in (whole, parts))
    assert first == second
    kinds = [f"{name}.{kind}.npy" for name in MODALITIES for kind in ("values", "offsets")]
    for store in (whole, parts):
        names = sorted(file.name for file in store.path.iterdir())
        assert names == sorted(["manifest.json", "samples.parquet", *kinds])
    assert parts.table.column("age").to_pylist() == [None if age is None else float(age) for age in ages]
    np.testing.assert_array_equal(parts.labels, whole.labels)
    assert subset_of(parts).ids == tuple(f"s{row}" for row in range(23))


def test_an_extra_column_that_appears_late_is_empty_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_ROWS_AT_ONCE", 2)
    path = tmp_path / "store"
    with StoreWriter(path, name="n", task=MOSI, modalities=MODALITIES, layout="l") as writer:
        for row in range(6):
            writer.add(str(row), {"face": np.ones(2)}, extra={"mood": "fine"} if row > 3 else {})
    assert Store.open(path).table.column("mood").to_pylist() == [None] * 4 + ["fine"] * 2
    Store.open(path).verify()


@pytest.mark.parametrize("late", ["three", 2**60 + 1])
def test_kinds_that_differ_between_parts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: object
) -> None:
    monkeypatch.setattr(writing, "_ROWS_AT_ONCE", 5)
    with pytest.raises(DataError, match=r"`age` mixes kinds of values .*; use one kind") as caught:
        write(tmp_path / "store", age=[0.5] * 20 + [late] * 3)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("row", [0, 7, 20, 22])
def test_an_id_is_unique_among_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    monkeypatch.setattr(writing, "_ROWS_AT_ONCE", 4)
    monkeypatch.setattr("qinn.data.stores.identifiers._RECENT", 3)
    with StoreWriter(tmp_path / "s", name="n", task=MOSI, modalities=MODALITIES, layout="l") as writer:
        for number in range(23):
            writer.add(f"s{number}", {"face": np.ones(2)})
        with pytest.raises(DataError, match=f"`s{row}` appears twice"):
            writer.add(f"s{row}", {"face": np.ones(2)})
        writer.add("new", {"face": np.ones(2)})
    assert len(Store.open(tmp_path / "s")) == 24


@pytest.mark.parametrize(
    "offsets", [[0, 7, 6], [0, 9, 6], [0, -1, 6]], ids=["falls", "leads outside", "negative"]
)
def test_offsets_that_fall_are_found_before_a_sample_is_read(tmp_path: Path, offsets: list[int]) -> None:
    with StoreWriter(
        tmp_path / "s", name="n", task=MOSI, modalities={"text": Modality(3)}, layout="l"
    ) as writer:
        writer.add_many(["a", "b"], {"text": np.ones((2, 3, 3))}, splits=["train", "test"])
    np.save(tmp_path / "s" / "text.offsets.npy", np.array(offsets))
    for use in (
        lambda store: store.sample(0, "text"),
        lambda store: subset_of(store),
        lambda store: subset_of(store, "test"),
        lambda store: store.verify(),
    ):
        with pytest.raises(DataError, match=r"text.offsets.npy` is damaged: offsets must rise from 0 to 6"):
            use(Store.open(tmp_path / "s"))


def test_a_fall_between_two_looks_at_the_offsets_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qinn.data.stores.cutting.VALUES", 2)
    store = write(tmp_path / "s")
    good = np.load(tmp_path / "s" / "text.offsets.npy")
    for row in range(1, 23):
        bad = good.copy()
        bad[row] = bad[row + 1] + 1
        np.save(tmp_path / "s" / "text.offsets.npy", bad)
        with pytest.raises(DataError, match="must rise"):
            Store.open(store.path).offsets("text")


def test_opening_reads_no_offset_but_the_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "s").path
    monkeypatch.setattr(np, "diff", None)
    monkeypatch.setattr("pyarrow.parquet.read_table", None)
    store = Store.open(path)
    assert not store._checked
    assert len(store) == 23


def test_a_table_with_a_damaged_column_is_refused_when_that_is_read(
    tmp_path: Path, unchecked_types: None
) -> None:
    store = write(tmp_path / "s")
    path = store.path / "samples.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    for use in (
        lambda store: store.strings("id"),
        lambda store: list(store.table_parts()),
        lambda store: list(subset_of(store).ids),
    ):
        with pytest.raises(DataError, match=r"samples\.parquet` is damaged") as caught:
            use(Store.open(store.path))
        assert "\n" not in str(caught.value)


def test_bounds_given_as_integers_make_the_same_store(tmp_path: Path, unchecked_types: None) -> None:
    hashes = []
    for name, task in (("whole", Task("regression", -3, 3, "mosi")), ("float", MOSI)):
        with StoreWriter(tmp_path / name, name="n", task=task, modalities=MODALITIES, layout="l") as writer:
            writer.add("a", {"face": np.ones(2)}, label=1)
        Store.open(tmp_path / name).verify()
        hashes.append(Store.open(tmp_path / name).sha256)
    assert hashes[0] == hashes[1]


# Groups, as they were found with a Python object for each sample.


@pytest.mark.parametrize("without", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_lean_grouping_chooses_what_the_plain_one_chose(without: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    names = [
        f"g{number}" if generator.random() >= without else "" for number in generator.integers(0, 40, 300)
    ]
    groups = np.array(names, dtype=object)
    plain = [group or f"\0{position}" for position, group in enumerate(groups)]
    _, unit = np.unique(np.array(plain, dtype=object).astype(str), return_inverse=True)
    labels = generator.normal(size=300)
    padded = np.array([f"{index:04d}" for index in unit], dtype=object)
    np.testing.assert_array_equal(hold_out(labels, groups, 0.2, seed), hold_out(labels, padded, 0.2, seed))
    parts = generator.choice(["train", "test", ""], 300).astype(object)
    expected: dict[str, set[str]] = {}
    for part, group in zip(parts, groups, strict=True):
        if part and group:
            expected.setdefault(group, set()).add(part)
    found = shared_groups(parts, groups)
    assert found == {name: tuple(sorted(where)) for name, where in expected.items() if len(where) > 1}


# Killed, or out of space, at any moment.

CHILDREN = """
import os, pathlib, resource, signal, sys
import numpy as np
from qinn.data.stores import step_arrays, writing
from qinn.data.stores.store import Modality, StoreWriter
from qinn.errors import OutputError
from qinn.task import Task

def writer_at(path):
    return StoreWriter(path, name="n", task=Task("regression", -3, 3, "mosi"),
                       modalities={"text": Modality(3)}, layout="l", overwrite=True)

def killed_after(left):
    def counted(function):
        def call(*arguments, **keywords):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)
        return call
    for name in ("flush", "flush_folder", "put_in_place", "locked_folder", "remove_stale"):
        setattr(writing, name, counted(getattr(writing, name)))
    for name in ("flush", "array_header"):
        setattr(step_arrays, name, counted(getattr(step_arrays, name)))
    for name in ("_spool_rows", "_write_table", "_manifest", "_check_place", "_discard"):
        setattr(StoreWriter, name, counted(getattr(StoreWriter, name)))

def in_child(act):
    process = os.fork()
    if not process:
        act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def kill(folder, step):
    with writer_at(folder / "store") as writer:
        writer.add("old", {"text": np.ones((5, 3))})
    killed_after(step)
    writing._ROWS_AT_ONCE = 50
    with writer_at(folder / "store") as writer:
        for number in range(120):
            writer.add(str(number), {"text": np.ones((5, 3))})

def fill(folder, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        writing._ROWS_AT_ONCE = 1000
        with writer_at(folder / "store") as writer:
            for number in range(20):
                ids = [f"sample-{number}-{row}" for row in range(500)]
                values = np.random.default_rng(number).random((500, 3))
                writer.add_many(ids, {"text": (values, np.ones(500, int))})
    except OutputError as error:
        os.write(1, f"{limit}: {error}\\n".encode())

root = pathlib.Path(sys.argv[1])
steps = sys.argv[2:]
for number in map(int, steps) if steps else range(1000):
    folder = root / str(number)
    folder.mkdir()
    if steps:
        in_child(lambda: fill(folder, number))
    elif in_child(lambda: kill(folder, number)) == 0:
        break
"""


def run_children(root: Path, *arguments: int) -> str:
    """Run the script, which forks a child for each of its cases."""
    finished = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(root), *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


@pytest.mark.slow
def test_a_process_killed_at_any_step_leaves_the_old_store_or_the_new_one(tmp_path: Path) -> None:
    run_children(tmp_path)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 20
    sizes = []
    for folder in folders:
        store = Store.open(folder / "store")
        store.verify()
        sizes.append(len(store))
        for left in folder.glob(".store.*"):
            with pytest.raises(DataError, match="unfinished import"):
                Store.open(left)
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 120}
    assert sum(1 for folder in folders if len(list(folder.iterdir())) > 1) > 15, "most leave something behind"
    for folder in folders:
        with StoreWriter(
            folder / "store", name="n", task=MOSI, modalities=MODALITIES, layout="l", overwrite=True
        ) as writer:
            writer.add("a", {"face": np.ones(2)})
        assert [entry.name for entry in folder.iterdir()] == ["store"]


@pytest.mark.slow
def test_a_file_that_cannot_grow_is_one_clear_sentence_wherever_it_ends(tmp_path: Path) -> None:
    limits = (100, 1_000, 40_000, 80_100, 100_000, 119_000, 120_100, 150_000, 600_000)
    said = run_children(tmp_path, *limits).splitlines()
    assert len(said) == len(limits) - 1, "the last limit is large enough"
    for limit, sentence in zip(limits, said, strict=False):
        place = re.escape(str(tmp_path / str(limit)))
        # Before the work, where not even that fits which tries the place.
        words = rf"(the store `{place}/store`: File too large|`{place}/store`: file too large in `{place}`); free space"
        assert re.match(f"{limit}: Cannot write {words}", sentence), sentence
        assert list((tmp_path / str(limit)).iterdir()) == []
    assert len(Store.open(tmp_path / str(limits[-1]) / "store")) == 10_000
