"""Which samples are worth to be explained one by one, chosen by rule so that anyone gets the same ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from qinn.evaluation.outcomes import label_probabilities, probabilities_of
from qinn.results.explanation import ExplanationTable
from qinn.results.run import RunResult


@dataclass(frozen=True)
class ChosenSample:
    """A sample and the reasons for showing it.

    Attributes:
        row: Its row in the run's predictions.
        explained: Its row in the explanation.
    """

    id: str
    row: int
    explained: int
    reasons: tuple[str, ...]


def errors_of(run: RunResult) -> Float[np.ndarray, "sample"]:
    """Return each test sample's error: |prediction − label|, or 1 − probability of the true class.

    Of several labels the mean over those that are known of 1 − the probability of what is true.
    """
    if run.task.kind == "multilabel":
        known, likely = run.labels >= 0, label_probabilities(run.outputs)
        wrong = np.where(run.labels == 1, 1.0 - likely, likely)
        return (wrong * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    if run.task.kind == "regression":
        return np.abs(run.outputs[:, 0] - run.labels)
    return 1.0 - probabilities_of(run.outputs)[np.arange(len(run.labels)), run.labels]


def choose_samples(run: RunResult, explanation: ExplanationTable) -> list[ChosenSample]:
    """Choose the samples at the ends of what was measured; ties go to the first in the order of the ids.

    The largest and the median error, the most and the least entangled sample, the largest counterfactual
    shift, and the largest standard deviation over trajectories. A sample that is chosen twice appears once, with both
    reasons.

    Returns:
        At most six samples that are both predicted and explained.
    """
    rows = {identifier: row for row, identifier in enumerate(run.ids)}
    explained = {identifier: row for row, identifier in enumerate(explanation.ids) if identifier in rows}
    order = sorted(explained)
    if not order:
        return []
    predicted_rows, explained_rows = [rows[one] for one in order], [explained[one] for one in order]
    errors = errors_of(run)[predicted_rows]
    scores: dict[str, Float[np.ndarray, "sample"]] = {
        "largest error": errors,
        "median error": -np.abs(errors - np.median(errors)),
    }
    entangled = explanation.relative_entanglement()
    if entangled is not None:
        scores["most entangled"] = entangled[explained_rows]
        scores["least entangled"] = -entangled[explained_rows]
    largest = _largest_shift(explanation.shifts())
    if largest is not None:
        scores["largest counterfactual shift"] = largest[explained_rows]
    if run.trajectory_std is not None:
        scores["largest standard deviation over trajectories"] = run.trajectory_std.max(axis=1)[
            predicted_rows
        ]
    reasons: dict[str, list[str]] = {}
    for reason, score in scores.items():
        if np.isfinite(score).any():
            reasons.setdefault(order[int(np.nanargmax(score))], []).append(reason)
    return [ChosenSample(one, rows[one], explained[one], tuple(why)) for one, why in reasons.items()]


def _largest_shift(
    shifts: Mapping[str, Float[np.ndarray, "sample"]],
) -> Float[np.ndarray, "sample"] | None:
    return np.max(np.abs(list(shifts.values())), axis=0) if shifts else None
