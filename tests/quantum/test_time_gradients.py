"""The derivative with respect to the time: that of finite differences, or one clear refusal."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    HeisenbergState,
    Hybrid,
    LearnableLindbladian,
    LearnableStructuredLindbladian,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    contraction,
    density_of,
    propagate_densities,
    propagate_observables,
    random_kets,
    score_surrogate,
)
from qinn.quantum.generators.unitary_propagation import propagate_unitarily

DTYPE = torch.complex128


def dynamics(dim, num_jumps=2):
    module = LearnableLindbladian(dim, num_jumps, hamiltonian_scale=2.0, seed=0, dtype=torch.float64)
    return module.requires_grad_(False)()


def kets(count, dim, seed=1):
    return random_kets(count, 1, dim, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)


def drive(dim, samples):
    drives = dynamics(dim).hamiltonian[None]
    amplitudes = torch.rand(*samples, 2, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return DrivenLindbladian(dynamics(dim), drives, amplitudes)


def probabilities(evolution, generator, time):
    state = evolution.evolve(PureEnsemble(kets(2, generator.dim)), generator, time=time, steps=1)
    return state.probabilities(kets(3, generator.dim, 2)[:, 0])[..., 0].sum()


def structured():
    return LearnableStructuredLindbladian((2, 5), 1, seed=0, dtype=torch.float64).requires_grad_(False)()


WAYS = {
    "ExactChannel": lambda dim, time: probabilities(ExactChannel(), dynamics(dim), time),
    "Heisenberg": lambda dim, time: probabilities(Heisenberg(), dynamics(dim), time),
    "Unitary": lambda dim, time: probabilities(Unitary(), dynamics(dim), time),
    "Hybrid, exact part": lambda dim, time: probabilities(Hybrid(2, 0.0, seed=0), dynamics(dim), time),
    "one drive for all": lambda dim, time: probabilities(ExactChannel(), drive(dim, ()), time),
    "a drive each": lambda dim, time: probabilities(ExactChannel(), drive(dim, (2,)), time),
    "driven unitary": lambda dim, time: probabilities(Unitary(), drive(dim, (2,)), time),
    "structured unitary": lambda dim, time: probabilities(Unitary(), structured(), time),
    "without jumps": lambda dim, time: probabilities(ExactChannel(), dynamics(dim, 0), time),
    "densities": lambda dim, time: (
        propagate_densities(dynamics(dim), density_of(kets(1, dim)[0, 0]), time)[0, 1].imag
    ),
    "observables": lambda dim, time: (
        propagate_observables(dynamics(dim), density_of(kets(1, dim)[0, 0]), time)[0, 0].real
    ),
    "kets": lambda dim, time: (
        propagate_unitarily(dynamics(dim).hamiltonian, kets(1, dim), time)[0, 0, 0].imag
    ),
    "a state by itself": lambda dim, time: (
        HeisenbergState(PureEnsemble(kets(1, dim)), dynamics(dim), time)
        .probabilities(kets(1, dim, 4)[0])
        .sum()
    ),
    "contraction": lambda dim, time: contraction(
        dynamics(dim), density_of(kets(1, dim)[0, 0]), density_of(kets(1, dim, 3)[0, 0]), time
    ),
}


@pytest.mark.parametrize("dim", [3, 9, 20, 36])
@pytest.mark.parametrize("way", WAYS)
def test_the_derivative_of_every_exact_evolution_is_that_of_finite_differences(way, dim):
    value, time, step = WAYS[way], torch.tensor(0.8, dtype=torch.float64, requires_grad=True), 1e-5
    (found,) = torch.autograd.grad(value(dim, time), time)
    expected = (value(dim, 0.8 + step) - value(dim, 0.8 - step)) / (2 * step)
    assert float(found) == pytest.approx(float(expected), abs=1e-8)
    assert abs(float(found)) > 1e-5


@pytest.mark.parametrize("evolution", [QuantumJumps(400), SteppedJumps(400), GumbelJumps(400)])
def test_the_derivative_of_trajectories_has_the_mean_of_finite_differences(evolution):
    """dP/dT of decay, −e^{−T}: rates carry the gradient of the time, and the score that of the jumps."""
    torch.manual_seed(0)
    decay = LearnableLindbladian(2, 1, seed=0, dtype=torch.float64)()
    lowering = torch.tensor([[[0, 1], [0, 0]]], dtype=DTYPE)
    decay = type(decay)(torch.zeros(2, 2, dtype=DTYPE), lowering)
    if isinstance(evolution, GumbelJumps):
        time = torch.tensor(0.7, requires_grad=True)
        state = evolution.evolve(PureEnsemble(torch.tensor([[0, 1]], dtype=DTYPE)), decay, time=time, steps=4)
        assert bool(torch.isfinite(torch.autograd.grad(state.kets.abs().sum(), time)[0]))
        return
    found = []
    for _ in range(30):
        time = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        start = PureEnsemble(torch.tensor([[0, 1]], dtype=DTYPE))
        state = evolution.evolve(start, decay, time=time, steps=64)
        value = score_surrogate(state.probabilities(torch.eye(2, dtype=DTYPE))[:, 1:], state.log_likelihood)
        found.append(float(torch.autograd.grad(value.mean(), time)[0]))
    found = torch.tensor(found, dtype=torch.float64)
    z = (found.mean() + torch.tensor(-0.7).exp()) / (found.std() / len(found) ** 0.5)
    assert abs(float(z)) < 4


@pytest.mark.parametrize("dim", [3, 9])
def test_a_time_of_zero_with_a_gradient_is_refused(dim):
    for evolution in (ExactChannel(), Unitary(), QuantumJumps(2)):
        with pytest.raises(ArgumentError, match="must be positive where it has a gradient"):
            evolution.evolve(
                PureEnsemble(kets(1, dim)), dynamics(dim), time=torch.tensor(0.0, requires_grad=True)
            )


def test_a_tensor_without_gradient_is_a_number():
    for dim in (3, 9):
        plain = WAYS["ExactChannel"](dim, 0.8)
        assert torch.equal(WAYS["ExactChannel"](dim, torch.tensor(0.8, dtype=torch.float64)), plain)
