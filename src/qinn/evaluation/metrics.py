"""The metrics of the field, each under a name that says its convention.

Notation: y label, p prediction, n samples; rounding is to the nearest integer, ties to even. A metric that is
undefined (the correlation of a constant prediction, say) is None, never 0; `Metric.undefined_when` says when.
Predictions are scored as the model makes them: nothing is clipped unless the metric's label says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Int, Real

from qinn.errors import ArgumentError
from qinn.evaluation.label_metrics import label_terms
from qinn.evaluation.weighted import (
    Values,
    WeightedMean,
    WeightedMetric,
    Weights,
    correlation,
    determination,
    f_score,
    mean_of_defined,
    ranking_area,
)
from qinn.extras import needs
from qinn.task import Task

Numbers: TypeAlias = Any
"""An array, a torch tensor or a list of real numbers: what `numbers_of` takes."""


def _rounded(values: np.ndarray, limit: int) -> np.ndarray:
    """Nearest integer in [-limit, limit], ties to even."""
    return np.round(np.clip(values, -limit, limit))


def _binned(values: np.ndarray, *edges: float) -> np.ndarray:
    """Index of the left-open, right-closed bin; in single precision, so that a stored 0.1 is the edge 0.1."""
    return np.searchsorted(np.array(edges, dtype=np.float32), values.astype(np.float32), side="left")


def _mosi_terms(y: np.ndarray, p: np.ndarray) -> dict[str, WeightedMetric]:
    non0 = y != 0
    return {
        "mae": WeightedMean(np.abs(p - y)),
        "corr": correlation(y, p),
        "acc7": WeightedMean(_rounded(p, 3) == _rounded(y, 3)),
        "acc5": WeightedMean(_rounded(p, 2) == _rounded(y, 2)),
        "acc2_has0": WeightedMean((p >= 0) == (y >= 0)),
        "f1_has0": f_score(_codes(y >= 0), _codes(p >= 0), 2, average="weighted"),
        "acc2_non0": WeightedMean((p > 0) == (y > 0), non0),
        "f1_non0": f_score(_codes(y > 0), _codes(p > 0), 2, average="weighted", among=non0),
    }


def _sims_terms(y: np.ndarray, p: np.ndarray) -> dict[str, WeightedMetric]:
    y, p = np.clip(y, -1.0, 1.0), np.clip(p, -1.0, 1.0)
    five = (-0.7, -0.1, 0.1, 0.7)
    return {
        "mae": WeightedMean(np.abs(p - y)),
        "corr": correlation(y, p),
        "acc2": WeightedMean(_binned(p, 0.0) == _binned(y, 0.0)),
        "acc3": WeightedMean(_binned(p, -0.1, 0.1) == _binned(y, -0.1, 0.1)),
        "acc5": WeightedMean(_binned(p, *five) == _binned(y, *five)),
        "f1": f_score(_binned(y, 0.0), _binned(p, 0.0), 2, average="weighted"),
    }


def _plain_terms(y: np.ndarray, p: np.ndarray, midpoint: float) -> dict[str, WeightedMetric]:
    return {
        "mae": WeightedMean(np.abs(p - y)),
        "corr": correlation(y, p),
        "r2": determination(y, p),
        "auc_midpoint": ranking_area(y > midpoint, p),
    }


def _classification_terms(labels: np.ndarray, logits: np.ndarray) -> dict[str, WeightedMetric]:
    with needs("evaluate", "The area under the curve"):
        from scipy.special import logsumexp

    num_classes = logits.shape[1]
    predicted = logits.argmax(axis=1)
    # The log-odds rank like the softmax probability but never saturate into ties; rounding far below single
    # precision ties what is equal but for the order of a sum.
    others = np.stack([logsumexp(np.delete(logits, c, axis=1), axis=1) for c in range(num_classes)], axis=1)
    log_odds = np.round(logits - others, 9)
    log_probabilities = logits - logsumexp(logits, axis=1, keepdims=True)
    return {
        "accuracy": WeightedMean(predicted == labels),
        "balanced_accuracy": mean_of_defined(
            [WeightedMean(predicted == c, labels == c) for c in range(num_classes)]
        ),
        "f1_macro": f_score(labels, predicted, num_classes, average="macro"),
        "f1_weighted": f_score(labels, predicted, num_classes, average="weighted"),
        "auc": mean_of_defined([ranking_area(labels == c, log_odds[:, c]) for c in range(num_classes)]),
        "log_loss": WeightedMean(-log_probabilities[np.arange(len(labels)), labels]),
    }


def _codes(flags: np.ndarray) -> np.ndarray:
    """True and false as class indices 1 and 0."""
    return flags.astype(np.int64)


@dataclass(frozen=True)
class PreparedMetrics:
    """All metrics of one set of predictions, ready to be evaluated under any weights of the samples.

    Attributes:
        num_samples: Number n of samples, or of the units that are weighted.
        terms: Metric name → function from weights to values.

    Examples:
        >>> task = Task("regression", -3.0, 3.0, "mosi")
        >>> prepared = prepare_metrics(task, np.array([1.0, -2.0]), np.array([[2.0], [0.0]]))
        >>> prepared(np.array([[1.0, 1.0], [2.0, 0.0]]))["mae"]
        array([1.5, 1. ])
        >>> prepared.values()["mae"]
        1.5
    """

    num_samples: int
    terms: Mapping[str, WeightedMetric]

    def __call__(self, weights: Weights) -> dict[str, Values]:
        """Return every metric for each row of weights; NaN where it is undefined."""
        return {name: term(weights) for name, term in self.terms.items()}

    def of_units(self, codes: Int[np.ndarray, "sample"], count: int) -> "PreparedMetrics":
        """Return the metrics as functions of the weights of units of samples, such as groups that are drawn whole.

        What they say of single samples (`hits`, `num_counted`) is gone.

        Args:
            codes: Unit of each sample, in [0, count).
            count: Number of units.
        """
        return PreparedMetrics(
            count, {name: term.of_units(codes, count) for name, term in self.terms.items()}
        )

    def values(self) -> dict[str, float | None]:
        """Return every metric of the samples themselves; None where it is undefined."""
        once = self(np.ones((1, self.num_samples)))
        return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in once.items()}

    def hits(self, name: str) -> Bool[np.ndarray, "sample"] | None:
        """Return which samples an accuracy counts as right; None if the metric is no accuracy."""
        term = self.terms[name]
        if not isinstance(term, WeightedMean) or term.values.dtype != bool:
            return None
        return term.values if term.among is None else term.values & term.among

    def num_counted(self, name: str) -> int | None:
        """Return how many samples an accuracy counts; None if the metric is no accuracy."""
        term = self.terms[name]
        if not isinstance(term, WeightedMean) or term.values.dtype != bool:
            return None
        return self.num_samples if term.among is None else int(term.among.sum())


def numbers_of(values: Numbers, name: str) -> Real[np.ndarray, "..."]:
    """Return real numbers as an array: arrays, torch tensors on any device, with gradients or without, and lists.

    Args:
        values: The numbers.
        name: The argument's name, for the message.

    Raises:
        ArgumentError: If they are no numbers, complex, or ragged.

    Examples:
        >>> numbers_of([1, 2.5], "labels")
        array([1. , 2.5])
    """
    if hasattr(values, "detach"):
        # Double precision holds every type of torch, bfloat16 too, for which numpy has none.
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise ArgumentError(
            f"Argument `{name}` must hold real numbers of one shape, but it is {type(values).__name__} of "
            f"{array.dtype}; pass an array, a tensor or a list of them."
        )
    return array


def _checked_several(labels: Numbers, task: Task) -> np.ndarray:
    """Several labels of at least one sample: 1, 0, and -1 where one is not known."""
    given = numbers_of(labels, "labels")
    shape = (len(given) if given.ndim else 0, len(task.names))
    if given.shape != shape or not shape[0]:
        raise ArgumentError(
            f"Argument `labels` must have shape (n, {shape[1]}) with n ≥ 1 for the labels {', '.join(task.names)}, but "
            f"its shape is {given.shape}; pass 1, 0 or -1 (not known) for each."
        )
    wrong = np.argwhere(~np.isin(given, (-1, 0, 1)))
    if len(wrong):
        sample, label = wrong[0]
        raise ArgumentError(
            f"Argument `labels` must hold 1 (present), 0 (absent) and -1 (not known), but sample {sample} has "
            f"{given[sample, label]:g} for `{task.names[label]}`; say from which value on a label is present."
        )
    return given.astype(np.int64)


def _checked_labels(labels: Numbers) -> np.ndarray:
    """Finite labels of at least one sample, in double precision."""
    labels = numbers_of(labels, "labels")
    if labels.ndim != 1 or not len(labels):
        raise ArgumentError(
            f"Argument `labels` must have shape (n,) with n ≥ 1, but its shape is {labels.shape}; "
            "pass one label per sample."
        )
    unknown = np.flatnonzero(~np.isfinite(labels))
    if len(unknown):
        raise ArgumentError(
            f"Argument `labels` must be finite, but sample {unknown[0]} (first of {len(unknown)}) has "
            f"{labels[unknown[0]]}; leave samples without a label out."
        )
    return np.asarray(labels, dtype=np.float64)


def _checked_outputs(outputs: Numbers, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Finite outputs of the given shape, in double precision."""
    outputs = numbers_of(outputs, name)
    if outputs.shape != shape:
        raise ArgumentError(
            f"Argument `{name}` must have shape {shape} to go with the labels and the task, "
            f"but its shape is {outputs.shape}."
        )
    unknown = np.argwhere(~np.isfinite(outputs))
    if len(unknown):
        sample, num_unknown = unknown[0][0], len(np.unique(unknown[:, 0]))
        raise ArgumentError(
            f"Argument `{name}` must be finite, but sample {sample} (first of {num_unknown}) has "
            f"{outputs[sample]}; the model diverged, or its input holds NaN."
        )
    return np.asarray(outputs, dtype=np.float64)


