"""Many systems at once are what a loop over them gives: values, gradients, and every way of broadcasting."""

import itertools

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    Ancillas,
    ContinuousMeasurement,
    DrivenLindbladian,
    ExactChannel,
    ExactCollisions,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    Interaction,
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    contraction,
    contraction_bounds,
    count_distribution,
    count_generating_function,
    count_moments,
    counting_statistics,
    density_of,
    destroy,
    emission_spectrum,
    expected_jumps,
    find_attractor,
    mixing_bounds,
    pauli,
    propagate_densities,
    propagate_observables,
    random_kets,
    scale_coupling,
    second_order_coherence,
    two_time_correlation,
    waiting_time_density,
)
from qinn.quantum.learning import MeasuredCounts, UnknownLindbladian, generator_entries

C = torch.complex128
# Axes of the systems, and of the states.
AXES = [((3,), (3,)), ((2, 1), (3,)), ((2,), ()), ((1, 2), (3, 1))]
EXACT = [ExactChannel(), Heisenberg(), Unitary()]
SAMPLED = [
    QuantumJumps(4, seed=1, record=True),
    SteppedJumps(4, seed=1),
    GumbelJumps(4, seed=1),
    Hybrid(4, seed=1),
]


def name_of(value):
    return type(value).__name__ if hasattr(value, "evolve") else str(value)


def systems(axes, dim, num_jumps=2, seed=0):
    """H and L_k of sizes that differ from system to system, H with an energy that all levels share."""
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(*axes, dim, dim, dtype=C, generator=generator)
    sizes = 4.0 ** torch.rand(*axes, 1, 1, dtype=torch.float64, generator=generator)
    L = torch.randn(*axes, num_jumps, dim, dim, dtype=C, generator=generator) / dim
    return sizes * (free + free.mH) / dim**0.5 + 3 * torch.eye(dim), L


