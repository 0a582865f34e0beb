"""Laws of kets, densities and entanglement, on random systems of one to four factors."""

from itertools import permutations
from math import log2, prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.quantum import (
    amplitude_phase,
    bell_state,
    check_density,
    cuts,
    density_of,
    embed,
    entanglement_entropies,
    entanglement_entropy,
    fidelity,
    ghz_state,
    hermitian_from,
    ket_fidelity,
    log_negativity,
    maximally_mixed,
    maximum_entropies,
    mutual_information,
    negativity,
    normalize,
    partial_trace,
    partial_transpose,
    permute_ket,
    permute_operator,
    probabilities,
    probabilities_of_density,
    product,
    product_density,
    purity,
    random_kets,
    reduced_density_of_ket,
    renyi_entropy,
    squared_norm,
    trace_distance,
    tripartite_information,
    von_neumann_entropy,
)
from qinn.quantum.checking import laws

DTYPE = torch.complex128
DIMS = st.lists(st.integers(1, 3), min_size=1, max_size=4)
SEEDS = st.integers(0, 10_000)
QUICK = settings(max_examples=15, deadline=None, derandomize=True)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def random_density(dim, source, rank=3):
    kets = random_kets(rank, dim, generator=source, dtype=DTYPE)
    return kets.mT @ kets.conj() / rank


def random_unitary(dim, source):
    return torch.linalg.qr(torch.randn(dim, dim, generator=source, dtype=DTYPE))[0]


def close(first, second, tolerance=1e-12):
    return bool(((first - second).abs() <= tolerance).all())


@QUICK
@given(dims=DIMS, seed=SEEDS)
def test_product_of_unit_kets_is_a_unit_ket_without_entanglement(dims, seed):
    source = generator(seed)
    ket = product([random_kets(5, dim, generator=source, dtype=DTYPE) for dim in dims])
    assert close(squared_norm(ket), torch.ones(5))
    assert bool((entanglement_entropies(ket, dims).abs() < 1e-12).all())


@QUICK
@given(dims=st.lists(st.integers(1, 3), min_size=4, max_size=4), seed=SEEDS)
def test_tripartite_information_is_symmetric_and_zero_for_pure_states_of_its_parts(dims, seed):
    source = generator(seed)
    density = random_density(prod(dims), source, rank=2)
    values = [
        tripartite_information(density, dims, *([one] for one in order)) for order in permutations(range(3))
    ]
    assert close(torch.stack(values), values[0], 1e-10)
    pure = density_of(random_kets(prod(dims), generator=source, dtype=DTYPE))
    assert close(tripartite_information(pure, dims, [0], [1], [2, 3]), torch.zeros(()), 1e-10)


def test_parity_is_synergy_and_copies_are_redundancy():
    kets = torch.eye(8, dtype=DTYPE)
    parity = density_of(kets[[0b000, 0b011, 0b101, 0b110]]).mean(0)
    copies = density_of(kets[[0b000, 0b111]]).mean(0)
    assert close(tripartite_information(parity, (2, 2, 2), [0], [1], [2]), torch.full((), -1.0))
    assert close(tripartite_information(copies, (2, 2, 2), [0], [1], [2]), torch.full((), 1.0))


@QUICK
@given(first=st.integers(1, 4), second=st.integers(1, 4), seed=SEEDS)
def test_renyi_entropy_is_additive_and_below_von_neumanns(first, second, seed):
    source = generator(seed)
    one, other = random_density(first, source), random_density(second, source)
    joint = product_density([one, other])
    assert close(renyi_entropy(joint), renyi_entropy(one) + renyi_entropy(other), 1e-10)
    assert -1e-12 <= float(renyi_entropy(joint)) <= float(von_neumann_entropy(joint)) + 1e-12


@QUICK
@given(dims=DIMS, seed=SEEDS)
def test_partial_trace_undoes_the_product_of_densities(dims, seed):
    source = generator(seed)
    parts = [random_density(dim, source) for dim in dims]
    joint = product_density(parts)
    check_density(joint, tolerance=1e-12)
    for position, part in enumerate(parts):
        assert close(partial_trace(joint, dims, [position]), part)
    assert close(partial_trace(joint, dims, []), torch.ones(1, 1))


@QUICK
@given(dims=DIMS, seed=SEEDS, data=st.data())
def test_reduction_of_a_ket_equals_partial_trace_of_its_density(dims, seed, data):
    ket = random_kets(2, prod(dims), generator=generator(seed), dtype=DTYPE)
    order = data.draw(st.permutations(range(len(dims))))
    keep = order[: data.draw(st.integers(0, len(dims)))]
    assert close(reduced_density_of_ket(ket, dims, keep), partial_trace(density_of(ket), dims, keep))


