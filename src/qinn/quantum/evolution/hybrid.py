"""Trajectories first, the exact average for the rest: little variance, and still stochastic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch

from qinn.quantum.arguments import check_between, check_tolerance
from qinn.quantum.evolution.evolution import Evolution
from qinn.quantum.evolution.exact import Heisenberg
from qinn.quantum.evolution.jumps import QuantumJumps
from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.work import Work
from qinn.quantum.states.ensembles import HeisenbergState, PureEnsemble, State
from qinn.quantum.states.evolved import Dynamics
from qinn.quantum.states.time_course import HeisenbergCourse, TimeCourse, stacked


@final
@dataclass(frozen=True)
class Hybrid(Evolution):
    """Sampled quantum jumps for a part of the time, the exact average by the Heisenberg picture for the rest.

    The probabilities of each trajectory are their expectation over everything that happens later (Rao and
    Blackwell): their mean is the exact average as for `QuantumJumps`, with less variance, and so are gradients.
    With ``sampled`` = 0 this is `Heisenberg`, with 1 it is `QuantumJumps` read out along measurement vectors;
    factors that a product lacks are drawn in any case.
    Entropies of trajectories need kets at the end: use `QuantumJumps` for those.

    Args:
        num_trajectories: M per sample, as for `QuantumJumps`.
        sampled: Part of the time that is sampled, between 0 and 1.
        seed: As for `QuantumJumps`.
        uniforms: As for `QuantumJumps`.
        tolerance: As for `Heisenberg`.

    Raises:
        ArgumentError: If an option is impossible, or the initial state does not fit.

    Source: O (hybrid of both pictures).

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> initial = PureEnsemble(torch.tensor([[0j, 1]]))
        >>> state = Hybrid(2, seed=0).evolve(initial, decay, time=1.3862944)
        >>> state.probabilities(torch.eye(2) + 0j).round(decimals=5)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """

    num_trajectories: int
    sampled: float = 0.5
    seed: int | None = None
    uniforms: Literal["independent", "latin_hypercube"] = "independent"
    tolerance: float | None = None

    generators: ClassVar = (Lindbladian, DrivenLindbladian)
    keeps_factors: ClassVar = True

    def __post_init__(self) -> None:
        check_between("sampled", self.sampled, 0.0, 1.0, ends=True)
        check_tolerance(self.tolerance)
        self._jumps()

    def _jumps(self) -> QuantumJumps:
        return QuantumJumps(self.num_trajectories, self.seed, self.uniforms)

    def _estimate(self, lindbladian: Dynamics, time: float, steps: int | None, batch: int) -> Work:
        first = self.sampled * time
        before, after = _halves(lindbladian, first, time)
        averaged = Heisenberg(self.tolerance).estimate(after, time=time - first, batch=batch)
        return self._jumps().estimate(before, time=first) + averaged

    def _evolve(
        self, initial: State, lindbladian: Dynamics, time: float, steps: int | None
    ) -> HeisenbergState:
        first = self.sampled * time
        before, after = _halves(lindbladian, first, time)
        trajectories = self._jumps().evolve(initial, before, time=first)
        assert isinstance(trajectories, PureEnsemble)
        return HeisenbergState(trajectories, after, time - first, self.tolerance)

    def _evolve_along(
        self, state: State, lindbladian: Dynamics, times: Sequence[float], steps: int | None
    ) -> tuple[Sequence[State], None]:
        # Sampled for that part of the last time: what comes before is trajectories, what comes later exact averages.
        first = self.sampled * times[-1]
        earlier = [time for time in times if time < first]
        before, after = _halves(lindbladian, first, times[-1])
        parts, _ = self._jumps()._evolve_along(state, before, [*earlier, first], steps)
        course = TimeCourse(torch.tensor([*earlier, first]), tuple(parts))
        last = course[-1]
        later = tuple(time - first for time in times[len(earlier) :])
        averaged = HeisenbergCourse(last, after, later, self.tolerance)
        if not earlier:
            return [averaged], None
        return [stacked([course[place] for place in range(len(earlier))]), averaged], None


def _halves(lindbladian: Dynamics, first: float, whole: float) -> tuple[Any, Any]:
    """The dynamics until a moment, and from there on."""
    return lindbladian.part(0.0, first, whole), lindbladian.part(first, whole, whole)
