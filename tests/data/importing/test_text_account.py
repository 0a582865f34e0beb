"""What an encoder cuts off or does not know is a note of the import, of the manifest and of the inspection."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn import cli
from qinn.data.checking.inspection import inspect
from qinn.data.importing import (
    MisaOptions,
    MmsaOptions,
    TableOptions,
    TaskOptions,
    TextOptions,
    describe_import,
    import_data,
)
from qinn.data.stores.store import Store
from qinn.features.text import TransformerEncoder, load_text_encoder
from qinn.features.words import WordLearner

from ...tiny_transformer import write_tiny_transformer

SIMS = TaskOptions(scale="sims")
LONG = " ".join(["good film"] * 20)
CHINESE = "这部电影好看"


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> TransformerEncoder:
    """Reads 14 tokens beside its two marks, and knows three Chinese characters."""
    return load_text_encoder(f"folder:{write_tiny_transformer(tmp_path_factory.mktemp('tiny'))}")


def table(folder: Path, texts: list[str]) -> Path:
    rows = [f'c{row},"{text}",{row / len(texts)}' for row, text in enumerate(texts)]
    (folder / "t.csv").write_text("\n".join(["id,text,mood", *rows]) + "\n", encoding="utf-8")
    return folder / "t.csv"


def noted(store: Store, part: str) -> str:
    """Return the note that holds some words, which every account of the store has to have."""
    (found,) = [note for note in store.manifest["notes"] if part in note]
    assert f"note: {found}" in describe_import(store)
    assert f"note: {found}" in inspect(store).render()
    assert found in inspect(store).notes
    return found


@pytest.mark.parametrize("unit", ["tokens", "words", "ids"])
def test_transcripts_beyond_the_encoders_length_are_counted(unit, transformer, tmp_path):
    options = TableOptions(task=SIMS, text_column="text", text=TextOptions(unit=unit), label_column="mood")
    source = table(tmp_path, ["good", LONG, "bad film"])
    store = import_data(source, tmp_path / "s", options, encoder=transformer)
    found = noted(store, "longer than the 14 tokens")
    assert found.startswith("1 of 3 transcripts")
    assert "26 of all 43 tokens were cut off" in found
    assert "of sample `c1`, has 40" in found
    assert ("have zeros" in found) == (unit == "words")
    assert ("text-cut" in {one.kind for one in inspect(store).findings}) == (unit != "words")


def test_unknown_tokens_are_counted_and_many_come_with_a_remedy(transformer, tmp_path):
    options = TableOptions(task=SIMS, text_column="text", label_column="mood")
    store = import_data(table(tmp_path, [CHINESE, "good"]), tmp_path / "s", options, encoder=transformer)
    found = noted(store, "unknown to")
    assert found.startswith("42.86% of the tokens (3 of 7) are unknown")
    assert "in 1 of 2 transcripts, as of sample `c0`" in found
    assert "`hub:bert-base-chinese`" in found


def test_words_outside_of_a_learned_vocabulary_are_counted(tmp_path):
    options = TableOptions(task=SIMS, text_column="text", label_column="mood")
    source = table(tmp_path, ["good good film", "good bad", ""])
    options = TableOptions(task=SIMS, text_column="text", label_column="mood", empty="drop")
    store = import_data(source, tmp_path / "s", options, encoder=WordLearner(1))
    assert noted(store, "unknown to").startswith("40.00% of the words (2 of 5)")
    assert noted(store, "are empty").startswith("1 of 3 transcripts are empty, as that of sample `c2`")


def test_the_account_is_that_of_every_layout_with_transcripts(transformer, mmsa, misa, pickled, tmp_path):
    content = mmsa()
    content["test"]["raw_text"] = np.array([LONG, *["GOOD FILM"] * 4])
    options = MmsaOptions(text_source="encode", text=TextOptions(lowercase=True))
    store = import_data(pickled(content), tmp_path / "mmsa", options, encoder=transformer)
    assert noted(store, "longer than").startswith("1 of 16 transcripts")
    assert "unknown to" in noted(store, "unknown to")
    store = import_data(pickled(misa(), "train.pkl"), tmp_path / "misa", MisaOptions(), encoder=transformer)
    assert "are unknown to" in noted(store, "unknown to")


def test_nothing_is_said_where_nothing_is_cut_or_unknown(transformer, tmp_path):
    options = TableOptions(task=SIMS, text_column="text", label_column="mood")
    store = import_data(
        table(tmp_path, ["good film", "the film was bad"]), tmp_path / "s", options, encoder=transformer
    )
    assert not [
        note
        for note in store.manifest["notes"]
        if "unknown to" in note or "longer" in note or "empty" in note
    ]


def test_the_name_of_the_labels_stands_in_manifest_and_inspection(
    transformer, mmsa, pickled, tmp_path, monkeypatch, capsys
):
    options = TableOptions(task=SIMS, text_column="text", label_column="mood")
    store = import_data(table(tmp_path, ["good"]), tmp_path / "s", options, encoder=transformer)
    assert store.manifest["label_name"] == store.label_name == "mood"
    assert "\nlabels (mood)\n" in inspect(store).render()
    monkeypatch.setattr(
        sys, "argv", ["qinn", "data", "import", str(pickled(mmsa())), "--to", str(tmp_path / "m")]
    )
    with pytest.raises(SystemExit):
        cli.main()
    assert "`regression_labels`" in capsys.readouterr().err
    assert Store.open(tmp_path / "m").label_name == "regression_labels"


def test_a_store_without_labels_names_none(transformer: Any, tmp_path: Path) -> None:
    options = TableOptions(text_column="text", label_column=None, task=SIMS)
    store = import_data(table(tmp_path, ["good"]), tmp_path / "s", options, encoder=transformer)
    assert store.label_name == ""
    assert "label_name" not in store.manifest
