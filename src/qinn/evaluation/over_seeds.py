"""How much a metric would differ with other samples *and* other trainings: intervals and tests over both at once.

Every seed's model predicts the same test samples, so that seeds and samples are crossed. With S seeds and G units
(groups, or samples without groups), the mean over seeds varies by

    V = A + max(0, B − I),

A: variance of the mean over seeds between resamples of the units; B: variance among the seeds' values on the samples
at hand, divided by S; I: the part of both that comes from seeds which do well on other samples than their siblings,
from the covariance C of the seeds between resamples, I = (tr C/S − A)/(S − 1). The interval is the wider of t_ν √V,
with Satterthwaite's degrees of freedom ν, and t_{S−1} √B, what the seeds alone allow. The tests reject where both do.

Chosen by simulation (``benchmarks/equal.py``), not by taste. Of nominal 95 % intervals over 2 to 10 seeds and 8 to 200
units, resampling the samples alone covers down to .46, the percentiles of a crossed bootstrap (seeds and units drawn)
.71 to 1.00, the seeds' t-interval down to .81, the first of the two above down to .89 (2 seeds) and .93 (3), the wider
of both .95 or more.

Source:
    Searle, Casella and McCulloch, Variance Components (1992): two-way crossed random effects.
    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007): what resampling both ways overstates.
    Satterthwaite (1946); Schuirmann (1987), two one-sided tests; Bloom (1995), minimum detectable effects.
    The wider of both: own.
"""

from dataclasses import dataclass, replace

import numpy as np

from qinn.evaluation.intervals import Interval, interval_of
from qinn.evaluation.metric_names import Metric
from qinn.evaluation.resampling import Resampled
from qinn.extras import needs

POWER = 0.8
"""Chance with which a set is said to be able to show a difference."""


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and what it varies by.

    Attributes:
        value: The mean.
        samples: A, its variance with other samples.
        seeds: B, that of the seeds' values, divided by their number; 0 for one seed, of which it is not known.
        interaction: I, the part that both count.
        num_units: Number of units.
        num_seeds: Number of seeds.

    Examples:
        >>> one = Spread(0.1, 0.0004, 0.0, 0.0, 100, 1)
        >>> round(one.standard_error, 3), one.degrees, round(one.half_width(0.95), 4)
        (0.02, 99.0, 0.0397)
        >>> three = Spread(0.1, 0.0004, 0.0006, 0.0001, 100, 3)
        >>> round(three.standard_error, 3), round(three.degrees, 1), round(three.half_width(0.95), 3)
        (0.03, 4.5, 0.105)
    """

    value: float
    samples: float
    seeds: float
    interaction: float
    num_units: int
    num_seeds: int

    @classmethod
    def of(cls, resampled: Resampled) -> "Spread | None":
        """Return what a metric, or a difference, varies by; None where it is undefined, or there is one unit."""
        draws = resampled.draws[~np.isnan(resampled.draws).any(axis=1)]
        units, seeds = resampled.units.count, len(resampled.values)
        if np.isnan(resampled.values).any() or units < 2 or len(draws) < 2:
            return None
        # A bootstrap variance has the divisor G.
        covariance = np.atleast_2d(np.cov(draws, rowvar=False)) * units / (units - 1)
        # Of seeds that err in opposite ways it is zero but for rounding.
        samples = max(0.0, float(covariance.mean()))
        if seeds == 1:
            return cls(float(resampled.values[0]), samples, 0.0, 0.0, units, 1)
        within = float(np.trace(covariance)) / seeds
        return cls(
            float(resampled.values.mean()),
            samples,
            float(resampled.values.var(ddof=1)) / seeds,
            max(0.0, (within - samples) / (seeds - 1)),
            units,
            seeds,
        )

    @property
    def standard_error(self) -> float:
        """√V."""
        return float(np.sqrt(self.samples + max(0.0, self.seeds - self.interaction)))

    @property
    def degrees(self) -> float:
        """ν, Satterthwaite's degrees of freedom: V² / Σ (part² / degrees of the part)."""
        units, seeds = self.num_units - 1, self.num_seeds - 1
        if self.seeds <= self.interaction:
            return float(units)
        parts = self.samples**2 / units + self.seeds**2 / seeds + self.interaction**2 / (units * seeds)
        return max(self.standard_error**4 / parts, float(min(units, seeds)))

    def _scales(self) -> list[tuple[float, float]]:
        """Standard error and degrees of freedom of each of the two tests; the first alone where there is one seed."""
        both = [(self.standard_error, self.degrees)]
        return both if self.num_seeds == 1 else [*both, (float(np.sqrt(self.seeds)), self.num_seeds - 1.0)]

    def half_width(self, level: float) -> float:
        """Return half the width of the interval of a level."""
        return max(error * _quantile(0.5 + 0.5 * level, degrees) for error, degrees in self._scales())

    def tail(self, distance: float, *, at_least: float = 0.0) -> float:
        """Return the chance to find the mean further than a distance from the truth, on one side of it.

        Args:
            distance: The distance; below 0, the chance is above one half.
            at_least: What the standard error over both is at least.
        """
        with needs("evaluate", "A p-value"):
            from scipy import stats
        chances = []
        (of_both, freedom), *of_seeds = self._scales()
        for error, degrees in [(max(of_both, at_least), freedom), *of_seeds]:
            if error == 0.0:
                chances.append(0.5 if distance == 0.0 else float(distance < 0.0))
            else:
                chances.append(float(stats.t.sf(distance / error, degrees)))
        return max(chances)

    def p_value(self) -> float:
        """Return the two-sided p-value of the hypothesis that the true mean is 0."""
        return 2.0 * self.tail(abs(self.value))

    def equivalence_p_value(self, margin: float, *, at_least: float = 0.0) -> float:
        """Return the p-value of two one-sided tests: of the hypothesis that the true mean is not within ± margin.

        Args:
            margin: The margin.
            at_least: What the standard error is at least where the true mean is the margin (see `accuracy_error`).

        Examples:
            >>> one = Spread(0.0, 0.0001, 0.0, 0.0, 500, 1)
            >>> round(one.equivalence_p_value(0.02), 3), round(one.equivalence_p_value(0.01), 3)
            (0.023, 0.159)
        """
        return self.tail(margin - abs(self.value), at_least=at_least)

    def detectable(self, significance: float) -> float:
        """Return the smallest true difference that would be found significant with a chance of 80 %.

        The half of the interval of level 1 − α, plus t_{ν; 0.8} √V; both with standard errors over √(median χ²_ν / ν),
        since one from few degrees of freedom is more often too small than too large. Simulated chance: 75 to 85 %, and
        with 2 or 3 seeds 69 to 80 %.

        Args:
            significance: α, the level of the test.

        Examples:
            >>> round(Spread(0.0, 0.0001, 0.0, 0.0, 10**6, 1).detectable(0.05), 4)
            0.028
        """
        with needs("evaluate", "A detectable difference"):
            from scipy import stats
        scales = [
            (error / float(np.sqrt(stats.chi2.median(degrees) / degrees)), degrees)
            for error, degrees in self._scales()
        ]
        half = max(error * _quantile(1.0 - 0.5 * significance, degrees) for error, degrees in scales)
        return half + scales[0][0] * _quantile(POWER, self.degrees)


