"""All features of one clip, made in one pass: the same for a store that is trained on and for a clip that is scored.

What is made is said by tiers, as a store and a run keep them: ``acoustic@2/10Hz``, ``face-mesh@1#64184e22/10fps``,
``pixels@1/10fps``, ``acoustic@2/words``, ``pixels@1/10fps/words``; who heard the words is said beside them.
`Extractor.of_tiers` goes back from these to what makes the same numbers, to the bit.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from qinn.errors import ConfigError
from qinn.extras import require
from qinn.features.acoustic import (
    ACOUSTIC_VERSION,
    Frames,
    acoustic_frames,
    active_spans,
    pooled,
)
from qinn.features.clip import Limits, Sound, decode
from qinn.features.clip_features import ClipFeatures, Quality, Steps
from qinn.features.egemaps import Egemaps, egemaps_version
from qinn.features.face import FaceTrack, FaceTracker
from qinn.features.pixels import PIXELS_VERSION, Pixels
from qinn.features.speech import Recognizer, Transcript, Word, align, spread
from qinn.features.weights import WHISPER_BASE, WHISPER_TINY_EN
from qinn.features.word_alignment import over_words
from qinn.resources import release_memory
from qinn.stated_options import check_options, option

__all__ = ["ClipOptions", "Extractor"]

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
