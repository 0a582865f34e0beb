"""Jump operators driven in time, pieces of unequal length, and the Heisenberg picture of driven dynamics."""

import itertools
import math

import pytest
import torch
from torch.autograd import gradcheck

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    Heisenberg,
    Hybrid,
    Lindbladian,
    MixedState,
    ProductState,
    PureEnsemble,
    QuantumJumps,
    Unitary,
    check_density,
    destroy,
    hermitian_from,
    jump_amplitudes_along,
    jump_operators_from,
    pauli,
    random_kets,
    score_surrogate,
    uniform_mixture,
)

C = torch.complex128
X, LOWER = pauli("X", dtype=C), destroy(2, dtype=C)
DECAY = Lindbladian(0.3 * pauli("Z", dtype=C), [LOWER, 0.5 * X])
WAYS = [ExactChannel(), Heisenberg(), Hybrid(4, 0.5, seed=1), QuantumJumps(4, seed=1, record=True)]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def name_of(value):
    return type(value).__name__


def base(dim=5):
    return Lindbladian(
        hermitian_from(drawn(dim, dim)), jump_operators_from(drawn(2, 2, dim, dim, seed=1)) / (2 * dim) ** 0.5
    )


def pure(dim=5, *batch):
    generator = torch.Generator().manual_seed(2)
    return PureEnsemble(random_kets(*batch, 1, dim, generator=generator, dtype=C))


def seen(state, dim=5):
    return state.expectations(hermitian_from(drawn(3, dim, dim, seed=3)))


def assert_close(first, second, tolerance=1e-10):
    assert first.shape == second.shape
    assert (first - second).abs().max() <= tolerance


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_an_amplitude_is_a_factor_of_its_operator_and_its_phase_is_not_seen(way):
    factors = torch.tensor([0.7 + 0.4j, -1.3j], dtype=C)
    dense = Lindbladian(base().hamiltonian, factors[:, None, None] * base().jump_operators)
    known = way.evolve(pure(5, 2), dense, time=0.9)
    for amplitudes in (factors.expand(3, 2), factors.abs().expand(2, 1, 2)):
        driven = DrivenLindbladian(base(), jump_amplitudes=amplitudes)
        found = way.evolve(pure(5, 2), driven, time=0.9)
        assert_close(seen(found), seen(known), 1e-9)
        if isinstance(way, QuantumJumps):
            assert torch.equal(found.record.channels, known.record.channels)
            assert int(found.record.num_jumps.sum()) > 2
            assert_close(found.record.times.nan_to_num(), known.record.times.nan_to_num(), 1e-9)


@pytest.mark.parametrize("way", [*WAYS, Unitary()], ids=name_of)
def test_pieces_of_unequal_length_are_equal_ones_that_repeat(way):
    u, a = drawn(3, 1), torch.complex(drawn(3, 2, seed=4), drawn(3, 2, seed=5))
    uneven = DrivenLindbladian(
        base(), drawn(1, 5, 5).mT @ drawn(1, 5, 5), u, jump_amplitudes=a, edges=[0, 0.25, 1.0, 1.25]
    )
    repeated = [0, 1, 1, 1, 2]
    even = DrivenLindbladian(uneven.base, uneven.drives, u[repeated], jump_amplitudes=a[repeated])
    if isinstance(way, QuantumJumps | Hybrid):
        # In one pass, so that the random numbers are the same.
        assert_close(*(seen(way.evolve(pure(), each, time=1.25)) for each in (uneven, even)), 1e-9)
    else:
        courses = [seen(way.evolve(pure(), each, times=[0.0, 0.1, 1.0, 1.25])) for each in (uneven, even)]
        assert_close(*courses, 1e-9)


def test_a_jump_that_is_switched_off_never_falls():
    driven = DrivenLindbladian(DECAY, jump_amplitudes=[[1.0, 0.0], [0.0, 3.0]], edges=[0.0, 1.0, 4.0])
    record = QuantumJumps(200, seed=0, record=True).evolve([0, 1], driven, time=4.0).record
    early = record.times < 1.0
    assert int(early.sum()) > 20
    assert bool((record.channels[early] == 0).all())
    assert bool((record.channels[record.times >= 1.0] == 1).all())


