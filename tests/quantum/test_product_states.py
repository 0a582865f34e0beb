"""Products that lack factors: exact where linear, drawn without bias where sampled, legal for any parameters."""

import itertools
import math

import jaxtyping
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
    LearnableMixture,
    MixedState,
    Mixture,
    NoEvolution,
    ProductState,
    PureEnsemble,
    QuantumJumps,
    Unitary,
    hermitian_from,
    maximally_mixed,
    normalize,
    random_kets,
    score_surrogate,
    uniform_mixture,
)

DIMS, SMALL = (2, 3, 2), (2, 2, 2)
PATTERNS = torch.tensor(list(itertools.product([True, False], repeat=3)))
DTYPE = torch.complex128


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def unchecked_types():
    """Let values of a wrong shape through to the checks of the classes, as outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def random_mixture(dim, seed, members=None):
    source = generator(seed)
    weights = torch.rand(members or dim, generator=source, dtype=torch.float64)
    return Mixture(random_kets(members or dim, dim, generator=source, dtype=DTYPE), weights / weights.sum())


def random_state(present=PATTERNS, dims=DIMS, seed=0):
    source = generator(seed)
    kets = tuple(random_kets(len(present), dim, generator=source, dtype=DTYPE) for dim in dims)
    mixtures = tuple(random_mixture(dim, 10 + seed + dim, members=dim + 1) for dim in dims)
    return ProductState(kets, present, mixtures)


def dynamics(dim, seed=0):
    return LearnableLindbladian(dim, 2, hamiltonian_scale=1.0, jump_scale=1.0, seed=seed, dtype=torch.float64)


def vectors(dim, count=4):
    return random_kets(count, dim, generator=generator(5), dtype=DTYPE)


def test_every_pattern_of_absence_has_the_probabilities_and_expectations_of_its_density():
    state = random_state()
    dense = MixedState(state.density())
    observables = hermitian_from(torch.randn(3, 12, 12, generator=generator(1), dtype=torch.float64))
    found, expected = state.probabilities(vectors(12)), dense.probabilities(vectors(12))
    assert found.shape == (8, 1, 4)
    assert (found - expected).abs().max() < 1e-12
    assert (state.expectations(observables) - dense.expectations(observables)).abs().max() < 1e-12


def test_the_density_is_the_product_of_kets_and_mixtures():
    state = random_state()
    for row, pattern in enumerate(PATTERNS.tolist()):
        expected = torch.ones(1, 1, dtype=DTYPE)
        for ket, mixture, present in zip(state.kets, state.mixtures, pattern, strict=True):
            one = ket[row][:, None] * ket[row].conj() if present else mixture.density()
            expected = torch.kron(expected, one)
        assert (state.density()[row] - expected).abs().max() < 1e-14


@pytest.mark.parametrize("dims", [(2, 3), (2, 2, 2), (3,), pytest.param((3, 2, 2), marks=pytest.mark.slow)])
def test_the_heisenberg_picture_of_absent_factors_is_that_of_their_densities(dims):
    patterns = torch.tensor(list(itertools.product([True, False], repeat=len(dims))))
    state = random_state(patterns, dims)
    lindbladian = dynamics(math.prod(dims))().to(DTYPE)
    evolved = Heisenberg().evolve(state, lindbladian, time=0.8, steps=1)
    assert isinstance(evolved, HeisenbergState)
    assert evolved.initial is state
    dense = ExactChannel().evolve(MixedState(state.density()), lindbladian, time=0.8, steps=1)
    given = vectors(math.prod(dims))
    assert (evolved.probabilities(given) - dense.probabilities(given)).abs().max() < 1e-12
    assert (evolved.density() - dense.density()).abs().max() < 1e-11


def test_gradients_through_the_contraction_are_those_through_the_density():
    gradients = []
    for dense in (False, True):
        generators, prior = dynamics(8), LearnableMixture(2, dtype=torch.float64)
        with torch.no_grad():
            prior.free.add_(0.3 * torch.randn(2, 2, 2, generator=generator(2), dtype=torch.float64))
        state = random_state(dims=SMALL)
        ket = state.kets[0].clone().requires_grad_()
        state = ProductState(
            (ket, *state.kets[1:]), PATTERNS, (state.mixtures[0], prior(), state.mixtures[2])
        )
        initial = MixedState(state.density()) if dense else state
        evolved = Heisenberg().evolve(initial, generators().to(DTYPE), time=0.8, steps=1)
        evolved.probabilities(vectors(8)).square().sum().backward()
        gradients.append([ket.grad, prior.free.grad, *(p.grad for p in generators.parameters())])
    for found, expected in zip(*gradients, strict=True):
        assert expected.abs().max() > 1e-4
        assert (found - expected).abs().max() < 1e-11


@pytest.mark.parametrize(
    "evolution", [Unitary(), ExactChannel(), NoEvolution(), Heisenberg()], ids=lambda one: type(one).__name__
)
def test_deterministic_evolutions_take_products_that_lack_factors(evolution):
    state, lindbladian = random_state(dims=SMALL), dynamics(8)().to(DTYPE)
    found = evolution.evolve(state, lindbladian, time=0.5, steps=1)
    expected = evolution.evolve(MixedState(state.density()), lindbladian, time=0.5, steps=1)
    assert (found.density() - expected.density()).abs().max() < 1e-12


@pytest.mark.parametrize(
    "free",
    [
        torch.zeros(3, 2, 3),
        1e-30 * torch.ones(3, 2, 3),
        1e30 * torch.eye(3)[:, None].expand(3, 2, 3),
        torch.eye(3)[:, None].expand(3, 2, 3) * torch.tensor([1.0, 0.0, 1e-25])[:, None, None],
        torch.randn(3, 2, 3, generator=generator(7)),
    ],
    ids=["zero", "tiny", "huge", "a zero row", "random"],
)
def test_every_value_of_the_parameters_is_a_legal_mixture_with_finite_gradients(free):
    prior = LearnableMixture(3)
    with torch.no_grad():
        prior.free.copy_(free)
    mixture = prior()
    density = mixture.density().detach()
    assert torch.allclose(mixture.kets.abs().square().sum(-1), torch.ones(3), atol=1e-5)
    assert float(mixture.weights.detach().min()) >= 0
    assert float(density.diagonal().sum().real) == pytest.approx(1, abs=1e-5)
    assert float(torch.linalg.eigvalsh(density).min()) > -1e-6
    state = ProductState((torch.zeros(2, 3) + 0j,), torch.tensor([[False], [False]]), (mixture,))
    value = state.probabilities(random_kets(2, 3, generator=generator(1))).sum()
    value = value + state.draw(5).log_likelihood.sum()
    value.backward()
    assert prior.free.grad.isfinite().all()


def test_a_learned_mixture_starts_maximally_mixed_and_reaches_any_density():
    prior = LearnableMixture(3, dtype=torch.float64)
    assert torch.equal(prior().density().detach(), maximally_mixed(3, dtype=DTYPE))
    root = torch.randn(3, 3, generator=generator(4), dtype=DTYPE)
    with torch.no_grad():
        prior.free.copy_(torch.view_as_real(root.mT.contiguous()).movedim(-1, 1))
    expected = root @ root.mH / (root @ root.mH).diagonal().sum()
    assert (prior().density() - expected).abs().max() < 1e-14


def test_the_uniform_mixture_is_maximally_mixed():
    assert torch.equal(uniform_mixture(5, dtype=DTYPE).density(), maximally_mixed(5, dtype=DTYPE))


@pytest.mark.parametrize("seed", [None, 11])
def test_what_is_drawn_averages_to_the_density_and_present_factors_stay(seed):
    present = torch.tensor([[True, False], [False, False]])
    state = random_state(present, (2, 3), seed=1)
    torch.manual_seed(0)
    drawn = state.draw(20000, seed)
    assert (drawn.density() - state.density()).abs().max() < 0.015
    kept = drawn.kets.reshape(2, -1, 2, 3)[0]
    reduced = torch.einsum("tij,tkj->tik", kept, kept.conj())
    assert (reduced - state.kets[0][0][:, None] * state.kets[0][0].conj()).abs().max() < 1e-12
    assert (drawn.log_likelihood == 0).all()


def z_scores(estimates, exact):
    """Mean minus truth over its standard error, per quantity; `estimates` are independent repetitions."""
    estimates = estimates.reshape(len(estimates), -1)
    error = estimates.std(0) / len(estimates) ** 0.5
    return ((estimates.mean(0) - exact.flatten()) / error.clamp_min(1e-12)).abs()


@pytest.mark.slow
@pytest.mark.parametrize("seeded", [False, True], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["jumps", "hybrid"])
def test_sampled_evolutions_of_absent_factors_are_unbiased(name, seeded):
    present = torch.tensor([[True, False], [False, False], [True, True]])
    state, lindbladian, given = random_state(present, (2, 3)), dynamics(6)().to(DTYPE), vectors(6, 3)
    exact = Heisenberg().evolve(state, lindbladian, time=0.9, steps=1).probabilities(given)[:, 0]
    torch.manual_seed(1)
    estimates = []
    for repetition in range(60):
        seed = repetition if seeded else None
        evolution = QuantumJumps(64, seed=seed) if name == "jumps" else Hybrid(64, 0.5, seed=seed)
        evolved = evolution.evolve(state, lindbladian, time=0.9, steps=8)
        estimates.append(evolved.probabilities(given).mean(1))
    # 9 quantities: P(any z above 4.5) < 1e-3 for an unbiased estimator (t with 59 degrees of freedom).
    assert z_scores(torch.stack(estimates), exact).max() < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("evolution", ["draw", "jumps"])
def test_the_gradient_of_a_learned_mixture_is_unbiased_through_what_is_drawn(evolution):
    prior, given = LearnableMixture(2, dtype=torch.float64), vectors(4, 2)
    with torch.no_grad():
        prior.free.add_(0.4 * torch.randn(2, 2, 2, generator=generator(2), dtype=torch.float64))
    ket = random_kets(1, 2, generator=generator(3), dtype=DTYPE)
    lindbladian = dynamics(4).requires_grad_(False)().to(DTYPE)

    def gradient(sampled):
        prior.zero_grad()
        known = uniform_mixture(2, dtype=DTYPE)
        state = ProductState((ket, ket), torch.tensor([[True, False]]), (known, prior()))
        if evolution == "draw":
            state = state.draw(500) if sampled else state
        else:
            way = QuantumJumps(100) if sampled else Heisenberg()
            state = way.evolve(state, lindbladian, time=0.7, steps=4)
        values = state.probabilities(given)
        score_surrogate(values, state.log_likelihood).mean(1)[:, 0].sum().backward()
        return prior.free.grad.clone()

    exact = gradient(sampled=False)
    torch.manual_seed(2)
    estimates = torch.stack([gradient(sampled=True) for _ in range(60)])
    assert exact.abs().max() > 0.01
    assert z_scores(estimates, exact).max() < 4.5


@pytest.mark.parametrize(
    "evolution",
    [QuantumJumps(6, seed=2), Hybrid(6, seed=2), GumbelJumps(6, seed=2), Heisenberg(), NoEvolution()],
    ids=lambda one: type(one).__name__,
)
def test_a_seeded_result_is_the_same_every_time_alone_and_in_any_batch(evolution):
    state, lindbladian, given = random_state(dims=SMALL), dynamics(8)().to(DTYPE), vectors(8)

    def probabilities(rows):
        part = ProductState(tuple(ket[rows] for ket in state.kets), state.present[rows], state.mixtures)
        return evolution.evolve(part, lindbladian, time=0.6, steps=4).probabilities(given)

    everything = list(range(8))
    assert torch.equal(probabilities(everything), probabilities(everything))
    whole = probabilities(everything)
    assert (probabilities(everything[::-1]).flip(0) - whole).abs().max() < 1e-12
    assert (torch.cat([probabilities([row]) for row in everything]) - whole).abs().max() < 1e-12


@pytest.mark.parametrize("num_trajectories", [4, 12, 32])
@pytest.mark.parametrize("dim", [2, 4])
def test_seeded_draws_take_the_basis_kets_of_every_factor_as_evenly_as_possible(dim, num_trajectories):
    kets = tuple(torch.zeros(1, dim) + 0j for _ in range(3))
    state = ProductState(kets, torch.zeros(1, 3, dtype=torch.bool), (uniform_mixture(dim),) * 3)
    drawn = state.draw(num_trajectories, seed=20251027).kets.reshape(-1, dim, dim, dim)
    for factor in range(3):
        axes = [axis for axis in (1, 2, 3) if axis != 1 + factor]
        counts = drawn.abs().square().sum(axes).sum(0)
        assert (counts - num_trajectories / dim).abs().max() < 1 + 1e-6


def test_draws_are_independent_of_the_numbers_of_the_jumps_with_the_same_seed():
    mixture = uniform_mixture(2)
    first = mixture.members(torch.rand(4000, 2, dtype=torch.float64, generator=generator(9))[:, 0])
    state = ProductState((torch.zeros(1, 2) + 0j,), torch.tensor([[False]]), (mixture,))
    drawn = state.draw(4000, seed=9).kets[0, :, 1].real
    correlation = torch.corrcoef(torch.stack([drawn, first.float()]))[0, 1]
    assert abs(float(correlation)) < 0.06


def test_a_member_without_weight_is_never_drawn():
    mixture = Mixture(torch.eye(3) + 0j, torch.tensor([0.0, 1.0, 0.0]))
    numbers = torch.tensor([0.0, 2.0**-54, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    assert mixture.members(numbers).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(torch.eye(2), torch.ones(2)), "with sum 1"),
        (lambda: Mixture(torch.eye(2), torch.tensor([0.5, 0.5j])), "must be real"),
        (lambda: Mixture(torch.eye(2) + 0j, torch.ones(3)), r"shapes \(member, dim\)"),
        (lambda: Mixture(torch.zeros(0, 2) + 0j, torch.ones(0)), "at least one member"),
        (lambda: LearnableMixture(0), "`dim` must be at least 1"),
        (
            lambda: ProductState((torch.zeros(2, 3) + 0j,), torch.ones(2, 1) > 0, (uniform_mixture(2),)),
            "same samples and factors",
        ),
        (
            lambda: ProductState((torch.zeros(2, 2) + 0j,), torch.ones(3, 1) > 0, (uniform_mixture(2),)),
            "same samples and factors",
        ),
        (
            lambda: ProductState(
                (torch.zeros(2, 2) + 0j,), torch.ones(2, 1) > 0, (uniform_mixture(2, dtype=DTYPE),)
            ),
            "one complex dtype",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(make, message, unchecked_types):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_product_without_absences_is_its_ket():
    state = random_state(torch.ones(3, 3, dtype=torch.bool))
    drawn = state.draw(2)
    assert isinstance(drawn, PureEnsemble)
    pure = normalize(drawn.kets[:, :1])
    found, expected = state.probabilities(vectors(12)), PureEnsemble(pure).probabilities(vectors(12))
    assert (found - expected).abs().max() < 1e-12
    assert state.dim == 12
    assert state.dtype == DTYPE
    assert state.log_likelihood.shape == (3, 1)
