"""What averages over sampled trajectories carries their score: density, chained evolutions, means; or refuses."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    HeisenbergState,
    Hybrid,
    LearnableMixture,
    Lindbladian,
    ProductState,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    pauli,
    purity,
    score_surrogate,
    uniform_mixture,
)
from qinn.quantum.states.estimators import mean_density

DTYPE = torch.complex128
LOWERING = torch.tensor([[[0, 1], [0, 0]]], dtype=DTYPE)
EXCITED = torch.tensor([0, 1], dtype=DTYPE)
TIME = 1.5
# H = θ₁X, L = θ₂σ₋ from |1⟩ for a time 1.5: gradient of ρ₁₁, by the exact channel.
EXACT = (-0.2960, -0.2354)
ROWS, TRAJECTORIES, REPLICATES = 200, 40, 8


def dynamics(theta):
    return Lindbladian(theta[0] * pauli("X", dtype=DTYPE), theta[1] * LOWERING, validate=False)


def driven(theta):
    base = Lindbladian(theta[0] * pauli("X", dtype=DTYPE), theta[1] * LOWERING, validate=False)
    return DrivenLindbladian(base, pauli("Z", dtype=DTYPE)[None], torch.zeros(2, 1, dtype=torch.float64))


def start(rows=ROWS):
    return PureEnsemble(EXCITED.expand(rows, 1, 2))


def run(state, way, theta, time, generator=dynamics, steps=1):
    return way.evolve(state, generator(theta), time=time, steps=steps)


def chain(*parts, generator=dynamics, steps=1):
    def density(theta):
        state = start()
        for way, share in parts:
            state = run(state, way, theta, TIME * share, generator, steps)
        return state.density()

    return density


def sampled(num_trajectories=TRAJECTORIES, **options):
    return QuantumJumps(num_trajectories, **options)


AVERAGES = {
    "density": chain((sampled(), 1.0)),
    "density, Latin hypercube": chain((sampled(uniforms="latin_hypercube"), 1.0)),
    "density, driven march": chain((sampled(), 1.0), generator=driven),
    "stepped jumps": chain((SteppedJumps(TRAJECTORIES), 1.0), steps=48),
    "jumps, exact channel": chain((sampled(), 2 / 3), (ExactChannel(), 1 / 3)),
    "jumps, driven exact channel": chain((sampled(), 2 / 3), (ExactChannel(), 1 / 3), generator=driven),
    "jumps, Heisenberg": chain((sampled(), 2 / 3), (Heisenberg(), 1 / 3)),
    "jumps, jumps": chain((sampled(), 0.4), (sampled(), 0.6)),
    "Latin hypercube, jumps": chain((sampled(uniforms="latin_hypercube"), 0.4), (sampled(), 0.6)),
    "jumps, stepped jumps": chain((sampled(), 0.9), (SteppedJumps(TRAJECTORIES), 0.1), steps=16),
    "jumps, jumps, exact channel": chain((sampled(), 0.3), (sampled(), 0.3), (ExactChannel(), 0.4)),
    "hybrid": chain((Hybrid(TRAJECTORIES, 0.6), 1.0)),
}


def gradients(value, seed=0, replicates=REPLICATES):
    torch.manual_seed(seed)
    found = []
    for _ in range(replicates):
        theta = torch.tensor([0.6, 0.8], dtype=torch.float64, requires_grad=True)
        found.append(torch.autograd.grad(value(theta), theta)[0])
    return torch.stack(found)


def deviations(sample, exact):
    """Deviation of the mean from the exact gradient in standard errors, and those relative to its norm."""
    exact = torch.as_tensor(exact, dtype=torch.float64)
    errors = sample.std(0) / len(sample) ** 0.5
    return (sample.mean(0) - exact) / errors, errors / exact.norm()


def exact_gradient(function=lambda density: density[1, 1].real):
    theta = torch.tensor([0.6, 0.8], dtype=torch.float64, requires_grad=True)
    state = run(PureEnsemble(EXCITED[None]), ExactChannel(), theta, TIME)
    return torch.autograd.grad(function(state.density()), theta)[0]


def test_the_exact_gradient_is_the_published_one():
    assert exact_gradient().tolist() == pytest.approx(EXACT, abs=5e-5)


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_have_an_unbiased_gradient(name):
    sample = gradients(lambda theta: AVERAGES[name](theta)[:, 1, 1].real.mean())
    scores, errors = deviations(sample, exact_gradient())
    assert float(errors.max()) < 0.02
    assert float(scores.abs().max()) < 4


def test_a_curved_function_of_a_large_average_is_unbiased_to_its_standard_error():
    def value(theta):
        state = run(start(1), QuantumJumps(8000), theta, TIME)
        return purity(state.density()).mean()

    scores, errors = deviations(gradients(value), exact_gradient(purity))
    assert float(errors.max()) < 0.02
    assert float(scores.abs().max()) < 4


def test_the_pathwise_and_the_relaxed_options_are_exempt_and_say_that_they_are_biased():
    for way, steps in ((sampled(gradient="pathwise"), 1), (GumbelJumps(TRAJECTORIES), 32)):
        value = chain((way, 1.0), steps=steps)
        scores, _ = deviations(
            gradients(lambda theta, f=value: f(theta)[:, 1, 1].real.mean()), exact_gradient()
        )
        assert float(scores.abs().max()) > 4
        assert "biased" in type(way).__doc__


def test_a_drawn_factor_of_a_learned_mixture_has_its_score_in_the_average():
    torch.manual_seed(0)
    mixture = LearnableMixture(2, dtype=torch.float64)
    with torch.no_grad():
        mixture.free.add_(0.4 * torch.randn(2, 2, 2, dtype=torch.float64))
    kets = (torch.zeros(ROWS, 2, dtype=DTYPE),)
    absent = torch.zeros(ROWS, 1, dtype=torch.bool)

    def gradient(state):
        return torch.autograd.grad(state.density()[:, 1, 1].real.mean(), mixture.free)[0]

    exact = gradient(ProductState(kets, absent, (mixture(),)))
    sample = torch.stack(
        [gradient(ProductState(kets, absent, (mixture(),)).draw(TRAJECTORIES)) for _ in range(REPLICATES)]
    )
    errors = sample.std(0) / REPLICATES**0.5
    assert float(errors.max()) < 0.02 * float(exact.norm())
    assert bool(((sample.mean(0) - exact).abs() <= 4 * errors + 1e-12).all())


def ensemble(groups=None, seed=0, num_trajectories=6):
    generator = torch.Generator().manual_seed(seed)
    kets = torch.randn(3, num_trajectories, 4, dtype=DTYPE, generator=generator)
    kets = (kets / kets.norm(dim=-1, keepdim=True)).requires_grad_()
    free = torch.randn(3, num_trajectories, dtype=torch.float64, generator=generator).requires_grad_()
    score = free * kets.real.sum(-1)
    return PureEnsemble(kets, score - score.detach(), num_groups=groups), (kets, free)


@pytest.mark.parametrize("groups", [None, 6, 3, 2])
def test_the_average_has_the_gradient_of_the_surrogate_and_its_value_is_the_plain_mean(groups):
    state, free = ensemble(groups)
    observable = torch.randn(4, 4, dtype=DTYPE, generator=torch.Generator().manual_seed(1))
    observable = observable + observable.mH
    density = state.density()
    assert torch.equal(density.detach(), (state.kets.mT @ state.kets.conj() / 6).detach())
    ours = torch.autograd.grad(
        (density @ observable).diagonal(dim1=-2, dim2=-1).sum().real, free, retain_graph=True
    )
    values = state.expectations(observable[None])[..., 0]
    surrogate = score_surrogate(values, state.log_likelihood, num_groups=state.num_groups).mean(-1).sum()
    for one, other in zip(ours, torch.autograd.grad(surrogate, free), strict=True):
        torch.testing.assert_close(one, other, atol=1e-13, rtol=1e-12)


def test_a_state_knows_which_trajectories_are_independent():
    theta = torch.tensor([0.6, 0.8], dtype=torch.float64, requires_grad=True)
    latin = run(start(2), sampled(8, uniforms="latin_hypercube"), theta, 1.0)
    assert latin.num_groups == 2
    for way in (Unitary(), sampled(8), SteppedJumps(8), GumbelJumps(8)):
        assert run(latin, way, theta, 0.3).num_groups == 2
        assert run(latin, way, theta, 0.0).num_groups == 2
    assert run(latin, Heisenberg(), theta, 0.3).num_groups == 2
    assert run(start(2), sampled(8), theta, 1.0).num_groups == 8
    assert run(start(2), ExactChannel(), theta, 1.0).num_groups == 1
    with pytest.raises(ArgumentError, match="num_groups"):
        ensemble(4)


ALONE = {
    "density": lambda theta: run(start(2), sampled(1), theta, 1.0).density(),
    "exact channel": lambda theta: run(
        run(start(2), sampled(1), theta, 1.0), ExactChannel(), theta, 0.5
    ).density(),
    "Heisenberg": lambda theta: run(
        run(start(2), sampled(1), theta, 1.0), Heisenberg(), theta, 0.5
    ).density(),
    "hybrid": lambda theta: run(start(2), Hybrid(1), theta, 1.0).density(),
    "stepped jumps": lambda theta: run(start(2), SteppedJumps(1), theta, 1.0).density(),
    "one record, then many": lambda theta: run(
        run(start(2), sampled(1), theta, 1.0), sampled(8), theta, 0.5
    ).density(),
    "unitary": lambda theta: run(run(start(2), sampled(1), theta, 1.0), Unitary(), theta, 0.5).density(),
}


@pytest.mark.parametrize("name", ALONE)
def test_an_average_over_one_sampled_trajectory_is_a_value_whose_gradient_is_refused(name):
    theta = torch.tensor([0.6, 0.8], dtype=torch.float64, requires_grad=True)
    density = ALONE[name](theta)
    assert float(density.diagonal(dim1=-2, dim2=-1).sum().real.detach()) == pytest.approx(2.0)
    with pytest.raises(ArgumentError, match="score_surrogate"):
        density[:, 1, 1].real.sum().backward()


def test_points_of_one_sobol_sequence_are_not_independent():
    mixture = LearnableMixture(2, dtype=torch.float64)
    state = ProductState((torch.zeros(1, 2, dtype=DTYPE),), torch.tensor([[False]]), (mixture(),))
    with pytest.raises(ArgumentError, match="score_surrogate"):
        state.draw(8, seed=0).density()[:, 1, 1].real.sum().backward()
    fixed = ProductState(
        (torch.zeros(1, 2, dtype=DTYPE),), torch.tensor([[False]]), (uniform_mixture(2, dtype=DTYPE),)
    )
    assert fixed.draw(8, seed=0).num_groups == 8


def test_nothing_is_counted_twice_where_trajectories_end_in_an_average():
    theta = torch.tensor([0.6, 0.8], dtype=torch.float64, requires_grad=True)
    mixed = run(run(start(2), sampled(8), theta, 1.0), ExactChannel(), theta, 0.5)
    assert not mixed.log_likelihood.requires_grad
    pair = run(start(2), Hybrid(8), theta, 1.0)
    assert isinstance(pair, HeisenbergState)
    # The kets that the density is made of do not carry the score: it is added once.
    plain = mean_density(pair.initial.kets, torch.zeros_like(pair.log_likelihood))
    scored = pair.initial.density()
    by_path = torch.autograd.grad(plain[:, 1, 1].real.sum(), theta, retain_graph=True)[0]
    together = torch.autograd.grad(scored[:, 1, 1].real.sum(), theta, retain_graph=True)[0]
    values = pair.initial.kets.detach()[..., 1].abs().square()
    score = ((values - values.mean(-1, keepdim=True)) * pair.log_likelihood).sum() / 7
    by_score = torch.autograd.grad(score, theta)[0]
    torch.testing.assert_close(together, by_path + by_score)
    assert float(by_score.abs().max()) > 1e-3


def _first_value(state, theta):
    values = state.probabilities(torch.eye(2, dtype=DTYPE))[..., 1]
    return score_surrogate(values, state.log_likelihood).mean()


@pytest.mark.parametrize(
    ("ways", "value"),
    [
        ((sampled(seed=0),), lambda state, theta: state.density()[..., 1, 1].real.mean()),
        ((sampled(seed=0),), _first_value),
        ((SteppedJumps(TRAJECTORIES, seed=0),), _first_value),
        ((sampled(seed=0), ExactChannel()), lambda state, theta: state.density()[..., 1, 1].real.mean()),
    ],
    ids=["density", "surrogate", "stepped surrogate", "chain"],
)
def test_second_derivatives_through_the_score_are_refused(ways, value):
    theta = torch.tensor([0.6, 0.8], dtype=torch.float64, requires_grad=True)
    state = start(2)
    for way in ways:
        state = run(state, way, theta, TIME, steps=8)
    mean = value(state, theta)
    plain = torch.autograd.grad(mean, theta, retain_graph=True)[0]
    (first,) = torch.autograd.grad(mean, theta, create_graph=True)
    assert torch.allclose(first, plain, rtol=1e-12)
    with pytest.raises(ArgumentError, match="first derivatives only"):
        first.sum().backward()
