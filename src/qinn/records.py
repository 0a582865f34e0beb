"""The five records that carry everything between the stages.

``Batch → ModalityStates → JointState → Prediction → Explanation``: a stage takes the record before it and
returns the one after it. All are frozen. Axis names used everywhere:

========== =====================================================================
batch      samples
time       steps of a feature sequence (padded; a plain vector has one step)
modality   modalities, in the fixed order of ``names``
trajectory quantum-jump trajectories of one sample (1 for every other evolution)
outcome    measurement vectors (J)
output     1 for regression; number of classes for classification (logits)
========== =====================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Complex, Float, Float64, Int
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.states.ensembles import State


@dataclass(frozen=True)
class Features:
    """One modality of a batch: padded sequences and their lengths.

    Attributes:
        values: Feature vectors; every step at or beyond a sample's length is zero.
        lengths: Number of valid steps per sample; 0 means that the modality is absent for this sample.
        times: Seconds from a sample's beginning at which each step happens, never falling; those at or beyond a
            sample's length mean nothing. None where the data do not say.
    """

    values: Float[Tensor, "batch time feature"]
    lengths: Int[Tensor, "batch"]
    times: Float64[Tensor, "batch time"] | None = None

    @property
    def mask(self) -> Bool[Tensor, "batch time"]:
        """True where a step holds data."""
        return torch.arange(self.values.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def present(self) -> Bool[Tensor, "batch"]:
        """True where the sample has this modality at all."""
        return self.lengths > 0

    def to(self, device: torch.device | str) -> "Features":
        """Return the same features on another device."""
        times = None if self.times is None else self.times.to(device)
        return Features(self.values.to(device), self.lengths.to(device), times)

    def trimmed(self) -> "Features":
        """Return the same features without the last steps that no sample has; one step at least stays."""
        longest = max(1, int(self.lengths.amax())) if len(self.lengths) else 1
        if longest >= self.values.shape[1]:
            return self
        times = None if self.times is None else self.times[:, :longest].contiguous()
        return Features(self.values[:, :longest].contiguous(), self.lengths, times)

    def rows(self, chosen: slice | Sequence[int]) -> "Features":
        """Return some samples, with the padding that they had.

        Args:
            chosen: Which.
        """
        times = None if self.times is None else self.times[chosen]
        return Features(self.values[chosen], self.lengths[chosen], times)


@dataclass(frozen=True)
class Batch:
    """Samples as the model sees them.

    Attributes:
        ids: Sample identifiers.
        features: Modality name → its features, in the fixed modality order.
        labels: Scores (float) or class indices (int64); None when predicting unlabelled samples.
    """

    ids: tuple[str, ...]
    features: Mapping[str, Features]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(self.features)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch on another device."""
        features = {name: value.to(device) for name, value in self.features.items()}
        return Batch(self.ids, features, None if self.labels is None else self.labels.to(device))

    def first(self, number: int) -> "Batch":
        """Return the first samples, all where there are no more.

        Args:
            number: How many.
        """
        features = {name: value.rows(slice(number)) for name, value in self.features.items()}
        return Batch(self.ids[:number], features, None if self.labels is None else self.labels[:number])

    def without(self, modality: str) -> "Batch":
        """Return the same batch with one modality absent for every sample.

        Raises:
            ArgumentError: If the batch has no such modality.
        """
        if modality not in self.features:
            raise ArgumentError(
                f"Argument `modality` must be one of {list(self.features)}, but it is `{modality}`."
            )
        gone = self.features[modality]
        absent = replace(gone, values=torch.zeros_like(gone.values), lengths=torch.zeros_like(gone.lengths))
        return replace(self, features={**self.features, modality: absent})

    def lacking(self, absent: Bool[Tensor, "batch modality"]) -> "Batch":
        """Return the same batch with some modalities absent for some samples.

        Args:
            absent: True where a modality is taken away, in the order of the modalities.
        """
        features = {}
        for (name, given), gone in zip(self.features.items(), absent.unbind(1), strict=True):
            values = given.values.masked_fill(gone[:, None, None], 0)
            features[name] = replace(given, values=values, lengths=given.lengths.masked_fill(gone, 0))
        return replace(self, features=features)


