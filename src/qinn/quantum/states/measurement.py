"""Measurement along unit vectors: p_j = ⟨m_j| ρ |m_j⟩."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.quantum.states.kets import normalize, squared_magnitude


def measurement_vectors_from(
    free: Float[Tensor, "outcome 2 dim"],
) -> Complex[Tensor, "outcome dim"]:
    """Make unit measurement vectors m_j = v_j/‖v_j‖ from free parameters, v_j = free_{j,0} + i free_{j,1}.

    Args:
        free: Real and imaginary parts of any norm; a zero row gives the uniform vector.

    Returns:
        Unit rows.

    Source: P (trainable measurement vectors); O (parametrisation).

    Example:
        >>> measurement_vectors_from(torch.tensor([[[0.0, 3.0], [0.0, 4.0]]]))
        tensor([[0.0000+0.0000j, 0.6000+0.8000j]])
    """
    return normalize(torch.complex(free[:, 0], free[:, 1]))


def probabilities(
    ket: Complex[Tensor, "*batch dim"], vectors: Complex[Tensor, "outcome dim"]
) -> Float[Tensor, "*batch outcome"]:
    """Return the measurement probabilities of pure states, p_j = |⟨m_j|ψ⟩|².

    Args:
        ket: Unit kets.
        vectors: Unit rows m_j; they need not be orthogonal nor complete.

    Returns:
        One probability per vector; they sum to 1 if the vectors are an orthonormal basis.

    Source: P.

    Example:
        >>> probabilities(torch.tensor([0.6 + 0j, 0.8j]), torch.eye(2) + 0j)
        tensor([0.3600, 0.6400])
    """
    return squared_magnitude(ket @ vectors.mH)


def probabilities_of_density(
    density: Complex[Tensor, "*batch dim dim"], vectors: Complex[Tensor, "outcome dim"]
) -> Float[Tensor, "*batch outcome"]:
    """Return the probabilities of mixed states, p_j = ⟨m_j| ρ |m_j⟩, clamped at 0 against round-off.

    Args:
        density: Density matrices.
        vectors: Unit rows m_j.

    Returns:
        One probability per vector.

    Source: P.

    Example:
        >>> probabilities_of_density(0.5 * torch.eye(2) + 0j, torch.eye(2) + 0j)
        tensor([0.5000, 0.5000])
    """
    return expectations_of_density(density, vectors[:, :, None] * vectors[:, None, :].conj()).clamp(min=0)


def expectations(
    ket: Complex[Tensor, "*batch dim"], observables: Complex[Tensor, "outcome dim dim"]
) -> Float[Tensor, "*batch outcome"]:
    """Return the expectation values of observables in pure states, ⟨ψ|X_j|ψ⟩.

    Args:
        ket: Unit kets.
        observables: Hermitian matrices X_j.

    Returns:
        One real value per observable.

    Example:
        >>> expectations(torch.tensor([0.6 + 0j, 0.8j]), torch.tensor([[[1, 0], [0, -1]]]) + 0j)
        tensor([-0.2800])
    """
    num_outcomes, dim, _ = observables.shape
    rows = ket.reshape(-1, dim).resolve_conj()
    # One GEMM for all observables: ⟨ψ|X_j lies in one row per ket.
    bras = (rows.conj() @ observables.permute(1, 0, 2).reshape(dim, -1)).reshape(-1, num_outcomes, dim)
    values = (torch.view_as_real(bras.conj().resolve_conj()) * torch.view_as_real(rows)[:, None]).sum(
        (-2, -1)
    )
    return values.reshape(*ket.shape[:-1], num_outcomes)


def expectations_of_density(
    density: Complex[Tensor, "*batch dim dim"], observables: Complex[Tensor, "outcome dim dim"]
) -> Float[Tensor, "*batch outcome"]:
    """Return the expectation values of observables in mixed states, tr(ρ X_j).

    Args:
        density: Density matrices.
        observables: Hermitian matrices X_j.

    Returns:
        One real value per observable.

    Example:
        >>> expectations_of_density(0.5 * torch.eye(2) + 0j, torch.tensor([[[1, 0], [0, 3]]]) + 0j)
        tensor([2.])
    """
    return (density.flatten(-2) @ observables.mT.flatten(-2).mT).real
