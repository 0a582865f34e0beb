"""Gradients: equal to finite differences in double precision, and finite at every ordinary edge."""

import pytest
import torch
from torch.autograd import gradcheck

from qinn.quantum import (
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Lindbladian,
    MixedState,
    NoEvolution,
    PureEnsemble,
    QuantumJumps,
    Unitary,
    amplitude_phase,
    bell_state,
    density_of,
    entanglement_entropies,
    entanglement_entropy,
    fidelity,
    hermitian_from,
    jump_operators_from,
    log_negativity,
    maximally_mixed,
    measurement_vectors_from,
    mutual_information,
    negativity,
    normalize,
    product,
    purity,
    random_kets,
    score_surrogate,
    trace_distance,
    von_neumann_entropy,
)

DTYPE = torch.complex128


def free(*shape, seed=0, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).requires_grad_()


def system(dim, num_jumps, seed=0):
    return (
        free(dim, dim, seed=seed),
        free(num_jumps, 2, dim, dim, seed=seed + 1, scale=0.3),
        free(2, 2, dim, seed=9),
    )


def dynamics(h, jumps):
    return Lindbladian(hermitian_from(h), jump_operators_from(jumps))


@pytest.mark.parametrize(
    "evolution", [Unitary(), ExactChannel(), Heisenberg()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("dim", [1, 3, 9])
@pytest.mark.parametrize("kind", ["pure", "mixed"])
def test_exact_evolutions_have_the_gradients_of_finite_differences(evolution, dim, kind):
    vectors = random_kets(2, dim, generator=torch.Generator().manual_seed(3), dtype=DTYPE)

    def outcome(h, jumps, parts):
        kets = amplitude_phase(parts[:, 0], parts[:, 1])
        initial = PureEnsemble(kets) if kind == "pure" else MixedState(density_of(kets).mean(0))
        state = evolution.evolve(initial, dynamics(h, jumps), time=0.7, steps=1)
        return state.probabilities(vectors)

    assert gradcheck(outcome, system(dim, 2), atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("dim", [2, 9])
def test_density_of_a_heisenberg_state_has_the_gradients_of_finite_differences(dim):
    def outcome(h, jumps, parts):
        initial = PureEnsemble(amplitude_phase(parts[:, 0], parts[:, 1]))
        density = Heisenberg().evolve(initial, dynamics(h, jumps), time=0.7, steps=1).density()
        return torch.view_as_real(density)

    assert gradcheck(outcome, system(dim, 1), atol=1e-6, fast_mode=True)


def test_jumps_have_the_pathwise_gradients_of_finite_differences_at_a_fixed_record():
    """Without any jump the record is fixed: the flow alone, kets and log-likelihood."""
    vectors = random_kets(2, 3, generator=torch.Generator().manual_seed(3), dtype=DTYPE)
    h, jumps, parts = system(3, 2)
    jumps = (0.1 * jumps).detach().requires_grad_()
    evolution = QuantumJumps(4, seed=2, record=True)

    def run(h, jumps, parts):
        initial = PureEnsemble(amplitude_phase(parts[:, 0], parts[:, 1])[:, None])
        return evolution.evolve(initial, dynamics(h, jumps), time=0.7, steps=1)

    assert int(run(h, jumps, parts).record.num_jumps.sum()) == 0
    assert gradcheck(
        lambda *inputs: run(*inputs).probabilities(vectors), (h, jumps, parts), atol=1e-6, fast_mode=True
    )

    def log_survival(h, jumps, parts):
        generator = dynamics(h, jumps).no_jump_generator * 0.7
        kets = amplitude_phase(parts[:, 0], parts[:, 1]) @ torch.linalg.matrix_exp(generator).mT
        return kets.abs().square().sum(-1).log()

    ours = torch.autograd.grad(run(h, jumps, parts).log_likelihood.sum() / 4, (h, jumps, parts))
    known = torch.autograd.grad(log_survival(h, jumps, parts).sum(), (h, jumps, parts))
    for first, second in zip(ours, known, strict=True):
        assert torch.allclose(first, second, rtol=0, atol=1e-12)


def test_log_likelihood_has_the_gradient_of_the_density_of_the_record():
    """With jumps: log p = log ‖exp(J(T−t_n)) L_n … L_1 exp(J t_1) ψ‖², rebuilt from the record."""
    h, jumps, parts = system(3, 2)
    jumps = (3 * jumps).detach().requires_grad_()
    initial = amplitude_phase(parts[:1, 0], parts[:1, 1])
    lindbladian = dynamics(h, jumps)
    state = QuantumJumps(6, seed=0, record=True).evolve(PureEnsemble(initial), lindbladian, time=1.2, steps=4)
    assert int(state.record.num_jumps.max()) >= 2

    def rebuilt(trajectory):
        ket, now = initial[0], 0.0
        for channel, time in zip(
            state.record.channels[trajectory].tolist(), state.record.times[trajectory].tolist(), strict=True
        ):
            if channel >= 0:
                ket = torch.linalg.matrix_exp(lindbladian.no_jump_generator * (time - now)) @ ket
                ket, now = lindbladian.jump_operators[channel] @ ket, time
        return torch.linalg.matrix_exp(lindbladian.no_jump_generator * (1.2 - now)) @ ket

    for trajectory in range(6):
        ket = rebuilt(trajectory)
        log_density = ket.abs().square().sum().log()
        assert torch.allclose(ket / ket.norm(), state.kets[trajectory], rtol=0, atol=1e-9)
        ours = torch.autograd.grad(state.log_likelihood[trajectory], (h, jumps, parts), retain_graph=True)
        known = torch.autograd.grad(log_density, (h, jumps, parts), retain_graph=True)
        for first, second in zip(ours, known, strict=True):
            assert torch.allclose(first, second, rtol=0, atol=1e-9)


def density(parts):
    return (lambda matrix: matrix @ matrix.mH / (matrix @ matrix.mH).trace().real)(
        torch.complex(parts[0], parts[1])
    )


SCALARS = {
    "von_neumann_entropy": lambda a, b: von_neumann_entropy(density(a)),
    "purity": lambda a, b: purity(density(a)),
    "trace_distance": lambda a, b: trace_distance(density(a), density(b)),
    "fidelity": lambda a, b: fidelity(density(a), density(b)),
    "mutual_information": lambda a, b: mutual_information(density(a), (2, 2), [0], [1]),
    "negativity": lambda a, b: negativity(density(a[..., :1]), (2, 2), [0]),
    "log_negativity": lambda a, b: log_negativity(density(a[..., :1]), (2, 2), [1]),
    "entanglement_entropy": lambda a, b: entanglement_entropy(
        normalize(torch.complex(a[0].flatten(), a[1].flatten())), (2, 4, 2), [0, 2]
    ),
    "measurement": lambda a, b: measurement_vectors_from(a[:, :2]).real,
}


@pytest.mark.parametrize("name", SCALARS)
def test_functions_of_states_have_the_gradients_of_finite_differences(name):
    assert gradcheck(SCALARS[name], (free(2, 4, 4, seed=1), free(2, 4, 4, seed=2)), atol=1e-6)


def all_finite(value, *inputs):
    gradients = torch.autograd.grad(value, inputs, allow_unused=True)
    return bool(torch.isfinite(value)) and all(
        gradient is None or bool(torch.isfinite(torch.view_as_real(gradient + 0j)).all())
        for gradient in gradients
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_zero_amplitudes_give_a_unit_state_and_finite_gradients(dtype):
    amplitudes = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    phases = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    ket = amplitude_phase(amplitudes, phases)
    assert torch.allclose(ket.abs().square().sum(-1), torch.ones(2, dtype=dtype))
    assert all_finite((ket * torch.arange(3)).abs().square().sum(), amplitudes, phases)
    vectors = torch.zeros(2, 2, 3, dtype=dtype, requires_grad=True)
    assert all_finite(measurement_vectors_from(vectors)[:, 0].real.sum(), vectors)
    sparse = torch.tensor([0.0, 1.0, 0.0], dtype=dtype, requires_grad=True)
    assert all_finite(amplitude_phase(sparse, phases[0]).real.sum(), sparse, phases)


DEGENERATE = {
    "maximally mixed": maximally_mixed(4, dtype=DTYPE),
    "pure product": density_of(product([torch.tensor([1, 0], dtype=DTYPE)] * 2)),
    "bell": density_of(bell_state(dtype=DTYPE)),
    "half": torch.diag(torch.tensor([0.5, 0.5, 0, 0], dtype=DTYPE)),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_spectra_have_finite_gradients(name):
    matrix = DEGENERATE[name].clone().requires_grad_()
    for value in (
        von_neumann_entropy(matrix),
        mutual_information(matrix, (2, 2), [0], [1]),
        negativity(matrix, (2, 2), [0]),
        log_negativity(matrix, (2, 2), [0]),
        trace_distance(matrix, DEGENERATE["bell"]),
        trace_distance(matrix, matrix.detach()),
        fidelity(matrix, DEGENERATE["half"]),
        fidelity(DEGENERATE["half"], matrix),
        purity(matrix),
    ):
        assert all_finite(value, matrix)


@pytest.mark.parametrize(
    "ket", [bell_state(dtype=DTYPE), torch.eye(4, dtype=DTYPE)[0]], ids=["bell", "product"]
)
def test_entanglement_of_degenerate_kets_has_zero_gradient(ket):
    """Both ends of the scale are stationary along the sphere of unit kets."""
    raw = ket.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(entanglement_entropy(normalize(raw), (2, 2), [0]), raw)
    assert float(gradient.abs().max()) < 1e-12


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize(
    "evolution",
    [NoEvolution(), Unitary(), ExactChannel(), Heisenberg(), QuantumJumps(3, seed=0), GumbelJumps(3, seed=0)],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize(
    ("dims", "num_jumps", "time"),
    [((1,), 1, 1.0), ((3,), 0, 1.0), ((1, 3, 1), 2, 1.0), ((2, 2), 2, 0.0), ((1,), 0, 0.0), ((3, 4), 0, 2.0)],
    ids=str,
)
def test_ordinary_edges_have_finite_values_and_gradients(evolution, dims, num_jumps, time, dtype):
    real = torch.float32 if dtype == torch.complex64 else torch.float64
    dim = torch.tensor(dims).prod().item()
    h, jumps, _ = (each.detach().to(real).requires_grad_() for each in system(dim, num_jumps))
    amplitudes = [torch.randn(2, 1, size, dtype=real).requires_grad_() for size in dims]
    amplitudes[0].data[0] = 0
    kets = product([amplitude_phase(part, torch.zeros_like(part)) for part in amplitudes])
    vectors = random_kets(2, dim, generator=torch.Generator().manual_seed(3), dtype=dtype)
    state = evolution.evolve(PureEnsemble(kets), dynamics(h, jumps), time=time, steps=2)
    values = score_surrogate(state.probabilities(vectors).square().sum(-1), state.log_likelihood)
    total = values.sum() + state.density().abs().square().sum()
    if isinstance(state, PureEnsemble):
        total = total + entanglement_entropies(state.kets, dims).sum()
    assert all_finite(total, h, jumps, *amplitudes)
