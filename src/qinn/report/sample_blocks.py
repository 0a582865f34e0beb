"""Single samples explained: prediction, entanglement and what each removal does, as small blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from qinn.evaluation.outcomes import decided, label_probabilities
from qinn.results.chosen_samples import ChosenSample
from qinn.results.coverage import Coverage
from qinn.results.explanation import ExplanationTable
from qinn.results.number_text import number, percent
from qinn.results.run import RunResult


@dataclass(frozen=True)
class BarRow:
    """A quantity with a bar, and a mark across it; positions in percent of the bar's track."""

    name: str
    values: tuple[str, ...]
    start: float
    width: float
    less: bool = False
    mark: float | None = None


@dataclass(frozen=True)
class BarTable:
    """A few quantities of one sample with bars; signed bars start in the middle."""

    header: tuple[str, ...]
    rows: tuple[BarRow, ...]
    signed: bool = False


@dataclass(frozen=True)
class SampleBlock:
    """Everything shown about one sample."""

    id: str
    why: str
    text: str
    facts: tuple[tuple[str, str], ...]
    blocks: tuple[BarTable, ...]


def sample_blocks(
    run: RunResult, explanation: ExplanationTable, chosen: Sequence[ChosenSample]
) -> list[SampleBlock]:
    """Return what to show about the chosen samples.

    Returns:
        One block per sample; all bars of one kind share one scale.
    """
    shifts = explanation.shifts()
    rows = [sample.explained for sample in chosen]
    scale = max((float(np.abs(values[rows]).max()) for values in shifts.values()), default=0.0)
    return [
        SampleBlock(
            id=sample.id,
            why="; ".join(sample.reasons),
            text=run.texts.get(sample.id, ""),
            facts=tuple(_facts(run, sample) + _absences(explanation, sample)),
            blocks=tuple(
                block
                for block in (_entropies(explanation, sample), _removals(run, explanation, sample, scale))
                if block.rows
            ),
        )
        for sample in chosen
    ]


def _facts(run: RunResult, sample: ChosenSample) -> list[tuple[str, str]]:
    label, output = run.labels[sample.row], run.outputs[sample.row]
    if run.task.kind == "regression":
        return [
            ("label", number(float(label))),
            ("prediction", number(float(output[0]))),
            *_interval(run.coverage, sample.row),
            ("error", number(float(output[0] - label), signed=True)),
        ]
    if run.task.kind == "multilabel":
        return _of_labels(run, sample)
    probabilities = softmax(output)
    best = int(output.argmax())
    return [
        ("label", run.task.classes[int(label)]),
        ("prediction", f"{run.task.classes[best]}, probability {number(float(probabilities[best]))}"),
        ("true class", f"probability {number(float(probabilities[int(label)]))}"),
    ]


def _of_labels(run: RunResult, sample: ChosenSample) -> list[tuple[str, str]]:
    states, outputs = run.labels[sample.row], run.outputs[sample.row]
    likely, present = label_probabilities(outputs), decided(run.task, outputs)
    named = {
        state: [name for name, one in zip(run.task.names, states, strict=True) if one == state]
        for state in (1, -1)
    }
    said = [
        f"{name} {number(float(chance))}{' (present)' if one else ''}"
        for name, chance, one in zip(run.task.names, likely, present, strict=True)
    ]
    return [
        ("labels", ", ".join(named[1]) or "none"),
        *([("not known", ", ".join(named[-1]))] if named[-1] else []),
        ("probabilities", ", ".join(said)),
    ]


def _interval(coverage: Coverage | None, row: int) -> list[tuple[str, str]]:
    if coverage is None or coverage.low is None or coverage.high is None or coverage.is_infinite:
        return []
    ends = f"{number(float(coverage.low[row]))} to {number(float(coverage.high[row]))}"
    return [(f"{percent(coverage.level)} interval", ends)]


def _absences(explanation: ExplanationTable, sample: ChosenSample) -> list[tuple[str, str]]:
    absent = explanation.absent[sample.explained] if explanation.absent else ""
    if not absent:
        return []
    return [("absent", f"{absent.replace('+', ', ')}; a mixed state, so no entanglement entropies")]


def _entropies(explanation: ExplanationTable, sample: ChosenSample) -> BarTable:
    rows = []
    for cut, values in explanation.entropy.items():
        value, maximum = float(values[sample.explained]), explanation.entropy_maximum[cut]
        peak = float(explanation.entropy_peak[cut][sample.explained])
        if maximum <= 0 or not np.isfinite(value):
            continue
        rows.append(
            BarRow(
                cut,
                (number(value), number(maximum)),
                start=0.0,
                width=_percent(value / maximum),
                mark=_percent(peak / maximum),
            )
        )
    return BarTable(("cut", "entropy (bits)", "possible"), tuple(rows))


def _percent(share: float) -> float:
    """A share as a length of bar, within the track."""
    return round(100 * min(max(share, 0.0), 1.0), 2) if np.isfinite(share) else 0.0


def _removals(run: RunResult, explanation: ExplanationTable, sample: ChosenSample, scale: float) -> BarTable:
    rows = []
    for name, shift in explanation.shifts().items():
        value = float(shift[sample.explained])
        width = round(50 * abs(value) / scale, 2) if scale > 0 and np.isfinite(value) else 0.0
        after = explanation.counterfactuals[name][sample.explained]
        if explanation.label is not None:
            then = number(float(label_probabilities(after)[explanation.label.position]))
        elif run.task.kind == "regression":
            then = number(float(after[0]))
        else:
            then = run.task.classes[int(after.argmax())]
        start = 50.0 - width if value < 0 else 50.0
        rows.append(BarRow(name, (then, number(value, signed=True)), start, width, less=value < 0))
    changed = "change" if run.task.kind == "regression" else "change of probability"
    if explanation.label is not None:
        changed = f"change of probability of {explanation.label.name}"
    return BarTable(("counterfactual", "prediction", changed), tuple(rows), signed=True)
