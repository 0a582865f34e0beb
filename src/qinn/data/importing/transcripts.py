"""Transcripts on the way into a store: which encoder makes features of them, and in which units."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from qinn.data.stores.manifest import TOKEN_IDS
from qinn.data.stores.spans import Spans
from qinn.data.stores.store import Modality
from qinn.errors import ConfigError
from qinn.stated_options import check_options, option

__all__ = [
    "Deferred",
    "Encoder",
    "EncoderOptions",
    "EncoderOrLearner",
    "Learner",
    "TextOptions",
    "Tokenized",
    "Tokenizer",
    "as_encoded",
    "check_learned",
    "encode_masked",
    "encode_texts",
    "joined_text",
    "learned",
    "loaded",
    "spans_of_texts",
    "times_of_steps",
]

_EMBEDDINGS = "/embeddings"

Tokenized = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A text's token ids (n), their spans of characters (n, 2), and where they are special tokens (n)."""


@runtime_checkable
class Encoder(Protocol):
    """What a reader needs of a text encoder; `qinn.features.text.load_text_encoder` makes some."""

    @property
    def tier(self) -> str:
        """Its name and version."""
        ...

    @property
    def dim(self) -> int:
        """Numbers of a token's vector."""
        ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One array (tokens, dim) per text."""
        ...

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """One array (words, dim) per sentence."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """An encoder that also says which tokens it sees, and where they stand in the text."""

    @property
    def vocabulary_size(self) -> int:
        """Number of different ids."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        """Ids, spans and marks of special tokens of every text, cut at the encoder's length."""
        ...


