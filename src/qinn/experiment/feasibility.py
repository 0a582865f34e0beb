"""What a configuration will need at least, so that the impossible is refused before anything is built."""

import math
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from qinn.data.subsets.subset import Subset
from qinn.errors import ConfigError
from qinn.experiment.build import attends_to_steps, build_model, follows_stream, state_dims_of, uses_times
from qinn.experiment.config import ExperimentConfig
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import ConstantConfig, LinearConfig, QiNNConfig, UnimodalConfig
from qinn.resources import available_memory, shown_size
from qinn.training.device import training_device

_COMPLEX_BYTES = 8
_REAL_BYTES = 4
_COPIES = 4
"""Of a trained number there are itself, its gradient and two moments of the optimizer."""

_KETS = 6
_RECORD_BYTES = 128
"""What a trajectory was measured to need at least: so many kets, thrice its probabilities, and its record of jumps and
what a head makes of it; in training, where the way back is kept, twice as much."""

_PREDICTED_AT_ONCE = 256
_MOST_TURNS = 1000.0
_THREADS_PER_CORE = 8
_FEW_THREADS = 64


def check_feasible(
    config: ExperimentConfig,
    *,
    feature_dims: Mapping[str, int],
    sequences: Mapping[str, bool],
    num_outputs: int,
    num_words: Mapping[str, int] | None = None,
    num_samples: int | None = None,
    longest: Mapping[str, int] | None = None,
    training: bool = True,
) -> None:
    """Refuse a run that needs more memory, work or hardware than there is.

    Args:
        config: An experiment with one model (see `ExperimentConfig.only`).
        feature_dims: Modality name → number of features.
        sequences: Modality name → whether its samples are sequences.
        num_outputs: Width of the output.
        num_words: Modality name → size of its vocabulary, of modalities with word ids.
        num_samples: How many samples there are; None where that is not known.
        longest: Modality name → most steps of a sample; None where that is not known.
        training: Whether the model is to be trained, not only used.

    Raises:
        ConfigError: Naming the key, what it would need and what there is.
    """
    model = next(iter(config.models.values()))
    if training:
        check_machine(config)
    if isinstance(model, ConstantConfig):
        return
    if isinstance(model, QiNNConfig):
        _check_turns(model)
    most, copies = available_memory(), _COPIES if training else 1
    needs = memory_needs(
        config,
        feature_dims=feature_dims,
        num_words=num_words,
        num_samples=num_samples,
        longest=longest,
        training=training,
    )
    _compare(needs, most)
    if isinstance(model, LinearConfig):
        return
    counted = _num_parameters(model, config.encoder, feature_dims, sequences, num_outputs, num_words)
    _compare({f"{_widths(model)} give {counted:,} parameters": copies * _REAL_BYTES * counted}, most)


def memory_needs(
    config: ExperimentConfig,
    *,
    feature_dims: Mapping[str, int],
    num_words: Mapping[str, int] | None = None,
    num_samples: int | None = None,
    longest: Mapping[str, int] | None = None,
    training: bool = True,
) -> dict[str, int]:
    """Return what takes memory beside the parameters of encoders and heads, and how many bytes at least.

    Args:
        config: As of `check_feasible`, and so the rest.
        feature_dims: Modality name → number of features.
        num_words: Modality name → size of its vocabulary.
        num_samples: How many samples there are.
        longest: Modality name → most steps of a sample.
        training: Whether the model is to be trained.
    """
    model, copies = next(iter(config.models.values())), _COPIES if training else 1
    if isinstance(model, LinearConfig):
        return _linear_needs(feature_dims, num_words or {}, (num_samples or 1) if training else 1)
    names = [model.modality] if isinstance(model, UnimodalConfig) else list(feature_dims)
    batch = min(config.training.batch_size, num_samples or 1) if training else 1
    evaluated = min(_PREDICTED_AT_ONCE, num_samples or 1)
    steps = {name: (longest or {}).get(name, 1) for name in names}
    if attends_to_steps(model):
        return _attention_needs(model, config.encoder, steps, batch if training else evaluated, training)
    if follows_stream(model):
        return _stream_needs(model, config.encoder.step_dim, steps, max(batch, evaluated), copies)
    return _quantum_needs(model, names, batch, evaluated, copies) if isinstance(model, QiNNConfig) else {}


def check_steps(config: ExperimentConfig, parts: Sequence[Subset], *, sequences: Mapping[str, bool]) -> None:
    """Refuse steps that do not go together: different numbers of them, or times of some modalities alone.

    A model in which modalities step together needs equally many steps of each; one in which each has steps of its own
    needs their times for all sequences or for none.

    Args:
        config: An experiment with one model.
        parts: The samples, of one or several subsets with the same modalities.
        sequences: Modality name → whether its samples are sequences.

    Raises:
        ConfigError: Naming the first such sample or modality.
    """
    model = next(iter(config.models.values()))
    if uses_times(model):
        for part in parts:
            _check_timed(part, sequences)
    if not steps_together(model):
        return
    for part in parts:
        lengths = {name: part.lengths(name) for name in part.modalities if sequences[name]}
        for position, counts in enumerate(zip(*lengths.values(), strict=True)):
            present = {name: int(count) for name, count in zip(lengths, counts, strict=True) if count}
            if len(set(present.values())) > 1:
                raise ConfigError(
                    f"Key `form` is `joint`, but sample `{part.ids[position]}` has "
                    f"{' and '.join(f'{count} steps of `{name}`' for name, count in present.items())}; set "
                    "`form: factorised`, or align the modalities when the data are imported."
                )


