"""Where predictions are written, and how: CSV or Parquet, that of this command alone being replaced."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from qinn.destinations import Destination, Product, check_destination, is_witnessed, witness, witness_of
from qinn.errors import ArgumentError, OutputError
from qinn.escaping import active_in_spreadsheets, csv_line
from qinn.experiment.prediction_rows import PredictionRow
from qinn.results.files import table_of, write_table, write_text

_COMMAND = "qinn predict"


def predictions_destination(
    path: Path | str,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path | str] = (),
    command: str = _COMMAND,
) -> Destination:
    """Check where predictions are to be written, before they are made.

    Args:
        path: The file to be.
        overwrite: Replace a file that holds no predictions of this command, or ones that were changed since.
        inputs: What the command reads.
        command: The command that writes them.

    Raises:
        ArgumentError: If the file name ends in neither ``.csv`` nor ``.parquet``.
        OutputError: If the place is another's or cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise ArgumentError(f"Predictions can be written to .csv or .parquet, but the file is `{path}`.")
    own = table_of(command) if path.suffix == ".parquet" else Product(command, is_witnessed)
    return check_destination(path, own, overwrite=overwrite, inputs=inputs)


def _column(values: list[str | float | int | None]) -> object:
    """Return a column of a table; one in which every number is missing is one of numbers still."""
    return pa.nulls(len(values), pa.float64()) if all(value is None for value in values) else values


def write_predictions(
    path: Path, rows: list[PredictionRow], *, overwrite: bool = False, command: str = _COMMAND
) -> int:
    """Write prediction rows as CSV or Parquet, atomically.

    In CSV, texts that a spreadsheet would run get an apostrophe before them (see `qinn.escaping.csv_line`). A CSV file
    cannot say who made it, so the hash of what was written is kept in a hidden file beside it.

    Returns:
        How many texts got one.

    Raises:
        ArgumentError: If the file name ends in neither ``.csv`` nor ``.parquet``.
        OutputError: If the place is another's or cannot be written.
    """
    place = predictions_destination(path, overwrite=overwrite, command=command)
    if path.suffix == ".parquet":
        columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
        write_table(place.path, columns, maker=command, overwrite=place.replaces)
        return 0
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    text = "".join(map(csv_line, lines))
    beside = witness_of(place.path)
    is_first = not beside.exists()
    write_text(beside, witness(text.encode(), command, place.path))
    try:
        write_text(place.path, text, overwrite=place.replaces)
    except OutputError:
        if is_first:
            beside.unlink(missing_ok=True)
        raise
    return sum(active_in_spreadsheets(cell) for line in lines for cell in line)
