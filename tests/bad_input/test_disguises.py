"""A file that is not what it is called is named for what it is, by every reader, with what to do."""

import bz2
import gzip
import io
import lzma
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.data.files.arrays import open_arrays
from qinn.data.files.pickles.reading import open_pickle
from qinn.data.files.sequence_files import SequenceFile
from qinn.data.files.tables import read_columns
from qinn.data.importing import detect_layout
from qinn.data.importing.folds import read_folds
from qinn.data.stores.store import Store
from qinn.errors import QinnError
from qinn.experiment.config import read_config
from qinn.features.text import load_text_encoder
from qinn.file_kinds import file_kind
from qinn.results.run import read_run

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 8131041280\n"
PAGE = (
    b"\xef\xbb\xbf\n<!-- saved --><!DOCTYPE html>\n<html><head><title>Sign in -\n Drive</title></head></html>"
)
ANSWER = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
ARRAY = np.arange(6.0).reshape(3, 2)


def pickled() -> bytes:
    return pickle.dumps({"train": {"text": ARRAY, "id": ["a", "b", "c"]}}, protocol=4)


def packed_as_tar() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("data.pkl"), io.BytesIO())
    return target.getvalue()


def packed_as_zip(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return target.getvalue()


DISGUISES: dict[str, tuple[Callable[[], bytes], str]] = {
    "pointer of git-lfs": (lambda: LFS, "a pointer of Git LFS that stands for a file of .*git lfs pull"),
    "pointer of git-annex": (
        lambda: b"/annex/objects/SHA256E-s12--" + b"ab" * 32 + b".pkl\n",
        "a pointer of git-annex.*git annex get",
    ),
    "web page": (lambda: PAGE, r"a web page \(`Sign in - Drive`\).*download the file itself"),
    "answer of a server": (lambda: ANSWER, "an XML document.*download the file itself"),
    "gzip": (lambda: gzip.compress(pickled()), "a gzip archive; unpack it first: `gunzip"),
    "gzip of tar": (lambda: gzip.compress(packed_as_tar()), "a gzip archive of a tar archive.*`tar -xzf"),
    "bzip2": (lambda: bz2.compress(pickled()), "a bzip2 archive.*`bunzip2"),
    "xz": (lambda: lzma.compress(pickled()), "an xz archive.*`unxz"),
    "zstd": (lambda: b"\x28\xb5\x2f\xfd" + b"\x04\x00abc", "a zstd archive.*`unzstd"),
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24), "a 7z archive.*`7z x"),
    "tar": (packed_as_tar, "a tar archive.*`tar -xf"),
    "zeros at the front": (lambda: bytes(5000) + pickled(), "a file of zeros, at least at its front.*again"),
    "read as text": (
        lambda: (b"\x80\x04\x95\xff\xfe" + bytes(range(128, 200))).decode("utf-8", "replace").encode(),
        "read as text and written again.*binary mode",
    ),
    "MATLAB": (
        lambda: b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(90),
        "a MATLAB file; save its arrays",
    ),
    "spreadsheet": (lambda: packed_as_zip("[Content_Types].xml", "xl/workbook.xml"), "Excel.*save the table"),
    "torch": (lambda: packed_as_zip("model/data.pkl", "model/version"), "a file of torch.save.*as npz"),
}
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "pickle": ("a.pkl", open_pickle),
    "csv table": ("a.csv", read_columns),
    "tsv of features": ("a.tsv", open_arrays),
    "parquet": ("a.parquet", read_columns),
    "npz": ("a.npz", open_arrays),
    "npy": ("a.npy", open_arrays),
    "HDF5": ("a.h5", open_arrays),
    "sequence": ("a.csd", SequenceFile),
    "configuration": ("a.yaml", read_config),
    "folds in JSON": ("a.json", read_folds),
    "layout": ("a.data", detect_layout),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_what_is_not_what_it_is_called_is_named_for_what_it_is(disguise, reader, tmp_path):
    make, said = DISGUISES[disguise]
    name, read = READERS[reader]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(QinnError, match=said) as refused:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("disguise", ["pointer of git-lfs", "web page", "gzip"])
def test_parts_of_stores_and_runs_are_named_for_what_they_are(disguise, tiny_store, tiny_run, tmp_path):
    make, said = DISGUISES[disguise]
    for part in ("manifest.json", "samples.parquet", "text.values.npy"):
        store = shutil.copytree(tiny_store, tmp_path / part)
        (store / part).write_bytes(make())
        with pytest.raises(QinnError, match=said):
            Store.open(store).verify()
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "run.json").write_bytes(make())
    with pytest.raises(QinnError, match=said):
        read_run(run)


