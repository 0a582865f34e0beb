"""Solving linear models: ridge regression in closed form, logistic regression by L-BFGS, the penalty by folds.

A penalty λ belongs to the mean loss, mean_i ℓ(y_i, W x_i + b) + λ‖W‖² for scores and mean_i ℓ + λ‖W‖²/2 for classes,
and is one of `PENALTIES`: the one with the least squared error, or cross-entropy, over the samples that each of
`NUM_FOLDS` folds leaves out. Of several labels each has a logistic regression of its own, and they share the penalty.
Folds hold whole groups and the labels' distribution, as far as groups allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from qinn.data.subsets.batching import batches
from qinn.data.subsets.stratified_draw import hold_out
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError, DataError
from qinn.extras import needs
from qinn.model.linear import LinearFusion
from qinn.task import ONE_LABEL, Task

PENALTIES = tuple(10.0 ** (half / 2) for half in range(4, -9, -1))
"""The penalties λ to choose from, from the strongest."""

NUM_FOLDS = 5
_PASS = 1024
_MOST_ITERATIONS = 2000
_STEEPEST = 1e-4
_OF_BIASES = 1e-6
"""Penalty of biases, which fixes the sum of the classes' and keeps that of a class that a fold lacks finite."""

_MIDDLE = 1.0


@dataclass(frozen=True)
class Solution:
    """What a penalised fit found.

    Attributes:
        weight: W.
        bias: b.
        penalty: λ.
        left_out: What is predicted of every sample by the fit on the folds that it is not in.
    """

    weight: Float64[np.ndarray, "output column"]
    bias: Float64[np.ndarray, "output"]
    penalty: float
    left_out: Float64[np.ndarray, "sample output"]


def solve(model: LinearFusion, train: Subset, *, seed: int, class_weights: np.ndarray | None = None) -> None:
    """Give a linear model the weights that its training samples say.

    Args:
        model: The model; changed in place.
        train: Training samples, all labelled.
        seed: Of the folds that choose penalties.
        class_weights: What the loss of each class, or of each label absent and present, is multiplied by, 1 in the mean
            over the samples; None for 1.

    Raises:
        ArgumentError: If an iteration does not converge.
    """
    labels = np.asarray(train.labels)
    weights = None if class_weights is None else _weights_of_samples(class_weights, labels)
    columns = _columns(model, train)
    folds = inner_folds(labels, train.groups, seed)
    found: list[Solution] = []
    for number, values in enumerate(columns):
        mean, scale = _scales(values)
        model.kept(f"mean_{number}").copy_(torch.from_numpy(mean))
        model.kept(f"scale_{number}").copy_(torch.from_numpy(scale))
        inputs = model.standardized(number, torch.from_numpy(values)).numpy()
        found.append(penalised(inputs, labels, folds, train.task, weights))
        for name, value in (
            ("weight", found[-1].weight),
            ("bias", found[-1].bias),
            ("penalty", np.asarray(found[-1].penalty)),
        ):
            model.kept(f"{name}_{number}").copy_(torch.from_numpy(value))
    if model.fusion == "stacked":
        above = np.concatenate([one.left_out for one in found], axis=1)
        mean, scale = _scales(above)
        stacked = penalised((above - mean) * scale, labels, folds, train.task, weights)
        weight = stacked.weight * scale
        model.kept("stack_weight").copy_(torch.from_numpy(weight))
        model.kept("stack_bias").copy_(torch.from_numpy(stacked.bias - weight @ mean))
        model.kept("stack_penalty").fill_(stacked.penalty)


