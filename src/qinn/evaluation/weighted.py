"""Metrics as functions of sample weights: the form in which a bootstrap can afford them.

Every metric of qinn depends on the samples only through weighted sums (or, for the ranking metrics, through
cumulative weighted sums in one fixed order). Each function here looks at the samples once and returns a
callable that takes a matrix of weights, one row per resample, and gives one value per row; it is NaN where
the metric is undefined for that row. Weights of one give the metric itself; counts of a resample give the
resampled metric.

Where whole groups of samples are drawn, all samples of a group have one weight: `WeightedMetric.of_units` sums what a
group contributes once, and a row then costs as many operations as there are groups, not samples.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

Weights: TypeAlias = Float[np.ndarray, "resample sample"]
Values: TypeAlias = Float[np.ndarray, "resample"]

SINGLE_PRECISION = 1e-6
"""Values that differ by less than this, relative to the largest, count as one constant."""

CANCELLATION = 1e-12
"""A variance below this fraction of the mean square is rounding error of a difference of equal numbers."""

CHUNK_ENTRIES = 1_000_000
"""Weights evaluated at once: enough to be vectorised, few enough to stay in the cache."""

PAIRS_PER_SAMPLE = 4
"""With more pairs of units than this per sample, ranking the samples anew is cheaper than a sum over the pairs."""


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient; NaN where the denominator is not positive."""
    quotient = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


class WeightedMetric(ABC):
    """A metric as a function of sample weights."""

    @abstractmethod
    def __call__(self, weights: Weights) -> Values:
        """Return the metric for each row of weights; NaN where it is undefined."""

    def of_units(self, codes: Int[np.ndarray, "sample"], count: int) -> "WeightedMetric":
        """Return the metric as a function of the weights of units, each of which is that of all its samples.

        Args:
            codes: Unit of each sample, in [0, count).
            count: Number of units.
        """
        return OfSelected(self, codes)


