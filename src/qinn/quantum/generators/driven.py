"""Lindbladians whose Hamiltonian is driven by amplitudes of its own for each sample and each piece of time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_hermitian, as_matrices, as_real
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.interface import (
    Action,
    Generator,
    MatrixFreeGenerator,
    check_kind,
    with_fixed_time,
)
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import (
    MOST_SINGLE_STEPS,
    driven_piece_work,
    field_of_values,
    propagate_densities,
    propagation_work,
)
from qinn.quantum.generators.trace_parts import are_shifted, energy_offset, shifted, without_energy_offset
from qinn.quantum.numerics.chebyshev import (
    ExponentialPlan,
    default_tolerance,
    exponential_action,
    plan_exponential,
)
from qinn.quantum.numerics.guarded import Run, guarded
from qinn.quantum.numerics.work import check_applications, check_pieces

# The coefficients of a series are known no better than this.
_LEAST_TOLERANCE = 1e-14
# What the exact channel of a piece costs at least.
_LEAST_PRODUCTS = 4
# Pieces that differ in their amplitudes, from which on the work of each is bounded from its strength alone.
_MANY_PIECES = 200


@dataclass(frozen=True, eq=False, init=False)
class DrivenLindbladian(MatrixFreeGenerator):
    """Open dynamics with H(t) = H_0 + Σ_i u_i(t) H_i, where the amplitudes u may differ from sample to sample.

    The duration is cut into P equal pieces, in each of which the amplitudes are constant: with P = 1 an input
    chooses the dynamics, with P > 1 it drives them, say by one piece per word. It fits `Unitary`, `QuantumJumps`
    and `ExactChannel`.

    Args:
        base: H_0 and all L_k.
        drives: Hermitian H_1 … H_I (I, D, D), as a tensor, an array or a list of matrices, in units of inverse time if
            the amplitudes are pure numbers.
        amplitudes: Real u_i (…, P, I) of each sample and piece, of the base's precision. Its batch axes are broadcast
            against those of the state; without any, all samples share the amplitudes.
        validate: Pass False to skip the checks of the values (Hermitian, finite) where they hold by construction.

    Raises:
        ArgumentError: If shapes or dtypes do not fit, a drive is not Hermitian, or a number is not finite.

    Source: O (input-dependent generators).

    Examples:
        >>> from qinn.quantum import PureEnsemble, Unitary, pauli
        >>> still = Lindbladian(torch.zeros(2, 2) + 0j, torch.zeros(0, 2, 2) + 0j)
        >>> turns = torch.tensor([0.0, 0.7853982, 1.5707963])[:, None, None]
        >>> dynamics = DrivenLindbladian(still, pauli("X")[None], turns)
        >>> start = PureEnsemble(torch.tensor([[1, 0j]]).expand(3, 1, 2))
        >>> state = Unitary().evolve(start, dynamics, time=1.0)
        >>> state.probabilities(torch.eye(2) + 0j)[:, 0, 1].round(decimals=5)
        tensor([0.0000, 0.5000, 1.0000])
    """

    base: Lindbladian
    drives: Complex[Tensor, "drive dim dim"]
    amplitudes: Float[Tensor, "*batch piece drive"]

    def __init__(self, base: Any, drives: Any, amplitudes: Any, validate: bool = True) -> None:
        check_kind(base, (Lindbladian,), "the base of a `DrivenLindbladian`")
        H = base.hamiltonian
        drives = as_matrices("drives", drives, base.dim, H, "base", ndim=3)
        amplitudes = as_real("amplitudes", amplitudes, H, "base")
        if amplitudes.ndim < 2 or amplitudes.shape[-1] != len(drives) or amplitudes.shape[-2] < 1:
            raise ArgumentError(
                f"Argument `amplitudes` must have shape (…, piece, {len(drives)}) with at least one piece, but has "
                f"{tuple(amplitudes.shape)}."
            )
        if validate:
            if not bool(torch.isfinite(amplitudes.detach()).all()):
                raise ArgumentError("Argument `amplitudes` must be finite, but holds NaN or infinity.")
            drives = as_hermitian("drives", drives)
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "drives", drives)
        object.__setattr__(self, "amplitudes", amplitudes)

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.base.dim

    @property
    def num_jumps(self) -> int:
        """Number K of jump operators."""
        return self.base.num_jumps

    @property
    def batch(self) -> torch.Size:
        """Leading axes of the systems that the base holds; amplitudes may have more, one set for each state."""
        return self.base.batch

    def apart(self, aligned: Alignment) -> list[Generator]:
        """Return every system alone, with the amplitudes of its states; see `Generator.apart`."""
        amplitudes = aligned.gathered(self.amplitudes) if self.amplitudes.ndim > 2 else self.amplitudes[None]
        each = amplitudes.expand(aligned.num_systems, *amplitudes.shape[1:]).unbind()
        bases = self.base.for_systems(aligned.systems).systems()
        return [
            DrivenLindbladian(base, self.drives, some, validate=False)
            for base, some in zip(bases, each, strict=True)
        ]

    @property
    def num_pieces(self) -> int:
        """Number P of pieces of time."""
        return self.amplitudes.shape[-2]

    @property
    def _numbers(self) -> Tensor:
        return self.drives

    def dense(self, sample: tuple[int, ...] = (), piece: int = 0) -> Lindbladian:
        """Return the Lindbladian of one sample in one piece of time.

        Args:
            sample: Index into the batch axes of the amplitudes.
            piece: Which piece, 0 … P − 1.

        Returns:
            The dynamics with H_0 + Σ_i u_i H_i, differentiable in all of them.
        """
        amplitudes = self.amplitudes[(*sample, piece)]
        if amplitudes.ndim != 1:
            raise ArgumentError(
                f"Argument `sample` must index all {self.amplitudes.ndim - 2} batch axes, but it is {sample}."
            )
        driven = torch.einsum("i,iab->ab", amplitudes.to(self.dtype), self.drives)
        return replace(self.base, hamiltonian=self.base.hamiltonian + driven, validate=False)

    def to(self, target: torch.dtype | torch.device | str) -> "DrivenLindbladian":
        """Return the same dynamics in another complex dtype or on another device.

        Args:
            target: Complex dtype or device.
        """
        real = torch.empty(0, dtype=target).real.dtype if isinstance(target, torch.dtype) else target
        return DrivenLindbladian(
            self.base.to(target), self.drives.to(target), self.amplitudes.to(real), validate=False
        )

    def faster(self, factor: Tensor) -> "DrivenLindbladian":
        """Return the dynamics with H(t) and all L_k†L_k times a positive factor; the pieces stay where they are."""
        scale = factor.to(self.drives.real)
        return replace(self, base=self.base.faster(factor), drives=self.drives * scale, validate=False)

    def between(self, begin: float, end: float, whole: float) -> list[tuple[Generator, float]]:
        """Return the pieces between two moments, each with the amplitudes of its own; see `Generator.between`."""
        width, found = whole / self.num_pieces, []
        for piece in range(self.num_pieces):
            low, high = max(begin, piece * width), min(end, (piece + 1) * width)
            if piece == self.num_pieces - 1:
                high = end
            if high > low:
                amplitudes = self.amplitudes[..., piece : piece + 1, :]
                found.append((replace(self, amplitudes=amplitudes, validate=False), high - low))
        return found

    def without_jumps(self) -> "DrivenLindbladian":
        """Return the same dynamics with every jump operator removed (K = 0)."""
        return replace(self, base=self.base.without_jumps(), validate=False)

    def hamiltonian_action(self) -> Action:
        """Action of −i(H_0 + Σ_i u_i H_i)."""
        return self._action(-1j * self.base.hamiltonian)

    def no_jump_action(self) -> Action:
        """Action of J = −i(H_0 + Σ_i u_i H_i) − ½ Σ L_k†L_k."""
        return self._action(self.base.no_jump_generator)

    def _action(self, fixed: Tensor) -> Action:
        # One product for all operators, which lie one below the other to act on rows.
        stacked = torch.cat([fixed[None], -1j * self.drives]).mT.reshape(-1, self.dim)

        def function(given: Sequence[Tensor], kets: Tensor, controls: Tensor | None) -> Tensor:
            if controls is None:
                return kets @ given[0][: kets.shape[1]]
            weighed = kets[:, None] * controls[:, :, None]
            return torch.cat([kets[:, None], weighed], 1).flatten(1) @ given[0]

        norms = _spectral_norms(self.drives)
        strength = self.amplitudes.detach().abs().double() @ norms
        bound = float(_spectral_norms(fixed)) + float(strength.max() if strength.numel() else 0.0)
        return Action((stacked,), function, bound)

    def jump_actions(self) -> tuple[Action, ...]:
        """Action of every L_k."""
        rows, norms = self.base.jump_operators.mT.unbind(), _spectral_norms(self.base.jump_operators).tolist()
        return tuple(Action((operator,), _multiply, norm) for operator, norm in zip(rows, norms, strict=True))

    def controls(self, batch: torch.Size) -> Float[Tensor, "sample piece drive"]:
        """Return the amplitudes of every sample of a batch.

        Args:
            batch: Leading axes of the states.

        Returns:
            Amplitudes over the flattened batch.

        Raises:
            ArgumentError: If the amplitudes' batch axes do not fit.
        """
        try:
            expanded = self.amplitudes.expand(*batch, *self.amplitudes.shape[-2:])
        except RuntimeError:
            raise ArgumentError(
                f"Argument `amplitudes` must have batch axes that fit those of the state, {tuple(batch)}, but has "
                f"{tuple(self.amplitudes.shape[:-2])}; give one set per sample, or one for all."
            ) from None
        return expanded.reshape(-1, *self.amplitudes.shape[-2:])


def _multiply(given: Sequence[Tensor], kets: Tensor, controls: Tensor | None) -> Tensor:
    return kets @ given[0]


def _spectral_norms(matrices: Tensor) -> Tensor:
    fixed = matrices.detach().resolve_conj()
    if not bool(torch.isfinite(torch.view_as_real(fixed)).all()):
        return torch.full(fixed.shape[:-2], torch.inf, dtype=torch.float64, device=fixed.device)
    norms = torch.linalg.matrix_norm(fixed, 2).double()
    # Round-off of the singular values is inside the last factor.
    return norms * (1 + 10 * fixed.shape[-1] * torch.finfo(fixed.dtype).eps)


def propagate_driven_densities(
    driven: DrivenLindbladian,
    densities: Complex[Tensor, "*batch dim dim"],
    time: float | Tensor,
    tolerance: float | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return the exact average over all trajectories of driven dynamics (Schrödinger picture), piece by piece.

    A drive adds −i u_i [H_i, ·] to the generator: its field of values grows by ±|u_i| times the width of H_i's
    spectrum along the imaginary axis, and nothing else.

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
    check_pieces("amplitudes", driven.num_pieces, _LEAST_PRODUCTS * driven.num_pieces)
    driven, time = with_fixed_time(driven, time)
    driven = _without_energy_offsets(driven)
    share, width = _share(driven, tolerance), time / driven.num_pieces
    if driven.amplitudes.ndim == 2:
        for piece in range(driven.num_pieces):
            densities = propagate_densities(driven.dense((), piece), densities, width, share)
        return densities
    controls = driven.controls(densities.shape[:-2])
    if time == 0 or densities.numel() == 0:
        return densities
    plans = _plans(driven, controls, width, share)
    size = max(max(-plan.field.real_low, plan.field.imaginary) for plan in plans) * driven.num_pieces
    check_applications(sum(plan.num_applications for plan in plans), size)
    steps, dtype = max(plan.sub_steps for plan in plans), densities.dtype
    if dtype != torch.complex128 and (steps > MOST_SINGLE_STEPS or are_shifted(driven.base)):
        driven, densities, controls = (
            driven.to(torch.complex128),
            densities.to(torch.complex128),
            controls.double(),
        )
    matrices = densities.reshape(-1, driven.dim, driven.dim)
    flow, jumps = driven.base.no_jump_generator, driven.base.jump_operators
    for piece, plan in enumerate(plans):
        turning = torch.einsum("si,iab->sab", controls[:, piece].to(driven.dtype), driven.drives)
        matrices = guarded(
            _run(plan, width),
            _run(plan.cautious(), width),
            matrices,
            flow - 1j * turning,
            jumps,
            part_axes=(1, 2),
        )
    return matrices.reshape(densities.shape).to(dtype)


def _without_energy_offsets(driven: DrivenLindbladian) -> DrivenLindbladian:
    """The same dynamics of densities, without what is a multiple of the identity in H_0 and the drives."""
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
    share, width = _share(driven, tolerance), time / driven.num_pieces
    if time == 0:
        return 0
    if driven.amplitudes.ndim == 2:
        return _work_of_shared_pieces(driven, num_matrices, width, share)
    controls = driven.amplitudes.reshape(-1, *driven.amplitudes.shape[-2:])
    plans = _plans(driven, controls, width, share)
    # At worst one sub-step of a piece fails, and the piece is done again assuming nothing.
    return sum(plan.num_applications + plan.cautious().num_applications for plan in plans)


def _work_of_shared_pieces(driven: DrivenLindbladian, num_matrices: int, width: float, share: float) -> int:
    amplitudes, counts = torch.unique(driven.amplitudes.detach(), dim=0, return_counts=True)
    if len(amplitudes) <= _MANY_PIECES:
        different = replace(driven, amplitudes=amplitudes, validate=False)
        return sum(
            count * propagation_work(different.dense((), piece), num_matrices, width, share)
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


def _plans(driven: DrivenLindbladian, controls: Tensor, width: float, share: float) -> list[ExponentialPlan]:
    """The plan of every piece, for the strongest amplitudes in it."""
    base = field_of_values(driven.base)
    plans = []
    for wider in _strengths(driven, controls).amax(0).tolist():
        field, expected = (replace(each, imaginary=each.imaginary + wider).scaled(width) for each in base)
        plans.append(plan_exponential(field, share, expected))
    return plans


def _run(plan: ExponentialPlan, width: float) -> Run:
    """Evolve matrices (sample, D, D) by flows of their own and shared jump operators, for a piece of time."""

    def run(tensors: Sequence[Tensor], sizes: list[Tensor]) -> Tensor | None:
        matrices, flow, jumps = tensors
        identity = torch.eye(flow.shape[-1], dtype=flow.dtype, device=flow.device)

        def build(scale: float, shift: float) -> Callable[[Tensor], Tensor]:
            left = scale * flow - 0.5 * shift * identity
            right = left.mH

            def apply(given: Tensor) -> Tensor:
                total = left @ given + given @ right
                for jump in jumps:
                    total = total + (scale * jump) @ given @ jump.mH
                return total

            return apply

        return exponential_action(build, matrices, plan, width, part_axes=(1, 2), sizes=sizes)

    return run
