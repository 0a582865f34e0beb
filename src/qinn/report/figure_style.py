"""What every figure shares: palette, style, names drawn as they are, rows of distributions, SVG text and files."""

import html
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from qinn.errors import ArgumentError
from qinn.escaping import visible
from qinn.results.files import write_text

P = ParamSpec("P")

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe–Ito colours, the most distinct first."""

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, *_ = PALETTE
GREY = "#666666"
DASHES = ("-", "--", "-.", ":")
"""Line styles, so that curves differ by more than colour."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "svg.fonttype": "path",
    "svg.hashsalt": "qinn",
}

MOST_DOTS = 200
"""Samples drawn per row of a distribution; the bars are of all samples."""

READING = "dots: samples; diamond: median; bars: middle 50 % and 90 %"
"""How to read a row of a distribution, for the title."""


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Draw in the style of the report, and quietly where a name has a letter that the font lacks: tables have it."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(_STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
            return draw(*args, **kwargs)

    return drawn


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


def new_figure(
    width: float, height: float, panels: int = 1, *, same_scale: bool = True
) -> tuple[Figure, list[Axes]]:
    """An empty figure with panels side by side, of one vertical scale unless told otherwise; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(figure.subplots(1, panels, squeeze=False, sharey=same_scale and panels > 1)[0])


def to_svg(figure: Figure, description: str) -> str:
    """The figure as an SVG element that can stand inside a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    element = text.getvalue()
    element = element[element.index("<svg") :]
    return element.replace("<svg", f'<svg role="img" aria-label="{html.escape(visible(description))}"', 1)


def require(condition: bool, message: str) -> None:
    """Refuse what cannot be drawn."""
    if not condition:
        raise ArgumentError(message)


def check_columns(name: str, values: np.ndarray, names: Sequence[str]) -> None:
    """Refuse an array that does not hold samples × names."""
    require(
        values.ndim == 2 and len(values) > 0 and len(names) > 0 and values.shape[1] == len(names),
        f"Argument `{name}` must have shape (n, {len(names)}), one column per name and n ≥ 1, "
        f"but its shape is {values.shape}.",
    )


def draw_distributions(axes: Axes, names: Sequence[str], columns: np.ndarray) -> None:
    """One row per name: the samples as points, 5–95 % thin, 25–75 % thick, the median as a mark."""
    generator = np.random.default_rng(0)
    shown = (
        columns
        if len(columns) <= MOST_DOTS
        else columns[generator.choice(len(columns), MOST_DOTS, replace=False)]
    )
    for row in range(len(names)):
        values, points = columns[:, row], shown[:, row]
        values, points = values[np.isfinite(values)], points[np.isfinite(points)]
        if not len(values):
            mark_undefined(axes, row)
            continue
        heights = row + generator.uniform(-0.28, 0.28, len(points))
        axes.plot(points, heights, "o", color=BLUE, alpha=0.18, markersize=3, markeredgewidth=0)
        low, first, median, third, high = np.percentile(values, [5, 25, 50, 75, 95])
        axes.plot([low, high], [row, row], color="black", linewidth=1.0, solid_capstyle="butt")
        axes.plot([first, third], [row, row], color="black", linewidth=4.0, solid_capstyle="butt")
        axes.plot(median, row, "D", color="white", markeredgecolor="black", markersize=5)
    name_rows(axes, names)


def name_rows(axes: Axes, names: Sequence[str], longest: int = 36) -> None:
    """Name rows, from top to bottom (see `plain`)."""
    axes.set_yticks(range(len(names)), [plain(name, longest) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def mark_undefined(axes: Axes, row: int) -> None:
    """Say in a row that there is no value."""
    axes.annotate("undefined", (0.02, row), xycoords=("axes fraction", "data"), va="center", color=GREY)


def write_figures(folder: Path, figures: Mapping[str, str | None], mark: str) -> list[Path]:
    """Write figures as SVG files that say who made them, and return their paths.

    Args:
        folder: Where to.
        figures: Name → SVG text; None is left out, and what was drawn before in its place is removed.
        mark: Last line of each.

    Raises:
        OutputError: If the folder cannot be written.
    """
    for path in (folder / f"{name}.svg" for name, svg in figures.items() if svg is None):
        if path.is_file() and path.read_bytes().rstrip().endswith(mark.encode()):
            path.unlink()
    written = {folder / f"{name}.svg": svg for name, svg in figures.items() if svg is not None}
    for path, svg in written.items():
        write_text(path, f"{svg.rstrip()}\n{mark}\n")
    return list(written)
