"""The flow between jumps of a dense Lindbladian, and the time of the next jump, in continuous time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil, log2, pi

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.evolution.flows import Arrival, Flow
from qinn.quantum.evolution.roots import find_root
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.states.kets import squared_norm

# Largest norm of generator times cell: with more, interpolation in a cell costs more products than halving it.
_CELL_NORM = 2.0
# Relative error of a sum of times.
_ROUND_OFF = 1e-9
# Powers of a matrix of which the next ones are made by one product.
_POWERS_AT_ONCE = 4
# Entries of the images at all nodes that are worked on at a time.
_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class _Interpolation:
    """Polynomials on [-1, 1] by their values at Chebyshev nodes, all in double precision.

    Attributes:
        orders: 0, 1, …, M − 1.
        nodes: x_m = −cos(π(m + ½)/M), rising.
        coefficients: Values at the nodes → coefficients of T_0 … T_{M−1}, (M, M).
        derivatives: Values at the nodes → coefficients of the derivative and, before them, of the polynomial,
            (M, 2M).
        edges: −1, the nodes, 1.
        at_edges: Values at the nodes → values at the edges, (M, M + 2).
    """

    orders: Tensor
    nodes: Tensor
    coefficients: Tensor
    derivatives: Tensor
    edges: Tensor
    at_edges: Tensor

    @staticmethod
    @cache
    def of(num_nodes: int, device: torch.device) -> "_Interpolation":
        """Tabulate for a number of nodes."""
        orders = torch.arange(num_nodes, dtype=torch.float64)
        nodes = -torch.cos(pi * (orders + 0.5) / num_nodes)
        coefficients = torch.cos(orders * torch.acos(nodes)[:, None]) * (2 / num_nodes)
        coefficients[:, 0] /= 2
        # T_n' = 2n (T_{n−1} + T_{n−3} + …), the last term halved where it is T_0.
        falling = orders[:, None] - orders[None, :]
        slopes = torch.where((falling > 0) & (falling % 2 == 1), 2 * orders[:, None], 0.0)
        slopes[:, 0] /= 2
        edges = torch.cat([-torch.ones(1).double(), nodes, torch.ones(1).double()])
        at_edges = coefficients @ torch.cos(orders[:, None] * torch.acos(edges))
        tables = (
            orders,
            nodes,
            coefficients,
            torch.cat([coefficients, coefficients @ slopes], 1),
            edges,
            at_edges,
        )
        return _Interpolation(*(table.to(device) for table in tables))

    def basis(self, places: Tensor) -> Tensor:
        """T_0 … T_{M−1} at a place of each row, (row, M)."""
        return torch.cos(torch.acos(places)[:, None] * self.orders)


@dataclass(frozen=True, eq=False)
class DenseFlow(Flow):
    """The flow exp(Jt) on kets stored as rows, and jumps, of a dense Lindbladian.

    A time is a sum of some of T/2, T/4, … (one product each) and a rest inside a cell, in which ‖J‖t is so small
    that a ket, and its squared norm, is the polynomial through its values at a few Chebyshev nodes, to
    round-off. All operators are transposed, to act on rows.

    Attributes:
        halves: exp(J T 2^−k) for k = 1, 2, …, depth.
        centre: exp(J c/2), c = T 2^−depth the length of the cell.
        nodes: exp(J x_m c/2) side by side, (D, M·D).
        jump_rows: L_k side by side, (D, K·D).
        time: T.
    """

    halves: tuple[Tensor, ...]
    centre: Tensor
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
        return float(torch.linalg.vector_norm(self.jump_rows.detach(), dtype=torch.complex128))

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
        generator = lindbladian.to(torch.complex128).no_jump_generator
        size = _norm_bound(generator.detach())
        if not size * time < 2.0**30:
            raise ArgumentError(
                "Argument `lindbladian` must be finite and of sensible size, but ‖J‖·time is "
                f"{size * time:.3g}, where round-off moves the jumps; shorten the time."
            )
        depth = _depth(size * time)
        half = generator.mT * (time * 2.0 ** -(depth + 1))
        reach = size * time * 2.0 ** -(depth + 1)
        dtype, eps = lindbladian.dtype, torch.finfo(lindbladian.dtype).eps
        places = _Interpolation.of(_num_nodes(2 * reach, eps), generator.device).nodes
        centre, nodes = _exponentials(half, places, _taylor_degree(reach, eps), dtype)
        halves = [centre]
        for _ in range(depth):
            halves.append(halves[-1] @ halves[-1])
        operators = lindbladian.jump_operators
        return cls(
            tuple(power.to(dtype) for power in reversed(halves[1:])),
            centre.to(dtype),
            nodes,
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
        return _depth(_norm_bound(lindbladian.to(torch.complex128).no_jump_generator.detach()) * time)

    def to_next_jump(self, kets: Tensor, rows: Tensor, remaining: Tensor, thresholds: Tensor) -> Arrival:
        """Halve the time, then find the root of the squared norm as a polynomial in the last cell.

        The error in time is of the order of round-off.

        Source: O (waiting-time sampling); J. Dalibard, Y. Castin, K. Mølmer, Phys. Rev. Lett. 68 (1992) 580.
        """
        elapsed = torch.zeros_like(remaining)
        length = self.time
        for power in self.halves:
            length *= 0.5
            candidate = kets @ power
            ahead = squared_norm(candidate.detach()).double() > thresholds
            ahead &= elapsed + length <= remaining
            kets = torch.where(ahead[:, None], candidate, kets)
            elapsed = torch.where(ahead, elapsed + length, elapsed)
        size = max(1, _CHUNK // self.nodes.shape[1])
        parts = [
            self._in_cell(*part)
            for part in zip(
                *(tensor.split(size) for tensor in (kets, remaining - elapsed, thresholds)), strict=True
            )
        ]
        kets, rest, jumps = (
            parts[0] if len(parts) == 1 else (torch.cat(part) for part in zip(*parts, strict=True))
        )
        return Arrival(kets, squared_norm(kets.detach()), elapsed + rest, jumps)

    def _in_cell(self, kets: Tensor, left: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flow inside the last cell; returns kets, times and whether a jump falls."""
        num_rows, dim = kets.shape
        images = (kets @ self.centre @ self.nodes).reshape(num_rows, -1, dim)
        parts = torch.view_as_real(images).flatten(-2)
        table = _Interpolation.of(parts.shape[1], kets.device)
        with torch.no_grad():
            values = torch.linalg.vector_norm(parts, dim=-1).double().square()
            end = (left * (2 / self.cell) - 1).clamp(-1, 1)
            place = self._crossing(values, thresholds, table, torch.finfo(parts.dtype).eps)
            # A row whose time is not up within the cell stops here only because its norm falls to the threshold.
            jumps = (place < end) | (left > self.cell * (1 + _ROUND_OFF))
            place = torch.minimum(place, end)
            weights = table.basis(place) @ table.coefficients.mT
        moved = weights.to(parts.dtype)[:, None] @ parts
        kets = torch.view_as_complex(moved.reshape(num_rows, dim, 2))
        return kets, (place + 1) * (self.cell / 2), jumps

    @staticmethod
    def _crossing(values: Tensor, thresholds: Tensor, table: _Interpolation, error: float) -> Tensor:
        """Place in [-1, 1] where each polynomial falls to its threshold; 1 where it does not."""
        at_edges = values @ table.at_edges
        last = at_edges.shape[1] - 1
        after = (at_edges > thresholds[:, None]).sum(1).clamp(1, last)[:, None]
        low, high = table.edges[after - 1][:, 0], table.edges[after][:, 0]
        above, below = at_edges.gather(1, after - 1)[:, 0], at_edges.gather(1, after)[:, 0]
        falls = at_edges[:, last] <= thresholds
        low, high = torch.where(falls, low, 1.0), torch.where(falls, high, 1.0)
        start = low + (high - low) * ((above - thresholds) / (above - below)).nan_to_num(0.5).clamp(0, 1)
        series = (values @ table.derivatives).reshape(len(values), 2, -1)

        def evaluate(places: Tensor) -> tuple[Tensor, Tensor]:
            both = torch.bmm(series, table.basis(places)[:, :, None])[..., 0]
            return both[:, 0], both[:, 1]

        return find_root(evaluate, thresholds, low, high, start, error=error)

    def jump(self, kets: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """One product with all operators side by side."""
        candidates = (kets @ self.jump_rows).reshape(len(kets), -1, kets.shape[1])
        channels = choose(squared_norm(candidates.detach()).double())
        taken = candidates[torch.arange(len(kets), device=kets.device), channels.clamp(min=0)]
        return torch.where((channels >= 0)[:, None], taken, kets), channels


def _depth(distance: float) -> int:
    return max(ceil(log2(max(distance, 1e-300) / _CELL_NORM)), 0)


def _norm_bound(matrix: Tensor) -> float:
    """Bound the spectral norm from above, within a few per cent, by ‖(A†A)^8‖_F^(1/16)."""
    size = float(torch.linalg.vector_norm(matrix))
    if not 0 < size < float("inf"):
        return size
    scaled = (matrix / size).to(torch.complex64)
    power = scaled.mH @ scaled
    for _ in range(3):
        power = power @ power
    # A tenth of a per cent covers the round-off of single precision.
    return min(size, 1.001 * size * float(torch.linalg.vector_norm(power)) ** (1 / 16))


def _num_nodes(reach: float, eps: float) -> int:
    """Number M of nodes with 2 (r/2)^M / M! < eps, for e^{zs}, |z| ≤ r, −1 ≤ s ≤ 1."""
    num_nodes, term = 2, (reach / 2) ** 2 / 2
    while 2 * term >= eps:
        num_nodes += 1
        term *= reach / 2 / num_nodes
    return num_nodes


def _taylor_degree(reach: float, eps: float) -> int:
    """Degree of Taylor's polynomial of e^z whose first term left out is below eps/10 for |z| ≤ r."""
    degree, term = 1, reach**2 / 2
    while term >= 0.1 * eps:
        degree += 1
        term *= reach / (degree + 1)
    return degree


def _exponentials(matrix: Tensor, places: Tensor, degree: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return e^A, and [e^{A x_0}, e^{A x_1}, …] side by side in a precision, from one set of powers of A."""
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
    nodes = torch.view_as_complex(sums[1:].to(dtype.to_real()).reshape(-1, dim, dim, 2))
    return whole, nodes.permute(1, 0, 2).reshape(dim, -1)
