"""Trajectories at many times: what flows between two jumps is taken at all times in between, for all rows at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from qinn.quantum.evolution.dense import (
    LARGEST_NORM,
    exponentials,
    no_jump_generator,
    size_bound,
    taylor_degree,
)
from qinn.quantum.evolution.flows import Flow
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.chains import Chain, Nodes, Tabulated
from qinn.quantum.numerics.interpolation import Polynomials, num_nodes
from qinn.quantum.numerics.marching import even_interval
from qinn.quantum.numerics.spreading import Spread, unrolled

# A squared norm may rise or fall in a cell by e to this: more would cost digits.
_LARGEST_FALL = 2.0
# Costs for each number of a ket, in multiplications of a product: of what is done with it beside that at a node, and at
# a time; of a sum over a node; and those of a flow to any time, in products.
_AT_NODE, _AT_TIME, _SUM, _FLOW = 30.0, 40.0, 1.0, 14.0
# Relative error of a sum of times.
_ROUND_OFF = 1e-9


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rows that flow without a jump.

    Attributes:
        kets: Rows at the beginning, of norm one.
        rows: Which of all rows these are.
        begin: When each begins, float64.
        end: When its next jump falls.
        last: Whether none falls: then the end itself belongs to it.
    """

    kets: Tensor
    rows: Tensor
    begin: Tensor
    end: Tensor
    last: Tensor


