"""Exact evolutions in single precision are finite and right for the jump operators of physics, backwards too."""

import sys

import dissipators
import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    Heisenberg,
    Hybrid,
    Lindbladian,
    MixedState,
    PureEnsemble,
    contraction,
    density_of,
    propagate_densities,
    propagate_observables,
    random_kets,
)
from qinn.quantum.generators import propagation
from qinn.quantum.numerics import chebyshev

DOUBLE, SINGLE = torch.complex128, torch.complex64


def number(dim):
    return torch.diag(torch.arange(dim) + 0j)


def uniform(dim, dtype=SINGLE):
    return torch.full((1, dim), dim**-0.5, dtype=dtype)


def kets(count, dim, dtype=DOUBLE):
    return random_kets(count, dim, generator=torch.Generator().manual_seed(5), dtype=dtype)


def test_single_precision_of_seven_dissipators_is_that_of_double():
    for name in dissipators.MODELS:
        for time in (0.3, 1.0, 3.0):
            case = dissipators.measure(name, 9, time)
            assert case.holds, case


def dephasing(dim, *, hamiltonian=0.0):
    """Dephasing in the number: coherences decay at half the squared difference."""
    a = torch.diag(torch.arange(1, dim).sqrt(), 1) + 0j
    return Lindbladian(hamiltonian * (a + a.mH), number(dim)[None])


def driven(base, batch):
    dim = base.dim
    drive = number(dim)[None].to(base.dtype)
    return DrivenLindbladian(
        base, drive, torch.linspace(0.1, 1, batch)[:, None, None].to(base.dtype.to_real())
    )


