"""Laws of collision models, on random interactions, ancillas, masks and absences."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_collisions import DTYPE, generator, random_densities, random_interaction, random_stream

from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    LearnableLindbladian,
    SampledCollisions,
    check_density,
    check_ket,
    collision_influence,
    collision_maps,
    kraus_operators,
    permute_ket,
    random_kets,
)
from qinn.quantum.checking import laws

SEEDS = st.integers(0, 10_000)
DIM = st.integers(1, 6)
DIMS = st.sampled_from([(1,), (2,), (5,), (2, 3), (3, 1, 2)])
STEPS = st.integers(0, 6)
METHOD = st.sampled_from(["kraus", "real"])
QUICK = settings(max_examples=12, deadline=None, derandomize=True)


def stream_of(dims, steps, seed, mixed=False):
    source = generator(seed)
    valid = torch.rand(2, steps, generator=source) < 0.8
    present = torch.rand(2, steps, len(dims), generator=source) < 0.7
    if mixed:
        parts = [random_densities(2, steps, dim, seed=seed + dim) for dim in dims]
        return Ancillas.of_densities(parts, valid=valid, present=present)
    return random_stream(2, steps, dims, seed, valid=valid, present=present)


@QUICK
@given(DIM, DIMS, SEEDS)
def test_kraus_operators_are_complete_and_make_the_real_maps(dim, dims, seed):
    interaction = random_interaction(dim, dims, seed)
    stream = random_stream(1, 2, dims, seed)
    kets = stream.factors[0] if len(dims) == 1 else None
    joint = random_kets(3, interaction.ancilla_dim, generator=generator(seed), dtype=DTYPE)
    A = kraus_operators(interaction, joint)
    assert float(((A.mH @ A).sum(-3) - torch.eye(dim)).abs().max()) < 1e-13
    if kets is None:
        return
    A, memory = kraus_operators(interaction, kets[0]), random_densities(dim, seed=seed)
    moved = (A @ memory @ A.mH).sum(-3)
    coordinates = (collision_maps(interaction, stream)[0] @ (memory.real + memory.imag).flatten()).reshape(
        moved.shape
    )
    assert float((coordinates - moved.real - moved.imag).abs().max()) < 1e-13


@QUICK
@given(DIM, DIMS, STEPS, SEEDS, METHOD, st.booleans())
def test_memories_stay_densities_and_never_grow_apart(dim, dims, steps, seed, method, mixed):
    interaction, stream = random_interaction(dim, dims, seed), stream_of(dims, steps, seed, mixed)
    way = ExactCollisions(every=True, method=method)
    paths = []
    for offset in (0, 1):
        states = way.evolve(random_densities(2, dim, seed=seed + offset), interaction, stream)
        for part in (states.final, states.mean, states.every):
            check_density(part.density(), tolerance=1e-12)
        paths.append(states.every.density())
    pairs = torch.stack(paths, -3)
    if steps > 1:
        assert float(laws.distance_gain(pairs[:, :-1], pairs[:, 1:]).max()) < 1e-13


@QUICK
@given(DIM, DIMS, STEPS, SEEDS, st.booleans())
def test_both_implementations_are_one_channel(dim, dims, steps, seed, relaxing):
    interactions = [random_interaction(dim, each, seed) for each in (dims, (2,))]
    streams = [stream_of(dims, steps, seed), random_stream(2, 3, (2,), seed)]
    times = [
        torch.rand(2, stream.num_steps, generator=generator(seed + place), dtype=torch.float64)
        for place, stream in enumerate(streams)
    ]
    module = LearnableLindbladian(dim, 1, seed=seed, dtype=torch.float64).requires_grad_(False)
    memory = random_densities(2, dim, seed=seed)
    found = [
        ExactCollisions(every=True, method=method).evolve_events(
            memory, interactions, streams, times, lindbladian=module() if relaxing else None, until=1.5
        )
        for method in ("kraus", "real")
    ]
    for name in ("final", "mean", "every"):
        first, second = (getattr(states, name).density() for states in found)
        assert float((first - second).abs().max()) < 1e-12


@QUICK
@given(DIM, SEEDS, METHOD)
def test_the_order_of_factors_does_not_matter(dim, seed, method):
    interaction = random_interaction(dim, (2, 3), seed)
    stream = random_stream(1, 3, (2, 3), seed)
    turned = permute_ket(interaction.coupling, (dim, 2, 3), (0, 2, 1))
    turned = permute_ket(turned.mT.contiguous(), (dim, 2, 3), (0, 2, 1)).mT
    other = type(interaction)(turned, dim, (3, 2))
    memory = random_densities(dim, seed=seed)
    way = ExactCollisions(method=method)
    first = way.evolve(memory, interaction, stream).final.density()
    second = way.evolve(memory, other, Ancillas(stream.factors[::-1])).final.density()
    assert float((first - second).abs().max()) < 1e-12


@QUICK
@given(DIM, DIMS, STEPS, SEEDS)
def test_trajectories_stay_unit_kets_with_scores_of_value_zero(dim, dims, steps, seed):
    start = random_kets(dim, generator=generator(seed), dtype=DTYPE)
    states = SampledCollisions(3, seed=seed, every=True, record=True).evolve(
        start, random_interaction(dim, dims, seed), stream_of(dims, steps, seed)
    )
    check_ket(states.final.kets, tolerance=1e-13)
    check_ket(states.every.kets, tolerance=1e-13)
    assert not states.final.log_likelihood.any()
    assert states.outcomes.shape == (2, 3, steps)


@QUICK
@given(SEEDS, st.sampled_from([(2,), (2, 3), (8,)]))
def test_a_qubit_keeps_and_writes_no_more_than_one(seed, dims):
    axis = torch.nn.functional.normalize(
        torch.randn(3, generator=generator(seed), dtype=torch.float64), dim=0
    )
    influence = collision_influence(random_interaction(2, dims, seed), stream_of(dims, 4, seed), axis=axis)
    assert float((influence.keep.abs() + influence.write.abs()).max()) < 1 + 1e-12
    assert float(influence.contraction.min()) > -1e-12
