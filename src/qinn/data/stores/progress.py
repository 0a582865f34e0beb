"""Who is told how far a store has been read through; without numpy, so that a program can ask at its start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

Progress = Callable[[Path, int, int], None]
"""Called with the store, the bytes read so far and the bytes in all."""

_watcher: ContextVar[Progress | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(progress: Progress) -> Iterator[None]:
    """Have every store that is read through within the block report how far it is.

    Examples:
        >>> with watched(lambda store, done, total: print(store.name, done, total)):
        ...     report(Path("store"), 1, 2)
        store 1 2
    """
    token = _watcher.set(progress)
    try:
        yield
    finally:
        _watcher.reset(token)


def report(store: Path, done: int, total: int) -> None:
    """Say how far a store has been read, to whom it may concern."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(store, done, total)
