"""What an evolution gives at many times: states, and what is measured in them, time by time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.extras import needs
from qinn.quantum.arguments import check_whole
from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.driven_propagation import propagate_driven_observables_along
from qinn.quantum.generators.interface import check_kind
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation_along import propagate_densities_along, propagate_observables_along
from qinn.quantum.states.ensembles import (
    HeisenbergPicture,
    HeisenbergState,
    JumpRecord,
    MixedState,
    PureEnsemble,
    State,
)
from qinn.quantum.states.evolved import of_each_system
from qinn.quantum.states.measurement import projectors
from qinn.quantum.states.trajectory_course import TrajectoryCourse


@dataclass(frozen=True, eq=False)
class TimeCourse:
    """States at many times, of one pass of an evolution.

    Everything that is measured has the time as its first axis, before the batch. Gradients, log-likelihoods and groups
    are those of `qinn.quantum.State` at each time.

    Attributes:
        times: The times, float64 (time,); of systems with times of their own (time, …).
        parts: States with a leading axis of times, one behind the other; mostly one.
        record: Which jumps fell when until the last time, if recorded.

    Examples:
        >>> from qinn.quantum import ExactChannel, Lindbladian
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> course = ExactChannel().evolve([0, 1], decay, times=[0.0, 0.6931472, 1.3862944])
        >>> course.expectations([[[0, 0], [0, 1]]])[:, 0, 0].round(decimals=5)
        tensor([1.0000, 0.5000, 0.2500])
    """

    times: Float[Tensor, "time *batch"]
    parts: tuple[State, ...]
    record: JumpRecord | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: int) -> State:
        """Return the state at one of the times.

        Args:
            index: Which one; negative from the end.

        Raises:
            ArgumentError: If there is no such time.
        """
        check_whole("index", index)
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"Index {index} is none of {len(self)} times.")
        for part in self.parts:
            length = len(part.log_likelihood)
            if place < length:
                return _state_at(part, place)
            place -= length
        raise AssertionError("parts do not cover the times")

    @property
    def kets(self) -> Complex[Tensor, "time *batch trajectory dim"]:
        """Kets of every trajectory, where the states are pure.

        Raises:
            ArgumentError: If they are not.
        """

        def of(part: State) -> Tensor:
            if isinstance(part, PureEnsemble | TrajectoryCourse):
                return part.kets
            raise ArgumentError("Only pure states have kets, and these are densities; ask for `density()`.")

        return self._together(of)

    @property
    def log_likelihood(self) -> Float[Tensor, "time *batch trajectory"]:
        """Log-likelihood of each trajectory's record until each time: value 0, its gradient is the score function."""
        return self._together(lambda part: part.log_likelihood)

    def probabilities(
        self, vectors: Any, *, validate: bool = True
    ) -> Float[Tensor, "time *batch trajectory outcome"]:
        """Measurement probabilities at every time; arguments and errors as of `State.probabilities`."""
        return self._together(lambda part: part.probabilities(vectors, validate=validate))

    def expectations(
        self, observables: Any, *, hermitian: bool | None = None
    ) -> Shaped[Tensor, "time *batch trajectory outcome"]:
        """Expectation values at every time; arguments and errors as of `State.expectations`."""
        return self._together(lambda part: part.expectations(observables, hermitian=hermitian))

    def density(self) -> Complex[Tensor, "time *batch dim dim"]:
        """Density matrices at every time, averaged over the trajectories."""
        return self._together(lambda part: part.density())

    def plot(self, observables: Any, labels: Sequence[str] | None = None, axes: Any = None) -> Any:
        """Draw expectation values of Hermitian observables against time, means over the trajectories.

        Args:
            observables: Matrices X_j (outcome, D, D).
            labels: What each is called.
            axes: Axes of matplotlib to draw on; new ones if None.

        Returns:
            The axes.

        Raises:
            ArgumentError: If there is a batch of states, or the labels do not fit.
            MissingPackageError: If matplotlib is not installed.
        """
        values = self.expectations(observables, hermitian=True).detach().cpu()
        if values.ndim != 3:
            raise ArgumentError(
                f"Only one state's values can be drawn, but these have the batch {tuple(values.shape[1:-2])}; draw "
                "`expectations` of one of them."
            )
        names = [None] * values.shape[-1] if labels is None else list(labels)
        if len(names) != values.shape[-1]:
            raise ArgumentError(
                f"Argument `labels` must name {values.shape[-1]} observables, but has {len(names)} names."
            )
        if axes is None:
            axes = _new_axes()
        for column, name in zip(values.mean(1).unbind(-1), names, strict=True):
            axes.plot(self.times.cpu().tolist(), column.tolist(), label=name)
        axes.set_xlabel("time")
        if labels is not None:
            axes.legend()
        return axes

    def _together(self, of: Callable[[State], Tensor]) -> Tensor:
        found = [of(part) for part in self.parts]
        return found[0] if len(found) == 1 else torch.cat(found)


