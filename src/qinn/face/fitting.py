"""Fitting a model to samples in memory, and asking it again."""

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qinn.data.importing.transcripts import TextOptions
from qinn.data.subsets.cross_validation import Development
from qinn.data.subsets.stratified_draw import hold_out
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError, ConfigError, DataError
from qinn.evaluation.conformal import HeldOut, held_out_errors, prediction_sets
from qinn.evaluation.outcomes import one_label, one_logit, probabilities_of
from qinn.evaluation.predict import predict
from qinn.experiment.build import build_model
from qinn.experiment.config import resolved_training
from qinn.experiment.feasibility import check_feasible, check_single_steps, check_steps
from qinn.experiment.idle_keys import FITTED_AS_THEY_ARE, idle_absence
from qinn.experiment.masked_texts import as_it_is, losing_single_steps, losing_steps
from qinn.experiment.model_configs import LinearConfig
from qinn.experiment.steps import follows_stream
from qinn.explain.memory_axis import MemoryAxis, memory_axis
from qinn.extras import require
from qinn.face.arrays import Kind
from qinn.face.labels import Labels
from qinn.face.options import Chosen, as_argument
from qinn.face.samples import Samples
from qinn.task import Task
from qinn.training.options import FitOptions

# Held while torch's state is that of one estimator. A process that is forked meanwhile gets one of its own.
_ALONE = threading.RLock()
os.register_at_fork(after_in_child=lambda: globals().update(_ALONE=threading.RLock()))

Validation = float | tuple[Samples, Labels] | None
"""A part to hold out, samples that are held out already, or nothing."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of a fit.

    Attributes:
        model: The trained network, in evaluation mode.
        task: What it predicts.
        dims: Modality → number of features.
        kinds: Modality → whether its samples are vectors or sequences.
        history: One row per epoch.
        best_epoch: Epoch (from 0) whose weights it has.
        axis: Of a model along the stream, the axis of its memory on the validation samples.
        held_out: Its errors on the validation samples, before a refit; None where nothing was held out, or there are
            several labels.
        held_out_labels: Of several labels the errors of each of which the validation samples say something.
    """

    model: nn.Module
    task: Task
    dims: Mapping[str, int]
    kinds: Mapping[str, Kind]
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    axis: MemoryAxis | None
    held_out: HeldOut | None = None
    held_out_labels: Mapping[str, HeldOut] = field(default_factory=dict[str, HeldOut])


@dataclass(frozen=True, eq=False)
class Parts:
    """Who learns from what.

    Attributes:
        development: Training and validation samples.
        selects: Whether the validation samples choose the epoch; if not, they are trained on as well.
    """

    development: Development
    selects: bool


def check_present(samples: Samples) -> None:
    """Refuse samples that all lack a modality.

    Raises:
        ArgumentError: Naming it.
    """
    for name, dim in samples.dims.items():
        if not dim or not samples.lengths(name).any():
            raise ArgumentError(
                f"No sample has modality `{name}`, so nothing can be learned about it; leave it out."
            )


def divided(
    samples: Samples,
    labels: Labels,
    groups: npt.NDArray[Any] | None,
    validation: Validation,
    seed: int,
) -> Parts:
    """Divide samples into those that are trained on and those that choose the epoch.

    Args:
        samples: The samples.
        labels: Their labels.
        groups: Their groups; none is on both sides.
        validation: What validates.
        seed: Of the division.

    Raises:
        ArgumentError: If there are too few samples or groups, or a modality that no sample has.
    """
    check_present(samples)
    # Rows may come twice, from a bootstrap: here each has a name of its own.
    if isinstance(validation, tuple):
        given, known = validation
        train = _named(samples, "train").subset(labels.task, labels.values)
        valid = _named(given.like(samples.dims, samples.kinds), "valid").subset(labels.task, known.values)
        return Parts(Development(train, valid), selects=True)
    if len(samples) < 2:
        raise ArgumentError(
            "Found array with 1 sample(s) (n_samples=1) while a minimum of 2 is required by Estimator: one validates."
        )
    names = np.full(len(samples), "", dtype=object) if groups is None or validation is None else groups
    try:
        held = hold_out(labels.values, names, 0.5 if validation is None else validation, seed)
    except DataError as error:
        # One sample was refused: without groups there is always another.
        raise ArgumentError(f"Argument `groups`: {error}") from None
    whole = _named(samples, "").subset(labels.task, labels.values, groups)
    development = Development(whole.take(np.flatnonzero(~held)), whole.take(np.flatnonzero(held)))
    return Parts(development, selects=validation is not None)


