"""Trajectories and unitary evolution of generators that are known only by what they do to kets."""

from collections.abc import Callable, Sequence
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
from qinn.quantum.states.kets import squared_magnitude, squared_norm


def _of_rows(controls: Tensor | None, batch: torch.Size, num_rows: int) -> Tensor | None:
    """Controls (row, piece, control) for rows that lie sample by sample."""
    return None if controls is None else controls.repeat_interleave(num_rows // max(batch.numel(), 1), 0)


def _tensor(moments: Sequence[float], generator: MatrixFreeGenerator) -> Tensor:
    return torch.tensor(moments, dtype=torch.float64, device=generator.device)


def _samples(generator: MatrixFreeGenerator) -> torch.Size:
    return generator.samples if isinstance(generator, DrivenLindbladian) else torch.Size()


def _jump_sizes(jumps: Sequence[Action], controls: Tensor | None) -> list[float]:
    """Bound of the norm of every jump operator, for any row and piece."""
    if controls is None or not controls.numel():
        return [jump.bound for jump in jumps]
    largest = controls.detach().abs().flatten(0, 1).amax(0).tolist()
    return [jump.bound * factor for jump, factor in zip(jumps, largest, strict=True)]


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
    applications = march_work(action.bound, generator.moments(time), generator.dtype)
    if not jumps:
        return Work(applications)
    controls = generator.jump_controls(_samples(generator))
    expected = sum(size**2 for size in _jump_sizes(generator.jump_actions(), controls)) * time
    return Work(applications + ceil(expected) * DEGREES[generator.dtype], expected)


@dataclass(frozen=True, eq=False)
class MatrixFreeFlow(Flow):
    """The flow of a matrix-free generator, by marching.

    Attributes:
        generator: Action of J.
        jumps: Action of every L_k.
        controls: Controls of every row (row, piece, control), or None.
        jump_controls: Factors of the L_k of every row (row, piece, jump), or None for 1.
        moments: When the pieces begin, and the end, float64 (piece + 1,).
    """

    generator: Action
    jumps: tuple[Action, ...]
    controls: Tensor | None
    jump_controls: Tensor | None
    moments: Tensor

    @classmethod
    def of(
        cls, generator: MatrixFreeGenerator, time: float, batch: torch.Size, num_rows: int
    ) -> "MatrixFreeFlow":
        """Prepare the actions for rows that lie sample by sample."""
        action = generator.no_jump_action()
        controls = _of_rows(generator.controls(batch), batch, num_rows)
        jump_controls = _of_rows(generator.jump_controls(batch), batch, num_rows)
        moments = generator.moments(time)
        check_bound(action.bound, moments, generator.dtype)
        return cls(action, generator.jump_actions(), controls, jump_controls, _tensor(moments, generator))

    def to_next_jump(self, kets: Tensor, rows: Tensor, remaining: Tensor, thresholds: Tensor) -> Arrival:
        """March; the backward pass repeats the accepted steps."""
        controls = None if self.controls is None else self.controls.index_select(0, rows)
        there = march_differentiably(self.generator, kets, controls, self.moments, remaining, thresholds)
        return Arrival(there.kets, squared_norm(there.kets.detach()), there.elapsed, there.stopped)

    def jump(
        self, kets: Tensor, rows: Tensor, moments: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Apply every operator for its weight, chunk by chunk, then to each row its own."""
        weights, factors = self._weights(kets.detach()), None
        if self.jump_controls is not None:
            pieces = torch.searchsorted(self.moments[1:-1], moments)
            factors = self.jump_controls[rows, pieces]
            weights = weights * squared_magnitude(factors.detach()).double()
        channels = choose(weights)
        stays, *groups = [(channels == channel).nonzero()[:, 0] for channel in range(-1, self.num_jumps)]
        parts = [
            apply_action(jump, kets.index_select(0, members))
            for jump, members in zip(self.jumps, groups, strict=True)
        ]
        order = torch.cat([stays, *groups]).argsort()
        jumped = torch.cat([kets.index_select(0, stays), *parts]).index_select(0, order)
        if factors is None:
            return jumped, channels
        taken = factors.gather(1, channels.clamp(min=0)[:, None])
        return jumped * torch.where(channels[:, None] >= 0, taken, 1), channels

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
        return sum(size**2 for size in _jump_sizes(self.jumps, self.jump_controls)) ** 0.5


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
    controls, moments = _of_rows(generator.controls(batch), batch, len(rows)), generator.moments(time)
    check_bound(action.bound, moments, generator.dtype)
    remaining = torch.full((len(rows),), time, dtype=torch.float64, device=rows.device)
    arrived = march_differentiably(action, rows, controls, _tensor(moments, generator), remaining)
    return arrived.kets.reshape(kets.shape)


def propagate_matrix_free_densities(generator: MatrixFreeGenerator, densities: Tensor, time: float) -> Tensor:
    """Return the exact average over all trajectories, exp(𝓛t)ρ, by the action of the operators on rows and columns.

    Of a Hermitian X it is 𝓛X = F + F† with F = JX + ½ Σ L_k (L_k X)†, two applications of each operator to D kets. The
    march is that of kets: 𝓛 contracts all but the Hilbert–Schmidt norm, which may grow, but hardly within a step.

    Args:
        generator: The dynamics, the same for all samples.
        densities: Hermitian matrices (…, D, D).
        time: Duration t ≥ 0.

    Returns:
        The evolved matrices, to round-off: differentiable once.

    Raises:
        ArgumentError: If an operator is not finite, or too large.

    Source: P (dissipative dynamics); O (Taylor action).
    """
    if time == 0 or densities.numel() == 0:
        return densities
    action = _action_on_densities(generator)
    check_bound(action.bound, [0.0, time], generator.dtype)
    hermitian = 0.5 * (densities + densities.mH)
    rows = hermitian.conj().reshape(-1, generator.dim**2)
    remaining = torch.full((len(rows),), time, dtype=torch.float64, device=rows.device)
    moments = _tensor([0.0, time], generator)
    arrived = march_differentiably(action, rows, None, moments, remaining)
    return arrived.kets.conj().reshape(densities.shape).resolve_conj()


def matrix_free_density_work(generator: MatrixFreeGenerator, time: float) -> Work:
    """Bound how often `propagate_matrix_free_densities` applies 𝓛 to all densities; arguments as there."""
    return Work(march_work(_action_on_densities(generator).bound, [0.0, time], generator.dtype))


def _action_on_densities(generator: MatrixFreeGenerator) -> Action:
    """Action of 𝓛 on the conjugates of Hermitian matrices as rows (row, D²): their rows are kets to act on."""
    still, jumps, dim = generator.no_jump_action(), generator.jump_actions(), generator.dim
    tensors = [*still.tensors, *(tensor for jump in jumps for tensor in jump.tensors)]

    def function(given: Sequence[Tensor], rows: Tensor, controls: Tensor | None) -> Tensor:
        kets, shape = rows.reshape(-1, dim), (-1, dim, dim)
        half = still.function(given[: len(still.tensors)], kets, None).view(shape)
        start = len(still.tensors)
        for jump in jumps:
            own = given[start : start + len(jump.tensors)]
            start += len(jump.tensors)
            once = jump.function(own, kets, None).view(shape).mH.resolve_conj().reshape(-1, dim)
            half = half + 0.5 * jump.function(own, once.contiguous(), None).view(shape)
        return (half + half.mH).reshape(rows.shape)

    bound = 2 * still.bound + sum(jump.bound**2 for jump in jumps)
    return Action(tuple(tensors), function, bound)
