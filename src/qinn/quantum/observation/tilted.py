"""Evolution under generators whose jumps carry factors, by which counts are told apart."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from qinn.quantum.generators.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.chebyshev import (
    ExponentialPlan,
    FieldOfValues,
    exponential_action,
    plan_exponential,
)
from qinn.quantum.numerics.guarded import Run, guarded
from qinn.quantum.numerics.marching import march
from qinn.quantum.numerics.work import check_applications

# Up to here matrices of D² × D² are exponentiated; three blocks of it for moments.
_LARGEST_DENSE_DIM = 8
_TOLERANCE = 1e-13


def evolve_tilted(
    dynamics: Lindbladian, densities: Tensor, factors: Tensor, times: Sequence[float]
) -> Tensor:
    """Return e^{𝓛_z t}X with 𝓛_z X = J X + X J† + Σ_k z_k L_kXL_k†, at many times and for many sets of factors.

    Args:
        dynamics: The dynamics, in double precision.
        densities: Any matrices (…, D, D).
        factors: z (set, K), |z_k| ≤ 1.
        times: Rising times ≥ 0.

    Returns:
        Matrices (time, set, …, D, D).

    Source: own.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2).double(), [[[0, 1], [0, 0]]])
        >>> excited, unseen = torch.diag(torch.tensor([0, 1])).to(decay.dtype), torch.ones(1, 1).to(decay.dtype)
        >>> evolve_tilted(decay, excited, 0 * unseen, [0.6931472])[0, 0].diagonal().real.round(decimals=5)
        tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    dim, batch = dynamics.dim, densities.shape[:-2]
    matrices = densities.reshape(-1, dim, dim)
    if dim <= _LARGEST_DENSE_DIM:
        jumps = dynamics.jump_operators
        identity = torch.eye(dim, dtype=jumps.dtype, device=jumps.device)
        flow = dynamics.no_jump_generator
        fixed = torch.kron(flow, identity) + torch.kron(identity, flow.conj())
        sandwiches = torch.einsum("kij,klm->kiljm", jumps, jumps.conj()).reshape(-1, dim**2, dim**2)
        generator = fixed + torch.einsum("zk,kab->zab", factors, sandwiches)

        def propagators(intervals: Sequence[float]) -> list[Tensor]:
            return [torch.linalg.matrix_exp(each * generator) for each in intervals]

        columns = matrices.flatten(1).mT.expand(len(factors), -1, -1)
        states = march(propagators, columns, times).mT
        return states.reshape(len(times), len(factors), *batch, dim, dim)
    flow, jumps = dynamics.no_jump_generator, dynamics.jump_operators
    start = matrices.expand(len(factors), *matrices.shape)

    def build(given: Sequence[Tensor], scale: float, shift: float) -> Callable[[Tensor], Tensor]:
        _, own_flow, own_jumps, own_factors = given
        left = scale * own_flow - 0.5 * shift * torch.eye(dim, dtype=flow.dtype, device=flow.device)

        def apply(state: Tensor) -> Tensor:
            total = left @ state + state @ left.mH
            for jump, each in zip(own_jumps, own_factors.mT, strict=True):
                total = total + each[:, None, None, None] * ((scale * jump) @ state @ jump.mH)
            return total

        return apply

    field = _field(dynamics)
    found = _along(build, (start, flow, jumps, factors), field, times, (2, 3))
    return found.reshape(len(times), len(factors), *batch, dim, dim)