def _checked_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels as class indices."""
    bad = np.flatnonzero((labels != np.round(labels)) | (labels < 0) | (labels >= num_classes))
    if len(bad):
        raise ArgumentError(
            f"Argument `labels` must hold class indices from 0 to {num_classes - 1}, but sample {bad[0]} "
            f"(first of {len(bad)}) has {labels[bad[0]]:g}; check the order of the classes."
        )
    return labels.astype(np.int64)


def _regression_terms(y: np.ndarray, p: np.ndarray, task: Task) -> dict[str, WeightedMetric]:
    """The terms of the task's scale."""
    if task.scale == "mosi":
        return _mosi_terms(y, p)
    if task.scale == "sims":
        return _sims_terms(y, p)
    if task.scale == "plain":
        return _plain_terms(y, p, 0.5 * (task.low + task.high))
    raise ArgumentError(f"Argument `scale` must be `mosi`, `sims` or `plain`, but it is `{task.scale}`.")


def prepare_metrics(task: Task, labels: Numbers, outputs: Numbers) -> PreparedMetrics:
    """Check labels and outputs and look at them once, so that many weightings can be evaluated.

    Args:
        task: What is predicted.
        labels: Scores, or class indices, shape (n,); or several labels, shape (n, labels): 1, 0, and -1 where it is not
            known whether one is present.
        outputs: Predicted scores, or logits; shape (n, num_outputs).

    Returns:
        The prepared metrics of the task.

    Raises:
        ArgumentError: If shapes do not fit, there is no sample, or a value is NaN or infinite.

    Examples:
        >>> task = Task("classification", classes=("sad", "happy"))
        >>> prepare_metrics(task, np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 2.0]])).values()["accuracy"]
        1.0
    """
    checked = _checked_several(labels, task) if task.kind == "multilabel" else _checked_labels(labels)
    scores = _checked_outputs(outputs, (len(checked), task.num_outputs), "outputs")
    if task.kind == "multilabel":
        terms = label_terms(checked, scores, task)
    elif task.kind == "classification":
        terms = _classification_terms(_checked_classes(checked, task.num_outputs), scores)
    else:
        terms = _regression_terms(checked, scores[:, 0], task)
    return PreparedMetrics(len(checked), terms)


