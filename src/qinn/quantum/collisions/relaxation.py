"""Free relaxation between events: e^{𝓛Δt} for many intervals at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.coordinates import superoperator_on_real_coordinates
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.matrix_exponential import exponentials_of_multiples

# An interval has a matrix of D⁴ numbers.
LARGEST_RELAXED_DIM = 16


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
