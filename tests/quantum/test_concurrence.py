"""Concurrence of two qubits: known values and gradients, foreign values, and every kink."""

import pytest
import qutip
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    ExactChannel,
    Lindbladian,
    PureEnsemble,
    bell_state,
    concurrence,
    density_of,
    embed,
    entanglement_entropy,
    hermitian_from,
    ket_concurrence,
    maximally_mixed,
    normalize,
    pauli,
    product,
    random_kets,
)

DTYPE = torch.complex128
KINDS = ["phi+", "phi-", "psi+", "psi-"]


def random_density(seed, rank):
    kets = random_kets(rank, 4, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    weights = torch.rand(rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (weights[:, None, None] * density_of(kets)).sum(0) / weights.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_bell_states_have_concurrence_one(kind):
    ket = bell_state(kind, dtype=DTYPE)
    assert abs(ket_concurrence(ket) - 1) < 1e-14
    assert abs(concurrence(density_of(ket)) - 1) < 1e-14


def test_products_and_their_mixtures_have_none():
    generator = torch.Generator().manual_seed(0)
    kets = product([random_kets(20, 2, generator=generator, dtype=DTYPE) for _ in range(2)])
    assert float(ket_concurrence(kets).max()) < 1e-15
    assert float(concurrence(density_of(kets)).max()) < 1e-14
    assert float(concurrence(density_of(kets).mean(0))) == 0
    assert float(concurrence(maximally_mixed(4, dtype=DTYPE))) == 0


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_qutip_agrees_on_random_states(rank, seed):
    density = random_density(seed, rank)
    theirs = qutip.concurrence(qutip.Qobj(density.numpy(), dims=[[2, 2], [2, 2]]))
    # QuTiP takes square roots of eigenvalues, which makes 1e-8 of the round-off of each that is zero.
    assert abs(float(concurrence(density)) - theirs) < (1e-8 if rank == 4 else 5e-8)


@pytest.mark.parametrize("seed", range(4))
def test_pure_states_agree_as_kets_and_as_densities_in_value_and_gradient(seed):
    raw = random_kets(4, generator=torch.Generator().manual_seed(seed), dtype=DTYPE).requires_grad_()
    values = ket_concurrence(normalize(raw)), concurrence(density_of(normalize(raw)))
    gradients = [torch.autograd.grad(value, raw)[0] for value in values]
    assert abs(values[0] - values[1]) < 1e-12
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-10
    # C² = 4 det ρ_A: the spectrum of a qubit is ½ ± ½ √(1 − C²).
    share = 0.5 * (1 + (1 - values[0].detach() ** 2).sqrt())
    entropy = -(share * share.log2() + (1 - share) * (1 - share).log2())
    assert abs(entanglement_entropy(normalize(raw).detach(), (2, 2), [0]) - entropy) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.34, 0.6, 0.95])
def test_werner_states_have_the_known_value_and_gradient(kind, share):
    p = torch.tensor(share, dtype=torch.float64, requires_grad=True)
    density = p * density_of(bell_state(kind, dtype=DTYPE)) + (1 - p) * maximally_mixed(4, dtype=DTYPE)
    value = concurrence(density)
    assert abs(value - max(0.0, (3 * share - 1) / 2)) < 1e-14
    (gradient,) = torch.autograd.grad(value, p)
    assert abs(gradient - (1.5 if share > 1 / 3 else 0.0)) < 1e-12


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_bell_states_diluted_by_a_product_have_the_known_value_and_gradient(share):
    """Rank 2: p Φ₊ + (1 − p) |01⟩⟨01| has C = p; one λ is at its kink, zero."""
    p = torch.tensor(share, dtype=torch.float64, requires_grad=True)
    other = torch.eye(4, dtype=DTYPE)[1]
    value = concurrence(p * density_of(bell_state(dtype=DTYPE)) + (1 - p) * density_of(other))
    assert abs(value - share) < 1e-14
    assert abs(torch.autograd.grad(value, p)[0] - 1) < 1e-12


