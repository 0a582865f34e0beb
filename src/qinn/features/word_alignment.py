"""Steps of voice and face as one step per word: the mean over the time in which it is said."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from qinn.features.speech import Word

__all__ = ["over_words"]


def over_words(
    seconds: Float64[np.ndarray, " steps"],
    values: Float32[np.ndarray, "steps features"],
    words: Sequence[Word],
    *,
    every: float,
    counts: np.ndarray | None = None,
) -> tuple[Float64[np.ndarray, " words"], Float32[np.ndarray, "words features"]]:
    """Return the mean of the steps that lie within each word, at the middle of the time in which it is said.

    A word that is shorter than the time between two steps counts as so long, around its middle. A word in whose time
    there is no step has none; the others keep their times.

    Args:
        seconds: When each step happens; ascending.
        values: One row per step.
        words: The words.
        every: Seconds between two steps.
        counts: Which numbers count; all if None. Where none does, the mean is 0.

    Examples:
        >>> words = [Word("so", 0.0, 0.2), Word("glad", 0.2, 0.6), Word("now", 5.0, 5.2)]
        >>> moments, means = over_words(np.arange(6) / 10, np.arange(6, dtype=np.float32)[:, None], words, every=0.1)
        >>> [round(moment, 2) for moment in moments.tolist()], means.ravel().tolist()
        ([0.1, 0.4], [0.5, 3.5])
    """
    moments: list[float] = []
    rows: list[np.ndarray] = []
    for word in words:
        middle = (word.begin + word.end) / 2
        half = max(word.end - word.begin, every) / 2
        # A hair's breadth earlier, for a step that stands where the word begins.
        begin, end = np.searchsorted(seconds, [middle - half - 1e-9, middle + half - 1e-9])
        if begin == end:
            continue
        weights = (
            np.ones((end - begin, values.shape[1])) if counts is None else counts[begin:end].astype(float)
        )
        means = np.sum(values[begin:end] * weights, axis=0) / np.maximum(weights.sum(axis=0), 1)
        moments.append(middle)
        rows.append(means.astype(np.float32))
    return np.array(moments, np.float64), np.array(rows, np.float32).reshape(-1, values.shape[1])
