"""Exact expectations of sums of independent uniform variables, X = Σ a_i U_i with U_i uniform on [-1, 1].

Averaging a function over one term a U replaces it by the central difference of its antiderivative F,
(F(x + a) − F(x − a)) / 2a. Doing so for every term leaves a sum over all 2ⁿ sign vectors σ of the n-fold
antiderivative at x + σ·a, with weight Π σ_i / Π 2a_i. Source: own; the density is the classical
Irwin–Hall (1927) formula for unequal widths.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64


def _averaged(
    widths: Sequence[float], antiderivative: Callable[[np.ndarray, int], np.ndarray], x: np.ndarray
) -> np.ndarray:
    used = np.array([width for width in widths if width > 0])
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(used))))
    weights = signs.prod(axis=1) / np.prod(2 * used)
    return np.asarray(antiderivative(np.asarray(x)[..., None] + signs @ used, len(used)) @ weights)


def mean_absolute(widths: Sequence[float], about: float = 0.0) -> float:
    """Return E|X + c|; the n-fold antiderivative of |x| is xⁿ|x| / (n + 1)!.

    Args:
        widths: The a_i ≥ 0; zeros are ignored.
        about: c.

    Examples:
        >>> mean_absolute([1.0])
        0.5
        >>> round(mean_absolute([1.0, 1.0]), 6)
        0.666667
    """
    if not any(widths):
        return abs(about)
    return float(_averaged(widths, lambda x, n: x**n * np.abs(x) / math.factorial(n + 1), np.array(about)))


def density(widths: Sequence[float], x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return the density of X at x; at least one width must be positive.

    Examples:
        >>> density([2.0], np.array([0.0, 3.0])).tolist()
        [0.25, 0.0]
    """
    return _averaged(widths, lambda y, n: (y > 0) * y ** (n - 1) / math.factorial(n - 1), x)


def distribution(widths: Sequence[float], x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return P(X ≤ x); at least one width must be positive.

    Examples:
        >>> distribution([1.0, 1.0], np.array([-2.0, 0.0, 2.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return _averaged(widths, lambda y, n: np.maximum(y, 0) ** n / math.factorial(n), x)


def same_sign(known: Sequence[float], unknown: Sequence[float]) -> float:
    """Return P(sign K = sign(K + R)) for independent sums K and R with the given widths.

    2 ∫₀^∞ f_K(k) P(R ≤ k) dk, since R is symmetric. Both factors are polynomials between the knots |σ·a|, so
    Gauss–Legendre quadrature of each piece is exact.

    Args:
        known: Widths of K; without one K is 0 and the sign is a guess.
        unknown: Widths of R.

    Examples:
        >>> round(same_sign([1.0], [1.0]), 9)
        0.75
    """
    if not any(known):
        return 0.5
    if not any(unknown):
        return 1.0
    knots = {0.0}
    for widths in (known, unknown):
        used = [width for width in widths if width > 0]
        knots |= {abs(float(np.dot(sign, used))) for sign in itertools.product((1, -1), repeat=len(used))}
    top = sum(known)
    edges = np.array(sorted(knot for knot in knots if knot <= top))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    middle, half = (edges[1:] + edges[:-1])[:, None] / 2, (edges[1:] - edges[:-1])[:, None] / 2
    k = middle + half * nodes
    return float(2 * np.sum(half * weights * density(known, k) * distribution(unknown, k)))
