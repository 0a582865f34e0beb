"""Systems known in closed form: mean values and gradients of every exact evolution, to 1e-12."""

import pytest
import torch

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    Lindbladian,
    MixedState,
    PureEnsemble,
    Unitary,
    check_density,
    density_of,
    entanglement_entropy,
    find_attractor,
    partial_trace,
    von_neumann_entropy,
)

from .cases import (
    ALPHA,
    ANNIHILATE,
    DTYPE,
    LOWER,
    NUMBER,
    NUMBERS,
    SYSTEMS,
    KnownSystem,
    X,
    bell_pump,
    cavity,
    coherent,
    exchange_dynamics,
    still,
)

TOLERANCE = 1e-12
EVOLUTIONS = [ExactChannel(), Heisenberg()]


def name_of(value):
    return getattr(value, "name", type(value).__name__)


def initial_state(system: KnownSystem) -> PureEnsemble | MixedState:
    return PureEnsemble(system.initial[None]) if system.initial.ndim == 1 else MixedState(system.initial)


def parameters_of(system: KnownSystem) -> torch.Tensor:
    return torch.tensor(system.parameters, dtype=torch.float64)


def mean_values(evolution, system, parameters, time):
    state = evolution.evolve(initial_state(system), system.dynamics(parameters), time=time, steps=1)
    if isinstance(evolution, Heisenberg):
        return state.expectations(system.observables).flatten()
    return (system.observables * state.density().mT).sum((-2, -1)).real


def largest_difference(first, second):
    return float((first - second).abs().max())


@pytest.mark.parametrize("time", [0.8, 3.0])
@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=name_of)
@pytest.mark.parametrize("system", SYSTEMS, ids=name_of)
def test_exact_evolutions_give_the_known_values_and_gradients(system, evolution, time):
    parameters = parameters_of(system)
    found = mean_values(evolution, system, parameters, time)
    assert largest_difference(found, system.values(parameters, time)) < TOLERANCE
    derivatives = [
        torch.autograd.functional.jacobian(function, parameters)
        for function in (
            lambda free: mean_values(evolution, system, free, time),
            lambda free: system.values(free, time),
        )
    ]
    assert largest_difference(*derivatives) < TOLERANCE


@pytest.mark.parametrize("system", SYSTEMS, ids=name_of)
def test_closed_forms_start_at_the_initial_state_with_the_slope_of_the_equation(system):
    parameters = parameters_of(system)
    density = initial_state(system).density()
    start = (system.observables * density.mT).sum((-2, -1)).real
    assert largest_difference(system.values(parameters, 0.0), start) < TOLERANCE
    slope = (system.observables * system.dynamics(parameters).apply(density).mT).sum((-2, -1)).real
    step = 1e-4
    ahead = [system.values(parameters, count * step) for count in (0, 1, 2, 3, 4)]
    weights = (-25 / 12, 4, -3, 4 / 3, -1 / 4)
    numeric = sum(weight * value for weight, value in zip(weights, ahead, strict=True)) / step
    assert largest_difference(numeric, slope) < 1e-9


@pytest.mark.parametrize("system", [each for each in SYSTEMS if each.gap is not None], ids=name_of)
def test_attractors_are_the_known_limits_with_the_known_gap(system):
    """After 400 units of time nothing but the limit is left of any closed form."""
    parameters = parameters_of(system)

    def limit(free):
        return (system.observables * find_attractor(system.dynamics(free)).density.mT).sum((-2, -1)).real

    attractor = find_attractor(system.dynamics(parameters))
    check_density(attractor.density, tolerance=TOLERANCE)
    assert float(system.dynamics(parameters).apply(attractor.density).abs().max()) < TOLERANCE
    assert largest_difference(limit(parameters), system.values(parameters, 400.0)) < TOLERANCE
    derivatives = [
        torch.autograd.functional.jacobian(function, parameters)
        for function in (limit, lambda free: system.values(free, 400.0))
    ]
    assert largest_difference(*derivatives) < TOLERANCE
    assert abs(float(attractor.spectral_gap) - float(system.gap(parameters))) < 1e-9


@pytest.mark.parametrize("name", ["amplitude damping", "driven cavity"])
def test_a_simple_gap_has_the_known_gradient(name):
    (system,) = [each for each in SYSTEMS if each.name == name]
    parameters = parameters_of(system).requires_grad_()
    gap = find_attractor(system.dynamics(parameters)).spectral_gap
    derivatives = [torch.autograd.grad(value, parameters)[0] for value in (gap, system.gap(parameters))]
    assert largest_difference(*derivatives) < 1e-10


