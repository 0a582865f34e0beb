"""A run along the knob of its coupling, as ``coupling.json`` keeps it, and its table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.digests import file_digest
from qinn.errors import CheckpointError
from qinn.explain.activity import Activity
from qinn.results.documents import read_document, write_document
from qinn.results.folder import RunFolder
from qinn.results.number_text import counted
from qinn.results.tables import Cell, Table, columns

FORMAT = "qinn-coupling"
VERSION = 2
FILE = "coupling.json"

_NAMES = {
    "entanglement": "entanglement (bits)",
    "jumps": "jumps",
    "turning": "‖H‖T",
    "contraction": "contraction",
    "rotation": "rotation",
    "output": "mean score",
    "shift": "shift",
}
_METRICS = ("mae", "corr", "accuracy", "f1_macro")
"""Metrics that are shown, the first two that a task has."""


@dataclass(frozen=True, kw_only=True)
class CouplingPoint(Activity):
    """A run at one setting of the knob, and what its dynamics do there.

    Attributes:
        coupling: The setting; 1 is what was learned.
        output: Mean score; None for classes.
        shift: How far scores, or probabilities, move on average from those at 1.
        metrics: Metric → its value; None where samples have no labels.
    """

    coupling: float
    output: float | None = None
    shift: float
    metrics: Mapping[str, float | None] | None = None


@dataclass(frozen=True, kw_only=True)
class CouplingResult:
    """A run along the knob of its coupling: content of ``coupling.json``.

    Attributes:
        run_sha256: Hash of the run's ``run.json``.
        split: Which they are; None for all of a store.
        own_data: Whether they are the run's own, nothing taken away.
        shifted: Whether ``shift`` is of a ``"score"`` or of a ``"probability"``.
        points: One for each setting.
    """

    format: str = FORMAT
    version: int = VERSION
    qinn_version: str | None = None
    run_sha256: str
    samples: int
    split: str | None
    own_data: bool
    shifted: str
    points: tuple[CouplingPoint, ...]
    files: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write ``coupling.json`` into a folder."""
        write_document(folder / FILE, self)

    def columns(self) -> dict[str, Float[np.ndarray, "setting"]]:
        """Return what the settings have, by heading; what none has is left out, what one lacks is NaN."""
        known = {name for point in self.points for name in point.metrics or {}}
        found = {wording: [getattr(point, name) for point in self.points] for name, wording in _NAMES.items()}
        for name in [name for name in _METRICS if name in known][:2]:
            found[name] = [(point.metrics or {}).get(name) for point in self.points]
        arrays = {
            name: np.array([np.nan if value is None else value for value in values], dtype=np.float64)
            for name, values in found.items()
        }
        return {name: values for name, values in arrays.items() if np.isfinite(values).any()}

    def drawn_columns(self) -> list[str]:
        """Return the headings that a figure shows: entanglement or contraction, shift, and metrics."""
        found = self.columns()
        first = _NAMES["entanglement" if _NAMES["entanglement"] in found else "contraction"]
        return [name for name in (first, _NAMES["shift"], *_METRICS) if name in found]

    def table(self, title: str) -> Table:
        """Return a row for each setting.

        Args:
            title: The run, in words.
        """
        found = self.columns()
        rows = [
            (
                Cell(f"{point.coupling:g}"),
                *(Cell("–" if np.isnan(values[row]) else f"{values[row]:z.4f}") for values in found.values()),
            )
            for row, point in enumerate(self.points)
        ]
        shifted = "score" if self.shifted == "score" else "probability of the class that the run predicts"
        return Table(
            f"What couples the modalities (or memory and stream) of {title} times a factor, "
            f"{counted(self.samples, (self.split or 'given') + ' sample')}; 1 is what was learned, and nothing is "
            "trained again. Entanglement: entropy after the evolution, mean over samples, trajectories and cuts; "
            f"shift: mean change of the {shifted} from that at 1.",
            columns("coupling", *found),
            tuple(rows),
            title=f"Along the coupling, {counted(self.samples, 'sample')}",
        )

    def _repr_html_(self) -> str:
        return self.table("a run").to_html()


def read_coupling(folder: Path, run: RunFolder) -> CouplingResult | None:
    """Read what `qinn explain --coupling` wrote into a folder, known to be of a run and of its own data.

    Returns:
        The result; None where there is none on the run's own data.

    Raises:
        CheckpointError: If the file was changed, or is of another run.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    found = read_document(
        path,
        CouplingResult,
        format=FORMAT,
        what="what `qinn explain --coupling` writes",
        newest=VERSION,
        remedy="repeat `qinn explain --coupling`",
    )
    if found.run_sha256 != file_digest(run.summary_file):
        raise CheckpointError(
            f"`{path}` is of another run than `{run.path}`; repeat `qinn explain --coupling`."
        )
    return found if found.own_data else None
