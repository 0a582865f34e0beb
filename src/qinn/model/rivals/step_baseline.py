"""What baselines share that attend to the single steps of every modality."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.model.encoded_baseline import EncodedBaseline
from qinn.model.encoders import Encoders
from qinn.records import Batch

__all__ = ["StepBaseline", "pooled_steps"]


class StepBaseline(EncodedBaseline):
    """A baseline that sees each step of a modality as a vector as wide as the other models' hidden vectors.

    How the other models' encoders pool plays no part. An absent modality has no steps: nothing attends to it. Attention
    costs the square of the number of steps; sequences of more than `max_steps` are pooled to so many.

    Args:
        encoders: One encoder per modality, in order, which pool nothing and whose `step_dim` is their `hidden_dim`.
        num_outputs: Width of the output.
        max_steps: Longest sequence that is attended to step by step; of a longer one, so many means of equal parts

    Raises:
        ArgumentError: If the encoders are made for another model.
    """

    def __init__(self, encoders: Encoders, num_outputs: int, *, max_steps: int) -> None:
        super().__init__(encoders, num_outputs)
        if encoders.step_dim != encoders.hidden_dim or encoders.pooled:
            raise ArgumentError(
                "Argument `encoders` must have a `step_dim` that is their `hidden_dim`, and no pooled vectors, but "
                f"these are {encoders.step_dim} and {encoders.hidden_dim}, and its `pooled` is {encoders.pooled}."
            )
        self.max_steps = max_steps

    def steps(
        self, batch: Batch
    ) -> list[tuple[Float[Tensor, "batch time hidden"], Bool[Tensor, "batch time"]]]:
        """Return each modality's steps, zero in the padding, and which of them there are.

        Args:
            batch: Samples.
        """
        batch = self.encoders.usable(batch)
        _, steps = self.encoders.along(batch)
        return [
            pooled_steps(each, batch.features[name].lengths, self.max_steps)
            for name, each in zip(self.encoders, steps, strict=True)
        ]


def pooled_steps(
    steps: Float[Tensor, "batch time dim"], lengths: Int[Tensor, "batch"], most: int
) -> tuple[Float[Tensor, "batch pooled dim"], Bool[Tensor, "batch pooled"]]:
    """Shorten sequences: of T steps, more than `most`, step t goes into part ⌊t·most/T⌋, and parts become their means.

    Args:
        steps: Sequences.
        lengths: How many steps of each there are.
        most: Number of steps that remain at most.

    Returns:
        The sequences, zero in the padding, and which steps there are.

    Source: own.

    Examples:
        >>> pooled, valid = pooled_steps(torch.tensor([[[1.0], [3.0], [8.0]]]), torch.tensor([3]), 2)
        >>> pooled.flatten().tolist(), valid.tolist()
        ([2.0, 8.0], [[True, True]])
    """
    time = steps.shape[1]
    at = torch.arange(time, device=steps.device)
    valid = at < lengths[:, None]
    if time <= most:
        return steps * valid[..., None], valid
    part = torch.where(lengths[:, None] > most, at * most // lengths.clamp_min(1)[:, None], at)
    belongs = (part[:, None] == at[:most, None]) & valid[:, None]
    counts = belongs.sum(-1, keepdim=True)
    return (belongs.to(steps) @ steps) / counts.clamp_min(1), counts[..., 0] > 0
