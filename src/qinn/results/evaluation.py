"""A finished run evaluated again, from its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from qinn.evaluation.intervals import Interval
from qinn.evaluation.metric_names import metrics_of
from qinn.explain.activity import sleep_remarks
from qinn.results.as_json import OPTIONAL
from qinn.results.metric_columns import by_label
from qinn.results.number_text import FINE, interval, number
from qinn.results.summary import RunMetrics, RunSummary
from qinn.results.tables import Cell, Table, columns


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

    @property
    def differs(self) -> bool:
        """Whether outputs are others than those that the run stored, on the kind of device that made these."""
        found = self.agreement
        return found is not None and found.same_device and not found.agrees

    @property
    def notes(self) -> list[str]:
        """What a user should know: remarks, and how near outputs are to those that the run stored."""
        notes = [f"note: {remark}" for remark in self.remarks]
        if self.largest_difference is not None:
            notes.append(f"largest difference from the stored predictions: {self.largest_difference:.1e}")
        if self.agreement is not None and not self.agreement.agrees:
            where = (
                "on the kind of device that made them: weights, code or libraries are not those of the run"
                if self.differs
                else "on another kind of device than made them"
            )
            notes.append(
                f"{'error' if self.differs else 'note'}: the weights give other outputs than the run stored, by "
                f"{self.agreement.difference:.1e} of the label range (more than {self.agreement.tolerance:.0e}), "
                f"{where}"
            )
        return notes

    def tables(self, run: str) -> list[Table]:
        """Return the metrics, before them those of the samples as they are where something was taken away.

        Args:
            run: What the run is called.
        """
        run = f"{run} (asleep)" if sleep_remarks(self.remarks) else run
        title = f"{run} on {self.samples} {self.split or ''} samples".replace("  ", " ")
        if self.missing is None or self.complete is None:
            return intervals_tables(self.metrics, self.labels, title)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.missing.absent.items())
        absent = f"modalities absent ({shares}; {self.missing.empty} samples have nothing left)"
        return [
            *intervals_tables(self.complete, self.labels, f"{title}: as they are"),
            *intervals_tables(self.metrics, self.labels, f"{title}, {absent}"),
        ]

    def table(self) -> Table:
        """Return the metrics."""
        notes = tuple(sleep_remarks(self.remarks))
        return replace(intervals_table(self.metrics, self.labels), notes=notes)

    def _repr_html_(self) -> str:
        return self.table().to_html()


def intervals_table(found: Mapping[str, Interval], labels: Mapping[str, str], title: str = "") -> Table:
    """Return metrics with their intervals, without those of single labels.

    Args:
        found: Metric → its value and interval.
        labels: Metric → its wording.
        title: What they are of.
    """
    single = {name for of_one in by_label(found).values() for name in of_one.values()}
    rows = (
        (
            Cell(labels.get(name, name)),
            *(Cell(number(value, digits=FINE)) for value in (one.value, one.low, one.high)),
        )
        for name, one in found.items()
        if name not in single
    )
    return Table("", columns("metric", "value", "low", "high"), tuple(rows), title=title)


def intervals_tables(
    found: Mapping[str, Interval], labels: Mapping[str, str], title: str = ""
) -> list[Table]:
    """Return metrics with their intervals, and where there are several labels a table with a row for each.

    Args:
        found: Metric → its value and interval.
        labels: Metric → its wording.
        title: What they are of.
    """
    single = labels_table(found, title, only=("weighted_accuracy", "f1_binary", "auc"))
    return [intervals_table(found, labels, title), *([] if single is None else [single])]


def labels_table(
    found: Mapping[str, Interval], title: str = "", caption: str = "", *, only: Sequence[str] | None = None
) -> Table | None:
    """Return the metrics of each of several labels; None where there are none.

    Args:
        found: Metric → its value and interval.
        title: What they are of.
        caption: The same in a sentence.
        only: The metrics, in this order; None for all.
    """
    of_labels = by_label(found)
    if not of_labels:
        return None
    names = list(next(iter(of_labels.values()))) if only is None else only
    rows = tuple(
        (
            Cell(label),
            *(
                Cell(
                    "undefined" if one.value is None else number(one.value), interval(one.low, one.high) or ""
                )
                for one in (found[of_one[name]] for name in names)
            ),
        )
        for label, of_one in of_labels.items()
    )
    return Table(caption, columns("label", *names), rows, title=f"{title}, by label".lstrip(", "))


def metrics_tables(summary: RunSummary, found: RunMetrics) -> list[Table]:
    """Return a run's test metrics with their intervals, of several labels also those of each."""
    labels = {name: metric.label for name, metric in metrics_of(summary.task).items()}
    asleep = ", asleep" if sleep_remarks(summary.remarks) else ""
    title = f"{summary.title}, {summary.num_parameters:,} parameters{asleep}: test"
    return intervals_tables(found.test, labels, title)
