"""Currents, noise, counts in a finite time and waiting times: known values, sampled jumps, gradients, refusals."""

import math

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    count_distribution,
    count_generating_function,
    count_moments,
    counting_statistics,
    destroy,
    expected_jumps,
    find_attractor,
    number,
    pauli,
    random_kets,
    second_order_coherence,
    waiting_time_density,
)
from qinn.quantum.observation import tilted

DTYPE = torch.complex128


def system(dim, num_jumps=2, seed=0):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=2.0, seed=seed, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def ket(dim):
    return random_kets(1, dim, generator=torch.Generator().manual_seed(5), dtype=DTYPE)[0]


def atom(drive=1.0):
    return Lindbladian(0.5 * drive * pauli("X", dtype=DTYPE), [destroy(2, dtype=DTYPE)])


@pytest.mark.parametrize("drive", [0.3, 1.0, 4.0])
def test_a_driven_atom_emits_as_regularly_as_is_known(drive):
    found = counting_statistics(atom(drive))
    assert float(found.currents) == pytest.approx(drive**2 / (1 + 2 * drive**2), rel=1e-10)
    # L. Mandel, Opt. Lett. 4 (1979) 205.
    assert float(found.fano) == pytest.approx(1 - 6 * drive**2 / (1 + 2 * drive**2) ** 2, rel=1e-9)


