"""Action of the exponential of a generator on vectors, with a planned error (Chebyshev series with sub-steps)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, frexp, ldexp

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

    Example:
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
    """

    sub_steps: int
    centre: float
    focal: float
    sign: float
    coefficients: tuple[float, ...]
    error: float

    @property
    def num_applications(self) -> int:
        """How often the generator is applied."""
        return self.sub_steps * (len(self.coefficients) - 1)


# Crouzeix and Palencia: ‖p(A)‖ ≤ (1 + √2) max |p| over the field of values.
_CROUZEIX = 1 + 2**0.5
_MAX_DEGREE = 96
_EDGE_POINTS = 24
_REACHES = (30, 20, 14, 10, 7, 5, 3, 2, 1)
# Largest intermediate over result: beyond this, round-off in the sum would show.
_MAX_GROWTH = 300.0


def _round_up(value: float) -> float:
    """Round a non-negative number up to four significant bits, so that plans are shared while a model trains."""
    if value == 0:
        return 0.0
    mantissa, exponent = frexp(value)
    return ldexp(ceil(mantissa * 16) / 16, exponent)


def plan_exponential(field: FieldOfValues, tolerance: float) -> ExponentialPlan:
    """Choose sub-steps and degree of the series for exp(A) with error at most ``tolerance``.

    The error of a polynomial p is bounded by (1 + √2) max |p(z) − e^z| over the field of values (its
    boundary is sampled); the plan with the fewest applications of A is taken.

    Args:
        field: Rectangle that holds the field of values of A (time included).
        tolerance: Largest allowed error relative to the norm of the vector.

    Returns:
        The plan.

    Raises:
        ArgumentError: If the tolerance is not positive or the field is not finite.

    Source: M. Crouzeix and C. Palencia, SIAM J. Matrix Anal. Appl. 38 (2017) 649; own search.

    Example:
        >>> plan_exponential(FieldOfValues(-2.0, 0.0, 6.0), 1e-6).num_applications
        21
    """
    if not tolerance > 0:
        raise ArgumentError(f"Argument `tolerance` must be positive, but it is {tolerance}.")
    bounds = (field.real_low, field.real_high, field.imaginary)
    if not all(abs(bound) < float("inf") for bound in bounds):
        raise ArgumentError(
            "Argument `lindbladian` must be finite, but its norm is not; check the parameters for NaN or overflow."
        )
    centre = 0.5 * (field.real_low + field.real_high)
    return _plan(
        centre, _round_up(0.5 * (field.real_high - field.real_low)), _round_up(field.imaginary), tolerance
    )


@lru_cache(maxsize=256)
def _relative_plan(half_real: float, half_imaginary: float, tolerance: float) -> ExponentialPlan:
    """Plan for a rectangle centred at zero; the centre only multiplies the result."""
    radius = max(half_real, half_imaginary, 1e-3)
    sign = -1.0 if half_real >= half_imaginary else 1.0
    choices = [
        (sub_steps, fraction * radius / sub_steps)
        for sub_steps in sorted({max(1, ceil(radius / reach)) for reach in _REACHES})
        for fraction in (1.0, 0.8, 0.6, 0.4)
    ]
    coefficients = torch.tensor(
        [_bessel_coefficients(focal, sign) for _, focal in choices], dtype=torch.float64
    )
    steps = torch.tensor([sub_steps for sub_steps, _ in choices], dtype=torch.float64)
    error, growth = _errors(half_real / steps, half_imaginary / steps, choices, sign, coefficients)
    allowed = (error <= tolerance / steps[:, None]) & (
        growth <= _MAX_GROWTH * (half_real / steps).exp()[:, None]
    )
    applications = torch.where(allowed, steps[:, None] * torch.arange(1, error.shape[1] + 1), torch.inf)
    best = int(applications.argmin())
    row, column = divmod(best, error.shape[1])
    if not bool(allowed[row, column]):
        raise ArgumentError(
            f"Argument `tolerance` is {tolerance:.1g}, but that is below what the series can reach; choose a larger one."
        )
    sub_steps, focal = choices[row]
    kept = tuple(coefficients[row, : column + 2].tolist())
    return ExponentialPlan(sub_steps, 0.0, focal, sign, kept, float(error[row, column]) * sub_steps)


