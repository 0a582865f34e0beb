"""Laws of the metrics: what a weighting means, and what must not change them."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.evaluation.label_metrics import label_terms
from qinn.evaluation.metrics import metrics, prepare_metrics
from qinn.evaluation.weighted import (
    CHUNK_ENTRIES,
    PAIRS_PER_SAMPLE,
    OfSelected,
    WeightedMean,
    correlation,
    determination,
    mean_of_defined,
    ranking_area,
    resample_counts,
)
from qinn.task import Task

TASKS = {
    "mosi": Task("regression", -3.0, 3.0, "mosi"),
    "sims": Task("regression", -1.0, 1.0, "sims"),
    "plain": Task("regression", 0.0, 10.0, "plain"),
    "classification": Task("classification", classes=("angry", "calm", "happy")),
}
SAME = {"rel": 1e-9, "abs": 1e-9, "nan_ok": True}


def samples(task: Task, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and outputs with ties; small sets may leave metrics undefined."""
    generator = np.random.default_rng(seed)
    if task.kind == "classification":
        return generator.integers(0, 3, size), np.round(generator.normal(size=(size, 3)), 1)
    labels = np.round(generator.uniform(task.low, task.high, size), 1)
    outputs = np.round(labels + generator.normal(0.0, 0.3 * (task.high - task.low), size), 1)
    return labels, outputs[:, None]


def numbers(values: dict[str, float | None]) -> dict[str, float]:
    """The same metrics with NaN for undefined, so that they can be compared with a tolerance."""
    return {name: np.nan if value is None else value for name, value in values.items()}


cases = st.tuples(st.sampled_from(sorted(TASKS)), st.integers(1, 25), st.integers(0, 10**6))
laws = settings(max_examples=40, deadline=None, derandomize=True)


@laws
@given(cases)
def test_the_order_of_samples_changes_nothing(case: tuple[str, int, int]) -> None:
    name, size, seed = case
    labels, outputs = samples(TASKS[name], size, seed)
    order = np.random.default_rng(seed + 1).permutation(size)
    shuffled = numbers(metrics(TASKS[name], labels[order], outputs[order]))
    assert shuffled == pytest.approx(numbers(metrics(TASKS[name], labels, outputs)), **SAME)


@laws
@given(cases, st.integers(2, 4))
def test_a_data_set_repeated_changes_nothing(case: tuple[str, int, int], times: int) -> None:
    name, size, seed = case
    labels, outputs = samples(TASKS[name], size, seed)
    repeated = numbers(metrics(TASKS[name], np.tile(labels, times), np.tile(outputs, (times, 1))))
    assert repeated == pytest.approx(numbers(metrics(TASKS[name], labels, outputs)), **SAME)


@laws
@given(cases)
def test_resampled_metrics_are_the_metrics_of_the_resampled_data(case: tuple[str, int, int]) -> None:
    name, size, seed = case
    labels, outputs = samples(TASKS[name], size, seed)
    indices = np.random.default_rng(seed + 1).integers(0, size, (5, size))
    resampled = prepare_metrics(TASKS[name], labels, outputs)(resample_counts(indices, size))
    for row, chosen in enumerate(indices):
        direct = numbers(metrics(TASKS[name], labels[chosen], outputs[chosen]))
        assert {metric: values[row] for metric, values in resampled.items()} == pytest.approx(direct, **SAME)