def kets(axes, dim, number, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return random_kets(*axes, number, dim, generator=generator, dtype=C)


def looped(function, batch, *arguments):
    """Stack what a function gives for every element of a batch; arguments are tensors and their inner axes."""
    spread = [tensor.expand(*batch, *tensor.shape[tensor.ndim - inner :]) for tensor, inner in arguments]
    places = list(itertools.product(*map(range, batch)))
    found = torch.stack([function(*[tensor[place] for tensor in spread]) for place in places])
    return found.reshape(*batch, *found.shape[1:])


def assert_equal(first, second, tolerance=1e-12):
    assert first.shape == second.shape
    assert float((first - second).detach().abs().max()) < tolerance


@pytest.mark.parametrize(("own", "axes", "dim"), [*[(*each, 3) for each in AXES], ((2,), (), 9)])
@pytest.mark.parametrize("way", EXACT, ids=name_of)
def test_exact_evolutions_of_many_systems_are_those_of_a_loop(way, own, axes, dim):
    H, L = systems(own, dim)
    start, vectors = kets(axes, dim, 2), kets((), dim, 3)
    times = 0.2 + torch.rand(own, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def alone(H, L, start, time):
        state = way.evolve(PureEnsemble(start), Lindbladian(H, L), time=time)
        return torch.cat([state.probabilities(vectors), state.expectations(H[None])], -1)

    batch = torch.broadcast_shapes(own, axes)
    expected = looped(alone, batch, (H, 2), (L, 3), (start, 2), (times, 0))
    state = way.evolve(PureEnsemble(start), Lindbladian(H, L), time=times)
    assert_equal(state.probabilities(vectors), expected[..., :3])
    alone_density = looped(
        lambda H, L, start, time: way.evolve(PureEnsemble(start), Lindbladian(H, L), time=time).density(),
        batch,
        (H, 2),
        (L, 3),
        (start, 2),
        (times, 0),
    )
    assert_equal(state.density(), alone_density)


@pytest.mark.parametrize("times", [[0.0, 0.4, 0.8], [0.3, 0.4, 0.9, 1.0, 1.7, 1.75]], ids=["even", "uneven"])
@pytest.mark.parametrize("num_jumps", [0, 1])
@pytest.mark.parametrize("way", [*EXACT, SAMPLED[0], SAMPLED[1], SAMPLED[3]], ids=name_of)
def test_courses_of_many_systems_are_those_of_a_loop(way, num_jumps, times):
    (H, L), start = systems((2, 1), 3, num_jumps), kets((2,), 3, 1)
    observables = systems((2,), 3)[0]

    def alone(H, L, start):
        course = way.evolve(PureEnsemble(start), Lindbladian(H, L), times=times, steps=5)
        return course.expectations(observables)

    expected = looped(alone, torch.Size([2, 2]), (H, 2), (L, 3), (start, 2)).movedim(2, 0)
    course = way.evolve(PureEnsemble(start), Lindbladian(H, L), times=times, steps=5)
    assert_equal(course.expectations(observables), expected)
    assert_equal(course[1].expectations(observables), expected[1])


@pytest.mark.parametrize("way", [*EXACT, *SAMPLED[:3]], ids=name_of)
def test_systems_may_have_times_of_their_own_along_a_course(way):
    (H, L), start = systems((2, 1), 3, seed=2), kets((2,), 3, 1)
    vectors = torch.eye(3, dtype=C)
    times = torch.tensor([[0.1, 0.5, 0.6], [0.0, 0.2, 1.1]], dtype=torch.float64)[:, None]

    def alone(H, L, start, times):
        state = way.evolve(PureEnsemble(start), Lindbladian(H, L), times=times, steps=5)
        return state.probabilities(vectors)

    expected = looped(alone, torch.Size([2, 2]), (H, 2), (L, 3), (start, 2), (times, 1)).movedim(2, 0)
    course = way.evolve(PureEnsemble(start), Lindbladian(H, L), times=times, steps=5)
    assert course.times.shape == (3, 2, 1)
    assert_equal(course.probabilities(vectors), expected)
    assert_equal(course[1].probabilities(vectors), expected[1])


@pytest.mark.parametrize(("own", "axes"), AXES[:3])
@pytest.mark.parametrize("way", SAMPLED, ids=name_of)
def test_trajectories_of_many_systems_are_those_of_a_loop(way, own, axes):
    (H, L), start = systems(own, 3), kets(axes, 3, 1)
    times = 0.2 + torch.rand(own, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def alone(H, L, start, time):
        state = way.evolve(PureEnsemble(start), Lindbladian(H, L), time=time, steps=5)
        return state.probabilities(torch.eye(3, dtype=C))

    batch = torch.broadcast_shapes(own, axes)
    expected = looped(alone, batch, (H, 2), (L, 3), (start, 2), (times, 0))
    state = way.evolve(PureEnsemble(start), Lindbladian(H, L), time=times, steps=5)
    assert_equal(state.probabilities(torch.eye(3, dtype=C)), expected, 1e-10)


def test_records_hold_the_times_of_each_system():
    lower, rates, times = destroy(2, dtype=C), torch.tensor([0.5, 2.0]).double(), torch.tensor([40.0, 10.0])
    many = Lindbladian(torch.zeros(2, 2, dtype=C), [lower], rates=rates[:, None])
    way = QuantumJumps(50, seed=3, record=True)
    record = way.evolve(torch.tensor([0, 1], dtype=C), many, time=times.double()).record
    assert record.num_jumps.tolist() == [[1] * 50] * 2
    # The same random numbers: waiting times are those of one rate over the other.
    assert_equal(record.times[0] * 0.5, record.times[1] * 2.0, 1e-9)


def test_gradients_of_many_systems_are_those_of_a_loop():
    (H, L), start = systems((3,), 3), density_of(kets((3,), 3, 1)[:, 0])
    times = torch.tensor([0.4, 0.9, 1.3], dtype=torch.float64)
    given = [each.requires_grad_() for each in (H, L, start, times)]

    def value(density):
        return (density.abs().square() * torch.arange(9).reshape(3, 3)).sum()

    together = value(propagate_densities(Lindbladian(H, L, validate=False), start, times))
    found = torch.autograd.grad(together, given)
    alone = sum(
        value(propagate_densities(Lindbladian(H[i], L[i], validate=False), start[i], times[i]))
        for i in range(3)
    )
    for one, other in zip(found, torch.autograd.grad(alone, given), strict=True):
        assert_equal(one, other, 1e-11)


def test_gradients_of_sampled_courses_are_those_of_a_loop():
    (H, L), start = systems((2,), 3), kets((2,), 3, 1)
    given = [each.requires_grad_() for each in (H, L)]
    way = QuantumJumps(4, seed=1, uniforms="latin_hypercube", record=True)

    def course(H, L, start):
        return way.evolve(PureEnsemble(start), Lindbladian(H, L, validate=False), times=[0.0, 0.5, 1.0, 1.5])

    together, alone = course(H, L, start), [course(H[place], L[place], start[place]) for place in range(2)]
    densities = torch.stack([each.density() for each in alone], 1)
    assert_equal(together.density(), densities)
    found, expected = (
        torch.autograd.grad(each.abs().square().sum(), given, retain_graph=True)
        for each in (together.density(), densities)
    )
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other, 1e-10)
    assert together[1].num_groups == alone[0][1].num_groups == 2
    for place, each in enumerate(alone):
        assert together.record.num_jumps[place].tolist() == each.record.num_jumps.tolist()


def test_gradients_of_times_along_a_course_are_those_of_differences():
    H, L = systems((2,), 2)
    times = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)

    def values(times):
        course = ExactChannel().evolve(torch.tensor([1, 0], dtype=C), Lindbladian(H, L), times=times)
        return course.density()[..., 0, 0].real

    assert torch.autograd.gradcheck(values, times)


def test_both_pictures_broadcast_alike():
    (H, L), density, observable = systems((4, 1), 3), density_of(kets((2,), 3, 1)[:, 0]), systems((), 3)[0]
    forwards = propagate_densities(Lindbladian(H, L), density, 0.7)
    backwards = propagate_observables(Lindbladian(H, L), observable, 0.7)
    assert forwards.shape == (4, 2, 3, 3)
    assert backwards.shape == (4, 1, 3, 3)
    assert_equal(
        (forwards @ observable).diagonal(dim1=-2, dim2=-1).sum(-1),
        (density @ backwards).diagonal(dim1=-2, dim2=-1).sum(-1),
    )


def test_systems_of_far_apart_sizes_keep_their_digits():
    H, L = systems((3,), 2)
    sizes = torch.tensor([1e-3, 1.0, 1e5], dtype=torch.float64)
    many = Lindbladian(H * sizes[:, None, None], L * sizes.sqrt()[:, None, None, None])
    start = torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=C)
    together = propagate_densities(many, start, 1.0)
    alone = torch.stack([propagate_densities(one, start, 1.0) for one in many.systems()])
    assert_equal(together[:2], alone[:2])
    assert_equal(together[2], alone[2], 1e-9)


