"""What a sweep over absences makes of outputs: metrics and tests at every rate, the area under curves, and priors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from qinn.evaluation.intervals import interval_of, summarize_seeds
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import metrics
from qinn.evaluation.outcomes import outcome_probabilities
from qinn.evaluation.paired_tests import PairedDraws, paired_draws, weighted_mean
from qinn.evaluation.resampling import Resampled, resampled_metrics
from qinn.experiment.verdicts import corrected
from qinn.results.metric_columns import PairedDifference
from qinn.results.sweep import EmptyClasses, EmptyScores, RateMetric
from qinn.task import Task

Outputs = Float[np.ndarray, "seed mask sample output"]


@dataclass(frozen=True)
class Tested:
    """What all runs of a sweep were tested on, and how it is measured.

    Attributes:
        task: What is predicted.
        labels: Of the samples, in the order of their ids.
        groups: Group of each sample; None where there are none.
        num_resamples: Number of bootstrap resamples and permutations.
        level: Of intervals.
    """

    task: Task
    labels: Shaped[np.ndarray, "sample *label"]
    groups: Shaped[np.ndarray, "sample"] | None
    num_resamples: int
    level: float

    @property
    def _drawn(self) -> dict[str, Any]:
        return {"groups": self.groups, "num_resamples": self.num_resamples, "seed": 0}

    def measured(self, outputs: Outputs) -> "Measured":
        """Return every metric of one model in one condition.

        Args:
            outputs: What each seed's model says of the samples under each mask.
        """
        values = [[metrics(self.task, self.labels, masked) for masked in by_mask] for by_mask in outputs]
        runs = outputs.reshape(-1, *outputs.shape[2:])
        return Measured(values, resampled_metrics(self.task, self.labels, runs, **self._drawn))

    def stated(self, measured: "Measured") -> dict[str, RateMetric]:
        """Return every metric with its deviations over seeds and masks, and its interval.

        Args:
            measured: The metrics of one model in one condition.
        """
        values, known = measured.values, metrics_of(self.task)
        over_seeds = summarize_seeds([_mean(by_mask) for by_mask in values])
        over_masks = summarize_seeds([_mean(by_seed) for by_seed in zip(*values, strict=True)])
        found: dict[str, RateMetric] = {}
        for name, resampled in measured.resampled.items():
            interval = interval_of(resampled, self.level, known[name])
            found[name] = RateMetric(
                mean=over_seeds[name].mean,
                sd=over_seeds[name].sd,
                sd_masks=over_masks[name].sd,
                low=interval.low,
                high=interval.high,
                note=interval.note,
            )
        return found

    def tests(self, outputs: Mapping[str, Outputs], reference: str) -> dict[str, PairedDraws]:
        """Return the test of every model against the reference, of those that have as many seeds.

        Args:
            outputs: Label → what each seed's model says of the samples under each mask.
            reference: Label of the model that the others are tested against.
        """
        runs = {label: one.reshape(-1, *one.shape[2:]) for label, one in outputs.items()}
        return {
            label: paired_draws(
                self.task,
                self.labels,
                found,
                runs[reference],
                num_permutations=self.num_resamples,
                level=self.level,
                **self._drawn,
            )
            for label, found in runs.items()
            if label != reference and len(outputs[label]) == len(outputs[reference])
        }

    def corrected(self, tests: Mapping[str, PairedDraws]) -> dict[str, dict[str, PairedDifference]]:
        """Return tests with p-values corrected over the models.

        Args:
            tests: Label → test against the reference.
        """
        return corrected({label: one.results(self.level) for label, one in tests.items()})


@dataclass(frozen=True)
class Measured:
    """Every metric of one model in one condition: of each seed under each mask, and on resamples of the samples."""

    values: Sequence[Sequence[Mapping[str, float | None]]]
    resampled: Mapping[str, Resampled]


def trapezoid(rates: Sequence[float]) -> list[float]:
    """Return what each rate counts in the area under a curve that is divided by its width, by the trapezoid rule.

    Examples:
        >>> trapezoid([0.0, 0.5, 1.0])
        [0.25, 0.5, 0.25]
    """
    widths = np.diff(rates) / (rates[-1] - rates[0])
    return ((np.append(widths, 0.0) + np.append(0.0, widths)) / 2).tolist()


def area_under(measured: Sequence[Measured], weights: Sequence[float]) -> Measured:
    """Return the area under the curve of one model, as of `trapezoid`.

    Args:
        measured: Its metrics at every rate.
        weights: What each rate counts.
    """
    first = measured[0]

    def value(seed: int, mask: int, name: str) -> float | None:
        found = [one.values[seed][mask][name] for one in measured]
        known = [one for one in found if one is not None]
        return float(np.dot(known, weights)) if len(known) == len(found) else None

    def combined(name: str) -> Resampled:
        parts = [one.resampled[name] for one in measured]
        values = sum(weight * one.values for one, weight in zip(parts, weights, strict=True))
        draws = sum(weight * one.draws for one, weight in zip(parts, weights, strict=True))
        return Resampled(np.asarray(values), np.asarray(draws), parts[0].units)

    return Measured(
        [
            [{name: value(seed, mask, name) for name in by_name} for mask, by_name in enumerate(by_mask)]
            for seed, by_mask in enumerate(first.values)
        ],
        {name: combined(name) for name in first.resampled},
    )


def area_between(
    tests: Sequence[Mapping[str, PairedDraws]], weights: Sequence[float]
) -> dict[str, PairedDraws]:
    """Return the tests of the areas under the curves of every model and the reference.

    Args:
        tests: For each rate, label → test against the reference.
        weights: What each rate counts.
    """
    return {label: weighted_mean([one[label] for one in tests], weights) for label in tests[0]}


def _mean(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of every metric; None where one is undefined."""
    means: dict[str, float | None] = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        known = [value for value in values if value is not None]
        means[name] = float(np.mean(known)) if len(known) == len(values) else None
    return means


