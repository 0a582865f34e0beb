"""The tables of the report: what stands in every cell, and the caption that says how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from qinn.evaluation.conventions import Metric, metrics_of
from qinn.evaluation.metrics import metrics
from qinn.experiment.comparison import (
    CPU_HEADING,
    CPU_NOTE,
    activity_columns,
    format_cpu_seconds,
    remarks_by_model,
    shown_metrics,
)
from qinn.report.explanation import ExplanationTable
from qinn.report.results import ComparisonResult, RunResult
from qinn.report.wording import counted, interval, number, p_value, percent, span
from qinn.task import Task

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        detail: A second, smaller line.
        strong: Whether it stands out.
        more: A third line, like the second.
    """

    text: str
    detail: str = ""
    strong: bool = False
    more: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column holds row headings.

    Attributes:
        caption: What it shows and how each number was made.
        header: Column headings.
        rows: As many cells per row as there are columns.
        notes: Remarks below the table.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def headings(task: Task, names: list[str]) -> tuple[str, ...]:
    """Return metric names with an arrow in the direction of better values."""
    known = metrics_of(task)
    return tuple(f"{name} {_arrow(known[name])}" if name in known else name for name in names)


def _arrow(metric: Metric) -> str:
    return "↓" if metric.direction == "lower" else "↑"


def metric_names(task: Task, available: Mapping[str, Any]) -> list[str]:
    """Return the metrics of a task that were recorded, most important first, then whatever else there is."""
    first = [name for name in shown_metrics(task) if name in available]
    return first + [name for name in available if name not in first]


def comparison_table(result: ComparisonResult) -> Table:
    """Return every model's test metrics over seeds, the best marked only where a test supports it."""
    content, run, seeds = result.content, result.reference, len(result.seeds)
    names = metric_names(result.task, content["models"][content["reference"]]["metrics"])
    supported = {name: supported_best(content, result.task, name) for name in names}
    acting = activity_columns(content)
    rows = []
    for label, entry in content["models"].items():
        cells = [
            Cell(label, "reference" if label == content["reference"] else ""),
            Cell(f"{entry['num_parameters']:,}"),
            Cell(format_cpu_seconds(entry)),
            *map(Cell, acting.cells[label]),
        ]
        for name in names:
            value = entry["metrics"][name]
            cells.append(
                Cell(
                    _mean_and_deviation(value),
                    interval(value["low"], value["high"]) + _verdict(content, result.task, label, name),
                    strong=supported[name] == label,
                )
            )
        rows.append(tuple(cells))
    deviation = (
        f"mean ± standard deviation over {seeds} seeds (divisor n − 1)"
        if seeds > 1
        else "one seed, so there is no standard deviation"
    )
    return Table(
        caption=f"Test metrics of every model ({_samples(content)}). First line: {deviation}. "
        f"Second line: {percent(run.level)} percentile bootstrap interval of the "
        f"{'mean over seeds' if seeds > 1 else 'value'} on new test samples "
        f"({counted(run.num_resamples, 'resample')}, drawing {_units(content['num_groups'])}). "
        "Arrows beside the names of the metrics: whether higher or lower is better.",
        header=(
            "model",
            "parameters",
            CPU_HEADING,
            *acting.headings,
            *headings(result.task, names),
        ),
        rows=tuple(rows),
        notes=(
            *_tested(content),
            f"{CPU_NOTE}.",
            *((f"{acting.note}.",) if acting.note else ()),
            *(f"{whom}: {remark}" for whom, remark in remarks_by_model(content)),
        ),
    )


def _tested(content: Mapping[str, Any]) -> tuple[str, ...]:
    """What the marks of the paired tests mean; nothing where there were none."""
    if not content["paired"]:
        return ()
    return (
        f"▲ better, ▼ worse than the reference {content['reference']}: paired permutation test on the same test "
        f"samples, p < {SIGNIFICANCE:g} after Holm's correction over the models.",
        "Bold: the best mean of the column, where the tests support it: the reference if every other model is "
        "significantly worse; another model if it is significantly better than the reference (models other than the "
        "reference are not tested against one another).",
    )


