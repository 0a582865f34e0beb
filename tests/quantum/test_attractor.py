"""Steady states, gaps and contraction: closed forms, QuTiP, long-time limits, refusals."""

import math

import pytest
import qutip
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    contraction,
    density_of,
    embed,
    find_attractor,
    pauli,
    random_kets,
    trace_distance,
)
from qinn.quantum.generators.propagation import propagate_densities

DTYPE = torch.complex128
LOWERING = torch.tensor([[[0, 1], [0, 0]]], dtype=DTYPE)


def dynamics(dim, seed=0, jumps=2, jump_scale=1.0):
    module = LearnableLindbladian(
        dim, jumps, hamiltonian_scale=3.0, jump_scale=jump_scale, seed=seed, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def pumping(target, rate):
    """L_j = √g |Φ⟩⟨e_j| on an orthonormal basis e_j of the complement of Φ: everything ends in Φ."""
    basis, _ = torch.linalg.qr(torch.cat([target[:, None], torch.eye(len(target), dtype=DTYPE)], dim=1))
    jumps = math.sqrt(rate) * torch.einsum("i,jk->kij", target, basis[:, 1:].conj())
    return Lindbladian(torch.zeros(len(target), len(target), dtype=DTYPE), jumps)


@pytest.mark.parametrize(("drive", "rate"), [(0.3, 1.0), (2.0, 0.7), (5.0, 3.0)])
def test_resonance_fluorescence(drive, rate):
    lindbladian = Lindbladian(0.5 * drive * pauli("X", dtype=DTYPE), math.sqrt(rate) * LOWERING)
    attractor = find_attractor(lindbladian)
    excited = drive**2 / (rate**2 + 2 * drive**2)
    assert float(attractor.density[1, 1].real) == pytest.approx(excited, abs=1e-12)


def test_decay_and_dephasing_have_known_gaps():
    decay = find_attractor(Lindbladian(pauli("Z", dtype=DTYPE), math.sqrt(0.8) * LOWERING))
    assert float(decay.spectral_gap) == pytest.approx(0.4, abs=1e-12)
    assert float(decay.mixing_time(math.exp(-2))) == pytest.approx(5.0, abs=1e-10)
    single = find_attractor(Lindbladian(torch.ones(1, 1, dtype=DTYPE), torch.ones(1, 1, 1, dtype=DTYPE)))
    assert single.density.item() == pytest.approx(1.0)
    assert float(single.spectral_gap) == math.inf
    assert float(single.gap_error) == 0


@pytest.mark.parametrize("dim", [2, 5, 9])
def test_a_target_state_is_an_attractor_with_half_the_rate_as_gap(dim):
    target = random_kets(dim, generator=torch.Generator().manual_seed(dim), dtype=DTYPE)
    attractor = find_attractor(pumping(target, 0.6))
    torch.testing.assert_close(attractor.density, density_of(target), atol=1e-12, rtol=0)
    assert float(attractor.spectral_gap) == pytest.approx(0.3, abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dim", [2, 4, 7, 16])
def test_qutip_and_the_long_time_limit_agree(dim, seed):
    lindbladian = dynamics(dim, seed)
    attractor = find_attractor(lindbladian)
    foreign = qutip.steadystate(
        qutip.Qobj(lindbladian.hamiltonian.numpy()),
        [qutip.Qobj(L.numpy()) for L in lindbladian.jump_operators],
    )
    assert abs(attractor.density.numpy() - foreign.full()).max() < 1e-9
    eigenvalues = qutip.liouvillian(
        qutip.Qobj(lindbladian.hamiltonian.numpy()),
        [qutip.Qobj(L.numpy()) for L in lindbladian.jump_operators],
    ).eigenenergies()
    assert float(attractor.spectral_gap) == pytest.approx(sorted(-eigenvalues.real)[1], abs=1e-8)
    start = density_of(random_kets(dim, generator=torch.Generator().manual_seed(seed), dtype=DTYPE))
    late = propagate_densities(lindbladian, start, 40.0 / float(attractor.spectral_gap))
    assert float(trace_distance(late, attractor.density)) < 1e-9


@pytest.mark.parametrize("offset", [0.3, 1e-2, 1e-5, 1e-8, -1e-8, -1e-5, 0.0])
@pytest.mark.parametrize("rate", [0.1, 1.3, 40.0])
def test_the_gap_says_how_exact_it_is_up_to_an_exceptional_point(rate, offset):
    """Dephasing √γ Z and Rabi frequency Ω: gap γ − Re √(γ² − Ω²), whose modes coincide at Ω = γ."""
    drive = rate * (1 + offset)
    lindbladian = Lindbladian(
        0.5 * drive * pauli("X", dtype=DTYPE), math.sqrt(rate) * pauli("Z", dtype=DTYPE)[None]
    )
    root = torch.sqrt(torch.tensor(-(rate**2) * offset * (2 + offset), dtype=DTYPE)).real
    attractor = find_attractor(lindbladian)
    error = abs(float(attractor.spectral_gap) - float(rate - root))
    assert error <= float(attractor.gap_error)
    assert float(attractor.gap_error) < (1e-5 if abs(offset) < 1e-6 else 1e-10) * rate
    assert not attractor.gap_error.requires_grad


def test_the_error_of_a_gap_includes_that_of_a_mode_just_behind_it():
    """One qubit decays at 1 − 5e-8; the other, at an exceptional point of rate 1, may be slower by round-off."""
    x, z, lower = pauli("X", dtype=DTYPE), pauli("Z", dtype=DTYPE), LOWERING[0]
    jumps = [embed(z, (2, 2), (0,)), math.sqrt(2 * (1 - 5e-8)) * embed(lower, (2, 2), (1,))]
    attractor = find_attractor(Lindbladian(0.5 * embed(x, (2, 2), (0,)), torch.stack(jumps)))
    assert abs(float(attractor.spectral_gap) - (1 - 5e-8)) <= float(attractor.gap_error)
    assert float(attractor.gap_error) > 1e-8


def test_the_steady_state_has_the_gradient_of_finite_differences():
    H, L = dynamics(3).hamiltonian, dynamics(3).jump_operators

    def steady(free, jumps):
        found = find_attractor(Lindbladian(H + torch.diag(free) + 0j, jumps, validate=False))
        return found.density, found.spectral_gap

    free = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(steady, (free, L.clone().requires_grad_()), atol=1e-6)


@pytest.mark.parametrize(("dim", "jump_scale"), [(2, 1.0), (6, 1.0), (9, 0.3), (12, 4.0)])
def test_krylov_spaces_find_the_dense_attractor_and_its_gradient(dim, jump_scale):
    found = []
    for method in ("dense", "iterative"):
        module = LearnableLindbladian(
            dim, 2, hamiltonian_scale=2.0, jump_scale=jump_scale, seed=dim, dtype=torch.float64
        )
        attractor = find_attractor(module(), method=method)
        (attractor.spectral_gap + attractor.density[0, 1].real).backward()
        found.append((attractor, module))
    (dense, first), (iterative, second) = found
    assert abs(float((dense.spectral_gap - iterative.spectral_gap).detach())) <= 1e-11
    assert float(iterative.gap_error) < 1e-9
    assert float((dense.density - iterative.density).detach().abs().max()) < 1e-9
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-7)


@pytest.mark.slow
def test_a_thermal_cavity_of_forty_levels_has_the_known_attractor():
    """Rates κ(n̄ + 1) down and κn̄ up: gap κ/2, populations ∝ (n̄/(n̄ + 1))^n."""
    levels, rate, thermal = 40, 1.3, 0.4
    lower = torch.diag(torch.arange(1, levels, dtype=torch.float64).sqrt(), 1) + 0j
    jumps = torch.stack([(rate * (thermal + 1)) ** 0.5 * lower, (rate * thermal) ** 0.5 * lower.mT])
    attractor = find_attractor(Lindbladian(torch.zeros(levels, levels, dtype=DTYPE), jumps))
    populations = (thermal / (thermal + 1)) ** torch.arange(levels, dtype=torch.float64)
    assert torch.allclose(attractor.density, torch.diag(populations / populations.sum()) + 0j, atol=1e-10)
    assert float(attractor.spectral_gap) == pytest.approx(rate / 2, abs=1e-8)


@pytest.mark.parametrize("num_jumps", [0, 1])
def test_krylov_spaces_refuse_several_steady_states(num_jumps):
    """Without jumps, and with dephasing in the eigenbasis of H, every diagonal density is steady."""
    levels = torch.diag(torch.arange(9, dtype=torch.float64)) + 0j
    with pytest.raises(ArgumentError, match="one steady state"):
        find_attractor(Lindbladian(levels, levels[None][:num_jumps]), method="iterative")


def test_several_steady_states_are_refused():
    dephasing = Lindbladian(pauli("Z", dtype=DTYPE), pauli("Z", dtype=DTYPE)[None])
    idle = Lindbladian(dynamics(4).hamiltonian, torch.zeros(0, 4, 4, dtype=DTYPE))
    local = Lindbladian(torch.zeros(4, 4, dtype=DTYPE), embed(LOWERING, (2, 2), (0,)))
    nearly = Lindbladian(pauli("X", dtype=DTYPE), torch.cat([pauli("X", dtype=DTYPE)[None], 1e-8 * LOWERING]))
    for lindbladian in (dephasing, idle, local, nearly):
        with pytest.raises(ArgumentError, match="one steady state"):
            find_attractor(lindbladian)


def test_what_is_too_large_or_not_finite_is_refused():
    with pytest.raises(Exception, match="method"):
        find_attractor(dynamics(3), method="guess")
    broken = Lindbladian(torch.full((2, 2), torch.nan) + 0j, torch.zeros(0, 2, 2) + 0j, validate=False)
    with pytest.raises(ArgumentError, match="must be finite"):
        find_attractor(broken)
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        find_attractor(dynamics(2)).mixing_time(1.0)


@pytest.mark.parametrize("time", [0.0, 0.3, 2.0])
def test_no_evolution_moves_two_states_apart(time):
    for seed in range(10):
        first, second = density_of(
            random_kets(2, 5, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
        )
        factor = float(contraction(dynamics(5, seed), first, second, time))
        assert factor <= 1 + 1e-12
        assert time > 0 or factor == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("digits", "dim", "dtype", "error"),
    [
        (10, 2, DTYPE, 1e-9),
        (36, 2, DTYPE, 1e-9),
        (46, 2, DTYPE, 1e-9),
        (10, 12, DTYPE, 1e-9),
        (46, 12, DTYPE, 1e-9),
        (10, 12, torch.complex64, 1e-4),
        (22, 12, torch.complex64, 1e-4),
    ],
)
def test_the_contraction_of_near_states_is_as_exact_as_that_of_distant_ones(digits, dim, dtype, error):
    """Populations approach each other as e^{−t}, whatever their distance: the error is relative to it."""
    lower = torch.diag(torch.ones(dim - 1), 1).to(dtype)
    decay = Lindbladian(torch.zeros(dim, dim, dtype=dtype), lower[None])
    first = torch.zeros(dim, dim, dtype=dtype)
    first[0, 0] = 1
    second = first.clone()
    second[0, 0], second[1, 1] = 1 - 2.0**-digits, 2.0**-digits
    assert float(contraction(decay, first, second, 0.7)) == pytest.approx(math.exp(-0.7), abs=error)


@pytest.mark.parametrize("unit", [1e-12, 1e9, 1e15])
def test_no_evolution_depends_on_the_unit_of_time(unit):
    generic = dynamics(4)
    scaled = Lindbladian(unit * generic.hamiltonian, math.sqrt(unit) * generic.jump_operators)
    kets = PureEnsemble(random_kets(2, 1, 4, generator=torch.Generator().manual_seed(0), dtype=DTYPE))
    ways = (
        ExactChannel(),
        Heisenberg(),
        QuantumJumps(5, seed=0),
        SteppedJumps(5, seed=0),
        Hybrid(5, seed=0),
        GumbelJumps(5, seed=0),
        Unitary(),
    )
    for way in ways:
        one = way.evolve(kets, generic, time=0.8, steps=4).density()
        other = way.evolve(kets, scaled, time=0.8 / unit, steps=4).density()
        torch.testing.assert_close(other, one, atol=1e-11, rtol=0)
    first, second = density_of(kets.kets[:, 0])
    factor = contraction(generic, first, second, 0.8)
    torch.testing.assert_close(contraction(scaled, first, second, 0.8 / unit), factor, atol=1e-11, rtol=0)
