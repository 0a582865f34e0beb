"""Exponential of a dense matrix, with a cheap derivative."""

from math import ceil, exp, factorial, log2

import torch
from torch import Tensor

from qinn.errors import ArgumentError

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
