"""Clips with a known answer: labels follow from what is shown, what is shown can be read off, the optimum is one."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from qinn.data.synthetic.clips.clip_set import (
    ClipsSpec,
    DrawnClip,
    ceiling,
    drawn_clips,
    known_answer,
    write_clip,
    write_clips,
)
from qinn.data.synthetic.clips.sentences import ADJECTIVES, VALENCES, draw_sentence
from qinn.data.synthetic.clips.voice import VOICE_RATE, Manner, speak
from qinn.data.synthetic.known_answer_set import MODALITIES
from qinn.errors import ArgumentError, OutputError
from qinn.features.acoustic import ACOUSTIC_COLUMNS, acoustic_frames, active_spans
from qinn.features.clip import Sound, decode
from qinn.features.pixels import PIXEL_COLUMNS, Pixels

from ..clip_packages import needs_clips, needs_face

SPEC = ClipsSpec()
FEW = ClipsSpec(num_train=10, num_valid=1, num_test=2, clips_per_speaker=2)


SEEN = [seen for count in range(4) for seen in itertools.combinations(MODALITIES, count)]


def best_of(valence: np.ndarray, energy: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """What the page on clips says."""
    return 0.9 * valence * (1 + energy) + 0.8 * expression


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    """Latents and labels of many clips, without making one."""
    generator = np.random.default_rng(0)
    count = 200_000
    text = generator.choice(VALENCES, count)
    audio, vision, noise = generator.uniform(-1, 1, (3, count))
    label = best_of(text, audio, vision) + 0.3 * noise
    return {"text": text, "audio": audio, "vision": vision, "label": label}


def centre(drawn: dict[str, np.ndarray], seen: tuple[str, ...]) -> np.ndarray:
    """What is known of the label, each unknown latent at 0."""
    known = {name: drawn[name] if name in seen else np.zeros_like(drawn[name]) for name in MODALITIES}
    return best_of(known["text"], known["audio"], known["vision"])


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: "+".join(seen) or "nothing")
def test_the_optimum_is_what_many_draws_say(seen, drawn):
    left = drawn["label"] - centre(drawn, seen)
    assert np.abs(left).mean() == pytest.approx(ceiling(SPEC, seen), abs=0.004)
    # No better: whatever is seen, half of what is left lies on either side.
    cells = np.zeros(len(left), int)
    for name in seen:
        cells = cells * 8 + np.minimum((drawn[name] + 1) * 4, 7).astype(int)
    counts = np.bincount(cells)
    above = np.bincount(cells, left > 0)
    cells_with = counts > 0
    off = np.abs(above[cells_with] - counts[cells_with] / 2) / np.sqrt(counts[cells_with] / 4)
    assert off.max() < 5


def test_late_fusion_reaches_what_text_and_vision_reach(drawn):
    answer = known_answer(SPEC)
    assert answer.additive == pytest.approx(ceiling(SPEC, ("text", "vision")))
    assert answer.bayes == pytest.approx(SPEC.label_noise / 2)
    assert answer.bayes < answer.additive < answer.unimodal["text"] < answer.constant
    assert answer.unimodal["audio"] == pytest.approx(answer.constant)
    # Any function of one latent, added to the best sum, makes it worse.
    left = drawn["label"] - centre(drawn, ("text", "vision"))
    for name in MODALITIES:
        for shape in (np.sign, lambda x: x, lambda x: x**2 - 1 / 3):
            for step in (-0.05, 0.05):
                assert np.abs(left - step * shape(drawn[name])).mean() > answer.additive - 0.001


def test_sentences_mean_what_their_words_say():
    generator = np.random.default_rng(1)
    valence_of = {word: valence for valence, words in ADJECTIVES.items() for word in words}
    sentences = [draw_sentence(generator) for _ in range(600)]
    negated = 0
    for sentence in sentences:
        (valence,) = (valence_of[word] for word in sentence.words if word in valence_of)
        turned = "not" in sentence.words or "never" in sentence.words
        assert sentence.valence == (-valence if turned else valence)
        negated += turned
    assert negated / len(sentences) == pytest.approx(0.4, abs=0.06)
    # Neither the adjective nor the negation alone tells it.
    for valence in VALENCES:
        assert np.mean([one.valence == valence for one in sentences]) == pytest.approx(0.25, abs=0.06)


def test_no_clip_depends_on_how_many_there_are():
    few = {clip.id: clip for clip in drawn_clips(FEW)}
    more = {
        clip.id: clip
        for clip in drawn_clips(ClipsSpec(num_train=14, num_valid=3, num_test=4, clips_per_speaker=2))
    }
    assert len(few) == 13
    assert all(more[name] == clip for name, clip in few.items())
    assert few["train-0000"].look == few["train-0001"].look != few["train-0002"].look
    assert not {clip.speaker for clip in few.values() if clip.split == "test"} & {
        clip.speaker for clip in few.values() if clip.split != "test"
    }
    other = next(drawn_clips(ClipsSpec(seed=1)))
    assert other.label != few["train-0000"].label


def test_labels_follow_from_the_latents():
    clips = list(drawn_clips(ClipsSpec(num_train=200, num_valid=0, num_test=0)))
    noise = np.array([clip.label - clip.best for clip in clips]) / SPEC.label_noise
    assert np.abs(noise).max() <= 1
    assert np.abs(noise).mean() == pytest.approx(0.5, abs=0.08)
    for clip in clips[:50]:
        own = 0.9 * clip.sentence.valence * (1 + clip.energy) + 0.8 * clip.expression
        assert clip.best == pytest.approx(own)
        assert -3 <= clip.label <= 3


@pytest.mark.parametrize(
    ("change", "said"),
    [({"num_train": 0}, "num_train"), ({"words": 2.0}, "at most 3"), ({"clips_per_speaker": 0}, "clips_per")],
)
def test_a_set_that_cannot_be_is_refused(change, said):
    with pytest.raises(ArgumentError, match=said):
        ClipsSpec(**change)
    with pytest.raises(ArgumentError, match="among"):
        ceiling(SPEC, ("smell",))


@pytest.mark.parametrize("pitch", [90.0, 140.0, 240.0])
def test_the_voice_has_the_pitch_strength_and_pace_that_were_stated(pitch):
    words = ("honestly", "the", "music", "was", "never", "wonderful")
    pace = []
    for loudness, rate in ((-30.0, 3.5), (-18.0, 6.0)):
        manner = Manner(pitch=pitch, loudness=loudness, rate=rate)
        spoken = speak(words, manner, np.random.default_rng(2))
        frames = acoustic_frames(Sound(0.0, spoken.samples))
        column = dict(zip(ACOUSTIC_COLUMNS, frames.values.T, strict=True))
        voiced = column["pitch"] > 0
        semitones = 12 * np.log2(pitch / 27.5)
        assert np.median(column["pitch"][voiced]) == pytest.approx(semitones, abs=0.6)
        assert np.mean(voiced[frames.active]) > 0.7
        power = np.mean(10 ** (column["loudness"][voiced] / 10))
        assert 10 * np.log10(power) == pytest.approx(loudness, abs=1.5)
        begin, end = spoken.spans[0][0], spoken.spans[-1][1]
        heard = active_spans(frames)
        assert heard[0][0] == pytest.approx(begin, abs=0.1)
        assert heard[-1][1] == pytest.approx(end, abs=0.1)
        pace.append(spoken.seconds)
    assert pace[0] / pace[1] > 1.4


def test_a_vowel_has_its_formants():
    spoken = speak(("aaaa",), Manner(pitch=110.0, loudness=-20.0, rate=1.0), np.random.default_rng(0))
    begin, end = (round(second * VOICE_RATE) for second in spoken.spans[0])
    part = spoken.samples[begin + 4000 : end - 4000]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    hertz = np.fft.rfftfreq(len(part), 1 / VOICE_RATE)
    strength = {
        middle: spectrum[np.abs(hertz - middle) < 60].max() for middle in (730, 1090, 2090, 2440, 2860)
    }
    assert min(strength[730], strength[1090]) > 100 * strength[2090]
    assert strength[2440] > 2 * max(strength[2090], strength[2860])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, list[DrawnClip]]:
    folder = tmp_path_factory.mktemp("set") / "clips"
    assert write_clips(folder, FEW) == folder / "clips.csv"
    return folder, list(drawn_clips(FEW))


def watched(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Columns of pixels and of sound, means over the film."""
    pixels = Pixels()
    decoded = decode(path, see=pixels.see, fps=10.0)
    assert decoded.decode_errors == 0
    assert decoded.sound is not None
    frames = acoustic_frames(decoded.sound)
    return pixels.track()[1].mean(axis=0), frames.values[frames.values[:, 2] > 0].mean(axis=0)


