"""Density matrices: how they are made, reduced to a part, and compared."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_density, check_same_kind
from qinn.quantum.numerics.factors import check_dims, check_positions, complement, permute_operator
from qinn.quantum.states.kets import squared_magnitude


def density_of(ket: Complex[Tensor, "*batch dim"]) -> Complex[Tensor, "*batch dim dim"]:
    """Return the density of a pure state: ρ = |ψ⟩⟨ψ|.

    Args:
        ket: Unit kets.

    Returns:
        Density matrices.

    Example:
        >>> density_of(torch.tensor([0j, 1j]))
        tensor([[0.+0.j, 0.+0.j],
                [0.+0.j, 1.+0.j]])
    """
    return ket[..., :, None] * ket[..., None, :].conj()


def maximally_mixed(
    dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Complex[Tensor, "dim dim"]:
    """Return the maximally mixed density 𝟙/d.

    Args:
        dim: Dimension d.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The density matrix.

    Example:
        >>> maximally_mixed(2).diagonal()
        tensor([0.5000+0.j, 0.5000+0.j])
    """
    return torch.eye(dim, dtype=dtype, device=device) / dim


def product_density(densities: Sequence[Tensor]) -> Complex[Tensor, "*batch total total"]:
    """Return the tensor product ρ_1 ⊗ ρ_2 ⊗ … of any number of densities.

    Args:
        densities: One tensor (…, d_m, d_m) per factor, with broadcastable leading axes.

    Returns:
        Density matrices (…, Π d_m, Π d_m).

    Raises:
        ArgumentError: If there is no factor.

    Example:
        >>> product_density([maximally_mixed(2), maximally_mixed(3)]).shape
        torch.Size([6, 6])
    """
    if len(densities) == 0:
        raise ArgumentError("Argument `densities` must hold at least one factor, but it is empty.")
    joint = densities[0]
    for density in densities[1:]:
        joint = (joint[..., :, None, :, None] * density[..., None, :, None, :]).flatten(-4, -3).flatten(-2)
    return joint


def partial_trace(
    density: Complex[Tensor, "*batch dim dim"], dims: Sequence[int], keep: Sequence[int]
) -> Complex[Tensor, "*batch kept kept"]:
    """Trace out every factor that is not kept.

    Args:
        density: Density matrices (or any operators) on the joint space.
        dims: Dimension of each factor.
        keep: Positions of the factors to keep; their order is the order of the factors of the result. An
            empty ``keep`` gives the trace as a 1 × 1 matrix.

    Returns:
        Reduced matrices.

    Raises:
        ArgumentError: If ``dims`` or ``keep`` do not fit.

    Example:
        >>> from qinn.quantum.states.kets import bell_state
        >>> partial_trace(density_of(bell_state()), (2, 2), [0]).real
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """
    check_dims(dims, density.shape[-1])
    keep = check_positions(keep, len(dims), "keep")
    rest = complement(keep, len(dims))
    ordered = permute_operator(density, dims, (*keep, *rest))
    kept, traced = prod(dims[position] for position in keep), prod(dims[position] for position in rest)
    blocks = ordered.reshape(*density.shape[:-2], kept, traced, kept, traced)
    return blocks.diagonal(dim1=-3, dim2=-1).sum(-1)


def ket_as_matrix(
    ket: Complex[Tensor, "*batch dim"], dims: Sequence[int], part: Sequence[int]
) -> Complex[Tensor, "*batch inside outside"]:
    """Write a ket as the matrix Ψ of its amplitudes over (part, rest), so that ρ_part = Ψ Ψ†.

    Args:
        ket: Kets on the joint space.
        dims: Dimension of each factor.
        part: Positions of the factors that make the rows, in row order.

    Returns:
        Amplitude matrices; their singular values are the Schmidt coefficients of the cut.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit.

    Example:
        >>> ket_as_matrix(torch.arange(6) + 0j, (2, 3), [1]).real
        tensor([[0., 3.],
                [1., 4.],
                [2., 5.]])
    """
    check_dims(dims, ket.shape[-1])
    part = check_positions(part, len(dims), "part")
    rest = complement(part, len(dims))
    batch = ket.shape[:-1]
    axes = [*range(len(batch)), *(len(batch) + position for position in (*part, *rest))]
    inside, outside = prod(dims[position] for position in part), prod(dims[position] for position in rest)
    return ket.reshape(*batch, *dims).permute(axes).reshape(*batch, inside, outside)


def reduced_density_of_ket(
    ket: Complex[Tensor, "*batch dim"], dims: Sequence[int], keep: Sequence[int]
) -> Complex[Tensor, "*batch kept kept"]:
    """Reduce a pure state to some factors without forming its D × D density: ρ_keep = Ψ Ψ†.

    Args:
        ket: Kets on the joint space.
        dims: Dimension of each factor.
        keep: Positions of the factors to keep, in the order of the result.

    Returns:
        Reduced density matrices.

    Raises:
        ArgumentError: If ``dims`` or ``keep`` do not fit.

    Example:
        >>> from qinn.quantum.states.kets import bell_state
        >>> reduced_density_of_ket(bell_state(), (2, 2), [1]).real.trace().round(decimals=6)
        tensor(1.)
    """
    matrix = ket_as_matrix(ket, dims, keep)
    return matrix @ matrix.mH


def purity(density: Any) -> Float[Tensor, "*batch"]:
    """Return the purity tr ρ², between 1/D and 1.

    Args:
        density: Density matrices (…, D, D), Hermitian.

    Returns:
        The purities.

    Raises:
        ArgumentError: If a matrix is not Hermitian.

    Example:
        >>> purity(maximally_mixed(4))
        tensor(0.2500)
    """
    return squared_magnitude(as_density("density", density)).sum((-2, -1))


def trace_distance(first: Any, second: Any) -> Float[Tensor, "*batch"]:
    """Return the trace distance ½ ‖ρ − σ‖₁, between 0 and 1.

    The gradient is finite everywhere; directions in which ρ = σ contribute zero.

    Args:
        first: Density matrices ρ.
        second: Density matrices σ.

    Returns:
        The distances.

    Raises:
        ArgumentError: If a matrix is not Hermitian.

    Example:
        >>> from qinn.quantum.states.kets import basis_ket
        >>> trace_distance(density_of(basis_ket(0, 2)), density_of(basis_ket(1, 2)))
        tensor(1.)
    """
    first, second = as_density("first", first), as_density("second", second)
    check_same_kind("second", second, "first", first)
    return 0.5 * torch.linalg.eigvalsh(first - second).abs().sum(-1)


class _PositiveSquareRoot(torch.autograd.Function):
    """√A of a positive matrix; its derivative is taken on the support, so it is finite for any spectrum."""

    @staticmethod
    def forward(ctx, matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        floor = values[..., -1:].abs() * matrix.shape[-1] * torch.finfo(values.dtype).eps
        roots = torch.where(values > floor, values, torch.zeros_like(values)).sqrt()
        ctx.save_for_backward(roots, vectors)
        return (vectors * roots[..., None, :]) @ vectors.mH

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> Tensor:
        roots, vectors = ctx.saved_tensors
        sums = roots[..., :, None] + roots[..., None, :]
        # Daleckii–Krein: the divided difference of the square root is 1 / (√a + √b), also where a = b.
        weights = torch.where(sums > 0, 1 / torch.where(sums > 0, sums, torch.ones_like(sums)), 0)
        inner = (vectors.mH @ gradients[0] @ vectors) * weights
        return vectors @ inner @ vectors.mH


def square_root(matrix: Any) -> Complex[Tensor, "*batch dim dim"]:
    """Return the positive square root √A of positive matrices.

    Args:
        matrix: Hermitian matrices without negative eigenvalues; those below round-off count as 0.

    Returns:
        The roots; their derivative is taken on the support, hence finite for any spectrum.

    Raises:
        ArgumentError: If a matrix is not Hermitian.

    Source: Yu. L. Daleckii and S. G. Krein, AMS Transl. 47 (1965) 1.

    Example:
        >>> square_root(torch.diag(torch.tensor([4.0, 0.0])) + 0j).real
        tensor([[2., 0.],
                [0., 0.]])
    """
    return _PositiveSquareRoot.apply(as_density("matrix", matrix))


def fidelity(first: Any, second: Any) -> Float[Tensor, "*batch"]:
    """Return the Uhlmann fidelity in the squared convention: F = (tr √(√ρ σ √ρ))², between 0 and 1.

    For pure states F = |⟨ψ|φ⟩|². The gradient is taken on the supports, hence finite for any spectrum.

    Args:
        first: Density matrices ρ.
        second: Density matrices σ.

    Returns:
        The fidelities.

    Raises:
        ArgumentError: If a matrix is not Hermitian.

    Source: A. Uhlmann, Rep. Math. Phys. 9 (1976) 273; R. Jozsa, J. Mod. Opt. 41 (1994) 2315.

    Example:
        >>> fidelity(maximally_mixed(2), maximally_mixed(2)).round(decimals=6)
        tensor(1.)
    """
    first, second = as_density("first", first), as_density("second", second)
    check_same_kind("second", second, "first", first)
    root = square_root(first)
    inner = root @ second @ root
    values = torch.linalg.eigvalsh(0.5 * (inner + inner.mH))
    floor = values[..., -1:].abs().detach() * first.shape[-1] * torch.finfo(values.dtype).eps
    supported = values > floor
    return (
        torch.where(supported, torch.where(supported, values, torch.ones_like(values)).sqrt(), 0).sum(-1) ** 2
    )


def ket_fidelity(
    first: Complex[Tensor, "*batch dim"], second: Complex[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch"]:
    """Return the fidelity of two pure states, |⟨ψ|φ⟩|².

    Args:
        first: Unit kets ψ.
        second: Unit kets φ.

    Returns:
        The fidelities.

    Example:
        >>> ket_fidelity(torch.tensor([1 + 0j, 0j]), torch.tensor([0.6 + 0j, 0.8j]))
        tensor(0.3600)
    """
    return squared_magnitude((first.conj() * second).sum(-1))
