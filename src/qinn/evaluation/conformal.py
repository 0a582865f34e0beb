"""How sure one can be of a prediction: intervals and sets of classes from the errors on samples held out.

Conformal prediction asks nothing of the model: if a new sample and the held-out ones are exchangeable (drawn in the
same way, in any order), an interval of level 1 − α holds its label with a probability of at least 1 − α, whatever the
model is worth. It is a statement over new samples on average, not about one kind of samples: what a model finds hard is
covered less often. Samples of one group (speaker, participant) are not exchangeable with those of others where a model
errs in its own way on each; with held-out groups the statement is about samples of new groups, and rougher the fewer
groups there are.

Where several models each had another part held out (folds), each residual is compared with what the same fold's model
says about the new sample: cross-conformal prediction. Its proven level is 1 − 2α for intervals (CV+), and in practice
near 1 − α.

Sources:
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005): split conformal prediction.
    Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 49 (2021):
    CV+, equation 1.6 and theorem 4.
    Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74 (2015).
    Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers", JASA 114 (2019): the score 1 − p.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped

from qinn.errors import ArgumentError

_AT_ONCE = 1 << 22
"""Numbers of held-out × new samples that are compared at once: 32 MiB."""


@dataclass(frozen=True)
class HeldOut:
    """What the models said about samples that they were not trained on.

    Attributes:
        errors: Of a score: label − prediction. Of classes: 1 − the probability that the label's class was given.
        folds: Which model predicted each, from 0; None where there is one.
        num_groups: How many groups (speakers, participants) they come from; None where there are no groups.

    Raises:
        ArgumentError: If there is none, or an error is not finite.
    """

    errors: Float64[np.ndarray, "held_out"]
    folds: Int[np.ndarray, "held_out"] | None = None
    num_groups: int | None = None

    def __post_init__(self) -> None:
        if not len(self.errors):
            raise ArgumentError("Argument `errors` must hold samples that were held out, but it is empty.")
        if not np.isfinite(self.errors).all():
            raise ArgumentError("Argument `errors` must be finite, but some are not.")

    def __len__(self) -> int:
        return len(self.errors)

    def smallest_level_missed(self) -> float:
        """Return the level from which on every interval is infinite, and every set holds all classes: n/(n + 1)."""
        return len(self) / (len(self) + 1)


def held_out_errors(
    labels: Shaped[np.ndarray, "sample"],
    outputs: Float[np.ndarray, "sample output"],
    *,
    folds: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    classes: bool = False,
) -> HeldOut:
    """Return the errors of predictions on samples held out.

    Args:
        labels: Scores, or class indices.
        outputs: Predicted scores (one column), or the probabilities of the classes.
        folds: Name of the fold whose model predicted each sample; None for one model. Folds are numbered in the order
            in which their names are sorted.
        groups: Group of each sample; None where there are none.
        classes: Whether labels are class indices.

    Raises:
        ArgumentError: If there is no sample, or a prediction is not finite.

    Examples:
        >>> held_out_errors(np.array([1.0, 0.0]), np.array([[0.5], [0.25]])).errors.tolist()
        [0.5, -0.25]
    """
    predicted = outputs[np.arange(len(labels)), labels.astype(int)] if classes else outputs[:, 0]
    names = None if folds is None else sorted(set(folds))
    return HeldOut(
        np.asarray(1 - predicted if classes else labels - predicted, dtype=np.float64),
        None if names is None else np.array([names.index(name) for name in folds or ()], dtype=np.int64),
        None if groups is None else len(set(groups)),
    )


def check_level(level: float) -> None:
    """Raise unless a level lies between 0 and 1.

    Raises:
        ArgumentError: If it does not.
    """
    if not 0 < level < 1:
        raise ArgumentError(f"Argument `level` must lie between 0 and 1, but it is {level}.")


def intervals(
    outputs: Float[np.ndarray, "fold sample"], held_out: HeldOut, level: float
) -> tuple[Float64[np.ndarray, "sample"], Float64[np.ndarray, "sample"]]:
    """Return the interval of each new sample's score.

    With n errors r_i of the models f_k(i), and α = 1 − level: from the ⌊α(n + 1)⌋-th smallest of f_k(i)(x) − |r_i| to
    the ⌈(1 − α)(n + 1)⌉-th smallest of f_k(i)(x) + |r_i| (CV+). For one model that is f(x) ± the
    ⌈(1 − α)(n + 1)⌉-th smallest |r_i| (split conformal).

    Args:
        outputs: The score that each fold's model predicts, in the order of `HeldOut.folds`; one row for one model.
        held_out: Errors on samples held out.
        level: Share of new samples whose label the interval is to hold.

    Returns:
        Lower and upper ends; infinite where there are too few errors for the level (fewer than level / (1 − level)).

    Raises:
        ArgumentError: If the level is not between 0 and 1, or an error's fold has no outputs.

    Examples:
        >>> low, high = intervals(np.array([[0.0, 1.0]]), HeldOut(np.arange(-4.0, 5.0)), 0.8)
        >>> low.tolist(), high.tolist()
        ([-4.0, -3.0], [4.0, 5.0])
    """
    check_level(level)
    folds = _folds_of(held_out, outputs)
    num = len(held_out)
    rank = math.ceil(_exactly(level * (num + 1)))
    if rank > num:
        return np.full(outputs.shape[1], -np.inf), np.full(outputs.shape[1], np.inf)
    sizes = np.abs(held_out.errors)
    if len(outputs) == 1:
        half = np.partition(sizes, rank - 1)[rank - 1]
        return outputs[0] - half, outputs[0] + half
    low, high = np.empty(outputs.shape[1]), np.empty(outputs.shape[1])
    for piece in _pieces(outputs.shape[1], num):
        of_each = outputs[folds, piece]
        low[piece] = np.partition(of_each - sizes[:, None], num - rank, axis=0)[num - rank]
        high[piece] = np.partition(of_each + sizes[:, None], rank - 1, axis=0)[rank - 1]
    return low, high


def probability_above(
    outputs: Float[np.ndarray, "fold sample"], held_out: HeldOut, threshold: float
) -> Float64[np.ndarray, "sample"]:
    """Return the probability that each new sample's label lies above a threshold.

    The share of the errors that would bring it there,
    (#{f_k(i)(x) + r_i > threshold} + ½ #{… = threshold} + ½)/(n + 1): never 0 or 1, since n errors cannot exclude
    anything.

    Args:
        outputs: As for `intervals`.
        held_out: Errors on samples held out, with their signs.
        threshold: The middle of the scale, say.

    Raises:
        ArgumentError: If an error's fold has no outputs.

    Examples:
        >>> errors = HeldOut(np.array([-1.0, 0.0, 1.0]))
        >>> probability_above(np.array([[0.0, 9.0]]), errors, 0.0).tolist()
        [0.5, 0.875]
    """
    folds = _folds_of(held_out, outputs)
    found = np.empty(outputs.shape[1])
    for piece in _pieces(outputs.shape[1], len(held_out)):
        moved = outputs[folds, piece] + held_out.errors[:, None] - threshold
        found[piece] = ((moved > 0).sum(0) + 0.5 * (moved == 0).sum(0) + 0.5) / (len(held_out) + 1)
    return found


def prediction_sets(
    probabilities: Float[np.ndarray, "fold sample outcome"], held_out: HeldOut, level: float
) -> Bool[np.ndarray, "sample outcome"]:
    """Return the classes that cannot be excluded at a level, for each new sample.

    Class c stays if 1 + #{i : e_i ≥ 1 − p_k(i)(c | x)} > α(n + 1), with n errors e_i and α = 1 − level: its
    probability is not below that of the label in all but a share α of the samples held out. A set may hold several
    classes, all of them where there are few errors, and none where a sample is like none of those held out.

    Args:
        probabilities: Probabilities of the classes by each fold's model; one model is one fold.
        held_out: Errors on samples held out: 1 − probability of the label's class.
        level: Share of new samples whose class the set is to hold.

    Raises:
        ArgumentError: If the level is not between 0 and 1, or an error's fold has no probabilities.

    Examples:
        >>> likely = np.array([[[0.9, 0.1], [0.5, 0.5]]])
        >>> prediction_sets(likely, HeldOut(np.linspace(0.0, 0.6, 19)), 0.9).tolist()
        [[True, False], [True, True]]
    """
    check_level(level)
    folds = _folds_of(held_out, probabilities)
    _, samples, classes = probabilities.shape
    as_likely = np.zeros((samples, classes), dtype=np.int64)
    for fold, said in enumerate(probabilities):
        errors = np.sort(held_out.errors[folds == fold])
        as_likely += len(errors) - np.searchsorted(errors, 1 - said, side="left")
    return 1 + as_likely > _exactly((1 - level) * (len(held_out) + 1))


def _folds_of(held_out: HeldOut, outputs: np.ndarray) -> np.ndarray:
    """Return the row of the outputs that each error belongs to."""
    folds = np.zeros(len(held_out), dtype=np.int64) if held_out.folds is None else held_out.folds
    if folds.max() >= len(outputs) or folds.min() < 0:
        raise ArgumentError(
            f"Argument `outputs` must have one row for each of {int(folds.max()) + 1} folds, but it has {len(outputs)}."
        )
    return folds


def _exactly(number: float) -> float:
    """Return a whole number where only round-off keeps a number from it: 0.9 · 10 is 9."""
    return float(round(number)) if abs(number - round(number)) < 1e-9 * max(1.0, abs(number)) else number


def _pieces(samples: int, held_out: int) -> list[slice]:
    size = max(1, _AT_ONCE // held_out)
    return [slice(start, min(start + size, samples)) for start in range(0, samples, size)]
