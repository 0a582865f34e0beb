"""Which clips there are: files, folders, or a table that says of each its file, and what else is known."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qinn.data.files.tables import TABLE_SUFFIXES, Columns, read_columns
from qinn.errors import ClipError, ConfigError, DataError
from qinn.escaping import visible
from qinn.features.clip import CLIP_SUFFIXES
from qinn.stated_options import option

__all__ = ["LABEL", "ClipTable", "ColumnOptions", "ListedClip", "clips_of"]

KNOWN = ("label", "split", "group", "fold")
"""What a table may say of a clip beside where it is and what is said in it."""

LABEL = "label:"
"""What stands before the name of each of several labels."""


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """What the columns of a table of clips are called."""

    file_column: str = option("file", "Column with each clip's file, beside the table", metavar="NAME")
    id_column: str | None = option(
        None, "Column with the sample's id; `id`, or else the file's name", metavar="NAME"
    )
    begin_column: str | None = option(
        None,
        "Column of seconds at which a cut begins, of several in one file; `begin` if there is one",
        metavar="NAME",
    )
    end_column: str | None = option(
        None, "Column of seconds at which a cut ends; `end` if there is one", metavar="NAME"
    )
    text_column: str | None = option(
        None, "Column of transcripts, used as they are; without it, words are recognised", metavar="NAME"
    )
    label_column: str | None = option(None, "Column of labels; `label` if there is one", metavar="NAME")
    split_column: str | None = option(
        None, "Column that says train, valid or test; `split` if there is one", metavar="NAME"
    )
    group_column: str | None = option(
        None,
        "Column of what training and test must not share, as speakers; `group` if there is one",
        metavar="NAME",
    )
    fold_column: str | None = option(
        None, "Column of cross-validation folds; `fold` if there is one", metavar="NAME"
    )


@dataclass(frozen=True)
class ListedClip:
    """A clip, or a cut out of one.

    Attributes:
        id: The sample's id.
        path: Its file.
        begin: Where it begins, in seconds; None for the beginning of the file.
        end: Where it ends.
        words: What is said, where that is known.
    """

    id: str
    path: Path
    begin: float | None = None
    end: float | None = None
    words: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ClipTable:
    """The clips, and what is known of them.

    Attributes:
        clips: The clips.
        known: What is known (`KNOWN`) → for each clip, as text.
        columns: What is known → the column that says it.
        inputs: What was named: files, folders, a table.
    """

    clips: Sequence[ListedClip]
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[Path] = ()


def clips_of(sources: Sequence[Path], options: ColumnOptions, *, labels: Sequence[str] = ()) -> ClipTable:
    """Return the clips that are named: by one table, or by files and folders.

    Args:
        sources: A table alone, or files and folders of clips; folders are searched by how files are called, and links
            to folders are not followed.
        options: What the columns of a table are called.
        labels: Columns of the table that hold several labels; they are known as `LABEL` with their name behind it.

    Raises:
        DataError: If there is no clip, or two have one id, or the table is damaged.
        ConfigError: If a column is named that the table lacks, or columns without a table.
    """
    if len(sources) == 1 and sources[0].suffix.lower() in TABLE_SUFFIXES and not sources[0].is_dir():
        table = _of_table(read_columns(sources[0]), options, labels)
    else:
        if options != ColumnOptions() or labels:
            raise ConfigError(
                "Options that name columns go with a table of clips; name one in place of the files."
            )
        table = ClipTable([clip for source in sources for clip in _of_place(source)], inputs=tuple(sources))
    seen: dict[str, Path] = {}
    for clip in table.clips:
        if clip.id in seen:
            raise DataError(
                f"`{clip.path}` and `{seen[clip.id]}` would both be called `{clip.id}`; name them in a table with the "
                "columns id and file."
            )
        seen[clip.id] = clip.path
    return table


def _of_place(source: Path) -> Iterable[ListedClip]:
    if not source.is_dir():
        if not os.path.lexists(source):
            raise DataError(f"`{source}` does not exist; name a clip, a folder of clips or a table.")
        return [ListedClip(visible(source.stem), source)]
    found = [
        Path(folder) / name
        for folder, _, names in os.walk(source)
        for name in names
        if Path(name).suffix.lower() in CLIP_SUFFIXES and not name.startswith(".")
    ]
    if not found:
        raise DataError(
            f"`{source}` has no clips, as {', '.join(CLIP_SUFFIXES[:6])} …; name the files themselves."
        )
    return [
        ListedClip(visible(path.relative_to(source).with_suffix("").as_posix()), path)
        for path in sorted(found)
    ]


def _of_table(table: Columns, options: ColumnOptions, labels: Sequence[str]) -> ClipTable:
    files = table.texts(options.file_column)
    rows = range(len(files))
    folder = table.path.parent
    for row in rows:
        if not files[row].strip():
            raise DataError(f"{table.place(row)} names no file in column `{options.file_column}`.")
    id_column = _column(table, options.id_column, "id")
    begins, ends = (
        _seconds(table, _column(table, named, usual), len(files))
        for named, usual in ((options.begin_column, "begin"), (options.end_column, "end"))
    )
    for row in rows:
        begin, end = begins[row], ends[row]
        if not 0 <= (begin or 0.0) < (math.inf if end is None else end):
            raise DataError(
                f"{table.place(row)} is cut from {begin} to {end} s, which is no stretch of time."
            )
    texts = None if options.text_column is None else table.texts(options.text_column)
    ids = table.texts(id_column) if id_column else [visible(Path(file).stem) for file in files]
    for row in rows:
        if not ids[row].strip():
            raise DataError(f"{table.place(row)} has no id in column `{id_column}`.")
    columns = {}
    for name in KNOWN:
        column = _column(table, getattr(options, f"{name}_column"), name)
        if column is not None and not (labels and name == "label"):
            columns[name] = column
    columns |= {f"{LABEL}{name}": name for name in labels}
    clips = [
        ListedClip(
            ids[row],
            folder / files[row],
            begins[row],
            ends[row],
            None if texts is None else tuple(texts[row].split()),
        )
        for row in rows
    ]
    return ClipTable(
        clips, {name: table.texts(column) for name, column in columns.items()}, columns, (table.path,)
    )


def _column(table: Columns, named: str | None, usual: str) -> str | None:
    """Return the column that is named, or the one that is usual if the table has it."""
    if named is not None:
        table.column(named)
        return named
    return usual if usual in table.values else None


def _seconds(table: Columns, column: str | None, count: int) -> list[float | None]:
    if column is None:
        return [None] * count
    found = table.numbers([column], remedy="give seconds, or leave the cell empty")[:, 0].tolist()
    return [None if math.isnan(value) else value for value in found]


def refused(clip: ListedClip, why: str) -> ClipError:
    """Return what says that a clip is left out."""
    return ClipError(f"`{clip.path}` {why}.")
