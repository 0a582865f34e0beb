"""The layout of the MFN code: one HDF5 file per modality and split, in one folder.

``audio_train.h5`` … ``video_test.h5`` (also ``text_test_emb.h5``) hold one dataset (n, steps, features) each,
and ``y_train.h5`` … the labels: (n), or several per sample (n, labels), also one-hot (n, labels, classes). Steps are
words, the same for every modality, padded by zeros; a modality whose file is missing for a split is absent there. New
samples need no ``y`` files, and no splits: ``audio.h5``, ``text_emb.h5``, ``video.h5``.
"""

import re
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.array_file import ArrayFile
from qinn.data.files.arrays import open_arrays
from qinn.data.importing.clip_folders import tables_in
from qinn.data.importing.label_arrays import chosen_labels, label_index
from qinn.data.importing.reader import Feature, ImportOptions, Layout, Reader, Samples, Steps
from qinn.data.importing.steps import Padding, nonzero_window
from qinn.data.stores.manifest import Modality
from qinn.errors import ConfigError, DataError
from qinn.stated_options import option

__all__ = ["MFN", "MfnOptions", "is_mfn"]

_FILE = re.compile(r"(?P<modality>[a-zA-Z]+)(?:_(?P<split>train|valid|test))?(?:_emb)?\.h5")
_NAMES = {"video": "vision", "visual": "vision", "acoustic": "audio"}
_KNOWN = {"text", "audio", "vision"}


@dataclass(frozen=True, kw_only=True)
class MfnOptions(ImportOptions):
    """How a folder of the MFN layout is to be read."""

    modalities: tuple[str, ...] | None = option(
        None, "Modality to take; repeat; all that are there by default", name="modality", metavar="NAME"
    )
    label_index: int | None = label_index(
        "one of POM's traits, of IEMOCAP's emotions (with `--task classification`)"
    )

    def for_new(self, source: Path, needed: Collection[str]) -> "MfnOptions":
        """Return the options for new samples: modalities are asked for where they are there."""
        there = self.modalities
        if there is not None and source.is_dir():
            known = {modality for (modality, _), _ in _named(source)}
            there = tuple(name for name in there if name in needed or name in known)
        return replace(self, extractors={}, modalities=there, reads_labels=False)


def is_mfn(folder: Path) -> bool:
    """Tell whether a folder has the layout: labels, or features of samples without any, and no table of them."""
    if not folder.is_dir():
        return False
    named = {modality for (modality, _), _ in _named(folder)}
    return any(folder.glob("y_*.h5")) or bool(named & _KNOWN and not tables_in(folder))


def _named(folder: Path) -> list[tuple[tuple[str, str], Path]]:
    """Return modality, split and path of each file; without splits only where no file names one."""
    found: list[tuple[tuple[str, str], Path]] = []
    for path in sorted(folder.iterdir()):
        if match := _FILE.fullmatch(path.name):
            modality = match["modality"].lower()
            found.append(((_NAMES.get(modality, modality), match["split"] or ""), path))
    divided = [one for one in found if one[0][1]]
    return divided or [one for one in found if one[0][0] in (*_KNOWN, "y")]


class _Reader(Reader):
    """A folder of HDF5 files per modality and split.

    The files name no samples, so these are called ``train-0000``, ``train-0001`` …, and no
    videos, so the groups are not known.
    """

    def __init__(self, source: Path, options: MfnOptions, encoder: object) -> None:
        self.source, self.task = source, options.task
        files = _files(source)
        if not options.reads_labels:
            files = {key: path for key, path in files.items() if key[0] != "y"}
        found = {split for _, split in files}
        splits = self._splits = [split for split in ("train", "valid", "test", "") if split in found]
        known = {modality for modality, _ in files} - {"y"}
        modalities = options.modalities or tuple(
            sorted(known, key=lambda name: (["text", "audio", "vision", name].index(name), name))
        )
        if unknown := [name for name in modalities if name not in known]:
            raise ConfigError(
                f"`{source}` has no files for the modality `{unknown[0]}`; it has {', '.join(sorted(known))}."
            )
        with ExitStack() as opened:
            arrays = self._arrays = {
                (name, split): _only_array(opened.enter_context(open_arrays(path)))
                for (name, split), path in files.items()
                if name in ("y", *modalities)
            }
            self.sizes = [_check(split, modalities, files, arrays) for split in splits]
            dims = _dims(modalities, splits, files, arrays)
            scores = [
                score
                for split, size in zip(splits, self.sizes, strict=True)
                for score in (
                    chosen_labels(
                        np.asarray(arrays["y", split][...]),
                        options.task,
                        options.label_index,
                        f"`{files['y', split]}`",
                    )
                    if ("y", split) in arrays
                    else [None] * size
                )
            ]
            self._opened = opened.pop_all()
        self._files = [files[key] for key in arrays]
        named = list(zip(splits, self.sizes, strict=True))
        ids = [f"{split or source.name}-{row:04d}" for split, size in named for row in range(size)]
        self.samples = Samples(
            ids,
            [split for split, size in named for _ in range(size)],
            scores if any(name == "y" for name, _ in files) else None,
            lambda row: f"`{source}` sample `{ids[row]}`",
            "the y files",
            label_name=", ".join(options.task.labels) or "y",
        )
        self.features = {
            name: Feature(
                Modality(dims[name], "sequence", f"mfn:{name}"), f"{source}:{name}", drop_zeros=True
            )
            for name in modalities
        }
        self.paddings = {
            name: Padding(name, max(steps), "steps of zeros in all modalities")
            for name in modalities
            if (steps := [arrays[name, split].shape[1] for split in splits if (name, split) in arrays])
        }
        self.notes = [
            "modalities are aligned step by step",
            "the files name neither samples nor videos, so the samples are numbered and the groups are not known",
            *(
                f"`{name}` is absent in {split}"
                for name in modalities
                for split in splits
                if (name, split) not in files
            ),
            *(
                f"the samples {f'of {split} ' if split else ''}have no file of labels, so they are unlabelled"
                for split in splits
                if ("y", split) not in files
            ),
        ]

    def read(self, part: int, rows: Sequence[int]) -> Steps:
        split = self._splits[part]
        block = {
            name: np.asarray(self._arrays[name, split][rows[0] : rows[-1] + 1])
            for name in self.features
            if (name, split) in self._arrays
        }
        windows = [nonzero_window(*(values[row - rows[0]] for values in block.values())) for row in rows]
        return Steps(
            {
                name: [
                    self.paddings[name].cut(values[row - rows[0]], *window)
                    for row, window in zip(rows, windows, strict=True)
                ]
                for name, values in block.items()
            }
        )

    def sources(self) -> list[Path]:
        return self._files

    def close(self) -> None:
        self._opened.close()


