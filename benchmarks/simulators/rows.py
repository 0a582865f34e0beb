"""The rows of the benchmark: which problem, which contenders, what is recorded."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch

from simulators import floor, with_qinn
from simulators.contender import Answer, Contender, Mode
from simulators.measuring import Measured, measure
from simulators.problem import Gradient, Problem, Reference, make_problem, solve_reference

NUM_JUMPS, NUM_READOUTS = 2, 8
# A state of QuTiP takes long at large dimensions: a few are run there and scaled up.
_QUTIP_STATES = {8: 64, 27: 16, 64: 4}
# The long batch shows that the cost hardly depends on its length.
_LONG_BATCH = 1024
_PEERS = {"QuTiP": "with_qutip", "dynamiqs": "with_dynamiqs", "torchdiffeq": "with_torchdiffeq"}


@dataclass(frozen=True)
class Effort:
    """How long each contender is timed in a row: CPU seconds, smallest and largest number of samples."""

    seconds: float
    fewest: int
    most: int


@dataclass(frozen=True)
class Row:
    """One line of the benchmark.

    Attributes:
        kind: `exact` (averages), `batch` (qinn alone, two batches), `jumps` (one trajectory per input).
        dim: D.
        batch: B, or the number of trajectories.
        mode: Forward alone, or with the gradient.
    """

    kind: Literal["exact", "batch", "jumps"]
    dim: int
    batch: int
    mode: Mode

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.dim}-{self.batch}-{self.mode}"


ROWS = (
    *(
        Row("exact", dim, batch, mode)
        for dim, batch in ((8, 64), (27, 64), (27, 256), (64, 64))
        for mode in ("forward", "both")
    ),
    *(Row("batch", dim, 64, mode) for dim in (27, 64) for mode in ("forward", "both")),
    Row("jumps", 8, 256, "forward"),
    Row("jumps", 27, 256, "forward"),
    Row("jumps", 64, 256, "forward"),
    Row("jumps", 8, 64, "both"),
    Row("jumps", 64, 64, "both"),
)
QUICK_ROWS = ("exact-8-64-forward", "batch-27-64-both", "jumps-8-256-forward", "jumps-8-64-both")


class Peers:
    """The other packages' sides, loaded when they are first needed; those not installed are left out."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._loaded: dict[str, ModuleType | None] = {}

    def get(self, package: str) -> ModuleType | None:
        """The module of a package's side, or None."""
        if package not in self._loaded:
            try:
                self._loaded[package] = importlib.import_module(f"simulators.{_PEERS[package]}")
            except ModuleNotFoundError as error:
                self._say(f"{package} is left out: there is no module `{error.name}`")
                self._loaded[package] = None
        return self._loaded[package]

    @property
    def left_out(self) -> list[str]:
        """Packages that were needed but are not installed."""
        return [package for package, module in self._loaded.items() if module is None]


class References:
    """High-precision answers, each found once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Reference] = {}

    def get(self, problem: Problem) -> Reference:
        """The answer to a problem of the standard family."""
        key = (problem.dim, problem.batch)
        if key not in self._known:
            self._known[key] = solve_reference(problem)
        return self._known[key]


def run_row(
    row: Row, effort: Effort, peers: Peers, references: References, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run one row; the result is ready for JSON."""
    say(f"{row.name}: reference and compilation")
    run = {"exact": _run_exact, "batch": _run_batch, "jumps": _run_trajectories}[row.kind]
    results = run(row, effort, peers, references, lambda text: say(f"{row.name}: {text}"))
    return {
        "name": row.name,
        "kind": row.kind,
        "dim": row.dim,
        "batch": row.batch,
        "mode": row.mode,
        "num_jumps": NUM_JUMPS,
        "num_readouts": NUM_READOUTS,
        "results": [result.record() for result in results],
    }


def _run_exact(
    row: Row, effort: Effort, peers: Peers, references: References, say: Callable[[str], None]
) -> list[Measured]:
    problem = make_problem(row.dim, row.batch, num_jumps=NUM_JUMPS, num_readouts=NUM_READOUTS)
    contenders = [
        *with_qinn.exact_contenders(problem, row.mode),
        with_qinn.default_contender(problem, row.mode),
    ]
    if (qutip := peers.get("QuTiP")) and row.mode == "forward":
        contenders += qutip.exact_contenders(problem, states=_QUTIP_STATES.get(row.dim, 4))
    for package in ("dynamiqs", "torchdiffeq"):
        if module := peers.get(package):
            contenders += module.exact_contenders(problem, row.mode)
    return _timed(contenders, effort, say, references.get(problem))


