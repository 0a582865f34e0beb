"""The flow between jumps and the jumps themselves, as trajectories need them, whatever holds the operators."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Arrival:
    """Rows at their next jump, or at the end.

    Attributes:
        kets: Unnormalised rows, differentiable at fixed times.
        squared_norms: Their squared norms, without gradient.
        elapsed: Time until then, float64 (row,).
        jumps: Whether a jump is due, bool (row,).
    """

    kets: Tensor
    squared_norms: Tensor
    elapsed: Tensor
    jumps: Tensor


class Flow(ABC):
    """Moves kets (rows) from jump to jump."""

    @property
    @abstractmethod
    def num_jumps(self) -> int:
        """Number K of jump operators."""

    @property
    @abstractmethod
    def jump_size(self) -> float:
        """Bound of ‖L_kψ‖ for unit ψ, to tell jumps from round-off."""

    @abstractmethod
    def to_next_jump(self, kets: Tensor, rows: Tensor, remaining: Tensor, thresholds: Tensor) -> Arrival:
        """Flow until the squared norm of each row falls to its threshold, or its time is up.

        Args:
            kets: Unit rows (row, D).
            rows: Which of all rows these are (a flow may differ from row to row).
            remaining: Time left for each row, float64 (row,).
            thresholds: Uniform random numbers in (0, 1), float64 (row,).

        Returns:
            The rows there.
        """

    @abstractmethod
    def jump(
        self, kets: Tensor, rows: Tensor, moments: Tensor, choose: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Apply to each row the jump operator that is chosen for it.

        Args:
            kets: Rows (row, D).
            rows: Which of all rows these are.
            moments: When the jump of each falls, float64 (row,).
            choose: Takes ‖L_kψ‖² of every row and operator, float64 (row, K), without gradient; returns the
                channel k of each row, or −1 for a row that stays as it is.

        Returns:
            L_kψ of every row, unnormalised, and the channels.
        """
