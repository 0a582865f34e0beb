"""Keeping a run's errors on labelled samples of one's own, of which its intervals are made from then on."""

from pathlib import Path

import numpy as np

from qinn.data.stores.label_gaps import label_gaps
from qinn.data.stores.unchanged import open_unchanged
from qinn.errors import DataError
from qinn.escaping import visible
from qinn.evaluation.conformal import (
    held_out_errors,
)
from qinn.evaluation.outcomes import one_label, probabilities_of
from qinn.evaluation.predict import PredictionTable
from qinn.experiment.config import config_of
from qinn.experiment.prediction import load_models, predicted_folds
from qinn.experiment.predictor import mean_prediction
from qinn.results.calibration import (
    CalibrationRecord,
    check_calibration_place,
    identity_of,
    write_calibration,
)
from qinn.results.folder import runs_of
from qinn.task import Task


def calibrate_run(
    folder: Path | str, store: Path | str, *, split: str | None = None, batch_size: int = 256
) -> CalibrationRecord:
    """Keep a run's errors on labelled samples of one's own, of which its intervals and sets are made from then on.

    For samples that are made otherwise than those the run was trained on: by another recogniser of speech, of other
    speakers, in another place. They have to be new to the run.

    Args:
        folder: A complete run, or the folder of a model in a comparison.
        store: Labelled samples.
        split: Which of them; None for all.
        batch_size: Samples per pass; it changes nothing but speed and memory.

    Raises:
        DataError: If no sample has a label, labels are not what the run predicts, or the samples are those that the
            run was trained on.
        CheckpointError: If the run is not complete, or is replaced meanwhile.
        OutputError: If ``calibration.json`` is another program's.
    """
    check_calibration_place(Path(folder))
    runs = runs_of(folder)
    digests = [run.digest() for run in runs]
    predictors = load_models(runs)
    predictor = predictors[0]
    opened = open_unchanged(store)
    if opened.sha256 == runs[0].summary().data.sha256:
        _check_unseen(store, split, folds=config_of(runs[0]).data.split != "fixed")
    predictor.check_labels(opened)
    subset = predictor.subset(opened, split)
    labelled = np.flatnonzero(subset.labelled)
    if not len(labelled):
        raise DataError(f"Store `{store}` has no labelled sample to calibrate by; give labels with them.")
    if len(labelled) < len(subset):
        subset = subset.take(labelled)
    found = mean_prediction(predicted_folds(predictors, subset, batch_size=batch_size))
    task = predictor.task
    errors, by_label = _errors(found, task)
    record = CalibrationRecord(
        files=identity_of(runs),
        store=visible(str(store)),
        data_sha256=opened.sha256,
        classes=task.kind != "regression",
        errors=errors,
        num_groups=None if subset.groups is None else len(set(subset.groups.tolist())),
        by_label=by_label,
        without=label_gaps(np.asarray(found.labels), task).none or None,
    )
    for run, digest in zip(runs, digests, strict=True):
        run.check_unreplaced(digest)
    write_calibration(Path(folder), record)
    return record


def _errors(
    found: PredictionTable, task: Task
) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]] | None]:
    """Return the errors of predictions of labelled samples; of several labels those of each."""
    labels = np.asarray(found.labels)
    if task.kind == "multilabel":
        alone = {name: one_label(labels, found.outputs, index) for index, name in enumerate(task.names)}
        errors = {
            name: held_out_errors(one.labels, probabilities_of(one.outputs), classes=True).errors
            for name, one in alone.items()
            if len(one.rows)
        }
        return (), {name: tuple(each.tolist()) for name, each in errors.items()}
    classes = task.kind == "classification"
    outputs = probabilities_of(found.outputs) if classes else found.outputs
    return tuple(held_out_errors(labels, outputs, classes=classes).errors.tolist()), None


def _check_unseen(store: Path | str, split: str | None, *, folds: bool) -> None:
    """Refuse samples of a run's own store that its models were trained on."""
    if folds:
        raise DataError(
            f"Store `{store}` is what the run was trained on: each sample was left out by one of its folds only, and "
            "intervals are made of what that fold's model said already; give other samples."
        )
    if split in (None, "train", "valid"):
        raise DataError(
            f"Store `{store}` is what the run was trained on, so its errors there say nothing about new samples; give "
            "other samples, or the split that training did not see (`--split test`)."
        )
