"""The long run of `make laws` on a few systems, and that it sees what is broken."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import random_systems
import torch

from qinn.quantum import Lindbladian


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "laws.py"
    spec = importlib.util.spec_from_file_location("laws_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.slow
def test_no_law_is_broken_on_a_few_random_systems(benchmark):
    found = benchmark.measure_laws(10, first_seed=50_000, num_large=1)
    for law in found.values():
        assert law.systems >= 11
        assert law.broken == 0, (law.statement, law.largest, law.worst_system)
        assert law.largest < law.tolerance


@pytest.mark.slow
def test_no_attractor_is_silently_wrong(benchmark):
    results = {each.family: each for each in benchmark.measure_attractors(60, "dense")}
    assert sum(each.systems for each in results.values()) == 60
    assert all(each.silently_wrong == 0 for each in results.values())
    # The hard families are hard: some of their systems must be refused or flagged.
    assert results["nearly several steady states"].refused > 0
    assert results["near an exceptional point of two modes"].flagged > 0
    assert results["near an exceptional point of three modes"].flagged > 0
    assert results["generic"].refused + results["generic"].flagged == 0


@pytest.mark.slow
def test_no_attractor_from_krylov_spaces_is_silently_wrong(benchmark):
    seen = benchmark.Attractors("hard", "iterative")
    for seed in range(3):
        for draw in (
            benchmark.nearly_divided,
            benchmark.near_exceptional_qubit,
            benchmark.near_exceptional_chain,
        ):
            size = (seed + 0.5) / 3
            benchmark.examine_attractor(*draw(torch.Generator().manual_seed(seed), size), seen)
    assert seen.systems == 9
    assert seen.silently_wrong == 0
    assert seen.refused > 0
    assert seen.flagged > 0


def test_systems_cover_what_they_should(benchmark):
    systems = [benchmark.draw_system(seed) for seed in range(3000)]
    assert {system.num_jumps for system in systems} == set(range(5))
    assert {len(system.dims) for system in systems} == {2, 3, 4}
    dims = {system.dim for system in systems}
    assert (min(dims), max(dims)) == (2, 13)
    large = {benchmark.draw_system(seed, large=True).dim for seed in range(300)}
    assert (min(large), max(large)) == (14, 40)


def test_jump_operators_are_of_every_kind_and_scale():
    """Each kind is what it is called, and the rates of one system differ by orders of magnitude."""
    generator = torch.Generator().manual_seed(0)
    kinds = {name: make(7, generator) for name, make in random_systems.OPERATORS.items()}
    for name in ("Hermitian", "number", "projector"):
        assert torch.allclose(kinds[name], kinds[name].mH)
    for name in ("Hermitian", "normal", "unitary", "projector", "number"):
        assert torch.allclose(kinds[name] @ kinds[name].mH, kinds[name].mH @ kinds[name])
    assert torch.linalg.matrix_rank(kinds["rank one"]) == 1
    assert torch.allclose(kinds["unitary"] @ kinds["unitary"].mH, torch.eye(7, dtype=kinds["unitary"].dtype))
    assert not kinds["zero"].any()
    assert abs(kinds["shifted"].trace()) > 10
    drawn, ratios = set(), []
    for _ in range(200):
        jumps, names = random_systems.physical_jumps((2, 3), 4, 1.0, generator)
        drawn.update(names)
        rates = jumps.abs().square().sum((1, 2))
        rates = rates[rates > 0]
        ratios.append(float(rates.max() / rates.min()) if len(rates) else 1.0)
    assert drawn == set(random_systems.OPERATORS)
    assert max(ratios) > 1e5


def test_violations_and_nan_are_counted_with_their_system(benchmark):
    law = benchmark.Law("something", 1e-3)
    law.see(torch.tensor([1e-4, 2e-4]), "first")
    assert (law.systems, law.broken, law.worst_system) == (1, 0, "first")
    law.see(0.5, "second")
    law.see(1e-4, "third")
    assert (law.systems, law.broken, law.worst_system) == (3, 1, "second")
    law.see(math.nan, "fourth")
    assert (law.broken, law.worst_system) == (2, "fourth")


def test_a_wrong_generator_breaks_laws(benchmark, monkeypatch):
    def half(self):
        return -1j * self.hamiltonian - 0.4 * self.total_rate

    monkeypatch.setattr(Lindbladian, "no_jump_generator", property(half))
    found = benchmark.measure_laws(3, first_seed=3)
    assert found["trace"].broken
    assert found["channel"].broken
