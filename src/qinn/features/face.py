"""A face in a film: where it is, 52 numbers of what it does, and how the head is held.

The three networks of MediaPipe's face landmarker (a detector, 478 landmarks, blendshapes) run on LiteRT with one
thread; the steps between them are written anew. The package ``mediapipe`` is not used: it looks up another host.

Pictures without a face have no step: what is seen keeps its times, and the share of pictures that have one is said.

Source: own; anchors, regions and the order of landmarks follow the graphs of MediaPipe (Apache-2.0), the pose is the
rotation between the landmarks and the canonical face of the same file (Kabsch, 1976).
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64

from qinn.extras import needs
from qinn.features.clip import Picture
from qinn.features.weights import FACE_MESH

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["BLENDSHAPES", "FACE_COLUMNS", "FaceTrack", "FaceTracker"]

_NAMES = (
    "neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff "
    "cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight "
    "eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft "
    "eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft "
    "mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft "
    "mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper "
    "mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight "
    "mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight"
)
BLENDSHAPES = tuple(_NAMES.split())
"""Names of the blendshapes; left and right are those of the person."""

FACE_COLUMNS = (*BLENDSHAPES, "yaw", "pitch", "roll", "x", "y", "size")
"""Columns of `FaceTrack.values`: blendshapes (0 to 1); yaw to the right of the picture, pitch upwards and roll
counterclockwise, in degrees; the middle of the face and its height, as shares of the picture's width and height."""

