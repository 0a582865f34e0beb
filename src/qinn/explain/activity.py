"""Whether the learned dynamics act at all: jumps, turning, entanglement, and the rate of forgetting."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite

import torch
from torch import nn

from qinn.data.subsets.batching import batches
from qinn.data.subsets.splits import Subset
from qinn.errors import ArgumentError
from qinn.explain.entanglement import trajectory_entropies
from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.quantum import Lindbladian, expected_jumps, find_attractor
from qinn.records import Batch

ASLEEP = 0.05
"""Where jumps and turning are both below, the evolved state is the product state, as near as matters."""

# Above, trajectories have mostly forgotten what they started from.
_LOUD = 5.0
# Up to here the gap takes well under a second, so that it can be known every epoch.
_CHEAP_GAP_DIM = 16
# Trajectories per sample for the entropies of a model that has none.
_NUM_TRAJECTORIES = 8


@dataclass(frozen=True)
class Activity:
    """How much the dynamics of a quantum model do to a set of samples.

    Attributes:
        jumps: Expected number of jumps of a trajectory, ∫ tr(Σ L_k†L_k ρ_t) dt, mean over the samples; also for
            evolutions that draw none.
        turning: ‖H − (tr H/D)𝟙‖·T with the largest absolute eigenvalue as norm: the angle (in radians) by which H can
            turn phases at most.
        gap: Spectral gap of the Lindbladian times T, the rate at which the slowest mode approaches the steady state;
            None where it is not known: several states are steady, or D is too large for it here.
        entanglement: Entanglement entropy after the evolution, mean over samples, trajectories and cuts, in bits; None
            with a single modality, or without a complete sample.
    """

    jumps: float
    turning: float
    gap: float | None = None
    entanglement: float | None = None

    @property
    def asleep(self) -> bool:
        """Whether next to nothing happens: fewer than 0.05 jumps, and a turning below 0.05."""
        return self.jumps < ASLEEP and self.turning < ASLEEP

    @property
    def loud(self) -> bool:
        """Whether the dynamics drown the input: more than 5 jumps."""
        return self.jumps > _LOUD

    @property
    def unitary(self) -> bool:
        """Whether there are jump operators that next to never act, beside a Hamiltonian that does."""
        return 0 < self.jumps < ASLEEP and not self.asleep

    def to_dict(self) -> dict[str, float | None]:
        """Return the values by name, as records hold them."""
        return asdict(self)


@torch.no_grad()
def activity_of_batches(model: nn.Module, parts: Iterable[Batch]) -> Activity | None:
    """Measure what the dynamics of a model do.

    Args:
        model: Any model, in evaluation mode.
        parts: Batches of samples, at least one.

    Returns:
        The activity; None for a model without learned generators.

    Raises:
        ArgumentError: If the generators are not finite.
    """
    if not isinstance(model, QiNN) or not isinstance(model.fusion, QuantumFusion):
        return None
    if model.fusion.lindbladian is None:
        return None
    fusion, dynamics = model.fusion, model.fusion.lindbladian()
    numbers, entropies = [], []
    for batch in parts:
        state = fusion.initial_state(model.states(batch))
        numbers.append(expected_jumps(state, dynamics, time=fusion.time).cpu())
        if len(fusion.dims) > 1:
            found = trajectory_entropies(model, batch, num_trajectories=_NUM_TRAJECTORIES)
            entropies.append(found.flatten(1).mean(1).cpu())
    entropy = torch.cat(entropies).nanmean() if entropies else torch.tensor(torch.nan)
    levels = torch.linalg.eigvalsh(dynamics.hamiltonian.to(torch.complex128))
    return Activity(
        jumps=float(torch.cat(numbers).double().mean()),
        turning=float((levels - levels.mean()).abs().max()) * fusion.time,
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


def mean_activity(parts: Sequence[Mapping[str, float | None]]) -> Activity | None:
    """Return the mean over folds or seeds; a value that one of them lacks is missing in the mean.

    Args:
        parts: What `Activity.to_dict` gave.

    Returns:
        The mean; None of nothing.

    Example:
        >>> mean_activity([{"jumps": 1.0, "turning": 2.0, "gap": None}, {"jumps": 2.0, "turning": 4.0, "gap": 1.0}])
        Activity(jumps=1.5, turning=3.0, gap=None, entanglement=None)
    """
    if not parts:
        return None

    def mean(name: str) -> float | None:
        values = [part.get(name) for part in parts]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    return Activity(mean("jumps") or 0.0, mean("turning") or 0.0, mean("gap"), mean("entanglement"))


def activity_remarks(parts: Sequence[Activity]) -> list[str]:
    """Return warnings about dynamics that sleep, hardly jump or drown the input, one for each kind.

    Args:
        parts: The activity of every fold.

    Returns:
        Sentences; none where all is well.

    Example:
        >>> activity_remarks([Activity(jumps=0.4, turning=0.8)])
        []
    """
    remarks = []
    some = "" if len(parts) == 1 else " (in at least one fold)"
    if any(part.asleep for part in parts):
        remarks.append(
            f"The dynamics sleep{some}: fewer than {ASLEEP} jumps per trajectory and ‖H‖T below {ASLEEP}, so this is "
            "the model without evolution, whatever its name."
        )
    if any(part.unitary for part in parts):
        remarks.append(
            f"Jumps hardly fall{some}: fewer than {ASLEEP} per trajectory, so this is nearly the unitary model."
        )
    if any(part.loud for part in parts):
        remarks.append(
            f"The dynamics drown the input{some}: more than {_LOUD:g} jumps per trajectory; lower `max_rate` or `time`."
        )
    return remarks


def _gap(dynamics: Lindbladian, time: float) -> float | None:
    if dynamics.num_jumps == 0 or dynamics.dim > _CHEAP_GAP_DIM:
        return None
    try:
        gap = float(find_attractor(dynamics).spectral_gap) * time
    except ArgumentError:
        return None  # several steady states, or nearly: no rate at which one is approached
    return gap if isfinite(gap) else None
