"""What a user should know about classes and labels of which a run's samples tell nothing."""

from collections.abc import Mapping, Sequence

import numpy as np

from qinn.data.stores.label_gaps import label_gaps
from qinn.data.subsets.cross_validation import Fold
from qinn.task import Task

_SHOWN = 3


def label_remarks(folds: Sequence[Fold], task: Task, *, refit: bool) -> list[str]:
    """Return what the training samples and those held out leave open.

    Args:
        folds: The divisions of the data.
        task: What is predicted.
        refit: Whether validation samples are trained on too, in the end.

    Returns:
        A sentence for each class or label that no training sample has, or every one, and for each that none of the
        samples has of which intervals and sets are made: those of validation, or the test samples of several folds.
    """
    trained: dict[str, np.ndarray] = {}
    for fold in folds:
        train, valid = fold.development.train.labels, fold.development.valid.labels
        trained[fold.name] = _joined([train, valid] if refit else [train])
    test = _joined([fold.test.labels for fold in folds])
    return gap_remarks(trained, None if len(folds) > 1 else folds[0].development.valid.labels, test, task)


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else np.zeros(0)


def gap_remarks(
    trained: Mapping[str, np.ndarray], valid: np.ndarray | None, test: np.ndarray, task: Task
) -> list[str]:
    """Return what labels leave open, see `label_remarks`.

    Args:
        trained: Fold → labels of its training samples.
        valid: Those of the validation samples; None where errors are those of several folds' test samples.
        test: Those of the test samples of all folds.
        task: What is predicted.

    Examples:
        >>> task = Task("classification", classes=("bad", "good"))
        >>> gap_remarks({"fixed": np.array([0, 1])}, np.array([0, 0]), np.array([0, 1]), task)
        ['No validation sample has the class `good`, so nothing shows how often sets hold it where it is true.']
    """
    what = "label" if task.kind == "multilabel" else "class"
    gaps = {name: label_gaps(labels, task) for name, labels in trained.items()}
    held_out = test if valid is None else valid
    elsewhere = set(task.names) - set(label_gaps(np.concatenate([held_out, test]), task).none)
    remarks: list[str] = []
    for name in task.names:
        if where := [fold for fold, own in gaps.items() if name in own.none]:
            others = ", in validation or test too" if name in elsewhere else ""
            remarks.append(
                f"No training sample has the {what} `{name}`{_of_folds(where, len(gaps))}, so nothing can be learned "
                f"about it: the model is wrong wherever it occurs{others}."
            )
    constant = dict.fromkeys(name for own in gaps.values() for name in own.every)
    for name in constant:
        where = [fold for fold, own in gaps.items() if name in own.every]
        has = f"the score {name}" if task.kind == "regression" else f"the {what} `{name}`"
        remarks.append(
            f"Every training sample has {has}{_of_folds(where, len(gaps))}, so nothing can be learned about what "
            "speaks against it."
        )
    part = "test" if valid is None else "validation"
    remarks += [
        f"No {part} sample has the {what} `{name}`, so nothing shows how often sets hold it where it is true."
        for name in label_gaps(held_out, task).none
        if not any(name in own.none for own in gaps.values())
    ]
    return remarks


def _of_folds(where: Sequence[str], number: int) -> str:
    if len(where) == number:
        return ""
    return f" of fold{'s' * (len(where) > 1)} {_listed(where)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
