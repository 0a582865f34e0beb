"""Exact propagation under driven generators, piece by piece: densities forwards, observables backwards."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.quantum.generators.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.interface import with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import (
    LARGEST_SUPEROPERATOR_DIM,
    MOST_SINGLE_STEPS,
    driven_piece_work,
    field_of_values,
    in_portions,
    propagate_densities,
    propagate_observables,
    propagation_work,
)
from qinn.quantum.generators.trace_parts import (
    are_shifted,
    energy_offset,
    shifted,
    traceless,
    without_energy_offset,
)
from qinn.quantum.numerics.chebyshev import (
    ExponentialPlan,
    FieldOfValues,
    default_tolerance,
    exponential_action,
    plan_exponential,
)
from qinn.quantum.numerics.guarded import Run, guarded
from qinn.quantum.numerics.matrix_exponential import matrix_exponential
from qinn.quantum.numerics.work import check_applications, check_pieces

# The coefficients of a series are known no better than this.
_LEAST_TOLERANCE = 1e-14
# Up to here samples with amplitudes of their own are many systems, whose channels are made together: 2 to 5 times
# faster.
_LARGEST_TOGETHER_DIM = 4
# What the exact channel of a piece costs at least.
_LEAST_PRODUCTS = 4
# Pieces that differ in their amplitudes, from which on the work of each is bounded from its strength alone.
_MANY_PIECES = 200


def propagate_driven_densities(
    driven: DrivenLindbladian,
    densities: Complex[Tensor, "*batch dim dim"],
    time: float | Tensor,
    tolerance: float | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return the exact average over all trajectories of driven dynamics (Schrödinger picture), piece by piece.

    A drive adds −i u_i [H_i, ·] to the generator: its field of values grows by ±|u_i| times the width of H_i's
    spectrum along the imaginary axis, and nothing else; a driven jump operator adds |a_k|² times the field of its own.

    Args:
        driven: The dynamics.
        densities: Any matrices.
        time: Duration t ≥ 0; a tensor may carry a gradient.
        tolerance: Largest error relative to the Hilbert–Schmidt norm; 1e-6 or 1e-12 by precision if None.

    Raises:
        ArgumentError: If an operator is not finite, the amplitudes do not fit the batch, or norm times time is
            beyond a stated limit of work.

    Source: P (dissipative dynamics); O (Chebyshev action).

    Examples:
        >>> from qinn.quantum import pauli
        >>> still = Lindbladian(torch.zeros(2, 2) + 0j, torch.zeros(0, 2, 2) + 0j)
        >>> flip = DrivenLindbladian(still, pauli("X")[None], torch.tensor([[0.7853982], [0.7853982]]))
        >>> propagate_driven_densities(flip, torch.diag(torch.tensor([1, 0j])), 2.0)[1, 1].real.round(decimals=5)
        tensor(1.)
    """
    return _propagate(driven, densities, densities.shape[:-2], time, tolerance, backwards=False)


def propagate_driven_observables(
    driven: DrivenLindbladian,
    observables: Complex[Tensor, "*outcome dim dim"],
    batch: torch.Size,
    time: float | Tensor,
    tolerance: float | None = None,
) -> Complex[Tensor, "*result dim dim"]:
    """Return observables evolved backwards through the pieces, the last one first (Heisenberg picture).

    Args:
        driven: The dynamics.
        observables: Any matrices.
        batch: Leading axes of the states in which they will be measured.
        time: Duration t ≥ 0; a tensor may carry a gradient.
        tolerance: As in `propagate_driven_densities`.

    Returns:
        Matrices (…, D, D) where all states share the dynamics, otherwise those of each state (…, *batch, D, D).

    Raises:
        ArgumentError: As there.

    Source: O (Heisenberg picture).

    Examples:
        >>> from qinn.quantum import pauli
        >>> still = Lindbladian(torch.zeros(2, 2) + 0j, torch.zeros(0, 2, 2) + 0j)
        >>> flip = DrivenLindbladian(still, pauli("X")[None], torch.tensor([[0.7853982], [0.7853982]]))
        >>> propagate_driven_observables(flip, pauli("Z"), torch.Size(), 2.0).diagonal().real.round(decimals=5)
        tensor([-1.,  1.])
    """
    if driven.samples or driven.batch:
        inside = observables.shape[-2:]
        observables = observables.reshape(*observables.shape[:-2], *[1] * len(batch), *inside)
    return _propagate(driven, observables, batch, time, tolerance, backwards=True)


