"""Token ids of an MMSA file are those of the tokenizer that is named, or the file is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers", reason="the optional extra qinn[text] is not installed")

from qinn.data.importing import MmsaOptions, import_data
from qinn.data.importing.tokens import TokenAligner
from qinn.errors import ConfigError, DataError
from qinn.features.text import TransformerEncoder, load_text_encoder

from ...tiny_transformer import write_tiny_transformer

TEXTS = ["the film was good", "very bad", "unlike goodness !", "电影好", "not good"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TransformerEncoder:
    return load_text_encoder(f"folder:{write_tiny_transformer(tmp_path_factory.mktemp('tiny'))}")


def with_ids(content: Any, encoder: TransformerEncoder, *, texts: list[str] = TEXTS, length: int = 50) -> Any:
    """Give every sample of a generated file a text and its ids, padded or cut as the file's makers do."""
    for part in content.values():
        size = len(part["id"])
        part["raw_text"] = np.array([texts[row % len(texts)] for row in range(size)], object)
        part["text_bert"] = np.zeros((size, 3, length), np.float32)
        for row, (ids, _, _) in enumerate(encoder.tokenize(list(part["raw_text"]))):
            cut = ids if len(ids) <= length else np.append(ids[: length - 1], ids[-1])
            part["text_bert"][row, 0, : len(cut)] = cut
            part["text_bert"][row, 1, : len(cut)] = 1
    return content


OPTIONS = MmsaOptions(text_source="ids", modalities=("text", "audio"))


def test_ids_of_a_named_tokenizer_can_be_fine_tuned_on(
    mmsa: Callable[..., Any], pickled: Callable[..., Path], tmp_path: Path, tokenizer: TransformerEncoder
) -> None:
    source = pickled(with_ids(mmsa(aligned=False), tokenizer))
    store = import_data(source, tmp_path / "store", OPTIONS, encoder=tokenizer)
    assert store.tiers["text"] == f"{tokenizer.tier}/ids"
    assert store.modalities["text"] == 1
    store.verify()
    for row in range(len(store)):
        text = store.strings("text")[row]
        assert store.sample(row, "text")[:, 0].tolist() == tokenizer.tokenize([text])[0][0].tolist()
        words = store.words(row, "text")
        assert words is not None
        assert "".join(words) == text.replace(" ", "")
    assert any(
        f"token ids of {len(store)} of {len(store)} transcripts" in note for note in store.manifest["notes"]
    )


def test_ids_that_were_cut_keep_their_places(
    mmsa: Callable[..., Any], pickled: Callable[..., Path], tmp_path: Path, tokenizer: TransformerEncoder
) -> None:
    source = pickled(with_ids(mmsa(aligned=False), tokenizer, texts=["the film was very good"], length=5))
    store = import_data(source, tmp_path / "store", OPTIONS, encoder=tokenizer)
    assert store.words(0, "text") == ["", "the", "film", "was", ""]


def test_without_a_tokenizer_the_tier_names_none(
    mmsa: Callable[..., Any], pickled: Callable[..., Path], tmp_path: Path, tokenizer: TransformerEncoder
) -> None:
    store = import_data(pickled(with_ids(mmsa(aligned=False), tokenizer)), tmp_path / "store", OPTIONS)
    assert store.tiers["text"] == "mmsa:text_bert ids"
    assert store.words(0, "text") is None


def test_ids_of_another_tokenizer_are_refused(
    mmsa: Callable[..., Any], pickled: Callable[..., Path], tmp_path: Path, tokenizer: TransformerEncoder
) -> None:
    content = with_ids(mmsa(aligned=False), tokenizer)
    for part in content.values():
        ids = part["text_bert"][:, 0]
        ids[ids >= 5] = 25 - ids[ids >= 5]
    with pytest.raises(DataError, match="does not make of the same texts"):
        import_data(pickled(content), tmp_path / "store", OPTIONS, encoder=tokenizer)
    content["train"]["text_bert"][0, 0, 0] = 30521
    with pytest.raises(DataError, match=r"\[train\] has the token id 30521, but .* has 21 tokens"):
        import_data(pickled(content), tmp_path / "store", OPTIONS, encoder=tokenizer)
    assert not (tmp_path / "store").exists()


def test_samples_that_differ_keep_their_ids_and_have_no_places(
    mmsa: Callable[..., Any], pickled: Callable[..., Path], tmp_path: Path, tokenizer: TransformerEncoder
) -> None:
    content = with_ids(mmsa(aligned=False), tokenizer)
    content["train"]["text_bert"][0, 0, 1] = 20
    store = import_data(pickled(content), tmp_path / "store", OPTIONS, encoder=tokenizer)
    row = list(store.strings("id")).index(str(content["train"]["id"][0]))
    assert store.sample(row, "text")[1, 0] == 20
    assert not any(store.words(row, "text") or ["words"])
    assert any(f"token ids of {len(store) - 1} of {len(store)}" in note for note in store.manifest["notes"])


def test_files_without_transcripts_cannot_be_compared_and_say_so(
    mmsa: Callable[..., Any], pickled: Callable[..., Path], tmp_path: Path, tokenizer: TransformerEncoder
) -> None:
    content = with_ids(mmsa(aligned=False), tokenizer)
    for part in content.values():
        del part["raw_text"]
    store = import_data(pickled(content), tmp_path / "store", OPTIONS, encoder=tokenizer)
    assert any("could not be compared" in note for note in store.manifest["notes"])


def test_an_encoder_without_tokens_names_no_tokenizer(encoder: Any) -> None:
    with pytest.raises(ConfigError, match="has no token ids"):
        TokenAligner(encoder, lowercase=False)


def test_what_the_files_length_cut_and_the_tokenizer_does_not_know_is_counted(
    mmsa: Callable[..., Any], pickled: Callable[..., Path], tmp_path: Path, tokenizer: TransformerEncoder
) -> None:
    texts = ["good " * 20, "☃ ☃", "the film was good"]
    content = {"test": mmsa(aligned=False)["test"]}
    source = pickled(with_ids(content, tokenizer, texts=texts, length=12))
    store = import_data(source, tmp_path / "store", OPTIONS, encoder=tokenizer)
    counts = [tokenizer.count_tokens([text])[0] for text in texts]
    size = len(store)
    cut = [row for row in range(size) if row % 3 == 0]
    unknown = sum(counts[row % 3][2] for row in range(size))
    total = sum(counts[row % 3][0] for row in range(size))
    lost = sum(counts[0][0] - 10 for _ in cut)
    notes = [
        note for note in store.manifest["notes"] if "transcripts are longer" in note or "unknown to" in note
    ]
    assert notes[0].startswith(
        f"{len(cut)} of {size} transcripts are longer than the 10 tokens that the file holds: {lost} of all {total} "
        "tokens were cut off"
    )
    assert f"({unknown} of {total}) are unknown to `{tokenizer.tier}`" in notes[1]
