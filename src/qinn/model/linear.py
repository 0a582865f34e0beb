"""Regularised linear models of pooled features, solved, not trained: the simplest rivals of everything else."""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float64
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.model.encoders import masked_mean
from qinn.records import Batch, Prediction

LinearForm = Literal["early", "late", "stacked"]
"""How a linear model puts modalities together."""

_LIMIT = 10.0
"""Bound of a standardised feature, as in `qinn.model.standardization.Standardizer`."""


class LinearFusion(nn.Module):
    """Ridge regression of scores, or logistic regression of classes, on the mean of each modality's steps.

    With x_m the mean over the steps of modality m, standardised over the training samples that have it, and a_m = 1
    where a sample lacks it and 0 elsewhere (standardised too), z_m = [x_m; a_m]; an absent modality has x_m = 0, its
    training mean.

    - ``early``: W [z_1 … z_M] + b
    - ``late``: the mean over m of W_m z_m + b_m; of classes ln of the mean of softmax(W_m z_m + b_m), of several labels
      the log odds of the mean of 1/(1 + exp(−W_m z_m − b_m))
    - ``stacked``: V [W_1 z_1 + b_1 … W_M z_M + b_M] + c, with V from predictions of samples left out

    A modality of word ids enters as the share of each word. `qinn.training.linear.solve` finds the weights, which are
    none that a gradient reaches.

    Args:
        feature_dims: Modality name → number of features, in order.
        num_outputs: 1 for regression, number of classes for classification.
        fusion: How modalities are put together.
        num_words: Modality name → size of its vocabulary, of modalities whose first feature is the id of a word.
        independent: Whether every output is a logit of its own, of several labels.
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        *,
        num_outputs: int,
        fusion: LinearForm = "early",
        num_words: Mapping[str, int] | None = None,
        independent: bool = False,
    ) -> None:
        super().__init__()
        self.fusion: LinearForm = fusion
        self.num_outputs = num_outputs
        self.independent = independent
        self.num_words = {name: size for name, size in (num_words or {}).items() if name in feature_dims}
        self.widths = {
            name: dim + self.num_words[name] if name in self.num_words else dim
            for name, dim in feature_dims.items()
        }
        self.blocks = [list(self.widths)] if fusion == "early" else [[name] for name in self.widths]
        for number, names in enumerate(self.blocks):
            width = sum(self.widths[name] + 1 for name in names)
            self._keep(f"mean_{number}", torch.zeros(width))
            self._keep(f"scale_{number}", torch.ones(width))
            self._keep(f"weight_{number}", torch.zeros(num_outputs, width))
            self._keep(f"bias_{number}", torch.zeros(num_outputs))
            self._keep(f"penalty_{number}", torch.zeros(()))
        if fusion == "stacked":
            self._keep("stack_weight", torch.zeros(num_outputs, num_outputs * len(self.blocks)))
            self._keep("stack_bias", torch.zeros(num_outputs))
            self._keep("stack_penalty", torch.zeros(()))

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.double())

    def kept(self, name: str) -> Tensor:
        """Return a buffer by its name."""
        return cast("Tensor", getattr(self, name))

    @property
    def num_parameters(self) -> int:
        """Number of weights that are solved for."""
        solved = ("weight", "bias", "stack_weight", "stack_bias")
        return sum(value.numel() for name, value in self.named_buffers() if name.startswith(solved))

    def pooled(self, batch: Batch) -> tuple[list[Float64[Tensor, "batch _"]], list[Bool[Tensor, "batch"]]]:
        """Return the mean of each modality's steps, as they are, and which samples have it.

        Raises:
            ArgumentError: If the id of a word is none of the vocabulary.
        """
        means: list[Tensor] = []
        for name in self.widths:
            features = batch.features[name]
            values = features.values.double()
            if name in self.num_words:
                ids, size = values[..., 0].long(), self.num_words[name] + 1
                if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < size:
                    raise ArgumentError(
                        f"Argument `batch` must have word ids from 0 to {size - 1} in the first column of `{name}`, "
                        f"but they go from {int(ids.min())} to {int(ids.max())}; encode the texts with the vocabulary "
                        "of the training data."
                    )
                values = torch.cat([nn.functional.one_hot(ids, size).double(), values[..., 1:]], -1)
            means.append(masked_mean(values * features.mask[..., None], features))
        return means, [batch.features[name].present for name in self.widths]

    def inputs(self, batch: Batch) -> list[Float64[Tensor, "batch _"]]:
        """Return the columns [x_m; a_m] of the modalities of each block, standardised."""
        columns = self.columns(*self.pooled(batch))
        return [self.standardized(number, values) for number, values in enumerate(columns)]

    def columns(
        self, means: Sequence[Float64[Tensor, "batch _"]], present: Sequence[Bool[Tensor, "batch"]]
    ) -> list[Float64[Tensor, "batch _"]]:
        """Return the columns of each block before they are standardised, NaN where a modality is absent."""
        by_name = {
            name: torch.cat([mean.masked_fill(~there[:, None], torch.nan), (~there)[:, None].to(mean)], -1)
            for name, mean, there in zip(self.widths, means, present, strict=True)
        }
        return [torch.cat([by_name[name] for name in names], -1) for names in self.blocks]

    def standardized(
        self, number: int, values: Float64[Tensor, "batch width"]
    ) -> Float64[Tensor, "batch width"]:
        """Return the columns of a block on the scale of the training samples; 0 where a modality is absent."""
        scaled = (values - self.kept(f"mean_{number}")) * self.kept(f"scale_{number}")
        return scaled.nan_to_num(nan=0.0).clamp(-_LIMIT, _LIMIT)

    def forward(self, batch: Batch) -> Prediction:
        """Predict scores or logits."""
        parts = [
            values @ self.kept(f"weight_{number}").T + self.kept(f"bias_{number}")
            for number, values in enumerate(self.inputs(batch))
        ]
        if self.fusion == "early":
            output = parts[0]
        elif self.fusion == "stacked":
            output = torch.cat(parts, -1) @ self.kept("stack_weight").T + self.kept("stack_bias")
        elif self.num_outputs == 1:
            output = torch.stack(parts).mean(0)
        elif self.independent:
            present, absent = (
                torch.stack([nn.functional.logsigmoid(sign * part) for part in parts]).logsumexp(0)
                for sign in (1, -1)
            )
            output = present - absent
        else:
            # Not the mean of the probabilities themselves: a logarithm of what has no digits left is -inf.
            logs = torch.stack([part.log_softmax(-1) for part in parts])
            output = logs.logsumexp(0) - torch.tensor(float(len(parts))).log()
        return Prediction(output.float())
