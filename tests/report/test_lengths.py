"""The figure of accuracy over length."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from qinn.destinations import check_destination
from qinn.errors import ArgumentError, OutputError
from qinn.experiment.stream_demo import KINDS
from qinn.report.lengths import FIGURE, _apart, lengths_figure, write_lengths_figure

PANELS = {"recurring": {"qubit": [1.0, 0.98], "unitary": [0.5, 0.51]}, "one": {"qubit": [1.0, 1.0]}}


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
    kinds = {key: [1.0, 1.0] for key in KINDS.values()}
    known = {"best possible (Bayes)": kinds, "best constant": {"as trained": 0.5}}
    place = tmp_path / "streams.svg"
    write_lengths_figure(place, {"lengths": [20, 200], "accuracy": {"qubit": kinds}, "known": known})
    assert check_destination(place, FIGURE).replaces
    place.write_text("<svg></svg>")
    with pytest.raises(OutputError, match="not made by `qinn demo`"):
        check_destination(place, FIGURE)
