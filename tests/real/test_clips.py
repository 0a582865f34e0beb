"""Real clips have the words, the faces and the absences that they are known to have."""

import re
from pathlib import Path

import pytest

from qinn.features.clip import decode
from qinn.features.face import FaceTracker
from qinn.features.speech import Recognizer, Transcript
from qinn.features.weights import WHISPER_BASE, WHISPER_TINY_EN

from ..clip_packages import needs_base, needs_clips, needs_face, needs_speech

pytestmark = [pytest.mark.real, pytest.mark.slow, needs_clips]

SAID = {
    "jfk.flac": "And so my fellow Americans ask not what your country can do for you ask what you can do for your "
    "country",
    "head_a.mp4": "congressional district and I'm currently in DC for my second week of new member orientation In "
    "addition to learning where things are and how to use the tunnels",
    "head_b.mp4": "Everyone here today endeavoring towards a better more just future for our country and our world in "
    "fidelity",
}
FACES = {
    "head_a.mp4": (0.95, 1.0),
    "head_b.mp4": (0.95, 1.0),
    "single_face.mp4": (0.95, 1.0),
    "no_face.mp4": (0.0, 0.0),
}


@pytest.fixture(scope="module")
def clips(real_data: Path) -> Path:
    folder = real_data / "clips"
    if not folder.is_dir():
        pytest.skip("the folder `clips` is not among the real data")
    return folder


def transcribed(recognizer: Recognizer, path: Path) -> Transcript:
    sound = decode(path).sound
    assert sound is not None
    return recognizer.transcribe(sound)


def plain(text: str) -> list[str]:
    return re.sub(r"[^\w' ]", "", text.lower()).split()


@pytest.fixture(scope="module")
def whisper() -> Recognizer:
    return Recognizer(WHISPER_TINY_EN)


@needs_speech
@pytest.mark.parametrize("name", SAID)
def test_the_right_words_are_heard(clips, whisper, name):
    found = transcribed(whisper, clips / name)
    assert plain(found.text) == plain(SAID[name])
    assert found.probability is not None
    assert found.probability > 0.85
    begins = [word.begin for word in found.words]
    assert begins == sorted(begins)
    assert all(any(begin <= word.begin <= end for begin, end in found.voiced) for word in found.words)


@needs_speech
def test_another_language_is_no_english_sentence(clips, whisper):
    found = transcribed(whisper, clips / "chinese.wav")
    assert found.words == ()
    assert "perhaps the language is not English" in found.notes[0]
    assert found.voiced


@needs_base
def test_a_multilingual_recogniser_knows_the_language(clips):
    found = transcribed(Recognizer(WHISPER_BASE), clips / "chinese.wav")
    assert found.language == "zh"
    assert found.words


@needs_face
@pytest.mark.parametrize("name", FACES)
def test_faces_are_where_there_are_some(clips, name):
    tracker = FaceTracker()
    decode(clips / name, see=tracker.see, listen=False)
    track = tracker.track()
    low, high = FACES[name]
    assert low <= track.coverage <= high
    assert track.faces == (1 if high else 0)
    assert track.cuts == 0
