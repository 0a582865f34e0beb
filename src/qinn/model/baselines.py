"""Classical baselines on the same encoders and the same records as QiNN-QJ."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.model.encoded_baseline import EncodedBaseline
from qinn.model.encoders import Encoders
from qinn.model.linear import LinearFusion
from qinn.model.rivals.almt import ALMT
from qinn.model.rivals.misa import MISA
from qinn.model.rivals.mult import MulT
from qinn.model.rivals.self_mm import SelfMM
from qinn.model.standardization import OutputScale
from qinn.model.streams import Order, Stream, StreamForm, order_of, streams_of
from qinn.records import Batch, Prediction


class Constant(nn.Module):
    """The training mean (regression) or the training class frequencies (classification) for every sample.

    Nothing is trained: the value is the output scale's offset, read off the training labels.

    Args:
        num_outputs: 1 for regression, number of classes for classification.
    """

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.output_scale = OutputScale(num_outputs)

    def forward(self, batch: Batch) -> Prediction:
        """Predict the same for every sample."""
        return Prediction(self.output_scale.offset.expand(len(batch), -1))


class Concatenation(EncodedBaseline):
    """Early fusion: head(h_1 ⊕ … ⊕ h_M). With one modality, the single-modality baseline.

    Args:
        encoders: One encoder per modality, in order.
        num_outputs: Width of the output.
        dropout: Dropout of the head.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs)
        self.head = self.head_from(encoders.hidden_dim * len(encoders), dropout)

    def forward(self, batch: Batch) -> Prediction:
        """Predict from the hidden vectors side by side."""
        return Prediction(self.output_scale(self.head(torch.cat(self.encode(batch), dim=-1))))


class LateFusion(EncodedBaseline):
    """Sum of single-modality scores: Σ_m head_m(h_m); it cannot express any interaction of modalities.

    Args:
        encoders: One encoder per modality, in order.
        num_outputs: Width of the output.
        dropout: Dropout of the heads.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs)
        self.heads = nn.ModuleList(self.head_from(encoders.hidden_dim, dropout) for _ in encoders.items())

    def forward(self, batch: Batch) -> Prediction:
        """Predict the sum of the single-modality scores."""
        scores = [head(hidden) for head, hidden in zip(self.heads, self.encode(batch), strict=True)]
        return Prediction(self.output_scale(torch.stack(scores).sum(0)))


class TensorFusion(EncodedBaseline):
    """Tensor fusion network: head(⊗_m [z_m; 1]) with z_m a short projection of h_m.

    Args:
        encoders: One encoder per modality, in order.
        num_outputs: Width of the output.
        factor_dim: Width of each z_m; the product has (factor_dim + 1)^M entries.
        dropout: Dropout of the head.

    Source: Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP 2017, eq. 3.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        factor_dim: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs)
        self.projections = nn.ModuleList(nn.Linear(encoders.hidden_dim, factor_dim) for _ in encoders.items())
        self.head = self.head_from((factor_dim + 1) ** len(encoders), dropout)

    def forward(self, batch: Batch) -> Prediction:
        """Predict from every product of the modalities' entries."""
        joint = torch.ones(len(batch), 1, device=next(self.parameters()).device)
        for projection, hidden in zip(self.projections, self.encode(batch), strict=True):
            factor = torch.cat([projection(hidden), torch.ones_like(hidden[:, :1])], dim=-1)
            joint = torch.einsum("bi,bj->bij", joint, factor).flatten(1)
        return Prediction(self.output_scale(self.head(joint)))


