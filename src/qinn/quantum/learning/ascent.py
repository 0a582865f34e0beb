"""The search for the best parameters: damped Newton steps along which every C stays positive, or is left free."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.quantum.learning.generator_entries import matrix_coordinates, matrix_of
from qinn.quantum.learning.likelihoods import Expansion
from qinn.quantum.learning.unknown import UnknownLindbladian

# Damping by which steps start, and beyond which no step is worth a try.
_FIRST_DAMPING, _MOST_DAMPING = 1e-3, 1e12
# Size of the Hamiltonian of the plain start, relative to the rates.
_SLIGHT = 0.1
# A gain of log-likelihood that nobody can see; and the share of the loss that is round-off.
GAIN, _ROUND_OFF = 1e-8, 1e-14


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters, in a form in which steps can be made.

    Attributes:
        strengths: Of the Hamiltonian terms.
        factors: A of each block with C = AA†, (n, rank); None where C itself is stepped.
        matrices: C of each block, which is positive if made of a factor.
    """

    strengths: Tensor
    factors: tuple[Tensor | None, ...]
    matrices: tuple[Tensor, ...]

    @staticmethod
    def of_factors(strengths: Tensor, factors: list[Tensor]) -> "Point":
        """Return the point of factors, all C positive."""
        return Point(strengths, tuple(factors), tuple(each @ each.mH for each in factors))

    def freed(self) -> "Point":
        """Return the same with every C that may have full rank left free: no longer bound to be positive."""
        factors = [None if each is None or len(each) == each.shape[1] else each for each in self.factors]
        return Point(self.strengths, tuple(factors), self.matrices)

    @property
    def parameters(self) -> Float[Tensor, " parameter"]:
        """All parameters in the order of `UnknownLindbladian.names`."""
        return torch.cat([self.strengths, *(matrix_coordinates(each) for each in self.matrices)])


@dataclass(frozen=True, eq=False)
class Chart:
    """Directions in which a point may go, to first order in the parameters, and what second order adds.

    Attributes:
        directions: Change of the parameters along each.
        bend: What the second order of C = AA† adds to the curvature of the loss.
        convex: The same of the positive part of the gradient, without negative eigenvalues.
        move: From steps along the directions to the point there, exactly.
    """

    directions: Float[Tensor, "parameter direction"]
    bend: Float[Tensor, "direction direction"]
    convex: Float[Tensor, "direction direction"]
    move: Callable[[Tensor], Point]


@dataclass(frozen=True, eq=False)
class _BlockChart:
    """The chart of one block; `move` gives its factor, if any, and its C."""

    directions: Tensor
    bend: Tensor
    convex: Tensor
    move: Callable[[Tensor], tuple[Tensor | None, Tensor]]


def chart_at(point: Point, gradient: Float[Tensor, " parameter"]) -> Chart:
    """Return the chart of a point.

    Of C = AA† with A = U diag(a) steps are A ↦ A + US + QY with Hermitian S and Q the complement of U: as many as C
    has dimensions, without the gauge A ↦ AV. They may take an a through zero, and turn the vectors of eigenvalues that
    are zero. With Γ the gradient with respect to C and Δ = US + QY, second order adds tr(Γ ΔΔ†), which holds a rate
    at zero.

    Args:
        point: Where.
        gradient: Of the loss there.

    Source: own.
    """
    strengths = point.strengths
    count = len(strengths)
    _, *slopes = gradient.split([count, *(len(each) ** 2 for each in point.matrices)])
    blocks = [
        _free(matrix) if factor is None else _positive(factor, _gradient_matrix(slope, len(matrix)))
        for factor, matrix, slope in zip(point.factors, point.matrices, slopes, strict=True)
    ]
    sizes = [count, *(each.directions.shape[1] for each in blocks)]

    def move(step: Tensor) -> Point:
        first, *rest = step.split(sizes)
        found = [block.move(each) for block, each in zip(blocks, rest, strict=True)]
        return Point(strengths + first, tuple(each[0] for each in found), tuple(each[1] for each in found))

    identity = torch.eye(count, dtype=strengths.dtype)
    zeros = torch.zeros_like(identity)
    return Chart(
        torch.block_diag(identity, *(each.directions for each in blocks)),
        torch.block_diag(zeros, *(each.bend for each in blocks)),
        torch.block_diag(zeros, *(each.convex for each in blocks)),
        move,
    )


def _free(matrix: Tensor) -> _BlockChart:
    identity = torch.eye(len(matrix) ** 2, dtype=torch.float64)
    zeros = torch.zeros_like(identity)
    return _BlockChart(identity, zeros, zeros, lambda step: (None, matrix + matrix_of(step, len(matrix))))


def _positive(factor: Tensor, gradient: Tensor) -> _BlockChart:
    size, rank = factor.shape
    frame, sizes, _ = torch.linalg.svd(factor, full_matrices=True)
    middle = factor.new_zeros(size, rank)
    middle[:rank] = torch.diag(sizes)
    steps = _units(size, rank)
    changes = steps @ middle.mH
    directions = matrix_coordinates(frame @ (changes + changes.mH) @ frame.mH).mT
    levels, vectors = torch.linalg.eigh(frame.mH @ gradient @ frame)
    positive = (vectors * levels.clamp(min=0)) @ vectors.mH

    def move(step: Tensor) -> tuple[Tensor | None, Tensor]:
        moved = frame @ (middle + torch.einsum("p,pij->ij", step.to(factor.dtype), steps))
        return moved, moved @ moved.mH

    bend = _along_units(2 * ((vectors * levels) @ vectors.mH) @ steps, rank)
    return _BlockChart(directions, bend, _along_units(2 * positive @ steps, rank), move)


