"""Conventions by hand-computed examples, undefined values, and refusals."""

import numpy as np
import pytest

from qinn.errors import ArgumentError
from qinn.evaluation.metric_names import METRICS_BY_CONVENTION, metrics_of
from qinn.evaluation.metrics import confusion_matrix, metrics, prepare_metrics
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")
SIMS = Task("regression", -1.0, 1.0, "sims")
PLAIN = Task("regression", 0.0, 10.0, "plain")
CLASSES = Task("classification", classes=("angry", "calm", "happy"))
TASKS = {"mosi": MOSI, "sims": SIMS, "plain": PLAIN, "classification": CLASSES}


def regression_metrics(labels: np.ndarray, predictions: np.ndarray, scale: str) -> dict[str, float | None]:
    """Every metric of a scale."""
    return metrics(TASKS[scale], labels, predictions[:, None])


def classification_metrics(labels: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    """Every metric of as many classes as there are logits."""
    return metrics(Task("classification", classes=CLASSES.classes[: logits.shape[1]]), labels, logits)


def one(label: float, prediction: float, scale: str, name: str) -> float | None:
    """A metric of a single sample."""
    return regression_metrics(np.array([label]), np.array([prediction]), scale)[name]


@pytest.mark.parametrize(
    ("name", "label", "prediction", "right"),
    [
        ("acc7", 0.5, 0.0, True),  # ties to even: 0.5 is 0, 1.5 and 2.5 are 2
        ("acc7", 0.5, 1.0, False),
        ("acc7", 1.5, 2.5, True),
        ("acc7", 2.5, 3.0, False),
        ("acc7", -2.5, -2.0, True),
        ("acc7", 3.0, 9.0, True),
        ("acc7", -3.0, -3.4, True),
        ("acc7", 2.0, 3.0, False),
        ("acc5", 2.0, 3.0, True),
        ("acc5", -3.0, -1.6, True),
        ("acc5", -3.0, -1.5, True),
        ("acc5", -3.0, -1.4, False),
        ("acc2_has0", 0.0, 0.0, True),
        ("acc2_has0", 0.0, 0.7, True),
        ("acc2_has0", 0.0, -1e-9, False),
        ("acc2_has0", -0.2, 0.0, False),
        ("acc2_non0", 0.4, 0.0, False),
        ("acc2_non0", -0.4, 0.0, True),
        ("acc2_non0", 0.4, 0.1, True),
    ],
)
def test_mosi_accuracies_follow_their_convention(
    name: str, label: float, prediction: float, right: bool
) -> None:
    assert one(label, prediction, "mosi", name) == float(right)


@pytest.mark.parametrize(
    ("name", "label", "prediction", "right"),
    [
        ("acc2", 0.0, -1.0, True),  # zero is on the negative side, unlike MOSI
        ("acc2", 0.0, 0.01, False),
        ("acc2", 1.0, 5.0, True),
        ("acc3", 0.1, 0.0, True),  # right-closed
        ("acc3", -0.1, -0.5, True),
        ("acc3", -0.1, 0.0, False),  # left-open
        ("acc3", 0.1, 0.11, False),
        ("acc5", -0.7, -1.0, True),
        ("acc5", -0.7, -0.6, False),
        ("acc5", 0.7, 0.2, True),
        ("acc5", 0.7, 0.8, False),
        ("acc5", 0.1, 0.0, True),
        ("acc5", -1.0, -9.0, True),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sims_accuracies_follow_their_bins_in_either_precision(
    name: str, label: float, prediction: float, right: bool, dtype: type
) -> None:
    result = regression_metrics(np.array([label], dtype), np.array([prediction], dtype), "sims")
    assert result[name] == float(right)


def test_mosi_error_is_unclipped_and_sims_error_is_clipped() -> None:
    assert one(3.0, 5.0, "mosi", "mae") == 2.0
    assert one(1.0, 3.0, "sims", "mae") == 0.0
    assert one(-1.5, -1.0, "sims", "mae") == 0.0


def test_sims_correlation_is_of_clipped_values() -> None:
    labels, predictions = np.array([-1.0, 0.0, 1.0]), np.array([-7.0, 0.0, 1.0])
    assert regression_metrics(labels, predictions, "sims")["corr"] == pytest.approx(1.0)
    assert regression_metrics(labels, predictions, "mosi")["corr"] == pytest.approx(8 / np.sqrt(2 * 38))


def test_binary_conventions_use_different_samples() -> None:
    labels = np.array([-1.0, -2.0, 0.0, 0.0, 3.0])
    predictions = np.array([-1.0, 1.0, -1.0, 1.0, 2.0])
    result = regression_metrics(labels, predictions, "mosi")
    assert result["acc2_has0"] == pytest.approx(3 / 5)
    assert result["acc2_non0"] == pytest.approx(2 / 3)
    # has0: negative class 2 true, 2 predicted, 1 hit → 1/2; other 3, 3, 2 → 2/3; weighted by true counts.
    assert result["f1_has0"] == pytest.approx((2 * 0.5 + 3 * 2 / 3) / 5)
    # non0: negative 2 true, 1 predicted, 1 hit → 2/3; positive 1, 2, 1 → 2/3.
    assert result["f1_non0"] == pytest.approx(2 / 3)


def test_plain_metrics_of_a_small_example() -> None:
    result = metrics(PLAIN, np.array([1.0, 5.0, 6.0, 8.0]), np.array([[2.0], [6.0], [6.0], [7.0]]))
    assert result["mae"] == 0.75
    assert result["r2"] == pytest.approx(1 - 3 / 26)
    assert result["auc_midpoint"] == pytest.approx(3.5 / 4)  # a label on the midpoint is not positive


def test_the_area_ranks_by_probability_and_not_by_the_raw_logit() -> None:
    # The first sample has the lower logit for class 0, and the higher probability.
    logits = np.array([[1.0, -9.0, -9.0], [2.0, 9.0, -9.0], [2.0, -9.0, 9.0]])
    assert classification_metrics(np.array([0, 1, 2]), logits)["auc"] == 1.0


def test_the_area_does_not_saturate_for_confident_logits() -> None:
    logits = np.array([[0.0, 100.0], [0.0, 200.0]])
    assert classification_metrics(np.array([0, 1]), logits)["auc"] == 1.0


@pytest.mark.parametrize(
    ("labels", "predictions", "scale", "undefined"),
    [
        ([-1.0, 0.5, 2.0], [0.1, 0.1, 0.1], "mosi", {"corr"}),
        ([-1.0, 0.5, 2.0], [0.1, 0.1 + 1e-8, 0.1], "mosi", {"corr"}),  # single-precision noise
        ([0.3, 0.3], [1.0, 2.0], "mosi", {"corr"}),
        ([0.0, 0.0], [1.0, 2.0], "mosi", {"corr", "acc2_non0", "f1_non0"}),
        ([0.4], [0.2], "mosi", {"corr"}),
        ([-0.5, 0.5], [1.1, 7.0], "sims", {"corr"}),  # constant once clipped
        ([2.0, 2.0], [1.0, 3.0], "plain", {"corr", "r2", "auc_midpoint"}),
        ([1.0, 2.0], [1.0, 1.0], "plain", {"corr", "auc_midpoint"}),
    ],
)
def test_undefined_metrics_are_none_and_no_others(
    labels: list[float], predictions: list[float], scale: str, undefined: set[str]
) -> None:
    result = regression_metrics(np.array(labels), np.array(predictions), scale)
    assert {name for name, value in result.items() if value is None} == undefined
    for name in undefined:
        table = {metric.name: metric for metric in METRICS_BY_CONVENTION[scale]}
        assert table[name].undefined_when != "never"


def test_the_area_of_a_single_class_is_undefined_and_the_rest_is_not() -> None:
    result = classification_metrics(np.array([1, 1]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert result == {
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "f1_macro": pytest.approx(1 / 3),
        "f1_weighted": pytest.approx(2 / 3),
        "auc": None,
        "log_loss": pytest.approx(np.log(1 + np.e) - 0.5),
    }


def test_the_log_loss_of_a_certain_mistake_is_large_and_finite() -> None:
    result = classification_metrics(np.array([0, 0]), np.array([[-1000.0, 1000.0], [1000.0, -1000.0]]))
    assert result["log_loss"] == pytest.approx(1000.0)
    assert metrics_of(Task("classification", classes=("a", "b")))["log_loss"].direction == "lower"


def test_balanced_accuracy_counts_classes_not_samples() -> None:
    logits = np.array([[1.0, 0.0]] * 9 + [[1.0, 0.0]])
    result = classification_metrics(np.array([0] * 9 + [1]), logits)
    assert (result["accuracy"], result["balanced_accuracy"]) == (0.9, 0.5)


def test_a_class_without_samples_is_left_out_of_the_area() -> None:
    logits = np.array([[3.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 2.0, 9.0]])
    assert classification_metrics(np.array([0, 1, 1]), logits)["auc"] == pytest.approx(0.75)


@pytest.mark.parametrize("name", TASKS)
def test_the_table_describes_exactly_the_metrics_that_are_computed(name: str) -> None:
    task = TASKS[name]
    labels = np.array([0, 1, 2]) if task.kind == "classification" else np.array([-1.0, 0.0, 1.0])
    result = metrics(task, labels, np.eye(3)[:, : task.num_outputs])
    assert list(result) == list(metrics_of(task))
    for metric in metrics_of(task).values():
        assert metric.direction == ("lower" if metric.name in ("mae", "log_loss") else "higher")
        value = result[metric.name]
        assert value is None or metric.low <= value <= metric.high


def test_a_name_shared_by_two_scales_has_the_convention_of_each() -> None:
    assert "[-2, 2]" in metrics_of(MOSI)["acc5"].label
    assert "(-0.1, 0.1]" in metrics_of(SIMS)["acc5"].label
    assert "(-0.1, 0.1]" not in metrics_of(MOSI)["acc5"].label


LABELS = np.array([0.5, -1.0, 2.0])
OUTPUTS = np.array([[0.4], [-0.9], [1.0]])


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        (LABELS[:0], OUTPUTS[:0], r"`labels` must have shape \(n,\) with n ≥ 1"),
        (LABELS[:, None], OUTPUTS, r"`labels` must have shape"),
        (LABELS, OUTPUTS[:2], r"`outputs` must have shape \(3, 1\).* its shape is \(2, 1\)"),
        (LABELS, OUTPUTS[:, 0], r"`outputs` must have shape \(3, 1\)"),
        (LABELS, np.repeat(OUTPUTS, 2, axis=1), r"`outputs` must have shape \(3, 1\)"),
        (LABELS, np.array([[0.0], [np.nan], [np.nan]]), r"sample 1 \(first of 2\) has \[nan\]"),
        (LABELS, np.array([[0.0], [1.0], [np.inf]]), r"sample 2 \(first of 1\) has \[inf\]"),
        (np.array([0.0, 1.0, np.nan]), OUTPUTS, r"`labels` must be finite, but sample 2"),
    ],
)
def test_bad_scores_are_refused_naming_the_fault(
    labels: np.ndarray, outputs: np.ndarray, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        metrics(MOSI, labels, outputs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], r"class indices from 0 to 2, but sample 2 \(first of 1\) has 3"),
        ([0, -1, 2], r"sample 1 \(first of 1\) has -1"),
        ([0.5, 1.0, 2.5], r"sample 0 \(first of 2\) has 0.5"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels: list[float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        metrics(CLASSES, np.array(labels), np.eye(3))
    with pytest.raises(ArgumentError, match=message):
        confusion_matrix(np.array(labels), np.eye(3))


def test_other_bad_arguments_are_refused() -> None:
    other = Task("regression", -3.0, 3.0, "mosi")
    object.__setattr__(other, "scale", "mosei")  # as without a type checker
    with pytest.raises(ArgumentError, match="`scale` must be"):
        metrics(other, LABELS, OUTPUTS)
    with pytest.raises(ArgumentError, match=r"must have shape \(2, 3\)"):
        metrics(CLASSES, np.array([0, 1]), np.array([0.2, 0.7]))


def test_hits_are_known_for_accuracies_only() -> None:
    prepared = prepare_metrics(MOSI, np.array([0.0, -1.0, 2.0]), np.array([[-1.0], [-1.0], [1.0]]))
    assert prepared.hits("mae") is None
    assert prepared.hits("f1_has0") is None
    assert prepared.hits("acc2_has0").tolist() == [False, True, True]
    assert prepared.hits("acc2_non0").tolist() == [False, True, True]


def _as_given(kind: str, values: np.ndarray) -> object:
    import torch

    kinds = {
        "list": lambda: values.tolist(),
        "tensor": lambda: torch.tensor(values),
        "with gradients": lambda: torch.tensor(values, dtype=torch.float64, requires_grad=True),
        "half": lambda: torch.tensor(values).to(torch.bfloat16),
    }
    return kinds[kind]()


@pytest.mark.parametrize("kind", ["list", "tensor", "with gradients", "half"])
def test_tensors_and_lists_are_numbers_too(kind):
    task = Task("regression", -3.0, 3.0, "mosi")
    labels, outputs = np.array([0.5, -1.0, 2.0]), np.array([[0.75], [0.5], [1.5]])
    expected = metrics(task, labels, outputs)
    assert metrics(task, _as_given(kind, labels), _as_given(kind, outputs)) == expected
    classes, logits = np.array([0, 1, 1]), np.array([[0.5, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = confusion_matrix(
        _as_given(kind if kind == "list" else "tensor", classes), _as_given(kind, logits)
    )
    assert found.tolist() == confusion_matrix(classes, logits).tolist()


@pytest.mark.parametrize("values", [["a", "b"], [[1.0], [1.0, 2.0]], [1j, 2j], None], ids=str)
def test_what_is_no_number_is_refused_by_its_type(values):
    with pytest.raises(
        ArgumentError, match=r"Argument `labels` must hold real numbers .*pass an array, a tensor or a"
    ):
        metrics(Task("regression", -3.0, 3.0, "mosi"), values, np.zeros((2, 1)))
