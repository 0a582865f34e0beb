"""Laws that every evolution keeps, on random dynamics."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.quantum import (
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    NoEvolution,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    check_channel,
    check_density,
    density_of,
    embed,
    permute_ket,
    permute_operator,
    probabilities,
    product,
    product_density,
    purity,
    random_kets,
)
from qinn.quantum.checking import laws
from qinn.quantum.generators.propagation import propagate_densities, propagate_observables

DTYPE = torch.complex128
SEEDS = st.integers(0, 10_000)
DIM = st.integers(1, 12)
NUM_JUMPS = st.integers(0, 3)
TIME = st.integers(0, 300).map(lambda hundredths: hundredths / 100)
QUICK = settings(max_examples=12, deadline=None, derandomize=True)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def random_dynamics(dim, num_jumps, seed):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=1.0, seed=seed, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def pure(dim, seed, *batch):
    return PureEnsemble(random_kets(*batch, 1, dim, generator=generator(seed + 1), dtype=DTYPE))


def mixed(dim, seed, *batch):
    kets = random_kets(*batch, 3, dim, generator=generator(seed + 2), dtype=DTYPE)
    return MixedState(kets.mT @ kets.conj() / 3)


def random_unitary(dim, seed):
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator(seed), dtype=DTYPE))[0]


def close(first, second, tolerance=1e-11):
    return bool(((first - second).abs() <= tolerance).all())


@QUICK
@given(dim=DIM, num_jumps=NUM_JUMPS, seed=SEEDS, time=TIME)
def test_channel_keeps_densities_physical(dim, num_jumps, seed, time):
    dynamics = random_dynamics(dim, num_jumps, seed)
    for initial in (pure(dim, seed, 2), mixed(dim, seed, 2)):
        check_density(ExactChannel().evolve(initial, dynamics, time=time, steps=1).density(), tolerance=1e-11)


@QUICK
@given(dim=st.sampled_from([1, 3, 9]), num_jumps=NUM_JUMPS, seed=SEEDS, time=TIME)
def test_channel_is_completely_positive_and_its_adjoint_unital(dim, num_jumps, seed, time):
    dynamics = random_dynamics(dim, num_jumps, seed)
    check_channel(lambda matrix: propagate_densities(dynamics, matrix, time), dim, tolerance=1e-10)
    identity = torch.eye(dim, dtype=DTYPE)
    assert close(propagate_observables(dynamics, identity, time), identity)


@QUICK
@given(dim=DIM, num_jumps=NUM_JUMPS, seed=SEEDS, time=TIME)
def test_heisenberg_and_schroedinger_pictures_agree(dim, num_jumps, seed, time):
    dynamics = random_dynamics(dim, num_jumps, seed)
    vectors = random_kets(4, dim, generator=generator(seed), dtype=DTYPE)
    for initial in (pure(dim, seed, 2), mixed(dim, seed, 2)):
        forwards = ExactChannel().evolve(initial, dynamics, time=time, steps=1)
        backwards = Heisenberg().evolve(initial, dynamics, time=time, steps=1)
        assert close(forwards.probabilities(vectors), backwards.probabilities(vectors))
        assert close(forwards.density(), backwards.density())


@QUICK
@given(dim=DIM, seed=SEEDS, first=TIME, second=TIME)
def test_evolving_twice_is_evolving_once_for_the_sum_of_times(dim, seed, first, second):
    dynamics, initial = random_dynamics(dim, 2, seed), pure(dim, seed)
    for evolution in (ExactChannel(), Unitary(), NoEvolution()):
        halfway = evolution.evolve(initial, dynamics, time=first, steps=1)
        twice = evolution.evolve(halfway, dynamics, time=second, steps=1)
        once = evolution.evolve(initial, dynamics, time=first + second, steps=1)
        assert close(twice.density(), once.density())


@QUICK
@given(dim=DIM, num_jumps=st.integers(1, 3), seed=SEEDS)
def test_gauge_changes_nothing(dim, num_jumps, seed):
    dynamics, initial = random_dynamics(dim, num_jumps, seed), mixed(dim, seed)
    H, L = dynamics.hamiltonian, dynamics.jump_operators
    rotated = torch.einsum("kl,lab->kab", random_unitary(num_jumps, seed), L)
    shift = torch.randn(num_jumps, 1, 1, generator=generator(seed), dtype=DTYPE)
    moved = H - 0.5j * (shift.conj() * L - shift * L.mH).sum(0)
    same = [Lindbladian(H, rotated), Lindbladian(moved, L + shift * torch.eye(dim))]
    expected = ExactChannel().evolve(initial, dynamics, time=0.9, steps=1).density()
    for other in same:
        assert close(ExactChannel().evolve(initial, other, time=0.9, steps=1).density(), expected)


@QUICK
@given(dim=DIM, num_jumps=NUM_JUMPS, seed=SEEDS, time=TIME)
def test_trace_distance_never_grows(dim, num_jumps, seed, time):
    dynamics = random_dynamics(dim, num_jumps, seed)
    both = mixed(dim, seed, 2)
    after = ExactChannel().evolve(both, dynamics, time=time, steps=1).density()
    assert laws.distance_gain(both.density(), after) <= 1e-12


@QUICK
@given(dim=DIM, seed=SEEDS, time=TIME)
def test_unitary_equals_the_channel_without_jumps(dim, seed, time):
    dynamics = random_dynamics(dim, 2, seed)
    for initial in (pure(dim, seed, 2), mixed(dim, seed, 2)):
        turned = Unitary().evolve(initial, dynamics, time=time, steps=1)
        exact = ExactChannel().evolve(initial, dynamics.without_jumps(), time=time, steps=1)
        assert close(turned.density(), exact.density())
        assert close(purity(turned.density()), purity(initial.density()))


@QUICK
@given(dim=DIM, num_jumps=NUM_JUMPS, seed=SEEDS)
def test_generator_action_superoperator_and_adjoint_agree(dim, num_jumps, seed):
    dynamics = random_dynamics(dim, num_jumps, seed)
    source = generator(seed)
    matrix, observable = torch.randn(2, dim, dim, generator=source, dtype=DTYPE)
    changed = dynamics.apply(matrix)
    assert close((dynamics.superoperator() @ matrix.flatten()).reshape(dim, dim), changed)
    pairing = (observable.conj() * changed).sum() - (dynamics.adjoint(observable).conj() * matrix).sum()
    assert abs(pairing) < 1e-11


def local_dynamics(dims, seed):
    """Local Hamiltonians and jumps on every factor; the joint dynamics and those of each factor."""
    parts = [random_dynamics(dim, 2, seed + position) for position, dim in enumerate(dims)]
    H = sum(embed(part.hamiltonian, dims, [position]) for position, part in enumerate(parts))
    L = torch.cat([embed(part.jump_operators, dims, [position]) for position, part in enumerate(parts)])
    return Lindbladian(H, L), parts


LOCAL_DIMS = st.sampled_from([(2,), (1, 3), (2, 2), (2, 3), (2, 1, 3), (2, 2, 3)])


@QUICK
@given(dims=LOCAL_DIMS, seed=SEEDS)
def test_local_dynamics_keep_products_in_every_single_trajectory(dims, seed):
    dynamics, _ = local_dynamics(dims, seed)
    source = generator(seed)
    start = product([random_kets(3, 1, dim, generator=source, dtype=DTYPE) for dim in dims])
    jumps = QuantumJumps(8, seed=seed, record=True)
    for evolution in (jumps, SteppedJumps(8, seed=seed), GumbelJumps(8, seed=seed)):
        state = evolution.evolve(PureEnsemble(start), dynamics, time=2.0, steps=5)
        assert float(laws.entangled_part(state.kets, dims).max()) < 1e-12


@QUICK
@given(dims=LOCAL_DIMS, seed=SEEDS)
def test_local_dynamics_evolve_each_factor_by_itself(dims, seed):
    dynamics, parts = local_dynamics(dims, seed)
    states = [mixed(dim, seed + position) for position, dim in enumerate(dims)]
    joint = MixedState(product_density([state.density() for state in states]))
    together = ExactChannel().evolve(joint, dynamics, time=1.1, steps=1).density()
    apart = [
        ExactChannel().evolve(state, part, time=1.1, steps=1).density()
        for state, part in zip(states, parts, strict=True)
    ]
    assert close(together, product_density(apart))


@QUICK
@given(seed=SEEDS, order=st.permutations(range(3)))
def test_permuting_factors_permutes_the_evolution(seed, order):
    dims = (2, 1, 3)
    dynamics, initial = random_dynamics(6, 2, seed), pure(6, seed, 2)
    vectors = random_kets(3, 6, generator=generator(seed), dtype=DTYPE)
    moved = Lindbladian(
        permute_operator(dynamics.hamiltonian, dims, order),
        permute_operator(dynamics.jump_operators, dims, order),
    )
    start = PureEnsemble(permute_ket(initial.kets, dims, order))
    for evolution in (
        ExactChannel(),
        Heisenberg(),
        Unitary(),
        QuantumJumps(4, seed=1),
        SteppedJumps(4, seed=1),
        GumbelJumps(4, seed=1),
    ):
        before = evolution.evolve(initial, dynamics, time=1.2, steps=3)
        after = evolution.evolve(start, moved, time=1.2, steps=3)
        assert close(
            after.probabilities(permute_ket(vectors, dims, order)), before.probabilities(vectors), 1e-9
        )


@QUICK
@given(dim=DIM, num_jumps=NUM_JUMPS, seed=SEEDS, time=TIME)
def test_trajectories_have_unit_norm_at_any_time(dim, num_jumps, seed, time):
    dynamics, initial = random_dynamics(dim, num_jumps, seed), pure(dim, seed, 2)
    for evolution in (QuantumJumps(6, seed=seed), SteppedJumps(6, seed=seed), GumbelJumps(6, seed=seed)):
        kets = evolution.evolve(initial, dynamics, time=time, steps=3).kets
        assert kets.shape == (2, 6, dim)
        assert float(laws.norm_deviation(kets).max()) < 1e-12


EVOLUTIONS = [
    NoEvolution(),
    Unitary(),
    ExactChannel(),
    Heisenberg(),
    QuantumJumps(4, seed=5),
    SteppedJumps(4, seed=5),
    GumbelJumps(4, seed=5),
]


@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=lambda evolution: type(evolution).__name__)
@pytest.mark.parametrize("dim", [2, 9])
def test_batch_gives_the_same_as_a_loop(evolution, dim):
    dynamics, initial = random_dynamics(dim, 2, 3), pure(dim, 3, 2, 3)
    vectors = random_kets(3, dim, generator=generator(0), dtype=DTYPE)
    together = evolution.evolve(initial, dynamics, time=1.3, steps=4)
    for row in range(2):
        for column in range(3):
            alone = evolution.evolve(PureEnsemble(initial.kets[row, column]), dynamics, time=1.3, steps=4)
            assert close(alone.probabilities(vectors), together.probabilities(vectors)[row, column], 1e-10)
            assert close(alone.density(), together.density()[row, column], 1e-10)


def test_trajectories_average_to_the_channel_with_the_exact_error():
    """E‖ρ_M − ρ‖² = (1 − tr ρ²)/M, on 400 independent ensembles of one state, for three sizes M."""
    dynamics, initial = random_dynamics(6, 2, 1), pure(6, 1)
    exact = ExactChannel().evolve(initial, dynamics, time=1.5, steps=1).density()
    many = PureEnsemble(initial.kets.expand(400, 1, 6))
    torch.manual_seed(0)
    for num_trajectories in (1, 8, 32):
        state = QuantumJumps(num_trajectories).evolve(many, dynamics, time=1.5, steps=2)
        errors = (state.density() - exact).abs().square().sum((-2, -1))
        expected = (1 - purity(exact)) / num_trajectories
        assert abs(errors.mean() - expected) / (errors.std() / 20) < 4
        mean = state.density().mean(0)
        deviation = (state.density().real.std(0) / 20).clamp(min=1e-12)
        assert float(((mean - exact).real / deviation).abs().max()) < 4.5


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("dim", [4, 20])
def test_trajectory_probabilities_agree_with_the_channel_within_four_errors(dtype, dim):
    dynamics, initial = random_dynamics(dim, 3, 2).to(dtype), pure(dim, 2, 3)
    initial = PureEnsemble(initial.kets.to(dtype))
    vectors = random_kets(4, dim, generator=generator(0), dtype=DTYPE).to(dtype)
    exact = Heisenberg().evolve(initial, dynamics, time=2.0, steps=1).probabilities(vectors)
    torch.manual_seed(4)
    sampled = QuantumJumps(3000).evolve(initial, dynamics, time=2.0, steps=1).probabilities(vectors)
    scores = (sampled.mean(-2) - exact[:, 0]) / (sampled.std(-2) / 3000**0.5)
    assert float(scores.abs().max()) < 4


def test_relaxed_jumps_average_to_the_channel_as_the_steps_shrink():
    dynamics, initial = random_dynamics(3, 2, 7), pure(3, 7)
    exact = ExactChannel().evolve(initial, dynamics, time=1.0, steps=1).density()
    torch.manual_seed(0)
    errors = []
    for steps in (4, 64):
        state = GumbelJumps(20_000).evolve(initial, dynamics, time=1.0, steps=steps)
        errors.append(float((state.density() - exact).abs().max()))
    assert errors[1] < 0.02 < errors[0]


def test_unraveling_mixed_factors_by_random_basis_kets_averages_to_the_channel():
    """A missing modality: maximally mixed second factor, one random basis ket per trajectory."""
    dims, num_trajectories = (2, 3), 4000
    dynamics = random_dynamics(prod(dims), 2, 9)
    known = random_kets(2, generator=generator(0), dtype=DTYPE)
    drawn = torch.eye(3, dtype=DTYPE)[torch.randint(3, (num_trajectories,), generator=generator(1))]
    initial = PureEnsemble(product([known.expand(num_trajectories, 2), drawn]))
    joint = MixedState(product_density([density_of(known), torch.eye(3, dtype=DTYPE) / 3]))
    exact = ExactChannel().evolve(joint, dynamics, time=1.0, steps=1)
    torch.manual_seed(3)
    vectors = random_kets(4, 6, generator=generator(2), dtype=DTYPE)
    sampled = probabilities(
        QuantumJumps(num_trajectories).evolve(initial, dynamics, time=1.0, steps=1).kets, vectors
    )
    scores = (sampled.mean(0) - exact.probabilities(vectors)[0]) / (sampled.std(0) / num_trajectories**0.5)
    assert float(scores.abs().max()) < 4
