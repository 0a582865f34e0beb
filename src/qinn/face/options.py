"""From the flat parameters of an estimator to the configuration that a YAML file holds in sections."""

import contextlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from pydantic import BaseModel, ValidationError

from qinn.errors import ArgumentError
from qinn.experiment.config import LARGEST_SEED, DataConfig, ExperimentConfig, TrainingConfig
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.key_errors import explain, nearest
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.face.arrays import is_mapping

_Section = TypeVar("_Section", bound=BaseModel)

DEVICES = {"cpu": "cpu", "auto": "auto", "gpu": "gpu", "cuda": "gpu"}
"""What `device` can be, and what the key `training.device` says then."""

IN_MEMORY = Path("memory")
"""What stands in place of a store."""

_ENCODER_NAMES = {"encoder": "kind"}
_NOT_IN_MEMORY = {"transformer", "embedding_dim"}
"""Keys of encoders that read token or word ids, which come from `qinn data import` only."""

_ENCODERS_OF_IDS = ("transformer", "embedding")

_NEVER_FLAT = {"kind", "training", "transformer", "timed"}
_NOT_TAKEN = {"tensorboard", "checkpoint_seconds", "device"}
"""Keys of the training that mean something for runs in a folder, and one that the estimator knows more names of."""


@dataclass(frozen=True)
class Chosen:
    """The parameters of an estimator, checked.

    Attributes:
        config: The experiment that they mean, with one model and one seed.
        model: The model's configuration.
    """

    config: ExperimentConfig
    model: Any


def encoder_keys() -> dict[str, str]:
    """Return parameter → key of the section `encoder`."""
    named = {key: name for name, key in _ENCODER_NAMES.items()}
    return {named.get(key, key): key for key in EncoderConfig.model_fields if key not in _NOT_IN_MEMORY}


def training_keys() -> tuple[str, ...]:
    """Return the parameters that are keys of the section `training`."""
    return tuple(key for key in TrainingConfig.model_fields if key not in _NOT_TAKEN)


def model_keys(kind: str) -> tuple[str, ...]:
    """Return the parameters that are keys of a model of some kind.

    Args:
        kind: The kind.
    """
    shared = set(encoder_keys())
    return tuple(
        key for key in MODEL_CONFIGS[kind].model_fields if key not in _NEVER_FLAT and key not in shared
    )


def all_model_keys() -> tuple[str, ...]:
    """Return the parameters that are keys of a model of any kind."""
    return tuple(dict.fromkeys(key for kind in MODEL_CONFIGS for key in model_keys(kind)))


def chosen(parameters: Mapping[str, Any], defaults: Mapping[str, Any], *, seed: int) -> Chosen:
    """Check the parameters of an estimator and put them into sections.

    Args:
        parameters: All of them.
        defaults: What they are where a user says nothing.
        seed: Seed.

    Raises:
        ArgumentError: Naming the first that is impossible, or means nothing for this kind of model.
    """
    given = {name: _plain(value) for name, value in parameters.items()}
    kind, device = given["kind"], given["device"]
    if not isinstance(kind, str) or kind not in MODEL_CONFIGS:
        raise ArgumentError(
            f"Argument `kind` must be one of {list(MODEL_CONFIGS)}, but it is `{kind}`"
            f"{nearest(str(kind), MODEL_CONFIGS)}."
        )
    if not isinstance(device, str) or device not in DEVICES:
        raise ArgumentError(f"Argument `device` must be one of {list(DEVICES)}, but it is `{device}`.")
    own = model_keys(kind)
    for name in all_model_keys():
        if name not in own and given[name] != defaults[name]:
            users = [other for other in MODEL_CONFIGS if name in model_keys(other)]
            raise ArgumentError(
                f"Argument `{name}` means something for `kind` {', '.join(f'`{one}`' for one in users)} only, but the "
                f"kind is `{kind}`; leave it out."
            )
    # None stands for the kind's own default, where kinds differ.
    told = {name: given[name] for name in own if given[name] is not None}
    model = _checked(MODEL_CONFIGS[kind], {"kind": kind, **told})
    encoders = given["encoder"]
    for one in encoders.values() if is_mapping(encoders) else (encoders,):
        if one in _ENCODERS_OF_IDS:
            raise ArgumentError(
                f"Argument `encoder` must not be `{one}` for samples in memory: it reads ids of tokens or words, which "
                "`qinn data import` makes; choose `statistics`, `attention` or `gru`, or train on a store."
            )
    encoder = _checked(EncoderConfig, {key: given[name] for name, key in encoder_keys().items()})
    training = _checked(
        TrainingConfig,
        {
            **{name: given[name] for name in training_keys()},
            "device": DEVICES[device],
            "tensorboard": False,
            # Nothing resumes a fit in memory: one checkpoint at its end holds the weights of the best epoch.
            "checkpoint_seconds": 86_400,
        },
    )
    config = _checked(
        ExperimentConfig,
        {
            "data": DataConfig(store=IN_MEMORY),
            "encoder": encoder,
            "models": {kind: model},
            "training": training,
            "seeds": (seed,),
            "threads": given["threads"],
        },
    )
    return Chosen(config, model)


def _checked(section: type[_Section], content: Mapping[str, Any]) -> _Section:
    try:
        return section.model_validate(dict(content))
    except ValidationError as error:
        said = explain(error, section).removeprefix("key ")
        if section is EncoderConfig:
            said = as_argument(f"Key `encoder.{said[1:]}") if said.startswith("`kind") else said
        raise ArgumentError(f"Argument {said.removeprefix('Argument ')}") from error


def as_argument(message: str) -> str:
    """Return a message about a key of a configuration as one about the parameter that means it.

    Args:
        message: The message.

    Examples:
        >>> as_argument("Key `training.device` is `gpu`."), as_argument("Key `encoder.kind` is `x`.")
        ('Argument `device` is `gpu`.', 'Argument `encoder` is `x`.')
    """
    message = message.replace("Key `encoder.kind", "Argument `encoder")
    return message.replace("Key `encoder.", "Argument `").replace("Key `training.", "Argument `")


def _plain(value: Any) -> Any:
    """Return a number of numpy's, which a search over parameters gives, as one of Python's."""
    if isinstance(value, np.generic):
        return cast("Any", value).item()
    if is_mapping(value):
        return {str(name): _plain(one) for name, one in value.items()}
    return value


def seed_of(random_state: Any) -> int:
    """Return the seed that a parameter `random_state` means.

    Args:
        random_state: A seed; a generator of numpy's, which is drawn from; or None for numpy's global one.

    Raises:
        ArgumentError: If it is something else.

    Examples:
        >>> seed_of(3), seed_of(np.random.RandomState(0)) == seed_of(np.random.RandomState(0))
        (3, True)
    """
    if random_state is None:
        # What `np.random.seed` seeds, as in scikit-learn.
        return int(np.random.randint(LARGEST_SEED, dtype=np.int64))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(LARGEST_SEED, dtype=np.int64))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(LARGEST_SEED))
    with contextlib.suppress(TypeError):
        seed = operator.index(random_state)
        if 0 <= seed <= LARGEST_SEED and not isinstance(random_state, bool):
            return seed
    raise ArgumentError(
        f"Argument `random_state` must be a seed from 0 to {LARGEST_SEED}, a generator of numpy's or None, but it is "
        f"{random_state!r}."
    )
