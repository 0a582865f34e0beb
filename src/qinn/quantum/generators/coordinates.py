"""Real coordinates of Hermitian matrices, in which Hermiticity-preserving maps are real matrices."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.actions import superoperator_of


def real_coordinates(matrices: Complex[Tensor, "*batch dim dim"]) -> Complex[Tensor, "*batch dim dim"]:
    """Return A of X = ½(A + Aᵀ) + ½i(A − Aᵀ), an isometry that makes Hermitian X real.

    Args:
        matrices: Any matrices; `hermitian_from` is the inverse on real A.

    Returns:
        The coordinates, of zero imaginary part for Hermitian matrices.

    Examples:
        >>> real_coordinates(torch.tensor([[1, 3 - 1j], [3 + 1j, 3]])).real
        tensor([[1., 2.],
                [4., 3.]])
    """
    return (0.5 - 0.5j) * matrices + (0.5 + 0.5j) * matrices.mT


def from_real_coordinates(
    coordinates: Complex[Tensor, "*batch dim dim"],
) -> Complex[Tensor, "*batch dim dim"]:
    """Return X = ½(A + Aᵀ) + ½i(A − Aᵀ), the inverse of `real_coordinates`."""
    return (0.5 + 0.5j) * coordinates + (0.5 - 0.5j) * coordinates.mT


def are_hermitian_coordinates(coordinates: Complex[Tensor, "matrix dim dim"]) -> bool:
    """Return whether the imaginary parts of the real coordinates of each matrix are round-off.

    Args:
        coordinates: Those of `real_coordinates`.
    """
    # One axis at a time: both at once take twice as long.
    real, imaginary = torch.view_as_real(coordinates.detach()).abs().amax(1).amax(1).unbind(-1)
    return bool((imaginary <= 4 * torch.finfo(coordinates.dtype).eps * real).all())


def superoperator_on_real_coordinates(
    lindbladian: Lindbladian,
) -> Float[Tensor, "*batch squared squared"]:
    """Return 𝓛 as a real D² × D² matrix on row-major real coordinates; its adjoint 𝓛† is the transpose.

    Args:
        lindbladian: The dynamics.

    Source: own.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> superoperator_on_real_coordinates(decay).diagonal()
        tensor([ 0.0000, -0.5000, -0.5000, -1.0000])
    """
    operators = torch.cat([lindbladian.no_jump_generator[..., None, :, :], lindbladian.jump_operators], -3)
    return superoperator_of(torch.view_as_real(operators.resolve_conj()).movedim(-1, -3))
