"""Everything runs on the device of its inputs (`--device`, the CPU by default) and gives what the CPU gives.

So that a machine without a second device can tell, each computation is repeated while torch's default device is
`meta`: whatever is made without naming the device of the inputs then cannot be computed with, and fails.
"""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qinn.quantum import (
    Ancillas,
    DrivenLindbladian,
    ExactChannel,
    ExactCollisions,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    Interaction,
    LearnableLindbladian,
    LearnableMixture,
    Lindbladian,
    MixedState,
    NoEvolution,
    ProductState,
    PureEnsemble,
    QuantumJumps,
    SampledCollisions,
    SteppedJumps,
    StructuredLindbladian,
    StructuredOperator,
    Unitary,
    amplitude_phase,
    ancilla_entropies,
    basis_ket,
    check_channel,
    check_density,
    check_ket,
    choi_matrix,
    collision_influence,
    concurrence,
    contraction,
    density_of,
    embed,
    entanglement_entropies,
    expectations,
    fidelity,
    find_attractor,
    hermitian_from,
    ket_concurrence,
    ket_fidelity,
    log_negativity,
    maximally_mixed,
    measurement_vectors_from,
    mutual_information,
    negativity,
    normalize,
    partial_trace,
    permute_ket,
    permute_operator,
    probabilities,
    probabilities_of_density,
    product,
    product_density,
    propagate_densities,
    purity,
    random_kets,
    reduced_density_of_ket,
    renyi_entropy,
    score_surrogate,
    square_root,
    trace_distance,
    tripartite_information,
    uniform_mixture,
    von_neumann_entropy,
)
from qinn.quantum.checking import laws
from qinn.quantum.numerics.chebyshev import _plan

EVOLUTIONS = {
    "none": NoEvolution(),
    "unitary": Unitary(),
    "exact": ExactChannel(),
    "heisenberg": Heisenberg(),
    "jumps": QuantumJumps(4, seed=5, record=True),
    "latin hypercube": QuantumJumps(4, seed=5, uniforms="latin_hypercube"),
    "hybrid": Hybrid(4, seed=5),
    "stepped": SteppedJumps(4, seed=5),
    "gumbel": GumbelJumps(4, seed=5),
}


class Inputs:
    """Random inputs of both precisions, drawn on the CPU and moved."""

    def __init__(self, device: torch.device, dtype: torch.dtype, dim: int = 12) -> None:
        generator = torch.Generator().manual_seed(dim)
        real = torch.float32 if dtype == torch.complex64 else torch.float64
        module = LearnableLindbladian(dim, 2, hamiltonian_scale=2.0, jump_scale=1.0, seed=1, dtype=real)
        module = module.requires_grad_(False).to(device)
        self.dynamics = module()
        kets = random_kets(3, 2, dim, generator=generator, dtype=torch.complex128)
        self.kets = kets.to(dtype).to(device)
        self.densities = (self.kets.mT @ self.kets.conj() / 2).contiguous()
        self.vectors = random_kets(5, dim, generator=generator, dtype=torch.complex128).to(dtype).to(device)
        self.free = torch.randn(2, dim, dim, generator=generator, dtype=torch.float64).to(real).to(device)
        self.pair = random_kets(3, 2, 4, generator=generator, dtype=torch.complex128).to(dtype).to(device)


DIMS = (2, 3, 2)


def attractor_of(inputs: Inputs) -> list[Tensor]:
    small = Lindbladian(inputs.dynamics.hamiltonian[:4, :4], inputs.dynamics.jump_operators[:, :4, :4])
    attractor = find_attractor(small)
    return [attractor.density, attractor.spectral_gap, attractor.gap_error * 0, attractor.mixing_time()]


def checked(inputs: Inputs) -> list[Tensor]:
    check_ket(inputs.kets)
    check_density(inputs.densities)
    check_channel(
        lambda matrix: propagate_densities(inputs.dynamics, matrix, 0.4),
        12,
        tolerance=1e-4,
        dtype=inputs.kets.dtype,
        device=inputs.kets.device,
    )
    return [
        choi_matrix(lambda matrix: 2 * matrix, 3, dtype=inputs.kets.dtype, device=inputs.kets.device),
        laws.norm_deviation(inputs.kets),
        laws.entangled_part(inputs.kets, DIMS),
        laws.entropy_difference(inputs.kets, DIMS),
        laws.information_gain(inputs.densities, inputs.densities, DIMS),
    ]


