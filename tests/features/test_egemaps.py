"""openSMILE's eGeMAPS have times, skip gaps, and are made by nothing else than what the tier names."""

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from qinn.errors import ConfigError, MissingPackageError
from qinn.features import egemaps, extraction
from qinn.features.acoustic import acoustic_frames, pooled
from qinn.features.clip import Sound
from qinn.features.egemaps import EGEMAPS_COLUMNS, Egemaps
from qinn.features.extraction import ClipOptions

from ..clip_packages import needs_clips
from ..made_clips import voice

needs_opensmile = pytest.mark.skipif(
    find_spec("opensmile") is None, reason="opensmile, which is free for research alone, is not installed"
)


class StandIn:
    """Rows of which each has its number, voiced in the second half."""

    def __init__(self, **options):
        self.feature_names = [f"{name}_sma3" for name in EGEMAPS_COLUMNS]

    def process_signal(self, samples, rate):
        rows = np.arange(len(samples) * 100 // rate - 4, dtype=np.float32)[:, None]
        values = np.repeat(rows, 25, axis=1)
        values[: len(rows) // 2, 10] = 0
        return SimpleNamespace(to_numpy=values.astype)


@pytest.fixture
def stand_in(monkeypatch):
    module = ModuleType("opensmile")
    vars(module).update(
        Smile=StandIn,
        FeatureSet=SimpleNamespace(eGeMAPSv02=""),
        FeatureLevel=SimpleNamespace(LowLevelDescriptors=""),
    )
    monkeypatch.setitem(sys.modules, "opensmile", module)
    monkeypatch.setattr(extraction, "require", lambda *extras, **options: None)
    monkeypatch.setattr(egemaps.metadata, "version", lambda name: "2.6.0")


def test_steps_are_means_at_their_times_of_what_is_voiced(stand_in):
    sound = Sound(1.0, voice(1.0, 150))
    frames = Egemaps().frames(sound, acoustic_frames(sound))
    assert len(frames.seconds) == 96
    assert frames.seconds[:2].tolist() == pytest.approx([1.01, 1.02])
    tenths = pooled(frames, 10.0)
    assert tenths.seconds[0] == pytest.approx(1.05)
    # loudness is a mean over all rows, pitch over those that are voiced, and 0 where none is
    assert tenths.values[5, 0] == pytest.approx(frames.values[49:59, 0].mean())
    assert (tenths.values[0, 10], tenths.values[6, 10]) == (0, pytest.approx(frames.values[59:69, 10].mean()))


def test_rows_in_a_gap_are_left_out(stand_in):
    sound = Sound(0.0, voice(1.0, 150), gaps=((0.3, 0.6),))
    frames = Egemaps().frames(sound, acoustic_frames(sound))
    assert not ((frames.seconds >= 0.3) & (frames.seconds < 0.6)).any()
    assert len(frames.seconds) == 66


def test_the_tier_names_the_version(stand_in, monkeypatch):
    options = ClipOptions(sound="egemaps", face="none")
    assert options.tiers == {"audio": "egemaps@2.6.0/10Hz"}
    assert ClipOptions.of_tiers(options.tiers, speech=options.speech) == options
    monkeypatch.setattr(egemaps.metadata, "version", lambda name: "3.0.0")
    with pytest.raises(ConfigError, match=r"but this qinn makes `egemaps@3\.0\.0/10Hz`"):
        ClipOptions.of_tiers({"audio": "egemaps@2.6.0/10Hz"})


def test_other_columns_are_refused(stand_in, monkeypatch):
    monkeypatch.setattr(StandIn, "__init__", lambda self, **options: setattr(self, "feature_names", ["x"]))
    with pytest.raises(ConfigError, match="other columns than eGeMAPSv02"):
        Egemaps()


def test_without_the_package_a_sentence_names_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'qinn\[egemaps\]'"):
        Egemaps()
    with pytest.raises(MissingPackageError, match=r"pip install 'qinn\[egemaps\]'"):
        ClipOptions.of_tiers({"audio": "egemaps@2.6.0/10Hz"})


@needs_clips
@needs_opensmile
def test_a_sound_has_its_rows():
    sound = Sound(0.5, voice(1.5, 150))
    frames = Egemaps().frames(sound, acoustic_frames(sound))
    assert frames.values.shape[1] == len(EGEMAPS_COLUMNS)
    assert frames.seconds[0] == pytest.approx(0.51)
    assert len(frames.seconds) == pytest.approx(150, abs=6)
