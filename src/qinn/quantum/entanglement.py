"""Entropies and correlations of the parts of a joint state, in bits."""

from collections.abc import Sequence
from itertools import combinations
from math import log2, prod

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.densities import ket_as_matrix, partial_trace, purity
from qinn.quantum.factors import check_dims, check_positions


def entropy_of_spectrum(spectrum: Float[Tensor, "*batch level"]) -> Float[Tensor, "*batch"]:
    """Return the Shannon entropy of a spectrum, −Σ λ log₂ λ, in bits.

    Values are clamped to [0, 1] against round-off; the slope at λ → 0, truly infinite, is capped at the
    smallest normal number, so gradients are finite.

    Args:
        spectrum: Eigenvalues of a density matrix.

    Returns:
        The entropies, ≥ 0.

    Example:
        >>> entropy_of_spectrum(torch.tensor([0.5, 0.5, 0.0]))
        tensor(1.)
    """
    levels = spectrum.clamp(0, 1)
    # Cap by the smallest normal number: λ log λ itself is untouched, only its slope at zero.
    return -(levels * levels.clamp(min=torch.finfo(levels.dtype).tiny).log2()).sum(-1)


def von_neumann_entropy(density: Complex[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch"]:
    """Return the von Neumann entropy S = −tr ρ log₂ ρ, in bits, between 0 and log₂ D.

    Args:
        density: Density matrices; degenerate spectra have finite gradients.

    Returns:
        The entropies.

    Source: P (von Neumann entropy).

    Example:
        >>> von_neumann_entropy(0.25 * torch.eye(4) + 0j)
        tensor(2.)
    """
    return entropy_of_spectrum(torch.linalg.eigvalsh(density))


def renyi_entropy(density: Complex[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch"]:
    """Return the Rényi entropy of order 2, S₂ = −log₂ tr ρ², in bits, between 0 and the von Neumann entropy.

    It needs no eigenvalues, so its gradient is that of a polynomial for any spectrum.

    Args:
        density: Density matrices.

    Returns:
        The entropies.

    Source: A. Rényi, Proc. 4th Berkeley Symp. (1961) 547.

    Example:
        >>> renyi_entropy(0.25 * torch.eye(4) + 0j)
        tensor(2.)
    """
    return -purity(density).log2()


def entanglement_entropy(
    ket: Complex[Tensor, "*batch dim"], dims: Sequence[int], part: Sequence[int]
) -> Float[Tensor, "*batch"]:
    """Return the entanglement entropy of a part of a pure state, in bits.

    S(part) = S(rest) = −Σ s² log₂ s² over the Schmidt coefficients s; between 0 and log₂ min(d_part, d_rest).

    Args:
        ket: Unit kets.
        dims: Dimension of each factor.
        part: Positions of the factors of one side; an empty part has entropy 0.

    Returns:
        The entropies; their gradient is finite, and zero for product states.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit.

    Source: P (entanglement entropy).

    Example:
        >>> from qinn.quantum.kets import bell_state
        >>> entanglement_entropy(bell_state(), (2, 2), [0]).round(decimals=5)
        tensor(1.)
    """
    return entropy_of_spectrum(torch.linalg.svdvals(ket_as_matrix(ket, dims, part)).square())


def cuts(num_factors: int) -> tuple[tuple[int, ...], ...]:
    """List every way to cut the factors into two non-empty sides, each cut by its smaller side.

    Args:
        num_factors: Number n of factors, ≥ 1.

    Returns:
        2^(n−1) − 1 sides, shortest first; of two sides of equal size the one that holds factor 0.

    Raises:
        ArgumentError: If there is no factor.

    Example:
        >>> cuts(3)
        ((0,), (1,), (2,))
        >>> len(cuts(4)), cuts(1)
        (7, ())
    """
    if num_factors < 1:
        raise ArgumentError(f"Argument `num_factors` must be at least 1, but it is {num_factors}.")
    sides = []
    for size in range(1, num_factors // 2 + 1):
        sides.extend(
            side for side in combinations(range(num_factors), size) if 2 * size < num_factors or 0 in side
        )
    return tuple(sides)


def entanglement_entropies(
    ket: Complex[Tensor, "*batch dim"], dims: Sequence[int]
) -> Float[Tensor, "*batch cut"]:
    """Return the entanglement entropy of every cut, in the order of `cuts`, in bits.

    Args:
        ket: Unit kets.
        dims: Dimension of each factor.

    Returns:
        One entropy per cut; no column for a single factor.

    Raises:
        ArgumentError: If ``dims`` do not fit.

    Example:
        >>> from qinn.quantum.kets import ghz_state
        >>> entanglement_entropies(ghz_state(3), (2, 2, 2)).round(decimals=5)
        tensor([1., 1., 1.])
    """
    check_dims(dims, ket.shape[-1])
    sides = cuts(len(dims))
    if not sides:
        return torch.zeros((*ket.shape[:-1], 0), dtype=ket.real.dtype, device=ket.device)
    return torch.stack([entanglement_entropy(ket, dims, side) for side in sides], -1)


def maximum_entropies(dims: Sequence[int]) -> tuple[float, ...]:
    """Return the largest possible entropy of every cut, log₂ min(d_A, d_B), in the order of `cuts`.

    Args:
        dims: Dimension of each factor.

    Returns:
        Bits per cut.

    Raises:
        ArgumentError: If there is no factor or a dimension is below 1.

    Example:
        >>> maximum_entropies((2, 4, 8))
        (1.0, 2.0, 3.0)
    """
    check_dims(dims, prod(dims))
    sizes = [prod(dims[position] for position in side) for side in cuts(len(dims))]
    return tuple(log2(min(size, prod(dims) // size)) for size in sizes)


def mutual_information(
    density: Complex[Tensor, "*batch dim dim"],
    dims: Sequence[int],
    first: Sequence[int],
    second: Sequence[int],
) -> Float[Tensor, "*batch"]:
    """Return the quantum mutual information I(A:B) = S(A) + S(B) − S(AB), in bits, ≥ 0.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        first: Positions of the factors of A.
        second: Positions of the factors of B, disjoint from A.

    Returns:
        The mutual information: all correlation, classical and quantum.

    Raises:
        ArgumentError: If the parts overlap or do not fit.

    Example:
        >>> from qinn.quantum.densities import density_of
        >>> from qinn.quantum.kets import bell_state
        >>> mutual_information(density_of(bell_state()), (2, 2), [0], [1]).round(decimals=5)
        tensor(2.)
    """
    joint = check_positions((*first, *second), len(dims), "first and second")
    both = partial_trace(density, dims, joint)
    inner = [dims[position] for position in joint]
    one = partial_trace(both, inner, range(len(first)))
    other = partial_trace(both, inner, range(len(first), len(joint)))
    return von_neumann_entropy(one) + von_neumann_entropy(other) - von_neumann_entropy(both)


def tripartite_information(
    density: Complex[Tensor, "*batch dim dim"],
    dims: Sequence[int],
    first: Sequence[int],
    second: Sequence[int],
    third: Sequence[int],
) -> Float[Tensor, "*batch"]:
    """Return the tripartite information I₃ = I(A:B) + I(A:C) − I(A:BC), in bits.

    Negative where A knows more of B and C together than of each alone (synergy), positive where both tell the
    same of A; symmetric in the three parts, and 0 for a pure state of all three.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        first: Positions of the factors of A.
        second: Positions of the factors of B.
        third: Positions of the factors of C; the three parts are disjoint.

    Returns:
        The tripartite information.

    Raises:
        ArgumentError: If the parts overlap or do not fit.

    Source: N. J. Cerf and C. Adami, Physica D 120 (1998) 62.

    Example:
        >>> from qinn.quantum.densities import density_of
        >>> from qinn.quantum.kets import ghz_state
        >>> state = density_of(ghz_state(4))
        >>> tripartite_information(state, (2, 2, 2, 2), [0], [1], [2]).round(decimals=5)
        tensor(1.)
    """
    check_positions((*first, *second, *third), len(dims), "first, second and third")
    return (
        mutual_information(density, dims, first, second)
        + mutual_information(density, dims, first, third)
        - mutual_information(density, dims, first, (*second, *third))
    )


def partial_transpose(
    density: Complex[Tensor, "*batch dim dim"], dims: Sequence[int], part: Sequence[int]
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

    Example:
        >>> partial_transpose(torch.arange(4).reshape(2, 2) + 0j, (2, 1), [0]).real
        tensor([[0., 2.],
                [1., 3.]])
    """
    check_dims(dims, density.shape[-1])
    part = check_positions(part, len(dims), "part")
    start, num_factors = density.ndim - 2, len(dims)
    axes = list(range(start + 2 * num_factors))
    for position in part:
        row, column = start + position, start + num_factors + position
        axes[row], axes[column] = column, row
    return density.reshape(*density.shape[:-2], *dims, *dims).permute(axes).reshape(density.shape)


def negativity(
    density: Complex[Tensor, "*batch dim dim"], dims: Sequence[int], part: Sequence[int]
) -> Float[Tensor, "*batch"]:
    """Return the negativity, minus the sum of the negative eigenvalues of the partial transpose.

    It is 0 for separable states.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        part: Positions of the factors of one side.

    Returns:
        The negativities, between 0 and (min(d_A, d_B) − 1)/2.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit.

    Source: G. Vidal and R. F. Werner, Phys. Rev. A 65 (2002) 032314.

    Example:
        >>> from qinn.quantum.densities import density_of
        >>> from qinn.quantum.kets import bell_state
        >>> negativity(density_of(bell_state()), (2, 2), [0]).round(decimals=5)
        tensor(0.5000)
    """
    return -torch.linalg.eigvalsh(partial_transpose(density, dims, part)).clamp(max=0).sum(-1)


def log_negativity(
    density: Complex[Tensor, "*batch dim dim"], dims: Sequence[int], part: Sequence[int]
) -> Float[Tensor, "*batch"]:
    """Return the logarithmic negativity log₂(2N + 1), in bits.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        part: Positions of the factors of one side.

    Returns:
        The logarithmic negativities.

    Raises:
        ArgumentError: If ``dims`` or ``part`` do not fit.

    Example:
        >>> from qinn.quantum.densities import density_of
        >>> from qinn.quantum.kets import bell_state
        >>> log_negativity(density_of(bell_state()), (2, 2), [0]).round(decimals=5)
        tensor(1.)
    """
    return (2 * negativity(density, dims, part) + 1).log2()
