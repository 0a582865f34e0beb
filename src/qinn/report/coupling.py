"""A model along the knob of its coupling: table, figure and the report's part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from qinn.experiment.coupling import FIGURE
from qinn.experiment.explanation import FIGURE_MARK
from qinn.experiment.folder import write_text
from qinn.report.canvas import BLUE, GREY, STYLE, new_figure, require, to_svg
from qinn.report.drawings import drawn
from qinn.report.tables import Cell, Table
from qinn.report.wording import counted

_NAMES = {
    "entanglement": "entanglement (bits)",
    "jumps": "jumps",
    "turning": "‖H‖T",
    "contraction": "contraction",
    "rotation": "rotation",
    "output": "mean score",
    "shift": "shift",
}
# Metrics that are shown, the first two that a task has.
_METRICS = ("mae", "corr", "accuracy", "f1_macro")
_MOST_PANELS = 3


def coupling_rows(content: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and cells of a table, one row per setting; what no setting has is left out.

    Args:
        content: Content of ``coupling.json``.

    Examples:
        >>> point = {"coupling": 0.5, "entanglement": 0.25, "shift": 0.1, "metrics": {"mae": 0.4}}
        >>> coupling_rows({"points": [point]})
        (('coupling', 'entanglement (bits)', 'shift', 'mae'), [('0.5', '0.2500', '0.1000', '0.4000')])
    """
    columns = _columns(content)
    rows = [
        (
            f"{point['coupling']:g}",
            *("–" if np.isnan(values[index]) else f"{values[index]:z.4f}" for values in columns.values()),
        )
        for index, point in enumerate(content["points"])
    ]
    return ("coupling", *columns), rows


def coupling_figure(content: Mapping[str, Any]) -> str:
    """Draw entanglement (along a stream, contraction), how far scores move, and a metric, over the knob.

    Args:
        content: Content of ``coupling.json``.

    Returns:
        SVG text.

    Raises:
        ArgumentError: If it holds no setting.
    """
    require(len(content["points"]) > 0, "Argument `content` must hold at least one setting, but it is empty.")
    columns, settings = _columns(content), [point["coupling"] for point in content["points"]]
    first = _NAMES["entanglement" if _NAMES["entanglement"] in columns else "contraction"]
    wanted = [name for name in (first, _NAMES["shift"], *_METRICS) if name in columns][:_MOST_PANELS]

    def draw() -> str:
        with mpl.rc_context(STYLE):
            figure, panels = new_figure(7.0, 2.2, panels=len(wanted), same_scale=False)
            for axes, name in zip(panels, wanted, strict=True):
                axes.plot(settings, columns[name], marker="o", markersize=4, color=BLUE)
                axes.axvline(1.0, color=GREY, linestyle=":", linewidth=0.8)
                axes.set(title=name, xlabel="coupling (1: learned)")
            return to_svg(figure, f"{', '.join(wanted)} at {len(settings)} settings of the coupling")

    return drawn(draw)


def write_coupling_figure(folder: Path, content: Mapping[str, Any]) -> Path:
    """Draw the knob's figure beside its data.

    Args:
        folder: Where it goes.
        content: Content of ``coupling.json``.

    Raises:
        QinnError: If the folder cannot be written.
    """
    path = Path(folder) / FIGURE
    write_text(path, f"{coupling_figure(content).rstrip()}\n{FIGURE_MARK}\n")
    return path


def coupling_table(content: Mapping[str, Any], title: str) -> Table:
    """Return the table of the report.

    Args:
        content: Content of ``coupling.json``.
        title: The run, in words.
    """
    header, rows = coupling_rows(content)
    over = counted(content["samples"], f"{content['split'] or 'given'} sample")
    return Table(
        f"What couples the modalities (or memory and stream) of {title} times a factor, {over}; 1 is what was learned, "
        "and nothing is trained again. Entanglement: entropy after the evolution, mean over samples, trajectories and "
        f"cuts; shift: mean change of the {_shifted(content)} from that at 1.",
        header,
        tuple(tuple(Cell(cell) for cell in row) for row in rows),
    )


def _shifted(content: Mapping[str, Any]) -> str:
    return "score" if content["shifted"] == "score" else "probability of the class that the run predicts"


def _columns(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
    points = content["points"]
    known = {name for point in points for name in point.get("metrics") or {}}
    found = {wording: [point.get(name) for point in points] for name, wording in _NAMES.items()}
    for name in [name for name in _METRICS if name in known][:2]:
        found[name] = [(point.get("metrics") or {}).get(name) for point in points]
    arrays = {
        name: np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        for name, values in found.items()
    }
    return {name: values for name, values in arrays.items() if np.isfinite(values).any()}
