"""Action of the exponential of a generator on vectors, by a Chebyshev series of planned error."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, exp, frexp, inf, ldexp, pi

import torch
from torch import Tensor

from qinn.errors import ArgumentError


@dataclass(frozen=True)
class FieldOfValues:
    """A rectangle in the complex plane that holds every ⟨x, A x⟩ of a generator A (unit x).

    Attributes:
        real_low: Lower bound of the real parts.
        real_high: Upper bound of the real parts.
        imaginary: Bound of the magnitude of the imaginary parts.

    Examples:
        >>> FieldOfValues(-1.0, 0.0, 2.0).scaled(0.5)
        FieldOfValues(real_low=-0.5, real_high=0.0, imaginary=1.0)
    """

    real_low: float
    real_high: float
    imaginary: float

    def scaled(self, factor: float) -> "FieldOfValues":
        """Return the rectangle of factor · A, factor ≥ 0."""
        return FieldOfValues(self.real_low * factor, self.real_high * factor, self.imaginary * factor)


@dataclass(frozen=True)
class ExponentialPlan:
    """How to form exp(tA)v: ``sub_steps`` times Σ_n coefficients[n] U_n(tA/sub_steps) v.

    U_0 = 1, U_1 = W, U_{n+1} = 2 W U_n + sign · U_{n−1} with W = (tA/sub_steps − centre)/focal. For sign =
    −1 these are Chebyshev polynomials on a real segment; for sign = +1 on an imaginary one, written so that
    every number stays real and Hermitian matrices stay Hermitian.

    Attributes:
        sub_steps: Number of equal sub-steps.
        centre: Real centre of the segment.
        focal: Half length of the segment.
        sign: −1 or +1.
        coefficients: Series coefficients, first to last.
        error: Bound of the error over all sub-steps, from the field of values.
        tolerance: The error that was asked for.
        field: The field of values that the bound is for.
        is_cautious: Whether segment and sub-steps were chosen for the whole field, not for a guess of the spectrum.
    """

    sub_steps: int
    centre: float
    focal: float
    sign: float
    coefficients: tuple[float, ...]
    error: float
    tolerance: float
    field: FieldOfValues
    is_cautious: bool

    @property
    def degree(self) -> int:
        """How often the generator is applied at most in a sub-step."""
        return len(self.coefficients) - 1

    @property
    def num_applications(self) -> int:
        """How often the generator is applied at most."""
        return self.sub_steps * self.degree

    def cautious(self, part: float = 1.0) -> "ExponentialPlan":
        """Return the plan for this part of the time that assumes nothing about the spectrum.

        Args:
            part: Part of the time that is left, between 0 and 1.
        """
        return plan_exponential(self.field.scaled(part), max(part * self.tolerance, FINEST_TOLERANCE))

    @property
    def scale(self) -> float:
        """Factor s of A/t in 2W = s A − `shift`, for t = 1."""
        return 2 / (self.sub_steps * self.focal)

    @property
    def shift(self) -> float:
        """Number that 2W has below s A."""
        return 2 * self.centre / self.focal


# Crouzeix and Palencia: ‖p(A)‖ ≤ (1 + √2) max |p| over the field of values.
_CROUZEIX = 1 + 2**0.5
_MAX_DEGREE = 96
_TAIL = 8
# The least error that can be asked of a series in double precision.
FINEST_TOLERANCE = 1e-15
_EDGE_POINTS = 24
_REACHES = (30, 20, 14, 10, 7, 5, 3.5, 2.5, 1.8, 1.2)
_FRACTIONS = (1.2, 1.0, 0.8, 0.6, 0.4)
# Largest term of a series over its vector: beyond this, round-off in the sum would show. Where it is planned for the
# whole field of values, the theorem allows for this factor more.
_MAX_GROWTH = 100.0
# The same of the sums in the backward pass, which grow with the degree even where the terms do not.
MAX_ADJOINT_GROWTH = 1e3
# Every how many degrees those are measured.
WATCHED = 4
# A series ends when what is left of it is this part of the tolerance, if its polynomials go on to grow this
# much faster than they last did.
_REST, _FASTER = 0.5, 1.5
# Terms are measured once their coefficients are this close to the tolerance.
_NEARLY = 1e3


def plan_exponential(
    field: FieldOfValues, tolerance: float, expected: FieldOfValues | None = None
) -> ExponentialPlan:
    """Choose sub-steps, segment and degree of the series for exp(A) with error at most ``tolerance``.

    The error of a polynomial p is at most (1 + √2) max |p(z) − e^z| over the field of values (its boundary is
    sampled): this sets the degree. Segment and sub-steps are those that need the fewest applications of A for
    a spectrum that fills the field or, if it is expected in a smaller rectangle, the ellipse inscribed there.

    Args:
        field: Rectangle that holds the field of values of A (time included).
        tolerance: Largest allowed error relative to the norm of the vector.
        expected: Rectangle about the bulk of the spectrum: a guess, on which only the cost depends.

    Returns:
        The plan.

    Raises:
        ArgumentError: If the tolerance is not positive or the field is not finite.

    Source: M. Crouzeix and C. Palencia, SIAM J. Matrix Anal. Appl. 38 (2017) 649; own search.

    Examples:
        >>> plan_exponential(FieldOfValues(-2.0, 0.0, 6.0), 1e-6).num_applications
        20
    """
    if not tolerance > 0:
        raise ArgumentError(f"Argument `tolerance` must be positive, but it is {tolerance}.")
    if tolerance < FINEST_TOLERANCE:
        raise ArgumentError(
            f"Argument `tolerance` must be within reach of double precision, {FINEST_TOLERANCE:.0e}, but it is "
            f"{tolerance:.1g}; choose a larger one."
        )
    bounds = (field.real_low, field.real_high, field.imaginary)
    if not all(abs(bound) < float("inf") for bound in bounds):
        raise ArgumentError(
            "Argument `lindbladian` must be finite, but its norm times the time is not; look for NaN or overflow."
        )
    guess = field if expected is None else expected
    middle = 0.5 * (guess.real_low + guess.real_high)
    # Never positive: the field of a contraction only has room on the left.
    centre = -_round_up(max(-middle, 0.0)) if guess.real_high > guess.real_low else 0.0

    def half_sizes(rectangle: FieldOfValues) -> tuple[float, float]:
        half_real = max(rectangle.real_high - centre, centre - rectangle.real_low)
        return _round_up(half_real), _round_up(rectangle.imaginary)

    likely = None if expected is None else half_sizes(expected)
    plan = _plan(centre, half_sizes(field), likely, tolerance)
    return replace(plan, field=field, is_cautious=expected is None)


def _round_up(value: float) -> float:
    """Round a non-negative number up to four bits, so that plans are shared while a model trains."""
    if value <= 0:
        return 0.0
    mantissa, exponent = frexp(value)
    return ldexp(ceil(mantissa * 16) / 16, exponent)


@lru_cache(maxsize=256)
def _plan(
    centre: float, half_sizes: tuple[float, float], likely: tuple[float, float] | None, tolerance: float
) -> ExponentialPlan:
    """Plan for a rectangle of given half sizes around the centre; see `plan_exponential`."""
    wide, high = likely or half_sizes
    radius = max(wide, high, 1e-3)
    sign = -1.0 if wide >= high else 1.0
    choices = [
        (sub_steps, fraction * radius / sub_steps)
        for sub_steps in sorted({max(1, ceil(radius / reach)) for reach in _REACHES})
        for fraction in _FRACTIONS
    ]
    # Where the spectrum fills less than the field, so do the terms: `chebyshev_series` watches their growth.
    sure = _applications(
        _rectangle(*half_sizes),
        choices,
        centre,
        sign,
        tolerance,
        bound=_CROUZEIX,
        max_growth=_MAX_GROWTH if likely is None else float("inf"),
    )
    guess = sure if likely is None else _applications(_ellipse(*likely), choices, centre, sign, tolerance)
    # What is sure only has to be finite; among equals it decides.
    cost = torch.where(sure.number < torch.inf, guess.number + 1e-3 * sure.number, torch.inf)
    best = int(cost.argmin())
    if not float(cost[best]) < float("inf"):
        raise ArgumentError(
            f"Argument `tolerance` must be within reach of the series, but it is {tolerance:.1g}; "
            "choose a larger one."
        )
    sub_steps, focal = choices[best]
    degree, scale = int(sure.number[best]) // sub_steps, exp(centre / sub_steps)
    kept = tuple(scale * value for value in _bessel_coefficients(focal, sign)[: degree + 1])
    nowhere = FieldOfValues(0.0, 0.0, 0.0)
    return ExponentialPlan(
        sub_steps, centre / sub_steps, focal, sign, kept, float(sure.error[best]), tolerance, nowhere, True
    )


def _bessel_coefficients(focal: float, sign: float) -> list[float]:
    """(2 − δ_n0) J_n(focal) for sign = +1, I_n for sign = −1, each to full relative accuracy."""
    start = _MAX_DEGREE + 20 + int(focal)
    values = [0.0] * (start + 2)
    values[start] = 1e-280
    # Miller's algorithm: the recurrence is stable downwards; the sum rule fixes the scale.
    for order in range(start, 0, -1):
        values[order - 1] = 2 * order / focal * values[order] - sign * values[order + 1]
        if abs(values[order - 1]) > 1e250:
            values = [value * 1e-250 for value in values]
    whole = values[0] + 2 * sum(values[2::2]) if sign > 0 else (values[0] + 2 * sum(values[1:])) / exp(focal)
    return [value / whole * (1 if order == 0 else 2) for order, value in enumerate(values[: _MAX_DEGREE + 1])]


@lru_cache(maxsize=64)
def coefficients_of_parts(plan: ExponentialPlan, parts: tuple[float, ...]) -> Tensor:
    """Return the coefficients of the series of parts of a sub-step: exp(x tA/sub_steps) v = Σ_n c_n(x) U_n v.

    The polynomials are those of the whole sub-step, so that one series serves all parts: c_n(x) are the coefficients of
    `ExponentialPlan` at x times the segment. In what the plan leaves out they are smaller than those of the whole.

    Args:
        plan: The plan.
        parts: Parts x, 0 < x ≤ 1.

    Returns:
        Float64 tensor (part, degree + 1), on the CPU.

    Examples:
        >>> plan = plan_exponential(FieldOfValues(-2.0, 0.0, 6.0), 1e-6)
        >>> coefficients_of_parts(plan, (0.5, 1.0))[1].tolist() == list(plan.coefficients)
        True
    """
    inside = [part for part in parts if part < 1]
    rows = iter(())
    if inside:
        share = torch.tensor(inside, dtype=torch.float64, device="cpu")
        scale = (plan.centre * share).exp()[:, None]
        rows = iter(scale * _bessel_table(plan.focal * share, plan.sign)[:, : plan.degree + 1])
    whole = torch.tensor(plan.coefficients, dtype=torch.float64, device="cpu")
    return torch.stack([next(rows) if part < 1 else whole for part in parts])


def _bessel_table(focal: Tensor, sign: float) -> Tensor:
    """`_bessel_coefficients` of many segments at once, (segment, order)."""
    start = _MAX_DEGREE + 20 + int(float(focal.max()))
    values = focal.new_zeros(start + 2, len(focal))
    values[start] = 1e-280
    for order in range(start, 0, -1):
        values[order - 1] = 2 * order / focal * values[order] - sign * values[order + 1]
        large = values[order - 1].abs() > 1e250
        if bool(large.any()):
            values[order - 1 :] *= torch.where(large, 1e-250, 1.0)
    even, all_of = values[2::2].sum(0), values[1:].sum(0)
    whole = values[0] + 2 * even if sign > 0 else (values[0] + 2 * all_of) / focal.exp()
    values = values[: _MAX_DEGREE + 1] / whole
    values[1:] *= 2
    return values.mT


def _rectangle(half_real: float, half_imaginary: float) -> Tensor:
    """Points on the upper half of the boundary; the lower half is its mirror image."""
    edge = torch.linspace(-1, 1, _EDGE_POINTS, dtype=torch.float64, device="cpu")
    upper = torch.linspace(0, 1, _EDGE_POINTS // 2, dtype=torch.float64, device="cpu")
    ones = torch.ones_like(upper)
    real = half_real * torch.cat([edge, ones, -ones])
    return torch.complex(real, half_imaginary * torch.cat([torch.ones_like(edge), upper, upper]))


def _ellipse(half_real: float, half_imaginary: float) -> Tensor:
    """Points on the upper half of the ellipse of these half axes."""
    angle = torch.linspace(0, pi, _EDGE_POINTS, dtype=torch.float64, device="cpu")
    return torch.complex(half_real * angle.cos(), half_imaginary * angle.sin())


@dataclass(frozen=True)
class _Applications:
    """Per choice, how many applications reach the tolerance on a region (infinite if none), and the error."""

    number: Tensor
    error: Tensor


def _applications(
    boundary: Tensor,
    choices: list[tuple[int, float]],
    centre: float,
    sign: float,
    tolerance: float,
    *,
    bound: float = 1.0,
    max_growth: float = _MAX_GROWTH,
) -> _Applications:
    steps = torch.tensor([sub_steps for sub_steps, _ in choices], dtype=torch.float64, device="cpu")
    focal = torch.tensor([focal for _, focal in choices], dtype=torch.float64, device="cpu")
    table = [_bessel_coefficients(value, sign) for value in focal.tolist()]
    coefficients = torch.tensor(table, dtype=torch.float64, device="cpu")
    argument = boundary / (steps * focal)[:, None]
    polynomials = [torch.ones_like(argument), argument]
    for _ in range(1, _MAX_DEGREE):
        polynomials.append(2 * argument * polynomials[-1] + sign * polynomials[-2])
    scale = (centre / steps).exp()[:, None]
    terms = scale * (torch.stack(polynomials, 1).abs() * coefficients.abs()[:, :, None]).amax(-1)
    # What comes after each degree; summed from the end, where a difference from e^z would leave round-off.
    later = terms.flip(1).cumsum(1).flip(1)
    error = bound * torch.cat([later[:, 1:], torch.full_like(later[:, :1], torch.inf)], 1)
    growth = terms.cummax(1).values
    allowed = (error <= tolerance / steps[:, None]) & (growth <= max_growth)
    degrees = torch.arange(error.shape[1], dtype=torch.float64, device="cpu")
    # The last degrees have too little after them to be judged by.
    inside = (degrees > 0) & (degrees < _MAX_DEGREE - _TAIL)
    number = torch.where(allowed & inside, steps[:, None] * degrees, torch.inf)
    first = number.argmin(1, keepdim=True)
    return _Applications(number.gather(1, first)[:, 0], steps * error.gather(1, first)[:, 0])


def chebyshev_series(
    double: Callable[[Tensor], Tensor],
    vector: Tensor,
    plan: ExponentialPlan,
    part_axes: tuple[int, ...],
    step: Callable[[Tensor, Tensor, float], Tensor] | None = None,
) -> list[Tensor] | None:
    """Return U_0 v, U_1 v, … of one sub-step of a plan, as far as its sum needs them (`summed`).

    Nothing is returned where terms grow so large that round-off would show.

    The plan's degree bounds the error for certain. The series ends earlier where, by the size of its last
    polynomials, no more than half the tolerance is to come even if they grow half as fast again. A term that is
    not finite counts as infinitely large.

    Args:
        double: The function v ↦ 2W v of the plan.
        vector: Several vectors side by side, each to be exact to the tolerance for itself.
        plan: The plan.
        part_axes: Axes of the tensor over which each of them extends.
        step: The function (v, u, s) ↦ 2W v + s u, where it costs less than that of `double` and a sum.

    Returns:
        The polynomials.

    Source: own.
    """
    coefficients, allowed = plan.coefficients, _REST * plan.tolerance / plan.sub_steps
    start = part_norms(vector, part_axes).clamp_min(torch.finfo(torch.float64).tiny)
    polynomials = [vector, 0.5 * double(vector)]
    sizes: list[float] = []
    for degree, coefficient in enumerate(coefficients[2:], 2):
        current = (
            torch.add(double(polynomials[-1]), polynomials[-2], alpha=plan.sign)
            if step is None
            else step(polynomials[-1], polynomials[-2], plan.sign)
        )
        polynomials.append(current)
        if abs(coefficient) > _NEARLY * plan.tolerance:
            continue
        sizes.append(float((part_norms(current, part_axes) / start).max()))
        if not sizes[-1] < inf:
            return None
        if len(sizes) >= 3 and _rest(coefficients[degree + 1 :], sizes) <= allowed:
            break
    size = sizes[-1] if sizes else float((part_norms(polynomials[-1], part_axes) / start).max())
    limit = _MAX_GROWTH * (_CROUZEIX if plan.is_cautious else 1)
    # Written so that NaN fails.
    if not (size < inf and _growth(coefficients[: len(polynomials)], size) <= limit):
        return None
    return polynomials


def summed(coefficients: tuple[float, ...], polynomials: list[Tensor]) -> Tensor:
    """Return Σ_n c_n U_n v.

    Args:
        coefficients: c_0, c_1, … of a plan; those behind the last polynomial are not needed.
        polynomials: U_0 v, U_1 v, …

    Examples:
        >>> summed((1.0, 2.0, 4.0), [torch.ones(2), torch.ones(2)])
        tensor([3., 3.])
    """
    result = coefficients[0] * polynomials[0]
    for coefficient, polynomial in zip(coefficients[1:], polynomials[1:], strict=False):
        result = torch.add(result, polynomial, alpha=coefficient)
    return result


def part_norms(vector: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    """Return the norm of every vector of several side by side, in double precision and without gradient.

    Args:
        vector: The vectors.
        axes: Axes over which each extends; all if None.
    """
    # Squares of small or large vectors leave the range of single precision.
    fixed = vector.detach() if vector.requires_grad else vector
    return torch.linalg.vector_norm(
        fixed, dim=axes, dtype=torch.complex128 if fixed.is_complex() else torch.float64
    )


def _rest(coefficients: tuple[float, ...], sizes: list[float]) -> float:
    """What the terms still to come add up to, from the sizes of the last polynomials."""
    # One polynomial may pass through zero, two in a row do not.
    before, now = max(sizes[-3:-1]), max(sizes[-2:])
    ratio = _FASTER * max(now / max(before, 1e-300), 1.0)
    rest, size = 0.0, now
    for coefficient in coefficients:
        size *= ratio
        rest += abs(coefficient) * size
    return rest


def _growth(coefficients: tuple[float, ...], size: float) -> float:
    """Largest term of a series whose last polynomial has this size, if they grew evenly."""
    last = len(coefficients) - 1
    return max(abs(value) * size ** (degree / last) for degree, value in enumerate(coefficients))


def exponential_action(
    build: Callable[[float, float], Callable[[Tensor], Tensor]],
    vector: Tensor,
    plan: ExponentialPlan,
    time: float,
    *,
    part_axes: tuple[int, ...],
    sizes: list[Tensor] | None = None,
) -> Tensor | None:
    """Return exp(time · A) v along a plan, or nothing where a sub-step fails (see `chebyshev_series`).

    Args:
        build: ``build(scale, shift)`` returns the function v ↦ scale · A v − shift · v; called once, so
            that the numbers can be folded into the operators.
        vector: Any tensor that those functions take.
        plan: Plan made for time · A.
        time: Duration.
        part_axes: Axes over which one vector extends; others hold several, each exact to the tolerance.
        sizes: Takes the norms of gradients that pass the polynomials backwards, if given.

    Returns:
        The evolved tensor, differentiable in everything that ``build`` closes over and in the vector.

    Source: own (Chebyshev recurrence).

    Examples:
        >>> A = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
        >>> plan = plan_exponential(FieldOfValues(0.0, 0.0, 3.2), 1e-12)
        >>> action = lambda scale, shift: lambda v: scale * (A @ v) - shift * v
        >>> start = torch.tensor([1.0, 0.0], dtype=torch.float64)
        >>> exponential_action(action, start, plan, 3.141592653589793, part_axes=(0,)).round(decimals=9)
        tensor([-1., -0.], dtype=torch.float64)
    """
    double = build(time * plan.scale, plan.shift)
    for _ in range(plan.sub_steps):
        polynomials = chebyshev_series(double, vector, plan, part_axes)
        if polynomials is None:
            return None
        vector = summed(plan.coefficients, polynomials)
        if sizes is not None:
            for polynomial in polynomials[::WATCHED]:
                if polynomial.requires_grad:
                    polynomial.register_hook(lambda grad: sizes.append(part_norms(grad, part_axes)))
    return vector


def overflow_error() -> ArgumentError:
    """Return the error for a series that fails although nothing was assumed, in double precision."""
    return ArgumentError(
        "Arguments `lindbladian` and the state must be finite and of moderate size, but numbers on the way are not, "
        "even in double precision; look for NaN, or choose other units."
    )


def default_tolerance(dtype: torch.dtype) -> float:
    """Return the default error of exact evolutions: 1e-6 for complex64, 1e-12 for complex128.

    Args:
        dtype: Complex dtype.

    Examples:
        >>> default_tolerance(torch.complex64)
        1e-06
    """
    return 1e-12 if dtype == torch.complex128 else 1e-6
