"""Converted files hold what the store holds, are read by others and by qinn, and appear complete or not at all."""

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from qinn.atomic_writing import complete_file
from qinn.data.exporting import ConversionOptions, convert
from qinn.data.exporting.options import parse_lengths
from qinn.data.exporting.pickle_stream import PickleStream
from qinn.data.importing import MmsaOptions, TableOptions, TaskOptions, import_data, load_pickle
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import ArgumentError, ConfigError, DataError, OutputError, QinnError
from qinn.task import Task

MOSI, SIMS = Task("regression", -3.0, 3.0, "mosi"), Task("regression", -1.0, 1.0, "sims")
CLASSES = Task("classification", classes=("sad", "glad"))


def write(
    path: Path,
    task: Task = MOSI,
    *,
    modalities: tuple[str, ...] = ("text", "audio", "vision"),
    aligned: bool = False,
    splits: tuple[str, ...] = ("train", "valid", "test"),
    tier: str = "",
    **extra: Any,
) -> Store:
    """Eighteen samples; audio lacks in every fifth, steps of zeros stand at the ends of text."""
    generator = np.random.default_rng(0)
    dims = {"text": 1 if tier else 4, "audio": 3, "vision": 2, "hands": 2}
    kinds = {name: Modality(dims[name], tier=tier if name == "text" else "") for name in modalities}
    with StoreWriter(path, name="s", task=task, modalities=kinds, layout="test") as writer:
        for row in range(18):
            length = int(generator.integers(2, 6))
            features = {}
            for name in modalities:
                steps = length if aligned else int(generator.integers(2, 6))
                values = generator.normal(size=(steps, dims[name]))
                features[name] = np.round(abs(values) * 900 + 100) if tier and name == "text" else values
            if "audio" in modalities and row % 5 == 0:
                features["audio"] = None
            if "text" in modalities and not tier:
                features["text"][-1] = 0
            label = (
                row % 2
                if task.kind == "classification"
                else max(task.low, round(task.high * (row - 9) / 9, 1))
            )
            writer.add(
                f"v{row // 3}$_${row}",
                features,
                split=splits[row % len(splits)],
                label=label,
                group=f"v{row // 3}",
                text=f"WÖRTER {row}",
                extra={key: value[row] if isinstance(value, list) else value for key, value in extra.items()},
            )
    return Store.open(path)


def check_same(first: Store, second: Store) -> None:
    """Every sample has the same features, label, split, group and text in both."""
    order = [list(second.strings("id")).index(name) for name in first.strings("id")]
    for column in ("id", "split", "group", "text"):
        assert list(first.strings(column)) == list(second.strings(column)[order])
    np.testing.assert_array_equal(first.labels, second.labels[order])
    for name in first.modalities:
        for row, other in enumerate(order):
            np.testing.assert_array_equal(first.sample(row, name), second.sample(other, name))


# MMSA ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("task", [MOSI, SIMS], ids=["mosi", "sims"])
def test_an_mmsa_file_is_read_back_bit_by_bit(task: Task, aligned: bool, tmp_path: Path) -> None:
    extra = {f"label_{each}": [round(0.1 * row - 0.9, 1) for row in range(18)] for each in "TAV"}
    store = write(tmp_path / "a", task, aligned=aligned, **(extra if task is SIMS else {}))
    report = convert(store, tmp_path / "a.pkl", ConversionOptions(aligned=aligned))
    assert report.splits == {"train": 6, "valid": 6, "test": 6}
    options = MmsaOptions(task=TaskOptions(scale=task.scale))
    back = import_data(report.path, tmp_path / "b", options)
    check_same(store, back)
    if task is SIMS:
        assert sorted(back.table.column("label_A").to_pylist()) == extra["label_A"]