class LowRankFusion(EncodedBaseline):
    """Low-rank multimodal fusion: Σ_r w_r ∘_m (W_m^{(r)} [h_m; 1]), the tensor fusion's weight in factors.

    Args:
        encoders: One encoder per modality, in order.
        num_outputs: Width of the output.
        rank: Number of rank-one terms.
        dropout: Dropout of the fused vector.

    Source: Liu et al., "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors",
        ACL 2018, eq. 7.
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        rank: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs)
        hidden_dim = encoders.hidden_dim
        self.factors = nn.ParameterList(
            nn.Parameter(torch.randn(rank, hidden_dim + 1, hidden_dim) * (hidden_dim + 1) ** -0.5)
            for _ in encoders.items()
        )
        self.rank_weights = nn.Parameter(torch.randn(rank) * rank**-0.5)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden_dim, num_outputs))

    def forward(self, batch: Batch) -> Prediction:
        """Predict from the low-rank product of the modalities."""
        fused = torch.ones(1)
        for factor, hidden in zip(self.factors, self.encode(batch), strict=True):
            extended = torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=-1)
            fused = fused.to(hidden) * torch.einsum("bi,rio->bro", extended, factor)
        return Prediction(self.output_scale(self.head(torch.einsum("bro,r->bo", fused, self.rank_weights))))


class RecurrentStream(EncodedBaseline):
    """A recurrent network along the stream: head(last ⊕ mean ⊕ h_1 ⊕ … ⊕ h_M), last and mean of its states.

    It sees what `qinn.model.collisions` sees, in the same order: where modalities have steps of their own, one step
    at a time, a one-hot modality beside it and, where the data say when steps happen, log(1 + Δt) with Δt the seconds
    since the step before, for the first since the sample's beginning; where they step together, all side by side,
    absent ones as zeros.

    Args:
        encoders: One encoder per modality, in order, with a `step_dim`.
        num_outputs: Width of the output.
        memory_dim: Width of the state.
        form: ``"factorised"``: steps of all modalities in the order of time; ``"joint"``: all modalities step together.
        timed: Whether the data say when steps happen, in the factorised form.
        by_pass: Whether the head sees the pooled hidden vectors too, beside the recurrent state.
        dropout: Dropout of the head.

    Raises:
        ArgumentError: If the encoders are made for another model.
    """

    _CELL: type[nn.GRU] | type[nn.LSTM] = nn.GRU

    def __init__(
        self,
        encoders: Encoders,
        *,
        num_outputs: int,
        memory_dim: int = 16,
        form: StreamForm = "factorised",
        timed: bool = False,
        by_pass: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(encoders, num_outputs)
        if encoders.step_dim is None or encoders.pooled != by_pass:
            raise ArgumentError(
                "Argument `encoders` must have a `step_dim`, and pooled vectors exactly where `by_pass` is True, but "
                f"its `step_dim` is {encoders.step_dim} and its `pooled` is {encoders.pooled}."
            )
        self.form: StreamForm = form
        self.memory_dim = memory_dim
        self.timed = timed and form == "factorised"
        num = len(encoders)
        width = num * encoders.step_dim if form == "joint" else encoders.step_dim + num + self.timed
        self.recurrent = self._CELL(width, memory_dim, batch_first=True)
        self.head = self.head_from(2 * memory_dim + by_pass * num * encoders.hidden_dim, dropout)

    def forward(self, batch: Batch) -> Prediction:
        """Predict from the last and the mean state; those of a sample without steps are zero."""
        batch = self.encoders.usable(batch)
        hidden, steps = self.encoders.along(batch)
        names = list(self.encoders)
        streams = streams_of(
            names,
            steps,
            [batch.features[name].mask for name in names],
            sequences=self.encoders.sequences,
            form=self.form,
            times=[batch.features[name].times for name in names],
        )
        order = order_of(streams)
        inputs = order.of([self._inputs(stream, names) for stream in streams])
        if self.timed:
            inputs = torch.cat([inputs, self._pauses(streams, order).to(inputs)], -1)
        # Later steps change no earlier state: what stands in the padding does not matter.
        states, _ = self.recurrent(inputs)
        states = states * order.happens[..., None]
        counts = order.happens.sum(1, keepdim=True)
        is_last = torch.arange(states.shape[1], device=states.device) == counts - 1
        last = (states * is_last[..., None]).sum(1)
        mean = states.sum(1) / counts.clamp_min(1)
        seen = torch.cat([last, mean, *([] if hidden is None else [hidden])], -1)
        return Prediction(self.output_scale(self.head(seen)))

    def _inputs(self, stream: Stream, names: list[str]) -> Float[Tensor, "batch time input"]:
        if stream.present is not None:
            parts = [
                each * there[:, None, None]
                for each, there in zip(stream.factors, stream.present.unbind(1), strict=True)
            ]
            return torch.cat(parts, -1)
        [steps] = stream.factors
        marked = torch.zeros(len(names), device=steps.device, dtype=steps.dtype)
        marked[names.index(stream.name)] = 1
        return torch.cat([steps, marked.expand(*steps.shape[:2], -1)], -1)

    def _pauses(self, streams: Sequence[Stream], order: Order) -> Float64[Tensor, "batch event 1"]:
        """Return log(1 + Δt) of every event; 0 in the padding."""
        if any(stream.given is None for stream in streams):
            raise ArgumentError(
                "Argument `batch` must say when steps happen, as the data did that the network is made for; make it "
                "with `timed=False` for data that do not."
            )
        times = order.of([stream.times for stream in streams])
        pauses = times.diff(dim=1, prepend=torch.zeros_like(times[:, :1]))
        return (pauses * order.happens).clamp_min(0).log1p()[..., None]


class GRUStream(RecurrentStream):
    """A GRU along the stream; arguments as for `RecurrentStream`."""


class LSTMStream(RecurrentStream):
    """An LSTM along the stream; arguments as for `RecurrentStream`."""

    _CELL = nn.LSTM


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters (real numbers), of a linear model those that are solved for."""
    if isinstance(model, LinearFusion):
        return model.num_parameters
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


BASELINES: dict[str, type[EncodedBaseline]] = {
    "concatenation": Concatenation,
    "late_fusion": LateFusion,
    "tensor_fusion": TensorFusion,
    "low_rank_fusion": LowRankFusion,
    "gru_stream": GRUStream,
    "lstm_stream": LSTMStream,
    "mult": MulT,
    "misa": MISA,
    "self_mm": SelfMM,
    "almt": ALMT,
}
"""Every trained baseline by the `kind` that names it in a configuration."""
