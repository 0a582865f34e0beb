"""Arrays of labels, one or several per sample: which of them a task takes."""

from typing import Any

import numpy as np

from qinn.data.importing.faults import UnstatedError
from qinn.data.importing.labels import TaskOptions
from qinn.errors import ConfigError, DataError
from qinn.stated_options import option

__all__ = ["chosen_labels", "label_index"]


def label_index(whose: str) -> Any:
    """Return the option that says which label is taken, where there are several.

    Args:
        whose: For which files.
    """
    return option(
        None, f"Which label, from 0, where there are several: {whose}", bounds=(0, 2**20), metavar="K"
    )


def chosen_labels(labels: np.ndarray, options: TaskOptions, index: int | None, where: str) -> list[Any]:
    """Return what a task takes of the labels of each sample: one, or a list of them where it is a multi-label task.

    Args:
        labels: As for `chosen_label`.
        options: What the labels mean.
        index: Which of several is the one, from 0.
        where: File and array, for messages.

    Raises:
        ConfigError: If there are several and nothing says which, or there is no such.
        DataError: If a label among classes has not a single 1.
    """
    if options.kind != "multilabel":
        return chosen_label(labels, index, where)
    options.refuse_single("label_index", given=index is not None)
    count = labels.shape[1] if labels.ndim > 1 else 1
    columns = [chosen_label(labels, column, where) for column in options.columns(count, where)]
    return [list(row) for row in zip(*columns, strict=True)]


def chosen_label(labels: np.ndarray, index: int | None, where: str) -> list[Any]:
    """Return one label per sample.

    Args:
        labels: One or several labels of each sample: (n), (n, 1, 1), (n, labels) or, one-hot, (n, labels, classes).
        index: Which of several, from 0.
        where: File and array, for messages.

    Raises:
        ConfigError: If there are several and none was chosen, or there is no such.
        DataError: If a label among classes has not a single 1.

    Examples:
        >>> [float(label) for label in chosen_label(np.array([[0.5, 2], [1, 3]]), 1, "y.h5")]
        [2.0, 3.0]
    """
    count = labels.shape[1] if labels.ndim > 1 else 1
    if index is not None and index >= count:
        raise ConfigError(
            f"{where} has {count} label{'s' if count > 1 else ''} per sample, numbered from 0; there is no {index}."
        )
    if labels.size == len(labels):
        return list(labels.reshape(-1))
    if index is None:
        if count > 1:
            one_hot = {"task": "classification"} if labels.ndim > 2 and labels.shape[2] > 1 else {}
            raise UnstatedError(
                f"{where} has labels of the shape {labels.shape}, several per sample; say which one by "
                f"`--label-index`, 0 to {count - 1}, or take them all by `--task multilabel`.",
                {"label_index": 0, **one_hot},
                {"task": "multilabel", "labels": ",".join(f"NAME{place}" for place in range(count))},
            )
        index = 0
    chosen = labels[:, index].reshape(len(labels), -1)
    if chosen.shape[1] == 1:
        return list(chosen[:, 0])
    if not np.isin(chosen, (0, 1)).all() or (chosen.sum(axis=1) != 1).any():
        raise DataError(
            f"{where} must have a single 1 among the classes of each label, but not all samples do."
        )
    return list(chosen.argmax(axis=1))
