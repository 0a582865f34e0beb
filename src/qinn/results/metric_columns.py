"""Metrics as results hold and show them, and from which p-value on a difference counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from qinn.evaluation.intervals import SeedSummary
from qinn.evaluation.metric_names import Metric, metrics_of
from qinn.evaluation.paired_tests import PairedResult
from qinn.results.as_json import OPTIONAL
from qinn.results.number_text import brief, number
from qinn.results.tables import Cell, Column
from qinn.task import Task

SIGNIFICANCE = 0.05
"""A difference, or equivalence, counts where its p-value, after Holm's correction, is below."""

ASLEEP_NOTE = (
    "asleep: in at least one run the learned dynamics do next to nothing, whatever the model is called."
)
"""What a table says of the models that `model_cell` marks so."""

Verdict = Literal["better", "worse", "equivalent", "undecided"]
"""What is known of a model against the reference: undecided means that neither was shown, not that they are equal."""


@dataclass(frozen=True, kw_only=True)
class SeedMetric(SeedSummary):
    """A metric over several seeds.

    Attributes:
        low: Lower end of the interval of the mean on new test samples, and with new trainings where there are several
            seeds (see `qinn.evaluation.over_seeds`); None if there is none.
        high: Its upper end.
    """

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class PairedDifference(PairedResult):
    """How a model differs from the reference on the same samples.

    Of a comparison, the interval is a t-interval about other samples and, with several seeds, other trainings; a sweep
    over absent modalities and comparisons of earlier versions have percentiles of other samples, and nothing below
    `p_value_holm`.

    Attributes:
        p_value_holm: The larger of `p_value` and `p_value_seeds`, after Holm's correction over the models.
        p_value_seeds: Of the t-test over seeds and samples; None for one seed.
        standard_error: Of the difference, over seeds and samples.
        degrees: Its degrees of freedom.
        detectable: The smallest true difference that would be found with a chance of 70 to 80 %; None where so few
            groups could show none.
        low_equivalent: Lower end of the interval of the level 1 − 2 · 0.05, which two one-sided tests hold against a
            margin.
        high_equivalent: Its upper end.
        margin: Difference from which on one matters, as the configuration states it; None where it states none.
        p_value_equivalent: Of two one-sided tests: how likely this would be if the true difference were the margin.
        p_value_equivalent_holm: The same after Holm's correction over the models.
        verdict: What follows; None where the difference is undefined.
    """

    p_value_holm: float | None = None
    p_value_seeds: float | None = field(default=None, metadata=OPTIONAL)
    standard_error: float | None = field(default=None, metadata=OPTIONAL)
    degrees: float | None = field(default=None, metadata=OPTIONAL)
    detectable: float | None = field(default=None, metadata=OPTIONAL)
    low_equivalent: float | None = field(default=None, metadata=OPTIONAL)
    high_equivalent: float | None = field(default=None, metadata=OPTIONAL)
    margin: float | None = field(default=None, metadata=OPTIONAL)
    p_value_equivalent: float | None = field(default=None, metadata=OPTIONAL)
    p_value_equivalent_holm: float | None = field(default=None, metadata=OPTIONAL)
    verdict: Verdict | None = field(default=None, metadata=OPTIONAL)

    @property
    def is_significant(self) -> bool:
        """Whether the two differ by more than chance would have them, be it little.

        Examples:
            >>> test = PairedDifference(-0.1, -0.2, -0.05, 0.01, None, 0.95, 40, p_value_holm=0.03)
            >>> test.is_significant
            True
        """
        return self.p_value_holm is not None and self.p_value_holm < SIGNIFICANCE

    @property
    def is_equivalent(self) -> bool:
        """Whether the difference was shown to be within the margin."""
        return self.p_value_equivalent_holm is not None and self.p_value_equivalent_holm < SIGNIFICANCE

    @property
    def counts(self) -> bool:
        """Whether the difference is significant and not shown to be within the margin."""
        return self.is_significant and not self.is_equivalent

    def judged(self, metric: Metric) -> Verdict | None:
        """Return what follows for the model from the tests, whose corrected p-values are known.

        Within the margin comes first: a difference that is significant and shown to be smaller than what matters is
        equivalence.

        Examples:
            >>> from dataclasses import replace
            >>> test = PairedDifference(-0.1, -0.2, -0.05, 0.01, None, 0.95, 40, p_value_holm=0.03)
            >>> mae = Metric("mae", "error", "lower", 0.0, 2.0, "never")
            >>> test.judged(mae), replace(test, p_value_holm=0.2).judged(mae)
            ('better', 'undecided')
        """
        if self.difference is None:
            return None
        if self.is_equivalent:
            return "equivalent"
        if not self.is_significant:
            return "undecided"
        return "better" if (self.difference < 0) == (metric.direction == "lower") else "worse"


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


