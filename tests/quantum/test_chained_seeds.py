"""One seed in a chain of sampled evolutions: each stage has numbers of its own."""

import pytest
import torch

from qinn.quantum import (
    ExactChannel,
    GumbelJumps,
    Lindbladian,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    basis_ket,
    pauli,
)

M = 4000
KET = basis_ket(1, 2, dtype=torch.complex128)
DECAY = torch.tensor([[0, 1], [0, 0]], dtype=torch.complex128)
DYNAMICS = Lindbladian(0.4 * pauli("X", dtype=torch.complex128), 0.8 * DECAY[None])
SAMPLED = {
    "jumps": (QuantumJumps(M, seed=7), None),
    "Latin hypercube": (QuantumJumps(M, seed=7, uniforms="latin_hypercube"), None),
    "stepped": (SteppedJumps(M, seed=7, order=2), 40),
    "Gumbel": (GumbelJumps(M, seed=7), 200),
}


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_chain_with_one_seed_has_the_exact_mean(kind: str) -> None:
    """With the same numbers in both stages whoever had no jump in the first has none in the second."""
    evolution, steps = SAMPLED[kind]
    state = KET
    for _ in range(3):
        state = evolution.evolve(state, DYNAMICS, time=0.6, steps=steps)
    excited = float(state.density()[1, 1].real)
    exact = float(ExactChannel().evolve(KET, DYNAMICS, time=1.8).density()[1, 1].real)
    assert abs(excited - exact) < 4 * (0.25 / M) ** 0.5


@pytest.mark.parametrize("kind", SAMPLED)
def test_stages_are_counted_and_repeatable(kind: str) -> None:
    evolution, steps = SAMPLED[kind]
    first = evolution.evolve(KET, DYNAMICS, time=0.6, steps=steps)
    turned = Unitary().evolve(first, DYNAMICS, time=0.1)
    assert (first.num_draws, turned.num_draws) == (1, 1)
    runs = [evolution.evolve(turned, DYNAMICS, time=0.6, steps=steps) for _ in range(2)]
    assert runs[0].num_draws == 2
    assert torch.equal(runs[0].kets, runs[1].kets)
    assert evolution.evolve(first, DYNAMICS, time=0.0, steps=steps).num_draws == 1