def metrics(task: Task, labels: Numbers, outputs: Numbers) -> dict[str, float | None]:
    """Every metric of the task.

    Args:
        task: What is predicted.
        labels: As `prepare_metrics` takes them.
        outputs: Predicted scores, or logits; shape (n, num_outputs). Classes are ranked by their probability, not by
            the raw logit; the predicted class is the one with the largest, ties going to the first.

    Returns:
        Metric name → value; None where undefined (see `Metric.undefined_when`).

    Source:
        The conventions of CMU-MOSI and CH-SIMS as the MMSA code computes them. Weighted accuracy of emotions as in
        Zadeh et al., "Multimodal language analysis in the wild: CMU-MOSEI" (ACL 2018), after Tong et al., "Combating
        human trafficking with multimodal deep models" (ACL 2017): (TP · N/P + TN) / 2N.

    Raises:
        ArgumentError: If shapes do not fit, there is no sample, or a value is NaN or infinite.

    Examples:
        >>> task = Task("regression", 0.0, 10.0, "plain")
        >>> metrics(task, np.array([2.0, 8.0]), np.array([[3.0], [7.0]]))["auc_midpoint"]
        1.0
    """
    return prepare_metrics(task, labels, outputs).values()


def confusion_matrix(labels: Numbers, outputs: Numbers) -> Int[np.ndarray, "true predicted"]:
    """How many samples of each true class were given each class.

    Args:
        labels: Class indices; shape (n,).
        outputs: Logits or probabilities.

    Returns:
        Counts: rows are true classes, columns predicted ones.

    Raises:
        ArgumentError: If a label is no class index or an output is not finite.

    Examples:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).tolist()
        [[1, 0], [1, 1]]
    """
    outputs = numbers_of(outputs, "outputs")
    if outputs.ndim != 2:
        raise ArgumentError(
            f"Argument `outputs` must have shape (n, classes), but its shape is {outputs.shape}; pass logits or "
            "probabilities."
        )
    num_classes = outputs.shape[1]
    checked = _checked_labels(labels)
    true = _checked_classes(checked, num_classes)
    predicted = _checked_outputs(outputs, (len(true), num_classes), "outputs").argmax(axis=1)
    counts = np.bincount(num_classes * true + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
