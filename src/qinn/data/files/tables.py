"""Tables of samples: csv, tsv, parquet, or the one-dimensional arrays of an npz file."""

import csv
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from qinn.data.files.array_file import name_of
from qinn.data.files.arrays import check_file, open_arrays
from qinn.data.files.parquet import ParquetTooLargeError, read_parquet
from qinn.data.files.text_lines import text_lines
from qinn.errors import ConfigError, DataError

__all__ = ["TABLE_SUFFIXES", "Columns", "read_columns"]

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")
_CELL_BYTES = 64


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        path: Where it comes from.
        values: Column → its values: text for csv, whatever the file holds otherwise; None = no value.
        first_line: Line of the first row, for messages.
    """

    path: Path
    values: dict[str, list[Any]]
    first_line: int = 1

    @property
    def is_text(self) -> bool:
        """Whether it is a csv or tsv file, whose cells can be empty."""
        return self.path.suffix.lower() in (".csv", ".tsv")

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), []))

    def column(self, name: str) -> list[Any]:
        """Return a column.

        Raises:
            ConfigError: If there is none of that name; the message names those there are.
        """
        if name not in self.values:
            nearest = difflib.get_close_matches(name, self.values, 1)
            hint = f"did you mean `{nearest[0]}`? " if nearest else ""
            raise ConfigError(f"`{self.path}` has no column `{name}`; {hint}It has {', '.join(self.values)}.")
        return self.values[name]

    def texts(self, name: str) -> list[str]:
        """Return a column as text; empty where there is no value."""
        return [name_of(value) for value in self.column(name)]

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


def read_columns(path: Path | str) -> Columns:
    """Read a table of samples.

    Args:
        path: A .csv (comma) or .tsv (tab) file in UTF-8 with a header, a .parquet file, or an .npz file whose
            one-dimensional arrays of the most frequent length are the columns.

    Raises:
        DataError: If it is missing, of another kind, damaged, empty or ragged.
    """
    path = Path(path)
    check_file(path, f"a table ({', '.join(TABLE_SUFFIXES)})")
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            columns = _read_text(path, "," if suffix == ".csv" else "\t")
        elif suffix == ".parquet":
            table = read_parquet(path, cell_bytes=_CELL_BYTES)
            columns = Columns(path, {name: table[name].to_pylist() for name in table.column_names})
        elif suffix == ".npz":
            columns = _read_npz(path)
        else:
            raise DataError(
                f"`{path}` must be one of {', '.join(TABLE_SUFFIXES)}; it is no table that can be read."
            )
    except PermissionError as error:
        raise DataError(f"`{path}` can't be read: permission denied.") from error
    except ParquetTooLargeError as error:
        raise DataError(f"`{path}` is refused: {error.strerror}.") from error
    # A value of Parquet may also be no text, or a time that Python has no object for.
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, ImportError) as error:
        raise DataError(f"`{path}` is damaged or no {suffix[1:]} file.") from error
    if not len(columns):
        raise DataError(f"`{path}` has no rows; a table with at least one sample was expected.")
    return columns


def _read_text(path: Path, delimiter: str) -> Columns:
    rows: list[list[str]] = []
    try:
        reader = csv.reader(text_lines(path), delimiter=delimiter, strict=True)
        header = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"`{path}` line {reader.line_num} has {len(row)} fields, but its header has {len(header)}; "
                    "quote fields that hold the separator."
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise DataError(f"`{path}` is damaged near line {len(rows) + 2}: {error}.") from error
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"`{path}` has two columns `{twice}`; rename one.")
    return Columns(path, {name: [row[at] for row in rows] for at, name in enumerate(header)}, first_line=2)


def _read_npz(path: Path) -> Columns:
    with open_arrays(path) as arrays:
        lengths = {key: arrays.shape(key)[0] for key in arrays.keys() if len(arrays.shape(key)) == 1}  # noqa: SIM118
        if not lengths:
            raise DataError(
                f"`{path}` has no one-dimensional array that could be a column; it has {arrays.keys()}."
            )
        counts = list(lengths.values())
        num_rows = max(counts, key=counts.count)
        return Columns(
            path, {key: _cells(arrays.array(key)) for key, length in lengths.items() if length == num_rows}
        )


def _cells(array: Any) -> list[Any]:
    cells = list(array)
    if array.dtype == object and any(isinstance(cell, str) for cell in cells):
        # What pandas puts where a column of text has no value.
        return [None if cell != cell else cell for cell in cells]
    return cells
