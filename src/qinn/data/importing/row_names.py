"""Which row of an array belongs to which sample, where the file names its rows and nobody said by what array."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from qinn.data.files.array_file import ArrayFile
from qinn.errors import DataError

__all__ = ["naming_arrays", "rows_by_name", "rows_in_order", "zeros_lost"]

_MOST_ARRAYS = 200
_NAMES = ("id", "name", "key", "segment", "clip", "sample", "utterance", "file", "filename")
"""What an array of ids is called, alone, in the plural or at the end of another word."""


def rows_in_order(
    file: ArrayFile, used: Collection[str], ids: Sequence[str], num_rows: int, *, where: str, modality: str
) -> tuple[np.ndarray, list[str]]:
    """Return the row of each sample where none was said: by an array of the file that holds the samples' ids, if any.

    Args:
        file: The file.
        used: Its arrays that hold the values and their bounds.
        ids: The samples' ids, in the table's order.
        num_rows: Number of samples in the file.
        where: File and arrays, for messages.
        modality: For notes.

    Returns:
        One row per sample, and notes that say what decided.

    Raises:
        DataError: If the numbers of samples differ, or the file names its rows otherwise than the table does.
    """
    named = naming_arrays(file, used, num_rows)
    wanted = set(ids)
    by_set = {
        key: names for key, names in named.items() if set(names) == wanted and len(names) == len(wanted)
    }
    if num_rows != len(ids):
        near = next((key for key, names in named.items() if wanted & set(names)), None)
        remedy = f"`{near}`, as in FILE:ARRAY#{near}" if near else "an id array, as in FILE:ARRAY#id"
        raise DataError(
            f"`{where}` has {num_rows} samples, but the table has {len(ids)}; match them by {remedy}."
        )
    if by_set:
        key, names = next(iter(by_set.items()))
        if names == list(ids):
            return np.arange(num_rows), [f"`{modality}`: the array `{key}` confirms the order of the rows"]
        row = {name: position for position, name in enumerate(names)}
        return (
            np.array([row[name] for name in ids], np.int64),
            [f"`{modality}`: rows were matched by the array `{key}`, which has the ids in another order"],
        )
    for key, names in named.items():
        _refuse_others(key, names, ids, where)
    return np.arange(num_rows), [
        f"`{modality}`: rows were taken in the order of the table, which nothing in the file confirms"
    ]


def rows_by_name(
    file: ArrayFile, keys: Sequence[str], ids: Sequence[str], num_rows: int, *, where: str
) -> dict[str, int]:
    """Return the row of each name, where the arrays that name the rows were said.

    Args:
        file: The file.
        keys: Arrays whose values, joined by underscores, are the names.
        ids: The samples' ids.
        num_rows: Number of samples in the file.
        where: File and arrays of the values, for messages.

    Raises:
        DataError: If the arrays can't be read, differ in length, name a row twice or none of the samples.
    """
    columns = [file.strings(key) for key in keys]
    named = f"`{file.path}:{'+'.join(keys)}`"
    for column in columns:
        if len(column) != num_rows:
            raise DataError(
                f"{named} names {len(column)} samples, but `{where}` has {num_rows}; give one name to each."
            )
    names = ["_".join(parts) for parts in zip(*columns, strict=True)]
    index = {name: row for row, name in enumerate(names)}
    if len(index) != len(names):
        raise DataError(f"{named} {_twice(names)}; each sample has one row.")
    if names and not any(name in index for name in ids):
        raise DataError(
            f"{named} names none of the table's samples (`{names[0][:60]}`, where the table has `{ids[0][:60]}`)"
            f"{zeros_lost(ids, names)}; write the same ids in both."
        )
    return index


def _twice(names: Sequence[str]) -> str:
    """Say which names occur more than once and in which rows, counted from 1, as a part of a sentence."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names, start=1):
        rows.setdefault(name, []).append(row)
    several = {name: own for name, own in rows.items() if len(own) > 1}
    name, own = next(iter(several.items()))
    more = f", and {len(several) - 1} others likewise" if len(several) > 1 else ""
    often = "twice" if len(own) == 2 else f"{len(own)} times"
    places = ", ".join(map(str, own[:4])) + (", …" if len(own) > 4 else "")
    return f"names sample `{name[:60]}` {often}, in rows {places}{more}"


