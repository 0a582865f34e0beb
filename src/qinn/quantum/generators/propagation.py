"""Exact propagation of kets, densities and observables over a finite time, to a planned tolerance."""

from cmath import exp
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, as_time, check_finite, check_tolerance
from qinn.quantum.generators.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.interface import check_kind
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.chebyshev import (
    FINEST_TOLERANCE,
    FieldOfValues,
    default_tolerance,
    exponential_action,
    plan_exponential,
)
from qinn.quantum.numerics.generator_action import evolve_coordinates
from qinn.quantum.numerics.matrix_exponential import matrix_exponential

# Up to here the D² × D² matrix of the generator is cheaper than a series of applications.
_LARGEST_SUPEROPERATOR_DIM = 8
# A smaller tolerance asks for all that double precision can give, in gradients too.
_DOUBLE_TOLERANCE = 1e-9


def field_of_values(lindbladian: Lindbladian) -> tuple[FieldOfValues, FieldOfValues]:
    """Bound the field of values of the generator 𝓛 in the Hilbert–Schmidt inner product, and guess its bulk.

    With Φ(X) = Σ L_k X L_k†, G = Σ L_k†L_k and n = ‖Φ‖: real parts lie in [−g_max − n, r], imaginary parts in
    ±(h_max − h_min + n), where r is the largest eigenvalue of the self-adjoint S(X) = ½(Φ + Φ†)(X) − ½{G, X}.
    Φ†Φ is a positive map and S generates positive maps, so that Φ†Φ(𝟙) ≤ n² 𝟙 bounds n and S(𝟙) ≤ r 𝟙 bounds
    r. The trace part of every L_k is moved into H first, which leaves 𝓛 unchanged.

    Args:
        lindbladian: The dynamics.

    Returns:
        A rectangle valid for 𝓛 and for its adjoint, and the smaller one that the generator without Φ fills,
        together with 0.

    Raises:
        ArgumentError: If an operator is not finite.

    Source: own; the bounds are L. Collatz's for positive maps (Math. Z. 48 (1942) 221).

    Example:
        >>> field_of_values(Lindbladian(torch.diag(torch.tensor([1.0, 3.0])) + 0j, torch.zeros(0, 2, 2) + 0j))[0]
        FieldOfValues(real_low=-0.0, real_high=0.0, imaginary=2.0)
    """
    H, L = lindbladian.hamiltonian.detach(), lindbladian.jump_operators.detach()
    identity = torch.eye(lindbladian.dim, dtype=L.dtype, device=L.device)
    traces = L.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    shift = (traces.conj() * L).sum(0)
    H = H + 0.5j * (shift - shift.mH)
    L = L - traces * identity
    down, up = (L.mH @ L).sum(0), (L @ L.mH).sum(0)  # G = Φ†(𝟙) and Φ(𝟙)
    stack = torch.stack([H, down, (L.mH @ up @ L).sum(0), 0.5 * (up - down)])
    if not bool(torch.isfinite(torch.view_as_real(stack)).all()):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
    values = torch.linalg.eigvalsh(stack)
    (h_low, g_low, _, _), (h_high, g_high, squared, growth) = values[:, 0].tolist(), values[:, -1].tolist()
    jumps = max(squared, 0.0) ** 0.5
    real_high = max(min(growth, jumps - max(g_low, 0.0)), 0.0)
    return (
        FieldOfValues(-g_high - jumps, real_high, h_high - h_low + jumps),
        FieldOfValues(-g_high, 0.0, h_high - h_low),
    )


def _checked(
    name: str, value: Any, lindbladian: Any, time: Any, tolerance: float | None
) -> tuple[Lindbladian, Tensor, Any]:
    """The dynamics, the matrices and the time, refused unless they fit each other."""
    dynamics = check_kind(lindbladian, (Lindbladian,), "exact propagation")
    check_tolerance(tolerance)
    matrices = as_matrices(name, value, dynamics.dim, dynamics.hamiltonian, "lindbladian")
    check_finite(name, matrices)
    return dynamics, matrices, as_time(time)


def _propagate(
    lindbladian: Lindbladian, matrices: Tensor, time: float, tolerance: float | None, *, backwards: bool
) -> Tensor:
    dim = lindbladian.dim
    tolerance = default_tolerance(lindbladian.dtype) if tolerance is None else tolerance
    if time == 0 or matrices.numel() == 0:
        return matrices
    if dim <= _LARGEST_SUPEROPERATOR_DIM:
        # In double precision: the squarings inside the matrix exponential multiply round-off.
        generator = superoperator_on_real_coordinates(lindbladian.to(torch.complex128))
        channel = matrix_exponential(generator * time, tolerance)
        # Rows are matrices, as coordinates: ρ ↦ E ρ forwards, X ↦ Eᵀ X backwards.
        flat = torch.view_as_real(real_coordinates(matrices.to(torch.complex128)).flatten(-2)).mT
        moved = (flat @ (channel if backwards else channel.mT)).mT.contiguous()
        evolved = torch.view_as_complex(moved).reshape(matrices.shape)
        return from_real_coordinates(evolved).to(matrices.dtype)
    field, expected = field_of_values(lindbladian)
    if tolerance < _DOUBLE_TOLERANCE:
        # Two digits more than the value needs: its derivative with respect to weak operators loses them.
        tolerance = max(0.01 * tolerance, FINEST_TOLERANCE)
    plan = plan_exponential(field.scaled(time), tolerance, expected.scaled(time))
    operators = torch.cat([lindbladian.no_jump_generator[None], lindbladian.jump_operators])
    coordinates = real_coordinates(matrices.reshape(-1, dim, dim))
    # Every matrix is two Hermitian ones; most have only the first.
    halves = [coordinates.real] if _are_hermitian(coordinates) else [coordinates.real, coordinates.imag]
    evolved = evolve_coordinates(operators.mH if backwards else operators, torch.cat(halves), plan, time)
    evolved = evolved.reshape(len(halves), *matrices.shape)
    complete = torch.complex(evolved[0], evolved[1] if len(halves) == 2 else torch.zeros_like(evolved[0]))
    return from_real_coordinates(complete)


