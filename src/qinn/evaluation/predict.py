"""Predictions of a model for a set of samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.buckets import bucketed_batches
from qinn.data.subsets.subset import Subset
from qinn.errors import CheckpointError
from qinn.records import Prediction

MOST_SEQUENCES = 64
"""Samples of sequences per pass: enough to be vectorised, few enough for their steps to stay in the cache."""

MOST_STEPS = 32 * MOST_SEQUENCES
"""Steps per pass where sequences are so short that more samples fit into it."""


@dataclass(frozen=True)
class PredictionTable:
    """One row per sample, in the order of the subset.

    Attributes:
        ids: Sample identifiers.
        labels: Scores, class indices or several labels (-1 where one is not known); None where samples are unlabelled.
        groups: Group (actor, participant, video …) of each sample; None where there is none.
        outputs: Scores (one column) or logits.
        trajectory_std: Standard deviation of the output over trajectories, which is no error of the prediction; None
            for deterministic models.
    """

    ids: tuple[str, ...]
    labels: np.ndarray | None
    groups: tuple[str, ...] | None
    outputs: Float[np.ndarray, "sample output"]
    trajectory_std: Float[np.ndarray, "sample output"] | None


@torch.no_grad()
def predict(
    model: nn.Module, subset: Subset, *, batch_size: int = 256, device: str | torch.device = "cpu"
) -> PredictionTable:
    """Predict every sample, in evaluation mode; the batch size changes nothing but speed and memory.

    Args:
        model: Any model of `qinn.model`.
        subset: Samples to predict.
        batch_size: Samples per forward pass, at most; of sequences 64, or as many as have 2,048 steps, of like
            length.
        device: Where to compute; the model is moved there.

    Returns:
        The predictions, with the standard deviation over trajectories where the model reads out each trajectory.

    Raises:
        CheckpointError: If an output is not finite, which none of a trained model is.
    """
    was_training = model.training
    model.eval().to(device)
    passes = _passes(subset, batch_size)
    outputs, deviations = [], []
    for rows in passes:
        prediction: Prediction = model(batch_of(subset, rows).to(device))
        outputs.append(prediction.output.cpu())
        if prediction.trajectory_output is not None and prediction.trajectory_output.shape[1] > 1:
            deviations.append(prediction.trajectory_output.std(1).cpu())
    model.train(was_training)
    place = torch.from_numpy(np.argsort(np.concatenate(passes)))
    predicted = torch.cat(outputs)[place]
    check_finite(subset.ids, predicted)
    return PredictionTable(
        ids=tuple(subset.ids),
        labels=subset.labels if bool(subset.labelled.all()) else None,
        groups=None if subset.groups is None else tuple(subset.groups.tolist()),
        outputs=predicted.double().numpy(),
        trajectory_std=torch.cat(deviations)[place].double().numpy() if deviations else None,
    )


def _passes(subset: Subset, size: int) -> list[np.ndarray]:
    """Positions of the samples of each pass."""
    lengths = {name: subset.lengths(name) for name in subset.modalities}
    longest = max(int(steps.max(initial=0)) for steps in lengths.values())
    if longest > 1:
        size = min(size, max(MOST_SEQUENCES, MOST_STEPS // longest))
    return bucketed_batches(
        np.arange(len(subset)), lengths, subset.dims, size, bucket=len(subset) // max(1, size) + 1
    )


def check_finite(ids: Sequence[str], outputs: Float[Tensor, "sample output"]) -> None:
    """Refuse outputs that are not finite.

    Raises:
        CheckpointError: Naming the first sample and saying how many there are.
    """
    wrong = ~outputs.isfinite().all(1)
    if bool(wrong.any()):
        raise CheckpointError(
            f"The model's output for sample `{ids[int(wrong.int().argmax())]}` is not a finite number "
            f"({int(wrong.sum())} of {len(wrong)} samples): its weights or the sample's features are too large or "
            "damaged; check both."
        )
