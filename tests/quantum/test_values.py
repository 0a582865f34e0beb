"""Refusals and plain values of kets, operators, states, checks, estimator and series."""

import pytest
import torch

import qinn.quantum
from qinn.errors import ArgumentError
from qinn.quantum import (
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    PureEnsemble,
    amplitude_phase,
    basis_ket,
    bell_state,
    check_channel,
    check_density,
    check_ket,
    cuts,
    density_of,
    embed,
    entanglement_entropies,
    entanglement_entropy,
    expectations,
    expectations_of_density,
    ghz_state,
    hermitian_from,
    maximally_mixed,
    maximum_entropies,
    mutual_information,
    partial_trace,
    pauli,
    permute_ket,
    product,
    product_density,
    random_kets,
    score_surrogate,
)
from qinn.quantum.numerics.chebyshev import FieldOfValues, default_tolerance, plan_exponential

ZERO = torch.zeros(2, 2) + 0j
NO_JUMPS = torch.zeros(0, 2, 2) + 0j

REFUSALS = {
    "no factors": (lambda: product([]), "at least one factor"),
    "no densities": (lambda: product_density([]), "at least one factor"),
    "basis index": (lambda: basis_ket(3, 3), "`index` must be between 0 and 2"),
    "ghz": (lambda: ghz_state(0), "`num_factors` must be at least 1"),
    "dims product": (lambda: partial_trace(ZERO, (2, 2), [0]), "`dims` must be factor dimensions"),
    "dims empty": (lambda: maximum_entropies(()), "`dims` must be"),
    "dims zero": (lambda: maximum_entropies((2, 0)), "`dims` must be"),
    "keep twice": (lambda: partial_trace(torch.eye(4) + 0j, (2, 2), [0, 0]), "`keep` must hold distinct"),
    "keep outside": (lambda: partial_trace(torch.eye(4) + 0j, (2, 2), [2]), "between 0 and 1"),
    "part outside": (lambda: entanglement_entropy(bell_state(), (2, 2), [-1]), "`part` must hold"),
    "order short": (lambda: permute_ket(bell_state(), (2, 2), [0]), "name each of the 2 factors"),
    "parts overlap": (lambda: mutual_information(torch.eye(4) + 0j, (2, 2), [0], [0]), "distinct factor"),
    "operator dim": (lambda: embed(pauli("X"), (2, 3), [1]), "must act on dimension 3"),
    "no cuts": (lambda: cuts(0), "at least 1"),
    "not square": (lambda: Lindbladian(torch.zeros(2, 2, 3) + 0j, NO_JUMPS), "square matrix"),
    "jump shape": (lambda: Lindbladian(ZERO, torch.zeros(1, 3, 3) + 0j), "must have shape"),
    "dtypes": (lambda: Lindbladian(ZERO, NO_JUMPS.to(torch.complex128)), "one complex dtype"),
    "not hermitian": (
        lambda: Lindbladian(ZERO + torch.tensor([[0, 1], [0, 0]]), NO_JUMPS),
        "must be Hermitian",
    ),
    "nan hamiltonian": (lambda: Lindbladian(ZERO * torch.nan, NO_JUMPS), "`hamiltonian` must be finite"),
    "nan jumps": (lambda: Lindbladian(ZERO, ZERO[None] * torch.inf), "`jump_operators` must be finite"),
    "learnable dim": (
        lambda: LearnableLindbladian(0, 1, hamiltonian_scale=1.0, jump_scale=1.0),
        "dim ≥ 1",
    ),
    "learnable scale": (
        lambda: LearnableLindbladian(2, 1, hamiltonian_scale=-1.0, jump_scale=1.0),
        "finite and ≥ 0",
    ),
    "ket axis": (lambda: PureEnsemble(torch.ones(2) + 0j), "add a trajectory axis"),
    "likelihood": (lambda: PureEnsemble(torch.ones(3, 2) + 0j, torch.zeros(2)), "`log_likelihood` must"),
    "density shape": (lambda: MixedState(torch.ones(2, 3) + 0j), "`density_matrix` must"),
    "ket norm": (lambda: check_ket(torch.ones(2) + 0j), "unit norm"),
    "ket nan": (lambda: check_ket(torch.full((2,), torch.nan) + 0j), "unit norm"),
    "density asymmetric": (lambda: check_density(torch.tensor([[0.5, 0.1], [0, 0.5]]) + 0j), "Hermitian"),
    "density trace": (lambda: check_density(torch.eye(2) + 0j), "trace 1"),
    "density negative": (lambda: check_density(torch.diag(torch.tensor([1.5, -0.5])) + 0j), "positive"),
    "channel transpose": (lambda: check_channel(lambda matrix: matrix.mT, 2), "completely positive"),
    "channel trace": (lambda: check_channel(lambda matrix: 0.5 * matrix, 2), "preserve the trace"),
    "channel asymmetric": (
        lambda: check_channel(
            lambda matrix: matrix + 0.1j * (matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))), 2
        ),
        "Hermitian matrices to Hermitian",
    ),
    "surrogate": (lambda: score_surrogate(torch.zeros(3), torch.zeros(4)), "`values` must begin"),
    "tolerance": (lambda: plan_exponential(FieldOfValues(0.0, 0.0, 1.0), 0.0), "must be positive"),
    "tolerance too small": (lambda: plan_exponential(FieldOfValues(-1.0, 0.0, 9.0), 1e-30), "within reach"),
    "infinite field": (lambda: plan_exponential(FieldOfValues(0.0, 0.0, torch.inf), 1e-6), "must be finite"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_impossible_arguments_are_refused_by_one_sentence(name):
    call, words = REFUSALS[name]
    # Under the tests beartype may refuse a wrong shape before our own check does.
    with pytest.raises((ArgumentError, Exception), match=words + "|type hint|Type-check|type-check"):
        call()


@pytest.mark.parametrize(("build", "name"), [(pauli, "W"), (bell_state, "phi")], ids=["pauli", "bell"])
def test_unknown_names_are_refused(build, name):
    with pytest.raises(Exception, match=name):
        build(name)


def test_public_names_exist_and_are_sorted():
    assert qinn.quantum.__all__ == sorted(qinn.quantum.__all__)
    assert all(hasattr(qinn.quantum, name) for name in qinn.quantum.__all__)


@pytest.mark.parametrize("dim", [1, 2, 8, 64])
@pytest.mark.parametrize("num_jumps", [1, 4])
def test_learnable_dynamics_start_at_the_stated_scales(dim, num_jumps):
    norms, rates = [], []
    for seed in range(200 if dim < 64 else 5):
        dynamics = LearnableLindbladian(dim, num_jumps, hamiltonian_scale=3.0, jump_scale=1.5, seed=seed)
        dynamics = dynamics.requires_grad_(False)()
        norms.append(float(torch.linalg.matrix_norm(dynamics.hamiltonian, 2)))
        rates.append(float(dynamics.total_rate.diagonal().real.mean()))
    assert 0.35 * 3.0 < torch.tensor(norms).mean() < 1.15 * 3.0
    assert abs(torch.tensor(rates).mean() - 1.5) < 4 * torch.tensor(rates).std() / len(rates) ** 0.5 + 0.01


def test_learnable_dynamics_are_seeded_and_trainable():
    arguments = {"hamiltonian_scale": 1.0, "jump_scale": 1.0}
    first, same, other = (LearnableLindbladian(3, 2, seed=seed, **arguments) for seed in (0, 0, 1))
    assert torch.equal(first().hamiltonian, same().hamiltonian)
    assert not torch.equal(first().hamiltonian, other().hamiltonian)
    first().effective_hamiltonian.abs().square().sum().backward()
    assert all(parameter.grad is not None for parameter in first.parameters())
    assert "dim=3, num_jumps=2" in repr(first)
    assert sum(parameter.numel() for parameter in first.parameters()) == 9 + 2 * 2 * 9
    assert LearnableLindbladian(3, 0, **arguments)().num_jumps == 0


def test_parts_of_the_dynamics_can_be_removed_and_converted():
    dynamics = LearnableLindbladian(3, 2, hamiltonian_scale=1.0, jump_scale=1.0, seed=0)()
    assert dynamics.without_jumps().num_jumps == 0
    assert torch.equal(dynamics.without_jumps().hamiltonian, dynamics.hamiltonian)
    assert not dynamics.without_hamiltonian().hamiltonian.any()
    assert torch.equal(dynamics.without_hamiltonian().jump_operators, dynamics.jump_operators)
    double = dynamics.to(torch.complex128)
    assert (double.dtype, double.to("cpu").dim) == (torch.complex128, 3)
    flow = -1j * double.effective_hamiltonian
    assert torch.allclose(flow, double.no_jump_generator)


def test_zero_amplitudes_are_the_uniform_ket_with_its_phases():
    ket = amplitude_phase(torch.zeros(4), torch.tensor([0.0, torch.pi / 2, torch.pi, 0.0]))
    assert torch.allclose(ket, torch.tensor([0.5, 0.5j, -0.5, 0.5]), atol=1e-6)


def test_one_factor_has_no_cut_and_no_entanglement():
    assert entanglement_entropies(random_kets(5, 3), (3,)).shape == (5, 0)
    assert float(entanglement_entropy(random_kets(3), (3,), [0])) < 1e-5


def test_expectations_of_pure_and_mixed_states_agree():
    generator = torch.Generator().manual_seed(0)
    kets = random_kets(2, 3, 5, generator=generator, dtype=torch.complex128)
    observables = hermitian_from(torch.randn(4, 5, 5, generator=generator, dtype=torch.float64))
    expected = torch.einsum("...a,jab,...b->...j", kets.conj(), observables, kets).real
    assert torch.allclose(expectations(kets, observables), expected)
    assert torch.allclose(expectations_of_density(density_of(kets), observables), expected)


@pytest.mark.parametrize("num_trajectories", [1, 2, 5])
def test_surrogate_keeps_values_and_weighs_scores_against_the_other_trajectories(num_trajectories):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, num_trajectories, 2, generator=generator, dtype=torch.float64)
    score = torch.randn(3, num_trajectories, generator=generator, dtype=torch.float64, requires_grad=True)
    surrogate = score_surrogate(values, score)
    assert torch.equal(surrogate, values)
    (gradient,) = torch.autograd.grad(surrogate.sum(), score)
    others = (values.sum(1, keepdim=True) - values) / max(num_trajectories - 1, 1)
    assert torch.allclose(gradient, (values - others).sum(-1))


