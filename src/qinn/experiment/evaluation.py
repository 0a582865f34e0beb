"""Evaluating a run again from its weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.absence import Absence, present_modalities
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError, ConfigError
from qinn.evaluation.intervals import Interval, bootstrap_intervals
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.outcomes import outcome_probabilities
from qinn.evaluation.predict import PredictionTable, predict
from qinn.experiment import provenance
from qinn.experiment.build import build_folds
from qinn.experiment.config import ExperimentConfig, config_of
from qinn.experiment.predictor import Predictor
from qinn.explain.activity import sleep_remarks
from qinn.extras import require
from qinn.results.evaluation import Agreement, EvaluationResult, Missing
from qinn.results.folder import RunFolder
from qinn.results.predictions import StoredPredictions, check_samples, read_predictions
from qinn.results.summary import RunSummary
from qinn.task import Task

NOTHING = Absence()
"""Takes nothing away."""

AGREEMENT = 1e-4
"""By which outputs may differ from the stored ones on the same kind of device, in parts of the label range."""


def evaluate_run(
    folder: Path | str,
    *,
    split: str | None = "test",
    store: Path | str | None = None,
    absence: Absence = NOTHING,
) -> EvaluationResult:
    """Predict from a run's weights and state every metric with its interval.

    On the run's own data each fold's model predicts that fold's own test (or validation) samples, exactly as
    the run did; on another store the mean of the folds' models predicts the split.

    Args:
        folder: A complete run.
        split: ``"test"`` or ``"valid"``; on another store any split, or None for all samples.
        store: Another store.
        absence: Modalities to take away from the samples.

    Returns:
        The metrics; for the run's own test samples also how far the outputs are from those that the run stored.

    Raises:
        ConfigError: If the split does not exist.
        ArgumentError: If samples have no labels, or a modality to take away does not exist.
        CheckpointError: If the stored predictions are of other samples or labels than the data.
    """
    require("evaluate", what="Evaluating a run")
    target = RunFolder(Path(folder))
    predictor = Predictor.load(target.path)
    config = config_of(target)
    parts = evaluated_subsets(predictor, split=split, store=store, absent=absence.modalities)
    tables = predict_parts(predictor, parts)
    difference, agreement = None, None
    if store is None and split == "test":
        stored = read_predictions(target, predictor.task)
        check_samples(stored, [subset for _, subset in parts], predictor.task, store=config.data.store)
        after = _in_order_of(stored, tables)
        difference = float(np.abs(stored.outputs - after).max())
        agreement = agreement_of(stored.outputs, after, predictor.task, target.summary())
    result = EvaluationResult(
        split=split,
        samples=sum(len(subset) for _, subset in parts),
        metrics=_intervals(predictor.task, tables, config),
        labels={name: metric.label for name, metric in metrics_of(predictor.task).items()},
        largest_difference=difference,
        agreement=agreement,
        remarks=(
            *sleep_remarks(target.summary().remarks),
            *predictor.remarks([subset for _, subset in parts]),
        ),
    )
    if not absence:
        return result
    degraded = [(fold, absence.apply(subset)) for fold, subset in parts]
    return replace(
        result,
        complete=result.metrics,
        metrics=_intervals(predictor.task, predict_parts(predictor, degraded), config),
        missing=describe_absence(absence, [subset for _, subset in degraded]),
    )


def agreement_of(before: np.ndarray, after: np.ndarray, task: Task, summary: RunSummary) -> Agreement:
    """Compare outputs with those that a run stored.

    Args:
        before: The stored outputs, (samples, outputs).
        after: What its weights say now, in the same order.
        task: What is predicted.
        summary: The run's ``run.json``.

    """
    if task.kind == "regression":
        difference = float(np.abs(before - after).max()) / (task.high - task.low)
    else:
        difference = float(
            np.abs(outcome_probabilities(task, before) - outcome_probabilities(task, after)).max()
        )
    here = provenance.device()
    # Earlier versions wrote the machine alone; they predicted on the processor, as this one does.
    made_on = summary.device or summary.machine
    return Agreement(
        difference=difference,
        tolerance=AGREEMENT,
        agrees=difference <= AGREEMENT,
        same_device=all(made_on[name] == here[name] for name in here.keys() & made_on.keys()),
        made_on=made_on,
        here=here,
    )


def _in_order_of(stored: StoredPredictions, tables: Sequence[PredictionTable]) -> np.ndarray:
    found = {name: row for table in tables for name, row in zip(table.ids, table.outputs, strict=True)}
    return np.stack([found[name] for name in stored.ids])


def evaluated_subsets(
    predictor: Predictor,
    *,
    split: str | None = "test",
    store: Path | str | None = None,
    absent: Sequence[str] = (),
) -> list[tuple[str | None, Subset]]:
    """Return the samples on which a run is evaluated, each with the fold whose model predicts them.

    This is the only way from a finished run to its test samples.

    Args:
        predictor: The run's models.
        split: See `evaluate_run`.
        store: See `evaluate_run`.
        absent: Modalities that another store need not have.

    Returns:
        Fold and its samples; on another store one part without a fold, predicted by the mean of all models.

    Raises:
        ConfigError: If the split does not exist, or belongs to what a refitted run was trained on.
        CheckpointError: If the run's store holds other data now than it was trained on.
        DataError: If the labels of another store are not what the run predicts.
    """
    if store is not None:
        other = open_unchanged(store)
        predictor.check_labels(other)
        return [(None, predictor.subset(other, split, absent=absent))]
    check_not_fitted_to(RunFolder(predictor.source), split)
    return list(own_parts(predictor, split))


def check_not_fitted_to(run: RunFolder, split: str | None) -> None:
    """Refuse the validation samples of a run that was fitted to them as well.

    Args:
        run: The run.
        split: Samples of its own data.

    Raises:
        ConfigError: If it was.
    """
    if split == "valid" and config_of(run).training.refit:
        raise ConfigError(
            f"The weights of `{run.path}` were fitted to its validation samples as well (`refit`), so they cannot be "
            "evaluated on them; what was measured before that is in its metrics.json."
        )


def own_parts(predictor: Predictor, split: str | None) -> list[tuple[str, Subset]]:
    """Return a split of the data that a run was trained on, fold by fold.

    Args:
        predictor: The run's models.
        split: ``"test"`` or ``"valid"``.

    Raises:
        ConfigError: If the split is neither.
        CheckpointError: If the run's store holds other data now than it was trained on.
    """
    if split not in ("test", "valid"):
        raise ConfigError(
            f"Argument `split` must be `test` or `valid` on the run's own data, but it is `{split}`; "
            "other splits are evaluated on another store."
        )
    config, own = config_of(RunFolder(predictor.source)), predictor.own_store()
    predictor.subset(own)
    folds = build_folds(own, config.data, seed=config.seeds[0])
    return [(fold.name, fold.test if split == "test" else fold.development.valid) for fold in folds]


def training_parts(predictor: Predictor) -> dict[str, Subset]:
    """Return the samples on which the model of each fold was trained.

    Args:
        predictor: The run's models.
    """
    config = config_of(RunFolder(predictor.source))
    folds = build_folds(predictor.own_store(), config.data, seed=config.seeds[0])
    return {
        fold.name: fold.development.merged if config.training.refit else fold.development.train
        for fold in folds
    }


def predict_parts(predictor: Predictor, parts: Sequence[tuple[str | None, Subset]]) -> list[PredictionTable]:
    """Predict each part with its fold's model, or with all of them where it has no fold."""
    return [
        predictor.predict(subset) if fold is None else predict(predictor.models[fold], subset)
        for fold, subset in parts
    ]


