"""Reading pickle files without running them: a pickle machine that knows arrays and plain containers only.

A pickle is a program. Python's own unpickler runs it and can be talked into calling anything; this one is
written the other way round: it interprets the instructions itself, a name in the file is never looked up
anywhere, and only the handful of calls that numpy arrays and plain containers need are imitated. What is
allocated stays proportional to the size of the file.
"""

import codecs
import math
import pickletools
import re
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

import numpy as np

from qinn.errors import DataError

__all__ = ["load_pickle"]

_CONSTANTS = frozenset(
    (
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    )
)
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_SCALARS = (str, bytes, int, float, type(None))
_DTYPE = re.compile(r"[<>|=]?(?:\?|[biuf]\d{1,2}|[SU]\d{1,9}|O8?)")
_SIGNATURES = {
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a zip or npz archive",
    b"\x93NUM": "a npy file",
    b"PAR1": "a parquet file",
    b"\x1f\x8b": "a gzip archive (unpack it first)",
}
_NOT_PLAIN = "only numpy arrays and plain containers (dict, list, tuple, set, str, bytes, numbers) are read"


class _Mark:
    """Where a run of stack items begins."""


class _Global:
    """A name that a file asked for; one of the few that are known."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Dtype:
    """A numpy dtype in the making: its code now, its byte order with the state that follows."""

    def __init__(self, code: str) -> None:
        self.code = code.lstrip("<>|=")
        self.order: Literal["<", ">", "="] = "<" if code[0] == "<" else ">" if code[0] == ">" else "="

    def resolve(self) -> np.dtype:
        return np.dtype("O") if self.code.startswith("O") else np.dtype(self.code).newbyteorder(self.order)


class _BoundedFile:
    """A file that refuses to read more than is left in it, before any memory is set aside for that."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self.size = size

    @property
    def position(self) -> int:
        return self.size - self._left

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise EOFError(f"declares {count} bytes where {self._left} are left")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


def _may_start(opcode: pickletools.OpcodeInfo) -> bool:
    return not opcode.stack_before and opcode.name not in ("GET", "BINGET", "LONG_BINGET", "STOP")


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of numpy arrays and plain containers, running nothing that the file asks for.

    Protocols 0 to 5 are read, also from Python 2 (its byte strings become text through latin-1), and arrays
    from any numpy. Arrays come back read-only where the file's own bytes back them.

    Args:
        path: The pickle file.

    Returns:
        What was pickled: arrays, numpy scalars, dict, list, tuple, set, str, bytes and numbers.

    Raises:
        DataError: If the file is missing, is no pickle, is cut short, or asks for anything else than arrays
            and plain containers; the message names the file and what was asked for.

    Example:
        >>> import pickle, tempfile
        >>> from pathlib import Path
        >>> file = Path(tempfile.mkdtemp()) / "scores.pkl"
        >>> _ = file.write_bytes(pickle.dumps({"score": np.arange(3)}))
        >>> load_pickle(file)
        {'score': array([0, 1, 2])}
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            file.seek(0)
            for signature, kind in _SIGNATURES.items():
                if start.startswith(signature):
                    raise DataError(f"`{path}` is not a pickle file but {kind}.")
            if not start:
                raise DataError(f"`{path}` is empty; a pickle file was expected.")
            with warnings.catch_warnings():
                # Python's tokens warn about escapes that a damaged file makes by chance.
                warnings.simplefilter("ignore", DeprecationWarning)
                return _Machine(path, _BoundedFile(file, path.stat().st_size)).run()
    except OSError as error:
        raise DataError(f"`{path}` can't be read: {error.strerror or error}.") from error


