"""Exponentials of dense matrices: each with a cheap derivative, or those of many multiples of it."""

from functools import lru_cache
from math import ceil, exp, factorial, lgamma, log, log2

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError

# Coefficients of the Taylor polynomial of degree 8 in three products (Bader, Blanes and Casas, table 3).
_ROOT = 177**0.5
_X3 = 2 / 3
_X1, _X2 = _X3 * (1 + _ROOT) / 88, _X3 * (1 + _ROOT) / 352
_X4, _X5 = (-271 + 29 * _ROOT) / (315 * _X3), 11 * (-1 + _ROOT) / (1260 * _X3)
_X6, _X7 = 11 * (-9 + _ROOT) / (5040 * _X3), (89 - _ROOT) / (5040 * _X3**2)
_Y2 = (857 - 58 * _ROOT) / 630
# With a larger norm, round-off of the matrix itself changes every phase of its exponential.
_MAX_NORM = 2.0**40
# Products that either polynomial costs.
_PRODUCTS = {8: 3, 16: 6}
# In products, what the sums of degree 16 take beyond those of degree 8; and where accuracy decides.
_SUMS = 4
_LARGE_NORM, _FINE = 64.0, 1e-9
# Squarings from which on what is conserved is restored after each.
_MANY_SQUARINGS = 10
# The squares of what is smaller are nothing.
_TINY = 1e-150
# Of many multiples at once: the degree of their polynomial, products with powers made once being cheap beside the
# squaring of every one's matrix, and the largest ‖A‖t without squaring, for which θ^25/25! e^θ is below 1e-12.
_DEGREE, _LONGEST = 24, 3.0
# Round-off that no number of squarings avoids, per unit of norm.
_ROUND_OFF = 4 * torch.finfo(torch.float64).eps


def _taylor_error(theta: float, degree: int) -> float:
    """Bound of |e^z − T_n(z)| and of its derivative, the larger one, for |z| = θ < n + 1."""
    return exp(theta) * theta**degree / factorial(degree)


def _squarings(norm: float, tolerance: float, degree: int) -> int:
    number = max(0, ceil(log2(norm))) if norm > 0 else 0
    while 2**number * _taylor_error(norm / 2**number, degree) > tolerance:
        number += 1
    return number


def plan_squarings(norm: float, tolerance: float) -> tuple[int, int]:
    """Return the degree and the number of squarings by which `matrix_exponential` takes the least time.

    Args:
        norm: Finite bound of the norm of the matrix.
        tolerance: Largest truncation error.

    Returns:
        Degree 8 or 16, and the squarings.

    Examples:
        >>> plan_squarings(3.0, 1e-6), plan_squarings(3e6, 1e-12)
        ((8, 3), (16, 22))
    """
    reachable = max(tolerance, _ROUND_OFF * norm)
    few, many = (_squarings(norm, reachable, degree) for degree in _PRODUCTS)
    # Every squaring doubles the round-off, which shows where much is asked of large norms. Otherwise sums of small
    # matrices take as long as their products, and the higher degree has many.
    if (norm > _LARGE_NORM and tolerance < _FINE) or many + _PRODUCTS[16] + _SUMS < few + _PRODUCTS[8]:
        return 16, many
    return 8, few


def num_products(norm: float, tolerance: float) -> int:
    """Return how many products of matrices `matrix_exponential` makes; arguments as in `plan_squarings`."""
    degree, squarings = plan_squarings(norm, tolerance)
    return _PRODUCTS[degree] + squarings


def norm_bound(matrix: Tensor) -> float:
    """Return √(‖A‖_1 ‖A‖_∞), a bound of the spectral norm; of many matrices (…, n, n) the largest."""
    bounds = _norm_bounds(matrix)
    return float(bounds if matrix.ndim == 2 else bounds.max())


def _norm_bounds(matrix: Tensor) -> Tensor:
    sizes = matrix.detach().abs()
    return (sizes.sum(-2).amax(-1) * sizes.sum(-1).amax(-1)).sqrt()


