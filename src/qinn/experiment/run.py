"""One run: train a model on every fold, predict the sealed test samples, evaluate and explain."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import yaml
from torch import nn

from qinn.data.stores.manifest import num_words_of
from qinn.data.stores.store import Modality, Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.cross_validation import Fold
from qinn.data.subsets.subset import Subset
from qinn.errors import ConfigError, DataError
from qinn.evaluation.intervals import bootstrap_intervals
from qinn.evaluation.metrics import metrics
from qinn.experiment import provenance
from qinn.experiment.build import build_folds, build_model, resolved, sequences_of, timed_modalities
from qinn.experiment.config import ExperimentConfig
from qinn.experiment.cost import cost_notes
from qinn.experiment.explanation import column_means
from qinn.experiment.feasibility import check_feasible, check_machine, check_steps
from qinn.experiment.folds import FOLD_FILES, clear_fold, read_fold, train_fold
from qinn.experiment.idle_keys import idle_keys
from qinn.experiment.label_remarks import label_remarks
from qinn.experiment.masked_texts import texts_for_training
from qinn.experiment.pretrained import load_transformers, write_architectures
from qinn.experiment.run_place import RunPlace
from qinn.experiment.training_remarks import absence_remarks, class_weight_remarks
from qinn.explain.activity import activity_remarks, mean_activity
from qinn.explain.attractor import mean_certificate
from qinn.extras import require
from qinn.folder_locks import held
from qinn.model.baselines import count_parameters
from qinn.results.as_json import plain
from qinn.results.documents import write_document
from qinn.results.explanation import read_summary
from qinn.results.files import (
    digests_of,
    read_table,
    write_json,
    write_table,
    write_text,
)
from qinn.results.folder import RunFolder
from qinn.results.predictions import StoredPredictions, checked_predictions, joined, prediction_columns
from qinn.results.recipe import write_recipe
from qinn.results.reference import write_reference
from qinn.results.summary import (
    UNKNOWN_COMMIT,
    DataRecord,
    FinishedFold,
    FoldRecord,
    ModalityRecord,
    RunMetrics,
    RunSummary,
    Selection,
    Value,
    joined_commits,
)
from qinn.task import Task

logger = logging.getLogger(__name__)

UNCHECKED_FOLD = (
    "A fold of this run was finished by an earlier version, without hashes of its files: "
    "they were taken as they lay."
)


def run(
    config: ExperimentConfig,
    folder: Path | str,
    *,
    overwrite: bool = False,
    progress: bool = False,
    fold: int | None = None,
    waits: bool = False,
    encodings: Path | None = None,
    on_fold: Callable[[int, int], None] | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> RunFolder:
    """Train, predict, evaluate and explain one model with one seed; continue where a killed run stopped.

    Args:
        config: An experiment with exactly one model and one seed (see `ExperimentConfig.only`).
        folder: Where the run goes. An interrupted run of the same configuration is resumed; a complete one
            is returned as it is; one that ended before its first epoch stands in nothing's way.
        overwrite: Replace a run of another configuration or of other data.
        progress: Whether to show a progress bar for each fit.
        fold: Train this fold alone, beside processes that train others; `prepare` was called before, and a call without
            it puts the run together when every fold is there.
        waits: Wait until another command that works in the folder has ended; without it this one is refused.
        encodings: Folder in which it shares transcripts that are encoded anew with other runs; None to share nothing.
        on_fold: Called with (folds done, folds in all) after each fold.
        on_remark: Called before the training with each sentence about what it will cost, where that is much.

    Raises:
        ConfigError: If the configuration has several models or seeds.
        DataError: If a sample has no label.
        CheckpointError: If the folder holds a run of another configuration or of other data, or a file of it, or of a
            finished fold, is not what was written.
        MissingPackageError: If what the extra `train` brings is not installed.
        OutputError: If the folder lies inside a store or another run, another command works in it, it cannot be
            written, or is removed meanwhile.
    """
    if len(config.models) != 1 or len(config.seeds) != 1:
        raise ConfigError(
            f"A run has one model and one seed, but the configuration has {list(config.models)} and seeds "
            f"{list(config.seeds)}; choose with `--model` and `--seed`, or use `qinn compare`."
        )
    target = RunFolder(Path(folder))
    store = open_unchanged(config.data.store)
    config = resolved(config, store)
    place = RunPlace.check(target, config, store, overwrite=overwrite)
    if target.is_complete and not place.replaces:
        return target
    require("train", what="Training")
    with held(target.path, shared=fold is not None, wait=waits) as check_held:
        # Another command may have worked there until now.
        place = RunPlace.check(target, config, store, overwrite=overwrite)
        if not target.is_complete or place.replaces:
            _run(
                config,
                place,
                store,
                check_held,
                encodings,
                progress=progress,
                fold=fold,
                on_fold=on_fold,
                on_remark=on_remark,
            )
    return target


def _run(
    config: ExperimentConfig,
    place: RunPlace,
    store: Store,
    check_held: Callable[[], None],
    encodings: Path | None,
    *,
    progress: bool,
    fold: int | None,
    on_fold: Callable[[int, int], None] | None,
    on_remark: Callable[[str], None] | None,
) -> None:
    """Do what `run` does in a folder that is held."""
    provenance.commit()  # before anything is loaded that may be of a later one
    started, clock, target = datetime.now(UTC), time.perf_counter(), place.target
    if fold is not None:
        place = place.shared()
    check_machine(config)
    torch.set_flush_denormal(True)
    torch.set_num_threads(config.threads)
    config.training.options().selection(store.task)  # refuses options that do not fit the task
    (label, model_config), seed = next(iter(config.models.items())), config.seeds[0]
    folds = build_folds(store, config.data, seed=seed)
    _check_tested(folds, store)
    first = folds[0].development.train
    parts = [first, folds[0].development.valid, folds[0].test]
    rates = config.training.options().absent_rates(first.modalities)
    weighed = class_weight_remarks(folds, config.training, store.task)
    build = model_builder(config, store, parts)
    transformers = build.keywords["transformers"]
    texts, whole = texts_for_training(store, config, encodings)
    gaps = [*label_remarks(folds, store.task, refit=config.training.refit), *whole]
    if on_remark is not None:
        for remark in (*gaps, *cost_notes(config, store, folds)):
            on_remark(remark)
    num_parameters = count_parameters(build(feature_dims=first.dims))
    # Only a configuration that fits the data leaves a trace, and only from its first epoch on.
    with place:
        if not target.config_file.is_file():
            write_text(target.config_file, config_text(config))
        if fold is None and config.encoder.transformer is not None:
            write_architectures(target.architectures_file, transformers)
        if fold is None:
            write_recipe(target, store)
        for index, one in enumerate(folds):
            if fold not in (None, index):
                continue
            if target.fold_record(index).is_file():
                read_fold(target, index, one, store)
            else:
                train_fold(target, index, one, config, store, build, texts, check_held, progress=progress)
            clear_fold(target.fold(index), checkpoints=bool(transformers))
            if on_fold is not None:
                on_fold(index + 1, len(folds))
    if fold is not None:
        return

    records = [read_fold(target, index, one, store) for index, one in enumerate(folds)]
    test = _pooled(target, folds, "test", store.task)
    write_table(target.predictions_file, prediction_columns(test, test.folds, store.task))
    measured = _metrics(config, store.task, test, _pooled(target, folds, "valid", store.task), records)
    write_json(target.metrics_file, plain(measured))
    if (target.fold(0) / "explanation.parquet").is_file():
        _pool_explanations(target, len(folds))
    write_reference(target, store)
    acting = [record.dynamics for record in records if record.dynamics is not None]
    summary = RunSummary(
        name=config.name,
        label=label,
        model=model_config.kind,
        seed=seed,
        num_parameters=num_parameters,
        data=data_record(store, config, first),
        folds=tuple(_of_the_run(record) for record in records),
        dynamics=mean_activity(acting),
        attractor=mean_certificate([one.attractor for one in records if one.attractor is not None]),
        remarks=(
            *activity_remarks(acting),
            *weighed,
            *gaps,
            *absence_remarks(folds, model_config, rates, refit=config.training.refit),
            *idle_keys(model_config, config.training.options(), first.modalities),
            *(UNCHECKED_FOLD for record in records[:1] if any(one.files is None for one in records)),
        ),
        **{**provenance.origin(), "commit": joined_commits(_commits_of(records))},
        device=provenance.device(),
        started=started.isoformat(timespec="seconds"),
        # Folds may have been trained by other processes, or before an interruption.
        seconds=round(max(time.perf_counter() - clock, sum(record.seconds for record in records)), 3),
        cpu_seconds=_cpu_seconds(records),
        files=digests_of(target.path, _files(target, len(records))),
    )
    check_held()
    write_document(target.summary_file, summary)


def prepare(config: ExperimentConfig, folder: Path | str, *, overwrite: bool = False) -> None:
    """Make the folder of a run ready for processes that train its folds, each one of them.

    Args:
        config: An experiment with exactly one model and one seed.
        folder: Where the run goes, as of `run`.
        overwrite: Replace a run of another configuration or of other data.

    Raises:
        CheckpointError: If the folder holds a run of another configuration or of other data, or something else.
        OutputError: If it lies inside a store or another run, or cannot be written.
    """
    target, store = RunFolder(Path(folder)), open_unchanged(config.data.store)
    config = resolved(config, store)
    place = RunPlace.check(target, config, store, overwrite=overwrite)
    if target.is_complete and not place.replaces:
        return
    if not place.replaces and target.config_file.is_file():
        return  # others may be at it
    with held(target.path):
        place = RunPlace.check(target, config, store, overwrite=overwrite)
        with place.shared(clear=True):
            if not target.config_file.is_file():
                write_text(target.config_file, config_text(config))


def model_builder(config: ExperimentConfig, store: Store, parts: Sequence[Subset]) -> partial[nn.Module]:
    """Return what builds the model of an experiment anew, given its `feature_dims`, known to be possible here.

    Args:
        config: An experiment with one model and one seed.
        store: Its data.
        parts: Samples that the model is to see, training samples first.

    Raises:
        ConfigError: If the model does not fit the data, or needs more than there is.
    """
    [model], [seed] = config.models.values(), config.seeds
    sequences, num_words, first = sequences_of(store, config.data), num_words_of(store.tiers), parts[0]
    check_feasible(
        config,
        feature_dims=first.dims,
        sequences=sequences,
        num_outputs=store.task.num_outputs,
        num_words=num_words,
        num_samples=len(store),
        longest={name: max(int(part.lengths(name).max()) for part in parts) for name in first.modalities},
    )
    check_steps(config, parts, sequences=sequences)
    modalities = {
        name: Modality(dim, "sequence" if sequences[name] else "vector", store.tiers[name])
        for name, dim in first.dims.items()
    }
    return partial(
        build_model,
        model,
        config.encoder,
        sequences=sequences,
        num_outputs=store.task.num_outputs,
        seed=seed,
        transformers=load_transformers(model, config.encoder, modalities),
        timed=timed_modalities(store, config.data),
        num_words=num_words,
        independent=store.task.is_independent,
    )


def data_record(store: Store, config: ExperimentConfig, first: Subset) -> DataRecord:
    """Return what a run says of its data.

    Args:
        store: The data.
        config: The experiment.
        first: Samples as the model sees them.
    """
    sequences = sequences_of(store, config.data)
    modalities = {
        name: ModalityRecord(dim, store.tiers[name], sequences[name], name in first.timed)
        for name, dim in first.dims.items()
    }
    return DataRecord(store.name, store.sha256, store.task, modalities, config.data.split, store.label_name)


def _check_tested(folds: list[Fold], store: Store) -> None:
    """Refuse test samples without a label before anything is trained: nothing could be measured on them."""
    for fold in folds:
        if not fold.test.labelled.all():
            where = fold.test.ids[int(np.argmin(fold.test.labelled))]
            raise DataError(
                f"The test sample `{where}` of the store `{store.name}` has no label; label it or leave it out of the "
                "test split."
            )


def _of_the_run(record: FinishedFold) -> FoldRecord:
    """The part of a fold's record that the run's has too."""
    return FoldRecord(**{one.name: getattr(record, one.name) for one in fields(FoldRecord)})


def _commits_of(records: list[FinishedFold]) -> list[str | None]:
    """The commits that trained the folds; an unknown one of a fold that an earlier version finished."""
    return [one for record in records for one in record.commits or (UNKNOWN_COMMIT,)]


def _cpu_seconds(records: list[FinishedFold]) -> float | None:
    """What training took on all folds; None where an earlier version trained one and did not say."""
    known = [record.cpu_seconds for record in records if record.cpu_seconds is not None]
    return round(sum(known), 3) if len(known) == len(records) else None


def _files(target: RunFolder, num_folds: int) -> list[Path]:
    """What belongs to a run, from the configuration to the weights; checkpoints and logs of the training do not."""
    names = (
        target.config_file,
        target.architectures_file,
        target.recipe_file,
        target.reference_file,
        target.predictions_file,
        target.metrics_file,
        target.explanation_table,
        target.explanation_file,
    )
    of_folds = (
        file
        for index in range(num_folds)
        for file in (target.fold_record(index), *(target.fold(index) / name for name in FOLD_FILES))
    )
    return [*names, *of_folds]


def config_text(config: ExperimentConfig) -> str:
    """Return the resolved configuration as YAML."""
    content = config.model_dump(mode="json")
    content["models"] = {label: model.model_dump(mode="json") for label, model in config.models.items()}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _pooled(target: RunFolder, folds: list[Fold], split: str, task: Task) -> StoredPredictions:
    paths = [target.fold(index) / f"{split}.parquet" for index in range(len(folds))]
    return joined([checked_predictions(read_table(path), path, task) for path in paths], paths[0])


def _metrics(
    config: ExperimentConfig,
    task: Task,
    test: StoredPredictions,
    valid: StoredPredictions,
    records: list[FinishedFold],
) -> RunMetrics:
    on_valid = metrics(task, valid.labels, valid.outputs)
    return RunMetrics(
        bootstrap_intervals(
            task,
            test.labels,
            test.outputs,
            groups=test.groups,
            num_resamples=config.evaluation.num_resamples,
            level=config.evaluation.level,
            seed=config.seeds[0],
        ),
        {name: Value(value) for name, value in on_valid.items()},
        Selection("valid", records[0].monitor, {record.name: record.best_epoch for record in records}),
    )


def _pool_explanations(target: RunFolder, num_folds: int) -> None:
    tables = [read_table(target.fold(index) / "explanation.parquet") for index in range(num_folds)]
    pooled = pa.concat_tables(tables, promote_options="permissive")
    columns = {name: pooled.column(name) for name in pooled.column_names}
    write_table(target.explanation_table, columns)
    # Every fold's memory has an axis of its own: what steps do stands with the folds.
    first = replace(read_summary(target.fold(0)), steps=None)
    replace(first, samples=pooled.num_rows, mean=column_means(columns)).write(target.explanation_file)
