"""The text encoder that a command names: pretrained, or words with the vocabulary of a store or one to be learned."""

from collections.abc import Sequence
from pathlib import Path

from qinn.data.importing.transcripts import Deferred, EncoderOrLearner, loaded
from qinn.data.stores.manifest import modalities_of, read_manifest
from qinn.errors import ConfigError
from qinn.features.hashing import HashEncoder
from qinn.features.lexicons import load_lexicon
from qinn.features.text import is_text_encoder, load_text_encoder
from qinn.features.words import WordEncoder, WordLearner

__all__ = ["deferred_encoder", "load_encoder", "word_encoder"]

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
    name: str, *, num_words: int | None = None, lexicon: str | None = None
) -> EncoderOrLearner:
    """Return what `load_encoder` does, but a transformer, which takes seconds, only once it is asked for.

    Args:
        name: As for `load_encoder`; so are the others.
        num_words: Size of the vocabulary to be learned.
        lexicon: Lexicon beside the words.

    Raises:
        ConfigError: If the name is none of an encoder, or options contradict each other.
    """
    if num_words is None and lexicon is None and is_text_encoder(name):
        return Deferred(lambda: loaded(load_encoder(name)))
    return load_encoder(name, num_words=num_words, lexicon=lexicon)


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
