"""Relaxed quantum jumps: a biased gradient by straight-through Gumbel softmax, for comparison."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, final

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_between, check_count, check_seed
from qinn.quantum.evolution.each_system import evolve_each
from qinn.quantum.evolution.evolution import Evolution
from qinn.quantum.evolution.rates import check_step, largest_rate
from qinn.quantum.evolution.starts import UniformSource, trajectories_of
from qinn.quantum.evolution.stepped import no_jump_flow
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.work import Work, check_pieces
from qinn.quantum.states.ensembles import State
from qinn.quantum.states.kets import squared_norm


@final
@dataclass(frozen=True, repr=False)
class GumbelJumps(Evolution):
    """BIASED: quantum jumps on a fixed grid with a relaxed gradient (straight-through Gumbel softmax).

    Time is cut into ``steps`` equal steps. In each, the branches "no jump" (probability ‖e^{Jτ}ψ‖²) and
    "jump k at the end of the step" (the rest, ∝ ‖L_k e^{Jτ}ψ‖²) compete; the forward pass takes one branch,
    the backward pass differentiates a softmax mixture of all. **The gradient is biased at any temperature,
    and the states carry a step error of order τ** (at most one jump per step); use `QuantumJumps` unless
    this is what you study. Averages over its trajectories, like ``density()``, have the same bias.

    Args:
        num_trajectories: M per sample.
        temperature: Temperature of the softmax, at least ε of the state's precision (1.2e-7 or 2.2e-16): below it,
            what it divides has no digits.
        seed: As for `QuantumJumps`.

    Raises:
        ArgumentError: If an option is impossible, the initial state does not fit, or more than ten jumps may fall in a
            step.

    Source: E. Jang, S. Gu, B. Poole, ICLR 2017; own application.

    Examples:
        >>> GumbelJumps(num_trajectories=2, temperature=0.5)
        GumbelJumps(BIASED relaxed gradient, num_trajectories=2, temperature=0.5, seed=None)
    """

    num_trajectories: int
    temperature: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        check_count("num_trajectories", self.num_trajectories)
        check_seed(self.seed)
        check_between("temperature", self.temperature, 0.0, inf)

    def __repr__(self) -> str:
        return (
            f"GumbelJumps(BIASED relaxed gradient, num_trajectories={self.num_trajectories}, "
            f"temperature={self.temperature}, seed={self.seed})"
        )

    keeps_factors: ClassVar = True
    needs_steps: ClassVar = True

    def _estimate(self, lindbladian: Lindbladian, time: float, steps: int, batch: int) -> Work:
        return Work(2 * steps, largest_rate(lindbladian) * time)

    def _evolve(self, initial: State, lindbladian: Lindbladian, time: float, steps: int) -> State:
        check_pieces("steps", steps, 2 * steps)
        least = torch.finfo(lindbladian.dtype).eps
        if self.temperature < least:
            raise ArgumentError(
                f"Argument `temperature` must be at least the round-off of the logits, {least:.2g} in "
                f"{lindbladian.dtype}, but it is {self.temperature:.3g}; raise it."
            )
        initial = trajectories_of(initial, self.num_trajectories, self.seed)
        if time == 0 or initial.kets.numel() == 0:
            return initial
        if lindbladian.batch:
            return evolve_each(
                lambda some, one, _: self._evolve(some, one, time, steps),
                initial,
                lindbladian,
                lindbladian.batch,
            )
        check_step(lindbladian, time / steps)
        step = no_jump_flow(lindbladian, time / steps).mT
        jump_rows = lindbladian.jump_operators.mT
        uniforms = UniformSource(self.num_trajectories, self.seed, stage=initial.num_draws)
        kets = initial.kets.reshape(-1, initial.dim)
        rows = torch.arange(len(kets), device=kets.device)
        for _ in range(steps):
            kets = self._step(kets, step, jump_rows, uniforms.draw(rows, len(jump_rows) + 1))
        return initial.moved(kets.reshape(*initial.kets.shape), draws=1)

    def _step(self, kets: Tensor, step: Tensor, jump_rows: Tensor, uniforms: Tensor) -> Tensor:
        flowed = kets @ step
        jumped = torch.einsum("rd,kde->rke", flowed, jump_rows)
        survival = squared_norm(flowed)
        weights = squared_norm(jumped)
        tiny = torch.finfo(survival.dtype).tiny
        shares = weights / weights.sum(-1, keepdim=True).clamp(min=tiny)
        chances = torch.cat([survival[:, None], (1 - survival).clamp(min=0)[:, None] * shares], -1)
        noise = -(-uniforms.log()).log().to(chances.dtype)
        # A branch of probability 0 keeps a finite logarithm, and is never the largest.
        logits = chances.clamp(min=tiny).log() + noise
        soft = (logits / self.temperature).softmax(-1)
        hard = torch.zeros_like(soft).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
        choice = hard + soft - soft.detach()
        branches = torch.cat([flowed[:, None], jumped], 1)
        norms = torch.cat([survival[:, None], weights], -1).clamp(min=tiny).sqrt()
        mixed = (choice[..., None] * branches / norms[..., None]).sum(1)
        return mixed / squared_norm(mixed).sqrt()[:, None]
