"""Which row of an array belongs to which sample, where the file names its rows and nobody said by what array."""

from collections.abc import Collection, Sequence

import numpy as np

from qinn.data.files.arrays import ArrayFile
from qinn.errors import DataError

__all__ = ["naming_arrays", "rows_in_order"]

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
        DataError: If the numbers of samples differ, or the file names some of the samples and others.
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
    notes = []
    for key, names in named.items():
        strangers = [name for name in names if name not in wanted]
        if len(strangers) == len(names):
            if _is_called_id(key):
                notes.append(
                    f"`{modality}`: rows were taken in the table's order; the array `{key}` calls them otherwise "
                    f"than the table does (`{names[0][:60]}`, where that has `{ids[0][:60]}`)"
                )
            continue
        if _is_called_id(key) or 2 * len(strangers) < len(names):
            found = f"also `{strangers[0][:60]}`" if strangers else "some of them twice"
            raise DataError(
                f"`{where}` lies beside the array `{key}`, which names samples of the table, but {found}; match the "
                f"rows by it, as in FILE:ARRAY#{key}, or correct it."
            )
    return np.arange(num_rows), notes


def naming_arrays(file: ArrayFile, used: Collection[str], num_rows: int) -> dict[str, list[str]]:
    """Return the arrays of a file that may name its rows: text, or whole numbers that are called ids.

    Args:
        file: The file.
        used: Arrays that hold something else; only arrays beside them and at the top of the file are looked at.
        num_rows: How many names there must be.
    """
    folders = {"", *(key.rpartition("/")[0] for key in used)}
    found = file.keys()
    keys = [key for key in found if key not in used and key.rpartition("/")[0] in folders]
    found = {}
    for key in sorted(keys, key=lambda key: (not _is_called_id(key), key))[:_MOST_ARRAYS]:
        try:
            shape = file.shape(key)
            if not shape or shape[0] != num_rows or shape not in ((num_rows,), (num_rows, 1)):
                continue
            array = file.array(key)
            if array.dtype.kind in "SUO" or (array.dtype.kind in "iu" and _is_called_id(key)):
                values = np.asarray(array[...]).reshape(-1).tolist()
                found[key] = [
                    value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    for value in values
                ]
        except DataError:
            # What cannot be read was not asked for.
            continue
    return found


def _is_called_id(key: str) -> bool:
    name = key.rpartition("/")[2].lower().rstrip("s")
    return any(name == known or name.endswith(("_" + known, "-" + known)) for known in _NAMES)
