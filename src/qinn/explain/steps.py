"""What every step of a stream does to the memory and to the score: one row per sample, modality and step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from qinn.data.subsets.batching import batches
from qinn.data.subsets.subset import Subset
from qinn.explain.memory_axis import MemoryAxis, stream_parts
from qinn.explain.passage import Passage, meetings_of, outputs_of, passage_of
from qinn.model.collisions import CollisionFusion, StreamFusion, UnitaryStreamFusion
from qinn.model.network import QiNN
from qinn.quantum import (
    Ancillas,
    Interaction,
    PureEnsemble,
    SampledCollisions,
    ancilla_entropies,
    collision_influence,
    pauli,
)
from qinn.quantum.collisions.real_form import hermitian_coordinates, ket_coordinates
from qinn.quantum.generators.lindbladian import hermitian_from
from qinn.records import ModalityStates

VERDICTS = ("resets", "inverts", "turns", "intensifies", "weakens", "keeps")
"""What a step is called; see `verdicts_of`."""

HALF = 0.5
"""Less of a difference between opposite memories than this is forgotten or turned away; more below 0 is inverted."""

OUTWARD = 0.25
"""How far a step must move what it keeps to be named, as a share of the way from the middle to a typical memory."""

NUM_RECORDS = 8
"""Records of measured ancillas per sample."""

_SEED = 20260128
# Contraction and rotation take D⁶ operations per step: 260,000 steps of a memory of dimension 4, 64 of dimension 16.
_INFLUENCE_WORK = 2**30
# Leaving out each of T steps takes T²·D⁴ operations: some two minutes for all samples.
_PASSAGE_WORK = 2**37
# Digits to which ancillas are compared, so that a word that comes often is measured once.
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class StepExplanation:
    """What every step did; arrays with one entry per step, NaN where a quantity does not exist or was not measured.

    Attributes:
        ids: Sample of each step.
        modality: The modality, those that step together joined by ``+``.
        step: Number of the step within its sample and modality, from 0.
        position: Number of the step within its sample, in the order in which the memory meets them, from 0.
        time: When it happens, in seconds where the data say it, else as a share of the sample.
        word: What it stands for; empty where that is not known.
        verdict: One of `VERDICTS`; empty without an axis.
        amount: How strongly it is what the verdict says, from 0 to 1.
        contraction: How much of the memory is forgotten (see `qinn.quantum.CollisionInfluence`).
        rotation: By which angle it is turned, in radians.
        keep: λ, what is left along the axis of a difference between opposite memories; negative where it is inverted.
        kept: κ ≥ |λ|, what is left of it wherever it is turned to.
        write: s, what is written along the axis whatever was there, −1 to 1.
        entropy: Entropy of the ancilla after the interaction, in bits.
        before: Where the memory was along the axis, −1 and 1 the typical memories of a low and a high score.
        after: Where it is behind the step.
        score: What is read from the memory behind the step.
        change: By how much that differs from what was read before it.
        effect: Score of the sample minus the score without the step.
        output: Outputs read behind the step.
        without: Outputs of the sample without the step.
        outcomes: What the discarded ancilla was measured to be in each record; empty where there are none.
        outcome_changes: By how much each record's score changed.
        bloch_map: Of a qubit the step's map r ↦ Wr + s, W row by row, then s; empty for other memories, and where what
            a step does is no map of that kind.
        samples: Samples that were looked at.
        skipped: Samples that were left out, since they would have taken too long.
        unmeasured: Steps whose contraction and rotation were left out, likewise.
    """

    ids: list[str]
    modality: list[str]
    step: np.ndarray
    position: np.ndarray
    time: np.ndarray
    word: list[str]
    verdict: list[str]
    amount: np.ndarray
    contraction: np.ndarray
    rotation: np.ndarray
    keep: np.ndarray
    kept: np.ndarray
    write: np.ndarray
    entropy: np.ndarray
    before: np.ndarray
    after: np.ndarray
    score: np.ndarray
    change: np.ndarray
    effect: np.ndarray
    output: np.ndarray
    without: np.ndarray
    outcomes: np.ndarray
    outcome_changes: np.ndarray
    bloch_map: np.ndarray
    samples: int = 0
    skipped: int = 0
    unmeasured: int = 0

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.ids)


def verdicts_of(
    keep: np.ndarray, kept: np.ndarray, before: np.ndarray, after: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Say in a word what steps do, and how strongly.

    ==============  ==================================================  ==========================
    verdict         where                                               amount
    ==============  ==================================================  ==========================
    resets          κ < ½: most of what was held is gone                1 − κ
    inverts         λ ≤ −½                                              −λ
    turns           |λ| < ½ ≤ κ: kept, but turned away from the axis    √(κ² − λ²)
    intensifies     λ ≥ ½, and the memory moves outwards by ≥ ¼         that share, at most 1
    weakens         λ ≥ ½, and it moves inwards by ≥ ¼                  that share, at most 1
    keeps           λ ≥ ½ otherwise                                     λ, at most 1
    ==============  ==================================================  ==========================

    Outwards is away from the middle between the typical memories of a high and a low score, on the side where the
    memory is; 1 is the way from there to either. No amount is above 1.

    Args:
        keep: λ of each step.
        kept: κ of each step.
        before: Where the memory was along the axis.
        after: Where it is behind the step.

    Returns:
        Verdicts, empty where λ is NaN, and amounts.

    Examples:
        >>> ones = np.ones(4)
        >>> verdicts_of(np.array([0, -0.9, 0, 1]), np.array([0, 0.9, 1, 1]), 0.5 * ones, ones)[0]
        ['resets', 'inverts', 'turns', 'intensifies']
    """
    outward = (after - before) * np.sign(before)
    known = np.isfinite(keep)
    cases = [
        known & (kept < HALF),
        known & (keep <= -HALF),
        known & (np.abs(keep) < HALF),
        known & (outward >= OUTWARD),
        known & (outward <= -OUTWARD),
        known,
    ]
    aside = np.sqrt(np.maximum(kept**2 - keep**2, 0))
    amounts = np.select(cases, [1 - kept, -keep, aside, outward, -outward, keep], np.nan)
    names = np.select(cases, VERDICTS, "")
    return names.tolist(), np.clip(amounts, 0, 1)


