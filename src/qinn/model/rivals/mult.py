"""MulT: every modality attends to the steps of every other one, however they are timed."""

import itertools

import torch
from torch import Tensor, nn

from qinn.model.encoders import Encoders
from qinn.model.rivals.attention import Transformer, position_vectors
from qinn.model.rivals.step_baseline import StepBaseline
from qinn.records import Batch, Prediction

__all__ = ["MulT"]

_KERNEL = 3
"""Steps that the convolution sees at once."""


class MulT(StepBaseline):
    """Multimodal transformer: head(⊕_β last(transformer(⊕_{α≠β} crossmodal_{α→β}(X̂_β, X̂_α)))).

    X̂_m are the modality's steps after a convolution along time, times √dim, with vectors of their positions added. The
    crossmodal transformer of a pair asks with the steps of β, and α answers: no alignment is needed. Its loss is the
    task's. A modality alone attends to itself; one that is absent from a sample answers nothing and gives zeros to the
    head.

    Args:
        encoders: One encoder per modality, in order, as `StepBaseline` takes them.
        num_outputs: Width of the output.
        num_layers: Layers of each transformer.
        num_heads: Heads of each layer.
        max_steps: Longest sequence that is attended to step by step; of a longer one, so many means of equal parts
        dropout: Dropout of the transformers and the head.

    Source: Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019, sections 3.1
        to 3.2.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        num_layers: int = 4,
        num_heads: int = 4,
        max_steps: int = 50,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs, max_steps=max_steps)
        dim, others = encoders.hidden_dim, max(1, len(encoders) - 1)

        def transformer(width: int) -> Transformer:
            return Transformer(width, num_layers=num_layers, num_heads=num_heads, dropout=dropout)

        self.convolutions = nn.ModuleList(
            nn.Conv1d(dim, dim, _KERNEL, padding="same") for _ in range(len(encoders))
        )
        self.pairs = list(itertools.permutations(range(len(encoders)), 2))
        self.crossmodal = nn.ModuleList(transformer(dim) for _ in self.pairs)
        self.within = nn.ModuleList(transformer(others * dim) for _ in range(len(encoders)))
        self.head = self.head_from(len(encoders) * others * dim, dropout)

    def forward(self, batch: Batch) -> Prediction:
        """Predict from the last step of every modality, after it has attended to all others and to itself."""
        placed, valid = [], []
        for convolution, (steps, there) in zip(self.convolutions, self.steps(batch), strict=True):
            convolved = convolution(steps.transpose(1, 2)).transpose(1, 2)
            placed.append(convolved * self.encoders.hidden_dim**0.5 + position_vectors(convolved))
            valid.append(there)
        heard: list[list[Tensor]] = [[] for _ in placed]
        for transformer, (target, source) in zip(self.crossmodal, self.pairs, strict=True):
            heard[target].append(transformer(placed[target], valid[source], placed[source]))
        last = [
            _last(within(torch.cat(parts or [alone], -1), there), there)
            for within, parts, alone, there in zip(self.within, heard, placed, valid, strict=True)
        ]
        return Prediction(self.output_scale(self.head(torch.cat(last, -1))))


def _last(steps: Tensor, valid: Tensor) -> Tensor:
    """Return the last valid step of each sequence; zero where there is none."""
    is_last = torch.arange(steps.shape[1], device=steps.device) == valid.sum(1, keepdim=True) - 1
    return (steps * is_last[..., None]).sum(1)