def prior_of(
    tested: Tested,
    empty: Sequence[Float[np.ndarray, "sample output"]],
    training_labels: Sequence[Sequence[np.ndarray]],
) -> EmptyScores | EmptyClasses:
    """Return what a model says about samples that have nothing, beside what its training labels say.

    Args:
        tested: The samples.
        empty: What each seed's model says of them when they have nothing.
        training_labels: For each seed the labels on which the model of each fold was trained.
    """
    task = tested.task
    finite = bool(all(np.isfinite(said).all() for said in empty))
    measured = summarize_seeds([metrics(task, tested.labels, said) for said in empty])
    if task.kind != "regression":
        said = [outcome_probabilities(task, one).mean(axis=0) for one in empty]
        trained = [np.mean([_frequencies(part, task) for part in parts], axis=0) for parts in training_labels]
        share = 0.5 if task.kind == "classification" else 1 / task.num_outputs
        distances = [
            share * float(np.abs(one - other).sum()) for one, other in zip(said, trained, strict=True)
        ]
        return EmptyClasses(
            finite=finite,
            metrics=measured,
            prediction=dict(zip(task.names, np.mean(said, axis=0).tolist(), strict=True)),
            training=dict(zip(task.names, np.mean(trained, axis=0).tolist(), strict=True)),
            distance=float(np.mean(distances)),
            distance_sd=_deviation(distances),
        )

    def trained_on(statistic: Callable[[np.ndarray], Any]) -> list[float]:
        return [float(np.mean([statistic(part) for part in parts])) for parts in training_labels]

    scores = [float(one.mean()) for one in empty]
    means, medians = trained_on(np.mean), trained_on(np.median)
    distances = [abs(score - mean) for score, mean in zip(scores, means, strict=True)]
    from_medians = [abs(score - median) for score, median in zip(scores, medians, strict=True)]
    return EmptyScores(
        finite=finite,
        metrics=measured,
        in_range=bool(all(task.low <= one.min() and one.max() <= task.high for one in empty)),
        prediction=float(np.mean(scores)),
        prediction_sd=_deviation(scores),
        training_mean=float(np.mean(means)),
        training_median=float(np.mean(medians)),
        training_sd=float(np.mean(trained_on(np.std))),
        distance=float(np.mean(distances)),
        distance_sd=_deviation(distances),
        distance_from_median=float(np.mean(from_medians)),
    )


def _frequencies(labels: np.ndarray, task: Task) -> np.ndarray:
    """How often each class occurs, or each label is present among the samples of which that is known."""
    if task.kind == "multilabel":
        return (labels == 1).sum(axis=0) / np.maximum((labels >= 0).sum(axis=0), 1)
    return np.bincount(labels, minlength=len(task.classes)) / len(labels)


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
