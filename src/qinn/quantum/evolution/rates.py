"""How many jumps are to be expected, before any is drawn."""

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.coordinates import real_coordinates, superoperator_on_real_coordinates
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.matrix_exponential import matrix_exponential

# A jump rate for which single trajectories make sense stays far below this.
MAX_JUMPS = 10_000
# Jumps expected in a step, beyond which its branches have little to do with the dynamics, and soon underflow.
_LONGEST_STEP = 10.0
# Up to here the expected number of jumps is cheap to know exactly.
_LARGEST_COUNTED_DIM = 16
# Relative error of the count.
_COUNT_ERROR = 1e-3


def largest_rate(lindbladian: Lindbladian) -> float:
    """Return λ_max, the largest eigenvalue of Σ L_k†L_k: no state jumps at a higher rate.

    Args:
        lindbladian: The dynamics, with finite operators.

    Returns:
        The rate; 0 without jump operators.

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, 3 * torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> round(largest_rate(decay), 5)
        9.0
    """
    return _rates(lindbladian)[1]


def _rates(lindbladian: Lindbladian) -> tuple[float, float]:
    if lindbladian.num_jumps == 0:
        return 0.0, 0.0
    rates = torch.linalg.eigvalsh(lindbladian.total_rate.detach().to(torch.complex128))
    return max(float(rates[0]), 0.0), max(float(rates[-1]), 0.0)


def expected_jumps(lindbladian: Lindbladian, densities: Tensor, time: float) -> Float[Tensor, "*batch"]:
    """Return ∫ tr(Σ L_k†L_k ρ_t) dt, how many jumps a trajectory has on average.

    The integral is one more coordinate of the exact channel: (ρ, n)' = (𝓛ρ, tr(Gρ)).

    Args:
        lindbladian: The dynamics, of small dimension.
        densities: Initial densities (…, D, D).
        time: Duration t.

    Returns:
        The numbers, float64.

    Source: own.

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> expected_jumps(decay, torch.diag(torch.tensor([0j, 1])), 100.0).round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    double = lindbladian.to(torch.complex128)
    generator = superoperator_on_real_coordinates(double)
    counted = real_coordinates(double.total_rate).real.flatten()
    joint = torch.nn.functional.pad(generator, (0, 1, 0, 1))
    joint[-1, :-1] = counted
    conserved = torch.eye(lindbladian.dim, dtype=joint.dtype, device=joint.device).flatten()
    channel = matrix_exponential(joint * time, _COUNT_ERROR, torch.nn.functional.pad(conserved, (0, 1)))
    coordinates = real_coordinates(densities.to(torch.complex128)).real.flatten(-2)
    return coordinates @ channel[-1, :-1]


@torch.no_grad()
def check_expected_jumps(lindbladian: Lindbladian, kets: Tensor, time: float) -> None:
    """Refuse dynamics whose trajectories are sure to have too many jumps, before any is drawn.

    Args:
        lindbladian: The dynamics.
        kets: Initial kets (row, D).
        time: Duration.

    Raises:
        ArgumentError: If more than `MAX_JUMPS` are expected: at the lowest rate that any state has, or, in small
            dimensions, on the way of these states.
    """
    # What is expected may be exceeded by chance.
    limit = MAX_JUMPS - 3 * MAX_JUMPS**0.5
    operators = lindbladian.jump_operators.detach()
    if not float(torch.linalg.vector_norm(operators, dtype=torch.complex128)) ** 2 * time > limit:
        return
    low, high = _rates(lindbladian)
    expected = low * time
    if expected <= limit < high * time and lindbladian.dim <= _LARGEST_COUNTED_DIM:
        expected = float(expected_jumps(lindbladian, kets[:, :, None] * kets[:, None, :].conj(), time).max())
    if expected > limit:
        raise ArgumentError(
            "Argument `lindbladian` must have jump rates for which trajectories make sense, but "
            f"{expected:.3g} jumps are expected of a trajectory, and {MAX_JUMPS} are the most; lower the rates or the "
            "time, or use `ExactChannel`."
        )


def check_step(lindbladian: Lindbladian, step: float) -> None:
    """Refuse steps in which far more jumps may fall than a scheme of fixed order allows for.

    Args:
        lindbladian: The dynamics.
        step: Length τ of a step.

    Raises:
        ArgumentError: If an operator is not finite, or λ_max τ is large.
    """
    if not bool(torch.isfinite(torch.view_as_real(lindbladian.no_jump_generator.detach())).all()):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
    expected = largest_rate(lindbladian) * step
    if not expected <= _LONGEST_STEP:
        raise ArgumentError(
            f"Argument `steps` must leave at most {_LONGEST_STEP:g} jumps to a step, but up to {expected:.3g} are "
            f"expected in one of length {step:.3g}, and the scheme allows for one or two; take more steps, or use "
            "`QuantumJumps`, which has none."
        )
