"""Steady state and slowest mode where damping hardly couples, or does not, coherences of different Bohr frequency."""

from dataclasses import dataclass

import torch
from torch import Tensor

from qinn.quantum.steady.frame import Frame
from qinn.quantum.steady.linear import null_vector
from qinn.quantum.steady.modes import SlowestMode, has_twin
from qinn.quantum.steady.uniqueness import check_one_steady_state

# Distance of groups of frequencies in units of ‖𝓓‖: an iteration gains about half of that.
_SEPARATION = 50.0
_MOST_ITERATIONS = 40
# Frequencies that are equal but for rounding, relative to the largest energy.
_EQUAL = 1e-13
# Entries of one group's matrices, and groups that are worth a refinement.
_LARGEST_GROUP_ENTRIES, _MOST_REFINED = 2**23, 400
_LARGEST_GROUP = 1200
# As for dense generators.
_ROUND_OFF = 10


@dataclass(frozen=True, eq=False)
class WeakDamping:
    """Coherences |i⟩⟨j| in groups of nearly one Bohr frequency E_i − E_j, which damping hardly couples.

    Attributes:
        frame: The dynamics.
        groups: Row and column indices of each group of frequencies ≥ 0; that of frequency 0 first.
        distance: Smallest distance of two groups.
    """

    frame: Frame
    groups: list[tuple[Tensor, Tensor]]
    distance: float

    @property
    def rounded_rate(self) -> float:
        """Size of rates, of which ε is lost to round-off: more where the eigenvectors of H are rounded."""
        if self.frame.exact:
            return self.frame.damping
        return self.frame.damping * (1 + float(self.frame.energies.abs().max()) / self.distance)

    def mode(self, scale: float) -> tuple[SlowestMode, "Block"]:
        """Return the slowest mode, and the block of frequency 0, which holds the steady state.

        Args:
            scale: What rates are multiplied by to be in the user's units.

        Raises:
            ArgumentError: If there are several steady states.
        """
        still = self.block(0)
        values, errors, vectors = still.modes()
        order = values.abs().argsort()
        zero = values.abs() <= errors
        zero[order[0]] = True
        moving = (-values.real)[~zero]
        check_one_steady_state(int(zero.sum()), float(moving.min()) if len(moving) else None, scale)
        found = [(still, values[order[1:]], errors[order[1:]], vectors[:, order[1:]])]
        slowest = float((-found[0][1].real).min()) if len(values) > 1 else float("inf")
        # Damping between groups moves rates by about ‖𝓓‖² over their distance.
        margin = 4 * self.frame.damping**2 / self.distance
        first = self.first_order_rates()
        for index in first.argsort().tolist():
            if float(first[index]) - margin > slowest:
                break
            block = self.block(index + 1)
            found.append((block, *block.modes()))
            slowest = min(slowest, float((-found[-1][1].real).min()))
        return _slowest(found), still

    def is_affordable(self) -> bool:
        """Whether few groups can hold the slowest mode, by rates of first order."""
        first = self.first_order_rates()
        margin = 4 * self.frame.damping**2 / self.distance
        return len(first) == 0 or int((first <= first.min() + 2 * margin).sum()) <= _MOST_REFINED

    def first_order_rates(self) -> Tensor:
        """Smallest rate of each group but the first, with the couplings inside of the group alone."""
        L, G = self.frame.jumps, self.frame.total_rate.diagonal().real
        diagonal = L.diagonal(dim1=-2, dim2=-1)
        single = 0.5 * (G[:, None] + G) - torch.einsum("ki,kj->ij", diagonal, diagonal.conj()).real
        rates = [
            single[rows, columns].reshape(()) if len(rows) == 1 else self._first_order(rows, columns)
            for rows, columns in self.groups[1:]
        ]
        return torch.stack(rates) if rates else single.new_zeros(0)

    def _first_order(self, rows: Tensor, columns: Tensor) -> Tensor:
        L, G = self.frame.jumps, self.frame.total_rate
        matrix = torch.einsum(
            "kab,kab->ab", L[:, rows[:, None], rows], L[:, columns[:, None], columns].conj()
        )
        matrix = matrix - 0.5 * G[rows[:, None], rows] * (columns[:, None] == columns)
        matrix = matrix - 0.5 * (rows[:, None] == rows) * G[columns[:, None], columns].conj()
        frequencies = self.frame.frequencies[rows, columns]
        matrix = matrix - 1j * torch.diag(frequencies - frequencies.mean())
        return (-torch.linalg.eigvals(matrix).real).min()

    def block(self, index: int, *, adjoint: bool = False) -> "Block":
        """Return the invariant space of 𝓛 or 𝓛† that grows out of a group, by Bloch's equation.

        With X_b = |b⟩ + Ω_b, Ω outside of the group: 𝓛X_b = Σ_a X_a F_ab.
        """
        rows, columns = self.groups[index]
        frequencies = self.frame.frequencies
        inside = frequencies[rows, columns]
        centre = float(inside.mean()) if index else 0.0
        sign = 1j if adjoint else -1j
        size, dim = len(rows), self.frame.dim
        members = torch.arange(size, device=rows.device)
        basis = self.frame.jumps.new_zeros(size, dim, dim)
        basis[members, rows, columns] = 1
        outside = torch.ones_like(frequencies)
        outside[rows, columns] = 0
        divisor = -sign * (frequencies - centre)
        divisor[rows, columns] = 1
        change, before = torch.inf, torch.inf
        for _ in range(_MOST_ITERATIONS):
            image = self.frame.dissipate(basis, adjoint=adjoint)
            effective = image[:, rows, columns].mT + sign * torch.diag(inside - centre)
            rest = basis * outside
            moved = (image - (effective.mT @ rest.flatten(1)).reshape(basis.shape)) / divisor * outside
            change = float((moved - rest).abs().max())
            basis = basis - rest + moved
            if change == 0 or (change < 1e-14 and change >= before):
                break
            before = change
        image = self.frame.dissipate(basis, adjoint=adjoint)
        effective = image[:, rows, columns].mT + sign * torch.diag(inside - centre)
        return Block(self, index, effective, basis, float((inside - centre).abs().max()))


