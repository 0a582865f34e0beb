"""A drawn face is found where it is, as it is held and with what it does; what is absent has no step."""

import numpy as np
import pytest

from qinn.features.clip import Picture
from qinn.features.face import BLENDSHAPES, FACE_COLUMNS, FaceTrack, FaceTracker

from ..clip_packages import needs_clips, needs_face
from ..made_clips import draw_face

pytestmark = [needs_clips, needs_face]


@pytest.fixture(scope="module")
def networks():
    return FaceTracker().networks


def tracked(networks, *pictures: np.ndarray, fps: float = 10.0) -> FaceTrack:
    tracker = FaceTracker(networks)
    for number, picture in enumerate(pictures):
        tracker.see(Picture(number / fps, picture))
    return tracker.track()


def value(track: FaceTrack, name: str) -> float:
    return float(track.values[:, FACE_COLUMNS.index(name)].mean())


def test_the_names_are_those_of_all_columns():
    assert len(BLENDSHAPES) == 52
    assert len(set(FACE_COLUMNS)) == 58
    assert FaceTracker.identity == "face-mesh@1#64184e22"


def test_a_smile_and_an_open_mouth_are_seen(networks):
    plain, smiling, open_ = (
        tracked(networks, draw_face(smile=smile, jaw=jaw))
        for smile, jaw in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    assert value(smiling, "mouthSmileLeft") > value(plain, "mouthSmileLeft") + 0.3
    assert value(smiling, "mouthSmileRight") > value(plain, "mouthSmileRight") + 0.3
    assert value(open_, "jawOpen") > value(plain, "jawOpen") + 0.4


@pytest.mark.parametrize(("at", "scale"), [((0.3, 0.5), 0.8), ((0.6, 0.45), 0.6), ((0.5, 0.5), 0.4)])
def test_a_face_is_where_it_is(networks, at, scale):
    track = tracked(networks, draw_face((320, 240), at=at, scale=scale))
    assert value(track, "x") == pytest.approx(at[0], abs=0.02)
    assert value(track, "size") == pytest.approx(0.88 * scale, rel=0.15)
    assert track.landmarks.shape == (1, 478, 3)
    middle = (track.landmarks[0, :, 0].max() + track.landmarks[0, :, 0].min()) / 2
    assert middle == pytest.approx(value(track, "x"), abs=1e-4)


@pytest.mark.parametrize("degrees", [-25, 0, 25])
def test_a_tilted_head_is_tilted(networks, degrees):
    from PIL import Image

    picture = np.asarray(Image.fromarray(draw_face((300, 300), scale=0.7)).rotate(degrees))
    track = tracked(networks, picture)
    assert value(track, "roll") == pytest.approx(degrees, abs=4)
    assert abs(value(track, "yaw")) < 8
    assert abs(value(track, "pitch")) < 12


def test_a_mirrored_face_is_mirrored(networks):
    picture = draw_face(at=(0.4, 0.5), smile=0.5)
    one, other = tracked(networks, picture), tracked(networks, picture[:, ::-1])
    assert value(one, "x") == pytest.approx(1 - value(other, "x"), abs=0.02)
    assert value(one, "yaw") == pytest.approx(-value(other, "yaw"), abs=6)
    assert value(one, "mouthSmileLeft") == pytest.approx(value(other, "mouthSmileRight"), abs=0.2)


def test_pictures_without_a_face_have_no_step(networks):
    empty = np.full((240, 320, 3), 120, np.uint8)
    face = draw_face()
    track = tracked(networks, empty, face, face, empty, face)
    assert track.seconds.tolist() == [0.1, 0.2, 0.4]
    assert len(track.values) == 3
    assert track.coverage == 0.6
    assert tracked(networks, empty).values.shape == (0, 58)
    assert FaceTracker(networks).track().coverage == 0


def test_faces_and_cuts_are_counted(networks):
    two = np.concatenate([draw_face((240, 240)), draw_face((240, 240), scale=0.6)], axis=1)
    assert tracked(networks, two, two).faces == 2
    # the larger one is followed
    assert value(tracked(networks, two), "x") < 0.5
    bright = np.clip(draw_face().astype(int) + 90, 0, 255).astype(np.uint8)
    track = tracked(networks, draw_face(), draw_face(), bright, bright)
    assert track.cuts == 1
    assert len(track.seconds) == 4


def test_a_moving_face_is_followed_without_another_look(networks, monkeypatch):
    looks = []
    tracker = FaceTracker(networks)
    detect = tracker._detect
    monkeypatch.setattr(tracker, "_detect", lambda image: looks.append(1) or detect(image))
    for number in range(9):
        tracker.see(Picture(number / 10, draw_face(at=(0.4 + 0.02 * number, 0.5))))
    track = tracker.track()
    assert len(looks) == 1
    assert track.values[:, FACE_COLUMNS.index("x")] == pytest.approx(0.4 + 0.02 * np.arange(9), abs=0.02)


def test_clips_do_not_know_of_each_other(networks):
    alone = tracked(networks, draw_face(at=(0.6, 0.5)))
    tracked(networks, draw_face(at=(0.3, 0.5)), draw_face(smile=1.0))
    again = tracked(networks, draw_face(at=(0.6, 0.5)))
    assert alone.values.tobytes() == again.values.tobytes()
    assert alone.landmarks.tobytes() == again.landmarks.tobytes()
