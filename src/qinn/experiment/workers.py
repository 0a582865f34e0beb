"""Work in processes of their own, which end with the process that asked for it, however it ends.

Each worker reads jobs from its standard input, one JSON document a line, and answers on its standard output. The end
of the input is the end of the worker: at once and in the middle of a run, since that is how it learns that its parent
was killed. On Linux the system also kills it then.
"""

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import qinn.errors
from qinn.errors import QinnError
from qinn.interruption import NUMBERS, supervise
from qinn.resources import resource_error

_SECONDS_TO_UNWIND = 1.0
# A signal to a whole group of processes reaches a worker before or after its parent.
_SECONDS_FOR_OUR_OWN_SIGNAL = 0.5
_START = "from {module} import do; from qinn.experiment.workers import serve; serve({parent}, do)"


class WorkerDiedError(QinnError):
    """A process of ours came to its end before its work did."""


def run_in_workers(
    jobs: Sequence[tuple[str, Path]],
    workers: int,
    on_done: Callable[[int], object] = lambda index: None,
    *,
    overwrite: bool = False,
) -> None:
    """Run experiments, each with one model and one seed, some at the same time.

    When this returns or raises, no worker is left.

    Args:
        jobs: Configuration (as YAML) and folder of each run.
        workers: How many processes.
        on_done: Called with the index of each run that is done.
        overwrite: Replace runs of another configuration or of other data.

    Raises:
        QinnError: If a run fails, or its process is killed.
    """
    told = [
        {"config": config, "folder": str(folder), "overwrite": overwrite, "argv": sys.argv}
        for config, folder in jobs
    ]

    def done(index: int, error: BaseException | None) -> None:
        if error is not None:
            raise error
        on_done(index)

    work_in_processes(told, "qinn.experiment.run_in_process", workers, done)


def work_in_processes(
    jobs: Sequence[Mapping[str, Any]],
    module: str,
    workers: int,
    on_answer: Callable[[int, BaseException | None], object],
) -> None:
    """Do jobs in other processes, some at the same time.

    A process that dies is replaced, and what it was at counts as failed. When this returns or raises, no process is
    left.

    Args:
        jobs: What to do, as JSON can hold it.
        module: Where the function ``do`` is that takes a job.
        workers: How many processes.
        on_answer: Called with the index of each job that is done and None, or why it failed; what it raises ends all.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(jobs)):
        waiting.put(index)
    answers: queue.SimpleQueue[tuple[int, BaseException | None]] = queue.SimpleQueue()
    processes: list[subprocess.Popen[str]] = []
    feeders: list[threading.Thread] = []
    is_over = threading.Event()
    try:
        for _ in range(min(workers, len(jobs))):
            processes.append(_start(module))
            of_it = (processes, len(processes) - 1, module, jobs, waiting, answers, is_over)
            feeders.append(threading.Thread(target=_feed, args=of_it, daemon=True))
            feeders[-1].start()
        for _ in jobs:
            on_answer(*answers.get())
    finally:
        is_over.set()
        _end(processes)
        for feeder in feeders:
            feeder.join()
        # One may have been replaced at the last moment.
        _end(processes)


def _start(module: str) -> subprocess.Popen[str]:
    """Start a worker; until it can handle signals it does not see them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    with _signals_blocked():
        return subprocess.Popen(
            [sys.executable, "-c", _START.format(parent=os.getpid(), module=module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Hold signals back from this thread, and from a process that is started in the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _feed(
    processes: list[subprocess.Popen[str]],
    place: int,
    module: str,
    jobs: Sequence[Mapping[str, Any]],
    waiting: "queue.SimpleQueue[int]",
    answers: "queue.SimpleQueue[tuple[int, BaseException | None]]",
    is_over: threading.Event,
) -> None:
    """Give a worker one job after the other; without any left, end it."""
    while not is_over.is_set():
        process = processes[place]
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError), process.stdout, process.stdin:
            while not is_over.is_set():
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    process.stdin.write(json.dumps(jobs[index]) + "\n")
                    process.stdin.flush()
                    answer = json.loads(process.stdout.readline())
                except (OSError, ValueError):
                    is_over.wait(_SECONDS_FOR_OUR_OWN_SIGNAL)
                    answers.put((index, _killed()))
                    break
                answers.put((index, _to_error(answer)))
        if not is_over.is_set() and not waiting.empty():
            process.kill()
            process.wait()
            processes[place] = _start(module)
        elif waiting.empty():
            return


def _killed() -> QinnError:
    return WorkerDiedError(
        "A run's process was killed from outside, perhaps for lack of memory; repeat the command to continue, with "
        "fewer workers if it happens again."
    )


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End workers within seconds, the unwilling too."""
    for process in processes:
        process.terminate()
    limit = time.monotonic() + _SECONDS_TO_UNWIND
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, limit - time.monotonic()))
    for process in processes:
        process.kill()
        process.wait()


def _from_error(error: Exception) -> dict[str, Any]:
    """Say in JSON what went wrong."""
    if isinstance(error, QinnError):
        return {"kind": type(error).__name__, "message": str(error)}
    if sentence := resource_error(error):
        return {"kind": "QinnError", "message": sentence}
    if isinstance(error, OSError):
        return {"kind": "OSError", "arguments": [error.errno, error.strerror, error.filename]}
    return {"kind": "", "message": "".join(traceback.format_exception(error))}


def _to_error(answer: dict[str, Any] | None) -> BaseException | None:
    if answer is None:
        return None
    if answer["kind"] == "OSError":
        return OSError(*answer["arguments"])
    if answer["kind"]:
        return getattr(qinn.errors, answer["kind"])(answer["message"])
    return RuntimeError(f"A run failed in its process:\n{answer['message']}")


def serve(parent: int, do: Callable[[dict[str, Any]], object]) -> None:
    """Be a worker of the process `parent`: do what standard input asks for until it ends."""
    code = 0
    try:
        supervise(lambda: _serve(parent, do), lambda number: None)
    except SystemExit as end:
        code = int(end.code or 0)
    # At once: the thread that reads the input may hold what the interpreter's own end would wait for.
    os._exit(code)


def _serve(parent: int, do: Callable[[dict[str, Any]], object]) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
    _die_with(parent)
    given: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(given,), daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        while True:
            _answer(answers, do, given.get())


def _answer(answers: IO[str], do: Callable[[dict[str, Any]], object], job: dict[str, Any]) -> None:
    failure = None
    try:
        do(job)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        failure = _from_error(error)
    answers.write(json.dumps(failure) + "\n")
    answers.flush()


def _listen(given: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Pass jobs on; end the process where the input ends, since nobody waits for an answer any more."""
    with os.fdopen(os.dup(0), "rb", buffering=0) as stream:
        for line in stream:
            given.put(json.loads(line))
    os._exit(0)


def _die_with(parent: int) -> None:
    """Have the system kill this process when its parent dies, where the system can."""
    if sys.platform.startswith("linux"):
        death_signal = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
