"""The doors through which files are opened: regular files alone, and small ones within a limit.

A FIFO would be waited for without end, a device read without end: both are refused before they are opened. What
the doors raise is an `OSError` whose `strerror` says what is wrong, so that a reader states it like any other.
"""

import errno
import io
import os
import stat
from pathlib import Path

SMALL_BYTES = 64 * 2**20
"""What a file that is read as a whole (a manifest, a record of a run) may have at most."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class UnsuitableFileError(OSError):
    """What lies at a path is no regular file, too large, or the path can name no file.

    Args:
        path: The path.
        reason: What is wrong, as the end of a sentence.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, os.fspath(path))

    def __str__(self) -> str:
        return str(self.strerror)


def check_regular(path: Path | str) -> os.stat_result:
    """Return a file's status; links are followed.

    Args:
        path: The file.

    Raises:
        UnsuitableFileError: If it is a folder, a named pipe, a device or a socket, or the path can name no file.
        OSError: If it does not exist or may not be looked at.

    Examples:
        >>> check_regular("/dev/null")
        Traceback (most recent call last):
        qinn.opening.UnsuitableFileError: it is a device, not a regular file
    """
    try:
        found = Path(path).stat()
    except ValueError:
        raise UnsuitableFileError(_shown(path), "its path has a character that no path can have") from None
    return _checked(path, found)


def _checked(path: Path | str, found: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        raise UnsuitableFileError(path, f"it is {kind}, not a regular file")
    return found


def _shown(path: Path | str) -> str:
    return os.fspath(path).encode("unicode_escape", "replace").decode()


def open_regular(path: Path | str) -> io.BufferedReader:
    """Open a file of any size for reading.

    Args:
        path: The file.

    Raises:
        OSError: See `check_regular`.
    """
    check_regular(path)
    # Between the check and here a pipe may have come: not to wait for its writer, and to look again.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        _checked(path, os.fstat(descriptor))
        os.set_blocking(descriptor, True)
        return io.BufferedReader(io.FileIO(descriptor, "rb"))
    except BaseException:
        os.close(descriptor)
        raise


def read_small(path: Path | str, most_bytes: int = SMALL_BYTES) -> bytes:
    """Read a file as a whole that must be small.

    Args:
        path: The file.
        most_bytes: What it may have.

    Raises:
        UnsuitableFileError: If it has more.
        OSError: See `check_regular`.

    Examples:
        >>> read_small(__file__, 10)
        Traceback (most recent call last):
        qinn.opening.UnsuitableFileError: it has more than the 10 bytes that are read of such a file
    """
    with open_regular(path) as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        size = f"{most_bytes >> 20} MiB" if most_bytes >= 2**20 else f"{most_bytes} bytes"
        raise UnsuitableFileError(path, f"it has more than the {size} that are read of such a file")
    return content


def read_small_text(path: Path | str, most_bytes: int = SMALL_BYTES, *, encoding: str = "utf-8") -> str:
    """Read a text file as a whole that must be small, with line ends as in Python's text files.

    Args:
        path: The file.
        most_bytes: What it may have.
        encoding: How its characters are written.

    Raises:
        UnicodeDecodeError: If it is no such text.
        OSError: See `read_small`.
    """
    text = read_small(path, most_bytes).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")
