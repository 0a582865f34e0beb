"""Single files that appear complete or not at all."""

import fcntl
import glob
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qinn.data.stores.manifest import PARTIAL_SUFFIX
from qinn.data.stores.placement import flush, flush_folder
from qinn.errors import DataError


@contextmanager
def complete_file(target: Path, *, overwrite: bool) -> Iterator[io.BufferedWriter]:
    """Give a stream to write to; the file takes its name when the block ends without an error.

    What a killed process has left of an earlier attempt is removed; that of a running one stays.

    Args:
        target: The file to be.
        overwrite: Replace an existing file.

    Raises:
        DataError: If the place is taken or cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with complete_file(target, overwrite=False) as stream:
        ...     _ = stream.write(b"all of it"), target.exists()
        >>> target.read_bytes()
        b'all of it'
    """
    target = target.absolute()
    _check_place(target, overwrite)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        with temporary.open("xb") as stream:
            # Where a file system has no locks, nobody can take the file for stale either.
            with suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield stream
            flush(stream)
            _check_place(target, overwrite)
            temporary.replace(target)
        flush_folder(target.parent)
    except OSError as error:
        raise DataError(
            f"Cannot write `{target}`: {error.strerror or error}; "
            "free space or choose a folder that can be written."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _check_place(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise DataError(f"`{target}` is a folder; name the file to be written.")
    if target.exists() and not overwrite:
        raise DataError(f"`{target}` exists already; choose another place or ask to overwrite it.")


def _remove_stale(target: Path) -> None:
    for path in target.parent.glob(f".{glob.escape(target.name)}.*{PARTIAL_SUFFIX}"):
        if path.is_dir():
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
