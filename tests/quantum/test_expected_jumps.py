"""How many jumps a trajectory has on average, counted without drawing any."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    density_of,
    expected_jumps,
    pauli,
    random_kets,
)

DECAY = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])


def dynamics(dim, num_jumps=2, seed=0, dtype=torch.float64, scale=1.0):
    module = LearnableLindbladian(dim, num_jumps, jump_scale=scale, seed=seed, dtype=dtype)
    return module.requires_grad_(False)()


def kets(number, dim, dtype=torch.complex128):
    return random_kets(number, dim, dtype=dtype, generator=torch.Generator().manual_seed(1))


def counted_densely(lindbladian, density, time):
    """(ρ, n)' = (𝓛ρ, tr Gρ), by one dense exponential."""
    size = lindbladian.dim**2
    joint = np.zeros((size + 1, size + 1), dtype=complex)
    joint[:size, :size] = lindbladian.superoperator().numpy()
    joint[size, :size] = lindbladian.total_rate.mT.flatten().numpy()
    return (expm(joint * time)[size, :size] @ density.flatten().numpy()).real


@pytest.mark.parametrize("time", [0.01, 1.0, 30.0])
def test_a_decay_happens_once(time):
    expected = 1 - np.exp(-time)
    assert float(expected_jumps([0, 1], DECAY, time=time)) == pytest.approx(expected, rel=1e-6)
    assert float(expected_jumps([1, 0], DECAY, time=time)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 5, 12])
@pytest.mark.parametrize("time", [0.3, 7.0])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_the_count_is_the_integral_of_the_rate(dim, time, dtype):
    lindbladian, states = dynamics(dim), kets(3, dim)
    counted = expected_jumps(states.to(dtype), lindbladian.to(dtype), time=time)
    assert counted.dtype == dtype.to_real()
    true = [counted_densely(lindbladian, density_of(ket), time) for ket in states]
    error = np.abs(counted.double().numpy() - np.array(true)).max()
    assert error < (1e-5 if dtype == torch.complex64 else 1e-11) * max(true)


def test_trajectories_have_that_many_jumps():
    lindbladian, ket = dynamics(4, scale=2.0), kets(1, 4)
    record = QuantumJumps(20_000, seed=0, record=True).evolve(ket, lindbladian, time=1.5).record
    numbers = record.num_jumps.double()
    error = float(numbers.std() / numbers.numel() ** 0.5)
    assert abs(float(numbers.mean() - expected_jumps(ket, lindbladian, time=1.5))) < 4 * error


def test_counts_of_stages_add_up():
    lindbladian, ket = dynamics(6), kets(2, 6)
    middle = ExactChannel().evolve(ket, lindbladian, time=0.4)
    parts = expected_jumps(ket, lindbladian, time=0.4) + expected_jumps(middle, lindbladian, time=1.1)
    assert torch.allclose(parts, expected_jumps(ket, lindbladian, time=1.5), rtol=1e-11)


def test_any_state_is_counted_as_the_mean_over_its_trajectories():
    lindbladian, states = dynamics(3), kets(4, 3)
    ensemble = PureEnsemble(states.reshape(2, 2, 3))
    mixed = MixedState(ensemble.density())
    counted = expected_jumps(ensemble, lindbladian, time=1.0)
    assert counted.shape == (2,)
    assert torch.allclose(counted, expected_jumps(mixed, lindbladian, time=1.0), rtol=1e-12)


def test_nothing_falls_without_operators_or_time():
    assert expected_jumps([0, 1], Lindbladian([[0, 1], [1, 0]]), time=5.0) == 0
    assert expected_jumps([0, 1], DECAY, time=0) == 0


def test_the_count_has_the_gradient_of_its_differences():
    free = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def counted(free, time):
        generator = Lindbladian(pauli("Z", dtype=torch.complex128), (free + 0j), validate=False)
        return expected_jumps(kets(1, 2), generator, time=time)

    time = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(counted, (free.requires_grad_(), time))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="to fit the dynamics"):
        expected_jumps(kets(1, 3), DECAY.to(torch.complex128), time=1.0)
    with pytest.raises(ArgumentError, match="time"):
        expected_jumps([0, 1], DECAY, time=-1.0)
    with pytest.raises(ArgumentError, match="finite"):
        expected_jumps(
            [0, 1], Lindbladian([[0, 0], [0, 0]], [[[0, float("inf")], [0, 0]]], validate=False), time=1
        )
    with pytest.raises(ArgumentError, match="call it"):
        expected_jumps([0, 1], LearnableLindbladian(2, 1), time=1.0)