def matrix_exponential(matrix: Tensor, tolerance: float, conserved: Tensor | None = None) -> Tensor:
    """Return exp(A) of square matrices by a Taylor polynomial and repeated squaring.

    Its derivative costs two products for every product, where that of `torch.linalg.matrix_exp` works on
    a matrix of twice the size. For A/2^s of norm θ the truncation error of degree n is bounded by 2^s e^θ
    θ^(n+1)/(n+1)! and that of the derivative by 2^s e^θ θ^n/n!, with ‖A‖ ≤ √(‖A‖_1 ‖A‖_∞), as long as no power
    of exp(A/2^s) is larger than 1, as for a contraction; n = 8 or 16 and s are those of the least time for
    which both are below the tolerance. Squarings multiply round-off: the error is some 1e-15 ‖A‖ at least. Many
    matrices are worked on in groups of about the same norm.

    Args:
        matrix: Real or complex matrix, in double precision, or many (…, n, n).
        tolerance: Largest truncation error, also of the derivative.
        conserved: A real vector t with tᵀA = 0, so that tᵀexp(A) = tᵀ: where there are many squarings this is
            restored after each, so that the one mode that never decays stays exact at any time.

    Returns:
        The exponential, differentiable twice.

    Raises:
        ArgumentError: If the matrix is not finite, or so large that no digit of a phase is right.

    Source: P. Bader, S. Blanes, F. Casas, Mathematics 7 (2019) 1174, eq. 10; M. S. Paterson, L. J. Stockmeyer, SIAM
        J. Comput. 2 (1973) 60.

    Examples:
        >>> matrix_exponential(torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double(), 1e-12)
        tensor([[1., 1.],
                [0., 1.]], dtype=torch.float64)
    """
    if matrix.ndim > 2:
        found = _exponentials(matrix.flatten(0, -3), tolerance, conserved)
        return found.reshape(matrix.shape)
    norm = norm_bound(matrix)
    _check_norm(norm)
    return _exponential(matrix, *plan_squarings(norm, tolerance), conserved)


def _check_norm(norm: float) -> None:
    if not norm < float("inf"):
        raise ArgumentError(
            "Argument `lindbladian` must be finite, but its norm times the time is not; look for NaN or overflow."
        )
    if not norm < _MAX_NORM:
        raise ArgumentError(
            f"Argument `time` must be moderate, but norm times time of the generator is {norm:.3g}, where round-off "
            f"of the operators alone changes every phase; keep it below {_MAX_NORM:.1g}, or use `find_attractor`."
        )


def _exponentials(matrices: Tensor, tolerance: float, conserved: Tensor | None) -> Tensor:
    """`matrix_exponential` of matrices along one axis."""
    if matrices.numel() == 0:
        return matrices
    norms = _norm_bounds(matrices).tolist()
    # Written so that NaN counts as largest.
    largest = max(norms, key=lambda norm: norm if norm == norm else float("inf"))
    _check_norm(largest)
    degree, most = plan_squarings(largest, tolerance)
    # No matrix is squared much more often than it needs: squarings multiply round-off.
    counts = [_squarings_of(norm, tolerance, degree) for norm in norms]
    if min(counts) >= most - 1:
        return _exponential(matrices, degree, most, conserved)
    parts, places = [], []
    left = list(range(len(norms)))
    while left:
        most = max(counts[place] for place in left)
        chosen = [place for place in left if counts[place] >= most - 1]
        left = [place for place in left if counts[place] < most - 1]
        places += chosen
        group = matrices.index_select(0, torch.tensor(chosen, device=matrices.device))
        parts.append(_exponential(group, degree, most, conserved))
    return torch.cat(parts).index_select(0, torch.tensor(places, device=matrices.device).argsort())


@lru_cache(maxsize=4096)
def _squarings_of(norm: float, tolerance: float, degree: int) -> int:
    return _squarings(norm, max(tolerance, _ROUND_OFF * norm), degree)


def _exponential(matrix: Tensor, degree: int, squarings: int, conserved: Tensor | None) -> Tensor:
    """exp(A) along a plan; leading axes are those of many matrices."""
    A = matrix * 0.5**squarings
    result = _degree_8(A) if degree == 8 else _degree_16(A)
    for _ in range(squarings):
        result = result @ result
        if squarings < _MANY_SQUARINGS:
            continue
        # Subnormal numbers, which decay leaves behind, are slow to multiply. Both changes are round-off: the gradient
        # does not see them.
        fixed = result.detach()
        change = -torch.where(fixed.abs() < _TINY, fixed, 0.0)
        if conserved is not None:
            lost = conserved - fixed.mT @ conserved
            change = change + (conserved / conserved.dot(conserved))[:, None] * lost[..., None, :]
        result = result + change
    return result


