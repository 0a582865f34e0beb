"""The flow between jumps and the jumps themselves, as trajectories need them, whatever holds the operators."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qinn.quantum.evolution.waiting_times import NoJumpFlow, find_waiting_times, no_jump_flow
from qinn.quantum.kets import squared_norm
from qinn.quantum.operators import Lindbladian


@dataclass(frozen=True, eq=False)
class Arrival:
    """Rows at their next jump, or at the end.

    Attributes:
        kets: Unnormalised rows, differentiable at fixed times.
        squared_norms: Their squared norms, without gradient.
        elapsed: Time until then, float64 (row,).
        jumps: Whether a jump is due, bool (row,).
    """

    kets: Tensor
    squared_norms: Tensor
    elapsed: Tensor
    jumps: Tensor


class Flow(ABC):
    """Moves kets (rows) from jump to jump."""

    @abstractmethod
    def to_next_jump(self, kets: Tensor, rows: Tensor, remaining: Tensor, thresholds: Tensor) -> Arrival:
        """Flow until the squared norm of each row falls to its threshold, or its time is up.

        Args:
            kets: Unit rows (row, D).
            rows: Which of all rows these are (a flow may differ from row to row).
            remaining: Time left for each row, float64 (row,).
            thresholds: Uniform random numbers in (0, 1), float64 (row,).

        Returns:
            The rows there.
        """

    @abstractmethod
    def jump_weights(self, kets: Tensor) -> Tensor:
        """Return ‖L_kψ‖² of every row and jump operator, float64 (row, K), without gradient."""

    @abstractmethod
    def jump(self, kets: Tensor, channel: int) -> Tensor:
        """Return L_kψ of every row."""

    @property
    @abstractmethod
    def jump_size(self) -> float:
        """Bound of ‖L_kψ‖ for unit ψ, to tell jumps from round-off."""


@dataclass(frozen=True, eq=False)
class DenseFlow(Flow):
    """The flow of a dense Lindbladian, by powers of its exponential.

    Attributes:
        powers: The flow, differentiable.
        jump_rows: L_k^T.
    """

    powers: NoJumpFlow
    jump_rows: Tensor
    _fixed: NoJumpFlow = field(init=False)
    _each: tuple[Tensor, ...] = field(init=False)
    _stacked: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fixed", self.powers.detach())
        object.__setattr__(self, "_each", self.jump_rows.unbind())
        dim = self.jump_rows.shape[-1]
        object.__setattr__(self, "_stacked", self.jump_rows.detach().permute(1, 0, 2).reshape(dim, -1))

    @classmethod
    def of(cls, lindbladian: Lindbladian, time: float, steps: int) -> "DenseFlow":
        """Prepare the powers for a duration, with cells of at most time/steps."""
        return cls(no_jump_flow(lindbladian, time, steps), lindbladian.jump_operators.mT)

    def to_next_jump(self, kets: Tensor, rows: Tensor, remaining: Tensor, thresholds: Tensor) -> Arrival:
        """Binary search over the powers; only the accepted products are repeated with gradients."""
        found = find_waiting_times(self._fixed, kets.detach(), remaining, thresholds)
        generator = self.powers.generator
        differentiable = torch.is_grad_enabled() and (kets.requires_grad or generator.requires_grad)
        moved = self.powers.advance(kets, found.accepted, found.rest) if differentiable else found.kets
        return Arrival(moved, squared_norm(found.kets), found.elapsed, found.jumps)

    @torch.no_grad()
    def jump_weights(self, kets: Tensor) -> Tensor:
        """One product with all operators side by side."""
        num_jumps, dim, _ = self.jump_rows.shape
        candidates = (kets.detach() @ self._stacked).reshape(len(kets), num_jumps, dim)
        return squared_norm(candidates).double()

    def jump(self, kets: Tensor, channel: int) -> Tensor:
        """One product."""
        return kets @ self._each[channel]

    @property
    def jump_size(self) -> float:
        """Frobenius norm of all operators."""
        return float(torch.linalg.vector_norm(self._stacked))
