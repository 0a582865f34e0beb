"""QuTiP's side: one state after the other, forward only."""

from collections.abc import Callable
from itertools import count

import numpy as np
import qutip

from simulators.contender import Answer, Contender
from simulators.problem import Problem

# The loosest of 1, 3, 10, … × 1e-8 at which every size reaches an error of 1e-6, with the fastest integrator.
TOLERANCE, INTEGRATOR = 3e-6, "vern7"
# Of the trajectories: coarser ones were not faster.
TRAJECTORY_TOLERANCE = 1e-6
# Up to here the superoperator as a matrix is faster than operators on both sides.
_LARGEST_SUPEROPERATOR_DIM = 8
_QUIET = {"progress_bar": "", "store_states": False, "store_final_state": False}


def exact_contenders(problem: Problem, *, tolerance: float = TOLERANCE, states: int) -> list[Contender]:
    """`mesolve` over the states (or a few of them, scaled up), and the propagator where it pays."""
    few = problem.first(min(states, problem.batch))
    scale = problem.batch / few.batch
    found = [
        Contender(
            "QuTiP", f"mesolve {INTEGRATOR}", "complex128", _loop(few, tolerance), Answer, tolerance, scale
        )
    ]
    if problem.dim <= _LARGEST_SUPEROPERATOR_DIM:
        found.append(Contender("QuTiP", "propagator", "complex128", _propagator(problem), Answer))
    return found


def _operators(problem: Problem) -> tuple[qutip.Qobj, list[qutip.Qobj], list[qutip.Qobj]]:
    return (
        qutip.Qobj(problem.hamiltonian),
        [qutip.Qobj(each) for each in problem.jump_operators],
        [qutip.Qobj(np.outer(vector, vector.conj())) for vector in problem.vectors],
    )


def _loop(problem: Problem, tolerance: float) -> Callable[[], np.ndarray]:
    hamiltonian, jumps, projectors = _operators(problem)
    densities = [qutip.Qobj(ket[:, None]).proj() for ket in problem.kets]
    options = {
        **_QUIET,
        "normalize_output": False,
        "method": INTEGRATOR,
        "atol": tolerance,
        "rtol": tolerance,
        "matrix_form": problem.dim > _LARGEST_SUPEROPERATOR_DIM,
    }

    def call() -> np.ndarray:
        solver = qutip.MESolver(hamiltonian, jumps, options=options)
        results = [solver.run(density, [0, problem.time], e_ops=projectors) for density in densities]
        return np.array([result.expect for result in results])[:, :, -1].real

    return call


def _propagator(problem: Problem) -> Callable[[], np.ndarray]:
    hamiltonian, jumps, _ = _operators(problem)
    outer = problem.kets[:, :, None] * problem.kets[:, None, :].conj()
    columns = outer.transpose(0, 2, 1).reshape(problem.batch, -1)  # QuTiP stacks columns
    projectors = problem.vectors[:, :, None] * problem.vectors[:, None, :].conj()

    def call() -> np.ndarray:
        channel = (qutip.liouvillian(hamiltonian, jumps) * problem.time).expm().full()
        # tr(M ρ) with ρ in stacked columns is the plain product with M in rows.
        return (columns @ channel.T @ projectors.reshape(len(projectors), -1).T).real

    return call


def trajectory_contender(problem: Problem) -> Contender:
    """`mcsolve`: all inputs as one initial mixture, which is twice as fast as a call for each."""
    hamiltonian, jumps, projectors = _operators(problem)
    kets = [(qutip.Qobj(ket[:, None]), 1 / problem.batch) for ket in problem.kets]
    # Between 8 and 64 the integrator is faster than the diagonal form of the flow, elsewhere slower.
    integrator = "tsit5" if 8 < problem.dim < 64 else "diag"
    options = {
        **_QUIET,
        "method": integrator,
        "keep_runs_results": True,
        "improved_sampling": False,
    }
    if integrator != "diag":
        options |= {"atol": TRAJECTORY_TOLERANCE, "rtol": TRAJECTORY_TOLERANCE}
    seeds = count()

    def call() -> np.ndarray:
        solver = qutip.MCSolver(hamiltonian, jumps, options=options)
        result = solver.run(
            kets, [0, problem.time], ntraj=[1] * problem.batch, e_ops=projectors, seeds=next(seeds)
        )
        return np.array(result.runs_expect)[:, :, -1].T.real

    return Contender(
        "QuTiP",
        f"mcsolve {integrator}",
        "complex128",
        call,
        Answer,
        None if integrator == "diag" else TRAJECTORY_TOLERANCE,
    )
