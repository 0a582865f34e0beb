"""Words as they are: ids of the commonest words of the training transcripts, and what a lexicon says of each.

No pretrained encoder: a network that reads these learns what its words mean, and in which order.
"""

import hashlib
import json
import string
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float32

from qinn.errors import ConfigError
from qinn.features.lexicons import COLUMNS, Lexicon
from qinn.features.masked_words import masked_words

__all__ = ["MOST_WORDS", "WordEncoder", "WordLearner"]

MOST_WORDS = 100_000
_ENDS = string.punctuation + "…“”‘’«»„–—"


class WordEncoder:
    """Replace each word by its id, and by what a lexicon says of it.

    The first feature is the id: k for the k-th word of the vocabulary, 0 for every other word. With a lexicon, valence,
    negation and booster follow. Words are compared in lower case and without punctuation at their ends.

    Args:
        words: The vocabulary.
        lexicon: None for none.

    Examples:
        >>> encoder = WordEncoder(["good", "not"])
        >>> encoder.encode(["Not GOOD, folks!"])[0][:, 0].tolist()
        [2.0, 1.0, 0.0]
    """

    def __init__(self, words: Sequence[str], lexicon: Lexicon | None = None) -> None:
        self.vocabulary = tuple(words)
        self.lexicon = lexicon
        self._ids = {word: float(index) for index, word in enumerate(self.vocabulary, start=1)}

    @property
    def tier(self) -> str:
        """Number of words, lexicon, and a hash of both, such as ``words-300+vader@1a2b3c4d5e6f``."""
        content = [self.vocabulary, "" if self.lexicon is None else self.lexicon.digest]
        mark = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        return f"words-{len(self.vocabulary)}{'' if self.lexicon is None else '+' + self.lexicon.name}@{mark}"

    @property
    def dim(self) -> int:
        """One, and three with a lexicon."""
        return 1 if self.lexicon is None else 1 + len(COLUMNS)

    def encode(self, texts: Sequence[str]) -> list[Float32[np.ndarray, "_ _"]]:
        """Encode transcripts, which are divided at spaces."""
        return self.encode_words([text.split() for text in texts])

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[Float32[np.ndarray, "_ _"]]:
        """Encode sentences that are already divided into words, one row per word."""
        return [
            np.array([self._row(word) for word in words], np.float32).reshape(-1, self.dim)
            for words in sentences
        ]

    def encode_masked(
        self, sentences: Sequence[str | Sequence[str]], gone: Sequence[Bool[np.ndarray, "_"]]
    ) -> list[Float32[np.ndarray, "_ _"]]:
        """Encode sentences some of whose words are unknown (see `masked_words`)."""
        return self.encode_words(masked_words(sentences, gone))

    counted = "words"

    def count_tokens(self, texts: Sequence[Sequence[str]]) -> list[tuple[int, int, int]]:
        """Count, of each sentence, its words, those that are read (all), and those that have no id."""
        return [
            (len(words), len(words), sum(_forms(word)[1] not in self._ids for word in words))
            for words in texts
        ]

    def _row(self, word: str) -> tuple[float, ...]:
        written, bare = _forms(word)
        number = self._ids.get(bare, 0.0)
        return (number,) if self.lexicon is None else (number, *self.lexicon.columns(written, bare))


class WordLearner:
    """Learns its vocabulary from the training transcripts, the commonest words first.

    Args:
        num_words: How many words at most.
        lexicon: None for none.

    Raises:
        ConfigError: If the number is below 1 or beyond `MOST_WORDS`.

    Examples:
        >>> WordLearner(2).learn([["a", "good", "film"], ["A", "film,"], ["bad"]]).vocabulary
        ('a', 'film')
    """

    def __init__(self, num_words: int = 300, lexicon: Lexicon | None = None) -> None:
        if not 1 <= num_words <= MOST_WORDS:
            raise ConfigError(
                f"Option `num_words` must be at least 1 and at most {MOST_WORDS}, but it is {num_words}."
            )
        self.num_words = num_words
        self.lexicon = lexicon

    def learn(self, sentences: Iterable[Sequence[str]]) -> WordEncoder:
        """Return the encoder of the commonest words; of equally common ones those come first that sort first.

        Args:
            sentences: The words of each training transcript.

        Raises:
            ConfigError: If there is no word.
        """
        counts = Counter(_forms(word)[1] for words in sentences for word in words)
        if not counts:
            raise ConfigError(
                "The training transcripts have no word to learn a vocabulary from; name the column of the "
                "transcripts, or take the vocabulary of another store by `--encode-text words:STORE`."
            )
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return WordEncoder(ranked[: self.num_words], self.lexicon)


def _forms(word: str) -> tuple[str, str]:
    """Return a word in lower case, as it is written and without punctuation at its ends."""
    written = word.lower().replace("’", "'")
    return written, written.strip(_ENDS) or written
