"""Protocols of missing data: each gives what samples lose at a rate, by a seed and the samples' ids alone."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from qinn.data.subsets.absence import present_modalities, uniforms_of
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError

__all__ = [
    "AbsenceProtocol",
    "MaskedTexts",
    "OneKept",
    "Pattern",
    "ProtocolName",
    "Rates",
    "Steps",
    "WholeModalities",
    "protocol_of",
    "sample_rates",
]

ProtocolName = Literal["whole", "keep-one", "steps"]
Pattern = Literal["scattered", "block", "bursts"]

Rates = Mapping[str, float | Float64[np.ndarray, "n"]]
"""Modality → its rate, one for all samples or one for each; a modality that is not named stays."""

_MOST_MODALITIES = 6


@runtime_checkable
class MaskedTexts(Protocol):
    """What makes features of transcripts again, some of whose steps are unknown words."""

    def features(
        self, texts: Sequence[str], lengths: Int64[np.ndarray, "n"], gone: Bool[np.ndarray, "step"]
    ) -> Float32[np.ndarray, "step feature"]:
        """Return the features of all steps after each other.

        Args:
            texts: Transcripts.
            lengths: Number of steps of each.
            gone: True where a step is to be an unknown word, those of all transcripts after each other.
        """
        ...


class AbsenceProtocol(ABC):
    """What samples lose at a rate.

    Whatever a protocol takes follows from the seed, the names of the modalities and each sample's id alone: models,
    folds, orders and batches lose the same, two modalities lose independently of each other, and what is gone at one
    rate is gone at every higher one of the same seed.
    """

    name: ProtocolName

    @abstractmethod
    def without(self, subset: Subset, rates: Rates, seed: int | str) -> Subset:
        """Return samples without what goes.

        Args:
            subset: Samples, which may lack modalities.
            rates: Of absence.
            seed: Of the masks; evaluations have whole numbers, training and selection words, so that none of them
                share a mask.
        """

    def usual_rates(self, modalities: Sequence[str]) -> tuple[float, ...]:
        """Return the rates of a sweep that names none: 0, 0.1 … 0.9."""
        return tuple(step / 10 for step in range(10))

    def fixed_subsets(self, modalities: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return which modalities are kept in conditions that leave nothing to chance; none by default."""
        return ()


@dataclass(frozen=True)
class WholeModalities(AbsenceProtocol):
    """Each modality of each sample goes with the rate, independently of the others.

    Attributes:
        keep_one: Whether a sample that would lose everything keeps one of its modalities, drawn with equal odds.
    """

    keep_one: bool = False
    name: ProtocolName = field(default="whole", init=False)

    def without(self, subset: Subset, rates: Rates, seed: int | str) -> Subset:
        """See `AbsenceProtocol.without`."""
        drawn = np.stack([uniforms_of(seed, name, subset.ids) for name in subset.modalities], axis=1)
        chances = np.stack(
            [np.broadcast_to(rates.get(name, 0.0), (len(subset),)) for name in subset.modalities], axis=1
        )
        gone = drawn < chances
        if self.keep_one:
            present = present_modalities(subset)
            lost = ~(present & ~gone).any(axis=1)
            # What would go last: among those that go all are equally likely, and a higher rate keeps the same.
            last = np.where(present[lost], drawn[lost] / np.maximum(chances[lost], 1e-12), -1.0).argmax(
                axis=1
            )
            gone[np.flatnonzero(lost), last] = False
        return subset.lacking(gone)


