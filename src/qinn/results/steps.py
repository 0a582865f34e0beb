"""What the steps of streams do, as ``explanation.json`` says it and ``steps.parquet`` holds it, step by step."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from qinn.errors import CheckpointError
from qinn.explain.steps import VERDICTS
from qinn.results.files import read_table
from qinn.results.number_text import counted, number
from qinn.results.tables import Cell, Column, Table, columns

FILE = "steps.parquet"
"""One row per explained step."""

TOGETHER = (
    "all modalities step together in every explained sample, and nothing is read between the steps of one moment: what "
    "one of them does is known up to what the other undoes; read their verdicts together, or train with `form: joint`"
)
"""What to say where steps are always together."""

WORDS_PER_VERDICT = 8
_TELLING = ("resets", "inverts", "intensifies", "weakens", "turns")


@dataclass(frozen=True)
class AxisRecord:
    """The axis of a memory.

    Attributes:
        source: Whose memories it was made from, in words.
        states: How many they were.
        bloch: Its direction in the Bloch ball; None where the memory is no qubit.
        contrast: Difference of the outputs between its ends.
    """

    source: Annotated[str, Field(alias="from")] = field(metadata={"key": "from"})
    states: int
    bloch: tuple[float, ...] | None
    contrast: tuple[float, ...]


@dataclass(frozen=True)
class Thresholds:
    """From which numbers on a verdict is given (see `qinn.explain.steps`)."""

    half: float
    outward: float


@dataclass(frozen=True)
class WordRecord:
    """What a word does to the memory, mean over its occurrences.

    Attributes:
        modality: Whose step it is.
        verdict: What most of its occurrences do.
        share: How many of them.
        amount: How much they do of it.
        keep: λ, the part of the difference along the axis that is kept.
        kept: κ, the part of the difference that is kept.
        write: s, what is written along the axis.
        entropy: Entropy of the ancilla (bits).
        change: Change of the score.
        effect: Score of the whole minus that without the step.
    """

    word: str
    modality: str
    count: int
    verdict: str
    share: float
    amount: float | None = None
    contraction: float | None = None
    rotation: float | None = None
    keep: float | None = None
    kept: float | None = None
    write: float | None = None
    entropy: float | None = None
    change: float | None = None
    effect: float | None = None


@dataclass(frozen=True)
class MapRecord:
    """The average Bloch map of a word, or of what a modality without words does.

    Attributes:
        word: The word; empty for a modality without.
        modality: Whose step it is.
        map: W row by row, then s, of r ↦ Wr + s.
    """

    word: str
    modality: str
    verdict: str
    count: int
    map: tuple[float, ...]


@dataclass(frozen=True)
class OutcomeRecord:
    """An outcome of measured ancillas: how often it comes and what it does to the score."""

    modality: str
    outcome: int
    share: float
    change: float | None
    absolute_change: float | None


@dataclass(frozen=True)
class StepsSummary:
    """What the steps of some samples come to.

    Attributes:
        file: Where each of them is.
        steps_without_contraction: Steps whose contraction and rotation were not computed.
        axis: The axis of the memory; None where there is none.
        together: Whether all modalities step together in every sample.
        verdicts: Modality → verdict → number of steps.
        fewest: How often a word must come to be among the words.
    """

    file: str
    steps: int
    samples: int
    skipped_samples: int
    steps_without_contraction: int
    axis: AxisRecord | None
    together: bool
    thresholds: Thresholds
    verdicts: Mapping[str, Mapping[str, int]]
    fewest: int
    words: tuple[WordRecord, ...]
    maps: tuple[MapRecord, ...]
    outcomes: tuple[OutcomeRecord, ...]

    def words_table(self, what: str, per_verdict: int = WORDS_PER_VERDICT) -> Table | None:
        """Return the words that reset, invert, intensify and so on; None where no words are known.

        Args:
            what: What was explained, for the caption.
            per_verdict: How many of each verdict.
        """
        rows = []
        for verdict in _TELLING:
            words = [one for one in self.words if one.verdict == verdict]
            # The strongest; of equals the more frequent.
            words.sort(key=lambda one: (-round(one.amount or 0, 2), -one.count, one.word))
            rows.extend(_word_row(one) for one in words[:per_verdict])
        if not rows:
            return None
        return Table(
            caption=f"Words that reset, invert, intensify, weaken or turn the memory, {what}: those that come "
            f"{counted(self.fewest, 'time')} or more often, the strongest {per_verdict} of each verdict, which is that "
            "of most of a word's occurrences (share). Means: contraction (1: all forgotten), rotation (rad), keep λ "
            "and write s along the memory's axis, entropy of the ancilla (bits), change of the score at the step, and "
            "effect: the score of the whole minus that without the step.",
            columns=columns(
                "word",
                Column("verdict", left=True),
                "count",
                "share",
                "contraction",
                "rotation",
                "λ",
                "s",
                "entropy",
                "change",
                "effect",
            ),
            rows=tuple(rows),
            title=f"Words that do most to the memory, of {self.steps:,} steps",
        )

    def verdict_table(self) -> Table | None:
        """Return how often the steps of each modality do what; None where there are no steps."""
        counts = {name: row for name, row in self.verdicts.items() if set(row) - {""}}
        if not counts:
            return None
        half, outward = self.thresholds.half, self.thresholds.outward
        rows = []
        for name, row in counts.items():
            total = sum(row.values())
            cells = [
                Cell(f"{100 * row.get(verdict, 0) / total:.1f} %", f"{row.get(verdict, 0):,}")
                for verdict in VERDICTS
            ]
            rows.append((Cell(name), *cells))
        notes = []
        if self.axis is not None:
            notes.append(
                f"Opposite memories: averages over {self.axis.states:,} states of {self.axis.source}."
            )
        if self.together:
            notes.append(f"{TOGETHER[0].upper()}{TOGETHER[1:]}.")
        return Table(
            caption="What the steps of each modality do. With κ the part of the difference between opposite memories "
            "(read as a high and as a low score) that is kept, and λ that kept along it: "
            f"resets κ < {half:g}; inverts λ ≤ −{half:g}; turns |λ| < {half:g} ≤ κ; otherwise intensifies or weakens "
            f"where the memory moves outwards or inwards by at least {outward:g} of the way to a typical memory, and "
            "keeps.",
            columns=columns("modality", *VERDICTS),
            rows=tuple(rows),
            notes=tuple(notes),
        )


def _word_row(one: WordRecord) -> tuple[Cell, ...]:
    return (
        Cell(one.word),
        Cell(one.verdict),
        Cell(f"{one.count:,}"),
        Cell(f"{100 * one.share:.0f} %"),
        *(Cell(number(value, digits=2)) for value in (one.contraction, one.rotation)),
        *(Cell(number(value, digits=2, signed=True)) for value in (one.keep, one.write)),
        Cell(number(one.entropy, digits=2)),
        *(Cell(number(value, digits=2, signed=True)) for value in (one.change, one.effect)),
    )


@dataclass(frozen=True)
class Step:
    """One explained step, as far as figures need it.

    Attributes:
        modality: Whose it is.
        step: Its number within its modality.
        position: Its place in the order in which the memory meets the steps.
        word: What it stands for; empty where that is not known.
        amount: How much of it.
        score: The score behind it.
    """

    modality: str
    step: int
    position: int
    time: float
    word: str
    verdict: str
    amount: float | None
    score: float


@dataclass(frozen=True)
class ShownSteps:
    """The explained steps of some samples.

    Attributes:
        summary: What they come to.
        rows: Sample → its steps, in the order in which the memory meets them; empty where they are not to be shown.
        fold: The fold whose model they are of.
    """

    summary: StepsSummary
    rows: Mapping[str, Sequence[Step]]
    fold: str = ""


def steps_by_sample(
    table: pa.Table, words: Mapping[str, Mapping[str, list[str]]] | None = None
) -> dict[str, list[Step]]:
    """Return the rows of ``steps.parquet`` by sample.

    Args:
        table: The table.
        words: Sample → modality → what its steps stand for; as the table says if None.

    Raises:
        CheckpointError: If a column is missing.
    """
    wanted = ["id", "modality", "step", "position", "time", "word", "verdict", "amount", "score"]
    if missing := [name for name in wanted if name not in table.column_names]:
        raise CheckpointError(f"`{FILE}` has no column `{missing[0]}`; explain the run again.")
    found: dict[str, list[Step]] = {}
    for row in table.select(wanted).to_pylist():
        name = row.pop("id")
        if words is not None:
            row["word"] = _word(words.get(name, {}), row["modality"], row["step"])
        found.setdefault(name, []).append(Step(**row))
    return found


def read_steps(folder: Path, summary: StepsSummary | None) -> ShownSteps | None:
    """Read ``steps.parquet`` of a folder that `qinn explain` wrote; None where there is none.

    Args:
        folder: The folder.
        summary: What its ``explanation.json`` says of the steps.

    Raises:
        CheckpointError: If the file is missing or damaged.
    """
    return None if summary is None else ShownSteps(summary, steps_by_sample(read_table(folder / FILE)))


def _word(words: Mapping[str, list[str]], modality: str, step: int) -> str:
    for name in (modality, *modality.split("+")):
        if name in words and step < len(words[name]):
            return words[name][step]
    return ""
