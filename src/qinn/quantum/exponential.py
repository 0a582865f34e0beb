"""Action of the exponential of a generator on vectors, by Chebyshev series of a planned error."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, factorial, frexp, ldexp, log2

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
        tolerance: The error that was asked for.
    """

    sub_steps: int
    centre: float
    focal: float
    sign: float
    coefficients: tuple[float, ...]
    error: float
    tolerance: float

    @property
    def num_applications(self) -> int:
        """How often the generator is applied."""
        return self.sub_steps * (len(self.coefficients) - 1)


# Crouzeix and Palencia: ‖p(A)‖ ≤ (1 + √2) max |p| over the field of values.
_CROUZEIX = 1 + 2**0.5
_MAX_DEGREE = 96
_EDGE_POINTS = 24
_REACHES = (30, 20, 14, 10, 7, 5, 3.5, 2.5, 1.8, 1.2)
# Largest intermediate over result: beyond this, round-off in the sum would show.
_MAX_GROWTH = 100.0
# What round-off leaves of a sub-step: to ask more of one would refuse every long evolution.
_STEP_ROUND_OFF = 5e-15
# A term this far below the tolerance, twice in a row, ends a sub-step: later ones fall ever faster.
_NEGLIGIBLE = 0.05


def _round_up(value: float) -> float:
    """Round a non-negative number up to four bits, so that plans are shared while a model trains."""
    if value == 0:
        return 0.0
    mantissa, exponent = frexp(value)
    return ldexp(ceil(mantissa * 16) / 16, exponent)


def plan_exponential(field: FieldOfValues, tolerance: float) -> ExponentialPlan:
    """Choose sub-steps and degree of the series for exp(A) with error at most ``tolerance``.

    The error of a polynomial p is bounded by (1 + √2) max |p(z) − e^z| over the field of values (its
    boundary is sampled); the plan with the fewest applications of A is taken. No sub-step is asked for less
    than round-off leaves of it, 5e-15, so that the bound of very long evolutions may exceed the tolerance.

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
        20
    """
    if not tolerance > 0:
        raise ArgumentError(f"Argument `tolerance` must be positive, but it is {tolerance}.")
    bounds = (field.real_low, field.real_high, field.imaginary)
    if not all(abs(bound) < float("inf") for bound in bounds):
        raise ArgumentError(
            "Argument `lindbladian` must be finite, but its norm is not; look for NaN or overflow."
        )
    half_real = _round_up(0.5 * (field.real_high - field.real_low))
    # Never positive: the field of a contraction only has room on the left.
    centre = -_round_up(max(-0.5 * (field.real_low + field.real_high), 0.0)) if half_real > 0 else 0.0
    half_real = max(half_real, _round_up(max(field.real_high - centre, centre - field.real_low)))
    return _plan(centre, half_real, _round_up(field.imaginary), tolerance)


@lru_cache(maxsize=256)
def _plan(centre: float, half_real: float, half_imaginary: float, tolerance: float) -> ExponentialPlan:
    """Plan for a rectangle of given half sizes around a centre on the real axis."""
    radius = max(half_real, half_imaginary, 1e-3)
    sign = -1.0 if half_real >= half_imaginary else 1.0
    choices = [
        (sub_steps, fraction * radius / sub_steps)
        for sub_steps in sorted({max(1, ceil(radius / reach)) for reach in _REACHES})
        for fraction in (1.0, 0.8, 0.6, 0.4)
    ]
    coefficients = torch.tensor(
        [_bessel_coefficients(focal, sign) for _, focal in choices], dtype=torch.float64, device="cpu"
    )
    steps = torch.tensor([sub_steps for sub_steps, _ in choices], dtype=torch.float64, device="cpu")
    error, growth = _errors(half_real / steps, half_imaginary / steps, choices, sign, coefficients)
    scale = (centre / steps).exp()[:, None]
    wanted = tolerance / steps[:, None]
    if tolerance >= _STEP_ROUND_OFF:
        wanted = wanted.clamp(min=_STEP_ROUND_OFF)
    allowed = (scale * error <= wanted) & (scale * growth <= _MAX_GROWTH)
    orders = torch.arange(1, error.shape[1] + 1, device="cpu")
    applications = torch.where(allowed, steps[:, None] * orders, torch.inf)
    best = int(applications.argmin())
    row, column = divmod(best, error.shape[1])
    if not bool(allowed[row, column]):
        raise ArgumentError(
            f"Argument `tolerance` must be within reach of the series, but it is {tolerance:.1g}; "
            "choose a larger one."
        )
    sub_steps, focal = choices[row]
    kept = tuple((scale[row] * coefficients[row, : column + 2]).tolist())
    bound = float(scale[row] * error[row, column]) * sub_steps
    return ExponentialPlan(sub_steps, centre / sub_steps, focal, sign, kept, bound, tolerance)


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


