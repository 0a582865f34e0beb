"""The result of `qinn score` is what its schema says, and comes back from its JSON as it was."""

import json
from dataclasses import replace
from typing import Any

import pytest

from qinn.errors import ArgumentError, DataError
from qinn.results.clip_score import SCHEMA, ClipScore, generated_schema, json_schema

from ..clip_scores import made_score, scored_classes


def test_the_schema_in_the_package_is_that_of_the_records():
    # After a change of the records: write `generated_schema()` into the file, and think about its version.
    assert json_schema() == generated_schema()
    assert json_schema()["properties"]["schema"] == {"const": SCHEMA}


@pytest.mark.parametrize("made", [made_score(), scored_classes()], ids=["score", "classes"])
def test_a_result_comes_back_from_its_json(made: ClipScore):
    content = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert ClipScore.from_json(content) == made
    assert content["schema"] == SCHEMA
    assert ClipScore.from_json({**content, "added_later": 1}) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "qinn.clip-score/2"}, "its schema is 'qinn.clip-score/2'"),
        ({"seconds": "long"}, "`seconds`"),
        ({"words": [{"text": "so"}]}, "`words.0.begin`"),
    ],
)
def test_what_is_no_result_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(DataError, match=message):
        ClipScore.from_json({**made_score().to_json(), **change})
    with pytest.raises(DataError, match="schema is None"):
        ClipScore.from_json([])


def test_no_number_of_a_result_is_infinite_or_none_at_all():
    scored = made_score()
    with pytest.raises(ArgumentError, match=r"`outcome.high` must be a finite number"):
        replace(scored, outcome=replace(scored.outcome, high=float("inf")))
