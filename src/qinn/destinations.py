"""Where a command may write: free places and its own products; what is another's, only when told to, or never.

Three rules, looked at before a command does its work:

- What the same command made is replaced; it is recognised by a mark in the file itself (see `Product`).
- A file of a store, a run or a comparison, and what the command itself reads, is never replaced.
- Everything else is replaced only where the user asks for it by ``--overwrite``.

Links are followed first, so that neither they nor ``..`` hide what a place is; a file is then written where the link
points.
"""

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qinn.errors import OutputError
from qinn.opening import open_regular, read_small

_HEAD = 4096
_TAIL = 512
_TRIED = 4096
RUN_FILES = {
    "run.json",
    "config.yaml",
    "transformers.json",
    "recipe.json",
    "reference.json",
    "metrics.json",
    "predictions.parquet",
    "explanation.parquet",
    "explanation.json",
    "folds",
}
"""What `qinn train` writes into the folder of a run."""
_COMPARISON_FILES = {"comparison.json", "config.yaml", "table.md"}


@dataclass(frozen=True)
class Product:
    """What a command makes, and how it is known again.

    Attributes:
        command: The command, for messages.
        is_own: Tells of an existing regular file whether the command made it; None where that is never taken for
            leave to replace it.
    """

    command: str
    is_own: Callable[[Path], bool] | None = None


def marked(command: str, mark: str) -> Product:
    """Return a product that is known by words in its first or last bytes.

    Args:
        command: The command, for messages.
        mark: The words.

    Examples:
        >>> import tempfile
        >>> page = Path(tempfile.mkdtemp()) / "a.html"
        >>> _ = page.write_text("<!-- made by qinn explain -->")
        >>> product = marked("qinn explain", "made by qinn explain")
        >>> check_destination(page, product).replaces
        True
    """
    wanted = mark.encode()

    def is_own(path: Path) -> bool:
        with open_regular(path) as stream:
            head = stream.read(_HEAD)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            return wanted in head or wanted in stream.read()

    return Product(command, is_own)


def witness_of(path: Path) -> Path:
    """Return the hidden file that bears witness of a file which cannot carry a mark itself."""
    return path.with_name(f".{path.name}.qinn")


def witness(content: bytes, command: str, path: Path) -> str:
    """Return what a witness says that is written before its file: the command, and the hash of what it is to hold.

    The hash of what it holds until then, if a witness says that too, stands beside it: whenever the command is killed,
    the file is one of the two, and still known as its own.

    Args:
        content: What is to be written.
        command: The command.
        path: The file.
    """
    said = {"made by": command, "sha256": hashlib.sha256(content).hexdigest()}
    with suppress(OSError, ValueError):
        if is_witnessed(path):
            said["before"] = _hash_of(path)
    return json.dumps(said) + "\n"


def is_witnessed(path: Path) -> bool:
    """Tell whether a file is byte for byte what the witness beside it says that a command wrote."""
    said = json.loads(read_small(witness_of(path), _HEAD))
    return isinstance(said, dict) and _hash_of(path) in (said.get("sha256"), said.get("before"))


def _hash_of(path: Path) -> str:
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Destination:
    """A place that was checked.

    Attributes:
        path: The place, with links followed.
        replaces: Whether a file is there that is to be replaced.
    """

    path: Path
    replaces: bool


def check_destination(
    target: Path | str, product: Product, *, overwrite: bool = False, inputs: Iterable[Path | str] = ()
) -> Destination:
    """Check the place of a file before the work whose result it will hold.

    Args:
        target: The file to be.
        product: What it will be.
        overwrite: Whether the user asks to replace what another program made.
        inputs: Files and folders that the command reads.

    Returns:
        Where to write.

    Raises:
        OutputError: If something is there that must not, or not without asking, be replaced, or the place cannot
            be written.

    Examples:
        >>> check_destination(__file__, marked("qinn report", "no such words" * 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        qinn.errors.OutputError: `...` exists already and was not made by `qinn report`; choose another place, or ...
    """
    place = resolved(target)
    _check_writable(place.parents, target)
    if place.is_dir():
        raise OutputError(f"`{target}` is a folder; name the file to be written.")
    status = _status(place)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise OutputError(
            f"`{target}` is no regular file, so nothing is written there; choose another place."
        )
    _check_inputs(place, target, inputs)
    _check_owner(place, target, product, exists=status is not None)
    if status is None:
        return Destination(place, replaces=False)
    if not overwrite and not _is_own(product, place):
        foreign = f" and was not made by `{product.command}`" if product.is_own else ""
        raise OutputError(
            f"`{target}` exists already{foreign}; choose another place, or replace it with `--overwrite`."
        )
    return Destination(place, replaces=True)


def check_folder(
    target: Path | str,
    *,
    inputs: Iterable[Path | str] = (),
    writes: Literal["inside", "beside", "nothing"] = "inside",
) -> Path:
    """Check the place of a folder that a command fills: not inside a store or a run, and not what it reads.

    Args:
        target: The folder to be.
        inputs: Files and folders that the command reads.
        writes: Where: inside the folder; beside it, where it takes its place complete; or nothing, where all is there.

    Returns:
        The place, with links followed.

    Raises:
        OutputError: If it must not be there or cannot be written.
    """
    place = resolved(target)
    status = _status(place)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise OutputError(f"`{target}` is a file, but a folder is to be written; choose another place.")
    if writes != "nothing":
        _check_writable([place, *place.parents] if writes == "inside" else place.parents, target)
    for given in inputs:
        source = _source(given)
        if source == place or (status is not None and place in source.parents):
            raise OutputError(f"`{target}` holds what this command reads (`{given}`); choose another place.")
    for folder in place.parents:
        kind = kind_of(folder)
        if kind in ("store", "run"):
            raise OutputError(f"`{target}` lies inside the {kind} `{folder}`; choose another place.")
    return place


