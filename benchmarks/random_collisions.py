"""Random collision models and a dense reference of their own, for the benchmark of collisions and its tests."""

import torch
from torch import Tensor

from qinn.quantum import (
    Ancillas,
    CollisionStates,
    Interaction,
    LearnableInteraction,
    density_of,
    partial_trace,
    product_density,
    random_kets,
)

DTYPE = torch.complex128
SWAP = torch.eye(4, dtype=torch.float64)[[0, 2, 1, 3]]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_interaction(
    memory_dim: int, dims: tuple[int, ...], seed: int = 0, scale: float = 1.5
) -> Interaction:
    module = LearnableInteraction(memory_dim, dims, scale=scale, seed=seed, dtype=torch.float64)
    return module.requires_grad_(False)()


def random_densities(*shape: int, seed: int = 0) -> Tensor:
    """Full-rank densities (*shape, D) → (*shape, D, D)."""
    kets = random_kets(*shape[:-1], shape[-1], shape[-1], generator=generator(seed), dtype=DTYPE)
    return kets.mT @ kets.conj() / shape[-1]


def random_stream(batch: int, steps: int, dims: tuple[int, ...], seed: int = 0, **options) -> Ancillas:
    kets = [random_kets(batch, steps, dim, generator=generator(seed + dim), dtype=DTYPE) for dim in dims]
    return Ancillas(kets, **options)


def swapping() -> Interaction:
    """A full swap of two qubits."""
    return Interaction(torch.pi / 2 * (torch.eye(4, dtype=torch.float64) - SWAP), 2, (2,))


def collide(unitary: Tensor, memory: Tensor, ancilla: Tensor) -> Tensor:
    """tr_A[U (ρ ⊗ σ) U†] by the joint density."""
    joint = unitary @ product_density([memory, ancilla]) @ unitary.mH
    return partial_trace(joint, (memory.shape[-1], ancilla.shape[-1]), [0])


def reference(initial: Tensor, interaction: Interaction, densities: Tensor) -> Tensor:
    """States behind every step, (step, …, D, D), of ancillas (step, …, D_a, D_a)."""
    unitary = torch.linalg.matrix_exp(-1j * interaction.coupling)
    states, memory = [], initial if initial.ndim > 1 else density_of(initial)
    for ancilla in densities:
        memory = collide(unitary, memory, ancilla)
        states.append(memory)
    return torch.stack(states)


def final(states: CollisionStates) -> Tensor:
    return states.final.density()


def farthest(first: Tensor, second: Tensor) -> float:
    return float((first - second).detach().abs().max())