@dataclass(frozen=True)
class OneKept(AbsenceProtocol):
    """One modality of each sample, drawn with equal odds, stays; the others go so that the rate is what is lost.

    Of a sample that has k modalities every other one goes with probability min(1, r k / (k − 1)), so the share r of
    what samples have is lost, up to (k − 1)/k: from there on a single modality is left.

    Source: the masks of GCNet (Z. Lian et al., TPAMI 45 (2023) 8419), which IMDer (Y. Wang et al., NeurIPS 2023) and
        others use; theirs are drawn anew until the share is within 0.005 of the rate, ours are not.
    """

    name: ProtocolName = field(default="keep-one", init=False)

    def without(self, subset: Subset, rates: Rates, seed: int | str) -> Subset:
        """See `AbsenceProtocol.without`."""
        present = present_modalities(subset)
        number = present.sum(axis=1)
        scale = number / np.maximum(number - 1, 1)
        gone = np.stack(
            [
                uniforms_of(seed, name, subset.ids) < np.minimum(1.0, rates.get(name, 0.0) * scale)
                for name in subset.modalities
            ],
            axis=1,
        )
        gone[np.arange(len(subset)), _kept(subset, present, seed)] = False
        return subset.lacking(gone)

    def usual_rates(self, modalities: Sequence[str]) -> tuple[float, ...]:
        """Return 0, 0.1 … up to the first that leaves a single modality: 0.7 of three.

        Examples:
            >>> OneKept().usual_rates(["text", "audio"])
            (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
        """
        most = len(modalities)
        return tuple(step / 10 for step in range(11) if (step - 1) * most < 10 * (most - 1))

    def fixed_subsets(self, modalities: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return every choice of some, but not all, of the modalities, the smallest first.

        Raises:
            ArgumentError: If there are so many modalities that the choices are no table any more.
        """
        if len(modalities) > _MOST_MODALITIES:
            raise ArgumentError(
                f"The protocol `keep-one` goes through every choice of modalities, of which {len(modalities)} have "
                f"{2 ** len(modalities) - 2}; choose at most {_MOST_MODALITIES} by `data.modalities`."
            )
        return tuple(
            kept for size in range(1, len(modalities)) for kept in combinations(tuple(modalities), size)
        )


def _kept(subset: Subset, present: Bool[np.ndarray, "n modality"], seed: int | str) -> Int64[np.ndarray, "n"]:
    """Return which of its modalities each sample keeps in any case."""
    drawn = np.stack([uniforms_of(seed, f"kept {name}", subset.ids) for name in subset.modalities], axis=1)
    return np.where(present, drawn, -1.0).argmax(axis=1)


@dataclass(frozen=True)
class Steps(AbsenceProtocol):
    """Each step of each modality goes with the rate: tokens, frames.

    A step that goes is not there: it is no zero, which would be a value like any other. Words that go are unknown
    words to the encoder, which reads the rest of the sentence without them, where `texts` has what encodes them; of
    other text features the step goes.

    Attributes:
        pattern: ``"scattered"``: every step on its own. ``"block"``: one run of steps, anywhere with equal odds, whose
            length is the rate's share of all. ``"bursts"``: runs of `burst` steps on average go or stay together.
        burst: Mean number of steps of a run.
        texts: Modality → what encodes its transcripts again.

    Raises:
        ArgumentError: If a burst is shorter than a step.

    Source: token and frame level after LNLN (H. Zhang et al., NeurIPS 2024); the patterns are our own.
    """

    pattern: Pattern = "scattered"
    burst: float = 5.0
    texts: Mapping[str, MaskedTexts] = field(default_factory=dict[str, MaskedTexts], compare=False)
    name: ProtocolName = field(default="steps", init=False)

    def __post_init__(self) -> None:
        if not self.burst >= 1:
            raise ArgumentError(f"A burst must have 1 step or more on average, but it has {self.burst}.")

    def without(self, subset: Subset, rates: Rates, seed: int | str) -> Subset:
        """See `AbsenceProtocol.without`."""
        for name in subset.modalities:
            rate = np.broadcast_to(rates.get(name, 0.0), (len(subset),))
            lengths = subset.num_steps(name)
            gone = self.mask(subset.ids, lengths, name, rate, seed)
            if not gone.any():
                continue
            if name in self.texts:
                values = self.texts[name].features(subset.texts, lengths, gone)
                subset = subset.with_features(name, values)
            else:
                subset = subset.without_steps(name, gone)
        return subset

    def mask(
        self,
        ids: Sequence[str],
        lengths: Int64[np.ndarray, "n"],
        modality: str,
        rates: Float64[np.ndarray, "n"],
        seed: int | str,
    ) -> Bool[np.ndarray, "step"]:
        """Return which steps go, those of all samples after each other.

        Args:
            ids: Sample identifiers.
            lengths: Number of steps of each.
            modality: Whose steps.
            rates: Of each sample.
            seed: Of the masks.

        Examples:
            >>> gone = Steps("block").mask(["a"], np.array([8]), "audio", np.array([0.5]), 0)
            >>> gone.astype(int).tolist()
            [0, 0, 0, 1, 1, 1, 1, 0]
        """
        found = [np.zeros(0, dtype=bool)]
        for identifier, length, rate in zip(ids, lengths.tolist(), rates.tolist(), strict=True):
            found.append(
                self._of_sample(f"{seed}/{len(modality)}/{modality}/{identifier}", length, rate)
                if length and rate
                else np.zeros(length, dtype=bool)
            )
        return np.concatenate(found)

    def _of_sample(self, key: str, length: int, rate: float) -> np.ndarray:
        # Raw bits of Philox are the same in every version of numpy.
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "little")
        raw = np.random.Philox(key=number).random_raw(2 * length + 2)
        drawn = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)) * 2.0**-53
        if self.pattern == "block":
            size = min(length, int(rate * length + drawn[0]))
            # As the block grows by a step it begins where it did or a step earlier, so it holds the smaller one.
            start = int(drawn[1] * (length - size + 1))
            gone = np.zeros(length, dtype=bool)
            gone[start : start + size] = True
            return gone
        values = drawn[:length]
        if self.pattern == "bursts":
            begins = drawn[length : 2 * length] < 1.0 / self.burst
            begins[0] = True
            values = values[np.maximum.accumulate(np.where(begins, np.arange(length), 0))]
        return values < rate


def protocol_of(
    name: ProtocolName,
    *,
    keep_one: bool = False,
    pattern: Pattern = "scattered",
    burst: float | None = None,
    texts: Mapping[str, MaskedTexts] | None = None,
) -> AbsenceProtocol:
    """Return a protocol by its name.

    Args:
        name: ``"whole"``, ``"keep-one"`` or ``"steps"``.
        keep_one: As of `WholeModalities`.
        pattern: As of `Steps`; so are the others.
        burst: Mean number of steps of a run, of bursts alone; as of `Steps` if None.
        texts: Modality → what encodes its transcripts again.

    Raises:
        ArgumentError: If what is said of steps does not go with the protocol, or what is said of bursts with the
            pattern.

    Examples:
        >>> protocol_of("steps", pattern="block")
        Steps(pattern='block', burst=5.0, texts={}, name='steps')
    """
    if burst is not None and pattern != "bursts":
        raise ArgumentError(
            f"A burst of {burst:g} steps goes with the pattern `bursts` alone, but the pattern is `{pattern}`; choose "
            "the pattern `bursts`, or leave the burst out."
        )
    if name == "steps":
        return Steps(pattern, Steps.burst if burst is None else burst, texts or {})
    if pattern != "scattered":
        raise ArgumentError(
            f"The pattern `{pattern}` is one of steps, but the protocol is `{name}`; choose the protocol `steps`."
        )
    return OneKept() if name == "keep-one" else WholeModalities(keep_one)


def sample_rates(
    rate: float | tuple[float, float] | Mapping[str, float], subset: Subset, seed: int | str
) -> Rates:
    """Return the rates of every modality of some samples.

    Args:
        rate: One for all; lowest and highest of those that are drawn, sample by sample, for all modalities; or
            modality → rate.
        subset: The samples.
        seed: Of what is drawn.
    """
    if isinstance(rate, Mapping):
        return rate
    if isinstance(rate, tuple):
        low, high = rate
        drawn = low + (high - low) * uniforms_of(seed, "rate", subset.ids)
        return dict.fromkeys(subset.modalities, drawn)
    return dict.fromkeys(subset.modalities, rate)
