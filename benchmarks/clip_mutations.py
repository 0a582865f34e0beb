"""Mutated films and recordings, and what decoding makes of them in a process with limits, for `serving.py`.

Each mutation has a number, from which the clip and what is done to it follow.
"""

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from qinn.errors import ClipError
from qinn.features.clip import Limits, decode

RATE = 16_000
KINDS = {
    "a.mp4": ("mpeg4", "aac"),
    "b.mkv": ("mpeg4", "flac"),
    "c.webm": ("libvpx", "libopus"),
    "d.avi": ("mjpeg", "pcm_s16le"),
    "e.wav": (None, "pcm_s16le"),
    "f.ogg": (None, "libopus"),
    "g.flac": (None, "flac"),
    "h.mp3": (None, "libmp3lame"),
}
"""Name → codec of pictures and of sound."""
REFUSED, READ, FOREIGN = "refused", "read", "foreign exception"


def write_film(
    path: Path, video: str | None, audio: str, *, seconds: float = 2.0, size: tuple[int, int] = (160, 120)
) -> Path:
    """Write a clip with noise that moves and a tone that rises."""
    import av

    random_numbers = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        film: Any = None
        if video is not None:
            film = container.add_stream(video, rate=12)
            film.width, film.height = size
            film.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        track: Any = container.add_stream(audio, rate=48_000 if "opus" in audio else RATE, layout="mono")
        ground = random_numbers.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        for number in range(round(12 * seconds) if film is not None else 0):
            pixels = np.kron(np.roll(ground, number, axis=1), np.ones((8, 8, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(film.encode(frame))
        if film is not None:
            container.mux(film.encode())
        rate = track.rate
        times = np.arange(round(seconds * rate)) / rate
        samples = (8000 * np.sin(2 * np.pi * (150 + 60 * times) * times)).astype(np.int16)
        resampler = av.AudioResampler(track.format.name, "mono", rate, frame_size=track.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate, frame.pts = rate, 0
        for one in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(one))
        container.mux(track.encode())
    return path


def originals(folder: Path, *, seconds: float = 1.0, size: tuple[int, int] = (64, 48)) -> dict[str, bytes]:
    """Return a clip of each kind, written once."""
    found = {}
    for name, (video, audio) in KINDS.items():
        path = folder / name
        if not path.exists():
            write_film(path, video, audio, seconds=seconds, size=size)
        found[name] = path.read_bytes()
    return found


def mutated(clips: dict[str, bytes], number: int) -> tuple[str, bytes, str]:
    """Return the name of a clip, what it became, and what was done to it."""
    chance = random.Random(number)
    name = sorted(clips)[number % len(clips)]
    content = bytearray(clips[name])
    done = chance.choice(("bits", "head", "truncated", "spliced", "repeated", "zeros", "numbers"))
    if done in ("bits", "head"):
        last = min(512, len(content)) if done == "head" else len(content)
        for _ in range(chance.choice((1, 4, 16, 64))):
            content[chance.randrange(last)] ^= 1 << chance.randrange(8)
    elif done == "truncated":
        del content[chance.randrange(len(content)) :]
    elif done == "spliced":
        other = clips[chance.choice(sorted(clips))]
        content[chance.randrange(len(content)) :] = other[chance.randrange(len(other)) :]
    elif done == "repeated":
        at, size = chance.randrange(len(content)), chance.choice((4, 64, 1024))
        content[at:at] = content[at : at + size] * chance.choice((1, 8, 64))
    elif done == "zeros":
        at, size = chance.randrange(len(content)), chance.choice((4, 64, 1024))
        content[at : at + size] = bytes(min(size, len(content) - at))
    else:
        # Lengths and counts at their ends, where containers keep them.
        for _ in range(chance.choice((1, 2, 8))):
            at = chance.randrange(max(1, min(len(content), 4096) - 8))
            size = chance.choice((2, 4, 8))
            value = chance.choice((0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1))
            content[at : at + size] = value.to_bytes(size, chance.choice(("big", "little")))
    return name, bytes(content), done


_clips: dict[str, dict[str, bytes]] = {}


def do(job: dict[str, Any], tell: Any) -> dict[str, str]:
    """Decode a mutated clip, as a job of `qinn.experiment.workers`: its number, the originals' folder, a place."""
    folder = job["folder"]
    if folder not in _clips:
        _clips[folder] = originals(Path(folder))
    name, content, done = mutated(_clips[folder], job["number"])
    path = Path(job["place"])
    path.write_bytes(content)
    try:
        decode(path, see=lambda picture: None, name=name, limits=Limits(max_seconds=20.0))
    except ClipError as error:
        sentence = str(error)
        is_named = f"`{name}`" in sentence and str(path) not in sentence
        return {"outcome": REFUSED if is_named else FOREIGN, "detail": sentence, "done": done}
    except Exception as error:  # noqa: BLE001 - what is looked for
        return {"outcome": FOREIGN, "detail": f"{type(error).__name__}: {error}", "done": done}
    return {"outcome": READ, "detail": "", "done": done}
