"""What each kind of model can be told in a configuration, and which of it goes together."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from qinn.experiment.docstring_options import stated_options
from qinn.experiment.key_errors import explain, nearest
from qinn.experiment.plain_types import plain
from qinn.model.baselines import BASELINES
from qinn.model.fusion import AbsentState
from qinn.model.linear import LinearForm
from qinn.model.readout import HeadKind
from qinn.model.streams import StreamForm

EvolutionKind = Literal["jumps", "exact", "heisenberg", "unitary", "none", "linear_map", "gumbel", "hybrid"]
DynamicsKind = Literal["pooled", "collisions"]

EVOLUTIONS_OF: dict[str, tuple[str, ...]] = {
    "pooled": get_args(EvolutionKind),
    "collisions": ("exact", "unitary", "linear_map"),
}
"""The legal pairs of `dynamics` and `evolution`."""

# What only a stream has; a value other than the default means nothing where states are pooled.
_OF_STREAMS = ("memory_dim", "form", "relaxation", "by_pass")
# What streams have no use for, and what they have none for without relaxation.
_OF_POOLED = ("sampled", "steps", "num_trajectories", "num_evaluation_trajectories", "per_trajectory")
_OF_LINDBLADIANS = ("num_jumps", "time", "hamiltonian_scale", "jump_scale", "max_rate")

MOST_WIDE = 2**16
"""Widest vector inside a model that can be asked for; what it needs is estimated before it is built."""

StateDim = Annotated[int, Field(ge=1, le=4096)]


class Strict(BaseModel):
    """Unknown keys are errors; a configuration never changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _take_plain_types(cls, value: Any, info: Any) -> Any:
        return plain(value, cls.model_fields[info.field_name].annotation)


class ModelConfig(Strict):
    """What every trained model can be given."""

    hidden_dim: int | None = Field(
        default=None,
        ge=1,
        le=MOST_WIDE,
        description="Width of this model's hidden vectors (default: the encoder's)",
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Dropout of this model's encoders and heads (default: as the encoder says)",
    )
    parameter_budget: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Choose the width whose parameter count comes nearest to this",
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Training options in which this model differs from the experiment's"
    )
    transformer: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the encoder's transformer in which this model differs from the experiment's",
    )

    @model_validator(mode="after")
    def _one_width(self) -> "ModelConfig":
        if self.hidden_dim is not None and self.parameter_budget is not None:
            raise ValueError("give either `hidden_dim` or `parameter_budget`, not both")
        return self


