"""The pickle layout of the MISA code: word-aligned lists of tuples, one file per split; and of MAG-BERT, in one file.

Each file is a list of ``((word_ids, vision, audio[, words]), label, segment)``; the arrays have one row per
word, the label is (1, 1) or (1, 7) with the sentiment first, and the segment is like ``video[3]``. New samples have
None in place of the label, or no label: ``((word_ids, vision, audio[, words]), segment)``.

The code of MAG-BERT (BERT_multimodal_transformer, ``mosi.pkl``, ``mosei.pkl``) has all splits in one file, ``{"train",
"dev", "test"}``, and the words in place of their ids: ``((words, vision, audio), label, segment)``.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.array_file import decoded
from qinn.data.files.numerals import counted
from qinn.data.files.pickles.reading import PickleFile, open_pickle
from qinn.data.importing.faults import UnstatedError
from qinn.data.importing.intake import OF_VIDEOS, groups_of, split_name
from qinn.data.importing.label_arrays import chosen_labels, label_index
from qinn.data.importing.labels import TaskOptions
from qinn.data.importing.reader import Candidate, Feature, ImportOptions, Layout, Reader, Samples, Steps
from qinn.data.importing.transcripts import EncoderOrLearner, TextOptions
from qinn.data.stores.manifest import Modality
from qinn.errors import ConfigError, DataError
from qinn.stated_options import nested, option

__all__ = ["MISA", "MisaOptions", "is_misa"]

_VIDEO = r"(.+?)(?:\[.*\])?$"
_FILES = ("train.pkl", "dev.pkl", "test.pkl")
_FORM = (
    "a list of ((word_ids, vision, audio, words), label, segment) or ((words, vision, audio), label, segment), without "
    "the label where there is none, or one such list for each of train, dev and test"
)


@dataclass(frozen=True, kw_only=True)
class MisaOptions(ImportOptions):
    """How MISA pickles are to be read; words stay aligned with sound and vision."""

    modalities: tuple[str, ...] = option(
        ("text", "audio", "vision"),
        "Modality to take; repeat; all by default; text needs `--encode-text`",
        name="modality",
        choices=("text", "audio", "vision"),
    )
    split: str = option("", "Split of a single file; a folder's files name theirs", metavar="SPLIT")
    label_index: int | None = label_index("sentiment is the first of MOSEI's seven, and the default")
    group_pattern: str | None = option(None, OF_VIDEOS, metavar="REGEX")
    text: TextOptions = nested(lambda: TextOptions(unit="words"), without=("unit",))
    task: TaskOptions = nested(lambda: TaskOptions(scale="mosi"))

    def for_new(self, source: Path, needed: Collection[str]) -> "MisaOptions":
        """Return the options for new samples."""
        return replace(self, extractors={}, group_pattern=None, split="", reads_labels=False)


def is_misa(content: Any) -> bool:
    """Tell whether the content of a pickle has the MISA layout, or that of MAG-BERT, a list for each split."""
    if isinstance(content, dict):
        return any(map(_is_list, content.values())) and all(
            isinstance(entries, list) and (not entries or _is_list(entries)) for entries in content.values()
        )
    return _is_list(content)


def _is_list(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], tuple)
        and len(content[0]) in (2, 3)
        and isinstance(content[0][0], tuple)
        and len(content[0][0]) in (3, 4)
    )


class _Reader(Reader):
    """One file, or a folder with ``train.pkl``, ``dev.pkl`` and ``test.pkl``."""

    def __init__(self, source: Path, options: MisaOptions, encoder: EncoderOrLearner | None) -> None:
        if ("text" in options.modalities) != (encoder is not None):
            if encoder is not None:
                raise ConfigError(
                    "A text encoder is named, but the modality `text` is not; take it, or name none."
                )
            rest = [name for name in options.modalities if name != "text"]
            raise UnstatedError(
                "The words of this layout have no vectors: say what encodes them by `--encode-text`, or leave the "
                "modality `text` out.",
                {"encode_text": "minilm"},
                *([{"modality": rest}] if rest else []),
            )
        self.source, self.task = source, options.task
        self.text = None if encoder is None else options.text
        self.notes = [
            "modalities are aligned word by word",
            "the ids of words in the file are not used: the vocabulary that they count is not in it",
        ]
        if source.is_dir():
            files = [
                (source / file, split_name(Path(file).stem, file))
                for file in _FILES
                if (source / file).exists()
            ]
            if not files:
                raise DataError(f"`{source}` has none of {', '.join(_FILES)}.")
        else:
            files = [(source, split_name(options.split, "Option `split`"))]
        self._files = [file for file, _ in files]
        self.pickles = [_open(file) for file in self._files]
        found = [
            (file, part, _checked(file, row, item, reads_label=options.reads_labels))
            for (file, split), pickled in zip(files, self.pickles, strict=True)
            for part, items in _divided(file, split, pickled.content)
            for row, item in enumerate(items)
        ]
        self._samples = [sample for *_, sample in found]
        wordless = next((sample for sample in self._samples if sample.words is None), None)
        if encoder is not None and wordless is not None:
            raise DataError(
                f"`{source}` sample `{wordless.segment}` has no words to encode; leave the modality `text` out."
            )
        dims = {name: self._samples[0].arrays[name].shape[1] for name in ("audio", "vision")}
        for file, _, sample in found:
            for modality, dim in dims.items():
                if sample.arrays[modality].shape[1] != dim:
                    raise DataError(
                        f"`{file}` sample `{sample.segment}` has {sample.arrays[modality].shape[1]} features in "
                        f"`{modality}`, but the first sample has {dim}."
                    )
        ids = [sample.segment for sample in self._samples]
        widths = {sample.label.size for sample in self._samples if sample.label is not None}
        labels = [_one_of(sample, options.task, options.label_index) for sample in self._samples]
        if max(widths, default=1) > 1 and options.label_index is None and options.task.kind != "multilabel":
            self.notes.append(
                f"the first of {max(widths)} labels is taken, by default; others are chosen by `--label-index`"
            )
        if not any(split for _, split, _ in found):
            self.notes.append(
                "nothing says which split the file is, so its samples are in none: state it by `--split`"
            )
        if wordless is not None:
            without = sum(sample.words is None for sample in self._samples)
            self.notes.append(f"{without} of {counted(len(ids), 'sample', 'has no words', 'have no words')}")
        if options.group_pattern is None:
            self.notes.append("groups are the videos in the names of segments")
        labelled = any(label is not None for label in labels)
        if not labelled:
            self.notes.append("no sample has a label")
        self.samples = Samples(
            ids,
            [split for _, split, _ in found],
            labels if labelled else None,
            lambda row: f"`{found[row][0]}` sample `{ids[row]}`",
            "the labels",
            groups=groups_of(ids, options.group_pattern or _VIDEO),
            texts=[sample.words or [] for sample in self._samples],
        )
        self.sizes = [len(ids)]
        self.features = {
            name: None
            if name == "text"
            else Feature(
                Modality(dims[name], "sequence", f"misa:{name}"), f"{source}:{name}", drop_zeros=True
            )
            for name in options.modalities
        }

    def read(self, part: int, rows: Sequence[int]) -> Steps:
        return Steps(
            {
                name: [self._samples[row].arrays[name] for row in rows]
                for name, feature in self.features.items()
                if feature is not None
            }
        )

    def sources(self) -> list[Path]:
        return self._files


@dataclass(frozen=True)
class _Sample:
    words: list[str] | None
    arrays: dict[str, np.ndarray]
    label: np.ndarray | None
    segment: str


def _one_of(sample: _Sample, task: TaskOptions, index: int | None) -> Any:
    if sample.label is None:
        return None
    if task.kind != "multilabel":
        index = index or 0
    return chosen_labels(sample.label.reshape(1, -1), task, index, f"sample `{sample.segment}`")[0]


def _divided(file: Path, split: str, content: Any) -> list[tuple[str, list[Any]]]:
    """Return the splits of a file and what it holds of each."""
    if isinstance(content, list):
        return [(split, content)]
    if split:
        raise ConfigError(
            f"`{file}` names its splits itself, {', '.join(map(decoded, content))}; leave `split` out."
        )
    return [(split_name(decoded(key), f"`{file}`"), entries) for key, entries in content.items()]


def _open(file: Path) -> PickleFile:
    opened = open_pickle(file)
    if not is_misa(opened.content):
        raise DataError(f"`{file}` does not have the MISA layout: {_FORM}.")
    return opened


def _checked(file: Path, row: int, item: Any, *, reads_label: bool) -> _Sample:
    if not is_misa([item]):
        raise DataError(f"`{file}` entry {row} is not what entries of {_FORM} are.")
    (ids, vision, audio, *rest), *said, segment = item
    label = said[0] if said and reads_label else None
    if isinstance(label, int | float | np.generic) and not isinstance(label, bool):
        label = np.array([label])
    if not rest and _are_words(ids):
        ids, rest = None, [ids]
    segment = decoded(segment) if isinstance(segment, bytes) else segment
    arrays = {"vision": vision, "audio": audio}
    words = rest[0] if rest else []
    if (
        not isinstance(segment, str)
        or not (isinstance(words, list | tuple) or _are_words(words))
        or (label is not None and not (isinstance(label, np.ndarray) and label.size))
    ):
        raise DataError(
            f"`{file}` entry {row} must have a name, a list of words and its label, a number, an array or None."
        )
    lengths = {"words": len(words)} if rest else {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.ndim != 2 or not array.shape[1]:
            raise DataError(f"`{file}` sample `{segment}` must have an array (words, features) for `{name}`.")
        lengths[name] = len(array)
    if isinstance(ids, np.ndarray):
        lengths["word ids"] = ids.size
    if len(set(lengths.values())) != 1:
        described = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise DataError(
            f"`{file}` sample `{segment}` must have the same steps throughout, but has {described}."
        )
    spoken = [decoded(word) for word in words] if rest else None
    return _Sample(spoken, arrays, label, segment)


def _are_words(values: Any) -> bool:
    if isinstance(values, np.ndarray):
        return (
            values.ndim == 1
            and values.dtype.kind in "SUO"
            and all(isinstance(one, str | bytes) for one in values)
        )
    return isinstance(values, list | tuple) and all(isinstance(one, str | bytes) for one in values)


def _fits(candidate: Candidate) -> bool:
    if candidate.is_folder:
        if any((candidate.path / name).exists() for name in ("train.pkl", "dev.pkl")):
            return True
        alone = candidate.path / "test.pkl"
        return alone.is_file() and is_misa(Candidate(alone).content)
    return is_misa(candidate.content)


MISA = Layout(
    "misa",
    "word-aligned pickles of the MISA or the MAG-BERT code",
    "Word-aligned pickles of the MISA code (train.pkl, dev.pkl, test.pkl, or one of them) or of MAG-BERT (mosi.pkl).",
    MisaOptions,
    _Reader,
    _fits,
)