class Moments:
    """Gathers what flows between jumps while trajectories run, and takes it at many times afterwards.

    In a cell of time kets are polynomials, known by their values at Chebyshev nodes. On an even grid cells begin at the
    first time of a stretch, and at the first one behind the cell before. Where times are so far apart that a cell
    would hold fewer of them than nodes, it holds one: then the ket there, by one product with a power of the flow.
    Off a grid cells begin with the stretch, or each time is reached from there.

    Args:
        lindbladian: The dynamics.
        times: Rising times, of which the last, above 0, is the end.

    Source: own.
    """

    def __init__(self, lindbladian: Lindbladian, times: Sequence[float]) -> None:
        self._lindbladian, self._times = lindbladian, times
        self._moments = torch.tensor(times, dtype=torch.float64, device=lindbladian.device)
        # A grid that was rounded to single precision is one for dynamics of that precision.
        interval = even_interval(times, torch.finfo(lindbladian.dtype).eps) if len(times) > 2 else None
        # What lies before the first time should be no longer than what lies between two.
        self._interval = interval if interval and times[0] <= interval * (1 + _ROUND_OFF) else None
        self._found: list[Stretch] = []
        self._flow: Flow | None = None

    def pass_by(self, stretch: Stretch, flow: Flow) -> None:
        """Keep rows that flow without a jump.

        Args:
            stretch: The rows; those of all calls cover the whole time of every row once.
            flow: The flow.
        """
        self._found.append(stretch)
        self._flow = flow

    def spread(self) -> tuple[Nodes, Spread]:
        """Return kets at nodes, and the way from there to the places time · rows + row."""
        stretches, moments = self._found, self._moments
        kets, rows, begin = (
            torch.cat([getattr(each, name) for each in stretches]) for name in ("kets", "rows", "begin")
        )
        ends = torch.cat([torch.where(each.last, torch.inf, each.end) for each in stretches])
        first, last = torch.searchsorted(moments, begin), torch.searchsorted(moments, ends)
        some = (last > first).nonzero()[:, 0]
        held = _Held(kets[some], rows[some], begin[some], first[some], last[some], len(stretches[0].rows))
        if self._interval:
            return self._on_grid(held, self._interval)
        return self._off_grid(held) or self._one_by_one(held)

    def _on_grid(self, held: "_Held", interval: float) -> tuple[Nodes, Spread]:
        """Begin at the first time of each stretch: then the weights of all cells are the same."""
        moments, dtype = self._moments, held.kets.dtype
        flow, counts = self._shifted(), held.last - held.first
        times = self._cell_on_grid(held, interval, flow)
        if times == 1:
            chain, of, ahead = Chain.of(*self._to_first(held, interval, flow), counts)
            numbers = (held.first[of] + ahead) * held.num_rows + held.rows[of]
            return chain, Spread.of_places(numbers, dtype.to_real())
        inside = (times - 1) * interval
        table = Polynomials.of(num_nodes(flow.size * inside, torch.finfo(dtype).eps), moments.device)
        kets, whole, nodes = self._to_cells(held, interval, flow, times, 0.5 * inside * (table.nodes + 1))
        starts, of, ahead = _chained(kets, whole, (counts + (times - 1)) // times)
        counts, order = (counts[of] - ahead * times).clamp_(max=times).sort(descending=True)
        starts, of, ahead = (each[order] for each in (starts, of, ahead))
        numbers = (held.first[of] + ahead * times) * held.num_rows + held.rows[of]
        even = torch.linspace(-1, 1, times, dtype=moments.dtype, device=moments.device)
        weights, images = table.weights(even), torch.matmul(starts, nodes)
        spread = Spread.of(weights.to(dtype.to_real()), counts, numbers, held.num_rows)
        return Tabulated(images), spread

    def _to_first(self, held: "_Held", interval: float, flow: "_Shifted") -> tuple[Tensor, Tensor]:
        """Return kets at the first time of each stretch, and the flow over an interval."""
        if interval <= flow.longest:
            return self._to_cells(held, interval, flow, 1, self._moments[:0])[:2]
        kets = self._flowed(held.kets, held.rows, self._moments[held.first] - held.begin)
        return kets, torch.linalg.matrix_exp(no_jump_generator(self._lindbladian).mT * interval)

    def _to_cells(
        self, held: "_Held", interval: float, flow: "_Shifted", times: int, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return kets at the first time of each stretch, the flow over so many intervals, and those to places there."""
        dtype, waits = held.kets.dtype, self._moments[held.first] - held.begin
        gap = Polynomials.of(num_nodes(0.5 * flow.size * interval, torch.finfo(dtype).eps), waits.device)
        before = 0.5 * interval * (gap.nodes + 1)
        whole, (nodes_before, nodes) = flow.exponentials(
            times * interval, torch.cat([before, places]), len(before), dtype
        )
        weights = gap.weights((waits * (2 / interval) - 1).clamp_(-1, 1)).to(dtype.to_real())
        return _combined(held.kets, nodes_before, weights), whole, nodes

    def _cell_on_grid(self, held: "_Held", interval: float, flow: "_Shifted") -> int:
        """How many times a cell should hold."""
        number, stretches = held.num_rows * len(self._times), len(held.kets)
        eps, dim = torch.finfo(held.kets.dtype).eps, held.kets.shape[1]
        product = 1 + _AT_NODE / dim
        best, cost, times = 1, number * (1 + _AT_TIME / dim), 2
        while times < 2 * len(self._times):
            here = min(times, len(self._times))
            inside = (here - 1) * interval
            if here * interval > flow.longest:
                break
            nodes = num_nodes(flow.size * inside, eps)
            made = stretches + number / here
            total = made * nodes * product + number * nodes * _SUM / dim
            if total < cost:
                best, cost = here, total
            times *= 2
        return best

    def _off_grid(self, held: "_Held") -> tuple[Nodes, Spread] | None:
        """Take cells that begin with each stretch, or nothing where flows to each time cost less."""
        flow, moments, dtype = self._shifted(), self._moments, held.kets.dtype
        eps, number, stretches = torch.finfo(dtype).eps, held.num_rows * len(moments), len(held.kets)
        best, cost, length = None, number * _FLOW, min(self._times[-1], flow.longest)
        for parts in range(6):
            nodes = num_nodes(flow.size * length * 2.0**-parts, eps)
            made = stretches + held.num_rows * self._times[-1] / length * 2.0**parts
            if made * nodes < cost:
                best, cost = length * 2.0**-parts, made * nodes
        if best is None:
            return None
        table = Polynomials.of(num_nodes(flow.size * best, eps), moments.device)
        whole, (_, nodes) = flow.exponentials(best, 0.5 * best * (table.nodes + 1), 0, dtype)
        numbers = ((moments[held.last - 1] - held.begin) / best).long() + 1
        starts, of, ahead = _chained(held.kets, whole, numbers)
        begin = held.begin[of] + ahead.double() * best
        first = torch.where(ahead == 0, held.first[of], torch.searchsorted(moments, begin))
        # Each cell ends where the next one begins.
        following = torch.searchsorted(moments, held.begin[of] + (ahead + 1).double() * best)
        last = torch.where(ahead == numbers[of] - 1, held.last[of], following)
        counts, order = (last - first).sort(descending=True)
        order = order[: int((counts > 0).sum())]
        counts = counts[: len(order)]
        starts, begin, first, rows = (each[order] for each in (starts, begin, first, held.rows[of]))
        places = first[:, None] + torch.arange(int(counts[0]), device=first.device)
        places = moments[places.clamp_(max=len(moments) - 1)].sub_(begin[:, None])
        weights = table.weights(places.mul_(2 / best).sub_(1).clamp_(-1, 1).flatten())
        weights = weights.to(dtype.to_real()).view(*places.shape, -1)
        spread = Spread.of(weights, counts, first * held.num_rows + rows, held.num_rows)
        return Tabulated(torch.matmul(starts, nodes)), spread

    def _one_by_one(self, held: "_Held") -> tuple[Nodes, Spread]:
        """Flow to each time from the beginning of its stretch."""
        of, ahead = unrolled(held.last - held.first)
        times, rows = held.first[of] + ahead, held.rows[of]
        images = self._flowed(held.kets[of], rows, self._moments[times] - held.begin[of])
        spread = Spread.of_places(times * held.num_rows + rows, images.real.dtype)
        return Tabulated(images[None]), spread

    def _flowed(self, kets: Tensor, rows: Tensor, durations: Tensor) -> Tensor:
        assert self._flow is not None
        never = torch.full_like(durations, -1.0)
        return self._flow.to_next_jump(kets, rows, durations.clamp(min=0), never).kets

    def _shifted(self) -> "_Shifted":
        generator, dtype = no_jump_generator(self._lindbladian), self._lindbladian.dtype
        fixed = generator.detach()
        decay = -float(fixed.diagonal().real.mean())
        shift = decay * torch.eye(len(fixed), dtype=fixed.dtype, device=fixed.device)
        fixed = fixed + shift
        size, fall = size_bound(fixed), size_bound(fixed + fixed.mH)
        longest = min(LARGEST_NORM[dtype] / max(size, 1e-300), _LARGEST_FALL / max(fall, 1e-300))
        return _Shifted(generator + shift, decay, size, longest)


@dataclass(frozen=True, eq=False)
class _Shifted:
    """The generator of the flow less the mean decay, so that kets neither rise nor fall much in a cell.

    Real and without gradient, such a shift leaves kets of norm one, and their scores, as they are.

    Attributes:
        generator: J + decay, in double precision.
        decay: −Re tr(J)/D.
        size: Bound of the norm.
        longest: Length of the longest cell.
    """

    generator: Tensor
    decay: float
    size: float
    longest: float

    def exponentials(
        self, length: float, times: Tensor, first: int, dtype: torch.dtype
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the flow, with its decay, over a length, and without it at times up to there, the first ones apart."""
        degree = taylor_degree(self.size * length, torch.finfo(dtype).eps)
        whole, nodes = exponentials(self.generator.mT * length, times / length, degree, dtype)
        return whole * exp(-self.decay * length), (nodes[:first], nodes[first:])


@dataclass(frozen=True, eq=False)
class _Held:
    """Stretches in which some times fall: those from `first` to before `last`."""

    kets: Tensor
    rows: Tensor
    begin: Tensor
    first: Tensor
    last: Tensor
    num_rows: int


def _combined(kets: Tensor, nodes: Tensor, weights: Tensor) -> Tensor:
    """Σ_m w_m Ψ E_m of every ket, from E (node, D, D) and w (row, node)."""
    total: Tensor | None = None
    for node, weight in zip(nodes, weights.mT[..., None, None], strict=True):
        parts = torch.view_as_real(kets @ node)
        total = parts * weight if total is None else torch.addcmul(total, parts, weight)
    assert total is not None
    return torch.view_as_complex(total)


def _chained(kets: Tensor, power: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Ψ, Ψ E, Ψ E², … as often as each number says, of which ket each is, and its place."""
    chain, of, ahead = Chain.of(kets, power, numbers)
    return chain.measured(lambda block: block)[0], of, ahead
