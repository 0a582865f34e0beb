"""Every form in which the features of one modality come, brought into steps after each other and their counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from qinn.data.stores.ragged import gather_steps
from qinn.errors import ArgumentError

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Kind = Literal["vector", "sequence"]

# Characters of a value in a message.
_SHOWN = 80


class NumberError(ArgumentError, TypeError):
    """What must be a number is of another type."""


class RowError(ArgumentError, IndexError):
    """Samples are indexed by rows that they do not have, or by something else than rows."""


@dataclass(frozen=True, eq=False)
class Steps:
    """One modality of some samples.

    Attributes:
        values: The steps of all samples after each other, (total_steps, dim).
        lengths: Number of steps of every sample, (n,); 0 where it is absent.
        kind: ``"vector"`` where each sample has one step at most by its form, ``"sequence"`` otherwise.
    """

    values: Floats
    lengths: Integers
    kind: Kind

    @property
    def dim(self) -> int:
        """Number of features; 0 where no sample has the modality and nothing says it."""
        return self.values.shape[1]

    def take(self, rows: Integers) -> "Steps":
        """Return some samples, in the order of the rows.

        Args:
            rows: Which, from 0 on.
        """
        starts, lengths = np.cumsum(self.lengths) - self.lengths, self.lengths[rows]
        return Steps(gather_steps(self.values, starts[rows], lengths), lengths, self.kind)


def absent_steps(number: int) -> Steps:
    """Return a modality that none of some samples has.

    Args:
        number: How many samples.
    """
    return Steps(np.zeros((0, 0), dtype=np.float32), np.zeros(number, dtype=np.int64), "vector")


def steps_of(name: str, given: object, lengths: object = None) -> Steps:
    """Bring one modality into steps and their counts.

    A row of an array (n, d) that is NaN throughout is an absent sample; so are ``None`` and an empty sequence in a
    list. Of an array (n, T, d), steps that are NaN throughout at the end of a sample are padding.

    Args:
        name: Its name, for messages.
        given: An array (n,) of one feature, (n, d) of vectors or (n, T, d) of padded sequences; or a list with an array
            (T_i, d), a vector (d,), a number or None for each sample.
        lengths: Number of steps of every sample of an array (n, T, d); None where its padding is NaN or there is none.

    Raises:
        ArgumentError: If it has another form, or holds what is no finite number.

    Examples:
        >>> steps_of("audio", [np.ones((3, 2)), None]).lengths.tolist()
        [3, 0]
    """
    if hasattr(given, "toarray"):
        raise ArgumentError(
            f"Modality `{name}` is a sparse matrix, but models read dense arrays; pass it as `.toarray()`."
        )
    array = as_array(given)
    if array is None or (array.dtype == object and array.ndim == 1):
        _refuse_lengths(name, lengths)
        # Arrays of objects and everything else that is no array of numbers are gone through one by one.
        return _of_entries(name, list(cast("Sequence[object]", given if array is None else array)))
    numbers = _as_numbers(name, array)
    if numbers.ndim == 1:
        numbers = numbers[:, None]
    if numbers.ndim == 2:
        _refuse_lengths(name, lengths)
        _check_width(name, numbers.shape)
        present = cast("npt.NDArray[np.bool_]", ~np.isnan(numbers).all(axis=1))
        return Steps(_single(name, numbers[present]), present.astype(np.int64), "vector")
    if numbers.ndim != 3:
        raise ArgumentError(
            f"Modality `{name}` must have the shape (samples, features) or (samples, steps, features), but has "
            f"{numbers.shape}."
        )
    _check_width(name, numbers.shape)
    counts = _counts(name, numbers, lengths)
    return Steps(_single(name, numbers[np.arange(numbers.shape[1]) < counts[:, None]]), counts, "sequence")


def as_array(given: object) -> npt.NDArray[Any] | None:
    """Return what numpy makes of something; None where samples differ in shape, or are tensors that numpy cannot take.

    Args:
        given: Anything.

    Raises:
        ArgumentError: If it is a masked array that hides entries, or a tensor that is not dense or holds no data.
    """
    if np.ma.is_masked(given):
        raise ArgumentError(
            "A masked array hides entries, but every entry is read; pass `.filled(numpy.nan)` where a masked row is an "
            "absent sample, or leave masked rows out."
        )
    try:
        return np.asarray(_of_tensor(given) if hasattr(given, "detach") else given)
    except (ValueError, RuntimeError, TypeError) as error:
        if isinstance(error, ArgumentError):
            raise
        return None


def _of_tensor(given: Any) -> Any:
    """Return a tensor without its gradient, in a type that numpy has."""
    if given.is_meta or str(given.layout) != "torch.strided":
        raise ArgumentError(
            f"A tensor must be dense and hold data, but one is on the device `{given.device}` with the layout "
            f"`{given.layout}`; pass it as `.to_dense()`."
        )
    tensor = given.detach().cpu()
    return tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor


def in_one_line(given: object) -> str:
    """Return a value as a message shows it: in one line, and cut where it is long.

    Args:
        given: Anything.

    Examples:
        >>> in_one_line([np.zeros(2), np.ones(2)]), len(in_one_line("a" * 1000))
        ('[array([0., 0.]), array([1., 1.])]', 81)
    """
    shown = " ".join(repr(given).split())
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def is_mapping(given: object) -> TypeGuard[Mapping[Any, object]]:
    """Tell whether something maps names to values; some sparse matrices map places to numbers.

    Args:
        given: Anything.
    """
    return isinstance(given, Mapping) and not hasattr(cast("Any", given), "toarray")


def _as_numbers(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim == 0:
        raise ArgumentError(
            f"Modality `{name}` must be an array or a list with a row for each sample, but it is "
            f"{in_one_line(array.item())}."
        )
    if array.dtype.kind == "c":
        raise ArgumentError(
            f"Complex data not supported: modality `{name}` must hold real numbers; pass real and imaginary parts side "
            "by side."
        )
    if array.dtype.kind in "mMV":
        raise NumberError(
            f"Modality `{name}` must hold numbers, but holds dates or records ({array.dtype}); make numbers of them."
        )
    if array.dtype.kind in "fiub":
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    try:
        return array.astype(np.float64)
    except TypeError as error:
        raise NumberError(f"Modality `{name}` must hold numbers, but {error}.") from None
    except ValueError as error:
        raise ArgumentError(f"Modality `{name}` must hold numbers, but {error}.") from None


def _check_width(name: str, shape: tuple[int, ...]) -> None:
    if not shape[-1]:
        raise ArgumentError(
            f"Modality `{name}` has 0 feature(s) (shape={shape}) while a minimum of 1 is required; leave it out."
        )


def _refuse_lengths(name: str, lengths: object) -> None:
    if lengths is not None:
        raise ArgumentError(
            f"Argument `lengths` names `{name}`, but only an array (samples, steps, features) has lengths that it does "
            "not show; leave it out."
        )


def _counts(name: str, numbers: npt.NDArray[Any], lengths: object) -> Integers:
    """Return how many steps each sample has: as stated, or up to the last that is not NaN throughout."""
    longest = numbers.shape[1]
    if lengths is None and not longest:
        return np.zeros(len(numbers), np.int64)
    if lengths is None:
        holds = cast("npt.NDArray[np.bool_]", ~np.isnan(numbers).all(axis=2))
        return np.where(holds.any(axis=1), longest - holds[:, ::-1].argmax(axis=1), 0).astype(np.int64)
    counts = np.asarray(lengths)
    if counts.shape != (len(numbers),) or counts.dtype.kind not in "iu":
        raise ArgumentError(
            f"Argument `lengths` must have {len(numbers)} integers for `{name}`, but has shape {counts.shape} and "
            f"dtype {counts.dtype}."
        )
    if wrong := np.flatnonzero((counts < 0) | (counts > longest)).tolist():
        raise ArgumentError(
            f"Argument `lengths` must lie between 0 and {longest} for `{name}`, but is {counts[wrong[0]]} at row "
            f"{wrong[0]}."
        )
    return counts.astype(np.int64)


def _of_entries(name: str, entries: list[object]) -> Steps:
    """Go through the samples of a list one by one."""
    parts: list[Floats] = []
    counts = np.zeros(len(entries), dtype=np.int64)
    kind: Kind = "vector"
    first = 0
    for row, entry in enumerate(entries):
        array = None if _is_missing(entry) else as_array(entry)
        if array is None and not _is_missing(entry):
            raise ArgumentError(
                f"Modality `{name}` must have a vector or an array (steps, features) at row {row}, but its steps "
                "differ in length."
            )
        if array is None or not array.size:
            continue
        numbers = _as_numbers(name, np.atleast_1d(array))
        if numbers.ndim > 2:
            raise ArgumentError(
                f"Modality `{name}` must have a vector or an array (steps, features) at row {row}, but has shape "
                f"{numbers.shape}."
            )
        if numbers.ndim == 2:
            kind = "sequence"
        numbers = numbers.reshape(-1, numbers.shape[-1])
        numbers = numbers[: int(_counts(name, numbers[None], None)[0])]
        if not len(numbers):
            continue
        if parts and numbers.shape[1] != parts[0].shape[1]:
            raise ArgumentError(
                f"Modality `{name}` must have the same features for every sample, but row {row} has "
                f"{numbers.shape[1]} and row {first} has {parts[0].shape[1]}; give sequences as (steps, features)."
            )
        first = first if parts else row
        parts.append(_single(name, numbers))
        counts[row] = len(numbers)
    if not parts:
        return absent_steps(len(entries))
    return Steps(np.concatenate(parts), counts, kind)


def _is_missing(entry: object) -> bool:
    """Tell whether a cell holds nothing: None, or what pandas calls NA and NaT."""
    return entry is None or type(entry).__name__ in ("NAType", "NaTType")


def _single(name: str, numbers: npt.NDArray[Any]) -> Floats:
    """Return steps in single precision, known to be finite."""
    if not np.isfinite(numbers).all():
        raise ArgumentError(
            f"Modality `{name}` must hold finite numbers, but has NaN or inf among them; a sample that lacks the "
            "modality is NaN throughout, or None in a list."
        )
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(numbers, dtype=np.float32)
    if not np.isfinite(single).all():
        raise ArgumentError(
            f"Modality `{name}` must hold numbers of single precision (up to 3.4e38), but has larger ones; rescale it."
        )
    return single