@needs_clips
def test_latents_can_be_read_off_the_films(made):
    folder, clips = made
    seen, heard = zip(*(watched(folder / "films" / f"{clip.id}.mp4") for clip in clips), strict=True)
    pictures, sounds = np.array(seen), np.array(heard)
    rise = pictures[:, PIXEL_COLUMNS.index("mouth_lower")] - pictures[:, PIXEL_COLUMNS.index("mouth_upper")]
    assert np.corrcoef(rise, [clip.expression for clip in clips])[0, 1] > 0.8
    loudness = sounds[:, ACOUSTIC_COLUMNS.index("loudness")]
    assert np.corrcoef(loudness, [clip.energy for clip in clips])[0, 1] > 0.97
    pitch = sounds[:, ACOUSTIC_COLUMNS.index("pitch")]
    assert pitch == pytest.approx([12 * np.log2(clip.manner.pitch / 27.5) for clip in clips], abs=1)


@needs_clips
def test_the_table_says_what_was_drawn(made):
    folder, clips = made
    with (folder / "clips.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [clip.id for clip in clips]
    for row, clip in zip(rows, clips, strict=True):
        assert (folder / row["file"]).stat().st_size < 100_000
        assert (row["text"], row["split"], row["speaker"]) == (clip.sentence.text, clip.split, clip.speaker)
        valence, energy, expression = (float(row[name]) for name in ("valence", "energy", "expression"))
        assert SPEC.best_score(valence, energy, expression) == pytest.approx(float(row["best"]), abs=1e-5)
        assert abs(float(row["label"]) - float(row["best"])) <= SPEC.label_noise + 1e-5


@needs_clips
def test_a_film_is_the_same_each_time(made, tmp_path):
    folder, clips = made
    write_clip(clips[3], tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == (folder / "films" / f"{clips[3].id}.mp4").read_bytes()


@needs_clips
def test_what_is_there_is_kept_and_another_set_refused(tmp_path):
    spec = ClipsSpec(num_train=2, num_valid=0, num_test=0)
    folder = tmp_path / "clips"
    write_clips(folder, spec)
    films = sorted((folder / "films").iterdir())
    films[0].unlink()
    before = films[1].stat().st_mtime_ns
    told: list[tuple[int, int, str]] = []
    write_clips(folder, spec, progress=lambda *what: told.append(what))
    assert sorted((folder / "films").iterdir()) == films
    assert films[1].stat().st_mtime_ns == before
    assert told == [(1, 2, "train-0000"), (2, 2, "train-0001")]
    other = ClipsSpec(num_train=1, num_valid=0, num_test=0, seed=7)
    with pytest.raises(OutputError, match=r"another set.*--overwrite"):
        write_clips(folder, other)
    assert sorted((folder / "films").iterdir()) == films
    write_clips(folder, other, overwrite=True)
    assert json.loads((folder / "clips.json").read_text())["seed"] == 7
    assert [film.name for film in (folder / "films").iterdir()] == ["train-0000.mp4"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds no clips"):
            write_clips(tmp_path / "mine", spec, overwrite=overwrite)
    assert [one.name for one in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@needs_face
@needs_clips
def test_the_face_is_one_for_the_model_of_faces(made):
    from qinn.features.extraction import ClipOptions, Extractor
    from qinn.features.face import FACE_COLUMNS

    folder, clips = made
    extractor = Extractor(ClipOptions(speech="none", sound="none"))
    low, high = (pick(clips, key=lambda clip: clip.expression) for pick in (min, max))
    smiles = []
    for clip in (low, high):
        features = extractor.extract(folder / "films" / f"{clip.id}.mp4")
        assert features.quality.face_coverage is not None
        assert features.quality.face_coverage >= 0.95
        smiles.append(features.steps["vision"].values[:, FACE_COLUMNS.index("mouthSmileLeft")].mean())
    assert smiles[1] > smiles[0] + 0.2
