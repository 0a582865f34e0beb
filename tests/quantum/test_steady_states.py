"""Steady states of dynamics of very different scales, their stated errors, and what is refused in a sentence."""

import math

import mpmath
import pytest
import qutip
import torch

from qinn.errors import ArgumentError
from qinn.quantum import Lindbladian, embed, find_attractor, pauli
from qinn.quantum.steady.linear import kernel_dimension, null_vector
from qinn.quantum.steady.slow_modes import find_slow_modes

DTYPE = torch.complex128
METHODS = ("dense", "iterative")
LOWERING = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)
X, Y, Z = (pauli(name, dtype=DTYPE) for name in "XYZ")
SPLITTING = 2 * math.pi * 5e9


def thermal_qubit(rate, rotation=None):
    """5 GHz, γ(n̄ + 1) down and γn̄ up at n̄ = 0.1: ρ₁₁ = 0.1/1.2, gap 0.6 γ."""
    jumps = torch.stack([math.sqrt(1.1 * rate) * LOWERING, math.sqrt(0.1 * rate) * LOWERING.mH])
    H = 0.5 * SPLITTING * Z
    if rotation is None:
        return Lindbladian(H, jumps)
    turn = torch.linalg.matrix_exp(1j * rotation * (X + Y))
    H = turn @ H @ turn.mH
    return Lindbladian(0.5 * (H + H.mH), turn @ jumps @ turn.mH)


def annihilation(levels):
    return torch.diag(torch.arange(1, levels, dtype=torch.float64).sqrt(), 1).to(DTYPE)


def cavity(levels, rate, thermal=0.4, frequency=1.0):
    lower = annihilation(levels)
    jumps = torch.stack([math.sqrt(rate * (thermal + 1)) * lower, math.sqrt(rate * thermal) * lower.mH])
    return Lindbladian(frequency * lower.mH @ lower, jumps)


def thermal_populations(levels, thermal=0.4):
    populations = (thermal / (thermal + 1)) ** torch.arange(levels, dtype=torch.float64)
    return populations / populations.sum()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rate", [1e6, 1e3, 1.0, 1e-2])
def test_a_gigahertz_qubit_with_slow_decay_has_one_steady_state(rate, method):
    lindbladian = thermal_qubit(rate)
    attractor = find_attractor(lindbladian, method=method)
    assert float(attractor.density[1, 1].real) == pytest.approx(0.1 / 1.2, abs=1e-14)
    assert float(attractor.spectral_gap) / rate == pytest.approx(0.6, abs=1e-13)
    assert float(attractor.gap_error) < 1e-12 * rate
    assert float(attractor.density_error) < 1e-12
    foreign = qutip.steadystate(
        qutip.Qobj(lindbladian.hamiltonian.numpy()),
        [qutip.Qobj(jump.numpy()) for jump in lindbladian.jump_operators],
    )
    assert abs(attractor.density.numpy() - foreign.full()).max() < 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rate", [1e3, 1.0])
def test_in_another_basis_the_stated_errors_hold(rate, method):
    """The rotated H is rounded by 1e-16 · 5 GHz, hence hardly by less than the rate: the errors say what is left."""
    attractor = find_attractor(thermal_qubit(rate, 0.3), method=method)
    populations = torch.linalg.eigvalsh(attractor.density)
    assert abs(float(populations[0]) - 0.1 / 1.2) <= float(attractor.density_error)
    assert abs(float(attractor.spectral_gap) - 0.6 * rate) <= float(attractor.gap_error) + 1e-12 * rate


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6, 1e9, 1e12, 1e15])
def test_units_of_time_do_not_matter(unit, method):
    for H, jumps in (
        (0.5 * X, LOWERING[None]),
        (cavity(5, 0.1).hamiltonian, cavity(5, 0.1).jump_operators),
        (X + 0.2 * Z, torch.stack([Z, 1e-3 * LOWERING])),
    ):
        one = find_attractor(Lindbladian(H, jumps), method=method)
        other = find_attractor(Lindbladian(unit * H, math.sqrt(unit) * jumps), method=method)
        torch.testing.assert_close(other.density, one.density, atol=1e-11, rtol=0)
        assert float(other.spectral_gap) / unit == pytest.approx(float(one.spectral_gap), rel=1e-8)


