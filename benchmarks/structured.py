"""How do structured generators scale? Trajectories and unitary evolution, forward and backward, up to D = 65,536.

Each system has one local term per factor and one product (rank 1) per pair of factors in H and in every L_k
(`LearnableStructuredLindbladian` with hamiltonian_scale 2, about one expected jump, T = 1), complex64, B kets of
one trajectory each; gradients to every parameter. The same system with D × D matrices is timed where it fits.

Each case runs in a process of its own: CPU time of the process (median of the repetitions, after one on a short
time), peak resident memory above that after the imports, and the number of products J ψ per ket. The scaling
exponent is that of CPU time in D, between the smallest and the largest of the three- and four-factor systems.

    python benchmarks/structured.py --output benchmarks/results/structured.json
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import log, prod
from pathlib import Path
from statistics import median

import torch
from record import write_record

from qinn.quantum import (
    Evolution,
    LearnableStructuredLindbladian,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    Unitary,
    random_kets,
    score_surrogate,
)
from qinn.quantum.generators.interface import Generator

NUM_KETS, NUM_JUMPS, TIME = 32, 1, 1.0
KIB = 1024


@dataclass(frozen=True)
class Case:
    """What is timed."""

    dims: tuple[int, ...]
    evolution: str
    form: str = "structured"
    coupling: str = "all pairs"
    repetitions: int = 3

    @property
    def dim(self) -> int:
        """Dimension D."""
        return prod(self.dims)


CASES = (
    *(Case((size,) * 3, "trajectories", form) for size in (4, 6, 8) for form in ("structured", "dense")),
    Case((16,) * 3, "trajectories"),
    Case((16,) * 3, "unitary"),
    Case((4,) * 6, "trajectories"),
    Case((16,) * 4, "unitary", repetitions=1),
    Case((16,) * 4, "trajectories", repetitions=1),
    Case((4,) * 8, "unitary", coupling="neighbours", repetitions=1),
    Case((4,) * 8, "trajectories", coupling="neighbours", repetitions=1),
    Case((4,) * 8, "trajectories", repetitions=1),
)
SCALING = [Case((8,) * 3, "trajectories"), Case((16,) * 3, "trajectories"), Case((16,) * 4, "trajectories")]


@dataclass(frozen=True)
class Measured:
    """One case and its cost."""

    dims: tuple[int, ...]
    dim: int
    evolution: str
    form: str
    coupling: str
    forward_seconds: float
    both_seconds: float
    repetitions: int
    peak_mib: float
    jumps_per_trajectory: float
    norm_bound: float


def _module(case: Case) -> LearnableStructuredLindbladian:
    count = len(case.dims)
    pairs = None if case.coupling == "all pairs" else list(pairwise(range(count)))
    return LearnableStructuredLindbladian(
        case.dims, NUM_JUMPS, rank=1, pairs=pairs, hamiltonian_scale=2.0, jump_scale=1.0, seed=0
    )


def _dynamics(module: LearnableStructuredLindbladian, case: Case) -> Generator:
    structured = module()
    if case.form == "structured":
        return structured
    dense = structured.dense()
    leaves = [each.detach().requires_grad_() for each in (dense.hamiltonian, dense.jump_operators)]
    return Lindbladian(*leaves, validate=False)


def measure(case: Case) -> Measured:
    """Run one case in this process."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    module = _module(case)
    kets = random_kets(NUM_KETS, 1, case.dim, generator=torch.Generator().manual_seed(0))
    vectors = random_kets(8, case.dim, generator=torch.Generator().manual_seed(1))
    evolution: Evolution = QuantumJumps(1, record=True) if case.evolution == "trajectories" else Unitary()
    forward, both, jumps = [], [], 0.0
    for repetition in range(case.repetitions + 1):
        torch.manual_seed(0)
        started = time.process_time()
        duration = TIME if repetition else 0.01 * TIME
        state = evolution.evolve(PureEnsemble(kets), _dynamics(module, case), time=duration)
        forward.append(time.process_time() - started)
        values = score_surrogate(state.probabilities(vectors).square().sum(-1), state.log_likelihood)
        values.mean().backward()
        both.append(time.process_time() - started)
        record = state.record if isinstance(state, PureEnsemble) else None
        jumps = float(record.num_jumps.double().mean()) if record is not None else 0.0
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / KIB
    return Measured(
        case.dims,
        case.dim,
        case.evolution,
        case.form,
        case.coupling,
        round(median(forward[1:]), 4),
        round(median(both[1:]), 4),
        case.repetitions,
        round(peak, 1),
        jumps,
        round(module().norm_bound(), 2),
    )


def run(case_index: int) -> Measured:
    """Run one case in a process of its own."""
    finished = subprocess.run(
        [sys.executable, __file__, "--case", str(case_index)], check=True, capture_output=True, text=True
    )
    return Measured(**json.loads(finished.stdout.splitlines()[-1]))


def exponent(results: list[Measured]) -> float:
    """Slope of log CPU time over log D between the ends of the scaling family."""
    found = {
        (tuple(each.dims), each.evolution, each.form, each.coupling): each.both_seconds for each in results
    }
    ends = [
        (case.dim, found[(case.dims, case.evolution, case.form, case.coupling)])
        for case in (SCALING[0], SCALING[-1])
    ]
    return log(ends[1][1] / ends[0][1]) / log(ends[1][0] / ends[0][0])


def table(results: list[Measured]) -> str:
    """Plain-text table of the results."""
    lines = [
        f"{'factors':<26} {'evolution':<13} {'form':<11} {'coupling':<11} {'forward':>9} {'both':>9} {'peak MiB':>9}"
    ]
    lines += [
        f"{'×'.join(map(str, each.dims)):<26} {each.evolution:<13} {each.form:<11} {each.coupling:<11} "
        f"{each.forward_seconds:>8.3f}s {each.both_seconds:>8.3f}s {each.peak_mib:>9.0f}"
        for each in results
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", type=int, help="run this case alone and print it as JSON")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(asdict(measure(CASES[options.case]))))
        return
    torch.set_num_threads(1)  # as in each case's own process
    started = time.perf_counter()
    results = []
    for index in range(len(CASES)):
        results.append(run(index))
        print(table(results[-1:]).splitlines()[1], flush=True)
    slope = exponent(results)
    print(f"scaling exponent of trajectories, forward + backward, D = 512 to 65,536: {slope:.2f}")
    if options.output:
        write_record(
            options.output,
            started,
            settings={
                "kets": NUM_KETS,
                "jump_operators": NUM_JUMPS,
                "rank": 1,
                "time": TIME,
                "dtype": "complex64",
            },
            scaling_exponent=round(slope, 3),
            results=[asdict(each) for each in results],
        )


if __name__ == "__main__":
    main()
