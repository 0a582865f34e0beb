"""Joint states before and after an evolution: a pure ensemble, a mixed state, or a Heisenberg pair.

Products that lack some factors have a module of their own, `products`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import (
    are_hermitian,
    as_complex,
    as_matrices,
    as_rows,
    as_time,
    check_densities,
    check_kets,
    check_square,
    check_tolerance,
)
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.interface import Generator, check_duration, check_kind, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.states.estimators import check_groups, mean_density
from qinn.quantum.states.evolved import evolved_densities, evolved_observables, evolved_projectors
from qinn.quantum.states.measurement import (
    probabilities_of_kets,
    probabilities_of_matrices,
    values_of_kets,
    values_of_matrices,
)


@final
@dataclass(frozen=True, eq=False)
class JumpRecord:
    """Which jump fell when, per trajectory; ragged, padded behind the last jump.

    Attributes:
        channels: Index k of each jump operator; −1 behind the last jump.
        times: Time of each jump since the start of the evolution; NaN behind the last jump.

    Examples:
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

    @staticmethod
    def joined(records: Sequence["JumpRecord"], starts: Sequence[float]) -> "JumpRecord":
        """Return the record of evolutions that followed each other.

        Args:
            records: Of each evolution, with the same batch and trajectories.
            starts: When each began, by which its times are shifted.

        Returns:
            All jumps in their order.

        Raises:
            ArgumentError: If there is none, or they are of different numbers of trajectories.

        Examples:
            >>> first = JumpRecord(torch.tensor([[0], [-1]]), torch.tensor([[0.5], [float("nan")]]))
            >>> second = JumpRecord(torch.tensor([[1], [0]]), torch.tensor([[0.1], [0.2]]))
            >>> JumpRecord.joined([first, second], [0.0, 1.0]).times
            tensor([[0.5000, 1.1000],
                    [1.2000,    nan]])
        """
        if len(records) == 0 or len(records) != len(starts):
            raise ArgumentError(
                f"Arguments `records` and `starts` must be equally many, at least one, but are {len(records)} and "
                f"{len(starts)}."
            )
        shapes = sorted({tuple(record.channels.shape[:-1]) for record in records})
        if len(shapes) > 1:
            raise ArgumentError(
                f"Argument `records` must be of the same trajectories, but has the shapes {shapes}."
            )
        channels = torch.cat([record.channels for record in records], -1)
        times = torch.cat([record.times + start for record, start in zip(records, starts, strict=True)], -1)
        # What is real comes first, in its order.
        order = (channels < 0).to(torch.uint8).argsort(dim=-1, stable=True)
        width = int((channels >= 0).sum(-1).max()) if channels.numel() else 0
        return JumpRecord(channels.gather(-1, order)[..., :width], times.gather(-1, order)[..., :width])


