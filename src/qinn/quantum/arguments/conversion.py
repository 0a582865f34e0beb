"""What users pass becomes tensors of one precision, on one device."""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments.conditions import (
    STATE_TOLERANCE,
    check_densities,
    check_finite,
    check_one,
    check_same_kind,
    check_square,
    shown,
    state_tolerance,
)

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


def as_complex(name: str, value: Any, like: Tensor | None = None) -> Tensor:
    """Return what a user gave as a complex tensor; gradients flow through tensors, those inside of lists too.

    Args:
        name: Name of the argument, for messages.
        value: A tensor, an array, a number, a `qutip.Qobj`, or nested lists of these.
        like: What it is used with. Arrays and lists go to its device, Python numbers and integers take its
            precision; without it they take torch's defaults.

    Returns:
        A tensor of dtype complex64 or complex128; the same one where it is already that.

    Raises:
        ArgumentError: If the value is of another kind or precision, ragged, or of mixed precision.

    Examples:
        >>> as_complex("hamiltonian", [[0, 1], [1, 0]])
        tensor([[0.+0.j, 1.+0.j],
                [1.+0.j, 0.+0.j]])
    """
    if isinstance(value, Tensor) and value.dtype in STATE_TOLERANCE and value.layout == torch.strided:
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

    Examples:
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
        check_one("have one complex dtype", "have", name, precision, other_name, other_precision)
        check_one("be on one device", "are on", name, tensor.device, other_name, other.device)
    common = known[0][2] if known else torch.get_default_dtype().to_complex()
    return [tensor.to(common) for tensor, _ in found]


def as_real(name: str, value: Any, like: Tensor, like_name: str) -> Tensor:
    """Return what a user gave as a real tensor that fits what it is used with.

    Args:
        name: Name of the argument, for messages.
        value: Real numbers, as for `as_complex`.
        like: A complex tensor whose precision and device they must have.
        like_name: Name of the argument that it is.

    Raises:
        ArgumentError: If a number is not real, or precision or device do not fit.

    Examples:
        >>> as_real("weights", [0.25, 0.75], torch.eye(2) + 0j, "kets")
        tensor([0.2500, 0.7500])
    """
    tensor, precision = _read(name, value, like.device)
    if tensor.is_complex() and not bool((tensor.detach().imag == 0).all()):
        raise ArgumentError(f"Argument `{name}` must be real, but holds complex numbers.")
    dtype = like.dtype.to_real()
    if precision is not None:
        check_one("have one precision", "have", name, precision.to_real(), like_name, dtype)
    check_one("be on one device", "are on", name, tensor.device, like_name, like.device)
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
    if type(value).__module__.partition(".")[0] == "qutip" and hasattr(value, "full"):
        value = _array_of_qobj(name, value)
    if hasattr(value, "__array__"):
        array = value.__array__()
        kind, size = array.dtype.kind, array.dtype.itemsize
        dtype = "complex128" if kind in "biu" else _DTYPES_OF_ARRAYS.get((kind, size))
        if dtype is None:
            raise ArgumentError(f"Argument `{name}` must be {_ALLOWED}, but is an array of {array.dtype}.")
        # A copy, in this machine's byte order: torch shares the memory of arrays, and warns if they are read-only.
        tensor = torch.as_tensor(array.astype(dtype), device=device)
        return tensor, None if kind in "biu" else _COMPLEX[tensor.dtype]
    remedy = "; pass its `.toarray()`" if hasattr(value, "toarray") else ""
    raise ArgumentError(f"Argument `{name}` must be {_ALLOWED}, but is a `{type(value).__name__}`{remedy}.")


def _array_of_qobj(name: str, value: Any) -> Any:
    """The numbers of a `qutip.Qobj`: a vector of a ket, which is a column there, a matrix of an operator."""
    if value.isket:
        return value.full()[:, 0]
    if value.isoper:
        return value.full()
    remedy = "pass its `.dag()`" if value.isbra else "pass what it was made of"
    raise ArgumentError(
        f"Argument `{name}` must be a ket or an operator, but is a `Qobj` of type {value.type}; {remedy}."
    )


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

    Examples:
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

    Examples:
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