def describe_absence(absence: Absence, subsets: Sequence[Subset]) -> Missing:
    """Say what was taken away, and how much is absent then.

    Args:
        absence: What was taken away.
        subsets: The samples without it.
    """
    present = np.concatenate([present_modalities(subset) for subset in subsets])
    shares = (~present).mean(axis=0).tolist()
    return Missing(
        absence.modalities,
        absence.rate,
        absence.seed,
        dict(zip(subsets[0].modalities, shares, strict=True)),
        int((~present.any(axis=1)).sum()),
    )


def _intervals(
    task: Task, tables: Sequence[PredictionTable], config: ExperimentConfig
) -> dict[str, Interval]:
    labels = [table.labels for table in tables if table.labels is not None]
    if len(labels) < len(tables):
        raise ArgumentError(
            "The samples have no labels, so there is nothing to evaluate; use `qinn predict`."
        )
    groups = [group for table in tables if table.groups is not None for group in table.groups]
    return bootstrap_intervals(
        task,
        np.concatenate(labels),
        np.concatenate([table.outputs for table in tables]),
        groups=np.array(groups) if len(groups) == sum(len(part) for part in labels) else None,
        num_resamples=config.evaluation.num_resamples,
        level=config.evaluation.level,
        seed=config.seeds[0],
    )
