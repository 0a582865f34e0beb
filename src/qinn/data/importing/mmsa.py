"""The pickle layout of the MMSA framework: MOSI, MOSEI, CH-SIMS and CH-SIMS v2, aligned or unaligned.

One file holds ``{"train", "valid", "test"}``, each a dict of ``raw_text``, ``id``, ``text`` (n, L, 768),
``text_bert`` (n, 3, L: token ids, mask, segments), ``audio`` (n, L_a, d_a), ``vision`` (n, L_v, d_v),
``regression_labels`` (n), ``classification_labels`` (n), ``annotations`` (n) and, where the modalities are
not aligned, ``audio_lengths`` and ``vision_lengths``; CH-SIMS adds ``regression_labels_T``, ``_A``, ``_V``.
Sizes differ between releases, so they are read from the file and checked against each other.

New samples need no labels, no names and no splits: one dict of such arrays, or that of a single clip as MMSA-FET writes
it, whose arrays lack the dimension of samples.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qinn.data.files.array_file import decoded
from qinn.data.files.pickles.reading import open_pickle
from qinn.data.files.ragged_arrays import RaggedSteps
from qinn.data.importing.faults import UnstatedError
from qinn.data.importing.intake import OF_VIDEOS, groups_of, naming
from qinn.data.importing.labels import DROP, TaskOptions
from qinn.data.importing.mult import is_mult
from qinn.data.importing.parts import (
    SplitPart,
    alignment,
    check_parts,
    joined_columns,
    not_taken,
    notes_of_parts,
    parts_of,
)
from qinn.data.importing.reader import Feature, ImportOptions, Layout, Reader, Samples, Steps
from qinn.data.importing.steps import Padding, nonzero_window
from qinn.data.importing.tokens import TokenAligner
from qinn.data.importing.transcripts import EncoderOrLearner, TextOptions, check_learned
from qinn.data.stores.manifest import Modality, Source
from qinn.errors import ConfigError, DataError
from qinn.stated_options import nested, option

__all__ = ["MMSA", "MmsaOptions", "is_mmsa"]

OFFICIAL_FILES = {
    "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI unaligned_50",
    "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI aligned_50",
    "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI unaligned_50",
    "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI aligned_50",
    "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "CH-SIMS unaligned_39",
}
OFFICIAL_SPLITS = {
    (1284, 229, 686): "MOSI",
    (16326, 1871, 4659): "MOSEI",
    (1368, 456, 457): "CH-SIMS",
    (2722, 647, 1034): "CH-SIMS v2",
}


_FEATURES = ("audio", "vision", "text")
_LABELS = ("regression_labels", "classification_labels", "annotations")
_ALSO_CALLED = {
    "video": "vision",
    "video_lengths": "vision_lengths",
    "visual": "vision",
    "visual_lengths": "vision_lengths",
}
_CALLED = {
    own: [own, *(key for key, one in _ALSO_CALLED.items() if one == own)] for own in _ALSO_CALLED.values()
}


@dataclass(frozen=True, kw_only=True)
class MmsaOptions(ImportOptions):
    """How an MMSA pickle is to be read."""

    modalities: tuple[str, ...] = option(
        ("text", "audio", "vision"),
        "Modality to take; repeat; all by default",
        name="modality",
        choices=("text", "audio", "vision"),
    )
    text_source: str = option(
        "vectors",
        "The file's vectors; its raw text through `--encode-text`; or the token ids of `text_bert`, as a sequence of "
        "one feature, whose tokenizer `--encode-text` may name",
        choices=("vectors", "encode", "ids"),
    )
    label_key: str | None = option(None, "Other labels, say `regression_labels_A`", metavar="KEY")
    group_pattern: str | None = option(None, OF_VIDEOS, metavar="REGEX")
    aligned: str | None = alignment()
    text: TextOptions = nested(TextOptions)

    def for_new(self, source: Path, needed: Collection[str]) -> "MmsaOptions":
        """Return the options for new samples: modalities are asked for where they are there."""
        parts = list(map(_renamed, parts_of(open_pickle(source, sketch=True).content).values()))
        text = {"vectors": "text", "encode": "raw_text", "ids": "text_bert"}[self.text_source]
        keys = {name: text if name == "text" else name for name in self.modalities}
        there = [name for name, key in keys.items() if name in needed or all(key in part for part in parts)]
        return replace(self, extractors={}, modalities=tuple(there), group_pattern=None, reads_labels=False)


def is_mmsa(content: Any) -> bool:
    """Tell whether the content of a pickle has the MMSA layout."""
    parts = parts_of(content)
    return bool(parts) and all({*_FEATURES, "text_bert"} & set(_renamed(part)) for part in parts.values())


def _renamed(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part by the layout's own keys, where others stand for them."""
    found: dict[str, Any] = {}
    for key, value in part.items():
        own = _ALSO_CALLED.get(key, key)
        found[key if own in part or own in found else own] = value
    return found