class _Machine:
    """The pickle machine: a stack, a memo, and one method per instruction that is understood."""

    def __init__(self, path: Path, file: _BoundedFile) -> None:
        self.path = path
        self.file = file
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.has_protocol = False
        self.frame_end = 0
        # Calls copy; a file that repeats one call on one big value must not multiply it without bound.
        self.budget = 4 * file.size + 2**20

    def run(self) -> Any:
        first = True
        while True:
            code = self.file.read(1) if self.file.position < self.file.size else b""
            opcode = _OPCODES.get(code)
            if not code:
                raise DataError(f"`{self.path}` is cut short: the pickle ends without its STOP instruction.")
            if opcode is None or (first and not _may_start(opcode)):
                raise self._not_a_pickle(first, f"byte {code!r} is no instruction")
            try:
                if opcode.name == "STOP":
                    return self._result()
                self._step(opcode)
            except EOFError as error:
                raise DataError(
                    f"`{self.path}` is cut short: instruction {opcode.name} at "
                    f"byte {self.file.position} {error}."
                ) from error
            except (IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
                # A text file can look like a few instructions of the oldest protocol.
                raise self._not_a_pickle(
                    not self.has_protocol, f"instruction {opcode.name} does not fit what precedes it"
                ) from error
            first = False

    def _not_a_pickle(self, early: bool, why: str) -> DataError:
        verdict = "is not a pickle file" if early else "is a damaged pickle file"
        return DataError(f"`{self.path}` {verdict}: at byte {self.file.position}, {why}.")

    def _step(self, opcode: pickletools.OpcodeInfo) -> None:
        name, start = opcode.name, self.file.position
        if name == "STRING":
            line = self.file.readline().strip()
            if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
                raise ValueError("unquoted string")
            self.stack.append(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))  # pyright: ignore
            return
        argument = None
        if opcode.arg is not None:
            try:
                # pickletools reads from anything that has read and readline.
                argument = opcode.arg.reader(self.file)  # pyright: ignore[reportArgumentType]
            except ValueError as error:
                if self.file.position >= self.file.size:
                    raise EOFError("wants more than is left") from error
                raise
        if start < self.frame_end < self.file.position:
            raise ValueError("beyond its frame")
        if name in _CONSTANTS:
            self.stack.append(argument)
        else:
            method = _INSTRUCTIONS.get(name)
            if method is None:
                self._refuse_instruction(name)
            method(self, argument)

    def _result(self) -> Any:
        value = self.stack.pop()
        if self.stack or isinstance(value, _Mark | _Global | _Dtype):
            raise ValueError("stack not empty")
        return value

    # Refusals -------------------------------------------------------------------------------------------

    def _refuse_instruction(self, name: str) -> NoReturn:
        meaning = {
            "PERSID": "a persistent id",
            "BINPERSID": "a persistent id",
            "EXT1": "an extension code",
            "EXT2": "an extension code",
            "EXT4": "an extension code",
            "NEXT_BUFFER": "an out-of-band buffer",
            "READONLY_BUFFER": "an out-of-band buffer",
        }.get(name, "an object of a class of its own")
        raise DataError(
            f"`{self.path}` asks for {meaning} (instruction {name} at byte "
            f"{self.file.position}), which is refused: "
            f"{_NOT_PLAIN}."
        )

    def _refuse_global(self, module: str, name: str) -> NoReturn:
        full = f"{module}.{name}"[:200]
        root = module.split(".")[0]
        if root == "pandas":
            reason = (
                "a pandas object can only be rebuilt by running pandas' code: save it as csv, parquet or npz"
            )
        elif root == "torch":
            reason = "a tensor can only be rebuilt by running torch's code: save it as npy or npz"
        else:
            reason = _NOT_PLAIN
        raise DataError(
            f"`{self.path}` asks for `{full}` at byte {self.file.position}, which is refused: {reason}."
        )

    def _refuse_value(self, what: str) -> NoReturn:
        raise DataError(
            f"`{self.path}` holds {what} at byte {self.file.position}, which is refused: {_NOT_PLAIN}."
        )

    def _charge(self, amount: int) -> None:
        self.budget -= amount
        if self.budget < 0:
            raise DataError(
                f"`{self.path}` unpacks to far more than its {self.file.size} bytes, which is refused."
            )

    # Stack and memo -------------------------------------------------------------------------------------

    def _pop_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if type(self.stack[index]) is _Mark:
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise IndexError("no mark")

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("stack underflow")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _frame(self, length: int) -> None:
        # Frames only speed up reading, but where an instruction crosses one's end, bytes are missing or too many.
        if self.file.position < self.frame_end:
            raise ValueError("a frame within a frame")
        self.frame_end = self.file.position + length
        if self.frame_end > self.file.size:
            raise EOFError(f"declares {length} bytes where {self.file.size - self.file.position} are left")

    def _put(self, key: int | None) -> None:
        if key is not None and key > self.file.size:
            raise ValueError("a place in the memo beyond what the file can fill")
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    # Containers -----------------------------------------------------------------------------------------

    def _hashable(self, key: Any) -> Any:
        # Hashing deeply nested tuples takes exponential time, so keys are scalars or flat tuples.
        flat = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, (*_SCALARS, np.generic)) for part in flat):
            self._refuse_value("a key that is neither text nor a number")
        return key

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind and not isinstance(self.stack[-1], kind):
            raise TypeError(f"not a {kind.__name__}")
        return self.stack[-1]

    def _set_items(self, pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise ValueError("odd number of items")
        target = self._top(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[self._hashable(key)] = value

    # Names and calls ------------------------------------------------------------------------------------

    def _global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a global's name is text")
        if not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
            raise ValueError("no name")
        known = _GLOBALS.get((module, name))
        if known is None:
            self._refuse_global(module, name)
        self.stack.append(_Global(known))

    def _reduce(self) -> None:
        callee, arguments = self._pop(2)
        if not isinstance(callee, _Global) or not isinstance(arguments, tuple):
            self._refuse_value("a call of something that is no function")
        self.stack.append(_CALLS[callee.name](self, *arguments))

    def _call_encode(self, text: str, encoding: str = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            self._refuse_value("bytes in an unknown encoding")
        self._charge(len(text))
        return text.encode("latin-1")

    def _call_bytes(self) -> bytes:
        return b""

    def _call_bytearray(self, data: bytes | str = b"", encoding: str = "latin-1") -> bytearray:
        raw = self._call_encode(data, encoding) if isinstance(data, str) else data
        if not isinstance(raw, bytes):
            self._refuse_value("a byte array that is not made of bytes")
        self._charge(len(raw))
        return bytearray(raw)

    def _call_set(self, items: list[Any] | tuple[Any, ...] = ()) -> set[Any]:
        if not isinstance(items, list | tuple):
            raise TypeError("a set is made of a list")
        self._charge(len(items))
        return {self._hashable(item) for item in items}

    def _call_frozenset(self, items: list[Any] | tuple[Any, ...] = ()) -> frozenset[Any]:
        return frozenset(self._call_set(items))

    def _call_ordered_dict(self, pairs: list[Any] | tuple[Any, ...] = ()) -> OrderedDict[Any, Any]:
        if not isinstance(pairs, list | tuple):
            raise TypeError("an ordered dict is made of pairs")
        self._charge(len(pairs))
        return OrderedDict((self._hashable(key), value) for key, value in pairs)

    def _call_default_dict(self, factory: _Global | None = None) -> defaultdict[Any, Any]:
        if factory is None:
            return defaultdict(None)
        makers = {"list": list, "dict": dict, "set": set, "int": int, "float": float}
        if not isinstance(factory, _Global) or factory.name not in makers:
            self._refuse_value("a defaultdict with an unusual default")
        return defaultdict(makers[factory.name])

    # Arrays ---------------------------------------------------------------------------------------------

    def _call_dtype(self, code: str, align: Any = False, copy: Any = True) -> _Dtype:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            self._refuse_value(f"an array of type {str(code)[:60]!r}")
        np.dtype(code)  # raises TypeError for sizes that do not exist, such as f3
        return _Dtype(code)

    def _call_reconstruct(self, kind: Any, shape: Any, code: Any) -> np.ndarray:
        # What numpy writes for the empty array that the state replaces; anything else it would not read itself.
        if (
            not isinstance(kind, _Global)
            or kind.name != "ndarray"
            or shape != (0,)
            or code not in ("b", b"b")
        ):
            self._refuse_value("a kind of array of its own")
        return np.ndarray((0,), dtype="b")

    def _call_scalar(self, dtype: _Dtype, raw: Any) -> Any:
        kind = self._check_array((), dtype, raw)
        if kind.hasobject:
            self._refuse_value("a scalar object")
        return np.frombuffer(self._raw(raw), dtype=kind)[0]

    def _call_frombuffer(self, raw: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        kind = self._check_array(shape, dtype, raw)
        if kind.hasobject or order not in ("C", "F"):
            self._refuse_value("an array of objects in a buffer")
        return np.frombuffer(raw, dtype=kind).reshape(shape, order="F" if order == "F" else "C")

    def _raw(self, raw: Any) -> bytes:
        # Python 2 wrote an array's bytes as a byte string, which is text by now.
        return self._call_encode(raw) if isinstance(raw, str) else raw

    def _check_array(self, shape: Any, dtype: Any, raw: Any) -> np.dtype:
        if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
            self._refuse_value("an array without a type or shape")
        if len(shape) > 16 or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
            self._refuse_value(f"an array of shape {str(shape)[:60]}")
        kind = dtype.resolve()
        expected = math.prod(shape) * (1 if kind.hasobject else kind.itemsize)
        fits = isinstance(raw, list) if kind.hasobject else isinstance(raw, bytes | bytearray | str)
        empty_items = kind.itemsize == 0 and math.prod(shape) > 0
        if not fits or empty_items or len(raw) != expected:
            self._refuse_value(
                f"an array of shape {shape} and type {kind}, but its data has "
                f"length {len(raw) if fits else 'none'},"
            )
        return kind

    def _build(self) -> None:
        target, state = self._pop(2)
        if isinstance(target, _Dtype) and isinstance(state, tuple):
            if any(part is not None for part in state[2:5]) or state[1] not in ("<", ">", "|", "="):
                self._refuse_value("an array with named fields")
            size = np.dtype(target.code).itemsize if target.code[0] in "SU" else -1
            if not all(type(part) is int for part in state[5:8]) or (
                state[5:6] and state[5] not in (-1, size)
            ):
                self._refuse_value("an array of a type whose size contradicts its name")
            target.order = "<" if state[1] == "<" else ">" if state[1] == ">" else "="
        elif type(target) is np.ndarray and isinstance(state, tuple) and len(state) in (4, 5):
            shape, dtype, fortran, raw = state[-4:]
            kind = self._check_array(shape, dtype, raw)
            if kind.hasobject:
                if not all(isinstance(item, (*_SCALARS, np.generic)) for item in raw):
                    self._refuse_value("an array of objects that are neither text nor numbers")
                self._charge(len(raw))
            elif kind.byteorder == ">":
                self._charge(len(raw))
            # Every part is checked above, and numpy keeps the array's identity, which the memo relies on.
            target.__setstate__((1, shape, kind, bool(fortran), raw if kind.hasobject else self._raw(raw)))  # pyright: ignore
        else:
            self._refuse_instruction("BUILD")
        self.stack.append(target)

    # Instructions that are more than one call -------------------------------------------------------------

    def _stack_global(self) -> None:
        self._global(*self._pop(2))

    def _append(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def _add_items(self, items: list[Any]) -> None:
        self._top(set).update(map(self._hashable, items))

    def _dict(self) -> None:
        pairs = self._pop_mark()
        self.stack.append({})
        self._set_items(pairs)


_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUILTINS = ("builtins", "__builtin__")
_GLOBALS: dict[tuple[str, str], str] = {
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


def _refuse_call(machine: _Machine, *arguments: Any) -> NoReturn:
    machine._refuse_value("a call of a type")


_CALLS: dict[str, Callable[..., Any]] = {
    "encode": _Machine._call_encode,
    "bytes": _Machine._call_bytes,
    "bytearray": _Machine._call_bytearray,
    "set": _Machine._call_set,
    "frozenset": _Machine._call_frozenset,
    "OrderedDict": _Machine._call_ordered_dict,
    "defaultdict": _Machine._call_default_dict,
    "dtype": _Machine._call_dtype,
    "_reconstruct": _Machine._call_reconstruct,
    "scalar": _Machine._call_scalar,
    "_frombuffer": _Machine._call_frombuffer,
    **dict.fromkeys(("ndarray", "list", "dict", "int", "float"), _refuse_call),
}

_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda m, a: setattr(m, "has_protocol", True),
    "FRAME": lambda m, a: m._frame(a),
    "MARK": lambda m, a: m._push(_Mark()),
    "NONE": lambda m, a: m._push(None),
    "NEWTRUE": lambda m, a: m._push(True),
    "NEWFALSE": lambda m, a: m._push(False),
    "EMPTY_LIST": lambda m, a: m._push([]),
    "EMPTY_DICT": lambda m, a: m._push({}),
    "EMPTY_SET": lambda m, a: m._push(set()),
    "EMPTY_TUPLE": lambda m, a: m._push(()),
    "TUPLE1": lambda m, a: m._push(tuple(m._pop(1))),
    "TUPLE2": lambda m, a: m._push(tuple(m._pop(2))),
    "TUPLE3": lambda m, a: m._push(tuple(m._pop(3))),
    "TUPLE": lambda m, a: m._push(tuple(m._pop_mark())),
    "LIST": lambda m, a: m._push(m._pop_mark()),
    "DICT": lambda m, a: m._dict(),
    "FROZENSET": lambda m, a: m._push(m._call_frozenset(m._pop_mark())),
    "APPEND": lambda m, a: m._append(m._pop(1)),
    "APPENDS": lambda m, a: m._append(m._pop_mark()),
    "SETITEM": lambda m, a: m._set_items(m._pop(2)),
    "SETITEMS": lambda m, a: m._set_items(m._pop_mark()),
    "ADDITEMS": lambda m, a: m._add_items(m._pop_mark()),
    "POP": lambda m, a: m._pop(1),
    "POP_MARK": lambda m, a: m._pop_mark(),
    "DUP": lambda m, a: m._push(m.stack[-1]),
    "PUT": lambda m, a: m._put(a),
    "BINPUT": lambda m, a: m._put(a),
    "LONG_BINPUT": lambda m, a: m._put(a),
    "MEMOIZE": lambda m, a: m._put(None),
    "GET": lambda m, a: m._push(m.memo[a]),
    "BINGET": lambda m, a: m._push(m.memo[a]),
    "LONG_BINGET": lambda m, a: m._push(m.memo[a]),
    "GLOBAL": lambda m, a: m._global(*a.split(" ", 1)),
    "STACK_GLOBAL": lambda m, a: m._stack_global(),
    "REDUCE": lambda m, a: m._reduce(),
    "BUILD": lambda m, a: m._build(),
}
