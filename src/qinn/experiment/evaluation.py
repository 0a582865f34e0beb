"""Evaluating a run again from its weights, and predicting new samples with it."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from qinn.data.store import Store
from qinn.errors import ArgumentError, ConfigError
from qinn.evaluation.conventions import metrics_of
from qinn.evaluation.predict import PredictionTable, predict
from qinn.evaluation.statistics import bootstrap_intervals
from qinn.experiment.build import build_folds
from qinn.experiment.config import read_config
from qinn.experiment.folder import RunFolder, read_table, write_table, write_text
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import outputs_of
from qinn.records import Task


def evaluate_run(
    folder: Path | str, *, split: str | None = "test", store: Path | str | None = None
) -> dict[str, Any]:
    """Predict from a run's weights and state every metric with its interval.

    On the run's own data each fold's model predicts that fold's own test (or validation) samples, exactly as
    the run did; on another store the mean of the folds' models predicts the split.

    Args:
        folder: A complete run.
        split: ``"test"`` or ``"valid"``; on another store any split, or None for all samples.
        store: Another store.

    Returns:
        ``split``, ``samples``, ``metrics``, ``labels`` (each metric's full wording) and, for the run's own
        test samples, ``largest_difference`` from the predictions that the run stored.

    Raises:
        ConfigError: If the split does not exist.
        ArgumentError: If samples have no labels.
    """
    target = RunFolder(Path(folder))
    predictor = Predictor.load(target.path)
    config = read_config(target.config_file)
    difference = None
    if store is not None:
        tables = [predictor.predict(predictor.subset(Store.open(store), split))]
    else:
        if split not in ("test", "valid"):
            raise ConfigError(
                f"Argument `split` must be `test` or `valid` on the run's own data, but it is `{split}`; "
                "name another store with `--store` for other splits."
            )
        if split == "valid" and config.training.refit:
            raise ConfigError(
                f"The weights of `{target.path}` were fitted to its validation samples as well (`refit`), so they "
                "cannot be evaluated on them; what was measured before that is in its metrics.json."
            )
        own = Store.open(config.data.store)
        predictor.subset(own)
        folds = build_folds(own, config.data, seed=config.seeds[0])
        tables = [
            predict(predictor.models[fold.name], fold.test if split == "test" else fold.development.valid)
            for fold in folds
        ]
        if split == "test":
            stored = read_table(target.predictions_file)
            before = outputs_of({name: stored.column(name) for name in stored.column_names})
            after = np.concatenate([table.outputs for table in tables])
            difference = float(np.abs(before - after).max())
    labels = [table.labels for table in tables if table.labels is not None]
    if len(labels) < len(tables):
        raise ArgumentError(
            "The samples have no labels, so there is nothing to evaluate; use `qinn predict`."
        )
    groups = [group for table in tables if table.groups is not None for group in table.groups]
    intervals = bootstrap_intervals(
        predictor.task,
        np.concatenate(labels),
        np.concatenate([table.outputs for table in tables]),
        groups=np.array(groups) if len(groups) == sum(len(part) for part in labels) else None,
        num_resamples=config.evaluation.num_resamples,
        level=config.evaluation.level,
        seed=config.seeds[0],
    )
    return {
        "split": split,
        "samples": int(sum(len(part) for part in labels)),
        "metrics": {name: interval.to_dict() for name, interval in intervals.items()},
        "labels": {name: metric.label for name, metric in metrics_of(predictor.task).items()},
        "largest_difference": difference,
    }


def predict_store(
    folder: Path | str, store: Path | str, *, split: str | None = None, batch_size: int = 256
) -> list[dict[str, Any]]:
    """Predict a store's samples with a run.

    Returns:
        One row per sample: ``id`` and ``score`` (regression), or ``class`` and one probability per class
        (classification); ``spread`` is the standard deviation over trajectories, where there are any.
    """
    predictor = Predictor.load(folder)
    table = predictor.predict(predictor.subset(Store.open(store), split), batch_size=batch_size)
    return prediction_rows(table, predictor.task)


def prediction_rows(table: PredictionTable, task: Task) -> list[dict[str, Any]]:
    """Return predictions as one readable row per sample (see `predict_store`)."""
    rows = []
    probabilities = softmax(table.outputs, axis=1)
    for index, identifier in enumerate(table.ids):
        row: dict[str, Any] = {"id": identifier}
        if task.kind == "regression":
            row["score"] = float(table.outputs[index, 0])
        else:
            row["class"] = task.classes[int(table.outputs[index].argmax())]
            for name, value in zip(task.classes, probabilities[index], strict=True):
                row[f"probability:{name}"] = float(value)
        if table.spread is not None:
            row["spread"] = float(table.spread[index].max())
        rows.append(row)
    return rows


def write_predictions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write prediction rows as CSV or Parquet, atomically.

    Raises:
        ArgumentError: If the file name ends in neither ``.csv`` nor ``.parquet``.
    """
    if path.suffix == ".parquet":
        write_table(path, {name: [row[name] for row in rows] for name in rows[0]})
    elif path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, text.getvalue())
    else:
        raise ArgumentError(f"Predictions can be written to .csv or .parquet, but the file is `{path}`.")
