"""Kill real commands at random moments and see what becomes of them (``make kills``).

Every trial runs one command in a folder of its own, with the folder of temporary files on another file system, sends
SIGKILL, SIGTERM or SIGINT to the process or to its whole group, and repeats the command. It must end with the right
exit code and, where it can still speak, with one sentence; nothing of it may run five seconds later; and the repeat
must leave what an undisturbed run leaves. Each trial has a number, from which its command, signal, target and moment
follow: ``--first 17 --trials 1`` repeats one (the moment is a share of the time that the undisturbed command took).
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

QINN = [sys.executable, "-c", "import sys; sys.argv[0] = 'qinn'; from qinn.cli import main; main()"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SECONDS_TO_END = 5.0
# Until here the interpreter itself may be starting, and a signal ends it in the system's own way.
SECONDS_TO_START = 0.5
# What it says of Ctrl-C then: no line of ours has run.
_INTERPRETERS_OWN = (
    'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\nKeyboardInterrupt\n\n'
)
_MARK = "QINN_KILLS_TRIAL"
_PATIENCE = 600
# Keys in JSON that say when or with which checkout, and digests of documents that hold such keys.
_NO_RESULT = frozenset(
    {
        "seconds",
        "cpu_seconds",
        "started",
        "created",
        "commit",
        "commits",
        "trained_at",
        "content_sha256",
        "run.json",
        "fold.json",
        "comparison.json",
        "table.md",
    }
)
# Where the command was done before its moment came, it is killed earlier.
_ATTEMPTS = 5

_QINN_MODEL = {
    "kind": "qinn",
    "state_dims": 2,
    "num_trajectories": 2,
    "num_evaluation_trajectories": 4,
    "num_vectors": 3,
    "steps": 4,
}


def _configuration(
    models: Mapping[str, Any], seeds: Sequence[int], hidden: int, **training: Any
) -> dict[str, Any]:
    return {
        "name": "kills",
        "data": {"store": "store"},
        "encoder": {"hidden_dim": hidden},
        "models": dict(models),
        "training": {"batch_size": 12, "patience": 0, "checkpoint_seconds": 0, **training},
        "evaluation": {"num_resamples": 100},
        "seeds": list(seeds),
    }


_PAIR = {"QiNN-QJ": _QINN_MODEL, "late": {"kind": "late_fusion"}}
CONFIGURATIONS = {
    "train.yaml": _configuration({"QiNN-QJ": _QINN_MODEL}, [0], 4, max_epochs=16, refit=True),
    # Checkpoints of some megabytes, so that many moments are inside the writing of one.
    "checkpoint.yaml": _configuration(
        {"late": {"kind": "late_fusion"}}, [0], 300, max_epochs=8, tensorboard=False
    ),
    "compare.yaml": _configuration(_PAIR, [0], 4, max_epochs=6, tensorboard=False),
    "base.yaml": _configuration(_PAIR, [0], 4, max_epochs=2, tensorboard=False),
}


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        arguments: Of ``qinn``.
        result: What it writes.
        inputs: What lies in its folder.
        share: Of the trials.
        during: Glob of what must lie there before the signal is sent; then the moment does not count.
    """

    arguments: tuple[str, ...]
    result: str
    inputs: tuple[str, ...]
    share: int
    during: str = ""


