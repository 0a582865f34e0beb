"""The pickle machine: a stack, a memo and the instructions that arrays and plain containers are made of.

It looks no name up anywhere. What a file calls is imitated by `qinn.data.files.pickles.calls`, or refused.
"""

import codecs
import pickletools
from collections.abc import Callable
from typing import Any, NoReturn

from qinn.data.files.pickles.calls import CALLS, GLOBALS, NOT_PLAIN, Array, Calls, Dtype, Global
from qinn.data.files.pickles.content import MAPPED_BYTES, PickleBytes, Span
from qinn.errors import DataError

__all__ = ["PickleDamageError", "PickleMachine"]

_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
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
        "SHORT_BINSTRING",
        "UNICODE",
        "SHORT_BINUNICODE",
        "SHORT_BINBYTES",
    )
)
_LONG = {
    "BINSTRING": (4, "latin"),
    "BINUNICODE": (4, "text"),
    "BINUNICODE8": (8, "text"),
    "BINBYTES": (4, "bytes"),
    "BINBYTES8": (8, "bytes"),
    "BYTEARRAY8": (8, "bytearray"),
}
_ESCAPES = {
    "PERSID": "a persistent id",
    "BINPERSID": "a persistent id",
    "EXT1": "an extension code",
    "EXT2": "an extension code",
    "EXT4": "an extension code",
    "NEXT_BUFFER": "an out-of-band buffer",
    "READONLY_BUFFER": "an out-of-band buffer",
}


class PickleDamageError(DataError):
    """A file is no pickle, damaged or cut short.

    Args:
        message: The sentence that says so.
        is_no_pickle: Whether it does not even begin as one.
    """

    def __init__(self, message: str, *, is_no_pickle: bool = False) -> None:
        super().__init__(message)
        self.is_no_pickle = is_no_pickle


class _Mark:
    """Where a run of stack items begins."""


class _Unsettled(tuple):
    """A tuple with a `Span` or an array without content in it, as the state of an array is."""

    __slots__ = ()


def _may_start(opcode: pickletools.OpcodeInfo) -> bool:
    return not opcode.stack_before and opcode.name not in ("GET", "BINGET", "LONG_BINGET", "STOP")


