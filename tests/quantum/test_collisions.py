"""Collision models: one channel in two implementations, masks, absence, pieces of time."""

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
    reference,
    swapping,
)

from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    Interaction,
    LearnableInteraction,
    LearnableLindbladian,
    Mixture,
    PureEnsemble,
    basis_ket,
    choi_matrix,
    collision_influence,
    collision_maps,
    density_of,
    embed,
    kraus_operators,
    maximally_mixed,
    random_kets,
    trace_distance,
)
from qinn.quantum.collisions import exact_collisions

METHODS = ("kraus", "real")
SIZES = [(2, (2,)), (2, (4, 3)), (3, (2, 2)), (4, (5,)), (1, (3,)), (3, (1,))]


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
    for row in range(1, 4):
        met = states.every.density()[row][valid[row]]
        assert farthest(states.mean.density()[row], met.mean(0)) < 1e-15
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
@pytest.mark.parametrize("scale", [0.1, 1.5])
def test_trace_distances_never_grow(method, scale):
    interaction, stream = random_interaction(4, (3,), scale=scale), random_stream(2, 8, (3,))
    pairs = [random_densities(2, 4, seed=seed) for seed in (1, 2)]
    paths = [
        ExactCollisions(every=True, method=method).evolve(pair, interaction, stream).every for pair in pairs
    ]
    distances = trace_distance(paths[0].density(), paths[1].density())
    before = torch.cat([trace_distance(*pairs)[:, None], distances[:, :-1]], 1)
    assert bool((distances <= before + 1e-14).all())
    if scale > 1:
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
        monkeypatch.setattr(exact_collisions, "LARGEST_PIECE", size)
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
        assert exact_collisions._cheaper(exact_collisions.schedule_steps(interaction, stream)) == method


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
