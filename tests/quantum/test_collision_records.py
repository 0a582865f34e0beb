"""Sampled records of collisions: their mean is the exact channel, and so is the mean of their gradients."""

import pytest
import torch
from random_collisions import DTYPE, generator, random_densities, random_interaction, random_stream, swapping

from qinn.errors import ArgumentError
from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    Interaction,
    LearnableMixture,
    MixedState,
    PureEnsemble,
    SampledCollisions,
    density_of,
    hermitian_from,
    kraus_operators,
    normalize,
    random_kets,
    score_surrogate,
)
from qinn.quantum.collisions import sampled

NUM = 4000


def deviation(ensemble: PureEnsemble, wanted: torch.Tensor) -> float:
    """Largest |z| of the entries of the mean density."""
    each, wanted = torch.view_as_real(density_of(ensemble.kets)).detach(), wanted.detach()
    spread = each.std(-4) / ensemble.num_trajectories**0.5
    gap = each.mean(-4) - torch.view_as_real(wanted)
    return float((gap.abs() / spread.clamp(min=1e-12)).where(gap.abs() > 1e-12, 0).max())


def test_the_mean_of_records_is_the_exact_channel_at_every_step():
    torch.manual_seed(0)
    interaction = random_interaction(3, (2, 2))
    valid = torch.tensor([[True] * 5, [True, False, True, False, False]])
    stream = random_stream(2, 5, (2, 2), valid=valid)
    states = SampledCollisions(NUM, every=True).evolve([0, 1, 0], interaction, stream)
    wanted = ExactCollisions(every=True).evolve([0, 1, 0], interaction, stream)
    assert deviation(states.final, wanted.final.density()) < 4.5
    assert deviation(states.every, wanted.every.density()) < 4.5
    assert float((states.final.density() - wanted.final.density()).abs().max()) < 4 / NUM**0.5
    norms = torch.linalg.vector_norm(states.every.kets, dim=-1)
    assert float((norms - 1).abs().max()) < 1e-14


def test_absent_factors_are_drawn_from_their_mixtures():
    torch.manual_seed(1)
    interaction = random_interaction(2, (2, 3))
    mixture = LearnableMixture(3, dtype=torch.float64)
    torch.nn.init.normal_(mixture.free)
    mixtures = [LearnableMixture(2, dtype=torch.float64)(), mixture()]
    present = torch.rand(2, 4, 2, generator=generator(0)) < 0.5
    stream = random_stream(2, 4, (2, 3), present=present, mixtures=mixtures)
    states = SampledCollisions(NUM).evolve([1, 0], interaction, stream)
    wanted = ExactCollisions().evolve([1, 0], interaction, stream).final.density()
    assert deviation(states.final, wanted) < 4.5


def test_outcomes_have_the_probabilities_of_the_kraus_operators():
    torch.manual_seed(2)
    interaction, stream = random_interaction(3, (4,)), random_stream(1, 2, (4,))
    states = SampledCollisions(NUM, record=True).evolve([1, 0, 0], interaction, stream)
    A = kraus_operators(interaction, stream.factors[0][0])
    start = torch.tensor([1, 0, 0], dtype=DTYPE)
    for first in range(4):
        for second in range(4):
            moved = A[1, second] @ A[0, first] @ start
            chance = float(moved.abs().square().sum())
            hits = (states.outcomes[0] == torch.tensor([first, second])).all(-1)
            assert (
                abs(float(hits.double().mean()) - chance) < 4.5 * (chance * (1 - chance) / NUM) ** 0.5 + 1e-9
            )
            if hits.any():
                # The memory is that of the record, up to a phase.
                found = states.final.kets[0][hits]
                assert float(((found @ (moved / chance**0.5).conj()).abs() - 1).abs().max()) < 1e-12


def parameters() -> list[torch.Tensor]:
    shapes = [(4, 4), (1, 3, 2, 2), (2, 2), (2, 2, 2)]
    return [
        torch.randn(*shape, generator=generator(seed), dtype=torch.float64).requires_grad_()
        for seed, shape in enumerate(shapes)
    ]


def problem(V, kets, memory, mixed, copies: int):
    """A stream whose second step's ancilla is absent, for many independent samples."""
    interaction = Interaction(hermitian_from(V), 2, (2,))
    mixture = torch.func.functional_call(LearnableMixture(2, dtype=torch.float64), {"free": mixed})
    ancillas = Ancillas(
        [normalize(torch.complex(kets[..., 0], kets[..., 1])).expand(copies, 3, 2)],
        present=torch.tensor([True, False, True])[:, None].expand(copies, 3, 1),
        mixtures=[mixture],
    )
    return normalize(torch.complex(memory[:, 0], memory[:, 1])), interaction, ancillas


