"""Steady state and slowest mode of generators too large for a dense matrix, by Arnoldi's method on the channel."""

from collections.abc import Callable
from math import log

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.coordinates import from_real_coordinates, real_coordinates
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import field_of_values, propagate_densities, propagate_observables
from qinn.quantum.numerics.arnoldi import RitzPairs, leading_eigenpairs
from qinn.quantum.numerics.chebyshev import plan_exponential
from qinn.quantum.steady.modes import SlowestMode
from qinn.quantum.steady.uniqueness import check_one_steady_state

_NUM_VECTORS = 60
# Relative residuals that count as converged. That of the slowest mode bounds the error of its rate: where another
# mode is as near as the residual, a vector that mixes both passes for one.
_STEADY_RESIDUAL, _MODE_RESIDUAL = 1e-10, 1e-10
# How much longer a channel is tried next, at least.
_LONGER = 4.0
# A slowest mode weaker than this has no digits left.
_FAINT = 1e-5
_CHANNEL_TOLERANCE = 1e-13
# A channel that takes no more than this from the slowest mode determines the steady state to its own error over this.
_LEAST_DECAY = 1e-4
# A decay that small, of a channel that long, is round-off.
_NO_DECAY = 1e-10
# Real operations that a search may take, about a minute; up to this dimension a channel costs the same at any time.
_MOST_OPERATIONS = 3e12
_FLAT_DIM = 8
# Applications of a channel by which the steady states of one that has several are counted, and how many at most.
_COUNTING, _MOST_COUNTED = 100, 16


def krylov_cost(lindbladian: Lindbladian, time: float) -> float:
    """Estimate the real operations of one search in a Krylov space of the channel of a time.

    Args:
        lindbladian: The dynamics.
        time: Time of the channel.
    """
    dim, number = lindbladian.dim, lindbladian.num_jumps
    if dim <= _FLAT_DIM:
        return 2e4 * dim**4
    field, expected = field_of_values(lindbladian)
    applications = plan_exponential(
        field.scaled(time), _CHANNEL_TOLERANCE, expected.scaled(time)
    ).num_applications
    return _NUM_VECTORS * applications * (6 * number + 4) * 2.0 * dim**3


def find_slow_modes(lindbladian: Lindbladian, scale: float) -> tuple[Tensor, SlowestMode]:
    """Return the steady state of a Lindbladian and its slowest other mode, without forming D² × D² matrices.

    Both are eigenvectors of the channel exp(𝓛τ), of eigenvalue 1 and of the largest other modulus; τ is made
    longer until a Krylov space of 60 vectors holds them.

    Args:
        lindbladian: The dynamics, D ≥ 2, in double precision, without gradients.
        scale: What rates are multiplied by to be in the user's units.

    Returns:
        The steady density, of trace 1, and the mode.

    Raises:
        ArgumentError: If there are several steady states, or nearly so, or the slowest modes are too
            slow or too close to each other to be told apart.

    Source: O (attractor certificate).
    """
    dim = lindbladian.dim
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(dim, dim, dtype=torch.float64, generator=generator).to(lindbladian.hamiltonian.device)
    mixed = torch.eye(dim).to(start) / dim
    field, _ = field_of_values(lindbladian)
    # The mean rate, −tr 𝓛/(D² − 1), is at least the gap: a much shorter channel would not tell modes apart.
    jumps = lindbladian.jump_operators
    traces = jumps.diagonal(dim1=-2, dim2=-1).sum(-1)
    mean_rate = float(dim * jumps.abs().square().sum() - traces.abs().square().sum()) / (dim**2 - 1)
    time = max(1.0 / max(-field.real_low, field.imaginary / dim), 0.1 / mean_rate)
    spent = 0.0
    while True:
        # A slowest mode, its left vector and the steady state.
        cost = 3 * krylov_cost(lindbladian, time)
        if spent + cost > _MOST_OPERATIONS:
            raise ArgumentError(
                "Argument `lindbladian` must have a slowest mode that stands apart, or damping that is not so weak, "
                f"but up to a time of {time / scale:.3g} none does, and going on would take about {spent + cost:.0e} "
                "operations; evolve the start state that you mean by `ExactChannel`, or use `method='dense'` if D² × "
                "D² numbers fit into memory."
            )
        spent += cost
        # Traceless matrices stay traceless, so that the slowest mode other than the steady state leads.
        slowest = _pairs(
            propagate_densities,
            lindbladian,
            time,
            _without_trace(start),
            residual=_MODE_RESIDUAL,
            count=3,
            clean=_without_trace,
            leading=1,
        )
        size, residual = float(slowest.values[0].abs()), float(slowest.residuals[0])
        if abs(1 - complex(slowest.values[0])) <= _NO_DECAY and residual <= _NO_DECAY:
            check_one_steady_state(*_count(lindbladian, time), scale, at_least=True)
        if size < _FAINT:
            raise ArgumentError(
                "Argument `lindbladian` must have a slowest mode that stands apart, but several modes stay as strong "
                "as each other; its spectral gap is unknown; use `method='dense'` if D² × D² numbers fit into memory."
            )
        if residual <= _MODE_RESIDUAL * size and 1 - size >= _LEAST_DECAY:
            steady = _pairs(
                propagate_densities, lindbladian, time, mixed, residual=_STEADY_RESIDUAL * (1 - size)
            )
            left = _pairs(
                propagate_observables, lindbladian, time, start, residual=_MODE_RESIDUAL * size, count=3
            ).nearest(slowest.values[0])
            if (
                float(steady.residuals[0]) <= _STEADY_RESIDUAL * (1 - size)
                and float(left.residuals[0]) <= _MODE_RESIDUAL * size
            ):
                return _modes(lindbladian, time, steady.vectors[0], slowest, left)
        # Where the rate is roughly known, the channel should leave a tenth of its mode.
        time = max(_LONGER * time, min(time * 2.3 / -log(min(size, 1 - 1e-12)), 4 * _LONGER * time))