@pytest.mark.parametrize("aligned", [False, True])
def test_an_mmsa_file_has_the_keys_shapes_and_padding_of_the_layout(aligned: bool, tmp_path: Path) -> None:
    store = write(tmp_path / "a", aligned=aligned)
    report = convert(store, tmp_path / "a.pkl", ConversionOptions(aligned=aligned))
    content = pickle.loads(report.path.read_bytes())
    assert list(content) == ["train", "valid", "test"]
    for part in content.values():
        n, longest = len(part["id"]), part["text"].shape[1]
        assert part["text"].dtype == part["audio"].dtype == part["vision"].dtype == np.float32
        assert part["text_bert"].shape == (n, 3, longest)
        assert ("audio_lengths" in part) is ("vision_lengths" in part) is not aligned
        assert part["annotations"][0] in ("Negative", "Neutral", "Positive")
        np.testing.assert_array_equal(part["classification_labels"], np.sign(part["regression_labels"]) + 1)
        for row, name in enumerate(part["id"]):
            at = list(store.strings("id")).index(name)
            for modality in store.modalities:
                steps = store.sample(at, modality)
                np.testing.assert_array_equal(part[modality][row, : len(steps)], steps)
                assert not part[modality][row, len(steps) :].any()
            if not aligned:
                assert part["text_bert"][row, 1].sum() == len(store.sample(at, "text"))
                assert part["audio_lengths"][row] == max(1, len(store.sample(at, "audio")))
    if aligned:
        assert len({part[name].shape[1] for part in content.values() for name in store.modalities}) == 1
    assert load_pickle(report.path)["test"]["raw_text"] == content["test"]["raw_text"]


def test_token_ids_go_where_a_model_embeds_them(tmp_path: Path) -> None:
    store = write(tmp_path / "a", tier="mmsa:text_bert ids")
    report = convert(store, tmp_path / "a.pkl")
    assert any("use_bert" in note and "token ids" in note for note in report.notes)
    back = import_data(
        report.path, tmp_path / "b", MmsaOptions(task=TaskOptions(scale="mosi"), text_source="ids")
    )
    check_same(store, back)


def test_what_the_layout_cannot_say_is_said(tmp_path: Path) -> None:
    store = write(
        tmp_path / "a", SIMS, modalities=("text", "audio", "hands"), splits=("train", "valid", "test", "")
    )
    notes = " | ".join(convert(store, tmp_path / "a.pkl", ConversionOptions(max_lengths={"audio": 2})).notes)
    for phrase in (
        "no vision: one step of one zero",
        "no place for hands",
        "samples lack audio",
        "no token ids",
        "regression_labels_T repeat",
        "more than 2 steps of audio, which are cut off",
        "4 samples without a split are left out",
    ):
        assert phrase in notes
    assert load_pickle(tmp_path / "a.pkl")["train"]["audio"].shape[1] == 2


def test_samples_of_zeros_are_counted_since_they_come_back_as_absent(tmp_path: Path) -> None:
    with StoreWriter(
        tmp_path / "a", name="s", task=MOSI, modalities={"audio": Modality(2)}, layout="t"
    ) as writer:
        for split in ("train", "valid", "test"):
            writer.add(split, {"audio": np.zeros((2, 2))}, split=split, label=1)
    notes = convert(Store.open(tmp_path / "a"), tmp_path / "a.pkl").notes
    assert any("3 samples have nothing but zeros in audio" in note for note in notes)


def test_classes_become_indices_and_words(tmp_path: Path) -> None:
    convert(write(tmp_path / "a", CLASSES), tmp_path / "a.pkl")
    part = load_pickle(tmp_path / "a.pkl")["train"]
    assert part["annotations"] == ["sad", "glad", "sad", "glad", "sad", "glad"]
    np.testing.assert_array_equal(part["regression_labels"], [0, 1, 0, 1, 0, 1])
    convert(write(tmp_path / "b", annotations="So"), tmp_path / "b.pkl")
    assert load_pickle(tmp_path / "b.pkl")["train"]["annotations"] == ["So"] * 6


