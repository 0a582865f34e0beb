"""Options, seeds, records and refusals of the evolutions."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    HeisenbergState,
    Hybrid,
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    NoEvolution,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    amplitude_phase,
    maximally_mixed,
    pauli,
    purity,
    random_kets,
    score_surrogate,
)
from qinn.quantum.evolution import jumps as jumps_module
from qinn.quantum.evolution import rates
from qinn.quantum.generators.propagation import field_of_values

ALL = [
    NoEvolution(),
    Unitary(),
    ExactChannel(),
    Heisenberg(),
    QuantumJumps(3),
    SteppedJumps(3),
    GumbelJumps(3),
]
TAKING_MIXED = ALL[:4]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dynamics(dim=4, num_jumps=2, dtype=torch.float32, jump_scale=1.5):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=jump_scale, seed=0, dtype=dtype
    )
    return module.requires_grad_(False)()


def pure(*batch, dim=4):
    return PureEnsemble(random_kets(*batch, 1, dim, generator=generator(1)))


@pytest.mark.parametrize("evolution", ALL, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": -1.0}, "`time` must be finite"),
        ({"time": float("nan")}, "`time` must be finite"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"lindbladian": dynamics(5)}, "must act on dimension 4"),
        ({"lindbladian": dynamics(4, dtype=torch.float64)}, "must have one dtype"),
        ({"initial": HeisenbergState(pure(), dynamics(), 1.0)}, "Heisenberg state"),
    ],
    ids=lambda value: str(next(iter(value.items()))[0]) if isinstance(value, dict) else "",
)
def test_impossible_arguments_are_refused_with_advice(evolution, change, words):
    arguments = {"initial": pure(), "lindbladian": dynamics(), "time": 1.0, "steps": 2, **change}
    with pytest.raises(ArgumentError, match=words):
        evolution.evolve(arguments.pop("initial"), arguments.pop("lindbladian"), **arguments)


@pytest.mark.parametrize("evolution", ALL[1:], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("dim", [4, 12])
def test_generators_that_are_not_finite_are_refused(evolution, dim):
    broken = torch.full((dim, dim), torch.nan) + 0j
    lindbladian = Lindbladian(broken, torch.zeros(1, dim, dim) + 0j, validate=False)
    with pytest.raises(ArgumentError, match="finite"):
        evolution.evolve(pure(dim=dim), lindbladian, time=1.0, steps=2).density()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: QuantumJumps(0), "num_trajectories"),
        (lambda: QuantumJumps(2, gradient="exact"), "gradient"),
        (lambda: QuantumJumps(2, uniforms="sobol"), "uniforms"),
        (lambda: QuantumJumps(3, uniforms="latin_hypercube"), "must be even"),
        (lambda: Hybrid(2, 1.5), "`sampled` must be between 0 and 1"),
        (lambda: Hybrid(0), "num_trajectories"),
        (lambda: Hybrid(2, tolerance=2.0), "`tolerance` must be"),
        (lambda: GumbelJumps(0), "num_trajectories"),
        (lambda: GumbelJumps(1, temperature=0.0), "`temperature` must be positive"),
        (lambda: ExactChannel(tolerance=0.0), "`tolerance` must be"),
        (lambda: Heisenberg(tolerance=-1.0), "`tolerance` must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_options_are_refused(build, words):
    with pytest.raises(Exception, match=words):
        build()


@pytest.mark.parametrize(
    "evolution", [QuantumJumps(3), SteppedJumps(3), GumbelJumps(3)], ids=lambda e: type(e).__name__
)
def test_trajectories_of_a_wrong_ensemble_are_refused_with_advice(evolution):
    two = PureEnsemble(random_kets(2, 4, generator=generator()))
    with pytest.raises(ArgumentError, match=r"must have 1 or 3 trajectories, but it has 2"):
        evolution.evolve(two, dynamics(), time=1.0, steps=2)
    with pytest.raises(ArgumentError, match="unit norm"):
        evolution.evolve(PureEnsemble(2 * two.kets[:1]), dynamics(), time=1.0, steps=2)


def test_an_absurd_number_of_jumps_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr(rates, "MAX_JUMPS", 20)
    flips = Lindbladian(torch.zeros(2, 2) + 0j, 10 * pauli("X")[None])
    with pytest.raises(ArgumentError, match=r"1e\+03 jumps are expected"):
        QuantumJumps(1, seed=0).evolve(pure(dim=2), flips, time=10.0, steps=1)
    # What is not known beforehand is counted.
    monkeypatch.setattr(jumps_module, "check_expected_jumps", lambda *_: None)
    with pytest.raises(ArgumentError, match="more than 20 jumps"):
        QuantumJumps(1, seed=0).evolve(pure(dim=2), flips, time=10.0, steps=1)
    with pytest.raises(ArgumentError, match="sensible size"):
        QuantumJumps(1).evolve(
            pure(dim=2), Lindbladian(1e12 * pauli("X"), pauli("X")[None]), time=1.0, steps=1
        )


@pytest.mark.parametrize("evolution", TAKING_MIXED, ids=lambda e: type(e).__name__)
def test_mixed_states_are_taken_and_keep_their_batch(evolution):
    initial = MixedState(maximally_mixed(4).expand(2, 3, 4, 4))
    state = evolution.evolve(initial, dynamics(), time=1.0, steps=2)
    assert state.probabilities(torch.eye(4) + 0j).shape == (2, 3, 1, 4)
    assert state.density().shape == (2, 3, 4, 4)
    assert state.log_likelihood.shape == (2, 3, 1)
    assert (state.dim, state.num_trajectories, state.dtype) == (4, 1, torch.complex64)


@pytest.mark.parametrize("kind", [QuantumJumps, SteppedJumps, GumbelJumps])
def test_seeded_trajectories_repeat_and_do_not_depend_on_the_batch(kind):
    evolution, initial = kind(5, seed=11), pure(6)
    first = evolution.evolve(initial, dynamics(), time=2.0, steps=4).kets
    torch.manual_seed(99)
    again = evolution.evolve(initial, dynamics(), time=2.0, steps=4).kets
    assert torch.equal(first, again)
    alone = evolution.evolve(PureEnsemble(initial.kets[3:4]), dynamics(), time=2.0, steps=4).kets
    assert torch.allclose(alone, first[3:4], rtol=0, atol=1e-5)
    other = kind(5, seed=12).evolve(initial, dynamics(), time=2.0, steps=4).kets
    assert not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize("kind", [QuantumJumps, SteppedJumps, GumbelJumps])
def test_unseeded_trajectories_follow_the_global_generator_and_are_independent(kind):
    evolution = kind(4)
    same = PureEnsemble(pure().kets.expand(3, 1, 4))
    torch.manual_seed(5)
    first = evolution.evolve(same, dynamics(), time=2.0, steps=4).kets
    torch.manual_seed(5)
    again = evolution.evolve(same, dynamics(), time=2.0, steps=4).kets
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1], atol=1e-3)
    assert not torch.allclose(first[0, 0], first[0, 1], atol=1e-3)


def test_trajectories_with_and_without_gradients_are_the_same():
    module = LearnableLindbladian(4, 2, hamiltonian_scale=2.0, jump_scale=2.0, seed=0, dtype=torch.float64)
    initial = PureEnsemble(random_kets(3, 1, 4, generator=generator(1), dtype=torch.complex128))
    with_gradients = QuantumJumps(6, seed=1).evolve(initial, module(), time=2.0, steps=2)
    with torch.no_grad():
        without = QuantumJumps(6, seed=1).evolve(initial, module(), time=2.0, steps=2)
    assert torch.allclose(with_gradients.kets, without.kets, rtol=0, atol=1e-12)
    assert not without.kets.requires_grad


def test_a_given_ensemble_is_kept_and_its_likelihood_continued():
    kets = random_kets(2, 5, 4, generator=generator(2))
    score = torch.zeros(2, 5, requires_grad=True)
    state = QuantumJumps(5, seed=0).evolve(
        PureEnsemble(kets, score), dynamics(jump_scale=0.0), time=1.0, steps=1
    )
    turned = Unitary().evolve(PureEnsemble(kets), dynamics(jump_scale=0.0), time=1.0, steps=1)
    assert torch.allclose(state.kets, turned.kets, atol=1e-5)
    assert torch.equal(torch.autograd.grad(state.log_likelihood.sum(), score)[0], torch.ones(2, 5))


def test_records_are_ordered_padded_and_within_the_time():
    state = QuantumJumps(40, seed=0, record=True).evolve(pure(3), dynamics(jump_scale=3.0), time=2.0, steps=1)
    record = state.record
    assert record.channels.shape == record.times.shape == (3, 40, int(record.num_jumps.max()))
    jumped = record.channels >= 0
    assert torch.equal(jumped, ~record.times.isnan())
    assert torch.equal(jumped, torch.arange(record.channels.shape[-1]) < record.num_jumps[..., None])
    assert set(record.channels[jumped].tolist()) == {0, 1}
    assert bool(((record.times[jumped] >= 0) & (record.times[jumped] <= 2.0)).all())
    steps = record.times.diff(dim=-1)
    assert bool((steps[~steps.isnan()] >= 0).all())
    assert QuantumJumps(2, seed=0).evolve(pure(), dynamics(), time=1.0, steps=1).record is None


@pytest.mark.parametrize(("time", "num_jumps"), [(0.0, 2), (1.0, 0)], ids=["no time", "no jumps"])
def test_records_without_jumps_are_empty(time, num_jumps):
    state = QuantumJumps(4, seed=0, record=True).evolve(
        pure(3), dynamics(num_jumps=num_jumps), time=time, steps=1
    )
    assert state.record.channels.shape == (3, 4, 0)
    assert torch.equal(state.record.num_jumps, torch.zeros(3, 4, dtype=torch.int64))


@pytest.mark.parametrize("num_jumps", [0, 1], ids=["no jump operators", "dark"])
def test_dark_states_never_jump_to_round_off(monkeypatch, num_jumps):
    """A first threshold just below 1 makes the norm's round-off call for jumps; none may be taken."""
    thresholds = iter([1 - 1e-12] + [0.5] * 9)
    monkeypatch.setattr(
        jumps_module.UniformSource,
        "draw",
        lambda self, rows, count: torch.full((len(rows), count), next(thresholds), dtype=torch.float64),
    )
    inner = dynamics(5, 0).hamiltonian
    H = torch.zeros(6, 6) + 0j
    H[:5, :5] = inner
    L = torch.zeros(num_jumps, 6, 6) + 0j
    L[:, 0, 5] = 1
    kets = torch.nn.functional.pad(random_kets(300, 1, 5, generator=generator()), (0, 1))
    state = QuantumJumps(1, record=True).evolve(PureEnsemble(kets), Lindbladian(H, L), time=0.5, steps=1)
    assert next(thresholds) == 0.5
    assert len(list(thresholds)) < 8
    assert int(state.record.num_jumps.sum()) == 0
    turned = Unitary().evolve(PureEnsemble(kets), Lindbladian(H, L), time=0.5, steps=1)
    assert torch.allclose(state.kets, turned.kets, atol=1e-4)


