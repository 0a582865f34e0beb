"""Long evolutions: right to a stated error, at a cost that hardly grows with the time."""

import cmath
import math
from time import process_time

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    Unitary,
    density_of,
    hermitian_from,
    propagate_densities,
    random_kets,
)
from qinn.quantum.generators.unitary_propagation import propagate_unitarily
from qinn.quantum.numerics.turning import turn_by_eigenvectors, unitaries_of

DTYPE = torch.complex128
EPS = torch.finfo(torch.float64).eps


def spin(num_jumps=0):
    """H = 2000 S_z² of a spin 1, whose eigenvalues are exact numbers."""
    hamiltonian = 2000 * torch.diag(torch.tensor([1, 0, 1], dtype=DTYPE))
    return Lindbladian(hamiltonian, torch.zeros(num_jumps, 3, 3, dtype=DTYPE))


START = PureEnsemble(torch.tensor([[1, 1, 0]], dtype=DTYPE) / math.sqrt(2))


@pytest.mark.parametrize("time", [10.0, 1e2, 1e3, 1e4, 1e5])
@pytest.mark.parametrize(
    "evolution", [Unitary(), ExactChannel(), Heisenberg()], ids=lambda e: type(e).__name__
)
def test_a_constant_hamiltonian_turns_phases_exactly_and_at_once(evolution, time):
    started = process_time()
    coherence = evolution.evolve(START, spin(), time=time).density()[0, 1].item()
    assert process_time() - started < 1
    # H and the time are exact here: only the phase itself is rounded.
    assert abs(coherence - cmath.exp(-2000j * time) / 2) <= 4 * EPS


@pytest.mark.parametrize("time", [1e-3, 1.0, 10.0, 1e3, 1e5])
@pytest.mark.parametrize("num_jumps", [1, 2])
def test_the_error_with_jump_operators_is_the_stated_one(num_jumps, time):
    """1e-12 + 2e-16 ‖𝓛‖t, by squaring the channel."""
    coherence = ExactChannel().evolve(START, spin(num_jumps), time=time).density()[0, 1].item()
    assert abs(coherence - cmath.exp(-2000j * time) / 2) <= 1e-12 + 2e-16 * 4000 * time


@pytest.mark.parametrize("dim", [3, 9, 16])
@pytest.mark.parametrize("time", [1e2, 1e4, 1e6])
def test_a_random_open_system_is_right_at_any_time(dim, time):
    """Against the eigenvectors of the generator: what decays is gone, the steady state is there."""
    dynamics = LearnableLindbladian(dim, 2, seed=dim, dtype=torch.float64).requires_grad_(False)()
    start = density_of(random_kets(dim, generator=torch.Generator().manual_seed(0), dtype=DTYPE))
    moved = propagate_densities(dynamics, start, time)
    later = propagate_densities(dynamics, moved, 1.0)
    assert float((later - moved).abs().max()) <= (1e-12 if time > 1e2 else 1e-9)
    assert abs(float(moved.diagonal().sum().real) - 1) <= 1e-12
    assert float(dynamics.apply(moved).abs().max()) <= (1e-12 if time > 1e2 else 1e-9)


def test_the_limit_of_a_start_with_several_dark_states_is_right_at_any_time():
    lowering = torch.zeros(2, 3, 3, dtype=DTYPE)
    lowering[0, 0, 2] = lowering[1, 1, 2] = 1
    dynamics = Lindbladian(torch.zeros(3, 3, dtype=DTYPE), lowering)
    start = PureEnsemble(torch.tensor([[1, 0, 1]], dtype=DTYPE) / math.sqrt(2))
    for time in (1e3, 1e6, 1e9):
        populations = ExactChannel().evolve(start, dynamics, time=time).density().diagonal().real
        assert torch.allclose(populations, torch.tensor([0.75, 0.25, 0.0], dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(
    ("evolution", "num_jumps"), [(Unitary(), 0), (ExactChannel(), 0), (ExactChannel(), 1), (Heisenberg(), 1)]
)
def test_where_no_phase_has_a_digit_left_the_time_is_refused_and_nothing_is_said_of_nan(evolution, num_jumps):
    with pytest.raises(ArgumentError, match="`time` must be moderate") as refused:
        evolution.evolve(START, spin(num_jumps), time=1e12).density()
    assert "NaN" not in str(refused.value)


LEVELS = {
    "distinct": [0.3, -1.0, 2.0, 0.9],
    "two equal": [1.0, 1.0, -0.5, 2.0],
    "all equal": [0.7, 0.7, 0.7, 0.7],
    "nearly equal": [1.0, 1.0 + 1e-9, 1.0 - 1e-13, 0.0],
}


def rotated(levels):
    basis = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=DTYPE))[0]
    return basis @ torch.diag(torch.tensor(levels, dtype=DTYPE)) @ basis.mH


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("time", [0.7, 30.0])
def test_turning_has_the_gradients_of_finite_differences_for_equal_levels_too(name, time):
    hamiltonian = rotated(LEVELS[name])
    offset = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    kets = random_kets(2, 4, generator=torch.Generator().manual_seed(2), dtype=DTYPE).requires_grad_()

    def turned(offset, kets):
        return turn_by_eigenvectors(hamiltonian + hermitian_from(offset), kets, time)

    assert torch.autograd.gradcheck(turned, (offset, kets), atol=1e-6)
    assert torch.autograd.gradgradcheck(turned, (offset, kets), atol=1e-4)


