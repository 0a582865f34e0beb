"""What do features of a clip cost? CPU seconds per minute of it, and the most memory that one process holds.

Clips are repeated in turn to the wanted duration without coding them anew, and their features are made in a process of
its own with one thread, as `qinn features extract` does; the stages are told apart by what is left out. With two clips
of other lengths the cost of loading the networks shows too. Sentences that are said again and again are taken for
inventions of the recogniser, so that hardly a word would be encoded and left out: with `--sentences`, espeak-ng says
those of a table's column `text` in place of the clips' own sound.

    python benchmarks/clips.py CLIP CLIP --seconds 60 300 --output benchmarks/results/clips.json

With `--run` each clip is also scored by a run, as it is and at these durations, as `qinn score` does it: a process of
its own reads the clip, and CPU time is that of both. With `--recodings` also in other containers, codecs, rates and
layouts: are the same words heard, and what does that change of the score?

    python benchmarks/clips.py CLIP CLIP --stages --seconds 60 300 --run RUN --recodings --output FILE
"""

import argparse
import contextlib
import csv
import hashlib
import itertools
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

STAGES = {
    "decoding": {"speech": "none", "sound": "none", "face": "pixels"},
    "sound": {"speech": "none", "sound": "acoustic", "face": "none"},
    "speech": {"speech": "whisper-tiny.en", "sound": "none", "face": "none"},
    "everything": {"speech": "whisper-tiny.en", "sound": "acoustic", "face": "face-mesh"},
}
ONE = """
import json, resource, sys, time
from pathlib import Path
from qinn.features.extraction import ClipOptions, Extractor
options = json.loads(sys.argv[2])
extractor = Extractor(ClipOptions(max_seconds=3600.0, **options))
extractor.load()
loaded = time.process_time()
features = extractor.extract(sys.argv[1])
print(json.dumps({
    "seconds of clip": features.quality.seconds,
    "CPU seconds to load": round(loaded, 2),
    "CPU seconds": round(time.process_time() - loaded, 2),
    "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    "words": features.quality.num_words,
    "face coverage": features.quality.face_coverage,
}))
"""

SCORED = """
import json, os, sys, threading, time
from pathlib import Path
from qinn.experiment.clip_process import ClipProcess
from qinn.experiment.clip_scoring import ClipScorer

def processes():
    mine = os.getpid()
    return [mine, *map(int, Path(f"/proc/{mine}/task/{mine}/children").read_text().split())]

def cpu_seconds():
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in processes()]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK") - watched

together = watched = 0.0
def watch():
    # Pages that both have count half for each; what this takes is no time of the scoring.
    global together, watched
    while True:
        texts = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in processes()]
        now = sum(int(text.partition("Pss:")[2].split()[0]) for text in texts) / 1024
        together, watched = max(together, now), time.thread_time()
        time.sleep(0.2)

def peaks():
    texts = [Path(f"/proc/{one}/status").read_text() for one in processes()]
    return [round(int(text.partition("VmHWM:")[2].split()[0]) / 1024) for text in texts]

threading.Thread(target=watch, daemon=True).start()
process = ClipProcess()
run, state, *clips = sys.argv[1:]
scorer = ClipScorer.load(run, extractor=process.extractor)
if state == "warm":
    # The networks that hear, see and read are loaded when they are first needed.
    scorer.score(clips[0], begin=0.0, end=3.0)
loaded = cpu_seconds()
for clip in clips:
    before = cpu_seconds()
    found = scorer.score(clip)
    outcome = found.outcome
    print(json.dumps({
        "run": scorer.name,
        "seconds of clip": found.seconds,
        "CPU seconds to load": round(loaded, 2),
        "CPU seconds": round(cpu_seconds() - before, 2),
        "peak MB of both processes together": round(together),
        "peak MB of the model, and of what reads the clip": peaks(),
        "words": " ".join(word.text for word in found.words),
        "face coverage": found.quality.face_coverage,
        "score": outcome.score,
        "interval": [outcome.low, outcome.high],
        "probability above 0": outcome.p_positive,
        "words that do most": [
            [word.text, round(word.effect, 3)]
            for word in sorted(found.words, key=lambda word: -abs(word.effect or 0.0))[:3]
            if word.effect is not None
        ],
        "score without": {one.modality: one.without for one in found.modalities},
        "warnings": list(found.warnings),
        "seconds by stage": found.provenance.seconds,
    }), flush=True)
process.close()
"""
RECODINGS: dict[str, dict[str, Any]] = {
    "mov, mpeg4, 48 kHz stereo": {"suffix": ".mov", "video": "mpeg4", "rate": 48000, "channels": 2},
    "mkv, h264, 44.1 kHz": {"suffix": ".mkv", "video": "libx264", "audio": "flac", "rate": 44100},
    "webm, vp8, opus": {"suffix": ".webm", "video": "libvpx", "audio": "libopus", "rate": 48000},
    "avi, mpeg4, mp3": {"suffix": ".avi", "video": "mpeg4", "audio": "libmp3lame", "rate": 44100},
    "15 pictures a second": {"suffix": ".mp4", "video": "libx264", "fps": 15},
    "50 pictures a second": {"suffix": ".mp4", "video": "libx264", "fps": 50},
    "turned by metadata": {"suffix": ".mp4", "video": "libx264", "turned": 90},
    "8 kHz": {"suffix": ".mkv", "video": "libx264", "audio": "flac", "rate": 8000},
}


