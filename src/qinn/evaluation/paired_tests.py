"""Whether two models differ on the same samples: paired permutation tests, and p-values corrected over several models.

What is resampled and swapped is said in `qinn.evaluation.intervals`: whole groups where there are groups, all seeds at
once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from qinn.errors import ArgumentError
from qinn.evaluation.intervals import percentile_interval
from qinn.evaluation.metrics import Numbers, PreparedMetrics, numbers_of, prepare_metrics
from qinn.evaluation.resampling import (
    Units,
    bootstrap_weights,
    check_options,
    concatenated,
    defined_or_none,
    is_enumerable,
    mean_over_seeds,
    notes_of,
    prepared,
    swap_patterns,
)
from qinn.evaluation.weighted import Weights
from qinn.extras import needs
from qinn.task import Task


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
class PairedDraws:
    """What a paired test is made of: the difference of every metric, on resamples and after swaps.

    Resamples and swaps follow from the number of units and a seed alone, so those of several tests on the same samples
    go together, draw by draw.

    Attributes:
        value: Metric → the difference; NaN where undefined.
        resampled: Metric → the difference in each resample.
        swapped: Metric → the difference after each pattern of swaps.
        mcnemar: Metric → exact McNemar p-value, where there is one.
        units: What was drawn and swapped.
        is_exact: Whether every pattern of swaps was tried.
    """

    value: Mapping[str, float]
    resampled: Mapping[str, np.ndarray]
    swapped: Mapping[str, np.ndarray]
    mcnemar: Mapping[str, float | None]
    units: Units
    is_exact: bool

    def results(self, level: float) -> dict[str, PairedResult]:
        """Return the test of every metric.

        Args:
            level: Confidence level.
        """
        results: dict[str, PairedResult] = {}
        count = self.units.count
        for name, differences in self.resampled.items():
            point = defined_or_none(self.value[name])
            if point is None:
                note = "undefined for at least one run"
                results[name] = PairedResult(None, None, None, None, None, level, count, note)
                continue
            low, high = percentile_interval(differences, count, level)
            p_value = _permutation_p_value(point, self.swapped[name], self.is_exact) if count > 1 else None
            note = notes_of(self.units, differences)
            results[name] = PairedResult(point, low, high, p_value, self.mcnemar[name], level, count, note)
        return results


def weighted_mean(tests: Sequence[PairedDraws], weights: Sequence[float]) -> PairedDraws:
    """Return what tests the weighted mean of differences, such as those at several rates of absence.

    Args:
        tests: Of the same samples in the same units, with the same resamples and swaps.
        weights: One for each, of sum 1.

    Examples:
        >>> labels, task = np.linspace(-3.0, 3.0, 40), Task("regression", -3.0, 3.0, "mosi")
        >>> tests = [paired_draws(task, labels, labels[:, None] + off, labels[:, None]) for off in (0.1, 0.3)]
        >>> round(weighted_mean(tests, [0.5, 0.5]).results(0.95)["mae"].difference, 3)
        0.2
    """
    first, names = tests[0], tests[0].value

    def mean(parts: Sequence[Any]) -> Any:
        return sum(weight * part for weight, part in zip(weights, parts, strict=True))

    return PairedDraws(
        {name: mean([test.value[name] for test in tests]) for name in names},
        {name: mean([test.resampled[name] for test in tests]) for name in names},
        {name: mean([test.swapped[name] for test in tests]) for name in names},
        dict.fromkeys(names),
        first.units,
        first.is_exact,
    )


def _difference(
    runs_a: Sequence[PreparedMetrics], runs_b: Sequence[PreparedMetrics], weights: Weights
) -> dict[str, np.ndarray]:
    """Metric of a minus metric of b, mean over seeds each, for each row of weights."""
    a, b = mean_over_seeds(runs_a, weights), mean_over_seeds(runs_b, weights)
    return {name: a[name] - b[name] for name in a}


def _swap_differences(
    task: Task,
    labels: np.ndarray,
    outputs_a: np.ndarray,
    outputs_b: np.ndarray,
    units: Units,
    patterns: Iterator[np.ndarray],
) -> dict[str, np.ndarray]:
    """Difference of every metric after swaps: a mixture is a weighting of both runs' samples together."""
    both_units = units.twice()
    both = [
        both_units.weighted(prepare_metrics(task, np.concatenate([labels, labels]), np.concatenate([a, b])))
        for a, b in zip(outputs_a, outputs_b, strict=True)
    ]
    parts = []
    for swapped in patterns:
        kept = 1.0 - swapped
        first = mean_over_seeds(both, np.concatenate([kept, swapped], axis=1))
        second = mean_over_seeds(both, np.concatenate([swapped, kept], axis=1))
        parts.append({name: first[name] - second[name] for name in first})
    return concatenated(parts)


def _permutation_p_value(difference: float, permuted: np.ndarray, exact: bool) -> float:
    """Share of swaps whose difference is at least as large; an undefined one counts as large, to be safe."""
    tolerance = 1e-10 * max(1.0, abs(difference))
    extreme = int((np.isnan(permuted) | (np.abs(permuted) >= abs(difference) - tolerance)).sum())
    if exact:
        # To swap nothing, or all, is as large whatever rounding says of differences far below the metrics themselves.
        return max(2, extreme) / len(permuted)
    return (1 + extreme) / (1 + len(permuted))


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
    draws = paired_draws(
        task,
        labels,
        outputs_a,
        outputs_b,
        groups=groups,
        ids_a=ids_a,
        ids_b=ids_b,
        num_resamples=num_resamples,
        num_permutations=num_permutations,
        level=level,
        seed=seed,
    )
    return draws.results(level)


def paired_draws(
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
) -> PairedDraws:
    """Return what `paired_test` is made of; arguments as there.

    Raises:
        ArgumentError: As of `paired_test`.
    """
    check_options(min(num_resamples, num_permutations), level)
    labels = numbers_of(labels, "labels")
    outputs_a, outputs_b = numbers_of(outputs_a, "outputs_a"), numbers_of(outputs_b, "outputs_b")
    _check_same_samples(ids_a, ids_b, len(labels))
    runs_a, runs_b = (
        prepared(task, labels, outputs_a, "outputs_a"),
        prepared(task, labels, outputs_b, "outputs_b"),
    )
    stacked_a, stacked_b = _same_seeds(outputs_a, outputs_b)
    units = Units.of(len(labels), groups)

    weighted_a, weighted_b = ([units.weighted(run) for run in runs] for runs in (runs_a, runs_b))
    value = _difference(runs_a, runs_b, np.ones((1, len(labels))))
    resampled = concatenated(
        [_difference(weighted_a, weighted_b, w) for w in bootstrap_weights(units, num_resamples, seed)]
    )
    patterns = swap_patterns(units.count, num_permutations, seed)
    swapped = _swap_differences(task, labels, stacked_a, stacked_b, units, patterns)
    single = groups is None and len(stacked_a) == 1
    exact: dict[str, float | None] = {}
    for name in value:
        right_a, right_b = runs_a[0].hits(name), runs_b[0].hits(name)
        exact[name] = (
            None if not single or right_a is None or right_b is None else mcnemar_p_value(right_a, right_b)
        )
    return PairedDraws(
        {name: float(one[0]) for name, one in value.items()},
        resampled,
        swapped,
        exact,
        units,
        is_enumerable(units.count, num_permutations),
    )


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
