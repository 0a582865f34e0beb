"""Operators on some factors of a joint space."""

from collections.abc import Sequence
from math import prod

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.numerics.factors import check_dims, check_positions, complement, permute_operator


def embed(
    operator: Complex[Tensor, "*batch part part"], dims: Sequence[int], positions: Sequence[int]
) -> Complex[Tensor, "*batch dim dim"]:
    """Extend an operator on some factors to the joint space, with the identity on all others.

    Args:
        operator: Matrices on the factors ``positions``, in that order.
        dims: Dimension of each factor of the joint space.
        positions: On which factors the operator acts.

    Returns:
        Matrices on the joint space.

    Raises:
        ArgumentError: If the positions or dimensions do not fit.

    Examples:
        >>> from qinn.quantum import pauli
        >>> embed(pauli("Z"), (2, 2), (1,)).diagonal().real
        tensor([ 1., -1.,  1., -1.])
    """
    check_dims(dims, prod(dims))
    positions = check_positions(positions, len(dims))
    inside = [dims[position] for position in positions]
    if prod(inside) != operator.shape[-1]:
        raise ArgumentError(
            f"Argument `operator` must act on dimension {prod(inside)} (factors {positions} of "
            f"{tuple(dims)}), but it has dimension {operator.shape[-1]}."
        )
    rest = complement(positions, len(dims))
    outside = [dims[position] for position in rest]
    identity = torch.eye(prod(outside), dtype=operator.dtype, device=operator.device)
    joint = operator[..., :, None, :, None] * identity[:, None, :]
    joint = joint.flatten(-4, -3).flatten(-2)
    ordered = (*positions, *rest)
    back = [ordered.index(position) for position in range(len(dims))]
    return permute_operator(joint, (*inside, *outside), back)