def _of_samples(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return samples; a single clip, whose arrays have no dimension of samples, as one of them."""
    clip = [part[name] for name in _FEATURES if name in part]
    listed = [part[name] for name in ("id", "raw_text", "regression_labels") if name in part]
    if clip and any(_has_length(values, len(clip[0])) for values in listed):
        # Vectors of many samples, not the steps of one.
        return part
    if not clip or not all(isinstance(values, np.ndarray) and values.ndim == 2 for values in clip):
        return part
    return {
        key: value[None] if isinstance(value, np.ndarray) and key in (*_FEATURES, "text_bert") else [value]
        for key, value in part.items()
    }


def _without_labels(part: Mapping[str, Any], options: MmsaOptions) -> dict[str, Any]:
    also = {options.label_key, *options.task.places().values()}
    return {key: value for key, value in part.items() if not key.startswith(_LABELS) and key not in also}


def _has_length(values: Any, length: int) -> bool:
    is_list = isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.ndim > 0)
    return is_list and len(values) == length


class _Reader(Reader):
    """Samples without padding; the file may be larger than memory."""

    def __init__(self, source: Path, options: MmsaOptions, encoder: EncoderOrLearner | None) -> None:
        encodes = options.text_source == "encode" and "text" in options.modalities
        names_ids = options.text_source == "ids" and "text" in options.modalities
        if encodes != (encoder is not None) and not names_ids:
            raise ConfigError(
                "Option `text_source` must be encode (or ids, to name their tokenizer) exactly when a text encoder is "
                "given."
            )
        self.source = source
        file = open_pickle(source)
        self.pickles = [file]
        if not is_mmsa(file.content):
            raise DataError(
                f"`{source}` does not have the MMSA layout: "
                f"{{train, valid, test}}, each with audio, vision, text …."
            )
        with naming(source):
            found = {key: _of_samples(_renamed(part)) for key, part in parts_of(file.content).items()}
            if not options.reads_labels:
                found = {key: _without_labels(part, options) for key, part in found.items()}
            named = any("id" in part for part in found.values())
            parts = [_Part(source, key, part, options, named=named) for key, part in found.items()]
            check_parts(source, parts)
            self._official = Source.of(source)
            self.notes = [*notes_of_parts(parts, OFFICIAL_SPLITS), *not_taken(parts, _CALLED)]
            digest = self._official.sha256
            self.notes.insert(
                1,
                f"the file is the official {OFFICIAL_FILES[digest]} (same SHA-256)"
                if digest in OFFICIAL_FILES
                else f"the file is none of the official ones that are known by their SHA-256 ({digest[:12]}…)",
            )
            self.samples, self.task = _samples(source, parts, options)
            if not named:
                self.notes.append("the file does not name its samples, so they are numbered")
            if self.samples.labels is None:
                self.notes.append(f"the file has no {self.samples.what}, so the samples are unlabelled")
            else:
                self.notes += _unlabelled_splits(parts, _label_keys(options))
            self._aligner = None
            ids = check_learned(encoder, MMSA.name) if names_ids else None
            if ids is not None:
                self._aligner = TokenAligner(ids, lowercase=options.text.lowercase)
                for part in parts:
                    self._aligner.check(part.where, part.texts, part.text_ids(), part.ids)
                self.notes += self._aligner.notes()
        self._parts = parts
        self._encodes = encodes
        self.text = options.text if encodes else None
        self.sizes = [len(part) for part in parts]
        self.features = {
            name: None
            if name == "text" and encodes
            else Feature(
                replace(options.text, unit="ids").described(ids)
                if name == "text" and ids is not None
                else Modality(parts[0].dims[name], parts[0].kind(name), _tier(name, options)),
                f"{source.name}:{name}",
                drop_zeros=name != "text",
            )
            for name in options.modalities
        }
        self.paddings = _paddings(parts, options, encodes)
        self.found = {"aligned": "yes" if parts[0].aligned else "no"}

    def read(self, part: int, rows: Sequence[int]) -> Steps:
        chosen = self._parts[part]
        found = [chosen.steps(row, self._encodes, self.paddings) for row in rows]
        values = {
            name: [one[name] for one in found]
            for name, feature in self.features.items()
            if feature is not None
        }
        spans = None
        if self._aligner is not None:
            ids = [one[:, 0] for one in values["text"]]
            spans = self._aligner.spans([chosen.texts[row] for row in rows], ids)
        return Steps(values, spans=spans)

    def sources(self) -> list[Source]:
        return [self._official]


class _Part(SplitPart):
    """One split of an MMSA file, checked."""

    def __init__(
        self, source: Path, key: str, part: Mapping[str, Any], options: MmsaOptions, *, named: bool
    ) -> None:
        super().__init__(source, key, part)
        self._options = options
        self.ids = self._strings("id") if named else self.numbered(self._counted())
        self.texts = self._strings("raw_text") if "raw_text" in part else [""] * len(self)
        if options.text_source == "encode" and "text" in options.modalities and "raw_text" not in part:
            raise DataError(f"{self.where} has no key `raw_text` to encode; use its vectors or token ids.")
        self.groups = groups_of(self.ids, options.group_pattern)
        self.arrays = {name: self.features(name) for name in options.modalities if name != "text"}
        self.tokens = self._tokens()
        if "text" in options.modalities and options.text_source == "vectors":
            self.arrays["text"] = self.features("text")
        if "text" in options.modalities and options.text_source == "ids" and self.tokens is None:
            raise DataError(f"{self.where} has no key `text_bert`, whose token ids were asked for.")
        self.lengths = {name: self._lengths(name) for name in ("audio", "vision") if name in self.arrays}
        can_be = self._can_be_aligned()
        self.aligned = self.settled(options.aligned, can_be=can_be, is_new=not options.reads_labels)
        if "annotations" in part:
            self.extra["annotations"] = self._strings("annotations")
        for suffix in ("T", "A", "V"):
            if f"regression_labels_{suffix}" in part:
                self.extra[f"label_{suffix}"] = self._numbers(f"regression_labels_{suffix}")
        if options.label_key not in (None, "regression_labels") and "regression_labels" in part:
            self.extra["label_all"] = self._numbers("regression_labels")

    @property
    def dims(self) -> dict[str, int]:
        """Modality → number of its features; texts and token ids are one."""
        return {**({"text": 1} if "text" in self._options.modalities else {}), **super().dims}

    def kind(self, name: str) -> Literal["vector", "sequence"]:
        """Return whether a modality has steps, or one vector for each sample."""
        return "vector" if name in self.arrays and self.arrays[name].shape[1] == 1 else "sequence"

    def _counted(self) -> int:
        """Return how many samples the first features are of, where nothing names them."""
        first = next(self.content[name] for name in (*_FEATURES, "text_bert") if name in self.content)
        return len(first) if isinstance(first, list) or (isinstance(first, np.ndarray) and first.ndim) else 0

    def _vector(self, key: str) -> list[Any]:
        values = self.entry(key)
        if isinstance(values, np.ndarray):
            values = list(values.reshape(-1) if values.size == len(values) else values)
        if not isinstance(values, list | tuple) or any(
            isinstance(value, list | dict | np.ndarray) for value in values
        ):
            raise DataError(f"{self.where} must have a flat list under `{key}`.")
        if key != "id":
            self.check_length(key, values)
        return list(values)

    def _strings(self, key: str) -> list[str]:
        return [decoded(value) for value in self._vector(key)]

    def _numbers(self, key: str) -> list[float]:
        values = self._vector(key)
        if not all(isinstance(value, int | float | np.integer | np.floating) for value in values):
            raise DataError(f"{self.where} must have numbers under `{key}`.")
        return [float(value) for value in values]

    def _tokens(self) -> np.ndarray | None:
        if "text_bert" not in self.content:
            return None
        tokens = self.features("text_bert")
        if tokens.shape[1] != 3:
            raise DataError(
                f"{self.where} must have `text_bert` of shape (n, 3, length), but it is {tokens.shape}."
            )
        mask = tokens[:, 1]
        runs = np.diff(np.pad(mask == 1, ((0, 0), (1, 0))).astype(np.int8), axis=1).clip(min=0).sum(axis=1)
        if not np.isin(mask, (0, 1)).all() or (runs > 1).any():
            raise DataError(f"{self.where} must have one run of 1 per sample in the mask `text_bert`[:, 1].")
        if (
            (tokens[:, 0] < 0).any()
            or (tokens[:, 0] != np.floor(tokens[:, 0])).any()
            or (tokens[:, 0] >= 2**24).any()
        ):
            raise DataError(
                f"{self.where} must have token ids in `text_bert`[:, 0], but some are no whole numbers."
            )
        return tokens

    def _lengths(self, name: str) -> np.ndarray | None:
        if f"{name}_lengths" not in self.content:
            return None
        given, longest = self._vector(f"{name}_lengths"), self.arrays[name].shape[1]
        whole = all(
            isinstance(length, int | float | np.integer | np.floating)
            and float(length).is_integer()
            and abs(length) < 2**31
            for length in given
        )
        lengths = np.array(given if whole else [], np.int64)
        if not whole:
            raise DataError(f"{self.where} must have whole numbers under `{name}_lengths`.")
        array = self.arrays[name]
        steps = np.array(
            [len(array[row]) for row in range(len(array))] if isinstance(array, RaggedSteps) else longest
        )
        beyond = (lengths < 0) | (lengths > steps)
        if beyond.any():
            row = int(np.argmax(beyond))
            raise DataError(
                f"{self.where} sample `{self.ids[row]}` has the length "
                f"{lengths[row]} under `{name}_lengths`, "
                f"but `{name}` has {steps.item(row if steps.ndim else 0)} steps."
            )
        return lengths

    def _can_be_aligned(self) -> bool:
        if any(lengths is not None for lengths in self.lengths.values()):
            return False
        if any(isinstance(array, RaggedSteps) for array in self.arrays.values()):
            return False
        sequences = self.sequences()
        if len(sequences) < min(2, len(self.arrays)):
            return False
        steps = {array.shape[1] for array in sequences.values()}
        if self.tokens is not None:
            steps.add(self.tokens.shape[2])
        return len(steps) == 1

    def steps(self, row: int, encodes: bool, padding: Mapping[str, Padding]) -> dict[str, np.ndarray]:
        """Return a sample's steps per modality, without padding."""
        arrays = {name: array[row] for name, array in self.arrays.items()}
        padded = {name: arrays[name] for name in self.sequences()}
        window = self._window(row, padded) if self.aligned else None
        found = {}
        for name in self._options.modalities:
            if name == "text" and encodes:
                continue
            if name in arrays and name not in padding:
                # A vector, or a sequence without padding.
                lengths = self.lengths.get(name)
                if lengths is not None and self.kind(name) == "sequence":
                    found[name] = arrays[name][: int(lengths[row])]
                else:
                    found[name] = arrays[name]
                continue
            if name == "text":
                start, stop = window or self._text_window(row)
                values = arrays["text"] if "text" in arrays else self._token_ids(row)
                found[name] = padding[name].cut(values, start, stop)
                continue
            lengths = self.lengths[name]
            if window is not None:
                start, stop = window
            elif lengths is not None:
                start, stop = 0, int(lengths[row])
            else:
                start, stop = nonzero_window(arrays[name])
            found[name] = padding[name].cut(arrays[name], start, stop)
        return found

    def text_ids(self) -> list[np.ndarray]:
        """Return the token ids of every sample, without padding."""
        if self.tokens is None:
            return []
        return [
            self.tokens[row, 0, start:stop].astype(np.int64)
            for row, (start, stop) in enumerate(map(self._text_window, range(len(self))))
        ]

    def _token_ids(self, row: int) -> np.ndarray:
        assert self.tokens is not None  # checked on construction
        return self.tokens[row, 0][:, None]

    def _window(self, row: int, arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
        if self.tokens is not None:
            return self._text_window(row)
        return nonzero_window(*arrays.values()) if arrays else (0, 0)

    def _text_window(self, row: int) -> tuple[int, int]:
        if self.tokens is not None:
            return nonzero_window(self.tokens[row, 1][:, None])
        return nonzero_window(self.arrays["text"][row])


def _paddings(parts: list[_Part], options: MmsaOptions, encodes: bool) -> dict[str, Padding]:
    mask = "the mask in `text_bert`" if parts[0].tokens is not None else "steps of zeros"
    paddings = {}
    for name in options.modalities:
        if name == "text" and encodes:
            continue
        array = parts[0].arrays.get(name, parts[0].tokens)
        if array is None or (name in parts[0].arrays and name not in parts[0].sequences()):
            continue
        rule = mask if parts[0].aligned or name == "text" else "steps of zeros"
        if parts[0].lengths.get(name) is not None:
            rule = f"`{name}_lengths`"
        paddings[name] = Padding(name, array.shape[1 if name in parts[0].arrays else 2], rule)
    return paddings


def _samples(source: Path, parts: list[_Part], options: MmsaOptions) -> tuple[Samples, TaskOptions]:
    task = options.task
    task.refuse_single("label_key", given=options.label_key is not None)
    keys = _label_keys(options)
    labelled = options.reads_labels and (
        options.label_key is not None or any(set(keys) & set(part.content) for part in parts)
    )
    columns = [_column(parts, each) for each in keys] if labelled else None
    values = columns and ([*zip(*columns, strict=True)] if task.kind == "multilabel" else columns[0])
    if task.kind == "regression" and task.scale is None and task.low is None:
        task = replace(task, scale=_scale(source, parts, values or [], drops=bool(task.drop_labels)))
    return Samples(
        **joined_columns(parts, ("ids", "groups", "texts")),
        labels=values,
        what=f"`{', '.join(keys)}`",
        unlabelled=DROP,
    ), task


def _label_keys(options: MmsaOptions) -> list[str]:
    kind = options.task.kind
    if kind == "multilabel":
        return list(options.task.places().values())
    return [options.label_key or ("regression_labels" if kind == "regression" else "classification_labels")]


def _unlabelled_splits(parts: Sequence[_Part], keys: Sequence[str]) -> list[str]:
    return [
        f"the samples of {part.split or part.key} have no `{key}`, so they are unlabelled"
        for part in parts
        for key in keys
        if key not in part.content
    ]


def _column(parts: Sequence[_Part], key: str) -> list[Any]:
    """Return the labels under a key, None for the samples of splits that have no such key."""
    if not any(key in part.content for part in parts):
        parts[0].entry(key)
    return [
        value
        for part in parts
        for value in (part._vector(key) if key in part.content else [None] * len(part))
    ]


def _scale(source: Path, parts: list[_Part], labels: list[Any], *, drops: bool) -> str:
    if any(key.startswith("label_") for part in parts for key in part.extra):
        return "sims"
    numbers = [abs(float(value)) for value in labels if isinstance(value, int | float | np.number)]
    # A label that is no number is named by whoever reads the labels, whatever their scale.
    unknown = [number for number in numbers if not math.isfinite(number)]
    if any(1 < number < math.inf for number in numbers) or (unknown and not drops):
        return "mosi"
    raise UnstatedError(
        f"`{source}` does not tell the scale of its labels; state it: mosi or sims.",
        *({"scale": scale} for scale in ("mosi", "sims")),
    )


def _tier(modality: str, options: MmsaOptions) -> str:
    return "mmsa:text_bert ids" if modality == "text" and options.text_source == "ids" else f"mmsa:{modality}"


MMSA = Layout(
    "mmsa",
    "a pickle of the MMSA framework",
    "A pickle of the MMSA framework: MOSI, MOSEI, CH-SIMS; aligned or unaligned.",
    MmsaOptions,
    _Reader,
    lambda candidate: is_mmsa(candidate.content) and not is_mult(candidate.content, labelled=True),
    OFFICIAL_SPLITS,
)
