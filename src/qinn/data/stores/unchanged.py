"""Opening a store that is known to hold what was written: read once, and again whenever its files have changed."""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from qinn.atomic_writing import cache_folder, complete_file
from qinn.data.stores import progress
from qinn.data.stores.manifest import MANIFEST_FILE
from qinn.data.stores.store import Store
from qinn.errors import OutputError

__all__ = ["cache_folder", "forget", "open_unchanged"]

_SETTLED = 2.0
"""Seconds after which another change of a file has another time stamp, on every file system in use."""


def open_unchanged(path: Path | str, *, cache: Path | None = None) -> Store:
    """Open a store and make sure that every file of it is what was written.

    All files are read and hashed, unless that was done before and size, inode and both time stamps of every file
    are the same since (`cache_folder`). Without a cache, or with one that cannot be read or written, they are read
    again every time.

    Args:
        path: The store's folder.
        cache: Where to note what was read; the user's cache folder where None.

    Raises:
        DataError: If there is no store, or a file is not what was written: the message names it.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> place = write_synthetic_store(tempfile.mkdtemp(), spec).path
        >>> len(open_unchanged(place, cache=place.parent / "cache"))
        70
        >>> with (place / "text.values.npy").open("r+b") as file:
        ...     _ = file.seek(-1, 2), file.write(b"!")
        >>> open_unchanged(place, cache=place.parent / "cache")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        qinn.errors.DataError: `.../text.values.npy` has changed since it was written; ...
    """
    started = time.time()
    store = Store.open(path)
    note = _note_of(store.path, cache)
    before = _stamp(store)
    if before is not None and _known(note) == before:
        return store
    total = sum(size for size, *_ in before["files"].values()) if before is not None else 0
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        progress.report(store.path, done, max(total, done))

    store.check_files(read)
    # What changed while it was read, or so shortly before that a change after it could have the same time stamp, is
    # read again the next time.
    if before is not None and _stamp(store) == before and _latest(before) < (started - _SETTLED) * 1e9:
        with suppress(OutputError, OSError), complete_file(note, overwrite=True) as stream:
            stream.write(json.dumps(before).encode())
    return store


def forget(path: Path) -> None:
    """Remove what is noted of a store that will not be opened again.

    Args:
        path: The store's folder.
    """
    with suppress(OSError):
        _note_of(path, None).unlink(missing_ok=True)


def _note_of(path: Path, cache: Path | None) -> Path:
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    return (cache_folder() if cache is None else cache) / "stores" / f"{place}.json"


def _stamp(store: Store) -> dict[str, Any] | None:
    """What tells one state of a store's files from another; None where a file cannot be looked at."""
    try:
        found = {path.name: path.stat() for path in (store.path / MANIFEST_FILE, *store.files)}
    except OSError:
        return None
    files = {
        name: [one.st_size, one.st_dev, one.st_ino, one.st_mtime_ns, one.st_ctime_ns]
        for name, one in found.items()
    }
    return {"sha256": store.sha256, "files": files}


def _latest(stamp: dict[str, Any]) -> int:
    return max(max(mtime, ctime) for *_, mtime, ctime in stamp["files"].values())


def _known(note: Path) -> Any:
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