def test_a_classical_walk_through_a_dot_has_the_known_noise():
    # In at rate a, out at rate b: I = ab/(a+b), F = (a² + b²)/(a+b)²; what goes in comes out, so that all noise is one.
    a, b = 1.7, 0.6
    lower = destroy(2, dtype=DTYPE)
    dot = Lindbladian(torch.zeros(2, 2, dtype=DTYPE), [math.sqrt(a) * lower.mH, math.sqrt(b) * lower])
    found = counting_statistics(dot, [[1, 0], [0, 1], [1, -1]])
    current, fano = a * b / (a + b), (a**2 + b**2) / (a + b) ** 2
    assert torch.allclose(found.currents, torch.tensor([current, current, 0.0]).double(), atol=1e-12)
    wanted = current * fano * torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]]).double()
    assert torch.allclose(found.noise, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dim", [2, 4, 9])
def test_counts_grow_at_long_times_as_the_steady_state_says(dim):
    dynamics, weights = system(dim), [1.0, -2.0]
    steady = counting_statistics(dynamics, weights)
    time = 15 / float(find_attractor(dynamics).spectral_gap)
    found = count_moments(dynamics, weights, times=[time, 2 * time])
    assert float(found.mean.diff() / time) == pytest.approx(float(steady.currents), rel=1e-7)
    assert float(found.variance.diff() / time) == pytest.approx(float(steady.noise), rel=1e-4)


@pytest.mark.parametrize("dim", [3, 5])
def test_matrices_and_series_give_the_same_counts(dim, monkeypatch):
    dynamics, times = system(dim), [0.0, 0.4, 1.1]
    kets = random_kets(3, dim, generator=torch.Generator().manual_seed(5), dtype=DTYPE)
    starts = PureEnsemble(kets[:, None])
    factors = torch.polar(torch.tensor([1.0, 0.3]).double(), torch.tensor([2.0, 1.0]).double())

    def values():
        moments = count_moments(dynamics, [1, 3], times=times, initial=starts)
        function = count_generating_function(dynamics, factors, [1, 3], time=1.1, initial=starts)
        waits = waiting_time_density(dynamics, [1], delays=times)
        return moments.mean, moments.variance, function, waits

    by_matrices = values()
    monkeypatch.setattr(tilted, "_LARGEST_DENSE_DIM", 0)
    for one, other in zip(by_matrices, values(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9)
    assert by_matrices[0].shape == (3, 3)
    assert by_matrices[2].shape == (2, 3)


def test_moments_distribution_and_generating_function_tell_the_same():
    dynamics, initial = system(4), ket(4)
    found = count_moments(dynamics, times=[2.0], initial=initial)
    assert float(found.mean) == pytest.approx(float(expected_jumps(initial, dynamics, time=2.0)), rel=1e-9)
    chances = count_distribution(dynamics, 60, time=2.0, initial=initial)
    counts = torch.arange(61).double()
    mean = (chances * counts).sum()
    assert float(chances.sum()) == pytest.approx(1, abs=1e-10)
    assert float(mean) == pytest.approx(float(found.mean), rel=1e-9)
    assert float((chances * (counts - mean) ** 2).sum()) == pytest.approx(float(found.variance), rel=1e-8)
    few = count_distribution(dynamics, 3, time=2.0, initial=initial)
    assert torch.allclose(few, chances[:4], rtol=0, atol=1e-11)
    field = torch.polar(torch.ones(1).double(), torch.tensor([0.7]).double())
    function = count_generating_function(dynamics, field, time=2.0, initial=initial)
    assert torch.allclose(function, (chances * field**counts).sum(), rtol=0, atol=1e-10)


def test_sampled_jumps_are_counted_as_the_exact_statistics_say():
    dynamics, initial, time, trajectories = system(3), ket(3), 2.0, 20_000
    state = QuantumJumps(trajectories, seed=1, record=True).evolve(initial, dynamics, time=time)
    channels, times = state.record.channels, state.record.times
    counts = (channels == 1).sum(-1).double() - 2 * (channels == 0).sum(-1)
    wanted = count_moments(dynamics, [-2, 1], times=[time], initial=initial)
    assert abs(float(counts.mean() - wanted.mean)) < 4 * float(wanted.variance / trajectories) ** 0.5
    spread = (counts - wanted.mean) ** 2
    assert abs(float(spread.mean() - wanted.variance)) < 4 * float(spread.std()) / trajectories**0.5
    chances = count_distribution(dynamics, 8, time=time, initial=initial)
    seen = torch.bincount(state.record.num_jumps, minlength=9)[:9] / trajectories
    errors = (chances * (1 - chances) / trajectories).sqrt()
    assert float(((seen - chances) / errors).abs().max()) < 4
    # Chance of no jump of channel 1 until 0.3, by the density of the time to the first.
    delays = torch.linspace(0, 0.3, 61).double()
    density = waiting_time_density(dynamics, [1], delays=delays, initial=initial)
    chance = 1 - float(torch.trapezoid(density, delays))
    early = ((channels == 1) & (times < 0.3)).any(-1).double()
    assert abs(1 - float(early.mean()) - chance) < 4 * (chance * (1 - chance) / trajectories) ** 0.5


def test_waiting_times_are_those_of_a_renewal_process():
    # Every jump resets the atom: w has the Laplace transform g/(1 + g) of the rate of any jump g = I g²(τ).
    dynamics = atom(2.0)
    delays = torch.linspace(0, 60, 6001).double()
    waits = waiting_time_density(dynamics, delays=delays)
    assert float(torch.trapezoid(waits, delays)) == pytest.approx(1, abs=1e-5)
    current = counting_statistics(dynamics).currents
    assert float(torch.trapezoid(waits * delays, delays)) == pytest.approx(1 / float(current), rel=1e-4)
    rate = current * second_order_coherence(dynamics, destroy(2, dtype=DTYPE), delays=delays[:600])
    beginning, step = waits[:600], 0.01
    again = torch.nn.functional.conv1d(
        torch.nn.functional.pad(beginning[None], (599, 0)), rate.flip(0)[None, None]
    )[0]
    assert torch.allclose(rate, beginning + step * again, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("largest", [8, 0])
def test_counting_has_the_gradient_of_finite_differences(largest, monkeypatch):
    monkeypatch.setattr(tilted, "_LARGEST_DENSE_DIM", largest)
    free = torch.tensor([1.3, 0.8, 0.5], dtype=torch.float64, requires_grad=True)

    def values(free):
        lower = destroy(2, dtype=DTYPE)
        dynamics = Lindbladian(free[0] * pauli("X", dtype=DTYPE), [lower, free[2] * number(2, dtype=DTYPE)])
        moments = count_moments(dynamics, torch.stack([free[1], free[0]]), times=[0.7], initial=[0.6, 0.8])
        waits = waiting_time_density(dynamics, [0], delays=[0.4])
        if largest == 0:
            return moments.mean, moments.variance, waits
        steady = counting_statistics(dynamics, torch.stack([free[1], free[2]]))
        chances = count_distribution(dynamics, 1, time=0.5, initial=[1, 0])
        turned = count_generating_function(dynamics, [0.3], time=free[1], initial=[1, 0])
        return steady.currents, steady.noise, moments.mean, moments.variance, chances, turned.real, waits

    assert torch.autograd.gradcheck(values, (free,), fast_mode=True)


STILL = Lindbladian(torch.zeros(2, 2, dtype=DTYPE), [destroy(2, dtype=DTYPE)])
REFUSED = {
    "weights of other channels": lambda: counting_statistics(STILL, [1.0, 2.0]),
    "a table of weights for one count": lambda: count_moments(STILL, [[1.0]], times=[1.0]),
    "weights with NaN": lambda: count_moments(STILL, [math.nan], times=[1.0]),
    "complex weights": lambda: count_moments(STILL, [1j], times=[1.0]),
    "times that fall": lambda: count_moments(STILL, times=[1.0, 0.5]),
    "large factors": lambda: count_generating_function(STILL, [2.0], time=1.0),
    "small factors of negative weights": lambda: count_generating_function(STILL, [0.5], [-1], time=1.0),
    "half counts": lambda: count_distribution(STILL, 3, [0.5], time=1.0),
    "a negative largest count": lambda: count_distribution(STILL, -1, time=1.0),
    "a fraction of a largest count": lambda: count_distribution(STILL, 1.5, time=1.0),
    "an unknown channel": lambda: waiting_time_density(STILL, [1], delays=[0.0]),
    "no channel": lambda: waiting_time_density(STILL, [], delays=[0.0]),
    "a steady state that never jumps": lambda: waiting_time_density(STILL, delays=[0.0]),
    "a state of another dimension": lambda: count_moments(STILL, times=[1.0], initial=[1, 0, 0]),
    "a large dimension": lambda: counting_statistics(Lindbladian(number(49), [destroy(49)])),
}


@pytest.mark.parametrize("case", REFUSED)
def test_counts_that_make_no_sense_are_refused_in_a_sentence(case):
    with pytest.raises(ArgumentError, match=r"must"):
        REFUSED[case]()
