"""What was made of one clip, as extraction keeps it until it is in a store: words, sequences, quality as material."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from qinn.atomic_writing import complete_file
from qinn.errors import DataError
from qinn.features.speech import Word
from qinn.file_kinds import DAMAGED_ARCHIVE
from qinn.opening import open_regular

__all__ = ["QUALITY_COLUMNS", "ClipFeatures", "Quality", "Steps"]

_FORMAT = 1


@dataclass(frozen=True)
class Steps:
    """A sequence of feature vectors.

    Attributes:
        seconds: When each step happens; ascending.
        values: One row per step.
    """

    seconds: Float64[np.ndarray, " steps"]
    values: Float32[np.ndarray, "steps features"]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good a clip is as material; None where there is nothing to measure, or nobody measured.

    Attributes:
        seconds: Duration.
        container: Format of the file.
        decode_errors: Parts of it that could not be decoded.
        sound_seconds: Duration of the sound; 0 without.
        loudness: Mean power of what sounds, in decibels below full scale.
        clipped: Share of the samples at full scale.
        voiced_seconds: How long somebody speaks; without a recogniser, how long something sounds.
        num_words: Words.
        word_probability: Mean probability of the words that were recognised.
        language: Language that was found.
        width: Width of the pictures as they are shown.
        height: Their height.
        rotation: How far they had to be turned, counterclockwise, in degrees.
        num_pictures: Pictures that were looked at.
        face_coverage: Share of these that have a face.
        faces: The most faces in one of them.
        cuts: How often the film is cut.
    """

    seconds: float
    container: str
    decode_errors: int
    sound_seconds: float = 0.0
    loudness: float | None = None
    clipped: float | None = None
    voiced_seconds: float = 0.0
    num_words: int = 0
    word_probability: float | None = None
    language: str = ""
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    num_pictures: int = 0
    face_coverage: float | None = None
    faces: int | None = None
    cuts: int | None = None


QUALITY_COLUMNS = tuple(one.name for one in fields(Quality))
"""Names of the numbers of `Quality`."""


@dataclass(frozen=True, kw_only=True)
class ClipFeatures:
    """What was made of one clip.

    Attributes:
        words: What is said, and when.
        voiced: Where somebody speaks, in seconds.
        heard_by: Who heard the words: the recogniser with the hashes of its weights, or ``"given"``, alone or with the
            recogniser that gave them their times; empty if nobody listened.
        steps: Modality → its sequence; one that is absent is not in it.
        tiers: Modality → what made it, whether it is absent or not.
        quality: How good the clip is as material.
        notes: Remarks for a reader.
        landmarks: Points of the face at each step of the vision, where they were asked for.
    """

    words: tuple[Word, ...]
    voiced: tuple[tuple[float, float], ...]
    heard_by: str
    steps: Mapping[str, Steps]
    tiers: Mapping[str, str]
    quality: Quality
    notes: tuple[str, ...] = ()
    landmarks: Float32[np.ndarray, "steps 478 3"] | None = None

    @property
    def text(self) -> str:
        """All words, with spaces between them."""
        return " ".join(word.text for word in self.words)

    def save(self, path: Path) -> None:
        """Write everything to an npz file, the same bytes for the same features."""
        with complete_file(path, overwrite=True) as stream:
            self.write(stream)

    def write(self, stream: io.BufferedIOBase) -> None:
        """Write everything to a stream, likewise."""
        record = {
            "format": _FORMAT,
            "heard_by": self.heard_by,
            "tiers": dict(self.tiers),
            "quality": asdict(self.quality),
            "notes": list(self.notes),
        }
        arrays: dict[str, np.ndarray] = {
            "record": np.array(json.dumps(record, ensure_ascii=False)),
            "words": np.array([word.text for word in self.words], dtype=str),
            "word_times": np.array([(word.begin, word.end) for word in self.words]).reshape(-1, 2),
            "word_probabilities": np.array(
                [np.nan if word.probability is None else word.probability for word in self.words]
            ),
            "voiced": np.array(self.voiced).reshape(-1, 2),
        }
        for name, steps in self.steps.items():
            arrays |= {f"{name}_values": steps.values, f"{name}_seconds": steps.seconds}
        if self.landmarks is not None:
            arrays["landmarks"] = self.landmarks
        np.savez(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "ClipFeatures":
        """Read what `save` wrote.

        Raises:
            DataError: If the file is damaged, or of another format.
        """
        try:
            with open_regular(path) as stream:
                return cls.read(stream, f"`{path}`")
        except OSError as error:
            raise DataError(f"`{path}` does not hold the features of a clip: {error}.") from error

    @classmethod
    def read(cls, stream: io.BufferedIOBase, source: str) -> "ClipFeatures":
        """Read what `write` wrote.

        Args:
            stream: The stream.
            source: What it is called in messages.

        Raises:
            DataError: If it is damaged, or of another format.
        """
        try:
            with np.load(stream, allow_pickle=False) as arrays:
                record = json.loads(str(arrays["record"][()]))
                if record["format"] != _FORMAT:
                    raise ValueError(f"its format is {record['format']}")
                words = zip(
                    arrays["words"].tolist(),
                    arrays["word_times"].tolist(),
                    arrays["word_probabilities"].tolist(),
                    strict=True,
                )
                return cls(
                    words=tuple(
                        Word(text, begin, end, None if np.isnan(probability) else probability)
                        for text, (begin, end), probability in words
                    ),
                    voiced=tuple((begin, end) for begin, end in arrays["voiced"].tolist()),
                    heard_by=str(record["heard_by"]),
                    steps={
                        name: Steps(arrays[f"{name}_seconds"], arrays[f"{name}_values"])
                        for name in record["tiers"]
                        if f"{name}_values" in arrays
                    },
                    tiers=record["tiers"],
                    quality=Quality(**record["quality"]),
                    notes=tuple(record["notes"]),
                    landmarks=arrays.get("landmarks"),
                )
        except (*DAMAGED_ARCHIVE, KeyError, TypeError) as error:
            raise DataError(f"{source} does not hold the features of a clip: {error}.") from error
