"""Every metric agrees with scikit-learn, scipy or torchmetrics, on random data full of ties and bin edges."""

import numpy as np
import pytest
import torch
import torchmetrics.functional as torch_metrics
from scipy import stats
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from qinn.evaluation.metrics import confusion_matrix, metrics
from qinn.task import Task

EXACT = {"rel": 1e-12, "abs": 1e-12}
SEEDS = range(4)
MOSI, SIMS = Task("regression", -3.0, 3.0, "mosi"), Task("regression", -1.0, 1.0, "sims")


def classification_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    """Every metric of as many classes as there are logits."""
    return metrics(Task("classification", classes=tuple("abcdefghi"[: logits.shape[1]])), labels, logits)


def scores(seed: int, low: float, high: float, step: float, size: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions on a grid (ties, edges, zeros), with some predictions beyond the range."""
    generator = np.random.default_rng(seed)
    labels = np.round(generator.uniform(low, high, size) / step) * step
    noisy = labels + generator.normal(0.0, 0.4 * (high - low), size)
    on_grid = np.round(noisy / step) * step
    return np.clip(labels, low, high), np.where(generator.random(size) < 0.7, on_grid, noisy)


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(sklearn_metrics.accuracy_score(labels, predictions))


def weighted_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(sklearn_metrics.f1_score(labels, predictions, average="weighted"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [0.5, 1 / 3, 0.2])
def test_mosi_metrics_agree_with_the_reference_functions(seed: int, step: float) -> None:
    y, p = scores(seed, -3.0, 3.0, step)
    non0 = y != 0
    expected = {
        "mae": sklearn_metrics.mean_absolute_error(y, p),
        "corr": stats.pearsonr(y, p).statistic,
        "acc7": accuracy(np.round(np.clip(y, -3, 3)).astype(int), np.round(np.clip(p, -3, 3)).astype(int)),
        "acc5": accuracy(np.round(np.clip(y, -2, 2)).astype(int), np.round(np.clip(p, -2, 2)).astype(int)),
        "acc2_has0": accuracy(y >= 0, p >= 0),
        "f1_has0": weighted_f1(y >= 0, p >= 0),
        "acc2_non0": accuracy(y[non0] > 0, p[non0] > 0),
        "f1_non0": weighted_f1(y[non0] > 0, p[non0] > 0),
    }
    assert metrics(MOSI, y, p[:, None]) == pytest.approx(expected, **EXACT)


def sims_bin(value: float, edges: tuple[float, ...]) -> int:
    """Left-open, right-closed bin, written as a plain loop."""
    for index, edge in enumerate(edges):
        if np.float32(value) <= np.float32(edge):
            return index
    return len(edges)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [0.1, 0.2, 0.05])
def test_sims_metrics_agree_with_the_reference_functions(seed: int, step: float) -> None:
    y, raw = scores(seed, -1.0, 1.0, step)
    p = np.clip(raw, -1.0, 1.0)

    def binned(values: np.ndarray, *edges: float) -> list[int]:
        return [sims_bin(value, edges) for value in values]

    expected = {
        "mae": sklearn_metrics.mean_absolute_error(y, p),
        "corr": stats.pearsonr(y, p).statistic,
        "acc2": accuracy(y > 0, p > 0),
        "acc3": accuracy(binned(y, -0.1, 0.1), binned(p, -0.1, 0.1)),
        "acc5": accuracy(binned(y, -0.7, -0.1, 0.1, 0.7), binned(p, -0.7, -0.1, 0.1, 0.7)),
        "f1": weighted_f1(y > 0, p > 0),
    }
    assert metrics(SIMS, y, raw[:, None]) == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [12, 300])
def test_plain_metrics_agree_with_the_reference_functions(seed: int, size: int) -> None:
    y, p = scores(seed, 0.0, 10.0, 0.5, size)
    expected = {
        "mae": sklearn_metrics.mean_absolute_error(y, p),
        "corr": stats.pearsonr(y, p).statistic,
        "r2": sklearn_metrics.r2_score(y, p),
        "auc_midpoint": sklearn_metrics.roc_auc_score(y > 5.0, p),
    }
    assert metrics(Task("regression", 0.0, 10.0), y, p[:, None]) == pytest.approx(expected, **EXACT)


def logits_with_ties(seed: int, num_classes: int, size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which every class occurs, and logits rounded until they tie."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), generator.integers(0, num_classes, size - num_classes)])
    logits = generator.normal(size=(size, num_classes)) + 1.2 * np.eye(num_classes)[labels]
    return labels, np.round(2.0 * logits) / 2.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_classes", [2, 3, 8])
def test_classification_metrics_agree_with_the_reference_functions(seed: int, num_classes: int) -> None:
    labels, logits = logits_with_ties(seed, num_classes)
    predicted = logits.argmax(axis=1)
    # The reference ranks by rounded-off probabilities: equal ones must tie there too.
    probabilities = np.round(softmax(logits, axis=1), 12)
    areas = [
        sklearn_metrics.roc_auc_score(labels == label, probabilities[:, label])
        for label in range(num_classes)
    ]
    expected = {
        "accuracy": accuracy(labels, predicted),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predicted),
        "f1_macro": sklearn_metrics.f1_score(labels, predicted, average="macro"),
        "f1_weighted": weighted_f1(labels, predicted),
        "auc": np.mean(areas),
        "log_loss": sklearn_metrics.log_loss(labels, softmax(logits, axis=1), labels=range(num_classes)),
    }
    assert classification_metrics(labels, logits) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_classes_that_never_occur_are_left_out_of_macro_averages_as_in_scikit_learn(num_classes: int) -> None:
    labels, logits = logits_with_ties(7, num_classes)
    wider = np.concatenate([logits, np.full((len(logits), 1), -30.0)], axis=1)
    result = classification_metrics(labels, wider)
    expected = sklearn_metrics.f1_score(labels, wider.argmax(axis=1), average="macro")
    assert result["f1_macro"] == pytest.approx(expected, **EXACT)
    assert result["auc"] == pytest.approx(classification_metrics(labels, logits)["auc"], abs=1e-3)
    assert result["balanced_accuracy"] == pytest.approx(
        classification_metrics(labels, logits)["balanced_accuracy"], **EXACT
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_multiclass_area_agrees_with_torchmetrics(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, logits = generator.integers(0, 4, 150), generator.normal(size=(150, 4))
    expected = torch_metrics.auroc(
        torch.tensor(logits), torch.tensor(labels), task="multiclass", num_classes=4, average="macro"
    )
    assert classification_metrics(labels, logits)["auc"] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_confusion_matrix_agrees_with_scikit_learn(seed: int) -> None:
    labels, logits = logits_with_ties(seed, 5)
    expected = sklearn_metrics.confusion_matrix(labels, logits.argmax(axis=1), labels=range(5))
    np.testing.assert_array_equal(confusion_matrix(labels, logits), expected)
