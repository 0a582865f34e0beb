"""What the columns of a store's table may hold: each check names the sample at fault."""

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from qinn.data.stores.manifest import SPLITS
from qinn.errors import DataError

Column = Sequence[Any] | np.ndarray
"""One value per sample."""


def one_per_sample(ids: Sequence[str], name: str, values: Column | None) -> list[Any]:
    """Return the values of a column as plain Python values; empty strings where there is no column.

    Raises:
        DataError: If their number is not that of the samples.

    Examples:
        >>> one_per_sample(["a", "b"], "length", np.array([3, 4]))
        [3, 4]
    """
    values = [""] * len(ids) if values is None else list(values)
    if len(values) != len(ids):
        raise DataError(
            f"Column `{name}` must have one value per sample ({len(ids)}), but has {len(values)}."
        )
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def checked_ids(ids: list[str], taken: Container[str]) -> list[str]:
    """Return the ids, known to be non-empty, distinct and none of those taken.

    Raises:
        DataError: If one is empty or appears twice.
    """
    seen: set[str] = set()
    for identifier in ids:
        if not identifier:
            raise DataError("A sample has an empty id; every sample needs its own.")
        if identifier in taken or identifier in seen:
            raise DataError(f"Sample `{identifier}` appears twice; ids must be unique in a store.")
        seen.add(identifier)
    return ids


def checked_splits(ids: Sequence[str], splits: Column) -> list[str]:
    """Return the splits, known to be train, valid, test or empty.

    Raises:
        DataError: If one is something else.
    """
    splits = one_per_sample(ids, "split", splits)
    for identifier, split in zip(ids, splits, strict=True):
        if split not in SPLITS:
            raise DataError(
                f"Sample `{identifier}` has the split `{split}`; it must be train, valid, test or empty."
            )
    return splits


def checked_texts(ids: Sequence[str], name: str, values: Sequence[Any]) -> None:
    """Refuse text that no UTF-8 can hold: lone surrogates, and the impossible characters of a damaged array.

    Raises:
        DataError: Naming the sample.

    Examples:
        >>> checked_texts(["a", "b"], "text", ["fine", "\\ud800"])
        Traceback (most recent call last):
        qinn.errors.DataError: Sample `b` has characters in `text` that are no Unicode; correct the source.
    """
    texts = [value for value in values if isinstance(value, str)]
    if _is_unicode("".join(texts)):
        return
    for identifier, value in zip(ids, values, strict=True):
        if isinstance(value, str) and not _is_unicode(value):
            shown = ascii(identifier)[1:-1]
            raise DataError(
                f"Sample `{shown}` has characters in `{name}` that are no Unicode; correct the source."
            )


def _is_unicode(text: str) -> bool:
    try:
        # Both ways: an array of characters can hold numbers that Python encodes and nobody can decode.
        text.encode("utf-8").decode("utf-8")
    except UnicodeError:
        return False
    return True
