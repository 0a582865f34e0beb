"""Entanglement of the parts of a joint state: entropies of pure states, negativity and concurrence of mixed ones."""

from collections.abc import Sequence
from itertools import combinations
from math import log2, prod
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import (
    as_complex,
    as_density,
    check_count,
    check_kets,
    check_square,
    check_vectors,
    state_tolerance,
)
from qinn.quantum.numerics.factors import check_dims, check_positions
from qinn.quantum.numerics.spectral import (
    Absolute,
    Entropy,
    LargestLessOthers,
    positive_root,
    singular_sum,
    spectral_sum,
)
from qinn.quantum.states.densities import ket_as_matrix


def entanglement_entropy(
    ket: Any, dims: Sequence[int], part: Sequence[int], *, validate: bool = True
) -> Float[Tensor, "*batch"]:
    """Return the entanglement entropy of a part of a pure state, in bits.

    S(part) = S(rest) = −Σ s² log₂ s² over the Schmidt coefficients s; between 0 and log₂ min(d_part, d_rest).

    Args:
        ket: Unit kets.
        dims: Dimension of each factor.
        part: Positions of the factors of one side; an empty part has entropy 0.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The entropies; their gradient is finite, and zero for product states.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit, or a ket is not of unit norm.

    Source: P (entanglement entropy).

    Examples:
        >>> from qinn.quantum.states.kets import bell_state
        >>> entanglement_entropy(bell_state(), (2, 2), [0]).round(decimals=5)
        tensor(1.)
    """
    kets = _as_kets("ket", ket, validate)
    return singular_sum(ket_as_matrix(kets, dims, part), Entropy())


