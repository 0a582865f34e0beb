"""Exponentials of a generator together with their derivative along every parameter."""

from math import ceil, log2

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.numerics.matrix_exponential import norm_bound

# A Taylor polynomial of this degree, for norms up to a half: 0.5¹⁴/14! = 7e-16.
_DEGREE = 14
# Beyond it round-off of the parameters alone changes every phase.
_MOST_SQUARINGS = 40


def _squarings(generator: Tensor, time: float) -> int | None:
    norm = norm_bound(generator) * time
    if not norm < 2.0**_MOST_SQUARINGS:
        return None
    return max(0, ceil(log2(norm)) + 1) if norm > 0 else 0


def exponential(generator: Float[Tensor, "n n"], time: float) -> Float[Tensor, "n n"]:
    """Return exp(𝓛t), differentiable any number of times, also by batches of gradients.

    Args:
        generator: 𝓛.
        time: Duration t ≥ 0.

    Returns:
        The exponential; NaN where ‖𝓛‖t is infinite or absurd.
    """
    squarings = _squarings(generator, time)
    if squarings is None:
        return torch.full_like(generator, float("nan"))
    step = generator * (time / 2**squarings)
    identity = torch.eye(len(step), dtype=step.dtype)
    result = identity + step / _DEGREE
    for order in range(_DEGREE - 1, 0, -1):
        result = identity + step @ result / order
    for _ in range(squarings):
        result = result @ result
    return result


def exponential_with_derivative(
    generator: Float[Tensor, "n n"], directions: Float[Tensor, "n parameter n"], time: float
) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n parameter n"]]:
    """Return exp(𝓛t) and its derivatives along 𝓖_p.

    The product rule along Horner's scheme and every squaring. With the parameter on the middle axis either factor of
    a product is one matrix product for all parameters.

    Args:
        generator: 𝓛.
        directions: 𝓖_p.
        time: Duration t ≥ 0.

    Raises:
        ArgumentError: If ‖𝓛‖t is infinite or absurd.

    Source: own.
    """
    squarings = _squarings(generator, time)
    if squarings is None:
        raise ArgumentError(
            f"Argument `data` must be of moderate times, but norm times time of the generator is above "
            f"2^{_MOST_SQUARINGS} at time {time:.3g}; measure time in larger units."
        )
    size = len(generator)
    scale = time / 2**squarings
    step, changes = generator * scale, directions * scale
    identity = torch.eye(size, dtype=step.dtype)
    result, derivative = identity + step / _DEGREE, changes / _DEGREE
    for order in range(_DEGREE - 1, 0, -1):
        derivative = (changes @ result + _left(step, derivative)) / order
        result = identity + step @ result / order
    for _ in range(squarings):
        derivative = derivative @ result + _left(result, derivative)
        result = result @ result
    return result, derivative


def _left(matrix: Tensor, derivatives: Tensor) -> Tensor:
    return (matrix @ derivatives.flatten(1)).reshape(derivatives.shape)
