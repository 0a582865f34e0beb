"""Token ids and their places in the text, from the tokenizer to the store."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the optional extra qinn[text] is not installed")

from qinn.data.importing.transcripts import TextOptions, Tokenizer, encode_texts, spans_of_texts
from qinn.errors import ConfigError, MissingPackageError
from qinn.features.architecture import architecture_of, build_architecture
from qinn.features.text import TransformerEncoder, load_text_encoder

from ..tiny_transformer import SPECIAL, WORDS, write_tiny_transformer

VOCABULARY = SPECIAL + WORDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_transformer(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TransformerEncoder:
    return load_text_encoder(f"folder:{folder}")


def tokens_of(values: np.ndarray) -> list[str]:
    return [VOCABULARY[int(value)] for value in values[:, 0]]


def test_ids_are_those_that_the_model_sees(encoder: TransformerEncoder) -> None:
    found = encode_texts(encoder, ["The goodness", "电影好 !", "", "  "], TextOptions(unit="ids"))
    assert tokens_of(found[0]) == ["[CLS]", "the", "good", "##ness", "[SEP]"]
    assert tokens_of(found[1]) == ["[CLS]", "电", "影", "好", "!", "[SEP]"]
    assert [array.shape for array in found[2:]] == [(0, 1), (0, 1)]
    assert all(array.dtype == np.float32 for array in found)
    assert isinstance(encoder, Tokenizer)
    assert encoder.vocabulary_size == len(VOCABULARY)


def test_long_texts_are_cut_at_the_models_length_and_keep_their_end(encoder: TransformerEncoder) -> None:
    found = encode_texts(encoder, ["good " * 50], TextOptions(unit="ids"))[0]
    assert len(found) == 16
    assert tokens_of(found)[-2:] == ["good", "[SEP]"]


@pytest.mark.parametrize("unit", ["ids", "tokens", "words"])
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "the film was unlike goodness !",
        "İ İ good film",
        "电影 very好",
        "",
        " \t ",
        "good " * 30,
        ["very", "good", "film"],
    ],
)
def test_every_step_has_the_characters_that_it_stands_for(
    encoder: TransformerEncoder, unit: str, lowercase: bool, text: Any
) -> None:
    options = TextOptions(unit=unit, lowercase=lowercase)
    steps = encode_texts(encoder, [text], options)[0]
    spans = spans_of_texts(encoder, [text], options)
    assert spans is not None
    assert spans[0].shape == (len(steps), 2)
    joined = text if isinstance(text, str) else " ".join(text)
    words = [joined[start:stop] for start, stop in spans[0]]
    if unit == "words":
        assert words == (text.split() if isinstance(text, str) else text)
    if unit == "ids":
        for word, token in zip(words, tokens_of(steps), strict=True):
            known = token.removeprefix("##")
            if token in ("[CLS]", "[SEP]"):
                assert word == ""
            else:
                # The tokenizer takes the dot off the lower-case İ.
                assert word.lower().startswith(known) or token == "[UNK]"


def test_characters_are_found_where_lower_case_is_longer(encoder: TransformerEncoder) -> None:
    assert len("İ".lower()) == 2
    spans = spans_of_texts(encoder, ["İ İ good"], TextOptions(lowercase=True))
    assert spans is not None
    assert spans[0][-1].tolist() == [4, 8]


def test_an_encoder_without_tokens_has_no_ids_and_no_places() -> None:
    class Plain:
        tier, dim = "plain", 2

        def encode(self, texts: Any) -> list[np.ndarray]:
            return [np.ones((1, 2)) for _ in texts]

        def encode_words(self, sentences: Any) -> list[np.ndarray]:
            return [np.ones((len(words), 2)) for words in sentences]

    assert spans_of_texts(Plain(), ["good"], TextOptions()) is None
    with pytest.raises(ConfigError, match="has no token ids"):
        encode_texts(Plain(), ["good"], TextOptions(unit="ids"))


def test_the_tier_says_that_ids_are_ids(encoder: TransformerEncoder) -> None:
    modality = TextOptions(unit="ids", lowercase=True).described(encoder)
    assert (modality.dim, modality.tokenizer) == (1, encoder.tier)
    assert modality.tier == f"{encoder.tier}/ids/lower"
    assert encoder.tokenize([]) == []


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet"])
def test_an_architecture_is_built_again_without_its_weights(tmp_path: Path, family: str) -> None:
    import torch

    model = load_text_encoder(f"folder:{write_tiny_transformer(tmp_path / 'm', family=family)}").model
    stated = architecture_of(model)
    # A later version of the library may have other defaults, so those of this one are stated too.
    assert ("attention_dropout" if family == "distilbert" else "layer_norm_eps") in stated
    other = build_architecture({**stated, "auto_map": {"AutoModel": "elsewhere--run.Me"}})
    other.load_state_dict(model.state_dict())
    ids = torch.tensor([[2, 5, 6, 3]])
    with torch.no_grad():
        expected, found = model(ids).last_hidden_state, other(ids).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not other.training


@pytest.mark.parametrize(
    "stated", [{}, {"model_type": "typewriter"}, {"model_type": "bert", "hidden_size": "wide"}]
)
def test_impossible_architectures_are_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot build the architecture"):
        build_architecture(stated)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'qinn\[text\]'"):
        build_architecture({"model_type": "bert"})
