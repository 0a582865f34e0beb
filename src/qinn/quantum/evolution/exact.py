"""Deterministic evolutions: none at all, unitary, the exact channel, and its Heisenberg picture.

How dense generators are computed with, and up to which dimension how: `qinn.quantum.generators.propagation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_tolerance
from qinn.quantum.evolution.evolution import Evolution
from qinn.quantum.evolution.matrix_free import (
    matrix_free_density_work,
    matrix_free_work,
    propagate_matrix_free_densities,
    propagate_without_jumps,
)
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.driven_propagation import driven_work, propagate_driven_densities
from qinn.quantum.generators.interface import Generator, MatrixFreeGenerator, check_kind, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_densities, propagation_work
from qinn.quantum.generators.propagation_along import propagate_densities_along, turn_along
from qinn.quantum.generators.structured import StructuredLindbladian
from qinn.quantum.generators.unitary_propagation import propagate_unitarily, unitary_work
from qinn.quantum.numerics.work import Work
from qinn.quantum.states.ensembles import HeisenbergState, JumpRecord, MixedState, PureEnsemble, State
from qinn.quantum.states.evolved import Dynamics
from qinn.quantum.states.products import ProductState
from qinn.quantum.states.time_course import HeisenbergCourse, stacked

# Up to here products of matrices are at least as fast as contractions along the factors of densities: 3.6 to 48 times
# for chains of 2 to 7 qubits with one jump operator more than qubits, level at 8.
_LARGEST_DENSE_DIM = 256


@final
@dataclass(frozen=True)
class NoEvolution(Evolution):
    """The initial state itself: the baseline without dynamics. Ignores H, L_k and the time.

    Source: own.

    Examples:
        >>> NoEvolution()
        NoEvolution()
    """

    generators: ClassVar = (Generator,)
    keeps_factors: ClassVar = True

    def _estimate(self, lindbladian: Generator, time: float, steps: int | None, batch: int) -> Work:
        return Work(0)

    def _evolve(self, initial: State, lindbladian: Generator, time: float, steps: int | None) -> State:
        return initial

    def _evolve_along(
        self, state: State, lindbladian: Generator, times: Sequence[float], steps: int | None
    ) -> tuple[Sequence[State], None]:
        fixed = MixedState(state.density(), validate=False) if isinstance(state, ProductState) else state
        return [stacked([fixed] * len(times))], None


@final
@dataclass(frozen=True)
class Unitary(Evolution):
    """Coherent dynamics exp(−iHT) alone: **the jump operators are ignored**; exact, to some 5e-16 ‖H‖T.

    Pure states stay pure, mixed states stay mixed. Structured and driven generators are taken too, and then can
    be differentiated once, not twice; they march, and the round-off of their steps adds up: in complex64 it was
    1.0e-5 at ‖H‖T = 1e3.

    Source: P (the baseline that the paper criticises).

    Examples:
        >>> import torch
        >>> from qinn.quantum import pauli
        >>> flip = Lindbladian(pauli("X"), torch.zeros(0, 2, 2) + 0j)
        >>> state = Unitary().evolve(PureEnsemble(torch.tensor([[1, 0j]])), flip, time=1.5707963)
        >>> state.probabilities(torch.eye(2) + 0j).round(decimals=5)
        tensor([[0., 1.]])
    """

    generators: ClassVar = (Lindbladian, MatrixFreeGenerator)

    def _estimate(self, lindbladian: Generator, time: float, steps: int | None, batch: int) -> Work:
        if isinstance(lindbladian, MatrixFreeGenerator):
            return matrix_free_work(lindbladian, time, jumps=False)
        dense = check_kind(lindbladian, (Lindbladian,), "`Unitary`")
        return Work(unitary_work(dense.hamiltonian, time))

    def _evolve(
        self, initial: PureEnsemble | MixedState, lindbladian: Generator, time: float, steps: int | None
    ) -> PureEnsemble | MixedState:
        if isinstance(initial, PureEnsemble):
            kets = self._turn(initial.kets, lindbladian, time, initial.kets.shape[:-2])
            return initial.moved(kets, record=initial.record)
        # Rows of Mᵀ are the columns of M: first Uρ, then (Uρ)U† = (U(Uρ)†)†.
        batch = initial.density_matrix.shape[:-2]
        half = self._turn(initial.density_matrix.mT, lindbladian, time, batch).mT
        return MixedState(self._turn(half.conj(), lindbladian, time, batch).conj(), validate=False)

    def _evolve_along(
        self,
        state: PureEnsemble | MixedState,
        lindbladian: Generator,
        times: Sequence[float],
        steps: int | None,
    ) -> tuple[Sequence[State], JumpRecord | None]:
        if isinstance(lindbladian, MatrixFreeGenerator):
            return super()._evolve_along(state, lindbladian, times, steps)
        dense = check_kind(lindbladian, (Lindbladian,), "`Unitary`")
        if isinstance(state, PureEnsemble):
            kets = turn_along(dense.hamiltonian, state.kets, times)
            return [state.along(kets)], None
        moved = propagate_densities_along(dense.without_jumps(), state.density_matrix, times, validate=False)
        return [MixedState(moved, validate=False)], None

    def _evolve_along_own(
        self, state: State, generator: Generator, times: Tensor, steps: int | None
    ) -> tuple[Sequence[State], JumpRecord | None]:
        if not isinstance(generator, Lindbladian):
            return super()._evolve_along_own(state, generator, times, steps)
        return [self._evolve(*_from_the_start(state, generator, times), steps)], None

    @staticmethod
    def _turn(kets: Tensor, lindbladian: Generator, time: float, batch: torch.Size) -> Tensor:
        if isinstance(lindbladian, MatrixFreeGenerator):
            return propagate_without_jumps(lindbladian, kets, time, batch)
        return propagate_unitarily(
            check_kind(lindbladian, (Lindbladian,), "`Unitary`").hamiltonian, kets, time
        )


@final
@dataclass(frozen=True)
class ExactChannel(Evolution):
    """The exact average over all trajectories, on density matrices (Schrödinger picture).

    A pure ensemble is averaged over its trajectories first; where they were sampled, their score goes into the
    average, so that gradients are unbiased. Driven and structured generators are taken too; structured ones by their
    matrices up to D = 256, where that is no slower, beyond by contractions along the factors (to round-off whatever the
    tolerance; 𝓛 is applied some thirty times for every five units of ‖𝓛‖T, and gradients can be taken once).

    Args:
        tolerance: Largest error relative to the Hilbert–Schmidt norm; 1e-6 (complex64) or 1e-12 (complex128)
            if None. Round-off comes on top: single precision reaches 3e-5 at worst, and long evolutions in double
            3e-16 ‖𝓛‖T.

    Raises:
        ArgumentError: If the tolerance is not between 0 and 1.

    Source: P (dissipative dynamics); O (Chebyshev action of the generator, matrix exponential for D ≤ 8).

    Examples:
        >>> import torch
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> excited = PureEnsemble(torch.tensor([[0j, 1]]))
        >>> state = ExactChannel().evolve(excited, decay, time=0.6931472)
        >>> state.density().diagonal().real.round(decimals=5)
        tensor([0.5000, 0.5000])
    """

    tolerance: float | None = None

    generators: ClassVar = (Lindbladian, DrivenLindbladian, StructuredLindbladian)

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)

    def _estimate(self, lindbladian: Generator, time: float, steps: int | None, batch: int) -> Work:
        if isinstance(lindbladian, DrivenLindbladian):
            return Work(driven_work(lindbladian, batch, time, self.tolerance))
        if isinstance(lindbladian, StructuredLindbladian) and lindbladian.dim > _LARGEST_DENSE_DIM:
            return matrix_free_density_work(lindbladian, time)
        return Work(propagation_work(_dense(lindbladian), batch, time, self.tolerance))

    def _evolve(
        self, initial: PureEnsemble | MixedState, lindbladian: Generator, time: float, steps: int | None
    ) -> MixedState:
        if isinstance(lindbladian, DrivenLindbladian):
            moved = propagate_driven_densities(lindbladian, initial.density(), time, self.tolerance)
        elif isinstance(lindbladian, StructuredLindbladian) and lindbladian.dim > _LARGEST_DENSE_DIM:
            moved = propagate_matrix_free_densities(lindbladian, initial.density(), time)
        else:
            dense = _dense(lindbladian)
            moved = propagate_densities(dense, initial.density(), time, self.tolerance, validate=False)
        return MixedState(moved, validate=False)

    def _evolve_along(
        self,
        state: PureEnsemble | MixedState,
        lindbladian: Generator,
        times: Sequence[float],
        steps: int | None,
    ) -> tuple[Sequence[State], JumpRecord | None]:
        start = MixedState(state.density(), validate=False)
        is_large = lindbladian.dim > _LARGEST_DENSE_DIM
        if isinstance(lindbladian, DrivenLindbladian) or (
            isinstance(lindbladian, StructuredLindbladian) and is_large
        ):
            return super()._evolve_along(start, lindbladian, times, steps)
        moved = propagate_densities_along(
            _dense(lindbladian), start.density_matrix, times, self.tolerance, validate=False
        )
        return [MixedState(moved, validate=False)], None

    def _evolve_along_own(
        self, state: State, generator: Generator, times: Tensor, steps: int | None
    ) -> tuple[Sequence[State], JumpRecord | None]:
        if not isinstance(generator, Lindbladian):
            return super()._evolve_along_own(state, generator, times, steps)
        return [self._evolve(*_from_the_start(state, generator, times), steps)], None


@final
@dataclass(frozen=True)
class Heisenberg(Evolution):
    """The exact average, for measurement probabilities: observables are evolved backwards, once per batch.

    Exact for everything linear in the density. Driven generators are taken too: observables pass their pieces from the
    last to the first, once for all samples, or for each where these have amplitudes of their own. Of a product that
    lacks factors, the evolved observables are contracted with what stands for them, once per group of samples that lack
    the same.

    Args:
        tolerance: Largest error relative to an observable's Hilbert–Schmidt norm; 1e-6 or 1e-12 if None, and
            round-off as for `ExactChannel`.

    Raises:
        ArgumentError: If the tolerance is not between 0 and 1.

    Source: O (Heisenberg picture).

    Examples:
        >>> import torch
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> state = Heisenberg().evolve(PureEnsemble(torch.tensor([[0j, 1]])), decay, time=0.6931472)
        >>> state.probabilities(torch.eye(2) + 0j).round(decimals=5)
        tensor([[0.5000, 0.5000]])
    """

    tolerance: float | None = None

    generators: ClassVar = (Lindbladian, DrivenLindbladian)
    keeps_factors: ClassVar = True

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)

    def _estimate(self, lindbladian: Dynamics, time: float, steps: int | None, batch: int) -> Work:
        if isinstance(lindbladian, DrivenLindbladian):
            return Work(driven_work(lindbladian, batch, time, self.tolerance))
        return Work(propagation_work(lindbladian, batch, time, self.tolerance))

    def _evolve(
        self, initial: State, lindbladian: Dynamics, time: float, steps: int | None
    ) -> HeisenbergState:
        return HeisenbergState(_for_drives(initial, lindbladian), lindbladian, time, self.tolerance)

    def _evolve_each(self, state: State, generator: Any, time: Any, steps: int | None) -> State:
        # It refuses durations of their own.
        return HeisenbergState(_for_drives(state, generator), generator, time, self.tolerance)

    def _evolve_along(
        self, state: State, lindbladian: Dynamics, times: Sequence[float], steps: int | None
    ) -> tuple[Sequence[State], None]:
        initial = _for_drives(state, lindbladian)
        return [HeisenbergCourse(initial, lindbladian, tuple(times), self.tolerance)], None

    def _evolve_along_own(
        self, state: State, generator: Dynamics, times: Tensor, steps: int | None
    ) -> tuple[Sequence[State], JumpRecord | None]:
        if isinstance(generator, DrivenLindbladian):
            if times.ndim > 1 or times.requires_grad:
                raise ArgumentError(
                    "Argument `times` must be one list of numbers without gradient for driven dynamics in the "
                    f"Heisenberg picture, but has the shape {tuple(times.shape)} or a gradient; loop over the systems, "
                    "or use `ExactChannel`."
                )
            return self._evolve_along(state, generator, times.tolist(), steps)
        return [self._evolve(*_from_the_start(state, generator, times), steps)], None


def _dense(lindbladian: Generator) -> Lindbladian:
    if isinstance(lindbladian, StructuredLindbladian):
        return lindbladian.dense()
    return check_kind(lindbladian, (Lindbladian,), "`ExactChannel`")


def _for_drives(state: State, lindbladian: Dynamics) -> State:
    """A state that is measured in observables of its own: with the axes of the base, and no product of factors."""
    if not isinstance(lindbladian, DrivenLindbladian):
        return state
    if isinstance(state, ProductState) and (lindbladian.samples or lindbladian.batch):
        state = MixedState(state.density(), validate=False)
    return state.for_systems(lindbladian.batch)


def _from_the_start(state: Any, lindbladian: Lindbladian, times: Tensor) -> tuple[Any, Lindbladian, float]:
    """States, systems and their duration, with a leading axis of times: each time is one of many systems."""
    axes = Alignment.of(lindbladian.batch, times.shape[:-1], "times").batch
    rank = max(len(axes), len(state.batch))
    first = times.movedim(-1, 0)
    first = first.reshape(len(first), *[1] * (rank + 1 - first.ndim), *first.shape[1:])
    dynamics, duration = with_fixed_time(lindbladian, first)
    return state.for_systems(dynamics.batch), dynamics, duration
