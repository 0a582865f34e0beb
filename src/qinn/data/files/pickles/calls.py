"""The few calls of pickles that are imitated: what numpy arrays, bytes and plain containers are made by."""

import math
import re
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import numpy as np

from qinn.data.files.pickles.content import PickleBytes, Span
from qinn.errors import DataError

__all__ = ["CALLS", "GLOBALS", "Array", "Calls", "Dtype", "Global"]

SCALARS = (str, bytes, int, float, type(None))
NOT_PLAIN = "only numpy arrays and plain containers (dict, list, tuple, set, str, bytes, numbers) are read"
_MOST_OF_NOTHING = 2**24
"""Rows that an array without a value may have: whoever goes through them would never end."""
_HAS_OBJECTS, _PICKLED_AS_LIST = 1, 2
"""Flags of numpy's types (``NPY_ITEM_HASOBJECT``, ``NPY_LIST_PICKLE``)."""
_TYPE_VERSIONS = range(5)
_DTYPE = re.compile(r"[<>|=]?(?:\?|[biuf]\d{1,2}|[SU]\d{1,9}|O8?)")


class Global:
    """A name that a file asked for; one of the few that are known."""

    def __init__(self, name: str) -> None:
        self.name = name


class Dtype:
    """A numpy dtype in the making: its code now, its byte order with the state that follows."""

    def __init__(self, code: str) -> None:
        self.code = code.lstrip("<>|=")
        self.order: Literal["<", ">", "="] = "<" if code[0] == "<" else ">" if code[0] == ">" else "="

    def resolve(self) -> np.dtype:
        """Return the dtype."""
        return np.dtype("O") if self.code.startswith("O") else np.dtype(self.code).newbyteorder(self.order)


class Array:
    """An array in the making, whose content follows as its state."""

    def __init__(self) -> None:
        self.content: np.ndarray | None = None


