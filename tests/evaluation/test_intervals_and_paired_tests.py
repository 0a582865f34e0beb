"""Intervals cover, tests hold their level, summaries and corrections are right, refusals name the fault."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from qinn.errors import ArgumentError
from qinn.evaluation.intervals import bootstrap_intervals, percentile_interval, summarize_seeds
from qinn.evaluation.metrics import metrics
from qinn.evaluation.paired_tests import holm_correction, mcnemar_p_value, paired_test
from qinn.evaluation.resampling import is_enumerable
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")
PLAIN = Task("regression", -10.0, 10.0, "plain")
CLASSES = Task("classification", classes=("no", "yes"))


def data(size: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Normal labels and predictions with normal errors."""
    generator = np.random.default_rng(seed)
    labels = generator.normal(0.0, 1.3, size)
    return labels, (labels + generator.normal(0.0, noise, size))[:, None]


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """No shape checks, for simulations that call the same code with the same shapes hundreds of times."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def within_chance(count: int, trials: int, probability: float) -> bool:
    """Whether a binomial count lies within four standard errors of what is expected."""
    spread = np.sqrt(trials * probability * (1.0 - probability))
    return abs(count - trials * probability) < 4.0 * spread


# Intervals


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_intervals_cover_the_true_metrics_as_often_as_they_say() -> None:
    trials, level = 200, 0.9
    # sd 1.3 of the labels and 1 of the errors, both normal.
    truth = {
        "mae": np.sqrt(2.0 / np.pi),
        "corr": 1.3 / np.sqrt(1.3**2 + 1.0),
        "acc2_has0": 0.5 + np.arcsin(1.3 / np.sqrt(1.3**2 + 1.0)) / np.pi,
    }
    covered = dict.fromkeys(truth, 0)
    for trial in range(trials):
        intervals = bootstrap_intervals(MOSI, *data(120, trial), num_resamples=400, level=level, seed=trial)
        for name, value in truth.items():
            covered[name] += intervals[name].low <= value <= intervals[name].high
    assert all(within_chance(count, trials, level) for count in covered.values()), covered


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_group_intervals_cover_where_naive_and_plain_ones_do_not() -> None:
    trials, num_groups, size = 150, 10, 12
    groups = np.repeat(np.arange(num_groups), size)
    covered = {"group": 0, "naive": 0, "plain": 0}
    for trial in range(trials):
        generator = np.random.default_rng(trial)
        error = np.repeat(generator.normal(2.0, 0.3, num_groups), size) + generator.normal(
            0, 0.2, len(groups)
        )
        labels = np.zeros(len(groups))
        options = {"num_resamples": 300, "seed": trial}
        by_group = bootstrap_intervals(PLAIN, labels, error[:, None], groups=groups, **options)["mae"]
        naive = bootstrap_intervals(PLAIN, labels, error[:, None], **options)["mae"]
        means = error.reshape(num_groups, size).mean(axis=1)
        drawn = generator.integers(0, num_groups, (300, num_groups))
        low, high = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975])
        covered["group"] += by_group.low <= 2.0 <= by_group.high
        covered["naive"] += naive.low <= 2.0 <= naive.high
        covered["plain"] += low <= 2.0 <= high
    assert within_chance(covered["group"], trials, 0.95), covered
    assert covered["naive"] < 0.7 * trials
    assert covered["plain"] < covered["group"]


def test_the_group_interval_is_wider_where_samples_of_a_group_err_alike() -> None:
    generator = np.random.default_rng(3)
    groups = [f"speaker {index}" for index in np.repeat(np.arange(20), 15)]
    labels = generator.normal(size=300)
    outputs = (labels + np.repeat(generator.normal(size=20), 15))[:, None]
    naive = bootstrap_intervals(MOSI, labels, outputs, num_resamples=300)["mae"]
    grouped = bootstrap_intervals(MOSI, labels, outputs, groups=groups, num_resamples=300)["mae"]
    assert grouped.value == naive.value
    assert grouped.high - grouped.low > 2.0 * (naive.high - naive.low)
    assert (grouped.num_units, naive.num_units) == (20, 300)


def test_groups_of_one_sample_are_no_groups() -> None:
    labels, outputs = data(50)
    alone = bootstrap_intervals(MOSI, labels, outputs, num_resamples=100)
    grouped = bootstrap_intervals(MOSI, labels, outputs, groups=np.arange(50), num_resamples=100)
    for name, interval in alone.items():
        assert (grouped[name].low, grouped[name].high) == pytest.approx((interval.low, interval.high)), name


def test_intervals_agree_with_those_of_scipy() -> None:
    labels, outputs = data(400)
    ours = bootstrap_intervals(MOSI, labels, outputs, num_resamples=4000)["mae"]
    errors = np.abs(outputs[:, 0] - labels)
    theirs = stats.bootstrap(
        (errors,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(errors.mean())
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.05 * width
    assert abs(ours.high - theirs.high) < 0.05 * width


def test_intervals_are_reproduced_by_their_seed_and_only_by_it() -> None:
    labels, outputs = data(80)
    first, again, other = (
        bootstrap_intervals(MOSI, labels, outputs, num_resamples=200, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert first["mae"] != other["mae"]


def test_a_higher_level_gives_a_wider_interval() -> None:
    labels, outputs = data(80)
    narrow, wide = (
        bootstrap_intervals(MOSI, labels, outputs, num_resamples=500, level=level) for level in (0.8, 0.99)
    )
    assert all(wide[name].low < narrow[name].low < narrow[name].high < wide[name].high for name in narrow)


def test_a_metric_over_seeds_is_the_mean_in_every_resample() -> None:
    labels, outputs = data(60)
    stacked = np.stack([outputs, outputs + 0.8, outputs - 1.1])
    result = bootstrap_intervals(MOSI, labels, stacked, num_resamples=100)
    for name, interval in result.items():
        assert interval.value == pytest.approx(np.mean([metrics(MOSI, labels, one)[name] for one in stacked]))
    same = bootstrap_intervals(MOSI, labels, np.stack([outputs, outputs]), num_resamples=100)
    for name, interval in bootstrap_intervals(MOSI, labels, outputs, num_resamples=100).items():
        assert (same[name].low, same[name].high) == pytest.approx((interval.low, interval.high)), name


def test_averaging_seeds_with_independent_errors_narrows_the_interval() -> None:
    labels, _ = data(200)
    stacked = labels[:, None] + np.random.default_rng(1).normal(size=(5, 200, 1))
    one = bootstrap_intervals(MOSI, labels, stacked[0], num_resamples=500)["mae"]
    five = bootstrap_intervals(MOSI, labels, stacked, num_resamples=500)["mae"]
    assert five.high - five.low < 0.6 * (one.high - one.low)


def test_too_few_groups_give_a_note_instead_of_an_interval() -> None:
    labels, outputs = data(30)
    lonely = bootstrap_intervals(MOSI, labels, outputs, groups=["only"] * 30, num_resamples=50)["mae"]
    assert (lonely.low, lonely.high) == (None, None)
    assert lonely.value is not None
    assert lonely.note == "fewer than two groups: neither interval nor test"
    few = bootstrap_intervals(MOSI, labels, outputs, groups=["a", "b", "c"] * 10, num_resamples=50)["mae"]
    assert few.note == "rough: from only 3 groups"


def test_an_undefined_metric_has_no_interval_and_an_often_undefined_one_says_so() -> None:
    labels, outputs = data(40)
    constant = bootstrap_intervals(MOSI, labels, np.zeros_like(outputs), num_resamples=50)
    assert constant["corr"].value is constant["corr"].low is constant["corr"].high is None
    assert constant["corr"].note.startswith("undefined")
    assert constant["mae"].low is not None
    rare = np.array([0] * 11 + [1])
    logits = np.random.default_rng(0).normal(size=(12, 2))
    area = bootstrap_intervals(CLASSES, rare, logits, num_resamples=200)["auc"]
    assert 0 < area.num_resamples < 200
    assert f"undefined in {200 - area.num_resamples} of 200 resamples" in area.note


@pytest.mark.parametrize("units", [2, 3, 5])
def test_intervals_of_few_units_cover_what_percentiles_cannot(units: int) -> None:
    trials, random, covered = 400, np.random.default_rng(units), 0
    values = random.normal(size=(trials, units))
    weights = random.multinomial(units, [1 / units] * units, size=300) / units
    for row in values @ weights.T:
        low, high = percentile_interval(row, units, 0.95)
        covered += low <= 0.0 <= high
    assert within_chance(covered, trials, 0.95)


def test_no_interval_leaves_the_range_of_its_metric() -> None:
    labels, outputs = data(30, noise=0.2)
    found = bootstrap_intervals(MOSI, labels, outputs, groups=["a", "b", "c"] * 10, num_resamples=50)
    assert found["corr"].high <= 1.0
    assert 0.0 <= found["acc2_has0"].low <= found["acc2_has0"].high <= 1.0


def test_the_expanded_interval_tends_to_the_plain_percentiles() -> None:
    resampled = np.random.default_rng(0).normal(size=5000)
    plain = np.quantile(resampled, [0.05, 0.95])
    assert percentile_interval(resampled, 10**6, 0.9) == pytest.approx(tuple(plain), abs=1e-4)
    low, high = percentile_interval(resampled, 6, 0.9)
    assert low < plain[0]
    assert plain[1] < high
    assert percentile_interval(resampled, 1, 0.9) == (None, None)
    spread = resampled.std() * np.sqrt(6 / 5) * stats.t.ppf(0.95, 5)
    assert (low, high) == pytest.approx((resampled.mean() - spread, resampled.mean() + spread))
    assert percentile_interval(np.full(4, np.nan), 10, 0.9) == (None, None)


# Paired tests


def rival(outputs: np.ndarray, seed: int, noise: float) -> np.ndarray:
    """Outputs of another model with partly the same errors."""
    return outputs + np.random.default_rng(seed).normal(0.0, noise, outputs.shape)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_permutation_p_values_are_uniform_for_equal_models() -> None:
    trials, p_values = 150, {"mae": [], "corr": []}
    for trial in range(trials):
        labels, outputs = data(40, trial, 0.7)
        a, b = rival(outputs, 2 * trial, 0.5), rival(outputs, 2 * trial + 1, 0.5)
        result = paired_test(PLAIN, labels, a, b, num_resamples=1, num_permutations=99, seed=trial)
        for name, values in p_values.items():
            values.append(result[name].p_value)
    for name, values in p_values.items():
        for bound in (0.05, 0.2, 0.5, 0.8):
            assert within_chance(int((np.array(values) <= bound).sum()), trials, bound), (name, bound)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_swapping_groups_keeps_the_level_where_swapping_samples_does_not() -> None:
    trials, groups = 80, np.repeat(np.arange(12), 10)
    rejected = {"group": 0, "naive": 0}
    for trial in range(trials):
        generator = np.random.default_rng(trial)
        labels = np.zeros(120)
        a, b = (2.0 + np.repeat(generator.normal(0, 0.4, 12), 10)[:, None] for _ in range(2))
        options = {"num_resamples": 1, "num_permutations": 99, "seed": trial}
        rejected["group"] += paired_test(PLAIN, labels, a, b, groups=groups, **options)["mae"].p_value <= 0.1
        rejected["naive"] += paired_test(PLAIN, labels, a, b, **options)["mae"].p_value <= 0.1
    assert within_chance(rejected["group"], trials, 0.1), rejected
    assert rejected["naive"] > 0.4 * trials


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_paired_intervals_cover_the_true_difference() -> None:
    trials, covered, truth = 150, 0, (1.0 - np.sqrt(1.25)) * np.sqrt(2.0 / np.pi)
    for trial in range(trials):
        labels, outputs = data(100, trial)
        worse = rival(outputs, 10_000 + trial, 0.5)
        result = paired_test(PLAIN, labels, outputs, worse, num_resamples=300, num_permutations=1, seed=trial)
        covered += result["mae"].low <= truth <= result["mae"].high
    assert within_chance(covered, trials, 0.95), covered


def test_a_better_model_is_found_better_with_the_right_sign() -> None:
    labels, outputs = data(300, noise=0.5)
    result = paired_test(
        MOSI, labels, outputs, rival(outputs, 1, 1.0), num_resamples=300, num_permutations=300
    )
    assert result["mae"].high < 0.0 < result["corr"].low
    assert result["mae"].p_value == pytest.approx(1 / 301)
    assert result["mae"].difference == pytest.approx(
        metrics(MOSI, labels, outputs)["mae"] - metrics(MOSI, labels, rival(outputs, 1, 1.0))["mae"]
    )


def test_exchanging_the_runs_negates_the_difference_and_keeps_the_p_value() -> None:
    labels, a = data(60)
    b = rival(a, 1, 0.3)
    there, back = (paired_test(MOSI, labels, *pair, num_resamples=200) for pair in ((a, b), (b, a)))
    for name in there:
        assert back[name].difference == pytest.approx(-there[name].difference)
        assert back[name].low == pytest.approx(-there[name].high, abs=1e-12)
        assert back[name].p_value == there[name].p_value
        assert back[name].mcnemar_p_value == there[name].mcnemar_p_value


def test_a_run_does_not_differ_from_itself() -> None:
    labels, outputs = data(40)
    for result in paired_test(MOSI, labels, outputs, outputs, num_resamples=50).values():
        assert (result.difference, result.low, result.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)
        assert result.mcnemar_p_value in (None, 1.0)


def test_the_paired_interval_is_narrower_than_two_separate_ones() -> None:
    labels, a = data(200)
    b = rival(a, 1, 0.1)
    paired = paired_test(MOSI, labels, a, b, num_resamples=300, num_permutations=1)["mae"]
    single = bootstrap_intervals(MOSI, labels, a, num_resamples=300)["mae"]
    assert paired.high - paired.low < 0.5 * (single.high - single.low)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("name", ["mae", "corr", "acc2_has0"])
def test_the_permutation_test_agrees_with_scipy_by_enumeration(name: str) -> None:
    labels, a = data(6, seed=4)
    b = rival(a, 5, 1.0)

    def difference(first: np.ndarray, second: np.ndarray) -> float:
        values = [metrics(MOSI, labels, one[:, None])[name] for one in (first, second)]
        return values[0] - values[1]

    expected = stats.permutation_test(
        (a[:, 0], b[:, 0]),
        difference,
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="two-sided",
    )
    result = paired_test(MOSI, labels, a, b, num_resamples=10, num_permutations=64)[name]
    assert result.p_value == pytest.approx(expected.pvalue)


def test_with_few_groups_the_test_is_exact_and_its_smallest_p_value_known() -> None:
    labels = np.zeros(20)
    a, b = np.full((20, 1), 1.0), np.full((20, 1), 2.0)
    groups = list("abcde") * 4
    result = paired_test(MOSI, labels, a, b, groups=groups, num_resamples=20)["mae"]
    assert result.p_value == 2 / 2**5
    assert result.note == "rough: from only 5 groups"
    assert is_enumerable(10, 1024)
    assert not is_enumerable(11, 1024)
    alone = paired_test(MOSI, labels, a, b, groups=["one"] * 20, num_resamples=20)["mae"]
    assert (alone.difference, alone.low, alone.high, alone.p_value) == (-1.0, None, None, None)


def test_no_exact_p_value_is_below_the_smallest_for_a_difference_that_rounding_reaches() -> None:
    generator, task = np.random.default_rng(0), Task("regression", 0.0, 1e6, "plain")
    labels, groups = generator.uniform(0, 1e6, 200), [str(row % 4) for row in range(200)]
    for _ in range(6):
        first = labels + 1e6 * generator.normal(size=200)
        second = first + 1e-3 * generator.normal(size=200)
        outputs = first[:, None], second[:, None]
        found = paired_test(task, labels, *outputs, groups=groups, num_resamples=10, num_permutations=16)
        assert found["mae"].p_value >= 2 / 16


def test_all_seeds_of_a_sample_are_swapped_together() -> None:
    labels, base = data(7, seed=2)
    a = np.stack([rival(base, seed, 0.5) for seed in range(3)])
    b = np.stack([rival(base, 10 + seed, 0.9) for seed in range(3)])
    result = paired_test(MOSI, labels, a, b, num_resamples=10)["mae"]
    per_sample = (np.abs(a[..., 0] - labels) - np.abs(b[..., 0] - labels)).mean(axis=0)
    signs = 1 - 2 * (np.arange(128)[:, None] >> np.arange(7) & 1)
    swapped = np.abs((signs * per_sample).mean(axis=1))
    assert result.difference == pytest.approx(per_sample.mean())
    assert result.p_value == pytest.approx((swapped >= abs(per_sample.mean()) - 1e-12).mean())
    assert result.mcnemar_p_value is None


def test_a_single_run_stands_beside_every_seed_of_the_other() -> None:
    labels, base = data(50)
    seeds = np.stack([rival(base, seed, 0.5) for seed in range(3)])
    beside = paired_test(MOSI, labels, base, seeds, num_resamples=50, num_permutations=99)
    repeated = paired_test(MOSI, labels, np.stack([base] * 3), seeds, num_resamples=50, num_permutations=99)
    for name in beside:
        assert beside[name].difference == pytest.approx(repeated[name].difference)
        assert beside[name].p_value == repeated[name].p_value


def test_mcnemar_counts_only_samples_on_which_one_run_is_right() -> None:
    labels = np.array([1] * 20)
    yes, no = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    a = np.stack([yes] * 16 + [no] * 4)
    b = np.stack([yes] * 8 + [no] * 8 + [yes] * 1 + [no] * 3)
    result = paired_test(CLASSES, labels, a, b, num_resamples=20, num_permutations=99)
    assert result["accuracy"].mcnemar_p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert result["auc"].difference is None
    assert result["f1_macro"].mcnemar_p_value is None
    grouped = paired_test(CLASSES, labels, a, b, groups=np.arange(20) // 2, num_resamples=20)
    assert grouped["accuracy"].mcnemar_p_value is None
    assert mcnemar_p_value(np.array([True, False]), np.array([True, False])) == 1.0


def test_a_metric_undefined_for_one_run_is_not_compared() -> None:
    labels, outputs = data(30)
    result = paired_test(MOSI, labels, outputs, np.zeros_like(outputs), num_resamples=20, num_permutations=20)
    assert result["corr"].difference is result["corr"].p_value is result["corr"].low is None
    assert result["corr"].note == "undefined for at least one run"
    assert result["mae"].difference is not None


# Summaries and corrections


def test_seeds_are_summarized_by_mean_and_sample_deviation() -> None:
    runs = [{"mae": 0.7, "corr": 0.6}, {"mae": 0.8, "corr": None}, {"mae": 1.2, "corr": None}]
    result = summarize_seeds(runs)
    assert result["mae"].mean == pytest.approx(0.9)
    assert result["mae"].sd == pytest.approx(np.std([0.7, 0.8, 1.2], ddof=1))
    assert (result["mae"].n, result["mae"].num_undefined) == (3, 0)
    assert (result["corr"].mean, result["corr"].sd, result["corr"].n) == (0.6, None, 1)
    assert result["corr"].num_undefined == 2
    assert summarize_seeds([{"corr": None}])["corr"].mean is None


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # the textbook example
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.04], [0.04]),
        ([0.02, None, 0.03], [0.04, None, 0.04]),
        ([None], [None]),
        ([], []),
    ],
)
def test_holm_corrected_p_values(p_values: list[float | None], expected: list[float | None]) -> None:
    named = {f"model {index}": value for index, value in enumerate(p_values)}
    corrected = holm_correction(named)
    assert list(corrected) == list(named)
    assert list(corrected.values()) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_holm_keeps_the_chance_of_any_false_finding() -> None:
    generator = np.random.default_rng(0)
    trials, found = 2000, 0
    for _ in range(trials):
        p_values = dict(zip("abcde", generator.random(5), strict=True))
        found += any(p <= 0.1 for p in holm_correction(p_values).values() if p is not None)
    assert within_chance(found, trials, 1.0 - (1.0 - 0.1 / 5) ** 5)


def test_records_become_plain_dictionaries() -> None:
    labels, outputs = data(30)
    interval = bootstrap_intervals(MOSI, labels, outputs, num_resamples=20)["mae"]
    paired = paired_test(MOSI, labels, outputs, -outputs, num_resamples=20, num_permutations=20)["acc7"]
    summary = summarize_seeds([{"mae": 0.5}])["mae"]
    for record in (interval, paired, summary):
        assert type(record)(**json.loads(json.dumps(asdict(record)))) == record


# Refusals

LABELS, OUTPUTS = data(5)
REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "no resamples": (
        lambda: bootstrap_intervals(MOSI, LABELS, OUTPUTS, num_resamples=0),
        "`num_resamples` must be at least 1",
    ),
    "a level in percent": (
        lambda: bootstrap_intervals(MOSI, LABELS, OUTPUTS, level=95.0),
        "`level` must lie between 0 and 1, but it is 95.0",
    ),
    "too few groups named": (
        lambda: bootstrap_intervals(MOSI, LABELS, OUTPUTS, groups=["a"] * 4),
        "there are 4 groups for 5 samples",
    ),
    "a sample without a group": (
        lambda: bootstrap_intervals(MOSI, LABELS, OUTPUTS, groups=["a", "b", None, "a", None]),
        "sample 2 has none",
    ),
    "outputs without an output axis": (
        lambda: bootstrap_intervals(MOSI, LABELS, OUTPUTS[:, 0]),
        r"`outputs` must have shape \(n, output\) or \(seeds, n, output\)",
    ),
    "no seeds": (
        lambda: bootstrap_intervals(MOSI, LABELS, np.zeros((0, 5, 1))),
        r"its shape is \(0, 5, 1\)",
    ),
    "a NaN in one seed": (
        lambda: bootstrap_intervals(MOSI, LABELS, np.stack([OUTPUTS, OUTPUTS * np.nan])),
        r"`outputs` must be finite, but sample 0 \(first of 5\)",
    ),
    "runs of different length": (
        lambda: paired_test(MOSI, LABELS, OUTPUTS, OUTPUTS[:4]),
        r"its shape is \(4, 1\)",
    ),
    "runs of different samples": (
        lambda: paired_test(MOSI, LABELS, OUTPUTS, OUTPUTS, ids_a=list("abcde"), ids_b=list("abdce")),
        "sample 2 is `c` in the first and `d` in the second",
    ),
    "runs that name different numbers of samples": (
        lambda: paired_test(MOSI, LABELS, OUTPUTS, OUTPUTS, ids_a=list("abcde"), ids_b=list("abcd")),
        "they name 5 and 4 for 5 labels",
    ),
    "identifiers of one run only": (
        lambda: paired_test(MOSI, LABELS, OUTPUTS, OUTPUTS, ids_a=list("abcde")),
        "`ids_a` and `ids_b` must both be given",
    ),
    "different numbers of seeds": (
        lambda: paired_test(MOSI, LABELS, np.stack([OUTPUTS] * 2), np.stack([OUTPUTS] * 3)),
        "they have 2 and 3; compare the seeds that both have",
    ),
    "no seed to summarize": (lambda: summarize_seeds([]), "at least one seed"),
    "seeds of different metrics": (
        lambda: summarize_seeds([{"mae": 1.0}, {"corr": 1.0}]),
        r"seed 1 has \['corr'\] and the first has \['mae'\]",
    ),
    "a p-value above one": (lambda: holm_correction({"tfn": 1.5}), "`tfn` has 1.5"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_arguments_are_refused_naming_the_fault(case: str) -> None:
    call, message = REFUSALS[case]
    with pytest.raises(ArgumentError, match=message):
        call()
