"""What the HDF5 library takes on trust, checked before it does.

- *Heaps*, which hold text of variable length: the next object begins where the last one says that it ends, so a free
  object of size 0 keeps the library going for ever, in native code that nothing interrupts.
- *Chunks*: one that unpacks to fewer bytes than it should is filled up with whatever lies in memory.

Source: HDF5 File Format Specification 3.0, sections III.E (global heaps) and IV.A.2.l (filter pipeline).
"""

import math
import mmap
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

_SIGNATURE = b"GCOL\x01"
_LENGTH_AT = 8
_OBJECT_SIZE_AT = 8
_LZF = 32000
"""Number of h5py's own filter."""
_CHECKSUM_BYTES = 4
# Numbers of the format, so that it takes no HDF5 library to know them.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
KNOWN_FILTERS = {_DEFLATE: "gzip", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32", _LZF: "lzf"}
"""What chunks may have passed, and its name."""


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


def check_heaps(path: Path, length_bytes: int = 8) -> None:
    """Check that every global heap of an HDF5 file ends within the file, and every object within its heap.

    The whole file is searched for heaps, at the pace of the disk. Numbers that look like the beginning of one (five
    bytes) are taken for one.

    Args:
        path: The file.
        length_bytes: Bytes of a length in this file, as its superblock says.

    Raises:
        ValueError: If a heap is damaged.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            begin = content.find(_SIGNATURE)
            while begin >= 0:
                _check_heap(content, begin, length_bytes)
                begin = content.find(_SIGNATURE, begin + len(_SIGNATURE))


def _check_heap(content: mmap.mmap, begin: int, length_bytes: int) -> None:
    header = _aligned(_LENGTH_AT + length_bytes)
    object_header = _aligned(_OBJECT_SIZE_AT + length_bytes)
    end = begin + int.from_bytes(content[begin + _LENGTH_AT : begin + _LENGTH_AT + length_bytes], "little")
    if not begin + header <= end <= len(content):
        raise ValueError(f"the heap at byte {begin} is larger than the file")
    place = begin + header
    while place + object_header <= end:
        index = int.from_bytes(content[place : place + 2], "little")
        at = place + _OBJECT_SIZE_AT
        size = int.from_bytes(content[at : at + length_bytes], "little")
        taken = size if index == 0 else object_header + _aligned(size)  # free space counts its own header
        if not object_header <= taken <= end - place:
            raise ValueError(f"the heap at byte {begin} has an object whose size is wrong")
        place += taken


def filters_of(dataset: "h5py.Dataset") -> list[int]:
    """Return the numbers of the filters that a dataset's chunks have passed, in that order."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]


def check_chunks(dataset: "h5py.Dataset", item_bytes: int, most_bytes: int) -> None:
    """Check that every chunk of a dataset unpacks to as many bytes as its shape needs.

    Compressed chunks are unpacked for that, one at a time, at the pace of zlib.

    Args:
        dataset: A dataset in chunks, with no filters but `KNOWN_FILTERS`.
        item_bytes: Bytes of an item in the file.
        most_bytes: Bytes that a chunk may have in the file: the file's size.

    Raises:
        ValueError: If a chunk is damaged.
    """
    expected = math.prod(dataset.chunks or ()) * item_bytes
    filters = filters_of(dataset)
    chunks: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        # The library would set aside what a damaged index says before it finds the file too short.
        if chunk.size > most_bytes:
            raise ValueError(f"a chunk of {chunk.size} bytes does not fit the file")
        used = [number for index, number in enumerate(filters) if not chunk.filter_mask >> index & 1]
        if used:
            unpacked = _unpacked_size(dataset.id.read_direct_chunk(chunk.chunk_offset)[1], used, expected)
        else:
            unpacked = chunk.size
        if unpacked != expected:
            raise ValueError(
                f"the chunk at {chunk.chunk_offset} has other than the {expected} bytes that it needs"
            )


def _unpacked_size(raw: bytes, filters: list[int], expected: int) -> int:
    """Return the size of what a chunk unpacks to; where it is more than expected, any larger one."""
    size: int | None = None
    for number in reversed(filters):
        if number == _SHUFFLE:
            continue
        if size is not None:
            raise ValueError("a chunk is packed twice; save it with one compression")
        if number == _FLETCHER32:
            raw = raw[:-_CHECKSUM_BYTES]
        elif number == _DEFLATE:
            try:
                size = len(zlib.decompressobj().decompress(raw, expected + 1))
            except zlib.error as error:
                raise ValueError(f"a chunk can't be unpacked: {error}") from error
        else:
            size = _lzf_size(raw)
    return len(raw) if size is None else size


def _lzf_size(raw: bytes) -> int:
    """Return how many bytes LZF data stands for, without unpacking it.

    A group's first byte c says, below 32, that c + 1 bytes follow as they are; else that (c >> 5) + 2 earlier bytes are
    repeated, and where c >> 5 is 7, as many more as the next byte says. The group's last byte says from where.
    """
    size = place = 0
    while place < len(raw):
        first = raw[place]
        if first < 32:
            size += first + 1
            place += first + 2
        elif first >> 5 == 7:
            size += 9 + (raw[place + 1] if place + 1 < len(raw) else 0)
            place += 3
        else:
            size += (first >> 5) + 2
            place += 2
    if place != len(raw):
        raise ValueError("a chunk ends in the middle of a group")
    return size