@torch.no_grad()
def explain_steps(
    model: nn.Module,
    subset: Subset,
    axis: MemoryAxis | None,
    *,
    batch_size: int = 128,
    num_records: int = NUM_RECORDS,
) -> StepExplanation | None:
    """Explain every step of every sample.

    A step's effect is the score minus the score had the memory not met it; the other steps, their times and what goes
    past the fusion stay what they are. Samples are left out, evenly, where all would take some minutes.

    Args:
        model: Any model of `qinn.model`.
        subset: Samples.
        axis: The axis along which the memory is looked at, by `memory_axis`; None for what needs none.
        batch_size: Samples per pass.
        num_records: Records of measured ancillas per sample, of collisions without relaxation between the steps.

    Returns:
        The steps; None for a model that does not follow the stream.
    """
    if not isinstance(model, QiNN) or not isinstance(model.fusion, StreamFusion):
        return None
    was_training = model.training
    model.eval()
    chosen, skipped = _affordable(model.fusion, subset)
    parts, budget, first = [], _Budget(_INFLUENCE_WORK), 0
    for batch in batches(chosen, batch_size, shuffle=False, seed=0, epoch=0) if len(chosen) else ():
        states = model.states(batch)
        output = model(batch).output
        done = 0
        for part in stream_parts(model.fusion, states):
            rows = slice(done, done + len(part.present))
            words = [_words(chosen, first + row) for row in range(rows.start, rows.stop)]
            parts.append(
                _Part(model, part, axis, budget, num_records).columns(
                    list(batch.ids[rows]), output[rows], words
                )
            )
            done = rows.stop
        first += len(batch)
    model.train(was_training)
    return _joined(parts, len(subset), skipped, budget.unmeasured)


