"""The heaps in which HDF5 files keep text of variable length, checked before the library walks through them.

Source: HDF5 File Format Specification 3.0, section III.E, "Disk Format: Level 1E - Global Heap". The library takes
the next object to begin where the last one says that it ends, so that a free object of size 0 keeps it going for ever,
in native code that nothing interrupts.
"""

import mmap
import os
from pathlib import Path

_SIGNATURE = b"GCOL\x01"
_LENGTH_AT = 8
_OBJECT_SIZE_AT = 8


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


def check_heaps(path: Path, length_bytes: int = 8) -> None:
    """Check that every global heap of an HDF5 file ends within the file, and every object within its heap.

    The whole file is searched for heaps, at the pace of the disk. Numbers that look like the beginning of one (five
    bytes) are taken for one.

    Args:
        path: The file.
        length_bytes: Size of lengths in this file, as its superblock says.

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
