"""The exponential of small matrices: torch's, to the tolerance, with the derivative of finite differences."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum.numerics.matrix_exponential import matrix_exponential


def contraction(size, scale, seed=0):
    matrix = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return scale * (matrix - matrix.mT - 0.3 * matrix @ matrix.mT) / size**0.5


@pytest.mark.parametrize("tolerance", [1e-6, 1e-12])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 40.0, 3e3])
@pytest.mark.parametrize("size", [1, 4, 25])
def test_it_is_the_exponential_to_the_tolerance(size, scale, tolerance):
    matrix = contraction(size, scale)
    difference = (matrix_exponential(matrix, tolerance) - torch.linalg.matrix_exp(matrix)).abs().max()
    assert float(difference) <= max(tolerance, 1e-15 * scale)


def test_its_derivatives_are_those_of_finite_differences():
    matrix = contraction(3, 2.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda A: matrix_exponential(A, 1e-13), matrix)
    assert torch.autograd.gradgradcheck(lambda A: matrix_exponential(A, 1e-13), matrix)


@pytest.mark.parametrize(
    ("value", "words"),
    [(float("nan"), "finite"), (float("inf"), "finite"), (1e12, "`time` must be moderate")],
)
def test_what_no_squaring_can_reach_is_refused(value, words):
    with pytest.raises(ArgumentError, match=words):
        matrix_exponential(torch.full((2, 2), value, dtype=torch.float64), 1e-6)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-12])
def test_its_derivative_has_the_error_asked_for_at_every_size(tolerance):
    for exponent in torch.linspace(-3, 1, 81).tolist():
        number = torch.full((1, 1), -(10**exponent), dtype=torch.float64, requires_grad=True)
        value = matrix_exponential(number, tolerance)
        (gradient,) = torch.autograd.grad(value.sum(), number)
        assert float((value - number.exp()).abs().detach()) <= tolerance
        assert float((gradient - number.exp()).abs().detach()) <= tolerance
