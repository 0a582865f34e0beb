"""Errors of a run on samples held out, which say how sure its predictions of new samples are.

A run keeps them already: the predictions of its validation samples, by the weights before a refit, or of its folds'
test samples. ``calibration.json`` holds those of samples of one's own, where `qinn calibrate` was asked to make them.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import qinn
from qinn.data.stores.label_gaps import label_gaps
from qinn.digests import file_digest
from qinn.errors import ArgumentError, CheckpointError, OutputError
from qinn.escaping import visible
from qinn.evaluation.conformal import HeldOut, held_out_errors
from qinn.evaluation.outcomes import outcome_probabilities, probabilities_of
from qinn.evaluation.predict import PredictionTable
from qinn.opening import open_regular
from qinn.results.as_json import OPTIONAL
from qinn.results.documents import read_document, write_document
from qinn.results.folder import RunFolder
from qinn.results.number_text import counted
from qinn.results.predictions import (
    StoredPredictions,
    mean_of_seeds,
    read_predictions,
    read_valid_predictions,
)
from qinn.task import ONE_LABEL, Task

FORMAT = "qinn-calibration"
VERSION = 2
"""Version 1 held errors of the mean alone."""

FILE = "calibration.json"
_HEAD = 4096


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """Content of ``calibration.json``.

    Attributes:
        files: The ``run.json`` of the run, or of each seed → its hash, which says of which this is.
        store: The samples' store, as it was named.
        data_sha256: Hash of its content.
        classes: Whether the labels are classes.
        errors: Of each sample: label − score; or 1 − the probability of its class.
        num_groups: How many groups they come from; None where there are none.
        folds: Number of the fold whose model predicted each; None where it was one model or the mean.
        per_model: Whether they are errors of each fold's model and not of the mean over the folds' models.
        source: Where they come from, in words; empty where `store` says it.
        by_label: Of several labels, each → 1 − the probability of what is true of it, of each sample that says so; None
            of other tasks.
        label_folds: Of several labels, each → number of the fold whose model predicted each sample; None where it was
            one model or the mean.
        without: Classes, or labels, that no sample has; None where every one occurs.
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
    folds: tuple[int, ...] | None = field(default=None, metadata=OPTIONAL)
    per_model: bool = field(default=False, metadata=OPTIONAL)
    source: str = ""
    by_label: Mapping[str, tuple[float, ...]] | None = field(default=None, metadata=OPTIONAL)
    label_folds: Mapping[str, tuple[int, ...]] | None = field(default=None, metadata=OPTIONAL)
    without: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class Calibration:
    """What a run's intervals and sets are made of.

    Attributes:
        held_out: The errors; of several labels those of the one of which fewest are known.
        of_mean: Whether they are errors of the mean over the folds' models, or of each fold's model.
        source: Where they come from, in words.
        by_label: Of several labels, each of which something is known → its errors.
        without: Classes, or labels, that none of the samples has.
    """

    held_out: HeldOut
    of_mean: bool
    source: str
    by_label: Mapping[str, HeldOut] = field(default_factory=dict[str, HeldOut])
    without: tuple[str, ...] = ()

    def outputs(self, tables: Sequence[PredictionTable], task: Task) -> np.ndarray:
        """Return what a run's models predict, as `qinn.evaluation.conformal` takes it.

        Args:
            tables: Predictions of each fold's model, in the order of the folds' names.
            task: What is predicted.

        Returns:
            Scores of shape (fold, sample), or probabilities of shape (fold, sample, class); of several labels those
            that each is present.
        """
        outputs = np.stack([table.outputs for table in tables])
        if self.of_mean:
            outputs = outputs.mean(0, keepdims=True)
        return outputs[..., 0] if task.kind == "regression" else outcome_probabilities(task, outputs)


