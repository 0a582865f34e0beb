"""What an estimator is told to predict: checked, and as training takes it."""

import math
import warnings
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from qinn.errors import ArgumentError
from qinn.face.arrays import as_array, in_one_line
from qinn.face.scikit import ColumnWarning
from qinn.task import Task

Scale = Literal["plain", "mosi", "sims"]
_RANGES = {"mosi": (-3.0, 3.0), "sims": (-1.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of some samples.

    Attributes:
        values: float64 scores, int64 positions among the classes, (n,), or several labels, (n, labels): 1, 0, and -1
            where one is not known.
        task: What is predicted.
        classes: The classes in the order of their positions, or the names of the labels; None for scores.
    """

    values: npt.NDArray[Any]
    task: Task
    classes: npt.NDArray[Any] | None

    def check_belong_to(self, samples: Sized) -> None:
        """Refuse labels of another number of samples.

        Args:
            samples: Those that are given with them.

        Raises:
            ArgumentError: If there are more, or fewer.
        """
        if len(samples) != len(self.values):
            raise ArgumentError(
                f"Arguments `X` and `y` must have the same number of samples, but have {len(samples)} and "
                f"{len(self.values)}."
            )


def check_equally_many(found: Sized, given: Sized) -> None:
    """Refuse true labels of another number than those that were predicted.

    Args:
        found: What was predicted.
        given: What is true.

    Raises:
        ArgumentError: If there are more, or fewer.
    """
    if len(found) != len(given):
        raise ArgumentError(f"Argument `y` must have {len(found)} labels, but has {len(given)}.")


def scores_of(y: object, *, scale: str, label_range: Any) -> Labels:
    """Return labels as scores.

    Args:
        y: One number per sample.
        scale: Which conventions the metrics follow.
        label_range: Lowest and highest possible score; those of the scale, or that occur, if None.

    Raises:
        ArgumentError: If they are no finite numbers in one row, or lie outside the range.

    Examples:
        >>> scores_of([1, 2.5], scale="plain", label_range=None).task.high
        2.5
    """
    if scale not in get_args(Scale):
        raise ArgumentError(f"Argument `scale` must be one of {list(get_args(Scale))}, but it is `{scale}`.")
    values = numbers_of(y)
    if not values.size:
        raise ArgumentError("Argument `y` must have one label per sample, but is empty.")
    found = (float(values.min()), float(values.max()))
    if label_range is None:
        low, high = _RANGES.get(scale, found if found[0] < found[1] else (found[0] - 0.5, found[1] + 0.5))
    else:
        try:
            low, high = (float(bound) for bound in label_range)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"Argument `label_range` must be the lowest and the highest possible label, but it is {label_range!r}."
            ) from None
    if not math.isfinite(low) or not math.isfinite(high):
        raise ArgumentError(
            f"Argument `label_range` must be two finite numbers, but it is {label_range!r}; None takes what occurs."
        )
    task = Task("regression", low, high, cast("Scale", scale))
    if found[0] < low or found[1] > high:
        raise ArgumentError(
            f"Argument `y` must lie in [{low:g}, {high:g}], but reaches from {found[0]:g} to {found[1]:g}; state the "
            "true `label_range`, or another `scale`."
        )
    return Labels(values, task, None)


def classes_of(y: object, known: npt.NDArray[Any] | None = None) -> Labels:
    """Return labels as positions among their classes.

    Args:
        y: One class per sample: numbers, truth values or strings.
        known: The classes, in order; all that occur, sorted, if None.

    Raises:
        ArgumentError: If there are fewer than two classes, one is not known, or labels are no classes.

    Examples:
        >>> classes_of(["sad", "glad", "sad"]).values.tolist()
        [1, 0, 1]
    """
    given = one_row(y)
    if given.dtype.kind in "fc":
        _check_finite(given)
        if (given != np.round(given)).any():
            raise ArgumentError(
                "Unknown label type: continuous. Argument `y` must hold classes where the task is `classification`, "
                f"but has {given[given != np.round(given)][0]}; choose the task `regression` for scores."
            )
    try:
        found, positions = np.unique(given, return_inverse=True)
    except TypeError as error:
        raise ArgumentError(
            f"Argument `y` must hold classes of one kind, but {error}; make them all strings."
        ) from None
    if known is None:
        if len(found) < 2:
            raise ArgumentError(
                f"Argument `y` must have two classes at least, but has 1 class, {found.tolist()[0]!r}; a classifier "
                "learns to tell classes apart."
            )
        known = found
    else:
        if len(strange := np.setdiff1d(found, known)):
            raise ArgumentError(
                f"Argument `y` must have the classes {known.tolist()}, but has {strange.tolist()[0]!r}."
            )
        positions = np.searchsorted(known, given)
    task = Task("classification", classes=tuple(str(name) for name in known.tolist()))
    return Labels(positions.reshape(-1).astype(np.int64), task, known)


def labels_of(
    y: object, *, names: Any = None, threshold: float | None = None, known: npt.NDArray[Any] | None = None
) -> Labels:
    """Return which of several labels each sample has.

    Args:
        y: An array (n, labels), or a data frame with a column for each: 1 or True where a label is present, 0 or False
            where it is not, NaN or None where that is not known.
        names: Names of the labels; if None those of the data frame's columns, else ``label 0``, ``label 1`` ….
        threshold: Probability from which on a label is decided to be present.
        known: Names of the labels of the fit, of which `y` must have as many columns.

    Raises:
        ArgumentError: If `y` has another form, holds other values, or a sample has no label that is known.

    Examples:
        >>> labels_of([[1, 0], [0, None]], names=("glad", "sad")).values.tolist()
        [[1, 0], [0, -1]]
    """
    columns = getattr(y, "columns", None)
    given = None if y is None else as_array(y)
    if given is None or given.ndim != 2 or not len(given):
        found = (
            "it is None"
            if y is None
            else "its rows differ"
            if given is None
            else f"its shape is {given.shape}"
        )
        raise ArgumentError(
            f"Argument `y` must have a row for each sample and a column for each label where the task is `multilabel`, "
            f"but {found}."
        )
    if known is not None:
        names = known.tolist()
    elif names is None:
        names = [f"label {index}" for index in range(given.shape[1])] if columns is None else list(columns)
    if len(names) != given.shape[1]:
        raise ArgumentError(
            f"Argument `y` must have a column for each of the labels {', '.join(map(str, names))}, but has "
            f"{given.shape[1]}."
        )
    missing = [[_is_missing(one) for one in row] for row in given.tolist()]
    try:
        filled = np.where(missing, 0, given.astype(object)).astype(np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"Argument `y` must hold 1 and 0 for several labels, but it holds {given.dtype}, as "
            f"`{str(given.flat[0])[:40]}`; pass numbers or truth values."
        ) from None
    values = np.where(missing, -1.0, filled)
    wrong = np.argwhere((values != 0) & (values != 1) & ~np.array(missing, dtype=bool))
    if len(wrong):
        row, column = wrong[0]
        raise ArgumentError(
            f"Argument `y` must hold 1 (present) and 0 (absent), but row {row} has {values[row, column]:g} for "
            f"`{names[column]}`; of intensities pass `y > 0`, as CMU-MOSEI counts emotions."
        )
    if np.all(missing, axis=1).any():
        row = int(np.argmax(np.all(missing, axis=1)))
        raise ArgumentError(
            f"Argument `y` must say something of every sample, but row {row} has no label; leave it out."
        )
    task = Task("multilabel", labels=tuple(str(name) for name in names), threshold=threshold)
    return Labels(values.astype(np.int64), task, np.array([str(name) for name in names], dtype=object))


def groups_of(groups: object, number: int) -> npt.NDArray[np.object_] | None:
    """Return the groups of samples as names; None where there are none.

    Args:
        groups: One group per sample, of anything that can be told apart as text.
        number: How many samples.

    Raises:
        ArgumentError: If there is not one for each sample.
    """
    if groups is None:
        return None
    given = as_array(groups)
    if given is None or given.shape != (number,):
        found = "its entries are lists" if given is None else f"has the shape {given.shape}"
        raise ArgumentError(
            f"Argument `groups` must have one group for each of {number} samples, but {found}."
        )
    names = ["" if _is_missing(name) else str(name) for name in given.tolist()]
    if "" in names:
        raise ArgumentError(
            f"Argument `groups` must name the group of every sample, but row {names.index('')} has none; give each "
            "sample without a group one of its own."
        )
    return np.array(names, dtype=object)


def numbers_of(y: object) -> npt.NDArray[np.float64]:
    """Return labels as finite numbers, one for each sample.

    Args:
        y: Labels.

    Raises:
        ArgumentError: If they are not.
    """
    given = one_row(y)
    try:
        if given.dtype.kind in "mMV":
            raise TypeError(f"they are dates or records ({given.dtype})")
        values = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"Argument `y` must hold numbers where the task is `regression`, but {error}; choose the task "
            "`classification` for classes."
        ) from None
    _check_finite(values)
    return values


def one_row(y: object) -> npt.NDArray[Any]:
    """Return labels as an array with one for each sample.

    Args:
        y: Labels.

    Raises:
        ArgumentError: If they have another form, or one is missing.
    """
    if y is None:
        raise ArgumentError(
            "This estimator requires y to be passed, but the target y is None; give one label per sample."
        )
    given = as_array(y)
    if given is None:
        raise ArgumentError("Argument `y` must have one label per sample, but its rows differ in length.")
    if not given.ndim:
        raise ArgumentError(
            f"Argument `y` must be an array or a list with one label per sample, but it is {in_one_line(y)}."
        )
    if given.ndim == 2 and given.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected; pass `y.ravel()`.",
            ColumnWarning,
            stacklevel=4,
        )
        given = given[:, 0]
    if given.ndim != 1:
        raise ArgumentError(
            f"Argument `y` must have one label per sample, but has the shape {given.shape}; fit one estimator per "
            "target, or choose the task `multilabel` for labels that are present or absent."
        )
    if given.dtype.kind == "c":
        raise ArgumentError("Complex data not supported: argument `y` must hold real numbers or classes.")
    if given.dtype == object and any(_is_missing(one) for one in given.tolist()):
        raise ArgumentError(
            "Argument `y` must have a label for every sample, but one is missing; leave it out."
        )
    return given


def _is_missing(label: Any) -> bool:
    """Tell whether a label or a group is none: None, NaN, or what pandas calls NA and NaT."""
    return label is None or type(label).__name__ in ("NAType", "NaTType") or bool(label != label)


def _check_finite(values: npt.NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise ArgumentError(
            "Input y contains NaN, or infinity or a value too large for dtype('float64'): argument `y` must hold "
            "finite numbers; leave samples without a label out."
        )
    if values.size and np.abs(values).max() > np.finfo(np.float32).max:
        raise ArgumentError("Argument `y` must hold numbers of single precision (up to 3.4e38); rescale it.")
