"""The metrics of several labels, each present or absent: of every label, and their means over the labels.

Notation: y = 1 where a label is present, x its logit; TP, TN of P and N samples that have it and have it not. A sample
of which it is not known whether it has a label does not count for that label.
"""

import numpy as np

from qinn.evaluation.metric_names import of_label
from qinn.evaluation.outcomes import decided
from qinn.evaluation.weighted import (
    OfSelected,
    Values,
    WeightedMean,
    WeightedMetric,
    Weights,
    average_precision,
    f_of_positives,
    f_score,
    mean_of_defined,
    ranking_area,
    weighted_accuracy,
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
    rows = np.arange(len(y)) if known is None else np.flatnonzero(known)
    return {
        # ½ (TP/P + TN/N) is (TP · N/P + TN) / 2N.
        "weighted_accuracy": weighted_accuracy(present, y == 0, found),
        "f1_binary": f_of_positives(present, found & (y >= 0)),
        "f1_weighted": f_score(np.maximum(y, 0), codes, 2, average="weighted", among=known),
        "accuracy": WeightedMean(found == present, known),
        "auc": _among(rows, ranking_area(present[rows], logits[rows]), len(y)),
        "average_precision": _among(rows, average_precision(present[rows], logits[rows]), len(y)),
        "log_loss": WeightedMean(np.logaddexp(0.0, np.where(present, -logits, logits)), known),
    }


def _among(rows: np.ndarray, term: WeightedMetric, num_samples: int) -> WeightedMetric:
    """A metric of some of the samples."""
    return term if len(rows) == num_samples else OfSelected(term, rows)


class _Remembering(WeightedMetric):
    """A metric that keeps its last values, since the mean over labels asks for them a second time."""

    def __init__(self, term: WeightedMetric) -> None:
        self.term = term
        self._last: tuple[Weights, Values] | None = None
        self._last_of_units: tuple[np.ndarray, _Remembering] | None = None

    def __call__(self, weights: Weights) -> Values:
        """Return the metric for each row of weights."""
        if self._last is None or self._last[0] is not weights:
            self._last = (weights, self.term(weights))
        return self._last[1]

    def of_units(self, codes: np.ndarray, count: int) -> WeightedMetric:
        """Return the metric as a function of the weights of units, which keeps its last values too."""
        if self._last_of_units is None or self._last_of_units[0] is not codes:
            self._last_of_units = (codes, _Remembering(self.term.of_units(codes, count)))
        return self._last_of_units[1]
