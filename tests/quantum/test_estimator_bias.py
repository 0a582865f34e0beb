"""The default gradient is unbiased on three problems, the others are not (quick run of the benchmark)."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "estimators.py"
    spec = importlib.util.spec_from_file_location("estimators_benchmark", path)
    module = importlib.util.module_from_spec(spec)
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
