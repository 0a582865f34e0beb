"""Collision models: one channel in two implementations, masks, absence, limits, and what they do to a memory."""

from itertools import pairwise
from math import log2

import pytest
import torch
from random_collisions import (
    DTYPE,
    collide,
    generator,
    random_densities,
    random_interaction,
    random_stream,
    reference,
    swapping,
)

from qinn.quantum import (
    Ancillas,
    ExactChannel,
    ExactCollisions,
    Interaction,
    LearnableInteraction,
    LearnableLindbladian,
    Lindbladian,
    Mixture,
    PureEnsemble,
    ancilla_entropies,
    basis_ket,
    bloch_maps,
    choi_matrix,
    collision_influence,
    collision_maps,
    density_of,
    embed,
    entanglement_entropy,
    kraus_operators,
    maximally_mixed,
    pauli,
    product,
    random_kets,
    trace_distance,
)
from qinn.quantum.collisions import exact
from qinn.quantum.collisions.relaxation import relaxation_maps
from qinn.quantum.generators.coordinates import superoperator_on_real_coordinates
from qinn.quantum.numerics.matrix_exponential import norm_bound

METHODS = ("kraus", "real")
SIZES = [(2, (2,)), (2, (4, 3)), (3, (2, 2)), (4, (5,)), (1, (3,)), (3, (1,))]


def final(states) -> torch.Tensor:
    return states.final.density()


