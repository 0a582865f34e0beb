"""Is the quantum core right on a GPU, and how fast is it there beside the same machine's CPU?

First the correctness: values and gradients on the device, in double and in single precision, against the CPU in double
precision. Then seconds of a forward and backward pass in single precision: median of several, with the device
synchronised around each, beside the CPU where that takes seconds, and beside dynamiqs where that is installed. Every
figure goes into one JSON file, which is written anew after each row; a row that fails says so in its place and loses no
other.

    sh benchmarks/gpu.sh                              # or: make gpu
    python benchmarks/gpu.py --device cpu --dry-run   # every figure at small sizes
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from record import write_record
from torch import Tensor

from qinn.quantum import (
    Ancillas,
    ExactChannel,
    ExactCollisions,
    Heisenberg,
    Interaction,
    LearnableInteraction,
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    SampledCollisions,
    Unitary,
    find_attractor,
    hermitian_from,
    measurement_vectors_from,
    random_kets,
    score_surrogate,
)

CPU = torch.device("cpu")
SINGLE, DOUBLE = torch.complex64, torch.complex128
# Largest error relative to 1 + the largest value.
TOLERANCES = {DOUBLE: 1e-9, SINGLE: 2e-4}
Z_LIMIT = 4.5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Where:
    """A device and a precision."""

    device: torch.device
    dtype: torch.dtype

    def free(self, *shape: int, seed: int) -> Tensor:
        """Real numbers that are differentiated by, drawn on the CPU."""
        drawn = torch.randn(*shape, generator=generator(seed), dtype=torch.float64)
        return drawn.to(self.device, self.dtype.to_real()).requires_grad_()

    def kets(self, *shape: int, seed: int) -> Tensor:
        drawn = random_kets(*shape, generator=generator(seed), dtype=DOUBLE)
        return drawn.to(self.device, self.dtype)


# Correctness


def with_gradients(value: Tensor, results: list[Tensor], *inputs: Tensor) -> list[Tensor]:
    """Results, and the gradients of a value in every input."""
    found = torch.autograd.grad(value, inputs)
    return [each.detach() for each in (*results, *found)]


def dynamics_of(dim: int, free: Tensor) -> Lindbladian:
    scale = dim**-0.5
    jumps = scale * torch.complex(free[1:, 0], free[1:, 1])
    return Lindbladian(hermitian_from(scale * free[0, 0]), jumps, validate=False)


def evolved(evolution: Any, dim: int, where: Where) -> list[Tensor]:
    free = where.free(3, 2, dim, dim, seed=dim)
    state = evolution.evolve(PureEnsemble(where.kets(3, 1, dim, seed=1)), dynamics_of(dim, free), time=0.8)
    values = state.probabilities(where.kets(5, dim, seed=2))
    return with_gradients(score_surrogate(values, state.log_likelihood).square().sum(), [values], free)


def collided(way: ExactCollisions | SampledCollisions, where: Where) -> list[Tensor]:
    free = where.free(12, 12, seed=1)
    valid = torch.tensor([[True, True, True], [True, False, True]], device=where.device)
    ancillas = Ancillas([where.kets(2, 3, 2, seed=2), where.kets(2, 3, 2, seed=3)], valid=valid)
    states = way.evolve(where.kets(3, seed=4), Interaction(hermitian_from(0.3 * free), 3, (2, 2)), ancillas)
    density = states.final.density()
    return with_gradients(density[..., 0, 1].abs().square().sum(), [density], free)


def steady(where: Where) -> list[Tensor]:
    free = where.free(3, 2, 4, 4, seed=4)
    attractor = find_attractor(dynamics_of(4, free))
    value = attractor.density[0, 0].real + attractor.spectral_gap
    return with_gradients(value, [attractor.density, attractor.spectral_gap], free)


def same_draws(way: Any) -> bool:
    return isinstance(way, QuantumJumps | SampledCollisions)


WAYS: dict[str, Any] = {
    "unitary": Unitary(),
    "exact": ExactChannel(),
    "heisenberg": Heisenberg(),
    "jumps": QuantumJumps(4, seed=5),
    "collisions by Kraus operators": ExactCollisions(method="kraus"),
    "collisions in the real form": ExactCollisions(method="real"),
    "sampled collisions": SampledCollisions(4, seed=5),
    "steady state": None,
}


def checks() -> dict[str, Callable[[torch.device], dict[str, Any]]]:
    """Name → what compares the device with the CPU in double precision."""
    found: dict[str, Callable[[torch.device], dict[str, Any]]] = {}
    for name, way in WAYS.items():
        for dim in (6, 12) if not isinstance(way, ExactCollisions | SampledCollisions | None) else (0,):
            for dtype in (DOUBLE, SINGLE):
                # In single precision another outcome is drawn here and there, and all that follows differs.
                if dtype == SINGLE and same_draws(way):
                    continue
                title = f"{name}{f', D {dim}' if dim else ''}, {str(dtype).removeprefix('torch.')}"
                found[title] = _comparison(_computation(way, dim), dtype)
    found["jumps, mean of trajectories, complex64"] = lambda device: _z_of_jumps(device, 2000)
    found["sampled collisions, mean of records, complex64"] = lambda device: _z_of_records(device, 2000)
    return found


def _computation(way: Any, dim: int) -> Callable[[Where], list[Tensor]]:
    if way is None:
        return steady
    if dim == 0:
        return lambda where: collided(way, where)
    return lambda where: evolved(way, dim, where)


def _comparison(
    compute: Callable[[Where], list[Tensor]], dtype: torch.dtype
) -> Callable[[torch.device], dict[str, Any]]:
    def compare(device: torch.device) -> dict[str, Any]:
        expected, found = compute(Where(CPU, DOUBLE)), compute(Where(device, dtype))
        errors = []
        for ours, theirs in zip(found, expected, strict=True):
            if ours.device.type != device.type:
                raise RuntimeError(f"a result lies on {ours.device}")
            errors.append(float((ours.cpu() - theirs).abs().max() / (1 + theirs.abs().max())))
        *of_values, of_gradient = errors
        return {
            "error": max(of_values),
            "error_of_gradient": of_gradient,
            "tolerance": TOLERANCES[dtype],
            "right": max(errors) <= TOLERANCES[dtype],
        }

    return compare


def _z(each: Tensor, wanted: Tensor) -> dict[str, Any]:
    """Distance of a mean over trajectories (the last axis) from what it estimates, in standard errors."""
    error = each.std(-1) / each.shape[-1] ** 0.5
    z = float(((each.mean(-1) - wanted).abs() / error.clamp_min(1e-9)).max())
    return {"z": z, "limit": Z_LIMIT, "right": z <= Z_LIMIT}


def _z_of_jumps(device: torch.device, number: int) -> dict[str, Any]:
    def ground(where: Where, evolution: Any) -> Any:
        free = where.free(3, 2, 6, 6, seed=6).detach()
        return evolution.evolve(PureEnsemble(where.kets(3, 1, 6, seed=1)), dynamics_of(6, free), time=0.8)

    kets = ground(Where(device, SINGLE), QuantumJumps(number, seed=1)).kets
    wanted = ground(Where(CPU, DOUBLE), ExactChannel()).density()[:, 0, 0].real
    return _z(kets[..., 0].abs().square().cpu().double(), wanted)


def _z_of_records(device: torch.device, number: int) -> dict[str, Any]:
    def ground(where: Where, way: Any) -> Any:
        interaction = Interaction(hermitian_from(0.3 * where.free(12, 12, seed=1).detach()), 3, (4,))
        return way.evolve(where.kets(3, seed=4), interaction, Ancillas([where.kets(2, 5, 4, seed=2)])).final

    kets = ground(Where(device, SINGLE), SampledCollisions(number, seed=1)).kets
    wanted = ground(Where(CPU, DOUBLE), ExactCollisions(mean=False)).density()[:, 0, 0].real
    return _z(kets[..., 0].abs().square().cpu().double(), wanted)


# Time


@dataclass(frozen=True)
class Timing:
    """A forward and backward pass: what it is made of, and whether the CPU takes seconds for it."""

    kind: str
    sizes: dict[str, int]
    on_cpu: bool = True

    @property
    def name(self) -> str:
        return f"{self.kind}: " + ", ".join(f"{name} {value}" for name, value in self.sizes.items())

    def step(self, device: torch.device) -> Callable[[], None]:
        return STEPS[self.kind](Where(device, SINGLE), **self.sizes)


def _collisions(where: Where, D: int, D_a: int, T: int, B: int) -> Callable[[], None]:
    module = LearnableInteraction(D, (D_a,), seed=0).to(where.device)
    kets, memory = where.kets(B, T, D_a, seed=1).requires_grad_(), where.kets(D, seed=2).requires_grad_()

    def run() -> None:
        states = ExactCollisions().evolve(memory, module(), Ancillas([kets], validate=False))
        (states.final.density()[:, 0, 0].real.mean() + states.mean.density()[:, 0, 0].real.mean()).backward()

    return run


def _evolution(
    where: Where, evolution: Any, D: int, B: int, J: int, of_density: bool = False
) -> Callable[[], None]:
    module = LearnableLindbladian(D, 2, seed=0).to(where.device)
    kets = where.kets(B, 1, D, seed=1).requires_grad_()
    vectors = where.free(J, 2, D, seed=2)

    def run() -> None:
        state = evolution.evolve(PureEnsemble(kets, validate=False), module(), time=1.0)
        if of_density:
            state.density()[:, 0, 0].real.mean().backward()
            return
        values = state.probabilities(measurement_vectors_from(vectors))
        score_surrogate(values, state.log_likelihood).square().mean().backward()

    return run


def _exact(where: Where, D: int, B: int) -> Callable[[], None]:
    return _evolution(where, ExactChannel(), D, B, 1, of_density=True)


def _heisenberg(where: Where, D: int, J: int, B: int) -> Callable[[], None]:
    return _evolution(where, Heisenberg(), D, B, J)


def _jumps(where: Where, D: int, M: int, B: int) -> Callable[[], None]:
    return _evolution(where, QuantumJumps(M), D, B, 16)


def _course(where: Where, D: int, M: int, times: int) -> Callable[[], None]:
    """Trajectories of one ket at many times, expectations with their gradients."""
    module = LearnableLindbladian(D, 2, seed=0).to(where.device)
    ket, vectors = where.kets(D, seed=1).requires_grad_(), where.free(2, 2, D, seed=2)
    moments = torch.linspace(0, 1, times, dtype=torch.float64).tolist()

    def run() -> None:
        course = QuantumJumps(M).evolve(ket[None], module(), times=moments)
        values = course.probabilities(measurement_vectors_from(vectors))
        score_surrogate(values, course.log_likelihood).square().mean().backward()

    return run


def _dynamiqs(where: Where, D: int, B: int) -> Callable[[], None]:
    """`mesolve` of dynamiqs with its gradient, compiled before, on the device that jax takes by itself."""
    from simulators.problem import make_problem
    from simulators.with_dynamiqs import exact_contenders

    contender = exact_contenders(make_problem(D, B), "both")[0]
    contender.prepare()
    return contender.call


STEPS: dict[str, Callable[..., Callable[[], None]]] = {
    "collisions": _collisions,
    "jumps": _jumps,
    "course": _course,
    "exact": _exact,
    "heisenberg": _heisenberg,
    "dynamiqs": _dynamiqs,
}
TIMINGS = [
    *(
        Timing("collisions", {"D": D, "D_a": D_a, "T": T, "B": B}, on_cpu)
        for D, D_a, T, B, on_cpu in [
            (2, 4, 50, 64, True),
            (4, 8, 50, 64, True),
            (4, 8, 50, 1024, True),
            (4, 8, 1000, 64, True),
            (8, 8, 50, 64, True),
            (8, 16, 50, 512, False),
            (16, 16, 50, 64, False),
        ]
    ),
    *(
        Timing("jumps", {"D": D, "M": M, "B": B}, on_cpu)
        for D, M, B, on_cpu in [
            (8, 4, 64, True),
            (27, 4, 64, True),
            (64, 4, 64, True),
            (64, 32, 256, False),
            (256, 4, 64, False),
            (512, 4, 64, False),
        ]
    ),
    *(
        Timing("course", {"D": D, "M": M, "times": 81}, on_cpu)
        for D, M, on_cpu in [(8, 256, True), (27, 256, True), (64, 256, True), (512, 64, False)]
    ),
    *(
        Timing("exact", {"D": D, "B": B}, on_cpu)
        for D, B, on_cpu in [
            (8, 64, True),
            (27, 256, True),
            (64, 64, True),
            (128, 64, False),
            (256, 16, False),
            (512, 4, False),
        ]
    ),
    *(
        Timing("heisenberg", {"D": D, "J": J, "B": B}, on_cpu)
        for D, J, B, on_cpu in [
            (8, 16, 256, True),
            (27, 16, 256, True),
            (64, 64, 256, True),
            (256, 64, 256, False),
            (512, 64, 256, False),
        ]
    ),
    # Beside `heisenberg` and `exact`, where dynamiqs is installed: the same problem, on the device of jax.
    *(
        Timing("dynamiqs", {"D": D, "B": B}, False)
        for D, B in [(8, 64), (27, 64), (64, 64), (256, 16), (512, 4)]
    ),
]
SMALL_TIMINGS = [
    Timing("collisions", {"D": 2, "D_a": 4, "T": 5, "B": 4}),
    Timing("collisions", {"D": 4, "D_a": 8, "T": 3, "B": 2}),
    Timing("jumps", {"D": 4, "M": 2, "B": 3}),
    Timing("exact", {"D": 9, "B": 3}),
    Timing("heisenberg", {"D": 9, "J": 2, "B": 3}),
    Timing("course", {"D": 4, "M": 2, "times": 5}),
    Timing("dynamiqs", {"D": 4, "B": 2}, False),
]


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(step: Callable[[], None], device: torch.device, *, seconds: float, most: int) -> dict[str, Any]:
    """Median and fastest of several passes, after one or two that make what is kept."""
    taken: list[float] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    torch.manual_seed(0)
    started = time.perf_counter()
    step()
    synchronise(device)
    first = time.perf_counter() - started
    if first < seconds:
        step()
        synchronise(device)
    while not taken or (len(taken) < most and time.perf_counter() - started < seconds):
        before = time.perf_counter()
        step()
        synchronise(device)
        taken.append(time.perf_counter() - before)
    found = {
        "median_ms": 1e3 * median(taken),
        "fastest_ms": 1e3 * min(taken),
        "first_ms": 1e3 * first,
        "passes": len(taken),
    }
    if device.type == "cuda":
        found["peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return found


def product_rate(device: torch.device, size: int, *, seconds: float) -> dict[str, Any]:
    """TFLOP/s of a product of complex matrices: what the evolutions cannot exceed."""
    left = random_kets(size, size, generator=generator(0)).to(device)
    found = timed(lambda: torch.mm(left, left), device, seconds=seconds, most=20)
    return {**found, "size": size, "tflops": 8 * size**3 / found["fastest_ms"] / 1e9}


# The whole


class Record:
    """Rows that are kept as they come, shown, and written anew after each."""

    def __init__(self, output: Path | None, limit: float, facts: dict[str, Any]) -> None:
        self.output, self.limit, self.facts = output, limit, facts
        self.started = time.perf_counter()
        self.parts: dict[str, list[dict[str, Any]]] = {"correctness": [], "time": []}

    def add(self, part: str, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Make a row, or keep why there is none."""
        spent = time.perf_counter() - self.started
        try:
            row = make() if spent < self.limit else {"skipped": f"{self.limit:.0f} s were over"}
        except (RuntimeError, ValueError, TypeError, AssertionError, MemoryError) as error:
            row = {"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
        self.parts[part].append({"name": name, **row})
        print(f"{spent:5.0f} s  {name}: {shown(row)}", flush=True)
        self.write()

    def write(self) -> None:
        if self.output is not None:
            write_record(self.output, self.started, **self.facts, **self.parts)

    @property
    def faults(self) -> list[str]:
        rows = [row for part in self.parts.values() for row in part]
        return [row["name"] for row in rows if "failed" in row or row.get("right") is False]


def shown(row: dict[str, Any]) -> str:
    if "failed" in row or "skipped" in row:
        return next(f"{key.upper()}: {row[key]}" for key in ("failed", "skipped") if key in row)
    if "right" in row:
        figures = ", ".join(f"{key} {value:.1e}" for key, value in row.items() if key != "right")
        return f"{'right' if row['right'] else 'WRONG'} ({figures})"
    if "tflops" in row:
        return f"{row['tflops']:.3g} TFLOP/s"
    here, cpu = row["device"], row.get("cpu")
    beside = f", CPU {cpu['median_ms']:.2f} ms ({cpu['median_ms'] / here['median_ms']:.1f} ×)" if cpu else ""
    return f"{here['median_ms']:.2f} ms{beside}"


def measure(record: Record, device: torch.device, *, dry: bool) -> None:
    for name, check in checks().items():
        record.add("correctness", name, lambda check=check: check(device))
    seconds, most = (0.0, 1) if dry else (2.0, 21)
    record.add(
        "time",
        "product of complex64 matrices",
        lambda: product_rate(device, 64 if dry else 4096, seconds=seconds),
    )
    for timing in SMALL_TIMINGS if dry else TIMINGS:

        def make(timing: Timing = timing) -> dict[str, Any]:
            kept = {"kind": timing.kind, **timing.sizes}
            if timing.kind == "dynamiqs" and importlib.util.find_spec("dynamiqs") is None:
                return {**kept, "skipped": "dynamiqs is not installed"}
            row: dict[str, Any] = {
                **kept,
                "device": timed(timing.step(device), device, seconds=seconds, most=most),
            }
            if timing.on_cpu:
                row["cpu"] = timed(timing.step(CPU), CPU, seconds=seconds, most=most)
            return row

        record.add("time", timing.name, make)


def device_of(name: str) -> torch.device:
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        sys.exit(
            f"Option `--device` must name a device that torch can use here, but it is `{name}`: {reason}."
        )
    return torch.device(name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    parser.add_argument("--dry-run", action="store_true", help="every figure at small sizes, in seconds")
    parser.add_argument("--seconds", type=float, default=330, help="after which no further row is begun")
    options = parser.parse_args()
    device = device_of(options.device)
    torch.set_flush_denormal(True)
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "dry_run": options.dry_run,
    }
    record = Record(options.output, options.seconds, facts)
    print(f"device: {facts['device']}, torch {torch.__version__}", flush=True)
    measure(record, device, dry=options.dry_run)
    if record.faults:
        sys.exit(f"{len(record.faults)} rows are wrong or failed: {'; '.join(record.faults)}")


if __name__ == "__main__":
    main()
