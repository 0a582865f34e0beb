"""Predictions as a run keeps them: read back, checked, and tied to the metrics that were made from them."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Shaped

from qinn.data.stores.label_column import UNKNOWN
from qinn.data.subsets.subset import Subset
from qinn.errors import CheckpointError
from qinn.evaluation.metrics import metrics
from qinn.evaluation.outcomes import decided, label_probabilities, one_label, one_logit, probabilities_of
from qinn.evaluation.predict import PredictionTable
from qinn.results.folder import RunFolder
from qinn.results.summary import RunMetrics
from qinn.task import Task

_TOLERANCE = 1e-6
"""By which a stated metric may differ from that of the predictions, for its size: round-off of another machine."""


@dataclass(frozen=True)
class StoredPredictions:
    """Test predictions of a run, pooled over folds, in the order of the file.

    Attributes:
        ids: Sample identifiers, each once.
        folds: Fold whose model predicted each sample.
        groups: Group of each sample; None where there are none.
        labels: Scores, class indices, or several labels (-1 where one is not known).
        outputs: Predicted scores, or logits; all finite.
        trajectory_std: Standard deviation of the output over trajectories; None for deterministic models.
    """

    path: Path
    ids: tuple[str, ...]
    folds: tuple[str, ...]
    groups: Shaped[np.ndarray, "sample"] | None
    labels: Shaped[np.ndarray, "sample *label"]
    outputs: Float[np.ndarray, "sample output"]
    trajectory_std: Float[np.ndarray, "sample output"] | None

    def of_label(self, index: int) -> "StoredPredictions":
        """Return those of one of several labels alone, as of the task `qinn.task.ONE_LABEL`, where it is known.

        Args:
            index: Which label, from 0.
        """
        alone = one_label(self.labels, self.outputs, index)
        return StoredPredictions(
            self.path,
            tuple(self.ids[row] for row in alone.rows),
            tuple(self.folds[row] for row in alone.rows),
            None if self.groups is None else self.groups[alone.rows],
            alone.labels,
            alone.outputs,
            None if self.trajectory_std is None else one_logit(self.trajectory_std[alone.rows], index),
        )

    def sorted_by_id(self) -> "StoredPredictions":
        """Return the same predictions in the order of the ids."""
        order = np.array(sorted(range(len(self.ids)), key=self.ids.__getitem__))
        return StoredPredictions(
            self.path,
            tuple(self.ids[row] for row in order),
            tuple(self.folds[row] for row in order),
            None if self.groups is None else self.groups[order],
            self.labels[order],
            self.outputs[order],
            None if self.trajectory_std is None else self.trajectory_std[order],
        )


def prediction_columns(
    table: PredictionTable | StoredPredictions, folds: Sequence[str], task: Task
) -> dict[str, object]:
    """Return predictions as the columns that a run keeps.

    Args:
        table: The predictions.
        folds: Fold whose model made each.
        task: What is predicted.

    Returns:
        ``id``, ``fold``, ``group``, ``label``; of classes ``label`` is the name of the true one, then come ``class``,
        the most probable one, and ``probability:CLASS`` of each; of several labels ``label:LABEL`` (1, 0, or null where
        it is not known), ``decided:LABEL`` and ``probability:LABEL`` of each in place of these; ``output_j``, the score
        or the logits, and ``trajectory_std_j``.
    """
    size, classes = len(table.ids), task.classes
    columns: dict[str, object] = {
        "id": list(table.ids),
        "fold": list(folds),
        "group": pa.nulls(size, pa.string()) if table.groups is None else list(table.groups),
        "label": table.labels,
    }
    if table.labels is None:
        columns["label"] = pa.nulls(size, pa.string() if classes else pa.float64())
    elif classes:
        columns["label"] = [classes[int(label)] for label in table.labels]
    if classes:
        likely = probabilities_of(table.outputs)
        columns["class"] = [classes[index] for index in table.outputs.argmax(axis=1)]
        columns |= {f"probability:{name}": likely[:, index] for index, name in enumerate(classes)}
    if task.kind == "multilabel":
        del columns["label"]
        columns |= _label_columns(table, task)
    outputs, deviations = table.outputs, table.trajectory_std
    columns |= {f"output_{index}": outputs[:, index] for index in range(task.num_outputs)}
    return columns | {
        f"trajectory_std_{index}": pa.nulls(size, pa.float64())
        if deviations is None
        else deviations[:, index]
        for index in range(task.num_outputs)
    }


def _label_columns(table: PredictionTable | StoredPredictions, task: Task) -> dict[str, object]:
    likely, present = label_probabilities(table.outputs), decided(task, table.outputs).astype(np.int64)
    found: dict[str, object] = {}
    for index, name in enumerate(task.names):
        known = [-1] * len(table.ids) if table.labels is None else table.labels[:, index].tolist()
        found[f"label:{name}"] = pa.array([None if one < 0 else one for one in known], pa.int64())
        found[f"decided:{name}"] = present[:, index]
        found[f"probability:{name}"] = likely[:, index]
    return found


def joined(parts: Sequence[StoredPredictions], path: Path) -> StoredPredictions:
    """Return the predictions of several folds as those of one run.

    Args:
        parts: Predictions, one after the other.
        path: Where they are to lie.
    """
    groups = [part.groups for part in parts if part.groups is not None]
    deviations = [part.trajectory_std for part in parts if part.trajectory_std is not None]
    return StoredPredictions(
        path,
        tuple(identifier for part in parts for identifier in part.ids),
        tuple(fold for part in parts for fold in part.folds),
        np.concatenate(groups) if len(groups) == len(parts) else None,
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.outputs for part in parts]),
        np.concatenate(deviations) if len(deviations) == len(parts) else None,
    )


def mean_of_seeds(parts: Sequence[StoredPredictions | None]) -> StoredPredictions | None:
    """Return the mean of what several seeds predict, in the order of the ids; None where the samples are not the same.

    Args:
        parts: Predictions of each seed; None of one that kept none.
    """
    known = [one.sorted_by_id() for one in parts if one is not None]
    if len(known) < len(parts) or any(
        (one.ids, one.folds) != (known[0].ids, known[0].folds) for one in known
    ):
        return None
    return replace(known[0], outputs=np.mean([one.outputs for one in known], axis=0))


def read_predictions(run: RunFolder, task: Task) -> StoredPredictions:
    """Read the test predictions of a complete run.

    Raises:
        CheckpointError: If the file is missing, damaged or not of this run: a column that is missing or of another
            kind, an id that is empty or appears twice, an output that is not finite, a label outside of the task.
    """
    return checked_predictions(run.table(run.predictions_file), run.predictions_file, task)


def read_valid_predictions(run: RunFolder, task: Task, fold: int) -> StoredPredictions | None:
    """Read the predictions of a fold's validation samples, by the weights before a refit; None where it kept none.

    Raises:
        CheckpointError: As `read_predictions`.
    """
    path = run.fold(fold) / "valid.parquet"
    if not run.holds(path):
        return None
    table = run.table(path)
    return checked_predictions(table, path, task) if table.num_rows else None


def checked_predictions(table: pa.Table, path: Path, task: Task) -> StoredPredictions:
    """Make sure that a table holds predictions for a task.

    Args:
        table: What was read.
        path: Where it was read, for messages.
        task: What is predicted.

    Raises:
        CheckpointError: If it does not.
    """

    def damaged(what: str) -> CheckpointError:
        return CheckpointError(f"`{path}` is damaged: {what}; repeat the run.")

    def column(name: str) -> pa.ChunkedArray:
        if table.column_names.count(name) != 1:
            raise damaged(
                f"it has {'several columns' if name in table.column_names else 'no column'} `{name}`"
            )
        return table.column(name)

    def texts(name: str) -> list[str | None]:
        found = column(name)
        if not (pa.types.is_string(found.type) or pa.types.is_large_string(found.type)):
            raise damaged(f"column `{name}` holds {found.type}, not text")
        return found.to_pylist()

    def numbers(name: str) -> np.ndarray:
        found = column(name)
        if not (pa.types.is_floating(found.type) or pa.types.is_integer(found.type)):
            raise damaged(f"column `{name}` holds {found.type}, not numbers")
        values = found.to_numpy().astype(np.float64)
        if found.null_count or not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise damaged(f"sample `{ids[row]}` has no finite number in `{name}`")
        return values

    def named(name: str) -> np.ndarray:
        found, index = texts(name), {known: number for number, known in enumerate(task.classes)}
        for identifier, value in zip(ids, found, strict=True):
            if value not in index:
                raise damaged(f"sample `{identifier}` has the {name} `{value}`, which the task does not have")
        return np.array([index[str(value)] for value in found], dtype=np.float64)

    ids = texts("id")
    if not ids:
        raise damaged("it holds no sample")
    seen: set[str] = set()
    for row, identifier in enumerate(ids):
        if not identifier:
            raise damaged(f"row {row} has no id")
        if identifier in seen:
            raise damaged(f"sample `{identifier}` appears twice")
        seen.add(identifier)
    folds = texts("fold")
    if None in folds:
        raise damaged(f"sample `{ids[folds.index(None)]}` has no fold")
    groups = [None] * len(ids) if pa.types.is_null(column("group").type) else texts("group")

    def several() -> np.ndarray:
        return np.stack([states(f"label:{name}") for name in task.names], axis=1)

    def states(name: str) -> np.ndarray:
        found = column(name)
        if not pa.types.is_integer(found.type):
            raise damaged(f"column `{name}` holds {found.type}, not whole numbers")
        values = found.fill_null(UNKNOWN).to_numpy().astype(np.float64)
        wrong = ~np.isin(values, (UNKNOWN, 0, 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise damaged(f"sample `{ids[row]}` has {values[row]:g} in `{name}`, which is neither 0 nor 1")
        return values

    def scores_or_classes() -> np.ndarray:
        labels = numbers("label") if _is_coded(table, task) else named("label")
        low, high = (task.low, task.high) if task.kind == "regression" else (0, task.num_outputs - 1)
        wrong = (labels < low) | (labels > high)
        if task.kind == "classification":
            wrong |= labels != np.round(labels)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise damaged(f"sample `{ids[row]}` has the label {labels[row]:g}, which the task does not have")
        return labels

    labels = several() if task.kind == "multilabel" else scores_or_classes()
    names = [f"output_{index}" for index in range(task.num_outputs)]
    others = {name for name in table.column_names if name.startswith("output_")} - set(names)
    if others:
        raise damaged(f"it has the column `{min(others)}`, but the task has {task.num_outputs} outputs")
    outputs = np.stack([numbers(name) for name in names], axis=1)
    # Runs of earlier versions call it a spread.
    prefix = "spread" if "spread_0" in table.column_names else "trajectory_std"
    deviations = [f"{prefix}_{index}" for index in range(task.num_outputs)]
    without = [column(name).null_count == len(ids) for name in deviations]
    if any(without) and not all(without):
        raise damaged("some of its outputs have a standard deviation over trajectories, and others have none")
    return StoredPredictions(
        path,
        tuple(identifier for identifier in ids if identifier),
        tuple(fold for fold in folds if fold is not None),
        None if any(group is None for group in groups) else np.array(groups),
        labels if task.kind == "regression" else labels.astype(np.int64),
        outputs,
        None if all(without) else np.stack([numbers(name) for name in deviations], axis=1),
    )


def _is_coded(table: pa.Table, task: Task) -> bool:
    """Whether labels are numbers: scores, and the indices of classes in runs of earlier versions."""
    kind = table.column("label").type if table.column_names.count("label") == 1 else pa.float64()
    return not task.classes or not (pa.types.is_string(kind) or pa.types.is_large_string(kind))


def read_metrics(run: RunFolder, predictions: StoredPredictions, task: Task) -> RunMetrics:
    """Read the metrics of a complete run, known to be those of its predictions.

    Raises:
        CheckpointError: If the file is missing, damaged, not of this run, or says other values than follow from the
            predictions.
    """
    content = run.metrics()
    found = metrics(task, predictions.labels, predictions.outputs)
    for name in found.keys() & content.test.keys():
        stated = content.test[name].value
        if not _agree(found[name], stated):
            raise CheckpointError(
                f"`{run.metrics_file}` says {name} = {stated}, but the predictions beside it give {found[name]}: "
                "one of the two files was changed or is of another run; repeat the run."
            )
    return content


def _agree(found: float | None, stated: float | None) -> bool:
    if found is None or stated is None:
        return found is stated
    return math.isclose(found, stated, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)


def check_samples(
    predictions: StoredPredictions, subsets: Sequence[Subset], task: Task, *, store: Path | str
) -> None:
    """Make sure that a run's predictions are of the test samples of its data, with their labels and groups.

    Args:
        predictions: The predictions.
        subsets: Test samples of every fold, all labelled.
        task: What is predicted.
        store: Where the data lie, for messages.

    Raises:
        CheckpointError: Naming the first sample that is not the same.
    """

    def differs(what: str) -> CheckpointError:
        return CheckpointError(
            f"`{predictions.path}` and store `{store}` do not belong together: {what}; restore the one that was "
            "changed or repeat the run."
        )

    expected: dict[str, tuple[Any, str | None]] = {}
    for subset in subsets:
        labels = [math.nan] * len(subset) if subset.labels is None else subset.labels.tolist()
        groups = [None] * len(subset) if subset.groups is None else subset.groups.tolist()
        expected.update(zip(subset.ids, zip(labels, groups, strict=True), strict=True))
    for row, identifier in enumerate(predictions.ids):
        if identifier not in expected:
            raise differs(f"sample `{identifier}` is not among the test samples of the store")
        label, group = expected.pop(identifier)
        # Written so that a label that is not a number differs from every other.
        if not predictions.labels[row].tolist() == label:
            raise differs(
                f"sample `{identifier}` has the label {_named(predictions.labels[row], task)} in one and "
                f"{_named(label, task)} in the other"
            )
        if predictions.groups is not None and group is not None and predictions.groups[row] != group:
            raise differs(
                f"sample `{identifier}` is of group `{predictions.groups[row]}` in one and `{group}` in the other"
            )
    if expected:
        raise differs(f"sample `{min(expected)}` of the store is not among the predictions")


def _named(label: Any, task: Task) -> str:
    if task.kind == "multilabel":
        states = {1: "present", 0: "absent"}
        return ", ".join(
            f"{name} {states.get(state, 'unknown')}"
            for name, state in zip(task.names, np.asarray(label).tolist(), strict=True)
        )
    if task.kind == "classification" and math.isfinite(label):
        return f"`{task.classes[int(label)]}`" if 0 <= label < len(task.classes) else f"{label:g}"
    return f"{label:g}"
