"""Who meets the memory when: the events of each interaction, in the order of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, as_real, check_same_kind
from qinn.quantum.collisions.ancillas import Ancillas, joint_density
from qinn.quantum.collisions.interaction import Interaction
from qinn.quantum.collisions.limits import check_store
from qinn.quantum.collisions.real_form import hermitian_coordinates, ket_coordinates
from qinn.quantum.states.kets import product
from qinn.quantum.states.mixtures import Mixture


@dataclass(frozen=True, eq=False)
class Meeting:
    """The events of one interaction, sorted by step and, within a step, by row of the batch.

    Attributes:
        interaction: The interaction.
        factors: States of each factor of the ancilla, one row per event.
        present: Which factors each event has; None if all.
        mixtures: What stands for an absent factor.
        are_mixed: Whether the states are densities.
        rows: Row of the batch that each event belongs to.
        steps: Step of each event.
        offsets: How many events lie before each step, and in all.
        is_complete: Whether every row has an event in every step.
    """

    interaction: Interaction
    factors: tuple[Tensor, ...]
    present: Tensor | None
    mixtures: tuple[Mixture, ...]
    are_mixed: bool
    rows: Tensor
    steps: Tensor
    offsets: list[int]
    is_complete: bool

    @property
    def are_pure(self) -> bool:
        """Whether every ancilla is a ket."""
        return not self.are_mixed and self.present is None

    def kets(self, start: int, stop: int) -> Tensor:
        """Joint kets of some events, where all are pure."""
        return product([factor[start:stop] for factor in self.factors])

    def densities(self, start: int, stop: int) -> Tensor:
        """Joint densities of some events."""
        factors = [factor[start:stop] for factor in self.factors]
        present = None if self.present is None else self.present[start:stop]
        return joint_density(factors, present, self.mixtures, self.are_mixed)

    def coordinates(self, start: int, stop: int) -> Tensor:
        """Real coordinates of the joint densities of some events, (event, D_a²)."""
        if self.are_pure:
            return ket_coordinates(self.kets(start, stop)).flatten(1)
        return hermitian_coordinates(self.densities(start, stop)).flatten(1)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The events of all interactions along a common axis of steps.

    Attributes:
        meetings: One per interaction.
        batch: Shape of the batch.
        num_steps: Number of steps.
        counts: Number of events of each row.
        happens: Whether each row has an event in each step (step, row).
        intervals: Time before each step, and behind the last one (step + 1, row); None without times.
        modalities: Which interaction's event each step is (*batch, step), −1 for none; None for a single stream.
        events: Which event of its stream it is; None for a single stream.
    """

    meetings: tuple[Meeting, ...]
    batch: torch.Size
    num_steps: int
    counts: Tensor
    happens: Tensor | None
    intervals: Tensor | None = None
    modalities: Tensor | None = None
    events: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """Number of samples."""
        return self.batch.numel()

    @property
    def memory_dim(self) -> int:
        """Dimension D of the memory."""
        return self.meetings[0].interaction.memory_dim


def check_interaction(interaction: Any, ancillas: Any) -> None:
    """Refuse ancillas that an interaction does not fit.

    Args:
        interaction: The interaction.
        ancillas: The stream.

    Raises:
        ArgumentError: If kinds, dimensions, precision or device do not fit, or there are absurdly many.
    """
    if not isinstance(interaction, Interaction):
        raise ArgumentError(
            f"Argument `interaction` must be an `Interaction`, but it is a `{type(interaction).__name__}`; call a "
            "learnable one: `module()` gives the interaction of the present parameters."
        )
    if not isinstance(ancillas, Ancillas):
        raise ArgumentError(
            f"Argument `ancillas` must be `Ancillas`, but it is a `{type(ancillas).__name__}`; make them by "
            "`Ancillas([kets])`, with the kets (…, time, dim) of each factor."
        )
    if ancillas.dims != interaction.ancilla_dims:
        raise ArgumentError(
            f"Argument `ancillas` must have factors of the dimensions {interaction.ancilla_dims} of the interaction, "
            f"but has {ancillas.dims}."
        )
    check_same_kind("ancillas", ancillas.factors[0], "interaction", interaction.coupling)
    rows, dim = ancillas.batch.numel(), interaction.memory_dim
    check_store(2 * rows * (ancillas.num_steps * sum(ancillas.dims) + dim**2), "the stream with its memories")


