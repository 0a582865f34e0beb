"""The default gradient is unbiased on three problems, the others are not (quick run of the benchmark)."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "estimators.py"
    spec = importlib.util.spec_from_file_location("estimators_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_hybrid_is_unbiased_and_has_a_third_of_the_variance_at_most(benchmark):
    names = ("pathwise + score (default)", "half, then Heisenberg")
    results = benchmark.measure(replicates=20, num_trajectories=100, steps=1, only=names)
    plain, hybrid = (each for each in results if each.problem == "linear")
    assert abs(hybrid.relative_bias) < 4 * hybrid.standard_error < 0.3
    assert hybrid.total_variance < 0.3 * plain.total_variance


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pathwise + score (default)", "default, Latin hypercube"])
def test_default_gradient_is_unbiased_on_three_problems(benchmark, name):
    results = benchmark.measure(replicates=10, num_trajectories=400, steps=1, only=(name,))
    assert [each.problem for each in results] == ["linear", "cross-entropy", "entropy"]
    for result in results:
        assert result.standard_error < 0.2
        assert abs(result.relative_bias) < 4 * result.standard_error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pathwise only", "Gumbel, temperature 1"])
def test_other_gradients_are_seen_to_be_biased(benchmark, name):
    results = benchmark.measure(replicates=8, num_trajectories=200, steps=16, only=(name,))
    assert max(abs(each.relative_bias) / each.standard_error for each in results) > 4


@pytest.mark.slow
def test_the_reference_agrees_with_the_exact_channel(benchmark):
    assert benchmark.reference_error() < 1e-3


@pytest.mark.slow
def test_averages_have_an_unbiased_gradient_on_four_problems_or_refuse_it(benchmark):
    ways = tuple(each for each in benchmark.averages_of(2) if each[:8] not in ("pathwise", "Gumbel, "))
    results = benchmark.measure_averages(replicates=8, num_trajectories=1000, only=ways)
    assert len({each.problem for each in results}) == 4
    for each in results:
        assert each.refused == each.way.startswith("one trajectory"), each
        if not each.refused:
            assert each.standard_error < 0.05
            assert abs(each.relative_bias) < 4 * each.standard_error, each


def test_the_recorded_averages_are_unbiased_or_refused_and_published(benchmark):
    root = Path(__file__).parents[2]
    record = json.loads((root / "benchmarks" / "results" / "estimators.json").read_text(encoding="utf-8"))
    averages = [benchmark.Average(**each) for each in record["averages"]]
    assert {each.way for each in averages} == set(benchmark.averages_of(2))
    for each in averages:
        biased = each.way.startswith(("pathwise", "Gumbel"))
        assert each.refused == each.way.startswith("one trajectory")
        if not each.refused and not biased:
            assert each.standard_error < 0.02
            assert abs(each.relative_bias) < 4 * each.standard_error, each
    assert benchmark.table_of_averages(averages) in (root / "docs" / "results" / "quantum-core.md").read_text(
        encoding="utf-8"
    )
