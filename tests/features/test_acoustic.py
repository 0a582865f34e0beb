"""Acoustic features follow from the sound alone: not from its strength, nor from how it is cut into blocks."""

import numpy as np
import pytest

from qinn.errors import ArgumentError
from qinn.features.acoustic import ACOUSTIC_COLUMNS, Frames, acoustic_frames, active_spans, pooled
from qinn.features.clip import RATE, Sound

from ..made_clips import tone, voice

PITCH, VOICING = ACOUSTIC_COLUMNS.index("pitch"), ACOUSTIC_COLUMNS.index("voicing")


def speechlike(seconds: float = 2.0) -> np.ndarray:
    """Vowels of rising pitch, hisses and pauses."""
    random = np.random.default_rng(0)
    parts = []
    for hertz in np.linspace(110, 260, round(seconds / 0.4)):
        parts += [
            voice(0.2, hertz),
            0.05 * random.normal(size=RATE // 10).astype(np.float32),
            np.zeros(RATE // 10),
        ]
    return np.concatenate(parts).astype(np.float32)


def column(frames: Frames, name: str) -> np.ndarray:
    return frames.values[:, ACOUSTIC_COLUMNS.index(name)]


@pytest.mark.parametrize("hertz", [70.0, 110.0, 200.0, 330.0, 480.0])
def test_the_pitch_of_a_voice_is_found(hertz):
    frames = acoustic_frames(Sound(0.0, voice(0.5, hertz)))
    inner = frames.values[5:-5]
    assert (inner[:, VOICING] > 0.8).all()
    found = 27.5 * 2 ** (inner[:, PITCH] / 12)
    assert np.median(found) == pytest.approx(hertz, rel=0.005)
    assert np.abs(found / hertz - 1).max() < 0.03


def test_noise_and_silence_have_no_pitch():
    noise = 0.1 * np.random.default_rng(1).normal(size=RATE).astype(np.float32)
    frames = acoustic_frames(Sound(0.0, np.concatenate([noise, np.zeros(RATE, np.float32)])))
    assert (column(frames, "pitch")[:95] > 0).mean() < 0.05
    silent = frames.values[105:]
    assert silent[:, 0] == pytest.approx(-100)
    assert not silent[:, 1:].any()


@pytest.mark.parametrize("factor", [2, 64])
def test_half_the_strength_changes_the_loudness_alone(factor):
    sound = speechlike()
    one = acoustic_frames(Sound(0.0, sound))
    weak = acoustic_frames(Sound(0.0, sound / factor))
    assert np.array_equal(one.values[:, 1:], weak.values[:, 1:])
    assert np.array_equal(one.active, weak.active)
    loud = one.values[:, 0] > -40
    assert (one.values[loud, 0] - weak.values[loud, 0]) == pytest.approx(20 * np.log10(factor), abs=0.01)


@pytest.mark.parametrize("above", ["noise", "a whistle", "what 8 kHz cannot hold"])
def test_nothing_above_the_band_of_a_telephone_changes_anything(above):
    sound = speechlike()
    spectrum = np.fft.rfft(sound)
    hertz = np.fft.rfftfreq(len(sound), 1 / RATE)
    inside = np.where(hertz < 3800, spectrum, 0)
    random = np.random.default_rng(3)
    added = {
        "noise": np.where(
            hertz > 3800, spectrum + random.normal(size=len(hertz)) * np.abs(spectrum).max() / 50, 0
        ),
        "a whistle": np.where(np.abs(hertz - 5000) < 1, 20 * np.abs(spectrum).max(), 0),
        "what 8 kHz cannot hold": np.where(hertz >= 3800, spectrum, 0),
    }[above]
    narrow, wide = (
        acoustic_frames(Sound(0.0, np.fft.irfft(part, len(sound)).astype(np.float32)))
        for part in (inside, inside + added)
    )
    # Where something sounds; of silence between, only what leaks out of a window is left.
    sounding = narrow.active & wide.active
    assert sounding.mean() > 0.7
    spread = narrow.values[sounding].std(axis=0)
    assert (np.abs(narrow.values - wide.values)[sounding].mean(axis=0) < 0.05 * spread).all()


@pytest.mark.parametrize("at_once", [1, 7, 64, 199])
def test_blocks_change_nothing(at_once):
    sound = Sound(0.25, speechlike(1.6))
    one, other = acoustic_frames(sound), acoustic_frames(sound, at_once=at_once)
    assert one.values.tobytes() == other.values.tobytes()
    assert np.array_equal(one.seconds, other.seconds)


def test_a_cut_has_the_features_of_its_place():
    sound = speechlike()
    whole = acoustic_frames(Sound(0.0, sound))
    cut = acoustic_frames(Sound(0.0, sound[RATE // 2 : 3 * RATE // 2]))
    inner = slice(3, -3)
    relative = [
        index for index, name in enumerate(ACOUSTIC_COLUMNS) if name not in ("jitter", "shimmer", "pitch")
    ]
    assert np.array_equal(cut.values[inner][:, relative], whole.values[50:150][inner][:, relative])
    pitched = (cut.values[inner, PITCH] > 0) & (whole.values[50:150][inner, PITCH] > 0)
    assert np.median(np.abs(cut.values[inner, PITCH] - whole.values[50:150][inner, PITCH])[pitched]) == 0


def test_times_are_the_middles_of_steps_and_gaps_are_left_out():
    frames = acoustic_frames(Sound(1.0, speechlike(1.6), ((1.5, 1.8),)))
    assert frames.seconds[0] == pytest.approx(1.005)
    assert (np.diff(frames.seconds) > 0).all()
    assert not ((frames.seconds > 1.5) & (frames.seconds < 1.8)).any()
    assert len(frames.seconds) == 160 - 30
    ten = pooled(frames, 10.0)
    assert not ((ten.seconds > 1.5) & (ten.seconds < 1.8)).any()


def test_pooled_steps_are_means_and_pitch_is_that_of_voiced_steps():
    frames = acoustic_frames(Sound(0.0, speechlike()))
    ten = pooled(frames, 10.0)
    assert ten.seconds == pytest.approx((np.arange(len(ten.seconds)) + 0.5) / 10)
    assert ten.values[3, 0] == pytest.approx(frames.values[30:40, 0].mean(), abs=1e-4)
    cells = frames.values[:, PITCH].reshape(-1, 10)
    mixed = np.flatnonzero((cells > 0).any(axis=1) & (cells == 0).any(axis=1))
    assert len(mixed)
    for cell in mixed:
        assert ten.values[cell, PITCH] == pytest.approx(cells[cell][cells[cell] > 0].mean(), abs=1e-4)
    # a pause has no pitch, rather than a mean with what is not there
    assert (ten.values[:, PITCH] == 0).any()
    assert np.array_equal(pooled(frames, 100.0).values, frames.values)


def test_brighter_sound_has_a_higher_centroid_and_alpha_ratio_falls():
    low, high = (acoustic_frames(Sound(0.0, tone(0.3, hertz))) for hertz in (400.0, 3000.0))
    assert column(low, "centroid")[10] == pytest.approx(0.4, abs=0.05)
    assert column(high, "centroid")[10] == pytest.approx(3.0, abs=0.05)
    assert column(low, "alpha_ratio")[10] > 20 > -20 > column(high, "alpha_ratio")[10]
    assert column(low, "hammarberg")[10] > 0 > column(high, "hammarberg")[10]


def test_what_sounds_is_found_between_pauses():
    sound = np.concatenate(
        [np.zeros(RATE), voice(1, 150), np.zeros(RATE // 5), voice(1, 150), np.zeros(RATE)]
    )
    sound = sound.astype(np.float32)
    spans = active_spans(acoustic_frames(Sound(0.0, sound)))
    assert np.array(spans) == pytest.approx(np.array([[1.0, 3.2]]), abs=0.06)
    assert len(active_spans(acoustic_frames(Sound(0.0, sound)), pause=0.1)) == 2
    assert active_spans(acoustic_frames(Sound(0.0, np.zeros(RATE, np.float32)))) == []


def test_less_than_a_step_is_no_step():
    assert acoustic_frames(Sound(0.0, np.zeros(100, np.float32))).values.shape == (0, 25)
    assert pooled(acoustic_frames(Sound(0.0, np.zeros(0, np.float32))), 10.0).values.shape == (0, 25)


def test_arguments_are_checked():
    frames = acoustic_frames(Sound(0.0, tone(0.3, 400.0)))
    with pytest.raises(ArgumentError, match="Argument `rate`"):
        pooled(frames, 0.0)
    with pytest.raises(ArgumentError, match="Argument `at_once`"):
        acoustic_frames(Sound(0.0, tone(0.3, 400.0)), at_once=0)
