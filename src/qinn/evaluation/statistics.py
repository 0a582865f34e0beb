"""How sure one can be of a metric: intervals, paired tests and summaries over seeds.

Intervals and tests answer "what if the test samples had been others", for the trained models at hand. Where
several seeds are given (outputs of shape (seeds, n, output)), a metric means its average over the seeds, in
every resample. How much a newly trained model would differ is another question: see `summarize_seeds`.

Samples of one group (speaker, video, participant) are not independent: where groups are given, whole groups
are drawn and swapped, never single samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

from qinn.errors import ArgumentError
from qinn.evaluation.metrics import Numbers, PreparedMetrics, numbers_of, prepare_metrics
from qinn.evaluation.resampling import (
    Units,
    bootstrap_weights,
    is_enumerable,
    percentile_interval,
    swap_patterns,
)
from qinn.evaluation.weighted import Weights
from qinn.extras import needs
from qinn.task import Task


@dataclass(frozen=True)
class Interval:
    """A metric and its bootstrap confidence interval.

    Attributes:
        value: The metric on the samples themselves (mean over seeds); None if undefined.
        low: Lower end; None if there is no interval.
        high: Upper end; None if there is no interval.
        level: Confidence level.
        num_units: Number of units that were drawn: groups, or samples where there are no groups.
        num_resamples: Number of resamples in which the metric is defined.
        note: What to mind; empty if nothing.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    num_units: int
    num_resamples: int
    note: str = ""


@dataclass(frozen=True)
class PairedResult:
    """How the metrics of two runs on the same samples compare.

    Attributes:
        difference: Metric of run a minus metric of run b (mean over seeds each); None if either is undefined.
        low: Lower end of the paired bootstrap interval of the difference.
        high: Its upper end.
        p_value: Two-sided p-value of the permutation test that swaps the two runs' predictions.
        mcnemar_p_value: Exact McNemar p-value; only for accuracies of single seeds without groups.
        level: Confidence level of the interval.
        num_units: Number of units that were drawn and swapped: groups, or samples without groups.
        note: What to mind; empty if nothing.
    """

    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    mcnemar_p_value: float | None
    level: float
    num_units: int
    note: str = ""


@dataclass(frozen=True)
class SeedSummary:
    """A metric over several seeds.

    Attributes:
        mean: Mean over the seeds in which it is defined; None if there is none.
        sd: Standard deviation over them (divisor n − 1); None for fewer than two.
        n: Number of seeds in which it is defined.
        num_undefined: Number of seeds in which it is not.
    """

    mean: float | None
    sd: float | None
    n: int
    num_undefined: int = 0


def _mean_over_seeds(runs: Sequence[PreparedMetrics], weights: Weights) -> dict[str, np.ndarray]:
    """Every metric for each row of weights, averaged over the seeds; NaN where a seed has it undefined."""
    values = [run(weights) for run in runs]
    return {name: np.mean([value[name] for value in values], axis=0) for name in runs[0].terms}


def _prepare(task: Task, labels: np.ndarray, outputs: np.ndarray, name: str) -> list[PreparedMetrics]:
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


def _check_options(num_resamples: int, level: float) -> None:
    if num_resamples < 1:
        raise ArgumentError(f"Argument `num_resamples` must be at least 1, but it is {num_resamples}.")
    if not 0.0 < level < 1.0:
        raise ArgumentError(
            f"Argument `level` must lie between 0 and 1, but it is {level}; use 0.95 for 95 %."
        )


