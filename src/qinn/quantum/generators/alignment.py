"""How the leading axes of many systems meet those of what evolves under them: ordinary, right-aligned broadcasting."""

from dataclasses import dataclass

import torch
from torch import Tensor

from qinn.errors import ArgumentError


@dataclass(frozen=True)
class Alignment:
    """Leading axes of systems and of what evolves, and the order in which every system meets all that is its own.

    Attributes:
        systems: Leading axes of the systems.
        batch: Leading axes of the result, in which those of both are broadcast.

    Examples:
        >>> aligned = Alignment.of(torch.Size([3, 1]), torch.Size([5]), "densities")
        >>> aligned.batch, aligned.gathered(torch.zeros(5, 2, 2)).shape
        (torch.Size([3, 5]), torch.Size([3, 5, 2, 2]))
    """

    systems: torch.Size
    batch: torch.Size

    @classmethod
    def of(cls, systems: torch.Size, axes: torch.Size, name: str) -> "Alignment":
        """Align.

        Args:
            systems: Leading axes of the systems.
            axes: Leading axes of what evolves under them.
            name: What that is called, for the message.

        Raises:
            ArgumentError: If the axes do not fit.
        """
        try:
            return cls(systems, torch.broadcast_shapes(systems, axes))
        except RuntimeError:
            raise ArgumentError(
                f"Argument `{name}` must have leading axes that fit those of the systems, {tuple(systems)}, but has "
                f"{tuple(axes)}; give axes of length 1 where one is shared."
            ) from None

    @property
    def num_systems(self) -> int:
        """Number S of systems."""
        return self.systems.numel()

    def _order(self) -> tuple[list[int], list[int]]:
        """Axes of the result along which systems differ, and the others."""
        lead = len(self.batch) - len(self.systems)
        own = [lead + axis for axis, length in enumerate(self.systems) if length != 1]
        return own, [axis for axis in range(len(self.batch)) if axis not in own]

    def gathered(self, tensor: Tensor, *, inner: int = 2) -> Tensor:
        """Return what evolves system by system.

        Args:
            tensor: It, with its leading axes first.
            inner: Number of axes that are not leading.

        Returns:
            Tensor (S, of each system, *inner).
        """
        own, free = self._order()
        inside = tensor.shape[tensor.ndim - inner :]
        tails = range(len(self.batch), len(self.batch) + inner)
        ordered = tensor.expand(*self.batch, *inside).permute(*own, *free, *tails)
        sizes = [self.batch[axis] for axis in free]
        return ordered.reshape(self.num_systems, torch.Size(sizes).numel(), *inside)

    def spread(self, tensor: Tensor, *, before: int = 0) -> Tensor:
        """Return what was gathered in the axes of the result: the inverse of `gathered`.

        Args:
            tensor: Tensor (*before, S, of each system, *inner).
            before: Number of axes before.
        """
        own, free = self._order()
        front, inside = tensor.shape[:before], tensor.shape[before + 2 :]
        order = own + free
        shaped = tensor.reshape(*front, *[self.batch[axis] for axis in order], *inside)
        back = [before + order.index(axis) for axis in range(len(order))]
        tails = range(before + len(order), shaped.ndim)
        return shaped.permute(*range(before), *back, *tails)
