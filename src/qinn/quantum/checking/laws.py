"""How far states and maps are from the laws of quantum mechanics: one number per law, 0 where it holds."""

from collections.abc import Sequence
from functools import reduce
from itertools import combinations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.quantum.measures.entanglement import cuts, entanglement_entropy
from qinn.quantum.measures.entropies import mutual_information
from qinn.quantum.numerics.factors import check_dims, complement
from qinn.quantum.states.densities import ket_as_matrix, trace_distance
from qinn.quantum.states.kets import squared_norm


def norm_deviation(ket: Complex[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    """Return |⟨ψ|ψ⟩ − 1|.

    Args:
        ket: Kets.

    Examples:
        >>> norm_deviation(torch.tensor([0.6 + 0j, 0.8j]))
        tensor(0.)
    """
    return (squared_norm(ket) - 1).abs()


def asymmetry(matrix: Complex[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch"]:
    """Return the largest entry of |A − A†|.

    Args:
        matrix: Matrices that should be Hermitian.

    Examples:
        >>> asymmetry(torch.tensor([[0.5, 0.1], [0, 0.5]]) + 0j)
        tensor(0.1000)
    """
    return (matrix - matrix.mH).abs().amax((-2, -1))


def trace_deviation(density: Complex[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch"]:
    """Return |tr ρ − 1|.

    Args:
        density: Density matrices.

    Examples:
        >>> trace_deviation(torch.eye(2) + 0j)
        tensor(1.)
    """
    return (density.diagonal(dim1=-2, dim2=-1).sum(-1) - 1).abs()


def negative_part(matrix: Complex[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch"]:
    """Return the magnitude of the lowest eigenvalue of the Hermitian part, if it is negative.

    Args:
        matrix: Matrices that should be positive: densities, or the Choi matrix of a map that should be
            completely positive.

    Examples:
        >>> negative_part(torch.diag(torch.tensor([1.5, -0.5])) + 0j)
        tensor(0.5000)
    """
    return -torch.linalg.eigvalsh(0.5 * (matrix + matrix.mH))[..., 0].clamp(max=0)


def trace_leak(choi: Complex[Tensor, "squared squared"]) -> Float[Tensor, ""]:
    """Return by how much a map fails to preserve the trace: the largest entry of |Σ_a C[(a, c), (a, d)] − δ_cd|.

    Args:
        choi: Choi matrix, from `choi_matrix`.

    Examples:
        >>> trace_leak(0.5 * torch.eye(4) + 0j)
        tensor(0.)
    """
    dim = round(len(choi) ** 0.5)
    traced = choi.reshape(dim, dim, dim, dim).diagonal(dim1=0, dim2=2).sum(-1)
    return (traced - torch.eye(dim, dtype=choi.dtype, device=choi.device)).abs().amax()


def _largest(values: Sequence[Tensor], like: Tensor) -> Tensor:
    """The largest of several numbers for each sample, of which 0 is one."""
    return reduce(torch.maximum, values, torch.zeros_like(like.real))


def entangled_part(ket: Complex[Tensor, "*batch dim"], dims: Sequence[int]) -> Float[Tensor, "*batch"]:
    """Return the largest second Schmidt coefficient over every cut: 0 for product states.

    Args:
        ket: Unit kets.
        dims: Dimension of each factor.

    Returns:
        The coefficients; 0 for a single factor.

    Raises:
        ArgumentError: If ``dims`` do not fit.

    Examples:
        >>> entangled_part(torch.tensor([0.8 + 0j, 0, 0, 0.6]), (2, 2))
        tensor(0.6000)
    """
    check_dims(dims, ket.shape[-1])
    found = [torch.linalg.svdvals(ket_as_matrix(ket, dims, side)) for side in cuts(len(dims))]
    return _largest([each[..., 1] for each in found if each.shape[-1] > 1], ket[..., 0])


def entropy_difference(ket: Complex[Tensor, "*batch dim"], dims: Sequence[int]) -> Float[Tensor, "*batch"]:
    """Return the largest |S(A) − S(rest)| of a pure state over every cut, in bits.

    Args:
        ket: Unit kets.
        dims: Dimension of each factor.

    Returns:
        The differences; 0 for a single factor.

    Raises:
        ArgumentError: If ``dims`` do not fit.

    Examples:
        >>> entropy_difference(torch.tensor([0.8 + 0j, 0, 0, 0.6]), (2, 2)) < 1e-6
        tensor(True)
    """
    check_dims(dims, ket.shape[-1])
    differences = []
    for side in cuts(len(dims)):
        sides = (side, complement(side, len(dims)))
        one, other = (entanglement_entropy(ket, dims, each, validate=False) for each in sides)
        differences.append((one - other).abs())
    return _largest(differences, ket[..., 0])


def information_gain(
    before: Complex[Tensor, "*batch dim dim"], after: Complex[Tensor, "*batch dim dim"], dims: Sequence[int]
) -> Float[Tensor, "*batch"]:
    """Return by how many bits the mutual information of any two factors has grown: 0 under local channels.

    Args:
        before: Density matrices.
        after: Density matrices after the evolution.
        dims: Dimension of each factor.

    Returns:
        The largest growth over all pairs; 0 if none grew, or for a single factor.

    Raises:
        ArgumentError: If ``dims`` do not fit.

    Examples:
        >>> from qinn.quantum.states.densities import density_of, maximally_mixed
        >>> from qinn.quantum.states.kets import bell_state
        >>> information_gain(maximally_mixed(4), density_of(bell_state()), (2, 2)).round(decimals=4)
        tensor(2.)
    """
    check_dims(dims, before.shape[-1])
    gains = []
    for first, second in combinations(range(len(dims)), 2):
        early, late = (
            mutual_information(density, dims, [first], [second], validate=False)
            for density in (before, after)
        )
        gains.append(late - early)
    return _largest(gains, before[..., 0, 0])


def distance_gain(
    before: Complex[Tensor, "*batch 2 dim dim"], after: Complex[Tensor, "*batch 2 dim dim"]
) -> Float[Tensor, "*batch"]:
    """Return by how much the trace distance of two states has grown: 0 under any channel.

    Args:
        before: Pairs of density matrices.
        after: The pairs after the evolution.

    Returns:
        The growth; 0 if it fell.

    Examples:
        >>> same, apart = torch.eye(2).expand(2, 2, 2) / 2 + 0j, torch.diag_embed(torch.eye(2)) + 0j
        >>> distance_gain(same, apart), distance_gain(apart, same)
        (tensor(1.), tensor(0.))
    """
    distances = [
        trace_distance(pair[..., 0, :, :], pair[..., 1, :, :], validate=False) for pair in (before, after)
    ]
    return (distances[1] - distances[0]).clamp(min=0)
