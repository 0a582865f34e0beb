"""Attention between sequences of which some may be empty, and the transformer layers that are made of it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Attention", "Transformer", "position_vectors"]

_WIDER = 4
_SLOWEST = 10_000.0


class Attention(nn.Module):
    """Each query's mean of the values, softmax(Q Kᵀ/√e) V, in several heads side by side; zero without any key.

    Args:
        dim: Width of queries, keys and of what comes out; heads need not divide it, each has e = ⌈dim/heads⌉ entries.
        num_heads: Number of heads.
        dropout: Dropout of the weights.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.
    """

    def __init__(self, dim: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        inner = num_heads * -(-dim // num_heads)
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, inner)
        # What it would add is the same for all keys of a query.
        self.key = nn.Linear(dim, inner, bias=False)
        self.value = nn.Linear(dim, inner)
        self.output = nn.Linear(inner, dim)

    def forward(
        self,
        queries: Float[Tensor, "batch query dim"],
        keys: Float[Tensor, "batch key dim"],
        valid: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch query dim"]:
        """Attend from every query to the valid keys.

        Args:
            queries: What asks.
            keys: What is asked, and answers.
            valid: Which keys there are.
        """
        there = valid.any(1)
        # The softmax of nothing is no number: without keys all padding is seen, and what comes of it left out.
        seen = (valid | ~there[:, None])[:, None, None]
        q, k, v = (
            each.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for each in (self.query(queries), self.key(keys), self.value(keys))
        )
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).flatten(2)) * there[:, None, None]


class _Layer(nn.Module):
    """Attention, then two linear maps at each step, both with a norm before and what went in added."""

    def __init__(self, dim: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads=num_heads, dropout=dropout)
        self.norm = nn.LayerNorm(dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.each_step = nn.Sequential(
            nn.Linear(dim, _WIDER * dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(_WIDER * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking: Tensor, asked: Tensor | None, valid: Tensor) -> Tensor:
        normed = self.norm(asking)
        keys = normed if asked is None else self.norm(asked)
        inner = self.inner_norm(normed + self.dropout(self.attention(normed, keys, valid)))
        return inner + self.dropout(self.each_step(inner))


class Transformer(nn.Module):
    """Layers in which a sequence attends to another one, which stays what it is, or to itself.

    ẑ = attention(LN z, LN s) + LN z and z' = f(LN ẑ) + LN ẑ, with s the other sequence or z.

    Args:
        dim: Width of both sequences.
        num_layers: Number of layers.
        num_heads: Number of heads of each.
        dropout: Dropout of weights and of what is added.

    Source: Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019, section 3.2.
    """

    def __init__(self, dim: int, *, num_layers: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Layer(dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )

    def forward(
        self,
        asking: Float[Tensor, "batch query dim"],
        valid: Bool[Tensor, "batch key"],
        asked: Float[Tensor, "batch key dim"] | None = None,
    ) -> Float[Tensor, "batch query dim"]:
        """Return the sequence after all layers; what stands in its padding means nothing.

        Args:
            asking: The sequence that attends.
            valid: Which steps there are of the one that it attends to.
            asked: The sequence that it attends to; None for itself.
        """
        for layer in self.layers:
            asking = layer(asking, asked, valid)
        return asking


def position_vectors(steps: Float[Tensor, "batch time dim"]) -> Float[Tensor, "time dim"]:
    """Return a vector for each position t: sin(t/10000^(2i/dim)) in its even entries 2i, the cosine in its odd ones.

    Args:
        steps: A sequence, for its length, width and place.

    Source: Vaswani et al., as above, section 3.5.

    Examples:
        >>> position_vectors(torch.zeros(1, 2, 2))[1]
        tensor([0.8415, 0.5403])
    """
    time, dim = steps.shape[1:]
    entries = torch.arange(dim, device=steps.device)
    slowness = _SLOWEST ** (2 * (entries // 2) / dim)
    angles = torch.arange(time, device=steps.device)[:, None] / slowness
    return torch.where(entries % 2 == 0, angles.sin(), angles.cos()).to(steps)
