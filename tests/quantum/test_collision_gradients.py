"""Gradients of collision models are those of finite differences, in every input, and of second order too."""

import pytest
import torch
from random_collisions import generator, random_interaction
from torch.autograd import gradcheck, gradgradcheck

from qinn.quantum import (
    Ancillas,
    ExactCollisions,
    Interaction,
    LearnableMixture,
    Lindbladian,
    ancilla_entropies,
    collision_influence,
    hermitian_from,
    jump_operators_from,
    normalize,
)
from qinn.quantum.collisions.relaxation import relaxation_maps
from qinn.quantum.collisions.scan import scan_maps

METHODS = ("kraus", "real")
WEIGHTS = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)
MASK = torch.tensor([[True, True, True], [True, False, True]])


def free(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64).requires_grad_()


def kets_from(numbers: torch.Tensor) -> torch.Tensor:
    return normalize(torch.complex(numbers[..., 0], numbers[..., 1]))


def densities_from(numbers: torch.Tensor) -> torch.Tensor:
    roots = torch.complex(numbers[..., 0], numbers[..., 1])
    matrices = roots @ roots.mH
    return matrices / matrices.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]


def value_of(states) -> torch.Tensor:
    """A curved function of all states."""
    densities = [states.final.density(), states.mean.density(), states.every.density()]
    parts = [
        ((each.real + 2 * each.imag) * WEIGHTS[: each.shape[-1], : each.shape[-1]]) for each in densities
    ]
    return torch.stack([part.sum() + part.square().sum() for part in parts])


def agrees(function, *inputs) -> bool:
    """Whether the gradient along random directions, of each input alone, is the central difference to 1e-7."""
    gradients = torch.autograd.grad(value_sum(function(*inputs)), inputs)
    for index, gradient in enumerate(gradients):
        for seed in (0, 1):
            direction = torch.randn(inputs[index].shape, generator=generator(seed), dtype=torch.float64)
            direction = direction / torch.linalg.vector_norm(direction)
            found = []
            for sign in (1, -1):
                moved = [each.detach() for each in inputs]
                moved[index] = moved[index] + sign * 1e-5 * direction
                found.append(float(value_sum(function(*moved))))
            difference = (found[0] - found[1]) / 2e-5
            assert abs(difference - float((gradient * direction).sum())) < 1e-7
    return True


def value_sum(values: torch.Tensor) -> torch.Tensor:
    flat = values.flatten()
    return (flat * torch.linspace(0.5, 1.5, len(flat), dtype=flat.dtype)).sum()


@pytest.mark.parametrize("method", METHODS)
def test_gradients_in_interaction_kets_and_memory_are_those_of_finite_differences(method):
    way = ExactCollisions(every=True, method=method)

    def run(V, text, audio, memory):
        stream = Ancillas([kets_from(text), kets_from(audio)], valid=MASK)
        return value_of(way.evolve(kets_from(memory), Interaction(hermitian_from(V), 2, (2, 2)), stream))

    assert agrees(
        run, free(8, 8, seed=0), free(2, 3, 2, 2, seed=1), free(2, 3, 2, 2, seed=2), free(2, 2, seed=3)
    )


@pytest.mark.parametrize("method", METHODS)
def test_gradients_in_densities_are_those_of_finite_differences(method):
    way = ExactCollisions(every=True, method=method)
    interaction = random_interaction(3, (2,))

    def run(ancillas, memory):
        stream = Ancillas.of_densities([densities_from(ancillas)], valid=MASK)
        return value_of(way.evolve(densities_from(memory), interaction, stream))

    assert agrees(run, free(2, 3, 2, 2, 2, seed=0), free(2, 3, 3, 2, seed=1))


@pytest.mark.parametrize("method", METHODS)
def test_gradients_in_the_mixture_of_an_absent_factor_are_those_of_finite_differences(method):
    way = ExactCollisions(every=True, method=method)
    interaction, mixture = random_interaction(2, (2,)), LearnableMixture(2, dtype=torch.float64)
    kets = kets_from(free(2, 3, 2, 2, seed=1)).detach()

    def run(numbers):
        learned = torch.func.functional_call(mixture, {"free": numbers})
        return value_of(
            way.evolve([1, 0], interaction, Ancillas([kets], present=MASK[..., None], mixtures=[learned]))
        )

    assert agrees(run, free(2, 2, 2, seed=0))


