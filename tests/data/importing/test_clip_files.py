"""Features in a file per clip, csv of OpenFace among them, and folders of them reach their samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.importing import FeatureSpec, TableOptions, TaskOptions, detect_layout, import_data
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError

FACE = (
    "frame, face_id, timestamp, confidence, success, gaze_x, AU01_r, AU02_r, AU01_c\n"
    "1, 0, 0.00, 0.98, 1, 0.5, 1.5, 2.5, 1\n"
    "2, 0, 0.03, 0.10, 0, 9, 9, 9, 9\n"
    "3, 0, 0.07, 0.97, 1, -0.25, 0.5, 1e-1, 0\n"
)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A table of two samples, vision as csv files and audio as npy files."""
    (tmp_path / "labels.csv").write_text("id,label\na,1.5\nb,-3\n")
    for name in ("vision", "audio"):
        (tmp_path / name).mkdir()
    (tmp_path / "vision" / "a.csv").write_text(FACE)
    (tmp_path / "vision" / "b.csv").write_text(FACE.replace("0.5", "0.75"))
    for row, name in enumerate("ab"):
        np.save(tmp_path / "audio" / f"{name}.npy", np.full((2, 3), row, np.float32))
    return tmp_path


def load(clips: Path, *features: str, source: str = "labels.csv", **options: Any) -> Store:
    specs = tuple(feature.replace("@@", str(clips)) for feature in features)
    options.setdefault("task", TaskOptions(scale="mosi"))
    return import_data(
        clips / source, clips / "s" / "store", TableOptions(features=specs, **options), overwrite=True
    )


@pytest.mark.parametrize(
    ("spec", "first"),
    [
        ("@@/vision/{id}.csv:AU*_r", [[1.5, 2.5], [9, 9], [0.5, 0.1]]),
        ("@@/vision/{id}.csv:AU*_r@success", [[1.5, 2.5], [0.5, 0.1]]),
        ("@@/vision/{id}.csv:gaze_x+AU01_?@success", [[0.5, 1.5, 1], [-0.25, 0.5, 0]]),
        ("@@/vision/{id}.csv@success", [[0.5, 1.5, 2.5, 1], [-0.25, 0.5, 0.1, 0]]),
        ("@@/vision/", [[0.5, 1.5, 2.5, 1], [9, 9, 9, 9], [-0.25, 0.5, 0.1, 0]]),
    ],
)
def test_columns_of_a_csv_per_clip_are_its_features(spec: str, first: Any, clips: Path) -> None:
    store = load(clips, f"vision={spec}")
    np.testing.assert_array_equal(store.sample(0, "vision"), np.array(first, np.float32))
    assert store.manifest["modalities"]["vision"]["kind"] == "sequence"
    left_out = "2 steps of `vision` whose `success` is 0 were left out"
    assert (left_out in store.manifest["notes"]) == ("@success" in spec)
    assert [source["file"] for source in store.manifest["sources"]] == ["labels.csv", "{id}.csv"]


@pytest.mark.parametrize("text", ["x;y\n1;2\n", "\ufeffx\ty\r\n1\t2\r\n", "x,y\n1,2"])
def test_separators_and_spellings_are_found_out(text: str, clips: Path) -> None:
    for name in "ab":
        (clips / "vision" / f"{name}.csv").write_text(text, encoding="utf-8")
    assert load(clips, "vision=@@/vision/").sample(1, "vision").tolist() == [[1, 2]]


def test_empty_cells_are_no_numbers_and_an_empty_table_has_no_step(clips: Path) -> None:
    (clips / "vision" / "a.csv").write_text("x,y\n1,\n3,4\n")
    (clips / "vision" / "b.csv").write_text("x,y\n")
    with pytest.raises(DataError, match=r"`a` has the value nan"):
        load(clips, "vision=@@/vision/", "audio=@@/audio/")
    store = load(clips, "vision=@@/vision/", "audio=@@/audio/", nan="drop-step")
    assert np.diff(store.offsets("vision")).tolist() == [1, 0]


