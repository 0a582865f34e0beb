"""A finished run evaluated again, from its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from qinn.evaluation.intervals import Interval
from qinn.results.as_json import OPTIONAL
from qinn.results.tables import Cell, Table, columns
from qinn.results.wording import number


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether outputs are those that a run stored.

    Attributes:
        difference: The largest, in parts of the label range (of classes: of probability).
        tolerance: What is taken for agreement on the same kind of device.
        same_device: Whether the run was made on this kind of device.
    """

    difference: float
    tolerance: float
    agrees: bool
    same_device: bool
    made_on: Mapping[str, str | int]
    here: Mapping[str, str]


@dataclass(frozen=True)
class Missing:
    """What was taken away from samples.

    Attributes:
        modalities: Modalities that all of them lose.
        rate: Probability with which each loses each of the others.
        absent: Modality → share of the samples that lack it then.
        empty: Number of samples that have nothing left.
    """

    modalities: tuple[str, ...]
    rate: float
    seed: int
    absent: Mapping[str, float]
    empty: int


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Metrics of a run, remade from its weights.

    Attributes:
        split: Which samples; None for all of a store.
        labels: Metric → its wording.
        largest_difference: From the outputs that the run stored; None for other samples.
        agreement: Whether they agree; None for other samples.
        complete: Metrics of the samples as they are; None where nothing was taken away.
    """

    split: str | None
    samples: int
    metrics: Mapping[str, Interval]
    labels: Mapping[str, str]
    largest_difference: float | None
    agreement: Agreement | None
    remarks: tuple[str, ...]
    complete: Mapping[str, Interval] | None = field(default=None, metadata=OPTIONAL)
    missing: Missing | None = field(default=None, metadata=OPTIONAL)

    def table(self) -> Table:
        """Return the metrics."""
        return intervals_table(self.metrics, self.labels)

    def _repr_html_(self) -> str:
        return self.table().to_html()


def intervals_table(found: Mapping[str, Interval], labels: Mapping[str, str], title: str = "") -> Table:
    """Return metrics with their intervals.

    Args:
        found: Metric → its value and interval.
        labels: Metric → its wording.
        title: What they are of.
    """
    rows = (
        (
            Cell(labels.get(name, name)),
            *(Cell(number(value, digits=4)) for value in (one.value, one.low, one.high)),
        )
        for name, one in found.items()
    )
    return Table("", columns("metric", "value", "low", "high"), tuple(rows), title=title)
