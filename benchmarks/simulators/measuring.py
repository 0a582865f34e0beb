"""One core, one clock: CPU time of contenders that take turns, and the memory of each."""

import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from simulators.contender import Answer, Contender

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}
# A sample is a burst of calls of at least this CPU time: the clock and the other packages' caches matter less.
_BURST = 0.02
# From here on a call is not repeated merely to warm up.
_SLOW = 1.0


def restart_on_one_core() -> None:
    """Start the program again on one core with single-threaded libraries, unless it already is.

    The libraries read the environment when they are loaded, so it has to be there before.
    """
    if all(os.environ.get(name) == value for name, value in ONE_THREAD.items()):
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})


@dataclass(frozen=True)
class Measured:
    """What came of one contender in one row.

    Attributes:
        package: Which package.
        setting: Which of its ways.
        precision: Complex dtype.
        tolerance: What it was given, if it takes one.
        samples: CPU seconds per call on the whole batch, every one taken.
        calls_per_sample: Length of the burst whose mean a sample is.
        scale: States of the batch over states that were run; the samples are scaled up by it.
        compile_seconds: CPU seconds of compilation.
        peak_bytes: Growth of the resident set during one call after the first; None where it cannot be seen.
        error: Largest absolute error of the probabilities.
        gradient_error: Relative error of the derivative along a random direction.
        extra: Figures of the row's own.
    """

    package: str
    setting: str
    precision: str
    tolerance: float | None
    samples: list[float]
    calls_per_sample: int
    scale: float
    compile_seconds: float | None
    peak_bytes: int | None
    error: float | None = None
    gradient_error: float | None = None
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.package} {self.setting}, {self.precision}"

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.median, "quartiles": list(self.quartiles)}


@dataclass
class _Turn:
    contender: Contender
    calls: int
    wanted: int
    peak: int | None
    samples: list[float]


def measure(
    contenders: Sequence[Contender],
    *,
    seconds: float,
    fewest: int,
    most: int,
    say: Callable[[str], None] = lambda _: None,
    see: Callable[[Contender, Answer], None] = lambda *_: None,
) -> list[Measured]:
    """Time contenders in alternating rounds, each for about so many seconds in all.

    Args:
        contenders: Who takes part.
        seconds: CPU time for each, within the limits that follow.
        fewest: Smallest number of samples of each.
        most: Largest number.
        say: Is told what is being done.
        see: Is shown the answer of the first call and of the last one of every burst.
    """
    turns = []
    for contender in contenders:
        contender.prepare()
        say(f"first call of {contender.name}")
        result, peak, single = watched(contender.call)
        see(contender, contender.read(result))
        if single < _SLOW:  # a first call may load and cache more than it computes
            _, peak, single = watched(contender.call)
        calls = max(1, ceil(_BURST / max(single, 1e-9)))
        wanted = min(max(int(seconds / (calls * single)), fewest), most)
        turns.append(_Turn(contender, calls, wanted, peak, []))
    rounds = max(turn.wanted for turn in turns)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for turn in turns:
            # Those with few samples take their turns spread over all rounds.
            if (number + 1) * turn.wanted // rounds > number * turn.wanted // rounds:
                turn.samples.append(_sample(turn, see))
    return [_measured(turn) for turn in turns]


def _sample(turn: _Turn, see: Callable[[Contender, Answer], None]) -> float:
    contender = turn.contender
    contender.prepare()
    if turn.calls > 1:
        contender.call()  # after the others it finds cold caches, unlike in a loop
    started = time.process_time()
    for _ in range(turn.calls - 1):
        contender.call()
    result = contender.call()
    spent = time.process_time() - started
    see(contender, contender.read(result))
    return spent / turn.calls * contender.scale


def _measured(turn: _Turn) -> Measured:
    contender = turn.contender
    return Measured(
        contender.package,
        contender.setting,
        contender.precision,
        contender.tolerance,
        turn.samples,
        turn.calls,
        contender.scale,
        contender.compile_seconds,
        turn.peak,
    )


def watched(call: Callable[[], Any]) -> tuple[Any, int | None, float]:
    """A call's result, the growth of the resident set at its peak, and its CPU seconds.

    Freed memory is given back first, then the kernel's high-water mark is set back (Linux).
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except (OSError, AttributeError):
        before = None
    started = time.process_time()
    result = call()
    spent = time.process_time() - started
    after = None if before is None else _status("VmHWM")
    return result, None if before is None or after is None else max(after - before, 0), spent


def _status(key: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None
