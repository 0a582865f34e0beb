"""Dynamics from records of clicks: the density of a record, its derivatives, and what is found from it."""

from math import exp, log

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    JumpBlock,
    Lindbladian,
    MeasuredClicks,
    QuantumJumps,
    UnknownLindbladian,
    destroy,
    fit_lindbladian,
    pauli,
)
from qinn.quantum.learning.clicks import ClickLoss
from qinn.quantum.learning.likelihoods import second_derivative
from qinn.quantum.learning.linear_generator import linear_generator

C = torch.complex128
X, Z, LOWER = pauli("X", dtype=C), pauli("Z", dtype=C), destroy(2, dtype=C)
NAN = float("nan")
ATOM = UnknownLindbladian({"drive": 0.5 * X}, {"decay": LOWER, "phase": Z})
PARAMETERS = torch.tensor([2.0, 1.0, 0.3], dtype=torch.float64)


def watched(runs, seed, time=6.0):
    dynamics = ATOM.lindbladian(PARAMETERS)
    state = QuantumJumps(runs, seed=seed, record=True).evolve(torch.eye(2, dtype=C)[0], dynamics, time=time)
    return MeasuredClicks([1, 0], state.record, durations=time)


def loss_of(family, data, parameters):
    return ClickLoss(data).value(linear_generator(family), torch.tensor(parameters, dtype=torch.float64))


def test_a_decay_has_the_density_of_its_waiting_time():
    """One run with a click after 0.7, one without until 2.0; of each click a half is seen."""
    data = MeasuredClicks([0, 1], [[0], [-1]], [[0.7], [NAN]], durations=2.0)
    half = UnknownLindbladian(jumps=[JumpBlock(LOWER, ["decay"], channel=0, efficiency=0.5)])
    rate = 1.3
    assert loss_of(half, data, [rate]) == pytest.approx(
        -log(0.5 * rate * exp(-rate * 0.7)) - log(exp(-rate * 2.0) + 0.5 * (1 - exp(-rate * 2.0)))
    )


def test_the_density_is_that_of_the_unnormalised_kets():
    data = watched(1, seed=7)
    assert data.num_clicks >= 4
    dynamics = ATOM.lindbladian(PARAMETERS)
    ket, before = torch.tensor([1, 0], dtype=C), 0.0
    for channel, time in zip(data.channels[0].tolist(), data.times[0].tolist(), strict=True):
        ket = torch.linalg.matrix_exp(dynamics.no_jump_generator * (time - before)) @ ket
        ket, before = dynamics.jump_operators[channel] @ ket, time
    ket = torch.linalg.matrix_exp(dynamics.no_jump_generator * (6.0 - before)) @ ket
    expected = -log(float(torch.linalg.vector_norm(ket) ** 2))
    assert loss_of(ATOM, data, PARAMETERS.tolist()) == pytest.approx(expected, abs=1e-9)


def test_derivatives_are_those_of_differences():
    family = UnknownLindbladian(
        {"drive": X}, [JumpBlock(torch.stack([X, Z, LOWER]), channel=0, efficiency=0.7)]
    )
    data, generator = watched(3, seed=0), linear_generator(family)
    data = MeasuredClicks([1, 0], torch.where(data.channels >= 0, 0, -1), data.times, durations=6.0)
    source = torch.Generator().manual_seed(0)
    factor = torch.randn(3, 3, generator=source, dtype=C)
    matrix = factor @ factor.mH
    above = torch.triu_indices(3, 3, 1)
    upper = matrix[above[0], above[1]]
    point = torch.cat([torch.tensor([0.8]).double(), matrix.diagonal().real, upper.real, upper.imag])
    direction = torch.randn(10, generator=source, dtype=torch.float64)
    loss, step = ClickLoss(data), 1e-5
    ahead, behind = (loss.expansion(generator, point + sign * step * direction) for sign in (1, -1))
    here = loss.expansion(generator, point)
    assert (ahead.value - behind.value) / (2 * step) == pytest.approx(
        float(here.gradient @ direction), rel=1e-6
    )
    second = second_derivative([loss], generator, point) @ direction
    by_differences = (ahead.gradient - behind.gradient) / (2 * step)
    assert float((second - by_differences).abs().max()) < 1e-6 * float(second.abs().max())