# What each gives for dynamics, in single precision.
PATHS = {
    "ExactChannel": lambda dynamics, states: ExactChannel().evolve(states, dynamics, time=1.0).density(),
    "Heisenberg": lambda dynamics, states: (
        Heisenberg().evolve(states, dynamics, time=1.0).probabilities(kets(3, 9).to(states.dtype))
    ),
    "Hybrid": lambda dynamics, states: (
        Hybrid(1, 0.0, seed=0).evolve(states, dynamics, time=1.0).probabilities(kets(3, 9).to(states.dtype))
    ),
    "shared drive": lambda dynamics, states: (
        ExactChannel()
        .evolve(
            states,
            DrivenLindbladian(
                dynamics, number(9)[None].to(dynamics.dtype), torch.ones(2, 1).to(dynamics.dtype.to_real())
            ),
            time=1.0,
        )
        .density()
    ),
    "own drives": lambda dynamics, states: (
        ExactChannel().evolve(states, driven(dynamics, 2), time=1.0).density()
    ),
    "observables": lambda dynamics, states: propagate_observables(
        dynamics, density_of(kets(2, 9)).to(dynamics.dtype), 1.0
    ),
    "contraction": lambda dynamics, states: contraction(
        dynamics,
        density_of(states.kets[0, 0])[None],
        torch.eye(9, dtype=dynamics.dtype)[None] / 9,
        1.0,
    ),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("hamiltonian", [0.0, 1.0])
def test_every_exact_path_is_finite_and_right_under_dephasing(path, hamiltonian):
    values = [
        PATHS[path](
            dephasing(9, hamiltonian=hamiltonian).to(dtype), PureEnsemble(uniform(9, dtype).expand(2, 1, 9))
        )
        for dtype in (SINGLE, DOUBLE)
    ]
    assert float((values[0] - values[1]).abs().max()) <= 5e-5


def test_coherences_of_a_dephased_number_decay_as_known():
    """e^{−½(m−n)²t} of each coherence, at D = 9 and time 1, where single precision once was NaN."""
    moved = ExactChannel().evolve(PureEnsemble(uniform(9)), dephasing(9), time=1.0).density()
    levels = torch.arange(9.0)
    expected = (-0.5 * (levels[:, None] - levels).square()).exp() / 9
    assert float((moved - expected).abs().max()) <= 2e-6


@pytest.fixture
def short_guess(monkeypatch):
    """A guess of the spectrum far too short, so that every series outgrows its vector."""
    real = propagation.field_of_values

    def guess(dynamics):
        field, expected = real(dynamics)
        return field, expected.scaled(0.1)

    for module in (propagation, sys.modules["qinn.quantum.generators.driven_propagation"]):
        monkeypatch.setattr(module, "field_of_values", guess)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_guess_of_the_spectrum_costs_time_and_nothing_else(short_guess, path, dtype):
    states = PureEnsemble(uniform(9, dtype).expand(2, 1, 9))
    found = PATHS[path](dephasing(9, hamiltonian=1.0).to(dtype), states)
    expected = torch.linalg.matrix_exp(dephasing(9, hamiltonian=1.0).to(DOUBLE).superoperator())
    if path == "ExactChannel":
        density = (expected @ density_of(uniform(9, DOUBLE)[0]).flatten()).reshape(9, 9)
        assert float((found - density).abs().max()) <= (1e-6 if dtype == SINGLE else 1e-12)
    assert bool(torch.isfinite(torch.view_as_real(found + 0j)).all())


@pytest.mark.parametrize("path", ["ExactChannel", "own drives", "Heisenberg"])
@pytest.mark.parametrize("guess", ["good", "short"])
def test_gradients_are_finite_where_only_the_backward_pass_meets_the_fast_modes(path, guess, request):
    """Populations do not decay, so that the forward series is easy; the gradient of a coherence decays fast."""
    if guess == "short":
        request.getfixturevalue("short_guess")
    gradients = []
    for dtype in (SINGLE, DOUBLE):
        jump = number(9)[None].to(dtype).requires_grad_()
        start = torch.eye(9, dtype=dtype)[:1].expand(2, 1, 9)
        found = PATHS[path](Lindbladian(torch.zeros(9, 9, dtype=dtype), jump), PureEnsemble(start))
        weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (gradient,) = torch.autograd.grad((found.real * weights.to(found.real)).sum(), jump)
        gradients.append(gradient)
    # Where the guess of the spectrum is wrong, a series that ends early for its start has not ended for its gradient.
    allowed = 1e-2 if guess == "short" else 1e-4
    assert float((gradients[0] - gradients[1]).abs().max()) <= allowed * float(gradients[1].abs().max())


@pytest.mark.parametrize("path", ["ExactChannel", "own drives"])
def test_second_derivatives_assume_nothing_about_the_spectrum(short_guess, path):
    values = []
    for dtype in (SINGLE, DOUBLE):
        rate = torch.tensor(1.0, dtype=dtype.to_real(), requires_grad=True)
        dynamics = Lindbladian(torch.zeros(9, 9, dtype=dtype), rate * number(9)[None].to(dtype))
        found = PATHS[path](dynamics, PureEnsemble(uniform(9, dtype).expand(2, 1, 9))).real[0, 0, 1]
        (first,) = torch.autograd.grad(found, rate, create_graph=True)
        (second,) = torch.autograd.grad(first, rate)
        values.append(float(second))
    # Without drives e^{−r²/2}/9, with them times a phase.
    if path == "ExactChannel":
        assert values[1] == pytest.approx(0.0, abs=1e-10)  # (r² − 1)e^{−r²/2}/9 at r = 1
    assert values[0] == pytest.approx(values[1], abs=1e-4)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
def test_what_fails_with_care_too_ends_in_one_sentence(monkeypatch, dtype):
    monkeypatch.setattr(chebyshev, "_growth", lambda *_: torch.nan)
    with pytest.raises(ArgumentError, match="even in double precision"):
        propagate_densities(dephasing(9).to(dtype), density_of(uniform(9, dtype)), 1.0)
    with pytest.raises(ArgumentError, match="even in double precision"):
        ExactChannel().evolve(
            MixedState(density_of(uniform(9, dtype))), driven(dephasing(9).to(dtype), 1), time=1.0
        )


def test_nan_in_what_is_evolved_is_no_endless_recursion():
    broken = torch.full((9, 9), torch.nan, dtype=SINGLE)
    with pytest.raises(ArgumentError, match="finite"):
        propagate_densities(dephasing(9), broken, 1.0)


@pytest.mark.parametrize("path", PATHS)
def test_a_multiple_of_the_identity_in_a_jump_operator_costs_no_digits(path):
    """L and L + c𝟙 differ by a Hamiltonian only; in single precision what cancels would leave its round-off."""
    generator = torch.Generator().manual_seed(4)
    jump = torch.randn(1, 9, 9, generator=generator, dtype=DOUBLE) / 9 + 9 * torch.eye(9, dtype=DOUBLE)
    values = []
    for dtype in (SINGLE, DOUBLE):
        dynamics = Lindbladian(torch.zeros(9, 9, dtype=dtype), jump.to(SINGLE).to(dtype))
        values.append(PATHS[path](dynamics, PureEnsemble(uniform(9, dtype).expand(2, 1, 9))))
    assert float((values[0] - values[1]).abs().max()) <= 2e-6