def test_without_jump_operators_trajectories_are_unitary_in_single_precision():
    initial, still = pure(200, dim=6), dynamics(6, 0)
    torch.manual_seed(0)
    state = QuantumJumps(50).evolve(initial, still, time=30.0, steps=1)
    turned = Unitary().evolve(initial, still, time=30.0, steps=1)
    assert torch.allclose(state.kets, turned.kets.expand(200, 50, 6), atol=1e-4)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-8])
def test_a_tolerance_is_kept(tolerance):
    lindbladian = dynamics(12, dtype=torch.float64)
    initial = PureEnsemble(random_kets(4, 1, 12, generator=generator(), dtype=torch.complex128))
    exact = ExactChannel().evolve(initial, lindbladian, time=2.0, steps=1).density()
    rough = ExactChannel(tolerance=tolerance).evolve(initial, lindbladian, time=2.0, steps=1).density()
    errors = (exact - rough).abs().square().sum((-2, -1)).sqrt()
    assert 0 < float(errors.max()) < tolerance


@pytest.mark.parametrize("dim", [6, 16])
@pytest.mark.parametrize(("jump_scale", "time"), [(1.0, 1.0), (8.0, 3.0), (0.1, 12.0)])
def test_single_precision_reaches_its_tolerance(dim, jump_scale, time):
    double = dynamics(dim, dtype=torch.float64, jump_scale=jump_scale)
    initial = PureEnsemble(random_kets(4, 1, dim, generator=generator(), dtype=torch.complex128))
    exact = ExactChannel().evolve(initial, double, time=time, steps=1).density()
    single = PureEnsemble(initial.kets.to(torch.complex64))
    rough = ExactChannel().evolve(single, double.to(torch.complex64), time=time, steps=1).density()
    assert float((exact - rough).abs().square().sum((-2, -1)).sqrt().max()) < 2e-6


