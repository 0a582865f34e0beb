"""The door of the quantum core: what users pass becomes tensors of one precision here, or is refused in a sentence.

Wherever `qinn.quantum` takes operators, kets or densities they may be tensors, arrays (anything with ``__array__``,
such as numpy's) or nested lists of numbers, arrays and tensors. Real numbers become complex ones of the same
precision; Python numbers and integers, which have no precision, take that of what they are used with.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from operator import index
from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError

# Largest violation of a state's laws that counts as round-off: of ⟨ψ|ψ⟩ = 1, ρ = ρ†, tr ρ = 1 and ρ ≥ 0.
_STATE_TOLERANCE = {torch.complex64: 1e-4, torch.complex128: 1e-6}
# Largest difference of an operator from its adjoint, relative to its largest entry, in units of ε.
_HERMITIAN_ROUND_OFF = 100
_COMPLEX = {
    torch.float32: torch.complex64,
    torch.float64: torch.complex128,
    torch.complex64: torch.complex64,
    torch.complex128: torch.complex128,
}
_DTYPES_OF_ARRAYS = {
    ("f", 4): "float32",
    ("f", 8): "float64",
    ("c", 8): "complex64",
    ("c", 16): "complex128",
}
_ALLOWED = "a tensor, an array or nested lists of numbers, in single or double precision"


def state_tolerance(dtype: torch.dtype) -> float:
    """Return the largest violation of a state's laws that counts as round-off: 1e-4 (complex64), 1e-6 (complex128).

    Args:
        dtype: Complex dtype of the state.

    Example:
        >>> state_tolerance(torch.complex64)
        0.0001
    """
    return _STATE_TOLERANCE[dtype]


def as_complex(name: str, value: Any, like: Tensor | None = None) -> Tensor:
    """Return what a user gave as a complex tensor; gradients flow through tensors, those inside of lists too.

    Args:
        name: Name of the argument, for messages.
        value: A tensor, an array, a number, or nested lists of these.
        like: What it is used with. Arrays and lists go to its device, Python numbers and integers take its
            precision; without it they take torch's defaults.

    Returns:
        A tensor of dtype complex64 or complex128; the same one where it is already that.

    Raises:
        ArgumentError: If the value is of another kind or precision, ragged, or of mixed precision.

    Example:
        >>> as_complex("hamiltonian", [[0, 1], [1, 0]])
        tensor([[0.+0.j, 1.+0.j],
                [1.+0.j, 0.+0.j]])
    """
    if isinstance(value, Tensor) and value.dtype in _STATE_TOLERANCE and value.layout == torch.strided:
        return value
    tensor, precision = _read(name, value, None if like is None else like.device)
    if precision is None:
        precision = torch.get_default_dtype().to_complex() if like is None else like.dtype
    return tensor.to(precision)


def as_complex_together(values: dict[str, Any]) -> list[Tensor]:
    """Return what a user gave for several arguments as complex tensors of one precision, on one device.

    Args:
        values: Name of each argument → its value, as for `as_complex`.

    Returns:
        The tensors. Python numbers, and integers take the precision of the others.

    Raises:
        ArgumentError: If a value is of another kind, or two differ in precision or device.

    Example:
        >>> H, L = as_complex_together({"hamiltonian": torch.eye(2).double(), "jump_operators": [[[0, 1], [0, 0]]]})
        >>> H.dtype, L.dtype
        (torch.complex128, torch.complex128)
    """
    owner = next((value for value in values.values() if isinstance(value, Tensor)), None)
    found = [_read(name, value, None if owner is None else owner.device) for name, value in values.items()]
    known = [
        (name, tensor, precision)
        for name, (tensor, precision) in zip(values, found, strict=True)
        if precision is not None
    ]
    for (name, tensor, precision), (other_name, other, other_precision) in pairwise(known):
        _check_one("have one complex dtype", "have", name, precision, other_name, other_precision)
        _check_one("be on one device", "are on", name, tensor.device, other_name, other.device)
    common = known[0][2] if known else torch.get_default_dtype().to_complex()
    return [tensor.to(common) for tensor, _ in found]


def as_real(name: str, value: Any, like: Tensor, like_name: str) -> Tensor:
    """Return what a user gave as a real tensor that fits what it is used with.

    Args:
        name: Name of the argument, for messages.
        value: Real numbers, as for `as_complex`.
        like: A complex tensor whose precision and device they must have.
        like_name: Name of the argument that it is.

    Returns:
        A real tensor.

    Raises:
        ArgumentError: If a number is not real, or precision or device do not fit.

    Example:
        >>> as_real("weights", [0.25, 0.75], torch.eye(2) + 0j, "kets")
        tensor([0.2500, 0.7500])
    """
    tensor, precision = _read(name, value, like.device)
    if tensor.is_complex() and not bool((tensor.detach().imag == 0).all()):
        raise ArgumentError(f"Argument `{name}` must be real, but holds complex numbers.")
    dtype = like.dtype.to_real()
    if precision is not None:
        _check_one("have one precision", "have", name, precision.to_real(), like_name, dtype)
    _check_one("be on one device", "are on", name, tensor.device, like_name, like.device)
    return (tensor.real if tensor.is_complex() else tensor).to(dtype)


def _read(name: str, value: Any, device: torch.device | None) -> tuple[Tensor, torch.dtype | None]:
    """The numbers, and the complex dtype of their precision, None for numbers that have none."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise ArgumentError(
                f"Argument `{name}` must be {_ALLOWED}, but its layout is {value.layout}; pass its `.to_dense()`."
            )
        if value.is_floating_point() or value.is_complex():
            if value.dtype not in _COMPLEX:
                raise ArgumentError(
                    f"Argument `{name}` must be {_ALLOWED}, but is {value.dtype}; convert it."
                )
            return value, _COMPLEX[value.dtype]
        return value, None
    if _is_number(value) or (isinstance(value, list | tuple) and all(map(_is_number, value))):
        return torch.tensor(value, dtype=torch.complex128, device=device), None
    if isinstance(value, list | tuple):
        return _read_list(name, value, device)
    if hasattr(value, "__array__"):
        array = value.__array__()
        kind, size = array.dtype.kind, array.dtype.itemsize
        dtype = "complex128" if kind in "biu" else _DTYPES_OF_ARRAYS.get((kind, size))
        if dtype is None:
            raise ArgumentError(f"Argument `{name}` must be {_ALLOWED}, but is an array of {array.dtype}.")
        # A copy, in this machine's byte order: torch shares the memory of arrays, and warns if they are read-only.
        tensor = torch.as_tensor(array.astype(dtype), device=device)
        return tensor, None if kind in "biu" else _COMPLEX[tensor.dtype]
    method = next((method for method in ("full", "toarray") if hasattr(value, method)), None)
    remedy = f"; pass its `.{method}()`" if method else ""
    raise ArgumentError(f"Argument `{name}` must be {_ALLOWED}, but is a `{type(value).__name__}`{remedy}.")


