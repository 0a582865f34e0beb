"""Numbered tables and figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from markupsafe import Markup

from qinn.report.inlining import inline_svg
from qinn.results.tables import Table


@dataclass(frozen=True)
class TableExhibit:
    """A numbered table."""

    number: int
    table: Table

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return f"table-{self.number}"

    @property
    def html(self) -> Markup:
        """What stands on the page."""
        return Markup(self.table.to_html(anchor=self.anchor, label=f"Table {self.number}."))


@dataclass(frozen=True)
class FigureExhibit:
    """A numbered figure."""

    number: int
    panels: Sequence[Markup]
    caption: str

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return f"figure-{self.number}"


Exhibit = TableExhibit | FigureExhibit


@dataclass
class Numbering:
    """Gives tables and figures their numbers, in the order in which they are asked for."""

    tables: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    figures: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    def table(self, table: Table | None) -> list[Exhibit]:
        """Number a table, if there is one."""
        return [] if table is None else [TableExhibit(self.tables(), table)]

    def figure(self, panels: Mapping[str, str | None], caption: str) -> list[Exhibit]:
        """Number a figure: panels by description; nothing where there is no panel."""
        drawn = {label: svg for label, svg in panels.items() if svg is not None}
        if not drawn:
            return []
        number = self.figures()
        return [
            FigureExhibit(
                number,
                [
                    inline_svg(svg, prefix=f"figure-{number}-{index}", label=label)
                    for index, (label, svg) in enumerate(drawn.items(), start=1)
                ],
                caption,
            )
        ]
