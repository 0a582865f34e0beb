"""Sums of operators on one and two tensor factors, applied to kets by contractions along the factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.quantum.numerics.embedding import embed

# Neighbouring factors are taken together up to here: one pass over memory then does more work.
_LARGEST_GROUP = 16
# The last group is wider if that avoids contractions with a short innermost axis.
_LARGEST_LAST_GROUP = 64


class Site(NamedTuple):
    """Where a matrix acts on a ket: the ket's axis D is cut into (left, dim, right), ``dim`` is contracted."""

    left: int
    dim: int
    right: int


def groups_of(dims: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Cut the factors into runs of neighbours that are small enough to act on together.

    Args:
        dims: Dimension of each factor.

    Returns:
        First position and the position behind the last, of each run in order.

    Source: own.

    Examples:
        >>> groups_of((2, 2, 2, 2, 2, 2)), groups_of((16, 16, 3))
        (((0, 2), (2, 6)), ((0, 1), (1, 3)))
    """
    groups, stop = [], len(dims)
    while stop > 0:
        start, last = stop - 1, stop == len(dims)
        while start > 0:
            size, wider = prod(dims[start:stop]), prod(dims[start - 1 : stop])
            if wider > (_LARGEST_LAST_GROUP if last and size < _LARGEST_GROUP else _LARGEST_GROUP):
                break
            start -= 1
        groups.append((start, stop))
        stop = start
    return tuple(reversed(groups))


def _site(dims: Sequence[int], start: int, stop: int) -> Site:
    return Site(prod(dims[:start]), prod(dims[start:stop]), prod(dims[stop:]))


def contract(matrix: Tensor, kets: Tensor, site: Site, total: Tensor | None = None) -> Tensor:
    """Apply a matrix to one run of factors of every ket, and add the result to ``total``.

    Without gradients ``total`` itself is changed and returned.

    Args:
        matrix: The matrix (dim, dim).
        kets: Contiguous rows (row, D).
        site: Where it acts.
        total: What to add to, or None for nothing.

    Returns:
        The new rows.

    Examples:
        >>> flip = torch.tensor([[0, 1], [1, 0]]) + 0j
        >>> contract(flip, torch.arange(4)[None] + 0j, Site(1, 2, 2)).real
        tensor([[2., 3., 0., 1.]])
    """
    _, dim, right = site
    if right == 1:
        rows, columns = kets.view(-1, dim), matrix.mT
        if total is None:
            result = rows @ columns
        elif torch.is_grad_enabled():
            result = torch.addmm(total.view(-1, dim), rows, columns)
        else:
            result = total.view(-1, dim).addmm_(rows, columns)
        return result.view(kets.shape)
    blocks = kets.view(-1, dim, right)
    repeated = matrix.expand(len(blocks), dim, dim)
    if total is None:
        result = torch.bmm(repeated, blocks)
    elif torch.is_grad_enabled():
        result = torch.baddbmm(total.view(blocks.shape), repeated, blocks)
    else:
        result = total.view(blocks.shape).baddbmm_(repeated, blocks)
    return result.view(kets.shape)


@dataclass(frozen=True)
class Layout:
    """Which contractions make an operator; the matrices themselves are given apart.

    Attributes:
        singles: Site of each one-run matrix.
        pairs: Sites and rank of each sum of two-run products.

    The tensors are one matrix per single, then two stacks (rank, dim, dim) per pair.
    """

    singles: tuple[Site, ...]
    pairs: tuple[tuple[Site, Site, int], ...]

    @property
    def num_tensors(self) -> int:
        """Number of tensors that `apply` takes."""
        return len(self.singles) + 2 * len(self.pairs)

    def apply(self, tensors: Sequence[Tensor], kets: Tensor, total: Tensor | None = None) -> Tensor:
        """Apply the operator to rows and add the result to ``total``, as `contract` does.

        Args:
            tensors: Matrices of this layout.
            kets: Contiguous rows (row, D).
            total: What to add to, or None for nothing.

        Returns:
            The new rows.
        """
        for site, matrix in zip(self.singles, tensors, strict=False):
            total = contract(matrix, kets, site, total)
        rest = iter(tensors[len(self.singles) :])
        for (first, second, rank), left, right in zip(self.pairs, rest, rest, strict=True):
            for index in range(rank):
                total = contract(left[index], contract(right[index], kets, second), first, total)
        return 0 * kets if total is None else total

    def bound(self, tensors: Sequence[Tensor]) -> float:
        """Upper bound of the operator's spectral norm: the sum of the norms of its terms.

        Args:
            tensors: Matrices of this layout.

        Returns:
            The bound; infinite where a matrix is not finite.
        """
        norms = [_norms(tensor.detach()) for tensor in tensors]
        count = len(self.singles)
        total = sum(float(norm) for norm in norms[:count])
        return total + sum(
            float((a * b).sum()) for a, b in zip(norms[count::2], norms[count + 1 :: 2], strict=True)
        )


def _norms(matrices: Tensor) -> Tensor:
    if not bool(torch.isfinite(torch.view_as_real(matrices.resolve_conj())).all()):
        return torch.full(matrices.shape[:-2], torch.inf, dtype=torch.float64)
    # Round-off of the singular values is inside the last factor.
    norms = torch.linalg.matrix_norm(matrices, 2).double()
    return norms * (1 + 10 * matrices.shape[-1] * torch.finfo(matrices.dtype).eps)


def lay_out(
    dims: Sequence[int],
    local: Mapping[int, Tensor],
    products: Mapping[tuple[int, int], tuple[Tensor, Tensor]],
) -> tuple[Layout, tuple[Tensor, ...]]:
    """Arrange a sum of one- and two-factor terms into few contractions.

    All terms inside one run of `groups_of` become one matrix. A product that joins two runs keeps its two
    stacks, extended to the run where the innermost axis would be short.

    Args:
        dims: Dimension of each factor.
        local: Position → matrix.
        products: Positions (m, n) → stacks (rank, d_m, d_m) and (rank, d_n, d_n).

    Returns:
        The layout, and its tensors (differentiable in the terms).

    Source: own.
    """
    groups = groups_of(dims)
    group_of = {position: group for group in groups for position in range(*group)}

    def extended(matrix: Tensor, group: tuple[int, int], positions: Sequence[int]) -> Tensor:
        start, stop = group
        return embed(matrix, dims[start:stop], [position - start for position in positions])

    merged: dict[tuple[int, int], Tensor] = {}
    pairs, stacks = [], []
    for position, matrix in local.items():
        group = group_of[position]
        part = extended(matrix, group, [position])
        merged[group] = merged[group] + part if group in merged else part
    for (first, second), factors in products.items():
        group = group_of[first]
        if group == group_of[second]:
            part = extended(sum_of_products(*factors), group, [first, second])
            merged[group] = merged[group] + part if group in merged else part
            continue
        sites = []
        for position, stack in zip((first, second), factors, strict=True):
            at = group_of[position]
            if at == groups[-1]:
                sites.append(_site(dims, *at))
                stacks.append(extended(stack, at, [position]))
            else:
                sites.append(_site(dims, position, position + 1))
                stacks.append(stack)
        pairs.append((*sites, len(factors[0])))
    layout = Layout(tuple(_site(dims, *group) for group in merged), tuple(pairs))
    return layout, (*merged.values(), *stacks)


def sum_of_products(
    left: Complex[Tensor, "rank a a"], right: Complex[Tensor, "rank b b"]
) -> Complex[Tensor, "ab ab"]:
    """Return Σ_r A_r ⊗ B_r as one matrix.

    Args:
        left: Matrices A_r.
        right: Matrices B_r.

    Examples:
        >>> sum_of_products(torch.ones(2, 1, 1) + 0j, torch.eye(2).expand(2, 2, 2) + 0j).real
        tensor([[2., 0.],
                [0., 2.]])
    """
    size = left.shape[-1] * right.shape[-1]
    return torch.einsum("rab,rcd->acbd", left, right).reshape(size, size)