def exponentials_of_multiples(
    matrix: Tensor, multiples: Float[Tensor, " multiple"]
) -> Float[Tensor, "multiple *batch n n"]:
    """Return exp(A t) of a matrix and many t at once, exact to round-off.

    With h the largest t over 2^s, ‖A‖h ≤ 3, and x = t/(2^s h), it is (Σ_k x^k (A h)^k/k!)^(2^s) with k ≤ 24: the powers
    are made once, and the truncation error is below 2^s · 1e-12. Measured against scipy: 1e-15 up to ‖A‖t = 3, 2e-14 up
    to 100, 7e-13 at 10⁴. A multiple of 0 gives the identity exactly.

    Args:
        matrix: A, in double precision, or many (…, n, n).
        multiples: Numbers t ≥ 0.

    Returns:
        The exponentials, differentiable in A and t.

    Raises:
        ArgumentError: If ‖A‖t is not finite or absurdly large.

    Source: own.

    Examples:
        >>> exponentials_of_multiples(torch.tensor([[0.6931472]]).double(), torch.tensor([0.0, 2.0]).double())
        tensor([[[1.0000]],
        <BLANKLINE>
                [[4.0000]]], dtype=torch.float64)
    """
    largest = float(multiples.detach().amax()) if multiples.numel() else 0.0
    norm = norm_bound(matrix) * largest
    # Written so that NaN fails.
    if not norm < _MAX_NORM:
        raise ArgumentError(
            "Argument `lindbladian` must be finite and moderate, but its norm times the longest interval is "
            f"{norm:.3g}; lower the rates, or measure time in larger units."
        )
    squarings = max(0, ceil(log2(norm / _LONGEST))) if norm > 0 else 0
    scale = largest if largest > 0 else 1.0
    step = matrix * (scale / 2**squarings)
    power = torch.eye(step.shape[-1], dtype=step.dtype, device=step.device).expand(step.shape)
    powers = [power]
    for order in range(1, _degree(norm / 2**squarings) + 1):
        power = power @ step / order
        powers.append(power)
    exponents = torch.arange(len(powers), device=multiples.device)
    coefficients = (multiples.reshape(-1, 1) / scale) ** exponents
    found = (coefficients @ torch.stack(powers).flatten(1)).reshape(-1, *step.shape)
    for _ in range(squarings):
        found = found @ found
    return found


def _degree(norm: float) -> int:
    """Smallest degree n with e^θ θ^n/n! < 1e-16, which bounds the derivative's error too; at most 24."""
    if norm == 0:
        return 1
    for degree in range(2, _DEGREE):
        if norm + degree * log(norm) - lgamma(degree + 1) < log(1e-16):
            return degree
    return _DEGREE


def _degree_8(A: Tensor) -> Tensor:
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    A2 = A @ A
    A4 = A2 @ _plus(_X1 * A, _X2, A2)
    A8 = _plus(A4, _X3, A2) @ _plus(_plus(_plus(_X4 * identity, _X5, A), _X6, A2), _X7, A4)
    return _plus(identity + A, _Y2, A2) + A8


def _plus(total: Tensor, factor: float, term: Tensor) -> Tensor:
    """Return total + factor · term; of many matrices, whose sums take as long as their products, in one pass."""
    return total + factor * term if term.ndim == 2 else torch.add(total, term, alpha=factor)


def _degree_16(A: Tensor) -> Tensor:
    """Σ_n A^n/n! as a polynomial in A⁴ whose coefficients are polynomials of degree 3 (the last one of degree 4)."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    A2 = A @ A
    A3, A4 = A @ A2, A2 @ A2
    powers = (identity, A, A2, A3)
    result = A4 / factorial(16)
    for start in (12, 8, 4, 0):
        part = sum(power / factorial(start + order) for order, power in enumerate(powers))
        result = part + (result if start == 12 else A4 @ result)
    return result
