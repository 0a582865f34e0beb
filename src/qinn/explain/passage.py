"""The memory along a stream: what each step does to it, what it holds behind each, and what it would hold without."""

from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.model.collisions import (
    CollisionFusion,
    LinearMapStreamFusion,
    StreamFusion,
    UnitaryStreamFusion,
)
from qinn.model.network import QiNN
from qinn.model.streams import Order, Stream, order_of
from qinn.quantum import Ancillas, Interaction, MixedState, collision_maps, density_of
from qinn.quantum.collisions.real_form import hermitian_coordinates
from qinn.quantum.collisions.relaxation import relaxation_maps
from qinn.quantum.generators.lindbladian import hermitian_from
from qinn.records import JointState, ModalityStates

# Numbers that the maps of all steps of some samples may take: 64 MiB in single precision.
_LARGEST_MAPS = 2**24


@dataclass(frozen=True)
class Passage:
    """What happens to the memory of some samples; densities as real coordinates Re ρ + Im ρ, flattened.

    Attributes:
        streams: What is met by each operator.
        order: When each of their steps comes.
        moments: Time of each step, in seconds where the data say it, else as a share of the sample.
        maps: What each step does, a real matrix on the coordinates; the identity where a step is padding.
        keeps_trace: Whether the maps do; else what they give is divided by its trace.
        start: The memory before everything.
        before: The memory that each step meets.
        after: The memory behind each step.
        final: The memory at the end.
        mean: The average behind all steps.
        final_without: The memory at the end if a step had not happened, for each step.
        mean_without: The average then, over the other steps.
    """

    streams: tuple[Stream, ...]
    order: Order
    moments: Float[Tensor, "batch event"]
    maps: Float[Tensor, "batch event squared squared"]
    keeps_trace: bool
    start: Float[Tensor, "squared"]
    before: Float[Tensor, "batch event squared"]
    after: Float[Tensor, "batch event squared"]
    final: Float[Tensor, "batch squared"]
    mean: Float[Tensor, "batch squared"]
    final_without: Float[Tensor, "batch event squared"]
    mean_without: Float[Tensor, "batch event squared"]

    @property
    def running_mean(self) -> Float[Tensor, "batch event squared"]:
        """Average of the states behind the steps up to each."""
        numbers = torch.arange(1, self.after.shape[1] + 1, device=self.after.device)
        return self.after.cumsum(1) / numbers[:, None]

    def applied(self, states: Float[Tensor, "probe squared"]) -> Float[Tensor, "batch event probe squared"]:
        """Return what each step makes of some densities."""
        return _moved(self.maps, states, self.keeps_trace)


