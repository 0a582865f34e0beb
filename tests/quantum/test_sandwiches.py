"""The series in real coordinates: the exponential of the dense generator, and its derivatives."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from qinn.quantum import LearnableLindbladian, Lindbladian, hermitian_from, jump_operators_from
from qinn.quantum.generators.propagation import propagate_densities, propagate_observables
from qinn.quantum.generators.propagation_along import propagate_densities_along
from qinn.quantum.numerics import actions, chebyshev

DIM = 9


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def matrices(*batch, seed=0, dtype=torch.complex128):
    return torch.randn(*batch, DIM, DIM, dtype=dtype, generator=generator(seed))


def dynamics(num_jumps=2, hamiltonian_scale=3.0, jump_scale=1.0, seed=0):
    module = LearnableLindbladian(
        DIM,
        num_jumps,
        hamiltonian_scale=hamiltonian_scale,
        jump_scale=jump_scale,
        seed=seed,
        dtype=torch.float64,
    )
    return module.requires_grad_(False)()


def one_way(seed):
    """A jump that only leads from one level to another: its generator is far from normal."""
    jump = torch.zeros(1, DIM, DIM, dtype=torch.complex128)
    jump[0, 0, 1 + seed % (DIM - 1)] = 7.0
    return Lindbladian(dynamics(0, seed=seed).hamiltonian, jump)


SYSTEMS = {
    "gentle": lambda seed: dynamics(seed=seed),
    "no jumps": lambda seed: dynamics(0, seed=seed),
    "no hamiltonian": lambda seed: dynamics(3, 0.0, 4.0, seed=seed),
    "one jump, strong": lambda seed: dynamics(1, 1.0, 40.0, seed=seed),
    "fast rotation": lambda seed: dynamics(2, 30.0, 0.1, seed=seed),
    "one way": one_way,
}


def largest_error(approximate, exact, initial):
    errors = torch.linalg.vector_norm(approximate - exact, dim=(-2, -1))
    return float((errors / torch.linalg.vector_norm(initial, dim=(-2, -1))).max())


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_matrix_is_exact_to_the_tolerance(name, tolerance):
    for seed in range(8):
        lindbladian, initial = SYSTEMS[name](seed), matrices(3, seed=seed)
        if seed % 2:
            initial = initial + initial.mH
        initial[1] *= 1e-5
        channel = torch.linalg.matrix_exp(lindbladian.superoperator())
        forwards = (initial.flatten(1) @ channel.mT).reshape(initial.shape)
        backwards = (initial.flatten(1) @ channel.conj()).reshape(initial.shape)
        found = propagate_densities(lindbladian, initial, 1.0, tolerance)
        assert largest_error(found, forwards, initial) <= tolerance
        found = propagate_observables(lindbladian, initial, 1.0, tolerance)
        assert largest_error(found, backwards, initial) <= tolerance


@pytest.mark.parametrize("num_jumps", [0, 1, 3])
@pytest.mark.parametrize("hermitian", [True, False])
def test_derivatives_are_those_of_finite_differences(num_jumps, hermitian):
    def evolve(free_hamiltonian, free_jumps, real, imaginary):
        lindbladian = Lindbladian(hermitian_from(free_hamiltonian), jump_operators_from(free_jumps))
        initial = hermitian_from(real) if hermitian else torch.complex(real, imaginary)
        return torch.view_as_real(propagate_observables(lindbladian, initial, 0.7, 1e-14))

    shapes = [(DIM, DIM), (num_jumps, 2, DIM, DIM), (2, DIM, DIM), (2, DIM, DIM)]
    inputs = [
        (0.4 * torch.randn(shape, dtype=torch.float64, generator=generator(seed))).requires_grad_()
        for seed, shape in enumerate(shapes)
    ]
    if hermitian:
        inputs[3].requires_grad_(False)
    assert gradcheck(evolve, inputs, fast_mode=True)
    assert gradgradcheck(evolve, inputs, fast_mode=True)


@pytest.mark.parametrize("wanted", ["operators", "matrices"])
def test_either_gradient_alone_is_that_of_both(wanted):
    lindbladian = dynamics()
    both = [value.clone().requires_grad_() for value in (lindbladian.jump_operators, matrices(2))]
    one = [value.detach().clone() for value in both]
    one[0 if wanted == "operators" else 1].requires_grad_()
    for jumps, initial in (both, one):
        evolved = propagate_densities(Lindbladian(lindbladian.hamiltonian, jumps), initial, 1.0)
        evolved.abs().square().sum().backward()
    for first, second in zip(both, one, strict=True):
        assert second.grad is None or torch.allclose(first.grad, second.grad, atol=1e-12)
    assert sum(value.grad is not None for value in one) == 1


@pytest.mark.parametrize("together", [0, 10**9])
def test_gradients_are_those_of_one_matrix_where_operators_are_applied(together, monkeypatch):
    monkeypatch.setattr(actions, "_MOST_TOGETHER", together)
    gradients = []
    for largest in (DIM, 0):
        monkeypatch.setattr(actions, "_LARGEST_MATRIX_DIM", largest)
        given = [
            each.clone().requires_grad_()
            for each in (dynamics().hamiltonian, dynamics().jump_operators, matrices(2))
        ]
        lindbladian = Lindbladian(*given[:2], validate=False)
        once = propagate_observables(lindbladian, given[2], 3.0, 1e-12)
        along = propagate_densities_along(lindbladian, given[2], [0.4, 1.1], 1e-12)
        weights = matrices(3, 2, seed=5)
        value = (torch.cat([once[None], along]) * weights).real.sum()
        gradients.append(torch.autograd.grad(value, given))
    for known, found in zip(*gradients, strict=True):
        assert torch.allclose(found, known, rtol=1e-9, atol=1e-9)


def test_where_terms_grow_too_large_a_cautious_plan_gives_the_same(monkeypatch):
    lindbladian, initial = dynamics(2), matrices(2)
    usual = propagate_densities(lindbladian, initial, 1.0)
    sizes = iter([torch.inf] + [0.0] * 1000)
    monkeypatch.setattr(chebyshev, "_growth", lambda *_: next(sizes))
    assert torch.allclose(propagate_densities(lindbladian, initial, 1.0), usual, atol=1e-11)
    assert next(sizes) == 0.0


def test_no_matrices_and_matrices_of_zeros_stay_what_they_are():
    lindbladian = dynamics()
    assert propagate_densities(lindbladian, matrices(0), 1.0).shape == (0, DIM, DIM)
    assert not propagate_densities(lindbladian, 0 * matrices(2), 1.0).any()


def test_expecting_less_than_the_field_costs_less_and_bounds_the_same():
    field, expected = chebyshev.FieldOfValues(-5.0, 0.5, 8.0), chebyshev.FieldOfValues(-3.0, 0.0, 6.0)
    careful, hopeful = (chebyshev.plan_exponential(field, 1e-6, guess) for guess in (None, expected))
    assert hopeful.focal < careful.focal
    assert max(hopeful.error, careful.error) <= 1e-6
    assert hopeful.field == careful.field == field


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-3])
def test_gradients_in_double_precision_are_as_exact_as_values_for_weak_dynamics_too(strength):
    for seed in range(3):
        module = LearnableLindbladian(
            DIM, 2, hamiltonian_scale=3 * strength, jump_scale=strength, seed=seed, dtype=torch.float64
        )
        initial, weight = (hermitian_from(matrices(seed=shift + seed).real) for shift in (0, 50))
        lindbladian, gradients = module(), []
        channel = torch.linalg.matrix_exp(lindbladian.superoperator())
        exact = (channel @ initial.flatten()).reshape(DIM, DIM)
        for evolved in (propagate_densities(lindbladian, initial, 1.0), exact):
            value = (evolved * weight.conj()).sum().real
            found = torch.autograd.grad(value, list(module.parameters()), retain_graph=True)
            gradients.append(torch.cat([gradient.flatten() for gradient in found]))
        difference = torch.linalg.vector_norm(gradients[0] - gradients[1])
        assert float(difference / torch.linalg.vector_norm(gradients[1])) < 1e-12
