"""Transcripts on the way into a store: which encoder makes features of them, and in which units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from qinn.data.store import Modality
from qinn.errors import ConfigError

__all__ = ["Encoder", "TextOptions", "encode_texts"]


@runtime_checkable
class Encoder(Protocol):
    """What a reader needs of a text encoder; `qinn.features.text.load_text_encoder` makes some."""

    @property
    def tier(self) -> str: ...  # noqa: D102

    @property
    def dim(self) -> int: ...  # noqa: D102

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One array (tokens, dim) per text."""
        ...

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """One array (words, dim) per sentence."""
        ...


@dataclass(frozen=True)
class TextOptions:
    """How transcripts become features.

    Attributes:
        unit: ``"tokens"`` (the encoder's own) or ``"words"`` (divided at spaces, or as the source divides
            them: then the text stays aligned with word-aligned sound and vision).
        lowercase: Encode in lower case (the store keeps the transcript as it is).
        modality: Name of the modality that the encoder makes.

    Raises:
        ConfigError: If the unit is unknown.
    """

    unit: str = "tokens"
    lowercase: bool = False
    modality: str = "text"

    def __post_init__(self) -> None:
        if self.unit not in ("tokens", "words"):
            raise ConfigError(f"Option `text_unit` must be tokens or words, but it is `{self.unit}`.")

    def described(self, encoder: Encoder) -> Modality:
        """Return what the encoder makes, with its tier."""
        tier = (
            encoder.tier + ("/words" if self.unit == "words" else "") + ("/lower" if self.lowercase else "")
        )
        return Modality(encoder.dim, "sequence", tier)


def encode_texts(
    encoder: Encoder, texts: Sequence[str] | Sequence[Sequence[str]], options: TextOptions
) -> list[np.ndarray]:
    """Encode transcripts, given as text or as words.

    Returns:
        One (steps, dim) array per transcript; none of its steps where it is empty.
    """
    if options.unit == "tokens":
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        return encoder.encode([text.lower() if options.lowercase else text for text in joined])
    divided = [text.split() if isinstance(text, str) else list(text) for text in texts]
    return encoder.encode_words(
        [[word.lower() if options.lowercase else word for word in words] for words in divided]
    )
