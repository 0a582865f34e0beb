"""Correlations at two times and emission spectra: known values, both pictures, gradients, what is refused."""

import math

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    LearnableLindbladian,
    Lindbladian,
    coherent_ket,
    destroy,
    emission_spectrum,
    find_attractor,
    number,
    pauli,
    second_order_coherence,
    thermal_jumps,
    two_time_correlation,
)
from qinn.quantum.observation import resolvent

DTYPE = torch.complex128


def system(dim, seed=0, num_jumps=2):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=1.0, seed=seed, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def operator(dim, *batch, seed=3):
    return torch.randn(*batch, dim, dim, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))


def atom(drive=3.0, decay=1.0):
    lower = math.sqrt(decay) * destroy(2, dtype=DTYPE)
    return Lindbladian(0.5 * drive * pauli("X", dtype=DTYPE), [lower]), lower


def mollow(frequencies, drive, decay=1.0):
    """B. R. Mollow, Phys. Rev. 188 (1969) 1969, equation 4.15 on resonance, per unit of angular frequency."""
    s = 1j * frequencies
    cubic = (
        s**3 + 2 * decay * s**2 + (drive**2 + 1.25 * decay**2) * s + decay * (0.5 * decay**2 + drive**2) / 2
    )
    population = drive**2 / (decay**2 + 2 * drive**2)
    peaks = population * decay * drive**2 * (frequencies**2 + 0.5 * drive**2 + decay**2)
    return decay * peaks / (2 * math.pi * cubic.abs() ** 2)


@pytest.mark.parametrize("drive", [0.2, 1.0, 6.0])
def test_the_fluorescence_of_a_driven_atom_is_the_known_triplet(drive):
    dynamics, lower = atom(drive)
    frequencies = torch.linspace(-10, 10, 41, dtype=torch.float64)
    found = emission_spectrum(dynamics, lower, frequencies=frequencies)
    assert torch.allclose(found.incoherent, mollow(frequencies, drive), rtol=1e-9, atol=0)
    assert float(found.coherent) == pytest.approx(drive**2 / (1 + 2 * drive**2) ** 2, rel=1e-9)


@pytest.mark.parametrize("dim", [2, 5, 9])
def test_the_spectrum_is_the_fourier_transform_of_the_correlation(dim):
    dynamics, emitter = system(dim), operator(dim)
    frequencies = torch.tensor([-3.0, 0.0, 1.7, 4.0], dtype=torch.float64)
    attractor = find_attractor(dynamics)
    # Panels of Gauss and Legendre, up to where e^{−gap τ} is 1e-13; eight nodes are as good as round-off in each.
    end, panels = 30 / float(attractor.spectral_gap), 400
    nodes, weights = gauss(8)
    places = (torch.arange(panels)[:, None] + nodes).flatten() * end / panels
    values = two_time_correlation(dynamics, emitter.mH, emitter, delays=places.tolist())
    values = values - (emitter.mT * attractor.density).sum().abs() ** 2
    phases = torch.exp(1j * frequencies[:, None] * places)
    sums = (phases * values * weights.repeat(panels) * end / panels).sum(-1).real / math.pi
    found = emission_spectrum(dynamics, emitter, frequencies=frequencies)
    assert torch.allclose(found.incoherent, sums, rtol=0, atol=1e-8 * float(sums.abs().max()))
    few = emission_spectrum(dynamics, emitter, frequencies=frequencies[:2])
    assert torch.allclose(few.incoherent, found.incoherent[:2], rtol=1e-9, atol=0)


def gauss(number):
    """Nodes and weights on [0, 1], by the eigenvalues of the Jacobi matrix."""
    orders = torch.arange(1, number, dtype=torch.float64)
    beside = orders / (4 * orders**2 - 1).sqrt()
    places, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (places + 1) / 2, vectors[0] ** 2


@pytest.mark.parametrize("dim", [3, 9])
def test_evolving_states_or_operators_gives_the_same_correlation(dim):
    dynamics, delays = system(dim), [0.0, 0.3, 1.1]
    left, right, later = operator(dim, 3, seed=1), operator(dim, seed=2), operator(dim, seed=4)
    together = two_time_correlation(dynamics, left, later, right, delays=delays)
    assert together.shape == (3, 3)
    single = [
        two_time_correlation(dynamics, each, later.expand(2, dim, dim), right, delays=delays) for each in left
    ]
    assert torch.allclose(together, torch.stack(single, 1)[..., 0], rtol=0, atol=1e-10)
    # Stationary: nothing depends on the first moment.
    shifted = two_time_correlation(
        dynamics, left, later, right, delays=delays, initial=find_attractor(dynamics).density, time=0.7
    )
    assert torch.allclose(together, shifted, rtol=0, atol=1e-10)


