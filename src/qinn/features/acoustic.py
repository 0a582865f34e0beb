"""How a voice sounds: 25 numbers for every 10 ms, computed with numpy alone.

Only what lies below 3.4 kHz counts, the upper edge of a telephone's band: a recording of 8 kHz, or a codec that drops
what is above, then says the same of a voice as one of 48 kHz.

Every column but the loudness stays the same, to the bit, when the sound is made quieter by a power of two: each frame
is scaled to its own strength first, and what counts as silence is measured against the loudest tenth of the clip.

Source: own; pitch by the normalised autocorrelation of Boersma (1993), the spectral shapes as eGeMAPS (Eyben et al.,
2016) defines them but up to 3.4 kHz instead of 5, cepstral coefficients on a mel scale of 20 bands. Jitter and shimmer
are those of consecutive frames, not of single periods.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float32, Float64

from qinn.errors import ArgumentError
from qinn.features.clip import RATE, Sound

__all__ = ["ACOUSTIC_COLUMNS", "ACOUSTIC_VERSION", "Frames", "acoustic_frames", "active_spans", "pooled"]

ACOUSTIC_VERSION = "acoustic@2"
"""Name and version of what is computed here: it changes whenever a number does."""

ACOUSTIC_COLUMNS = (
    "loudness",
    "voicing",
    "pitch",
    "harmonicity",
    "jitter",
    "shimmer",
    "centroid",
    "slope",
    "flux",
    "alpha_ratio",
    "hammarberg",
    "flatness",
    *(f"mfcc{order}" for order in range(1, 14)),
)
"""What the columns are.

=============  ================================================================================================
loudness       power in decibels below full scale, −100 at least
voicing        share of the frame's power that repeats, 0 to 1; 0 where nothing sounds
pitch          semitones above 27.5 Hz where the frame is voiced, else 0
harmonicity    what repeats to what does not, in decibels, where the frame is voiced, else 0
jitter         change of the period since the frame before, relative, where both are voiced, else 0
shimmer        change of the amplitude since the frame before, in decibels, where both are voiced, else 0
centroid       mean frequency of the power spectrum, in kHz
slope          slope of the spectrum in decibels per kHz up to 3.4 kHz
flux           distance of the normalised spectrum from that of the frame before
alpha_ratio    power in 50–1000 Hz to that in 1–3.4 kHz, in decibels
hammarberg     strongest line in 0–2 kHz to that in 2–3.4 kHz, in decibels
flatness       geometric to arithmetic mean of the power spectrum, in decibels
mfcc1 … 13     cepstral coefficients without that of the strength
=============  ================================================================================================
"""

_HOP = RATE // 100
_WINDOW = RATE // 40
_LONG = RATE // 25
_FFT = 512
_LAG_FFT = 2048
_EDGE = 3400.0
"""What lies above so many hertz is left out: the upper edge of the telephone's band (ITU-T G.712)."""
_LOWEST, _HIGHEST = 60.0, 500.0
_VOICED = 0.45
_OCTAVE_COST = 0.02
_BELOW_LOUDEST = 10.0**-4.0
"""Frames 40 dB below the loudest tenth of a clip are taken for silence."""
_BANDS = 20
_FLOOR = 1e-8
"""Power, relative to a frame's own, below which a line of its spectrum counts as nothing."""
_OF_VOICED = tuple(ACOUSTIC_COLUMNS.index(name) for name in ("pitch", "harmonicity", "jitter", "shimmer"))
_LOUDNESS, _VOICING, _PITCH = 0, 1, 2
_AT_ONCE = 256


@dataclass(frozen=True)
class Frames:
    """Numbers for every 10 ms of a sound, or for longer stretches of it.

    Attributes:
        seconds: The middle of each step.
        values: One row per step, with the columns of `ACOUSTIC_COLUMNS`.
        active: Where something sounds.
        counts: Which numbers count in means, of a voice those of voiced steps alone; None where all do.
    """

    seconds: Float64[np.ndarray, " steps"]
    values: Float32[np.ndarray, "steps 25"]
    active: np.ndarray
    counts: np.ndarray | None = None


