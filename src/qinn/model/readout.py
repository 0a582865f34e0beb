"""From the joint state to a prediction: measurement along trainable vectors, then a head."""

from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.model.remembering import Remembered
from qinn.model.standardization import OutputScale
from qinn.quantum import measurement_vectors_from, score_surrogate
from qinn.records import JointState, Prediction

HeadKind = Literal["linear", "mlp"]


def build_head(
    kind: HeadKind,
    input_dim: int,
    num_outputs: int,
    *,
    hidden_dim: int,
    dropout: float,
    input_dropout: float = 0.0,
) -> nn.Module:
    """Return a linear map, or one hidden layer with GELU and dropout; its input may be dropped out too."""
    head: nn.Module = nn.Linear(input_dim, num_outputs)
    if kind == "mlp":
        head = nn.Sequential(
            nn.Linear(input_dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, num_outputs),
        )
    return nn.Sequential(nn.Dropout(input_dropout), head) if input_dropout else head


class MeasurementReadout(nn.Module):
    """Probabilities p_j = ⟨m_j|ρ|m_j⟩ along trainable unit vectors, then a head.

    The head sees D·p_j − 1, which has mean 0 for random states of any dimension D. Along a stream it sees those of the
    final and of the mean state side by side, and the pooled hidden vectors that went past the fusion.

    Two forms: on the *average* state, output = head(mean over trajectories of p), linear in ρ up to the head;
    or *per trajectory*, output = mean over trajectories of head(p of the trajectory), where a non-linear head
    sees each pure state.

    Args:
        dim: Dimension D of the joint state.
        num_vectors: Number of measurement vectors J.
        num_outputs: Width of the output.
        head: ``"linear"`` or ``"mlp"``.
        per_trajectory: Whether the head acts on each trajectory.
        hidden_dim: Width of the head's hidden layer.
        dropout: Dropout in the head.
        outcome_dropout: Dropout of the measured probabilities before the head.
        num_states: 2 along a stream, where the mean state is measured beside the final one.
        by_pass_dim: Width of the hidden vectors that go past the fusion.

    Raises:
        ArgumentError: If the head is to act on trajectories, but sees more than one state.

    Source: QiNN-QJ (arXiv 2510.27091) states trainable measurement vectors; heads and scaling are ours.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_vectors: int,
        num_outputs: int,
        head: HeadKind,
        per_trajectory: bool,
        hidden_dim: int,
        dropout: float,
        outcome_dropout: float = 0.0,
        num_states: int = 1,
        by_pass_dim: int = 0,
    ) -> None:
        super().__init__()
        if per_trajectory and (num_states > 1 or by_pass_dim):
            raise ArgumentError(
                "Argument `per_trajectory` must be False along a stream, whose states are averages, but it is True."
            )
        self.dim = dim
        self.per_trajectory = per_trajectory
        self.free_vectors = nn.Parameter(torch.randn(num_vectors, 2, dim))
        self.outcome_dropout = nn.Dropout(outcome_dropout if by_pass_dim else 0.0)
        self.head = build_head(
            head,
            num_states * num_vectors + by_pass_dim,
            num_outputs,
            hidden_dim=hidden_dim,
            dropout=dropout,
            input_dropout=0.0 if by_pass_dim else outcome_dropout,
        )
        self.output_scale = OutputScale(num_outputs)
        self._vectors: Remembered[Tensor] = Remembered()

    @property
    def vectors(self) -> Complex[Tensor, "outcome dim"]:
        """The measurement vectors |m_j⟩, each of unit norm."""
        return self._vectors([self.free_vectors], lambda: measurement_vectors_from(self.free_vectors))

    def forward(self, joint: JointState) -> Prediction:
        """Measure the joint state and predict.

        Means over sampled trajectories carry the score-function gradient: the probabilities, and the output. The
        outputs of single trajectories do not; they get it through the loss (see `qinn.training.objective`).
        """
        probabilities = joint.state.probabilities(self.vectors, validate=not self.training)
        log_likelihood = joint.state.log_likelihood
        num_groups = joint.state.num_groups
        average = score_surrogate(probabilities, log_likelihood, num_groups=num_groups).mean(-2)
        if not self.per_trajectory:
            seen = [average]
            if joint.mean is not None:
                seen.append(joint.mean.probabilities(self.vectors, validate=not self.training).mean(-2))
            return Prediction(self._score(torch.cat(seen, -1), joint.hidden), probabilities=average)
        outputs = self._score(probabilities)
        output = score_surrogate(outputs, log_likelihood, num_groups=num_groups).mean(-2)
        return Prediction(output, outputs, log_likelihood, average)

    def _score(
        self, probabilities: Float[Tensor, "*batch outcome"], hidden: Tensor | None = None
    ) -> Float[Tensor, "*batch output"]:
        seen = self.outcome_dropout(self.dim * probabilities - 1.0)
        if hidden is not None:
            seen = torch.cat([seen, hidden], -1)
        return self.output_scale(self.head(seen))
