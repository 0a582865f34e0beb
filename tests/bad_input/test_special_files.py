"""Named pipes, devices, folders and oversized files where a file is expected: one sentence at once, by every reader."""

import os
import pickle
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn import opening
from qinn.data.checking.verification import verify
from qinn.data.files.arrays import Hdf5File, open_arrays
from qinn.data.files.pickles.reading import open_pickle
from qinn.data.files.sequence_files import SequenceFile
from qinn.data.files.tables import read_columns
from qinn.data.importing.folds import read_folds
from qinn.data.stores.manifest import Source
from qinn.data.stores.store import Store
from qinn.errors import QinnError
from qinn.experiment.config import read_config
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.predictor import Predictor
from qinn.face.describing import describe
from qinn.features.text import load_text_encoder
from qinn.results.comparison import read_comparison
from qinn.results.explanation import read_explanation
from qinn.results.files import read_bytes, read_json, read_table
from qinn.results.folder import RunFolder
from qinn.results.run import read_run
from qinn.results.sweep import read_sweep
from qinn.results.weights import read_weights

SECONDS = 20


@contextmanager
def soon() -> Iterator[None]:
    """Fail, rather than hang, where something waits or reads without end."""

    def hangs(*_: object) -> None:
        raise TimeoutError(f"still reading after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def listening(path: Path) -> None:
    at = Path.cwd()
    os.chdir(path.parent)  # the address of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(at)


KINDS = [fifo, zeros, folder, listening]
SINGLE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "configuration": ("c.yaml", read_config),
    "record": ("run.json", read_json),
    "predictions": ("p.parquet", read_table),
    "weights": ("weights.safetensors", read_weights),
    "file of a run": ("transformers.json", read_bytes),
    "csv": ("t.csv", read_columns),
    "tsv": ("t.tsv", read_columns),
    "parquet": ("t.parquet", read_columns),
    "columns in npz": ("t.npz", read_columns),
    "npz": ("a.npz", open_arrays),
    "npy": ("a.npy", open_arrays),
    "hdf5": ("a.h5", open_arrays),
    "clip table": ("a.csv", open_arrays),
    "sequences": ("a.csd", SequenceFile),
    "hdf5 itself": ("a.hdf5", Hdf5File),
    "pickle": ("a.pkl", open_pickle),
    "split lists": ("folds.json", read_folds),
    "split lists in Python": ("folds.py", read_folds),
    "split table": ("folds.csv", read_folds),
    "source": ("anything", Source.of),
    "comparison": ("comparison.json", lambda path: read_comparison(path.parent)),
    "sweep": ("sweep.json", lambda path: read_sweep(path.parent)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", SINGLE)
def test_a_reader_takes_no_pipe_device_or_folder_for_a_file(
    reader: str, kind: Callable[[Path], None], tmp_path: Path
) -> None:
    name, read = SINGLE[reader]
    kind(tmp_path / name)
    with soon(), pytest.raises(QinnError) as refused:
        read(tmp_path / name)
    assert name in str(refused.value) or str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "Errno" not in str(refused.value)


ENDLESS: dict[str, tuple[str, bytes, Callable[[Path], Any], str]] = {
    "csv of zeros": ("t.csv", b"", read_columns, "no table but a file of zeros"),
    "tsv of zeros": ("t.tsv", b"id\tla", read_columns, "line 1 has more than 16 million characters"),
    "csv larger than memory": ("t.csv", b"id,label\na,1\n", read_columns, "has 8.0 TiB, more than the"),
    "clip table of zeros": ("c.csv", b"", open_arrays, "no table but a file of zeros"),
    "clip table larger than memory": ("c.csv", b"a,b\n1,2\n", open_arrays, "has 8.0 TiB, more than the"),
    "pickle of one line": ("p.pkl", b"S'", open_pickle, "is not a pickle file"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_file_of_nothing_but_zeros_is_refused_at_once(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, start, read, message = ENDLESS[case]
    monkeypatch.setattr("qinn.data.files.pickles.content._LONGEST_LINE", 2**20)
    (tmp_path / name).write_bytes(start)
    os.truncate(tmp_path / name, 2**43)
    with soon(), pytest.raises(QinnError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("read", [read_columns, open_arrays])
def test_a_line_without_end_is_refused_at_once(read: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"x" * (2**24 + 2**16))
    with soon(), pytest.raises(QinnError, match="line 1 has more than 16 million characters"):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(end: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(end.join(["\ufeffid,label", 'a,"1', '2"', ""]).encode())
    assert read_columns(tmp_path / "t.csv").values == {"id": ["a"], "label": [f"1{end}2"]}


STORE_FILES = ["manifest.json", "samples.parquet", "text.values.npy", "text.offsets.npy"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STORE_FILES)
def test_a_store_with_something_else_in_the_place_of_a_file_is_refused(
    name: str, kind: Callable[[Path], None], tiny_store: Path, tmp_path: Path
) -> None:
    place = tmp_path / "store"
    shutil.copytree(tiny_store, place)
    (place / name).unlink()
    kind(place / name)
    with soon(), pytest.raises(QinnError, match=name):
        Store.open(place)


def evaluated(run: Path) -> Any:
    return evaluate_run(run)


def explained(run: Path) -> Any:
    return explain_run(run, run.parent / "explained")


RUN_FILES: dict[str, list[Callable[[Path], Any]]] = {
    "config.yaml": [evaluated, read_run, explained],
    "run.json": [evaluated, read_run, describe],
    "metrics.json": [read_run],
    "predictions.parquet": [evaluated, read_run],
    "explanation.parquet": [read_explanation],
    "explanation.json": [read_explanation],
    "folds/000/weights.safetensors": [evaluated, Predictor.load],
    "folds/000/history.csv": [read_run],
}
RUN_CASES = [(name, read) for name, readers in RUN_FILES.items() for read in readers]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "read"), RUN_CASES)
def test_a_run_with_something_else_in_the_place_of_a_file_is_refused(
    name: str, read: Callable[[Path], Any], kind: Callable[[Path], None], tiny_run: Path, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    shutil.copytree(tiny_run, place)
    (place / name).unlink()
    kind(place / name)
    with soon(), pytest.raises(QinnError) as refused:
        read(place)
    assert "Errno" not in str(refused.value)


def test_a_pipe_among_the_sources_of_a_store_is_not_waited_for(tiny_store: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "features.npz")
    with soon():
        assert verify(Store.open(tiny_store), [tmp_path]).is_right


def test_a_pipe_in_the_folder_of_a_text_encoder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with soon(), pytest.raises(QinnError, match=r"config\.json"):
        load_text_encoder(f"folder:{tmp_path}")


LARGE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "configuration": SINGLE["configuration"],
    "record": SINGLE["record"],
    "file of a run": SINGLE["file of a run"],
    "split lists": SINGLE["split lists"],
    "comparison": SINGLE["comparison"],
    "sweep": SINGLE["sweep"],
    "manifest": ("manifest.json", lambda path: Store.open(path.parent)),
}


@pytest.mark.parametrize("reader", LARGE)
def test_a_file_that_must_be_small_is_not_read_when_it_is_large(reader: str, tmp_path: Path) -> None:
    name, read = LARGE[reader]
    with (tmp_path / name).open("wb") as stream:
        stream.truncate(2**33)
    with soon(), pytest.raises(QinnError, match=r"more than|less than"):
        read(tmp_path / name)


def test_a_regular_file_is_read_whole_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\r\ny")
    (tmp_path / "b").symlink_to("a")
    assert opening.read_small(tmp_path / "b", 4) == b"x\r\ny"
    assert opening.read_small_text(tmp_path / "b") == "x\ny"
    with opening.open_regular(tmp_path / "b") as stream:
        assert stream.read() == b"x\r\ny"


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b"])
@pytest.mark.parametrize(
    "read", [read_config, Store.open, read_columns, open_arrays, Predictor.load, Source.of]
)
def test_a_path_that_no_file_can_have_is_refused_in_words(read: Callable[[str], Any], path: str) -> None:
    with pytest.raises(QinnError) as refused:
        read(path)
    assert "Traceback" not in str(refused.value)


BOMB_ROWS = 300_000_000


def repeated(path: Path, column: str) -> None:
    """A Parquet file of some kilobytes whose column has a very great number of rows."""
    step = 2**20
    with pq.ParquetWriter(path, pa.schema([(column, pa.float64())])) as writer:
        part = pa.table({column: pa.nulls(step, pa.float64())})
        for _ in range(BOMB_ROWS // step):
            writer.write_table(part)


@pytest.fixture(scope="module")
def few_bytes_many_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bomb") / "p.parquet"
    repeated(path, "output_0")
    return path


def frequent_text(path: Path, *, as_text: bool) -> Path:
    """A Parquet file of some kilobytes that holds one long text a hundred thousand times."""
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 2**20]))
    pq.write_table(pa.table({"id": text}), path, store_schema=not as_text)
    return path


@pytest.fixture(scope="module")
def few_bytes_long_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frequent_text(tmp_path_factory.mktemp("bomb") / "p.parquet", as_text=True)


@pytest.fixture(scope="module")
def few_bytes_long_categories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frequent_text(tmp_path_factory.mktemp("bomb") / "p.parquet", as_text=False)


@pytest.mark.parametrize("read", [read_table, read_columns])
@pytest.mark.parametrize("bomb", ["few_bytes_many_rows", "few_bytes_long_texts", "few_bytes_long_categories"])
def test_a_small_parquet_file_does_not_fill_the_memory(
    bomb: str, read: Callable[[Path], Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = request.getfixturevalue(bomb)
    assert path.stat().st_size < 5 * 2**20
    monkeypatch.setattr("qinn.data.files.parquet.available_memory", lambda: 2**30)
    with soon(), pytest.raises(QinnError, match=r"p\.parquet.*memory"):
        read(path)


def test_the_summary_of_a_run_in_a_pipe_says_so(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    os.mkfifo(tmp_path / "run" / "run.json")
    with soon(), pytest.raises(QinnError, match=r"run\.json"):
        RunFolder(tmp_path / "run").summary()


def test_readers_still_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    (tmp_path / "t.csv").write_text("id,label\na,1\n")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": np.ones(3)}))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones(3)
    pq.write_table(pa.table({"id": ["a"] * 3, "label": [1.0, 2.0, 3.0]}), tmp_path / "t.parquet")
    for name in ("a.npy", "a.npz", "a.h5"):
        with open_arrays(tmp_path / name) as arrays:
            assert np.asarray(arrays.array(next(iter(arrays.keys())))[:]).sum() == 3
    assert len(read_columns(tmp_path / "t.csv")) == 1
    assert len(read_columns(tmp_path / "t.parquet")) == 3
    assert read_table(tmp_path / "t.parquet").column("label").to_pylist() == [1.0, 2.0, 3.0]
    assert open_pickle(tmp_path / "a.pkl").content["x"].sum() == 3