def farthest(first, second) -> float:
    return float((first - second).detach().abs().max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dim", "dims"), SIZES)
def test_every_state_is_that_of_the_joint_density(dim, dims, method):
    interaction, stream = random_interaction(dim, dims), random_stream(3, 5, dims)
    memory = random_densities(3, dim, seed=1)
    states = ExactCollisions(every=True, method=method).evolve(memory, interaction, stream)
    wanted = reference(memory, interaction, stream.density().transpose(0, 1))
    assert farthest(states.every.density(), wanted.transpose(0, 1)) < 1e-13
    assert farthest(final(states), wanted[-1]) < 1e-13
    assert farthest(states.mean.density(), wanted.mean(0)) < 1e-13


@pytest.mark.parametrize("method", METHODS)
def test_mixed_ancillas_are_those_of_the_joint_density(method):
    interaction = random_interaction(3, (2, 3))
    parts = [random_densities(2, 4, dim, seed=dim) for dim in (2, 3)]
    stream, memory = Ancillas.of_densities(parts), random_densities(2, 3)
    wanted = reference(memory, interaction, stream.density().transpose(0, 1))[-1]
    assert farthest(final(ExactCollisions(method=method).evolve(memory, interaction, stream)), wanted) < 1e-13


@pytest.mark.parametrize(("dim", "dims"), SIZES)
def test_kraus_operators_are_complete(dim, dims):
    interaction = random_interaction(dim, dims)
    kets = random_kets(7, 2, interaction.ancilla_dim, generator=generator(0), dtype=DTYPE)
    operators = kraus_operators(interaction, kets)
    assert operators.shape == (7, 2, interaction.ancilla_dim, dim, dim)
    assert farthest((operators.mH @ operators).sum(-3), torch.eye(dim, dtype=DTYPE)) < 1e-13


def test_single_precision_keeps_its_digits():
    interaction, stream = random_interaction(4, (4, 2)), random_stream(4, 50, (4, 2))
    memory = random_kets(4, generator=generator(0), dtype=DTYPE)
    wanted = final(ExactCollisions().evolve(memory, interaction, stream))
    rounded = Ancillas([factor.to(torch.complex64) for factor in stream.factors])
    for method in METHODS:
        found = final(
            ExactCollisions(method=method).evolve(
                memory.to(torch.complex64), interaction.to(torch.complex64), rounded
            )
        )
        assert found.dtype == torch.complex64
        assert farthest(found, wanted) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_gives_what_a_loop_gives(method):
    interaction = random_interaction(3, (4,))
    valid = torch.rand(5, 6, generator=generator(2)) < 0.6
    stream = random_stream(5, 6, (4,), valid=valid)
    memory = random_kets(5, 3, generator=generator(1), dtype=DTYPE)
    together = ExactCollisions(every=True, method=method).evolve(memory, interaction, stream)
    for row in range(5):
        single = Ancillas([stream.factors[0][row]], valid=valid[row])
        alone = ExactCollisions(every=True, method=method).evolve(memory[row], interaction, single)
        for name in ("final", "mean", "every"):
            assert farthest(getattr(alone, name).density(), getattr(together, name).density()[row]) < 1e-14


@pytest.mark.parametrize("method", METHODS)
def test_padding_leaves_the_memory_untouched_bit_for_bit(method):
    interaction = random_interaction(3, (2, 2))
    valid = torch.rand(4, 9, generator=generator(3)) < 0.5
    valid[0] = False
    stream = random_stream(4, 9, (2, 2), valid=valid)
    memory = random_densities(4, 3)
    states = ExactCollisions(every=True, method=method).evolve(memory, interaction, stream)
    before = torch.cat([memory[:, None], states.every.density()[:, :-1]], 1)
    if method == "kraus":
        assert torch.equal(states.every.density()[~valid], before[~valid])
    else:  # the given memory itself passes through real coordinates
        assert torch.equal(states.every.density()[:, 1:][~valid[:, 1:]], before[:, 1:][~valid[:, 1:]])
    assert farthest(states.mean.density()[0], memory[0]) < 1e-15
    assert farthest(states.final.density()[0], memory[0]) < 1e-15


@pytest.mark.parametrize("method", METHODS)
def test_what_padding_holds_never_matters(method):
    interaction = random_interaction(2, (2,))
    interaction.coupling.requires_grad_()
    valid = torch.tensor([[True, False, True], [True, True, False]])
    kets = random_kets(2, 3, 2, generator=generator(0), dtype=DTYPE)
    results = []
    for filling in (0.0, torch.nan, 1e300):
        given = torch.where(valid[..., None], kets, filling).requires_grad_()
        states = ExactCollisions(method=method).evolve([1, 0], interaction, Ancillas([given], valid=valid))
        value = final(states)[:, 0, 1].abs().sum()
        gradients = torch.autograd.grad(value, [given, interaction.coupling])
        results.append((value.detach(), *gradients))
        assert not gradients[0][~valid].any()
    for other in results[1:]:
        assert all(torch.equal(one, another) for one, another in zip(results[0], other, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_factor_is_a_mixed_one(method):
    interaction = random_interaction(3, (2, 3))
    present = torch.rand(4, 5, 2, generator=generator(0)) < 0.5
    given = Mixture(torch.eye(3, dtype=DTYPE), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64))
    mixtures = (Mixture(torch.eye(2, dtype=DTYPE), torch.full((2,), 0.5, dtype=torch.float64)), given)
    stream = random_stream(4, 5, (2, 3), present=present, mixtures=mixtures)
    whole = random_stream(4, 5, (2, 3))
    parts = []
    for index, mixture in enumerate((maximally_mixed(2, dtype=DTYPE), given.density())):
        known = density_of(whole.factors[index])
        parts.append(torch.where(present[..., index, None, None], known, mixture))
    wanted = ExactCollisions(method=method).evolve([1, 0, 0], interaction, Ancillas.of_densities(parts))
    found = ExactCollisions(method=method).evolve([1, 0, 0], interaction, stream)
    assert farthest(final(found), final(wanted)) < 1e-14
    default = random_stream(4, 5, (2, 3), present=present, mixtures=None)
    assert torch.equal(default.mixtures[1].weights, torch.full((3,), 1 / 3, dtype=torch.float64))


def test_a_product_interaction_turns_the_memory_and_nothing_else():
    own = torch.diag(torch.tensor([0.3, -0.4, 1.0], dtype=DTYPE))
    other = torch.tensor([[0.2, 1.0], [1.0, -0.7]], dtype=DTYPE)
    coupling = embed(own, (3, 2), [0]) + embed(other, (3, 2), [1])
    stream, memory = random_stream(2, 4, (2,)), random_densities(2, 3)
    found = final(ExactCollisions().evolve(memory, Interaction(coupling, 3, (2,)), stream))
    turn = torch.linalg.matrix_exp(-4j * own)
    assert farthest(found, turn @ memory @ turn.mH) < 1e-13
    influence = collision_influence(Interaction(coupling, 3, (2,)), stream)
    assert float(influence.contraction.abs().max()) < 1e-13
    angle = 2 * torch.acos(torch.exp(-1j * own).diagonal().sum().abs() / 3)
    assert float((influence.rotation - angle).abs().max()) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_a_swap_replaces_the_memory_wholly(method):
    stream = random_stream(3, 4, (2,))
    found = ExactCollisions(method=method).evolve(random_densities(3, 2), swapping(), stream)
    assert farthest(final(found), stream.density()[:, -1]) < 1e-14
    influence = collision_influence(swapping(), stream)
    assert float((influence.contraction - 1).abs().max()) < 1e-13
    assert float((influence.write - 1).abs().max()) < 1e-13


@pytest.mark.parametrize("method", METHODS)
def test_trace_distances_never_grow(method):
    interaction, stream = random_interaction(4, (3,)), random_stream(2, 8, (3,))
    pairs = [random_densities(2, 4, seed=seed) for seed in (1, 2)]
    paths = [
        ExactCollisions(every=True, method=method).evolve(pair, interaction, stream).every for pair in pairs
    ]
    distances = trace_distance(paths[0].density(), paths[1].density())
    before = torch.cat([trace_distance(*pairs)[:, None], distances[:, :-1]], 1)
    assert bool((distances <= before + 1e-14).all())
    assert bool((distances[:, -1] < 0.9 * before[:, 0]).all())


def test_every_step_is_a_channel():
    interaction, stream = random_interaction(3, (2,)), random_stream(1, 1, (2,))
    maps = collision_maps(interaction, stream)[0, 0]

    def channel(matrices):
        split = [matrices + matrices.mH, -1j * (matrices - matrices.mH)]
        images = []
        for part in split:
            coordinates = (part.real + part.imag).flatten(-2) @ maps.mT
            A = coordinates.reshape(matrices.shape)
            images.append(torch.complex(0.5 * (A + A.mT), 0.5 * (A - A.mT)))
        return 0.5 * (images[0] + 1j * images[1])

    choi = choi_matrix(channel, 3)
    assert float(torch.linalg.eigvalsh(choi)[0]) > -1e-14
    assert farthest(choi.reshape(3, 3, 3, 3).diagonal(dim1=0, dim2=2).sum(-1), torch.eye(3)) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_pieces_of_time_give_the_same_states_and_gradients(method, monkeypatch):
    module = LearnableInteraction(3, (2, 2), seed=0, dtype=torch.float64)
    lindbladian = LearnableLindbladian(3, 1, seed=0, dtype=torch.float64)
    streams = [random_stream(2, 5, (2, 2), seed=seed) for seed in (0, 1)]
    times = [torch.rand(2, 5, generator=generator(seed), dtype=torch.float64) for seed in (0, 1)]

    def run():
        way = ExactCollisions(every=True, method=method)
        one = way.evolve([1, 0, 0], module(), streams[0])
        two = way.evolve_events([1, 0, 0], [module(), module()], streams, times, lindbladian=lindbladian())
        value = sum(
            (each.density() * torch.arange(9).reshape(3, 3)).abs().square().sum()
            for states in (one, two)
            for each in (states.final, states.mean, states.every)
        )
        return value, torch.autograd.grad(value, [module.free, *lindbladian.parameters()])

    value, gradients = run()
    for size in (1, 500):
        monkeypatch.setattr(exact, "LARGEST_PIECE", size)
        cut, others = run()
        assert farthest(cut, value) < 1e-12
        assert max(map(farthest, gradients, others)) < 1e-12


def test_the_implementation_is_chosen_by_size():
    for dim, dims, method in (
        (2, (4,), "real"),
        (4, (4, 2), "real"),
        (16, (4,), "kraus"),
        (64, (4,), "kraus"),
    ):
        stream = Ancillas([basis_ket(0, each).expand(1, 2, each) for each in dims])
        interaction = Interaction(torch.zeros(1, 1).expand(dim * stream.dim, dim * stream.dim), dim, dims)
        assert exact._cheaper(exact.schedule_steps(interaction, stream)) == method


# The factorised form


def dense_events(memory, interactions, streams, times, lindbladian=None, start=0.0, until=None):
    """One sample: events in the order of time, each by the joint density, with exact relaxation between them."""
    events = sorted(
        (float(time), index, place)
        for index, (stream, moments) in enumerate(zip(streams, times, strict=True))
        for place, time in enumerate(moments)
        if stream.valid is None or stream.valid[place]
    )
    now = start

    def relax(state, length):
        if lindbladian is None:
            return state
        moved = torch.linalg.matrix_exp(lindbladian.superoperator() * length) @ state.flatten()
        return moved.reshape(state.shape)

    for time, index, place in events:
        memory = relax(memory, time - now)
        now = time
        unitary = torch.linalg.matrix_exp(-1j * interactions[index].coupling)
        memory = collide(unitary, memory, streams[index].density()[place])
    return memory if until is None else relax(memory, until - now)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relaxing", [False, True])
def test_events_of_several_streams_are_taken_in_the_order_of_time(method, relaxing):
    interactions = [random_interaction(3, dims) for dims in ((2,), (4,))]
    lindbladian = (
        LearnableLindbladian(3, 2, jump_scale=2.0, seed=0, dtype=torch.float64)() if relaxing else None
    )
    masks = [torch.rand(4, steps, generator=generator(steps)) < 0.7 for steps in (5, 3)]
    masks[0][3] = masks[1][3] = False
    streams = [
        random_stream(4, steps, (dim,), valid=mask)
        for steps, dim, mask in zip((5, 3), (2, 4), masks, strict=True)
    ]
    times = [
        4 * torch.rand(4, steps, generator=generator(9 * steps), dtype=torch.float64) for steps in (5, 3)
    ]
    memory = random_densities(4, 3)
    until = torch.tensor([4.0, 4.5, 6.0, 5.0], dtype=torch.float64)
    states = ExactCollisions(every=True, method=method).evolve_events(
        memory, interactions, streams, times, lindbladian=lindbladian, until=until if relaxing else None
    )
    for row in range(4):
        parts = [Ancillas([s.factors[0][row]], valid=s.valid[row]) for s in streams]
        wanted = dense_events(
            memory[row], interactions, parts, [each[row] for each in times], lindbladian,
            until=float(until[row]) if relaxing else None,
        )  # fmt: skip
        assert farthest(final(states)[row], wanted) < 1e-12
    assert torch.equal((states.modalities >= 0).sum(1), masks[0].sum(1) + masks[1].sum(1))
    assert torch.equal((states.modalities == 1).sum(1), masks[1].sum(1))


@pytest.mark.parametrize("method", METHODS)
def test_events_of_one_time_are_the_sequential_product_of_unitaries(method):
    text, audio = random_interaction(3, (2,), seed=1), random_interaction(3, (4,), seed=2)
    words, sounds = random_stream(2, 3, (2,)), random_stream(2, 3, (4,))
    times = torch.arange(3.0, dtype=torch.float64).expand(2, 3)
    states = ExactCollisions(method=method).evolve_events(
        [0, 1, 0], [text, audio], [words, sounds], [times, times]
    )
    dims = (3, 2, 4)
    joint = embed(audio.unitary, dims, [0, 2]) @ embed(text.unitary, dims, [0, 1])
    memory = density_of(basis_ket(1, 3, dtype=DTYPE)).expand(2, 3, 3)
    for step in range(3):
        pair = density_of(product([words.factors[0][:, step], sounds.factors[0][:, step]]))
        memory = collide(joint, memory, pair)
    assert farthest(final(states), memory) < 1e-13
    # Without a collision of the second modality it is as if there were none.
    silent = Ancillas(sounds.factors, valid=torch.zeros(2, 3, dtype=torch.bool))
    found = ExactCollisions(method=method).evolve_events(
        [0, 1, 0], [text, audio], [words, silent], [times, times]
    )
    assert (
        farthest(final(found), final(ExactCollisions(method=method).evolve([0, 1, 0], text, words))) < 1e-14
    )


def test_relaxation_is_the_exponential_to_round_off_whatever_the_interval():
    lindbladian = LearnableLindbladian(3, 2, hamiltonian_scale=3.0, seed=0, dtype=torch.float64)()
    intervals = torch.tensor([0.0, 1e-9, 0.01, 0.7, 3.0, 40.0], dtype=torch.float64)
    generators = lindbladian.superoperator()
    for longest in (2, 4, 5, 6):
        maps = relaxation_maps(lindbladian, intervals[:longest])
        assert torch.equal(maps[0], torch.eye(9, dtype=torch.float64))
        for index in range(longest):
            memory = random_densities(3, seed=index)
            wanted = (torch.linalg.matrix_exp(generators * intervals[index]) @ memory.flatten()).reshape(3, 3)
            coordinates = maps[index] @ (memory.real + memory.imag).flatten()
            found = coordinates.reshape(3, 3)
            assert farthest(found, wanted.real + wanted.imag) < 1e-13


@pytest.mark.parametrize("norm", [0.5, 1.0, 2.0, 3.0, 3.1, 100.0])
def test_relaxation_has_the_stated_error(norm):
    decay = Lindbladian(torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64)), [[[0, 0.7], [0, 0]]])
    size = float(norm_bound(superoperator_on_real_coordinates(decay)))
    time = torch.tensor([norm / size], dtype=torch.float64)
    maps = relaxation_maps(decay, time)[0]
    assert abs(float(maps[3, 3]) - float(torch.exp(-0.49 * time))) < 1e-12


