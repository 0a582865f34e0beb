"""Who speaks when, and what: words with their times and how sure the recogniser is of each.

Voice is looked for first, and only what has some is recognised: on music and silence a recogniser invents sentences.
What it says with little certainty as a whole, as of another language than its own, is not taken either. Transcripts
that are there already are used as they are; recognised words, or else where something sounds, say when theirs are said.
"""

import math
import os
import re
import string
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from qinn.digests import file_digest
from qinn.extras import needs
from qinn.features.clip import RATE, Sound
from qinn.features.weights import Weights

__all__ = ["LEAST_SURE", "SPEECH_VERSION", "Recognizer", "Transcript", "Word", "align", "spread"]

LEAST_SURE = 0.6
"""Mean probability of the words below which nothing is taken for said."""

SPEECH_VERSION = 4
"""Version of how words are recognised with the same weights: it changes whenever a word may."""

_LONGEST_WORD = 1.0
_NO_SPEECH = 0.9
_REPETITIVE = 2.4
_PAUSE_MS, _PAD_MS, _SHORTEST_MS = 300, 150, 100
_SHORTEST = 0.01
_BEFORE = 0.3
"""Seconds of silence before the voice: what nothing goes before is heard otherwise from one coding to the next."""
_BEHIND, _GRID = 400, 100
"""Frames of 10 ms that Whisper is shown behind the end of a sound, and in whole multiples of which it is shown all."""
_MARKS = '.,!?;:…()[]{}"“”„«»-–—。，、！？；：「」（）'
"""What Whisper sets between words is a guess, which another coding of the same sound changes; nobody said it."""
_BLOCK = 3000
"""Frames whose spectra are made at once."""
_PIECES = 1024
"""Pieces of 32 ms in which voice is looked for at once."""
_TOKENS_A_SECOND, _FEW_TOKENS, _MANY_TOKENS = 12, 20, 400
"""Tokens that a window may come to, so that a loop ends early; who speaks fast comes to eight a second."""
_WINDOW = 25.0
"""Seconds of voice from which on Whisper hears full windows, as it was trained, since hardly anything can be saved."""
_UNHEARD = 2.0
"""Seconds of voice at the end without a word from which on a window was too short."""

Span = tuple[float, float]
"""Beginning and end, in seconds."""


@dataclass(frozen=True)
class Word:
    """A word and when it is said.

    Attributes:
        text: The word, with its punctuation.
        begin: Its beginning in seconds.
        end: Its end.
        probability: How sure the recogniser is of it; None where it was given.
    """

    text: str
    begin: float
    end: float
    probability: float | None = None


