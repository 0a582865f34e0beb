"""Trajectories that start in mixed states: the right mean, gradients without bias, and every sampled evolution."""

import pytest
import torch

from qinn import quantum as q

C = torch.complex128
SAMPLED = [
    q.QuantumJumps(4, seed=1),
    q.SteppedJumps(4, seed=1),
    q.GumbelJumps(4, seed=1),
    q.Hybrid(4, seed=1),
]


def dynamics(dim=3):
    draws = torch.Generator().manual_seed(0)
    operators = torch.randn(3, dim, dim, dtype=C, generator=draws)
    return q.Lindbladian(0.5 * (operators[0] + operators[0].mH), 0.5 * operators[1:])


def density_of_numbers(numbers, dim=3):
    """(1 − Σ|x|)𝟙/3 and a little more: eigenvalues are equal where the numbers are 0."""
    basis = torch.randn(2, dim, dim, dtype=C, generator=torch.Generator().manual_seed(3))
    basis = basis @ basis.mH
    basis = basis / basis.diagonal(dim1=-2, dim2=-1).sum(-1).real[:, None, None]
    even = torch.eye(dim, dtype=C) / dim
    return even + (numbers[:, None, None] * (basis - even)).sum(0)


@pytest.mark.parametrize(
    ("numbers", "uniforms"), [([0.0, 0.0], "independent"), ([0.4, 0.3], "latin_hypercube")]
)
def test_means_and_their_gradients_are_those_of_the_channel(numbers, uniforms):
    number, runs = 400, 10
    vectors = q.random_kets(2, 3, dtype=C, generator=torch.Generator().manual_seed(5))

    def run(evolution):
        free = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
        state = evolution.evolve(density_of_numbers(free), dynamics(), time=0.7)
        values = state.probabilities(vectors)
        if isinstance(evolution, q.QuantumJumps):
            values = q.score_surrogate(values, state.log_likelihood, num_groups=state.num_groups)
        mean = values.mean(0)
        gradients = [torch.autograd.grad(each, free, retain_graph=True)[0] for each in mean]
        return torch.cat([mean.detach(), *gradients])

    found = torch.stack([run(q.QuantumJumps(number, seed=seed, uniforms=uniforms)) for seed in range(runs)])
    error = found.std(0) / runs**0.5
    # Student's with nine degrees of freedom, over six numbers.
    assert ((found.mean(0) - run(q.ExactChannel())).abs() / error).max() < 6


@pytest.mark.parametrize("evolution", SAMPLED, ids=lambda each: type(each).__name__)
def test_every_sampled_evolution_takes_batches_of_them_and_repeats(evolution):
    densities = q.random_kets(2, 5, 1, 3, dtype=C, generator=torch.Generator().manual_seed(2))
    densities = 0.5 * (densities.mT @ densities.conj()) + torch.eye(3, dtype=C) / 6
    vectors = torch.eye(3, dtype=C)
    first = evolution.evolve(q.MixedState(densities), dynamics(), time=0.5, steps=20).probabilities(vectors)
    assert first.shape == (2, 5, 4, 3)
    alone = evolution.evolve(densities[1, 2], dynamics(), time=0.5, steps=20).probabilities(vectors)
    assert torch.allclose(first[1, 2], alone)
    course = evolution.evolve(densities, dynamics(), times=[0.0, 0.5], steps=20).probabilities(vectors)
    assert course.shape == (2, 2, 5, 4, 3)


def test_starts_are_eigenvectors_and_do_not_hang_together_with_the_jumps():
    # A pure density gives its ket; of |0⟩ and |1⟩ in equal parts only the second decays, whatever was drawn before.
    ket = q.random_kets(3, dtype=C, generator=torch.Generator().manual_seed(1))
    drawn = q.QuantumJumps(5).evolve(q.density_of(ket), q.Lindbladian(torch.zeros(3, 3, dtype=C)), time=1.0)
    assert torch.allclose((drawn.kets @ ket.conj()).abs(), torch.ones(5).double())
    decay = q.Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
    state = q.QuantumJumps(20000, seed=3, record=True).evolve(0.5 * torch.eye(2), decay, time=0.6931472)
    assert abs(float((state.record.num_jumps > 0).double().mean()) - 0.25) < 4.5 * (0.1875 / 20000) ** 0.5
