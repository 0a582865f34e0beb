"""Reading mutated files in a process of its own, with limits, and saying what came of each.

``python -m fuzzing.sandbox`` is that process: it is told targets and numbers on its standard input and answers
one line of JSON each. `Sandbox` starts it, watches it from outside, and starts another where it dies or hangs.
"""

import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .targets import Target

ADDRESS_SPACE = 2**30
"""Bytes of address space that reading may add to what the process has once everything is loaded."""

MEMORY = 192 * 2**20
"""Bytes that the resident memory may rise while one file of a few thousand bytes is read."""

PER_PROCESS = 4000
"""Files after which another process takes over: libraries keep what they have once set aside."""

CPU_SECONDS = 5.0
WALL_SECONDS = 900.0

_COMMAND = ("-m", "fuzzing.sandbox")

REFUSED, SAME, ALLOWED = "refused", "same contents", "other contents, as the file says"
BROKEN = "the suite itself failed"
FAILURES = (
    BROKEN,
    "crash",
    "hang",
    "memory",
    "foreign exception",
    "ran code",
    "foreign data",
    "silently wrong",
    "unnamed",
    "left a store",
)


@dataclass(frozen=True)
class Verdict:
    """What came of one file.

    Attributes:
        target: Name of the target.
        number: Which of its mutations.
        outcome: `REFUSED`, `SAME`, `ALLOWED` or one of `FAILURES`.
        detail: The refusal, or what went wrong.
        file: The file that was mutated.
    """

    target: str
    number: int
    outcome: str
    detail: str = ""
    file: str = ""

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        return self.outcome in FAILURES


class Sandbox:
    """A process that reads mutated files; use as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._judged = 0

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def judge(self, target: str, numbers: range) -> Iterator[Verdict]:
        """Read some mutations of a target, one after the other."""
        for number in numbers:
            yield self._judge(target, number)

    def _judge(self, target: str, number: int) -> Verdict:
        self._judged += 1
        if self._judged % PER_PROCESS == 0:
            self._stop()
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(json.dumps([target, number]).encode() + b"\n")
        process.stdin.flush()
        line = self._line()
        if line is None:
            self._stop()
            return Verdict(target, number, "hang", f"no answer within {WALL_SECONDS:g} s")
        if not line:
            code = process.wait()
            self._stop()
            reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Verdict(target, number, "crash", f"the process ended with {reason}")
        return Verdict(target, number, **json.loads(line))

    def _start(self) -> None:
        folder = Path(__file__).resolve().parents[1]
        paths = [str(folder), str(folder.parent / "src"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *_COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        if not self._line():
            raise RuntimeError(
                "The process that reads mutated files did not start; run it by hand to see why."
            )

    def _line(self) -> bytes | None:
        """Return the next line; empty when the process is gone, None when it does not answer."""
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(WALL_SECONDS):
                return None
        return self._process.stdout.readline()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class _OutOfTime(BaseException):
    """Raised by the alarm; no reader can take it for an error of its own."""


class _RanCode(BaseException):
    """Raised when a file makes Python do what no reader does."""


_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.",
    "shutil.",
)
_watching: list[Path] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event.startswith(_FORBIDDEN) and event not in ("shutil.rmtree", "shutil.copyfileobj"):
        raise _RanCode(event)
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and not os.path.abspath(arguments[0]).startswith(str(_watching[0])):  # noqa: PTH100
            raise _RanCode(f"open {arguments[0]} for writing")


def _alarm(signal_number: int, frame: FrameType | None) -> None:
    raise _OutOfTime


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("VmHWM is not known")


def _reset_peak() -> int:
    """Let the peak of the resident memory begin anew; return it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


