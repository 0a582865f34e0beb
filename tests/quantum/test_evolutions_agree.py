"""The evolutions agree with each other on one random system."""

import pytest
import torch

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    LearnableLindbladian,
    PureEnsemble,
    QuantumJumps,
    random_kets,
)


@pytest.mark.parametrize("dim", [1, 6, 12])
def test_heisenberg_and_schroedinger_pictures_give_equal_probabilities(dim):
    lindbladian = LearnableLindbladian(
        dim, 2, hamiltonian_scale=2.0, jump_scale=1.0, seed=0, dtype=torch.float64
    )()
    generator = torch.Generator().manual_seed(1)
    state = PureEnsemble(random_kets(3, 1, dim, generator=generator, dtype=torch.complex128))
    vectors = random_kets(4, dim, generator=generator, dtype=torch.complex128)
    exact = ExactChannel().evolve(state, lindbladian, time=1.5, steps=1).probabilities(vectors)
    backwards = Heisenberg().evolve(state, lindbladian, time=1.5, steps=1).probabilities(vectors)
    assert torch.allclose(exact, backwards, rtol=0, atol=1e-11)


def test_jump_trajectories_have_unit_norm_and_zero_log_likelihood():
    lindbladian = LearnableLindbladian(6, 2, hamiltonian_scale=2.0, jump_scale=2.0, seed=0)()
    state = PureEnsemble(random_kets(3, 1, 6, generator=torch.Generator().manual_seed(1)))
    result = QuantumJumps(16, seed=0).evolve(state, lindbladian, time=1.5, steps=8)
    assert torch.allclose(result.kets.abs().square().sum(-1), torch.ones(3, 16), atol=1e-5)
    assert (result.log_likelihood == 0).all()
    assert result.log_likelihood.requires_grad
