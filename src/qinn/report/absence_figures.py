"""A sweep over rates of absence as figures and as a part of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.evaluation.metric_names import metrics_of
from qinn.experiment.absence_sweep import MARK
from qinn.report.figure_style import (
    DASHES,
    PALETTE,
    new_figure,
    plain,
    require,
    styled,
    to_svg,
    write_figures,
)
from qinn.report.numbering import Exhibit, Numbering
from qinn.results.sweep import ProtocolRecord, SweepResult, read_sweep

_MARKERS = ("o", "s", "^")


@dataclass(frozen=True)
class RateCurve:
    """One model's metric over rates of absence.

    Attributes:
        name: The model.
        values: The metric at every rate; NaN where it is undefined.
        deviations: Its standard deviation over seeds; NaN where there is none.
    """

    name: str
    values: Float[np.ndarray, "rate"]
    deviations: Float[np.ndarray, "rate"]


@styled
def absent_rate_figure(
    rates: Sequence[float],
    curves: Sequence[RateCurve],
    *,
    metric: str,
    better: str,
    axis: str = ProtocolRecord().axis,
) -> str:
    """One metric of several models over the rate of absence, with the standard deviation over seeds as bars.

    Args:
        rates: Rates of absence.
        curves: One per model.
        metric: Wording of the metric for the axis.
        better: ``"lower"`` or ``"higher"``, whichever is better.
        axis: What the rates are.

    Raises:
        ArgumentError: If there is no model, or a curve has not one value per rate.

    Examples:
        >>> curve = RateCurve("qinn", np.array([0.5, 0.7]), np.array([0.1, 0.1]))
        >>> absent_rate_figure([0.0, 0.5], [curve], metric="MAE (score)", better="lower")[:4]
        '<svg'
    """
    require(len(curves) > 0, "Argument `curves` must hold at least one model, but it is empty.")
    for curve in curves:
        require(
            len(curve.values) == len(curve.deviations) == len(rates),
            f"Argument `curves` must have one value for each of {len(rates)} rates, but `{curve.name}` has "
            f"{len(curve.values)}.",
        )
    figure, (axes,) = new_figure(7.0, 3.6 + 0.16 * max(0, len(curves) - 12))
    for index, curve in enumerate(curves):
        # Models differ by colour, and by line and marker as soon as colours repeat.
        turn = index // len(PALETTE)
        axes.errorbar(
            rates,
            curve.values,
            yerr=np.where(np.isfinite(curve.deviations), curve.deviations, 0.0),
            label=curve.name,
            color=PALETTE[index % len(PALETTE)],
            linestyle=DASHES[(index + 2 * turn) % len(DASHES)],
            marker=_MARKERS[(index + turn) % len(_MARKERS)],
            markersize=4,
            linewidth=1.3,
            elinewidth=0.7,
            capsize=2,
        )
    axes.set(
        xlabel=axis,
        ylabel=f"{metric}\n({'lower' if better == 'lower' else 'higher'} is better)",
    )
    figure.legend(loc="outside right center")
    return to_svg(figure, f"{metric} of {len(curves)} models over the rate of absence; {better} is better")


def sweep_figures(sweep: SweepResult) -> dict[str, str]:
    """Draw a sweep: metric → SVG text, for the two metrics that matter most."""
    figures = {}
    for name in sweep.drawn:
        metric = metrics_of(sweep.task)[name]
        curves = [
            RateCurve(
                plain(label),
                _numbers([rate[name].mean for rate in entry.rates]),
                _numbers([rate[name].sd for rate in entry.rates]),
            )
            for label, entry in sweep.models.items()
        ]
        curves = [curve for curve in curves if np.isfinite(curve.values).any()]
        figures[name] = absent_rate_figure(
            sweep.rates, curves, metric=name, better=metric.direction, axis=sweep.protocol.axis
        )
    return figures


def _numbers(values: Sequence[float | None]) -> Float[np.ndarray, "rate"]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def write_sweep_figures(folder: Path) -> list[Path]:
    """Draw the sweep in a folder, as SVG files beside its data.

    Args:
        folder: Folder with ``sweep.json``.

    Returns:
        The files written, one per metric.

    Raises:
        CheckpointError: If the data are missing or damaged.
        QinnError: If the folder cannot be written.
    """
    sweep = read_sweep(folder)
    return write_figures(Path(folder), dict.fromkeys(sweep.shown) | sweep_figures(sweep), MARK)


def absence_exhibits(sweep: SweepResult, numbering: Numbering) -> list[Exhibit]:
    """Return the figure and the tables of a sweep."""
    return [
        *numbering.figure(
            {f"{name} over the rate of absence": svg for name, svg in sweep_figures(sweep).items()},
            f"{sweep.how()}; bars: standard deviation over seeds, each averaged over the masks.",
        ),
        *numbering.table(sweep.rates_table(sweep.shown[0])),
        *([] if (kept := sweep.subsets_table(sweep.shown[0])) is None else numbering.table(kept)),
        *numbering.table(sweep.empty_table()),
    ]