def _run_batch(
    row: Row, effort: Effort, _: Peers, references: References, say: Callable[[str], None]
) -> list[Measured]:
    contenders = []
    for batch in (row.batch, _LONG_BATCH):
        problem = make_problem(row.dim, batch, num_jumps=NUM_JUMPS, num_readouts=NUM_READOUTS)
        contender = with_qinn.heisenberg_contender(problem, row.mode)
        contenders.append(replace(contender, setting=f"Heisenberg, B = {batch:,}"))
    # The long batch begins with the short one's states.
    return _timed(contenders, effort, say, references.get(make_problem(row.dim, row.batch)))


def _timed(
    contenders: list[Contender], effort: Effort, say: Callable[[str], None], reference: Reference
) -> list[Measured]:
    answers: dict[str, Answer] = {}

    def see(contender: Contender, answer: Answer) -> None:
        answers[contender.name] = answer

    floors = [floor.rate_contender(dtype) for dtype in (torch.complex64, torch.complex128)]
    results = measure(
        [*contenders, *floors],
        seconds=effort.seconds,
        fewest=effort.fewest,
        most=effort.most,
        say=say,
        see=see,
    )
    return [
        result if result.package == "GEMM" else _checked(result, answers[result.name], reference)
        for result in results
    ]


def _checked(result: Measured, answer: Answer, reference: Reference) -> Measured:
    """Add the errors; only a gradient of the reference's own batch has one."""
    known, gradient = len(reference.probabilities), answer.gradient
    gradient_error = None
    if gradient is not None and len(gradient[2]) == known:
        gradient_error = reference.gradient_error(gradient)
    return replace(result, error=reference.error(answer.probabilities[:known]), gradient_error=gradient_error)


def _run_trajectories(
    row: Row, effort: Effort, peers: Peers, _: References, say: Callable[[str], None]
) -> list[Measured]:
    problem = make_problem(
        row.dim, row.batch, num_jumps=NUM_JUMPS, num_readouts=NUM_READOUTS, equal_weights=True
    )
    torch.manual_seed(0)
    contenders = [with_qinn.trajectory_contender(problem, row.mode)]
    if row.mode == "forward" and (qutip := peers.get("QuTiP")):
        contenders.append(qutip.trajectory_contender(problem))
    if dynamiqs := peers.get("dynamiqs"):
        contenders.append(dynamiqs.trajectory_contender(problem, row.mode))
    seen: dict[str, list[Answer]] = {contender.name: [] for contender in contenders}
    results = measure(
        contenders,
        seconds=effort.seconds,
        fewest=effort.fewest,
        most=effort.most,
        say=say,
        see=lambda contender, answer: seen[contender.name].append(answer),
    )
    exact = with_qinn.exact_answer(problem, row.mode)
    return [replace(result, extra=_statistics(seen[result.name], exact)) for result in results]


def _statistics(answers: list[Answer], exact: Answer) -> dict[str, float]:
    """How far the trajectories' means lie from the exact values, in standard errors, over all answers seen."""
    deviations = np.concatenate([answer.probabilities - exact.probabilities for answer in answers])
    scores = deviations.mean(0) / (deviations.std(0, ddof=1) / len(deviations) ** 0.5)
    found = {"trajectories": float(len(deviations)), "largest_score": float(np.abs(scores).max())}
    if exact.gradient is not None:
        # ⟨ĝ, g⟩/⟨g, g⟩ in H and L_k: one on average, if the estimator is unbiased.
        size = _overlap(exact.gradient, exact.gradient)
        ratios = np.array([_overlap(exact.gradient, answer.gradient) / size for answer in answers])
        found["gradient_bias"] = float(ratios.mean() - 1)
        if len(ratios) > 1:
            found["gradient_bias_standard_error"] = float(ratios.std(ddof=1) / len(ratios) ** 0.5)
    return found


def _overlap(first: Gradient, second: Gradient | None) -> float:
    if second is None:
        raise RuntimeError("A contender was asked for a gradient, but gave none.")
    return sum(float(np.vdot(a, b).real) for a, b in zip(first[:2], second[:2], strict=True))
