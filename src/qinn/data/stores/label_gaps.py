"""Classes and labels of which some samples tell nothing: none of them has one, or every one has it."""

from dataclasses import dataclass

import numpy as np

from qinn.data.stores.label_column import labelled_mask
from qinn.task import Task


@dataclass(frozen=True)
class LabelGaps:
    """What the labels of some samples leave open.

    Attributes:
        none: Classes that no sample has; labels that none has, be they absent or not known.
        every: The class, the score or the labels that every sample has, as far as it is known; several samples of one
            class are needed to say that of it.
    """

    none: tuple[str, ...] = ()
    every: tuple[str, ...] = ()


def label_gaps(labels: np.ndarray, task: Task) -> LabelGaps:
    """Return what some labels leave open.

    Args:
        labels: As `qinn.data.stores.label_column.label_array` returns them.
        task: What is predicted.

    Examples:
        >>> label_gaps(np.array([0, 0, -1]), Task("classification", classes=("bad", "good")))
        LabelGaps(none=('good',), every=('bad',))
        >>> label_gaps(np.array([[1, 0], [1, -1]]), Task("multilabel", labels=("glad", "sad")))
        LabelGaps(none=('sad',), every=('glad',))
        >>> label_gaps(np.array([0.5, 0.5]), Task("regression", -1.0, 1.0))
        LabelGaps(none=(), every=('0.5',))
    """
    if task.kind == "multilabel":
        has, lacks = (labels == 1).any(axis=0), (labels == 0).any(axis=0)
        return LabelGaps(_named(task, ~has), _named(task, has & ~lacks))
    known = labels[labelled_mask(labels)]
    constant = len(known) > 1 and bool((known == known[0]).all())
    if task.kind == "regression":
        return LabelGaps(every=(f"{known[0]:g}",) if constant else ())
    occurs = np.isin(np.arange(len(task.classes)), known)
    return LabelGaps(_named(task, ~occurs), _named(task, occurs) if constant else ())


def _named(task: Task, chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, one in zip(task.names, chosen, strict=True) if one)
