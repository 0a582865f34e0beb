"""Computational sequences of the CMU-MultimodalSDK: HDF5 files (.csd) with timed features per video.

A file holds one group whose ``data`` has, for every video, ``features`` (steps, d) and ``intervals``
(steps, 2) in seconds. The source is the sequence of labels: each of its intervals is a sample, and the
features of other files whose midpoint falls into it are the sample's steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qinn.data.readers.arrays import Hdf5File
from qinn.data.readers.columns import read_columns
from qinn.data.readers.labels import TaskOptions, read_labels
from qinn.data.readers.samples import Intake, Progress, naming, split_name
from qinn.data.readers.steps import StepCleaner
from qinn.data.store import Modality, Store, StoreWriter
from qinn.errors import ConfigError, DataError

__all__ = ["CsdOptions", "import_csd"]


@dataclass(frozen=True)
class CsdOptions:
    """How computational sequences are to be read.

    Attributes:
        features: Modality → .csd file of its features.
        task: What the labels mean; the first column of the labels is taken.
        splits: Table with the columns ``video`` and ``split``; None if there is no official split.
        nan: What to do about NaN and infinite values.
        empty: What to do about samples without a step in any modality: ``"refuse"`` or ``"drop"``.
    """

    features: Mapping[str, str | Path] = field(default_factory=dict)
    task: TaskOptions = field(default_factory=lambda: TaskOptions(scale="mosi"))
    splits: str | Path | None = None
    nan: str = "refuse"
    empty: str = "refuse"


def import_csd(
    source: Path | str,
    target: Path | str,
    options: CsdOptions,
    *,
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
        progress: Told how many samples are done.
        name: Name of the data set; by default the target's.
        overwrite: Replace an existing store.

    Raises:
        DataError: If files are damaged or don't fit each other; also if no feature falls into a segment.
        ConfigError: If no feature is named.
    """
    source, target = Path(source), Path(target)
    if not options.features:
        raise ConfigError(
            "Labels alone make no store: name at least one feature file, as in audio=COVAREP.csd."
        )
    splits: dict[str, str] = {}
    if options.splits is not None:
        table = read_columns(options.splits)
        for row, (video, split) in enumerate(zip(table.texts("video"), table.texts("split"), strict=True)):
            splits[video] = split_name(split, table.place(row))
    segments = _Sequence(source)
    opened = {name: _Sequence(Path(path)) for name, path in options.features.items()}
    try:
        videos = {video: segments.read(video) for video in segments.videos}
        ids = [f"{video}[{row}]" for video, (_, intervals) in videos.items() for row in range(len(intervals))]
        scores = [row[0] for values, _ in videos.values() for row in values]
        labels = read_labels(
            scores,
            len(ids),
            options.task,
            place=lambda row: f"`{source}` sample `{ids[row]}`",
            what="`features`",
        )
        by_row = dict(zip(labels.kept, labels.values, strict=True))
        cleaners = {name: StepCleaner(name, str(options.features[name]), options.nan) for name in opened}
        with (
            naming(source),
            StoreWriter(
                target,
                name=name or target.name,
                task=labels.task,
                modalities={
                    name: Modality(file.dim, "sequence", file.path.name) for name, file in opened.items()
                },
                layout="csd",
                sources=[source, *(file.path for file in opened.values())],
                notes=["a segment's steps are those whose midpoint it contains", *labels.notes],
                overwrite=overwrite,
            ) as writer,
        ):
            intake = Intake(writer, total=len(by_row), empty=options.empty, progress=progress)
            first = 0
            for video, (_, intervals) in videos.items():
                if splits and video not in splits:
                    raise DataError(f"`{options.splits}` has no split for the video `{video}` of `{source}`.")
                rows = [row for row in range(len(intervals)) if first + row in by_row]
                features: dict[str, list[np.ndarray | None]] = {}
                for modality, file in opened.items():
                    values, times = (
                        file.read(video)
                        if video in file.videos
                        else (np.zeros((0, file.dim)), np.zeros((0, 2)))
                    )
                    middle = times.mean(axis=1)
                    features[modality] = [
                        cleaners[modality].clean(
                            values[(middle >= intervals[row, 0]) & (middle < intervals[row, 1])],
                            ids[first + row],
                        )
                        for row in rows
                    ]
                intake.add(
                    [ids[first + row] for row in rows],
                    features,
                    splits=[splits.get(video, "")] * len(rows),
                    labels=[by_row[first + row] for row in rows],
                    groups=[video] * len(rows),
                    extra={"start": intervals[rows, 0].tolist(), "end": intervals[rows, 1].tolist()},
                )
                first += len(intervals)
            intake.finish(note for cleaner in cleaners.values() for note in cleaner.notes())
    finally:
        for file in (segments, *opened.values()):
            file.close()
    return Store.open(target)


class _Sequence:
    """One .csd file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"`{path}` does not exist or is no file.")
        self._file = Hdf5File(path)
        try:
            roots = [
                name
                for name in self._file.children("") or []
                if self._file.children(f"{name}/data") is not None
            ]
            if len(roots) != 1:
                raise DataError(
                    f"`{path}` is no computational sequence: it must hold one group "
                    f"with `data`, but holds {len(roots)}."
                )
            self._data = f"{roots[0]}/data"
            self.videos = self._file.children(self._data) or []
            if not self.videos:
                raise DataError(f"`{path}` holds no video.")
            self.dim = self.read(self.videos[0])[0].shape[1]
        except DataError:
            self._file.close()
            raise

    def read(self, video: str) -> tuple[np.ndarray, np.ndarray]:
        keys = [f"{self._data}/{video}/{key}" for key in ("features", "intervals")]
        if not all(key in self._file for key in keys):
            raise DataError(f"`{self.path}` lacks `features` or `intervals` for the video `{video}`.")
        values, times = (np.asarray(self._file.array(key)[...]) for key in keys)
        if (
            values.ndim != 2
            or times.shape != (len(values), 2)
            or times.dtype.kind not in "iuf"
            or values.dtype.kind not in "biuf"
            or not values.shape[1]
        ):
            raise DataError(
                f"`{self.path}` video `{video}` must have numbers (steps, "
                "features) and intervals (steps, 2), "
                f"but has {values.dtype} of shape {values.shape} and {times.shape}."
            )
        return values, times

    def close(self) -> None:
        self._file.close()
