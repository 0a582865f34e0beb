"""Results put in their place in one step: files and folders that appear complete or not at all."""

import ctypes
import glob
import io
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from qinn.errors import OutputError

try:
    import fcntl
except ImportError:  # a system without POSIX locks: what a killed process left is then not cleared
    fcntl = None

PARTIAL_SUFFIX = ".partial"
"""End of the name of what is being written; nothing with it is ever taken for complete."""

_OLD_SUFFIX = f"-old{PARTIAL_SUFFIX}"
"""End of the name that the old folder has while the new one takes its place, where the two cannot be exchanged."""


def cache_folder() -> Path:
    """Return the user's folder for what can be made again: ``$XDG_CACHE_HOME/qinn``, or else ``~/.cache/qinn``.

    Examples:
        >>> cache_folder().name
        'qinn'
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named and Path(named).is_absolute() else Path("~/.cache").expanduser()) / "qinn"


def is_partial(path: Path) -> bool:
    """Tell whether a path is what an interrupted process has left of a file or folder."""
    return path.name.startswith(".") and path.name.endswith(PARTIAL_SUFFIX)


@contextmanager
def complete_file(target: Path, *, overwrite: bool) -> Iterator[io.BufferedRandom]:
    """Give a stream to write to; the file takes its name when the block ends without an error.

    What a killed process has left of an earlier attempt is removed; that of a running one stays. The file lies on
    the disk before it takes its name, and has the permissions of the user's umask.

    Where the target is a link, the file that it names is written.

    Args:
        target: The file to be.
        overwrite: Replace an existing file.

    Raises:
        OutputError: If the place is taken or cannot be written.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with complete_file(target, overwrite=False) as stream:
        ...     _ = stream.write(b"all of it"), target.exists()
        >>> target.read_bytes()
        b'all of it'
    """
    with complete_path(target, overwrite=overwrite) as temporary, temporary.open("r+b") as stream:
        yield stream


@contextmanager
def complete_path(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give the path of an empty file beside the target, for writers that take a path; else as `complete_file`.

    Args:
        target: The file to be.
        overwrite: Replace an existing file.

    Raises:
        OutputError: If the place is taken or cannot be written.
    """
    target = _followed(target)
    _check_place(target, overwrite)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target)
        with temporary.open("xb") as stream:
            _lock(stream.fileno())
            yield temporary
            with temporary.open("rb") as written:
                flush(written)
            # A writer may have put a file of its own there, with permissions of its own.
            temporary.chmod(stat.S_IMODE(os.fstat(stream.fileno()).st_mode))
            _check_place(target, overwrite)
            temporary.replace(target)
        flush_folder(target.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write `{target}`: {error.strerror or error}; "
            "free space or choose a folder that can be written."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def complete_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a hidden folder beside the target to fill; it takes the target's name when the block ends without an error.

    What a killed process has left of an earlier attempt is removed; that of a running one stays. The files in it must
    lie on the disk (see `flush`).

    Args:
        target: The folder to be.
        overwrite: Replace an existing folder, which the caller has looked at.

    Raises:
        OSError: If the system refuses.
        OutputError: If the target is not empty and `overwrite` is not set.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a"
        >>> with complete_folder(target, overwrite=False) as folder:
        ...     _ = (folder / "b.txt").write_text("all of it"), target.exists()
        >>> [path.name for path in target.parent.iterdir()], (target / "b.txt").read_text()
        (['a'], 'all of it')
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target)
    folder, lock = locked_folder(target)
    try:
        yield folder
        flush_folder(folder)
        if not overwrite and target.is_dir() and any(target.iterdir()):
            raise OutputError(f"`{target}` exists already; choose another place or ask to overwrite it.")
        put_in_place(folder, target, overwrite=overwrite)
        flush_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        unlock(lock)


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Give a folder that goes when the block ends; that of a process that was killed goes with the next such block.

    Args:
        name: Beginning of its name.

    Examples:
        >>> with temporary_folder("qinn-example") as folder:
        ...     folder.is_dir()
        True
        >>> folder.exists()
        False
    """
    target = Path(tempfile.gettempdir()) / name
    remove_stale(target)
    folder, lock = locked_folder(target)
    try:
        folder.chmod(0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        unlock(lock)


def _followed(target: Path) -> Path:
    """Return where a path leads: a link stays, and what it points to is written."""
    try:
        return Path(os.path.realpath(target))
    except ValueError:
        shown = os.fspath(target).encode("unicode_escape", "replace").decode()
        raise OutputError(f"`{shown}` has a character that no path can have; choose another place.") from None


def _check_place(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise OutputError(f"`{target}` is a folder; name the file to be written.")
    if target.exists() and not target.is_file():
        raise OutputError(
            f"`{target}` is no regular file, so nothing is written there; choose another place."
        )
    if target.exists() and not overwrite:
        raise OutputError(f"`{target}` exists already; choose another place or ask to overwrite it.")


def flush(stream: BinaryIO) -> None:
    """Push a file's content through to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def flush_folder(folder: Path) -> None:
    """Push a folder's entries through to the disk, where the system can."""
    descriptor = _open_folder(folder)
    if descriptor is None:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_folder(folder: Path) -> int | None:
    """Return a folder's descriptor; None on a system (Windows) on which folders have none."""
    try:
        return os.open(folder, os.O_RDONLY)
    except PermissionError:
        if fcntl is None:
            return None
        raise