def paired_table(result: ComparisonResult) -> Table | None:
    """Return every model's paired difference to the reference; None where there is one model only."""
    content, run = result.content, result.reference
    if not content["paired"]:
        return None
    names = metric_names(result.task, next(iter(content["paired"].values())))
    rows = []
    for label, tests in content["paired"].items():
        cells = [Cell(label)]
        for name in names:
            test = tests[name]
            cells.append(
                Cell(
                    number(test["difference"], signed=True),
                    interval(test["low"], test["high"], signed=True),
                    more=_p_values(test),
                    strong=_is_significant(test),
                )
            )
        rows.append(tuple(cells))
    return Table(
        caption=f"Differences to the reference {content['reference']} (model minus reference"
        f"{', mean over seeds' if len(result.seeds) > 1 else ''}) with {percent(run.level)} paired bootstrap "
        "intervals; p-values of the two-sided paired permutation test, which swaps the two models' "
        "predictions "
        f"{'group by group' if content['num_groups'] else 'sample by sample'}, before and after Holm's "
        "correction over the "
        f"{counted(len(content['paired']), 'model')}, metric by metric. Bold: p < {SIGNIFICANCE:g} after "
        "correction.",
        header=("model", *headings(result.task, names)),
        rows=tuple(rows),
    )


def runs_table(result: ComparisonResult) -> Table:
    """Return how every run of a comparison was trained and selected."""
    rows = []
    for label, summaries in result.summaries.items():
        for summary in summaries:
            folds = summary["folds"]
            rows.append(
                (
                    Cell(label),
                    Cell(str(summary["seed"])),
                    Cell(span([fold["epochs"] for fold in folds])),
                    Cell(span([fold["best_epoch"] for fold in folds if fold["best_epoch"] >= 0])),
                    Cell(number(_mean([fold["best_value"] for fold in folds]), digits=4)),
                    Cell(f"{summary['seconds']:,.1f}"),
                    Cell(format_cpu_seconds(summary)),
                )
            )
    monitor = result.reference.monitor
    several = len(result.reference.summary["folds"]) > 1
    return Table(
        caption="Training of every run. The epoch (numbered from 0) was selected on validation samples "
        "alone, by "
        f"{monitor}{', in each fold; ranges and the mean are over folds' if several else ''}.",
        header=("model", "seed", "epochs", "selected epoch", monitor, "seconds", CPU_HEADING),
        rows=tuple(rows),
    )


def run_table(run: RunResult) -> Table:
    """Return a run's metrics with intervals, on test and validation samples."""
    known = metrics_of(run.task)
    rows = tuple(
        (
            Cell(name),
            Cell(number(run.test[name]["value"]) if run.test[name]["value"] is not None else "undefined"),
            Cell(interval(run.test[name]["low"], run.test[name]["high"]) or "–"),
            Cell(number(run.valid.get(name))),
            Cell(known[name].label if name in known else name),
        )
        for name in metric_names(run.task, run.test)
    )
    unit = _units(len(set(run.groups)) if run.groups else None)
    notes = tuple(f"{name}: {entry['note']}." for name, entry in run.test.items() if entry["note"])
    return Table(
        caption=f"Metrics of {run.title}: on the test samples, which neither training nor selection saw, "
        "with "
        f"{percent(run.level)} percentile bootstrap intervals ({counted(run.num_resamples, 'resample')}, "
        f"drawing {unit}), "
        "and on the validation samples, which selected the epoch and therefore flatter.",
        header=("metric", "test", f"{percent(run.level)} interval", "validation", "meaning"),
        rows=rows,
        notes=notes,
    )


def folds_table(run: RunResult) -> Table | None:
    """Return the folds of a cross-validated run; None where there is one fold."""
    folds = run.summary["folds"]
    if len(folds) < 2:
        return None
    rows = tuple(
        (
            Cell(fold["name"]),
            *(Cell(f"{fold[key]:,}") for key in ("num_train", "num_valid", "num_test", "epochs")),
            Cell(str(fold["best_epoch"]) if fold["best_epoch"] >= 0 else "–"),
            Cell(number(fold["best_value"], digits=4)),
        )
        for fold in folds
    )
    return Table(
        caption=f"Folds of {run.title}: samples, epochs trained, and the epoch (numbered from 0) that "
        "the fold's own validation samples selected.",
        header=("fold", "train", "validation", "test", "epochs", "selected", run.monitor),
        rows=rows,
    )