def _flat(tensor: Tensor, batch: torch.Size, num_steps: int) -> Tensor:
    """(…, time, *rest) → (time·row, *rest), time first."""
    rest = tensor.shape[len(batch) + 1 :]
    return tensor.reshape(batch.numel(), num_steps, *rest).transpose(0, 1).reshape(-1, *rest)


def _meeting(
    interaction: Interaction, ancillas: Ancillas, sources: Tensor | None, steps: Tensor, num_steps: int
) -> Meeting:
    """Bring the events into the order of ``sources``, indices into (time, row); None for all, as they are."""
    batch, num_rows = ancillas.batch, ancillas.batch.numel()

    def ordered(tensor: Tensor) -> Tensor:
        flat = _flat(tensor, batch, ancillas.num_steps)
        return flat if sources is None else flat.index_select(0, sources)

    if sources is None:
        sources = torch.arange(num_rows * num_steps, device=steps.device)
        numbers = [num_rows] * num_steps
    else:
        numbers = torch.bincount(steps, minlength=num_steps).tolist() if num_steps else []
    return Meeting(
        interaction,
        tuple(ordered(factor) for factor in ancillas.factors),
        None if ancillas.present is None else ordered(ancillas.present),
        ancillas.mixtures,
        ancillas.are_mixed,
        sources % max(num_rows, 1),
        steps,
        [0, *accumulate(numbers)],
        all(number == num_rows for number in numbers),
    )


