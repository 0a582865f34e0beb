"""The keys of the encoder, and of a pretrained transformer in it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from qinn.experiment.model_configs import MOST_WIDE, Strict
from qinn.model.encoders import EncoderKind, TokenPooling
from qinn.model.transformer import FineTuning, Precision

DROPOUT = 0.2
"""Dropout where none is given."""

DropoutRate = Annotated[float, Field(ge=0, lt=1)]


class TransformerConfig(Strict):
    """A pretrained transformer that reads a modality's token ids, and how it is trained along."""

    model: str = Field(
        min_length=1,
        description="Its weights: minilm, mpnet, hub:NAME or folder:PATH, as given to `--encode-text`",
    )
    learning_rate: float = Field(
        default=FineTuning.learning_rate, gt=0, le=1e3, description="Peak learning rate of its last layer"
    )
    weight_decay: float = Field(
        default=FineTuning.weight_decay, ge=0, le=1e6, description="Weight decay of its matrices"
    )
    layer_decay: float = Field(
        default=FineTuning.layer_decay,
        gt=0,
        le=1,
        description="Learning rate of each layer as a multiple of that of the layer above it",
    )
    frozen_layers: Annotated[int, Field(ge=0, le=10_000)] | Literal["all"] = Field(
        default=FineTuning.frozen_layers, description="How many layers, from below, are not trained; or `all`"
    )
    frozen_embeddings: bool = Field(
        default=FineTuning.frozen_embeddings, description="Whether the embeddings are not trained"
    )
    dropout: float | None = Field(
        default=FineTuning.dropout,
        ge=0,
        lt=1,
        description="Dropout inside it (default: that of its pretraining)",
    )
    precision: Precision = Field(
        default=FineTuning.precision,
        description="Of its matrix products in training: float32, or bf16-mixed (bfloat16, all the rest single "
        "precision); evaluation is in single precision",
    )
    pooling: TokenPooling = Field(
        default="attention",
        description="How its hidden states become one vector: attention, statistics, mean",
    )

    @model_validator(mode="after")
    def _check_freezing(self) -> "TransformerConfig":
        if self.frozen_layers and not self.frozen_embeddings:
            raise ValueError("`frozen_embeddings` must be true where layers above them are frozen")
        return self

    def tuning(self) -> FineTuning:
        """Return the options for `qinn.model.transformer.PretrainedTransformer`."""
        return FineTuning(**self.model_dump(exclude={"model", "pooling"}))


def line_of_kinds(kinds: Mapping[str, object]) -> str:
    """Return the line of a configuration that gives each modality its kind of encoder.

    Examples:
        >>> line_of_kinds({"text": "embedding", "audio": "statistics"})
        '`encoder: {kind: {text: embedding, audio: statistics}}`'
    """
    return f"`encoder: {{kind: {{{', '.join(f'{name}: {kind}' for name, kind in kinds.items())}}}}}`"


class EncoderConfig(Strict):
    """The sequence encoder that all models of an experiment share."""

    kind: EncoderKind | dict[str, EncoderKind] = Field(
        default="statistics", description="One kind for all modalities, or one for each"
    )
    hidden_dim: int = Field(default=32, ge=1, le=MOST_WIDE, description="Width of the hidden vectors")
    step_dim: int = Field(
        default=10,
        ge=1,
        le=MOST_WIDE,
        description="Width of each step's vector, in models that follow the stream",
    )
    dropout: DropoutRate | dict[str, DropoutRate] = Field(
        default=DROPOUT,
        description="Dropout of encoders and heads; or modality → dropout of its encoder: then modalities that are not "
        "named, and the heads, have `head_dropout`",
    )
    head_dropout: DropoutRate | None = Field(
        default=None, description="Dropout of the heads (default: `dropout` where that is a number, else 0.2)"
    )
    embedding_dim: int = Field(
        default=8, ge=1, le=MOST_WIDE, description="Width of a word's vector in encoders of kind `embedding`"
    )
    transformer: TransformerConfig | None = Field(
        default=None, description="The pretrained transformer of encoders of kind `transformer`"
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "modality_dropout" in value:
            raise ValueError(
                "`encoder.modality_dropout` is called `encoder.dropout` now, which takes a number or a mapping of "
                "modalities to numbers; what stood in `dropout` beside it goes to `encoder.head_dropout`"
            )
        return value

    def dropout_of(self, modality: str) -> float:
        """Return the dropout of a modality's encoder."""
        return (
            self.dropout.get(modality, self.dropout_of_heads)
            if isinstance(self.dropout, dict)
            else self.dropout
        )

    @property
    def dropout_of_heads(self) -> float:
        """Dropout of what follows the encoders."""
        if self.head_dropout is not None:
            return self.head_dropout
        return DROPOUT if isinstance(self.dropout, dict) else self.dropout

    @model_validator(mode="after")
    def _check_transformer(self) -> "EncoderConfig":
        kinds = [self.kind] if isinstance(self.kind, str) else list(self.kind.values())
        if ("transformer" in kinds) != (self.transformer is not None):
            raise ValueError(
                "`transformer` must be given exactly where a `kind` is `transformer`; it names the `model` "
                "and says how it is trained"
            )
        return self