def test_parts_of_the_runs_say_together_what_all_say(monkeypatch):
    data, generator = watched(7, seed=1), linear_generator(ATOM)
    whole = ClickLoss(data).value(generator, PARAMETERS)
    monkeypatch.setattr("qinn.quantum.learning.clicks._MOST_NUMBERS", 16 * 3 * (data.channels.shape[1] + 1))
    parts = ClickLoss(data).parts(4)
    assert len(parts) == 3
    assert sum(part.value(generator, PARAMETERS) for part in parts) == pytest.approx(whole)
    monkeypatch.setattr("qinn.quantum.learning.clicks._MOST_NUMBERS", 16)
    with pytest.raises(ArgumentError, match="must fit the memory"):
        ClickLoss(data).parts(4)


@pytest.mark.slow
def test_strengths_and_rates_are_found_within_their_errors():
    found = []
    for seed in range(1, 5):
        fit = fit_lindbladian(ATOM, watched(60, seed), seed=seed)
        # Clicks do not see the sign of the drive.
        found.append((fit.parameters.values.abs() - PARAMETERS) / fit.parameters.errors)
        assert float((fit.parameters.errors / PARAMETERS).max()) < 0.15
    # Twelve standard normal numbers.
    together = torch.stack(found)
    assert float(together.abs().max()) < 4
    assert 0.15 < float(together.square().mean()) < 2.7


def test_a_jump_operator_is_found_up_to_its_phase():
    """What clicks fix is more than the generator: which operator jumps."""
    block = JumpBlock(torch.stack([X, pauli("Y", dtype=C), Z]), ["X", "Y", "Z"], rank=1, channel=0)
    dynamics = Lindbladian(X, [LOWER])
    record = QuantumJumps(40, seed=3, record=True).evolve(torch.eye(2, dtype=C)[0], dynamics, time=6.0).record
    data = MeasuredClicks([1, 0], record, durations=6.0)
    fit = fit_lindbladian(UnknownLindbladian({"X": X, "Y": pauli("Y", dtype=C)}, [block]), data, num_starts=2)
    (jump,) = fit.lindbladian.jump_operators
    overlap = abs(complex((LOWER.conj() * jump).sum())) / float(torch.linalg.vector_norm(jump))
    assert overlap > 0.95
    assert fit.deviance is None
    # Turning everything about the axis of the start changes no click. Nor do other directions: after each click this
    # atom begins anew, so that clicks say no more than the density of one waiting time.
    assert not fit.identifiability.is_complete


TIMES = [[0.5, 1.0]]
REFUSED = {
    "fall": (lambda: MeasuredClicks([0, 1], [[0, 0]], [[1.0, 0.5]], durations=2.0), "must rise"),
    "outside": (lambda: MeasuredClicks([0, 1], [[0, 0]], TIMES, durations=0.9), "must rise"),
    "missing": (lambda: MeasuredClicks([0, 1], [[0, 0]], [[0.5, NAN]], durations=2.0), "must rise"),
    "shapes": (lambda: MeasuredClicks([0, 1], [[0]], TIMES, durations=2.0), "one shape"),
    "gap": (lambda: MeasuredClicks([0, 1], [[-1, 0]], TIMES, durations=2.0), "only behind"),
    "durations": (lambda: MeasuredClicks([0, 1], [[0, 0]], TIMES, durations=[2.0, 2.0]), "one number or 1"),
    "endless": (lambda: MeasuredClicks([0, 1], [[0, 0]], TIMES, durations=float("inf")), "finite"),
    "states": (lambda: MeasuredClicks([[0, 1]] * 3, [[0, 0]], TIMES, durations=2.0), "each of 1"),
    "twice": (lambda: MeasuredClicks([0, 1], watched(1, 0), TIMES, durations=2.0), "must"),
    "channel": (
        lambda: fit_lindbladian(ATOM, MeasuredClicks([0, 1], [[0, 5]], TIMES, durations=2.0)),
        "channel 5",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(name):
    attempt, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)
