"""Metrics as results hold and show them, and from which p-value on a difference counts."""

from collections.abc import Iterable
from dataclasses import dataclass

from qinn.evaluation.intervals import SeedSummary
from qinn.evaluation.metric_names import Metric, metrics_of
from qinn.evaluation.paired_tests import PairedResult
from qinn.results.number_text import number
from qinn.results.tables import Column
from qinn.task import Task

SIGNIFICANCE = 0.05
"""A difference counts where its p-value, after Holm's correction, is below."""


@dataclass(frozen=True, kw_only=True)
class SeedMetric(SeedSummary):
    """A metric over several seeds.

    Attributes:
        low: Lower end of the bootstrap interval of the mean on new test samples; None if there is none.
        high: Its upper end.
    """

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class PairedDifference(PairedResult):
    """How a model differs from the reference on the same samples.

    Attributes:
        p_value_holm: The p-value after Holm's correction over the models.
    """

    p_value_holm: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the difference counts.

        Examples:
            >>> test = PairedDifference(-0.1, -0.2, -0.05, 0.01, None, 0.95, 40, p_value_holm=0.03)
            >>> test.is_significant
            True
        """
        return self.p_value_holm is not None and self.p_value_holm < SIGNIFICANCE


@dataclass(frozen=True, kw_only=True)
class EnsembleMetric:
    """A metric of the mean of what the seeds' models predict.

    Attributes:
        value: The metric; None if undefined.
        low: Lower end of its bootstrap interval on new test samples; None if there is none.
        high: Its upper end.
        test: How it differs from that of the reference's mean prediction; None of the reference itself.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    test: PairedDifference | None = None


def mark(test: PairedDifference | None, metric: Metric | None) -> str:
    """Return ▲ where a model is significantly better than the reference, ▼ where it is worse, and else nothing."""
    if test is None or metric is None or test.difference is None or not test.is_significant:
        return ""
    return "▲" if (test.difference < 0) == (metric.direction == "lower") else "▼"


def marks_note(reference: str, how: str = "") -> str:
    """Say what the marks mean.

    Args:
        reference: Label of the model that the others were tested against.
        how: More about the correction, such as ``", rate by rate"``.
    """
    return (
        f"▲ better, ▼ worse than the reference {reference}: paired permutation test on the same samples, "
        f"p < {SIGNIFICANCE:g} after Holm's correction over the models{how}"
    )


def mean_and_deviation(mean: float | None, sd: float | None) -> str:
    """Return ``mean ± sd``, as far as they are defined.

    Examples:
        >>> mean_and_deviation(0.5, 0.1), mean_and_deviation(0.5, None), mean_and_deviation(None, None)
        ('0.500 ± 0.100', '0.500', 'undefined')
    """
    if mean is None:
        return "undefined"
    return number(mean) + ("" if sd is None else f" ± {number(sd)}")


def shown_metrics(task: Task) -> list[str]:
    """Return the metrics of a task that every table shows, most important first."""
    if task.kind == "classification":
        return ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "auc", "log_loss"]
    return {
        "mosi": ["mae", "corr", "acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc7", "acc5"],
        "sims": ["mae", "corr", "acc2", "f1", "acc3", "acc5"],
        "plain": ["mae", "corr", "r2", "auc_midpoint"],
    }[task.scale]


def metric_names(task: Task, available: Iterable[str]) -> list[str]:
    """Return the metrics of a task that were recorded, most important first, then whatever else there is."""
    found = list(available)
    first = [name for name in shown_metrics(task) if name in found]
    return first + [name for name in found if name not in first]


def metric_columns(task: Task, names: Iterable[str]) -> list[Column]:
    """Return a column for each metric: its name, with an arrow in the direction of better values, and its meaning."""
    known = metrics_of(task)
    return [
        Column(f"{name} {'↓' if known[name].direction == 'lower' else '↑'}", known[name].label)
        if name in known
        else Column(name)
        for name in names
    ]