def _named(samples: Samples, prefix: str) -> Samples:
    return samples.renamed([f"{prefix}{row}" for row in range(len(samples))])


def trained(
    choice: Chosen,
    parts: Parts,
    *,
    dims: Mapping[str, int],
    kinds: Mapping[str, Kind],
    task: Task,
    progress: bool = False,
) -> Fitted:
    """Train a model.

    Args:
        choice: Which one, and how.
        parts: Who learns from what.
        dims: Modality → number of features.
        kinds: Modality → kind.
        task: What is predicted.
        progress: Whether to show a bar.

    Raises:
        ArgumentError: If options do not fit the samples or the task, or training diverges.
    """
    require("train", what="`Estimator.fit`")
    from qinn.training.fit import fit, refit  # takes a second to import, and a fitted model needs it not

    config, seed = choice.config, choice.config.seeds[0]
    development = parts.development
    solved = isinstance(choice.model, LinearConfig)
    training = resolved_training(config.training, len(development.train), solved=solved)
    options = training.options()
    options.selection(task)
    if not parts.selects:
        _check_selects_nothing(options)
    steps = [] if choice.model.kind in FITTED_AS_THEY_ARE else losing_steps(options, list(dims))
    for said in (
        *idle_absence(choice.model.kind, options, list(dims)),
        *(
            as_it_is(name, "samples in memory have none")
            for name in steps
            if name == TextOptions().modality and kinds[name] == "sequence"
        ),
    ):
        warnings.warn(said, stacklevel=3)
    shared: dict[str, Any] = {"task": task, "options": options, "seed": seed, "progress": progress}
    history: list[dict[str, float]] = []
    held_out, held_out_labels = None, dict[str, HeldOut]()
    with apart(config.threads), tempfile.TemporaryDirectory(prefix="qinn-fit-") as name:
        folder = Path(name)
        _check(choice, development, options, dims=dims, kinds=kinds, task=task)
        model = _built(choice, dims=dims, kinds=kinds, task=task)
        epochs = config.training.max_epochs
        if parts.selects:
            result = fit(model, development, folder=folder, **shared)
            history, epochs = result.history, result.best_epoch + 1
            if task.kind == "multilabel":
                held_out_labels = _held_out_labels(model, development.valid, task)
            else:
                held_out = _held_out(model, development.valid, task)
        if training.refit or not parts.selects:
            model = _built(choice, dims=dims, kinds=kinds, task=task)
            refit(model, development, epochs=epochs, folder=folder / "refit", **shared)
        model.eval()
        axis = memory_axis(model, development.valid) if follows_stream(model) else None
    return Fitted(
        model, task, dict(dims), dict(kinds), tuple(history), epochs - 1, axis, held_out, held_out_labels
    )


def _check_selects_nothing(options: FitOptions) -> None:
    """Refuse settings of a choice where nothing is held out that could choose.

    Raises:
        ArgumentError: Naming the setting.
    """
    usual = FitOptions()
    wanted: dict[str, tuple[object, tuple[object, ...]]] = {
        "selection_rates": (options.selection_rates, ((),)),
        "monitor": (options.monitor, (usual.monitor, "last")),
        "patience": (options.patience, (usual.patience, 0)),
    }
    for name, (value, harmless) in wanted.items():
        if value not in harmless:
            raise ArgumentError(
                f"Argument `{name}` says how validation samples choose the epoch, so it must be left out where "
                f"`validation` is None, but it is {value!r}; leave it out, or hold a part of the samples out."
            )


def _held_out(model: nn.Module, valid: Subset, task: Task) -> HeldOut:
    """Return the errors of a model on the samples that chose its epoch."""
    found = predict(model, valid)
    classes = task.kind == "classification"
    return held_out_errors(
        np.asarray(found.labels),
        probabilities_of(found.outputs) if classes else found.outputs,
        groups=found.groups,
        classes=classes,
    )


