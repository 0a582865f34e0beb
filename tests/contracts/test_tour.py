"""The tour runs from its first block to its last, and prints what it says."""

import pytest
import torch
from tour import ELSEWHERE, PAGE, Ran, walk


@pytest.mark.slow
def test_the_tour_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        ran = list(walk())
    finally:
        # The page shortens numbers, which examples in docstrings that come later in this process must not be.
        torch.set_printoptions(profile="default")
    assert len(ran) > 10
    assert {one.line: one.missing() for one in ran if one.missing() is not None} == {}


def test_what_is_run_elsewhere_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"```\n{start}" in text for start in ELSEWHERE)


@pytest.mark.parametrize(
    ("stated", "printed", "missing"),
    [
        ("a: 1\nb\n", "note\na: 2\nb\n", None),
        ("a\n…\nc\n", "a\nb\nc\n", None),
        ("│ a │ −0.1 │\n", "┃ a ┃ 0.25 ┃\n", None),
        ("b\na\n", "a\nb\n", "a"),
        ("a: one\n", "a: two\n", "a: one"),
    ],
)
def test_a_line_that_is_not_printed_is_found(stated, printed, missing):
    assert Ran("qinn", stated, printed).missing() == missing
