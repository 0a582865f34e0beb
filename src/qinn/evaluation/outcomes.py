"""What logits say: of classes one that is most probable, of several labels each whether it is present."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from qinn.errors import ArgumentError
from qinn.task import Task


def probabilities_of(logits: Float[np.ndarray, "*sample outcome"]) -> Float[np.ndarray, "*sample outcome"]:
    """Return the probabilities of classes that logits stand for, exp(x_c) / Σ_k exp(x_k), without overflow.

    Examples:
        >>> probabilities_of(np.array([[1000.0, 1000.0]])).tolist()
        [[0.5, 0.5]]
    """
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def label_probabilities(logits: Float[np.ndarray, "*sample label"]) -> Float[np.ndarray, "*sample label"]:
    """Return the probability that each label is present, 1 / (1 + exp(−x)), without overflow.

    Examples:
        >>> label_probabilities(np.array([[0.0, -1000.0]])).tolist()
        [[0.5, 0.0]]
    """
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def outcome_probabilities(
    task: Task, outputs: Float[np.ndarray, "*sample output"]
) -> Float[np.ndarray, "*sample output"]:
    """Return the probability of each class, or that each label is present.

    Args:
        task: A classification or multi-label task.
        outputs: Its logits.
    """
    return label_probabilities(outputs) if task.kind == "multilabel" else probabilities_of(outputs)


def decided(task: Task, outputs: Float[np.ndarray, "*sample label"]) -> Bool[np.ndarray, "*sample label"]:
    """Return which labels are decided to be present: those whose probability is the task's threshold or more.

    Args:
        task: A multi-label task.
        outputs: Its logits.

    Examples:
        >>> decided(Task("multilabel", labels=("a", "b")), np.array([[0.0, -0.1]])).tolist()
        [[True, False]]
    """
    return np.asarray(outputs >= np.log(task.cut / (1.0 - task.cut)))


@dataclass(frozen=True)
class OneLabel:
    """One label of a multi-label task alone, as a task of the classes absent and present (`qinn.task.ONE_LABEL`).

    Attributes:
        rows: Samples of which it is known whether the label is present.
        labels: 1 where it is, 0 where it is not.
        outputs: Logits of absent and present, 0 and x: their softmax is that of the label alone.
    """

    rows: Int64[np.ndarray, "known"]
    labels: Int64[np.ndarray, "known"]
    outputs: Float64[np.ndarray, "known 2"]


def one_label(
    labels: Int64[np.ndarray, "sample label"], outputs: Float[np.ndarray, "sample label"], index: int
) -> OneLabel:
    """Return one label alone.

    Args:
        labels: 1, 0, and -1 where a label is not known.
        outputs: Logits.
        index: Which label, from 0.
    """
    rows = np.flatnonzero(labels[:, index] >= 0)
    return OneLabel(rows, labels[rows, index], one_logit(outputs[rows], index))


def one_logit(outputs: Float[np.ndarray, "*sample label"], index: int) -> Float64[np.ndarray, "*sample two"]:
    """Return the logits of one label as those of the classes absent and present.

    Examples:
        >>> one_logit(np.array([[3.0, -1.0]]), 1).tolist()
        [[0.0, -1.0]]
    """
    chosen = outputs[..., index].astype(np.float64)
    return np.stack([np.zeros_like(chosen), chosen], axis=-1)


def label_position(task: Task, name: str | None) -> int:
    """Return which label is meant, the first where none is named.

    Args:
        task: A multi-label task.
        name: Name of a label.

    Raises:
        ArgumentError: If the task has no such label, or no labels.
    """
    if task.kind != "multilabel":
        raise ArgumentError(
            f"Argument `label` names one of several labels, but the task is {task.described}; leave it out."
        )
    if name is None:
        return 0
    if name not in task.names:
        raise ArgumentError(f"Argument `label` must be one of {', '.join(task.names)}, but it is `{name}`.")
    return task.names.index(name)
