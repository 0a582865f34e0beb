"""Quantum jumps on a fixed grid, of a stated order in the step: for comparison with continuous time."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_count, check_seed
from qinn.quantum.evolution.each_system import evolve_each
from qinn.quantum.evolution.evolution import Evolution
from qinn.quantum.evolution.rates import check_step, largest_rate
from qinn.quantum.evolution.starts import UniformSource, trajectories_of
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.trace_parts import energy_offset
from qinn.quantum.numerics.work import Work, check_pieces
from qinn.quantum.states.ensembles import State
from qinn.quantum.states.kets import squared_norm


@final
@dataclass(frozen=True)
class SteppedJumps(Evolution):
    """Quantum-jump trajectories with a step error of first or second order; `QuantumJumps` has none.

    A step of length τ = T/``steps`` takes one of a few branches K_b, with probability ‖K_bψ‖²/Σ_c ‖K_cψ‖²:

    - order 1: e^{Jτ} and √τ L_k e^{Jτ}, at most one jump, at the end of the step;
    - order 2: e^{Jτ/2} M e^{Jτ/2} with M = 1, √τ L_k or (τ/√2) L_l L_k, at most two jumps, in its middle.

    Averages deviate from the exact channel by O(τ) and O(τ²). Every branch is a product where the operators are
    local, so that products stay products in every trajectory, unlike in schemes that complete a step's Kraus
    operators by a matrix root. A step costs 1 + K or 1 + K + K² branches.

    Gradient: as for `QuantumJumps`, unbiased for the stepped dynamics: averages carry the score, values per
    trajectory need `qinn.quantum.score_surrogate`.

    Args:
        num_trajectories: M per sample. An initial ensemble of one trajectory is replicated; one of M is kept.
        order: 1 or 2.
        seed: As for `QuantumJumps`.

    Raises:
        ArgumentError: If an option is impossible, the state is mixed or not of unit norm, an operator is
            not finite, or a step so long that more than ten jumps may fall in it.

    Source: own (e^{𝓙τ/2} e^{Φτ} e^{𝓙τ/2}, the symmetric splitting into no-jump flow 𝓙 and jumps Φ; G. Strang,
        SIAM J. Numer. Anal. 5 (1968) 506).

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> stepped = SteppedJumps(num_trajectories=100, order=2, seed=0)
        >>> state = stepped.evolve([0, 1], decay, time=50.0, steps=100)
        >>> state.density()[0, 0].real
        tensor(1.)
    """

    num_trajectories: int
    order: Literal[1, 2] = 2
    seed: int | None = None

    def __post_init__(self) -> None:
        check_count("num_trajectories", self.num_trajectories)
        check_seed(self.seed)
        if self.order not in (1, 2):
            raise ArgumentError(f"Argument `order` must be 1 or 2, but it is {self.order}.")

    keeps_factors: ClassVar = True
    needs_steps: ClassVar = True

    def _estimate(self, lindbladian: Lindbladian, time: float, steps: int, batch: int) -> Work:
        return Work(2 * steps * self.order, largest_rate(lindbladian) * time)

    def _evolve(self, initial: State, lindbladian: Lindbladian, time: float, steps: int) -> State:
        check_pieces("steps", steps, 2 * steps * self.order)
        initial = trajectories_of(initial, self.num_trajectories, self.seed)
        if time == 0 or initial.kets.numel() == 0:
            return initial.moved(initial.kets)
        if lindbladian.batch:
            return evolve_each(
                lambda some, one, _: self._evolve(some, one, time, steps),
                initial,
                lindbladian,
                lindbladian.batch,
            )
        check_step(lindbladian, time / steps)
        step = step_branches(lindbladian, time / steps, self.order)
        uniforms = UniformSource(self.num_trajectories, self.seed, stage=initial.num_draws)
        kets = initial.kets.reshape(-1, initial.dim)
        rows = torch.arange(len(kets), device=kets.device)
        score = torch.zeros_like(kets.real[:, 0])
        for _ in range(steps):
            branches = step.apply(kets)
            weights = squared_norm(branches)
            cumulative = weights.detach().double().cumsum(-1)
            numbers = uniforms.draw(rows, 1) * cumulative[:, -1:]
            chosen = (cumulative < numbers).sum(-1).clamp(max=weights.shape[1] - 1)
            taken = weights[rows, chosen]
            kets = branches[rows, chosen] * taken.rsqrt()[:, None]
            score = score + taken.log() - weights.sum(-1).log()
        score = (score - score.detach()).reshape(initial.log_likelihood.shape)
        return initial.moved(kets.reshape(initial.kets.shape), score=score, draws=1)


@dataclass(frozen=True, eq=False)
class StepBranches:
    """The branches of one step, as operators on kets that are stored as rows.

    Attributes:
        before: Flow up to the jumps, (D, D).
        jump_rows: √τ L_k, (K, D, D).
        after: Flow after the jumps, or None.
    """

    before: Tensor
    jump_rows: Tensor
    after: Tensor | None

    def apply(self, kets: Tensor) -> Tensor:
        """Return K_bψ of every row and branch, (row, branch, D): no jump first, then one, then two."""
        still = (kets @ self.before)[:, None]
        once = torch.einsum("rbd,kde->rbke", still, self.jump_rows).flatten(1, 2)
        if self.after is None:
            return torch.cat([still, once], 1)
        twice = torch.einsum("rbd,kde->rbke", once * 0.5**0.5, self.jump_rows).flatten(1, 2)
        return torch.cat([still, once, twice], 1) @ self.after


def step_branches(lindbladian: Lindbladian, step: float, order: Literal[1, 2]) -> StepBranches:
    """Prepare the branches of a step.

    Args:
        lindbladian: The dynamics.
        step: Length τ > 0.
        order: 1 or 2.
    """
    flow = no_jump_flow(lindbladian, step / order).mT
    return StepBranches(flow, lindbladian.jump_operators.mT * step**0.5, flow if order == 2 else None)


def no_jump_flow(lindbladian: Lindbladian, step: float) -> Tensor:
    """Return exp(Jτ), the flow between jumps for a step.

    Args:
        lindbladian: The dynamics.
        step: Length τ > 0.
    """
    if energy_offset(lindbladian.hamiltonian) == 0:
        return torch.linalg.matrix_exp(lindbladian.no_jump_generator * step)
    # Mostly a phase, whose round-off would be that of every level.
    double = lindbladian.to(torch.complex128)
    return torch.linalg.matrix_exp(double.no_jump_generator * step).to(lindbladian.dtype)