class Calls:
    """Imitates the calls of one pickle and keeps what they allocate in proportion to the file.

    Args:
        source: The file.
    """

    def __init__(self, source: PickleBytes) -> None:
        self._source = source
        self._path = source.path
        # Calls copy; a file that repeats one call on one big value must not multiply it without bound.
        self._budget = 4 * source.size + 2**20

    # Refusals -------------------------------------------------------------------------------------------

    def refuse_global(self, module: str, name: str) -> NoReturn:
        """Refuse a name that is not known, by name."""
        full = f"{module}.{name}"[:200]
        root = module.split(".")[0]
        if root == "pandas":
            reason = (
                "a pandas object can only be rebuilt by running pandas' code: save it as csv, parquet or npz"
            )
        elif root == "torch":
            reason = "a tensor can only be rebuilt by running torch's code: save it as npy or npz"
        else:
            reason = NOT_PLAIN
        raise DataError(
            f"`{self._path}` asks for `{full}` at byte {self._source.position}, which is refused: {reason}."
        )

    def refuse_value(self, what: str) -> NoReturn:
        """Refuse what is neither an array nor plain."""
        raise DataError(
            f"`{self._path}` holds {what} at byte {self._source.position}, which is refused: {NOT_PLAIN}."
        )

    def refuse_call(self, *arguments: Any) -> NoReturn:
        """Refuse the call of a type that only occurs as a name."""
        self.refuse_value("a call of a type")

    def charge(self, amount: int) -> None:
        """Take note of what is copied.

        Raises:
            DataError: If all that is copied gets far more than the file.
        """
        self._budget -= amount
        if self._budget < 0:
            raise DataError(
                f"`{self._path}` unpacks to far more than its {self._source.size} bytes, which is refused."
            )

    # Plain values ---------------------------------------------------------------------------------------

    def hashable(self, key: Any) -> Any:
        """Return a key of a set or dict; hashing deeply nested tuples takes exponential time, so they are refused."""
        flat = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, (*SCALARS, np.generic)) for part in flat):
            self.refuse_value("a key that is neither text nor a number")
        return key

    def encode(self, text: str | Span, encoding: str = "latin1") -> bytes | Span:
        """``_codecs.encode``, by which Python 3 writes byte strings in the old protocols."""
        if encoding not in ("latin1", "latin-1"):
            self.refuse_value("bytes in an unknown encoding")
        if isinstance(text, Span):
            if text.kind not in ("text", "latin"):
                self.refuse_value("bytes in an unknown encoding")
            self.charge(text.length)
            if text.kind == "latin":
                return Span(text.map, text.start, text.length, "bytes")
            return text if self._source.sketch else self._source.unpack(text)
        if not isinstance(text, str):
            self.refuse_value("bytes in an unknown encoding")
        self.charge(len(text))
        return text.encode("latin-1")

    def empty_bytes(self) -> bytes:
        """``bytes()``."""
        return b""

    def byte_array(self, data: Any = b"", encoding: str = "latin-1") -> bytearray:
        """``bytearray(data)``."""
        raw = self.encode(data, encoding) if isinstance(data, str) else data
        if not isinstance(raw, bytes):
            self.refuse_value("a byte array that is not made of bytes")
        self.charge(len(raw))
        return bytearray(raw)

    def make_set(self, items: list[Any] | tuple[Any, ...] = ()) -> set[Any]:
        """``set(items)``."""
        if not isinstance(items, list | tuple):
            raise TypeError("a set is made of a list")
        self.charge(len(items))
        return {self.hashable(item) for item in items}

    def make_frozenset(self, items: list[Any] | tuple[Any, ...] = ()) -> frozenset[Any]:
        """``frozenset(items)``."""
        return frozenset(self.make_set(items))

    def ordered_dict(self, pairs: list[Any] | tuple[Any, ...] = ()) -> OrderedDict[Any, Any]:
        """``OrderedDict(pairs)``."""
        if not isinstance(pairs, list | tuple):
            raise TypeError("an ordered dict is made of pairs")
        self.charge(len(pairs))
        return OrderedDict((self.hashable(key), value) for key, value in pairs)

    def default_dict(self, factory: Global | None = None) -> defaultdict[Any, Any]:
        """``defaultdict(factory)`` of a plain type."""
        if factory is None:
            return defaultdict(None)
        makers = {"list": list, "dict": dict, "set": set, "int": int, "float": float}
        if not isinstance(factory, Global) or factory.name not in makers:
            self.refuse_value("a defaultdict with an unusual default")
        return defaultdict(makers[factory.name])

    # Arrays ---------------------------------------------------------------------------------------------

    def dtype(self, code: str, align: Any = False, copy: Any = True) -> Dtype:
        """``numpy.dtype(code)``."""
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            self.refuse_value(f"an array of type {str(code)[:60]!r}")
        np.dtype(code)  # raises TypeError for sizes that do not exist, such as f3
        return Dtype(code)

    def order_bytes(self, dtype: Dtype, state: tuple[Any, ...]) -> None:
        """Take a dtype's byte order from its state."""
        version, order, *record = state[:5]
        numbers = state[5:]  # size, alignment and flags
        if len(numbers) != 3 or not all(type(number) is int for number in (version, *numbers)):
            self.refuse_value("an array of a type in an unknown form")
        if version not in _TYPE_VERSIONS:
            self.refuse_value(f"an array of a type in version {version}")
        if record != [None, None, None] or order not in ("<", ">", "|", "="):
            self.refuse_value("an array with named fields")
        size, _, flags = numbers
        if size not in (-1, np.dtype(dtype.code).itemsize if dtype.code[0] in "SU" else -1):
            self.refuse_value("an array of a type whose size contradicts its name")
        objects = _HAS_OBJECTS | _PICKLED_AS_LIST
        if flags & objects != (objects if dtype.code[0] == "O" else 0):
            self.refuse_value("an array of a type whose flags contradict its name")
        dtype.order = "<" if order == "<" else ">" if order == ">" else "="

    def reconstruct(self, kind: Any, shape: Any, code: Any) -> Array:
        """``numpy._reconstruct``: an array without content."""
        # What numpy writes for the empty array that the state replaces; anything else it would not read itself.
        plain = isinstance(kind, Global) and kind.name == "ndarray"
        if not plain or shape != (0,) or code not in ("b", b"b"):
            self.refuse_value("a kind of array of its own")
        return Array()

    def scalar(self, dtype: Dtype, raw: Any) -> Any:
        """``numpy.scalar``."""
        kind = self._checked((), dtype, raw)
        if kind.hasobject:
            self.refuse_value("a scalar object")
        return self._flat(raw, kind)[0]

    def from_buffer(self, raw: Any, dtype: Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        """``numpy._frombuffer``: an array of protocol 5."""
        kind = self._checked(shape, dtype, raw)
        if kind.hasobject or order not in ("C", "F"):
            self.refuse_value("an array of objects in a buffer")
        return self._flat(raw, kind).reshape(shape, order="F" if order == "F" else "C")

    def fill(self, target: Array, state: tuple[Any, ...]) -> None:
        """Give an array its content, from the state that follows it in the file."""
        *version, shape, dtype, fortran, raw = state
        if version and (type(version[0]) is not int or version[0] not in (0, 1)):
            self.refuse_value("an array in an unknown version")
        kind = self._checked(shape, dtype, raw)
        if not isinstance(fortran, int) or fortran not in (0, 1):
            self.refuse_value("an array without the order of its axes")
        if kind.hasobject:
            # Arrays of numbers within one, as sequences of unequal lengths are kept; none that holds objects itself.
            arrays = [item for item in raw if isinstance(item, np.ndarray) and not item.dtype.hasobject]
            plain = sum(isinstance(item, (*SCALARS, np.generic)) for item in raw)
            if len(arrays) + plain < len(raw):
                self.refuse_value("an array of objects that are neither text nor numbers")
            self.charge(len(raw))
            flat = np.empty(len(raw), object)
            for place, item in enumerate(raw):  # numpy would unfold arrays that are all of one shape
                flat[place] = item
        elif self._source.sketch and isinstance(raw, Span) and raw.kind == "text":
            target.content = np.broadcast_to(np.zeros((), kind), shape)
            return
        else:
            flat = self._flat(raw, kind)
            if kind.byteorder == ">" and not isinstance(raw, Span):
                self.charge(flat.nbytes)
                flat = flat.astype(kind.newbyteorder("="))  # as numpy does
        target.content = flat.reshape(shape, order="F" if fortran else "C")

    def content(self, array: Array) -> np.ndarray:
        """Return an array's content, which must have been given by now."""
        if array.content is None:
            self.refuse_value("an array without content")
        return array.content

    def _flat(self, raw: Any, kind: np.dtype) -> np.ndarray:
        if isinstance(raw, Span):
            flat = raw.array(kind)
        elif raw:
            # Python 2 wrote an array's bytes as a byte string, which is text by now.
            flat = np.frombuffer(raw.encode("latin-1") if isinstance(raw, str) else raw, kind)
        else:
            flat = np.empty(0, kind)
        if kind.kind == "U" and flat.nbytes:
            characters = flat.view(np.dtype(np.uint32).newbyteorder(kind.byteorder))
            if characters.max() > sys.maxunicode:
                self.refuse_value("text with characters that do not exist")
        return flat

    def _checked(self, shape: Any, dtype: Any, raw: Any) -> np.dtype:
        if not isinstance(dtype, Dtype) or not isinstance(shape, tuple):
            self.refuse_value("an array without a type or shape")
        if len(shape) > 16 or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
            self.refuse_value(f"an array of shape {str(shape)[:60]}")
        if 0 in shape and math.prod(n for n in shape if n) > _MOST_OF_NOTHING:
            self.refuse_value(f"an empty array of shape {str(shape)[:60]}")
        kind = dtype.resolve()
        expected = math.prod(shape) * (1 if kind.hasobject else kind.itemsize)
        if isinstance(raw, Span) and not kind.hasobject:
            unknown = raw.kind == "text" and self._source.sketch
            if raw.kind == "text" and not unknown:
                self.refuse_value("an array whose data is text")
            length = expected if unknown else raw.length
            fits = not unknown or expected <= raw.length <= 2 * expected
        else:
            fits = isinstance(raw, list) if kind.hasobject else isinstance(raw, bytes | bytearray | str)
            length = len(raw) if fits and not isinstance(raw, Span) else -1
        empty_items = kind.itemsize == 0 and math.prod(shape) > 0
        if not fits or empty_items or length != expected:
            self.refuse_value(
                f"an array of shape {shape} and type {kind}, but its data has "
                f"length {length if fits else 'none'},"
            )
        return kind


_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUILTINS = ("builtins", "__builtin__")
GLOBALS: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("collections", "OrderedDict"): "OrderedDict",
    ("collections", "defaultdict"): "defaultdict",
    ("_codecs", "encode"): "encode",
    **{(module, "_reconstruct"): "_reconstruct" for module in _ARRAY_MODULES},
    **{(module, "scalar"): "scalar" for module in _ARRAY_MODULES},
    **{(module, "_frombuffer"): "_frombuffer" for module in ("numpy.core.numeric", "numpy._core.numeric")},
    **{
        (module, name): name
        for module in _BUILTINS
        for name in ("list", "dict", "set", "frozenset", "int", "float", "bytes", "bytearray")
    },
}
"""The names that may occur, and what they are called here."""

CALLS: dict[str, tuple[Callable[..., Any], bool]] = {
    "encode": (Calls.encode, True),
    "bytes": (Calls.empty_bytes, False),
    "bytearray": (Calls.byte_array, False),
    "set": (Calls.make_set, False),
    "frozenset": (Calls.make_frozenset, False),
    "OrderedDict": (Calls.ordered_dict, False),
    "defaultdict": (Calls.default_dict, False),
    "dtype": (Calls.dtype, False),
    "_reconstruct": (Calls.reconstruct, False),
    "scalar": (Calls.scalar, True),
    "_frombuffer": (Calls.from_buffer, True),
    **dict.fromkeys(("ndarray", "list", "dict", "int", "float"), (Calls.refuse_call, False)),
}
"""What is called → what imitates it, and whether that takes spans as they are."""
