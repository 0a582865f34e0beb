"""The one interface of all evolutions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import ceil
from typing import Any, ClassVar, overload

import torch

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_time, check_count
from qinn.quantum.generators.interface import Generator, check_kind, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation_along import as_times
from qinn.quantum.numerics.work import Work
from qinn.quantum.states.ensembles import (
    HeisenbergState,
    JumpRecord,
    MixedState,
    PureEnsemble,
    State,
    check_fit,
)
from qinn.quantum.states.given_states import state_of
from qinn.quantum.states.products import ProductState
from qinn.quantum.states.time_course import TimeCourse, stacked


class Evolution(ABC):
    """A way to run open dynamics; the same generator and time fit all of them.

    The constructor takes options only; `evolve` takes the state and the dynamics. Subclasses are final and
    implement `_evolve`, which may rely on checked arguments. ``generators`` names the kinds of dynamics they take,
    ``keeps_factors`` says whether they take a product that lacks factors as it is, not as its joint density, and
    ``needs_steps`` whether their result depends on a number of time steps.
    """

    generators: ClassVar[tuple[type[Generator], ...]] = (Lindbladian,)
    keeps_factors: ClassVar[bool] = False
    needs_steps: ClassVar[bool] = False

    @overload
    def evolve(self, initial: Any, lindbladian: Any, *, time: Any, steps: Any = None) -> State: ...

    @overload
    def evolve(self, initial: Any, lindbladian: Any, *, times: Any, steps: Any = None) -> TimeCourse: ...

    def evolve(
        self, initial: Any, lindbladian: Any, *, time: Any = None, times: Any = None, steps: Any = None
    ) -> State | TimeCourse:
        """Run the dynamics on a batch of states.

        Args:
            initial: Pure ensemble (any number of trajectories), mixed state, or product that lacks factors. Or plain
                kets (…, D) or densities (…, D, D), as a tensor, an array or lists: two last axes of length D are a
                density, everything else are kets, and all axes before are the batch (see `PureEnsemble` for D kets of
                dimension D).
            lindbladian: H and L_k, of the state's dimension and dtype: dense (`Lindbladian`), or of another
                kind that the evolution takes.
            time: Duration T ≥ 0, ħ = 1. A tensor may carry a gradient, which every evolution passes on (sampled ones
                as the gradient of all rates, see `qinn.quantum.score_surrogate`).
            times: In place of `time`: rising times t_1 ≤ t_2 ≤ …, of which all states come from one pass. Pieces of
                driven generators are parts of the last one.
            steps: Number of time steps ≥ 1, for the evolutions that need it (`SteppedJumps` and `GumbelJumps`); the
                others take no notice of it.

        Returns:
            The state after time T; of `times` a `TimeCourse`, whose states are as exact as single ones would be.

        Raises:
            ArgumentError: If an argument does not fit.

        Examples:
            >>> from qinn.quantum import ExactChannel
            >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
            >>> ExactChannel().evolve([0, 1], decay, time=0.6931472).density().diagonal().real.round(decimals=5)
            tensor([0.5000, 0.5000])
        """
        if (time is None) == (times is None):
            given = "neither is" if time is None else "both are"
            raise ArgumentError(f"Argument `time` must be given, or `times` in its place, but {given}.")
        moments = None if times is None else as_times(times)
        time, dynamics = self._checked(lindbladian, time if moments is None else moments[-1], steps)
        if isinstance(initial, HeisenbergState):
            raise ArgumentError(
                "Argument `initial` must be a pure ensemble or a mixed state, but it is a Heisenberg state; "
                "evolve its `density()` as a mixed state instead."
            )
        state = state_of("initial", initial, dynamics)
        if not isinstance(state, PureEnsemble | MixedState | ProductState):
            raise ArgumentError(
                "Argument `initial` must be a pure ensemble, a mixed state or a product that lacks factors, but it "
                f"is {type(state).__name__}."
            )
        check_fit(state, dynamics)
        if isinstance(state, ProductState) and not self.keeps_factors:
            state = MixedState(state.density(), validate=False)
        if moments is not None:
            parts, record = self._evolve_along(state, dynamics, moments, steps)
            place = torch.tensor(moments, dtype=torch.float64, device=dynamics.device)
            return TimeCourse(place, tuple(parts), record)
        dynamics, duration = with_fixed_time(dynamics, time)
        return self._evolve(state, dynamics, duration, steps)

    def estimate(self, lindbladian: Any, *, time: Any, steps: Any = None, batch: Any = 1) -> Work:
        """Say how much work `evolve` would be, before it is spent: a bound from norms, without a state.

        Exact evolutions that would apply a generator more than `qinn.quantum.numerics.work.MAX_APPLICATIONS` times
        are refused; so are trajectories that would have too many jumps.

        Args:
            lindbladian: As for `evolve`.
            time: As for `evolve`.
            steps: As for `evolve`.
            batch: How many densities (`ExactChannel`) or measurement operators (`Heisenberg`, `Hybrid`) there are at
                a time: it may decide which way is cheaper.

        Returns:
            Applications of the generator, and the jumps expected of a trajectory. Of exact evolutions the first is
            never less than what is used, and at most ten times as much for states and dynamics without a special
            relation; of trajectories both are bounds of means.

        Raises:
            ArgumentError: If an argument does not fit.

        Examples:
            >>> from qinn.quantum import QuantumJumps
            >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
            >>> QuantumJumps(8).estimate(decay, time=3.0).jumps
            3.0
        """
        time, dynamics = self._checked(lindbladian, time, steps)
        check_count("batch", batch)
        dynamics, duration = with_fixed_time(dynamics, time)
        return self._estimate(dynamics, duration, steps, batch) if duration > 0 else Work(0)

    def _checked(self, lindbladian: Any, time: Any, steps: Any) -> tuple[Any, Any]:
        """Check what does not depend on the state; return the time and the dynamics."""
        time = as_time(time)
        if steps is not None:
            check_count("steps", steps)
        elif self.needs_steps:
            raise ArgumentError(
                f"Argument `steps` must be given for `{type(self).__name__}`, whose error depends on it, but it is "
                "missing; give a number of time steps, or use `QuantumJumps`, which has none."
            )
        return time, check_kind(lindbladian, self.generators, f"`{type(self).__name__}`")

    def _estimate(self, lindbladian: Any, time: float, steps: Any, batch: int) -> Work:
        raise ArgumentError(
            f"`{type(self).__name__}` must implement `_estimate` to say how much work it is, but does not; just "
            "evolve."
        )

    def _evolve_along(
        self, state: Any, lindbladian: Any, times: Sequence[float], steps: Any
    ) -> tuple[Sequence[State], JumpRecord | None]:
        """Return states with a leading axis of times, and the record: by default from each time to the next.

        Subclasses have cheaper ways where the generator allows it.
        """
        states, records, starts, before = [], [], [], 0.0
        for time in times:
            pieces = lindbladian.between(before, time, times[-1]) or [(lindbladian, 0.0)]
            for piece, duration in pieces:
                share = (
                    None
                    if steps is None
                    else max(1, ceil(steps * duration / max(times[-1], duration, 1e-300)))
                )
                state = self._evolve(state, piece, duration, share)
                if isinstance(state, PureEnsemble) and state.record is not None:
                    records.append(state.record)
                    starts.append(before)
                before += duration
            states.append(state)
            before = time
        return [stacked(states)], JumpRecord.joined(records, starts) if records else None

    @abstractmethod
    def _evolve(self, initial: Any, lindbladian: Any, time: Any, steps: Any) -> State: ...
