"""The figure of accuracy over length."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from qinn.destinations import check_destination
from qinn.errors import ArgumentError, OutputError
from qinn.report.numbering import FigureExhibit, Numbering, TableExhibit
from qinn.report.stream_lengths import FIGURE, _apart, lengths_figure, lengths_section, write_lengths_figure
from qinn.results.comparison import ComparisonResult
from qinn.results.demo import BAYES, CONSTANT, LengthsRow, StreamsResult
from qinn.results.summary import DataRecord
from qinn.task import Task

PANELS = {"recurring": {"qubit": [1.0, 0.98], "unitary": [0.5, 0.51]}, "one": {"qubit": [1.0, 1.0]}}


def streams(qubit: LengthsRow, known: dict[str, LengthsRow]) -> StreamsResult:
    compared = ComparisonResult(
        name="c",
        reference="qubit",
        data=DataRecord("d", "a" * 64, Task("regression", -3.0, 3.0, "mosi"), {}, "fixed"),
        num_test=9,
        num_groups=None,
        models={},
        paired={},
        versions={},
        commit=None,
        machine={},
        command="",
    )
    return StreamsResult(compared, (20, 200), {"qubit": qubit}, known)


def paths(svg: str) -> int:
    return len(re.findall("<path", svg))


def test_every_model_of_every_panel_is_drawn() -> None:
    svg = lengths_figure([20, 200], PANELS, best=[1.0, 1.0], chance=0.5)
    ElementTree.fromstring(svg)
    assert "Accuracy of 2 models" in svg
    assert svg == lengths_figure([20, 200], PANELS, best=[1.0, 1.0], chance=0.5)
    more = {"recurring": {**PANELS["recurring"], "LSTM": [1.0, 0.9]}, "one": PANELS["one"]}
    assert paths(lengths_figure([20, 200], more, best=[1.0, 1.0], chance=0.5)) > paths(svg)


def test_numbers_beside_the_curves_do_not_cover_each_other() -> None:
    heights = _apart([1.0, 0.5, 0.999, 1.0, 0.501])
    ordered = sorted(heights)
    assert all(above - below >= 0.0349 for below, above in itertools.pairwise(ordered))
    assert max(heights) == 1.0
    assert _apart([0.5, 0.9]) == [0.5, 0.9]


@pytest.mark.parametrize(
    ("panels", "best", "message"),
    [
        ({}, [], "at least one kind"),
        ({"a": {"m": [1.0]}}, [1.0], "one value for each of 2 lengths, but `m` has 1"),
        ({"a": {"m": [1.0, 1.0]}}, [], "each of 1 panels"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(panels: dict, best: list, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        lengths_figure([20, 200], panels, best=best, chance=0.5)


def test_the_figure_of_a_demo_is_known_again_and_another_file_is_not(tmp_path) -> None:
    row = LengthsRow(1.0, (1.0, 1.0), (1.0, 1.0))
    place = tmp_path / "streams.svg"
    write_lengths_figure(place, streams(row, {BAYES: row, CONSTANT: replace(row, as_trained=0.5)}))
    assert check_destination(place, FIGURE).replaces
    place.write_text("<svg></svg>")
    with pytest.raises(OutputError, match="not made by `qinn demo`"):
        check_destination(place, FIGURE)


def test_the_section_has_the_figure_and_every_number() -> None:
    bayes = LengthsRow(1.0, (1.0, 0.999), (1.0, 0.998))
    known = {BAYES: bayes, CONSTANT: replace(bayes, as_trained=0.5)}
    found = streams(LengthsRow(0.991, (0.981, 0.971), (0.961, 0.951)), known)
    (part,) = lengths_section(found, Numbering()).parts
    figure, *tables = part.exhibits
    assert isinstance(figure, FigureExhibit)
    assert "1 model on streams of up to 200 steps" in figure.caption
    assert len(figure.panels) == 1
    shown = []
    for exhibit in tables:
        assert isinstance(exhibit, TableExhibit)
        assert exhibit.table.header == ("predictor", "as trained", "20", "200")
        assert [row[0].text for row in exhibit.table.rows] == ["qubit", *known]
        shown.append([cell.text for cell in exhibit.table.rows[0][1:]])
    assert shown == [["0.991", "0.981", "0.971"], ["0.991", "0.961", "0.951"]]
    assert [exhibit.number for exhibit in part.exhibits] == [1, 1, 2]
