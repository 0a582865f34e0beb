"""When each step of a modality happens.

A store keeps it beside the steps, as ``<modality>.times.npy``: (total_steps,) float64, seconds from the beginning of
the sample, which is time 0. Within a sample times never fall; several steps may happen at one time. Nothing follows
them from, so they are part of the store's content hash.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from qinn.data.stores.cutting import even_pieces
from qinn.errors import DataError

__all__ = ["Times", "checked_times", "faults_of_times"]

Times = Float64[np.ndarray, "step"]
"""Time of each step in seconds."""


def checked_times(
    ids: Sequence[str],
    modality: str,
    times: Sequence[np.ndarray | None],
    steps: Int64[np.ndarray, "n"],
) -> Times:
    """Return the times of many samples after each other, known to fit their steps.

    Args:
        ids: Identifiers of the samples.
        modality: The modality, for messages.
        times: One array (steps,) of seconds per sample; None where a sample has no steps.
        steps: Number of steps of each sample.

    Raises:
        DataError: If a sample has more or fewer times than steps, or they are no finite numbers, negative or falling.

    Examples:
        >>> checked_times(["a", "b"], "audio", [np.array([0.0, 0.5]), None], np.array([2, 0])).tolist()
        [0.0, 0.5]
    """
    if len(times) != len(ids):
        raise DataError(
            f"Modality `{modality}` must have times for each of {len(ids)} samples, not for {len(times)}."
        )
    found = [np.zeros(0)]
    for name, given, count in zip(ids, times, steps, strict=True):
        each = np.zeros(0) if given is None else np.asarray(given)
        if each.shape != (count,) or (count and each.dtype.kind not in "fiu"):
            raise DataError(
                f"Sample `{name}` must have {count} times in `{modality}`, one number of seconds per step, but has "
                f"shape {each.shape} and dtype {each.dtype}."
            )
        each = each.astype(np.float64)
        if faults := faults_of_times(each, np.array([0, count])):
            raise DataError(
                f"Sample `{name}` has {faults[0]} in `{modality}`; times must be finite seconds from the sample's "
                "beginning, 0 or more, which never fall."
            )
        found.append(each)
    return np.concatenate(found)


def faults_of_times(times: Times, offsets: Int64[np.ndarray, "bound"]) -> list[str]:
    """Say what is wrong with the times of many samples, read a part at a time; nothing if they are right.

    Args:
        times: Of all samples after each other.
        offsets: First step of every sample, and the end of the last.

    Examples:
        >>> faults_of_times(np.array([0.0, 1.0, 1.0, 0.5]), np.array([0, 3, 4]))
        []
        >>> faults_of_times(np.array([0.0, 1.0, 1.0, 0.5]), np.array([0, 4]))
        ['a time of 0.5 behind 1.0']
    """
    wrong, falls, before = None, None, np.inf
    for piece in even_pieces(len(times)):
        part = times[piece]
        outside = ~(np.isfinite(part) & (part >= 0))
        if wrong is None and outside.any():
            wrong = f"a time of {part[np.argmax(outside)]}"
        earlier = np.concatenate([[before], part[:-1]])
        lower = np.flatnonzero(part < earlier)
        # Where a sample begins, time begins anew.
        lower = lower[~np.isin(lower + piece.start, offsets)]
        if falls is None and len(lower):
            falls = f"a time of {part[lower[0]]} behind {earlier[lower[0]]}"
        before = part[-1]
    return [fault for fault in (wrong, falls) if fault is not None]
