"""What intervals and paired tests share: which samples are drawn or swapped, and the metrics of them.

Samples of one group (speaker, video, participant) are not independent: where groups are given, whole groups
are drawn and swapped, never single samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from qinn.errors import ArgumentError
from qinn.evaluation.metrics import Numbers, PreparedMetrics, numbers_of, prepare_metrics
from qinn.evaluation.weighted import CHUNK_ENTRIES, Weights, resample_counts
from qinn.task import Task

FEW_UNITS = 8
"""With fewer groups (or samples) than this, a note says that the interval is rough."""


@dataclass(frozen=True)
class Units:
    """What is drawn: groups of samples, or single samples.

    Attributes:
        codes: Unit of each sample.
        count: Number of units.
        noun: What a unit is called in notes.
    """

    codes: Int[np.ndarray, "sample"]
    count: int
    noun: str

    @classmethod
    def of(cls, num_samples: int, groups: Sequence[str | None] | Shaped[np.ndarray, "..."] | None) -> "Units":
        """Units of the samples; checks that every sample has a group."""
        if groups is None:
            return cls(np.arange(num_samples), num_samples, "samples")
        if len(groups) != num_samples:
            raise ArgumentError(
                f"Argument `groups` must name one group per sample, but there are {len(groups)} groups for "
                f"{num_samples} samples."
            )
        missing = [index for index, group in enumerate(groups) if group is None]
        if missing:
            raise ArgumentError(
                f"Argument `groups` must name one group per sample, but sample {missing[0]} has none; "
                "leave `groups` out, or give every sample a group."
            )
        names, codes = np.unique(np.asarray(groups), return_inverse=True)
        return cls(codes, len(names), "groups")

    @property
    def note(self) -> str:
        """Warning about the number of units; empty if there are enough."""
        if self.count < 2:
            return f"fewer than two {self.noun}: neither interval nor test"
        return f"rough: from only {self.count} {self.noun}" if self.count < FEW_UNITS else ""

    def weighted(self, run: PreparedMetrics) -> PreparedMetrics:
        """Return metrics of the samples as functions of the weights of the units."""
        return run if self.noun == "samples" else run.of_units(self.codes, self.count)

    def twice(self) -> "Units":
        """Return the units of the samples followed by the same samples once more, as units of their own."""
        return Units(np.concatenate([self.codes, self.codes + self.count]), 2 * self.count, self.noun)


def _chunks(total: int, num_units: int) -> Iterator[int]:
    """Sizes of consecutive chunks of resamples."""
    size = max(1, CHUNK_ENTRIES // num_units)
    for start in range(0, total, size):
        yield min(size, total - start)


def bootstrap_weights(units: Units, num_resamples: int, seed: int) -> Iterator[Weights]:
    """Weights of the units in resamples that draw as many units as there are, with replacement."""
    generator = np.random.default_rng([seed, 0])
    for rows in _chunks(num_resamples, units.count):
        drawn = generator.integers(0, units.count, size=(rows, units.count))
        yield resample_counts(drawn, units.count)


def swap_patterns(num_units: int, num_permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Which units are swapped, row by row: every pattern where there are few, random ones otherwise."""
    if is_enumerable(num_units, num_permutations):
        patterns = np.arange(2**num_units)[:, None] >> np.arange(num_units) & 1
        yield patterns.astype(float)
        return
    generator = np.random.default_rng([seed, 1])
    for rows in _chunks(num_permutations, 2 * num_units):
        yield generator.integers(0, 2, size=(rows, num_units)).astype(float)


def is_enumerable(num_units: int, num_permutations: int) -> bool:
    """Whether the permutation test can be exact: all 2^units patterns cost no more than the random ones."""
    return num_units < 31 and 2**num_units <= num_permutations


def of_each_seed(runs: Sequence[PreparedMetrics], weights: Weights) -> dict[str, np.ndarray]:
    """Every metric for each row of weights and each seed; NaN where it is undefined."""
    values = [run(weights) for run in runs]
    return {name: np.stack([value[name] for value in values], axis=1) for name in runs[0].terms}


def mean_over_seeds(runs: Sequence[PreparedMetrics], weights: Weights) -> dict[str, np.ndarray]:
    """Every metric for each row of weights, averaged over the seeds; NaN where a seed has it undefined."""
    return {name: values.mean(axis=1) for name, values in of_each_seed(runs, weights).items()}


@dataclass(frozen=True)
class Resampled:
    """One metric of every seed's model: on the samples, and on resamples of them, the same for all seeds.

    Attributes:
        values: The metric of each seed; NaN where undefined.
        draws: The metric of each seed in each resample.
        units: What was drawn.
    """

    values: Float[np.ndarray, "seed"]
    draws: Float[np.ndarray, "resample seed"]
    units: Units

    def minus(self, other: "Resampled") -> "Resampled":
        """Return the difference to another model's, of the same samples, resamples and seeds."""
        return Resampled(self.values - other.values, self.draws - other.draws, self.units)


def resampled_metrics(
    task: Task,
    labels: Numbers,
    outputs: Numbers,
    *,
    groups: Sequence[str | None] | Shaped[np.ndarray, "..."] | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Resampled]:
    """Return every metric of every seed, on the samples and on resamples; arguments as of `bootstrap_intervals`."""
    labels = numbers_of(labels, "labels")
    runs = prepared(task, labels, outputs, "outputs")
    units = Units.of(len(labels), groups)
    values = of_each_seed(runs, np.ones((1, len(labels))))
    weighted = [units.weighted(run) for run in runs]
    draws = concatenated(
        [of_each_seed(weighted, weights) for weights in bootstrap_weights(units, num_resamples, seed)]
    )
    return {name: Resampled(values[name][0], one, units) for name, one in draws.items()}


def prepared(task: Task, labels: np.ndarray, outputs: Numbers, name: str) -> list[PreparedMetrics]:
    """One set of prepared metrics per seed."""
    outputs = numbers_of(outputs, name)
    if outputs.ndim == 2:
        outputs = outputs[None]
    if outputs.ndim != 3 or not len(outputs):
        raise ArgumentError(
            f"Argument `{name}` must have shape (n, output) or (seeds, n, output), but its shape is "
            f"{outputs.shape}."
        )
    return [prepare_metrics(task, labels, seed_outputs) for seed_outputs in outputs]


def check_options(num_resamples: int, level: float) -> None:
    """Refuse a number of resamples and a level that mean nothing."""
    if num_resamples < 1:
        raise ArgumentError(f"Argument `num_resamples` must be at least 1, but it is {num_resamples}.")
    if not 0.0 < level < 1.0:
        raise ArgumentError(
            f"Argument `level` must lie between 0 and 1, but it is {level}; use 0.95 for 95 %."
        )


def concatenated(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Chunks of resamples put together again."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def defined_or_none(value: float) -> float | None:
    """A value, or None where it is undefined (NaN)."""
    return None if np.isnan(value) else float(value)


def notes_of(units: Units, resampled: np.ndarray) -> str:
    """What to mind about resamples: few units, or some that leave the metric undefined; empty if nothing."""
    count = int(np.isnan(resampled).sum())
    undefined = f"undefined in {count} of {len(resampled)} resamples, which are left out" if count else ""
    return "; ".join(note for note in (units.note, undefined) if note)