def test_observables_pass_the_pieces_backwards():
    quarter = math.pi / 4
    still = Lindbladian(torch.zeros(2, 2, dtype=C))
    turns = DrivenLindbladian(
        still, [X, pauli("Y", dtype=C)], torch.tensor([[quarter, 0], [0, quarter]], dtype=torch.float64)
    )
    state = Heisenberg().evolve([1, 0], turns, time=2.0)
    values = state.expectations(torch.stack([pauli(name, dtype=C) for name in "XYZ"]))
    assert_close(values, torch.tensor([[0.0, -1.0, 0.0]], dtype=torch.float64), 1e-12)


@pytest.mark.parametrize("dim", [3, 9])
def test_observables_of_many_bases_and_of_products_that_lack_factors(dim):
    a = torch.complex(drawn(3, 2, 2, seed=6), drawn(3, 2, 2, seed=7))
    H = torch.stack([base(dim).hamiltonian, 2 * base(dim).hamiltonian])[:, None]
    driven = DrivenLindbladian(Lindbladian(H, base(dim).jump_operators), jump_amplitudes=a)
    start = pure(dim, 3)
    found, course = (
        Heisenberg().evolve(start, driven, **times) for times in ({"time": 0.6}, {"times": [0.2, 0.6]})
    )
    known = ExactChannel().evolve(start, driven, times=[0.2, 0.6])
    assert_close(seen(found, dim), seen(known, dim)[-1])
    assert_close(seen(course, dim), seen(known, dim))


def test_what_a_product_lacks_meets_amplitudes_of_each_sample():
    kets = random_kets(2, 2, generator=torch.Generator().manual_seed(0), dtype=C)
    present = torch.tensor([[True, True], [True, False]])
    product = ProductState((kets, kets), present, (uniform_mixture(2, dtype=C),) * 2)
    both = Lindbladian(torch.zeros(4, 4, dtype=C), [torch.kron(LOWER, X), torch.kron(X, LOWER)])
    for a in (drawn(2, 3, 2, seed=8), drawn(3, 2, seed=8)):
        driven = DrivenLindbladian(both, jump_amplitudes=a)
        found = Heisenberg().evolve(product, driven, time=1.0)
        known = ExactChannel().evolve(product, driven, time=1.0)
        assert_close(seen(found, 4).mean(-2), seen(known, 4)[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "dim", "shared"),
    [
        (ExactChannel(), 5, False),
        (ExactChannel(), 2, True),
        (Heisenberg(), 2, False),
        (Heisenberg(), 5, True),
    ],
    ids=["a series", "channels", "channels of samples backwards", "channels backwards"],
)
def test_gradients_are_those_of_finite_differences(way, dim, shared):
    given = [
        drawn(2, 2, 1, seed=1),
        drawn(2, 2, 2, seed=2),
        drawn(2, 2, 2, seed=3),
        drawn(1, dim, dim, seed=4),
        0.4 * drawn(2, 2, dim, dim, seed=5),
    ]
    given = [each[0] if shared and place < 3 else each for place, each in enumerate(given)]
    for each in given:
        each.requires_grad_()

    def values(u, real, imaginary, free, jumps):
        still = Lindbladian(base(dim).hamiltonian, jump_operators_from(jumps), validate=False)
        driven = DrivenLindbladian(
            still,
            hermitian_from(free),
            u,
            jump_amplitudes=torch.complex(real, imaginary),
            edges=[0, 0.3, 1.0],
        )
        return seen(way.evolve(pure(dim, 2), driven, time=1.0), dim)

    assert gradcheck(values, given, atol=1e-6, fast_mode=True)