def accuracy_error(margin: float, num_samples: int) -> float:
    """Return the least standard error of a difference of accuracies whose true value is a margin δ: √(δ(1 − δ)/n).

    Two models whose accuracies differ by δ disagree on a share δ of the samples at least. Where few samples show a
    disagreement, the error seen is too small, and equivalence would be found too often.

    Args:
        margin: δ.
        num_samples: n.

    Examples:
        >>> round(accuracy_error(0.02, 200), 4)
        0.0099
    """
    return float(np.sqrt(margin * max(0.0, 1.0 - margin) / num_samples))


def interval_over_seeds(resampled: Resampled, level: float, metric: Metric) -> Interval:
    """Return the interval of a metric with other samples and other trainings.

    The percentile interval of other samples, stretched at either side by as much as other trainings widen it: with one
    seed it stays what it is.

    Args:
        resampled: The metric on resamples.
        level: Confidence level.
        metric: Its range, which the interval does not leave.
    """
    found, spread = interval_of(resampled, level, metric), Spread.of(resampled)
    if spread is None or spread.num_seeds == 1 or found.low is None or found.high is None:
        return found
    samples = replace(spread, seeds=0.0, num_seeds=1).half_width(level)
    half = max(samples, spread.half_width(level))  # which has more degrees of freedom where units are few
    below, above = spread.value - found.low, found.high - spread.value
    low = spread.value - (below * half / samples if samples else half)
    high = spread.value + (above * half / samples if samples else half)
    return replace(found, low=max(low, metric.low), high=min(high, metric.high))


def _quantile(probability: float, degrees: float) -> float:
    with needs("evaluate", "An interval"):
        from scipy import stats
    return float(stats.t.ppf(probability, degrees))
