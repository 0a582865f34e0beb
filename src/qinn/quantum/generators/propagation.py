"""Exact propagation of kets, densities and observables over a finite time, to a planned tolerance."""

from dataclasses import dataclass, replace
from math import isfinite, log2
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, as_time, check_finite, check_tolerance
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.coordinates import (
    are_hermitian_coordinates,
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.interface import check_kind, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian, hermitian_from
from qinn.quantum.generators.trace_parts import are_shifted, traceless, without_energy_offset
from qinn.quantum.generators.unitary_propagation import (
    FEW_APPLICATIONS,
    propagate_unitarily,
    unitaries_of_systems,
    unitary_work,
)
from qinn.quantum.numerics.chebyshev import (
    FINEST_TOLERANCE,
    ExponentialPlan,
    FieldOfValues,
    default_tolerance,
    plan_exponential,
)
from qinn.quantum.numerics.generator_action import evolve_coordinates
from qinn.quantum.numerics.matrix_exponential import matrix_exponential, num_products
from qinn.quantum.numerics.work import check_applications

# Up to here the D² × D² matrix of the generator is cheaper than a series of applications.
LARGEST_SUPEROPERATOR_DIM = 8
# Entries of the D² × D² matrices of many systems that are worked on at a time: a megabyte.
_PORTION = 2**17
# What a product of matrices costs, per row of one, where a few rows are multiplied by it.
_APPLIED = 4
# Up to here it is for long times, of more applications than this, where that is less work: by the arithmetic of either
# way, what a product costs whatever its size, and what a series usually saves of its plan.
_LARGEST_LONG_DIM, _MANY_APPLICATIONS = 40, 300
_OVERHEAD, _USUAL_SAVING = 1.5e6, 3
# Single precision loses some 1e-7 per sub-step; with more of them the work is done in double precision.
MOST_SINGLE_STEPS = 64
# The guess of the spectrum reaches as far left as the field of values from the second of these normalities on, and
# only as far as without jumps below the first; Gaussian operators are near a half.
_NORMAL = (0.6, 0.7)
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
        A rectangle valid for 𝓛 and for its adjoint, and a guess of where its spectrum is: what the generator
        without Φ fills, together with 0, and for nearly normal L_k as far left as the field of values (of a
        Hermitian L coherences decay at ½(l_i − l_j)², up to twice g_max).

    Raises:
        ArgumentError: If an operator is not finite.

    Source: own; the bounds are L. Collatz's for positive maps (Math. Z. 48 (1942) 221).

    Examples:
        >>> field_of_values(Lindbladian(torch.diag(torch.tensor([1.0, 3.0])) + 0j, torch.zeros(0, 2, 2) + 0j))[0]
        FieldOfValues(real_low=-0.0, real_high=0.0, imaginary=2.0)
    """
    # In double precision: of large units of single precision, L†ΦL overflows.
    H, L = (
        operators.detach().to(torch.complex128)
        for operators in (lindbladian.hamiltonian, lindbladian.jump_operators)
    )
    identity = torch.eye(lindbladian.dim, dtype=L.dtype, device=L.device)
    traces = L.diagonal(dim1=-2, dim2=-1).mean(-1)
    shift = (traces.conj() @ L.flatten(1)).view_as(H)
    L = L - traces[:, None, None] * identity
    adjoint = L.mH
    each_down, each_up = adjoint @ L, L @ adjoint
    down, up = each_down.sum(0), each_up.sum(0)  # G = Φ†(𝟙) and Φ(𝟙)
    above = (adjoint @ (up @ L)).sum(0)
    stack = torch.stack([H + 0.5j * (shift - shift.mH), down, above, 0.5 * (up - down)])
    # A sum is a third of the calls that `isfinite` of every entry takes.
    if not isfinite(float(torch.view_as_real(stack).sum())):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
    levels, rates, squares, growths = torch.linalg.eigvalsh(stack).tolist()
    (h_low, h_high), (g_low, g_high) = (levels[0], levels[-1]), (rates[0], rates[-1])
    squared, growth = squares[-1], growths[-1]
    jumps = max(squared, 0.0) ** 0.5
    real_high = max(min(growth, jumps - max(g_low, 0.0)), 0.0)
    reach = jumps * _normality(each_down, each_up) if len(L) else 0.0
    return (
        FieldOfValues(-g_high - jumps, real_high, h_high - h_low + jumps),
        FieldOfValues(-g_high - reach, 0.0, h_high - h_low),
    )


def _checked(
    name: str, value: Any, lindbladian: Any, time: Any, tolerance: float | None, validate: bool
) -> tuple[Lindbladian, Tensor, Any]:
    """The dynamics, the matrices and the time, refused unless they fit each other."""
    dynamics = check_kind(lindbladian, (Lindbladian,), "exact propagation")
    check_tolerance(tolerance)
    matrices = as_matrices(name, value, dynamics.dim, dynamics.hamiltonian, "lindbladian")
    if validate:
        check_finite(name, matrices)
    return dynamics, matrices, as_time(time)


def _normality(each_down: Tensor, each_up: Tensor) -> float:
    """From 0 for Gaussian to 1 for (nearly) normal jump operators, by Σ tr(L†L LL†)/Σ tr(L†L)², from L†L and LL†."""
    down = each_down.flatten()
    size, overlap = torch.stack([torch.vdot(down, down), torch.vdot(down, each_up.flatten())]).real.tolist()
    least, most = _NORMAL
    return min(max((overlap / size - least) / (most - least), 0.0), 1.0) if size > 0 else 0.0


@dataclass(frozen=True)
class Way:
    """How matrices are propagated: by a series along a plan, or without one by the exponential of the generator."""

    plan: ExponentialPlan | None
    tolerance: float
    size: float
    dim: int

    @property
    def work(self) -> int:
        """Bound of the number of applications: of the generator to all matrices, or products of its exponential."""
        if self.plan is None:
            # √(‖A‖_1 ‖A‖_∞) of a D² × D² matrix is at most D ‖A‖.
            return num_products(self.dim * self.size, self.tolerance) + 1
        if self.plan.is_cautious:
            return self.plan.num_applications
        # At worst a sub-step fails and the rest is done assuming nothing.
        cautious = self.plan.cautious()
        most = max(self.plan.num_applications, cautious.num_applications)
        return most + self.plan.degree + cautious.degree


def find_way(lindbladian: Lindbladian, num_matrices: int, time: float, tolerance: float) -> Way:
    """Return how matrices are propagated with the least work.

    Args:
        lindbladian: The dynamics, with jump operators.
        num_matrices: How many matrices at a time.
        time: Duration t > 0.
        tolerance: Largest error.
    """
    fields = field_of_values(lindbladian)
    return _way_of(fields, lindbladian.dim, lindbladian.num_jumps, num_matrices, time, tolerance)


def _way_of(
    fields: tuple[FieldOfValues, FieldOfValues],
    dim: int,
    num_jumps: int,
    num_matrices: int,
    time: float,
    tolerance: float,
) -> Way:
    field, expected = fields
    # A norm is at most twice the numerical radius.
    size = 2 * time * (max(-field.real_low, field.real_high) + field.imaginary)
    if dim <= LARGEST_SUPEROPERATOR_DIM:
        return Way(None, tolerance, size, dim)
    finer = tolerance
    if tolerance < _DOUBLE_TOLERANCE:
        # Two digits more than the value needs: its derivative with respect to weak operators loses them.
        finer = max(0.01 * tolerance, FINEST_TOLERANCE)
    plan = plan_exponential(field.scaled(time), finer, expected.scaled(time))
    if dim <= _LARGEST_LONG_DIM and plan.num_applications > _MANY_APPLICATIONS:
        of_series = 2 * dim**3 * num_matrices * (6 * num_jumps + 4) + _OVERHEAD
        of_matrix = num_products(dim * size, tolerance) * (2 * dim**6 + _OVERHEAD)
        if of_matrix < plan.num_applications / _USUAL_SAVING * of_series:
            return Way(None, tolerance, size, dim)
    return Way(plan, tolerance, size, dim)


def propagation_work(
    lindbladian: Lindbladian, num_matrices: int, time: float, tolerance: float | None = None
) -> int:
    """Bound how often `propagate_densities` and `propagate_observables` apply the generator, before they do.

    Args:
        lindbladian: The dynamics.
        num_matrices: How many matrices are propagated at a time.
        time: Duration t ≥ 0.
        tolerance: As in `propagate_densities`.

    Returns:
        Applications of the generator to all matrices together; where it is exponentiated as a D² × D² matrix, the
        products of such matrices; without jump operators as in `unitary_work`. Of many systems the most of one, where
        they evolve together, otherwise their sum.

    Raises:
        ArgumentError: If an operator is not finite.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> propagation_work(decay, 1, 1.0) <= propagation_work(decay, 1, 1e6) < 50
        True
    """
    if time == 0:
        return 0
    if lindbladian.num_jumps == 0:
        return unitary_work(lindbladian.hamiltonian, time) + 2
    if lindbladian.batch:
        works = [propagation_work(one, num_matrices, time, tolerance) for one in lindbladian.systems()]
        return max(works, default=0) if lindbladian.dim <= LARGEST_SUPEROPERATOR_DIM else sum(works)
    tolerance = default_tolerance(lindbladian.dtype) if tolerance is None else tolerance
    return find_way(lindbladian, num_matrices, time, tolerance).work


def driven_piece_work(
    base: Lindbladian, wider: float, num_matrices: int, time: float, tolerance: float
) -> int:
    """Bound `propagation_work` of dynamics whose Hamiltonian is driven.

    `base` is without the drive, which widens the spectrum of H by `wider` at most; all else is as there.
    """
    if base.num_jumps == 0:
        return max(FEW_APPLICATIONS, base.dim // 4) + 2
    fields = field_of_values(base)
    wide = replace(fields[0], imaginary=fields[0].imaginary + wider)
    way = _way_of((wide, wide), base.dim, base.num_jumps, num_matrices, time, tolerance)
    # Narrower ones may go another way.
    return max(way.work, Way(None, tolerance, way.size, base.dim).work)


def _propagate(
    lindbladian: Lindbladian,
    matrices: Tensor,
    time: float | Tensor,
    tolerance: float | None,
    *,
    backwards: bool,
) -> Tensor:
    lindbladian, time = with_fixed_time(lindbladian, time)
    if lindbladian.batch:
        return _propagate_systems(lindbladian, matrices, time, tolerance, backwards=backwards)
    dim = lindbladian.dim
    if time == 0 or matrices.numel() == 0:
        return matrices
    lindbladian = without_energy_offset(lindbladian)
    if lindbladian.num_jumps == 0:
        identity = torch.eye(dim, dtype=matrices.dtype, device=matrices.device)
        turn = propagate_unitarily(lindbladian.hamiltonian, identity, time).mT
        return turn.mH @ matrices @ turn if backwards else turn @ matrices @ turn.mH
    tolerance = default_tolerance(lindbladian.dtype) if tolerance is None else tolerance
    if dim <= LARGEST_SUPEROPERATOR_DIM:
        return _exponentiate(lindbladian, matrices, time, tolerance, backwards=backwards)
    way = find_way(lindbladian, matrices.numel() // dim**2, time, tolerance)
    if way.plan is None:
        return _exponentiate(lindbladian, matrices, time, tolerance, backwards=backwards)
    check_applications(way.plan.num_applications, way.size)
    dtype = matrices.dtype
    if dtype != torch.complex128 and (way.plan.sub_steps > MOST_SINGLE_STEPS or are_shifted(lindbladian)):
        # Every sub-step adds round-off, and what belongs to the identity cancels.
        lindbladian, matrices = lindbladian.to(torch.complex128), matrices.to(torch.complex128)
    operators = torch.cat([lindbladian.no_jump_generator[None], lindbladian.jump_operators])
    coordinates = real_coordinates(matrices.reshape(-1, dim, dim))
    # Every matrix is two Hermitian ones; most have only the first.
    halves = (
        [coordinates.real] if are_hermitian_coordinates(coordinates) else [coordinates.real, coordinates.imag]
    )
    evolved = evolve_coordinates(operators.mH if backwards else operators, torch.cat(halves), way.plan, time)
    evolved = evolved.reshape(len(halves), *matrices.shape)
    if len(halves) == 1:
        return hermitian_from(evolved[0]).to(dtype)
    return from_real_coordinates(torch.complex(*evolved)).to(dtype)


def _propagate_systems(
    lindbladian: Lindbladian, matrices: Tensor, time: float, tolerance: float | None, *, backwards: bool
) -> Tensor:
    """Propagate under many systems: together up to D = 8 and without jump operators, beyond one after the other."""
    dim = lindbladian.dim
    aligned = Alignment.of(
        lindbladian.batch, matrices.shape[:-2], "observables" if backwards else "densities"
    )
    if time == 0 or aligned.batch.numel() == 0:
        return matrices.expand(*aligned.batch, dim, dim)
    gathered, together = aligned.gathered(matrices), lindbladian.flattened()
    if lindbladian.num_jumps == 0:
        turn = unitaries_of_systems(together.hamiltonian, time).to(matrices.dtype)[:, None]
        moved = turn.mH @ gathered @ turn if backwards else turn @ gathered @ turn.mH
    elif dim <= LARGEST_SUPEROPERATOR_DIM:
        tolerance = default_tolerance(lindbladian.dtype) if tolerance is None else tolerance
        parts = [
            _exponentiate(some, each, time, tolerance, backwards=backwards)
            for some, each in in_portions(together, gathered)
        ]
        moved = parts[0] if len(parts) == 1 else torch.cat(parts)
    else:
        moved = torch.stack(
            [
                _propagate(one, each, time, tolerance, backwards=backwards)
                for one, each in zip(together.systems(), gathered.unbind(), strict=True)
            ]
        )
    return aligned.spread(moved)


def in_portions(lindbladian: Lindbladian, matrices: Tensor) -> list[tuple[Lindbladian, Tensor]]:
    """Cut systems along one axis, and what evolves under each, into portions whose channels fit a processor's cache.

    Args:
        lindbladian: The systems.
        matrices: Tensor (system, …).
    """
    size = max(1, _PORTION // lindbladian.dim**4)
    if len(matrices) <= size:
        return [(lindbladian, matrices)]
    operators = zip(lindbladian.hamiltonian.split(size), lindbladian.jump_operators.split(size), strict=True)
    systems = [Lindbladian(*some, validate=False) for some in operators]
    return list(zip(systems, matrices.split(size), strict=True))


def _exponentiate(
    lindbladian: Lindbladian, matrices: Tensor, time: float, tolerance: float, *, backwards: bool
) -> Tensor:
    """Propagate by the channel as a D² × D² matrix, at a cost that hardly grows with the time.

    Of many systems, along one axis, it is theirs of matrices (system, of each system, D, D).
    """
    # In double precision: the squarings inside the matrix exponential multiply round-off.
    double = lindbladian.to(torch.complex128)
    if lindbladian.batch:
        double = replace(double, hamiltonian=traceless(double.hamiltonian)[0], validate=False)
    generator = superoperator_on_real_coordinates(double)
    trace = torch.eye(lindbladian.dim, dtype=generator.dtype, device=generator.device).flatten()
    if lindbladian.batch:
        return _by_channels_of_parts(generator, matrices, time, tolerance, trace, backwards=backwards)
    channel = matrix_exponential(generator * time, tolerance, conserved=trace)
    # Rows are matrices, as coordinates: ρ ↦ E ρ forwards, X ↦ Eᵀ X backwards.
    flat = torch.view_as_real(real_coordinates(matrices.to(torch.complex128)).flatten(-2)).mT
    moved = (flat @ (channel if backwards else channel.mT)).mT.contiguous()
    evolved = torch.view_as_complex(moved).reshape(matrices.shape)
    return from_real_coordinates(evolved).to(matrices.dtype)


def _by_channels_of_parts(
    generators: Tensor, matrices: Tensor, time: float, tolerance: float, trace: Tensor, *, backwards: bool
) -> Tensor:
    """Propagate under many systems by the channels of a part of the time, again and again.

    The last squarings of an exponential cost more than to apply it to a few matrices as often as they stand for.
    """
    flat = torch.view_as_real(real_coordinates(matrices.to(torch.complex128)).flatten(-2)).mT
    rows = flat.flatten(1, 2)
    parts = 2 ** max(0, int(log2(rows.shape[2] / (_APPLIED * rows.shape[1]))))
    finer = max(tolerance / parts, FINEST_TOLERANCE)
    channels = matrix_exponential(generators * (time / parts), finer, conserved=trace)
    for _ in range(parts):
        rows = rows @ (channels if backwards else channels.mT)
    moved = rows.unflatten(1, (-1, 2)).mT.contiguous()
    return from_real_coordinates(torch.view_as_complex(moved).reshape(matrices.shape)).to(matrices.dtype)


def propagate_densities(
    lindbladian: Any,
    densities: Any,
    time: Any,
    tolerance: float | None = None,
    *,
    validate: bool = True,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return exp(𝓛t)ρ, the exact average over all trajectories (Schrödinger picture).

    Args:
        lindbladian: The dynamics.
        densities: Any matrices (…, D, D), as a tensor, an array or lists.
        time: Duration t ≥ 0; a tensor may carry a gradient. Or many: leading axes of the dynamics, of the matrices and
            of the times are broadcast against each other.
        tolerance: Largest error relative to the Hilbert–Schmidt norm; 1e-6 or 1e-12 by precision if None.
        validate: Pass False to skip the look for NaN in the matrices.

    Returns:
        The evolved matrices.

    Raises:
        ArgumentError: If an argument does not fit, or is not finite.

    Source: P (dissipative dynamics); O (Chebyshev action).

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> excited = torch.diag(torch.tensor([0j, 1]))
        >>> propagate_densities(decay, excited, 0.6931472)[0, 0].real.round(decimals=5)
        tensor(0.5000)
    """
    dense, matrices, duration = _checked("densities", densities, lindbladian, time, tolerance, validate)
    return _propagate(dense, matrices, duration, tolerance, backwards=False)


def propagate_observables(
    lindbladian: Any,
    observables: Any,
    time: Any,
    tolerance: float | None = None,
    *,
    validate: bool = True,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return exp(𝓛†t)X, observables evolved backwards (Heisenberg picture).

    Args:
        lindbladian: The dynamics.
        observables: Any matrices (…, D, D), as a tensor, an array or lists.
        time: Duration t ≥ 0; a tensor may carry a gradient. Or many, as in `propagate_densities`.
        tolerance: As in `propagate_densities`.
        validate: Pass False to skip the look for NaN in the matrices.

    Returns:
        The evolved matrices: tr(exp(𝓛t)ρ · X) = tr(ρ · exp(𝓛†t)X).

    Raises:
        ArgumentError: If an argument does not fit, or is not finite.

    Source: O (Heisenberg picture).

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> propagate_observables(decay, torch.eye(2) + 0j, 3.0).diagonal().real.round(decimals=5)
        tensor([1., 1.])
    """
    dense, matrices, duration = _checked("observables", observables, lindbladian, time, tolerance, validate)
    return _propagate(dense, matrices, duration, tolerance, backwards=True)