def propagate_driven_observables_along(
    driven: DrivenLindbladian,
    observables: Complex[Tensor, "outcome dim dim"],
    batch: torch.Size,
    times: Sequence[float],
    tolerance: float | None = None,
) -> Complex[Tensor, "outcome time *result dim dim"]:
    """Return observables evolved backwards from many times, in one pass from the last time to the start.

    Args:
        driven: The dynamics, over the last time.
        observables: Any matrices.
        batch: As in `propagate_driven_observables`.
        times: Rising times ≥ 0.
        tolerance: As there.

    Raises:
        ArgumentError: As there.

    Examples:
        >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
        >>> faster = DrivenLindbladian(decay, jump_amplitudes=[[1.0], [2.0]])
        >>> excited = torch.diag(torch.tensor([0j, 1]))[None]
        >>> found = propagate_driven_observables_along(faster, excited, torch.Size(), [0.5, 1.0])
        >>> found[0, :, 1, 1].real.log().round(decimals=4)
        tensor([-0.5000, -2.5000])
    """
    apart = bool(driven.samples or driven.batch)
    inside = observables.shape[-2:]
    start = observables.reshape(len(observables), 1, *[1] * (len(batch) if apart else 0), *inside)
    current = start[:, :0]
    for place in range(len(times) - 1, -1, -1):
        current = torch.cat([start.expand(len(start), 1, *current.shape[2:-2], *inside), current], 1)
        before = times[place - 1] if place else 0.0
        part = driven.part(before, times[place], times[-1])
        current = _propagate(part, current, batch, times[place] - before, tolerance, backwards=True)
    return current


def _propagate(
    driven: Any,
    matrices: Tensor,
    batch: torch.Size,
    time: float | Tensor,
    tolerance: float | None,
    *,
    backwards: bool,
) -> Tensor:
    """Propagate matrices (…, *batch, D, D), or such as have no batch where all samples share the dynamics."""
    check_pieces("amplitudes", driven.num_pieces, _LEAST_PRODUCTS * driven.num_pieces)
    driven, time = with_fixed_time(driven, time)
    driven = _without_energy_offsets(driven)
    share, widths = _share(driven, tolerance), _widths(driven, time)
    if driven.samples and not driven.batch:
        controls = driven.controls(batch)
        if driven.dim > _LARGEST_TOGETHER_DIM:
            matrices = matrices.expand(*matrices.shape[: matrices.ndim - 2 - len(batch)], *batch, -1, -1)
            if time == 0 or matrices.numel() == 0:
                return matrices
            return _propagate_samples(driven, matrices, controls, widths, share, backwards=backwards)
    elif not driven.batch and driven.dim <= LARGEST_SUPEROPERATOR_DIM and driven.num_jumps and time > 0:
        return _propagate_by_channels(driven.in_pieces(), matrices, widths, share, backwards=backwards)
    propagate = propagate_observables if backwards else propagate_densities
    for piece, width in _in_order(widths, backwards):
        matrices = propagate(driven.in_piece(piece), matrices, width, share)
    return matrices


def _in_order(widths: Sequence[float], backwards: bool) -> list[tuple[int, float]]:
    pieces = list(enumerate(widths))
    return pieces[::-1] if backwards else pieces


