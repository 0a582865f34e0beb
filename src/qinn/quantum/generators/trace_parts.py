"""The part of operators that is a multiple of the identity: it cancels in a generator, and its round-off would not."""

from dataclasses import replace

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.quantum.generators.lindbladian import Lindbladian

# Part of the squares of jump operators that belongs to the identity, from which on it is their most.
_MOSTLY = 0.8


def are_shifted(lindbladian: Lindbladian) -> bool:
    """Whether jump operators are mostly multiples of the identity, which cancel in the generator.

    Args:
        lindbladian: The dynamics.

    Examples:
        >>> are_shifted(Lindbladian(torch.zeros(2, 2) + 0j, 3 * torch.eye(2)[None] + 0j))
        True
    """
    L = lindbladian.jump_operators.detach().to(torch.complex128)
    of_identity = _size(L.diagonal(dim1=-2, dim2=-1).mean(-1))
    return lindbladian.dim * of_identity**2 > _MOSTLY * _size(L) ** 2


def without_energy_offset(lindbladian: Lindbladian) -> Lindbladian:
    """Return the same 𝓛 with tr(H)/D taken out of H, where that is most of it: it cancels, but its round-off would not.

    Args:
        lindbladian: The dynamics.

    Returns:
        Dynamics of the same value on matrices, and of the same derivatives.

    Examples:
        >>> without_energy_offset(Lindbladian([[1e7, 0], [0, 1e7 + 1]])).hamiltonian.diagonal().real
        tensor([-0.5000,  0.5000])
    """
    H = lindbladian.hamiltonian
    offset = energy_offset(H)
    return (
        lindbladian if offset == 0 else replace(lindbladian, hamiltonian=shifted(H, offset), validate=False)
    )


def energy_offset(hamiltonian: Tensor) -> float:
    """Return the energy tr(H)/D where H is mostly that multiple of the identity, otherwise 0."""
    H = hamiltonian.detach().to(torch.complex128)
    offset = float(H.diagonal().real.mean())
    return offset if len(H) * offset**2 > _MOSTLY * _size(H) ** 2 else 0.0


def _size(matrices: Tensor) -> float:
    # Of complex numbers the magnitude of each would be formed, at several times the cost.
    return float(torch.linalg.vector_norm(torch.view_as_real(matrices.resolve_conj())))


def shifted(matrix: Tensor, offset: float) -> Tensor:
    """Return a matrix less a multiple of the identity, taken off in double precision."""
    identity = torch.eye(len(matrix), dtype=torch.complex128, device=matrix.device)
    return (matrix - offset * identity).to(matrix.dtype)


def traceless(hamiltonians: Complex[Tensor, "*batch dim dim"]) -> tuple[Tensor, Tensor]:
    """Return Hamiltonians less their mean energies, and these, in double precision; the energies carry no gradient."""
    double = hamiltonians.to(torch.complex128)
    means = double.detach().diagonal(dim1=-2, dim2=-1).real.mean(-1)
    identity = torch.eye(double.shape[-1], dtype=double.dtype, device=double.device)
    return double - means[..., None, None] * identity, means


def phases_of(angles: Tensor) -> Tensor:
    """Return e^{−iφ} of angles φ."""
    return torch.polar(torch.ones_like(angles), -angles)
