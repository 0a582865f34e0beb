"""States at many times in one pass: those of single passes, their gradients, averages, records, and what is refused."""

import math

import pytest
import qutip
import torch

from qinn import quantum as q
from qinn.errors import ArgumentError

C = torch.complex128
EVEN = [0.1 * place for place in range(12)]
UNEVEN = [0.0, 0.05, 0.3, 0.3, 0.31, 0.7, 1.1]
LATE = [0.4, 0.5, 0.6, 0.7]
GRIDS = {"even": EVEN, "uneven": UNEVEN, "late": LATE, "one": [0.9], "none passes": [0.0, 0.0]}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def operators(dim, num_jumps=2, dtype=C, seed=0):
    draws = generator(seed)
    hamiltonian = torch.randn(dim, dim, dtype=dtype, generator=draws) / dim**0.5
    jumps = torch.randn(num_jumps, dim, dim, dtype=dtype, generator=draws) / (dim * max(num_jumps, 1)) ** 0.5
    return 0.5 * (hamiltonian + hamiltonian.mH), jumps


def observables(dim, dtype=C):
    return torch.randn(3, dim, dim, dtype=dtype, generator=generator(7))


def start(dim, *batch, dtype=C):
    return q.random_kets(*batch, dim, dtype=dtype, generator=generator(3))


def values(state, dim, dtype=C):
    return state.expectations(observables(dim, dtype), hermitian=False)


