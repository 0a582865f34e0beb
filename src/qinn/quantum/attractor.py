"""Where open dynamics end and how fast: steady state, spectral gap, mixing time, contraction."""

from dataclasses import dataclass
from math import log
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.coordinates import from_real_coordinates, superoperator_on_real_coordinates
from qinn.quantum.densities import trace_distance
from qinn.quantum.generators import Generator, check_kind
from qinn.quantum.operators import Lindbladian
from qinn.quantum.propagation import propagate_densities

# The dense generator has D² × D² entries, whose eigenvalues take seconds beyond this.
_LARGEST_DIM = 32
# Digits that the steady state must keep: above this, several states are (nearly) steady.
_LARGEST_ERROR = 1e-9


@final
@dataclass(frozen=True, eq=False)
class Attractor:
    """The only steady state of a Lindbladian, and the rate at which every other state approaches it.

    Attributes:
        density: Steady density ρ_∞, with 𝓛ρ_∞ = 0 and trace 1.
        spectral_gap: Smallest −Re λ of the eigenvalues λ ≠ 0 of 𝓛, in units of inverse time; infinite for
            D = 1.
    """

    density: Complex[Tensor, "dim dim"]
    spectral_gap: Float[Tensor, ""]

    def mixing_time(self, epsilon: float = 0.01) -> Float[Tensor, ""]:
        """Return ln(1/ε)/gap, the time in which the slowest deviation falls to the fraction ε.

        This is asymptotic: of a non-normal generator a deviation may first shrink more slowly.

        Args:
            epsilon: Fraction ε, between 0 and 1.

        Raises:
            ArgumentError: If ε is not between 0 and 1.
        """
        if not 0 < epsilon < 1:
            raise ArgumentError(f"Argument `epsilon` must be between 0 and 1, but it is {epsilon}.")
        return log(1 / epsilon) / self.spectral_gap


def find_attractor(lindbladian: Generator) -> Attractor:
    """Return the steady state of a Lindbladian and its spectral gap, from the dense generator.

    With the trace functional t and u = 𝟙/D, (𝓛 + u tᵀ)ρ = u has the steady state as its only solution, if
    there is only one. Both results are differentiable in H and the L_k (the gap where its eigenvalue is simple).

    Args:
        lindbladian: The dynamics, D ≤ 32; computed in double precision.

    Returns:
        The attractor, in the precision of the Lindbladian.

    Raises:
        ArgumentError: If D is too large, an operator is not finite, or there are several steady states, or
            nearly so: if round-off could move the steady state by more than 1e-9.

    Source: O (attractor certificate).

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> attractor = find_attractor(decay)
        >>> attractor.density.diagonal().real, attractor.spectral_gap
        (tensor([1., 0.]), tensor(0.5000))
    """
    lindbladian = check_kind(lindbladian, (Lindbladian,), "`find_attractor`")
    dim, dtype = lindbladian.dim, lindbladian.dtype
    if dim > _LARGEST_DIM:
        raise ArgumentError(
            f"Argument `lindbladian` must have at most dimension {_LARGEST_DIM} for its dense generator, but has "
            f"{dim}; evolve with `ExactChannel` for a long time instead."
        )
    generator = superoperator_on_real_coordinates(lindbladian.to(torch.complex128))
    if not bool(torch.isfinite(generator.detach()).all()):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
    trace = torch.eye(dim, dtype=torch.float64, device=generator.device).flatten()
    # The scale of the dynamics takes the place of 1 in u, so that the condition number is theirs.
    scale = generator.detach().abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    bordered = generator + scale * torch.outer(trace, trace) / dim
    inverse, failed = torch.linalg.inv_ex(bordered.detach())
    condition = torch.linalg.matrix_norm(bordered.detach(), 1) * torch.linalg.matrix_norm(inverse, 1)
    error = torch.finfo(torch.float64).eps * float(condition)
    if bool(failed) or not error <= _LARGEST_ERROR:
        raise ArgumentError(
            "Argument `lindbladian` must have one steady state, but several states are steady, or so nearly that "
            f"round-off decides between them (condition number {float(condition):.1g})."
        )
    coordinates = torch.linalg.solve(bordered, scale * trace / dim)
    density = from_real_coordinates(coordinates.reshape(dim, dim).to(torch.complex128))
    # The slowest decay rate is 0, that of the steady state.
    rates = (-torch.linalg.eigvals(generator).real).sort().values
    gap = rates[1] if dim > 1 else torch.full_like(rates[0], torch.inf)
    real_dtype = torch.empty(0, dtype=dtype).real.dtype
    return Attractor(density.to(dtype), gap.to(real_dtype))


def contraction(
    lindbladian: Generator,
    first: Complex[Tensor, "*batch dim dim"],
    second: Complex[Tensor, "*batch dim dim"],
    time: float,
) -> Float[Tensor, "*batch"]:
    """Return by which factor the evolution shrinks the trace distance of two states; never above 1.

    Args:
        lindbladian: The dynamics.
        first: Densities.
        second: Other densities; where both are equal the factor is NaN.
        time: Duration t ≥ 0.

    Returns:
        T(e^{𝓛t}ρ, e^{𝓛t}σ) / T(ρ, σ).

    Source: data-processing inequality; M. B. Ruskai, Rev. Math. Phys. 6 (1994) 1147.

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> up, down = torch.diag(torch.tensor([0j, 1])), torch.diag(torch.tensor([1, 0j]))
        >>> contraction(decay, up, down, 0.6931472).round(decimals=5)
        tensor(0.5000)
    """
    dense = check_kind(lindbladian, (Lindbladian,), "`contraction`")
    evolved = [propagate_densities(dense, density, time) for density in (first, second)]
    return trace_distance(*evolved) / trace_distance(first, second)
