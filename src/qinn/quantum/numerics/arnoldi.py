"""Leading eigenvalues of a real linear map that is given only by its action."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qinn.errors import ArgumentError

# A second pass of Gram and Schmidt restores orthogonality to round-off.
_PASSES = 2
# Columns after which convergence is looked at.
_CHECKED = 5


@dataclass(frozen=True, eq=False)
class RitzPairs:
    """Approximate eigenpairs from a Krylov space, largest modulus first.

    Attributes:
        values: Ritz values, complex (count,).
        vectors: Unit Ritz vectors, complex (count, size).
        residuals: ‖E v − θ v‖ of each, (count,).
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor

    def nearest(self, value: Tensor) -> "RitzPairs":
        """Return the one pair whose value is nearest to the given one."""
        chosen = (self.values - value).abs().argmin()[None]
        return RitzPairs(self.values[chosen], self.vectors[chosen], self.residuals[chosen])


def leading_eigenpairs(
    apply: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    count: int,
    num_vectors: int,
    residual: float = 0.0,
    leading: int | None = None,
) -> RitzPairs:
    """Return the eigenpairs of largest modulus that a Krylov space of one start vector holds.

    Args:
        apply: The map E on real vectors (size,).
        start: Start vector, with a part along every eigenvector looked for.
        count: Number of pairs; fewer if the space is exhausted.
        num_vectors: Largest dimension of the Krylov space.
        residual: The space stops growing once all these pairs are that good, relative to the largest value.
        leading: How many of the pairs must be that good; all if None.

    Returns:
        The pairs, with residuals by which to judge them.

    Raises:
        ArgumentError: If a number is below 1.

    Source: W. E. Arnoldi, Quart. Appl. Math. 9 (1951) 17.

    Examples:
        >>> scale = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
        >>> pairs = leading_eigenpairs(lambda v: scale * v, torch.ones(3).double(), count=2, num_vectors=9)
        >>> pairs.values.real.round(decimals=9)
        tensor([3., 2.], dtype=torch.float64)
    """
    if num_vectors < 1 or count < 1:
        raise ArgumentError(
            f"Arguments `num_vectors` and `count` must be at least 1, but are {num_vectors} and {count}."
        )
    num_vectors = min(num_vectors, len(start))
    basis = [start / torch.linalg.vector_norm(start)]
    matrix = start.new_zeros(num_vectors + 1, num_vectors)
    column, pairs = -1, None
    while pairs is None:
        column += 1
        image = apply(basis[-1])
        length = float(torch.linalg.vector_norm(image))
        known = torch.stack(basis)
        for _ in range(_PASSES):
            overlaps = known @ image
            image = image - overlaps @ known
            matrix[: column + 1, column] += overlaps
        rest = torch.linalg.vector_norm(image)
        exhausted = float(rest) <= 100 * torch.finfo(start.dtype).eps * length
        matrix[column + 1, column] = 0.0 if exhausted else rest
        last = exhausted or column == num_vectors - 1
        if last or column % _CHECKED == _CHECKED - 1:
            found = _ritz_pairs(matrix, known, count)
            if last or float(found.residuals[:leading].max()) <= residual * float(found.values[0].abs()):
                pairs = found
        if pairs is None:
            basis.append(image / rest)
    return pairs


def _ritz_pairs(matrix: Tensor, basis: Tensor, count: int) -> RitzPairs:
    used = len(basis)
    values, weights = torch.linalg.eig(matrix[:used, :used])
    order = values.abs().argsort(descending=True)[:count]
    weights = weights[:, order] / torch.linalg.vector_norm(weights[:, order], dim=0)
    residuals = matrix[used, used - 1] * weights[-1].abs()
    return RitzPairs(values[order], weights.mT @ basis.to(weights.dtype), residuals)
