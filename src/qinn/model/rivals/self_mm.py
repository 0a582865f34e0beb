"""Self-MM: every modality learns to predict labels of its own, which training makes up from those of the samples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.model.auxiliary import AuxiliaryLoss
from qinn.model.encoded_baseline import EncodedBaseline
from qinn.model.encoders import Encoders
from qinn.records import Batch, Prediction

__all__ = ["PseudoLabels", "SelfMM", "Views", "unimodal_labels"]

_TINY = 1e-8


@dataclass(frozen=True, kw_only=True)
class Views(Prediction):
    """A prediction of `SelfMM` in training, with what its loss looks at.

    Attributes:
        present: Which modality each sample has.
        scores: What each modality predicts alone.
        representations: F*, of all modalities together first, and then of each.
    """

    present: Bool[Tensor, "batch modality"]
    scores: Float[Tensor, "batch modality"]
    representations: Float[Tensor, "batch view hidden"]


class SelfMM(EncodedBaseline):
    """Self-supervised multi-task network: ŷ = w·F* + b with F* = ReLU(W(h_1 ⊕ … ⊕ h_M)), and the like for each h_m.

    In training each modality predicts labels of its own beside (`PseudoLabels`); the loss is that of the task, and
    Σ_m tanh(|y_m − y|) |ŷ_m − y_m| in mean over the samples that have the modality. Scores only: classes are no
    quantities that distances could be added to.

    Args:
        encoders: One encoder per modality, in order.
        num_outputs: 1.
        dropout: Dropout of what the maps to F* see.

    Raises:
        ArgumentError: If there is more than one output.

    Source: Yu et al., "Learning Modality-Specific Representations with Self-Supervised Multi-Task Learning for
        Multimodal Sentiment Analysis", AAAI 2021.
    """

    scores_only: ClassVar[bool] = True

    def __init__(self, encoders: Encoders, *, num_outputs: int, dropout: float = 0.2) -> None:
        super().__init__(encoders, num_outputs)
        if num_outputs != 1:
            raise ArgumentError(
                "Argument `num_outputs` must be 1 for `self_mm`, which makes up scores of single modalities, but it "
                f"is {num_outputs}; choose another kind of model for classes and labels."
            )
        dim = encoders.hidden_dim
        widths = [len(encoders) * dim, *[dim] * len(encoders)]
        self.maps = nn.ModuleList(
            nn.Sequential(nn.Dropout(dropout), nn.Linear(width, dim), nn.ReLU()) for width in widths
        )
        self.scores = nn.ModuleList(nn.Linear(dim, 1) for _ in widths)

    def forward(self, batch: Batch) -> Prediction:
        """Predict from all modalities together; in training, hand over what each says alone."""
        hidden = self.encode(batch)
        together = self.maps[0](torch.cat(hidden, -1))
        output = self.output_scale(self.scores[0](together))
        if not self.training:
            return Prediction(output)
        usable = self.encoders.usable(batch)
        alone = [one(own) for one, own in zip(self.maps[1:], hidden, strict=True)]
        scores = [score(one) for score, one in zip(self.scores[1:], alone, strict=True)]
        return Views(
            output,
            present=torch.stack([usable.features[name].present for name in self.encoders], 1),
            scores=self.output_scale(torch.cat(scores, -1)[..., None])[..., 0],
            representations=torch.stack([together, *alone], 1),
        )

    def auxiliary_loss(self, ids: Iterable[str], labels: Tensor) -> AuxiliaryLoss:
        """Return the loss of the single modalities, with the labels of the samples as theirs to begin with."""
        scores = labels.to(next(self.parameters()))
        return PseudoLabels(ids, scores, num_modalities=len(self.encoders), dim=self.encoders.hidden_dim)


class PseudoLabels(AuxiliaryLoss):
    """Labels of every single modality of every training sample, and the loss that teaches them.

    They are the sample's label in the first epoch. In the i-th, once a batch has been learned, `unimodal_labels` makes
    new ones of it, bounded by the labels that occur, and y_m becomes (i − 1)/(i + 1) y_m + 2/(i + 1) of the new.
    Distances are measured to the centres of the epoch before: of each view, the mean F* of samples whose label of that
    view is above the neutral one, and of those below; where there are none of either, labels stay. Neutral is 0, or the
    mean of labels that all have one sign.

    Args:
        ids: The training samples.
        labels: Their scores.
        num_modalities: Number of modalities.
        dim: Width of F*.

    Source: Yu et al., as for `SelfMM`, eqs. 5 to 11 and algorithm 1; neutral labels other than 0 own.
    """

    def __init__(
        self, ids: Iterable[str], labels: Float[Tensor, "sample"], *, num_modalities: int, dim: int
    ) -> None:
        low, high = labels.min(), labels.max()
        self.neutral = torch.zeros_like(low) if low < 0 < high else labels.mean()
        self.bounds = low - self.neutral, high - self.neutral
        self.row = {name: row for row, name in enumerate(ids)}
        views = 1 + num_modalities
        self.labels = (labels - self.neutral)[:, None].repeat(1, num_modalities)
        self.centres = labels.new_zeros(views, 2, dim)
        self.known = labels.new_zeros(views)
        self.epoch = 1
        self._begin()

    def of(self, prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
        """Return the loss of a batch, and then make new labels of it."""
        assert isinstance(prediction, Views)
        assert batch.labels is not None
        rows = torch.tensor([self.row[name] for name in batch.ids], device=self.labels.device)
        label = batch.labels - self.neutral
        given, present = self.labels[rows], prediction.present
        weights = (given - label[:, None]).abs().tanh() * present
        errors = (prediction.scores - self.neutral - given).abs()
        loss = (weights * errors).sum(0) / present.sum(0).clamp_min(1)
        self._learn(rows, label, present, prediction.representations.detach())
        return loss.sum()

    def _learn(self, rows: Tensor, label: Tensor, present: Tensor, views: Tensor) -> None:
        if self.epoch > 1:
            new = unimodal_labels(label, views, self.centres).clamp(*self.bounds)
            changes = present & (self.known[1:] * self.known[0] > 0)
            share = 2 / (self.epoch + 1)
            self.labels[rows] = torch.where(
                changes, torch.lerp(self.labels[rows], new, share), self.labels[rows]
            )
        of_views = torch.cat([label[:, None], self.labels[rows]], 1)
        there = torch.cat([torch.ones_like(present[:, :1]), present], 1)
        sides = torch.stack([of_views > 0, of_views < 0], -1) & there[..., None]
        self._sums += torch.einsum("bvs,bvd->vsd", sides.to(views), views)
        self._counts += sides.sum(0)

    def _begin(self) -> None:
        self._sums = torch.zeros_like(self.centres)
        self._counts = self.centres.new_zeros(self.centres.shape[:2])

    def end_epoch(self) -> None:
        """Take the means over the epoch for the next one's centres."""
        self.centres = self._sums / self._counts.clamp_min(1)[..., None]
        self.known = (self._counts > 0).all(1).to(self.centres)
        self.epoch += 1
        self._begin()

    def to_state(self) -> dict[str, Tensor]:
        """Return labels, centres and the number of the next epoch, from 1."""
        return {
            "labels": self.labels,
            "centres": self.centres,
            "known": self.known,
            "epoch": torch.tensor(self.epoch),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of the same training."""
        for name, place in (("labels", self.labels), ("centres", self.centres), ("known", self.known)):
            place.copy_(state[name])
        self.epoch = int(state["epoch"])


def unimodal_labels(
    label: Float[Tensor, "sample"],
    views: Float[Tensor, "sample view dim"],
    centres: Float[Tensor, "view side dim"],
) -> Float[Tensor, "sample modality"]:
    """Return y_m = y + (α_m − α)/2 · (y + α)/α: the mean of y α_m/α and y + α_m − α.

    α = (D⁻ − D⁺)/(D⁺ + ε) of each view says how much nearer it lies to the centre of positive samples than to that of
    negative ones, with D = ‖F* − centre‖²/√dim; α without an index is that of all modalities together.

    Args:
        label: Labels y, from neutral.
        views: F*, of all modalities together first.
        centres: Of each view, that of positive samples and that of negative ones.

    Source: Yu et al., as for `SelfMM`, eqs. 7 to 9.

    Examples:
        >>> centres = torch.tensor([[[1.0], [-1.0]], [[1.0], [-1.0]]])
        >>> unimodal_labels(torch.tensor([1.0]), torch.tensor([[[0.5], [0.0]]]), centres)
        tensor([[-3.5000]])
    """
    distances = (views[:, :, None] - centres).square().sum(-1) / views.shape[-1] ** 0.5
    nearer = (distances[..., 1] - distances[..., 0]) / (distances[..., 0] + _TINY)
    together, alone = nearer[:, :1], nearer[:, 1:]
    # Of what lies half way the ratio has no bound; the labels have.
    divisor = torch.where(together.abs() < _TINY, _TINY, together)
    return label[:, None] + (alone - together) / 2 * (label[:, None] + together) / divisor
