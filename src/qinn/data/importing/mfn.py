"""The layout of the MFN code: one HDF5 file per modality and split, in one folder.

``audio_train.h5`` … ``video_test.h5`` (also ``text_test_emb.h5``) hold one dataset (n, steps, features) each,
and ``y_train.h5`` … the scores (n). Steps are words, the same for every modality, padded by zeros; a modality
whose file is missing for a split is absent there.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.array_file import ArrayFile
from qinn.data.files.arrays import open_arrays
from qinn.data.importing.intake import Intake, Progress, naming
from qinn.data.importing.labels import TaskOptions, read_labels
from qinn.data.importing.steps import Padding, StepCleaner, nonzero_window
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import ConfigError, DataError

__all__ = ["MfnOptions", "import_mfn", "is_mfn"]

_FILE = re.compile(r"(?P<modality>[a-zA-Z]+)_(?P<split>train|valid|test)(?:_emb)?\.h5")
_NAMES = {"video": "vision", "visual": "vision", "acoustic": "audio"}


@dataclass(frozen=True)
class MfnOptions:
    """How a folder of the MFN layout is to be read.

    Attributes:
        task: What the scores mean.
        modalities: Which to take, in order (``text``, ``audio``, ``vision``); None takes all that are there.
        nan: What to do about NaN and infinite values.
        empty: What to do about samples without a step in any modality: ``"refuse"`` or ``"drop"``.
    """

    task: TaskOptions = field(default_factory=TaskOptions)
    modalities: tuple[str, ...] | None = None
    nan: str = "refuse"
    empty: str = "refuse"


def is_mfn(folder: Path) -> bool:
    """Tell whether a folder has the layout."""
    return folder.is_dir() and any(folder.glob("y_*.h5"))


def import_mfn(
    source: Path | str,
    target: Path | str,
    options: MfnOptions | None = None,
    *,
    progress: Progress | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Store:
    """Import a folder of per-split HDF5 files into a store, a piece at a time.

    The files name no samples, so these are called ``train-0000``, ``train-0001`` …, and no
    videos, so the groups are not known.

    Args:
        source: The folder.
        target: Folder of the store to be.
        options: What to take; see `MfnOptions`.
        progress: Told how many samples are done.
        name: Name of the data set; by default the target's.
        overwrite: Replace an existing store.

    Raises:
        DataError: If files are missing, damaged or don't fit each other.
        ConfigError: If a modality is asked for that no file holds.
    """
    source, target, options = Path(source), Path(target), options or MfnOptions()
    files = _files(source)
    splits = [split for split in ("train", "valid", "test") if ("y", split) in files]
    known = {modality for modality, split in files if split in splits} - {"y"}
    modalities = options.modalities or tuple(
        sorted(known, key=lambda name: (["text", "audio", "vision", name].index(name), name))
    )
    if unknown := [name for name in modalities if name not in known]:
        raise ConfigError(
            f"`{source}` has no files for the modality `{unknown[0]}`; it has {', '.join(sorted(known))}."
        )
    opened: dict[tuple[str, str], ArrayFile] = {}
    try:
        arrays = {}
        for key, path in files.items():
            if key[0] == "y" or (key[0] in modalities and key[1] in splits):
                opened[key] = open_arrays(path)
                arrays[key] = _only_array(opened[key])
        sizes = {split: _check(split, modalities, files, arrays) for split in splits}
        dims = _dims(modalities, splits, files, arrays)
        ids = [f"{split}-{row:04d}" for split in splits for row in range(sizes[split])]
        scores = [score for split in splits for score in np.asarray(arrays["y", split][...]).reshape(-1)]
        labels = read_labels(
            scores,
            len(ids),
            options.task,
            place=lambda row: f"`{source}` sample `{ids[row]}`",
            what="the y files",
        )
        cleaners = {
            name: StepCleaner(name, f"{source}:{name}", options.nan, drop_zeros=True) for name in modalities
        }
        paddings = {
            name: Padding(name, max(steps), "steps of zeros in all modalities")
            for name in modalities
            if (steps := [arrays[name, split].shape[1] for split in splits if (name, split) in arrays])
        }
        absent = [
            f"`{name}` is absent in {split}"
            for name in modalities
            for split in splits
            if (name, split) not in files
        ]
        with (
            naming(source),
            StoreWriter(
                target,
                name=name or target.name,
                task=labels.task,
                modalities={name: Modality(dims[name], "sequence", f"mfn:{name}") for name in modalities},
                layout="mfn",
                sources=[files[key] for key in arrays],
                notes=[
                    "modalities are aligned step by step",
                    *absent,
                    *labels.notes,
                ],
                overwrite=overwrite,
            ) as writer,
        ):
            intake = Intake(writer, total=len(labels.kept), empty=options.empty, progress=progress)
            for chunk in labels.chunks(sizes[split] for split in splits):
                split, rows = splits[chunk.part], chunk.rows
                block = {
                    name: np.asarray(arrays[name, split][rows[0] : rows[-1] + 1])
                    for name in modalities
                    if (name, split) in arrays
                }
                names = [ids[chunk.first + row] for row in rows]
                features: dict[str, list[np.ndarray | None]] = {name: [] for name in block}
                for row, sample in zip(rows, names, strict=True):
                    window = nonzero_window(*(values[row - rows[0]] for values in block.values()))
                    for name, values in block.items():
                        steps = paddings[name].cut(values[row - rows[0]], *window)
                        features[name].append(cleaners[name].clean(steps, sample))
                intake.add(names, features, splits=[split] * len(rows), labels=chunk.values)
            intake.finish(
                note for counter in (*paddings.values(), *cleaners.values()) for note in counter.notes()
            )
    finally:
        for file in opened.values():
            file.close()
    return Store.open(target)


def _files(source: Path) -> dict[tuple[str, str], Path]:
    if not source.is_dir():
        raise DataError(f"`{source}` must be a folder with audio_train.h5, y_train.h5 …, but it is none.")
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(source.iterdir()):
        if match := _FILE.fullmatch(path.name):
            modality = match["modality"].lower()
            key = (_NAMES.get(modality, modality), match["split"])
            if key in files:
                raise DataError(
                    f"`{source}` has two files for `{key[0]}` in {key[1]}: {files[key].name} and {path.name}."
                )
            files[key] = path
    if not any(modality == "y" for modality, _ in files):
        raise DataError(
            f"`{source}` has no y_train.h5, y_valid.h5 or y_test.h5, so it does not have the MFN layout."
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
    labels = arrays["y", split]
    size = int(np.prod(labels.shape))
    if not labels.shape or size != labels.shape[0]:
        raise DataError(
            f"`{files['y', split]}` must hold one score per sample, but has shape {labels.shape}."
        )
    present = [name for name in modalities if (name, split) in arrays]
    if not present:
        raise DataError(
            f"`{files['y', split].parent}` has no features for {split}; add a file or take out y_{split}.h5."
        )
    steps = {}
    for name in present:
        shape, path = arrays[name, split].shape, files[name, split]
        if len(shape) != 3 or not shape[2]:
            raise DataError(f"`{path}` must have shape (samples, steps, features), but has {shape}.")
        if shape[0] != size:
            raise DataError(f"`{path}` has {shape[0]} samples, but `{files['y', split].name}` has {size}.")
        steps[name] = shape[1]
    if len(set(steps.values())) > 1:
        raise DataError(
            f"`{files['y', split].parent}` must have the same steps for all "
            f"modalities of {split}, but has {steps}."
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