def _refuse_others(key: str, names: list[str], ids: Sequence[str], where: str) -> None:
    """Refuse to take rows in order beside an array that may name them and names other samples than the table."""
    wanted = set(ids)
    strangers = [name for name in names if name not in wanted]
    distinct = len(set(names)) == len(names)
    if len(strangers) < len(names):
        if _is_called_id(key) or distinct or 2 * len(strangers) < len(names):
            found = f"also `{strangers[0][:60]}`" if strangers else f"it {_twice(names)}"
            raise DataError(
                f"`{where}` lies beside the array `{key}`, which names samples of the table, but {found}; match the "
                f"rows by it, as in FILE:ARRAY#{key}, or correct it."
            )
        return
    numbers = zeros_lost(ids, names)
    # Numbers 1, 2, 3 that count the rows may also be the ids 003, 001, 002 without their zeros, in another order.
    if _are_row_numbers(names) and (not numbers or [_bare(name) for name in ids] == names):
        return
    plain = {_plainly(name) for name in ids}
    alike = sum(_plainly(name) in plain for name in names)
    # What repeats itself throughout names no rows: a video or speaker of several samples.
    if (2 * len(set(names)) > len(names) and _is_called_id(key)) or 2 * alike > len(names):
        raise DataError(
            f"`{where}` lies beside the array `{key}`, which calls its rows otherwise than the table does "
            f"(`{names[0][:60]}`, where that has `{ids[0][:60]}`){numbers}, so whose they are can't be "
            f"known; write the same ids in both, or leave `{key}` out of the file if its rows are in the table's order."
        )


def _are_row_numbers(names: Sequence[str]) -> bool:
    """Whether names only count the rows, from 0 or 1, so that they say the order in which the rows lie anyway."""
    return any(list(names) == [str(row + first) for row in range(len(names))] for first in (0, 1))


def zeros_lost(wanted: Sequence[str], found: Iterable[str]) -> str:
    """Say that ids differ in leading zeros (or a decimal point) alone, as where one side was read as numbers.

    Args:
        wanted: Ids of a table.
        found: Names of rows, arrays or files that should be the same.

    Returns:
        A part of a sentence; empty if that is not so.

    Examples:
        >>> zeros_lost(["001", "002"], ["1", "2", "3"])[:47]
        ': `001` and `1` are one number, written otherwi'
        >>> zeros_lost(["a1"], ["b1"])
        ''
    """
    known = set(wanted)
    bare = {_bare(name): name for name in found if name not in known}
    pair = next(((name, bare[_bare(name)]) for name in wanted if _bare(name) in bare), None)
    if pair is None:
        return ""
    return (
        f": `{pair[0][:60]}` and `{pair[1][:60]}` are one number, written otherwise, as where a column of ids was read "
        "as numbers and lost leading zeros"
    )


def _bare(name: str) -> str:
    """A name without what it loses or gets where it is read as a number; parts between other signs likewise."""
    return re.sub(r"(?<![0-9.])0+(?=[0-9])", "", re.sub(r"^(\d+)\.0+$", r"\1", name))


def _plainly(name: str) -> str:
    """A name without what differs where two programs write the same one: case, spaces, folders, a suffix."""
    name = re.split(r"[/\\]", unicodedata.normalize("NFKC", name).casefold().strip())[-1]
    return re.sub(r"(?:\.[a-z][a-z0-9]{1,4}|[\W_])+", "", name)


def naming_arrays(file: ArrayFile, used: Collection[str], num_rows: int) -> dict[str, list[str]]:
    """Return the arrays of a file that may name its rows: text, or whole numbers that are called ids.

    Args:
        file: The file.
        used: Arrays that hold something else; only arrays beside them and at the top of the file are looked at.
        num_rows: How many names there must be.

    Raises:
        DataError: If an array that is called ids can't be read.
    """
    folders = {"", *(key.rpartition("/")[0] for key in used)}
    keys = [key for key in file.keys() if key not in used and key.rpartition("/")[0] in folders]  # noqa: SIM118
    found = {}
    for key in sorted(keys, key=lambda key: (not _is_called_id(key), key))[:_MOST_ARRAYS]:
        try:
            called_id, shape = _is_called_id(key), file.shape(key)
            one_each = shape in ((num_rows,), (num_rows, 1), (1, num_rows))
            if not one_each and not (called_id and len(shape) == 2 and shape[0] == num_rows):
                continue
            kind = file.array(key).dtype.kind
            # Several texts to a row are names that can't be read; several numbers are something else.
            if kind in "SUO" if not called_id else kind != "b" and (one_each or kind in "SUO"):
                names = file.strings(key)
                if kind != "f" or all(re.fullmatch(r"-?\d+", name) for name in names):
                    found[key] = names
        except DataError as error:
            if _is_called_id(key):
                raise DataError(
                    f"{str(error).rstrip('.')}, and rows can't be taken in order beside ids that can't be read; or "
                    f"leave `{key}` out of the file if its rows are in the table's order."
                ) from error
            # What is called otherwise was not asked for.
            continue
    return found


def _is_called_id(key: str) -> bool:
    name = key.rpartition("/")[2].lower().rstrip("s")
    return any(name == known or name.endswith(("_" + known, "-" + known)) for known in _NAMES)