def _held_out_labels(model: nn.Module, valid: Subset, task: Task) -> dict[str, HeldOut]:
    """Return the errors of each of several labels: 1 − the probability of what is true of it."""
    found = predict(model, valid)
    groups: tuple[str, ...] | None = found.groups
    alone = {
        name: one_label(np.asarray(found.labels), found.outputs, index)
        for index, name in enumerate(task.names)
    }
    return {
        name: held_out_errors(
            one.labels,
            probabilities_of(one.outputs),
            groups=None if groups is None else [groups[int(row)] for row in one.rows.tolist()],
            classes=True,
        )
        for name, one in alone.items()
        if len(one.rows)
    }


def sets_of_labels(fitted: Fitted, outputs: npt.NDArray[np.float64], level: float) -> npt.NDArray[np.bool_]:
    """Return whether each of several labels can be absent and can be present, (n, labels, 2).

    Args:
        fitted: The model.
        outputs: What it predicts.
        level: Share of new samples whose set is to hold what is true of a label; a label of which no validation sample
            said anything can be both.
    """
    sets = np.ones((*outputs.shape, 2), dtype=bool)
    for index, name in enumerate(fitted.task.names):
        if name in fitted.held_out_labels:
            likely = probabilities_of(one_logit(outputs, index))
            sets[:, index] = prediction_sets(likely[None], fitted.held_out_labels[name], level)
    return sets


def restored(
    choice: Chosen,
    weights: Mapping[str, torch.Tensor],
    *,
    dims: Mapping[str, int],
    kinds: Mapping[str, Kind],
    task: Task,
) -> nn.Module:
    """Build a model that was trained before, in evaluation mode.

    Args:
        choice: Which one.
        weights: Its weights.
        dims: Modality → number of features.
        kinds: Modality → kind.
        task: What is predicted.

    Raises:
        RuntimeError: If the weights are of another model.
    """
    with apart(choice.config.threads):
        model = _built(choice, dims=dims, kinds=kinds, task=task)
    model.load_state_dict(dict(weights))
    return model.eval()


def outputs_of(fitted: Fitted, subset: Subset, *, threads: int) -> npt.NDArray[np.float64]:
    """Return scores (one column) or logits.

    Args:
        fitted: The model.
        subset: Samples.
        threads: Threads of torch.
    """
    with apart(threads):
        return predict(fitted.model, subset).outputs


@contextlib.contextmanager
def apart(threads: int) -> Generator[None]:
    """Leave torch's random numbers and number of threads as the caller had them.

    Both belong to the whole process, so that one thread of Python's is in such a block at a time.

    Args:
        threads: Threads inside the block.
    """
    with _ALONE, cast("Any", torch).random.fork_rng(devices=range(torch.cuda.device_count())):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _built(choice: Chosen, *, dims: Mapping[str, int], kinds: Mapping[str, Kind], task: Task) -> nn.Module:
    return build_model(
        choice.model,
        choice.config.encoder,
        feature_dims=dims,
        sequences=_sequences(kinds),
        num_outputs=task.num_outputs,
        seed=choice.config.seeds[0],
        independent=task.is_independent,
    )


def _sequences(kinds: Mapping[str, Kind]) -> dict[str, bool]:
    return {name: kind == "sequence" for name, kind in kinds.items()}


def _check(
    choice: Chosen,
    development: Development,
    options: FitOptions,
    *,
    dims: Mapping[str, int],
    kinds: Mapping[str, Kind],
    task: Task,
) -> None:
    """Refuse what cannot be built or computed here before anything is."""
    subsets = [development.train, development.valid]
    try:
        check_feasible(
            choice.config,
            feature_dims=dims,
            sequences=_sequences(kinds),
            num_outputs=task.num_outputs,
            num_samples=sum(len(subset) for subset in subsets),
            longest={name: max(int(subset.lengths(name).max()) for subset in subsets) for name in dims},
        )
        check_steps(choice.config, subsets, sequences=_sequences(kinds))
        losing = losing_single_steps(options, list(dims))
        check_single_steps(choice.model.kind, choice.model, losing, sequences=_sequences(kinds))
    except ConfigError as error:
        raise ArgumentError(as_argument(str(error))) from error