@pytest.mark.parametrize(
    ("store", "options", "words"),
    [
        ({"splits": ("train", "test")}, {}, "no valid split.*qinn data split"),
        ({"modalities": ("hands",)}, {}, "none of the modalities text, audio and vision.*hands"),
        ({}, {"aligned": True}, r"Sample `v\d\$_\$\d`.*steps.*without `aligned`"),
        ({}, {"max_lengths": {"hands": 3}}, "max_length.*hands"),
    ],
)
def test_a_store_that_does_not_fit_is_refused_and_leaves_nothing(
    store: dict, options: dict, words: str, tmp_path: Path
) -> None:
    opened = write(tmp_path / "a", **store)
    with pytest.raises(QinnError, match=words):
        convert(opened, tmp_path / "out" / "a.pkl", ConversionOptions(**options))
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_unlabelled_samples_are_refused_by_name(tmp_path: Path) -> None:
    with StoreWriter(
        tmp_path / "a", name="s", task=MOSI, modalities={"text": Modality(1)}, layout="t"
    ) as writer:
        for split in ("train", "valid", "test"):
            label = None if split == "test" else 1.0
            writer.add(f"in {split}", {"text": np.ones((1, 1))}, split=split, label=label)
    with pytest.raises(DataError, match=r"`in test`.*no label"):
        convert(Store.open(tmp_path / "a"), tmp_path / "a.pkl")


def test_an_array_in_pieces_is_the_array_and_too_few_pieces_are_an_error() -> None:
    whole = np.arange(24.0).reshape(4, 3, 2)
    stream = io.BytesIO()
    with PickleStream(stream) as target:
        target.array("a", whole.shape, "f8", [whole[:1], whole[1:]])
    np.testing.assert_array_equal(pickle.loads(stream.getvalue())["a"], whole)
    with pytest.raises(ArgumentError, match="192 bytes of `a`"), PickleStream(io.BytesIO()) as target:
        target.array("a", whole.shape, "f8", [whole[:1]])