@dataclass(frozen=True)
class OfSelected(WeightedMetric):
    """A metric of selected weights, f(w[index]).

    Attributes:
        term: The metric f.
        index: Which weight each of its samples has.

    Examples:
        >>> of_the_last = OfSelected(WeightedMean(np.array([1.0, 3.0])), np.array([1, 2]))
        >>> of_the_last(np.array([[5.0, 1.0, 1.0]]))
        array([2.])
    """

    term: WeightedMetric
    index: Int[np.ndarray, "sample"]

    def __call__(self, weights: Weights) -> Values:
        """Return the metric for each row of weights: of few units there are many rows, and each has all samples."""
        rows = max(1, CHUNK_ENTRIES // max(1, len(self.index)))
        starts = range(0, max(1, len(weights)), rows)
        return np.concatenate([self.term(weights[at : at + rows, self.index]) for at in starts])

    def of_units(self, codes: Int[np.ndarray, "sample"], count: int) -> WeightedMetric:
        """Return the metric as a function of the weights of units; arguments as of `WeightedMetric.of_units`."""
        return self.term.of_units(codes[self.index], count)


@dataclass(frozen=True)
class OfSums(WeightedMetric):
    """A metric that is a function of weighted sums, f(Σ w_i c_i).

    Attributes:
        columns: What each sample adds to each sum (c_i).
        combine: The function f, from the sums of each row of weights to its value.

    Examples:
        >>> total = OfSums(np.array([[1.0], [2.0], [4.0]]), lambda sums: sums[:, 0])
        >>> total(np.array([[1.0, 1.0, 0.0]]))
        array([3.])
        >>> total.of_units(np.array([0, 0, 1]), 2)(np.array([[1.0, 0.0]]))
        array([3.])
    """

    columns: Float[np.ndarray, "sample sum"]
    combine: Callable[[np.ndarray], Values]

    def __call__(self, weights: Weights) -> Values:
        """Return the metric for each row of weights."""
        return self.combine(weights @ self.columns)

    def of_units(self, codes: Int[np.ndarray, "sample"], count: int) -> WeightedMetric:
        """Return the metric as a function of the weights of units; arguments as of `WeightedMetric.of_units`."""
        sums = np.stack([np.bincount(codes, column, count) for column in self.columns.T], axis=1)
        return OfSums(sums, self.combine)


@dataclass(frozen=True)
class WeightedMean(WeightedMetric):
    """Weighted mean of a per-sample value over some of the samples, Σ w_i a_i v_i / Σ w_i a_i.

    It is undefined (NaN) for a row that gives no weight to the samples that count.

    Attributes:
        values: Value v_i of each sample; true and false count as one and zero.
        among: Samples that count (a_i); all of them if None.

    Examples:
        >>> mean = WeightedMean(np.array([1.0, 4.0]))
        >>> mean(np.array([[1.0, 1.0], [2.0, 1.0]]))
        array([2.5, 2. ])
    """

    values: Bool[np.ndarray, "sample"] | Float[np.ndarray, "sample"]
    among: Bool[np.ndarray, "sample"] | None = None

    def __call__(self, weights: Weights) -> Values:
        """Return the mean for each row of weights."""
        return self._sums()(weights)

    def of_units(self, codes: Int[np.ndarray, "sample"], count: int) -> WeightedMetric:
        """Return the metric as a function of the weights of units; arguments as of `WeightedMetric.of_units`."""
        return self._sums().of_units(codes, count)

    def _sums(self) -> OfSums:
        counted = np.ones(len(self.values)) if self.among is None else self.among.astype(float)
        columns = np.stack([self.values * counted, counted], axis=1)
        return OfSums(columns, lambda sums: _ratio(sums[:, 0], sums[:, 1]))


def is_constant(values: Float[np.ndarray, "sample"]) -> bool:
    """Say whether all values are equal to single precision, the precision in which models predict.

    Args:
        values: One value per sample.

    Returns:
        True if max − min ≤ 10⁻⁶ max|v|.

    Examples:
        >>> is_constant(np.array([0.1, 0.1 + 1e-9])), is_constant(np.array([0.1, 0.2]))
        (True, False)
    """
    return bool(np.ptp(values) <= SINGLE_PRECISION * np.abs(values).max())


def _centred(values: np.ndarray) -> np.ndarray:
    """Subtract the median, so that the sums of squares lose no digits; a constant becomes exactly zero."""
    return np.zeros(len(values)) if is_constant(values) else values - np.median(values)


def _variance(mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    """E[x²] − E[x]², exactly zero where only rounding error is left."""
    variance = mean_square - mean**2
    return np.where(variance > CANCELLATION * mean_square, variance, 0.0)


def correlation(
    labels: Float[np.ndarray, "sample"], predictions: Float[np.ndarray, "sample"]
) -> WeightedMetric:
    """Pearson's correlation, cov(y, p) / (sd(y) sd(p)).

    Undefined where the weighted labels or predictions are constant (see `is_constant`).

    Args:
        labels: Label y of each sample.
        predictions: Prediction p of each sample.

    Returns:
        A function from weights to values in [-1, 1].

    Examples:
        >>> float(correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))(np.ones((1, 3)))[0])
        1.0
    """
    y, p = _centred(labels), _centred(predictions)
    columns = np.stack([np.ones(len(y)), y, p, y * y, p * p, y * p], axis=1)

    def combine(sums: np.ndarray) -> Values:
        total, *parts = sums.T
        y_mean, p_mean, y_square, p_square, product = (_ratio(part, total) for part in parts)
        scale = np.sqrt(_variance(y_mean, y_square) * _variance(p_mean, p_square))
        return np.clip(_ratio(product - y_mean * p_mean, scale), -1.0, 1.0)

    return OfSums(columns, combine)


def determination(
    labels: Float[np.ndarray, "sample"], predictions: Float[np.ndarray, "sample"]
) -> WeightedMetric:
    """Coefficient of determination, R² = 1 − Σ w (y − p)² / Σ w (y − ȳ)².

    ȳ is the weighted mean of the labels. Undefined where the weighted labels are constant.

    Args:
        labels: Label y of each sample.
        predictions: Prediction p of each sample.

    Returns:
        A function from weights to values in (−∞, 1].

    Examples:
        >>> float(determination(np.array([0.0, 2.0]), np.array([1.0, 1.0]))(np.ones((1, 2)))[0])
        0.0
    """
    y = _centred(labels)
    columns = np.stack([np.ones(len(y)), y, y * y, (labels - predictions) ** 2], axis=1)

    def combine(sums: np.ndarray) -> Values:
        total, *parts = sums.T
        mean, mean_square, error = (_ratio(part, total) for part in parts)
        return 1.0 - _ratio(error, _variance(mean, mean_square))

    return OfSums(columns, combine)


def f_score(
    true: Int[np.ndarray, "sample"],
    predicted: Int[np.ndarray, "sample"],
    num_classes: int,
    *,
    average: Literal["macro", "weighted"],
    among: Bool[np.ndarray, "sample"] | None = None,
) -> WeightedMetric:
    """F1 of each class, 2 TP / (true + predicted), averaged over the classes.

    ``"weighted"`` is Σ_c (n_c / n) F1_c with n_c the number of *true* samples of class c; ``"macro"`` is the
    plain mean over the classes that occur among the labels or the predictions. Undefined where no sample
    counts.

    Args:
        true: Class index of each sample.
        predicted: Predicted class index of each sample.
        num_classes: Number of classes.
        average: How the classes are averaged.
        among: Samples that count; all of them if None.

    Returns:
        A function from weights to values in [0, 1].

    Examples:
        >>> f1 = f_score(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, average="weighted")
        >>> round(float(f1(np.ones((1, 3)))[0]), 4)
        0.6667
    """
    counted = np.ones(len(true)) if among is None else among.astype(float)
    classes = np.arange(num_classes)
    true_columns = (true[:, None] == classes) * counted[:, None]
    predicted_columns = (predicted[:, None] == classes) * counted[:, None]
    columns = np.concatenate([true_columns, predicted_columns, true_columns * predicted_columns], axis=1)

    def combine(sums: np.ndarray) -> Values:
        support, guessed, hit = np.split(sums, 3, axis=1)
        occurs = support + guessed > 0
        score = np.where(occurs, _ratio(2.0 * hit, support + guessed), 0.0)
        share = support if average == "weighted" else occurs.astype(float)
        return _ratio((share * score).sum(axis=1), share.sum(axis=1))

    return OfSums(columns, combine)


def f_of_positives(
    present: Bool[np.ndarray, "sample"], predicted: Bool[np.ndarray, "sample"]
) -> WeightedMetric:
    """F1 of the positive class alone, 2 TP / (present + predicted); undefined where there is neither.

    Args:
        present: Which samples are positive.
        predicted: Which are said to be.

    Returns:
        A function from weights to values in [0, 1].

    Examples:
        >>> float(f_of_positives(np.array([True, False]), np.array([True, True]))(np.ones((1, 2)))[0])
        0.6666666666666666
    """
    columns = np.stack([present & predicted, present, predicted], axis=1).astype(float)

    def combine(sums: np.ndarray) -> Values:
        hit, support, guessed = sums.T
        return _ratio(2.0 * hit, support + guessed)

    return OfSums(columns, combine)


def weighted_accuracy(
    positives: Bool[np.ndarray, "sample"],
    negatives: Bool[np.ndarray, "sample"],
    predicted: Bool[np.ndarray, "sample"],
) -> WeightedMetric:
    """Mean of the shares found among positives and left among negatives, ½ (TP/P + TN/N); undefined without either.

    Args:
        positives: Which samples are positive.
        negatives: Which are negative; what is neither does not count.
        predicted: Which are said to be positive.

    Returns:
        A function from weights to values in [0, 1].

    Examples:
        >>> mean = weighted_accuracy(np.array([True, False]), np.array([False, True]), np.array([True, True]))
        >>> float(mean(np.ones((1, 2)))[0])
        0.5
    """
    columns = np.stack([positives & predicted, positives, negatives & ~predicted, negatives], axis=1).astype(
        float
    )
    return OfSums(columns, lambda sums: 0.5 * (_ratio(*sums.T[:2]) + _ratio(*sums.T[2:])))


def average_precision(
    positive: Bool[np.ndarray, "sample"], scores: Float[np.ndarray, "sample"]
) -> WeightedMetric:
    """Average precision, Σ_k (R_k − R_{k−1}) P_k over the thresholds k from the highest score down.

    P_k and R_k are precision and recall of the samples that score at least as much as threshold k; samples of equal
    scores come in together. Undefined where no positive sample has weight.

    Args:
        positive: True for samples of the positive class.
        scores: Score of each sample; higher means more likely positive.

    Returns:
        A function from weights to values in [0, 1].

    Examples:
        >>> area = average_precision(np.array([True, False, True]), np.array([3.0, 2.0, 1.0]))
        >>> round(float(area(np.ones((1, 3)))[0]), 4)
        0.8333
    """
    return _AveragePrecision(positive, -scores)


class _Ranked(WeightedMetric):
    """A metric of samples in the order of their scores, those of equal scores together."""

    def __init__(self, positive: np.ndarray, scores: np.ndarray) -> None:
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        first = np.ones(min(len(ordered), 1), bool)
        self.starts = np.flatnonzero(np.concatenate([first, ordered[1:] != ordered[:-1]]))
        self.is_positive = positive[self.order].astype(float)

    def by_score(self, ranked: np.ndarray) -> np.ndarray:
        """Sums of ordered weights over equal scores."""
        return np.add.reduceat(ranked, self.starts, axis=1) if len(self.starts) < len(self.order) else ranked


class _AveragePrecision(_Ranked):
    def __call__(self, weights: Weights) -> Values:
        ranked = weights[:, self.order]
        hit, ranked = self.by_score(ranked * self.is_positive), self.by_score(ranked)
        hits, above = np.cumsum(hit, axis=1), np.cumsum(ranked, axis=1)
        precision = np.divide(hits, above, out=np.zeros_like(hits), where=above > 0)
        return _ratio((hit * precision).sum(axis=1), hit.sum(axis=1))


def ranking_area(positive: Bool[np.ndarray, "sample"], scores: Float[np.ndarray, "sample"]) -> WeightedMetric:
    """Area under the ROC curve: the chance that a positive sample outranks a negative one, ties being half.

    The samples are sorted once; each row then needs two cumulative sums, or, where groups are weighted, a quadratic
    form in their weights: what the positives of each win against the negatives of each. Undefined where only one of
    the two classes has weight.

    Args:
        positive: True for samples of the positive class.
        scores: Score of each sample; higher means more likely positive.

    Returns:
        A function from weights to values in [0, 1].

    Examples:
        >>> area = ranking_area(np.array([False, True, True]), np.array([0.0, 0.0, 1.0]))
        >>> float(area(np.ones((1, 3)))[0])
        0.75
    """
    return _RankingArea(positive, scores)


class _RankingArea(_Ranked):
    def __call__(self, weights: Weights) -> Values:
        ranked = weights[:, self.order]
        above = ranked * self.is_positive
        below = ranked - above
        won = np.einsum("rs,rs->r", self.by_score(above), self._outranked(below))
        return _ratio(won, above.sum(axis=1) * below.sum(axis=1))

    def of_units(self, codes: Int[np.ndarray, "sample"], count: int) -> WeightedMetric:
        if count**2 > PAIRS_PER_SAMPLE * len(self.order):
            return OfSelected(self, codes)
        ranked, positive = codes[self.order], self.is_positive > 0
        above, below = (
            np.bincount(ranked[positive], minlength=count),
            np.bincount(ranked[~positive], minlength=count),
        )
        score = np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(ranked)))[positive]
        won = np.empty((count, count))
        for unit in range(count):
            outranked = self._outranked(((ranked == unit) & ~positive).astype(float)[None])[0]
            won[:, unit] = np.bincount(ranked[positive], outranked[score], count)
        return _RankingAreaOfUnits(won, above.astype(float), below.astype(float))

    def _outranked(self, below: np.ndarray) -> np.ndarray:
        """How much lies below each distinct score, equal ones being half."""
        by_score = self.by_score(below)
        return np.cumsum(by_score, axis=1) - 0.5 * by_score