# Limits


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


# Influence


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


def test_interactions_start_with_the_given_spectral_norm():
    for dim, dims in ((2, (4,)), (4, (4, 2)), (1, (1,))):
        module = LearnableInteraction(dim, dims, seed=1).requires_grad_(False)
        assert abs(float(torch.linalg.matrix_norm(module().coupling, 2)) - 0.3) < 1e-6
        assert sum(each.numel() for each in module.parameters()) == module().coupling.numel()
    assert torch.equal(LearnableInteraction(2, (2,), seed=1).free, LearnableInteraction(2, (2,), seed=1).free)


def test_an_initial_ensemble_starts_from_its_mean():
    interaction, stream = random_interaction(2, (2,)), random_stream(2, 3, (2,))
    kets = random_kets(2, 4, 2, generator=generator(0), dtype=DTYPE)
    found = ExactCollisions().evolve(PureEnsemble(kets), interaction, stream)
    wanted = ExactCollisions().evolve(PureEnsemble(kets).density(), interaction, stream)
    assert torch.equal(final(found), final(wanted))


def test_streams_without_steps_or_samples_leave_the_memory():
    interaction = random_interaction(2, (2,))
    for method in METHODS:
        way = ExactCollisions(every=True, method=method)
        still = way.evolve([0, 1], interaction, random_stream(3, 0, (2,)))
        assert farthest(final(still), density_of(basis_ket(1, 2, dtype=DTYPE))) == 0
        assert farthest(still.mean.density(), final(still)) == 0
        assert still.every.density().shape == (3, 0, 2, 2)
        assert way.evolve([0, 1], interaction, random_stream(0, 4, (2,))).every.density().shape == (
            0,
            4,
            2,
            2,
        )
        nothing = way.evolve_events([0, 1], [interaction], [random_stream(2, 0, (2,))], [torch.zeros(2, 0)])
        assert final(nothing).shape == (2, 2, 2)
