"""The names of the metrics: what each means on each scale, which way is better, when it is undefined."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from qinn.task import Task


@dataclass(frozen=True)
class Metric:
    """What a metric is called, how it is read and which way is better.

    Attributes:
        name: Key in every dictionary, table and file.
        label: Full wording with the convention.
        direction: Whether a lower or a higher value is better.
        low: Smallest possible value.
        high: Largest possible value.
        undefined_when: When the value is None.
    """

    name: str
    label: str
    direction: Literal["lower", "higher"]
    low: float
    high: float
    undefined_when: str


_NEVER = "never"
_CONSTANT = "labels or predictions are constant"
_INFINITE = float("inf")


def _higher(name: str, label: str, low: float = 0.0, undefined_when: str = _NEVER) -> Metric:
    """A metric that is at most 1, and better the higher."""
    return Metric(name, label, "higher", low, 1.0, undefined_when)


_ONE_STATE = "the label is present in every sample or in none"
_NONE_NONZERO = "every label is 0"
METRICS_BY_CONVENTION: Mapping[str, tuple[Metric, ...]] = MappingProxyType(
    {
        "mosi": (
            Metric("mae", "mean absolute error, unclipped", "lower", 0.0, _INFINITE, _NEVER),
            _higher("corr", "Pearson correlation, unclipped", -1.0, _CONSTANT),
            _higher("acc7", "7-class accuracy: label and prediction clipped to [-3, 3] and rounded"),
            _higher("acc5", "5-class accuracy: label and prediction clipped to [-2, 2] and rounded"),
            _higher("acc2_has0", "accuracy, negative (< 0) vs non-negative (≥ 0), all samples"),
            _higher("f1_has0", "weighted F1, negative (< 0) vs non-negative (≥ 0), all samples"),
            _higher(
                "acc2_non0",
                "accuracy, positive (> 0) vs not, samples with a label other than 0",
                undefined_when=_NONE_NONZERO,
            ),
            _higher(
                "f1_non0",
                "weighted F1, positive (> 0) vs not, samples with a label other than 0",
                undefined_when=_NONE_NONZERO,
            ),
        ),
        "sims": (
            Metric(
                "mae",
                "mean absolute error, label and prediction clipped to [-1, 1]",
                "lower",
                0.0,
                2.0,
                _NEVER,
            ),
            _higher("corr", "Pearson correlation, label and prediction clipped to [-1, 1]", -1.0, _CONSTANT),
            _higher("acc2", "2-class accuracy: not positive (≤ 0) vs positive (> 0)"),
            _higher("acc3", "3-class accuracy: bins (-1, -0.1], (-0.1, 0.1], (0.1, 1]"),
            _higher(
                "acc5",
                "5-class accuracy: bins (-1, -0.7], (-0.7, -0.1], (-0.1, 0.1], (0.1, 0.7], (0.7, 1]",
            ),
            _higher("f1", "weighted F1, not positive (≤ 0) vs positive (> 0)"),
        ),
        "plain": (
            Metric("mae", "mean absolute error, unclipped", "lower", 0.0, _INFINITE, _NEVER),
            _higher("corr", "Pearson correlation, unclipped", -1.0, _CONSTANT),
            _higher("r2", "coefficient of determination R², unclipped", -_INFINITE, "labels are constant"),
            _higher(
                "auc_midpoint",
                "area under the ROC curve, label above the middle of its range",
                undefined_when="all labels lie on one side of the middle",
            ),
        ),
        "classification": (
            _higher("accuracy", "accuracy"),
            _higher(
                "balanced_accuracy",
                "balanced accuracy: recall of each class, mean over the classes that occur",
            ),
            _higher("f1_macro", "macro F1 over the classes that occur among labels or predictions"),
            _higher("f1_weighted", "F1 weighted by the number of true samples of each class"),
            _higher(
                "auc",
                "area under the ROC curve, one class vs the rest, mean over the classes that occur",
                undefined_when="only one class occurs",
            ),
            Metric(
                "log_loss",
                "log loss: mean of −ln of the true class's probability",
                "lower",
                0.0,
                _INFINITE,
                _NEVER,
            ),
        ),
        "multilabel": (
            _higher(
                "weighted_accuracy",
                "weighted accuracy (TP · N/P + TN) / 2N, which is ½ (TP/P + TN/N)",
                undefined_when=_ONE_STATE,
            ),
            _higher(
                "f1_binary",
                "F1 of being present, 2 TP / (present + decided)",
                undefined_when="the label neither occurs nor is decided",
            ),
            _higher("f1_weighted", "F1 of being present and of being absent, weighted by their true numbers"),
            _higher("accuracy", "accuracy"),
            _higher("auc", "area under the ROC curve", undefined_when=_ONE_STATE),
            _higher(
                "average_precision",
                "average precision: mean of the precision at each sample that has the label",
                undefined_when="the label does not occur",
            ),
            Metric(
                "log_loss",
                "log loss: mean of −ln of the probability of what is true",
                "lower",
                0.0,
                _INFINITE,
                _NEVER,
            ),
        ),
    }
)
"""The metrics of each convention, in the order of the tables; of several labels those of each and their means."""


def metrics_of(task: Task) -> dict[str, Metric]:
    """The metrics that a task is scored by, in the order of the tables.

    Args:
        task: What is predicted.

    Returns:
        Metric name → its description in this task's convention.

    Examples:
        >>> list(metrics_of(Task("regression", -1.0, 1.0, "sims")))
        ['mae', 'corr', 'acc2', 'acc3', 'acc5', 'f1']
    """
    found = METRICS_BY_CONVENTION[task.scale if task.kind == "regression" else task.kind]
    if task.kind != "multilabel":
        return {metric.name: metric for metric in found}
    means = {one.name: replace(one, label=f"{one.label}; mean over the labels") for one in found}
    return means | {
        name: replace(one, name=name, label=f"{one.label}; of {label}")
        for label in task.names
        for one in found
        for name in [of_label(one.name, label)]
    }


def of_label(metric: str, label: str) -> str:
    """Return the name of a metric of one label alone.

    Examples:
        >>> of_label("f1_binary", "happy")
        'f1_binary:happy'
    """
    return f"{metric}:{label}"
