"""Joint states before and after an evolution: a pure ensemble, a mixed state, or a Heisenberg pair.

Products that lack some factors have a module of their own, `product_states`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_densities, propagate_observables
from qinn.quantum.states.estimators import check_groups, mean_density
from qinn.quantum.states.measurement import (
    expectations,
    expectations_of_density,
    probabilities,
    probabilities_of_density,
)


@final
@dataclass(frozen=True, eq=False)
class JumpRecord:
    """Which jump fell when, per trajectory; ragged, padded behind the last jump.

    Attributes:
        channels: Index k of each jump operator; −1 behind the last jump.
        times: Time of each jump since the start of the evolution; NaN behind the last jump.

    Example:
        >>> times = torch.tensor([[0.5, float("nan")], [0.1, 0.2]])
        >>> record = JumpRecord(torch.tensor([[0, -1], [1, 1]]), times)
        >>> record.num_jumps
        tensor([1, 2])
    """

    channels: Int[Tensor, "*batch trajectory jump"]
    times: Float[Tensor, "*batch trajectory jump"]

    @property
    def num_jumps(self) -> Int[Tensor, "*batch trajectory"]:
        """Number of jumps of each trajectory."""
        return (self.channels >= 0).sum(-1)


class State(ABC):
    """A batch of joint states; every kind answers the same questions. Subclasses are final."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D of the joint space."""

    @property
    @abstractmethod
    def num_trajectories(self) -> int:
        """Length of the trajectory axis (1 for a mixed state)."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Complex dtype."""

    @property
    @abstractmethod
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Log-likelihood of each trajectory's record: value 0, its gradient is the score function."""

    @property
    def num_groups(self) -> int:
        """Number of groups of trajectories that were drawn independently of each other, for `score_surrogate`."""
        return self.num_trajectories

    @abstractmethod
    def probabilities(
        self, vectors: Complex[Tensor, "outcome dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Measurement probabilities ⟨m_j|ρ|m_j⟩ of each trajectory.

        Where trajectories are sampled, the gradient is that at a fixed record; take means over the trajectories
        of `score_surrogate(values, state.log_likelihood, num_groups=state.num_groups)` to make it unbiased.

        Args:
            vectors: Unit rows m_j.

        Returns:
            One probability per trajectory and vector.
        """

    @abstractmethod
    def expectations(
        self, observables: Complex[Tensor, "outcome dim dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Expectation values tr(ρ X_j) of each trajectory.

        Gradients of sampled trajectories: as for `probabilities`, the log-likelihood is the caller's to use.

        Args:
            observables: Hermitian matrices X_j.

        Returns:
            One real value per trajectory and observable.
        """

    @abstractmethod
    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Density matrix, averaged over the trajectories; sampled ones with their score (see `PureEnsemble`)."""


@final
@dataclass(frozen=True, eq=False, init=False)
class PureEnsemble(State):
    """Pure states, one per trajectory; with one trajectory an ordinary pure state.

    Args:
        kets: Unit kets.
        log_likelihood: Log-likelihood of each trajectory's record; zeros if None.
        record: Which jumps fell when, if recorded.
        num_groups: Number of groups of trajectories, of equal size and one behind the other, that were drawn
            independently of each other; every trajectory is one if None.

    Raises:
        ArgumentError: If the shapes or the dtype do not fit.

    Example:
        >>> state = PureEnsemble(torch.tensor([[0.6 + 0j, 0.8j]]))
        >>> state.probabilities(torch.eye(2) + 0j)
        tensor([[0.3600, 0.6400]])
    """

    kets: Complex[Tensor, "*batch trajectory dim"]
    record: JumpRecord | None
    _log_likelihood: Float[Tensor, "*batch trajectory"]
    _num_groups: int

    def __init__(
        self,
        kets: Complex[Tensor, "*batch trajectory dim"],
        log_likelihood: Float[Tensor, "*batch trajectory"] | None = None,
        record: JumpRecord | None = None,
        num_groups: int | None = None,
    ) -> None:
        if not kets.is_complex() or kets.ndim < 2 or kets.shape[-2] < 1 or kets.shape[-1] < 1:
            raise ArgumentError(
                f"Argument `kets` must be complex of shape (…, trajectory, dim), but is {kets.dtype} of "
                f"shape {tuple(kets.shape)}; add a trajectory axis of length 1 to a single ket."
            )
        if log_likelihood is None:
            log_likelihood = torch.zeros(kets.shape[:-1], dtype=kets.real.dtype, device=kets.device)
        if log_likelihood.shape != kets.shape[:-1]:
            raise ArgumentError(
                f"Argument `log_likelihood` must have shape {tuple(kets.shape[:-1])}, but has "
                f"{tuple(log_likelihood.shape)}."
            )
        object.__setattr__(self, "kets", kets)
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "_log_likelihood", log_likelihood)
        num_groups = kets.shape[-2] if num_groups is None else num_groups
        check_groups(num_groups, kets.shape[-2])
        object.__setattr__(self, "_num_groups", num_groups)

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return self.kets.shape[-1]

    @property
    def num_trajectories(self) -> int:
        """Number M of trajectories."""
        return self.kets.shape[-2]

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype."""
        return self.kets.dtype

    @property
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Log-likelihood of each trajectory's record: value 0, its gradient is the score function."""
        return self._log_likelihood

    @property
    def num_groups(self) -> int:
        """Number of groups of trajectories that were drawn independently of each other, for `score_surrogate`."""
        return self._num_groups

    def probabilities(
        self, vectors: Complex[Tensor, "outcome dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Measurement probabilities |⟨m_j|ψ⟩|² of each trajectory; gradients at a fixed record (see `State`).

        Args:
            vectors: Unit rows m_j.

        Returns:
            One probability per trajectory and vector.
        """
        return probabilities(self.kets, vectors)

    def expectations(
        self, observables: Complex[Tensor, "outcome dim dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Expectation values ⟨ψ|X_j|ψ⟩ of each trajectory; gradients at a fixed record (see `State`).

        Args:
            observables: Hermitian matrices X_j.

        Returns:
            One real value per trajectory and observable.
        """
        return expectations(self.kets, observables)

    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Mean of |ψ⟩⟨ψ| over the trajectories, with the score of sampled ones.

        The gradient of whatever is linear in it is unbiased (the log-likelihood is in it: do not add it again);
        that of a curved function, like an entropy, has the bias of order 1/M that its value has. With a single
        sampled trajectory ``backward`` is refused. See `mean_density` in `qinn.quantum.states.estimators`.
        """
        return mean_density(self.kets, self._log_likelihood, self._num_groups)


@final
@dataclass(frozen=True, eq=False)
class MixedState(State):
    """Density matrices; the trajectory axis has length 1.

    Args:
        density_matrix: Hermitian, positive, of unit trace.

    Raises:
        ArgumentError: If the shape or the dtype does not fit.

    Example:
        >>> MixedState(0.5 * torch.eye(2) + 0j).probabilities(torch.eye(2) + 0j)
        tensor([[0.5000, 0.5000]])
    """

    density_matrix: Complex[Tensor, "*batch dim dim"]

    def __post_init__(self) -> None:
        shape = self.density_matrix.shape
        if not self.density_matrix.is_complex() or len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 1:
            raise ArgumentError(
                f"Argument `density_matrix` must be complex of shape (…, dim, dim), but is "
                f"{self.density_matrix.dtype} of shape {tuple(shape)}."
            )

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return self.density_matrix.shape[-1]

    @property
    def num_trajectories(self) -> int:
        """Always 1."""
        return 1

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype."""
        return self.density_matrix.dtype

    @property
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Zeros: nothing is sampled."""
        matrix = self.density_matrix
        return torch.zeros((*matrix.shape[:-2], 1), dtype=matrix.real.dtype, device=matrix.device)

    def probabilities(
        self, vectors: Complex[Tensor, "outcome dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Measurement probabilities ⟨m_j|ρ|m_j⟩.

        Args:
            vectors: Unit rows m_j.

        Returns:
            One probability per vector, with a trajectory axis of length 1.
        """
        return probabilities_of_density(self.density_matrix, vectors)[..., None, :]

    def expectations(
        self, observables: Complex[Tensor, "outcome dim dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Expectation values tr(ρ X_j).

        Args:
            observables: Hermitian matrices X_j.

        Returns:
            One real value per observable, with a trajectory axis of length 1.
        """
        return expectations_of_density(self.density_matrix, observables)[..., None, :]

    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Return the density matrix itself."""
        return self.density_matrix


@final
@dataclass(frozen=True, eq=False)
class HeisenbergState(State):
    """An initial state together with dynamics that are applied to the observables instead.

    `probabilities` evolves the measurement projectors backwards once and contracts them with every initial
    state: exact, without variance, and at a cost that hardly depends on the batch.

    Args:
        initial: State at time 0, of any kind; its trajectory axis is kept.
        lindbladian: The dynamics.
        time: Duration.
        tolerance: Largest error of the evolution; by precision if None.

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> state = HeisenbergState(PureEnsemble(torch.tensor([[0j, 1]])), decay, 0.6931472)
        >>> state.probabilities(torch.eye(2) + 0j).round(decimals=5)
        tensor([[0.5000, 0.5000]])
    """

    initial: State
    lindbladian: Lindbladian
    time: float
    tolerance: float | None = None

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return self.initial.dim

    @property
    def num_trajectories(self) -> int:
        """Length of the initial state's trajectory axis."""
        return self.initial.num_trajectories

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype."""
        return self.initial.dtype

    @property
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Log-likelihood of the initial state (zeros unless it was sampled)."""
        return self.initial.log_likelihood

    @property
    def num_groups(self) -> int:
        """Number of independent groups of the initial state's trajectories."""
        return self.initial.num_groups

    def probabilities(
        self, vectors: Complex[Tensor, "outcome dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Measurement probabilities of the averaged dynamics, clamped at 0 against round-off.

        One row per initial trajectory, whose gradients are those at a fixed record (see `State`).

        Args:
            vectors: Unit rows m_j.

        Returns:
            One probability per initial trajectory and vector.
        """
        return self.expectations(vectors[:, :, None] * vectors[:, None, :].conj()).clamp(min=0)

    def expectations(
        self, observables: Complex[Tensor, "outcome dim dim"]
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Expectation values of observables after the averaged dynamics; gradients as for `probabilities`.

        Args:
            observables: Hermitian matrices.

        Returns:
            One real value per initial trajectory and observable.
        """
        evolved = propagate_observables(self.lindbladian, observables, self.time, self.tolerance)
        return self.initial.expectations(evolved)

    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Density matrix after the evolution, with the score of sampled trajectories; runs the exact channel."""
        return propagate_densities(self.lindbladian, self.initial.density(), self.time, self.tolerance)
