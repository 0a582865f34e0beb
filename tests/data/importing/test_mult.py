"""Pickles of the MulT layout arrive whole, with whatever their releases leave out, and bad ones are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.importing import MultOptions, TaskOptions, detect_layout, import_data
from qinn.data.importing import mult as module
from qinn.errors import ConfigError, DataError

Content = dict[str, Any]


def mult(*, aligned: bool = False, sizes: tuple[int, int, int] = (5, 3, 4), front: bool = False) -> Content:
    content: Content = {}
    for seed, (split, size) in enumerate(zip(("train", "valid", "test"), sizes, strict=True)):
        generator = np.random.default_rng(seed)
        longest = {"text": 6, "audio": 6 if aligned else 9, "vision": 6 if aligned else 8}
        lengths = {name: generator.integers(1, steps + 1, size) for name, steps in longest.items()}
        part: Content = {}
        for name, dim in (("vision", 4), ("text", 3), ("audio", 2)):
            values = generator.uniform(1, 2, (size, longest[name], dim)).astype(np.float32)
            steps = lengths["text"] if aligned else lengths[name]
            padding = np.arange(longest[name]) >= steps[:, None]
            values[padding[:, ::-1] if front else padding] = 0
            part[name] = values
        part["labels"] = generator.integers(-3, 4, (size, 1, 1)).astype(np.float32)
        part["id"] = np.array(
            [[f"{split}{row // 2}", f"{row}.5", f"{row + 1}.5"] for row in range(size)]
        ).astype("S")
        content[split] = part
    return content


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("aligned", [False, True])
def test_every_sample_keeps_its_steps_label_and_names(
    aligned: bool, front: bool, protocol: int, pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mult(aligned=aligned, front=front)
    source = pickled(content, protocol=protocol)
    assert detect_layout(source) == "mult"
    told: list[tuple[int, int]] = []
    store = import_data(
        source, tmp_path / "store", MultOptions(), progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (12, 12)
    assert store.modalities == {"text": 3, "audio": 2, "vision": 4}
    assert store.manifest["splits"] == {"train": 5, "valid": 3, "test": 4}
    rows = store.table.to_pylist()
    row = 0
    for split, part in content.items():
        for at in range(len(part["labels"])):
            assert rows[row]["id"] == f"{split}{at // 2}_{at}.5_{at + 1}.5"
            assert (rows[row]["split"], rows[row]["group"]) == (split, f"{split}{at // 2}")
            assert (rows[row]["start"], rows[row]["end"]) == (f"{at}.5", f"{at + 1}.5")
            assert rows[row]["label"] == part["labels"][at, 0, 0]
            for name in store.modalities:
                values = part[name][at]
                np.testing.assert_array_equal(store.sample(row, name), values[values.any(axis=1)])
            row += 1
    notes = store.manifest["notes"]
    assert (
        f"modalities are {'' if aligned else 'not '}aligned" + (" step by step" if aligned else "") in notes
    )
    cut = sum(int((part["text"] == 0).all(axis=2).sum()) for part in content.values())
    where = f"{cut} steps at the front and 0" if front else f"0 steps at the front and {cut}"
    assert any(note.startswith(f"`text` is padded to 6 steps: {where} at the end") for note in notes)


def test_a_step_that_is_zero_in_one_aligned_modality_alone_is_kept(
    pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mult(aligned=True)
    content["train"]["text"][0] = 1
    content["train"]["audio"][0] = [[0, 0], *[[1, 1]] * 5]
    store = import_data(pickled(content), tmp_path / "store", MultOptions())
    assert store.sample(0, "audio").tolist() == [[0, 0], *[[1, 1]] * 5]


def test_signalling_nans_are_counted_and_set_to_zero_like_others(
    pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mult()
    content["train"]["audio"][0] = 1
    content["train"]["audio"][0, 0] = np.array([0x7FA00000] * 2, np.uint32).view(np.float32)
    store = import_data(pickled(content), tmp_path / "store", MultOptions(nan="zero"))
    assert store.sample(0, "audio")[0].tolist() == [0, 0]
    assert "2 NaN or infinite values of `audio` were set to zero" in store.manifest["notes"]


@pytest.mark.parametrize(
    ("names", "ids", "groups"),
    [
        (None, ["train-0000", "train-0001"], ["", ""]),
        (["v[0]", "v[1]"], ["v[0]", "v[1]"], ["v", "v"]),
        ([["v$_$3"], ["w$_$4"]], ["v$_$3", "w$_$4"], ["v", "w"]),
        ([b"a", b"b"], ["a", "b"], ["", ""]),
        ([["v", "0", "1"]] * 2, ["train-0000", "train-0001"], ["v", "v"]),
    ],
)
def test_names_come_in_every_form_of_the_releases(
    names: Any, ids: list[str], groups: list[str], pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mult(sizes=(2, 1, 1))
    for part in content.values():
        del part["id"]
    if names is not None:
        for at, (split, part) in enumerate(content.items()):
            other = (
                [[f"{split}{at}"] * 3] if isinstance(names[0], list) and len(names[0]) == 3 else [f"x{at}"]
            )
            part["id"] = np.array(names) if split == "train" else np.array(other)
    store = import_data(pickled(content), tmp_path / "store", MultOptions())
    assert store.table["id"].to_pylist()[:2] == ids
    assert store.table["group"].to_pylist()[:2] == groups
    if ids[0] == "train-0000" and names is not None:
        assert store.table["source_id"].to_pylist()[:2] == ["v_0_1", "v_0_1"]
        assert any(note.startswith("1 name occurs more than once") for note in store.manifest["notes"])
    if not any(groups):
        assert any("groups are not known" in note for note in store.manifest["notes"])


def test_files_of_the_lmf_code_are_the_same_by_other_names(
    pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = {
        split: {
            "covarep": np.full((2, 5), at + 1.0),
            "facet": np.full((2, 4), 1.0),
            "glove": np.ones((2, 3, 6)),
            "label": np.array([[1.5], [-2.0]]),
        }
        for at, split in enumerate(("train", "valid", "test"))
    }
    source = pickled(content, protocol=2)
    assert detect_layout(source) == "mult"
    store = import_data(source, tmp_path / "store", MultOptions())
    assert store.modalities == {"text": 6, "audio": 5, "vision": 4}
    assert store.manifest["modalities"]["audio"]["kind"] == "vector"
    assert store.values("audio")[:, 0].tolist() == [1, 1, 2, 2, 3, 3]
    assert store.labels.tolist() == [1.5, -2.0] * 3


def test_one_of_several_labels_is_taken_as_asked(pickled: Callable[..., Path], tmp_path: Path) -> None:
    content = mult()
    for part in content.values():
        part["labels"] = np.eye(2)[np.arange(len(part["labels"]) * 4) % 2].reshape(-1, 4, 2)
        part["labels"][:, 3] = [0, 1]
    source = pickled(content)
    task = TaskOptions("classification", classes=("0", "1"))
    with pytest.raises(ConfigError, match="several per sample"):
        import_data(source, tmp_path / "store", MultOptions(task=task))
    store = import_data(source, tmp_path / "store", MultOptions(task=task, label_index=3))
    assert set(store.labels.tolist()) == {1}
    with pytest.raises(ConfigError, match="there is no 4"):
        import_data(source, tmp_path / "other", MultOptions(task=task, label_index=4))
    content["train"]["labels"][0, 3] = 1
    with pytest.raises(DataError, match="a single 1"):
        import_data(pickled(content), tmp_path / "other", MultOptions(task=task, label_index=3))
    for part in content.values():
        part["labels"] = np.array([[1.0, -2.0]] * len(part["labels"]))
    store = import_data(pickled(content), tmp_path / "other", MultOptions(label_index=1))
    assert set(store.labels.tolist()) == {-2}


def test_infinite_sound_is_refused_or_repaired_and_official_sizes_are_named(
    pickled: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = mult()
    content["valid"]["audio"][0, 0, 0] = -np.inf
    monkeypatch.setitem(module.OFFICIAL_SPLITS, (5, 3, 4), "TINY")
    with pytest.raises(DataError, match="the value -inf"):
        import_data(pickled(content), tmp_path / "store", MultOptions())
    store = import_data(pickled(content), tmp_path / "store", MultOptions(nan="zero", modalities=("audio",)))
    assert store.modalities == {"audio": 2}
    assert "1 NaN or infinite values of `audio` were set to zero" in store.manifest["notes"]
    assert "split sizes 5 / 3 / 4 are the official ones of TINY" in store.manifest["notes"]


def test_groups_and_dropped_labels_follow_the_options(pickled: Callable[..., Path], tmp_path: Path) -> None:
    content = mult()
    content["train"]["labels"][:] = 1
    content["valid"]["labels"][:] = 2
    content["test"]["labels"][:] = 1
    options = MultOptions(group_pattern="(.)", task=TaskOptions(scale="mosi", drop_labels=("2",)))
    store = import_data(pickled(content), tmp_path / "store", options)
    assert store.manifest["splits"] == {"train": 5, "test": 4}
    assert set(store.table["group"].to_pylist()) == {"t"}


def change(part: str, key: str, value: Any) -> Callable[[Content], None]:
    def apply(content: Content) -> None:
        content[part][key] = value(content[part][key]) if callable(value) else value

    return apply


BAD: dict[str, tuple[Callable[[Content], Any], str]] = {
    "text labels": (change("train", "labels", np.array(["a"] * 5)), "numbers under `labels`"),
    "ragged labels": (
        change("train", "labels", [[1.0], [2.0, 3.0], 1.0, 1.0, 1.0]),
        "numbers under `labels`",
    ),
    "labels by name": (change("train", "labels", {"a": 1.0}), "numbers under `labels`"),
    "names by name": (change("train", "id", {"a": "b"}), "one name, or video"),
    "empty labels": (change("train", "labels", np.zeros((0, 1, 1))), "numbers under `labels`"),
    "fewer rows": (
        change("train", "audio", lambda array: array[:-1]),
        "has 4 entries under `audio`, but 5 labels",
    ),
    "list for array": (
        change("train", "audio", lambda array: array[:, 0, 0].tolist()),
        "`audio`, but it is list",
    ),
    "one axis": (change("train", "audio", np.ones(5)), "shape (5,)"),
    "text array": (change("train", "audio", lambda array: array.astype(str)), "under `audio`"),
    "no steps": (change("train", "audio", lambda array: array[:, :0]), "empty shape"),
    "other width": (change("test", "audio", lambda array: array[..., :1]), "has 1 features in `audio`"),
    "missing later": (lambda content: content["test"].pop("audio"), "lacks `audio`"),
    "some aligned": (
        change("test", "audio", lambda array: array[:, :6]),
        None,
    ),
    "all aligned": (
        lambda content: content["test"].update(
            audio=content["test"]["audio"][:, :6], vision=content["test"]["vision"][:, :6]
        ),
        "differ in whether",
    ),
    "fewer names": (change("train", "id", lambda ids: ids[:-1]), "one name, or video, start and end"),
    "nested names": (change("train", "id", [["a", "b"], ["c"], [], [], []]), "one name, or video"),
    "same split twice": (lambda content: content.update(dev=content["valid"]), "two parts for one split"),
    "unknown split": (lambda content: content.update(extra=content["valid"]), "which is unknown"),
    "label out of scale": (change("train", "labels", np.full((5, 1, 1), 4.0)), "label 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_contradicts_itself_is_refused_and_leaves_no_store(
    name: str, pickled: Callable[..., Path], tmp_path: Path
) -> None:
    content = mult()
    spoil, reason = BAD[name]
    spoil(content)
    if reason is None:
        import_data(pickled(content), tmp_path / "store", MultOptions())
        return
    with pytest.raises(DataError) as refusal:
        import_data(pickled(content), tmp_path / "store", MultOptions())
    assert reason in str(refusal.value)
    assert "data.pkl" in str(refusal.value)
    assert not (tmp_path / "store").exists()


def test_options_that_can_not_be_are_refused(
    pickled: Callable[..., Path], tmp_path: Path, encoder: Any
) -> None:
    with pytest.raises(ConfigError, match="some of text, audio, vision"):
        MultOptions(modalities=("smell",))
    with pytest.raises(ConfigError, match="0 or more"):
        MultOptions(label_index=-1)
    content = mult()
    for part in content.values():
        del part["vision"]
    source = pickled(content)
    assert list(import_data(source, tmp_path / "store", MultOptions()).modalities) == ["text", "audio"]
    with pytest.raises(DataError, match="no key `vision`"):
        import_data(source, tmp_path / "other", MultOptions(modalities=("vision",)))
    with pytest.raises(ConfigError, match="no transcripts to encode"):
        import_data(source, tmp_path / "other", MultOptions(), encoder=encoder)
