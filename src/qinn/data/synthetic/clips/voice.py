"""A voice made of formants: vowels that follow the letters, at a stated pitch, strength and rate.

It sounds like somebody who speaks behind a wall: pitch, strength, rhythm and the colours of vowels are there, and no
recogniser understands it. Source: own; harmonics of a glottal pulse through resonances (Klatt, 1980), with the vowels'
mean formants of Peterson and Barney (1952).
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

__all__ = ["VOICE_RATE", "Manner", "Spoken", "speak"]

VOICE_RATE = 16_000
"""Samples a second."""

_VOWELS = {
    "a": (730.0, 1090.0, 2440.0),
    "e": (530.0, 1840.0, 2480.0),
    "i": (390.0, 1990.0, 2550.0),
    "o": (570.0, 840.0, 2410.0),
    "u": (440.0, 1020.0, 2240.0),
    "y": (390.0, 1990.0, 2550.0),
}
_BANDWIDTHS = (80.0, 100.0, 140.0)
_HISSING = frozenset("szfxtkpc")
_HIGHEST = 4000.0
_FRAME = 80
"""Samples for which strength, pitch and formants stay what they are: 5 ms."""
_LEAD, _TAIL, _PAUSE = 0.15, 0.2, 0.35
"""Seconds before and after what is said; the pause between words, as a share of a syllable."""
_NOISE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How something is said.

    Attributes:
        pitch: Mean pitch of the voice in hertz.
        loudness: Power of vowels in decibels below full scale.
        rate: Syllables a second, pauses between words not counted.
        formants: Factor on all formants: above 1 for a shorter throat.
    """

    pitch: float
    loudness: float
    rate: float
    formants: float = 1.0


@dataclass(frozen=True)
class Spoken:
    """What a voice said.

    Attributes:
        samples: The sound.
        spans: When each word is said, in seconds.
        opening: How far the mouth is open, 0 to 1, every 5 ms.
    """

    samples: Float32[np.ndarray, " samples"]
    spans: tuple[tuple[float, float], ...]
    opening: Float64[np.ndarray, " frames"]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return len(self.samples) / VOICE_RATE

    def opening_at(self, seconds: float) -> float:
        """Return how far the mouth is open at some time."""
        return float(self.opening[min(int(seconds * VOICE_RATE / _FRAME), len(self.opening) - 1)])


def speak(words: tuple[str, ...], manner: Manner, generator: np.random.Generator) -> Spoken:
    """Say words.

    Every group of vowels is a syllable. Pitch falls by two semitones over the sentence, and each word rises and falls
    by one.

    Args:
        words: The words, of Latin letters.
        manner: How to say them.
        generator: Of the breath, and of how even the syllables are.

    Examples:
        >>> manner = Manner(pitch=120.0, loudness=-20.0, rate=4.0)
        >>> spoken = speak(("good", "evening"), manner, np.random.default_rng(0))
        >>> len(spoken.spans), round(spoken.seconds, 1)
        (2, 1.4)
    """
    said = _Said([], [], [], [])
    said.pause(_LEAD)
    spans = []
    for number, word in enumerate(words):
        if number:
            said.pause(_PAUSE / manner.rate)
        start = len(said.vowels)
        for vowel, hiss in _syllables(word):
            said.syllable(vowel, hiss, generator.uniform(0.85, 1.15) / manner.rate)
        spans.append((start * _FRAME / VOICE_RATE, len(said.vowels) * _FRAME / VOICE_RATE))
    said.pause(_TAIL)
    vowels = said.vowels
    strength, hiss, rise = (np.concatenate(parts) for parts in (said.strengths, said.hisses, said.rises))
    count = len(vowels)
    falling = np.linspace(1.0, -1.0, count)
    hertz = manner.pitch * 2 ** ((falling + rise - rise.mean()) / 12)
    formants = _smooth(np.array([_VOWELS[vowel] for vowel in vowels])) * manner.formants
    voiced = _voiced(hertz, formants)
    voiced *= np.repeat(_smooth(strength[:, None])[:, 0], _FRAME)
    sounding = np.repeat(strength > 0, _FRAME)
    level = 10 ** (manner.loudness / 20)
    voiced *= level / np.sqrt(np.mean(voiced[sounding] ** 2))
    breath = generator.normal(size=len(voiced))
    hissing = np.diff(breath, prepend=0.0) * np.repeat(_smooth(hiss[:, None])[:, 0], _FRAME) * (0.15 * level)
    samples = np.clip(voiced + hissing + _NOISE * breath, -0.98, 0.98).astype(np.float32)
    return Spoken(samples, tuple(spans), _smooth(strength[:, None])[:, 0])


@dataclass(frozen=True)
class _Said:
    """What has been said so far, frame by frame: vowel, its strength, how much hisses, how far the pitch rises."""

    vowels: list[str]
    strengths: list[np.ndarray]
    hisses: list[np.ndarray]
    rises: list[np.ndarray]

    def pause(self, seconds: float) -> None:
        silence = np.zeros(_frames(seconds))
        self._add("a", silence, silence, silence)

    def syllable(self, vowel: str, hiss: float, seconds: float) -> None:
        whole = _frames(seconds)
        before = np.zeros(whole // 5)
        self._add(vowel, before, before + hiss, before)
        rest = whole - len(before)
        arch = np.sin(np.pi * (np.arange(rest) + 0.5) / rest)
        self._add(vowel, arch**0.5, np.zeros(rest), arch)

    def _add(self, vowel: str, strength: np.ndarray, hiss: np.ndarray, rise: np.ndarray) -> None:
        self.vowels.extend([vowel] * len(strength))
        self.strengths.append(strength)
        self.hisses.append(hiss)
        self.rises.append(rise)


def _frames(seconds: float) -> int:
    return max(1, round(seconds * VOICE_RATE / _FRAME))


def _syllables(word: str) -> list[tuple[str, float]]:
    """Return of each syllable its vowel, and how much of what stands before hisses."""
    found = re.findall(r"([^aeiouy]*)([aeiouy]+)", word.lower())
    # An e at the end is not spoken, unless it is all there is.
    if len(found) > 1 and re.search(r"[^aeiouyl]e$", word.lower()):
        found = found[:-1]
    return [(vowels[0], 1.0 if _HISSING & set(before) else 0.2) for before, vowels in found] or [("a", 0.5)]


def _smooth(rows: np.ndarray) -> np.ndarray:
    """Return means over 25 ms: mouths do not jump."""
    padded = np.pad(rows, ((2, 2), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0).mean(axis=-1)


def _voiced(hertz: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Return the sum of all harmonics, each as strong as the glottal pulse and the resonances leave it."""
    phase = 2 * np.pi * np.cumsum(np.repeat(hertz, _FRAME)) / VOICE_RATE
    order = np.arange(1, int(_HIGHEST / hertz.min()) + 1)
    at = hertz[:, None] * order
    # The pulse falls by 12 dB an octave, of which the lips give 6 back.
    strength = np.where(at < _HIGHEST, 1 / order, 0.0)
    for formant, width in zip(formants.T, _BANDWIDTHS, strict=True):
        centre = formant[:, None]
        strength = strength * centre**2 / np.hypot(centre**2 - at**2, width * at)
    total = np.zeros(len(phase))
    # sin(kφ) by recurrence: one sine and one cosine in place of thirty.
    twice, before, now = 2 * np.cos(phase), np.zeros(len(phase)), np.sin(phase)
    for column in strength.T:
        total += np.repeat(column, _FRAME) * now
        before, now = now, twice * now - before
    return total
