"""Heaps and chunks of HDF5 files: whole ones pass; damaged ones are refused before the library meets them."""

import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from qinn.data.files.arrays import Hdf5File
from qinn.data.files.hdf5_checks import check_chunks, check_heaps
from qinn.errors import DataError

WORDS = [
    "",
    "a",
    "twelve chars",
    "é" * 7,
    "x" * 40_000,
    *(f"word {number}" * number for number in range(300)),
]


def write_words(path: Path, **options: object) -> Path:
    with h5py.File(path, "w", **options) as file:  # pyright: ignore[reportArgumentType]
        for name in ("id", "words"):
            file.create_dataset(name, data=WORDS, dtype=h5py.string_dtype())
    return path


@pytest.mark.parametrize(
    "options", [{}, {"libver": "latest"}, {"userblock_size": 512}], ids=["old", "latest", "userblock"]
)
def test_what_the_library_writes_is_whole(tmp_path: Path, options: dict[str, object]) -> None:
    path = write_words(tmp_path / "f.h5", **options)
    assert path.read_bytes().count(b"GCOL\x01") > 3
    check_heaps(path)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("seed", range(5))
def test_files_after_many_changes_are_whole(tmp_path: Path, seed: int, libver: str) -> None:
    """Text and numbers come, change and go in several sessions, which leaves old heaps and holes behind."""
    chance = random.Random(seed)
    kinds = [{}, {"compression": "gzip", "chunks": (50, 3)}, {"compression": "lzf", "chunks": (33, 2)}]
    names: list[str] = []
    path = tmp_path / "f.h5"
    for step in range(60):
        with h5py.File(path, "a", libver=libver) as file:
            match chance.randrange(4) if names else 0:
                case 0:
                    names.append(f"text{step}")
                    words = ["x" * chance.randrange(3000) for _ in range(chance.randrange(1, 30))]
                    file.create_dataset(names[-1], data=words, dtype=h5py.string_dtype())
                case 1:
                    del file[names.pop(chance.randrange(len(names)))]
                case 2:
                    values = np.random.default_rng(step).normal(size=(chance.randrange(60, 900), 3))
                    file.create_dataset(f"numbers{step}", data=values, **chance.choice(kinds))
                case _:
                    text = file[chance.choice(names)]
                    assert isinstance(text, h5py.Dataset)
                    text[chance.randrange(len(text))] = "y" * chance.randrange(5000)
    with Hdf5File(path) as file:
        for name in file.children("") or []:
            file.array(name)


def test_an_empty_file_has_no_heaps(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    check_heaps(tmp_path / "empty")


def small(path: Path) -> tuple[bytes, int, int]:
    """A file with one heap of two words: content, where the heap begins, where its free space is said."""
    with h5py.File(path, "w") as file:
        file.create_dataset("id", data=["one", "two words"], dtype=h5py.string_dtype())
    content = path.read_bytes()
    heap = content.index(b"GCOL")
    return content, heap, heap + 16 + (16 + 8) + (16 + 16)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("free", 0),
        ("free", 8),
        ("free", 2**63),
        ("free", 4096),
        ("object", 2**64 - 8),
        ("object", 2**40),
        ("heap", 2**40),
    ],
)
def test_damage_is_refused_and_does_not_hang(tmp_path: Path, place: str, value: int) -> None:
    path = tmp_path / "f.h5"
    content, heap, free = small(path)
    assert struct.unpack_from("<Q", content, free + 8)[0] == heap + 4096 - free
    at = {"free": free + 8, "object": heap + 24, "heap": heap + 8}[place]
    path.write_bytes(content[:at] + struct.pack("<Q", value) + content[at + 8 :])
    with pytest.raises(ValueError, match="larger than" if place == "heap" else "object whose size"):
        check_heaps(path)
    reading = (
        "import sys; from pathlib import Path; from qinn.data.files.arrays import Hdf5File; "
        "from qinn.errors import DataError\n"
        "try: Hdf5File(Path(sys.argv[1])).array('id')\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", reading, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"{path}:id` is damaged (the heap at byte" in done.stdout


def test_every_heap_is_checked(tmp_path: Path) -> None:
    path = write_words(tmp_path / "f.h5")
    content = bytearray(path.read_bytes())
    last = content.rindex(b"GCOL\x01")
    content[last + 24 : last + 32] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"heap at byte {last} "):
        check_heaps(path)


