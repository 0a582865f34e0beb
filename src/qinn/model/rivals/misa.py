"""MISA: what modalities share, and what each has of its own."""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from qinn.model.auxiliary import AuxiliaryLoss
from qinn.model.encoded_baseline import EncodedBaseline
from qinn.model.encoders import Encoders
from qinn.model.rivals.attention import Transformer
from qinn.records import Batch, Prediction

__all__ = ["MISA", "SubspaceLoss", "Subspaces", "central_moment_discrepancy", "overlap"]

_MOMENTS = 5


@dataclass(frozen=True, kw_only=True)
class Subspaces(Prediction):
    """A prediction of `MISA` in training, with what its losses look at.

    Attributes:
        present: Which modality each sample has.
        hidden: The encoders' vectors h_m.
        shared: What they have in common, in [0, 1].
        private: What is of each modality alone, in [0, 1].
        rebuilt: The decoder's ĥ_m.
    """

    present: Bool[Tensor, "batch modality"]
    hidden: Float[Tensor, "batch modality hidden"]
    shared: Float[Tensor, "batch modality hidden"]
    private: Float[Tensor, "batch modality hidden"]
    rebuilt: Float[Tensor, "batch modality hidden"]


class MISA(EncodedBaseline):
    """Modality-invariant and -specific representations: head(flat(transformer(c_1, …, c_M, p_1, …, p_M))).

    c_m = σ(E_c h_m) by a map that is the same for all modalities, p_m = σ(E_m h_m) by one for each; a decoder rebuilds
    ĥ_m = D(c_m + p_m). The loss is that of the task, and α of `central_moment_discrepancy` between the c_m, β of
    `overlap` between c_m and p_m and between the p_m, γ of the mean square of h_m − ĥ_m. An absent modality gives zeros
    to the transformer and takes no part in these losses. Sequences are encoded whole, none is cut to another's length.

    Args:
        encoders: One encoder per modality, in order.
        num_outputs: Width of the output.
        num_heads: Heads of the transformer, which has one layer.
        similarity_weight: Weight α of the discrepancy of what is shared, mean over pairs of modalities.
        difference_weight: Weight β of the overlap of what is to be different, summed over pairs.
        reconstruction_weight: Weight γ of the decoder's error, mean over modalities.
        dropout: Dropout of the transformer and the head.

    Source: Hazarika et al., "MISA: Modality-Invariant and -Specific Representations for Multimodal Sentiment Analysis",
        ACM Multimedia 2020, section 3.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        num_heads: int = 4,
        similarity_weight: float = 1.0,
        difference_weight: float = 0.3,
        reconstruction_weight: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs)
        dim = encoders.hidden_dim
        self.weights = similarity_weight, difference_weight, reconstruction_weight
        self.common = nn.Linear(dim, dim)
        self.own = nn.ModuleList(nn.Linear(dim, dim) for _ in range(len(encoders)))
        self.decoder = nn.Linear(dim, dim)
        self.transformer = Transformer(dim, num_layers=1, num_heads=num_heads, dropout=dropout)
        self.head = self.head_from(2 * len(encoders) * dim, dropout)

    def forward(self, batch: Batch) -> Prediction:
        """Predict from both subspaces of every modality; in training, hand over what the losses look at."""
        usable = self.encoders.usable(batch)
        present = torch.stack([usable.features[name].present for name in self.encoders], 1)
        hidden = torch.stack(self.encode(batch), 1)
        shared = self.common(hidden).sigmoid()
        private = torch.stack([own(hidden[:, m]) for m, own in enumerate(self.own)], 1).sigmoid()
        there = present[..., None]
        tokens = torch.cat([shared * there, private * there], 1)
        every = torch.ones_like(tokens[..., 0], dtype=torch.bool)
        output = self.output_scale(self.head(self.transformer(tokens, every).flatten(1)))
        if not self.training:
            return Prediction(output)
        return Subspaces(
            output,
            present=present,
            hidden=hidden,
            shared=shared,
            private=private,
            rebuilt=self.decoder(shared + private),
        )

    def auxiliary_loss(self, ids: object, labels: object) -> AuxiliaryLoss:
        """Return the losses of the subspaces, which know nothing of samples and labels."""
        return SubspaceLoss(*self.weights)


class SubspaceLoss(AuxiliaryLoss):
    """What `MISA` adds to the loss of the task; arguments as there."""

    def __init__(
        self, similarity_weight: float, difference_weight: float, reconstruction_weight: float
    ) -> None:
        self.weights = similarity_weight, difference_weight, reconstruction_weight

    def of(self, prediction: Prediction, batch: Batch) -> Float[Tensor, ""]:
        """Return α similarity + β difference + γ reconstruction of a batch."""
        assert isinstance(prediction, Subspaces)
        names = range(prediction.present.shape[1])
        pairs = list(itertools.combinations(names, 2))

        def of(values: Tensor, modality: int, *others: int) -> Tensor:
            """The rows of samples that have a modality, and others."""
            return values[prediction.present[:, [modality, *others]].all(1), modality]

        shared, private = prediction.shared, prediction.private
        zero = prediction.output.new_zeros(())
        similarity = sum((central_moment_discrepancy(of(shared, m), of(shared, n)) for m, n in pairs), zero)
        difference = sum((overlap(of(shared, m), of(private, m)) for m in names), zero)
        difference = sum((overlap(of(private, m, n), of(private, n, m)) for m, n in pairs), difference)
        errors = [functional.mse_loss(of(prediction.rebuilt, m), of(prediction.hidden, m)) for m in names]
        there = [m for m in names if bool(prediction.present[:, m].any())]
        reconstruction = sum((errors[m] for m in there), zero) / max(1, len(there))
        alpha, beta, gamma = self.weights
        return alpha * similarity / max(1, len(pairs)) + beta * difference + gamma * reconstruction


def central_moment_discrepancy(
    first: Float[Tensor, "row dim"], second: Float[Tensor, "other dim"]
) -> Float[Tensor, ""]:
    """Return how far two samples of vectors in [0, 1] are apart: ‖E x − E y‖ + Σ_{k=2}^5 ‖C_k(x) − C_k(y)‖.

    C_k is the k-th central moment of each entry. Zero where one of the samples is empty.

    Args:
        first: One vector per row.
        second: Likewise.

    Source: Zellinger et al., "Central Moment Discrepancy (CMD) for Domain-Invariant Representation Learning", ICLR
        2017, eq. 3, with K = 5 as in MISA.

    Examples:
        >>> float(central_moment_discrepancy(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [0.5]])))
        0.3125
    """
    if not len(first) or not len(second):
        return first.new_zeros(())
    means = first.mean(0), second.mean(0)
    centred = first - means[0], second - means[1]
    distance = torch.linalg.vector_norm(means[0] - means[1])
    for order in range(2, _MOMENTS + 1):
        moments = [values.pow(order).mean(0) for values in centred]
        distance = distance + torch.linalg.vector_norm(moments[0] - moments[1])
    return distance


def overlap(first: Float[Tensor, "row dim"], second: Float[Tensor, "row dim"]) -> Float[Tensor, ""]:
    """Return the mean square of the entries of XᵀY, of matrices whose columns have mean 0 and then rows norm 1.

    That is ‖XᵀY‖² of the paper over the number of entries, so that its weights mean the same at any width.

    Args:
        first: One vector per sample.
        second: Of the same samples.

    Source: Hazarika et al., as for `MISA`, section 3.5; Bousmalis et al., "Domain Separation Networks", NeurIPS 2016.
    """
    if not len(first):
        return first.new_zeros(())
    x, y = (functional.normalize(values - values.mean(0), dim=1) for values in (first, second))
    return (x.mT @ y).square().mean()
