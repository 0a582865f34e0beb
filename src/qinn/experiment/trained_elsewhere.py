"""Predictions of models that were trained elsewhere: read, checked, and put in the order of the test samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float

from qinn.data.files.tables import Columns, read_columns
from qinn.digests import file_digest
from qinn.errors import ConfigError, DataError
from qinn.escaping import visible
from qinn.experiment.config import ExperimentConfig
from qinn.task import Task

__all__ = ["GivenOutputs", "outputs_of_file", "outputs_trained_elsewhere"]

_LEAST = 1e-12
"""The smallest probability that is told from 0: its logit is finite."""
_ROUNDED = 1e-2
"""By which probabilities that were rounded may miss a sum of 1."""
_MOST = 1e30
"""The largest score or logit: with more, squares of squares leave double precision."""
_OF_MANY = ("probability:", "logit:", "output_")


@dataclass(frozen=True)
class GivenOutputs:
    """What a model that was trained elsewhere predicts.

    Attributes:
        outputs: Scores or logits.
        digests: File of each seed → its SHA-256, that of the bytes which the outputs were read from.
    """

    outputs: Float[np.ndarray, "seed sample output"]
    digests: Mapping[str, str]

    def remarks(self) -> list[str]:
        """Say which files hold the same predictions."""
        return [
            f"`{first}` and `{second}` hold the same predictions: where that is a mistake, deviations and intervals "
            "over seeds are too small."
            for (first, one), (second, other) in combinations(zip(self.digests, self.outputs, strict=True), 2)
            if np.array_equal(one, other)
        ][:1]


def outputs_trained_elsewhere(
    config: ExperimentConfig, task: Task, ids: Sequence[str]
) -> dict[str, GivenOutputs]:
    """Return what models that were trained elsewhere predict.

    Args:
        config: Names their files, one for each seed.
        task: What is predicted.
        ids: Test samples, in the order of the outputs.

    Returns:
        Label → what it predicts.

    Raises:
        DataError: As `outputs_of_file`, or if a file changes while it is read.
        ConfigError: Likewise.
    """
    return {label: _given(files, task, ids) for label, files in config.files_trained_elsewhere().items()}


def _given(files: Sequence[Path], task: Task, ids: Sequence[str]) -> GivenOutputs:
    outputs: list[np.ndarray] = []
    digests: dict[str, str] = {}
    for path in files:
        before = _digest(path)
        outputs.append(outputs_of_file(path, task, ids))
        after = _digest(path)
        if before is None or after != before:
            raise DataError(
                f"`{path}` was changed while it was read; run the command again once it is complete."
            )
        digests[str(path)] = before
    return GivenOutputs(np.stack(outputs), digests)


def _digest(path: Path) -> str | None:
    """Return the digest of a file; None where it cannot be read, of which whoever reads it says why."""
    try:
        return file_digest(path)
    except (OSError, ValueError):
        return None


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
        DataError: If the file cannot be read; a test sample is missing or named twice, or has no finite number, or one
            beyond 1e30; or probabilities are outside of [0, 1] or, of classes, do not sum to 1 within 0.01.
        ConfigError: If a column is missing, or there are some of other classes or labels.
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
    # Logits say more than probabilities, which may be rounded.
    ways = [["score"], stored] if task.kind == "regression" else [named[1], stored, named[0]]
    usual = ways[0] if task.kind == "regression" else named[0]
    found = next((way for way in ways if table.values.keys() >= set(way)), usual)
    prefix = next((one for one in _OF_MANY if found[0].startswith(one)), None)
    # Labels are independent of each other: those of other data may stand beside them.
    if prefix is not None and (task.kind != "multilabel" or prefix == "output_"):
        alike = [name for name in table.values if name.startswith(prefix) and name not in found]
        other = next(
            (name for name in alike if prefix != "output_" or name.removeprefix(prefix).isdecimal()), None
        )
        if other is not None:
            raise ConfigError(
                f"`{table.path}` has a column `{visible(other)}`, but this data has only "
                f"{', '.join(f'`{visible(name)}`' for name in found)}; give the predictions of a model of this data."
            )
    return found


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
    values = table.numbers(names, remedy="write a number for each sample")[rows]
    if not np.isfinite(values).all():
        row, column = map(int, np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"{table.place(rows[row])} has no finite number in `{names[column]}` for test sample "
            f"`{visible(ids[row])}`; every test sample needs a prediction."
        )
    if (np.abs(values) > _MOST).any():
        row, column = map(int, np.argwhere(np.abs(values) > _MOST)[0])
        raise DataError(
            f"{table.place(rows[row])} has {values[row, column]:g} in `{names[column]}` for test sample "
            f"`{visible(ids[row])}`, but a prediction must lie within ±{_MOST:g}; the model diverged."
        )
    return values


def _logits(table: Columns, values: np.ndarray, task: Task, ids: Sequence[str]) -> np.ndarray:
    wrong = ((values < 0) | (values > 1)).any(axis=1)
    if task.kind == "classification":
        wrong |= np.abs(values.sum(axis=1) - 1) > _ROUNDED + _LEAST
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