@pytest.mark.slow
def test_gradients_of_trajectories_are_unbiased_in_the_amplitudes():
    """Sixteen samples with amplitudes of their own, all alike: as many independent estimates of one gradient."""
    u = drawn(2, 1, seed=1).expand(16, 2, 1).clone().requires_grad_()
    a = (1 + 0.5 * drawn(2, 2, seed=2)).expand(16, 2, 2).clone().requires_grad_()
    driven = DrivenLindbladian(DECAY, [X], u, jump_amplitudes=a, edges=[0.0, 0.4, 1.5])
    start = PureEnsemble(torch.tensor([0, 1], dtype=C).expand(16, 1, 2))

    def gradients(way):
        state = way.evolve(start, driven, time=1.5)
        values = state.expectations(pauli("Z", dtype=C)[None])[..., 0]
        values = score_surrogate(values, state.log_likelihood).mean(-1).sum()
        return torch.cat([each.flatten(1) for each in torch.autograd.grad(values, (u, a))], 1)

    known = gradients(ExactChannel())[0]
    torch.manual_seed(0)
    for way in (QuantumJumps(200), QuantumJumps(200, gradient="pathwise")):
        found = gradients(way)
        worst = float(((found.mean(0) - known).abs() / (found.std(0) / 4 + 1e-9)).max())
        assert worst > 10 if way.gradient == "pathwise" else worst < 4


def final(function, steps):
    amplitudes = jump_amplitudes_along(function, time=2.0, steps=steps)
    driven = DrivenLindbladian(DECAY, jump_amplitudes=amplitudes)
    return ExactChannel().evolve([0.6, 0.8], driven, time=2.0).density()


PROFILES = {
    "positive": lambda t: torch.stack([1.2 + torch.sin(2 * t), torch.exp(-t)], -1),
    "pulses from zero": lambda t: torch.stack(
        [2 * torch.sin(math.pi * t / 2) ** 2, 2 * torch.exp(-(((t - 1) / 0.3) ** 2))], -1
    ),
}