@pytest.mark.parametrize("time", [0.1, 0.8, 2.5])
def test_spontaneous_emission_of_both_qubits_takes_the_known_concurrence(time):
    """From Φ₊ the state stays an X state: C = 2(|ρ₀₀,₁₁| − √(ρ₀₁ρ₁₀)) = e^{−2gt}."""
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    lower = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)
    jumps = torch.stack([rate.sqrt() * embed(lower, (2, 2), (site,)) for site in (0, 1)])
    dynamics = Lindbladian(torch.zeros(4, 4, dtype=DTYPE), jumps)
    start = PureEnsemble(bell_state(dtype=DTYPE)[None])
    value = concurrence(ExactChannel().evolve(start, dynamics, time=time, steps=1).density())
    known = (-2 * rate * time).exp()
    assert abs(value - known) < 1e-12
    pair = [torch.autograd.grad(each, rate)[0] for each in (value, known)]
    assert abs(pair[0] - pair[1]) < 1e-11


def test_gradient_is_that_of_finite_differences_on_entangled_states():
    noise = 0.5 * (random_density(1, 4) + maximally_mixed(4, dtype=DTYPE))
    base = 0.7 * density_of(bell_state(dtype=DTYPE)) + 0.3 * noise

    def value(free):
        density = base + 0.01 * hermitian_from(free)
        return concurrence(density / density.diagonal().sum())

    free = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(value, free.requires_grad_(), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize(
    "state",
    [
        torch.eye(4)[0],
        bell_state(),
        bell_state() + bell_state("psi-"),
        torch.full((4,), 0.5),
        torch.tensor([1.0, 0, 0, 1e-4]),
    ],
    ids=["basis", "bell", "two bells", "plus plus", "nearly product"],
)
def test_gradients_are_finite_at_every_kink(state, dtype):
    ket = normalize(state.to(dtype)).requires_grad_()
    density = density_of(ket.detach()).requires_grad_()
    mixed = (0.5 * density_of(ket.detach()) + 0.5 * maximally_mixed(4, dtype=dtype)).requires_grad_()
    for value, leaf in (
        (ket_concurrence(ket), ket),
        (concurrence(density), density),
        (concurrence(mixed), mixed),
    ):
        (gradient,) = torch.autograd.grad(value, leaf)
        assert bool(torch.isfinite(torch.view_as_real(gradient)).all())
        assert float(gradient.abs().max()) < 10


def test_product_states_have_no_gradient():
    for ket in (torch.eye(4, dtype=DTYPE)[2], torch.full((4,), 0.5, dtype=DTYPE)):
        leaves = ket.clone().requires_grad_(), density_of(ket).requires_grad_()
        for value, leaf in zip((ket_concurrence(leaves[0]), concurrence(leaves[1])), leaves, strict=True):
            assert float(torch.autograd.grad(value, leaf)[0].abs().max()) == 0


def test_local_unitaries_change_nothing_and_batches_are_loops():
    generator = torch.Generator().manual_seed(3)
    densities = torch.stack([random_density(seed, 2) for seed in range(6)])
    turns = [
        torch.linalg.qr(torch.randn(2, 2, generator=generator, dtype=DTYPE))[0].contiguous() for _ in range(2)
    ]
    turn = torch.kron(*turns)
    values = concurrence(densities)
    assert float(values.max()) > 0.1
    assert torch.allclose(concurrence(turn @ densities @ turn.mH), values, rtol=0, atol=1e-12)
    assert torch.allclose(torch.stack([concurrence(each) for each in densities]), values, rtol=0, atol=1e-14)
    assert concurrence(densities.reshape(2, 3, 4, 4)).shape == (2, 3)


def test_other_dimensions_are_refused_with_a_remedy():
    with pytest.raises((ArgumentError, Exception), match=r"partial_trace|[Tt]ype-check"):
        concurrence(maximally_mixed(6))
    with pytest.raises((ArgumentError, Exception), match=r"partial_trace|[Tt]ype-check"):
        ket_concurrence(pauli("X")[0])
