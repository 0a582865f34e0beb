"""What every reader does with its samples: splits, groups, and chunks on their way into the store."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.stores.store import StoreWriter
from qinn.errors import ConfigError, DataError

__all__ = ["Intake", "Progress", "groups_of", "naming", "split_name", "video_of"]


_SPLITS = {
    "train": ("train", "training", "trn"),
    "valid": ("valid", "validation", "val", "dev", "development"),
    "test": ("test", "testing", "tst"),
}


Progress = Callable[[int, int], None]
"""Told how many samples are done, and how many there are."""


class Intake:
    """Hands chunks of samples to a store's writer and leaves out, if asked to, those without any step.

    Args:
        writer: The open writer.
        total: Number of samples that will come.
        empty: What to do about samples that lack every modality: ``"refuse"`` or ``"drop"``.
        progress: Told how many samples are done.
    """

    def __init__(self, writer: StoreWriter, *, total: int, empty: str, progress: Progress | None) -> None:
        if empty not in ("refuse", "drop"):
            raise ConfigError(f"Option `empty` must be refuse or drop, but it is `{empty}`.")
        self._writer = writer
        self._total = total
        self._empty = empty
        self._progress = progress
        self._done = 0
        self._dropped = 0

    def add(
        self,
        ids: Sequence[str],
        features: Mapping[str, Sequence[np.ndarray | None]],
        *,
        splits: Sequence[str],
        labels: Sequence[float | int | None],
        groups: Sequence[str] | None = None,
        folds: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        extra: Mapping[str, Sequence[Any]] | None = None,
        spans: Mapping[str, Sequence[np.ndarray]] | None = None,
        times: Mapping[str, Sequence[np.ndarray | None]] | None = None,
    ) -> None:
        """Add a chunk of samples.

        Args:
            ids: Their ids.
            features: Modality → one array (steps, features) per sample, or None.
            splits: One per sample.
            labels: One per sample; None = unlabelled.
            groups: One per sample.
            folds: One per sample.
            texts: One per sample.
            extra: Further columns.
            spans: Modality → the characters of its text that each step stands for, one array per sample.
            times: Modality → the seconds at which its steps happen, one array per sample.

        Raises:
            DataError: If a sample lacks every modality and that is refused, or the writer refuses one.
        """
        filled = [
            any((value := values[row]) is not None and value.size > 0 for values in features.values())
            for row in range(len(ids))
        ]
        if not all(filled) and self._empty == "refuse":
            raise DataError(
                f"Sample `{ids[filled.index(False)]}` has no step in any modality; complete it, "
                "or import with `--empty drop`."
            )

        def keep(values: Sequence[Any] | None) -> list[Any]:
            values = [""] * len(ids) if values is None else values
            return [value for value, stays in zip(values, filled, strict=True) if stays]

        if any(filled):
            self._writer.add_many(
                keep(ids),
                {name: keep(values) for name, values in features.items()},
                splits=keep(splits),
                labels=keep(labels),
                groups=keep(groups),
                folds=keep(folds),
                texts=keep(texts),
                extra={name: keep(values) for name, values in (extra or {}).items()},
                spans={name: keep(values) for name, values in (spans or {}).items()},
                times={name: keep(values) for name, values in (times or {}).items()},
            )
        self._dropped += filled.count(False)
        self._done += len(ids)
        if self._progress is not None:
            self._progress(self._done, self._total)

    def finish(self, notes: Iterable[str]) -> None:
        """Note what was done to the samples."""
        for note in notes:
            self._writer.note(note)
        if self._dropped:
            self._writer.note(f"{self._dropped} samples without a step in any modality were left out")


def split_name(value: Any, place: str) -> str:
    """Return train, valid, test or empty for what a source calls its splits.

    Raises:
        DataError: If the name is none that is known.

    Examples:
        >>> split_name("Dev", "line 3")
        'valid'
    """
    text = str(value).strip().lower()
    for split, names in _SPLITS.items():
        if text in names:
            return split
    if text:
        raise DataError(
            f"{place} has the split `{str(value)[:60]}`, which is unknown; use "
            "train, valid (val, dev), test or nothing."
        )
    return ""


def groups_of(ids: Sequence[str], pattern: str) -> list[str]:
    """Find each sample's group by a regular expression on its id.

    Args:
        ids: Sample ids.
        pattern: Its first parenthesis is the group; found from the start of the id.

    Raises:
        ConfigError: If the pattern is no regular expression or has no parenthesis.
        DataError: If it does not match an id.

    Examples:
        >>> groups_of(["video_1_07", "video_2_11"], r"(video_\\d+)_")
        ['video_1', 'video_2']
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"Option `group_pattern` `{pattern}` is no regular expression: {error}.") from error
    if not compiled.groups:
        raise ConfigError(
            f"Option `group_pattern` `{pattern}` must mark the group by a parenthesis, as in `(.+)_`."
        )
    groups = []
    for name in ids:
        match = compiled.match(name)
        if match is None or not match[1]:
            raise DataError(
                f"Sample `{name}` does not match the group pattern `{pattern}`; correct the pattern."
            )
        groups.append(match[1])
    return groups


def video_of(name: str) -> str:
    """Return the video in a segment's name, as the field's files write it; empty if it names none.

    Examples:
        >>> video_of("03bSnISJMiM$_$11"), video_of("03bSnISJMiM[11]"), video_of("sample 7")
        ('03bSnISJMiM', '03bSnISJMiM', '')
    """
    for mark in ("$_$", "["):
        if mark in name:
            return name.split(mark)[0]
    return ""


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Let every refusal name the source."""
    try:
        yield
    except DataError as error:
        if source.name in str(error):
            raise
        raise DataError(f"`{source}`: {error}") from error