def _propagate_samples(
    driven: DrivenLindbladian,
    matrices: Tensor,
    controls: Tensor,
    widths: Sequence[float],
    share: float,
    *,
    backwards: bool,
) -> Tensor:
    """Propagate matrices (…, *batch, D, D) under controls (sample, piece, control), all samples by one series."""
    shape, dtype, inside = matrices.shape, matrices.dtype, matrices.shape[-2:]
    plans = _plans(driven, controls, widths, share)
    size = sum(max(-plan.field.real_low, plan.field.imaginary) for plan in plans)
    check_applications(sum(plan.num_applications for plan in plans), size)
    steps = max(plan.sub_steps for plan in plans)
    if dtype != torch.complex128 and (steps > MOST_SINGLE_STEPS or are_shifted(driven.base)):
        driven, matrices, controls = (
            driven.to(torch.complex128),
            matrices.to(torch.complex128),
            controls.double(),
        )
    matrices = matrices.reshape(-1, len(controls), *inside)
    jumps, number, has_rates = (
        driven.base.jump_operators,
        len(driven.drives),
        driven.jump_amplitudes is not None,
    )
    fixed = -1j * driven.base.hamiltonian if has_rates else driven.base.no_jump_generator
    changing = torch.cat([-1j * driven.drives, *([-0.5 * jumps.mH @ jumps] if has_rates else [])])
    for piece, width in _in_order(widths, backwards):
        weights = controls[:, piece].to(driven.dtype)
        flow = fixed + torch.einsum("sc,cab->sab", weights, changing)
        matrices = guarded(
            _run(plans[piece], width),
            _run(plans[piece].cautious(), width),
            matrices,
            flow.mH if backwards else flow,
            jumps.mH if backwards else jumps,
            *([weights[:, number:]] if has_rates else []),
            part_axes=(2, 3),
        )
    return matrices.reshape(shape).to(dtype)


def _propagate_by_channels(
    pieces: Lindbladian, matrices: Tensor, widths: Sequence[float], tolerance: float, *, backwards: bool
) -> Tensor:
    """Propagate under pieces, along one axis, by their channels as D² × D² matrices, which are made together."""
    double = pieces.to(torch.complex128)
    double = replace(double, hamiltonian=traceless(double.hamiltonian)[0], validate=False)
    trace = torch.eye(pieces.dim, dtype=torch.float64, device=pieces.device).flatten()
    lengths = torch.tensor(widths, dtype=torch.float64, device=pieces.device)[:, None, None]
    flat = torch.view_as_real(real_coordinates(matrices.to(torch.complex128)).flatten(-2)).mT
    portions = in_portions(double, lengths)
    for some, durations in reversed(portions) if backwards else portions:
        generators = superoperator_on_real_coordinates(some)
        channels = matrix_exponential(generators * durations, tolerance, conserved=trace).unbind()
        for channel in reversed(channels) if backwards else channels:
            flat = flat @ (channel if backwards else channel.mT)
    evolved = torch.view_as_complex(flat.mT.contiguous()).reshape(matrices.shape)
    return from_real_coordinates(evolved).to(matrices.dtype)


def _widths(driven: DrivenLindbladian, time: float) -> list[float]:
    if driven.edges is None:
        return [time / driven.num_pieces] * driven.num_pieces
    moments = driven.moments(time)
    return [after - before for before, after in itertools.pairwise(moments)]


def _without_energy_offsets(driven: DrivenLindbladian) -> DrivenLindbladian:
    """The same dynamics of densities, without what is a multiple of the identity in H_0 and the drives."""
    if driven.batch:
        return driven
    drives = driven.drives
    offsets = [energy_offset(drive) for drive in drives]
    if any(offsets):
        drives = torch.stack([shifted(*each) for each in zip(drives, offsets, strict=True)])
    return replace(driven, base=without_energy_offset(driven.base), drives=drives, validate=False)


def driven_work(
    driven: DrivenLindbladian, num_matrices: int, time: float, tolerance: float | None = None
) -> int:
    """Bound how often `propagate_driven_densities` applies the generator, before it does.

    Args:
        driven: The dynamics.
        num_matrices: Size of the batch.
        time: Duration t ≥ 0.
        tolerance: As in `propagate_driven_densities`.

    Returns:
        Applications to all matrices together, over all pieces; as in `propagation_work` where all samples share the
        amplitudes.
    """
    share = _share(driven, tolerance)
    if time == 0:
        return 0
    if driven.batch or not driven.samples or driven.dim <= _LARGEST_TOGETHER_DIM:
        return _work_of_shared_pieces(driven, num_matrices, time, share)
    plans = _plans(driven, driven.controls(driven.samples), _widths(driven, time), share)
    # At worst one sub-step of a piece fails, and the piece is done again assuming nothing.
    return sum(plan.num_applications + plan.cautious().num_applications for plan in plans)


