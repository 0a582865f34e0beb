"""Arrays that a store keeps beside the steps of a modality: a row per step, written as the steps come."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped

from qinn.placement import flush

__all__ = ["StepArrayWriter", "array_header", "parts_of", "step_array_digest"]

_AT_ONCE = 65536


def parts_of(rows: Shaped[np.ndarray, "step ..."]) -> Iterator[Shaped[np.ndarray, "part ..."]]:
    """Go through an array that may be larger than memory, a part at a time.

    Example:
        >>> [len(part) for part in parts_of(np.zeros(100_000))]
        [65536, 34464]
    """
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def step_array_digest(rows: Shaped[np.ndarray, "step ..."]) -> str:
    """Return the SHA-256 of the little-endian values, read a part at a time."""
    digest = hashlib.sha256()
    for part in parts_of(rows):
        digest.update(np.ascontiguousarray(part, dtype=rows.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def array_header(kind: str, *shape: int) -> bytes:
    """Return the header of an `.npy` file; numpy pads it so that its length does not depend on the number of rows.

    Args:
        kind: Type of the values, as numpy writes it.
        shape: Shape of the array.
    """
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


class StepArrayWriter:
    """Write an array with a row per step as they come.

    Args:
        path: The ``.npy`` file to be.
        kind: Little-endian type of its values, as numpy writes it.
        width: Shape of a row.
    """

    def __init__(self, path: Path, kind: str, width: tuple[int, ...]) -> None:
        self._stream: BinaryIO = path.open("w+b")
        self._digest = hashlib.sha256()
        self._count = 0
        self._kind = kind
        self._width = width
        self._stream.write(array_header(kind, 0, *width))

    def write(self, rows: Shaped[np.ndarray, "step ..."]) -> None:
        """Append rows."""
        data = rows.astype(self._kind, copy=False).tobytes()
        self._stream.write(data)
        self._digest.update(data)
        self._count += len(rows)

    @property
    def count(self) -> int:
        """Number of rows so far."""
        return self._count

    def complete(self) -> str:
        """Write the header and everything to the disk, and return the digest of the values."""
        self._stream.seek(0)
        self._stream.write(array_header(self._kind, self._count, *self._width))
        flush(self._stream)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
