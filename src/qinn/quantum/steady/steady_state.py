"""Where open dynamics end and how fast: steady state, spectral gap, mixing time, contraction."""

from dataclasses import dataclass
from math import log
from typing import Any, Literal, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, check_between, check_densities
from qinn.quantum.generators.interface import Generator, check_kind
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_densities
from qinn.quantum.numerics.spectral import Absolute, spectral_sum
from qinn.quantum.steady.dense_modes import dense_slowest_mode, dense_steady_state
from qinn.quantum.steady.frame import Frame, frame_of, in_own_units
from qinn.quantum.steady.modes import SlowestMode, differentiable_rate
from qinn.quantum.steady.slow_modes import find_slow_modes, krylov_cost
from qinn.quantum.steady.uniqueness import check_density_error, check_one_steady_state, value_only
from qinn.quantum.steady.weak_damping import weak_damping

# The dense generator has D² × D² entries, whose eigenvalues take about 60 D⁶ operations: seconds up to this.
_LARGEST_DENSE_DIM, _OPERATIONS = 48, 60
# Without being asked for, it is taken up to here whatever a Krylov space costs.
_SMALL_DIM = 32
# Half an hour or so.
_MOST_OPERATIONS = 1e13
# exp(−gap · time) that is left of a perturbation when its effect on the steady state is differentiated.
_FORGOTTEN = 30.0


@final
@dataclass(frozen=True, eq=False)
class Attractor:
    """The only steady state of a Lindbladian, and the rate at which every other state approaches it.

    Of many systems everything has their leading axes.

    Attributes:
        density: Steady density ρ_∞, with 𝓛ρ_∞ = 0 and trace 1.
        spectral_gap: Smallest −Re λ of the eigenvalues λ ≠ 0 of 𝓛, in units of inverse time; infinite for
            D = 1.
        gap_error: Estimate of the gap's round-off error, without gradient. Usually near 1e-14 times the norm
            of 𝓛; it grows where the slowest mode nearly coincides with another (an exceptional point, where
            half of the digits are lost or more, and the gap's gradient diverges).
        density_error: Estimate of the density's round-off error (Hilbert–Schmidt norm), without gradient: about
            1e-15 times the largest rate over the gap, less where weak rates and large energies do not mix.
    """

    density: Complex[Tensor, "*batch dim dim"]
    spectral_gap: Float[Tensor, "*batch"]
    gap_error: Float[Tensor, "*batch"]
    density_error: Float[Tensor, "*batch"]

    def mixing_time(self, epsilon: Any = 0.01) -> Float[Tensor, "*batch"]:
        """Return ln(1/ε)/gap, the time in which the slowest deviation falls to the fraction ε.

        This is asymptotic: of a non-normal generator a deviation may first shrink more slowly.

        Args:
            epsilon: Fraction ε, between 0 and 1.

        Raises:
            ArgumentError: If ε is not between 0 and 1.
        """
        check_between("epsilon", epsilon, 0.0, 1.0)
        return log(1 / epsilon) / self.spectral_gap


def find_attractor(
    lindbladian: Generator, *, method: Literal["dense", "iterative"] | None = None
) -> Attractor:
    """Return the steady state of a Lindbladian and its spectral gap.

    Dense: ρ_∞ solves 𝓛ρ = 0 with tr ρ = 1 in the eigenbasis of H, and the gap is the second eigenvalue of the
    D² × D² generator. Iterative: both are leading eigenvectors of the channel exp(𝓛τ), found in Krylov spaces,
    without a matrix of that size. Where damping is so weak that Bohr frequencies E_i − E_j stand far apart in units
    of rates, either method works on groups of equal frequencies instead, which it decouples exactly: ω/γ may
    be 10¹³. Rates are relative to those of the dynamics, so that the unit of time does not matter.

    The density is differentiable (any number of times; once for D > 48, and there not for weak damping), the gap
    once. Where several modes are as slow as each other, the gap has a kink, and ``backward`` through it is refused.

    Args:
        lindbladian: The dynamics; computed in double precision. Of many systems each is searched alone, since what it
            takes depends on its numbers.
        method: ``"dense"`` (memory 50 D⁴ bytes, time ∝ D⁶) or ``"iterative"``; if None dense up to D = 32, and up
            to 48 where it is cheaper. An iterative search up to D = 48 that would take minutes becomes a dense one.

    Returns:
        The attractor, in the precision of the Lindbladian.

    Raises:
        ArgumentError: If an operator is not finite; if several states are steady, or so nearly that round-off could
            move the steady state by 1e-3 (`density_error` says how much it does); or if the work would take many
            minutes.

    Source: O (attractor certificate).

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> attractor = find_attractor(decay)
        >>> attractor.density.diagonal().real, attractor.spectral_gap
        (tensor([1., 0.]), tensor(0.5000))
    """
    lindbladian = check_kind(lindbladian, (Lindbladian,), "`find_attractor`")
    if method not in (None, "dense", "iterative"):
        raise ArgumentError(f"Argument `method` must be `dense`, `iterative` or None, but it is `{method}`.")
    if lindbladian.batch:
        return _attractors(lindbladian, method)
    double = lindbladian.to(torch.complex128)
    operators = (double.hamiltonian.detach(), double.jump_operators.detach())
    if not all(bool(torch.isfinite(torch.view_as_real(each.resolve_conj())).all()) for each in operators):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
    real = torch.empty(0, dtype=lindbladian.dtype, device=operators[0].device).real
    if lindbladian.dim == 1:
        gap, zero = torch.full_like(real.new_zeros(()), torch.inf), real.new_zeros(())
        return Attractor(torch.ones_like(lindbladian.hamiltonian), gap, zero, zero)
    own, scale = in_own_units(double)
    density, error, mode = _find(own, scale, method)
    check_density_error(error)
    rate = differentiable_rate(own, mode) * scale
    return Attractor(
        density.to(lindbladian.dtype),
        rate.to(real.dtype),
        real.new_tensor(mode.error * scale),
        real.new_tensor(error),
    )


