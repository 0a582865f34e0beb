"""Sentences in colours and Bloch balls: what is drawn, of whom, and that hostile words do no harm."""

import re

import numpy as np
import pytest

from qinn.errors import ArgumentError
from qinn.report.bloch_figure import BlochMap, ball_figure, bloch_figure
from qinn.report.sentence_figure import (
    COLOURS,
    MARKS,
    MEANINGS,
    MOST_SENTENCES,
    Mark,
    Sentence,
    chosen_sentences,
    sentence_figure,
    sentences_figure,
)
from qinn.results.steps import AxisRecord, ShownSteps, Step, StepsSummary, Thresholds


def row(word, verdict="keeps", *, position=0, modality="text", score=0.0):
    return Step(modality, position, position, (position + 1) / 10, word, verdict, 0.8, score)


def summary():
    return StepsSummary(
        file="steps.parquet",
        steps=1,
        samples=1,
        skipped_samples=0,
        steps_without_contraction=0,
        axis=AxisRecord("x", 3, (0.0, 0.0, 1.0), (1.0,)),
        together=False,
        thresholds=Thresholds(0.5, 0.1),
        verdicts={},
        fewest=1,
        words=(),
        maps=(),
        outcomes=(),
    )


def test_every_verdict_has_a_colour_a_marker_and_a_meaning():
    from qinn.explain.steps import VERDICTS

    assert set(COLOURS) == set(MARKS) == set(MEANINGS) == set(VERDICTS)


def test_a_long_sentence_is_broken_into_lines_and_sounds_lie_under_words():
    words = [Mark(f"word{index}", "keeps", 1.0, index / 40, 2 * index, 0.1) for index in range(40)]
    sounds = [
        Mark("", "inverts", 1.0, index / 40 + 0.01, 2 * index + 1, -0.1 * (index % 3)) for index in range(40)
    ]
    tall = sentences_figure([Sentence("a", words, {"audio": sounds})])
    flat = sentences_figure([Sentence("a", words[:3], {"audio": sounds[:3]})])

    def height(svg):
        return float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])

    assert height(tall) > 3 * height(flat)
    assert "word39 (keeps)" in tall


def test_hostile_words_are_drawn_as_they_stand():
    words = [
        Mark(text, "resets", 1.0, 0.5, index, 1.0)
        for index, text in enumerate(["$x^2$", "<script>", r"\$5", "a&b"])
    ]
    rows = [row("$x^2$"), row("<script>", position=1), row("\x1b[31m", position=2)]
    assert "<script>" not in sentences_figure([Sentence("<b>", [*words[1:2], words[3]])])
    svg = sentence_figure(ShownSteps(summary(), {"<b>": rows}))
    assert "<script>" not in svg
    assert "\x1b" not in svg


def test_nothing_is_drawn_of_nothing():
    with pytest.raises(ArgumentError, match="sentences"):
        sentences_figure([Sentence("a", [])])
    with pytest.raises(ArgumentError, match="maps"):
        bloch_figure([], np.array([0.0, 0.0, 1.0]))
    shown = ShownSteps(summary(), {"a": [row("")]})
    assert sentence_figure(shown) is None
    assert ball_figure(shown) is None
    assert shown.summary.words_table("of nothing") is None


def test_few_samples_are_all_drawn_and_of_many_the_most_telling():
    few = {name: [row("so"), row("good", position=1)] for name in ("b", "a")}
    assert chosen_sentences({**few, "silent": [row("")]}) == ["b", "a"]
    many = {f"s{index}": [row("so", position=place) for place in range(4)] for index in range(9)}
    many["s7"] = [row("not", "inverts", position=place) for place in range(4)]
    many["long"] = [row("not", "inverts", position=place) for place in range(31)]
    assert chosen_sentences(many) == ["s7", "s0", "s1", "s2", "s3"]
    assert len(chosen_sentences(many)) == MOST_SENTENCES


def test_a_ball_is_drawn_where_its_map_takes_it():
    reset = BlochMap("great", "3 ×", "resets", np.zeros((3, 3)), np.array([0.0, 0.0, 0.9]))
    still = BlochMap("the", "9 ×", "keeps", np.eye(3), np.zeros(3))
    one = bloch_figure([reset, still], np.array([0.0, 0.0, 1.0]))
    assert "great resets; the keeps" in one
    # The same seen from any side: a rotation of everything changes nothing but the plane that is shown.
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    turned = [
        BlochMap(each.name, each.detail, each.verdict, turn @ each.kept @ turn.T, turn @ each.written)
        for each in (reset, still)
    ]

    def ellipses(svg):
        return [path for path in re.findall(r'<path d="([^"]+)"', svg) if path.count("L") > 100]

    other = bloch_figure(turned, turn @ np.array([0.0, 0.0, 1.0]))
    assert len(ellipses(one)) == len(ellipses(other)) > 2
