"""Operators of qubits and spins."""

from math import isfinite
from typing import Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError

_PAULI = {
    "I": [[1, 0], [0, 1]],
    "X": [[0, 1], [1, 0]],
    "Y": [[0, -1j], [1j, 0]],
    "Z": [[1, 0], [0, -1]],
    "+": [[0, 1], [0, 0]],
    "-": [[0, 0], [1, 0]],
}
_COMPONENTS = ("x", "y", "z", "+", "-")


def pauli(
    name: Literal["I", "X", "Y", "Z", "+", "-"],
    *,
    dtype: torch.dtype = torch.complex64,
    device: torch.device | str | None = None,
) -> Complex[Tensor, "2 2"]:
    """Return the identity, a Pauli matrix, or σ± = (X ± iY)/2 of one qubit.

    Level 0 has Z = +1. So "+" is |0⟩⟨1|: it raises the spin; where level 0 is the ground state of an atom it is what
    takes the excitation away, as ``destroy(2)`` does.

    Args:
        name: Which matrix.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The matrix.

    Raises:
        ArgumentError: If the name is unknown.

    Examples:
        >>> pauli("Z").diagonal().real
        tensor([ 1., -1.])
    """
    if name not in _PAULI:
        raise ArgumentError(f"Argument `name` must be one of {list(_PAULI)}, but it is `{name}`.")
    return torch.tensor(_PAULI[name], dtype=dtype, device=device)


def spin(
    component: Literal["x", "y", "z", "+", "-"],
    total: float | int = 0.5,
    *,
    dtype: torch.dtype = torch.complex64,
    device: torch.device | str | None = None,
) -> Complex[Tensor, "dim dim"]:
    """Return J_x, J_y, J_z, or J± = J_x ± iJ_y, of a spin j, on 2j + 1 levels m = j, j − 1, …, −j (ħ = 1).

    J±|m⟩ = √(j(j + 1) − m(m ± 1)) |m ± 1⟩. For j = ½ they are halves of the Pauli matrices; J± are σ±.

    Args:
        component: Which operator.
        total: The spin j, a multiple of ½.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The matrix.

    Raises:
        ArgumentError: If the component is unknown or j is no multiple of ½.

    Examples:
        >>> spin("z", 1).diagonal().real
        tensor([ 1.,  0., -1.])
    """
    if component not in _COMPONENTS:
        raise ArgumentError(
            f"Argument `component` must be one of {list(_COMPONENTS)}, but it is `{component}`."
        )
    if not isfinite(total) or total < 0 or 2 * total != int(2 * total):
        raise ArgumentError(f"Argument `total` must be 0, 0.5, 1, 1.5, …, but it is {total}.")
    levels = total - torch.arange(int(2 * total) + 1, dtype=torch.float64, device=device)
    if component == "z":
        return torch.diag(levels).to(dtype)
    raising = torch.diag((total * (total + 1) - levels[1:] * (levels[1:] + 1)).sqrt(), 1)
    if component == "x":
        return (0.5 * (raising + raising.mT)).to(dtype)
    if component == "y":
        return (-0.5j * (raising - raising.mT)).to(dtype)
    return (raising if component == "+" else raising.mT).to(dtype)
