"""The exact average over what becomes of the discarded ancillas: a channel at every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.collisions.limits import LARGEST_PIECE, LARGEST_TABLE, check_store
from qinn.quantum.collisions.meetings import Schedule, schedule_events, schedule_steps
from qinn.quantum.collisions.memories import memory_density
from qinn.quantum.collisions.outputs import CollisionStates
from qinn.quantum.collisions.pieces import kraus_piece, real_piece, relaxed, run_in_pieces
from qinn.quantum.collisions.real_form import hermitian_coordinates
from qinn.quantum.collisions.relaxation import check_relaxed_dim, relaxation_maps
from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian, hermitian_from
from qinn.quantum.states.ensembles import MixedState

# Costs in products of the real form's large matrix product, fitted to times of forward and backward passes (see
# benchmarks/results/collisions.json): what a map's entry takes beyond its product, an entry of σ, a product that makes
# a Kraus operator, one that applies it, and a step of the loop over them.
_PER_MAP_ENTRY, _PER_COORDINATE, _PER_MAKING, _PER_APPLYING, _PER_STEP = 50, 100, 12, 96, 1_600_000


@final
@dataclass(frozen=True)
class ExactCollisions:
    """ρ_t = tr_A[U (ρ_{t−1} ⊗ σ_t) U†] = Σ_j A_j ρ_{t−1} A_j†: every step is a quantum channel, averaged exactly.

    Two implementations of the one channel: by Kraus operators, and in the real form r_t = Σ_k σ_k T_k r_{t−1}, linear
    in the ancilla's density, where a mixed or missing ancilla costs no more than a pure one. What they need beside
    the states is made for a piece of the time that takes at most 2²⁴ numbers (as many again for their gradients); in
    the backward pass it is made again where there are several pieces.

    Args:
        mean: Whether to average the states behind all collisions.
        every: Whether to keep the state behind every step.
        method: ``"kraus"``, ``"real"``, or None for the cheaper one by size.

    Raises:
        ArgumentError: If the method is unknown.

    Source: O; collision models: F. Ciccarello, S. Lorenzo, V. Giovannetti, G. M. Palma, Phys. Rep. 954 (2022) 1.

    Examples:
        >>> from qinn.quantum import Ancillas, Interaction
        >>> swap = torch.eye(4)[[0, 2, 1, 3]]
        >>> swapping = Interaction(torch.pi / 2 * (torch.eye(4) - swap), 2, (2,))
        >>> states = ExactCollisions().evolve([1, 0], swapping, Ancillas([[[0.6, 0.8], [0.8, 0.6]]]))
        >>> states.final.density().diagonal().real.round(decimals=5)
        tensor([0.6400, 0.3600])
        >>> states.mean.density().diagonal().real.round(decimals=5)
        tensor([0.5000, 0.5000])
    """

    mean: bool = True
    every: bool = False
    method: Literal["kraus", "real"] | None = None

    def __post_init__(self) -> None:
        if self.method not in (None, "kraus", "real"):
            raise ArgumentError(
                f"Argument `method` must be `kraus`, `real` or None, but it is `{self.method}`."
            )

    def evolve(self, initial: Any, interaction: Any, ancillas: Any) -> CollisionStates:
        """Let the memory meet one ancilla after the other.

        Args:
            initial: The memory before the first step: a state, or a plain ket (…, D) or density (…, D, D) as in
                `Evolution.evolve`, one for all samples or one for each.
            interaction: What happens when they meet.
            ancillas: What it meets, all modalities' product at every step.

        Returns:
            The memory at the end, and on average and behind every step if asked for.

        Raises:
            ArgumentError: If the arguments do not fit each other.

        Examples:
            >>> from qinn.quantum import Ancillas, Interaction
            >>> still = Interaction(torch.zeros(4, 4), 2, (2,))
            >>> ExactCollisions(mean=False).evolve([0, 1], still, Ancillas([[[1, 0]]])).final.density().real
            tensor([[0., 0.],
                    [0., 1.]])
        """
        return self._run(initial, schedule_steps(interaction, ancillas), None)

    def evolve_events(
        self,
        initial: Any,
        interactions: Sequence[Any],
        streams: Sequence[Any],
        times: Sequence[Any],
        *,
        lindbladian: Any = None,
        start: Any = 0.0,
        until: Any = None,
    ) -> CollisionStates:
        """Let the memory meet the events of several streams, each by its own interaction and at its own time.

        Streams need no alignment: events are taken in the order of time, those of one time in the order of the
        streams. Between them the memory relaxes by e^{𝓛Δt}. `mean` averages over the states behind the events.

        Args:
            initial: The memory at ``start``, as in `evolve`.
            interactions: One per modality, all with the same memory.
            streams: Ancillas of each modality; events that are not valid do not happen.
            times: Time of each event (…, event) of each stream, in any order.
            lindbladian: Free relaxation between the events, D ≤ 16; none if None.
            start: When the memory is as given, one number or one per sample.
            until: When the final state is wanted; behind the last event if None.

        Returns:
            The memory, with the events' order in ``modalities`` and ``events``.

        Raises:
            ArgumentError: If the arguments do not fit each other.

        Examples:
            >>> from qinn.quantum import Ancillas, Interaction
            >>> still = Interaction(torch.zeros(4, 4), 2, (2,))
            >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
            >>> words, sounds = Ancillas([[[1, 0], [1, 0]]]), Ancillas([[[1, 0]]])
            >>> states = ExactCollisions().evolve_events(
            ...     [0, 1], [still, still], [words, sounds], [[0.1, 0.6], [0.4]], lindbladian=decay, until=0.6931472
            ... )
            >>> states.modalities, states.final.density().diagonal().real.round(decimals=5)
            (tensor([0, 1, 0]), tensor([0.5000, 0.5000]))
        """
        schedule = schedule_events(interactions, streams, times, start, until)
        if lindbladian is not None:
            check_relaxed_dim(check_single(lindbladian, (Lindbladian,), "relaxation between events"))
            if (lindbladian.dim, lindbladian.dtype) != (schedule.memory_dim, interactions[0].dtype):
                raise ArgumentError(
                    f"Argument `lindbladian` must act on the memory, of dimension {schedule.memory_dim} and "
                    f"{interactions[0].dtype}, but has dimension {lindbladian.dim} and {lindbladian.dtype}."
                )
        return self._run(initial, schedule, lindbladian)

    def _run(self, initial: Any, schedule: Schedule, lindbladian: Lindbladian | None) -> CollisionStates:
        density = memory_density(initial, schedule)
        is_real = (self.method or _cheaper(schedule)) == "real"
        piece, numbers = (real_piece if is_real else kraus_piece)(schedule, lindbladian)
        num_steps, num_rows = schedule.num_steps, schedule.num_rows
        if self.every:
            check_store(2 * num_steps * num_rows * density.shape[-1] ** 2, "the states behind every step")
        memory = hermitian_coordinates(density).flatten(1) if is_real else density
        total, kept = torch.zeros_like(memory), []

        def see(first: int, states: Tensor) -> None:
            nonlocal total
            if self.mean:
                happens = None if schedule.happens is None else schedule.happens[first : first + len(states)]
                total = total + _sum_of(states, happens)
            if self.every:
                kept.append(states)

        at_once = max(1, LARGEST_PIECE // max(numbers, 1))
        final = run_in_pieces(piece, num_steps, at_once, memory, see)
        mean = None
        if self.mean:
            counts = schedule.counts.reshape(-1, *[1] * (memory.ndim - 1))
            mean = torch.where(counts > 0, total / counts.clamp(min=1), memory)
        if lindbladian is not None and schedule.intervals is not None:
            last = relaxation_maps(lindbladian, schedule.intervals[-1])
            final = (last @ final[..., None])[..., 0] if is_real else relaxed(final, last)

        def state(rows: Tensor, *more: int) -> MixedState:
            shape = (*schedule.batch, *more, *density.shape[-2:])
            return MixedState(
                hermitian_from(rows.reshape(shape)) if is_real else rows.reshape(shape), validate=False
            )

        every = None
        if self.every:
            states = torch.cat(kept) if kept else memory.new_zeros(0, *memory.shape)
            every = state(states.transpose(0, 1), num_steps)
        return CollisionStates(
            state(final),
            None if mean is None else state(mean),
            every,
            modalities=schedule.modalities,
            events=schedule.events,
        )


def _sum_of(states: Tensor, happens: Tensor | None) -> Tensor:
    if happens is None:
        return states.sum(0)
    mask = happens.reshape(*happens.shape, *[1] * (states.ndim - 2))
    return torch.where(mask, states, 0).sum(0)


def _cheaper(schedule: Schedule) -> Literal["kraus", "real"]:
    """The implementation that takes less time, among those that fit into memory."""
    D, real, kraus = schedule.memory_dim, 0, _PER_STEP * schedule.num_steps
    for meeting in schedule.meetings:
        A, events = meeting.interaction.ancilla_dim, meeting.offsets[-1]
        if A**2 * D**4 > LARGEST_TABLE:
            return "kraus"
        operators = A if meeting.are_pure else A * A
        real += events * ((A**2 + _PER_MAP_ENTRY) * D**4 + _PER_COORDINATE * A**2)
        kraus += events * operators * (_PER_MAKING * A * D**2 + _PER_APPLYING * D**3)
    return "real" if real <= kraus else "kraus"
