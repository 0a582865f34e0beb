"""Tables of samples: csv, tsv, parquet, or the one-dimensional arrays of an npz file."""

import csv
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qinn.data.files.array_file import name_of
from qinn.data.files.arrays import check_file, open_arrays
from qinn.data.files.delimiters import DELIMITERS, delimiter_of, is_headless
from qinn.data.files.numerals import has_decimal_comma, is_number, number_of, why_no_number
from qinn.data.files.parquet import ParquetTooLargeError, read_parquet
from qinn.data.files.text_lines import text_lines
from qinn.errors import ConfigError, DataError
from qinn.file_kinds import damage_of, other_kind

__all__ = ["TABLE_SUFFIXES", "Columns", "read_columns"]

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")
_CELL_BYTES = 64
_FIRST_SAMPLE = "if the first line is a sample already"
_NAME_THEM = f"{_FIRST_SAMPLE}, name the columns in order by `--columns`"
_HEAD_THEM = f"{_FIRST_SAMPLE}, put a line with the names of the columns before it"


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        path: Where it comes from.
        values: Column → its values: text for csv, whatever the file holds otherwise; None = no value.
        first_line: Line of the first row, for messages.
        delimiter: What divides its cells; None where they are not divided by a character.
        can_be_named: Whether whoever reads it has an option that names its columns.
        no_columns: Array → its shape, of those of an .npz file that are no columns.
    """

    path: Path
    values: dict[str, list[Any]]
    first_line: int = 1
    delimiter: str | None = None
    can_be_named: bool = False
    no_columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    @property
    def is_text(self) -> bool:
        """Whether it is a csv or tsv file, whose cells can be empty."""
        return self.path.suffix.lower() in (".csv", ".tsv")

    @property
    def files(self) -> list[Path]:
        """The files that it comes from."""
        return [self.path]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), []))

    def column(self, name: str) -> list[Any]:
        """Return a column.

        Raises:
            ConfigError: If there is none of that name; the message names those there are.
        """
        if (shape := self.no_columns.get(name)) is not None:
            raise ConfigError(
                f"`{self.path}` has an array `{name}` of shape {shape}, which is no column; save it with the shape "
                f"({len(self)},), one value for each row."
            )
        if name not in self.values:
            nearest = difflib.get_close_matches(name, self.values, 1)
            hint = f"did you mean `{nearest[0]}`? It" if nearest else "it"
            raise ConfigError(
                f"`{self.path}` has no column `{name}`; {hint} has {', '.join(self.values)}{self._headless()}."
            )
        return self.values[name]

    def _headless(self) -> str:
        """Say, as the end of a sentence, that the first line looks like a sample, if it does."""
        if not self.delimiter or not is_headless(tuple(self.values)):
            return ""
        found = next(name for name in self.values if is_number(name))
        return f", of which `{found}` is a number; {_NAME_THEM if self.can_be_named else _HEAD_THEM}"

    def notes(self) -> list[str]:
        """Say what was found out of how the file is written, unless that is how its name ends."""
        own = {".csv": ",", ".tsv": "\t"}.get(self.path.suffix.lower())
        found = self.delimiter
        return (
            []
            if found in (own, None)
            else [f"the cells of `{self.path.name}` are divided by {DELIMITERS[found]}"]
        )

    def texts(self, name: str) -> list[str]:
        """Return a column as text; empty where there is no value."""
        return [name_of(value) for value in self.column(name)]

    def numbers(
        self, names: Sequence[str], *, remedy: str = "name the columns to take, as in NAME=:mfcc_*"
    ) -> np.ndarray:
        """Return columns as numbers, (rows, columns); NaN where a cell is empty.

        Args:
            names: The columns.
            remedy: What to do about a cell that is no number.

        Raises:
            DataError: If a cell is no number.
        """
        found = np.empty((len(self), len(names)))
        for at, name in enumerate(names):
            for row, cell in enumerate(self.column(name)):
                try:
                    found[row, at] = _number(cell)
                except (TypeError, ValueError):
                    raise DataError(
                        f"{self.place(row)} has `{str(cell)[:60]}` in column `{name}`, {why_no_number(cell)}"
                        + ("." if has_decimal_comma(str(cell)) else f"; {remedy}.")
                    ) from None
        return found

    def joined(self, names: Iterable[str]) -> list[str]:
        """Join several columns by underscores, row by row.

        Examples:
            >>> Columns(Path("t.csv"), {"who": [1, 2], "turn": ["a", "b"]}).joined(["who", "turn"])
            ['1_a', '2_b']
        """
        return ["_".join(parts) for parts in zip(*(self.texts(name) for name in names), strict=True)]

    def place(self, row: int) -> str:
        """Say where a row is: lines are counted in text files only."""
        return f"`{self.path}` {'line' if self.is_text else 'row'} {row + self.first_line}"


def read_columns(path: Path | str, names: Sequence[str] | None = None) -> Columns:
    """Read a table of samples.

    Args:
        path: A .csv or .tsv file in UTF-8, whose cells are divided by commas, semicolons or tabs; a .parquet file; or
            an .npz file whose one-dimensional arrays of the most frequent length are the columns.
        names: Names of the columns of a .csv or .tsv file that has no header; empty where it has one, None where they
            cannot be given.

    Raises:
        DataError: If it is missing, of another kind, damaged, empty or ragged.
        ConfigError: If names are given of a table that has names already.
    """
    path = Path(path)
    check_file(path, f"a table ({', '.join(TABLE_SUFFIXES)})")
    suffix = path.suffix.lower()
    if names and suffix not in (".csv", ".tsv"):
        raise ConfigError(
            f"Option `columns` names the columns of a csv or tsv file without a header, but `{path}` names its own; "
            "leave it out."
        )
    try:
        if suffix in (".csv", ".tsv"):
            columns = _read_text(path, names or (), can_be_named=names is not None)
        elif suffix == ".parquet":
            table = read_parquet(path, cell_bytes=_CELL_BYTES)
            _check_distinct(path, table.column_names)
            columns = Columns(path, {name: table[name].to_pylist() for name in table.column_names})
        elif suffix == ".npz":
            columns = _read_npz(path)
        else:
            other = other_kind(path, ("text",))
            raise DataError(
                f"`{path}` must be one of {', '.join(TABLE_SUFFIXES)}; it is {other or 'no table that can be read'}."
            )
    except PermissionError as error:
        raise DataError(f"`{path}` can't be read: permission denied.") from error
    except ParquetTooLargeError as error:
        raise DataError(f"`{path}` is refused: {error.strerror}.") from error
    # A value of Parquet may also be no text, or a time that Python has no object for.
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, ImportError) as error:
        other = other_kind(path, ("parquet",)) if suffix == ".parquet" else None
        what = f": it is {other}" if other else damage_of(path)
        raise DataError(f"`{path}` is damaged or no {suffix[1:]} file{what}.") from error
    if not len(columns):
        raise DataError(f"`{path}` has no rows; a table with at least one sample was expected.")
    return columns


def _check_distinct(path: Path, names: Sequence[str], remedy: str = "") -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"`{path}` has two columns `{twice}`; rename one{remedy if is_number(twice) else ''}."
        )


def _read_text(path: Path, names: Sequence[str], *, can_be_named: bool) -> Columns:
    rows: list[list[str]] = []
    delimiter = delimiter_of(path, len(names) or None)
    try:
        reader = csv.reader(text_lines(path), delimiter=delimiter, strict=True)
        header = list(names) or next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"`{path}` line {reader.line_num} has {len(row)} fields, but "
                    + (f"{len(names)} columns are named" if names else f"its header has {len(header)}")
                    + "; quote fields that hold the separator."
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise DataError(f"`{path}` is damaged near line {len(rows) + 2}: {error}.") from error
    _check_distinct(path, header, f", or {_NAME_THEM if can_be_named else _HEAD_THEM}")
    if names and rows and (named := set(names) & set(rows[0])):
        raise ConfigError(
            f"Option `columns` names the columns of a table without a header, but the first line of `{path}` names "
            f"`{min(named)}` itself; leave the option out."
        )
    values = {name: [row[at] for row in rows] for at, name in enumerate(header)}
    first_line = 1 if names else 2
    return Columns(path, values, first_line=first_line, delimiter=delimiter, can_be_named=can_be_named)


def _number(cell: Any) -> float:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    if np.iscomplexobj(cell):
        raise TypeError("complex")
    return number_of(cell) if isinstance(cell, str) else float(cell)


def _read_npz(path: Path) -> Columns:
    with open_arrays(path) as arrays:
        keys = arrays.keys()
        shapes = {key: tuple(arrays.shape(key)) for key in keys}
        lengths = {key: shape[0] for key, shape in shapes.items() if len(shape) == 1}
        if not lengths:
            raise DataError(
                f"`{path}` has no one-dimensional array that could be a column; it has {arrays.keys()}."
            )
        counts = list(lengths.values())
        num_rows = max(counts, key=counts.count)
        chosen = [key for key, length in lengths.items() if length == num_rows]
        return Columns(
            path,
            {key: _cells(arrays.array(key)) for key in chosen},
            no_columns={key: shape for key, shape in shapes.items() if key not in chosen},
        )


def _cells(array: Any) -> list[Any]:
    cells = list(array)
    if array.dtype == object and any(isinstance(cell, str) for cell in cells):
        # What pandas puts where a column of text has no value.
        return [None if cell != cell else cell for cell in cells]
    return cells
