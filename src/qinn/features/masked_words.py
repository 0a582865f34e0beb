"""Sentences some of whose words are unknown, for encoders that read each word on its own."""

from collections.abc import Sequence

from jaxtyping import Bool
from numpy import ndarray


def masked_words(
    sentences: Sequence[str | Sequence[str]], gone: Sequence[Bool[ndarray, "_"]]
) -> list[list[str]]:
    """Return the words of sentences, in place of unknown ones a word without a letter.

    Args:
        sentences: Transcripts as text, which are divided at spaces, or as words.
        gone: True where a word is unknown; words beyond its end are known.

    Examples:
        >>> import numpy as np
        >>> masked_words(["not so good"], [np.array([True, False])])
        [['', 'so', 'good']]
    """
    divided = [one.split() if isinstance(one, str) else list(one) for one in sentences]
    return [
        ["" if place < len(mask) and mask[place] else word for place, word in enumerate(words)]
        for words, mask in zip(divided, gone, strict=True)
    ]
