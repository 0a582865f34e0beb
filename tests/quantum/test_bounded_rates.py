"""Jump rates that are bounded by construction, and what that bounds."""

import math

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    LearnableLindbladian,
    Lindbladian,
    contraction,
    density_of,
    expected_jumps,
    pauli,
    random_kets,
)


def largest(lindbladian):
    return float(torch.linalg.eigvalsh(lindbladian.total_rate.detach())[-1])


@pytest.mark.parametrize("dim", [1, 2, 9, 24])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("max_rate", [0.1, 2.0, 50.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_parameters_exceed_the_bound(dim, factor, max_rate, dtype):
    module = LearnableLindbladian(dim, 2, max_rate=max_rate, seed=0, dtype=dtype)
    with torch.no_grad():
        module.free_jumps.mul_(factor)
    assert largest(module()) <= max_rate * (1 + 10 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("jump_scale", [0.1, 0.5, 5.0])
def test_the_start_is_that_without_the_bound_below_nine_tenths_of_it(jump_scale):
    free = LearnableLindbladian(8, 2, jump_scale=jump_scale, seed=1, dtype=torch.float64)
    bounded = LearnableLindbladian(8, 2, jump_scale=jump_scale, max_rate=2.0, seed=1, dtype=torch.float64)
    share = min(1.0, 0.9 * 2.0 / largest(free()))
    assert torch.allclose(bounded().jump_operators, free().jump_operators * share**0.5, rtol=1e-12)
    assert torch.equal(bounded().hamiltonian, free().hamiltonian)


def test_operators_without_jumps_or_of_size_zero_are_left_alone():
    assert LearnableLindbladian(3, 0, max_rate=1.0)().num_jumps == 0
    module = LearnableLindbladian(3, 2, jump_scale=0.0, max_rate=1.0)
    module().jump_operators.abs().sum().backward()
    assert not module().jump_operators.any()
    assert module.free_jumps.grad.isfinite().all()


@pytest.mark.parametrize("factor", [1.0, 30.0])
def test_the_gradient_is_that_of_its_differences_and_leads_back(factor):
    module = LearnableLindbladian(3, 2, max_rate=2.0, seed=2, dtype=torch.float64)
    start = module.free_jumps.detach() * factor

    def operators(free):
        return torch.func.functional_call(module, {"free_jumps": free}).jump_operators

    assert torch.autograd.gradcheck(operators, start.requires_grad_())
    rate = torch.linalg.eigvalsh(
        Lindbladian(torch.zeros(3, 3).double(), operators(start), validate=False).total_rate
    )[-1]
    (gradient,) = torch.autograd.grad(rate, start)
    assert float((gradient * start.detach()).sum()) > 0


def test_two_states_stay_apart_as_far_as_the_bound_says():
    time, kets = 1.0, random_kets(40, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        module = LearnableLindbladian(4, 1 + seed % 4, max_rate=2 / time, seed=seed, dtype=torch.float64)
        with torch.no_grad():
            module.free_jumps.mul_(10.0 ** (seed % 3))
        first, second = density_of(kets[:20]), density_of(kets[20:])
        shrunk = contraction(module.requires_grad_(False)(), first, second, time)
        assert float(shrunk.min()) >= math.exp(-4) * (1 - 1e-9)
        assert float(expected_jumps(kets, module(), time=time).max()) <= 2.0


def test_dephasing_at_the_bound_reaches_it():
    dephasing = Lindbladian(torch.zeros(2, 2).double(), 2**0.5 * pauli("Z", dtype=torch.complex128)[None])
    assert largest(dephasing) == pytest.approx(2.0)
    plus, minus = density_of(torch.tensor([[1, 1], [1, -1]], dtype=torch.complex128) * 0.5**0.5)
    assert float(contraction(dephasing, plus, minus, 1.0)) == pytest.approx(math.exp(-4), rel=1e-10)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(ArgumentError, match="`max_rate` must be finite and > 0, or None for no bound"):
        LearnableLindbladian(2, 1, max_rate=bound)
