"""How biased is each gradient of sampled quantum jumps? Every estimator against the exact gradient.

Three problems (D = 8 as 2 × 2 × 2, K = 2, about 1.2 jumps): a loss linear in the density, the cross-entropy
of each trajectory's probabilities, and the entanglement entropy of each trajectory; gradients in H and L_k.
The reference does not use the sampler: the expectation over all records is integrated, number of jumps by
number of jumps and channel sequence by channel sequence, over the jump times by Gauss–Legendre quadrature,
and differentiated by autograd; for the linear loss it is checked against the exact channel.

Reported: relative bias ⟨ĝ, g⟩/⟨g, g⟩ − 1 with its standard error over independent replicates, and the
variance of that ratio per trajectory, as well as that of the whole gradient, E|ĝ − Eĝ|²/|g|² times the
number of trajectories. The hybrids are read out by expectations, so only the linear loss is theirs. The
Gumbel option also carries the step error of its grid.

A second part asks the same of what averages over trajectories: `density()`, evolutions chained to sampled ones,
hybrids, with four functions of the averaged state (among them the qubit H = θ₁X, L = θ₂σ₋), against the exact
channel. An average over a single trajectory must refuse its gradient.

    python benchmarks/estimators.py --output benchmarks/results/estimators.json
"""

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product as cartesian
from pathlib import Path

import torch
from record import write_record
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum import (
    Evolution,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    HeisenbergState,
    Hybrid,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    amplitude_phase,
    entanglement_entropy,
    hermitian_from,
    jump_operators_from,
    measurement_vectors_from,
    partial_trace,
    pauli,
    probabilities_of_density,
    score_surrogate,
    von_neumann_entropy,
)

DIM, NUM_JUMPS, TIME = 8, 2, 1.0
# Gauss–Legendre nodes per jump time, by number of jumps; the tail of more jumps is about 1e-5.
NODES = {1: 12, 2: 9, 3: 6, 4: 5, 5: 3, 6: 3, 7: 2}

# Its trajectories come in two independent groups.
LATIN = "default, Latin hypercube"

Loss = Callable[[Tensor], Tensor]
# Evolutions one after the other, each for a share of the time.
Chain = tuple[tuple[Evolution, float], ...]


@dataclass(frozen=True)
class Measured:
    """One estimator on one problem."""

    problem: str
    estimator: str
    relative_bias: float
    standard_error: float
    relative_variance: float
    total_variance: float
    num_trajectories: int


def parameters(seed: int = 0) -> list[Tensor]:
    """Free parameters of H and of L_k, then amplitudes and phases of the (fixed) initial ket."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rate = 1.2
    hamiltonian = draw(DIM, DIM) * (2 / (2 * DIM**0.5))
    jumps = draw(NUM_JUMPS, 2, DIM, DIM) * (rate / (2 * NUM_JUMPS * DIM)) ** 0.5
    return [hamiltonian.requires_grad_(), jumps.requires_grad_(), draw(2, DIM)]


def system(free: list[Tensor]) -> tuple[Lindbladian, Tensor]:
    """Dynamics and initial ket of the parameters."""
    dynamics = Lindbladian(hermitian_from(free[0]), jump_operators_from(free[1]), validate=False)
    return dynamics, amplitude_phase(free[2][0], free[2][1])


def linear_observable(generator: torch.Generator) -> Tensor:
    """Hermitian observable of the linear loss."""
    return hermitian_from(torch.randn(DIM, DIM, generator=generator, dtype=torch.float64))


def problems(seed: int = 1) -> dict[str, Loss]:
    """Losses of one trajectory's ket."""
    generator = torch.Generator().manual_seed(seed)
    observable = linear_observable(generator)
    vectors = measurement_vectors_from(torch.randn(6, 2, DIM, generator=generator, dtype=torch.float64))
    weights = 4 * torch.randn(3, 6, generator=generator, dtype=torch.float64)

    def linear(kets: Tensor) -> Tensor:
        return ((kets @ observable.mT) * kets.conj()).sum(-1).real

    def cross_entropy(kets: Tensor) -> Tensor:
        logits = (kets @ vectors.mH).abs().square() @ weights.mT
        return -logits.log_softmax(-1)[..., 0]

    def entropy(kets: Tensor) -> Tensor:
        return entanglement_entropy(kets, (2, 2, 2), (0,))

    return {"linear": linear, "cross-entropy": cross_entropy, "entropy": entropy}


