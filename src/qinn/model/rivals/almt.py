"""ALMT: language says what of the other modalities is worth hearing."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.model.encoders import Encoders
from qinn.model.rivals.attention import Attention, Transformer, position_vectors
from qinn.model.rivals.step_baseline import StepBaseline
from qinn.records import Batch, Prediction

__all__ = ["ALMT"]

_LANGUAGE = "text"
_FIRST_SCALE = 0.1
_FUSION_LAYERS = 2


class ALMT(StepBaseline):
    """Adaptive language-guided multimodal transformer: head(mean(crossmodal(L_n, Y_n))).

    Each modality becomes a few tokens: learned ones, put before its steps and passed through one transformer layer.
    Those of the guide, which is language where there is any, go on to scales L_1, L_2, …, by a layer each. At each
    scale i they ask the tokens T_m of all others, and what these answer is added to the hyper-modality, which begins as
    learned tokens: Y_i = Y_{i−1} + Σ_m attention_m(LN L_i, LN T_m). In the end L_n attends to Y_n. The head sees the
    mean of what comes out; the paper reads it off a learned token before L_n, which would hear Y_n and nothing of L_n.
    The loss is that of the task. A modality that is absent answers nothing; in place of an absent guide its learned
    tokens ask.

    Args:
        encoders: One encoder per modality, in order, as `StepBaseline` takes them.
        num_outputs: Width of the output.
        guide: Modality that guides; None for `text`, or the first one where there is no `text`.
        num_tokens: Number of tokens that each modality becomes.
        num_layers: Number n of scales.
        num_heads: Heads of each layer.
        max_steps: Longest sequence that is attended to step by step; of a longer one, so many means of equal parts
        dropout: Dropout of the transformers and the head.

    Raises:
        ArgumentError: If there is no such guide.

    Source: Zhang et al., "Learning Language-guided Adaptive Hyper-modality Representation for Multimodal Sentiment
        Analysis", EMNLP 2023, section 3; the mean, and that what is absent answers nothing, own.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        guide: str | None = None,
        num_tokens: int = 8,
        num_layers: int = 3,
        num_heads: int = 4,
        max_steps: int = 50,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs, max_steps=max_steps)
        names, dim = list(encoders), encoders.hidden_dim
        if guide is not None and guide not in names:
            raise ArgumentError(
                f"Argument `guide` must be one of {names}, but it is `{guide}`; leave it out for `{_LANGUAGE}`, or the "
                "first modality where there is none."
            )
        self.num_layers = num_layers
        self.guide = names.index(guide or (_LANGUAGE if _LANGUAGE in names else names[0]))

        def transformer(num_layers: int) -> Transformer:
            return Transformer(dim, num_layers=num_layers, num_heads=num_heads, dropout=dropout)

        def learned(number: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(number, dim) * _FIRST_SCALE)

        self.tokens = nn.ParameterList(learned(num_tokens) for _ in names)
        self.embeddings = nn.ModuleList(transformer(1) for _ in names)
        self.scales = nn.ModuleList(transformer(1) for _ in range(num_layers - 1))
        self.guide_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.answers = nn.ModuleList(
            Attention(dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers * len(names[1:]))
        )
        self.hyper = learned(num_tokens)
        self.fusion = transformer(_FUSION_LAYERS)
        self.head = self.head_from(dim, dropout)

    def forward(self, batch: Batch) -> Prediction:
        """Predict from the guide's last tokens, once they have heard the hyper-modality."""
        embedded = [
            (self._embedded(modality, steps, valid), valid.any(1))
            for modality, (steps, valid) in enumerate(self.steps(batch))
        ]
        guide, _ = embedded.pop(self.guide)
        others = [
            (self.norm(tokens), there[:, None].expand(-1, tokens.shape[1])) for tokens, there in embedded
        ]
        hyper = _repeated(self.hyper, guide)
        for scale in range(self.num_layers):
            if scale:
                guide = self.scales[scale - 1](guide, _all_of(guide))
            asking = self.guide_norm(guide)
            for place, (tokens, valid) in enumerate(others, start=scale * len(others)):
                hyper = hyper + self.answers[place](asking, tokens, valid)
        heard = self.fusion(guide, _all_of(hyper), hyper).mean(1)
        return Prediction(self.output_scale(self.head(heard)))

    def _embedded(self, modality: int, steps: Tensor, valid: Tensor) -> Float[Tensor, "batch token hidden"]:
        """Return the tokens that a modality becomes."""
        tokens = _repeated(self.tokens[modality], steps)
        placed = steps * steps.shape[2] ** 0.5 + position_vectors(steps)
        seen = torch.cat([_all_of(tokens), valid], 1)
        # One layer: what becomes of the steps themselves is heard by none, so that the tokens alone need to ask.
        return self.embeddings[modality](tokens, seen, torch.cat([tokens, placed], 1))


def _repeated(learned: Tensor, like: Tensor) -> Tensor:
    """Return learned vectors for every sample of a batch."""
    return learned.expand(len(like), -1, -1)


def _all_of(sequence: Tensor) -> Tensor:
    """Return that every step of a sequence is there."""
    return torch.ones_like(sequence[..., 0], dtype=torch.bool)
