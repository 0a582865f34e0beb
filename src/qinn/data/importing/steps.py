"""What happens to single steps on the way into a store: values that are no numbers, and padding."""

from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Float32

from qinn.errors import ConfigError, DataError

__all__ = ["Padding", "StepCleaner", "nonzero_window"]


class StepCleaner:
    """Makes float32 of one modality's samples and treats NaN and ±inf by one policy, counting what it does.

    Args:
        modality: Its name, for messages and notes.
        source: File and array, for messages.
        policy: ``"refuse"``, ``"zero"`` (the single values) or ``"drop-step"`` (every step that has one).
        drop_zeros: Treat a sample that is zero throughout as absent.

    Examples:
        >>> cleaner = StepCleaner("audio", "a.npz:x", "drop-step")
        >>> cleaner.clean(np.array([[1.0], [np.nan]]), "first").tolist(), cleaner.notes()
        ([[1.0]], ['1 steps of `audio` with NaN or infinite values were dropped'])
    """

    def __init__(self, modality: str, source: str, policy: str, *, drop_zeros: bool = False) -> None:
        if policy not in ("refuse", "zero", "drop-step"):
            raise ConfigError(f"Option `nan` must be refuse, zero or drop-step, but it is `{policy}`.")
        self.modality = modality
        self.source = source
        self.policy = policy
        self.drop_zeros = drop_zeros
        self.counts: Counter[str] = Counter()

    def clean(self, values: Any, sample: str) -> Float32[np.ndarray, "_ _"]:
        """Return the steps of a sample that are kept.

        Args:
            values: (time, feature), or (feature,) for one step.
            sample: Its id, for messages.

        Raises:
            DataError: If the values are no numbers, or not finite and the policy is to refuse.
        """
        return self.clean_timed(values, None, sample)[0]

    def clean_timed(
        self, values: Any, times: np.ndarray | None, sample: str
    ) -> tuple[Float32[np.ndarray, "_ _"], np.ndarray | None]:
        """Return the steps of a sample that are kept, and their times.

        Args:
            values: As for `clean`.
            times: One for each step; None where they are not known.
            sample: Its id, for messages.

        Raises:
            DataError: As for `clean`; also if there are more or fewer times than steps.
        """
        array = np.asarray(values)
        if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
            raise DataError(
                f"Sample `{sample}` must have numbers of shape (steps, features) in `{self.source}`, "
                f"but has {array.dtype} of shape {array.shape}."
            )
        if array.ndim == 1:
            array = array[None]
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(np.float32)
        if times is not None and times.shape != (len(array),):
            raise DataError(
                f"Sample `{sample}` has {len(array)} steps in `{self.source}`, but {times.size} times; give one per "
                "step."
            )
        bad = ~np.isfinite(array)
        if bad.any():
            if self.policy == "refuse":
                step, feature = np.argwhere(bad)[0]
                raise DataError(
                    f"Sample `{sample}` has the value {array[step, feature]} in "
                    f"`{self.source}` (step {step}, "
                    f"feature {feature}); correct the file, or import with `--nan zero` or `--nan drop-step`."
                )
            if self.policy == "zero":
                self.counts["values"] += int(bad.sum())
                array[bad] = 0.0
            else:
                dropped = bad.any(axis=1)
                self.counts["steps"] += int(dropped.sum())
                array = array[~dropped]
                times = None if times is None else times[~dropped]
                self.counts["emptied"] += not len(array)
        if self.drop_zeros and len(array) and not array.any():
            self.counts["zeros"] += 1
            array, times = array[:0], None if times is None else times[:0]
        return array, times

    def notes(self) -> list[str]:
        """Say what was done, for the manifest."""
        phrases = {
            "values": f"NaN or infinite values of `{self.modality}` were set to zero",
            "steps": f"steps of `{self.modality}` with NaN or infinite values were dropped",
            "emptied": f"samples lost every step of `{self.modality}` that way and lack it now",
            "zeros": f"samples have nothing but zeros in `{self.modality}` and count as lacking it",
        }
        return [f"{self.counts[key]} {phrase}" for key, phrase in phrases.items() if self.counts[key]]


class Padding:
    """Cuts the padding off one modality's samples, counting what lay where.

    Args:
        modality: Its name, for notes.
        longest: Number of steps that samples are padded to.
        rule: What says which steps are padding, for notes.

    Examples:
        >>> padding = Padding("audio", 3, "steps of zeros")
        >>> padding.cut(np.array([[0.0], [1.0], [0.0]]), 1, 2).tolist()
        [[1.0]]
        >>> padding.notes()
        ['`audio` is padded to 3 steps: 1 steps at the front and 1 at the end were cut off (by steps of zeros)']
    """

    def __init__(self, modality: str, longest: int, rule: str) -> None:
        self.modality = modality
        self.longest = longest
        self.rule = rule
        self.counts: Counter[str] = Counter()

    def cut(self, values: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return the steps from start to stop.

        Args:
            values: (time, feature), padded.
            start: First step that counts.
            stop: The step after the last that counts.
        """
        self.counts["front"] += start
        self.counts["end"] += len(values) - stop
        with np.errstate(invalid="ignore"):  # signalling NaN count as values
            self.counts["overhang"] += bool(values[:start].any() or values[stop:].any())
        return values[start:stop]

    def notes(self) -> list[str]:
        """Say what was cut off, for the manifest."""
        front, end, overhang = (self.counts[key] for key in ("front", "end", "overhang"))
        found = (
            f"{front} steps at the front and {end} at the end were cut off"
            if front or end
            else "no step of padding was found"
        )
        notes = [f"`{self.modality}` is padded to {self.longest} steps: {found} (by {self.rule})"]
        if overhang:
            notes.append(
                f"{overhang} sequences of `{self.modality}` hold values beyond their stated length, which were cut off"
            )
        return notes


def nonzero_window(*arrays: np.ndarray) -> tuple[int, int]:
    """Find the steps that are left when steps of zeros at the front and the end are padding.

    Args:
        arrays: Aligned modalities of one sample, each (time, feature) with the same time.

    Returns:
        First step and the step after the last at which any of them is not zero; (0, 0) if none is.

    Examples:
        >>> nonzero_window(np.array([[0.0], [1.0], [0.0], [2.0], [0.0]]))
        (1, 4)
    """
    with np.errstate(invalid="ignore"):  # signalling NaN count as values
        filled = np.flatnonzero(np.any([np.asarray(array).any(axis=1) for array in arrays], axis=0))
    return (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
