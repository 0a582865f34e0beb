"""What every trained baseline is made of."""

from collections.abc import Iterable
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from qinn.model.auxiliary import AuxiliaryLoss
from qinn.model.encoders import Encoders
from qinn.model.readout import build_head
from qinn.model.standardization import OutputScale
from qinn.records import Batch


class EncodedBaseline(nn.Module):
    """What the trained baselines share: one encoder per modality, and zero-filling.

    An absent modality enters as a zero vector, as is usual in the field (*zero-filled* baselines in what follows and
    in the tables): the network cannot tell it from one that says zero.

    Args:
        encoders: One encoder per modality, in order.
        num_outputs: Width of the output.
    """

    scores_only: ClassVar[bool] = False
    """Whether it cannot predict classes or labels."""

    def __init__(self, encoders: Encoders, num_outputs: int) -> None:
        super().__init__()
        self.encoders = encoders
        self.output_scale = OutputScale(num_outputs)

    def head_from(self, width: int, dropout: float) -> nn.Module:
        """Return a head with one hidden layer as wide as the encoders', from vectors of a width to the output."""
        num_outputs = len(self.output_scale.offset)
        return build_head("mlp", width, num_outputs, hidden_dim=self.encoders.hidden_dim, dropout=dropout)

    def encode(self, batch: Batch) -> list[Float[Tensor, "batch hidden"]]:
        """Return one hidden vector per modality; zero where it is absent (zero-filling)."""
        batch = self.encoders.usable(batch)
        return [encoder(batch.features[name]) for name, encoder in self.encoders.items()]

    def auxiliary_loss(self, ids: Iterable[str], labels: Tensor) -> AuxiliaryLoss | None:
        """Return what a training adds to the loss of the task from its first step on; None where nothing is added.

        Args:
            ids: The training samples.
            labels: Their scores, classes or labels.
        """
        return None
