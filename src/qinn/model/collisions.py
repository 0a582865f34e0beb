"""Fusion along the stream: at every step what the modalities say meets a small memory.

Three cells on the same encoders, memory and read-out: the collision channel, and two rivals that throw nothing away.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.model.fusion import AbsentState
from qinn.model.streams import Stream, StreamForm, order_of, streams_of
from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    Interaction,
    LearnableInteraction,
    LearnableLindbladian,
    LearnableMixture,
    MixedState,
    PureEnsemble,
    State,
    density_of,
    normalize,
    product,
    scale_operator,
)
from qinn.quantum.collisions.meetings import schedule_events
from qinn.quantum.collisions.relaxation import relaxation_jumps
from qinn.quantum.collisions.scan import scan_maps
from qinn.quantum.numerics.turning import unitaries_of
from qinn.records import JointState, ModalityStates

_START = 0.3
"""How strong what a step does to the memory is before training: near nothing, as the norm of V or of Σ_a χ_a W_a."""


class StreamFusion(nn.Module, ABC):
    """A memory that starts in a learned pure state and meets the modalities' states step by step.

    Args:
        dims: State dimension of each modality, in order.
        sequences: Modality name → whether it has sequences; a plain vector is one step, the last.
        memory_dim: Dimension D of the memory.
        form: ``"factorised"``: each modality has an operator of its own, which acts at that modality's own times, as
            the data give them or else (k + 1)/T for the k-th of T steps; an absent modality has no steps.
            ``"joint"``: one operator for the product of all, which step together.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        sequences: Mapping[str, bool],
        memory_dim: int = 4,
        form: StreamForm = "factorised",
    ) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.sequences = dict(sequences)
        self.memory_dim = memory_dim
        self.form: StreamForm = form
        self.free_start = nn.Parameter(torch.randn(2, memory_dim))
        self._add_operators()

    @abstractmethod
    def _add_operators(self) -> None:
        """Add what acts on the memory, one operator for each of `operand_dims`."""

    @property
    def operand_dims(self) -> dict[str, tuple[int, ...]]:
        """Name of each operator → dimensions of the states that it meets."""
        if self.form == "joint":
            return {"joint": tuple(self.dims.values())}
        return {name: (dim,) for name, dim in self.dims.items()}

    @property
    def start(self) -> Complex[Tensor, "memory"]:
        """The memory before the first step."""
        return normalize(torch.complex(self.free_start[0], self.free_start[1]))

    def streams(self, states: ModalityStates) -> tuple[Stream, ...]:
        """Return what is met by each operator."""
        if states.valid is None:
            raise ArgumentError(
                "Argument `states` must have a time axis and say which steps are valid, but it is pooled; give the "
                "encoders a `step_dim`."
            )
        return streams_of(
            states.names,
            states.kets,
            states.valid,
            sequences=self.sequences,
            form=self.form,
            times=states.times,
        )

    def forward(self, states: ModalityStates) -> JointState:
        """Return the memory behind the last step, and its average over the steps."""
        final, mean = self._along(self.streams(states))
        return JointState(("memory",), (self.memory_dim,), final, mean, states.hidden)

    @abstractmethod
    def _along(self, streams: Sequence[Stream]) -> tuple[State, State]:
        """Return the final and the mean state."""


class InteractingFusion(StreamFusion):
    """What learned interactions with the modalities' states do to the memory; arguments as for `StreamFusion`."""

    def _add_operators(self) -> None:
        self.interactions = nn.ModuleDict(
            {
                name: LearnableInteraction(self.memory_dim, dims, scale=_START)
                for name, dims in self.operand_dims.items()
            }
        )
        self.coupling = 1.0

    def interaction(self, name: str) -> Interaction:
        """Return the learned interaction of an operator, what joins memory and ancilla in it times `coupling`."""
        learned: Interaction = self.interactions[name]()
        if self.coupling == 1:
            return learned
        scaled = scale_operator(learned.coupling, (learned.memory_dim, learned.ancilla_dim), self.coupling)
        return Interaction(scaled, learned.memory_dim, learned.ancilla_dims, validate=False)


