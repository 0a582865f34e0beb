"""What training minimises, against hand calculations."""

import math

import numpy as np
import pytest
import torch

from qinn.errors import ArgumentError
from qinn.records import Prediction
from qinn.task import Task
from qinn.training.objective import check_loss, loss_per_sample, training_loss, weights_of_classes
from qinn.training.options import FitOptions

SCORE = Task("regression", -3.0, 3.0, "mosi")
CLASSES = Task("classification", classes=("a", "b"))
LOGITS = torch.tensor([[0.0, math.log(3.0)]])  # probabilities 1/4 and 3/4


@pytest.mark.parametrize(
    ("kind", "output", "label", "expected"),
    [
        ("l1", 2.0, 0.5, 1.5),
        ("l1", -1.0, 0.5, 1.5),
        ("mse", 2.0, 0.5, 2.25),
        ("huber", 2.0, 0.5, 1.5 - 0.5),
        ("huber", 1.0, 0.5, 0.5 * 0.5**2),
    ],
)
def test_regression_losses_are_those_calculated_by_hand(kind, output, label, expected):
    found = loss_per_sample(torch.tensor([[output]]), torch.tensor([label]), kind)
    assert found.shape == (1,)
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("label", "smoothing", "expected"),
    [
        (1, 0.0, -math.log(0.75)),
        (0, 0.0, -math.log(0.25)),
        (1, 0.2, -0.9 * math.log(0.75) - 0.1 * math.log(0.25)),
    ],
)
def test_cross_entropy_is_that_calculated_by_hand(label, smoothing, expected):
    found = loss_per_sample(LOGITS, torch.tensor([label]), "cross_entropy", label_smoothing=smoothing)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_keeps_the_trajectory_axis():
    output = LOGITS.expand(5, 3, 2)
    found = loss_per_sample(output, torch.ones(5, 3, dtype=torch.int64), "cross_entropy")
    assert found.shape == (5, 3)


def test_the_loss_of_a_batch_is_the_mean_over_samples():
    prediction = Prediction(torch.tensor([[1.0], [5.0]]))
    assert float(training_loss(prediction, torch.tensor([0.0, 2.0]), "l1")) == 2.0


def test_the_loss_with_trajectories_is_that_of_each_trajectory_not_that_of_their_mean():
    trajectories = torch.tensor([[[-1.0], [3.0]]])
    prediction = Prediction(trajectories.mean(1), trajectories, torch.zeros(1, 2))
    assert float(training_loss(prediction, torch.tensor([1.0]), "mse")) == 4.0


def test_the_gradient_has_the_score_function_with_a_leave_one_out_baseline():
    theta = torch.zeros(1, 3, requires_grad=True)
    trajectories = torch.tensor([[[1.0], [2.0], [6.0]]])
    prediction = Prediction(trajectories.mean(1), trajectories, theta - theta.detach())
    loss = training_loss(prediction, torch.tensor([0.0]), "l1")
    loss.backward()
    assert float(loss.detach()) == 3.0
    # (loss − mean of the other losses) / number of trajectories
    expected = [(1 - 4.0) / 3, (2 - 3.5) / 3, (6 - 1.5) / 3]
    assert theta.grad is not None
    assert theta.grad[0].tolist() == pytest.approx(expected)


def test_the_pathwise_gradient_is_kept_beside_the_score_function():
    output = torch.tensor([[[1.0], [2.0]]], requires_grad=True)
    prediction = Prediction(output.mean(1), output, torch.zeros(1, 2))
    training_loss(prediction, torch.tensor([0.0]), "mse").backward()
    assert output.grad is not None
    assert output.grad.flatten().tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("task", "loss"), [(SCORE, "cross_entropy"), (CLASSES, "l1"), (CLASSES, "mse")])
def test_a_loss_of_the_other_kind_of_task_is_refused(task, loss):
    with pytest.raises(ArgumentError, match=rf"`{loss}` cannot train a {task.kind} task"):
        check_loss(loss, task)


def test_scores_have_no_labels_to_smooth():
    with pytest.raises(ArgumentError, match="`label_smoothing` must be 0 for a regression task"):
        FitOptions(label_smoothing=0.1).selection(SCORE)
    assert FitOptions(label_smoothing=0.1).selection(CLASSES) == ("valid_loss", "min")


def test_the_default_loss_follows_the_task():
    assert FitOptions().resolved_loss(SCORE) == "l1"
    assert FitOptions().resolved_loss(CLASSES) == "cross_entropy"
    assert FitOptions(loss="huber").resolved_loss(SCORE) == "huber"


def test_balanced_weights_are_in_inverse_proportion_to_the_numbers_of_samples():
    labels = np.array([0, 0, 0, 1, 2, 2])
    found = weights_of_classes("balanced", labels, Task("classification", classes=("a", "b", "c")))
    np.testing.assert_allclose(found, [6 / (3 * 3), 6 / (3 * 1), 6 / (3 * 2)])  # as of scikit-learn
    assert found[labels].mean() == pytest.approx(1)


def test_only_ratios_of_weights_count_and_their_mean_over_the_samples_is_one():
    labels = np.array([0, 0, 0, 1])
    found = [weights_of_classes(given, labels, CLASSES) for given in ([1, 5], [0.2, 1.0])]
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(found[0], [0.5, 2.5])


def test_a_class_that_does_not_occur_weighs_something_and_moves_nothing():
    found = weights_of_classes(
        "balanced", np.array([0, 0, 2]), Task("classification", classes=("a", "b", "c"))
    )
    np.testing.assert_allclose(found[[0, 2]], [0.75, 1.5])
    assert np.isfinite(found).all()


def test_weights_multiply_the_loss_of_their_class_in_every_trajectory():
    weights, labels = torch.tensor([0.5, 3.0]), torch.tensor([0, 1])
    plain = loss_per_sample(LOGITS.expand(2, 2), labels, "cross_entropy")
    weighed = loss_per_sample(LOGITS.expand(2, 2), labels, "cross_entropy", class_weights=weights)
    torch.testing.assert_close(weighed, plain * weights)
    prediction = Prediction(LOGITS, LOGITS.expand(1, 3, 2), torch.zeros(1, 3))
    found = training_loss(prediction, torch.tensor([1]), "cross_entropy", class_weights=weights)
    assert float(found) == pytest.approx(-3 * math.log(0.75), rel=1e-6)


@pytest.mark.parametrize("given", [[1.0], [1.0, 0.0], [1.0, float("inf")]])
def test_weights_that_do_not_fit_the_classes_are_refused(given):
    with pytest.raises(ArgumentError, match="class_weights"):
        weights_of_classes(given, np.array([0, 1]), CLASSES)


def test_scores_have_no_classes_to_weigh():
    with pytest.raises(ArgumentError, match="which has no classes"):
        weights_of_classes("balanced", np.array([0.5, 1.0]), SCORE)
