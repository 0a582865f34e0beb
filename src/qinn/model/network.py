"""QiNN-QJ: the whole forward pass on one page.

encoders → amplitude and phase → tensor product → evolution → measurement → head
"""

import math

import torch
from torch import nn

from qinn.model.encoders import Encoders
from qinn.model.fusion import AmplitudePhase, LinearMapFusion, QuantumFusion
from qinn.model.readout import HeadKind, MeasurementReadout
from qinn.records import Batch, JointState, ModalityStates, Prediction


class QiNN(nn.Module):
    """Quantum-inspired neural network with quantum jumps.

    Args:
        encoders: One encoder per modality, in tensor-product order.
        fusion: Product and evolution; its `dims` gives each modality's state dimension d_m.
        num_outputs: 1 for regression, number of classes for classification.
        num_vectors: Number J of measurement vectors.
        head: ``"linear"`` or ``"mlp"``.
        per_trajectory: Whether the head acts on each trajectory or on the averaged probabilities.
        dropout: Dropout of the head.
        outcome_dropout: Dropout of the measured probabilities before the head.
        lean: Weight of |0⟩ in the modality states before training, see `AmplitudePhase`.

    Source: QiNN-QJ (arXiv 2510.27091), completed as `docs/theory.md` states.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        fusion: QuantumFusion | LinearMapFusion,
        num_outputs: int,
        num_vectors: int = 16,
        head: HeadKind = "mlp",
        per_trajectory: bool = True,
        dropout: float = 0.2,
        outcome_dropout: float = 0.0,
        lean: float = 2.0,
    ) -> None:
        super().__init__()
        hidden_dim = encoders.hidden_dim
        self.encoders = encoders
        self.kets = nn.ModuleDict(
            {name: AmplitudePhase(hidden_dim, d, lean=lean) for name, d in fusion.dims.items()}
        )
        self.fusion = fusion
        self.readout = MeasurementReadout(
            math.prod(fusion.dims.values()),
            num_vectors=num_vectors,
            num_outputs=num_outputs,
            head=head,
            per_trajectory=per_trajectory,
            hidden_dim=hidden_dim,
            dropout=dropout,
            outcome_dropout=outcome_dropout,
        )

    def states(self, batch: Batch) -> ModalityStates:
        """Encode each modality as a pure state; one that no training sample had counts as absent."""
        batch = self.encoders.usable(batch)
        names = tuple(self.encoders)
        kets = [self.kets[name](self.encoders[name](batch.features[name])) for name in names]
        present = torch.stack([batch.features[name].present for name in names], dim=1)
        return ModalityStates(names, tuple(kets), present)

    def joint(self, batch: Batch) -> JointState:
        """Evolve the product of the modality states."""
        return self.fusion(self.states(batch))

    def forward(self, batch: Batch) -> Prediction:
        """Predict scores or logits for a batch."""
        return self.readout(self.joint(batch))