_SIDE, _CROP = 128, 256
_SURE, _OVERLAP = 0.5, 0.3
_MARGIN = 1.5
_LOOK_AGAIN = 1.0
"""Seconds after which faces are counted anew."""
_CUT = 32.0
"""Mean difference of two small pictures, of 255, from which on the film is taken to have been cut between them."""
_MOST_FACES = 8
_EYES = (33, 263)
# Which landmarks the network of the blendshapes reads.
_READ = np.array(
    [
        *(
            0,
            1,
            4,
            5,
            6,
            7,
            8,
            10,
            13,
            14,
            17,
            21,
            33,
            37,
            39,
            40,
            46,
            52,
            53,
            54,
            55,
            58,
            61,
            63,
            65,
            66,
            67,
            70,
        ),
        *(
            78,
            80,
            81,
            82,
            84,
            87,
            88,
            91,
            93,
            95,
            103,
            105,
            107,
            109,
            127,
            132,
            133,
            136,
            144,
            145,
            146,
            148,
            149,
        ),
        *(
            150,
            152,
            153,
            154,
            155,
            157,
            158,
            159,
            160,
            161,
            162,
            163,
            168,
            172,
            173,
            176,
            178,
            181,
            185,
            191,
            195,
        ),
        *(
            197,
            234,
            246,
            249,
            251,
            263,
            267,
            269,
            270,
            276,
            282,
            283,
            284,
            285,
            288,
            291,
            293,
            295,
            296,
            297,
            300,
        ),
        *(
            308,
            310,
            311,
            312,
            314,
            317,
            318,
            321,
            323,
            324,
            332,
            334,
            336,
            338,
            356,
            361,
            362,
            365,
            373,
            374,
            375,
        ),
        *(
            377,
            378,
            379,
            380,
            381,
            382,
            384,
            385,
            386,
            387,
            388,
            389,
            390,
            397,
            398,
            400,
            402,
            405,
            409,
            415,
            454,
        ),
        *(466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
    ]
)


@dataclass(frozen=True)
class FaceTrack:
    """The face of a film: the largest one at first, then that one for as long as it is seen.

    Attributes:
        seconds: When each picture with a face is shown.
        values: One row per such picture, with the columns of `FACE_COLUMNS`.
        landmarks: 478 points: shares of the picture's width and height, and depth in shares of its width.
        num_pictures: Pictures that were looked at.
        faces: The most faces that were seen in one picture.
        cuts: How often the film was cut.
    """

    seconds: Float64[np.ndarray, " steps"]
    values: Float32[np.ndarray, "steps 58"]
    landmarks: Float32[np.ndarray, "steps 478 3"]
    num_pictures: int
    faces: int
    cuts: int

    @property
    def coverage(self) -> float:
        """Share of the pictures that have a face; 0 without pictures."""
        return len(self.seconds) / self.num_pictures if self.num_pictures else 0.0


@dataclass(frozen=True)
class _Region:
    """A square that holds a face: its middle and side in pixels, and how far it is turned clockwise, in radians."""

    x: float
    y: float
    side: float
    turn: float


class _Networks:
    """The three networks, the anchors of the detector and the canonical face; loaded once."""

    def __init__(self) -> None:
        content = (FACE_MESH.folder() / FACE_MESH.main).read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            self.detector, self.mesh, self.shapes = (
                _interpreter(archive.read(f"{name}.tflite"))
                for name in ("face_detector", "face_landmarks_detector", "face_blendshapes")
            )
            self.canonical, self.basis, self.weights = _canonical(
                archive.read("geometry_pipeline_metadata_landmarks.binarypb")
            )
        self.anchors = np.concatenate([_grid(16, 2), _grid(8, 6)])


class FaceTracker:
    """Follows a face through the pictures of one clip.

    Args:
        networks: Those of another tracker, so that they are not loaded again.

    Raises:
        ConfigError: If the weights are not there, or are others.
        MissingPackageError: If LiteRT or Pillow is not installed.
    """

    identity = f"face-mesh@1#{FACE_MESH.digest}"
    """Name, version and hash of the weights."""

    def __init__(self, networks: "_Networks | None" = None) -> None:
        with needs("clips", "Finding faces"):
            import PIL.Image
        self._images = PIL.Image
        self.networks = _Networks() if networks is None else networks
        self._region: _Region | None = None
        self._looked = -math.inf
        self._small: np.ndarray | None = None
        self._rows: list[tuple[float, np.ndarray, np.ndarray]] = []
        self._pictures = self._faces = self._cuts = 0

    def see(self, picture: Picture) -> None:
        """Look at the next picture of the clip."""
        self._pictures += 1
        image = self._images.fromarray(picture.pixels)
        if self._is_cut(image):
            self._cuts += 1
            self._region = None
        points = None if self._region is None else self._landmarks(image, self._region)
        if points is None or picture.seconds - self._looked >= _LOOK_AGAIN:
            # It is time to count faces, or what was followed is lost: it may have moved, or another face have come.
            found = self._look(image, picture.seconds, points)
            if points is None and found:
                # Once more, from what is known of the face by now: a detector says roughly where it is and how turned.
                points = self._landmarks(image, _around(found[0]))
        if points is None:
            self._region = None
            return
        self._region = _around(points)
        self._rows.append((picture.seconds, *self._described(points, image.size)))

    def track(self) -> FaceTrack:
        """Return what was seen."""
        return FaceTrack(
            np.array([row[0] for row in self._rows], np.float64),
            np.array([row[1] for row in self._rows], np.float32).reshape(-1, len(FACE_COLUMNS)),
            np.array([row[2] for row in self._rows], np.float32).reshape(-1, 478, 3),
            self._pictures,
            self._faces,
            self._cuts,
        )

    def _is_cut(self, image: "Image") -> bool:
        small = np.asarray(image.resize((16, 12), self._images.Resampling.BOX).convert("L"), np.float64)
        before, self._small = self._small, small
        return before is not None and float(np.abs(small - before).mean()) > _CUT

    def _look(self, image: "Image", seconds: float, followed: np.ndarray | None) -> list[np.ndarray]:
        """Count the faces of a picture, and return the points of each that is not followed, the largest first."""
        regions = self._detect(image)[:_MOST_FACES]
        others = regions if followed is None else [one for one in regions if not _lies_on(one, followed)]
        placed = (self._landmarks(image, region) for region in others)
        found = [points for points in placed if points is not None]
        self._looked = seconds
        self._faces = max(self._faces, len(found) + (followed is not None))
        return found

    def _detect(self, image: "Image") -> list[_Region]:
        """Return the faces of a picture, the largest first."""
        scale = _SIDE / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        left, top = (_SIDE - width) // 2, (_SIDE - height) // 2
        canvas = self._images.new("RGB", (_SIDE, _SIDE))
        canvas.paste(image.resize((width, height), self._images.Resampling.BILINEAR), (left, top))
        found = _run(self.networks.detector, np.asarray(canvas, np.float32) / 127.5 - 1)
        places, scores = found["regressors"].reshape(-1, 16), found["classificators"].reshape(-1)
        likely = np.flatnonzero(scores > -math.log(1 / _SURE - 1))
        points = places[likely].astype(np.float64).reshape(-1, 8, 2)
        points[:, 1] /= scale  # width and height; all else is a place
        points[:, [0, *range(2, 8)]] += self.networks.anchors[likely][:, None] * _SIDE
        points[:, [0, *range(2, 8)]] = (points[:, [0, *range(2, 8)]] - (left, top)) / scale
        order = np.argsort(-scores[likely], kind="stable")
        boxes: list[np.ndarray] = []
        for face in points[order]:
            if all(_overlap(face[:2], other[:2]) < _OVERLAP for other in boxes):
                boxes.append(face)
        boxes.sort(key=lambda face: -float(face[1].max()))
        return [
            _Region(
                float(face[0, 0]),
                float(face[0, 1]),
                float(face[1].max()) * _MARGIN,
                _turn(face[2], face[3]),
            )
            for face in boxes
            if face[1].min() > 1
        ]

    def _landmarks(self, image: "Image", region: _Region) -> np.ndarray | None:
        """Return the points of a face in pixels, (478, 3); None where there is no face."""
        step = region.side / _CROP
        cosine, sine = step * math.cos(region.turn), step * math.sin(region.turn)
        half = _CROP / 2
        corner = (region.x - half * (cosine - sine), region.y - half * (sine + cosine))
        crop = image.transform(
            (_CROP, _CROP),
            self._images.Transform.AFFINE,
            (cosine, -sine, corner[0], sine, cosine, corner[1]),
            self._images.Resampling.BILINEAR,
        )
        found = _run(self.networks.mesh, np.asarray(crop, np.float32) / 255)
        if float(found["Identity_1"].reshape(-1)[0]) < -math.log(1 / _SURE - 1):
            return None
        points = found["Identity"].reshape(478, 3).astype(np.float64)
        placed = np.stack(
            [
                corner[0] + cosine * points[:, 0] - sine * points[:, 1],
                corner[1] + sine * points[:, 0] + cosine * points[:, 1],
                step * points[:, 2],
            ],
            axis=1,
        )
        return placed if np.isfinite(placed).all() else None

    def _described(self, points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        networks = self.networks
        shapes = _run(networks.shapes, points[_READ, :2].astype(np.float32))
        rotation = _rotation(networks.canonical, points[networks.basis] * (1, -1, -1), networks.weights)
        yaw = math.atan2(rotation[0, 2], rotation[2, 2])
        pitch = math.asin(min(max(rotation[1, 2], -1.0), 1.0))
        roll = math.atan2(rotation[1, 0], rotation[1, 1])
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        middle = (low + high) / 2 / size
        values = [
            *next(iter(shapes.values())).reshape(-1).tolist(),
            *map(math.degrees, (yaw, pitch, roll)),
            *middle.tolist(),
            (high - low)[1] / size[1],
        ]
        return np.array(values, np.float32), (points / (size[0], size[1], size[0])).astype(np.float32)


def _grid(cells: int, each: int) -> np.ndarray:
    """Return the middles of a grid's cells, each several times, as shares of the picture: (anchors, 2)."""
    y, x = np.mgrid[:cells, :cells]
    middles = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
    return np.repeat(middles, each, axis=0)


def _turn(right: np.ndarray, left: np.ndarray) -> float:
    """Return how far the line between the eyes is turned clockwise."""
    return math.atan2(float(left[1] - right[1]), float(left[0] - right[0]))


def _around(points: np.ndarray) -> _Region:
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    middle = (low + high) / 2
    side = float((high - low).max()) * _MARGIN
    return _Region(float(middle[0]), float(middle[1]), side, _turn(points[_EYES[0]], points[_EYES[1]]))


def _lies_on(region: _Region, points: np.ndarray) -> bool:
    """Tell whether the middle of a region is within a face."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return bool(low[0] <= region.x <= high[0] and low[1] <= region.y <= high[1])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the shared area of two boxes, each given by its middle and its size, as a share of all that they cover."""
    low = np.maximum(one[0] - one[1] / 2, other[0] - other[1] / 2)
    high = np.minimum(one[0] + one[1] / 2, other[0] + other[1] / 2)
    shared = float(np.clip(high - low, 0, None).prod())
    return shared / max(float(one[1].prod() + other[1].prod()) - shared, 1e-9)


def _rotation(canonical: np.ndarray, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rotation that turns the canonical points nearest to others, whatever their scale and place."""
    share = (weights / weights.sum())[:, None]
    one = canonical - np.sum(share * canonical, axis=0)
    other = points - np.sum(share * points, axis=0)
    left, _, right = np.linalg.svd(np.einsum("pi,pj->ij", share * other, one))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    return np.einsum("ik,k,kj->ij", left, sign, right)


def _interpreter(content: bytes) -> Any:
    with needs("clips", "Finding faces"):
        from ai_edge_litert.interpreter import Interpreter
    with _quiet():
        network = Interpreter(model_content=content, num_threads=1)
        network.allocate_tensors()
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a library tells the error stream on its own account away from it."""
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        yield
        return
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        for one in (kept, nowhere):
            with suppress(OSError):
                os.close(one)


def _run(network: Any, value: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a network makes of one input, by the names of its outputs."""
    network.set_tensor(network.get_input_details()[0]["index"], np.ascontiguousarray(value[None], np.float32))
    network.invoke()
    return {one["name"]: network.get_tensor(one["index"]) for one in network.get_output_details()}


def _canonical(content: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places, numbers and weights of the landmarks by which a face's pose is measured.

    The bytes are pinned, so this reads no more of the format than they have: a mesh of five numbers per point, of
    which the first three are its place, and pairs of a landmark and its weight.
    """
    mesh: list[float] = []
    basis: list[tuple[int, float]] = []
    for number, value in _fields(content):
        if number == 1 and isinstance(value, bytes):
            for inner, part in _fields(value):
                if inner == 3 and isinstance(part, bytes):
                    mesh += struct.unpack(f"<{len(part) // 4}f", part)
        if number == 2 and isinstance(value, bytes):
            found = dict(_fields(value))
            landmark, weight = found.get(1, 0), found.get(2)
            if isinstance(landmark, int) and isinstance(weight, bytes):
                basis.append((landmark, struct.unpack("<f", weight)[0]))
    places = np.array(mesh, np.float64).reshape(-1, 5)[:, :3]
    numbers = np.array([number for number, _ in basis])
    return places[numbers], numbers, np.array([weight for _, weight in basis])


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Go through the fields of a message of protocol buffers: whole numbers, and bytes of everything else."""
    place = 0

    def whole() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(content):
        key = whole()
        if key & 7 == 0:
            yield key >> 3, whole()
            continue
        size = whole() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
        yield key >> 3, content[place : place + size]
        place += size