class CollisionFusion(InteractingFusion):
    """At every step a fresh ancilla, the modalities' state, interacts with the memory and is thrown away.

    ρ ← tr_A[U (ρ ⊗ σ) U†] with U = exp(−iV): a channel whatever V is, which may keep, turn or replace what the memory
    holds (see `qinn.quantum.ExactCollisions`).

    Args:
        dims: As for `StreamFusion`.
        sequences: As for `StreamFusion`.
        memory_dim: As for `StreamFusion`.
        form: As for `StreamFusion`.
        absent_state: In the joint form, what stands for an absent modality: ``"mixed"``, the maximally mixed state, or
            ``"prior"``, a learned density that starts there.
        relaxation: Learned dynamics of the memory between the steps (factorised form only); none if None.
        time: How long relaxation takes: for a second, where the data say when steps happen, from a sample's beginning
            to its last step; or else for a whole sample.

    Raises:
        ArgumentError: If relaxation is asked for where all modalities step together.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        sequences: Mapping[str, bool],
        memory_dim: int = 4,
        form: StreamForm = "factorised",
        absent_state: AbsentState = "mixed",
        relaxation: LearnableLindbladian | None = None,
        time: float = 1.0,
    ) -> None:
        super().__init__(dims, sequences=sequences, memory_dim=memory_dim, form=form)
        if relaxation is not None and (form == "joint" or not time > 0):
            raise ArgumentError(
                "Argument `relaxation` must be None where `form` is `joint` or no `time` passes: it acts between steps "
                "at times of their own."
            )
        priors = form == "joint" and absent_state == "prior"
        self.priors = (
            nn.ModuleDict({name: LearnableMixture(dim) for name, dim in dims.items()}) if priors else None
        )
        self.relaxation = relaxation
        self.time = time

    def meetings(self, states: ModalityStates) -> list[tuple[Interaction, Ancillas]]:
        """Return who meets the memory: each interaction with its ancillas."""
        return [(self.interaction(stream.name), self._ancillas(stream)) for stream in self.streams(states)]

    def _ancillas(self, stream: Stream) -> Ancillas:
        mixtures = None if self.priors is None else [prior() for prior in self.priors.values()]
        return _ancillas(stream, mixtures=mixtures, validate=not self.training)

    def relaxation_jumps(self, states: ModalityStates) -> Float[Tensor, " sample"] | None:
        """Return how many jumps of the relaxation are expected between the steps of each sample; None without one."""
        if self.relaxation is None:
            return None
        streams, relaxation = self.streams(states), self.relaxation()
        interactions, ancillas, times = self._events(streams)
        met = ExactCollisions(mean=False, every=True).evolve_events(
            self.start, interactions, ancillas, times, lindbladian=relaxation, until=self._until(streams)
        )
        intervals = schedule_events(interactions, ancillas, times, 0.0, self._until(streams)).intervals
        assert met.every is not None  # asked for
        assert intervals is not None  # events have times
        behind = met.every.density()
        before = density_of(self.start).expand(len(behind), 1, -1, -1)
        return relaxation_jumps(relaxation, torch.cat([before, behind], 1), intervals.mT).sum(1)

    def _events(self, streams: Sequence[Stream]) -> tuple[list[Interaction], list[Ancillas], list[Tensor]]:
        """Who meets the memory when, in the factorised form."""
        return (
            [self.interaction(stream.name) for stream in streams],
            [self._ancillas(stream) for stream in streams],
            [stream.times * self.time for stream in streams],
        )

    def _until(self, streams: Sequence[Stream]) -> float | None:
        # The end of a sample is not known where its steps have times: it is read out behind the last one.
        timed = any(stream.given is not None for stream in streams)
        return None if self.relaxation is None or timed else self.time

    def _along(self, streams: Sequence[Stream]) -> tuple[State, State]:
        if self.form == "joint":
            interaction, ancillas = self.interaction(streams[0].name), self._ancillas(streams[0])
            states = ExactCollisions().evolve(self.start, interaction, ancillas)
        else:
            states = ExactCollisions().evolve_events(
                self.start,
                *self._events(streams),
                lindbladian=None if self.relaxation is None else self.relaxation(),
                until=self._until(streams),
            )
        assert states.mean is not None  # asked for by default
        return states.final, states.mean


class UnitaryStreamFusion(InteractingFusion):
    """Rival: the memory is turned by exp(−iH(x)), H(x) = tr_A[V (𝟙 ⊗ σ(x))], and nothing is thrown away.

    The same interactions V as in `CollisionFusion`, of which the ancilla here only gives the mean: a unitary, which
    cannot forget.

    Args:
        dims: As for `StreamFusion`.
        sequences: As for `StreamFusion`.
        memory_dim: As for `StreamFusion`.
        form: As for `StreamFusion`; an absent modality is maximally mixed in the joint form.

    Source: unitary cells as a class: docs/theory.md, "Along the stream".
    """

    def turns(self, stream: Stream) -> Complex[Tensor, "batch time memory memory"]:
        """Return the unitary of every step of a stream; 𝟙 where there is none."""
        interaction = self.interaction(stream.name)
        ancillas = _ancillas(stream, mixtures=None, validate=not self.training)
        D, A = interaction.memory_dim, interaction.ancilla_dim
        coupling = interaction.coupling.reshape(D, A, D, A)
        if ancillas.are_pure:
            kets = product(ancillas.factors)[stream.valid]
            densities = kets[:, :, None] * kets[:, None, :].conj()
        else:
            densities = ancillas.density()[stream.valid]
        hamiltonians = torch.einsum("iajb,nba->nij", coupling, densities)
        if not bool(hamiltonians.detach().isfinite().all()):
            raise ArgumentError(
                "The Hamiltonians of the unitary cell must be finite, but they are not; look for NaN in the "
                "interactions, or for a diverged training."
            )
        identity = torch.eye(D, dtype=coupling.dtype, device=coupling.device).expand(
            *stream.valid.shape, D, D
        )
        return identity.index_put((stream.valid,), unitaries_of(hamiltonians))

    def _along(self, streams: Sequence[Stream]) -> tuple[State, State]:
        order = order_of(streams)
        turns = order.of([self.turns(each) for each in streams])
        return _walk(self.start, turns, order.happens, are_unitary=True, validate=not self.training)


class LinearMapStreamFusion(StreamFusion):
    """Rival: the "unitary-like" map at every step, ψ ← A(x)ψ/‖A(x)ψ‖, A(x) = 𝟙 + Σ_a χ_a W_a with W_a free.

    Args:
        dims: As for `StreamFusion`.
        sequences: As for `StreamFusion`.
        memory_dim: As for `StreamFusion`.
        form: As for `StreamFusion`; an absent modality enters as a uniform ket in the joint form.

    Source: QiNN-QJ (arXiv 2510.27091), the criticised earlier fusion, here at every step; the start is ours.
    """

    def _add_operators(self) -> None:
        # Σ_a χ_a W_a has a spectral norm of about the scale for any ket χ, as the interactions have.
        spread, dim = _START / (8 * self.memory_dim) ** 0.5, self.memory_dim
        self.weights = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(2, dim, dim, prod(each)) * spread)
                for name, each in self.operand_dims.items()
            }
        )

    def maps(self, stream: Stream) -> Complex[Tensor, "batch time memory memory"]:
        """Return the map of every step of a stream."""
        kets = list(stream.factors)
        if stream.present is not None:
            kets = [
                torch.where(there[:, None, None], ket, torch.full_like(ket, ket.shape[-1] ** -0.5))
                for ket, there in zip(kets, stream.present.unbind(1), strict=True)
            ]
        free = self.weights[stream.name]
        weight = torch.complex(free[0], free[1])
        identity = torch.eye(self.memory_dim, dtype=weight.dtype, device=weight.device)
        return identity + torch.einsum("ija,nta->ntij", weight, product(kets))

    def _along(self, streams: Sequence[Stream]) -> tuple[State, State]:
        order = order_of(streams)
        maps = order.of([self.maps(each) for each in streams])
        return _walk(self.start, maps, order.happens, are_unitary=False, validate=not self.training)


def _ancillas(stream: Stream, *, mixtures: Sequence | None, validate: bool) -> Ancillas:
    valid = None if bool(stream.valid.all()) else stream.valid
    present = stream.present
    if present is not None:
        time = stream.valid.shape[1]
        present = None if bool(present.all()) else present[:, None].expand(-1, time, -1)
    return Ancillas(stream.factors, valid=valid, present=present, mixtures=mixtures, validate=validate)


def _walk(
    start: Complex[Tensor, "memory"],
    maps: Complex[Tensor, "batch event memory memory"],
    happens: Bool[Tensor, "batch event"],
    *,
    are_unitary: bool,
    validate: bool,
) -> tuple[PureEnsemble, MixedState]:
    """Apply one map after the other to a ket of unit norm; the mean is that of the states behind the steps."""
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    steps = torch.where(happens[..., None, None], maps, identity).transpose(0, 1)
    first = start.expand(len(maps), -1)
    if not are_unitary:
        # The ket of unit norm behind a step does not depend on the norms before it: as constants they only keep the
        # products of many maps from overflow.
        steps = steps / _norms(steps.detach(), first.detach(), happens.mT)[..., None, None]
    kets = normalize(scan_maps(steps, first)).transpose(0, 1)
    # A sample without steps has its start as the mean.
    seen = torch.cat([kets, kets[:, -1:]], 1)
    counts = happens.sum(1, keepdim=True)
    weights: Float[Tensor, "batch event"] = torch.cat([happens, counts == 0], 1) / counts.clamp_min(1)
    mean = torch.einsum("be,bei,bej->bij", weights.to(seen.dtype), seen, seen.conj())
    return PureEnsemble(kets[:, -1:], validate=validate), MixedState(mean, validate=validate)


def _norms(
    steps: Complex[Tensor, "event batch memory memory"],
    start: Complex[Tensor, "batch memory"],
    happens: Bool[Tensor, "event batch"],
) -> Float[Tensor, "event batch"]:
    """By how much each step stretches the ket of unit norm that it meets; 1 where nothing happens."""
    ket, found = start[..., None], []
    for step in steps.unbind(0):
        moved = step @ ket
        norm = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
        # A map of all zeros: nothing to keep in bounds.
        norm = norm + (norm == 0)
        ket = moved / norm
        found.append(norm)
    return torch.where(happens, torch.stack(found)[..., 0, 0], 1.0)
