"""Numbers as files write them: ASCII digits, a point and an exponent, and nothing that only Python reads as one."""

import re

__all__ = ["number_of"]

_NUMBER = re.compile(
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|nan|inf|infinity)", re.IGNORECASE
)


def number_of(text: str) -> float:
    """Return the number that a text of a file or an option stands for, NaN and infinity among them.

    Python's `float` also takes ``1_5`` for 15 and digits of every script.

    Args:
        text: The text; spaces around it do not matter.

    Raises:
        ValueError: If it is no number.

    Examples:
        >>> number_of(" -1.5e1 "), number_of("nan")
        (-15.0, nan)
        >>> number_of("1_5")
        Traceback (most recent call last):
        ValueError: `1_5` is not a number
    """
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        raise ValueError(f"`{text[:60]}` is not a number")
    return float(stripped)
