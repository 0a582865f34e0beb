"""How much of qinn's time are its products of matrices, and how much the calls about them?

For the problem of `benchmarks/quantum.py` every call of PyTorch that a run makes is counted, and its products of
matrices are replayed alone: the same shapes, precisions and order, on tensors that are in the caches, which is the
least they can take. Runs and replays take turns in one process on one core; times are medians of CPU milliseconds.
What is left over the products are sums, norms, copies, random numbers, planning, and what it takes to call PyTorch:
`us_per_call` is what each other call takes on average, beside `us_least_call`, a sum of two numbers at the same
moment, below which no call can be.

    OMP_NUM_THREADS=1 python benchmarks/products.py --output benchmarks/results/products.json    # two minutes
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from record import write_record
from simulators.measuring import restart_on_one_core
from simulators.problem import make_problem
from simulators.with_qinn import _solver
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qinn.quantum import Evolution, ExactChannel, Heisenberg, QuantumJumps

# Evolution, precision, D, states or trajectories, what is run.
CASES: list[tuple[Evolution, torch.dtype, int, int, str]] = [
    (Heisenberg(1e-5), torch.complex64, 9, 64, "both"),
    (Heisenberg(1e-5), torch.complex64, 16, 64, "both"),
    (Heisenberg(1e-5), torch.complex64, 27, 64, "forward"),
    (Heisenberg(1e-5), torch.complex64, 27, 64, "both"),
    (Heisenberg(1e-5), torch.complex64, 27, 256, "both"),
    (Heisenberg(), torch.complex128, 27, 64, "both"),
    (Heisenberg(1e-5), torch.complex64, 64, 64, "both"),
    (ExactChannel(1e-5), torch.complex128, 16, 64, "both"),
    (ExactChannel(1e-5), torch.complex128, 27, 64, "both"),
    (QuantumJumps(1), torch.complex64, 8, 256, "forward"),
    (QuantumJumps(1), torch.complex64, 64, 256, "forward"),
    (QuantumJumps(1), torch.complex64, 8, 64, "both"),
    (QuantumJumps(1), torch.complex64, 64, 64, "both"),
]
_PRODUCTS = ("mm", "bmm", "addmm", "addmm_", "baddbmm", "baddbmm_", "mv", "addmv", "dot", "vdot")


class Recorder(TorchDispatchMode):
    """Counts calls, and remembers what is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.products = 0, []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.calls += 1
        if name in _PRODUCTS:
            given = [each for each in args if isinstance(each, Tensor)][-2:]
            self.products.append([each.detach() for each in given])
        return function(*args, **(kwargs or {}))


def replayed(products: list[list[Tensor]]) -> Callable[[], None]:
    """All products alone, one after the other: tensors of one shape share their place, so that caches hold them."""
    kept: dict[Any, Tensor] = {}

    def place_of(tensor: Tensor, role: str) -> Tensor:
        key = (role, tensor.shape, tensor.stride(), tensor.dtype)
        return kept.setdefault(key, torch.empty_like(tensor).copy_(tensor))

    pairs = [
        (place_of(left, "left"), place_of(right, "right"), place_of(torch.matmul(left, right), "result"))
        for left, right in products
    ]

    def run() -> None:
        for left, right, out in pairs:
            torch.matmul(left, right, out=out)

    return run


def measure(
    evolution: Evolution, dtype: torch.dtype, dim: int, batch: int, mode: Any, rounds: int
) -> dict[str, Any]:
    """Time a run and its products in turns."""
    call, _ = _solver(make_problem(dim, batch), evolution, dtype, mode)
    torch.manual_seed(0)
    call()
    with Recorder() as recorder:
        call()
    products, least = replayed(recorder.products), torch.zeros(2)

    def least_calls() -> None:
        for _ in range(200):
            torch.add(least, least)

    samples: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        for taken, run in zip(samples, (call, products, least_calls), strict=True):
            before = time.process_time()
            run()
            taken.append(time.process_time() - before)
    whole, alone, calls = (1e3 * median(taken) for taken in samples)
    others = recorder.calls - len(recorder.products)
    return {
        "evolution": type(evolution).__name__,
        "precision": str(dtype).removeprefix("torch."),
        "dim": dim,
        "batch": batch,
        "mode": mode,
        "ms": round(whole, 3),
        "products_ms": round(alone, 3),
        "over_products": round(whole / alone, 2),
        "products": len(recorder.products),
        "other_calls": others,
        "us_per_call": round(1e3 * (whole - alone) / others, 2),
        "us_least_call": round(1e3 * calls / 200, 2),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31, help="samples of each")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    restart_on_one_core()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    started, cases = time.perf_counter(), []
    for case in CASES:
        cases.append(measure(*case, options.rounds))
        print(*cases[-1].values(), sep="\t", flush=True)
    if options.output:
        write_record(options.output, started, rounds=options.rounds, cases=cases)


if __name__ == "__main__":
    main()
