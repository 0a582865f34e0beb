"""Entropies of density matrices and the information that parts share, in bits."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from qinn.quantum.arguments import as_density, as_spectrum
from qinn.quantum.numerics.factors import check_positions
from qinn.quantum.numerics.spectral import Entropy, spectral_sum
from qinn.quantum.states.densities import partial_trace, purity


def entropy_of_spectrum(spectrum: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the Shannon entropy of a spectrum, −Σ λ log₂ λ, in bits.

    Values are clamped to [0, 1] against round-off, and refused beyond it; the slope at λ → 0, truly infinite, is
    capped at the smallest normal number, so gradients are finite.

    Args:
        spectrum: Eigenvalues of a density matrix.
        validate: Pass False to skip the checks of the values.

    Returns:
        The entropies, ≥ 0.

    Raises:
        ArgumentError: If an eigenvalue is negative, or their sum is not 1, beyond round-off (1e-3 in single and 1e-5 in
            double precision).

    Examples:
        >>> import torch
        >>> entropy_of_spectrum(torch.tensor([0.5, 0.5, 0.0]))
        tensor(1.)
    """
    return Entropy().value(as_spectrum("spectrum", spectrum) if validate else spectrum).sum(-1)


def von_neumann_entropy(density: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the von Neumann entropy S = −tr ρ log₂ ρ, in bits, between 0 and log₂ D.

    Args:
        density: Density matrices; degenerate spectra have gradients and second derivatives too.
        validate: Pass False to skip the checks of the values.

    Returns:
        The entropies.

    Raises:
        ArgumentError: If a matrix is no density: not Hermitian, not of trace 1, or with negative eigenvalues.

    Source: P (von Neumann entropy).

    Examples:
        >>> import torch
        >>> von_neumann_entropy(0.25 * torch.eye(4) + 0j)
        tensor(2.)
    """
    return spectral_sum(as_density("density", density) if validate else density, Entropy())


def renyi_entropy(density: Any, *, validate: bool = True) -> Float[Tensor, "*batch"]:
    """Return the Rényi entropy of order 2, S₂ = −log₂ tr ρ², in bits, between 0 and the von Neumann entropy.

    It needs no eigenvalues, so its gradient is that of a polynomial for any spectrum.

    Args:
        density: Density matrices.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The entropies.

    Raises:
        ArgumentError: If a matrix is no density: not Hermitian, not of trace 1, or with negative eigenvalues.

    Source: A. Rényi, Proc. 4th Berkeley Symp. (1961) 547.

    Examples:
        >>> import torch
        >>> renyi_entropy(0.25 * torch.eye(4) + 0j)
        tensor(2.)
    """
    return -purity(density, validate=validate).log2()


def mutual_information(
    density: Any,
    dims: Sequence[int],
    first: Sequence[int],
    second: Sequence[int],
    *,
    validate: bool = True,
) -> Float[Tensor, "*batch"]:
    """Return the quantum mutual information I(A:B) = S(A) + S(B) − S(AB), in bits, ≥ 0.

    Args:
        density: Density matrices.
        dims: Dimension of each factor.
        first: Positions of the factors of A.
        second: Positions of the factors of B, disjoint from A.
        validate: Pass False to skip the checks of the values.

    Returns:
        The mutual information: all correlation, classical and quantum.

    Raises:
        ArgumentError: If the parts overlap or do not fit, or a matrix is no density.

    Examples:
        >>> from qinn.quantum.states.densities import density_of
        >>> from qinn.quantum.states.kets import bell_state
        >>> mutual_information(density_of(bell_state()), (2, 2), [0], [1]).round(decimals=5)
        tensor(2.)
    """
    joint = check_positions((*first, *second), len(dims), "first and second")
    both = partial_trace(density, dims, joint)
    if validate:
        both = as_density("density", both)
    inner = [dims[position] for position in joint]
    one = partial_trace(both, inner, range(len(first)))
    other = partial_trace(both, inner, range(len(first), len(joint)))
    entropies = [von_neumann_entropy(part, validate=False) for part in (one, other, both)]
    return entropies[0] + entropies[1] - entropies[2]


def tripartite_information(
    density: Any,
    dims: Sequence[int],
    first: Sequence[int],
    second: Sequence[int],
    third: Sequence[int],
    *,
    validate: bool = True,
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
        validate: Pass False to skip the checks of the values where they hold by construction.

    Returns:
        The tripartite information.

    Raises:
        ArgumentError: If the parts overlap or do not fit, or a matrix is no density.

    Source: N. J. Cerf and C. Adami, Physica D 120 (1998) 62.

    Examples:
        >>> from qinn.quantum.states.densities import density_of
        >>> from qinn.quantum.states.kets import ghz_state
        >>> state = density_of(ghz_state(4))
        >>> tripartite_information(state, (2, 2, 2, 2), [0], [1], [2]).round(decimals=5)
        tensor(1.)
    """
    check_positions((*first, *second, *third), len(dims), "first, second and third")
    # The last part holds the others, and is checked for them.
    whole = mutual_information(density, dims, first, (*second, *third), validate=validate)
    return (
        mutual_information(density, dims, first, second, validate=False)
        + mutual_information(density, dims, first, third, validate=False)
        - whole
    )
