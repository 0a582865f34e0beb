"""The pickle layout of the MISA code: word-aligned lists of tuples, one file per split.

Each file is a list of ``((word_ids, vision, audio[, words]), label, segment)``; the arrays have one row per
word, the label is (1, 1) or (1, 7) with the sentiment first, and the segment is like ``video[3]``.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.pickles.reading import PickleFile, open_pickle
from qinn.data.importing.intake import Intake, Progress, groups_of, naming, split_name
from qinn.data.importing.labels import TaskOptions, read_labels
from qinn.data.importing.steps import StepCleaner
from qinn.data.importing.transcripts import (
    EncoderOrLearner,
    TextOptions,
    encode_texts,
    learned,
    spans_of_texts,
)
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import ConfigError, DataError

__all__ = ["MisaOptions", "import_misa", "is_misa"]

_FILES = ("train.pkl", "dev.pkl", "test.pkl")
_CHUNK = 256


@dataclass(frozen=True)
class MisaOptions:
    """How MISA pickles are to be read.

    Attributes:
        modalities: Which to take, in order; ``text`` needs an encoder.
        task: What the labels mean.
        text: How words become features; words stay aligned with sound and vision.
        split: The split of a single file; empty for none. A folder's files name their splits.
        group_pattern: Finds the video in a segment's name.
        nan: What to do about NaN and infinite values.
        empty: What to do about samples without a step in any modality: ``"refuse"`` or ``"drop"``.
    """

    modalities: tuple[str, ...] = ("text", "audio", "vision")
    task: TaskOptions = field(default_factory=lambda: TaskOptions(scale="mosi"))
    text: TextOptions = field(default_factory=lambda: TextOptions(unit="words"))
    split: str = ""
    group_pattern: str = r"(.+?)(?:\[.*\])?$"
    nan: str = "refuse"
    empty: str = "refuse"

    def __post_init__(self) -> None:
        if not self.modalities or not set(self.modalities) <= {"text", "audio", "vision"}:
            raise ConfigError(
                f"Option `modalities` must be some of text, audio, vision, but it is {self.modalities}."
            )


def is_misa(content: Any) -> bool:
    """Tell whether the content of a pickle has the MISA layout."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], tuple)
        and len(content[0]) == 3
        and isinstance(content[0][0], tuple)
        and len(content[0][0]) in (3, 4)
    )


