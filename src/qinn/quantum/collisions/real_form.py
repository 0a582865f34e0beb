"""The channel of a collision as a real matrix, linear in the ancilla's density."""

from jaxtyping import Complex, Float
from torch import Tensor


def hermitian_coordinates(matrices: Complex[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch dim dim"]:
    """Return the real coordinates Re X + Im X of Hermitian matrices, whose inverse is `hermitian_from`.

    Args:
        matrices: Hermitian matrices.

    Returns:
        The coordinates, of the same Hilbert–Schmidt norm.

    Examples:
        >>> import torch
        >>> hermitian_coordinates(torch.tensor([[1, 3 - 1j], [3 + 1j, 3]]))
        tensor([[1., 2.],
                [4., 3.]])
    """
    return matrices.real + matrices.imag


def ket_coordinates(kets: Complex[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim dim"]:
    """Return the real coordinates of |χ⟩⟨χ|, without the complex matrix.

    Args:
        kets: The kets χ = x + iy.

    Returns:
        A_ab = x_a (x_b − y_b) + y_a (x_b + y_b).

    Examples:
        >>> import torch
        >>> ket_coordinates(torch.tensor([0.6, 0.8j]))
        tensor([[ 0.3600, -0.4800],
                [ 0.4800,  0.6400]])
    """
    x, y = kets.real, kets.imag
    return x[..., :, None] * (x - y)[..., None, :] + y[..., :, None] * (x + y)[..., None, :]


def transfer_matrices(
    unitary: Complex[Tensor, "joint joint"], memory_dim: int
) -> Float[Tensor, "ancilla_squared memory_squared memory_squared"]:
    """Return T of r' = Σ_k σ_k T_k r: the channel ρ ↦ tr_A[U(ρ ⊗ σ)U†] in real coordinates of ρ and σ.

    Args:
        unitary: U on memory ⊗ ancilla.
        memory_dim: Dimension D of the memory.

    Returns:
        D_a² real matrices D² × D².

    Source: own.

    Examples:
        With U = 1 the memory stays, whatever the ancilla is:

        >>> import torch
        >>> half = torch.eye(2).flatten() / 2
        >>> torch.einsum("k,kij->ij", half, transfer_matrices(torch.eye(4) + 0j, 2)).diagonal()
        tensor([1., 1., 1., 1.])
    """
    D = memory_dim
    A = len(unitary) // D
    # U[(i, j), (p, a)] → rows j, columns (i, p, a).
    rows = unitary.reshape(D, A, D, A).transpose(0, 1).reshape(A, -1)
    # S[(i, k), (p, q), (a, b)] = Σ_j U[ij, pa] U*[kj, qb], and its output in real coordinates Re S ± Im S.
    complete = (rows.mT @ rows.conj()).reshape(D, D, A, D, D, A).permute(0, 3, 1, 4, 2, 5)
    plus, minus = complete.real + complete.imag, complete.real - complete.imag
    # With ρ_pq = ½(1 + i) r_pq + ½(1 − i) r_qp, and σ alike.
    one = minus + plus.transpose(4, 5)
    other = plus - minus.transpose(4, 5)
    table = 0.5 * (one + other.transpose(2, 3))
    return table.reshape(D * D, D * D, A * A).permute(2, 0, 1).contiguous()
