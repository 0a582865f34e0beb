"""Work in processes of their own, which end with the process that asked for it, however it ends.

Each worker reads jobs from its standard input, one JSON document a line, and answers on its standard output: with how
far it is, any number of times, then with what came of the job. The end of the input is the end of the worker: at once
and in the middle of a run, since that is how it learns that its parent was killed. On Linux the system also kills it
then.
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
from qinn.experiment.process_limits import ProcessLimits, clean_environment, resident_memory
from qinn.interruption import NUMBERS, supervise
from qinn.resources import resource_error

_SECONDS_TO_UNWIND = 1.0
# A signal to a whole group of processes reaches a worker before or after its parent.
_SECONDS_FOR_OUR_OWN_SIGNAL = 0.5
_START = (
    "from {module} import do; from qinn.experiment.process_limits import ProcessLimits; "
    "from qinn.experiment.workers import serve; serve({parent}, do, {limits})"
)
_LONGEST_ANSWER = 64 * 2**20
"""Bytes of an answer; what is longer comes from a process that went astray."""

Tell = Callable[[Any], object]
"""Takes how far a job is, as JSON can hold it."""


class WorkerDiedError(QinnError):
    """A process of ours came to its end before its work did.

    Attributes:
        out_of_time: Whether it had used up the computing time of its job.
    """

    def __init__(self, *args: object, out_of_time: bool = False) -> None:
        super().__init__(*args)
        self.out_of_time = out_of_time


class Worker:
    """A process of our own that does one job after the other, until it is killed.

    On Linux it dies with the thread that started it, too.

    Args:
        module: Where the function ``do`` is that takes a job, and what takes how far it is.
        limits: What the process may use; it then gets no more of our environment than it needs.
    """

    def __init__(self, module: str, limits: ProcessLimits | None = None) -> None:
        outer = os.environ if limits is None else clean_environment(os.environ)
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        # Until it can handle signals it does not see them.
        with _signals_blocked():
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START.format(parent=os.getpid(), module=module, limits=repr(limits))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**outer, "PYTHONPATH": paths},
            )

    def ask(self, job: Mapping[str, Any], tell: Tell = lambda what: None) -> Any:
        """Have a job done.

        Args:
            job: What to do, as JSON can hold it.
            tell: Told how far it is.

        Returns:
            What came of it.

        Raises:
            WorkerDiedError: If the process is killed, by whomever.
            Exception: What the job raised.
        """
        answer = self._exchange(job)
        while "told" in answer:
            tell(answer["told"])
            answer = self._exchange(None)
        if "failed" in answer:
            raise _to_error(answer["failed"])
        return answer["done"]

    def _exchange(self, job: Mapping[str, Any] | None) -> dict[str, Any]:
        """Send a job, if there is one, and return the next line of the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if job is not None:
                self.process.stdin.write(json.dumps(job) + "\n")
                self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline(_LONGEST_ANSWER))
        except (OSError, ValueError, RecursionError) as error:
            raise self._died() from error
        if not isinstance(answer, dict) or not answer.keys() & {"told", "failed", "done"}:
            raise self._died()
        return answer

    def _died(self) -> WorkerDiedError:
        self.process.kill()
        if self.process.wait() == -getattr(signal, "SIGXCPU", 0):
            return WorkerDiedError(
                "A job needed more computing time than it may have, and was ended.", out_of_time=True
            )
        return WorkerDiedError(
            "A run's process was killed from outside, perhaps for lack of memory; repeat the command to continue, with "
            "fewer workers if it happens again."
        )

    @property
    def resident_memory(self) -> int | None:
        """Bytes that it has in memory; None where the system does not say it."""
        return resident_memory(self.process.pid)

    def kill(self) -> None:
        """End it at once; whoever waits for an answer learns it."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it at once and close what leads to it; nobody may be waiting for an answer."""
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


