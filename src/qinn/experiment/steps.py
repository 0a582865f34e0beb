"""What the steps of streams do, written as data: one row per step, and a table of the words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from qinn.data.subsets.subset import Subset
from qinn.explain.memory_axis import MemoryAxis, memory_axis
from qinn.explain.steps import HALF, OUTWARD, VERDICTS, StepExplanation, explain_steps
from qinn.model.collisions import StreamFusion
from qinn.model.network import QiNN
from qinn.results.explanation import columns_after
from qinn.results.files import write_table
from qinn.results.frames import Columns
from qinn.results.steps import (
    FILE,
    AxisRecord,
    MapRecord,
    OutcomeRecord,
    StepsSummary,
    Thresholds,
    WordRecord,
)
from qinn.task import Task

FEWEST = 5
"""Words that come less often stand in the table of words only where fewer than `_ENOUGH` come so often."""

_ENOUGH = 20
# Words of each verdict whose maps are kept, for a picture.
_MAPS_PER_VERDICT = {"resets": 3, "inverts": 3, "keeps": 2}
_MEANS = (
    "contraction",
    "rotation",
    "keep",
    "kept",
    "write",
    "entropy",
    "change",
    "effect",
)


@dataclass(frozen=True, eq=False)
class ExplainedSteps:
    """The steps of some samples, and the axis along which they were looked at.

    Attributes:
        steps: The steps.
        axis: The axis of the memory; None where there is none.
        source: Whose memories the axis was made from, in words.
    """

    steps: StepExplanation
    axis: MemoryAxis | None
    source: str


def follows_stream(model: nn.Module) -> bool:
    """Whether a model has a memory that meets the steps one by one.

    Args:
        model: Any model.
    """
    return isinstance(model, QiNN) and isinstance(model.fusion, StreamFusion)


def explained_steps(
    model: nn.Module, subset: Subset, reference: Subset | None, *, label: int = 0
) -> ExplainedSteps | None:
    """Explain every step of some samples; None for a model that does not follow the stream.

    Args:
        model: Any model, in evaluation mode.
        subset: Samples.
        reference: Validation samples of the run, which the memory's axis is made from; the samples themselves if None.
        label: Of several labels the one whose logit is the score, from 0.
    """
    axis = memory_axis(model, subset if reference is None else reference, label=label)
    steps = explain_steps(model, subset, axis)
    if steps is None:
        return None
    source = "the explained samples" if reference is None else "the run's validation samples"
    return ExplainedSteps(steps, axis, source)


def write_steps(
    explained: ExplainedSteps, folder: Path, task: Task, *, maker: str = "", with_words: bool = True
) -> StepsSummary:
    """Write ``steps.parquet`` and return what ``explanation.json`` says about it.

    Args:
        explained: The steps.
        folder: Where to.
        task: What is predicted.
        maker: The command that makes the file.
        with_words: Whether the rows name their words, which side by side are the transcripts.
    """
    write_table(folder / FILE, step_columns(explained.steps, task, with_words=with_words), maker=maker)
    return steps_content(explained)


def step_columns(steps: StepExplanation, task: Task, *, with_words: bool = True) -> Columns:
    """Return steps as columns, one row per step.

    ``id``, ``modality``, ``step``, ``position``, ``time``, ``word``, ``verdict``, ``amount``, ``contraction``,
    ``rotation``, ``keep``, ``kept``, ``write``, ``entropy``, ``before``, ``after``, ``score``, ``change``, ``effect``,
    ``output`` and ``without`` (of classes and labels ``output:NAME``, ``without:NAME``), and the lists ``outcomes``,
    ``outcome_changes`` and ``bloch_map`` (W row by row, then s, of r ↦ Wr + s; empty where the memory is no qubit).

    Args:
        steps: The steps.
        task: What is predicted.
        with_words: Whether to name the words.
    """
    columns: Columns = {
        "id": steps.ids,
        "modality": steps.modality,
        "step": steps.step.astype(np.int32),
        "position": steps.position.astype(np.int32),
        "time": steps.time,
        "word": steps.word if with_words else [""] * len(steps),
        "verdict": steps.verdict,
    }
    for name in ("amount", *_MEANS[:6], "before", "after", "score", "change", "effect"):
        columns[name] = getattr(steps, name).astype(np.float32)
    for prefix, values in (("output", steps.output), ("without", steps.without)):
        for index, name in enumerate(columns_after(prefix, task.names) if values.ndim == 2 else ()):
            columns[name] = values[:, index].astype(np.float32)
    columns["outcomes"] = steps.outcomes.astype(np.int16).tolist()
    columns["outcome_changes"] = steps.outcome_changes.astype(np.float32).tolist()
    columns["bloch_map"] = steps.bloch_map.astype(np.float32).tolist()
    return columns


def steps_content(explained: ExplainedSteps) -> StepsSummary:
    """Return what the steps of some samples come to."""
    steps, axis = explained.steps, explained.axis
    fewest, words = word_table(steps)
    return StepsSummary(
        file=FILE,
        steps=len(steps),
        samples=steps.samples,
        skipped_samples=steps.skipped,
        steps_without_contraction=steps.unmeasured,
        axis=None
        if axis is None
        else AxisRecord(
            explained.source,
            axis.num_states,
            None if axis.bloch is None else tuple(axis.bloch),
            tuple(axis.contrast.double().tolist()),
        ),
        together=always_together(steps),
        thresholds=Thresholds(HALF, OUTWARD),
        verdicts=_verdict_counts(steps),
        fewest=fewest,
        words=tuple(words),
        maps=tuple(map_table(steps, words)),
        outcomes=tuple(outcome_table(steps)),
    )


def word_table(steps: StepExplanation) -> tuple[int, list[WordRecord]]:
    """Return what each word does on average, the most frequent first, and how often a word must come.

    Words are compared without regard to case. A word's verdict is that of most of its occurrences.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (word, modality) in enumerate(zip(steps.word, steps.modality, strict=True)):
        if word.strip():
            rows.setdefault((word.casefold(), modality), []).append(row)
    often = sum(len(places) >= FEWEST for places in rows.values())
    fewest = FEWEST if often >= _ENOUGH else 1
    table = []
    for (word, modality), places in rows.items():
        if len(places) < fewest:
            continue
        verdict, count = Counter(steps.verdict[place] for place in places).most_common(1)[0]
        table.append(
            WordRecord(
                word,
                modality,
                len(places),
                verdict,
                count / len(places),
                **{name: _mean(getattr(steps, name)[places]) for name in ("amount", *_MEANS)},
            )
        )
    return fewest, sorted(table, key=lambda one: (-one.count, one.word, one.modality))


