"""From a modality's feature sequence to one hidden vector per sample.

Every model, quantum or not, uses the same encoder, so that a comparison compares fusion and nothing else.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.model.standardization import Standardizer
from qinn.model.transformer import PretrainedTransformer
from qinn.records import Batch, Features

EncoderKind = Literal["statistics", "attention", "gru", "transformer", "embedding"]
TokenPooling = Literal["attention", "statistics", "mean"]
_FIRST_SCALE = 0.1
_OWN = ("hidden_dim", "pooled", "seen_in_training", "sequences", "step_dim")


def masked_mean(
    values: Float[Tensor, "batch time feature"], features: Features
) -> Float[Tensor, "batch feature"]:
    """Mean over the valid steps; zero where the modality is absent."""
    total = (features.mask[:, None].to(values.dtype) @ values)[:, 0]
    return total / features.lengths.clamp_min(1)[:, None]


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over the valid steps, side by side (a plain vector keeps its mean alone).

    Args:
        feature_dim: Number of features.
        sequence: Whether the modality has more than one step; if not, only the mean is used.
    """

    def __init__(self, feature_dim: int, *, sequence: bool) -> None:
        super().__init__()
        self.sequence = sequence
        self.output_dim = feature_dim * (2 if sequence else 1)

    def forward(
        self, values: Float[Tensor, "batch time feature"], features: Features
    ) -> Float[Tensor, "batch pooled"]:
        """Pool over time; the square root is smoothed, so that one-step sequences have finite gradients."""
        mean = masked_mean(values, features)
        if not self.sequence:
            return mean
        variance = masked_mean((values - mean[:, None]).square_(), features)
        return torch.cat([mean, (variance + 1e-6).sqrt() - 1e-3], dim=-1)


class AttentionPooling(nn.Module):
    """A learned weighting of the steps: ``Σ_t softmax_t(q·tanh(V x_t)) x_t``, in several heads.

    Args:
        feature_dim: Number of features.
        num_heads: Number of independent weightings, whose results are laid side by side.
    """

    def __init__(self, feature_dim: int, *, num_heads: int = 1) -> None:
        super().__init__()
        self.scores = nn.Sequential(
            nn.Linear(feature_dim, 32), nn.Tanh(), nn.Linear(32, num_heads, bias=False)
        )
        self.output_dim = feature_dim * num_heads

    def forward(
        self, values: Float[Tensor, "batch time feature"], features: Features
    ) -> Float[Tensor, "batch pooled"]:
        """Pool over time; an absent modality gives zero."""
        scores = self.scores(values).masked_fill(~features.mask[..., None], -1e9)
        weights = scores.softmax(1) * features.mask[..., None]
        return torch.einsum("bth,btf->bhf", weights, values).flatten(1)


