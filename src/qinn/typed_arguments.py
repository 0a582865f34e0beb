"""Arguments of the functions that users call: what is of another type is one sentence, before anything is done."""

import errno
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin

from qinn.errors import ArgumentError

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_SHOWN = 80
"""Characters of a value in a message."""

_WORDS: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    NoneType: "None",
    Mapping: "a mapping",
    Callable: "a function",
}


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of a type that the function cannot take."""


def typed(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Make a function refuse arguments that are not what their annotations say.

    Numbers may be those of numpy, and a sequence an array; of mappings the keys and values are left to the function.

    Args:
        function: Any, whose annotations are types and no texts.

    Raises:
        ArgumentError: When it is called with something else, naming the argument.

    Examples:
        >>> @typed
        ... def half(number: float) -> float:
        ...     return number / 2
        >>> half("3")
        Traceback (most recent call last):
        qinn.typed_arguments.ArgumentTypeError: Argument `number` must be a number, but it is '3'.
    """
    signature = inspect.signature(function)
    kinds = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }

    @wraps(function)
    def checked(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # missing or unknown: Python says so, with the function's name
            return function(*args, **kwargs)
        for name, kind in kinds.items():
            if name in given:
                _check(name, given[name], kind)
        return function(*args, **kwargs)

    return checked


def fits(value: object, kind: Any) -> bool:
    """Tell whether a value is what an annotation says.

    Args:
        value: Anything.
        kind: A type, or several with ``|`` between them, sequences of one, literals and functions among them.

    Examples:
        >>> fits(["a"], Sequence[str] | None), fits("a", Sequence[str]), fits(True, int)
        (True, False, False)
    """
    origin = get_origin(kind)
    if kind in (object, Any):
        return True
    if origin in (UnionType, Union):
        return any(fits(value, one) for one in get_args(kind))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin is Callable:
        return callable(value)
    if origin is Sequence:
        items = cast("Any", value).tolist() if type(value).__module__ == "numpy" else value
        if isinstance(items, (str, bytes)) or not isinstance(items, Sequence):
            return False
        return all(fits(one, get_args(kind)[0]) for one in cast("Sequence[object]", items))
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, NoneType if kind is None else origin or kind)


def words_of(kind: Any) -> str:
    """Return what an annotation says, in words.

    Args:
        kind: As for `fits`.

    Examples:
        >>> words_of(Sequence[Path | str]), words_of(float | None)
        ('a list of paths', 'a number or None')
    """
    origin = get_origin(kind)
    if origin in (UnionType, Union):
        # What takes a path takes a text for it.
        kinds = [one for one in get_args(kind) if one is not str or Path not in get_args(kind)]
        return " or ".join(dict.fromkeys(map(words_of, kinds)))
    if origin is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if origin is Sequence:
        return f"a list of {words_of(get_args(kind)[0]).split(' ', 1)[1]}s"
    return _WORDS.get(origin or kind) or f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def _check(name: str, value: object, kind: Any) -> None:
    if not fits(value, kind):
        shown = " ".join(repr(value).split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
        raise ArgumentTypeError(
            f"Argument `{name}` must be {words_of(kind)}, but it is {shown}{_remedy(value, kind)}."
        )
    if isinstance(value, (str, Path)) and Path in (kind, *get_args(kind)):
        _check_name(name, value)
    elif "path" not in words_of(kind):
        _check_letters(name, value)


def _remedy(value: object, kind: Any) -> str:
    words = words_of(kind)
    if isinstance(value, (str, Path)) and "a list of" in words:
        return "; put it into a list"
    return "; pass its `path`" if "a path" in words and fits(getattr(value, "path", None), Path | str) else ""


def _check_letters(name: str, value: object) -> None:
    """Refuse texts that stand for bytes of another encoding, which no file and no encoder of text takes."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    for text in cast("Sequence[object]", texts):
        if (
            isinstance(text, str)
            and not text.isascii()
            and any("\ud800" <= letter <= "\udfff" for letter in text)
        ):
            raise ArgumentError(
                f"Argument `{name}` must be a text, but has bytes that are no UTF-8; write it in UTF-8."
            )


def _check_name(name: str, path: str | Path) -> None:
    """Refuse a path that no file can have."""
    try:
        os.lstat(path)
    except ValueError:
        raise ArgumentError(
            f"Argument `{name}` must be a path, but has a character that no path can have; choose another."
        ) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArgumentError(
                f"Argument `{name}` must be a path, but `{str(path)[:_SHOWN]}…` is too long for one; choose a shorter "
                "one."
            ) from None
