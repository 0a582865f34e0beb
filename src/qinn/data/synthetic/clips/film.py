"""Pictures and a voice written as a film."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from qinn.atomic_writing import complete_file
from qinn.extras import needs

__all__ = ["write_film"]

_AT_ONCE = 1024


def write_film(
    path: Path, pictures: Iterable[np.ndarray], fps: int, sound: Float32[np.ndarray, " samples"], rate: int
) -> None:
    """Write an mp4 file of pictures (H.264) and one channel of sound (AAC); it appears complete or not at all.

    Args:
        path: Where.
        pictures: Each of shape (height, width, 3), both even.
        fps: Pictures a second.
        sound: The sound, within [−1, 1].
        rate: Samples a second.

    Raises:
        MissingPackageError: If PyAV is not installed.
    """
    with needs("clips", "Writing a film"):
        import av

    # FFmpeg without H.264 is rare, and has this one.
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        film = container.add_stream(codec, rate=fps)
        track = container.add_stream("aac", rate=rate, layout="mono")
        track.options = {"aac_coder": "fast"}
        film.thread_count = 1
        film.pix_fmt = "yuv420p"
        if codec == "libx264":
            film.options = {"crf": "20", "preset": "veryfast"}
        else:
            film.bit_rate = 1_000_000
        film.codec_context.time_base = Fraction(1, fps)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if not number:
                film.width, film.height = frame.width, frame.height
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(film.encode(frame))
        container.mux(film.encode())
        for start in range(0, len(sound), _AT_ONCE):
            part = np.ascontiguousarray(sound[None, start : start + _AT_ONCE], np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
            container.mux(track.encode(frame))
        container.mux(track.encode())
    with complete_file(path, overwrite=True) as stream:
        stream.write(content.getvalue())
