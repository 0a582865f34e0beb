"""How fast is qinn beside QuTiP where states, expectations or trajectories are wanted at many times of one pass?

One ket of the problem of `benchmarks/quantum.py` (K = 2 jump operators, ‖H‖ = 3, about one jump per unit time) is
followed to T = 4 and seen at 81 even times: its density matrices, the expectations of two projectors (by the density:
of one ket that is less work than two observables), and the same expectations of 64 trajectories, averaged. Both
packages take turns in one process on one core; times are CPU times, ratios are formed within the run, and the error is
that against QuTiP with tolerances of 1e-10. What `times=` costs beside the last time alone is measured in the same
turns, and of 1,024 trajectories too, there without QuTiP.

    python benchmarks/along.py --output benchmarks/results/along.json    # some two minutes of CPU time
    python benchmarks/quantum.py --render                                # docs/benchmarks.md from the stored results
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import qutip
import torch
from record import write_record
from simulators.measuring import restart_on_one_core
from simulators.problem import Problem, make_problem

from qinn import quantum as q

DIMS, NUM_TIMES, TIME, NUM_TRAJECTORIES, MANY = (8, 27, 64), 81, 4.0, 64, 1024
KINDS = ("states", "expectations", "trajectories", "many trajectories")
# As in `simulators.with_qutip`: the loosest at which probabilities are right to 1e-6, with the fastest integrator.
TOLERANCE, INTEGRATOR, EXACT = 3e-6, "vern7", 1e-10
QUIET = {"progress_bar": "", "store_final_state": False}

Call = Callable[[], np.ndarray]


def times() -> np.ndarray:
    return np.linspace(0, TIME, NUM_TIMES)


def qutip_exact(problem: Problem, kind: str, tolerance: float) -> Call:
    """`mesolve`, from a solver that is made anew in each call."""
    hamiltonian, jumps, projectors = operators(problem)
    start = qutip.Qobj(problem.kets[0][:, None]).proj()
    options = {**QUIET, "normalize_output": False, "method": INTEGRATOR, "atol": tolerance, "rtol": tolerance}
    options |= {"matrix_form": problem.dim > 8, "store_states": kind == "states"}

    def call() -> np.ndarray:
        result = qutip.MESolver(hamiltonian, jumps, options=options).run(
            start, times(), e_ops=[] if kind == "states" else projectors
        )
        if kind == "states":
            return np.stack([state.full() for state in result.states])
        return np.array(result.expect).T

    return call


def qutip_trajectories(problem: Problem) -> Call:
    """`mcsolve`, with the integrator that is fastest at this dimension."""
    hamiltonian, jumps, projectors = operators(problem)
    start = qutip.Qobj(problem.kets[0][:, None])
    method = "tsit5" if 8 < problem.dim < 64 else "diag"
    options = {**QUIET, "method": method, "store_states": False, "improved_sampling": False}
    if method == "tsit5":
        options |= {"atol": 1e-6, "rtol": 1e-6}

    def call() -> np.ndarray:
        solver = qutip.MCSolver(hamiltonian, jumps, options=options)
        return np.array(solver.run(start, times(), ntraj=NUM_TRAJECTORIES, e_ops=projectors).expect).T

    return call


def operators(problem: Problem) -> tuple[qutip.Qobj, list[qutip.Qobj], list[qutip.Qobj]]:
    return (
        qutip.Qobj(problem.hamiltonian),
        [qutip.Qobj(each) for each in problem.jump_operators],
        [qutip.Qobj(np.outer(vector, vector.conj())) for vector in problem.vectors],
    )


def ours(problem: Problem, kind: str, dtype: torch.dtype, *, alone: bool = False) -> Call:
    """The same by qinn, from numpy arrays to numpy arrays, as QuTiP has them; or at the last time alone."""
    when = {"time": TIME} if alone else {"times": times()}

    def call() -> np.ndarray:
        dynamics = q.Lindbladian(
            torch.as_tensor(problem.hamiltonian).to(dtype), torch.as_tensor(problem.jump_operators).to(dtype)
        )
        ket = torch.as_tensor(problem.kets[0]).to(dtype)
        vectors = torch.as_tensor(problem.vectors).to(dtype)
        if kind == "states":
            return q.ExactChannel().evolve(ket, dynamics, **when).density().numpy()
        if kind == "expectations":
            return q.ExactChannel().evolve(ket, dynamics, **when).probabilities(vectors)[..., 0, :].numpy()
        number = MANY if kind.startswith("many") else NUM_TRAJECTORIES
        return q.QuantumJumps(number).evolve(ket, dynamics, **when).probabilities(vectors).mean(-2).numpy()

    return call


def run_row(kind: str, dim: int, rounds: int) -> dict[str, Any]:
    """Time the contenders of one row in turns."""
    problem = make_problem(dim, 1, num_readouts=2, time=TIME)
    precise = {"complex64": torch.complex64, "complex128": torch.complex128}
    calls = {f"qinn, {name}": ours(problem, kind, dtype) for name, dtype in precise.items()}
    if kind == "trajectories":
        calls["QuTiP"] = qutip_trajectories(problem)
    elif kind in ("states", "expectations"):
        calls["QuTiP"] = qutip_exact(problem, kind, TOLERANCE)
    calls |= {
        f"qinn, the last time alone, {name}": ours(problem, kind, dtype, alone=True)
        for name, dtype in precise.items()
    }
    torch.manual_seed(0)
    found = {name: call() for name, call in calls.items()}
    wanted = qutip_exact(problem, "states" if kind == "states" else "expectations", EXACT)()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            before = time.process_time()
            call()
            samples[name].append(time.process_time() - before)
    return {
        "kind": kind,
        "dim": dim,
        "results": [
            {
                "name": name,
                "median": median(taken),
                "quartiles": quantiles(taken, n=4)[::2],
                "samples": taken,
                "error": float(np.abs(found[name] - (wanted[-1] if "alone" in name else wanted)).max()),
            }
            for name, taken in samples.items()
        ],
    }


def shown(row: dict[str, Any]) -> str:
    theirs = next((each["median"] for each in row["results"] if each["name"] == "QuTiP"), None)
    return f"{row['kind']}, D = {row['dim']}: " + "; ".join(
        f"{each['name']} {1e3 * each['median']:.1f} ms (error {each['error']:.0e}"
        + ("" if theirs is None else f", QuTiP {theirs / each['median']:.2f} ×")
        + ")"
        for each in row["results"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each contender")
    parser.add_argument("--dims", type=int, nargs="+", default=list(DIMS))
    options = parser.parse_args()
    restart_on_one_core()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    started, rows = time.perf_counter(), []
    for kind in KINDS:
        for dim in options.dims:
            rows.append(run_row(kind, dim, max(options.rounds, 2)))
            print(shown(rows[-1]), flush=True)
    facts = {"times": NUM_TIMES, "time": TIME, "trajectories": NUM_TRAJECTORIES, "many": MANY}
    facts["qutip"] = qutip.__version__
    if options.output is not None:
        write_record(options.output, started, **facts, rows=rows)


if __name__ == "__main__":
    main()
