"""Are exact evolutions in single precision right for textbook dissipators? Seven models, D 9 to 40, γT 0.1 to 100.

Jump operators of physics are Hermitian, normal or ladders, not Gaussian, and grow with D: the spectrum of their
generators is long and real. Densities are evolved by the exact channel, and read out by random vectors in the
Heisenberg picture, with complex64 and complex128; up to D = 16 complex128 is compared with the exponential of the
D² × D² generator by PyTorch's (other) algorithm, in double precision.

    python benchmarks/dissipators.py --output benchmarks/results/dissipators.json
"""

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
from record import write_record
from torch import Tensor

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    Lindbladian,
    MixedState,
    PureEnsemble,
    density_of,
    random_kets,
)

DOUBLE, SINGLE = torch.complex128, torch.complex64
DIMS = (9, 12, 16, 24, 32, 40)
TIMES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
LARGEST_DENSE_DIM = 16
# What single precision is held to, and double precision against the dense exponential (times ‖𝓛‖t where that is more
# than a thousand, see docs/theory.md).
SINGLE_TOLERANCE = 5e-5
DOUBLE_TOLERANCE, DOUBLE_ROUND_OFF = 1e-11, 1e-14


def model(name: str, dim: int) -> Lindbladian:
    """A model of quantum optics on the lowest levels of an oscillator, with rates of γ = 1."""
    a = torch.diag(torch.arange(1, dim, dtype=torch.float64).sqrt(), 1).to(DOUBLE)
    n, x, none = a.mH @ a, (a + a.mH) / 2**0.5, torch.zeros_like(a)
    hamiltonian, jumps = {
        "loss": (none, [a]),
        "dephasing": (none, [n]),
        "driven, dephasing": (a + a.mH, [n]),
        "driven, loss, dephasing": (a + a.mH, [a, n]),
        "thermal": (none, [1.5**0.5 * a, 0.5**0.5 * a.mH]),
        "position": (none, [x]),
        "two-photon": (none, [a @ a]),
    }[name]
    return Lindbladian(hamiltonian, torch.stack(jumps))


MODELS = (
    "loss",
    "dephasing",
    "driven, dephasing",
    "driven, loss, dephasing",
    "thermal",
    "position",
    "two-photon",
)


@dataclass
class Case:
    """Errors of one model, dimension and time; None where there is nothing to compare with."""

    model: str
    dim: int
    time: float
    single_channel: float
    single_heisenberg: float
    double_against_dense: float | None
    norm_times_time: float
    seconds: float

    @property
    def holds(self) -> bool:
        """Written so that NaN fails."""
        single = max(self.single_channel, self.single_heisenberg)
        finite = (
            self.single_channel == self.single_channel and self.single_heisenberg == self.single_heisenberg
        )
        allowed = max(DOUBLE_TOLERANCE, DOUBLE_ROUND_OFF * self.norm_times_time)
        double = self.double_against_dense is None or self.double_against_dense <= allowed
        return finite and single <= SINGLE_TOLERANCE and double


def evolve(dynamics: Lindbladian, kets: Tensor, vectors: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """Densities of the exact channel, and probabilities of the Heisenberg picture."""
    densities = ExactChannel().evolve(MixedState(density_of(kets)), dynamics, time=time, steps=1).density()
    state = Heisenberg().evolve(PureEnsemble(kets[:, None]), dynamics, time=time, steps=1)
    return densities, state.probabilities(vectors)


def measure(name: str, dim: int, duration: float) -> Case:
    """Compare precisions, and the dense exponential."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(dim)
    dynamics = model(name, dim)
    uniform = torch.full((1, dim), dim**-0.5, dtype=DOUBLE)
    kets = torch.cat([uniform, random_kets(2, dim, generator=generator, dtype=DOUBLE)])
    vectors = random_kets(4, dim, generator=generator, dtype=DOUBLE)
    # The same numbers in both precisions: what is measured is the evolution.
    dynamics = dynamics.to(SINGLE).to(DOUBLE)
    kets, vectors = kets.to(SINGLE).to(DOUBLE), vectors.to(SINGLE).to(DOUBLE)
    double = evolve(dynamics, kets, vectors, duration)
    single = evolve(dynamics.to(SINGLE), kets.to(SINGLE), vectors.to(SINGLE), duration)
    errors = [float((one - other).abs().max()) for one, other in zip(single, double, strict=True)]
    dense, norm = None, float(torch.linalg.matrix_norm(dynamics.total_rate, 2)) * duration
    if dim <= LARGEST_DENSE_DIM:
        channel = torch.linalg.matrix_exp(dynamics.superoperator() * duration)
        expected = (density_of(kets).flatten(-2) @ channel.mT).reshape(-1, dim, dim)
        dense = float((double[0] - expected).abs().max())
    return Case(name, dim, duration, *errors, dense, norm, round(time.perf_counter() - started, 3))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dims", type=int, nargs="+", default=DIMS)
    parser.add_argument("--times", type=float, nargs="+", default=TIMES)
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # small matrices
    started = time.perf_counter()
    cases = []
    # The cheap ones first.
    for duration, dim, name in product(options.times, options.dims, MODELS):
        case = measure(name, dim, duration)
        cases.append(case)
        print(case, "" if case.holds else "FAILS", flush=True)
    failed = sum(not case.holds for case in cases)
    largest = {
        "single_channel": max(case.single_channel for case in cases),
        "single_heisenberg": max(case.single_heisenberg for case in cases),
        "double_against_dense": max(case.double_against_dense or 0.0 for case in cases),
    }
    print(f"{len(cases)} cases, {failed} fail; largest errors {largest}")
    if options.output:
        write_record(
            options.output,
            started,
            failed=failed,
            largest=largest,
            cases=[asdict(case) for case in cases],
        )
    if failed:
        sys.exit(f"{failed} of {len(cases)} cases fail")


if __name__ == "__main__":
    main()
