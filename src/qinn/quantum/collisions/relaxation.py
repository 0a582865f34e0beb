"""Free relaxation between events: e^{𝓛Δt} for many intervals at once, and how many jumps fall in them."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.coordinates import real_coordinates, superoperator_on_real_coordinates
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.matrix_exponential import exponentials_of_multiples

# An interval has a matrix of D⁴ numbers.
LARGEST_RELAXED_DIM = 16
# Intervals whose matrices are held together where only a number of each is wanted.
_AT_ONCE = 4096


def relaxation_maps(
    lindbladian: Lindbladian, intervals: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch squared squared"]:
    """Return e^{𝓛Δt} of every interval in real coordinates, exact to round-off (see `exponentials_of_multiples`).

    Args:
        lindbladian: The dynamics, D ≤ 16.
        intervals: Durations Δt ≥ 0.

    Returns:
        Real D² × D² matrices in the precision of the Lindbladian, differentiable in H, the L_k and the intervals.

    Raises:
        ArgumentError: If D is larger, or an operator or ‖𝓛‖Δt is not finite or absurdly large.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> relaxation_maps(decay, torch.tensor([0.0, 0.6931472]))[:, 3, 3].round(decimals=5)
        tensor([1.0000, 0.5000])
    """
    check_relaxed_dim(lindbladian)
    generator = superoperator_on_real_coordinates(lindbladian.to(torch.complex128))
    maps = exponentials_of_multiples(generator, intervals.double().flatten())
    return maps.reshape(*intervals.shape, *generator.shape).to(lindbladian.dtype.to_real())


def relaxation_jumps(
    lindbladian: Lindbladian,
    densities: Complex[Tensor, "*batch dim dim"],
    intervals: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Return ∫₀^Δt tr(Σ L_k†L_k e^{𝓛s}ρ) ds, how many jumps are expected in each interval.

    In real coordinates it is the last entry of exp([[𝓛, 0], [g, 0]] Δt)(ρ, 0), g being Σ L_k†L_k: exact to round-off.

    Args:
        lindbladian: The dynamics, D ≤ 16.
        densities: The state ρ at the beginning of each interval.
        intervals: Durations Δt ≥ 0.

    Raises:
        ArgumentError: As for `relaxation_maps`.

    Source: own.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> excited = torch.tensor([[0, 0], [0, 1]]).cfloat().expand(2, 2, 2)
        >>> relaxation_jumps(decay, excited, torch.tensor([0.0, 0.6931472])).round(decimals=5)
        tensor([0.0000, 0.5000])
    """
    check_relaxed_dim(lindbladian)
    double = lindbladian.to(torch.complex128)
    rate = real_coordinates(double.total_rate).real.reshape(1, -1)
    counting = torch.cat([superoperator_on_real_coordinates(double), rate])
    counting = torch.nn.functional.pad(counting, (0, 1))
    coordinates = real_coordinates(densities.to(torch.complex128)).real.reshape(-1, rate.shape[1])
    found = [
        (exponentials_of_multiples(counting, some)[:, -1, :-1] * states).sum(-1)
        for some, states in zip(
            intervals.double().flatten().split(_AT_ONCE), coordinates.split(_AT_ONCE), strict=True
        )
    ]
    return torch.cat(found).reshape(intervals.shape).to(lindbladian.dtype.to_real())


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
