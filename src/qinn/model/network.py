"""QiNN-QJ: the whole forward pass on one page.

encoders → amplitude and phase → tensor product → evolution → measurement → head

Pooled, once per sample; or along the stream, once per step, with a memory that meets what each step says.
"""

import math

import torch
from torch import nn

from qinn.model.collisions import StreamFusion
from qinn.model.encoders import Encoders
from qinn.model.fusion import AmplitudePhase, LinearMapFusion, QuantumFusion
from qinn.model.readout import HeadKind, MeasurementReadout
from qinn.records import Batch, JointState, ModalityStates, Prediction


class QiNN(nn.Module):
    """Quantum-inspired neural network with quantum jumps.

    Args:
        encoders: One encoder per modality, in tensor-product order; with a `step_dim` where the fusion follows the
            stream, and then with pooled vectors exactly where these are to go past the fusion to the head.
        fusion: Product and evolution, or a memory along the stream; its `dims` gives each modality's state dimension.
        num_outputs: 1 for regression, number of classes for classification.
        num_vectors: Number J of measurement vectors.
        head: ``"linear"`` or ``"mlp"``.
        per_trajectory: Whether the head acts on each trajectory or on the averaged probabilities (never along a
            stream).
        dropout: Dropout of the head.
        outcome_dropout: Dropout of the measured probabilities before the head.
        lean: Weight of |0⟩ in the modality states before training, see `AmplitudePhase`.

    Source: QiNN-QJ (arXiv 2510.27091), completed as `docs/theory.md` states.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        fusion: QuantumFusion | LinearMapFusion | StreamFusion,
        num_outputs: int,
        num_vectors: int = 16,
        head: HeadKind = "mlp",
        per_trajectory: bool = True,
        dropout: float = 0.2,
        outcome_dropout: float = 0.0,
        lean: float = 2.0,
    ) -> None:
        super().__init__()
        follows = isinstance(fusion, StreamFusion)
        width = encoders.hidden_dim if encoders.step_dim is None else encoders.step_dim
        self.encoders = encoders
        self.kets = nn.ModuleDict(
            {name: AmplitudePhase(width, d, lean=lean) for name, d in fusion.dims.items()}
        )
        self.fusion = fusion
        self.readout = MeasurementReadout(
            fusion.memory_dim if follows else math.prod(fusion.dims.values()),
            num_vectors=num_vectors,
            num_outputs=num_outputs,
            head=head,
            per_trajectory=per_trajectory and not follows,
            hidden_dim=encoders.hidden_dim,
            dropout=dropout,
            outcome_dropout=outcome_dropout,
            num_states=2 if follows else 1,
            by_pass_dim=encoders.hidden_dim * len(encoders) if follows and encoders.pooled else 0,
        )

    def states(self, batch: Batch) -> ModalityStates:
        """Encode each modality, or each of its steps, as a pure state; one never seen in training counts as absent."""
        batch = self.encoders.usable(batch)
        names = tuple(self.encoders)
        present = torch.stack([batch.features[name].present for name in names], dim=1)
        if not isinstance(self.fusion, StreamFusion):
            kets = [self.kets[name](self.encoders[name](batch.features[name])) for name in names]
            return ModalityStates(names, tuple(kets), present)
        hidden, steps = self.encoders.along(batch)
        kets = [self.kets[name](step) for name, step in zip(names, steps, strict=True)]
        valid = tuple(batch.features[name].mask for name in names)
        times = tuple(batch.features[name].times for name in names)
        return ModalityStates(names, tuple(kets), present, valid, hidden, times)

    def joint(self, batch: Batch) -> JointState:
        """Evolve the product of the modality states, or let the memory meet them step by step."""
        return self.fusion(self.states(batch))

    def forward(self, batch: Batch) -> Prediction:
        """Predict scores or logits for a batch."""
        return self.readout(self.joint(batch))
