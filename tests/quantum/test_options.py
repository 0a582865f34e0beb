"""Options of another kind or without sense are refused in one sentence when they are given."""

import math

import pytest
import torch
from jaxtyping import config

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    HeisenbergState,
    Hybrid,
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    StructuredLindbladian,
    basis_ket,
    find_attractor,
    ghz_state,
    maximally_mixed,
    pauli,
)


def sentence(make):
    """The message of a refusal, which is one sentence."""
    with pytest.raises(ArgumentError) as caught:
        make()
    message = str(caught.value)
    assert message.startswith("Argument")
    assert message.endswith(".")
    assert "\n" not in message
    assert not message.endswith("..")
    return message


@pytest.fixture(autouse=True)
def without_checks_of_types():
    """As users run it: under the tests beartype would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


SAMPLED = {
    "jumps": QuantumJumps,
    "stepped": SteppedJumps,
    "gumbel": GumbelJumps,
    "hybrid": Hybrid,
}


@pytest.mark.parametrize("way", SAMPLED)
@pytest.mark.parametrize("number", [2.0, 2.5, math.nan, "3", None, 0, -1], ids=repr)
def test_numbers_of_trajectories_that_are_none_are_refused(way, number):
    assert "`num_trajectories` must be" in sentence(lambda: SAMPLED[way](number))


@pytest.mark.parametrize("way", SAMPLED)
@pytest.mark.parametrize("seed", [1.5, "a", 10**30], ids=repr)
def test_seeds_that_are_none_are_refused(way, seed):
    assert "`seed` must be None or a whole number" in sentence(lambda: SAMPLED[way](4, seed=seed))


DECAY = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
OPTIONS = {
    "sampled": lambda: Hybrid(4, sampled="a"),
    "tolerance": lambda: ExactChannel("x"),
    "tolerance of a hybrid": lambda: Hybrid(4, tolerance="a"),
    "temperature": lambda: GumbelJumps(4, temperature="a"),
    "temperature 0": lambda: GumbelJumps(4, temperature=0),
    "epsilon": lambda: find_attractor(DECAY).mixing_time("a"),
    "initial": lambda: HeisenbergState([0, 1], DECAY, 1.0),
    "lindbladian": lambda: HeisenbergState(PureEnsemble([[0, 1]]), LearnableLindbladian(2, 1), 1.0),
    "base": lambda: DrivenLindbladian(torch.zeros(2, 2), [pauli("X")], [[1.0]]),
    "structured": lambda: StructuredLindbladian(torch.zeros(2, 2)),
    "batch": lambda: ExactChannel().estimate(Lindbladian(torch.eye(12), [torch.eye(12)]), time=1, batch="a"),
    "groups": lambda: PureEnsemble([[0, 1]], num_groups="a"),
    "index": lambda: basis_ket(0.5, 2),
    "dim": lambda: maximally_mixed("a"),
    "factors": lambda: ghz_state(2.5),
    "batch 0": lambda: ExactChannel().estimate(DECAY, time=1, batch=0),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_another_kind_are_refused_in_one_sentence(name):
    assert "must be" in sentence(OPTIONS[name])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_temperatures_without_digits_are_refused(dtype):
    start = torch.tensor([0, 1], dtype=dtype)
    for temperature, fits in ((1e-300, False), (1e-17, False), (1e-6, True)):
        way = GumbelJumps(4, temperature=temperature, seed=0)
        if fits:
            assert torch.isfinite(way.evolve(start, DECAY.to(dtype), time=1.0, steps=4).density().abs()).all()
        else:
            words = sentence(lambda way=way: way.evolve(start, DECAY.to(dtype), time=1.0, steps=4))
            assert "`temperature` must be at least" in words
