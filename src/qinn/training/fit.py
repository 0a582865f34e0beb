"""Fitting a model: one function that trains, selects, and never sees the test split."""

import contextlib
import csv
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from qinn.atomic_writing import complete_file
from qinn.data.subsets.absence_protocols import MaskedTexts
from qinn.data.subsets.batching import BatchLoader
from qinn.data.subsets.cross_validation import Development
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError
from qinn.extras import needs
from qinn.model.linear import LinearFusion
from qinn.model.standardization import set_training_statistics
from qinn.task import Task
from qinn.training.checkpoints import Rhythm, first_line, read_checkpoint, unusable, write_checkpoint
from qinn.training.linear import solve
from qinn.training.loop import TrainingLoop
from qinn.training.objective import weights_of_classes
from qinn.training.options import FitOptions


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
            the interrupted one that it went on from; without that of taking away what samples lose.
        history: One row per epoch: ``epoch``, ``train_loss``, ``valid_loss`` and the validation metrics.
    """

    epochs: int
    best_epoch: int
    monitor: str
    best_value: float
    seconds: float
    cpu_seconds: float
    history: list[dict[str, float]]


class _CpuTime:
    """Counts CPU seconds from its making, and those of the interrupted fit that this one goes on from.

    Those of what samples lose are left out: which of the runs that lose the same encodes texts anew is chance.
    """

    def __init__(self) -> None:
        self.started = time.process_time()
        self.before = 0.0
        self.loop: TrainingLoop | None = None

    @property
    def seconds(self) -> float:
        left_out = 0.0 if self.loop is None else self.loop.losing_seconds
        return self.before + time.process_time() - self.started - left_out


def fit(
    model: nn.Module,
    development: Development,
    *,
    task: Task,
    options: FitOptions,
    folder: Path,
    seed: int,
    identity: str = "",
    texts: Mapping[str, MaskedTexts] | None = None,
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
        texts: Modality → what encodes its transcripts again, where the options take steps of them away.
        progress: Whether to show a progress bar.

    Returns:
        The history and the selected epoch.

    Raises:
        ArgumentError: If options do not fit the task or training diverges.
        CheckpointError: If the checkpoint to resume from is damaged or belongs to another model.
        OutputError: If checkpoints or history cannot be written; those of before stay.
    """
    started, cpu_time = time.perf_counter(), _CpuTime()
    monitor, _ = options.selection(task)
    if not _begun(model, development.train, task, options, seed):
        return FitResult(
            0, -1, monitor, float("nan"), time.perf_counter() - started, cpu_time.seconds, history=[]
        )

    loop = _loop(model, development.train, task, options, seed, texts, development.valid)
    _train(
        loop, folder, cpu_time, identity=_whose(seed, identity), epochs=options.max_epochs, progress=progress
    )
    best_epoch, best_value = _selected(loop, monitor)
    model.cpu()
    return FitResult(
        epochs=len(loop.history),
        best_epoch=best_epoch,
        monitor=monitor,
        best_value=best_value,
        seconds=time.perf_counter() - started,
        cpu_seconds=cpu_time.seconds,
        history=loop.history,
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
    texts: Mapping[str, MaskedTexts] | None = None,
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
        texts: As for `fit`.
        progress: Whether to show a progress bar.

    Returns:
        CPU seconds, as in `FitResult`.

    Raises:
        ArgumentError: If training diverges.
        CheckpointError: If the checkpoint to resume from is damaged or belongs to another model.
        OutputError: If checkpoints cannot be written; those of before stay.
    """
    cpu_time, merged = _CpuTime(), development.merged
    if not _begun(model, merged, task, options, seed) or not epochs:
        return cpu_time.seconds
    loop = _loop(model, merged, task, options, seed, texts)
    whose = _whose(seed, f"refit of {identity}")
    _train(loop, folder, cpu_time, identity=whose, epochs=epochs, progress=progress)
    model.cpu()
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise _diverged("weights are not finite after the refit", options)
    return cpu_time.seconds


def _selected(loop: TrainingLoop, monitor: str) -> tuple[int, float]:
    """Give the model the selected weights, the last ones where nothing selects; return their epoch and value."""
    if loop.options.monitor == "last":
        epoch, value = loop.epoch - 1, loop.history[-1][monitor]
    else:
        epoch, value, weights = loop.best or (-1, math.nan, {})
        if loop.best is not None:
            loop.model.load_state_dict(weights)
    if not math.isfinite(value):
        raise _diverged(f"the validation value `{monitor}` was never finite", loop.options)
    return epoch, value


def _begun(model: nn.Module, train: Subset, task: Task, options: FitOptions, seed: int) -> bool:
    """Give the model the scales of its training samples, or all that is solved; return whether it is to be trained."""
    if isinstance(model, LinearFusion):
        weights = weights_of_classes(options.class_weights, train.labels, task)
        solve(model, train, seed=seed, class_weights=weights)
        return False
    found = train.statistics()
    statistics = {
        name: (torch.as_tensor(value.mean).float(), torch.as_tensor(value.sd).float())
        for name, value in found.items()
    }
    unseen = [name for name, value in found.items() if not value.num_steps]
    set_training_statistics(model, statistics, torch.as_tensor(train.labels), unseen=unseen)
    return any(parameter.requires_grad for parameter in model.parameters())


def _loop(
    model: nn.Module,
    train: Subset,
    task: Task,
    options: FitOptions,
    seed: int,
    texts: Mapping[str, MaskedTexts] | None,
    valid: Subset | None = None,
) -> TrainingLoop:
    torch.manual_seed(seed)
    loader = BatchLoader(train, options.batch_size, shuffle=True, seed=seed, bucket=options.bucket)
    size = max(256, options.batch_size)
    held_out = None if valid is None else BatchLoader(valid, size, seed=seed, bucket=options.bucket)
    return TrainingLoop(model, task=task, options=options, train=loader, valid=held_out, texts=texts)


def _whose(seed: int, identity: str) -> str:
    return hashlib.sha256(f"{seed}\n{identity}".encode()).hexdigest()


def _train(
    loop: TrainingLoop, folder: Path, cpu_time: _CpuTime, *, identity: str, epochs: int, progress: bool
) -> None:
    """Run the loop up to an epoch, from the checkpoint in `folder` if there is one."""
    options, rhythm = loop.options, Rhythm(loop.options.checkpoint_seconds)
    cpu_time.loop = loop
    checkpoint = folder / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if checkpoint.is_file():
        cpu_time.before = _go_on(loop, checkpoint, identity)
    with (
        _determinism(options.deterministic),
        _logging(folder if options.tensorboard and loop.valid else None) as log,
        _bar(loop, epochs, shown=progress) as on_step,
    ):
        while loop.epoch < epochs and not loop.stops_early:
            # torch documents LinAlgError, but does not export it for type checkers.
            try:
                loop.run_epoch(on_step)
            except (ArgumentError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
                # The model could compute at the start; what it computes now is beyond floating point.
                if not loop.steps:
                    raise
                raise _diverged(first_line(error).rstrip("."), options) from error
            log(loop.history[-1])
            if rhythm.is_due or loop.epoch == epochs or loop.stops_early:
                if loop.valid:
                    _write_history(folder / "history.csv", loop.history)
                write_checkpoint(checkpoint, {**loop.to_state(), "cpu_seconds": cpu_time.seconds}, identity)
                rhythm.start_again()
    if loop.valid:
        _write_history(folder / "history.csv", loop.history)


def _go_on(loop: TrainingLoop, checkpoint: Path, identity: str) -> float:
    """Give the loop the state of a checkpoint; return the CPU seconds that went into it."""
    state = read_checkpoint(checkpoint, identity)
    try:
        loop.restore(state)
        return float(state["cpu_seconds"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise unusable(checkpoint, first_line(error)) from error


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
def _logging(folder: Path | None) -> Iterator[Callable[[dict[str, float]], None]]:
    """Give what writes an epoch's row to TensorBoard's files; without a folder it writes nothing."""
    if folder is None:
        yield lambda row: None
        return
    with needs("train", "A TensorBoard log"):
        from torch.utils.tensorboard import SummaryWriter

    def log(row: dict[str, float]) -> None:
        for name, value in row.items():
            writer.add_scalar(name, value, int(row["epoch"]))

    with SummaryWriter(folder / "logs" / "tensorboard") as writer:
        yield log


@contextlib.contextmanager
def _bar(loop: TrainingLoop, epochs: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show how far a fit is: by a bar or, where that is no terminal, a line an epoch. Give what each step calls."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console, per_epoch = Console(stderr=True), len(loop.train)
    with Progress(console=console, transient=True, disable=not console.is_interactive) as bar:
        of_the_fit = bar.add_task("", total=epochs * per_epoch)

        def on_step() -> None:
            said = f"Epoch {loop.epoch} of 0 to {epochs - 1}"
            if bar.disable and loop.steps % per_epoch == 1 % per_epoch:
                console.print(said)
            bar.update(of_the_fit, completed=loop.steps, description=said)

        yield on_step


@contextlib.contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Use deterministic algorithms inside the block and restore the caller's choice after it."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
