"""Writing a pickle of big arrays piece by piece: what Python's own pickler does, without the arrays in memory.

The instructions are those that numpy has always written, so that any numpy reads the file.
"""

import io
import pickle
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from qinn.errors import ArgumentError

_PROTOCOL = b"\x80\x04"
_EMPTY_DICT, _SET_ITEM, _STOP = b"}", b"s", b"."
_RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
_NDARRAY = b"cnumpy\nndarray\n"
_DTYPE = b"cnumpy\ndtype\n"


class PickleStream:
    """Writes nested dicts of plain values and arrays, an array a chunk at a time; use as a context manager.

    Args:
        stream: Where it goes.

    Examples:
        >>> stream = io.BytesIO()
        >>> with PickleStream(stream) as target:
        ...     target.begin("train")
        ...     target.value("id", ["a", "b"])
        ...     target.array("audio", (2, 3), "f4", [np.zeros((1, 3)), np.ones((1, 3))])
        ...     target.end()
        >>> pickle.loads(stream.getvalue())["train"]["audio"].tolist()
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def __enter__(self) -> "PickleStream":
        self._stream.write(_PROTOCOL + _EMPTY_DICT)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._stream.write(_STOP)

    def begin(self, key: str) -> None:
        """Begin a dict under a key of the one at hand; everything until `end` goes into it."""
        self._stream.write(_plain(key) + _EMPTY_DICT)

    def end(self) -> None:
        """End the dict that was begun last."""
        self._stream.write(_SET_ITEM)

    def value(self, key: str, value: Any) -> None:
        """Write a plain value: text, numbers, lists of them."""
        self._stream.write(_plain(key) + _plain(value) + _SET_ITEM)

    def array(self, key: str, shape: tuple[int, ...], code: str, chunks: Iterable[np.ndarray]) -> None:
        """Write an array whose rows come in chunks.

        Args:
            key: Its key.
            shape: Its whole shape.
            code: Kind and bytes of its elements, as numpy writes them: ``f4``, ``i8``.
            chunks: Its rows, in order.

        Raises:
            ArgumentError: If the chunks are not as many rows as the shape says.
        """
        kind = np.dtype(code).newbyteorder("<")
        size = int(np.prod(shape, dtype=object)) * kind.itemsize
        self._stream.write(
            _plain(key)
            + (_RECONSTRUCT + _NDARRAY + _plain((0,)) + _plain(b"b") + b"\x87R")
            + (b"(" + _plain(1) + _plain(shape))
            + (_DTYPE + _plain(code) + b"\x89\x88\x87R(" + _plain(3) + _plain("<") + b"NNN")
            + (_plain(-1) + _plain(-1) + _plain(0) + b"tb\x89\x8e" + struct.pack("<Q", size))
        )
        written = 0
        for chunk in chunks:
            data = np.ascontiguousarray(chunk, dtype=kind).reshape(-1).view(np.uint8).data
            self._stream.write(data)
            written += len(data)
        if written != size:
            raise ArgumentError(f"Argument `chunks` must hold {size} bytes of `{key}`, but holds {written}.")
        self._stream.write(b"tb" + _SET_ITEM)


def _plain(value: Any) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 3)
    # Without memo: places in it would depend on everything before.
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]