def _are_hermitian(coordinates: Tensor) -> bool:
    """Whether the imaginary parts of real coordinates are round-off."""
    parts = torch.view_as_real(coordinates.detach()).abs().amax((0, 1, 2)).tolist()
    return parts[1] <= 4 * torch.finfo(coordinates.dtype).eps * parts[0]


def propagate_densities(
    lindbladian: Any,
    densities: Any,
    time: Any,
    tolerance: float | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return exp(𝓛t)ρ, the exact average over all trajectories (Schrödinger picture).

    Args:
        lindbladian: The dynamics.
        densities: Any matrices (…, D, D), as a tensor, an array or lists.
        time: Duration t ≥ 0.
        tolerance: Largest error relative to the Hilbert–Schmidt norm; 1e-6 or 1e-12 by precision if None.

    Returns:
        The evolved matrices.

    Raises:
        ArgumentError: If an argument does not fit, or is not finite.

    Source: P (dissipative dynamics); O (Chebyshev action).

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> excited = torch.diag(torch.tensor([0j, 1]))
        >>> propagate_densities(decay, excited, 0.6931472)[0, 0].real.round(decimals=5)
        tensor(0.5000)
    """
    dense, matrices, duration = _checked("densities", densities, lindbladian, time, tolerance)
    return _propagate(dense, matrices, duration, tolerance, backwards=False)


def propagate_observables(
    lindbladian: Any,
    observables: Any,
    time: Any,
    tolerance: float | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return exp(𝓛†t)X, observables evolved backwards (Heisenberg picture).

    Args:
        lindbladian: The dynamics.
        observables: Any matrices (…, D, D), as a tensor, an array or lists.
        time: Duration t ≥ 0.
        tolerance: As in `propagate_densities`.

    Returns:
        The evolved matrices: tr(exp(𝓛t)ρ · X) = tr(ρ · exp(𝓛†t)X).

    Raises:
        ArgumentError: If an argument does not fit, or is not finite.

    Source: O (Heisenberg picture).

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> propagate_observables(decay, torch.eye(2) + 0j, 3.0).diagonal().real.round(decimals=5)
        tensor([1., 1.])
    """
    dense, matrices, duration = _checked("observables", observables, lindbladian, time, tolerance)
    return _propagate(dense, matrices, duration, tolerance, backwards=True)


def propagate_unitarily(
    hamiltonian: Complex[Tensor, "dim dim"], kets: Complex[Tensor, "*batch dim"], time: float
) -> Complex[Tensor, "*batch dim"]:
    """Return exp(−iHt)ψ.

    Args:
        hamiltonian: Hermitian H.
        kets: Any vectors.
        time: Duration t ≥ 0.

    Returns:
        The evolved vectors, of unchanged norm to the tolerance of the precision.

    Raises:
        ArgumentError: If H is not finite.

    Source: P (criticised baseline).

    Example:
        >>> from qinn.quantum.numerics.operators import pauli
        >>> propagate_unitarily(pauli("X"), torch.tensor([1 + 0j, 0j]), 1.5707963)[1].imag.round(decimals=5)
        tensor(-1.)
    """
    if time == 0 or kets.numel() == 0:
        return kets
    dim = hamiltonian.shape[0]
    detached = hamiltonian.detach()
    if not bool(torch.isfinite(torch.view_as_real(detached.resolve_conj())).all()):
        raise ArgumentError("Argument `hamiltonian` must be finite, but it holds NaN or infinity.")
    levels = torch.linalg.eigvalsh(detached)
    low, high = float(levels[0]), float(levels[-1])
    middle = 0.5 * (low + high)
    identity = torch.eye(dim, dtype=hamiltonian.dtype, device=hamiltonian.device)
    generator = -1j * (hamiltonian - middle * identity)
    spread = max(high - middle, 0.0) * (1 + 1e-6)
    # Two digits more than the value needs: its derivative with respect to H loses them.
    tolerance = 0.01 * default_tolerance(hamiltonian.dtype)
    plan = plan_exponential(FieldOfValues(0.0, 0.0, spread * time), tolerance)

    def build(scale: float, shift: float) -> Callable[[Tensor], Tensor]:
        step = scale * generator - shift * identity
        return lambda columns: step @ columns

    columns = exponential_action(build, kets.reshape(-1, dim).mT, plan, time, part_axes=(0,))
    return (exp(-1j * middle * time) * columns).mT.reshape(kets.shape)
