"""What runs say without what a sweep takes away from them, kept until the sweep is written: hours of computing."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.atomic_writing import PARTIAL_SUFFIX, complete_file
from qinn.experiment import provenance
from qinn.file_kinds import DAMAGED_ARCHIVE
from qinn.results.folder import RunFolder
from qinn.results.sweep import Shares

__all__ = ["KeptOutputs", "SweptOutputs"]

_FOLDER = f".outputs{PARTIAL_SUFFIX}"


@dataclass(frozen=True)
class SweptOutputs:
    """One run's outputs at every rate, for every choice of modalities, and for samples that have nothing."""

    rates: Float[np.ndarray, "rate mask sample output"]
    subsets: Float[np.ndarray, "subset 1 sample output"]
    empty: Float[np.ndarray, "sample output"]
    shares: tuple[Shares, ...]


class KeptOutputs:
    """Outputs of runs in a hidden folder beside the result, for a sweep that ended before it was written.

    Args:
        target: Folder of the sweep.
        asked: All on which outputs depend beside the run, as JSON can hold it.
    """

    def __init__(self, target: Path, asked: object) -> None:
        self._folder = target / _FOLDER
        self._code = provenance.code_digest()[:12]
        self._asked = json.dumps([provenance.code_digest(), asked], sort_keys=True)
        self._places: set[Path] = set()

    def of(self, run: RunFolder, digest: str, make: Callable[[], SweptOutputs]) -> SweptOutputs:
        """Return what is kept of a run, or what is made for it, which then is kept.

        Args:
            run: The run.
            digest: Its digest before it was loaded.
            make: Makes its outputs.

        Raises:
            CheckpointError: If the run was replaced since then.
            OutputError: If they cannot be kept.
        """
        told = f"{digest}\n{self._asked}"
        place = self._folder / f"{self._code}-{hashlib.sha256(told.encode()).hexdigest()[:32]}.npz"
        self._places.add(place)
        if place.is_file() and (found := _read(place)) is not None:
            return found
        made = make()
        run.check_unreplaced(digest)
        with complete_file(place, overwrite=True) as stream:
            shares = np.array([[*asdict(one).values()] for one in made.shares])
            np.savez(stream, rates=made.rates, subsets=made.subsets, empty=made.empty, shares=shares)
        return made

    def remove(self) -> None:
        """Remove what is kept for this sweep, which is written, or was made by other code.

        What a sweep of other options has left stays for it.
        """
        with suppress(OSError):
            others = {one for one in self._folder.glob("*.npz") if not one.name.startswith(f"{self._code}-")}
            for place in self._places | others:
                place.unlink(missing_ok=True)
            self._folder.rmdir()


def _read(place: Path) -> SweptOutputs | None:
    """Read outputs; None where the file is damaged."""
    try:
        with place.open("rb") as stream, np.load(stream) as file:
            shares = tuple(Shares(*map(float, row)) for row in file["shares"])
            return SweptOutputs(file["rates"], file["subsets"], file["empty"], shares)
    except (*DAMAGED_ARCHIVE, KeyError, TypeError):
        return None
