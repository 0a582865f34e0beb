"""JSON documents as typed records: one way in, checked, and one way out."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from qinn.digests import OWN_DIGEST, is_intact, sealed
from qinn.errors import CheckpointError, QinnError
from qinn.formats import check_format
from qinn.results.as_json import FILES, document
from qinn.results.files import json_of, read_bytes, write_json

T = TypeVar("T")


def write_document(path: Path, record: object) -> None:
    """Write a record as JSON that keeps its own digest."""
    write_json(path, sealed(document(record)))


def read_document(
    path: Path,
    kind: type[T],
    *,
    format: str,
    what: str,
    newest: int,
    remedy: str,
) -> T:
    """Read a document that keeps its own digest, known to be what was written.

    Args:
        path: The file.
        kind: Its record.
        format: What it must say that it is.
        what: The same in words.
        newest: Newest version of the format; the first had no digests.
        remedy: What to do about a damaged one.

    Raises:
        CheckpointError: If it is missing, of another format or version, was changed, or lacks something.
    """
    content = read_bytes(path, remedy=remedy)
    found = object_of(json_of(content, path, remedy=remedy))
    if found is None or found.get("format") != format:
        raise CheckpointError(f"`{path}` does not describe {what}; check the path.")
    check_format(path, found, range(1, newest + 1), remedy=remedy, error=CheckpointError)
    check_document(path, found, remedy=remedy)
    return parsed(content, path, kind, remedy=remedy)


def parsed(content: bytes, path: Path, kind: type[T], *, remedy: str) -> T:
    """Return JSON as a record, every value of the type that its field has.

    Args:
        content: What was read.
        path: Where, for messages.
        kind: The record; keys that it does not have are left alone.
        remedy: What to do about a damaged one.

    Raises:
        CheckpointError: If it lacks something or holds something else.
    """
    try:
        return _adapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise CheckpointError(f"`{path}` cannot be read ({first['msg']}); {remedy}.") from error
        where = ".".join(map(str, first["loc"])) or "the document"
        raise CheckpointError(
            f"`{path}` lacks or contradicts something (`{where}`: {first['msg'].lower()}); {remedy}."
        ) from error
    except QinnError as error:
        raise CheckpointError(f"`{path}` lacks or contradicts something ({error}); {remedy}.") from error


def object_of(content: object) -> dict[str, object] | None:
    """Return what JSON holds if it is an object, else None."""
    return cast(dict[str, object], content) if isinstance(content, dict) else None


@cache
def _adapter(kind: type) -> Any:
    return TypeAdapter(kind)


def check_document(path: Path, content: Mapping[str, object], *, remedy: str) -> None:
    """Make sure that a JSON document of a version with digests is what was written; version 1 has none.

    Raises:
        CheckpointError: If it is something else.
    """
    if content.get("version") == 1 and OWN_DIGEST not in content and FILES not in content:
        return
    digests = object_of(content.get(FILES))
    well_formed = digests is not None and all(isinstance(value, str) for value in digests.values())
    if not well_formed or not is_intact(content):
        raise CheckpointError(
            f"`{path}` is not what was written: its content does not have the hash that it states; {remedy}."
        )