def locked_folder(target: Path) -> tuple[Path, int | None]:
    """Make a hidden sibling of `target` and lock it: the lock ends with the process, however it ends.

    Returns:
        The folder, and what `unlock` takes; None on a system on which folders cannot be locked.
    """
    while True:
        folder = target.parent / f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}"
        folder.mkdir()
        try:
            descriptor = _open_folder(folder)
        except FileNotFoundError:
            continue
        if descriptor is None or _is_locked(folder, descriptor):
            return folder, descriptor
        os.close(descriptor)


def unlock(descriptor: int | None) -> None:
    """Give up the lock of `locked_folder`."""
    if descriptor is not None:
        os.close(descriptor)


def _is_locked(folder: Path, descriptor: int) -> bool:
    """Lock a fresh folder; False when another import took it for a stale one in the meantime."""
    try:
        if not _lock(descriptor):
            return True
    except BlockingIOError:
        return False
    return folder.exists() and os.fstat(descriptor).st_ino == folder.stat().st_ino


def _lock(descriptor: int) -> bool:
    """Lock an open file or folder; False where there are no locks, so that nobody can take it for stale either.

    Raises:
        BlockingIOError: If another process holds it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def remove_stale(target: Path) -> None:
    """Remove unfinished files and folders of `target` whose process is gone; those of running ones stay.

    The old folder comes back where a process was killed between taking it away and putting the new one there.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*{PARTIAL_SUFFIX}"):
        if left.name.endswith(_OLD_SUFFIX) and not target.exists():
            if _is_abandoned(left.with_name(left.name.removesuffix(_OLD_SUFFIX) + PARTIAL_SUFFIX)):
                with suppress(OSError):
                    left.rename(target)
            continue
        try:
            descriptor = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            if not _lock(descriptor):
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def _is_abandoned(folder: Path) -> bool:
    """Tell whether no running process has locked a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return _lock(descriptor)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def put_in_place(folder: Path, target: Path, *, overwrite: bool) -> None:
    """Move a finished folder to its target in one step; an old store there is exchanged with it.

    After an exchange `folder` holds the old store.

    Raises:
        OSError: If the target is not empty and `overwrite` is not set, or the system refuses.
    """
    if not overwrite or not target.exists():
        folder.replace(target)
    elif not _exchange(folder, target):
        # Between the two renames the target does not exist, so it cannot open half-made.
        old = folder.with_name(folder.name.removesuffix(PARTIAL_SUFFIX) + _OLD_SUFFIX)
        try:
            target.rename(old)
            folder.rename(target)
        finally:  # after an interruption too; a killed process leaves it to `remove_stale`
            if not target.exists():
                old.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders atomically where the system can (Linux); False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    current_folder, exchange = -100, 2
    return rename(current_folder, os.fsencode(first), current_folder, os.fsencode(second), exchange) == 0