def as_density(name: str, value: Any, *, physical: bool = True) -> Tensor:
    """Return density matrices for a function of their spectrum, refusing those that are none.

    Functions of eigenvalues read one triangle, so that what the other holds would be dropped in silence.

    Args:
        name: Name of the argument, for messages.
        value: The matrices, as for `as_complex`.
        physical: Pass False for Hermitian matrices of any trace and sign.

    Returns:
        Complex matrices (…, D, D).

    Raises:
        ArgumentError: If they are not square, not finite, or not Hermitian: ‖ρ − ρ†‖ above `state_tolerance` times
            ‖ρ‖ (Frobenius) of one of them; or, if physical, not of trace 1 and positive to ten times that.

    Examples:
        >>> as_density("density", [[0.5, 0], [0, 0.5]]).dtype
        torch.complex64
    """
    matrices = as_complex(name, value)
    check_square(name, matrices)
    if matrices.numel() == 0:
        return matrices
    fixed = matrices.detach()
    # Each by its own size: a large one does not excuse the others.
    norms = [torch.linalg.vector_norm(each, dim=(-2, -1)) for each in (fixed - fixed.mH, fixed)]
    worst = (norms[0] - state_tolerance(fixed.dtype) * norms[1]).flatten().argmax()
    difference, size = torch.stack([each.flatten()[worst] for each in norms]).tolist()
    if not isfinite(difference) or not isfinite(size):
        check_finite(name, fixed)
    if difference > state_tolerance(fixed.dtype) * size:
        raise ArgumentError(
            f"Argument `{name}` must be Hermitian, but differs from its adjoint by {difference:.3g} of {size:.3g}; use "
            "(ρ + ρ†)/2 if that is round-off."
        )
    if physical:
        check_densities(name, fixed, 10 * state_tolerance(fixed.dtype))
    return matrices


def as_spectrum(name: str, value: Any) -> Tensor:
    """Return eigenvalues of densities, refusing what is no probability.

    Args:
        name: Name of the argument, for messages.
        value: Real numbers (…, level).

    Raises:
        ArgumentError: If one is below 0, or a sum differs from 1, by more than ten times `state_tolerance`.

    Examples:
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
    """Return a duration, refusing what is not a finite number of at least 0, or many of them.

    Args:
        time: A number, or a tensor with one; or a tensor, an array or a list of many.

    Returns:
        A tensor as it is, many numbers as a tensor, everything else as a float.

    Raises:
        ArgumentError: If it is anything else.

    Examples:
        >>> as_time(2)
        2.0
    """
    try:
        if isinstance(time, str):
            raise TypeError
        if isinstance(time, list | tuple) or getattr(time, "ndim", 0) > 0:
            return _as_durations(time)
        number = float(time.detach() if isinstance(time, Tensor) else time)
    except ArgumentError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ArgumentError(f"Argument `time` must be a number, but it is {shown(time)}.") from None
    if not isfinite(number) or number < 0:
        raise ArgumentError(f"Argument `time` must be finite and ≥ 0, but it is {number}.")
    return time if isinstance(time, Tensor) else number


def as_duration(time: Any) -> Any:
    """Return one duration, for what takes no more: as `as_time`, which it refuses where there are many.

    Raises:
        ArgumentError: If it is anything else than one finite number of at least 0.

    Examples:
        >>> as_duration(torch.tensor([0.5]))
        tensor(0.5000)
    """
    found = as_time(time)
    if not isinstance(found, Tensor):
        return found
    if found.numel() != 1:
        raise ArgumentError(
            f"Argument `time` must be one number here, but has shape {tuple(found.shape)}; call once for each."
        )
    return found.reshape(())


def _as_durations(times: Any) -> Tensor:
    if isinstance(times, list | tuple):
        parts = [as_time(each) for each in times]
        found = torch.stack([torch.as_tensor(each, dtype=torch.float64) for each in parts])
    else:
        found = times if isinstance(times, Tensor) else torch.as_tensor(times.__array__().astype("float64"))
    if found.is_complex():
        raise TypeError
    fixed = found.detach()
    if not bool((torch.isfinite(fixed) & (fixed >= 0)).all()):
        raise ArgumentError(
            "Argument `time` must be finite and ≥ 0 for every system, but the lowest is "
            f"{float(fixed.double().amin()):.3g} or one is not finite."
        )
    return found