@QUICK
@given(dims=DIMS, seed=SEEDS)
def test_entropy_of_a_part_equals_that_of_the_rest(dims, seed):
    ket = random_kets(prod(dims), generator=generator(seed), dtype=DTYPE)
    for cut, bound in zip(cuts(len(dims)), maximum_entropies(dims), strict=True):
        rest = [position for position in range(len(dims)) if position not in cut]
        entropy = entanglement_entropy(ket, dims, cut)
        assert close(entropy, entanglement_entropy(ket, dims, rest), 1e-10)
        assert close(entropy, von_neumann_entropy(reduced_density_of_ket(ket, dims, cut)), 1e-10)
        assert -1e-12 <= float(entropy) <= bound + 1e-12


@QUICK
@given(dims=DIMS, seed=SEEDS)
def test_entropies_do_not_change_under_local_unitaries(dims, seed):
    source = generator(seed)
    ket = random_kets(prod(dims), generator=source, dtype=DTYPE)
    turned = ket
    for position, dim in enumerate(dims):
        turned = embed(random_unitary(dim, source), dims, [position]) @ turned
    assert close(entanglement_entropies(turned, dims), entanglement_entropies(ket, dims), 1e-10)


@QUICK
@given(dims=DIMS, seed=SEEDS, data=st.data())
def test_permuting_factors_permutes_the_answers(dims, seed, data):
    order = data.draw(st.permutations(range(len(dims))))
    source = generator(seed)
    parts = [random_kets(dim, generator=source, dtype=DTYPE) for dim in dims]
    ket = random_kets(prod(dims), generator=source, dtype=DTYPE)
    new_dims = [dims[position] for position in order]
    assert close(permute_ket(product(parts), dims, order), product([parts[position] for position in order]))
    moved = permute_ket(ket, dims, order)
    assert close(density_of(moved), permute_operator(density_of(ket), dims, order))
    for new, old in enumerate(order):
        assert close(
            entanglement_entropy(moved, new_dims, [new]), entanglement_entropy(ket, dims, [old]), 1e-10
        )
        assert close(reduced_density_of_ket(moved, new_dims, [new]), reduced_density_of_ket(ket, dims, [old]))


@QUICK
@given(dims=st.lists(st.integers(1, 3), min_size=2, max_size=3), seed=SEEDS)
def test_local_channels_never_raise_mutual_information(dims, seed):
    source = generator(seed)
    density = random_density(prod(dims), source, rank=2)
    assert float(mutual_information(density, dims, [0], [1])) > -1e-10
    dim = dims[0]
    kraus = torch.linalg.qr(torch.randn(2 * dim, dim, generator=source, dtype=DTYPE))[0].reshape(2, dim, dim)
    operators = embed(kraus, dims, [0])
    after = (operators @ density @ operators.mH).sum(0)
    assert float(laws.information_gain(density, after, dims)) <= 1e-10


@QUICK
@given(dim=st.integers(1, 5), seed=SEEDS)
def test_distance_and_fidelity_bound_each_other(dim, seed):
    source = generator(seed)
    first, second = random_density(dim, source), random_density(dim, source, rank=1)
    distance, overlap = trace_distance(first, second), fidelity(first, second)
    assert 1 - overlap.sqrt() <= distance + 1e-7
    assert distance <= (1 - overlap).clamp(min=0).sqrt() + 1e-7
    assert close(overlap, fidelity(second, first), 1e-7)
    assert close(fidelity(first, first), torch.ones(()), 1e-7)
    turn = random_unitary(dim, source)
    assert close(fidelity(turn @ first @ turn.mH, turn @ second @ turn.mH), overlap, 1e-7)


@QUICK
@given(dim=st.integers(1, 6), seed=SEEDS)
def test_fidelity_of_pure_states_is_their_overlap(dim, seed):
    first, second = random_kets(2, dim, generator=generator(seed), dtype=DTYPE)
    overlap = ket_fidelity(first, second)
    assert close(fidelity(density_of(first), density_of(second)), overlap, 1e-7)
    assert close(
        trace_distance(density_of(first), density_of(second)), (1 - overlap).clamp(min=0).sqrt(), 1e-7
    )
    assert close(purity(density_of(first)), torch.ones(()))


@QUICK
@given(dim=st.integers(1, 6), seed=SEEDS)
def test_complete_measurement_has_probabilities_that_sum_to_one(dim, seed):
    source = generator(seed)
    basis = random_unitary(dim, source)
    ket, density = random_kets(3, dim, generator=source, dtype=DTYPE), random_density(dim, source)
    assert close(probabilities(ket, basis).sum(-1), torch.ones(3))
    assert close(probabilities_of_density(density, basis).sum(-1), torch.ones(()))
    assert close(probabilities(ket, basis), probabilities_of_density(density_of(ket), basis))


