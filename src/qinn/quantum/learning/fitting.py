"""Fit dynamics to data by maximum likelihood, from several starts, and say how sure that is."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from statistics import median
from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, check_count, check_seed
from qinn.quantum.learning.ascent import Chart, Found, Point, chart_at, descend, random_point
from qinn.quantum.learning.clicks import ClickLoss, MeasuredClicks
from qinn.quantum.learning.fit_result import Estimates, LindbladianFit
from qinn.quantum.learning.generator_entries import matrix_coordinates
from qinn.quantum.learning.identifiability import Seen, identifiability, split_seen
from qinn.quantum.learning.likelihoods import Expansion, Loss, TomographyLoss, second_derivative
from qinn.quantum.learning.linear_generator import LinearGenerator, linear_generator
from qinn.quantum.learning.measured import MeasuredCounts, MeasuredExpectations
from qinn.quantum.learning.unknown import UnknownLindbladian

# Each stage of a search sees times up to this multiple of the last one's: long times alone have many optima.
_STAGE = 4.0
# Steps and gain of a stage, and steps of the last one.
_STAGE_STEPS, _STAGE_GAIN, _MOST_STEPS = 15, 1e-2, 300
# Two starts ended in the same place if their likelihoods differ by less.
_SAME = 1e-2
# Parameters are others if one differs by so many standard errors.
_OTHER = 5.0
# Curvature of the log-likelihood along what has no information, that of the rest being about 1, beyond round-off.
_BENT = 1e-3
_SECOND_ORDER = (
    "Of these the data say something to second order: a sign may not matter where a parameter is, as at zero."
)
# Operations of one derivative of the exponentials: a minute or so.
_MOST_OPERATIONS = 1e12
# Standard errors within which an eigenvalue of C is near zero.
_NEAR = 2.0


def fit_lindbladian(
    unknown: Any,
    data: Any,
    *,
    num_starts: int = 5,
    seed: int | None = 0,
    start: Any = None,
) -> LindbladianFit:
    """Return the dynamics of a family that explain data best, with error bars.

    Maximum likelihood: multinomial for counts, Gaussian for averages, the exact density of the record for clicks;
    records of several kinds count together. From every start damped Newton steps go first along the measurements at
    short times, then along all. Every C stays positive on the way. The errors are those of the observed information
    (the second derivative of the log-likelihood) at the best parameters *without* that bound, near which estimates are
    normal even if true rates are zero; inside of the bound both are the same.

    Args:
        unknown: What is known and what is not, an `UnknownLindbladian`.
        data: `MeasuredCounts`, `MeasuredExpectations` or `MeasuredClicks`, or a list of these.
        num_starts: Number of starts: a plain one, the others drawn. From one alone, and far from the truth, the search
            may end in a local maximum, of which the errors tell nothing.
        seed: Of the starts; torch's global generator if None.
        start: Parameters near which to begin, in place of the plain start, in the order of `unknown.names`.

    Returns:
        The fit. What the data cannot see has infinite errors, and is named in `identifiability.sentences`.

    Raises:
        ArgumentError: If an argument does not fit, or the work would take many minutes.

    Source: own; for the observed information B. Efron, D. V. Hinkley, Biometrika 65 (1978) 457.

    Examples:
        >>> from qinn.quantum import Lindbladian, MeasuredCounts, UnknownLindbladian, destroy, pauli
        >>> x, lower = pauli("X", dtype=torch.complex128), destroy(2, dtype=torch.complex128)
        >>> z = torch.stack([torch.diag(torch.tensor(p)) for p in ([1.0, 0], [0, 1.0])])[None].double()
        >>> atom = Lindbladian(1.5 * x, [lower])
        >>> counts = MeasuredCounts.simulated(atom, [[1, 0]], [0.5, 1.0, 2.0], z, shots=10_000, seed=0)
        >>> fit = fit_lindbladian(UnknownLindbladian({"drive": x}, {"decay": lower}), counts)
        >>> value, error = fit.parameters["rate[decay]"]
        >>> abs(value - 1) < 3 * error < 0.1
        True
    """
    if not isinstance(unknown, UnknownLindbladian):
        raise ArgumentError(
            f"Argument `unknown` must be an `UnknownLindbladian`, but is a `{type(unknown).__name__}`."
        )
    check_count("num_starts", num_starts)
    check_seed(seed)
    losses = _losses(unknown, data)
    generator = linear_generator(unknown)
    _check_work(generator, losses)
    search = _Search(unknown, generator, losses)
    best, ends = search.from_starts(num_starts, seed, start)
    return search.judged(best, ends)


class _Search:
    def __init__(self, unknown: UnknownLindbladian, generator: LinearGenerator, losses: list[Loss]) -> None:
        self.unknown, self.generator, self.losses = unknown, generator, losses

    def value(self, parameters: Tensor, until: float = inf) -> float:
        total = 0.0
        for loss in self.losses:
            total += loss.value(self.generator, parameters, until)
            if total == inf:
                break
        return total

    def expansion(self, parameters: Tensor, until: float = inf) -> Expansion:
        parts = [loss.expansion(self.generator, parameters, until) for loss in self.losses]
        gradient = torch.stack([part.gradient for part in parts]).sum(0)
        return Expansion(
            sum(part.value for part in parts),
            gradient,
            torch.stack([part.curvature for part in parts]).sum(0),
        )

    def descended(self, point: Point, until: float, *, most_steps: int, gain: float) -> Found:
        return descend(
            lambda parameters: self.value(parameters, until),
            lambda parameters: self.expansion(parameters, until),
            point,
            most_steps=most_steps,
            gain=gain,
        )

    def from_starts(self, num_starts: int, seed: int | None, start: Any) -> tuple[Found, list[Found]]:
        moments = sorted({time for loss in self.losses for time in loss.moments})
        stages = _stages(moments)
        rate = _typical_rate(self.losses)
        drawing = torch.Generator()
        drawing.manual_seed(int(torch.randint(2**31, ())) if seed is None else seed)
        ends: list[Found] = []
        for number in range(num_starts):
            if number == 0 and start is not None:
                point, own_stages = _point_of(self.unknown, start, rate), []
            else:
                point, own_stages = random_point(self.unknown, rate, drawing if number else None), stages
            for until in own_stages:
                point = self.descended(point, until, most_steps=_STAGE_STEPS, gain=_STAGE_GAIN).point
            ends.append(self.descended(point, inf, most_steps=_MOST_STEPS, gain=_SAME))
        best = min(ends, key=lambda end: end.expansion.value)
        return descend(self.value, self.expansion, best.point, most_steps=_MOST_STEPS), ends

    def judged(self, best: Found, ends: list[Found]) -> LindbladianFit:
        free = descend(self.value, self.expansion, best.point.freed(), most_steps=_MOST_STEPS)
        here = free.expansion
        chart = chart_at(free.point, here.gradient)
        expected = chart.directions.mT @ here.curvature @ chart.directions
        seen = identifiability(expected, self.unknown.names, chart.directions)
        centres, values = free.point.parameters, best.point.parameters
        split = split_seen(expected)
        observed = second_derivative(self.losses, self.generator, centres)
        observed = chart.directions.mT @ observed @ chart.directions + chart.bend
        if bool(((split.unseen.mT @ observed @ split.unseen).abs() > _BENT).any()):
            seen = replace(seen, sentences=(*seen.sentences, _SECOND_ORDER))
        root, unseen = _root(chart, split, observed, expected), split.hides(chart.directions)
        estimates = Estimates(self.unknown.names, values, centres, root, unseen, self.unknown.rates)
        measured = [loss for loss in self.losses if loss.num_values]
        num_values = sum(loss.num_values for loss in measured)
        freedom = max(num_values - seen.rank, 0) if measured else 0
        deviance = 2 * sum(loss.value(self.generator, centres) for loss in measured) if measured else None
        p_value = None
        if deviance is not None and freedom and len(measured) == len(self.losses):
            halves = torch.tensor([0.5 * freedom, 0.5 * max(deviance, 0.0)], dtype=torch.float64)
            p_value = float(torch.special.gammaincc(halves[0], halves[1]))
        return LindbladianFit(
            self.unknown,
            self.unknown.lindbladian(values),
            estimates,
            sum(loss.best for loss in self.losses) - best.expansion.value,
            deviance,
            freedom,
            p_value,
            seen,
            _boundary(self.unknown, free.point, estimates),
            _others(best, ends, estimates),
            tuple(max(end.expansion.value - best.expansion.value, 0.0) for end in ends),
            best.converged,
        )


def _root(chart: Chart, split: Seen, observed: Tensor, expected: Tensor) -> Tensor:
    """A root of the parameters' covariance, by the observed information; by the expected one where it has none."""
    levels, vectors = torch.linalg.eigh(split.seen.mT @ observed @ split.seen)
    if len(levels) and float(levels[0]) <= 0:
        levels, vectors = torch.linalg.eigh(split.seen.mT @ expected @ split.seen)
    return chart.directions @ split.seen @ (vectors * levels.rsqrt())


