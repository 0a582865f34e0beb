"""What does it cost to do without a modality? Contracting the evolved observables against forming joint densities.

Samples of a batch lack each modality with probability ½. Their probabilities in the Heisenberg picture are taken
(a) from `ProductState`, which contracts the J evolved observables with what stands for the absent factors, once per
pattern of absence, and (b) from the joint densities, D² numbers per sample. The evolution itself, the same for both, is
left out. CPU time of the process (median of the repetitions), forward and with gradients to the kets, complex64; the
largest difference of the two in complex128.

    python benchmarks/missing.py --output benchmarks/results/missing.json
"""

import argparse
import time
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import torch
from record import write_record

from qinn.quantum import MixedState, ProductState, random_kets, uniform_mixture

CASES = [((4, 4), 16), ((4, 4, 4), 16), ((8, 8, 4), 16), ((8, 8, 8), 16)]
BATCHES = (32, 256)
REPETITIONS = 5


def state_of(dims: tuple[int, ...], size: int, dtype: torch.dtype) -> ProductState:
    """Random kets, of which each is absent with probability ½."""
    generator = torch.Generator().manual_seed(0)
    kets = tuple(random_kets(size, dim, generator=generator, dtype=dtype).requires_grad_() for dim in dims)
    present = torch.rand(size, len(dims), generator=generator) < 0.5
    return ProductState(kets, present, tuple(uniform_mixture(dim, dtype=dtype) for dim in dims))


def observables_of(dim: int, count: int, dtype: torch.dtype) -> torch.Tensor:
    """Hermitian matrices of the size of evolved projectors."""
    free = torch.randn(count, dim, dim, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return (free + free.mH) / dim


def seconds(state: ProductState, observables: torch.Tensor, *, dense: bool, backward: bool) -> float:
    """Median CPU time of one evaluation."""
    found = []
    for _ in range(REPETITIONS + 1):
        started = time.process_time()
        initial = MixedState(state.density()) if dense else state
        values = initial.expectations(observables)
        if backward:
            torch.autograd.grad(values.square().sum(), state.kets)
        found.append(time.process_time() - started)
    return median(found[1:])


def measure(dims: tuple[int, ...], num_observables: int, size: int) -> dict[str, Any]:
    """Both ways, forward and backward, and how far they differ."""
    dim = prod(dims)
    state = state_of(dims, size, torch.complex64)
    observables = observables_of(dim, num_observables, torch.complex64)
    row: dict[str, Any] = {"dims": dims, "dim": dim, "observables": num_observables, "batch": size}
    for backward, name in ((False, "forward"), (True, "forward and backward")):
        contracted, dense = (
            seconds(state, observables, dense=dense, backward=backward) for dense in (False, True)
        )
        row[name] = {
            "contracted_seconds": round(contracted, 6),
            "density_seconds": round(dense, 6),
            "gain": round(dense / contracted, 2),
        }
    exact = state_of(dims, min(size, 32), torch.complex128)
    given = observables_of(dim, num_observables, torch.complex128)
    with torch.no_grad():
        difference = exact.expectations(given) - MixedState(exact.density()).expectations(given)
    row["largest_difference"] = float(difference.abs().max())
    return row


def main() -> None:
    """Measure every case and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    rows = []
    for dims, num_observables in CASES:
        for size in BATCHES:
            rows.append(measure(dims, num_observables, size))
            print(rows[-1], flush=True)
    write_record(arguments.output, started, rows=rows)


if __name__ == "__main__":
    main()
