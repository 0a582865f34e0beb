"""A pretrained transformer inside a network: token ids in, hidden states out, trained end to end or in part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from qinn.errors import ArgumentError
from qinn.records import Features

__all__ = ["FineTuning", "ParameterGroup", "Precision", "PretrainedTransformer"]

_LAYERS = ("encoder.layer", "transformer.layer", "layers", "encoder.layers", "encoder.block")
_SHARED_POSITIONS = "relative_attention_bias"
_TOGETHER = 8
_TOGETHER_MIXED = 32
"""Units for products of bfloat16 need many rows: their speed makes up for more padding."""

Precision = Literal["float32", "bf16-mixed"]


@dataclass(frozen=True)
class FineTuning:
    """How a pretrained transformer is trained along with the rest of a network.

    Attributes:
        learning_rate: Peak learning rate of the last layer.
        weight_decay: Decoupled weight decay of matrices; biases and layer norms have none.
        layer_decay: Each layer learns at this multiple of the rate of the layer above it, r_l = r δ^(L − l).
        frozen_layers: The first k layers keep their pretrained weights; ``"all"``: the whole transformer does.
        frozen_embeddings: The embeddings, of tokens and of positions, keep their pretrained weights; frozen layers
            need that.
        dropout: Dropout inside the transformer; None keeps that of its pretraining.
        precision: ``"bf16-mixed"``: while it is trained, its matrix products, forward and backward, are of bfloat16 (8
            bits of mantissa) and all the rest, weights and their updates too, single precision. Evaluation is in single
            precision always.

    Raises:
        ArgumentError: If a value is out of its range, or layers above trained embeddings are to be frozen.
    """

    learning_rate: float = 3e-5
    weight_decay: float = 1e-2
    layer_decay: float = 1.0
    frozen_layers: int | Literal["all"] = 0
    frozen_embeddings: bool = True
    dropout: float | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.weight_decay < 0 or not 0 < self.layer_decay <= 1:
            raise ArgumentError(
                "Arguments `learning_rate`, `weight_decay` and `layer_decay` must be above 0, at least 0 and in "
                f"(0, 1], but they are {self.learning_rate}, {self.weight_decay} and {self.layer_decay}."
            )
        if isinstance(self.frozen_layers, int) and self.frozen_layers < 0:
            raise ArgumentError(
                f"Argument `frozen_layers` must be 0 or more, but it is {self.frozen_layers}."
            )
        if self.frozen_layers and not self.frozen_embeddings:
            raise ArgumentError(
                "Argument `frozen_embeddings` must be true where layers are frozen, since the embeddings lie "
                f"below them, but `frozen_layers` is {self.frozen_layers}."
            )
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ArgumentError(f"Argument `dropout` must be in [0, 1), but it is {self.dropout}.")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn alike.

    Attributes:
        parameters: The parameters.
        learning_rate: Their peak learning rate.
        weight_decay: Their decoupled weight decay.
    """

    parameters: tuple[nn.Parameter, ...]
    learning_rate: float
    weight_decay: float


