"""The benchmark against other simulators: its reference, its bookkeeping, and qinn's side at a tiny size.

The other packages need not be installed; those that are not are left out, and their own test skips.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.special
from simulators import bars, floor, rows, scaling, with_qinn
from simulators.contender import Answer, Contender
from simulators.measuring import measure
from simulators.page import render
from simulators.problem import make_problem, solve_reference

import quantum

ROOT = Path(__file__).parents[2]
TINY = rows.Effort(seconds=0.01, fewest=2, most=3)


@pytest.fixture
def alone(monkeypatch):
    """No other package is installed."""
    monkeypatch.setattr(rows, "_PEERS", dict.fromkeys(rows._PEERS, "not_installed"))


def superoperator(problem):
    H, L = problem.hamiltonian, problem.jump_operators
    one = np.eye(problem.dim)
    rates = sum((each.conj().T @ each for each in L), np.zeros_like(H))
    matrix = -1j * (np.kron(H, one) - np.kron(one, H.T))
    matrix = matrix - 0.5 * (np.kron(rates, one) + np.kron(one, rates.T))
    return matrix + sum((np.kron(each, each.conj()) for each in L), np.zeros_like(matrix))


def exact_probabilities(problem):
    outer = problem.kets[:, :, None] * problem.kets[:, None, :].conj()
    final = outer.reshape(problem.batch, -1) @ scipy.linalg.expm(superoperator(problem) * problem.time).T
    final = final.reshape(outer.shape)
    return np.einsum("jd,bde,je->bj", problem.vectors.conj(), final, problem.vectors).real


@pytest.mark.parametrize(("dim", "num_jumps", "time"), [(2, 0, 1.0), (3, 1, 0.5), (5, 2, 1.0)])
def test_the_reference_is_the_matrix_exponential(dim, num_jumps, time):
    problem = make_problem(dim, 3, num_jumps=num_jumps, time=time)
    assert solve_reference(problem).error(exact_probabilities(problem)) < 1e-10


def test_the_derivative_of_the_reference_is_that_of_finite_differences():
    problem = make_problem(4, 3)
    reference = solve_reference(problem)

    def loss(step):
        parts = (problem.hamiltonian, problem.jump_operators, problem.kets)
        moved = [part + step * change for part, change in zip(parts, reference.direction, strict=True)]
        shifted = type(problem)(*moved, problem.vectors, problem.weights, problem.time)
        return (problem.weights * exact_probabilities(shifted)).sum()

    assert (loss(1e-5) - loss(-1e-5)) / 2e-5 == pytest.approx(reference.derivative, rel=1e-7)


def test_the_problem_is_the_one_described():
    problem = make_problem(6, 10)
    assert np.abs(np.linalg.eigvalsh(problem.hamiltonian)).max() == pytest.approx(3)
    assert np.sum(np.abs(problem.jump_operators) ** 2) / 6 == pytest.approx(1)  # jumps per unit time
    assert np.linalg.norm(problem.kets, axis=1) == pytest.approx(np.ones(10))
    assert np.linalg.norm(problem.vectors, axis=1) == pytest.approx(np.ones(8))
    longer = make_problem(6, 30)
    assert np.array_equal(longer.kets[:10], problem.kets)
    assert np.array_equal(longer.jump_operators, problem.jump_operators)


# Both ways of the core: the channel's matrix up to D = 8, the series above.
@pytest.mark.parametrize("dim", [4, 9])
@pytest.mark.parametrize("mode", ["forward", "both"])
def test_qinn_reaches_the_accuracy_asked_for(dim, mode):
    problem = make_problem(dim, 3)
    reference = solve_reference(problem)
    for contender in with_qinn.exact_contenders(problem, mode):
        answer = contender.read(contender.call())
        assert reference.error(answer.probabilities) < bars.LARGEST_ERROR
        assert (answer.gradient is not None) == (mode == "both")
        if answer.gradient is not None:
            assert reference.gradient_error(answer.gradient) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "module"), [("QuTiP", "qutip"), ("dynamiqs", "dynamiqs"), ("torchdiffeq",) * 2]
)
def test_the_other_packages_solve_the_same_problem(package, module):
    pytest.importorskip(module, reason=f"{package} is not installed here; `make benchmark` installs it")
    side = rows.Peers(print).get(package)
    problem = make_problem(4, 3)
    reference = solve_reference(problem)
    modes = ("forward",) if package == "QuTiP" else ("forward", "both")
    for mode in modes:
        found = (
            side.exact_contenders(problem, states=3)
            if package == "QuTiP"
            else side.exact_contenders(problem, mode)
        )
        for contender in found:
            contender.prepare()
            answer = contender.read(contender.call())
            assert reference.error(answer.probabilities) < 2e-6, contender.name
            if mode == "both":
                assert reference.gradient_error(answer.gradient) < 1e-4, contender.name


def test_the_floor_counts_the_products_of_the_least_algorithm():
    sizes = {"dim": 64, "batch": 32, "num_jumps": 2, "num_readouts": 8}
    product, readout = 8 * 64**3, 8 * 32 * 8 * 64**2
    forward = floor.operations("forward", **sizes, picture="observables")
    assert forward == 16 * 5 * 8 * product + readout
    assert floor.operations("both", **sizes, picture="observables") == 16 * 13 * 8 * product + 2 * readout
    assert floor.operations("forward", **sizes, picture="densities") == 16 * 5 * 32 * product + readout


def test_sixteen_applications_are_what_the_commutator_needs():
    def tail(degree):
        return 2 * np.abs(scipy.special.jv(np.arange(degree + 1, degree + 60), 2 * 3)).sum()

    assert tail(floor.APPLICATIONS) <= 1e-6 < tail(floor.APPLICATIONS - 1)


def result(package, setting, precision, median, *, error=1e-8, tolerance=1e-6):
    return {
        "package": package,
        "setting": setting,
        "precision": precision,
        "median": median,
        "error": error,
        "tolerance": tolerance,
    }


def row(*results, kind="exact", mode="both"):
    sizes = {"dim": 64, "batch": 64, "num_jumps": 2, "num_readouts": 8}
    return {"name": "row", "kind": kind, "mode": mode, **sizes, "results": list(results)}


def test_a_result_at_the_rate_of_the_products_is_once_the_floor():
    gemm = result("GEMM", "512 × 512 × 512", "complex64", 0.01)
    count = floor.operations("both", dim=64, batch=64, num_jumps=2, num_readouts=8, picture="observables")
    ours = result("qinn", "Heisenberg", "complex64", count / floor.rate(0.01))
    assert floor.rate(0.01) == 8 * 512**3 / 0.01
    assert bars.over_floor(row(ours, gemm), ours) == pytest.approx(1)
    other = result("GEMM", "512 × 512 × 512", "complex128", 0.02)
    assert bars.over_floor(row(ours, other), ours) is None  # no rate of its precision
    bar = bars.Floor("work", "row", "Heisenberg", 1.5)
    assert bars.evaluate([row(ours, gemm)], [bar])[0].met
    assert not bars.evaluate([row({**ours, "median": 1.6 * ours["median"]}, gemm)], [bar])[0].met


def test_a_speed_counts_against_the_fastest_accurate_setting_not_using_our_idea():
    ours = result("qinn", "Heisenberg", "complex64", 1.0)
    theirs = [
        result("peer", "wrong", "complex64", 1.5, error=1e-5),
        result("peer", "dopri5 on observables", "complex64", 2.0),
        result("peer", "dopri5", "complex64", 8.0),
        result("peer", "dopri5", "complex128", 12.0),
        result("other", "dopri5", "complex64", 3.0),
    ]
    bar = bars.Speed("work", "row", "Heisenberg", "peer", 10)
    verdict = bars.evaluate([row(ours, *theirs)], [bar])[0]
    assert (verdict.measured, verdict.against, verdict.met) == (8.0, "dopri5, complex64", False)
    assert (verdict.double, verdict.met_in_double) == (12.0, True)
    double = bars.Speed("work", "row", "Heisenberg", "peer", 10, precision="complex128")
    assert bars.evaluate([row(ours, *theirs)], [double])[0].met
    inaccurate = row({**ours, "error": 2e-6}, *theirs)
    assert not bars.evaluate([inaccurate], [double])[0].met


def test_growth_compares_the_long_batch_with_the_short_one():
    short, long = (result("qinn", "Heisenberg", "complex64", median) for median in (2.0, 2.8))
    verdict = bars.evaluate([row(short, long, kind="batch")], [bars.Growth("work", "row", 1.5)])[0]
    assert verdict.measured == pytest.approx(1.4)
    assert verdict.met


def test_a_bar_whose_row_was_not_run_is_neither_met_nor_missed():
    assert all(verdict.met is None and verdict.measured is None for verdict in bars.evaluate([]))


def test_every_bar_and_every_quick_row_names_a_row():
    names = {each.name for each in rows.ROWS}
    assert {bar.row for bar in bars.BARS} <= names
    assert set(rows.QUICK_ROWS) <= names
    assert quantum.select(["exact-64"], quick=False) == (["exact-64-64-forward", "exact-64-64-both"], [])
    with pytest.raises(SystemExit, match="No row begins with nothing; there are exact-8-64-forward"):
        quantum.select(["nothing"], quick=False)


def test_contenders_take_turns_and_a_part_of_the_batch_is_scaled_up():
    calls = []

    def busy(name, count):
        def call():
            calls.append(name)
            return sum(range(count))

        return call

    def contender(name, count, scale=1.0):
        return Contender(name, "", "", busy(name, count), lambda _: Answer(np.zeros(1)), scale=scale)

    # Bursts of one call each: each takes more than a burst's time.
    long = 1_500_000
    first, second = measure(
        [contender("a", long), contender("b", long, scale=1000)], seconds=0.001, fewest=3, most=3
    )
    assert len(first.samples) == len(second.samples) == 3
    if first.calls_per_sample == second.calls_per_sample == 1:
        assert "".join(calls)[-6:] == "ababab"
    assert 100 < second.median / first.median < 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_the_benchmark_runs_without_the_other_packages_and_says_so(monkeypatch, tmp_path):
    tiny = [
        rows.Row("exact", 4, 3, "both"),
        rows.Row("batch", 4, 3, "forward"),
        rows.Row("jumps", 4, 8, "both"),
    ]
    monkeypatch.setattr(rows, "ROWS", tiny)
    monkeypatch.setattr(scaling, "SWEEPS", {"dim": (2, 4), "steps": (1, 4)})
    record = quantum.run([each.name for each in tiny], ["dim", "steps"], TINY)
    assert record["left_out"] == ["QuTiP", "dynamiqs", "torchdiffeq"][: len(record["left_out"])]
    assert record["left_out"]
    exact, batch, jumps = record["rows"]
    assert {each["package"] for each in exact["results"]} == {"qinn", "GEMM"}
    assert all(each["error"] < 1e-6 for each in exact["results"] if each["package"] == "qinn")
    assert batch["results"][1]["setting"] == "Heisenberg, B = 1,024"
    assert jumps["results"][0]["extra"]["largest_score"] < 6
    assert all(len(each["samples"]) >= 2 for line in record["rows"] for each in line["results"])
    assert {point["setting"] for point in record["scaling"][1]["points"]} == {"QuantumJumps"}
    page = render(json.loads(json.dumps(record)))
    assert "Not installed, so left out" in page
    assert f"0 of {len(bars.BARS)} are met" in page
    from simulators.figure import draw

    draw(record, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_page_is_that_of_the_published_results():
    record = json.loads((ROOT / "benchmarks" / "results" / "quantum.json").read_text())
    along = json.loads((ROOT / "benchmarks" / "results" / "along.json").read_text())
    assert (ROOT / "docs" / "benchmarks.md").read_text() == render(record, along)
    assert {each["name"] for each in record["rows"]} == {each.name for each in rows.ROWS}
    for stored, fresh in zip(record["bars"], bars.evaluate(record["rows"]), strict=True):
        assert (stored["met"], stored["measured"]) == (fresh.met, fresh.measured)
    for line in record["rows"]:
        for each in line["results"]:
            assert each["median"] == pytest.approx(np.median(each["samples"]))
