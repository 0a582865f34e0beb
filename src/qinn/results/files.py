"""Files of runs and comparisons: nothing half-done looks complete, and what is read has the digest it must have."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qinn.atomic_writing import complete_path
from qinn.data.files.parquet import open_parquet, read_parquet
from qinn.destinations import Product
from qinn.digests import bytes_digest, file_digest
from qinn.errors import CheckpointError
from qinn.escaping import json_text, visible
from qinn.file_kinds import other_kind_of
from qinn.opening import SMALL_BYTES, read_small

_MAKER = "qinn.command"
_MOST_TABLE_BYTES = 2**31
_REPEAT = "the run folder is damaged, repeat the run"


def write_atomically(path: Path, write: Callable[[Path], object], *, overwrite: bool = True) -> None:
    """Write a file under another name and rename it when it is complete.

    Args:
        path: The file to be.
        write: Writes to the path that it is given.
        overwrite: Whether a file that is there is replaced.

    Raises:
        OutputError: If the folder cannot be written (permissions, full disk), or the place is taken.
    """
    with complete_path(path, overwrite=overwrite) as temporary:
        write(temporary)


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN is refused, since no JSON reader need accept it.

    A document that is to be checked when it is read is given as `qinn.digests.sealed` returns it.
    """
    text = json_text(content) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def write_text(path: Path, text: str, *, overwrite: bool = True) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"), overwrite=overwrite)


def write_table(
    path: Path, columns: Mapping[str, object], *, maker: str = "", overwrite: bool = True
) -> None:
    """Write columns as a Parquet file, atomically, with the command that makes it among its metadata."""
    table = pa.table(dict(columns))
    if maker:
        table = table.replace_schema_metadata(table_metadata(maker))
    write_atomically(path, lambda target: pq.write_table(table, target), overwrite=overwrite)


def table_metadata(maker: str) -> dict[str, str]:
    """Return what says in a Parquet file which command made it."""
    return {_MAKER: maker}


def table_of(command: str) -> Product:
    """Return the tables of a command, which name it in their metadata (see `write_table`)."""

    def is_own(path: Path) -> bool:
        try:
            with open_parquet(path) as parquet:
                return (parquet.schema_arrow.metadata or {}).get(_MAKER.encode()) == command.encode()
        except pa.ArrowException:
            return False

    return Product(command, is_own)


def check_files(document: Path, digests: Mapping[str, str], *, remedy: str = _REPEAT) -> None:
    """Make sure that the files that a document names are those that it means.

    Args:
        document: The document, in the folder from which the paths start.
        digests: Path → SHA-256.
        remedy: What to do about one that is missing.

    Raises:
        CheckpointError: If one is missing or another, or lies outside of that folder.
    """
    check_inside(document, digests)
    for name, digest in digests.items():
        path = document.parent / name
        try:
            found = file_digest(path)
        except OSError as error:
            raise unreadable(path, error, remedy=remedy) from None
        if found != digest:
            raise foreign(path, found, digest)


def check_inside(document: Path, names: Iterable[str]) -> None:
    """Refuse a document that leads out of its folder: whoever gives a folder away names nothing beside it.

    Args:
        document: The document.
        names: Paths that it states, from its own folder.

    Raises:
        CheckpointError: If one is absolute or climbs.
    """
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
            raise CheckpointError(
                f"`{document}` names `{visible(name)}`, which lies outside of its folder; the folder is damaged, get "
                "it anew."
            )


def digests_of(folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """Return the digest of each file by its path from a folder; files that are not there are left out."""
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files if path.is_file()}


_MAY_BE = ("text", "parquet", "safetensors", "zip", "torch", "pickle")
"""What the files of a run are; one of another kind was never written with it."""


def read_bytes(
    path: Path, digest: str | None = None, *, most_bytes: int = SMALL_BYTES, remedy: str = _REPEAT
) -> bytes:
    """Read a file of a run.

    Args:
        path: The file.
        digest: SHA-256 that it must have; None where it is not known.
        most_bytes: What it may have.
        remedy: What to do about one that cannot be read.

    Raises:
        CheckpointError: If it is missing, no regular file or too large, or has another digest.
    """
    try:
        content = read_small(path, most_bytes)
    except OSError as error:
        raise unreadable(path, error, remedy=remedy) from None
    if digest is not None and (found := bytes_digest(content)) != digest:
        if (other := other_kind_of(content, path, _MAY_BE)) is not None:
            raise CheckpointError(f"`{path}` is no file of a run but {other}.")
        raise foreign(path, found, digest)
    return content


def unreadable(path: Path, error: OSError, *, remedy: str = _REPEAT) -> CheckpointError:
    """Return the error of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return CheckpointError(f"`{path}` is missing; {remedy}.")
    reason = error.strerror or error
    return CheckpointError(f"`{path}` cannot be read ({reason}); {remedy}.")


def foreign(path: Path, found: str, digest: str) -> CheckpointError:
    """Return the error of a file that has another hash."""
    return CheckpointError(
        f"`{path}` is not the file that was written with this run: its hash is {found[:12]}…, not {digest[:12]}…, so "
        "it was changed or is of another run; put the right file back or repeat the run."
    )


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    return json_of(read_bytes(path), path)


def json_of(content: bytes, path: Path, *, remedy: str = _REPEAT) -> Any:
    """Return what JSON holds.

    Args:
        content: What was read.
        path: Where, for messages.
        remedy: What to do about what is none.

    Raises:
        CheckpointError: If it is none.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if (other := other_kind_of(content, path, ("text",))) is not None:
            raise CheckpointError(f"`{path}` is no JSON but {other}; {remedy}.") from error
        raise CheckpointError(f"`{path}` cannot be read ({error}); {remedy}.") from error


def read_table(path: Path, digest: str | None = None) -> pa.Table:
    """Read a Parquet file of a run.

    Raises:
        CheckpointError: If it is missing, damaged or not the one with the digest.
    """
    content = read_bytes(path, digest, most_bytes=_MOST_TABLE_BYTES)
    try:
        return read_parquet(content)
    except (OSError, pa.ArrowException) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({' '.join(str(error).split())}); {_REPEAT}."
        ) from error
