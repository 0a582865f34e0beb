"""One command at a time in a folder, by a lock on a file in it that ends with its process, however that ends.

A file that is written to is locked: network file systems lock nothing else, and some of them not even that; there, and
on systems without POSIX locks, everybody may go on.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qinn.atomic_writing import PARTIAL_SUFFIX
from qinn.errors import OutputError

try:
    import fcntl
except ImportError:
    fcntl = None

__all__ = ["LOCK_FILE", "held", "locked"]

LOCK_FILE = f".working{PARTIAL_SUFFIX}"
"""Name of the file that is locked in a folder; like all that is unfinished, it stands in nothing's way."""

_SECONDS_TO_DIE = 3.0
"""How long the processes of a command that was killed may hold what they held."""
_SECONDS_BETWEEN_TRIES = 0.05
_LONGEST_NOTE = 500


@contextmanager
def held(
    folder: Path,
    *,
    remedy: str = "choose another folder by `--to`",
    shared: bool = False,
    wait: bool = False,
) -> Iterator[Callable[[], None]]:
    """Make a folder, if it is not there, and hold it as long as the block runs.

    Folders that were made for it go again where nothing came into them.

    Args:
        folder: The folder.
        remedy: What to do where another command works in it, beside waiting.
        shared: Hold it together with others who share it, against those who do not.
        wait: Wait for others as long as it takes.

    Yields:
        What makes sure that the folder is still held, to be called before something is said to be complete; it is
        called at the end of the block, too.

    Raises:
        OutputError: If another command works in it, or it cannot be written; at the end, if it was removed or moved
            meanwhile.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "a" / "b"
        >>> with held(folder):
        ...     folder.is_dir()
        True
        >>> folder.parent.exists()
        False
    """
    lock = folder / LOCK_FILE
    made = [one for one in (folder.absolute(), *folder.absolute().parents) if not one.exists()]
    try:
        try:
            descriptor, can_lock = _lock(lock, shared=shared, wait=wait)
        except BlockingIOError:
            raise OutputError(
                f"Another command{_holder(lock)} works in `{folder}`; wait until it has ended, or {remedy}."
            ) from None

        def check() -> None:
            if can_lock and not _is_there(lock, descriptor):
                raise OutputError(
                    f"`{folder}`, or the lock in it, was removed or moved while this command worked there, so another "
                    "may do so by now; repeat the command."
                )

        try:
            yield check
            check()
        finally:
            _unlock(lock, descriptor, can_lock=can_lock)
    finally:
        for one in made:
            with suppress(OSError):
                one.rmdir()


@contextmanager
def locked(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[bool]:
    """Lock a file, which is made for it and goes again.

    Args:
        path: The file; its folder is made if it is not there.
        shared: Together with others who share it.
        wait: Wait for others as long as it takes, and not just for what a killed command leaves behind.

    Yields:
        Whether there are locks at all.

    Raises:
        BlockingIOError: If another process holds it.
        OutputError: If it cannot be made.
    """
    descriptor, can_lock = _lock(path, shared=shared, wait=wait)
    try:
        yield can_lock
    finally:
        _unlock(path, descriptor, can_lock=can_lock)


def _lock(path: Path, *, shared: bool, wait: bool) -> tuple[int, bool]:
    limit = time.monotonic() + _SECONDS_TO_DIE
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError as error:  # whoever made the folder has just removed it
            if time.monotonic() > limit:
                raise _unwritable(path, error) from error
            time.sleep(_SECONDS_BETWEEN_TRIES)
            continue
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            can_lock = _is_locked(descriptor, shared=shared, wait=wait)
            # Whoever held it before may have removed the file: then another one is locked by others.
            if _is_there(path, descriptor):
                _write_note(descriptor)
                return descriptor, can_lock
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > limit and not wait:
            raise BlockingIOError
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _is_locked(descriptor: int, *, shared: bool, wait: bool) -> bool:
    """Lock an open file; False where there are no locks."""
    if fcntl is None:
        return False
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _unlock(path: Path, descriptor: int, *, can_lock: bool) -> None:
    """Give up the lock; whoever holds it last removes the file."""
    with suppress(OSError):
        if can_lock and fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_there(path, descriptor):
            path.unlink()
    os.close(descriptor)


def _write_note(descriptor: int) -> None:
    """Say in the file who holds it; a full disk is no reason not to."""
    with suppress(OSError):
        note = {"process": os.getpid(), "machine": socket.gethostname()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)


def _holder(path: Path) -> str:
    """Say who holds a file, as far as it says so."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        with path.open("rb") as stream:
            note = json.loads(stream.read(_LONGEST_NOTE))
        machine = str(note["machine"])
        where = "" if machine == socket.gethostname() else f" on {machine}"
        return f" (process {int(note['process'])}{where})"
    return ""


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write into `{path.parent}`: {error.strerror or error}; free space or choose a folder that can be "
        "written."
    )