class PretrainedTransformer(nn.Module):
    """Replace a sequence of token ids by the last hidden states of a pretrained transformer.

    Frozen parts need no gradient, so that nothing of them is kept for the backward pass, and stay in
    evaluation mode: their output is the same in every epoch. A sample without tokens gets zeros.

    Args:
        transformer: An encoder of the transformers library (or one that is called like it).
        tuning: What is trained, and how.

    Raises:
        ArgumentError: If the transformer's layers cannot be found, or it has fewer than are to be frozen.

    Source: layer-wise rates: Howard and Ruder, "Universal language model fine-tuning for text
    classification", ACL 2018, section 3.2; mixed precision: Kalamkar et al., "A study of BFLOAT16 for deep learning
    training", arXiv 1905.12322; the rest own.
    """

    def __init__(self, transformer: nn.Module, tuning: FineTuning) -> None:
        super().__init__()
        self.transformer = transformer
        self.tuning = tuning
        # Its output is not used, so its weights would never see a gradient.
        if getattr(transformer, "pooler", None) is not None:
            transformer.pooler = None  # pyright: ignore[reportArgumentType]
        self.dim = int(transformer.config.hidden_size)  # pyright: ignore
        if tuning.dropout is not None:
            for module in transformer.modules():
                if isinstance(module, nn.Dropout):
                    module.p = tuning.dropout
        for module in self._frozen():
            module.requires_grad_(False)
        self.train(self.training)

    def _layers(self) -> list[nn.Module]:
        for path in _LAYERS:
            try:
                found = self.transformer.get_submodule(path)
            except AttributeError:
                continue
            if isinstance(found, nn.ModuleList):
                return list(found)
        raise ArgumentError(
            f"Argument `transformer` must have its layers in one of {list(_LAYERS)}, but "
            f"{type(self.transformer).__name__} has not; use an encoder such as BERT, RoBERTa or DistilBERT."
        )

    def _frozen(self) -> list[nn.Module]:
        layers, frozen = self._layers(), self.tuning.frozen_layers
        if frozen == "all":
            return [self.transformer]
        if frozen > len(layers):
            raise ArgumentError(
                f"Argument `frozen_layers` must be at most {len(layers)}, the number of layers, but it is {frozen}."
            )
        return (self._embeddings() if self.tuning.frozen_embeddings else []) + layers[:frozen]

    def _embeddings(self) -> list[nn.Module]:
        """Return what lies below every layer: the embeddings, and relative positions that all layers share (MPNet)."""
        transformer: Any = self.transformer
        tokens = getattr(transformer, "embeddings", None) or transformer.get_input_embeddings()
        inside = {id(module) for layer in self._layers() for module in layer.modules()}
        positions = [
            module
            for name, module in self.transformer.named_modules()
            if name.rpartition(".")[2] == _SHARED_POSITIONS and id(module) not in inside
        ]
        return [tokens, *positions]

    def train(self, mode: bool = True) -> "PretrainedTransformer":
        """Set the mode of what is trained; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def parameter_groups(self) -> Iterator[ParameterGroup]:
        """Give the trained parameters, layer by layer from the top, matrices and vectors apart."""
        tuning, layers = self.tuning, self._layers()
        of_layers = {id(one): level for level, layer in enumerate(layers) for one in layer.parameters()}
        below = {id(one) for module in self._embeddings() for one in module.parameters()}
        by_level: dict[int, list[nn.Parameter]] = {}
        for parameter in self.transformer.parameters():
            if parameter.requires_grad:
                # What belongs to no layer and not to the embeddings (a last norm, say) lies above all layers.
                other = -1 if id(parameter) in below else len(layers) - 1
                by_level.setdefault(of_layers.get(id(parameter), other), []).append(parameter)
        for level in sorted(by_level, reverse=True):
            rate = tuning.learning_rate * tuning.layer_decay ** (len(layers) - 1 - level)
            matrices = tuple(one for one in by_level[level] if one.ndim >= 2)
            vectors = tuple(one for one in by_level[level] if one.ndim < 2)
            if matrices:
                yield ParameterGroup(matrices, rate, tuning.weight_decay)
            if vectors:
                yield ParameterGroup(vectors, rate, 0.0)

    def _is_mixed(self) -> bool:
        """Whether this is a step of training that is to be in mixed precision."""
        is_trained = any(one.requires_grad for one in self.transformer.parameters())
        wanted = self.tuning.precision == "bf16-mixed"
        return wanted and is_trained and self.training and torch.is_grad_enabled()

    def forward(self, features: Features) -> Float[Tensor, "batch time state"]:
        """Return the hidden state of every token, zero in the padding.

        Samples of like length go through the transformer together, so that little of the work is padding.

        Args:
            features: Token ids as a sequence of one feature.
        """
        ids, mask = features.values[..., 0].long(), features.mask
        longest = ids.shape[1]
        order = features.lengths.argsort(stable=True)
        is_mixed = self._is_mixed()
        states = []
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=is_mixed):
            for rows in order.split(_TOGETHER_MIXED if is_mixed else _TOGETHER):
                steps = max(1, int(features.lengths[rows].max()))
                attended = mask[rows, :steps].clone()
                # Attention over nothing is 0/0; what an empty sample gets instead is masked below.
                attended[:, 0] = True
                hidden = self.transformer(
                    input_ids=ids[rows, :steps], attention_mask=attended.long()
                ).last_hidden_state
                states.append(
                    functional.pad(hidden.float() if is_mixed else hidden, (0, 0, 0, longest - steps))
                )
        return torch.cat(states)[order.argsort()] * mask[..., None]
