"""What every figure of the report needs around Matplotlib: names drawn as they are, in any script."""

import warnings
from collections.abc import Callable


def plain(name: str) -> str:
    """Return a name that Matplotlib draws as it stands: a dollar sign does not start a formula.

    Example:
        >>> plain("$5 or $x^2$")
        '\\\\$5 or \\\\$x^2\\\\$'
    """
    return name.replace("$", r"\$")


def drawn(figure: Callable[[], str]) -> str:
    """Draw a figure, quietly where the font lacks a letter of a name; the tables have the name in full.

    Args:
        figure: Returns SVG text.

    Returns:
        The SVG text.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        return figure()