def test_states_have_default_tolerances_by_precision():
    assert default_tolerance(torch.complex128) < default_tolerance(torch.complex64)
    assert maximally_mixed(2, dtype=torch.complex128).dtype == torch.complex128


@pytest.mark.parametrize(
    "field",
    [(-2.0, 0.0, 6.0), (0.0, 0.0, 0.0), (0.0, 0.0, 300.0), (-200.0, 3.0, 50.0), (-8.0, 4.0, 4.0)],
    ids=str,
)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-12])
def test_plans_keep_their_tolerance_on_the_whole_field(field, tolerance):
    """The planned polynomial is rebuilt and compared with e^z on random points of the rectangle."""
    low, high, imaginary = field
    plan = plan_exponential(FieldOfValues(*field), tolerance)
    generator = torch.Generator().manual_seed(0)
    real, other = torch.rand(2, 400, generator=generator, dtype=torch.float64)
    points = torch.complex(low + (high - low) * real, imaginary * (2 * other - 1)) / plan.sub_steps
    W = (points - plan.centre) / plan.focal
    previous, current = torch.ones_like(W), W
    total = plan.coefficients[0] + plan.coefficients[1] * current
    for coefficient in plan.coefficients[2:]:
        previous, current = current, 2 * W * current + plan.sign * previous
        total = total + coefficient * current
    assert plan.error <= tolerance
    assert (
        float((total - points.exp()).abs().max()) * plan.sub_steps
        <= 1.01 * tolerance + 1e-13 * plan.sub_steps
    )
