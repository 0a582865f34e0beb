"""Tensor factors: dimensions, positions and reordering of the parts of a joint space."""

from collections.abc import Sequence
from math import prod

from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError


def check_dims(dims: Sequence[int], total: int) -> None:
    """Refuse factor dimensions that do not multiply to the dimension of the joint space.

    Args:
        dims: Dimension of each factor, at least one factor, each ≥ 1.
        total: Dimension D of the joint space.

    Raises:
        ArgumentError: If there is no factor, a dimension is below 1, or Π dims ≠ total.

    Examples:
        >>> check_dims((2, 3), 6)
    """
    if len(dims) == 0 or min(dims) < 1 or prod(dims) != total:
        raise ArgumentError(
            f"Argument `dims` must be factor dimensions whose product is {total}, but it is {tuple(dims)} "
            f"with product {prod(dims)}; give the dimensions in tensor-product order."
        )


def check_positions(positions: Sequence[int], num_factors: int, name: str = "positions") -> tuple[int, ...]:
    """Return factor positions as a tuple, refusing repeated or non-existing ones.

    Args:
        positions: Positions of factors, 0 … num_factors − 1, without repetition.
        num_factors: Number of factors of the joint space.
        name: Name of the argument in the message.

    Returns:
        The positions, in the given order.

    Raises:
        ArgumentError: If a position repeats or does not exist.

    Examples:
        >>> check_positions([2, 0], 3)
        (2, 0)
    """
    given = tuple(positions)
    if len(set(given)) != len(given) or any(not 0 <= position < num_factors for position in given):
        raise ArgumentError(
            f"Argument `{name}` must hold distinct factor positions between 0 and {num_factors - 1}, "
            f"but it is {given}."
        )
    return given


def complement(positions: Sequence[int], num_factors: int) -> tuple[int, ...]:
    """Return the positions that are not in ``positions``, in increasing order.

    Args:
        positions: Some factor positions.
        num_factors: Number of factors of the joint space.

    Examples:
        >>> complement((1,), 3)
        (0, 2)
    """
    return tuple(position for position in range(num_factors) if position not in set(positions))


def _check_order(order: Sequence[int], num_factors: int) -> tuple[int, ...]:
    checked = check_positions(order, num_factors, "order")
    if len(checked) != num_factors:
        raise ArgumentError(
            f"Argument `order` must name each of the {num_factors} factors once, but it is {checked}."
        )
    return checked


def permute_ket(
    ket: Complex[Tensor, "*batch dim"], dims: Sequence[int], order: Sequence[int]
) -> Complex[Tensor, "*batch dim"]:
    """Reorder the factors of a ket: factor i of the result is factor ``order[i]`` of the input.

    Args:
        ket: Kets on the joint space.
        dims: Dimension of each factor, in the input's order.
        order: Every factor position once.

    Returns:
        The kets with reordered factors.

    Raises:
        ArgumentError: If ``dims`` or ``order`` do not fit.

    Examples:
        >>> from qinn.quantum.states.kets import basis_ket, product
        >>> up, down = basis_ket(0, 2), basis_ket(2, 3)
        >>> bool((permute_ket(product([up, down]), (2, 3), (1, 0)) == product([down, up])).all())
        True
    """
    return _permuted(ket, dims, order, 1)


def permute_operator(
    operator: Complex[Tensor, "*batch dim dim"], dims: Sequence[int], order: Sequence[int]
) -> Complex[Tensor, "*batch dim dim"]:
    """Reorder the factors of a matrix: factor i of the result is factor ``order[i]`` of the input.

    Args:
        operator: Matrices on the joint space.
        dims: Dimension of each factor, in the input's order.
        order: Every factor position once.

    Returns:
        The matrices with reordered factors.

    Raises:
        ArgumentError: If ``dims`` or ``order`` do not fit.

    Examples:
        >>> from qinn.quantum import embed, pauli
        >>> first = embed(pauli("X"), (2, 3), (0,))
        >>> bool((permute_operator(first, (2, 3), (1, 0)) == embed(pauli("X"), (3, 2), (1,))).all())
        True
    """
    return _permuted(operator, dims, order, 2)


def _permuted(tensor: Tensor, dims: Sequence[int], order: Sequence[int], num_axes: int) -> Tensor:
    """Reorder the factors of each of the last axes."""
    check_dims(dims, tensor.shape[-1])
    order, start = _check_order(order, len(dims)), tensor.ndim - num_axes
    axes = [start + axis * len(dims) + position for axis in range(num_axes) for position in order]
    split = tensor.reshape(*tensor.shape[:start], *tuple(dims) * num_axes)
    return split.permute(*range(start), *axes).reshape(tensor.shape)
