"""Steady state and slowest mode of generators too large for a dense matrix, by Arnoldi's method on the channel."""

from collections.abc import Callable
from math import log

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.coordinates import from_real_coordinates, real_coordinates
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import field_of_values, propagate_densities, propagate_observables
from qinn.quantum.numerics.arnoldi import RitzPairs, leading_eigenpairs

_NUM_VECTORS = 60
# Relative residuals that count as converged. That of the slowest mode bounds the error of its rate: where another
# mode is as near as the residual, a vector that mixes both passes for one.
_STEADY_RESIDUAL, _MODE_RESIDUAL = 1e-10, 1e-10
# How much longer a channel is tried next, at least, and how often.
_LONGER, _TRIALS = 4.0, 7
# A slowest mode weaker than this has no digits left.
_FAINT = 1e-5
_CHANNEL_TOLERANCE = 1e-13
# A rate this small, relative to that of the fastest mode, leaves the steady state undetermined; and a channel that
# takes no more than this from the slowest mode determines it to its own error over this.
_DEGENERATE, _LEAST_DECAY = 1e-6, 1e-4
# exp(−gap · time) that is left of a perturbation when its effect on the steady state is differentiated.
_FORGOTTEN = 30.0


def find_slow_modes(
    lindbladian: Lindbladian,
) -> tuple[Complex[Tensor, "dim dim"], Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the steady state of a Lindbladian and its slowest other mode, without forming D² × D² matrices.

    Both are eigenvectors of the channel exp(𝓛τ), of eigenvalue 1 and of the largest other modulus; τ is made
    longer until a Krylov space of 60 vectors holds them. Gradients: the channel of a time after which every
    perturbation is forgotten is applied once more to the steady state, which leaves it where it is and has
    the derivative of the steady state; ∂λ = ⟨l, ∂𝓛 r⟩/⟨l, r⟩ with the left and right eigenvectors.

    Args:
        lindbladian: The dynamics, D ≥ 2, in double precision.

    Returns:
        The steady density, of trace 1; −Re λ of the slowest other mode; an estimate of its error, without
        gradient.

    Raises:
        ArgumentError: If there are several steady states, or nearly so, or the slowest modes are too slow or too
            close to each other to be told apart.

    Source: O (attractor certificate).
    """
    fixed = Lindbladian(lindbladian.hamiltonian.detach(), lindbladian.jump_operators.detach(), validate=False)
    dim = fixed.dim
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(dim, dim, dtype=torch.float64, generator=generator).to(fixed.hamiltonian.device)
    mixed = torch.eye(dim).to(start) / dim
    field, _ = field_of_values(fixed)
    time = shortest = 1.0 / max(-field.real_low, field.imaginary / dim, 1e-300)
    for _ in range(_TRIALS):
        # Traceless matrices stay traceless, so that the slowest mode other than the steady state leads.
        slowest = _pairs(
            propagate_densities,
            fixed,
            time,
            _without_trace(start),
            residual=_MODE_RESIDUAL,
            clean=_without_trace,
        )
        size, residual = float(slowest.values[0].abs()), float(slowest.residuals[0])
        if 1 - size + residual < _DEGENERATE * time / shortest:
            raise ArgumentError(
                "Argument `lindbladian` must have one steady state, but several states are steady, or so nearly "
                "that round-off decides between them."
            )
        if size < _FAINT:
            break
        if residual <= _MODE_RESIDUAL * size and 1 - size >= _LEAST_DECAY:
            steady = _pairs(propagate_densities, fixed, time, mixed, residual=_STEADY_RESIDUAL * (1 - size))
            left = _pairs(
                propagate_observables, fixed, time, start, residual=_MODE_RESIDUAL * size, count=3
            ).nearest(slowest.values[0])
            if (
                float(steady.residuals[0]) <= _STEADY_RESIDUAL * (1 - size)
                and float(left.residuals[0]) <= _MODE_RESIDUAL * size
            ):
                return _modes(lindbladian, time, steady.vectors[0], slowest, left)
        # Where the rate is roughly known, the channel should leave a tenth of its mode.
        time = max(_LONGER * time, min(time * 2.3 / -log(min(size, 0.99)), 4 * _LONGER * time))
    raise ArgumentError(
        "Argument `lindbladian` must have a slowest mode that stands apart, but up to a time of "
        f"{time:.3g} several modes stay as strong as each other; its spectral gap is unknown."
    )


def _modes(
    lindbladian: Lindbladian, time: float, steady: Tensor, slowest: RitzPairs, left: RitzPairs
) -> tuple[Tensor, Tensor, Tensor]:
    dim, right = lindbladian.dim, slowest.vectors[0]
    density = from_real_coordinates(
        (steady / steady[:: dim + 1].sum()).real.reshape(dim, dim).to(steady.dtype)
    )
    overlap = (left.vectors[0] * right).sum()
    image = real_coordinates(lindbladian.apply(from_real_coordinates(right.reshape(dim, dim)))).flatten()
    rate = -((left.vectors[0] * image).sum() / overlap).real
    if torch.is_grad_enabled() and rate.requires_grad:
        density = propagate_densities(lindbladian, density, _FORGOTTEN / float(rate.detach()), 1e-12)
    residual = max(float(slowest.residuals[0]), float(left.residuals[0]), _CHANNEL_TOLERANCE)
    error = residual / (float(overlap.abs()) * float(slowest.values[0].abs()) * time)
    return density, rate, torch.full_like(rate.detach(), error)


def _pairs(
    propagate: Callable[[Lindbladian, Tensor, float, float], Tensor],
    lindbladian: Lindbladian,
    time: float,
    start: Tensor,
    *,
    residual: float,
    count: int = 1,
    clean: Callable[[Tensor], Tensor] = lambda coordinates: coordinates,
) -> RitzPairs:
    """Leading eigenpairs of a channel, or of its adjoint, on real coordinates that ``clean`` leaves alone."""
    dim = lindbladian.dim

    def apply(vector: Tensor) -> Tensor:
        matrix = from_real_coordinates(vector.reshape(dim, dim).to(torch.complex128))
        moved = propagate(lindbladian, matrix, time, _CHANNEL_TOLERANCE)
        return clean(real_coordinates(moved).real).flatten()

    return leading_eigenpairs(
        apply, start.flatten(), count=count, num_vectors=_NUM_VECTORS, residual=0.3 * residual
    )


def _without_trace(coordinates: Tensor) -> Tensor:
    identity = torch.eye(len(coordinates), dtype=coordinates.dtype, device=coordinates.device)
    return coordinates - coordinates.trace() / len(coordinates) * identity
