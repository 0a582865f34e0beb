"""What a file or folder holds, in a few lines, without reading its arrays; bounded in time and memory.

Of huge or hostile files the beginning is described: so many entries, so many lines, so many levels.
"""

import csv
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qinn.data.files.arrays import Hdf5File, open_arrays
from qinn.data.files.delimiters import DELIMITERS, delimiter_of, is_headless
from qinn.data.files.numerals import counted
from qinn.data.files.parquet import open_parquet
from qinn.data.files.pickles.reading import open_pickle
from qinn.data.files.text_lines import text_lines
from qinn.errors import ConfigError, DataError
from qinn.file_kinds import DAMAGED_ARCHIVE, file_kind
from qinn.opening import UnsuitableFileError, check_regular, open_regular, read_small
from qinn.resources import shown_size
from qinn.yaml_files import read_yaml

__all__ = ["Contents", "contents_of"]

MOST_LINES = 40
"""Lines that describe a file at most."""
MOST_INSTRUCTIONS = 2_000_000
"""Instructions of a pickle that are followed: some seconds."""
_MOST_ENTRIES = 10_000
_MOST_KEYS = 12
_DEPTH = 4
_ROWS = 3
_CELL = 30
_COUNTED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Contents:
    """What a file or folder holds.

    Attributes:
        title: What it is, and its size.
        lines: What is in it; further levels are indented.
        content: What is in a pickle, without the values of its arrays.
        columns: Names of the columns of a table.
        arrays: Names of the arrays that can be features, of a file of arrays.
        remedy: What to do about a file that is not read, as the end of a sentence.
    """

    title: str
    lines: tuple[str, ...] = ()
    content: Any = None
    columns: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    remedy: str = ""


