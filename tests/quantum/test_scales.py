"""What is large beside something small, or far from one, costs nothing its digits: batches, energies, units."""

import pytest
import torch

from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    HeisenbergState,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    StructuredLindbladian,
    StructuredOperator,
    Unitary,
    density_of,
    expectations,
    expectations_of_density,
    normalize,
    pauli,
    propagate_densities,
    propagate_observables,
    trace_distance,
)
from qinn.quantum.arguments import as_density, as_hermitian
from qinn.quantum.generators.unitary_propagation import propagate_unitarily

SINGLE, DOUBLE = torch.complex64, torch.complex128
LOWERING = torch.tensor([[0, 1], [0, 0]]) + 0j


def ladder(dim, dtype=DOUBLE):
    return torch.diag(torch.arange(1, dim).double().sqrt(), 1).to(dtype)


def number(dim, dtype=DOUBLE):
    return torch.diag(torch.arange(dim)).to(dtype)


def spread(dim, dtype=DOUBLE):
    return normalize(torch.arange(1, dim + 1) + 0j).to(dtype)


KET = torch.tensor([0.6, 0.8j])
MIXED_SCALES = torch.stack([5e9 * pauli("Z"), LOWERING])
VALUES = {
    "kets": lambda: expectations(KET, MIXED_SCALES),
    "densities": lambda: expectations_of_density(density_of(KET), MIXED_SCALES),
    "ensemble": lambda: PureEnsemble(KET[None]).expectations(MIXED_SCALES)[0],
    "mixed state": lambda: MixedState(density_of(KET)).expectations(MIXED_SCALES)[0],
    "heisenberg": lambda: HeisenbergState(
        PureEnsemble(KET[None]), Lindbladian(torch.zeros(2, 2)), 1.0
    ).expectations(MIXED_SCALES)[0],
}


@pytest.mark.parametrize("name", VALUES)
def test_a_large_observable_does_not_make_its_neighbours_hermitian(name):
    value = VALUES[name]()
    assert value.is_complex()
    assert complex(value[1]) == pytest.approx(0.48j, abs=1e-5)


@pytest.mark.parametrize(("dtype", "ratio"), [(SINGLE, 1e7), (DOUBLE, 1e16)], ids=str)
def test_a_large_matrix_does_not_make_its_neighbours_hermitian_on_the_way(dtype, ratio):
    a, n = ladder(12, dtype), number(12, dtype)
    dynamics = Lindbladian(0.3 * n, [0.5 * a])
    together = propagate_observables(dynamics, torch.stack([ratio * n, a]), 0.7)[1]
    alone = propagate_observables(dynamics, a, 0.7)
    assert float((together - alone).norm() / alone.norm()) < 1e-5
    rho = density_of(spread(12, dtype))
    coherence = rho[:, :1] @ rho[1:2]
    for scale in (1.0, 1 / ratio):
        both = propagate_densities(dynamics, torch.stack([ratio * scale * rho, scale * coherence]), 0.7)[1]
        alone = propagate_densities(dynamics, scale * coherence, 0.7)
        assert float((both - alone).norm() / alone.norm()) < 1e-5


def test_a_large_matrix_does_not_excuse_a_lopsided_neighbour():
    lopsided = torch.tensor([[0.5, 1e-3], [0, 0.5]]) + 0j
    with pytest.raises(ValueError, match="Hermitian"):
        as_density("density", torch.stack([1e6 * torch.eye(2) + 0j, lopsided]), physical=False)
    with pytest.raises(ValueError, match="Hermitian"):
        as_hermitian("drives", torch.stack([1e9 * pauli("Z"), lopsided]))


