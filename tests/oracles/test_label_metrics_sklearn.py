"""Metrics of several labels: scikit-learn gets the same numbers, label by label and in the mean."""

import numpy as np
import pytest
from sklearn import metrics as known

from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import metrics, prepare_metrics
from qinn.task import Task

NAMES = ("happy", "sad", "fear")


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a few are not known, and logits with ties."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, (90, 3))
    logits = np.round(random.normal(size=(90, 3)) + labels, 1)
    labels[random.random((90, 3)) < 0.1] = -1
    return labels, logits


def expected(labels: np.ndarray, logits: np.ndarray, threshold: float) -> dict[str, float]:
    likely = 1 / (1 + np.exp(-logits))
    said = likely >= threshold
    return {
        "weighted_accuracy": known.balanced_accuracy_score(labels, said),
        "f1_binary": known.f1_score(labels, said),
        "f1_weighted": known.f1_score(labels, said, average="weighted"),
        "accuracy": known.accuracy_score(labels, said),
        "auc": known.roc_auc_score(labels, likely),
        "average_precision": known.average_precision_score(labels, likely),
        "log_loss": known.log_loss(labels, likely),
    }


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_every_label_and_the_means_are_those_of_scikit_learn(threshold: float) -> None:
    labels, logits = drawn(0)
    task = Task("multilabel", labels=NAMES, threshold=threshold)
    found = metrics(task, labels, logits)
    assert list(found) == list(metrics_of(task))
    of_each = []
    for index, name in enumerate(NAMES):
        rows = labels[:, index] >= 0
        of_each.append(expected(labels[rows, index], logits[rows, index], threshold))
        assert {metric: found[f"{metric}:{name}"] for metric in of_each[-1]} == pytest.approx(of_each[-1])
    for metric in of_each[0]:
        assert found[metric] == pytest.approx(np.mean([one[metric] for one in of_each]))


def test_weights_are_repetitions() -> None:
    labels, logits = drawn(1)
    task = Task("multilabel", labels=NAMES)
    prepared = prepare_metrics(task, labels, logits)
    counts = np.random.default_rng(2).integers(0, 4, (3, len(labels)))
    weighted = prepared(counts.astype(float))
    for row, times in enumerate(counts):
        repeated = metrics(task, labels.repeat(times, axis=0), logits.repeat(times, axis=0))
        assert {name: values[row] for name, values in weighted.items()} == pytest.approx(repeated)
