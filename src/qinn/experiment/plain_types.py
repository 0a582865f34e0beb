"""Numbers that are numbers and switches that are true or false: what YAML writes otherwise is not guessed at."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticCustomError

MISTAKEN = "mistaken_type"
"""The type of the errors that are raised here, whose message says it all."""

_SHOWN = 80
_NUMBER = re.compile(r"\s*[-+]?[0-9._]+(?:[eE][-+]?[0-9]+)?\s*")
_WITHOUT_DOT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")


def plain(value: Any, annotation: Any) -> Any:
    """Return the value of a key, where it holds no truth value or text in the place of a number, or the reverse.

    ``1e-3`` is text to YAML, which wants a dot in a number; it is taken for the number that everybody means.

    Args:
        value: What was given; lists and mappings are looked into.
        annotation: What the key takes.

    Raises:
        PydanticCustomError: Saying what must be there and what is.

    Examples:
        >>> plain("1e-3", float), plain([1, 2], tuple[int, ...]), plain("all", int | Literal["all"])
        (0.001, [1, 2], 'all')
        >>> plain(True, int)
        Traceback (most recent call last):
        pydantic_core._pydantic_core.PydanticCustomError: must be a number, but is true
    """
    leaves = _leaves(annotation)
    if leaves & {int, float} and not leaves & {bool, str}:
        return _each(value, lambda one: _number(one, leaves))
    if bool in leaves and not leaves & {int, float, str}:
        return _each(value, lambda one: one if isinstance(one, str) and one in leaves else _switch(one))
    return value


def _each(value: Any, check: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _each(one, check) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_each(one, check) for one in value]
    return check(value)


def _number(value: Any, leaves: set[Any]) -> Any:
    if isinstance(value, bool):
        raise _mistaken(_numbers(leaves), value)
    if isinstance(value, str) and value not in leaves:
        if float in leaves and _WITHOUT_DOT.fullmatch(value):
            return float(value)
        raise _mistaken(_numbers(leaves), value)
    return value


def _numbers(leaves: set[Any]) -> str:
    """Say which numbers a key takes, and which words in their place."""
    words = sorted(f"`{one}`" for one in leaves if isinstance(one, str))
    if not words:
        return "a number"
    return " or ".join(["a number" if float in leaves else "a whole number", *words])


def _switch(value: Any) -> Any:
    if value is not None and not isinstance(value, bool):
        raise _mistaken("true or false", value)
    return value


def _mistaken(wanted: str, value: Any) -> PydanticCustomError:
    shown = f"the text {shortened(value)}" if isinstance(value, str) else shortened(value)
    remedy = ""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        remedy = "; write digits without quotes"
    # Filled in by pydantic, for which braces of the value would be places to fill in themselves.
    return PydanticCustomError(
        MISTAKEN,
        "must be {wanted}, but is {shown}{remedy}",
        {"wanted": wanted, "shown": shown, "remedy": remedy},
    )


def shortened(value: object) -> str:
    """Return a value as a message shows it: as YAML writes truth values, and cut where it is long.

    Examples:
        >>> shortened(True), shortened("a" * 100)[-4:]
        ('true', 'aaa…')
    """
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _leaves(annotation: Any) -> set[Any]:
    """The types and literal values that a single value of a key may have."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return set(arguments)
    if not arguments:
        return {annotation}
    if hasattr(annotation, "__metadata__"):
        return _leaves(arguments[0])
    inner = arguments[1:] if isinstance(origin, type) and issubclass(origin, Mapping) else arguments
    return set().union(*(_leaves(one) for one in inner if one is not ...))
