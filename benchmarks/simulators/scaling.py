"""How qinn's time grows in each size of the problem, the others held fixed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from simulators import floor, with_qinn
from simulators.contender import Contender
from simulators.measuring import measure
from simulators.problem import make_problem
from simulators.rows import Effort

# The sizes that a sweep holds fixed: D, B, K, J, T, and the trajectories' steps.
FIXED = {"dim": 32, "batch": 64, "num_jumps": 2, "num_readouts": 8, "time": 1.0, "steps": 1}
SWEEPS: dict[str, tuple[float, ...]] = {
    "dim": (4, 8, 12, 16, 24, 32, 48, 64, 96, 128),
    "batch": (1, 4, 16, 64, 256, 1024, 4096),
    "num_jumps": (0, 1, 2, 4, 8, 16),
    "num_readouts": (1, 2, 4, 8, 16, 32, 64),
    "time": (0.125, 0.25, 0.5, 1, 2, 4, 8, 16),
    "steps": (1, 16, 64, 256, 1024),
}
# Densities take seconds per call in larger problems, and grow like observables in the other sizes.
_LARGEST_DENSITIES = 64 * 48**3
_SWEEPS_OF_DENSITIES = ("dim", "batch")


def run_sweep(axis: str, effort: Effort, say: Callable[[str], None]) -> dict[str, Any]:
    """Time forward + backward along one axis; the result is ready for JSON."""
    torch.manual_seed(0)
    contenders: list[Contender] = []
    values = []
    for value in SWEEPS[axis]:
        sizes = {**FIXED, axis: value}
        for contender in _contenders(
            {name: int(size) if name != "time" else size for name, size in sizes.items()}
        ):
            if axis == "steps" and contender.setting != "QuantumJumps":
                continue
            if axis in _SWEEPS_OF_DENSITIES or contender.setting != "ExactChannel":
                contenders.append(contender)
                values.append(value)
    rates = [floor.rate_contender(dtype) for dtype in (torch.complex64, torch.complex128)]
    results = measure(
        [*contenders, *rates],
        seconds=effort.seconds,
        fewest=effort.fewest,
        most=effort.most,
        say=lambda text: say(f"scaling-{axis}: {text}"),
    )
    points = [
        {"value": value, **replace(result, peak_bytes=None).record()}
        for value, result in zip(values, results, strict=False)
    ]
    return {"axis": axis, "fixed": FIXED, "points": points, "gemm": [each.record() for each in results[-2:]]}


def _contenders(sizes: dict[str, Any]) -> list[Contender]:
    steps = sizes.pop("steps")
    problem = make_problem(sizes.pop("dim"), sizes.pop("batch"), equal_weights=True, **sizes)
    heisenberg, densities = with_qinn.exact_contenders(problem, "both")
    found = [heisenberg, with_qinn.trajectory_contender(problem, "both", steps=steps)]
    if problem.batch * problem.dim**3 <= _LARGEST_DENSITIES:
        found.append(densities)
    return found
