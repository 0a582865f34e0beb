"""Matrix-free flow in time: Taylor steps of a measured error, every row with its own clock."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, exp, inf, lgamma, log

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.evolution.roots import find_root
from qinn.quantum.generators.interface import Action
from qinn.quantum.numerics.work import check_applications
from qinn.quantum.states.kets import squared_norm

# Highest degree of a step's polynomial: a higher one saves products, but its terms outgrow their sum.
DEGREES = {torch.complex64: 16, torch.complex128: 30}
# Largest term relative to the ket: beyond this, round-off in the sum would show.
_MAX_GROWTH = 16.0
# Entries of the kets that are worked on at a time, so that they stay in the processor's cache.
_CHUNK = 2**18
# Bound of ‖J‖, beyond which squares overflow.
_MAX_NORM = 1e15
# Error of a waiting time, relative to its step.
_ROOT_ERROR = 1e-14


def check_bound(bound: float, moments: Sequence[float], dtype: torch.dtype) -> None:
    """Refuse generators that are not finite, or too large to march through the whole time.

    Args:
        bound: Upper bound of the generator's norm.
        moments: When the pieces of time begin in which the generator is constant, and the end.
        dtype: Complex dtype of the kets.

    Raises:
        ArgumentError: If the bound is far too large, or not a number, or the march too long.
    """
    if not bound < _MAX_NORM:
        raise ArgumentError(
            f"Argument `lindbladian` must be finite and of sensible size, but ‖J‖ is bounded only by {bound:.3g}; "
            "lower the operators."
        )
    check_applications(march_work(bound, moments, dtype), bound * moments[-1])


def march_work(bound: float, moments: Sequence[float], dtype: torch.dtype) -> int:
    """Bound how often `march` applies a generator to a chunk of rows, if none of them stops early.

    The arguments are those of `check_bound`.

    Examples:
        >>> march_work(1.0, [0.0, 1.0], torch.complex64), march_work(1.0, [0.0, 1e3], torch.complex64) // 100
        (11, 64)
    """
    degree, logarithm = DEGREES[dtype], log(torch.finfo(dtype).eps)
    reach = exp((logarithm + lgamma(degree + 1)) / degree)
    reach = min(
        reach, min(exp((log(_MAX_GROWTH) + lgamma(order + 1)) / order) for order in range(1, degree + 1))
    )
    distances = [bound * (after - before) for before, after in itertools.pairwise(moments)]
    return sum(_work_of_piece(distance, reach, degree, logarithm) for distance in distances)


def _work_of_piece(distance: float, reach: float, degree: int, logarithm: float) -> int:
    if distance > reach:
        # Steps are cut to equal lengths, which may take one more.
        return degree * (ceil(distance / reach) + 1)
    size = log(distance) if distance > 0 else -inf
    needed = (order for order in range(1, degree) if order * size - lgamma(order + 1) <= logarithm)
    return next(needed, degree)


def chunks_of(num_rows: int, dim: int) -> Iterator[slice]:
    """Cut rows into runs of which a handful of copies fit the processor's cache.

    Args:
        num_rows: Number of rows.
        dim: Length of each.

    Yields:
        Slices in order.

    Examples:
        >>> list(chunks_of(3, 2**17))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    size = max(1, _CHUNK // dim)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


@dataclass(frozen=True, eq=False)
class Step:
    """One accepted step, with what is needed to repeat it.

    Attributes:
        rows: Which rows took it.
        kets: Where they started.
        lengths: Time of each, float64 (row,).
        pieces: The piece of time of each row, whose controls hold.
        degree: Degree of the polynomial.
    """

    rows: Tensor
    kets: Tensor
    lengths: Tensor
    pieces: Tensor
    degree: int


@dataclass(frozen=True, eq=False)
class March:
    """Where each row arrived, and the steps that led there.

    Attributes:
        kets: Unnormalised rows.
        elapsed: Time until then, float64 (row,).
        stopped: Whether the squared norm reached its threshold before the end, bool (row,).
        steps: The accepted steps in order, if kept.
    """

    kets: Tensor
    elapsed: Tensor
    stopped: Tensor
    steps: list[Step]


@dataclass(frozen=True, eq=False)
class _Series:
    """Σ_k t^k J^k ψ/k! of each row: unit vectors along J^k ψ, and the lengths that each J adds.

    ``reach`` is the longest time for which the sum is as good as round-off.
    """

    directions: list[Tensor]
    factors: list[Tensor]
    reach: Tensor

    @property
    def degree(self) -> int:
        return len(self.factors)

    def terms(self, lengths: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
        """Terms at a time, of all or of some rows."""
        size = torch.ones_like(lengths)
        yield self.directions[0] if rows is None else self.directions[0][rows]
        for order, (direction, factor) in enumerate(zip(self.directions[1:], self.factors, strict=True), 1):
            chosen, grown = (direction, factor) if rows is None else (direction[rows], factor[rows])
            size = size * grown * (lengths / order)
            yield chosen * size.to(chosen.real.dtype)[:, None]

    def at(self, lengths: Tensor, rows: Tensor | None = None) -> Tensor:
        first, *others = self.terms(lengths, rows)
        total = first.clone()
        for term in others:
            total += term
        return total


def _expand(apply: Callable[[Tensor], Tensor], kets: Tensor, limit: Tensor) -> _Series:
    """Form terms until the sum holds for all of the limit, or up to the highest degree.

    exp(Jt) never lengthens a ket. So Taylor's remainder after k terms is at most as long as the next term, and
    the last term formed, which is added as well, bounds the error of the sum.
    """
    logarithm = log(torch.finfo(kets.dtype).eps)
    start = squared_norm(kets).double().sqrt()
    directions, factors = [kets], []
    log_size = torch.zeros_like(start)
    steady = torch.full_like(start, torch.inf)
    reach = steady
    for order in range(1, DEGREES[kets.dtype] + 1):
        image = apply(directions[-1])
        length = squared_norm(image).double().sqrt()
        directions.append(image / torch.where(length > 0, length, 1).to(image.real.dtype)[:, None])
        factors.append(length)
        log_size = log_size + (length / start if order == 1 else length).log()
        # A zero row, or one that holds NaN, does not hold up the others.
        relative = (log_size - lgamma(order + 1)).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        reach = torch.minimum(steady, ((logarithm - relative) / order).exp())
        steady = torch.minimum(steady, ((log(_MAX_GROWTH) - relative) / order).exp())
        if bool((reach >= limit).all()):
            break
    return _Series(directions, factors, reach)


@torch.no_grad()
def march(
    action: Action,
    kets: Tensor,
    controls: Tensor | None,
    moments: Tensor,
    remaining: Tensor,
    thresholds: Tensor | None = None,
    *,
    keep_steps: bool = False,
) -> March:
    """Flow each row with exp(Jt) until its squared norm falls to its threshold, or its time is up.

    Steps are as long as a Taylor polynomial of fixed degree is exact to round-off for that row, measured by its
    last term. The squared norm is a polynomial in time inside a step, whose root is the waiting time.

    Args:
        action: J, of Re⟨ψ, Jψ⟩ ≤ 0 for any ψ.
        kets: Rows (row, D).
        controls: Controls (row, piece, control) of the pieces of the whole time, or None.
        moments: When the pieces begin, and the end, float64 (piece + 1,).
        remaining: Time left for each row, float64 (row,).
        thresholds: Squared norms at which to stop, float64 (row,), or None for never.
        keep_steps: Whether to keep what is needed to repeat the steps.

    Returns:
        The rows there.

    Source: own; the norm as a polynomial as in `DenseFlow.to_next_jump`.
    """
    arrived, elapsed = torch.empty_like(kets), torch.zeros_like(remaining)
    stopped, steps = torch.zeros_like(remaining, dtype=torch.bool), []
    tensors = tuple(tensor.detach() for tensor in action.tensors)
    num_pieces, time = len(moments) - 1, moments[-1]
    for chunk in chunks_of(*kets.shape):
        rows = torch.arange(chunk.start, chunk.stop, device=kets.device)
        current = kets[chunk]
        pieces = torch.searchsorted(moments[1:-1], time - remaining[chunk], right=True)
        while len(rows) > 0:
            left = remaining[rows] - elapsed[rows]
            ahead = torch.where(pieces < num_pieces - 1, moments[pieces + 1] - (time - left), torch.inf)
            limit = torch.minimum(ahead, left).clamp(min=0)
            at = controls_at(controls, rows, pieces)
            series = _expand(lambda ket, at=at: action.function(tensors, ket, at), current, limit)
            # Equal steps up to the limit, so that none of them is short.
            number = (limit / series.reach).ceil().clamp(min=1)
            lengths, whole = limit / number, number == 1
            moved, crossed = series.at(lengths), torch.zeros_like(whole)
            if thresholds is not None:
                crossed = squared_norm(moved).double() <= thresholds[rows]
                if bool(crossed.any()):
                    chosen = crossed.nonzero()[:, 0]
                    terms = torch.stack(list(series.terms(lengths[chosen], chosen)), 1)
                    lengths[chosen] *= _crossing(terms, thresholds[rows[chosen]])
                    moved[chosen] = series.at(lengths[chosen], chosen)
            if keep_steps:
                steps.append(Step(rows, current, lengths, pieces, series.degree))
            finished = whole & (left <= ahead)
            elapsed[rows] = torch.where(finished & ~crossed, remaining[rows], elapsed[rows] + lengths)
            stopped[rows] = crossed
            ended = crossed | finished
            arrived[rows[ended]] = moved[ended]
            pieces = (pieces + whole.long())[~ended]
            rows, current = rows[~ended], moved[~ended]
    return March(arrived, elapsed, stopped, steps)


def _crossing(terms: Tensor, thresholds: Tensor) -> Tensor:
    """Return the x in [0, 1] at which ‖Σ_a v_a x^a‖² falls to its threshold; the v_a are (row, a, D)."""
    parts = torch.view_as_real(terms).flatten(-2).double()
    gram = parts @ parts.mT
    highest = gram.shape[-1] - 1
    orders = torch.arange(2 * highest + 1, dtype=gram.dtype, device=gram.device)
    series = torch.stack(
        [gram.flip(-1).diagonal(highest - order, -2, -1).sum(-1) for order in range(len(orders))], -1
    )

    def evaluate(places: Tensor) -> tuple[Tensor, Tensor]:
        powers = places[:, None] ** orders
        return (series * powers).sum(-1), (series[:, 1:] * orders[1:] * powers[:, :-1]).sum(-1)

    zero, one = torch.zeros_like(thresholds), torch.ones_like(thresholds)
    return find_root(evaluate, thresholds, zero, one, zero, error=_ROOT_ERROR)


def controls_at(controls: Tensor | None, rows: Tensor, pieces: Tensor) -> Tensor | None:
    """Controls (row, control) of some rows, each in its piece of time; None for none."""
    return None if controls is None else controls[rows, pieces]
