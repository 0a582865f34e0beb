"""A clip, decoded in one pass: its sound as one channel at 16 kHz, its pictures upright, everything with its time.

Times are those of the container, so pictures of an uneven rate and a sound track that begins late keep their places;
they are counted from where the clip, or what is cut out of it, begins. A file of others is opened with as little trust
as possible: no name reaches the decoder, no network, no playlist, and what is too long, too large or of too many
channels is refused before work begins, or as soon as it shows.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from qinn.errors import ClipError, ConfigError
from qinn.extras import needs
from qinn.file_kinds import file_kind
from qinn.opening import open_regular

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame

__all__ = [
    "CLIP_SUFFIXES",
    "RATE",
    "Decoded",
    "Limits",
    "Picture",
    "Sound",
    "decode",
]

RATE = 16_000
"""Samples a second of decoded sound."""

CLIP_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi"),
    *(".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".ogv", ".opus", ".mka"),
)
"""How files are called that a folder of clips is searched for."""

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav,flac,mp3,aac,ogg"
_READ = "mp4, mov, mkv, webm, avi, wav, flac, mp3, aac and ogg"
_JUMP = 0.05
"""Seconds by which a time stamp may differ from where sound went on before that is a gap."""
_LONGEST_SIDE = 640
_SHORTEST = 0.05
_PREROLL = 1.0
_CONTENTS = ("video", "sound", "image")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a clip may have.

    Attributes:
        max_seconds: Duration of a clip, or of what is cut out of it.
        max_pixels: Pixels of a picture.
        max_channels: Channels of its sound.
        max_streams: Streams in the file.
        max_frame_rate: Pictures a second, on average.
    """

    max_seconds: float = 600.0
    max_pixels: int = 4096 * 2304
    max_channels: int = 16
    max_streams: int = 16
    max_frame_rate: float = 250.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ConfigError(f"Argument `{name}` must be a number above 0, but it is {value}.")


