"""Many systems at once, against a loop over them: CPU time, values and gradients. Exits with 1 where a bar is missed.

Systems are random: ‖H‖ = 3 and two Gaussian jump operators with about one jump per unit of time, each with a ket of its
own, evolved in double precision for a time of its own. Both ways run in turn in one process; times are medians of
CPU milliseconds for all systems. Differences are the largest entries; of gradients (by H, L_k, densities and times)
relative to the largest entry of each.

    OMP_NUM_THREADS=1 python benchmarks/batches.py --output benchmarks/results/batches.json
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from record import write_record
from torch import Tensor

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    Lindbladian,
    MixedState,
    QuantumJumps,
    Unitary,
    density_of,
    find_attractor,
    random_kets,
)

C = torch.complex128
WAYS = {"ExactChannel": ExactChannel(), "Heisenberg": Heisenberg(), "Unitary": Unitary()}
# How many times faster than a loop exact evolutions must be, by dimension, and how far from it.
BARS = {2: 8.0, 3: 8.0, 4: 8.0, 8: 3.0}
DIFFERENCE = 1e-12


def systems(number: int, dim: int) -> list[Tensor]:
    """H, L_k, densities and times."""
    generator = torch.Generator().manual_seed(dim)
    free = torch.randn(number, dim, dim, dtype=C, generator=generator)
    H = free + free.mH
    L = torch.randn(number, 2, dim, dim, dtype=C, generator=generator) / (2 * dim) ** 0.5
    kets = random_kets(number, dim, generator=generator, dtype=C)
    times = 0.5 + torch.rand(number, generator=generator, dtype=torch.float64)
    return [3 * H / torch.linalg.matrix_norm(H, 2)[:, None, None], L, density_of(kets), times]


def evolved(way: Any, given: list[Tensor], dim: int) -> Tensor:
    """Probabilities of the basis, by one call."""
    H, L, densities, times = given
    dynamics = Lindbladian(H, L, validate=False)
    state = way.evolve(MixedState(densities, validate=False), dynamics, time=times)
    return state.probabilities(torch.eye(dim, dtype=C))


def looped(way: Any, given: list[Tensor], dim: int) -> Tensor:
    """The same, one system after the other."""
    return torch.stack(
        [evolved(way, list(each), dim) for each in zip(*(tensor.unbind() for tensor in given), strict=True)]
    )


def milliseconds(run: Callable[[], Any], repeats: int) -> float:
    """Median of CPU milliseconds."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        found.append(1000 * (time.process_time() - began))
    return median(found)


def measure(name: str, dim: int, number: int, repeats: int, *, backward: bool) -> dict[str, Any]:
    """Compare a way of evolution with a loop."""
    way, given = WAYS[name], systems(number, dim)
    for tensor in given:
        tensor.requires_grad_(backward)
    weights = torch.randn(number, 1, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def run(evolve: Callable[..., Tensor]) -> list[Tensor]:
        values = evolve(way, given, dim)
        if not backward:
            return [values]
        # Unitary dynamics do not depend on the jump operators.
        found = torch.autograd.grad((weights * values).sum(), given, allow_unused=True)
        return [torch.zeros(()) if each is None else each for each in found]

    together, alone = run(evolved), run(looped)
    difference = max(
        float((one - other).abs().max()) / (max(float(other.abs().max()), 1e-300) if backward else 1.0)
        for one, other in zip(together, alone, strict=True)
        if other.ndim
    )
    pairs = [
        (milliseconds(lambda: run(looped), 1), milliseconds(lambda: run(evolved), 1)) for _ in range(repeats)
    ]
    loop, batch = (median(side) for side in zip(*pairs, strict=True))
    return {
        "way": name,
        "dim": dim,
        "backward": backward,
        "loop_ms": round(loop, 2),
        "batch_ms": round(batch, 2),
        "ratio": round(loop / batch, 2),
        "difference": difference,
    }


def measure_others(number: int, repeats: int) -> list[dict[str, Any]]:
    """What still runs one system after the other, for the record: no gain is promised."""
    H, L, _, _ = systems(number, 4)
    ket = torch.eye(4, dtype=C)[0]
    jumps = QuantumJumps(16, seed=0)
    pairs = {
        "QuantumJumps(16)": (
            lambda: [jumps.evolve(ket, Lindbladian(*each), time=1.0) for each in zip(H, L, strict=True)],
            lambda: jumps.evolve(ket, Lindbladian(H, L), time=1.0),
        ),
        "find_attractor": (
            lambda: [find_attractor(Lindbladian(*each)) for each in zip(H, L, strict=True)],
            lambda: find_attractor(Lindbladian(H, L)),
        ),
    }
    cases = []
    for name, (loop, batch) in pairs.items():
        slow, quick = milliseconds(loop, repeats), milliseconds(batch, repeats)
        cases.append(
            {
                "way": name,
                "dim": 4,
                "backward": False,
                "loop_ms": round(slow, 1),
                "batch_ms": round(quick, 1),
                "ratio": round(slow / quick, 2),
            }
        )
    return cases


def fails(case: dict[str, Any]) -> bool:
    """Whether a case misses its bar."""
    # Relative to the largest entry, gradients have the digits of what they are sums of.
    allowed = DIFFERENCE * (10 if case["backward"] else 1)
    return case["ratio"] < BARS.get(case["dim"], 0.0) or not case["difference"] <= allowed


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=256, help="systems")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of which medians are taken")
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 4, 8, 12])
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    started = time.perf_counter()
    cases = []
    for dim in options.dims:
        for name in WAYS:
            for backward in (False, True):
                cases.append(measure(name, dim, options.number, options.repeats, backward=backward))
                print(*cases[-1].values(), sep="\t", flush=True)
    others = measure_others(options.number, options.repeats)
    for case in others:
        print(*case.values(), sep="\t", flush=True)
    failed = [case for case in cases if fails(case)]
    if options.output:
        write_record(
            options.output,
            started,
            number=options.number,
            repeats=options.repeats,
            failed=len(failed),
            cases=cases,
            one_after_the_other=others,
        )
    if failed:
        sys.exit(f"{len(failed)} of {len(cases)} cases miss their bar")


if __name__ == "__main__":
    main()
