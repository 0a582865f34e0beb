"""Streams with times of their own, and free relaxation between their events."""

import pytest
import torch
from random_collisions import (
    DTYPE,
    collide,
    farthest,
    final,
    generator,
    random_densities,
    random_interaction,
    random_stream,
)

from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    LearnableLindbladian,
    Lindbladian,
    basis_ket,
    density_of,
    embed,
    product,
)
from qinn.quantum.collisions.relaxation import relaxation_maps
from qinn.quantum.generators.coordinates import superoperator_on_real_coordinates
from qinn.quantum.numerics.matrix_exponential import norm_bound

METHODS = ("kraus", "real")


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


@pytest.mark.parametrize("lead", [(0, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("method", METHODS)
def test_no_samples_or_no_events_give_results_of_their_shape(method, lead):
    stream = Ancillas([torch.zeros(*lead, 2, dtype=DTYPE)])
    states = ExactCollisions(every=True, method=method).evolve_events(
        [1, 0], [random_interaction(2, (2,))] * 2, [stream] * 2, [torch.zeros(lead)] * 2, until=1.0,
        lindbladian=Lindbladian(torch.zeros(2, 2, dtype=DTYPE)),
    )  # fmt: skip
    assert states.final.density().shape == (lead[0], 2, 2)
    assert states.mean is not None
    assert states.mean.density().shape == (lead[0], 2, 2)
    assert states.every is not None
    assert states.every.density().shape == (lead[0], 0, 2, 2)
    assert states.modalities is not None
    assert states.modalities.shape == (lead[0], 0)
