"""What a search may choose: the options of every model of a configuration, known to be possible before any trial."""

import itertools
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from qinn.data.stores.manifest import modalities_of
from qinn.data.stores.store import Store
from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.build import encoder_kinds
from qinn.experiment.config import ExperimentConfig, TrainingConfig, resolved_training
from qinn.experiment.key_errors import explain, nearest
from qinn.experiment.masked_texts import check_absence_in_training
from qinn.experiment.model_configs import UnimodalConfig
from qinn.experiment.pretrained import load_transformers
from qinn.experiment.tuning_config import (
    FROZEN_LAYERS,
    KNOWN_KEYS,
    OF_TRANSFORMER,
    Choice,
    Range,
    Space,
    searched,
)
from qinn.model.transformer import PretrainedTransformer

_OF_ABSENCE = frozenset({"form", "dynamics"})
"""On what else than the rates and protocols of absence it depends whether a model can lose steps."""

_WITHOUT_EFFECT = frozenset({"tensorboard", "checkpoint_seconds", "refit"})
"""Keys of `training` on which no trial depends."""


def spaces_of(config: ExperimentConfig, store: Store) -> dict[str, dict[str, Space]]:
    """Return what is searched for each model that has anything to search, known to be possible.

    Args:
        config: The experiment; its section `tune` says what is searched.
        store: Its data.

    Raises:
        ConfigError: If nothing can be searched, a key is unknown, or a value is impossible.
    """
    known = KNOWN_KEYS | set(TrainingConfig.model_fields)
    for key in config.tune.space:
        if key not in known:
            raise ConfigError(f"Key `tune.space` names `{key}`, which no model has{nearest(key, known)}.")
        if key in _WITHOUT_EFFECT:
            raise ConfigError(
                f"Key `tune.space` names `{key}`, which changes nothing on the validation samples; leave it out."
            )
    check_absence_in_training(config, store)
    modalities = config.data.modalities or tuple(store.modalities)
    spaces: dict[str, dict[str, Space]] = {}
    for label, model in config.models.items():
        names = [model.modality] if isinstance(model, UnimodalConfig) else modalities
        is_read = "transformer" in encoder_kinds(config.encoder, names).values()
        transformer = config.encoder_of(label).transformer if is_read else None
        space = searched(model, config.tune, TrainingConfig, transformer=transformer)
        _check_comparable(
            space,
            selection_of(config, label, store)[0],
            is_masked=bool(config.only(label, config.tune.seed).training.selection_rates),
        )
        for key, one in space.items():
            values = (one.low, one.high) if isinstance(one, Range) else one
            for value in values:
                try:
                    with_choices(config, label, {key: value}).only(label, 0)
                except ConfigError as error:
                    raise ConfigError(f"Key `tune.space.{key}` has {value!r}: {error}") from error
            if key == FROZEN_LAYERS:
                _check_frozen(config, label, store, names, values)
        _check_absence(config, label, store, space)
        if space:
            spaces[label] = space
    for key, one in config.tune.space.items():
        if one and not any(key in space for space in spaces.values()):
            reason = ", since none trains a transformer" if key.startswith(OF_TRANSFORMER) else ""
            raise ConfigError(
                f"Key `tune.space` names `{key}`, which no model of the configuration takes{reason}; leave it out."
            )
    if not spaces:
        raise ConfigError(
            "The configuration has no model with anything to tune; name one beside the simplest."
        )
    return spaces


def _check_frozen(
    config: ExperimentConfig, label: str, store: Store, modalities: Sequence[str], values: Sequence[Choice]
) -> None:
    """Refuse to freeze more layers than a model's transformer has, which would fail in every such trial.

    Raises:
        ConfigError: If one of the values is too large, or the transformer cannot be loaded.
    """
    most = max((one for one in values if isinstance(one, int)), default=0)
    encoder = with_choices(config, label, {FROZEN_LAYERS: most}).encoder_of(label)
    if not most or encoder.transformer is None:
        return
    used = {name: one for name, one in modalities_of(store.manifest).items() if name in modalities}
    for transformer in load_transformers(config.models[label], encoder, used).values():
        try:
            PretrainedTransformer(transformer, encoder.transformer.tuning())
        except ArgumentError as error:
            raise ConfigError(f"Key `tune.space.{FROZEN_LAYERS}` has {most}: {error}") from error


