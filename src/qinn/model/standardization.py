"""Scales that are read off the training split once and saved with the weights."""

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qinn.records import Features


class Standardizer(nn.Module):
    """Subtract the training mean and divide by the training standard deviation, feature by feature.

    ``x' = clip((x − μ)/σ, −limit, limit)``, with μ, σ over the valid steps of the training split (set once by
    `set_statistics`) and saved with the weights. A constant feature (σ = 0) becomes 0.

    Args:
        feature_dim: Number of features.
        limit: Bound on a standardised value, so that one corrupt reading cannot dominate a sample.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, feature_dim: int, *, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("scale", torch.ones(feature_dim))

    def set_statistics(self, mean: Float[Tensor, "feature"], deviation: Float[Tensor, "feature"]) -> None:
        """Store the training statistics; a deviation of (nearly) zero switches the feature off."""
        usable = deviation > 1e-6 * (1.0 + mean.abs())
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(usable, 1.0 / deviation.clamp_min(1e-30), torch.zeros_like(deviation)))

    def forward(self, features: Features) -> Float[Tensor, "batch time feature"]:
        """Standardise the valid steps and keep the padding at zero."""
        values = (features.values - self.mean).mul_(self.scale).clamp_(-self.limit, self.limit)
        return values.mul_(features.mask[..., None])


class OutputScale(nn.Module):
    """Scale a network's raw output to the labels: ``y = mean + sd·raw`` (regression), unchanged for logits.

    Args:
        num_outputs: Width of the output.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(num_outputs))
        self.register_buffer("scale", torch.ones(num_outputs))

    def set_labels(self, labels: Tensor) -> None:
        """Take mean and deviation of scores, log frequencies of classes, log odds of labels (-1: not known)."""
        if labels.is_floating_point():
            self.offset.fill_(labels.mean())
            self.scale.fill_(labels.std(correction=0).clamp_min(1e-6))
        elif labels.ndim == 2:
            present, absent = ((labels == state).sum(0).float() + 1.0 for state in (1, 0))
            self.offset.copy_((present / absent).log())
        else:
            counts = torch.bincount(labels, minlength=self.offset.numel()).float() + 1.0
            self.offset.copy_((counts / counts.sum()).log())

    def forward(self, raw: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch output"]:
        """Return scores or logits."""
        return self.offset + self.scale * raw


def set_training_statistics(
    model: nn.Module,
    statistics: Mapping[str, tuple[Tensor, Tensor]],
    labels: Tensor,
    *,
    unseen: Collection[str] = (),
) -> None:
    """Give a model the scales of its training split, before the first step.

    Args:
        model: Any model of this package.
        statistics: Modality name → (mean, standard deviation) of each feature over the valid steps.
        labels: Training scores (float), class indices (int64), or several labels (int64, one column each).
        unseen: Modalities that no training sample has; the model takes them for absent from then on.
    """
    encoders = getattr(model, "encoders", None)
    if encoders is not None:
        for name, encoder in encoders.items():
            standardizer = encoder.embedding.standardizer if encoder.embedding else encoder.standardizer
            if standardizer is not None:
                standardizer.set_statistics(*statistics[name])
        encoders.seen_in_training.copy_(torch.tensor([name not in unseen for name in encoders]))
    for module in model.modules():
        if isinstance(module, OutputScale):
            module.set_labels(labels)