@dataclass(frozen=True, eq=False)
class Block:
    """A generator on the invariant space of one group, in units in which its own frequency is 0.

    Attributes:
        damping: Where the group is from.
        index: Which group.
        matrix: F.
        basis: The matrices X_a.
        spread: Largest distance of a frequency of the group from its centre.
    """

    damping: WeakDamping
    index: int
    matrix: Tensor
    basis: Tensor
    spread: float

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvalues without the group's frequency, their errors, and right eigenvectors as columns."""
        values, right = torch.linalg.eig(self.matrix)
        left, failed = torch.linalg.inv_ex(right)
        conditions = torch.linalg.vector_norm(right, dim=0) * torch.linalg.vector_norm(left, dim=1)
        if bool(failed):
            conditions = torch.full_like(conditions, torch.inf)
        frame = self.damping.frame
        size = self.damping.rounded_rate + self.spread
        if self.spread > 0 and not frame.exact:
            size += float(frame.energies.abs().max())
        return values, _ROUND_OFF * torch.finfo(conditions.dtype).eps * size * conditions, right

    def matrix_of(self, weights: Tensor) -> Tensor:
        """Return Σ_a w_a X_a in the given basis."""
        mixed = (weights @ self.basis.flatten(1)).reshape(self.basis.shape[1:])
        return self.damping.frame.rotated_back(mixed)

    def left_of(self, value: Tensor) -> Tensor:
        """Return the left eigenvector of an eigenvalue, as a matrix."""
        other = self.damping.block(self.index, adjoint=True)
        values, vectors = torch.linalg.eig(other.matrix)
        return other.matrix_of(vectors[:, int((values - value.conj()).abs().argmin())])

    def steady_state(self) -> tuple[Tensor, float]:
        """Return the steady density that the block of frequency 0 holds, and its error."""
        traces = self.basis.diagonal(dim1=-2, dim2=-1).sum(-1)
        # A population: of their rows one is redundant.
        row = int(traces.abs().argmax())
        weights, error = null_vector(self.matrix, traces, row, self.damping.rounded_rate)
        density = self.matrix_of(weights)
        return 0.5 * (density + density.mH), error


def _slowest(found: list[tuple[Block, Tensor, Tensor, Tensor]]) -> SlowestMode:
    sizes = [len(values) for _, values, _, _ in found]
    frequencies = torch.cat(
        [
            torch.full_like(values, 1j * float(block.index))  # groups differ in frequency, whatever it is
            for block, values, _, _ in found
        ]
    )
    values = torch.cat([values for _, values, _, _ in found])
    errors = torch.cat([errors for _, _, errors, _ in found])
    rates = -values.real
    slowest = int(rates.argmin())
    possible = rates - errors <= rates[slowest] + errors[slowest]
    place, inner = 0, slowest
    while inner >= sizes[place]:
        inner -= sizes[place]
        place += 1
    block, _, _, vectors = found[place]
    return SlowestMode(
        float(rates[slowest]),
        float(errors[possible].max()),
        block.matrix_of(vectors[:, inner]),
        block.left_of(values[slowest]),
        has_twin(values + frequencies, errors, slowest),
    )


def weak_damping(frame: Frame) -> WeakDamping | None:
    """Return the groups of Bohr frequencies, if they stand far enough apart for damping to be weak, or do not couple.

    They do not where every jump operator has one frequency, [H, L_k] = −ω_k L_k, as ladder operators of a cavity.

    Args:
        frame: The dynamics, with damping.

    Source: C. Bloch, Nucl. Phys. 6 (1958) 329 (the iteration); own.
    """
    dim = frame.dim
    frequencies, order = frame.frequencies.flatten().sort()
    steps = frequencies.diff()
    equal = _EQUAL * float(frame.energies.abs().max())
    covariant = _is_covariant(frame, equal)
    cut = steps > (equal if covariant else _SEPARATION * frame.damping)
    if not bool(cut.any()):
        return None
    labels = torch.cat([cut.new_zeros(1), cut]).cumsum(0)
    middle = int(labels[len(labels) // 2])  # frequency 0 is in the middle, by symmetry
    counts = labels.bincount()
    largest = int(counts.max())
    if largest > _LARGEST_GROUP or largest * dim**2 > _LARGEST_GROUP_ENTRIES:
        return None
    groups = [(members // dim, members % dim) for members in order.split(counts.tolist())[middle:]]
    found = WeakDamping(frame, groups, float("inf") if covariant else float(steps[cut].min()))
    return found if found.is_affordable() else None


def _is_covariant(frame: Frame, equal: float) -> bool:
    """Whether every jump has one Bohr frequency, so that 𝓓 keeps that of a coherence exactly."""
    if not frame.exact:
        return False
    for jump in frame.jumps:
        frequencies = frame.frequencies[jump != 0]
        if len(frequencies) and float(frequencies.max() - frequencies.min()) > equal:
            return False
    return True
