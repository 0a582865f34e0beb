"""Names, ids and texts of other people made fit to be shown: on terminals, in tables, in spreadsheets.

What is stored stays as it is; only what is printed or written for readers passes through here.
"""

import csv
import html
import io
import json
import re
import unicodedata
from collections.abc import Iterable

__all__ = [
    "active_in_spreadsheets",
    "csv_line",
    "json_text",
    "markdown_code",
    "markdown_text",
    "tsv_cell",
    "visible",
]

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_ACTIVE = ("=", "+", "-", "@", "\t", "\r", "'")
_MARKS = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return a text in which every character can be seen: the others are escaped as Python writes them.

    Escaped are control characters (C0, C1, DEL), characters of format (bidirectional overrides, those of no width),
    separators of lines and paragraphs, and lone surrogates, as in file names that are not UTF-8.

    Args:
        text: Any text.
        lines: Whether line ends may stay.

    Examples:
        >>> visible("\x1b[31mred\u202e\n"), visible("no change: Ж, 中文, 🎵")
        ('\\x1b[31mred\\u202e\\n', 'no change: Ж, 中文, 🎵')
    """
    if text.isprintable():
        return text
    kept = "\n" if lines else ""
    return "".join(
        character.encode("unicode_escape").decode()
        if character not in kept and unicodedata.category(character) in _HIDDEN
        else character
        for character in text
    )


def tsv_cell(value: object) -> str:
    r"""Return a cell of a tab-separated line: tabs, line ends and backslashes are escaped, so that it can be undone.

    None is an empty cell.

    Examples:
        >>> tsv_cell("a\tb\\"), tsv_cell(0.5)
        ('a\\tb\\\\', '0.500000')
    """
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else visible(str(value).replace("\\", "\\\\"))


def active_in_spreadsheets(value: object) -> bool:
    """Tell whether `csv_line` puts an apostrophe before a value.

    Examples:
        >>> active_in_spreadsheets("=1+1"), active_in_spreadsheets(-1.0)
        (True, False)
    """
    return isinstance(value, str) and value.startswith(_ACTIVE)


def csv_line(cells: Iterable[object]) -> str:
    r"""Return a line of a csv file in which no spreadsheet finds a formula; numbers stay as they are.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return gets an apostrophe before it, as
    OWASP advises, and so does one that begins with an apostrophe: taking one away gives the text back.

    Examples:
        >>> csv_line(["=1+1", "'a", "a,b", -1.0])
        '\'=1+1,\'\'a,"a,b",-1.0\n'
    """
    text = io.StringIO()
    # With these ends both of their characters are quoted; Python would take a lone carriage return as it is.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([f"'{cell}" if active_in_spreadsheets(cell) else cell for cell in cells])
    return text.getvalue().removesuffix("\r\n") + "\n"


def markdown_text(text: str) -> str:
    r"""Return a text that Markdown shows as it stands, in a table too: no mark-up, no HTML, no link.

    Examples:
        >>> markdown_text("a|b `c` <i>"), markdown_text("QiNN-QJ (jumps), text_only")
        ('a\\|b \\`c\\` &lt;i&gt;', 'QiNN-QJ (jumps), text_only')
        >>> markdown_text("https://x.org")
        'https&#58;//x.org'
    """
    text = _MARKS.sub(r"\\\g<0>", html.escape(visible(text), quote=False))
    text = text.replace("://", "&#58;//").replace("@", "&#64;")
    return re.sub(r"(?i)\b(www)\.", r"\1&#46;", text)


def markdown_code(text: str) -> str:
    r"""Return a text as code in Markdown, whatever backticks it has.

    Examples:
        >>> markdown_code("QiNN-QJ"), markdown_code("a`b")
        ('`QiNN-QJ`', '`` a`b ``')
    """
    text = visible(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest or text != text.strip() else f"{fence}{text}{fence}"


def json_text(content: object, *, ascii_only: bool = False) -> str:
    r"""Return JSON in which nothing hidden stands: what `visible` escapes is escaped as JSON writes it.

    Args:
        content: What JSON can hold; NaN and infinite numbers are refused.
        ascii_only: Whether every other character than ASCII is to be escaped too.

    Raises:
        ValueError: If it holds a number that is not finite.

    Examples:
        >>> json_text({"id": "Ж\x9b"})
        '{\n  "id": "Ж\\u009b"\n}'
    """
    text = json.dumps(content, indent=2, ensure_ascii=ascii_only, allow_nan=False)
    return "".join(
        json.dumps(character)[1:-1]
        if character != "\n" and unicodedata.category(character) in _HIDDEN
        else character
        for character in text
    )