@pytest.mark.parametrize("times", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("evolution", [q.ExactChannel(), q.Heisenberg(), q.Unitary(), q.NoEvolution()])
@pytest.mark.parametrize("dim", [2, 9])
def test_every_time_is_what_a_pass_to_it_gives(evolution, times, dim):
    dynamics, ket = q.Lindbladian(*operators(dim)), start(dim, 5)
    course = evolution.evolve(ket, dynamics, times=times)
    alone = [evolution.evolve(ket, dynamics, time=time) for time in times]
    expected = torch.stack([values(state, dim) for state in alone])
    assert torch.allclose(values(course, dim), expected, atol=2e-11, rtol=0)
    assert torch.allclose(
        course.density(), torch.stack([state.density() for state in alone]), atol=2e-11, rtol=0
    )
    vectors = q.random_kets(4, dim, dtype=C, generator=generator(9))
    for place, state in enumerate(alone):
        assert torch.allclose(course.probabilities(vectors)[place], state.probabilities(vectors), atol=2e-11)
        assert torch.allclose(values(course[place], dim), values(state, dim), atol=2e-11)


@pytest.mark.parametrize("dim", [4, 12])
def test_single_precision_keeps_its_promise_at_every_time(dim):
    hamiltonian, jumps = operators(dim, dtype=torch.complex64)
    ket = start(dim, dtype=torch.complex64)
    single = q.ExactChannel().evolve(ket, q.Lindbladian(hamiltonian, jumps), times=EVEN).density()
    double = q.ExactChannel().evolve(ket.to(C), q.Lindbladian(hamiltonian.to(C), jumps.to(C)), times=EVEN)
    assert (single - double.density()).abs().max() < 1e-5


def test_mixed_and_non_hermitian_starts_of_the_series():
    dynamics = q.Lindbladian(*operators(10))
    mixed = q.MixedState(0.5 * q.density_of(start(10)) + 0.05 * torch.eye(10, dtype=C))
    for evolution in (q.ExactChannel(), q.Unitary()):
        course = evolution.evolve(mixed, dynamics, times=UNEVEN)
        assert torch.allclose(
            course[-1].density(), evolution.evolve(mixed, dynamics, time=1.1).density(), atol=1e-11
        )
    any_matrix = observables(10)
    along = q.propagate_observables_along(dynamics, any_matrix, UNEVEN)
    assert torch.allclose(along[4], q.propagate_observables(dynamics, any_matrix, 0.31), atol=1e-11)


@pytest.mark.parametrize("name", ["dephasing", "many units"])
def test_what_the_plan_did_not_foresee_is_done_carefully(name):
    number = q.number(12, dtype=torch.complex64)
    jumps = number[None] if name == "dephasing" else 30 * q.destroy(12, dtype=torch.complex64)[None]
    ket = torch.full((12,), 12**-0.5, dtype=torch.complex64)
    times = [0.0, 0.3, 1.0, 1.0, 2.5]
    course = q.ExactChannel().evolve(ket, q.Lindbladian(0 * number, jumps), times=times).density()
    double = q.ExactChannel().evolve(ket.to(C), q.Lindbladian(0 * number.to(C), jumps.to(C)), times=times)
    assert (course - double.density()).abs().max() < 5e-5


@pytest.mark.parametrize("dim", [3, 9])
@pytest.mark.parametrize("evolution", [q.ExactChannel(), q.Heisenberg(), q.Unitary()])
@pytest.mark.parametrize("times", [EVEN[:5], UNEVEN], ids=["even", "uneven"])
def test_gradients_are_those_of_single_passes(evolution, dim, times):
    weights = torch.randn(len(times), 3, generator=generator(4), dtype=torch.float64)

    def gradients(run):
        given = [each.clone().requires_grad_() for each in (*operators(dim), start(dim))]
        dynamics = q.Lindbladian(0.5 * (given[0] + given[0].mH), given[1])
        total = (weights * values(run(given[2], dynamics), dim).abs().squeeze(-2)).sum()
        return torch.autograd.grad(total, given, allow_unused=True)

    together = gradients(lambda ket, dynamics: evolution.evolve(ket, dynamics, times=times))

    def one_by_one(ket, dynamics):
        class Alone:
            @staticmethod
            def expectations(matrices, hermitian):
                alone = [evolution.evolve(ket, dynamics, time=time) for time in times]
                return torch.stack([state.expectations(matrices, hermitian=hermitian) for state in alone])

        return Alone

    for ours, expected in zip(together, gradients(one_by_one), strict=True):
        assert (ours is None) == (expected is None)
        if ours is not None:
            assert torch.allclose(ours, expected, atol=1e-9, rtol=1e-8)


def test_second_derivatives_of_the_series_are_those_of_single_passes():
    times = [0.2, 0.5, 1.0]

    def curvature(along):
        hamiltonian, jumps = (each.requires_grad_() for each in operators(9, 1))
        dynamics = q.Lindbladian(hamiltonian, jumps, validate=False)
        density = q.density_of(start(9))
        if along:
            moved = q.propagate_densities_along(dynamics, density, times)
        else:
            moved = torch.stack([q.propagate_densities(dynamics, density, time) for time in times])
        [first] = torch.autograd.grad(moved[..., 0, 0].real.sum(), jumps, create_graph=True)
        return torch.autograd.grad(first.abs().square().sum(), [hamiltonian, jumps])

    for ours, expected in zip(curvature(True), curvature(False), strict=True):
        assert torch.allclose(ours, expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("uniforms", ["independent", "latin_hypercube"])
def test_trajectories_are_those_of_a_pass_to_the_last_time(times, uniforms):
    dynamics, ket = q.Lindbladian(*operators(3, seed=2)), start(3, 2)
    jumps = q.QuantumJumps(8, seed=4, uniforms=uniforms, record=True)
    course, alone = jumps.evolve(ket, dynamics, times=times), jumps.evolve(ket, dynamics, time=times[-1])
    assert torch.allclose(course.kets[-1], alone.kets, atol=1e-12)
    assert torch.equal(course.record.channels, alone.record.channels)
    assert course[-1].num_groups == alone.num_groups
    assert course[-1].num_draws == alone.num_draws
    # Between its jumps a trajectory is that of no jump: so is a pass that ends there.
    early = jumps.evolve(ket, dynamics, time=times[3])
    same = (early.record.num_jumps == (course.record.times < times[3]).sum(-1)).nonzero()
    assert len(same) > 8
    for sample, row in same.tolist():
        assert torch.allclose(course.kets[3, sample, row], early.kets[sample, row], atol=1e-9)


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_averages_of_trajectories_are_exact_at_every_time_with_their_gradients(times):
    number = 6000

    def run(evolution):
        rate = torch.tensor([0.8, 1.3], dtype=torch.float64, requires_grad=True)
        hamiltonian, jumps = operators(2, seed=5)
        dynamics = q.Lindbladian(hamiltonian * rate[0], jumps * rate[1])
        course = evolution.evolve(start(2), dynamics, times=times)
        found = course.expectations([[[1, 0], [0, -1]]])[..., 0]
        if isinstance(evolution, q.QuantumJumps):
            found = q.score_surrogate(found, course.log_likelihood)
        return found, rate

    sampled, rate = run(q.QuantumJumps(number, seed=1))
    exact, exact_rate = run(q.ExactChannel())
    spread = sampled.detach().std(-1) / number**0.5
    z = (sampled.detach().mean(-1) - exact.detach()[:, 0]) / spread.clamp(min=1e-9)
    assert z.abs().max() < 4.5
    [gradient] = torch.autograd.grad(sampled.mean(-1).sum(), rate)
    [expected] = torch.autograd.grad(exact.sum(), exact_rate)
    assert torch.allclose(gradient, expected, rtol=0.08, atol=0.05)


def test_driven_dynamics_keep_their_pieces():
    base = q.Lindbladian(*operators(3))
    drive = observables(3)[:1]
    driven = q.DrivenLindbladian(
        base, drive + drive.mH, torch.randn(2, 4, 1, generator=generator(8)).double()
    )
    ket, times = start(3, 2), [0.0, 0.2, 0.25, 0.6, 1.0]
    for evolution in (q.ExactChannel(), q.Unitary()):
        course = evolution.evolve(ket, driven, times=times)
        assert torch.allclose(
            course[-1].density(), evolution.evolve(ket, driven, time=1.0).density(), atol=1e-10
        )
        # Half of the time is the first two pieces.
        half = q.DrivenLindbladian(base, driven.drives, driven.amplitudes[:, :2])
        early = evolution.evolve(ket, driven, times=[0.5, 1.0])[0]
        assert torch.allclose(early.density(), evolution.evolve(ket, half, time=0.5).density(), atol=1e-10)
    jumps = q.QuantumJumps(3000, seed=2, record=True).evolve(ket, driven, times=times)
    exact = q.ExactChannel().evolve(ket, driven, times=times)
    assert (jumps.density() - exact.density()).abs().max() < 0.05
    recorded = jumps.record.times[jumps.record.channels >= 0]
    assert bool(((recorded >= 0) & (recorded <= 1)).all())
    rows = jumps.record.times.nan_to_num(9.0)
    assert bool((rows.diff(dim=-1) >= 0).all())


def test_structured_dynamics_and_stepped_trajectories_go_from_time_to_time():
    flip = q.pauli("X", dtype=C)[None]
    terms = q.StructuredLindbladian(
        q.StructuredOperator((2, 2), products={(0, 1): (flip, flip)}),
        (q.StructuredOperator((2, 2), {0: 0.7 * q.destroy(2, dtype=C)}),),
    )
    ket, times = start(4), [0.0, 0.3, 0.9]
    exact = q.ExactChannel().evolve(ket, terms.dense(), times=times).density()
    found = q.QuantumJumps(3000, seed=1).evolve(ket, terms, times=times).density()
    assert (found - exact).abs().max() < 0.05
    stepped = q.SteppedJumps(3000, seed=1).evolve(ket, terms.dense(), times=times, steps=40).density()
    assert (stepped - exact).abs().max() < 0.05


def test_a_hybrid_is_sampled_for_its_part_and_averaged_for_the_rest():
    dynamics, ket = q.Lindbladian(*operators(3)), start(3, 2)
    hybrid = q.Hybrid(6, seed=3)
    course = hybrid.evolve(ket, dynamics, times=EVEN)
    vectors = torch.eye(3, dtype=C)
    alone = hybrid.evolve(ket, dynamics, time=EVEN[-1]).probabilities(vectors)
    assert torch.allclose(course.probabilities(vectors)[-1], alone, atol=1e-11)
    assert len(course) == len(EVEN)
    assert course.log_likelihood.shape == (len(EVEN), 2, 6)


def test_a_driven_atom_is_that_of_qutip():
    lower = q.destroy(2, dtype=C)
    atom = q.Lindbladian(1.5 * q.pauli("X", dtype=C), q.thermal_jumps(lower, 1.0, 0.3))
    times = torch.linspace(0, 5, 41, dtype=torch.float64)
    ours = q.ExactChannel().evolve(q.basis_ket(0, 2, dtype=C), atom, times=times)
    hamiltonian, jumps = q.to_qobj(atom)
    theirs = qutip.mesolve(
        hamiltonian, qutip.basis(2, 0), times.numpy(), jumps, e_ops=[qutip.sigmay()],
        options={"atol": 1e-12, "rtol": 1e-10},
    )  # fmt: skip
    found = ours.expectations(q.pauli("Y", dtype=C)[None])[:, 0, 0]
    assert torch.allclose(found, torch.as_tensor(theirs.expect[0]).real, atol=1e-8)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "`times` in its place"),
        ({"time": 1.0, "times": [1.0]}, "`times` in its place"),
        ({"times": []}, "at least one"),
        ({"times": [0.0, math.nan]}, "finite"),
        ({"times": [-0.1, 1.0]}, "at least 0"),
        ({"times": [1.0, 0.5]}, "must rise"),
        ({"times": 1.0}, "list of numbers"),
        ({"times": "ab"}, "list of numbers"),
    ],
)
def test_times_that_are_none_are_refused(given, says):
    with pytest.raises(ArgumentError, match=says):
        q.ExactChannel().evolve([1, 0], q.Lindbladian([[0, 1], [1, 0]]), **given)