@dataclass
class _Budget:
    work: int
    unmeasured: int = 0

    def take(self, steps: int, dim: int) -> int:
        """How many of some steps may be measured."""
        number = min(steps, self.work // dim**6)
        self.work -= number * dim**6
        self.unmeasured += steps - number
        return number


class _Part:
    """The steps of a few samples."""

    def __init__(
        self, model: QiNN, states: ModalityStates, axis: MemoryAxis | None, budget: _Budget, num_records: int
    ) -> None:
        assert isinstance(model.fusion, StreamFusion)
        self.model, self.fusion, self.states, self.axis = model, model.fusion, states, axis
        self.passage = passage_of(self.fusion, states)
        self.meetings = meetings_of(self.fusion, states)
        self.budget, self.num_records = budget, num_records

    def columns(
        self, ids: Sequence[str], output: Tensor, words: Sequence[Mapping[str, list[str]]]
    ) -> dict[str, Any]:
        passage, order = self.passage, self.passage.order
        happens = order.happens
        rows, events = happens.nonzero().unbind(1)
        which, within = self._places()
        found = {
            name: values[rows, events].double().cpu().numpy()
            for name, values in {**self._scores(output), **self._influence(), **self._along()}.items()
        }
        names = [
            "+".join(self.states.names) if each.name == "joint" else each.name for each in passage.streams
        ]
        streams, steps = which[rows, events].tolist(), within[rows, events].tolist()
        verdicts, amounts = verdicts_of(found["keep"], found["kept"], found["before"], found["after"])
        outcomes, changes = self._records()
        return {
            **found,
            "ids": [ids[row] for row in rows.tolist()],
            "modality": [names[stream] for stream in streams],
            "step": np.array(steps, dtype=np.int64),
            "position": events.cpu().numpy(),
            "time": passage.moments[rows, events].double().cpu().numpy(),
            "word": [
                _word(words[row], names[stream], step)
                for row, stream, step in zip(rows.tolist(), streams, steps, strict=True)
            ],
            "verdict": verdicts,
            "amount": amounts,
            "outcomes": outcomes[rows, events].cpu().numpy(),
            "outcome_changes": changes[rows, events].double().cpu().numpy(),
            "bloch_map": _bloch_maps(passage)[rows, events].double().cpu().numpy(),
        }

    def _places(self) -> tuple[Tensor, Tensor]:
        """Of each event, which stream it is of and which of its steps."""
        streams = self.passage.streams
        sizes = [stream.valid.shape[1] for stream in streams]
        device = self.passage.order.places.device
        number = torch.arange(len(streams), device=device).repeat_interleave(
            torch.tensor(sizes, device=device)
        )
        within = torch.cat([torch.arange(size, device=device) for size in sizes])
        return number[self.passage.order.places], within[self.passage.order.places]

    def _read(self, final: Tensor, mean: Tensor) -> Tensor:
        """Outputs of memories (batch, event, …), with what goes past the fusion."""
        hidden = self.states.hidden
        if hidden is not None:
            hidden = hidden.reshape(len(hidden), *[1] * (final.ndim - 2), -1).expand(*final.shape[:-1], -1)
        return outputs_of(self.model, final, mean, hidden)

    def _score(self, outputs: Tensor) -> Tensor:
        return outputs[..., 0] if self.axis is None else self.axis.score(outputs)

    def _scores(self, output: Tensor) -> dict[str, Tensor]:
        passage = self.passage
        running = self._read(passage.after, passage.running_mean)
        start = passage.start.expand(len(output), 1, -1)
        beginning = self._read(start, start)
        without = self._read(passage.final_without, passage.mean_without)
        scores = self._score(running)
        earlier = torch.cat([self._score(beginning), scores[:, :-1]], 1)
        return {
            "output": running,
            "without": without,
            "score": scores,
            "change": scores - earlier,
            "effect": self._score(output)[:, None] - self._score(without),
        }

    def _along(self) -> dict[str, Tensor]:
        passage, axis = self.passage, self.axis
        if axis is None:
            nothing = torch.full_like(passage.before[..., 0], torch.nan)
            return dict.fromkeys(("keep", "kept", "write", "before", "after"), nothing)
        keep, kept, write = axis.along(passage)
        return {
            "keep": keep,
            "kept": kept,
            "write": write,
            "before": axis.position(passage.before),
            "after": axis.position(passage.after),
        }

    def _influence(self) -> dict[str, Tensor]:
        """Contraction, rotation and entropy of the ancilla."""
        passage, fusion = self.passage, self.fusion
        order, dim = passage.order, fusion.memory_dim
        nothing = [
            torch.full(each.valid.shape, torch.nan, device=each.valid.device) for each in passage.streams
        ]
        found = {"contraction": nothing, "rotation": nothing, "entropy": nothing}
        if isinstance(fusion, UnitaryStreamFusion):
            turns = [fusion.turns(stream) for stream in passage.streams]
            cosines = [each.diagonal(dim1=-2, dim2=-1).sum(-1).abs() / dim for each in turns]
            found["contraction"] = [torch.zeros_like(cosine) for cosine in cosines]
            found["rotation"] = [2 * cosine.clamp(max=1).acos() for cosine in cosines]
        elif self.meetings is not None:
            measured = [
                _influence_of(*meeting, stream.valid, self.budget)
                for meeting, stream in zip(self.meetings, passage.streams, strict=True)
            ]
            found["contraction"], found["rotation"] = map(list, zip(*measured, strict=True))
            found["entropy"] = self._entropies(self.meetings)
        return {name: order.of(values) for name, values in found.items()}

    def _entropies(self, meetings: Sequence[tuple[Interaction, Ancillas]]) -> list[Tensor]:
        passage, dim = self.passage, self.fusion.memory_dim
        which, within = self._places()
        entropies = []
        for index, (interaction, ancillas) in enumerate(meetings):
            # Of padding some memory, which is not looked at.
            before = passage.start.expand(*ancillas.batch, ancillas.num_steps, -1).clone()
            rows, events = (passage.order.happens & (which == index)).nonzero().unbind(1)
            before[rows, within[rows, events]] = passage.before[rows, events]
            memories = hermitian_from(before.unflatten(-1, (dim, dim)))
            entropies.append(ancilla_entropies(interaction, ancillas, memories).clamp_min(0))
        return entropies

    def _records(self) -> tuple[Tensor, Tensor]:
        """Outcomes (batch, event, record) and by how much each changed the score of its record."""
        passage, fusion = self.passage, self.fusion
        shape = passage.order.happens.shape
        collides = isinstance(fusion, CollisionFusion) and fusion.relaxation is None and self.num_records > 0
        if not collides or self.meetings is None:
            return torch.zeros(*shape, 0, dtype=torch.long), torch.zeros(*shape, 0)
        sampled = SampledCollisions(self.num_records, seed=_SEED, every=True, record=True)
        interactions, ancillas = zip(*self.meetings, strict=True)
        if fusion.form == "joint":
            found = sampled.evolve(fusion.start, interactions[0], ancillas[0])
        else:
            times = [stream.times for stream in passage.streams]
            found = sampled.evolve_events(fusion.start, interactions, ancillas, times)
        # Both are asked for, and trajectories are pure.
        assert isinstance(found.every, PureEnsemble)
        assert found.outcomes is not None
        # (batch, event, record, S); the joint form has one step at least, as `Order` has.
        memories = ket_coordinates(found.every.kets).flatten(-2)[:, : shape[1]]
        numbers = torch.arange(1, memories.shape[1] + 1, device=memories.device)[:, None, None]
        scores = self._score(self._read(memories, memories.cumsum(1) / numbers))
        start = passage.start.expand(*scores[:, :1].shape, -1)
        before = torch.cat([self._score(self._read(start, start)), scores[:, :-1]], 1)
        outcomes = torch.full((*shape, self.num_records), -1)
        changes = torch.full((*shape, self.num_records), torch.nan)
        outcomes[:, : memories.shape[1]] = found.outcomes.mT[:, : shape[1]].cpu()
        changes[:, : memories.shape[1]] = (scores - before).cpu()
        return outcomes, changes


def _influence_of(
    interaction: Interaction, ancillas: Ancillas, valid: Tensor, budget: _Budget
) -> tuple[Tensor, Tensor]:
    """Contraction and rotation of each step; equal ancillas are measured once."""
    contraction = torch.full(valid.shape, torch.nan, device=valid.device)
    rotation = contraction.clone()
    places = valid.flatten().nonzero()[:, 0]
    if not len(places):
        return contraction, rotation
    factors = [factor.flatten(0, -2)[places] for factor in ancillas.factors]
    present = None if ancillas.present is None else ancillas.present.flatten(0, -2)[places]
    marks = [torch.view_as_real(factor).flatten(1) for factor in factors]
    if present is not None:
        marks.append(present.to(marks[0].dtype))
    keys, members = torch.unique(torch.cat(marks, 1).round(decimals=_DIGITS), dim=0, return_inverse=True)
    firsts = torch.full((len(keys),), len(places), device=valid.device)
    firsts = firsts.scatter_reduce(0, members, torch.arange(len(places), device=valid.device), "amin")
    number = budget.take(len(keys), interaction.memory_dim)
    chosen = firsts[:number]
    if number < len(keys):
        budget.unmeasured += int((members >= number).sum()) - (len(keys) - number)
    if number:
        shown = Ancillas(
            [factor[chosen] for factor in factors],
            present=None if present is None else present[chosen],
            mixtures=ancillas.mixtures,
            validate=False,
        )
        found = collision_influence(interaction, shown)
        known = members < number
        contraction.view(-1)[places[known]] = found.contraction[members[known]].to(contraction.dtype)
        rotation.view(-1)[places[known]] = found.rotation[members[known]].to(rotation.dtype)
    return contraction, rotation


def _bloch_maps(passage: Passage) -> Tensor:
    """W row by row, then s, of each step (batch, event, 12); (batch, event, 0) where there are none."""
    if passage.maps.shape[-1] != 4 or not passage.keeps_trace:
        return passage.maps.new_zeros(*passage.maps.shape[:2], 0)
    matrices = torch.stack([pauli(name, dtype=torch.complex128) for name in ("X", "Y", "Z")])
    axes = hermitian_coordinates(matrices).flatten(1).to(passage.maps)
    nothing = 0.5 * torch.eye(2).flatten().to(passage.maps)
    kept = (axes @ passage.maps @ axes.mT * 0.5).flatten(-2)
    return torch.cat([kept, passage.maps @ nothing @ axes.mT], -1)


def _affordable(fusion: StreamFusion, subset: Subset) -> tuple[Subset, int]:
    """The samples that are explained within the limit of work, evenly spread, and how many are left out."""
    lengths = np.stack([subset.lengths(name) for name in subset.modalities])
    steps = lengths.sum(0) if fusion.form == "factorised" else lengths.max(0)
    work = (steps.astype(np.float64) ** 2 + steps) * fusion.memory_dim**4
    if work.sum() <= _PASSAGE_WORK:
        return subset, 0
    number = max(1, int(len(work) * _PASSAGE_WORK / work.sum()))
    rows = np.unique(np.linspace(0, len(work) - 1, number).astype(np.int64))
    return subset.take(rows), len(work) - len(rows)


def _words(subset: Subset, row: int) -> dict[str, list[str]]:
    """What the steps of a sample stand for, of each modality that says so."""
    found = {name: subset.words(row, name) for name in subset.modalities}
    return {name: words for name, words in found.items() if words is not None}


def _word(words: Mapping[str, list[str]], modality: str, step: int) -> str:
    for name in (modality, *modality.split("+")):
        if name in words:
            return words[name][step] if step < len(words[name]) else ""
    return ""


def _joined(parts: Sequence[Mapping[str, Any]], size: int, skipped: int, unmeasured: int) -> StepExplanation:
    columns: dict[str, Any] = {}
    for name, kind in get_type_hints(StepExplanation).items():
        found = [part[name] for part in parts if name in part]
        if kind is np.ndarray:
            columns[name] = np.concatenate(found) if found else np.zeros(0)
        elif kind is not int:
            columns[name] = [one for part in found for one in part]
    return StepExplanation(**columns, samples=size - skipped, skipped=skipped, unmeasured=unmeasured)
