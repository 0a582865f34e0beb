"""Files that lie in several others, read as one without a copy."""

import io
import os
from collections.abc import Sequence

__all__ = ["JoinedStreams"]


class JoinedStreams(io.RawIOBase):
    """Several streams that can be read as one.

    Args:
        streams: The streams, in their order; whoever opened them closes them.
    """

    def __init__(self, streams: Sequence[io.BufferedReader]) -> None:
        super().__init__()
        self._streams = streams
        self._ends: list[int] = []
        for stream in streams:
            self._ends.append((self._ends or [0])[-1] + stream.seek(0, os.SEEK_END))
        self._position = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that one can go anywhere in it."""
        return True

    def tell(self) -> int:
        """Return the place from the beginning of the first stream."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise OSError(f"position {start + offset} lies before the start")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes, or all that are left, across the ends of streams."""
        wanted = self._ends[-1] - self._position if size is None or size < 0 else size
        blocks = []
        for stream, end in zip(self._streams, self._ends, strict=True):
            if wanted <= 0 or self._position >= end:
                continue
            # From the end, since the start of a stream is the end of the one before it.
            stream.seek(self._position - end, os.SEEK_END)
            block = stream.read(min(wanted, end - self._position))
            blocks.append(block)
            self._position += len(block)
            wanted -= len(block)
        return b"".join(blocks)
