"""QuTiP agrees over random systems of every size: 2 to 64 dimensions, 0 to 4 jump operators, 1 to 4 parts.

QuTiP integrates with relative tolerance 1e-11, or exponentiates the superoperator up to 9 dimensions; every figure must
agree to 1e-8.
"""

from math import prod

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
    Unitary,
    entanglement_entropy,
    find_attractor,
    mutual_information,
    negativity,
    partial_trace,
    random_kets,
    tripartite_information,
    von_neumann_entropy,
)

DTYPE = torch.complex128
PARTS = [
    (2,),
    (2, 2),
    (5,),
    (2, 3),
    (2, 2, 2),
    (3, 3),
    (2, 2, 3),
    (2, 2, 2, 2),
    (3, 3, 3),
    (4, 8),
    (2, 3, 2, 3),
    (6, 8),
    (4, 4, 4),
    (2, 4, 4, 2),
]
SYSTEMS = [(dims, num_jumps) for dims in PARTS for num_jumps in range(5)]


def dynamics(dims, num_jumps):
    module = LearnableLindbladian(
        prod(dims),
        num_jumps,
        hamiltonian_scale=3.0,
        jump_scale=1.0,
        seed=prod(dims) + num_jumps,
        dtype=torch.float64,
    )
    return module.requires_grad_(False)()


def kets_of(dims, count, seed):
    return random_kets(count, prod(dims), generator=torch.Generator().manual_seed(seed), dtype=DTYPE)


def foreign(matrix, dims):
    return qutip.Qobj(matrix.numpy(), dims=[list(dims), list(dims)])


def master_equation(lindbladian, density, dims, time):
    """QuTiP's answer: without jumps it is the Schrödinger equation of the density."""
    options = {
        "method": "vern9",
        "matrix_form": True,
        "atol": 1e-13,
        "rtol": 1e-11,
        "nsteps": 100_000,
        "progress_bar": "",
    }
    jumps = [foreign(jump, dims) for jump in lindbladian.jump_operators]
    start = foreign(density, dims)
    if prod(dims) <= 9:
        return (qutip.liouvillian(foreign(lindbladian.hamiltonian, dims), jumps) * time).expm()(start)
    return qutip.mesolve(
        foreign(lindbladian.hamiltonian, dims), start, [0, time], jumps, options=options
    ).states[-1]


@pytest.mark.parametrize(("dims", "num_jumps"), SYSTEMS, ids=str)
def test_evolutions_and_measures_agree(dims, num_jumps):
    time = 0.7
    lindbladian, kets = dynamics(dims, num_jumps), kets_of(dims, 2, num_jumps)
    density = kets.mT @ kets.conj() / 2
    theirs = master_equation(lindbladian, density, dims, time)
    ours = (
        ExactChannel().evolve(MixedState(density), lindbladian, time=time, steps=1).density().resolve_conj()
    )
    assert numpy.abs(ours.numpy() - theirs.full()).max() < 1e-8
    vectors = kets_of(dims, 3, 7)
    backwards = Heisenberg().evolve(PureEnsemble(kets), lindbladian, time=time, steps=1)
    probabilities = [float(numpy.real(v.conj() @ theirs.full() @ v)) for v in vectors.numpy()]
    found = backwards.probabilities(vectors).mean(-2)
    assert numpy.abs(found.numpy() - numpy.array(probabilities)).max() < 1e-8
    if num_jumps == 0:
        turned = Unitary().evolve(MixedState(density), lindbladian, time=time, steps=1).density()
        assert numpy.abs(turned.resolve_conj().numpy() - theirs.full()).max() < 1e-8
    assert abs(float(von_neumann_entropy(ours)) - qutip.entropy_vn(theirs, base=2)) < 1e-8
    for part in range(len(dims)):
        reduced = partial_trace(ours, dims, [part])
        assert numpy.abs(reduced.numpy() - theirs.ptrace([part]).full()).max() < 1e-8
    if len(dims) > 1:
        rest = list(range(1, len(dims)))
        wanted = qutip.entropy_mutual(theirs, [0], rest, base=2)
        assert abs(float(mutual_information(ours, dims, [0], rest)) - wanted) < 1e-8
        # QuTiP's own negativity takes square roots of the eigenvalues of A†A, and so half of the digits at zero.
        mask = [1] + [0] * len(rest)
        wanted = -qutip.partial_transpose(theirs, mask).eigenenergies().clip(max=0).sum()
        assert abs(float(negativity(ours, dims, [0])) - wanted) < 1e-8
        pure = qutip.Qobj(kets[0].numpy(), dims=[list(dims), [1] * len(dims)])
        wanted = qutip.entropy_vn(pure.ptrace([0]), base=2)
        assert abs(float(entanglement_entropy(kets[0], dims, [0])) - wanted) < 1e-8
    if len(dims) > 2:
        entropies = {
            keep: qutip.entropy_vn(theirs.ptrace(list(keep)), base=2)
            for keep in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
        }
        wanted = sum(entropies[keep] * (-1) ** (len(keep) + 1) for keep in entropies)
        found = tripartite_information(ours, dims, [0], [1], [2])
        assert abs(float(found) - wanted) < 1e-8


@pytest.mark.parametrize(
    ("dims", "num_jumps"), [((2,), 1), ((2, 2), 2), ((2, 3), 3), ((3, 3), 4), ((4, 4), 2)]
)
def test_steady_states_agree(dims, num_jumps):
    lindbladian = dynamics(dims, num_jumps)
    theirs = qutip.steadystate(
        foreign(lindbladian.hamiltonian, dims), [foreign(jump, dims) for jump in lindbladian.jump_operators]
    )
    assert numpy.abs(find_attractor(lindbladian).density.numpy() - theirs.full()).max() < 1e-8
