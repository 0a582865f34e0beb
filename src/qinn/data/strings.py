"""Columns of text for many samples, without a Python object for each of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64, Shaped

_AT_ONCE = 4096


class Strings(Sequence[str]):
    """Many strings as one block of bytes, used like a tuple of strings.

    Args:
        values: The strings; an Arrow array is kept as it is, with null as the empty string.

    Example:
        >>> names = Strings(["a", "b", "c"])
        >>> names[1], names[:2], names.pick(np.array([2, 0])), "c" in names
        ('b', ('a', 'b'), ('c', 'a'), True)
    """

    def __init__(self, values: Iterable[str] | pa.Array | pa.ChunkedArray) -> None:
        self._size: int | None = None
        self._read: Callable[[], pa.Array] = lambda: _as_block(values)
        if not isinstance(values, pa.Array | pa.ChunkedArray | Strings):
            _ = self.block

    @classmethod
    def deferred(cls, size: int, read: Callable[[], pa.Array | pa.ChunkedArray]) -> "Strings":
        """Return strings that are read when the first of them is asked for.

        Args:
            size: How many there will be.
            read: Returns them.

        Example:
            >>> len(Strings.deferred(1, lambda: pa.array(["late"])))
            1
        """
        strings = cls(pa.array([], pa.large_string()))
        strings._size, strings._read = size, lambda: _as_block(read())
        return strings

    @cached_property
    def block(self) -> pa.Array:
        """The strings as an Arrow array without null."""
        block = self._read()
        self._size, self._read = None, lambda: block
        return block

    def __len__(self) -> int:
        return len(self.block) if self._size is None else self._size

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self.block[index].to_pylist())
        return self.block[int(index)].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self.block.slice(start, _AT_ONCE).to_pylist()

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and pc.index(self.block, pa.scalar(value, self.block.type)).as_py() >= 0  # pyright: ignore[reportAttributeAccessIssue]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return self.block.equals(other.block)
        return isinstance(other, tuple | list) and tuple(self) == tuple(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __add__(self, other: "Strings | Sequence[str]") -> "Strings":
        """Return these strings followed by others."""
        if not isinstance(other, Strings):
            other = Strings(other)
        return Strings.deferred(
            len(self) + len(other), lambda: pa.chunked_array([self.block, other.block])
        )

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) if self._size is None else "not read yet"
        return f"Strings({len(self)}: {shown}{', …' if len(self) > 3 and self._size is None else ''})"

    def pick(self, rows: Int64[np.ndarray, "chosen"]) -> tuple[str, ...]:
        """Return the strings at some positions as a tuple."""
        return tuple(self.block.take(pa.array(rows)).to_pylist())

    def take(self, rows: Int64[np.ndarray, "chosen"]) -> "Strings":
        """Return the strings at some positions as strings of their own; unread ones stay unread."""
        if self._size is not None:
            return Strings.deferred(len(rows), lambda: self.block.take(pa.array(rows)))
        return Strings(self.block.take(pa.array(rows)))

    def shared_with(self, other: "Strings") -> list[str]:
        """Return those of these strings that the other ones have too.

        Example:
            >>> Strings(["a", "b"]).shared_with(Strings(["b", "c"]))
            ['b']
        """
        both = pc.is_in(self.block, value_set=other.block)  # pyright: ignore[reportAttributeAccessIssue]
        return self.block.filter(both).to_pylist()


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

        Example:
            >>> Categories.of(np.array(["b", "a", "b"])).codes.tolist()
            [0, 1, 0]
        """
        if isinstance(values, np.ndarray):
            values = pa.array(values, pa.large_string())
        encoded = pc.fill_null(values, "").dictionary_encode()  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.unify_dictionaries().combine_chunks()
            if isinstance(encoded, pa.ChunkedArray):
                encoded = (
                    encoded.chunk(0) if encoded.num_chunks else pa.array([], values.type).dictionary_encode()
                )
        names = tuple(str(name) for name in encoded.dictionary.to_pylist())
        return cls(names, np.asarray(encoded.indices, dtype=np.int32))

    def decoded(self) -> Shaped[np.ndarray, "n"]:
        """Return the column as an array of strings that share their objects."""
        names = np.empty(len(self.names), dtype=object)
        names[:] = self.names
        return names[self.codes]


def _as_block(values: Iterable[str] | pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(values, Strings):
        return values.block
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        return pa.array(list(values), pa.large_string())
    # Offsets of 64 bits: texts of many samples may have more than 2³¹ bytes together.
    block = values if values.type == pa.large_string() else values.cast(pa.large_string())
    if isinstance(block, pa.ChunkedArray):
        block = pa.concat_arrays(block.chunks) if block.num_chunks else pa.array([], pa.large_string())
    return pc.fill_null(block, "") if block.null_count else block  # pyright: ignore[reportAttributeAccessIssue]