def resolved(target: Path | str) -> Path:
    """Return an absolute path without links and dots.

    Args:
        target: Any path; its end need not exist.

    Raises:
        OutputError: If no file can have it, or its links go in a circle.
    """
    try:
        os.fspath(target).encode()
        place = Path(os.path.realpath(target))
        _status(place)
        return place
    except ValueError:
        shown = os.fspath(target).encode("unicode_escape", "replace").decode()
        raise OutputError(f"`{shown}` has a character that no path can have; choose another place.") from None
    except (OSError, RuntimeError) as error:
        raise OutputError(f"`{target}` cannot be followed ({error}); choose another place.") from None


def kind_of(folder: Path) -> str | None:
    """Say whether a folder is a store, a run (also an unfinished one) or a comparison; None if neither."""
    if (folder / "manifest.json").exists() and (
        (folder / "samples.parquet").exists() or _says(folder / "manifest.json", '"qinn-store"')
    ):
        return "store"
    configured = (folder / "config.yaml").exists() or (folder / "run.json").exists()
    if (configured and (folder / "folds").is_dir()) or _says(folder / "run.json", '"qinn-run"'):
        return "run"
    return "comparison" if _says(folder / "comparison.json", '"qinn-comparison"') else None


def _says(path: Path, words: str) -> bool:
    try:
        with open_regular(path) as stream:
            return words.encode() in stream.read(_HEAD)
    except OSError:
        return False


def _status(place: Path) -> os.stat_result | None:
    try:
        return place.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(
                f"A part of the path `{str(place)[:80]}…` is too long for this file system; choose a shorter name."
            ) from None
        return None


def _is_own(product: Product, place: Path) -> bool:
    try:
        return product.is_own is not None and product.is_own(place)
    except (OSError, ValueError):
        return False


def _check_writable(folders: Iterable[Path], target: Path | str) -> None:
    """Refuse a place whose nearest folder is a file or cannot be written, before anything is computed for it."""
    for folder in folders:
        if folder.is_dir():
            if (reason := _refusal(folder)) is not None:
                raise OutputError(f"Cannot write `{target}`: {reason}.")
            return
        if _status(folder) is not None:
            raise OutputError(
                f"Cannot write `{target}`: `{folder}` is a file; choose a folder that can be written."
            )


def _refusal(folder: Path) -> str | None:
    """Say why nothing can be written into a folder, and what to do; None where something can.

    A file is written, since permissions do not say everything: a system administrator has them all, and a file system
    of the system's own, or a full one, takes nothing even so.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"permission denied in `{folder}`; choose a folder that can be written"
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".qinn-") as stream:
            stream.write(b"\0" * _TRIED)
    except OSError as error:
        # Where there is no such file, none could be made.
        if error.errno == errno.ENOENT:
            return f"no file can be made in `{folder}`; choose a folder that can be written"
        why = (error.strerror or str(error)).lower()
        return f"{why} in `{folder}`; free space or choose a folder that can be written"
    return None


def _check_inputs(place: Path, target: Path | str, inputs: Iterable[Path | str]) -> None:
    for given in inputs:
        source = _source(given)
        if place == source or any(_is_same(place, file) for file in _files_of(source)):
            raise OutputError(
                f"`{target}` is what this command reads (`{given}`), so it is not replaced; choose another place."
            )


def _source(given: Path | str) -> Path:
    """Return where what is read lies, less strictly than a place to write: its name may be no UTF-8."""
    try:
        return Path(os.path.realpath(given))
    except ValueError:  # no file can have it, as whoever reads it says
        return Path(given)


def _files_of(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
    elif kind_of(place) is not None:
        for folder, _, names in os.walk(place):
            yield from (Path(folder) / name for name in names)


def _is_same(place: Path, other: Path) -> bool:
    """Tell whether two names are of one file: by a hard link, or by a link inside what is read."""
    try:
        return place != other and place.samefile(other)
    except OSError:
        return False


def _check_owner(place: Path, target: Path | str, product: Product, *, exists: bool) -> None:
    """Refuse to touch the files of the nearest store, run or comparison around a place."""
    for folder in place.parents:
        kind = kind_of(folder)
        if kind is None:
            continue
        first = place.relative_to(folder).parts[0].casefold()
        taken = {"run": RUN_FILES, "comparison": _COMPARISON_FILES}.get(kind)
        if taken is None or first in taken or (exists and not _is_own(product, place)):
            raise OutputError(
                f"`{target}` belongs to the {kind} `{folder}`, whose files no other command replaces; choose another "
                "place."
            )
        return


def check_destinations(
    folder: Path | str,
    products: Sequence[tuple[str, Product]],
    *,
    overwrite: bool = False,
    inputs: Iterable[Path | str] = (),
) -> Path:
    """Check the places of several files of one folder.

    Args:
        folder: The folder, which need not exist.
        products: Name of each file and what it will be.
        overwrite: See `check_destination`.
        inputs: See `check_destination`.

    Returns:
        The folder, with links followed.

    Raises:
        OutputError: See `check_destination`; also if the folder is a file.
    """
    place, given = resolved(folder), list(inputs)
    if _status(place) is not None and not place.is_dir():
        raise OutputError(f"`{folder}` is a file, but a folder is to be written; choose another place.")
    for name, product in products:
        check_destination(Path(folder) / name, product, overwrite=overwrite, inputs=given)
    return place
