"""Systems known in closed form: states, probabilities and gradients of every exact evolution."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    Lindbladian,
    PureEnsemble,
    Unitary,
    density_of,
    embed,
    entanglement_entropy,
    ghz_state,
    hermitian_from,
    ket_fidelity,
    pauli,
    random_kets,
)

DTYPE = torch.complex128
TIME = 0.8
X, Y, Z = (pauli(name, dtype=DTYPE) for name in "XYZ")
LOWER = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)
EXCITED = torch.diag(torch.tensor([0, 1], dtype=DTYPE))
QUBIT = torch.tensor([0.6, 0.8j], dtype=DTYPE)


@dataclass(frozen=True)
class KnownSystem:
    """Dynamics with one real parameter, an initial ket, and the density after TIME."""

    name: str
    dynamics: Callable[[Tensor], Lindbladian]
    initial: Tensor
    density: Callable[[Tensor], Tensor]
    parameter: float = 0.7


def jumps(*operators: Tensor) -> Tensor:
    return torch.stack(operators)


def no_hamiltonian(dim: int) -> Tensor:
    return torch.zeros(dim, dim, dtype=DTYPE)


def bloch(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return 0.5 * (torch.eye(2, dtype=DTYPE) + x * X + y * Y + z * Z)


def bloch_vector(ket: Tensor) -> list[Tensor]:
    return [(ket.conj() @ operator @ ket).real for operator in (X, Y, Z)]


def decayed(rate: Tensor) -> Tensor:
    rho, detuning = density_of(QUBIT), 1.3
    excited = rho[1, 1].real * (-rate * TIME).exp()
    coherence = rho[1, 0] * torch.exp(-0.5 * rate * TIME + torch.tensor(-1j * detuning * TIME, dtype=DTYPE))
    return torch.stack(
        [torch.stack([1 - excited + 0j, coherence.conj()]), torch.stack([coherence, excited + 0j])]
    )


def dephased(rate: Tensor) -> Tensor:
    x, y, z = bloch_vector(QUBIT)
    shrink = (-2 * rate * TIME).exp()
    return bloch(x * shrink, y * shrink, z)


def depolarised(rate: Tensor) -> Tensor:
    return bloch(*[component * (-4 * rate * TIME).exp() for component in bloch_vector(QUBIT)])


def flipped(rate: Tensor) -> Tensor:
    x, y, z = bloch_vector(QUBIT)
    shrink = (-2 * rate * TIME).exp()
    return bloch(x, y * shrink, z * shrink)


def thermal(occupation: Tensor) -> Tensor:
    rho, total = density_of(QUBIT), 2 * occupation + 1
    steady = occupation / total
    excited = steady + (rho[1, 1].real - steady) * (-total * TIME).exp()
    coherence = rho[1, 0] * (-0.5 * total * TIME).exp()
    return torch.stack(
        [torch.stack([1 - excited + 0j, coherence.conj()]), torch.stack([coherence, excited + 0j])]
    )


def driven(frequency: Tensor) -> Tensor:
    angle = 0.5 * frequency * TIME
    return density_of(angle.cos() * QUBIT - 1j * angle.sin() * (X @ QUBIT))


def exchanged(coupling: Tensor) -> Tensor:
    zero = torch.zeros_like(coupling)
    angle = coupling * TIME
    ket = torch.stack([zero + 0j, angle.cos() + 0j, -1j * angle.sin(), zero + 0j])
    ground = torch.zeros(4, 4, dtype=DTYPE)
    ground[0, 0] = 1
    left = torch.tensor(-0.5 * TIME, dtype=torch.float64).exp()
    return left * density_of(ket) + (1 - left) * ground


def exchange_dynamics(coupling: Tensor) -> Lindbladian:
    hopping = embed(torch.kron(X, X) + torch.kron(Y, Y), (2, 2), (0, 1))
    losses = jumps(*[0.5**0.5 * embed(LOWER, (2, 2), (site,)) for site in (0, 1)])
    return Lindbladian(0.5 * coupling * hopping, losses)


SYSTEMS = [
    KnownSystem("decaying", lambda g: Lindbladian(1.3 * EXCITED, jumps(g.sqrt() * LOWER)), QUBIT, decayed),
    KnownSystem("dephasing", lambda g: Lindbladian(no_hamiltonian(2), jumps(g.sqrt() * Z)), QUBIT, dephased),
    KnownSystem(
        "depolarising",
        lambda g: Lindbladian(no_hamiltonian(2), g.sqrt() * jumps(X, Y, Z)),
        QUBIT,
        depolarised,
    ),
    KnownSystem("flipping", lambda g: Lindbladian(no_hamiltonian(2), jumps(g.sqrt() * X)), QUBIT, flipped),
    KnownSystem(
        "thermal",
        lambda n: Lindbladian(no_hamiltonian(2), jumps((n + 1).sqrt() * LOWER, n.sqrt() * LOWER.mT)),
        QUBIT,
        thermal,
    ),
    KnownSystem(
        "driven", lambda w: Lindbladian(0.5 * w * X, no_hamiltonian(2)[None][:0]), QUBIT, driven, 2.1
    ),
    KnownSystem("exchange", exchange_dynamics, torch.tensor([0, 1, 0, 0], dtype=DTYPE), exchanged, 1.4),
]


def observable_and_value(density: Tensor) -> Tensor:
    """A fixed Hermitian form of a density, which touches every entry."""
    dim = density.shape[-1]
    free = torch.randn(dim, dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (hermitian_from(free) @ density).diagonal().sum().real


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_channel_gives_the_known_state_and_gradient(system):
    parameter = torch.tensor(system.parameter, dtype=torch.float64, requires_grad=True)
    initial = PureEnsemble(system.initial[None])
    density = ExactChannel().evolve(initial, system.dynamics(parameter), time=TIME, steps=1).density()
    expected = system.density(parameter)
    assert torch.allclose(density, expected, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(observable_and_value(density), parameter)
    (known,) = torch.autograd.grad(observable_and_value(expected), parameter)
    assert abs(gradient - known) < 1e-11


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_heisenberg_gives_the_known_probabilities_and_gradient(system):
    parameter = torch.tensor(system.parameter, dtype=torch.float64, requires_grad=True)
    dim = len(system.initial)
    vectors = random_kets(3, dim, generator=torch.Generator().manual_seed(1), dtype=DTYPE)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    state = Heisenberg().evolve(
        PureEnsemble(system.initial[None]), system.dynamics(parameter), time=TIME, steps=1
    )
    value = (state.probabilities(vectors) @ weights).sum()
    known = torch.stack([(row.conj() @ system.density(parameter) @ row).real for row in vectors]) @ weights
    assert abs(value - known) < 1e-12
    pair = [torch.autograd.grad(each, parameter)[0] for each in (value, known)]
    assert abs(pair[0] - pair[1]) < 1e-11


def test_decay_rate_moves_the_population_by_the_known_derivative():
    rate = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    dynamics = Lindbladian(no_hamiltonian(2), jumps(rate.sqrt() * LOWER))
    state = ExactChannel().evolve(PureEnsemble(QUBIT[None]), dynamics, time=TIME, steps=1)
    state.density()[1, 1].real.backward()
    assert abs(rate.grad - (-TIME * 0.64 * torch.tensor(-0.9 * TIME, dtype=torch.float64).exp())) < 1e-13


def test_unitary_rabi_flop_is_exact_and_ignores_jumps():
    frequency = torch.tensor(2.1, dtype=torch.float64, requires_grad=True)
    dynamics = Lindbladian(0.5 * frequency * X, jumps(LOWER))
    state = Unitary().evolve(PureEnsemble(QUBIT[None]), dynamics, time=TIME, steps=1)
    assert torch.allclose(state.density(), driven(frequency), rtol=0, atol=1e-12)
    pair = [
        torch.autograd.grad(observable_and_value(rho), frequency)[0]
        for rho in (state.density(), driven(frequency))
    ]
    assert abs(pair[0] - pair[1]) < 1e-11


@pytest.mark.parametrize("drive", [0.3, 2.0])
def test_resonance_fluorescence_reaches_its_steady_population(drive):
    dynamics = Lindbladian(0.5 * drive * X, jumps(LOWER))
    state = ExactChannel().evolve(PureEnsemble(QUBIT[None]), dynamics, time=80.0, steps=1)
    assert abs(state.density()[1, 1].real - drive**2 / (1 + 2 * drive**2)) < 1e-11


def coherent(alpha: Tensor, levels: int) -> Tensor:
    orders = torch.arange(levels, dtype=torch.float64)
    return torch.exp(-0.5 * alpha.abs() ** 2 - 0.5 * torch.lgamma(orders + 1)) * alpha**orders


def test_damped_coherent_state_stays_coherent_with_the_known_gradient():
    levels, detuning, alpha = 24, 0.7, torch.tensor(1.1 + 0.4j, dtype=DTYPE)
    rate = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    numbers = torch.arange(levels, dtype=torch.float64)
    lower = torch.diag(numbers[1:].sqrt().to(DTYPE), 1)
    dynamics = Lindbladian(detuning * torch.diag(numbers).to(DTYPE), jumps(rate.sqrt() * lower))
    state = ExactChannel().evolve(PureEnsemble(coherent(alpha, levels)[None]), dynamics, time=1.5, steps=1)
    shrunk = alpha * torch.exp(torch.tensor((-1j * detuning - 0.3) * 1.5, dtype=DTYPE))
    density = state.density()
    assert torch.allclose(density, density_of(coherent(shrunk, levels)), rtol=0, atol=1e-8)
    (density.diagonal().real @ numbers).backward()
    assert abs(rate.grad + 1.5 * alpha.abs() ** 2 * torch.tensor(-0.9, dtype=torch.float64).exp()) < 1e-7


def bell_pump(rate: float) -> Lindbladian:
    identity = torch.eye(4, dtype=DTYPE)
    first = embed(X, (2, 2), (0,)) @ (identity - torch.kron(Z, Z)) / 2
    second = embed(Z, (2, 2), (0,)) @ (identity - torch.kron(X, X)) / 2
    return Lindbladian(no_hamiltonian(4), rate**0.5 * jumps(first, second))


def test_bell_pumping_entangles_a_product_as_known():
    rate, phi = 0.8, ghz_state(2, dtype=DTYPE)
    start = torch.tensor([[1, 0, 0, 0]], dtype=DTYPE)
    state = ExactChannel().evolve(PureEnsemble(start), bell_pump(rate), time=TIME, steps=1)
    fidelity = state.probabilities(phi[None])
    decay = torch.tensor(-rate * TIME, dtype=torch.float64).exp()
    assert abs(fidelity - (1 - decay / 2)) < 1e-12


def test_bell_pumping_from_any_state_follows_the_known_fidelity():
    rate, phi = 0.8, ghz_state(2, dtype=DTYPE)
    start = random_kets(4, dtype=DTYPE, generator=torch.Generator().manual_seed(5))
    errors = [(torch.eye(4) - torch.kron(operator, operator)) / 2 for operator in (Z, X)]
    p, q, r = ((start.conj() @ error @ start).real for error in (*errors, errors[0] @ errors[1]))
    decay = torch.tensor(-rate * TIME, dtype=torch.float64).exp()
    state = Heisenberg().evolve(PureEnsemble(start[None]), bell_pump(rate), time=TIME, steps=1)
    assert abs(state.probabilities(phi[None]) - (1 - (p + q) * decay + r * decay**2)) < 1e-12


def test_ghz_pumping_of_three_modes_follows_the_known_fidelity():
    rate, dims, identity = 0.8, (2, 2, 2), torch.eye(8, dtype=DTYPE)
    projectors = [
        (identity - embed(torch.kron(Z, Z), dims, (0, 1))) / 2,
        (identity - embed(torch.kron(Z, Z), dims, (1, 2))) / 2,
        (identity - embed(torch.kron(torch.kron(X, X), X), dims, (0, 1, 2))) / 2,
    ]
    corrections = [embed(X, dims, (0,)), embed(X, dims, (2,)), embed(Z, dims, (0,))]
    pump = rate**0.5 * jumps(*[c @ p for c, p in zip(corrections, projectors, strict=True)])
    start = random_kets(8, dtype=DTYPE, generator=torch.Generator().manual_seed(6))

    def mean(operator):
        return (start.conj() @ operator @ start).real

    a, b, c = projectors
    moments = mean(a + b + c), mean(a @ b + a @ c + b @ c), mean(a @ b @ c)
    decay = torch.tensor(-rate * TIME, dtype=torch.float64).exp()
    expected = 1 - moments[0] * decay + moments[1] * decay**2 - moments[2] * decay**3
    state = ExactChannel().evolve(
        PureEnsemble(start[None]), Lindbladian(no_hamiltonian(8), pump), time=TIME, steps=1
    )
    assert abs(state.probabilities(ghz_state(3, dtype=DTYPE)[None]) - expected) < 1e-12


@pytest.mark.parametrize("dim", [2, 5, 12])
def test_attractor_pulls_any_state_to_its_target_at_the_known_rate(dim):
    generator = torch.Generator().manual_seed(dim)
    basis, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=DTYPE))
    target, rest = basis[:, 0], basis[:, 1:]
    rate = 0.9
    pump = rate**0.5 * target[None, :, None] * rest.mT[:, None, :].conj()
    start = random_kets(dim, generator=generator, dtype=DTYPE)
    state = ExactChannel().evolve(
        PureEnsemble(start[None]), Lindbladian(no_hamiltonian(dim), pump), time=TIME, steps=1
    )
    decay = torch.tensor(-rate * TIME, dtype=torch.float64).exp()
    assert abs(1 - state.probabilities(target[None]) - (1 - ket_fidelity(target, start)) * decay) < 1e-11
    in_basis = basis.mH @ state.density() @ basis
    before = basis.mH @ density_of(start) @ basis
    assert torch.allclose(in_basis[0, 1:], before[0, 1:] * decay.sqrt(), rtol=0, atol=1e-11)
    assert torch.allclose(in_basis[1:, 1:], before[1:, 1:] * decay, rtol=0, atol=1e-11)


def test_exchange_reaches_the_bell_entropy_at_a_quarter_period():
    half = torch.pi / 4
    start = PureEnsemble(torch.tensor([[0, 1, 0, 0]], dtype=DTYPE))
    state = Unitary().evolve(
        start, exchange_dynamics(torch.tensor(1.0, dtype=torch.float64)), time=half, steps=1
    )
    assert torch.allclose(
        entanglement_entropy(state.kets, (2, 2), (0,)), torch.ones(1, dtype=torch.float64), rtol=0, atol=1e-12
    )
