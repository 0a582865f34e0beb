"""What is known at the nodes of cells, carried to ragged places inside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Places of a cell that are worked on at a time, for all cells that have so many.
_WIDTH = 16


def unrolled(numbers: Int[Tensor, " entry"]) -> tuple[Int[Tensor, " each"], Int[Tensor, " each"]]:
    """Return of each of n_0 + n_1 + … things to which number it belongs, and its place 0 … n − 1 there.

    Args:
        numbers: n_0, n_1, …

    Examples:
        >>> unrolled(torch.tensor([2, 1]))
        (tensor([0, 0, 1]), tensor([0, 1, 0]))
    """
    of = torch.repeat_interleave(numbers)
    return of, torch.arange(len(of), device=of.device).sub_((numbers.cumsum(0) - numbers)[of])


@dataclass(frozen=True, eq=False)
class _Level:
    """A few places of the first cells: those with so many.

    Attributes:
        weights: Values at the nodes → values at the places, of all cells (place, node) or of each (cell, place, node).
        cells: How many cells.
        begin: Where their places begin among those of all levels.
    """

    weights: Tensor
    cells: int
    begin: int

    @property
    def end(self) -> int:
        """Where they end."""
        return self.begin + self.cells * self.weights.shape[-2]


@dataclass(frozen=True, eq=False)
class Spread:
    """Polynomials of cells, by their values at nodes, evaluated at a number of places in each cell.

    Attributes:
        levels: What is done at a time.
        order: Of every place in the order that is wanted, where it lies among those of all levels.
        num_cells: How many cells there are.
    """

    levels: Sequence[_Level]
    order: Int[Tensor, " place"]
    num_cells: int

    @classmethod
    def of(
        cls,
        weights: Float[Tensor, "*cell place node"],
        counts: Int[Tensor, " cell"],
        numbers: Int[Tensor, " cell"],
        stride: int,
    ) -> "Spread":
        """Prepare for cells in the order of their counts, the most first.

        Args:
            weights: What the value at a node adds to that at each place, for all cells or of each.
            counts: How many places each cell has, at least 1.
            numbers: Number of the first place of each in the result.
            stride: What every further place adds to it. The numbers are 0, 1, … in some order.

        Examples:
            >>> weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
            >>> spread = Spread.of(weights, torch.tensor([2, 1]), torch.tensor([0, 1]), 2)
            >>> spread.apply(torch.tensor([[[1.0], [5.0]], [[3.0], [7.0]]])).flatten()
            tensor([1., 5., 2.])
        """
        is_shared, begin = weights.ndim == 2, 0
        levels, steps, apart = [], [], []
        for start in range(0, weights.shape[-2], _WIDTH):
            cells = int((counts > start).sum())
            part = weights[start : start + _WIDTH] if is_shared else weights[:cells, start : start + _WIDTH]
            levels.append(_Level(part, cells, begin))
            width = part.shape[-2]
            steps += [begin + place * (cells if is_shared else 1) for place in range(width)]
            apart += [width] * width
            begin = levels[-1].end
        device = counts.device
        of, ahead = unrolled(counts)
        across = of if is_shared else of * torch.tensor(apart, device=device)[ahead]
        places = torch.tensor(steps, device=device)[ahead].add_(across)
        order = torch.empty_like(places).scatter_(0, numbers[of].add_(ahead, alpha=stride), places)
        return cls(levels, order, len(counts))

    @classmethod
    def of_places(cls, numbers: Int[Tensor, " place"], dtype: torch.dtype) -> "Spread":
        """Prepare for what is known at each place itself.

        Args:
            numbers: Number of each place in the result: 0, 1, … in some order.
            dtype: Real dtype of the values.

        Examples:
            >>> spread = Spread.of_places(torch.tensor([1, 0]), torch.float32)
            >>> spread.apply(torch.tensor([[[1.0], [5.0]]])).flatten()
            tensor([5., 1.])
        """
        order = torch.empty_like(numbers)
        order[numbers] = torch.arange(len(numbers), device=numbers.device)
        return cls(
            [_Level(torch.ones(1, 1, dtype=dtype, device=numbers.device), len(numbers), 0)],
            order,
            len(numbers),
        )

    @property
    def _is_known(self) -> bool:
        """Whether the places are the nodes themselves."""
        return self.levels[0].weights.numel() == 1

    def apply(self, values: Float[Tensor, "node cell number"]) -> Float[Tensor, "place number"]:
        """Return the values at the places, in the order of their numbers; differentiable in those at the nodes.

        Args:
            values: Values at the nodes.
        """
        return _Spreading.apply(values, self)


class _Spreading(torch.autograd.Function):
    """Nodes to places."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, spread: Spread) -> Tensor:
        ctx.spread = spread
        num_nodes, num_cells, width = values.shape
        if spread._is_known:
            return values[0].index_select(0, spread.order)
        rows = values.new_empty(spread.levels[-1].end, width)
        flat = values.reshape(num_nodes, num_cells * width)
        for level in spread.levels:
            part = rows[level.begin : level.end]
            if level.weights.ndim == 2:
                size = level.cells * width
                torch.mm(level.weights, flat[:, :size], out=part.view(-1, size))
            else:
                nodes = flat.view(values.shape)[:, : level.cells].transpose(0, 1)
                torch.bmm(level.weights, nodes, out=part.view(level.cells, -1, width))
        return rows.index_select(0, spread.order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Gathering.apply(gradients[0], ctx.spread), None


class _Gathering(torch.autograd.Function):
    """The adjoint of `_Spreading`: places to nodes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, spread: Spread) -> Tensor:
        ctx.spread = spread
        width = values.shape[-1]
        rows = values.new_zeros(spread.levels[-1].end, width).index_copy_(0, spread.order, values)
        result = values.new_zeros(spread.levels[0].weights.shape[-1], spread.num_cells, width)
        for level in spread.levels:
            part = rows[level.begin : level.end]
            if level.weights.ndim == 2:
                size = level.cells * width
                found = (level.weights.mT @ part.view(-1, size)).view(-1, level.cells, width)
            else:
                found = torch.bmm(level.weights.mT, part.view(level.cells, -1, width)).transpose(0, 1)
            result[:, : level.cells] += found
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Spreading.apply(gradients[0], ctx.spread), None
