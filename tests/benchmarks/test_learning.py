"""The benchmark of learned dynamics keeps its books right."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("learning_benchmark", ROOT / "benchmarks" / "learning.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def fitted(benchmark, held):
    flags = torch.tensor(held)
    return benchmark.Fitted("inside", 2, 0, dict.fromkeys(benchmark.LEVELS, flags), 0.5, True, False, 1.0)


def test_shares_and_limits_are_those_of_the_intervals(benchmark):
    contents = benchmark.summary([fitted(benchmark, [True] * 19 + [False])] * 20)
    found = contents["level 0.95"]["all"]
    assert (found["intervals"], found["held"], found["within"]) == (400, 0.95, True)
    assert found["limits"] == pytest.approx(
        [0.95 - 1.96 * (0.0475 / 400) ** 0.5, 0.95 + 1.96 * (0.0475 / 400) ** 0.5], abs=1e-4
    )
    assert contents["level 0.95"]["twelve_of_each"]["intervals"] == 240
    assert not benchmark.share(torch.tensor([True] * 80 + [False] * 20).double(), 0.95)["within"]


def test_truths_are_inside_or_at_the_boundary_as_they_say(benchmark):
    inside, edge = benchmark.truth(3, 0, None), benchmark.truth(3, 0, 1)
    size = 8
    for dynamics, rank in ((inside, size), (edge, 1)):
        values = benchmark.generator_entries(dynamics).values
        matrix = benchmark.UnknownLindbladian.full([3]).parts(values)[1][0]
        assert int((torch.linalg.eigvalsh(matrix) > 1e-6).sum()) == rank
