"""Putting one timed sequence on the intervals of another, as the CMU-MultimodalSDK aligns modalities to words."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

__all__ = ["COLLAPSES", "Timed", "collapsed", "overlapping"]

SHORTEST = 1e-5
"""Seconds: intervals that share less do not overlap (the SDK's own bound)."""


@dataclass(frozen=True)
class Timed:
    """Steps of one video with their times.

    Attributes:
        values: (step, feature) numbers, or (step) words.
        times: (step, 2): start and end in seconds.
        found: (step): False where a step only stands for a gap.
    """

    values: np.ndarray
    times: np.ndarray
    found: np.ndarray

    def only(self, kept: Bool[np.ndarray, "step"]) -> "Timed":
        """Return the steps that are kept."""
        return Timed(self.values[kept], self.times[kept], self.found[kept])


def _mean(values: np.ndarray, shared: np.ndarray) -> np.ndarray:
    return values.mean(axis=0, dtype=np.float64)


def _weighted(values: np.ndarray, shared: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (shared / shared.sum()) @ values


def _max(values: np.ndarray, shared: np.ndarray) -> np.ndarray:
    return values.max(axis=0)


COLLAPSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": _mean,
    "weighted": _weighted,
    "max": _max,
}
"""Name → function of (step, feature) values and the seconds that each step shares with the interval."""


def overlapping(
    times: Shaped[np.ndarray, "step 2"], interval: Shaped[np.ndarray, "2"]
) -> Bool[np.ndarray, "step"]:
    """Tell which steps share time with an interval.

    Args:
        times: Start and end of each step, in seconds.
        interval: Start and end, in seconds.

    Examples:
        >>> times = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]])
        >>> overlapping(times, np.array([0.5, 2.0])).tolist()
        [True, True, False]
    """
    return _shared(times, interval) > SHORTEST


def collapsed(
    sequence: Timed, intervals: Shaped[np.ndarray, "interval 2"], collapse: str
) -> tuple[Shaped[np.ndarray, "interval feature"], Bool[np.ndarray, "interval"]]:
    """Make one step of all the steps that share time with an interval, for every interval.

    Args:
        sequence: Numbers with their times, in any order.
        intervals: Start and end of each interval, in seconds.
        collapse: How; a key of `COLLAPSES`.

    Returns:
        One row per interval, zeros where no step shares time with it; and whether one does.

    Source:
        ``mmdataset.align`` and ``impute`` of the CMU-MultimodalSDK, for ``"mean"``.

    Examples:
        >>> steps = Timed(np.array([[1.0], [3.0], [9.0]]), np.array([[0, 1], [1, 2], [7, 8]]), np.ones(3, bool))
        >>> values, found = collapsed(steps, np.array([[0.0, 2.0], [3.0, 4.0]]), "mean")
        >>> values.tolist(), found.tolist()
        ([[2.0], [0.0]], [True, False])
    """
    function = COLLAPSES[collapse]
    order = np.argsort(sequence.times[:, 0], kind="stable")
    values, times = sequence.values[order], sequence.times[order].astype(np.float64)
    # Steps may have any length, so the latest end so far says from where on one can reach into an interval.
    latest = np.maximum.accumulate(times[:, 1]) if len(times) else np.zeros(0)
    rows = np.zeros((len(intervals), values.shape[1]), np.float32)
    found = np.zeros(len(intervals), bool)
    for at, interval in enumerate(intervals.astype(np.float64)):
        first, last = np.searchsorted(latest, interval[0]), np.searchsorted(times[:, 0], interval[1])
        shared = _shared(times[first:last], interval)
        inside = shared > SHORTEST
        if inside.any():
            found[at] = True
            with np.errstate(over="ignore", invalid="ignore"):
                rows[at] = function(values[first:last][inside], shared[inside])
    return rows, found


def _shared(times: np.ndarray, interval: np.ndarray) -> np.ndarray:
    return np.minimum(times[:, 1], interval[1]) - np.maximum(times[:, 0], interval[0])
