"""What tables show of how much learned dynamics do."""

from collections.abc import Iterable
from dataclasses import dataclass

from qinn.explain.activity import Activity
from qinn.results.tables import Cell

_COLUMNS = {
    "jumps": ("jumps", "expected jumps of a trajectory"),
    "turning": ("‖H‖T", "largest angle (rad) by which the Hamiltonian turns phases"),
    "contraction": ("contraction", "how much of the memory a step makes it forget"),
    "rotation": ("rotation", "angle (rad) by which a step turns the memory"),
    "entanglement": ("E", "entanglement entropy (bits) after the evolution, mean over the cuts"),
}


@dataclass(frozen=True)
class ActivityColumns:
    """Columns of a table for whatever any of its models has.

    Attributes:
        kinds: What is shown, as `Activity` calls it.

    Examples:
        >>> columns = ActivityColumns.of([None, Activity(jumps=0.25, turning=0.888)])
        >>> columns.headings, [cell.text for cell in columns.cells(None)]
        (('jumps', '‖H‖T'), ['–', '–'])
    """

    kinds: tuple[str, ...]

    @classmethod
    def of(cls, models: Iterable[Activity | None]) -> "ActivityColumns":
        """Return the columns for the activities of all models of a table, None for one without dynamics."""
        known = [model for model in models if model is not None]
        return cls(tuple(kind for kind in _COLUMNS if any(getattr(one, kind) is not None for one in known)))

    @property
    def headings(self) -> tuple[str, ...]:
        """Their headings."""
        return tuple(_COLUMNS[kind][0] for kind in self.kinds)

    @property
    def note(self) -> str:
        """What the headings mean."""
        return "; ".join(": ".join(_COLUMNS[kind]) for kind in self.kinds)

    def cells(self, activity: Activity | None) -> list[Cell]:
        """Return the cells of a model."""
        values = [None if activity is None else getattr(activity, kind) for kind in self.kinds]
        return [Cell("–" if value is None else f"{value:.2g}") for value in values]
