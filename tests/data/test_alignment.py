"""The spans of a store say which characters each step stands for, come back as written, and are checked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.stores.step_arrays import step_array_digest
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import DataError
from qinn.task import Task

TEXTS = ["so good", "", "电影 好"]
SPANS = [np.array([[0, 2], [3, 7]]), np.zeros((0, 2), np.int64), np.array([[0, 1], [1, 2], [3, 4]])]
STEPS = [2, 0, 3]


def write(path: Path, spans: list[np.ndarray] | None = SPANS, *, chunk: int = 3, later: bool = True) -> Store:
    """Write three samples, some at a time; `later` false leaves the spans of all but the first chunk out."""
    with StoreWriter(
        path,
        name="aligned",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities={"text": Modality(2), "audio": Modality(1)},
        layout="test",
    ) as writer:
        for start in range(0, 3, chunk):
            rows = slice(start, start + chunk)
            given = None if spans is None or (start and not later) else {"text": spans[rows]}
            writer.add_many(
                [f"s{row}" for row in range(3)][rows],
                {"text": [np.ones((n, 2)) for n in STEPS[rows]], "audio": np.ones((len(STEPS[rows]), 1))},
                labels=[0.5] * len(STEPS[rows]),
                texts=TEXTS[rows],
                spans=given,
            )
    return Store.open(path)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_words_come_back_as_written(tmp_path: Path, chunk: int) -> None:
    store = write(tmp_path / "store", chunk=chunk)
    assert [store.words(row, "text") for row in range(3)] == [["so", "good"], [], ["电", "影", "好"]]
    assert store.words(0, "audio") is None
    assert store.spans("audio") is None
    spans = store.spans("text")
    assert spans is not None
    assert spans.dtype == np.int32
    store.verify()


def test_spans_do_not_change_what_the_store_is(tmp_path: Path) -> None:
    with_spans, without = write(tmp_path / "with"), write(tmp_path / "without", None)
    assert with_spans.sha256 == without.sha256
    assert without.words(0, "text") is None
    assert not (tmp_path / "without" / "text.spans.npy").exists()


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        (SPANS[:2], "spans for each of 3 samples"),
        ([SPANS[0][:1], *SPANS[1:]], "Sample `s0` must have 2 spans"),
        ([SPANS[0].astype(float), *SPANS[1:]], "two whole numbers"),
        ([SPANS[0] + 1, *SPANS[1:]], "outside its transcript of 7 characters"),
        ([SPANS[0] - 1, *SPANS[1:]], "outside its transcript"),
        ([SPANS[0][:, ::-1], *SPANS[1:]], "outside its transcript"),
    ],
)
def test_spans_that_do_not_fit_are_refused_and_leave_no_store(
    tmp_path: Path, spans: list[np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path / "store", spans)
    assert list(tmp_path.iterdir()) == []


def test_spans_for_some_samples_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="spans for every sample or for none"):
        write(tmp_path / "store", chunk=1, later=False)
    assert list(tmp_path.iterdir()) == []


def missing(folder: Path) -> None:
    (folder / "text.spans.npy").unlink()


def truncated(folder: Path) -> None:
    file = folder / "text.spans.npy"
    file.write_bytes(file.read_bytes()[:-4])


def of_another_kind(folder: Path) -> None:
    np.save(folder / "text.spans.npy", np.zeros((5, 2), np.int64))


def of_another_length(folder: Path) -> None:
    np.save(folder / "text.spans.npy", np.zeros((4, 2), np.int32))


@pytest.mark.parametrize("damage", [missing, truncated, of_another_kind, of_another_length])
def test_a_store_with_damaged_spans_does_not_open(tmp_path: Path, damage: Any) -> None:
    write(tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(DataError, match=r"text\.spans\.npy|import the data again"):
        Store.open(tmp_path / "store")


def test_changed_spans_are_found_by_verification(tmp_path: Path) -> None:
    write(tmp_path / "store")
    np.save(tmp_path / "store" / "text.spans.npy", np.full((5, 2), 3, np.int32))
    with pytest.raises(DataError, match="has changed since it was written"):
        Store.open(tmp_path / "store").verify()


def test_spans_beyond_the_transcript_give_no_words(tmp_path: Path) -> None:
    write(tmp_path / "store")
    np.save(tmp_path / "store" / "text.spans.npy", np.full((5, 2), 99, np.int32))
    with pytest.raises(DataError, match="beyond the transcript of sample `s0`"):
        Store.open(tmp_path / "store").words(0, "text")


def test_the_manifest_holds_the_digest_of_the_values(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert manifest["modalities"]["text"]["spans_sha256"] == step_array_digest(
        np.concatenate(SPANS).astype(np.int32)
    )
    assert "spans_sha256" not in manifest["modalities"]["audio"]
    assert store.manifest == manifest


@pytest.mark.parametrize(
    ("tier", "tokenizer"),
    [
        ("minilm@1a/ids", "minilm@1a"),
        ("minilm@1a/ids/lower", "minilm@1a"),
        ("org/ids@1a/ids", "org/ids@1a"),
        ("org/ids@1a", None),
        ("minilm@1a/words/lower", None),
        ("mmsa:text_bert ids", None),
        ("", None),
    ],
)
def test_a_tier_tells_whose_token_ids_a_modality_holds(tier: str, tokenizer: str | None) -> None:
    assert Modality(1, "sequence", tier).tokenizer == tokenizer
