"""What a network's paper adds to the loss of the task while it trains."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from qinn.records import Batch, Prediction

__all__ = ["AuxiliaryLoss"]


class AuxiliaryLoss(ABC):
    """A loss beside that of the task, over one training: it may keep what it learns from batch to batch.

    A model makes one where its training begins (`qinn.model.encoded_baseline.EncodedBaseline.auxiliary_loss`). What it
    looks at, the model hands over in a `Prediction` with attributes of its own, in training mode only. A sample counts
    once in an epoch.
    """

    @abstractmethod
    def of(self, prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
        """Return what a step makes smaller beside the loss of the task.

        Args:
            prediction: What the model says of the batch in training mode.
            batch: Labelled samples.
        """

    def end_epoch(self) -> None:
        """Take note that every sample was seen once more; where nothing is kept, that changes nothing."""
        return

    def to_state(self) -> dict[str, Tensor]:
        """Return what `restore` goes on from, at the end of an epoch."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of the same training.

        Args:
            state: What `to_state` gave.

        Raises:
            KeyError, RuntimeError: If it is no state of such a loss.
        """
        if state:
            raise KeyError(next(iter(state)))
