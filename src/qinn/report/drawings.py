"""What every figure of the report needs around Matplotlib: names drawn as they are, in any script."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from qinn.escaping import visible
from qinn.results.files import write_text


def plain(name: str, longest: int = 36) -> str:
    r"""Return a name that Matplotlib draws as it stands: no formula, nothing hidden, none too long.

    Args:
        name: Any text.
        longest: Longer names lose their middle.

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
    """Draw a figure, quietly where a name has a letter that the font lacks; the tables have the name in full."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        return figure()


def write_figures(folder: Path, figures: Mapping[str, str | None], mark: str) -> list[Path]:
    """Write figures as SVG files that say who made them, and return their paths.

    Args:
        folder: Where to.
        figures: Name → SVG text; None is left out.
        mark: Last line of each.

    Raises:
        OutputError: If the folder cannot be written.
    """
    written = {folder / f"{name}.svg": svg for name, svg in figures.items() if svg is not None}
    for path, svg in written.items():
        write_text(path, f"{svg.rstrip()}\n{mark}\n")
    return list(written)
