"""When steps happen reaches the store with them, from every form of features, from words and from intervals."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qinn.data.importing import CsdOptions, FeatureSpec, TableOptions, TaskOptions, TextOptions, import_data
from qinn.data.importing.transcripts import Tokenized
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError

MOSI = TaskOptions(scale="mosi")
OFFSETS = [0, 3, 4, 4, 10]
SECONDS = np.array([0.5, 0.5, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.5])


@pytest.fixture
def timed(table: Path) -> Path:
    """The table of four samples, with times beside its features."""
    arrays = dict(np.load(table / "f.npz")) | {"seconds": SECONDS, "words_at": np.arange(7) / 4}
    by_sample = np.zeros((4, 5))
    for row in range(4):
        by_sample[row] = np.arange(5) + row
    arrays |= {"by_sample": by_sample, "falling": SECONDS[::-1], "once": np.arange(4) + 0.5}
    np.savez(table / "f.npz", **arrays)
    np.savez(table / "named.npz", **arrays, id=np.array(["d", "c", "b", "a"]))
    with h5py.File(table / "f.h5", "a") as file:
        file["seconds"] = SECONDS
        for row, name in enumerate("abcd"):
            file[f"deep/{name}/at"] = np.arange(row + 1) * 0.1
    (table / "clips").mkdir()
    for row, name in enumerate("abcd"):
        lines = [f"{step},{step / 30},{step % 2},{row}" for step in range(row + 2)]
        (table / "clips" / f"{name}.csv").write_text("\n".join(["frame,timestamp,success,x", *lines]) + "\n")
        np.savez(table / "clips" / f"{name}.npz", x=np.ones((row + 1, 2)), at=np.arange(row + 1) + 0.25)
    return table


def load(timed: Path, *features: str, encoder: Any = None, **options: Any) -> Store:
    specs = tuple(spec.replace("@@/", f"{timed}/") for spec in features)
    return import_data(
        timed / "t.csv",
        timed / "store",
        TableOptions(features=specs, task=MOSI, **options),
        encoder=encoder,
        overwrite=True,
    )


def times_of(store: Store, modality: str) -> list[list[float]]:
    times, offsets = store.times(modality), store.offsets(modality)
    assert times is not None
    assert len(times) == len(store.values(modality))
    return [times[start:stop].round(6).tolist() for start, stop in pairwise(offsets.tolist())]


IN_ORDER = [[0.5, 0.5, 2.0], [1.0], [], [0.0, 1.0, 2.0, 3.0, 4.0, 5.5]]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("f.npz:steps@offsets@@seconds", IN_ORDER),
        ("f.h5:steps@offsets@@seconds", IN_ORDER),
        ("named.npz:steps@offsets@@seconds#id", IN_ORDER[::-1]),
        ("named.npz:steps@offsets@@seconds", IN_ORDER[::-1]),
        ("f.npz:padded@lengths@@by_sample", [[0, 1, 2], [1], [], [3, 4, 5, 6, 7]]),
        ("f.npz:padded@@by_sample", [[0, 1, 2], [1], [], [3, 4, 5, 6, 7]]),
        ("f.npz:vectors@@once", [[0.5], [1.5], [2.5], [3.5]]),
        ("f.h5:deep/{id}/frames@@deep/{id}/at", [[0], [0, 0.1], [0, 0.1, 0.2], [0, 0.1, 0.2, 0.3]]),
        ("clips/{id}.npz:x@@at", [[0.25], [0.25, 1.25], [0.25, 1.25, 2.25], [0.25, 1.25, 2.25, 3.25]]),
        (
            "clips/{id}.csv:x@@timestamp",
            [[round(step / 30, 6) for step in range(row + 2)] for row in range(4)],
        ),
        (
            "clips/{id}.csv:x@success@@timestamp",
            [[round(step / 30, 6) for step in range(1, row + 2, 2)] for row in range(4)],
        ),
    ],
)
def test_times_reach_their_steps_from_features_in_every_form(
    spec: str, expected: list[list[float]], timed: Path
) -> None:
    store = load(timed, f"v=@@/{spec}", "w=@@/v.npy")
    assert times_of(store, "v") == expected
    assert store.times("w") is None
    if "@@seconds" in spec or "by_sample" in spec:
        # The padding of the fixture's values is where its times are not asked for.
        assert [len(one) for one in expected] == np.diff(store.offsets("v")).tolist()
    store.verify()


def test_steps_that_are_dropped_take_their_times_along(timed: Path) -> None:
    arrays = dict(np.load(timed / "f.npz"))
    arrays["steps"][[1, 3, 9], 0] = np.nan
    np.savez(timed / "f.npz", **arrays)
    store = load(timed, "v=@@/f.npz:steps@offsets@@seconds", "w=@@/v.npy", nan="drop-step")
    assert times_of(store, "v") == [[0.5, 2.0], [], [], [0.0, 1.0, 2.0, 3.0, 4.0]]


def test_places_side_by_side_have_one_time_for_each_step(timed: Path) -> None:
    store = load(timed, "v=@@/f.npz:steps@offsets@@seconds", "v=@@/f.h5:steps@offsets", "w=@@/v.npy")
    assert times_of(store, "v") == IN_ORDER
    with h5py.File(timed / "f.h5", "a") as file:
        file["seconds"][0] = 0.25
    with pytest.raises(DataError, match="Sample `a` has other times in one of the places of `v`"):
        load(timed, "v=@@/f.npz:steps@offsets@@seconds", "v=@@/f.h5:steps@offsets@@seconds", "w=@@/v.npy")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("f.npz:steps@offsets@@none", "none"),
        ("f.npz:steps@offsets@@lengths", r"f.npz:lengths` must hold a number of seconds .* of shape \(10,\)"),
        ("f.npz:steps@offsets@@words", "must hold a number of seconds for each step"),
        ("f.npz:padded@lengths@@seconds", r"of shape \(4, 5\), but has type float64 and shape \(10,\)"),
        ("f.npz:steps@offsets@@falling", "Sample `a` has a time of 4.0 behind 5.5 in `v`"),
        ("f.h5:deep/{id}/frames@@seconds", r"write @@ and a name with \{id\} in it, not `seconds`"),
        ("clips/{id}.csv:x@@x+frame", "x"),
        ("clips/{id}.csv:x@@*", r"has 2 steps in .*, but 8 times; give one per step"),
    ],
)
def test_times_that_do_not_fit_are_refused_by_name(spec: str, message: str, timed: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(timed, f"v=@@/{spec}", "w=@@/v.npy")
    assert not (timed / "store").exists()


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a=x.npz:k@o@@t", FeatureSpec("a", "x.npz", ("k",), "o", times="t")),
        ("a=x.npz:k@@t", FeatureSpec("a", "x.npz", ("k",), times="t")),
        ("a=x.npz:k@o@@t#i+j", FeatureSpec("a", "x.npz", ("k",), "o", ("i", "j"), "t")),
        ("a=x.npz:k@o@2", FeatureSpec("a", "x.npz", ("k",), "o@2")),
        (
            "a=d/{id}.csv:AU*_r@success@@timestamp",
            FeatureSpec("a", "d/{id}.csv", ("AU*_r",), "success", (), "timestamp"),
        ),
        ("a=d/{id}.csv@@timestamp", FeatureSpec("a", "d/{id}.csv", times="timestamp")),
    ],
)
def test_specifications_name_times_behind_two_marks(text: str, parsed: FeatureSpec) -> None:
    assert FeatureSpec.parse(text) == parsed


class PieceEncoder:
    """Two tokens for every word, with special ones around the text."""

    tier = "pieces"
    dim = 1
    vocabulary_size = 9

    def encode(self, texts: Any) -> list[np.ndarray]:
        return [np.ones((2 * len(text.split()), 1), np.float32) for text in texts]

    def encode_words(self, sentences: Any) -> list[np.ndarray]:
        return [np.ones((len(words), 1), np.float32) for words in sentences]

    def tokenize(self, texts: Any) -> list[Tokenized]:
        found = []
        for text in texts:
            spans, at = [(0, 0)], 0
            for word in text.split():
                spans += [(at, at + 1), (at + 1, at + len(word))]
                at += len(word) + 1
            special = np.array([True, *[False] * (len(spans) - 1), True])
            found.append((np.arange(len(spans) + 1) % 9, np.array([*spans, (0, 0)], np.int32), special))
        return found


@pytest.mark.parametrize(
    "source", ["f.npz:words@word_offsets@@words_at", "named.npz:words@word_offsets@@words_at#id"]
)
@pytest.mark.parametrize("unit", ["words", "tokens", "ids"])
def test_a_texts_steps_have_the_times_of_their_words(unit: str, source: str, timed: Path) -> None:
    options = {"words": f"{timed}/{source}", "text": TextOptions(unit=unit)}
    store = load(timed, "v=@@/f.npz:vectors", encoder=PieceEncoder(), **options)
    words = [[0, 0.25, 0.5], [0.75], [1.0], [1.25, 1.5]]
    words = words if source.startswith("f") else words[::-1]
    each = {"words": 1, "tokens": 2, "ids": 2}[unit]
    expected = [[moment for moment in one for _ in range(each)] for one in words]
    if unit == "ids":
        expected = [[one[0], *one, one[-1]] for one in expected]
    assert times_of(store, "text") == expected
    with pytest.raises(ConfigError, match="says when words were said, but no text is encoded"):
        load(timed, "v=@@/f.npz:vectors", words=options["words"])
    with pytest.raises(DataError, match="a number of seconds for each of 7 words"):
        load(timed, encoder=PieceEncoder(), words=f"{timed}/f.npz:words@word_offsets@@seconds")


def sequence(path: Path, features: Any, intervals: Any) -> Path:
    values = np.asarray(features)
    with h5py.File(path, "w") as file:
        file["root/data/v/features"] = values if values.dtype.kind == "S" else values.astype(np.float32)
        file["root/data/v/intervals"] = np.asarray(intervals, np.float64)
    return path


def csd(folder: Path, encoder: Any = None, **options: Any) -> Store:
    sequence(folder / "labels.csd", [[1.0], [-2.0]], [[0, 3], [3, 5]])
    sequence(folder / "words.csd", np.array([["so"], ["sp"], ["good"]], "S8"), [[0, 1], [1, 2], [3.5, 4.5]])
    sequence(folder / "vectors.csd", [[1.0], [2.0], [3.0]], [[0, 1], [1, 2], [3.5, 4.5]])
    if not (folder / "audio.csd").exists():
        starts = np.arange(10) * 0.5
        sequence(folder / "audio.csd", np.arange(10)[:, None], np.stack([starts, starts + 0.5], axis=1))
    options.setdefault("features", {"audio": folder / "audio.csd"})
    return import_data(
        folder / "labels.csd", folder / "store", CsdOptions(**options), encoder=encoder, overwrite=True
    )


def test_steps_of_sequences_happen_in_the_middle_of_their_intervals(tmp_path: Path) -> None:
    store = csd(tmp_path)
    assert times_of(store, "audio") == [[0.25, 0.75, 1.25, 1.75, 2.25, 2.75], [0.25, 0.75, 1.25, 1.75]]
    assert "a step happens in the middle of its interval" in store.manifest["notes"]
    store.verify()


def test_a_step_that_reaches_beyond_its_segment_happens_within_it(tmp_path: Path) -> None:
    sequence(tmp_path / "audio.csd", [[0.0], [1.0], [2.0]], [[0, 1], [2.8, 4.0], [3, 9]])
    assert times_of(csd(tmp_path, assign="overlap"), "audio") == [[0.5, 3.0], [0.4, 2.0]]
    assert times_of(csd(tmp_path), "audio") == [[0.5], [0.4]]


def test_words_and_what_is_aligned_to_them_happen_together(tmp_path: Path) -> None:
    store = csd(tmp_path, PieceEncoder(), words=tmp_path / "words.csd", align_to="words")
    assert times_of(store, "text") == times_of(store, "audio") == [[0.5], [1.0]]
    assert store.words(0, "text") == ["so"]
    tokens = csd(tmp_path, PieceEncoder(), words=tmp_path / "words.csd", text=TextOptions(unit="tokens"))
    assert times_of(tokens, "text") == [[0.5, 0.5], [1.0, 1.0]]


def test_intervals_out_of_order_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    sequence(tmp_path / "audio.csd", [[3.0], [4.0], [1.0], [2.0]], [[2, 3], [3, 4], [0, 1], [1, 2]])
    store = csd(tmp_path)
    assert store.sample(0, "audio")[:, 0].tolist() == [1, 2, 3]
    assert times_of(store, "audio") == [[0.5, 1.5, 2.5], [0.5]]
    assert any(
        note.startswith("1 videos had steps of `audio` out of order") for note in store.manifest["notes"]
    )


def test_dropped_steps_of_a_sequence_take_their_times_along(tmp_path: Path) -> None:
    sequence(tmp_path / "audio.csd", [[0.0], [np.nan], [2.0], [3.0]], [[0, 1], [1, 2], [2, 3], [3, 4]])
    assert times_of(csd(tmp_path, nan="drop-step"), "audio") == [[0.5, 2.5], [0.5]]
