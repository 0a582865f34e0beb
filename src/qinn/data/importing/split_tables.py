"""One table for each split, as train.csv, valid.csv and test.csv: which they are, and their rows after each other."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from qinn.data.files.tables import Columns, read_columns
from qinn.data.importing.clip_folders import table_in, tables_in
from qinn.data.importing.intake import split_name
from qinn.errors import ConfigError, DataError

__all__ = ["SPLIT", "read_tables", "tables_by_split"]

SPLIT = "split"
"""The column that says from which table a sample comes."""


def tables_by_split(source: Path, further: Mapping[str, str], *, by_name: bool) -> dict[str, Path]:
    """Return the tables to import: a single one by the empty name, or one for each split.

    Args:
        source: A table, or a folder with one, or with one for each split, whose name says which: ``train.csv``,
            ``sims_dev.csv``.
        further: Split → table, beside the source, which is then that of ``train``.
        by_name: Whether names of several tables in a folder say their splits.

    Raises:
        ConfigError: If a split has two tables.
        DataError: If a folder has no table, or several whose names don't say their splits.
    """
    if further:
        found = {"train": table_in(source) if source.is_dir() else source}
        for name, file in further.items():
            split = split_name(name, "Option `split_file`")
            if split in found or not split:
                raise ConfigError(
                    f"Option `split_file` names a table of `{name}`, but `{found.get(split, file)}` is one already; "
                    "give one of valid and one of test beside the table of train."
                )
            found[split] = Path(file)
        return found
    if not source.is_dir():
        return {"": source}
    tables = tables_in(source) if by_name else []
    splits = [_split_of(table) for table in tables]
    if len(tables) < 2 or "" in splits or len(set(splits)) < len(splits):
        return {"": table_in(source)}
    order = ("train", "valid", "test")
    return dict(sorted(zip(splits, tables, strict=True), key=lambda one: order.index(one[0])))


def _split_of(table: Path) -> str:
    """Return the split that the words of a file's name say; empty if they say none, or two."""
    found = set()
    for word in re.split(r"[\W_]+", table.stem):
        try:
            found.add(split_name(word, ""))
        except DataError:
            continue
    found -= {""}
    return found.pop() if len(found) == 1 else ""


def read_tables(
    tables: Mapping[str, Path], names: Sequence[str], keys: Sequence[str], notes: list[str]
) -> Columns:
    """Read the tables of all splits as one; a column that one of them lacks has no values there.

    Args:
        tables: As of `tables_by_split`.
        names: Names of the columns, of files without a header.
        keys: Columns that every table must have.
        notes: What was found is put here.

    Raises:
        DataError: If one can't be read, or says another split of a sample than its file's name.
        ConfigError: If one lacks the column of ids.
    """
    parts = [read_columns(file, names) for file in tables.values()]
    notes += [note for part in parts for note in part.notes()]
    if len(parts) == 1:
        return parts[0]
    listed = ", ".join(f"{split} is `{file.name}`" for split, file in tables.items())
    notes.append(f"splits are tables of their own: {listed}")
    columns = list(dict.fromkeys(name for part in parts for name in part.values if name != SPLIT))
    for part in parts:
        for key in keys:
            if key != SPLIT:
                part.column(key)
        if lacking := [name for name in columns if name not in part.values]:
            notes.append(f"`{part.path.name}` has no column {', '.join(f'`{name}`' for name in lacking)}")
    values: dict[str, list[Any]] = {
        name: [cell for part in parts for cell in part.values.get(name, [None] * len(part))]
        for name in columns
    }
    values[SPLIT] = [
        said for split, part in zip(tables, parts, strict=True) for said in _checked(part, split)
    ]
    return _Joined(parts[0].path.parent, values, parts=tuple(parts))


def _checked(part: Columns, split: str) -> list[str]:
    if SPLIT in part.values:
        for row, said in enumerate(part.texts(SPLIT)):
            if split_name(said, part.place(row)) not in (split, ""):
                raise DataError(
                    f"{part.place(row)} has the split `{said}`, but its table is that of {split}; correct one, or "
                    "name the column by `--split-column` and import one table."
                )
    return [split] * len(part)


@dataclass(frozen=True)
class _Joined(Columns):
    """Tables whose rows follow each other."""

    parts: tuple[Columns, ...] = ()

    @property
    def files(self) -> list[Path]:
        return [part.path for part in self.parts]

    @property
    def is_text(self) -> bool:
        return all(part.is_text for part in self.parts)

    def place(self, row: int) -> str:
        starts = [0, *accumulate(len(part) for part in self.parts)]
        at = bisect_right(starts, row) - 1
        return self.parts[at].place(row - starts[at])
