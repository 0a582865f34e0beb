"""Density matrices: how they are made, reduced to a part, and compared."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import (
    as_complex,
    as_complex_together,
    as_density,
    check_count,
    check_kets,
    check_square,
    check_vectors,
    state_tolerance,
)
from qinn.quantum.numerics.factors import (
    check_dims,
    check_positions,
    complement,
    permute_ket,
    permute_operator,
)
from qinn.quantum.numerics.spectral import Absolute, Root, positive_root, spectral_sum
from qinn.quantum.states.kets import squared_magnitude


def density_of(ket: Any) -> Complex[Tensor, "*batch dim dim"]:
    """Return the density of a pure state: ρ = |ψ⟩⟨ψ|.

    Args:
        ket: Unit kets.

    Returns:
        Density matrices.

    Examples:
        >>> density_of(torch.tensor([0j, 1j]))
        tensor([[0.+0.j, 0.+0.j],
                [0.+0.j, 1.+0.j]])
    """
    ket = as_complex("ket", ket)
    check_vectors("ket", ket)
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

    Examples:
        >>> maximally_mixed(2).diagonal()
        tensor([0.5000+0.j, 0.5000+0.j])
    """
    check_count("dim", dim)
    return torch.eye(dim, dtype=dtype, device=device) / dim


def product_density(densities: Sequence[Tensor]) -> Complex[Tensor, "*batch total total"]:
    """Return the tensor product ρ_1 ⊗ ρ_2 ⊗ … of any number of densities.

    Args:
        densities: One tensor (…, d_m, d_m) per factor, with broadcastable leading axes.

    Returns:
        Density matrices (…, Π d_m, Π d_m).

    Raises:
        ArgumentError: If there is no factor.

    Examples:
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
    density: Any, dims: Sequence[int], keep: Sequence[int]
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
        ArgumentError: If ``dims`` or ``keep`` do not fit, or what is given is no square matrix.

    Examples:
        >>> from qinn.quantum.states.kets import bell_state
        >>> partial_trace(density_of(bell_state()), (2, 2), [0]).real
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """
    density = as_complex("density", density)
    check_square("density", density)
    check_dims(dims, density.shape[-1])
    keep = check_positions(keep, len(dims), "keep")
    rest = complement(keep, len(dims))
    ordered = permute_operator(density, dims, (*keep, *rest))
    kept, traced = prod(dims[position] for position in keep), prod(dims[position] for position in rest)
    blocks = ordered.reshape(*density.shape[:-2], kept, traced, kept, traced)
    return blocks.diagonal(dim1=-3, dim2=-1).sum(-1)


