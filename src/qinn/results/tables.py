"""One table: what its columns mean and what stands in its cells; shown on a terminal, in Markdown and in HTML."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table as TerminalTable
from rich.text import Text

from qinn.escaping import markdown_text, visible

_INTERVAL = re.compile(r"\\\[([-−+.,\d ]+)\\\]")  # brackets around numbers need no escape
_WIDE = 7  # columns beyond which an HTML table is set in small print


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        detail: A second, smaller line.
        strong: Whether it stands out.
        more: A third line, like the second.
    """

    text: str
    detail: str = ""
    strong: bool = False
    more: str = ""

    @property
    def lines(self) -> list[str]:
        """What it says, line by line."""
        return [line for line in (self.text, self.detail, self.more) if line]


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: What stands above it.
        meaning: What that means, where the table is to explain it.
        left: Whether it holds words, which begin at the left; numbers end at the right.
    """

    heading: str
    meaning: str = ""
    left: bool = False


def columns(first: str, *others: str | Column) -> tuple[Column, ...]:
    """Return columns of row headings and of numbers.

    Examples:
        >>> [(column.heading, column.left) for column in columns("model", "mae")]
        [('model', True), ('mae', False)]
    """
    rest = (one if isinstance(one, Column) else Column(one) for one in others)
    return (Column(first, left=True), *rest)


@dataclass(frozen=True)
class Table:
    """A table; the first column holds row headings.

    Attributes:
        caption: What it shows and how each number was made.
        columns: What each column is; none for a table without headings.
        rows: As many cells per row as there are columns.
        notes: What its marks and columns mean, below it.
        remarks: What a user should know of some rows: of which, and what.
        title: A few words in place of the caption, for terminals.

    Examples:
        >>> table = Table("", columns("model", "mae ↓"), ((Cell("a|b"), Cell("0.7", "[0.6, 0.8]", strong=True)),))
        >>> print(table.to_markdown(), end="")
        | model | mae ↓ |
        |---|---:|
        | a\\|b | **0.7** [0.6, 0.8] |
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    remarks: tuple[tuple[str, str], ...] = ()
    title: str = ""

    @property
    def header(self) -> tuple[str, ...]:
        """The headings."""
        return tuple(column.heading for column in self.columns)

    def to_terminal(self, width: int) -> TerminalTable:
        """Return it for a terminal: every cell on one line if they fit, else its details beneath."""
        shown = TerminalTable(title=Text(visible(self.title)), show_header=bool(self.columns))
        for index in range(max(map(len, (self.columns, *self.rows)), default=0)):
            column = self.columns[index] if self.columns else Column("", left=not index)
            shown.add_column(Text(visible(column.heading)), justify="left" if column.left else "right")
        between = " " if self._fits(width) else "\n"
        for row in self.rows:
            shown.add_row(*(_terminal_cell(cell, between) for cell in row))
        return shown

    def _fits(self, width: int) -> bool:
        lines = [self.header] if self.columns else []
        lines += [tuple(" ".join(cell.lines) for cell in row) for row in self.rows]
        widest = [max(len(visible(cell)) for cell in cells) for cells in zip(*lines, strict=True)]
        return 3 * len(widest) + 1 + sum(widest) <= width

    def to_markdown(self) -> str:
        """Return it as Markdown, with its caption, the meaning of its columns, its notes and remarks beneath."""
        lines = [
            _markdown_row(markdown_text(heading) for heading in self.header),
            "|" + "".join("---|" if column.left else "---:|" for column in self.columns),
            *(_markdown_row(map(_markdown_cell, row)) for row in self.rows),
        ]
        below = [
            *(
                f"- {markdown_text(column.heading)}: {markdown_text(column.meaning)}"
                for column in self.columns
                if column.meaning
            ),
            *(f"- {markdown_text(note)}" for note in self.notes),
            *(f"- **{markdown_text(whom)}**: {markdown_text(remark)}" for whom, remark in self.remarks),
        ]
        lines += ["", markdown_text(self.caption)] if self.caption else []
        lines += ["", *below] if below else []
        return "\n".join(lines) + "\n"

    def to_html(self, *, anchor: str = "", label: str = "") -> str:
        """Return it as HTML, in which nothing of it is mark-up.

        Args:
            anchor: Its id on a page.
            label: What stands before the caption, in bold.
        """
        named = f' id="{_escaped(anchor)}-caption"' if anchor else ""
        caption = f"<b>{_escaped(label)}</b> " * bool(label) + _escaped(self.caption)
        by = f' aria-labelledby="{_escaped(anchor)}-caption"' if anchor else ""
        heads = (f'<th scope="col"{_left(column)}>{_escaped(column.heading)}</th>' for column in self.columns)
        notes = [*self.notes, *(f"{whom}: {remark}" for whom, remark in self.remarks)]
        return "\n".join(
            [
                f'<div class="table{" wide" * (len(self.columns) > _WIDE)}"'
                + (f' id="{_escaped(anchor)}">' if anchor else ">"),
                f'<p class="caption"{named}>{caption}</p>',
                f'<div class="scroll" role="region" tabindex="0"{by}>',
                f"<table{by}>",
                f"<thead><tr>{''.join(heads)}</tr></thead>",
                "<tbody>",
                *(self._html_row(row) for row in self.rows),
                "</tbody>",
                "</table>",
                "</div>",
                *(f'<p class="note">{_escaped(note)}</p>' for note in notes),
                "</div>",
            ]
        )

    def _html_row(self, row: Sequence[Cell]) -> str:
        cells = (
            f"<td{_left(column, 'strong' if cell.strong else '')}>{_html_cell(cell)}</td>"
            for column, cell in zip(self.columns[1:], row[1:], strict=True)
        )
        return f'<tr><th scope="row">{_html_cell(row[0])}</th>{"".join(cells)}</tr>'

    def _repr_html_(self) -> str:
        return self.to_html()


def _terminal_cell(cell: Cell, between: str) -> Text:
    first, *rest = map(visible, cell.lines or [""])
    return Text.assemble((first, "bold" if cell.strong else ""), *(f"{between}{line}" for line in rest))


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    first, *rest = map(markdown_text, cell.lines or [""])
    text = " ".join([f"**{first}**" if cell.strong else first, *rest])
    return _INTERVAL.sub(r"[\1]", text)


def _html_cell(cell: Cell) -> str:
    details = (f'<span class="detail">{_escaped(line)}</span>' for line in (cell.detail, cell.more) if line)
    return _escaped(cell.text) + "".join(details)


def _left(column: Column, kind: str = "") -> str:
    classes = " ".join(filter(None, [kind, "left" if column.left else ""]))
    return f' class="{classes}"' if classes else ""


def _escaped(text: str) -> str:
    return html.escape(visible(text, lines=True))