class State(ABC):
    """A batch of joint states; every kind answers the same questions. Subclasses are final."""

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return self._numbers.shape[-1]

    @property
    def num_trajectories(self) -> int:
        """Length of the trajectory axis (1 for a mixed state)."""
        return 1

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype."""
        return self._numbers.dtype

    @property
    @abstractmethod
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Log-likelihood of each trajectory's record: value 0, its gradient is the score function."""

    @property
    def batch(self) -> torch.Size:
        """Leading axes of the states."""
        return self.log_likelihood.shape[:-1]

    def for_systems(self, systems: torch.Size) -> "State":
        """Return the same states with as many leading axes as many systems ask for, by broadcasting.

        Args:
            systems: Leading axes of the systems.

        Raises:
            ArgumentError: If they do not fit those of the states.
        """
        batch = Alignment.of(systems, self.batch, "initial").batch
        return self if batch == self.batch else self._expanded(batch)

    def _expanded(self, batch: torch.Size) -> "State":
        raise ArgumentError(
            f"Argument `initial` must have the leading axes {tuple(batch)} of the systems, to which a "
            f"`{type(self).__name__}` cannot be broadcast, but has {tuple(self.batch)}; pass its `density()`."
        )

    @property
    def num_groups(self) -> int:
        """Number of groups of trajectories that were drawn independently of each other, for `score_surrogate`."""
        return self.num_trajectories

    def probabilities(
        self, vectors: Any, *, validate: bool = True
    ) -> Float[Tensor, "*batch trajectory outcome"]:
        """Measurement probabilities ⟨m_j|ρ|m_j⟩ of each trajectory.

        Where trajectories are sampled, the gradient is that at a fixed record; take means over the trajectories
        of `score_surrogate(values, state.log_likelihood, num_groups=state.num_groups)` to make it unbiased.

        Args:
            vectors: Unit rows m_j (outcome, D), as a tensor, an array or lists.
            validate: Pass False to skip the check of their norms where they are 1 by construction.

        Returns:
            One probability per trajectory and vector; a trajectory axis of length 1 where nothing is sampled.

        Raises:
            ArgumentError: If the vectors do not fit the state, or are not of unit norm.
        """
        rows = as_rows("vectors", vectors, self.dim, self._numbers, "state")
        if validate:
            check_kets("vectors", rows)
        return self._probabilities(rows)

    def expectations(
        self, observables: Any, *, hermitian: bool | None = None
    ) -> Shaped[Tensor, "*batch trajectory outcome"]:
        """Expectation values tr(ρ X_j) of each trajectory: real if all X_j are Hermitian, complex otherwise.

        Gradients of sampled trajectories: as for `probabilities`, the log-likelihood is the caller's to use.

        Args:
            observables: Matrices X_j (outcome, D, D), as a tensor, an array or lists.
            hermitian: Whether the values are real. None looks at the observables: they are, if every one equals its
                adjoint up to round-off (100 ε times its largest entry). True takes the real part without a look;
                False gives complex values in any case, whose dtype then does not depend on numbers.

        Returns:
            One value per trajectory and observable; a trajectory axis of length 1 where nothing is sampled.

        Raises:
            ArgumentError: If the observables do not fit the state, or (unless ``hermitian`` is given) are not finite.
        """
        matrices = as_matrices("observables", observables, self.dim, self._numbers, "state", ndim=3)
        real = are_hermitian("observables", matrices) if hermitian is None else hermitian
        return self._expectations(matrices, real)

    @property
    @abstractmethod
    def _numbers(self) -> Tensor:
        """A tensor of the state's dtype and device, whose last axis is the joint space unless `dim` says otherwise."""

    @abstractmethod
    def _probabilities(self, vectors: Tensor) -> Tensor:
        """`probabilities` along checked vectors."""

    @abstractmethod
    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        """`expectations` of checked observables, real or complex."""

    @abstractmethod
    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Density matrix, averaged over the trajectories; sampled ones with their score (see `PureEnsemble`)."""


@final
@dataclass(frozen=True, eq=False, init=False)
class PureEnsemble(State):
    """Pure states, one per trajectory; with one trajectory an ordinary pure state.

    Args:
        kets: Unit kets (…, trajectory, D), as a tensor, an array or lists.
        log_likelihood: Log-likelihood of each trajectory's record; zeros if None.
        record: Which jumps fell when, if recorded.
        num_groups: Number of groups of trajectories, of equal size and one behind the other, that were drawn
            independently of each other; every trajectory is one if None.
        num_draws: How many sampled evolutions the trajectories went through: a further one with the same seed draws
            other numbers.
        validate: Pass False to skip the check of the norms where they are 1 by construction.

    Raises:
        ArgumentError: If the shapes or the precision do not fit, or a ket is not of unit norm (to 1e-4 in single and
            1e-6 in double precision), or is a column.

    Examples:
        >>> state = PureEnsemble([[0.6, 0.8j]])
        >>> state.probabilities(torch.eye(2))
        tensor([[0.3600, 0.6400]])
    """

    kets: Complex[Tensor, "*batch trajectory dim"]
    record: JumpRecord | None
    num_draws: int
    _log_likelihood: Float[Tensor, "*batch trajectory"]
    _num_groups: int

    def __init__(
        self,
        kets: Any,
        log_likelihood: Float[Tensor, "..."] | None = None,
        record: JumpRecord | None = None,
        num_groups: int | None = None,
        *,
        num_draws: int = 0,
        validate: bool = True,
    ) -> None:
        kets = as_complex("kets", kets)
        if kets.ndim < 2 or kets.shape[-2] < 1 or kets.shape[-1] < 1:
            raise ArgumentError(
                f"Argument `kets` must have the shape (…, trajectory, dim), but has {tuple(kets.shape)}; add a "
                "trajectory axis of length 1 to a single ket, or pass the ket itself to `evolve`."
            )
        if log_likelihood is None:
            log_likelihood = torch.zeros(kets.shape[:-1], dtype=kets.real.dtype, device=kets.device)
        if log_likelihood.shape != kets.shape[:-1]:
            raise ArgumentError(
                f"Argument `log_likelihood` must have shape {tuple(kets.shape[:-1])}, but has "
                f"{tuple(log_likelihood.shape)}."
            )
        if validate:
            # A column has entries below 1, so that as one trajectory per entry it never passes.
            columns = kets.shape[-1] == 1 < kets.shape[-2]
            remedy = (
                "these are columns: pass `kets.mT`, with a ket in each row" if columns else "use `normalize`"
            )
            check_kets("kets", kets, remedy=remedy)
        object.__setattr__(self, "kets", kets)
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "num_draws", num_draws)
        object.__setattr__(self, "_log_likelihood", log_likelihood)
        groups = kets.shape[-2] if num_groups is None else num_groups
        check_groups(groups, kets.shape[-2])
        object.__setattr__(self, "_num_groups", groups)

    def moved(
        self,
        kets: Complex[Tensor, "*batch trajectory dim"],
        *,
        score: Float[Tensor, "*batch trajectory"] | None = None,
        record: JumpRecord | None = None,
        num_groups: int | None = None,
        draws: int = 0,
    ) -> "PureEnsemble":
        """Return what an evolution has made of the trajectories, with their history.

        Args:
            kets: The unit kets at its end.
            score: What it adds to each log-likelihood; nothing if None.
            record: Which jumps fell in it, if recorded.
            num_groups: Number of independent groups now; as before if None.
            draws: 1 if it drew random numbers, else 0.

        Returns:
            The ensemble, whose kets are not checked again.
        """
        return PureEnsemble(
            kets,
            self.log_likelihood if score is None else self.log_likelihood + score,
            record,
            self.num_groups if num_groups is None else num_groups,
            num_draws=self.num_draws + draws,
            validate=False,
        )

    def along(
        self,
        kets: Complex[Tensor, "time *batch trajectory dim"],
        *,
        score: Float[Tensor, "time *batch trajectory"] | None = None,
        num_groups: int | None = None,
        draws: int = 0,
    ) -> "PureEnsemble":
        """Return what an evolution has made of the trajectories at many times; arguments as of `moved`, times first."""
        history = self.log_likelihood.expand(kets.shape[:-1])
        return PureEnsemble(
            kets,
            history if score is None else history + score,
            num_groups=self.num_groups if num_groups is None else num_groups,
            num_draws=self.num_draws + draws,
            validate=False,
        )

    def _expanded(self, batch: torch.Size) -> "PureEnsemble":
        record = self.record
        if record is not None:
            shape = (*batch, *record.channels.shape[-2:])
            record = JumpRecord(record.channels.expand(shape), record.times.expand(shape))
        return PureEnsemble(
            self.kets.expand(*batch, *self.kets.shape[-2:]),
            self.log_likelihood.expand(*batch, -1),
            record,
            self.num_groups,
            num_draws=self.num_draws,
            validate=False,
        )

    @property
    def num_trajectories(self) -> int:
        """Number M of trajectories."""
        return self.kets.shape[-2]

    @property
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Log-likelihood of each trajectory's record: value 0, its gradient is the score function."""
        return self._log_likelihood

    @property
    def num_groups(self) -> int:
        """Number of groups of trajectories that were drawn independently of each other, for `score_surrogate`."""
        return self._num_groups

    @property
    def _numbers(self) -> Tensor:
        return self.kets

    def _probabilities(self, vectors: Tensor) -> Tensor:
        return probabilities_of_kets(self.kets, vectors)

    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        return values_of_kets(self.kets, observables, hermitian)

    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Mean of |ψ⟩⟨ψ| over the trajectories, with the score of sampled ones.

        The gradient of whatever is linear in it is unbiased (the log-likelihood is in it: do not add it again);
        that of a curved function, like an entropy, has the bias of order 1/M that its value has. With a single
        sampled trajectory ``backward`` is refused. See `mean_density` in `qinn.quantum.states.estimators`.
        """
        return mean_density(self.kets, self._log_likelihood, self._num_groups)


@final
@dataclass(frozen=True, eq=False, init=False)
class MixedState(State):
    """Density matrices; the trajectory axis has length 1.

    Args:
        density_matrix: Hermitian, positive, of unit trace (…, D, D), as a tensor, an array or lists.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Raises:
        ArgumentError: If the shape or the precision does not fit, or a matrix is not Hermitian, positive and of trace 1
            (to 1e-4 in single and 1e-6 in double precision).

    Examples:
        >>> MixedState([[0.5, 0], [0, 0.5]]).probabilities(torch.eye(2))
        tensor([[0.5000, 0.5000]])
    """

    density_matrix: Complex[Tensor, "*batch dim dim"]

    def __init__(self, density_matrix: Any, *, validate: bool = True) -> None:
        matrix = as_complex("density_matrix", density_matrix)
        check_square("density_matrix", matrix)
        if validate:
            check_densities("density_matrix", matrix)
        object.__setattr__(self, "density_matrix", matrix)

    @property
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Zeros: nothing is sampled."""
        matrix = self.density_matrix
        return torch.zeros((*matrix.shape[:-2], 1), dtype=matrix.real.dtype, device=matrix.device)

    def _expanded(self, batch: torch.Size) -> "MixedState":
        return MixedState(self.density_matrix.expand(*batch, -1, -1), validate=False)

    @property
    def _numbers(self) -> Tensor:
        return self.density_matrix

    def _probabilities(self, vectors: Tensor) -> Tensor:
        return probabilities_of_matrices(self.density_matrix, vectors)[..., None, :]

    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        return values_of_matrices(self.density_matrix, observables, hermitian)[..., None, :]

    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Return the density matrix itself."""
        return self.density_matrix


class HeisenbergPicture(State):
    """A state at time 0 whose observables evolve in its place: what it shares with that state."""

    initial: State

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return self.initial.dim

    @property
    def num_trajectories(self) -> int:
        """Length of the initial state's trajectory axis."""
        return self.initial.num_trajectories

    @property
    def num_groups(self) -> int:
        """Number of independent groups of the initial state's trajectories."""
        return self.initial.num_groups

    @property
    def _numbers(self) -> Tensor:
        return self.initial._numbers