def test_fast_dephasing_beside_slow_decay_has_one_steady_state_too():
    for rate in (1e-6, 1e-10):
        dynamics = Lindbladian(Z, torch.stack([Z, math.sqrt(rate) * LOWERING]))
        attractor = find_attractor(dynamics)
        assert float(attractor.density[0, 0].real) == pytest.approx(1.0, abs=1e-12)
        assert abs(float(attractor.spectral_gap) - rate) <= float(attractor.gap_error)


def operators(kind, dim, generator):
    gaussian = torch.randn(2, dim, dim, dtype=DTYPE, generator=generator) / math.sqrt(dim)
    if kind == "Hermitian":
        return gaussian + gaussian.mH
    if kind == "ladder":
        lower = torch.diag(torch.rand(dim - 1, dtype=torch.float64, generator=generator) + 0.5, 1).to(DTYPE)
        return torch.stack([lower, 0.3 * lower.mH])
    if kind == "rank one":
        return gaussian[:, :, :1] @ gaussian[:, :1].conj()
    if kind == "shifted":
        return gaussian + 4 * torch.eye(dim, dtype=DTYPE)
    return gaussian


def exact_rates(lindbladian):
    """Rates of all modes to forty digits, from the operators as they are."""
    with mpmath.workdps(40):
        dim = lindbladian.dim
        H, *jumps = (
            mpmath.matrix(operator.tolist())
            for operator in (lindbladian.hamiltonian, *lindbladian.jump_operators)
        )
        total = sum((jump.H * jump for jump in jumps), mpmath.zeros(dim))
        flow = -1j * H - total / 2
        pairs = [(flow, mpmath.eye(dim)), (mpmath.eye(dim), flow.conjugate())]
        pairs += [(jump, jump.conjugate()) for jump in jumps]
        matrix = mpmath.zeros(dim**2)
        for first, second in pairs:
            for i in range(dim**2):
                for j in range(dim**2):
                    matrix[i, j] += first[i // dim, j // dim] * second[i % dim, j % dim]
        return sorted(float(-value.real) for value in mpmath.eig(matrix, left=False, right=False))


@pytest.mark.parametrize("strength", [1.0, 1e-3, 1e-8])
@pytest.mark.parametrize("kind", ["Gaussian", "Hermitian", "ladder", "rank one", "shifted"])
def test_stated_errors_hold_for_operators_of_all_kinds(kind, strength):
    for seed, dim in ((0, 2), (1, 3), (2, 3)):
        generator = torch.Generator().manual_seed(seed)
        H = torch.randn(dim, dim, dtype=DTYPE, generator=generator)
        jumps = math.sqrt(strength) * operators(kind, dim, generator)
        lindbladian = Lindbladian(H + H.mH, jumps)
        exact = exact_rates(lindbladian)
        for method in METHODS:
            attractor = find_attractor(lindbladian, method=method)
            assert (
                abs(float(attractor.spectral_gap) - exact[1]) <= float(attractor.gap_error) + 1e-15 * exact[1]
            )
            assert float(attractor.gap_error) < 1e-8 * strength
            assert float(attractor.density_error) < 1e-8
            image = lindbladian.apply(attractor.density).abs().max()
            # H itself is known to its last digit only.
            assert float(image) <= 20 * strength * float(attractor.density_error) + 1e-14


PAIRS = embed(LOWERING, (2, 2), (0,))
DEGENERATE = {
    "two dark states": (
        torch.zeros(3, 3, dtype=DTYPE),
        torch.tensor([[[0, 0, 1], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1], [0, 0, 0]]], dtype=DTYPE),
        4,
    ),
    "dephasing": (Z, Z[None], 2),
    "no jumps": (X, Z[None][:0], 2),
    "no jumps, one level twice": (
        torch.diag(torch.tensor([0, 1, 1, 2], dtype=DTYPE)),
        Z.new_zeros(0, 4, 4),
        6,
    ),
    "an idle factor": (torch.zeros(4, 4, dtype=DTYPE), PAIRS[None], 4),
    "dephasing of nine levels": (
        torch.diag(torch.arange(9)).to(DTYPE),
        torch.diag(torch.arange(9)).to(DTYPE)[None],
        9,
    ),
    "parity": (
        torch.zeros(4, 4, dtype=DTYPE),
        torch.diag(torch.tensor([1.0, 1.0]), 2).to(DTYPE)[None] + 0,
        4,
    ),
    "in SI units": (SPLITTING * Z, 1e-3 * Z[None], 2),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_several_steady_states_are_counted_and_the_remedy_is_named(name, method):
    H, jumps, number = DEGENERATE[name]
    with pytest.raises(ArgumentError, match=f"one steady state, but {number} independent.*ExactChannel"):
        find_attractor(Lindbladian(H, jumps), method=method)


def test_the_remedy_of_several_steady_states_names_a_time_in_the_users_units():
    H, jumps, _ = DEGENERATE["two dark states"]
    with pytest.raises(ArgumentError, match=r"time of 30 or more"):
        find_attractor(Lindbladian(H, jumps))
    with pytest.raises(ArgumentError, match=r"time of 3e-05 or more"):
        find_attractor(Lindbladian(H, 1e3 * jumps))


def test_krylov_spaces_count_steady_states_where_there_is_no_matrix():
    levels = torch.diag(torch.arange(9)).to(DTYPE)
    with pytest.raises(ArgumentError, match="at least 9 independent"):
        find_slow_modes(Lindbladian(levels, levels[None]), 1.0)


@pytest.mark.parametrize("rate", [1e-2, 1e-6, 1e-11])
@pytest.mark.parametrize("levels", [40, 50])
def test_weakly_damped_cavities_end_at_once_in_their_thermal_state(levels, rate):
    attractor = find_attractor(cavity(levels, rate))
    expected = thermal_populations(levels)
    torch.testing.assert_close(attractor.density, torch.diag(expected).to(DTYPE), atol=1e-12, rtol=0)
    assert float(attractor.spectral_gap) == pytest.approx(rate / 2, rel=1e-8)


def test_without_damping_a_large_system_is_refused_at_once():
    for size in (33, 64, 100):
        levels = torch.diag(torch.arange(size)).to(DTYPE)
        for jumps in (levels[None][:0], torch.eye(size, dtype=DTYPE)[None]):
            with pytest.raises(ArgumentError, match=f"but {size} independent"):
                find_attractor(Lindbladian(levels, jumps))
        with pytest.raises(ArgumentError, match=f"but {size} independent"):
            find_attractor(Lindbladian(levels, 1e-2 * levels[None]))


def test_a_search_that_would_take_minutes_is_refused_before_it_starts():
    generator = torch.Generator().manual_seed(0)
    H = torch.randn(64, 64, dtype=DTYPE, generator=generator)
    jumps = 1e-2 * torch.randn(1, 64, 64, dtype=DTYPE, generator=generator) / 8
    with pytest.raises(ArgumentError, match=r"going on would take about .* operations"):
        find_slow_modes(Lindbladian((H + H.mH) * 1e3, jumps), 1.0)
    with pytest.raises(ArgumentError, match="`dense` would take"):
        find_attractor(cavity(200, 1.0), method="dense")


def gap_of(H, jumps, method):
    return find_attractor(Lindbladian(H, jumps, validate=False), method=method).spectral_gap


TWINS = {
    "isotropic dephasing": (0 * X, torch.stack([X, Y, Z])),
    "decay without a splitting": (0 * X, LOWERING[None]),
    "two equal qubits": (
        embed(Z, (2, 2), (0,)) + embed(Z, (2, 2), (1,)),
        torch.stack([embed(LOWERING, (2, 2), (0,)), embed(LOWERING, (2, 2), (1,))]),
    ),
    "two weakly damped equal qubits": (
        1e5 * (embed(Z, (2, 2), (0,)) + embed(Z, (2, 2), (1,))),
        torch.stack([embed(LOWERING, (2, 2), (0,)), embed(LOWERING, (2, 2), (1,))]),
    ),
    "equal to the last digits": (
        0 * X,
        torch.stack([X, Y * (1 + 1e-15), Z]),
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", TWINS)
def test_the_gap_of_equally_slow_modes_is_a_value_whose_gradient_is_refused(name, method):
    H, jumps = TWINS[name]
    jumps = jumps.clone().requires_grad_()
    gap = gap_of(H, jumps, method)
    assert float(gap.detach()) > 0.1
    with pytest.raises(ArgumentError, match="several modes are as slow"):
        gap.backward()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_gradients_are_those_of_finite_differences_also_for_weak_damping(scale, method):
    """The slowest mode of a split qubit is one pair of conjugate modes, which is no kink."""

    def value(angles):
        H = scale * (angles[0] * Z + 0.3 * X)
        jumps = torch.stack([angles[1] * LOWERING, angles[2] * LOWERING.mH, angles[3] * (Z + 0.5 * X)])
        found = find_attractor(Lindbladian(H, jumps.to(DTYPE), validate=False), method=method)
        return found.spectral_gap, found.density[1, 1].real

    angles = torch.tensor([0.7, 1.0, 0.4, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (angles,), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives_of_the_density_are_right_and_those_of_the_gap_refused(method):
    drive = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for factor in (1.0, 1e7):
        found = find_attractor(
            Lindbladian(factor * 0.5 * drive * X, math.sqrt(factor) * LOWERING[None]), method="dense"
        )
        excited = found.density[1, 1].real
        first = torch.autograd.grad(excited, drive, create_graph=True)[0]
        second = torch.autograd.grad(first, drive, create_graph=True)[0]
        third = torch.autograd.grad(second, drive)[0]
        # Of Ω²/(1 + 2Ω²).
        u = 1 + 2 * 0.7**2
        assert float(first.detach()) == pytest.approx(2 * 0.7 / u**2)
        assert float(second.detach()) == pytest.approx((2 - 12 * 0.7**2) / u**3)
        assert float(third) == pytest.approx((96 * 0.7**3 - 48 * 0.7) / u**4)
    gap = find_attractor(Lindbladian(0.5 * drive * X + Z, LOWERING[None]), method=method).spectral_gap
    first = torch.autograd.grad(gap, drive, create_graph=True)[0]
    with pytest.raises(ArgumentError, match="taken once"):
        torch.autograd.grad(first, drive)


def test_a_large_weakly_damped_density_is_a_value_whose_gradient_is_refused():
    rate = torch.tensor(1e-4, dtype=torch.float64, requires_grad=True)
    large = cavity(50, 1.0)
    found = find_attractor(Lindbladian(large.hamiltonian, rate.sqrt() * large.jump_operators, validate=False))
    assert float(torch.autograd.grad(found.spectral_gap, rate)[0]) == pytest.approx(0.5, rel=1e-6)
    with pytest.raises(ArgumentError, match="ExactChannel"):
        found.density[0, 0].real.backward()


def test_null_vectors_keep_the_digits_of_slow_rows():
    """A chain with rates from 1 to 1e-12: populations ∝ 1/rate, to the last digits."""
    rates = torch.tensor([1.0, 1e-4, 1e-8, 1e-12], dtype=torch.float64)
    generator = -torch.diag(rates) + torch.diag(rates[:3], -1)
    generator[0, 3] = rates[3]
    vector, error = null_vector(generator, torch.ones(4, dtype=torch.float64), 0, 0.0)
    expected = (1 / rates) / (1 / rates).sum()
    assert float((vector / expected - 1).abs().max()) < 1e-14
    assert error < 1e-14
    assert kernel_dimension(generator, 0.0) == 1
    assert kernel_dimension(torch.block_diag(generator, generator), 0.0) == 2
