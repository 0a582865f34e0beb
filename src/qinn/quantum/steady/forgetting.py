"""How much of a difference of two states a channel can leave, proved from both sides, and the time it takes to go."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_time, check_between
from qinn.quantum.generators.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.interface import check_kind, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_densities, propagate_observables
from qinn.quantum.steady.steady_state import find_attractor

LARGEST_BOUNDED_DIM = 16
"""Up to here upper bounds take well under a second; they need D² × D² matrices."""

# Pairs of states from which the most lasting one is looked for, and how often each is improved; fewer where a round
# takes a good part of a second.
_STARTS, _ROUNDS = 8, 30
_FEW_STARTS, _FEW_ROUNDS = 2, 5
# Share of 𝟙/D in the weight of the weighted bound, so that no eigenvalue of it is 0.
_SHARE = 1e-3
# Maps that are further from being channels are none; rounding in single precision stays far below.
_LEEWAY = 1e-3
# Relative precision of a mixing time, and how many times the lower bound is tried before there is no upper one.
_PRECISION, _MOST_TIMES = 1e-3, 64

_Map = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, eq=False)
class ContractionBounds:
    """Bounds of η = max T(Φρ, Φσ)/T(ρ, σ) over all pairs of states, T being the trace distance.

    Attributes:
        lower: What is left of the distance of a pair that was found.
        upper: Proved to be at least η, up to round-off; 1 where the proofs say no more than that η ≤ 1, NaN where none
            was tried (D > 16).
        exact: Whether both are η itself: for qubits.
    """

    lower: Float[Tensor, "*batch"]
    upper: Float[Tensor, "*batch"]
    exact: bool


@final
@dataclass(frozen=True)
class MixingBounds:
    """Bounds of the mixing time, after which no trace distance is above a fraction of what it was.

    Bounds are floats; of many systems they are tensors with their leading axes.

    Attributes:
        lower: No shorter time is enough: ln(1/ε)/gap, or the time itself of a qubit.
        upper: This time is proved to be enough; infinite where no bound was found.
        exact: Whether both are the time itself (to a thousandth): for qubits.
    """

    lower: Any
    upper: Any
    exact: bool


def contraction_bounds(lindbladian: Any, time: Any) -> ContractionBounds:
    """Bound how much the evolution e^{𝓛t} can leave of the trace distance of two states.

    Args:
        lindbladian: The dynamics.
        time: Duration t ≥ 0, or many, whose axes are broadcast against those of the systems.

    Returns:
        The bounds, in double precision and without gradient: exact for D = 2, from both sides up to D = 16, the lower
        one above.

    Raises:
        ArgumentError: If an argument does not fit, or the dynamics are not finite.

    Source: O.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> found = contraction_bounds(decay, 2 * 0.6931472)
        >>> found.exact, found.upper.round(decimals=5)
        (True, tensor(0.5000, dtype=torch.float64))
    """
    moments = as_time(time)
    moments = moments.detach() if isinstance(moments, Tensor) else moments
    double, duration = with_fixed_time(_double(lindbladian, "`contraction_bounds`"), moments)
    if double.dim <= LARGEST_BOUNDED_DIM:
        maps = _channel(superoperator_on_real_coordinates(double), duration)
        return channel_contraction(maps, validate=False)
    if double.batch:
        lowers = [contraction_bounds(one, duration).lower for one in double.systems()]
        lower = torch.stack(lowers).reshape(double.batch)
        return ContractionBounds(lower, torch.full_like(lower, torch.nan), exact=False)
    pairs = _starting_kets(double.hamiltonian, double.dim)[:_FEW_STARTS]

    def forwards(matrices: Tensor) -> Tensor:
        return propagate_densities(double, matrices, duration)

    def backwards(matrices: Tensor) -> Tensor:
        return propagate_observables(double, matrices, duration)

    lower = _lasting(pairs, forwards, backwards, _FEW_ROUNDS)
    return ContractionBounds(lower, torch.full_like(lower, torch.nan), exact=False)


def channel_contraction(
    maps: Float[Tensor, "*batch squared squared"], *, validate: bool = True
) -> ContractionBounds:
    """Bound how much channels can leave of the trace distance of two states.

    With s the largest singular value on traceless Hermitian matrices, η ≤ s √(2⌊D²/4⌋/D), which is s for D = 2, where
    η = s. With s' that of X ↦ w^{−1/4} Φ(X) w^{−1/4}, η ≤ s'/√2 for any density w > 0, here near Φ(𝟙/D). And where
    the Choi matrix is at least ε w ⊗ 𝟙, η ≤ 1 − ε. The least of them is taken.

    Args:
        maps: Real matrices of channels on Re ρ + Im ρ, as `collision_maps` gives them, D ≤ 16.
        validate: Pass False to skip the check that they are channels (to a thousandth) where that holds by
            construction: of other maps the bounds say nothing.

    Returns:
        The bounds of each.

    Raises:
        ArgumentError: If the matrices are not of channels of such a dimension, or not finite.

    Source: O; for qubits M. B. Ruskai, Rev. Math. Phys. 6 (1994) 1147; Doeblin's minorisation.

    Examples:
        >>> still, mixed = torch.eye(9), torch.eye(3).flatten()
        >>> reset = torch.outer(mixed, mixed) / 3
        >>> [float(channel_contraction(each).upper.round(decimals=5)) for each in (still, reset)]
        [1.0, 0.0]
    """
    dim = round(maps.shape[-1] ** 0.5)
    if dim**2 != maps.shape[-1] or maps.shape[-2] != maps.shape[-1] or not 1 <= dim <= LARGEST_BOUNDED_DIM:
        raise ArgumentError(
            f"Argument `maps` must hold D² × D² matrices with D from 1 to {LARGEST_BOUNDED_DIM}, but has the shape "
            f"{tuple(maps.shape)}."
        )
    double = maps.detach().double()
    if not bool(torch.isfinite(double).all()):
        raise ArgumentError("Argument `maps` must be finite, but holds NaN or infinity.")
    if validate:
        _check_channels(double, dim)
    if dim == 1:
        nothing = double.new_zeros(double.shape[:-2])
        return ContractionBounds(nothing, nothing, exact=True)
    traceless = double - (double @ _identity(double, dim))[..., None] * _identity(double, dim) / dim
    spread = torch.linalg.svdvals(traceless)[..., 0]
    if dim == 2:
        exact = spread.clamp(max=1)
        return ContractionBounds(exact, exact, exact=True)
    upper = _upper(double, traceless, spread, dim)
    pairs = _starting_kets(double, dim)
    pairs = pairs.expand(*double.shape[:-2], *pairs.shape)
    lower = _lasting(
        pairs,
        lambda matrices: _apply(double, matrices),
        lambda matrices: _apply(double.mT, matrices),
        _ROUNDS,
    )
    return ContractionBounds(torch.minimum(lower, upper), upper, exact=False)


def mixing_bounds(lindbladian: Any, *, fraction: float = 0.01) -> MixingBounds:
    """Bound the time after which the trace distance of any two states is at most a fraction of what it was.

    For a qubit it is the time at which the largest singular value of the Bloch matrix is that fraction. Otherwise no
    time below ln(1/ε)/gap is enough, since the slowest mode itself needs that long, and one at which the bound of
    `channel_contraction` is ε is.

    Args:
        lindbladian: The dynamics, D ≤ 16; of many systems each is bounded alone.
        fraction: The fraction ε, between 0 and 1.

    Returns:
        The bounds, in units of time.

    Raises:
        ArgumentError: If an argument does not fit, or the dynamics have no single steady state.

    Source: O.

    Examples:
        A qubit that decays at rate 1 keeps e^{−t/2} of its coherences:

        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> found = mixing_bounds(decay, fraction=0.1)
        >>> found.exact, round(found.upper, 2)
        (True, 4.61)
    """
    check_between("fraction", fraction, 0.0, 1.0)
    double = _double(lindbladian, "`mixing_bounds`")
    if double.dim > LARGEST_BOUNDED_DIM:
        raise ArgumentError(
            f"Argument `lindbladian` must have a dimension of at most {LARGEST_BOUNDED_DIM}, but it is {double.dim}; "
            "`find_attractor` gives the asymptotic rate."
        )
    if double.batch:
        each = [mixing_bounds(one, fraction=fraction) for one in double.systems()]
        lower, upper = (
            double.hamiltonian.real.new_tensor([getattr(bounds, side) for bounds in each]).reshape(
                double.batch
            )
            for side in ("lower", "upper")
        )
        return MixingBounds(lower, upper, exact=double.dim <= 2)
    gap = float(find_attractor(double).spectral_gap)
    if double.dim == 1:
        return MixingBounds(0.0, 0.0, exact=True)
    least, generator = log(1 / fraction) / gap, superoperator_on_real_coordinates(double)

    def enough(time: float) -> bool:
        return float(_quick_upper(_channel(generator, time), double.dim)) <= fraction

    # Distances never grow again, so that every time from a proved one on is proved too.
    high = least
    while not enough(high):
        high *= 1.5
        if high > _MOST_TIMES * least:
            return MixingBounds(least, float("inf"), exact=False)
    low = least if high == least else high / 1.5
    while high - low > _PRECISION * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return MixingBounds(high if double.dim == 2 else least, high, exact=double.dim == 2)


def _double(lindbladian: Any, name: str) -> Lindbladian:
    found = check_kind(lindbladian, (Lindbladian,), name).to(torch.complex128)
    operators = (found.hamiltonian.detach(), found.jump_operators.detach())
    if not all(bool(torch.isfinite(torch.view_as_real(each.resolve_conj())).all()) for each in operators):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
    return Lindbladian(*operators, validate=False)


def _channel(generator: Tensor, time: float) -> Tensor:
    return torch.linalg.matrix_exp(generator * time)


def _identity(like: Tensor, dim: int) -> Tensor:
    return torch.eye(dim, dtype=like.dtype, device=like.device).flatten()


def _matrices(maps: Tensor, dim: int) -> Tensor:
    """What the maps make of each of the D² coordinates, as matrices (…, coordinate, D, D)."""
    images = maps.mT.reshape(*maps.shape[:-1], dim, dim)
    return from_real_coordinates(images.to(torch.complex128))


def _apply(maps: Tensor, matrices: Tensor) -> Tensor:
    shape = matrices.shape
    moved = real_coordinates(matrices).real.flatten(-2) @ maps.mT
    return from_real_coordinates(moved.reshape(shape).to(torch.complex128))


def _power(density: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(density)
    return (vectors * values[..., None, :].to(vectors.dtype) ** exponent) @ vectors.mH


def _weight(maps: Tensor, dim: int) -> Tensor:
    """A density w > 0 near Φ(𝟙/D)."""
    mixed = _identity(maps, dim) / dim
    image = (maps @ mixed).reshape(*maps.shape[:-2], dim, dim)
    image = from_real_coordinates(image.to(torch.complex128))
    plain = mixed.reshape(dim, dim).to(image.dtype)
    positive = (1 - _SHARE) * image + _SHARE * plain
    return positive / positive.diagonal(dim1=-2, dim2=-1).sum(-1).real[..., None, None]


def _weighted(traceless: Tensor, weight: Tensor, dim: int) -> Tensor:
    """s'/√2 of X ↦ w^{−1/4} Φ(X) w^{−1/4}."""
    root = _power(weight, -0.25)[..., None, :, :]
    images = real_coordinates(root @ _matrices(traceless, dim) @ root).real.flatten(-2)
    return torch.linalg.svdvals(images)[..., 0] / 2**0.5