@pytest.mark.slow
@pytest.mark.parametrize("way", ["density", "surrogate", "every"])
def test_gradients_of_records_are_unbiased(way):
    """|z| < 4 against the exact gradient, in V, the kets, the memory and the mixture."""
    torch.manual_seed(3)
    given, target = parameters(), torch.tensor([[1, 0.3 - 0.8j], [0.3 + 0.8j, -0.5]], dtype=DTYPE)

    def linear(densities):
        return (densities * target.mT).sum((-2, -1)).real

    exact = ExactCollisions(every=True).evolve(*problem(*given, 1))
    density = exact.every.density().sum(1) if way == "every" else exact.final.density()
    wanted = torch.autograd.grad(linear(density).sum(), given)
    samples = []
    for _ in range(60):
        states = SampledCollisions(50, every=True).evolve(*problem(*given, 40))
        if way == "density":
            values = linear(states.final.density())
        elif way == "every":
            values = linear(states.every.density()).sum(1)
        else:
            each = states.final.expectations(target[None])[..., 0]
            values = score_surrogate(each, states.final.log_likelihood, num_groups=states.final.num_groups)
        samples.append(torch.autograd.grad(values.mean(), given))
    for index, exact_gradient in enumerate(wanted):
        found = torch.stack([sample[index] for sample in samples])
        spread = found.std(0) / len(found) ** 0.5
        z = (found.mean(0) - exact_gradient) / spread.clamp(min=1e-9)
        assert float(z.abs().max()) < 4
        assert float(spread.max()) < 0.2 * float(exact_gradient.abs().max())


def test_without_the_score_gradients_would_be_biased():
    torch.manual_seed(4)
    given = parameters()
    target = torch.tensor([[1.0, 0.5], [0.5, -1.0]], dtype=DTYPE)
    exact = ExactCollisions().evolve(*problem(*given, 1)).final.density()
    wanted = torch.autograd.grad((exact * target.mT).sum().real, given[0])[0]
    states = SampledCollisions(100).evolve(*problem(*given, 400)).final
    pathwise = torch.autograd.grad(states.expectations(target[None]).mean(), given[0])[0]
    assert float((pathwise - wanted).abs().max()) > 0.1 * float(wanted.abs().max())


def test_log_likelihoods_have_value_zero_and_the_gradient_of_the_record():
    torch.manual_seed(5)
    given = parameters()
    memory, interaction, ancillas = problem(*given, 1)
    known = Ancillas(ancillas.factors)
    states = SampledCollisions(3, record=True).evolve(memory, interaction, known)
    assert not states.final.log_likelihood.any()
    found = torch.autograd.grad(states.final.log_likelihood[0, 0], given[:3], retain_graph=True)
    A, moved = kraus_operators(interaction, known.factors[0][0]), memory
    for step, outcome in enumerate(states.outcomes[0, 0].tolist()):
        moved = A[step, outcome] @ moved
    wanted = torch.autograd.grad(moved.abs().square().sum().log(), given[:3])
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).abs().max()) < 1e-12


def test_second_derivatives_through_the_score_are_refused():
    given = parameters()
    mean = SampledCollisions(4).evolve(*problem(*given, 2)).final.density()[:, 0, 0].real.sum()
    (gradient,) = torch.autograd.grad(mean, given[0], create_graph=True)
    with pytest.raises(ArgumentError, match="first derivatives only"):
        gradient.sum().backward()
    alone = SampledCollisions(1).evolve(*problem(*given, 2)).final.density()[:, 0, 0].real.sum()
    with pytest.raises(ArgumentError, match="two independent ones"):
        alone.backward()


def test_seeded_records_repeat_and_depend_neither_on_batch_nor_on_padding():
    interaction = random_interaction(3, (2, 2))
    present = torch.rand(3, 4, 2, generator=generator(0)) < 0.7
    stream = random_stream(3, 4, (2, 2), present=present)
    way = SampledCollisions(5, seed=7, record=True)
    together = way.evolve([1, 0, 0], interaction, stream)
    assert torch.equal(way.evolve([1, 0, 0], interaction, stream).final.kets, together.final.kets)
    padded = [
        torch.cat([factor, torch.full_like(factor[:, :2], torch.nan)], 1)[1:2] for factor in stream.factors
    ]
    alone = way.evolve(
        [1, 0, 0],
        interaction,
        Ancillas(
            padded,
            valid=torch.tensor([[True] * 4 + [False] * 2]),
            present=torch.cat([present[1:2], torch.ones(1, 2, 2, dtype=torch.bool)], 1),
        ),
    )
    assert float((alone.final.kets[0] - together.final.kets[1]).abs().max()) < 1e-14
    assert torch.equal(alone.outcomes[0, :, :4], together.outcomes[1])
    assert bool((alone.outcomes[0, :, 4:] == -1).all())
    other = SampledCollisions(5, seed=8, record=True).evolve([1, 0, 0], interaction, stream)
    assert not torch.equal(other.outcomes, together.outcomes)


def test_a_chain_with_one_seed_draws_numbers_of_its_own_each():
    interaction, stream = random_interaction(2, (2,), scale=2.0), random_stream(1, 3, (2,))
    way = SampledCollisions(NUM, seed=3)
    first = way.evolve([1, 0], interaction, stream).final
    second = way.evolve(first, interaction, stream).final
    assert (first.num_draws, second.num_draws) == (1, 2)
    once = ExactCollisions().evolve([1, 0], interaction, stream).final
    wanted = ExactCollisions().evolve(once, interaction, stream).final.density()
    assert deviation(second, wanted) < 4.5


