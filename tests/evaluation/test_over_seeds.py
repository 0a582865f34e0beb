"""Intervals and tests over seeds and samples: what they are made of, and what they come to at the ends."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from qinn.evaluation.intervals import bootstrap_intervals, interval_of
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.over_seeds import Spread, accuracy_error, interval_over_seeds
from qinn.evaluation.resampling import Resampled, Units, resampled_metrics
from qinn.task import Task

PLAIN = Task("regression", 0.0, 10.0, "plain")


def resampled(values: np.ndarray, draws: int = 4000) -> Resampled:
    """Means of (seed, sample) values on resamples of the samples."""
    count = values.shape[1]
    random = np.random.default_rng(0)
    weights = random.multinomial(count, [1 / count] * count, size=draws) / count
    return Resampled(values.mean(1), weights @ values.T, Units.of(count, None))


def crossed(seeds: int, samples: int, of_seed: float, of_sample: float, of_both: float) -> np.ndarray:
    random = np.random.default_rng(seeds)
    return (
        of_seed * random.normal(size=(seeds, 1))
        + of_sample * random.normal(size=(1, samples))
        + of_both * random.normal(size=(seeds, samples))
    )


def test_the_parts_are_those_of_a_crossed_analysis_of_variance():
    values = crossed(4, 60, 0.1, 1.0, 0.7)
    seeds, samples = values.shape
    by_seed, by_sample, mean = values.mean(1), values.mean(0), values.mean()
    rest = values - by_seed[:, None] - by_sample + mean
    within = (rest**2).sum() / ((seeds - 1) * (samples - 1)) / (seeds * samples)
    found = Spread.of(resampled(values))
    assert found.value == pytest.approx(mean)
    assert found.samples == pytest.approx(by_sample.var(ddof=1) / samples, rel=0.08)
    assert found.seeds == pytest.approx(by_seed.var(ddof=1) / seeds)
    assert found.interaction == pytest.approx(within, rel=0.08)
    assert found.standard_error**2 == pytest.approx(found.samples + max(0.0, found.seeds - found.interaction))


def test_one_seed_leaves_a_t_test_over_samples():
    values = crossed(1, 25, 0.0, 1.0, 0.0) + 0.3
    found = Spread.of(resampled(values, 40_000))
    theirs = stats.ttest_1samp(values[0], 0.0)
    assert found.degrees == 24
    assert found.p_value() == pytest.approx(theirs.pvalue, rel=0.05)
    ends = theirs.confidence_interval(0.95)
    assert found.half_width(0.95) == pytest.approx((ends.high - ends.low) / 2, rel=0.02)


def test_seeds_that_say_everything_leave_a_t_test_over_seeds():
    values = np.array([0.1, 0.4, 0.2])[:, None] + np.zeros((3, 50))
    found = Spread.of(resampled(values))
    assert found.samples == pytest.approx(0.0, abs=1e-12)
    assert found.p_value() == pytest.approx(stats.ttest_1samp([0.1, 0.4, 0.2], 0.0).pvalue)


def test_a_lucky_seed_widens_the_interval_and_equal_seeds_do_not():
    values = crossed(3, 80, 0.0, 1.0, 0.0)
    alone = Spread.of(resampled(values[:1]))
    same = Spread.of(resampled(np.repeat(values[:1], 3, axis=0)))
    lucky = Spread.of(resampled(values + np.array([[0.0], [0.0], [1.0]])))
    assert same.half_width(0.95) == pytest.approx(alone.half_width(0.95))
    assert lucky.half_width(0.95) > 3 * same.half_width(0.95)


def test_two_one_sided_tests_are_the_interval_of_twice_the_level():
    found = Spread.of(resampled(crossed(5, 40, 0.05, 1.0, 0.5)))
    reach = abs(found.value) + found.half_width(0.9)
    assert found.equivalence_p_value(reach) == pytest.approx(0.05)
    assert found.equivalence_p_value(1.01 * reach) < 0.05 < found.equivalence_p_value(0.99 * reach)
    assert found.equivalence_p_value(abs(found.value)) == pytest.approx(0.5)
    assert found.equivalence_p_value(abs(found.value) / 2) > 0.5


def test_the_p_value_is_where_the_interval_ends():
    found = Spread.of(resampled(crossed(3, 40, 0.3, 1.0, 0.5) + 0.4))
    at_zero = 1.0 - found.p_value()
    assert found.half_width(at_zero) == pytest.approx(abs(found.value))


def test_of_what_never_varies_all_is_certain():
    nothing, apart = (Spread(value, 0.0, 0.0, 0.0, 10, 1) for value in (0.0, 0.1))
    assert nothing.p_value() == 1.0
    assert apart.p_value() == 0.0
    assert [apart.equivalence_p_value(margin) for margin in (0.05, 0.1, 0.2)] == [1.0, 0.5, 0.0]


def test_more_seeds_and_more_samples_detect_less():
    base = Spread(0.0, 0.01, 0.004, 0.001, 40, 3)
    assert base.detectable(0.05) > replace(base, num_seeds=10, seeds=0.0012).detectable(0.05)
    assert base.detectable(0.05) > replace(base, samples=0.001).detectable(0.05)
    assert base.detectable(0.01) > base.detectable(0.05) > base.half_width(0.95)


def test_what_is_undefined_varies_by_nothing_known():
    one = resampled(crossed(3, 20, 0.1, 1.0, 0.5))
    assert Spread.of(replace(one, values=np.array([0.1, np.nan, 0.2]))) is None
    assert Spread.of(replace(one, units=Units.of(20, ["one"] * 20))) is None
    some = one.draws.copy()
    some[::7, 1] = np.nan
    assert Spread.of(replace(one, draws=some)).samples == pytest.approx(Spread.of(one).samples, rel=0.1)


def test_an_accuracy_varies_at_least_by_what_its_margin_asks():
    nothing_seen = Spread(0.0, 0.0, 0.0, 0.0, 20, 1)
    assert nothing_seen.equivalence_p_value(0.05) == 0.0
    floor = accuracy_error(0.05, 20)
    assert nothing_seen.equivalence_p_value(0.05, at_least=floor) > 0.05
    assert (
        Spread(0.0, 0.0, 0.0, 0.0, 500, 1).equivalence_p_value(0.05, at_least=accuracy_error(0.05, 500))
        < 0.05
    )


def test_the_interval_of_one_seed_is_that_of_the_bootstrap_and_no_interval_leaves_its_range():
    random = np.random.default_rng(2)
    labels = 5.0 + 2.0 * random.normal(size=50)
    outputs = (labels + 0.05 * random.normal(size=(3, 50)))[..., None]
    outputs[2] += 2.0 * random.normal(size=(50, 1))
    known = metrics_of(PLAIN)
    alone = resampled_metrics(PLAIN, labels, outputs[:1], num_resamples=200)
    expected = bootstrap_intervals(PLAIN, labels, outputs[:1], num_resamples=200)
    for name, one in alone.items():
        assert interval_over_seeds(one, 0.95, known[name]) == expected[name]
    three = resampled_metrics(PLAIN, labels, outputs, num_resamples=200)
    of_samples = bootstrap_intervals(PLAIN, labels, outputs, num_resamples=200)
    for name, one in three.items():
        found = interval_over_seeds(one, 0.95, known[name])
        assert found.low <= of_samples[name].low < of_samples[name].high <= found.high, name
        assert known[name].low <= found.low
        assert found.high <= known[name].high
    assert interval_over_seeds(three["corr"], 0.95, known["corr"]).high == 1.0


def test_few_units_vary_by_the_variance_of_a_sample():
    values = crossed(1, 4, 0.0, 1.0, 0.0)
    found = Spread.of(resampled(values, 40_000))
    assert found.samples == pytest.approx(values[0].var(ddof=1) / 4, rel=0.05)


def test_degrees_of_freedom_are_those_of_satterthwaite_and_no_fewer_than_of_either():
    samples, seeds, interaction = 0.0004, 0.0006, 0.0001
    found = Spread(0.1, samples, seeds, interaction, 100, 3)
    variance = samples + seeds - interaction
    parts = samples**2 / 99 + seeds**2 / 2 + interaction**2 / (99 * 2)
    assert found.degrees == pytest.approx(variance**2 / parts)
    assert Spread(0.0, 0.0, 1.0, 0.9, 50, 3).degrees == 2.0


@pytest.mark.parametrize("units", [6, 40])
def test_what_is_detectable_is_the_half_of_the_interval_and_the_quantile_of_the_power(units):
    """Of one seed: (t(1 − α/2) + t(0.8)) · the error as it is typically seen, √(median χ² / ν) of the true one."""
    degrees = units - 1
    typical = 0.1 / np.sqrt(stats.chi2.median(degrees) / degrees)
    for significance in (0.05, 0.01):
        quantiles = stats.t.ppf(1 - significance / 2, degrees) + stats.t.ppf(0.8, degrees)
        found = Spread(0.3, 0.01, 0.0, 0.0, units, 1).detectable(significance)
        assert found == pytest.approx(typical * quantiles)


def test_other_trainings_never_narrow_the_interval_of_other_samples():
    """Where units are few, seeds that say nearly the same bring degrees of freedom, and with them a shorter half."""
    values = 5.0 + np.array([[-0.4, 0.1, 0.3]]) + 0.02 * np.arange(20)[:, None]
    one = resampled(values)
    spread = Spread.of(one)
    assert spread.half_width(0.95) < replace(spread, seeds=0.0, num_seeds=1).half_width(0.95)
    mae = metrics_of(PLAIN)["mae"]
    of_samples, found = interval_of(one, 0.95, mae), interval_over_seeds(one, 0.95, mae)
    assert found.low == pytest.approx(of_samples.low)
    assert found.high == pytest.approx(of_samples.high)
