"""Operators and states by name: those of QuTiP, their algebra and gradients, and the way to QuTiP and back."""

import math
import sys

import numpy as np
import pytest
import torch

from qinn import quantum as q
from qinn.errors import ArgumentError, MissingPackageError

C = torch.complex128
DIM = 24


def same(ours, theirs, tolerance=1e-12):
    qutip = pytest.importorskip("qutip")
    array = theirs.full() if isinstance(theirs, qutip.Qobj) else theirs
    array = array[:, 0] if array.shape[-1] == 1 and ours.ndim == 1 else array
    assert ours.shape == array.shape
    return np.abs(ours.numpy() - array).max() < tolerance


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (q.destroy, "destroy"),
        (q.create, "create"),
        (q.number, "num"),
        (q.position, "position"),
        (q.momentum, "momentum"),
    ],
)
@pytest.mark.parametrize("dim", [2, 7])
def test_operators_of_the_oscillator_are_those_of_qutip(ours, theirs, dim):
    qutip = pytest.importorskip("qutip")
    assert same(ours(dim, dtype=C), getattr(qutip, theirs)(dim))


@pytest.mark.parametrize("component", ["x", "y", "z", "+", "-"])
@pytest.mark.parametrize("total", [0.5, 1, 2.5])
def test_spins_are_those_of_qutip(component, total):
    qutip = pytest.importorskip("qutip")
    assert same(q.spin(component, total, dtype=C), qutip.jmat(total, component))


def test_ladders_of_a_qubit_are_halves_of_its_pauli_matrices():
    x, y, plus, minus = (q.pauli(name, dtype=C) for name in ("X", "Y", "+", "-"))
    assert torch.equal(plus, (x + 1j * y) / 2)
    assert torch.equal(minus, plus.mH)
    assert torch.equal(plus, q.spin("+", dtype=C))
    assert torch.equal(plus, q.destroy(2, dtype=C))


@pytest.mark.parametrize("total", [0.5, 1, 3.5])
def test_spins_have_their_algebra(total):
    x, y, z = q.spin("x", total, dtype=C), q.spin("y", total, dtype=C), q.spin("z", total, dtype=C)
    assert torch.allclose(x @ y - y @ x, 1j * z)
    assert torch.allclose(x @ x + y @ y + z @ z, total * (total + 1) * torch.eye(len(z), dtype=C))


@pytest.mark.parametrize("alpha", [0.0, 0.7, -0.4 + 1.1j])
def test_displaced_and_squeezed_states_are_those_of_qutip(alpha):
    qutip = pytest.importorskip("qutip")
    assert same(q.displace(DIM, torch.tensor(alpha, dtype=C)), qutip.displace(DIM, alpha))
    assert same(q.squeeze(DIM, torch.tensor(alpha, dtype=C)), qutip.squeeze(DIM, alpha))
    coherent = qutip.coherent(4 * DIM, alpha, method="analytic").full()[:DIM]
    assert same(q.coherent_ket(DIM, torch.tensor(alpha, dtype=C)), coherent / np.linalg.norm(coherent))
    squeezed = (qutip.squeeze(12 * DIM, alpha) * qutip.basis(12 * DIM, 0)).full()[:DIM]
    assert same(q.squeezed_ket(DIM, torch.tensor(alpha, dtype=C)), squeezed / np.linalg.norm(squeezed), 1e-10)


@pytest.mark.parametrize("alpha", [3.0, 12.0, 45.0])
@pytest.mark.parametrize("dtype", [torch.complex64, C])
def test_large_coherent_states_neither_overflow_nor_vanish(alpha, dtype):
    ket = q.coherent_ket(int(alpha**2 + 8 * alpha + 20), torch.tensor(alpha * 1j, dtype=dtype))
    mean = (ket.abs().square() * torch.arange(len(ket))).sum()
    assert float(mean) == pytest.approx(alpha**2, rel=1e-4 if dtype == torch.complex64 else 1e-9)


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 6])
def test_states_of_few_levels_have_norm_one(dim):
    for ket in (q.coherent_ket(dim, 5 + 2j), q.squeezed_ket(dim, 0.8j)):
        assert ket.shape == (dim,)
        assert float(ket.norm()) == pytest.approx(1, abs=1e-6)


def test_squeezing_narrows_the_position_and_widens_the_momentum():
    ket = q.squeezed_ket(80, torch.tensor(0.6, dtype=C))
    for operator, power in ((q.position(80, dtype=C), -1.2), (q.momentum(80, dtype=C), 1.2)):
        assert float((operator @ ket).norm() ** 2) == pytest.approx(0.5 * math.exp(power), rel=1e-10)


@pytest.mark.parametrize("make", [q.coherent_ket, q.squeezed_ket, lambda dim, z: q.displace(dim, z)[..., 0]])
def test_many_numbers_are_one_call_for_each(make):
    numbers = torch.tensor([[0.0, 0.3], [0.2j, -1 + 0.5j]], dtype=C)
    together = make(9, numbers)
    assert together.shape == (2, 2, 9)
    for place, one in np.ndenumerate(numbers.numpy()):
        assert torch.allclose(together[place], make(9, torch.tensor(one)), atol=1e-14)


@pytest.mark.parametrize("start", [0.0, 1e-5, 0.6])
@pytest.mark.parametrize("make", [q.coherent_ket, q.squeezed_ket, q.displace, q.squeeze])
def test_gradients_are_those_of_differences(make, start):
    at = torch.tensor([start + 0.1j * start, -start], dtype=C, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: torch.view_as_real(make(7, z)), at, atol=1e-6)


