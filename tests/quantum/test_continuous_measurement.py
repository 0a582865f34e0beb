"""Homodyne and heterodyne trajectories: averages, orders of convergence, replayed records, gradients, refusals."""

import itertools
import math

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    ContinuousMeasurement,
    ExactChannel,
    Lindbladian,
    MixedState,
    PureEnsemble,
    check_density,
    destroy,
    pauli,
    propagate_densities,
)

DTYPE = torch.complex128
LOWER, X, Z = destroy(2, dtype=DTYPE), pauli("X", dtype=DTYPE), pauli("Z", dtype=DTYPE)
KET = torch.tensor([0.6, 0.8j], dtype=DTYPE)
# Of a square that is no multiple of the identity.
JUMP = LOWER + 0.3 * LOWER.mH @ LOWER
ONE = Lindbladian(1.3 * X + 0.4 * Z, [JUMP])
# Two channels that do not commute.
TWO = Lindbladian(1.3 * X + 0.4 * Z, [LOWER, 0.5 * X])
CASES = {
    "homodyne": (ONE, ContinuousMeasurement(phases=0.7)),
    "heterodyne": (ONE, ContinuousMeasurement(detection="heterodyne")),
    "inefficient": (ONE, ContinuousMeasurement(0.6, phases=0.7)),
    "two channels": (TWO, ContinuousMeasurement([1.0, 0.5], phases=[0.2, 1.0])),
    "one detector": (TWO, ContinuousMeasurement([0.0, 1.0])),
}


def densities(run):
    state = run.state
    if isinstance(state, PureEnsemble):
        return state.kets[..., :, None] * state.kets[..., None, :].conj()
    return state.density()


@pytest.mark.parametrize("case", CASES)
def test_trajectories_average_to_the_master_equation_and_stay_states(case):
    dynamics, detectors = CASES[case]
    run = detectors.measure(KET, dynamics, time=1.5, steps=30, num_trajectories=1000, seed=3)
    exact = ExactChannel().evolve(KET, dynamics, time=1.5).density()
    each = densities(run)
    spread = torch.view_as_real(each).std(0) / 1000**0.5
    assert float(((torch.view_as_real(each.mean(0) - exact)).abs() / (spread + 1e-4)).max()) < 4
    assert torch.allclose(run.density(), each.mean(0))
    check_density(each)
    purity = (each.abs() ** 2).sum((-2, -1))
    assert bool((purity > 1 - 1e-9).all()) == (case in ("homodyne", "heterodyne"))


@pytest.mark.parametrize("case", CASES)
def test_a_step_averages_to_the_channel_to_third_order(case):
    dynamics, detectors = CASES[case]
    # Probabilists' Gauss and Hermite nodes, from the eigenvalues of the Jacobi matrix.
    beside = torch.arange(1, 12).double().sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    chances = vectors[0] ** 2
    start = KET[:, None] * KET.conj()
    errors = []
    for length in (0.02, 0.01):
        step = detectors._step(dynamics, length, 1)
        places = torch.tensor(list(itertools.product(range(12), repeat=len(step.powers))))
        weights = chances[places].prod(1)
        rows = start.expand(len(places), 2, 2)
        # Forwards and backwards, as products of several currents alternate.
        mean = 0
        for number in (0, 1):
            increments = step.increments(rows, nodes[places], number, pure=False)
            after, _ = step.update(rows, increments, number, pure=False)
            mean = mean + 0.5 * (weights[:, None, None] * after).sum(0)
        errors.append(float((mean - propagate_densities(dynamics, start, length)).abs().max()))
    assert math.log2(errors[0] / errors[1]) > 2.75


