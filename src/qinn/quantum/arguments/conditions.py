"""What arguments must be: each check refuses in one sentence, and looks at a result once.

Throughout, `name` is what the user calls the argument, for the message of the `ArgumentError` that a check raises.
"""

from math import inf, isfinite, nan
from operator import index
from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError

# Largest violation of a state's laws that counts as round-off: of ⟨ψ|ψ⟩ = 1, ρ = ρ†, tr ρ = 1 and ρ ≥ 0.
STATE_TOLERANCE = {torch.complex64: 1e-4, torch.complex128: 1e-6}
# Largest difference of an operator from its adjoint, relative to its own largest entry, in units of ε.
_HERMITIAN_ROUND_OFF = 100


def state_tolerance(dtype: torch.dtype) -> float:
    """Return the largest violation of a state's laws that counts as round-off: 1e-4 (complex64), 1e-6 (complex128).

    Args:
        dtype: Complex dtype of the state.

    Examples:
        >>> state_tolerance(torch.complex64)
        0.0001
    """
    return STATE_TOLERANCE[dtype]


def check_same_kind(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse tensors of different precision, or on different devices.

    Examples:
        >>> check_same_kind("vectors", torch.eye(2) + 0j, "kets", torch.eye(2) + 0j)
    """
    check_one("have one complex dtype", "have", name, tensor.dtype, other_name, other.dtype)
    check_one("be on one device", "are on", name, tensor.device, other_name, other.device)


def check_one(rule: str, verb: str, name: str, given: Any, other_name: str, other: Any) -> None:
    """Refuse two arguments that differ in what they must have in common.

    Args:
        rule: What that is, for the message.
        verb: How the message goes on.
        name: Name of the one argument.
        given: What it has.
        other_name: Name of the other.
        other: What that has.

    Examples:
        >>> check_one("device", "are on", "vectors", "cpu", "kets", "cpu")
    """
    if given != other:
        raise ArgumentError(
            f"Arguments `{name}` and `{other_name}` must {rule}, but {verb} {given} and {other}; convert one "
            "of them by `.to(...)`."
        )


def check_vectors(name: str, vectors: Tensor) -> None:
    """Refuse what is not vectors (…, D) of dimension D ≥ 1.

    Examples:
        >>> check_vectors("ket", torch.ones(3, 2) + 0j)
    """
    if vectors.ndim < 1 or vectors.shape[-1] < 1:
        raise ArgumentError(
            f"Argument `{name}` must have the shape (…, dim), but has {tuple(vectors.shape)}."
        )


def check_square(name: str, matrices: Tensor) -> None:
    """Refuse what is not square matrices (…, D, D) of dimension D ≥ 1.

    Examples:
        >>> check_square("density", torch.eye(2) + 0j)
    """
    shape = matrices.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 1:
        raise ArgumentError(f"Argument `{name}` must have the shape (…, dim, dim), but has {tuple(shape)}.")


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity.

    Examples:
        >>> check_finite("observables", torch.eye(2) + 0j)
    """
    if not bool(torch.isfinite(torch.view_as_real(tensor.detach().resolve_conj())).all()):
        raise ArgumentError(f"Argument `{name}` must be finite, but holds NaN or infinity.")


def are_hermitian(name: str, matrices: Tensor) -> bool:
    """Return whether all matrices equal their adjoints, each up to round-off: 100 ε times its largest entry.

    Args:
        name: Name of the argument, for the message.
        matrices: Complex matrices (…, D, D), which may be none.

    Raises:
        ArgumentError: If an entry is not finite.

    Examples:
        >>> are_hermitian("observables", torch.tensor([[[0, 1j], [0, 0]]]))
        False
    """
    return _asymmetry(name, matrices)[-1]


def as_hermitian(name: str, matrices: Tensor) -> Tensor:
    """Return Hermitian matrices, refusing those that differ from their adjoints by more than round-off.

    A method may read one triangle or both: of what differs by round-off the Hermitian part is taken, so that all of
    them see one matrix.

    Args:
        name: Name of the argument, for the message.
        matrices: Complex matrices (…, D, D).

    Returns:
        The same tensor if it equals its adjoint exactly, otherwise ½(X + X†).

    Raises:
        ArgumentError: If one differs by more than 100 ε times its own largest entry, or an entry is not finite.

    Examples:
        >>> as_hermitian("hamiltonian", torch.tensor([[0, 1j], [0, 8e6]]))[0, 1]
        tensor(0.+0.5000j)
    """
    largest, difference, is_round_off = _asymmetry(name, matrices)
    if not is_round_off:
        raise ArgumentError(
            f"Argument `{name}` must be Hermitian, but differs from its adjoint by {difference:.3g}; use (H + H†)/2 "
            "or `hermitian_from`."
        )
    return matrices if largest == 0 else 0.5 * (matrices + matrices.mH)


def _asymmetry(name: str, matrices: Tensor) -> tuple[float, float, bool]:
    """Largest entry of |X − X†|, the same where it stands out most, and whether each is round-off of its own X."""
    if matrices.numel() == 0:
        return 0.0, 0.0, True
    fixed = matrices.detach()
    differences, sizes = (each.abs().amax((-2, -1)).flatten() for each in (fixed - fixed.mH, fixed))
    allowed = _HERMITIAN_ROUND_OFF * torch.finfo(matrices.dtype).eps
    worst = (differences - allowed * sizes).argmax()
    largest, difference, size = torch.stack([differences.amax(), differences[worst], sizes[worst]]).tolist()
    if not isfinite(size) or not isfinite(largest):
        check_finite(name, matrices)
    return largest, difference, difference <= allowed * size


def check_kets(
    name: str, kets: Tensor, tolerance: float | None = None, *, remedy: str = "use `normalize`"
) -> None:
    """Refuse kets that are not of unit norm, at the cost of one look at the result.

    Args:
        name: Name of the argument, for the message.
        kets: Complex kets (…, D), which may be none.
        tolerance: Largest deviation of ⟨ψ|ψ⟩ from 1; `state_tolerance` of the dtype if None.
        remedy: What to do about another norm, for the message.

    Raises:
        ArgumentError: If one deviates by more, or an entry is not finite.

    Examples:
        >>> check_kets("kets", torch.tensor([0.6 + 0j, 0.8j]))
    """
    if kets.numel() == 0:
        return
    parts = torch.view_as_real(kets.detach().resolve_conj()).flatten(-2)
    check_norms(name, torch.linalg.vector_norm(parts, dim=-1).square(), tolerance, remedy=remedy)


def check_norms(
    name: str, norms: Tensor, tolerance: float | None = None, *, remedy: str = "use `normalize`"
) -> None:
    """Refuse squared norms ⟨ψ|ψ⟩ other than 1, as `check_kets` does.

    Args:
        name: Name of the argument that holds the kets, for the message.
        norms: Squared norms of any shape, of which there may be none.
        tolerance: Largest deviation from 1; `state_tolerance` of the precision if None.
        remedy: As for `check_kets`.

    Raises:
        ArgumentError: If one deviates by more, or is not finite.

    Examples:
        >>> check_norms("kets", torch.ones(3))
    """
    if norms.numel() == 0:
        return
    tolerance = state_tolerance(norms.dtype.to_complex()) if tolerance is None else tolerance
    lowest, highest = torch.stack(norms.aminmax()).tolist()
    deviation = max(highest - 1, 1 - lowest)
    if not isfinite(deviation):
        raise ArgumentError(
            f"Argument `{name}` must be of unit norm, but holds NaN, infinity or too large numbers."
        )
    if deviation > tolerance:
        raise ArgumentError(
            f"Argument `{name}` must be of unit norm, but ⟨ψ|ψ⟩ deviates from 1 by {deviation:.3g} (allowed: "
            f"{tolerance:.0e}); {remedy}."
        )


def check_densities(name: str, densities: Tensor, tolerance: float | None = None) -> None:
    """Refuse matrices that are not Hermitian, of unit trace and positive, at the cost of one look at the result.

    Args:
        name: Name of the argument, for the message.
        densities: Complex matrices (…, D, D), which may be none.
        tolerance: Largest violation of each law; `state_tolerance` of the dtype if None.

    Raises:
        ArgumentError: Naming the law that is violated, and by how much.

    Examples:
        >>> check_densities("density_matrix", 0.5 * torch.eye(2) + 0j)
    """
    if densities.numel() == 0:
        return
    tolerance = state_tolerance(densities.dtype) if tolerance is None else tolerance
    fixed = densities.detach()
    identity = torch.eye(fixed.shape[-1], dtype=fixed.dtype, device=fixed.device)
    # ρ + tolerance has a Cholesky factor if and only if no eigenvalue of ρ is below −tolerance.
    _, failed = torch.linalg.cholesky_ex(fixed + tolerance * identity)
    traces = fixed.diagonal(dim1=-2, dim2=-1).sum(-1)
    difference, trace, negative = torch.stack(
        [(fixed - fixed.mH).abs().amax(), (traces - 1).abs().amax(), failed.amax().to(fixed.real.dtype)]
    ).tolist()
    if not isfinite(difference) or not isfinite(trace):
        check_finite(name, fixed)
    if difference > tolerance:
        raise ArgumentError(
            f"Argument `{name}` must be Hermitian, but differs from its adjoint by {difference:.3g} (allowed: "
            f"{tolerance:.0e})."
        )
    if trace > tolerance:
        raise ArgumentError(
            f"Argument `{name}` must have trace 1, but a trace deviates from it by {trace:.3g} (allowed: "
            f"{tolerance:.0e}); divide by the trace."
        )
    if negative:
        lowest = float(torch.linalg.eigvalsh(0.5 * (fixed + fixed.mH)).amin())
        raise ArgumentError(
            f"Argument `{name}` must be positive, but has the eigenvalue {lowest:.3g} (allowed: −{tolerance:.0e})."
        )


def check_count(name: str, count: Any) -> None:
    """Refuse what is not a whole number of at least 1.

    Examples:
        >>> check_count("steps", 3)
    """
    check_whole(name, count)
    if count < 1:
        raise ArgumentError(f"Argument `{name}` must be at least 1, but it is {count}.")


def check_whole(name: str, number: Any) -> None:
    """Refuse what is not a whole number.

    Examples:
        >>> check_whole("index", 0)
    """
    try:
        index(number)
    except TypeError:
        raise ArgumentError(f"Argument `{name}` must be a whole number, but it is {shown(number)}.") from None


def check_seed(seed: Any) -> None:
    """Refuse what is neither None nor a whole number of 64 bits.

    Examples:
        >>> check_seed(None)
    """
    try:
        fits = seed is None or -(2**63) <= index(seed) < 2**63
    except TypeError:
        fits = False
    if not fits:
        raise ArgumentError(
            f"Argument `seed` must be None or a whole number of 64 bits, but it is {shown(seed)}; choose another."
        )


def check_between(
    name: str, value: Any, low: float, high: float, *, ends: bool = False, also: str = ""
) -> None:
    """Refuse what is no number between two others.

    Args:
        name: Name of the argument, for the message.
        value: The number.
        low: Lower end.
        high: Upper end.
        ends: Whether the ends are allowed.
        also: What else is allowed, for the message.

    Examples:
        >>> check_between("epsilon", 0.5, 0.0, 1.0)
    """
    try:
        number = float("a" if isinstance(value, str | bytes) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = nan
    if not (low <= number <= high if ends else low < number < high):
        rule = "positive and finite" if high == inf else f"between {low:g} and {high:g}"
        raise ArgumentError(
            f"Argument `{name}` must be {rule}{also}, but it is {shown(value)}; give a number in that range."
        )


def check_tolerance(tolerance: Any) -> None:
    """Refuse an impossible tolerance.

    Examples:
        >>> check_tolerance(1e-6)
    """
    if tolerance is not None:
        check_between("tolerance", tolerance, 0.0, 1.0, also=", or None")


def check_target(target: Any) -> None:
    """Refuse a dtype to which complex operators cannot go without loss.

    Examples:
        >>> check_target(torch.complex64), check_target("cpu")
        (None, None)
    """
    if isinstance(target, torch.dtype) and target not in STATE_TOLERANCE:
        raise ArgumentError(
            f"Argument `target` must be a device, `torch.complex64` or `torch.complex128`, but it is {target}."
        )


def shown(value: Any) -> str:
    """A value in a message: short ones themselves, others by their kind."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"a `{type(value).__name__}`"
