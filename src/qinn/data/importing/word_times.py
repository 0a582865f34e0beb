"""When the steps of an encoded text happen, where it is known when its words were said."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from qinn.data.stores.spans import Spans

__all__ = ["times_of_steps"]


def times_of_steps(
    spans: Spans, words: Sequence[str], seconds: Float64[np.ndarray, "word"]
) -> Float64[np.ndarray, "step"]:
    """Return the time of each step: that of the word in which it begins.

    Special tokens, which stand for no character, take the time of the step before, at the beginning that of the first
    word.

    Args:
        spans: Characters of the words, joined by spaces, that each step stands for.
        words: What was said.
        seconds: When each word was said, never falling.

    Examples:
        >>> spans = np.array([[0, 0], [0, 2], [3, 5], [5, 7], [0, 0]], np.int32)
        >>> times_of_steps(spans, ["so", "good"], np.array([0.5, 0.9])).tolist()
        [0.5, 0.5, 0.9, 0.9, 0.9]
    """
    if not len(words):
        return np.zeros(len(spans))
    starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
    places = np.searchsorted(starts, spans[:, 0], side="right") - 1
    return seconds[np.maximum.accumulate(places)]
