"""Predictions as rows: scores with intervals, classes with probabilities and sets, several labels one by one."""

from collections.abc import Sequence

import numpy as np

from qinn.evaluation.conformal import (
    intervals,
    prediction_sets,
    probability_above,
)
from qinn.evaluation.outcomes import decided, label_probabilities, probabilities_of
from qinn.evaluation.predict import PredictionTable
from qinn.experiment.predictor import mean_prediction
from qinn.results.calibration import (
    Calibration,
)
from qinn.task import ONE_LABEL, Task

PredictionRow = dict[str, str | float | int | None]
"""One predicted sample: column → value."""

_Columns = dict[str, list[str] | list[float] | list[int] | list[float | None]]


def prediction_rows(
    tables: Sequence[PredictionTable], task: Task, calibration: Calibration | None, level: float
) -> list[PredictionRow]:
    """Return predictions as one readable row per sample.

    Args:
        tables: What the model of each fold predicts, in the order of the folds' names.
        task: What is predicted.
        calibration: The run's errors on samples held out; None for rows without intervals.
        level: Share of new samples whose label is to be held.

    Returns:
        ``id`` and ``score``, ``low`` and ``high`` (the ends of its interval) and ``p_positive`` (the probability that
        the label is above 0; ``p_above_3`` for a scale whose middle is 3), for scores; ``class``, one probability per
        class and ``set``, the classes that cannot be excluded, joined by ``|`` (in a name ``\\|``), for classes; and of
        each of several labels ``decided:LABEL`` (1 or 0, by the task's threshold), ``probability:LABEL`` and
        ``set:LABEL`` (``absent``, ``present`` or both), which holds what is true of that label alone.
        ``trajectory_std`` is the standard deviation over trajectories, where there are any: what chance does within
        the model, no error of the prediction.
    """
    mean = mean_prediction(tables)
    said, certain = {
        "regression": (_scores, _intervals),
        "classification": (_classes, _sets),
        "multilabel": (_labels, _sets_of_labels),
    }[task.kind]
    columns = said(mean, task)
    if calibration is not None:
        columns |= certain(calibration.outputs(tables, task), calibration, task, level)
    if mean.trajectory_std is not None:
        columns["trajectory_std"] = mean.trajectory_std.max(1).tolist()
    return [
        {"id": identifier, **{name: values[row] for name, values in columns.items()}}
        for row, identifier in enumerate(mean.ids)
    ]


def _scores(mean: PredictionTable, task: Task) -> _Columns:
    return {"score": mean.outputs[:, 0].tolist()}


def _intervals(outputs: np.ndarray, calibration: Calibration, task: Task, level: float) -> _Columns:
    held_out = calibration.held_out
    low, high = intervals(outputs, held_out, level)
    middle = (task.low + task.high) / 2
    return {
        "low": [end if np.isfinite(end) else None for end in low.tolist()],
        "high": [end if np.isfinite(end) else None for end in high.tolist()],
        "p_positive" if middle == 0 else f"p_above_{middle:g}": probability_above(
            outputs, held_out, middle
        ).tolist(),
    }


def _classes(mean: PredictionTable, task: Task) -> _Columns:
    likely = probabilities_of(mean.outputs)
    return {
        "class": [task.classes[index] for index in mean.outputs.argmax(1)],
        **{f"probability:{name}": likely[:, index].tolist() for index, name in enumerate(task.classes)},
    }


def _sets(likely: np.ndarray, calibration: Calibration, task: Task, level: float) -> _Columns:
    return {"set": _joined_sets(prediction_sets(likely, calibration.held_out, level), task)}


def _joined_sets(sets: np.ndarray, task: Task) -> list[str]:
    return [
        "|".join(_apart(name) for name, held in zip(task.classes, row, strict=True) if held) for row in sets
    ]


def _labels(mean: PredictionTable, task: Task) -> _Columns:
    likely, present = label_probabilities(mean.outputs), decided(task, mean.outputs).astype(int)
    columns: _Columns = {}
    for index, name in enumerate(task.names):
        columns[f"decided:{name}"] = present[:, index].tolist()
        columns[f"probability:{name}"] = likely[:, index].tolist()
    return columns


def _sets_of_labels(likely: np.ndarray, calibration: Calibration, task: Task, level: float) -> _Columns:
    columns: _Columns = {}
    for index, name in enumerate(task.names):
        if name in calibration.by_label:
            both = np.stack([1.0 - likely[..., index], likely[..., index]], axis=-1)
            sets = prediction_sets(both, calibration.by_label[name], level)
            columns[f"set:{name}"] = _joined_sets(sets, ONE_LABEL)
    return columns


def _apart(name: str) -> str:
    """Return a class's name as it stands among others: with a backslash before what divides them."""
    return name.replace("\\", "\\\\").replace("|", "\\|")