def schedule_steps(interaction: Any, ancillas: Any) -> Schedule:
    """Return the schedule of a single stream: one step after the other.

    Args:
        interaction: The interaction.
        ancillas: The stream.

    Raises:
        ArgumentError: If they do not fit each other.
    """
    check_interaction(interaction, ancillas)
    batch, num_steps, num_rows = ancillas.batch, ancillas.num_steps, ancillas.batch.numel()
    device = ancillas.device
    if ancillas.valid is None:
        steps = torch.arange(num_steps, device=device).repeat_interleave(num_rows)
        meeting = _meeting(interaction, ancillas, None, steps, num_steps)
        return Schedule((meeting,), batch, num_steps, torch.full((num_rows,), num_steps, device=device), None)
    happens = _flat(ancillas.valid, batch, num_steps).reshape(num_steps, num_rows)
    sources = happens.flatten().nonzero()[:, 0]
    meeting = _meeting(interaction, ancillas, sources, sources // max(num_rows, 1), num_steps)
    return Schedule((meeting,), batch, num_steps, happens.sum(0), happens)


def schedule_events(
    interactions: Sequence[Any],
    streams: Sequence[Any],
    times: Sequence[Any],
    start: Any,
    until: Any,
) -> Schedule:
    """Return the schedule of several streams, merged by the times of their events.

    Args:
        interactions: One interaction per stream, all with the same memory.
        streams: The ancillas of each.
        times: Time of each event (…, event) of each stream; those of events that are not valid may be anything.
        start: Time at which the initial state is given, one number or one per sample; that of the first event if None.
        until: Time of the final state; that of the last event if None.

    Returns:
        The schedule, with as many steps as the sample with the most events has; events of one time keep the order of
        the streams.

    Raises:
        ArgumentError: If they do not fit each other, a time is not finite, or lies before the start or behind the end.
    """
    if not (len(interactions) == len(streams) == len(times) >= 1):
        raise ArgumentError(
            "Arguments `interactions`, `streams` and `times` must hold one entry per modality, but hold "
            f"{len(interactions)}, {len(streams)} and {len(times)}."
        )
    for interaction, ancillas in zip(interactions, streams, strict=True):
        check_interaction(interaction, ancillas)
    shared = {(each.memory_dim, each.dtype, each.device) for each in interactions}
    if len(shared) > 1:
        raise ArgumentError(
            "Argument `interactions` must share one memory, in dimension, precision and device, but they are "
            f"{sorted(map(str, shared))}."
        )
    batches = {ancillas.batch for ancillas in streams}
    if len(batches) > 1:
        raise ArgumentError(
            f"Argument `streams` must have one batch, but theirs are {sorted(map(tuple, batches))}."
        )
    batch, num_rows, like = streams[0].batch, streams[0].batch.numel(), interactions[0].coupling
    device = streams[0].device
    moments, valid = [], []
    for given, ancillas in zip(times, streams, strict=True):
        lead = (*batch, ancillas.num_steps)
        moment = _as_times("times", given, like, lead)
        there = (
            torch.ones(lead, dtype=torch.bool, device=device) if ancillas.valid is None else ancillas.valid
        )
        moments.append(torch.where(there, moment, torch.inf).reshape(num_rows, ancillas.num_steps))
        valid.append(there.reshape(num_rows, ancillas.num_steps))
    joined, there = torch.cat(moments, 1), torch.cat(valid, 1)
    if not bool((torch.isfinite(joined) | ~there).all()):
        raise ArgumentError("Argument `times` must be finite, but holds NaN or infinity.")
    # Those that are not valid go last; of equal times the earlier stream comes first.
    order = joined.detach().argsort(dim=1, stable=True)
    counts = there.sum(1)
    num_steps = int(counts.max()) if counts.numel() else 0
    order = order[:, :num_steps]
    happens = torch.arange(num_steps, device=device) < counts[:, None]
    beginning = None if start is None else _as_times("start", start, like, batch).reshape(-1)
    ending = None if until is None else _as_times("until", until, like, batch).reshape(-1)
    intervals = _intervals(joined.gather(1, order), happens, beginning, ending)

    lengths = [ancillas.num_steps for ancillas in streams]
    first = torch.tensor([0, *accumulate(lengths)][:-1], device=device)
    which = (order[:, :, None] >= first).sum(-1) - 1
    within = order - first[which]
    modalities, events = torch.where(happens, which, -1), torch.where(happens, within, -1)
    meetings = []
    for index, (interaction, ancillas) in enumerate(zip(interactions, streams, strict=True)):
        steps, rows = (modalities.mT == index).nonzero().unbind(1)
        sources = events[rows, steps] * num_rows + rows
        meetings.append(_meeting(interaction, ancillas, sources, steps, num_steps))
    return Schedule(
        tuple(meetings),
        batch,
        num_steps,
        counts,
        happens.mT,
        intervals,
        modalities.reshape(*batch, num_steps),
        events.reshape(*batch, num_steps),
    )


def _as_times(name: str, value: Any, like: Tensor, shape: Sequence[int]) -> Tensor:
    # Seconds of a long recording need more digits than its states: times are in double precision whatever they come in.
    double = torch.empty(0, dtype=torch.complex128, device=like.device)
    times = as_real(name, as_complex(name, value, double).to(torch.complex128), double, "interaction")
    if times.shape not in (torch.Size(()), torch.Size(shape)) or (
        name == "times" and times.shape != tuple(shape)
    ):
        raise ArgumentError(
            f"Argument `{name}` must have the shape {tuple(shape)}, but has {tuple(times.shape)}."
        )
    if name != "times" and not bool(torch.isfinite(times.detach()).all()):
        raise ArgumentError(f"Argument `{name}` must be finite, but holds NaN or infinity.")
    return times.expand(tuple(shape))


def _intervals(times: Tensor, happens: Tensor, start: Tensor | None, until: Tensor | None) -> Tensor:
    """Time before each step and behind the last, (step + 1, row); padding takes no time."""
    # Padding is infinitely late: it takes the time of the event before it.
    known = torch.where(happens, times, 0.0)
    if start is None:
        start = known[:, 0] if known.shape[1] else known.new_zeros(len(known))
    joined = torch.cat([start[:, None], known], 1)
    gaps = torch.where(happens, known - joined[:, :-1], 0.0)
    numbers = happens.sum(1)
    last = joined.gather(1, numbers[:, None])[:, 0]
    rest = torch.zeros_like(start) if until is None else until - last
    lowest = min((float(each.detach().amin()) for each in (gaps, rest) if each.numel()), default=0.0)
    slack = 10 * torch.finfo(times.dtype).eps * (float(last.detach().abs().amax()) if last.numel() else 0.0)
    if lowest < -slack or not isfinite(lowest):
        raise ArgumentError(
            "Argument `times` must lie between `start` and `until`, but an event lies outside of them by "
            f"{-lowest:.3g}; pass an earlier start or a later end."
        )
    return torch.cat([gaps, rest[:, None]], 1).clamp(min=0).mT
