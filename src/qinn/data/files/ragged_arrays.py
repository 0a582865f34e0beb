"""Sequences of unequal lengths as people keep them: a list of arrays, or an array whose objects are arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qinn.errors import DataError

__all__ = ["RaggedSteps", "is_ragged", "ragged_steps"]

_MOST_REPEATED = 4
"""How many times over the bytes of its different arrays a list may stand for: a pickle can name one array often."""


class RaggedSteps:
    """Sequences (steps, features) that are indexed like an array (samples, steps, features) which has no padding.

    Args:
        arrays: The sequences, all of the same width.

    Attributes:
        shape: Number of samples, longest sequence, width.
        dtype: Of the first array.
    """

    ndim = 3

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._arrays = arrays
        longest = max((len(array) for array in arrays), default=0)
        self.shape = (len(arrays), longest, arrays[0].shape[1] if arrays else 0)
        self.dtype = arrays[0].dtype if arrays else np.dtype(float)

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._arrays[row]


def is_ragged(values: Any) -> bool:
    """Whether something is a list of arrays or lists, or an array of one dimension whose objects are arrays."""
    items = values.tolist() if _is_objects(values) else values
    return isinstance(items, list | tuple) and bool(items) and isinstance(items[0], np.ndarray | list)


def _is_objects(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1


def ragged_steps(values: Any, where: str) -> RaggedSteps | np.ndarray:
    """Return sequences of unequal lengths; where each is a vector, an array (samples, features).

    Args:
        values: As of `is_ragged`: each (steps, features), or (features,); without a step, of any width.
        where: File and key, for messages.

    Raises:
        DataError: If one is of another form or width, or one array stands for many.

    Examples:
        >>> steps = ragged_steps([np.ones((2, 3)), np.zeros((0, 3)), [[1, 2, 3]]], "f.pkl")
        >>> steps.shape, steps[2].tolist()
        ((3, 2, 3), [[1, 2, 3]])
    """
    arrays = [_array(value, where, row) for row, value in enumerate(values)]
    different = {id(array): array.nbytes for array in arrays}
    if sum(array.nbytes for array in arrays) > _MOST_REPEATED * sum(different.values()) + 2**20:
        raise DataError(
            f"{where} names the same array many times over, which is refused; write each sample once."
        )
    filled = [array for array in arrays if array.size]
    if filled and all(array.ndim == 1 for array in arrays) and len({len(array) for array in arrays}) == 1:
        return np.stack(arrays)
    dim = filled[0].shape[-1] if filled else 1
    for row, array in enumerate(arrays):
        if array.size and (array.ndim != 2 or array.shape[1] != dim):
            raise DataError(
                f"{where} has the shape {array.shape} at place {row}, but (steps, {dim}) was expected, as of the "
                "others."
            )
    return RaggedSteps([array if array.size else np.zeros((0, dim), np.float32) for array in arrays])


def _array(value: Any, where: str, row: int) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise DataError(
            f"{where} has {array.dtype} of shape {array.shape} at place {row}, but numbers (steps, features) were "
            "expected."
        )
    return array
