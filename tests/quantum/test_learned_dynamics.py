"""Fits of dynamics to averages and counts: derivatives, exact recovery, error bars, and what data cannot see."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    JumpBlock,
    Lindbladian,
    MeasuredCounts,
    MeasuredExpectations,
    UnknownLindbladian,
    destroy,
    fit_lindbladian,
    generator_entries,
    hermitian_from,
    pauli,
    propagate_densities,
    random_kets,
)
from qinn.quantum.generators.coordinates import superoperator_on_real_coordinates
from qinn.quantum.learning.ascent import chart_at, random_point
from qinn.quantum.learning.likelihoods import TomographyLoss, second_derivative
from qinn.quantum.learning.linear_generator import linear_generator

C = torch.complex128
X, Z, LOWER = pauli("X", dtype=C), pauli("Z", dtype=C), destroy(2, dtype=C)
EYE = torch.eye(2, dtype=C)
EFFECTS = torch.stack(
    [torch.stack([(EYE + one) / 2, (EYE - one) / 2]) for one in (X, pauli("Y", dtype=C), Z)]
)
STATES = EFFECTS.flatten(0, 1)


def dynamics(dim, num_jumps, seed=0):
    source = torch.Generator().manual_seed(seed)
    hamiltonian = hermitian_from(torch.randn(dim, dim, generator=source, dtype=torch.float64))
    jumps = torch.randn(num_jumps, dim, dim, generator=source, dtype=C) / dim
    return Lindbladian(hamiltonian / dim, jumps)


def averages(lindbladian, times, *, errors, noise=0.0, seed=0):
    """Averages of many observables in many states."""
    dim, source = lindbladian.dim, torch.Generator().manual_seed(seed)
    kets = random_kets(dim**2 + 1, dim, generator=source, dtype=C)
    operators = hermitian_from(torch.randn(dim**2, dim, dim, generator=source, dtype=torch.float64))
    densities = kets[:, :, None] * kets[:, None].conj()
    evolved = torch.stack([propagate_densities(lindbladian, densities, time) for time in times], 1)
    values = torch.einsum("stab,oba->sto", evolved, operators).real
    values = values + noise * torch.randn(values.shape, generator=source, dtype=torch.float64)
    return MeasuredExpectations(kets, times, operators, values, errors)


FAMILIES = {
    "full": UnknownLindbladian.full([3]),
    "rank": UnknownLindbladian.full([2, 2], rank=2),
    "local": UnknownLindbladian.local(
        [2, 3], {"ZD": torch.kron(Z, torch.diag(torch.tensor([1, 0, -1])).to(C))}
    ),
    "terms": UnknownLindbladian({"drive": X}, {"decay": LOWER, "phase": Z}, Lindbladian(Z, [0.3 * X])),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_is_linear_in_its_parameters_and_made_of_what_it_says(name):
    unknown = FAMILIES[name]
    point = random_point(unknown, 0.7, torch.Generator().manual_seed(1))
    found = unknown.lindbladian(point.parameters)
    expected = superoperator_on_real_coordinates(found)
    assert float((linear_generator(unknown).at(point.parameters) - expected).abs().max()) < 1e-12


@pytest.mark.parametrize("dims", [[2], [3], [2, 2], [2, 3]])
def test_entries_do_not_depend_on_how_dynamics_are_written_and_say_all(dims):
    dim = torch.tensor(dims).prod().item()
    one = dynamics(dim, 3)
    mixed = torch.linalg.qr(torch.randn(3, 3, dtype=C))[0]
    shifts = torch.randn(3, dtype=C)
    jumps = torch.einsum("jk,kab->jab", mixed, one.jump_operators)
    turned = (shifts.conj()[:, None, None] * jumps - shifts[:, None, None] * jumps.mH).sum(0) / 2j
    other = Lindbladian(
        one.hamiltonian + turned + 3 * torch.eye(dim), jumps + shifts[:, None, None] * torch.eye(dim)
    )
    entries = generator_entries(one, dims)
    assert float((generator_entries(other, dims).values - entries.values).abs().max()) < 1e-12
    again = UnknownLindbladian.full(dims).lindbladian(entries.values)
    assert float((again.superoperator() - other.superoperator()).abs().max()) < 1e-12
    assert UnknownLindbladian.full(dims).names == entries.names


def test_entries_of_known_dynamics_are_those_of_the_textbook():
    entries = generator_entries(Lindbladian(0.5 * X, [2 * LOWER]))
    expected = {"H[X]": 0.5, "C[X,X]": 1.0, "C[Y,Y]": 1.0, "Im C[X,Y]": -1.0}
    assert dict(zip(entries.names, entries.values.tolist(), strict=True)) == pytest.approx(
        {name: expected.get(name, 0.0) for name in entries.names}, abs=1e-12
    )


@pytest.mark.parametrize("kind", ["counts", "averages"])
@pytest.mark.parametrize("name", ["full", "rank", "terms"])
def test_derivatives_are_those_of_differences(name, kind):
    unknown = FAMILIES[name]
    generator = linear_generator(unknown)
    source = torch.Generator().manual_seed(2)
    point = random_point(unknown, 0.4, source).parameters
    truth = dynamics(unknown.dim, 2)
    data = averages(truth, [0.0, 0.4, 0.8, 2.0], errors=0.1)
    if kind == "counts":
        bases = torch.linalg.qr(torch.randn(2, unknown.dim, unknown.dim, generator=source, dtype=C))[0]
        effects = torch.einsum("mak,mbk->mkab", bases, bases.conj())
        data = MeasuredCounts.simulated(truth, data.states, [0.0, 0.4, 0.8, 2.0], effects, 1000, seed=0)
    loss = TomographyLoss(data)
    here = loss.expansion(generator, point)
    direction = torch.randn(len(point), generator=source, dtype=torch.float64) / len(point)
    step = 1e-4
    ahead, behind = (loss.expansion(generator, point + sign * step * direction) for sign in (1, -1))
    assert (ahead.value - behind.value) / (2 * step) == pytest.approx(
        float(here.gradient @ direction), rel=1e-5
    )
    second = second_derivative([loss], generator, point) @ direction
    by_differences = (ahead.gradient - behind.gradient) / (2 * step)
    assert float((second - by_differences).abs().max()) < 1e-5 * float(second.abs().max())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_steps_keep_matrices_positive_and_their_second_order_is_what_the_chart_says(rank):
    unknown = UnknownLindbladian.full([2], rank=rank)
    source = torch.Generator().manual_seed(rank)
    point = random_point(unknown, 1.0, source)
    slope = torch.randn(unknown.num_parameters, generator=source, dtype=torch.float64)
    chart = chart_at(point, slope)
    assert chart.directions.shape[1] == 3 + 2 * 3 * rank - rank**2
    step = torch.randn(chart.directions.shape[1], generator=source, dtype=torch.float64)
    values = [float(slope @ chart.move(size * step).parameters) for size in (-1.0, 0.0, 1.0)]
    assert values[2] - values[0] == pytest.approx(2 * float(slope @ chart.directions @ step))
    assert values[2] - 2 * values[1] + values[0] == pytest.approx(float(step @ chart.bend @ step))
    assert float(step @ chart.convex @ step) >= float(step @ chart.bend @ step)
    assert float(torch.linalg.eigvalsh(chart.convex)[0]) > -1e-12
    moved = chart.move(3 * step).matrices[0]
    assert float(torch.linalg.eigvalsh(moved)[0]) > -1e-12
    assert int(torch.linalg.matrix_rank(moved, hermitian=True)) == rank


@pytest.mark.parametrize(
    ("dims", "num_jumps", "rank"), [([2], 3, None), ([3], 8, None), ([3], 1, 1), ([2, 2], 2, 2)]
)
def test_without_noise_the_truth_is_found(dims, num_jumps, rank):
    truth = dynamics(torch.tensor(dims).prod().item(), num_jumps, seed=3)
    data = averages(truth, [0.3, 1.0, 2.5], errors=1e-7)
    fit = fit_lindbladian(UnknownLindbladian.full(dims, rank=rank), data, num_starts=2)
    assert fit.converged
    assert fit.identifiability.is_complete
    expected = generator_entries(truth, dims)
    assert float((fit.entries_in(dims).values - expected.values).abs().max()) < 1e-8
    assert float((fit.lindbladian.superoperator() - truth.superoperator()).abs().max()) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 1])
def test_intervals_hold_the_truth_as_often_as_they_say(rank):
    """Full-rank dissipation, and a single jump operator, which lies at the boundary of what is physical."""
    truth = dynamics(2, 1 if rank else 6, seed=5)
    expected = generator_entries(truth).values
    held = []
    for seed in range(20):
        counts = MeasuredCounts.simulated(truth, STATES, [0.5, 1.5], EFFECTS, 2000, seed=seed)
        fit = fit_lindbladian(UnknownLindbladian.full([2]), counts, num_starts=1)
        ends = fit.entries.intervals(0.9)
        assert (len(fit.boundary) > 0) == (rank is not None)
        held.append((ends[:, 0] <= expected) & (expected <= ends[:, 1]))
    share, number = float(torch.stack(held).double().mean()), 12 * len(held)
    # Four standard errors of independent intervals.
    assert abs(share - 0.9) < 4 * (0.09 / number) ** 0.5


def test_a_bounded_rank_has_errors_of_its_own():
    truth = Lindbladian(0.6 * X, [LOWER])
    data = averages(truth, [0.5, 1.5], errors=0.02, noise=0.02)
    free, bound = (
        fit_lindbladian(UnknownLindbladian.full([2], rank=rank), data, num_starts=2) for rank in (None, 1)
    )
    assert free.boundary
    assert not bound.boundary
    assert (bound.identifiability.num_parameters, free.identifiability.num_parameters) == (8, 12)
    assert bool((bound.entries.errors < 1.05 * free.entries.errors).all())
    assert bool(
        ((bound.entries.values - generator_entries(truth).values).abs() < 4 * bound.entries.errors).all()
    )


def test_what_the_data_say_nothing_about_is_named_and_has_no_error_bar():
    """Populations alone do not see a precession about the axis that they are measured along."""
    truth = Lindbladian(0.4 * Z, [LOWER])
    counts = MeasuredCounts.simulated(truth, STATES[4:], [0.5, 1.0], EFFECTS[2:], 5000, seed=0)
    fit = fit_lindbladian(UnknownLindbladian({"precession": Z}, {"decay": LOWER}), counts)
    assert fit.identifiability.sentences == ("The data say nothing about precession.",)
    assert (fit.identifiability.rank, fit.identifiability.num_parameters) == (1, 2)
    assert fit.parameters["precession"][1] == float("inf")
    value, error = fit.parameters["rate[decay]"]
    assert abs(value - 1) < 4 * error < 0.2
    assert fit.entries["H[Z]"][1] == float("inf")
    assert fit.entries["C[X,X]"][1] == pytest.approx(error / 4)
    assert "The data say nothing about precession." in str(fit)


def test_what_the_data_cannot_tell_apart_is_named():
    twice = UnknownLindbladian({"first": X, "second": 2 * X}, {"decay": LOWER})
    counts = MeasuredCounts.simulated(Lindbladian(X, [LOWER]), STATES, [0.3, 1.0], EFFECTS, 5000, seed=0)
    fit = fit_lindbladian(twice, counts)
    (sentence,) = fit.identifiability.sentences
    assert sentence.startswith(("Along first − 0.5·second", "Along second − 2·first"))
    assert torch.isinf(fit.parameters.errors).tolist() == [True, True, False]
    # What is there twice is fixed all the same.
    assert fit.entries["H[X]"][0] == pytest.approx(1, abs=4 * fit.entries["H[X]"][1])
    assert fit.entries["H[X]"][1] < 0.05


def test_other_parameters_that_explain_the_data_as_well_are_given():
    counts = MeasuredCounts.simulated(
        Lindbladian(1.5 * X, [LOWER]), STATES[4:5], [0.3, 1.0, 2.0], EFFECTS[2:], 5000, seed=0
    )
    fit = fit_lindbladian(UnknownLindbladian({"drive": X}, {"decay": LOWER}), counts, num_starts=4, seed=1)
    assert fit.identifiability.is_complete
    assert fit.alternatives.shape == (1, 2)
    assert float(fit.alternatives[0, 0]) == pytest.approx(-fit.parameters["drive"][0], abs=0.02)
    assert "explained as well with drive" in str(fit)


def test_a_rate_of_zero_is_said_to_be_at_the_boundary():
    counts = MeasuredCounts.simulated(Lindbladian(X, [LOWER]), STATES, [0.3, 1.0], EFFECTS, 5000, seed=1)
    fit = fit_lindbladian(UnknownLindbladian({"drive": X}, {"decay": LOWER, "phase": Z}), counts)
    (sentence,) = fit.boundary
    assert sentence.startswith("rate[phase] is within 2 standard errors of zero")
    low, high = fit.parameters.intervals()[2].tolist()
    assert low == 0 < high
    assert float(fit.parameters.values[2]) >= 0


def test_the_deviance_tells_a_family_that_holds_the_truth_from_one_that_does_not():
    counts = MeasuredCounts.simulated(Lindbladian(X, [LOWER]), STATES, [0.3, 1.0], EFFECTS, 5000, seed=1)
    right = fit_lindbladian(UnknownLindbladian({"drive": X}, {"decay": LOWER}), counts)
    wrong = fit_lindbladian(UnknownLindbladian({"drive": X}, {"phase": Z}), counts)
    assert right.degrees_of_freedom == 36 - 2
    assert right.p_value > 0.01
    assert wrong.p_value < 1e-6
    assert right.log_likelihood > wrong.log_likelihood


def test_records_of_several_kinds_count_together():
    truth = Lindbladian(X, [LOWER])
    family = UnknownLindbladian({"drive": X}, {"decay": LOWER})
    counts = MeasuredCounts.simulated(truth, STATES, [0.3, 1.0], EFFECTS, 5000, seed=1)
    means = averages(truth, [0.5], errors=0.05, noise=0.05)
    parts = [fit_lindbladian(family, data, num_starts=2) for data in (counts, means, [counts, means])]
    first, second, both = (fit.parameters.errors.square().reciprocal() for fit in parts)
    assert torch.allclose(first + second, both, rtol=0.1)


def test_simulated_counts_have_the_probabilities_of_the_dynamics():
    counts = MeasuredCounts.simulated(
        Lindbladian(0 * X, [LOWER]), STATES[5:], [0.6931472], EFFECTS, 10**6, seed=0
    )
    assert float((counts.counts / 1e6 - torch.tensor([[0.5, 0.5]])).abs().max()) < 4 * 0.5e-3
    assert torch.equal(counts.shots, torch.full((1, 1, 3), 1e6).double())


FAMILY = UnknownLindbladian({"drive": X}, {"decay": LOWER})
COUNTS = MeasuredCounts.simulated(Lindbladian(X, [LOWER]), STATES, [0.3], EFFECTS, 10, seed=1)
REFUSED = {
    "no data": (lambda: fit_lindbladian(FAMILY, []), "must hold something that was measured"),
    "other data": (lambda: fit_lindbladian(FAMILY, [3]), "but holds a `int`"),
    "other dimension": (
        lambda: fit_lindbladian(UnknownLindbladian.full([3]), COUNTS),
        "must be of one dimension",
    ),
    "no family": (lambda: fit_lindbladian(3, COUNTS), "must be an `UnknownLindbladian`"),
    "start": (lambda: fit_lindbladian(FAMILY, COUNTS, start=[1.0]), "must be 2 finite numbers"),
    "too large": (lambda: fit_lindbladian(UnknownLindbladian.full([16]), COUNTS), "must"),
    "nothing unknown": (lambda: UnknownLindbladian(), "something unknown"),
    "sizes": (lambda: UnknownLindbladian([X], [torch.eye(3)]), "must be of one dimension"),
    "names": (lambda: UnknownLindbladian({"rate[a]": X}, {"a": LOWER}), "there twice"),
    "term": (lambda: UnknownLindbladian([LOWER]), "must be Hermitian"),
    "rank": (lambda: JumpBlock(LOWER, rank=2), "at most the number of operators"),
    "channel": (lambda: JumpBlock(LOWER, channel=-1), "must be a whole number"),
    "efficiency": (lambda: JumpBlock(LOWER, channel=0, efficiency=0.0), "must be above 0"),
    "rows": (lambda: MeasuredCounts(torch.eye(2), [1.0], EFFECTS, [[[[1, 2]] * 3]]), "kets or one density"),
    "incomplete": (
        lambda: MeasuredCounts(STATES, [1.0], EFFECTS[:, :1], [[[[1]] * 3]]),
        "sum to the identity",
    ),
    "negative": (
        lambda: MeasuredCounts(STATES, [1.0], [[2 * EYE, -EYE]], torch.ones(6, 1, 1, 2)),
        "must be positive matrices",
    ),
    "halves": (
        lambda: MeasuredCounts(STATES, [1.0], EFFECTS, torch.full((6, 1, 3, 2), 0.5)),
        "whole numbers",
    ),
    "shape": (lambda: MeasuredCounts(STATES, [1.0], EFFECTS, torch.ones(6, 2, 3, 2)), "must have the shape"),
    "errors": (
        lambda: MeasuredExpectations(STATES, [1.0], [Z], torch.ones(6, 1, 1), 0.0),
        "must be positive",
    ),
    "values": (
        lambda: MeasuredExpectations(STATES, [1.0], [Z], torch.ones(6, 2, 1), 0.1),
        "must have the shape",
    ),
    "infinite": (
        lambda: MeasuredExpectations(STATES, [1.0], [Z], torch.full((6, 1, 1), torch.inf), 0.1),
        "finite",
    ),
    "parameters": (lambda: FAMILY.lindbladian([1.0]), "must be 2 numbers"),
    "dims": (lambda: generator_entries(Lindbladian(X), [3]), "product is 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(name):
    attempt, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message.replace("[", r"\[")) as refusal:
        attempt()
    assert "\n" not in str(refusal.value)