def calibration_of(
    folder: Path, runs: Sequence[RunFolder], task: Task, *, own: bool = True
) -> Calibration | None:
    """Return what is known of the errors on samples held out; None where nothing is.

    Of ``calibration.json``, where there is one; else of the test samples of several folds, or of the validation
    samples. Of several runs the errors are those of the mean of their predictions, which is known where all of them
    held out the same samples.

    Args:
        folder: The run, or the model's folder.
        runs: The run, or those of all seeds.
        task: What they predict.
        own: Whether ``calibration.json`` is asked.

    Raises:
        CheckpointError: If a file is missing, damaged or not of this run.
    """
    # A link that leads nowhere is a calibration that was lost, not one that never was.
    if own and os.path.lexists(folder / FILE):
        return _own(folder, runs, task)
    several = len(runs[0].summary().folds) > 1
    each = [read_predictions(run, task) if several else read_valid_predictions(run, task, 0) for run in runs]
    predictions = mean_of_seeds(each)
    if predictions is None:
        return None
    size = len(predictions.ids)
    groups = None if predictions.groups is None else len(set(predictions.groups.tolist()))
    source = (
        f"{counted(size, 'test sample')}{_of_groups(groups)}, each predicted by the model of the fold that left it out"
        if several
        else f"{counted(size, 'validation sample')}{_of_groups(groups)}, which selection saw and training did not"
    )
    without = label_gaps(predictions.labels, task).none
    if task.kind != "multilabel":
        return Calibration(errors_of(predictions, task, several=several), False, source, without=without)
    by_label = errors_of_labels(predictions, task, several=several)
    if not by_label:
        return None
    return Calibration(min(by_label.values(), key=len), False, source, by_label, without)


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


def errors_of_labels(predictions: StoredPredictions, task: Task, *, several: bool) -> dict[str, HeldOut]:
    """Return the errors of several labels, of each alone: 1 − the probability of what is true of it.

    Args:
        predictions: The predictions.
        task: What is predicted.
        several: Whether they are of several folds' models.

    Returns:
        Label → errors, of labels that some sample has or has not.
    """
    number_of = {name: number for number, name in enumerate(sorted(set(predictions.folds)))}
    found: dict[str, HeldOut] = {}
    for index, name in enumerate(task.names):
        alone = predictions.of_label(index)
        if alone.ids:
            errors = errors_of(alone, ONE_LABEL, several=False)
            folds = np.array([number_of[fold] for fold in alone.folds], dtype=np.int64)
            found[name] = replace(errors, folds=folds if several else None)
    return found


def identity_of(runs: Sequence[RunFolder]) -> dict[str, str]:
    """Return which runs a calibration is of: the path of each ``run.json`` from the folder, and its hash."""
    names = ["run.json"] if len(runs) == 1 else [f"{run.path.name}/run.json" for run in runs]
    return {name: file_digest(run.summary_file) for name, run in zip(names, runs, strict=True)}


def record_of(calibration: Calibration, task: Task, files: Mapping[str, str]) -> CalibrationRecord:
    """Return what is known of the errors as it can stand alone: sorted, without the samples that they are of.

    Args:
        calibration: The errors.
        task: What is predicted.
        files: Of which runs they are, see `identity_of`.
    """
    if calibration.by_label:
        return _record_of_labels(calibration, files)
    held_out = calibration.held_out
    numbers = np.zeros(len(held_out), dtype=np.int64) if held_out.folds is None else held_out.folds
    order = np.lexsort((held_out.errors, numbers))
    return CalibrationRecord(
        files=files,
        store="",
        data_sha256="",
        classes=task.kind == "classification",
        errors=tuple(held_out.errors[order].tolist()),
        num_groups=held_out.num_groups,
        folds=None if held_out.folds is None else tuple(numbers[order].tolist()),
        per_model=not calibration.of_mean,
        source=calibration.source,
        without=calibration.without or None,
    )


def _record_of_labels(calibration: Calibration, files: Mapping[str, str]) -> CalibrationRecord:
    """Return the same of several labels, each sorted on its own."""
    found, folds = dict[str, tuple[float, ...]](), dict[str, tuple[int, ...]]()
    for name, held_out in calibration.by_label.items():
        numbers = np.zeros(len(held_out), dtype=np.int64) if held_out.folds is None else held_out.folds
        order = np.lexsort((held_out.errors, numbers))
        found[name] = tuple(held_out.errors[order].tolist())
        if held_out.folds is not None:
            folds[name] = tuple(numbers[order].tolist())
    return CalibrationRecord(
        files=files,
        store="",
        data_sha256="",
        classes=True,
        errors=(),
        num_groups=calibration.held_out.num_groups,
        per_model=not calibration.of_mean,
        source=calibration.source,
        without=calibration.without or None,
        by_label=found,
        label_folds=folds or None,
    )


