"""The figures of comparisons: one metric of every model with its interval."""

from collections.abc import Sequence

from qinn.evaluation.metric_names import metrics_of
from qinn.report.figure_style import (
    BLUE,
    VERMILLION,
    mark_undefined,
    name_rows,
    new_figure,
    require,
    styled,
    to_svg,
)
from qinn.results.comparison import ComparisonResult


def forest_figures(result: ComparisonResult, names: Sequence[str]) -> dict[str, str]:
    """Draw every model's mean and interval, one panel per metric.

    Returns:
        Description → SVG text.
    """
    known = metrics_of(result.task)
    figures = {}
    for name in names:
        if name in known:
            entries = [entry.metrics[name] for entry in result.models.values()]
            figures[f"{name} of every model with its interval"] = forest_plot(
                list(result.models),
                [entry.mean for entry in entries],
                [(entry.low, entry.high) for entry in entries],
                metric=name,
                better=known[name].direction,
                reference=result.reference,
            )
    return figures


@styled
def forest_plot(
    names: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float | None, float | None]],
    *,
    metric: str,
    better: str,
    reference: str | None = None,
) -> str:
    """One metric of several models with its intervals, one row per model.

    Args:
        names: Names of the models, from top to bottom.
        values: The metric of each model; None where undefined.
        intervals: Lower and upper end for each model; None where there is no interval.
        metric: Wording of the metric for the axis.
        better: ``"lower"`` or ``"higher"``, whichever is better.
        reference: Model whose value is continued as a dashed line.

    Raises:
        ArgumentError: If the lists differ in length or are empty, or the reference is not among the names.

    Examples:
        >>> rows = [("qinn", 0.7, (0.65, 0.75)), ("text", 0.8, (0.74, 0.86))]
        >>> names, values, intervals = zip(*rows)
        >>> forest_plot(names, values, intervals, metric="MAE (score)", better="lower", reference="text")[:4]
        '<svg'
    """
    require(
        0 < len(names) == len(values) == len(intervals),
        "Arguments `names`, `values` and `intervals` must hold one entry per model, but their lengths are "
        f"{len(names)}, {len(values)} and {len(intervals)}.",
    )
    require(
        reference is None or reference in names,
        f"Argument `reference` must be one of {list(names)}, but it is `{reference}`.",
    )
    figure, (axes,) = new_figure(6.6, 1.0 + 0.34 * len(names))
    for row, (name, value, (low, high)) in enumerate(zip(names, values, intervals, strict=True)):
        color = VERMILLION if name == reference else BLUE
        if value is None:
            mark_undefined(axes, row)
            continue
        if low is not None and high is not None:
            axes.plot([low, high], [row, row], "|-", markersize=8, color=color)
        axes.plot(value, row, "s" if name == reference else "o", markersize=6, color=color)
        if name == reference:
            axes.axvline(value, linestyle="--", linewidth=1.0, zorder=0, color=color)
    name_rows(axes, names)
    axes.set_xlabel(f"{metric}   ({'← better' if better == 'lower' else 'better →'})")
    return to_svg(figure, f"{metric} of {len(names)} models with intervals; {better} is better")