def _files(source: Path) -> dict[tuple[str, str], Path]:
    if not source.is_dir():
        raise DataError(f"`{source}` must be a folder with audio_train.h5, y_train.h5 …, but it is none.")
    files: dict[tuple[str, str], Path] = {}
    for key, path in _named(source):
        if key in files:
            raise DataError(
                f"`{source}` has two files for `{key[0]}` in {key[1] or 'no split'}: {files[key].name} and {path.name}."
            )
        files[key] = path
    if not {modality for modality, _ in files} - {"y"}:
        raise DataError(
            f"`{source}` has no audio_train.h5, y_train.h5 … and no audio.h5, video.h5 …, so it does not have the MFN "
            "layout."
        )
    return files


def _only_array(file: ArrayFile) -> Any:
    keys = file.keys()
    if len(keys) != 1:
        raise DataError(
            f"`{file.path}` must hold exactly one dataset, but holds "
            f"{len(keys)}: {', '.join(keys[:5]) or 'none'}."
        )
    array = file.array(keys[0])
    if array.dtype.kind not in "biuf":
        raise DataError(f"`{file.path}:{keys[0]}` must hold numbers, but its type is {array.dtype}.")
    return array


def _check(
    split: str,
    modalities: tuple[str, ...],
    files: dict[tuple[str, str], Path],
    arrays: dict[tuple[str, str], Any],
) -> int:
    present = [name for name in modalities if (name, split) in arrays]
    if not present:
        place = next(path for (_, of), path in files.items() if of == split)
        raise DataError(f"`{place.parent}` has no features for {split}; add a file or take out {place.name}.")
    first = "y" if ("y", split) in arrays else present[0]
    shape = arrays[first, split].shape
    size = shape[0] if shape else 0
    if first == "y" and (len(shape) not in (1, 2, 3) or 0 in shape):
        raise DataError(
            f"`{files['y', split]}` must hold one label or several per sample, but has shape {shape}."
        )
    steps = {}
    for name in present:
        shape, path = arrays[name, split].shape, files[name, split]
        if len(shape) != 3 or not shape[2]:
            raise DataError(f"`{path}` must have shape (samples, steps, features), but has {shape}.")
        if shape[0] != size:
            raise DataError(f"`{path}` has {shape[0]} samples, but `{files[first, split].name}` has {size}.")
        steps[name] = shape[1]
    if len(set(steps.values())) > 1:
        raise DataError(
            f"`{files[first, split].parent}` must have the same steps for all modalities"
            f"{f' of {split}' if split else ''}, but has {steps}."
        )
    return size


def _dims(
    modalities: tuple[str, ...],
    splits: list[str],
    files: dict[tuple[str, str], Path],
    arrays: dict[tuple[str, str], Any],
) -> dict[str, int]:
    dims: dict[str, int] = {}
    for name in modalities:
        for split in splits:
            if (name, split) in arrays:
                dim = arrays[name, split].shape[2]
                if dims.setdefault(name, dim) != dim:
                    raise DataError(
                        f"`{files[name, split]}` has {dim} features, but an earlier split has {dims[name]}."
                    )
    return dims


MFN = Layout(
    "mfn",
    "one HDF5 file per modality and split, as of the MFN code",
    "One HDF5 file per modality and split: audio_train.h5 … y_test.h5.",
    MfnOptions,
    _Reader,
    lambda candidate: is_mfn(candidate.path),
)
