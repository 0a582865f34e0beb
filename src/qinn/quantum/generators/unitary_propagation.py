"""Kets turned by exp(−iHt), by eigenvectors or a series; of many H together."""

from cmath import exp
from collections.abc import Callable

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.interface import with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.trace_parts import energy_offset, phases_of, shifted, traceless
from qinn.quantum.numerics.chebyshev import (
    ExponentialPlan,
    FieldOfValues,
    default_tolerance,
    exponential_action,
    overflow_error,
    plan_exponential,
)
from qinn.quantum.numerics.turning import turn_by_eigenvectors, unitaries_of

# Up to here, and beyond for more applications than this, eigenvectors of H are cheaper than a series.
_LARGEST_TURNED_DIM, FEW_APPLICATIONS = 32, 32
# With a larger ‖H‖t, round-off of H itself changes every phase.
_LARGEST_PHASE = 2.0**40


def unitaries_of_systems(hamiltonians: Complex[Tensor, "*batch dim dim"], time: float) -> Tensor:
    """Return exp(−iHt) of many systems, up to a phase of each, in double precision.

    Args:
        hamiltonians: Hermitian H.
        time: Duration t ≥ 0.

    Raises:
        ArgumentError: If an H is not finite, or ‖H‖t so large that no digit of a phase is right.
    """
    check_phases(hamiltonians, time)
    return unitaries_of(time * traceless(hamiltonians)[0])


def propagate_unitarily(
    hamiltonian: Complex[Tensor, "*systems dim dim"],
    kets: Complex[Tensor, "*batch dim"],
    time: float | Tensor,
) -> Complex[Tensor, "*result dim"]:
    """Return exp(−iHt)ψ, by the eigenvectors of H, or a series where H is large and the time short.

    Args:
        hamiltonian: Hermitian H, or many (…, D, D).
        kets: Any vectors; those of many H have the shape (…, row, D), where all rows evolve under one H.
        time: Duration t ≥ 0; a tensor may carry a gradient.

    Returns:
        The evolved vectors, of unchanged norm; the error is the tolerance of the precision, or the round-off
        5e-16 ‖H‖t of the phases where that is more.

    Raises:
        ArgumentError: If H is not finite, or ‖H‖t so large that no digit of a phase is right.

    Source: P (criticised baseline).

    Examples:
        >>> from qinn.quantum import pauli
        >>> propagate_unitarily(pauli("X"), torch.tensor([1 + 0j, 0j]), 1.5707963)[1].imag.round(decimals=5)
        tensor(-1.)
    """
    if isinstance(time, Tensor):
        still, time = with_fixed_time(_without_jumps(hamiltonian), time)
        hamiltonian = still.hamiltonian
    if hamiltonian.ndim > 2:
        turned = kets @ unitaries_of_systems(hamiltonian, time).to(kets.dtype).mT
        return phases_of(traceless(hamiltonian)[1] * time).to(kets.dtype)[..., None, None] * turned
    if time == 0 or kets.numel() == 0:
        return kets
    dim, rows = len(hamiltonian), kets.reshape(-1, len(hamiltonian))
    check_phases(hamiltonian, time)
    offset = energy_offset(hamiltonian)
    if offset != 0:
        # Its round-off would be that of every level; as a phase it is that of all kets together.
        turned = propagate_unitarily(shifted(hamiltonian, offset), kets, time)
        return exp(-1j * offset * time) * turned
    plan = None if dim <= _LARGEST_TURNED_DIM else _unitary_plan(hamiltonian, time)
    if plan is None or plan[0].num_applications > max(FEW_APPLICATIONS, dim // 4):
        return turn_by_eigenvectors(hamiltonian, rows, time).reshape(kets.shape)
    series, middle = plan
    # The middle of the spectrum is taken out, and put back as a phase.
    generator = -1j * shifted(hamiltonian, middle)
    identity = torch.eye(dim, dtype=hamiltonian.dtype, device=hamiltonian.device)

    def build(scale: float, shift: float) -> Callable[[Tensor], Tensor]:
        step = scale * generator - shift * identity
        return lambda columns: step @ columns

    columns = exponential_action(build, rows.mT, series, time, part_axes=(0,))
    if columns is None:
        raise overflow_error()
    return (exp(-1j * middle * time) * columns).mT.reshape(kets.shape)


def check_phases(hamiltonian: Complex[Tensor, "*batch dim dim"], time: float) -> None:
    """Refuse an H that is not finite, or so large that no digit of a phase e^{−iλt} is right.

    Args:
        hamiltonian: Hermitian H.
        time: Duration t ≥ 0.

    Raises:
        ArgumentError: If it is.
    """
    if not bool(torch.isfinite(torch.view_as_real(hamiltonian.detach().resolve_conj())).all()):
        raise ArgumentError("Argument `hamiltonian` must be finite, but it holds NaN or infinity.")
    norms = torch.linalg.matrix_norm(hamiltonian.detach().to(torch.complex128))
    size = float(norms if norms.ndim == 0 else norms.amax()) * time if norms.numel() else 0.0
    if not size < _LARGEST_PHASE:
        raise ArgumentError(
            f"Argument `time` must be moderate, but ‖H‖ times time is {size:.3g}, where round-off of H alone changes "
            f"every phase; keep it below {_LARGEST_PHASE:.1g}."
        )


def _without_jumps(hamiltonian: Tensor) -> Lindbladian:
    return Lindbladian(hamiltonian, hamiltonian.new_zeros(0, *hamiltonian.shape[-2:]), validate=False)


def _unitary_plan(hamiltonian: Tensor, time: float) -> tuple[ExponentialPlan, float]:
    """Plan for exp(−i(H − middle)t), and the middle of the spectrum."""
    levels = torch.linalg.eigvalsh(hamiltonian.detach().to(torch.complex128))
    low, high = float(levels[0]), float(levels[-1])
    middle = 0.5 * (low + high)
    spread = max(high - middle, 0.0) * (1 + 1e-6)
    # Two digits more than the value needs: its derivative with respect to H loses them.
    tolerance = 0.01 * default_tolerance(hamiltonian.dtype)
    return plan_exponential(FieldOfValues(0.0, 0.0, spread * time), tolerance), middle


def unitary_work(hamiltonian: Complex[Tensor, "*batch dim dim"], time: float) -> int:
    """Bound how often `propagate_unitarily` multiplies kets by a D × D matrix, before it does.

    Args:
        hamiltonian: Hermitian H.
        time: Duration t ≥ 0.

    Returns:
        The number of products; 2 where the eigenvectors are used (they cost about ten more).

    Examples:
        >>> unitary_work(torch.diag(torch.tensor([1.0, -1.0])) + 0j, 1e6)
        2
    """
    if time == 0:
        return 0
    dim = hamiltonian.shape[-1]
    if dim <= _LARGEST_TURNED_DIM or hamiltonian.ndim > 2:
        return 2
    number = _unitary_plan(hamiltonian, time)[0].num_applications
    return 2 if number > max(FEW_APPLICATIONS, dim // 4) else number
