"""Exact propagation to many times in one pass, to the tolerance that each would have alone."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, check_finite, check_tolerance
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.coordinates import (
    are_hermitian_coordinates,
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.interface import check_kind
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import (
    LARGEST_SUPEROPERATOR_DIM,
    MOST_SINGLE_STEPS,
    find_way,
    in_portions,
)
from qinn.quantum.generators.trace_parts import (
    are_shifted,
    energy_offset,
    phases_of,
    shifted,
    traceless,
    without_energy_offset,
)
from qinn.quantum.generators.unitary_propagation import check_phases
from qinn.quantum.numerics.chebyshev import FINEST_TOLERANCE, default_tolerance
from qinn.quantum.numerics.generator_action import evolve_coordinates_along
from qinn.quantum.numerics.marching import march
from qinn.quantum.numerics.matrix_exponential import exponentials_of_multiples, matrix_exponential
from qinn.quantum.numerics.turning import unitaries_of
from qinn.quantum.numerics.work import check_applications

# From here on the channels of intervals are made together, of powers that they share.
_FEW_INTERVALS = 4


def as_times(times: Any) -> list[float]:
    """Return rising times, refusing what is none.

    Args:
        times: Finite numbers of at least 0 that do not fall, at least one: a list, an array or a tensor without
            gradient.

    Raises:
        ArgumentError: If it is anything else.

    Examples:
        >>> as_times(torch.tensor([0.0, 0.5]))
        [0.0, 0.5]
    """
    if isinstance(times, Tensor) and times.requires_grad:
        raise ArgumentError(
            "Argument `times` must be without gradient, but has one; detach it, or pass one duration as `time`, which "
            "may carry a gradient."
        )
    try:
        found = [float(time) for time in times]
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            f"Argument `times` must be a list of numbers, but it is a {type(times).__name__}."
        ) from None
    if not found or not all(isfinite(time) and time >= 0 for time in found):
        raise ArgumentError(
            f"Argument `times` must hold finite numbers of at least 0, at least one, but holds {_shown(found)}."
        )
    if any(after < before for before, after in itertools.pairwise(found)):
        raise ArgumentError(f"Argument `times` must rise, but it is {_shown(found)}; sort it.")
    return found


def as_own_times(times: Any) -> Tensor | None:
    """Return rising times of many systems (…, time), or such as carry a gradient; None for anything else.

    Args:
        times: A tensor, an array or nested lists.

    Raises:
        ArgumentError: If one is not finite, below 0, or before the one that it follows.

    Examples:
        >>> as_own_times([[0.0, 0.5], [1.0, 2.0]]).shape
        torch.Size([2, 2])
    """
    is_nested = isinstance(times, list | tuple) and any(isinstance(each, list | tuple) for each in times)
    has_gradient = isinstance(times, Tensor) and times.requires_grad
    if not (is_nested or has_gradient or getattr(times, "ndim", 0) > 1):
        return None
    try:
        found = times if isinstance(times, Tensor) else torch.tensor(times, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(
            "Argument `times` must hold as many numbers for each system, but holds something else; give all systems "
            "the same number of times."
        ) from None
    fixed = found.detach().double()
    if found.ndim < 1 or found.shape[-1] < 1 or not bool((torch.isfinite(fixed) & (fixed >= 0)).all()):
        raise ArgumentError(
            "Argument `times` must hold finite numbers of at least 0, at least one for each system, but has the shape "
            f"{tuple(found.shape)} or holds another number."
        )
    if bool((fixed.diff(dim=-1) < 0).any()):
        raise ArgumentError("Argument `times` must rise along its last axis, but falls somewhere; sort it.")
    return found


def _shown(numbers: Sequence[float]) -> str:
    inside = ", ".join(f"{number:g}" for number in numbers[:4])
    return f"[{inside}{', …' if len(numbers) > 4 else ''}]"


def propagate_densities_along(
    lindbladian: Any, densities: Any, times: Any, tolerance: float | None = None, *, validate: bool = True
) -> Complex[Tensor, "time *batch dim dim"]:
    """Return exp(𝓛t_j)ρ at many times, each as exact as `qinn.quantum.propagate_densities` is at one.

    Up to D = 8, and for long times a little beyond, the states of an even grid come by doubling from the channel of its
    interval, and those of any other from the channels of its different intervals. Otherwise one Chebyshev series gives
    them all: its polynomials do not depend on the time, only their coefficients do.

    Args:
        lindbladian: The dynamics.
        densities: Any matrices (…, D, D).
        times: Rising times ≥ 0.
        tolerance: Largest error relative to the Hilbert–Schmidt norm; 1e-6 or 1e-12 by precision if None.
        validate: Pass False to skip the look for NaN in the matrices.

    Returns:
        The evolved matrices, times first.

    Raises:
        ArgumentError: If an argument does not fit, or is not finite.

    Source: O (Chebyshev action).

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> excited = torch.diag(torch.tensor([0j, 1]))
        >>> propagate_densities_along(decay, excited, [0.0, 0.6931472, 1.3862944])[:, 1, 1].real.round(decimals=5)
        tensor([1.0000, 0.5000, 0.2500])
    """
    return _along("densities", lindbladian, densities, times, tolerance, validate, backwards=False)


def propagate_observables_along(
    lindbladian: Any, observables: Any, times: Any, tolerance: float | None = None, *, validate: bool = True
) -> Complex[Tensor, "time *batch dim dim"]:
    """Return exp(𝓛†t_j)X at many times (Heisenberg picture); everything else as in `propagate_densities_along`.

    Args:
        lindbladian: The dynamics.
        observables: Any matrices (…, D, D).
        times: Rising times ≥ 0.
        tolerance: As there.
        validate: As there.

    Returns:
        The evolved matrices, times first.

    Raises:
        ArgumentError: As there.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> propagate_observables_along(decay, torch.eye(2) + 0j, [1.0, 3.0]).diagonal(dim1=-2, dim2=-1).real
        tensor([[1., 1.],
                [1., 1.]])
    """
    return _along("observables", lindbladian, observables, times, tolerance, validate, backwards=True)


def turn_along(
    hamiltonian: Complex[Tensor, "*systems dim dim"],
    kets: Complex[Tensor, "*batch dim"],
    times: Sequence[float],
) -> Complex[Tensor, "time *result dim"]:
    """Return exp(−iHt_j)ψ at many times, by the unitaries of the intervals between them.

    Args:
        hamiltonian: Hermitian H, or many (…, D, D).
        kets: Any vectors; those of many H have the shape (…, row, D), where all rows evolve under one H.
        times: Rising times ≥ 0.

    Raises:
        ArgumentError: If H is not finite, or ‖H‖t so large that no digit of a phase is right.

    Examples:
        >>> from qinn.quantum import pauli
        >>> turned = turn_along(pauli("X"), torch.tensor([1 + 0j, 0j]), [0.0, 0.7853982, 1.5707963])
        >>> turned.abs().square().round(decimals=5)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000],
                [0.0000, 1.0000]])
    """
    check_phases(hamiltonian, times[-1])
    if hamiltonian.ndim > 2:
        return _turn_systems_along(hamiltonian, kets, times)
    offset = energy_offset(hamiltonian)
    double = shifted(hamiltonian.to(torch.complex128), offset)

    def propagators(intervals: Sequence[float]) -> list[Tensor]:
        lengths = torch.tensor(intervals, dtype=torch.float64, device=double.device)
        return list(unitaries_of(lengths[:, None, None] * double))

    columns = kets.reshape(-1, kets.shape[-1]).mT.to(torch.complex128)
    turned = march(propagators, columns, times).mT
    if offset != 0:
        moments = torch.tensor(times, dtype=torch.float64, device=double.device)
        turned = torch.polar(torch.ones_like(moments), -offset * moments)[:, None, None] * turned
    return turned.reshape(len(times), *kets.shape).to(kets.dtype)


def _turn_systems_along(hamiltonian: Tensor, kets: Tensor, times: Sequence[float]) -> Tensor:
    double, means = traceless(hamiltonian)

    def propagators(intervals: Sequence[float]) -> list[Tensor]:
        return [unitaries_of(length * double) for length in intervals]

    start = kets.expand(*torch.broadcast_shapes(kets.shape[:-2], hamiltonian.shape[:-2]), *kets.shape[-2:])
    turned = march(propagators, start.mT.to(torch.complex128), times).mT
    moments = torch.tensor(times, dtype=torch.float64, device=means.device)
    phases = phases_of(moments.reshape(-1, *[1] * means.ndim) * means)[..., None, None]
    lead = turned.ndim - phases.ndim
    phases = phases.reshape(len(times), *[1] * lead, *phases.shape[1:])
    return (phases * turned).to(kets.dtype)


def _along(
    name: str,
    lindbladian: Any,
    value: Any,
    times: Any,
    tolerance: float | None,
    validate: bool,
    *,
    backwards: bool,
) -> Tensor:
    dynamics = check_kind(lindbladian, (Lindbladian,), "exact propagation")
    check_tolerance(tolerance)
    matrices = as_matrices(name, value, dynamics.dim, dynamics.hamiltonian, "lindbladian")
    if validate:
        check_finite(name, matrices)
    moments = as_times(times)
    if dynamics.batch:
        return _along_systems(name, dynamics, matrices, moments, tolerance, backwards=backwards)
    if matrices.numel() == 0 or moments[-1] == 0:
        return matrices.expand(len(moments), *matrices.shape)
    dynamics = without_energy_offset(dynamics)
    if dynamics.num_jumps == 0:
        identity = torch.eye(dynamics.dim, dtype=matrices.dtype, device=matrices.device)
        turns = turn_along(dynamics.hamiltonian, identity, moments).mT
        turns = turns.reshape(-1, *[1] * (matrices.ndim - 2), *matrices.shape[-2:])
        return turns.mH @ matrices @ turns if backwards else turns @ matrices @ turns.mH
    tolerance = default_tolerance(dynamics.dtype) if tolerance is None else tolerance
    if dynamics.dim <= LARGEST_SUPEROPERATOR_DIM:
        return _by_channels(dynamics, matrices, moments, tolerance, backwards=backwards)
    number = matrices.numel() // dynamics.dim**2
    way = find_way(dynamics, number, moments[-1], tolerance)
    if way.plan is None:
        return _by_channels(dynamics, matrices, moments, tolerance, backwards=backwards)
    check_applications(way.plan.num_applications, way.size)
    dtype = matrices.dtype
    if dtype != torch.complex128 and (way.plan.sub_steps > MOST_SINGLE_STEPS or are_shifted(dynamics)):
        dynamics, matrices = dynamics.to(torch.complex128), matrices.to(torch.complex128)
    operators = torch.cat([dynamics.no_jump_generator[None], dynamics.jump_operators])
    coordinates = real_coordinates(matrices.reshape(-1, dynamics.dim, dynamics.dim))
    is_hermitian = are_hermitian_coordinates(coordinates)
    halves = [coordinates.real] if is_hermitian else [coordinates.real, coordinates.imag]
    start = [moment for moment in moments if moment == 0]
    shares = [moment / moments[-1] for moment in moments[len(start) :]]
    evolved = evolve_coordinates_along(
        operators.mH if backwards else operators, torch.cat(halves), way.plan, moments[-1], shares
    )
    evolved = evolved.reshape(len(shares), len(halves), *matrices.shape)
    imaginary = torch.zeros_like(evolved[:, 0]) if is_hermitian else evolved[:, 1]
    later = from_real_coordinates(torch.complex(evolved[:, 0], imaginary)).to(dtype)
    return torch.cat([matrices.to(dtype).expand(len(start), *matrices.shape), later]) if start else later


def _along_systems(
    name: str,
    lindbladian: Lindbladian,
    matrices: Tensor,
    times: Sequence[float],
    tolerance: float | None,
    *,
    backwards: bool,
) -> Tensor:
    """Propagate under many systems: together up to D = 8 and without jump operators, beyond one after the other."""
    dim = lindbladian.dim
    aligned = Alignment.of(lindbladian.batch, matrices.shape[:-2], name)
    if aligned.batch.numel() == 0 or times[-1] == 0:
        return matrices.expand(len(times), *aligned.batch, dim, dim)
    gathered, together = aligned.gathered(matrices), lindbladian.flattened()
    if lindbladian.num_jumps == 0:
        identity = torch.eye(dim, dtype=matrices.dtype, device=matrices.device)
        turns = turn_along(together.hamiltonian, identity, times).mT[:, :, None]
        found = turns.mH @ gathered @ turns if backwards else turns @ gathered @ turns.mH
    elif dim <= LARGEST_SUPEROPERATOR_DIM:
        tolerance = default_tolerance(lindbladian.dtype) if tolerance is None else tolerance
        together = replace(
            together, hamiltonian=traceless(together.hamiltonian)[0].to(together.dtype), validate=False
        )
        portions = [
            _by_channels(some, each, times, tolerance, backwards=backwards)
            for some, each in in_portions(together, gathered)
        ]
        found = portions[0] if len(portions) == 1 else torch.cat(portions, 1)
    else:
        parts = [
            _along(name, one, each, times, tolerance, False, backwards=backwards)
            for one, each in zip(together.systems(), gathered.unbind(), strict=True)
        ]
        found = torch.stack(parts, 1)
    return aligned.spread(found, before=1)


def _by_channels(
    lindbladian: Lindbladian, matrices: Tensor, times: Sequence[float], tolerance: float, *, backwards: bool
) -> Tensor:
    """Propagate by D² × D² matrices of the channel for the intervals between the times.

    Of many systems, along one axis, it is theirs of matrices (system, of each system, D, D).
    """
    generator = superoperator_on_real_coordinates(lindbladian.to(torch.complex128))
    trace = torch.eye(lindbladian.dim, dtype=generator.dtype, device=generator.device).flatten()
    finer = max(tolerance / len(times), FINEST_TOLERANCE)

    def propagators(intervals: Sequence[float]) -> list[Tensor]:
        if len(intervals) <= _FEW_INTERVALS:
            found = [matrix_exponential(generator * each, finer, conserved=trace) for each in intervals]
        else:
            lengths = torch.tensor(intervals, dtype=torch.float64, device=generator.device)
            found = list(exponentials_of_multiples(generator, lengths))
        return [each.mT for each in found] if backwards else found

    flat = torch.view_as_real(real_coordinates(matrices.to(torch.complex128)).flatten(-2))
    if lindbladian.batch:
        columns = flat.transpose(1, 2).flatten(2)
        states = march(propagators, columns, times).unflatten(-1, (-1, 2)).transpose(2, 3).contiguous()
        evolved = torch.view_as_complex(states).reshape(len(times), *matrices.shape)
        return from_real_coordinates(evolved).to(matrices.dtype)
    columns = flat.reshape(-1, flat.shape[-2], 2).permute(1, 0, 2).flatten(1)
    states = march(propagators, columns, times)
    parts = states.reshape(len(times), flat.shape[-2], -1, 2).transpose(1, 2).contiguous()
    evolved = torch.view_as_complex(parts).reshape(len(times), *matrices.shape)
    return from_real_coordinates(evolved).to(matrices.dtype)