@dataclass(frozen=True)
class Transcript:
    """What is said in a clip.

    Attributes:
        words: The words, in the order of time.
        voiced: Where there is voice.
        language: Two letters of the language that was found or taken for granted; empty where nobody looked.
        notes: Remarks on how far this can be trusted.
    """

    words: tuple[Word, ...]
    voiced: tuple[Span, ...]
    language: str = ""
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All words, with spaces between them."""
        return " ".join(word.text for word in self.words)

    @property
    def probability(self) -> float | None:
        """Mean probability of the words; None where there are none, or they were given."""
        known = [word.probability for word in self.words if word.probability is not None]
        return sum(known) / len(known) if known else None


class Recognizer:
    """Whisper, on samples that are decoded already; one thread, no sampling, so the same words each time.

    Args:
        weights: Which one; loaded once.

    Raises:
        ConfigError: If its weights are not there, or are others.
        MissingPackageError: If faster-whisper is not installed.
    """

    def __init__(self, weights: Weights) -> None:
        # What looks for voice would otherwise tell its makers' host of each start, by a thread and a file of its own.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        with needs("clips", f"Recognising speech with `{weights.name}`"):
            import faster_whisper
            from faster_whisper import vad
        folder = weights.folder()
        self._vad: Any = vad
        finder: Any = vad.get_vad_model()
        if not isinstance(finder.session, _InParts):
            finder.session = _InParts(finder.session)
        self._model: Any = faster_whisper.WhisperModel(
            str(folder),
            device="cpu",
            compute_type="int8",
            cpu_threads=1,
            num_workers=1,
            local_files_only=True,
        )
        self._model.feature_extractor = _Spectrum(self._model.feature_extractor)
        encode = self._model.encode
        self._model.encode = lambda features: encode(features if self._full else _heard(features))
        self._full = False
        self._weights = weights
        self._english = not self._model.model.is_multilingual
        self._perhaps = "; perhaps the language is not English" if self._english else ""
        found = sorted((Path(str(faster_whisper.__file__)).parent / "assets").glob("*.onnx"))
        self._voice = [f"{file.stem}#{file_digest(file)[:8]}" for file in found]

    @property
    def identity(self) -> str:
        """The recogniser, what looks for voice, and the hashes of the weights of both.

        Such as ``whisper-tiny.en@4#1a5afae0+silero_vad_v6#4cbf549b``.
        """
        return "+".join([f"{self._weights.name}@{SPEECH_VERSION}#{self._weights.digest}", *self._voice])

    def voiced(self, sound: Sound) -> tuple[Span, ...]:
        """Return where there is voice."""
        if not sound.samples.any():
            return ()
        options = self._vad.VadOptions(
            min_silence_duration_ms=_PAUSE_MS, speech_pad_ms=_PAD_MS, min_speech_duration_ms=_SHORTEST_MS
        )
        found = self._vad.get_speech_timestamps(sound.samples, options)
        spans = [(piece["start"] / RATE, min(piece["end"], len(sound.samples)) / RATE) for piece in found]
        return tuple((sound.begin + begin, sound.begin + end) for begin, end in spans if end > begin)

    def _segments(self, samples: np.ndarray, *, full: bool) -> tuple[list[Any], Any]:
        """Return what is said in some samples, and what is known of its language.

        Args:
            samples: The samples.
            full: Whether Whisper is always shown thirty seconds, as it was trained.
        """
        self._full = full
        segments, about = self._model.transcribe(
            samples,
            language="en" if self._english else None,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
            vad_filter=False,
            max_new_tokens=min(_FEW_TOKENS + math.ceil(_TOKENS_A_SECOND * len(samples) / RATE), _MANY_TOKENS),
        )
        return list(segments), about

    def transcribe(self, sound: Sound) -> Transcript:
        """Return the words of a sound.

        There are none where there is no voice, and none where the recogniser is not sure enough of them; a note says
        which.
        """
        voiced = self.voiced(sound)
        if not voiced:
            return Transcript((), ())
        pieces = [
            sound.samples[round((begin - sound.begin) * RATE) : round((end - sound.begin) * RATE)]
            for begin, end in voiced
        ]
        lengths = [len(piece) / RATE for piece in pieces]
        voice = np.concatenate([np.zeros(round(_BEFORE * RATE), np.float32), *pieces])
        short = sum(lengths) < _WINDOW
        segments, about = self._segments(voice, full=not short)
        if short and _is_doubtful(segments, _BEFORE + sum(lengths)):
            segments, about = self._segments(voice, full=True)
        words, notes = [], []
        invented = sum(map(_is_invented, segments))
        for segment in segments:
            if not _is_invented(segment):
                words += [
                    _in_place(word, voiced, lengths) for word in segment.words or () if _said(word.word)
                ]
        found = Transcript(_in_order(words), voiced, str(about.language))
        if invented:
            notes.append(
                f"sentences of `{self._weights.name}` that repeat themselves or stand where nobody speaks were not "
                f"taken: {invented}{self._perhaps}"
            )
        if not self._english:
            notes.append(
                f"the language was found to be `{about.language}` (p {about.language_probability:.2f})"
            )
        sure = found.probability
        if sure is not None and sure < LEAST_SURE:
            notes.append(
                f"`{self._weights.name}` heard {len(found.words)} words, but so unsurely (p {sure:.2f}) that none "
                "was taken" + self._perhaps
            )
            found = replace(found, words=())
        return replace(found, notes=tuple(notes))


class _Spectrum:
    """Makes Whisper's features as its own extractor does, but of half a minute at a time: in a fifth of the memory.

    Args:
        own: Whisper's own extractor, which has the filters and all else that is asked for.
    """

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __call__(self, samples: np.ndarray, padding: int = 160, **options: Any) -> np.ndarray:
        size, hop = self._own.n_fft, self._own.hop_length
        padded = np.pad(np.pad(samples, (0, padding)), size // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:-1]
        window = np.hanning(size + 1)[:-1].astype(np.float32)
        spectra = (
            np.fft.rfft(frames[start : start + _BLOCK] * window).astype(np.complex64, copy=False).T
            for start in range(0, len(frames), _BLOCK)
        )
        bands = [self._own.mel_filters @ np.abs(spectrum) ** 2 for spectrum in spectra]
        power = np.log10(np.maximum(np.concatenate(bands, axis=1), 1e-10))
        return (np.maximum(power, power.max() - 8.0) + 4.0) / 4.0


class _InParts:
    """The network that looks for voice, of half a minute at a time: the same numbers in a fraction of the memory.

    What it remembers goes from each part to the next, as within one.

    Args:
        own: Its own session.
    """

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def run(self, names: Sequence[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        pieces, hidden, cell = inputs["input"], inputs["h"], inputs["c"]
        found = []
        for start in range(0, len(pieces), _PIECES):
            part, hidden, cell = self._own.run(
                names, {"input": pieces[start : start + _PIECES], "h": hidden, "c": cell}
            )
            found.append(part)
        return [np.concatenate(found), hidden, cell]


def _is_invented(segment: Any) -> bool:
    return segment.no_speech_prob >= _NO_SPEECH or segment.compression_ratio > _REPETITIVE


def _is_doubtful(segments: Sequence[Any], seconds: float) -> bool:
    """Tell whether a shorter window than Whisper was trained with may have misled it: it loops, guesses or stops."""
    sure = [word.probability for segment in segments for word in segment.words or ()]
    if not segments or not sure or seconds - segments[-1].end > _UNHEARD:
        return True
    return any(map(_is_invented, segments)) or bool(sum(sure) / len(sure) < LEAST_SURE)


def _heard(features: np.ndarray) -> np.ndarray:
    """Return the frames of a window that hold sound, and some seconds more.

    A window has thirty seconds, filled up with zeros, and what the network spends on it grows faster than its length.
    """
    used = np.flatnonzero(features.any(axis=0))
    count = (int(used[-1]) + 1 if len(used) else 0) + _BEHIND
    return np.ascontiguousarray(features[:, : -(-count // _GRID) * _GRID])


def _said(word: str) -> str:
    return word.strip(string.whitespace + _MARKS)


def _in_place(word: Any, voiced: Sequence[Span], lengths: Sequence[float]) -> Word:
    """Return a word that was heard in voiced pieces, one behind the other, where it is in the clip."""
    ends = list(accumulate(lengths, initial=_BEFORE))[1:]
    piece = min(bisect_right(ends, 0.5 * (word.start + word.end)), len(ends) - 1)
    begin, end = voiced[piece]
    shift = begin - (ends[piece] - lengths[piece])
    stop = min(max(word.end + shift, begin + _SHORTEST), end)
    # After a pause a word is said to begin with the pause.
    start = max(min(max(word.start + shift, begin), stop - _SHORTEST), stop - _LONGEST_WORD)
    return Word(_said(word.word), start, stop, float(word.probability))


def _in_order(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return words none of which begins before the one before it."""
    ordered: list[Word] = []
    for word in words:
        begin = round(float(max(word.begin, ordered[-1].begin if ordered else word.begin)), 3)
        ordered.append(replace(word, begin=begin, end=round(float(max(word.end, begin + _SHORTEST)), 3)))
    return tuple(ordered)


