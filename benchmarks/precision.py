"""How exact is single precision? Every public routine in complex64 against itself in complex128.

Random systems of D = 2 to 64 (K from 1 to 3 jump operators, strengths over two orders of magnitude; pure states,
mixtures of three kets, and full mixtures). Inputs are rounded to complex64 first, so that both see the same ones. The
error of a result is its largest deviation, relative to its largest entry or to 1, whichever is larger; that of a
gradient is relative to the gradient's norm. Trajectories are compared with the same random numbers; where rounding
moves a jump across the end or to another operator, the trajectory is another one, which is counted by itself.

    python benchmarks/precision.py --output benchmarks/results/precision.json
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import torch
from record import write_record
from torch import Tensor

from qinn.quantum import (
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    Unitary,
    choi_matrix,
    concurrence,
    contraction,
    entanglement_entropies,
    expectations,
    fidelity,
    find_attractor,
    hermitian_from,
    jump_operators_from,
    ket_concurrence,
    ket_fidelity,
    log_negativity,
    mutual_information,
    negativity,
    normalize,
    partial_trace,
    probabilities,
    probabilities_of_density,
    product,
    product_density,
    propagate_densities,
    propagate_observables,
    purity,
    random_kets,
    reduced_density_of_ket,
    renyi_entropy,
    score_surrogate,
    square_root,
    trace_distance,
    tripartite_information,
    von_neumann_entropy,
)

SHAPES = [(2, 1), (2, 2), (2, 3), (2, 2, 2), (3, 4), (2, 2, 2, 2), (3, 3, 3), (4, 8), (4, 4, 4)]
NUM_TRAJECTORIES = 8


@dataclass(frozen=True)
class Inputs:
    """One random system, in one precision."""

    dims: tuple[int, ...]
    free_hamiltonian: Tensor
    free_jumps: Tensor
    kets: Tensor
    densities: Tensor
    pairs: Tensor
    vectors: Tensor
    time: float
    seed: int

    @property
    def dynamics(self) -> Lindbladian:
        hamiltonian = hermitian_from(self.free_hamiltonian)
        return Lindbladian(hamiltonian, jump_operators_from(self.free_jumps), validate=False)

    @property
    def observables(self) -> Tensor:
        return self.vectors[:, :, None] * self.vectors[:, None, :].conj()

    def to(self, real: torch.dtype) -> "Inputs":
        """The same numbers in another precision, with fresh leaves for gradients."""
        dtype = torch.complex64 if real == torch.float32 else torch.complex128
        return Inputs(
            self.dims,
            self.free_hamiltonian.detach().to(real).requires_grad_(),
            self.free_jumps.detach().to(real).requires_grad_(),
            *[each.to(dtype) for each in (self.kets, self.densities, self.pairs, self.vectors)],
            self.time,
            self.seed,
        )


def draw(seed: int) -> Inputs:
    """Random inputs that single precision holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    dims = SHAPES[seed % len(SHAPES)]
    dim, num_jumps = prod(dims), 1 + seed % 3
    strength = 10 ** (1.7 * torch.rand(2, generator=generator) - 0.7)
    kets = random_kets(3, dim, generator=generator)
    rank = (1, 3, dim)[(seed // len(SHAPES)) % 3]
    mixtures = random_kets(2, rank, dim, generator=generator)
    pairs = random_kets(3, 4, generator=generator)
    return Inputs(
        dims,
        torch.randn(dim, dim, generator=generator) * (strength[0] / (2 * dim**0.5)),
        torch.randn(num_jumps, 2, dim, dim, generator=generator)
        * (strength[1] / (2 * dim * num_jumps)).sqrt(),
        kets,
        mixtures.mT @ mixtures.conj() / rank,
        pairs,
        random_kets(4, dim, generator=generator),
        0.2 + float(torch.rand((), generator=generator)),
        seed,
    )


def evolved(evolution, inputs: Inputs) -> Tensor:
    initial = PureEnsemble(inputs.kets[:, None])
    return evolution.evolve(initial, inputs.dynamics, time=inputs.time, steps=8).probabilities(inputs.vectors)


# None where a routine does not apply to a system.
Routine = Callable[[Inputs], Tensor | None]
ROUTINES: dict[str, Routine] = {
    "Unitary.evolve": lambda i: Unitary().evolve(PureEnsemble(i.kets[:, None]), i.dynamics, time=i.time).kets,
    "ExactChannel.evolve": lambda i: (
        ExactChannel().evolve(MixedState(i.densities), i.dynamics, time=i.time).density()
    ),
    "Heisenberg.evolve": lambda i: evolved(Heisenberg(), i),
    "Hybrid.evolve": lambda i: evolved(Hybrid(NUM_TRAJECTORIES, seed=i.seed), i),
    "propagate_densities": lambda i: propagate_densities(i.dynamics, i.densities, i.time),
    "propagate_observables": lambda i: propagate_observables(i.dynamics, i.observables, i.time),
    "Lindbladian.apply": lambda i: i.dynamics.apply(i.densities),
    "Lindbladian.superoperator": lambda i: i.dynamics.superoperator() if prod(i.dims) <= 12 else None,
    "find_attractor().density": lambda i: find_attractor(i.dynamics).density if prod(i.dims) <= 16 else None,
    "find_attractor().spectral_gap": lambda i: (
        find_attractor(i.dynamics).spectral_gap if prod(i.dims) <= 16 else None
    ),
    "contraction": lambda i: contraction(i.dynamics, *i.densities, i.time),
    "choi_matrix": lambda i: (
        choi_matrix(
            lambda matrix: propagate_densities(i.dynamics, matrix, i.time), prod(i.dims), dtype=i.kets.dtype
        )
        if prod(i.dims) <= 6
        else None
    ),
    "probabilities": lambda i: probabilities(i.kets, i.vectors),
    "probabilities_of_density": lambda i: probabilities_of_density(i.densities, i.vectors),
    "expectations": lambda i: expectations(i.kets, i.observables),
    "normalize": lambda i: normalize(3 * i.kets),
    "product": lambda i: product([i.kets, i.pairs]),
    "product_density": lambda i: product_density([i.densities[..., :3, :3], i.densities[..., :4, :4]]),
    "partial_trace": lambda i: partial_trace(i.densities, i.dims, (0,)),
    "reduced_density_of_ket": lambda i: reduced_density_of_ket(i.kets, i.dims, (0,)),
    "purity": lambda i: purity(i.densities),
    "square_root": lambda i: square_root(i.densities),
    "fidelity": lambda i: fidelity(i.densities[0], i.densities[1]),
    "ket_fidelity": lambda i: ket_fidelity(i.kets[0], i.kets[1]),
    "trace_distance": lambda i: trace_distance(i.densities[0], i.densities[1]),
    "von_neumann_entropy": lambda i: von_neumann_entropy(i.densities),
    "renyi_entropy": lambda i: renyi_entropy(i.densities),
    "entanglement_entropies": lambda i: entanglement_entropies(i.kets, i.dims),
    "mutual_information": lambda i: mutual_information(i.densities, i.dims, (0,), (1,)),
    "tripartite_information": lambda i: (
        tripartite_information(i.densities, i.dims, (0,), (1,), (2,)) if len(i.dims) > 2 else None
    ),
    "negativity": lambda i: negativity(i.densities, i.dims, (0,)),
    "log_negativity": lambda i: log_negativity(i.densities, i.dims, (0,)),
    "concurrence": lambda i: concurrence(i.pairs.mT @ i.pairs.conj() / 3),
    "ket_concurrence": lambda i: ket_concurrence(i.pairs),
}
GRADIENTS = {
    "Unitary.evolve": Unitary(),
    "ExactChannel.evolve": ExactChannel(),
    "Heisenberg.evolve": Heisenberg(),
}


@dataclass(frozen=True)
class Measured:
    """Errors of one routine over all systems to which it applies."""

    routine: str
    what: str
    systems: int
    median: float
    largest: float


def summary(routine: str, what: str, errors: list[float]) -> Measured:
    values = torch.tensor(errors, dtype=torch.float64)
    return Measured(routine, what, len(errors), float(values.median()), float(values.max()))


def value_errors(routine: Routine, systems: list[Inputs]) -> list[float]:
    errors = []
    for system in systems:
        with torch.no_grad():
            exact, single = routine(system.to(torch.float64)), routine(system.to(torch.float32))
        if exact is not None and single is not None:
            scale = max(1.0, float(exact.abs().max()))
            errors.append(float((single - exact).abs().max()) / scale)
    return errors


def gradient_errors(evolution, systems: list[Inputs]) -> list[float]:
    """Error of the gradient of a weighted sum of probabilities in the free parameters of H and L_k."""
    errors = []
    for system in systems:
        gradients = []
        for real in (torch.float64, torch.float32):
            inputs = system.to(real)
            values = evolved(evolution, inputs)
            weights = torch.linspace(-1, 2, values.numel(), dtype=real).reshape(values.shape)
            leaves = [inputs.free_hamiltonian, inputs.free_jumps]
            found = torch.autograd.grad(
                (values * weights).sum(), leaves, allow_unused=True, materialize_grads=True
            )
            gradients.append(torch.cat([each.flatten() for each in found]))
        errors.append(float((gradients[1] - gradients[0]).norm() / gradients[0].norm()))
    return errors


def trajectory_errors(systems: list[Inputs]) -> tuple[list[Measured], float]:
    """Errors of kets, jump times and gradients over equal records, and the share of records that differ."""
    kets, times, gradients, differing, total = [], [], [], 0, 0
    for system in systems:
        runs = []
        for real in (torch.float64, torch.float32):
            inputs = system.to(real)
            jumps = QuantumJumps(NUM_TRAJECTORIES, seed=system.seed, record=True)
            state = jumps.evolve(
                PureEnsemble(inputs.kets[:, None]), inputs.dynamics, time=system.time, steps=1
            )
            runs.append((inputs, state))
        records = [state.record.channels for _, state in runs]
        width = max(record.shape[-1] for record in records)
        padded = [
            torch.nn.functional.pad(record, (0, width - record.shape[-1]), value=-1) for record in records
        ]
        same = (padded[0] == padded[1]).all(-1)
        differing, total = differing + int((~same).sum()), total + same.numel()
        if not bool(same.any()):
            continue
        exact, single = (state.kets.detach()[same] for _, state in runs)
        kets.append(float((single - exact).abs().max()))
        if bool(same.all()) and width:
            moved = (runs[0][1].record.times - runs[1][1].record.times).abs()
            times.append(float(moved.nan_to_num().max()))
        found = []
        for inputs, state in runs:
            values = score_surrogate(state.probabilities(inputs.vectors), state.log_likelihood)[same]
            leaves = [inputs.free_hamiltonian, inputs.free_jumps]
            gradient = torch.autograd.grad(values[..., 0].sum(), leaves)
            found.append(torch.cat([each.flatten() for each in gradient]))
        gradients.append(float((found[1] - found[0]).norm() / found[0].norm()))
    measured = [
        summary("QuantumJumps.evolve", "kets", kets),
        summary("QuantumJumps.evolve", "jump times", times),
        summary("QuantumJumps.evolve", "gradient", gradients),
    ]
    return measured, differing / total


def relaxed_errors(systems: list[Inputs]) -> list[float]:
    """Errors of the relaxed trajectories that take the same branches."""
    errors = []
    for system in systems:
        with torch.no_grad():
            exact, single = (
                evolved(GumbelJumps(NUM_TRAJECTORIES, seed=system.seed), system.to(real))
                for real in (torch.float64, torch.float32)
            )
        difference = (single - exact).abs().amax(-1)
        errors.append(float(difference[difference < 1e-2].max()))
    return errors


def measure(num_systems: int) -> tuple[list[Measured], float]:
    """Measure every routine on the same random systems."""
    systems = [draw(seed) for seed in range(num_systems)]
    results = [summary(name, "value", value_errors(routine, systems)) for name, routine in ROUTINES.items()]
    results += [
        summary(name, "gradient", gradient_errors(evolution, systems))
        for name, evolution in GRADIENTS.items()
    ]
    trajectories, differing = trajectory_errors(systems)
    results += trajectories
    results.append(summary("GumbelJumps.evolve", "probabilities", relaxed_errors(systems)))
    return results, differing


def table(results: list[Measured]) -> str:
    """Markdown table of the results."""
    lines = ["| routine | error of | median | largest |", "|---|---|---|---|"]
    lines += [
        f"| `{each.routine}` | {each.what} | {each.median:.0e} | {each.largest:.0e} |" for each in results
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", type=int, default=540)
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # small matrices
    started = time.perf_counter()
    results, differing = measure(options.systems)
    print(table(results))
    print(f"\ntrajectories with another record: {differing:.1e} of all")
    if options.output:
        write_record(
            options.output,
            started,
            systems=options.systems,
            differing_records=differing,
            results=[asdict(each) for each in results],
        )


if __name__ == "__main__":
    main()
