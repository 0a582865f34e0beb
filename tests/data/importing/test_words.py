"""A vocabulary is learned from training transcripts alone, kept in the store, and used again on request."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qinn.data.importing import (
    CsdOptions,
    MisaOptions,
    MmsaOptions,
    TableOptions,
    TaskOptions,
    TextOptions,
    describe_import,
    import_data,
)
from qinn.data.stores.manifest import modalities_of
from qinn.data.stores.store import Modality, Store
from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.text_encoders import load_encoder
from qinn.features.words import WordEncoder, WordLearner

ROWS = [
    ("a", "1", "train", "good FILM, good"),
    ("b", "-1", "train", "the film"),
    ("c", "0", "valid", "unseen unseen unseen film"),
    ("d", "2", "test", "hidden hidden hidden hidden good"),
    ("e", "2", "test", ""),
]


def write_table(path: Path, rows: list[tuple[str, ...]] = ROWS) -> Path:
    lines = ["id,label,split,text", *(f'{i},{label},{split},"{text}"' for i, label, split, text in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def options(**changes: Any) -> TableOptions:
    given = {
        "task": TaskOptions(scale="mosi"),
        "split_column": "split",
        "text_column": "text",
        "empty": "drop",
    }
    return TableOptions(**{**given, **changes})


def vocabulary(store: Store) -> tuple[str, ...]:
    return modalities_of(store.manifest)["text"].vocabulary


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return import_data(write_table(tmp_path / "t.csv"), tmp_path / "store", options(), encoder=WordLearner())


def ids(store: Store) -> list[list[float]]:
    return [store.sample(row, "text")[:, 0].tolist() for row in range(len(store))]


def test_words_of_training_alone_have_an_id(store: Store) -> None:
    assert vocabulary(store) == ("film", "good", "the")
    assert ids(store) == [[2, 1, 2], [3, 1], [0, 0, 0, 1], [0, 0, 0, 0, 2]]
    assert store.words(0, "text") == ["good", "FILM,", "good"]
    assert store.tiers["text"].startswith("words-3@")
    assert "note: the vocabulary of `text` is that of 2 training transcripts" in describe_import(store)


def test_without_splits_all_transcripts_choose_and_that_is_said(tmp_path: Path) -> None:
    source = write_table(tmp_path / "t.csv")
    store = import_data(source, tmp_path / "store", options(split_column=None), encoder=WordLearner(1))
    assert vocabulary(store) == ("hidden",)
    [note] = store.manifest["notes"][:1]
    assert "all 5 transcripts, since no split is given" in note


def test_samples_that_are_dropped_choose_nothing(tmp_path: Path) -> None:
    task = TaskOptions(kind="classification", drop_labels=("1",))
    store = import_data(
        write_table(tmp_path / "t.csv"), tmp_path / "store", options(task=task), encoder=WordLearner()
    )
    assert vocabulary(store) == ("film", "the")


def test_the_vocabulary_of_a_store_encodes_another(store: Store, tmp_path: Path) -> None:
    source = write_table(tmp_path / "new.csv", [("n", "0", "train", "hidden film the hidden")])
    encoder = load_encoder(f"words:{store.path}")
    other = import_data(source, tmp_path / "new", options(), encoder=encoder)
    assert other.tiers == store.tiers
    assert vocabulary(other) == vocabulary(store)
    assert ids(other) == [[0, 1, 3, 0]]
    assert other.manifest["notes"] == [
        f"50.00% of the words (2 of 4) are unknown to `{other.tiers['text']}`, in 1 of 1 "
        "transcripts, as of sample `n`"
    ]


def test_the_vocabulary_is_part_of_the_content_hash_and_of_a_divided_store(
    store: Store, tmp_path: Path
) -> None:
    from qinn.data.subsets.division import SplitOptions, divide, write_division

    assert store.content_hash() == store.sha256
    path = store.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["modalities"]["text"]["vocabulary"][0] = "bilm"
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in store.path.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    (changed / "manifest.json").write_text(json.dumps(manifest))
    assert Store.open(changed).content_hash() != store.sha256
    with pytest.raises(ConfigError, match=r"says that its words are `words-3@.*it is damaged"):
        load_encoder(f"words:{changed}")
    division = SplitOptions(fractions=(0.5, 0.25, 0.25))
    divided = write_division(store, divide(store, division), division, tmp_path / "divided")
    assert vocabulary(divided) == vocabulary(store)


def test_a_vocabulary_is_that_of_its_tier() -> None:
    with pytest.raises(ArgumentError, match="must have the 3 words of its tier"):
        Modality(1, "sequence", "words-3@0123456789ab", ("one",))
    with pytest.raises(ArgumentError, match="must have the None words of its tier"):
        Modality(1, "sequence", "covarep", ("one",))


def test_ids_of_tokens_cannot_be_asked_of_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`text_unit` must be words where words are encoded"):
        import_data(
            write_table(tmp_path / "t.csv"),
            tmp_path / "store",
            options(text=TextOptions(unit="ids")),
            encoder=WordLearner(),
        )


def test_mmsa_files_have_training_words(
    mmsa: Callable[..., dict[str, Any]], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mmsa()
    content["test"]["raw_text"][:] = "HIDDEN HIDDEN"
    store = import_data(
        pickled(content), tmp_path / "store", MmsaOptions(text_source="encode"), encoder=WordLearner()
    )
    assert vocabulary(store) == ("word",)
    assert store.tiers["text"].startswith("words-1@")
    assert ids(store)[-1] == [0, 0]


def test_misa_files_have_training_words(
    misa: Callable[..., list[Any]], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    for name, split in (("train", "v"), ("test", "w")):
        pickled(misa(split, size=4, seed=len(split)), name=f"set/{name}.pkl")
    store = import_data(tmp_path / "set", tmp_path / "store", MisaOptions(), encoder=WordLearner(2))
    assert vocabulary(store)[0] == "w0"
    assert any("4 training transcripts" in note for note in store.manifest["notes"])


def test_layouts_that_are_read_video_by_video_take_a_vocabulary_only(tmp_path: Path) -> None:
    import h5py
    import numpy as np

    for name, values in (("labels", [[1.0]]), ("words", [[b"GOOD"], [b"sp"], [b"end"]])):
        starts = np.arange(len(values), dtype=float)
        with h5py.File(tmp_path / f"{name}.csd", "w") as file:
            group = file.create_group(f"{name}/data/v")
            group["features"] = np.array(values)
            group["intervals"] = np.stack([starts, starts + (3 if name == "labels" else 1)], axis=1)
    given = CsdOptions(words=tmp_path / "words.csd", text=TextOptions(unit="words"))
    with pytest.raises(ConfigError, match=r"`csd` is read video by video, .*words:STORE"):
        import_data(tmp_path / "labels.csd", tmp_path / "store", given, encoder=WordLearner())
    store = import_data(tmp_path / "labels.csd", tmp_path / "store", given, encoder=WordEncoder(["end"]))
    assert ids(store) == [[0, 1]]
    assert vocabulary(store) == ("end",)


def test_unknown_words_are_not_taken_for_padding(store: Store) -> None:
    from qinn.data.checking.plausibility import features

    assert (store.values("text") == 0).mean() >= 0.5
    assert not [finding for finding in features(store) if finding.kind.startswith("zero")]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("minilm", {"num_words": 3}, "`num_words` goes with `--encode-text words`, but that is `minilm`"),
        ("", {"lexicon": "vader"}, "`lexicon` goes with `--encode-text words`, but no text is encoded"),
        ("words", {"lexicon": "liwc"}, "`lexicon` must be one of vader"),
        ("words", {"num_words": 0}, "`num_words` must be at least 1"),
        ("words:somewhere", {"num_words": 3}, "are those of the store"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    name: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_encoder(name, **given)


def test_a_store_without_words_has_no_vocabulary_to_take(tmp_path: Path) -> None:
    from ...tiny import write_tiny_store

    store = write_tiny_store(tmp_path / "tiny")
    with pytest.raises(ConfigError, match="must hold the words of one vocabulary, but holds those of 0"):
        load_encoder(f"words:{store.path}")
