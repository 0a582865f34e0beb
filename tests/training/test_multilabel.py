"""Training of several labels: the loss, what is not known, weights, the prior, and linear models."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import binary_cross_entropy_with_logits

from qinn.errors import ArgumentError
from qinn.model.baselines import Constant
from qinn.model.linear import LinearFusion
from qinn.model.standardization import set_training_statistics
from qinn.records import Batch, Features, Prediction
from qinn.task import Task
from qinn.training.linear import penalised
from qinn.training.objective import (
    check_loss,
    default_loss,
    loss_per_sample,
    training_loss,
    weights_of_classes,
)
from qinn.training.options import FitOptions

TASK = Task("multilabel", labels=("a", "b", "c"))
KIND = "binary_cross_entropy"


def test_the_loss_is_that_of_torch_and_what_is_not_known_adds_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = (
        torch.randn(5, 3, generator=generator),
        torch.randint(0, 2, (5, 3), generator=generator),
    )
    expected = binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    assert torch.equal(loss_per_sample(logits, labels, KIND), expected.mean(-1))
    labels[2, 1] = -1
    expected[2, 1] = 0
    assert torch.equal(loss_per_sample(logits, labels, KIND), expected.mean(-1))
    logits.requires_grad_()
    training_loss(Prediction(logits), labels, KIND).backward()
    gradient = logits.grad
    assert gradient is not None
    assert gradient[2, 1] == 0
    assert bool((gradient[2, 0] != 0).all())


def test_trajectories_have_the_labels_of_their_sample() -> None:
    labels = torch.tensor([[1, 0, -1], [0, 1, 1]])
    output = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    each = Prediction(output.mean(1), output, torch.zeros(2, 4))
    expected = torch.stack([loss_per_sample(output[:, m], labels, KIND) for m in range(4)]).mean()
    torch.testing.assert_close(training_loss(each, labels, KIND), expected)


def test_smoothing_moves_targets_towards_a_half() -> None:
    logits, labels = torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 0]])
    expected = binary_cross_entropy_with_logits(logits, torch.tensor([[0.95, 0.05]]))
    torch.testing.assert_close(loss_per_sample(logits, labels, KIND, label_smoothing=0.1)[0], expected)


def test_balanced_weights_make_both_states_of_every_label_count_alike() -> None:
    labels = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 1], [0, -1, 1]])
    weights = weights_of_classes("balanced", labels, TASK)
    assert weights is not None
    np.testing.assert_allclose(weights, [[4 / 6, 2], [3 / 4, 3 / 2], [2, 4 / 6]])
    logits = torch.zeros(4, 3)
    weighted = loss_per_sample(logits, torch.as_tensor(labels), KIND, class_weights=torch.as_tensor(weights))
    plain = loss_per_sample(logits, torch.as_tensor(labels), KIND)
    torch.testing.assert_close(weighted.mean(), plain.mean())
    stated = weights_of_classes([3, 1, 1], labels, TASK)
    assert stated is not None
    assert stated[0, 1] / stated[0, 0] == pytest.approx(3)
    with pytest.raises(ArgumentError, match="one positive weight to each of a, b, c"):
        weights_of_classes([1, 2], labels, TASK)


def test_losses_of_other_tasks_are_refused() -> None:
    assert default_loss(TASK) == FitOptions().resolved_loss(TASK) == KIND
    for kind in ("l1", "cross_entropy"):
        with pytest.raises(ArgumentError, match=f"`{kind}` cannot train a multilabel task; use `{KIND}`"):
            check_loss(kind, TASK)
    with pytest.raises(ArgumentError, match="cannot train a regression task; use `l1`, `mse` or `huber`"):
        check_loss(KIND, Task("regression", -1.0, 1.0))
    assert FitOptions(monitor="f1_binary:b").selection(TASK) == ("valid_f1_binary:b", "max")


def test_the_constant_says_how_often_each_label_is_there() -> None:
    labels = torch.tensor([[1, 0, -1]] * 3 + [[0, 0, 1]])
    model = Constant(3)
    set_training_statistics(model, {}, labels)
    expected = torch.tensor([4 / 2, 1 / 5, 2 / 1]).log()
    torch.testing.assert_close(model.output_scale.offset, expected)


def test_each_label_has_the_logistic_regression_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(120, 4))
    labels = (inputs[:, :3] + random.normal(size=(120, 3)) > [0, 0.5, -0.5]).astype(int)
    labels[::7, 1] = -1
    found = penalised(inputs, labels, np.arange(120) % 5, TASK)
    for index in range(3):
        rows = labels[:, index] >= 0
        # Two classes with λ/2 (‖W₀‖² + ‖W₁‖²) are one logit with λ/4 ‖w‖².
        strength = 2 / (rows.sum() * found.penalty)
        one = LogisticRegression(C=strength, tol=1e-8, max_iter=1000).fit(inputs[rows], labels[rows, index])
        np.testing.assert_allclose(found.weight[index], one.coef_[0], atol=2e-3)
        np.testing.assert_allclose(found.bias[index], one.intercept_[0], atol=2e-3)


def test_late_linear_fusion_averages_the_probability_of_every_label() -> None:
    features = {
        name: Features(torch.ones(2, 1, 1), torch.ones(2, dtype=torch.int64)) for name in ("text", "audio")
    }
    batch = Batch(("a", "b"), features, None)
    model = LinearFusion({"text": 1, "audio": 1}, num_outputs=2, fusion="late", independent=True)
    model.kept("bias_0").copy_(torch.tensor([2.0, -800.0]))
    model.kept("bias_1").copy_(torch.tensor([-1.0, -900.0]))
    output = model(batch).output
    mean = (torch.sigmoid(torch.tensor(2.0)) + torch.sigmoid(torch.tensor(-1.0))) / 2
    torch.testing.assert_close(output[:, 0].sigmoid(), mean.expand(2))
    assert bool(torch.isfinite(output).all())
