"""Numbered tables and figures of a page, and SVG documents made fit to stand inside it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from markupsafe import Markup, escape

from qinn.escaping import visible
from qinn.results.tables import Table

_BEFORE_ROOT = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"<[a-zA-Z][^>]*>")
_ROOT_ONLY = re.compile(r"\s(?:xmlns(?::\w+)?|version|role|aria-\w+|width|height)=\"[^\"]*\"")
_WIDTH = re.compile(r"viewBox=\"[\d.-]+ [\d.-]+ ([\d.]+)")
_NAME = re.compile(r"(\sid=\"|href=\"#|url\(#)([^\")]+)")


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


def inline_svg(svg: str, *, prefix: str, label: str) -> Markup:
    """Return an SVG document as markup for an HTML page.

    The XML header, metadata, comments and links to elsewhere go; ids and the references to them get a prefix, since
    Matplotlib gives the same ids in every figure; the picture scales with the page and has a label for screen readers.

    Args:
        svg: An SVG document by Matplotlib, whose texts are escaped already.
        prefix: Unique on the page.
        label: What the picture shows, in words.

    Returns:
        The ``<svg>`` element.

    Examples:
        >>> svg = '<svg version="1.1"><g id="a"/><use href="#a"/></svg>'
        >>> print(inline_svg(svg, prefix="f1", label="a < b"))
        <svg role="img" aria-label="a &lt; b"><g id="f1-a"/><use href="#f1-a"/></svg>
    """
    body = _COMMENT.sub("", _METADATA.sub("", _BEFORE_ROOT.sub("", svg, count=1))).strip()
    body = _TAG.sub(lambda tag: _NAME.sub(rf"\g<1>{prefix}-\g<2>", tag[0]), body)
    root, rest = body.split(">", 1)
    width = _WIDTH.search(root)
    style = f' style="max-width:{float(width[1]):.0f}pt"' if width else ""
    root = root.removeprefix("<svg")
    return Markup(
        f'<svg role="img" aria-label="{escape(visible(label))}"{style}{_ROOT_ONLY.sub("", root)}>{rest}'
    )