def exact_loss(free: list[Tensor], loss: Loss) -> tuple[Tensor, Tensor]:
    """Expectation of a loss over all records, and the total probability integrated (1 up to the tail)."""
    dynamics, ket = system(free)
    values, vectors = torch.linalg.eig(dynamics.no_jump_generator)
    inverse = torch.linalg.inv(vectors)

    def flow(kets: Tensor, durations: Tensor) -> Tensor:
        return ((kets @ inverse.mT) * torch.exp(values * durations[:, None])) @ vectors.mT

    total, mass = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for num_jumps in range(max(NODES) + 1):
        times, weights = simplex_nodes(num_jumps)
        channels = torch.tensor(list(cartesian(range(NUM_JUMPS), repeat=num_jumps)), dtype=torch.int64)
        # One row per channel sequence and quadrature node.
        kets, before = ket.expand(NUM_JUMPS**num_jumps, len(weights), DIM), torch.zeros_like(weights)
        for index in range(num_jumps):
            jumps = dynamics.jump_operators[channels[:, index]]
            kets = flow(kets, times[:, index] - before) @ jumps.mT
            before = times[:, index]
        kets = flow(kets, TIME - before)
        density = kets.abs().square().sum(-1)
        total = total + (weights * density * loss(kets / density.sqrt()[..., None])).sum()
        mass = mass + (weights * density).sum()
    return total, mass


