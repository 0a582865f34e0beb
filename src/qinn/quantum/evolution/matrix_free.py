"""Trajectories and unitary evolution of generators that are known only by what they do to kets."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from qinn.quantum.evolution.adjoints import apply_action, march_differentiably
from qinn.quantum.evolution.flows import Arrival, Flow
from qinn.quantum.evolution.taylor_steps import DEGREES, check_bound, chunks_of, march_work
from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.interface import Action, MatrixFreeGenerator
from qinn.quantum.numerics.work import Work
from qinn.quantum.states.kets import squared_norm


def _controls_of_rows(generator: MatrixFreeGenerator, batch: torch.Size, num_rows: int) -> Tensor | None:
    """Controls (row, piece, control) for rows that lie sample by sample."""
    controls = generator.controls(batch)
    return None if controls is None else controls.repeat_interleave(num_rows // max(batch.numel(), 1), 0)


def _num_pieces(controls: Tensor | None) -> int:
    return 1 if controls is None else controls.shape[1]


def matrix_free_work(generator: MatrixFreeGenerator, time: float, *, jumps: bool) -> Work:
    """Bound how often a march applies a generator to its rows.

    Args:
        generator: The dynamics.
        time: Duration.
        jumps: Whether trajectories jump, or −iH alone is applied.

    Returns:
        Applications of the generator (chunks of a large batch march one after the other, each with as many); with
        jumps, each of which ends a step, also their expected number at most.
    """
    action = generator.no_jump_action() if jumps else generator.hamiltonian_action()
    pieces = generator.num_pieces if isinstance(generator, DrivenLindbladian) else 1
    applications = march_work(action.bound, time, generator.dtype, pieces)
    if not jumps:
        return Work(applications)
    expected = sum(jump.bound**2 for jump in generator.jump_actions()) * time
    return Work(applications + ceil(expected) * DEGREES[generator.dtype], expected)


@dataclass(frozen=True, eq=False)
class MatrixFreeFlow(Flow):
    """The flow of a matrix-free generator, by marching.

    Attributes:
        generator: Action of J.
        jumps: Action of every L_k.
        controls: Controls of every row (row, piece, control), or None.
        time: Whole duration.
    """

    generator: Action
    jumps: tuple[Action, ...]
    controls: Tensor | None
    time: float

    @classmethod
    def of(
        cls, generator: MatrixFreeGenerator, time: float, batch: torch.Size, num_rows: int
    ) -> "MatrixFreeFlow":
        """Prepare the actions for rows that lie sample by sample."""
        action = generator.no_jump_action()
        controls = _controls_of_rows(generator, batch, num_rows)
        check_bound(action.bound, time, generator.dtype, _num_pieces(controls))
        return cls(action, generator.jump_actions(), controls, time)

    def to_next_jump(self, kets: Tensor, rows: Tensor, remaining: Tensor, thresholds: Tensor) -> Arrival:
        """March; the backward pass repeats the accepted steps."""
        controls = None if self.controls is None else self.controls.index_select(0, rows)
        there = march_differentiably(self.generator, kets, controls, self.time, remaining, thresholds)
        return Arrival(there.kets, squared_norm(there.kets.detach()), there.elapsed, there.stopped)

    def jump(self, kets: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Apply every operator for its weight, chunk by chunk, then to each row its own."""
        channels = choose(self._weights(kets.detach()))
        stays, *groups = [(channels == channel).nonzero()[:, 0] for channel in range(-1, self.num_jumps)]
        parts = [
            apply_action(jump, kets.index_select(0, rows))
            for jump, rows in zip(self.jumps, groups, strict=True)
        ]
        order = torch.cat([stays, *groups]).argsort()
        return torch.cat([kets.index_select(0, stays), *parts]).index_select(0, order), channels

    @torch.no_grad()
    def _weights(self, kets: Tensor) -> Tensor:
        weights = kets.new_zeros(len(kets), self.num_jumps, dtype=torch.float64)
        for chunk in chunks_of(*kets.shape):
            part = kets[chunk].contiguous()
            for channel, jump in enumerate(self.jumps):
                weights[chunk, channel] = squared_norm(jump.function(jump.tensors, part, None)).double()
        return weights

    @property
    def num_jumps(self) -> int:
        """Number K of jump operators."""
        return len(self.jumps)

    @property
    def jump_size(self) -> float:
        """Bound of the norm of all operators together."""
        return sum(jump.bound**2 for jump in self.jumps) ** 0.5


def propagate_without_jumps(
    generator: MatrixFreeGenerator, kets: Tensor, time: float, batch: torch.Size
) -> Tensor:
    """Return exp(−iHt)ψ, piece by piece where H changes in time.

    Args:
        generator: The dynamics; its jump operators are ignored.
        kets: Vectors (*batch, …, D), of any norm.
        time: Duration t ≥ 0.
        batch: The leading axes that are samples.

    Raises:
        ArgumentError: If H is not finite, or too large.

    Source: P (criticised baseline); O (Taylor action).
    """
    if time == 0 or kets.numel() == 0:
        return kets
    action = generator.hamiltonian_action()
    rows = kets.reshape(-1, kets.shape[-1])
    controls = _controls_of_rows(generator, batch, len(rows))
    check_bound(action.bound, time, generator.dtype, _num_pieces(controls))
    remaining = torch.full((len(rows),), time, dtype=torch.float64, device=rows.device)
    return march_differentiably(action, rows, controls, time, remaining).kets.reshape(kets.shape)
