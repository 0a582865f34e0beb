"""Checks that states and channels are physical; each raises one clear error."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum import arguments
from qinn.quantum.arguments import as_complex
from qinn.quantum.checking.laws import asymmetry, negative_part, trace_leak


def check_ket(ket: Any, *, tolerance: float = 1e-5) -> None:
    """Refuse vectors that are not of unit norm.

    Args:
        ket: Kets (…, D), as a tensor, an array or lists.
        tolerance: Largest allowed deviation of ⟨ψ|ψ⟩ from 1.

    Raises:
        ArgumentError: If a norm deviates or is NaN.

    Examples:
        >>> check_ket(torch.tensor([0.6 + 0j, 0.8j]))
    """
    arguments.check_kets("ket", as_complex("ket", ket), tolerance)


def check_density(density: Any, *, tolerance: float = 1e-5) -> None:
    """Refuse matrices that are not Hermitian, positive and of unit trace.

    Args:
        density: Density matrices (…, D, D), as a tensor, an array or lists.
        tolerance: Largest allowed violation of each property.

    Raises:
        ArgumentError: Naming the property that is violated, and by how much.

    Examples:
        >>> check_density(0.5 * torch.eye(2) + 0j)
    """
    matrices = as_complex("density", density)
    arguments.check_square("density", matrices)
    arguments.check_densities("density", matrices, tolerance)


def choi_matrix(
    channel: Callable[[Tensor], Tensor],
    dim: int,
    *,
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str | None = None,
) -> Complex[Tensor, "squared squared"]:
    """Return the Choi matrix C = Σ_ab E(|a⟩⟨b|) ⊗ |a⟩⟨b| of a linear map of matrices.

    Args:
        channel: Takes and returns matrices (…, D, D), batched.
        dim: Dimension D.
        dtype: Complex dtype of the matrices passed.
        device: Where the matrices passed are.

    Returns:
        A D² × D² matrix, differentiable in what the map depends on: positive if and only if the map is
        completely positive, and of partial trace Σ_a C[(a, c), (a, d)] = δ_cd if it preserves the trace.

    Source: M.-D. Choi, Linear Algebra Appl. 10 (1975) 285.

    Examples:
        The channel of a Lindbladian:

        >>> from qinn.quantum import LearnableLindbladian, propagate_densities
        >>> dynamics = LearnableLindbladian(3, 2, seed=0, dtype=torch.float64)()
        >>> choi = choi_matrix(lambda matrix: propagate_densities(dynamics, matrix, 0.7), 3)
        >>> choi.shape, bool(torch.linalg.eigvalsh(choi).min() > 0)
        (torch.Size([9, 9]), True)
    """
    units = torch.eye(dim**2, dtype=dtype, device=device).reshape(dim, dim, dim, dim)
    images = channel(units)
    return images.permute(2, 0, 3, 1).reshape(dim**2, dim**2)


def check_channel(
    channel: Callable[[Tensor], Tensor],
    dim: int,
    *,
    tolerance: float = 1e-9,
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str | None = None,
) -> None:
    """Refuse maps that are not completely positive and trace preserving.

    Args:
        channel: Takes and returns matrices (…, D, D), batched.
        dim: Dimension D.
        tolerance: Largest allowed violation.
        dtype: Complex dtype of the matrices passed.
        device: Where the matrices passed are.

    Raises:
        ArgumentError: Naming the property that is violated, and by how much.

    Examples:
        >>> check_channel(lambda matrix: matrix, 3)
    """
    choi = choi_matrix(channel, dim, dtype=dtype, device=device).detach()
    difference = asymmetry(choi)
    if not bool(difference <= tolerance):
        raise ArgumentError(
            "Argument `channel` must take Hermitian matrices to Hermitian ones, but its Choi matrix differs from "
            f"its adjoint by {float(difference):.3g}."
        )
    negative = negative_part(choi)
    if not bool(negative <= tolerance):
        raise ArgumentError(
            "Argument `channel` must be completely positive, but its Choi matrix has the eigenvalue "
            f"{-float(negative):.3g}."
        )
    leak = trace_leak(choi)
    if not bool(leak <= tolerance):
        raise ArgumentError(
            f"Argument `channel` must preserve the trace, but violates that by {float(leak):.3g}."
        )
