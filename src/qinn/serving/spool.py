"""The folder in which clips lie while they are worked on: nobody else's, and gone afterwards, however that comes."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["Spool"]

_PREFIX = "qinn-serve-"
_LOCK = "lock"


class Spool:
    """A folder of our own for as long as the process lives.

    A server that is killed cannot tidy up: the next one removes what it left, known by a lock that nobody holds. Of
    systems without such locks the folders of killed servers stay.

    Args:
        parent: Where to make it; by default where temporary files lie.
    """

    def __init__(self, parent: Path | None = None) -> None:
        base = Path(tempfile.gettempdir() if parent is None else parent)
        self.removed = _remove_left(base)
        # Locked before it has the name under which others look for folders that nobody holds.
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=base))
        self._lock = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        _try_to_lock(self._lock)
        self.folder = made.with_name(made.name[1:])
        made.rename(self.folder)

    def place(self, name: str) -> Path:
        """Return where the clip lies that we call so."""
        return self.folder / name

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)


def _try_to_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_left(base: Path) -> int:
    """Remove the folders of servers that were killed; return how many."""
    removed = 0
    for folder in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            about = folder.lstat()
            if (
                folder.is_symlink()
                or not folder.is_dir()
                or (hasattr(os, "getuid") and about.st_uid != os.getuid())
            ):
                continue
            descriptor = os.open(folder / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _try_to_lock(descriptor):
                    shutil.rmtree(folder)
                    removed += 1
            finally:
                os.close(descriptor)
    return removed