def test_a_decay_rate_moves_populations_and_coherences_by_the_known_derivatives():
    rate = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    start, time = torch.tensor([0.6, 0.8], dtype=DTYPE), 0.8
    dynamics = Lindbladian(still(2), (rate.sqrt() * LOWER)[None])
    density = ExactChannel().evolve(PureEnsemble(start[None]), dynamics, time=time, steps=1).density()
    left = torch.tensor(-0.9 * time, dtype=torch.float64).exp()
    (population,) = torch.autograd.grad(density[1, 1].real, rate, retain_graph=True)
    (coherence,) = torch.autograd.grad(density[1, 0].real, rate)
    assert abs(population + time * 0.64 * left) < 1e-13
    assert abs(coherence + 0.5 * time * 0.48 * left.sqrt()) < 1e-13


@pytest.mark.parametrize(("alpha", "tolerance"), [(0.5 + 0.3j, 1e-12), (1.1 + 0.4j, 1e-8)], ids=str)
def test_a_damping_rate_lowers_the_photons_of_a_coherent_state_by_the_known_derivative(alpha, tolerance):
    start = torch.tensor(alpha, dtype=DTYPE)
    free = torch.tensor([0.6, 0.7, 0.0], dtype=torch.float64, requires_grad=True)
    state = ExactChannel().evolve(PureEnsemble(coherent(start)[None]), cavity(free), time=1.5, steps=1)
    shrunk = start * torch.exp(torch.tensor((-0.7j - 0.3) * 1.5, dtype=DTYPE))
    assert torch.allclose(state.density(), density_of(coherent(shrunk)), rtol=0, atol=tolerance)
    (gradient,) = torch.autograd.grad(state.density().diagonal().real @ NUMBERS, free)
    known = -(start.abs() ** 2) * 1.5 * torch.tensor(-0.9, dtype=torch.float64).exp()
    assert abs(gradient[0] - known) < tolerance


@pytest.mark.parametrize(
    ("hamiltonian", "start"),
    [(0.5 * X, torch.tensor([0.6, 0.8j], dtype=DTYPE)), (NUMBER, coherent(ALPHA))],
    ids=["Rabi", "free cavity"],
)
def test_unitary_dynamics_are_exact_and_ignore_jumps(hamiltonian, start):
    frequency = torch.tensor(2.1, dtype=torch.float64, requires_grad=True)
    lower = LOWER if len(start) == 2 else ANNIHILATE
    state = Unitary().evolve(
        PureEnsemble(start[None]), Lindbladian(frequency * hamiltonian, lower[None]), time=0.8, steps=1
    )
    levels, vectors = torch.linalg.eigh(hamiltonian)
    known = vectors @ (torch.exp(-0.8j * frequency * levels) * (vectors.mH @ start))
    assert torch.allclose(state.kets[0], known, rtol=0, atol=TOLERANCE)
    weights = torch.randn(2, len(start), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    derivatives = [
        torch.autograd.grad((torch.view_as_real(ket).mT * weights).sum(), frequency)[0]
        for ket in (state.kets[0], known)
    ]
    assert largest_difference(*derivatives) < TOLERANCE


def binary_entropy(share):
    return -(share * share.log2() + (1 - share) * (1 - share).log2())


@pytest.mark.parametrize("time", [0.1, 0.8, 3.0])
def test_bell_pumping_from_a_product_gives_each_qubit_the_known_entropy(time):
    rate = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    start = PureEnsemble(torch.eye(4, dtype=DTYPE)[:1])
    density = ExactChannel().evolve(start, bell_pump(rate), time=time, steps=1).density()
    known = binary_entropy((1 + (-0.5 * rate * time).exp()) / 2)
    for position in (0, 1):
        entropy = von_neumann_entropy(partial_trace(density, (2, 2), [position]))
        assert abs(entropy - known) < TOLERANCE
        pair = [torch.autograd.grad(value, rate, retain_graph=True)[0] for value in (entropy, known)]
        assert largest_difference(*pair) < TOLERANCE


@pytest.mark.parametrize("angle", [0.2, 0.7, 1.2])
def test_exchange_entangles_by_the_known_entropy_and_gradient(angle):
    coupling = torch.tensor(angle, dtype=torch.float64, requires_grad=True)
    start = PureEnsemble(torch.eye(4, dtype=DTYPE)[1:2])
    dynamics = exchange_dynamics(torch.stack([coupling, torch.ones_like(coupling)]))
    kets = Unitary().evolve(start, dynamics, time=1.0, steps=1).kets
    entropy, known = entanglement_entropy(kets, (2, 2), (0,))[0], binary_entropy(coupling.cos() ** 2)
    assert abs(entropy - known) < TOLERANCE
    pair = [torch.autograd.grad(value, coupling)[0] for value in (entropy, known)]
    assert largest_difference(*pair) < TOLERANCE


def test_exchange_reaches_the_bell_entropy_at_a_quarter_period():
    start = PureEnsemble(torch.eye(4, dtype=DTYPE)[1:2])
    dynamics = exchange_dynamics(torch.tensor([1.0, 0.5], dtype=torch.float64))
    kets = Unitary().evolve(start, dynamics, time=torch.pi / 4, steps=1).kets
    assert abs(entanglement_entropy(kets, (2, 2), (0,))[0] - 1) < TOLERANCE