def write_calibration(folder: Path, record: CalibrationRecord) -> Path:
    """Write ``calibration.json`` into the folder of a run or a model, and return its path."""
    path = folder / FILE
    write_document(path, record)
    return path


def check_calibration_place(folder: Path) -> None:
    """Refuse to replace a file that holds no calibration.

    Args:
        folder: The run, or the model's folder.

    Raises:
        OutputError: If there is such a file.
    """
    path = folder / FILE
    if path.exists() and not _is_calibration(path):
        raise OutputError(
            f"`{path}` was not made by `qinn calibrate`, so it is not replaced; move it away or delete it."
        )


def remove_stale_calibration(folder: Path, runs: Sequence[RunFolder]) -> None:
    """Remove the calibration of runs that were replaced.

    Args:
        folder: The model's folder.
        runs: Those that are there now.
    """
    path = folder / FILE
    if not path.is_file() or not _is_calibration(path):
        return
    try:
        _own(folder, runs, runs[0].summary().task)
    except CheckpointError:
        path.unlink()


def _is_calibration(path: Path) -> bool:
    try:
        with open_regular(path) as stream:
            return f'"format": "{FORMAT}"'.encode() in stream.read(_HEAD)
    except OSError:
        return False


def _of_groups(number: int | None) -> str:
    return "" if number is None else f" of {counted(number, 'group')}"


def _own(folder: Path, runs: Sequence[RunFolder], task: Task) -> Calibration:
    path = folder / FILE
    remedy = "calibrate the run again, or delete the file"
    record = read_document(
        path, CalibrationRecord, format=FORMAT, what="a calibration", newest=VERSION, remedy=remedy
    )
    if record.files != identity_of(runs):
        raise CheckpointError(f"`{path}` is of another run, or of this one before it was repeated; {remedy}.")
    if wrong := _contradiction(record, task, len(runs[0].summary().folds)):
        raise CheckpointError(f"`{path}` lacks or contradicts something ({wrong}); {remedy}.")
    try:
        label_folds = record.label_folds or {}
        by_label = {
            name: HeldOut(
                np.array(errors, dtype=np.float64),
                np.array(label_folds[name], dtype=np.int64) if name in label_folds else None,
                record.num_groups,
            )
            for name, errors in (record.by_label or {}).items()
        }
        folds = None if record.folds is None else np.array(record.folds, dtype=np.int64)
        held_out = (
            min(by_label.values(), key=len)
            if by_label
            else HeldOut(np.array(record.errors, dtype=np.float64), folds, record.num_groups)
        )
    except ArgumentError as error:
        raise CheckpointError(f"`{path}` lacks or contradicts something ({error}); {remedy}.") from error
    source = f"{counted(len(held_out), 'sample')}{_of_groups(record.num_groups)} of `{record.store}` (`qinn calibrate`)"
    return Calibration(
        held_out, not record.per_model, record.source or source, by_label, record.without or ()
    )


def _contradiction(record: CalibrationRecord, task: Task, num_folds: int) -> str:
    """Say what of a calibration cannot be of a run; nothing where all can be."""
    several = record.by_label is not None
    if several != (task.kind == "multilabel") or record.classes != (task.kind != "regression"):
        return f"it is of another task than {task.described}"
    if unknown := sorted({*(record.by_label or ()), *(record.without or ())} - set(task.names)):
        return f"the task has no `{visible(unknown[0])}`"
    each = dict(record.by_label) if record.by_label is not None else {"": record.errors}
    folds = (record.label_folds or {}) if several else {} if record.folds is None else {"": record.folds}
    for name, errors in each.items():
        if record.classes and not all(-1e-6 <= one <= 1 + 1e-6 for one in errors if math.isfinite(one)):
            return "an error of a class must lie between 0 and 1"
        numbers = folds.get(name)
        if record.per_model and num_folds > 1 and numbers is None:
            return "`folds` must say which of several models each error is of"
        if numbers is not None and (
            not record.per_model or len(numbers) != len(errors) or not set(numbers) <= set(range(num_folds))
        ):
            return f"`folds` must name one of {num_folds} models for each of {len(errors)} errors"
    return ""
