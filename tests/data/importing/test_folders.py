"""The MISA, MFN and SDK layouts arrive whole, and what does not fit is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import qinn
from qinn.data.importing import (
    CsdOptions,
    MfnOptions,
    MisaOptions,
    MmsaOptions,
    TableOptions,
    TaskOptions,
    TextOptions,
    describe_import,
    detect_layout,
    import_data,
)
from qinn.errors import ConfigError, DataError

from ...new_samples import misa_item, official_mfn, official_misa, pickled, samples

PLAIN = TaskOptions(scale="plain", low=1, high=5)


# MISA ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [1, 7])
def test_a_misa_file_stays_aligned_word_by_word(
    labels: int, misa: Callable[..., list[Any]], pickled: Callable[..., Path], tmp_path: Path, encoder: Any
) -> None:
    content = misa(labels=labels)
    source = pickled(content)
    assert detect_layout(source) == "misa"
    told: list[tuple[int, int]] = []
    store = import_data(
        source,
        tmp_path / "store",
        MisaOptions(split="dev"),
        encoder=encoder,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(5, 5)]
    assert store.manifest["splits"] == {"valid": 5}
    assert store.table["label"].to_pylist() == [-2, -1, 0, 1, 2]
    assert store.table["group"].to_pylist() == ["v0", "v0", "v1", "v1", "v2"]
    for row, ((_, vision, audio, words), _, segment) in enumerate(content):
        assert store.table["id"][row].as_py() == segment
        assert store.table["text"][row].as_py() == " ".join(words)
        np.testing.assert_array_equal(store.sample(row, "vision"), vision)
        np.testing.assert_array_equal(store.sample(row, "audio"), audio)
        assert len(store.sample(row, "text")) == len(words)


def test_a_misa_folder_has_its_splits_from_its_files(
    misa: Callable[..., list[Any]], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("train", "dev", "test"):
        pickled(misa(name, words=False), name=f"set/{name}.pkl")
    assert detect_layout(tmp_path / "set") == "misa"
    store = import_data(tmp_path / "set", tmp_path / "store", MisaOptions(modalities=("vision", "audio")))
    assert store.manifest["splits"] == {"train": 5, "valid": 5, "test": 5}
    assert list(store.modalities) == ["vision", "audio"]


def test_words_reach_the_encoder_in_lower_case_when_asked(
    misa: Callable[..., list[Any]], pickled: Callable[..., Path], tmp_path: Path, encoder: Any
) -> None:
    content = misa(size=1)
    ids, vision, audio, words = content[0][0]
    content[0] = ((ids, vision, audio, [word.upper() for word in words]), *content[0][1:])
    options = MisaOptions(text=TextOptions(unit="words", lowercase=True))
    store = import_data(pickled(content), tmp_path / "store", options, encoder=encoder)
    assert not store.values("text")[:, 1].any()


def item(
    words: Any = ("w",), vision: Any = None, audio: Any = None, label: Any = None, segment: Any = "s[0]"
) -> Any:
    vision = np.ones((1, 4), np.float32) if vision is None else vision
    audio = np.ones((1, 3), np.float32) if audio is None else audio
    label = np.zeros((1, 1), np.float32) if label is None else label
    return ((np.arange(1), vision, audio, list(words)), label, segment)


BAD_MISA = {
    "no list": ({"a": 1}, "MISA layout"),
    "empty list": ([], "MISA layout"),
    "later entry of another form": ([item(), (1, 2)], "entry 1 is not"),
    "no name": ([item(segment=3)], "entry 0 must have a name"),
    "no label": ([item(label=[1.0])], "entry 0 must have a name"),
    "one axis": ([item(vision=np.ones(4))], "(words, features) for `vision`"),
    "fewer words": ([item(words=())], "1 vision"),
    "other width": ([item(), item(segment="s[1]", audio=np.ones((1, 5)))], "has 5 features"),
    "label out of scale": ([item(label=np.array([[4.0]]))], "label 4"),
    "NaN": ([item(audio=np.full((1, 3), np.nan))], "`s[0]` has the value nan"),
    "same segment": ([item(), item()], "twice"),
}


@pytest.mark.parametrize("name", BAD_MISA)
def test_bad_misa_files_are_refused(
    name: str, pickled: Callable[..., Path], tmp_path: Path, encoder: Any
) -> None:
    content, reason = BAD_MISA[name]
    with pytest.raises(DataError) as refusal:
        import_data(pickled(content), tmp_path / "store", MisaOptions(), encoder=encoder)
    assert reason in str(refusal.value)
    assert "data.pkl" in str(refusal.value)
    assert not (tmp_path / "store").exists()


def test_misa_text_needs_an_encoder_and_words(
    misa: Callable[..., list[Any]], pickled: Callable[..., Path], tmp_path: Path, encoder: Any
) -> None:
    with pytest.raises(ConfigError, match="have no vectors: say what encodes them by `--encode-text`"):
        import_data(pickled(misa()), tmp_path / "store", MisaOptions())
    with pytest.raises(DataError, match="no words to encode"):
        import_data(pickled(misa(words=False)), tmp_path / "store", MisaOptions(), encoder=encoder)
    with pytest.raises(ConfigError, match="some of text, audio, vision"):
        MisaOptions(modalities=("smell",))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"none of train\.pkl"):
        import_data(tmp_path / "none", tmp_path / "store", MisaOptions(), encoder=encoder)


# MFN ----------------------------------------------------------------------------------------------------


def h5(path: Path, **arrays: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


@pytest.fixture
def mfn(tmp_path: Path) -> Path:
    """Folder of the layout, padded at the front, without text for training."""
    folder = tmp_path / "mfn"
    folder.mkdir()
    for split, size in (("train", 3), ("valid", 2), ("test", 2)):
        audio, video = np.zeros((size, 5, 3)), np.zeros((size, 5, 2))
        audio[:, 2:], video[:, 3:] = 1.5, np.arange(size)[:, None, None] + 1
        video[0, 1] = 5
        h5(folder / f"audio_{split}.h5", d1=audio)
        h5(folder / f"video_{split}.h5", d1=video)
        h5(folder / f"y_{split}.h5", d1=np.arange(size) + 1.0)
        if split != "train":
            h5(folder / f"text_{split}_emb.h5", d1=np.ones((size, 5, 4)))
    return folder


def test_mfn_steps_stay_aligned_and_a_missing_file_is_an_absent_modality(mfn: Path, tmp_path: Path) -> None:
    assert detect_layout(mfn) == "mfn"
    told: list[tuple[int, int]] = []
    options = MfnOptions(task=PLAIN)
    store = import_data(
        mfn, tmp_path / "store", options, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (7, 7)
    assert store.modalities == {"text": 4, "audio": 3, "vision": 2}
    assert np.diff(store.offsets("text")).tolist() == [0, 0, 0, 5, 5, 5, 5]
    assert np.diff(store.offsets("audio")).tolist() == [4, 3, 3, 5, 5, 5, 5]
    assert store.sample(0, "audio")[:, 0].tolist() == [0, 1.5, 1.5, 1.5]
    assert store.sample(1, "vision").tolist() == [[0, 0], [2, 2], [2, 2]]
    assert store.table["id"].to_pylist()[2:4] == ["train-0002", "valid-0000"]
    assert "`text` is absent in train" in store.manifest["notes"]
    padding = "`audio` is padded to 5 steps: 5 steps at the front and 0 at the end were cut off"
    assert any(note.startswith(padding) for note in store.manifest["notes"])
    lines = describe_import(store)
    assert lines[1:4] == [
        "splits: 3 train, 2 valid, 2 test; not the sizes of a known official split",
        "labels: `y`, scores on the scale plain, 1 to 5; found 1 to 3, mean 1.714",
        "groups: not known",
    ]
    assert lines[4] == "text: 4 features, 5 to 5 steps (median 5), absent in 3 of 7 samples; from mfn:text"
    assert lines[5] == "audio: 3 features, 3 to 5 steps (median 5), in every sample; from mfn:audio"


def test_an_account_names_classes_unlabelled_samples_and_many_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,label,who\na,1,x\nb,,y\nc,2,y\n")
    for at in range(7):
        np.save(tmp_path / f"f{at}.npy", np.ones((3, 2)))
    options = TableOptions(
        task=TaskOptions("classification"),
        group_column="who",
        features=tuple(f"m{at}={tmp_path}/f{at}.npy" for at in range(7)),
    )
    lines = describe_import(import_data(tmp_path / "t.csv", tmp_path / "store", options))
    assert lines[0].startswith(
        "layout: table, a table of samples with features of your own: t.csv (30 bytes), f0.npy"
    )
    assert lines[0].endswith("and 2 more files")
    assert lines[1:4] == [
        "splits: 3 in no split",
        "labels: `label`, classes: 1 1, 1 2; 1 unlabelled",
        "groups: 2 (videos, speakers …)",
    ]
    assert lines[4] == "m0: 2 features, one vector, in every sample; from f0.npy"


def test_mfn_modalities_are_taken_as_asked(mfn: Path, tmp_path: Path) -> None:
    store = import_data(mfn, tmp_path / "store", MfnOptions(task=PLAIN, modalities=("vision", "audio")))
    assert list(store.modalities) == ["vision", "audio"]
    dropping = TaskOptions(scale="plain", low=1, high=5, drop_labels=("1",))
    store = import_data(mfn, tmp_path / "store", MfnOptions(task=dropping), overwrite=True)
    assert store.table["id"].to_pylist() == ["train-0001", "train-0002", "valid-0001", "test-0001"]
    with pytest.raises(ConfigError, match="no files for the modality `smell`"):
        import_data(mfn, tmp_path / "other", MfnOptions(task=PLAIN, modalities=("smell",)))


BAD_MFN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no files": (lambda f: [file.unlink() for file in f.iterdir()], "no audio_train.h5"),
    "two names": (lambda f: h5(f / "text_test.h5", d1=np.ones((2, 5, 4))), "two files for `text` in test"),
    "two datasets": (
        lambda f: h5(f / "audio_test.h5", a=np.ones(1), b=np.ones(1)),
        "audio_test.h5` must hold exactly one",
    ),
    "no dataset": (lambda f: h5(f / "audio_test.h5"), "holds 0: none"),
    "text": (lambda f: h5(f / "audio_test.h5", d1=["a"]), "must hold numbers"),
    "labels in four axes": (
        lambda f: h5(f / "y_test.h5", d1=np.ones((2, 2, 1, 1))),
        "one label or several per sample",
    ),
    "two axes": (lambda f: h5(f / "audio_test.h5", d1=np.ones((2, 5))), "(samples, steps, features)"),
    "other rows": (
        lambda f: h5(f / "audio_test.h5", d1=np.ones((3, 5, 3))),
        "has 3 samples, but `y_test.h5` has 2",
    ),
    "other steps": (lambda f: h5(f / "audio_test.h5", d1=np.ones((2, 4, 3))), "the same steps"),
    "other width": (lambda f: h5(f / "audio_test.h5", d1=np.ones((2, 5, 7))), "has 7 features, but"),
    "no features": (
        lambda f: [(f / f"{m}_train.h5").unlink() for m in ("audio", "video")],
        "no features for train",
    ),
    "label out of range": (
        lambda f: h5(f / "y_test.h5", d1=np.array([1.0, 6.0])),
        "`test-0001` has the label 6",
    ),
    "NaN": (
        lambda f: h5(f / "audio_test.h5", d1=np.full((2, 5, 3), np.nan)),
        "`test-0000` has the value nan",
    ),
    "damaged": (lambda f: (f / "audio_test.h5").write_bytes(b"x" * 99), "audio_test.h5` is no HDF5 file"),
}


@pytest.mark.parametrize("name", BAD_MFN)
def test_bad_mfn_folders_are_refused(name: str, mfn: Path, tmp_path: Path) -> None:
    spoil, reason = BAD_MFN[name]
    spoil(mfn)
    with pytest.raises(DataError) as refusal:
        import_data(mfn, tmp_path / "store", MfnOptions(task=PLAIN))
    assert reason in str(refusal.value)
    assert not (tmp_path / "store").exists()


# CMU-MultimodalSDK -------------------------------------------------------------------------------------


def sequence(path: Path, **videos: tuple[Any, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in videos.items():
            file[f"root/data/{video}/features"] = np.asarray(features, np.float32)
            file[f"root/data/{video}/intervals"] = np.asarray(intervals, np.float32)
    return path


@pytest.fixture
def csd(tmp_path: Path) -> Path:
    sequence(tmp_path / "labels.csd", v=([[1.0], [-2.0]], [[0, 2], [2, 4]]), w=([[3.0]], [[0, 1]]))
    sequence(
        tmp_path / "audio.csd",
        v=(np.arange(4)[:, None], [[0, 1], [1, 2], [2, 3], [9, 10]]),
        w=([[7]], [[0, 1]]),
    )
    (tmp_path / "splits.csv").write_text("video,split\nv,train\nw,test\n")
    return tmp_path


def test_sdk_segments_take_the_steps_whose_midpoint_they_contain(csd: Path) -> None:
    assert detect_layout(csd / "labels.csd") == "csd"
    told: list[tuple[int, int]] = []
    options = CsdOptions(features={"audio": csd / "audio.csd"}, splits=csd / "splits.csv")
    store = import_data(
        csd / "labels.csd", csd / "store", options, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(2, 3), (3, 3)]
    assert [store.sample(row, "audio")[:, 0].tolist() for row in range(3)] == [[0, 1], [2], [7]]
    columns = store.table.select(["id", "split", "label", "group", "start", "end"]).to_pylist()
    assert columns[1] == {
        "id": "v[1]",
        "split": "train",
        "label": -2.0,
        "group": "v",
        "start": 2.0,
        "end": 4.0,
    }


BAD_CSD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda f: (f / "audio.csd").unlink(), "does not exist"),
    "no HDF5": (lambda f: (f / "audio.csd").write_bytes(b"x"), "no HDF5 file"),
    "no data": (lambda f: h5(f / "audio.csd", x=np.ones(1)), "no computational sequence"),
    "no intervals": (
        lambda f: h5(f / "audio.csd", **{"root/data/v/features": np.ones((1, 1))}),
        "lacks `features` or",
    ),
    "intervals for other steps": (
        lambda f: sequence(f / "audio.csd", v=([[1]], [[0, 1], [1, 2]])),
        "intervals (steps, 2)",
    ),
    "video without a split": (
        lambda f: (f / "splits.csv").write_text("video,split\nv,train\n"),
        "no split for the video `w`",
    ),
    "no feature in a segment": (
        lambda f: sequence(f / "audio.csd", v=([[1]], [[0, 1]])),
        "`v[1]` has no step",
    ),
    "label out of scale": (
        lambda f: sequence(f / "labels.csd", v=([[4.0]], [[0, 2]])),
        "`v[0]` has the label 4",
    ),
}


@pytest.mark.parametrize("name", BAD_CSD)
def test_bad_sdk_files_are_refused(name: str, csd: Path) -> None:
    spoil, reason = BAD_CSD[name]
    spoil(csd)
    options = CsdOptions(features={"audio": csd / "audio.csd"}, splits=csd / "splits.csv")
    with pytest.raises(DataError) as refusal:
        import_data(csd / "labels.csd", csd / "store", options)
    assert reason in str(refusal.value)
    assert not (csd / "store").exists()


def test_labels_alone_make_no_store(csd: Path, encoder: Any) -> None:
    with pytest.raises(ConfigError, match="name at least one feature file"):
        import_data(csd / "labels.csd", csd / "store", CsdOptions())
    with pytest.raises(ConfigError, match="needs the timed words"):
        import_data(csd / "labels.csd", csd / "store", CsdOptions(), encoder=encoder)


# Which layout is it? ------------------------------------------------------------------------------------


def test_the_layout_is_named_by_what_is_in_the_file(pickled: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a.csv", "a.tsv", "a.parquet", "a.npz"):
        (tmp_path / name).write_text("")
        assert detect_layout(tmp_path / name) == "table"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.csv", "does not exist"),
        ("a.h5", "an empty file"),
        ("b.npy", "features without samples"),
        ("a.xlsx", "no known layout"),
        ("a.pkl", "neither the MMSA layout"),
        ("empty", "no known layout"),
        ("both", "mfn and misa"),
    ],
)
def test_what_has_no_layout_or_two_is_refused(
    name: str, reason: str, pickled: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "a.h5").write_text("")
    (tmp_path / "a.xlsx").write_text("words")
    np.save(tmp_path / "b.npy", np.ones((2, 2)))
    pickled([1, 2], name="a.pkl")
    (tmp_path / "empty").mkdir()
    pickled([1, 2], name="both/train.pkl")
    (tmp_path / "both" / "y_train.h5").write_text("")
    with pytest.raises(DataError, match=reason):
        detect_layout(tmp_path / name)


@pytest.mark.parametrize(
    "options", [TableOptions(), MmsaOptions(), MisaOptions(modalities=("audio",)), MfnOptions()]
)
def test_a_source_that_is_missing_is_refused_by_every_reader(options: Any, tmp_path: Path) -> None:
    if isinstance(options, TableOptions):
        options = TableOptions(features=("v=v.npy",))
    with pytest.raises(DataError, match="gone"):
        import_data(tmp_path / "gone", tmp_path / "store", options)


def test_what_misa_and_mfn_files_do_not_say_is_noted(tmp_path: Path) -> None:
    parts = samples()
    encoder = {"encode_text": "words"}
    whole = qinn.import_data(official_misa(tmp_path / "misa", parts), tmp_path / "a", scale="mosi", **encoder)
    single = pickled(tmp_path / "one.pkl", [misa_item(parts["train"][0], np.array([[1.0]]), "v[0]")])
    one = qinn.import_data(single, tmp_path / "b", scale="mosi", **encoder)
    folder = qinn.import_data(official_mfn(tmp_path / "mfn", parts), tmp_path / "c", scale="mosi")
    for store, said in (
        (whole, "the ids of words in the file are not used: the vocabulary that they count is not in it"),
        (whole, "groups are the videos in the names of segments"),
        (one, "nothing says which split the file is, so its samples are in none: state it by `--split`"),
        (
            folder,
            "the files name neither samples nor videos, so the samples are numbered and the groups are not known",
        ),
    ):
        assert said in store.manifest["notes"]
    assert not any("which split" in note for note in whole.manifest["notes"])