def evolve_count_moments(
    dynamics: Lindbladian, densities: Tensor, weights: Tensor, times: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return ⟨N⟩ and ⟨N²⟩ of N = Σ_k w_k (jumps of channel k), at many times.

    The derivatives R₁ and R₂ of e^{𝓛_χ t}ρ by iχ obey dR₁/dt = 𝓛R₁ + 𝓙₁ρ and dR₂/dt = 𝓛R₂ + 2𝓙₁R₁ + 𝓙₂ρ, with 𝓙_p X =
    Σ_k w_k^p L_kXL_k†.

    Args:
        dynamics: The dynamics, in double precision.
        densities: ρ (…, D, D).
        weights: w (K,).
        times: Rising times ≥ 0.

    Returns:
        Both (time, …).

    Source: own.

    Examples:
        >>> clock = Lindbladian([[0]], torch.ones(1, 1, 1).to(torch.complex128))
        >>> evolve_count_moments(clock, torch.ones(1, 1).to(clock.dtype), torch.ones(1).double(), [2.0])
        (tensor([2.], dtype=torch.float64), tensor([6.], dtype=torch.float64))
    """
    dim, batch = dynamics.dim, densities.shape[:-2]
    matrices = densities.reshape(-1, dim, dim)
    if dim <= _LARGEST_DENSE_DIM:
        states = _moments_by_matrices(dynamics, matrices, weights, times)
        scale = 1.0
    else:
        reach = times[-1] * float(weights.detach().abs().max()) if len(weights) else 0.0
        scale = max(1.0, reach * -_field(dynamics).real_low)
        states = _moments_by_series(dynamics, matrices, weights / scale, times)
    traces = states.diagonal(dim1=-2, dim2=-1).sum(-1).real.reshape(len(times), 3, *batch)
    return scale * traces[:, 1], scale**2 * traces[:, 2]


def _moments_by_matrices(
    dynamics: Lindbladian, matrices: Tensor, weights: Tensor, times: Sequence[float]
) -> Tensor:
    dim = dynamics.dim
    generator = superoperator_on_real_coordinates(dynamics)
    jumps = dynamics.jump_operators
    sandwiches = torch.einsum("kij,klm->kiljm", jumps, jumps.conj()).reshape(-1, dim**2, dim**2)
    # As in `superoperator_on_real_coordinates`.
    transposed = sandwiches.imag.reshape(-1, dim**2, dim, dim).mT.reshape(sandwiches.shape)
    real = sandwiches.real + transposed
    once, twice = (torch.einsum("k,kab->ab", weights**power, real) for power in (1, 2))
    zero = torch.zeros_like(generator)
    rows = [(generator, zero, zero), (once, generator, zero), (twice, 2 * once, generator)]
    whole = torch.cat([torch.cat(row, 1) for row in rows])

    def propagators(intervals: Sequence[float]) -> list[Tensor]:
        return [torch.linalg.matrix_exp(each * whole) for each in intervals]

    columns = real_coordinates(matrices).real.flatten(1).mT
    start = torch.cat([columns, torch.zeros_like(columns), torch.zeros_like(columns)])
    states = march(propagators, start, times).unflatten(1, (3, dim**2)).mT
    coordinates = states.reshape(len(times), 3, len(matrices), dim, dim)
    return from_real_coordinates(coordinates.to(torch.complex128))


def _moments_by_series(
    dynamics: Lindbladian, matrices: Tensor, weights: Tensor, times: Sequence[float]
) -> Tensor:
    dim, flow, jumps = dynamics.dim, dynamics.no_jump_generator, dynamics.jump_operators
    start = torch.stack([matrices, torch.zeros_like(matrices), torch.zeros_like(matrices)])
    # By powers of each weight: what a jump adds to ρ, R₁ and R₂ of ρ, R₁ and R₂.
    one, none = torch.ones_like(weights), torch.zeros_like(weights)
    rows = [(one, none, none), (weights, one, none), (weights**2, 2 * weights, one)]
    mixing = torch.stack([torch.stack(row) for row in rows]).permute(2, 0, 1).to(flow.dtype)

    def build(given: Sequence[Tensor], scale: float, shift: float) -> Callable[[Tensor], Tensor]:
        _, own_flow, own_jumps, own_mixing = given
        left = scale * own_flow - 0.5 * shift * torch.eye(dim, dtype=flow.dtype, device=flow.device)

        def apply(state: Tensor) -> Tensor:
            total = left @ state + state @ left.mH
            for jump, mix in zip(own_jumps, own_mixing, strict=True):
                total = total + torch.einsum("ab,bsij->asij", mix, (scale * jump) @ state @ jump.mH)
            return total

        return apply

    field = _field(dynamics)
    # The couplings of the three add no more than this to any ⟨x, 𝓛x⟩.
    wider = 3 * float(weights.detach().abs().max()) * -field.real_low if len(weights) else 0.0
    field = FieldOfValues(field.real_low - wider, field.real_high + wider, field.imaginary + wider)
    return _along(build, (start, flow, jumps, mixing), field, times, (0, 2, 3))


def _field(dynamics: Lindbladian) -> FieldOfValues:
    """A rectangle of ⟨X, 𝓛_z X⟩ for any |z_k| ≤ 1.

    Factors cannot make Σ z_k L_k · L_k† larger than Σ L_k · L_k†, in the Hilbert–Schmidt norm n of the map.
    """
    H, L = dynamics.hamiltonian.detach(), dynamics.jump_operators.detach()
    down, up = (L.mH @ L).sum(0), (L @ L.mH).sum(0)
    squared = (L.mH @ up @ L).sum(0)
    values = torch.linalg.eigvalsh(torch.stack([H, down, squared]))
    (h_low, g_low, _), (h_high, g_high, most) = values[:, 0].tolist(), values[:, -1].tolist()
    jumps = max(most, 0.0) ** 0.5
    return FieldOfValues(-g_high - jumps, max(jumps - max(g_low, 0.0), 0.0), h_high - h_low + jumps)


def _along(
    build: Callable[[Sequence[Tensor], float, float], Callable[[Tensor], Tensor]],
    tensors: tuple[Tensor, ...],
    field: FieldOfValues,
    times: Sequence[float],
    part_axes: tuple[int, ...],
) -> Tensor:
    """Evolve the first of the tensors from each time to the next by series."""
    state, *operators = tensors
    found, before = [], 0.0
    for time in times:
        if time > before:
            plan = plan_exponential(field.scaled(time - before), _TOLERANCE)
            check_applications(plan.num_applications, (time - before) * -field.real_low)
            run = _run(build, plan, time - before, part_axes)
            state = guarded(run, run, state, *operators, part_axes=part_axes)
        found.append(state)
        before = time
    return torch.stack(found)


def _run(
    build: Callable[[Sequence[Tensor], float, float], Callable[[Tensor], Tensor]],
    plan: ExponentialPlan,
    width: float,
    part_axes: tuple[int, ...],
) -> Run:
    def run(tensors: Sequence[Tensor], sizes: list[Tensor]) -> Tensor | None:
        def built(scale: float, shift: float) -> Callable[[Tensor], Tensor]:
            return build(tensors, scale, shift)

        return exponential_action(built, tensors[0], plan, width, part_axes=part_axes, sizes=sizes)

    return run
