"""torchdiffeq's side: the master equation as an ordinary differential equation, all states at once."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from simulators.contender import Answer, Contender, Mode
from simulators.problem import Problem

# The loosest of 1, 3, 10, … × 1e-8 at which every size reaches an error of 1e-6.
TOLERANCE = 1e-7


def exact_contenders(
    problem: Problem, mode: Mode, *, tolerance: float = TOLERANCE, observables: bool = True
) -> list[Contender]:
    """Densities in both precisions, and qinn's own idea by hand: observables instead of densities."""
    ways = [(False, torch.complex64), (False, torch.complex128)]
    if observables:
        ways.append((True, torch.complex64))
    return [
        Contender(
            "torchdiffeq",
            "dopri5 on observables" if heisenberg else "dopri5",
            str(dtype).removeprefix("torch."),
            *_solver(problem, mode, dtype, tolerance, heisenberg=heisenberg),
            tolerance,
        )
        for heisenberg, dtype in ways
    ]


def _rate(H: Tensor, L: Tensor, *, heisenberg: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """𝓛 (or 𝓛†) on Hermitian matrices that lie side by side (dim, batch, dim), as real pairs.

    Of the formulations tried this is the fastest: one large product for every left factor, the Hermitian
    conjugate instead of a second product with J, and real pairs, which torchdiffeq handles faster than
    complex numbers.
    """
    flow = -1j * H - 0.5 * (L.mH @ L).sum(0)
    if heisenberg:
        flow, L = flow.mH, L.mH
    num, dim, _ = L.shape
    left, right = torch.cat([flow[None], L]).reshape(-1, dim), L.mH

    def rate(_: Tensor, pairs: Tensor) -> Tensor:
        matrices = torch.view_as_complex(pairs)
        products = (left @ matrices.reshape(dim, -1)).reshape(num + 1, -1, dim)
        half = products[0].reshape(matrices.shape)
        total = half + half.permute(2, 1, 0).conj()
        if num:
            jumped = products[1] @ right[0]
            for product, factor in zip(products[2:], right[1:], strict=True):
                jumped = torch.addmm(jumped, product, factor)
            total = total + jumped.reshape(matrices.shape)
        return torch.view_as_real(total)

    return rate


def _solver(
    problem: Problem, mode: Mode, dtype: torch.dtype, tolerance: float, *, heisenberg: bool
) -> tuple[Callable[[], tuple[Tensor, ...]], Callable[[tuple[Tensor, ...]], Answer]]:
    leaves = [
        torch.tensor(part, dtype=dtype).requires_grad_(mode == "both")
        for part in (problem.hamiltonian, problem.jump_operators, problem.kets)
    ]
    vectors = torch.tensor(problem.vectors, dtype=dtype)
    weights = torch.tensor(problem.weights, dtype=vectors.real.dtype)
    times = torch.tensor([0.0, problem.time], dtype=vectors.real.dtype)

    def probabilities() -> Tensor:
        H, L, kets = leaves
        rows = vectors if heisenberg else kets
        start = (rows[:, :, None] * rows[:, None, :].conj()).transpose(0, 1).contiguous()
        rate = _rate(H, L, heisenberg=heisenberg)
        pairs = odeint(
            rate, torch.view_as_real(start), times, rtol=tolerance, atol=tolerance, method="dopri5"
        )[-1]
        final = torch.view_as_complex(pairs.contiguous())  # (dim, batch or readout, dim)
        outer = kets if heisenberg else vectors
        half = (outer.conj() @ final.flatten(1)).reshape(len(outer), final.shape[1], -1)
        found = (half * outer[:, None]).sum(-1).real
        return found if heisenberg else found.mT

    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (probabilities(),)

    def both() -> tuple[Tensor, ...]:
        found = probabilities()
        return found.detach(), *torch.autograd.grad((found * weights).sum(), leaves)

    def read(result: tuple[Tensor, ...]) -> Answer:
        found, *gradient = (np.asarray(part) for part in result)
        return Answer(found, (gradient[0], gradient[1], gradient[2]) if gradient else None)

    return (both if mode == "both" else forward), read
