"""One table on the terminal, in Markdown and in HTML: the same cells, and nothing of others is mark-up."""

import io
import re

import pytest
from rich.console import Console

from qinn.results.tables import Cell, Column, Table, columns

HOSTILE = "<b>a|b</b> `c` \x1b[31m"

TABLE = Table(
    "How it was made.",
    columns("model", Column("mae ↓", "mean absolute error"), Column("kind", left=True)),
    (
        (Cell("ours", "(reference)"), Cell("−0.700 ± 0.010", "[−0.800, 0.600]", strong=True), Cell("qinn")),
        (Cell(HOSTILE), Cell("0.900", "[0.800, 1.000] ▼", more="p 0.010"), Cell(HOSTILE)),
    ),
    notes=("▼ worse.",),
    remarks=((HOSTILE, "It sleeps."),),
    title="Short",
)


def on_terminal(width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(TABLE.to_terminal(width))
    return out.getvalue()


def words(text: str) -> list[str]:
    return re.findall(r"[−\d.]+ ± [\d.]+|\[[−\d.]+, [\d.]+\]|p [\d.]+|▼|\(reference\)|mae ↓", text)


def test_the_three_hold_the_same() -> None:
    shown = sorted(words(on_terminal(200)))
    assert shown == sorted(set(shown))
    assert sorted(words(re.sub(r"<[^>]+>", "\n", TABLE.to_html().split("</table>")[0]))) == shown
    assert sorted(set(words(TABLE.to_markdown().split("\n\n")[0]))) == shown


def test_details_stand_beneath_where_a_line_is_too_short() -> None:
    assert "−0.700 ± 0.010 [−0.800, 0.600]" in on_terminal(200)
    narrow = on_terminal(80)
    assert "−0.700 ± 0.010 [" not in narrow
    assert "[−0.800, 0.600]" in narrow


def test_markdown_says_what_columns_notes_and_remarks_mean() -> None:
    lines = TABLE.to_markdown().splitlines()
    assert lines[1] == "|---|---:|---|"
    assert lines[2] == "| ours (reference) | **−0.700 ± 0.010** [−0.800, 0.600] | qinn |"
    assert lines[5] == "How it was made."
    assert lines[7:9] == ["- mae ↓: mean absolute error", "- ▼ worse."]
    assert lines[9].endswith("**: It sleeps.")


@pytest.mark.parametrize("shown", [TABLE.to_html(), TABLE.to_markdown(), TABLE._repr_html_()])
def test_nothing_of_others_is_mark_up(shown: str) -> None:
    assert "<b>a" not in shown
    assert "\x1b" not in shown
    assert not re.search(r"(?<!\\)\|b", shown.replace("a|b&lt;", "")) or "<table" in shown


def test_html_has_headings_anchors_and_what_stands_out() -> None:
    page = TABLE.to_html(anchor="table-1", label="Table 1.")
    assert '<p class="caption" id="table-1-caption"><b>Table 1.</b> How it was made.</p>' in page
    assert '<th scope="col" class="left">kind</th>' in page
    assert '<td class="strong">−0.700 ± 0.010<span class="detail">[−0.800, 0.600]</span></td>' in page
    assert page.count("<tr>") == 3


def test_a_table_without_headings_is_names_and_values() -> None:
    table = Table("", (), ((Cell("name"), Cell("value")),), title="t")
    out = io.StringIO()
    Console(file=out, width=60).print(table.to_terminal(60))
    assert "name" in out.getvalue()
    assert "┡" not in out.getvalue()
