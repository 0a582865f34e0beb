"""Transcripts of which some words are unknown, encoded again by what made a store's features."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from qinn.data.importing.transcripts import Encoder, TextOptions, encode_masked, encode_texts
from qinn.data.stores.manifest import modalities_of
from qinn.data.stores.recipe import recipe_of
from qinn.data.stores.store import Store
from qinn.data.subsets.absence_protocols import MaskedTexts
from qinn.data.subsets.subset import subset_of_rows
from qinn.errors import DataError
from qinn.escaping import visible
from qinn.experiment import provenance
from qinn.experiment.build import resolved, sequences_of
from qinn.experiment.config import ExperimentConfig, config_of
from qinn.experiment.feasibility import check_single_steps, steps_together
from qinn.experiment.idle_keys import FITTED_AS_THEY_ARE
from qinn.experiment.kept_encodings import KeptEncodings
from qinn.experiment.text_encoders import encoder_of_tier, made_of_text
from qinn.features.text import TransformerEncoder
from qinn.results.folder import RunFolder
from qinn.training.options import FitOptions

__all__ = [
    "EncodedAnew",
    "as_it_is",
    "check_absence_in_sweep",
    "check_absence_in_training",
    "losing_single_steps",
    "losing_steps",
    "masked_texts",
    "texts_for_training",
]

_COMPARED = 8
"""Transcripts that are encoded to see whether they make a store's features."""


class EncodedAnew:
    """Encodes the transcripts of a modality, some of whose steps are unknown words.

    Args:
        encoder: What made the modality's features.
        options: How.
        kept: Where what was encoded is kept, since many models are asked of the same; None for nowhere.
    """

    def __init__(self, encoder: Encoder, options: TextOptions, kept: KeptEncodings | None = None) -> None:
        self.encoder, self.options, self._kept = encoder, options, kept

    def features(
        self, texts: Sequence[str], lengths: Int64[np.ndarray, "n"], gone: Bool[np.ndarray, "step"]
    ) -> Float32[np.ndarray, "step feature"]:
        """See `qinn.data.subsets.absence_protocols.MaskedTexts`."""
        if self._kept is None:
            return self._encoded(texts, lengths, gone)
        described = self.options.described(self.encoder)
        versions = provenance.versions()
        if isinstance(self.encoder, TransformerEncoder):
            versions["transformers"] = metadata.version("transformers")
        # Features of the same words differ by round-off between versions, machines, numbers of threads and batches.
        made_by = [described.tier, versions, provenance.device(), torch.get_num_threads()]
        digest = hashlib.blake2b(json.dumps(made_by).encode(), digest_size=16)
        for text, length in zip(texts, lengths.tolist(), strict=True):
            digest.update(f"{length} {len(text)} {text}".encode("utf-8", "surrogatepass"))
        digest.update(np.packbits(gone).tobytes())
        return self._kept.of(
            digest.hexdigest(), (len(gone), described.dim), lambda: self._encoded(texts, lengths, gone)
        )

    def _encoded(self, texts: Sequence[str], lengths: np.ndarray, gone: np.ndarray) -> np.ndarray:
        values = np.zeros((len(gone), self.options.described(self.encoder).dim), np.float32)
        ends = np.cumsum(lengths)
        # Of a sample that lacks the modality nothing is encoded, whatever its transcript says.
        rows = [row for row, length in enumerate(lengths.tolist()) if length]
        masks = [gone[ends[row] - lengths[row] : ends[row]] for row in rows]
        found = encode_masked(self.encoder, [texts[row] for row in rows], masks, self.options)
        for row, steps in zip(rows, found, strict=True):
            if len(steps) != lengths[row]:
                raise DataError(
                    f"The transcript `{visible(texts[row])[:60]}` makes {len(steps)} steps, but the store has "
                    f"{lengths[row]} for it, so its words cannot be taken away; import the data again."
                )
            values[ends[row] - lengths[row] : ends[row]] = steps
        return values


def masked_texts(
    store: Store, modalities: Sequence[str], kept: Path | None = None
) -> tuple[dict[str, MaskedTexts], list[str]]:
    """Return what encodes transcripts of a store again, for the modalities that were made of them.

    Args:
        store: The store.
        modalities: Those that are used.
        kept: Folder in which what was encoded is kept, see `KeptEncodings`; None to keep nothing.

    Returns:
        Modality → its encoder; and sentences that say so, and of which text features a step goes as it is.

    Raises:
        ConfigError: If what made the features is known, but cannot be loaded here.
        MissingPackageError: If a package is not installed.
    """
    found, said = _masked_texts(store, modalities, kept)
    return found, list(said.values())


def _masked_texts(
    store: Store, modalities: Sequence[str], kept: Path | None
) -> tuple[dict[str, MaskedTexts], dict[str, str]]:
    """Return encoders, and what is to be said, of each modality that is made of texts."""
    recipe = recipe_of(store.manifest)
    named = None if recipe is None else recipe.options.get("encode_text")
    named = named if isinstance(named, str) else None
    found: dict[str, MaskedTexts] = {}
    remarks: dict[str, str] = {}
    known = modalities_of(store.manifest)
    for name in modalities:
        tier, vocabulary = known[name].tier, known[name].vocabulary
        if name != TextOptions().modality and store.spans(name) is None and not vocabulary:
            continue
        if made_of_text(tier) is None and (named or "").partition(":")[0] not in ("hub", "folder"):
            remarks[name] = as_it_is(name, f"what made them ({tier or 'not stated'}) is not known here")
            continue
        load, options = encoder_of_tier(
            tier, named=named, vocabulary=vocabulary, owner=f"Store `{store.name}`"
        )
        encoder = load()
        if isinstance(encoder, TransformerEncoder):
            encoder.alone = False
        if (reason := _other_features(store, name, encoder, options)) is not None:
            remarks[name] = as_it_is(name, reason)
            continue
        found[name] = EncodedAnew(encoder, options, None if kept is None else KeptEncodings(kept))
        remarks[name] = (
            f"Words of `{name}` that go are unknown words to `{encoder.tier}`, which reads the rest of each "
            "sentence anew."
        )
    return found, remarks


