"""Signals that ask a process to end: what runs is unwound, one sentence is said, the exit code names the signal.

A process that is killed loses nothing here, since results appear complete or not at all (`qinn.atomic_writing`).
Unwinding only tidies up, so it gets some seconds and no more: a signal that arrives where exceptions are lost (in a
destructor, in a library that swallows them) or that waits for a long computation ends the process all the same.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

GRACE = 3.0
"""Seconds from a signal to the end, however long the unwinding would take."""

# What sends a signal to a process and to its group, like `timeout`, means one signal.
_ONE_SIGNAL = 0.5
_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
NUMBERS = frozenset(getattr(signal, name) for name in _WORDS if hasattr(signal, name))
"""The signals that ask for an end."""


class Interrupted(BaseException):
    """A signal asked for the end; no `Exception`, and no `KeyboardInterrupt`, which libraries handle themselves.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(word_of(number))
        self.number = number


class EndedBySignal(SystemExit):
    """The exit with 128 + the number of the signal that asked for it."""


def word_of(number: int) -> str:
    """Return what a signal does to a process, in a word.

    Examples:
        >>> word_of(signal.SIGTERM)
        'terminated'
    """
    return _WORDS[signal.Signals(number).name]


def say(message: str) -> None:
    """Write one line to the error stream without any lock: the code that was interrupted may hold it."""
    with suppress(OSError):
        show_cursor = b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b""
        os.write(2, show_cursor + f"error: {message}\n".encode())


def supervise(work: Callable[[], object], on_end: Callable[[int], object]) -> None:
    """Run `work` so that SIGINT, SIGTERM and SIGHUP end it within seconds, wherever they arrive.

    The first signal raises `Interrupted` in `work`; a second one, or `GRACE` seconds, end the process without more
    unwinding. Signals that the process was started to ignore (``nohup``, background jobs) stay ignored. Handlers are
    those of before when this returns. Outside the main thread, which alone gets signals, `work` just runs.

    Args:
        work: What to run.
        on_end: Called once with the signal's number before the process ends; must take no lock.

    Raises:
        EndedBySignal: If a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        work()
        return
    guard = _Guard(on_end)
    try:
        try:
            guard.install()
            work()
        finally:
            guard.is_over = True
    except BaseException:  # what a library makes of the exception may be anything
        if guard.number is None:
            raise
    finally:
        if guard.number is not None:
            guard.tell(guard.number)
        guard.remove()
    if guard.number is not None:
        raise EndedBySignal(128 + guard.number)


def ignore_from_now_on() -> None:
    """Let no signal disturb the last moments of a process whose work is over."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


class _Guard:
    """The handlers of one `supervise`, and the thread that keeps its deadline."""

    def __init__(self, on_end: Callable[[int], object]) -> None:
        self.number: int | None = None
        self.is_over = False
        self._on_end = on_end
        self._since = 0.0
        self._told = threading.Lock()
        self._before: dict[int, Any] = {}
        self._hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
        self._ended = threading.Event()
        self._pipe: tuple[int, int] | None = None
        self._wakeup = -1

    def install(self) -> None:
        """Take the signals over; those that come meanwhile wait until all is in place."""
        sys.excepthook, sys.unraisablehook = self._excepthook, self._unraisablehook
        threading.excepthook = self._threadhook
        if os.name != "posix":
            self._take_over()
            return
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        try:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            threading.Thread(target=self._keep_deadline, daemon=True).start()
            self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            self._take_over()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _take_over(self) -> None:
        for number in NUMBERS:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._handle)

    def remove(self) -> None:
        """Leave everything as it was before."""
        self._ended.set()
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._pipe is not None:
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._pipe[1])
        sys.excepthook, sys.unraisablehook, threading.excepthook = self._hooks

    def tell(self, number: int) -> None:
        """Say that the process ends, once."""
        if self._told.acquire(blocking=False):
            self._on_end(number)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.number is None and not self.is_over:
            self.number, self._since = number, time.monotonic()
            raise Interrupted(number)
        if self.number is not None and time.monotonic() - self._since > _ONE_SIGNAL:
            self._end(self.number)

    def _keep_deadline(self) -> None:
        """Wait for a signal, which writes its number into the pipe at once, then for the end of the work."""
        assert self._pipe is not None
        reader = self._pipe[0]
        while (received := os.read(reader, 1)) and received[0] not in NUMBERS:
            pass
        if received and not self._ended.wait(GRACE):
            self._end(self.number or received[0])
        os.close(reader)

    def _end(self, number: int) -> None:
        self.tell(number)
        os._exit(128 + number)

    def _excepthook(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Extension modules print what is raised while they are imported."""
        if not isinstance(error, Interrupted):
            self._hooks[0](kind, error, trace)

    def _unraisablehook(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """A destructor cannot pass the exception on; the deadline does."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._hooks[1](unraisable)

    def _threadhook(self, failure: "threading.ExceptHookArgs") -> None:
        """A thread under which everything is taken away may fail of it, which is no news."""
        if self.number is None:
            self._hooks[2](failure)