# Parquet and npz ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [MOSI, CLASSES], ids=["scores", "classes"])
def test_parquet_has_one_row_per_sample_with_its_steps(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qinn.data.stores.cutting.VALUES", 6)
    store = write(tmp_path / "a", task, score=7)
    report = convert(store, tmp_path / "a.parquet")
    table = pq.read_table(report.path)
    assert pq.ParquetFile(report.path).num_row_groups > 2
    about = json.loads(table.schema.metadata[b"qinn"])
    assert about["sha256"] == store.sha256
    for column in ("id", "split", "label", "group", "text", "score"):
        assert table.column(column).to_pylist() == store.table.column(column).to_pylist()
    if task is CLASSES:
        assert table.column("label_name").to_pylist()[:2] == ["sad", "glad"]
    for name, dim in store.modalities.items():
        assert table.schema.field(f"{name}_features").type.value_type.list_size == dim
        for row, steps in enumerate(table.column(f"{name}_features").to_pylist()):
            expected = store.sample(row, name)
            assert (steps is None) == (len(expected) == 0)
            np.testing.assert_array_equal(np.array(steps or np.zeros((0, dim)), np.float32), expected)


def test_a_parquet_folder_has_one_file_per_split(tmp_path: Path) -> None:
    store = write(tmp_path / "a", splits=("train", "test", ""))
    convert(store, tmp_path / "out", ConversionOptions(format="parquet"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "rest.parquet",
        "test.parquet",
        "train.parquet",
    ]
    assert set(pq.read_table(tmp_path / "out" / "test.parquet")["split"].to_pylist()) == {"test"}
    with pytest.raises(OutputError, match="out` exists already"):
        convert(store, tmp_path / "out", ConversionOptions(format="parquet"))


def test_an_npz_file_becomes_the_same_store_by_the_command_that_is_noted(tmp_path: Path) -> None:
    store = write(tmp_path / "a")
    report = convert(store, tmp_path / "a.npz")
    assert "--scale mosi" in report.notes[0]
    features = [word for word in report.notes[0].split() if "_features@" in word]
    options = TableOptions(
        task=TaskOptions(scale="mosi"),
        split_column="split",
        group_column="group",
        fold_column="fold",
        text_column="text",
        features=tuple(word.strip("`") for word in features),
    )
    check_same(store, import_data(report.path, tmp_path / "b", options))
    with np.load(report.path) as arrays:
        np.testing.assert_array_equal(arrays["text_offsets"], store.offsets("text"))
    note = convert(write(tmp_path / "c", CLASSES), tmp_path / "c.npz").notes[0]
    assert "--task classification --classes sad,glad" in note
    plain = write(tmp_path / "d", Task("regression", 0.0, 5.0))
    assert "--scale plain --range 0 5" in convert(plain, tmp_path / "d.npz").notes[0]


@pytest.mark.parametrize(("suffix", "column"), [("parquet", "text_features"), ("npz", "text_offsets")])
def test_a_column_in_the_place_of_features_is_refused(suffix: str, column: str, tmp_path: Path) -> None:
    store = write(tmp_path / "a", **{column: 1})
    with pytest.raises(DataError, match=f"column `{column}`"):
        convert(store, tmp_path / f"a.{suffix}")
    assert not (tmp_path / f"a.{suffix}").exists()


# Places and options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("a.xyz", {}, "does not tell the format"),
        ("a.npz", {"aligned": True}, "belong to the format mmsa"),
        ("a.pkl", {"format": "csv"}, "mmsa, parquet or npz"),
        ("a.pkl", {"max_lengths": {"text": 0}}, "at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(target: str, options: dict, words: str, tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    with pytest.raises(ConfigError, match=words):
        convert(store, tmp_path / target, ConversionOptions(**options))


def test_lengths_are_read_as_typed() -> None:
    assert parse_lengths(["audio=500", "text=50"]) == {"audio": 500, "text": 50}
    with pytest.raises(ConfigError, match=r"MODALITY=STEPS.*audio500"):
        parse_lengths(["audio500"])


@pytest.mark.parametrize("suffix", ["pkl", "parquet", "npz"])
def test_an_existing_file_stays_unless_it_may_be_replaced(suffix: str, tmp_path: Path) -> None:
    store, target = write(tmp_path / "s"), tmp_path / f"a.{suffix}"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        convert(store, target)
    assert target.read_text() == "mine"
    convert(store, target, ConversionOptions(overwrite=True))
    assert target.read_bytes()[:4] != b"mine"
    (tmp_path / f"b.{suffix}").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        convert(store, tmp_path / f"b.{suffix}")


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with complete_file(tmp_path / "a", overwrite=False) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_a_killed_process_leaves_is_hidden_and_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nfrom qinn.atomic_writing import complete_file\n"
        "with complete_file(pathlib.Path(sys.argv[1]), overwrite=False) as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)\n"
    )
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        env=os.environ | {"PYTHONPATH": source},
        check=False,
    )
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.")
    with complete_file(tmp_path / "a", overwrite=False) as stream:
        stream.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_running_attempt_is_not_taken_for_a_stale_one(tmp_path: Path) -> None:
    with complete_file(tmp_path / "a", overwrite=True) as first:
        first.write(b"first")
        with complete_file(tmp_path / "a", overwrite=True) as second:
            second.write(b"second")
        assert (tmp_path / "a").read_bytes() == b"second"
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write(tmp_path / "s")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qinn.atomic_writing.flush", full)
    for target in ("a.pkl", "folder"):
        with pytest.raises(OutputError, match="No space left on device; free space"):
            convert(store, tmp_path / target, ConversionOptions(format=None if "." in target else "parquet"))
    monkeypatch.undo()
    monkeypatch.setattr("qinn.atomic_writing.put_in_place", full)
    with pytest.raises(OutputError, match="No space left"):
        convert(store, tmp_path / "folder", ConversionOptions(format="parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    """80 MB of features; the peak of a fresh process must rise by much less."""
    dims = {"text": Modality(64), "audio": Modality(64)}
    with StoreWriter(tmp_path / "s", name="s", task=MOSI, modalities=dims, layout="t") as writer:
        for row in range(400):
            values = np.full((400, 64), row, np.float32)
            writer.add(
                str(row),
                {"text": values, "audio": values},
                split=("train", "valid", "test")[row % 3],
                label=1,
            )
    code = (
        "import resource, sys, pathlib\nfrom qinn.data.exporting import convert\n"
        "from qinn.data.stores.store import Store\n"
        "import qinn.data.exporting.mmsa\nstore = Store.open(sys.argv[1]); store.table\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nconvert(store, sys.argv[2])\n"
        "import re\nanonymous = int(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "print(anonymous)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}

    def anonymous(source: Path, target: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", code, str(source), str(tmp_path / target)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    small = write(tmp_path / "small")
    assert anonymous(tmp_path / "s", "big.pkl") - anonymous(small.path, "small.pkl") < 30_000
    assert (tmp_path / "big.pkl").stat().st_size > 80_000_000