class PickleMachine:
    """Interprets one pickle.

    Args:
        source: Its bytes.
        most_instructions: How many are followed; None for all.
    """

    def __init__(self, source: PickleBytes, most_instructions: int | None = None) -> None:
        self.source = source
        self.most_instructions = most_instructions
        self.path = source.path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.has_protocol = False
        self.frame_end = 0
        self.calls = Calls(source)

    def run(self) -> Any:
        """Return what was pickled.

        Raises:
            DataError: If the file is no pickle, damaged, cut short, or asks for what is not read.
        """
        source, first = self.source, True
        number = 0
        while True:
            if number == self.most_instructions:
                raise DataError(f"`{self.path}` has more than {number:,} values, too many to look through.")
            number += 1
            code = source.next()
            if code is None:
                raise PickleDamageError(
                    f"`{self.path}` is cut short: the pickle ends without its STOP instruction."
                )
            opcode = _OPCODES.get(code)
            if opcode is None or (first and not _may_start(opcode)):
                raise self._not_a_pickle(first, f"byte {bytes([code])!r} is no instruction")
            try:
                if opcode.name == "STOP":
                    return self._result()
                start = source.position
                self._step(opcode)
                if opcode.name != "FRAME" and start < self.frame_end < source.position:
                    raise ValueError("beyond its frame")
            except EOFError as error:
                raise PickleDamageError(
                    f"`{self.path}` is cut short: instruction {opcode.name} at byte {source.position} {error}."
                ) from error
            except (IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
                # A text file can look like a few instructions of the oldest protocol.
                raise self._not_a_pickle(
                    not self.has_protocol, f"instruction {opcode.name} does not fit what precedes it"
                ) from error
            first = False

    def _not_a_pickle(self, early: bool, why: str) -> PickleDamageError:
        verdict = "is not a pickle file" if early else "is a damaged pickle file"
        return PickleDamageError(
            f"`{self.path}` {verdict}: at byte {self.source.position}, {why}.", is_no_pickle=early
        )

    def _step(self, opcode: pickletools.OpcodeInfo) -> None:
        name = opcode.name
        if name in _LONG:
            self.stack.append(self._long(*_LONG[name]))
            return
        if name == "STRING":
            line = self.source.readline().strip()
            if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
                raise ValueError("unquoted string")
            self.stack.append(codecs.escape_decode(line[1:-1])[0].decode("latin-1"))  # pyright: ignore
            return
        argument = None
        if opcode.arg is not None:
            try:
                # pickletools reads from anything that has read and readline.
                argument = opcode.arg.reader(self.source)  # pyright: ignore[reportArgumentType]
            except ValueError as error:
                if self.source.position >= self.source.size:
                    raise EOFError("wants more than is left") from error
                raise
        if name in _CONSTANTS:
            self.stack.append(argument)
        else:
            method = _INSTRUCTIONS.get(name)
            if method is None:
                self._refuse_instruction(name)
            method(self, argument)

    def _long(self, size: int, kind: Any) -> Any:
        count = int.from_bytes(self.source.read(size), "little", signed=kind == "latin")
        span = Span(self.source.map, self.source.skip(count), count, kind)
        return span if count >= MAPPED_BYTES else span.value()

    def _result(self) -> Any:
        value = self._settled(self.stack.pop())
        if self.stack or isinstance(value, _Mark | Global | Dtype):
            raise ValueError("stack not empty")
        return value

    def _refuse_instruction(self, name: str) -> NoReturn:
        raise DataError(
            f"`{self.path}` asks for {_ESCAPES.get(name, 'an object of a class of its own')} (instruction {name} "
            f"at byte {self.source.position}), which is refused: {NOT_PLAIN}."
        )

    # Stack and memo -------------------------------------------------------------------------------------

    def _settled(self, value: Any) -> Any:
        """Return a value as it goes into containers: spans that no array took become bytes or text."""
        if type(value) is Span:
            return value.value()
        if type(value) is Array:
            return self.calls.content(value)
        if type(value) is _Unsettled:
            self.calls.charge(8 * len(value))
            return tuple(self._settled(item) for item in value)
        return value

    def _tuple(self, items: list[Any]) -> None:
        if any(type(item) is Span or type(item) is Array or type(item) is _Unsettled for item in items):
            # The state of an array is one tuple deep; what lies deeper is no array's.
            self.stack.append(
                _Unsettled(self._settled(item) if type(item) is _Unsettled else item for item in items)
            )
        else:
            self.stack.append(tuple(items))

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
        position, size = self.source.position, self.source.size
        if position < self.frame_end:
            raise ValueError("a frame within a frame")
        self.frame_end = position + length
        if self.frame_end > size:
            raise EOFError(f"declares {length} bytes where {size - position} are left")

    def _put(self, key: int | None) -> None:
        if key is not None and key > self.source.size:
            raise ValueError("a place in the memo beyond what the file can fill")
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    # Containers -----------------------------------------------------------------------------------------

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind and not isinstance(self.stack[-1], kind):
            raise TypeError(f"not a {kind.__name__}")
        return self.stack[-1]

    def _list(self, items: list[Any]) -> None:
        self.stack.append([self._settled(item) for item in items])

    def _append(self, items: list[Any]) -> None:
        self._top(list).extend(map(self._settled, items))

    def _set_items(self, pairs: list[Any]) -> None:
        if len(pairs) % 2:
            raise ValueError("odd number of items")
        target = self._top(dict)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[self.calls.hashable(self._settled(key))] = self._settled(value)

    def _add_items(self, items: list[Any]) -> None:
        self._top(set).update(self.calls.hashable(self._settled(item)) for item in items)

    def _dict(self) -> None:
        pairs = self._pop_mark()
        self.stack.append({})
        self._set_items(pairs)

    def _frozenset(self) -> None:
        items = [self._settled(item) for item in self._pop_mark()]
        self.stack.append(frozenset(self.calls.hashable(item) for item in items))

    # Names and calls ------------------------------------------------------------------------------------

    def _global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a global's name is text")
        if not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
            raise ValueError("no name")
        known = GLOBALS.get((module, name))
        if known is None:
            self.calls.refuse_global(module, name)
        self.stack.append(Global(known))

    def _stack_global(self) -> None:
        self._global(*(self._settled(part) for part in self._pop(2)))

    def _reduce(self) -> None:
        callee, arguments = self._pop(2)
        if not isinstance(callee, Global) or not isinstance(arguments, tuple):
            self.calls.refuse_value("a call of something that is no function")
        call, takes_spans = CALLS[callee.name]
        self.stack.append(call(self.calls, *(arguments if takes_spans else map(self._settled, arguments))))

    def _build(self) -> None:
        target, state = self._pop(2)
        if isinstance(target, Dtype) and isinstance(state, tuple):
            self.calls.order_bytes(target, state)
            self.stack.append(target)
        elif isinstance(target, Array) and isinstance(state, tuple) and len(state) in (4, 5):
            self.calls.fill(target, state)
            self.stack.append(target.content)
        else:
            self._refuse_instruction("BUILD")

    def _get(self, key: int) -> None:
        value = self.memo[key]
        self.stack.append(value.content if type(value) is Array and value.content is not None else value)


_INSTRUCTIONS: dict[str, Callable[[PickleMachine, Any], Any]] = {
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
    "TUPLE1": lambda m, a: m._tuple(m._pop(1)),
    "TUPLE2": lambda m, a: m._tuple(m._pop(2)),
    "TUPLE3": lambda m, a: m._tuple(m._pop(3)),
    "TUPLE": lambda m, a: m._tuple(m._pop_mark()),
    "LIST": lambda m, a: m._list(m._pop_mark()),
    "DICT": lambda m, a: m._dict(),
    "FROZENSET": lambda m, a: m._frozenset(),
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
    "GET": lambda m, a: m._get(a),
    "BINGET": lambda m, a: m._get(a),
    "LONG_BINGET": lambda m, a: m._get(a),
    "GLOBAL": lambda m, a: m._global(*a.split(" ", 1)),
    "STACK_GLOBAL": lambda m, a: m._stack_global(),
    "REDUCE": lambda m, a: m._reduce(),
    "BUILD": lambda m, a: m._build(),
}
