"""The page of a scored clip: nothing of others is mark-up, nothing needs another file, numbers stand beside colours."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from qinn.errors import OutputError
from qinn.report.clip_page import clip_css, clip_fragment, clip_page, write_clip_page
from qinn.results.clip_score import Outcome
from qinn.results.clip_score_tables import headline, score_row, score_tables

from ..clip_scores import made_score, scored_classes


@pytest.mark.parametrize("made", [made_score(), scored_classes()], ids=["score", "classes"])
def test_the_fragment_stands_under_the_strictest_policy(made):
    fragment = clip_fragment(made)
    ElementTree.fromstring(fragment)  # closed and escaped throughout
    assert not re.search(
        r"<(style|script|link|img|iframe|object|image|use)\b|\sstyle=|\son\w+=|href|src=", fragment
    )
    assert not re.search(r"url\(|@import|http", clip_css())
    page = clip_page(made)
    assert page.count("<style>") == 1
    assert "Content-Security-Policy" in page
    assert not re.search(r"<script|https?:|src=|href=", page)


def test_texts_of_others_are_no_mark_up():
    scored = made_score(clip='<img src=x>"\x1b[31m', warnings=("<script>alert(1)</script>",))
    fragment = clip_fragment(scored)
    assert "<img" not in fragment
    assert "<script" not in fragment
    assert "\x1b" not in fragment
    assert "&lt;b&gt;glad&lt;/b&gt;" in fragment
    assert "\x1b" not in clip_page(scored)


def test_words_and_stretches_carry_their_seconds_and_their_numbers():
    root = ElementTree.fromstring(clip_fragment(made_score()))
    words = [one for one in root.iter("span") if "word" in one.get("class", "").split()]
    assert [(one.get("data-begin"), one.get("data-end")) for one in words[:2]] == [
        ("0", "0.3"),
        ("0.4", "0.7"),
    ]
    assert ["".join(one.find("small").itertext()) for one in words] == [
        "+0.10",
        "+0.020",
        "+0.20",
        "+0.61",
        "−0.24",
    ]
    assert "up-5" in words[3].get("class")
    assert "down-2" in words[4].get("class")
    strips = [one for one in root.iter("svg") if one.get("class") == "strip"]
    assert [len(one.findall("rect")) for one in strips] == [5, 3, 3]
    assert all(one.get("role") == "img" and one.get("aria-label") for one in strips)
    heights = [float(one.get("height")) for strip in strips for one in strip.findall("rect")]
    audio, vision = heights[5:8], heights[8:]
    # One scale for all: +0.1 of the sound is a third of +0.3 of the face.
    assert audio[0] / vision[0] == pytest.approx(1 / 3, abs=0.02)


def test_the_page_says_what_is_not_known():
    fragment = clip_fragment(made_score())
    assert "The clip has none of it." in fragment
    assert "more than in 62 % of the run&#x27;s test samples" in fragment
    assert "keeps no test values" in fragment
    assert "There is a face in 66% of the pictures." in fragment
    bare = replace(
        made_score(),
        words=(),
        strips=(),
        modalities=(),
        correlations=(),
        jumps=None,
        warnings=(),
        outcome=Outcome(
            kind="regression", scale=(-3.0, 3.0), middle=0.0, score=4.0, level=0.9, certainty="None."
        ),
    )
    ElementTree.fromstring(clip_fragment(bare))


def test_next_to_no_effect_has_no_colour_and_code_is_code():
    scored = made_score(warnings=("Try `qinn calibrate` <now>.",))
    faint = replace(scored, words=tuple(replace(word, effect=0.004) for word in scored.words), strips=())
    root = ElementTree.fromstring(clip_fragment(faint))
    words = [one for one in root.iter("span") if "word" in one.get("class", "").split()]
    assert all("faint" in one.get("class") and not re.search("up-|down-", one.get("class")) for one in words)
    assert "Try <code>qinn calibrate</code> &lt;now&gt;." in clip_fragment(faint)


def test_a_page_replaces_its_like_and_nothing_else(tmp_path):
    target = tmp_path / "page.html"
    write_clip_page(made_score(), target)
    write_clip_page(made_score(clip="other.mp4"), target)
    assert "other.mp4" in target.read_text("utf-8")
    target.write_text("mine")
    with pytest.raises(OutputError, match="was not made by `qinn score`"):
        write_clip_page(made_score(), target)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_score_is_told_in_a_line_a_row_and_tables():
    scored = made_score()
    assert headline(scored) == (
        "holiday.mp4 (2.3 s): score +0.84 on [−3, 3]; 90 % interval [−0.52, +2.20]; probability above 0: 0.83"
    )
    row = score_row(scored)
    assert (row["score"], row["p_positive"], row["without:text"], row["absent"]) == (
        0.84,
        0.83,
        0.1,
        "vision",
    )
    assert row["words"] == "I am so <b>glad</b> today"
    titles = [table.title for table in score_tables(scored)]
    assert titles[0] == "Words that do most"
    assert score_tables(scored)[0].rows[0][0].text == "<b>glad</b>"
    classes = score_row(scored_classes())
    assert (classes["class"], classes["set"], classes["probability:happy"]) == ("happy", "happy", 0.7)
    assert headline(scored_classes()) == "holiday.mp4 (2.3 s): happy (0.70); 90 % set: happy"