@pytest.mark.parametrize("name", PROFILES)
def test_smooth_rates_are_followed_to_fourth_order(name):
    exact = final(PROFILES[name], 300)
    errors = [float((final(PROFILES[name], steps) - exact).abs().max()) for steps in (20, 40)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(4, abs=0.15)


def test_the_order_survives_amplitudes_that_pass_through_zero():
    """Where in a step the zero lies changes the factor, so that it is bounded for many numbers of steps."""

    def crossing(times):
        return torch.stack([torch.sin(3.1 * times), torch.exp(2j * times) * (times - 0.7)], -1)

    exact = final(crossing, 400)
    factors = [float((final(crossing, steps) - exact).abs().max()) * steps**4 for steps in (10, 13, 29, 64)]
    assert max(factors) < 1.0
    check_density(final(crossing, 2))


def test_a_rate_keeps_its_integral_and_has_a_gradient_where_it_is_zero():
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def crossing(times):
        return (scale * (times - 1.1))[:, None]

    amplitudes = jump_amplitudes_along(crossing, time=2.0, steps=4)
    assert bool((amplitudes >= 0).all())
    assert float(amplitudes.detach().amin()) == 0
    # ∫ s²(t − 1.1)² dt over [0, 2], to which the nodes of a step are exact.
    integral = (0.9**3 + 1.1**3) / 3
    assert float(amplitudes.detach().square().sum() / 4) == pytest.approx(4 * integral)
    amplitudes.square().sum().backward()
    assert float(scale.grad) == pytest.approx(4 * 2 * 2 * integral)


BAD = {
    "wrong length": (
        lambda: DrivenLindbladian(DECAY, jump_amplitudes=[[1.0]]),
        "one amplitude for each jump",
    ),
    "no such operator": (lambda: DrivenLindbladian(DECAY, (), [[1.0]]), "one amplitude for each drive"),
    "no jump operator": (
        lambda: DrivenLindbladian(Lindbladian(X), [X], [[1.0]], jump_amplitudes=[[1.0]]),
        r"\(…, piece, 0\)",
    ),
    "nothing driven": (lambda: DrivenLindbladian(DECAY), "`amplitudes` must be given"),
    "drives without amplitudes": (
        lambda: DrivenLindbladian(DECAY, [X], jump_amplitudes=[[1.0, 1.0]]),
        "must be given for 1 drives",
    ),
    "other pieces": (
        lambda: DrivenLindbladian(DECAY, [X], [[1.0], [1.0]], jump_amplitudes=[[1.0, 1.0]]),
        "equally many pieces, but have 2 and 1",
    ),
    "complex on H": (lambda: DrivenLindbladian(DECAY, [X], [[1j]]), "`amplitudes` must be real"),
    "not finite": (
        lambda: DrivenLindbladian(DECAY, jump_amplitudes=[[math.nan, 1.0]]),
        "`jump_amplitudes` must be finite",
    ),
    "precision": (
        lambda: DrivenLindbladian(DECAY, jump_amplitudes=torch.ones(1, 2)),
        "must have one complex dtype",
    ),
    "edges fall": (
        lambda: DrivenLindbladian(DECAY, jump_amplitudes=[[1.0, 1.0]] * 2, edges=[0, 2, 1]),
        r"`edges` must rise from 0 and be finite, but it is \[0, 2, 1\]",
    ),
    "edges begin late": (
        lambda: DrivenLindbladian(DECAY, jump_amplitudes=[[1.0, 1.0]], edges=[1, 2]),
        "must rise from 0",
    ),
    "too few edges": (
        lambda: DrivenLindbladian(DECAY, jump_amplitudes=[[1.0, 1.0]] * 2, edges=[0, 2]),
        "3 moments for 2 pieces",
    ),
    "edges are none": (
        lambda: DrivenLindbladian(DECAY, jump_amplitudes=[[1.0, 1.0]], edges="ab"),
        "must be a list of numbers",
    ),
    "axes do not meet": (
        lambda: DrivenLindbladian(DECAY, [X], drawn(2, 1, 1), jump_amplitudes=drawn(3, 1, 2)).samples,
        "batch axes that fit each other",
    ),
    "structured base": (
        lambda: DrivenLindbladian(torch.zeros(2, 2), jump_amplitudes=[[1.0]]),
        "must be a `Lindbladian` for the base",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_impossible_amplitudes_are_refused_in_a_sentence(name):
    build, words = BAD[name]
    with pytest.raises(ArgumentError, match=words):
        build()


@pytest.mark.parametrize("way", [*WAYS, Unitary()], ids=name_of)
def test_durations_and_batches_that_do_not_fit_are_refused(way):
    driven = DrivenLindbladian(DECAY, jump_amplitudes=[[1.0, 1.0]] * 2, edges=[0.0, 1.0, 3.0])
    for when in ({"time": 2.0}, {"times": [1.0, 2.0]}, {"time": [3.0, 2.0]}):
        with pytest.raises(
            ArgumentError, match="must be 3, where the last piece of the dynamics ends, but is 2"
        ):
            way.evolve([0, 1], driven, **when)
    of_others = DrivenLindbladian(DECAY, jump_amplitudes=drawn(2, 1, 2))
    if not isinstance(way, Unitary):
        with pytest.raises(ArgumentError, match="`jump_amplitudes` must have batch axes that fit"):
            seen(way.evolve(pure(2, 3), of_others, time=1.0), 2)


def test_durations_of_their_own_are_refused_in_the_heisenberg_picture():
    driven = DrivenLindbladian(DECAY, jump_amplitudes=[[1.0, 1.0]])
    with pytest.raises(ArgumentError, match="`time` must be one duration for driven dynamics"):
        Heisenberg().evolve(pure(2, 2), driven, time=[1.0, 2.0])
    with pytest.raises(ArgumentError, match="`times` must be one list of numbers"):
        Heisenberg().evolve(pure(2, 2), driven, times=[[1.0], [2.0]])
    found = ExactChannel().evolve(pure(2, 2), driven, time=[1.0, 2.0]).density()
    for place, time in enumerate((1.0, 2.0)):
        alone = ExactChannel().evolve(MixedState(pure(2, 2).density()[place]), driven, time=time)
        assert_close(found[place], alone.density())
