"""Several labels of the samples of `known_answer_set`, each told by some of the modalities, with their best scores."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float64, Int64

FLIPPED = 0.1
"""η, the share of every label that is turned round, whatever the sequences say."""

EMOTIONS: dict[str, tuple[tuple[str, ...], float]] = {
    "pleased": (("text",), 0.5),
    "aroused": (("audio",), 0.3),
    "tense": (("vision",), 0.2),
    "ironic": (("text", "audio"), 0.5),
}
"""Label → the modalities that tell it together, and π, the share of the samples that have it before any is turned."""


def emotions_of(
    latents: Float64[np.ndarray, "n 3 2"], generator: np.random.Generator
) -> Int64[np.ndarray, "n label"]:
    """Return which labels samples have: u > 0, w_a > 0.4, w_v > 0.6 and s u < 0, each turned round with probability η.

    Of what a modality says alone nothing tells whether s u < 0, since s and the sign of u are fair coins.

    Args:
        latents: (u, w_t), (s, w_a), (v, w_v) of each sample.
        generator: Source of randomness.
    """
    polarity, tone = latents[:, 0, 0], latents[:, 1, 0]
    told = [polarity > 0, latents[:, 1, 1] > 0.4, latents[:, 2, 1] > 0.6, tone * polarity < 0]
    turned = generator.random((len(latents), len(EMOTIONS))) < FLIPPED
    return (np.stack(told, axis=1) != turned).astype(np.int64)


def best_weighted_accuracy(seen: Collection[str]) -> float:
    """Return the largest possible mean over the labels of the weighted accuracy, for a model that sees some modalities.

    Of a label that is told, with y = 1 in a share p = π(1 − η) + (1 − π)η of the samples, what is told is the best
    decision: it holds for (1 − η) of either kind, so ½ (TP/P + TN/N) = ½ (1 − η)(π/p + (1 − π)/(1 − p)). Of one that is
    not told nothing is better than ½.

    Args:
        seen: The modalities.

    Examples:
        >>> best_weighted_accuracy(()), round(best_weighted_accuracy(("text", "audio", "vision")), 4)
        (0.5, 0.8767)
    """
    return float(
        np.mean([_of_told(share) if set(needed) <= set(seen) else 0.5 for needed, share in EMOTIONS.values()])
    )


def _of_told(share: float) -> float:
    present = share * (1 - FLIPPED) + (1 - share) * FLIPPED
    return 0.5 * (1 - FLIPPED) * (share / present + (1 - share) / (1 - present))
