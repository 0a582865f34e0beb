"""The figures of comparisons: one metric of every model with its interval, and its difference to the reference."""

from collections.abc import Sequence

from qinn.evaluation.metric_names import metrics_of
from qinn.report.figure_style import (
    BLUE,
    GREY,
    VERMILLION,
    mark_undefined,
    name_rows,
    new_figure,
    plain,
    require,
    styled,
    to_svg,
)
from qinn.results.comparison import ComparisonResult
from qinn.results.metric_columns import PairedDifference


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


def difference_figures(result: ComparisonResult, names: Sequence[str]) -> dict[str, str]:
    """Draw every model's difference to the reference with its margin, one panel per metric.

    Returns:
        Description → SVG text; empty where an earlier version gave no verdicts.
    """
    known = metrics_of(result.task)
    figures: dict[str, str] = {}
    for name in names if result.margins is not None else ():
        tests = {label: tests[name] for label, tests in result.paired.items() if name in tests}
        if name in known and tests:
            figures[f"difference of {name} to {result.reference}"] = difference_plot(
                list(tests),
                list(tests.values()),
                metric=f"{name}, model minus {result.reference}",
                better=known[name].direction,
                margin=result.margins.get(name) if result.margins else None,
            )
    return figures


@styled
def difference_plot(
    names: Sequence[str],
    tests: Sequence[PairedDifference],
    *,
    metric: str,
    better: str,
    margin: float | None = None,
) -> str:
    """Differences of several models to the reference, one row per model, with their verdicts.

    Args:
        names: Names of the models, from top to bottom.
        tests: The difference of each: its interval is thin, that of the equivalence test thick.
        metric: Wording of the metric for the axis.
        better: ``"lower"`` or ``"higher"``, whichever is better.
        margin: Difference from which on one matters, a band around 0; None where none was stated.

    Raises:
        ArgumentError: If the lists differ in length or are empty.

    Examples:
        >>> test = PairedDifference(0.1, 0.0, 0.2, 0.04, None, 0.95, 40, p_value_holm=0.04, verdict="worse")
        >>> difference_plot(["text"], [test], metric="MAE", better="lower", margin=0.3)[:4]
        '<svg'
    """
    require(
        0 < len(names) == len(tests),
        f"Arguments `names` and `tests` must hold one entry per model, but their lengths are {len(names)} and "
        f"{len(tests)}.",
    )
    figure, (axes,) = new_figure(6.6, 1.0 + 0.34 * len(names))
    axes.axvline(0.0, linestyle="--", linewidth=1.0, zorder=0, color=VERMILLION)
    if margin is not None:
        axes.axvspan(-margin, margin, color=VERMILLION, alpha=0.12, linewidth=0, zorder=0)
    for row, test in enumerate(tests):
        if test.difference is None:
            mark_undefined(axes, row)
            continue
        for low, high, width in (
            (test.low, test.high, 1.2),
            (test.low_equivalent, test.high_equivalent, 3.6),
        ):
            if low is not None and high is not None:
                axes.plot([low, high], [row, row], "-", linewidth=width, color=BLUE, solid_capstyle="butt")
        axes.plot(test.difference, row, "o", markersize=6, color=BLUE)
        axes.annotate(
            test.verdict or "", (1.01, row), xycoords=("axes fraction", "data"), va="center", color=GREY
        )
    name_rows(axes, names)
    axes.set_xlabel(f"{plain(metric, 60)}   ({'← better' if better == 'lower' else 'better →'})")
    return to_svg(figure, f"{metric}: differences of {len(names)} models with intervals and verdicts")


@styled
def forest_plot(
    names: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float | None, float | None]],
    *,
    metric: str,
    better: str,
    reference: str | None = None,
    of: str = "models",
) -> str:
    """One metric of several models with its intervals, one row per model.

    Args:
        names: Names of the models, from top to bottom.
        values: The metric of each model; None where undefined.
        intervals: Lower and upper end for each model; None where there is no interval.
        metric: Wording of the metric for the axis.
        better: ``"lower"`` or ``"higher"``, whichever is better.
        reference: Model whose value is continued as a dashed line.
        of: What the rows are.

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
    return to_svg(figure, f"{metric} of {len(names)} {of} with intervals; {better} is better")
