"""The section `tune` of a configuration: what is searched, how long, and what each model takes of it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from qinn.experiment.encoder_config import TransformerConfig
from qinn.experiment.key_errors import explain
from qinn.experiment.model_configs import BASELINE_CONFIGS, QiNNConfig, Strict

_End = Annotated[int, Field(ge=-(10**12), le=10**12)] | Annotated[float, Field(ge=-1e12, le=1e12)]
Choice = bool | _End | str
"""What can be chosen for a key."""


class Range(Strict):
    """Numbers from one to another: whole ones where both ends are."""

    low: _End = Field(description="Smallest value")
    high: _End = Field(description="Largest value")
    log: bool = Field(default=False, description="Whether every factor counts alike, not every difference")

    @model_validator(mode="after")
    def _rises(self) -> "Range":
        if not self.low < self.high or (self.log and not self.low > 0):
            raise ValueError(
                "`low` must be below `high`, and above 0 where `log` is true, but they are "
                f"{self.low} and {self.high}"
            )
        return self


Space = Range | tuple[Choice, ...]

DEFAULT_SPACE: Mapping[str, Space] = {
    "learning_rate": Range(low=3e-4, high=1e-2, log=True),
    "weight_decay": Range(low=1e-3, high=10.0, log=True),
    "dropout": Range(low=0.0, high=0.6),
    "hidden_dim": (16, 32, 64, 128),
    "num_vectors": (8, 16, 32, 64),
    "state_dims": (2, 3, 4),
    "factor_dim": (4, 8, 16),
    "rank": (2, 4, 8),
    "num_layers": (1, 2, 4),
    "num_tokens": (4, 8, 16),
    "similarity_weight": Range(low=0.1, high=1.0),
    "difference_weight": Range(low=0.1, high=1.0),
    "reconstruction_weight": Range(low=0.1, high=1.0),
}
"""Key → what is searched where a configuration says nothing; a model takes the keys that it has."""


class TuneConfig(Strict):
    """How `qinn tune` searches."""

    trials: int = Field(
        default=20, ge=1, le=100_000, description="Trainings of each model, its own configuration the first"
    )
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="Seed of the search, and of every trial's training"
    )
    space: dict[str, Space] = Field(
        default_factory=dict,
        description="Key of a model or of `training`, or `transformer.KEY` for one of `encoder.transformer` → a list "
        "of choices, or a mapping with `low`, `high` and `log`; in place of the default's, and `[]` for a key that is "
        "not to be searched",
    )
    folds: int = Field(
        default=1, ge=1, le=10_000, description="Of a cross-validation, on how many folds each trial trains"
    )
    allow_overlap: bool = Field(
        default=False,
        description="Accept a cross-validation, in which samples that choose in one fold are tested in another",
    )

    @field_validator("space", mode="before")
    @classmethod
    def _name_keys_of_ranges(cls, value: Any) -> Any:
        # A range does not know whose it is.
        if not isinstance(value, Mapping):
            return value
        return {key: _range_of(key, one) if isinstance(one, Mapping) else one for key, one in value.items()}


def _range_of(key: object, given: Mapping[Any, Any]) -> Range:
    try:
        return Range.model_validate(given)
    except ValidationError as error:
        raise ValueError(f"key `tune.space.{key}`: {explain(error, Range)}") from error


OF_TRANSFORMER = "transformer."
"""What a key of the encoder's transformer begins with."""

FROZEN_LAYERS = f"{OF_TRANSFORMER}frozen_layers"


def searched(
    model: Any, settings: TuneConfig, training: type[Strict], *, transformer: TransformerConfig | None
) -> dict[str, Space]:
    """Return what is searched for one model.

    A key that the model has is the model's, any other one of the training. State dimensions that differ by modality,
    and the width of a model with a parameter budget, are left as they are unless the configuration names them. Of a
    transformer that stays as it is in every trial, nothing is searched that says how it is trained.

    Args:
        model: Its configuration.
        settings: The section `tune`.
        training: What checks the section `training`.
        transformer: The transformer that reads one of its modalities; None where none does.
    """
    if not hasattr(model, "training"):
        return {}
    fields = type(model).model_fields
    of_transformer = frozenset[str]() if transformer is None else _TRANSFORMER_KEYS
    if transformer is not None and _stays_frozen(transformer, settings.space):
        of_transformer -= _OF_ITS_TRAINING
    found: dict[str, Space] = {}
    for key, space in {**DEFAULT_SPACE, **settings.space}.items():
        named = key in settings.space
        if not space or not (key in fields or key in training.model_fields or key in of_transformer):
            continue
        if not named and key == "state_dims" and not isinstance(model.state_dims, int):
            continue
        if not named and key == "hidden_dim" and model.parameter_budget is not None:
            continue
        found[key] = space
    return found


def _stays_frozen(transformer: TransformerConfig, space: Mapping[str, Space]) -> bool:
    """Whether a transformer is frozen as a whole in every trial that chooses something."""
    chosen = space.get(FROZEN_LAYERS) or (transformer.frozen_layers,)
    return not isinstance(chosen, Range) and set(chosen) == {"all"}


_TRANSFORMER_KEYS = frozenset(
    OF_TRANSFORMER + key for key in TransformerConfig.model_fields if key != "model"
)
_OF_ITS_TRAINING = frozenset(
    OF_TRANSFORMER + key
    for key in ("learning_rate", "weight_decay", "layer_decay", "frozen_embeddings", "dropout", "precision")
)
"""What changes nothing where the whole transformer is frozen."""

KNOWN_KEYS = _TRANSFORMER_KEYS | frozenset(
    key
    for kind in (QiNNConfig, *BASELINE_CONFIGS.values())
    for key in kind.model_fields
    if key not in ("kind", "training", "transformer")
)
"""Every key of a model, and of its transformer, that can be searched."""
