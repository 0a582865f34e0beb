"""Do the intervals of learned dynamics hold the truth as often as they say?

Random truths with known generators are measured (counts of outcomes, simulated), fitted as wholly unknown, and every
entry of the generator that does not depend on how it is written is compared with its interval:

- `inside`: twenty truths, D from 2 to 6, whose dissipation has full rank: inside of what is physical;
- `boundary`: truths with one or two jump operators, at the edge, fitted as wholly unknown all the same;
- `rank`: the same truths, fitted with the right number of jump operators;
- `clicks`: strengths and rates of watched atoms, from records of clicks, the search begun near the truth.

Limits are those of a binomial of that many independent intervals; those of one fit are not independent, so that a
standard error over fits stands beside them, and the share among twelve entries of each fit, drawn before.

    python benchmarks/learning.py --output benchmarks/results/learning.json      # some minutes of CPU time
"""

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from record import write_record
from torch import Tensor

from qinn.quantum import (
    Estimates,
    JumpBlock,
    Lindbladian,
    MeasuredClicks,
    MeasuredCounts,
    QuantumJumps,
    UnknownLindbladian,
    destroy,
    fit_lindbladian,
    generator_entries,
    hermitian_from,
    pauli,
    random_kets,
)

DTYPE = torch.complex128
LEVELS = (0.9, 0.95)
# Dimension → truths and data sets of each.
INSIDE = {2: (8, 4), 3: (6, 2), 4: (4, 1), 5: (1, 1), 6: (1, 1)}
BOUNDARY = {2: (6, 3), 3: (4, 1), 4: (1, 1)}
CLICKS = 6
# From here on the search begins at the truth, which saves most of the time: the question is what intervals hold.
TOLD_DIM = 5
# Shots of each state in each basis at each time; entries that are drawn of each fit.
SHOTS, DRAWN = 100_000, 12


@dataclass(frozen=True)
class Fitted:
    """One data set: its group, the truth it is of, and which intervals held."""

    group: str
    dim: int
    truth: int
    held: dict[float, Tensor]
    p_value: float | None
    converged: bool
    at_boundary: bool
    seconds: float


def truth(dim: int, seed: int, num_jumps: int | None) -> Lindbladian:
    """Random dynamics: with jump operators, or with a dissipation matrix C whose eigenvalues are of one order."""
    source = torch.Generator().manual_seed(1000 * dim + seed)
    hamiltonian = hermitian_from(torch.randn(dim, dim, generator=source, dtype=torch.float64)) / dim**0.5
    count = 2 * (dim**2 - 1) if num_jumps is None else num_jumps
    jumps = torch.randn(count, dim, dim, generator=source, dtype=DTYPE)
    return Lindbladian(0.5 * hamiltonian, jumps * (0.3 / (dim * count)) ** 0.5)


def measured(dynamics: Lindbladian, shots: int, seed: int) -> MeasuredCounts:
    """Counts of random preparations in random bases, enough to see everything, at two times."""
    dim, source = dynamics.dim, torch.Generator().manual_seed(dynamics.dim)
    kets = random_kets(dim**2 + 4, dim, generator=source, dtype=DTYPE)
    bases = torch.linalg.qr(torch.randn(dim + 2, dim, dim, generator=source, dtype=DTYPE))[0]
    effects = torch.einsum("mak,mbk->mkab", bases, bases.conj())
    return MeasuredCounts.simulated(dynamics, kets, [0.5, 1.5], effects, shots, seed=seed)


def held_by(estimates: Estimates, expected: Tensor) -> dict[float, Tensor]:
    found = {}
    for level in LEVELS:
        low, high = estimates.intervals(level).unbind(-1)
        found[level] = (low <= expected) & (expected <= high)
    return found


def tomography(group: str, dim: int, number: int, num_sets: int) -> Iterator[Fitted]:
    rank = None if group == "inside" else 1 + number % 2
    dynamics = truth(dim, number, rank)
    family = UnknownLindbladian.full([dim], rank=rank if group == "rank" else None)
    expected = generator_entries(dynamics).values
    for seed in range(num_sets):
        started = time.process_time()
        data = measured(dynamics, SHOTS, 100 * number + seed)
        fit = fit_lindbladian(family, data, num_starts=1, start=expected if dim >= TOLD_DIM else None)
        yield Fitted(
            group,
            dim,
            number,
            held_by(fit.entries, expected),
            fit.p_value,
            fit.converged,
            bool(fit.boundary),
            time.process_time() - started,
        )


def watched() -> list[tuple[UnknownLindbladian, Tensor, float]]:
    """Atoms whose clicks are recorded: family, true parameters, share of clicks seen."""
    x, z, lower = pauli("X", dtype=DTYPE), pauli("Z", dtype=DTYPE), destroy(2, dtype=DTYPE)
    first, second = (torch.zeros(3, 3, dtype=DTYPE) for _ in range(2))
    first[0, 1] = second[1, 2] = 1
    drive, steps = {"drive": 0.5 * x}, {"lower drive": first + first.mT, "upper drive": second + second.mT}
    return [
        (UnknownLindbladian(drive, {"decay": lower}), torch.tensor([2.0, 1.0]).double(), 1.0),
        (
            UnknownLindbladian(drive, [JumpBlock(lower, ["decay"], channel=0, efficiency=0.5)]),
            torch.tensor([2.0, 1.0]).double(),
            0.5,
        ),
        (
            UnknownLindbladian(drive, {"decay": lower, "phase": z}),
            torch.tensor([2.0, 1.0, 0.3]).double(),
            1.0,
        ),
        (
            UnknownLindbladian(steps, {"lower decay": first, "upper decay": second}),
            torch.tensor([0.8, 1.1, 1.0, 0.6]).double(),
            1.0,
        ),
    ]


