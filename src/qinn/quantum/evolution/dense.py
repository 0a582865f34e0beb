"""The flow between jumps of a dense Lindbladian, and the time of the next jump, in continuous time."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.evolution.flows import Arrival, Flow
from qinn.quantum.evolution.roots import find_root
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.interpolation import Polynomials, num_nodes
from qinn.quantum.states.kets import squared_norm

# Largest norm of generator times cell: terms of Taylor's series for it are that much larger than their sum, which is
# formed in double precision. And largest bound of the jumps expected in a cell: a squared norm that falls further would
# lose its last digits.
LARGEST_NORM = {torch.complex64: 8.0, torch.complex128: 4.0}
_CELL_JUMPS = 4.0
# What a halving costs, in products at the nodes of a cell: itself, and the calls about it, which weigh the more the
# smaller the dimension.
_HALVING, _CALLS = 2.0, 200.0
# Relative error of a sum of times.
_ROUND_OFF = 1e-9
# Powers of a matrix of which the next ones are made by one product.
_POWERS_AT_ONCE = 4
# Real numbers in vectors of which sums are formed entry by entry.
_LARGEST_SUMMED = 32
# Entries of the images at all nodes that are worked on at a time.
_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class DenseFlow(Flow):
    """The flow exp(Jt) on kets stored as rows, and jumps, of a dense Lindbladian.

    A time is a sum of some of T/2, T/4, … (one product each) and a rest inside a cell, in which ‖J‖t is so small
    that a ket, and its squared norm, is the polynomial through its values at a few Chebyshev nodes, to
    round-off. All operators are transposed, to act on rows.

    Attributes:
        halves: exp(J T 2^−k) for k = 1, 2, …, depth; the cell has the length c = T 2^−depth.
        nodes: exp(J (x_m + 1) c/2) side by side, (D, M·D).
        jump_rows: L_k side by side, (D, K·D).
        time: T.
    """

    halves: tuple[Tensor, ...]
    nodes: Tensor
    jump_rows: Tensor
    time: float

    @property
    def cell(self) -> float:
        """Length of the cell."""
        return self.time * 2.0 ** -len(self.halves)

    @property
    def num_jumps(self) -> int:
        """Number K of jump operators."""
        return self.jump_rows.shape[1] // self.jump_rows.shape[0]

    @property
    def jump_size(self) -> float:
        """Frobenius norm of all jump operators."""
        return float(
            torch.linalg.vector_norm(torch.view_as_real(self.jump_rows.detach()), dtype=torch.float64)
        )

    @classmethod
    def of(cls, lindbladian: Lindbladian, time: float) -> "DenseFlow":
        """Prepare the flow, differentiable in the operators.

        Args:
            lindbladian: The dynamics.
            time: T > 0.

        Raises:
            ArgumentError: If an operator is not finite or far too large.

        Source: own (powers in double precision, so that the round-off of squarings stays below single precision).
        """
        generator = no_jump_generator(lindbladian)
        size, jumps = _bounds(generator)
        if not size * time < 2.0**30:
            raise ArgumentError(
                "Argument `lindbladian` must be finite and of sensible size, but ‖J‖·time is "
                f"{size * time:.3g}, where round-off moves the jumps; shorten the time."
            )
        dtype, eps = lindbladian.dtype, torch.finfo(lindbladian.dtype).eps
        depth = _depth(size * time, jumps * time, lindbladian.dim, dtype)
        reach = size * time * 2.0**-depth
        places = Polynomials.of(num_nodes(reach, eps), generator.device).nodes
        whole, nodes = exponentials(
            generator.mT * (time * 2.0**-depth), 0.5 * (places + 1), taylor_degree(reach, eps), dtype
        )
        halves = [whole]
        for _ in range(depth - 1):
            halves.append(halves[-1] @ halves[-1])
        operators = lindbladian.jump_operators
        return cls(
            tuple(power.to(dtype) for power in reversed(halves)) if depth else (),
            nodes.permute(1, 0, 2).reshape(lindbladian.dim, -1),
            operators.permute(2, 0, 1).reshape(lindbladian.dim, -1),
            time,
        )

    @staticmethod
    def depth_of(lindbladian: Lindbladian, time: float) -> int:
        """Return how often the time is halved.

        Args:
            lindbladian: The dynamics.
            time: T > 0.
        """
        size, jumps = _bounds(no_jump_generator(lindbladian))
        return _depth(size * time, jumps * time, lindbladian.dim, lindbladian.dtype)

    def to_next_jump(self, kets: Tensor, rows: Tensor, remaining: Tensor, thresholds: Tensor) -> Arrival:
        """Halve the time, then find the root of the squared norm as a polynomial in the last cell.

        The error in time is of the order of round-off.

        Source: O (waiting-time sampling); J. Dalibard, Y. Castin, K. Mølmer, Phys. Rev. Lett. 68 (1992) 580.
        """
        left, length = remaining, self.time
        for power in self.halves:
            length *= 0.5
            candidate = kets @ power
            ahead = (squared_norm(candidate.detach()).double() > thresholds) & (left >= length)
            kets = torch.where(ahead[:, None], candidate, kets)
            left = torch.where(ahead, left - length, left)
        size = max(1, _CHUNK // self.nodes.shape[1])
        if len(kets) <= size:
            kets, rest, jumps = self._in_cell(kets, left, thresholds)
        else:
            parts = zip(*(tensor.split(size) for tensor in (kets, left, thresholds)), strict=True)
            found = zip(*(self._in_cell(*part) for part in parts), strict=True)
            kets, rest, jumps = (torch.cat(each) for each in found)
        elapsed = remaining - left + rest if self.halves else rest
        return Arrival(kets, squared_norm(kets.detach()), elapsed, jumps)

    def _in_cell(self, kets: Tensor, left: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flow inside the last cell; returns kets, times and whether a jump falls."""
        num_rows, dim = kets.shape
        parts = torch.view_as_real(kets @ self.nodes).view(num_rows, -1, 2 * dim)
        table = Polynomials.of(parts.shape[1], kets.device)
        half = 0.5 * self.cell
        with torch.no_grad():
            values = torch.linalg.vector_norm(parts, dim=-1).double().square_()
            end = (left / half).sub_(1).clamp_(max=1)
            place = self._crossing(values, thresholds, table, torch.finfo(parts.dtype).eps)
            jumps = place < end
            if self.halves:
                # A row whose time is not up within the cell stops here only because its norm falls to the threshold.
                jumps |= left > self.cell * (1 + _ROUND_OFF)
            place = torch.minimum(place, end)
            weights = (table.basis(place) @ table.coefficients.mT).to(parts.dtype)
        kets = torch.view_as_complex(_weighed(weights, parts).view(num_rows, dim, 2))
        return kets, (place + 1) * half, jumps

    @staticmethod
    def _crossing(values: Tensor, thresholds: Tensor, table: Polynomials, error: float) -> Tensor:
        """Place in [-1, 1] where each polynomial falls to its threshold; 1 where it does not."""
        at_edges, wanted = values @ table.falls, -thresholds
        after = torch.searchsorted(at_edges, wanted[:, None])
        sides = torch.cat([after - 1, after], 1).clamp_(0, at_edges.shape[1] - 1)
        (low, high), (above, below) = table.edges[sides].unbind(1), at_edges.gather(1, sides).unbind(1)
        start = torch.lerp(low, high, ((wanted - above) / (below - above)).nan_to_num_(0.5))
        series = (values @ table.derivatives).view(len(values), 2, -1)

        def evaluate(places: Tensor) -> tuple[Tensor, Tensor]:
            both = torch.bmm(series, table.basis(places)[:, :, None])[..., 0]
            return both[:, 0], both[:, 1]

        return find_root(evaluate, thresholds, low, high, start, error=error)

    def jump(
        self, kets: Tensor, rows: Tensor, moments: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """One product with all operators side by side."""
        candidates = (kets @ self.jump_rows).view(len(kets), -1, kets.shape[1])
        channels = choose(squared_norm(candidates.detach()).double())
        taken = candidates[torch.arange(len(kets), device=kets.device), channels.clamp(min=0)]
        return torch.where((channels >= 0)[:, None], taken, kets), channels


def _weighed(weights: Tensor, parts: Tensor) -> Tensor:
    """Σ_m w_m v_m of each row, from w (row, M) and v (row, M, number)."""
    if parts.shape[-1] > _LARGEST_SUMMED:
        return torch.bmm(weights[:, None], parts)[:, 0]
    # Of short vectors a product for each row costs more than their sum.
    return (weights[:, :, None] * parts).sum(1)


def _depth(distance: float, jumps: float, dim: int, dtype: torch.dtype) -> int:
    """How often halving costs least, products at the nodes included."""
    least = max(ceil(log2(max(distance / LARGEST_NORM[dtype], jumps / _CELL_JUMPS, 1e-300))), 0)
    halving, eps = _HALVING + _CALLS / dim, torch.finfo(dtype).eps
    costs = [depth * halving + num_nodes(distance * 2.0**-depth, eps) for depth in range(least, least + 4)]
    return least + costs.index(min(costs))


def no_jump_generator(lindbladian: Lindbladian) -> Tensor:
    """Return J in double precision."""
    H, L = lindbladian.hamiltonian.to(torch.complex128), lindbladian.jump_operators.to(torch.complex128)
    stacked = L.reshape(-1, len(H))
    return torch.add(-1j * H, stacked.mH @ stacked, alpha=-0.5)


def _bounds(generator: Tensor) -> tuple[float, float]:
    """Bounds of ‖J‖ and of the largest jump rate, whose operator is −J − J†, by Frobenius' norm."""
    fixed = generator.detach()
    return size_bound(fixed), _size(fixed + fixed.mH)


def _size(matrix: Tensor) -> float:
    # Of complex numbers the magnitude of each would be formed, at several times the cost.
    return float(torch.linalg.vector_norm(torch.view_as_real(matrix)))


def size_bound(matrix: Tensor) -> float:
    """Bound the spectral norm of a matrix from above, within a few per cent, by ‖(A†A)^8‖_F^(1/16)."""
    size = _size(matrix)
    if not 0 < size < float("inf"):
        return size
    scaled = (matrix / size).to(torch.complex64)
    power = scaled.mH @ scaled
    for _ in range(3):
        power = power @ power
    # A tenth of a per cent covers the round-off of single precision.
    return min(size, 1.001 * size * _size(power) ** (1 / 16))


def taylor_degree(reach: float, eps: float) -> int:
    """Degree of Taylor's polynomial of e^z whose first term left out is below eps/10 for |z| ≤ r."""
    degree, term = 1, reach**2 / 2
    while term >= 0.1 * eps:
        degree += 1
        term *= reach / (degree + 1)
    return degree


def exponentials(matrix: Tensor, places: Tensor, degree: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return e^A, and e^{A x_0}, e^{A x_1}, … in a precision, from one set of powers of A.

    Args:
        matrix: A.
        places: x_0, x_1, …, each at most 1.
        degree: Degree of the polynomial in A.
        dtype: Complex dtype of all but e^A.

    Returns:
        e^A in the precision of A, and the others (place, D, D).

    Examples:
        >>> zero = torch.zeros(1, 1, dtype=torch.complex128)
        >>> exponentials(zero, torch.zeros(2).double(), 1, torch.complex64)[1].shape
        torch.Size([2, 1, 1])
    """
    dim = matrix.shape[-1]
    few = [matrix]
    while len(few) < min(degree, _POWERS_AT_ONCE):
        few.append(few[-1] @ matrix)
    blocks = [torch.cat(few)]
    for _ in range(len(few), degree, len(few)):
        blocks.append(blocks[-1] @ few[-1])
    identity = torch.eye(dim, dtype=matrix.dtype, device=matrix.device)
    powers = torch.view_as_real(torch.cat([identity, *blocks])).reshape(-1, 2 * dim**2)
    orders = torch.arange(len(powers), dtype=places.dtype, device=places.device)
    places = torch.cat([torch.ones_like(places[:1]), places])
    sums = places[:, None] ** orders / torch.lgamma(orders + 1).exp() @ powers
    whole = torch.view_as_complex(sums[0].reshape(dim, dim, 2))
    return whole, torch.view_as_complex(sums[1:].to(dtype.to_real()).reshape(-1, dim, dim, 2))