def contents_of(path: Path | str) -> Contents:
    """Describe a file or folder.

    Args:
        path: Where it lies.

    Raises:
        DataError: If it is missing, no regular file, or damaged.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "clips.csv"
        >>> _ = file.write_text("id;label\\na;0.5\\n")
        >>> found = contents_of(file)
        >>> print(found.title, *found.lines, sep="\\n")
        a table of 1 row and 2 columns, divided by semicolons (15 bytes)
        id: a
        label: 0.5
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    try:
        size = check_regular(path).st_size
        kind = file_kind(path)
    except FileNotFoundError:
        raise DataError(f"`{path}` does not exist.") from None
    except OSError as error:
        raise DataError(f"`{path}` can't be read: {error.strerror}.") from error
    suffix = path.suffix.lower()
    described = _DESCRIBED.get("" if kind is None else kind.name)
    if suffix in (".csv", ".tsv") and (kind is None or kind.name == "text"):
        described = _table
    elif suffix in (".pkl", ".pickle") and (kind is None or kind.name == "text"):
        described = _pickle
    elif suffix in (".yaml", ".yml", ".json") and kind is not None and kind.name == "text":
        described = _keys
    if described is None:
        title = "a file of a kind that is not known" if kind is None else kind.title
        return Contents(f"{title} ({shown_size(size)})", remedy="" if kind is None else kind.remedy_of(path))
    try:
        title, lines, more = described(path)
    except (*DAMAGED_ARCHIVE, pa.ArrowException, MemoryError) as error:
        raise DataError(f"`{path}` is damaged ({' '.join(str(error).split())[:200]}).") from error
    shown = tuple(islice(lines, MOST_LINES + 1))
    if len(shown) > MOST_LINES:
        shown = (*shown[:-1], "…")
    return Contents(f"{title} ({shown_size(size)})", shown, **more)


_Described = tuple[str, Iterator[str], dict[str, Any]]


def _folder(path: Path) -> Contents:
    kinds: Counter[str] = Counter()
    files: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    around: list[str] = []
    try:
        with os.scandir(path) as found:
            entries = list(islice(found, _MOST_ENTRIES + 1))
    except OSError as error:
        raise DataError(f"`{path}` can't be read: {error.strerror}.") from error
    for entry in entries:
        try:
            place = folders if entry.is_dir() else files if entry.is_file() else others
        except OSError:  # a link to itself
            place = others
        if (
            place is folders
            and entry.is_symlink()
            and path.resolve().is_relative_to(Path(entry.path).resolve())
        ):
            around.append(entry.name)
            continue
        place.append(entry.name)
        if place is files:
            kinds[Path(entry.name).suffix.lower() or "without a suffix"] += 1
    more = "more than " if len(entries) > _MOST_ENTRIES else ""
    lines = [f"{counted(count, 'file')} {suffix}" for suffix, count in kinds.most_common(_MOST_KEYS)]
    lines += [f"file {name}" for name in sorted(files)[:_MOST_KEYS]]
    lines += [f"folder {name}/{_inside(path / name)}" for name in sorted(folders)[:_MOST_KEYS]]
    lines += [f"{name}/: a link to the folder that it lies in" for name in sorted(around)[:_MOST_KEYS]]
    lines += [f"{name}: {_why_none(path / name)}" for name in sorted(others)[:_MOST_KEYS]]
    return Contents(
        f"a folder of {more}{counted(len(files), 'file')} and {counted(len(folders), 'folder')}",
        tuple(lines[:MOST_LINES]),
    )


def _why_none(path: Path) -> str:
    """Say what an entry of a folder is that is neither a file nor a folder."""
    try:
        check_regular(path)
    except FileNotFoundError:
        return "a link to nothing"
    except UnsuitableFileError as error:
        return str(error)
    except OSError:
        return "a link to itself"
    return "a file"


def _inside(path: Path) -> str:
    try:
        with os.scandir(path) as found:
            suffixes = Counter(Path(entry.name).suffix.lower() for entry in islice(found, _MOST_ENTRIES))
    except OSError:
        return ""
    return f" ({', '.join(f'{count} {suffix}'.strip() for suffix, count in suffixes.most_common(3))})"


def _table(path: Path) -> _Described:
    delimiter = delimiter_of(path)
    rows = list(islice(csv.reader(text_lines(path), delimiter=delimiter), 1 + _ROWS))
    header = [name.strip() for name in rows[0]] if rows else []
    headless = is_headless(header)
    count = _lines_of(path) - (not headless)
    lines = [
        f"{f'column {at + 1}' if headless else name}: "
        + ", ".join(row[at][:_CELL] for row in rows[not headless :] if at < len(row))
        for at, name in enumerate(header)
    ]
    if headless:
        lines.insert(0, "no header: its first line looks like a sample; name the columns by `--columns`")
    title = (
        f"a table of {counted(count, 'row')} and {counted(len(header), 'column')}, divided by "
        f"{DELIMITERS[delimiter]}"
    )
    return title, iter(lines), {"columns": tuple(header)}


def _lines_of(path: Path) -> int:
    """Count the lines of a text, or estimate their number where it is long."""
    counted = read = 0
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        last = b""
        while read < _COUNTED_BYTES and (piece := stream.read(2**20)):
            counted, read, last = counted + piece.count(b"\n"), read + len(piece), piece
    whole = counted + (not last.endswith(b"\n") and bool(last))
    return whole if read >= size else int(counted * size / read)


def _parquet(path: Path) -> _Described:
    with open_parquet(path) as parquet:
        schema, num_rows = parquet.schema_arrow, parquet.metadata.num_rows
    names = tuple(schema.names[:_MOST_ENTRIES])
    lines = (f"{name}: {schema.field(at).type}" for at, name in enumerate(names))
    return (
        f"a table (parquet) of {counted(num_rows, 'row')} and {counted(len(schema.names), 'column')}",
        lines,
        {"columns": names},
    )


def _arrays(path: Path) -> _Described:
    suffix = {"npz": ".npz", "npy": ".npy"}.get(((kind := file_kind(path)) and kind.name) or "", "")
    if path.suffix.lower() != suffix:
        return f"{kind.title if kind else 'arrays'} that is not called so", iter(()), {}
    with open_arrays(path) as arrays:
        keys = arrays.keys()
        found = [(key, arrays.shape(key), arrays.kind(key)) for key in keys[:MOST_LINES]]
    lines = (f"{key or 'array'}: {shape} {kind}" for key, shape, kind in found)
    columns = tuple(key for key, shape, _ in found if len(shape) == 1)
    what = "npz archive" if suffix == ".npz" else "npy file"
    return (
        f"an {what} of {counted(len(keys), 'array')}" if suffix == ".npz" else f"a {what}",
        lines,
        {"columns": columns, "arrays": tuple(key for key, shape, _ in found if len(shape) in (2, 3))},
    )


def _hdf5(path: Path) -> _Described:
    file = Hdf5File(path)
    with file:
        found, is_all = file.first_datasets(_MOST_ENTRIES)
    lines = [f"{key}: {shape} {kind}" for key, shape, kind in found]
    groups = Counter(key.rpartition("/")[0] for key, _, _ in found)
    # One dataset for each sample: the first few say what all look like.
    if len(found) > MOST_LINES:
        lines = [f"group {name or '/'}: {count} datasets" for name, count in groups.most_common(_MOST_KEYS)]
        lines += [f"{key}: {shape} {kind}" for key, shape, kind in found[:_MOST_KEYS]]
    more = "" if is_all else "more than "
    wide = tuple(key for key, shape, _ in found if len(shape) in (2, 3))
    # Many datasets of one group are one for each sample.
    arrays = wide if len(wide) <= _MOST_KEYS else tuple(name for name in groups if name)
    return f"an HDF5 file of {more}{counted(len(found), 'dataset')}", iter(lines), {"arrays": arrays}


def _pickle(path: Path) -> _Described:
    content = open_pickle(path, sketch=True, most_instructions=MOST_INSTRUCTIONS).content
    return f"a pickle of {_named(content)}", _structure(content), {"content": content}


def _named(value: Any) -> str:
    """Say what a value is, without what is in it."""
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype}"
    if isinstance(value, Mapping):
        return f"a dict of {counted(len(value), 'key')}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str | bytes):
        return f"{type(value).__name__} {str(value[:_CELL])!r}" + ("…" if len(value) > _CELL else "")
    return f"{type(value).__name__} {str(value)[:_CELL]}"


def _structure(value: Any, indent: str = "", depth: int = 0) -> Iterator[str]:
    """Go through what is in a value: the keys of dicts, the first entry of lists, each part of a short tuple."""
    if depth >= _DEPTH:
        return
    if isinstance(value, Mapping):
        for key, inner in islice(value.items(), _MOST_KEYS):
            yield f"{indent}{str(key)[:60]}: {_named(inner)}"
            yield from _structure(inner, indent + "  ", depth + 1)
        if len(value) > _MOST_KEYS:
            yield f"{indent}… and {len(value) - _MOST_KEYS} more keys"
    elif isinstance(value, list) and value and not isinstance(value[0], str | bytes | int | float):
        yield f"{indent}first: {_named(value[0])}"
        yield from _structure(value[0], indent + "  ", depth + 1)
    elif isinstance(value, tuple):
        for at, inner in enumerate(value[:_MOST_KEYS]):
            yield f"{indent}[{at}]: {_named(inner)}"
            yield from _structure(inner, indent + "  ", depth + 1)


def _keys(path: Path) -> _Described:
    try:
        content = json.loads(read_small(path)) if path.suffix.lower() == ".json" else read_yaml(path)
    except (ValueError, RecursionError, ConfigError):
        return f"a text that is no {path.suffix[1:].upper()}", iter(()), {}
    what = "JSON" if path.suffix.lower() == ".json" else "YAML"
    return f"a text in {what}: {_named(content)}", _structure(content), {}


def _safetensors(path: Path) -> _Described:
    with open_regular(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(min(length, 2**24)))
    entries = {key: one for key, one in header.items() if isinstance(one, dict) and "shape" in one}
    lines = (f"{key}: {tuple(one['shape'])} {one.get('dtype', '')}" for key, one in entries.items())
    return f"a safetensors file of {counted(len(entries), 'tensor')}", lines, {}


def _archive(path: Path) -> _Described:
    kind = file_kind(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    title = kind.title if kind else "a zip archive"
    more = {"remedy": kind.remedy_of(path)} if kind else {}
    return f"{title} of {counted(len(names), 'file')}", (f"file {name[:80]}" for name in names), more


_DESCRIBED = {
    "parquet": _parquet,
    "npz": _arrays,
    "npy": _arrays,
    "hdf5": _hdf5,
    "pickle": _pickle,
    "safetensors": _safetensors,
    "zip": _archive,
    "torch": _archive,
}