def acoustic_frames(sound: Sound, *, at_once: int = _AT_ONCE) -> Frames:
    """Compute the acoustic features of a sound, one step every 10 ms.

    Steps that lie in a gap of the sound are left out; the others keep their times.

    Args:
        sound: The sound.
        at_once: Frames that are computed together; it decides about memory and about nothing else.

    Examples:
        >>> seconds = np.arange(8000) / 16000
        >>> tone = sum(np.sin(2 * np.pi * 200 * k * seconds) / k for k in range(1, 9)).astype(np.float32) / 4
        >>> frames = acoustic_frames(Sound(0.0, tone))
        >>> frames.values.shape, round(float(np.median(frames.values[:, 2])), 1)
        ((50, 25), 34.3)
    """
    if at_once < 1:
        raise ArgumentError(f"Argument `at_once` must be at least 1, but it is {at_once}.")
    count = len(sound.samples) // _HOP
    if not count:
        return Frames(np.zeros(0), np.zeros((0, len(ACOUSTIC_COLUMNS)), np.float32), np.zeros(0, bool))
    # Frame k is centred on the middle of the k-th stretch of 10 ms.
    before = (_LONG - _HOP) // 2
    padded = np.pad(sound.samples, (before, _LONG))
    values = np.zeros((count, len(ACOUSTIC_COLUMNS)), np.float32)
    periods = np.zeros(count)
    power = np.zeros(count)
    last: np.ndarray | None = None
    for start in range(0, count, at_once):
        stop = min(start + at_once, count)
        frames = np.lib.stride_tricks.sliding_window_view(
            padded[start * _HOP : (stop - 1) * _HOP + _LONG], _LONG
        )[::_HOP].astype(np.float64)
        values[start:stop], power[start:stop], roots = _spectral(frames, last)
        last = roots[-1]
        strength, periods[start:stop] = _periods(frames)
        values[start:stop, _VOICING] = strength
    active = _active(power)
    values[~active, _VOICING] = 0
    _voiced_columns(values, periods, power, active)
    seconds = sound.begin + (np.arange(count) + 0.5) * (_HOP / RATE)
    kept = np.ones(count, bool)
    for begin, end in sound.gaps:
        kept &= (seconds < begin) | (seconds >= end)
    counts = np.ones(values.shape, bool)
    counts[:, _OF_VOICED] = values[:, [_PITCH]] > 0
    return Frames(seconds[kept], values[kept], active[kept], counts[kept])


def _scaled(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frames divided by a power of two each, so that the largest sample is between ½ and 1, and the powers."""
    _, exponents = np.frexp(np.abs(frames).max(axis=1))
    return np.ldexp(frames, -exponents[:, None]), exponents


@cache
def _windows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the short window, the long one, and the autocorrelation of the long one."""
    short = np.hanning(_WINDOW + 2)[1:-1]
    long = np.hanning(_LONG + 2)[1:-1]
    own = np.fft.irfft(np.abs(np.fft.rfft(long, _LAG_FFT)) ** 2)
    return short, long, own / own[0]


@cache
def _lines(size: int) -> np.ndarray:
    """Return the frequencies in hertz of the lines that count, of a transform of so many samples."""
    hertz = np.arange(size // 2 + 1) * (RATE / size)
    return hertz[hertz <= _EDGE]


@cache
def _mel() -> np.ndarray:
    """Return triangular filters on the mel scale from 20 Hz up, of shape (bands, lines)."""
    edges = 700 * (10 ** (np.linspace(_mels(20.0), _mels(_EDGE), _BANDS + 2) / 2595) - 1)
    lines = _lines(_FFT)
    rising = (lines - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - lines) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None)


def _mels(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))


def _decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