class _Worker:
    """Judges single files; lives in the process of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.targets: dict[str, "Target"] = {}
        self.valid: dict[str, str] = {}
        self._current = ""
        self._written: dict[str, bytes] = {}

    def _open(self, name: str) -> "Target":
        """Return a target, made once."""
        from .targets import TARGETS

        if name not in self.targets:
            made = self.place / f"made-{len(self.targets)}"
            made.mkdir()
            self.targets[name] = TARGETS[name](made)
            self.valid[name] = self._read_valid(name)
        return self.targets[name]

    def _read_valid(self, name: str) -> str:
        """Read the valid source, which must agree with the reference."""
        from .contents import Contents

        target = self.targets[name]
        found = target.read(self._write(name, target.files), self.place / "store")
        if isinstance(found, Contents):
            if target.reference is not None and (
                difference := found.difference(target.reference(self._case))
            ):
                raise RuntimeError(f"{name}: the valid source is read in two ways: {difference}")
            return found.digest()
        return found

    @property
    def _case(self) -> Path:
        return self.place / "case"

    def _write(self, target: str, files: dict[str, bytes]) -> Path:
        """Bring the folder of files to what it must be; those that are there already stay."""
        shutil.rmtree(self.place / "store", ignore_errors=True)
        if target != self._current:
            from .targets import secret

            shutil.rmtree(self._case, ignore_errors=True)
            self._current, self._written = target, {}
            files = files | secret()
        for name, content in files.items():
            if self._written.get(name) != content:
                path = self._case / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                self._written[name] = content
        return self._case

    def judge(self, name: str, number: int) -> dict[str, str]:
        from qinn.errors import QinnError

        from .arrays import SECRET_VALUE
        from .contents import Contents
        from .pickles import CANARY
        from .targets import mutated

        try:
            target = self._open(name)
            files, file = mutated(target, number)
            self._write(name, files)
        except Exception:  # noqa: BLE001 - a mistake of the suite must not pass for one of a reader
            return {"outcome": BROKEN, "detail": traceback.format_exc(limit=-6)}
        os.chdir(self._case)

        def verdict(outcome: str, detail: str = "") -> dict[str, str]:
            return {"outcome": outcome, "detail": detail[:2000], "file": file}

        found: Contents | str | None = None
        refusal = ""
        before = _reset_peak()
        _watching.append(self.place)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = target.read(self._case, self.place / "store")
        except QinnError as error:
            refusal = " ".join(str(error).split())
        except _OutOfTime:
            return verdict("hang", "".join(traceback.format_exc(limit=-6)))
        except _RanCode as event:
            return verdict("ran code", f"{event} {traceback.format_exc(limit=-6)}")
        # Whatever else is raised is what this suite looks for.
        except BaseException:  # noqa: BLE001
            return verdict("foreign exception", traceback.format_exc(limit=-6))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            _watching.clear()
        if (self._case / CANARY).exists():
            (self._case / CANARY).unlink()
            return verdict("ran code", "the canary is there")
        if (risen := _peak() - before) > MEMORY:
            return verdict("memory", f"the resident memory rose by {risen / 2**20:.0f} MiB; {refusal}")
        if found is None:
            if (self.place / "store").exists():
                return verdict("left a store", refusal)
            names = {str(self._case), *(Path(each).name for each in files)}
            return verdict(REFUSED if any(each in refusal for each in names) else "unnamed", refusal)
        if not isinstance(found, Contents):
            return verdict(SAME if found == self.valid[name] else ALLOWED)
        for arrays in found.features.values():
            if any((array == SECRET_VALUE).any() for array in arrays):
                return verdict("foreign data", "a value of a file that nothing names has arrived")
        if found.digest() == self.valid[name]:
            return verdict(SAME)
        if target.sealed or target.reference is None:
            return verdict("silently wrong", "contents differ although the hash was compared")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = target.reference(self._case)
        except Exception as error:  # noqa: BLE001 - a file that only one of two readers can read
            return verdict("silently wrong", f"the reference cannot read it: {error!r}")
        difference = found.difference(expected)
        return verdict("silently wrong", difference) if difference else verdict(ALLOWED)


def _serve() -> None:
    import faulthandler

    import pyarrow as pa
    import torch

    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    faulthandler.disable()
    # Flushing to the disk takes most of the time of a small import and has nothing to do with reading.
    os.fsync = lambda descriptor: None
    with tempfile.TemporaryDirectory(prefix="qinn-fuzz-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        worker = _Worker(Path(folder))
        sys.addaudithook(_watch)
        signal.signal(signal.SIGPROF, _alarm)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE, size + ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answers.write(b"ready\n")
        for line in sys.stdin.buffer:
            target, number = json.loads(line)
            answers.write(json.dumps(worker.judge(target, number)).encode() + b"\n")


if __name__ == "__main__":
    _serve()
