"""Errors of a run on samples held out, which say how sure its predictions of new samples are.

A run keeps them already: the predictions of its validation samples, by the weights before a refit, or of its folds'
test samples. ``calibration.json`` holds those of samples of one's own, where `qinn calibrate` was asked to make them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import qinn
from qinn.digests import file_digest
from qinn.errors import CheckpointError
from qinn.evaluation.conformal import HeldOut, held_out_errors
from qinn.evaluation.predict import PredictionTable, probabilities_of
from qinn.results.documents import read_document, write_document
from qinn.results.folder import RunFolder
from qinn.results.number_text import counted
from qinn.results.predictions import StoredPredictions, read_predictions, read_valid_predictions
from qinn.task import Task

FORMAT = "qinn-calibration"
VERSION = 1
FILE = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """Content of ``calibration.json``.

    Attributes:
        files: ``run.json`` → its hash, which says of which run this is.
        store: The samples' store, as it was named.
        data_sha256: Hash of its content.
        classes: Whether the labels are classes.
        errors: Of each sample: label − score; or 1 − the probability of its class.
        num_groups: How many groups they come from; None where there are none.
    """

    format: str = FORMAT
    version: int = VERSION
    qinn_version: str = qinn.__version__
    files: Mapping[str, str]
    store: str
    data_sha256: str
    classes: bool
    errors: tuple[float, ...]
    num_groups: int | None = None


@dataclass(frozen=True)
class Calibration:
    """What a run's intervals and sets are made of.

    Attributes:
        held_out: The errors.
        of_mean: Whether they are errors of the mean over the folds' models, or of each fold's model.
        source: Where they come from, in words.
    """

    held_out: HeldOut
    of_mean: bool
    source: str

    def outputs(self, tables: Sequence[PredictionTable], task: Task) -> np.ndarray:
        """Return what a run's models predict, as `qinn.evaluation.conformal` takes it.

        Args:
            tables: Predictions of each fold's model, in the order of the folds' names.
            task: What is predicted.

        Returns:
            Scores of shape (fold, sample), or probabilities of shape (fold, sample, class).
        """
        outputs = np.stack([table.outputs for table in tables])
        if self.of_mean:
            outputs = outputs.mean(0, keepdims=True)
        return outputs[..., 0] if task.kind == "regression" else probabilities_of(outputs)


def calibration_of(run: RunFolder, task: Task, *, own: bool = True) -> Calibration | None:
    """Return what a run knows of its errors on samples held out; None where it held out none.

    Of ``calibration.json``, where there is one; else of the test samples of several folds, or of the validation
    samples.

    Args:
        run: A complete run.
        task: What it predicts.
        own: Whether ``calibration.json`` is asked.

    Raises:
        CheckpointError: If a file is missing, damaged or not of this run.
    """
    if own and (run.path / FILE).exists():
        return _own(run)
    several = len(run.summary().folds) > 1
    predictions = read_predictions(run, task) if several else read_valid_predictions(run, task, 0)
    if predictions is None:
        return None
    groups = None if predictions.groups is None else len(set(predictions.groups.tolist()))
    of_groups = "" if groups is None else f" of {counted(groups, 'group')}"
    size = len(predictions.ids)
    source = (
        f"{counted(size, 'test sample')}{of_groups}, each predicted by the model of the fold that left it out"
        if several
        else f"{counted(size, 'validation sample')}{of_groups}, which selection saw and training did not"
    )
    return Calibration(errors_of(predictions, task, several=several), False, source)


def errors_of(predictions: StoredPredictions, task: Task, *, several: bool) -> HeldOut:
    """Return the errors of predictions that a run keeps.

    Args:
        predictions: The predictions.
        task: What is predicted.
        several: Whether they are of several folds' models.
    """
    classes = task.kind == "classification"
    return held_out_errors(
        predictions.labels,
        probabilities_of(predictions.outputs) if classes else predictions.outputs,
        folds=predictions.folds if several else None,
        groups=None if predictions.groups is None else predictions.groups.tolist(),
        classes=classes,
    )


def write_calibration(run: RunFolder, record: CalibrationRecord) -> Path:
    """Write ``calibration.json`` into a run's folder and return its path."""
    path = run.path / FILE
    write_document(path, record)
    return path


def _own(run: RunFolder) -> Calibration:
    path = run.path / FILE
    remedy = "calibrate the run again, or delete the file"
    record = read_document(
        path, CalibrationRecord, format=FORMAT, what="a calibration", newest=VERSION, remedy=remedy
    )
    if record.files.get(run.summary_file.name) != file_digest(run.summary_file):
        raise CheckpointError(f"`{path}` is of another run, or of this one before it was repeated; {remedy}.")
    held_out = HeldOut(np.array(record.errors, dtype=np.float64), num_groups=record.num_groups)
    of_groups = "" if record.num_groups is None else f" of {counted(record.num_groups, 'group')}"
    return Calibration(
        held_out,
        True,
        f"{counted(len(held_out), 'sample')}{of_groups} of `{record.store}` (`qinn calibrate`)",
    )
