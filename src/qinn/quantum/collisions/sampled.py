"""Records of what the discarded ancillas were measured to be: one pure memory per trajectory."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, final

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_count, check_seed
from qinn.quantum.collisions.limits import LARGEST_PIECE, check_store
from qinn.quantum.collisions.meetings import Meeting, Schedule, schedule_events, schedule_steps
from qinn.quantum.collisions.memories import memory_state
from qinn.quantum.collisions.outputs import CollisionStates
from qinn.quantum.collisions.pieces import run_in_pieces
from qinn.quantum.evolution.starts import UniformSource, trajectories_of
from qinn.quantum.states.ensembles import PureEnsemble
from qinn.quantum.states.kets import product, squared_norm

_LARGEST_UNIFORM = 1 - 2.0**-40


@final
@dataclass(frozen=True)
class SampledCollisions:
    """Trajectories of pure memories: every discarded ancilla is measured, with outcome j with probability ‖A_jψ‖².

    After outcome j the memory is A_jψ/‖A_jψ‖, A_j = ⟨j|U|χ_t⟩; the mean over records is the exact channel of
    `ExactCollisions`. An absent factor draws a ket from its mixture, each trajectory its own at every step.

    Gradient, as of `QuantumJumps`: kets are differentiated at a fixed record (pathwise), and ``log_likelihood`` has
    value 0 and the gradient ∂ log p(record). Averages (``density()``) carry both and are unbiased; values kept per
    trajectory are passed through `qinn.quantum.score_surrogate` before taking a mean. First derivatives only.

    Args:
        num_trajectories: M per sample. An initial ensemble of one trajectory is replicated; one of M is kept.
        seed: None draws from torch's global generator, independently for every sample and trajectory (training). An
            integer draws, from a private generator, numbers that all samples share, so that a sample's result does
            not depend on its batch or its padding, and every call gives the same (evaluation).
        every: Whether to keep the trajectories behind every step, each with the score of its record so far.
        record: Whether to keep the outcomes.

    Raises:
        ArgumentError: If an option is impossible; from `evolve` also for a mixed initial state, an ensemble of another
            size, or ancillas given as densities.

    Source: O; measured ancillas: S. Gammelmark, K. Mølmer, Phys. Rev. A 81 (2010) 032120.

    Examples:
        >>> from qinn.quantum import Ancillas, Interaction
        >>> swap = torch.eye(4)[[0, 2, 1, 3]]
        >>> swapping = Interaction(torch.pi / 2 * (torch.eye(4) - swap), 2, (2,))
        >>> sampled = SampledCollisions(4, seed=0, record=True)
        >>> sampled.evolve([0, 1], swapping, Ancillas([[[1, 0], [1, 0]]])).outcomes
        tensor([[1, 0],
                [1, 0],
                [1, 0],
                [1, 0]])
    """

    num_trajectories: int
    seed: int | None = None
    every: bool = False
    record: bool = False

    def __post_init__(self) -> None:
        check_count("num_trajectories", self.num_trajectories)
        check_seed(self.seed)

    def evolve(self, initial: Any, interaction: Any, ancillas: Any) -> CollisionStates:
        """Let every trajectory meet one ancilla after the other.

        Args:
            initial: The memory before the first step, as for `ExactCollisions.evolve`; of a mixed one every record
                draws an eigenvector.
            interaction: What happens when they meet.
            ancillas: What it meets.

        Returns:
            The trajectories at the end, and behind every step and their outcomes if asked for.

        Raises:
            ArgumentError: If the arguments do not fit each other.

        Examples:
            >>> from qinn.quantum import Ancillas, Interaction
            >>> still = Interaction(torch.zeros(4, 4), 2, (2,))
            >>> SampledCollisions(2, seed=0).evolve([0, 1], still, Ancillas([[[1, 0]]])).final.kets
            tensor([[0.+0.j, 1.+0.j],
                    [0.+0.j, 1.+0.j]])
        """
        return self._run(initial, schedule_steps(interaction, ancillas))

    def evolve_events(
        self,
        initial: Any,
        interactions: Sequence[Any],
        streams: Sequence[Any],
        times: Sequence[Any],
    ) -> CollisionStates:
        """Let every trajectory meet the events of several streams, each at its own time, without relaxation.

        Args:
            initial: The memory before the first event, likewise.
            interactions: One per modality, all with the same memory.
            streams: Ancillas of each modality.
            times: Time of each event (…, event) of each stream: only their order matters here.

        Returns:
            The trajectories, with the events' order.

        Raises:
            ArgumentError: If the arguments do not fit each other.

        Examples:
            >>> from qinn.quantum import Ancillas, Interaction
            >>> still = Interaction(torch.zeros(4, 4), 2, (2,))
            >>> words, sounds = Ancillas([[[1, 0], [1, 0]]]), Ancillas([[[0, 1]]])
            >>> sampled = SampledCollisions(1, seed=0, record=True)
            >>> sampled.evolve_events([0, 1], [still, still], [words, sounds], [[0.1, 0.6], [0.4]]).outcomes
            tensor([[0, 1, 0]])
        """
        return self._run(initial, schedule_events(interactions, streams, times, None, None))

    def _run(self, initial: Any, schedule: Schedule) -> CollisionStates:
        if any(meeting.are_mixed for meeting in schedule.meetings):
            raise ArgumentError(
                "Argument `ancillas` must be kets to be measured along a record, but they are densities; use "
                "`ExactCollisions`, or mixtures of absent factors, from which kets are drawn."
            )
        state = memory_state(initial, schedule)
        number, num_rows, num_steps = self.num_trajectories, schedule.num_rows, schedule.num_steps
        joint = max(each.interaction.memory_dim * each.interaction.ancilla_dim for each in schedule.meetings)
        # Per step: the joint kets before and after, the outcomes' weights and the uniform numbers.
        numbers = num_rows * number * (6 * joint + 4)
        check_store(numbers, "one step of all trajectories")
        kept_numbers = 2 * schedule.memory_dim * self.every + self.record
        check_store(num_steps * num_rows * number * kept_numbers, "what is kept of every step")
        ensemble = trajectories_of(state, number, self.seed)
        kets = ensemble.kets.reshape(-1, ensemble.dim)
        uniforms = UniformSource(number, self.seed, stage=ensemble.num_draws)
        walk = _Walk(schedule, number, uniforms, self.record)
        kept: list[Tensor] = []

        def see(first: int, states: Tensor) -> None:
            if not torch.is_grad_enabled():
                walk.drawn.clear()
            if self.every:
                kept.append(states)

        last = run_in_pieces(walk.piece, num_steps, max(1, LARGEST_PIECE // max(numbers, 1)), kets, see)
        draws = int(num_steps > 0 and kets.numel() > 0)

        def moved(rows: Tensor, *more: int) -> PureEnsemble:
            # Kets were divided by detached norms all along: the value of the score is 0, its gradient that of log p.
            norms = squared_norm(rows)
            shape, score = (*schedule.batch, *more, number), norms.log()
            history = ensemble.log_likelihood.reshape(*schedule.batch, *[1] * len(more), number)
            return PureEnsemble(
                (rows * norms.rsqrt()[..., None]).reshape(*shape, ensemble.dim),
                history + (score - score.detach()).reshape(shape),
                num_groups=gcd(ensemble.num_groups, number),
                num_draws=ensemble.num_draws + draws,
                validate=False,
            )

        every = None
        if self.every:
            states = torch.cat(kept) if kept else kets.new_zeros(0, *kets.shape)
            states = states.reshape(num_steps, num_rows, number, ensemble.dim).transpose(0, 1)
            every = moved(states, num_steps)
        return CollisionStates(
            moved(last),
            None,
            every,
            walk.outcomes(num_steps) if self.record else None,
            schedule.modalities,
            schedule.events,
        )


class _Walk:
    """Trajectories along a schedule; a piece that is run again in the backward pass finds its numbers again."""

    def __init__(
        self, schedule: Schedule, num_trajectories: int, source: UniformSource, record: bool
    ) -> None:
        self.schedule, self.number, self.source, self.record = schedule, num_trajectories, source, record
        self.unitaries = [meeting.interaction.unitary for meeting in schedule.meetings]
        self.width = 1 + max(len(meeting.factors) for meeting in schedule.meetings)
        self.drawn: dict[int, Tensor] = {}
        self.found: dict[int, Tensor] = {}

    def piece(self, start: int, stop: int, kets: Tensor) -> Tensor:
        states = []
        for step in range(start, stop):
            if step not in self.drawn:
                rows = torch.arange(len(kets), device=kets.device)
                self.drawn[step] = self.source.draw(rows, self.width)
            uniforms = self.drawn[step].reshape(-1, self.number, self.width)
            outcomes = torch.full(uniforms.shape[:2], -1, device=kets.device)
            for meeting, unitary in zip(self.schedule.meetings, self.unitaries, strict=True):
                first, last = meeting.offsets[step], meeting.offsets[step + 1]
                if first == last:
                    continue
                rows = meeting.rows[first:last]
                grouped = kets.reshape(-1, self.number, kets.shape[-1])
                here = grouped if last - first == len(grouped) else grouped.index_select(0, rows)
                ancillas, chances = _drawn_kets(meeting, first, last, uniforms[rows, :, 1:])
                moved, chosen = _collide(here, ancillas, unitary, uniforms[rows, :, 0])
                if chances is not None:
                    moved = moved * chances[..., None]
                whole = len(moved) == len(grouped)
                kets = (moved if whole else grouped.index_copy(0, rows, moved)).reshape(kets.shape)
                outcomes[rows] = chosen
            if self.record:
                self.found[step] = outcomes
            states.append(kets)
        return torch.stack(states)

    def outcomes(self, num_steps: int) -> Tensor:
        """All outcomes (*batch, trajectory, step)."""
        shape = (*self.schedule.batch, self.number, num_steps)
        found = [self.found[step] for step in range(num_steps)]
        return (torch.stack(found, -1) if found else self.schedule.counts.new_zeros(0)).reshape(shape)


def _drawn_kets(meeting: Meeting, first: int, last: int, uniforms: Tensor) -> tuple[Tensor, Tensor | None]:
    """Ancilla of each event and trajectory, and the root of the chance with which it was drawn over its value."""
    if meeting.present is None:
        return meeting.kets(first, last)[:, None], None
    parts, chances = [], None
    for index, (factor, mixture) in enumerate(zip(meeting.factors, meeting.mixtures, strict=True)):
        there = meeting.present[first:last, index, None]
        members = mixture.members(uniforms[..., index])
        weights = mixture.weights[members]
        share = torch.where(there, torch.ones_like(weights), weights / weights.detach())
        chances = share if chances is None else chances * share
        parts.append(torch.where(there[..., None], factor[first:last, None], mixture.kets[members]))
    return product(parts), None if chances is None else chances.sqrt()


def _collide(kets: Tensor, ancillas: Tensor, unitary: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Choose an outcome for each trajectory by ‖A_jψ‖² and apply it; the result is divided by its detached norm."""
    dim, joint = kets.shape[-1], len(unitary)
    before = (kets[..., :, None] * ancillas[..., None, :]).flatten(-2)
    after = (before @ unitary.mT).reshape(*kets.shape[:-1], dim, joint // dim)
    cumulative = squared_norm(after.detach().mT).double().cumsum(-1)
    # Below the sum, so that no outcome of weight 0 is ever chosen.
    numbers = uniforms.clamp(max=_LARGEST_UNIFORM) * cumulative[..., -1]
    outcomes = (cumulative <= numbers[..., None]).sum(-1).clamp(max=joint // dim - 1)
    places = outcomes[..., None, None].expand(*kets.shape, 1)
    chosen = after.gather(-1, places)[..., 0]
    return chosen * squared_norm(chosen.detach()).rsqrt()[..., None], outcomes