def recoded(
    source: Path,
    target: Path,
    *,
    video: str,
    audio: str = "aac",
    rate: int = 16000,
    channels: int = 1,
    fps: int = 25,
    turned: int = 0,
) -> Path:
    """Write a clip anew, with other codecs, rates and channels."""
    import av
    import numpy as np

    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(str(source)) as film, av.open(str(target), "w") as written:
        pictures = written.add_stream(video, rate=fps)
        sound = written.add_stream(audio, rate=rate, layout=layout)
        resampler = av.AudioResampler(format=sound.format.name, layout=layout, rate=rate)
        if audio in ("aac", "libopus", "libmp3lame"):
            sound.bit_rate = 96_000
        shown = 0
        for frame in film.decode(film.streams.video[0], film.streams.audio[0]):
            if isinstance(frame, av.AudioFrame):
                for piece in resampler.resample(frame):
                    written.mux(sound.encode(piece))
                continue
            pixels = frame.to_ndarray(format="rgb24")
            pixels = np.ascontiguousarray(np.rot90(pixels, turned // 90))
            if not shown:
                pictures.height, pictures.width, pictures.pix_fmt = *pixels.shape[:2], "yuv420p"
                pictures.bit_rate = 3_000_000
            # As often as the new rate asks for: pictures are left out or shown again.
            while shown / fps <= frame.time + 1e-6:
                again = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                again.pts, again.time_base = shown, Fraction(1, fps)
                written.mux(pictures.encode(again))
                shown += 1
        for stream in (pictures, sound):
            written.mux(stream.encode())
    if turned:
        content = bytearray(target.read_bytes())
        at, one = content.index(b"tkhd") + 4 + 40, 0x10000
        content[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
        target.write_bytes(content)
    return target


TOGETHER = "peak MB of both processes together"


def scored(run: Path, clips: list[Path], state: str = "warm") -> list[dict[str, Any]]:
    """Score clips one after the other in a process of its own, and return what each took and came to.

    Args:
        run: The run.
        clips: The clips.
        state: `warm` where a few seconds were scored before, `fresh` as a command does it.
    """
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCORED, str(run), state, *map(str, clips)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for one in found:
        one["CPU seconds per minute"] = round(60 * one["CPU seconds"] / one["seconds of clip"], 2)
    return found


def compared(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Say how far a clip that was written anew is heard and scored otherwise."""
    low, high = first["interval"]
    width = None if low is None or high is None else high - low
    changed = abs(other["score"] - first["score"])
    is_same = _plain(first["words"]) == _plain(other["words"])
    return {
        "same words": is_same,
        **({} if is_same else {"words": other["words"]}),
        "score": other["score"],
        "change as share of the width": None if width is None else round(changed / width, 4),
    }


def _plain(text: str) -> list[str]:
    return re.sub(r"[^\w' ]", "", text.lower()).split()


def repeated(sources: list[Path], target: Path, seconds: float) -> Path:
    """Write clips of one coding in turn until they last long enough, packet by packet."""
    import av

    with contextlib.ExitStack() as opened:
        films = [opened.enter_context(av.open(str(source))) for source in sources]
        written = opened.enter_context(av.open(str(target), "w"))
        streams = {stream.index: written.add_stream_from_template(stream) for stream in films[0].streams}
        passed = 0.0
        for film in itertools.cycle(films):
            if passed >= seconds:
                break
            film.seek(0)
            for packet in film.demux():
                if packet.dts is None:
                    continue
                shift = round(passed / packet.time_base)
                packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
            passed += float(film.duration or 0) / 1e6
    return target


def spoken(sentences: list[str], target: Path, seconds: float) -> Path:
    """Have sentences said, one after the other, until that lasts long enough."""
    pieces, rate = bytearray(), 1
    for sentence in sentences:
        subprocess.run(["espeak-ng", "-w", str(target), sentence.lower()], check=True, capture_output=True)
        with wave.open(str(target)) as said:
            rate = said.getframerate()
            pieces += said.readframes(said.getnframes()) + bytes(rate)  # and half a second of silence
        if len(pieces) >= 2 * seconds * rate:
            break
    with wave.open(str(target), "wb") as written:
        written.setparams((1, 2, rate, 0, "NONE", ""))
        written.writeframes(pieces[: 2 * round(seconds * rate)])
    return target


def joined(pictures: Path, sound: Path, target: Path) -> Path:
    """Put the pictures of one file, as they are, and the sound of another into a film."""
    import av

    with av.open(str(pictures)) as film, av.open(str(sound)) as speech, av.open(str(target), "w") as written:
        shown = written.add_stream_from_template(film.streams.video[0])
        heard = written.add_stream("aac", rate=speech.streams.audio[0].rate, layout="mono")
        for packet in film.demux(film.streams.video[0]):
            if packet.dts is not None:
                packet.stream = shown
                written.mux(packet)
        for frame in speech.decode(speech.streams.audio[0]):
            written.mux(heard.encode(frame))
        written.mux(heard.encode())
    return target


def measured(clip: Path, options: dict[str, str]) -> dict[str, Any]:
    """Make the features of a clip in a process of its own, and return what that took."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ONE, str(clip), json.dumps(options)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    found["CPU seconds per minute"] = round(60 * found["CPU seconds"] / found["seconds of clip"], 2)
    return found


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0])
    parser.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--run", type=Path, action="append", default=[])
    parser.add_argument("--sentences", type=Path, help="a csv file with a column `text`")
    parser.add_argument("--recodings", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    started = time.perf_counter()
    sentences: list[str] = []
    if chosen.sentences:
        with chosen.sentences.open(newline="") as table:
            sentences = [row["text"] for row in csv.DictReader(table)]
    results: dict[str, Any] = {
        "clips": {clip.name: hashlib.sha256(clip.read_bytes()).hexdigest() for clip in chosen.clips}
    }
    with tempfile.TemporaryDirectory() as folder:
        for seconds in chosen.seconds:
            suffix = chosen.clips[0].suffix
            clip = repeated(chosen.clips, Path(folder) / f"long{suffix}", seconds)
            if chosen.sentences:
                speech = spoken(sentences, Path(folder) / "speech.wav", seconds)
                clip = joined(clip, speech, Path(folder) / f"spoken{suffix}")
            for stage in chosen.stages:
                results[f"{seconds:g} s, {stage}"] = found = measured(clip, STAGES[stage])
                print(f"{seconds:g} s, {stage}: {found}", flush=True)
            for run in chosen.run:
                [found] = scored(run, [clip])
                [alone] = scored(run, [clip], "fresh")
                found |= {f"{TOGETHER}, where nothing was scored before": alone[TOGETHER]}
                results[f"{seconds:g} s, scored by {found['run']}"] = found
                print(f"{seconds:g} s, scored by {found['run']}: {found}", flush=True)
        for source in chosen.clips if chosen.run else ():
            others = {
                name: recoded(
                    source,
                    Path(folder) / f"{source.stem}-{number}{how['suffix']}",
                    **{key: value for key, value in how.items() if key != "suffix"},
                )
                for number, (name, how) in enumerate(RECODINGS.items() if chosen.recodings else ())
            }
            for run in chosen.run:
                first, *rest = scored(run, [source, *others.values()])
                results[f"{source.name}, scored by {first['run']}"] = found = {
                    **first,
                    "written anew": {
                        name: compared(first, one) for name, one in zip(others, rest, strict=True)
                    },
                }
                print(f"{source.name}, scored by {first['run']}: {found}", flush=True)
    # Only now: Linux counts what this process holds as memory of the processes that it starts.
    from record import write_record

    write_record(chosen.output, started, **results)


if __name__ == "__main__":
    main()