ROWS = np.repeat(np.arange(500.0) % 7, 3).reshape(500, 3)
PACKED = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "gzip and all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "lzf and all": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "checksum alone": {"fletcher32": True},
}


def packed(path: Path, values: object = ROWS, chunks: tuple[int, ...] = (64, 3), **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=chunks, **options)  # pyright: ignore[reportArgumentType]
    return path


def damage_chunk(path: Path, change: Callable[[bytes], bytes], mask: int | None = None) -> None:
    with h5py.File(path, "r+") as file:
        dataset = file["x"]
        assert isinstance(dataset, h5py.Dataset)
        place = (64,) + (0,) * (dataset.ndim - 1)
        found, raw = dataset.id.read_direct_chunk(place)
        dataset.id.write_direct_chunk(place, change(raw), found if mask is None else mask)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("noise", [False, True])
def test_chunks_of_every_filter_are_read(tmp_path: Path, name: str, noise: bool) -> None:
    values = np.random.default_rng(0).normal(size=(500, 3)) if noise else ROWS
    path = packed(tmp_path / "f.h5", values, **PACKED[name])
    with Hdf5File(path) as file:
        np.testing.assert_array_equal(file.array("x")[:], values)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}])
def test_chunks_of_text_are_read(tmp_path: Path, options: dict[str, object]) -> None:
    for kind in (h5py.string_dtype(), h5py.string_dtype(length=7)):
        values = np.array([f"w{number}" for number in range(150)], object).astype(kind)
        path = packed(tmp_path / "f.h5", values, (64,), **options)
        with Hdf5File(path) as file:
            assert list(file.array("x")) == [f"w{number}" for number in range(150)]


def test_chunks_that_were_never_written_are_zeros(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("x", (500, 3), "f8", chunks=(64, 3), compression="gzip")[:64] = 1
    with Hdf5File(tmp_path / "f.h5") as file:
        assert file.array("x")[:].sum() == 64 * 3


@pytest.mark.parametrize(
    ("name", "change", "mask"),
    [
        ("gzip", lambda raw: zlib.compress(zlib.decompress(raw)[:-8]), None),
        ("gzip", lambda raw: zlib.compress(zlib.decompress(raw) + bytes(8)), None),
        ("gzip", lambda raw: raw[:-8], 1),
        ("gzip", lambda raw: b"no zlib", None),
        ("lzf", lambda raw: b"\x07 twelve b" * 8, None),
        ("lzf", lambda raw: raw[:-1], None),
        ("lzf", lambda raw: bytes([0, 65]) + bytes([0xE0, 200, 0]) * 8, None),
    ],
)
def test_chunks_with_too_few_bytes_are_not_filled_up_from_memory(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], mask: int | None
) -> None:
    path = packed(tmp_path / "f.h5", **PACKED[name])
    damage_chunk(path, change, mask)
    with pytest.raises(DataError, match=r"f\.h5:x` is damaged \(.*chunk"), Hdf5File(path) as file:
        file.array("x")


def test_a_chunk_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "f.h5", compression="gzip")
    with h5py.File(path) as file, pytest.raises(ValueError, match="does not fit the file"):
        check_chunks(file["x"], 8, 10)  # pyright: ignore[reportArgumentType]


def test_chunks_packed_twice_are_refused(tmp_path: Path) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((64, 3))
    properties.set_deflate(4)
    properties.set_filter(32000)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        space = h5py.h5s.create_simple(ROWS.shape)
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_DOUBLE, space, properties)
        h5py.Dataset(made)[:] = ROWS
    with pytest.raises(DataError, match="packed twice"), Hdf5File(tmp_path / "f.h5") as file:
        file.array("x")


def test_other_filters_are_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "f.h5", ROWS.astype(int), scaleoffset=0)
    with pytest.raises(
        DataError, match=r"f\.h5:x` is packed by HDF5 filter 6, which is not read; save it with gzip"
    ):
        Hdf5File(path).array("x")
