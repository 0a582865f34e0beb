"""The README's steps as a newcomer takes them: the built wheel, a fresh environment, arrays of one's own.

    python benchmarks/readme.py --output benchmarks/results/readme.json

Builds the wheel, makes a virtual environment, installs torch and the wheel with the extras that the README names, runs
its Python and then its commands one after the other in an empty folder, on made files of 600 clips, trained as long as
the README's configuration says; and keeps what each took.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from record import write_record

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)


def commands() -> Iterator[list[str]]:
    """Every command line of the README, without comments; a line that ends with a backslash goes on."""
    for language, block in BLOCKS:
        if not language and re.match(r"\S*qinn |git |make |pip ", block):
            for line in block.replace("\\\n", " ").splitlines():
                yield shlex.split(line.removeprefix(".venv/bin/"), comments=True)


def pythons() -> list[str]:
    """The README's programs."""
    return [block for language, block in BLOCKS if language == "python"]


def configuration() -> str:
    """The README's configuration."""
    (found,) = (block for language, block in BLOCKS if language == "yaml")
    return found


def write_files_of_a_reader(folder: Path, clips: int) -> None:
    """Write the files that the README's import names: a table, an array with offsets, and an array per clip.

    Args:
        folder: Where.
        clips: How many; three fifths to train, a fifth each to validate and to test, four of each speaker.
    """
    random = np.random.default_rng(0)
    lines = ["id,label,split,speaker"]
    (folder / "frames").mkdir(parents=True)
    loudness, smiles = random.normal(size=(2, clips))
    for row in range(clips):
        split = "train" if row < 3 * clips // 5 else "valid" if row < 4 * clips // 5 else "test"
        score = np.clip(loudness[row] * np.sign(smiles[row]) + 0.3 * random.normal(), -3, 3)
        lines.append(f"clip{row},{score:.2f},{split},s{row // 4}")
        np.save(folder / "frames" / f"clip{row}.npy", smiles[row] + random.normal(size=(4, 6)))
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    steps = np.repeat(loudness, 5)[:, None] + random.normal(size=(5 * clips, 3))
    np.savez(folder / "audio.npz", mfcc=steps, offsets=np.arange(clips + 1) * 5)


class _Steps:
    """Runs commands and keeps how long each took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.took: list[dict[str, str | float]] = []

    def run(self, words: list[str], *, shown: str | None = None) -> None:
        shown = shown or shlex.join(words)
        print(f"$ {shown}", flush=True)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        start = time.perf_counter()
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(f"`{shown}` ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        print(
            f"  {seconds:.1f} s; last line: {(done.stdout.strip() or done.stderr.strip())[-100:]}", flush=True
        )
        self.took.append({"command": shown, "seconds": round(seconds, 1)})


def main() -> None:
    """Take the steps and write what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--python", default=sys.executable, help="Python that makes the environment")
    parser.add_argument("--clips", type=int, default=600, help="how many clips the reader has")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        steps = _Steps(Path(place))
        wheels = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            "dist",
            str(ROOT),
        ]
        steps.run(wheels, shown="pip wheel --no-deps qinn")
        (wheel,) = Path(place, "dist").glob("*.whl")
        steps.run([options.python, "-m", "venv", "environment"], shown="python -m venv environment")
        own = Path(place, "environment", "bin")
        constraint = ["--quiet", "--constraint", str(ROOT / "constraints.txt")]
        for line in (words for words in commands() if words[0] == "pip"):
            asked = [word.replace("./qinn", str(wheel)) for word in line[1:]]
            steps.run([str(own / "python"), "-m", "pip", *asked, *constraint], shown=shlex.join(line))
        for number, program in enumerate(pythons()):
            steps.run([str(own / "python"), "-c", program], shown=f"python (program {number + 1})")
        write_files_of_a_reader(Path(place), options.clips)
        Path(place, "mine.yaml").write_text(configuration())
        for line in (words for words in commands() if words[0] == "qinn"):
            if line[-1].startswith("new/"):
                write_files_of_a_reader(Path(place, "new"), 5)
            steps.run([str(own / "qinn"), *line[1:]], shown=shlex.join(line))
    print(f"{len(steps.took)} steps, {time.perf_counter() - started:.0f} s")
    if options.output:
        write_record(options.output, started, clips=options.clips, steps=steps.took)


if __name__ == "__main__":
    main()
