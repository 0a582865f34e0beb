"""Predictions of models that were trained elsewhere: read, checked, and put in the order of the test samples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.data.files.tables import Columns, read_columns
from qinn.errors import DataError
from qinn.escaping import visible
from qinn.experiment.config import ExperimentConfig
from qinn.task import Task

__all__ = ["outputs_of_file", "outputs_trained_elsewhere"]

_LEAST = 1e-12
"""The smallest probability that is told from 0: its logit is finite."""
_ROUNDED = 1e-2
"""By which probabilities that were rounded may miss a sum of 1."""


def outputs_trained_elsewhere(
    config: ExperimentConfig, task: Task, ids: Sequence[str]
) -> dict[str, Float[np.ndarray, "seed sample output"]]:
    """Return what models that were trained elsewhere predict.

    Args:
        config: Names their files, one for each seed.
        task: What is predicted.
        ids: Test samples, in the order of the outputs.

    Returns:
        Label → scores or logits.

    Raises:
        DataError: As `outputs_of_file`.
        ConfigError: Likewise.
    """
    return {
        label: np.stack([outputs_of_file(path, task, ids) for path in files])
        for label, files in config.files_trained_elsewhere().items()
    }


def outputs_of_file(path: Path | str, task: Task, ids: Sequence[str]) -> Float[np.ndarray, "sample output"]:
    """Read the predictions of a model that was trained elsewhere.

    The table has a row for each test sample, in any order, and may have rows for other samples: ``id``, and ``score``;
    of classes or of several labels ``probability:NAME`` of each, or ``logit:NAME``. So have the tables of `qinn
    predict`; the ``output_0`` … of a run's ``predictions.parquet`` will do as well.

    Args:
        path: A .csv, .tsv, .parquet or .npz file.
        task: What is predicted.
        ids: Test samples, in the order of the outputs.

    Returns:
        Scores or logits. Of probabilities p the logits are ln p, of several labels ln p/(1 − p), with p kept from 0
        and, of labels, from 1 by 1e-12.

    Raises:
        DataError: If the file cannot be read; a test sample is missing or named twice, or has no finite number; or
            probabilities are outside of [0, 1] or, of classes, do not sum to 1 within 0.01.
        ConfigError: If a column is missing.
    """
    table = read_columns(path)
    rows = _rows(table, ids)
    names = _columns(table, task)
    values = _finite(table, names, rows, ids)
    return _logits(table, values, task, ids) if names[0].startswith("probability:") else values


def _columns(table: Columns, task: Task) -> list[str]:
    """Return the columns that hold a prediction; where there are none, those that should."""
    stored = [f"output_{index}" for index in range(task.num_outputs)]
    named = [[f"{kind}:{name}" for name in task.names] for kind in ("probability", "logit")]
    ways = [["score"], stored] if task.kind == "regression" else [named[0], named[1], stored]
    # Logits say more than probabilities, which may be rounded.
    return next((way for way in reversed(ways) if table.values.keys() >= set(way)), ways[0])


def _rows(table: Columns, ids: Sequence[str]) -> list[int]:
    """Return the row of each test sample."""
    wanted, found = set(ids), dict[str, int]()
    for row, name in enumerate(table.texts("id")):
        if name in wanted and found.setdefault(name, row) != row:
            raise DataError(
                f"{table.place(row)} names sample `{visible(name)}` a second time; keep one row of it."
            )
    for name in ids:
        if name not in found:
            raise DataError(
                f"`{table.path}` has no row for test sample `{visible(name)}`: {len(found)} of {len(ids)} test samples "
                "are in it; a model that was trained elsewhere has to predict the same ones, under the same ids "
                "(`qinn data convert` writes them)."
            )
    return [found[name] for name in ids]


def _finite(table: Columns, names: Sequence[str], rows: list[int], ids: Sequence[str]) -> np.ndarray:
    values = table.numbers(names)[rows]
    if not np.isfinite(values).all():
        row, column = map(int, np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"{table.place(rows[row])} has no finite number in `{names[column]}` for test sample "
            f"`{visible(ids[row])}`; every test sample needs a prediction."
        )
    return values


def _logits(table: Columns, values: np.ndarray, task: Task, ids: Sequence[str]) -> np.ndarray:
    wrong = ((values < 0) | (values > 1)).any(axis=1)
    if task.kind == "classification":
        wrong |= np.abs(values.sum(axis=1) - 1) > _ROUNDED
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"`{table.path}` has the probabilities {[round(one, 4) for one in values[row].tolist()]} for test sample "
            f"`{visible(ids[row])}`, which are not within 0 and 1"
            + (" or do not sum to 1" if task.kind == "classification" else "")
            + "; give probabilities, or logits as columns `logit:NAME`."
        )
    if task.kind == "classification":
        return np.log(np.maximum(values, _LEAST))
    kept = values.clip(_LEAST, 1 - _LEAST)
    return np.log(kept / (1 - kept))