class QiNNConfig(ModelConfig):
    """QiNN-QJ and its ablations (another `evolution`), once per sample or along the stream (`dynamics`)."""

    kind: Literal["qinn"] = "qinn"
    dynamics: DynamicsKind = Field(
        default="pooled",
        description="pooled: one evolution of each sample's pooled states; collisions: at every step the states meet a "
        "small memory",
    )
    memory_dim: int = Field(default=4, ge=2, le=16, description="collisions: dimension of the memory")
    form: StreamForm = Field(
        default="factorised",
        description="collisions: factorised: each modality at times of its own; joint: all modalities step together",
    )
    relaxation: bool = Field(
        default=False,
        description="collisions: learned dissipation between the steps (`num_jumps`, `time` …), factorised only",
    )
    by_pass: bool = Field(
        default=True, description="collisions: whether the head sees the pooled hidden vectors too"
    )
    state_dims: StateDim | dict[str, StateDim] = Field(
        default=4, description="State dimension of each modality"
    )
    evolution: EvolutionKind = Field(
        default="jumps",
        description="jumps: sampled trajectories; exact: densities; heisenberg: exact probabilities; unitary; "
        "none: product state; linear_map: the unitary-like map that the paper criticises; gumbel: biased relaxation; "
        "hybrid: sampled at first, then exact probabilities. With collisions: exact: the channel; unitary: the memory "
        "turns, nothing is thrown away; linear_map: a free map and the norm at every step",
    )
    sampled: float = Field(default=0.5, ge=0, le=1, description="Part of the time that `hybrid` samples")
    num_jumps: int = Field(default=2, ge=0, le=4096, description="Number K of learned jump operators")
    time: float = Field(default=1.0, ge=0, le=1e6, description="Evolution time T (ħ = 1)")
    steps: int = Field(default=16, ge=1, le=10**5, description="Number of steps N")
    num_trajectories: int = Field(
        default=4, ge=1, le=10**6, description="Trajectories per sample in training"
    )
    num_evaluation_trajectories: int = Field(
        default=32,
        ge=1,
        le=10**6,
        description="Trajectories per sample in evaluation (the same draws for every sample)",
    )
    hamiltonian_scale: float = Field(
        default=1.0,
        ge=0,
        le=1e6,
        description="Size of the Hamiltonian before training, as an angle per unit of time",
    )
    jump_scale: float = Field(
        default=0.5, ge=0, le=1e6, description="Jumps expected per unit of time before training"
    )
    max_rate: Annotated[float, Field(gt=0, le=1e12)] | Literal["unbounded"] | None = Field(
        default=None,
        description="Bound of the total jump rate, whatever is learned (default: 2/`time`); unbounded: none",
    )
    tolerance: Annotated[float, Field(ge=1e-8, le=0.1)] | None = Field(
        default=None,
        description="Largest error of exact, heisenberg and hybrid evolutions, relative to what is evolved (default: "
        "1e-6 in single precision)",
    )
    num_vectors: int = Field(default=16, ge=1, le=10**6, description="Number J of measurement vectors")
    head: HeadKind = Field(
        default="mlp",
        description="From the measured probabilities to the prediction: linear, or mlp with one hidden layer",
    )
    outcome_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Dropout of the measured probabilities before the head"
    )
    lean: float = Field(
        default=2.0,
        ge=-1e3,
        le=1e3,
        description="How far the state of every modality leans towards its first basis state before training",
    )
    per_trajectory: bool = Field(
        default=True,
        description="Head and loss see each trajectory; false: the probabilities averaged over them",
    )
    absent_state: AbsentState = Field(
        default="mixed",
        description="State of an absent modality: mixed: maximally mixed; prior: a learned density, which starts there",
    )

    @property
    def idle_keys(self) -> tuple[str, ...]:
        """Keys that have another value than by default, and that collisions have no use for."""
        if self.dynamics == "pooled":
            return ()
        idle = _OF_POOLED if self.relaxation else (*_OF_POOLED, *_OF_LINDBLADIANS)
        return tuple(key for key in idle if self._is_changed(key))

    def _is_changed(self, key: str) -> bool:
        return getattr(self, key) != type(self).model_fields[key].default

    @model_validator(mode="after")
    def _legal_pair(self) -> "QiNNConfig":
        legal = EVOLUTIONS_OF[self.dynamics]
        if self.evolution not in legal:
            given = "" if "evolution" in self.model_fields_set else " by default"
            raise ValueError(
                f"`evolution` must be one of {', '.join(legal)} under `dynamics: {self.dynamics}`, but it is "
                f"`{self.evolution}`{given}; set `evolution: {legal[0]}`"
                f"{' for the collision model' if self.dynamics == 'collisions' else ''}"
            )
        return self

    @model_validator(mode="after")
    def _tolerance_of_series(self) -> "QiNNConfig":
        has_series = self.evolution in ("exact", "heisenberg", "hybrid") or (
            self.evolution == "jumps" and not self.per_trajectory
        )
        if self.tolerance is not None and (self.dynamics == "collisions" or not has_series):
            raise ValueError(
                "`tolerance` is that of a series, which `exact`, `heisenberg` and `hybrid` evolutions of pooled states "
                "have, and the evaluation of `jumps` with `per_trajectory: false`; remove the key"
            )
        return self

    @model_validator(mode="after")
    def _keys_of_streams(self) -> "QiNNConfig":
        if self.dynamics == "pooled":
            for key in _OF_STREAMS:
                if self._is_changed(key):
                    raise ValueError(
                        f"`{key}` means something under `dynamics: collisions` only; set that, or remove the key"
                    )
        elif self.relaxation and (self.form == "joint" or self.evolution != "exact" or not self.time > 0):
            raise ValueError(
                "`relaxation` needs `evolution: exact`, `form: factorised` and a `time` above 0: it makes densities of "
                "what lies between steps at times of their own"
            )
        return self

    @model_validator(mode="after")
    def _prior_needs_mixtures(self) -> "QiNNConfig":
        if self.absent_state == "prior" and self.evolution == "linear_map":
            raise ValueError("`absent_state: prior` is a mixture, and the linear map knows pure states only")
        has_priors = self.form == "joint" and self.evolution == "exact"
        if self.absent_state == "prior" and self.dynamics == "collisions" and not has_priors:
            raise ValueError(
                "`absent_state: prior` needs `form: joint` and `evolution: exact` under `dynamics: collisions`: in the "
                "factorised form an absent modality has no steps, and nothing stands for it"
            )
        return self