def test_unitaries_of_a_batch_have_the_gradients_of_finite_differences_for_equal_levels_too():
    hamiltonians = torch.stack([rotated(levels) for levels in LEVELS.values()])
    offsets = torch.zeros(len(LEVELS), 4, 4, dtype=torch.float64, requires_grad=True)

    def turned(offsets):
        return unitaries_of(hamiltonians + hermitian_from(offsets))

    assert torch.autograd.gradcheck(turned, offsets, atol=1e-6)
    assert torch.autograd.gradgradcheck(turned, offsets, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_unitaries_of_a_batch_are_those_of_double_precision(scale):
    free = torch.randn(7, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hamiltonians = hermitian_from(scale / 5**0.5 * free).to(torch.complex64)
    exact = torch.linalg.matrix_exp(-1j * hamiltonians.to(DTYPE))
    assert float((unitaries_of(hamiltonians.to(DTYPE)) - exact).abs().max()) < 1e-12
    assert float((unitaries_of(hamiltonians) - exact).abs().max()) < 1e-7


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("time", [0.5, 5.0, 500.0])
def test_eigenvectors_and_the_series_agree(dtype, time):
    dim = 40
    free = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hamiltonian = hermitian_from(free / dim**0.5).to(dtype)
    kets = random_kets(3, dim, generator=torch.Generator().manual_seed(1), dtype=DTYPE).to(dtype)
    exact = turn_by_eigenvectors(hamiltonian.to(DTYPE), kets.to(DTYPE), time)
    found = propagate_unitarily(hamiltonian, kets, time)
    assert float((found - exact).abs().max()) <= (1e-12 if dtype == DTYPE else 2e-6)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-12])
@pytest.mark.parametrize("dim", [4, 9])
def test_long_evolutions_have_the_gradients_of_the_dense_exponential(dim, tolerance):
    """Two-photon loss: its channel has entries of exactly zero, whose gradients are not."""
    a = torch.diag(torch.arange(1, dim, dtype=torch.float64).sqrt(), 1).to(DTYPE)
    weights = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    start = density_of(random_kets(dim, generator=torch.Generator().manual_seed(1), dtype=DTYPE))
    gradients = []
    for dense in (False, True):
        operators = [
            torch.zeros(dim, dim, dtype=DTYPE).requires_grad_(),
            (a @ a)[None].clone().requires_grad_(),
        ]
        dynamics = Lindbladian(*operators, validate=False)
        if dense:
            channel = torch.linalg.matrix_exp(10 * dynamics.superoperator())
            moved = (channel @ start.flatten()).reshape(dim, dim)
        else:
            moved = propagate_densities(dynamics, start, 10.0, tolerance)
        gradients.append(torch.autograd.grad((weights * moved).real.sum(), operators))
    for found, expected in zip(*gradients, strict=True):
        assert (
            float((found - expected).abs().max()) <= max(tolerance, 1e-11) * float(expected.abs().max()) * 10
        )


def test_many_sub_steps_do_not_add_up_round_off_in_single_precision():
    """Dephasing of 33 levels for so long that populations alone are left: 300 sub-steps of a series."""
    dim = 33
    number = torch.diag(torch.arange(dim) + 0j)
    dynamics = Lindbladian(torch.zeros(dim, dim) + 0j, number[None])
    start = PureEnsemble(torch.full((1, dim), dim**-0.5) + 0j)
    moved = ExactChannel().evolve(start, dynamics, time=35.0).density()
    assert float((moved - torch.eye(dim) / dim).abs().max()) <= 1e-6