def _modes(
    lindbladian: Lindbladian, time: float, steady: Tensor, slowest: RitzPairs, left: RitzPairs
) -> tuple[Tensor, SlowestMode]:
    dim, right = lindbladian.dim, slowest.vectors[0]
    density = from_real_coordinates(
        (steady / steady[:: dim + 1].sum()).real.reshape(dim, dim).to(steady.dtype)
    )
    overlap = (left.vectors[0] * right).sum()
    image = real_coordinates(lindbladian.apply(from_real_coordinates(right.reshape(dim, dim)))).flatten()
    rate = -float(((left.vectors[0] * image).sum() / overlap).real)
    residual = max(float(slowest.residuals[0]), float(left.residuals[0]), _CHANNEL_TOLERANCE)
    error = residual / (float(overlap.abs()) * float(slowest.values[0].abs()) * time)
    # A Krylov space of one start holds a double mode once: the left one tells, whose start is another.
    others = [
        (-float(value.abs().log()) / time, float(rest), complex(value))
        for value, rest in zip(slowest.values[1:], slowest.residuals[1:], strict=True)
    ]
    value = complex(slowest.values[0])
    twin = any(
        rest < 1e-4 * abs(other)
        and abs(near - rate) <= 1e4 * error
        and (abs(value.imag) < 1e-8 * abs(value) or abs(other - value.conjugate()) > 1e-8 * abs(value))
        for near, rest, other in others
    )
    twin = twin or _is_double(lindbladian, time, slowest)
    vectors = [right, left.vectors[0].conj()]
    matrices = [from_real_coordinates(vector.reshape(dim, dim)) for vector in vectors]
    return density, SlowestMode(rate, error, *matrices, twin=twin)


def _is_double(lindbladian: Lindbladian, time: float, slowest: RitzPairs) -> bool:
    """Whether another start finds another vector of the same value."""
    dim, right = lindbladian.dim, slowest.vectors[0]
    start = torch.randn(dim, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(
        right.real
    )
    again = _pairs(
        propagate_densities,
        lindbladian,
        time,
        _without_trace(start),
        residual=_MODE_RESIDUAL,
        count=2,
        clean=_without_trace,
        leading=1,
    ).nearest(slowest.values[0])
    # Of a simple eigenvalue both vectors are one but for a phase.
    overlap = float((right.conj() * again.vectors[0]).sum().abs())
    return 1 - overlap > 1e-4


def _count(lindbladian: Lindbladian, time: float) -> tuple[int, float | None]:
    """Count steady states, up to a limit, by repeated application of a channel to several matrices."""
    dim = lindbladian.dim
    count = min(_MOST_COUNTED, dim**2)
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(count, dim, dim, dtype=torch.float64, generator=generator)
    vectors = vectors.to(lindbladian.hamiltonian.device)
    values = torch.zeros(count)
    for _ in range(_COUNTING):
        flat = torch.linalg.qr(vectors.flatten(1).mT)[0].mT
        matrices = from_real_coordinates(flat.reshape(vectors.shape).to(torch.complex128))
        vectors = real_coordinates(
            propagate_densities(lindbladian, matrices, _LONGER**2 * time, _CHANNEL_TOLERANCE)
        ).real
        values = (torch.linalg.eigvals(flat @ vectors.flatten(1).mT) - 1).abs()
        if bool(((values < 1e-8) | (values > 1e-3)).all()) and bool((values < 1e-8).any()):
            break
    return max(int((values < 1e-6).sum()), 2), None


def _pairs(
    propagate: Callable[[Lindbladian, Tensor, float, float], Tensor],
    lindbladian: Lindbladian,
    time: float,
    start: Tensor,
    *,
    residual: float,
    count: int = 1,
    leading: int | None = None,
    clean: Callable[[Tensor], Tensor] = lambda coordinates: coordinates,
) -> RitzPairs:
    """Leading eigenpairs of a channel, or of its adjoint, on real coordinates that ``clean`` leaves alone."""
    dim = lindbladian.dim

    def apply(vector: Tensor) -> Tensor:
        matrix = from_real_coordinates(vector.reshape(dim, dim).to(torch.complex128))
        moved = propagate(lindbladian, matrix, time, _CHANNEL_TOLERANCE)
        return clean(real_coordinates(moved).real).flatten()

    return leading_eigenpairs(
        apply,
        start.flatten(),
        count=count,
        num_vectors=_NUM_VECTORS,
        residual=0.3 * residual,
        leading=leading,
    )


def _without_trace(coordinates: Tensor) -> Tensor:
    identity = torch.eye(len(coordinates), dtype=coordinates.dtype, device=coordinates.device)
    return coordinates - coordinates.trace() / len(coordinates) * identity