@pytest.mark.parametrize("way", [ExactChannel(), QuantumJumps(4, seed=2)], ids=name_of)
def test_a_driven_base_may_be_many_systems(way):
    (H, L), drives = systems((2,), 2), pauli("X", dtype=C)[None]
    amplitudes = torch.tensor([[[0.3], [1.0]], [[-1.0], [0.2]]], dtype=torch.float64)
    times, start = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.tensor([0, 1], dtype=C)

    def alone(H, L, amplitudes, time):
        return way.evolve(
            start, DrivenLindbladian(Lindbladian(H, L), drives, amplitudes), time=time
        ).density()

    expected = looped(alone, torch.Size([2]), (H, 2), (L, 3), (amplitudes, 2), (times, 0))
    driven = DrivenLindbladian(Lindbladian(H, L), drives, amplitudes)
    assert_equal(way.evolve(start, driven, time=times).density(), expected)


def test_attractors_of_many_systems_are_those_of_a_loop():
    H, L = systems((2, 1), 3)
    H.requires_grad_()
    found = find_attractor(Lindbladian(H, L, validate=False))

    def alone(H, L):
        attractor = find_attractor(Lindbladian(H, L, validate=False))
        return torch.cat([attractor.density.flatten(), attractor.spectral_gap[None]])

    expected = looped(alone, torch.Size([2, 1]), (H, 2), (L, 3))
    together = torch.cat([found.density.flatten(-2), found.spectral_gap[..., None]], -1)
    assert_equal(together, expected)
    one, other = (torch.autograd.grad(each.abs().square().sum(), H)[0] for each in (together, expected))
    assert_equal(one, other)
    assert found.mixing_time().shape == found.gap_error.shape == (2, 1)