def _concatenated(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Chunks of resamples put together again."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _notes(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _undefined_note(resampled: np.ndarray) -> str:
    """Warning about resamples that leave the metric undefined; empty if there is none."""
    count = int(np.isnan(resampled).sum())
    return f"undefined in {count} of {len(resampled)} resamples, which are left out" if count else ""


def bootstrap_intervals(
    task: Task,
    labels: Numbers,
    outputs: Numbers,
    *,
    groups: Sequence[str | None] | Shaped[np.ndarray, "..."] | None = None,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Confidence interval of every metric for new test samples (new groups, where groups are given).

    Args:
        task: What is predicted.
        labels: Scores, or class indices; shape (n,).
        outputs: Predicted scores, or logits; shape (n, output), or (seeds, n, output): the mean over seeds.
        groups: Group of each sample; whole groups are then drawn.
        num_resamples: Number of resamples.
        level: Confidence level.
        seed: Seed of the resampling.

    Returns:
        Metric name → value and interval (see `percentile_interval`).

    Raises:
        ArgumentError: If shapes do not fit, a value is not finite, or an option is out of its range.

    Examples:
        >>> labels = np.linspace(-3.0, 3.0, 60)
        >>> outputs = (labels + np.tile([0.5, -0.5, 1.0], 20))[:, None]
        >>> interval = bootstrap_intervals(Task("regression", -3.0, 3.0, "mosi"), labels, outputs)["mae"]
        >>> round(interval.value, 3), interval.low < interval.value < interval.high
        (0.667, True)
    """
    _check_options(num_resamples, level)
    labels = numbers_of(labels, "labels")
    runs = _prepare(task, labels, outputs, "outputs")
    units = Units.of(len(labels), groups)
    value = _mean_over_seeds(runs, np.ones((1, len(labels))))
    resampled = _concatenated(
        [_mean_over_seeds(runs, weights) for weights in bootstrap_weights(units, num_resamples, seed)]
    )
    intervals: dict[str, Interval] = {}
    for name, values in resampled.items():
        point = _defined(value[name][0])
        low, high = (None, None) if point is None else percentile_interval(values, units.count, level)
        note = (
            "undefined (for at least one seed)"
            if point is None
            else _notes(units.note, _undefined_note(values))
        )
        count = int((~np.isnan(values)).sum())
        intervals[name] = Interval(point, low, high, level, units.count, count, note)
    return intervals


def _swap_differences(
    task: Task,
    labels: np.ndarray,
    outputs_a: np.ndarray,
    outputs_b: np.ndarray,
    units: Units,
    patterns: Iterator[np.ndarray],
) -> dict[str, np.ndarray]:
    """Difference of every metric after swaps: a mixture is a weighting of both runs' samples together."""
    both = [
        prepare_metrics(task, np.concatenate([labels, labels]), np.concatenate([a, b]))
        for a, b in zip(outputs_a, outputs_b, strict=True)
    ]
    parts = []
    for pattern in patterns:
        swapped = units.spread(pattern)
        kept = 1.0 - swapped
        first = _mean_over_seeds(both, np.concatenate([kept, swapped], axis=1))
        second = _mean_over_seeds(both, np.concatenate([swapped, kept], axis=1))
        parts.append({name: first[name] - second[name] for name in first})
    return _concatenated(parts)


def _permutation_p_value(difference: float, permuted: np.ndarray, exact: bool) -> float:
    """Share of swaps whose difference is at least as large; an undefined one counts as large, to be safe."""
    tolerance = 1e-10 * max(1.0, abs(difference))
    extreme = int((np.isnan(permuted) | (np.abs(permuted) >= abs(difference) - tolerance)).sum())
    return extreme / len(permuted) if exact else (1 + extreme) / (1 + len(permuted))


def mcnemar_p_value(right_a: Bool[np.ndarray, "sample"], right_b: Bool[np.ndarray, "sample"]) -> float:
    """Exact two-sided McNemar test that two classifiers are right equally often on the same samples.

    Only samples on which exactly one is right count; under the null hypothesis either is equally likely.

    Args:
        right_a: Whether the first is right, per sample.
        right_b: Whether the second is right.

    Returns:
        The p-value; 1 if the two never differ.

    Examples:
        >>> mcnemar_p_value(np.array([True] * 6), np.array([False] * 5 + [True]))
        0.0625
    """
    with needs("evaluate", "A p-value"):
        from scipy import stats
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return 1.0 if only_a + only_b == 0 else float(stats.binomtest(only_a, only_a + only_b).pvalue)


def _check_same_samples(ids_a: Sequence[str] | None, ids_b: Sequence[str] | None, num_samples: int) -> None:
    """Refuse two runs whose samples differ or stand in another order."""
    if ids_a is None and ids_b is None:
        return
    if ids_a is None or ids_b is None:
        raise ArgumentError("Arguments `ids_a` and `ids_b` must both be given or both be left out.")
    if not len(ids_a) == len(ids_b) == num_samples:
        raise ArgumentError(
            f"The two runs must hold the same samples, but they name {len(ids_a)} and {len(ids_b)} for "
            f"{num_samples} labels; evaluate both on one split."
        )
    for index, (id_a, id_b) in enumerate(zip(ids_a, ids_b, strict=True)):
        if id_a != id_b:
            raise ArgumentError(
                f"The two runs must hold the same samples in the same order, but sample {index} is `{id_a}` "
                f"in the first and `{id_b}` in the second; evaluate both on one split and order them by id."
            )


def _same_seeds(outputs_a: np.ndarray, outputs_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both outputs with one leading seed axis; a single run stands beside each seed of the other."""
    outputs_a = outputs_a[None] if outputs_a.ndim == 2 else outputs_a
    outputs_b = outputs_b[None] if outputs_b.ndim == 2 else outputs_b
    seeds = max(len(outputs_a), len(outputs_b))
    if any(len(outputs) not in (1, seeds) for outputs in (outputs_a, outputs_b)):
        raise ArgumentError(
            f"The two runs must have equally many seeds, or one of them a single seed, but they have "
            f"{len(outputs_a)} and {len(outputs_b)}; compare the seeds that both have."
        )
    return (
        np.broadcast_to(outputs_a, (seeds, *outputs_a.shape[1:])),
        np.broadcast_to(outputs_b, (seeds, *outputs_b.shape[1:])),
    )


def paired_test(
    task: Task,
    labels: Numbers,
    outputs_a: Numbers,
    outputs_b: Numbers,
    *,
    groups: Sequence[str | None] | Shaped[np.ndarray, "..."] | None = None,
    ids_a: Sequence[str] | None = None,
    ids_b: Sequence[str] | None = None,
    num_resamples: int = 2000,
    num_permutations: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, PairedResult]:
    """Compare two runs on the same samples, metric by metric.

    The interval resamples both runs together, so that what makes a sample hard for both cancels. The test
    asks whether the runs are exchangeable: it swaps, sample by sample (group by group where groups are given,
    all seeds at once), the predictions of a and b at random and counts how often the difference becomes as
    large. With few units every pattern of swaps is tried and the test is exact.

    Args:
        task: What is predicted.
        labels: Scores, or class indices; shape (n,).
        outputs_a: Outputs of run a; shape (n, output) or (seeds, n, output).
        outputs_b: Outputs of run b; as many seeds as a, or one of the two has a single one.
        groups: Group of each sample; whole groups are then drawn and swapped.
        ids_a: Sample identifiers of run a, to be checked against those of run b.
        ids_b: Sample identifiers of run b.
        num_resamples: Number of bootstrap resamples.
        num_permutations: Number of swap patterns.
        level: Confidence level.
        seed: Seed of resampling and swapping.

    Returns:
        Metric name → difference a − b with interval and p-values (not corrected for several comparisons: see
        `holm_correction`).

    Raises:
        ArgumentError: If the samples differ between the runs, shapes or numbers of seeds do not fit, a value
            is not finite, or an option is out of its range.

    Examples:
        >>> labels = np.linspace(-3.0, 3.0, 40)
        >>> good, bad = (labels + 0.1)[:, None], (labels + np.tile([1.0, -1.0], 20))[:, None]
        >>> result = paired_test(Task("regression", -3.0, 3.0, "mosi"), labels, good, bad)["mae"]
        >>> round(result.difference, 3), result.p_value < 0.001
        (-0.9, True)
    """
    _check_options(min(num_resamples, num_permutations), level)
    labels = numbers_of(labels, "labels")
    outputs_a, outputs_b = numbers_of(outputs_a, "outputs_a"), numbers_of(outputs_b, "outputs_b")
    _check_same_samples(ids_a, ids_b, len(labels))
    runs_a, runs_b = (
        _prepare(task, labels, outputs_a, "outputs_a"),
        _prepare(task, labels, outputs_b, "outputs_b"),
    )
    stacked_a, stacked_b = _same_seeds(outputs_a, outputs_b)
    units = Units.of(len(labels), groups)

    def difference(weights: Weights) -> dict[str, np.ndarray]:
        a, b = _mean_over_seeds(runs_a, weights), _mean_over_seeds(runs_b, weights)
        return {name: a[name] - b[name] for name in a}

    value = difference(np.ones((1, len(labels))))
    resampled = _concatenated([difference(w) for w in bootstrap_weights(units, num_resamples, seed)])
    patterns = swap_patterns(units.count, num_permutations, 2 * len(labels), seed)
    permuted = _swap_differences(task, labels, stacked_a, stacked_b, units, patterns)
    exact = is_enumerable(units.count, num_permutations)
    single = groups is None and len(stacked_a) == 1
    results: dict[str, PairedResult] = {}
    for name, differences in resampled.items():
        point = _defined(value[name][0])
        if point is None:
            note = "undefined for at least one run"
            results[name] = PairedResult(None, None, None, None, None, level, units.count, note)
            continue
        low, high = percentile_interval(differences, units.count, level)
        p_value = _permutation_p_value(point, permuted[name], exact) if units.count > 1 else None
        right_a, right_b = runs_a[0].hits(name), runs_b[0].hits(name)
        exact_p = (
            None if not single or right_a is None or right_b is None else mcnemar_p_value(right_a, right_b)
        )
        note = _notes(units.note, _undefined_note(differences))
        results[name] = PairedResult(point, low, high, p_value, exact_p, level, units.count, note)
    return results


def summarize_seeds(runs: Sequence[Mapping[str, float | None]]) -> dict[str, SeedSummary]:
    """Mean and standard deviation of every metric over seeds.

    Args:
        runs: Metrics of each seed; all of the same names.

    Returns:
        Metric name → summary.

    Raises:
        ArgumentError: If there is no run, or the runs have different metrics.

    Examples:
        >>> summarize_seeds([{"mae": 0.7}, {"mae": 0.9}])["mae"]
        SeedSummary(mean=0.8, sd=0.14142135623730953, n=2, num_undefined=0)
    """
    if not runs:
        raise ArgumentError("Argument `runs` must hold the metrics of at least one seed, but it is empty.")
    summaries: dict[str, SeedSummary] = {}
    for index, run in enumerate(runs):
        if set(run) != set(runs[0]):
            raise ArgumentError(
                f"Argument `runs` must hold the same metrics for every seed, but seed {index} has "
                f"{sorted(run)} and the first has {sorted(runs[0])}."
            )
    for name in runs[0]:
        defined = [value for run in runs if (value := run[name]) is not None]
        mean = float(np.mean(defined)) if defined else None
        sd = float(np.std(defined, ddof=1)) if len(defined) > 1 else None
        summaries[name] = SeedSummary(mean, sd, len(defined), len(runs) - len(defined))
    return summaries


def holm_correction(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's step-down correction: p-values that keep the chance of any false finding below the level.

    p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)) for the m p-values in rising order.

    Args:
        p_values: Comparison → p-value; None where there is none, which does not count as a comparison.

    Returns:
        Comparison → corrected p-value, in the same order.

    Raises:
        ArgumentError: If a p-value is outside [0, 1].

    Source:
        Holm (1979), A simple sequentially rejective multiple test procedure.

    Examples:
        >>> holm_correction({"tfn": 0.01, "lmf": 0.04, "text": 0.03})
        {'tfn': 0.03, 'lmf': 0.06, 'text': 0.06}
    """
    given = {name: p for name, p in p_values.items() if p is not None}
    for name, p in given.items():
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(f"Argument `p_values` must lie in [0, 1], but `{name}` has {p}.")
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for rank, name in enumerate(sorted(given, key=given.__getitem__)):
        largest = max(largest, min(1.0, (len(given) - rank) * given[name]))
        corrected[name] = largest
    return corrected