@dataclass(frozen=True)
class _RankingAreaOfUnits(WeightedMetric):
    """Σ w_g w_h W_gh / (Σ w_g P_g · Σ w_h N_h), W_gh being what positives of unit g win against negatives of unit h."""

    won: np.ndarray
    above: np.ndarray
    below: np.ndarray

    def __call__(self, weights: Weights) -> Values:
        won = np.einsum("rh,rh->r", weights @ self.won, weights)
        return _ratio(won, (weights @ self.above) * (weights @ self.below))


def mean_of_defined(parts: Sequence[WeightedMetric]) -> WeightedMetric:
    """Mean of several metrics, row by row, over those that are defined there; undefined where none is.

    Args:
        parts: Metrics of the same samples.

    Returns:
        A function from weights to the mean value.

    Examples:
        >>> both = mean_of_defined([WeightedMean(np.array([1.0])), WeightedMean(np.array([3.0]))])
        >>> both(np.ones((1, 1)))
        array([2.])
    """
    return _MeanOfDefined(parts)


@dataclass(frozen=True)
class _MeanOfDefined(WeightedMetric):
    parts: Sequence[WeightedMetric]

    def __call__(self, weights: Weights) -> Values:
        values = np.stack([part(weights) for part in self.parts])
        defined = ~np.isnan(values)
        return _ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))

    def of_units(self, codes: Int[np.ndarray, "sample"], count: int) -> WeightedMetric:
        return _MeanOfDefined([part.of_units(codes, count) for part in self.parts])


def resample_counts(indices: Int[np.ndarray, "resample draw"], num_samples: int) -> Weights:
    """How often each resample holds each sample.

    Args:
        indices: Sample indices drawn by each resample, in [0, num_samples).
        num_samples: Number of samples.

    Returns:
        Counts as floating point weights.

    Examples:
        >>> resample_counts(np.array([[0, 0, 2]]), 3)
        array([[2., 0., 1.]])
    """
    num_resamples = indices.shape[0]
    flat = indices + num_samples * np.arange(num_resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=num_resamples * num_samples)
    return counts.reshape(num_resamples, num_samples).astype(float)
