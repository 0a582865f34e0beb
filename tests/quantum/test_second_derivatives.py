"""Second derivatives are those of finite differences of first ones, and asking for them leaves the first as they are."""

import pytest
import torch

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
    density_of,
    pauli,
    propagate_densities,
    propagate_observables,
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
