"""Words become ids of the training vocabulary, and a lexicon's columns, without a pretrained encoder."""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from qinn.data.importing.transcripts import Encoder, Learner, TextOptions, spans_of_texts
from qinn.data.stores.manifest import Modality
from qinn.errors import ConfigError, MissingPackageError
from qinn.features.lexicons import Lexicon, load_lexicon
from qinn.features.words import MOST_WORDS, WordEncoder, WordLearner

LEXICON = Lexicon(
    "mine", {"good": 1.9, "bad": -2.5, ":)": 2.0}, frozenset({"not"}), {"very": 1.0, "kinda": -1.0}
)


def test_ids_are_those_of_the_vocabulary_and_others_are_zero() -> None:
    encoder = WordEncoder(["the", "film", "good"])
    found = encoder.encode(["The film: GOOD!", "", "  ", "a “film”"])
    assert [array[:, 0].tolist() for array in found] == [[1, 2, 3], [], [], [0, 2]]
    assert [array.shape for array in found] == [(3, 1), (0, 1), (0, 1), (2, 1)]
    assert all(array.dtype == np.float32 for array in found)
    assert isinstance(encoder, Encoder)
    assert not isinstance(encoder, Learner)


def test_the_lexicon_says_what_stands_beside_the_id() -> None:
    encoder = WordEncoder(["film"], LEXICON)
    assert encoder.dim == 4
    [found] = encoder.encode_words([["film", "Good,", "NOT", "didn’t", "very", "kinda", ":)", ":"]])
    assert found[:, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(found[:, 1], [0, 1.9, 0, 0, 0, 0, 2.0, 0])
    assert found[:, 2].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert found[:, 3].tolist() == [0, 0, 0, 0, 1, -1, 0, 0]


def test_the_commonest_words_come_first_and_equals_in_the_order_of_their_letters() -> None:
    sentences = [["b", "a", "C"], ["c", "a", "d"], ["c.", "e"]]
    assert WordLearner(3).learn(sentences).vocabulary == ("c", "a", "b")
    assert WordLearner(3).learn(reversed(sentences)).vocabulary == ("c", "a", "b")
    assert WordLearner(300).learn(sentences).vocabulary == ("c", "a", "b", "d", "e")


def test_the_tier_names_vocabulary_and_lexicon() -> None:
    tiers = {
        WordEncoder(["a", "b"]).tier,
        WordEncoder(["b", "a"]).tier,
        WordEncoder(["a", "b"], LEXICON).tier,
        WordEncoder(["a", "b"], Lexicon("mine", {"good": 1.8})).tier,
    }
    assert len(tiers) == 4
    modalities = [Modality(1, "sequence", tier) for tier in tiers]
    assert [modality.num_words for modality in modalities] == [2] * 4
    assert all(modality.tokenizer is None for modality in modalities)
    assert sorted(tier.partition("@")[0] for tier in tiers) == [
        "words-2",
        "words-2",
        "words-2+mine",
        "words-2+mine",
    ]


@pytest.mark.parametrize("number", [0, -1, MOST_WORDS + 1])
def test_impossible_sizes_are_refused(number: int) -> None:
    with pytest.raises(
        ConfigError, match=f"`num_words` must be at least 1 and at most {MOST_WORDS}, but it is"
    ):
        WordLearner(number)


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no word to learn a vocabulary from; .*words:STORE"):
        WordLearner().learn([[], []])


def test_every_word_has_the_characters_that_it_stands_for() -> None:
    encoder = WordEncoder(["so"])
    spans = spans_of_texts(encoder, ["so  good, İ"], TextOptions(unit="words"))
    assert spans is not None
    assert spans[0].tolist() == [[0, 2], [4, 9], [10, 11]]
    assert len(encoder.encode(["so  good, İ"])[0]) == 3


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package laid out like vaderSentiment."""
    module = types.ModuleType("vaderSentiment.vaderSentiment")
    module.__file__ = str(tmp_path / "vaderSentiment.py")
    module.__dict__.update(NEGATE=["not"], BOOSTER_DICT={"very": 0.293, "kinda": -0.293, "kind of": -0.293})
    (tmp_path / "vader_lexicon.txt").write_text(
        "good\t1.9\t0.9\t[2, 1]\n:)\t2.0\t1.1\t[2, 2]\n", encoding="utf-8"
    )
    monkeypatch.setitem(sys.modules, "vaderSentiment", types.ModuleType("vaderSentiment"))
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", module)
    return module


def test_the_lexicon_is_that_of_its_package(package: types.ModuleType) -> None:
    lexicon = load_lexicon("vader")
    assert lexicon.valence == {"good": 1.9, ":)": 2.0}
    assert lexicon.negations == {"not"}
    assert lexicon.boosters == {"very": 1.0, "kinda": -1.0, "kind of": -1.0}
    before = lexicon.digest
    package.__dict__["NEGATE"].append("never")
    assert load_lexicon("vader").digest != before


def test_a_missing_or_changed_package_is_said(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(str(package.__file__)).with_name("vader_lexicon.txt").write_text("good\tvery\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="can't be read from the package vaderSentiment"):
        load_lexicon("vader")
    del package.__dict__["NEGATE"]
    with pytest.raises(ConfigError, match="can't be read from the package vaderSentiment"):
        load_lexicon("vader")
    monkeypatch.setitem(sys.modules, "vaderSentiment", None)
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'qinn\[lexicon\]'"):
        load_lexicon("vader")


@pytest.mark.skipif(
    importlib.util.find_spec("vaderSentiment") is None,
    reason="the optional extra qinn[lexicon] is not installed",
)
def test_the_real_lexicon_knows_good_from_bad() -> None:
    lexicon = load_lexicon("vader")
    assert len(lexicon.valence) > 7000
    assert lexicon.columns("good", "good") == (1.9, 0.0, 0.0)
    assert lexicon.columns("bad", "bad")[0] < -2
    assert lexicon.columns("not", "not") == (0.0, 1.0, 0.0)
    assert lexicon.columns("really", "really") == (0.0, 0.0, 1.0)