def seen_share(record: Any, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Channels and times of the clicks that are seen, each with the same chance."""
    source = torch.Generator().manual_seed(seed)
    kept = (record.channels >= 0) & (torch.rand(record.channels.shape, generator=source) < share)
    order = (~kept).to(torch.uint8).argsort(dim=-1, stable=True)
    channels = torch.where(kept, record.channels, -1).gather(-1, order)
    times = torch.where(kept, record.times, float("nan")).gather(-1, order)
    return channels, times


def clicks(number: int, num_sets: int) -> Iterator[Fitted]:
    family, expected, share = watched()[number]
    dynamics = family.lindbladian(expected)
    ground = torch.eye(dynamics.dim, dtype=DTYPE)[0]
    for seed in range(num_sets):
        started = time.process_time()
        jumps = QuantumJumps(50, seed=1000 * number + seed, record=True)
        record = jumps.evolve(ground, dynamics, time=6.0).record
        channels, times = seen_share(record, share, seed)
        data = MeasuredClicks(ground, channels, times, durations=6.0)
        fit = fit_lindbladian(family, data, num_starts=1, start=0.95 * expected)
        # Clicks do not see the signs of drives.
        signs = torch.where(fit.parameters.rates, 1.0, fit.parameters.values.sign())
        yield Fitted(
            "clicks",
            dynamics.dim,
            number,
            held_by(fit.parameters, signs * expected),
            fit.p_value,
            fit.converged,
            bool(fit.boundary),
            time.process_time() - started,
        )


def summary(fits: list[Fitted]) -> dict[str, Any]:
    """Shares of intervals that held, with limits, of one group."""
    source = torch.Generator().manual_seed(0)
    drawn = [torch.randperm(len(fit.held[LEVELS[0]]), generator=source)[:DRAWN] for fit in fits]
    contents: dict[str, Any] = {
        "truths": len({(fit.dim, fit.truth) for fit in fits}),
        "dims": sorted({fit.dim for fit in fits}),
        "data_sets": len(fits),
        "converged": sum(fit.converged for fit in fits),
        "said_to_be_at_the_boundary": sum(fit.at_boundary for fit in fits),
        "seconds_of_a_fit": {
            str(dim): round(max(fit.seconds for fit in fits if fit.dim == dim), 2)
            for dim in sorted({fit.dim for fit in fits})
        },
    }
    tests = [fit.p_value for fit in fits if fit.p_value is not None]
    if tests:
        contents["p_values_below_0.05"] = sum(value < 0.05 for value in tests) / len(tests)
    for level in LEVELS:
        every = torch.cat([fit.held[level] for fit in fits]).double()
        few = torch.cat([fit.held[level][places] for fit, places in zip(fits, drawn, strict=True)]).double()
        sums = torch.stack([(fit.held[level].double() - every.mean()).sum() for fit in fits])
        contents[f"level {level}"] = {
            "all": share(every, level),
            "standard_error_over_fits": round(float(sums.square().sum().sqrt()) / len(every), 4),
            "twelve_of_each": share(few, level),
        }
    return contents


def share(held: Tensor, level: float) -> dict[str, Any]:
    reach = 1.96 * (level * (1 - level) / len(held)) ** 0.5
    found = float(held.mean())
    return {
        "intervals": len(held),
        "held": round(found, 4),
        "limits": [round(level - reach, 4), round(min(level + reach, 1.0), 4)],
        "within": abs(found - level) <= reach,
    }


@dataclass(frozen=True)
class Task:
    """All data sets of one truth."""

    group: str
    dim: int
    truth: int
    num_sets: int

    def done(self) -> list[Fitted]:
        torch.set_num_threads(1)
        if self.group == "clicks":
            return list(clicks(self.truth, self.num_sets))
        return list(tomography(self.group, self.dim, self.truth, self.num_sets))


def tasks(*, quick: bool) -> list[Task]:
    """What is fitted, the longest first."""
    inside, edge = ({2: (1, 2)}, {2: (1, 1)}) if quick else (INSIDE, BOUNDARY)
    found = [
        Task(group, dim, number, num_sets)
        for group, sizes in (("inside", inside), ("boundary", edge), ("rank", edge))
        for dim, (num_truths, num_sets) in sizes.items()
        for number in range(num_truths)
    ]
    atoms = range(1 if quick else len(watched()))
    found += [Task("clicks", 2, number, 1 if quick else CLICKS) for number in atoms]
    return sorted(found, key=lambda task: -task.dim)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--quick", action="store_true", help="a few data sets of each group, to see that all runs"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    arguments = parser.parse_args()
    started, found = time.perf_counter(), {}
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        for fits in pool.map(Task.done, tasks(quick=arguments.quick)):
            found.setdefault(fits[0].group, []).extend(fits)
            print(f"{fits[0].group} D={fits[0].dim} truth {fits[0].truth}: {len(fits)} fits", flush=True)
    results = {group: summary(found[group]) for group in ("inside", "boundary", "rank", "clicks")}
    cpu = round(sum(fit.seconds for fits in found.values() for fit in fits), 1)
    write_record(arguments.output, started, cpu_seconds_of_fits=cpu, shots=SHOTS, **results)
    for group, contents in results.items():
        print(group, contents)


if __name__ == "__main__":
    main()
