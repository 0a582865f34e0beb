"""SVG documents made fit to stand inside one HTML page: no header, no links to elsewhere, no clashing ids."""

import re

from markupsafe import Markup, escape

from qinn.escaping import visible

_BEFORE_ROOT = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"<[a-zA-Z][^>]*>")
_ROOT_ONLY = re.compile(r"\s(?:xmlns(?::\w+)?|version|role|aria-\w+|width|height)=\"[^\"]*\"")
_WIDTH = re.compile(r"viewBox=\"[\d.-]+ [\d.-]+ ([\d.]+)")
_NAME = re.compile(r"(\sid=\"|href=\"#|url\(#)([^\")]+)")


def inline_svg(svg: str, *, prefix: str, label: str) -> Markup:
    """Return an SVG document as markup for an HTML page.

    The XML header, metadata and comments go; ids and the references to them get a prefix, since Matplotlib
    gives the same ids in every figure; the picture scales with the page and has a label for screen readers.

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
