"""Exact propagation of kets, densities and observables over a finite time, to a planned tolerance."""

from cmath import exp
from collections.abc import Callable

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.exponential import (
    FieldOfValues,
    default_tolerance,
    exponential_action,
    matrix_exponential,
    plan_exponential,
)
from qinn.quantum.operators import Lindbladian

# Up to here the D² × D² matrix of the generator is cheaper than a series of applications.
_LARGEST_SUPEROPERATOR_DIM = 8
# More steps sharpen the bound of the growth little further.
_POWER_STEPS = 2


def field_of_values(lindbladian: Lindbladian) -> FieldOfValues:
    """Bound the field of values of the generator 𝓛 in the Hilbert–Schmidt inner product.

    With Φ(X) = Σ L_k X L_k†, G = Σ L_k†L_k and n = ‖Φ‖: real parts lie in [−g_max − n, r], imaginary parts in
    ±(h_max − h_min + n), where r is the largest eigenvalue of the self-adjoint S(X) = ½(Φ + Φ†)(X) − ½{G, X}.
    Φ†Φ is a positive map and S generates positive maps, so that for every X > 0

        Φ†Φ(X) ≤ n² X bounds n,    S(X) ≤ r X bounds r,

    the first with X = 𝟙, the second with 𝟙 and with two steps of a power iteration from it. The trace part of
    every L_k is moved into H first, which leaves 𝓛 unchanged.

    Args:
        lindbladian: The dynamics.

    Returns:
        A rectangle valid for 𝓛 and for its adjoint.

    Raises:
        ArgumentError: If an operator is not finite.

    Source: own; the bounds are L. Collatz's for positive maps (Math. Z. 48 (1942) 221).

    Example:
        >>> field_of_values(Lindbladian(torch.diag(torch.tensor([1.0, 3.0])) + 0j, torch.zeros(0, 2, 2) + 0j))
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
    X, moved, shift_up = identity, 0.5 * (up - down), g_high + growth
    for _ in range(_POWER_STEPS if growth > 0 else 0):
        # A step towards the dominant X of S, mixed with 𝟙, which keeps it well conditioned.
        X = moved + shift_up * X
        X = X / X.diagonal().real.mean() + 0.02 * identity
        moved = 0.5 * ((L @ X @ L.mH).sum(0) + (L.mH @ X @ L).sum(0) - down @ X - X @ down)
        factor, failed = torch.linalg.cholesky_ex(X)
        if bool(failed):
            break  # no X > 0, so no bound from it; those found before hold
        half = torch.linalg.solve_triangular(factor, moved, upper=False)
        ratio = torch.linalg.solve_triangular(factor, half.mH, upper=False)
        growth = min(growth, float(torch.linalg.eigvalsh(ratio)[-1]))
    real_high = max(min(growth, jumps - max(g_low, 0.0)), 0.0)
    return FieldOfValues(-g_high - jumps, real_high, h_high - h_low + jumps)


def _sandwiches(left: Tensor, right: Tensor, scale: float, shift: float) -> Callable[[Tensor], Tensor]:
    """Return X ↦ scale (A_0 X + X B_0 + Σ_k A_k X B_k) − shift X for X laid out (D, batch, D).

    ``left`` holds A_0, A_1, … and ``right`` B_0, B_1, …; the numbers are folded into the operators.
    """
    num, dim, _ = left.shape
    identity = torch.eye(dim, dtype=left.dtype, device=left.device)
    outer_left = torch.cat([scale * left[:1] - 0.5 * shift * identity, scale * left[1:]]).reshape(
        num * dim, dim
    )
    outer_right = [scale * right[0] - 0.5 * shift * identity, *right[1:]]

    def apply(operator: Tensor) -> Tensor:
        rows = operator.reshape(-1, dim)
        # One large GEMM multiplies every A_k to all matrices, which lie side by side.
        products = (outer_left @ operator.reshape(dim, -1)).reshape(num, *rows.shape)
        total = torch.addmm(products[0], rows, outer_right[0])
        for product, factor in zip(products[1:], outer_right[1:], strict=True):
            total = torch.addmm(total, product, factor)
        return total.reshape(operator.shape)

    return apply


def _propagate(
    lindbladian: Lindbladian, matrices: Tensor, time: float, tolerance: float | None, *, backwards: bool
) -> Tensor:
    dim = lindbladian.dim
    tolerance = default_tolerance(lindbladian.dtype) if tolerance is None else tolerance
    if time == 0:
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
    plan = plan_exponential(field_of_values(lindbladian).scaled(time), tolerance)
    flow, jumps = lindbladian.no_jump_generator[None], lindbladian.jump_operators
    ket_side, bra_side = torch.cat([flow, jumps]), torch.cat([flow.mH, jumps.mH])
    left, right = (bra_side, ket_side) if backwards else (ket_side, bra_side)
    laid_out = matrices.reshape(-1, dim, dim).transpose(0, 1)
    evolved = exponential_action(
        lambda scale, shift: _sandwiches(left, right, scale, shift),
        laid_out,
        plan,
        time,
        num_parts=laid_out.shape[1],
    )
    return evolved.transpose(0, 1).reshape(matrices.shape)


def propagate_densities(
    lindbladian: Lindbladian,
    densities: Complex[Tensor, "*batch dim dim"],
    time: float,
    tolerance: float | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return exp(𝓛t)ρ, the exact average over all trajectories (Schrödinger picture).

    Args:
        lindbladian: The dynamics.
        densities: Any matrices.
        time: Duration t ≥ 0.
        tolerance: Largest error relative to the Hilbert–Schmidt norm; 1e-6 or 1e-12 by precision if None.

    Returns:
        The evolved matrices.

    Raises:
        ArgumentError: If an operator is not finite.

    Source: P (dissipative dynamics); O (Chebyshev action).

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> excited = torch.diag(torch.tensor([0j, 1]))
        >>> propagate_densities(decay, excited, 0.6931472)[0, 0].real.round(decimals=5)
        tensor(0.5000)
    """
    return _propagate(lindbladian, densities, time, tolerance, backwards=False)


def propagate_observables(
    lindbladian: Lindbladian,
    observables: Complex[Tensor, "*batch dim dim"],
    time: float,
    tolerance: float | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return exp(𝓛†t)X, observables evolved backwards (Heisenberg picture).

    Args:
        lindbladian: The dynamics.
        observables: Any matrices.
        time: Duration t ≥ 0.
        tolerance: As in `propagate_densities`.

    Returns:
        The evolved matrices: tr(exp(𝓛t)ρ · X) = tr(ρ · exp(𝓛†t)X).

    Raises:
        ArgumentError: If an operator is not finite.

    Source: O (Heisenberg picture).

    Example:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> propagate_observables(decay, torch.eye(2) + 0j, 3.0).diagonal().real.round(decimals=5)
        tensor([1., 1.])
    """
    return _propagate(lindbladian, observables, time, tolerance, backwards=True)


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
        >>> from qinn.quantum.operators import pauli
        >>> propagate_unitarily(pauli("X"), torch.tensor([1 + 0j, 0j]), 1.5707963)[1].imag.round(decimals=5)
        tensor(-1.)
    """
    if time == 0:
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

    columns = exponential_action(build, kets.reshape(-1, dim).mT, plan, time, num_parts=kets.numel() // dim)
    return (exp(-1j * middle * time) * columns).mT.reshape(kets.shape)