def import_misa(
    source: Path | str,
    target: Path | str,
    options: MisaOptions | None = None,
    *,
    encoder: EncoderOrLearner | None = None,
    progress: Progress | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Store:
    """Import a MISA pickle, or a folder with ``train.pkl``, ``dev.pkl`` and ``test.pkl``, into a store.

    Args:
        source: File or folder.
        target: Folder of the store to be.
        options: What to take; see `MisaOptions`.
        encoder: Makes the modality ``text`` of the words.
        progress: Told how many samples are done.
        name: Name of the data set; by default the target's.
        overwrite: Replace an existing store.

    Raises:
        DataError: If a file is unsafe, damaged, of another layout or contradicts itself.
        ConfigError: If text is asked for without an encoder.
    """
    source, target, options = Path(source), Path(target), options or MisaOptions()
    if ("text" in options.modalities) != (encoder is not None):
        raise ConfigError(
            "The modality `text` of this layout needs a text encoder, and an encoder the modality."
        )
    if source.is_dir():
        files = [
            (source / file, split_name(Path(file).stem, file)) for file in _FILES if (source / file).exists()
        ]
        if not files:
            raise DataError(f"`{source}` has none of {', '.join(_FILES)}.")
    else:
        files = [(source, split_name(options.split, "Option `split`"))]
    opened = [_open(file) for file, _ in files]
    samples = [
        (file, split, row, _checked(file, row, item))
        for (file, split), pickled in zip(files, opened, strict=True)
        for row, item in enumerate(pickled.content)
    ]
    labels = read_labels(
        [sample.label for _, _, _, sample in samples],
        len(samples),
        options.task,
        place=lambda row: f"`{samples[row][0]}` sample `{samples[row][3].segment}`",
        what="the labels",
    )
    wordless = next((sample for *_, sample in samples if sample.words is None), None)
    if encoder is not None and wordless is not None:
        raise DataError(
            f"`{source}` sample `{wordless.segment}` has no words to encode; leave the modality `text` out."
        )
    remarks: list[str] = []
    if encoder is not None:
        chosen = [samples[row] for row in labels.kept]
        words = [sample.words or [] for *_, sample in chosen]
        encoder, text, remarks = learned(encoder, words, [split for _, split, *_ in chosen], options.text)
        options = replace(options, text=text)
    dims = {name: samples[0][3].arrays[name].shape[1] for name in ("audio", "vision")}
    for file, _, _, sample in samples:
        for modality, dim in dims.items():
            if sample.arrays[modality].shape[1] != dim:
                raise DataError(
                    f"`{file}` sample `{sample.segment}` has {sample.arrays[modality].shape[1]} features in "
                    f"`{modality}`, but the first sample has {dim}."
                )
    modalities = {
        modality: options.text.described(encoder)
        if encoder is not None and modality == "text"
        else Modality(dims[modality], "sequence", f"misa:{modality}")
        for modality in options.modalities
    }
    cleaners = {
        modality: StepCleaner(modality, f"{source}:{modality}", options.nan, drop_zeros=True)
        for modality in options.modalities
        if modality != "text"
    }
    with (
        naming(source),
        StoreWriter(
            target,
            name=name or target.name,
            task=labels.task,
            modalities=modalities,
            layout="misa",
            sources=[file for file, _ in files],
            notes=["modalities are aligned word by word", *remarks, *labels.notes],
            overwrite=overwrite,
        ) as writer,
    ):
        intake = Intake(writer, total=len(labels.kept), empty=options.empty, progress=progress)
        for start in range(0, len(labels.kept), _CHUNK):
            chosen = [samples[row] for row in labels.kept[start : start + _CHUNK]]
            features: dict[str, list[np.ndarray | None]] = {
                modality: [
                    cleaner.clean(sample.arrays[modality], sample.segment) for _, _, _, sample in chosen
                ]
                for modality, cleaner in cleaners.items()
            }
            spans = None
            if encoder is not None:
                words = [sample.words or [] for _, _, _, sample in chosen]
                features["text"] = list(encode_texts(encoder, words, options.text))
                spans = spans_of_texts(encoder, words, options.text)
            ids = [sample.segment for _, _, _, sample in chosen]
            intake.add(
                ids,
                features,
                splits=[split for _, split, _, _ in chosen],
                labels=list(labels.values[start : start + _CHUNK]),
                groups=groups_of(ids, options.group_pattern),
                texts=[" ".join(sample.words or []) for _, _, _, sample in chosen],
                spans=None if spans is None else {"text": spans},
            )
            for pickled in opened:
                pickled.release()
        intake.finish(note for cleaner in cleaners.values() for note in cleaner.notes())
    return Store.open(target)


@dataclass(frozen=True)
class _Sample:
    words: list[str] | None
    arrays: dict[str, np.ndarray]
    label: Any
    segment: str


def _open(file: Path) -> PickleFile:
    opened = open_pickle(file)
    if not is_misa(opened.content):
        raise DataError(
            f"`{file}` does not have the MISA layout: a list of ((word_ids, "
            "vision, audio, words), label, segment)."
        )
    return opened


def _checked(file: Path, row: int, item: Any) -> _Sample:
    if not is_misa([item]):
        raise DataError(f"`{file}` entry {row} is not ((word_ids, vision, audio, words), label, segment).")
    (ids, vision, audio, *rest), label, segment = item
    if isinstance(segment, bytes):
        segment = segment.decode("utf-8", "replace")
    arrays = {"vision": vision, "audio": audio}
    words = rest[0] if rest else []
    if (
        not isinstance(segment, str)
        or not isinstance(words, list | tuple)
        or not isinstance(label, np.ndarray)
        or not label.size
    ):
        raise DataError(
            f"`{file}` entry {row} must have a name, a list of words and an array with its label."
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
    texts = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in words]
    return _Sample(texts if rest else None, arrays, label.reshape(-1)[0], segment)
