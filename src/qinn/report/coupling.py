"""A model along the knob of its coupling, drawn."""

from pathlib import Path

import matplotlib as mpl

from qinn.experiment.coupling import FIGURE
from qinn.experiment.explanation import FIGURE_MARK
from qinn.report.canvas import BLUE, GREY, STYLE, new_figure, require, to_svg
from qinn.report.drawings import drawn, write_figures
from qinn.results.coupling import CouplingResult

_MOST_PANELS = 3


def coupling_figure(result: CouplingResult) -> str:
    """Draw entanglement (along a stream, contraction), how far scores move, and a metric, over the knob.

    Raises:
        ArgumentError: If it holds no setting.
    """
    require(len(result.points) > 0, "Argument `result` must hold at least one setting, but it is empty.")
    columns, settings = result.columns(), [point.coupling for point in result.points]
    wanted = result.drawn_columns()[:_MOST_PANELS]

    def draw() -> str:
        with mpl.rc_context(STYLE):
            figure, panels = new_figure(7.0, 2.2, panels=len(wanted), same_scale=False)
            for axes, name in zip(panels, wanted, strict=True):
                axes.plot(settings, columns[name], marker="o", markersize=4, color=BLUE)
                axes.axvline(1.0, color=GREY, linestyle=":", linewidth=0.8)
                axes.set(title=name, xlabel="coupling (1: learned)")
            return to_svg(figure, f"{', '.join(wanted)} at {len(settings)} settings of the coupling")

    return drawn(draw)


def write_coupling_figure(folder: Path, result: CouplingResult) -> Path:
    """Draw the knob's figure beside its data.

    Raises:
        QinnError: If the folder cannot be written.
    """
    [path] = write_figures(Path(folder), {Path(FIGURE).stem: coupling_figure(result)}, FIGURE_MARK)
    return path
