"""The one interface of all evolutions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import ceil
from typing import Any, ClassVar, overload

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_time, check_count
from qinn.quantum.evolution.each_system import evolve_each, evolve_each_along
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.interface import Generator, check_duration, check_kind, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation_along import as_own_times, as_times
from qinn.quantum.numerics.refusing import refusing_vmap
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
        """Run the dynamics on a batch of states, or many systems on theirs.

        Leading axes of the states, of the dynamics and of the times are broadcast against each other, right-aligned: so
        S systems with axes (S, 1) and B states give results (S, B), of which each is what a loop would give. Exact
        evolutions up to D = 8 and unitary ones run all systems together, others one after the other.

        Args:
            initial: Pure ensemble (any number of trajectories), mixed state, or product that lacks factors. Or plain
                kets (…, D) or densities (…, D, D), as a tensor, an array or lists: two last axes of length D are a
                density, everything else are kets, and all axes before are the batch (see `PureEnsemble` for D kets of
                dimension D).
            lindbladian: H and L_k, of the state's dimension and dtype: dense (`Lindbladian`), or of another
                kind that the evolution takes.
            time: Duration T ≥ 0, ħ = 1. A tensor may carry a gradient, which every evolution passes on (sampled ones
                as the gradient of all rates, see `qinn.quantum.score_surrogate`). Or many durations.
            times: In place of `time`: rising times t_1 ≤ t_2 ≤ …, of which all states come from one pass. Driven
                generators are driven over the last one. Times of their own for many systems (…, time), and
                such as carry a gradient (exact evolutions only), are each reached from the start.
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
        with refusing_vmap():
            return self._run(initial, lindbladian, time, times, steps)

    def _run(self, initial: Any, lindbladian: Any, time: Any, times: Any, steps: Any) -> State | TimeCourse:
        own = None if times is None else as_own_times(times)
        moments = None if times is None or own is not None else as_times(times)
        longest = time if times is None else 0.0 if moments is None else moments[-1]
        time, dynamics = self._checked(lindbladian, longest, steps)
        check_duration(dynamics, time if own is None else own[..., -1])
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
        if own is not None:
            parts, record = self._evolve_along_own(state, dynamics, own, steps)
            return TimeCourse(own.movedim(-1, 0), tuple(parts), record)
        if moments is not None:
            if dynamics.batch and not isinstance(dynamics, Lindbladian):
                alike = torch.tensor(moments, dtype=torch.float64, device=dynamics.device)
                parts, record = self._evolve_along_own(state, dynamics, alike, steps)
                return TimeCourse(alike, tuple(parts), record)
            if dynamics.batch:
                state = state.for_systems(dynamics.batch)
            parts, record = self._evolve_along(state, dynamics, moments, steps)
            place = torch.tensor(moments, dtype=torch.float64, device=dynamics.device)
            return TimeCourse(place, tuple(parts), record)
        many = isinstance(time, Tensor) and time.ndim > 0
        if (many or dynamics.batch) and not isinstance(dynamics, Lindbladian):
            return self._evolve_each(state, dynamics, time, steps)
        dynamics, duration = with_fixed_time(dynamics, time)
        if dynamics.batch:
            state = state.for_systems(dynamics.batch)
        moved = self._evolve(state, dynamics, duration, steps)
        return _with_own_times(moved, time, duration) if dynamics.batch else moved

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
        return time, check_kind(lindbladian, self.generators, f"`{type(self).__name__}`", is_evolution=True)

    def _estimate(self, lindbladian: Any, time: float, steps: Any, batch: int) -> Work:
        raise ArgumentError(
            f"`{type(self).__name__}` must implement `_estimate` to say how much work it is, but does not; just "
            "evolve."
        )

    def _evolve_each(self, state: State, generator: Generator, time: Any, steps: Any) -> State:
        """Run dynamics of a kind that holds one system at a time, one after the other."""
        axes = time.shape if isinstance(time, Tensor) else torch.Size()
        systems = Alignment.of(generator.batch, axes, "time").batch
        durations = time.expand(systems).flatten() if axes else [time] * systems.numel()

        def evolve(some: State, one: Generator, number: int) -> State:
            return self._evolve(some, *with_fixed_time(one, durations[number]), steps)

        return evolve_each(evolve, state, generator, systems)

    def _evolve_along(
        self, state: Any, lindbladian: Any, times: Sequence[float], steps: Any
    ) -> tuple[Sequence[State], JumpRecord | None]:
        """Return states with a leading axis of times, and the record: by default from each time to the next.

        Subclasses have cheaper ways where the generator allows it.
        """
        states, records, starts, before = [], [], [], 0.0
        for time in times:
            duration = time - before
            share = None if steps is None else max(1, ceil(steps * duration / max(times[-1], 1e-300)))
            state = self._evolve(state, lindbladian.part(before, time, times[-1]), duration, share)
            if isinstance(state, PureEnsemble) and state.record is not None:
                records.append(state.record)
                starts.append(before)
            states.append(state)
            before = time
        return [stacked(states)], JumpRecord.joined(records, starts) if records else None

    def _evolve_along_own(
        self, state: Any, generator: Any, times: Tensor, steps: Any
    ) -> tuple[Sequence[State], JumpRecord | None]:
        """Do as `_evolve_along` for systems that each have times of their own (…, time): one after the other."""
        if times.requires_grad:
            raise ArgumentError(
                f"Argument `times` must be without gradient for `{type(self).__name__}`, but has one; detach it, or "
                "pass one duration as `time`, which may carry a gradient."
            )
        systems = Alignment.of(generator.batch, times.shape[:-1], "times").batch
        rows = times.expand(*systems, -1).reshape(-1, times.shape[-1]).tolist()

        def evolve(some: State, one: Generator, number: int) -> tuple[State, JumpRecord | None]:
            parts, record = self._evolve_along(some, one, rows[number], steps)
            return parts[0], record

        course, record = evolve_each_along(evolve, state, generator, systems)
        return [course], record

    @abstractmethod
    def _evolve(self, initial: Any, lindbladian: Any, time: Any, steps: Any) -> State: ...


def _with_own_times(state: State, time: Any, duration: float) -> State:
    """Times of jumps as users count them: systems of own durations ran for the longest one, at speeds of their own."""
    if not (isinstance(time, Tensor) and time.ndim > 0 and isinstance(state, PureEnsemble) and state.record):
        return state
    speeds = (time.detach() / duration if duration > 0 else torch.ones_like(time))[..., None, None]
    times = state.record.times * speeds.to(state.record.times)
    return state.moved(state.kets, record=JumpRecord(state.record.channels, times))
