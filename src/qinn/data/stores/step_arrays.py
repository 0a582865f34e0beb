"""The arrays that a store keeps of a modality: a row per step (or sample), written as they come."""

import hashlib
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped

from qinn.atomic_writing import flush
from qinn.data.stores.cutting import even_pieces

__all__ = ["StepArrayWriter", "array_header", "form_of", "step_array_digest"]


def form_of(what: str, dim: int) -> tuple[str, tuple[int, ...]]:
    """Return type, as numpy writes it, and shape of a row of a modality's values, offsets, spans or times."""
    forms = {"values": ("<f4", (dim,)), "offsets": ("<i8", ()), "spans": ("<i4", (2,)), "times": ("<f8", ())}
    return forms[what]


def step_array_digest(rows: Shaped[np.ndarray, "step ..."]) -> str:
    """Return the SHA-256 of the little-endian values, read a part at a time."""
    digest = hashlib.sha256()
    for piece in even_pieces(len(rows), rows[:1].size):
        digest.update(np.ascontiguousarray(rows[piece], dtype=rows.dtype.newbyteorder("<")).tobytes())
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
    """Write an array row by row as they come.

    Args:
        path: The ``.npy`` file to be.
        kind: Little-endian type of its values, as numpy writes it.
        width: Shape of a row.
    """

    def __init__(self, path: Path, kind: str, width: tuple[int, ...]) -> None:
        header = array_header(kind, 0, *width)
        self._digest = hashlib.sha256()
        self._count = 0
        self._kind = kind
        self._width = width
        self._stream: BinaryIO = path.open("w+b")
        self._stream.write(header)

    def write(self, rows: Shaped[np.ndarray, "step ..."]) -> None:
        """Append rows."""
        data = np.ascontiguousarray(rows, self._kind).reshape(-1).view(np.uint8).data
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