@pytest.mark.parametrize("evolution", [q.QuantumJumps(2), q.SteppedJumps(2)], ids=["jumps", "stepped"])
def test_times_with_a_gradient_are_refused_by_sampled_evolutions(evolution):
    times = torch.tensor([0.5], requires_grad=True)
    with pytest.raises(ArgumentError, match="without gradient"):
        evolution.evolve([1, 0], q.Lindbladian([[0, 1], [1, 0]]), times=times, steps=1)


def test_an_empty_batch_has_an_empty_course():
    dynamics = q.Lindbladian(*operators(3))
    for evolution in (q.ExactChannel(), q.Heisenberg(), q.Unitary(), q.QuantumJumps(2)):
        course = evolution.evolve(q.PureEnsemble(torch.zeros(0, 1, 3, dtype=C)), dynamics, times=EVEN)
        assert course.expectations(observables(3)).shape[:2] == (len(EVEN), 0)


def test_a_course_is_a_sequence_of_states_and_draws_itself():
    pytest.importorskip("matplotlib").use("Agg")
    atom = q.Lindbladian(q.pauli("X", dtype=C), [q.destroy(2, dtype=C)])
    course = q.ExactChannel().evolve([1, 0], atom.to(torch.complex64), times=EVEN)
    assert len(course) == len(list(course)) == len(EVEN)
    assert torch.equal(course[-1].density(), course.density()[len(EVEN) - 1])
    with pytest.raises(IndexError):
        course[len(EVEN)]
    with pytest.raises(ArgumentError, match="densities"):
        _ = course.kets
    axes = course.plot([[[0, 0], [0, 1]], [[1, 0], [0, 0]]], labels=["excited", "ground"])
    assert [line.get_label() for line in axes.get_lines()] == ["excited", "ground"]
    assert axes.get_lines()[0].get_ydata()[-1] == pytest.approx(
        course.density()[-1, 1, 1].real.item(), abs=1e-6
    )
    with pytest.raises(ArgumentError, match="labels"):
        course.plot([[[0, 0], [0, 1]]], labels=["a", "b"])
    with pytest.raises(ArgumentError, match="batch"):
        q.ExactChannel().evolve(start(2, 3), atom, times=EVEN).plot([[[0, 0], [0, 1]]])


@pytest.mark.parametrize("bad", [[], "shapes"])
def test_records_that_did_not_follow_each_other_are_refused(bad):
    one = q.JumpRecord(torch.tensor([[0]]), torch.tensor([[0.5]]))
    other = q.JumpRecord(torch.tensor([[0], [1]]), torch.tensor([[0.5], [0.1]]))
    with pytest.raises(ArgumentError):
        q.JumpRecord.joined([one, other] if bad else [], [0.0, 1.0] if bad else [])