def _losses(unknown: UnknownLindbladian, data: Any) -> list[Loss]:
    records = list(data) if isinstance(data, Sequence) else [data]
    if not records:
        raise ArgumentError("Argument `data` must hold something that was measured, but is empty.")
    losses: list[Loss] = []
    for record in records:
        if not isinstance(record, MeasuredCounts | MeasuredExpectations | MeasuredClicks):
            raise ArgumentError(
                "Argument `data` must be `MeasuredCounts`, `MeasuredExpectations` or `MeasuredClicks`, or a list of "
                f"these, but holds a `{type(record).__name__}`."
            )
        if record.dim != unknown.dim:
            raise ArgumentError(
                f"Arguments `data` and `unknown` must be of one dimension, but have {record.dim} and {unknown.dim}."
            )
        if isinstance(record, MeasuredClicks):
            losses += _click_losses(unknown, record)
        else:
            losses.append(TomographyLoss(record))
    return losses


def _click_losses(unknown: UnknownLindbladian, record: MeasuredClicks) -> list[ClickLoss]:
    loss = ClickLoss(record)
    known = sorted(block.channel for block in unknown.blocks if block.channel is not None)
    strange = [channel for channel in loss.used_channels if channel not in known]
    if strange:
        raise ArgumentError(
            f"Argument `data` must have clicks of the channels {known} of `unknown` only, but has some of channel "
            f"{strange[0]}; give a block that channel."
        )
    return loss.parts(unknown.dim**2)


