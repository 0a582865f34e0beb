"""QuTiP, one system at a time, agrees with batches of random systems: states, courses, steady states, trajectories."""

import pytest
import qutip
import torch

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    density_of,
    expected_jumps,
    find_attractor,
    random_kets,
)

C = torch.complex128
NUMBER = 4
TIMES = [0.3, 0.9, 1.1, 2.0]


def systems(dim):
    generator = torch.Generator().manual_seed(dim)
    free = torch.randn(NUMBER, dim, dim, dtype=C, generator=generator)
    L = torch.randn(NUMBER, 2, dim, dim, dtype=C, generator=generator) / (2 * dim) ** 0.5
    rates = 0.5 + torch.rand(NUMBER, 2, dtype=torch.float64, generator=generator)
    kets = random_kets(NUMBER, dim, generator=generator, dtype=C)
    return free + free.mH, L, rates, kets


def theirs(H, L, rates):
    """QuTiP's superoperator of each system."""
    jumps = [
        [qutip.Qobj((rate.sqrt() * one).numpy()) for one, rate in zip(several, some, strict=True)]
        for several, some in zip(L, rates, strict=True)
    ]
    hamiltonians = [qutip.Qobj(one.numpy()) for one in H]
    return hamiltonians, jumps, [qutip.liouvillian(*each) for each in zip(hamiltonians, jumps, strict=True)]


def evolved(liouvillian, ket, time):
    rho = qutip.operator_to_vector(qutip.Qobj(density_of(ket).numpy()))
    return torch.from_numpy(qutip.vector_to_operator((liouvillian * time).expm() * rho).full())


@pytest.mark.parametrize("dim", [2, 4, 6])
def test_states_and_steady_states_of_a_batch_are_those_of_qutip(dim):
    H, L, rates, kets = systems(dim)
    hamiltonians, jumps, generators = theirs(H, L, rates)
    many = Lindbladian(H, L, rates=rates)
    expected = torch.stack(
        [
            torch.stack([evolved(one, ket, time) for one, ket in zip(generators, kets, strict=True)])
            for time in TIMES
        ]
    )
    states = PureEnsemble(kets[:, None])
    course = ExactChannel().evolve(states, many, times=TIMES)
    assert float((course.density() - expected).abs().max()) < 1e-8
    at_once = ExactChannel().evolve(states, many, time=TIMES)  # one time for each system
    assert float((at_once.density() - expected[range(NUMBER), range(NUMBER)]).abs().max()) < 1e-8
    populations = Heisenberg().evolve(states, many, times=TIMES).probabilities(torch.eye(dim, dtype=C))
    assert float((populations[:, :, 0] - expected.diagonal(dim1=-2, dim2=-1).real).abs().max()) < 1e-8
    found = find_attractor(many).density
    for place, each in enumerate(zip(hamiltonians, jumps, strict=True)):
        steady = torch.from_numpy(qutip.steadystate(*each).full())
        assert float((found[place] - steady).abs().max()) < 1e-8


def test_trajectories_of_a_batch_have_the_means_of_qutip():
    H, L, rates, kets = systems(3)
    _, _, generators = theirs(H, L, rates)
    state = QuantumJumps(400, seed=11, record=True).evolve(kets, Lindbladian(H, L, rates=rates), time=1.1)
    values = state.probabilities(torch.eye(3, dtype=C))[..., 0]
    expected = torch.stack(
        [evolved(one, ket, 1.1)[0, 0].real for one, ket in zip(generators, kets, strict=True)]
    )
    assert float(((values.mean(1) - expected) / (values.std(1) / 20)).abs().max()) < 4
    counts = state.record.num_jumps.double()
    jumps = expected_jumps(kets, Lindbladian(H, L, rates=rates), time=1.1)
    assert float(((counts.mean(1) - jumps) / (counts.std(1) / 20)).abs().max()) < 4
