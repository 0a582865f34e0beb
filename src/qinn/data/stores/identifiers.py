"""Which ids are taken while a store is written, in a few bytes each."""

from collections.abc import Callable, Container, Iterable

import numpy as np

_RECENT = 2**15


class SeenIdentifiers(Container[str]):
    """The ids seen so far: the recent ones as they are, the earlier ones by a hash of 64 bits.

    Where a hash is known, `confirm` decides, so the answer is exact.

    Args:
        confirm: Whether an id is among the earlier ones.

    Examples:
        >>> seen = SeenIdentifiers(lambda identifier: True)
        >>> seen.update(["a", "b"])
        >>> "a" in seen, "c" in seen, len(seen)
        (True, False, 2)
    """

    def __init__(self, confirm: Callable[[str], bool]) -> None:
        self._confirm = confirm
        self._recent: set[str] = set()
        self._earlier = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._recent) + len(self._earlier)

    def __contains__(self, identifier: object) -> bool:
        if identifier in self._recent:
            return True
        if not isinstance(identifier, str) or not len(self._earlier):
            return False
        wanted = hash(identifier)
        at = int(np.searchsorted(self._earlier, wanted))
        return at < len(self._earlier) and int(self._earlier[at]) == wanted and self._confirm(identifier)

    def update(self, identifiers: Iterable[str]) -> None:
        """Add ids that are not among those seen."""
        self._recent.update(identifiers)
        if len(self._recent) >= _RECENT:
            fresh = np.fromiter(map(hash, self._recent), np.int64, len(self._recent))
            # Two sorted runs: the stable sort of numpy merges them.
            self._earlier = np.concatenate([self._earlier, np.sort(fresh)])
            self._earlier.sort(kind="stable")
            self._recent.clear()
