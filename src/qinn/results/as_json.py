"""Records as JSON holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

FILES = "files"
"""Key under which a document keeps the digests of files: path from its own folder → SHA-256."""

OPTIONAL: Mapping[str, bool] = {"optional": True}
"""Metadata of a field that is left out of the document where it is None or False."""

OUTSIDE: Mapping[str, bool] = {"outside": True}
"""Metadata of a field that is never in the document."""


def document(record: object) -> dict[str, object]:
    """Return a record as JSON holds it, its fields in their order.

    Args:
        record: A dataclass; fields with the metadata `OPTIONAL` are left out where they are None or False, those with
            `OUTSIDE` always, and a ``key`` renames one.
    """
    found: dict[str, object] = {}
    for one in fields(cast(Any, record)):
        value = getattr(record, one.name)
        if one.metadata.get("outside") or (
            one.metadata.get("optional") and (value is None or value is False)
        ):
            continue
        found[one.metadata.get("key", one.name)] = plain(value)
    if FILES in found:  # the longest part last
        found[FILES] = found.pop(FILES)
    return found


def plain(value: object) -> object:
    """Return records, mappings and sequences as dictionaries and lists, all the way down."""
    if is_dataclass(value) and not isinstance(value, type):
        return document(value)
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in cast(Mapping[str, object], value).items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in cast(Sequence[object], value)]
    return value