@pytest.mark.parametrize("dim", [2, 6])
def test_thermal_jumps_lead_to_the_thermal_state(dim):
    qutip = pytest.importorskip("qutip")
    mean = torch.tensor(0.8, dtype=torch.float64)
    bath = q.thermal_jumps(q.destroy(dim, dtype=C), 0.3, mean)
    expected = q.thermal_density(dim, mean, dtype=C)
    found = q.find_attractor(q.Lindbladian(q.number(dim, dtype=C), bath)).density
    assert torch.allclose(found, expected, atol=1e-12)
    levels = (0.8 / 1.8) ** np.arange(dim)
    assert same(expected, qutip.qdiags(levels / levels.sum(), 0))


def test_thermal_numbers_pass_gradients():
    numbers = torch.tensor([0.4, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda n: torch.view_as_real(q.thermal_jumps(q.destroy(3, dtype=C), n[0], n[1])), numbers
    )
    assert torch.autograd.gradcheck(lambda n: torch.view_as_real(q.thermal_density(4, n, dtype=C)), numbers)
    at_zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    q.thermal_density(4, at_zero, dtype=C)[1, 1].real.backward()
    assert at_zero.grad is not None
    assert float(at_zero.grad) == 1


def test_stated_loss_of_quanta_by_the_cut_is_right():
    x = 2.0 / 3.0
    mean = (q.thermal_density(6, 2.0, dtype=C).diagonal().real * torch.arange(6)).sum()
    assert float(mean) == pytest.approx(2.0 - 6 * x**6 / (1 - x**6), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: q.destroy(0), "`dim`"),
        (lambda: q.spin("x", 0.3), "`total`"),
        (lambda: q.spin("x", -1), "`total`"),
        (lambda: q.spin("x", float("nan")), "`total`"),
        (lambda: q.coherent_ket(4, float("nan")), "`displacement`"),
        (lambda: q.displace(4, [1.0, float("inf")]), "`displacement`"),
        (lambda: q.squeezed_ket(4, float("inf")), "`squeezing`"),
        (lambda: q.squeeze(4, "z"), "`squeezing`"),
        (lambda: q.thermal_density(4, -0.1), "`occupation`"),
        (lambda: q.thermal_jumps(q.destroy(3), -1, 0), "`rate`"),
        (lambda: q.thermal_jumps(q.destroy(3), 1, [1.0, 2.0]), "`occupation`"),
        (lambda: q.thermal_jumps(torch.ones(2, 3), 1, 0), "`lowering`"),
    ],
)
def test_what_is_no_number_of_levels_or_quanta_is_refused_by_name(call, says):
    with pytest.raises(ArgumentError, match=says):
        call()


def test_objects_of_qutip_go_in_wherever_tensors_do():
    qutip = pytest.importorskip("qutip")
    decay = q.Lindbladian(0.5 * qutip.sigmax(), [qutip.destroy(2)])
    state = q.ExactChannel().evolve(qutip.basis(2, 0), decay, time=1.3)
    theirs = qutip.mesolve(
        0.5 * qutip.sigmax(),
        qutip.basis(2, 0),
        [0, 1.3],
        [qutip.destroy(2)],
        options={"atol": 1e-12, "rtol": 1e-10},
    )
    assert same(state.density(), theirs.states[-1], 1e-8)
    mixed = q.ExactChannel().evolve(qutip.maximally_mixed_dm(2), decay, time=1.3)
    assert float(mixed.density().diagonal().real.sum()) == pytest.approx(1)
    assert q.fidelity(qutip.fock_dm(2, 1), qutip.maximally_mixed_dm(2)).dtype == torch.float64


@pytest.mark.parametrize(("kind", "remedy"), [("bra", "dag"), ("super", "made of")])
def test_other_kinds_of_qutip_are_refused(kind, remedy):
    qutip = pytest.importorskip("qutip")
    given = {"bra": qutip.basis(2, 0).dag(), "super": qutip.to_super(qutip.sigmax())}[kind]
    with pytest.raises(ArgumentError, match=f"(?s){kind}.*{remedy}"):
        q.Lindbladian(given)


def test_to_qobj_and_back_is_the_same():
    qutip = pytest.importorskip("qutip")
    ket = q.random_kets(6, dtype=C)
    there = q.to_qobj(ket, (2, 3))
    assert there.dims[0] == [2, 3]
    assert abs(q.ket_fidelity(there, ket) - 1) < 1e-12
    operator = q.displace(6, torch.tensor(0.3j, dtype=C))
    assert same(operator, q.to_qobj(operator, (3, 2)))
    dynamics = q.Lindbladian(q.number(3, dtype=C), q.thermal_jumps(q.destroy(3, dtype=C), 1.0, 0.5))
    hamiltonian, jumps = q.to_qobj(dynamics)
    assert same(q.find_attractor(dynamics).density, qutip.steadystate(hamiltonian, jumps), 1e-10)
    mixed = q.ExactChannel().evolve(q.basis_ket(0, 3, dtype=C), dynamics, time=1.0)
    assert q.to_qobj(mixed).isoper
    # A gradient does not follow there.
    assert q.to_qobj(ket.clone().requires_grad_()).isket


@pytest.mark.parametrize(
    "call",
    [
        lambda: q.to_qobj(torch.ones(2, 3)),
        lambda: q.to_qobj(torch.ones(4), (2, 3)),
        lambda: q.to_qobj([[[[1]]]]),
    ],
)
def test_what_is_no_object_of_qutip_is_refused(call):
    pytest.importorskip("qutip")
    with pytest.raises(ArgumentError):
        call()


def test_without_qutip_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "qutip", None)
    with pytest.raises(MissingPackageError, match="qutip"):
        q.to_qobj(torch.eye(2))
