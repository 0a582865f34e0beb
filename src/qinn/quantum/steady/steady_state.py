"""Where open dynamics end and how fast: steady state, spectral gap, mixing time, contraction."""

from dataclasses import dataclass
from math import log
from typing import Any, Literal, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, check_densities
from qinn.quantum.generators.coordinates import from_real_coordinates, superoperator_on_real_coordinates
from qinn.quantum.generators.interface import Generator, check_kind
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_densities
from qinn.quantum.states.densities import trace_distance
from qinn.quantum.steady.slow_modes import find_slow_modes

# The dense generator has D² × D² entries, whose eigenvalues take seconds beyond this.
_LARGEST_DENSE_DIM = 32
# Round-off of an eigenvalue in units of ε ‖𝓛‖ times its condition number: observed up to 2 or 3.
_EIGENVALUE_ROUND_OFF = 10
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
        gap_error: Estimate of the gap's round-off error, without gradient. Usually near 1e-14 times the norm
            of 𝓛; it grows where the slowest mode nearly coincides with another (an exceptional point, where
            half of the digits are lost or more, and the gap's gradient diverges).
    """

    density: Complex[Tensor, "dim dim"]
    spectral_gap: Float[Tensor, ""]
    gap_error: Float[Tensor, ""]

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


def find_attractor(
    lindbladian: Generator, *, method: Literal["dense", "iterative"] | None = None
) -> Attractor:
    """Return the steady state of a Lindbladian and its spectral gap.

    Dense: with the trace functional t and u = 𝟙/D, (𝓛 + u tᵀ)ρ = u has the steady state as its only solution,
    if there is only one; the gap is the second eigenvalue of the D² × D² generator. Iterative: both are leading
    eigenvectors of the channel exp(𝓛τ), found in Krylov spaces, without a matrix of that size. The results are
    differentiable in H and the L_k (the gap where its eigenvalue is simple).

    Args:
        lindbladian: The dynamics; computed in double precision.
        method: ``"dense"`` (memory 16 D⁴ bytes, time ∝ D⁶) or ``"iterative"``; dense up to D = 32 if None.

    Returns:
        The attractor, in the precision of the Lindbladian.

    Raises:
        ArgumentError: If an operator is not finite, or there are several steady states, or nearly so (dense: if
            round-off could move the steady state by more than 1e-9), or (iterative) the slowest modes are too
            many to be told apart.

    Source: O (attractor certificate).

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> attractor = find_attractor(decay)
        >>> attractor.density.diagonal().real, attractor.spectral_gap
        (tensor([1., 0.]), tensor(0.5000))
    """
    lindbladian = check_kind(lindbladian, (Lindbladian,), "`find_attractor`")
    if method not in (None, "dense", "iterative"):
        raise ArgumentError(f"Argument `method` must be `dense`, `iterative` or None, but it is `{method}`.")
    dim, double = lindbladian.dim, lindbladian.to(torch.complex128)
    operators = (double.hamiltonian.detach(), double.jump_operators.detach())
    if not all(bool(torch.isfinite(torch.view_as_real(each.resolve_conj())).all()) for each in operators):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
    iterative = method == "iterative" or (method is None and dim > _LARGEST_DENSE_DIM)
    density, gap, error = find_slow_modes(double) if iterative and dim > 1 else _dense(double)
    real_dtype = torch.empty(0, dtype=lindbladian.dtype).real.dtype
    return Attractor(density.to(lindbladian.dtype), gap.to(real_dtype), error.to(real_dtype))


def _dense(lindbladian: Lindbladian) -> tuple[Tensor, Tensor, Tensor]:
    """Steady density, spectral gap and its error from the D² × D² generator."""
    dim, generator = lindbladian.dim, superoperator_on_real_coordinates(lindbladian)
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
    return density, *_slowest_rate(generator)


def _slowest_rate(generator: Tensor) -> tuple[Tensor, Tensor]:
    """Second smallest −Re λ (the smallest is 0, that of the steady state) and an estimate of its error.

    To first order round-off moves an eigenvalue by ε ‖𝓛‖ ‖v‖ ‖w‖, with right and left eigenvectors of w†v =
    1. Near an exceptional point v and w become orthogonal and the estimate large.
    """
    values, right = torch.linalg.eig(generator)
    if len(values) == 1:
        return torch.full_like(values.real[0], torch.inf), torch.zeros_like(values.real[0])
    rates, order = (-values.real).sort()
    left, failed = torch.linalg.inv_ex(right.detach())
    conditions = torch.linalg.vector_norm(right.detach(), dim=0) * torch.linalg.vector_norm(left, dim=1)
    if bool(failed):
        conditions = torch.full_like(conditions, torch.inf)
    size = torch.linalg.matrix_norm(generator.detach(), 2)
    scale = _EIGENVALUE_ROUND_OFF * torch.finfo(rates.dtype).eps * size
    errors = (scale * conditions)[order][1:]
    # Any mode that its error can move to the front may be the slowest.
    fixed = rates.detach()[1:]
    possible = fixed - errors <= fixed[0] + errors[0]
    return rates[1], errors[possible].max()


def contraction(lindbladian: Generator, first: Any, second: Any, time: Any) -> Float[Tensor, "*batch"]:
    """Return by which factor the evolution shrinks the trace distance of two states; never above 1.

    Args:
        lindbladian: The dynamics.
        first: Densities (…, D, D), as a tensor, an array or lists.
        second: Other densities; where both are equal the factor is NaN.
        time: Duration t ≥ 0; a tensor may carry a gradient.

    Returns:
        T(e^{𝓛t}ρ, e^{𝓛t}σ) / T(ρ, σ).

    Raises:
        ArgumentError: If an argument does not fit, or a matrix is no density.

    Source: data-processing inequality; M. B. Ruskai, Rev. Math. Phys. 6 (1994) 1147.

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> up, down = torch.diag(torch.tensor([0j, 1])), torch.diag(torch.tensor([1, 0j]))
        >>> contraction(decay, up, down, 0.6931472).round(decimals=5)
        tensor(0.5000)
    """
    dense = check_kind(lindbladian, (Lindbladian,), "`contraction`")
    densities = []
    for name, value in (("first", first), ("second", second)):
        densities.append(as_matrices(name, value, dense.dim, dense.hamiltonian, "lindbladian"))
        check_densities(name, densities[-1])
    evolved = [propagate_densities(dense, density, time) for density in densities]
    return trace_distance(*evolved) / trace_distance(*densities)
