"""Dynamics in the eigenbasis of their Hamiltonian, in units of their own rates."""

from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from qinn.quantum.generators.lindbladian import Lindbladian


def in_own_units(lindbladian: Lindbladian) -> tuple[Lindbladian, float]:
    """Return the same dynamics with traceless operators and the largest rate about 1, and that rate.

    The trace part of every L_k moves into H, which leaves 𝓛 unchanged. Rates are divided by a power of 4, so that
    nothing is rounded and results do not depend on the units of time.

    Args:
        lindbladian: The dynamics, with gradients.
    """
    H, L = lindbladian.hamiltonian, lindbladian.jump_operators
    identity = torch.eye(lindbladian.dim, dtype=L.dtype, device=L.device)
    traces = L.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    shift = (traces.conj() * L).sum(0)
    H = H + 0.5j * (shift - shift.mH)
    H = H - H.diagonal().mean().real * identity
    L = L - traces * identity
    largest = max(
        float(H.detach().abs().max()), float(L.detach().abs().max()) ** 2 if lindbladian.num_jumps else 0.0
    )
    exponent = round(0.5 * log2(largest)) if largest > 0 else 0
    return Lindbladian(H / 4.0**exponent, L / 2.0**exponent, validate=False), 4.0**exponent


@dataclass(frozen=True, eq=False)
class Frame:
    """Dynamics in the eigenbasis of H: 𝓛ρ = −iΔ∘ρ + 𝓓ρ, Δ_ij = E_i − E_j.

    Attributes:
        energies: E, ascending.
        vectors: Eigenvectors of H, as columns.
        jumps: Jump operators in this basis.
        exact: Whether the basis is a permutation of the given one, so that nothing was rounded.
        damping: Bound of ‖𝓓‖.
    """

    energies: Tensor
    vectors: Tensor
    jumps: Tensor
    exact: bool
    damping: float

    @property
    def dim(self) -> int:
        """Dimension D."""
        return len(self.energies)

    @property
    def rounded_rate(self) -> float:
        """Size of rates that were added up: 0 where no entry of 𝓓 is a difference of larger ones."""
        plain = self.exact and not bool(self.jumps.diagonal(dim1=-2, dim2=-1).any())
        return 0.0 if plain else self.damping

    @property
    def rounded_energy(self) -> float:
        """Size of energies whose rounding mixes levels: 0 where the basis is the given one."""
        return 0.0 if self.exact else float(self.energies.abs().max())

    @property
    def frequencies(self) -> Tensor:
        """Δ_ij = E_i − E_j."""
        return self.energies[:, None] - self.energies

    @property
    def total_rate(self) -> Tensor:
        """G = Σ L_k†L_k."""
        return (self.jumps.mH @ self.jumps).sum(0)

    def dissipate(self, matrices: Tensor, *, adjoint: bool = False) -> Tensor:
        """Return 𝓓 or 𝓓† of matrices (…, D, D)."""
        half = 0.5 * self.total_rate
        image = -(half @ matrices) - matrices @ half
        for jump in self.jumps:
            image += jump.mH @ matrices @ jump if adjoint else jump @ matrices @ jump.mH
        return image

    def rotated_back(self, matrix: Tensor) -> Tensor:
        """Return a matrix in the given basis."""
        return self.vectors @ matrix @ self.vectors.mH

    def rotated(self, lindbladian: Lindbladian) -> Lindbladian:
        """Return the dynamics in this basis with gradients; the value of H is exactly diagonal."""
        H = self.vectors.mH @ lindbladian.hamiltonian @ self.vectors
        return Lindbladian(
            torch.diag(self.energies).to(H.dtype) + (H - H.detach()),
            self.vectors.mH @ lindbladian.jump_operators @ self.vectors,
            validate=False,
        )


def frame_of(lindbladian: Lindbladian) -> Frame:
    """Return the eigenbasis of a Hamiltonian, without gradients."""
    H, L = lindbladian.hamiltonian.detach(), lindbladian.jump_operators.detach()
    if float((H - torch.diag(H.diagonal())).abs().max()) == 0:
        energies, order = H.diagonal().real.sort()
        vectors, exact = torch.eye(len(H), dtype=H.dtype, device=H.device)[:, order], True
    else:
        (energies, vectors), exact = torch.linalg.eigh(H), False
    jumps = vectors.mH @ L @ vectors
    if len(jumps) == 0:
        return Frame(energies, vectors, jumps, exact, 0.0)
    down, up = (jumps.mH @ jumps).sum(0), (jumps.mH @ (jumps @ jumps.mH).sum(0) @ jumps).sum(0)
    # ‖G‖ for the two halves of the anticommutator, and ‖Φ‖² ≤ ‖Φ†Φ(𝟙)‖ for the jumps.
    values = torch.linalg.eigvalsh(torch.stack([down, up]))[:, -1].clamp(min=0).tolist()
    return Frame(energies, vectors, jumps, exact, values[0] + values[1] ** 0.5)