@pytest.mark.parametrize("method", METHODS)
def test_gradients_in_times_and_relaxation_are_those_of_finite_differences(method):
    way = ExactCollisions(every=True, method=method)
    interactions = [random_interaction(2, (dim,), seed=dim) for dim in (2, 3)]
    kets = [kets_from(free(2, 3, dim, 2, seed=dim)).detach() for dim in (2, 3)]
    streams = [Ancillas([kets[0]], valid=MASK), Ancillas([kets[1]])]

    def run(first, second, start, until, H, L):
        dynamics = Lindbladian(hermitian_from(H), jump_operators_from(L))
        return value_of(
            way.evolve_events(
                [1, 0], interactions, streams, [first, second], lindbladian=dynamics, start=start, until=until
            )
        )

    times = [
        torch.rand(2, 3, generator=generator(seed), dtype=torch.float64).requires_grad_() for seed in (1, 2)
    ]
    edges = [torch.full((2,), edge, dtype=torch.float64, requires_grad=True) for edge in (-0.1, 1.2)]
    assert agrees(run, *times, *edges, free(2, 2, seed=3), free(2, 2, 2, 2, seed=4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_the_backward_pass_of_the_scan_is_right_to_second_order(dtype):
    maps, start = (
        torch.randn(*shape, generator=generator(seed), dtype=dtype).requires_grad_()
        for seed, shape in enumerate([(4, 2, 3, 3), (2, 3)])
    )
    assert gradcheck(scan_maps, (maps, start))
    assert gradgradcheck(scan_maps, (maps, start))
    for needed in ((True, False), (False, True)):
        fixed = [each.detach().requires_grad_(need) for each, need in zip((maps, start), needed, strict=True)]
        assert gradcheck(scan_maps, fixed)


def test_gradients_of_long_intervals_are_those_of_finite_differences():
    def run(H, L, intervals):
        return relaxation_maps(Lindbladian(hermitian_from(H), jump_operators_from(L)), intervals)

    intervals = torch.tensor([0.0, 0.3, 8.0], dtype=torch.float64, requires_grad=True)
    inside = intervals.detach() + torch.tensor([0.01, 0, 0])
    assert agrees(run, free(2, 2, seed=1), free(1, 2, 2, 2, seed=2), inside.requires_grad_())
    run(free(2, 2, seed=1), free(1, 2, 2, 2, seed=2), intervals).sum().backward()
    assert bool(torch.isfinite(intervals.grad).all())


@pytest.mark.parametrize("method", METHODS)
def test_exact_collisions_have_second_derivatives(method):
    way = ExactCollisions(every=True, method=method)

    def run(V, text):
        return value_of(
            way.evolve([1, 0], Interaction(hermitian_from(V), 2, (2,)), Ancillas([kets_from(text)]))
        ).sum()

    assert gradgradcheck(run, (free(4, 4, seed=0), free(1, 2, 2, 2, seed=1)), fast_mode=True)


def test_what_explains_has_gradients():
    kets, memory = free(1, 2, 2, 2, seed=0), free(1, 2, 2, 2, 2, seed=1)

    def run(V, text, before):
        interaction, stream = Interaction(hermitian_from(V), 2, (2,)), Ancillas([kets_from(text)])
        influence = collision_influence(interaction, stream, axis=(0, 0.6, 0.8))
        entropies = ancilla_entropies(interaction, stream, densities_from(before))
        return influence.contraction, influence.rotation, influence.keep, influence.write, entropies

    assert gradcheck(run, (free(4, 4, seed=2), kets, memory), eps=1e-6, atol=1e-6, fast_mode=True)


def test_single_precision_gradients_are_those_of_double():
    V, kets = free(8, 8, seed=0), free(2, 40, 4, 2, seed=1)
    found = []
    for dtype in (torch.float64, torch.float32):
        given = [each.detach().to(dtype).requires_grad_() for each in (0.1 * V, kets)]
        states = ExactCollisions().evolve(
            [1, 0], Interaction(hermitian_from(given[0]), 2, (4,)), Ancillas([kets_from(given[1])])
        )
        value = (states.final.density() + states.mean.density())[:, 0, 0].real.sum()
        found.append(torch.autograd.grad(value, given))
    for double, single in zip(*found, strict=True):
        assert float((double - single).abs().max()) < 1e-4 * float(double.abs().max())
