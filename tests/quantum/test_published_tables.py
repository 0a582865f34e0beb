"""The tables of docs/theory.md are those of the benchmarks' results, and a quick run agrees with them."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_a_quick_run_stays_near_the_published_errors_of_single_precision():
    benchmark, results = load("precision")
    published = {(each["routine"], each["what"]): each["largest"] for each in results["results"]}
    found, differing = benchmark.measure(9)
    assert {(each.routine, each.what) for each in found} == set(published)
    for each in found:
        assert each.largest <= 3 * published[each.routine, each.what] + 1e-7, each
    assert differing < 0.05