def _units(size: int, rank: int) -> Tensor:
    """Matrices (size, rank): the Hermitian units above, and real and imaginary units of each entry below."""
    rest = (size - rank) * rank
    units = torch.zeros(rank**2 + 2 * rest, size, rank, dtype=torch.complex128)
    units[: rank**2, :rank] = matrix_of(torch.eye(rank**2, dtype=torch.float64), rank)
    below = torch.eye(rest, dtype=torch.complex128).reshape(rest, size - rank, rank)
    units[rank**2 :, rank:] = torch.cat([below, 1j * below])
    return units


def _along_units(matrices: Tensor, rank: int) -> Tensor:
    """Re tr(K†E) of every matrix K and every unit E."""
    above, below = matrices[:, :rank], matrices[:, rank:].flatten(1)
    inner = matrix_coordinates(0.5 * (above + above.mH))
    inner[:, rank:] *= 2
    return torch.cat([inner, below.real, below.imag], -1)


def _gradient_matrix(slope: Tensor, size: int) -> Tensor:
    """The Hermitian Γ with tr(Γ δC) = Σ slope · δcoordinates."""
    halves = torch.cat([slope[:size], 0.5 * slope[size:]])
    return matrix_of(halves, size)


@dataclass(frozen=True, eq=False)
class Found:
    """Where a search ended.

    Attributes:
        point: The best point.
        expansion: The loss there.
        converged: Whether a further step would gain nothing that can be seen.
        num_steps: Steps made.
    """

    point: Point
    expansion: Expansion
    converged: bool
    num_steps: int


def descend(
    value: Callable[[Tensor], float],
    expansion: Callable[[Tensor], Expansion],
    start: Point,
    *,
    most_steps: int,
    gain: float = GAIN,
) -> Found:
    """Go downhill from a point by damped Newton steps.

    Args:
        value: The loss, infinite where it is not defined.
        expansion: The loss with gradient and curvature.
        start: Where to begin.
        most_steps: Bound of the steps.
        gain: The search ends when a step promises less.

    Source: K. Levenberg, Quart. Appl. Math. 2 (1944) 164; D. W. Marquardt, J. SIAM 11 (1963) 431.
    """
    point, damping = start, _FIRST_DAMPING
    here = expansion(point.parameters)
    for number in range(most_steps):
        chart = chart_at(point, here.gradient)
        slope = chart.directions.mT @ here.gradient
        bent = chart.directions.mT @ here.curvature @ chart.directions + chart.convex
        scale = bent.diagonal()
        scale = scale.clamp(min=1e-12 * float(scale.amax()) + 1e-300)
        moved, promised = None, 0.0
        while damping < _MOST_DAMPING:
            step = _solve(bent + torch.diag(damping * scale), slope)
            promised = float(-slope @ step - 0.5 * step @ bent @ step)
            if promised < gain + _ROUND_OFF * abs(here.value):
                break
            trial = chart.move(step)
            reached = value(trial.parameters)
            if here.value - reached > 1e-4 * promised:
                moved = trial
                ratio = (here.value - reached) / promised
                damping = max(damping * (0.1 if ratio > 0.5 else 1.0 if ratio > 0.1 else 4.0), 1e-15)
                break
            damping *= 10.0
        if moved is None:
            small = promised < gain + _ROUND_OFF * abs(here.value)
            # A step that promises little because it is damped shows nothing.
            if small and damping > _FIRST_DAMPING:
                damping = _FIRST_DAMPING * 1e-3
                undamped = _solve(bent + torch.diag(damping * scale), slope)
                small = float(-slope @ undamped - 0.5 * undamped @ bent @ undamped) < 1e4 * gain
            return Found(point, here, small, number)
        point = moved
        here = expansion(point.parameters)
    return Found(point, here, False, most_steps)


def _solve(matrix: Tensor, slope: Tensor) -> Tensor:
    root, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed) == 0:
        return -torch.cholesky_solve(slope[:, None], root)[:, 0]
    return -torch.linalg.lstsq(matrix, slope[:, None]).solution[:, 0]


def random_point(unknown: UnknownLindbladian, rate: float, generator: torch.Generator | None) -> Point:
    """Return a random point to start from: jumps about ``rate`` times per unit time, and a Hamiltonian of that size.

    Args:
        unknown: The family.
        rate: In units of inverse time.
        generator: Of the random numbers; None for the plain point, with equal rates and hardly a Hamiltonian.
    """
    count = len(unknown.hamiltonian_terms)
    sizes = torch.linalg.matrix_norm(unknown.hamiltonian_terms, 2).clamp(min=1e-300)
    # Without any, outcomes that were seen may be impossible.
    size, drawing = (_SLIGHT, torch.Generator().manual_seed(0)) if generator is None else (1.0, generator)
    drawn = torch.randn(count, generator=drawing, dtype=torch.float64)
    strengths = size * rate * drawn / sizes / max(count, 1) ** 0.5
    factors = []
    for block in unknown.blocks:
        size = len(block.operators)
        if generator is None and block.rank == size:
            factor = torch.eye(size, dtype=torch.complex128)
        else:
            factor = torch.randn(size, block.rank, generator=drawing, dtype=torch.complex128)
        total = torch.einsum("ir,iab->rab", factor, block.operators)
        norm = float(torch.linalg.matrix_norm((total.mH @ total).sum(0), 2))
        factors.append(factor * (rate / max(norm, 1e-300)) ** 0.5)
    return Point.of_factors(strengths, factors)