@dataclass(frozen=True)
class ModalityStates:
    """Each modality's quantum pure state, |ψ_m⟩ ∈ C^{d_m}, ‖ψ_m‖ = 1: one per sample, or one per step of a stream.

    Attributes:
        names: Modality names, in order.
        kets: One tensor per modality, (batch, state) pooled or (batch, time, state) along a stream, where each modality
            has a time axis of its own; rows of absent modalities and of padding hold any unit vector and must not be
            used.
        present: Which modality each sample has.
        valid: Along a stream, which steps of each modality hold data; None where states are pooled.
        hidden: Pooled hidden vectors of all modalities side by side, which go past the fusion; None where none do.
        times: Along a stream, when each step of each modality happens, as in `Features`; None where the data do not
            say.
    """

    names: tuple[str, ...]
    kets: tuple[Complex[Tensor, "batch ... _"], ...]
    present: Bool[Tensor, "batch modality"]
    valid: tuple[Bool[Tensor, "batch _"], ...] | None = None
    hidden: Float[Tensor, "batch hidden"] | None = None
    times: tuple[Float64[Tensor, "batch _"] | None, ...] | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """State dimension d_m of each modality."""
        return tuple(ket.shape[-1] for ket in self.kets)


@dataclass(frozen=True)
class JointState:
    """The evolved joint state of all modalities, of dimension D = Π d_m, or that of a memory which met them in turn.

    Attributes:
        names: Modality names, in tensor-product order; ``("memory",)`` along a stream.
        dims: State dimension of each of them.
        state: Pure ensemble of trajectories, density, or Heisenberg pair (see `qinn.quantum.states.ensembles`).
        mean: Along a stream, the average of the memory's states behind every step.
        hidden: As in `ModalityStates`: pooled hidden vectors that went past the fusion.
    """

    names: tuple[str, ...]
    dims: tuple[int, ...]
    state: State
    mean: State | None = None
    hidden: Float[Tensor, "batch hidden"] | None = None


@dataclass(frozen=True)
class Prediction:
    """What a model says about a batch.

    Attributes:
        output: Scores (output = 1) or logits, averaged over trajectories the way the model defines it.
        trajectory_output: The same per trajectory, when the read-out acts on each trajectory.
        log_likelihood: log-likelihood of each trajectory's record: its value is 0, its gradient is the score
            function (see `qinn.quantum.evolution.jumps`); zeros without gradient for deterministic models.
        probabilities: Measurement probabilities p_j, averaged over trajectories (quantum models only).
    """

    output: Float[Tensor, "batch output"]
    trajectory_output: Float[Tensor, "batch trajectory output"] | None = None
    log_likelihood: Float[Tensor, "batch trajectory"] | None = None
    probabilities: Float[Tensor, "batch outcome"] | None = None


@dataclass(frozen=True)
class Explanation:
    """Why the model says so, sample by sample; entropies and mutual information in bits.

    Attributes:
        ids: Sample identifiers.
        output: The model's scores or logits.
        cuts: Names of the cuts, for example ``"text | audio+vision"``.
        entropy: Entanglement entropy of every cut, mean over trajectories. NaN for a sample that lacks a modality:
            its state is mixed from the start, and the entropy of a part of a mixed state is not entanglement (see
            ``negativity``). None for models without quantum states.
        entropy_per_trajectory: The same for each trajectory.
        entropy_maximum: Largest possible entropy of each cut, log₂ min(d_A, d_B).
        pairs: Names of modality pairs, for example ``"text : audio"``.
        mutual_information: Quantum mutual information of each pair on the averaged state: all correlation.
        negativity: Logarithmic negativity of each pair on the averaged state: 0 without entanglement; for mixed
            states too.
        modalities: Names of the modalities.
        present: Which modality each sample has; what the model takes for absent is not present.
        counterfactuals: Name (``"no jumps"``, ``"no hamiltonian"``, ``"no evolution"``, ``"without text"``, …)
            → the output then.
    """

    ids: tuple[str, ...]
    output: Float[Tensor, "batch output"]
    cuts: tuple[str, ...] = ()
    entropy: Float[Tensor, "batch cut"] | None = None
    entropy_per_trajectory: Float[Tensor, "batch trajectory cut"] | None = None
    entropy_maximum: Float[Tensor, "cut"] | None = None
    pairs: tuple[str, ...] = ()
    mutual_information: Float[Tensor, "batch pair"] | None = None
    negativity: Float[Tensor, "batch pair"] | None = None
    modalities: tuple[str, ...] = ()
    present: Bool[Tensor, "batch modality"] | None = None
    counterfactuals: Mapping[str, Float[Tensor, "batch output"]] = field(default_factory=dict)
