"""Trajectories of systems with known statistics; each comparison is a z-score with a fixed seed."""

import pytest
import torch

from qinn.quantum import (
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    entanglement_entropy,
    pauli,
    score_surrogate,
)

DTYPE = torch.complex128
LOWER = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)
EXCITED = torch.tensor([[0, 1]], dtype=DTYPE)
STILL = torch.zeros(2, 2, dtype=DTYPE)


def z_score(samples, expected):
    return float((samples.mean() - expected) / (samples.std() / len(samples) ** 0.5))


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


def test_gradient_of_the_surviving_population_is_the_known_one():
    time = 0.8
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(2)
    estimates = []
    for _ in range(40):
        dynamics = Lindbladian(STILL, LOWER[None] * rate.sqrt())
        state = QuantumJumps(200).evolve(PureEnsemble(EXCITED), dynamics, time=time, steps=4)
        excited = state.kets[:, 1].abs().square()
        surrogate = score_surrogate(excited, state.log_likelihood).mean()
        estimates.append(torch.autograd.grad(surrogate, rate)[0])
    assert (
        abs(z_score(torch.stack(estimates), -time * torch.tensor(-0.7 * time, dtype=torch.float64).exp())) < 4
    )


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
    x, z = (pauli(name, dtype=DTYPE) for name in "XZ")
    identity = torch.eye(4, dtype=DTYPE)
    first = torch.kron(x, torch.eye(2)) @ (identity - torch.kron(z, z)) / 2
    second = torch.kron(z, torch.eye(2)) @ (identity - torch.kron(x, x)) / 2
    dynamics = Lindbladian(torch.zeros(4, 4, dtype=DTYPE), torch.stack([first, second]))
    start = PureEnsemble(torch.tensor([[1, 0, 0, 0]], dtype=DTYPE))
    state = QuantumJumps(64, seed=0).evolve(start, dynamics, time=60.0, steps=1)
    entropy = entanglement_entropy(state.kets, (2, 2), (0,))
    assert torch.allclose(entropy, torch.ones_like(entropy), rtol=0, atol=1e-9)