def removal_table(run: RunResult, explanation: ExplanationTable) -> Table | None:
    """Return what each removal does to the score and to the metrics; None where nothing was removed."""
    shifts = explanation.shifts()
    rows = {identifier: row for row, identifier in enumerate(run.ids)}
    known = [row for row, identifier in enumerate(explanation.ids) if identifier in rows]
    if not shifts or not known:
        return None
    labels = run.labels[[rows[explanation.ids[row]] for row in known]]
    names = shown_metrics(run.task)[:4]

    def scored(outputs: Float[np.ndarray, "sample output"]) -> list[Cell]:
        values = metrics(run.task, labels, outputs[known])
        return [Cell(number(values[name])) for name in names]

    body = [(Cell("nothing (intact model)"), Cell("–"), Cell("–"), *scored(explanation.output))]
    for name, outputs in explanation.counterfactuals.items():
        shift = shifts[name][known]
        body.append(
            (
                Cell(_removed(name)),
                Cell(number(float(shift.mean()), signed=True)),
                Cell(number(float(np.abs(shift).mean()))),
                *scored(outputs),
            )
        )
    what = "predicted score" if run.task.kind == "regression" else "probability of the predicted class"
    return Table(
        caption=f"What the {counted(len(known), 'explained test sample')} become when a part of the "
        "trained model is "
        f"removed, without training it again: mean and mean absolute change of the {what}, and the test "
        "metrics then.",
        header=("removed", "mean change", "mean |change|", *headings(run.task, names)),
        rows=tuple(body),
    )


def _removed(name: str) -> str:
    """Turn "no jumps" and "without text" into what was removed."""
    return name.removeprefix("no ").removeprefix("without ")


def supported_best(content: Mapping[str, Any], task: Task, name: str) -> str | None:
    """Return the model with the best mean, if the paired tests against the reference support it.

    Args:
        content: Content of ``comparison.json``.
        task: What is predicted.
        name: Metric.

    Returns:
        The label; None where the best model is not significantly better, or nothing was tested.
    """
    metric = metrics_of(task).get(name)
    means = {label: entry["metrics"][name]["mean"] for label, entry in content["models"].items()}
    means = {label: mean for label, mean in means.items() if mean is not None}
    if metric is None or not means or not content["paired"]:
        return None
    best = min(means, key=lambda label: means[label] if metric.direction == "lower" else -means[label])
    if best == content["reference"]:
        supported = all(_is_significant(tests[name]) for tests in content["paired"].values())
    else:
        supported = _is_significant(content["paired"][best][name])
    return best if supported else None


def _is_significant(test: Mapping[str, Any]) -> bool:
    return test["p_value_holm"] is not None and test["p_value_holm"] < SIGNIFICANCE


def _p_values(test: Mapping[str, Any]) -> str:
    """Both p-values; nothing where the metric is undefined."""
    if test["p_value"] is None:
        return ""
    return f"p {p_value(test['p_value'])}; {p_value(test['p_value_holm'])}"


def _verdict(content: Mapping[str, Any], task: Task, label: str, name: str) -> str:
    test, metric = content["paired"].get(label, {}).get(name), metrics_of(task).get(name)
    if test is None or metric is None or not _is_significant(test) or test["difference"] is None:
        return ""
    return " ▲" if (test["difference"] < 0) == (metric.direction == "lower") else " ▼"


def _mean_and_deviation(value: Mapping[str, Any]) -> str:
    if value["mean"] is None:
        return "undefined"
    return number(value["mean"]) + (f" ± {number(value['sd'])}" if value["sd"] is not None else "")


def _samples(content: Mapping[str, Any]) -> str:
    groups = f" in {counted(content['num_groups'], 'group')}" if content["num_groups"] else ""
    return counted(content["num_test"], "sample") + groups


def _units(num_groups: int | None) -> str:
    return "whole groups" if num_groups else "samples"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
