"""A fixed Hermitian basis of traceless operators, with names: Pauli strings, Gell-Mann matrices, and their products."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import torch
from jaxtyping import Complex, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class HermitianBasis:
    """Orthogonal Hermitian operators F_1 … F_{D²−1} without trace, and what each is called.

    Attributes:
        operators: The F_i, complex128.
        names: Their names: of qubits "XZ", of others products such as "X·S01".
    """

    operators: Complex[Tensor, "operator dim dim"]
    names: tuple[str, ...]

    @property
    def norms(self) -> Float[Tensor, " operator"]:
        """Tr F_i²: D for strings of Pauli matrices, 2 for Gell-Mann matrices of one factor."""
        return self.operators.abs().square().sum((-2, -1))


def hermitian_basis(dims: Sequence[int]) -> HermitianBasis:
    """Return the basis of a space of one or more factors.

    Of a qubit X, Y and Z; of a larger factor the Gell-Mann matrices: S_jk = |j⟩⟨k| + |k⟩⟨j|, A_jk = −i|j⟩⟨k| + i|k⟩⟨j|
    and D_l = √(2/(l(l + 1))) diag(1, …, 1, −l, 0, …); of several factors all products of these and the identity "I".

    Args:
        dims: Dimension of each factor, each at least 1.

    Examples:
        >>> hermitian_basis([2]).names, hermitian_basis([2, 2]).names[:4]
        (('X', 'Y', 'Z'), ('IX', 'IY', 'IZ', 'XI'))
        >>> hermitian_basis([3]).names
        ('S01', 'A01', 'S02', 'A02', 'S12', 'A12', 'D1', 'D2')
    """
    between = "" if all(dim == 2 for dim in dims) else "·"
    factors = [_factor(dim) for dim in dims]
    operators, names = [], []
    for chosen in product(*(range(len(factor)) for factor in factors)):
        if not any(chosen):
            continue
        parts = [factor[place] for factor, place in zip(factors, chosen, strict=True)]
        names.append(between.join(name for name, _ in parts))
        joint = parts[0][1]
        for _, matrix in parts[1:]:
            joint = torch.kron(joint, matrix)
        operators.append(joint)
    dim = prod(dims)
    stacked = torch.stack(operators) if operators else torch.zeros(0, dim, dim, dtype=torch.complex128)
    return HermitianBasis(stacked, tuple(names))


def _factor(dim: int) -> list[tuple[str, Tensor]]:
    """The identity and the basis of one factor, with names."""
    found = [("I", torch.eye(dim, dtype=torch.complex128))]
    point = "" if dim <= 10 else "."
    for first in range(dim):
        for second in range(first):
            unit = torch.zeros(dim, dim, dtype=torch.complex128)
            unit[second, first] = 1
            names = ("X", "Y") if dim == 2 else (f"S{second}{point}{first}", f"A{second}{point}{first}")
            found += [(names[0], unit + unit.mT), (names[1], -1j * (unit - unit.mT))]
    for level in range(1, dim):
        diagonal = torch.zeros(dim, dtype=torch.float64)
        diagonal[:level], diagonal[level] = 1, -level
        scaled = diagonal * (2 / (level * (level + 1))) ** 0.5
        found.append(("Z" if dim == 2 else f"D{level}", torch.diag(scaled).to(torch.complex128)))
    return found
