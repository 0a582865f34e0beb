"""Numbers, intervals and counts as a reader expects to see them in print."""

import math

DIGITS = 3
"""Decimals of a number in print."""

FINE = 4
"""Those where numbers of one kind stand below one another: the metrics of one run, the epochs of a training."""


def number(value: float | None, *, digits: int = DIGITS, signed: bool = False) -> str:
    """Return a number as text, with a real minus sign; a dash where there is none.

    Examples:
        >>> number(-0.12345), number(0.5, signed=True), number(None)
        ('−0.123', '+0.500', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    text = format(value, f"{'+' if signed else ''}.{digits}f")
    if float(text) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def brief(value: float) -> str:
    """Return a number with as few digits as it has, with a real minus sign.

    Examples:
        >>> brief(-3.0), brief(0.5)
        ('−3', '0.5')
    """
    return f"{value:g}".replace("-", "−")


def interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return ``[low, high]``; nothing where there is no interval.

    Examples:
        >>> interval(0.5, 0.75), interval(None, None)
        ('[0.500, 0.750]', '')
    """
    if low is None or high is None:
        return ""
    return f"[{number(low, signed=signed)}, {number(high, signed=signed)}]"


def p_value(value: float | None) -> str:
    """Return a p-value as text, never rounded to zero.

    Examples:
        >>> p_value(0.0312), p_value(0.0002), p_value(None)
        ('0.031', '< 0.001', '–')
    """
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(level: float) -> str:
    """Return a level as a percentage.

    Examples:
        >>> percent(0.95)
        '95 %'
    """
    return f"{100 * level:g} %"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where that is due.

    Examples:
        >>> counted(1, "seed"), counted(2000, "resample")
        ('1 seed', '2,000 resamples')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def span(values: list[int]) -> str:
    """Return the range of some counts as text.

    Examples:
        >>> span([3, 12]), span([3, 3]), span([])
        ('3–12', '3', '–')
    """
    if not values:
        return "–"
    low, high = f"{min(values):,}", f"{max(values):,}"
    return low if low == high else f"{low}–{high}"