def test_contraction_and_mixing_of_many_systems_are_those_of_a_loop():
    (H, L), times = systems((2, 1), 2), torch.tensor([0.4, 1.0], dtype=torch.float64)
    first, second = (density_of(kets((2,), 2, 1, seed)[:, 0]) for seed in (1, 2))

    def alone(H, L, first, second, time):
        one = Lindbladian(H, L)
        return torch.stack([contraction(one, first, second, time), contraction_bounds(one, time).upper])

    batch = torch.Size([2, 2])
    expected = looped(alone, batch, (H, 2), (L, 3), (first, 2), (second, 2), (times, 0))
    many = Lindbladian(H, L)
    assert_equal(contraction(many, first, second, times), expected[..., 0])
    assert_equal(contraction_bounds(many, times).upper, expected[..., 1])
    uppers = [mixing_bounds(one).upper for one in many.systems()]
    assert mixing_bounds(many).upper.flatten().tolist() == uppers


def test_expected_jumps_of_many_systems_are_those_of_a_loop():
    (H, L), start = systems((3, 1), 3), kets((2,), 3, 1)
    times = torch.tensor([[0.3], [1.0], [2.5]], dtype=torch.float64)

    def alone(H, L, start, time):
        return expected_jumps(PureEnsemble(start), Lindbladian(H, L), time=time)

    expected = looped(alone, torch.Size([3, 2]), (H, 2), (L, 3), (start, 2), (times, 0))
    assert_equal(expected_jumps(PureEnsemble(start), Lindbladian(H, L), time=times), expected)


