"""Second derivatives are those of finite differences of first ones; asking for them leaves the first as they are."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    Heisenberg,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    Unitary,
    basis_ket,
    bell_state,
    concurrence,
    contraction,
    density_of,
    entanglement_entropy,
    fidelity,
    log_negativity,
    mutual_information,
    negativity,
    pauli,
    propagate_densities,
    propagate_observables,
    square_root,
    trace_distance,
    von_neumann_entropy,
)

DTYPE = torch.complex128
STEP = 1e-5


def ladder(dim, dtype=DTYPE):
    return torch.diag(torch.arange(1, dim).double().sqrt(), 1).to(dtype)


def position(dim, theta, dtype=DTYPE):
    a = ladder(dim, dtype)
    return Lindbladian(theta.to(dtype) * (a + a.mH), [(1 + 0.2 * theta.to(dtype)) * a])


def number(dim, dtype=DTYPE):
    return torch.diag(torch.arange(dim).double()).to(dtype)


def of_densities(dim, dtype=DTYPE, time=3.0):
    def value(theta):
        start = density_of(basis_ket(3, dim, dtype=dtype))
        return propagate_densities(position(dim, theta, dtype), start, time)[3, 3].real

    return value


def of_observables(dim):
    def value(theta):
        return propagate_observables(position(dim, theta), number(dim), 2.0)[1, 1].real

    return value


def of_trajectories_then_a_channel(theta):
    # Of so weak an operator no jump falls: the record is the same at any θ.
    weak = Lindbladian(position(12, theta).hamiltonian, [1e-9 * ladder(12)])
    start = PureEnsemble(basis_ket(3, 12, dtype=DTYPE)[None])
    state = QuantumJumps(2, seed=0, gradient="pathwise").evolve(start, weak, time=0.5)
    return ExactChannel().evolve(state, position(12, theta), time=2.0).expectations(number(12)[None])[0, 0]


def of_a_unitary(mixed, parts):
    def value(theta):
        H = torch.tensor([[0.3, 0.2 - 0.1j], [0.2 + 0.1j, -0.5]], dtype=DTYPE) + theta * pauli(
            "X", dtype=DTYPE
        )
        ket = torch.tensor([1, 0], dtype=DTYPE)
        state = MixedState(density_of(ket)) if mixed else PureEnsemble(ket[None])
        for _ in range(parts):
            state = Unitary().evolve(state, Lindbladian(H), time=1.0)
        return state.expectations(pauli("Z", dtype=DTYPE)[None])[0, 0]

    return value


def of_a_drive(dim, pieces, *, batched):
    def value(theta):
        a = ladder(dim)
        base = Lindbladian(0.3 * number(dim), [(0.5 + theta.to(DTYPE)) * a])
        amplitudes = torch.ones(pieces, 1).double() * (0.4 + theta)
        amplitudes = amplitudes.expand(2, pieces, 1) if batched else amplitudes
        dynamics = DrivenLindbladian(base, (a + a.mH)[None], amplitudes)
        state = MixedState(density_of(basis_ket(1, dim, dtype=DTYPE)).expand(2, dim, dim))
        return ExactChannel().evolve(state, dynamics, time=1.0).expectations(number(dim)[None])[0, 0, 0]

    return value


def of_heisenberg(theta):
    state = Heisenberg().evolve(basis_ket(3, 10, dtype=DTYPE), position(10, theta), time=2.0)
    return state.expectations(number(10)[None])[0, 0]


FUNCTIONS = {
    "densities": of_densities(10),
    "densities of 36": of_densities(36, time=0.5),
    "observables": of_observables(10),
    "heisenberg": of_heisenberg,
    "trajectories, then a channel": of_trajectories_then_a_channel,
    "unitary of a mixed state": of_a_unitary(True, 1),
    "unitary chain of two": of_a_unitary(False, 2),
    "unitary chain of three mixed": of_a_unitary(True, 3),
    "batched drive": of_a_drive(2, 1, batched=True),
    "batched drive of three pieces": of_a_drive(3, 3, batched=True),
    "drive of 36": of_a_drive(36, 2, batched=False),
}


def first_and_second(function, at):
    theta = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(function(theta), theta, create_graph=True)[0]
    return float(first.detach()), float(torch.autograd.grad(first, theta)[0])


def first_of(function, at):
    theta = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    return float(torch.autograd.grad(function(theta), theta)[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_create_graph_leaves_the_gradient_as_it_is_and_its_derivative_is_that_of_differences(name):
    function, at = FUNCTIONS[name], 0.5
    first, second = first_and_second(function, at)
    plain = first_of(function, at)
    assert first == pytest.approx(plain, rel=1e-9, abs=1e-10)
    known = (first_of(function, at + STEP) - first_of(function, at - STEP)) / (2 * STEP)
    assert second == pytest.approx(known, rel=1e-5, abs=1e-6)


def test_single_precision_has_the_second_derivatives_of_double():
    known = first_and_second(of_densities(10), 0.5)
    assert first_and_second(of_densities(10, torch.complex64), 0.5) == pytest.approx(known, rel=1e-3)


def hermitian(dim, seed):
    parts = torch.randn(2, dim, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    matrix = torch.complex(parts[0], parts[1])
    matrix = matrix + matrix.mH
    return 0.2 * (matrix - torch.eye(dim) * matrix.diagonal().mean())


def turned(ket, theta, seed=4):
    return torch.linalg.matrix_exp(1j * theta * hermitian(len(ket), seed)) @ ket


def mixed(*levels):
    return torch.diag(torch.tensor(levels, dtype=DTYPE))


BELL = density_of(bell_state(dtype=DTYPE))
WERNER = 0.6 * BELL + 0.1 * torch.eye(4, dtype=DTYPE)
HALF, QUARTER = mixed(0.5, 0.5), mixed(0.25, 0.25, 0.25, 0.25)
OTHER = torch.tensor([[0.7, 0.1j], [-0.1j, 0.3]], dtype=DTYPE)
SHARE = torch.tensor([[0.5, 0.1], [0.1, 0.5]], dtype=DTYPE)
CHANGE = torch.tensor([[0.1, 0.2], [0.2, -0.1]], dtype=DTYPE)


def along(matrix, seed=1):
    return lambda theta: matrix + theta * hermitian(len(matrix), seed)


MEASURES = {
    "entropy at half": lambda t: von_neumann_entropy(along(HALF)(t)),
    "entropy of two equal levels": lambda t: von_neumann_entropy(along(mixed(0.2, 0.2, 0.6))(t)),
    "entropy of far levels": lambda t: von_neumann_entropy(along(mixed(0.02, 0.08, 0.9))(t)),
    "entropy of a Werner state": lambda t: von_neumann_entropy(along(WERNER)(t)),
    "entropy of a turned pure state": lambda t: von_neumann_entropy(
        density_of(turned(bell_state(dtype=DTYPE), t))
    ),
    "negativity of a Werner state": lambda t: negativity(along(WERNER)(t), (2, 2), [0]),
    "log negativity": lambda t: log_negativity(along(WERNER)(t), (2, 2), [0]),
    "mutual information": lambda t: mutual_information(along(QUARTER)(t), (2, 2), [0], [1]),
    "fidelity": lambda t: fidelity(SHARE + t * CHANGE, OTHER),
    "fidelity at the mixed state": lambda t: fidelity(along(QUARTER)(t), QUARTER),
    "fidelity with a pure state": lambda t: fidelity(
        along(WERNER)(t), density_of(turned(BELL[0] * 2**0.5, t))
    ),
    "concurrence": lambda t: concurrence(0.5 * BELL + 0.5 * torch.kron(SHARE + t * CHANGE, OTHER)),
    "concurrence of a Werner state": lambda t: concurrence(along(WERNER)(t)),
    "root": lambda t: square_root(SHARE + t * CHANGE)[0, 0].real,
    "square of a root": lambda t: square_root(SHARE + t * CHANGE)[0, 0].real ** 2,
    "root of equal levels": lambda t: square_root(along(QUARTER)(t))[0, 1].imag ** 2,
    "distance": lambda t: trace_distance(along(mixed(0.2, 0.2, 0.6))(t), mixed(0.4, 0.4, 0.2)),
    "distance of pure states": lambda t: trace_distance(
        density_of(turned(torch.eye(4, dtype=DTYPE)[0], t)), density_of(torch.eye(4, dtype=DTYPE)[1])
    ),
    "entanglement of a Bell state": lambda t: entanglement_entropy(
        turned(bell_state(dtype=DTYPE), t), (2, 2), [0]
    ),
    "entanglement of six levels": lambda t: entanglement_entropy(
        turned(torch.tensor([0.7, 0, 0.1, 0, 0.7, 0.1], dtype=DTYPE), t), (3, 2), [0], validate=False
    ),
    "contraction": lambda t: contraction(
        Lindbladian(along(0 * QUARTER)(t + 1), [ladder(4)]), along(QUARTER)(t), mixed(0.1, 0.2, 0.3, 0.4), 0.3
    ),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("at", [0.0, 0.03])
def test_measures_have_the_second_derivatives_of_differences_at_equal_levels_too(name, at):
    function = MEASURES[name]
    first, second = first_and_second(function, at)
    assert first == pytest.approx(first_of(function, at), rel=1e-9, abs=1e-10)
    known = (first_of(function, at + STEP) - first_of(function, at - STEP)) / (2 * STEP)
    assert second == pytest.approx(known, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("measure", [lambda rho: fidelity(rho, QUARTER), concurrence], ids=["fidelity", "C"])
def test_second_derivatives_through_the_root_of_a_singular_matrix_are_refused(measure):
    theta = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    value = measure(density_of(turned(torch.tensor([0.8, 0, 0, 0.6], dtype=DTYPE), theta)))
    (first,) = torch.autograd.grad(value, theta, create_graph=True)
    assert torch.isfinite(first)
    with pytest.raises(ArgumentError, match="first derivatives only"):
        first.backward()


def test_third_derivatives_of_spectra_are_refused():
    theta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    value = von_neumann_entropy(along(HALF)(theta))
    (first,) = torch.autograd.grad(value, theta, create_graph=True)
    (second,) = torch.autograd.grad(first, theta, create_graph=True)
    with pytest.raises(ArgumentError, match="first and second derivatives only"):
        second.backward()


def test_equal_states_have_a_second_derivative_of_zero():
    assert first_and_second(lambda t: trace_distance(along(QUARTER)(t), along(QUARTER)(0.0)), 0.0)[1] == 0
