"""One fold of a run: train on its samples, predict the sealed ones, keep what came of it and read it again."""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import qinn
from qinn.data.stores.store import Store
from qinn.data.subsets.absence_protocols import MaskedTexts
from qinn.data.subsets.cross_validation import Fold
from qinn.digests import OWN_DIGEST, file_digest
from qinn.errors import CheckpointError
from qinn.evaluation.predict import PredictionTable, predict
from qinn.experiment import provenance
from qinn.experiment.config import ExperimentConfig
from qinn.experiment.explanation import explained_label, write_explanation
from qinn.experiment.steps import explained_steps
from qinn.explain.activity import activity_of
from qinn.explain.attractor import certificate_of
from qinn.explain.explanation import explain
from qinn.formats import check_format
from qinn.model.network import QiNN
from qinn.results import as_json
from qinn.results.documents import check_document, parsed, write_document
from qinn.results.files import (
    check_files,
    digests_of,
    json_of,
    read_bytes,
    write_json,
    write_table,
)
from qinn.results.folder import RunFolder
from qinn.results.predictions import prediction_columns
from qinn.results.steps import FILE as STEPS_FILE
from qinn.results.summary import UNKNOWN_COMMIT, VERSION, FinishedFold
from qinn.results.weights import write_weights
from qinn.task import Task

FOLD_FILES = (
    "history.csv",
    "weights.safetensors",
    "test.parquet",
    "valid.parquet",
    "explanation.parquet",
    "explanation.json",
    STEPS_FILE,
)
_COMMITS_FILE = "commits.json"


def train_fold(
    target: RunFolder,
    index: int,
    fold: Fold,
    config: ExperimentConfig,
    store: Store,
    build: Callable[..., nn.Module],
    texts: Mapping[str, MaskedTexts],
    check_held: Callable[[], None],
    *,
    progress: bool,
) -> None:
    """Train the model of one fold, predict and explain the samples held out, and write the fold's record last.

    Args:
        target: The run.
        index: Which fold it is.
        fold: Its samples.
        config: The experiment: one model, one seed.
        store: The data.
        build: What builds the model anew, given its `feature_dims`.
        texts: Modality → texts that are encoded anew where words are taken from them in training.
        check_held: Raises an error where the folder of the run is no longer held, before anything is called finished.
        progress: Whether to show a progress bar for each fit.
    """
    from qinn.training.fit import fit, refit  # takes seconds to import, and a complete run needs it not

    folder = target.fold(index)
    commits = _begun_at(folder)
    model = build(feature_dims=fold.development.train.dims)
    shared: dict[str, Any] = {
        "task": store.task,
        "options": config.training.options(),
        "texts": texts,
        "seed": config.seeds[0],
        "identity": _identity(config, fold, store),
        "progress": progress,
    }
    result = fit(model, fold.development, folder=folder, **shared)
    _write_predictions(folder / "valid.parquet", predict(model, fold.development.valid), fold, store.task)
    cpu_seconds = result.cpu_seconds
    if config.training.refit:
        model = build(feature_dims=fold.development.train.dims)
        epochs = result.best_epoch + 1
        cpu_seconds += refit(model, fold.development, epochs=epochs, folder=folder / "refit", **shared)
    write_weights(folder / "weights.safetensors", model.state_dict(), {"data_sha256": store.sha256})
    _write_predictions(folder / "test.parquet", predict(model, fold.test), fold, store.task)
    if config.evaluation.explain and isinstance(model, QiNN):
        steps = explained_steps(model.eval(), fold.test, fold.development.valid)
        write_explanation(
            explain(model, fold.test),
            folder,
            store.task,
            steps=steps,
            label=explained_label(fold.test.task),
            with_words=False,
        )
    record = FinishedFold(
        name=fold.name,
        data_sha256=store.sha256,
        num_train=len(fold.development.train),
        num_valid=len(fold.development.valid),
        num_test=len(fold.test),
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        monitor=result.monitor,
        best_value=result.best_value if np.isfinite(result.best_value) else None,
        seconds=round(result.seconds, 3),
        cpu_seconds=round(cpu_seconds, 3),
        dynamics=activity_of(model, fold.test),
        attractor=certificate_of(model, fold.test),
        version=VERSION,
        qinn_version=qinn.__version__,
        config_sha256=file_digest(target.config_file),
        commits=commits,
        files=digests_of(folder, [folder / name for name in FOLD_FILES]),
    )
    check_held()
    write_document(target.fold_record(index), record)


