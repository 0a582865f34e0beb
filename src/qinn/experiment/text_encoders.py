"""The text encoder that a command or a tier names: pretrained, of letters, or words with a vocabulary."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from qinn.data.importing.transcripts import (
    Deferred,
    Encoder,
    EncoderOrLearner,
    Learner,
    TextOptions,
    loaded,
)
from qinn.data.stores.manifest import TOKEN_IDS, modalities_of, num_words_of, read_manifest
from qinn.errors import ConfigError, QinnError
from qinn.features.hashing import HashEncoder
from qinn.features.lexicons import load_lexicon
from qinn.features.text import TransformerEncoder, is_text_encoder, load_text_encoder, tier_of_text_encoder
from qinn.features.weights import MPNET
from qinn.features.words import WordEncoder, WordLearner

__all__ = ["deferred_encoder", "encoder_of_tier", "load_encoder", "made_of_text", "word_encoder"]

_NUM_WORDS = 300


def load_encoder(name: str, *, num_words: int | None = None, lexicon: str | None = None) -> EncoderOrLearner:
    """Load what `--encode-text` names.

    Args:
        name: ``"words"``, ``"words:STORE"`` for the vocabulary of a store, ``"hash"`` for
            `qinn.features.hashing.HashEncoder`, or as for `qinn.features.text.load_text_encoder`.
        num_words: Size of the vocabulary to be learned (300 if None).
        lexicon: Lexicon beside the words, see `qinn.features.lexicons.load_lexicon`; None for none.

    Raises:
        ConfigError: If something of it is unknown or not available here, or options contradict each other.
        DataError: If the store cannot be read.
    """
    kind, _, place = name.partition(":")
    if kind != "words":
        given = {"num_words": num_words, "lexicon": lexicon}
        if unused := [option for option, value in given.items() if value is not None]:
            found = f"that is `{name}`" if name else "no text is encoded"
            raise ConfigError(f"Option `{unused[0]}` goes with `--encode-text words`, but {found}.")
        return HashEncoder() if name == "hash" else load_text_encoder(name)
    if place:
        if num_words is not None or lexicon is not None:
            raise ConfigError(
                f"Options `num_words` and `lexicon` are those of the store where its vocabulary is taken, as by "
                f"`{name}`; leave them out."
            )
        return _encoder_of_store(Path(place))
    return WordLearner(
        _NUM_WORDS if num_words is None else num_words, None if lexicon is None else load_lexicon(lexicon)
    )


def deferred_encoder(
    name: str, *, num_words: int | None = None, lexicon: str | None = None, alone: bool = False
) -> EncoderOrLearner:
    """Return what `load_encoder` does, but a transformer, which takes seconds, only once it is asked for.

    Args:
        name: As for `load_encoder`; so are the others.
        num_words: Size of the vocabulary to be learned.
        lexicon: Lexicon beside the words.
        alone: Whether a transformer encodes each text alone, see `qinn.features.text.TransformerEncoder`.

    Raises:
        ConfigError: If the name is none of an encoder, or options contradict each other.
    """
    if num_words is None and lexicon is None and is_text_encoder(name):
        return Deferred(lambda: _alone(load_encoder(name), alone))
    return load_encoder(name, num_words=num_words, lexicon=lexicon)


def _alone(encoder: EncoderOrLearner, alone: bool) -> Encoder | Learner:
    found = loaded(encoder)
    if isinstance(found, TransformerEncoder):
        found.alone = alone
    return found


def _encoder_of_store(path: Path) -> WordEncoder:
    """Return the encoder that made the words of a store."""
    modalities = modalities_of(read_manifest(path))
    worded = [modality for modality in modalities.values() if modality.vocabulary]
    if len({modality.tier for modality in worded}) != 1:
        raise ConfigError(
            f"Store `{path}` must hold the words of one vocabulary, but holds those of "
            f"{len({modality.tier for modality in worded})}; name a store imported with `--encode-text words`."
        )
    return word_encoder(worded[0].tier, worded[0].vocabulary, f"Store `{path}`")


def word_encoder(tier: str, vocabulary: Sequence[str], owner: str) -> WordEncoder:
    """Return the encoder of words that has a tier.

    Args:
        tier: The tier.
        vocabulary: Its words.
        owner: Whose they are, for messages.

    Raises:
        ConfigError: If the lexicon is another one.
    """
    stated = tier.partition("@")[0].partition("+")[2]
    encoder = WordEncoder(tuple(vocabulary), load_lexicon(stated) if stated else None)
    if encoder.tier != tier:
        raise ConfigError(
            f"{owner} says that its words are `{tier}`, but its vocabulary with the lexicon that is installed "
            f"is `{encoder.tier}`; it is damaged, or another version of the lexicon made it."
        )
    return encoder


def made_of_text(tier: str) -> tuple[str, TextOptions] | None:
    """Return what made features of transcripts, and in which unit; None for a tier that no encoder here can have.

    Args:
        tier: The tier.

    Examples:
        >>> made_of_text("minilm-l6-v2@53aa51172d14/words")[0], made_of_text("covarep@1.4")
        ('minilm', None)
    """
    rest = tier.removesuffix("/lower")
    lowercase = rest != tier
    unit = {"/words": "words", TOKEN_IDS: "ids"}.get("/" + rest.rpartition("/")[2], "tokens")
    base = rest.removesuffix({"words": "/words", "ids": TOKEN_IDS, "tokens": ""}[unit])
    model, mark, made = base.partition("@")
    embeddings = "/embeddings" if made.endswith("/embeddings") else ""
    known = {"minilm-l6-v2": "minilm", MPNET.model: MPNET.name, "hash": "hash"}
    if num_words_of({"": tier}):
        return "words", TextOptions(unit="words")
    if not mark or model not in known:
        return None
    return known[model] + embeddings, TextOptions(unit=unit, lowercase=lowercase)


def encoder_of_tier(
    tier: str, *, named: str | None = None, vocabulary: Sequence[str] = (), owner: str = "The run"
) -> tuple[Callable[[], Encoder], TextOptions]:
    """Return what loads the encoder that makes features of a tier again, to the bit, and in which unit it makes them.

    A transformer whose weights lie here is known by their bytes; that it is loaded only when it is asked for spares its
    memory until then.

    Args:
        tier: What made the features.
        named: What the encoder was called where they were made, for one that a tier does not lead to.
        vocabulary: The words whose ids are the first feature, of such a tier.
        owner: Whose features they are, for messages.

    Raises:
        ConfigError: If nothing that is here makes such features.
        MissingPackageError: If a package is not installed.
    """
    found = made_of_text(tier)
    if found is None and named is not None and named.partition(":")[0] in ("hub", "folder"):
        unit = {"/words": "words", TOKEN_IDS: "ids"}.get("/" + tier.removesuffix("/lower").rpartition("/")[2])
        found = named, TextOptions(unit=unit or "tokens", lowercase=tier.endswith("/lower"))
    if found is None:
        raise ConfigError(
            f"{owner} reads text features made by `{tier or 'nothing that is stated'}`, which cannot be made of a new "
            "transcript; those can that `--encode-text` makes."
        )
    name, options = found
    if name == "words":
        words = word_encoder(tier, vocabulary, owner)
        return lambda: words, options

    @cache
    def load() -> Encoder:
        with _said_of(owner, tier):
            encoder = _alone(load_encoder(name), True)
        assert not isinstance(encoder, Learner)  # only words learn
        return encoder

    with _said_of(owner, tier):
        own = tier_of_text_encoder(name) if is_text_encoder(name) else None
    if (made := options.tier_of(load().tier if own is None else own)) != tier:
        raise ConfigError(
            f"{owner} reads text features made by `{tier}`, but what is installed makes `{made}`: install the weights "
            "that made them, or encode and train anew."
        )
    return load, options


@contextmanager
def _said_of(owner: str, tier: str) -> Iterator[None]:
    """Say of what is refused whose features were to be made."""
    try:
        yield
    except QinnError as error:
        raise type(error)(f"{owner} reads text features made by `{tier}`: {error}") from error
