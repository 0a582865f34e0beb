"""QuTiP agrees: master equation, partial traces, entropies, negativity, fidelity, distances."""

import numpy
import pytest
import qutip
import torch

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    LearnableLindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    Unitary,
    embed,
    entanglement_entropy,
    fidelity,
    log_negativity,
    mutual_information,
    negativity,
    partial_trace,
    partial_transpose,
    random_kets,
    trace_distance,
    von_neumann_entropy,
)

DTYPE = torch.complex128
DIMS = (2, 3, 2)


def foreign(matrix: torch.Tensor, dims: tuple[int, ...] | None = None) -> qutip.Qobj:
    dims = dims or (matrix.shape[-1],)
    return qutip.Qobj(matrix.numpy(), dims=[list(dims), list(dims)])


def random_density(seed: int, dim: int = 12, rank: int = 4) -> torch.Tensor:
    kets = random_kets(rank, dim, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    return kets.mT @ kets.conj() / rank


def dynamics(dim: int, seed: int):
    module = LearnableLindbladian(
        dim, 2, hamiltonian_scale=3.0, jump_scale=1.0, seed=seed, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def master_equation(lindbladian, initial: torch.Tensor, time: float) -> numpy.ndarray:
    result = qutip.mesolve(
        foreign(lindbladian.hamiltonian),
        foreign(initial),
        [0, time],
        [foreign(jump) for jump in lindbladian.jump_operators],
        options={"atol": 1e-12, "rtol": 1e-10, "nsteps": 100_000, "progress_bar": ""},
    )
    return result.states[-1].full()


@pytest.mark.parametrize("dim", [3, 8, 12])
@pytest.mark.parametrize("time", [0.3, 2.5])
def test_exact_channel_agrees_with_the_master_equation(dim, time):
    lindbladian, initial = dynamics(dim, dim), random_density(dim, dim)
    expected = torch.from_numpy(master_equation(lindbladian, initial, time))
    state = ExactChannel().evolve(MixedState(initial), lindbladian, time=time, steps=1)
    assert torch.allclose(state.density(), expected, rtol=0, atol=1e-8)
    vectors = random_kets(3, dim, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    backwards = Heisenberg().evolve(MixedState(initial), lindbladian, time=time, steps=1)
    wanted = MixedState(expected).probabilities(vectors)
    assert torch.allclose(backwards.probabilities(vectors), wanted, rtol=0, atol=1e-8)


def test_unitary_agrees_with_the_propagator():
    lindbladian = dynamics(10, 1)
    ket = random_kets(1, 10, generator=torch.Generator().manual_seed(2), dtype=DTYPE)
    expected = (-1j * 1.7 * foreign(lindbladian.hamiltonian)).expm().full() @ ket[0].numpy()
    state = Unitary().evolve(PureEnsemble(ket), lindbladian, time=1.7, steps=1)
    assert numpy.abs(state.kets[0].numpy() - expected).max() < 1e-11


def test_trajectories_agree_with_the_master_equation_within_four_errors():
    lindbladian = dynamics(5, 4)
    ket = random_kets(1, 5, generator=torch.Generator().manual_seed(5), dtype=DTYPE)
    expected = torch.from_numpy(master_equation(lindbladian, ket.mT @ ket.conj(), 1.5))
    torch.manual_seed(0)
    state = QuantumJumps(5000).evolve(PureEnsemble(ket), lindbladian, time=1.5, steps=1)
    populations = state.kets.abs().square()
    scores = (populations.mean(0) - expected.diagonal().real) / (populations.std(0) / 5000**0.5)
    assert float(scores.abs().max()) < 4


def test_number_of_jumps_agrees_with_foreign_trajectories():
    """Mean count from QuTiP's own Monte Carlo solver, compared with a two-sample z-score."""
    lindbladian = dynamics(4, 6)
    ket = random_kets(1, 4, generator=torch.Generator().manual_seed(7), dtype=DTYPE)
    foreign_ket = qutip.Qobj(ket[0].numpy())
    result = qutip.mcsolve(
        foreign(lindbladian.hamiltonian),
        foreign_ket,
        [0, 1.5],
        [foreign(jump) for jump in lindbladian.jump_operators],
        ntraj=300,
        seeds=3,
        options={"progress_bar": "", "map": "serial"},
    )
    theirs = torch.tensor([float(len(times)) for times in result.col_times])
    torch.manual_seed(0)
    state = QuantumJumps(4000, record=True).evolve(PureEnsemble(ket), lindbladian, time=1.5, steps=1)
    ours = state.record.num_jumps.double()
    error = (theirs.var() / len(theirs) + ours.var() / len(ours)) ** 0.5
    assert abs(theirs.mean() - ours.mean()) / error < 4


@pytest.mark.parametrize("keep", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)], ids=str)
def test_partial_trace_agrees(keep):
    density = random_density(1)
    expected = foreign(density, DIMS).ptrace(list(keep)).full()
    assert numpy.abs(partial_trace(density, DIMS, keep).numpy() - expected).max() < 1e-14


@pytest.mark.parametrize("seed", range(3))
def test_entropies_and_information_agree(seed):
    density = random_density(seed)
    theirs = foreign(density, DIMS)
    assert abs(float(von_neumann_entropy(density)) - qutip.entropy_vn(theirs, base=2)) < 1e-10
    wanted = qutip.entropy_mutual(theirs.ptrace([0, 1]), [0], [1], base=2)
    assert abs(float(mutual_information(density, DIMS, [0], [1])) - wanted) < 1e-10
    ket = random_kets(12, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    pure = qutip.Qobj(ket.numpy(), dims=[list(DIMS), [1, 1, 1]])
    wanted = qutip.entropy_vn(pure.ptrace([1]), base=2)
    assert abs(float(entanglement_entropy(ket, DIMS, [1])) - wanted) < 1e-10


@pytest.mark.parametrize("seed", range(3))
def test_negativity_and_partial_transpose_agree(seed):
    density = random_density(seed, 6, 2)
    theirs = foreign(density, (2, 3))
    transposed = qutip.partial_transpose(theirs, [1, 0]).full()
    assert numpy.abs(partial_transpose(density, (2, 3), [0]).numpy() - transposed).max() < 1e-14
    assert abs(float(negativity(density, (2, 3), [0])) - qutip.negativity(theirs, 0)) < 1e-10
    wanted = qutip.negativity(theirs, 0, logarithmic=True)
    assert abs(float(log_negativity(density, (2, 3), [0])) - wanted) < 1e-10


@pytest.mark.parametrize("ranks", [(4, 3), (1, 4), (1, 1), (6, 6)], ids=str)
def test_fidelity_and_trace_distance_agree(ranks):
    first, second = random_density(1, 6, ranks[0]), random_density(2, 6, ranks[1])
    # QuTiP's fidelity is the square root of ours.
    assert abs(float(fidelity(first, second)) - qutip.fidelity(foreign(first), foreign(second)) ** 2) < 1e-6
    # QuTiP takes square roots of the eigenvalues of A†A, which costs it half of the digits at zero.
    wanted = qutip.tracedist(foreign(first), foreign(second))
    assert abs(float(trace_distance(first, second)) - wanted) < 1e-6


def test_superoperator_agrees_with_the_foreign_liouvillian():
    lindbladian = dynamics(4, 8)
    theirs = qutip.liouvillian(
        foreign(lindbladian.hamiltonian), [foreign(jump) for jump in lindbladian.jump_operators]
    )
    # QuTiP stacks columns, we stack rows.
    swap = torch.arange(16).reshape(4, 4).T.flatten()
    ours = lindbladian.superoperator()[swap][:, swap]
    assert numpy.abs(ours.numpy() - theirs.full()).max() < 1e-13


def test_embedding_agrees_with_the_foreign_expansion():
    operator = random_density(3, 6)
    theirs = qutip.expand_operator(foreign(operator, (2, 3)), list(DIMS), [2, 1])
    assert numpy.abs(embed(operator, DIMS, (2, 1)).numpy() - theirs.full()).max() < 1e-14