COMMANDS = {
    "train": Command(("train", "train.yaml", "--to", "run"), "run", ("store", "train.yaml"), 6),
    "checkpoint": Command(
        ("train", "checkpoint.yaml", "--to", "run"),
        "run",
        ("store", "checkpoint.yaml"),
        5,
        "run/folds/000/checkpoints/.*.partial",
    ),
    "compare": Command(("compare", "compare.yaml", "--to", "all"), "all", ("store", "compare.yaml"), 3),
    "compare --workers 2": Command(
        ("compare", "compare.yaml", "--to", "all", "--workers", "2"), "all", ("store", "compare.yaml"), 3
    ),
    "data import": Command(
        (
            "data",
            "import",
            "table",
            "table.csv",
            "--to",
            "imported",
            "--feature",
            "text=text.npy",
            "--scale",
            "mosi",
            "--overwrite",
        ),
        "imported",
        ("table.csv", "text.npy"),
        5,
    ),
    "explain": Command(("explain", "base/qinn-qj/seed-0", "--to", "why"), "why", ("store", "base"), 3),
    "evaluate": Command(("evaluate", "base/qinn-qj/seed-0"), "base", ("store", "base"), 1),
    "sweep-absent": Command(
        ("sweep-absent", "base", "--to", "swept", "--rates", "0,0.5", "--masks", "1"),
        "swept",
        ("store", "base"),
        1,
    ),
    "report": Command(("report", "base", "--to", "out/report.html"), "out", ("store", "base"), 3),
}