@final
@dataclass(frozen=True, eq=False)
class HeisenbergState(HeisenbergPicture):
    """An initial state together with dynamics that are applied to the observables instead.

    `probabilities` evolves the measurement projectors backwards once and contracts them with every initial
    state: exact, without variance, and at a cost that hardly depends on the batch.

    Args:
        initial: State at time 0, of any kind; its trajectory axis is kept.
        lindbladian: The dynamics; those of many systems are broadcast against the states. Driven ones with
            amplitudes for each sample evolve the observables for each.
        time: Duration T ≥ 0, or many, as for `Evolution.evolve`; one for driven dynamics.
        tolerance: Largest error of the evolution; by precision if None.

    Raises:
        ArgumentError: If the dynamics do not fit the state, or the time or the tolerance is impossible.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> state = HeisenbergState(PureEnsemble([[0, 1]]), decay, 0.6931472)
        >>> state.probabilities(torch.eye(2)).round(decimals=5)
        tensor([[0.5000, 0.5000]])
    """

    initial: State
    lindbladian: Lindbladian | DrivenLindbladian
    time: float | Tensor
    tolerance: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", as_time(self.time))
        check_tolerance(self.tolerance)
        if not isinstance(self.initial, State):
            raise ArgumentError(
                f"Argument `initial` must be a state, but it is a `{type(self.initial).__name__}`; make one by "
                "`PureEnsemble` or `MixedState`, or pass it to `Heisenberg().evolve`."
            )
        check_kind(self.lindbladian, (Lindbladian, DrivenLindbladian), "`HeisenbergState`")
        check_fit(self.initial, self.lindbladian)
        check_duration(self.lindbladian, self.time)
        if isinstance(self.time, Tensor) and self.time.ndim > 0:
            if not isinstance(self.lindbladian, Lindbladian):
                raise ArgumentError(
                    "Argument `time` must be one duration for driven dynamics in the Heisenberg picture, but has the "
                    f"shape {tuple(self.time.shape)}; loop over the systems, or use `ExactChannel`."
                )
            dynamics, duration = with_fixed_time(self.lindbladian, self.time)
            object.__setattr__(self, "lindbladian", dynamics)
            object.__setattr__(self, "time", duration)
        if self.lindbladian.batch:
            object.__setattr__(self, "initial", self.initial.for_systems(self.lindbladian.batch))

    @property
    def log_likelihood(self) -> Float[Tensor, "*batch trajectory"]:
        """Log-likelihood of the initial state (zeros unless it was sampled)."""
        return self.initial.log_likelihood

    def _probabilities(self, vectors: Tensor) -> Tensor:
        evolved = evolved_projectors(self.lindbladian, vectors, self.batch, self.time, self.tolerance)
        # Clamped at 0 against round-off.
        return self.initial._expectations(evolved, True).clamp(min=0)

    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        evolved = evolved_observables(self.lindbladian, observables, self.batch, self.time, self.tolerance)
        return self.initial._expectations(evolved, hermitian)

    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Density matrix after the evolution, with the score of sampled trajectories; runs the exact channel."""
        return evolved_densities(self.lindbladian, self.initial.density(), self.time, self.tolerance)


def check_fit(initial: State, lindbladian: Generator) -> None:
    """Refuse dynamics of another dimension, precision or device than the state's.

    Args:
        initial: The state.
        lindbladian: The dynamics, of any kind.

    Raises:
        ArgumentError: If they do not fit.

    Examples:
        >>> check_fit(PureEnsemble([[1, 0]]), Lindbladian(torch.eye(2)))
    """
    if initial.dim != lindbladian.dim:
        column = initial.dim == 1 and initial.num_trajectories == lindbladian.dim
        remedy = "; kets are rows here: pass `kets.mT` to the ensemble" if column else ""
        raise ArgumentError(
            f"Argument `lindbladian` must act on dimension {initial.dim} of the state, but acts on "
            f"{lindbladian.dim}{remedy}."
        )
    if initial.dtype != lindbladian.dtype:
        raise ArgumentError(
            f"Arguments `initial` and `lindbladian` must have one dtype, but have {initial.dtype} and "
            f"{lindbladian.dtype}; convert with `lindbladian.to(...)`."
        )
    if initial._numbers.device != lindbladian.device:
        raise ArgumentError(
            f"Arguments `initial` and `lindbladian` must be on one device, but are on {initial._numbers.device} and "
            f"{lindbladian.device}; move the dynamics with `lindbladian.to(...)`."
        )
