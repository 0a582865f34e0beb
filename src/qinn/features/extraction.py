"""All features of one clip, made in one pass: the same for a store that is trained on and for a clip that is scored.

What is made is said by tiers, as a store and a run keep them: ``acoustic@2/10Hz``, ``face-mesh@1#64184e22/10fps``,
``pixels@1/10fps``, ``acoustic@2/words``, ``pixels@1/10fps/words``; who heard the words is said beside them.
`Extractor.of_tiers` goes back from these to what makes the same numbers, to the bit.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from qinn.atomic_writing import complete_file
from qinn.errors import ConfigError, DataError
from qinn.extras import require
from qinn.features.acoustic import (
    ACOUSTIC_VERSION,
    Frames,
    acoustic_frames,
    active_spans,
    pooled,
)
from qinn.features.clip import Limits, Sound, decode
from qinn.features.egemaps import Egemaps, egemaps_version
from qinn.features.face import FaceTrack, FaceTracker
from qinn.features.pixels import PIXELS_VERSION, Pixels
from qinn.features.speech import Recognizer, Transcript, Word, align, spread
from qinn.features.weights import WHISPER_BASE, WHISPER_TINY_EN
from qinn.features.word_alignment import over_words
from qinn.opening import open_regular
from qinn.resources import release_memory
from qinn.stated_options import check_options, option

__all__ = ["ClipFeatures", "ClipOptions", "Extractor", "Quality", "Steps"]

_FORMAT = 1
_RECOGNIZERS = {weights.name: weights for weights in (WHISPER_TINY_EN, WHISPER_BASE)}
_SOUND_TIER = re.compile(r"(?P<made>acoustic@\d+|egemaps@[\w.]+)/(?:(?P<rate>[\d.]+)Hz|(?P<words>words))")
_FACE_TIER = re.compile(r"(?P<made>face-mesh@\d+#\w+|pixels@\d+)/(?P<rate>[\d.]+)fps(?P<words>/words)?")
_LEAST_HEARD = 0.3
_MISSING, _MISSING_SHARE = 1.0, 0.05
"""Seconds, and share of a clip, from which on it is said that its end is missing."""
GIVEN = "given"
"""Who heard the words that were given; behind it, after a plus, the recogniser that gave them their times."""


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """What is made of clips.

    Raises:
        ConfigError: If an option is none of its choices, or nothing is to be made.
    """

    speech: str = option(
        WHISPER_TINY_EN.name,
        "What hears the words; with transcripts of your own, when they are said",
        choices=(*_RECOGNIZERS, "none"),
    )
    sound: str = option("acoustic", "What is made of the sound", choices=("acoustic", "egemaps", "none"))
    face: str = option("face-mesh", "What is made of the pictures", choices=("face-mesh", "pixels", "none"))
    fps: float = option(10.0, "Pictures a second that are looked at", bounds=(0.1, 100.0), metavar="N")
    sound_rate: float = option(10.0, "Steps of sound a second", bounds=(0.1, 100.0), metavar="N")
    align: str = option(
        "none",
        "words: one step of voice and face per word, its mean over the word's time",
        choices=("words", "none"),
    )
    max_seconds: float = option(
        600.0, "Longest clip, or cut, in seconds", bounds=(0.1, 86400.0), metavar="SECONDS"
    )

    def __post_init__(self) -> None:
        check_options(self)
        if (self.speech, self.sound, self.face) == ("none", "none", "none"):
            raise ConfigError(
                "Options `speech`, `sound` and `face` must not all be none: name one that is to be made."
            )

    @property
    def tiers(self) -> dict[str, str]:
        """Modality → tier, of all but the text."""
        face = {"face-mesh": FaceTracker.identity, "pixels": PIXELS_VERSION}
        found, by_words = {}, self.align == "words"
        if self.sound != "none":
            made = ACOUSTIC_VERSION if self.sound == "acoustic" else egemaps_version()
            found["audio"] = f"{made}/words" if by_words else f"{made}/{self.sound_rate:g}Hz"
        if self.face != "none":
            found["vision"] = f"{face[self.face]}/{self.fps:g}fps{'/words' if by_words else ''}"
        return found

    @property
    def packages(self) -> tuple[str, ...]:
        """Optional packages that this needs, by the names that are imported."""
        found = ["av"]
        if self.speech != "none":
            found.append("faster_whisper")
        if self.face == "face-mesh":
            found += ["ai_edge_litert", "PIL"]
        if self.sound == "egemaps":
            found.append("opensmile")
        return tuple(found)

    @property
    def extras(self) -> tuple[str, ...]:
        """Extras of qinn that bring these, see `packages`."""
        return ("clips", "egemaps") if self.sound == "egemaps" else ("clips",)

    @classmethod
    def of_tiers(
        cls, tiers: Mapping[str, str], *, speech: str = "none", max_seconds: float = 600.0
    ) -> "ClipOptions":
        """Return the options that make features of such tiers.

        Args:
            tiers: Modality → tier, of all but the text.
            speech: What hears the words.
            max_seconds: Longest clip.

        Raises:
            ConfigError: If something else made them, or another version or other weights than are here.

        Examples:
            >>> ClipOptions.of_tiers({"audio": "acoustic@2/25Hz"}).sound_rate
            25.0
            >>> ClipOptions.of_tiers({"vision": "pixels@1/5fps/words"}).align
            'words'
        """
        chosen: dict[str, Any] = {"sound": "none", "face": "none"}
        for modality, tier in tiers.items():
            pattern = {"audio": _SOUND_TIER, "vision": _FACE_TIER}.get(modality)
            found = None if pattern is None else pattern.fullmatch(tier)
            if found is None:
                raise ConfigError(
                    f"Features of `{modality}` made by `{tier or 'nothing that is stated'}` cannot be made of a clip; "
                    f"those can that `qinn features extract` makes."
                )
            what, rate = ("sound", "sound_rate") if modality == "audio" else ("face", "fps")
            chosen[what] = found["made"].partition("@")[0]
            if found["rate"]:
                chosen[rate] = float(found["rate"])
            if found["words"]:
                chosen["align"] = "words"
        options = cls(speech=speech, max_seconds=max_seconds, **chosen)
        if options.sound == "egemaps":  # without it there is no version to compare
            require("egemaps", what="Features of sound by `egemaps`")
        for modality, tier in tiers.items():
            if options.tiers[modality] != tier:
                raise ConfigError(
                    f"Features of `{modality}` were made by `{tier}`, but this qinn makes `{options.tiers[modality]}`: "
                    "use the version that made them, or extract and train anew."
                )
        return options


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
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{source} does not hold the features of a clip: {error}.") from error


class Extractor:
    """Makes features of clips, one after the other; networks are loaded when they are first needed.

    Args:
        options: What to make.
    """

    def __init__(self, options: ClipOptions | None = None) -> None:
        self.options = options or ClipOptions()

    @classmethod
    def of_tiers(
        cls, tiers: Mapping[str, str], *, speech: str = "none", max_seconds: float = 600.0
    ) -> "Extractor":
        """Return what makes features of such tiers, see `ClipOptions.of_tiers`."""
        return cls(ClipOptions.of_tiers(tiers, speech=speech, max_seconds=max_seconds))

    @cached_property
    def recognizer(self) -> Recognizer | None:
        """What hears words; None where nobody listens."""
        weights = _RECOGNIZERS.get(self.options.speech)
        return None if weights is None else Recognizer(weights)

    @cached_property
    def _egemaps(self) -> Egemaps:
        return Egemaps()

    @cached_property
    def _networks(self) -> Any:
        return FaceTracker().networks

    def load(self) -> None:
        """Load all networks now, so that what is missing is said before any work.

        Raises:
            ConfigError: If weights are not there, or are others.
            MissingPackageError: If a package is not installed.
        """
        _ = self.recognizer
        if self.options.face == "face-mesh":
            _ = self._networks
        if self.options.sound == "egemaps":
            _ = self._egemaps

    def extract(
        self,
        path: Path | str,
        *,
        begin: float | None = None,
        end: float | None = None,
        words: Sequence[str] | None = None,
        landmarks: bool = False,
        name: str | None = None,
        limits: Limits | None = None,
        progress: Callable[[str, float | None], object] | None = None,
    ) -> ClipFeatures:
        """Make the features of a clip, or of what lies between two moments of it.

        Args:
            path: The clip.
            begin: Where to begin, in seconds; all times are counted from there.
            end: Where to end.
            words: What is said, if that is known.
            landmarks: Whether to keep the points of the face.
            name: What the clip is called in messages; by default its path.
            limits: What it may have; by default as `Limits` says, with the longest duration of the options.
            progress: Told what is done now (``"decoding"``, ``"sound"``, ``"speech"``), and which share of it.

        Raises:
            ClipError: If the clip cannot be read, or is beyond a limit.
        """
        tell = progress or (lambda stage, share: None)
        tracker: FaceTracker | Pixels | None = None
        if self.options.face != "none":
            tracker = FaceTracker(self._networks) if self.options.face == "face-mesh" else Pixels()
        decoded = decode(
            path,
            see=None if tracker is None else tracker.see,
            fps=self.options.fps,
            begin=begin,
            end=end,
            limits=limits or Limits(max_seconds=self.options.max_seconds),
            name=name,
            progress=lambda done, total: tell("decoding", done / total if total else None),
        )
        tell("sound", None)
        sound, about = decoded.sound, {}
        frames = None if sound is None else acoustic_frames(sound)
        voice = frames
        if sound is not None and frames is not None and self.options.sound == "egemaps":
            voice = self._egemaps.frames(sound, frames)
        face, points = None, None
        if isinstance(tracker, FaceTracker):
            track = tracker.track()
            face = Steps(track.seconds, track.values)
            points = track.landmarks if landmarks else None
            about |= _of_track(track)
        elif tracker is not None:
            face = Steps(*tracker.track())
        if self.recognizer is not None or words is not None:
            tell("speech", None)
            release_memory()  # hearing takes most of it
        transcript, heard_by, notes = self._words(sound, frames, decoded.seconds, words)
        steps = self._steps(None if self.options.sound == "none" else voice, face, transcript.words)
        quality = Quality(
            seconds=decoded.seconds,
            container=decoded.container,
            decode_errors=decoded.decode_errors,
            num_pictures=decoded.num_pictures if tracker is not None else 0,
            voiced_seconds=round(sum((stop - start for start, stop in transcript.voiced), 0.0), 3),
            num_words=len(transcript.words),
            word_probability=None if transcript.probability is None else round(transcript.probability, 4),
            language=transcript.language,
            **(_of_sound(sound, frames) if sound is not None and frames is not None else {}),
            **(
                dict(zip(("width", "height", "rotation"), decoded.picture, strict=True))
                if decoded.picture
                else {}
            ),
            **about,
        )
        return ClipFeatures(
            words=transcript.words,
            voiced=transcript.voiced,
            heard_by=heard_by,
            steps=MappingProxyType({name: one for name, one in steps.items() if len(one.seconds)}),
            tiers=self.options.tiers,
            quality=quality,
            notes=(*notes, *_warnings(sound, quality, decoded.stated, looked=tracker is not None)),
            landmarks=points,
        )

    def _steps(self, voice: Frames | None, face: Steps | None, words: Sequence[Word]) -> dict[str, Steps]:
        """Return the steps of each modality: so many a second, or one for each word."""
        found = {}
        if voice is not None and self.options.align == "words":
            found["audio"] = Steps(
                *over_words(voice.seconds, voice.values, words, every=0.01, counts=voice.counts)
            )
        elif voice is not None:
            ten = pooled(voice, self.options.sound_rate)
            found["audio"] = Steps(ten.seconds, ten.values)
        if face is not None:
            by_words = self.options.align == "words"
            found["vision"] = (
                Steps(*over_words(face.seconds, face.values, words, every=1 / self.options.fps))
                if by_words
                else face
            )
        return found

    def _words(
        self, sound: Sound | None, frames: Frames | None, seconds: float, given: Sequence[str] | None
    ) -> tuple[Transcript, str, tuple[str, ...]]:
        recognizer = self.recognizer
        heard = Transcript((), ())
        if sound is not None and recognizer is not None:
            heard = recognizer.transcribe(sound)
        elif frames is not None:
            heard = Transcript((), tuple(active_spans(frames)))
        if given is None:
            return heard, "" if recognizer is None else recognizer.identity, heard.notes
        by = GIVEN if recognizer is None else f"{GIVEN}+{recognizer.identity}"
        aligned, share = align(given, heard.words)
        if share >= _LEAST_HEARD or not given:
            note = (
                ()
                if share == 1 or not given
                else (f"{share:.0%} of the words that were given were also heard",)
            )
            return Transcript(aligned, heard.voiced, heard.language), by, note
        where = "where somebody speaks" if recognizer is not None else "where something sounds"
        spans = heard.voiced
        if not spans:
            where, spans = "the whole clip", ((0.0, max(seconds, 0.01)),)
        note = f"the times of the words that were given are a guess: they are spread over {where}"
        if recognizer is not None and heard.words:
            note += f", since only {share:.0%} of them were heard"
        return Transcript(spread(given, spans), heard.voiced, heard.language), by, (note,)


def _of_track(track: FaceTrack) -> dict[str, Any]:
    return {"face_coverage": round(track.coverage, 4), "faces": track.faces, "cuts": track.cuts}


def _of_sound(sound: Sound, frames: Frames) -> dict[str, Any]:
    active = frames.values[frames.active, 0].astype(np.float64)
    loudness = float(10 * np.log10(np.mean(10 ** (active / 10)))) if len(active) else None
    return {
        "sound_seconds": round(len(sound.samples) / 16_000, 3),
        "loudness": None if loudness is None else round(loudness, 2),
        "clipped": round(float(np.mean(np.abs(sound.samples) >= 0.999)), 5) if len(sound.samples) else None,
    }


def _warnings(sound: Sound | None, quality: Quality, stated: float | None, *, looked: bool) -> list[str]:
    found = []
    if quality.decode_errors:
        parts = "a part" if quality.decode_errors == 1 else f"{quality.decode_errors} parts"
        found.append(f"{parts} of the file could not be decoded")
    if stated is not None and stated - quality.seconds > max(_MISSING, _MISSING_SHARE * stated):
        found.append(f"the file should last {stated:.1f} s, but ends after {quality.seconds:.1f} s")
    if sound is None:
        found.append("there is no sound")
    elif quality.loudness is None:
        found.append("the sound is silent")
    elif sound.gaps:
        missing = sum(end - begin for begin, end in sound.gaps)
        found.append(f"{missing:.1f} s of the sound are missing")
    if quality.clipped is not None and quality.clipped > 0.001:
        found.append(f"{quality.clipped:.1%} of the sound is clipped")
    if looked and not quality.num_pictures:
        found.append("there are no pictures")
    elif quality.face_coverage is not None and quality.face_coverage < 0.9:
        found.append(f"there is a face in {quality.face_coverage:.0%} of the pictures")
    if quality.faces is not None and quality.faces > 1:
        found.append(f"up to {quality.faces} faces are seen at once; the largest is followed")
    if quality.cuts:
        times = "once" if quality.cuts == 1 else f"{quality.cuts} times"
        found.append(f"the film is cut {times}, and the face may be another's")
    return found


QUALITY_COLUMNS = tuple(one.name for one in fields(Quality))
"""Names of the numbers of `Quality`."""
