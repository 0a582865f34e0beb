"""What divides the cells of a delimited table (commas, semicolons or tabs), and whether its first line is a header."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from qinn.data.files.numerals import has_decimal_comma, is_number
from qinn.data.files.text_lines import text_lines

__all__ = ["DELIMITERS", "delimiter_of", "is_headless"]

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may divide cells, and what it is called."""
_ROWS = 20


def delimiter_of(path: Path, num_columns: int | None = None) -> str:
    """Find what divides the cells of a table: what gives its first rows the same number of cells, and most of them.

    Args:
        path: The table; where two fit alike, a .tsv has tabs and any other commas.
        num_columns: How many cells a row has, where that is known.

    Raises:
        DataError: If it is no text in UTF-8, or a line is too long.
        OSError: If it can't be opened or is no regular file.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = file.write_text("id;label;text\\na;0.5;one, two, three, four\\n")
        >>> delimiter_of(file)
        ';'
    """
    lines = list(islice(text_lines(path), _ROWS))
    own = "\t" if path.suffix.lower() == ".tsv" else ","
    ordered = sorted(DELIMITERS, key=lambda one: one != own)
    counts = {one: list(_counts(lines, one)) for one in ordered}
    fits = {
        one: found[0]
        for one, found in counts.items()
        if found and len(set(found)) == 1 and found[0] > 1 and num_columns in (None, found[0])
    }
    if fits:
        return max(fits, key=lambda one: fits[one])
    # Rows that differ, or a single column: the header decides, and what is said by the name where it has one cell.
    return max(ordered, key=lambda one: counts[one][0] if counts[one] and counts[one][0] > 1 else 0)


def _counts(lines: Iterable[str], delimiter: str) -> Iterator[int]:
    """Number of cells of each row, as far as rows can be read: the last one may end in a later line."""
    try:
        for row in csv.reader(lines, delimiter=delimiter, strict=True):
            if row:
                yield len(row)
    except csv.Error:
        return


def is_headless(header: Sequence[str]) -> bool:
    """Tell whether the first line of a table looks like a sample: it has numbers that do not only count columns.

    Examples:
        >>> is_headless(["a1", "0.5", "train"]), is_headless(["id", "0", "1", "2"])
        (True, False)
    """
    numbers = [name.strip() for name in header if is_number(name) or has_decimal_comma(name)]
    counted = [[str(first + at) for at in range(len(numbers))] for first in (0, 1)]
    return bool(numbers) and (numbers not in counted or len(numbers) == len(header))
