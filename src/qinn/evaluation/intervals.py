"""How sure one can be of a metric: intervals, and summaries over seeds (paired tests: `qinn.evaluation.paired_tests`).

Intervals and tests answer "what if the test samples had been others", for the trained models at hand. Where
several seeds are given (outputs of shape (seeds, n, output)), a metric means its average over the seeds, in
every resample. How much a newly trained model would differ is another question: see `qinn.evaluation.over_seeds`.

Samples of one group (speaker, video, participant) are not independent: where groups are given, whole groups
are drawn and swapped, never single samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from qinn.errors import ArgumentError
from qinn.evaluation.metric_names import Metric, metrics_of
from qinn.evaluation.metrics import Numbers
from qinn.evaluation.resampling import (
    Resampled,
    check_options,
    defined_or_none,
    notes_of,
    percentile_interval,
    resampled_metrics,
)
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
    check_options(num_resamples, level)
    found = resampled_metrics(task, labels, outputs, groups=groups, num_resamples=num_resamples, seed=seed)
    known = metrics_of(task)
    return {name: interval_of(one, level, known[name]) for name, one in found.items()}


def interval_of(resampled: Resampled, level: float, metric: Metric) -> Interval:
    """Return the interval of a metric's mean over seeds on new samples.

    Args:
        resampled: The metric on resamples.
        level: Confidence level.
        metric: Its range, which the interval does not leave.
    """
    units, values = resampled.units, resampled.draws.mean(axis=1)
    point = defined_or_none(resampled.values.mean())
    low, high = (None, None) if point is None else percentile_interval(values, units.count, level)
    if low is not None and high is not None:
        low, high = max(low, metric.low), min(high, metric.high)
    note = "undefined (for at least one seed)" if point is None else notes_of(units, values)
    return Interval(point, low, high, level, units.count, int((~np.isnan(values)).sum()), note)


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
