"""When each step happens: written, read back, part of what the store is, and checked."""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from qinn.data.checking.inspection import inspect
from qinn.data.checking.verification import verify
from qinn.data.exporting import convert
from qinn.data.importing import TableOptions, TaskOptions, import_data
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.batching import batch_of, batches
from qinn.data.subsets.division import SplitOptions, divide, write_division
from qinn.data.subsets.subset import Subset, subset_of
from qinn.errors import ArgumentError, DataError
from qinn.task import Task

TIMES = [np.array([0.0, 0.25]), None, np.array([0.5, 0.5, 2.0])]
STEPS = [2, 0, 3]


def write(path: Path, times: Any = TIMES, *, chunk: int = 3, later: bool = True) -> Store:
    """Write three samples, some at a time; `later` false leaves the times of all but the first chunk out."""
    with StoreWriter(
        path,
        name="timed",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities={"text": Modality(2), "audio": Modality(1)},
        layout="test",
    ) as writer:
        for start in range(0, 3, chunk):
            rows = slice(start, start + chunk)
            writer.add_many(
                [f"s{row}" for row in range(3)][rows],
                {"text": [np.ones((n, 2)) for n in STEPS[rows]], "audio": np.ones((len(STEPS[rows]), 1))},
                labels=[0.5] * len(STEPS[rows]),
                times=None if times is None or (start and not later) else {"text": times[rows]},
            )
    return Store.open(path)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_times_come_back_as_written(tmp_path: Path, chunk: int) -> None:
    store = write(tmp_path / "store", chunk=chunk)
    times = store.times("text")
    assert times is not None
    assert times.dtype == np.float64
    assert times.tolist() == [0.0, 0.25, 0.5, 0.5, 2.0]
    assert store.times("audio") is None
    assert {path.name for path in store.files} == {path.name for path in (tmp_path / "store").iterdir()} - {
        "manifest.json"
    }
    store.verify()


def test_samples_added_one_by_one_have_their_times(tmp_path: Path) -> None:
    with StoreWriter(
        tmp_path / "store",
        name="timed",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities={"text": Modality(2)},
        layout="test",
    ) as writer:
        writer.add("a", {"text": np.ones((2, 2))}, label=1, times={"text": np.array([1, 4])})
        writer.add("b", {"text": np.ones((1, 2))}, label=1, times={"text": np.array([0.5])})
    times = Store.open(tmp_path / "store").times("text")
    assert times is not None
    assert times.tolist() == [1.0, 4.0, 0.5]


def test_times_are_part_of_what_the_store_is(tmp_path: Path) -> None:
    without, timed = write(tmp_path / "without", None), write(tmp_path / "with")
    later = write(tmp_path / "later", [TIMES[0] + 1e-9, *TIMES[1:]])
    assert len({without.sha256, timed.sha256, later.sha256}) == 3
    assert write(tmp_path / "again", chunk=1).sha256 == timed.sha256


def test_a_store_without_times_is_what_it_was_before_there_were_any(tmp_path: Path) -> None:
    store = write(tmp_path / "store", None)
    assert store.sha256 == "35c879829e8f6360a547499cd318db3bc8d0ec2e22080b6631dedc368c40cff0"
    assert not list((tmp_path / "store").glob("*.times.npy"))
    assert "times_sha256" not in store.manifest["modalities"]["text"]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (TIMES[:2], "times for each of 3 samples"),
        ([TIMES[0][:1], *TIMES[1:]], r"Sample `s0` must have 2 times in `text`.*shape \(1,\)"),
        ([None, *TIMES[1:]], "Sample `s0` must have 2 times"),
        ([TIMES[0], np.zeros(1), TIMES[2]], "Sample `s1` must have 0 times"),
        ([TIMES[0][:, None], *TIMES[1:]], r"shape \(2, 1\)"),
        ([np.array(["0", "1"]), *TIMES[1:]], "dtype <U1"),
        (
            [np.array([0.0, np.nan]), *TIMES[1:]],
            "Sample `s0` has a time of nan in `text`; times must be finite",
        ),
        ([np.array([0.0, np.inf]), *TIMES[1:]], "a time of inf"),
        ([np.array([-0.5, 1.0]), *TIMES[1:]], "a time of -0.5 in"),
        ([*TIMES[:2], np.array([1.0, 2.0, 1.5])], "Sample `s2` has a time of 1.5 behind 2.0 in `text`"),
    ],
)
def test_times_that_do_not_fit_are_refused_and_leave_no_store(
    tmp_path: Path, times: list[np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "store", times)
    assert list(tmp_path.iterdir()) == []


def test_times_for_some_samples_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="but times for 2; give times for every sample or for none"):
        write(tmp_path / "store", chunk=1, later=False)
    assert list(tmp_path.iterdir()) == []


