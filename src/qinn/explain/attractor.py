"""Where the learned dynamics end, how fast, and how much of a difference they leave: as far as it is proved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, isfinite
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qinn.data.subsets.batching import batches
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError
from qinn.model.collisions import CollisionFusion
from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.model.streams import order_of
from qinn.quantum import (
    Lindbladian,
    channel_contraction,
    collision_maps,
    contraction_bounds,
    cuts,
    find_attractor,
    log_negativity,
    mixing_bounds,
    propagate_densities,
    purity,
    trace_distance,
    von_neumann_entropy,
)
from qinn.quantum.collisions.relaxation import relaxation_maps
from qinn.records import Batch

Kind = Literal["exact", "bound", "none"]

MIXED_TO = 0.01
"""Fraction of a trace distance that the mixing time is stated for."""

# A steady state takes a second or so up to the first, mixing times and upper bounds up to the second.
_LARGEST_STEADY_DIM, _LARGEST_BOUNDED_DIM = 32, 16
# Numbers that the maps of all steps of the samples of a stream may have, and the work that bounding them may take.
_MOST_NUMBERS, _MOST_WORK, _MOST_SAMPLES = 2**24, 2**27, 64
# A bound above this would read 1 in print, and says next to nothing.
_NOTHING_PROVED = 0.995


@dataclass(frozen=True)
class Certificate:
    """What is known of the long run of learned dynamics; None where a model has it not, or it is not known.

    Times are in units of the evolution time T. Along a stream only what is left is stated, of the memory.

    Attributes:
        kind: Whether `left_high` is the largest trace distance left itself (``"exact"``: D = 2), a proved ``"bound"``
            of it, or ``"none"``: nothing below 1 is proved.
        left_low: Share of the trace distance that is left between the most lasting pair of states found, after the time
            T, or over a sentence (mean over samples): more may be left of another.
        left_high: Share that is left at most, of any pair; None where no less than 0.995 was proved.
        left_least: Share that is left at least, of every pair: e^{−2rT} with r the largest jump rate.
        step_high: As `left_high`, over one step of a stream (mean over steps).
        gap: Spectral gap times T.
        mixing_low: No time shorter than this brings every pair to 1 % of its distance.
        mixing_high: This time is proved to do so; None if none was proved.
        purity: tr ρ_∞² of the steady state.
        entropy: Its von Neumann entropy, in bits.
        entanglement: Its logarithmic negativity, mean over the cuts, in bits; None with a single modality.
        distance: Trace distance of the samples' mean evolved state from it.
        left_out: What was not computed, and why; empty if nothing.
    """

    kind: Kind
    left_low: float | None = None
    left_high: float | None = None
    left_least: float | None = None
    step_high: float | None = None
    gap: float | None = None
    mixing_low: float | None = None
    mixing_high: float | None = None
    purity: float | None = None
    entropy: float | None = None
    entanglement: float | None = None
    distance: float | None = None
    left_out: str = ""


@torch.no_grad()
def certificate_of_batches(model: nn.Module, parts: Iterable[Batch]) -> Certificate | None:
    """State where the dynamics of a model end and how much they can leave of a difference.

    Args:
        model: Any model, in evaluation mode.
        parts: Batches of samples, at least one.

    Returns:
        What is known; None for a model without learned dissipation.

    Raises:
        ArgumentError: If the generators are not finite.
    """
    if not isinstance(model, QiNN):
        return None
    if isinstance(model.fusion, CollisionFusion):
        return _along(model, model.fusion, next(iter(parts)))
    if not isinstance(model.fusion, QuantumFusion) or (dynamics := model.fusion.generators()) is None:
        return None
    if dynamics.num_jumps == 0 or model.fusion.time == 0:
        return None
    total, number = None, 0
    for batch in parts:
        density = model.fusion.initial_state(model.states(batch)).density().to(torch.complex128)
        total, number = density.sum(0) if total is None else total + density.sum(0), number + len(batch)
    assert total is not None  # at least one batch
    return _pooled(
        dynamics.to(torch.complex128), tuple(model.fusion.dims.values()), model.fusion.time, total / number
    )


def certificate_of(model: nn.Module, subset: Subset, *, batch_size: int = 128) -> Certificate | None:
    """State where the dynamics of a model end, for the samples of a subset, in evaluation mode.

    Args:
        model: Any model of `qinn.model`.
        subset: Samples.
        batch_size: Samples per pass.

    Returns:
        What is known; None for a model without learned dissipation.
    """
    was_training = model.training
    model.eval()
    found = certificate_of_batches(model, batches(subset, batch_size, shuffle=False, seed=0, epoch=0))
    model.train(was_training)
    return found


def mean_certificate(parts: Sequence[Certificate]) -> Certificate | None:
    """Return the mean over folds; its kind is the weakest, and a value that one of them lacks is missing.

    Args:
        parts: Of each fold.

    Returns:
        The mean; None of nothing.

    Examples:
        >>> found = mean_certificate([Certificate("exact", left_high=0.25), Certificate("none")])
        >>> found.kind, found.left_high
        ('none', None)
    """
    if not parts:
        return None
    order: tuple[Kind, ...] = ("none", "bound", "exact")
    means: dict[str, float | None] = {}
    for name in Certificate.__dataclass_fields__:
        if name not in ("kind", "left_out"):
            known = [value for part in parts if (value := getattr(part, name)) is not None]
            means[name] = sum(known) / len(known) if len(known) == len(parts) else None
    kinds: list[Kind] = [part.kind for part in parts]
    left_out = next((part.left_out for part in parts if part.left_out), "")
    return Certificate(min(kinds, key=order.index), left_out=left_out, **means)


def certificate_words(certificate: Certificate) -> str:
    """Say in words what a certificate holds.

    Args:
        certificate: What is known.

    Returns:
        The wording.

    Examples:
        >>> certificate_words(Certificate("exact", left_low=0.25, left_high=0.25, left_least=0.1, gap=1.4))
        'of a trace distance at most 0.25 is left (exact), at least 0.1 of any; spectral gap × T = 1.4'
    """
    values = asdict(certificate)
    found = {name: f"{value:.2g}" for name, value in values.items() if isinstance(value, int | float)}
    low, high = found.get("left_low"), found.get("left_high")
    where = "" if "left_least" in found else " over a sentence"
    stated = []
    if values["kind"] == "exact" and high:
        stated.append(f"of a trace distance at most {high} is left{where} (exact)")
    elif high:
        stated.append(
            f"of a trace distance at most {high} is left{where} (proved bound), {low} of a pair that was found"
        )
    elif low:
        stated.append(
            f"of a trace distance {low} is left{where} of a pair that was found (certificate: none)"
        )
    if "left_least" in found:
        stated[-1] += f", at least {found['left_least']} of any"
    if "step_high" in found:
        stated[-1] += f", at most {found['step_high']} over a step"
    if "gap" in found:
        stated.append(f"spectral gap × T = {found['gap']}")
    if "mixing_low" in found:
        low, high = found["mixing_low"], found.get("mixing_high")
        span = f"{low}" if low == high else f"{low} to {high}" if high else f"at least {low}"
        stated.append(f"mixing time (to 1 %) {span} T")
    if "purity" in found:
        entangled = f", log-negativity {found['entanglement']} bits" if "entanglement" in found else ""
        stated.append(
            f"steady state of purity {found['purity']}, entropy {found['entropy']} bits{entangled}, "
            f"{found['distance']} from the mean evolved state"
        )
    return "; ".join([*stated, *([values["left_out"]] if values.get("left_out") else [])])


def _pooled(dynamics: Lindbladian, dims: tuple[int, ...], time: float, mean: Tensor) -> Certificate:
    dim = dynamics.dim
    left = contraction_bounds(dynamics, time)
    rate = float(torch.linalg.eigvalsh(dynamics.total_rate)[-1])
    values: dict[str, Any] = {**_left(left.lower, left.upper), "left_least": exp(-2 * max(rate, 0.0) * time)}
    if dim > _LARGEST_STEADY_DIM:
        return Certificate(
            kind="none",
            **values,
            left_out=f"steady state, gap, mixing time and certificate are left out above D = {_LARGEST_STEADY_DIM}, as "
            f"they would take minutes (here {dim})",
        )
    try:
        attractor = find_attractor(dynamics)
        if dim <= _LARGEST_BOUNDED_DIM:
            mixing = mixing_bounds(dynamics, fraction=MIXED_TO)
            values["mixing_low"], values["mixing_high"] = mixing.lower / time, _known(mixing.upper / time)
    except ArgumentError:
        return Certificate(
            kind=_kind(dim, values), **values, left_out="several states are steady, or nearly so"
        )
    values["gap"] = _known(float(attractor.spectral_gap) * time)
    steady = attractor.density
    if len(dims) > 1:
        parts = [log_negativity(steady, dims, part) for part in cuts(len(dims))]
        values["entanglement"] = float(torch.stack(parts).mean())
    return Certificate(
        kind=_kind(dim, values),
        **values,
        purity=float(purity(steady)),
        entropy=float(von_neumann_entropy(steady)),
        distance=float(trace_distance(propagate_densities(dynamics, mean, time), steady)),
        left_out=""
        if dim <= _LARGEST_BOUNDED_DIM
        else f"mixing time and certificate are left out above D = {_LARGEST_BOUNDED_DIM} (here {dim})",
    )


def _along(model: QiNN, fusion: CollisionFusion, batch: Batch) -> Certificate:
    """What is left of the memory's start over each sample, and over single steps."""
    dim = fusion.memory_dim
    most_steps = sum(
        features.values.shape[1] if features.values.ndim == 3 else 1 for features in batch.features.values()
    )
    fitting = _MOST_NUMBERS // (dim**4 * most_steps)
    if fitting == 0:
        return Certificate(
            kind="none",
            left_out=f"{most_steps} maps of a memory of dimension {dim} would take too much memory, so what is left "
            "over a sentence is left out",
        )
    states = model.states(batch.first(min(fitting, _MOST_SAMPLES)))
    streams = fusion.streams(states)
    order = order_of(streams)
    maps = [collision_maps(*meeting) for meeting in fusion.meetings(states)]
    steps = torch.cat([each[stream.valid] for each, stream in zip(maps, streams, strict=True)]).double()
    if len(steps) == 0:
        return Certificate(kind="none", left_out="no sample has a step")
    most = max(8, _MOST_WORK // dim**6)
    if len(steps) > most:
        steps = steps[torch.linspace(0, len(steps) - 1, most).long()]
    events = order.of(maps).double()
    identity = torch.eye(dim**2, dtype=events.dtype, device=events.device)
    events = torch.where(order.happens[..., None, None], events, identity)
    waits = None
    if fusion.relaxation is not None:
        times = order.of([stream.times * fusion.time for stream in streams])
        # Behind the last event nothing happens until the end, which is not known where the data give times.
        given = any(stream.given is not None for stream in streams)
        last = torch.where(order.happens, times, 0.0).amax(1, keepdim=True)
        end = last if given else torch.full_like(last, fusion.time)
        edges = torch.cat([torch.zeros_like(end), torch.where(order.happens, times, end), end], 1)
        dynamics = fusion.relaxation().to(torch.complex128)
        waits = relaxation_maps(dynamics, edges.diff(dim=1).clamp_min(0)).to(events.dtype)
    whole = identity.expand(len(events), -1, -1)
    for index in range(events.shape[1]):
        before = whole if waits is None else waits[:, index] @ whole
        whole = events[:, index] @ before
    if waits is not None:
        whole = waits[:, -1] @ whole
    # A sample without steps keeps all.
    some = whole[: max(1, most)]
    # Channels by construction; over very many steps rounding may add up.
    left, single = (channel_contraction(each, validate=False) for each in (some, steps))
    step = _left(single.lower, single.upper)["left_high"]
    values: dict[str, Any] = {**_left(left.lower, left.upper), "step_high": step}
    return Certificate(kind=_kind(dim, values), **values)


def _left(lower: Tensor, upper: Tensor) -> dict[str, float | None]:
    high = float(upper.mean())
    return {"left_low": float(lower.mean()), "left_high": high if high < _NOTHING_PROVED else None}


def _kind(dim: int, values: Mapping[str, Any]) -> Kind:
    if dim == 2:
        return "exact"
    return "none" if values["left_high"] is None else "bound"


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