def _attractors(lindbladian: Lindbladian, method: Literal["dense", "iterative"] | None) -> Attractor:
    """Attractors of many systems, one after the other."""
    batch, H = lindbladian.batch, lindbladian.hamiltonian
    if batch.numel() == 0:
        nothing = H.real.new_zeros(batch)
        return Attractor(torch.zeros_like(H), nothing, nothing, nothing)
    found = [find_attractor(one, method=method) for one in lindbladian.systems()]
    return Attractor(
        torch.stack([each.density for each in found]).reshape(H.shape),
        torch.stack([each.spectral_gap for each in found]).reshape(batch),
        torch.stack([each.gap_error for each in found]).reshape(batch),
        torch.stack([each.density_error for each in found]).reshape(batch),
    )


def _find(
    lindbladian: Lindbladian, scale: float, method: Literal["dense", "iterative"] | None
) -> tuple[Tensor, float, SlowestMode]:
    """Steady density, its error and the slowest mode of dynamics in their own units."""
    dim, frame = lindbladian.dim, frame_of(lindbladian)
    _check_damping(frame, scale)
    dense = method == "dense" or (method is None and dim <= _LARGEST_DENSE_DIM)
    if dense and _OPERATIONS * float(dim) ** 6 > _MOST_OPERATIONS:
        raise ArgumentError(
            f"Argument `method` must fit the dimension, but `dense` would take about {_OPERATIONS * dim**6:.0e} "
            f"operations for D = {dim}; use `iterative`."
        )
    weak = weak_damping(frame)
    if weak is not None:
        mode, block = weak.mode(scale)
        if dim <= _LARGEST_DENSE_DIM:
            return *dense_steady_state(lindbladian, frame), mode
        density, error = block.steady_state()
        return value_only(density, lindbladian, "weak damping and D > 48"), error, mode
    fixed = Lindbladian(lindbladian.hamiltonian.detach(), lindbladian.jump_operators.detach(), validate=False)
    if dense and method is None and dim > _SMALL_DIM:
        field_time = 10.0 / max(frame.damping, 1e-300)
        dense = _OPERATIONS * dim**6 < 4 * krylov_cost(fixed, field_time)
    if not dense:
        try:
            density, mode = find_slow_modes(fixed, scale)
        except ArgumentError:
            # Dense matrices decide what a Krylov space cannot, and count what is steady.
            if dim > _LARGEST_DENSE_DIM:
                raise
        else:
            error = float(torch.linalg.vector_norm(fixed.apply(density))) / mode.rate + mode.error / mode.rate
            if torch.is_grad_enabled() and (
                lindbladian.hamiltonian.requires_grad or lindbladian.jump_operators.requires_grad
            ):
                # A channel that forgets every perturbation leaves the steady state and has its derivative.
                density = propagate_densities(lindbladian, density, _FORGOTTEN / mode.rate, 1e-12)
            return density, error, mode
    mode = dense_slowest_mode(frame, scale)
    return *dense_steady_state(lindbladian, frame), mode


def _check_damping(frame: Frame, scale: float) -> None:
    """Refuse dynamics without damping: every function of H is steady."""
    if frame.damping > 0:
        return
    energies = frame.energies
    round_off = 10 * torch.finfo(energies.dtype).eps * len(energies) * float(energies.abs().max())
    new_level = torch.cat([energies.new_ones(1, dtype=torch.bool), energies.diff() > round_off])
    multiplicities = new_level.long().cumsum(0).bincount()
    check_one_steady_state(int(multiplicities.square().sum()), None, scale)


def contraction(lindbladian: Generator, first: Any, second: Any, time: Any) -> Float[Tensor, "*batch"]:
    """Return by which factor the evolution shrinks the trace distance of two states; never above 1.

    Args:
        lindbladian: The dynamics; leading axes are broadcast against those of the densities and times.
        first: Densities (…, D, D), as a tensor, an array or lists.
        second: Other densities; where both are equal the factor is NaN.
        time: Duration t ≥ 0; a tensor may carry a gradient. Or many.

    Returns:
        T(e^{𝓛t}ρ, e^{𝓛t}σ) / T(ρ, σ).

    Raises:
        ArgumentError: If an argument does not fit, or a matrix is no density.

    Source: data-processing inequality; M. B. Ruskai, Rev. Math. Phys. 6 (1994) 1147.

    Examples:
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
    # The difference is evolved, not the states: then the error is relative to it, however near they are.
    before = densities[0] - densities[1]
    after = propagate_densities(dense, before, time)
    return spectral_sum(after, Absolute(1.0, 1.0)) / spectral_sum(before, Absolute(1.0, 1.0))