@dataclass(frozen=True)
class Picture:
    """One picture of a clip, upright, with square pixels and at most 640 of them along its longer side.

    Attributes:
        seconds: When it is shown.
        pixels: Red, green and blue.
    """

    seconds: float
    pixels: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Sound:
    """The sound of a clip: one channel, 16,000 samples a second, within [−1, 1].

    Attributes:
        begin: When the first sample is heard, in seconds.
        samples: The samples.
        gaps: Where there is no sound between its beginning and its end, in seconds; the samples there are zero.
    """

    begin: float
    samples: Float32[np.ndarray, " _"]
    gaps: tuple[tuple[float, float], ...] = ()

    @property
    def end(self) -> float:
        """When the last sample has been heard."""
        return self.begin + len(self.samples) / RATE


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What was found in a clip.

    Attributes:
        seconds: How long it is, as far as it could be decoded.
        stated: How long the file says that it is, or what was to be decoded of it; None where that is not known.
        sound: Its sound; None if it has none, or none was asked for.
        num_pictures: Pictures that were handed over.
        num_frames: Pictures that were decoded.
        decode_errors: Parts of the file that could not be decoded.
        container: Format of the file.
        picture: Width and height as shown, and rotation in degrees; None without pictures.
        codecs: Codec of each stream that was read.
    """

    seconds: float
    stated: float | None
    sound: Sound | None
    num_pictures: int
    num_frames: int
    decode_errors: int
    container: str
    picture: tuple[int, int, int] | None
    codecs: tuple[str, ...]


def decode(
    path: Path | str,
    *,
    see: Callable[[Picture], object] | None = None,
    listen: bool = True,
    fps: float = 10.0,
    begin: float | None = None,
    end: float | None = None,
    limits: Limits | None = None,
    name: str | None = None,
    progress: Callable[[float, float | None], object] | None = None,
) -> Decoded:
    """Decode a clip, or what lies between two moments of it, in one pass.

    Args:
        path: A regular file, known by its content and not by its name.
        see: Takes each picture, in the order of time; None to leave pictures out. At most one is handed over for every
            1/fps seconds: the first one in each.
        listen: Whether to decode the sound.
        fps: Pictures a second that are wanted.
        begin: Where to begin, in seconds; all times are counted from there.
        end: Where to end.
        limits: What it may have.
        name: What the clip is called in messages; by default its path.
        progress: Told how many seconds are done, and of how many, where the file says it.

    Returns:
        What was found; the file may lack pictures or sound, but not both.

    Raises:
        ClipError: If the file cannot be read as a clip, or is beyond a limit.
        ConfigError: If an argument makes no sense.
        MissingPackageError: If PyAV is not installed.
    """
    if not 0 < fps <= 1000:
        raise ConfigError(f"Argument `fps` must be above 0 and at most 1000, but it is {fps}.")
    first = 0.0 if begin is None else begin
    last = math.inf if end is None else end
    if not 0 <= first < last or not math.isfinite(first):
        raise ConfigError(
            f"Arguments `begin` and `end` must be moments of a clip, in order, but they are {begin} and {end}."
        )
    called = str(path) if name is None else name
    with _container(path, called) as container:
        work = _Pass(container, called, limits or Limits(), first, last)
        work.choose(see is not None, listen)
        work.run(see, fps, progress)
        return work.result()


def _av():
    with needs("clips", "Reading clips"):
        import av
        import av.error
        import av.stream
        import av.video.reformatter

    return av


@contextmanager
def _container(path: Path | str, name: str) -> "Iterator[InputContainer]":
    av = _av()
    try:
        # An open stream in place of a path: there is nothing that a name, a link or a protocol could lead astray.
        stream = open_regular(path)
    except OSError as error:
        raise ClipError(f"`{name}` cannot be read: {error.strerror or error}.") from error
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", "max_streams": "1000"}
    with closing(stream):
        try:
            try:
                opened = av.open(stream, "r", options=options)
            except UnicodeDecodeError:  # names of tracks in another encoding, which nobody asks for
                stream.seek(0)
                opened = av.open(stream, "r", options=options, metadata_encoding="latin-1")
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise ClipError(f"`{name}` is no clip that can be read: {_why(path)}.") from error
        with opened:
            yield opened


def _why(path: Path | str) -> str:
    """Say what a file is that could not be opened, as the end of a sentence."""
    try:
        kind = file_kind(path)
    except OSError:
        kind = None
    if kind is None:
        return f"its content is damaged, or none of {_READ}"
    title = kind.title.removesuffix(" and no features")
    if kind.name in _CONTENTS and kind.name != "image":
        return f"it begins as {title}, but is damaged or ends too early; copy or download it again"
    return f"it is {title}; {kind.remedy_of(path) or 'choose a film or a recording'}"


@dataclass
class _Segment:
    """Sound without a gap."""

    begin: float
    pieces: list[np.ndarray] = field(default_factory=list)
    heard: float = 0.0


class _Pass:
    """One pass through an open container."""

    def __init__(
        self, container: "InputContainer", name: str, limits: Limits, first: float, last: float
    ) -> None:
        self.container, self.name, self.limits = container, name, limits
        self.first, self.last = first, last
        self.origin = Fraction(container.start_time or 0, 1_000_000)
        self.duration = _stated_seconds(container)
        self.errors = self.num_frames = self.num_pictures = 0
        self.reached = 0.0
        self.size: tuple[int, int, int] | None = None
        self.video: Any = None
        self.audio: Any = None
        # One for all pictures, since it keeps what it once prepared for their size.
        self._reformatter: Any = _av().video.reformatter.VideoReformatter()
        self._segments: list[_Segment] = []
        self._resampler: Any = None
        self._format: tuple[str, int, int, str] | None = None
        self._shown = -math.inf
        self._due = -math.inf
        self._done: set[int] = set()

    def refuse(self, why: str) -> ClipError:
        return ClipError(f"`{self.name}` {why}.")

    def choose(self, see: bool, listen: bool) -> None:
        """Choose the streams, and refuse what is beyond a limit by what the file says of itself."""
        streams = list(self.container.streams)
        if len(streams) > self.limits.max_streams:
            raise self.refuse(
                f"has {len(streams)} streams, but at most {self.limits.max_streams} are read; keep one of pictures and "
                "one of sound"
            )
        # Covers of records are pictures, but no film; and a stream without a context is one of an unknown codec.
        found = self.container.streams
        films = [one for one in found.video if one.codec_context is not None and not _is_cover(one)]
        sounds = [one for one in found.audio if one.codec_context is not None]
        if not films and not sounds:
            unknown = ", or none of a codec that is read" if found.video or found.audio else ""
            raise self.refuse(f"has neither pictures nor sound{unknown}; choose a film or a recording")
        wanted = (
            (self.duration or 0.0) if math.isinf(self.last) else min(self.last, self.duration or math.inf)
        )
        if wanted - self.first > self.limits.max_seconds:
            raise self._too_long(wanted - self.first)
        if self.duration is not None and self.duration <= self.first and self.first > 0:
            raise self.refuse(
                f"is {self.duration:.2f} s long, so nothing begins at {self.first:g} s; begin earlier"
            )
        for film in films[:1]:
            context = film.codec_context
            self._check_size(context.width, context.height)
        for sound in sounds[:1]:
            self._check_channels(sound.codec_context.channels)
        self.video = films[0] if films and see else None
        self.audio = sounds[0] if sounds and listen else None
        for stream in (self.video, self.audio):
            if stream is not None:
                # The same bytes whatever the machine, and one clip takes one core.
                stream.thread_type = "NONE"
                stream.codec_context.thread_count = 1
                stream.codec_context.options = {"max_pixels": str(self.limits.max_pixels)}

    def _too_long(self, seconds: float) -> ClipError:
        return self.refuse(
            f"is {seconds:.0f} s long, but at most {self.limits.max_seconds:g} s are read; take a part of it by "
            "`begin` and `end`"
        )

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.limits.max_pixels:
            raise self.refuse(
                f"has pictures of {width} × {height} pixels, more than the {self.limits.max_pixels:,} that are read; "
                "make them smaller"
            )

    def _check_channels(self, channels: int) -> None:
        if not 1 <= channels <= self.limits.max_channels:
            if channels < 1:
                raise self.refuse("does not say how many channels its sound has; copy or download it again")
            raise self.refuse(
                f"has {channels} channels of sound, but at most {self.limits.max_channels} are read; mix them down"
            )

    def run(
        self,
        see: Callable[[Picture], object] | None,
        fps: float,
        progress: Callable[[float, float | None], object] | None,
    ) -> None:
        """Decode until the end, handing pictures over."""
        av = _av()

        streams = [one for one in (self.video, self.audio) if one is not None]
        if not streams:
            return
        if self.first > _PREROLL:
            self._seek()
        for packet in self._packets(streams):
            if packet.stream.index in self._done:
                continue
            try:
                frames: Sequence[Any] = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.errors += 1
                continue
            for frame in frames:
                if packet.stream is self.video:
                    self._picture(frame, see, fps)
                else:
                    self._sound(frame)
            if progress is not None:
                progress(self.reached, self._expected())
            if len(self._done) == len(streams):
                break
        self._flush()

    def _expected(self) -> float | None:
        last = min(self.last, math.inf if self.duration is None else self.duration)
        return None if math.isinf(last) else last - self.first

    def _stated(self) -> float | None:
        """Return how many seconds there should be; None where a stream that was not decoded may be the longest."""
        decoded = sum(one is not None for one in (self.video, self.audio))
        is_whole = decoded == sum(not _is_cover(one) for one in self.container.streams)
        is_guessed = self.container.format.name in ("mp3", "aac")
        return self._expected() if is_whole and not is_guessed else None

    def _seek(self) -> None:
        """Go back to a picture that stands by itself, some way before the beginning."""
        av = _av()

        try:
            self.container.seek(int((self.first - _PREROLL + self.origin) * 1_000_000), backward=True)
        except (av.error.FFmpegError, OSError):
            self.errors += 1

    def _packets(self, streams: list[Any]) -> "Iterator[Packet]":
        av = _av()

        packets = self.container.demux(streams)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError, ValueError):
                # What is damaged so that nothing behind it can be found ends the clip.
                self.errors += 1
                return

    def _time(self, frame: Any) -> float | None:
        """Return when a frame begins, from the beginning of what is wanted; None where the file does not say it."""
        if frame.pts is None or frame.time_base is None:
            return None
        return float(frame.pts * Fraction(frame.time_base) - self.origin) - self.first

    def _reach(self, seconds: float) -> None:
        if seconds > self.limits.max_seconds + 1:
            raise self._too_long(seconds)
        self.reached = max(self.reached, seconds)

    def _picture(self, frame: "VideoFrame", see: Callable[[Picture], object] | None, fps: float) -> None:
        rate = float(self.video.average_rate or 25)
        seconds = self._time(frame)
        if seconds is None:
            seconds = max(self._shown, 0.0) + 1 / rate if math.isfinite(self._shown) else 0.0
        if seconds <= self._shown:
            self.errors += 1
            return
        self._shown = seconds
        if seconds >= self.last - self.first:
            self._done.add(self.video.index)
            return
        self._check_size(frame.width, frame.height)
        if seconds < -1e-6:
            return
        self.num_frames += 1
        if self.num_frames > self.limits.max_frame_rate * (seconds + 2):
            raise self.refuse(
                f"has more than {self.limits.max_frame_rate:g} pictures a second, which are not read; write it "
                "with fewer"
            )
        self._reach(min(seconds + 1 / rate, self.last - self.first))
        if seconds < self._due or see is None:
            return
        # The next one is the first behind the next line of the grid; half a microsecond for round-off.
        self._due = (math.floor((seconds + 5e-7) * fps) + 1) / fps - 5e-7
        self.num_pictures += 1
        see(Picture(max(seconds, 0.0), self._upright(frame)))

    def _upright(self, frame: "VideoFrame") -> np.ndarray:
        aspect = self.video.sample_aspect_ratio or 1
        aspect = float(aspect) if 0.1 < aspect < 10 else 1.0
        width, height = frame.width * max(aspect, 1.0), frame.height / min(aspect, 1.0)
        scale = min(1.0, _LONGEST_SIDE / max(width, height))
        pixels = self._reformatter.reformat(
            frame,
            format="rgb24",
            width=max(2, round(width * scale)),
            height=max(2, round(height * scale)),
            interpolation="AREA" if scale < 1 else "BILINEAR",
        ).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        if self.size is None:
            shown = (round(height), round(width)) if turns % 2 else (round(width), round(height))
            self.size = (*shown, turns * 90)
        return pixels

    def _sound(self, frame: "AudioFrame") -> None:
        if not frame.samples:
            return
        layout = frame.layout
        self._check_channels(layout.nb_channels)
        segment = self._segments[-1] if self._segments else None
        seconds = self._time(frame)
        expected = 0.0 if segment is None else segment.begin + segment.heard
        if seconds is None:
            seconds = expected
        form = (frame.format.name, frame.sample_rate, layout.nb_channels, layout.name)
        if segment is None or form != self._format or abs(seconds - expected) > _JUMP:
            self._flush()
            self._format = form
            segment = _Segment(seconds)
            self._segments.append(segment)
        if seconds >= self.last - self.first:
            self._done.add(self.audio.index)
            return
        segment.heard += frame.samples / frame.sample_rate
        self._reach(min(segment.begin + segment.heard, self.last - self.first))
        segment.pieces += self._resampled(frame)

    def _resampled(self, frame: "AudioFrame | None") -> list[np.ndarray]:
        """Return a frame, or at the end what the filter still holds, as one channel at 16 kHz."""
        av = _av()

        if self._resampler is None:
            self._resampler = av.AudioResampler("flt", "mono", RATE)
        if frame is not None:
            frame = _one_channel(frame)
            frame.pts = None
        found = self._resampler.resample(frame)
        return [one.to_ndarray().reshape(-1) for one in found if one.samples]

    def _flush(self) -> None:
        if self._resampler is not None and self._segments:
            self._segments[-1].pieces += self._resampled(None)
        self._resampler = None

    def result(self) -> Decoded:
        """Return what was found.

        Raises:
            ClipError: If nothing was.
        """
        sound = self._joined()
        if self.video is None and self.audio is None:
            asked = "sound" if self.container.streams.video else "pictures"
            raise self.refuse(f"has no {asked}, and nothing else was asked for")
        if not self.num_frames and sound is None:
            raise self.refuse(
                "has nothing that can be decoded: it is damaged, or made by a codec that is not read"
            )
        if self.reached < _SHORTEST or (self.num_frames == 1 and sound is None):
            raise self.refuse(
                "has no duration: it is a single picture, or a moment of sound; take a longer one"
            )
        return Decoded(
            seconds=round(self.reached, 6),
            stated=self._stated(),
            sound=sound,
            num_pictures=self.num_pictures,
            num_frames=self.num_frames,
            decode_errors=self.errors,
            container=str(self.container.format.name).split(",")[0],
            picture=self.size,
            codecs=tuple(one.codec_context.name for one in (self.video, self.audio) if one is not None),
        )

    def _joined(self) -> Sound | None:
        segments = [(one.begin, np.concatenate(one.pieces)) for one in self._segments if one.pieces]
        placed = [(round(begin * RATE), samples) for begin, samples in segments]
        stop = None if math.isinf(self.last) else round((self.last - self.first) * RATE)
        placed = [
            (max(place, 0), samples[max(-place, 0) : None if stop is None else max(stop - place, 0)])
            for place, samples in placed
        ]
        placed = [(place, samples) for place, samples in placed if len(samples)]
        if not placed:
            return None
        start = min(place for place, _ in placed)
        joined = np.zeros(max(place + len(samples) for place, samples in placed) - start, np.float32)
        covered = []
        for place, samples in placed:
            joined[place - start : place - start + len(samples)] = samples
            covered.append((place, place + len(samples)))
        bad = ~np.isfinite(joined)
        if bad.any():
            self.errors += 1
            joined[bad] = 0
        covered.sort()
        gaps = tuple(
            (one_end / RATE, other / RATE)
            for (_, one_end), (other, _) in pairwise(covered)
            if other - one_end > _JUMP * RATE
        )
        return Sound(start / RATE, np.clip(joined, -1, 1), gaps)


def _stated_seconds(container: "InputContainer") -> float | None:
    """Return how long a file says that it is, from its first moment on."""
    if container.duration is None:
        return None
    # Matroska counts to its last moment from 0 on, which may be hours before its first.
    before = max(container.start_time or 0, 0) if "matroska" in container.format.name else 0
    return (container.duration - (before if before < container.duration else 0)) / 1e6


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & _av().stream.Disposition.attached_pic)


def _one_channel(frame: "AudioFrame") -> "AudioFrame":
    """Return the mean of a frame's channels, where there are two or nobody knows where they belong."""
    av = _av()

    channels = frame.layout.nb_channels
    if channels == 1 or (channels > 2 and frame.layout.name in _LAYOUTS):
        return frame
    values = frame.to_ndarray()
    kind = values.dtype
    values = values if frame.format.is_planar else values.reshape(-1, channels).T
    if kind.kind in "iu":
        scale = float(2 ** (8 * kind.itemsize - 1))
        values = values.astype(np.float64) / scale - (1.0 if kind.kind == "u" else 0.0)
    mean = values.astype(np.float64).mean(axis=0, keepdims=True).astype(np.float32)
    mixed = av.AudioFrame.from_ndarray(np.ascontiguousarray(mean), "flt", "mono")
    mixed.sample_rate = frame.sample_rate
    return mixed


_LAYOUTS = frozenset(
    ("2.1", "3.0", "4.0", "quad", "5.0", "5.1", "5.0(side)", "5.1(side)", "6.1", "7.0", "7.1")
)
"""Layouts whose places are known, so that the decoder mixes them as films are mixed."""
