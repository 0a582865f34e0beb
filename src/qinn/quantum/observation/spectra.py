"""The spectrum of what a steady state emits."""

from dataclasses import dataclass
from math import pi
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, as_real, check_finite
from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.observation.observed_density import observed_density
from qinn.quantum.observation.resolvent import check_resolved_dim, resolve


@final
@dataclass(frozen=True, eq=False)
class EmissionSpectrum:
    """What a steady state emits, by angular frequency.

    Attributes:
        incoherent: S(ω) at each frequency (frequency, …): quanta per unit of time and of angular frequency. Over all ω
            its integral is ⟨L†L⟩ − |⟨L⟩|².
        coherent: |⟨L⟩|² (…): quanta per unit of time in the sharp (Rayleigh) line at ω = 0 of the frame of H.
    """

    incoherent: Float[Tensor, "frequency *batch"]
    coherent: Float[Tensor, "*batch"]


def emission_spectrum(lindbladian: Any, operator: Any, *, frequencies: Any) -> EmissionSpectrum:
    """Return the spectrum that a channel emits in the steady state, its sharp line apart.

    S(ω) = (1/2π) ∫ ⟨δL†(τ) δL(0)⟩ e^{−iωτ} dτ = (1/π) Re tr(δL† (iω − 𝓛)⁻¹ δL ρ), δL = L − ⟨L⟩, ω relative to the
    frame in which H is given. The resolvent is a linear solution in double precision, so that no delay is cut off:
    lines may be as sharp as they like.

    Args:
        lindbladian: The dynamics (`Lindbladian`), with one steady state, D ≤ 48.
        operator: L (…, D, D). For a jump operator of an amplitude in √rate, quanta are those that it emits; for an
            operator of a mode they are per unit of its rate.
        frequencies: Angular frequencies ω (frequency,), in units of inverse time, any sign and order.

    Returns:
        The spectrum, differentiable (three times) in H, the L_k, L and ω.

    Raises:
        ArgumentError: If an argument does not fit, or there is no single steady state.

    Source: B. R. Mollow, Phys. Rev. 188 (1969) 1969; the resolvent own.

    Examples:
        A weakly driven atom scatters without changing the frequency, at the rate Ω²/γ:

        >>> from qinn.quantum import destroy, pauli
        >>> atom = Lindbladian(0.5e-2 * pauli("X", dtype=torch.complex128), [destroy(2, dtype=torch.complex128)])
        >>> found = emission_spectrum(atom, destroy(2, dtype=torch.complex128), frequencies=[0.0, 1.0])
        >>> found.coherent.round(decimals=7), bool((found.incoherent < 1e-7).all())
        (tensor(0.0001, dtype=torch.float64), True)
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`emission_spectrum`")
    check_resolved_dim(dynamics, "Fourier transform `two_time_correlation`, whose delays have no such limit")
    operators = as_matrices("operator", operator, dynamics.dim, dynamics.hamiltonian, "lindbladian")
    check_finite("operator", operators)
    moments = as_real("frequencies", frequencies, dynamics.hamiltonian, "lindbladian")
    if moments.ndim != 1 or not bool(torch.isfinite(moments.detach()).all()):
        raise ArgumentError(
            "Argument `frequencies` must be finite numbers in one row, but has the shape "
            f"{tuple(moments.shape)} or holds NaN or infinity."
        )
    double, emitter = dynamics.to(torch.complex128), operators.to(torch.complex128)
    density = observed_density(double, None)
    mean = (emitter.mT * density).sum((-2, -1))
    identity = torch.eye(dynamics.dim, dtype=density.dtype, device=density.device)
    change = emitter - mean[..., None, None] * identity
    sources = (change @ density).reshape(-1, *density.shape)
    solved = resolve(double, density, sources, moments.double()).reshape(len(moments), *operators.shape)
    spectrum = (change.conj() * solved).sum((-2, -1)).real / pi
    real = dynamics.hamiltonian.real.dtype
    return EmissionSpectrum(spectrum.to(real), (mean * mean.conj()).real.to(real))
