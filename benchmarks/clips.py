"""What do features of a clip cost? CPU seconds per minute of it, and the most memory that one process holds.

Clips are repeated in turn to the wanted duration without coding them anew (more than one, since a sentence that is said
four times in a row is taken for an invention), and their features are made in a process of its own with
one thread, as `qinn features extract` does; the stages are told apart by what is left out. With two clips of other
lengths the cost of loading the networks shows too.

    python benchmarks/clips.py CLIP CLIP --seconds 60 300 --output benchmarks/results/clips.json
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
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
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    started = time.perf_counter()
    results: dict[str, Any] = {
        "clips": {clip.name: hashlib.sha256(clip.read_bytes()).hexdigest() for clip in chosen.clips}
    }
    with tempfile.TemporaryDirectory() as folder:
        for seconds in chosen.seconds:
            clip = repeated(chosen.clips, Path(folder) / f"long{chosen.clips[0].suffix}", seconds)
            for stage in chosen.stages:
                results[f"{seconds:g} s, {stage}"] = found = measured(clip, STAGES[stage])
                print(f"{seconds:g} s, {stage}: {found}", flush=True)
    # Only now: Linux counts what this process holds as memory of the processes that it starts.
    from record import write_record

    write_record(chosen.output, started, **results)


if __name__ == "__main__":
    main()
