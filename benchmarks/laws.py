"""Do the laws hold on thousands of random systems? The largest violation of each, and what broke it.

Ten thousand random open systems with D from 2 to 13 and three hundred with D from 14 to 40 (1 to 4 factors, K from 0
to 4 jump operators, strengths over two orders of magnitude), each in double and in single precision. The jump
operators are those of physics: Hermitian, normal, unitary, ladders, rank one, projectors, on one factor alone,
Gaussian, Gaussian with a multiple of the identity, and zero, mixed, with rates over six orders of magnitude. (Choi
matrices: of a system with D ≤ 6 in place of every larger one.) Each is evolved in every way that there is (exact
channel, Heisenberg picture, unitary, driven, hybrid, trajectories in continuous time and on a grid) and measured by
`qinn.quantum.checking.laws`, the functions that `qinn.quantum.checking.checks` and the tests of the laws use as
well. Another part finds the attractor of a thousand systems with D ≤ 16: generic ones, some with nearly several
steady states, and some whose slowest modes nearly coincide, down to an exceptional point. There an answer of either
method must be right, carry an error estimate that says by how much it may be wrong, or be refused.

    python benchmarks/laws.py --output benchmarks/results/laws.json          # or: make laws
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import permutations
from math import log
from pathlib import Path
from typing import Literal

import torch
from random_systems import (
    DTYPE,
    System,
    draw_system,
    local_dynamics,
    physical_dynamics,
    random_dynamics,
)
from record import write_record
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    choi_matrix,
    density_of,
    embed,
    expectations_of_density,
    find_attractor,
    hermitian_from,
    permute_ket,
    permute_operator,
    product,
    propagate_densities,
    propagate_observables,
    random_kets,
)
from qinn.quantum.checking import laws

SINGLE = torch.complex64
LARGEST_CHOI_DIM = 6
NUM_TRAJECTORIES = 4
# Time steps of trajectories on a grid.
MOST_STEPS = 50


@dataclass
class Law:
    """One law: its tolerance, and what was found."""

    statement: str
    tolerance: float
    systems: int = 0
    largest: float = 0.0
    broken: int = 0
    worst_system: str = ""

    def see(self, violation: Tensor | float, system: str) -> None:
        value = float(violation.max()) if isinstance(violation, Tensor) else violation
        self.systems += 1
        # Not a number is a violation too.
        self.broken += not value <= self.tolerance
        if not value <= self.largest:
            self.largest, self.worst_system = value, system


def all_laws() -> dict[str, Law]:
    # Exact evolutions are exact to 1e-12 in the Hilbert–Schmidt norm, traces and eigenvalues to √D times that, and to
    # 1e-5 in single precision.
    return {
        "norm": Law("every trajectory has unit norm", 1e-12),
        "trace": Law("densities have trace 1", 1e-11),
        "hermitian": Law("densities are Hermitian", 1e-12),
        "positive": Law("densities have no negative eigenvalue", 1e-11),
        "choi": Law("Choi matrices have no negative eigenvalue", 1e-11),
        "channel": Law("channels preserve the trace of any matrix", 1e-11),
        "product": Law("local operators keep every single trajectory a product", 1e-12),
        "entropies": Law("S(A) = S(rest) for pure states, bits", 1e-12),
        "information": Law("local channels raise no mutual information, bits", 1e-11),
        "distance": Law("trace distances never grow", 1e-11),
        "pictures": Law("Heisenberg and Schrödinger pictures agree", 1e-11),
        "unitary": Law("without jumps the channel is the unitary evolution", 1e-11),
        "driven": Law("constant drives give the channel of their Hamiltonian", 1e-11),
        "hybrid": Law("probabilities of hybrid trajectories sum to 1", 1e-11),
        "composition": Law("two evolutions are one for the sum of their times", 1e-11),
        "permutation": Law("permuting the factors permutes the result", 1e-11),
        "permuted jumps": Law("permuting the factors permutes every trajectory", 1e-9),
        "batch": Law("a batch gives what a loop gives", 1e-12),
        "single norm": Law("complex64: every trajectory has unit norm", 1e-5),
        "single trace": Law("complex64: densities have trace 1", 1e-5),
        "single positive": Law("complex64: densities have no negative eigenvalue", 1e-5),
        "single channel": Law("complex64: the exact channel is that of complex128", 1e-5),
        "single heisenberg": Law("complex64: Heisenberg and hybrid values are those of complex128", 1e-5),
        "single unitary": Law("complex64: the unitary evolution is that of complex128", 1e-5),
        "single driven": Law("complex64: driven channels are those of complex128", 1e-5),
    }


def difference(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).abs().max()


def examine(system: System, found: dict[str, Law]) -> None:
    """Measure every law on one system."""
    generator = torch.Generator().manual_seed(system.seed + 1_000_000)
    dims, dim, time = system.dims, system.dim, system.time
    dynamics, kinds = physical_dynamics(dims, system.num_jumps, system.strength, generator)
    kets = random_kets(2, 3, dim, generator=generator, dtype=DTYPE)
    pair = kets.mT @ kets.conj() / 3
    pair = torch.stack([pair[0], density_of(kets[1, 0])])
    factors = [random_kets(2, 1, part, generator=generator, dtype=DTYPE) for part in dims]
    observables = hermitian_from(torch.randn(2, dim, dim, generator=generator, dtype=torch.float64))
    observables = observables / torch.linalg.vector_norm(observables, dim=(-2, -1), keepdim=True)

    def see(name: str, violation: Tensor) -> None:
        found[name].see(violation, f"{system.name}, {', '.join(kinds)}")

    channel = ExactChannel().evolve(MixedState(pair), dynamics, time=time).density()
    see("trace", laws.trace_deviation(channel))
    see("hermitian", laws.asymmetry(channel))
    see("positive", laws.negative_part(channel))
    see("distance", laws.distance_gain(pair, channel))
    alone = ExactChannel().evolve(MixedState(pair[1]), dynamics, time=time).density()
    violation = difference(alone, channel[1])

    moved = propagate_observables(dynamics, observables, time)
    pictures = [
        expectations_of_density(channel, observables, validate=False),
        expectations_of_density(pair, moved, validate=False),
    ]
    see("pictures", difference(*pictures))

    start = PureEnsemble(kets[:, :1])
    jumps = QuantumJumps(NUM_TRAJECTORIES, seed=system.seed)
    ensemble = jumps.evolve(start, dynamics, time=time)
    see("norm", laws.norm_deviation(ensemble.kets))
    see("entropies", laws.entropy_difference(ensemble.kets, dims))
    single = jumps.evolve(PureEnsemble(kets[1, :1]), dynamics, time=time)
    see("batch", torch.maximum(violation, difference(single.kets, ensemble.kets[1])))

    turned = Unitary().evolve(MixedState(pair), dynamics, time=time).density()
    # A jump operator of zero, since without any the channel is made of the same turn.
    still = Lindbladian(dynamics.hamiltonian, torch.zeros(1, dim, dim, dtype=DTYPE), validate=False)
    see("unitary", difference(turned, propagate_densities(still, pair, time)))

    halves = propagate_densities(dynamics, propagate_densities(dynamics, pair, 0.3 * time), 0.7 * time)
    see("composition", difference(halves, channel))
    # Of two samples the second is driven.
    drive = random_dynamics(dim, 0, system.strength, generator).hamiltonian
    amplitudes = torch.tensor([0.0, 1.0], dtype=torch.float64)[:, None, None].expand(2, 2, 1)
    driven = DrivenLindbladian(dynamics, drive[None], amplitudes)
    of_drive = ExactChannel().evolve(MixedState(pair), driven, time=time).density()
    other = Lindbladian(dynamics.hamiltonian + drive, dynamics.jump_operators, validate=False)
    apart = torch.stack([channel[0], propagate_densities(other, pair[1], time)])
    see("driven", difference(of_drive, apart))
    hybrid = Hybrid(NUM_TRAJECTORIES, seed=system.seed).evolve(start, dynamics, time=time)
    see("hybrid", (hybrid.probabilities(torch.eye(dim, dtype=DTYPE)).sum(-1) - 1).abs())
    # Time steps in which few jumps fall.
    steps = 1 + int(float(torch.linalg.matrix_norm(dynamics.total_rate, 2)) * time)
    gridded = [
        evolution.evolve(start, dynamics, time=time, steps=min(steps, MOST_STEPS)).kets
        for evolution in (SteppedJumps(2, seed=system.seed), GumbelJumps(2, seed=system.seed))
        if steps <= 5 * MOST_STEPS
    ]
    for kets_there in gridded:
        see("norm", laws.norm_deviation(kets_there))

    examine_single(
        system,
        (dynamics, driven),
        (pair, kets, observables),
        (channel, pictures[0], turned, of_drive),
        see,
    )

    small_dim = dim if dim <= LARGEST_CHOI_DIM else 2 + system.seed % (LARGEST_CHOI_DIM - 1)
    small = (
        dynamics
        if small_dim == dim
        else physical_dynamics((small_dim,), system.num_jumps, system.strength, generator)[0]
    )
    choi = choi_matrix(lambda matrix: propagate_densities(small, matrix, time), small_dim)
    see("choi", torch.maximum(laws.negative_part(choi), laws.asymmetry(choi)))
    see("channel", laws.trace_leak(choi))

    local = local_dynamics(system, generator)
    products = jumps.evolve(PureEnsemble(product(factors)), local, time=time)
    see("product", laws.entangled_part(products.kets, dims))
    after = propagate_densities(local, pair, time)
    see("information", laws.information_gain(pair, after, dims))

    orders = list(permutations(range(len(dims))))[1:]
    order = orders[system.seed % len(orders)]
    exchanged = Lindbladian(
        permute_operator(dynamics.hamiltonian, dims, order),
        permute_operator(dynamics.jump_operators, dims, order),
        validate=False,
    )
    evolved = propagate_densities(exchanged, permute_operator(pair, dims, order), time)
    see("permutation", difference(evolved, permute_operator(channel, dims, order)))
    reordered = PureEnsemble(permute_ket(start.kets, dims, order))
    state = jumps.evolve(reordered, exchanged, time=time)
    see("permuted jumps", difference(state.kets, permute_ket(ensemble.kets, dims, order)))


def examine_single(
    system: System,
    dynamics: tuple[Lindbladian, DrivenLindbladian],
    given: tuple[Tensor, Tensor, Tensor],
    expected: tuple[Tensor, Tensor, Tensor, Tensor],
    see: Callable[[str, Tensor], None],
) -> None:
    """Repeat the evolutions in single precision."""
    time, (rounded, driven) = system.time, (each.to(SINGLE) for each in dynamics)
    pair, kets, observables = (each.to(SINGLE) for each in given)
    of_channel, of_observables, of_turn, of_drive = expected
    start = PureEnsemble(kets[:, :1])
    channel = ExactChannel().evolve(MixedState(pair), rounded, time=time).density()
    see("single trace", laws.trace_deviation(channel))
    see("single positive", laws.negative_part(channel))
    see("single channel", difference(channel, of_channel))
    moved = Heisenberg().evolve(MixedState(pair), rounded, time=time).expectations(observables)[:, 0]
    hybrid = Hybrid(2, seed=system.seed, sampled=0.0).evolve(start, rounded, time=time)
    sums = hybrid.probabilities(torch.eye(system.dim, dtype=SINGLE)).sum(-1)
    see("single heisenberg", torch.maximum(difference(moved, of_observables), (sums - 1).abs().max()))
    turned = Unitary().evolve(MixedState(pair), rounded, time=time).density()
    see("single unitary", difference(turned, of_turn))
    found = ExactChannel().evolve(MixedState(pair), driven, time=time).density()
    see("single driven", difference(found, of_drive))
    ensemble = QuantumJumps(2, seed=system.seed).evolve(start, rounded, time=time)
    see("single norm", laws.norm_deviation(ensemble.kets))


Method = Literal["dense", "iterative"]


@dataclass
class Attractors:
    """What became of the attractors of one family of systems; the error of mixing times is relative."""

    family: str
    method: Method
    systems: int = 0
    refused: int = 0
    flagged: int = 0
    silently_wrong: int = 0
    steady_state_error: float = 0.0
    gap_error: float = 0.0
    mixing_time_error: float = 0.0
    flagged_gap_error: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)


ATTRACTOR_TOLERANCE = 1e-8


def generic(generator: torch.Generator, size: float) -> tuple[Lindbladian, None]:
    dim = 1 + int(torch.randint(1, 16, (), generator=generator))
    num_jumps = 1 + int(torch.randint(4, (), generator=generator))
    return random_dynamics(dim, num_jumps, 10 ** (2 * size - 1), generator), None


def nearly_divided(generator: torch.Generator, size: float) -> tuple[Lindbladian, None]:
    """Two blocks with a steady state each, joined by a jump of strength 10^(−7 size)."""
    dims = (torch.randint(1, 7, (2,), generator=generator) + 1).tolist()
    blocks = [random_dynamics(dim, 2, 1.0, generator) for dim in dims]
    hamiltonian = torch.block_diag(*[block.hamiltonian for block in blocks])
    jumps = [
        torch.block_diag(*pair) for pair in zip(*[block.jump_operators for block in blocks], strict=True)
    ]
    bridge = torch.randn(sum(dims), sum(dims), generator=generator, dtype=DTYPE) * 10 ** (-7 * size)
    return Lindbladian(hamiltonian, torch.stack([*jumps, bridge]), validate=False), None


def nearly_equal_factors(generator: torch.Generator, size: float) -> tuple[Lindbladian, None]:
    """The same dynamics twice, with a joint perturbation of 10^(−12 size): the slowest modes nearly coincide."""
    dim = 2 + int(torch.randint(3, (), generator=generator))
    part = random_dynamics(dim, 2, 1.0, generator)
    hamiltonian = sum(embed(part.hamiltonian, (dim, dim), [site]) for site in (0, 1))
    jumps = torch.cat([embed(part.jump_operators, (dim, dim), [site]) for site in (0, 1)])
    noise = random_dynamics(dim**2, 1, 10 ** (-12 * size), generator)
    return (
        Lindbladian(
            hamiltonian + noise.hamiltonian, torch.cat([jumps, noise.jump_operators]), validate=False
        ),
        None,
    )


def near_exceptional_qubit(generator: torch.Generator, size: float) -> tuple[Lindbladian, Tensor]:
    """Rabi frequency Ω = γ(1 ± 10^(−12 size)) under dephasing √γ Z: the gap γ − √(γ² − Ω²) has a square root."""
    rate = 0.2 + float(torch.rand((), generator=generator, dtype=torch.float64))
    sign = 1 if torch.rand((), generator=generator) < 0.5 else -1
    offset = sign * 10 ** (-12 * size) if size < 0.9 else 0.0
    basis = torch.linalg.qr(torch.randn(2, 2, generator=generator, dtype=DTYPE))[0]
    x, z = (
        basis @ torch.tensor(matrix, dtype=DTYPE) @ basis.mH
        for matrix in ([[0, 1], [1, 0]], [[1, 0], [0, -1]])
    )
    # γ² − Ω² without cancellation.
    root = torch.sqrt(torch.tensor(-(rate**2) * offset * (2 + offset), dtype=DTYPE)).real
    dynamics = Lindbladian(0.5 * rate * (1 + offset) * x, rate**0.5 * z[None], validate=False)
    return dynamics, torch.minimum(rate - root, torch.tensor(2 * rate, dtype=torch.float64))


def near_exceptional_chain(generator: torch.Generator, size: float) -> tuple[Lindbladian, Tensor]:
    """A cascade down four dephased levels with rates equal to 10^(−12 size): a Jordan block of three modes."""
    rate = 0.2 + float(torch.rand((), generator=generator, dtype=torch.float64))
    spread = 10 ** (-12 * size) if size < 0.9 else 0.0
    rates = rate * (1 + spread * torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))
    basis = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=DTYPE))[0]
    jumps = []
    for level in range(3):
        step = torch.zeros(4, 4, dtype=DTYPE)
        step[level, level + 1] = rates[level].sqrt()
        jumps.append(step)
    # The coherences decay faster than the populations.
    jumps.append((2 * rate) ** 0.5 * torch.diag(torch.tensor([0, 2, 4, 6], dtype=DTYPE)))
    operators = basis @ torch.stack(jumps) @ basis.mH
    return Lindbladian(torch.zeros(4, 4, dtype=DTYPE), operators, validate=False), rates[0]


FAMILIES = {
    "generic": (generic, 0.5),
    "nearly several steady states": (nearly_divided, 0.2),
    "nearly equal slowest modes": (nearly_equal_factors, 0.1),
    "near an exceptional point of two modes": (near_exceptional_qubit, 0.1),
    "near an exceptional point of three modes": (near_exceptional_chain, 0.1),
}


def reference(dynamics: Lindbladian) -> tuple[Tensor, Tensor]:
    """Steady state and gap from the complex generator: its null vector by SVD, and all of its eigenvalues."""
    generator = dynamics.superoperator()
    null = torch.linalg.svd(generator)[2][-1].conj().reshape(dynamics.dim, dynamics.dim)
    rates = (-torch.linalg.eigvals(generator).real).sort().values
    return null / null.diagonal().sum(), rates[1]


def examine_attractor(dynamics: Lindbladian, known_gap: Tensor | None, seen: Attractors) -> None:
    seen.systems += 1
    try:
        attractor = find_attractor(dynamics, method=seen.method)
    except ArgumentError as error:
        seen.refused += 1
        reason = str(error).split(", but ")[1].split(" (")[0]
        seen.reasons[reason] = seen.reasons.get(reason, 0) + 1
        return
    steady, gap = reference(dynamics)
    gap = gap if known_gap is None else known_gap
    state_error = float(difference(attractor.density, steady))
    error, estimate = float((attractor.spectral_gap - gap).abs()), float(attractor.gap_error)
    flagged = estimate > ATTRACTOR_TOLERANCE
    seen.flagged += flagged
    seen.steady_state_error = max(seen.steady_state_error, state_error)
    if flagged:
        seen.flagged_gap_error = max(seen.flagged_gap_error, error)
    else:
        seen.gap_error = max(seen.gap_error, error)
        ratio = float(attractor.mixing_time() * gap) / log(100)
        seen.mixing_time_error = max(seen.mixing_time_error, abs(ratio - 1))
    # The reference is as exact as the density says that it is itself.
    right = state_error <= max(ATTRACTOR_TOLERANCE, 3 * float(attractor.density_error))
    right = right and error <= max(ATTRACTOR_TOLERANCE, 3 * estimate)
    seen.silently_wrong += not right


def measure_laws(num_systems: int, first_seed: int = 0, num_large: int = 0) -> dict[str, Law]:
    """Examine random systems, one after the other, and then some large ones."""
    found = all_laws()
    for seed in range(first_seed, first_seed + num_systems):
        examine(draw_system(seed), found)
    for seed in range(first_seed, first_seed + num_large):
        examine(draw_system(seed, large=True), found)
    return found


def measure_attractors(num_systems: int, method: Method) -> list[Attractors]:
    """Examine the attractors of every family in its share of the systems."""
    results = []
    for family, (draw, share) in FAMILIES.items():
        seen = Attractors(family, method)
        for seed in range(round(share * num_systems)):
            generator = torch.Generator().manual_seed(seed)
            size = float(torch.rand((), generator=generator, dtype=torch.float64))
            examine_attractor(*draw(generator, size), seen)
        results.append(seen)
    return results


def table_of_laws(found: list[Law]) -> str:
    """Markdown table of the laws."""
    lines = ["| law | systems | largest violation | tolerance | beyond it |", "|---|---|---|---|---|"]
    lines += [
        f"| {law.statement} | {law.systems} | {law.largest:.0e} | {law.tolerance:.0e} | {law.broken} |"
        for law in found
    ]
    return "\n".join(lines)


def table_of_attractors(found: list[Attractors]) -> str:
    """Markdown table of the attractors."""
    lines = [
        "| family | method | systems | refused | flagged | largest error of state, gap | of flagged gaps | "
        "silently wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.family} | {each.method} | {each.systems} | {each.refused} | {each.flagged} | "
        f"{each.steady_state_error:.0e}, {each.gap_error:.0e} | {each.flagged_gap_error:.0e} | {each.silently_wrong} |"
        for each in found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=300, help="systems with D from 14 to 40")
    parser.add_argument("--attractors", type=int, default=1000, help="by the dense method; half by the other")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # small matrices
    started = time.perf_counter()
    found = measure_laws(options.systems, num_large=options.large)
    # Krylov spaces are for larger systems, and slow for these.
    attractors = measure_attractors(options.attractors, "dense")
    attractors += measure_attractors(options.attractors // 2, "iterative")
    print(table_of_laws(list(found.values())), table_of_attractors(attractors), sep="\n\n")
    if options.output:
        write_record(
            options.output,
            started,
            laws=[asdict(law) for law in found.values()],
            attractors=[asdict(each) for each in attractors],
        )
    broken = sum(law.broken for law in found.values()) + sum(each.silently_wrong for each in attractors)
    if broken:
        sys.exit(f"{broken} violations beyond the tolerance")


if __name__ == "__main__":
    main()
