"""What may be larger than memory, cut into pieces that are not."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

__all__ = ["ROWS", "even_pieces", "pieces"]

VALUES = 2**18
"""Numbers of a piece: 1 MB in single precision."""

ROWS = 2**13
"""Rows of a piece of a table."""


def even_pieces(num_rows: int, width: int = 1, *, most: int | None = None) -> Iterator[slice]:
    """Cut rows of one width into pieces of `VALUES` numbers at most, of one row at least.

    Args:
        num_rows: How many there are.
        width: Numbers in each.
        most: Rows of a piece at most; by default as many as have `VALUES` numbers.

    Examples:
        >>> [(piece.start, piece.stop) for piece in even_pieces(300_000)]
        [(0, 262144), (262144, 300000)]
    """
    most = max(1, VALUES // max(width, 1)) if most is None else most
    for start in range(0, num_rows, most):
        yield slice(start, min(start + most, num_rows))


def pieces(sizes: Int[np.ndarray, "row"], *, times: int = 1, most: int | None = None) -> Iterator[slice]:
    """Cut rows of different sizes into pieces of `VALUES` numbers at most, of one row at least.

    Args:
        sizes: Numbers in each row.
        times: How often `VALUES` numbers a piece may have.
        most: Rows of a piece at most.

    Examples:
        >>> [(piece.start, piece.stop) for piece in pieces(np.array([200_000, 60_000, 60_000, 900_000, 1]))]
        [(0, 2), (2, 3), (3, 4), (4, 5)]
        >>> [(piece.start, piece.stop) for piece in pieces(np.ones(5, int), most=2)]
        [(0, 2), (2, 4), (4, 5)]
    """
    ends = np.cumsum(sizes)
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + times * VALUES, side="right")))
        stop = stop if most is None else min(stop, start + most)
        yield slice(start, stop)
        start = stop
