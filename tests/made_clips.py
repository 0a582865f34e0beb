"""Clips made at test time: pictures, sound and containers of any kind, with known answers."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

RATE = 16_000
FACE = (64, 48, 320, 240)


def tone(seconds: float, hertz: float, rate: int = RATE, gain: float = 0.4) -> np.ndarray:
    """A sine, one channel."""
    return (gain * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def voice(seconds: float, hertz: float, rate: int = RATE, gain: float = 0.3) -> np.ndarray:
    """A buzz of a given pitch through three formants: a vowel that a pitch tracker must follow."""
    count = round(seconds * rate)
    phase = 2 * np.pi * np.cumsum(np.full(count, hertz)) / rate
    total = np.zeros(count)
    for harmonic in range(1, int(4000 / hertz)):
        strength = sum(
            np.exp(-((harmonic * hertz - formant) ** 2) / (2 * 90**2)) for formant in (600, 1200, 2500)
        )
        total += (strength + 0.02) * np.sin(harmonic * phase) / harmonic**0.5
    return (gain * total / np.abs(total).max()).astype(np.float32)


def gray(levels: Iterable[float], size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Plain pictures of given brightness, 0 to 255."""
    return [np.full((size[1], size[0], 3), round(level), np.uint8) for level in levels]


def corner(size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A dark picture whose upper left corner is bright."""
    picture = np.full((size[1], size[0], 3), 16, np.uint8)
    picture[: size[1] // 2, : size[0] // 2] = 235
    return picture


def write_clip(
    path: Path,
    pictures: Sequence[np.ndarray] = (),
    sound: np.ndarray | None = None,
    *,
    fps: int = 25,
    times: Sequence[float] | None = None,
    rate: int = RATE,
    video: str = "mpeg4",
    audio: str = "aac",
    sound_at: float = 0.0,
    layout: str | None = None,
) -> Path:
    """Write a clip.

    Args:
        path: Where; its suffix says the container.
        pictures: Each of shape (height, width, 3).
        sound: Of shape (samples,) or (channels, samples).
        fps: Pictures a second.
        times: When each picture is shown, in place of that.
        rate: Samples a second.
        video: Codec of the pictures.
        audio: Codec of the sound.
        sound_at: When the sound begins.
        layout: Of the channels.
    """
    import av

    with av.open(str(path), "w") as container:
        film = track = None
        if len(pictures):
            film = container.add_stream(video, rate=fps)
            film.height, film.width = pictures[0].shape[:2]
            film.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            film.bit_rate = 2_000_000
            ticks = fps if times is None else 1000
            film.codec_context.time_base = Fraction(1, ticks)
        if sound is not None:
            sound = np.atleast_2d(sound)
            layout = layout or {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(sound)]
            track = container.add_stream(audio, rate=rate, layout=layout)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            seconds = number / fps if times is None else times[number]
            frame.pts, frame.time_base = round(seconds * ticks), Fraction(1, ticks)
            container.mux(film.encode(frame))
        if film is not None:
            container.mux(film.encode())
        if track is not None:
            at_once = 1024
            for start in range(0, sound.shape[1], at_once):
                part = np.ascontiguousarray(sound[:, start : start + at_once], np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(sound_at * rate)
                container.mux(track.encode(frame))
            container.mux(track.encode())
    return path


def turned(path: Path, to: Path, degrees: int) -> Path:
    """Copy an mp4 file with pictures that are to be turned clockwise when they are shown, as telephones write it."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    one = 0x10000
    cosine, sine = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    content[at : at + 36] = struct.pack(">9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 0x40000000)
    to.write_bytes(content)
    return to


def draw_face(
    size: tuple[int, int] = (320, 240),
    *,
    smile: float = 0.0,
    jaw: float = 0.0,
    at: tuple[float, float] = (0.5, 0.5),
    scale: float = 0.8,
) -> np.ndarray:
    """A drawn face, which detectors take for one.

    Args:
        size: Width and height of the picture.
        smile: −1 to 1.
        jaw: How far the mouth is open, 0 to 1.
        at: Where its middle is, as shares of width and height.
        scale: Its height, as a share of the picture's.
    """
    from PIL import Image, ImageDraw

    width, height = size
    image = Image.new("RGB", size, (90, 110, 130))
    draw = ImageDraw.Draw(image)
    tall = scale * height / 2
    wide = 0.75 * tall
    x, y = at[0] * width, at[1] * height

    def oval(dx: float, dy: float, rx: float, ry: float, fill: tuple[int, int, int]) -> None:
        box = (x + (dx - rx) * wide, y + (dy - ry) * tall, x + (dx + rx) * wide, y + (dy + ry) * tall)
        draw.ellipse(box, fill=fill)

    oval(0, -0.15, 1.06, 1.0, (60, 40, 30))
    oval(0, 0, 1, 1, (224, 180, 150))
    for side in (-1, 1):
        oval(side * 0.4, -0.2, 0.2, 0.09, (250, 250, 250))
        oval(side * 0.4, -0.2, 0.08, 0.085, (50, 60, 40))
        box = (
            x + (side * 0.4 - 0.24) * wide,
            y - 0.45 * tall,
            x + (side * 0.4 + 0.24) * wide,
            y - 0.3 * tall,
        )
        draw.arc(box, 200, 340, fill=(60, 40, 30), width=max(2, round(tall / 22)))
    nose = [(x, y - 0.15 * tall), (x - 0.13 * wide, y + 0.2 * tall), (x + 0.13 * wide, y + 0.2 * tall)]
    draw.polygon(nose, fill=(205, 155, 125))
    corner_y, middle_y = 0.5 - 0.1 * smile, 0.5 + 0.1 * smile
    steps = np.linspace(-1, 1, 21)
    upper = [(x + 0.42 * s * wide, y + (middle_y + (corner_y - middle_y) * s * s) * tall) for s in steps]
    lower = [
        (
            x + 0.42 * s * wide,
            y + (middle_y + 0.06 + 0.35 * jaw * (1 - s * s) + (corner_y - middle_y) * s * s) * tall,
        )
        for s in steps
    ]
    draw.polygon([*upper, *lower[::-1]], fill=(150, 50, 50))
    if jaw > 0.1:
        oval(0, (middle_y + 0.03 + 0.17 * jaw), 0.25, 0.13 * jaw, (40, 10, 10))
    return np.asarray(image)
