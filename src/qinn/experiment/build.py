"""The one place that turns configuration into objects."""

import copy
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from qinn.data.stores.manifest import modalities_of
from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import Fold, cross_validation, fixed_fold
from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.config import DataConfig, ExperimentConfig, resolved_training
from qinn.experiment.encoder_config import EncoderConfig, line_of_kinds
from qinn.experiment.model_configs import ConstantConfig, LinearConfig, QiNNConfig, UnimodalConfig
from qinn.model.baselines import BASELINES, Concatenation, Constant, RecurrentStream, count_parameters
from qinn.model.collisions import CollisionFusion, LinearMapStreamFusion, StreamFusion, UnitaryStreamFusion
from qinn.model.encoders import Encoders
from qinn.model.fusion import LinearMapFusion, QuantumFusion
from qinn.model.linear import LinearFusion
from qinn.model.network import QiNN
from qinn.model.rivals.step_baseline import StepBaseline
from qinn.model.transformer import PretrainedTransformer
from qinn.quantum import (
    Evolution,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    LearnableLindbladian,
    NoEvolution,
    QuantumJumps,
    Unitary,
)
from qinn.quantum.collisions.interaction import LARGEST_JOINT_DIM

_WIDEST = 2048
_EVALUATION_SEED = 20251027
# Bound of the expected number of jumps where the configuration names none.
_MOST_JUMPS = 2.0


def build_folds(store: Store, config: DataConfig, *, seed: int) -> list[Fold]:
    """Divide a store's samples the way the configuration asks.

    Raises:
        DataError: If the store cannot be divided so (no folds, a leak of groups between splits …).
        ConfigError: If the store has no such modality.
    """
    for name in config.modalities or ():
        if name not in store.modalities:
            raise ConfigError(
                f"Key `data.modalities` names `{name}`, but store `{store.name}` has {list(store.modalities)}."
            )
    for name in config.pool:
        if name not in (config.modalities or store.modalities):
            raise ConfigError(
                f"Key `data.pool` names `{name}`, but the modalities are {list(config.modalities or store.modalities)}."
            )
        modality = modalities_of(store.manifest)[name]
        if modality.tokenizer is not None or modality.num_words is not None:
            raise ConfigError(
                f"Key `data.pool` names `{name}`, which holds token ids, but these have no mean; leave it out."
            )
    if config.split == "fixed":
        folds = [
            fixed_fold(
                store,
                modalities=config.modalities,
                valid_fraction=config.valid_fraction,
                allow_leak=config.allow_leak,
                seed=seed,
            )
        ]
    else:
        folds = cross_validation(
            store,
            by=config.split,
            modalities=config.modalities,
            valid_fraction=config.valid_fraction,
            seed=seed,
        )
    return [fold.pool(config.pool) for fold in folds] if config.pool else folds


def num_training_samples(store: Store, config: DataConfig) -> int:
    """Return on how many samples a fold trains, whatever the seed: about so many where validation samples are drawn.

    Args:
        store: The samples.
        config: How they are divided.
    """
    if config.split != "fixed":
        parts = len(set(store.strings(config.split).tolist()) - {""})
        return max(1, round(len(store) * (1 - 1 / max(parts, 2)) * (1 - config.valid_fraction)))
    splits = store.categories("split")
    number = len(splits.rows("train"))
    return max(1, number if len(splits.rows("valid")) else round(number * (1 - config.valid_fraction)))


def resolved(config: ExperimentConfig, store: Store) -> ExperimentConfig:
    """Return an experiment of one model with numbers in place of every `auto`, by rules from the size of the data.

    Args:
        config: The experiment.
        store: Its data.
    """
    [model] = config.models.values()
    solved = isinstance(model, LinearConfig)
    training = resolved_training(config.training, num_training_samples(store, config.data), solved=solved)
    return config.model_copy(update={"training": training})


def sequences_of(store: Store, config: DataConfig) -> dict[str, bool]:
    """Return which modalities reach the models as sequences."""
    return {
        name: entry["kind"] == "sequence" and name not in config.pool
        for name, entry in store.manifest["modalities"].items()
    }


def timed_modalities(store: Store, config: DataConfig) -> tuple[str, ...]:
    """Return the modalities whose steps reach the models with their times."""
    return tuple(
        name for name in store.modalities if name not in config.pool and store.times(name) is not None
    )