@runtime_checkable
class Masker(Protocol):
    """An encoder that can take some of what it reads for unknown."""

    def encode_masked(
        self, sentences: Sequence[str | Sequence[str]], gone: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """As `Encoder.encode` of texts, or `Encoder.encode_words` of words, True in `gone` where one is unknown."""
        ...


@runtime_checkable
class MaskingTokenizer(Tokenizer, Protocol):
    """A tokenizer that has an id for what is unknown."""

    @property
    def unknown_id(self) -> int: ...


@runtime_checkable
class WordReader(Encoder, Protocol):
    """An encoder whose first feature is the id of a word."""

    @property
    def vocabulary(self) -> tuple[str, ...]: ...


@runtime_checkable
class Learner(Protocol):
    """Becomes an encoder once it has seen the training transcripts."""

    def learn(self, sentences: Iterable[Sequence[str]]) -> Encoder:
        """Return the encoder that goes with these sentences."""
        ...


class Deferred:
    """An encoder that is loaded, which takes seconds, once all that is cheap to check was found right.

    Args:
        load: Loads it.
    """

    def __init__(self, load: Callable[[], Encoder | Learner]) -> None:
        self.loaded = cache(load)


EncoderOrLearner = Encoder | Learner | Deferred


def loaded(encoder: EncoderOrLearner) -> Encoder | Learner:
    """Return an encoder, or what learns to be one, loaded."""
    return encoder.loaded() if isinstance(encoder, Deferred) else encoder


@dataclass(frozen=True)
class TextOptions:
    """How transcripts become features.

    Raises:
        ConfigError: If the unit is unknown.
    """

    unit: str = option(
        "tokens",
        "One vector per token of the encoder or per word, divided as the source divides them, so that the text stays "
        "aligned with word-aligned sound and vision; or no vectors but the tokens' ids, for fine-tuning",
        name="text_unit",
        choices=("tokens", "words", "ids"),
    )
    lowercase: bool = option(False, "Encode in lower case; the store keeps the transcript as it is")
    modality: str = "text"

    def __post_init__(self) -> None:
        check_options(self)

    def described(self, encoder: Encoder) -> Modality:
        """Return what the encoder makes, with its tier."""
        if isinstance(encoder, WordReader):
            return Modality(encoder.dim, "sequence", encoder.tier, tuple(encoder.vocabulary))
        if self.unit == "ids" and encoder.tier.endswith(_EMBEDDINGS):
            raise ConfigError(
                f"Option `text_unit` must be tokens or words for `{encoder.tier}`, whose vectors are all there is, but "
                "it is ids; leave `/embeddings` out."
            )
        return Modality(1 if self.unit == "ids" else encoder.dim, "sequence", self.tier_of(encoder.tier))

    def tier_of(self, encoder: str) -> str:
        """Return the tier of what an encoder makes, other than one of words, from its own."""
        unit = {"tokens": "", "words": "/words", "ids": TOKEN_IDS}[self.unit]
        return encoder + unit + ("/lower" if self.lowercase else "")


@dataclass(frozen=True)
class EncoderOptions:
    """Which encoder makes features of transcripts; `qinn.experiment.text_encoders.load_encoder` loads it."""

    encode_text: str | None = option(
        None,
        "Encode transcripts: `minilm`, `mpnet`, `hub:NAME` or `folder:PATH`, with `/embeddings` behind it for vectors "
        "without context; `hash`, of letters alone; `words`, or `words:STORE` for its vocabulary",
        metavar="ENCODER",
    )
    num_words: int | None = option(
        None,
        "With words: how many of the commonest training words have an id, 300 by default",
        bounds=(1, 100_000),
        metavar="N",
    )
    lexicon: str | None = option(
        None, "With words: what a lexicon says of each word, beside its id: `vader`", metavar="NAME"
    )


def learned(
    encoder: EncoderOrLearner,
    texts: Sequence[str] | Sequence[Sequence[str]],
    splits: Sequence[str],
    options: TextOptions,
) -> tuple[Encoder, TextOptions, list[str]]:
    """Return an encoder that is ready: one that learns sees the training transcripts, and no others where it can.

    Args:
        encoder: An encoder, or what becomes one.
        texts: Transcripts of all samples that are kept, as text or as words.
        splits: Split of each.
        options: How transcripts become features.

    Returns:
        The encoder, the options that it needs, and remarks for the manifest.

    Raises:
        ConfigError: If words are to be read in another unit, or there are none to learn from.
    """
    encoder = loaded(encoder)
    if not isinstance(encoder, Learner | WordReader):
        return encoder, options, []
    if options.unit == "ids":
        raise ConfigError("Option `text_unit` must be words where words are encoded, but it is `ids`.")
    options = replace(options, unit="words", lowercase=False)
    if not isinstance(encoder, Learner):
        return encoder, options, []
    chosen = [text for text, split in zip(texts, splits, strict=True) if split == "train"]
    whose = f"{len(chosen)} training transcripts"
    if "train" not in splits:
        chosen = list(texts)
        whose = (
            f"all {len(chosen)} transcripts, since no split is given: words of later test samples, though no label, "
            "took part in the choice"
        )
    ready = encoder.learn(_divided(text) for text in chosen)
    return ready, options, [f"the vocabulary of `{options.modality}` is that of {whose}"]


def check_learned(encoder: EncoderOrLearner | None, layout: str) -> Encoder | None:
    """Return an encoder that is ready, for layouts that do not read all transcripts before they encode the first.

    Raises:
        ConfigError: If it has to learn first.
    """
    encoder = None if encoder is None else loaded(encoder)
    if isinstance(encoder, Learner):
        raise ConfigError(
            f"The layout `{layout}` is read video by video, so no vocabulary can be learned from it; take that of a "
            "store by `--encode-text words:STORE`."
        )
    return encoder


def as_encoded(
    texts: Sequence[str] | Sequence[Sequence[str]], options: TextOptions
) -> list[str] | list[list[str]]:
    """Return transcripts, given as text or as words, as an encoder sees them."""
    if options.unit == "words":
        return [[_cased(word, options) for word in _divided(text)] for text in texts]
    return [_cased(joined_text(text), options) for text in texts]


def encode_texts(
    encoder: Encoder, texts: Sequence[str] | Sequence[Sequence[str]], options: TextOptions
) -> list[np.ndarray]:
    """Encode transcripts, given as text or as words.

    Returns:
        One (steps, dim) array per transcript; none of its steps where it is empty. Token ids are whole
        numbers below 2²⁴, which single precision holds exactly.

    Raises:
        ConfigError: If token ids are asked of an encoder that has none.
    """
    seen: Any = as_encoded(texts, options)
    if options.unit == "words":
        return encoder.encode_words(seen)
    if options.unit == "tokens":
        return encoder.encode(seen)
    if not isinstance(encoder, Tokenizer):
        raise ConfigError(f"Text encoder `{encoder.tier}` has no token ids; use tokens or words.")
    return [_ids(tokens)[0].astype(np.float32)[:, None] for tokens in encoder.tokenize(seen)]


def encode_masked(
    encoder: Encoder, texts: Sequence[str], gone: Sequence[np.ndarray], options: TextOptions
) -> list[np.ndarray]:
    """Encode transcripts, some of whose steps are taken for unknown words.

    Args:
        encoder: The encoder.
        texts: Transcripts.
        gone: True where a step is unknown; special tokens never are.
        options: How transcripts become features.

    Returns:
        As `encode_texts`.

    Raises:
        ConfigError: If the encoder can take nothing for unknown.
    """
    seen: Any = as_encoded(texts, options)
    if options.unit != "ids" and isinstance(encoder, Masker):
        return encoder.encode_masked(seen, gone)
    if options.unit != "ids" or not isinstance(encoder, MaskingTokenizer):
        raise ConfigError(f"Text encoder `{encoder.tier}` can take no word for unknown.")
    found: list[np.ndarray] = []
    for tokens, mask in zip(encoder.tokenize(seen), gone, strict=True):
        ids, _, special = _ids(tokens)
        mask = np.append(mask, np.zeros(len(ids), dtype=bool))[: len(ids)]
        found.append(np.where(mask & ~special, encoder.unknown_id, ids).astype(np.float32)[:, None])
    return found


def spans_of_texts(
    encoder: Encoder, texts: Sequence[str] | Sequence[Sequence[str]], options: TextOptions
) -> list[Spans] | None:
    """Return which characters of its transcript each step of `encode_texts` stands for.

    Args:
        encoder: The encoder.
        texts: Transcripts; words are joined by spaces.
        options: How they become features.

    Returns:
        One (steps, 2) array per transcript; special tokens have the span 0, 0. None where the encoder does not
        say where its tokens stand.
    """
    if options.unit == "words":
        return [_word_spans(text) for text in texts]
    if not isinstance(encoder, Tokenizer):
        return None
    joined = [joined_text(text) for text in texts]
    spans = []
    for text, tokens in zip(
        joined, encoder.tokenize([_cased(text, options) for text in joined]), strict=True
    ):
        _, found, special = _ids(tokens) if options.unit == "ids" else _plain(tokens)
        found = _in_original_case(found, text) if options.lowercase else found
        spans.append(np.where(special[:, None], 0, found).astype(np.int32))
    return spans


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


def _divided(text: str | Sequence[str]) -> list[str]:
    return text.split() if isinstance(text, str) else list(text)


def joined_text(text: str | Sequence[str]) -> str:
    """Return a transcript as text, its words joined by spaces."""
    return text if isinstance(text, str) else " ".join(text)


def _cased(text: str, options: TextOptions) -> str:
    return text.lower() if options.lowercase else text


def _ids(tokens: Tokenized) -> Tokenized:
    """Return all tokens, or none where there are only special ones: nothing was said."""
    return tokens if not tokens[2].all() else (tokens[0][:0], tokens[1][:0], tokens[2][:0])


def _plain(tokens: Tokenized) -> Tokenized:
    kept = ~tokens[2]
    return tokens[0][kept], tokens[1][kept], tokens[2][kept]


def _word_spans(text: str | Sequence[str]) -> Spans:
    if isinstance(text, str):
        found = [match.span() for match in re.finditer(r"\S+", text)]
        return np.array(found, np.int32).reshape(-1, 2)
    stops = np.cumsum([len(word) + 1 for word in text]) - 1
    starts = stops - [len(word) for word in text]
    return np.stack([starts, stops], axis=1).astype(np.int32)


def _in_original_case(spans: np.ndarray, text: str) -> np.ndarray:
    """Return spans of a text's lower case as spans of the text; a letter's lower case can be longer (that of İ)."""
    lengths = [len(letter.lower()) for letter in text]
    owners = np.append(np.repeat(np.arange(len(text)), lengths), len(text))
    starts, stops = spans[:, 0], spans[:, 1]
    return np.stack([owners[starts], np.where(stops > starts, owners[stops - 1] + 1, owners[starts])], axis=1)
