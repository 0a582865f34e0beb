"""Identities that hold for every dynamics, to 1e-12, and what they say about gradients: many must vanish."""

import pytest
import torch

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    choi_matrix,
    density_of,
    embed,
    entanglement_entropies,
    expectations,
    find_attractor,
    hermitian_from,
    jump_operators_from,
    partial_trace,
    product,
    product_density,
    random_kets,
    trace_distance,
)
from qinn.quantum.generators.propagation import propagate_densities, propagate_observables

DTYPE = torch.complex128
TOLERANCE = 1e-12
SMALL_AND_SERIES = pytest.mark.parametrize("dim", [1, 2, 5, 8, 9, 14])


def draw(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def free_dynamics(dim, num_jumps=2, seed=0):
    """Free parameters of H and L_k, and the Lindbladian that they make."""
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=1.0, seed=seed, dtype=torch.float64
    )
    return [parameter.detach().requires_grad_() for parameter in module.parameters()]


def dynamics_of(free):
    return Lindbladian(hermitian_from(free[0]), jump_operators_from(free[1]), validate=False)


def random_dynamics(dim, num_jumps=2, seed=0):
    return dynamics_of([parameter.detach() for parameter in free_dynamics(dim, num_jumps, seed)])


def random_state(dim, seed=0, rank=3):
    kets = random_kets(rank, dim, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    return kets.mT @ kets.conj() / rank


def observables(dim, count=3, seed=5):
    return hermitian_from(draw(count, dim, dim, seed=seed)) / dim


def outcomes(evolution, density, lindbladian, time, measured):
    state = evolution.evolve(MixedState(density), lindbladian, time=time, steps=1)
    if isinstance(evolution, Heisenberg):
        return state.expectations(measured).flatten()
    return (measured * state.density().mT).sum((-2, -1)).real


def close(first, second, tolerance=TOLERANCE):
    return float((first - second).detach().abs().max()) < tolerance


def gauge_parameters(num_jumps):
    return draw(num_jumps, num_jumps, seed=7).requires_grad_(), draw(2, num_jumps, seed=8).requires_grad_()


def regauged(lindbladian, generator, shift):
    """L_k → Σ_l U_kl L_l with U = e^{iA}, then L → L + c with H → H − (i/2) Σ (c* L − c L†)."""
    rotation = torch.linalg.matrix_exp(1j * hermitian_from(generator))
    L = torch.einsum("kl,lab->kab", rotation, lindbladian.jump_operators)
    c = torch.complex(shift[0], shift[1])[:, None, None]
    H = lindbladian.hamiltonian - 0.5j * (c.conj() * L - c * L.mH).sum(0)
    return Lindbladian(H, L + c * torch.eye(lindbladian.dim), validate=False)


@SMALL_AND_SERIES
@pytest.mark.parametrize("evolution", [ExactChannel(), Heisenberg()], ids=lambda each: type(each).__name__)
def test_no_outcome_depends_on_the_gauge_of_the_jump_operators(evolution, dim):
    dynamics, gauge = random_dynamics(dim), gauge_parameters(2)
    density, measured = random_state(dim), observables(dim)
    found = outcomes(evolution, density, regauged(dynamics, *gauge), 0.9, measured)
    assert close(found, outcomes(evolution, density, dynamics, 0.9, measured))
    weights = draw(3, seed=1)
    for gradient in torch.autograd.grad(found @ weights, gauge):
        assert close(gradient, torch.zeros_like(gradient))


def test_no_mean_over_trajectories_depends_on_the_gauge():
    """The trajectories themselves do: another gauge is another unravelling of the same average."""
    dim, dynamics = 4, random_dynamics(4, seed=3)
    other = regauged(dynamics, *[parameter.detach() for parameter in gauge_parameters(2)])
    start = random_kets(1, dim, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    exact = outcomes(ExactChannel(), density_of(start[0]), dynamics, 0.9, observables(dim))
    spreads = []
    for unravelled in (dynamics, other):
        torch.manual_seed(0)
        state = QuantumJumps(4000).evolve(PureEnsemble(start), unravelled, time=0.9, steps=1)
        samples = expectations(state.kets, observables(dim))
        scores = (samples.mean(0) - exact) / (samples.std(0) / 4000**0.5)
        assert float(scores.abs().max()) < 4
        spreads.append(samples.std(0))
    assert not torch.allclose(*spreads, rtol=0.02)


@SMALL_AND_SERIES
def test_evolving_twice_has_the_values_and_gradients_of_evolving_for_the_sum(dim):
    free = free_dynamics(dim)
    density, measured, weights = random_state(dim), observables(dim), draw(3, seed=1)

    def forwards(*times):
        moved = density
        for time in times:
            moved = propagate_densities(dynamics_of(free), moved, time)
        return (measured * moved.mT).sum((-2, -1)).real

    def backwards(*times):
        moved = measured
        for time in times:
            moved = propagate_observables(dynamics_of(free), moved, time)
        return (moved * density.mT).sum((-2, -1)).real

    values = [forwards(1.1), forwards(0.4, 0.7), backwards(1.1), backwards(0.7, 0.4)]
    gradients = [torch.autograd.grad(value @ weights, free) for value in values]
    for value, gradient in zip(values[1:], gradients[1:], strict=True):
        assert close(value, values[0])
        for found, known in zip(gradient, gradients[0], strict=True):
            assert close(found, known)


@SMALL_AND_SERIES
def test_neither_the_trace_nor_the_identity_moves_nor_has_a_gradient(dim):
    free = free_dynamics(dim)
    trace = propagate_densities(dynamics_of(free), random_state(dim), 1.3).diagonal().sum()
    assert close(trace, torch.ones_like(trace))
    identity = torch.eye(dim, dtype=DTYPE)
    unit = propagate_observables(dynamics_of(free), identity, 1.3)
    assert close(unit, identity)
    weights = observables(dim, 1)[0]
    for value in (trace.real, (weights * unit.mT).sum().real):
        for gradient in torch.autograd.grad(value, free):
            assert close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("time", [0.3, 2.0])
@pytest.mark.parametrize("dim", [1, 2, 3, 5, 9])
def test_choi_matrix_is_positive_and_its_partial_trace_is_the_identity(dim, time):
    """Σ_a C[(a, c), (a, d)] = δ_cd says that the trace is preserved."""
    dynamics = random_dynamics(dim)
    choi = choi_matrix(lambda matrix: propagate_densities(dynamics, matrix, time), dim)
    assert close(choi, choi.mH)
    assert float(torch.linalg.eigvalsh(choi).min()) > -TOLERANCE
    assert close(partial_trace(choi, (dim, dim), [1]), torch.eye(dim))
    # The identity evolves to the partial trace over the other factor.
    moved = propagate_densities(dynamics, torch.eye(dim, dtype=DTYPE), time)
    assert close(partial_trace(choi, (dim, dim), [0]), moved)


def local_dynamics(dims, frees):
    parts = [dynamics_of(free) for free in frees]
    H = sum(embed(part.hamiltonian, dims, [position]) for position, part in enumerate(parts))
    L = torch.cat([embed(part.jump_operators, dims, [position]) for position, part in enumerate(parts)])
    return Lindbladian(H, L, validate=False), parts


@pytest.mark.parametrize("dims", [(2, 2), (2, 3), (2, 1, 3), (3, 4), (2, 2, 2, 2)], ids=str)
def test_local_dynamics_evolve_products_to_products_and_send_no_signal(dims):
    frees = [free_dynamics(dim, seed=position) for position, dim in enumerate(dims)]
    dynamics, parts = local_dynamics(dims, frees)
    states = [random_state(dim, position) for position, dim in enumerate(dims)]
    together = propagate_densities(dynamics, product_density(states), 1.1)
    apart = [propagate_densities(part, state, 1.1) for part, state in zip(parts, states, strict=True)]
    assert close(together, product_density(apart))
    last = len(dims) - 1
    measured = observables(dims[last], 1)[0]
    value = (measured * partial_trace(together, dims, [last]).mT).sum().real
    *others, own = [torch.autograd.grad(value, free, retain_graph=True) for free in frees]
    for gradient in (each for free in others for each in free):
        assert close(gradient, torch.zeros_like(gradient))
    alone = torch.autograd.grad((measured * apart[last].mT).sum().real, frees[last])
    for found, known in zip(own, alone, strict=True):
        assert close(found, known)


@pytest.mark.parametrize("dims", [(2, 2), (3, 4), (2, 2, 2, 2)], ids=str)
def test_every_single_trajectory_of_local_dynamics_stays_a_product_along_its_gradient_too(dims):
    frees = [free_dynamics(dim, seed=position) for position, dim in enumerate(dims)]
    dynamics, _ = local_dynamics(dims, frees)
    source = torch.Generator().manual_seed(0)
    start = product([random_kets(5, 1, dim, generator=source, dtype=DTYPE) for dim in dims])
    state = QuantumJumps(20, seed=3, record=True).evolve(PureEnsemble(start), dynamics, time=2.5, steps=3)
    assert int(state.record.num_jumps.max()) >= 3
    entropies = entanglement_entropies(state.kets, dims)
    assert float(entropies.detach().abs().max()) < TOLERANCE
    # Entanglement has its minimum there, so the gradient of every entropy vanishes as well.
    for gradient in torch.autograd.grad(entropies.sum(), [each for free in frees for each in free]):
        assert close(gradient, torch.zeros_like(gradient), 1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dim", [2, 4, 8, 11])
def test_the_steady_state_is_the_null_vector_the_fixed_point_and_the_limit(dim, seed):
    dynamics = random_dynamics(dim, seed=seed)
    attractor = find_attractor(dynamics)
    steady = attractor.density
    assert close(dynamics.apply(steady), torch.zeros_like(steady))
    assert close(propagate_densities(dynamics, steady, 2.0), steady)
    late = propagate_densities(dynamics, random_state(dim, seed), 60.0 / float(attractor.spectral_gap))
    assert close(late, steady)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dim", [2, 3, 6])
def test_the_steady_state_is_approached_at_the_rate_of_the_gap(dim, seed):
    """The slowest mode of any state falls by exactly e^{−gap t}, and with it, late, the trace distance."""
    dynamics = random_dynamics(dim, seed=seed)
    attractor = find_attractor(dynamics)
    gap = float(attractor.spectral_gap)
    rates, modes = torch.linalg.eig(dynamics.superoperator().mT)
    slowest = modes[:, (-rates.real).argsort()[1]]
    early, middle, late = 2 / gap, 6 / gap, 24 / gap
    states = [propagate_densities(dynamics, random_state(dim, seed), time) for time in (early, middle, late)]
    first, second, _ = [(slowest @ state.flatten()).abs() for state in states]
    assert abs((second / first).log() / (middle - early) + gap) < 1e-10
    distances = [trace_distance(state, attractor.density) for state in states]
    assert abs((distances[2] / distances[1]).log() / (late - middle) / gap + 1) < 0.15


@pytest.mark.parametrize("dim", [2, 7, 12])
def test_trace_distance_contracts_at_every_step_of_the_way(dim):
    dynamics = random_dynamics(dim)
    states = torch.stack([random_state(dim, 1, rank=1), random_state(dim, 2, rank=2)])
    distances = [trace_distance(*states)]
    for _ in range(12):
        states = propagate_densities(dynamics, states, 0.25)
        distances.append(trace_distance(*states))
    falls = torch.stack(distances).diff()
    assert float(falls.max()) <= TOLERANCE
    assert float(distances[-1]) < 0.9 * float(distances[0])
