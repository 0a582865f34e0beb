"""Features made in a process with limits are those made here, and what a clip does to the process it does alone."""

import pytest

from qinn.errors import ClipError
from qinn.experiment.clip_process import ClipProcess, limits_for
from qinn.features.clip import Limits
from qinn.features.extraction import ClipOptions, Extractor

from ..clip_packages import needs_clips
from ..made_clips import gray, voice, write_clip

pytestmark = [needs_clips, pytest.mark.slow]

OPTIONS = ClipOptions(speech="none", face="pixels")


def test_another_process_makes_the_same_and_survives_what_a_clip_does(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", gray([10, 60, 200, 90] * 4), voice(1.5, 140), fps=10)
    stages: list[str] = []
    with ClipProcess() as process:
        extractor = process.extractor(OPTIONS)
        extractor.load()
        asked = {"words": ["so", "good"], "begin": 0.1, "end": 1.3}
        found = extractor.extract(clip, progress=lambda stage, share: stages.append(stage), **asked)
        own = Extractor(OPTIONS).extract(clip, **asked)
        found.save(tmp_path / "found.npz")
        own.save(tmp_path / "own.npz")
        assert (tmp_path / "found.npz").read_bytes() == (tmp_path / "own.npz").read_bytes()
        assert list(dict.fromkeys(stages)) == ["decoding", "sound", "speech"]
        with pytest.raises(ClipError, match=r"^`b` is 2 s long, but at most 0\.5 s are read"):
            extractor.extract(clip, name="b", limits=Limits(max_seconds=0.5))

        def kill(stage: str, share: float | None) -> None:
            assert process._worker is not None
            process._worker.process.kill()

        with pytest.raises(ClipError, match=r"^`b` ended the process that read it: it is damaged, or needs"):
            extractor.extract(clip, name="b", progress=kill)
        assert extractor.extract(clip, **asked).quality == own.quality
        assert process._worker is not None
        # What ended between two clips was ended by neither.
        process._worker.process.kill()
        process._worker.process.wait()
        assert extractor.extract(clip, **asked).quality == own.quality
        last = process._worker.process
    assert last.poll() is not None


def test_longer_clips_have_more_time():
    assert limits_for(660.0).cpu_seconds - limits_for(60.0).cpu_seconds == 6000
