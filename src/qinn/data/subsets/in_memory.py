"""Samples that lie in memory already, as a subset."""

from collections.abc import Mapping, Sequence

import numpy as np

from qinn.data.stores.ragged import Ragged
from qinn.data.subsets.modality_columns import column_of
from qinn.data.subsets.subset import Subset
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
    columns = {
        name: column_of(values, (np.cumsum(lengths) - lengths).__getitem__, lengths)
        for name, (values, lengths) in features.items()
    }
    return Subset(task, ids, [""] * len(ids), labels, groups, columns)
