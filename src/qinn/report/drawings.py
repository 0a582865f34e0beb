"""What every figure of the report needs around Matplotlib: names drawn as they are, in any script."""

import warnings
from collections.abc import Callable

from qinn.escaping import visible


def plain(name: str, longest: int = 36) -> str:
    r"""Return a name that Matplotlib draws as it stands: no formula, nothing hidden, none too long.

    Args:
        name: Any text.
        longest: Longer names lose their middle.

    Returns:
        The text to draw.

    Examples:
        >>> plain("$5 or $x^2$") == r"\$5 or \$x^2\$"
        True
        >>> plain("a name that is far too long", longest=13)
        'a name…o long'
    """
    name = visible(name)
    if len(name) > longest:
        part = (longest - 1) // 2
        name = f"{name[:part]}…{name[-part:]}"
    return name.replace("$", r"\$")


def drawn(figure: Callable[[], str]) -> str:
    """Draw a figure, quietly where a name has a letter that the font lacks; the tables have the name in full.

    Args:
        figure: Returns SVG text.

    Returns:
        The SVG text.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        return figure()
