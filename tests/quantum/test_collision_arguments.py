"""Mistakes in the use of collision models are refused in one sentence, before time or memory is spent."""

import numpy as np
import pytest
import torch
from random_collisions import DTYPE, random_densities, random_interaction, random_stream

from qinn.errors import ArgumentError
from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    HeisenbergState,
    Interaction,
    LearnableInteraction,
    Lindbladian,
    PureEnsemble,
    SampledCollisions,
    ancilla_entropies,
    basis_ket,
    bloch_maps,
    collision_influence,
    collision_maps,
    kraus_operators,
    uniform_mixture,
)

I2 = random_interaction(2, (2,))
I3 = random_interaction(3, (2, 2))
STREAM = random_stream(2, 3, (2,))
KETS = STREAM.factors[0]
NAN = torch.full((4, 4), torch.nan, dtype=DTYPE)
DECAY = Lindbladian(torch.zeros(2, 2, dtype=DTYPE), [[[0, 1], [0, 0]]])
TIMES = torch.rand(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

HEISENBERG = HeisenbergState(PureEnsemble(torch.eye(2, dtype=DTYPE)[:1]), DECAY, 1.0)


def events(times=TIMES, **options):
    return ExactCollisions().evolve_events([1, 0], [I2], [STREAM], [times], **options)


def many(size: int) -> Ancillas:
    """As many samples as the number says, in the memory of one."""
    stream = Ancillas([basis_ket(0, 2, dtype=DTYPE).expand(1, 1, 2)])
    object.__setattr__(stream, "factors", (stream.factors[0].expand(size, 1, 2),))
    return stream


MISTAKES = {
    "a joint space above 256": (lambda: Interaction(torch.zeros(1, 1), 2, (16, 16)), "factorised form"),
    "an absurd learnable one": (lambda: LearnableInteraction(10**6, (10**6,)), "at most 256"),
    "no factors": (lambda: LearnableInteraction(2, ()), "one dimension per factor"),
    "a bare dimension": (lambda: LearnableInteraction(2, 4), "one dimension per factor"),
    "a memory of nothing": (lambda: LearnableInteraction(0, (2,)), "at least 1"),
    "half a dimension": (lambda: LearnableInteraction(2, (2.5,)), "whole number"),
    "a negative scale": (lambda: LearnableInteraction(2, (2,), scale=-1.0), "finite and ≥ 0"),
    "an absurd seed": (lambda: LearnableInteraction(2, (2,), seed=2**70), "None or a whole number"),
    "complex parameters": (lambda: LearnableInteraction(2, (2,), dtype=torch.complex64), "torch.float64"),
    "parameters in half precision": (lambda: LearnableInteraction(2, (2,), dtype=torch.float16), "torch.float64"),
    "an interaction without its imaginary part": (lambda: I2.to(torch.float32), "must be a device, `torch.complex64`"),
    "relaxation without its imaginary part": (lambda: DECAY.to(torch.float64), "must be a device, `torch.complex64`"),
    "a coupling of another shape": (lambda: Interaction(torch.eye(3), 2, (2,)), r"shape \(4, 4\)"),
    "a coupling that is not Hermitian": (lambda: Interaction(torch.ones(4, 4).triu(), 2, (2,)), "must be Hermitian"),
    "a coupling of NaN": (lambda: Interaction(NAN, 2, (2,)), "must be finite"),
    "NaN by construction": (
        lambda: ExactCollisions().evolve([1, 0], Interaction(NAN, 2, (2,), validate=False), STREAM),
        "look for NaN",
    ),
    "NaN by construction in records": (
        lambda: SampledCollisions(2).evolve([1, 0], Interaction(NAN, 2, (2,), validate=False), STREAM),
        "look for NaN",
    ),
    "a tensor for the factors": (lambda: Ancillas(KETS), "must be a list with the kets of each factor"),
    "nothing for the factors": (lambda: Ancillas(None), "but it is a `NoneType`"),
    "factors by name": (lambda: Ancillas({"text": KETS}), "but it is a `dict`"),
    "no factor": (lambda: Ancillas([]), "but it is empty"),
    "factors of different batches": (lambda: Ancillas([KETS, KETS[:1]]), "same leading axes"),
    "no time axis": (lambda: Ancillas([KETS[0, 0]]), "same leading axes"),
    "factors of different precision": (lambda: Ancillas([KETS, KETS.to(torch.complex64)]), "one complex dtype"),
    "kets that are not normal": (lambda: Ancillas([2 * KETS]), "unit norm"),
    "kets of NaN": (lambda: Ancillas([KETS * torch.nan]), "NaN"),
    "densities that are none": (lambda: Ancillas.of_densities([random_densities(1, 3, 2) * 2]), "trace 1"),
    "densities of NaN": (lambda: Ancillas.of_densities([random_densities(1, 3, 2) * torch.nan]), "finite"),
    "a mask of numbers": (lambda: Ancillas([KETS], valid=torch.ones(2, 3)), "must be booleans"),
    "a mask of another shape": (lambda: Ancillas([KETS], valid=torch.ones(2, 2, dtype=torch.bool)), r"shape \(2, 3\)"),
    "words for a mask": (lambda: Ancillas([KETS], present="text"), "tensor of booleans"),
    "mixtures of other dimensions": (
        lambda: Ancillas([KETS], mixtures=[uniform_mixture(3, dtype=DTYPE)]), r"dimensions \(2,\)",
    ),
    "mixtures of another precision": (lambda: Ancillas([KETS], mixtures=[uniform_mixture(2)]), "one complex dtype"),
    "a learnable interaction": (
        lambda: ExactCollisions().evolve([1, 0], LearnableInteraction(2, (2,)), STREAM), "call a learnable one",
    ),
    "kets for ancillas": (lambda: ExactCollisions().evolve([1, 0], I2, KETS), r"make them by `Ancillas\(\[kets\]\)`"),
    "ancillas of other dimensions": (lambda: ExactCollisions().evolve([1, 0, 0], I3, STREAM), r"dimensions \(2, 2\)"),
    "ancillas of another precision": (
        lambda: ExactCollisions().evolve([1, 0], I2.to(torch.complex64), STREAM), "one complex dtype",
    ),
    "a memory of another dimension": (lambda: ExactCollisions().evolve([1, 0, 0], I2, STREAM), "to fit the memory"),
    "a memory of another norm": (lambda: ExactCollisions().evolve([1, 1], I2, STREAM), "unit norm"),
    "a memory of another batch": (
        lambda: ExactCollisions().evolve(random_densities(5, 2), I2, STREAM), r"with the batch \(2,\)",
    ),
    "a memory of another precision": (
        lambda: ExactCollisions().evolve(basis_ket(0, 2), I2, STREAM), "one complex dtype",
    ),
    "an ensemble of another dimension": (
        lambda: ExactCollisions().evolve(PureEnsemble(torch.eye(3, dtype=DTYPE)[:1]), I2, STREAM),
        "dimension 2 of the memory",
    ),
    "a Heisenberg state": (
        lambda: ExactCollisions().evolve(HEISENBERG, I2, STREAM),
        "pure ensemble or a mixed state",
    ),
    "one stream for two interactions": (
        lambda: ExactCollisions().evolve_events([1, 0], [I2, I2], [STREAM], [TIMES]), "one entry per modality",
    ),
    "memories of different dimensions": (
        lambda: ExactCollisions().evolve_events([1, 0], [I2, random_interaction(3, (2,))], [STREAM] * 2, [TIMES] * 2),
        "share one memory",
    ),
    "streams of different batches": (
        lambda: ExactCollisions().evolve_events([1, 0], [I2, I2], [STREAM, many(3)], [TIMES, torch.rand(3, 1)]),
        "one batch",
    ),
    "times of another shape": (lambda: events(TIMES[:, :2]), r"shape \(2, 3\)"),
    "times that are complex": (lambda: events(TIMES + 1j), "must be real"),
    "times of NaN": (lambda: events(TIMES * torch.nan), "must be finite"),
    "an event before the start": (lambda: events(start=2.0), "between `start` and `until`"),
    "an event behind the end": (lambda: events(until=torch.tensor([0.0, 0.0])), "between `start` and `until`"),
    "an end of NaN": (lambda: events(until=float("nan")), "must be finite"),
    "relaxation of another dimension": (
        lambda: events(lindbladian=Lindbladian(torch.zeros(3, 3, dtype=DTYPE))), "must act on the memory",
    ),
    "relaxation by a ket": (lambda: events(lindbladian=KETS), "must be a `Lindbladian`"),
    "relaxation of NaN": (
        lambda: events(lindbladian=Lindbladian(NAN[:2, :2], validate=False)), "finite and moderate",
    ),
    "relaxation of a large memory": (
        lambda: ExactCollisions().evolve_events(
            basis_ket(0, 32, dtype=DTYPE), [random_interaction(32, (2,))], [STREAM], [TIMES],
            lindbladian=Lindbladian(torch.zeros(32, 32, dtype=DTYPE)),
        ),
        "at most 16 dimensions",
    ),
    "an absurd batch": (lambda: ExactCollisions().evolve([1, 0], I2, many(10**9)), "moderate size"),
    "an absurd batch of records": (lambda: SampledCollisions(4).evolve([1, 0], I2, many(10**8)), "moderate size"),
    "a real form of an absurd size": (
        lambda: ExactCollisions(method="real").evolve(
            basis_ket(0, 128, dtype=DTYPE), Interaction(torch.zeros(256, 256, dtype=DTYPE), 128, (2,)), STREAM
        ),
        "moderate size",
    ),
    "absurdly many maps": (lambda: collision_maps(I2, many(10**8)), "moderate size"),
    "Bloch maps of a qutrit": (lambda: bloch_maps(I3, random_stream(1, 1, (2, 2))), "qubit as its memory"),
    "an axis for a qutrit": (lambda: collision_influence(I3, random_stream(1, 1, (2, 2)), axis=(0, 0, 1)), "no qubit"),
    "an axis that is no unit vector": (lambda: collision_influence(I2, STREAM, axis=(0, 0, 2)), "unit vector"),
    "an axis of words": (lambda: collision_influence(I2, STREAM, axis="z"), "three real numbers"),
    "entropies of one memory for all": (
        lambda: ancilla_entropies(I2, STREAM, random_densities(2)), "one density per step",
    ),
    "entropies of no density": (lambda: ancilla_entropies(I2, STREAM, 2 * random_densities(2, 3, 2)), "trace 1"),
    "operators of kets of another dimension": (lambda: kraus_operators(I3, KETS), r"\(number, 4\)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused_in_one_sentence(mistake):
    make, message = MISTAKES[mistake]
    with pytest.raises(ArgumentError, match=message) as refused:
        make()
    text = str(refused.value)
    assert text.startswith(("Argument", "`"))
    assert text.endswith(".")
    assert text.count(". ") <= 1


def test_arrays_and_lists_are_taken_as_tensors_are():
    wanted = ExactCollisions().evolve([1, 0], I2, STREAM).final.density()
    lists = Ancillas([KETS.tolist()])
    assert lists.dtype == torch.complex64
    arrays = Ancillas([KETS.numpy()], valid=np.ones((2, 3), dtype=bool))
    interaction = Interaction(I2.coupling.numpy(), 2, [2])
    found = ExactCollisions().evolve(np.array([1, 0]), interaction, arrays).final.density()
    assert float((found - wanted).abs().max()) < 1e-15
    assert torch.equal(kraus_operators(I2, KETS.tolist()), kraus_operators(I2, KETS))


def test_times_may_be_of_either_precision():
    whole = events(TIMES, lindbladian=DECAY, until=1.0).final.density()
    rounded = events(TIMES.float(), lindbladian=DECAY, until=1).final.density()
    listed = events(TIMES.tolist(), lindbladian=DECAY, until=1).final.density()
    assert 0 < float((whole - rounded).abs().max()) < 1e-6
    assert torch.equal(whole, listed)


def test_an_unknown_method_is_refused():
    with pytest.raises(Exception, match="method"):
        ExactCollisions(method="fast")


@pytest.mark.parametrize("seed", [2**70, -(2**70)])
def test_a_seed_that_is_none_is_refused_when_it_is_given(seed):
    with pytest.raises(ArgumentError, match="`seed` must be None or a whole number"):
        SampledCollisions(2, seed=seed)
