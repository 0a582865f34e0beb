"""Every form in which features of many samples come, brought into one: all steps in a row, and counts."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from qinn.errors import DataError

Ragged = tuple[np.ndarray, np.ndarray]
"""Steps of many samples after each other, (total_steps, dim), and the number of steps of each, (n,)."""


def as_ragged(
    ids: list[str],
    name: str,
    dim: int,
    given: np.ndarray | Ragged | Sequence[np.ndarray | None] | None,
    lengths: np.ndarray | None,
) -> Ragged:
    """Bring every accepted form of one modality's features into steps after each other and their counts."""
    n = len(ids)
    nothing = np.empty((0, dim), dtype="<f4")
    if given is None:
        return nothing, np.zeros(n, dtype=np.int64)
    if isinstance(given, np.ndarray) and given.dtype != object:
        if given.ndim == 2:
            given, lengths = given[:, None, :], None
        if given.ndim != 3 or len(given) != n or given.shape[2] != dim:
            raise DataError(
                f"Modality `{name}` must have shape ({n}, {dim}) or ({n}, time, {dim}), not {given.shape}."
            )
        steps = np.full(n, given.shape[1]) if lengths is None else np.asarray(lengths)
        _check_steps(ids, name, steps, given.shape[1])
        steps = steps.astype(np.int64)
        return given[np.arange(given.shape[1]) < steps[:, None]], steps
    if isinstance(given, tuple):
        values, steps = (np.asarray(part) for part in given)
        _check_steps(ids, name, steps, None)
        if values.ndim != 2 or values.shape[1] != dim or values.shape[0] != steps.sum():
            raise DataError(
                f"Modality `{name}` must have {int(steps.sum())} steps of {dim} features, "
                f"but its values have shape {values.shape}."
            )
        return values, steps.astype(np.int64)
    if len(given) != n:
        raise DataError(f"Modality `{name}` must have one entry per sample ({n}), but has {len(given)}.")
    parts: list[np.ndarray] = []
    counts = np.zeros(n, dtype=np.int64)
    for at, value in enumerate(given):
        if value is None or np.size(value) == 0:
            continue
        part = np.asarray(value)
        part = part[None] if part.ndim == 1 else part
        if part.ndim != 2 or part.shape[1] != dim:
            raise DataError(
                f"Sample `{ids[at]}` has shape {np.shape(value)} in `{name}`, but must have (steps, {dim})."
            )
        if part.dtype.kind not in "fiub":
            raise DataError(
                f"Sample `{ids[at]}` must hold real numbers in modality `{name}`, but has dtype {part.dtype}."
            )
        parts.append(part)
        counts[at] = len(part)
    return (np.concatenate(parts) if parts else nothing), counts


def _check_steps(ids: list[str], name: str, steps: np.ndarray, longest: int | None) -> None:
    if steps.shape != (len(ids),) or steps.dtype.kind not in "iu":
        raise DataError(
            f"Lengths of modality `{name}` must be {len(ids)} integers, but have shape "
            f"{steps.shape} and dtype {steps.dtype}."
        )
    wrong = (steps < 0) if longest is None else (steps < 0) | (steps > longest)
    if np.any(wrong):
        at = int(np.argmax(wrong))
        limit = "0 or more" if longest is None else f"between 0 and {longest}"
        raise DataError(
            f"Sample `{ids[at]}` has length {steps[at]} in modality `{name}`; it must be {limit}."
        )


def gather_steps(
    values: Float[np.ndarray, "step feature"],
    starts: Int64[np.ndarray, "n"],
    lengths: Int64[np.ndarray, "n"],
) -> Float[np.ndarray, "gathered feature"]:
    """Read the steps of the chosen samples, one sample after the other.

    Args:
        values: Steps of all samples, row after row in memory.
        starts: First step of each chosen sample, within the values.
        lengths: Number of its steps.

    Returns:
        A copy in memory.

    Examples:
        >>> values = np.arange(10, dtype=np.float32)[:, None]
        >>> gather_steps(values, np.array([7, 0]), np.array([2, 3]))[:, 0].tolist()
        [7.0, 8.0, 0.0, 1.0, 2.0]
    """
    gathered = np.empty((int(lengths.sum()), values.shape[1]), dtype=values.dtype)
    _copy(values, starts, lengths, gathered, np.cumsum(lengths) - lengths)
    return gathered


def gather_padded(
    values: Float[np.ndarray, "step feature"],
    starts: Int64[np.ndarray, "n"],
    lengths: Int64[np.ndarray, "n"],
) -> Float[np.ndarray, "n time feature"]:
    """Read the chosen samples and pad them with zeros to the longest of them, and to one step at least.

    Args:
        values: Steps of all samples, row after row in memory.
        starts: First step of each chosen sample, within the values.
        lengths: Number of its steps.

    Examples:
        >>> values = np.arange(1, 9, dtype=np.float32)[:, None]
        >>> gather_padded(values, np.array([5, 0]), np.array([1, 3]))[:, :, 0].tolist()
        [[6.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
    """
    longest = max(1, int(lengths.max(initial=0)))
    padded = np.zeros((len(lengths), longest, values.shape[1]), dtype=values.dtype)
    _copy(values, starts, lengths, padded, np.arange(len(lengths)) * longest)
    return padded


def _copy(
    values: np.ndarray, starts: np.ndarray, lengths: np.ndarray, target: np.ndarray, places: np.ndarray
) -> None:
    """Copy each sample's steps, which lie together, to its place among the rows of the target."""
    if not values.size or not target.size:
        return
    if lengths.max(initial=0) == 1 == lengths.min(initial=1):
        rows = target.reshape(-1, values.shape[1])
        rows[places] = values[starts]
        return
    # Byte views: slices of them cost a quarter of those of arrays, and the copy of a sample is one memcpy.
    width = values.shape[1] * values.itemsize
    source, copy = (memoryview(array).cast("B") for array in (values, target))  # pyright: ignore[reportArgumentType]
    for start, place, size in zip(
        (starts * width).tolist(), (places * width).tolist(), (lengths * width).tolist(), strict=True
    ):
        copy[place : place + size] = source[start : start + size]