def cuts(num_factors: int) -> tuple[tuple[int, ...], ...]:
    """List every way to cut the factors into two non-empty sides, each cut by its smaller side.

    Args:
        num_factors: Number n of factors, ≥ 1.

    Returns:
        2^(n−1) − 1 sides, shortest first; of two sides of equal size the one that holds factor 0.

    Raises:
        ArgumentError: If there is no factor.

    Examples:
        >>> cuts(3)
        ((0,), (1,), (2,))
        >>> len(cuts(4)), cuts(1)
        (7, ())
    """
    check_count("num_factors", num_factors)
    sides = []
    for size in range(1, num_factors // 2 + 1):
        sides.extend(
            side for side in combinations(range(num_factors), size) if 2 * size < num_factors or 0 in side
        )
    return tuple(sides)


def entanglement_entropies(
    ket: Any, dims: Sequence[int], *, validate: bool = True
) -> Float[Tensor, "*batch cut"]:
    """Return the entanglement entropy of every cut, in the order of `cuts`, in bits.

    Args:
        ket: Unit kets.
        dims: Dimension of each factor.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        One entropy per cut; no column for a single factor.

    Raises:
        ArgumentError: If ``dims`` do not fit, or a ket is not of unit norm.

    Examples:
        >>> from qinn.quantum.states.kets import ghz_state
        >>> entanglement_entropies(ghz_state(3), (2, 2, 2)).round(decimals=5)
        tensor([1., 1., 1.])
    """
    kets = _as_kets("ket", ket, validate)
    check_dims(dims, kets.shape[-1])
    sides = cuts(len(dims))
    if not sides:
        return torch.zeros((*kets.shape[:-1], 0), dtype=kets.real.dtype, device=kets.device)
    return torch.stack([entanglement_entropy(kets, dims, side, validate=False) for side in sides], -1)


def _as_kets(name: str, ket: Any, validate: bool) -> Tensor:
    kets = as_complex(name, ket)
    check_vectors(name, kets)
    if validate:
        check_kets(name, kets, 10 * state_tolerance(kets.dtype))
    return kets


def maximum_entropies(dims: Sequence[int]) -> tuple[float, ...]:
    """Return the largest possible entropy of every cut, log₂ min(d_A, d_B), in the order of `cuts`.

    Args:
        dims: Dimension of each factor.

    Returns:
        Bits per cut.

    Raises:
        ArgumentError: If there is no factor or a dimension is below 1.

    Examples:
        >>> maximum_entropies((2, 4, 8))
        (1.0, 2.0, 3.0)
    """
    check_dims(dims, prod(dims))
    sizes = [prod(dims[position] for position in side) for side in cuts(len(dims))]
    return tuple(log2(min(size, prod(dims) // size)) for size in sizes)


def partial_transpose(
    density: Any, dims: Sequence[int], part: Sequence[int]
) -> Complex[Tensor, "*batch dim dim"]:
    """Transpose the factors of one part only.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        part: Positions of the factors to transpose.

    Returns:
        Hermitian matrices, which may have negative eigenvalues.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit.

    Examples:
        >>> partial_transpose(torch.arange(4).reshape(2, 2) + 0j, (2, 1), [0]).real
        tensor([[0., 2.],
                [1., 3.]])
    """
    density = as_complex("density", density)
    check_square("density", density)
    check_dims(dims, density.shape[-1])
    part = check_positions(part, len(dims), "part")
    start, num_factors = density.ndim - 2, len(dims)
    axes = list(range(start + 2 * num_factors))
    for position in part:
        row, column = start + position, start + num_factors + position
        axes[row], axes[column] = column, row
    return density.reshape(*density.shape[:-2], *dims, *dims).permute(axes).reshape(density.shape)


def negativity(
    density: Any, dims: Sequence[int], part: Sequence[int], *, validate: bool = True
) -> Float[Tensor, "*batch"]:
    """Return the negativity, minus the sum of the negative eigenvalues of the partial transpose.

    It is 0 for separable states.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        part: Positions of the factors of one side.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The negativities, between 0 and (min(d_A, d_B) − 1)/2.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit, or a matrix is no density.

    Source: G. Vidal and R. F. Werner, Phys. Rev. A 65 (2002) 032314.

    Examples:
        >>> from qinn.quantum.states.densities import density_of
        >>> from qinn.quantum.states.kets import bell_state
        >>> negativity(density_of(bell_state()), (2, 2), [0]).round(decimals=5)
        tensor(0.5000)
    """
    matrices = as_density("density", density) if validate else density
    return spectral_sum(partial_transpose(matrices, dims, part), Absolute(1.0, 0.0, -1.0))


def log_negativity(
    density: Any, dims: Sequence[int], part: Sequence[int], *, validate: bool = True
) -> Float[Tensor, "*batch"]:
    """Return the logarithmic negativity log₂(2N + 1), in bits.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        part: Positions of the factors of one side.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The logarithmic negativities.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit, or a matrix is no density.

    Examples:
        >>> from qinn.quantum.states.densities import density_of
        >>> from qinn.quantum.states.kets import bell_state
        >>> log_negativity(density_of(bell_state()), (2, 2), [0]).round(decimals=5)
        tensor(1.)
    """
    return (2 * negativity(density, dims, part, validate=validate) + 1).log2()


def concurrence(density: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the concurrence of mixed states of two qubits, C = max(0, λ₁ − λ₂ − λ₃ − λ₄), between 0 and 1.

    λ₁ ≥ … ≥ λ₄ are the singular values of √ρᵀ (Y⊗Y) √ρ, which are the square roots of the eigenvalues of
    ρ (Y⊗Y) ρ* (Y⊗Y). It is 0 for separable states only, and |⟨ψ|(Y⊗Y)|ψ*⟩| for pure ones. The gradient is
    finite for any spectrum: where ρ has zero eigenvalues it is that among states of the same rank, and
    where C has a kink (C = 0, or a λ vanishes) that of the constant side. Second derivatives are refused where ρ has
    an eigenvalue 0.

    Args:
        density: Density matrices of two qubits.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The concurrences.

    Raises:
        ArgumentError: If the dimension is not 4, or a matrix is no density.

    Source: W. K. Wootters, Phys. Rev. Lett. 80 (1998) 2245.

    Examples:
        >>> from qinn.quantum.states.densities import density_of
        >>> from qinn.quantum.states.kets import bell_state
        >>> concurrence(density_of(bell_state())).round(decimals=5)
        tensor(1.)
    """
    density = as_density("density", density) if validate else density
    _check_two_qubits(density.shape[-1], "density")
    root = positive_root(density)
    flipped = root.flip(-2) * torch.tensor([-1, 1, 1, -1], device=root.device)[:, None]  # (Y⊗Y) √ρ
    trace = density.detach().diagonal(dim1=-2, dim2=-1).real.sum(-1, keepdim=True)
    round_off = 16 * torch.finfo(trace.dtype).eps * trace
    return singular_sum(root.mT @ flipped, LargestLessOthers(round_off.square())).clamp(min=0)


def ket_concurrence(ket: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the concurrence of pure states of two qubits, C = 2 |ψ₀₀ψ₁₁ − ψ₀₁ψ₁₀|, between 0 and 1.

    Args:
        ket: Unit kets of two qubits.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The concurrences; 0 with zero gradient for product states.

    Raises:
        ArgumentError: If the dimension is not 4, or a ket is not of unit norm.

    Source: S. Hill and W. K. Wootters, Phys. Rev. Lett. 78 (1997) 5022.

    Examples:
        >>> ket_concurrence(torch.tensor([0.8 + 0j, 0, 0, 0.6j]))
        tensor(0.9600)
    """
    ket = _as_kets("ket", ket, validate)
    _check_two_qubits(ket.shape[-1], "ket")
    return 2 * (ket[..., 0] * ket[..., 3] - ket[..., 1] * ket[..., 2]).abs()


def _check_two_qubits(dim: int, name: str) -> None:
    if dim != 4:
        raise ArgumentError(
            f"Argument `{name}` must be of two qubits (dimension 4), but has dimension {dim}; reduce it with "
            "`partial_trace`, or use `negativity`, which exists in any dimension."
        )