class RecurrentPooling(nn.Module):
    """A bidirectional GRU, then the mean of its outputs over the valid steps.

    Args:
        feature_dim: Number of features.
        hidden_dim: Width of each direction.
    """

    def __init__(self, feature_dim: int, *, hidden_dim: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(feature_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.output_dim = 2 * hidden_dim

    def forward(
        self, values: Float[Tensor, "batch time feature"], features: Features
    ) -> Float[Tensor, "batch pooled"]:
        """Run over the valid steps only, so that padding never changes a result."""
        lengths = features.lengths.clamp_min(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=values.shape[1]
        )
        return masked_mean(outputs, features)


class WordEmbedding(nn.Module):
    """Replace word ids by learned vectors, beside what else is known of each word.

    The first feature is the id, 0 for every word that is not in the vocabulary; the others are standardised.

    Args:
        feature_dim: Number of features, the id among them.
        num_words: Number of words in the vocabulary.
        embedding_dim: Width of a word's vector.
    """

    def __init__(self, feature_dim: int, *, num_words: int, embedding_dim: int) -> None:
        super().__init__()
        self.standardizer = Standardizer(feature_dim)
        self.vectors = nn.Embedding(num_words + 1, embedding_dim)
        # Small, so that a word which training hardly sees says next to nothing, not something random.
        nn.init.normal_(self.vectors.weight, std=_FIRST_SCALE)
        self.output_dim = embedding_dim + feature_dim - 1

    def forward(self, features: Features) -> Float[Tensor, "batch time output"]:
        """Return a vector for every step, zero in the padding.

        Raises:
            ArgumentError: If an id is none of the vocabulary.
        """
        ids = features.values[..., 0].long()
        most = self.vectors.num_embeddings
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < most:
            raise ArgumentError(
                f"Argument `features` must have word ids from 0 to {most - 1} in the first column, but they go from "
                f"{int(ids.min())} to {int(ids.max())}; encode the texts with the vocabulary of the training data."
            )
        vectors = self.vectors(ids) * features.mask[..., None]
        return torch.cat([vectors, self.standardizer(features)[..., 1:]], -1)


class Encoder(nn.Module):
    """Standardise, pool over time and project: ``h = dropout(act(W pool(x) + b))``, 0 where absent.

    Token ids are not standardised: the transformer's hidden states take their place. For models that follow the stream
    each step has a short vector of its own beside, ``s_t = dropout(tanh(V x_t + c))``.

    Args:
        feature_dim: Number of input features.
        hidden_dim: Width of the hidden vector.
        kind: ``"statistics"``, ``"attention"``, ``"gru"``, ``"transformer"`` or ``"embedding"`` (of words; pooled by
            mean and standard deviation).
        sequence: Whether the modality has sequences (more than one step per sample).
        dropout: Probability of dropping an input feature (in all steps of a sample) and a hidden unit.
        transformer: Makes hidden states of token ids (kind ``"transformer"``).
        token_pooling: How hidden states are pooled: ``"attention"``, ``"statistics"`` or ``"mean"``.
        step_dim: Width of the vector of each step; None for none.
        pooled: Whether there is a pooled hidden vector.
        embedding: Makes vectors of word ids (kind ``"embedding"``).

    Raises:
        ArgumentError: If kind and transformer or embedding do not go together.

    Source: own; the three poolings are the field's usual ones.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden_dim: int,
        *,
        kind: EncoderKind,
        sequence: bool,
        dropout: float,
        transformer: PretrainedTransformer | None = None,
        token_pooling: TokenPooling = "attention",
        step_dim: int | None = None,
        pooled: bool = True,
        embedding: WordEmbedding | None = None,
    ) -> None:
        super().__init__()
        for name, given in (("transformer", transformer), ("embedding", embedding)):
            if (kind == name) != (given is not None):
                raise ArgumentError(
                    f"Argument `{name}` must be given exactly where `kind` is `{name}`, but the kind is `{kind}`."
                )
        self.transformer = transformer
        self.embedding = embedding
        self.pooled = pooled
        self.standardizer = None if transformer or embedding else Standardizer(feature_dim)
        if transformer is not None:
            feature_dim = transformer.dim
        elif embedding is not None:
            feature_dim = embedding.output_dim
        self.input_dropout = nn.Dropout(dropout)
        self.step_dropout = nn.Dropout(dropout)
        self.step = None if step_dim is None else nn.Sequential(nn.Linear(feature_dim, step_dim), nn.Tanh())
        if not pooled:
            return
        if transformer is not None and token_pooling == "attention":
            self.pooling: nn.Module = AttentionPooling(feature_dim)
        elif transformer is not None:
            self.pooling = StatisticsPooling(feature_dim, sequence=token_pooling == "statistics")
        elif kind in ("statistics", "embedding") or not sequence:
            self.pooling = StatisticsPooling(feature_dim, sequence=sequence)
        elif kind == "attention":
            self.pooling = AttentionPooling(feature_dim)
        else:
            self.pooling = RecurrentPooling(feature_dim, hidden_dim=hidden_dim)
        self.projection = nn.Sequential(
            nn.Linear(int(self.pooling.output_dim), hidden_dim),  # pyright: ignore[reportArgumentType]
            nn.LayerNorm(hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
        )

    def forward(self, features: Features) -> Float[Tensor, "batch hidden"]:
        """Return one hidden vector per sample."""
        return self._pooled(self._prepared(features), features)

    def along(
        self, features: Features
    ) -> tuple[Float[Tensor, "batch hidden"] | None, Float[Tensor, "batch time step"]]:
        """Return one hidden vector per sample, None where there is none, and one short vector per step."""
        if self.step is None:
            raise ArgumentError(
                "Argument `step_dim` must be given to an encoder that follows the stream, but it is None."
            )
        values = self._prepared(features)
        steps = _dropped(self.step(values), self.step_dropout)
        return self._pooled(values, features) if self.pooled else None, steps

    def _prepared(self, features: Features) -> Tensor:
        prepare = self.transformer or self.embedding or self.standardizer
        values: Tensor = prepare(features)  # pyright: ignore[reportOptionalCall]
        return _dropped(values, self.input_dropout)

    def _pooled(self, values: Tensor, features: Features) -> Tensor:
        return self.projection(self.pooling(values, features)) * features.present[:, None]


def _dropped(values: Tensor, dropout: nn.Dropout) -> Tensor:
    """One mask for all steps of a sample: a feature is dropped as a whole, and few random numbers are drawn."""
    if not (dropout.training and dropout.p):
        return values
    return values * dropout(torch.ones_like(values[:, :1]))


class Encoders(nn.ModuleDict):
    """One `Encoder` per modality, in tensor-product order.

    A modality without a single training sample leaves its encoder untrained: what it made of later samples would be
    noise. `set_training_statistics` says so in ``seen_in_training``, which is saved with the weights, and `usable`
    takes the modality for absent, in validation and everywhere after.

    Args:
        feature_dims: Modality name → number of input features.
        sequences: Modality name → whether its samples are sequences.
        hidden_dim: Width of every hidden vector.
        kinds: Modality name → kind of sequence encoder.
        dropout: Dropout of the encoders, one for all or modality name → its own.
        transformers: Modality name → its transformer, for modalities of kind ``"transformer"``.
        token_pooling: How a transformer's hidden states are pooled.
        step_dim: Width of each step's vector, for models that follow the stream; None for none.
        pooled: Whether there are pooled hidden vectors.
        num_words: Modality name → size of its vocabulary, for modalities of kind ``"embedding"``.
        embedding_dim: Width of a word's vector.

    Raises:
        ArgumentError: If a modality is named like something that torch's modules have themselves.
    """

    seen_in_training: Tensor

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        sequences: Mapping[str, bool],
        *,
        hidden_dim: int,
        kinds: Mapping[str, EncoderKind],
        dropout: float | Mapping[str, float],
        transformers: Mapping[str, PretrainedTransformer] | None = None,
        token_pooling: TokenPooling = "attention",
        step_dim: int | None = None,
        pooled: bool = True,
        num_words: Mapping[str, int] | None = None,
        embedding_dim: int = 8,
    ) -> None:
        own = {*dir(nn.ModuleDict()), *dir(type(self)), *_OWN}
        if taken := own & set(feature_dims):
            raise ArgumentError(
                f"Argument `feature_dims` must not name a modality `{min(taken)}`, a name that torch's modules use "
                "themselves; import it under another name."
            )
        super().__init__(
            {
                name: Encoder(
                    dim,
                    hidden_dim,
                    kind=kinds[name],
                    sequence=sequences[name],
                    dropout=dropout[name] if isinstance(dropout, Mapping) else dropout,
                    transformer=(transformers or {}).get(name),
                    token_pooling=token_pooling,
                    step_dim=step_dim,
                    pooled=pooled,
                    embedding=WordEmbedding(dim, num_words=num_words[name], embedding_dim=embedding_dim)
                    if kinds[name] == "embedding" and num_words is not None and name in num_words
                    else None,
                )
                for name, dim in feature_dims.items()
            }
        )
        self.hidden_dim = hidden_dim
        self.step_dim = step_dim
        self.pooled = pooled
        self.sequences = dict(sequences)
        self.register_buffer("seen_in_training", torch.ones(len(feature_dims), dtype=torch.bool))

    def along(self, batch: Batch) -> tuple[Float[Tensor, "batch hidden"] | None, list[Tensor]]:
        """Return the hidden vectors of all modalities side by side, None where there are none, and those of all steps.

        Args:
            batch: Samples, as `usable` gives them.

        Returns:
            Pooled vectors (batch, modality · hidden), and of each modality the steps' (batch, time, step).

        Raises:
            ArgumentError: If there is no `step_dim`.
        """
        if self.step_dim is None:
            raise ArgumentError(
                "Argument `encoders` must give a vector for each step where a model follows the stream; pass "
                "`step_dim`."
            )
        given = [cast("Encoder", encoder).along(batch.features[name]) for name, encoder in self.items()]
        hidden = [pooled for pooled, _ in given if pooled is not None]
        return torch.cat(hidden, -1) if hidden else None, [steps for _, steps in given]

    def usable(self, batch: Batch) -> Batch:
        """Return the batch with modalities absent that no training sample had, and without steps that no sample has.

        A matrix product may round its rows otherwise where there are more of them: this way, what lies behind all
        samples' steps changes no bit.
        """
        for name, seen in zip(self, self.seen_in_training.tolist(), strict=True):
            if not seen:
                batch = batch.without(name)
        return replace(batch, features={name: one.trimmed() for name, one in batch.features.items()})

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        # Weights saved before the flags were introduced.
        state_dict.setdefault(f"{prefix}seen_in_training", torch.ones_like(self.seen_in_training))
        super()._load_from_state_dict(state_dict, prefix, *rest)
