"""Tables of what the steps of streams do: the words that reset, invert, intensify; how often each verdict comes."""

from collections.abc import Mapping
from typing import Any

from qinn.experiment.steps import TOGETHER
from qinn.explain.steps import VERDICTS
from qinn.report.stream import ShownSteps
from qinn.report.tables import Cell, Table
from qinn.report.wording import counted, number

_WORDS_PER_VERDICT = 8
_TELLING = ("resets", "inverts", "intensifies", "weakens", "turns")


def words_table(shown: ShownSteps, what: str) -> Table | None:
    """Return the words that reset, invert, intensify and so on; None where no words are known.

    Args:
        shown: Steps.
        what: What was explained, for the caption.
    """
    content = shown.content
    rows: list[tuple[Cell, ...]] = []
    for verdict in _TELLING:
        words = [one for one in content["words"] if one["verdict"] == verdict]
        # The strongest; of equals the more frequent.
        words.sort(key=lambda one: (-round(one["amount"] or 0, 2), -one["count"], one["word"]))
        rows.extend(_word_row(one) for one in words[:_WORDS_PER_VERDICT])
    if not rows:
        return None
    return Table(
        caption=f"Words that reset, invert, intensify, weaken or turn the memory, {what}: those that come "
        f"{counted(content['fewest'], 'time')} or more often, the strongest {_WORDS_PER_VERDICT} of each verdict, "
        "which is that of most of a word's occurrences (share). Means: contraction (1: all forgotten), rotation (rad), "
        "keep λ and write s along the memory's axis, entropy of the ancilla (bits), change of the score at the step, "
        "and effect: the score of the whole minus that without the step.",
        header=(
            "word",
            "verdict",
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
    )


def _word_row(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        Cell(one["word"]),
        Cell(one["verdict"]),
        Cell(f"{one['count']:,}"),
        Cell(f"{100 * one['share']:.0f} %"),
        *(Cell(number(one[name], digits=2)) for name in ("contraction", "rotation")),
        *(Cell(number(one[name], digits=2, signed=True)) for name in ("keep", "write")),
        Cell(number(one["entropy"], digits=2)),
        *(Cell(number(one[name], digits=2, signed=True)) for name in ("change", "effect")),
    )


def verdict_table(shown: ShownSteps) -> Table | None:
    """Return how often the steps of each modality do what; None where there are no steps.

    Args:
        shown: Steps.
    """
    counts = {name: row for name, row in shown.content["verdicts"].items() if set(row) - {""}}
    if not counts:
        return None
    half, outward = shown.content["thresholds"]["half"], shown.content["thresholds"]["outward"]
    rows = []
    for name, row in counts.items():
        total = sum(row.values())
        cells = [
            Cell(f"{100 * row.get(verdict, 0) / total:.1f} %", f"{row.get(verdict, 0):,}")
            for verdict in VERDICTS
        ]
        rows.append((Cell(name), *cells))
    axis, notes = shown.content["axis"], []
    if axis is not None:
        notes.append(f"Opposite memories: averages over {axis['states']:,} states of {axis['from']}.")
    if shown.content["together"]:
        notes.append(f"{TOGETHER[0].upper()}{TOGETHER[1:]}.")
    return Table(
        caption="What the steps of each modality do. With κ the part of the difference between opposite memories (read "
        "as a high and as a low score) that is kept, and λ that kept along it: "
        f"resets κ < {half:g}; inverts λ ≤ −{half:g}; turns |λ| < {half:g} ≤ κ; otherwise intensifies or weakens where "
        f"the memory moves outwards or inwards by at least {outward:g} of the way to a typical memory, and keeps.",
        header=("modality", *VERDICTS),
        rows=tuple(rows),
        notes=tuple(notes),
    )
