"""Encoded transcripts in files, which the runs of one command share: they save time, and nothing depends on them."""

import hashlib
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from qinn.atomic_writing import PARTIAL_SUFFIX, complete_file
from qinn.errors import OutputError

__all__ = ["ENCODINGS_FOLDER", "KeptEncodings"]

ENCODINGS_FOLDER = f".encoded{PARTIAL_SUFFIX}"
"""Hidden folder beside a result that goes when the result is there; one of an interrupted command is used again."""

_MOST_BYTES = 16 * 2**30
_DIGEST_SIZE = 32


class KeptEncodings:
    """Features by what they were made of, in a folder that other processes read and write at the same time.

    A file that is damaged is made anew. Where there is no room nothing is kept: the folder never has more than 16 GiB,
    nor more than stays free beside it. Once a file could not be written the folder is given up and emptied, since
    results may need the place.

    Args:
        folder: Where the files lie; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._keeps = folder, True

    def of(
        self, key: str, shape: tuple[int, int], make: Callable[[], Float32[np.ndarray, "step feature"]]
    ) -> Float32[np.ndarray, "step feature"]:
        """Return what is kept, or what is made, which then is kept.

        Args:
            key: Stands for all that the features are made of, by characters of a file's name.
            shape: Number of steps and of features.
            make: Makes them.
        """
        place = self._folder / key
        if (found := _read(place, shape)) is not None:
            return found
        made = make()
        if self._keeps:
            try:
                if self._has_room(made.nbytes):
                    with complete_file(place, overwrite=True) as stream:
                        stream.write(_digest(key, made))
                        stream.write(np.ascontiguousarray(made).data)
            except (OSError, OutputError):
                self._keeps = False
                shutil.rmtree(self._folder, ignore_errors=True)
        return made

    def _has_room(self, size: int) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = size
        for one in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process has just given it its name
                kept += one.stat().st_size
        return kept <= _MOST_BYTES and kept <= shutil.disk_usage(self._folder).free - size


def _read(place: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Read features; None where there are none, or other bytes than were written under this name."""
    try:
        with place.open("rb") as stream:
            digest = stream.read(_DIGEST_SIZE)
            values = np.fromfile(stream, np.float32, math.prod(shape) + 1)
    except OSError:
        return None
    if values.size != math.prod(shape) or digest != _digest(place.name, values):
        return None
    return values.reshape(shape)


def _digest(key: str, values: np.ndarray) -> bytes:
    digest = hashlib.blake2b(key.encode(), digest_size=_DIGEST_SIZE)
    digest.update(np.ascontiguousarray(values).data)
    return digest.digest()
