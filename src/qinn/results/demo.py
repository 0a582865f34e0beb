"""Accuracy over the length of streams: what the demo's second half finds, and its tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from qinn.results.comparison import ComparisonResult
from qinn.results.tables import Cell, Table, columns

KINDS = {"recurring": "SETs recurring", "single": "one SET at the first step"}
"""Field of `LengthsRow` → how streams of that kind are called."""

BAYES, CONSTANT = "best possible (Bayes)", "best constant"


@dataclass(frozen=True)
class LengthsRow:
    """Accuracy of one predictor.

    Attributes:
        as_trained: On streams as it was trained on.
        recurring: On streams in which SETs recur, at each length.
        single: On streams with one SET, at the first step.
    """

    as_trained: float = field(metadata={"key": "as trained"})
    recurring: tuple[float, ...] = field(metadata={"key": KINDS["recurring"]})
    single: tuple[float, ...] = field(metadata={"key": KINDS["single"]})

    def of(self, kind: str) -> tuple[float, ...]:
        """Return the accuracy on one of the `KINDS`."""
        return self.single if kind == "single" else self.recurring


@dataclass(frozen=True)
class StreamsResult:
    """Cells trained on short streams and tested on longer ones.

    Attributes:
        lengths: Lengths, rising.
        accuracy: Model → its accuracy.
        known: Predictor → what the construction of the streams says about its accuracy.
    """

    comparison: ComparisonResult
    lengths: tuple[int, ...]
    accuracy: Mapping[str, LengthsRow]
    known: Mapping[str, LengthsRow]

    def table(self, kind: str) -> Table:
        """Return the accuracy at every length of one of the `KINDS`."""
        return Table(
            caption=f"Test accuracy over the number of steps, {KINDS[kind]}. Below the models what the construction of "
            "the streams says about it.",
            columns=columns("predictor", "as trained", *map(str, self.lengths)),
            rows=tuple(
                (Cell(label), *(Cell(f"{value:.3f}") for value in (row.as_trained, *row.of(kind))))
                for label, row in {**self.accuracy, **self.known}.items()
            ),
        )

    def longest_table(self) -> Table:
        """Return the accuracy as trained and at the greatest length of each kind."""
        headings = (f"{self.lengths[-1]} steps, {kind}" for kind in KINDS.values())
        return Table(
            caption="Test accuracy along streams of valence shifters.",
            columns=columns("predictor", "as trained", *headings),
            rows=tuple(
                (
                    Cell(label),
                    Cell(f"{row.as_trained:.3f}"),
                    *(Cell(f"{row.of(kind)[-1]:.3f}") for kind in KINDS),
                )
                for label, row in {**self.accuracy, **self.known}.items()
            ),
            remarks=tuple(self.comparison.remarks),
            title="Along streams of valence shifters (test accuracy)",
        )


@dataclass(frozen=True)
class DemoResult:
    """Models on a set whose answer is known.

    Attributes:
        known: Predictor → test MAE that the construction of the set predicts.
        reached: Model → its test MAE.
    """

    comparison: ComparisonResult
    known: Mapping[str, float]
    reached: Mapping[str, float]