def rows_at_once(fusion: StreamFusion, num_events: int) -> int:
    """Return for how many samples the maps of all steps fit into memory at once.

    Args:
        fusion: The fusion.
        num_events: Steps of a sample, all modalities together.
    """
    return max(1, _LARGEST_MAPS // (max(num_events, 1) * fusion.memory_dim**4))


def rows_of(states: ModalityStates, rows: slice) -> ModalityStates:
    """Return the states of some samples.

    Args:
        states: States along a stream.
        rows: Which.
    """
    return replace(
        states,
        kets=tuple(ket[rows] for ket in states.kets),
        present=states.present[rows],
        valid=None if states.valid is None else tuple(each[rows] for each in states.valid),
        hidden=None if states.hidden is None else states.hidden[rows],
        times=None
        if states.times is None
        else tuple(None if each is None else each[rows] for each in states.times),
    )


def meetings_of(fusion: StreamFusion, states: ModalityStates) -> list[tuple[Interaction, Ancillas]] | None:
    """Return who meets the memory, in the order of the streams; None where nothing is thrown away.

    Args:
        fusion: The fusion.
        states: What the modalities say.
    """
    return fusion.meetings(states) if isinstance(fusion, CollisionFusion) else None


def passage_of(fusion: StreamFusion, states: ModalityStates) -> Passage:
    """Follow the memory along a stream, with every step and without each.

    A step that is left out changes nothing else: the others keep their times.

    Args:
        fusion: The fusion, in evaluation mode.
        states: What the modalities say.
    """
    streams = fusion.streams(states)
    order = order_of(streams)
    meetings = meetings_of(fusion, states)
    if meetings is not None:
        maps = [collision_maps(*each) for each in meetings]
    elif isinstance(fusion, UnitaryStreamFusion):
        maps = [_conjugations(fusion.turns(stream)) for stream in streams]
    else:
        maps = [_conjugations(cast("LinearMapStreamFusion", fusion).maps(stream)) for stream in streams]
    keeps_trace = not isinstance(fusion, LinearMapStreamFusion)
    moments = order.of([stream.times for stream in streams]).masked_fill(~order.happens, 0)
    start = hermitian_coordinates(density_of(fusion.start)).flatten()
    ordered = order.of(maps)
    timed = any(stream.given is not None for stream in streams)
    between = _relaxations(fusion, order, moments, timed=timed)
    walked = _walk(start, ordered, between, order, keeps_trace)
    return Passage(streams, order, moments, ordered, keeps_trace, start, *walked)


def outputs_of(
    model: QiNN,
    final: Float[Tensor, "*batch squared"],
    mean: Float[Tensor, "*batch squared"],
    hidden: Float[Tensor, "*batch hidden"] | None,
) -> Float[Tensor, "*batch output"]:
    """Return what the read-out says about memories.

    Args:
        model: The model.
        final: The memory at the end.
        mean: Its average.
        hidden: What goes past the fusion; None where nothing does.
    """
    dim, lead = model.readout.dim, final.shape[:-1]

    def state(rows: Tensor) -> MixedState:
        return MixedState(hermitian_from(rows.reshape(-1, dim, dim)), validate=False)

    past = None if hidden is None else hidden.reshape(-1, hidden.shape[-1])
    joint = JointState(("memory",), (dim,), state(final), state(mean), past)
    output = model.readout(joint).output
    return output.reshape(*lead, output.shape[-1])


def _conjugations(
    matrices: Complex[Tensor, "batch time memory memory"],
) -> Float[Tensor, "batch time squared squared"]:
    """ρ ↦ AρA† on real coordinates."""
    dim = matrices.shape[-1]
    unit = torch.eye(dim * dim, dtype=matrices.real.dtype, device=matrices.device)
    basis = hermitian_from(unit.reshape(-1, dim, dim))
    moved = torch.einsum("ntia,sab,ntjb->ntsij", matrices, basis, matrices.conj())
    return hermitian_coordinates(moved).flatten(-2).mT


def _relaxations(fusion: StreamFusion, order: Order, moments: Tensor, *, timed: bool) -> Tensor | None:
    """What happens before each step and behind the last, as in the fusion; None where nothing does."""
    if not isinstance(fusion, CollisionFusion) or fusion.relaxation is None:
        return None
    times = moments * fusion.time
    numbers = order.happens.sum(1)
    first = torch.zeros_like(times[:, :1])
    gaps = torch.where(order.happens, times - torch.cat([first, times[:, :-1]], 1), 0.0)
    last = torch.cat([first, times], 1).gather(1, numbers[:, None])
    rest = torch.zeros_like(last) if timed else fusion.time - last
    return relaxation_maps(fusion.relaxation(), torch.cat([gaps, rest], 1).clamp_min(0))


def _walk(
    start: Tensor, maps: Tensor, between: Tensor | None, order: Order, keeps_trace: bool
) -> tuple[Tensor, ...]:
    """Return before, after, final, mean, and final and mean without each step."""
    rows, num_events = order.happens.shape
    live = start.expand(rows, -1)
    total, before, after = torch.zeros_like(live), [], []
    # Those that skipped a step, one more after each step; their number of steps is one less.
    others = live.new_zeros(rows, 0, live.shape[-1])
    totals = others
    for event in range(num_events):
        if between is not None:
            live = (between[:, event] @ live[..., None])[..., 0]
            others = others @ between[:, event].mT
        before.append(live)
        happens = order.happens[:, event, None]
        both = torch.cat([others, live[:, None]], 1)
        moved = torch.where(happens[..., None], _moved(maps[:, event], both, keeps_trace), both)
        others, skipped = moved[:, :-1], live
        live = moved[:, -1]
        totals = torch.cat([totals + others * happens[..., None], total[:, None]], 1)
        total = total + live * happens
        others = torch.cat([others, skipped[:, None]], 1)
        after.append(live)
    if between is not None:
        live = (between[:, -1] @ live[..., None])[..., 0]
        others = others @ between[:, -1].mT
    counts = order.happens.sum(1)[:, None]
    mean = torch.where(counts > 0, total / counts.clamp_min(1), start)
    fewer = (counts - 1)[..., None]
    mean_without = torch.where(fewer > 0, totals / fewer.clamp_min(1), start)
    return torch.stack(before, 1), torch.stack(after, 1), live, mean, others, mean_without


def _moved(maps: Tensor, states: Tensor, keeps_trace: bool) -> Tensor:
    """Apply maps (…, S, S) to several states each (…, number, S)."""
    found = states @ maps.mT
    return found if keeps_trace else found / _trace(found)


def _trace(coordinates: Tensor) -> Tensor:
    dim = round(coordinates.shape[-1] ** 0.5)
    return coordinates[..., :: dim + 1].sum(-1, keepdim=True)
