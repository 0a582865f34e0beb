"""qinn's side, through its public interface alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from qinn.quantum import (
    Evolution,
    ExactChannel,
    Heisenberg,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    State,
    score_surrogate,
)
from simulators.contender import Answer, Contender, Mode
from simulators.problem import Problem

# By the rule of every package: the loosest of 1, 3, 10 … with which probabilities are exact to 1e-6.
TOLERANCE = 1e-5


def exact_contenders(problem: Problem, mode: Mode) -> list[Contender]:
    """Exact averages: observables in single precision, densities in double."""
    return [
        Contender("qinn", setting, _name(dtype), *_solver(problem, evolution, dtype, mode), TOLERANCE)
        for setting, evolution, dtype in (
            ("Heisenberg", Heisenberg(TOLERANCE), torch.complex64),
            ("ExactChannel", ExactChannel(TOLERANCE), torch.complex128),
        )
    ]


def heisenberg_contender(problem: Problem, mode: Mode) -> Contender:
    """The first of `exact_contenders` alone."""
    return exact_contenders(problem, mode)[0]


def default_contender(problem: Problem, mode: Mode) -> Contender:
    """Observables in single precision, as exact as a user gets them without asking."""
    dtype = torch.complex64
    solver = _solver(problem, Heisenberg(), dtype, mode)
    return Contender("qinn", "Heisenberg, default", _name(dtype), *solver, 1e-6)


def trajectory_contender(problem: Problem, mode: Mode, *, steps: int = 1) -> Contender:
    """One trajectory per input; the gradient is the unbiased one."""
    solver = _solver(problem, QuantumJumps(1), torch.complex64, mode, steps=steps)
    return Contender("qinn", "QuantumJumps", _name(torch.complex64), *solver)


def exact_answer(problem: Problem, mode: Mode) -> Answer:
    """The exact averages, in double precision: what trajectories are held against."""
    call, read = _solver(problem, Heisenberg(1e-12), torch.complex128, mode)
    return read(call())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _solver(
    problem: Problem, evolution: Evolution, dtype: torch.dtype, mode: Mode, *, steps: int = 1
) -> tuple[Callable[[], tuple[Tensor, ...]], Callable[[tuple[Tensor, ...]], Answer]]:
    leaves = [
        torch.tensor(part, dtype=dtype).requires_grad_(mode == "both")
        for part in (problem.hamiltonian, problem.jump_operators, problem.kets)
    ]
    vectors = torch.tensor(problem.vectors, dtype=dtype)
    weights = torch.tensor(problem.weights, dtype=vectors.real.dtype)

    def evolve() -> State:
        hamiltonian, jump_operators, kets = leaves
        # Unchecked, as in `LearnableLindbladian`, where the values are legal by construction.
        dynamics = Lindbladian(hamiltonian, jump_operators, validate=False)
        return evolution.evolve(PureEnsemble(kets[:, None]), dynamics, time=problem.time, steps=steps)

    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (evolve().probabilities(vectors)[:, 0],)

    def both() -> tuple[Tensor, ...]:
        state = evolve()
        probabilities = state.probabilities(vectors)
        losses = (probabilities * weights[:, None]).sum(-1)
        if isinstance(evolution, QuantumJumps):
            losses = score_surrogate(losses, state.log_likelihood)
        # Without jump operators nothing depends on them.
        gradients = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
        return probabilities.detach()[:, 0], *gradients

    def read(result: tuple[Tensor, ...]) -> Answer:
        probabilities, *gradient = (part.numpy() for part in result)
        return Answer(probabilities, (gradient[0], gradient[1], gradient[2]) if gradient else None)

    return (both if mode == "both" else forward), read
