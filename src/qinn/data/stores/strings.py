"""Columns of text for many samples, without a Python object for each of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import SupportsIndex, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64, Shaped

from qinn.data.stores.cutting import ROWS, even_pieces

_NOTHING = pa.array([], pa.large_string()).dictionary_encode()


class Strings(Sequence[str]):
    """Many strings without an object for each, used like a tuple of strings.

    They are one block of bytes, or some of the strings of such a block, which is not copied.

    Args:
        values: The strings; an Arrow array is kept as it is, with null as the empty string.

    Examples:
        >>> names = Strings(["a", "b", "c"])
        >>> names[1], names[:2], names.pick(np.array([2, 0])), "c" in names
        ('b', ('a', 'b'), ('c', 'a'), True)
    """

    def __init__(self, values: Iterable[str] | pa.Array | pa.ChunkedArray) -> None:
        block = _as_block(values)
        self._size = len(block)
        self._picked: Callable[[np.ndarray], pa.Array] = lambda rows: block.take(pa.array(rows))

    @classmethod
    def chosen(cls, rows: Int64[np.ndarray, "n"], strings: Callable[[], "Strings"]) -> "Strings":
        """Return some of the strings of a column, which is read when the first of them is asked for.

        Nothing that the result offers leads to the others.

        Args:
            rows: Which of them.
            strings: Returns the column.

        Examples:
            >>> list(Strings.chosen(np.array([1]), lambda: Strings(["a", "b"])))
            ['b']
        """
        found = cls([])
        found._size = len(rows)
        found._picked = lambda positions: strings()._picked(rows[positions])
        return found

    @property
    def block(self) -> pa.Array:
        """The strings as an Arrow array of their own without null."""
        return self._picked(np.arange(self._size))

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return self.pick(np.arange(self._size)[index])
        return self.pick(np.array([range(self._size)[index]]))[0]

    def __iter__(self) -> Iterator[str]:
        for piece in even_pieces(self._size, most=ROWS):
            yield from self[piece]

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, str) and pc.index(self.block, pa.scalar(value, pa.large_string())).as_py() >= 0
        )  # pyright: ignore[reportAttributeAccessIssue]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return self.block.equals(other.block)
        return isinstance(other, tuple | list) and tuple(self) == tuple(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __add__(self, other: "Strings") -> "Strings":
        """Return these strings followed by others."""
        size = self._size

        def picked(rows: np.ndarray) -> pa.Array:
            early = rows < size
            parts = [self._picked(rows[early]), other._picked(rows[~early] - size)]
            # Where each of the rows asked for lies among the two parts, one after the other.
            order = np.argsort(~early, kind="stable")
            return pa.concat_arrays(parts).take(pa.array(np.argsort(order, kind="stable")))

        found = Strings([])
        found._size, found._picked = size + len(other), picked
        return found

    def __repr__(self) -> str:
        return f"Strings({self._size} of them)"

    def pick(self, rows: Int64[np.ndarray, "chosen"]) -> tuple[str, ...]:
        """Return the strings at some positions as a tuple."""
        return tuple(self._picked(rows).to_pylist())

    def take(self, rows: Int64[np.ndarray, "chosen"]) -> "Strings":
        """Return the strings at some positions, without copying them."""
        return Strings.chosen(rows, lambda: self)

    def shared_with(self, other: "Strings") -> list[str]:
        """Return those strings that both have, in the order of the longer of the two.

        Examples:
            >>> Strings(["a", "b"]).shared_with(Strings(["b", "c"]))
            ['b']
        """
        few, many = sorted((self, other), key=len)
        strings = many.block
        return strings.filter(pc.is_in(strings, value_set=few.block)).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class Categories:
    """A column with few different strings: the strings once, and which of them every sample has.

    Attributes:
        names: The different strings, in order of appearance; null is the empty string.
        codes: Position in `names`, for every sample.
    """

    names: tuple[str, ...]
    codes: Int32[np.ndarray, "n"]

    @classmethod
    def of(cls, values: pa.Array | pa.ChunkedArray | Shaped[np.ndarray, "n"]) -> "Categories":
        """Find the different strings of a column.

        Examples:
            >>> Categories.of(np.array(["b", "a", "b"])).codes.tolist()
            [0, 1, 0]
        """
        # pyarrow has no types of its own.
        column: Any = pa.array(values, pa.large_string()) if isinstance(values, np.ndarray) else values
        if column.null_count:
            column = pc.fill_null(column, "")  # pyright: ignore[reportAttributeAccessIssue]
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.unify_dictionaries().chunks) if column.num_chunks else _NOTHING
        return cls(tuple(map(str, column.dictionary.to_pylist())), np.array(column.indices, dtype=np.int32))

    def rows(self, *names: str) -> Int64[np.ndarray, "some"]:
        """Return which samples have one of some strings.

        Examples:
            >>> Categories.of(np.array(["b", "a", "b"])).rows("b").tolist()
            [0, 2]
        """
        wanted = set(names)
        return np.flatnonzero(np.array([name in wanted for name in self.names], dtype=bool)[self.codes])

    def decoded(self) -> Shaped[np.ndarray, "n"]:
        """Return the column as an array of strings that share their objects."""
        names = np.empty(len(self.names), dtype=object)
        names[:] = self.names
        return names[self.codes]


def _as_block(values: Iterable[str] | pa.Array | pa.ChunkedArray) -> pa.Array:
    block: Any = values
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        return pa.array(list(values), pa.large_string())
    # Offsets of 64 bits: texts of many samples may have more than 2³¹ bytes together.
    if block.type != pa.large_string():
        block = block.cast(pa.large_string())
    if isinstance(block, pa.ChunkedArray):
        block = pa.concat_arrays(block.chunks) if block.num_chunks else pa.array([], pa.large_string())
    return pc.fill_null(block, "") if block.null_count else block  # pyright: ignore[reportAttributeAccessIssue]
