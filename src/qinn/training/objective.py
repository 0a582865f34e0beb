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

LossKind = Literal["l1", "mse", "huber", "cross_entropy", "binary_cross_entropy"]

_LOSSES: dict[str, tuple[LossKind, ...]] = {
    "regression": ("l1", "mse", "huber"),
    "classification": ("cross_entropy",),
    "multilabel": ("binary_cross_entropy",),
}
"""Kind of task → the losses that can train it, the first by default."""


ClassWeights = Literal["balanced"] | Sequence[float | int] | None
"""What the samples of each class count: in inverse proportion to their number, or as stated, in the classes' order.

Of several labels, what the samples that have each count beside those that have it not."""


def weights_of_classes(
    given: ClassWeights, labels: np.ndarray | None, task: Task
) -> Float[np.ndarray, "output *state"] | None:
    """Return what the loss of a sample of each class is multiplied by: 1 in the mean over the training samples.

    Of several labels that is what the loss of a label is multiplied by where it is absent and where it is present, each
    weighed as two classes; ``w_k`` that are stated are those of label k present, beside 1 for absent.

    With n_c of n samples in class c, of K classes that occur, ``balanced`` is n / (K n_c), as in scikit-learn; weights
    w_c that are stated become w_c n / Σ_c' w_c' n_c', so that only their ratios count.

    Args:
        given: What was asked for.
        labels: Classes of the training samples (n), if they have any; or their labels (n, labels).
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
    if task.kind == "regression":
        raise ArgumentError(
            f"Argument `class_weights` must be None for a {task.kind} task, which has no classes; leave it out."
        )
    several = task.kind == "multilabel"
    counts = (
        np.stack([(labels == state).sum(0) for state in (0, 1)], axis=-1)
        if several
        else np.bincount(labels, minlength=len(task.classes))
    ).astype(np.float64)
    if isinstance(given, str):
        weights = 1 / np.maximum(counts, 1)
    else:
        weights = np.array(given, np.float64)
        if weights.shape != (len(task.names),) or not (np.isfinite(weights) & (weights > 0)).all():
            raise ArgumentError(
                f"Argument `class_weights` must give one positive weight to each of {', '.join(task.names)}, but it "
                f"is {list(given)}."
            )
        weights = np.stack([np.ones_like(weights), weights], axis=-1) if several else weights
    total = counts.sum(-1, keepdims=True)
    return weights * total / np.maximum((weights * counts).sum(-1, keepdims=True), np.finfo(np.float64).tiny)


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
        labels: Scores or class indices, of the shape of `output` without its last axis; or several labels, of the shape
            of `output`: 1, 0, and -1 where one is not known.
        kind: ``"l1"``, ``"mse"``, ``"huber"`` (δ = 1), ``"cross_entropy"`` (natural logarithm), or
            ``"binary_cross_entropy"``: the mean over the labels, to which one that is not known adds nothing.
        label_smoothing: Probability mass spread over all classes, or over present and absent (cross-entropies only).
        class_weights: What the loss of each class is multiplied by, or of each label absent and present
            (cross-entropies only); None for 1.

    Examples:
        >>> loss_per_sample(torch.tensor([[2.0]]), torch.tensor([0.5]), "l1")
        tensor([1.5000])
    """
    if kind == "binary_cross_entropy":
        return _of_labels(output, labels, label_smoothing, class_weights)
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


def _of_labels(
    output: Float[Tensor, "*batch label"],
    labels: Tensor,
    smoothing: float,
    class_weights: Tensor | None,
) -> Float[Tensor, "*batch"]:
    known, present = labels >= 0, (labels == 1).to(output)
    targets = present * (1.0 - smoothing) + 0.5 * smoothing
    losses = functional.binary_cross_entropy_with_logits(output, targets, reduction="none")
    if class_weights is not None:
        absent_weight, present_weight = class_weights.to(output).unbind(-1)
        losses = losses * torch.where(labels == 1, present_weight, absent_weight)
    return (losses * known).mean(-1)


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
        labels: Scores, class indices or several labels.
        kind: Kind of loss.
        label_smoothing: See `loss_per_sample`.
        class_weights: Likewise.
    """
    choices: dict[str, Any] = {"label_smoothing": label_smoothing, "class_weights": class_weights}
    if prediction.trajectory_output is None or prediction.log_likelihood is None:
        return loss_per_sample(prediction.output, labels, kind, **choices).mean()
    output = prediction.trajectory_output
    of_each = labels[:, None].expand(*output.shape[:-1], *labels.shape[1:])
    losses = loss_per_sample(output, of_each, kind, **choices)
    return score_surrogate(losses, prediction.log_likelihood).mean()


def check_loss(kind: LossKind, task: Task) -> None:
    """Refuse a loss that cannot serve the task.

    Raises:
        ArgumentError: If the loss is that of another kind of task.
    """
    fitting = _LOSSES[task.kind]
    if kind not in fitting:
        known = [f"`{name}`" for name in fitting]
        use = " or ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)
        raise ArgumentError(
            f"Argument `loss` must fit the task, but `{kind}` cannot train a {task.kind} task; use {use}."
        )


def default_loss(task: Task) -> LossKind:
    """Return the loss that a task is trained by where none is stated."""
    return _LOSSES[task.kind][0]