def _weights_of_samples(class_weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 1:
        return class_weights[labels]
    return np.where(labels == 1, class_weights[:, 1], class_weights[:, 0])


def _columns(model: LinearFusion, train: Subset) -> list[Float64[np.ndarray, "sample _"]]:
    parts = [model.columns(*model.pooled(batch)) for batch in batches(train, _PASS)]
    return [torch.cat(pieces).numpy() for pieces in zip(*parts, strict=True)]


def _scales(values: Float64[np.ndarray, "sample column"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and one over the deviation of each column, where it is known; 0 in place of that where it is constant."""
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(0), 1)
    mean = np.where(known, values, 0.0).sum(0) / counts
    deviation = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(0) / counts)
    varies = deviation > 1e-6 * (1e-30 + np.abs(mean))
    return mean, np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)


def inner_folds(labels: np.ndarray, groups: np.ndarray | None, seed: int) -> Int64[np.ndarray, "sample"]:
    """Divide training samples into folds of whole groups, each with the labels of all as far as groups allow.

    Args:
        labels: Scores or class indices.
        groups: Their groups; None where every sample is one.
        seed: Of the division.

    Returns:
        The fold of each sample, from 0: `NUM_FOLDS` of them, fewer where there are fewer groups.

    Examples:
        >>> folds = inner_folds(np.zeros(8), np.array(list("aabbccdd"), dtype=object), 0)
        >>> len(set(folds.tolist())), [len(set(folds[at : at + 2].tolist())) for at in range(0, 8, 2)]
        (4, [1, 1, 1, 1])
    """
    names = np.full(len(labels), "", dtype=object) if groups is None else groups
    number = min(NUM_FOLDS, len(labels) if groups is None else len(set(names.tolist())))
    folds = np.full(len(labels), max(number, 1) - 1)
    left = np.arange(len(labels))
    for fold in range(number - 1):
        try:
            held = hold_out(labels[left], names[left], 1 / (number - fold), seed, stream=fold)
        except DataError:  # what a fold before took left a single group
            break
        folds[left[held]] = fold
        left = left[~held]
    return np.unique(folds, return_inverse=True)[1]


def penalised(
    inputs: Float64[np.ndarray, "sample column"],
    labels: np.ndarray,
    folds: Int64[np.ndarray, "sample"],
    task: Task,
    weights: np.ndarray | None = None,
) -> Solution:
    """Fit scores or classes with the penalty that folds choose.

    Args:
        inputs: One row per sample.
        labels: Scores, class indices, or several labels (-1 where one is not known).
        folds: Fold of each sample.
        task: What is predicted.
        weights: What the loss of each sample is multiplied by, of classes, or each label of a sample; None for 1.

    Raises:
        ArgumentError: If an iteration does not converge.
    """
    counted = np.ones(labels.shape) if weights is None else weights
    fit = {"regression": _ridge, "classification": _logistic, "multilabel": _logistic_of_each}[task.kind]
    num_folds = int(folds.max()) + 1
    if num_folds < 2:
        [(weight, bias)] = fit(inputs, labels, [_MIDDLE], task, counted)
        return Solution(weight, bias, _MIDDLE, inputs @ weight.T + bias)
    left_out = np.zeros((len(PENALTIES), len(inputs), task.num_outputs))
    for fold in range(num_folds):
        inside = folds == fold
        for index, (weight, bias) in enumerate(
            fit(inputs[~inside], labels[~inside], PENALTIES, task, counted[~inside])
        ):
            left_out[index, inside] = inputs[inside] @ weight.T + bias
    losses = [_loss(outputs, labels, task, counted) for outputs in left_out]
    # The strongest of equals comes first.
    best = int(np.argmin(losses))
    [(weight, bias)] = fit(inputs, labels, PENALTIES[best : best + 1], task, counted)
    return Solution(weight, bias, PENALTIES[best], left_out[best])


def _loss(outputs: np.ndarray, labels: np.ndarray, task: Task, counted: np.ndarray) -> float:
    if task.kind == "regression":
        return float(np.mean((outputs[:, 0] - labels) ** 2))
    if task.kind == "multilabel":
        losses = np.logaddexp(0.0, np.where(labels == 1, -outputs, outputs))
        return float(np.mean(counted * losses * (labels >= 0)))
    return float(np.mean(counted * (_log_normalisers(outputs) - outputs[np.arange(len(labels)), labels])))


def _log_normalisers(outputs: np.ndarray) -> np.ndarray:
    largest = outputs.max(1)
    return largest + np.log(np.exp(outputs - largest[:, None]).sum(1))


def _ridge(
    inputs: np.ndarray, labels: np.ndarray, penalties: Sequence[float], task: Task, counted: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and bias for each penalty: (XᵀX + nλ𝟙)w = Xᵀy of centred X and y, by one decomposition for all."""
    size, width = inputs.shape
    mean, offset = inputs.mean(0), labels.mean()
    centred, targets = inputs - mean, labels - offset
    if width <= size:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        projected = vectors.T @ (centred.T @ targets)
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        projected, vectors = vectors.T @ targets, centred.T @ vectors
    found = []
    for penalty in penalties:
        weight = vectors @ (projected / (np.maximum(values, 0.0) + size * penalty))
        found.append((weight[None], np.array([offset - mean @ weight])))
    return found


def _logistic(
    inputs: np.ndarray, labels: np.ndarray, penalties: Sequence[float], task: Task, counted: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases for each penalty, from the strongest on, each from where the one before ended.

    Along the singular vectors of the inputs the loss curves by at most s²/4n + λ. What is iterated over is scaled by
    about the root of that, so that few iterations are needed however the inputs are correlated.
    """
    with needs("train", "Logistic regression"):
        from scipy.optimize import minimize

    size, num_classes = len(inputs), task.num_outputs
    mean = inputs.mean(0)
    _, singular, directions = np.linalg.svd(inputs - mean, full_matrices=False)
    rotated = (inputs - mean) @ directions.T
    hits = np.eye(num_classes)[labels]
    weight = np.zeros((len(singular), num_classes))
    bias = np.log(hits.sum(0) + 1.0)
    bias -= bias.mean()
    found = []
    for penalty in penalties:
        speed = np.sqrt(singular**2 / (4 * size) + penalty)[:, None]

        def objective(
            flat: np.ndarray, penalty: float = penalty, speed: np.ndarray = speed
        ) -> tuple[float, np.ndarray]:
            scaled, biases = flat[:-num_classes].reshape(-1, num_classes), flat[-num_classes:]
            weights = scaled / speed
            outputs = rotated @ weights + biases
            normalisers = _log_normalisers(outputs)
            value = float(np.mean(counted * (normalisers - (outputs * hits).sum(1))))
            value += 0.5 * penalty * float((weights**2).sum()) + 0.5 * _OF_BIASES * float((biases**2).sum())
            errors = counted[:, None] * (np.exp(outputs - normalisers[:, None]) - hits) / size
            towards = (rotated.T @ errors + penalty * weights) / speed
            return value, np.concatenate([towards.ravel(), errors.sum(0) + _OF_BIASES * biases])

        started = np.concatenate([(weight * speed).ravel(), bias])
        ended: Any = minimize(
            objective,
            started,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_ITERATIONS, "gtol": 1e-6, "ftol": 1e-11},
        )
        if not float(np.abs(ended.jac).max()) < _STEEPEST:
            raise ArgumentError(
                f"The logistic regression of {size} samples did not converge in {ended.nit} iterations (gradient "
                f"{float(np.abs(ended.jac).max()):.1e}); check the features with `qinn data inspect`."
            )
        weight, bias = ended.x[:-num_classes].reshape(-1, num_classes) / speed, ended.x[-num_classes:]
        columns = (directions.T @ weight).T
        found.append((columns, bias - columns @ mean))
    return found


def _logistic_of_each(
    inputs: np.ndarray, labels: np.ndarray, penalties: Sequence[float], task: Task, counted: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases for each penalty: of each label, of absent and present as two classes, their difference."""
    found = [(np.zeros((task.num_outputs, inputs.shape[1])), np.zeros(task.num_outputs)) for _ in penalties]
    for label in range(task.num_outputs):
        rows = np.flatnonzero(labels[:, label] >= 0)
        if not len(rows):
            continue
        solved = _logistic(inputs[rows], labels[rows, label], penalties, ONE_LABEL, counted[rows, label])
        for (weight, bias), (both, biases) in zip(found, solved, strict=True):
            weight[label], bias[label] = both[1] - both[0], biases[1] - biases[0]
    return found
