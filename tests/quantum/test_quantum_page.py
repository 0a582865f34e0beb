"""The code of docs/quantum.md runs as it stands, draws its figures, and says what the page says."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    Lindbladian,
    QuantumJumps,
    bell_state,
    density_of,
    expectations_of_density,
    find_attractor,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quantum.md"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_quantum", ROOT / "docs/figures/make_quantum.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    namespace = script.run(folder)
    namespace["plt"].close("all")
    return namespace, folder


@pytest.mark.slow
def test_the_code_draws_every_figure_of_the_page(page):
    _, folder = page
    shown = re.findall(r"!\[[^]]+\]\((figures/[^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert shown == [
        f"figures/{name}.png"
        for name in ("master-equation", "bell-training", "learned-generator", "steady-state", "fluorescence")
    ]
    for name in shown:
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (PAGE.parent / name).stat().st_size < 100_000


def test_each_problem_is_solved_in_ten_lines(script):
    _, *blocks = script.blocks()
    solutions = [block for block in blocks if "savefig" not in block]
    assert (len(solutions), len(blocks)) == (8, 13)
    for solution in solutions:
        assert len(solution.strip().splitlines()) <= 10


@pytest.mark.slow
def test_the_master_equation_reaches_its_limit_and_the_mean_follows(page):
    namespace, _ = page
    population = namespace["population"]
    assert abs(population["master equation"][-1] - 9 / 19) < 0.01
    gaps = population["mean of 100"] - population["master equation"]
    assert float(gaps.abs().max()) < 4 * 0.5 / 100**0.5
    jumps = QuantumJumps(1, seed=17, record=True).evolve(
        namespace["ground"], namespace["atom"], time=8.0, steps=1
    )
    falls = population["one trajectory"].diff() < -0.2
    # The trajectory seen at 81 moments is one: it drops where its jumps are, and nowhere else.
    seen = [int(time / 0.1) for time in jumps.record.times[0].tolist()]
    assert len(seen) >= 3
    assert falls.nonzero().flatten().tolist() == seen


@pytest.mark.slow
def test_training_finds_dynamics_whose_only_steady_state_is_the_bell_state(page):
    namespace, _ = page
    assert 0.6 < namespace["losses"][0] < 0.9
    assert namespace["losses"][-1] < 1e-5
    assert float(namespace["entangled"][0].max()) < 1e-6
    assert float(namespace["entangled"][-1].min()) > 0.999
    steady = find_attractor(namespace["dynamics"]()).density
    assert float(expectations_of_density(steady, density_of(bell_state())[None]).detach()) > 0.999


@pytest.mark.slow
def test_the_learned_generator_is_the_true_one_within_its_errors(page):
    namespace, _ = page
    fit, known = namespace["fit"], namespace["known"]
    assert fit.converged
    assert fit.identifiability.is_complete
    assert fit.p_value > 0.01
    gaps = (fit.entries.values - known).abs() / fit.entries.errors
    assert float(gaps.max()) < 4
    assert int((gaps < 2).sum()) >= 10


@pytest.mark.slow
def test_the_steady_state_is_the_known_one_and_two_dark_states_are_refused(page):
    namespace, _ = page
    drives = namespace["drives"]
    known = drives**2 / (drives**2 + 2 * namespace["detuning"] ** 2)
    assert float((namespace["concurrences"] - known).abs().max()) < 1e-9
    assert namespace["gaps"][-1] < 0.1 * namespace["gaps"][0]
    undetuned = Lindbladian(
        0.5 * (namespace["x1"] + namespace["x2"]), (namespace["l1"] + namespace["l2"])[None]
    )
    with pytest.raises(ArgumentError, match="one steady state"):
        find_attractor(undetuned)


@pytest.mark.slow
def test_the_memory_takes_over_what_the_ancillas_are(page):
    namespace, _ = page
    theta = torch.tensor(namespace["theta"], dtype=torch.float64)
    known = 1 - torch.cos(theta) ** (2 * torch.arange(1, namespace["num_steps"] + 1))
    assert float((namespace["taken_over"] - known).abs().max()) < 1e-13
    population = namespace["measured"].final.density()[0, 1, 1].real
    assert abs(float(population - known[-1])) < 4 * (0.25 / 1000) ** 0.5
    influence = namespace["influence"]
    for found, value in (
        (influence.keep, theta.cos() ** 2),
        (influence.write, -(theta.sin() ** 2)),
        (influence.contraction, 1 - theta.cos()),
    ):
        assert float((found - value).abs().max()) < 1e-13


@pytest.mark.slow
def test_a_driven_atom_is_excited_and_released_as_is_known(page):
    namespace, _ = page
    times, excited = namespace["course"].times, namespace["course"].density()[:, 1, 1].real
    known = torch.exp(-((times - 1) ** 3) / 3)[times >= 1]
    assert float((excited[times >= 1] - known).abs().max()) < 1e-4
    clicks = namespace["clicks"]
    left = 1 - float((clicks.num_jumps == 1).double().mean())
    chance = float(known[-1])
    assert abs(left - chance) < 4 * max(chance * (1 - chance) / 200, 1e-6) ** 0.5
    assert float(clicks.times.nan_to_num(2.0).min()) > 1


def test_the_ratios_of_speed_are_rows_of_the_benchmark():
    page, benchmark = (path.read_text(encoding="utf-8") for path in (PAGE, PAGE.parent / "benchmarks.md"))
    rows = [line for line in page.splitlines() if line.startswith(("| exact averages", "| sampled jumps"))]
    assert len(rows) == 5
    assert [row for row in rows if row not in benchmark.splitlines()] == []


def test_the_page_is_linked():
    assert "(docs/quantum.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_spectrum_is_mollows_triplet(page):
    namespace, _ = page
    found = namespace["spectrum"].incoherent
    assert torch.allclose(found, namespace["triplet"], rtol=1e-9, atol=0)
    assert abs(float(namespace["coherence"][0])) < 1e-9
