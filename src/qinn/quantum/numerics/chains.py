"""Kets at the nodes of cells of time: tabulated, or formed a block at a time whenever something is measured in them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Int, Shaped
from torch import Tensor

# Numbers in kets that are measured at a time, at least.
_TOGETHER = 2**15
# Places of a chain at most: longer ones are cut into pieces that begin with the kets of another.
_LONGEST = 128


class Nodes(ABC):
    """Kets (node, cell, D)."""

    @property
    @abstractmethod
    def requires_grad(self) -> bool:
        """Whether the kets have a gradient."""

    @abstractmethod
    def measured(self, function: Callable[[Tensor], Tensor]) -> Shaped[Tensor, "node cell number"]:
        """Return what a function of kets (…, D) finds in all of them, (…, number) of each.

        Args:
            function: Works on each ket for itself.
        """


@dataclass(frozen=True, eq=False)
class Tabulated(Nodes):
    """Kets that are in memory.

    Attributes:
        kets: The kets.
    """

    kets: Complex[Tensor, "node cell dim"]

    @property
    def requires_grad(self) -> bool:
        """Whether the kets have a gradient."""
        return self.kets.requires_grad

    def measured(self, function: Callable[[Tensor], Tensor]) -> Shaped[Tensor, "node cell number"]:
        """Return what a function finds in all kets."""
        return function(self.kets)


@dataclass(frozen=True, eq=False)
class Chain(Nodes):
    """Ψ, Ψ E, Ψ E², … of many kets Ψ, of each as often as its number says: one node, and a cell for each of these.

    They are formed place by place, in each place those of the largest numbers first. So every block is one product with
    a slice of an earlier one, by E to a power of two: no more than log₂ of the place lead there. Without gradient
    blocks live only while they are measured, which costs less than to write all kets into fresh memory.

    Attributes:
        starts: Ψ (ket, D), those of the largest numbers first.
        widths: How many of them have a place 0, 1, …
        power: E (D, D), in double precision.

    Examples:
        >>> chain = Chain(torch.tensor([[1 + 0j], [3 + 0j]]), (2, 1), torch.tensor([[2 + 0j]]).to(torch.complex128))
        >>> chain.measured(lambda kets: kets.real)
        tensor([[[1.],
                 [3.],
                 [2.]]])
    """

    starts: Complex[Tensor, "ket dim"]
    widths: tuple[int, ...]
    power: Complex[Tensor, "dim dim"]

    @classmethod
    def of(
        cls,
        kets: Complex[Tensor, "ket dim"],
        power: Complex[Tensor, "dim dim"],
        numbers: Int[Tensor, " ket"],
    ) -> tuple["Chain", Tensor, Tensor]:
        """Prepare for kets in any order.

        Args:
            kets: Ψ.
            power: E, in double precision.
            numbers: How many of each are wanted, at least 1.

        Returns:
            The chain, and of each of its cells to which ket it belongs, and its place.

        Examples:
            >>> ones = torch.ones(2, 1) + 0j
            >>> Chain.of(ones, ones[:1].to(torch.complex128), torch.tensor([1, 2]))[1:]
            (tensor([1, 0, 1]), tensor([0, 0, 1]))
        """
        if numbers.amax() > _LONGEST:
            pieces = (numbers + (_LONGEST - 1)) // _LONGEST
            first, of, ahead = cls.of(kets, torch.linalg.matrix_power(power, _LONGEST), pieces)
            left = (numbers[of] - ahead * _LONGEST).clamp_(max=_LONGEST)
            chain, piece, place = cls.of(first.measured(lambda block: block)[0], power, left)
            return chain, of[piece], ahead[piece] * _LONGEST + place
        numbers, order = numbers.sort(descending=True)
        widths = torch.bincount(numbers).flip(0).cumsum(0).flip(0)[1:]
        ahead = torch.repeat_interleave(widths)
        which = torch.arange(len(ahead), device=ahead.device).sub_((widths.cumsum(0) - widths)[ahead])
        return cls(kets.index_select(0, order), tuple(widths.tolist()), power), order[which], ahead

    @property
    def requires_grad(self) -> bool:
        """Whether the kets have a gradient."""
        return self.starts.requires_grad or self.power.requires_grad

    def measured(self, function: Callable[[Tensor], Tensor]) -> Shaped[Tensor, "node cell number"]:
        """Return what a function finds in all kets."""
        blocks: Iterable[Tensor] = self._formed()
        if self.requires_grad and torch.is_grad_enabled():
            blocks = self._recorded
        return torch.cat([function(each) for each in _gathered(blocks)])[None]

    @cached_property
    def _recorded(self) -> list[Tensor]:
        # The graph holds them in any case.
        return list(self._formed())

    def _formed(self) -> Iterator[Tensor]:
        yield self.starts
        # Before a place 2^l (2 m + 1) lies the last multiple of 2^l, from where E to 2^l leads there.
        last, steps, power = [self.starts], [], self.power
        for place, width in enumerate(self.widths[1:], 1):
            level = (place & -place).bit_length() - 1
            if level == len(steps):
                steps.append(power.to(self.starts.dtype))
                last.append(self.starts)
                power = power @ power
            block = last[level][:width] @ steps[level]
            last[: level + 1] = [block] * (level + 1)
            yield block


def _gathered(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Put small blocks together: to call a function takes longer than to copy what it works on."""
    group: list[Tensor] = []
    for block in blocks:
        group.append(block)
        if sum(each.numel() for each in group) >= _TOGETHER:
            yield group[0] if len(group) == 1 else torch.cat(group)
            group = []
    if group:
        yield torch.cat(group)
