"""Putting a finished folder in its place in one step, and clearing what a killed process left."""

import ctypes
import fcntl
import glob
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from qinn.data.stores.manifest import PARTIAL_SUFFIX


def flush(stream: BinaryIO) -> None:
    """Push a file's content through to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def flush_folder(folder: Path) -> None:
    """Push a folder's entries through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked_folder(target: Path) -> tuple[Path, int]:
    """Make a hidden sibling of `target` and lock it: the lock ends with the process, however it ends."""
    while True:
        folder = target.parent / f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}"
        folder.mkdir()
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if _is_locked(folder, descriptor):
            return folder, descriptor
        os.close(descriptor)


def _is_locked(folder: Path, descriptor: int) -> bool:
    """Lock a fresh folder; False when another import took it for a stale one in the meantime."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # This file system has no locks: nobody can take the folder for stale either.
        return True
    return folder.exists() and os.fstat(descriptor).st_ino == folder.stat().st_ino


def remove_stale(target: Path) -> None:
    """Remove working folders of `target` whose process is gone; those of running imports stay."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}.*{PARTIAL_SUFFIX}"):
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
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
        old = folder.with_name(folder.name.removesuffix(PARTIAL_SUFFIX) + "-old" + PARTIAL_SUFFIX)
        target.rename(old)
        try:
            folder.rename(target)
        except OSError:
            old.rename(target)
            raise
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