def _identity(config: ExperimentConfig, fold: Fold, store: Store) -> str:
    """Return whose checkpoints a fold's are; choices left at their defaults are not named, so that more may come."""
    return json.dumps([config.model_dump(mode="json", exclude_defaults=True), fold.name, store.sha256])


def _begun_at(folder: Path) -> tuple[str | None, ...]:
    """The commits of the checkouts that have trained a fold so far, this one among them, which is noted beside it."""
    file = folder / _COMMITS_FILE
    # Whoever left no checkpoint has no part in what is trained now.
    before = _noted(file) if any(folder.rglob("checkpoints/*.ckpt")) else ()
    commits = tuple(dict.fromkeys([*before, provenance.commit()]))
    write_json(file, {"commits": commits})
    return commits


def _noted(file: Path) -> Sequence[str | None]:
    """What is noted of the commits before; an unknown one where that is missing or damaged."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(file.read_text(encoding="utf-8"))
        noted = found.get("commits") if isinstance(found, dict) else None
        if isinstance(noted, list) and noted and all(map(_is_commit, noted)):
            return noted
    return (UNKNOWN_COMMIT,)


def _is_commit(said: object) -> bool:
    """Whether something may be what `provenance.commit` returned."""
    return said is None or (isinstance(said, str) and bool(re.fullmatch(r"\w+(\+changes)?", said, re.ASCII)))


def _write_predictions(path: Path, table: PredictionTable, fold: Fold, task: Task) -> None:
    write_table(path, prediction_columns(table, [fold.name] * len(table.ids), task))


def read_fold(target: RunFolder, index: int, fold: Fold, store: Store) -> FinishedFold:
    """Read the record of a finished fold, known to be of this run, this fold and these data.

    A file that was changed since is refused, not made again: whoever changed it must know.

    Args:
        target: The run.
        index: Which fold it is.
        fold: Its samples.
        store: The data.

    Raises:
        CheckpointError: If the record or a file of the fold is not what was written, or is of another run.
    """
    folder = target.fold(index)
    record_file = target.fold_record(index)
    content = read_bytes(record_file)
    document = json_of(content, record_file)
    remedy = f"restore it, or delete `{folder}` to have the fold trained again"
    if not isinstance(document, dict):
        raise CheckpointError(f"`{record_file}` does not describe a fold; {remedy}.")
    check_format(
        record_file, {"version": 1, **document}, range(1, VERSION + 1), remedy=remedy, error=CheckpointError
    )
    # Folds that an earlier version finished have no digests; those of the others name their configuration.
    checked = as_json.FILES in document or OWN_DIGEST in document
    if checked:
        check_document(record_file, document, remedy=remedy)
    record = parsed(content, record_file, FinishedFold, remedy=remedy)
    if checked:
        if record.config_sha256 != file_digest(target.config_file):
            raise CheckpointError(
                f"`{record_file}` is of a run of another configuration than `{target.config_file}`; {remedy}."
            )
        check_files(record_file, record.files or {})
    if record.name != fold.name:
        raise CheckpointError(f"`{record_file}` is not of fold `{fold.name}`; {remedy}.")
    if record.data_sha256 != store.sha256:
        raise CheckpointError(
            f"`{folder}` was trained on other data than the store holds now; choose another run folder."
        )
    return record


def clear_fold(folder: Path, *, checkpoints: bool = False) -> None:
    """Remove what a finished fold is not made of.

    Args:
        folder: The fold's.
        checkpoints: Whether its checkpoints go too: a transformer's are several times its size.
    """
    (folder / _COMMITS_FILE).unlink(missing_ok=True)
    for place in (folder, folder / "refit") if checkpoints else ():
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