def _check_absence(config: ExperimentConfig, label: str, store: Store, space: Mapping[str, Space]) -> None:
    """Refuse choices under which training would have to take steps from a model that cannot lose any.

    Raises:
        ConfigError: Naming the first such choices.
    """
    chosen = {
        key: (one.low, one.high) if isinstance(one, Range) else one
        for key, one in space.items()
        if key in _OF_ABSENCE or key.startswith("absent_")
    }
    for values in itertools.product(*chosen.values()) if chosen else ():
        choices = dict(zip(chosen, values, strict=True))
        try:
            tried = with_choices(config, label, choices).only(label, config.tune.seed)
        except ConfigError:
            continue  # choices that do not fit together: a trial that fails
        try:
            check_absence_in_training(tried, store)
        except ConfigError as error:
            said = ", ".join(f"`{key}` {value}" for key, value in choices.items())
            raise ConfigError(f"Key `tune.space` allows {said}: {error}") from error


def _check_comparable(space: Mapping[str, Space], monitor: str, *, is_masked: bool) -> None:
    """Refuse keys that change what the validation value is a value of.

    Args:
        space: What is searched.
        monitor: The validation value.
        is_masked: Whether something is taken from the validation samples, so that it counts what.

    Raises:
        ConfigError: If there is one.
    """
    of_the_loss = ("loss", "class_weights") if monitor == "valid_loss" else ()
    of_masks = ("absent_protocol", "absent_pattern", "absent_burst", "absent_all") if is_masked else ()
    for key in ("monitor", "selection_rates", *of_the_loss, *of_masks):
        if key in space:
            raise ConfigError(
                f"Key `tune.space` names `{key}`, on which it depends what the values of trials mean, so that they "
                "cannot be compared"
                + (", unless `training.monitor` names a metric" if key in of_the_loss else "; state one")
                + "."
            )


def with_choices(
    config: ExperimentConfig, label: str, choices: Mapping[str, bool | int | float | str]
) -> ExperimentConfig:
    """Return an experiment in which one model has other options.

    Args:
        config: The experiment.
        label: The model.
        choices: Key of the model, ``transformer.KEY`` of its transformer, or else of the training → value.

    Raises:
        ConfigError: If a value is impossible.
    """
    model = config.models[label]
    kind = type(model)
    own = {key: value for key, value in choices.items() if key in kind.model_fields}
    transformer = {
        key.removeprefix(OF_TRANSFORMER): value
        for key, value in choices.items()
        if key.startswith(OF_TRANSFORMER)
    }
    others = {
        key: value for key, value in choices.items() if key not in own and not key.startswith(OF_TRANSFORMER)
    }
    training = {**model.training, **others}
    if "hidden_dim" in own:
        own = {"parameter_budget": None, **own}
    if transformer:
        own = {**own, "transformer": {**model.transformer, **transformer}}
    try:
        changed = kind.model_validate({**model.model_dump(), **own, "training": training})
        TrainingConfig.model_validate({**config.training.model_dump(), **training})
    except ValidationError as error:
        raise ConfigError(f"Model `{label}`: {explain(error, kind)}") from error
    found = config.model_copy(update={"models": {**config.models, label: changed}})
    try:
        found.encoder_of(label)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return found


def selection_of(config: ExperimentConfig, label: str, store: Store) -> tuple[str, str]:
    """Return the validation value that selects a model's epoch, and so its options, and which way is better.

    Args:
        config: The experiment.
        label: The model.
        store: Its data.
    """
    training = resolved_training(config.only(label, config.tune.seed).training, 1)
    return training.options().selection(store.task)