def ket_as_matrix(
    ket: Any, dims: Sequence[int], part: Sequence[int]
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

    Examples:
        >>> ket_as_matrix(torch.arange(6) + 0j, (2, 3), [1]).real
        tensor([[0., 3.],
                [1., 4.],
                [2., 5.]])
    """
    ket = as_complex("ket", ket)
    check_vectors("ket", ket)
    check_dims(dims, ket.shape[-1])
    part = check_positions(part, len(dims), "part")
    rest = complement(part, len(dims))
    inside, outside = prod(dims[position] for position in part), prod(dims[position] for position in rest)
    return permute_ket(ket, dims, (*part, *rest)).reshape(*ket.shape[:-1], inside, outside)


def reduced_density_of_ket(
    ket: Any, dims: Sequence[int], keep: Sequence[int]
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

    Examples:
        >>> from qinn.quantum.states.kets import bell_state
        >>> reduced_density_of_ket(bell_state(), (2, 2), [1]).real.trace().round(decimals=6)
        tensor(1.)
    """
    matrix = ket_as_matrix(ket, dims, keep)
    return matrix @ matrix.mH


def purity(density: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the purity tr ρ², between 1/D and 1.

    Args:
        density: Density matrices (…, D, D).
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The purities.

    Raises:
        ArgumentError: If a matrix is no density: not Hermitian, not of trace 1, or with negative eigenvalues.

    Examples:
        >>> purity(maximally_mixed(4))
        tensor(0.2500)
    """
    return squared_magnitude(as_density("density", density) if validate else density).sum((-2, -1))


def trace_distance(first: Any, second: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the trace distance ½ ‖ρ − σ‖₁, between 0 and 1.

    The gradient is finite everywhere; directions in which ρ = σ contribute zero, to second derivatives too.

    Args:
        first: Density matrices ρ.
        second: Density matrices σ.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The distances.

    Raises:
        ArgumentError: If a matrix is no density, or dimensions or precisions differ.

    Examples:
        >>> from qinn.quantum.states.kets import basis_ket
        >>> trace_distance(density_of(basis_ket(0, 2)), density_of(basis_ket(1, 2)))
        tensor(1.)
    """
    first, second = _as_pair(first, second, validate)
    return spectral_sum(first - second, Absolute(0.5, 0.5))


def square_root(matrix: Any) -> Complex[Tensor, "*batch dim dim"]:
    """Return the positive square root √A of positive matrices.

    Args:
        matrix: Hermitian matrices without negative eigenvalues; those below round-off count as 0.

    Returns:
        The roots; their derivative is taken on the support, hence finite for any spectrum. Second derivatives are
        refused where an eigenvalue is 0.

    Raises:
        ArgumentError: If a matrix is not Hermitian.

    Source: Yu. L. Daleckii and S. G. Krein, AMS Transl. 47 (1965) 1.

    Examples:
        >>> square_root(torch.diag(torch.tensor([4.0, 0.0])) + 0j).real
        tensor([[2., 0.],
                [0., 0.]])
    """
    return positive_root(as_density("matrix", matrix, physical=False))


def fidelity(first: Any, second: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the Uhlmann fidelity in the squared convention: F = (tr √(√ρ σ √ρ))², between 0 and 1.

    For pure states F = |⟨ψ|φ⟩|². The gradient is taken on the supports, hence finite for any spectrum; second
    derivatives are refused where ρ has an eigenvalue 0.

    Args:
        first: Density matrices ρ.
        second: Density matrices σ.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The fidelities.

    Raises:
        ArgumentError: If a matrix is no density, or dimensions or precisions differ.

    Source: A. Uhlmann, Rep. Math. Phys. 9 (1976) 273; R. Jozsa, J. Mod. Opt. 41 (1994) 2315.

    Examples:
        >>> fidelity(maximally_mixed(2), maximally_mixed(2)).round(decimals=6)
        tensor(1.)
    """
    first, second = _as_pair(first, second, validate)
    root = positive_root(first)
    inner = root @ second @ root
    return spectral_sum(0.5 * (inner + inner.mH), Root()).square()


def ket_fidelity(first: Any, second: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the fidelity of two pure states, |⟨ψ|φ⟩|².

    Args:
        first: Unit kets ψ.
        second: Unit kets φ.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The fidelities.

    Raises:
        ArgumentError: If a ket is not of unit norm, or dimensions or precisions differ.

    Examples:
        >>> ket_fidelity(torch.tensor([1 + 0j, 0j]), torch.tensor([0.6 + 0j, 0.8j]))
        tensor(0.3600)
    """
    first, second = as_complex_together({"first": first, "second": second})
    for name, kets in (("first", first), ("second", second)):
        check_vectors(name, kets)
        if validate:
            check_kets(name, kets, 10 * state_tolerance(kets.dtype))
    _check_same_dim(first, second)
    return squared_magnitude((first.conj() * second).sum(-1))


def _as_pair(first: Any, second: Any, validate: bool) -> tuple[Tensor, Tensor]:
    if not validate:
        return first, second
    first, second = as_complex_together({"first": first, "second": second})
    matrices = as_density("first", first), as_density("second", second)
    _check_same_dim(*matrices)
    return matrices


def _check_same_dim(first: Tensor, second: Tensor) -> None:
    if first.shape[-1] != second.shape[-1]:
        raise ArgumentError(
            f"Arguments `first` and `second` must have one dimension, but have {first.shape[-1]} and "
            f"{second.shape[-1]}; compare states of the same space."
        )
