"""The two ways to apply a generator: by its operators, and as one matrix."""

import pytest
import torch

from qinn.quantum import Lindbladian
from qinn.quantum.generators.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.numerics import actions

DIM, PARTS = 5, 3


@pytest.fixture
def operators():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, DIM, DIM, dtype=torch.float64, generator=generator)


def state_of(action, coordinates):
    """Coordinates (part, D, D) as an action takes them."""
    flat = isinstance(action, actions.Superoperator)
    return coordinates.flatten(1) if flat else coordinates.transpose(0, 1).contiguous()


def coordinates_of(action, state):
    flat = isinstance(action, actions.Superoperator)
    return state.view(PARTS, DIM, DIM) if flat else state.transpose(0, 1)


def both(operators):
    return operators, actions.superoperator_of(operators, transposed=True)


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(PARTS, DIM, DIM, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("together", [0, 10**9])
def test_both_are_the_map_on_hermitian_matrices_and_its_adjoint(operators, together, monkeypatch):
    monkeypatch.setattr(actions, "_MOST_TOGETHER", together)
    matrices, others, before = from_real_coordinates(drawn(1) + 0j), drawn(2), drawn(3)
    flow, *jumps = torch.complex(operators[:, 0], operators[:, 1])
    image = flow @ matrices + matrices @ flow.mH + sum(L @ matrices @ L.mH for L in jumps)
    wanted = real_coordinates(image).real - 2 * before
    for numbers in both(operators):
        action, adjoint = actions.action_of(numbers), actions.adjoint_of(numbers)
        start, end = state_of(action, drawn(1)), state_of(action, others)
        found = action.image(start, state_of(action, before), -2.0)
        assert torch.allclose(coordinates_of(action, found), wanted, atol=1e-12)
        assert float((action.image(start) * end).sum() - (start * adjoint.image(end)).sum()) == (
            pytest.approx(0, abs=1e-10)
        )


@pytest.mark.parametrize("together", [0, 10**9])
def test_the_gradient_by_pairs_is_that_of_autograd(operators, together, monkeypatch):
    monkeypatch.setattr(actions, "_MOST_TOGETHER", together)
    for numbers in both(operators):
        numbers = numbers.clone().requires_grad_()
        action = actions.action_of(numbers.detach())
        pairs = [[state_of(action, drawn(seed)) for seed in (place, place + 5)] for place in (1, 2)]
        value = sum((actions.applied(numbers, left) * right).sum() for left, right in pairs)
        adjoint = actions.adjoint_of(numbers.detach())
        for left, right in pairs:
            adjoint.image(right)
            adjoint.weigh(left, right)
        assert torch.allclose(adjoint.gradient(), torch.autograd.grad(value, numbers)[0], atol=1e-12)


def test_a_rescaled_map_is_a_multiple_and_a_number(operators):
    for numbers in both(operators):
        start = state_of(actions.action_of(numbers), drawn(4))
        wanted = 0.3 * actions.applied(numbers, start) - 1.7 * start
        assert torch.allclose(
            actions.applied(actions.rescaled(numbers, 0.3, -1.7), start), wanted, atol=1e-12
        )


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_the_real_matrix_is_the_complex_superoperator_in_real_coordinates(batch):
    generator = torch.Generator().manual_seed(6)
    free, L = (
        torch.randn(*batch, *shape, dtype=torch.complex128, generator=generator)
        for shape in ((DIM, DIM), (2, DIM, DIM))
    )
    dynamics = Lindbladian(free + free.mH, L)
    complex_ones = dynamics.superoperator().expand(*batch, DIM**2, DIM**2)
    columns = from_real_coordinates(torch.eye(DIM**2, dtype=torch.complex128).view(-1, DIM, DIM))
    images = complex_ones @ columns.flatten(1).mT
    wanted = real_coordinates(images.mT.unflatten(-1, (DIM, DIM))).flatten(-2).mT
    assert torch.allclose(superoperator_on_real_coordinates(dynamics) + 0j, wanted, atol=1e-12)


def test_what_was_kept_for_inference_can_be_differentiated():
    actions._couplings.cache_clear()
    with torch.inference_mode():
        actions.superoperator_of(torch.ones(2, 2, 3, 3))
    free = torch.ones(2, 2, 3, 3, requires_grad=True)
    assert bool(torch.isfinite(torch.autograd.grad(actions.superoperator_of(free).sum(), free)[0]).all())