def steps_together(model: Any) -> bool:
    """Tell whether all modalities of a sample have to have equally many steps.

    Args:
        model: A model's configuration.
    """
    return follows_stream(model) and model.form == "joint"


def check_single_steps(
    label: str, model: Any, losing: Collection[str], *, sequences: Mapping[str, bool]
) -> None:
    """Refuse to take single steps away from a model in which several sequences step together.

    Args:
        label: The model's.
        model: Its configuration.
        losing: Modalities of which single steps go, so that there are fewer.
        sequences: Modality → whether its samples are sequences, of those that the model sees.

    Raises:
        ConfigError: If it would lose some.

    Examples:
        >>> from qinn.experiment.model_configs import parse_model
        >>> model = parse_model("a", {"kind": "gru_stream", "form": "joint"})
        >>> check_single_steps("a", model, ["text"], sequences={"text": True, "audio": False})
    """
    if not steps_together(model) or sum(sequences.values()) < 2:
        return
    if any(sequences.get(name, False) for name in losing):
        raise ConfigError(
            f"Model `{label}` cannot lose single steps, since under `form: joint` all modalities step together; take "
            "`form: factorised`, or a protocol of whole modalities (`whole` or `keep-one`)."
        )


def _check_timed(part: Subset, sequences: Mapping[str, bool]) -> None:
    for name in part.modalities:
        if part.timed and name not in part.timed and sequences[name] and part.lengths(name).any():
            raise ConfigError(
                f"Key `form` is `factorised`, but the store says when the steps of `{part.timed[0]}` happen and not "
                f"those of `{name}`; import `{name}` with its times, or name it in `data.pool`."
            )


def check_machine(config: ExperimentConfig) -> None:
    """Refuse a device that is not there and far more threads than cores.

    Args:
        config: The experiment.

    Raises:
        ConfigError: Naming the key and what there is.
    """
    if config.training.device == "gpu" and training_device("auto").type == "cpu":
        raise ConfigError(
            "Key `training.device` is `gpu`, but torch finds no GPU on this machine; choose `cpu` or `auto`."
        )
    cores = os.cpu_count() or 1
    most = max(_FEW_THREADS, _THREADS_PER_CORE * cores)
    if config.threads > most:
        raise ConfigError(
            f"Key `threads` is {config.threads}, but this machine has {cores} cores; choose at most {most}."
        )


def _check_turns(model: QiNNConfig) -> None:
    """Refuse more turns and jumps than any evolution can follow in sensible time."""
    if model.evolution in ("none", "linear_map") or (model.dynamics == "collisions" and not model.relaxation):
        return
    turns = model.time * (model.hamiltonian_scale + model.jump_scale)
    if turns > _MOST_TURNS:
        raise ConfigError(
            f"Keys `time` {model.time:g}, `hamiltonian_scale` {model.hamiltonian_scale:g} and `jump_scale` "
            f"{model.jump_scale:g} ask for about {turns:.3g} turns and jumps of every state, but at most "
            f"{_MOST_TURNS:g} are computed; choose a shorter time or smaller scales."
        )


def _quantum_needs(
    model: QiNNConfig, names: list[str], batch: int, evaluated: int, copies: int
) -> dict[str, int]:
    """What → bytes at least, for the operators and states of a quantum model."""
    given = model.state_dims
    dims = [given if isinstance(given, int) else given.get(name, 1) for name in names]
    dim = math.prod(dims)
    size = f"`state_dims` give the joint dimension {dim:,}"
    needs: dict[str, int] = {size: dim * _COMPLEX_BYTES * (batch + evaluated)}
    if model.evolution == "none":
        return needs
    operators = 1 if model.evolution in ("unitary", "linear_map") else 1 + 2 * model.num_jumps
    needs[f"{size} and `num_jumps` {operators:,} operators of that size"] = (
        operators * dim**2 * (_REAL_BYTES * copies + _COMPLEX_BYTES)
    )
    if model.evolution == "exact":
        needs[f"{size} and with it a density for each of {max(batch, evaluated):,} samples"] = (
            2 * max(batch, evaluated) * dim**2 * _COMPLEX_BYTES
        )
    if model.evolution == "heisenberg":
        needs[f"`num_vectors` give {model.num_vectors:,} observables of the joint dimension {dim:,}"] = (
            2 * model.num_vectors * dim**2 * _COMPLEX_BYTES
        )
    if model.evolution in ("jumps", "gumbel", "hybrid"):
        each = _KETS * dim * _COMPLEX_BYTES + 3 * model.num_vectors * _REAL_BYTES + _RECORD_BYTES
        for key, samples, count in (
            ("num_trajectories", batch, model.num_trajectories),
            ("num_evaluation_trajectories", evaluated, model.num_evaluation_trajectories),
        ):
            passes = 2 if copies > 1 and key == "num_trajectories" else 1
            needs[f"`{key}` give {samples:,} × {count:,} states of the joint dimension {dim:,}"] = (
                passes * samples * count * each
            )
    return needs


