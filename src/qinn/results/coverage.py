"""How often a run's intervals and sets hold the labels of its own test samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from qinn.evaluation.conformal import HeldOut, intervals, prediction_sets
from qinn.evaluation.outcomes import probabilities_of
from qinn.results.calibration import Calibration, calibration_of, errors_of
from qinn.results.folder import RunFolder
from qinn.results.number_text import counted, number, percent
from qinn.results.predictions import StoredPredictions
from qinn.results.tables import Cell, Column, Table, columns
from qinn.task import ONE_LABEL, Task

LEVEL = 0.9
"""Level of intervals and sets where none is asked for."""

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of the curve of coverage."""

_PARTS = 4
"""Into how many parts of equally many samples predicted scores are divided."""


@dataclass(frozen=True)
class Coverage:
    """Intervals or sets of a run's test samples, in their order, and whether these hold the labels.

    Attributes:
        level: Share of new samples that they are to hold.
        source: What they are made of, in words.
        covered: Whether each holds its label.
        size: Width of each interval, or number of classes of each set.
        low: Lower ends; None for classes.
        high: Upper ends; None for classes.
        parts: Wording of a part of the samples → which they are: by predicted score, or by predicted class.
        groups: Group of each sample; None where there are none.
        curve: Level → the share of labels held at it.
        of_labels: Whether there are several labels, each with a set of its own in every sample; `parts` are the labels.
    """

    level: float
    source: str
    covered: Bool[np.ndarray, "sample"]
    size: Float64[np.ndarray, "sample"]
    low: Float64[np.ndarray, "sample"] | None
    high: Float64[np.ndarray, "sample"] | None
    parts: dict[str, Bool[np.ndarray, "sample"]]
    groups: Shaped[np.ndarray, "sample"] | None
    curve: Mapping[float, float]
    of_labels: bool = False

    @property
    def is_infinite(self) -> bool:
        """Whether too few samples were held out for the level."""
        return self.low is not None and not bool(np.isfinite(self.low).all())

    def by_group(self) -> list[float]:
        """Return the share covered of every group, lowest first; empty without groups."""
        if self.groups is None:
            return []
        return sorted(float(self.covered[self.groups == group].mean()) for group in np.unique(self.groups))

    def table(self, title: str) -> Table:
        """Return coverage and size: of all samples, of those predicted alike, and of the groups.

        Args:
            title: Name of the run.
        """
        what, size = ("interval", "mean width") if self.low is not None else ("set", "mean number of classes")
        if self.of_labels:
            size = "mean number of absent, present"

        def row(name: str, chosen: Bool[np.ndarray, "sample"]) -> tuple[Cell, ...]:
            return (
                Cell(name),
                Cell(f"{int(chosen.sum()):,}"),
                Cell(_share(float(self.covered[chosen].mean()))),
                Cell(number(float(self.size[chosen].mean()))),
            )

        everything = "all labels of all test samples" if self.of_labels else "all test samples"
        rows = [row(everything, np.ones(len(self.covered), dtype=bool))]
        rows += [row(name, chosen) for name, chosen in self.parts.items() if chosen.any()]
        shares = self.by_group()
        of_groups = (
            f"Of {counted(len(shares), 'group')}: lowest coverage {_share(shares[0])}, median "
            f"{_share(float(np.median(shares)))}."
            if len(shares) > 1
            else ""
        )
        return Table(
            caption=f"How often the {percent(self.level)} {what} of {title} holds the label of a test sample. Made of "
            f"the errors of {self.source}. The level holds for new samples on average, not for every part of them.",
            columns=columns("samples", Column("n"), f"label in the {what}", size),
            rows=tuple(rows),
            notes=(of_groups,) if of_groups else (),
            title=f"{title}: {percent(self.level)} {what}s",
        )


