"""Sequences of unequal lengths, vectors and other names in pickles and arrays: the same store as of the padded file."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.files.pickles.reading import load_pickle
from qinn.data.importing import (
    MmsaOptions,
    MultOptions,
    TableOptions,
    TaskOptions,
    detect_layout,
    import_data,
)
from qinn.data.stores.store import Store
from qinn.errors import DataError

MOSI = TaskOptions(scale="mosi")


def objects(arrays: list[Any]) -> np.ndarray:
    """An array of objects, also where all arrays are of one shape."""
    kept = np.empty(len(arrays), object)
    for place, array in enumerate(arrays):
        kept[place] = array
    return kept


def cut(content: dict[str, Any], form: Callable[[list[np.ndarray]], Any]) -> dict[str, Any]:
    """Take the padding off sound and vision of an MMSA file."""
    cut = {}
    for split, part in content.items():
        cut[split] = dict(part)
        for name in ("audio", "vision"):
            lengths = part[f"{name}_lengths"]
            cut[split][name] = form(
                [array[:length] for array, length in zip(part[name], lengths, strict=True)]
            )
    return cut


def load(file: Path, **options: Any) -> Store:
    options = {"task": MOSI} | options
    return import_data(file, file.parent / "store", MmsaOptions(**options), overwrite=True)


def features(store: Store) -> list[list[Any]]:
    return [[store.sample(row, name).tolist() for name in store.modalities] for row in range(len(store))]


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize(
    "form",
    [list, objects, lambda arrays: [array.tolist() for array in arrays]],
    ids=["list of arrays", "array of arrays", "list of lists"],
)
def test_sequences_without_padding_make_the_store_of_the_padded_file(
    form: Any, lengths: bool, mmsa: Any, pickled: Any
) -> None:
    content = mmsa()
    expected = features(load(pickled(content, "padded.pkl")))
    ragged = cut(content, form)
    if not lengths:
        for part in ragged.values():
            del part["audio_lengths"], part["vision_lengths"]
    store = load(pickled(ragged))
    assert features(store) == expected
    assert not any("`audio` is padded" in note for note in store.manifest["notes"])


def test_stated_lengths_cut_sequences_and_may_not_be_longer(mmsa: Any, pickled: Any) -> None:
    content = cut(mmsa(), list)
    whole = len(content["train"]["audio"][0])
    content["train"]["audio_lengths"][0] = whole - 1
    store = load(pickled(content))
    assert len(store.sample(0, "audio")) == whole - 1
    content["train"]["audio_lengths"][0] = whole + 1
    with pytest.raises(DataError, match=rf"but `audio` has {whole} steps"):
        load(pickled(content))


def test_one_vector_per_utterance_is_read_beside_sequences(mmsa: Any, pickled: Any) -> None:
    content = mmsa()
    for part in content.values():
        part["audio"] = part["audio"].mean(1)
        part["vision"] = list(part["vision"].mean(1))
        del part["audio_lengths"], part["vision_lengths"]
    store = load(pickled(content))
    kinds = {name: entry["kind"] for name, entry in store.manifest["modalities"].items()}
    assert kinds == {"text": "sequence", "audio": "vector", "vision": "vector"}
    np.testing.assert_array_equal(store.sample(1, "vision")[0], content["train"]["vision"][1])
    assert "modalities are not aligned" in store.manifest["notes"]


def test_vectors_in_all_modalities_are_no_single_clip(mmsa: Any, pickled: Any) -> None:
    content = mmsa(sizes=(8, 4, 5))
    for part in content.values():
        for name in ("text", "audio", "vision"):
            part[name] = part[name].mean(1)
        del part["audio_lengths"], part["vision_lengths"], part["text_bert"]
    assert len(load(pickled(content))) == 17


@pytest.mark.parametrize("name", ["video", "visual"])
def test_vision_by_another_name_is_vision(name: str, mmsa: Any, pickled: Any) -> None:
    content = mmsa()
    expected = features(load(pickled(content)))
    for part in content.values():
        part[name], part[f"{name}_lengths"] = part.pop("vision"), part.pop("vision_lengths")
    file = pickled(content)
    assert detect_layout(file) == "mmsa"
    assert features(load(file)) == expected


def with_bytes(content: Any) -> Any:
    """What Python 3 makes of a pickle of Python 2 that it reads as bytes."""
    if isinstance(content, dict):
        return {key.encode(): with_bytes(value) for key, value in content.items()}
    return (
        [item.encode() for item in content]
        if isinstance(content, list) and isinstance(content[0], str)
        else content
    )


def test_keys_may_be_bytes(mmsa: Any, pickled: Any) -> None:
    content = mmsa()
    store = load(pickled(content))
    file = pickled(with_bytes(content), "bytes.pkl")
    assert detect_layout(file) == "mmsa"
    other = load(file)
    assert features(other) == features(store)
    assert other.strings("id").tolist() == store.strings("id").tolist()


def test_files_of_mult_may_be_ragged_and_have_bytes_for_keys(pickled: Any) -> None:
    random = np.random.default_rng(0)
    sound = [random.normal(size=(length, 3)).astype(np.float32) for length in (2, 4, 1)]
    part = {"audio": objects(sound), "text": random.normal(size=(3, 5, 2)), "labels": np.ones((3, 1, 1))}
    file = pickled(with_bytes(dict.fromkeys(("train", "valid", "test"), part)))
    assert detect_layout(file) == "mult"
    store = import_data(file, file.parent / "store", MultOptions())
    assert np.diff(store.offsets("audio")).tolist()[:3] == [2, 4, 1]
    np.testing.assert_array_equal(store.sample(1, "audio"), sound[1])


@pytest.mark.parametrize("suffix", ["npz:a", "npz:a#id", "npy"])
def test_arrays_of_arrays_are_features_of_a_table(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,label\na,1\nb,2\nc,3\n")
    sound = objects([np.full((steps, 2), steps, np.float32) for steps in (3, 1, 2)])
    np.savez(tmp_path / "f.npz", a=sound, id=np.array(["a", "b", "c"]))
    np.save(tmp_path / "f.npy", sound)
    options = TableOptions(task=MOSI, features=(f"audio={tmp_path}/f.{suffix}",))
    store = import_data(tmp_path / "t.csv", tmp_path / "store", options)
    assert np.diff(store.offsets("audio")).tolist() == [3, 1, 2]
    assert store.sample(2, "audio").tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        ([np.ones((2, 3)), np.ones((2, 4)), np.ones((1, 3))], r"has the shape \(2, 4\) at place 1"),
        ([np.ones((2, 3)), np.ones(3), np.ones((1, 3))], r"has the shape \(3,\) at place 1"),
        ([np.ones((2, 3)), [[1, 2, 3], [4]], np.ones((1, 3))], "at place 1, but numbers"),
        ([np.ones((2, 3)), np.array([["x"] * 3]), np.ones((1, 3))], "<U1 of shape .* at place 1"),
        ([np.ones((2, 3))] * 2, "2 entries under `audio`, but 3 labels"),
        ([[], [], []], "empty shape"),
    ],
)
def test_sequences_that_do_not_fit_each_other_are_refused(sound: Any, reason: str, pickled: Any) -> None:
    part = {"audio": sound, "labels": np.ones((3, 1, 1))}
    file = pickled({"train": part, "valid": part, "test": part})
    with pytest.raises(DataError, match=reason):
        import_data(file, file.parent / "store", MultOptions())


def test_one_array_that_stands_for_many_samples_is_refused(pickled: Any) -> None:
    long = np.ones((2**10, 2**8))
    part = {"audio": [long] * 50, "labels": np.ones((50, 1, 1))}
    file = pickled({"train": part, "test": part})
    with pytest.raises(DataError, match="names the same array many times over"):
        import_data(file, file.parent / "store", MultOptions())


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_within_an_array_are_read_safely(protocol: int, tmp_path: Path) -> None:
    kept = objects([np.arange(3.0), np.ones((2, 600)), np.arange(3.0)])
    file = tmp_path / "o.pkl"
    file.write_bytes(pickle.dumps(kept, protocol))
    found = load_pickle(file)
    assert found.shape == (3,)
    for array, expected in zip(found, kept, strict=True):
        np.testing.assert_array_equal(array, expected)
    file.write_bytes(pickle.dumps(objects([objects([1, 2])]), protocol))
    with pytest.raises(DataError, match="neither text nor numbers"):
        load_pickle(file)


def test_labels_of_one_modality_can_be_what_is_predicted(mmsa: Any, pickled: Any) -> None:
    content = mmsa(sims=True)
    for part in content.values():
        part["regression_labels_A"] = part["regression_labels"] * 0.25
    store = load(pickled(content), task=TaskOptions(), label_key="regression_labels_A")
    whole = content["train"]["regression_labels"].tolist()
    np.testing.assert_allclose(store.labels[:7], np.multiply(whole, 0.25), rtol=1e-6)
    assert store.task.scale == "sims"
    np.testing.assert_allclose(store.table["label_all"].to_pylist()[:7], whole)
