"""Bounds of what dynamics can leave of a difference: never violated, exact where they say so, and not vacuous."""

import math

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    Ancillas,
    Interaction,
    LearnableInteraction,
    LearnableLindbladian,
    Lindbladian,
    channel_contraction,
    collision_maps,
    contraction_bounds,
    density_of,
    find_attractor,
    mixing_bounds,
    pauli,
    propagate_densities,
    random_kets,
    trace_distance,
)
from qinn.quantum.collisions.real_form import hermitian_coordinates

DTYPE = torch.complex128
LOWERING = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)


def dynamics(dim, seed, jumps=2, rate=1.5):
    module = LearnableLindbladian(dim, jumps, jump_scale=rate, seed=seed, dtype=torch.float64)
    return module.requires_grad_(False)()


def found_by_search(lindbladian, time, pairs=600):
    """The most that is left of the trace distance of random pairs: orthogonal kets, plain kets, and mixtures."""
    dim, draw = lindbladian.dim, torch.Generator().manual_seed(7)
    kets = torch.linalg.qr(torch.randn(pairs, dim, 2, dtype=DTYPE, generator=draw))[0]
    first, second = density_of(kets[..., 0]), density_of(kets[..., 1])
    others = density_of(random_kets(2 * pairs, dim, dtype=DTYPE, generator=draw)).reshape(2, pairs, dim, dim)
    mixed = 0.5 * (others + torch.stack([first, second]))
    first, second = torch.cat([first, others[0], mixed[0]]), torch.cat([second, others[1], mixed[1]])
    moved = [propagate_densities(lindbladian, each, time) for each in (first, second)]
    return float((trace_distance(*moved) / trace_distance(first, second)).max())


@pytest.mark.parametrize("dim", [2, 3, 4, 6])
@pytest.mark.parametrize(("jumps", "time"), [(1, 1.0), (4, 0.3), (4, 3.0)])
def test_no_pair_is_outside_the_bounds(dim, jumps, time):
    for seed in range(2):
        lindbladian = dynamics(dim, seed, jumps)
        found, searched = contraction_bounds(lindbladian, time), found_by_search(lindbladian, time)
        assert searched <= float(found.upper) + 1e-12
        assert float(found.lower) <= float(found.upper)
        # Where a pair was looked for by ascent it is at least as lasting as random ones.
        assert float(found.lower) >= searched - 5e-3
        if dim == 2:
            assert found.exact
            assert searched == pytest.approx(float(found.lower), abs=1e-2)


def test_closed_forms_of_a_qubit():
    decay = Lindbladian(0.7 * pauli("Z", dtype=DTYPE), [LOWERING])
    for time in (0.1, 1.0, 5.0):
        found = contraction_bounds(decay, time)
        # Coherences live longest: e^{−t/2}.
        assert float(found.upper) == float(found.lower) == pytest.approx(math.exp(-time / 2), rel=1e-12)
    dephasing = Lindbladian(torch.zeros(2, 2).double(), [pauli("Z", dtype=DTYPE)])
    assert float(contraction_bounds(dephasing, 3.0).lower) == pytest.approx(1.0, abs=1e-12)
    mixing = mixing_bounds(decay, fraction=0.05)
    assert mixing.exact
    assert mixing.upper == mixing.lower == pytest.approx(2 * math.log(20), rel=2e-3)


def depolarising(dim, rate):
    """𝓛ρ = rate (𝟙 tr ρ/D − ρ): every difference falls as e^{−rate t}."""
    units = torch.eye(dim**2, dtype=DTYPE).reshape(-1, dim, dim)
    return Lindbladian(torch.zeros(dim, dim).double(), (rate / dim) ** 0.5 * units)


@pytest.mark.parametrize("dim", [3, 4, 8])
def test_the_depolarising_channel_is_bounded_exactly(dim):
    found = contraction_bounds(depolarising(dim, 0.8), 0.5)
    assert not found.exact
    for bound in (found.lower, found.upper):
        assert float(bound) == pytest.approx(math.exp(-0.4), rel=1e-9)
    mixing = mixing_bounds(depolarising(dim, 0.8), fraction=0.1)
    assert mixing.lower == pytest.approx(math.log(10) / 0.8, rel=1e-9)
    assert mixing.lower <= mixing.upper < 2 * mixing.lower


@pytest.mark.parametrize("dim", [3, 5])
def test_a_unitary_keeps_a_pair_as_it_is_and_a_reset_leaves_nothing(dim):
    turning = Lindbladian(dynamics(dim, 0).hamiltonian)
    found = contraction_bounds(turning, 2.0)
    assert float(found.lower) == pytest.approx(1.0, abs=1e-12)
    assert float(found.upper) == 1.0
    target = torch.zeros(dim, dtype=DTYPE)
    target[0] = 1
    resets = torch.einsum("i,kj->kij", target, torch.eye(dim, dtype=DTYPE))
    assert float(contraction_bounds(Lindbladian(torch.zeros(dim, dim).double(), resets), 40.0).upper) < 1e-6