def _plain_factor(dim: int) -> float:
    """Largest ‖Y‖₁/‖Y‖₂ of traceless Hermitian Y, over √2."""
    return (2 * (dim**2 // 4) / dim) ** 0.5


def _quick_upper(maps: Tensor, dim: int) -> Tensor:
    traceless = maps - (maps @ _identity(maps, dim))[..., None] * _identity(maps, dim) / dim
    plain = torch.linalg.svdvals(traceless)[..., 0] * _plain_factor(dim)
    return plain if dim == 2 else torch.minimum(plain, _weighted(traceless, _weight(maps, dim), dim))


def _upper(maps: Tensor, traceless: Tensor, spread: Tensor, dim: int) -> Tensor:
    weight = _weight(maps, dim)
    found = torch.minimum(spread * _plain_factor(dim), _weighted(traceless, weight, dim))
    root = _power(weight, -0.5)
    inside = torch.einsum("...ic,...abcd,...dj->...iajb", root, _units(maps, dim), root)
    share = _least_level(inside, dim)
    return torch.minimum(found, 1 - share.clamp(0, 1)).clamp(max=1)


def _units(maps: Tensor, dim: int) -> Tensor:
    """Images of |a⟩⟨b|, (…, a, b, D, D), from those of the coordinates.

    E_ab = ½(1 + i)|a⟩⟨b| + ½(1 − i)|b⟩⟨a|, the other way round.
    """
    images = _matrices(maps, dim).reshape(*maps.shape[:-2], dim, dim, dim, dim)
    return (0.5 - 0.5j) * images + (0.5 + 0.5j) * images.transpose(-4, -3)


def _least_level(choi: Tensor, dim: int) -> Tensor:
    """Least eigenvalue of Choi matrices (…, i, a, j, b)."""
    matrices = choi.reshape(*choi.shape[:-4], dim**2, dim**2)
    return torch.linalg.eigvalsh(_hermitian(matrices))[..., 0]


def _check_channels(maps: Tensor, dim: int) -> None:
    """Refuse maps that do not keep the trace, or are not completely positive."""
    if maps.numel() == 0:
        return
    identity = _identity(maps, dim)
    trace = float((identity @ maps - identity).abs().max())
    if trace > _LEEWAY:
        raise ArgumentError(
            f"Argument `maps` must keep the trace, but changes it by up to {trace:.2g}; pass matrices of channels on "
            "Re ρ + Im ρ, which act on columns, as `collision_maps` gives them."
        )
    least = float(_least_level(torch.einsum("...abij->...iajb", _units(maps, dim)), dim).min())
    if least < -_LEEWAY:
        raise ArgumentError(
            f"Argument `maps` must be completely positive, but a Choi matrix has the eigenvalue {least:.2g}; pass "
            "matrices of channels on Re ρ + Im ρ, as `collision_maps` gives them."
        )


def _starting_kets(like: Tensor, dim: int) -> Tensor:
    """Pairs of orthogonal kets (pair, D, 2), the same every time."""
    generator = torch.Generator("cpu").manual_seed(0)
    drawn = torch.randn(_STARTS, dim, 2, dtype=torch.complex128, generator=generator)
    return torch.linalg.qr(drawn)[0].to(like.device)


def _lasting(pairs: Tensor, forwards: _Map, backwards: _Map, rounds: int) -> Tensor:
    """What is left of the trace distance of the most lasting pair found.

    With M the projector on the positive part of Φ(X), what is left of X is tr MΦ(X) = tr Φ†(M)X, which the extreme
    eigenvectors of Φ†(M) make largest: no round makes it smaller.
    """
    value = None
    for _ in range(rounds):
        outer = pairs[..., :, None, :] * pairs.conj()[..., None, :, :]
        values, vectors = torch.linalg.eigh(_hermitian(forwards(outer[..., 0] - outer[..., 1])))
        left = 0.5 * values.abs().sum(-1)
        if value is not None and bool((left - value <= 1e-9).all()):
            value = torch.maximum(value, left)
            break
        value = left if value is None else torch.maximum(value, left)
        positive = vectors * (values > 0)[..., None, :].to(vectors.dtype)
        extremes = torch.linalg.eigh(_hermitian(backwards(positive @ vectors.mH)))[1]
        pairs = extremes[..., [-1, 0]]
    assert value is not None
    return value.amax(-1).clamp(max=1)


def _hermitian(matrices: Tensor) -> Tensor:
    return 0.5 * (matrices + matrices.mH)