def test_times_of_an_undeclared_modality_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="undeclared modality `face`"),
        StoreWriter(
            tmp_path / "store",
            name="timed",
            task=Task("regression", -3.0, 3.0, "mosi"),
            modalities={"text": Modality(2)},
            layout="test",
        ) as writer,
    ):
        writer.add("a", {"text": np.ones((1, 2))}, times={"face": np.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def missing(file: Path) -> None:
    file.unlink()


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def of_another_kind(file: Path) -> None:
    np.save(file, np.zeros(5, np.float32))


def of_another_length(file: Path) -> None:
    np.save(file, np.zeros(4))


@pytest.mark.parametrize("damage", [missing, truncated, of_another_kind, of_another_length])
def test_a_store_with_damaged_times_does_not_open(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write(tmp_path / "store")
    damage(tmp_path / "store" / "text.times.npy")
    with pytest.raises(DataError, match=r"text\.times\.npy.*import the data again"):
        Store.open(tmp_path / "store")


def test_changed_times_are_found(tmp_path: Path) -> None:
    write(tmp_path / "store")
    np.save(tmp_path / "store" / "text.times.npy", np.array([0.0, 0.25, 0.5, 0.75, 2.0]))
    store = Store.open(tmp_path / "store")
    with pytest.raises(DataError, match="has changed since it was written"):
        store.verify()
    with pytest.raises(DataError, match=r"text\.times\.npy` has changed"):
        open_unchanged(tmp_path / "store", cache=tmp_path / "cache")
    outcomes = {check.name: check.outcome for check in verify(store).checks}
    assert outcomes["content"] == outcomes["files"] == "wrong"
    assert outcomes["text"] == "right"


@pytest.mark.parametrize(
    ("times", "fault"),
    [([0, 0.25, 0.5, 0.75, np.nan], "a time of nan"), ([0, 0.25, 0.5, 2.5, 2.0], "a time of 2.0 behind 2.5")],
)
def test_verification_says_what_is_wrong_with_times(tmp_path: Path, times: list[float], fault: str) -> None:
    write(tmp_path / "store")
    np.save(tmp_path / "store" / "text.times.npy", np.array(times))
    [text] = [check for check in verify(Store.open(tmp_path / "store")).checks if check.name == "text"]
    assert (text.outcome, text.message) == ("wrong", fault)


def test_a_manifest_that_forgets_times_is_found(tmp_path: Path) -> None:
    write(tmp_path / "store")
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    del manifest["modalities"]["text"]["times_sha256"]
    (tmp_path / "store" / "manifest.json").write_text(json.dumps(manifest))
    store = Store.open(tmp_path / "store")
    assert store.times("text") is None
    with pytest.raises(DataError, match="has changed since it was written"):
        store.verify()


def padded_times(subset: Subset, rows: list[int]) -> list[list[float]]:
    return subset.times(rows)["text"].tolist()


def test_a_subset_has_the_times_of_its_samples_padded_as_their_steps(tmp_path: Path) -> None:
    subset = subset_of(write(tmp_path / "store"))
    assert subset.timed == ("text",)
    assert padded_times(subset, [0, 1, 2]) == [[0, 0.25, 0], [0, 0, 0], [0.5, 0.5, 2]]
    assert padded_times(subset, [1]) == [[0]]
    assert padded_times(subset.take([2, 0]), [1, 0]) == [[0, 0.25, 0], [0.5, 0.5, 2]]
    assert subset.select(["audio"]).timed == ()
    assert subset.select(["audio"]).times([0]) == {}
    assert padded_times(subset.select(["audio", "text"]), [0]) == [[0, 0.25]]
    assert subset_of(write(tmp_path / "without", None)).timed == ()


def test_whatever_is_done_to_a_subset_keeps_its_times_where_they_mean_something(tmp_path: Path) -> None:
    subset = subset_of(write(tmp_path / "store"))
    joined = subset.take([0]).join(subset.take([2, 1]))
    assert padded_times(joined, [0, 1, 2]) == [[0, 0.25, 0], [0.5, 0.5, 2], [0, 0, 0]]
    assert padded_times(joined, [0]) == [[0, 0.25]]
    gone = subset.lacking(np.array([[False, False], [False, False], [True, False]]))
    assert padded_times(gone, [0, 2]) == [[0, 0.25], [0, 0]]
    assert padded_times(subset.widened({"text": 2, "face": 7, "audio": 1}), [0]) == [[0, 0.25]]
    assert subset.widened({"text": 2, "face": 7, "audio": 1}).timed == ("text",)
    assert subset.pool(["text"]).timed == ()
    assert subset.pool(["audio"]).timed == ("text",)


def test_subsets_with_and_without_times_do_not_join(tmp_path: Path) -> None:
    timed, without = subset_of(write(tmp_path / "with")), subset_of(write(tmp_path / "without", None))
    with pytest.raises(ArgumentError, match="when the steps of `text` happen can be joined"):
        timed.join(without)
    nothing = without.lacking(np.array([[True, False]] * 3))
    assert padded_times(timed.join(nothing), [2, 5]) == [[0.5, 0.5, 2], [0, 0, 0]]
    assert padded_times(nothing.join(timed), [5, 0]) == [[0.5, 0.5, 2], [0, 0, 0]]
    assert without.join(without).timed == ()


def test_a_batch_has_the_times_of_its_samples(tmp_path: Path) -> None:
    subset = subset_of(write(tmp_path / "store"))
    batch = batch_of(subset, [2, 0])
    times = batch.features["text"].times
    assert times is not None
    assert times.dtype == torch.float64
    assert times.tolist() == [[0.5, 0.5, 2], [0, 0.25, 0]]
    assert batch.features["audio"].times is None
    for bucket in (0, 2):
        for part in batches(subset, 2, shuffle=True, seed=1, bucket=bucket):
            for name, row in zip(part.ids, part.features["text"].times.tolist(), strict=True):
                assert [one for one in row if one] == [
                    one for one in (TIMES[int(name[1])] if name != "s1" else ()) if one
                ]


def test_inspection_shows_times(tmp_path: Path) -> None:
    inspection = inspect(write(tmp_path / "store"))
    text, audio = inspection.modalities["text"], inspection.modalities["audio"]
    assert (text.latest, text.mean_pause) == (2.0, (0.25 + 1.5) / 3)
    assert (audio.latest, audio.mean_pause) == (None, None)
    assert "text: steps have times, up to 2 s, 0.5833 s apart on average" in inspection.render()
    assert "audio: steps" not in inspection.render()


def timed_in_splits(path: Path) -> Store:
    with StoreWriter(
        path,
        name="timed",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities={"text": Modality(2), "audio": Modality(1)},
        layout="test",
    ) as writer:
        for row in range(12):
            steps = row % 3 if row else 1
            writer.add_many(
                [f"s{row:02}"],
                {"text": [np.full((steps, 2), row)], "audio": [np.ones((1, 1))]},
                splits=("train", "valid", "test")[row % 3],
                labels=[0.5],
                texts=["so good"],
                spans={"text": [np.array([[0, 2], [3, 7]])[:steps]]},
                times={"text": [np.arange(steps) + row / 2]},
            )
    return Store.open(path)


def of_each(store: Store, kept: np.ndarray) -> dict[str, list]:
    offsets, ids = store.offsets("text").tolist(), store.strings("id")
    return {
        name: kept[start:stop].tolist() for name, (start, stop) in zip(ids, pairwise(offsets), strict=True)
    }


def test_a_division_keeps_times_and_spans(tmp_path: Path) -> None:
    store = timed_in_splits(tmp_path / "store")
    options = SplitOptions(folds=3)
    copy = write_division(store, divide(store, options), options, tmp_path / "copy")
    assert copy.sha256 != store.sha256
    for kept in (Store.times, Store.spans):
        before, after = kept(store, "text"), kept(copy, "text")
        assert before is not None
        assert after is not None
        assert of_each(copy, after) == of_each(store, before)
        assert kept(copy, "audio") is None
    copy.verify()


def test_an_npz_keeps_times_and_says_how_to_read_them(tmp_path: Path) -> None:
    store = timed_in_splits(tmp_path / "store")
    report = convert(store, tmp_path / "all.npz")
    again = import_data(
        tmp_path / "all.npz",
        tmp_path / "again",
        TableOptions(
            features=tuple(re.findall(r"--feature ([^ `]+)", report.notes[0])),
            task=TaskOptions(scale="mosi"),
            split_column="split",
            text_column="text",
        ),
    )
    times, before = again.times("text"), store.times("text")
    assert times is not None
    assert before is not None
    assert times.tolist() == before.tolist()
    assert again.times("audio") is None


def test_parquet_keeps_times_and_the_layout_of_mmsa_says_that_it_cannot(tmp_path: Path) -> None:
    store = timed_in_splits(tmp_path / "store")
    convert(store, tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    before = store.times("text")
    assert before is not None
    kept = dict(zip(table["id"].to_pylist(), table["text_times"].to_pylist(), strict=True))
    assert {name: each or [] for name, each in kept.items()} == of_each(store, before)
    assert kept["s03"] is None
    assert "audio_times" not in table.column_names
    report = convert(store, tmp_path / "all.pkl")
    assert "the layout has no place for the times of text, which are left out" in report.notes
    without = write(tmp_path / "without", None)
    convert(without, tmp_path / "without.parquet")
    assert "text_times" not in pq.read_table(tmp_path / "without.parquet").column_names


def test_a_column_with_the_name_of_times_is_refused(tmp_path: Path) -> None:
    with StoreWriter(
        tmp_path / "store",
        name="timed",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities={"text": Modality(2)},
        layout="test",
    ) as writer:
        writer.add("a", {"text": np.ones((1, 2))}, extra={"text_times": 1}, times={"text": np.zeros(1)})
    for target in ("all.parquet", "all.npz"):
        with pytest.raises(DataError, match="has a column `text_times`"):
            convert(Store.open(tmp_path / "store"), tmp_path / target)
        assert not (tmp_path / target).exists()
