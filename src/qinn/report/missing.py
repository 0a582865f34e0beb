"""A sweep over missing rates as figures, a table and a part of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float

from qinn.errors import CheckpointError
from qinn.evaluation.conventions import metrics_of
from qinn.experiment.comparison import shown_metrics, task_of
from qinn.experiment.folder import write_text
from qinn.experiment.missing_sweep import MARK, read_sweep
from qinn.report.canvas import PALETTE, STYLE, new_figure, require, to_svg
from qinn.report.drawings import drawn, plain
from qinn.report.exhibits import Exhibit, Numbering
from qinn.report.figures import DASHES
from qinn.report.tables import SIGNIFICANCE, Cell, Table
from qinn.report.wording import counted, number

_DRAWN = 2  # metrics
_MARKERS = ("o", "s", "^")


@dataclass(frozen=True)
class RateCurve:
    """One model's metric over missing rates.

    Attributes:
        name: The model.
        values: The metric at every rate; NaN where it is undefined.
        deviations: Its standard deviation over seeds; NaN where there is none.
    """

    name: str
    values: Float[np.ndarray, "rate"]
    deviations: Float[np.ndarray, "rate"]


def missing_rate_figure(
    rates: Sequence[float], curves: Sequence[RateCurve], *, metric: str, better: str
) -> str:
    """One metric of several models over the missing rate, with the standard deviation over seeds as bars.

    Args:
        rates: Missing rates.
        curves: One per model.
        metric: Wording of the metric for the axis.
        better: ``"lower"`` or ``"higher"``, whichever is better.

    Returns:
        The figure as SVG text.

    Raises:
        ArgumentError: If there is no model, or a curve has not one value per rate.

    Examples:
        >>> curve = RateCurve("qinn", np.array([0.5, 0.7]), np.array([0.1, 0.1]))
        >>> missing_rate_figure([0.0, 0.5], [curve], metric="MAE (score)", better="lower")[:4]
        '<svg'
    """
    require(len(curves) > 0, "Argument `curves` must hold at least one model, but it is empty.")
    for curve in curves:
        require(
            len(curve.values) == len(curve.deviations) == len(rates),
            f"Argument `curves` must have one value for each of {len(rates)} rates, but `{curve.name}` has "
            f"{len(curve.values)}.",
        )
    with mpl.rc_context(STYLE):
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
            xlabel="probability with which each modality of each sample is missing",
            ylabel=f"{metric}\n({'lower' if better == 'lower' else 'higher'} is better)",
        )
        figure.legend(loc="outside right center")
        return to_svg(figure, f"{metric} of {len(curves)} models over the missing rate; {better} is better")


def sweep_figures(content: Mapping[str, Any]) -> dict[str, str]:
    """Draw a sweep: metric → SVG text, for the two metrics that matter most.

    Args:
        content: Content of ``sweep.json``.
    """
    task = task_of(dict(content))
    figures = {}
    for name in shown_metrics(task)[:_DRAWN]:
        metric = metrics_of(task)[name]
        curves = [
            RateCurve(plain(label), _column(entry, name, "mean"), _column(entry, name, "sd"))
            for label, entry in content["models"].items()
        ]
        curves = [curve for curve in curves if np.isfinite(curve.values).any()]
        if curves:
            figures[name] = drawn(
                lambda curves=curves, name=name, metric=metric: missing_rate_figure(
                    content["rates"], curves, metric=name, better=metric.direction
                )
            )
    return figures


def _column(entry: Mapping[str, Any], name: str, key: str) -> Float[np.ndarray, "rate"]:
    values = [rate[name][key] for rate in entry["rates"]]
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
    folder = Path(folder)
    written = []
    for name, svg in read_figures(folder, read_sweep(folder)).items():
        written.append(folder / f"{name}.svg")
        write_text(written[-1], f"{svg.rstrip()}\n{MARK}\n")
    return written


def read_figures(folder: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """Draw a sweep that was read from a folder.

    Raises:
        CheckpointError: If it lacks something.
    """
    try:
        return sweep_figures(content)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"The sweep in `{folder}` lacks something ({type(error).__name__}: {error}); it is damaged, run "
            "`qinn sweep-missing` again."
        ) from error


def missing_exhibits(content: Mapping[str, Any], folder: Path, numbering: Numbering) -> list[Exhibit]:
    """Return the figure and the tables of a sweep.

    Args:
        content: Content of ``sweep.json``.
        folder: Where it was read, for messages.
        numbering: Numbers of tables and figures.

    Raises:
        CheckpointError: If it lacks something.
    """
    figures = read_figures(folder, content)
    try:
        task, masks = task_of(dict(content)), len(content["mask_seeds"])
        seeds = max(len(entry["seeds"]) for entry in content["models"].values())
        how = (
            f"On the {content['num_test']:,} {content['split']} samples, each modality of each sample was taken away "
            "with the probability stated, independently; the masks are the same for all models, and samples that lose "
            f"everything stay. Mean over {counted(seeds, 'seed')} and {counted(masks, 'mask')}"
        )
        labels = {f"{name} over the missing rate": svg for name, svg in figures.items()}
        name = shown_metrics(task)[0]
        return [
            *numbering.figure(
                labels, f"{how}; bars: standard deviation over seeds, each averaged over the masks."
            ),
            *numbering.table(_rates_table(content, name, how)),
            *numbering.table(_empty_table(content, name)),
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"The sweep in `{folder}` lacks something ({type(error).__name__}: {error}); it is damaged, run "
            "`qinn sweep-missing` again."
        ) from error


def _rates_table(content: Mapping[str, Any], name: str, how: str) -> Table:
    rows = []
    for label, entry in content["models"].items():
        cells = [Cell(label, "reference" if label == content["reference"] else "")]
        for index, values in enumerate(entry["rates"]):
            value = values[name]
            test = content["paired"][label][index][name] if label in content["paired"] else None
            found = (
                test is not None and test["p_value_holm"] is not None and test["p_value_holm"] < SIGNIFICANCE
            )
            detail = "" if value["sd"] is None else f"± {number(value['sd'])}"
            cells.append(Cell(number(value["mean"]) + (" *" if found else ""), detail))
        rows.append(tuple(cells))
    return Table(
        caption=f"{name} over the missing rate. {how} ± standard deviation over seeds.",
        header=("model", *(f"{rate:g}" for rate in content["rates"])),
        rows=tuple(rows),
        notes=(
            f"* differs from the reference {content['reference']}: paired permutation test on the same samples and "
            f"masks, p < {SIGNIFICANCE:g} after Holm's correction over the models, rate by rate.",
        )
        if content["paired"]
        else (),
    )


def _empty_table(content: Mapping[str, Any], name: str) -> Table:
    rows = []
    regression = "training_mean" in next(iter(content["models"].values()))["empty"]
    for label, entry in content["models"].items():
        empty = entry["empty"]
        distance = Cell(number(empty["distance"]), _deviation(empty["distance_sd"]))
        scored = empty["metrics"][name]
        cells = [Cell(label)]
        if regression:
            cells += [
                Cell(number(empty["prediction"]), _deviation(empty["prediction_sd"])),
                distance,
                Cell(number(empty["distance_from_median"])),
                Cell("yes" if empty["in_range"] else "no"),
            ]
        else:
            cells += [distance]
        rows.append((*cells, Cell(number(scored["mean"]), _deviation(scored["sd"]))))
    some = next(iter(content["models"].values()))["empty"]
    stated = (
        f" The training labels have the mean {number(some['training_mean'])}, the median "
        f"{number(some['training_median'])} and the standard deviation {number(some['training_sd'])}."
        if regression
        else " Distance: total variation between the predicted class probabilities and the class frequencies of "
        "the training samples."
    )
    header = (
        ("model", "prediction", "from the mean", "from the median", "in the label range", name)
        if regression
        else ("model", "distance", name)
    )
    return Table(
        caption=f"What every model says about samples that have nothing left, its prior.{stated}",
        header=header,
        rows=tuple(rows),
    )


def _deviation(value: float | None) -> str:
    return "" if value is None else f"± {number(value)}"
