"""How the command line prints: tables for people, JSON for programs, progress on the error stream."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

console = Console()
stderr = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def print_json(content: object) -> None:
    """Print one JSON document on standard output."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(message: str) -> None:
    """Print one line on the error stream."""
    stderr.print(f"[bold red]error:[/] {escape(' '.join(message.split()))}", soft_wrap=True, highlight=False)


def note(message: str) -> None:
    """Print a remark on the error stream, so that standard output stays for results."""
    stderr.print(escape(message), soft_wrap=True, highlight=False)


@contextmanager
def progress_bar(title: str) -> Iterator[tuple[Progress, TaskID]]:
    """Show a progress bar on the error stream; silent where that is no terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=True,
    ) as bar:
        yield bar, bar.add_task(title, total=None)


def metric_table(title: str, metrics: dict[str, dict[str, Any]], labels: dict[str, str]) -> Table:
    """Return metrics with intervals as a table."""
    table = Table(title=title)
    for heading in ("metric", "value", "low", "high"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, value in metrics.items():
        cells = ["–" if value.get(key) is None else f"{value[key]:.4f}" for key in ("value", "low", "high")]
        table.add_row(labels.get(name, name), *cells)
    return table
