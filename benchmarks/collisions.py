"""Do the laws of collision models hold on ten thousand random instances, and how fast are they beside a GRU?

Ten thousand random instances with a memory of D from 2 to 8, an ancilla of D_a from 2 to 16 (1 to 3 factors), up to 50
steps, interactions from nothing to ‖V‖ = 6, steps that are missing, factors that are absent, and ancillas that are
mixed, each in double and in single precision, by Kraus operators and in the real form, and along two streams with
times of their own and free relaxation between events. Then the time of a forward and backward pass, alternating with a
fused GRU of as many parameters, and that of either implementation at several sizes.

    python benchmarks/collisions.py --output benchmarks/results/collisions.json          # or: make collisions
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from random_collisions import DTYPE, generator, random_densities, random_interaction
from record import write_record
from torch import Tensor, nn

from laws import Law, difference, table_of_laws
from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    Interaction,
    LearnableInteraction,
    LearnableLindbladian,
    SampledCollisions,
    collision_influence,
    collision_maps,
    density_of,
    kraus_operators,
    random_kets,
)
from qinn.quantum.checking import laws
from qinn.quantum.collisions.exact_collisions import _cheaper
from qinn.quantum.collisions.meetings import schedule_steps

SINGLE = torch.complex64
FACTORS = [
    (2,),
    (3,),
    (4,),
    (5,),
    (8,),
    (13,),
    (16,),
    (2, 2),
    (2, 3),
    (4, 2),
    (2, 2, 2),
    (4, 4),
    (3, 5),
    (2, 2, 4),
]
MOST_STEPS = 50
NUM_TRAJECTORIES = 400


def all_laws() -> dict[str, Law]:
    return {
        "complete": Law("Kraus operators have Σ A†A = 1", 1e-12),
        "trace": Law("memories have trace 1", 1e-11),
        "hermitian": Law("memories are Hermitian", 1e-12),
        "positive": Law("memories have no negative eigenvalue", 1e-12),
        "channel": Law("every step preserves the trace of any matrix", 1e-12),
        "distance": Law("trace distances never grow, from step to step", 1e-11),
        "agree": Law("Kraus operators and the real form give the same memory", 1e-11),
        "batch": Law("a batch gives what a loop gives", 1e-12),
        "padding": Law("padding leaves the memory untouched, bit for bit", 0.0),
        "events": Law("both agree along two streams with relaxation between events", 1e-11),
        "events physical": Law("memories there are Hermitian, positive and of trace 1", 1e-11),
        "bloch": Law("\\|f\\| + \\|s\\| ≤ 1 along any axis of a qubit", 1e-12),
        "norm": Law("every trajectory has unit norm", 1e-12),
        "records": Law("the mean of records is the exact channel: z of an observable", 4.5),
        "single complete": Law("complex64: Kraus operators have Σ A†A = 1", 1e-5),
        # Nothing restores the trace: the round-off of sums over up to D_a² operators adds up over the steps.
        "single trace": Law("complex64: memories have trace 1", 5e-5),
        "single positive": Law("complex64: memories have no negative eigenvalue", 1e-5),
        "single distance": Law("complex64: trace distances never grow", 1e-5),
        "single kraus": Law("complex64: Kraus operators give the memory of complex128", 5e-5),
        "single real": Law("complex64: the real form gives the memory of complex128", 2e-5),
        "single norm": Law("complex64: every trajectory has unit norm", 1e-5),
    }


@dataclass(frozen=True)
class Instance:
    """A random collision model and a batch of two streams."""

    seed: int
    memory_dim: int
    dims: tuple[int, ...]
    num_steps: int
    scale: float
    kind: str

    @property
    def name(self) -> str:
        return (
            f"seed {self.seed}, D {self.memory_dim}, dims {self.dims}, {self.num_steps} steps, "
            f"‖V‖ {self.scale:.2g}, {self.kind}"
        )

    def stream(self, offset: int = 0) -> Ancillas:
        """Two streams; a quarter of the instances each: all there, steps missing, factors absent too, mixed."""
        source = generator(self.seed + 7919 * offset)
        lead = (2, self.num_steps)
        valid = None if self.kind == "pure" else torch.rand(*lead, generator=source) < 0.7
        if self.kind == "mixed":
            seeds = range(self.seed, self.seed + len(self.dims))
            parts = [
                random_densities(*lead, dim, seed=seed) for seed, dim in zip(seeds, self.dims, strict=True)
            ]
            return Ancillas.of_densities(parts, valid=valid)
        present = torch.rand(*lead, len(self.dims), generator=source) < 0.6 if self.kind == "absent" else None
        kets = [random_kets(*lead, dim, generator=source, dtype=DTYPE) for dim in self.dims]
        return Ancillas(kets, valid=valid, present=present)


def draw_instance(seed: int) -> Instance:
    source = generator(seed)

    def choose(number: int) -> int:
        return int(torch.randint(number, (), generator=source))

    scale = 6 * float(torch.rand((), generator=source)) ** 2
    kind = ("pure", "missing", "absent", "mixed")[choose(4)]
    return Instance(seed, 2 + choose(7), FACTORS[choose(len(FACTORS))], 1 + choose(MOST_STEPS), scale, kind)


def rounded(ancillas: Ancillas) -> Ancillas:
    factors = [factor.to(SINGLE) for factor in ancillas.factors]
    if ancillas.are_mixed:
        return Ancillas.of_densities(factors, valid=ancillas.valid)
    return Ancillas(factors, valid=ancillas.valid, present=ancillas.present)


def last_of(ancillas: Ancillas) -> Ancillas:
    """The last stream of a batch, alone."""
    factors = [factor[-1:] for factor in ancillas.factors]
    valid = None if ancillas.valid is None else ancillas.valid[-1:]
    present = None if ancillas.present is None else ancillas.present[-1:]
    make = Ancillas.of_densities if ancillas.are_mixed else Ancillas
    return make(factors, valid=valid, present=present)


def twice(ancillas: Ancillas) -> Ancillas:
    """The same streams for two memories each."""
    factors = [factor.expand(2, *factor.shape) for factor in ancillas.factors]
    valid = None if ancillas.valid is None else ancillas.valid.expand(2, *ancillas.valid.shape)
    present = None if ancillas.present is None else ancillas.present.expand(2, *ancillas.present.shape)
    make = Ancillas.of_densities if ancillas.are_mixed else Ancillas
    return make(factors, valid=valid, present=present)


def path(memory: Tensor, interaction: Interaction, stream: Ancillas, method: str) -> Tensor:
    """The memory before the first and behind every step, (…, 1 + step, D, D)."""
    states = ExactCollisions(mean=False, every=True, method=method).evolve(memory, interaction, stream)
    return torch.cat([memory[..., None, :, :], states.every.density()], -3)


def growth(paths: Tensor) -> Tensor:
    """By how much the trace distance of two memories grows in any step."""
    pairs = paths.permute(1, 2, 0, 3, 4)
    return laws.distance_gain(pairs[:, :-1], pairs[:, 1:])


def examine(instance: Instance, found: dict[str, Law]) -> None:
    """Measure every law on one instance."""

    def see(name: str, violation: Tensor | float) -> None:
        found[name].see(violation, instance.name)

    D = instance.memory_dim
    interaction = random_interaction(D, instance.dims, seed=instance.seed, scale=instance.scale)
    stream = instance.stream()
    pure = density_of(random_kets(2, D, generator=generator(instance.seed + 2), dtype=DTYPE))
    memories = torch.stack([random_densities(2, D, seed=instance.seed + 1), pure])
    identity = torch.eye(D, dtype=DTYPE)
    kets = random_kets(3, prod(instance.dims), generator=generator(instance.seed), dtype=DTYPE)
    operators = kraus_operators(interaction, kets)
    see("complete", difference((operators.mH @ operators).sum(-3), identity))
    maps = collision_maps(interaction, stream)
    see("channel", difference(identity.real.flatten() @ maps, identity.real.flatten()))

    kraus, real = (path(memories, interaction, twice(stream), method) for method in ("kraus", "real"))
    for states in (kraus, real):
        see("trace", laws.trace_deviation(states))
        see("hermitian", laws.asymmetry(states))
        see("positive", laws.negative_part(states))
        see("distance", growth(states))
        if stream.valid is not None:
            still = ~stream.valid[:, 1:].expand(2, 2, -1)
            see("padding", float((states[:, :, 2:] - states[:, :, 1:-1])[still].abs().sum()))
    see("agree", difference(kraus, real))
    alone = path(memories[0, -1:], interaction, last_of(stream), "real")
    see("batch", difference(alone[0], real[0, 1]))

    examine_events(instance, interaction, stream, memories[0], see)
    if D == 2:
        examine_pointer(instance, interaction, stream, see)
    examine_records(instance, interaction, stream, see)
    examine_single(interaction, stream, memories, kets, real, see)


def examine_events(
    instance: Instance, interaction: Interaction, stream: Ancillas, memory: Tensor, see: Callable
) -> None:
    """Two streams with times of their own, and relaxation between their events."""
    D, source = instance.memory_dim, generator(instance.seed + 3)
    other = random_interaction(D, (2,), seed=instance.seed + 1, scale=instance.scale)
    sounds = Ancillas([random_kets(2, 3, 2, generator=source, dtype=DTYPE)])
    times = [
        4 * torch.rand(2, each.num_steps, generator=source, dtype=torch.float64) for each in (stream, sounds)
    ]
    dynamics = LearnableLindbladian(D, 2, seed=instance.seed, dtype=torch.float64).requires_grad_(False)()
    results = []
    for method in ("kraus", "real"):
        states = ExactCollisions(method=method).evolve_events(
            memory, [interaction, other], [stream, sounds], times, lindbladian=dynamics, until=5.0
        )
        results.append(torch.stack([states.final.density(), states.mean.density()]))
        for law in (laws.trace_deviation, laws.asymmetry, laws.negative_part):
            see("events physical", law(results[-1]))
    see("events", difference(*results))


def examine_pointer(instance: Instance, interaction: Interaction, stream: Ancillas, see: Callable) -> None:
    """|f| + |s| ≤ 1 along any axis for every ancilla, which is all that a single ancilla state allows to test."""
    axis = torch.nn.functional.normalize(torch.randn(3, generator=generator(instance.seed)).double(), dim=0)
    influence = collision_influence(interaction, stream, axis=axis)
    see("bloch", (influence.keep.abs() + influence.write.abs() - 1).clamp(min=0))


def examine_records(instance: Instance, interaction: Interaction, stream: Ancillas, see: Callable) -> None:
    if stream.are_mixed:
        return
    start = random_kets(instance.memory_dim, generator=generator(instance.seed), dtype=DTYPE)
    number = NUM_TRAJECTORIES if instance.seed % 10 == 0 else 2
    torch.manual_seed(instance.seed)
    kets = SampledCollisions(number).evolve(start, interaction, stream).final.kets
    see("norm", laws.norm_deviation(kets))
    if number > 2:
        wanted = ExactCollisions(mean=False).evolve(start, interaction, stream).final.density()[0]
        observable = random_densities(instance.memory_dim, seed=instance.seed)
        each = ((kets[0] @ observable.mT) * kets[0].conj()).sum(-1).real
        gap = each.mean() - (wanted @ observable).diagonal().sum().real
        levels = torch.linalg.eigvalsh(observable)
        # An outcome of probability below 1/M may be missing from the sample, and from its variance with it.
        error = (each.var() / number + ((levels[-1] - levels[0]) / number) ** 2).sqrt()
        see("records", float(gap.abs() / error.clamp(min=1e-12)))


def examine_single(
    interaction: Interaction, stream: Ancillas, memories: Tensor, kets: Tensor, wanted: Tensor, see: Callable
) -> None:
    """Repeat it in single precision."""
    small, given = interaction.to(SINGLE), rounded(stream)
    operators = kraus_operators(small, kets.to(SINGLE))
    identity = torch.eye(small.memory_dim, dtype=SINGLE)
    see("single complete", difference((operators.mH @ operators).sum(-3), identity))
    for method in ("kraus", "real"):
        states = path(memories.to(SINGLE), small, twice(given), method)
        see("single trace", laws.trace_deviation(states))
        see("single positive", laws.negative_part(states))
        see("single distance", growth(states))
        see(f"single {method}", difference(states, wanted))
    if not stream.are_mixed:
        start = random_kets(small.memory_dim, generator=generator(0))
        sampled = SampledCollisions(2, seed=0).evolve(start, small, given).final.kets
        see("single norm", laws.norm_deviation(sampled))


# Time


def training_step(
    batch: int,
    steps: int,
    memory_dim: int,
    dims: tuple[int, ...],
    method: Literal["kraus", "real"] | None,
    *,
    absent: bool = False,
) -> tuple[Callable[[], None], int]:
    """A forward and backward pass through final and mean state, in single precision, and its number of parameters."""
    module = LearnableInteraction(memory_dim, dims, seed=0)
    kets = [random_kets(batch, steps, dim, generator=generator(dim)).requires_grad_() for dim in dims]
    memory = random_kets(memory_dim, generator=generator(0)).requires_grad_()
    present = torch.ones(batch, steps, len(dims), dtype=torch.bool) if absent else None

    def run() -> None:
        way = ExactCollisions(method=method)
        states = way.evolve(memory, module(), Ancillas(kets, present=present))
        value = states.final.density()[:, 0, 0].real.mean() + states.mean.density()[:, 0, 0].real.mean()
        value.backward()

    return run, sum(each.numel() for each in module.parameters())


def gru_step(batch: int, steps: int, input_dim: int, parameters: int) -> tuple[Callable[[], None], int, int]:
    """The same through a fused GRU whose number of parameters is nearest to the given one."""

    def count(hidden: int) -> int:
        return 3 * hidden * (input_dim + hidden + 2)

    hidden = min(range(1, 200), key=lambda each: abs(count(each) - parameters))
    cell = nn.GRU(input_dim, hidden, batch_first=True)
    inputs = torch.randn(batch, steps, input_dim, generator=generator(0)).requires_grad_()

    def run() -> None:
        outputs, last = cell(inputs)
        (outputs.mean() + last.mean()).backward()

    return run, hidden, sum(each.numel() for each in cell.parameters())


def alternating(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def beside_gru(batch: int, steps: int, memory_dim: int, dims: tuple[int, ...], rounds: int) -> dict:
    ours, parameters = training_step(batch, steps, memory_dim, dims, None)
    absent, _ = training_step(batch, steps, memory_dim, dims, None, absent=True)
    gru, hidden, gru_parameters = gru_step(batch, steps, 2 * prod(dims), parameters)
    seconds = alternating({"collisions": ours, "with absent factors": absent, "GRU": gru}, rounds)
    ratios = [a / b for a, b in zip(seconds["collisions"], seconds["GRU"], strict=True)]
    return {
        "batch": batch,
        "steps": steps,
        "memory_dim": memory_dim,
        "ancilla_dims": dims,
        "parameters": parameters,
        "gru_hidden": hidden,
        "gru_parameters": gru_parameters,
        "rounds": rounds,
        "median_ms": {name: round(1e3 * median(each), 2) for name, each in seconds.items()},
        "fastest_ms": {name: round(1e3 * min(each), 2) for name, each in seconds.items()},
        "median_ratio": round(median(ratios), 2),
        "ratio_of_fastest": round(min(seconds["collisions"]) / min(seconds["GRU"]), 2),
    }


def both_ways(rounds: int) -> list[dict]:
    rows = []
    sizes = [(2, 4), (2, 16), (2, 64), (4, 4), (4, 8), (4, 16), (6, 8), (8, 2), (8, 4), (8, 8), (16, 2)]
    for memory_dim, ancilla_dim in sizes:
        steps = {
            name: training_step(64, 50, memory_dim, (ancilla_dim,), name)[0] for name in ("real", "kraus")
        }
        seconds = alternating(steps, rounds)
        interaction = LearnableInteraction(memory_dim, (ancilla_dim,), seed=0)()
        stream = Ancillas([random_kets(64, 50, ancilla_dim)])
        rows.append(
            {"memory_dim": memory_dim, "ancilla_dim": ancilla_dim}
            | {f"{name}_ms": round(1e3 * min(each), 1) for name, each in seconds.items()}
            | {"chosen": _cheaper(schedule_steps(interaction, stream))}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=30, help="of the passes beside the GRU")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # small matrices
    started = time.perf_counter()
    torch.manual_seed(0)
    times = [beside_gru(64, 50, 4, (4, 2), options.rounds), beside_gru(64, 50, 2, (4,), options.rounds)]
    ways = both_ways(max(2, options.rounds // 10))
    for row in (*times, *ways):
        print(row, flush=True)
    found = all_laws()
    with torch.no_grad():
        for seed in range(options.instances):
            examine(draw_instance(seed), found)
            if (seed + 1) % 1000 == 0:
                print(f"{seed + 1} instances, {time.perf_counter() - started:.0f} s", flush=True)
    print(table_of_laws(list(found.values())))
    if options.output:
        write_record(
            options.output,
            started,
            instances=options.instances,
            laws=[asdict(law) for law in found.values()],
            beside_gru=times,
            both_implementations_64x50=ways,
        )
    broken = sum(law.broken for law in found.values())
    if broken:
        sys.exit(f"{broken} violations beyond the tolerance")


if __name__ == "__main__":
    main()
