"""Trajectories of systems with known statistics; each comparison is a z-score with a fixed seed."""

import pytest
import torch

from qinn.quantum import (
    ExactChannel,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    entanglement_entropy,
    expectations,
    pauli,
    purity,
    score_surrogate,
)

from .cases import DTYPE, LOWER, SYSTEMS, attracted, bell_pump, still

EXCITED = torch.tensor([[0, 1]], dtype=DTYPE)
STILL = still(2)
TIME = 0.8
PURE = [system for system in SYSTEMS if system.initial.ndim == 1]


def name_of(system):
    return system.name


def z_score(samples, expected):
    return float((samples.mean() - expected) / (samples.std() / len(samples) ** 0.5))


def largest_z_score(samples, expected):
    """Over the columns of the samples; what does not vary must be exact."""
    deviation = samples.mean(0) - expected
    error = samples.std(0) / len(samples) ** 0.5
    fixed = error < 1e-13
    assert float((deviation * fixed).abs().max()) < 1e-12
    return float((deviation / error.masked_fill(fixed, torch.inf)).abs().max())


@pytest.mark.parametrize("system", PURE, ids=name_of)
def test_trajectories_average_to_the_known_values(system):
    parameters = torch.tensor(system.parameters, dtype=torch.float64)
    torch.manual_seed(0)
    state = QuantumJumps(4000).evolve(
        PureEnsemble(system.initial[None]), system.dynamics(parameters), time=TIME, steps=4
    )
    samples = expectations(state.kets, system.observables)
    assert largest_z_score(samples, system.values(parameters, TIME)) < 4


@pytest.mark.parametrize("system", PURE, ids=name_of)
def test_trajectories_have_the_known_gradient_on_average(system):
    """One unbiased gradient per ensemble of 50 trajectories, from 30 ensembles, in every parameter."""
    parameters = torch.tensor(system.parameters, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(
        len(system.observables), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    initial = PureEnsemble(system.initial.expand(30, 1, -1))
    torch.manual_seed(1)
    state = QuantumJumps(50).evolve(initial, system.dynamics(parameters), time=TIME, steps=4)
    values = expectations(state.kets, system.observables) @ weights
    means = score_surrogate(values, state.log_likelihood).mean(-1)
    gradients = torch.stack([torch.autograd.grad(mean, parameters, retain_graph=True)[0] for mean in means])
    (known,) = torch.autograd.grad(system.values(parameters, TIME) @ weights, parameters)
    assert largest_z_score(gradients, known) < 4


def test_error_of_the_average_falls_as_the_inverse_root_of_the_trajectories():
    """Logarithm of the root mean square error against ln M has the slope −1/2, and E‖ρ_M − ρ‖² = (1 − tr ρ²)/M."""
    system, num_ensembles, sizes = attracted(5), 300, (1, 4, 16, 64)
    parameters = torch.tensor(system.parameters, dtype=torch.float64)
    exact = ExactChannel().evolve(
        PureEnsemble(system.initial[None]), system.dynamics(parameters), time=TIME, steps=1
    )
    mixture = exact.density()
    torch.manual_seed(2)
    logarithms, errors = [], []
    for size in sizes:
        initial = PureEnsemble(system.initial.expand(num_ensembles, 1, 5))
        state = QuantumJumps(size).evolve(initial, system.dynamics(parameters), time=TIME, steps=1)
        squares = (state.density() - mixture).abs().square().sum((-2, -1))
        assert abs(z_score(squares, (1 - purity(mixture)) / size)) < 4
        logarithms.append(0.5 * squares.mean().log())
        errors.append(0.5 * squares.std() / squares.mean() / num_ensembles**0.5)
    horizontal = torch.tensor(sizes, dtype=torch.float64).log()
    leverage = (horizontal - horizontal.mean()) / (horizontal - horizontal.mean()).square().sum()
    slope = leverage @ torch.stack(logarithms)
    error = (leverage * torch.stack(errors)).norm()
    assert float(error) < 0.02
    assert abs(float((slope + 0.5) / error)) < 4


def test_decay_times_are_exponential():
    dynamics = Lindbladian(STILL, LOWER[None] * 1.3**0.5)
    torch.manual_seed(0)
    state = QuantumJumps(20_000, record=True).evolve(PureEnsemble(EXCITED), dynamics, time=100.0, steps=1)
    times = state.record.times[:, 0]
    assert (state.record.num_jumps == 1).all()
    for power, factorial in ((1, 1), (2, 2), (3, 6)):
        assert abs(z_score((1.3 * times) ** power, factorial)) < 4
    # Kolmogorov–Smirnov: the 99.99 % point of √n · sup|F_n − F| is 2.23.
    uniform = (1 - (-1.3 * times).exp()).sort().values
    grid = torch.arange(1, len(times) + 1, dtype=torch.float64) / len(times)
    assert float((uniform - grid).abs().max()) * len(times) ** 0.5 < 2.23


def test_jump_times_carry_no_bias_from_the_grid():
    """With shared numbers each time is known exactly: t = −ln(u)/g, whatever the steps."""
    rate = 1.7
    dynamics = Lindbladian(STILL, LOWER[None] * rate**0.5)
    uniforms = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))[:, 0]
    for steps in (1, 7, 64):
        jumps = QuantumJumps(50, seed=3, record=True)
        state = jumps.evolve(PureEnsemble(EXCITED), dynamics, time=20.0, steps=steps)
        assert torch.allclose(state.record.times[:, 0], -uniforms.log() / rate, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_unitary_jumps_are_a_poisson_process(dtype):
    rate, time = 0.9, 2.0
    dynamics = Lindbladian(STILL, rate**0.5 * pauli("X", dtype=DTYPE)[None]).to(dtype)
    torch.manual_seed(1)
    state = QuantumJumps(20_000, record=True).evolve(
        PureEnsemble(EXCITED.to(dtype)), dynamics, time=time, steps=4
    )
    counts = state.record.num_jumps.double()
    assert abs(z_score(counts, rate * time)) < 4
    assert abs(z_score((counts - rate * time) ** 2, rate * time)) < 4
    signs = state.kets[:, 0].abs().square() - state.kets[:, 1].abs().square()
    assert torch.equal(signs.round().double(), torch.where(counts % 2 == 0, -1.0, 1.0).double())
    assert abs(z_score(signs.double(), -torch.tensor(-2 * rate * time).exp())) < 4


def test_pathwise_gradient_alone_misses_the_moving_jump_probabilities():
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    dynamics = Lindbladian(STILL, LOWER[None] * rate.sqrt())
    state = QuantumJumps(200, seed=0, gradient="pathwise").evolve(
        PureEnsemble(EXCITED), dynamics, time=0.8, steps=4
    )
    assert not state.log_likelihood.requires_grad
    (gradient,) = torch.autograd.grad(state.kets[:, 1].abs().square().mean(), rate)
    assert abs(gradient) < 1e-12


def test_bell_pumping_entangles_by_jumps_alone():
    dynamics = bell_pump(torch.ones((), dtype=torch.float64))
    start = PureEnsemble(torch.tensor([[1, 0, 0, 0]], dtype=DTYPE))
    state = QuantumJumps(64, seed=0).evolve(start, dynamics, time=60.0, steps=1)
    entropy = entanglement_entropy(state.kets, (2, 2), (0,))
    assert torch.allclose(entropy, torch.ones_like(entropy), rtol=0, atol=1e-9)
