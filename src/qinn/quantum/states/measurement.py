"""Measurement along unit vectors: p_j = ⟨m_j| ρ |m_j⟩."""

from typing import Any

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from qinn.quantum.arguments import (
    are_hermitian,
    as_complex_together,
    as_matrices,
    as_rows,
    check_densities,
    check_kets,
    check_square,
    check_vectors,
)
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

    Examples:
        >>> measurement_vectors_from(torch.tensor([[[0.0, 3.0], [0.0, 4.0]]]))
        tensor([[0.0000+0.0000j, 0.6000+0.8000j]])
    """
    return normalize(torch.complex(free[:, 0], free[:, 1]))


def projectors(vectors: Complex[Tensor, "outcome dim"]) -> Complex[Tensor, "outcome dim dim"]:
    """Return |m_j⟩⟨m_j| of every row.

    Args:
        vectors: Rows m_j.

    Examples:
        >>> projectors(torch.tensor([[0j, 1]])).real
        tensor([[[0., 0.],
                 [0., 1.]]])
    """
    return vectors[:, :, None] * vectors[:, None, :].conj()


def probabilities(ket: Any, vectors: Any, *, validate: bool = True) -> Float[Tensor, "*batch outcome"]:
    """Return the measurement probabilities of pure states, p_j = |⟨m_j|ψ⟩|².

    Args:
        ket: Unit kets (…, D), as a tensor, an array or lists.
        vectors: Unit rows m_j (outcome, D); they need not be orthogonal nor complete.
        validate: Pass False to skip the checks of the values of states and vectors where they hold by construction.

    Returns:
        One probability per vector; they sum to 1 if the vectors are an orthonormal basis.

    Raises:
        ArgumentError: If shapes or precisions do not fit, or a ket or a vector is not of unit norm.

    Source: P.

    Examples:
        >>> probabilities([0.6, 0.8j], torch.eye(2))
        tensor([0.3600, 0.6400])
    """
    return probabilities_of_kets(*_checked("ket", ket, "vectors", vectors, validate))


def probabilities_of_density(
    density: Any, vectors: Any, *, validate: bool = True
) -> Float[Tensor, "*batch outcome"]:
    """Return the probabilities of mixed states, p_j = ⟨m_j| ρ |m_j⟩, clamped at 0 against round-off.

    Args:
        density: Density matrices (…, D, D), as a tensor, an array or lists.
        vectors: Unit rows m_j (outcome, D).
        validate: Pass False to skip the checks of the values of states and vectors where they hold by construction.

    Returns:
        One probability per vector.

    Raises:
        ArgumentError: If shapes or precisions do not fit, a matrix is no density, or a vector is not of unit norm.

    Source: P.

    Examples:
        >>> probabilities_of_density([[0.5, 0], [0, 0.5]], torch.eye(2))
        tensor([0.5000, 0.5000])
    """
    return probabilities_of_matrices(*_checked("density", density, "vectors", vectors, validate))


def expectations(
    ket: Any, observables: Any, *, hermitian: bool | None = None, validate: bool = True
) -> Shaped[Tensor, "*batch outcome"]:
    """Return the expectation values of observables in pure states, ⟨ψ|X_j|ψ⟩.

    Args:
        ket: Unit kets (…, D), as a tensor, an array or lists.
        observables: Matrices X_j (outcome, D, D), Hermitian or not.
        hermitian: Whether the values are real. None looks at the observables: they are, if every one equals its
            adjoint up to round-off (100 ε times its largest entry). True takes the real part without a look; False
            gives complex values in any case, whose dtype then does not depend on numbers.
        validate: Pass False to skip the checks of the values of states where they hold by construction.

    Returns:
        One value per observable: real if all are Hermitian, complex otherwise.

    Raises:
        ArgumentError: If shapes or precisions do not fit, a ket is not of unit norm, or an observable not finite.

    Examples:
        >>> expectations([0.6, 0.8j], [[[1, 0], [0, -1]]])
        tensor([-0.2800])
        >>> expectations([0.6, 0.8j], [[[0, 1], [0, 0]]])
        tensor([0.+0.4800j])
    """
    kets, matrices = _checked("ket", ket, "observables", observables, validate)
    real = are_hermitian("observables", matrices) if hermitian is None else hermitian
    return values_of_kets(kets, matrices, real)


def expectations_of_density(
    density: Any, observables: Any, *, hermitian: bool | None = None, validate: bool = True
) -> Shaped[Tensor, "*batch outcome"]:
    """Return the expectation values of observables in mixed states, tr(ρ X_j).

    Args:
        density: Density matrices (…, D, D), as a tensor, an array or lists.
        observables: Matrices X_j (outcome, D, D), Hermitian or not.
        hermitian: As in `expectations`.
        validate: Pass False to skip the checks of the values of states where they hold by construction.

    Returns:
        One value per observable: real if all are Hermitian, complex otherwise.

    Raises:
        ArgumentError: If shapes or precisions do not fit, a matrix is no density, or an observable is not finite.

    Examples:
        >>> expectations_of_density([[0.5, 0], [0, 0.5]], [[[1, 0], [0, 3]]])
        tensor([2.])
    """
    matrices, operators = _checked("density", density, "observables", observables, validate)
    real = are_hermitian("observables", operators) if hermitian is None else hermitian
    return values_of_matrices(matrices, operators, real)


def _checked(
    name: str, state: Any, measured_name: str, measured: Any, validate: bool
) -> tuple[Tensor, Tensor]:
    """Kets or densities, and the vectors or observables that are measured, refused unless they fit each other."""
    states, others = as_complex_together({name: state, measured_name: measured})
    are_kets, are_vectors = name == "ket", measured_name == "vectors"
    (check_vectors if are_kets else check_square)(name, states)
    if are_vectors:
        as_rows(measured_name, others, states.shape[-1], states, name)
    else:
        as_matrices(measured_name, others, states.shape[-1], states, name, ndim=3)
    if validate:
        (check_kets if are_kets else check_densities)(name, states)
        if are_vectors:
            check_kets(measured_name, others)
    return states, others


def probabilities_of_kets(
    kets: Complex[Tensor, "*batch dim"], vectors: Complex[Tensor, "outcome dim"]
) -> Float[Tensor, "*batch outcome"]:
    """Return `probabilities` of arguments that are known to fit."""
    return squared_magnitude(kets @ vectors.mH)


def probabilities_of_matrices(
    densities: Complex[Tensor, "*batch dim dim"], vectors: Complex[Tensor, "outcome dim"]
) -> Float[Tensor, "*batch outcome"]:
    """Return `probabilities_of_density` of arguments that are known to fit."""
    return values_of_matrices(densities, projectors(vectors), True).clamp(min=0)


def values_of_kets(
    kets: Complex[Tensor, "*batch dim"],
    observables: Complex[Tensor, "outcome *systems dim dim"],
    hermitian: bool,
) -> Shaped[Tensor, "*result outcome"]:
    """Return `expectations` of arguments that are known to fit, real or complex.

    Observables of many systems (outcome, …, D, D) are measured in the kets (…, trajectory, D) of each.
    """
    if observables.ndim > 3:
        images = (kets.conj() @ observables).movedim(0, -2)
        values = (images * kets[..., None, :]).sum(-1)
        return values.real if hermitian else values
    num_outcomes, dim, _ = observables.shape
    rows = kets.reshape(kets.shape[:-1].numel(), dim).resolve_conj()
    # One GEMM for all observables: X_j|ψ⟩ lies in one row per ket.
    columns = observables.permute(2, 0, 1).reshape(dim, num_outcomes * dim)
    images = (rows @ columns).reshape(len(rows), num_outcomes, dim)
    if hermitian:
        # Of ψ†Xψ the real part is the product of real and imaginary parts side by side.
        rows, images = (torch.view_as_real(each).flatten(-2) for each in (rows, images))
    values = torch.bmm(images, rows.conj()[:, :, None])[..., 0]
    return values.reshape(*kets.shape[:-1], num_outcomes)


def values_of_matrices(
    densities: Complex[Tensor, "*batch dim dim"],
    observables: Complex[Tensor, "outcome *systems dim dim"],
    hermitian: bool,
) -> Shaped[Tensor, "*result outcome"]:
    """Return `expectations_of_density` of arguments that are known to fit, real or complex.

    Observables of many systems (outcome, …, D, D) are measured in the densities (…, D, D) of each.
    """
    if observables.ndim > 3:
        values = (densities * observables.mT).sum((-2, -1)).movedim(0, -1)
        return values.real if hermitian else values
    values = densities.flatten(-2) @ observables.mT.flatten(-2).mT
    return values.real if hermitian else values
