"""What training minimises."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from qinn.errors import ArgumentError
from qinn.quantum import score_surrogate
from qinn.records import Prediction
from qinn.task import Task

LossKind = Literal["l1", "mse", "huber", "cross_entropy"]


ClassWeights = Literal["balanced"] | Sequence[float | int] | None
"""What the samples of each class count: in inverse proportion to their number, or as stated, in the classes' order."""


def weights_of_classes(
    given: ClassWeights, labels: np.ndarray | None, task: Task
) -> Float[np.ndarray, "output"] | None:
    """Return what the loss of a sample of each class is multiplied by: 1 in the mean over the training samples.

    With n_c of n samples in class c, of K classes that occur, ``balanced`` is n / (K n_c), as in scikit-learn; weights
    w_c that are stated become w_c n / Σ_c' w_c' n_c', so that only their ratios count.

    Args:
        given: What was asked for.
        labels: Classes of the training samples (n), if they have any.
        task: What is predicted.

    Raises:
        ArgumentError: If the task has no classes, or there is not one positive weight for each.

    Examples:
        >>> task = Task("classification", classes=("no", "yes"))
        >>> weights_of_classes("balanced", np.array([0, 0, 0, 1]), task).round(2).tolist()
        [0.67, 2.0]
    """
    if given is None or labels is None:
        return None
    if task.kind != "classification":
        raise ArgumentError(
            f"Argument `class_weights` must be None for a {task.kind} task, which has no classes; leave it out."
        )
    counts = np.bincount(labels, minlength=len(task.classes)).astype(np.float64)
    if isinstance(given, str):
        weights = 1 / np.maximum(counts, 1)
    else:
        weights = np.array(given, np.float64)
        if weights.shape != counts.shape or not (np.isfinite(weights) & (weights > 0)).all():
            raise ArgumentError(
                f"Argument `class_weights` must give one positive weight to each of {', '.join(task.classes)}, but it "
                f"is {list(given)}."
            )
    return weights * counts.sum() / max((weights * counts).sum(), np.finfo(np.float64).tiny)


def loss_per_sample(
    output: Float[Tensor, "*batch output"],
    labels: Tensor,
    kind: LossKind,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Float[Tensor, "*batch"]:
    """Return the loss of each output row.

    Args:
        output: Scores (one column) or logits.
        labels: Scores or class indices, of the shape of `output` without its last axis.
        kind: ``"l1"``, ``"mse"``, ``"huber"`` (δ = 1) or ``"cross_entropy"`` (natural logarithm).
        label_smoothing: Probability mass spread over all classes (cross-entropy only).
        class_weights: What the loss of each class is multiplied by (cross-entropy only); None for 1.

    Examples:
        >>> loss_per_sample(torch.tensor([[2.0]]), torch.tensor([0.5]), "l1")
        tensor([1.5000])
    """
    if kind == "cross_entropy":
        flat = functional.cross_entropy(
            output.flatten(0, -2),
            labels.flatten(),
            weight=None if class_weights is None else class_weights.to(output),
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return flat.view(output.shape[:-1])
    difference = output.squeeze(-1) - labels
    if kind == "l1":
        return difference.abs()
    if kind == "mse":
        return difference.square()
    return functional.huber_loss(difference, torch.zeros_like(difference), reduction="none")


def training_loss(
    prediction: Prediction,
    labels: Tensor,
    kind: LossKind,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Float[Tensor, ""]:
    """Return the mean loss of a batch, per trajectory where the model reads out each trajectory.

    With trajectories, L = mean_{b,m} [ℓ_bm + (ℓ_bm.detach() − b_bm) log‖ψ̃_bm‖²]: its value is the mean loss
    and its gradient the unbiased one (pathwise + score function with leave-one-out baseline).

    Args:
        prediction: What the model predicts.
        labels: Scores or class indices.
        kind: Kind of loss.
        label_smoothing: See `loss_per_sample`.
        class_weights: Likewise.
    """
    choices: dict[str, Any] = {"label_smoothing": label_smoothing, "class_weights": class_weights}
    if prediction.trajectory_output is None or prediction.log_likelihood is None:
        return loss_per_sample(prediction.output, labels, kind, **choices).mean()
    output = prediction.trajectory_output
    losses = loss_per_sample(output, labels[:, None].expand(output.shape[:-1]), kind, **choices)
    return score_surrogate(losses, prediction.log_likelihood).mean()


def check_loss(kind: LossKind, task: Task) -> None:
    """Refuse a loss that cannot serve the task.

    Raises:
        ArgumentError: If a regression loss meets a classification task, or the reverse.
    """
    if (kind == "cross_entropy") != (task.kind == "classification"):
        raise ArgumentError(
            f"Argument `loss` must fit the task, but `{kind}` cannot train a {task.kind} task; use "
            f"{'`cross_entropy`' if task.kind == 'classification' else '`l1`, `mse` or `huber`'}."
        )