def build_model(
    config: Any,
    encoder: EncoderConfig,
    *,
    feature_dims: Mapping[str, int],
    sequences: Mapping[str, bool],
    num_outputs: int,
    seed: int,
    transformers: Mapping[str, nn.Module] | None = None,
    timed: Collection[str] = (),
    num_words: Mapping[str, int] | None = None,
    independent: bool = False,
) -> nn.Module:
    """Build a model with freshly drawn weights.

    Args:
        config: One of the model configurations of `qinn.experiment.config`.
        encoder: The experiment's encoder.
        feature_dims: Modality name → number of features, in tensor-product order.
        sequences: Modality name → whether its samples are sequences.
        num_outputs: 1 for regression, number of classes for classification.
        seed: Seed of the initial weights.
        transformers: Modality name → pretrained transformer, of which the model gets a copy (see
            `qinn.experiment.pretrained`).
        timed: Modalities whose steps have times.
        num_words: Modality name → size of its vocabulary, of modalities whose first feature is the id of a word.
        independent: Whether every output is a logit of its own (`Task.is_independent`).

    Raises:
        ConfigError: If the configuration names a modality that the data lacks.
    """
    if (dropout := getattr(config, "dropout", None)) is not None:
        encoder = encoder.model_copy(update={"dropout": dropout, "head_dropout": None})
    build = partial(
        _build,
        config,
        encoder,
        feature_dims=dict(feature_dims),
        sequences=dict(sequences),
        num_outputs=num_outputs,
        transformers=transformers or {},
        timed=not set(timed).isdisjoint(feature_dims),
        num_words=num_words or {},
        independent=independent,
    )
    width = getattr(config, "hidden_dim", None) or encoder.hidden_dim
    if (budget := getattr(config, "parameter_budget", None)) is not None:
        width = _width_for_budget(budget, lambda hidden: _count_new_parameters(build(width=hidden)))
    torch.manual_seed(seed)
    return build(width=width)


def _count_new_parameters(model: nn.Module) -> int:
    """Count what is trained from scratch: a budget is for what models differ in, not for what they all read."""
    pretrained = (module for module in model.modules() if isinstance(module, PretrainedTransformer))
    return count_parameters(model) - sum(count_parameters(module) for module in pretrained)


def _width_for_budget(budget: int, count: Any) -> int:
    """Return the hidden width whose parameter count comes nearest to the budget (bisection: counts grow)."""
    low, high = 1, _WIDEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    width = min((low, high), key=lambda width: abs(count(width) - budget))
    if abs(count(width) - budget) > 0.25 * budget:
        raise ConfigError(
            f"Key `parameter_budget` is {budget}, but the nearest that this model can have is {count(width)} "
            "parameters; choose another budget, or fewer state dimensions, jumps or measurement vectors."
        )
    return width


def _build(
    config: Any,
    encoder: EncoderConfig,
    *,
    width: int,
    feature_dims: dict[str, int],
    sequences: dict[str, bool],
    num_outputs: int,
    transformers: Mapping[str, nn.Module],
    timed: bool,
    num_words: Mapping[str, int],
    independent: bool,
) -> nn.Module:
    if isinstance(config, ConstantConfig):
        return Constant(num_outputs)
    if isinstance(config, LinearConfig):
        return _build_linear(config, encoder, feature_dims, num_outputs, num_words, independent)
    named = encoder.dropout if isinstance(encoder.dropout, dict) else {}
    if unknown := set(named) - set(feature_dims):
        raise ConfigError(
            f"Key `encoder.dropout` must name modalities among {list(feature_dims)}, but it names `{min(unknown)}`."
        )
    if isinstance(config, UnimodalConfig):
        if config.modality not in feature_dims:
            raise ConfigError(
                f"Key `modality` must be one of {list(feature_dims)}, but it is `{config.modality}`."
            )
        feature_dims = {config.modality: feature_dims[config.modality]}
    if getattr(BASELINES.get(config.kind), "scores_only", False) and num_outputs > 1:
        raise ConfigError(
            f"Key `kind` is `{config.kind}`, which learns scores of a regression, but there are {num_outputs} classes "
            "or labels; choose another kind of model."
        )
    if (guide := getattr(config, "guide", None)) not in (None, *feature_dims):
        raise ConfigError(f"Key `guide` must be one of {list(feature_dims)}, but it is `{guide}`.")
    kinds = encoder_kinds(encoder, feature_dims)
    for name in feature_dims:
        if kinds[name] == "embedding" and name not in num_words:
            raise ConfigError(
                f"An encoder of kind `embedding` reads word ids, but modality `{name}` holds none; choose another "
                "kind, or import the texts with `--encode-text words`."
            )
        if kinds[name] != "embedding" and name in num_words:
            raise ConfigError(
                f"Modality `{name}` holds word ids, which an encoder of kind `embedding` alone can read; write "
                f"{line_of_kinds({**kinds, **dict.fromkeys(set(num_words) & set(kinds), 'embedding')})}."
            )
    follows, attends = follows_stream(config), attends_to_steps(config)
    dropout = encoder.dropout_of_heads
    encoders = Encoders(
        feature_dims,
        sequences,
        hidden_dim=width,
        kinds=kinds,
        dropout={name: encoder.dropout_of(name) for name in feature_dims},
        transformers={
            name: _fine_tuned(encoder, name, transformers)
            for name in feature_dims
            if kinds[name] == "transformer"
        },
        token_pooling=encoder.transformer.pooling if encoder.transformer else "attention",
        step_dim=width if attends else encoder.step_dim if follows else None,
        pooled=not attends and getattr(config, "by_pass", True),
        num_words=num_words,
        embedding_dim=encoder.embedding_dim,
    )
    if isinstance(config, UnimodalConfig):
        return Concatenation(encoders, num_outputs=num_outputs, dropout=dropout)
    if isinstance(config, QiNNConfig):
        return QiNN(
            encoders,
            fusion=_build_stream_fusion(config, sequences, tuple(feature_dims))
            if follows
            else _build_fusion(config, tuple(feature_dims)),
            num_outputs=num_outputs,
            num_vectors=config.num_vectors,
            head=config.head,
            per_trajectory=config.per_trajectory,
            dropout=dropout,
            outcome_dropout=config.outcome_dropout,
            lean=config.lean,
        )
    options = config.model_dump(
        exclude={"kind", "hidden_dim", "dropout", "parameter_budget", "training", "transformer"}
    )
    if issubclass(BASELINES[config.kind], RecurrentStream):
        options["timed"] = timed
    baseline = cast("Callable[..., nn.Module]", BASELINES[config.kind])
    return baseline(encoders, num_outputs=num_outputs, dropout=dropout, **options)


