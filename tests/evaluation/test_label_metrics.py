"""Metrics of several labels: the formula of the field, what is not known, and what is undefined."""

import numpy as np
import pytest

from qinn.errors import ArgumentError
from qinn.evaluation.intervals import bootstrap_intervals
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import metrics
from qinn.evaluation.outcomes import decided, label_position, label_probabilities
from qinn.evaluation.paired_tests import paired_test
from qinn.results.metric_columns import by_label, metric_names, shown_metrics
from qinn.task import Task

TASK = Task("multilabel", labels=("happy", "sad"))


def test_weighted_accuracy_is_that_of_the_field() -> None:
    """(TP · N/P + TN) / 2N with P = 4, N = 2, TP = 3, TN = 1."""
    labels = np.array([[1, 0], [1, 1], [1, 0], [1, 1], [0, 1], [0, 0]])
    logits = np.array([[1.0, -1], [1, 1], [1, -1], [-1, 1], [1, 1], [-1, -1]])
    found = metrics(TASK, labels, logits)
    assert found["weighted_accuracy:happy"] == pytest.approx((3 * 2 / 4 + 1) / (2 * 2))
    assert found["weighted_accuracy:sad"] == 1
    assert found["weighted_accuracy"] == pytest.approx((0.625 + 1) / 2)
    assert found["f1_binary:happy"] == pytest.approx(2 * 3 / (4 + 4))


def test_what_is_not_known_of_a_label_does_not_count_for_it() -> None:
    labels = np.array([[1, 0], [0, 1], [-1, 1], [-1, 0]])
    logits = np.array([[2.0, -1], [-2, 1], [9, 1], [-9, -1]])
    alone = metrics(TASK, labels[:2], logits[:2])
    found = metrics(TASK, labels, logits)
    assert all(found[f"{name}:happy"] == alone[f"{name}:happy"] for name in shown_metrics(TASK))


def test_a_label_that_is_never_there_has_no_weighted_accuracy_and_the_mean_leaves_it_out() -> None:
    labels, logits = np.array([[1, 0], [0, 0]]), np.array([[1.0, -1], [-1, -1]])
    found = metrics(TASK, labels, logits)
    undefined = {name for name, value in found.items() if value is None}
    assert undefined == {
        f"{name}:sad" for name in ("weighted_accuracy", "f1_binary", "auc", "average_precision")
    }
    assert found["weighted_accuracy"] == found["weighted_accuracy:happy"] == 1


def test_the_threshold_decides_and_changes_no_ranking() -> None:
    labels, logits = np.array([[1, 0], [0, 1], [1, 1]]), np.array([[0.5, -2], [-0.5, 0.0], [-1, 3.0]])
    strict = Task("multilabel", labels=TASK.names, threshold=0.9)
    assert decided(TASK, logits).tolist() == [[True, False], [False, True], [False, True]]
    assert decided(strict, logits).tolist() == [[False, False], [False, False], [False, True]]
    before, after = (metrics(task, labels, logits) for task in (TASK, strict))
    changed = {name.partition(":")[0] for name in before if before[name] != after[name]}
    assert changed == {"weighted_accuracy", "f1_binary", "f1_weighted", "accuracy"}


def test_intervals_and_tests_are_of_every_label() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (40, 2))
    good, bad = (labels * 2 - 1) * 3.0 + random.normal(size=(2, 40, 2)) * np.array([1, 6])[:, None, None]
    intervals = bootstrap_intervals(TASK, labels, bad, num_resamples=50)
    assert set(intervals) == set(metrics_of(TASK))
    one = intervals["auc:sad"]
    ends = [value for value in (one.low, one.value, one.high) if value is not None]
    assert len(set(ends)) == 3
    assert ends == sorted(ends)
    tests = paired_test(TASK, labels, good, bad, num_resamples=50, num_permutations=100)
    assert tests["weighted_accuracy"].difference > 0
    assert tests["weighted_accuracy"].p_value < 0.05
    assert tests["accuracy:happy"].mcnemar_p_value is not None


def test_tables_show_the_means_and_those_of_labels_apart() -> None:
    names = list(metrics_of(TASK))
    assert metric_names(TASK, names) == shown_metrics(TASK)
    assert by_label(names)["sad"]["auc"] == "auc:sad"
    assert by_label(metrics_of(Task("regression", -3.0, 3.0, "mosi"))) == {}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((3, 3)), r"shape \(n, 2\)"),
        (np.zeros(3), r"shape \(n, 2\)"),
        (np.zeros((0, 2)), "n ≥ 1"),
        (np.array([[0, 1], [0.5, 0]]), "sample 1 has 0.5 for `happy`"),
        (np.array([[0, 1], [1, 2]]), "sample 1 has 2 for `sad`"),
        (np.array([[0, 1], [np.nan, 1]]), "has nan for `happy`"),
    ],
)
def test_labels_of_another_form_are_refused(labels: np.ndarray, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        metrics(TASK, labels, np.zeros((len(labels), 2)))


def test_probabilities_do_not_overflow_and_labels_are_found_by_name() -> None:
    with np.errstate(all="raise"):
        assert label_probabilities(np.array([700.0, -700.0, 0.0])).tolist()[0::2] == [1.0, 0.5]
    assert (label_position(TASK, None), label_position(TASK, "sad")) == (0, 1)
    with pytest.raises(ArgumentError, match="one of happy, sad, but it is `joy`"):
        label_position(TASK, "joy")
    with pytest.raises(ArgumentError, match="classification into a, b; leave it out"):
        label_position(Task("classification", classes=("a", "b")), "a")