def _bessel_coefficients(focal: float, sign: float) -> list[float]:
    """Coefficients (2 − δ_n0) J_n(focal) for sign = +1, I_n(focal) for sign = −1, each to full relative accuracy."""
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


def _errors(
    half_real: Tensor,
    half_imaginary: Tensor,
    choices: list[tuple[int, float]],
    sign: float,
    coefficients: Tensor,
) -> tuple[Tensor, Tensor]:
    """Error bound and largest term, per choice and degree 1 …, on the boundary of each choice's rectangle."""
    edge = torch.linspace(-1, 1, _EDGE_POINTS, dtype=torch.float64)
    upper = torch.linspace(0, 1, _EDGE_POINTS // 2, dtype=torch.float64)
    ones = torch.ones_like(upper)
    real = half_real[:, None] * torch.cat([edge, ones, -ones])
    imaginary = half_imaginary[:, None] * torch.cat([torch.ones_like(edge), upper, upper])
    boundary = torch.complex(real, imaginary)
    argument = boundary / torch.tensor([focal for _, focal in choices], dtype=torch.float64)[:, None]
    polynomials = [torch.ones_like(argument), argument]
    for _ in range(1, _MAX_DEGREE):
        polynomials.append(2 * argument * polynomials[-1] + sign * polynomials[-2])
    terms = torch.stack(polynomials, 1) * coefficients[:, :, None]
    deviation = (terms.cumsum(1) - boundary.exp()[:, None]).abs().amax(-1)
    growth = terms.abs().amax(-1).cummax(1).values
    return (_CROUZEIX * deviation)[:, 1:], growth[:, 1:]


def _plan(centre: float, half_real: float, half_imaginary: float, tolerance: float) -> ExponentialPlan:
    # The error is scaled by e^centre; where that is tiny a coarser series would do, but it is never needed.
    plan = _relative_plan(half_real, half_imaginary, tolerance / max(1.0, _power_of_two_above(centre)))
    scale = exp(centre / plan.sub_steps)
    return ExponentialPlan(
        plan.sub_steps,
        centre / plan.sub_steps,
        plan.focal,
        plan.sign,
        tuple(scale * coefficient for coefficient in plan.coefficients),
        plan.error * max(1.0, exp(centre)),
    )


def _power_of_two_above(centre: float) -> float:
    return ldexp(1.0, max(0, ceil(centre / 0.6931471805599453)))


def exponential_action(
    build: Callable[[float, float], Callable[[Tensor], Tensor]],
    vector: Tensor,
    plan: ExponentialPlan,
    time: float,
) -> Tensor:
    """Return exp(time · A) v along a plan.

    Args:
        build: ``build(scale, shift)`` returns the function v ↦ scale · A v − shift · v; called once, so that
            the numbers can be folded into the operators.
        vector: Any tensor that those functions take.
        plan: Plan made for time · A.
        time: Duration.

    Returns:
        The evolved tensor, differentiable in everything that ``build`` closes over and in the vector.

    Source: own (Chebyshev recurrence).

    Example:
        >>> A = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
        >>> plan = plan_exponential(FieldOfValues(0.0, 0.0, 3.2), 1e-12)
        >>> action = lambda scale, shift: lambda v: scale * (A @ v) - shift * v
        >>> start = torch.tensor([1.0, 0.0], dtype=torch.float64)
        >>> exponential_action(action, start, plan, 3.141592653589793).round(decimals=9)
        tensor([-1., -0.], dtype=torch.float64)
    """
    # Twice the scaled generator, as the recurrence needs it.
    double = build(2 * time / (plan.sub_steps * plan.focal), 2 * plan.centre / plan.focal)
    for _ in range(plan.sub_steps):
        previous, current = vector, 0.5 * double(vector)
        result = plan.coefficients[0] * previous + plan.coefficients[1] * current
        for coefficient in plan.coefficients[2:]:
            previous, current = current, torch.add(double(current), previous, alpha=plan.sign)
            result = torch.add(result, current, alpha=coefficient)
        vector = result
    return vector


def default_tolerance(dtype: torch.dtype) -> float:
    """Return the default error of exact evolutions: 1e-6 for complex64, 1e-12 for complex128.

    Args:
        dtype: Complex dtype.

    Returns:
        The tolerance.

    Example:
        >>> default_tolerance(torch.complex64)
        1e-06
    """
    return 1e-12 if dtype == torch.complex128 else 1e-6
