"""What an inspection reports: one finding per kind of fault, with its number and examples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from qinn.escaping import visible

Severity = Literal["error", "warning", "info"]

_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """Something a user should know about a data set.

    Attributes:
        severity: ``"error"``: results on it cannot be trusted; ``"warning"``: look at it; ``"info"``.
        kind: Which check found it, for example ``"group-leak"``.
        message: One sentence with the numbers.
        count: How many samples, features or groups are concerned.
        examples: A few of them by name.
    """

    severity: Severity
    kind: str
    message: str
    count: int
    examples: tuple[str, ...] = ()


def found_in(severity: Severity, kind: str, message: str, examples: Iterable[object] = ()) -> Finding:
    """Return a finding whose message names the first few examples.

    Args:
        severity: How bad it is.
        kind: Which check found it.
        message: One sentence without its full stop.
        examples: All that are concerned, by name.

    Examples:
        >>> found_in("warning", "odd", "2 samples are odd", ["a", "b"]).message
        '2 samples are odd: `a`, `b`.'
    """
    found = [str(name) for name in examples]
    shown, more = found[:_EXAMPLES], ", …" if len(found) > _EXAMPLES else ""
    names = ", ".join(f"`{visible(name)}`" for name in shown)
    message = f"{message}{f': {names}{more}' if names else ''}."
    return Finding(severity, kind, message, len(found), tuple(shown))