def _errors(
    half_real: Tensor,
    half_imaginary: Tensor,
    choices: list[tuple[int, float]],
    sign: float,
    coefficients: Tensor,
) -> tuple[Tensor, Tensor]:
    """Error bound and largest term, per choice and degree 1 …, on the boundary of each choice's rectangle."""
    edge = torch.linspace(-1, 1, _EDGE_POINTS, dtype=torch.float64, device="cpu")
    upper = torch.linspace(0, 1, _EDGE_POINTS // 2, dtype=torch.float64, device="cpu")
    ones = torch.ones_like(upper)
    real = half_real[:, None] * torch.cat([edge, ones, -ones])
    imaginary = half_imaginary[:, None] * torch.cat([torch.ones_like(edge), upper, upper])
    boundary = torch.complex(real, imaginary)
    focal = torch.tensor([focal for _, focal in choices], dtype=torch.float64, device="cpu")
    argument = boundary / focal[:, None]
    polynomials = [torch.ones_like(argument), argument]
    for _ in range(1, _MAX_DEGREE):
        polynomials.append(2 * argument * polynomials[-1] + sign * polynomials[-2])
    terms = torch.stack(polynomials, 1) * coefficients[:, :, None]
    deviation = (terms.cumsum(1) - boundary.exp()[:, None]).abs().amax(-1)
    growth = terms.abs().amax(-1).cummax(1).values
    return (_CROUZEIX * deviation)[:, 1:], growth[:, 1:]


def exponential_action(
    build: Callable[[float, float], Callable[[Tensor], Tensor]],
    vector: Tensor,
    plan: ExponentialPlan,
    time: float,
    *,
    num_parts: int = 1,
) -> Tensor:
    """Return exp(time · A) v along a plan.

    The plan's degree is a bound; a sub-step ends earlier once two terms in a row are far below the tolerance.

    Args:
        build: ``build(scale, shift)`` returns the function v ↦ scale · A v − shift · v; called once, so
            that the numbers can be folded into the operators.
        vector: Any tensor that those functions take.
        plan: Plan made for time · A.
        time: Duration.
        num_parts: How many independent vectors of similar norm the tensor holds side by side.

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
    negligible = plan.tolerance / plan.sub_steps * _NEGLIGIBLE * _norm(vector) / num_parts**0.5
    for _ in range(plan.sub_steps):
        previous, current = vector, 0.5 * double(vector)
        result = plan.coefficients[0] * previous + plan.coefficients[1] * current
        small_before = False
        for coefficient in plan.coefficients[2:]:
            previous, current = current, torch.add(double(current), previous, alpha=plan.sign)
            result = torch.add(result, current, alpha=coefficient)
            # The polynomials rarely shrink: only small coefficients are worth measuring a term.
            small = abs(coefficient) <= plan.tolerance and abs(coefficient) * _norm(current) <= negligible
            if small and small_before:
                break
            small_before = small
        vector = result
    return vector


# Coefficients of the Taylor polynomial of degree 8 in three products (Bader, Blanes and Casas, table 3).
_ROOT = 177**0.5
_X3 = 2 / 3
_X1, _X2 = _X3 * (1 + _ROOT) / 88, _X3 * (1 + _ROOT) / 352
_X4, _X5 = (-271 + 29 * _ROOT) / (315 * _X3), 11 * (-1 + _ROOT) / (1260 * _X3)
_X6, _X7 = 11 * (-9 + _ROOT) / (5040 * _X3), (89 - _ROOT) / (5040 * _X3**2)
_Y2 = (857 - 58 * _ROOT) / 630
_MAX_SQUARINGS = 24


def _taylor_error(theta: float) -> float:
    """Bound of |e^z − T_8(z)| and of its derivative, the larger one, for |z| = θ < 9."""
    return exp(theta) * theta**8 / factorial(8)


def matrix_exponential(matrix: Tensor, tolerance: float) -> Tensor:
    """Return exp(A) of a square matrix by a Taylor polynomial of degree 8 and repeated squaring.

    Its derivative costs two products for every product, where that of `torch.linalg.matrix_exp` works on
    a matrix of twice the size. For A/2^s of norm θ the truncation error is bounded by 2^s e^θ θ⁹/9! and that
    of the derivative by 2^s e^θ θ⁸/8!, with ‖A‖ ≤ √(‖A‖_1 ‖A‖_∞), as long as no power of exp(A/2^s) is
    larger than 1, as for a contraction; s is the smallest for which both are below the tolerance.

    Args:
        matrix: Real or complex matrix, in double precision: squarings multiply round-off.
        tolerance: Largest truncation error, also of the derivative.

    Returns:
        The exponential, differentiable twice.

    Raises:
        ArgumentError: If the matrix is not finite, or too large for the squarings to stay exact.

    Source: P. Bader, S. Blanes, F. Casas, Mathematics 7 (2019) 1174, eq. 10.

    Example:
        >>> matrix_exponential(torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double(), 1e-12)
        tensor([[1., 1.],
                [0., 1.]], dtype=torch.float64)
    """
    sizes = matrix.detach().abs()
    norm = float((sizes.sum(0).max() * sizes.sum(1).max()).sqrt())
    if not norm < 2.0**_MAX_SQUARINGS:
        raise ArgumentError(
            f"Argument `lindbladian` must be finite and moderate, but its generator has norm {norm:.3g}; look "
            "for NaN or overflow."
        )
    squarings = max(0, ceil(log2(norm))) if norm > 0 else 0
    while 2**squarings * _taylor_error(norm / 2**squarings) > tolerance:
        squarings += 1
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    A = matrix * 0.5**squarings
    A2 = A @ A
    A4 = A2 @ (_X1 * A + _X2 * A2)
    A8 = (_X3 * A2 + A4) @ (_X4 * identity + _X5 * A + _X6 * A2 + _X7 * A4)
    result = identity + A + _Y2 * A2 + A8
    for _ in range(squarings):
        result = result @ result
    return result


def _norm(vector: Tensor) -> float:
    fixed = vector.detach()
    return float(
        torch.linalg.vector_norm(torch.view_as_real(fixed.resolve_conj()) if fixed.is_complex() else fixed)
    )


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