def _linear_needs(dims: Mapping[str, int], num_words: Mapping[str, int], samples: int) -> dict[str, int]:
    """What → bytes at least: the features of all samples in double precision, and copies that a fold needs."""
    width = sum(dim + num_words.get(name, 0) for name, dim in dims.items())
    return {f"`kind: linear` and {width:,} features of {samples:,} samples": 3 * 8 * width * samples}


def _stream_needs(
    model: Any, step_dim: int, steps: Mapping[str, int], samples: int, copies: int
) -> dict[str, int]:
    """What → bytes at least, for what a model keeps of every step, and for its maps."""
    together = max if model.form == "joint" else sum
    events, D = together(steps.values()), model.memory_dim
    size = f"`memory_dim` {D:,} and sequences of up to {events:,} steps in all"
    every_step = samples * sum(steps.values()) * step_dim * _REAL_BYTES
    if not isinstance(model, QiNNConfig):
        return {size: every_step + samples * events * D * _REAL_BYTES}
    dims = state_dims_of(model, steps)
    kept = samples * sum(count * dims[name] for name, count in steps.items()) * _COMPLEX_BYTES
    needs = {
        f"{size}, with states of {list(dims.values())} dimensions": every_step
        + kept
        + samples * events * D**2 * _COMPLEX_BYTES
    }
    if model.evolution == "linear_map":
        met = math.prod(dims.values()) if model.form == "joint" else max(dims.values())
        needs[f"`memory_dim` and `state_dims` {met:,} maps of {D} × {D}"] = (
            met * (D**2 * copies + samples * events) * _COMPLEX_BYTES
        )
    return needs


def _attention_needs(
    model: Any, encoder: EncoderConfig, steps: Mapping[str, int], samples: int, training: bool
) -> dict[str, int]:
    """What → bytes at least, for what a step of training keeps of each layer: states, and with dropout weights."""
    longest = max(min(count, model.max_steps) for count in steps.values())
    layers = model.num_layers if training else 1
    width = model.hidden_dim or (1 if model.parameter_budget else encoder.hidden_dim)
    dropped = training and (encoder.dropout_of_heads if model.dropout is None else model.dropout) > 0
    each = longest * width + dropped * model.num_heads * longest**2
    return {
        f"`max_steps` and `num_layers` leave sequences of up to {longest:,} steps in {layers:,} layers, with "
        f"`num_heads` {model.num_heads:,} weights of each pair of steps": samples
        * layers
        * each
        * _REAL_BYTES
    }


def _num_parameters(
    model: Any,
    encoder: EncoderConfig,
    feature_dims: Mapping[str, int],
    sequences: Mapping[str, bool],
    num_outputs: int,
    num_words: Mapping[str, int] | None,
) -> int:
    """Count the numbers of a model's encoders and heads by building it where no memory is taken."""
    if isinstance(model, QiNNConfig) and not follows_stream(model):
        model = model.model_copy(update={"evolution": "none"})
    budget = getattr(model, "parameter_budget", None)
    if budget is not None:
        return int(budget)
    kinds = encoder.kind if isinstance(encoder.kind, dict) else dict.fromkeys(feature_dims, encoder.kind)
    # A pretrained transformer has the size that it has; what is asked about is what the configuration chooses.
    light = {name: "statistics" if kind == "transformer" else kind for name, kind in kinds.items()}
    encoder = encoder.model_copy(update={"kind": light, "transformer": None})
    with torch.device("meta"), _Unfilled():
        built = build_model(
            model,
            encoder,
            feature_dims=feature_dims,
            sequences=sequences,
            num_outputs=num_outputs,
            seed=0,
            num_words=num_words,
        )
    return sum(parameter.numel() for parameter in built.parameters())


class _Unfilled(TorchFunctionMode):
    """Leaves out normal random numbers: for tensors without memory torch imports 40 MB of packages to make them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func is torch.Tensor.normal_ and args[0].is_meta:
            return args[0]
        # What states its device has memory, and is computed with.
        if func is torch.randn and "device" not in given:
            given.pop("generator", None)
            func = torch.empty
        return func(*args, **given)


def _widths(model: Any) -> str:
    own = ("num_vectors", "state_dims", "factor_dim", "rank", "memory_dim", "num_layers", "num_heads")
    return ", ".join(
        f"`{name}`" for name in ("hidden_dim", *own) if name == "hidden_dim" or hasattr(model, name)
    )


def _compare(needs: Mapping[str, int], most: int) -> None:
    for what, size in needs.items():
        if size > most:
            raise ConfigError(
                f"Keys {what}, for which {shown_size(size)} of memory are needed or more, but {shown_size(most)} are "
                "the most that this process can have; choose smaller ones."
            )