def coverage_of(
    run: RunFolder, predictions: StoredPredictions, task: Task, *, level: float = LEVEL
) -> Coverage | None:
    """Return how a run's intervals or sets do on its own test samples; None where it held nothing else out.

    Those of a test sample are made of errors of other samples: of the validation samples, or, in a run of several
    folds, of the other folds' test samples. ``calibration.json`` is not asked: it is about other samples.

    Raises:
        CheckpointError: If a file is missing, damaged or not of this run.
    """
    found = calibration_of(run.path, [run], task, own=False)
    if found is None:
        return None
    several = len(run.summary().folds) > 1
    if task.kind == "multilabel":
        return _of_labels(found, predictions, task, level, several=several)
    of_level = _levels(predictions, task, None if several else found.held_out)
    low, high, covered, size = of_level(level)
    return Coverage(
        level,
        found.source,
        covered,
        size,
        low,
        high,
        _parts(predictions, task.classes),
        predictions.groups,
        {at: float(of_level(at)[2].mean()) for at in LEVELS},
    )


_Found = tuple[np.ndarray | None, np.ndarray | None, np.ndarray, np.ndarray]


def _levels(
    predictions: StoredPredictions, task: Task, held_out: HeldOut | None
) -> Callable[[float], _Found]:
    """Return what gives the intervals or sets of every level, of errors that were held out or of other folds'."""
    folds = np.array(predictions.folds)
    errors = errors_of(predictions, task, several=False).errors
    others = {
        fold: HeldOut(errors[folds != fold]) if held_out is None else held_out for fold in np.unique(folds)
    }
    return partial(_at_level, predictions, task, folds, others)


def _of_labels(
    found: Calibration, predictions: StoredPredictions, task: Task, level: float, *, several: bool
) -> Coverage | None:
    """Return how the sets of each label do: a set of absent, present or both for every sample and label."""
    names, alone = list[str](), list[StoredPredictions]()
    for index, name in enumerate(task.names):
        one = predictions.of_label(index)
        # What one fold alone says of a label, no other fold can hold out.
        if len(set(one.folds)) > 1 if several else one.ids and name in found.by_label:
            names.append(name)
            alone.append(one)
    if not alone:
        return None
    levels = [
        _levels(one, ONE_LABEL, None if several else found.by_label[name])
        for name, one in zip(names, alone, strict=True)
    ]
    of_level = [each(level) for each in levels]
    owner = np.repeat(np.arange(len(alone)), [len(one.ids) for one in alone])
    groups = [one.groups for one in alone if one.groups is not None]
    return Coverage(
        level,
        found.source,
        np.concatenate([covered for _, _, covered, _ in of_level]),
        np.concatenate([size for _, _, _, size in of_level]),
        None,
        None,
        {name: owner == index for index, name in enumerate(names)},
        np.concatenate(groups) if len(groups) == len(alone) else None,
        {at: float(np.concatenate([each(at)[2] for each in levels]).mean()) for at in LEVELS},
        of_labels=True,
    )


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _at_level(
    predictions: StoredPredictions,
    task: Task,
    folds: Shaped[np.ndarray, "sample"],
    others: Mapping[str, HeldOut],
    level: float,
) -> _Found:
    """Return lower and upper ends, whether they hold the labels, and how large they are."""
    if task.kind == "regression":
        low, high = np.empty(len(folds)), np.empty(len(folds))
        for fold, held_out in others.items():
            here = folds == fold
            low[here], high[here] = intervals(predictions.outputs[here, 0][None], held_out, level)
        return low, high, (low <= predictions.labels) & (predictions.labels <= high), high - low
    sets = np.empty(predictions.outputs.shape, dtype=bool)
    for fold, held_out in others.items():
        here = folds == fold
        sets[here] = prediction_sets(probabilities_of(predictions.outputs[here])[None], held_out, level)
    return None, None, sets[np.arange(len(sets)), predictions.labels], sets.sum(1).astype(np.float64)


def _parts(predictions: StoredPredictions, classes: Sequence[str]) -> dict[str, Bool[np.ndarray, "sample"]]:
    if classes:
        chosen = predictions.outputs.argmax(1)
        return {f"predicted as {name}": chosen == index for index, name in enumerate(classes)}
    scores = predictions.outputs[:, 0]
    ends = np.quantile(scores, np.linspace(0, 1, _PARTS + 1))
    parts: dict[str, np.ndarray] = {}
    for at, (low, high) in enumerate(pairwise(ends)):
        above = scores >= low if at == 0 else scores > low
        parts[f"predicted {number(float(low))} to {number(float(high))}"] = above & (scores <= high)
    return parts
