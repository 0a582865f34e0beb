"""Limits of collisions, the bound of a qubit ancilla, and what is said of a step's influence."""

from itertools import pairwise
from math import log2

import pytest
import torch
from random_collisions import (
    DTYPE,
    farthest,
    final,
    generator,
    random_densities,
    random_interaction,
    random_stream,
)

from qinn.quantum import (
    Ancillas,
    ExactChannel,
    ExactCollisions,
    Interaction,
    LearnableLindbladian,
    ancilla_entropies,
    basis_ket,
    bloch_maps,
    collision_influence,
    density_of,
    entanglement_entropy,
    pauli,
    product,
    random_kets,
    trace_distance,
)


def test_weak_collisions_become_the_lindblad_equation_with_first_order():
    """V = √dt Σ_k (L_k ⊗ |k⟩⟨0| + h.c.) + dt H ⊗ 1, ancillas in |0⟩."""
    lindbladian = LearnableLindbladian(2, 2, seed=3, dtype=torch.float64).requires_grad_(False)()
    start = random_densities(2)
    wanted = ExactChannel().evolve(start, lindbladian, time=1.0).density()
    errors = []
    for steps in (32, 64, 128, 256):
        dt, lift = 1 / steps, torch.zeros(2, 3, 3, dtype=DTYPE)
        lift[0, 1, 0] = lift[1, 2, 0] = 1
        jumps = sum(torch.kron(L, k) for L, k in zip(lindbladian.jump_operators, lift, strict=True))
        coupling = dt**0.5 * (jumps + jumps.mH) + dt * torch.kron(
            lindbladian.hamiltonian, torch.eye(3, dtype=DTYPE)
        )
        stream = Ancillas([basis_ket(0, 3, dtype=DTYPE).expand(steps, 3)])
        errors.append(
            farthest(final(ExactCollisions().evolve(start, Interaction(coupling, 2, (3,)), stream)), wanted)
        )
    orders = [log2(one / other) for one, other in pairwise(errors)]
    assert errors[-1] < 2e-3
    assert abs(orders[-1] - 1) < 0.03


def pointer_line(unitary: torch.Tensor, into: torch.Tensor, out_of: torch.Tensor):
    """F and s of z' = f z + s as affine functions (constant, gradient) of a qubit ancilla's Bloch vector."""
    paulis = [pauli(name, dtype=DTYPE) for name in "IXYZ"]
    measured = sum(n * p for n, p in zip(out_of, paulis[1:], strict=True))
    pulled = unitary.mH @ torch.kron(measured, paulis[0]) @ unitary
    along = sum(n * p for n, p in zip(into, paulis[1:], strict=True))
    values = torch.tensor(
        [
            [(pulled @ torch.kron(first, p)).diagonal().sum().real / 4 for p in paulis]
            for first in (along, paulis[0])
        ]
    )
    return values[0], values[1]


def test_a_qubit_ancilla_cannot_both_keep_and_write():
    """λ² + s² ≤ 1, λ and s the radii of f and s over all ancilla states; and it can be reached."""
    largest = 0.0
    for seed in range(100):
        V = random_interaction(2, (2,), seed=seed, scale=3 * torch.rand((), generator=generator(seed)).item())
        directions = torch.nn.functional.normalize(
            torch.randn(2, 3, generator=generator(seed), dtype=torch.float64), dim=1
        )
        keep, write = pointer_line(V.unitary, *directions)
        radii = [float(torch.linalg.vector_norm(each[1:]) + each[0].abs()) for each in (keep, write)]
        strong = [float(torch.linalg.vector_norm(each[1:])) for each in (keep, write)]
        # ±λ and ±s are all reached only as far as the gradients go beyond the constants.
        reach = [2 * only - radius for only, radius in zip(strong, radii, strict=True)]
        assert strong[0] ** 2 + strong[1] ** 2 <= 1 + 1e-12
        largest = max(largest, max(reach[0], 0) ** 2 + max(reach[1], 0) ** 2)
    assert 0.3 < largest <= 1 + 1e-12
    # U†(Z ⊗ 1)U = cos θ Z ⊗ Z + sin θ 1 ⊗ X reaches it.
    angle = torch.tensor(0.6, dtype=torch.float64)
    z, x, one = (pauli(name, dtype=DTYPE) for name in "ZXI")
    levels, vectors = torch.linalg.eigh(angle.cos() * torch.kron(z, z) + angle.sin() * torch.kron(one, x))
    unitary = vectors[:, levels.argsort(descending=True)].mH
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    keep, write = pointer_line(unitary, axis, axis)
    assert farthest(keep, torch.tensor([0, 0, 0, angle.cos()])) < 1e-12
    assert farthest(write, torch.tensor([0, angle.sin(), 0, 0])) < 1e-12