@pytest.mark.parametrize("jump_scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("dim", [2, 6])
def test_the_field_of_values_is_inside_its_bound(dim, jump_scale):
    lindbladian = dynamics(dim, dtype=torch.float64, jump_scale=jump_scale)
    H, L = lindbladian.hamiltonian, lindbladian.jump_operators
    shifted = Lindbladian(H, L + 2 * torch.eye(dim))
    single = torch.zeros_like(L[:1])
    single[0, 0, 1] = jump_scale
    for each in (lindbladian, shifted, Lindbladian(H, single), Lindbladian(H, L[:0])):
        (bound, _), matrix = field_of_values(each), each.superoperator()
        real = torch.linalg.eigvalsh((matrix + matrix.mH) / 2)
        imaginary = torch.linalg.eigvalsh((matrix - matrix.mH) / 2j)
        assert bound.real_low <= real[0] + 1e-12
        assert real[-1] <= bound.real_high + 1e-12
        assert imaginary.abs().max() <= bound.imaginary + 1e-12


@pytest.mark.parametrize("seed", [None, 3])
def test_a_latin_hypercube_puts_one_number_into_each_interval_of_each_half(seed):
    source = jumps_module.UniformSource(8, seed, stratified=True)
    numbers = source.draw(torch.arange(24), 2).unflatten(0, (6, 4))
    intervals = (numbers * 4).long().sort(1).values
    assert torch.equal(intervals, torch.arange(4)[None, :, None].expand(6, 4, 2))
    assert torch.equal(numbers[:2], numbers[2:4]) == (seed is not None)
    some = source.draw(torch.tensor([3, 17]), 1)
    assert some.shape == (2, 1)


def test_a_latin_hypercube_averages_to_the_channel_with_less_variance():
    initial, lindbladian, vectors = pure(2000), dynamics(), random_kets(1, 4, generator=generator(2))
    exact = ExactChannel().evolve(initial, lindbladian, time=1.0, steps=1).probabilities(vectors)[:, 0]
    errors = {}
    torch.manual_seed(0)
    for kind in ("independent", "latin_hypercube"):
        jumps = QuantumJumps(16, uniforms=kind)
        means = jumps.evolve(initial, lindbladian, time=1.0, steps=1).probabilities(vectors).mean(1)
        errors[kind] = (means - exact)[:, 0]
        assert float(errors[kind].mean().abs()) < 4 * float(errors[kind].std()) / 2000**0.5
    assert float(errors["latin_hypercube"].var()) < 0.87 * float(errors["independent"].var())


@pytest.mark.parametrize("sampled", [0.0, 0.4, 1.0])
def test_a_hybrid_averages_to_the_channel_between_its_two_limits(sampled):
    initial, lindbladian, vectors = pure(300), dynamics(), random_kets(2, 4, generator=generator(2))
    exact = Heisenberg().evolve(initial, lindbladian, time=1.0, steps=1).probabilities(vectors)
    torch.manual_seed(0)
    found = Hybrid(8, sampled).evolve(initial, lindbladian, time=1.0, steps=1).probabilities(vectors)
    errors = (found - exact).mean(1)
    if sampled == 0:
        assert torch.allclose(errors, torch.zeros(1), atol=1e-5)
    else:
        assert bool((errors.mean(0).abs() < 4 * errors.std(0) / 300**0.5).all())


def test_a_surrogate_of_groups_takes_its_baseline_from_the_other_groups():
    score = torch.zeros(1, 4, requires_grad=True)
    score_surrogate(torch.tensor([[1.0, 2.0, 3.0, 8.0]]), score, num_groups=2).sum().backward()
    assert torch.allclose(score.grad, torch.tensor([[1 - 5.5, 2 - 5.5, 3 - 1.5, 8 - 1.5]]))
    with pytest.raises(ArgumentError, match="must divide the number of trajectories, 4"):
        score_surrogate(torch.ones(1, 4), score, num_groups=3)


def test_unitary_ignores_the_jumps_and_keeps_the_record():
    initial = pure(2)
    first = Unitary().evolve(initial, dynamics(jump_scale=5.0), time=1.0, steps=1)
    second = Unitary().evolve(initial, dynamics(jump_scale=5.0).without_jumps(), time=1.0, steps=1)
    assert torch.equal(first.kets, second.kets)


def test_an_ensemble_is_averaged_before_the_channel_and_kept_in_the_heisenberg_picture():
    ensemble = PureEnsemble(random_kets(2, 5, 4, generator=generator()))
    vectors = random_kets(3, 4, generator=generator(3))
    forwards = ExactChannel().evolve(ensemble, dynamics(), time=1.0, steps=1)
    backwards = Heisenberg().evolve(ensemble, dynamics(), time=1.0, steps=1)
    assert backwards.num_trajectories == 5
    assert backwards.probabilities(vectors).shape == (2, 5, 3)
    mean = backwards.probabilities(vectors).mean(-2, keepdim=True)
    assert torch.allclose(mean, forwards.probabilities(vectors), atol=1e-5)
    assert torch.allclose(backwards.density(), forwards.density(), atol=1e-5)
    assert float(purity(forwards.density()).max()) < 1


def test_the_relaxed_option_calls_itself_biased():
    assert "BIASED" in repr(GumbelJumps(2))
    assert GumbelJumps.__doc__.startswith("BIASED")
    assert "biased" in QuantumJumps.__doc__


def test_conjugated_views_are_ordinary_inputs():
    kets = random_kets(2, 1, 4, generator=generator(1))
    viewed, plain = PureEnsemble(kets.conj()), PureEnsemble(kets.conj().resolve_conj())
    vectors = random_kets(3, 4, generator=generator(2))
    for evolution in (
        Unitary(),
        ExactChannel(),
        Heisenberg(),
        QuantumJumps(3, seed=0),
        GumbelJumps(3, seed=0),
    ):
        results = [
            evolution.evolve(state, dynamics(), time=1.0, steps=2).probabilities(vectors)
            for state in (viewed, plain)
        ]
        assert torch.allclose(*results, atol=1e-6)


def test_the_bound_of_the_field_of_values_does_not_depend_on_the_gauge():
    plain = dynamics(5, dtype=torch.float64)
    H, L = plain.hamiltonian, plain.jump_operators
    shift = torch.randn(2, 1, 1, generator=generator(), dtype=torch.complex128)
    moved = H - 0.5j * (shift.conj() * L - shift * L.mH).sum(0)
    bounds = [field_of_values(each)[0] for each in (plain, Lindbladian(moved, L + shift * torch.eye(5)))]
    for name in ("real_low", "real_high", "imaginary"):
        assert abs(getattr(bounds[0], name) - getattr(bounds[1], name)) < 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("evolution", [Heisenberg(), QuantumJumps(4, seed=0)], ids=lambda e: type(e).__name__)
def test_compiled_models_run_evolutions_that_are_kept_out(evolution):
    """What docs/sharp-bits.md advises: same values and gradients, whatever surrounds the evolution is compiled."""
    vectors = random_kets(3, 4, generator=generator(0))
    weights = torch.randn(8, 8, generator=generator(1), requires_grad=True)

    # The checks of annotations, which only tests have, cannot be compiled: all that has them is kept out.
    @torch.compiler.disable
    def measured(hidden):
        kets = amplitude_phase(hidden[:, :4], hidden[:, 4:])
        state = evolution.evolve(PureEnsemble(kets[:, None]), dynamics(4), time=1.0, steps=1)
        return state.probabilities(vectors)

    def model(inputs):
        return measured(torch.tanh(inputs @ weights)).square().sum()

    inputs = torch.randn(5, 8, generator=generator(2))
    results = []
    for run in (model, torch.compile(model, backend="eager")):
        value = run(inputs)
        results.append((value.detach(), torch.autograd.grad(value, weights)[0]))
    (value, gradient), (compiled_value, compiled_gradient) = results
    assert torch.allclose(value, compiled_value)
    assert torch.allclose(gradient, compiled_gradient, atol=1e-5)