@QUICK
@given(dim=st.integers(1, 6), seed=SEEDS)
def test_free_parameters_give_unit_kets_and_hermitian_matrices(dim, seed):
    amplitudes, phases = torch.randn(2, 4, dim, generator=generator(seed), dtype=torch.float64)
    assert close(squared_norm(amplitude_phase(amplitudes, phases)), torch.ones(4))
    assert close(amplitude_phase(amplitudes, phases), amplitude_phase(1e-140 * amplitudes, phases))
    free = torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64)
    matrix = hermitian_from(free)
    assert torch.equal(matrix, matrix.mH)
    assert torch.equal(matrix.real + matrix.imag, free) or close(matrix.real + matrix.imag, free)


@pytest.mark.parametrize("num_factors", [2, 3, 4, 5])
@pytest.mark.parametrize("dim", [2, 3])
def test_ghz_states_have_the_entropy_of_one_digit_at_every_cut(num_factors, dim):
    ket = ghz_state(num_factors, dim, dtype=DTYPE)
    entropies = entanglement_entropies(ket, [dim] * num_factors)
    assert entropies.shape == (2 ** (num_factors - 1) - 1,)
    assert close(entropies, torch.full_like(entropies, log2(dim)))


@pytest.mark.parametrize("kind", ["phi+", "phi-", "psi+", "psi-"])
def test_bell_states_have_one_bit_and_maximal_negativity(kind):
    ket = bell_state(kind, dtype=DTYPE)
    density = density_of(ket)
    assert close(entanglement_entropy(ket, (2, 2), [0]), torch.ones(()))
    assert close(negativity(density, (2, 2), [0]), torch.full((), 0.5))
    assert close(log_negativity(density, (2, 2), [1]), torch.ones(()))
    assert close(mutual_information(density, (2, 2), [0], [1]), torch.full((), 2.0))
    others = [bell_state(other, dtype=DTYPE) for other in ("phi+", "phi-", "psi+", "psi-") if other != kind]
    assert max(float(ket_fidelity(ket, other)) for other in others) < 1e-15


@pytest.mark.parametrize("weight", [0.2, 1 / 3, 0.5, 0.9])
def test_werner_states_are_entangled_above_one_third(weight):
    density = weight * density_of(bell_state("psi-", dtype=DTYPE)) + (1 - weight) * maximally_mixed(
        4, dtype=DTYPE
    )
    assert close(negativity(density, (2, 2), [0]), max(0.0, (3 * weight - 1) / 4))


def test_mean_entropy_of_random_states_is_the_known_one():
    kets = random_kets(4000, 12, generator=generator(0), dtype=DTYPE)
    entropies = entanglement_entropy(kets, (3, 4), [0])
    # Page: Σ_{k=n+1}^{mn} 1/k − (m − 1)/(2n), m = 3, n = 4, in nats.
    expected = (sum(1 / k for k in range(5, 13)) - 2 / 8) / torch.log(torch.tensor(2.0, dtype=torch.float64))
    assert abs(entropies.mean() - expected) / (entropies.std() / 4000**0.5) < 4


def test_cuts_name_every_bipartition_once():
    for num_factors in range(1, 6):
        sides = [frozenset(side) for side in cuts(num_factors)]
        whole = frozenset(range(num_factors))
        assert len(set(sides) | {whole - side for side in sides}) == 2 * len(sides) == 2**num_factors - 2


def test_partial_transposes_of_both_sides_have_one_spectrum():
    density = random_density(12, generator(1))
    spectra = [torch.linalg.eigvalsh(partial_transpose(density, (3, 4), [side])) for side in (0, 1)]
    assert close(*spectra)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_embedding_acts_on_the_named_factors(order):
    dims, source = (2, 3, 2), generator(4)
    parts = [torch.randn(dim, dim, generator=source, dtype=DTYPE) for dim in dims]
    on_two = torch.kron(parts[order[0]], parts[order[1]])
    expected = torch.eye(1, dtype=DTYPE)
    for position in range(3):
        factor = parts[position] if position in order[:2] else torch.eye(dims[position], dtype=DTYPE)
        expected = torch.kron(expected, factor)
    assert close(embed(on_two, dims, order[:2]), expected)


def test_normalize_keeps_directions_at_any_magnitude():
    ket = random_kets(3, generator=generator(0), dtype=DTYPE)
    for magnitude in (1e-150, 1e-20, 1.0, 1e200):
        assert close(normalize(magnitude * ket), ket)
