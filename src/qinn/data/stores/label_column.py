"""The labels of a store: what the column of its table holds for each kind of task, and what is made of it.

A score is a float64 and a class the int64 index of it, null where a sample is unlabelled. Of a multi-label task a label
is a list of as many int64 as there are labels, 1 where one is present, 0 where it is absent and null where that is not
known.
"""

# pyarrow states few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from qinn.data.stores.columns import Column, one_per_sample
from qinn.errors import DataError
from qinn.task import Task

Label = float | int | list[int | None] | None
"""What the table holds for one sample."""

UNKNOWN = -1
"""What stands for a class or a label that is not known in an array."""


def label_type(task: Task) -> pa.DataType:
    """Return the type of the column.

    Args:
        task: What is predicted.
    """
    if task.kind == "multilabel":
        # Parquet calls the items so, whatever they are called here.
        return pa.list_(pa.field("element", pa.int64()), len(task.names))
    return pa.float64() if task.kind == "regression" else pa.int64()


def label_array(column: pa.ChunkedArray, task: Task) -> np.ndarray:
    """Return the column as an array.

    Args:
        column: The labels in a store's table.
        task: What is predicted.

    Returns:
        float64 scores (n), NaN where unlabelled; int64 class indices (n), -1 where unlabelled; or int64 zeros and ones
        (n, labels), -1 where a label is not known.
    """
    if task.kind == "multilabel":
        flat = column.combine_chunks().flatten().fill_null(UNKNOWN)
        return np.array(flat.to_numpy(zero_copy_only=False)).reshape(-1, len(task.names))
    return np.array(column.fill_null(np.nan if task.kind == "regression" else UNKNOWN).to_numpy())


def labelled_mask(labels: np.ndarray) -> Bool[np.ndarray, "n"]:
    """Return where scores are not NaN, class indices not negative, or any of several labels is known.

    Args:
        labels: As `label_array` returns them.

    Examples:
        >>> labelled_mask(np.array([[1, -1], [-1, -1]])).tolist()
        [True, False]
    """
    if labels.dtype.kind == "f":
        return ~np.isnan(labels)
    known = labels >= 0
    return np.asarray(known.any(axis=1) if labels.ndim == 2 else known)


def counts_of(labels: np.ndarray, task: Task) -> dict[str, int]:
    """Return how many samples have each class, or each label.

    Args:
        labels: As `label_array` returns them, of a classification or multi-label task.
        task: What is predicted.

    Examples:
        >>> counts_of(np.array([[1, 0], [1, -1]]), Task("multilabel", labels=("glad", "sad")))
        {'glad': 2, 'sad': 0}
    """
    if task.kind == "multilabel":
        return dict(zip(task.names, (labels == 1).sum(axis=0).tolist(), strict=True))
    return {name: int((labels == index).sum()) for index, name in enumerate(task.classes)}


def outside(labels: np.ndarray, task: Task) -> Bool[np.ndarray, "n"]:
    """Return which samples have a label that the task does not have.

    Args:
        labels: As `label_array` returns them.
        task: What is predicted.
    """
    low, high = limits_of(task)
    known = labels >= 0 if labels.ndim == 2 else labelled_mask(labels)
    wrong = known & ~((labels >= low) & (labels <= high))
    return np.asarray(wrong.any(axis=1) if wrong.ndim == 2 else wrong)


def limits_of(task: Task) -> tuple[float, float]:
    """Return the smallest and the largest label that the task has."""
    if task.kind == "regression":
        return task.low, task.high
    return 0.0, float(len(task.names) if task.kind == "classification" else 2) - 1


def range_of(labels: Iterable[Label]) -> list[float | int] | None:
    """Return the smallest and the largest of some labels; None where none is known.

    Args:
        labels: As the table holds them.
    """
    known = [
        one for label in labels for one in (label if isinstance(label, list) else [label]) if one is not None
    ]
    return [min(known), max(known)] if known else None


def checked_labels(ids: Sequence[str], labels: Column | None, task: Task) -> list[Label]:
    """Return labels as the table holds them, known to fit the task.

    Args:
        ids: The samples.
        labels: One per sample; None = unlabelled.
        task: What is predicted.

    Raises:
        DataError: If one is not a finite number, out of the range or no class index, or several are not as many as the
            task has, each 0, 1 or None.

    Examples:
        >>> checked_labels(["a", "b"], [2, None], Task("regression", -3.0, 3.0, "mosi"))
        [2.0, None]
        >>> checked_labels(["a", "b"], [[1, None], None], Task("multilabel", labels=("glad", "sad")))
        [[1, None], [None, None]]
    """
    column = [None] * len(ids) if labels is None else one_per_sample(ids, "label", labels)
    if task.kind == "multilabel":
        return [_several(identifier, label, task) for identifier, label in zip(ids, column, strict=True)]
    return [
        None if label is None else _checked_label(identifier, label, task)
        for identifier, label in zip(ids, column, strict=True)
    ]


def _several(identifier: str, label: Any, task: Task) -> list[int | None]:
    """Return which labels a sample has: 1, 0, or None where that is not known."""
    if label is None:
        return [None] * len(task.names)
    try:
        given = [None if one is None or float(one) in (UNKNOWN,) else float(one) for one in label]
    except (TypeError, ValueError):
        given = None
    if given is None or len(given) != len(task.names) or not {*given} <= {None, 0.0, 1.0}:
        raise DataError(
            f"Sample `{identifier}` has the labels {label!r}, but must have 0, 1 or None for each of "
            f"{', '.join(task.names)}; None where it is not known whether one is present."
        )
    return [None if one is None else int(one) for one in given]


def _checked_label(identifier: str, label: Any, task: Task) -> float | int:
    try:
        value = float(label)
    except (TypeError, ValueError):
        raise DataError(f"Sample `{identifier}` has the label {label!r}, which is not a number.") from None
    if not np.isfinite(value):
        raise DataError(
            f"Sample `{identifier}` has the label {value}; give a finite one, or None if unlabelled."
        )
    if task.kind == "regression":
        if not task.low <= value <= task.high:
            raise DataError(
                f"Sample `{identifier}` has the label {value:g}, outside the task's range "
                f"[{task.low:g}, {task.high:g}]; correct the label or state the true range."
            )
        return value
    if value != int(value) or not 0 <= value < len(task.classes):
        raise DataError(
            f"Sample `{identifier}` has the class index {value:g}, but the classes are 0 to "
            f"{len(task.classes) - 1}: {list(task.classes)}."
        )
    return int(value)
