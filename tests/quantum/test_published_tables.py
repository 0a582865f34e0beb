"""The tables of docs/theory.md are those of the benchmarks' results, and a quick run agrees with them."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    results = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return module, results


@pytest.fixture(scope="module")
def theory():
    return (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


def test_the_table_of_single_precision_is_that_of_the_results(theory):
    benchmark, results = load("precision")
    assert benchmark.table([benchmark.Measured(**each) for each in results["results"]]) in theory


def test_the_tables_of_laws_are_those_of_the_results_and_no_law_is_broken(theory):
    benchmark, results = load("laws")
    laws = [benchmark.Law(**each) for each in results["laws"]]
    attractors = [benchmark.Attractors(**each) for each in results["attractors"]]
    assert benchmark.table_of_laws(laws) in theory
    assert benchmark.table_of_attractors(attractors) in theory
    assert {law.statement for law in laws} == {law.statement for law in benchmark.all_laws().values()}
    assert all(law.systems >= 10_000 and law.broken == 0 for law in laws)
    for method, number in (("dense", 1000), ("iterative", 500)):
        assert sum(each.systems for each in attractors if each.method == method) >= number
    assert all(each.silently_wrong == 0 for each in attractors)


def test_the_table_of_collisions_is_that_of_the_results_and_no_law_is_broken(theory):
    benchmark, results = load("collisions")
    laws = [benchmark.Law(**each) for each in results["laws"]]
    assert benchmark.table_of_laws(laws) in theory
    assert {law.statement for law in laws} == {law.statement for law in benchmark.all_laws().values()}
    assert results["instances"] >= 10_000
    assert all(law.broken == 0 for law in laws)
    beside = results["beside_gru"][0]
    assert (beside["batch"], beside["steps"], beside["memory_dim"]) == (64, 50, 4)
    assert beside["median_ratio"] <= 6


@pytest.mark.slow
def test_a_quick_run_of_collisions_breaks_no_law():
    benchmark, _ = load("collisions")
    found = benchmark.all_laws()
    with torch.no_grad():
        for seed in range(20_000, 20_030):
            benchmark.examine(benchmark.draw_instance(seed), found)
    assert all(law.broken == 0 for law in found.values())


@pytest.mark.slow
def test_a_quick_run_stays_near_the_published_errors_of_single_precision():
    benchmark, results = load("precision")
    published = {(each["routine"], each["what"]): each["largest"] for each in results["results"]}
    found, differing = benchmark.measure(9)
    assert {(each.routine, each.what) for each in found} == set(published)
    for each in found:
        assert each.largest <= 3 * published[each.routine, each.what] + 1e-7, each
    assert differing < 0.05
