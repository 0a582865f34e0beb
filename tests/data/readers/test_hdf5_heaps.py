"""Heaps of HDF5 files: whole ones pass; damaged ones are refused before the library meets them."""

import struct
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from qinn.data.readers.hdf5_heaps import check_heaps

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


def test_a_file_after_many_changes_is_whole(tmp_path: Path) -> None:
    path = write_words(tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        for position in range(0, len(WORDS), 2):
            file["words"][position] = "changed" * position  # pyright: ignore[reportIndexIssue]
        del file["id"]
    check_heaps(path)


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
        "import sys; from pathlib import Path; from qinn.data.readers.arrays import Hdf5File; "
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