def _read_list(
    name: str, values: Sequence[Any], device: torch.device | None
) -> tuple[Tensor, torch.dtype | None]:
    found = [_read(name, value, device) for value in values]
    shapes = sorted({tuple(tensor.shape) for tensor, _ in found})
    if len(shapes) > 1:
        raise ArgumentError(f"Argument `{name}` must hold parts of one shape, but holds the shapes {shapes}.")
    precisions = sorted({str(precision) for _, precision in found if precision is not None})
    devices = sorted({str(tensor.device) for tensor, _ in found})
    for kind, given in (("precision", precisions), ("device", devices)):
        if len(given) > 1:
            raise ArgumentError(
                f"Argument `{name}` must hold parts of one {kind}, but holds {' and '.join(given)}; convert some."
            )
    precision = next((precision for _, precision in found if precision is not None), None)
    return torch.stack([tensor.to(precision or torch.complex128) for tensor, _ in found]), precision


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float | complex)


def check_same_kind(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse tensors of different precision, or on different devices.

    Args:
        name: Name of the argument, for messages.
        tensor: Its value.
        other_name: Name of what it is used with.
        other: The value of that.

    Raises:
        ArgumentError: If dtype or device differ.

    Example:
        >>> check_same_kind("vectors", torch.eye(2) + 0j, "kets", torch.eye(2) + 0j)
    """
    _check_one("have one complex dtype", "have", name, tensor.dtype, other_name, other.dtype)
    _check_one("be on one device", "are on", name, tensor.device, other_name, other.device)


def _check_one(rule: str, verb: str, name: str, given: Any, other_name: str, other: Any) -> None:
    if given != other:
        raise ArgumentError(
            f"Arguments `{name}` and `{other_name}` must {rule}, but {verb} {given} and {other}; convert one "
            "of them by `.to(...)`."
        )


def as_matrices(
    name: str, value: Any, dim: int, like: Tensor, like_name: str, *, ndim: int | None = None
) -> Tensor:
    """Return D × D matrices that fit what they are used with.

    Args:
        name: Name of the argument, for messages.
        value: The matrices, as for `as_complex`.
        dim: Dimension D.
        like: A tensor whose precision and device they must have.
        like_name: Name of the argument that it is.
        ndim: Number of axes, where only one number is right.

    Returns:
        Complex matrices (…, D, D).

    Raises:
        ArgumentError: If shape, precision or device do not fit.

    Example:
        >>> as_matrices("observables", [[[1, 0], [0, -1]]], 2, torch.eye(2) + 0j, "ket", ndim=3).shape
        torch.Size([1, 2, 2])
    """
    matrices = as_complex(name, value, like)
    if matrices.ndim < 2 or matrices.shape[-2:] != (dim, dim) or (ndim is not None and matrices.ndim != ndim):
        leading = "…, " if ndim is None else ("", "number, ")[ndim - 2]
        remedy = "; write `[matrix]` for a single one" if ndim == 3 and matrices.ndim == 2 else ""
        raise ArgumentError(
            f"Argument `{name}` must have the shape ({leading}{dim}, {dim}) to fit the {like_name}, but has "
            f"{tuple(matrices.shape)}{remedy}."
        )
    check_same_kind(name, matrices, like_name, like)
    return matrices


def as_rows(name: str, value: Any, dim: int, like: Tensor, like_name: str) -> Tensor:
    """Return vectors, one below the other, that fit what they are used with.

    Args:
        name: Name of the argument, for messages.
        value: The vectors, as for `as_complex`.
        dim: Their dimension D.
        like: A tensor whose precision and device they must have.
        like_name: Name of the argument that it is.

    Returns:
        Complex rows (number, D).

    Raises:
        ArgumentError: If shape, precision or device do not fit.

    Example:
        >>> as_rows("vectors", [[1, 0]], 2, torch.eye(2) + 0j, "ket")
        tensor([[1.+0.j, 0.+0.j]])
    """
    rows = as_complex(name, value, like)
    if rows.ndim != 2 or rows.shape[1] != dim:
        remedy = f"; write `[{name[:-1]}]` for a single one" if rows.ndim == 1 else ""
        raise ArgumentError(
            f"Argument `{name}` must have the shape (number, {dim}) to fit the {like_name}, one vector in each row, "
            f"but has {tuple(rows.shape)}{remedy}."
        )
    check_same_kind(name, rows, like_name, like)
    return rows


def check_vectors(name: str, vectors: Tensor) -> None:
    """Refuse what is not vectors (…, D) of dimension D ≥ 1.

    Args:
        name: Name of the argument, for the message.
        vectors: Complex tensor.

    Raises:
        ArgumentError: If the shape is another.

    Example:
        >>> check_vectors("ket", torch.ones(3, 2) + 0j)
    """
    if vectors.ndim < 1 or vectors.shape[-1] < 1:
        raise ArgumentError(
            f"Argument `{name}` must have the shape (…, dim), but has {tuple(vectors.shape)}."
        )


def check_square(name: str, matrices: Tensor) -> None:
    """Refuse what is not square matrices (…, D, D) of dimension D ≥ 1.

    Args:
        name: Name of the argument, for the message.
        matrices: Complex tensor.

    Raises:
        ArgumentError: If the shape is another.

    Example:
        >>> check_square("density", torch.eye(2) + 0j)
    """
    shape = matrices.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 1:
        raise ArgumentError(f"Argument `{name}` must have the shape (…, dim, dim), but has {tuple(shape)}.")


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity.

    Args:
        name: Name of the argument, for the message.
        tensor: A complex tensor.

    Raises:
        ArgumentError: If an entry is not finite.

    Example:
        >>> check_finite("observables", torch.eye(2) + 0j)
    """
    if not bool(torch.isfinite(torch.view_as_real(tensor.detach().resolve_conj())).all()):
        raise ArgumentError(f"Argument `{name}` must be finite, but holds NaN or infinity.")


def are_hermitian(name: str, matrices: Tensor) -> bool:
    """Return whether all matrices equal their adjoints, up to round-off: 100 ε times their largest entry.

    Args:
        name: Name of the argument, for the message.
        matrices: Complex matrices (…, D, D), which may be none.

    Raises:
        ArgumentError: If an entry is not finite.

    Example:
        >>> are_hermitian("observables", torch.tensor([[[0, 1j], [0, 0]]]))
        False
    """
    difference, size = _asymmetry(name, matrices)
    return difference <= _HERMITIAN_ROUND_OFF * torch.finfo(matrices.dtype).eps * size


def check_hermitian(name: str, matrices: Tensor) -> None:
    """Refuse matrices that differ from their adjoints by more than round-off.

    Args:
        name: Name of the argument, for the message.
        matrices: Complex matrices (…, D, D).

    Raises:
        ArgumentError: If one differs, or an entry is not finite.

    Example:
        >>> check_hermitian("hamiltonian", torch.eye(2) + 0j)
    """
    difference, size = _asymmetry(name, matrices)
    if difference > _HERMITIAN_ROUND_OFF * torch.finfo(matrices.dtype).eps * size:
        raise ArgumentError(
            f"Argument `{name}` must be Hermitian, but differs from its adjoint by {difference:.3g}; use (H + H†)/2 "
            "or `hermitian_from`."
        )


def _asymmetry(name: str, matrices: Tensor) -> tuple[float, float]:
    """Largest entry of |X − X†|, and of X."""
    if matrices.numel() == 0:
        return 0.0, 0.0
    fixed = matrices.detach()
    difference, size = torch.stack([(fixed - fixed.mH).abs().amax(), fixed.abs().amax()]).tolist()
    if not isfinite(size) or not isfinite(difference):
        check_finite(name, matrices)
    return difference, size


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

    Example:
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

    Example:
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

    Example:
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


def as_density(name: str, value: Any) -> Tensor:
    """Return density matrices for a function of their spectrum, refusing those that are not Hermitian.

    Functions of eigenvalues read one triangle, so that what the other holds would be dropped in silence.

    Args:
        name: Name of the argument, for messages.
        value: The matrices, as for `as_complex`.

    Returns:
        Complex matrices (…, D, D).

    Raises:
        ArgumentError: If they are not square, not finite, or not Hermitian: ‖ρ − ρ†‖ above `state_tolerance` times
            ‖ρ‖ (Frobenius).

    Example:
        >>> as_density("density", [[0.5, 0], [0, 0.5]]).dtype
        torch.complex64
    """
    matrices = as_complex(name, value)
    check_square(name, matrices)
    if matrices.numel() == 0:
        return matrices
    fixed = matrices.detach()
    norms = [torch.linalg.vector_norm(each, dim=(-2, -1)).amax() for each in (fixed - fixed.mH, fixed)]
    difference, size = torch.stack(norms).tolist()
    if not isfinite(difference) or not isfinite(size):
        check_finite(name, fixed)
    if difference > state_tolerance(fixed.dtype) * size:
        raise ArgumentError(
            f"Argument `{name}` must be Hermitian, but differs from its adjoint by {difference:.3g} of {size:.3g}; use "
            "(ρ + ρ†)/2 if that is round-off."
        )
    return matrices


def as_spectrum(name: str, value: Any) -> Tensor:
    """Return eigenvalues of densities, refusing what is no probability.

    Args:
        name: Name of the argument, for messages.
        value: Real numbers (…, level).

    Returns:
        The numbers.

    Raises:
        ArgumentError: If one is below 0, or a sum differs from 1, by more than ten times `state_tolerance`.

    Example:
        >>> as_spectrum("spectrum", torch.tensor([0.5, 0.5]))
        tensor([0.5000, 0.5000])
    """
    levels = value
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        numbers = as_complex(name, value)
        levels = as_real(name, value, numbers, name)
    if levels.numel() == 0:
        return levels
    fixed = levels.detach()
    lowest, *sums = torch.stack([fixed.amin(), *fixed.sum(-1).aminmax()]).tolist()
    tolerance = 10 * state_tolerance(fixed.dtype.to_complex())
    deviation = max(sums[1] - 1, 1 - sums[0])
    if not (lowest >= -tolerance and deviation <= tolerance):
        raise ArgumentError(
            f"Argument `{name}` must be that of a state, without negative eigenvalues and of sum 1, but the lowest is "
            f"{lowest:.3g} and a sum deviates by {deviation:.3g}."
        )
    return levels


def as_time(time: Any) -> Any:
    """Return a duration, refusing what is not a finite number of at least 0.

    Args:
        time: A number, or a tensor with one.

    Returns:
        A tensor as it is, everything else as a float.

    Raises:
        ArgumentError: If it is anything else.

    Example:
        >>> as_time(2)
        2.0
    """
    try:
        if isinstance(time, str):
            raise TypeError
        number = float(time.detach() if isinstance(time, Tensor) else time)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ArgumentError(f"Argument `time` must be a number, but it is {_shown(time)}.") from None
    if not isfinite(number) or number < 0:
        raise ArgumentError(f"Argument `time` must be finite and ≥ 0, but it is {number}.")
    return time if isinstance(time, Tensor) else number


def check_count(name: str, count: Any) -> None:
    """Refuse what is not a whole number of at least 1.

    Args:
        name: Name of the argument, for the message.
        count: The number.

    Raises:
        ArgumentError: If it is anything else.

    Example:
        >>> check_count("steps", 3)
    """
    try:
        number = index(count)
    except TypeError:
        raise ArgumentError(f"Argument `{name}` must be a whole number, but it is {_shown(count)}.") from None
    if number < 1:
        raise ArgumentError(f"Argument `{name}` must be at least 1, but it is {number}.")


def check_tolerance(tolerance: float | None) -> None:
    """Refuse an impossible tolerance.

    Args:
        tolerance: Largest error, or None for that of the precision.

    Raises:
        ArgumentError: If it is not between 0 and 1.

    Example:
        >>> check_tolerance(1e-6)
    """
    if tolerance is not None and not 0 < tolerance < 1:
        raise ArgumentError(f"Argument `tolerance` must be between 0 and 1, or None, but it is {tolerance}.")


def _shown(value: Any) -> str:
    """A value in a message: short ones themselves, others by their kind."""
    shown = repr(value)
    return shown if len(shown) <= 40 else f"a `{type(value).__name__}`"
