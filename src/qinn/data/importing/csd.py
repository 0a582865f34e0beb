"""Computational sequences of the CMU-MultimodalSDK: HDF5 files (.csd) with timed features per video.

The source is the sequence of labels: each of its intervals is a sample, and the steps of other sequences that
lie in it are the sample's. On request these are first put on the intervals of words: see
`qinn.data.files.step_alignment`. A step happens in the middle of its interval, and no earlier or later than its
segment.

Where nothing is labelled, the source is any sequence whose intervals are the samples; or one of the features or the
words themselves, every entry of which is then one sample, from its first moment to its last.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.numerals import counted
from qinn.data.files.sequence_files import SequenceFile
from qinn.data.files.step_alignment import COLLAPSES, Timed, collapsed, overlapping
from qinn.data.importing.feature_specs import is_there
from qinn.data.importing.folds import STANDARD_FOLDS, read_folds
from qinn.data.importing.label_arrays import chosen_labels
from qinn.data.importing.labels import TaskOptions
from qinn.data.importing.reader import Feature, ImportOptions, Layout, Reader, Samples, Steps
from qinn.data.importing.transcripts import EncoderOrLearner, TextOptions
from qinn.data.stores.manifest import Modality
from qinn.errors import ConfigError, DataError
from qinn.stated_options import nested, option

__all__ = ["CSD", "CsdOptions"]


@dataclass(frozen=True, kw_only=True)
class CsdOptions(ImportOptions):
    """How computational sequences are to be read.

    Raises:
        ConfigError: If the options contradict each other.
    """

    features: Mapping[str, str | Path] = option(
        {}, "A modality and its file; repeat", name="feature", metavar="NAME=FILE.csd"
    )
    words: str | Path | None = option(
        None,
        "Timed words: the transcripts, and what `--encode-text` encodes (one vector per word)",
        metavar="FILE.csd",
    )
    pauses: tuple[str, ...] = option(
        ("sp",),
        "What stands for silence among the words; repeat; `sp` by default",
        name="pause",
        metavar="WORD",
    )
    align_to: str = option(
        "",
        "Put everything on the intervals of the words or of a modality, one step each; by default every modality keeps "
        "its own steps",
        metavar="words|NAME",
    )
    collapse: str = option(
        "mean",
        "Of several steps in one interval: their mean (as in the SDK's examples), their mean weighted by the time they "
        "share with it, or the maximum",
        choices=tuple(COLLAPSES),
    )
    gaps: str = option(
        "zero",
        "Intervals without a step of a modality: zeros (the SDK's `impute`), or no step; a modality without any step "
        "in a segment is absent there",
        choices=("zero", "absent"),
    )
    assign: str = option(
        "midpoint",
        "A segment's steps: those whose midpoint it contains, or those that overlap with it (the SDK's rule, by which "
        "a word on a border belongs to two segments)",
        choices=("midpoint", "overlap"),
    )
    splits: str | Path | None = option(
        None,
        "The standard folds of MOSI (52, 10 and 31 videos); a table with the columns `video` and `split`; a `.json` of "
        '`{"train": [video, …], …}`; or a `.py` of lists, which is read and never run',
        metavar="mosi|FILE",
    )
    unlisted: str = option(
        "refuse",
        "Videos that the splits do not name: refuse the file, or leave them out",
        choices=("refuse", "drop"),
    )
    label_column: int | None = option(
        0,
        "Which column of the labels, from 0: sentiment is the first of MOSEI's seven",
        bounds=(0, 2**20),
        metavar="K",
        off=(
            "no_labels",
            "The samples are unlabelled: the source says by its intervals alone what they are, or is one of the "
            "features, each of whose entries is a sample then",
        ),
    )
    text: TextOptions = nested(lambda: TextOptions(unit="words"), without=("unit",))
    task: TaskOptions = nested(lambda: TaskOptions(scale="mosi"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.align_to not in ("", "words", *self.features):
            raise ConfigError(
                f"Option `align_to` must be words or one of the features ({', '.join(self.features) or 'none'}), "
                f"but it is `{self.align_to}`."
            )
        if self.align_to == "words" and self.words is None:
            raise ConfigError(
                "Option `align_to` is words, so option `words` must name the file of timed words."
            )

    def elsewhere(self, place: Callable[[str], str]) -> "CsdOptions":
        """Return these options with other places of features, words and splits."""
        known = self.splits is None or str(self.splits) in STANDARD_FOLDS
        return replace(
            self,
            features={name: place(str(file)) for name, file in self.features.items()},
            words=None if self.words is None else place(str(self.words)),
            splits=self.splits if known else place(str(self.splits)),
        )

    def for_new(self, source: Path, needed: Collection[str]) -> "CsdOptions":
        """Return the options for new samples: words and features are asked for where they are there."""
        found = self.elsewhere(lambda file: str(source.parent / file))
        files = {name: str(file) for name, file in found.features.items()}
        worded = found.words is not None and (self.text.modality in needed or is_there(str(found.words)))
        return replace(
            found,
            extractors={},
            reads_labels=False,
            features={name: file for name, file in files.items() if name in needed or is_there(file)},
            words=found.words if worded else None,
            label_column=None,
            splits=None,
            unlisted="refuse",
        )


class _Reader(Reader):
    """Segments of videos, called ``video[0]``, ``video[1]`` … and grouped by video."""

    at_once = None

    def __init__(self, source: Path, options: CsdOptions, encoder: EncoderOrLearner | None) -> None:
        if not options.features and encoder is None:
            raise ConfigError(
                "Labels alone make no store: name at least one feature file, as in audio=COVAREP.csd."
            )
        if encoder is not None and (options.words is None or options.text.modality in options.features):
            raise ConfigError(
                "A text encoder needs the timed words (option `words`) and no other feature called "
                f"`{options.text.modality}`."
            )
        self.source, self.task = source, options.task
        self.text = None if encoder is None else options.text
        splits = {} if options.splits is None else read_folds(options.splits)
        with ExitStack() as files:
            opened = {
                key: files.enter_context(SequenceFile(Path(path))) for key, path in options.features.items()
            }
            spoken = (
                None
                if options.words is None
                else files.enter_context(SequenceFile(Path(options.words), words=True))
            )
            own = (*opened.values(), *([spoken] if spoken else []))
            segments = next((one for one in own if options.label_column is None and one.reads(source)), None)
            whole = segments is not None
            segments = segments or files.enter_context(
                SequenceFile(source, only_times=options.label_column is None)
            )
            videos, left_out = _listed(segments, splits, options, source)
            timed = {video: segments.whole(video, own) if whole else segments.read(video) for video in videos}
            names = {video: segments.names(video, whole=whole) for video in videos}
            # All words, which is quick beside encoding them: a damaged one is found before that.
            said = [] if spoken is None else _of_words(spoken, timed, names, options)
            listed = [note for file in own for note in _of_videos(file, videos, segments)]
            self._opened = files.pop_all()
        ids = [name for video in videos for name in names[video]]
        self._timed = list(timed.items())
        self._files = [source, *(file.path for file in opened.values()), *([spoken.path] if spoken else [])]
        self._cutter = _Cutter(opened, spoken, options)
        self.sizes = [len(segment.times) for segment in timed.values()]
        of = [video for video, segment in self._timed for _ in range(len(segment.times))]
        limits = np.concatenate([np.zeros((0, 2)), *(segment.times for segment in timed.values())])
        self.samples = Samples(
            ids,
            [splits.get(video, "") for video in of],
            None if options.label_column is None else _scores(timed, options, options.label_column, source),
            lambda row: f"`{source}` sample `{ids[row]}`",
            "`features`",
            groups=of,
            label_name=", ".join(options.task.labels) or f"features[:, {options.label_column}]",
            extra={"start": limits[:, 0].tolist(), "end": limits[:, 1].tolist()},
        )
        encoded = {} if encoder is None else {options.text.modality: None}
        self.features = {
            **encoded,
            **{
                key: Feature(Modality(file.dim, "sequence", file.path.name), str(options.features[key]))
                for key, file in opened.items()
            },
        }
        self.notes = [*_notes(options), *left_out, *listed, *said]
        if whole:
            self.notes.append(
                f"the samples are the entries of `{source.name}`, each from its first moment to its last"
            )

    def read(self, part: int, rows: Sequence[int]) -> Steps:
        video, segment = self._timed[part]
        return self._cutter.cut(video, segment.times[rows])

    def sources(self) -> list[Path]:
        return self._files

    def closing_notes(self) -> list[str]:
        return self._cutter.notes()

    def close(self) -> None:
        self._opened.close()


class _Cutter:
    """Cuts the sequences of a video into segments, on the intervals of words where that is asked for."""

    def __init__(
        self, opened: Mapping[str, SequenceFile], spoken: SequenceFile | None, options: CsdOptions
    ) -> None:
        self._opened = opened
        self._spoken = spoken
        self._options = options
        self._gaps = dict.fromkeys(opened, 0)
        self._not_finite = dict.fromkeys(opened, 0)
        self._out_of_order: dict[str, int] = {}

    def cut(self, video: str, segments: np.ndarray) -> Steps:
        """Return the features of each segment by modality, their times, and its words with theirs."""
        options = self._options
        words = self._read(self._spoken, video, "words") if self._spoken is not None else None
        if words is not None:
            words = words.only(_are_heard(words, options))
        sequences = {name: self._read(file, video, name) for name, file in self._opened.items()}
        if options.align_to:
            reference = words if options.align_to == "words" else sequences[options.align_to]
            sequences = {name: self._on(reference, sequence, name) for name, sequence in sequences.items()}
        cut = {
            name: [(None, None) if part is None else part for part in self._parts(sequence, segments)]
            for name, sequence in sequences.items()
        }
        nothing = (np.zeros(0, object), np.zeros(0))
        said = [nothing if part is None else part for part in self._parts(words, segments)]
        return Steps(
            {name: [values for values, _ in parts] for name, parts in cut.items()},
            {name: [moments for _, moments in parts] for name, parts in cut.items()},
            texts=[[str(word) for word in one] for one, _ in said],
            spoken=[moments for _, moments in said],
        )

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
            inside = _inside(sequence.times, segment, self._options)
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
        ]


def _of_videos(file: SequenceFile, videos: Sequence[str], segments: SequenceFile) -> Iterator[str]:
    """Note the videos that a file lacks, and those that belong to no segment."""
    name = file.path.name
    lacking = [video for video in videos if video not in file]
    if lacking:
        yield f"`{name}` lacks {len(lacking)} of {counted(len(videos), 'video')}, as `{lacking[0][:60]}`"
    beside = [video for video in file.videos if video not in segments]
    if beside:
        yield (
            f"{len(beside)} of {counted(len(file.videos), 'video')} of `{name}` without a segment left out, as "
            f"`{beside[0][:60]}`"
        )


def _of_words(
    spoken: SequenceFile, timed: Mapping[str, Timed], names: Mapping[str, Sequence[str]], options: CsdOptions
) -> list[str]:
    """Read all words, and note what of them is not taken.

    Raises:
        DataError: If they are damaged in a video.
    """
    pauses = total = outside = several = 0
    silent: list[str] = []
    for video, segments in timed.items():
        if video not in spoken:
            silent += names[video]
            continue
        words = spoken.read(video)
        heard = _are_heard(words, options)
        times = words.times[heard]
        inside = np.array([_inside(times, segment, options) for segment in segments.times]).reshape(
            -1, len(times)
        )
        pauses += int((~heard).sum())
        total += len(times)
        outside += int((~inside.any(axis=0)).sum())
        several += int((inside.sum(axis=0) > 1).sum())
        silent += [name for name, own in zip(names[video], inside, strict=True) if not own.any()]
    file, notes = spoken.path.name, []
    if pauses:
        notes.append(
            f"{pauses} of the words of `{file}` are pauses ({', '.join(options.pauses)}) and were left out"
        )
    if outside:
        shifted = ", as where times count from another moment" if 2 * outside > total else ""
        notes.append(f"{outside} of {total} words of `{file}` lie in no segment and were left out{shifted}")
    if several:
        notes.append(
            f"{several} of {total} words of `{file}` lie in more than one segment and were taken in each"
        )
    if silent:
        number = sum(map(len, names.values()))
        notes.append(f"{len(silent)} of {number} segments without a word, as `{silent[0][:60]}`")
    return notes


def _are_heard(words: Timed, options: CsdOptions) -> np.ndarray:
    return np.array([str(word).strip() not in options.pauses for word in words.values], bool)


def _inside(times: np.ndarray, segment: np.ndarray, options: CsdOptions) -> np.ndarray:
    return overlapping(times, segment) if options.assign == "overlap" else _midpoint_in(times, segment)


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


def _scores(timed: Mapping[str, Timed], options: CsdOptions, column: int, source: Path) -> list[Any]:
    if options.task.kind == "multilabel":
        options.task.refuse_single("label_column", given=column != 0)
        return [
            row
            for video, segment in timed.items()
            for row in chosen_labels(segment.values, options.task, None, f"`{source}` video `{video}`")
        ]
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


CSD = Layout(
    "csd",
    "computational sequences of the CMU-MultimodalSDK",
    "Computational sequences of the CMU-MultimodalSDK: labels, and features put together by time.",
    CsdOptions,
    _Reader,
    lambda candidate: candidate.suffix == ".csd",
)
