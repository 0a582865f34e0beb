"""What a configuration will cost, said before it does: the joint dimension, memory, and seconds of an epoch."""

import math
import time
from collections.abc import Iterator, Sequence

import torch

from qinn.data.stores.manifest import num_words_of
from qinn.data.stores.store import Store
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.cross_validation import Fold
from qinn.errors import QinnError
from qinn.experiment.build import (
    attends_to_steps,
    build_model,
    encoder_kinds,
    follows_stream,
    sequences_of,
    state_dims_of,
    timed_modalities,
)
from qinn.experiment.config import ExperimentConfig, resolved_training
from qinn.experiment.feasibility import memory_needs
from qinn.experiment.model_configs import QiNNConfig
from qinn.resources import available_memory, shown_size
from qinn.training.objective import training_loss

_LARGE_DIM = 100
"""Joint dimension beyond which a model is called large; three modalities of the default 4 have 64."""

_MANY_STEPS = 200
_LARGE_SHARE = 0.25
_LONG_EPOCH = 30.0


def cost_notes(config: ExperimentConfig, store: Store, folds: Sequence[Fold]) -> Iterator[str]:
    """Yield what a user should know about the cost of a model before it is trained.

    A joint dimension above 100, more than a quarter of the memory that there is, and epochs of more than half a minute.
    The time is that of one training step of a model that is thrown away, and is measured only where one of the first
    two, long streams, or attention make it worth the while.

    Args:
        config: An experiment with one model.
        store: Its data.
        folds: Their division.
    """
    [(label, model)] = config.models.items()
    train = folds[0].development.train
    is_large = False
    if isinstance(model, QiNNConfig) and not follows_stream(model):
        dims = state_dims_of(model, train.modalities)
        dim = math.prod(dims.values())
        if dim > _LARGE_DIM:
            is_large = True
            smaller = max(2, int(_LARGE_DIM ** (1 / len(dims))))
            yield (
                f"`{label}` has the joint dimension {' × '.join(map(str, dims.values()))} = {dim:,}: every operator "
                f"has {dim**2:,} entries, and time and memory grow with the square or cube of the dimension; "
                f"`state_dims: {smaller}` gives {smaller ** len(dims):,}, and fewer modalities in `data.modalities` "
                "help too."
            )
    sequences = sequences_of(store, config.data)
    longest = {name: int(train.lengths(name).max()) for name in train.modalities}
    needs = memory_needs(
        config,
        feature_dims=train.dims,
        num_words=num_words_of(store.tiers),
        num_samples=len(store),
        longest=longest,
    )
    most = available_memory()
    for what, size in needs.items():
        if size > _LARGE_SHARE * most:
            yield f"`{label}`: {what}, for which some {shown_size(size)} of {shown_size(most)} of memory are needed."
    is_large |= attends_to_steps(model)
    is_large |= follows_stream(model) and sum(longest.values()) > _MANY_STEPS
    if not is_large or "transformer" in encoder_kinds(config.encoder, train.modalities).values():
        return
    built = build_model(
        model,
        config.encoder,
        feature_dims=train.dims,
        sequences=sequences,
        num_outputs=store.task.num_outputs,
        seed=0,
        timed=timed_modalities(store, config.data),
        num_words=num_words_of(store.tiers),
    ).train()
    size = min(config.training.batch_size, len(train))
    batch = batch_of(train, range(size))
    clock = time.perf_counter()
    try:
        kind = resolved_training(config.training, len(train)).options().resolved_loss(store.task)
        training_loss(built(batch), torch.as_tensor(batch.labels), kind).backward()
    except QinnError:  # what cannot be computed is refused in training, by its own sentence
        return
    epoch = (time.perf_counter() - clock) * math.ceil(len(train) / size)
    if epoch > _LONG_EPOCH:
        fits = len(folds) * config.training.max_epochs
        yield (
            f"`{label}` needs some {epoch:.0f} s for an epoch on this machine as it is now, {epoch * fits / 3600:.1f} "
            f"hours for {len(folds)} × {config.training.max_epochs} epochs if none stops early."
        )