def test_pointers_in_a_folder_of_an_encoder_are_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(LFS)
    with pytest.raises(QinnError, match=r"model.safetensors` holds no weights: it is a pointer of Git LFS"):
        load_text_encoder(f"folder:{tmp_path}")


def of_windows(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


def saved(array: np.ndarray, write: Callable[[io.BytesIO, np.ndarray], None]) -> bytes:
    target = io.BytesIO()
    write(target, array)
    return target.getvalue()


def as_hdf5(target: io.BytesIO, array: np.ndarray) -> None:
    with h5py.File(target, "w") as file:
        file["x"] = array


TEXT_MODE: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "pickle of protocol 0": ("a.pkl", lambda: pickle.dumps({"a": ARRAY, "b": list("abcd")}, 0), open_pickle),
    "pickle of protocol 2": (
        "a.pkl",
        lambda: pickle.dumps([ARRAY, ARRAY * 2, ARRAY.astype("f4")], 2),
        open_pickle,
    ),
    "npy": ("a.npy", lambda: saved(ARRAY, np.save), open_arrays),
    "HDF5": ("a.h5", lambda: saved(ARRAY, as_hdf5), open_arrays),
    "npz": ("a.npz", lambda: saved(np.full((40, 8), 10, np.int64), np.savez), open_arrays),
}


@pytest.mark.parametrize("kind", TEXT_MODE)
def test_line_ends_of_windows_are_named(kind, tmp_path):
    name, make, read = TEXT_MODE[kind]
    (tmp_path / name).write_bytes(make())
    read(tmp_path / name)
    (tmp_path / name).write_bytes(of_windows(make()))
    with pytest.raises(QinnError, match=r"text mode.*in binary mode"):
        read(tmp_path / name)


def test_the_remedy_for_the_oldest_protocol_mends_it(tmp_path):
    content = {"a": ARRAY, "b": ["line\nend", "x\r\ny"]}
    bad = of_windows(pickle.dumps(content, 0))
    (tmp_path / "a.pkl").write_bytes(bad)
    with pytest.raises(QinnError, match=r"tr -d '\\r'"):
        open_pickle(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(bad.replace(b"\r", b""))
    assert open_pickle(tmp_path / "a.pkl").content["b"] == content["b"]


@pytest.mark.parametrize(
    ("name", "right", "content"),
    [
        ("a.pkl", "a text that begins with `id,label`", b"id,label\nx,1\n"),
        ("a.npz", "a text that begins with `id,label`", b"id,label\nx,1\n"),
        ("a.h5", "a npy file", saved(ARRAY, np.save)),
        ("a.npy", "an npz archive", saved(ARRAY, np.savez)),
        ("a.npz", "an HDF5 file", saved(ARRAY, as_hdf5)),
        ("a.csv", "a pickle", pickled()),
        ("a.parquet", "a text that begins with `id,label`", b"id,label\nx,1\n"),
        ("a.csv", "text in UTF-16; save it as UTF-8", "id,label\nx,1\n".encode("utf-16")),
    ],
)
def test_what_has_the_name_of_another_format_is_named(name, right, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    read = {"a.pkl": open_pickle, "a.csv": read_columns, "a.parquet": read_columns}.get(name, open_arrays)
    with pytest.raises(QinnError, match=right):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "now"),
    [
        ("mosi", pickled(), "mosi.pkl"),
        ("clips.bin", saved(ARRAY, as_hdf5), "clips.h5"),
        ("t", b"PAR1xx", "t.parquet"),
    ],
)
def test_a_file_that_is_read_under_another_name_is_to_be_renamed(name, content, now, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QinnError, match=f"rename it to `{now}`"):
        detect_layout(tmp_path / name)


RIGHT = {
    "pickle": pickled(),
    "npy": saved(ARRAY, np.save),
    "npz": saved(ARRAY, np.savez),
    "hdf5": saved(ARRAY, as_hdf5),
    "text": b"id,label\n001,1\n",
}


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_what_it_is_called_is_known(kind, tmp_path):
    (tmp_path / "a").write_bytes(RIGHT[kind])
    found = file_kind(tmp_path / "a")
    assert found is not None
    assert found.name == kind


def test_nothing_is_said_of_bytes_that_tell_nothing(tmp_path):
    generator = np.random.default_rng(0)
    for _ in range(50):
        (tmp_path / "a").write_bytes(generator.integers(0, 256, 4096, np.uint8).tobytes())
        assert file_kind(tmp_path / "a") is None
    pq.write_table(pa.table({"a": [1]}), tmp_path / "b")
    found = file_kind(tmp_path / "b")
    assert found is not None
    assert found.name == "parquet"