def run_in_workers(
    jobs: Sequence[tuple[str, Path, Path | None]],
    workers: int,
    on_done: Callable[[int], object] = lambda index: None,
    *,
    overwrite: bool = False,
) -> None:
    """Run experiments, each with one model and one seed, some at the same time.

    When this returns or raises, no worker is left.

    Args:
        jobs: Configuration (as YAML) and folder of each run, and the folder of encodings that it shares with others.
        workers: How many processes.
        on_done: Called with the index of each run that is done.
        overwrite: Replace runs of another configuration or of other data.

    Raises:
        QinnError: If a run fails, or its process is killed.
    """
    told = [
        {
            "config": config,
            "folder": str(folder),
            "encodings": None if encodings is None else str(encodings),
            "overwrite": overwrite,
            "argv": sys.argv,
        }
        for config, folder, encodings in jobs
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
    limits: ProcessLimits | None = None,
) -> None:
    """Do jobs in other processes, some at the same time.

    A process that dies is replaced, and what it was at counts as failed. When this returns or raises, no process is
    left.

    Args:
        jobs: What to do, as JSON can hold it.
        module: Where the function ``do`` is that takes a job.
        workers: How many processes.
        on_answer: Called with the index of each job that is done and None, or why it failed; what it raises ends all.
        limits: What each process may use.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(jobs)):
        waiting.put(index)
    answers: queue.SimpleQueue[tuple[int, BaseException | None]] = queue.SimpleQueue()
    processes: list[Worker] = []
    feeders: list[threading.Thread] = []
    is_over = threading.Event()
    try:
        for _ in range(min(workers, len(jobs))):
            processes.append(Worker(module, limits))
            of_it = (
                processes,
                len(processes) - 1,
                lambda: Worker(module, limits),
                jobs,
                waiting,
                answers,
                is_over,
            )
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
        for worker in processes:
            worker.close()


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
    processes: list[Worker],
    place: int,
    start: Callable[[], Worker],
    jobs: Sequence[Mapping[str, Any]],
    waiting: "queue.SimpleQueue[int]",
    answers: "queue.SimpleQueue[tuple[int, BaseException | None]]",
    is_over: threading.Event,
) -> None:
    """Give a worker one job after the other; one that dies is replaced while there are any left."""
    while not is_over.is_set():
        try:
            index = waiting.get_nowait()
        except queue.Empty:
            return
        failure: BaseException | None = None
        try:
            processes[place].ask(jobs[index])
        except Exception as error:  # noqa: BLE001 - whoever asked for the work raises it
            failure = error
        if isinstance(failure, WorkerDiedError):
            is_over.wait(_SECONDS_FOR_OUR_OWN_SIGNAL)
        answers.put((index, failure))
        if isinstance(failure, WorkerDiedError) and not is_over.is_set() and not waiting.empty():
            processes[place].close()
            processes[place] = start()


def _end(workers: Sequence[Worker]) -> None:
    """End workers within seconds, the unwilling too."""
    for worker in workers:
        worker.process.terminate()
    limit = time.monotonic() + _SECONDS_TO_UNWIND
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, limit - time.monotonic()))
    for worker in workers:
        worker.kill()


def _from_error(error: Exception) -> dict[str, Any]:
    """Say in JSON what went wrong."""
    if isinstance(error, QinnError):
        return {"kind": type(error).__name__, "message": str(error)}
    if sentence := resource_error(error):
        return {"kind": "QinnError", "message": sentence}
    if isinstance(error, OSError):
        return {"kind": "OSError", "arguments": [error.errno, error.strerror, error.filename]}
    return {"kind": "", "message": "".join(traceback.format_exception(error))}


def _to_error(answer: dict[str, Any]) -> BaseException:
    if answer["kind"] == "OSError":
        return OSError(*answer["arguments"])
    if answer["kind"]:
        return getattr(qinn.errors, answer["kind"])(answer["message"])
    return RuntimeError(f"A run failed in its process:\n{answer['message']}")


def serve(
    parent: int, do: Callable[[dict[str, Any], Tell], object], limits: ProcessLimits | None = None
) -> None:
    """Be a worker of the process `parent`: do what standard input asks for until it ends."""
    code = 0
    try:
        supervise(lambda: _serve(parent, do, limits), lambda number: None)
    except SystemExit as end:
        code = int(end.code or 0)
    # At once: the thread that reads the input may hold what the interpreter's own end would wait for.
    os._exit(code)


def _serve(parent: int, do: Callable[[dict[str, Any], Tell], object], limits: ProcessLimits | None) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
    _die_with(parent)
    given: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(given,), daemon=True).start()
    if limits is not None:
        limits.apply()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        while True:
            job = given.get()
            if limits is not None:
                limits.begin_job()
            _answer(answers, do, job)


def _answer(answers: IO[str], do: Callable[[dict[str, Any], Tell], object], job: dict[str, Any]) -> None:
    def say(**what: object) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    try:
        found = do(job, lambda told: say(told=told))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        say(failed=_from_error(error))
    else:
        say(done=found)


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
