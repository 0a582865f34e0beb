"""What is known of every model against the reference: differences, equivalence within stated margins, verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from qinn.errors import ConfigError
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import prepare_metrics
from qinn.evaluation.over_seeds import Spread, accuracy_error
from qinn.evaluation.paired_tests import PairedResult, holm_correction, paired_test
from qinn.evaluation.resampling import Resampled
from qinn.experiment.key_errors import nearest
from qinn.results.metric_columns import SIGNIFICANCE, PairedDifference
from qinn.task import Task


def check_margins(margins: Mapping[str, float], task: Task) -> None:
    """Refuse margins of metrics that a task is not scored by.

    Raises:
        ConfigError: If there is one.
    """
    for name in margins:
        if name not in metrics_of(task):
            raise ConfigError(
                f"`evaluation.margins` names `{name}`{nearest(name, metrics_of(task))}, which is no metric of this "
                f"data; it has {list(metrics_of(task))}."
            )


def corrected(
    tests: Mapping[str, Mapping[str, PairedResult]],
) -> dict[str, dict[str, PairedDifference]]:
    """Correct the p-values of every metric over the models, by Holm's method.

    Args:
        tests: Label → metric → test against the reference.
    """
    found = {
        label: {name: PairedDifference(**asdict(one)) for name, one in results.items()}
        for label, results in tests.items()
    }
    return _by_metric(found, "p_value_holm", lambda one: one.p_value)


def judged(
    task: Task,
    labels: Shaped[np.ndarray, "sample *label"],
    outputs: Mapping[str, Float[np.ndarray, "seed sample output"]],
    reference: str,
    resampled: Mapping[str, Mapping[str, Resampled]],
    margins: Mapping[str, float],
    options: Mapping[str, Any],
) -> dict[str, dict[str, PairedDifference]]:
    """Test every model against the reference, and say what follows.

    A difference is found where the permutation test finds it for the models at hand, and with several seeds the t-test
    over seeds and samples does so too; equivalence where two one-sided tests do. Both are corrected over the models by
    Holm's method, metric by metric.

    Args:
        task: What is predicted.
        labels: Scores, or class indices.
        outputs: Label → what each seed's model predicts.
        reference: Label of the model that the others are tested against.
        resampled: Label → metric → its resamples, the same for all.
        margins: Metric → difference from which on one matters.
        options: Of `paired_test`.
    """
    counted = prepare_metrics(task, labels, outputs[reference][0]).num_counted
    others = [label for label in outputs if label != reference]
    found: dict[str, dict[str, PairedDifference]] = {}
    for label in others:
        tests = paired_test(task, labels, outputs[label], outputs[reference], **options)
        same = np.array_equal(outputs[label], outputs[reference])
        found[label] = {}
        for name, test in tests.items():
            margin, num = margins.get(name), counted(name)
            difference = PairedDifference(**asdict(test), margin=margin)
            spread = Spread.of(resampled[label][name].minus(resampled[reference][name]))
            if spread is not None:
                difference = _over_seeds(difference, spread, len(others), same=same)
                least = 0.0 if margin is None or num is None or same else accuracy_error(margin, num)
                if margin is not None and (same or spread.standard_error or least):
                    p_value = spread.equivalence_p_value(margin, at_least=least)
                    difference = replace(difference, p_value_equivalent=p_value)
            found[label][name] = difference
    found = _by_metric(found, "p_value_holm", _largest_p_value)
    found = _by_metric(found, "p_value_equivalent_holm", lambda one: one.p_value_equivalent)
    known_metrics = metrics_of(task)
    return {
        label: {name: replace(one, verdict=one.judged(known_metrics[name])) for name, one in tests.items()}
        for label, tests in found.items()
    }


def _over_seeds(
    difference: PairedDifference, spread: Spread, num_tests: int, *, same: bool
) -> PairedDifference:
    """Add what the difference varies by: with other samples, and with several seeds other trainings."""
    if spread.standard_error == 0.0 and not same:
        alike = "the same difference everywhere: how much others would differ is not known"
        note = "; ".join(filter(None, [difference.note, alike]))
        return replace(difference, low=None, high=None, note=note)
    # Swaps of g units have no two-sided p-value below 2/2^g.
    can_show = difference.num_units - 1 >= np.log2(num_tests / SIGNIFICANCE)
    half = spread.half_width(difference.level)
    within = spread.half_width(1.0 - 2.0 * SIGNIFICANCE)
    return replace(
        difference,
        low=spread.value - half,
        high=spread.value + half,
        p_value_seeds=spread.p_value() if spread.num_seeds > 1 else None,
        standard_error=spread.standard_error,
        degrees=spread.degrees,
        # Holm's correction asks at most this level of the smallest p-value, and less of the others.
        detectable=spread.detectable(SIGNIFICANCE / num_tests) if can_show else None,
        low_equivalent=spread.value - within,
        high_equivalent=spread.value + within,
    )


def _largest_p_value(one: PairedDifference) -> float | None:
    known = [value for value in (one.p_value, one.p_value_seeds) if value is not None]
    return max(known) if known else None


def _by_metric(
    found: Mapping[str, Mapping[str, PairedDifference]],
    field: str,
    p_value: Callable[[PairedDifference], float | None],
) -> dict[str, dict[str, PairedDifference]]:
    """Set a field to p-values corrected over the models, metric by metric."""
    names = list(next(iter(found.values()), {}))
    holm = {
        name: holm_correction({label: p_value(tests[name]) for label, tests in found.items()})
        for name in names
    }
    return {
        label: {name: replace(tests[name], **{field: holm[name][label]}) for name in names}
        for label, tests in found.items()
    }
