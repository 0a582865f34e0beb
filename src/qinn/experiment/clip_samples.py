"""A clip as a sample of a run, and what would be left of it without a word, a stretch of time or a modality.

Variants lie in memory and share what they have in common; each is cut out of it when a batch asks for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from qinn.data.importing.transcripts import (
    Encoder,
    TextOptions,
    encode_texts,
    spans_of_texts,
    times_of_steps,
)
from qinn.data.subsets.modality_columns import ModalityColumn, absent_column
from qinn.data.subsets.subset import Subset
from qinn.errors import ClipError
from qinn.experiment.predictor import Predictor
from qinn.features.clip_features import ClipFeatures
from qinn.features.speech import Word

__all__ = ["ClipSample", "Part", "Variant", "encoded_words", "sample_of", "variants_of"]


@dataclass(frozen=True)
class Part:
    """The steps of one modality of a clip.

    Attributes:
        values: One row per step.
        seconds: When each happens; None where the run knows no times of this modality.
        spans: Characters of the transcript that each stands for; None where that is not known.
    """

    values: Float32[np.ndarray, "step feature"]
    seconds: Float64[np.ndarray, " step"] | None = None
    spans: np.ndarray | None = None


@dataclass(frozen=True)
class Variant:
    """One change of a clip.

    Attributes:
        modality: Where.
        part: What stands there then; None where nothing does.
        begin: First step that is taken away, where `part` is not given anew.
        end: The one behind the last.
    """

    modality: str
    part: Part | None = None
    begin: int = 0
    end: int = 0


@dataclass(frozen=True)
class ClipSample:
    """A clip as its run sees it.

    Attributes:
        parts: Modality → its steps; those that are absent are not in it.
        text: The transcript, as spans mean it.
    """

    parts: Mapping[str, Part]
    text: str


def encoded_words(
    encoder: Encoder, options: TextOptions, sentences: Sequence[Sequence[Word]], *, timed: bool
) -> list[Part]:
    """Return the features of some transcripts, as an import makes them.

    Args:
        encoder: What makes them.
        options: In which unit.
        sentences: The words of each.
        timed: Whether the run knows when they are said.
    """
    texts = [[word.text for word in words] for words in sentences]
    found = encode_texts(encoder, texts, options)
    spans = spans_of_texts(encoder, texts, options)
    parts: list[Part] = []
    for place, (words, values) in enumerate(zip(sentences, found, strict=True)):
        own = None if spans is None else spans[place]
        seconds = None
        if timed and own is not None:
            middles = np.array([(word.begin + word.end) / 2 for word in words], dtype=np.float64)
            seconds = times_of_steps(own, texts[place], middles)
        parts.append(Part(np.ascontiguousarray(values, np.float32), seconds, own))
    return parts


def sample_of(
    features: ClipFeatures,
    text: Part | None,
    predictor: Predictor,
    text_name: str | None,
    name: str,
    *,
    absent: Sequence[str] = (),
) -> ClipSample:
    """Return a clip as its run sees it.

    Args:
        features: What was made of it.
        text: Features of its words; None where the run reads none, or none are said.
        predictor: The run's models.
        text_name: The modality of the words.
        name: What the clip is called in messages.
        absent: Modalities to do without.

    Raises:
        ClipError: If the clip has nothing that the run reads.
    """
    parts: dict[str, Part] = {}
    for modality, record in predictor.modalities.items():
        if modality in absent:
            continue
        if modality == text_name:
            if text is not None and len(text.values):
                parts[modality] = text
        elif modality in features.steps:
            steps = features.steps[modality]
            parts[modality] = Part(steps.values, steps.seconds if record.times else None)
    if not parts:
        looked = ", ".join(f"`{modality}`" for modality in predictor.modalities if modality not in absent)
        why = "; ".join(features.notes)
        raise ClipError(
            f"`{name}` has nothing that the run reads, which is {looked}: "
            f"{why or 'no word was heard and nothing was seen'}."
        )
    return ClipSample(parts, features.text)


def variants_of(sample: ClipSample, variants: Sequence[Variant], predictor: Predictor) -> Subset:
    """Return the clip, and behind it what each change makes of it, as the run's models take them.

    Args:
        sample: The clip.
        variants: The changes.
        predictor: The run's models.
    """
    size = 1 + len(variants)
    columns: dict[str, ModalityColumn] = {}
    for modality, record in predictor.modalities.items():
        given = sample.parts.get(modality)
        own: list[Variant | None] = [
            None if each is None or each.modality != modality else each for each in (None, *variants)
        ]
        column = None
        if given is not None:
            kept = [given if each is None else _left(given, each) for each in own]
            column = _column(kept)
        if column is None:
            width = record.dim // (2 if modality in predictor.pool else 1)
            column = absent_column(size, width)
        columns[modality] = column
    ids = ["clip", *(f"clip without {number}" for number in range(len(variants)))]
    subset = Subset(predictor.task, ids, [sample.text] * size, None, None, columns)
    return subset.pool(predictor.pool) if predictor.pool else subset


@dataclass(frozen=True)
class _Kept:
    """Steps of which a run in the middle is left out."""

    part: Part
    begin: int
    end: int

    def __len__(self) -> int:
        return len(self.part.values) - (self.end - self.begin)

    def of(self, array: np.ndarray) -> np.ndarray:
        return np.concatenate([array[: self.begin], array[self.end :]])


def _left(given: Part, variant: Variant) -> Part | _Kept:
    if variant.part is not None:
        return variant.part
    end = variant.end or len(given.values)
    return _Kept(given, variant.begin, end)


def _column(rows: Sequence[Part | _Kept]) -> ModalityColumn:
    """Return some rows as a modality of a subset."""
    whole = [row if isinstance(row, _Kept) else _Kept(row, 0, 0) for row in rows]
    lengths = np.array([len(row) for row in whole], dtype=np.int64)
    first = whole[0].part
    dim = first.values.shape[1]

    def padded(positions: np.ndarray) -> np.ndarray:
        values = np.zeros((len(positions), max(1, int(lengths[positions].max())), dim), dtype=np.float32)
        for place, row in enumerate(positions.tolist()):
            values[place, : lengths[row]] = whole[row].of(whole[row].part.values)
        return values

    def steps(positions: np.ndarray) -> np.ndarray:
        return np.concatenate([whole[row].of(whole[row].part.values) for row in positions.tolist()])

    def times(positions: np.ndarray) -> np.ndarray:
        seconds = np.zeros((len(positions), max(1, int(lengths[positions].max()))))
        for place, row in enumerate(positions.tolist()):
            known = whole[row].part.seconds
            assert known is not None  # of one modality all or none have times
            seconds[place, : lengths[row]] = whole[row].of(known)
        return seconds

    def spans(position: int) -> np.ndarray:
        known = whole[position].part.spans
        assert known is not None  # else this is not used
        return whole[position].of(known)

    return ModalityColumn(
        dim,
        lengths,
        padded,
        steps,
        None if first.seconds is None else times,
        None if first.spans is None else spans,
    )