def test_light_is_bunched_or_not_as_it_is_known_to_be():
    lower = destroy(24, dtype=DTYPE)
    thermal = Lindbladian(0 * number(24, dtype=DTYPE), thermal_jumps(lower, 1.0, 0.5))
    delays = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    found = second_order_coherence(thermal, lower, delays=delays)
    assert torch.allclose(found, 1 + torch.exp(-delays), rtol=0, atol=1e-7)
    damped = Lindbladian(0 * number(24, dtype=DTYPE), [lower])
    laser = second_order_coherence(
        damped, lower, delays=delays, initial=coherent_ket(24, torch.tensor(1.2, dtype=DTYPE)), time=0.3
    )
    assert torch.allclose(laser, torch.ones_like(laser), rtol=0, atol=1e-8)
    dynamics, emitter = atom(4.0)
    single = second_order_coherence(dynamics, emitter, delays=delays)
    mu = math.sqrt(4.0**2 - 1 / 16)
    wanted = 1 - torch.exp(-0.75 * delays) * (torch.cos(mu * delays) + 0.75 / mu * torch.sin(mu * delays))
    assert torch.allclose(single, wanted, rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("few", [True, False])
def test_everything_has_the_gradient_of_finite_differences(few):
    frequencies = torch.tensor([0.4, -1.0] if few else [0.4, -1.0, 0.0, 2.0], dtype=torch.float64)
    free = torch.tensor([1.3, 0.8, 0.4], dtype=torch.float64, requires_grad=True)

    def values(free, frequencies):
        lower = destroy(3, dtype=DTYPE)
        hamiltonian = free[0] * (lower + lower.mH) + free[1] * number(3, dtype=DTYPE)
        dynamics = Lindbladian(hamiltonian, [lower, free[2] * lower.mH])
        spectrum = emission_spectrum(dynamics, lower * free[1], frequencies=frequencies)
        pair = two_time_correlation(dynamics, lower.mH, lower * free[2], delays=[0.2, 0.9])
        clicks = second_order_coherence(dynamics, lower, delays=[0.3])
        return spectrum.incoherent, spectrum.coherent, torch.view_as_real(pair), clicks

    moving = frequencies.requires_grad_()
    assert torch.autograd.gradcheck(values, (free, moving), fast_mode=True)
    assert torch.autograd.gradgradcheck(
        lambda free, frequencies: values(free, frequencies)[0], (free, moving), fast_mode=True
    )


def test_spectra_at_an_exceptional_point_are_right(monkeypatch):
    # Ω = γ/4: two eigenvalues and their vectors coincide.
    dynamics, lower = atom(0.25)
    frequencies = torch.linspace(-2, 2, 9, dtype=torch.float64)
    wanted = mollow(frequencies, 0.25)
    found = emission_spectrum(dynamics, lower, frequencies=frequencies).incoherent
    assert torch.allclose(found, wanted, rtol=1e-8, atol=0)
    monkeypatch.setattr(resolvent, "_LARGEST_RESIDUAL", -1.0)
    found = emission_spectrum(dynamics, lower, frequencies=frequencies).incoherent
    assert torch.allclose(found, wanted, rtol=1e-9, atol=0)


REFUSED = {
    "no operator to come later": lambda: two_time_correlation(atom()[0], None, None, delays=[0.0]),
    "an operator of another dimension": lambda: two_time_correlation(
        atom()[0], None, operator(3), delays=[0.0]
    ),
    "an operator with NaN": lambda: emission_spectrum(atom()[0], math.nan * operator(2), frequencies=[0.0]),
    "a negative delay": lambda: two_time_correlation(atom()[0], None, operator(2), delays=[-1.0]),
    "frequencies in a table": lambda: emission_spectrum(atom()[0], operator(2), frequencies=[[0.0]]),
    "an infinite frequency": lambda: emission_spectrum(atom()[0], operator(2), frequencies=[math.inf]),
    "complex frequencies": lambda: emission_spectrum(atom()[0], operator(2), frequencies=[1j]),
    "a large dimension": lambda: emission_spectrum(
        Lindbladian(number(49), [destroy(49)]), destroy(49), frequencies=[0.0]
    ),
    "a dark state": lambda: second_order_coherence(atom(0.0)[0], destroy(2, dtype=DTYPE), delays=[0.0]),
    "several steady states": lambda: emission_spectrum(
        Lindbladian(pauli("Z", dtype=DTYPE), [pauli("Z", dtype=DTYPE)]), operator(2), frequencies=[0.0]
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_a_sentence(case):
    with pytest.raises(ArgumentError, match=r"must|several|steady"):
        REFUSED[case]()
