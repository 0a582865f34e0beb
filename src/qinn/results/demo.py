"""What the demos find beside what the construction of their sets says, and the tables of that."""

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


@dataclass(frozen=True)
class WithoutModality:
    """What is lost without a modality.

    Attributes:
        error: Test MAE of the model without it.
        best: The least that is possible without it.
    """

    error: float
    best: float


@dataclass(frozen=True)
class ClipsResult:
    """Models of clips whose answer is known.

    Attributes:
        tiers: Modality → what made its features.
        known: Predictor → test MAE that the construction of the clips predicts.
        reached: Model → its test MAE.
        without: Modality → what QiNN-QJ loses without it; mean over the seeds.
    """

    comparison: ComparisonResult
    tiers: Mapping[str, str]
    known: Mapping[str, float]
    reached: Mapping[str, float]
    without: Mapping[str, WithoutModality]

    @property
    def findings(self) -> list[str]:
        """How near the model comes to what is possible, and whether its dynamics act, as sentences."""
        label = self.comparison.reference
        reached, best, constant = self.reached[label], self.known[BAYES], self.known[CONSTANT]
        found = [
            f"{label} reached {reached:.3f}, {reached - best:.3f} above the best possible {best:.3f}; the best "
            f"constant has {constant:.3f}."
        ]
        entry = self.comparison.models[label]
        acts = entry.dynamics
        if acts is not None and acts.jumps is not None and acts.turning is not None:
            does = "turn and jump"
            # One run is enough, as for the remarks beside the table.
            if entry.asleep:
                does = "are asleep"
            elif entry.hardly_jumps:
                does = "turn, but hardly jump"
            found.append(
                f"Its dynamics {does}: {acts.jumps:.2g} jumps of a trajectory, phases turned by up to "
                f"{acts.turning:.2g} rad, {acts.entanglement or 0.0:.2g} bits of entanglement."
            )
        return found

    def table(self) -> Table:
        """Return what the models reach beside what is possible."""
        return Table(
            caption="Test MAE on clips of new speakers. Below the models what the construction of the clips says.",
            columns=columns("predictor", "MAE"),
            rows=tuple(
                (Cell(label), Cell(f"{value:.3f}")) for label, value in {**self.reached, **self.known}.items()
            ),
            remarks=tuple(self.comparison.remarks),
            title="Clips with a known answer",
        )

    def without_table(self) -> Table:
        """Return what is lost without each modality, beside what has to be."""
        return Table(
            caption="Test MAE of QiNN-QJ without a modality, beside the least that is possible without it.",
            columns=columns("without", "QiNN-QJ", "best possible"),
            rows=tuple(
                (Cell(name), Cell(f"{one.error:.3f}"), Cell(f"{one.best:.3f}"))
                for name, one in self.without.items()
            ),
            title="What each modality is worth",
        )