def _build_linear(
    config: LinearConfig,
    encoder: EncoderConfig,
    feature_dims: Mapping[str, int],
    num_outputs: int,
    num_words: Mapping[str, int],
    independent: bool,
) -> LinearFusion:
    """Build a linear model of every modality whose features mean something on average."""
    usable = linear_modalities(encoder, feature_dims)
    if not usable:
        raise ConfigError(
            f"A model of kind `linear` reads features, but {list(feature_dims)} hold ids of tokens alone; leave it out."
        )
    return LinearFusion(
        {name: feature_dims[name] for name in usable},
        num_outputs=num_outputs,
        fusion=config.fusion,
        num_words=num_words,
        independent=independent,
    )


def linear_modalities(encoder: EncoderConfig, modalities: Iterable[str]) -> list[str]:
    """Return the modalities that a model of kind `linear` reads: all but those of which a transformer reads ids.

    Args:
        encoder: The experiment's encoder.
        modalities: The modalities, in order.
    """
    return [name for name, kind in encoder_kinds(encoder, modalities).items() if kind != "transformer"]


def follows_stream(config: Any) -> bool:
    """Tell whether a model sees the steps of a sample one after the other.

    Args:
        config: A model's configuration.
    """
    if isinstance(config, QiNNConfig):
        return config.dynamics == "collisions"
    return issubclass(BASELINES.get(getattr(config, "kind", ""), nn.Module), RecurrentStream)


def attends_to_steps(config: Any) -> bool:
    """Tell whether a model attends from steps of a sample to others.

    Args:
        config: A model's configuration.
    """
    return issubclass(BASELINES.get(getattr(config, "kind", ""), nn.Module), StepBaseline)


def uses_times(config: Any) -> bool:
    """Tell whether it changes anything for a model when the steps of a sample happen.

    Args:
        config: A model's configuration.
    """
    return follows_stream(config) and config.form == "factorised"


def _fine_tuned(
    encoder: EncoderConfig, name: str, transformers: Mapping[str, nn.Module]
) -> PretrainedTransformer:
    assert encoder.transformer is not None  # checked by the configuration
    if name not in transformers:
        raise ArgumentError(
            f"Argument `transformers` must have one for `{name}`, but has {list(transformers)}."
        )
    # A copy: every model starts from the pretrained weights, not from what another made of them.
    return PretrainedTransformer(copy.deepcopy(transformers[name]), encoder.transformer.tuning())


def encoder_kinds(encoder: EncoderConfig, modalities: Iterable[str]) -> dict[str, Any]:
    """Return the kind of encoder of each modality.

    Raises:
        ConfigError: If the configuration lacks one.
    """
    if isinstance(encoder.kind, str):
        return dict.fromkeys(modalities, encoder.kind)
    missing = set(modalities) - set(encoder.kind)
    if missing:
        usual = EncoderConfig().kind
        whole = {name: encoder.kind.get(name, usual) for name in modalities}
        raise ConfigError(
            f"Key `encoder.kind` must name every modality, but {sorted(missing)} are missing; write "
            f"{line_of_kinds(whole)}, where `{usual}` is what is taken if nothing is said."
        )
    return {name: encoder.kind[name] for name in modalities}