def test_rates_multiply_the_squares_of_jump_operators():
    lower, rates = destroy(3, dtype=C), torch.tensor([[0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    many = Lindbladian(torch.zeros(3, 3, dtype=C), [lower], rates=rates)
    assert many.batch == (2,)
    assert_equal(many.total_rate.detach(), rates.detach()[..., None] * (lower.mH @ lower))
    state = ExactChannel().evolve(torch.tensor([0, 1, 0], dtype=C), many, time=0.7)
    survived = state.density()[:, 1, 1].real
    assert_equal(survived, (-0.7 * rates[:, 0]).exp())
    (slope,) = torch.autograd.grad(survived.sum(), rates)
    assert_equal(slope, (-0.7 * (-0.7 * rates).exp()).detach())


def test_listed_jump_operators_of_many_systems_are_broadcast():
    lower, rates = destroy(2, dtype=C), torch.tensor([1.0, 2.0]).double()
    many = Lindbladian(torch.zeros(2, 2, dtype=C), [rates[:, None, None] * lower, lower.mH])
    assert many.jump_operators.shape == (2, 2, 2, 2)
    assert_equal(many.jump_operators[1, 0], 2 * lower)


def test_learned_parameters_of_many_models_make_many_systems():
    models = [LearnableLindbladian(2, 1, max_rate=2.0, seed=seed, dtype=torch.float64) for seed in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    many = torch.func.functional_call(models[0], parameters, ())
    assert many.batch == (3,)
    assert_equal(many.jump_operators[1], models[1]().jump_operators)


def test_a_loss_over_many_systems_has_the_jacobian_of_each():
    H, L = systems((3,), 2)
    rates = torch.tensor([0.3, 0.7, 1.5], dtype=torch.float64)

    def populations(rates):
        many = Lindbladian(H, L, rates=rates[:, None].expand(-1, 2), validate=False)
        return ExactChannel().evolve(torch.tensor([1, 0], dtype=C), many, time=0.8).density()[:, 0, 0].real

    found = torch.func.jacrev(populations)(rates)
    assert_equal(found, torch.autograd.functional.jacobian(populations, rates))
    assert float((found - torch.diag(found.diagonal())).abs().max()) == 0


@pytest.mark.parametrize("validate", [True, False])
def test_vmap_is_refused_with_what_takes_its_place(validate):
    def population(H, validate):
        return ExactChannel().evolve([1, 0], Lindbladian(H, validate=validate), time=1.0).density()

    with pytest.raises(ArgumentError, match="leading axes in its place"):
        torch.func.vmap(population, in_dims=(0, None))(torch.zeros(2, 2, 2) + 0j, validate)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Lindbladian(torch.zeros(2, 2, 2), torch.zeros(3, 1, 2, 2)),
            "leading axes that fit each other",
        ),
        (lambda: Lindbladian(torch.zeros(2, 2), torch.zeros(1, 2, 2), rates=[-1.0]), "finite and ≥ 0"),
        (lambda: Lindbladian(torch.zeros(2, 2), torch.zeros(1, 2, 2), rates=[1.0, 2.0]), r"shape \(…, 1\)"),
        (
            lambda: Lindbladian(
                torch.zeros(2, 2), torch.zeros(1, 2, 2), rates=torch.zeros(1, requires_grad=True)
            ),
            "must be positive where it has a gradient",
        ),
        (
            lambda: ExactChannel().evolve(
                torch.eye(2)[[0, 1, 0]], Lindbladian(torch.zeros(2, 2, 2)), time=1.0
            ),
            "leading axes that fit those of the systems",
        ),
        (
            lambda: Hybrid(2).evolve([1, 0], Lindbladian(torch.zeros(2, 2, 2)), times=[[1.0], [2.0]]),
            "must be the same for all systems",
        ),
        (
            lambda: ExactChannel().evolve([1, 0], Lindbladian(torch.zeros(2, 2, 2)), time=[1.0, -1.0]),
            "finite and ≥ 0, but it is -1.0",
        ),
        (
            lambda: ExactChannel().evolve(
                [1, 0], Lindbladian(torch.zeros(2, 2, 2)), time=torch.tensor([1.0, -1.0])
            ),
            "finite and ≥ 0 for every system",
        ),
        (
            lambda: count_distribution(Lindbladian(pauli("X"), [destroy(2)]), 2, time=[1.0, 2.0]),
            "must be one number here",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make, words):
    with pytest.raises(ArgumentError, match=words) as caught:
        make()
    assert str(caught.value).startswith("Argument")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "use",
    [
        lambda many: emission_spectrum(many, destroy(2), frequencies=[0.0]),
        lambda many: two_time_correlation(many, destroy(2), destroy(2), delays=[0.0]),
        lambda many: second_order_coherence(many, destroy(2), delays=[0.0]),
        counting_statistics,
        lambda many: count_moments(many, times=[1.0]),
        lambda many: count_generating_function(many, [1.0], time=1.0),
        lambda many: count_distribution(many, 2, time=1.0),
        lambda many: waiting_time_density(many, delays=[1.0]),
        lambda many: ContinuousMeasurement().measure([0, 1], many, time=1.0, steps=100, num_trajectories=1),
        lambda many: ContinuousMeasurement().condition([0, 1], many, torch.zeros(1, 9, 1), time=0.1),
        lambda many: scale_coupling(many, (2, 1), 0.5),
        generator_entries,
        lambda many: UnknownLindbladian([pauli("X")], known=many),
        lambda many: MeasuredCounts.simulated(many, [[1, 0]], [1.0], torch.eye(2)[None], 9),
        lambda many: ExactCollisions().evolve_events(
            [0, 1],
            [Interaction(torch.zeros(4, 4), 2, (2,))],
            [Ancillas([[[1, 0]]])],
            [[0.1]],
            lindbladian=many,
            until=1.0,
        ),
    ],
)
def test_what_takes_a_single_system_says_so(use):
    with pytest.raises(ArgumentError, match=r"must be a single system for .* has leading axes \(3,\)"):
        use(Lindbladian(torch.zeros(3, 2, 2), [destroy(2)]))


def test_a_batch_of_no_system_gives_an_empty_result():
    none = Lindbladian(torch.zeros(0, 2, 2), torch.zeros(1, 2, 2))
    for way in (*EXACT, *SAMPLED):
        assert way.evolve([1, 0], none, time=1.0, steps=2).density().shape == (0, 2, 2)
    assert MixedState(torch.eye(2) / 2).for_systems(torch.Size([0])).density().shape == (0, 2, 2)
