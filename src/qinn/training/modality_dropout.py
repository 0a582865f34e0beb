"""Random modality dropout: training samples lose modalities, so that a model learns to do without them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from qinn.records import Batch


def drop_modalities(
    batch: Batch, rates: Mapping[str, float], *, seed: Sequence[int], keep_one: bool = True
) -> Batch:
    """Remove each modality of each sample independently, with its own probability.

    What a sample lacks already stays absent. With `keep_one`, a sample that would lose everything it has keeps
    one of its modalities, drawn with equal odds.

    Args:
        batch: Samples.
        rates: Modality → probability, at least 0 and below 1; one that is not named stays.
        seed: What the draw depends on, and nothing else: in training the seed, the epoch and the step, so that
            all models of an experiment lose the same and a resumed training continues with the same.
        keep_one: Whether every sample keeps a modality.

    Returns:
        The batch, with modalities absent.

    Source: own; the idea is that of dropout, N. Neverova et al., "ModDrop", TPAMI 38 (2016) 1692.

    Examples:
        >>> from qinn.testing import example_batch
        >>> dropped = drop_modalities(
        ...     example_batch({"text": 2, "audio": 2}), {"text": 0.9, "audio": 0.9}, seed=[0]
        ... )
        >>> sum(features.present.int() for features in dropped.features.values())
        tensor([1, 1, 1, 1], dtype=torch.int32)
    """
    generator = np.random.default_rng([*seed, 0x0D0D])
    present = np.stack([features.present.cpu().numpy() for features in batch.features.values()], axis=1)
    chances = np.array([rates.get(name, 0.0) for name in batch.features])
    absent = generator.random(present.shape) < chances
    # Drawn in any case: the same modalities are lost with and without the rule.
    favourite = np.where(present, generator.random(present.shape), -1.0).argmax(axis=1)
    if keep_one:
        lost = ~(present & ~absent).any(axis=1)
        absent[lost, favourite[lost]] = False
    return batch.lacking(torch.from_numpy(absent).to(next(iter(batch.features.values())).lengths.device))
