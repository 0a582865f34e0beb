"""A store that was changed in place is noticed whenever numbers are made from it, and nothing is read twice in vain."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.data.checking.verification import verify
from qinn.data.stores import unchanged
from qinn.data.stores.progress import watched
from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import cache_folder, open_unchanged
from qinn.digests import OWN_DIGEST
from qinn.errors import DataError
from qinn.experiment.absence_sweep import sweep_absent
from qinn.experiment.comparison import compare
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.run import run

from ..tiny import tiny_config, write_tiny_store


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store to be changed, on a file system whose time stamps are fine."""
    monkeypatch.setattr(unchanged, "_SETTLED", 0.05)
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


def reading(path: Path, cache: Path | None = None) -> int:
    """Open a store and return how many bytes of it were read for that."""
    seen: list[int] = [0]
    with watched(lambda _, done, __: seen.append(done)):
        open_unchanged(path, cache=cache)
    return max(seen)


def settle(path: Path) -> None:
    """Wait until a change would have another time stamp; the stamps themselves cannot be set back."""
    newest = max(file.stat().st_ctime for file in path.iterdir())
    time.sleep(max(0.0, newest + unchanged._SETTLED + 0.02 - time.time()))


def in_place(name: str, at: int, times: bool = True) -> Callable[[Path], None]:
    """Change one byte of a file, without a new inode, a new size or, with `times`, a new modification time."""

    def change(path: Path) -> None:
        before = (path / name).stat()
        with (path / name).open("r+b") as file:
            file.seek(at, 2 if at < 0 else 0)
            byte = file.read(1)
            file.seek(at, 2 if at < 0 else 0)
            file.write(bytes([byte[0] ^ 1]))
        if times:
            os.utime(path / name, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def mapped(path: Path) -> None:
    values = np.load(path / "text.values.npy", mmap_mode="r+")
    values[:] = values[::-1].copy()
    values.flush()


def labels(path: Path) -> None:
    table = pq.read_table(path / "samples.parquet")
    index = table.column_names.index("label")
    negated = pa.array(-table["label"].to_numpy())
    pq.write_table(table.set_column(index, "label", negated), path / "samples.parquet")


def swapped(path: Path) -> None:
    first, second = path / "audio.values.npy", path / "vision.values.npy"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def manifest(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / "manifest.json"
        content = json.loads(file.read_text())
        for key, value in changes.items():
            content.pop(key, None)
            if value is not None:
                content[key] = value
        file.write_text(json.dumps(content))

    return change


CHANGES = {
    "a value": (in_place("text.values.npy", -3), "text.values.npy"),
    "a value, by a mapped array": (mapped, "text.values.npy"),
    "a value, in the audio": (in_place("audio.values.npy", -1, times=False), "audio.values.npy"),
    "all labels": (labels, "samples.parquet"),
    "a byte of the table": (in_place("samples.parquet", 40), "samples.parquet"),
    "the name of the data": (manifest(name="other"), "manifest.json"),
    "the hash in the manifest": (manifest(sha256="0" * 64), "manifest.json"),
    "the hashes of the files": (manifest(files=None), "manifest.json"),
    "the manifest's own hash": (manifest(**{OWN_DIGEST: None}), "manifest.json"),
}


@pytest.mark.parametrize("kept", [False, True], ids=["never read before", "read before"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_in_place_is_named(name: str, kept: bool, store: Path, tmp_path: Path) -> None:
    change, file = CHANGES[name]
    if kept:
        settle(store)
        assert reading(store, tmp_path / "cache") > 0
        assert reading(store, tmp_path / "cache") == 0
    change(store)
    with pytest.raises(DataError, match=f"{file}` (has changed|is damaged)") as caught:
        open_unchanged(store, cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not verify(Store.open(store)).is_right or file == "manifest.json"


def test_files_in_the_place_of_others_are_named(store: Path) -> None:
    # Both have three features, so nothing but the hash tells them apart where they have as many steps.
    if (store / "audio.values.npy").stat().st_size != (store / "vision.values.npy").stat().st_size:
        shutil.copyfile(store / "audio.offsets.npy", store / "vision.offsets.npy")
    else:
        swapped(store)
    with pytest.raises(DataError, match=r"(audio|vision)\.(values|offsets)\.npy` (has changed|is damaged)"):
        open_unchanged(store)


def commands(store: Path, finished: Path, tmp_path: Path) -> dict[str, Callable[[], object]]:
    config = tiny_config(store, models={"c": {"kind": "constant"}})
    return {
        "train": lambda: run(config, tmp_path / "new"),
        "repeat": lambda: run(config, finished),
        "evaluate": lambda: evaluate_run(finished),
        "evaluate another": lambda: evaluate_run(finished, store=store, split=None),
        "predict": lambda: predict_store(finished, store),
        "explain": lambda: explain_run(finished, tmp_path / "explained"),
        "explain another": lambda: explain_run(finished, tmp_path / "explained", store=store),
        "compare": lambda: compare(config, tmp_path / "comparison"),
        "sweep": lambda: sweep_absent([finished], tmp_path / "sweep", rates=(0.5,), mask_seeds=(0,)),
    }


def test_whatever_makes_numbers_of_a_store_notices_the_change(store: Path, tmp_path: Path) -> None:
    finished = run(tiny_config(store, models={"c": {"kind": "constant"}}), tmp_path / "finished").path
    in_place("vision.values.npy", -1)(store)
    for name, command in commands(store, finished, tmp_path).items():
        with pytest.raises(DataError, match=r"vision\.values\.npy` has changed"):
            command()
        assert not any((tmp_path / made).exists() for made in ("new", "explained", "sweep")), name


def test_other_files_and_stores_are_not_made_of_a_changed_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qinn import cli

    labels(store)
    for command in (["convert", "--to", "x.npz"], ["split", "--to", "other"]):
        to = str(tmp_path / command[2])
        monkeypatch.setattr("sys.argv", ["qinn", "data", command[0], str(store), "--to", to])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert "samples.parquet` has changed" in capsys.readouterr().err
        assert not Path(to).exists()


def test_a_store_that_stays_is_read_once(store: Path, tmp_path: Path) -> None:
    settle(store)
    size = sum(file.stat().st_size for file in store.iterdir() if file.name != "manifest.json")
    assert reading(store, tmp_path / "cache") == size
    assert reading(store, tmp_path / "cache") == 0
    os.utime(store / "text.values.npy")
    assert reading(store, tmp_path / "cache") == size


def test_a_store_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    """A change within the same tick of the clock would have the same time stamps."""
    store = write_tiny_store(tmp_path / "store").path
    assert reading(store, tmp_path / "cache") > 0
    assert reading(store, tmp_path / "cache") > 0


def test_a_copy_with_the_same_stamps_is_not_taken_for_the_original(store: Path, tmp_path: Path) -> None:
    settle(store)
    open_unchanged(store, cache=tmp_path / "cache")
    store.rename(tmp_path / "away")
    shutil.copytree(tmp_path / "away", store, copy_function=shutil.copy2)
    in_place("text.values.npy", -1)(store)
    with pytest.raises(DataError, match="has changed"):
        open_unchanged(store, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cache: None,
        lambda cache: cache.write_bytes(b"a file"),
        lambda cache: (cache / "stores").mkdir(parents=True) or (cache / "stores").chmod(0o500),
        lambda cache: cache.mkdir() or (cache / "stores").write_bytes(b""),
    ],
    ids=["none", "a file in its place", "read-only", "a file inside"],
)
def test_without_a_cache_that_can_be_used_the_store_is_read_every_time(
    spoil: Callable[[Path], object], store: Path, tmp_path: Path
) -> None:
    spoil(tmp_path / "cache")
    assert reading(store, tmp_path / "cache") > 0
    in_place("text.values.npy", -1)(store)
    with pytest.raises(DataError, match="has changed"):
        open_unchanged(store, cache=tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"files": 1}', b"[" * 100_000])
def test_a_damaged_note_is_read_over(content: bytes, store: Path, tmp_path: Path) -> None:
    settle(store)
    open_unchanged(store, cache=tmp_path / "cache")
    (note,) = (tmp_path / "cache" / "stores").iterdir()
    note.write_bytes(content)
    assert reading(store, tmp_path / "cache") > 0
    assert reading(store, tmp_path / "cache") == 0


def test_a_store_of_an_earlier_version_is_read_by_its_content(store: Path) -> None:
    manifest(files=None, **{OWN_DIGEST: None})(store)
    assert len(open_unchanged(store)) == 44
    assert [check.name for check in verify(Store.open(store)).checks][-1] == "content"
    in_place("text.values.npy", -1)(store)
    with pytest.raises(DataError, match="has changed since it was written: its hash is"):
        open_unchanged(store)


def test_the_cache_is_where_the_user_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "qinn"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / "home" / ".cache" / "qinn"


def test_a_note_names_no_place(store: Path, tmp_path: Path) -> None:
    settle(store)
    open_unchanged(store, cache=tmp_path / "cache")
    (note,) = (tmp_path / "cache" / "stores").iterdir()
    assert str(store.parent.name) not in note.read_text() + note.name
