"""What training minimises."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from qinn.errors import ArgumentError
from qinn.quantum import score_surrogate
from qinn.records import Prediction
from qinn.task import Task

LossKind = Literal["l1", "mse", "huber", "cross_entropy"]


def loss_per_sample(
    output: Float[Tensor, "*batch output"], labels: Tensor, kind: LossKind, *, label_smoothing: float = 0.0
) -> Float[Tensor, "*batch"]:
    """Return the loss of each output row.

    Args:
        output: Scores (one column) or logits.
        labels: Scores or class indices, of the shape of `output` without its last axis.
        kind: ``"l1"``, ``"mse"``, ``"huber"`` (δ = 1) or ``"cross_entropy"`` (natural logarithm).
        label_smoothing: Probability mass spread over all classes (cross-entropy only).

    Examples:
        >>> loss_per_sample(torch.tensor([[2.0]]), torch.tensor([0.5]), "l1")
        tensor([1.5000])
    """
    if kind == "cross_entropy":
        flat = functional.cross_entropy(
            output.flatten(0, -2), labels.flatten(), reduction="none", label_smoothing=label_smoothing
        )
        return flat.view(output.shape[:-1])
    difference = output.squeeze(-1) - labels
    if kind == "l1":
        return difference.abs()
    if kind == "mse":
        return difference.square()
    return functional.huber_loss(difference, torch.zeros_like(difference), reduction="none")


def training_loss(
    prediction: Prediction, labels: Tensor, kind: LossKind, *, label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Return the mean loss of a batch, per trajectory where the model reads out each trajectory.

    With trajectories, L = mean_{b,m} [ℓ_bm + (ℓ_bm.detach() − b_bm) log‖ψ̃_bm‖²]: its value is the mean loss
    and its gradient the unbiased one (pathwise + score function with leave-one-out baseline).

    Args:
        prediction: What the model predicts.
        labels: Scores or class indices.
        kind: Kind of loss.
        label_smoothing: See `loss_per_sample`.
    """
    if prediction.trajectory_output is None or prediction.log_likelihood is None:
        return loss_per_sample(prediction.output, labels, kind, label_smoothing=label_smoothing).mean()
    output = prediction.trajectory_output
    losses = loss_per_sample(
        output, labels[:, None].expand(output.shape[:-1]), kind, label_smoothing=label_smoothing
    )
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