@dataclass(frozen=True)
class Trial:
    """One kill: everything in it follows from its number.

    Attributes:
        number: Its number.
        command: Name in `COMMANDS`.
        signal: What is sent.
        to_group: Whether to the whole group of processes, as a terminal does, or to the process alone.
        moment: When, as a share of the undisturbed run's time.
    """

    number: int
    command: str
    signal: signal.Signals
    to_group: bool
    moment: float

    @classmethod
    def of(cls, number: int, names: Sequence[str] = tuple(COMMANDS)) -> "Trial":
        """Draw a trial; commands, signals and targets take turns, so that all of them come."""
        turns = [name for name in names for _ in range(COMMANDS[name].share)]
        random.Random(7).shuffle(turns)
        drawn = random.Random(f"kills {number}")
        turn, place = divmod(number, len(turns))
        return cls(
            number,
            turns[place],
            SIGNALS[(number + turn) % len(SIGNALS)],
            drawn.random() < 0.5,
            drawn.uniform(0.02, 0.98),
        )


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves, and how long it takes, where nobody kills it."""

    files: dict[str, str]
    seconds: float


class Ground:
    """The folder in which commands are killed: inputs, undisturbed runs, and one folder for each trial."""

    def __init__(self, folder: Path, temporary: Path | None) -> None:
        self.folder = folder
        self.inputs = folder / "inputs"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
        if temporary is not None:
            self.environment["TMPDIR"] = str(temporary)
        self._undisturbed: dict[str, Undisturbed] = {}

    def prepare(self, *, finished: bool = True) -> None:
        """Make the store, the table, the configurations and, if asked for, a finished comparison."""
        import numpy as np

        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # Started in the background; what a process ignores its children ignore too.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.inputs.mkdir(parents=True)
        for name, content in CONFIGURATIONS.items():
            (self.inputs / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        rows, drawn = 4000, np.random.default_rng(0)
        lines = [f"{row},{row % 7 - 3},{('train', 'valid', 'test')[row % 3]}" for row in range(rows)]
        (self.inputs / "table.csv").write_text("\n".join(["id,label,split", *lines]) + "\n", encoding="utf-8")
        np.save(self.inputs / "text.npy", drawn.normal(size=(rows, 300)).astype("float32"))
        sizes = {"train": 24, "valid": 10, "test": 10}
        self.run(
            ["data", "synthesize", "--to", "store"]
            + [part for name, size in sizes.items() for part in (f"--num-{name}", str(size))],
            self.inputs,
        )
        if finished:
            self.run(["compare", "base.yaml", "--to", "base"], self.inputs)

    def run(self, arguments: Sequence[str], folder: Path) -> None:
        """Run a command to its end."""
        done = subprocess.run(
            [*QINN, *arguments],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"qinn {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")

    def place(self, name: str, inputs: Sequence[str]) -> Path:
        """Make a folder with copies of inputs."""
        folder = self.folder / name
        folder.mkdir()
        for one in inputs:
            source = self.inputs / one
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / one)
        return folder

    def undisturbed(self, name: str) -> Undisturbed:
        """Return what the command leaves when nobody kills it."""
        if name not in self._undisturbed:
            command = COMMANDS[name]
            folder = self.place("undisturbed " + name, command.inputs)
            started = time.perf_counter()
            self.run(command.arguments, folder)
            seconds = time.perf_counter() - started
            self._undisturbed[name] = Undisturbed(contents(folder / command.result), seconds)
            shutil.rmtree(folder)
        return self._undisturbed[name]

    def judge(self, trial: Trial) -> tuple[str, list[str]]:
        """Kill a command and repeat it; return what came of it, and what must not have."""
        command, expected = COMMANDS[trial.command], self.undisturbed(trial.command)
        for attempt in range(_ATTEMPTS):
            folder = self.place(f"trial {trial.number}", command.inputs)
            outcome, faults = self._kill(trial, folder, trial.moment * 0.6**attempt)
            if outcome != "finished" or faults or attempt == _ATTEMPTS - 1:
                break
            shutil.rmtree(folder)
        try:
            self.run(command.arguments, folder)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            faults.append(f"the repeat failed: {error}")
        else:
            faults += differences(contents(folder / command.result), expected.files)
            faults += [f"`{path.name}` was left" for path in folder.rglob(".*.partial")]
        if not faults:
            shutil.rmtree(folder)
        return outcome, faults

    def _kill(self, trial: Trial, folder: Path, moment: float) -> tuple[str, list[str]]:
        command = COMMANDS[trial.command]
        mark = f"{os.getpid()}-{trial.number}-{time.time_ns()}"
        started = time.perf_counter()
        with (folder.parent / f"{folder.name}.stderr").open("w+", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [*QINN, *command.arguments],
                cwd=folder,
                env={**self.environment, _MARK: mark},
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )
            limit = started + moment * self.undisturbed(trial.command).seconds
            while process.poll() is None and time.perf_counter() < limit:
                time.sleep(min(0.01, max(0.0, limit - time.perf_counter())))
            while command.during and process.poll() is None and not any(folder.glob(command.during)):
                pass
            sent = time.perf_counter()
            if process.poll() is None:
                (os.killpg if trial.to_group else os.kill)(process.pid, trial.signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            left = _processes_left(mark, sent + SECONDS_TO_END)
            code = process.poll()
            for number in left:
                os.kill(number, signal.SIGKILL)
            process.wait()
            stream.seek(0)
            said = stream.read()
        (folder.parent / f"{folder.name}.stderr").unlink()
        outcome, faults = _verdict(trial.signal, code, said, sent - started)
        faults += [f"process {number} was left" for number in left]
        return outcome, faults


def _verdict(number: signal.Signals, code: int | None, said: str, seconds: float) -> tuple[str, list[str]]:
    """Judge the exit code and the words of a killed command."""
    faults = ["it printed a traceback:\n" + said] if "Traceback" in said else []
    if code == 0:
        return "finished", faults
    if number == signal.SIGKILL:
        return "killed", faults if code == -number else [*faults, f"exit code {code}"]
    if code == -number and seconds < SECONDS_TO_START and said in ("", _INTERPRETERS_OWN):
        return "before the first line", []
    if code != 128 + number:
        faults.append(f"exit code {code} in place of {128 + number}:\n{said}")
    words = [line for line in said.splitlines() if line.startswith("error: ")]
    if len(words) != 1 or "repeat the command" not in words[0]:
        faults.append(f"it said {said!r}")
    return "interrupted", faults


def _processes_left(mark: str, limit: float) -> list[int]:
    """Return the processes that still run with the mark in their environment at the time `limit`."""
    while True:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # another user's, or gone meanwhile
        if not found or time.perf_counter() > limit:
            return found
        time.sleep(0.1)


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of the content of every result file, by relative path.

    The bytes count of everything but: times and the state of the checkout in JSON (the keys ``seconds``,
    ``cpu_seconds``, ``started``, ``created``, ``commit``, ``commits`` and ``trained_at``), a table's column of CPU
    seconds, and the digests of documents that hold them, which are left out; the CPU seconds of checkpoints; and
    TensorBoard's logs, which hold times throughout and are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*") if folder.is_dir() else [folder]):
        if path.is_file() and "tensorboard" not in path.parts:
            found[str(path.relative_to(folder))] = hashlib.sha256(_content(path)).hexdigest()
    return found


def _content(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(path.read_text(encoding="utf-8")))).encode()
    if path.suffix == ".md":
        lines = path.read_text(encoding="utf-8").splitlines()
        headings = lines[0].split("|") if lines else []
        column = headings.index(" CPU s ") if " CPU s " in headings else None
        return "\n".join(_without(line, column) for line in lines).encode()
    if path.suffix == ".ckpt":
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)["state"]
        del state["cpu_seconds"]
        return repr(_plain(state)).encode()
    return path.read_bytes()


def _without(line: str, column: int | None) -> str:
    """Return a line without its cell in a column, where it is of a table."""
    cells = line.split("|")
    return "|".join(cells[:column] + cells[column + 1 :]) if column and line.startswith("|") else line


def _plain(value: Any) -> Any:
    """Return tensors as their kind and bytes."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return (str(value.dtype), value.numpy().tobytes()) if hasattr(value, "numpy") else value


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _timeless(part) for name, part in value.items() if name.rpartition("/")[2] not in _NO_RESULT
        }
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Say in which files two folders differ."""
    return [
        f"`{name}` is {'missing' if name not in found else 'too much' if name not in expected else 'another'}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]


def other_file_system(folder: Path) -> Path | None:
    """Return a folder for temporary files on another file system than `folder`; None where there is none."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and memory.stat().st_dev != folder.stat().st_dev:
        return Path(tempfile.mkdtemp(prefix="qinn-kills-", dir=memory))
    return None


