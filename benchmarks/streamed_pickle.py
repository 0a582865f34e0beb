"""Pickles of arrays larger than memory: the bytes that ``pickle.dump`` writes, with arrays made a piece at a time."""

import pickle
import struct
from collections.abc import Callable, Iterable
from typing import IO, Any

import numpy as np

__all__ = ["Streamed", "dump"]


class Streamed:
    """An array that is made while it is written.

    Args:
        shape: Its shape.
        dtype: Its type.
        pieces: Makes its rows, in order, a few at a time.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, pieces: Callable[[], Iterable[np.ndarray]]
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.pieces = pieces


class _Raw:
    def __init__(self, array: Streamed) -> None:
        self.array = array
        self.nbytes = int(np.prod(array.shape, dtype=np.int64)) * array.dtype.itemsize

    def pieces(self) -> Iterable[bytes]:
        for piece in self.array.pieces():
            yield np.ascontiguousarray(piece, self.array.dtype).tobytes()


class _Pickler(pickle._Pickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Python's own pickler, which can be told how a kind of object is written."""

    dispatch = pickle._Pickler.dispatch.copy()  # pyright: ignore[reportAttributeAccessIssue]

    def save_streamed(self, array: Streamed) -> None:
        function, arguments, state = np.empty(0, array.dtype).__reduce__()
        self.save_reduce(
            function, arguments, (state[0], array.shape, array.dtype, False, _Raw(array)), obj=array
        )

    def save_raw(self, raw: _Raw) -> None:
        header = (
            pickle.SHORT_BINBYTES + bytes([raw.nbytes])
            if raw.nbytes < 256
            else pickle.BINBYTES + struct.pack("<I", raw.nbytes)
            if raw.nbytes < 2**32
            else pickle.BINBYTES8 + struct.pack("<Q", raw.nbytes)
        )
        if raw.nbytes < self.framer._FRAME_SIZE_TARGET:
            self.write(header + b"".join(raw.pieces()))
        else:
            self.framer.write_large_bytes(header, b"")
            written = 0
            for piece in raw.pieces():
                written += self.framer.file_write(piece)
            if written != raw.nbytes:
                raise ValueError(f"an array of {raw.nbytes} bytes was made of {written}")
        self.memoize(raw)

    dispatch[Streamed] = save_streamed
    dispatch[_Raw] = save_raw


def dump(content: Any, file: IO[bytes]) -> None:
    """Write a pickle of protocol 4 whose `Streamed` arrays never lie in memory as a whole.

    Args:
        content: What to write.
        file: Where to.
    """
    _Pickler(file, 4).dump(content)