@laws
@given(
    st.sampled_from([*sorted(TASKS), "several labels"]),
    st.integers(1, 40),
    st.integers(1, 15),
    st.integers(0, 10**6),
)
def test_weights_of_units_are_weights_of_their_samples(name: str, size: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    if name == "several labels":
        task = Task("multilabel", labels=("joy", "fear"))
        data = generator.integers(-1, 2, (size, 2)), np.round(generator.normal(size=(size, 2)), 1)
    else:
        task = TASKS[name]
        data = samples(task, size, seed)
    codes = generator.integers(0, count, size)
    weights = generator.integers(0, 4, (6, count)).astype(float)
    prepared = prepare_metrics(task, *data)
    by_unit = prepared.of_units(codes, count)
    assert by_unit.num_samples == count
    by_sample = prepared(weights[:, codes])
    for metric, values in by_unit(weights).items():
        assert values == pytest.approx(by_sample[metric], **SAME), metric
    # Units of units: the weight of each is that of all their samples.
    outer = generator.integers(0, 3, count)
    few = generator.integers(0, 4, (6, 3)).astype(float)
    expected = prepared(few[:, outer[codes]])
    for metric, values in by_unit.of_units(outer, 3)(few).items():
        assert values == pytest.approx(expected[metric], **SAME), metric


@pytest.mark.parametrize("count", [5, 40])
def test_the_area_is_a_sum_over_pairs_of_units_only_where_they_are_few(count: int) -> None:
    generator = np.random.default_rng(0)
    positive, scores = generator.random(100) < 0.4, np.round(generator.normal(size=100), 1)
    area = ranking_area(positive, scores)
    codes = np.arange(100) % count
    of_units = area.of_units(codes, count)
    assert isinstance(of_units, OfSelected) == (count**2 > PAIRS_PER_SAMPLE * 100)
    weights = generator.uniform(size=(50, count))
    assert of_units(weights) == pytest.approx(area(weights[:, codes]), abs=1e-12)


@pytest.mark.parametrize("count", [4, 60])
def test_few_units_need_no_more_memory_than_a_chunk_of_their_samples(count: int) -> None:
    """Of few units many rows are asked for at once: with all samples in each they would fill the memory."""
    generator, number = np.random.default_rng(0), 4000
    codes, weights = generator.integers(0, count, number), generator.uniform(size=(1000, count))
    labels, logits = generator.integers(-1, 2, (number, 2)), generator.normal(size=(number, 2))
    terms = label_terms(labels, logits, Task("multilabel", labels=("joy", "fear")))
    tracemalloc.start()
    found = {name: term.of_units(codes, count)(weights) for name, term in terms.items()}
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (
        most < 8 * 8 * CHUNK_ENTRIES
    )  # several arrays of doubles, where all rows at once need 32 MB for each
    few = weights[:3, codes]
    for name, values in found.items():
        assert values[:3] == pytest.approx(terms[name](few), **SAME)


@laws
@given(cases, st.sampled_from([0.01, 0.3, 7.0, 100.0]))
def test_the_scale_of_the_weights_changes_nothing(case: tuple[str, int, int], factor: float) -> None:
    name, size, seed = case
    prepared = prepare_metrics(TASKS[name], *samples(TASKS[name], size, seed))
    weights = np.random.default_rng(seed).uniform(0.1, 1.0, (3, size))
    scaled, plain = prepared(factor * weights), prepared(weights)
    for metric in plain:
        assert scaled[metric] == pytest.approx(plain[metric], **SAME)


@laws
@given(cases)
def test_a_sample_without_weight_does_not_exist(case: tuple[str, int, int]) -> None:
    name, size, seed = case
    labels, outputs = samples(TASKS[name], size + 1, seed)
    weights = np.ones((1, size + 1))
    weights[0, -1] = 0.0
    without = prepare_metrics(TASKS[name], labels, outputs)(weights)
    expected = numbers(metrics(TASKS[name], labels[:-1], outputs[:-1]))
    assert {metric: values[0] for metric, values in without.items()} == pytest.approx(expected, **SAME)


@laws
@given(cases)
def test_no_weight_at_all_leaves_every_metric_undefined(case: tuple[str, int, int]) -> None:
    name, size, seed = case
    prepared = prepare_metrics(TASKS[name], *samples(TASKS[name], size, seed))
    assert all(np.isnan(value).all() for value in prepared(np.zeros((2, size))).values())


@laws
@given(st.integers(3, 30), st.integers(0, 10**6), st.integers(1, 20))
def test_shifting_every_prediction_beyond_the_labels_adds_the_shift_to_the_error(
    size: int, seed: int, shift: int
) -> None:
    labels, outputs = samples(TASKS["plain"], size, seed)
    above = labels + np.abs(outputs[:, 0] - labels)
    before = metrics(TASKS["plain"], labels, above[:, None])["mae"]
    after = metrics(TASKS["plain"], labels, (above + shift)[:, None])["mae"]
    assert after == pytest.approx(before + shift)


@laws
@given(st.integers(5, 30), st.integers(0, 10**6), st.integers(1, 200), st.integers(-50, 50))
def test_correlation_and_area_ignore_a_rising_linear_map_of_the_predictions(
    size: int, seed: int, slope: int, shift: int
) -> None:
    labels, outputs = samples(TASKS["plain"], size, seed)
    before = metrics(TASKS["plain"], labels, outputs)
    # Whole numbers keep ties tied.
    after = metrics(TASKS["plain"], labels, np.round(10 * outputs) * slope + shift)
    for name in ("corr", "auc_midpoint"):
        assert numbers(after)[name] == pytest.approx(numbers(before)[name], **SAME), name


@laws
@given(st.integers(5, 30), st.integers(0, 10**6))
def test_negated_predictions_negate_the_correlation_and_mirror_the_area(size: int, seed: int) -> None:
    labels, outputs = samples(TASKS["plain"], size, seed)
    before = metrics(TASKS["plain"], labels, outputs)
    after = metrics(TASKS["plain"], labels, -outputs)
    assert numbers(after)["corr"] == pytest.approx(-numbers(before)["corr"], **SAME)
    assert numbers(after)["auc_midpoint"] == pytest.approx(1.0 - numbers(before)["auc_midpoint"], **SAME)


@laws
@given(cases)
def test_perfect_predictions_score_perfectly_wherever_the_metric_is_defined(
    case: tuple[str, int, int],
) -> None:
    name, size, seed = case
    labels, _ = samples(TASKS[name], size, seed)
    outputs = 50.0 * np.eye(3)[labels] if name == "classification" else labels[:, None]
    for metric, value in metrics(TASKS[name], labels, outputs).items():
        assert value is None or value == pytest.approx(0.0 if metric in ("mae", "log_loss") else 1.0), metric


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_correlation_keeps_its_digits_far_from_zero(offset: float) -> None:
    generator = np.random.default_rng(0)
    labels, predictions = generator.normal(size=(2, 500)) * 10.0
    near = correlation(labels, predictions)(np.ones((1, 500)))
    far = correlation(labels, predictions + offset)(np.ones((1, 500)))
    assert far == pytest.approx(near, rel=1e-8)


def test_a_resample_of_one_repeated_sample_has_no_correlation() -> None:
    labels, predictions = np.array([0.1, 0.7, 2.3]), np.array([0.3, 0.9, 0.1])
    weights = resample_counts(np.array([[0, 0, 0], [1, 1, 1], [0, 1, 2]]), 3)
    assert np.isnan(correlation(labels, predictions)(weights)).tolist() == [True, True, False]


def test_a_resample_of_one_sample_is_constant_however_often_it_is_drawn() -> None:
    labels, predictions = np.random.default_rng(0).normal(size=(2, 40))
    once = np.eye(40)
    for times in range(1, 14):
        assert np.isnan(correlation(labels, predictions)(times * once)).all(), times
        assert np.isnan(determination(labels, predictions)(times * once)).all(), times


def test_a_mean_of_metrics_leaves_out_the_undefined_ones_row_by_row() -> None:
    first = WeightedMean(np.array([1.0, 2.0]), np.array([True, False]))
    second = WeightedMean(np.array([3.0, 5.0]))
    weights = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(mean_of_defined([first, second])(weights), [2.5, 5.0, np.nan])