COMPUTATIONS = {
    "kets": lambda i: [
        normalize(i.kets * 3),
        amplitude_phase(i.free[0], i.free[1]),
        product([i.kets, i.kets[..., :2]]),
        basis_ket(1, 3, dtype=i.kets.dtype, device=i.kets.device),
        permute_ket(i.kets, DIMS, (2, 0, 1)),
        ket_fidelity(i.kets[0], i.kets[1]),
    ],
    "densities": lambda i: [
        density_of(i.kets),
        maximally_mixed(3, dtype=i.kets.dtype, device=i.kets.device),
        product_density([i.densities[..., :2, :2], i.densities[..., :3, :3]]),
        partial_trace(i.densities, DIMS, (2, 0)),
        permute_operator(i.densities, DIMS, (2, 0, 1)),
        reduced_density_of_ket(i.kets, DIMS, (1,)),
        purity(i.densities),
        fidelity(i.densities[0], i.densities[1]),
        trace_distance(i.densities[0], i.densities[1]),
        square_root(i.densities) @ square_root(i.densities),
    ],
    "entanglement": lambda i: [
        entanglement_entropies(i.kets, DIMS),
        entanglement_entropies(i.kets, (12,)),
        negativity(i.densities, DIMS, (0,)),
        log_negativity(i.densities, DIMS, (1, 2)),
        concurrence(i.pair.mT @ i.pair.conj() / 2),
        ket_concurrence(i.pair),
    ],
    "entropies": lambda i: [
        von_neumann_entropy(i.densities),
        renyi_entropy(i.densities),
        mutual_information(i.densities, DIMS, (0,), (1,)),
        tripartite_information(i.densities, DIMS, (0,), (1,), (2,)),
    ],
    "operators": lambda i: [
        hermitian_from(i.free),
        embed(i.densities[0][:3, :3], DIMS, (1,)),
        i.dynamics.apply(i.densities),
        i.dynamics.adjoint(i.densities),
        i.dynamics.effective_hamiltonian,
        i.dynamics.without_jumps().total_rate,
        i.dynamics.without_hamiltonian().superoperator(),
    ],
    "measurement": lambda i: [
        measurement_vectors_from(i.free[:, :2]),
        probabilities(i.kets, i.vectors),
        probabilities_of_density(i.densities, i.vectors),
        expectations(i.kets, hermitian_from(i.free)),
        score_surrogate(i.kets.abs().square(), torch.zeros_like(i.kets[..., 0].real)),
    ],
    "attractor": attractor_of,
    "contraction": lambda i: [contraction(i.dynamics, i.densities[0], i.densities[1], 0.7)],
    "checks": checked,
}


def compare(compute, device: torch.device, dtype: torch.dtype, strict: bool, **options: int) -> None:
    inputs = Inputs(device, dtype, **options)
    expected = compute(Inputs(torch.device("cpu"), dtype, **options))
    _plan.cache_clear()  # or the plans of the line above would be found
    with torch.device("meta") if strict else nullcontext():
        found = compute(inputs)
    tolerance = 2e-4 if dtype == torch.complex64 else 1e-9
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.device.type == device.type
        assert ours.dtype == theirs.dtype
        # Kets and times behind the last jump are NaN in both.
        torch.testing.assert_close(ours.cpu(), theirs, rtol=tolerance, atol=tolerance, equal_nan=True)


PRECISIONS = pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
STRICT = pytest.mark.parametrize("strict", [False, True], ids=["", "names every device"])


@STRICT
@PRECISIONS
@pytest.mark.parametrize("name", COMPUTATIONS)
def test_functions_stay_on_the_device_and_agree_with_the_cpu(name, device, dtype, strict):
    compare(COMPUTATIONS[name], device, dtype, strict)


@STRICT
@PRECISIONS
@pytest.mark.parametrize("dim", [6, 12])
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "pure") for name in EVOLUTIONS]
    + [(name, "mixed") for name in ("none", "unitary", "exact", "heisenberg")]
    + [(name, "lacking") for name in EVOLUTIONS],
)
def test_evolutions_stay_on_the_device_and_agree_with_the_cpu(name, kind, dim, device, dtype, strict):
    evolution = EVOLUTIONS[name]

    def compute(inputs: Inputs) -> list[Tensor]:
        free = inputs.free.clone().requires_grad_()
        dynamics = Lindbladian(
            inputs.dynamics.hamiltonian + hermitian_from(free[0]) * 0.1,
            inputs.dynamics.jump_operators + 0.1 * free[1],
            validate=False,
        )
        initial = PureEnsemble(inputs.kets[:, :1]) if kind == "pure" else MixedState(inputs.densities)
        if kind == "lacking":
            half = inputs.kets.shape[-1] // 2
            pair = (normalize(inputs.kets[:, 0, :2]), normalize(inputs.kets[:, 0, :half]))
            present = torch.tensor([[True, False], [False, True], [False, False]], device=pair[0].device)
            with torch.device("cpu"):
                learned = LearnableMixture(half, dtype=free.dtype)
            learned = learned.to(free.device)
            known = uniform_mixture(2, dtype=pair[0].dtype, device=free.device)
            initial = ProductState(pair, present, (known, learned()))
        state = evolution.evolve(initial, dynamics, time=0.8, steps=3)
        values = state.probabilities(inputs.vectors)
        if values.requires_grad:
            score_surrogate(values, state.log_likelihood).square().sum().backward()
        results = [values, state.density(), state.log_likelihood]
        if free.grad is not None:
            results.append(free.grad)
        if isinstance(state, PureEnsemble) and state.record is not None:
            results += [state.record.channels, state.record.times]
        return [result.detach() for result in results]

    compare(compute, device, dtype, strict, dim=dim)


