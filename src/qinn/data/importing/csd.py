"""Computational sequences of the CMU-MultimodalSDK: HDF5 files (.csd) with timed features per video.

The source is the sequence of labels: each of its intervals is a sample, and the steps of other sequences that
lie in it are the sample's. On request these are first put on the intervals of words: see
`qinn.data.files.intervals`. A step happens in the middle of its interval, and no earlier or later than its segment.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from qinn.data.files.intervals import COLLAPSES, Timed, collapsed, overlapping
from qinn.data.files.sequence_files import SequenceFile
from qinn.data.importing.folds import read_folds
from qinn.data.importing.intake import Intake, Progress, naming
from qinn.data.importing.labels import TaskOptions, read_labels
from qinn.data.importing.steps import StepCleaner
from qinn.data.importing.transcripts import (
    EncoderOrLearner,
    TextOptions,
    check_learned,
    encode_texts,
    learned,
    spans_of_texts,
)
from qinn.data.importing.word_times import times_of_steps
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import ConfigError, DataError

__all__ = ["CsdOptions", "import_csd"]


@dataclass(frozen=True)
class CsdOptions:
    """How computational sequences are to be read.

    Attributes:
        features: Modality → .csd file of its features.
        task: What the labels mean.
        label_column: Which column of the labels to take, from 0.
        splits: Which video is in which split; see `qinn.data.importing.folds.read_folds`. None if there is no
            official split.
        unlisted: Videos that the splits do not name: ``"refuse"`` or ``"drop"``.
        words: .csd file of timed words, which become the transcripts.
        pauses: What the words' file writes for silence; it is no word.
        align_to: ``"words"`` or a modality: put all modalities on its intervals, one step each. Empty: every
            modality keeps its own steps.
        collapse: What becomes of several steps in one interval: their ``"mean"``, their mean ``"weighted"`` by
            the time that they share with it, or their ``"max"``.
        gaps: Intervals without a step of a modality: ``"zero"`` (as the SDK's impute does) or ``"absent"``
            (the modality has fewer steps then).
        assign: Which steps belong to a segment: those whose ``"midpoint"`` it contains, or, as in the SDK,
            those that ``"overlap"`` with it, so that a step on a border belongs to two.
        text: How words become features, when an encoder is given.
        nan: What to do about NaN and infinite values; with ``"drop-step"`` they go before steps are collapsed.
        empty: What to do about samples without a step in any modality: ``"refuse"`` or ``"drop"``.

    Raises:
        ConfigError: If the options contradict each other.
    """

    features: Mapping[str, str | Path] = field(default_factory=dict)
    task: TaskOptions = field(default_factory=lambda: TaskOptions(scale="mosi"))
    label_column: int = 0
    splits: str | Path | None = None
    unlisted: str = "refuse"
    words: str | Path | None = None
    pauses: tuple[str, ...] = ("sp",)
    align_to: str = ""
    collapse: str = "mean"
    gaps: str = "zero"
    assign: str = "midpoint"
    text: TextOptions = field(default_factory=lambda: TextOptions(unit="words"))
    nan: str = "refuse"
    empty: str = "refuse"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("unlisted", self.unlisted, ("refuse", "drop")),
            ("collapse", self.collapse, tuple(COLLAPSES)),
            ("gaps", self.gaps, ("zero", "absent")),
            ("assign", self.assign, ("midpoint", "overlap")),
        ):
            if value not in known:
                raise ConfigError(f"Option `{name}` must be {' or '.join(known)}, but it is `{value}`.")
        if self.align_to not in ("", "words", *self.features):
            raise ConfigError(
                f"Option `align_to` must be words or one of the features ({', '.join(self.features) or 'none'}), "
                f"but it is `{self.align_to}`."
            )
        if self.align_to == "words" and self.words is None:
            raise ConfigError(
                "Option `align_to` is words, so option `words` must name the file of timed words."
            )


def import_csd(
    source: Path | str,
    target: Path | str,
    options: CsdOptions,
    *,
    encoder: EncoderOrLearner | None = None,
    progress: Progress | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Store:
    """Import labels and features of computational sequences into a store, video by video.

    Samples are called ``video[0]``, ``video[1]`` … and grouped by video.

    Args:
        source: The .csd file of the labels.
        target: Folder of the store to be.
        options: Where the features are; see `CsdOptions`.
        encoder: Makes the modality ``text`` of the words.
        progress: Told how many samples are done.
        name: Name of the data set; by default the target's.
        overwrite: Replace an existing store.

    Raises:
        DataError: If files are damaged or don't fit each other; also if no feature falls into a segment.
        ConfigError: If no feature is named, or there are no words to encode.
    """
    source, target = Path(source), Path(target)
    if not options.features and encoder is None:
        raise ConfigError(
            "Labels alone make no store: name at least one feature file, as in audio=COVAREP.csd."
        )
    if encoder is not None and (options.words is None or options.text.modality in options.features):
        raise ConfigError(
            "A text encoder needs the timed words (option `words`) and no other feature called "
            f"`{options.text.modality}`."
        )
    splits = {} if options.splits is None else read_folds(options.splits)
    with ExitStack() as files:
        segments = files.enter_context(SequenceFile(source))
        opened = {
            key: files.enter_context(SequenceFile(Path(path))) for key, path in options.features.items()
        }
        spoken = (
            None
            if options.words is None
            else files.enter_context(SequenceFile(Path(options.words), words=True))
        )
        videos, left_out = _listed(segments, splits, options, source)
        timed = {video: segments.read(video) for video in videos}
        ids = [id for video in videos for id in segments.names(video)]
        scores = _scores(timed, options, source)
        labels = read_labels(
            scores,
            len(ids),
            options.task,
            place=lambda row: f"`{source}` sample `{ids[row]}`",
            what="`features`",
        )
        modalities = {key: Modality(file.dim, "sequence", file.path.name) for key, file in opened.items()}
        encoder = check_learned(encoder, "csd")
        if encoder is not None:
            encoder, text, _ = learned(encoder, [], [], options.text)
            options = replace(options, text=text)
            modalities = {options.text.modality: options.text.described(encoder), **modalities}
        cutter = _Cutter(opened, spoken, options)
        with (
            naming(source),
            StoreWriter(
                target,
                name=name or target.name,
                task=labels.task,
                modalities=modalities,
                layout="csd",
                sources=[
                    source,
                    *(file.path for file in opened.values()),
                    *([spoken.path] if spoken else []),
                ],
                notes=[*_notes(options), *left_out, *labels.notes],
                overwrite=overwrite,
            ) as writer,
        ):
            intake = Intake(writer, total=len(labels.kept), empty=options.empty, progress=progress)
            by_video = list(timed.items())
            for chunk in labels.chunks((len(segment.times) for segment in timed.values()), at_once=None):
                video, segment = by_video[chunk.part]
                names = [ids[chunk.first + row] for row in chunk.rows]
                limits = segment.times[chunk.rows]
                features, times, said = cutter.cut(video, limits, names)
                words, spans = [[str(word) for word in one] for one, _ in said], None
                if encoder is not None:
                    text = options.text.modality
                    features[text] = list(encode_texts(encoder, words, options.text))
                    spans = spans_of_texts(encoder, words, options.text)
                    if spans is not None:
                        each = zip(spans, words, said, strict=True)
                        times[text] = [times_of_steps(span, one, moments) for span, one, (_, moments) in each]
                intake.add(
                    names,
                    features,
                    splits=[splits.get(video, "")] * len(names),
                    labels=chunk.values,
                    groups=[video] * len(names),
                    texts=[" ".join(one) for one in words],
                    extra={
                        "start": limits[:, 0].astype(float).tolist(),
                        "end": limits[:, 1].astype(float).tolist(),
                    },
                    spans=None if spans is None else {options.text.modality: spans},
                    times=times,
                )
            intake.finish(cutter.notes())
    return Store.open(target)


class _Cutter:
    """Cuts the sequences of a video into segments, on the intervals of words where that is asked for."""

    def __init__(
        self, opened: Mapping[str, SequenceFile], spoken: SequenceFile | None, options: CsdOptions
    ) -> None:
        self._opened = opened
        self._spoken = spoken
        self._options = options
        self._cleaners = {
            name: StepCleaner(name, str(options.features[name]), options.nan) for name in opened
        }
        self._gaps = dict.fromkeys(opened, 0)
        self._not_finite = dict.fromkeys(opened, 0)
        self._out_of_order: dict[str, int] = {}

    def cut(
        self, video: str, segments: np.ndarray, names: list[str]
    ) -> tuple[
        dict[str, list[np.ndarray | None]],
        dict[str, list[np.ndarray | None]],
        list[tuple[np.ndarray, np.ndarray]],
    ]:
        """Return the features of each segment by modality, their times, and its words with theirs."""
        options = self._options
        words = self._read(self._spoken, video, "words") if self._spoken is not None else None
        if words is not None:
            heard = [str(word).strip() not in options.pauses for word in words.values]
            words = words.only(np.array(heard, bool))
        sequences = {name: self._read(file, video, name) for name, file in self._opened.items()}
        if options.align_to:
            reference = words if options.align_to == "words" else sequences[options.align_to]
            sequences = {name: self._on(reference, sequence, name) for name, sequence in sequences.items()}
        features: dict[str, list[np.ndarray | None]] = {}
        times: dict[str, list[np.ndarray | None]] = {}
        for name, sequence in sequences.items():
            cleaned = [
                (None, None) if part is None else self._cleaners[name].clean_timed(*part, names[row])
                for row, part in enumerate(self._parts(sequence, segments))
            ]
            features[name], times[name] = [one for one, _ in cleaned], [moments for _, moments in cleaned]
        nothing = (np.zeros(0, object), np.zeros(0))
        return features, times, [nothing if part is None else part for part in self._parts(words, segments)]

    def _read(self, file: SequenceFile, video: str, name: str) -> Timed | None:
        """Read a sequence, in the order of the middles of its intervals."""
        if video not in file:
            return None
        sequence = file.read(video)
        middles = _middles(sequence.times)
        if (middles[1:] >= middles[:-1]).all():
            return sequence
        self._out_of_order[name] = self._out_of_order.get(name, 0) + 1
        order = np.argsort(middles, kind="stable")
        return Timed(sequence.values[order], sequence.times[order], sequence.found[order])

    def _on(self, reference: Timed | None, sequence: Timed | None, name: str) -> Timed | None:
        """Put a sequence on the intervals of the reference."""
        if reference is None or sequence is None or name == self._options.align_to:
            return sequence if reference is not None else None
        if self._options.nan == "drop-step":
            finite = np.asarray(np.isfinite(sequence.values).all(axis=1))
            self._not_finite[name] += int((~finite).sum())
            sequence = sequence.only(finite)
        aligned, found = collapsed(sequence, reference.times, self._options.collapse)
        self._gaps[name] += int((~found).sum())
        kept = Timed(aligned, reference.times, found)
        return kept if self._options.gaps == "zero" else kept.only(found)

    def _parts(
        self, sequence: Timed | None, segments: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
        """Cut out the steps of each segment, with their times; None where there are none."""
        for segment in segments:
            if sequence is None:
                yield None
                continue
            inside = (
                overlapping(sequence.times, segment)
                if self._options.assign == "overlap"
                else _midpoint_in(sequence.times, segment)
            )
            # Zeros that stand for nothing but gaps are no features: then the modality is absent.
            if not sequence.found[inside].any():
                yield None
                continue
            # A step that reaches beyond its segment happens within it.
            middles = np.clip(_middles(sequence.times[inside]), *segment.astype(np.float64))
            yield sequence.values[inside], np.maximum(middles - float(segment[0]), 0.0)

    def notes(self) -> list[str]:
        """Say what was done, for the manifest."""
        filled = "hold zeros" if self._options.gaps == "zero" else "were left out"
        return [
            *(
                f"{count} intervals without a step of `{name}` {filled}"
                for name, count in self._gaps.items()
                if count
            ),
            *(
                f"{count} steps of `{name}` with NaN or infinite values were dropped before alignment"
                for name, count in self._not_finite.items()
                if count
            ),
            *(
                f"{count} videos had steps of `{name}` out of order, which were put in the order of time"
                for name, count in self._out_of_order.items()
            ),
            *(note for cleaner in self._cleaners.values() for note in cleaner.notes()),
        ]


def _middles(times: np.ndarray) -> np.ndarray:
    return times.astype(np.float64).mean(axis=1)


def _midpoint_in(times: np.ndarray, segment: np.ndarray) -> np.ndarray:
    middle = times.mean(axis=1)
    return (middle >= segment[0]) & (middle < segment[1])


def _listed(
    segments: SequenceFile, splits: Mapping[str, str], options: CsdOptions, source: Path
) -> tuple[list[str], list[str]]:
    """Return the videos to take, and what is to be noted about others."""
    unlisted = [video for video in segments.videos if splits and video not in splits]
    if unlisted and options.unlisted == "refuse":
        raise DataError(
            f"`{options.splits}` has no split for the video `{unlisted[0]}` of `{source}`; name it, or import with "
            "unlisted = drop."
        )
    left_out = set(unlisted)
    notes = [f"{len(unlisted)} videos that the splits do not name were left out"] if unlisted else []
    return [video for video in segments.videos if video not in left_out], notes


def _scores(timed: Mapping[str, Timed], options: CsdOptions, source: Path) -> list[np.generic]:
    column = options.label_column
    for video, segment in timed.items():
        if not 0 <= column < segment.values.shape[1]:
            raise ConfigError(
                f"`{source}` video `{video}` has {segment.values.shape[1]} columns of labels, numbered from 0; there "
                f"is no {column}."
            )
    return [row[column] for segment in timed.values() for row in segment.values]


def _notes(options: CsdOptions) -> list[str]:
    which = "whose midpoint it contains" if options.assign == "midpoint" else "that overlap with it"
    notes = [f"a segment's steps are those {which}", "a step happens in the middle of its interval"]
    if options.align_to:
        how = {"mean": "mean", "weighted": "mean weighted by shared time", "max": "maximum"}[options.collapse]
        notes.insert(
            0, f"modalities are aligned to `{options.align_to}`: of several steps in one interval, the {how}"
        )
    return notes