@pytest.mark.parametrize("batched", [False, True])
def test_a_gradient_of_large_neighbours_is_that_of_each_alone(batched):
    a = ladder(10, SINGLE)
    base = Lindbladian(number(10, SINGLE), [2.0 * a, 1.5 * number(10, SINGLE)])
    amplitudes = torch.ones(2, 1, 1) if batched else torch.ones(1, 1)
    dynamics = DrivenLindbladian(base, (a + a.mH)[None], amplitudes)
    weights = torch.tensor([1e12, 1.0])
    start = density_of(spread(10, SINGLE)).expand(2, 10, 10).clone().requires_grad_()
    moved = ExactChannel().evolve(MixedState(start), dynamics, time=2.0).density()
    values = (moved * (a + a.mH)).sum((-2, -1)).real
    (found,) = torch.autograd.grad((values * weights).sum(), start)
    assert float((found[0] / 1e12 - found[1]).norm() / found[1].norm()) < 1e-5


def chains(dim, dtype, energy, num_jumps):
    a, n = ladder(dim), number(dim)
    H = (0.5 * n + 0.3 * (a + a.mH) + energy * torch.eye(dim)).to(dtype)
    return Lindbladian(H, [(0.5 * a).to(dtype)] * num_jumps)


@pytest.mark.parametrize("dim", [6, 12, 36])
@pytest.mark.parametrize("num_jumps", [0, 1])
@pytest.mark.parametrize(("dtype", "most"), [(SINGLE, 2e-6), (DOUBLE, 5e-14)], ids=str)
@pytest.mark.parametrize("energy", [1e3, 1e7])
def test_a_constant_energy_costs_no_digits(dim, num_jumps, dtype, most, energy):
    dynamics = chains(dim, dtype, energy, num_jumps)
    # What the dynamics are after rounding H itself.
    H = dynamics.hamiltonian.to(DOUBLE) - energy * torch.eye(dim)
    known = propagate_densities(
        Lindbladian(H, dynamics.jump_operators.to(DOUBLE)), density_of(spread(dim)), 1.0
    )
    found = propagate_densities(dynamics, density_of(spread(dim, dtype)), 1.0)
    assert float((found.to(DOUBLE) - known).norm()) < most


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize(("dtype", "most"), [(SINGLE, 5e-6), (DOUBLE, 1e-12)], ids=str)
def test_a_constant_energy_is_a_phase_of_kets(dim, dtype, most):
    energy, time = 4096.0, 0.25
    H = chains(dim, dtype, energy, 0).hamiltonian.requires_grad_()
    still = H.detach().to(DOUBLE) - energy * torch.eye(dim)
    known = torch.linalg.matrix_exp(-1j * time * still) @ spread(dim)
    known = known * torch.polar(torch.ones(1).double(), torch.tensor([-energy * time]).double())
    found = propagate_unitarily(H, spread(dim, dtype), time)
    assert float((found.detach().to(DOUBLE) - known).norm()) < most
    # d⟨k|e^{−iHt}ψ⟩/dt has the energy in it.
    start = torch.tensor(time, dtype=torch.float64, requires_grad=True)
    (rate,) = torch.autograd.grad(propagate_unitarily(H.detach(), spread(dim, dtype), start)[0].real, start)
    expected = float((-1j * (H.detach().to(DOUBLE) @ known))[0].real)
    assert float(rate) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("batched", [False, True])
def test_a_constant_in_a_drive_costs_no_digits(batched):
    a, n = ladder(12, SINGLE), number(12, SINGLE)
    pieces = (2, 2, 2) if batched else (2, 2)
    states = MixedState(density_of(spread(12, SINGLE)).expand(2, 12, 12))

    def moved(energy):
        drives = torch.stack([a + a.mH, n / 16 + energy * torch.eye(12)])
        base = Lindbladian(0.5 * n + energy * torch.eye(12), [0.5 * a])
        dynamics = DrivenLindbladian(base, drives, torch.ones(pieces))
        return ExactChannel().evolve(states, dynamics, time=1.0).density()

    assert float((moved(2.0**16) - moved(0.0)).norm()) < 3e-6


