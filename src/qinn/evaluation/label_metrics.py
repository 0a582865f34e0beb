"""The metrics of several labels, each present or absent: of every label, and their means over the labels.

Notation: y = 1 where a label is present, x its logit; TP, TN of P and N samples that have it and have it not. A sample
of which it is not known whether it has a label does not count for that label.
"""

from collections.abc import Callable

import numpy as np

from qinn.evaluation.metric_names import of_label
from qinn.evaluation.outcomes import decided
from qinn.evaluation.weighted import (
    Values,
    WeightedMean,
    WeightedMetric,
    Weights,
    average_precision,
    f_of_positives,
    f_score,
    mean_of_defined,
    ranking_area,
)
from qinn.task import Task


def label_terms(labels: np.ndarray, logits: np.ndarray, task: Task) -> dict[str, WeightedMetric]:
    """Return the metrics as functions of weights: the means first, then those of each label.

    Args:
        labels: 1, 0, and -1 where a label is not known; shape (n, labels).
        logits: Outputs of the same shape.
        task: A multi-label task.
    """
    found = decided(task, logits)
    of_each = [
        {
            # What counts hits is asked for them (`PreparedMetrics.hits`), and costs next to nothing.
            name: term if isinstance(term, WeightedMean) else _Remembering(term)
            for name, term in _terms_of_one(labels[:, index], logits[:, index], found[:, index]).items()
        }
        for index in range(len(task.names))
    ]
    means = {name: mean_of_defined([terms[name] for terms in of_each]) for name in of_each[0]}
    return means | {
        of_label(name, label): term
        for label, terms in zip(task.names, of_each, strict=True)
        for name, term in terms.items()
    }


def _terms_of_one(y: np.ndarray, logits: np.ndarray, found: np.ndarray) -> dict[str, WeightedMetric]:
    known = None if bool((y >= 0).all()) else y >= 0
    present, codes = y == 1, found.astype(np.int64)
    positives, negatives = WeightedMean(found, present), WeightedMean(~found, y == 0)
    rows = slice(None) if known is None else np.flatnonzero(known)
    return {
        # ½ (TP/P + TN/N) is (TP · N/P + TN) / 2N.
        "weighted_accuracy": lambda weights: 0.5 * (positives(weights) + negatives(weights)),
        "f1_binary": f_of_positives(present, found & (y >= 0)),
        "f1_weighted": f_score(np.maximum(y, 0), codes, 2, average="weighted", among=known),
        "accuracy": WeightedMean(found == present, known),
        "auc": _of_rows(rows, ranking_area(present[rows], logits[rows])),
        "average_precision": _of_rows(rows, average_precision(present[rows], logits[rows])),
        "log_loss": WeightedMean(np.logaddexp(0.0, np.where(present, -logits, logits)), known),
    }


def _of_rows(rows: slice | np.ndarray, term: WeightedMetric) -> WeightedMetric:
    return term if isinstance(rows, slice) else lambda weights: term(weights[:, rows])


class _Remembering:
    """A metric that keeps its last values, since the mean over labels asks for them a second time."""

    def __init__(self, term: Callable[[Weights], Values]) -> None:
        self.term = term
        self._last: tuple[Weights, Values] | None = None

    def __call__(self, weights: Weights) -> Values:
        """Return the metric for each row of weights."""
        if self._last is None or self._last[0] is not weights:
            self._last = (weights, self.term(weights))
        return self._last[1]
