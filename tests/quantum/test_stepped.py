"""Stepwise schemes: their order in the step, their gradients, and what they refuse."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    SteppedJumps,
    normalize,
    random_kets,
    score_surrogate,
)
from qinn.quantum.evolution.stepped import step_branches
from qinn.quantum.states.kets import squared_norm

DTYPE = torch.complex128


def dynamics(dim=3, num_jumps=1, seed=0):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=1.0, seed=seed, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def mean_over_all_branches(lindbladian, ket, time, steps, order):
    """The scheme's average, with nothing drawn: every branch of every step, weighted by its probability."""
    step = step_branches(lindbladian, time / steps, order)
    kets, chances = ket, torch.ones(1, dtype=torch.float64)
    for _ in range(steps):
        branches = step.apply(kets)
        weights = squared_norm(branches)
        kets = normalize(branches).flatten(0, 1)
        chances = (chances[:, None] * weights / weights.sum(-1, keepdim=True)).flatten()
    return torch.einsum("r,rd,re->de", chances.to(DTYPE), kets, kets.conj())


@pytest.mark.parametrize(("order", "num_steps"), [(1, (4, 8, 12)), (2, (2, 4, 8))])
@pytest.mark.parametrize("seed", range(3))
def test_averages_converge_with_the_stated_order(order, num_steps, seed):
    lindbladian = dynamics(seed=seed)
    ket = random_kets(1, 3, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    exact = ExactChannel().evolve(PureEnsemble(ket), lindbladian, time=0.5, steps=1).density()
    errors = [
        float((mean_over_all_branches(lindbladian, ket, 0.5, steps, order) - exact).norm())
        for steps in num_steps
    ]
    steps = torch.tensor(num_steps).log()
    slopes = -torch.tensor(errors).log().diff() / steps.diff()
    # The last slope is the one nearest to the limit; orders one apart must not be confused.
    assert order - 0.25 < float(slopes[-1]) < order + 0.4, (errors, slopes)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("num_jumps", [0, 1, 3])
def test_sampled_averages_are_those_of_the_branches(order, num_jumps):
    lindbladian = dynamics(3, num_jumps, seed=5)
    ket = random_kets(1, 3, generator=torch.Generator().manual_seed(1), dtype=DTYPE)
    expected = mean_over_all_branches(lindbladian, ket, 0.8, 2, order).diagonal().real
    torch.manual_seed(0)
    state = SteppedJumps(20_000, order=order).evolve(PureEnsemble(ket), lindbladian, time=0.8, steps=2)
    populations = state.kets.abs().square()
    if num_jumps == 0:
        assert torch.allclose(populations[0], expected, rtol=0, atol=1e-12)
        return
    scores = (populations.mean(0) - expected) / (populations.std(0) / len(populations) ** 0.5)
    assert float(scores.abs().max()) < 4


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_the_stepped_dynamics_are_unbiased(order):
    """Pathwise and score parts together against the derivative of the average over all branches."""
    hamiltonian, jumps = dynamics(2, 2, seed=3).hamiltonian, dynamics(2, 2, seed=3).jump_operators
    ket = random_kets(1, 2, generator=torch.Generator().manual_seed(2), dtype=DTYPE)
    strength = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def scaled():
        return Lindbladian(hamiltonian, jumps * strength)

    mean = mean_over_all_branches(scaled(), ket, 0.7, 3, order)
    exact = float(torch.autograd.grad(mean[0, 0].real, strength)[0])
    estimates = []
    for seed in range(40):
        torch.manual_seed(seed)
        state = SteppedJumps(200, order=order).evolve(PureEnsemble(ket), scaled(), time=0.7, steps=3)
        assert float(state.log_likelihood.detach().abs().max()) == 0
        values = state.kets[:, 0].abs().square()
        surrogate = score_surrogate(values[None], state.log_likelihood[None]).mean()
        estimates.append(float(torch.autograd.grad(surrogate, strength)[0]))
    found = torch.tensor(estimates)
    error = float(found.std()) / len(found) ** 0.5
    assert abs(float(found.mean()) - exact) < 4 * error
    assert error < 0.1 * abs(exact)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SteppedJumps(0), "`num_trajectories` must be at least 1"),
        (lambda: SteppedJumps(1, order=3), "order"),
    ],
)
def test_impossible_options_are_refused(make, words):
    with pytest.raises(Exception, match=words):
        make()


def test_operators_whose_squares_overflow_are_refused():
    broken = Lindbladian(torch.zeros(2, 2) + 0j, torch.full((1, 2, 2), 1e30) + 0j)
    with pytest.raises(ArgumentError, match="must be finite"):
        SteppedJumps(1).evolve(PureEnsemble(torch.tensor([[1, 0j]])), broken, time=1.0, steps=1)
