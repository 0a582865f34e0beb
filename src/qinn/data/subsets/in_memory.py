"""Samples that lie in memory already, as a subset."""

from collections.abc import Mapping, Sequence

import numpy as np

from qinn.data.stores.ragged import Ragged, gather_padded, gather_steps
from qinn.data.subsets.subset import Subset, _Column
from qinn.task import Task


def subset_of_arrays(
    task: Task,
    features: Mapping[str, Ragged],
    *,
    ids: Sequence[str],
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Subset:
    """Return arrays as a subset, which reads them where they lie.

    Args:
        task: What is predicted.
        features: Modality → all steps after each other in single precision, (total_steps, dim), row after row in
            memory, and the number of steps of each sample, (n,), where 0 means absent.
        ids: Sample identifiers.
        labels: float64 scores or int64 class indices, (n,); None where there are none.
        groups: Group names, (n,), all different from the empty string; None where there are none.

    Examples:
        >>> steps = np.ones((3, 2), dtype=np.float32)
        >>> subset = subset_of_arrays(
        ...     Task("regression", 0.0, 1.0), {"audio": (steps, np.array([2, 1]))}, ids=["a", "b"])
        >>> subset.padded([0, 1])["audio"][0].shape
        (2, 2, 2)
    """
    columns = {name: _column(values, lengths) for name, (values, lengths) in features.items()}
    return Subset(task, ids, [""] * len(ids), labels, groups, columns)


def _column(values: np.ndarray, lengths: np.ndarray) -> _Column:
    starts = np.cumsum(lengths) - lengths

    def padded(positions: np.ndarray) -> np.ndarray:
        return gather_padded(values, starts[positions], lengths[positions])

    def steps(positions: np.ndarray) -> np.ndarray:
        return gather_steps(values, starts[positions], lengths[positions])

    return _Column(values.shape[1], lengths, padded, steps)
