"""Numbers as files write them (ASCII digits, a point, an exponent, and nothing else), and as sentences count things."""

import re

__all__ = ["counted", "has_decimal_comma", "is_number", "number_of", "why_no_number"]

_NUMBER = re.compile(
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|nan|inf|infinity)", re.IGNORECASE
)
_WITH_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?")


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


def is_number(text: str) -> bool:
    """Tell whether a text is a number, as `number_of` reads it."""
    return _NUMBER.fullmatch(text.strip()) is not None


def has_decimal_comma(text: str) -> bool:
    """Tell whether a text is a number with a comma in place of the point.

    Examples:
        >>> has_decimal_comma("-0,75"), has_decimal_comma("1,2,3")
        (True, False)
    """
    return _WITH_COMMA.fullmatch(text.strip()) is not None


def why_no_number(text: object) -> str:
    """Say what a text is that is no number, as the end of a sentence, with what to do where that is known.

    Examples:
        >>> why_no_number("0,5")
        'which has a decimal comma; write numbers with a point, as 0.5 (a spreadsheet does so where its language is \
English)'
        >>> why_no_number("high")
        'which is not a number'
    """
    if isinstance(text, str) and has_decimal_comma(text):
        return (
            f"which has a decimal comma; write numbers with a point, as {text.strip()[:20].replace(',', '.')} (a "
            "spreadsheet does so where its language is English)"
        )
    return "which is not a number"


def counted(count: int, noun: str, *verbs: str) -> str:
    """Return how many there are, in words; with what one does and what several do, as it goes on behind the noun.

    Examples:
        >>> counted(1, "row"), counted(2, "row"), counted(1, "name", "of it is none", "of it are none")
        ('1 row', '2 rows', '1 name of it is none')
    """
    said = f"{count} {noun}" if count == 1 else f"{count} {noun}s"
    return " ".join([said, *([verbs[count != 1]] if verbs else [])])