def spread(words: Sequence[str], spans: Sequence[Span]) -> tuple[Word, ...]:
    """Spread words over stretches of time, longer ones over more of it: a guess, for want of times.

    Args:
        words: The words.
        spans: The stretches, in the order of time.

    Examples:
        >>> [(word.begin, word.end) for word in spread(["one", "three"], [(0.0, 1.0), (2.0, 3.0)])]
        [(0.0, 0.75), (0.75, 3.0)]
        >>> spread(["nobody"], [])
        ()
    """
    if not spans or not words:
        return ()
    costs = [max(len(word), 1) for word in words]
    total = sum(end - begin for begin, end in spans)
    passed = [0.0, *accumulate(cost / sum(costs) * total for cost in costs)]
    lengths = list(accumulate(end - begin for begin, end in spans))

    def moment(heard: float) -> float:
        place = min(bisect_right(lengths, heard), len(spans) - 1)
        before = lengths[place] - (spans[place][1] - spans[place][0])
        return min(spans[place][0] + heard - before, spans[place][1])

    found = [
        Word(word, moment(passed[index]), moment(passed[index + 1] - 1e-9))
        for index, word in enumerate(words)
    ]
    return _in_order(found)


def align(words: Sequence[str], heard: Sequence[Word]) -> tuple[tuple[Word, ...], float]:
    """Give words the times of those that a recogniser heard.

    What both have has the times of the latter; what stands between is spread over the time between.

    Args:
        words: The words as they are.
        heard: The words as they were recognised.

    Returns:
        The words, and the share of them that was heard.

    Examples:
        >>> heard = [Word("I'm", 0.0, 0.2, 0.9), Word("glad.", 1.0, 1.5, 0.9)]
        >>> aligned, share = align(["I'm", "so", "glad"], heard)
        >>> [(word.text, word.begin, word.end) for word in aligned], round(share, 2)
        ([("I'm", 0.0, 0.2), ('so', 0.2, 1.0), ('glad', 1.0, 1.5)], 0.67)
    """
    if not words or not heard:
        return (), 0.0
    plain = [_plain(word) for word in words]
    matcher = SequenceMatcher(None, plain, [_plain(word.text) for word in heard], autojunk=False)
    placed: list[Word | None] = [None] * len(words)
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            other = heard[block.b + offset]
            placed[block.a + offset] = Word(words[block.a + offset], other.begin, other.end)
    share = sum(word is not None for word in placed) / len(words)
    filled: list[Word] = []
    index = 0
    while index < len(placed):
        word = placed[index]
        if word is not None:
            filled.append(word)
            index += 1
            continue
        stop = next((later for later in range(index, len(placed)) if placed[later] is not None), len(placed))
        begin = filled[-1].end if filled else heard[0].begin
        after = placed[stop] if stop < len(placed) else None
        end = after.begin if after is not None else heard[-1].end
        filled += spread(words[index:stop], [(begin, max(end, begin + _SHORTEST * (stop - index)))])
        index = stop
    return _in_order(filled), share


def _plain(word: str) -> str:
    return re.sub(r"[^\w]", "", word.lower()) or word
