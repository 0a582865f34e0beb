"""The bytes of a pickle file, read in order, whose long runs stay on disk until an array needs them.

A long byte string becomes a `Span`: where it lies, not what it holds. An array made of one is a view of the
mapped file, so that a file larger than memory can be taken in a piece at a time; `PickleBytes.release` gives
the pages back that were looked at.
"""

import codecs
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from qinn.errors import DataError
from qinn.opening import open_regular
from qinn.resources import available_memory, shown_size

__all__ = ["PickleBytes", "Span"]

MAPPED_BYTES = 1024
"""Byte strings from this length on stay on disk; shorter ones are copied, which is quicker."""
UNPACKED_BYTES = 2**20
"""Bytes that were written as text go to a temporary file from this length on."""
_RELEASE_EVERY = 64 * 2**20
_CHUNK = 4 * 2**20
_LONGEST_LINE = 2**30


class PickleBytes:
    """A mapped file, read in order; nothing is set aside for more bytes than are left in it.

    Args:
        path: The file.
        sketch: Describe arrays without unpacking what can't be mapped: their values are then all zero.

    Attributes:
        position: Where reading goes on.
        size: Length of the file in bytes.

    Raises:
        OSError: If the file can't be opened.
        DataError: If it is empty or no regular file (a pipe would be waited for without end).
    """

    def __init__(self, path: Path, *, sketch: bool = False) -> None:
        with open_regular(path) as file:
            if not os.fstat(file.fileno()).st_size:
                raise DataError(f"`{path}` is empty; a pickle file was expected.")
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.path = path
        self.size = len(self.map)
        self.position = 0
        self.sketch = sketch
        self._released = 0
        self._unpacked: list[mmap.mmap] = []

    def next(self) -> int | None:
        """Return the next byte; None at the end."""
        if self.position >= self.size:
            return None
        self.position += 1
        return self.map[self.position - 1]

    def skip(self, count: int) -> int:
        """Pass over bytes and return where they start.

        Raises:
            EOFError: If fewer are left.
        """
        if not 0 <= count <= self.size - self.position:
            raise EOFError(f"declares {count} bytes where {self.size - self.position} are left")
        start = self.position
        self.position += count
        if self.position - self._released > _RELEASE_EVERY:
            self._released = self.position
            self.release()
        return start

    def read(self, count: int) -> bytes:
        """Read bytes.

        Raises:
            EOFError: If fewer are left.
        """
        start = self.skip(count)
        return self.map[start : start + count]

    def readline(self) -> bytes:
        """Read up to the end of a line, or of the file.

        Raises:
            ValueError: If the line is longer than what memory can take: it is read as a whole.
        """
        most = min(_LONGEST_LINE, available_memory() // 8)
        end = self.map.find(b"\n", self.position, self.position + most)
        if end < 0 and self.size - self.position > most:
            raise ValueError(f"a line of more than {shown_size(most)}")
        return self.read((end + 1 if end >= 0 else self.size) - self.position)

    def release(self) -> None:
        """Give back the memory in which mapped pages lie; they are read again when they are needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in (self.map, *self._unpacked):
                mapped.madvise(mmap.MADV_DONTNEED)

    def unpack(self, span: "Span") -> "Span | bytes":
        """Turn bytes that were written as text into bytes, long ones in a temporary file that nobody else sees.

        Python 3 writes byte strings of the protocols 0 to 2 as text, one character per byte, which can't be
        mapped as it is.

        Args:
            span: The text.

        Raises:
            ValueError: If the text is none, or has characters that stand for no byte.
            DataError: If the temporary file can't be written.
        """
        if span.length < UNPACKED_BYTES:
            return b"".join(span.pieces())
        try:
            with tempfile.TemporaryFile(prefix="qinn-") as target:
                for piece in span.pieces():
                    target.write(piece)
                target.flush()
                length = target.tell()
                mapped = mmap.mmap(target.fileno(), length, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(
                f"`{self.path}` holds arrays as text, which are unpacked to a temporary file, but that can't "
                f"be written ({error.strerror or error}); free space or set TMPDIR."
            ) from error
        self._unpacked.append(mapped)
        return Span(mapped, 0, length, "bytes")


class Span:
    """A long byte string or text of a pickle, by where it lies.

    Args:
        map: What it lies in.
        start: Its first byte.
        length: Its length in bytes.
        kind: What it stands for: ``"bytes"``, ``"bytearray"``, ``"text"`` (in UTF-8) or ``"latin"`` (a byte
            string of Python 2, which is text to Python 3).
    """

    def __init__(
        self, map: mmap.mmap, start: int, length: int, kind: Literal["bytes", "bytearray", "text", "latin"]
    ) -> None:
        self.map = map
        self.start = start
        self.length = length
        self.kind = kind
        self._value: bytes | bytearray | str | None = None

    def value(self) -> bytes | bytearray | str:
        """Return what it stands for, read into memory once.

        Raises:
            ValueError: If it should be text and is none.
        """
        if self._value is None:
            raw = self.map[self.start : self.start + self.length]
            if self.kind == "text":
                self._value = raw.decode("utf-8", "surrogatepass")
            else:
                self._value = (
                    raw.decode("latin-1")
                    if self.kind == "latin"
                    else bytearray(raw)
                    if self.kind == "bytearray"
                    else raw
                )
        return self._value

    def array(self, kind: np.dtype) -> np.ndarray:
        """Return a flat array over the bytes, read-only and without a copy."""
        return np.frombuffer(self.map, kind, self.length // kind.itemsize, self.start)

    def pieces(self) -> Iterator[bytes]:
        """Decode UTF-8 and encode Latin-1, a piece at a time."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        for start in range(self.start, self.start + self.length, _CHUNK):
            stop = min(start + _CHUNK, self.start + self.length)
            last = stop == self.start + self.length
            yield decoder.decode(self.map[start:stop], last).encode("latin-1")
