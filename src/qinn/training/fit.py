"""Fitting a model: Lightning's Trainer behind one function that never sees the test split."""

import contextlib
import csv
import hashlib
import io
import logging
import math
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from qinn.data.subsets.batching import BatchLoader
from qinn.data.subsets.splits import Development, Subset
from qinn.errors import ArgumentError
from qinn.extras import needs
from qinn.model.standardization import set_training_statistics
from qinn.placement import complete_file
from qinn.resources import resource_error
from qinn.task import Task
from qinn.training.checkpoints import (
    CompleteCheckpoints,
    PlacedCheckpoint,
    Rhythm,
    RhythmicCheckpoint,
    check_owner,
    first_line,
    read_checkpoint,
    unusable,
)
from qinn.training.module import TrainingModule
from qinn.training.options import FitOptions

with needs("train", "Training"):
    import lightning
    from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
    from lightning.pytorch.loggers import Logger, TensorBoardLogger
    from lightning.pytorch.utilities.exceptions import SIGTERMException


@dataclass(frozen=True)
class FitResult:
    """What came of a fit; the model itself holds the selected weights.

    Attributes:
        epochs: Number of epochs trained.
        best_epoch: Epoch (from 0) whose weights were selected on the validation split.
        monitor: Name of the validation value that selected them.
        best_value: That value.
        seconds: Wall-clock time of this call.
        cpu_seconds: CPU time of the process, system and user, all threads: of this call, and up to its checkpoint of
            the interrupted one that it went on from.
        history: One row per epoch: ``epoch``, ``train_loss``, ``valid_loss`` and the validation metrics.
    """

    epochs: int
    best_epoch: int
    monitor: str
    best_value: float
    seconds: float
    cpu_seconds: float
    history: list[dict[str, float]]


class _History(Callback):
    """Keeps one row per epoch, in a file and in the checkpoint, so that a resumed run has the whole history."""

    def __init__(self, path: Path, rhythm: Rhythm) -> None:
        self.path = path
        self.rhythm = rhythm
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        row = {"epoch": float(trainer.current_epoch)}
        row.update({name: float(value) for name, value in trainer.callback_metrics.items()})
        self.rows = [kept for kept in self.rows if kept["epoch"] < row["epoch"]] + [row]
        if self.rhythm.is_due(trainer):
            _write_history(self.path, self.rows)

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        self.rows = list(state_dict["rows"])


class _CpuTime(Callback):
    """Counts CPU seconds from its making, and those of the interrupted fit that this one goes on from."""

    def __init__(self) -> None:
        self.started = time.process_time()
        self.before = 0.0

    @property
    def seconds(self) -> float:
        return self.before + time.process_time() - self.started

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.before = float(state_dict["seconds"])


