"""Structured generators do what their dense matrices do, without forming them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.autograd import gradcheck

import qinn
from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    LearnableStructuredLindbladian,
    Lindbladian,
    MixedState,
    NoEvolution,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    StructuredLindbladian,
    StructuredOperator,
    Unitary,
    amplitude_phase,
    contraction,
    emission_spectrum,
    entanglement_entropies,
    entropy_of_spectrum,
    find_attractor,
    hermitian_from,
    maximally_mixed,
    pauli,
    product,
    random_kets,
    score_surrogate,
)
from qinn.quantum.evolution import exact, matrix_free, taylor_steps
from qinn.quantum.generators.interface import Action
from qinn.quantum.numerics.contractions import groups_of

DTYPE = torch.complex128
# One factor, factors of dimension 1, one run, several runs, products inside and across runs, rank 0.
SYSTEMS = {
    "one factor": ((5,), 2, 1),
    "factors of dimension 1": ((1, 3, 1), 2, 1),
    "dimension 1": ((1, 1), 1, 1),
    "three factors": ((2, 3, 2), 2, 2),
    "two runs": ((2, 3, 4, 3), 1, 1),
    "many qubits": ((2,) * 6, 1, 1),
    "wide factors": ((20, 3, 2), 1, 2),
    "local only": ((5, 6, 5), 1, 0),
    "no jumps": ((3, 4, 9), 0, 1),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def learnable(dims, num_jumps, rank=1, dtype=torch.float64, **options):
    scales = {"hamiltonian_scale": 2.0, "jump_scale": 2.0, "seed": 0, **options}
    return LearnableStructuredLindbladian(dims, num_jumps, rank=rank, dtype=dtype, **scales)


def pure(dim, *batch, dtype=DTYPE):
    return PureEnsemble(random_kets(*batch, 1, dim, generator=generator(1), dtype=dtype))


def close(first, second, tolerance):
    return bool(((first - second).abs() <= tolerance).all())


def system(name):
    dims, num_jumps, rank = SYSTEMS[name]
    module = learnable(dims, num_jumps, rank)
    return module, module()


@pytest.mark.parametrize("name", SYSTEMS)
def test_operators_act_as_their_dense_matrices(name):
    dynamics = system(name)[0].requires_grad_(False)()
    kets = random_kets(2, 3, dynamics.dim, generator=generator(), dtype=DTYPE)
    for operator in (dynamics.hamiltonian, *dynamics.jump_operators):
        dense = operator.dense()
        assert close(operator.apply(kets), kets @ dense.mT, 1e-13)
        assert close(operator.apply(kets.conj()), kets.conj() @ dense.mT, 1e-13)
        assert close(operator.adjoint().dense(), dense.mH, 0)
        assert close(operator.scaled(2 - 1j).apply(kets), (2 - 1j) * kets @ dense.mT, 1e-12)
        assert operator.norm_bound() >= float(torch.linalg.matrix_norm(dense, 2)) - 1e-12
        assert operator.to(torch.complex64).dtype == torch.complex64
    J = dynamics.dense().no_jump_generator
    action = dynamics.no_jump_action()
    rows = kets.flatten(0, 1)
    assert close(action.function(action.tensors, rows, None), rows @ J.mT, 1e-12)
    assert dynamics.norm_bound() >= float(torch.linalg.matrix_norm(J, 2))


@pytest.mark.parametrize("name", SYSTEMS)
def test_unitary_evolution_equals_the_dense_one(name):
    dynamics = system(name)[0].requires_grad_(False)()
    initial = pure(dynamics.dim, 2)
    starts = [(initial, 1.3), (initial, 0.0), (initial, 12.0)]
    if dynamics.dim < 50:
        starts.append((MixedState(initial.density()), 0.7))
    for start, time in starts:
        ours = Unitary().evolve(start, dynamics, time=time, steps=1).density()
        dense = Unitary().evolve(start, dynamics.dense(), time=time, steps=1).density()
        assert close(ours, dense, 1e-11)


@pytest.fixture
def by_contractions(monkeypatch):
    monkeypatch.setattr(exact, "_LARGEST_DENSE_DIM", 0)


@pytest.mark.parametrize("name", ["one factor", "dimension 1", "three factors", "two runs", "no jumps"])
def test_densities_evolve_by_contractions_as_by_matrices(name, by_contractions):
    dynamics = system(name)[0].requires_grad_(False)()
    initial = pure(dynamics.dim, 2)
    known = ExactChannel().evolve(initial, dynamics.dense(), times=[0.0, 0.5, 1.3]).density()
    assert close(ExactChannel().evolve(initial, dynamics, time=1.3).density(), known[2], 1e-11)
    assert close(ExactChannel().evolve(initial, dynamics, times=[0.0, 0.5, 1.3]).density(), known, 1e-11)
    single = ExactChannel().evolve(
        pure(dynamics.dim, 2, dtype=DTYPE).density().to(torch.complex64),
        dynamics.to(torch.complex64),
        time=1.3,
    )
    assert close(single.density(), known[2], 2e-6)


def test_densities_by_contractions_have_gradients_and_an_estimate(by_contractions, monkeypatch):
    module = learnable((2, 3), 2)
    state = pure(6).density()
    observable = random_kets(6, generator=generator(4), dtype=DTYPE)[None]

    def probability(*parameters):
        named = dict(zip(dict(module.named_parameters()), parameters, strict=True))
        ended = ExactChannel().evolve(state, torch.func.functional_call(module, named, ()), time=0.7)
        return ended.probabilities(observable)

    assert gradcheck(probability, tuple(module.parameters()), atol=1e-6, fast_mode=True)
    counted = [0]
    action = matrix_free._action_on_densities

    def counting(dynamics):
        found = action(dynamics)

        def function(*given):
            counted[0] += 1
            return found.function(*given)

        return Action(found.tensors, function, found.bound)

    monkeypatch.setattr(matrix_free, "_action_on_densities", counting)
    with torch.no_grad():
        estimated = ExactChannel().estimate(module(), time=3.0).applications
        ExactChannel().evolve(state, module(), time=3.0)
    assert counted[0] <= estimated <= 10 * counted[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_trajectories_have_the_jumps_times_and_gradients_of_the_dense_ones(name):
    module, dynamics = system(name)
    initial = pure(dynamics.dim, 3)
    initial.kets.requires_grad_()
    evolution = QuantumJumps(4, seed=3, record=True)
    inputs = [initial.kets, *module.parameters()]
    results = []
    for each in (dynamics, dynamics.dense()):
        state = evolution.evolve(initial, each, time=1.3, steps=2)
        values = state.probabilities(
            torch.eye(dynamics.dim, min(dynamics.dim, 2), dtype=DTYPE).mT.contiguous()
        )[..., 0]
        total = score_surrogate(values, state.log_likelihood).sum()
        gradients = torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True)
        results.append((state, gradients))
    (ours, our_gradients), (dense, dense_gradients) = results
    assert torch.equal(ours.record.channels, dense.record.channels)
    assert close(ours.record.times.nan_to_num(), dense.record.times.nan_to_num(), 1e-9)
    assert close(ours.kets, dense.kets, 1e-9)
    for first, second in zip(our_gradients, dense_gradients, strict=True):
        assert (first is None) == (second is None)
        assert first is None or close(first, second, 1e-8)
    if dynamics.num_jumps > 0 and dynamics.dim > 1:
        assert int(ours.record.num_jumps.max()) >= 2


def test_physical_systems_equal_their_dense_ones_beyond_the_learnable_form():
    """Ladder products that are Hermitian only in their sum, jumps of few factors, a pair given in reverse order."""
    lower = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)
    hopping = (torch.stack([lower, lower.mH]), torch.stack([lower.mH, lower]))
    dims = (2,) * 6
    H = StructuredOperator(
        dims, {3: pauli("X", dtype=DTYPE)}, {(0, 1): hopping, (5, 1): hopping, (2, 4): hopping}
    )
    jumps = [
        StructuredOperator(dims, {0: lower}),
        StructuredOperator(dims, {5: lower}),
        StructuredOperator(dims, products={(4, 0): (lower[None], lower.mH[None])}),
        StructuredOperator(dims, products={(3, 4): (lower[None], lower.mH[None])}),
    ]
    dynamics = StructuredLindbladian(H, tuple(jumps))
    initial = pure(64, 4)
    evolution = QuantumJumps(8, seed=1, record=True)
    ours = evolution.evolve(initial, dynamics, time=3.0, steps=1)
    dense = evolution.evolve(initial, dynamics.dense(), time=3.0, steps=1)
    assert set(ours.record.channels.flatten().tolist()) == {-1, 0, 1, 2, 3}
    assert torch.equal(ours.record.channels, dense.record.channels)
    assert close(ours.record.times.nan_to_num(), dense.record.times.nan_to_num(), 1e-9)
    assert close(ours.kets, dense.kets, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("dims", "num_jumps"), [((2,), 2), ((2, 3), 1), ((2, 1, 2), 1)], ids=str)
def test_gradients_are_those_of_finite_differences(dims, num_jumps):
    module = learnable(dims, num_jumps, jump_scale=0.03)
    parameters = dict(module.named_parameters())
    dim = torch.tensor(dims).prod().item()
    parts = torch.randn(2, 2, dim, generator=generator(4), dtype=torch.float64).requires_grad_()
    vectors = random_kets(2, dim, generator=generator(3), dtype=DTYPE)

    def outcome(evolution, parts, *values):
        dynamics = torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), ())
        initial = PureEnsemble(amplitude_phase(parts[:, 0], parts[:, 1])[:, None])
        return evolution.evolve(initial, dynamics, time=0.7, steps=1).probabilities(vectors)

    jumps = QuantumJumps(2, seed=2, record=True)
    initial = PureEnsemble(amplitude_phase(parts[:, 0], parts[:, 1])[:, None])
    assert int(jumps.evolve(initial, module(), time=0.7, steps=1).record.num_jumps.sum()) == 0
    for evolution in (Unitary(), jumps):
        inputs = (parts, *parameters.values())
        assert gradcheck(lambda *args, e=evolution: outcome(e, *args), inputs, atol=1e-6, fast_mode=True)


def test_a_second_derivative_is_refused():
    module = learnable((2, 3), 1)
    kets = pure(6).kets.requires_grad_()
    state = Unitary().evolve(PureEnsemble(kets), module(), time=1.0, steps=1)
    with pytest.raises(ArgumentError, match="`create_graph` must be False"):
        torch.autograd.grad(state.kets.real.square().sum(), kets, create_graph=True)


@pytest.mark.parametrize("dims", [(2, 2), (5, 6, 5), (2, 1, 3), (2,) * 7], ids=str)
def test_local_terms_keep_products_in_every_single_trajectory(dims):
    local = learnable(dims, 1, rank=0, jump_scale=3.0)()
    jumps = tuple(
        StructuredOperator(dims, {position: matrix})
        for position, matrix in local.jump_operators[0].local.items()
    )
    dynamics = StructuredLindbladian(local.hamiltonian, jumps)
    start = product([random_kets(3, 1, dim, generator=generator(dim), dtype=DTYPE) for dim in dims])
    state = QuantumJumps(4, seed=2, record=True).evolve(PureEnsemble(start), dynamics, time=2.0, steps=1)
    assert int(state.record.num_jumps.max()) >= 2
    assert close(entanglement_entropies(state.kets, dims), torch.zeros(()), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.complex64, DTYPE], ids=str)
def test_trajectories_average_to_the_exact_channel_within_four_errors(dtype):
    dynamics = learnable((3, 6, 2), 2).requires_grad_(False)().to(dtype)
    initial = pure(36, 3, dtype=dtype)
    vectors = random_kets(4, 36, generator=generator(2), dtype=dtype)
    exact = ExactChannel().evolve(initial, dynamics.dense(), time=1.5, steps=1).probabilities(vectors)
    torch.manual_seed(4)
    sampled = QuantumJumps(500).evolve(initial, dynamics, time=1.5, steps=1).probabilities(vectors)
    scores = (sampled.mean(-2) - exact[:, 0]) / (sampled.std(-2) / 500**0.5)
    assert float(scores.abs().max()) < 4


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_single_precision_follows_double_precision(scale):
    dynamics = learnable((4, 5, 3), 2, hamiltonian_scale=scale)().without_jumps()
    initial = pure(60, 8)
    double = Unitary().evolve(initial, dynamics, time=2.0, steps=1).kets
    single_start = PureEnsemble(initial.kets.to(torch.complex64))
    single = Unitary().evolve(single_start, dynamics.to(torch.complex64), time=2.0, steps=1).kets
    assert close(single, double, 2e-6 * scale)


@pytest.mark.slow
def test_steps_do_not_depend_on_the_rows_that_share_them(monkeypatch):
    dynamics = learnable((3, 4, 3), 2)()
    evolution = QuantumJumps(3, seed=1)
    together = evolution.evolve(pure(36, 3), dynamics, time=1.0, steps=1).kets
    monkeypatch.setattr(taylor_steps, "_CHUNK", 36)
    assert close(evolution.evolve(pure(36, 3), dynamics, time=1.0, steps=1).kets, together, 1e-11)


@pytest.mark.parametrize("evolution", [Unitary(), QuantumJumps(1, seed=0)], ids=lambda e: type(e).__name__)
def test_views_are_ordinary_inputs(evolution):
    dynamics = learnable((2, 3), 1)()
    plain = random_kets(6, 6, generator=generator(), dtype=DTYPE)
    plain = plain / torch.linalg.vector_norm(plain.conj().mT, dim=-1)
    viewed, copied = plain.conj().mT[:, None], plain.conj().resolve_conj().mT.contiguous()[:, None]
    results = [
        evolution.evolve(PureEnsemble(kets), dynamics, time=1.0, steps=1).kets for kets in (viewed, copied)
    ]
    assert close(*results, 1e-13)


def test_states_that_do_not_move_stay_and_cost_one_product():
    """Without H and in the dark of all jumps J ψ = 0: any time is one step."""
    zero = StructuredOperator((2, 3), {0: torch.zeros(2, 2, dtype=DTYPE)})
    lower = StructuredOperator((2, 3), {0: torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)})
    start = PureEnsemble(torch.eye(6, dtype=DTYPE)[:3, None])
    for jumps in ((), (zero,), (lower,)):
        state = QuantumJumps(2, seed=0, record=True).evolve(
            start, StructuredLindbladian(zero, jumps), time=1e3, steps=1
        )
        assert close(state.kets, start.kets, 1e-15)
        assert int(state.record.num_jumps.sum()) == 0
    nothing = MixedState(torch.zeros(6, 6, dtype=DTYPE), validate=False)
    evolved = Unitary().evolve(nothing, StructuredLindbladian(lower.scaled(0)), time=1.0, steps=1)
    assert close(evolved.density(), torch.zeros(()), 0)
    broken = PureEnsemble(torch.full((1, 6), torch.nan, dtype=DTYPE), validate=False)
    moving = learnable((2, 3), 1)()
    assert bool(Unitary().evolve(broken, moving, time=1.0, steps=1).kets.isnan().all())


def test_rates_of_zero_are_legal_and_finitely_differentiable():
    module = learnable((2, 3), 2, jump_scale=0.0)
    assert torch.equal(module.rates, torch.zeros(2, dtype=torch.float64))
    state = QuantumJumps(3, seed=0, record=True).evolve(pure(6, 2), module(), time=5.0, steps=1)
    assert int(state.record.num_jumps.sum()) == 0
    (state.kets.real.square().sum() + state.log_likelihood.sum()).backward()
    assert all(bool(torch.isfinite(each.grad).all()) for each in module.parameters())
    with torch.no_grad():
        module.jump_amplitudes.fill_(-1.5)
    assert torch.equal(module.rates, torch.full((2,), 2.25, dtype=torch.float64))


@pytest.mark.parametrize(("num_jumps", "rank", "dims"), [(1, 1, (8, 8)), (4, 3, (8, 8)), (2, 1, (4, 4, 4))])
def test_initial_scales_do_not_depend_on_size_rank_or_number_of_jumps(num_jumps, rank, dims):
    energies, rates = [], []
    for seed in range(16):
        dense = learnable(dims, num_jumps, rank, seed=seed, hamiltonian_scale=4.0, jump_scale=3.0)().dense()
        energies.append(dense.hamiltonian.abs().square().sum() / dense.dim)
        rates.append(dense.total_rate.diagonal().real.sum() / dense.dim)
    for sample, expected in ((torch.stack(energies), 4.0), (torch.stack(rates), 3.0)):
        assert abs(sample.mean() - expected) / (sample.std() / 16**0.5) < 4
        assert sample.std() < 0.5 * expected


def test_only_the_pairs_that_are_asked_for_are_coupled():
    module = learnable((2, 3, 2), 1, pairs=[(0, 1), (2, 1)])
    assert list(module().hamiltonian.products) == [(0, 1), (2, 1)]
    assert "pairs=2" in repr(module)
    assert learnable((2, 3), 1, rank=0)().jump_operators[0].products == {}


def test_parts_of_the_dynamics_can_be_removed():
    dynamics = learnable((2, 3), 2)()
    assert dynamics.without_jumps().num_jumps == 0
    assert close(dynamics.without_hamiltonian().hamiltonian.dense(), torch.zeros(6, 6), 0)
    assert dynamics.without_hamiltonian().num_jumps == 2
    assert dynamics.controls(torch.Size([3])) is None
    assert isinstance(dynamics.without_jumps().dense(), Lindbladian)


X, Z = pauli("X"), pauli("Z")
BAD_OPERATORS = {
    "no factor": (lambda: StructuredOperator((), {}), "factor dimensions"),
    "no term": (lambda: StructuredOperator((2, 2)), "at least one term"),
    "no such factor": (lambda: StructuredOperator((2, 2), {2: X}), "distinct factor positions"),
    "one factor twice": (lambda: StructuredOperator((2, 2), {}, {(1, 1): (X[None], X[None])}), "distinct"),
    "three factors": (
        lambda: StructuredOperator((2,) * 3, {}, {(0, 1, 2): (X[None],) * 3}),
        "two positions|parameter 'products'",
    ),
    "wrong shape": (lambda: StructuredOperator((2, 3), {1: X}), r"shape \(3, 3\) for factor 1"),
    "product without rank": (lambda: StructuredOperator((2, 2), {}, {(0, 1): (X, X)}), "'rank', 2, 2"),
    "two ranks": (
        lambda: StructuredOperator((2, 2), {}, {(0, 1): (X[None], torch.stack([X, Z]))}),
        "of one rank",
    ),
    "two dtypes": (lambda: StructuredOperator((2, 2), {0: X, 1: X.to(DTYPE)}), "one complex dtype"),
    "half precision": (lambda: StructuredOperator((2,), {0: X.real.half()}), "single or double precision"),
    "wrong kets": (lambda: StructuredOperator((2,), {0: X}).apply(torch.zeros(1, 3) + 0j), "dimension 2"),
    "not Hermitian": (lambda: StructuredLindbladian(StructuredOperator((2,), {0: 1j * X})), "Hermitian"),
    "products not Hermitian": (
        lambda: StructuredLindbladian(StructuredOperator((2, 2), {}, {(0, 1): (X[None], 1j * X[None])})),
        "Hermitian",
    ),
    "not finite": (
        lambda: StructuredLindbladian(StructuredOperator((2,), {0: torch.nan * X})),
        "`hamiltonian` must be finite",
    ),
    "jumps not finite": (
        lambda: StructuredLindbladian(
            StructuredOperator((2,), {0: X}), (StructuredOperator((2,), {0: torch.inf * X}),)
        ),
        "`jump_operators` must be finite",
    ),
    "other factors": (
        lambda: StructuredLindbladian(
            StructuredOperator((2, 2), {0: X}), (StructuredOperator((4,), {0: torch.eye(4) + 0j}),)
        ),
        "Hamiltonian's factors",
    ),
    "no jumps below zero": (lambda: learnable((2,), -1), "num_jumps ≥ 0"),
    "rank below zero": (lambda: learnable((2,), 1, -1), "rank ≥ 0"),
    "no such pair": (lambda: learnable((2, 2), 1, pairs=[(0, 2)]), "`pairs` must hold distinct"),
    "pair twice": (lambda: learnable((2, 2), 1, pairs=[(0, 1), (1, 0)]), "each once"),
    "triple": (lambda: learnable((2,) * 3, 1, pairs=[(0, 1, 2)]), "pairs of factors|parameter 'pairs'"),
    "scale": (lambda: learnable((2,), 1, jump_scale=-1.0), "jump_scale"),
    "no dimension": (lambda: learnable((2, 0), 1), "factor dimensions"),
}


@pytest.mark.parametrize("name", BAD_OPERATORS)
def test_impossible_operators_are_refused_with_advice(name):
    build, words = BAD_OPERATORS[name]
    with pytest.raises(Exception, match=words):
        build()


@pytest.mark.parametrize(
    "evolution", [SteppedJumps(2), Heisenberg(), GumbelJumps(2)], ids=lambda e: type(e).__name__
)
def test_evolutions_that_need_matrices_refuse_them_and_name_the_way_out(evolution):
    with pytest.raises(ArgumentError, match=r"`; pass its `\.dense\(\)` \(.*, or use `QuantumJumps`"):
        evolution.evolve(pure(6), learnable((2, 3), 1)(), time=1.0, steps=1)


def test_measures_that_need_matrices_refuse_them_and_name_the_way_out_which_is_no_evolution():
    dynamics, mixed = learnable((2, 3), 1).requires_grad_(False)(), maximally_mixed(6, dtype=DTYPE)
    for measure in (
        find_attractor,
        lambda given: contraction(given, mixed, mixed, 1.0),
        lambda given: emission_spectrum(given, torch.eye(6), frequencies=[0.0, 1.0]),
    ):
        with pytest.raises(ArgumentError, match=r"pass its `\.dense\(\)` \(for small dimensions\)\.$"):
            measure(dynamics)
    assert float(find_attractor(dynamics.dense()).spectral_gap) > 0


def test_no_evolution_takes_any_dynamics():
    initial = pure(6)
    assert NoEvolution().evolve(initial, learnable((2, 3), 1)(), time=1.0, steps=1) is initial


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (torch.nan, "finite and of sensible size"),
        (1e18, "finite and of sensible size"),
        (1e8, "`time` must be moderate"),
    ],
)
@pytest.mark.parametrize("evolution", [Unitary(), QuantumJumps(2)], ids=lambda e: type(e).__name__)
def test_operators_that_are_not_finite_or_absurdly_large_are_refused(evolution, factor, words):
    H = StructuredOperator((2, 3), {0: factor * pauli("X", dtype=DTYPE)})
    with pytest.raises(ArgumentError, match=words):
        evolution.evolve(pure(6), StructuredLindbladian(H, validate=False), time=1.0, steps=1)


def test_runs_of_factors_cover_all_factors_in_order_and_stay_small():
    for dims in ((2,) * 12, (16, 16, 3), (100, 2), (8, 8, 8), (1,) * 30, (5,)):
        runs = groups_of(dims)
        assert [position for run in runs for position in range(*run)] == list(range(len(dims)))
        sizes = [torch.tensor(dims[start:stop]).prod().item() for start, stop in runs]
        assert all(size <= 64 or stop - start == 1 for size, (start, stop) in zip(sizes, runs, strict=True))


MEMORY = """
import resource, sys, torch
from qinn.quantum import LearnableStructuredLindbladian, PureEnsemble, QuantumJumps, random_kets
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
module = LearnableStructuredLindbladian((16, 16, 16), 1, rank=1, jump_scale=1.0, seed=0)
kets = random_kets(8, 1, 4096, generator=torch.Generator().manual_seed(0))
state = QuantumJumps(4, seed=0).evolve(PureEnsemble(kets), module(), time=0.3, steps=1)
(state.kets.real.square().sum() + state.log_likelihood.sum()).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_of_a_large_system_stays_far_below_that_of_one_matrix_in_double_precision():
    """D = 4,096: one dense complex128 matrix takes 256 MiB, and a dense flow would keep a dozen."""
    source = Path(qinn.__file__).parents[1]
    finished = subprocess.run(
        [sys.executable, "-c", MEMORY],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
    )
    assert int(finished.stdout) < 256 * 1024


def test_entropies_of_a_structured_evolution_are_finite_and_bounded():
    dynamics = learnable((4, 4, 4), 1)()
    state = QuantumJumps(2, seed=0).evolve(pure(64, 2), dynamics, time=1.0, steps=1)
    entropies = entanglement_entropies(state.kets, (4, 4, 4))
    assert bool(((entropies >= 0) & (entropies <= 2 + 1e-12)).all())
    assert float(entropy_of_spectrum(torch.ones(4, dtype=torch.float64) / 4)) == pytest.approx(2)
    assert close(hermitian_from(torch.eye(2)), torch.eye(2), 0)