def _work_of_shared_pieces(driven: DrivenLindbladian, num_matrices: int, time: float, share: float) -> int:
    if driven.batch or driven.samples or driven.edges is not None or driven.jump_amplitudes is not None:
        pieces = enumerate(_widths(driven, time))
        return sum(
            propagation_work(driven.in_piece(piece), num_matrices, width, share) for piece, width in pieces
        )
    width = time / driven.num_pieces
    amplitudes, counts = torch.unique(driven.amplitudes.detach(), dim=0, return_counts=True)
    if len(amplitudes) <= _MANY_PIECES:
        different = replace(driven, amplitudes=amplitudes, validate=False)
        return sum(
            count * propagation_work(different.in_piece(piece), num_matrices, width, share)
            for piece, count in enumerate(counts.tolist())
        )
    # Rounded up to four bits, the strengths are few.
    mantissas, exponents = torch.frexp(_strengths(driven, amplitudes))
    strengths, pieces = torch.unique(
        torch.ldexp((16 * mantissas).ceil() / 16, exponents), return_inverse=True
    )
    counts = torch.zeros_like(strengths).index_add_(0, pieces, counts.double())
    return sum(
        int(count) * driven_piece_work(driven.base, wider, num_matrices, width, share)
        for wider, count in zip(strengths.tolist(), counts.tolist(), strict=True)
    )


def _strengths(driven: DrivenLindbladian, amplitudes: Tensor) -> Tensor:
    """By how much the drives widen the spectrum of H at most, for amplitudes (…, drive)."""
    levels = torch.linalg.eigvalsh(driven.drives.detach()).double()
    return amplitudes.detach().abs().double() @ (levels[:, -1] - levels[:, 0])


def _share(driven: DrivenLindbladian, tolerance: float | None) -> float:
    whole = default_tolerance(driven.dtype) if tolerance is None else tolerance
    return max(whole / driven.num_pieces, _LEAST_TOLERANCE)


def _plans(
    driven: DrivenLindbladian, controls: Tensor, widths: Sequence[float], share: float
) -> list[ExponentialPlan]:
    """The plan of every piece, for the strongest amplitudes in it."""
    number = len(driven.drives)
    wider = _strengths(driven, controls[..., :number]).amax(0).tolist()
    rates = controls[..., number:].detach().double().amax(0).tolist()
    is_driven = driven.jump_amplitudes is not None
    base, jumps = driven.base, []
    if is_driven:
        still = torch.zeros_like(base.hamiltonian)
        each = base.jump_operators.unbind()
        jumps = [field_of_values(Lindbladian(still, L[None], validate=False)) for L in each]
        base = base.without_jumps()
    fields, plans = field_of_values(base), []
    for place, width in enumerate(widths):
        # The field of values of a sum lies in the sum of those of its terms.
        sums = [
            _sum_of_fields(
                replace(fields[kind], imaginary=fields[kind].imaginary + wider[place]),
                [jump[kind].scaled(rate) for jump, rate in zip(jumps, rates[place], strict=True)],
            ).scaled(width)
            for kind in (0, 1)
        ]
        plans.append(plan_exponential(sums[0], share, sums[1]))
    return plans


def _sum_of_fields(first: FieldOfValues, others: Sequence[FieldOfValues]) -> FieldOfValues:
    every = [first, *others]
    return FieldOfValues(
        sum(field.real_low for field in every),
        sum(field.real_high for field in every),
        sum(field.imaginary for field in every),
    )


def _run(plan: ExponentialPlan, width: float) -> Run:
    """Evolve matrices (…, sample, D, D) by flows and rates of their own and shared jump operators, for a time."""

    def run(tensors: Sequence[Tensor], sizes: list[Tensor]) -> Tensor | None:
        matrices, flow, jumps, *rates = tensors
        identity = torch.eye(flow.shape[-1], dtype=flow.dtype, device=flow.device)

        def build(scale: float, shift: float) -> Callable[[Tensor], Tensor]:
            left = scale * flow - 0.5 * shift * identity
            right = left.mH

            def apply(given: Tensor) -> Tensor:
                total = left @ given + given @ right
                for channel, jump in enumerate(jumps):
                    jumped = (scale * jump) @ given @ jump.mH
                    total = total + (rates[0][:, channel, None, None] * jumped if rates else jumped)
                return total

            return apply

        return exponential_action(build, matrices, plan, width, part_axes=(2, 3), sizes=sizes)

    return run