def _check_work(generator: LinearGenerator, losses: list[Loss]) -> None:
    size, count = generator.directions.shape[:2]
    intervals = max(len(loss.moments) for loss in losses)
    operations = 80.0 * count * size**3 * max(intervals, 1)
    if operations > _MOST_OPERATIONS:
        raise ArgumentError(
            f"Argument `unknown` must be moderate, but one step with {count:,} parameters of D = {round(size**0.5)} at "
            f"{intervals} times takes {operations:.1g} operations, more than {_MOST_OPERATIONS:.1g}; leave fewer "
            "unknown, as by `UnknownLindbladian.local`, or take fewer times."
        )


def _stages(moments: list[float]) -> list[float]:
    """Times until which the search looks, one stage after the other; none where one stage does."""
    if not moments:
        return []
    found, until = [], moments[0]
    while until < moments[-1]:
        found.append(until)
        until *= _STAGE
    return found


def _typical_rate(losses: list[Loss]) -> float:
    first = [0.3 / loss.moments[0] for loss in losses if isinstance(loss, TomographyLoss) and loss.moments]
    watched = [loss.rate for loss in losses if isinstance(loss, ClickLoss) and loss.rate > 0]
    return median(first or watched or [1.0])


def _point_of(unknown: UnknownLindbladian, start: Any, rate: float) -> Point:
    given = as_complex("start", start, torch.empty(0, dtype=torch.complex128)).detach().real.to(torch.float64)
    if given.shape != (unknown.num_parameters,) or not bool(given.isfinite().all()):
        raise ArgumentError(
            f"Argument `start` must be {unknown.num_parameters} finite numbers, one for each of `unknown.names`, but "
            f"has the shape {tuple(given.shape)}."
        )
    strengths, matrices = unknown.parts(given)
    factors = []
    for block, matrix in zip(unknown.blocks, matrices, strict=True):
        levels, vectors = torch.linalg.eigh(matrix)
        # What is exactly zero would stay so.
        levels = levels.clamp(min=1e-3 * max(float(levels[-1]), 1e-3 * rate))
        factors.append((vectors * levels.sqrt())[:, -block.rank :])
    return Point.of_factors(strengths, factors)


def _others(best: Found, ends: list[Found], estimates: Estimates) -> Tensor:
    """Parameters that explain the data as well and are clearly others, each once."""
    found: list[Tensor] = [estimates.values]
    errors = torch.where(estimates.unseen, inf, estimates.errors + 1e-9 * estimates.values.abs())
    for end in ends:
        there = end.point.parameters
        as_good = end.expansion.value < best.expansion.value + _SAME
        if as_good and all(bool(((there - known).abs() > _OTHER * errors).any()) for known in found):
            found.append(there)
    return torch.stack(found)[1:]


def _boundary(unknown: UnknownLindbladian, point: Point, estimates: Estimates) -> tuple[str, ...]:
    """Sentences on the blocks whose C has eigenvalues near zero."""
    found = []
    first = len(unknown.hamiltonian_terms)
    for block, matrix in zip(unknown.blocks, point.matrices, strict=True):
        size = len(block.operators)
        own = slice(first, first + size**2)
        first += size**2
        if bool(estimates.unseen[own].any()):
            continue
        levels, vectors = torch.linalg.eigh(matrix)
        along = torch.einsum("ik,jk->kij", vectors, vectors.conj())
        # v†Cv is linear in the coordinates of C.
        weights = matrix_coordinates(along)
        weights[:, size:] *= 2
        errors = (weights @ estimates.root[own]).square().sum(-1).sqrt()
        kept = slice(size - block.rank, size)
        near = int((levels[kept] < _NEAR * errors[kept]).sum())
        if not near:
            continue
        if size == 1:
            found.append(
                f"rate[{block.names[0]}] is within {_NEAR:g} standard errors of zero; its interval is that of an "
                "estimate that may be negative, cut at 0."
            )
        elif block.rank == size:
            found.append(
                f"{near} of {size} eigenvalues of C over {_few(block.names)} are within {_NEAR:g} standard errors of "
                "zero; intervals are those of an estimate that may leave what is physical."
            )
        else:
            found.append(
                f"C over {_few(block.names)} may have less than rank {block.rank}: {near} of its eigenvalues are "
                f"within {_NEAR:g} standard errors of zero, and intervals are not reliable there; fit a smaller rank."
            )
    return tuple(found)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]}"