def test_the_bounds_say_something_about_trained_sizes():
    found = contraction_bounds(dynamics(8, 0, jumps=4), 5.0)
    assert float(found.lower) < float(found.upper) < 0.6
    assert float(found.upper) < 2 * float(found.lower)


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_the_mixing_time_is_enough_and_no_shorter_one_is(dim):
    lindbladian = dynamics(dim, 1, jumps=3)
    mixing = mixing_bounds(lindbladian, fraction=0.02)
    assert mixing.lower <= mixing.upper < math.inf
    assert mixing.lower >= (1 - 1e-9) * math.log(50) / float(find_attractor(lindbladian).spectral_gap)
    assert found_by_search(lindbladian, mixing.upper) <= 0.02 * (1 + 1e-6)
    assert float(contraction_bounds(lindbladian, 0.99 * mixing.lower).upper) > 0.02
    slower = mixing_bounds(
        Lindbladian(lindbladian.hamiltonian / 3, lindbladian.jump_operators / 3**0.5), fraction=0.02
    )
    assert slower.upper == pytest.approx(3 * mixing.upper, rel=5e-3)


def test_maps_of_a_stream_are_bounded_one_by_one_and_in_a_row():
    interaction = LearnableInteraction(3, (4,), scale=1.5, seed=0, dtype=torch.float64).requires_grad_(
        False
    )()
    kets = random_kets(5, 4, dtype=DTYPE, generator=torch.Generator().manual_seed(0))
    maps = collision_maps(interaction, Ancillas([kets]))
    single = channel_contraction(maps)
    whole = channel_contraction(torch.linalg.multi_dot(list(maps.flip(0))))
    assert single.upper.shape == (5,)
    assert float(whole.upper) < float(single.upper.max())
    assert float(whole.lower) <= float(single.upper.prod()) + 1e-12
    drawn = random_kets(400, 3, dtype=DTYPE, generator=torch.Generator().manual_seed(1))
    pairs = density_of(drawn).reshape(2, 200, 3, 3)
    for one, upper in zip(maps, single.upper, strict=True):
        difference = hermitian_coordinates(pairs[0] - pairs[1])
        moved = (difference.flatten(1) @ one.mT).reshape(-1, 3, 3)
        sizes = [
            torch.linalg.eigvalsh(torch.complex(each + each.mT, each - each.mT) / 2).abs().sum(-1)
            for each in (moved, difference)
        ]
        assert float((sizes[0] / sizes[1]).max()) <= float(upper) + 1e-12
    swap = torch.eye(4)[[0, 2, 1, 3]]
    replaced = collision_maps(
        Interaction(torch.pi / 2 * (torch.eye(4) - swap), 2, (2,)), Ancillas([[[0, 1]]])
    )
    assert channel_contraction(replaced).exact
    assert float(channel_contraction(replaced).upper[0]) < 1e-6


def test_larger_spaces_have_a_pair_and_no_certificate():
    found = contraction_bounds(dynamics(18, 0), 1.0)
    assert 0.5 < float(found.lower) <= 1
    assert math.isnan(float(found.upper))
    with pytest.raises(ArgumentError, match="dimension of at most 16, but it is 18"):
        mixing_bounds(dynamics(18, 0))


def test_what_is_no_dynamics_is_refused():
    with pytest.raises(ArgumentError, match="one steady state"):
        mixing_bounds(Lindbladian(torch.zeros(2, 2), [pauli("Z")]))
    with pytest.raises(ArgumentError, match="`fraction` must be"):
        mixing_bounds(dynamics(2, 0), fraction=1.5)
    with pytest.raises(ArgumentError, match="D² × D² matrices"):
        channel_contraction(torch.eye(5))
    with pytest.raises(ArgumentError, match="finite"):
        channel_contraction(torch.full((4, 4), torch.nan))
    # A bound "proved" of these would be wrong: differences double, and ρ ↦ ρᵀ is no channel.
    with pytest.raises(ArgumentError, match="keep the trace, but changes it by up to 1"):
        channel_contraction(2 * torch.eye(9))
    transposition = torch.eye(9).reshape(3, 3, 9).transpose(0, 1).reshape(9, 9)
    with pytest.raises(ArgumentError, match="completely positive, but a Choi matrix has the eigenvalue -1"):
        channel_contraction(torch.stack([torch.eye(9), transposition]))
    assert channel_contraction(2 * torch.eye(9), validate=False).upper == 1
    broken = Lindbladian(torch.zeros(2, 2), [torch.full((2, 2), torch.nan)], validate=False)
    with pytest.raises(ArgumentError, match="finite"):
        contraction_bounds(broken, 1.0)
    assert float(contraction_bounds(Lindbladian(torch.zeros(1, 1)), 1.0).upper) == 0