def _spectral(frames: np.ndarray, before: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all columns but those of the voice, the mean power, and the roots of the normalised spectra."""
    middle = (_LONG - _WINDOW) // 2
    scaled, exponents = _scaled(frames[:, middle : middle + _WINDOW])
    window = _windows()[0]
    hertz = _lines(_FFT)
    spectrum = np.abs(np.fft.rfft(scaled * window, _FFT)[:, : len(hertz)]) ** 2
    spectrum[:, 0] /= 2  # each other line stands for its mirror image too
    total = _sum(spectrum)
    power = np.ldexp(total * (2 / (_FFT * np.sum(window**2))), 2 * exponents)
    silent = total == 0
    share = spectrum / np.where(silent, 1, total)[:, None]
    floored = share + _FLOOR
    khz = hertz / 1000
    name = ACOUSTIC_COLUMNS.index
    columns = np.zeros((len(frames), len(ACOUSTIC_COLUMNS)))
    columns[:, _LOUDNESS] = _decibels(np.maximum(power, 1e-10))
    columns[:, name("centroid")] = _along(share, khz)
    centred = khz - khz.mean()
    columns[:, name("slope")] = _along(_decibels(floored), centred) / np.sum(centred**2)
    roots = np.sqrt(share)
    previous = np.concatenate([roots[:1] if before is None else before[None], roots[:-1]])
    columns[:, name("flux")] = np.sqrt(np.sum((roots - previous) ** 2, axis=1))
    below, above = (hertz >= 50) & (hertz < 1000), hertz >= 1000
    columns[:, name("alpha_ratio")] = _decibels(_sum(floored[:, below])) - _decibels(_sum(floored[:, above]))
    columns[:, name("hammarberg")] = _decibels(floored[:, hertz < 2000].max(axis=1)) - _decibels(
        floored[:, hertz >= 2000].max(axis=1)
    )
    columns[:, name("flatness")] = _decibels(floored).mean(axis=1) - _decibels(floored.mean(axis=1))
    bands = np.log(np.stack([_along(share, one) for one in _mel()], axis=1) + _FLOOR)
    orders = np.arange(1, 14)[:, None] * (np.arange(_BANDS) + 0.5) * (np.pi / _BANDS)
    for order, cosine in enumerate(np.cos(orders) * (2 / _BANDS) ** 0.5):
        columns[:, name("mfcc1") + order] = _along(bands, cosine)
    # Nothing sounds there, and all of this would only describe the floor.
    columns[silent, _LOUDNESS + 1 :] = 0
    return columns, power, roots


def _along(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return sums over columns in an order that no number of threads changes, as a product of matrices might."""
    return _sum(rows * weights)


def _sum(rows: np.ndarray) -> np.ndarray:
    # What is picked out of columns may lie the other way in memory, where sums run in another order.
    return np.add.reduce(np.ascontiguousarray(rows), axis=1)


def _periods(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each frame repeats, and after how many samples.

    The autocorrelation of the windowed frame is divided by that of the window, r(τ) = r_xw(τ) / r_w(τ); of its peaks
    that one counts which is highest once longer periods cost 0.02 per octave.
    """
    _, window, own = _windows()
    scaled, _ = _scaled(frames)
    scaled = (scaled - scaled.mean(axis=1, keepdims=True)) * window
    spectrum = np.fft.rfft(scaled, _LAG_FFT)[:, : len(_lines(_LAG_FFT))]
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, _LAG_FFT)
    energy = correlation[:, :1]
    first, last = int(RATE / _HIGHEST), int(RATE / _LOWEST) + 1
    lags = np.arange(first - 1, last + 2)
    values = correlation[:, lags] / np.where(energy <= 0, 1, energy) / own[lags]
    inner = values[:, 1:-1]
    peaks = (inner >= values[:, :-2]) & (inner > values[:, 2:])
    cost = _OCTAVE_COST * np.log2(lags[1:-1] * (_HIGHEST / RATE))
    best = np.where(peaks, inner - cost, -np.inf).argmax(axis=1)
    rows = np.arange(len(frames))
    left, peak, right = values[rows, best], values[rows, best + 1], values[rows, best + 2]
    curve = left - 2 * peak + right
    shift = np.where(curve < 0, 0.5 * (left - right) / np.where(curve < 0, curve, -1), 0.0)
    height = peak - 0.25 * (left - right) * shift
    found = peaks[rows, best]
    return np.where(found, np.clip(height, 0, 1), 0.0), np.where(found, lags[best + 1] + shift, 0.0)


def _active(power: np.ndarray) -> np.ndarray:
    """Tell where something sounds, measured against the loudest tenth of what sounds at all."""
    sounding = np.sort(power[power > 0])
    if not len(sounding):
        return np.zeros(len(power), bool)
    return power > sounding[len(sounding) * 9 // 10] * _BELOW_LOUDEST


def _voiced_columns(values: np.ndarray, periods: np.ndarray, power: np.ndarray, active: np.ndarray) -> None:
    """Fill in the columns that a frame has only where it is voiced."""
    strength = values[:, _VOICING].astype(np.float64)
    voiced = active & (strength > _VOICED) & (periods > 0)
    periods = np.where(voiced, _without_jumps(periods, voiced), 1.0)
    both = voiced.copy()
    both[:1] = False
    both[1:] &= voiced[:-1]
    before = np.concatenate([periods[:1], periods[:-1]])
    strong = np.where(power > 0, power, 1.0)
    bound = np.clip(strength, 1e-4, 1 - 1e-4)
    columns = (
        np.where(voiced, 12 * np.log2(RATE / periods / 27.5), 0),
        np.where(voiced, _decibels(bound / (1 - bound)), 0),
        np.where(both, np.abs(periods - before) / (0.5 * (periods + before)), 0),
        np.where(both, np.abs(_decibels(strong / np.concatenate([strong[:1], strong[:-1]]))), 0),
    )
    for place, column in zip(_OF_VOICED, columns, strict=True):
        values[:, place] = column


def _without_jumps(periods: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Return the median of five voiced neighbours in place of each period that is an octave beside it."""
    padded = np.pad(np.where(voiced, periods, np.nan), 2, constant_values=np.nan)
    near = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)  # nan at the end
    number = np.sum(~np.isnan(near), axis=1)
    middle = near[np.arange(len(periods)), np.maximum(number - 1, 0) // 2]
    away = voiced & (number >= 3) & (np.abs(np.log2(np.where(voiced, periods / middle, 1.0))) > 0.5)
    return np.where(away, middle, periods)


def pooled(frames: Frames, rate: float) -> Frames:
    """Return the mean of the steps within each 1/rate seconds.

    Numbers of the voice, such as pitch and jitter, are means over the voiced steps, and 0 where there is none; a
    stretch of time without a step is left out.

    Args:
        frames: Steps of 10 ms.
        rate: Steps a second that are wanted, at most 100.

    Raises:
        ArgumentError: If the rate is beyond that.

    Examples:
        >>> sound = Sound(0.0, np.ones(16000, np.float32))
        >>> pooled(acoustic_frames(sound), 10.0).values.shape
        (10, 25)
    """
    if not 0 < rate <= 100:
        raise ArgumentError(
            f"Argument `rate` must be above 0 and at most 100 steps a second, but it is {rate}."
        )
    cells = np.floor(frames.seconds * rate + 1e-9).astype(np.int64)
    found, rows = np.unique(cells, return_inverse=True)
    size = (len(found), frames.values.shape[1])
    weights = np.ones(frames.values.shape) if frames.counts is None else frames.counts.astype(np.float64)
    sums, counts = np.zeros(size), np.zeros(size)
    np.add.at(sums, rows, frames.values * weights)
    np.add.at(counts, rows, weights)
    active = np.zeros(len(found), bool)
    np.logical_or.at(active, rows, frames.active)
    means = (sums / np.maximum(counts, 1)).astype(np.float32)
    return Frames((found + 0.5) / rate, means, active)


def active_spans(frames: Frames, *, pause: float = 0.3, shortest: float = 0.1) -> list[tuple[float, float]]:
    """Return where something sounds, without pauses shorter than some time.

    Args:
        frames: Steps of 10 ms.
        pause: Silences that are shorter, in seconds, are bridged.
        shortest: What sounds for less is left out.
    """
    spans: list[tuple[float, float]] = []
    half = 0.5 * _HOP / RATE
    for moment in frames.seconds[frames.active].tolist():
        if spans and moment - half - spans[-1][1] < pause:
            spans[-1] = (spans[-1][0], moment + half)
        else:
            spans.append((moment - half, moment + half))
    return [(begin, end) for begin, end in spans if end - begin >= shortest]
