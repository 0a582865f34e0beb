"""The axis of a memory along which a model holds what it will say, and what a step does along it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qinn.data.subsets.batching import batches
from qinn.data.subsets.subset import Subset
from qinn.explain.passage import Passage, outputs_of, passage_of, rows_at_once, rows_of
from qinn.model.collisions import StreamFusion
from qinn.model.network import QiNN
from qinn.quantum import pauli
from qinn.quantum.collisions.real_form import hermitian_coordinates
from qinn.quantum.generators.lindbladian import hermitian_from
from qinn.records import ModalityStates

# States of a batch that the axis is made from; evenly spread over its steps where there are more.
_STATES_PER_BATCH = 4096
# Memories nearer to each other than this are the same to all digits of single precision.
_NOTHING = 1e-5


@dataclass(frozen=True, eq=False)
class MemoryAxis:
    """Two opposite memories: the average of those that are read as a high score, and of those read as a low one.

    The score of a memory is what the read-out says where it is both the final and the mean state; of a classifier a
    contrast of its logits, of several labels the logit of one. "High" and "low" are above and below the average over
    all states behind a step.

    Attributes:
        low: The average memory of a low score, as real coordinates Re ρ + Im ρ.
        high: That of a high one.
        contrast: Weights of the outputs in the score: 1 for a single output, or for one of several labels; of classes
            they add up to 0, those above 0 to 1.
        num_states: From how many states.
    """

    low: Float[Tensor, "squared"]
    high: Float[Tensor, "squared"]
    contrast: Float[Tensor, "output"]
    num_states: int

    @property
    def dim(self) -> int:
        """Dimension D of the memory."""
        return round(len(self.low) ** 0.5)

    @property
    def direction(self) -> Float[Tensor, "squared"]:
        """Unit vector from low to high; traceless, and of a qubit n·σ/√2 with n the axis in the Bloch ball."""
        difference = self.high - self.low
        return difference / torch.linalg.vector_norm(difference)

    @property
    def bloch(self) -> tuple[float, float, float] | None:
        """The axis n = (x, y, z) of a qubit; None for other memories."""
        if self.dim != 2:
            return None
        matrices = torch.stack([pauli(name, dtype=torch.complex128) for name in ("X", "Y", "Z")])
        axes = hermitian_coordinates(matrices).flatten(1).to(self.low.device)
        x, y, z = (axes @ self.direction.double() / 2**0.5).tolist()
        return x, y, z

    @property
    def reach(self) -> float:
        """The component along the direction of the most extreme memory, max |eigenvalue|; of a qubit 1/√2."""
        matrix = hermitian_from(self.direction.reshape(self.dim, self.dim))
        return float(torch.linalg.eigvalsh(matrix).abs().max())

    def position(self, states: Float[Tensor, "*batch squared"]) -> Float[Tensor, "*batch"]:
        """Return where memories are along the axis: −1 where `low` is, +1 where `high` is."""
        low, high = self.low @ self.direction, self.high @ self.direction
        return (2 * (states @ self.direction) - low - high) / (high - low)

    def score(self, outputs: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch"]:
        """Return outputs as one number, by the contrast."""
        return outputs @ self.contrast

    def along(
        self, passage: Passage
    ) -> tuple[Float[Tensor, "batch event"], Float[Tensor, "batch event"], Float[Tensor, "batch event"]]:
        """Return keep λ, what is kept wherever it is turned to, κ, and write s of every step.

        With 𝓔 the step's map, Δ = high − low and n = Δ/‖Δ‖ (Hilbert–Schmidt): λ = ⟨n, 𝓔(high) − 𝓔(low)⟩/‖Δ‖,
        κ = ‖𝓔(high) − 𝓔(low)‖/‖Δ‖ ≥ |λ|, and s = ⟨n, 𝓔(1/D)⟩ in units of the most extreme memory along n.

        Args:
            passage: Where the steps are.
        """
        nothing = torch.eye(self.dim, dtype=self.low.dtype, device=self.low.device).flatten() / self.dim
        found = passage.applied(torch.stack([self.low, self.high, nothing]))
        size = torch.linalg.vector_norm(self.high - self.low)
        kept = (found[..., 1, :] - found[..., 0, :]) / size
        return (
            kept @ self.direction,
            torch.linalg.vector_norm(kept, dim=-1),
            found[..., 2, :] @ self.direction / self.reach,
        )


@torch.no_grad()
def memory_axis(
    model: nn.Module, subset: Subset, *, batch_size: int = 128, label: int = 0
) -> MemoryAxis | None:
    """Find the axis along which a model holds what it will say.

    Args:
        model: A model along the stream, in evaluation mode.
        subset: Samples whose memories are looked at; those of the run's validation split, by `qinn explain`.
        batch_size: Samples per pass.
        label: Of several labels the one whose logit is the score, from 0.

    Returns:
        The axis; None where there is none: the model is pooled, no sample has a step, or all memories say the same.
    """
    if not isinstance(model, QiNN) or not isinstance(model.fusion, StreamFusion):
        return None
    states, hidden = [], []
    for batch in batches(subset, batch_size, shuffle=False, seed=0, epoch=0):
        encoded = model.states(batch)
        if encoded.hidden is not None:
            hidden.append(encoded.hidden)
        found = []
        for part in stream_parts(model.fusion, encoded):
            passage = passage_of(model.fusion, part)
            found.append(passage.after[passage.order.happens])
        seen = torch.cat(found)
        if len(seen) > _STATES_PER_BATCH:
            seen = seen[torch.linspace(0, len(seen) - 1, _STATES_PER_BATCH, device=seen.device).long()]
        states.append(seen)
    memories = torch.cat(states)
    if not len(memories):
        return None
    past = torch.cat(hidden).mean(0).expand(len(memories), -1) if hidden else None
    outputs = outputs_of(model, memories, memories, past)
    contrast = _contrast(outputs)
    if subset.task.is_independent:
        contrast = torch.zeros_like(contrast)
        contrast[label] = 1.0
    scores = outputs @ contrast
    is_high = scores > scores.mean()
    if not bool(is_high.any()) or bool(is_high.all()):
        return None
    low, high = memories[~is_high].mean(0), memories[is_high].mean(0)
    if float(torch.linalg.vector_norm(high - low)) < _NOTHING:
        return None
    return MemoryAxis(low, high, contrast, len(memories))


def stream_parts(fusion: StreamFusion, states: ModalityStates) -> Iterator[ModalityStates]:
    """Cut the states of a batch so that the maps of all steps of a part fit into memory.

    Args:
        fusion: The fusion.
        states: What the modalities say.
    """
    num_events = sum(ket.shape[1] for ket in states.kets)
    at_once = rows_at_once(fusion, num_events)
    for start in range(0, len(states.present), at_once):
        yield rows_of(states, slice(start, start + at_once))


def _contrast(outputs: Float[Tensor, "state output"]) -> Float[Tensor, "output"]:
    """The outputs' weights: of several logits the direction in which they differ most between the states."""
    number = outputs.shape[1]
    if number == 1:
        return outputs.new_ones(1)
    free = outputs - outputs.mean(1, keepdim=True)
    free = free - free.mean(0)
    weights = torch.linalg.svd(free, full_matrices=False)[2][0]
    weights = weights - weights.mean()
    size = weights.abs().sum()
    if not float(size) > 0:
        weights = torch.linspace(-1, 1, number, dtype=outputs.dtype, device=outputs.device)
        size = weights.abs().sum()
    # The last class counts upwards, so that of two classes the score is the log-odds of the second.
    last = weights[weights.abs() > 1e-3 * size][-1]
    return torch.sign(last) * 2 * weights / size