MATRIX_FREE = [
    ("structured", "unitary"),
    ("structured", "jumps"),
    ("structured", "latin hypercube"),
    ("driven", "unitary"),
    ("driven", "exact"),
    ("driven", "jumps"),
]


@STRICT
@PRECISIONS
@pytest.mark.parametrize(("kind", "name"), MATRIX_FREE)
def test_matrix_free_generators_stay_on_the_device_and_agree_with_the_cpu(kind, name, device, dtype, strict):
    def compute(inputs: Inputs) -> list[Tensor]:
        free = inputs.free.clone().requires_grad_()
        if kind == "structured":
            hamiltonian = StructuredOperator(
                DIMS,
                {0: hermitian_from(free[0, :2, :2]), 1: hermitian_from(free[0, :3, :3])},
                products={(0, 1): (hermitian_from(free[:, :2, :2]), hermitian_from(free[:, :3, :3]))},
            )
            jump = StructuredOperator(DIMS, {2: torch.complex(free[0, 4:6, 4:6], free[1, 4:6, 4:6])})
            dynamics = StructuredLindbladian(hamiltonian, (jump,))
        else:
            dynamics = DrivenLindbladian(
                inputs.dynamics, hermitian_from(free), free.new_tensor([[[0.3, -1.0], [0.5, 0.2]]])
            )
        initial = PureEnsemble(inputs.kets[:, :1])
        state = EVOLUTIONS[name].evolve(initial, dynamics, time=0.8, steps=3)
        values = state.probabilities(inputs.vectors)
        score_surrogate(values, state.log_likelihood).square().sum().backward()
        return [result.detach() for result in (values, state.density(), free.grad)]

    compare(compute, device, dtype, strict)


@STRICT
@PRECISIONS
@pytest.mark.parametrize("method", ["kraus", "real", "records"])
def test_collisions_stay_on_the_device_and_agree_with_the_cpu(method, device, dtype, strict):
    def compute(inputs: Inputs) -> list[Tensor]:
        free = inputs.free.clone().requires_grad_()
        interactions = [Interaction(hermitian_from(each), 3, (4,)) for each in free]
        kets = inputs.kets[..., :4] / torch.linalg.vector_norm(inputs.kets[..., :4], dim=-1, keepdim=True)
        there = torch.tensor([[True, True], [False, True], [True, False]], device=kets.device)
        words = Ancillas([kets], valid=there)
        sounds = Ancillas([kets.flip(1)], present=there[..., None])
        times = [[[0.1, 0.5]] * 3, [[0.3, 0.2]] * 3]
        if method == "records":
            way = SampledCollisions(4, seed=5, every=True)
            found = way.evolve_events([1, 0, 0], interactions, [words, sounds], times)
        else:
            dynamics = Lindbladian(
                inputs.dynamics.hamiltonian[:3, :3], inputs.dynamics.jump_operators[:, :3, :3]
            )
            found = ExactCollisions(every=True, method=method).evolve_events(
                [1, 0, 0], interactions, [words, sounds], times, lindbladian=dynamics, until=1.0
            )
        value = found.final.density()[..., 0, 0].real.sum()
        (gradient,) = torch.autograd.grad(value, free)
        entropies = ancilla_entropies(interactions[0], words, found.every.density()[:, :2].detach())
        influence = collision_influence(interactions[0], words)
        return [found.every.density(), gradient, entropies, influence.contraction, influence.rotation]

    compare(compute, device, dtype, strict)


def test_learnable_dynamics_start_with_the_same_values_on_any_device(device):
    here = LearnableLindbladian(3, 2, seed=0)
    with torch.device(device):
        there = LearnableLindbladian(3, 2, seed=0)
    assert there.free_jumps.device.type == device.type
    for ours, theirs in zip(here.parameters(), there.parameters(), strict=True):
        assert torch.equal(ours, theirs.cpu())


def test_a_device_that_is_not_there_is_refused_in_one_sentence():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    command = [sys.executable, "-m", "pytest", "tests/quantum/test_devices.py", "--device", "cuda"]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
    assert len(lines) == 1
    assert "`--device` must name a device that torch can use on this machine, but it is `cuda`" in lines[0]
