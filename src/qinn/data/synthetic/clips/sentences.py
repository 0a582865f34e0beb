"""Sentences of a small fixed grammar whose valence is known: an adjective, and a negation that turns it round."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = ["ADJECTIVES", "NEGATION_RATE", "VALENCES", "Sentence", "draw_sentence"]

Choice = TypeVar("Choice")

ADJECTIVES = {
    1.0: ("brilliant", "wonderful", "superb"),
    0.5: ("good", "pleasant", "decent"),
    -0.5: ("weak", "dull", "bland"),
    -1.0: ("dreadful", "awful", "terrible"),
}
"""Valence → the adjectives that have it."""

VALENCES = tuple(ADJECTIVES)
"""What a sentence can mean, each as likely: the adjectives' valences are symmetric, and negation keeps them so."""

NEGATION_RATE = 0.4
"""Share of the sentences that are negated."""

_NEGATIONS = ("not", "never")
_OPENINGS = (("I", "think"), ("honestly",), ("we", "found"), ("to", "me"), ("well",), ("they", "say"))
_NOUNS = ("plot", "cast", "music", "ending", "story", "acting")
_FILLERS = ((), ("really",), ("to", "be", "fair"), ("all", "in", "all"))


@dataclass(frozen=True)
class Sentence:
    """What is said.

    Attributes:
        words: The words.
        valence: How positive they are by themselves, one of `VALENCES`.
    """

    words: tuple[str, ...]
    valence: float

    @property
    def text(self) -> str:
        """The words, with spaces between them."""
        return " ".join(self.words)


def draw_sentence(generator: np.random.Generator) -> Sentence:
    """Draw a sentence: OPENING the NOUN was [NEGATION] ADJECTIVE [FILLER].

    A negated adjective means the opposite: "not dreadful" counts as much as "brilliant".

    Examples:
        >>> sentence = draw_sentence(np.random.default_rng(3))
        >>> sentence.text, sentence.valence
        ('honestly the story was never brilliant to be fair', -1.0)
    """
    valence = VALENCES[generator.integers(len(VALENCES))]
    negated = generator.random() < NEGATION_RATE
    adjective = _picked(generator, ADJECTIVES[-valence if negated else valence])
    opening, noun = _picked(generator, _OPENINGS), _picked(generator, _NOUNS)
    negation = (_picked(generator, _NEGATIONS),) if negated else ()
    filler = _picked(generator, _FILLERS)
    return Sentence((*opening, "the", noun, "was", *negation, adjective, *filler), valence)


def _picked(generator: np.random.Generator, choices: tuple[Choice, ...]) -> Choice:
    return choices[generator.integers(len(choices))]
