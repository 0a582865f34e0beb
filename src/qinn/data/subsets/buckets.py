"""Batches of samples of like length, so that little of them is padding."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int64

from qinn.errors import ArgumentError


def bucketed_batches(
    order: Int64[np.ndarray, "n"],
    lengths: Mapping[str, Int64[np.ndarray, "n"]],
    widths: Mapping[str, int],
    size: int,
    bucket: int,
) -> list[Int64[np.ndarray, "chosen"]]:
    """Divide an order of samples into batches such that those of one batch are about equally long.

    Every `bucket` · `size` samples of the order are halved again and again, each time by the length of the
    modality that would otherwise be padded most (its width times its number of padded steps), until a batch
    is left. Samples of the same length stay in the order given, so a shuffled order gives shuffled batches.
    The samples that fill no batch are the last of the order, whatever their length.

    Args:
        order: Positions of the samples, each once.
        lengths: Modality → number of steps of the sample at each position.
        widths: Modality → features of a step.
        size: Samples per batch, at least 1.
        bucket: Batches that are formed together, at least 1.

    Returns:
        The batches, ⌈n / size⌉ of them: those of a bucket one after the other, the incomplete one last.

    Raises:
        ArgumentError: If a size is below 1.

    Source: own; grouping by one length is common.

    Examples:
        >>> lengths = {"audio": np.array([9, 1, 8, 2, 5])}
        >>> found = bucketed_batches(np.arange(5), lengths, {"audio": 3}, size=2, bucket=2)
        >>> [batch.tolist() for batch in found]
        [[1, 3], [2, 0], [4]]
    """
    if size < 1 or bucket < 1:
        raise ArgumentError(
            f"Arguments `size` and `bucket` must be at least 1, but they are {size} and {bucket}."
        )
    weights = np.array([widths[name] for name in lengths], dtype=np.float64)
    whole = len(order) - len(order) % size
    found: list[np.ndarray] = []
    for start in range(0, whole, size * bucket):
        rows = order[start : min(start + size * bucket, whole)]
        steps = np.stack([np.maximum(lengths[name][rows], 1) for name in lengths]).astype(np.float64)
        _halve(rows, steps, weights, size, found)
    return [*found, order[whole:]] if whole < len(order) else found


def _halve(
    rows: np.ndarray,
    steps: Float64[np.ndarray, "modality n"],
    weights: Float64[np.ndarray, "modality"],
    size: int,
    found: list[np.ndarray],
) -> None:
    if len(rows) == size:
        found.append(rows)
        return
    padded = weights * (steps.max(axis=1) - steps.mean(axis=1))
    sorting = np.argsort(steps[int(padded.argmax())], kind="stable")
    rows, steps = rows[sorting], steps[:, sorting]
    middle = len(rows) // size // 2 * size
    _halve(rows[:middle], steps[:, :middle], weights, size, found)
    _halve(rows[middle:], steps[:, middle:], weights, size, found)


def padding_share(
    batches: list[Int64[np.ndarray, "chosen"]],
    lengths: Mapping[str, Int64[np.ndarray, "n"]],
    widths: Mapping[str, int],
) -> float:
    """Return the share of padding among the values of some batches, 0 to 1.

    Args:
        batches: Positions of the samples of each batch.
        lengths: Modality → number of steps of the sample at each position.
        widths: Modality → features of a step.

    Examples:
        >>> lengths = {"audio": np.array([1, 3])}
        >>> round(padding_share([np.array([0, 1])], lengths, {"audio": 8}), 4)
        0.3333
    """
    kept = total = 0
    for name, steps in lengths.items():
        for rows in batches:
            kept += widths[name] * int(steps[rows].sum())
            total += widths[name] * len(rows) * max(1, int(steps[rows].max(initial=0)))
    return 1 - kept / total if total else 0.0
