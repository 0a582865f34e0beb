"""Tiers without weights: pixels follow what is drawn, words follow their letters."""

import numpy as np
import pytest

from qinn.experiment.text_encoders import load_encoder
from qinn.features.clip import Picture
from qinn.features.hashing import HashEncoder
from qinn.features.pixels import PIXEL_COLUMNS, Pixels

from ..clip_packages import needs_clips
from ..made_clips import draw_face, gray


def looked(*pictures: np.ndarray) -> np.ndarray:
    pixels = Pixels()
    for number, picture in enumerate(pictures):
        pixels.see(Picture(number / 10, picture))
    seconds, values = pixels.track()
    assert seconds == pytest.approx(np.arange(len(pictures)) / 10)
    return values


def column(values: np.ndarray, name: str) -> np.ndarray:
    return values[:, PIXEL_COLUMNS.index(name)]


def test_brightness_and_motion_are_those_of_the_pictures():
    values = looked(*gray([51, 51, 102]))
    assert column(values, "picture_brightness") == pytest.approx([0.2, 0.2, 0.4])
    assert column(values, "picture_motion") == pytest.approx([0, 0, 0.2])
    assert column(values, "picture_contrast") == pytest.approx(0, abs=1e-6)
    assert looked().shape == (0, len(PIXEL_COLUMNS))


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (131, 97), (20, 500)])
def test_the_size_of_a_picture_plays_no_part(size):
    values = looked(*gray([90], size))
    assert column(values, "mouth_brightness") == pytest.approx(90 / 255)
    assert column(values, "mouth_dark") == 0


@needs_clips
def test_a_smile_has_its_corners_above_its_middle():
    smiling, frowning = looked(draw_face(smile=1.0), draw_face(smile=-1.0))
    rise = [
        one[PIXEL_COLUMNS.index("mouth_lower")] - one[PIXEL_COLUMNS.index("mouth_upper")]
        for one in (smiling, frowning)
    ]
    assert rise[0] > rise[1] + 0.05
    plain, speaking = looked(draw_face()), looked(draw_face(jaw=1.0))
    assert column(speaking, "mouth_dark") > column(plain, "mouth_dark")


def test_a_word_is_the_same_wherever_it_stands():
    encoder = HashEncoder()
    one, other = encoder.encode(["Not good, folks", "good"])
    assert one.shape == (3, 64)
    assert np.array_equal(one[1], other[0])
    assert np.linalg.norm(one, axis=1) == pytest.approx(1)
    assert encoder.encode_words([[]])[0].shape == (0, 64)
    assert encoder.count_tokens(["a b", "c"]) == [(2, 2, 0), (1, 1, 0)]


def test_words_of_like_letters_are_nearer_than_others():
    good, goodness, bad = HashEncoder().encode_words([["good", "goodness", "terrible"]])[0]
    assert good @ goodness > good @ bad + 0.2


def test_the_vectors_are_those_that_stores_were_made_with():
    # Pinned: another number needs another version.
    vector = HashEncoder().encode_words([["film"]])[0][0]
    assert np.flatnonzero(vector).tolist() == [15, 17, 18, 24, 25, 26, 32, 34, 36, 38, 50, 53, 55]
    assert HashEncoder.tier == "hash@1"


def test_the_command_line_knows_it():
    encoder = load_encoder("hash")
    assert isinstance(encoder, HashEncoder)
