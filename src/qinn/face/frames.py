"""Columns as what notebooks show: data frames and tables."""

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from qinn.extras import needs


def frame_of(columns: Mapping[str, Any]) -> Any:
    """Return columns as a pandas data frame.

    Args:
        columns: Name → values.

    Raises:
        MissingPackageError: If pandas is not installed.
    """
    with needs("frames", "A data frame"):
        pandas: Any = import_module("pandas")
    return pandas.DataFrame({name: list(values) for name, values in columns.items()})


def table_html(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[object]], *, notes: Sequence[str] = ()
) -> str:
    """Return a table as HTML for a notebook.

    Args:
        title: What stands above it.
        headings: Of the columns.
        rows: Cells; numbers are shown with four digits.
        notes: Sentences below it.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in headings)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    below = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{body}</table>{below}"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:z.4f}" if isinstance(value, float) else html.escape(str(value))
