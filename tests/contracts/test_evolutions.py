"""Every evolution keeps the laws of `qinn.testing.check_evolution`."""

import pytest
import torch

from qinn.quantum import Evolution, MixedState, PureEnsemble
from qinn.testing import check_evolution

from .cases import EVOLUTIONS


def test_there_is_a_case_for_every_evolution():
    def final(kind):
        below = kind.__subclasses__()
        return {kind} if not below else set().union(*map(final, below))

    defined = {kind for kind in final(Evolution) if kind.__module__.startswith("qinn.")}
    assert {type(evolution) for evolution in EVOLUTIONS.values()} == defined


@pytest.mark.parametrize("name", EVOLUTIONS)
def test_evolutions_keep_the_laws(name):
    check_evolution(EVOLUTIONS[name])


class Unnormalised(Evolution):
    def _evolve(self, initial, lindbladian, time, steps):
        return PureEnsemble(1.01 * initial.kets, validate=False)


class Lossy(Evolution):
    def _evolve(self, initial, lindbladian, time, steps):
        return MixedState(initial.density() * (1 - 0.1 * (time > 0)), validate=False)


class MovesAtTimeZero(Evolution):
    def _evolve(self, initial, lindbladian, time, steps):
        return PureEnsemble(initial.kets.roll(1, -1))


class MixesSamples(Evolution):
    def _evolve(self, initial, lindbladian, time, steps):
        return MixedState(initial.density().roll(1, 0)) if time else initial


class Entangles(Evolution):
    def _evolve(self, initial, lindbladian, time, steps):
        swapped = initial.kets[..., torch.randperm(initial.dim, generator=torch.Generator().manual_seed(0))]
        return PureEnsemble(swapped) if time else initial


class Unseeded(Evolution):
    generator = torch.Generator().manual_seed(0)

    def _evolve(self, initial, lindbladian, time, steps):
        phase = torch.rand(initial.dim, generator=self.generator) if initial.dim == 4 else torch.zeros(1)
        return PureEnsemble(initial.kets * torch.exp(1j * phase)) if time else initial


class InfiniteGradient(Evolution):
    def _evolve(self, initial, lindbladian, time, steps):
        zero = initial.kets - initial.kets.detach()
        return PureEnsemble(initial.kets + zero.real.abs().sqrt())


@pytest.mark.parametrize(
    ("evolution", "law"),
    [
        (Unnormalised, "every trajectory has unit norm"),
        (Lossy, "densities have trace 1"),
        (MovesAtTimeZero, "time 0 changes no state"),
        (MixesSamples, "permuting the batch permutes the result"),
        (Entangles, "keep product states products"),
        (Unseeded, "torch's global seed fixes the result"),
        (InfiniteGradient, "gradients are finite at a basis ket"),
    ],
)
def test_an_evolution_that_breaks_a_law_is_caught(evolution, law):
    with pytest.raises(AssertionError, match=law):
        check_evolution(evolution())