@final
@dataclass(frozen=True, eq=False)
class HeisenbergCourse(HeisenbergPicture):
    """An initial state together with dynamics that are applied to the observables, for many times at once.

    Attributes:
        initial: State at time 0, of any kind.
        lindbladian: The dynamics; driven ones over the last of the times.
        moments: Rising times ≥ 0.
        tolerance: Largest error of the evolution; by precision if None.
    """

    initial: State
    lindbladian: Lindbladian | DrivenLindbladian
    moments: tuple[float, ...]
    tolerance: float | None = None

    @property
    def log_likelihood(self) -> Float[Tensor, "time *batch trajectory"]:
        """Log-likelihood of the initial state, the same at every time."""
        values = self.initial.log_likelihood
        return values.expand(len(self.moments), *values.shape)

    def _probabilities(self, vectors: Tensor) -> Tensor:
        return self._expectations(projectors(vectors), True).clamp(min=0)

    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        if isinstance(self.lindbladian, DrivenLindbladian):
            evolved = propagate_driven_observables_along(
                self.lindbladian, observables, self.initial.batch, self.moments, self.tolerance
            ).transpose(0, 1)
        else:
            matrices = of_each_system(observables, self.lindbladian)
            evolved = propagate_observables_along(
                self.lindbladian, matrices, self.moments, self.tolerance, validate=False
            )
        values = self.initial._expectations(evolved.flatten(0, 1), hermitian)
        return values.unflatten(-1, evolved.shape[:2]).movedim(-2, 0)

    def density(self) -> Complex[Tensor, "time *batch dim dim"]:
        """Density matrices at every time; runs the exact channel."""
        if isinstance(self.lindbladian, DrivenLindbladian):
            return torch.stack([self.at(place).density() for place in range(len(self.moments))])
        return propagate_densities_along(
            self.lindbladian, self.initial.density(), self.moments, self.tolerance, validate=False
        )

    def at(self, place: int) -> HeisenbergState:
        """Return the state at one of the times."""
        moment = self.moments[place]
        # The same kind comes back, driven until the moment.
        dynamics: Any = self.lindbladian.part(0.0, moment, self.moments[-1])
        return HeisenbergState(self.initial, dynamics, moment, self.tolerance)


def stacked(states: Sequence[State]) -> State:
    """Return states of one kind, at one time each, as one with a leading axis of times.

    Args:
        states: Pure ensembles or mixed states.

    Raises:
        ArgumentError: If they are of another kind.

    Examples:
        >>> stacked([MixedState([[1, 0], [0, 0]]), MixedState([[0, 0], [0, 1]])]).density().shape
        torch.Size([2, 2, 2])
    """
    if all(isinstance(state, MixedState) for state in states):
        return MixedState(torch.stack([state.density() for state in states]), validate=False)
    pure = [state for state in states if isinstance(state, PureEnsemble)]
    if len(pure) < len(states):
        raise ArgumentError(
            f"A `{type(states[0]).__name__}` cannot be had at many times; pass one `time`, or use another evolution."
        )
    return PureEnsemble(
        torch.stack([state.kets for state in pure]),
        torch.stack([state.log_likelihood for state in pure]),
        num_groups=min(state.num_groups for state in pure),
        num_draws=pure[-1].num_draws,
        validate=False,
    )


def _state_at(part: State, place: int) -> State:
    if isinstance(part, HeisenbergCourse | TrajectoryCourse):
        return part.at(place)
    if isinstance(part, HeisenbergState):
        lindbladian = check_kind(part.lindbladian, (Lindbladian,), "states of many times")
        one = Lindbladian(lindbladian.hamiltonian[place], lindbladian.jump_operators[place], validate=False)
        return HeisenbergState(_state_at(part.initial, place), one, part.time, part.tolerance)
    if isinstance(part, MixedState):
        return MixedState(part.density_matrix[place], validate=False)
    if not isinstance(part, PureEnsemble):
        raise ArgumentError(f"A `{type(part).__name__}` has no single times.")
    return PureEnsemble(
        part.kets[place],
        part.log_likelihood[place],
        num_groups=part.num_groups,
        num_draws=part.num_draws,
        validate=False,
    )


def _new_axes() -> Any:
    with needs("report", "`TimeCourse.plot`"):
        from matplotlib import pyplot
    return pyplot.subplots(layout="constrained")[1]