class ConstantConfig(Strict):
    """The training mean or the training class frequencies."""

    kind: Literal["constant"] = "constant"


class LinearConfig(Strict):
    """Ridge or logistic regression of the means of all modalities' steps, its penalty chosen by folds of training."""

    kind: Literal["linear"] = "linear"
    fusion: LinearForm = Field(
        default="early",
        description="early: one model of all features side by side; late: one of each modality, averaged; stacked: one "
        "of each modality, weighted by a further one, which is fitted to what they predict of samples left out",
    )


class UnimodalConfig(ModelConfig):
    """One modality alone."""

    kind: Literal["unimodal"] = "unimodal"
    modality: str = Field(description="Which modality")


_MOST_WEIGHT = 1e6
_MOST = {"num_layers": 16}
# The classes do not know where their arguments come from.
_FOUND = {"timed": "Whether the data say when steps happen; always taken from the data, so leave it out"}


def _baseline_config(kind: str, model: type) -> type[ModelConfig]:
    """Derive a baseline's configuration from its constructor, so that its options are stated once."""
    fields: dict[str, Any] = {"kind": (Literal[kind], kind)}
    stated = {**stated_options(model), **_FOUND}
    for name, parameter in inspect.signature(model).parameters.items():
        if name not in ("encoders", "num_outputs", "dropout"):
            counted = parameter.annotation is int
            most = _MOST.get(name, MOST_WIDE)
            annotation = Annotated[int, Field(ge=1, le=most)] if counted else parameter.annotation
            if annotation is float:
                annotation = Annotated[float, Field(ge=0, le=_MOST_WEIGHT)]
            fields[name] = (annotation, Field(default=parameter.default, description=stated[name]))
    return create_model(f"{model.__name__}Config", __base__=ModelConfig, __doc__=model.__doc__, **fields)


BASELINE_CONFIGS = {kind: _baseline_config(kind, model) for kind, model in BASELINES.items()}
MODEL_CONFIGS: dict[str, type[BaseModel]] = {
    "qinn": QiNNConfig,
    "constant": ConstantConfig,
    "linear": LinearConfig,
    "unimodal": UnimodalConfig,
    **BASELINE_CONFIGS,
}


def parse_model(label: str, value: Any) -> BaseModel:
    """Check the entry of one model.

    Args:
        label: Its label, for messages.
        value: What the configuration holds; a model that was checked before is taken as it is.

    Returns:
        The configuration of its kind.

    Raises:
        ValueError: If the kind is unknown, or a key or value does not fit it.
    """
    if isinstance(value, BaseModel):
        return value
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in MODEL_CONFIGS:
        raise ValueError(
            f"model `{label}` must have a `kind` among {list(MODEL_CONFIGS)}, but it has `{kind}`"
            f"{nearest(str(kind), MODEL_CONFIGS)}"
        )
    try:
        return MODEL_CONFIGS[kind].model_validate(value)
    except ValidationError as error:
        raise ValueError(f"model `{label}`: {explain(error, MODEL_CONFIGS[kind])}") from error
