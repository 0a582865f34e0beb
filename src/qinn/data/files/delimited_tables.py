"""A delimited table (commas, semicolons, tabs) of one clip, a row per step: what OpenFace and spreadsheets write."""

import csv
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from qinn.data.files.array_file import ArrayFile
from qinn.data.files.delimiters import delimiter_of, is_headless
from qinn.data.files.numerals import counted, has_decimal_comma, is_number, why_no_number
from qinn.data.files.text_lines import text_lines
from qinn.errors import DataError

__all__ = ["BOOKKEEPING", "DelimitedTable", "chosen_columns"]

BOOKKEEPING = frozenset(("frame", "face_id", "timestamp", "confidence", "success"))
"""Columns of OpenFace that say which row it is and whether a face was found; no features."""


_NOTHING = ("", "NA", "nan", "NaN")
"""Cells without a value."""


class DelimitedTable(ArrayFile):
    """The columns of a csv file, separated by commas, semicolons or tabs, with a header.

    Its arrays are columns: by name (``AU01_r``), by pattern (``AU*_r``), or, without a name, all of them but
    `BOOKKEEPING` where the file is of OpenFace.

    Args:
        path: The file.

    Raises:
        DataError: If it has no header or is no text.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "clip.csv"
        >>> _ = file.write_text("frame, success, AU01_r, AU02_r\\n1, 1, 0.5, 0.25\\n2, 0, 0, 0\\n")
        >>> with DelimitedTable(file) as table:
        ...     table.array("AU*_r").tolist(), table.array("success").tolist()
        ([[0.5, 0.25], [0.0, 0.0]], [[1.0], [0.0]])
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        line = next(text_lines(path), "")
        self._delimiter = delimiter_of(path)
        try:
            header = next(csv.reader([line], delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            raise DataError(f"`{path}` has a header that can't be read ({error}).") from error
        self.columns = [name.strip() for name in header]
        if not any(self.columns):
            raise DataError(f"`{path}` is empty; a header with the names of the columns was expected.")
        if len(set(self.columns)) != len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise DataError(f"`{path}` has two columns `{twice}`; rename one.")

    def close(self) -> None:
        """Nothing to do: the file is read and closed at each access."""

    def keys(self) -> list[str]:
        """The single table."""
        return [""]

    def array(self, key: str) -> np.ndarray:
        """Return columns as numbers, (steps, columns); NaN where a cell is empty.

        Raises:
            DataError: If no column has the name or fits the pattern, or a cell is no number.
        """
        return self.numbers(chosen_columns(self.columns, [key] if key else [], self.path))

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return columns as numbers, (rows, columns); NaN where a cell is empty.

        Raises:
            DataError: If a cell is no number.
        """
        try:
            table = self._read(names, pa.float64(), [*_NOTHING, " "])
        except pa.ArrowException as error:
            if "Empty CSV" in str(error):
                return np.empty((0, len(names)))
            raise DataError(f"`{self.path}` {self._wrong_at(names, numbers=True)}.") from error
        return np.stack([table[name].to_numpy(zero_copy_only=False) for name in names], axis=1)

    def texts(self, name: str) -> list[str]:
        """Return a column as text.

        Raises:
            DataError: If there is none, or rows differ in length.
        """
        if name not in self.columns:
            headless = (
                "; its first line looks like a sample: put a line with the names of the columns before it"
                if is_headless(self.columns)
                else ""
            )
            raise DataError(
                f"`{self.path}` has no column `{name}`; it has {', '.join(self.columns[:12])}{headless}."
            )
        try:
            return self._read([name], pa.string(), [])[name].to_pylist()
        except pa.ArrowException as error:
            if "Empty CSV" in str(error):
                return []
            raise DataError(f"`{self.path}` {self._wrong_at([name], numbers=False)}.") from error

    def _wrong_at(self, names: Sequence[str], *, numbers: bool) -> str:
        """Say which line is no row with a number in each of some columns, and what to do."""
        places = [(self.columns.index(name), name) for name in names]
        reader = csv.reader(text_lines(self.path), delimiter=self._delimiter)
        for row in islice(reader, 1, None):
            if row and len(row) != len(self.columns):
                return (
                    f"line {reader.line_num} has {counted(len(row), 'field')}, but its header has {len(self.columns)}; "
                    "quote fields that hold the separator"
                )
            for at, name in places if row and numbers else ():
                if row[at].strip() not in _NOTHING and not is_number(row[at]):
                    why = why_no_number(row[at])
                    more = (
                        ""
                        if has_decimal_comma(row[at])
                        else "; name the columns to take, as in FILE.csv:AU*_r"
                    )
                    return f"line {reader.line_num} has `{row[at][:60]}` in column `{name}`, {why}{more}"
        return "has cells that can't be read; save it as a plain csv file in UTF-8"

    def _read(self, names: Sequence[str], kind: pa.DataType, nothing: list[str]) -> pa.Table:
        return pa_csv.read_csv(
            self.path,
            pa_csv.ReadOptions(column_names=self.columns, skip_rows=1, use_threads=False),
            pa_csv.ParseOptions(delimiter=self._delimiter),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, kind), include_columns=list(names), null_values=nothing
            ),
        )


def chosen_columns(columns: Sequence[str], patterns: Sequence[str], path: Path) -> list[str]:
    """Return the columns that have one of some names or fit one of some patterns, in the order of these.

    Args:
        columns: What there is.
        patterns: Names or patterns; none for all columns but `BOOKKEEPING` where the file is of OpenFace.
        path: The file, for messages.

    Raises:
        DataError: If one fits no column.

    Examples:
        >>> chosen_columns(["id", "f0", "f1"], ["f*"], Path("t.csv"))
        ['f0', 'f1']
    """
    if not patterns:
        of_openface = set(columns) >= BOOKKEEPING
        return [name for name in columns if not (of_openface and name in BOOKKEEPING)]
    found: dict[str, None] = {}
    for pattern in patterns:
        # A name as it stands comes before what it means as a pattern.
        fitting = [pattern] if pattern in columns else [n for n in columns if fnmatchcase(n, pattern)]
        if not fitting:
            shown = ", ".join(columns[:12]) + (", …" if len(columns) > 12 else "")
            raise DataError(f"`{path}` has no column `{pattern}`; it has {shown}.")
        found |= dict.fromkeys(fitting)
    return list(found)