@pytest.mark.slow
@pytest.mark.parametrize(("case", "order"), [("homodyne", 1.0), ("heterodyne", 1.0), ("two channels", 0.5)])
def test_states_converge_at_a_given_record_with_the_stated_order(case, order):
    dynamics, detectors = CASES[case]
    fine = detectors.measure(KET, dynamics, time=1.0, steps=512, num_trajectories=100, seed=2)
    errors = []
    for steps in (8, 64):
        coarse = fine.record.unflatten(-2, (steps, 512 // steps)).sum(-2)
        found = detectors.condition(KET, dynamics, coarse, time=1.0)
        errors.append(float((densities(found) - densities(fine)).abs().square().mean()) ** 0.5)
    assert math.log2(errors[0] / errors[1]) / 3 == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("case", CASES)
def test_a_replayed_record_gives_the_same_states(case):
    dynamics, detectors = CASES[case]
    starts = PureEnsemble(torch.stack([KET, KET.flip(0)])[:, None])
    run = detectors.measure(starts, dynamics, time=1.0, steps=40, num_trajectories=3, seed=3, keep=True)
    again = detectors.condition(starts, dynamics, run.record, time=1.0, keep=True)
    values = [each.course.expectations(torch.stack([X, Z])) for each in (run, again)]
    assert torch.allclose(*values, rtol=0, atol=1e-12)
    assert torch.allclose(run.log_likelihood, again.log_likelihood)
    assert values[0].shape[:3] == (41, 2, 3)
    assert float(run.course.times[-1]) == pytest.approx(1)
    # A pure start as a mixed one.
    mixed = detectors.condition(MixedState(starts.density()), dynamics, run.record, time=1.0)
    assert torch.allclose(densities(mixed), densities(run), rtol=0, atol=1e-10)
    assert torch.allclose(mixed.log_likelihood, run.log_likelihood)
    alone = detectors.condition(starts, dynamics, run.record[0, :1], time=1.0)
    assert torch.allclose(densities(alone)[0, 0], densities(run)[0, 0], rtol=0, atol=1e-12)


def test_currents_have_the_mean_that_detectors_see():
    detectors = ContinuousMeasurement(0.7, phases=math.pi / 2)
    run = detectors.measure(KET, ONE, time=0.5, steps=10, num_trajectories=20_000, seed=1)
    places = torch.linspace(0, 0.5, 501).double()
    quadrature = math.sqrt(0.7) * (-1j * JUMP + 1j * JUMP.mH)
    means = ExactChannel().evolve(KET, ONE, times=places.tolist()).expectations(quadrature[None])[:, 0, 0]
    wanted = float(torch.trapezoid(means, places))
    totals = run.record.sum((-2, -1))
    assert abs(float(totals.mean()) - wanted) < 4 * float(totals.std()) / 20_000**0.5
    # White noise, whose variance the state hardly changes.
    assert float(run.record.var()) == pytest.approx(0.05, rel=0.05)


def test_seeds_repeat_and_are_shared_by_samples():
    starts = PureEnsemble(KET.expand(2, 1, 2))
    first, second = (
        ContinuousMeasurement().measure(starts, ONE, time=0.5, steps=5, num_trajectories=3, seed=4)
        for _ in range(2)
    )
    assert torch.equal(first.record, second.record)
    assert torch.equal(first.record[0], first.record[1])
    torch.manual_seed(0)
    free = ContinuousMeasurement().measure(starts, ONE, time=0.5, steps=5, num_trajectories=3)
    assert not torch.equal(free.record[0], free.record[1])


@pytest.mark.slow
@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
def test_everything_has_the_gradient_of_finite_differences(detection):
    free = torch.tensor([1.2, 0.5, 0.8, 0.3], dtype=torch.float64, requires_grad=True)

    def runs(free):
        dynamics = Lindbladian(free[0] * X, [free[1] * LOWER, Z * free[3]])
        efficiencies = torch.stack([free[2], torch.ones(()).double()])
        detectors = ContinuousMeasurement(efficiencies, free[3], detection=detection)
        drawn = detectors.measure(KET, dynamics, time=free[2], steps=4, num_trajectories=2, seed=1)
        record = 0.1 * torch.arange(drawn.record.numel()).double().cos().reshape(drawn.record.shape)
        told = detectors.condition(KET, dynamics, record, time=1.0)
        return torch.view_as_real(drawn.density()), drawn.record, told.log_likelihood

    assert torch.autograd.gradcheck(runs, (free,), fast_mode=True)


def test_the_likelihood_of_records_prefers_the_true_parameter():
    run = ContinuousMeasurement().measure(KET, ONE, time=8.0, steps=200, num_trajectories=60, seed=5)
    found = []
    for drive in (1.0, 1.299, 1.3, 1.301, 1.6):
        other = Lindbladian(drive * X + 0.4 * Z, [JUMP])
        found.append(ContinuousMeasurement().condition(KET, other, run.record, time=8.0).log_likelihood)
    low, before, true, behind, high = found
    assert float(true.sum()) > max(float(low.sum()), float(high.sum()))
    # The mean of the score is 0.
    slopes = (behind - before) / 0.002
    assert abs(float(slopes.mean())) < 4 * float(slopes.std()) / 60**0.5


NONE = torch.zeros(1, 4, 1, dtype=torch.float64)
REFUSED = {
    "an efficiency above 1": lambda: ContinuousMeasurement(1.1).condition(KET, ONE, NONE, time=1.0),
    "efficiencies of other channels": lambda: ContinuousMeasurement([1.0, 0.5]).condition(
        KET, ONE, NONE, time=1.0
    ),
    "a phase that is none": lambda: ContinuousMeasurement(phases=math.nan).condition(
        KET, ONE, NONE, time=1.0
    ),
    "another detector": lambda: ContinuousMeasurement(detection="click"),
    "a record of another number of currents": lambda: ContinuousMeasurement().condition(
        KET, TWO, NONE, time=1.0
    ),
    "a record with NaN": lambda: ContinuousMeasurement().condition(KET, ONE, math.nan * NONE, time=1.0),
    "a record of other samples": lambda: ContinuousMeasurement().condition(
        PureEnsemble(KET.expand(2, 1, 2)), ONE, NONE.expand(3, 1, 4, 1), time=1.0
    ),
    "no channel": lambda: ContinuousMeasurement().measure(
        KET, Lindbladian(X), time=1.0, steps=4, num_trajectories=1
    ),
    "steps that are too long": lambda: ContinuousMeasurement().measure(
        KET, ONE, time=10.0, steps=4, num_trajectories=1
    ),
    "no step": lambda: ContinuousMeasurement().measure(KET, ONE, time=1.0, steps=0, num_trajectories=1),
    "no trajectory": lambda: ContinuousMeasurement().measure(KET, ONE, time=1.0, steps=4, num_trajectories=0),
    "an ensemble of another size": lambda: ContinuousMeasurement().measure(
        PureEnsemble(KET.expand(2, 2)), ONE, time=1.0, steps=4, num_trajectories=3
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_detector_does_is_refused_in_a_sentence(case):
    with pytest.raises(ArgumentError, match=r"must"):
        REFUSED[case]()
