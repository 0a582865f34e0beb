"""What of a Lindbladian does not depend on how it is written: H without trace, and the matrix of its dissipator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.learning.operator_basis import HermitianBasis, hermitian_basis
from qinn.quantum.numerics.factors import check_dims


@dataclass(frozen=True, eq=False)
class GeneratorEntries:
    """The numbers that a generator 𝓛 is made of, in a fixed basis F_i of Hermitian operators without trace.

    𝓛ρ = −i[Σ_i h_i F_i, ρ] + Σ_ij C_ij (F_i ρ F_j − ½{F_j F_i, ρ}), with real h and a positive C, which the physics
    fixes uniquely; H and the L_k are fixed only up to L_k ↦ Σ_j u_kj L_j + c_k and what that does to H.

    Attributes:
        names: "H[X]" for h, "C[X,X]", "Re C[X,Y]" and "Im C[X,Y]" for C.
        values: The numbers in this order, float64, in units of inverse time.

    Examples:
        >>> decay = Lindbladian([[1, 0], [0, 3]], [[[0, 1], [0, 0]]])
        >>> entries = generator_entries(decay)
        >>> [f"{name}={value:g}" for name, value in zip(entries.names, entries.values.tolist()) if value]
        ['H[Z]=-1', 'C[X,X]=0.25', 'C[Y,Y]=0.25', 'Im C[X,Y]=-0.25']
    """

    names: tuple[str, ...]
    values: Float[Tensor, " entry"]


def generator_entries(lindbladian: Any, dims: Sequence[int] | None = None) -> GeneratorEntries:
    """Return the entries of a generator, the same for all H and L_k that describe the same dynamics.

    Args:
        lindbladian: The dynamics.
        dims: Dimension of each factor, which decides the basis and its names; one factor if None.

    Returns:
        D²(D² − 1) real numbers with names.

    Raises:
        ArgumentError: If the dynamics are no `Lindbladian`, or the dimensions do not fit.

    Source: V. Gorini, A. Kossakowski, E. C. G. Sudarshan, J. Math. Phys. 17 (1976) 821.

    Examples:
        >>> shifted = Lindbladian([[0, 0], [0, 0]], [[[2j, 1], [0, 2j]]])
        >>> generator_entries(shifted).values[0]  # of H[X]: 2i in L is a drive
        tensor(1., dtype=torch.float64)
    """
    dense = check_single(lindbladian, (Lindbladian,), "`generator_entries`").to(torch.complex128)
    basis = hermitian_basis(checked_dims(dims, dense.dim))
    return GeneratorEntries(entry_names(basis.names), entries_of_maps(dense.superoperator()[None], basis)[0])


def checked_dims(dims: Sequence[int] | None, dim: int) -> tuple[int, ...]:
    """Return the factors' dimensions, one factor if None, refusing those that do not fit.

    Args:
        dims: Dimension of each factor, or None.
        dim: Their product.

    Raises:
        ArgumentError: If they do not fit.
    """
    if dims is None:
        return (dim,)
    check_dims(dims, dim)
    return tuple(dims)


def entry_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of h and of a Hermitian matrix C over operators of these names."""
    return (*(f"H[{name}]" for name in names), *matrix_names(names))


def matrix_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the real coordinates of a Hermitian matrix C, in the order of `matrix_coordinates`."""
    pairs = [(names[i], names[j]) for i in range(len(names)) for j in range(i + 1, len(names))]
    diagonal = tuple(f"C[{name},{name}]" for name in names)
    return (*diagonal, *(f"Re C[{i},{j}]" for i, j in pairs), *(f"Im C[{i},{j}]" for i, j in pairs))


def matrix_coordinates(matrices: Complex[Tensor, "*batch n n"]) -> Float[Tensor, "*batch squared"]:
    """Return the diagonal, and the real and imaginary parts above it, of Hermitian matrices.

    Args:
        matrices: Hermitian matrices; `matrix_of` is the inverse.
    """
    above = torch.triu_indices(matrices.shape[-1], matrices.shape[-1], 1)
    upper = matrices[..., above[0], above[1]]
    return torch.cat([matrices.diagonal(dim1=-2, dim2=-1).real, upper.real, upper.imag], -1)


def matrix_of(coordinates: Float[Tensor, "*batch squared"], size: int) -> Complex[Tensor, "*batch n n"]:
    """Return the Hermitian matrices of `matrix_coordinates`.

    Args:
        coordinates: Real numbers, n² each.
        size: n.
    """
    above = torch.triu_indices(size, size, 1)
    half = above.shape[1]
    diagonal, real, imaginary = coordinates.split([size, half, half], -1)
    matrix = torch.diag_embed(diagonal).to(torch.complex128)
    upper = torch.zeros_like(matrix)
    upper[..., above[0], above[1]] = torch.complex(real, imaginary)
    return matrix + upper + upper.mH


def entries_of_maps(
    maps: Complex[Tensor, "map squared squared"], basis: HermitianBasis
) -> Float[Tensor, "map entry"]:
    """Return h and C of generators given as superoperators on row-major ρ; linear in these.

    With 𝓛ρ = Σ_αβ c_αβ F_α ρ F_β over the basis and F_0 = 𝟙, C is c without the row and column 0, and h_i = −Im c_i0.

    Args:
        maps: D² × D² matrices of maps that keep Hermiticity and take every trace to 0.
        basis: The basis.
    """
    dim = basis.operators.shape[-1]
    identity = torch.eye(dim, dtype=torch.complex128)[None]
    flat = torch.cat([identity / dim, basis.operators / basis.norms[:, None, None]]).flatten(1)
    # (ab, cd) becomes (ac, bd), in which F_α ρ F_β† is an outer product.
    shuffled = maps.reshape(-1, dim, dim, dim, dim).transpose(2, 3).reshape(-1, dim**2, dim**2)
    coefficients = flat.conj() @ shuffled @ flat.mT
    return torch.cat([-coefficients[:, 1:, 0].imag, matrix_coordinates(coefficients[:, 1:, 1:])], -1)
