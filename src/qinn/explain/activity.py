"""Whether the learned dynamics act at all: jumps, turning, entanglement; along a stream, forgetting and turning."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import isfinite

import torch
from torch import Tensor, nn

from qinn.data.subsets.batching import batches
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError
from qinn.explain.entanglement import UNRAVELLING_SEED, trajectory_entropies
from qinn.model.collisions import CollisionFusion, UnitaryStreamFusion
from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.quantum import (
    Ancillas,
    Lindbladian,
    collision_influence,
    expected_jumps,
    find_attractor,
)
from qinn.records import Batch, ModalityStates

ASLEEP = 0.05
"""Where jumps and turning are both below, the evolved state is the product state, as near as matters."""

ASLEEP_ALONG = 0.02
"""Where a step contracts and turns less, on average, the memory next to never learns what it is shown."""

_SLEEP, _HARDLY = "The dynamics sleep", "Jumps hardly fall"
# Above, trajectories have mostly forgotten what they started from.
_LOUD = 5.0
# Up to here the gap takes well under a second, so that it can be known every epoch.
_CHEAP_GAP_DIM = 16
# Trajectories per sample for the mean entropy, each with random numbers of its own.
_NUM_TRAJECTORIES = 8
# Steps of a batch on which the influence is measured cost D⁶ each: 1,024 of a memory of dimension 4, 65,536 of a qubit.
_INFLUENCE_WORK, _FEWEST_STEPS = 2**22, 8


@dataclass(frozen=True)
class Activity:
    """How much the dynamics of a quantum model do to a set of samples; None for what a model does not have.

    Attributes:
        jumps: Expected number of jumps of a trajectory, ∫ tr(Σ L_k†L_k ρ_t) dt, mean over the samples; also for
            evolutions that draw none. Along a stream, those of the relaxation between its steps; None without.
        turning: ‖H − (tr H/D)𝟙‖·T with the largest absolute eigenvalue as norm: the angle (in radians) by which H can
            turn phases at most. None along a stream.
        gap: Spectral gap of the Lindbladian times T, the rate at which the slowest mode approaches the steady state;
            None where it is not known: several states are steady, or D is too large for it here.
        entanglement: Entanglement entropy after the evolution, mean over samples, trajectories and cuts, in bits; None
            with a single modality, or without a complete sample.
        contraction: Along a stream, how much of the memory a step makes it forget, mean over the steps of all samples
            (see `qinn.quantum.CollisionInfluence`); None where states are pooled.
        rotation: Along a stream, by which angle (in radians) a step turns the memory, mean likewise.
    """

    jumps: float | None = None
    turning: float | None = None
    gap: float | None = None
    entanglement: float | None = None
    contraction: float | None = None
    rotation: float | None = None

    @property
    def asleep(self) -> bool:
        """Whether next to nothing happens: fewer than 0.05 jumps and a turning below 0.05; steps, both below 0.02."""
        return _below(ASLEEP, self.jumps, self.turning) or self.asleep_along

    @property
    def asleep_along(self) -> bool:
        """Whether the steps of a stream do next to nothing to the memory."""
        return _below(ASLEEP_ALONG, self.contraction, self.rotation)

    @property
    def loud(self) -> bool:
        """Whether the dynamics drown the input: more than 5 jumps."""
        return self.jumps is not None and self.jumps > _LOUD

    @property
    def unitary(self) -> bool:
        """Whether there are jump operators that next to never act, beside a Hamiltonian that does."""
        pooled = self.turning is not None
        return pooled and self.jumps is not None and 0 < self.jumps < ASLEEP and not self.asleep

    @property
    def unitary_along(self) -> bool:
        """Whether the steps of a stream turn the memory and next to never make it forget, though they could."""
        return self.contraction is not None and 0 < self.contraction < ASLEEP_ALONG and not self.asleep_along


def _below(bound: float, *values: float | None) -> bool:
    return all(value is not None and value < bound for value in values)


@torch.no_grad()
def activity_of_batches(model: nn.Module, parts: Iterable[Batch]) -> Activity | None:
    """Measure what the dynamics of a model do.

    Args:
        model: Any model, in evaluation mode.
        parts: Batches of samples, at least one.

    Returns:
        The activity; None for a model without learned generators or interactions.

    Raises:
        ArgumentError: If the generators are not finite.
    """
    if isinstance(model, QiNN) and isinstance(model.fusion, CollisionFusion | UnitaryStreamFusion):
        return _activity_along(model, model.fusion, parts)
    if not isinstance(model, QiNN) or not isinstance(model.fusion, QuantumFusion):
        return None
    fusion, dynamics = model.fusion, model.fusion.generators()
    if dynamics is None:
        return None
    numbers, entropies = [], []
    # On the CPU whatever the device, as are all random numbers of an evolution.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNRAVELLING_SEED)
        for batch in parts:
            state = fusion.initial_state(model.states(batch))
            numbers.append(expected_jumps(state, dynamics, time=fusion.time).cpu())
            if len(fusion.dims) > 1:
                found = trajectory_entropies(model, batch, num_trajectories=_NUM_TRAJECTORIES, for_mean=True)
                entropies.append(found.flatten(1).mean(1).cpu())
    entropy = torch.cat(entropies).nanmean() if entropies else torch.tensor(torch.nan)
    return Activity(
        jumps=float(torch.cat(numbers).double().mean()),
        turning=_turning(dynamics, fusion.time),
        gap=_gap(dynamics, fusion.time),
        entanglement=float(entropy) if bool(entropy.isfinite()) else None,
    )


def activity_of(model: nn.Module, subset: Subset, *, batch_size: int = 128) -> Activity | None:
    """Measure what the dynamics of a model do to the samples of a subset, in evaluation mode.

    Args:
        model: Any model of `qinn.model`.
        subset: Samples.
        batch_size: Samples per pass.

    Returns:
        The activity; None for a model without learned generators.
    """
    was_training = model.training
    model.eval()
    found = activity_of_batches(model, batches(subset, batch_size, shuffle=False, seed=0, epoch=0))
    model.train(was_training)
    return found


def mean_activity(parts: Sequence[Activity | None]) -> Activity | None:
    """Return the mean over folds or seeds; a value that one of them lacks is missing in the mean.

    Args:
        parts: Of each; None of one that has none, or does not say.

    Returns:
        The mean; None of nothing, or where one of them is None.

    Examples:
        >>> mean_activity([Activity(jumps=1.0, turning=2.0), Activity(jumps=2.0, turning=4.0, gap=1.0)])
        Activity(jumps=1.5, turning=3.0, gap=None, entanglement=None, contraction=None, rotation=None)
    """
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts):
        return None

    def mean(name: str) -> float | None:
        values = [getattr(part, name) for part in found]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    return Activity(**{each.name: mean(each.name) for each in fields(Activity)})


def activity_remarks(parts: Sequence[Activity]) -> list[str]:
    """Return warnings about dynamics that sleep, hardly jump or drown the input, one for each kind.

    Args:
        parts: The activity of every fold.

    Returns:
        Sentences; none where all is well.

    Examples:
        >>> activity_remarks([Activity(jumps=0.4, turning=0.8)])
        []
    """
    remarks = []
    some = "" if len(parts) == 1 else " (in at least one fold)"
    if any(part.asleep_along for part in parts):
        remarks.append(
            f"{_SLEEP}{some}: a step makes the memory forget less than {ASLEEP_ALONG} and turn by less than "
            f"{ASLEEP_ALONG} rad, so that it next to never learns what is said, whatever the model's name."
        )
    elif any(part.asleep for part in parts):
        remarks.append(
            f"{_SLEEP}{some}: fewer than {ASLEEP} jumps per trajectory and ‖H‖T below {ASLEEP}, so this is "
            "the model without evolution, whatever its name."
        )
    if any(part.unitary for part in parts):
        remarks.append(
            f"{_HARDLY}{some}: fewer than {ASLEEP} per trajectory, so this is nearly the unitary model."
        )
    if any(part.unitary_along for part in parts):
        remarks.append(
            f"Steps hardly make the memory forget{some}: less than {ASLEEP_ALONG} of it on average, so this is nearly "
            "the unitary cell, unless a few words, or relaxation between the steps, do all the forgetting: see `qinn "
            "explain`."
        )
    if any(part.loud for part in parts):
        remarks.append(
            f"The dynamics drown the input{some}: more than {_LOUD:g} jumps per trajectory; lower `max_rate` or `time`."
        )
    return remarks


def sleep_remarks(remarks: Iterable[str]) -> list[str]:
    """Return those remarks, of `activity_remarks` and others, that say that dynamics sleep.

    Args:
        remarks: As a run keeps them.

    Examples:
        >>> len(sleep_remarks(activity_remarks([Activity(jumps=0.0, turning=0.0)])))
        1
    """
    return [remark for remark in remarks if remark.startswith(_SLEEP)]


def unitary_remarks(remarks: Iterable[str]) -> list[str]:
    """Return those remarks, of `activity_remarks` and others, that say that jumps hardly fall.

    Args:
        remarks: As a run keeps them.

    Examples:
        >>> len(unitary_remarks(activity_remarks([Activity(jumps=0.01, turning=0.8)])))
        1
    """
    return [remark for remark in remarks if remark.startswith(_HARDLY)]


def _activity_along(
    model: QiNN, fusion: CollisionFusion | UnitaryStreamFusion, parts: Iterable[Batch]
) -> Activity:
    totals, number, jumps = torch.zeros(2, dtype=torch.float64), 0, []
    for batch in parts:
        states = model.states(batch)
        fallen = fusion.relaxation_jumps(states) if isinstance(fusion, CollisionFusion) else None
        if fallen is not None:
            jumps.append(fallen.double().cpu())
        for contraction, rotation, steps in _influences(fusion, states):
            if steps:
                totals += steps * torch.stack([contraction, rotation]).double().mean(1).cpu()
                number += steps
    contraction, rotation = (totals / max(number, 1)).tolist()
    fallen = float(torch.cat(jumps).mean()) if jumps else None
    return Activity(jumps=fallen, contraction=contraction, rotation=rotation)


def _influences(
    fusion: CollisionFusion | UnitaryStreamFusion, states: ModalityStates
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Contraction and rotation of a part of the steps of every stream, evenly spread, and how many there are in all."""
    dim = fusion.memory_dim
    if isinstance(fusion, UnitaryStreamFusion):
        for stream in fusion.streams(states):
            turns = fusion.turns(stream)[stream.valid]
            cosines = turns.diagonal(dim1=-2, dim2=-1).sum(-1).abs() / dim
            yield torch.zeros_like(cosines), 2 * cosines.clamp(max=1).acos(), len(cosines)
        return
    for interaction, ancillas in fusion.meetings(states):
        shown, number = _some_steps(ancillas, max(_FEWEST_STEPS, _INFLUENCE_WORK // dim**6))
        influence = collision_influence(interaction, shown)
        yield influence.contraction, influence.rotation, number


def _some_steps(ancillas: Ancillas, most: int) -> tuple[Ancillas, int]:
    shape = (*ancillas.batch, ancillas.num_steps)
    valid = torch.ones(shape, dtype=torch.bool) if ancillas.valid is None else ancillas.valid
    places = valid.flatten().nonzero()[:, 0]
    number = len(places)
    if number > most:
        places = places[torch.linspace(0, number - 1, most, device=places.device).long()]
    factors = [factor.flatten(0, -2)[places] for factor in ancillas.factors]
    present = None if ancillas.present is None else ancillas.present.flatten(0, -2)[places]
    return Ancillas(factors, present=present, mixtures=ancillas.mixtures), number


def _turning(dynamics: Lindbladian, time: float) -> float:
    levels = torch.linalg.eigvalsh(dynamics.hamiltonian.to(torch.complex128))
    return float((levels - levels.mean()).abs().max()) * time


def _gap(dynamics: Lindbladian, time: float) -> float | None:
    if dynamics.num_jumps == 0 or dynamics.dim > _CHEAP_GAP_DIM:
        return None
    try:
        gap = float(find_attractor(dynamics).spectral_gap) * time
    except ArgumentError:
        return None  # several steady states, or nearly: no rate at which one is approached
    return gap if isfinite(gap) else None
