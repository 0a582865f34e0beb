"""The pickle layout of the MulT code, which MultiBench and the LMF code share: MOSI, MOSEI, IEMOCAP, POM.

``mosi_data.pkl``, ``mosi_data_noalign.pkl``, ``mosei_senti_data.pkl`` … hold ``{"train", "valid", "test"}``,
each a dict of ``vision``, ``text`` (GloVe, 300 features) and ``audio`` (n, L, d), ``labels`` (n, 1, 1) and,
in most releases, ``id``: names (n), or (n, 3) of video, start and end. There are no lengths: steps of zeros
around a sequence are padding. The files of the LMF code call the same ``facet``, ``glove``, ``covarep`` and
``label``, and hold one vector per sample for sound and vision. New samples need no labels and no splits.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.array_file import decoded
from qinn.data.files.numerals import counted
from qinn.data.files.pickles.reading import open_pickle
from qinn.data.importing.intake import OF_VIDEOS, groups_of, naming
from qinn.data.importing.label_arrays import chosen_labels, label_index
from qinn.data.importing.labels import DROP, TaskOptions
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
from qinn.data.stores.manifest import Modality
from qinn.errors import DataError
from qinn.stated_options import nested, option

__all__ = ["MULT", "MultOptions", "is_mult"]

_KEYS = {
    "text": ("text", "glove"),
    "audio": ("audio", "covarep"),
    "vision": ("vision", "video", "facet"),
    "labels": ("labels", "label"),
}
_OF_MMSA = {
    "raw_text",
    "text_bert",
    "audio_lengths",
    "vision_lengths",
    "annotations",
    "regression_labels",
    "classification_labels",
}
"""Keys that only pickles of the MMSA framework have, which call features the same."""
OFFICIAL_SPLITS = {
    (1284, 229, 686): "MOSI",
    (1283, 214, 686): "MOSI as MultiBench divides it",
    (16326, 1871, 4659): "MOSEI",
    (16265, 1869, 4643): "MOSEI with aligned words",
}


@dataclass(frozen=True, kw_only=True)
class MultOptions(ImportOptions):
    """How a pickle of the MulT layout is to be read."""

    modalities: tuple[str, ...] | None = option(
        None,
        "Modality to take; repeat; all that are there by default",
        name="modality",
        choices=("text", "audio", "vision"),
    )
    label_index: int | None = label_index(
        "one of IEMOCAP's four emotions (with `--task classification`), one of POM's traits"
    )
    group_pattern: str | None = option(None, OF_VIDEOS, metavar="REGEX")
    aligned: str | None = alignment()
    task: TaskOptions = nested(lambda: TaskOptions(scale="mosi"))

    def for_new(self, source: Path, needed: Collection[str]) -> "MultOptions":
        """Return the options for new samples: modalities are asked for where they are there."""
        there = self.modalities
        if there is not None:
            parts = parts_of(open_pickle(source, sketch=True).content).values()
            there = tuple(
                name
                for name in there
                if name in needed or all(set(_KEYS[name]) & set(part) for part in parts)
            )
        return replace(self, extractors={}, group_pattern=None, modalities=there, reads_labels=False)


def is_mult(content: Any, *, labelled: bool = False) -> bool:
    """Tell whether the content of a pickle has the layout of the MulT or the LMF code.

    Args:
        content: The content.
        labelled: Whether labels have to be there; without them MMSA's files may be the same.
    """
    parts = parts_of(content)
    return bool(parts) and all(
        (not labelled or set(_KEYS["labels"]) & set(part))
        and not (_OF_MMSA & set(part))
        and any(set(_KEYS[name]) & set(part) for name in ("text", "audio", "vision"))
        for part in parts.values()
    )


class _Reader(Reader):
    """Samples without padding; the file may be larger than memory.

    Where all modalities have the same number of steps, they are taken as aligned, and a step is padding when it
    is zero in all of them; otherwise each has its own padding. Samples without names, or whose names are not
    unique, are called ``train-0000``, ``train-0001`` ….
    """

    def __init__(self, source: Path, options: MultOptions, encoder: object) -> None:
        self.source = source
        self.task = options.task
        file = open_pickle(source)
        self.pickles = [file]
        if not is_mult(file.content):
            raise DataError(
                f"`{source}` does not have the MulT layout: {{train, valid, test}}, each with vision, text, audio "
                "and labels."
            )
        with naming(source):
            found = parts_of(file.content)
            if not options.reads_labels:
                found = {
                    key: {name: value for name, value in part.items() if name not in _KEYS["labels"]}
                    for key, part in found.items()
                }
            parts = [_Part(source, key, part, options) for key, part in found.items()]
            check_parts(source, parts)
            labelled = any(part.labelled for part in parts)
            self.notes = [
                *_number_twins(parts),
                *notes_of_parts(parts, OFFICIAL_SPLITS),
                *not_taken(parts, _KEYS),
            ]
            if not any(part.groups[0] for part in parts if part.groups):
                self.notes.append("the file does not name videos, so the groups are not known")
            if not labelled:
                self.notes.append("the file has no `labels`, so the samples are unlabelled")
            else:
                self.notes += [
                    f"the samples of {part.split or part.key} have no `labels`, so they are unlabelled"
                    for part in parts
                    if not part.labelled
                ]
        self.samples = Samples(
            **joined_columns(parts, ("ids", "groups")),
            labels=[value for part in parts for value in part.labels] if labelled else None,
            what="`labels`",
            label_name=", ".join(options.task.labels)
            or ("labels" if options.label_index is None else f"labels[:, {options.label_index}]"),
            unlabelled=DROP,
        )
        self.sizes = [len(part) for part in parts]
        self.features = {
            name: Feature(
                Modality(array.shape[2], "sequence" if array.shape[1] > 1 else "vector", f"mult:{name}"),
                f"{source.name}:{name}",
                drop_zeros=True,
            )
            for name, array in parts[0].arrays.items()
        }
        rule = "steps of zeros in all modalities" if parts[0].aligned else "steps of zeros"
        self.paddings = {
            name: Padding(name, array.shape[1], rule) for name, array in parts[0].sequences().items()
        }
        self.found = {"aligned": "yes" if parts[0].aligned else "no"}
        self._parts = parts

    def read(self, part: int, rows: Sequence[int]) -> Steps:
        found = [self._parts[part].steps(row, self.paddings) for row in rows]
        return Steps({name: [one[name] for one in found] for name in self.features})

    def sources(self) -> list[Path]:
        return [self.source]


class _Part(SplitPart):
    """One split, checked."""

    counted = "labels"

    def __init__(self, source: Path, key: str, part: Mapping[str, Any], options: MultOptions) -> None:
        super().__init__(source, key, part)
        present = [name for name in ("text", "audio", "vision") if self._key(name) is not None]
        self.labelled = self._key("labels") is not None
        if self.labelled:
            raw = self._labels()
            self._num_samples = len(raw)
            self.labels = chosen_labels(raw, options.task, options.label_index, self.where)
        else:
            self.counted = "samples"
            self._num_samples = self._counted(present)
            self.labels = [None] * self._num_samples
        self.arrays = {name: self.features(self._key(name) or name) for name in options.modalities or present}
        steps = {array.shape[1] for array in self.arrays.values()}
        can_be = len(self.sequences()) == len(self.arrays) > 1 and len(steps) == 1
        self.aligned = self.settled(options.aligned, can_be=can_be, is_new=not options.reads_labels)
        self.ids, self.groups, self.extra = self._names()
        if options.group_pattern:
            self.groups = groups_of(self.ids, options.group_pattern)

    def __len__(self) -> int:
        return self._num_samples

    def _key(self, name: str) -> str | None:
        return next((key for key in _KEYS[name] if key in self.content), None)

    def _counted(self, present: list[str]) -> int:
        """Return how many samples the first features are of."""
        first = self.content[self._key(present[0]) or present[0]]
        return len(first) if isinstance(first, list) or (isinstance(first, np.ndarray) and first.ndim) else 0

    def _labels(self) -> np.ndarray:
        key = self._key("labels") or "labels"
        labels = _array_of(self.entry(key))
        if labels.ndim < 1 or labels.dtype.kind not in "biuf" or not labels.size:
            raise DataError(
                f"{self.where} must have numbers under `{key}`, but it is {labels.dtype} of shape "
                f"{labels.shape}."
            )
        return labels

    def _names(self) -> tuple[list[str], list[str], dict[str, list[str]]]:
        if "id" not in self.content:
            return self.numbered(len(self)), [""] * len(self), {}
        ids = _array_of(self.content["id"])
        ids = ids[:, None] if ids.ndim == 1 else ids
        plain = all(isinstance(value, str | bytes | int | float | np.generic) for value in ids.flat)
        if ids.ndim != 2 or len(ids) != len(self) or not ids.shape[1] or not plain:
            raise DataError(
                f"{self.where} must have one name, or video, start and end, for each of {len(self)} samples under "
                f"`id`, but has {ids.dtype} of shape {ids.shape}."
            )
        rows = [[decoded(value) for value in row] for row in ids]
        names = ["_".join(row) for row in rows]
        if ids.shape[1] < 3:
            return names, groups_of(names), {}
        videos, starts, ends = (list(column) for column in zip(*(row[:3] for row in rows), strict=True))
        return names, videos, {"start": starts, "end": ends}

    def number(self) -> None:
        """Call the samples by their number and keep what the file calls them in a column."""
        self.extra["source_id"] = self.ids
        self.ids = self.numbered(len(self))

    def steps(self, row: int, paddings: Mapping[str, Padding]) -> dict[str, np.ndarray]:
        """Return a sample's steps per modality, without padding."""
        arrays = {name: array[row] for name, array in self.arrays.items()}
        common = nonzero_window(*arrays.values()) if self.aligned else None
        return {
            name: paddings[name].cut(values, *(common or nonzero_window(values)))
            if name in paddings
            else values
            for name, values in arrays.items()
        }


def _array_of(values: Any) -> np.ndarray:
    """Return an array, of objects where the values have no common shape."""
    if isinstance(values, np.ndarray):
        return values
    found = np.empty(len(values) if isinstance(values, list) else (), object)
    if isinstance(values, list):
        with suppress(ValueError):
            return np.asarray(values)
    return found


def _number_twins(parts: list[_Part]) -> list[str]:
    """Give numbers to samples whose names are not unique, as in files that name the video alone."""
    ids = [name for part in parts for name in part.ids]
    if len(set(ids)) == len(ids):
        return []
    twins = len(ids) - len(set(ids))
    for part in parts:
        part.number()
    return [
        counted(twins, "name", "occurs more than once", "occur more than once")
        + ", so samples are numbered; their names are in the column source_id"
    ]


MULT = Layout(
    "mult",
    "a pickle of the MulT code",
    "A pickle of the MulT, MultiBench or LMF code: mosi_data.pkl, mosei_senti_data_noalign.pkl ….",
    MultOptions,
    _Reader,
    lambda candidate: is_mult(candidate.content),
    OFFICIAL_SPLITS,
)
