"""Computational sequences are put on words as the SDK does it, cut into segments, and divided by the folds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.data.files.step_alignment import Timed, collapsed, overlapping
from qinn.data.importing import CsdOptions, import_data
from qinn.data.importing.folds import STANDARD_FOLDS, read_folds
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError


def sequence(path: Path, **videos: tuple[Any, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in videos.items():
            values = np.asarray(features)
            file[f"root/data/{video}/features"] = (
                values if values.dtype.kind == "S" else values.astype(np.float32)
            )
            file[f"root/data/{video}/intervals"] = np.asarray(intervals, np.float64)
    return path


WORDS = [[0, 1], [1, 2], [2, 2.5], [3, 4], [4, 5]]


@pytest.fixture
def csd(tmp_path: Path) -> Path:
    """One video of two segments, five words of which one is a pause, sound at 2 Hz with a hole, and word vectors."""
    sequence(tmp_path / "labels.csd", v=([[1.0, 9.0], [-2.0, 8.0]], [[0, 2.9], [2.9, 5]]))
    spoken = np.array([["GOOD"], ["film"], ["sp"], ["bad"], ["end"]], "S8")
    sequence(tmp_path / "words.csd", v=(spoken, WORDS))
    starts = np.array([0, 0.5, 1, 1.5, 4, 4.5])
    sequence(
        tmp_path / "audio.csd",
        v=(np.arange(6)[:, None] * [1.0, 10.0], np.stack([starts, starts + 0.5], axis=1)),
    )
    sequence(tmp_path / "vectors.csd", v=(np.arange(5)[:, None] + [0.5], WORDS))
    return tmp_path


def load(csd: Path, encoder: Any = None, **options: Any) -> Store:
    features = options.pop("features", {"audio": csd / "audio.csd"})
    return import_data(
        csd / "labels.csd",
        csd / "store",
        CsdOptions(features=features, **options),
        encoder=encoder,
        overwrite=True,
    )


@pytest.mark.parametrize(
    ("collapse", "first", "last"),
    [("mean", [0.5, 2.5], [4.5]), ("max", [1, 3], [5]), ("weighted", [0.5, 2.5], [4.5])],
)
def test_words_take_the_steps_that_share_time_with_them(
    collapse: str, first: list[float], last: list[float], csd: Path
) -> None:
    store = load(csd, words=csd / "words.csd", align_to="words", collapse=collapse)
    assert store.sample(0, "audio")[:, 0].tolist() == first
    assert store.sample(1, "audio")[:, 0].tolist() == [0, *last]
    assert store.table["text"].to_pylist() == ["GOOD film", "bad end"]
    notes = store.manifest["notes"]
    assert "1 intervals without a step of `audio` hold zeros" in notes
    assert notes[0].startswith("modalities are aligned to `words`")


def test_intervals_without_a_step_are_zero_or_left_out(csd: Path) -> None:
    features = {"audio": csd / "audio.csd", "text": csd / "vectors.csd"}
    store = load(csd, features=features, align_to="text")
    assert np.diff(store.offsets("audio")).tolist() == np.diff(store.offsets("text")).tolist() == [3, 2]
    assert store.sample(0, "text")[:, 0].tolist() == [0.5, 1.5, 2.5]
    store = load(csd, features=features, align_to="text", gaps="absent")
    assert np.diff(store.offsets("audio")).tolist() == [2, 1]
    assert "2 intervals without a step of `audio` were left out" in store.manifest["notes"]


def test_a_segment_of_gaps_alone_lacks_the_modality(csd: Path) -> None:
    sequence(csd / "audio.csd", v=([[1.0, 1.0]], [[0, 1]]))
    features = {"audio": csd / "audio.csd", "text": csd / "vectors.csd"}
    store = load(csd, features=features, align_to="text")
    assert np.diff(store.offsets("audio")).tolist() == [3, 0]


def test_a_step_on_a_border_belongs_to_both_segments_when_overlap_decides(csd: Path) -> None:
    sequence(csd / "audio.csd", v=([[1.0], [2.0], [3.0]], [[0, 2], [2, 3], [3, 5]]))
    assert [store.tolist() for store in _audio(load(csd))] == [[1, 2], [3]]
    assert [store.tolist() for store in _audio(load(csd, assign="overlap"))] == [[1, 2], [2, 3]]


def _audio(store: Store) -> list[np.ndarray]:
    return [store.sample(row, "audio")[:, 0] for row in range(len(store))]


def test_words_are_encoded_one_vector_each(csd: Path, encoder: Any) -> None:
    store = load(csd, encoder, words=csd / "words.csd", align_to="words")
    assert list(store.modalities) == ["text", "audio"]
    assert store.sample(0, "text").tolist() == [[4, 1], [4, 0]]
    assert np.diff(store.offsets("audio")).tolist() == np.diff(store.offsets("text")).tolist()
    store = load(csd, encoder, words=csd / "words.csd", features={}, pauses=("sp", "film"))
    assert store.table["text"].to_pylist() == ["GOOD", "bad end"]


def test_files_that_the_sdk_has_aligned_are_read_by_their_entries(csd: Path) -> None:
    entries = {f"v[{row}]": ([[row]], [[row, row + 1]]) for row in (10, 2, 0)}
    sequence(
        csd / "labels.csd",
        **{"v[0]": ([[1.0]], [[0, 1]]), "v[2]": ([[2.0]], [[2, 3]]), "v[10]": ([[3.0]], [[10, 11]])},
    )
    sequence(csd / "audio.csd", **entries)
    store = load(csd)
    assert store.table["id"].to_pylist() == ["v[0]", "v[2]", "v[10]"]
    assert store.values("audio")[:, 0].tolist() == [0, 2, 10]
    assert store.table["group"].to_pylist() == ["v"] * 3


def test_steps_that_are_no_numbers_go_before_they_spoil_a_word(csd: Path) -> None:
    values = np.arange(6)[:, None] * [1.0, 10.0]
    values[0, 1] = -np.inf
    starts = np.array([0, 0.5, 1, 1.5, 4, 4.5])
    sequence(csd / "audio.csd", v=(values, np.stack([starts, starts + 0.5], axis=1)))
    with pytest.raises(DataError, match=r"`v\[0\]` has the value -inf"):
        load(csd, words=csd / "words.csd", align_to="words")
    store = load(csd, words=csd / "words.csd", align_to="words", nan="drop-step")
    assert store.sample(0, "audio").tolist() == [[1, 10], [2.5, 25]]
    assert any(note.startswith("1 steps of `audio`") for note in store.manifest["notes"])
    store = load(csd, words=csd / "words.csd", align_to="words", nan="zero")
    assert store.sample(0, "audio").tolist() == [[0.5, 0], [2.5, 25]]


def test_another_column_of_the_labels_is_taken_when_asked(csd: Path) -> None:
    from qinn.data.importing import TaskOptions

    wide = TaskOptions(scale="plain", low=0, high=10)
    assert load(csd, label_column=1, task=wide).labels.tolist() == [9, 8]
    with pytest.raises(ConfigError, match="there is no 2"):
        load(csd, label_column=2)


INTERVALS = st.lists(
    st.tuples(st.floats(0, 10, allow_subnormal=False), st.floats(0, 3, allow_subnormal=False)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=INTERVALS, intervals=INTERVALS)
def test_collapsing_agrees_with_the_plain_definition(
    steps: list[tuple[float, float]], intervals: list[tuple[float, float]]
) -> None:
    times = np.array([(start, start + length) for start, length in steps])
    targets = np.array([(start, start + length) for start, length in intervals])
    values = np.arange(len(times), dtype=np.float64)[:, None] + 1
    rows, found = collapsed(Timed(values, times, np.ones(len(times), bool)), targets, "mean")
    for row, there, target in zip(rows, found, targets, strict=True):
        inside = overlapping(times, target)
        assert there == inside.any()
        assert row[0] == pytest.approx(values[inside].mean() if inside.any() else 0)


# Folds ---------------------------------------------------------------------------------------------------


def test_the_standard_folds_of_mosi_are_52_10_and_31_videos() -> None:
    folds = STANDARD_FOLDS["mosi"]
    assert {split: len(set(videos)) for split, videos in folds.items()} == {
        "train": 52,
        "valid": 10,
        "test": 31,
    }
    assert len(read_folds("mosi")) == 93
    # The code that made the public split sorts the videos and cuts after 52 and 62.
    assert sorted(folds["train"])[-1] < sorted(folds["valid"])[0]
    assert sorted(folds["valid"])[-1] < sorted(folds["test"])[0]


FOLDS = {
    "folds.json": json.dumps({"train": ["v"], "dev": ["w"]}),
    "folds.py": "standard_train_fold=['v']\nstandard_valid_fold=['w']\n",
    "folds.csv": "video,split\nv,train\nw,valid\n",
}


@pytest.mark.parametrize("name", FOLDS)
def test_folds_are_read_in_every_form_that_people_hold(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FOLDS[name])
    assert read_folds(tmp_path / name) == {"v": "train", "w": "valid"}


def test_a_python_file_of_folds_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    (tmp_path / "folds.py").write_text(f"open({str(mark)!r}, 'w')\ntrain = ['v']\n")
    assert read_folds(tmp_path / "folds.py") == {"v": "train"}
    (tmp_path / "folds.py").write_text(f"train = [open({str(mark)!r}, 'w')]\n")
    with pytest.raises(DataError, match=r"no py file"):
        read_folds(tmp_path / "folds.py")
    assert not mark.exists()


BAD_FOLDS: dict[str, tuple[str | bytes, str]] = {
    "none.json": (b"", "it is an empty file"),
    "list.json": ("[1]", "a list of video names"),
    "numbers.json": ('{"train": [1]}', "a list of video names"),
    "unknown.json": ('{"extra": ["v"]}', "`extra`, which is unknown"),
    "twice.json": ('{"train": ["v"], "test": ["v"]}', "`v` in two splits"),
    "deep.json": ("[" * 100_000, "no json file"),
    "bytes.py": (b"\xff\xfe\x00", "no py file"),
    "wrong.py": ("train = [", "no py file"),
    "empty.py": ("", "a list of video names"),
    "nobody.json": ('{"train": [], "dev": []}', "names no video"),
    "nobody.csv": ("video,split\n", "nobody.csv"),
    "other.txt": ("train v", "gives no splits"),
}


@pytest.mark.parametrize("name", BAD_FOLDS)
def test_bad_folds_are_refused(name: str, tmp_path: Path) -> None:
    content, reason = BAD_FOLDS[name]
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=reason):
        read_folds(tmp_path / name)
    with pytest.raises(DataError, match="can't be read"):
        read_folds(tmp_path / "gone.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match="a folder, not a regular file"):
        read_folds(tmp_path / "folder.json")


def test_videos_without_a_fold_are_refused_or_left_out(csd: Path) -> None:
    sequence(csd / "labels.csd", v=([[1.0]], [[0, 2]]), w=([[2.0]], [[0, 1]]))
    (csd / "folds.json").write_text(FOLDS["folds.json"].replace('"w"', '"x"'))
    with pytest.raises(DataError, match="no split for the video `w`"):
        load(csd, splits=csd / "folds.json")
    store = load(csd, splits=csd / "folds.json", unlisted="drop")
    assert store.table["id"].to_pylist() == ["v[0]"]
    assert "1 videos that the splits do not name were left out" in store.manifest["notes"]


# Bad files -------------------------------------------------------------------------------------------------


def huge(folder: Path) -> None:
    with h5py.File(folder / "audio.csd", "w") as file:
        file.create_dataset("root/data/v/features", (2**40, 2), np.float32)
        file["root/data/v/intervals"] = np.zeros((1, 2))


def elsewhere(folder: Path) -> None:
    with h5py.File(folder / "audio.csd", "w") as file:
        file["root/data/v/features"] = h5py.ExternalLink("vectors.csd", "root/data/v/features")
        file["root/data/v/intervals"] = np.array(WORDS, float)


def plain_data(folder: Path) -> None:
    with h5py.File(folder / "audio.csd", "w") as file:
        file["root/data"] = np.zeros(3)


BAD: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "more declared than there is": (huge, {}, "unpacks to far more than the file's size"),
    "features in another file": (elsewhere, {}, "lies in another file"),
    "data that is no group": (plain_data, {}, "no computational sequence"),
    "entries of different width": (
        lambda f: sequence(f / "audio.csd", **{"v[0]": ([[1]], [[0, 1]]), "v[1]": ([[1, 2]], [[1, 2]])}),
        {},
        "different width",
    ),
    "times that are none": (
        lambda f: sequence(f / "audio.csd", v=([[1.0]], [[0, np.nan]])),
        {},
        "intervals that are no times",
    ),
    "words for numbers": (
        lambda f: sequence(f / "audio.csd", v=(np.array([["a"]], "S1"), [[0, 1]])),
        {},
        "must have numbers",
    ),
    "numbers for words": (
        lambda f: sequence(f / "words.csd", v=([[1]], [[0, 1]])),
        {"words": "words.csd", "align_to": "words"},
        "one word per step",
    ),
    "a single word without steps": (
        lambda f: sequence(f / "words.csd", v=(np.array("word", "S"), [[0, 1]])),
        {"words": "words.csd", "align_to": "words"},
        "one word per step",
    ),
    "words that are cut short": (
        lambda f: (f / "words.csd").write_bytes((f / "words.csd").read_bytes()[:900]),
        {"words": "words.csd", "align_to": "words"},
        "words.csd",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sequences_are_refused_by_name(name: str, csd: Path) -> None:
    spoil, options, reason = BAD[name]
    spoil(csd)
    if "words" in options:
        options = {**options, "words": csd / options["words"]}
    with pytest.raises(DataError) as refusal:
        load(csd, **options)
    assert reason in str(refusal.value)
    assert not (csd / "store").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"collapse": "sum"}, "`collapse` must be mean, weighted or max"),
        ({"gaps": "hold"}, "`gaps`"),
        ({"assign": "start"}, "`assign`"),
        ({"unlisted": "keep"}, "`unlisted`"),
        ({"align_to": "smell"}, "words or one of the features"),
        ({"align_to": "words"}, "must name the file of timed words"),
    ],
)
def test_options_that_can_not_be_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        CsdOptions(**options)


def test_text_needs_words(csd: Path, encoder: Any) -> None:
    with pytest.raises(ConfigError, match="timed words"):
        load(csd, encoder)


def notes_with(store: Store, *words: str) -> list[str]:
    return [note for note in store.manifest["notes"] if any(word in note for word in words)]


def test_words_and_videos_that_are_not_taken_are_counted(csd: Path, tmp_path: Path) -> None:
    labels = ([[1.0, 9.0]], [[0, 1]])
    sequence(csd / "labels.csd", v=([[1.0, 9.0], [-2.0, 8.0]], [[0, 1.9], [2.9, 4]]), silent=labels)
    with h5py.File(csd / "audio.csd", "a") as file:
        file["root/data/stranger/features"] = np.ones((1, 2), np.float32)
        file["root/data/stranger/intervals"] = np.array([[0.0, 1.0]])
    store = load(csd, words=csd / "words.csd", empty="drop")
    assert notes_with(store, "word", "lacks", "without a segment") == [
        "`audio.csd` lacks 1 of 2 videos, as `silent`",
        "1 of 2 videos of `audio.csd` without a segment left out, as `stranger`",
        "`words.csd` lacks 1 of 2 videos, as `silent`",
        "1 of the words of `words.csd` are pauses (sp) and were left out",
        "1 of 4 words of `words.csd` lie in no segment and were left out",
        "1 of 3 segments without a word, as `silent[0]`",
    ]
    assert store.table["text"].to_pylist() == ["GOOD film"]


def test_words_of_two_segments_are_counted_where_overlap_takes_them(csd: Path) -> None:
    sequence(csd / "labels.csd", v=([[1.0, 9.0], [-2.0, 8.0]], [[0, 1.5], [1.5, 5]]))
    for assign, wanted in (("midpoint", 0), ("overlap", 1)):
        found = notes_with(load(csd, words=csd / "words.csd", assign=assign), "more than one segment")
        assert len(found) == wanted


def test_words_whose_times_count_from_another_moment_are_said_to(csd: Path) -> None:
    shifted = np.array(WORDS) + 4.0
    spoken = np.array([["GOOD"], ["film"], ["sp"], ["bad"], ["end"]], "S8")
    sequence(csd / "words.csd", v=(spoken, shifted))
    assert notes_with(load(csd, words=csd / "words.csd"), "no segment") == [
        "3 of 4 words of `words.csd` lie in no segment and were left out, as where times count from another moment"
    ]


def test_damaged_words_of_the_last_video_are_found_before_a_word_is_encoded(csd: Path) -> None:
    class Never:
        tier, dim = "never", 1

        def encode(self, texts: Any) -> Any:
            raise AssertionError("a text was encoded before all words were checked")

        encode_words = encode

    labels = ([[1.0, 9.0]], [[0, 1]])
    sequence(csd / "labels.csd", v=labels, w=labels)
    sequence(
        csd / "words.csd", v=(np.array([["GOOD"]], "S8"), [[0, 1]]), w=([[1.0], [2.0]], [[0, 1], [1, 2]])
    )
    with pytest.raises(DataError, match=r"words\.csd` video `w` must have one word per step"):
        load(csd, Never(), words=csd / "words.csd", features={})