def test_an_ancilla_of_four_dimensions_keeps_inverts_and_writes_without_loss():
    """Controlled by the ancilla: |0⟩ keeps, |1⟩ inverts, |2⟩ and |3⟩ (with a fresh ancilla qubit) write."""
    z, x, one = (pauli(name, dtype=DTYPE) for name in "ZXI")
    swap = torch.eye(4, dtype=DTYPE)[[0, 2, 1, 3]]
    # The ancilla is (event kind of four) ⊗ (a qubit |0⟩ to swap with).
    still, turned = torch.eye(4, dtype=DTYPE), torch.kron(x, one)
    cases = [still, turned, swap, turned @ swap]
    unitary = torch.zeros(2, 4, 2, 2, 4, 2, dtype=DTYPE)
    for kind, case in enumerate(cases):
        unitary[:, kind, :, :, kind, :] = case.reshape(2, 2, 2, 2)
    levels, vectors = torch.linalg.eig(unitary.reshape(16, 16))
    vectors, _ = torch.linalg.qr(vectors)
    phases = (vectors.mH @ unitary.reshape(16, 16) @ vectors).diagonal().angle()
    coupling = vectors @ torch.diag(-phases).to(DTYPE) @ vectors.mH
    interaction = Interaction(0.5 * (coupling + coupling.mH), 2, (4, 2))
    kinds = torch.eye(4, dtype=DTYPE)[None]
    stream = Ancillas([kinds, torch.tensor([1, 0], dtype=DTYPE).expand(1, 4, 2)])
    influence = collision_influence(interaction, stream, axis=(0, 0, 1))
    assert farthest(influence.keep, torch.tensor([[1.0, -1.0, 0.0, 0.0]])) < 1e-6
    assert farthest(influence.write, torch.tensor([[0.0, 0.0, 1.0, -1.0]])) < 1e-6
    assert farthest(influence.rotation, torch.tensor([[0.0, torch.pi, 0.0, 0.0]])) < 1e-6
    del z, levels


def test_the_bloch_map_is_that_of_the_states():
    interaction, stream = random_interaction(2, (3,)), random_stream(2, 4, (3,))
    memory = random_densities(2, 2)
    W, s = bloch_maps(interaction, stream)
    paulis = torch.stack([pauli(name, dtype=DTYPE) for name in "XYZ"])

    def bloch(density):
        return torch.einsum("...ab,kba->...k", density, paulis).real

    states = ExactCollisions(every=True).evolve(memory, interaction, stream).every.density()
    before = torch.cat([memory[:, None], states[:, :-1]], 1)
    moved = (W @ bloch(before)[..., None])[..., 0] + s
    assert farthest(moved, bloch(states)) < 1e-13


@pytest.mark.parametrize("dim", [2, 3])
def test_contraction_bounds_what_any_two_memories_keep_of_their_difference(dim):
    interaction, stream = random_interaction(dim, (2,)), random_stream(1, 6, (2,))
    influence = collision_influence(interaction, stream)
    pair = random_densities(2, dim, seed=4)
    for step in range(6):
        alone = Ancillas([stream.factors[0][:, step : step + 1].expand(2, 1, 2)])
        after = final(ExactCollisions(mean=False).evolve(pair, interaction, alone))
        ratio = torch.linalg.matrix_norm(after[0] - after[1]) / torch.linalg.matrix_norm(pair[0] - pair[1])
        assert float(ratio) <= 1 - float(influence.contraction[0, step]) + 1e-13
    if dim == 2:
        # Reached by two pure memories along the right singular vector.
        W, _ = bloch_maps(interaction, stream)
        direction = torch.linalg.svd(W[0, 0]).Vh[0]
        paulis = torch.stack([pauli(name, dtype=DTYPE) for name in "XYZ"])
        along = (direction[:, None, None] * paulis).sum(0)
        pair = torch.stack([0.5 * (torch.eye(2) + sign * along) for sign in (1, -1)])
        alone = Ancillas([stream.factors[0][:, :1].expand(2, 1, 2)])
        after = final(ExactCollisions(mean=False).evolve(pair, interaction, alone))
        assert abs(float(trace_distance(after[0], after[1]) - 1 + influence.contraction[0, 0])) < 1e-13


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.5, torch.pi])
def test_the_angle_of_a_turn_is_its_rotation(angle):
    turn = Interaction(0.5 * angle * torch.kron(pauli("Y", dtype=DTYPE), torch.eye(3, dtype=DTYPE)), 2, (3,))
    influence = collision_influence(turn, random_stream(1, 2, (3,)))
    assert float((influence.rotation - angle).abs().max()) < 1e-6
    assert float(influence.contraction.abs().max()) < 1e-12


def test_padding_has_no_influence():
    interaction, valid = random_interaction(2, (2,)), torch.tensor([[True, False]])
    stream = random_stream(1, 2, (2,), valid=valid)
    influence = collision_influence(interaction, stream)
    assert influence.contraction[0, 1] == influence.rotation[0, 1] == influence.write[0, 1] == 0
    before = random_densities(1, 2, 2)
    entropies = ancilla_entropies(interaction, stream, before)
    assert entropies[0, 1] == 0 < entropies[0, 0]


def test_the_ancilla_of_a_pure_memory_has_their_entanglement():
    interaction, stream = random_interaction(3, (2, 2)), random_stream(1, 1, (2, 2))
    memory = random_kets(3, generator=generator(5), dtype=DTYPE)
    joint = interaction.unitary @ product([memory, product(stream.factors)[0, 0]])
    found = ancilla_entropies(interaction, stream, density_of(memory)[None, None])
    assert farthest(found[0, 0], entanglement_entropy(joint, (3, 4), [0])) < 1e-10
