"""What generators do to each factor alone and what they do to several together, and a knob for the latter."""

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.embedding import embed
from qinn.quantum.numerics.factors import check_dims


def local_terms(
    operators: Complex[Tensor, "*batch dim dim"], dims: Sequence[int]
) -> Complex[Tensor, "*batch factor dim dim"]:
    """Return the traceless one-factor terms of operators, A_m = tr_rest(A)/D_rest ⊗ 𝟙 − (tr A/D) 𝟙.

    (tr A/D) 𝟙 + Σ_m A_m is the orthogonal projection (Hilbert–Schmidt) onto sums of operators on one factor each, and
    what is missing of A is its non-local part.

    Args:
        operators: Matrices on the joint space.
        dims: Dimension of each factor.

    Returns:
        A_m of each factor m, on the joint space.

    Raises:
        ArgumentError: If the dimensions do not fit.

    Source: O.

    Examples:
        >>> from qinn.quantum import pauli
        >>> field = embed(pauli("Z"), (2, 2), (1,))
        >>> exchange = torch.kron(pauli("X"), pauli("X"))
        >>> terms = local_terms(field + exchange, (2, 2))
        >>> bool((terms[0] == 0).all()), bool((terms[1] == field).all())
        (True, True)
    """
    dim, count = operators.shape[-1], len(dims)
    check_dims(dims, dim)
    lead = operators.shape[:-2]
    factors = operators.reshape(-1, *dims, *dims)
    terms = []
    for position, size in enumerate(dims):
        rest = prod(dims) // size
        letters = [2 + axis for axis in range(count)]
        columns = [1 if axis == position else letters[axis] for axis in range(count)]
        rows = [0 if axis == position else letters[axis] for axis in range(count)]
        # Axis `count + 2` counts the operators.
        reduced = torch.einsum(factors, [count + 2, *rows, *columns], [count + 2, 0, 1]) / rest
        trace = reduced.diagonal(dim1=-2, dim2=-1).sum(-1) / size
        identity = torch.eye(size, dtype=operators.dtype, device=operators.device)
        terms.append(embed(reduced - trace[:, None, None] * identity, dims, (position,)))
    return torch.stack(terms, dim=1).reshape(*lead, count, dim, dim)


def check_factor(factor: Any, name: str = "factor") -> float:
    """Return the knob's setting as a number, refusing what is none or negative.

    Args:
        factor: The setting g.
        name: Name of the argument in the message.

    Raises:
        ArgumentError: If g is not a finite number ≥ 0.

    Examples:
        >>> check_factor(0.5)
        0.5
    """
    try:
        found = float(factor)
    except (TypeError, ValueError):
        raise ArgumentError(f"Argument `{name}` must be a number ≥ 0, but it is {factor!r}.") from None
    if not (found >= 0 and isfinite(found)):
        raise ArgumentError(
            f"Argument `{name}` must be finite and ≥ 0, but it is {found:g}; 1 is the learned coupling, 0 none."
        )
    return found


def scale_operator(
    operator: Complex[Tensor, "dim dim"], dims: Sequence[int], factor: float
) -> Complex[Tensor, "dim dim"]:
    """Return A with its non-local part times g; A itself for g = 1, Hermitian where A is.

    Args:
        operator: A, on the joint space.
        dims: Dimension of each factor.
        factor: The setting g ≥ 0.

    Returns:
        The operator.

    Raises:
        ArgumentError: If an argument does not fit.

    Source: O.

    Examples:
        >>> from qinn.quantum import pauli
        >>> exchange = torch.kron(pauli("X"), pauli("X"))
        >>> bool((scale_operator(exchange, (2, 2), 0.5) == 0.5 * exchange).all())
        True
    """
    factor = check_factor(factor)
    check_dims(dims, operator.shape[-1])
    if factor == 1:
        return operator
    return _scaled(operator[None], dims, factor)[0]


def scale_coupling(lindbladian: Any, dims: Sequence[int], factor: Any) -> Lindbladian:
    """Return the dynamics with what couples the factors times g: none at g = 0, the very same at g = 1.

    With A_m the one-factor terms of an operator (`local_terms`), c its trace part and N what is left, H = c + Σ H_m +
    N_H and L_k = c_k + Σ A_km + N_k.

    For 0 ≤ g < 1 the jump operators are g L_k, and √(1 − g²) A_km for each k and m, and H = c + Σ H_m + g N_H −
    (1 − g²) Σ_km (c_k* A_km − c_k A_km†)/2i. The dissipator is g² that of the model and 1 − g² that in which each
    factor jumps for itself; the last term is what a trace part does to H. For g ≥ 1 they are L_k + (g − 1) N_k, and H
    is c + Σ H_m + g N_H.

    Every g gives a Lindblad generator, so every evolution under it is completely positive; it is continuous in g.
    Scaling N_k alone would not do: Σ_m A_km makes several factors jump *together*, which entangles them although no
    term is non-local.

    Args:
        lindbladian: The dynamics.
        dims: Dimension of each factor.
        factor: The setting g ≥ 0.

    Returns:
        The Lindbladian, with K(1 + M) jump operators for g < 1, of which those that are zero are left out.

    Raises:
        ArgumentError: If an argument does not fit.

    Source: P (controllable entanglement); O (the form).

    Examples:
        >>> from qinn.quantum import LearnableLindbladian
        >>> dynamics = LearnableLindbladian(4, 1, seed=0)()
        >>> scale_coupling(dynamics, (2, 2), 1) is dynamics, scale_coupling(dynamics, (2, 2), 0.5).num_jumps
        (True, 3)
    """
    dense = check_single(lindbladian, (Lindbladian,), "`scale_coupling`")
    factor = check_factor(factor)
    check_dims(dims, dense.dim)
    if factor == 1:
        return dense
    H, L = dense.hamiltonian, dense.jump_operators
    hamiltonian = _scaled(H[None], dims, factor)[0]
    if len(L) == 0:
        return Lindbladian(hamiltonian, L, validate=False)
    if factor > 1:
        return Lindbladian(hamiltonian, _scaled(L, dims, factor), validate=False)
    terms, kept = local_terms(L, dims), 1 - factor**2
    shifted = _trace_parts(L).conj()[:, None, None] * terms.sum(1)
    hamiltonian = hamiltonian - kept * ((shifted - shifted.mH) / 2j).sum(0)
    alone = kept**0.5 * terms.flatten(0, 1)
    together = L[:0] if factor == 0 else factor * L
    return Lindbladian(hamiltonian, torch.cat([together, alone]), validate=False)


def _trace_parts(operators: Tensor) -> Tensor:
    return operators.diagonal(dim1=-2, dim2=-1).sum(-1) / operators.shape[-1]


def _scaled(operators: Tensor, dims: Sequence[int], factor: float) -> Tensor:
    identity = torch.eye(operators.shape[-1], dtype=operators.dtype, device=operators.device)
    local = local_terms(operators, dims).sum(-3) + _trace_parts(operators)[..., None, None] * identity
    return local + factor * (operators - local)
