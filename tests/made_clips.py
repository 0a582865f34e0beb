"""Clips made at test time: pictures, sound and containers of any kind, with known answers."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from qinn.data.synthetic.clips.face import draw_face

__all__ = ["RATE", "corner", "draw_face", "gray", "tone", "turned", "voice", "write_clip"]

RATE = 16_000


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