def test_a_mask_in_an_npz_per_clip_leaves_steps_out(clips: Path) -> None:
    for name in "ab":
        np.savez(clips / "audio" / f"{name}.npz", x=np.arange(6.0).reshape(3, 2), ok=np.array([1, 0, 1]))
    store = load(clips, "audio=@@/audio/{id}.npz:x@ok")
    assert store.sample(0, "audio").tolist() == [[0, 1], [4, 5]]
    np.savez(clips / "audio" / "b.npz", x=np.arange(6.0).reshape(3, 2), ok=np.array([1, 0]))
    with pytest.raises(DataError, match=r"b.npz:ok` must have one number per step"):
        load(clips, "audio=@@/audio/{id}.npz:x@ok")


def test_a_folder_with_one_table_is_imported_as_it_lies(clips: Path) -> None:
    (clips / ".cache").mkdir()
    assert detect_layout(clips) == "table"
    store = load(clips, source=".")
    assert store.modalities == {"audio": 3, "vision": 4}
    assert "features are the folders audio, vision" in store.manifest["notes"]
    assert load(clips, "x=@@/audio/", source=".").modalities == {"x": 3}
    (clips / "more.tsv").write_text("id\tlabel\n")
    with pytest.raises(DataError, match=r"2 tables \(labels.csv, more.tsv\)"):
        load(clips, source=".")


BAD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "text": (
        lambda f: (f / "vision/b.csv").write_text("x,y\n1,word\n"),
        "@@/vision/",
        "which is not a number; name the columns to take",
    ),
    "ragged": (lambda f: (f / "vision/b.csv").write_text("x,y\n1,2\n1\n"), "@@/vision/", "b.csv"),
    "no header": (lambda f: (f / "vision/a.csv").write_text(""), "@@/vision/", "is empty"),
    "a quote that does not end": (
        lambda f: (f / "vision/a.csv").write_text('x,"y\n1,2\n'),
        "@@/vision/",
        "a.csv` has a header that can't be read",
    ),
    "a name without end": (
        lambda f: (f / "vision/a.csv").write_text("x," + "y" * 140_000 + "\n1,2\n"),
        "@@/vision/",
        "a.csv` has a header that can't be read",
    ),
    "two of a name": (
        lambda f: (f / "vision/a.csv").write_text("x,x\n1,2\n"),
        "@@/vision/",
        "two columns `x`",
    ),
    "no such column": (lambda f: None, "@@/vision/{id}.csv:AU9*", "no column `AU9*`; it has frame, face_id"),
    "no such mask": (lambda f: None, "@@/vision/{id}.csv@seen", "no column `seen`"),
    "no text": (
        lambda f: (f / "vision/a.csv").write_bytes(b"\xff\xfe\x00x"),
        "@@/vision/",
        "not text in UTF-8",
    ),
    "no text below": (
        lambda f: (f / "vision/a.csv").write_bytes(b"x,y\n" + b"\xff" * 3000 + b",1\n"),
        "@@/vision/",
        "a.csv",
    ),
    "other width": (
        lambda f: (f / "vision/b.csv").write_text("x,y\n1,2\n"),
        "@@/vision/",
        "has shape (1, 2)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_clip_files_are_refused_by_name(name: str, clips: Path) -> None:
    spoil, spec, reason = BAD[name]
    spoil(clips)
    with pytest.raises(DataError) as refusal:
        load(clips, f"vision={spec}")
    assert reason in str(refusal.value)
    assert not (clips / "s" / "store").exists()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["a.pt"], "a tensor of torch: save numbers as npy"),
        (["a.wav"], "sound and no features"),
        (["a.xyz"], "no files of features"),
        (["a.csv", "a.npz"], r"\.npz and \.csv files; say which"),
    ],
)
def test_folders_that_can_not_be_read_are_refused_with_advice(
    files: list[str], reason: str, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).write_text("")
    with pytest.raises(ConfigError, match=reason):
        FeatureSpec.parse(f"x={tmp_path}/")


@pytest.mark.parametrize(("file", "kind"), [("x.pt", "tensor"), ("x.mat", "MATLAB"), ("x.pkl", "pickle")])
def test_files_of_another_kind_are_refused_with_advice(file: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind}.*save numbers as npy"):
        FeatureSpec.parse(f"x=folder/{file}")


def test_a_folder_of_one_kind_needs_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    assert FeatureSpec.parse(f"x={tmp_path}/").file.endswith("{id}.csv")
    (tmp_path / "a.npy").write_text("")
    assert FeatureSpec.parse(f"x={tmp_path}/").file.endswith("{id}.npy")