def simplex_nodes(num_jumps: int) -> tuple[Tensor, Tensor]:
    """Nodes (node, jump) and weights of a quadrature over 0 < t_1 < … < t_n < T."""
    if num_jumps == 0:
        return torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    nodes, weights = gauss_legendre(NODES[num_jumps])
    grid = torch.cartesian_prod(*[torch.arange(len(nodes))] * num_jumps).reshape(-1, num_jumps)
    times, weight = [], weights[grid].prod(-1)
    previous = torch.zeros(len(grid), dtype=torch.float64)
    for index in range(num_jumps):
        weight = weight * (TIME - previous)
        previous = previous + (TIME - previous) * nodes[grid[:, index]]
        times.append(previous)
    return torch.stack(times, -1), weight


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1], from the Jacobi matrix (Golub and Welsch)."""
    orders = torch.arange(1, count, dtype=torch.float64)
    off_diagonal = orders / (4 * orders**2 - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


def flat_gradient(value: Tensor, free: list[Tensor]) -> Tensor:
    """Gradient in the parameters of H and L_k, as one vector."""
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(value, free[:2])])


@functools.cache
def exact_gradients() -> dict[str, Tensor]:
    """Gradient of the expected loss of every problem: the same in every measurement, and its longest part."""
    free, found = parameters(), {}
    for problem, loss in problems().items():
        value, mass = exact_loss(free, loss)
        found[problem] = flat_gradient(value, free)
        if not abs(float(mass.detach()) - 1) < 1e-4:
            raise RuntimeError(f"The quadrature misses probability: it integrates to {float(mass.detach())}.")
    return found


def estimators(num_trajectories: int) -> dict[str, Evolution]:
    """The estimators compared."""
    return {
        "pathwise + score (default)": QuantumJumps(num_trajectories),
        LATIN: QuantumJumps(num_trajectories, uniforms="latin_hypercube"),
        "half, then Heisenberg": Hybrid(num_trajectories, 0.5),
        "quarter, then Heisenberg": Hybrid(num_trajectories, 0.25),
        "pathwise only": QuantumJumps(num_trajectories, gradient="pathwise"),
        "Gumbel, temperature 1": GumbelJumps(num_trajectories, temperature=1.0),
        "Gumbel, temperature 0.3": GumbelJumps(num_trajectories, temperature=0.3),
    }


def measure(
    *, replicates: int, num_trajectories: int, steps: int = 64, only: tuple[str, ...] = (), seed: int = 0
) -> list[Measured]:
    """Compare every estimator, or only the named ones, with the exact gradient on every problem."""
    torch.manual_seed(seed)
    free = parameters()
    results = []
    for problem, loss in problems().items():
        exact = exact_gradients()[problem]
        for name, evolution in estimators(num_trajectories).items():
            if only and name not in only:
                continue
            # The exact second part of a hybrid gives expectations, not kets.
            if isinstance(evolution, Hybrid) and problem != "linear":
                continue
            gradients = []
            for _ in range(replicates):
                dynamics, ket = system(free)
                state = evolution.evolve(PureEnsemble(ket[None]), dynamics, time=TIME, steps=steps)
                if isinstance(state, HeisenbergState):
                    values = state.expectations(linear_observable(torch.Generator().manual_seed(1))[None])[
                        ..., 0
                    ]
                else:
                    values = loss(state.kets)
                groups = 2 if name == LATIN else num_trajectories
                surrogate = score_surrogate(values, state.log_likelihood, num_groups=groups).mean()
                gradients.append(flat_gradient(surrogate, free))
            sample = torch.stack(gradients) @ exact / (exact @ exact)
            spread = torch.stack(gradients).var(0).sum() / (exact @ exact)
            results.append(
                Measured(
                    problem,
                    name,
                    float(sample.mean()) - 1,
                    float(sample.std()) / replicates**0.5,
                    float(sample.var()) * num_trajectories,
                    float(spread) * num_trajectories,
                    replicates * num_trajectories,
                )
            )
    return results


@dataclass(frozen=True)
class Average:
    """What becomes of the gradient of an average over trajectories; no numbers where it is refused."""

    problem: str
    way: str
    refused: bool
    relative_bias: float | None = None
    standard_error: float | None = None
    num_trajectories: int | None = None


def averages_of(num_trajectories: int) -> dict[str, Chain]:
    """Every kind of average over sampled trajectories."""
    sampled = QuantumJumps(num_trajectories)
    latin = QuantumJumps(num_trajectories, uniforms="latin_hypercube")
    return {
        "jumps": ((sampled, 1.0),),
        "jumps, Latin hypercube": ((latin, 1.0),),
        "stepped jumps, 64 steps": ((SteppedJumps(num_trajectories), 1.0),),
        "jumps, then exact channel": ((sampled, 0.6), (ExactChannel(), 0.4)),
        "jumps, then Heisenberg": ((sampled, 0.6), (Heisenberg(), 0.4)),
        "jumps, then jumps": ((sampled, 0.6), (sampled, 0.4)),
        "hybrid": ((Hybrid(num_trajectories, 0.6), 1.0),),
        "pathwise only": ((QuantumJumps(num_trajectories, gradient="pathwise"), 1.0),),
        "Gumbel, temperature 1, 64 steps": ((GumbelJumps(num_trajectories), 1.0),),
        "one trajectory": ((QuantumJumps(1), 1.0),),
        "one trajectory, then exact channel": ((QuantumJumps(1), 0.6), (ExactChannel(), 0.4)),
    }


def averaged_problems(seed: int = 1) -> dict[str, tuple[list[Tensor], Loss, float]]:
    """Free parameters of H and L_k, a function of the averaged density, and the time."""
    generator = torch.Generator().manual_seed(seed)
    observable = linear_observable(generator)
    vectors = measurement_vectors_from(torch.randn(6, 2, DIM, generator=generator, dtype=torch.float64))
    weights = 4 * torch.randn(3, 6, generator=generator, dtype=torch.float64)

    def linear(density: Tensor) -> Tensor:
        return (density @ observable).diagonal(dim1=-2, dim2=-1).sum(-1).real

    def cross_entropy(density: Tensor) -> Tensor:
        return -(probabilities_of_density(density, vectors) @ weights.mT).log_softmax(-1)[..., 0]

    def entropy(density: Tensor) -> Tensor:
        return von_neumann_entropy(partial_trace(density, (2, 2, 2), (0,)))

    angles = torch.tensor([0.6, 0.8], dtype=torch.float64)
    qubit = [angle.clone().requires_grad_() for angle in angles]
    large = parameters()
    return {
        "qubit": (qubit, lambda density: density[..., 1, 1].real, 1.5),
        "linear": (large, linear, TIME),
        "cross-entropy of the average": (large, cross_entropy, TIME),
        "entropy of the average": (large, entropy, TIME),
    }


def averaged(free: list[Tensor], chain: Chain, time: float) -> Tensor:
    """Averaged density after a chain of evolutions; scalar parameters mean the qubit."""
    if free[0].ndim == 0:
        lowering = torch.tensor([[[0, 1], [0, 0]]], dtype=torch.complex128)
        dynamics = Lindbladian(free[0] * pauli("X", dtype=lowering.dtype), free[1] * lowering, validate=False)
        ket = torch.tensor([0, 1], dtype=lowering.dtype)
    else:
        dynamics, ket = system(free)
    state = PureEnsemble(ket[None])
    for evolution, share in chain:
        state = evolution.evolve(state, dynamics, time=share * time, steps=64)
    return state.density()


def measure_averages(
    *, replicates: int, num_trajectories: int, only: tuple[str, ...] = (), seed: int = 11
) -> list[Average]:
    """Compare the gradient of every average, or only the named ones, with that of the exact channel."""
    torch.manual_seed(seed)
    results = []
    for problem, (free, function, duration) in averaged_problems().items():
        exact = flat_gradient(function(averaged(free, ((ExactChannel(), 1.0),), duration)), free)
        for way, chain in averages_of(num_trajectories).items():
            if only and way not in only:
                continue
            try:
                sample = torch.stack(
                    [
                        flat_gradient(function(averaged(free, chain, duration)), free)
                        for _ in range(replicates)
                    ]
                )
            except ArgumentError:
                results.append(Average(problem, way, refused=True))
                continue
            ratio = sample @ exact / (exact @ exact)
            bias, error = float(ratio.mean()) - 1, float(ratio.std()) / replicates**0.5
            results.append(Average(problem, way, False, bias, error, replicates * num_trajectories))
    return results


def reference_error() -> float:
    """Relative difference of the quadrature's gradient from the exact channel's, on the linear loss."""
    free = parameters()
    loss = problems()["linear"]
    dynamics, ket = system(free)
    density = ExactChannel().evolve(PureEnsemble(ket[None]), dynamics, time=TIME).density()
    matrix = linear_observable(torch.Generator().manual_seed(1))
    known = flat_gradient((matrix @ density).diagonal().sum().real, free)
    ours = flat_gradient(exact_loss(free, loss)[0], free)
    return float((ours - known).norm() / known.norm())


def table(results: list[Measured]) -> str:
    """Plain-text table of the results."""
    lines = [f"{'problem':<14} {'estimator':<28} {'relative bias':>20} {'variance':>10} {'of all':>8}"]
    lines += [
        f"{each.problem:<14} {each.estimator:<28} {each.relative_bias:>+10.3f} ± {each.standard_error:<7.3f} "
        f"{each.relative_variance:>10.2f} {each.total_variance:>8.1f}"
        for each in results
    ]
    return "\n".join(lines)


def table_of_averages(results: list[Average]) -> str:
    """Markdown table of the averages, one row per way, relative bias ± standard error per problem."""
    problems_seen = list(dict.fromkeys(each.problem for each in results))
    lines = [f"| average | {' | '.join(problems_seen)} |", f"|---|{'---|' * len(problems_seen)}"]
    for way in dict.fromkeys(each.way for each in results):
        cells = [
            "refused"
            if each.refused or each.relative_bias is None
            else f"{each.relative_bias:+.4f} ± {each.standard_error:.4f}".replace("-", "−")
            for each in results
            if each.way == way
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--trajectories", type=int, default=400)
    parser.add_argument("--average-replicates", type=int, default=25)
    parser.add_argument("--average-trajectories", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    started = time.perf_counter()
    error = reference_error()
    results = measure(replicates=options.replicates, num_trajectories=options.trajectories)
    print(table(results))
    print(f"reference: quadrature differs from the exact channel by {error:.1e} (linear loss)")
    averages = measure_averages(
        replicates=options.average_replicates, num_trajectories=options.average_trajectories
    )
    print(table_of_averages(averages))
    if options.output:
        write_record(
            options.output,
            started,
            reference_error=error,
            results=[asdict(each) for each in results],
            averages=[asdict(each) for each in averages],
        )


if __name__ == "__main__":
    main()
