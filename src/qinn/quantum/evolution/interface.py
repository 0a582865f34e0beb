"""The one interface of all evolutions."""

from abc import ABC, abstractmethod
from math import isfinite
from typing import Any, ClassVar

from qinn.errors import ArgumentError
from qinn.quantum.generators.interface import Generator, check_kind
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.states.ensembles import HeisenbergState, MixedState, PureEnsemble, State
from qinn.quantum.states.products import ProductState


class Evolution(ABC):
    """A way to run open dynamics; the same generator, time and steps fit all of them.

    The constructor takes options only; `evolve` takes the state and the dynamics. Subclasses are final and
    implement `_evolve`, which may rely on checked arguments; ``generators`` names the kinds of dynamics they take,
    and ``keeps_factors`` says whether they take a product that lacks factors as it is, not as its joint density.
    """

    generators: ClassVar[tuple[type[Generator], ...]] = (Lindbladian,)
    keeps_factors: ClassVar[bool] = False

    def evolve(self, initial: State, lindbladian: Generator, *, time: float, steps: int) -> State:
        """Run the dynamics on a batch of states.

        Args:
            initial: Pure ensemble (any number of trajectories), mixed state, or product that lacks factors.
            lindbladian: H and L_k, of the state's dimension and dtype: dense (`Lindbladian`), or of another
                kind that the evolution takes.
            time: Duration T ≥ 0, ħ = 1.
            steps: Number of time steps ≥ 1; what it means is said by each evolution (the exact ones ignore
                it).

        Returns:
            The state after time T.

        Raises:
            ArgumentError: If an argument does not fit.
        """
        if not isfinite(time) or time < 0:
            raise ArgumentError(f"Argument `time` must be finite and ≥ 0, but it is {time}.")
        if steps < 1:
            raise ArgumentError(f"Argument `steps` must be at least 1, but it is {steps}.")
        if isinstance(initial, HeisenbergState):
            raise ArgumentError(
                "Argument `initial` must be a pure ensemble or a mixed state, but it is a Heisenberg state; "
                "evolve its `density()` as a mixed state instead."
            )
        if not isinstance(initial, PureEnsemble | MixedState | ProductState):
            raise ArgumentError(
                "Argument `initial` must be a pure ensemble, a mixed state or a product that lacks factors, but it "
                f"is {type(initial).__name__}."
            )
        check_kind(lindbladian, self.generators, type(self).__name__)
        if initial.dim != lindbladian.dim:
            raise ArgumentError(
                f"Argument `lindbladian` must act on dimension {initial.dim} of the state, but acts on "
                f"{lindbladian.dim}."
            )
        if initial.dtype != lindbladian.dtype:
            raise ArgumentError(
                f"Arguments `initial` and `lindbladian` must have one dtype, but have {initial.dtype} and "
                f"{lindbladian.dtype}; convert with `lindbladian.to(...)`."
            )
        if isinstance(initial, ProductState) and not self.keeps_factors:
            initial = MixedState(initial.density())
        return self._evolve(initial, lindbladian, time, steps)

    @abstractmethod
    def _evolve(self, initial: Any, lindbladian: Any, time: float, steps: int) -> State: ...