def model_cell(label: str, *, reference: bool = False, asleep: bool = False) -> Cell:
    """Return the heading of a model's row, which says itself what must not be overlooked.

    Args:
        label: The model.
        reference: Whether the others are tested against it.
        asleep: Whether its dynamics sleep.

    Examples:
        >>> model_cell("QiNN-QJ", reference=True, asleep=True).detail
        '(reference, asleep)'
    """
    marks = ["reference"] * reference + ["asleep"] * asleep
    return Cell(label, f"({', '.join(marks)})" if marks else "")


def mark(test: PairedDifference | None, metric: Metric | None) -> str:
    """Return ▲ where a model is better than the reference, ▼ where worse, ≈ where equivalent, and else nothing."""
    verdict = None if test is None or metric is None else test.judged(metric)
    return {"better": "▲", "worse": "▼", "equivalent": "≈"}.get(verdict or "", "")


def marks_note(
    reference: str, how: str = "", *, seeds: bool = False, margins: Mapping[str, float] | None = None
) -> str:
    """Say what the marks mean.

    Args:
        reference: Label of the model that the others were tested against.
        how: More about the correction, such as ``", rate by rate"``.
        seeds: Whether other trainings were asked of too.
        margins: Metric → margin; None where equivalence was not tested.
    """
    tests = "paired permutation test on the same samples" + (
        " and t-test over seeds and samples" if seeds else ""
    )
    said = (
        f"▲ better, ▼ worse than the reference {reference}: {tests}, p < {SIGNIFICANCE:g} after Holm's correction over "
        f"the models{how}"
    )
    if margins is None:
        return said
    if not margins:
        return f"{said}. No mark: undecided, not equal; without `evaluation.margins` nothing is called equivalent"
    stated = ", ".join(f"{name} ± {brief(margin)}" for name, margin in margins.items())
    return (
        f"{said}. ≈ equivalent: shown to differ by less than the margin ({stated}) in two one-sided tests, p < "
        f"{SIGNIFICANCE:g} after the same correction. No mark: undecided, not equal"
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
    if task.kind == "multilabel":
        return [
            "weighted_accuracy",
            "f1_binary",
            "f1_weighted",
            "accuracy",
            "auc",
            "average_precision",
            "log_loss",
        ]
    if task.kind == "classification":
        return ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "auc", "log_loss"]
    return {
        "mosi": ["mae", "corr", "acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc7", "acc5"],
        "sims": ["mae", "corr", "acc2", "f1", "acc3", "acc5"],
        "plain": ["mae", "corr", "r2", "auc_midpoint"],
    }[task.scale]


def metric_names(task: Task, available: Iterable[str]) -> list[str]:
    """Return the metrics of a task that were recorded, most important first, then whatever else there is.

    Those of single labels are left out: `by_label` returns them.
    """
    recorded = list(available)
    single = {name for of_one in by_label(recorded).values() for name in of_one.values()}
    found = [name for name in recorded if name not in single]
    first = [name for name in shown_metrics(task) if name in found]
    return first + [name for name in found if name not in first]


def by_label(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the metrics of each of several labels: label → metric → its name; empty where there are none.

    Args:
        names: Names of metrics.

    Examples:
        >>> by_label(["auc", "auc:sad", "log_loss"])
        {'sad': {'auc': 'auc:sad'}}
    """
    known = list(names)
    found: dict[str, dict[str, str]] = {}
    for name in known:
        metric, mark, label = name.partition(":")
        if mark and metric in known:
            found.setdefault(label, {})[metric] = name
    return found


def metric_columns(task: Task, names: Iterable[str]) -> list[Column]:
    """Return a column for each metric: its name, with an arrow in the direction of better values, and its meaning."""
    known = metrics_of(task)
    return [
        Column(f"{name} {'↓' if known[name].direction == 'lower' else '↑'}", known[name].label)
        if name in known
        else Column(name)
        for name in names
    ]
