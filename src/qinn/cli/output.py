"""How the command line prints: tables for people, JSON for programs, progress on the error stream.

Everything that is printed leaves through here, and in no other way: ids, names, texts and file names of other people
are shown with their control characters escaped and without mark-up.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.core import TyperGroup

from qinn.escaping import json_text, tsv_cell, visible
from qinn.results.as_json import plain
from qinn.results.tables import Cell, Table, columns

_OPTIONS = re.compile(r"\b[Oo]ptions? `[a-z_]+`(?:(?:,| and|, and| or) `[a-z_]+`)*")
_TYPED = {"modalities": "modality"}

console = Console()
stderr = Console(stderr=True)

OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace what another program made, or was changed since.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Cluster of Ray (default: one of this machine alone, for this command)."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


class SafeGroup(TyperGroup):
    """Commands whose usage errors show what was typed with its control characters escaped."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line."""
        with _escaped_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _escaped_errors():
            return super().invoke(ctx)


@contextmanager
def _escaped_errors() -> Iterator[None]:
    try:
        yield
    # By what it has: typer has brought its own copy of click, with another class of errors, since 0.26.
    except Exception as error:
        if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
            error.message = visible(error.message)  # pyright: ignore[reportAttributeAccessIssue]
        raise


def echo(text: str) -> None:
    """Print lines of results on standard output."""
    _print(visible(text, lines=True))


def _print(text: str) -> None:
    # A terminal that cannot show a letter gets its escape in place of an error.
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def print_rows(rows: Iterable[Sequence[object]]) -> None:
    """Print lines of cells with tabs between them on standard output."""
    for row in rows:
        _print("\t".join(map(tsv_cell, row)))


def print_json(content: object) -> None:
    """Print one JSON document on standard output; records are shown as their files hold them."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    typer.echo(json_text(plain(content), ascii_only=not unicode))


def show(text: str) -> None:
    """Print a sentence for people on standard output."""
    console.print(Text(visible(text)), soft_wrap=True)


def print_error(message: str) -> None:
    """Print one line on the error stream, with options as the command line writes them."""
    line = visible(_OPTIONS.sub(_as_typed, " ".join(message.split())))
    line = line.rstrip(".") + "." if line.endswith("..") else line
    sentence = Text.assemble(("error:", "bold red"), " ", line)
    stderr.print(sentence, soft_wrap=True, highlight=False)


def _as_typed(found: re.Match[str]) -> str:
    return re.sub(
        r"`([a-z_]+)`", lambda name: f"`--{_TYPED.get(name[1], name[1]).replace('_', '-')}`", found[0]
    )


def note(message: str) -> None:
    """Print a remark on the error stream, so that standard output stays for results."""
    stderr.print(Text(visible(message)), soft_wrap=True, highlight=False)


def note_remark(remark: str) -> None:
    """Print a sentence that a user should know, marked as such, on the error stream."""
    note(f"note: {remark}")


class _Description(ProgressColumn):
    """The description of a bar as it stands."""

    def render(self, task: Task) -> Text:
        return Text(visible(task.description))


_EVERY = 10.0
"""Seconds between two lines about one piece of work."""


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[..., None]]:
    """Show a progress bar on the error stream; where that is no terminal, a line for each that is done.

    Yields:
        Takes how many are done, how many there are, and what the last one was.
    """
    if not stderr.is_terminal:
        yield _line_by_line(title)
        return
    with Progress(
        _Description(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int, last: str = "") -> None:
            described = f"{title} (last: {last})" if last else title
            bar.update(task, completed=done, total=total, description=described)

        yield show


@contextmanager
def stage_bar() -> Iterator[Callable[[str, float | None], None]]:
    """Show on a terminal what is done with a clip now; nothing where the error stream is none.

    Yields:
        Takes what is done, and which share of it where that is known.
    """
    if not stderr.is_terminal:
        yield lambda stage, share: None
        return
    with Progress(_Description(), BarColumn(), TimeElapsedColumn(), console=stderr, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(stage: str, share: float | None) -> None:
            bar.update(task, description=stage, total=None if share is None else 1.0, completed=share or 0.0)

        yield show


def _line_by_line(title: str) -> Callable[..., None]:
    """Return what notes how many are done, how long that took, and how long the rest may take.

    What has no name is counted every ten seconds.
    """
    started = told = time.monotonic()

    def show(done: int, total: int, last: str = "") -> None:
        nonlocal told
        now = time.monotonic()
        if not last and now - told < _EVERY:
            return
        told, taken = now, now - started
        said = [f"{title}: {done} of {total} done in {_duration(taken)}"]
        if last:
            said.append(f"the last was {last}")
        if 0 < done < total:
            said.append(f"{total - done} left, some {_duration(taken / done * (total - done))}")
        note("; ".join(said))

    return show


def _duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class StoreProgress:
    """Say on a terminal that a big store is being read through, and every ten seconds how far it is."""

    _BIG = 2**30

    def __init__(self) -> None:
        self._said: tuple[Path, float] | None = None

    def __call__(self, store: Path, done: int, total: int) -> None:
        """Take the bytes that were read of a store, and those in all."""
        if total < self._BIG or not stderr.is_terminal:
            return
        now = time.monotonic()
        if self._said is None or self._said[0] != store:
            note(
                f"reading `{store}` through ({total / 1e9:.1f} GB): it is new here, or its files have changed"
            )
        elif now < self._said[1] + _EVERY:
            return
        else:
            note(f"read {done / total:.0%} of `{store}`")
        self._said = (store, now)


def show_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on standard output: the first column at the left, the others at the right.

    Args:
        title: What it shows.
        headings: One per column; empty for two columns of names and values.
        rows: The cells.
    """
    cells = tuple(tuple(map(Cell, row)) for row in rows)
    print_table(Table("", columns(*headings) if headings else (), cells, title=title))


def print_table(table: Table) -> None:
    """Print a table on standard output, with the meaning of its marks beneath and its remarks on the error stream."""
    console.print(table.to_terminal(console.width))
    for line in table.notes:
        show(line)
    for whom, remark in table.remarks:
        note(f"note ({whom}): {remark}")
