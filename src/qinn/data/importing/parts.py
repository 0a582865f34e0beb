"""Sources in parts, one for each split: what is checked and noted of them, and their columns after each other.

A part has a length and says `where` it is, for messages, its `key` in the source and its `split`, the features of its
modalities (`dims`), whether these are `aligned`, and its `extra` columns.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qinn.errors import DataError

__all__ = ["check_parts", "joined_columns", "notes_of_parts"]


def check_parts(source: Path, parts: Sequence[Any]) -> None:
    """Refuse parts that do not fit each other.

    Raises:
        DataError: If two are of one split, or differ in their modalities, features or alignment.
    """
    splits = [part.split for part in parts]
    if len(set(splits)) != len(splits):
        raise DataError(f"`{source}` has two parts for one split: {', '.join(part.key for part in parts)}.")
    first = parts[0]
    for part in parts[1:]:
        for name, dim in first.dims.items():
            if name not in part.dims:
                raise DataError(f"{part.where} lacks `{name}`, which {first.where} has; leave it out.")
            if part.dims[name] != dim:
                raise DataError(
                    f"{part.where} has {part.dims[name]} features in `{name}`, but {first.where} has {dim}."
                )
        if part.aligned != first.aligned:
            raise DataError(f"{part.where} and {first.where} differ in whether their modalities are aligned.")


def notes_of_parts(parts: Sequence[Any], official: Mapping[tuple[int, int, int], str]) -> list[str]:
    """Say whether modalities are aligned, and whose sizes the splits have.

    Args:
        parts: The parts.
        official: Sizes of train, valid and test → data set.
    """
    sizes = {part.split: len(part) for part in parts}
    counts = (sizes.get("train", 0), sizes.get("valid", 0), sizes.get("test", 0))
    known = (
        f"are the official ones of {official[counts]}"
        if counts in official
        else "are not those of a known official split"
    )
    return [
        "modalities are aligned step by step" if parts[0].aligned else "modalities are not aligned",
        f"split sizes {' / '.join(map(str, counts))} {known}",
    ]


def joined_columns(parts: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of the parts of a source after each other, as `Samples` takes them.

    Args:
        parts: Each with columns by these names, one entry per sample.
        names: Of the columns.
    """
    columns: dict[str, Any] = {
        name: [value for part in parts for value in getattr(part, name)] for name in names
    }
    columns["splits"] = [part.split for part in parts for _ in range(len(part))]
    known = dict.fromkeys(key for part in parts for key in part.extra)
    columns["extra"] = {
        key: [value for part in parts for value in part.extra.get(key, [None] * len(part))] for key in known
    }
    return columns