def main() -> int:
    """Make the trials that were asked for; 1 where one of them came to something that must not be."""
    from record import write_record

    started = time.perf_counter()
    arguments = _arguments()
    names = arguments.command or list(COMMANDS)
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    outcomes: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    folder = Path(tempfile.mkdtemp(prefix="qinn-kills-", dir=arguments.folder))
    temporary = other_file_system(folder)
    try:
        ground = Ground(folder, temporary)
        ground.prepare(finished=any("base" in COMMANDS[name].inputs for name in names))
        for number in range(arguments.first, arguments.first + arguments.trials):
            trial = Trial.of(number, names)
            outcome, faults = ground.judge(trial)
            target = "group" if trial.to_group else "process"
            counts[trial.command][f"{trial.signal.name} to {target}"] += 1
            outcomes[outcome] += 1
            if faults:
                failures.append(
                    {"trial": number, "command": trial.command, "signal": trial.signal.name, "faults": faults}
                )
            print(
                f"{number}: {trial.command}, {trial.signal.name} to {target} at {trial.moment:.0%}: {outcome}"
                + "".join(f"\n    {fault}" for fault in faults),
                flush=True,
            )
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not failures:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{sum(outcomes.values())} trials, {len(failures)} failures, {dict(outcomes)}")
    if arguments.output is not None:
        write_record(
            arguments.output,
            started,
            question="What becomes of commands that are killed at random moments?",
            temporary_files="on another file system" if temporary else "on the same file system",
            trials=sum(outcomes.values()),
            first=arguments.first,
            outcomes=dict(outcomes.most_common()),
            commands={name: dict(sorted(count.items())) for name, count in counts.items()},
            failures=failures,
        )
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill real commands at random moments.")
    parser.add_argument("--trials", type=int, default=120, help="number of kills")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--command", action="append", choices=COMMANDS, help="only this one; repeat for more")
    parser.add_argument("--folder", type=Path, help="where to work (default: the folder of temporary files)")
    parser.add_argument("--output", type=Path, help="JSON file for the counts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
