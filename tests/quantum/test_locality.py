"""The knob of the non-local coupling: nothing entangles at 0, the very same model at 1, a channel everywhere."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    LearnableLindbladian,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    check_channel,
    embed,
    entanglement_entropies,
    local_terms,
    mutual_information,
    product,
    propagate_densities,
    random_kets,
    scale_coupling,
    scale_operator,
)

DTYPE = torch.complex128
SYSTEMS = [((2, 2), 1), ((2, 3), 2), ((2, 2, 2), 2), ((3, 1, 2), 1)]


def dynamics(dims, jumps, seed=0):
    dim = int(torch.tensor(dims).prod())
    module = LearnableLindbladian(dim, jumps, jump_scale=1.0, seed=seed, dtype=torch.float64)
    return module.requires_grad_(False)()


def products(dims, number=6):
    draw = torch.Generator().manual_seed(3)
    return product([random_kets(number, dim, dtype=DTYPE, generator=draw) for dim in dims])


@pytest.mark.parametrize(("dims", "jumps"), SYSTEMS)
def test_without_coupling_products_stay_products_in_the_average_and_in_each_trajectory(dims, jumps):
    uncoupled = scale_coupling(dynamics(dims, jumps), dims, 0)
    kets = products(dims)
    density = ExactChannel().evolve(PureEnsemble(kets[:, None]), uncoupled, time=2.0).density()
    trajectories = QuantumJumps(16, seed=0).evolve(PureEnsemble(kets[:, None]), uncoupled, time=2.0)
    for part in range(len(dims)):
        rest = [other for other in range(len(dims)) if other != part]
        assert float(mutual_information(density, dims, [part], rest).abs().max()) < 1e-10
    assert float(entanglement_entropies(trajectories.kets, dims).max()) < 1e-10
    # The model itself entangles them.
    coupled = ExactChannel().evolve(PureEnsemble(kets[:, None]), dynamics(dims, jumps), time=2.0).density()
    assert float(mutual_information(coupled, dims, [0], list(range(1, len(dims)))).min()) > 1e-3


@pytest.mark.parametrize(("dims", "jumps"), SYSTEMS)
def test_the_learned_coupling_is_the_model_bit_for_bit_and_is_reached_continuously(dims, jumps):
    model = dynamics(dims, jumps)
    assert scale_coupling(model, dims, 1) is model
    assert scale_operator(model.hamiltonian, dims, 1.0) is model.hamiltonian
    for step in (-1e-7, 1e-7):
        near = scale_coupling(model, dims, 1 + step).superoperator() - model.superoperator()
        assert float(near.abs().max()) < 1e-5


@pytest.mark.parametrize("factor", [0, 0.3, 0.9, 1.5, 4.0])
@pytest.mark.parametrize(("dims", "jumps"), SYSTEMS)
def test_every_setting_is_a_channel(dims, jumps, factor):
    scaled = scale_coupling(dynamics(dims, jumps, seed=1), dims, factor)
    assert torch.allclose(scaled.hamiltonian, scaled.hamiltonian.mH, atol=1e-14)
    check_channel(lambda matrices: propagate_densities(scaled, matrices, 0.8), scaled.dim)


@pytest.mark.parametrize("factor", [0, 0.4, 1.7])
def test_dynamics_that_act_on_one_factor_each_are_left_as_they_are(factor):
    dims, draw = (2, 3), torch.Generator().manual_seed(5)
    first = torch.randn(2, 2, dtype=DTYPE, generator=draw)
    second = torch.randn(3, 3, dtype=DTYPE, generator=draw)
    local = Lindbladian(
        embed(first + first.mH, dims, (0,)) + embed(second + second.mH, dims, (1,)),
        # The second has a trace, which turns its factor.
        [embed(first, dims, (0,)), embed(second, dims, (1,)) + (0.4 - 0.7j) * torch.eye(6)],
    )
    scaled = scale_coupling(local, dims, factor)
    assert torch.allclose(scaled.superoperator(), local.superoperator(), atol=1e-12)


def test_between_none_and_all_the_dissipator_is_a_mixture_of_both():
    dims, model = (2, 2), dynamics((2, 2), 2)
    # Without a Hamiltonian and without traces only dissipators are left.
    jumps = (
        model.jump_operators
        - torch.eye(4) * model.jump_operators.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    )
    still = Lindbladian(torch.zeros(4, 4).double(), jumps)
    none, some, every = (scale_coupling(still, dims, g).superoperator() for g in (0.0, 0.6, 1.0))
    assert torch.allclose(some, 0.64 * none + 0.36 * every, atol=1e-12)


def test_jumps_of_several_factors_together_are_non_local_though_no_term_is():
    lowering = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)
    together = embed(lowering, (2, 2), (0,)) + embed(lowering, (2, 2), (1,))
    assert torch.allclose(local_terms(together, (2, 2)).sum(0), together)
    both = torch.eye(4, dtype=DTYPE)[3]
    collective = Lindbladian(torch.zeros(4, 4).double(), [together])
    density = ExactChannel().evolve(both, collective, time=0.5).density()
    assert float(mutual_information(density, (2, 2), [0], [1])) > 0.05
    alone = ExactChannel().evolve(both, scale_coupling(collective, (2, 2), 0), time=0.5).density()
    assert float(mutual_information(alone, (2, 2), [0], [1])) < 1e-10


def test_terms_are_an_orthogonal_decomposition():
    operator = torch.randn(3, 12, 12, dtype=DTYPE, generator=torch.Generator().manual_seed(2))
    terms = local_terms(operator, (2, 3, 2))
    identity = torch.eye(12, dtype=DTYPE)
    traces = operator.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * identity
    parts = [*terms.unbind(1), traces, operator - terms.sum(1) - traces]
    for index, one in enumerate(parts):
        for other in parts[:index]:
            assert float((one.conj() * other).sum((-2, -1)).abs().max()) < 1e-12
    assert torch.allclose(local_terms(terms.sum(1), (2, 3, 2)), terms, atol=1e-13)


@pytest.mark.parametrize(
    ("factor", "words"), [(-0.1, "finite and ≥ 0"), (float("nan"), "finite"), ("x", "a number")]
)
def test_a_setting_that_is_none_is_refused(factor, words):
    with pytest.raises(ArgumentError, match=words):
        scale_coupling(dynamics((2, 2), 1), (2, 2), factor)


def test_dimensions_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="product is 4"):
        scale_coupling(dynamics((2, 2), 1), (2, 3), 0.5)
