"""Matrix-free flow in time: Taylor steps of a measured error, every row with its own clock."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import lgamma, log

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.evolution.waiting_times import find_root, norm_series
from qinn.quantum.generators import Action
from qinn.quantum.kets import squared_norm

# Highest degree of a step's polynomial: a higher one saves products, but its terms outgrow their sum.
_DEGREES = {torch.complex64: 16, torch.complex128: 30}
# Largest term relative to the ket: beyond this, round-off in the sum would show.
_MAX_GROWTH = 16.0
# Entries of the kets that are worked on at a time, so that they stay in the processor's cache.
_CHUNK = 2**18
# Bounds of ‖J‖·time, beyond which steps are too many, and of ‖J‖, beyond which squares overflow.
_MAX_DISTANCE, _MAX_NORM = 2.0**20, 1e15
# A step is long: its polynomial is no line, and the root takes more iterations than in a fine cell.
_ROOT = {"iterations": 60, "error": 1e-14}


def check_bound(bound: float, time: float) -> None:
    """Refuse generators that are not finite, or too large to march through the whole time.

    Args:
        bound: Upper bound of the generator's norm.
        time: Duration.

    Raises:
        ArgumentError: If the bound or its product with the time is far too large, or not a number.
    """
    if not (bound * time < _MAX_DISTANCE and bound < _MAX_NORM):
        raise ArgumentError(
            "Argument `lindbladian` must be finite and of sensible size, but ‖J‖ is bounded only by "
            f"{bound:.3g} over the time {time:.3g}; lower the operators or the time."
        )


def chunks_of(num_rows: int, dim: int) -> Iterator[slice]:
    """Cut rows into runs of which a handful of copies fit the processor's cache.

    Args:
        num_rows: Number of rows.
        dim: Length of each.

    Yields:
        Slices in order.

    Example:
        >>> list(chunks_of(3, 2**17))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    size = max(1, _CHUNK // dim)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


@dataclass(frozen=True, eq=False)
class _Step:
    """One accepted step of some rows, enough to repeat it: who, from where, how far, with which controls."""

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
        steps: The accepted steps in order.
    """

    kets: Tensor
    elapsed: Tensor
    stopped: Tensor
    steps: list[_Step]


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
    for order in range(1, _DEGREES[kets.dtype] + 1):
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
    time: float,
    remaining: Tensor,
    thresholds: Tensor | None = None,
) -> March:
    """Flow each row with exp(Jt) until its squared norm falls to its threshold, or its time is up.

    Steps are as long as a Taylor polynomial of fixed degree is exact to round-off for that row, measured by its
    last term. The squared norm is a polynomial in time inside a step, whose root is the waiting time.

    Args:
        action: J, of Re⟨ψ, Jψ⟩ ≤ 0 for any ψ.
        kets: Rows (row, D).
        controls: Controls (row, piece, control) of the equal pieces of the whole time, or None.
        time: Whole duration.
        remaining: Time left for each row, float64 (row,).
        thresholds: Squared norms at which to stop, float64 (row,), or None for never.

    Returns:
        The rows there.

    Source: own; the norm as a polynomial as in `find_waiting_times`.
    """
    arrived, elapsed = torch.empty_like(kets), torch.zeros_like(remaining)
    stopped, steps = torch.zeros_like(remaining, dtype=torch.bool), []
    tensors = tuple(tensor.detach() for tensor in action.tensors)
    num_pieces = 1 if controls is None else controls.shape[1]
    width = time / num_pieces
    for chunk in chunks_of(*kets.shape):
        rows = torch.arange(chunk.start, chunk.stop, device=kets.device)
        current = kets[chunk]
        pieces = ((time - remaining[chunk]) / width).long().clamp(0, num_pieces - 1)
        while len(rows) > 0:
            left = remaining[rows] - elapsed[rows]
            ahead = torch.where(
                pieces < num_pieces - 1, (pieces + 1).double() * width - (time - left), torch.inf
            )
            limit = torch.minimum(ahead, left).clamp(min=0)
            at = _at(controls, rows, pieces)
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
                    polynomial = norm_series(terms, 2 * series.degree)
                    one = torch.ones_like(lengths[chosen])
                    lengths[chosen] *= find_root(polynomial, thresholds[rows[chosen]], one, **_ROOT)
                    moved[chosen] = series.at(lengths[chosen], chosen)
            steps.append(_Step(rows, current, lengths, pieces, series.degree))
            finished = whole & (left <= ahead)
            elapsed[rows] = torch.where(finished & ~crossed, remaining[rows], elapsed[rows] + lengths)
            stopped[rows] = crossed
            ended = crossed | finished
            arrived[rows[ended]] = moved[ended]
            pieces = (pieces + whole.long())[~ended]
            rows, current = rows[~ended], moved[~ended]
    return March(arrived, elapsed, stopped, steps)


def _at(controls: Tensor | None, rows: Tensor, pieces: Tensor) -> Tensor | None:
    return None if controls is None else controls[rows, pieces]


def march_differentiably(
    action: Action,
    kets: Tensor,
    controls: Tensor | None,
    time: float,
    remaining: Tensor,
    thresholds: Tensor | None = None,
) -> March:
    """Do as `march`, differentiably in the kets, the controls and the action's tensors, at fixed times.

    Kept in memory are the kets at the start of each step; the backward pass repeats the steps one application
    at a time.

    Args:
        action: As in `march`.
        kets: As in `march`.
        controls: As in `march`.
        time: As in `march`.
        remaining: As in `march`.
        thresholds: As in `march`.

    Returns:
        The rows there; differentiable once.
    """
    kets = kets.resolve_conj().contiguous()
    inputs = (kets, *([] if controls is None else [controls]), *action.tensors)
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)):
        return march(action, kets, controls, time, remaining, thresholds)
    found: list[March] = []
    arrived = _March.apply(action, time, remaining, thresholds, found, kets, controls, *action.tensors)
    return March(arrived, found[0].elapsed, found[0].stopped, found[0].steps)


class _March(torch.autograd.Function):
    """`march` with a backward pass that repeats the accepted steps, at the times already found."""

    @staticmethod
    def forward(ctx, action, time, remaining, thresholds, found, kets, controls, *tensors) -> Tensor:
        result = march(action, kets, controls, time, remaining, thresholds)
        found.append(result)
        ctx.action, ctx.steps, ctx.controls = action, result.steps, controls
        ctx.save_for_backward(*tensors)
        return result.kets

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        controls, tensors = ctx.controls, ctx.saved_tensors
        needs_controls, *needs = ctx.needs_input_grad[6:]
        adjoint = gradients[0].resolve_conj().clone()
        of_controls = torch.zeros_like(controls) if needs_controls else None
        totals = [
            torch.zeros_like(tensor) if need else None for tensor, need in zip(tensors, needs, strict=True)
        ]
        for step in reversed(ctx.steps):
            at = _at(controls, step.rows, step.pieces)
            lengths = step.lengths.to(adjoint.real.dtype)[:, None]
            terms = [step.kets]
            for order in range(1, step.degree):
                terms.append(ctx.action.function(tensors, terms[-1], at) * (lengths / order))
            arriving = adjoint[step.rows]
            current = arriving
            # The adjoint of Horner's scheme: each term hands its share down to the one before.
            for order in range(step.degree, 0, -1):
                share = pull_back(
                    ctx.action, tensors, needs, terms.pop(), at, needs_controls, current * (lengths / order)
                )
                current = arriving + share.kets
                _accumulate(totals, share.tensors)
                if of_controls is not None and share.controls is not None:
                    of_controls.index_put_((step.rows, step.pieces), share.controls, accumulate=True)
            adjoint[step.rows] = current
        return None, None, None, None, None, adjoint, of_controls, *totals


@dataclass(frozen=True, eq=False)
class _Share:
    kets: Tensor
    controls: Tensor | None
    tensors: list[Tensor | None]


def pull_back(
    action: Action,
    tensors: Sequence[Tensor],
    needs: Sequence[bool],
    kets: Tensor,
    controls: Tensor | None,
    needs_controls: bool,
    cotangent: Tensor,
) -> _Share:
    """Return the gradients of one application, in what needs one."""
    with torch.enable_grad():
        kets = kets.detach().requires_grad_()
        inputs = tuple(
            tensor.detach().requires_grad_(need) for tensor, need in zip(tensors, needs, strict=True)
        )
        if controls is not None:
            controls = controls.detach().requires_grad_(needs_controls)
        image = action.function(inputs, kets, controls)
        asked = [
            tensor for tensor in (kets, controls, *inputs) if tensor is not None and tensor.requires_grad
        ]
        found = list(torch.autograd.grad(image, asked, cotangent, allow_unused=True))
    of_kets = found.pop(0)
    of_controls = found.pop(0) if needs_controls else None
    rest = iter(found)
    return _Share(of_kets, of_controls, [next(rest) if need else None for need in needs])


def _refuse_second_derivatives() -> None:
    # The gradients are formed outside the graph: a second derivative would silently miss them.
    if torch.is_grad_enabled():
        raise ArgumentError(
            "Argument `create_graph` must be False for evolutions of matrix-free generators, which can be "
            "differentiated once; for second derivatives pass the `.dense()` of the dynamics."
        )


def _accumulate(totals: Sequence[Tensor | None], parts: Sequence[Tensor | None]) -> None:
    for total, part in zip(totals, parts, strict=True):
        if total is not None and part is not None:
            total += part


def apply_action(action: Action, kets: Tensor) -> Tensor:
    """Apply an action without controls to rows, keeping nothing but its arguments for the backward pass.

    Args:
        action: The map.
        kets: Rows (row, D).

    Returns:
        The images, differentiable once in the kets and the action's tensors.
    """
    return _Application.apply(action, kets.resolve_conj().contiguous(), *action.tensors)


class _Application(torch.autograd.Function):
    @staticmethod
    def forward(ctx, action, kets, *tensors) -> Tensor:
        ctx.action = action
        ctx.save_for_backward(kets, *tensors)
        parts = [action.function(tensors, kets[chunk], None) for chunk in chunks_of(*kets.shape)]
        return torch.cat(parts) if parts else kets.clone()

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        kets, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        totals = [
            torch.zeros_like(tensor) if need else None for tensor, need in zip(tensors, needs, strict=True)
        ]
        of_kets = torch.empty_like(kets)
        for chunk in chunks_of(*kets.shape):
            share = pull_back(ctx.action, tensors, needs, kets[chunk], None, False, gradients[0][chunk])
            of_kets[chunk] = share.kets
            _accumulate(totals, share.tensors)
        return None, of_kets, *totals