@pytest.mark.parametrize(
    "way", [SteppedJumps(64, seed=0), GumbelJumps(64, seed=0)], ids=["stepped", "gumbel"]
)
def test_a_constant_energy_does_not_move_trajectories_on_a_grid(way):
    def moved(energy):
        H = 0.5 * pauli("X") + energy * torch.eye(2)
        return way.evolve([0, 1], Lindbladian(H, [0.5 * LOWERING]), time=1.0, steps=4).density()

    assert float((moved(2.0**16) - moved(0.0)).norm()) < 1e-4


def test_all_evolutions_see_the_hermitian_part_of_what_passes_as_round_off():
    H = torch.diag(torch.tensor([0, 5e9, 5e9])) + 0j
    H[1, 2] = 2e4
    jump = [1e-6 * torch.eye(3)]
    ket = torch.tensor([0, 0, 1]) + 0j
    ways = [
        (Unitary(), Lindbladian(H)),
        (ExactChannel(), Lindbladian(H, jump)),
        (QuantumJumps(2, seed=0), Lindbladian(H, jump)),
    ]
    known = torch.matrix_exp(-5e-5j * torch.tensor([[0, 1e4], [1e4, 0]]))[:, 1].abs().square()
    for way, dynamics in ways:
        levels = way.evolve(ket, dynamics, time=5e-5).density().diagonal().real
        assert torch.allclose(levels, torch.cat([torch.zeros(1), known]), atol=2e-3)


def test_local_terms_lose_what_passes_as_round_off():
    term = torch.tensor([[0, 1 + 1e-6], [1, 0]]) + 0j
    taken = StructuredLindbladian(StructuredOperator((2, 2), {0: term, 1: pauli("Z")})).hamiltonian.local
    assert torch.equal(taken[0], taken[0].mH)
    assert torch.equal(taken[1], pauli("Z"))


def test_exactly_hermitian_operators_are_taken_as_they_are_and_products_pass():
    H = pauli("X").requires_grad_()
    assert Lindbladian(H).hamiltonian is H
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=SINGLE))[0]
        levels = torch.logspace(-6, 9, 12) + 0j
        product = basis @ torch.diag(levels) @ basis.mH
        taken = Lindbladian(product).hamiltonian
        assert torch.equal(taken, taken.mH)
        # Rotated so that most of what is left beside the large level is round-off.
        Lindbladian(torch.linalg.eigh(product)[1].mH @ product @ torch.linalg.eigh(product)[1])


@pytest.mark.parametrize("num_jumps", [0, 1])
@pytest.mark.parametrize("dim", [2, 12, 40])
@pytest.mark.parametrize("unit", [1e22, 1e-20])
def test_units_of_time_do_not_matter_in_single_precision(num_jumps, dim, unit):
    def moved(unit):
        a, n = ladder(dim, SINGLE), number(dim, SINGLE)
        dynamics = Lindbladian(unit * (n + a + a.mH) / dim, [unit**0.5 * a / dim] * num_jumps)
        return propagate_densities(dynamics, density_of(spread(dim, SINGLE)), 1 / unit)

    assert float(trace_distance(moved(unit), moved(1.0))) < 1e-5


@pytest.mark.parametrize("size", [1e-28, 1e25])
def test_the_size_of_what_is_evolved_does_not_matter_in_single_precision(size):
    dynamics = chains(12, SINGLE, 0.0, 1)
    rho = density_of(spread(12, SINGLE))
    known = propagate_densities(dynamics, rho, 1.0)
    found = propagate_densities(dynamics, size * rho, 1.0)
    assert float((found / size - known).norm()) < 1e-5


def test_high_rates_for_short_times_have_trajectories():
    fast = Lindbladian(torch.zeros(2, 2), [1e12 * LOWERING])
    state = QuantumJumps(200, seed=0, record=True).evolve([0, 1], fast, time=1e-24)
    assert 100 < int(state.record.num_jumps.sum()) < 150
