"""Why a run says what it says of a clip: what changes without a word, a stretch of time or a modality; its states."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from qinn.data.importing.transcripts import Encoder, TextOptions
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.subset import Subset
from qinn.experiment.clip_samples import ClipSample, Variant, encoded_words, variants_of
from qinn.experiment.prediction import predicted_folds
from qinn.experiment.predictor import Predictor, mean_prediction
from qinn.experiment.steps import follows_stream
from qinn.explain.entanglement import cut_names, pair_names, pairwise_correlations, trajectory_entropies
from qinn.explain.steps import explain_steps
from qinn.features.clip_features import ClipFeatures
from qinn.features.speech import Word
from qinn.features.text import TransformerEncoder
from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.quantum import expected_jumps, maximum_entropies
from qinn.results.clip_score import Correlation, Memory, ModalityEffect, SpanEffect, SpokenWord, Strip
from qinn.results.reference import ReferenceRecord, percentile

__all__ = ["Reader", "Reasons", "reasons_of"]

_MOST_SPANS = 120
"""Stretches of time of one modality: they are seconds in clips of up to two minutes, and longer in longer ones."""

_MOST_STEPS = 1_500_000
"""Steps of all variants of a clip that the models may be shown to learn what stretches of time do."""

_MOST_TOKENS = 6_000
"""Tokens that a transformer may be shown to learn what words do: each word alone where some seventy are said."""

_FEWEST_GROUPS, _MOST_GROUPS = 16, 400
_MOST_MEMORY_STEPS = 3000
_NUM_TRAJECTORIES = 32
_BATCH_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Reader:
    """What a run reads words with.

    Attributes:
        modality: What their features are called.
        load: Loads what makes them.
        options: In which unit.
        timed: Whether the run knows when words are said.
    """

    modality: str
    load: Callable[[], Encoder]
    options: TextOptions
    timed: bool

    @property
    def encoder(self) -> Encoder:
        """What makes them."""
        return self.load()


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Why a run says what it says of a clip; see `qinn.results.clip_score.ClipScore`."""

    words: tuple[SpokenWord, ...]
    modalities: tuple[ModalityEffect, ...]
    strips: tuple[Strip, ...]
    correlations: tuple[Correlation, ...]
    jumps: float | None
    notes: tuple[str, ...]


def reasons_of(
    sample: ClipSample,
    features: ClipFeatures,
    predictors: Sequence[Predictor],
    value: Callable[[np.ndarray], np.ndarray],
    *,
    reader: Reader | None,
    absent: Sequence[str],
    references: Sequence[ReferenceRecord | None],
) -> Reasons:
    """Return what words, stretches of time and modalities do, and how far the model's state is correlated.

    Args:
        sample: The clip, as the run sees it.
        features: What was made of it.
        predictors: The models of each seed.
        value: What is explained, of outputs (sample, output).
        reader: What words are read with; None of runs without text.
        absent: Modalities that are done without.
        references: What the samples of each seed's run were like.
    """
    predictor = predictors[0]
    alone = len(sample.parts) == 1
    groups, word_variants = _without_words(sample, features.words, reader, alone=alone)
    width, spans = _stretches(sample, features, reader)
    parts = [] if alone else [Variant(name) for name in sample.parts]
    cut = [
        Variant(name, begin=begin, end=end)
        for name, pieces in spans.items()
        for _, _, begin, end in pieces
        if end > begin and not (alone and end - begin == len(sample.parts[name].values))
    ]
    whole = np.zeros(1)
    effects: dict[tuple[str, int, int], float] = {}
    for variants in (parts, word_variants, cut):
        if not variants:
            continue
        outputs = _outputs(variants_of(sample, variants, predictor), predictors)
        found = value(outputs)
        whole = found[:1]
        differences = found[0] - found[1:]
        keys = (
            [("words", place, 0) for place in range(len(variants))]
            if variants is word_variants
            else [(each.modality, each.begin, each.end) for each in variants]
        )
        effects |= dict(zip(keys, differences.tolist(), strict=True))
    base = variants_of(sample, [], predictor)
    memories, skipped = _memories(predictors, base, sample, features.words, reader)
    notes = []
    if groups and (together := len(groups[0])) > 1:
        notes.append(
            f"Words were left out {together} at a time, since each alone would take too long in so long a transcript."
        )
    if width > 1 and spans:
        notes.append(f"Stretches of time are {width:g} s long, since the clip is.")
    notes += skipped
    group_of = {place: number for number, group in enumerate(groups) for place in group}
    words = tuple(
        SpokenWord(
            text=word.text,
            begin=word.begin,
            end=word.end,
            probability=word.probability,
            effect=effects.get(("words", group_of[place], 0)) if place in group_of else None,
            group=group_of.get(place, place),
            memory=memories.get(place),
        )
        for place, word in enumerate(features.words)
    )
    strips = tuple(
        Strip(
            modality=name,
            spans=tuple(
                SpanEffect(
                    begin=start, end=stop, effect=effects.get((name, begin, end)) if end > begin else None
                )
                for start, stop, begin, end in pieces
            ),
        )
        for name, pieces in spans.items()
    )
    return Reasons(
        words=words,
        modalities=tuple(
            _of_modality(name, sample, predictor, effects, whole, alone=alone, absent=absent)
            for name in predictor.modalities
        ),
        strips=strips,
        correlations=_correlations(predictors, base, references),
        jumps=_jumps(predictors, base),
        notes=tuple(notes),
    )


