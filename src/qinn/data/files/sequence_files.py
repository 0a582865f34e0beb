"""One .csd file of the CMU-MultimodalSDK, read video by video.

It holds one group whose ``data`` has, for every video, ``features`` (steps, d) and ``intervals`` (steps, 2) in
seconds; files that the SDK has aligned call their entries ``video[0]``, ``video[1]`` …. Timed words are
byte strings (steps, 1).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from qinn.data.files.array_file import decoded
from qinn.data.files.arrays import Hdf5File
from qinn.data.files.step_alignment import Timed
from qinn.errors import DataError

__all__ = ["SequenceFile"]


class SequenceFile:
    """A computational sequence; use as a context manager.

    Args:
        path: The .csd file.
        words: Whether its features are words and not numbers.
        only_times: Whether its intervals alone are wanted: its features are not read, and one column of zeros.

    Attributes:
        path: The file.
        videos: The videos in it, in the file's order.
        dim: Width of a feature vector (1 for words).

    Raises:
        DataError: If the file is missing, damaged, or no computational sequence.
    """

    def __init__(self, path: Path, *, words: bool = False, only_times: bool = False) -> None:
        self.path = path
        self._words, self._only_times = words, only_times
        if not path.is_file():
            raise DataError(f"`{path}` does not exist or is no file.")
        self._file = Hdf5File(path)
        try:
            self._data = self._root()
            self._entries: dict[str, list[str]] = {}
            for entry in self._file.children(self._data) or []:
                self._entries.setdefault(entry.split("[")[0] if entry.endswith("]") else entry, []).append(
                    entry
                )
            for entries in self._entries.values():
                entries.sort(key=_number)
            self.videos = list(self._entries)
            self.dim = 1 if words or not self.videos else self.read(self.videos[0]).values.shape[1]
        except DataError:
            self._file.close()
            raise

    def __enter__(self) -> "SequenceFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __contains__(self, video: str) -> bool:
        return video in self._entries

    def reads(self, path: Path) -> bool:
        """Tell whether this is a certain file."""
        return self.path.samefile(path) if path.exists() else False

    def whole(self, video: str, others: Iterable["SequenceFile"]) -> Timed:
        """Return each entry of a video as one step, from its first moment to its last.

        Args:
            video: The video; where it is a single entry, it lasts as long as in any of the others.
            others: Further sequences.

        Raises:
            DataError: If an entry is damaged.
        """
        entries = self._entries[video]
        files = [self, *(one for one in others if video in one)] if len(entries) == 1 else [self]
        moments = [
            np.concatenate([file._read(entry if file is self else video)[1] for file in files])
            for entry in entries
        ]
        limits = np.array([(one.min(), one.max()) if one.size else (0.0, 0.0) for one in moments])
        return Timed(np.zeros((len(entries), 1)), limits, np.ones(len(entries), bool))

    def names(self, video: str, *, whole: bool = False) -> list[str]:
        """Name the steps of a video as samples: by the file's own entries, or else ``video[0]`` ….

        Args:
            video: The video.
            whole: Whether the entries are the samples, however many steps they have.

        Raises:
            DataError: If an entry is damaged.
        """
        entries = self._entries[video]
        if whole:
            return entries
        if entries != [video] and all(len(self._read(entry)[0]) == 1 for entry in entries):
            return entries
        return [f"{video}[{row}]" for row in range(len(self.read(video).times))]

    def read(self, video: str) -> Timed:
        """Read the steps of a video, those of all its entries.

        Raises:
            DataError: If they are missing, damaged or of another form.
        """
        parts = [self._read(entry) for entry in self._entries[video]]
        if len({part[0].shape[1:] for part in parts}) > 1:
            raise DataError(f"`{self.path}` video `{video}` has entries of different width.")
        values, times = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Timed(values, times, np.ones(len(values), bool))

    def _root(self) -> str:
        groups = self._file.children("") or []
        roots = [f"{name}/data" for name in groups if self._file.children(f"{name}/data") is not None]
        if len(roots) != 1:
            raise DataError(
                f"`{self.path}` is no computational sequence: it must hold one group "
                f"with `data`, but holds {len(roots)}."
            )
        return roots[0]

    def _read(self, entry: str) -> tuple[np.ndarray, np.ndarray]:
        needed = ("intervals",) if self._only_times else ("features", "intervals")
        keys = [f"{self._data}/{entry}/{key}" for key in needed]
        if not all(key in self._file for key in keys):
            raise DataError(
                f"`{self.path}` lacks {' or '.join(f'`{key}`' for key in needed)} for the video `{entry}`."
            )
        *features, times = (np.asarray(self._file.array(key)[...]) for key in keys)
        values = features[0] if features else np.zeros((len(times) if times.ndim else 0, 1))
        if times.dtype.kind == "f" and not np.isfinite(times).all():
            raise DataError(f"`{self.path}` video `{entry}` has intervals that are no times.")
        if self._words:
            return self._as_words(entry, values, times), times
        if (
            values.ndim != 2
            or times.shape != (len(values), 2)
            or values.dtype.kind not in "biuf"
            or times.dtype.kind not in "iuf"
            or not values.shape[1]
        ):
            raise DataError(
                f"`{self.path}` video `{entry}` must have numbers (steps, "
                "features) and intervals (steps, 2), "
                f"but has {values.dtype} of shape {values.shape} and {times.shape}."
            )
        return values, times

    def _as_words(self, entry: str, values: np.ndarray, times: np.ndarray) -> np.ndarray:
        if (
            values.ndim == 0
            or values.size != len(values)
            or values.dtype.kind not in "SUO"
            or times.shape != (len(values), 2)
            or times.dtype.kind not in "iuf"
        ):
            raise DataError(
                f"`{self.path}` video `{entry}` must have one word per step and intervals (steps, 2), but has "
                f"{values.dtype} of shape {values.shape} and {times.shape}."
            )
        return np.array([decoded(word) for word in values.reshape(-1)], object)


def _number(entry: str) -> tuple[int, str]:
    inside = entry[entry.find("[") + 1 : -1] if entry.endswith("]") else ""
    return (int(inside), entry) if inside.isdecimal() and len(inside) < 10 else (-1, entry)