class _Stopping(EarlyStopping):
    """Early stopping that a resumed fit remembers: what had stopped stays stopped."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class _SignalsAsBefore(Callback):
    """Gives SIGTERM back to whoever had it: Lightning takes it and stops after the batch as if all were well."""

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


def fit(
    model: nn.Module,
    development: Development,
    *,
    task: Task,
    options: FitOptions,
    folder: Path,
    seed: int,
    identity: str = "",
    progress: bool = False,
) -> FitResult:
    """Train a model on the training split and leave it with the weights that the validation split selects.

    If `folder` holds the checkpoint of an interrupted fit of the same model, training continues from it and
    ends with the very weights that the uninterrupted fit would have reached.

    Args:
        model: Any model of `qinn.model`; changed in place.
        development: Training and validation samples.
        task: What is predicted.
        options: How to train.
        folder: Where checkpoints, history and logs go.
        seed: Seed of the sample order, dropout and trajectories.
        identity: What the model and the data were made from; the checkpoint of another identity or seed is refused.
        progress: Whether to show a progress bar.

    Returns:
        The history and the selected epoch.

    Raises:
        ArgumentError: If options do not fit the task or training diverges.
        CheckpointError: If the checkpoint to resume from is damaged or belongs to another model.
        OutputError: If checkpoints or history cannot be written; those of before stay.
    """
    started, cpu_time = time.perf_counter(), _CpuTime()
    monitor, mode = options.selection(task)
    if not _take_statistics(model, development.train):
        return FitResult(
            0, -1, monitor, float("nan"), time.perf_counter() - started, cpu_time.seconds, history=[]
        )

    checkpoints = folder / "checkpoints"
    module = _training_module(model, development.train, task, options, seed, identity)
    valid_loader = BatchLoader(
        development.valid, max(256, options.batch_size), shuffle=False, seed=seed, bucket=options.bucket
    )
    rhythm = Rhythm(options.checkpoint_seconds)
    history = _History(folder / "history.csv", rhythm)
    best = PlacedCheckpoint(
        checkpoints, filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False
    )
    callbacks: list[Callback] = [cpu_time, history, *([] if options.monitor == "last" else [best])]
    if options.patience:
        callbacks.append(_Stopping(monitor, mode=mode, patience=options.patience, check_finite=True))
    loggers: list[Logger] = []
    if options.tensorboard:
        loggers.append(TensorBoardLogger(folder / "logs", name="", version="tensorboard"))
    _train(
        module, valid_loader, folder, rhythm, callbacks, loggers, epochs=options.max_epochs, progress=progress
    )
    best_epoch, best_value = _selected(module, history, None if options.monitor == "last" else best, monitor)
    model.cpu()
    _write_history(folder / "history.csv", history.rows)
    return FitResult(
        epochs=len(history.rows),
        best_epoch=best_epoch,
        monitor=monitor,
        best_value=best_value,
        seconds=time.perf_counter() - started,
        cpu_seconds=cpu_time.seconds,
        history=history.rows,
    )


def refit(
    model: nn.Module,
    development: Development,
    *,
    task: Task,
    options: FitOptions,
    epochs: int,
    folder: Path,
    seed: int,
    identity: str = "",
    progress: bool = False,
) -> float:
    """Train a fresh model on training and validation samples together, for a number of epochs chosen before.

    The learning-rate schedule is that of `fit`, cut off where the chosen epoch ended. An interrupted refit
    continues from its checkpoint, like `fit`.

    Args:
        model: The same model as that given to `fit`, with fresh weights; changed in place.
        development: The samples that `fit` was given.
        task: What is predicted.
        options: How to train.
        epochs: How many epochs: `FitResult.best_epoch` + 1.
        folder: Where the checkpoint goes; not that of `fit`.
        seed: Seed of the sample order, dropout and trajectories.
        identity: As for `fit`.
        progress: Whether to show a progress bar.

    Returns:
        CPU seconds, as in `FitResult`.

    Raises:
        ArgumentError: If training diverges.
        CheckpointError: If the checkpoint to resume from is damaged or belongs to another model.
        OutputError: If checkpoints cannot be written; those of before stay.
    """
    cpu_time, merged = _CpuTime(), development.merged
    if not _take_statistics(model, merged) or not epochs:
        return cpu_time.seconds
    _train(
        _training_module(model, merged, task, options, seed, f"refit of {identity}"),
        None,
        folder,
        Rhythm(options.checkpoint_seconds),
        [cpu_time],
        [],
        epochs=epochs,
        progress=progress,
    )
    model.cpu()
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise _diverged("weights are not finite after the refit", options)
    return cpu_time.seconds


def _selected(
    module: TrainingModule, history: _History, best: PlacedCheckpoint | None, monitor: str
) -> tuple[int, float]:
    """Give the module the selected weights, the last ones without `best`; return their epoch and value."""
    score = history.rows[-1][monitor] if best is None else best.best_model_score
    if score is None or not math.isfinite(score):
        raise _diverged(f"the validation value `{monitor}` was never finite", module.options)
    if best is None:
        return int(history.rows[-1]["epoch"]), float(score)
    path = Path(best.best_model_path)
    selected = read_checkpoint(path)
    check_owner(path, selected, module, module.identity)
    module.load_state_dict(selected["state_dict"])
    return int(selected["epoch"]), float(score)


def _take_statistics(model: nn.Module, train: Subset) -> bool:
    """Give the model the scales of its training samples; return whether it has anything to train."""
    found = train.statistics()
    statistics = {
        name: (torch.as_tensor(value.mean).float(), torch.as_tensor(value.sd).float())
        for name, value in found.items()
    }
    unseen = [name for name, value in found.items() if not value.num_steps]
    set_training_statistics(model, statistics, torch.as_tensor(train.labels), unseen=unseen)
    return any(parameter.requires_grad for parameter in model.parameters())


def _training_module(
    model: nn.Module, train: Subset, task: Task, options: FitOptions, seed: int, identity: str
) -> TrainingModule:
    torch.manual_seed(seed)
    loader = BatchLoader(train, options.batch_size, shuffle=True, seed=seed, bucket=options.bucket)
    return TrainingModule(
        model,
        task=task,
        options=options,
        loader=loader,
        steps_per_epoch=len(loader),
        identity=hashlib.sha256(f"{seed}\n{identity}".encode()).hexdigest(),
    )


def _train(
    module: TrainingModule,
    valid_loader: BatchLoader | None,
    folder: Path,
    rhythm: Rhythm,
    callbacks: list[Callback],
    loggers: list[Logger],
    *,
    epochs: int,
    progress: bool,
) -> None:
    """Run Lightning's trainer up to an epoch, from the last checkpoint in `folder` if there is one."""
    options = module.options
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = folder / "checkpoints"
    # Written after all others, so that it knows of them: an interruption between the two repeats some epochs.
    last = RhythmicCheckpoint(checkpoints, rhythm)
    shown: list[Callback] = [TQDMProgressBar(leave=False)] if progress else []
    resume = checkpoints / "last.ckpt"
    if resume.is_file():
        check_owner(resume, read_checkpoint(resume), module, module.identity)
    with (
        warnings.catch_warnings(),
        _quiet_lightning(),
        _determinism(options.deterministic),
        _signals_of_the_caller(),
    ):
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message="Detected pickle protocol")
        warnings.filterwarnings("ignore", message=r".*(lr_scheduler|LeafSpec|isinstance\(treespec).*")
        trainer = lightning.Trainer(
            accelerator=options.accelerator,
            devices=1,
            max_epochs=epochs,
            gradient_clip_val=options.gradient_clip or None,
            callbacks=[*callbacks, last, _SignalsAsBefore(), *shown],
            plugins=[CompleteCheckpoints(held="best.ckpt")],
            logger=loggers or False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=max(1, module.steps_per_epoch),
            default_root_dir=folder,
        )
        try:
            trainer.fit(
                module,
                module.loader,
                valid_loader,
                ckpt_path=resume if resume.is_file() else None,
                weights_only=True,
            )
        except (ArgumentError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
            # The model could compute at the start; what it computes now is beyond floating point.
            if trainer.global_step == 0:
                raise
            raise _diverged(first_line(error).rstrip("."), options) from error
        except (RuntimeError, KeyError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            if resume.is_file() and trainer.global_step == 0 and not resource_error(error):
                raise unusable(resume, first_line(error)) from error
            raise


def _diverged(reason: str, options: FitOptions) -> ArgumentError:
    return ArgumentError(
        f"Training diverged: {reason}; lower the learning rate (now {options.learning_rate}) or check the "
        "features with `qinn data inspect`."
    )


def _write_history(path: Path, rows: list[dict[str, float]]) -> None:
    names = ["epoch", "train_loss", "valid_loss"]
    names += sorted({name for row in rows for name in row} - set(names))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
    with complete_file(path, overwrite=True) as stream:
        stream.write(text.getvalue().encode())


@contextlib.contextmanager
def _signals_of_the_caller() -> Iterator[None]:
    """Let signals mean in training what they mean around it, and leave their handlers as they were.

    Lightning makes an exit with code 1 of Ctrl-C and one with code 0 of SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)

    try:
        yield
    except SIGTERMException:
        # It came in the moment before the handlers were given back.
        restore()
        signal.raise_signal(signal.SIGTERM)
        raise
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        restore()


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notices about devices and tips."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Use deterministic algorithms inside the block and restore the caller's choice after it."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
