"""The resolvent of a generator, where it has a single steady state, at many frequencies."""

from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.lindbladian import Lindbladian

LARGEST_RESOLVED_DIM = 48
"""Up to here; a matrix of D² × D² is inverted or diagonalised, which takes a minute there."""

# Fewer frequencies are solved one by one; more share the eigenvectors.
_FEW_FREQUENCIES = 3
# Rounds of refinement: each makes derivatives of one order more exact.
_ROUNDS = 3
# Residual, relative to the size of what cancels in it, above which eigenvectors were of no use.
_LARGEST_RESIDUAL = 1e-13


def check_resolved_dim(dynamics: Lindbladian, remedy: str) -> None:
    """Refuse dimensions whose D² × D² matrix is too large.

    Args:
        dynamics: The dynamics.
        remedy: What to do instead, for the message.

    Raises:
        ArgumentError: If the dimension is above `LARGEST_RESOLVED_DIM`.

    Examples:
        >>> check_resolved_dim(Lindbladian(torch.eye(2)), "evolve")
    """
    if dynamics.dim > LARGEST_RESOLVED_DIM:
        raise ArgumentError(
            f"Argument `lindbladian` must have a dimension of at most {LARGEST_RESOLVED_DIM}, but it is "
            f"{dynamics.dim}; {remedy}."
        )


def resolve(dynamics: Lindbladian, steady: Tensor, matrices: Tensor, frequencies: Tensor) -> Tensor:
    """Return (iω − 𝓛)⁻¹ X of traceless matrices at many frequencies, ω = 0 among them.

    On traceless matrices 𝓛 − s ρ tr(·) is the same as 𝓛, and has an inverse. Its eigenvectors, which all frequencies
    share, give a start that is then refined, in value and in derivatives: differentiable three times. Where they are
    of no use, near exceptional points, every frequency has a solution of its own.

    Args:
        dynamics: The dynamics, in double precision, with gradients.
        steady: Their only steady density ρ.
        matrices: Traceless X (number, D, D).
        frequencies: ω (frequency,), in double precision.

    Returns:
        Matrices (frequency, number, D, D).

    Source: own.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2).double(), [[[0, 1], [0, 0]]])
        >>> traceless, zero = torch.diag(torch.tensor([1, -1])).to(decay.dtype), torch.zeros(1).double()
        >>> resolve(decay, torch.diag(torch.tensor([1, 0])), traceless[None], zero)[0, 0].diagonal().real
        tensor([ 1., -1.], dtype=torch.float64)
    """
    dim = dynamics.dim
    generator = superoperator_on_real_coordinates(dynamics)
    identity = torch.eye(dim, dtype=generator.dtype, device=generator.device)
    still = real_coordinates(steady.detach().to(torch.complex128)).real.flatten()
    scale = torch.linalg.matrix_norm(generator.detach()) / dim
    generator = generator - scale * torch.outer(still, identity.flatten())
    columns = real_coordinates(matrices).flatten(-2).mT
    found = _by_eigenvectors(generator, columns, frequencies) if len(frequencies) > _FEW_FREQUENCIES else None
    if found is None:
        parts = [torch.linalg.solve(_shifted(generator, each), columns) for each in frequencies]
        found = torch.stack(parts) if parts else columns.new_zeros(0, *columns.shape)
    return from_real_coordinates(found.mT.unflatten(-1, (dim, dim)))


def _shifted(generator: Tensor, frequency: Tensor) -> Tensor:
    """The matrix of iω − 𝓛."""
    identity = torch.eye(len(generator), dtype=generator.dtype, device=generator.device)
    return torch.complex(-generator, frequency * identity)


def _by_eigenvectors(generator: Tensor, columns: Tensor, frequencies: Tensor) -> Tensor | None:
    """Solve for all frequencies from the eigenvectors, or nothing where round-off spoils them."""
    fixed = generator.detach()
    values, vectors = torch.linalg.eig(fixed)
    inverse, failed = torch.linalg.inv_ex(vectors)
    turns = 1j * frequencies[:, None, None]
    factors = 1 / (turns.detach() - values[:, None])
    if bool(failed) or not bool(torch.isfinite(torch.view_as_real(inverse)).all()):
        return None

    def nearly(right: Tensor) -> Tensor:
        return vectors @ (factors * (inverse @ right))

    def residual(solution: Tensor) -> Tensor:
        image: Any = torch.complex(generator @ solution.real, generator @ solution.imag)
        return columns - (turns * solution - image)

    solution = nearly(columns)
    for _ in range(_ROUNDS):
        solution = solution + nearly(residual(solution))
    reach = torch.linalg.matrix_norm(fixed) + frequencies.detach().abs()[:, None]
    sizes = reach * torch.linalg.vector_norm(solution.detach(), dim=1)
    left = torch.linalg.vector_norm(residual(solution).detach(), dim=1)
    # Written so that NaN fails.
    return solution if bool((left <= _LARGEST_RESIDUAL * len(fixed) * sizes).all()) else None
