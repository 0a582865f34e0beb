"""Vectors of words from their letters alone: no weights, no vocabulary, the same on every machine.

Words that share letters are near each other, and nothing is known of what they mean: enough to try the whole way from a
clip to a score, and to learn a small set of words.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32

from qinn.features.masked_words import masked_words

__all__ = ["HASH_VERSION", "HashEncoder"]

HASH_VERSION = "hash@1"
"""Name and version of what is computed here: it changes whenever a number does."""

_DIM = 64
_LENGTHS = (2, 3, 4)


class HashEncoder:
    """Adds up a signed unit vector for each run of two to four letters of a word and for the word, to length one.

    Words are compared in lower case and without what is no letter or digit.

    Examples:
        >>> one, two, other = HashEncoder().encode_words([["Good!", "good", "terrible"]])[0]
        >>> bool((one == two).all()), bool(one @ other < 0.5)
        (True, True)
    """

    tier = HASH_VERSION
    dim = _DIM

    counted = "words"

    def encode(self, texts: Sequence[str]) -> list[Float32[np.ndarray, "_ 64"]]:
        """Encode transcripts, which are divided at spaces."""
        return self.encode_words([text.split() for text in texts])

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[Float32[np.ndarray, "_ 64"]]:
        """Encode sentences that are already divided into words, one row per word."""
        return [
            np.array([_vector(word) for word in words], np.float32).reshape(-1, _DIM) for words in sentences
        ]

    def encode_masked(
        self, sentences: Sequence[str | Sequence[str]], gone: Sequence[Bool[np.ndarray, "_"]]
    ) -> list[Float32[np.ndarray, "_ 64"]]:
        """Encode sentences some of whose words are unknown (see `masked_words`)."""
        return self.encode_words(masked_words(sentences, gone))

    def count_tokens(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> list[tuple[int, int, int]]:
        """Count, of each transcript, its words, those that are read (all), and those that are unknown (none)."""
        counts = (len(text.split() if isinstance(text, str) else text) for text in texts)
        return [(count, count, 0) for count in counts]


@lru_cache(maxsize=65536)
def _vector(word: str) -> tuple[float, ...]:
    plain = "".join(letter for letter in word.lower() if letter.isalnum()) or word
    marked = f"<{plain}>"
    runs = [
        marked[start : start + length] for length in _LENGTHS for start in range(len(marked) - length + 1)
    ]
    total = np.zeros(_DIM)
    for run in [*runs, f"={plain}"]:
        number = int.from_bytes(
            hashlib.blake2b(run.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little"
        )
        total[number % _DIM] += 1.0 if number & 2**31 else -1.0
    length = float(np.sqrt(np.sum(total**2)))
    return tuple((total / length if length else total).tolist())
