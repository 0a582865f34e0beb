"""QuTiP agrees on collision models: tensor products, the joint unitary, partial traces, and relaxation between."""

import numpy
import pytest
import qutip
import torch
from random_collisions import random_densities, random_interaction, random_stream

from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    LearnableLindbladian,
    ancilla_entropies,
    bloch_maps,
)


def foreign(matrix: torch.Tensor, dims: tuple[int, ...]) -> qutip.Qobj:
    return qutip.Qobj(matrix.numpy(), dims=[list(dims), list(dims)])


def collide(memory: qutip.Qobj, interaction, kets: list[torch.Tensor]) -> qutip.Qobj:
    """The joint state after one collision."""
    dims = (interaction.memory_dim, *interaction.ancilla_dims)
    unitary = (-1j * foreign(interaction.coupling, dims)).expm()
    joint = qutip.tensor(memory, *[qutip.ket2dm(qutip.Qobj(ket.numpy())) for ket in kets])
    return unitary * joint * unitary.dag()


@pytest.mark.parametrize("method", ["kraus", "real"])
@pytest.mark.parametrize(("dim", "dims"), [(2, (2,)), (3, (2, 3)), (4, (4, 2)), (2, (2, 2, 2))])
def test_memories_and_entropies_agree_step_by_step(dim, dims, method):
    interaction, stream = random_interaction(dim, dims, seed=dim), random_stream(1, 4, dims)
    start = random_densities(1, dim)
    states = ExactCollisions(every=True, method=method).evolve(start, interaction, stream).every.density()
    before = torch.cat([start[:, None], states[:, :-1]], 1)
    entropies = ancilla_entropies(interaction, stream, before)
    memory = foreign(start[0], (dim,))
    for step in range(4):
        joint = collide(memory, interaction, [factor[0, step] for factor in stream.factors])
        memory = joint.ptrace(0)
        assert numpy.abs(states[0, step].numpy() - memory.full()).max() < 1e-10
        ancilla = joint.ptrace(list(range(1, 1 + len(dims))))
        assert abs(float(entropies[0, step]) - qutip.entropy_vn(ancilla, base=2)) < 1e-8


def test_events_with_relaxation_agree_with_the_master_equation():
    interactions = [random_interaction(3, (2,), seed=1), random_interaction(3, (4,), seed=2)]
    streams = [random_stream(1, 2, (2,)), random_stream(1, 2, (4,))]
    times = [torch.tensor([[0.3, 1.4]], dtype=torch.float64), torch.tensor([[0.9, 0.7]], dtype=torch.float64)]
    dynamics = LearnableLindbladian(3, 2, seed=0, dtype=torch.float64).requires_grad_(False)()
    start = random_densities(1, 3)
    found = ExactCollisions().evolve_events(
        start, interactions, streams, times, lindbladian=dynamics, until=2.0
    )
    liouvillian = qutip.liouvillian(
        foreign(dynamics.hamiltonian, (3,)), [foreign(jump, (3,)) for jump in dynamics.jump_operators]
    )
    memory, now = foreign(start[0], (3,)), 0.0

    def relax(state: qutip.Qobj, length: float) -> qutip.Qobj:
        return qutip.vector_to_operator((liouvillian * length).expm() * qutip.operator_to_vector(state))

    for time, which, place in ((0.3, 0, 0), (0.7, 1, 1), (0.9, 1, 0), (1.4, 0, 1)):
        memory, now = relax(memory, time - now), time
        memory = collide(memory, interactions[which], [streams[which].factors[0][0, place]]).ptrace(0)
    assert numpy.abs(found.final.density()[0].numpy() - relax(memory, 2.0 - now).full()).max() < 1e-9


def test_bloch_maps_are_the_images_of_paulis():
    interaction = random_interaction(2, (3,), seed=4)
    ket = random_stream(1, 1, (3,)).factors[0]
    W, s = bloch_maps(interaction, Ancillas([ket]))
    paulis = [qutip.qeye(2), qutip.sigmax(), qutip.sigmay(), qutip.sigmaz()]
    table = numpy.zeros((3, 4))
    for column, source in enumerate(paulis):
        moved = collide(0.5 * source, interaction, [ket[0, 0]]).ptrace(0)
        table[:, column] = [(target * moved).tr().real for target in paulis[1:]]
    assert numpy.abs(W[0, 0].numpy() - table[:, 1:]).max() < 1e-12
    assert numpy.abs(s[0, 0].numpy() - table[:, 0]).max() < 1e-12
