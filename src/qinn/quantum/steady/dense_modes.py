"""Steady state and slowest mode from the D² × D² matrix of a generator."""

import torch
from torch import Tensor

from qinn.quantum.generators.coordinates import from_real_coordinates, superoperator_on_real_coordinates
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.steady.frame import Frame
from qinn.quantum.steady.linear import kernel_dimension, null_vector
from qinn.quantum.steady.modes import SlowestMode, has_twin
from qinn.quantum.steady.uniqueness import check_one_steady_state

# Round-off of an eigenvalue in units of ε ‖𝓛‖ times its condition number: observed up to 2 or 3.
_ROUND_OFF = 10


def dense_steady_state(lindbladian: Lindbladian, frame: Frame) -> tuple[Tensor, float]:
    """Return the only steady density, differentiable any number of times, and its error.

    Args:
        lindbladian: The dynamics, with gradients.
        frame: Their eigenbasis of H.
    """
    dim = frame.dim
    generator = superoperator_on_real_coordinates(frame.rotated(lindbladian))
    traces = torch.eye(dim, dtype=generator.dtype, device=generator.device).flatten()
    coordinates, error = null_vector(generator, traces, 0, frame.rounded_rate, frame.rounded_energy)
    density = from_real_coordinates(coordinates.reshape(dim, dim).to(torch.complex128))
    return frame.rotated_back(density), error


def dense_slowest_mode(frame: Frame, scale: float) -> SlowestMode:
    """Return the slowest mode, from all eigenvalues.

    To first order round-off moves an eigenvalue by ε ‖𝓛‖ ‖v‖ ‖w‖, with right and left eigenvectors of w†v = 1. Near
    an exceptional point v and w become orthogonal and the estimate large.

    Args:
        frame: The dynamics, D ≥ 2.
        scale: What rates are multiplied by to be in the user's units.

    Raises:
        ArgumentError: If there are several steady states.
    """
    dim = frame.dim
    dynamics = Lindbladian(torch.diag(frame.energies).to(frame.jumps.dtype), frame.jumps, validate=False)
    generator = superoperator_on_real_coordinates(dynamics)
    values, right = torch.linalg.eig(generator)
    left, failed = torch.linalg.inv_ex(right)
    conditions = torch.linalg.vector_norm(right, dim=0) * torch.linalg.vector_norm(left, dim=1)
    if bool(failed):
        conditions = torch.full_like(conditions, torch.inf)
    sizes = generator.abs()
    norm = (sizes.sum(0).max() * sizes.sum(1).max()).sqrt()
    errors = _ROUND_OFF * torch.finfo(norm.dtype).eps * norm * conditions
    order = values.abs().argsort()
    still = values.abs() <= errors
    if int(still.sum()) > 1:
        # Large errors are those of exceptional points too; the value 0 has none.
        number = max(kernel_dimension(generator, frame.rounded_rate + frame.rounded_energy), 1)
        moving = (-values.real)[order[number:]]
        check_one_steady_state(number, float(moving.min()) if len(moving) else None, scale)
    others = order[1:]
    values, errors, right, left = values[others], errors[others], right[:, others], left[others]
    slowest = int((-values.real).argmin())
    rates = -values.real
    # Any mode that its error can move to the front may be the slowest.
    possible = rates - errors <= rates[slowest] + errors[slowest]
    rate, error = float(rates[slowest]), float(errors[possible].max())
    vectors = (right[:, slowest], left[slowest].conj())
    matrices = [from_real_coordinates(vector.reshape(dim, dim)) for vector in vectors]
    return SlowestMode(
        rate,
        error,
        *[frame.rotated_back(matrix) for matrix in matrices],
        twin=has_twin(values, errors, slowest),
    )
