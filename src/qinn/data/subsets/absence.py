"""Taking modalities away from samples, by masks that depend on a seed and the samples' ids alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError


@dataclass(frozen=True)
class Absence:
    """Which modalities an evaluation takes away from which samples.

    A named modality goes from every sample. Beyond that every modality of every sample goes independently with
    probability `rate`, by a number in [0, 1) made from the seed, the modality and the sample's id: the same samples
    lose the same modalities in every model, fold, order and batch, and what is gone at one rate is gone at every
    higher rate of the same seed. Samples that lose everything stay: what a model says about them is its prior.

    Attributes:
        modalities: Modalities that go from every sample.
        rate: Probability with which each further one goes.
        seed: Seed of the masks.

    Raises:
        ArgumentError: If the rate is not in [0, 1], the seed is negative or a modality is named twice.

    Examples:
        >>> Absence(rate=0.5, seed=1).mask(["a", "b"], ["text", "audio"])
        array([[False,  True],
               [False, False]])
    """

    modalities: tuple[str, ...] = ()
    rate: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ArgumentError(f"A rate of absence must lie between 0 and 1, but it is {self.rate}.")
        if self.seed < 0:
            raise ArgumentError(f"A mask seed must be 0 or more, but it is {self.seed}.")
        if len(set(self.modalities)) < len(self.modalities):
            raise ArgumentError(
                f"Modalities to take away must be distinct, but they are {list(self.modalities)}."
            )

    def __bool__(self) -> bool:
        """Whether anything is taken away."""
        return bool(self.modalities) or self.rate > 0

    def mask(self, ids: Sequence[str], modalities: Sequence[str]) -> Bool[np.ndarray, "n modality"]:
        """Return what goes: True where a sample loses a modality.

        Args:
            ids: Sample identifiers.
            modalities: Modalities of the samples, one column each.

        Raises:
            ArgumentError: If a modality to take away is not among them.
        """
        for name in self.modalities:
            if name not in modalities:
                raise ArgumentError(
                    f"Only a modality of the data can be absent, which are {list(modalities)}, but not `{name}`."
                )
        gone = np.zeros((len(ids), len(modalities)), dtype=bool)
        for column, name in enumerate(modalities):
            if name in self.modalities:
                gone[:, column] = True
            elif self.rate > 0:
                gone[:, column] = uniforms_of(self.seed, name, ids) < self.rate
        return gone

    def apply(self, subset: Subset) -> Subset:
        """Return the samples without what goes.

        Raises:
            ArgumentError: If a modality to take away is not among theirs.
        """
        return subset.lacking(self.mask(subset.ids, subset.modalities)) if self else subset


def uniforms_of(seed: int | str, name: str, ids: Sequence[str]) -> Float64[np.ndarray, "n"]:
    """Return one number in [0, 1) per sample, of 53 bits.

    Args:
        seed: Two seeds give numbers that have nothing to do with each other; so do two names, and two ids.
        name: What the numbers are for, such as a modality.
        ids: Sample identifiers.
    """
    start = hashlib.blake2b(f"{seed}/{len(name)}/{name}/".encode(), digest_size=8)
    numbers = np.empty(len(ids), dtype=np.uint64)
    for at, identifier in enumerate(ids):
        digest = start.copy()
        digest.update(identifier.encode())
        numbers[at] = int.from_bytes(digest.digest(), "little")
    return (numbers >> np.uint64(11)) * 2.0**-53


def present_modalities(subset: Subset) -> Bool[np.ndarray, "n modality"]:
    """Return which modality each sample has.

    Args:
        subset: Samples.
    """
    return np.stack([subset.lengths(name) > 0 for name in subset.modalities], axis=1)