def always_together(steps: StepExplanation) -> bool:
    """Whether several modalities step at the same times, one after the other, in every sample.

    Then what each of them does is known up to something that the one does and the other undoes: nothing is ever read
    between the two.
    """
    moments: dict[str, dict[str, list[float]]] = {}
    for name, modality, time in zip(steps.ids, steps.modality, steps.time.tolist(), strict=True):
        moments.setdefault(name, {}).setdefault(modality, []).append(time)
    found = [list(each.values()) for each in moments.values()]
    return bool(found) and all(len(each) > 1 and all(one == each[0] for one in each) for each in found)


def map_table(steps: StepExplanation, words: Sequence[WordRecord]) -> list[MapRecord]:
    """Return the average Bloch map of the commonest words of every verdict, and of what other modalities do.

    Args:
        steps: The steps, of a qubit memory; nothing is returned for others.
        words: Of `word_table`.
    """
    if not len(steps) or not steps.bloch_map.size:
        return []
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (word, modality, verdict) in enumerate(
        zip(steps.word, steps.modality, steps.verdict, strict=True)
    ):
        key = word.casefold() if word.strip() else f"\n{verdict}"
        rows.setdefault((modality, key), []).append(row)
    spoken = {one.modality for one in words}
    groups = []
    for verdict in VERDICTS:
        most = _MAPS_PER_VERDICT.get(verdict, 1)
        groups += [
            (one.word, one.modality, verdict, rows[one.modality, one.word])
            for one in [one for one in words if one.verdict == verdict][:most]
        ]
    for modality in dict.fromkeys(steps.modality):
        if modality not in spoken:
            found = [
                ("", modality, verdict, rows[modality, f"\n{verdict}"])
                for verdict in ("", *VERDICTS)
                if (modality, f"\n{verdict}") in rows
            ]
            groups += sorted(found, key=lambda one: -len(one[3]))[:2]
    return [
        MapRecord(word, modality, verdict, len(places), tuple(steps.bloch_map[places].mean(0).tolist()))
        for word, modality, verdict, places in groups
    ]


def outcome_table(steps: StepExplanation) -> list[OutcomeRecord]:
    """Return, of the records of measured ancillas, how often each outcome comes and what it does to the score."""
    table = []
    if steps.outcomes.ndim != 2 or not steps.outcomes.size:
        return table
    modalities = np.array(steps.modality, dtype=object)
    for modality in dict.fromkeys(steps.modality):
        chosen = modalities == modality
        outcomes, changes = steps.outcomes[chosen], steps.outcome_changes[chosen]
        for outcome in np.unique(outcomes).tolist():
            there = outcomes == outcome
            table.append(
                OutcomeRecord(
                    modality,
                    outcome,
                    float(there.mean()),
                    _mean(changes[there]),
                    _mean(np.abs(changes[there])),
                )
            )
    return table


def _verdict_counts(steps: StepExplanation) -> dict[str, dict[str, int]]:
    counts = Counter(zip(steps.modality, steps.verdict, strict=True))
    found: dict[str, dict[str, int]] = {}
    for (modality, verdict), count in sorted(counts.items()):
        found.setdefault(modality, {})[verdict] = count
    return found


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else None
