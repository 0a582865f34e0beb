"""Checks that states and channels are physical; each raises one clear error."""

from collections.abc import Callable

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.kets import squared_norm


def check_ket(ket: Complex[Tensor, "*batch dim"], *, tolerance: float = 1e-5) -> None:
    """Refuse vectors that are not of unit norm.

    Args:
        ket: Kets.
        tolerance: Largest allowed deviation of ⟨ψ|ψ⟩ from 1.

    Raises:
        ArgumentError: If a norm deviates or is NaN.

    Example:
        >>> check_ket(torch.tensor([0.6 + 0j, 0.8j]))
    """
    deviation = (squared_norm(ket.detach()) - 1).abs()
    if not bool((deviation <= tolerance).all()):
        raise ArgumentError(
            "Argument `ket` must be of unit norm, but ⟨ψ|ψ⟩ deviates from 1 by "
            f"{float(deviation.max()):.3g}; use `normalize`."
        )


def check_density(density: Complex[Tensor, "*batch dim dim"], *, tolerance: float = 1e-5) -> None:
    """Refuse matrices that are not Hermitian, positive and of unit trace.

    Args:
        density: Density matrices.
        tolerance: Largest allowed violation of each property.

    Raises:
        ArgumentError: Naming the property that is violated, and by how much.

    Example:
        >>> check_density(0.5 * torch.eye(2) + 0j)
    """
    matrix = density.detach()
    asymmetry = (matrix - matrix.mH).abs().amax()
    if not bool(asymmetry <= tolerance):
        raise ArgumentError(
            f"Argument `density` must be Hermitian, but differs from its adjoint by {float(asymmetry):.3g}."
        )
    trace = (matrix.diagonal(dim1=-2, dim2=-1).sum(-1) - 1).abs().amax()
    if not bool(trace <= tolerance):
        raise ArgumentError(
            f"Argument `density` must have trace 1, but a trace deviates by {float(trace):.3g}."
        )
    lowest = torch.linalg.eigvalsh(matrix).amin()
    if not bool(lowest >= -tolerance):
        raise ArgumentError(
            f"Argument `density` must be positive, but has the eigenvalue {float(lowest):.3g}."
        )


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

    Example:
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

    Example:
        >>> check_channel(lambda matrix: matrix, 3)
    """
    choi = choi_matrix(channel, dim, dtype=dtype, device=device).detach()
    asymmetry = (choi - choi.mH).abs().amax()
    if not bool(asymmetry <= tolerance):
        raise ArgumentError(
            "Argument `channel` must take Hermitian matrices to Hermitian ones, but its Choi matrix differs from "
            f"its adjoint by {float(asymmetry):.3g}."
        )
    lowest = torch.linalg.eigvalsh(0.5 * (choi + choi.mH)).amin()
    if not bool(lowest >= -tolerance):
        raise ArgumentError(
            "Argument `channel` must be completely positive, but its Choi matrix has the eigenvalue "
            f"{float(lowest):.3g}."
        )
    traced = choi.reshape(dim, dim, dim, dim).diagonal(dim1=0, dim2=2).sum(-1)
    leak = (traced - torch.eye(dim, dtype=choi.dtype, device=choi.device)).abs().amax()
    if not bool(leak <= tolerance):
        raise ArgumentError(
            f"Argument `channel` must preserve the trace, but violates that by {float(leak):.3g}."
        )
