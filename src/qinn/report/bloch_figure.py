"""The Bloch ball of a qubit memory under the maps of words: what becomes of all that it may hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from qinn.report.figure_style import GREY, plain, require, styled, to_svg
from qinn.report.sentence_figure import COLOURS, LONGEST_WORD
from qinn.results.steps import ShownSteps

_COLUMNS = 4
_CIRCLE = np.linspace(0, 2 * np.pi, 121)


@dataclass(frozen=True)
class BlochMap:
    """What a word does to a qubit, r ↦ Wr + s.

    Attributes:
        name: The word, or what else comes so often.
        detail: A second line.
        verdict: What it does.
        kept: W.
        written: s.
    """

    name: str
    detail: str
    verdict: str
    kept: Float[np.ndarray, "3 3"]
    written: Float[np.ndarray, "3"]


@styled
def bloch_figure(maps: Sequence[BlochMap], axis: Float[np.ndarray, "3"]) -> str:
    """Draw the image of the Bloch ball under each map, seen along an axis across the memory's axis.

    Upwards is the memory's axis: what is read as a high score lies above. Across is that direction at right angles to
    it in which the maps keep most. The grey circle is the ball before the step, the ellipse the ball behind it, both
    seen from the side; triangles show where its two poles go.

    Args:
        maps: At least one.
        axis: The memory's axis (x, y, z).

    Raises:
        ArgumentError: If there is no map.

    Examples:
        >>> still = BlochMap("the", "12 times", "keeps", np.eye(3), np.zeros(3))
        >>> bloch_figure([still], np.array([0.0, 0.0, 1.0]))[:4]
        '<svg'
    """
    require(len(maps) > 0, "Argument `maps` must hold at least one map, but it is empty.")
    up = axis / np.linalg.norm(axis)
    plane = np.stack([_across(maps, up), up])
    columns = min(_COLUMNS, len(maps))
    rows = ceil(len(maps) / columns)
    figure = Figure(figsize=(1.75 * columns, 2.15 * rows), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, one in zip(panels, maps, strict=False):
        _draw_ball(panel, one, plane)
    for panel in panels[len(maps) :]:
        panel.axis("off")
    figure.supxlabel(
        "circle: before the step; ellipse: behind it; ▲ high score, ▼ low score, and where they go",
        fontsize=7,
    )
    told = "; ".join(f"{one.name} {one.verdict}" for one in maps)
    return to_svg(figure, f"Images of the Bloch ball under the maps of {len(maps)} words: {told}")


def _across(maps: Sequence[BlochMap], up: np.ndarray) -> np.ndarray:
    """The direction at right angles to the axis of which the maps keep most, with a sign of its own."""
    flat = np.eye(3) - np.outer(up, up)
    kept = sum((one.kept.T @ one.kept + one.kept @ one.kept.T for one in maps), np.zeros((3, 3)))
    found = np.linalg.eigh(flat @ (kept + 1e-9 * np.eye(3)) @ flat)[1][:, -1]
    across = flat @ found
    across /= np.linalg.norm(across)
    return across * np.sign(across[np.abs(across).argmax()])


def _draw_ball(axes: Axes, one: BlochMap, plane: np.ndarray) -> None:
    colour = COLOURS.get(one.verdict, GREY)
    circle = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)])
    axes.plot(*circle, color="#999999", linewidth=0.8)
    axes.plot([0, 0], [-1, 1], color="#dddddd", linewidth=0.6, zorder=0)
    centre = plane @ one.written
    left, sizes, _ = np.linalg.svd(plane @ one.kept)
    outline = centre[:, None] + left @ (sizes[:2, None] * circle)
    axes.fill(*outline, facecolor=to_rgba(colour, 0.35), edgecolor=colour, linewidth=1.2)
    up = plane[1]
    for sign, marker in ((1, "^"), (-1, "v")):
        place = plane @ (one.kept @ (sign * up) + one.written)
        axes.plot(*place, marker, color="black", markersize=4.5, markeredgewidth=0)
        axes.plot(
            0, sign, marker, color="white", markeredgecolor="#777777", markersize=4.5, markeredgewidth=0.7
        )
    axes.set_title(
        f"{one.name}\n{one.verdict}, {one.detail}" if one.verdict else f"{one.name}\n{one.detail}",
        fontsize=7.5,
    )
    axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
    axes.axis("off")


def ball_figure(shown: ShownSteps) -> str | None:
    """Draw the Bloch ball under the maps of the commonest words of each verdict; None where the memory is no qubit."""
    axis, maps = shown.summary.axis, shown.summary.maps
    if not maps or axis is None or axis.bloch is None:
        return None
    drawn_maps = []
    for one in maps:
        values = np.array(one.map, dtype=np.float64)
        name = plain(one.word, LONGEST_WORD) if one.word else f"({plain(one.modality, 14)})"
        detail = f"{one.count:,} ×"
        drawn_maps.append(BlochMap(name, detail, one.verdict, values[:9].reshape(3, 3), values[9:]))
    return bloch_figure(drawn_maps, np.array(axis.bloch, dtype=np.float64))
