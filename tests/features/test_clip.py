"""Clips are decoded once, with the times of their container, and what is no clip is refused in one sentence."""

import os
import re
import socket
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.errors import ClipError, ConfigError
from qinn.features.clip import RATE, Decoded, Limits, Picture, decode

from ..clip_packages import needs_clips
from ..made_clips import corner, gray, tone, turned, voice, write_clip

pytestmark = needs_clips

CONTAINERS = [
    (".mp4", "libx264", "aac"),
    (".mov", "mjpeg", "pcm_s16le"),
    (".avi", "mpeg4", "pcm_s16le"),
    (".mkv", "mpeg4", "flac"),
    (".webm", "libvpx", "libopus"),
]


def seen(path: Path, **options: Any) -> tuple[Decoded, list[Picture]]:
    pictures: list[Picture] = []
    return decode(path, see=pictures.append, **options), pictures


@pytest.mark.parametrize(("suffix", "video", "audio"), CONTAINERS)
def test_every_container_gives_the_same_pictures_and_sound(tmp_path, suffix, video, audio):
    levels = np.linspace(20, 220, 50)
    rate = 48_000 if audio == "libopus" else RATE
    path = write_clip(
        tmp_path / f"a{suffix}", gray(levels), tone(2, 440, rate), rate=rate, video=video, audio=audio
    )
    found, pictures = seen(path)
    assert found.seconds == pytest.approx(2, abs=0.08)
    assert found.decode_errors == 0
    assert [round(one.seconds, 2) for one in pictures[:6]] == [0, 0.12, 0.2, 0.32, 0.4, 0.52]
    brightness = [one.pixels.mean() for one in pictures]
    assert brightness == pytest.approx(
        np.interp([one.seconds * 25 for one in pictures], range(50), levels), abs=4
    )
    sound = found.sound
    assert sound is not None
    assert not sound.gaps
    spectrum = np.abs(np.fft.rfft(sound.samples[RATE // 2 : 3 * RATE // 2]))
    assert spectrum.argmax() == 440
    assert np.sqrt(np.mean(sound.samples[RATE // 2 : 3 * RATE // 2] ** 2)) == pytest.approx(
        0.4 / 2**0.5, rel=0.03
    )


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_what_is_to_be_turned_is_upright(tmp_path, degrees):
    plain = write_clip(tmp_path / "plain.mp4", [corner()] * 30)
    upright = np.rot90(seen(plain)[1][0].pixels, -degrees // 90)
    found, pictures = seen(turned(plain, tmp_path / "turned.mp4", degrees))
    assert pictures[0].pixels.shape == upright.shape
    assert np.array_equal(pictures[0].pixels, upright)
    assert found.picture == ((64, 96) if degrees != 180 else (96, 64)) + (360 - degrees,)


def test_an_uneven_rate_keeps_its_times(tmp_path):
    # slow at first, then fast, then a jump
    times = [0, 0.3, 0.6, 0.64, 0.68, 0.72, 0.76, 1.5, 1.54, 1.58]
    path = write_clip(tmp_path / "a.mp4", gray(np.linspace(10, 240, 10)), times=times)
    _, pictures = seen(path, fps=25.0)
    assert [one.seconds for one in pictures] == pytest.approx(times, abs=2e-3)
    _, few = seen(path, fps=5.0)
    assert [one.seconds for one in few] == pytest.approx([0, 0.3, 0.6, 1.5], abs=2e-3)


@pytest.mark.parametrize("fps", [1.0, 7.0, 10.0, 25.0, 100.0])
def test_pictures_are_never_more_than_asked_for_and_in_order(tmp_path, fps):
    path = write_clip(tmp_path / "a.mp4", gray([50] * 75))
    _, pictures = seen(path, fps=fps)
    moments = [one.seconds for one in pictures]
    assert (np.diff(moments) > 0).all()
    cells = np.floor(np.array(moments) * fps + 1e-5)
    assert len(set(cells)) == len(cells) == min(3 * fps, 75)


def test_a_sound_track_that_begins_late_keeps_its_place(tmp_path):
    path = write_clip(tmp_path / "a.mkv", gray([50] * 75), tone(1.5, 440), audio="flac", sound_at=1.0)
    sound = decode(path, see=lambda picture: None).sound
    assert sound is not None
    assert sound.begin == pytest.approx(1.0, abs=0.01)
    assert sound.end == pytest.approx(2.5, abs=0.02)


def _wav(path: Path, channels: np.ndarray, rate: int, width: int = 2) -> Path:
    values = np.round(channels.T * (2 ** (8 * width - 1) - 1)).astype({2: "<i2", 4: "<i4"}[width])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(values.tobytes())
    return path


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [2, 3, 7])
def test_one_channel_is_the_same_as_several_of_it(tmp_path, rate, channels):
    sound = voice(1, 140, rate)[None]
    single = decode(_wav(tmp_path / "one.wav", sound, rate)).sound
    several = decode(_wav(tmp_path / "several.wav", np.repeat(sound, channels, 0), rate)).sound
    assert single is not None
    assert several is not None
    assert several.samples == pytest.approx(single.samples, abs=1e-6)
    assert len(single.samples) == pytest.approx(RATE, abs=2)


def test_silence_on_one_side_halves_the_sound(tmp_path):
    sound = voice(1, 140)
    both = decode(_wav(tmp_path / "a.wav", np.stack([sound, 0 * sound]), RATE)).sound
    assert both is not None
    assert both.samples == pytest.approx(sound / 2, abs=1e-4)


def test_sound_within_six_places_is_mixed(tmp_path):
    places = np.stack([tone(1, 100 * (1 + place)) for place in range(6)])
    path = write_clip(tmp_path / "a.mkv", sound=places, audio="flac")
    sound = decode(path).sound
    assert sound is not None
    spectrum = np.abs(np.fft.rfft(sound.samples[:RATE]))
    heard = [spectrum[100 * (1 + place)] for place in range(6)]
    # the bass alone is left out, as films are mixed
    assert min(heard[:3] + heard[4:]) > 10 * heard[3]


def test_a_cut_is_what_lies_between_two_moments(tmp_path):
    levels = np.linspace(20, 220, 100)
    sound = np.concatenate([tone(2, 300), tone(2, 600)])
    path = write_clip(tmp_path / "a.mkv", gray(levels), sound, audio="flac")
    whole, every = seen(path)
    found, pictures = seen(path, begin=1.6, end=3.0)
    assert found.seconds == pytest.approx(1.4, abs=1e-6)
    assert [one.seconds + 1.6 for one in pictures] == pytest.approx(
        [one.seconds for one in every if 1.6 <= one.seconds < 3.0], abs=1e-6
    )
    for one, other in zip(pictures, [one for one in every if 1.6 <= one.seconds < 3.0], strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert whole.sound is not None
    assert found.sound is not None
    assert found.sound.samples == pytest.approx(whole.sound.samples[round(1.6 * RATE) : 3 * RATE], abs=1e-4)


def test_a_gap_in_the_sound_is_told(tmp_path):
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for start, at in ((0, 0.0), (RATE, 1.0), (2 * RATE, 2.5)):
            part = np.round(tone(4, 440)[None, start : start + RATE] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, round(at * RATE)
            container.mux(track.encode(frame))
        container.mux(track.encode())
    sound = decode(path).sound
    assert sound is not None
    assert np.array(sound.gaps) == pytest.approx(np.array([[2.0, 2.5]]), abs=2e-3)
    assert not sound.samples[round(2.01 * RATE) : round(2.49 * RATE)].any()
    assert sound.end == pytest.approx(3.5, abs=2e-3)


def test_damage_is_counted_and_the_rest_read(tmp_path):
    path = write_clip(tmp_path / "a.mkv", gray(np.linspace(20, 220, 100)), voice(4, 150), audio="flac")
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(len(content) // 4, len(content), 400):
        content[place] ^= int(random.integers(1, 256))
    path.write_bytes(content)
    found, pictures = seen(path)
    assert found.decode_errors > 0
    assert len(pictures) > 5


def test_a_file_cut_short_is_read_as_far_as_it_goes(tmp_path):
    path = write_clip(tmp_path / "a.mkv", gray([90] * 100), voice(4, 150), audio="flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found, _ = seen(path)
    assert 0.5 < found.seconds < 3.9


def test_progress_reaches_the_end(tmp_path):
    told: list[tuple[float, float | None]] = []
    decode(
        write_clip(tmp_path / "a.mp4", gray([90] * 50), tone(2, 300)),
        see=lambda picture: None,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == pytest.approx(told[-1][1], abs=0.1)


def _png(path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (32, 32)).save(path, "PNG")
    return path


def _moov_missing(path: Path) -> Path:
    content = write_clip(path, gray([90] * 50)).read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])
    return path


def _written(content: bytes | str):
    def write(path: Path) -> Path:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def _link(path: Path) -> Path:
    path.symlink_to(path.with_name("nowhere.mp4"))
    return path


def _link_to_folder(path: Path) -> Path:
    path.with_name("folder").mkdir()
    path.symlink_to(path.with_name("folder"))
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    return path


def _zip(path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), a=np.zeros(3))
    return path.with_suffix(".npz").rename(path)


def _channels(path: Path) -> Path:
    return _wav(path, np.zeros((200, 800)), 8000)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
FAILURES = {
    "empty": (_written(b""), "it is an empty file"),
    "random": (_written(np.random.default_rng(0).bytes(50_000)), "its content is damaged, or none of mp4"),
    "zeros": (_written(bytes(50_000)), "a file of zeros"),
    "text": (_written("not a film"), "it is a text that begins with `not a film`"),
    "page": (_written("<html><title>Sign in</title></html>"), r"a web page \(`Sign in`\)"),
    "playlist": (_written(PLAYLIST), "it is a text that begins with `#EXTM3U`"),
    "list of files": (
        _written("ffconcat version 1.0\nfile /etc/hostname\n"),
        "a text that begins with `ffconcat",
    ),
    "subtitles": (_written("1\n00:00:00,000 --> 00:00:04,000\nHello\n"), "a text that begins with `1`"),
    "session description": (_written("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"), "`v=0`"),
    "photograph": (_png, r"it is an image \(PNG\); choose a film or a recording\.$"),
    "photograph of a telephone": (
        _written(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        "it is an image \\(HEIC\\)",
    ),
    "photograph of a page": (_written(b"RIFF\x20\0\0\0WEBPVP8 " + bytes(20)), "it is an image \\(WebP\\)"),
    "archive": (_zip, "it is an npz archive"),
    "no index": (_moov_missing, "damaged or ends too early"),
    "one picture": (lambda path: write_clip(path, gray([90])), "has no duration: it is a single picture"),
    "a moment": (lambda path: _wav(path, tone(0.01, 300)[None], RATE), "has no duration"),
    "no sample": (lambda path: _wav(path, np.zeros((1, 0)), RATE), "nothing that can be decoded|damaged"),
    "too many channels": (_channels, "has 200 channels of sound, but at most 16"),
    "absent": (lambda path: path, "cannot be read: No such file"),
    "link to nothing": (_link, "cannot be read: No such file"),
    "link to a folder": (_link_to_folder, "it is a folder"),
    "pipe": (_pipe, "it is a named pipe"),
    "socket": (_socket, "it is a socket"),
    "pointer": (
        _written("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
        "a pointer of Git LFS",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_no_clip_is_refused_in_one_sentence(tmp_path, name):
    make, sentence = FAILURES[name]
    path = make(tmp_path / "clip.mp4")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ClipError, match=sentence) as caught:
        decode(path, see=lambda picture: None)
    said = str(caught.value)
    assert said.startswith(f"`{path}` ")
    assert said.endswith(".")
    assert not re.search(r"\n|Errno|avformat|Invalid data|moov|\bav\b|0x", said)
    assert sorted(tmp_path.iterdir()) == before


def test_limits_are_kept_before_anything_is_decoded(tmp_path):
    path = write_clip(tmp_path / "a.mp4", gray([90] * 50), tone(2, 300))
    seen: list[Picture] = []
    for limits, sentence in (
        (Limits(max_seconds=1.0), "is 2 s long, but at most 1 s are read"),
        (Limits(max_pixels=1000), "has pictures of 64 × 48 pixels, more than the 1,000"),
        (Limits(max_streams=1), "has 2 streams, but at most 1 "),
    ):
        with pytest.raises(ClipError, match=sentence):
            decode(path, see=seen.append, limits=limits)
        assert not seen


def test_a_file_that_does_not_say_how_long_it_is_is_stopped_on_the_way(tmp_path):
    import av

    # Recorders of browsers do not know the duration when they begin to write, and never go back.
    path = tmp_path / "a.webm"
    with av.open(str(path), "w", format="matroska", options={"live": "1"}) as container:
        track = container.add_stream("flac", rate=RATE, layout="mono")
        for start in range(0, 8 * RATE, RATE):
            frame = av.AudioFrame.from_ndarray(tone(1, 300)[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(track.encode(frame))
        container.mux(track.encode())
    with av.open(str(path)) as container:
        assert container.duration is None
    with pytest.raises(ClipError, match="at most 3 s are read"):
        decode(path, limits=Limits(max_seconds=3.0))
    assert decode(path, begin=1.0, end=3.5, limits=Limits(max_seconds=3.0)).seconds == pytest.approx(
        2.5, abs=0.01
    )


def test_how_long_a_file_says_it_is_counts_from_its_first_moment(tmp_path):
    import av

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("flac", rate=RATE, layout="mono")
        for start in range(0, 4 * RATE, RATE):
            frame = av.AudioFrame.from_ndarray(tone(1, 300)[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts = RATE, start + 90_000 * RATE
            container.mux(track.encode(frame))
        container.mux(track.encode())
    found = decode(path, limits=Limits(max_seconds=5.0))
    assert (found.seconds, found.stated) == (pytest.approx(4.0, abs=0.01), pytest.approx(4.0, abs=0.1))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = decode(path, limits=Limits(max_seconds=5.0))
    assert found.seconds < 3
    assert found.stated == pytest.approx(4.0, abs=0.1)
    # A stream that is not looked at may be the longest.
    film = write_clip(tmp_path / "b.mp4", gray([90] * 50), tone(1, 300))
    assert decode(film).stated is None
    assert decode(film, see=lambda picture: None).stated == pytest.approx(2.0, abs=0.1)


def test_pictures_that_grow_on_the_way_are_not_looked_at(tmp_path):
    import av

    def encoded(path: Path, size: tuple[int, int]) -> list[bytes]:
        write_clip(path, gray([90] * 5, size), video="mjpeg", fps=10)
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux() if packet.size]

    packets = [*encoded(tmp_path / "small.avi", (64, 48)), *encoded(tmp_path / "large.avi", (256, 192))]
    path = tmp_path / "grows.mkv"
    with av.open(str(path), "w") as container:
        film = container.add_stream("mjpeg", rate=10)
        film.width, film.height, film.pix_fmt = 64, 48, "yuvj420p"
        film.codec_context.open()
        for number, content in enumerate(packets):
            packet = av.Packet(content)
            packet.stream, packet.time_base = film, Fraction(1, 10)
            packet.pts = packet.dts = number
            container.mux(packet)
    found, pictures = seen(path, limits=Limits(max_pixels=64 * 48))
    assert {picture.pixels.shape for picture in pictures} == {(48, 64, 3)}
    assert (found.num_frames, found.decode_errors) == (5, 5)


def test_too_many_pictures_a_second_are_refused(tmp_path):
    times = np.arange(700) / 1000
    path = write_clip(tmp_path / "a.mkv", gray([90] * 700, (16, 16)), times=list(times))
    with pytest.raises(ClipError, match="more than 250 pictures a second"):
        decode(path, see=lambda picture: None)


def test_the_content_counts_and_not_the_name(tmp_path):
    path = write_clip(tmp_path / "a.mp4", gray([90] * 50), tone(2, 300))
    other = path.rename(tmp_path / "a\tclip.txt")
    assert decode(other, see=lambda picture: None).num_pictures == 20
    link = tmp_path / "link"
    link.symlink_to(other)
    assert decode(link, see=lambda picture: None).num_pictures == 20


def test_the_name_in_messages_can_be_another(tmp_path):
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(ClipError, match=r"^`the clip` is no clip") as caught:
        decode(tmp_path / "secret", name="the clip")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0.0},
        {"fps": float("nan")},
        {"begin": -1.0},
        {"begin": 2.0, "end": 1.0},
        {"begin": float("inf")},
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(ConfigError, match="Argument"):
        decode(tmp_path / "a.mp4", **options)
    with pytest.raises(ConfigError, match="Argument `max_pixels`"):
        Limits(max_pixels=0)


def test_a_beginning_behind_the_end_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4", gray([90] * 50))
    with pytest.raises(ClipError, match=r"is 2\.00 s long, so nothing begins at 5 s"):
        decode(path, see=lambda picture: None, begin=5.0)
    with pytest.raises(ClipError, match="has no sound, and nothing else was asked for"):
        decode(path)


def test_an_unknown_codec_is_named_as_the_reason(tmp_path):
    path = write_clip(tmp_path / "a.mkv", gray([90] * 25))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_ZZZZ9/ISO/ASP"))
    with pytest.raises(ClipError, match="has neither pictures nor sound, or none of a codec that is read"):
        decode(path, see=lambda picture: None)


def _mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Return a file with bits turned, its head overwritten, its end cut off, or a number made extreme."""
    changed, kind = bytearray(content), random.integers(4)
    if kind == 0:
        for place in random.integers(0, len(changed), 20):
            changed[place] ^= 1 << int(random.integers(8))
    elif kind == 1:
        for place in random.integers(0, min(600, len(changed)), 20):
            changed[place] = int(random.integers(256))
    elif kind == 2:
        changed = changed[: random.integers(1, len(changed))]
    else:
        place = int(random.integers(0, len(changed) - 4))
        changed[place : place + 4] = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")[
            random.integers(3)
        ]
    return bytes(changed)


def test_mutated_files_are_read_or_refused_and_nothing_else(tmp_path):
    random = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for suffix, video, audio in CONTAINERS:
        rate = 48_000 if audio == "libopus" else RATE
        whole = write_clip(
            tmp_path / f"a{suffix}",
            gray(range(0, 150, 10)),
            tone(0.6, 300, rate),
            rate=rate,
            video=video,
            audio=audio,
        )
        for _ in range(40):
            (tmp_path / "mutated").write_bytes(_mutated(whole.read_bytes(), random))
            try:
                decode(tmp_path / "mutated", see=lambda picture: None)
                outcomes["read"] += 1
            except ClipError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 20