def state_dims_of(config: QiNNConfig, modalities: Iterable[str]) -> dict[str, int]:
    """Return the state dimension of each modality.

    Args:
        config: A quantum model's configuration.
        modalities: The modalities, in order.

    Raises:
        ConfigError: If the configuration names others.
    """
    names = list(modalities)
    if isinstance(config.state_dims, int):
        return dict.fromkeys(names, config.state_dims)
    if set(config.state_dims) != set(names):
        raise ConfigError(
            f"Key `state_dims` must name exactly the modalities {names}, but it names {list(config.state_dims)}."
        )
    return {name: config.state_dims[name] for name in names}


def _build_stream_fusion(
    config: QiNNConfig, sequences: Mapping[str, bool], modalities: tuple[str, ...]
) -> StreamFusion:
    dims = state_dims_of(config, modalities)
    met = math.prod(dims.values()) if config.form == "joint" else max(dims.values())
    if config.evolution != "linear_map" and config.memory_dim * met > LARGEST_JOINT_DIM:
        form = (
            ""
            if config.form == "factorised"
            else ", or `form: factorised`, in which each modality stands alone"
        )
        raise ConfigError(
            f"Keys `memory_dim` {config.memory_dim} and `state_dims` {dims} make a joint space of "
            f"{config.memory_dim * met} dimensions, but an interaction has at most {LARGEST_JOINT_DIM}; choose smaller "
            f"ones{form}."
        )
    shared: dict[str, Any] = {
        "sequences": {name: sequences[name] for name in modalities},
        "memory_dim": config.memory_dim,
        "form": config.form,
    }
    if config.evolution == "unitary":
        return UnitaryStreamFusion(dims, **shared)
    if config.evolution == "linear_map":
        return LinearMapStreamFusion(dims, **shared)
    relaxation = _build_lindbladian(config, config.memory_dim) if config.relaxation else None
    return CollisionFusion(
        dims, **shared, absent_state=config.absent_state, relaxation=relaxation, time=config.time
    )


def _build_lindbladian(config: QiNNConfig, dim: int) -> LearnableLindbladian:
    return LearnableLindbladian(
        dim,
        0 if config.evolution == "unitary" else config.num_jumps,
        hamiltonian_scale=config.hamiltonian_scale,
        jump_scale=config.jump_scale,
        max_rate=_max_rate(config),
    )


def _build_fusion(config: QiNNConfig, modalities: tuple[str, ...]) -> QuantumFusion | LinearMapFusion:
    dims = state_dims_of(config, modalities)
    if config.evolution == "linear_map":
        return LinearMapFusion(dims)
    without = config.evolution == "none"
    lindbladian = None if without else _build_lindbladian(config, math.prod(dims.values()))
    training, evaluation = _evolutions(config)
    return QuantumFusion(
        dims,
        lindbladian=lindbladian,
        evolution=training,
        evaluation_evolution=evaluation,
        time=config.time,
        steps=config.steps,
        absent_state=config.absent_state,
    )


def _max_rate(config: QiNNConfig) -> float | None:
    """Return the bound of the total jump rate; None for none."""
    if config.max_rate == "unbounded" or config.time == 0:
        return None
    return config.max_rate or _MOST_JUMPS / config.time


def _evolutions(config: QiNNConfig) -> tuple[Evolution, Evolution]:
    """Return the evolutions of training and of evaluation mode."""
    tolerance, few, many = config.tolerance, config.num_trajectories, config.num_evaluation_trajectories
    jumps = QuantumJumps(many, seed=_EVALUATION_SEED)
    if config.evolution == "jumps":
        return QuantumJumps(few), jumps if config.per_trajectory else Heisenberg(tolerance)
    if config.evolution == "gumbel":
        return GumbelJumps(few), jumps
    if config.evolution == "hybrid":
        hybrid = Hybrid(many, config.sampled, tolerance=tolerance, seed=_EVALUATION_SEED)
        return Hybrid(few, config.sampled, tolerance=tolerance), hybrid
    simple: dict[str, Evolution] = {
        "exact": ExactChannel(tolerance),
        "heisenberg": Heisenberg(tolerance),
        "unitary": Unitary(),
        "none": NoEvolution(),
    }
    return simple[config.evolution], simple[config.evolution]
