"""What a collision does to the memory, for explanation and monitoring: forgetting, turning, keeping, writing."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, check_densities
from qinn.quantum.collisions.ancillas import Ancillas
from qinn.quantum.collisions.interaction import Interaction
from qinn.quantum.collisions.limits import LARGEST_PIECE, check_store
from qinn.quantum.collisions.meetings import check_interaction
from qinn.quantum.collisions.real_form import hermitian_coordinates, ket_coordinates, transfer_matrices
from qinn.quantum.measures.entropies import von_neumann_entropy
from qinn.quantum.operators.spins import pauli
from qinn.quantum.states.kets import product

# Singular values whose sum is below this are those of a memory that was replaced.
_NOTHING = 1e-6


@final
@dataclass(frozen=True, eq=False)
class CollisionInfluence:
    """What each collision of a stream does to the memory, whatever that holds; padding does nothing.

    Attributes:
        contraction: 1 − the largest singular value of the traceless part W of the real map: how much of the
            difference of any two memories is forgotten. For D = 2 exactly 1 − the largest factor by which a trace
            distance shrinks; for larger D of Hilbert–Schmidt norms, where it may be negative.
        rotation: 2 arccos √F in [0, π], F = (1 + (D² − 1) tr W/‖W‖₁)/D², clamped to [0, 1]: of a unitary the angle
            2 arccos |tr U|/D, of a qubit the angle of its turn; π where what is kept is inverted; 0 where nothing is.
        keep: λ, for D = 2: W's largest singular value, or n·Wn along a given axis n, negative where it is inverted.
        write: s, for D = 2: the length of the affine part, or its component n·s along the axis.
    """

    contraction: Float[Tensor, "*batch time"]
    rotation: Float[Tensor, "*batch time"]
    keep: Float[Tensor, "*batch time"] | None
    write: Float[Tensor, "*batch time"] | None


def collision_maps(
    interaction: Interaction, ancillas: Ancillas
) -> Float[Tensor, "*batch time squared squared"]:
    """Return the channel of every step as a real matrix on Re ρ + Im ρ; the identity where a step is padding.

    Args:
        interaction: The interaction.
        ancillas: What the memory meets.

    Returns:
        D² × D² matrices, differentiable.

    Raises:
        ArgumentError: If the arguments do not fit each other, or the matrices would not fit into memory.

    Source: own.

    Examples:
        >>> still = Interaction(torch.zeros(4, 4), 2, (2,))
        >>> collision_maps(still, Ancillas([[[1, 0]]]))[0].diagonal()
        tensor([1., 1., 1., 1.])
    """
    check_interaction(interaction, ancillas)
    D, A, events = (
        interaction.memory_dim,
        interaction.ancilla_dim,
        ancillas.batch.numel() * ancillas.num_steps,
    )
    check_store(max(D**4 * A**2, events * D**4), "the maps of all steps")
    table = transfer_matrices(interaction.unitary, D).flatten(1)
    if ancillas.are_pure:
        coordinates = ket_coordinates(product(ancillas.factors))
    else:
        coordinates = hermitian_coordinates(ancillas.density())
    maps = (coordinates.flatten(-2) @ table).reshape(*ancillas.batch, ancillas.num_steps, D * D, D * D)
    if ancillas.valid is None:
        return maps
    identity = torch.eye(D * D, dtype=maps.dtype, device=maps.device)
    return torch.where(ancillas.valid[..., None, None], maps, identity)


def bloch_maps(
    interaction: Interaction, ancillas: Ancillas
) -> tuple[Float[Tensor, "*batch time 3 3"], Float[Tensor, "*batch time 3"]]:
    """Return the maps r ↦ W r + s of a qubit memory's Bloch vector, r_i = tr(ρσ_i), i = x, y, z.

    Args:
        interaction: The interaction, D = 2.
        ancillas: What the memory meets.

    Returns:
        W and s of every step.

    Raises:
        ArgumentError: If the memory is no qubit, or the arguments do not fit each other.

    Source: M. B. Ruskai, S. Szarek, E. Werner, Linear Algebra Appl. 347 (2002) 159.

    Examples:
        >>> swap = torch.eye(4)[[0, 2, 1, 3]]
        >>> swapping = Interaction(torch.pi / 2 * (torch.eye(4) - swap), 2, (2,))
        >>> kept, written = bloch_maps(swapping, Ancillas([[[0, 1]]]))
        >>> bool(kept.abs().max() < 1e-6), written.round(decimals=5)[0, 2]
        (True, tensor(-1.))
    """
    if interaction.memory_dim != 2:
        raise ArgumentError(
            f"Argument `interaction` must have a qubit as its memory, but that has dimension {interaction.memory_dim}; "
            "use `collision_maps`."
        )
    maps = collision_maps(interaction, ancillas)
    matrices = torch.stack([pauli(name, dtype=interaction.dtype) for name in ("X", "Y", "Z")]).to(maps.device)
    # An isometry up to √2: r_i = tr(ρσ_i) = ⟨coordinates of σ_i, coordinates of ρ⟩, and ρ = ½(1 + Σ r_i σ_i).
    axes = hermitian_coordinates(matrices).flatten(1)
    half = 0.5 * torch.eye(2, dtype=axes.dtype, device=axes.device).flatten()
    return axes @ maps @ axes.mT * 0.5, maps @ half @ axes.mT


def collision_influence(
    interaction: Interaction, ancillas: Ancillas, *, axis: Any = None
) -> CollisionInfluence:
    """Return how much every step makes the memory forget and turn, and, of a qubit, keep and write.

    Args:
        interaction: The interaction.
        ancillas: What the memory meets.
        axis: For D = 2, a unit vector (x, y, z) along which to keep and write; if None, what is kept best and
            all that is written.

    Returns:
        One number per step each; `keep` and `write` are None for D ≠ 2.

    Raises:
        ArgumentError: If the arguments do not fit each other, or an axis is given and is none.

    Source: O.

    Examples:
        >>> swap = torch.eye(4)[[0, 2, 1, 3]]
        >>> swapping = Interaction(torch.pi / 2 * (torch.eye(4) - swap), 2, (2,))
        >>> influence = collision_influence(swapping, Ancillas([[[0, 1]]]), axis=(0, 0, 1))
        >>> influence.contraction.round(decimals=5), influence.write.round(decimals=5)
        (tensor([1.]), tensor([-1.]))
    """
    check_interaction(interaction, ancillas)
    dim = interaction.memory_dim
    keep = write = None
    if dim == 2:
        traceless, written = bloch_maps(interaction, ancillas)
    else:
        if axis is not None:
            raise ArgumentError(
                f"Argument `axis` must be None for a memory that is no qubit, but the dimension is {dim}."
            )
        maps = collision_maps(interaction, ancillas)
        unit = torch.eye(dim, dtype=maps.dtype, device=maps.device).flatten() / dim**0.5
        # The map leaves the trace alone: what is left of it on traceless matrices is PMP.
        projector = torch.eye(dim * dim, dtype=maps.dtype, device=maps.device) - torch.outer(unit, unit)
        traceless, written = projector @ maps @ projector, None
    values = torch.linalg.svdvals(traceless)
    kept, total = values[..., 0] if dim > 1 else values.sum(-1), values.sum(-1)
    trace = traceless.diagonal(dim1=-2, dim2=-1).sum(-1)
    is_nothing = total <= _NOTHING
    cosine = torch.where(is_nothing, 1.0, trace / torch.where(is_nothing, 1.0, total))
    fidelity = ((1 + (dim**2 - 1) * cosine) / dim**2).clamp(0, 1)
    if written is not None:
        keep, write = kept, torch.linalg.vector_norm(written, dim=-1)
        if axis is not None:
            direction = _unit_axis(axis, traceless)
            keep = (traceless @ direction * direction).sum(-1)
            write = written @ direction
    return CollisionInfluence(1 - kept, 2 * fidelity.sqrt().acos(), keep, write)


def _unit_axis(axis: Any, like: Tensor) -> Tensor:
    try:
        direction = torch.as_tensor(axis, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError("Argument `axis` must hold three real numbers, but holds none.") from None
    if direction.shape != (3,) or not abs(float(torch.linalg.vector_norm(direction)) - 1) < 1e-4:
        raise ArgumentError(
            f"Argument `axis` must be a unit vector (x, y, z), but it is {direction.tolist()}; divide it by its length."
        )
    return direction


def ancilla_entropies(
    interaction: Interaction, ancillas: Ancillas, before: Any
) -> Float[Tensor, "*batch time"]:
    """Return the entropy of every ancilla after its collision, in bits; 0 where a step is padding.

    For a pure memory and a pure ancilla it is their entanglement, which throwing the ancilla away turns into what is
    forgotten.

    Args:
        interaction: The interaction.
        ancillas: What the memory meets.
        before: Density of the memory before each collision (…, time, D, D).

    Returns:
        S(tr_memory[U (ρ ⊗ σ) U†]).

    Raises:
        ArgumentError: If the arguments do not fit each other, or a matrix is no density.

    Source: O.

    Examples:
        A swap hands the memory's entropy, 1 bit, to the ancilla:

        >>> swap = torch.eye(4)[[0, 2, 1, 3]]
        >>> swapping = Interaction(torch.pi / 2 * (torch.eye(4) - swap), 2, (2,))
        >>> ancilla_entropies(swapping, Ancillas([[[0, 1]]]), torch.eye(2)[None] / 2).round(decimals=4)
        tensor([1.])
    """
    check_interaction(interaction, ancillas)
    D, A = interaction.memory_dim, interaction.ancilla_dim
    memories = as_matrices("before", before, D, interaction.coupling, "interaction")
    lead = (*ancillas.batch, ancillas.num_steps)
    if memories.shape[:-2] != lead:
        raise ArgumentError(
            f"Argument `before` must hold one density per step, with the leading axes {lead}, but has "
            f"{tuple(memories.shape[:-2])}."
        )
    check_densities("before", memories)
    unitary = interaction.unitary.reshape(D, A, D, A)
    rows, others = memories.reshape(-1, D, D), ancillas.density().reshape(-1, A, A)
    at_once = max(1, LARGEST_PIECE // (4 * (D * A) ** 2))
    entropies = []
    for start in range(0, len(rows), at_once):
        part, other = rows[start : start + at_once], others[start : start + at_once]
        moved = torch.einsum("iapb,npq,nbc->niaqc", unitary, part, other)
        reduced = torch.einsum("niaqc,idqc->nad", moved, unitary.conj())
        entropies.append(von_neumann_entropy(0.5 * (reduced + reduced.mH), validate=False))
    found = torch.cat(entropies).reshape(lead) if entropies else memories.real.new_zeros(lead)
    return found if ancillas.valid is None else torch.where(ancillas.valid, found, 0.0)