def test_ensembles_go_on_with_their_history():
    interaction, stream = random_interaction(2, (2,)), random_stream(2, 3, (2,))
    history = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    start = PureEnsemble(random_kets(2, 4, 2, generator=generator(0), dtype=DTYPE), history, num_groups=2)
    states = SampledCollisions(4, every=True).evolve(start, interaction, stream)
    assert states.final.num_groups == states.every.num_groups == 2
    for part in (states.final, states.every):
        (gradient,) = torch.autograd.grad(part.log_likelihood.sum(), history, retain_graph=True)
        assert torch.equal(gradient, torch.full_like(gradient, part.log_likelihood.numel() / 8))


def test_events_at_their_own_times_have_records_too():
    torch.manual_seed(6)
    interactions = [random_interaction(2, (dim,), seed=dim) for dim in (2, 3)]
    streams = [
        random_stream(2, 3, (dim,), valid=torch.rand(2, 3, generator=generator(dim)) < 0.7) for dim in (2, 3)
    ]
    times = [torch.rand(2, 3, generator=generator(seed)) - 0.5 for seed in (0, 1)]
    states = SampledCollisions(NUM, record=True).evolve_events([1, 0], interactions, streams, times)
    wanted = ExactCollisions().evolve_events([1, 0], interactions, streams, times, start=-1)
    assert deviation(states.final, wanted.final.density()) < 4.5
    assert torch.equal(states.modalities, wanted.modalities)
    assert torch.equal(states.outcomes[:, 0] >= 0, states.modalities >= 0)


def test_padding_leaves_trajectories_untouched_bit_for_bit():
    stream = random_stream(2, 4, (2,), valid=torch.tensor([[True, False, False, True], [False] * 4]))
    start = random_kets(2, 3, generator=generator(0), dtype=DTYPE)[:, :2]
    start = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    walked = SampledCollisions(3, every=True).evolve(
        PureEnsemble(start[:, None]), random_interaction(2, (2,)), stream
    )
    kets = walked.every.kets
    assert torch.equal(kets[0, 1], kets[0, 0])
    assert torch.equal(kets[0, 2], kets[0, 0])
    assert float((kets[1] - start[1]).abs().max()) < 1e-15


@pytest.mark.slow
def test_pieces_of_time_give_the_same_trajectories_and_gradients(monkeypatch):
    given = parameters()

    def run():
        states = SampledCollisions(4, seed=0, every=True, record=True).evolve(*problem(*given, 3))
        value = states.every.density()[..., 0, 1].abs().sum()
        return states.outcomes, value.detach(), torch.autograd.grad(value, given)

    outcomes, value, gradients = run()
    monkeypatch.setattr(sampled, "LARGEST_PIECE", 1)
    others, again, more = run()
    assert torch.equal(outcomes, others)
    assert abs(float(value - again)) < 1e-13
    assert max(float((one - other).abs().max()) for one, other in zip(gradients, more, strict=True)) < 1e-13


def test_a_swap_is_measured_as_the_memory_was():
    states = SampledCollisions(3, seed=0, record=True).evolve([0, 1], swapping(), random_stream(1, 2, (2,)))
    assert bool((states.outcomes[..., 0] == 1).all())
    assert bool(
        (
            SampledCollisions(2).evolve([0, 1], swapping(), random_stream(1, 0, (2,))).final.kets.real
            == torch.tensor([0, 1])
        ).all()
    )


def test_a_mixed_memory_is_drawn_once_for_each_record():
    interaction, stream = random_interaction(2, (2,)), random_stream(1, 2, (2,))
    mixed = MixedState(torch.diag(torch.tensor([0.2, 0.8])).to(DTYPE)[None])
    drawn = SampledCollisions(4000, seed=0).evolve(mixed, interaction, stream).final.density()
    exact = ExactCollisions().evolve(mixed, interaction, stream).final.density()
    assert (drawn - exact).abs().max() < 0.04


def test_what_cannot_be_sampled_is_refused():
    interaction, stream = random_interaction(2, (2,)), random_stream(1, 2, (2,))
    way = SampledCollisions(2)
    with pytest.raises(ArgumentError, match="must be kets to be measured"):
        way.evolve([1, 0], interaction, Ancillas.of_densities([random_densities(1, 2, 2)]))
    with pytest.raises(ArgumentError, match="1 or 2 trajectories"):
        way.evolve(
            PureEnsemble(torch.eye(3, dtype=DTYPE)[:, :2][None, :2].repeat(1, 2, 1)[:, :3]),
            interaction,
            stream,
        )
    with pytest.raises(ArgumentError, match="at least 1"):
        SampledCollisions(0)
    with pytest.raises(ArgumentError, match="moderate size"):
        SampledCollisions(10**12).evolve([1, 0], interaction, stream)