def as_it_is(name: str, reason: str) -> str:
    """Say that steps of a modality go from features that were made of whole sentences.

    Args:
        name: The modality.
        reason: Why they are not made anew.
    """
    return (
        f"Steps of `{name}` that go are absent from features of the whole sentence, in which the others still know of "
        f"them: no transcript can be encoded anew, since {reason}."
    )


def _other_features(store: Store, name: str, encoder: Encoder, options: TextOptions) -> str | None:
    """Say why transcripts do not make the features of a store; None where they do."""
    lengths = np.diff(np.asarray(store.offsets(name)))
    texts = store.lean_strings("text")
    rows = [row for row in np.flatnonzero(lengths).tolist() if texts[row].strip()][:_COMPARED]
    if not rows:
        return "the store has none"
    whole = subset_of_rows(store, np.array(rows), [name])
    stored = [values[:length] for values, length in zip(*whole.padded(range(len(rows)))[name], strict=True)]
    for before, after in zip(
        stored, encode_texts(encoder, [texts[row] for row in rows], options), strict=True
    ):
        if before.shape != after.shape:
            return f"those of the store make {len(after)} steps where it has {len(before)}"
        if not np.allclose(before, after, rtol=1e-2, atol=1e-2):
            return "those of the store make other features than it has"
    return None


def texts_for_training(
    store: Store, config: ExperimentConfig, kept: Path | None = None
) -> tuple[dict[str, MaskedTexts], list[str]]:
    """Return what encodes transcripts again while a model is trained; nothing where no step of them is taken away.

    Args:
        store: The data.
        config: An experiment with one model.
        kept: Folder that it shares with other trainings, as of `masked_texts`.

    Returns:
        Modality → its encoder; and a sentence for each modality made of texts whose steps go though there is none.

    Raises:
        ConfigError: If what made the features is known, but cannot be loaded here, or the model cannot lose steps.
        MissingPackageError: If a package is not installed.
    """
    [(label, model)] = config.models.items()
    if model.kind in FITTED_AS_THEY_ARE:
        return {}, []
    options, modalities = config.training.options(), config.data.modalities or tuple(store.modalities)
    found, said = _masked_texts(store, losing_steps(options, modalities), kept)
    sequences = sequences_of(store, config.data)
    check_single_steps(
        label,
        model,
        [name for name in losing_single_steps(options, modalities) if name not in found],
        sequences={name: sequences[name] for name in modalities},
    )
    return found, [sentence for name, sentence in said.items() if name not in found]


def check_absence_in_training(config: ExperimentConfig, store: Store) -> None:
    """Refuse an experiment with a model that training would have to take steps from and cannot.

    Args:
        config: The experiment.
        store: Its data.

    Raises:
        ConfigError: As `texts_for_training`.
        MissingPackageError: Likewise.
    """
    if not set(config.data.modalities or ()) <= set(store.modalities):
        return  # refused where samples are read
    for label, model in config.models.items():
        if steps_together(model):
            texts_for_training(store, resolved(config.only(label, config.seeds[0]), store))


def check_absence_in_sweep(
    runs: Mapping[str, Sequence[RunFolder]],
    rates: Sequence[float],
    factors: Mapping[str, float],
    texts: Collection[str],
) -> None:
    """Refuse a sweep by steps over a run whose model cannot lose any.

    Args:
        runs: Label → runs.
        rates: Of absence.
        factors: Modality → what its rate is multiplied by.
        texts: Modalities that keep their number of steps, since their words are encoded anew.

    Raises:
        ConfigError: Naming the first such model.
    """
    for label, folders in runs.items():
        for folder in folders:
            [model], modalities = config_of(folder).models.values(), folder.summary().data.modalities
            # At the rate 1 nothing is left that would have to go together.
            losing = [
                name
                for name in modalities
                if name not in texts and any(0 < rate * factors.get(name, 1.0) < 1 for rate in rates)
            ]
            sequences = {name: one.sequence for name, one in modalities.items()}
            check_single_steps(label, model, losing, sequences=sequences)


def losing_steps(options: FitOptions, modalities: Sequence[str]) -> list[str]:
    """Return the modalities of which training or the choice of the epoch takes steps away.

    Args:
        options: How a model is trained.
        modalities: Those of the data.

    Examples:
        >>> losing_steps(FitOptions(absent_protocol="steps", absent_rate={"audio": 0.5}), ["text", "audio"])
        ['audio']
    """
    if options.absent_protocol != "steps":
        return []
    rates = options.absent_rates(modalities)
    return [name for name in modalities if rates[name] or any(options.selection_rates)]


def losing_single_steps(options: FitOptions, modalities: Sequence[str]) -> list[str]:
    """Return the modalities of which some steps may go and others stay: all of them go at a rate of 1.

    Args:
        options: How a model is trained.
        modalities: Those of the data.

    Examples:
        >>> losing_single_steps(FitOptions(absent_protocol="steps", selection_rates=(0.0, 1.0)), ["text"])
        []
    """
    below = tuple(rate for rate in options.selection_rates if rate < 1)
    return losing_steps(replace(options, selection_rates=below), modalities)
