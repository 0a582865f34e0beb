"""Both tests of a comparison keep their level and have the power that is stated, on 500 simulated comparisons each."""

import json
from pathlib import Path

import equal
import numpy as np
import pytest
from equal import CASES, MARGIN, Case, simulated
from scipy import stats

TRIALS = 500
RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "equal.json"


def most(probability: float) -> float:
    """The share of trials that an event of a probability exceeds once in a thousand."""
    return stats.binom.ppf(0.999, TRIALS, probability) / TRIALS


def least(probability: float) -> float:
    """The share of trials that it falls below once in a thousand."""
    return stats.binom.ppf(0.001, TRIALS, probability) / TRIALS


def power_of(case: Case) -> float:
    """Power at `MARGIN` standard errors that the degrees of freedom of the seeds alone would leave: a lower bound."""
    degrees = case.units - 1 if case.seeds == 1 else min(case.seeds, case.units) - 1
    return float(stats.nct.sf(stats.t.ppf(0.975, degrees), degrees, MARGIN))


CHOSEN = [CASES[index] for index in (0, 2, 3, 5, 6, 7, 9, 12)]


def named(case: Case) -> str:
    return f"{case.seeds} seeds, {case.units} units, {case.shares[0]:g} of the seeds"


@pytest.mark.slow
@pytest.mark.parametrize("case", CHOSEN, ids=named)
def test_both_tests_keep_their_level_and_find_what_is_there(case: Case) -> None:
    null, edge = simulated(case, 0.0, TRIALS), simulated(case, MARGIN, TRIALS, 1)
    assert null.different <= most(0.05)
    assert edge.equivalent <= most(0.05)
    assert null.covered >= least(0.95)
    assert edge.different >= least(power_of(case))
    assert null.equivalent >= least(power_of(case))
    if case.seeds == 1:  # nothing is conservative there
        assert null.different >= least(0.05)
        assert null.covered <= most(0.95)


@pytest.mark.slow
def test_a_test_of_samples_alone_takes_a_lucky_seed_for_a_better_model() -> None:
    found = simulated(CASES[6], 0.0, TRIALS)
    assert found.by_permutation > 4 * 0.05
    assert found.different <= most(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[11]], ids=named)
def test_the_detectable_difference_is_found_four_times_of_five(case: Case) -> None:
    detectable = simulated(case, 0.0, TRIALS).detectable
    assert least(0.8) <= simulated(case, detectable, TRIALS, 2).different <= most(0.8)


@pytest.mark.slow
def test_accuracies_that_hardly_disagree_are_not_called_equivalent_too_often() -> None:
    for row in equal.accuracies(TRIALS):
        assert row["difference"]["size"] <= most(0.05)
        assert row["equivalence"]["size"] <= most(0.05)


@pytest.mark.slow
def test_the_code_of_compare_finds_what_the_formulas_find() -> None:
    trials, case = 60, CASES[7]
    null = [equal.tested(case, 0.0, seed) for seed in range(trials)]
    edge = [equal.tested(case, MARGIN, seed) for seed in range(trials)]
    few = stats.binom.ppf(0.999, trials, 0.05)
    assert sum(one.verdict in ("better", "worse") for one in null) <= few
    assert sum(one.verdict == "equivalent" for one in edge) <= few
    assert sum(one.verdict == "equivalent" for one in null) > trials / 2
    assert sum(one.verdict == "worse" for one in edge) > trials / 2
    errors = np.array([one.standard_error for one in null]) / equal.ERROR
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(1.0, abs=0.15)


def test_the_record_holds_what_is_promised() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["trials"] == TRIALS
    for row in (*record["verdicts"], *record["accuracies"], *record["pipeline"]):
        assert row["difference"]["size"] <= most(0.05), row
        assert row["equivalence"]["size"] <= most(0.05), row
    for row in record["rules"]:
        assert row["coverage"]["the wider"] >= 0.93, row
