"""Kraus operators of collisions, and the channel by them."""

from typing import Any

from jaxtyping import Complex
from torch import Tensor

from qinn.quantum.arguments import as_complex, as_rows
from qinn.quantum.collisions.interaction import Interaction


def kraus_operators(interaction: Interaction, kets: Any) -> Complex[Tensor, "*batch ancilla memory memory"]:
    """Return A_j = ⟨j|U|χ⟩ of ancillas in pure states: ρ ↦ Σ_j A_j ρ A_j†, Σ_j A_j†A_j = 1.

    Args:
        interaction: The interaction.
        kets: Unit kets (…, D_a) of the whole ancilla, as a tensor, an array or lists.

    Returns:
        D_a operators on the memory for each ket.

    Raises:
        ArgumentError: If the kets do not fit.

    Source: K. Kraus, States, Effects, and Operations (Springer, 1983).

    Examples:
        >>> import torch
        >>> still = Interaction(torch.zeros(4, 4), 2, (2,))
        >>> kraus_operators(still, torch.tensor([1, 0j]))[0].real
        tensor([[1., 0.],
                [0., 1.]])
    """
    given = as_complex("kets", kets, interaction.coupling)
    flat = given.flatten(0, -2) if given.ndim > 1 else given[None]
    rows = as_rows("kets", flat, interaction.ancilla_dim, interaction.coupling, "interaction")
    blocks = blocks_of(interaction.unitary, interaction.memory_dim)
    return operators_of_kets(blocks, rows).reshape(*given.shape[:-1], *blocks.shape[1:])


def blocks_of(unitary: Tensor, memory_dim: int) -> Tensor:
    """Return the blocks ⟨j|U|a⟩ of U on memory ⊗ ancilla as (a, j, D, D).

    Args:
        unitary: U.
        memory_dim: Dimension D of the memory.

    Returns:
        The blocks, in contiguous memory.
    """
    dim = len(unitary) // memory_dim
    return unitary.reshape(memory_dim, dim, memory_dim, dim).permute(3, 1, 0, 2).contiguous()


def operators_of_kets(blocks: Tensor, kets: Tensor) -> Tensor:
    """Return Σ_a ⟨j|U|a⟩ χ_a of each ket.

    Args:
        blocks: From `blocks_of`.
        kets: Rows (event, D_a).

    Returns:
        Operators (event, j, D, D).
    """
    return (kets @ blocks.flatten(1)).reshape(len(kets), *blocks.shape[1:])


def operators_of_densities(blocks: Tensor, densities: Tensor) -> Tensor:
    """Return L_bj = Σ_a ⟨j|U|a⟩ σ_ab of each density: with ⟨j|U|b⟩ at its right, ρ ↦ Σ_bj L_bj ρ ⟨j|U|b⟩†.

    Linear in σ, so that no square root of it is needed.

    Args:
        blocks: From `blocks_of`.
        densities: σ (event, D_a, D_a).

    Returns:
        Operators (event, b·j, D, D).
    """
    left = densities.mT @ blocks.flatten(1)
    return left.reshape(len(densities), blocks.shape[0] * blocks.shape[1], *blocks.shape[2:])


def apply_operators(left: Tensor, right: Tensor, memory: Tensor) -> Tensor:
    """Return Σ_j L_j ρ R_j† of each row.

    Args:
        left: L (row, j, D, D).
        right: R, (row, j, D, D) or the same for all rows (j, D, D).
        memory: ρ (row, D, D).
    """
    dim = memory.shape[-1]
    moved = (left.flatten(1, 2) @ memory).reshape(left.shape)
    # (row, D, j·D) with (row, j·D, D): the sum over j is inside of one product.
    rows = moved.transpose(-3, -2).flatten(-2)
    columns = right.conj().transpose(-1, -2).reshape(*right.shape[:-3], -1, dim)
    return rows @ columns