def _outputs(subset: Subset, predictors: Sequence[Predictor]) -> Float64[np.ndarray, "sample output"]:
    """Return what is predicted: the mean over folds and seeds."""
    numbers = sum(int(subset.lengths(name)[0]) * dim for name, dim in subset.dims.items())
    size = min(64, max(1, _BATCH_NUMBERS // max(numbers, 1)))
    return mean_prediction(predicted_folds(predictors, subset, batch_size=size)).outputs.astype(np.float64)


def _without_words(
    sample: ClipSample, words: Sequence[Word], reader: Reader | None, *, alone: bool
) -> tuple[list[range], list[Variant]]:
    """Return which words are left out together, and the clip without each of these groups: its text encoded anew."""
    if reader is None or reader.modality not in sample.parts or (alone and len(words) == 1):
        return [], []
    most = _MOST_GROUPS
    if isinstance(reader.encoder, TransformerEncoder):
        [(_, tokens, _)] = reader.encoder.count_tokens([[word.text for word in words]])
        most = min(most, max(_FEWEST_GROUPS, _MOST_TOKENS // max(tokens, 1)))
    size = math.ceil(len(words) / most)
    groups = [range(start, min(start + size, len(words))) for start in range(0, len(words), size)]
    if alone and len(groups) == 1:
        return [], []
    left = [[word for place, word in enumerate(words) if place not in group] for group in groups]
    if isinstance(reader.encoder, TransformerEncoder):
        reader.encoder.alone = False
    try:
        parts = encoded_words(reader.encoder, reader.options, left, timed=reader.timed)
    finally:
        if isinstance(reader.encoder, TransformerEncoder):
            reader.encoder.alone = True
    return groups, [Variant(reader.modality, part) for part in parts]


def _stretches(
    sample: ClipSample, features: ClipFeatures, reader: Reader | None
) -> tuple[float, dict[str, list[tuple[float, float, int, int]]]]:
    """Return how long stretches of time are, and of each modality theirs: begin, end, first step, the one after."""
    names = [name for name in sample.parts if reader is None or name != reader.modality]
    if not names:
        return 1.0, {}
    steps = sum(len(part.values) for part in sample.parts.values())
    most = max(8, min(_MOST_SPANS, _MOST_STEPS // (steps * len(names))))
    duration = max(features.quality.seconds, *(float(features.steps[name].seconds[-1]) for name in names))
    width = float(math.ceil(duration / most))
    count = max(1, math.ceil(duration / width - 1e-9))
    found: dict[str, list[tuple[float, float, int, int]]] = {}
    for name in names:
        seconds = features.steps[name].seconds
        edges = np.searchsorted(seconds, width * np.arange(count + 1)).tolist()
        edges[0], edges[-1] = 0, len(seconds)
        found[name] = [
            (
                width * place,
                round(min(width * (place + 1), max(duration, width * place + 1e-3)), 3),
                edges[place],
                edges[place + 1],
            )
            for place in range(count)
        ]
    return width, found


def _of_modality(
    name: str,
    sample: ClipSample,
    predictor: Predictor,
    effects: Mapping[tuple[str, int, int], float],
    whole: np.ndarray,
    *,
    alone: bool,
    absent: Sequence[str],
) -> ModalityEffect:
    steps = len(sample.parts[name].values) if name in sample.parts else 0
    effect, reason = None, ""
    if name in absent:
        reason = "It was left out, as was asked."
    elif name in predictor.unseen:
        reason = "No training sample had it, so the model takes it for absent."
    elif not steps:
        reason = "The clip has none of it."
    elif alone and len(predictor.modalities) == 1:
        reason = "It is all that the model reads."
    elif alone:
        reason = "The clip has nothing else that the model reads."
    else:
        effect = effects[name, 0, 0]
    return ModalityEffect(
        modality=name,
        tier=predictor.modalities[name].tier,
        steps=steps,
        without=None if effect is None else float(whole[0]) - effect,
        effect=effect,
        reason=reason,
    )


def _models(predictors: Sequence[Predictor]) -> list[nn.Module]:
    return [model for predictor in predictors for _, model in sorted(predictor.models.items())]


@torch.no_grad()
def _correlations(
    predictors: Sequence[Predictor], base: Subset, references: Sequence[ReferenceRecord | None]
) -> tuple[Correlation, ...]:
    """Return entanglement of each cut and mutual information of each pair, means over the models."""
    models = [
        model
        for model in _models(predictors)
        if isinstance(model, QiNN) and not follows_stream(model) and len(model.encoders) > 1
    ]
    if not models:
        return ()
    batch = batch_of(base, [0])
    names = tuple(models[0].encoders)
    dims = list(models[0].fusion.dims.values())
    entropies = torch.stack(
        [trajectory_entropies(one, batch, num_trajectories=_NUM_TRAJECTORIES)[0].mean(0) for one in models]
    ).mean(0)
    information = torch.stack([pairwise_correlations(one, batch)[0][0] for one in models]).mean(0)
    halves = [2 * math.log2(min(first, second)) for at, first in enumerate(dims) for second in dims[at + 1 :]]
    found = [
        (
            "entanglement",
            "entropy",
            cut_names(names),
            entropies.tolist(),
            list(maximum_entropies(tuple(dims))),
        ),
        ("mutual_information", "mutual_information", pair_names(names), information.tolist(), halves),
    ]
    return tuple(
        _correlation(kind, f"{column}:{between}", between, bits, maximum, references)
        for kind, column, all_between, all_bits, maxima in found
        for between, bits, maximum in zip(all_between, all_bits, maxima, strict=True)
    )


def _correlation(
    kind: str,
    column: str,
    between: str,
    bits: float,
    maximum: float,
    references: Sequence[ReferenceRecord | None],
) -> Correlation:
    if not math.isfinite(bits):
        reason = (
            "The clip lacks a modality, so the state is mixed from the start and this is no entanglement."
        )
        return Correlation(kind=kind, between=between, maximum=maximum, reason=reason)
    others = [
        value
        for one in references
        if one is not None and one.correlations is not None
        for value in one.correlations.get(column, ())
    ]
    return Correlation(
        kind=kind,
        between=between,
        bits=max(bits, 0.0),
        maximum=maximum,
        percentile=percentile(round(max(bits, 0.0), 6), others) if others else None,
        reason="" if others else "The run keeps no values of its test samples to compare with.",
    )


@torch.no_grad()
def _jumps(predictors: Sequence[Predictor], base: Subset) -> float | None:
    batch, found = batch_of(base, [0]), []
    for model in _models(predictors):
        if not isinstance(model, QiNN) or not isinstance(model.fusion, QuantumFusion):
            return None
        dynamics = model.fusion.generators()
        if dynamics is None:
            return None
        state = model.fusion.initial_state(model.states(batch))
        found.append(float(expected_jumps(state, dynamics, time=model.fusion.time)[0]))
    return float(np.mean(found))


def _memories(
    predictors: Sequence[Predictor],
    base: Subset,
    sample: ClipSample,
    words: Sequence[Word],
    reader: Reader | None,
) -> tuple[dict[int, Memory], list[str]]:
    """Return what each word did to the memory of models that follow the stream, and what is to be said of it."""
    models = _models(predictors)
    if reader is None or reader.modality not in sample.parts or not all(map(follows_stream, models)):
        return {}, []
    steps = sum(len(part.values) for part in sample.parts.values())
    if steps > _MOST_MEMORY_STEPS:
        return {}, [
            f"What words do to the memory is left out: the clip has {steps} steps, which take too long."
        ]
    spans = sample.parts[reader.modality].spans
    if spans is None:
        return {}, []
    starts = np.cumsum([0, *(len(word.text) + 1 for word in words[:-1])])
    word_of = np.searchsorted(starts, spans[:, 0], side="right") - 1
    of_score = predictors[0].task.kind == "regression"
    contractions, rotations, changes = (np.zeros(len(words)) for _ in range(3))
    for model in models:
        found = explain_steps(model, base, None, num_records=0)
        if found is None:
            return {}, []
        largest = [np.zeros(len(words)), np.zeros(len(words))]
        for row, modality in enumerate(found.modality):
            if reader.modality not in modality.split("+") or found.step[row] >= len(word_of):
                continue
            place = word_of[found.step[row]]
            for kept, measured in zip(largest, (found.contraction, found.rotation), strict=True):
                kept[place] = max(kept[place], np.nan_to_num(measured[row]))
            changes[place] += found.change[row]
        contractions, rotations = contractions + largest[0], rotations + largest[1]
    size = len(models)
    return {
        place: Memory(
            contraction=float(contractions[place]) / size,
            rotation=float(rotations[place]) / size,
            change=float(changes[place]) / size if of_score else None,
        )
        for place in range(len(words))
    }, []
