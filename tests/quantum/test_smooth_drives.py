"""Smooth amplitudes: order of convergence, gradients, what is refused."""

import itertools
import math

import pytest
import qutip
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    Lindbladian,
    amplitudes_along,
    destroy,
    pauli,
)

DTYPE = torch.complex128
BASE = Lindbladian(0.7 * pauli("Z", dtype=DTYPE), [0.5 * destroy(2, dtype=DTYPE)])
DRIVES = torch.stack([pauli("X", dtype=DTYPE), pauli("Y", dtype=DTYPE)])


def turning(times, speed=3.0):
    return torch.stack([torch.cos(speed * times) * times, torch.sin(speed * times)], -1)


def final(steps, function=turning):
    dynamics = DrivenLindbladian(BASE, DRIVES, amplitudes_along(function, time=2.0, steps=steps))
    return ExactChannel().evolve([0.6, 0.8], dynamics, time=2.0).density()


def test_states_converge_to_fourth_order_to_what_qutip_finds():
    hamiltonian = [
        qutip.Qobj(BASE.hamiltonian.numpy()),
        [qutip.Qobj(DRIVES[0].numpy()), lambda t: math.cos(3 * t) * t],
        [qutip.Qobj(DRIVES[1].numpy()), lambda t: math.sin(3 * t)],
    ]
    exact = qutip.mesolve(
        qutip.QobjEvo(hamiltonian),
        qutip.ket2dm(qutip.Qobj([[0.6], [0.8]])),
        [0.0, 2.0],
        [qutip.Qobj(BASE.jump_operators[0].numpy())],
        options={"atol": 1e-13, "rtol": 1e-12, "nsteps": 100_000},
    ).states[-1]
    errors = [float((final(steps) - torch.tensor(exact.full())).abs().max()) for steps in (8, 16, 32)]
    assert errors[-1] < 1e-5
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(4, abs=0.4)


def test_gradients_flow_to_what_the_function_is_made_of():
    speed = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def population(speed):
        return final(4, lambda times: turning(times, speed))[1, 1].real

    assert torch.autograd.gradcheck(population, (speed,))


@pytest.mark.parametrize(
    ("function", "time", "steps"),
    [
        (lambda times: times, 1.0, 3),
        (lambda times: times[:3, None], 1.0, 3),
        (lambda times: 1j * times[:, None], 1.0, 3),
        (lambda times: 2.0, 1.0, 3),
        (turning, 0.0, 3),
        (turning, 1.0, 0),
        (turning, torch.tensor(1.0, requires_grad=True), 3),
    ],
)
def test_what_is_no_amplitude_is_refused_in_a_sentence(function, time, steps):
    with pytest.raises(ArgumentError, match=r"must"):
        amplitudes_along(function, time=time, steps=steps)
