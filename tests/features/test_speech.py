"""Words have times in order, and what nobody said is not said to have been."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from qinn.features.clip import RATE, Sound, decode
from qinn.features.speech import (
    _BEFORE,
    Recognizer,
    Transcript,
    Word,
    _heard,
    _InParts,
    _Spectrum,
    align,
    spread,
)
from qinn.features.weights import WHISPER_TINY_EN

from ..clip_packages import needs_espeak, needs_speech
from ..made_clips import tone, write_clip


def heard(*words: tuple[str, float, float, float]) -> list[SimpleNamespace]:
    """Words as Whisper tells them: their times are those of what it was shown."""
    return [
        SimpleNamespace(word=f" {text}", start=_BEFORE + begin, end=_BEFORE + end, probability=p)
        for text, begin, end, p in words
    ]


def recognizer(*segments: SimpleNamespace, voiced=((0.0, 2.0),), english=True, language="en") -> Recognizer:
    """A recogniser whose networks say what they are told to."""

    class Told(Recognizer):
        def voiced(self, sound):
            return tuple(voiced)

    found = Told.__new__(Told)
    about = SimpleNamespace(language=language, language_probability=0.97)
    found._model = SimpleNamespace(transcribe=lambda samples, **options: (list(segments), about))
    found._weights, found._english, found._full = WHISPER_TINY_EN, english, False
    found._perhaps = "; perhaps the language is not English" if english else ""
    return found


def segment(words, no_speech=0.0, compression=1.0) -> SimpleNamespace:
    end = words[-1].end if words else 0.0
    return SimpleNamespace(words=words, end=end, no_speech_prob=no_speech, compression_ratio=compression)


SOUND = Sound(0.0, tone(10, 300))


def test_a_word_after_a_pause_begins_where_there_is_voice():
    # Pieces from 1 to 2 s and from 5 to 6 s are heard one behind the other; the second word is said to span both.
    said = segment(heard(("one", 0.0, 0.5, 0.9), ("two", 0.6, 1.5, 0.9), ("three", 1.6, 1.9, 0.9)))
    found = recognizer(said, voiced=((1.0, 2.0), (5.0, 6.0))).transcribe(SOUND)
    assert [(word.text, word.begin, word.end) for word in found.words] == [
        ("one", 1.0, 1.5),
        ("two", 5.0, 5.5),
        ("three", 5.6, 5.9),
    ]


def test_marks_between_words_are_not_said():
    said = segment(
        heard(
            ("“Well,", 0.0, 0.3, 0.9),
            ("don't", 0.3, 0.6, 0.9),
            ("...", 0.6, 0.7, 0.9),
            ("stop!", 0.7, 0.9, 0.9),
        )
    )
    assert recognizer(said).transcribe(SOUND).text == "Well don't stop"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_voice_is_looked_for_in_parts_with_what_was_heard_before(monkeypatch, size):
    """A network that sums up all it hears says the same of the whole and of its parts."""
    monkeypatch.setattr("qinn.features.speech._PIECES", size)
    heard_at_once: list[int] = []

    class Sums:
        def run(self, names, inputs):
            heard_at_once.append(len(inputs["input"]))
            sums = inputs["h"] + np.cumsum(inputs["input"], axis=0)
            return [sums, sums[-1:], inputs["c"] + 1]

    pieces = np.arange(20.0).reshape(10, 2)
    out, hidden, cell = _InParts(Sums()).run(None, {"input": pieces, "h": np.zeros((1, 2)), "c": np.zeros(1)})
    assert np.array_equal(out, np.cumsum(pieces, axis=0))
    assert np.array_equal(hidden, pieces.sum(axis=0, keepdims=True))
    assert max(heard_at_once) == min(size, 10)
    assert cell == len(heard_at_once)


GOOD = segment(heard(("all", 0.0, 1.0, 0.9), ("said", 1.0, 9.5, 0.9)))


@pytest.mark.parametrize(
    ("first", "full"),
    [
        ([GOOD], False),
        ([segment(heard(("la", 0.0, 9.9, 0.9)), compression=3.0)], True),
        ([segment(heard(("all", 0.0, 1.0, 0.9)))], True),
        ([segment(heard(("all", 0.0, 9.9, 0.5)))], True),
        ([], True),
    ],
    ids=["sure", "loops", "stops", "guesses", "says nothing"],
)
def test_where_a_short_window_misleads_the_whole_one_is_heard(first, full):
    found = recognizer(voiced=((0.0, 10.0),))
    shown: list[bool] = []
    limits: list[int] = []

    def transcribe(samples, max_new_tokens, **options):
        shown.append(found._full)
        limits.append(max_new_tokens)
        return iter([GOOD] if found._full else first), SimpleNamespace(
            language="en", language_probability=1.0
        )

    found._model = SimpleNamespace(transcribe=transcribe)
    assert found.transcribe(SOUND).text == "all said"
    assert shown == ([False, True] if full else [False])
    assert set(limits) == {144}


def test_some_silence_is_heard_before_the_voice():
    found = recognizer(voiced=((1.0, 2.0), (5.0, 6.0)))
    shown: list[np.ndarray] = []
    listen = found._model.transcribe
    found._model.transcribe = lambda samples, **options: shown.append(samples) or listen(samples, **options)
    found.transcribe(SOUND)
    voice = np.concatenate([SOUND.samples[RATE : 2 * RATE], SOUND.samples[5 * RATE : 6 * RATE]])
    assert not shown[0][: round(_BEFORE * RATE)].any()
    assert np.array_equal(shown[0][round(_BEFORE * RATE) :], voice)


def test_a_window_ends_some_seconds_behind_the_sound():
    features = np.zeros((80, 3000), np.float32)
    features[3, 801] = -1.0
    short = _heard(features)
    assert short.shape == (80, 1300)
    assert np.array_equal(short, features[:, :1300])
    assert _heard(np.zeros((80, 3000), np.float32)).shape == (80, 400)
    assert _heard(np.ones((80, 3000), np.float32)).shape == (80, 3000)


@needs_speech
@pytest.mark.parametrize(("count", "within"), [(5000, 0), (128_003, 0), (479_840, 0), (1_000_000, 3e-7)])
def test_features_are_those_of_whisper_in_less_memory(count, within):
    from faster_whisper.feature_extractor import FeatureExtractor

    own = FeatureExtractor()
    samples = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    expected, found = own(samples), _Spectrum(own)(samples)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.abs(found - expected).max() <= within
    assert _Spectrum(own).nb_max_frames == 3000


def test_no_word_lasts_longer_than_a_second():
    found = recognizer(segment(heard(("well", 0.0, 1.9, 0.9)))).transcribe(SOUND)
    assert (found.words[0].begin, found.words[0].end) == (0.9, 1.9)


def test_words_are_in_the_order_of_time():
    said = segment(heard(("one", 0.5, 0.9, 0.9), ("two", 0.2, 0.3, 0.9), ("three", 1.0, 1.0, 0.9)))
    found = recognizer(said).transcribe(SOUND)
    begins = [word.begin for word in found.words]
    assert begins == sorted(begins)
    assert all(word.end > word.begin for word in found.words)


@pytest.mark.parametrize("wrong", [{"no_speech": 0.95}, {"compression": 3.0}])
def test_invented_sentences_are_not_taken(wrong):
    good, bad = heard(("good", 0.0, 0.5, 0.9)), heard(("Thank", 0.5, 0.8, 0.9), ("you!", 0.8, 1.0, 0.9))
    found = recognizer(segment(good), segment(bad, **wrong)).transcribe(SOUND)
    assert found.text == "good"
    assert "were not taken: 1" in found.notes[0]


def test_unsure_words_are_not_taken_and_the_language_is_doubted():
    said = segment(heard(("Thank", 0.0, 0.5, 0.55), ("you!", 0.6, 1.0, 0.6)))
    found = recognizer(said).transcribe(SOUND)
    assert found.words == ()
    assert found.probability is None
    assert found.notes == (
        "`whisper-tiny.en` heard 2 words, but so unsurely (p 0.57) that none was taken; perhaps the language is not "
        "English",
    )
    assert recognizer(segment(heard(("Thank", 0.0, 0.5, 0.65)))).transcribe(SOUND).text == "Thank"


def test_the_language_of_a_multilingual_recogniser_is_said():
    found = recognizer(segment(heard(("早", 0.0, 0.5, 0.9))), english=False, language="zh").transcribe(SOUND)
    assert found.language == "zh"
    assert found.notes == ("the language was found to be `zh` (p 0.97)",)


def test_where_nobody_speaks_nothing_is_recognised():
    def fail(*args, **options):
        raise AssertionError

    silent = recognizer(voiced=())
    silent._model = SimpleNamespace(transcribe=fail)
    assert silent.transcribe(SOUND) == Transcript((), ())


def test_given_words_take_the_times_of_those_that_were_heard():
    words = ["well", "I", "am", "really", "not", "happy"]
    said = [Word("I", 1.0, 1.2, 0.9), Word("really", 2.0, 2.5, 0.9), Word("happy!", 3.0, 3.5, 0.9)]
    found, share = align(words, said)
    assert [word.text for word in found] == words
    assert share == 0.5
    times = {word.text: (word.begin, word.end) for word in found}
    assert times["I"] == (1.0, 1.2)
    assert times["am"] == (1.2, 2.0)
    assert times["not"] == (2.5, 3.0)
    assert times["happy"] == (3.0, 3.5)
    begins = [word.begin for word in found]
    assert begins == sorted(begins)
    assert align(words, []) == ((), 0.0)


def test_spread_words_fill_what_is_voiced_and_nothing_else():
    spans = [(1.0, 2.0), (4.0, 5.0)]
    found = spread(["a", "few", "words", "of", "some", "length", "here"], spans)
    assert found[0].begin == 1.0
    assert found[-1].end == 5.0
    for word in found:
        assert any(begin <= word.begin < end for begin, end in spans)
    assert all(word.probability is None for word in found)


@pytest.fixture(scope="module")
def whisper() -> Recognizer:
    return Recognizer(WHISPER_TINY_EN)


def speak(text: str, path, *options: str):
    subprocess.run(["espeak-ng", "-w", str(path), *options, text], check=True, capture_output=True)
    return path


@needs_speech
@needs_espeak
@pytest.mark.slow
def test_spoken_words_are_recognised_with_their_times(tmp_path, whisper):
    sound = decode(
        speak("This is a very good film. I really love it.", tmp_path / "a.wav", "-s", "140")
    ).sound
    assert sound is not None
    quiet = np.zeros(2 * RATE, np.float32)
    found = whisper.transcribe(Sound(0.0, np.concatenate([quiet, sound.samples, quiet])))
    words = {word.text.lower(): word for word in found.words}
    assert {"good", "film", "love"} <= words.keys()
    assert all(1.8 < word.begin < word.end < sound.end + 2.3 for word in found.words)
    assert words["good"].begin < words["film"].begin < words["love"].begin
    assert found.language == "en"


@needs_speech
@pytest.mark.slow
def test_silence_noise_and_music_have_no_words(whisper):
    random = np.random.default_rng(0)
    chord = sum(tone(4, hertz, gain=0.15) for hertz in (262.0, 330.0, 392.0, 523.0))
    noise = (0.05 * random.normal(size=4 * RATE)).astype(np.float32)
    for samples in (np.zeros(4 * RATE, np.float32), noise, np.asarray(chord, np.float32)):
        assert whisper.transcribe(Sound(0.0, samples)).words == ()
    assert whisper.identity.startswith("whisper-tiny.en@4#1a5afae0+silero_vad_v6#")


@needs_speech
@needs_espeak
@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels", "codec"), [(48_000, 2, "aac"), (44_100, 1, "flac")])
def test_another_encoding_has_the_same_words(tmp_path, whisper, rate, channels, codec):
    path = speak("The acting was not bad, but the story is boring.", tmp_path / "a.wav", "-s", "150")
    plain = decode(path).sound
    assert plain is not None
    moments = np.arange(round(len(plain.samples) * rate / RATE)) / rate
    again = np.interp(moments, np.arange(len(plain.samples)) / RATE, plain.samples).astype(np.float32)
    other = decode(
        write_clip(tmp_path / "b.mkv", sound=np.repeat(again[None], channels, 0), rate=rate, audio=codec)
    ).sound
    assert other is not None
    one, two = whisper.transcribe(plain), whisper.transcribe(other)
    assert one.text == two.text != ""
    assert [word.begin for word in one.words] == pytest.approx([word.begin for word in two.words], abs=0.1)
