"""exp(−iHt), and what it does to kets, from the eigenvectors of H: at a cost that does not grow with the time."""

from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor


def unitaries_of(hamiltonians: Complex[Tensor, "*batch dim dim"]) -> Complex[Tensor, "*batch dim dim"]:
    """Return exp(−iH) of many small Hermitian matrices, in double precision inside.

    The gradient is that of `turn_by_eigenvectors`: right at equal levels, and differentiable again.

    Args:
        hamiltonians: Hermitian and finite H.

    Returns:
        The unitaries, in the precision of H.

    Source: Ju. L. Daleckii, S. G. Krein, AMS Transl. 47 (1965) 1.

    Examples:
        >>> from qinn.quantum import pauli
        >>> unitaries_of(torch.pi / 2 * pauli("X")).imag.round(decimals=5).abs()
        tensor([[0., 1.],
                [1., 0.]])
    """
    return _Unitaries.apply(hamiltonians.to(torch.complex128)).to(hamiltonians.dtype)


def turn_by_eigenvectors(
    hamiltonian: Complex[Tensor, "dim dim"], kets: Complex[Tensor, "row dim"], time: float
) -> Complex[Tensor, "row dim"]:
    """Return exp(−iHt)ψ of every row, in double precision inside.

    The error is that of the eigenvalues, some ε‖H‖t with the round-off ε of double precision: no method that is
    given H in floating point can promise less. The gradient is that of Daleckii and Krein, by divided differences
    of e^{−iλt}, so that equal levels do no harm; second derivatives go through the exponential of a matrix of
    twice the size.

    Args:
        hamiltonian: Hermitian H.
        kets: Any vectors, as rows.
        time: Duration t.

    Returns:
        The evolved vectors, in their own precision.

    Source: Ju. L. Daleckii, S. G. Krein, AMS Transl. 47 (1965) 1.

    Examples:
        >>> from qinn.quantum import pauli
        >>> start = torch.tensor([[1 + 0j, 0j]])
        >>> turn_by_eigenvectors(pauli("X"), start, 1.5707963).imag.round(decimals=5)
        tensor([[ 0., -1.]])
    """
    turned = _Turned.apply(hamiltonian.to(torch.complex128), kets.to(torch.complex128), time)
    return turned.to(kets.dtype)


class _Turned(torch.autograd.Function):
    """Rows ψ ↦ ψ Uᵀ with U = V e^{−iλt} V†."""

    @staticmethod
    def forward(ctx: Any, hamiltonian: Tensor, kets: Tensor, time: float) -> Tensor:
        levels, vectors = torch.linalg.eigh(hamiltonian)
        phases = torch.polar(torch.ones_like(levels), -levels * time)
        ctx.save_for_backward(hamiltonian, kets, levels, vectors)
        ctx.time = time
        return kets @ vectors.conj() * phases @ vectors.mT

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hamiltonian, kets, levels, vectors = ctx.saved_tensors
        gradient, time, wanted = grad_outputs[0], ctx.time, ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            # Aliases: the kets may depend on H, and that path is the outer graph's to follow.
            hamiltonian, kets = hamiltonian.view_as(hamiltonian), kets.view_as(kets)
            turned = kets @ torch.linalg.matrix_exp(-1j * time * hamiltonian).mT
            needed = [value for value, want in zip((hamiltonian, kets), wanted, strict=True) if want]
            found = iter(torch.autograd.grad(turned, needed, gradient, create_graph=True))
            first, second = (next(found) if want else None for want in wanted)
            return first, second, None
        of_hamiltonian = of_kets = None
        if wanted[1]:
            phases = torch.polar(torch.ones_like(levels), levels * time)
            of_kets = gradient @ vectors.conj() * phases @ vectors.mT
        if wanted[0]:
            middle = (vectors.mH @ gradient.mT) @ (kets.conj() @ vectors)
            of_hamiltonian = vectors @ (_divided(levels, time).conj() * middle) @ vectors.mH
        return of_hamiltonian, of_kets, None


class _Unitaries(torch.autograd.Function):
    """H ↦ V e^{−iλ} V†, for a batch."""

    @staticmethod
    def forward(ctx: Any, hamiltonians: Tensor) -> Tensor:
        levels, vectors = torch.linalg.eigh(hamiltonians)
        ctx.save_for_backward(hamiltonians, levels, vectors)
        phases = torch.polar(torch.ones_like(levels), -levels)
        return (vectors * phases[..., None, :]) @ vectors.mH

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        hamiltonians, levels, vectors = ctx.saved_tensors
        gradient = grad_outputs[0]
        if torch.is_grad_enabled():
            hamiltonians = hamiltonians.view_as(hamiltonians)
            turned = torch.linalg.matrix_exp(-1j * hamiltonians)
            return torch.autograd.grad(turned, hamiltonians, gradient, create_graph=True)[0]
        middle = vectors.mH @ gradient @ vectors
        return vectors @ (_divided(levels, 1.0).conj() * middle) @ vectors.mH


def _divided(levels: Tensor, time: float) -> Tensor:
    """(e^{−iat} − e^{−ibt})/(a − b) of every two levels, without cancellation."""
    first, second = levels[..., :, None], levels[..., None, :]
    size = time * torch.sinc((first - second) * (time / (2 * torch.pi)))
    return -1j * torch.polar(size.abs(), -0.5 * time * (first + second)) * size.sign()
