"""What a lexicon says of a single word: how good or bad it is, whether it negates, whether it strengthens."""

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from qinn.errors import ConfigError
from qinn.extras import needs
from qinn.opening import read_small_text

__all__ = ["LEXICONS", "Lexicon", "load_lexicon"]

LEXICONS = ("vader",)
COLUMNS = ("valence", "negation", "booster")


@dataclass(frozen=True)
class Lexicon:
    """Words with their valence, and words that act on others.

    Attributes:
        name: What it is called in tiers.
        valence: Word → how positive it is; words that it lacks have 0.
        negations: Words that turn others round.
        boosters: Word → +1 where it strengthens what follows, −1 where it weakens it.
    """

    name: str
    valence: Mapping[str, float]
    negations: frozenset[str] = field(default_factory=frozenset)
    boosters: Mapping[str, float] = field(default_factory=dict)

    def columns(self, written: str, bare: str) -> tuple[float, float, float]:
        """Return valence, negation (0 or 1) and booster (−1, 0 or 1) of a word.

        Args:
            written: The word in lower case, with what stands at its ends: `:)` is a word of many lexicons.
            bare: The same without punctuation at its ends.

        Examples:
            >>> lexicon = Lexicon("mine", {"good": 1.9}, frozenset({"not"}), {"very": 1.0})
            >>> lexicon.columns("good!", "good"), lexicon.columns("didn't", "didn't"), lexicon.columns("very", "very")
            ((1.9, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        """
        valence = self.valence.get(written, self.valence.get(bare, 0.0))
        negates = bare in self.negations or "n't" in bare
        return valence, float(negates), self.boosters.get(bare, 0.0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that it says."""
        content = [sorted(self.valence.items()), sorted(self.negations), sorted(self.boosters.items())]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def load_lexicon(name: str) -> Lexicon:
    """Load a lexicon.

    Args:
        name: ``"vader"``: the lexicon, negations and boosters of the package vaderSentiment (MIT).

    Raises:
        ConfigError: If it is unknown, or its package holds something else.
        MissingPackageError: If its package is not installed.

    Examples:
        >>> load_lexicon("thesaurus")
        Traceback (most recent call last):
        ...
        qinn.errors.ConfigError: Option `lexicon` must be one of vader, but it is `thesaurus`.
    """
    if name not in LEXICONS:
        raise ConfigError(f"Option `lexicon` must be one of {', '.join(LEXICONS)}, but it is `{name}`.")
    with needs("lexicon", "The lexicon `vader`"):
        module = importlib.import_module("vaderSentiment.vaderSentiment")
    try:
        lines = read_small_text(Path(str(module.__file__)).with_name("vader_lexicon.txt")).splitlines()
        rated = (line.split("\t") for line in lines if line.strip())
        return Lexicon(
            name,
            {word.strip(): float(mean) for word, mean, *_ in rated},
            frozenset(module.NEGATE),
            {word: 1.0 if scale > 0 else -1.0 for word, scale in module.BOOSTER_DICT.items()},
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            "The lexicon `vader` can't be read from the package vaderSentiment: install version 3.3.2 of it with "
            "`pip install --force-reinstall vaderSentiment==3.3.2`."
        ) from error
