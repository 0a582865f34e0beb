"""Clips that wait, are scored or have been: one after the other, a few at most, none for longer than anybody asks.

Threads of our own feed the processes, one each; another one looks after what nobody asks for any more, what takes too
long and what needs too much. All that is kept of a clip is its result, and that for a quarter of an hour.
"""

import json
import math
import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from qinn.errors import QinnError
from qinn.experiment.workers import WorkerDiedError
from qinn.features.clip import CLIP_SUFFIXES
from qinn.results.clip_score import ClipScore
from qinn.serving.scoring import OURS, About, Clip, ScoringProcess, ScoringSettings, refusal_of
from qinn.serving.spool import Spool

__all__ = ["FullError", "Job", "Jobs", "Patience", "State"]

_NUMBER = re.compile(r"[\w-]{22}", re.ASCII)
_WHEN_KEPT = "????-??-??T??-??-??"
_EVERY = 0.2
_TO_END = 2.0
_MOST_KEPT = 32
_MOST_BYTES = 64 * 2**20


class FullError(QinnError):
    """No further clip can wait.

    Attributes:
        seconds: When to come again.
    """

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class State(Enum):
    """Where a clip is."""

    ARRIVING = "arriving"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes of it."""
        return self in (State.DONE, State.FAILED)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """For how many seconds what is waited for.

    Attributes:
        unasked: For whoever sent a clip to ask for it.
        unwatched: For whoever watched it to come back.
        kept: For a result to be asked for.
        working: For a clip to be scored.
        memory: Bytes that the process may have in memory meanwhile.
    """

    unasked: float = 60.0
    unwatched: float = 5.0
    kept: float = 900.0
    working: float = 1800.0
    memory: int = 3 * 2**30


@dataclass(eq=False)
class Job:
    """A clip on its way.

    Attributes:
        id: What it is called here, and what cannot be guessed.
        clip: The clip.
        state: Where it is.
        stage: What is being done.
        share: Which share of that is done, if that is known.
        error: Why it failed.
        result: What came of it, as JSON.
    """

    id: str
    clip: Clip
    state: State = State.ARRIVING
    stage: str = ""
    share: float | None = None
    error: str = ""
    result: bytes = b""
    began: float = 0.0
    asked: float = field(default_factory=time.monotonic)
    watchers: int = 0
    was_watched: bool = False
    ending: str = ""
    kept: Path | None = None


class Jobs:
    """All clips of a server. Its methods may be called from any thread.

    Args:
        settings: What scores them.
        spool: Where they lie meanwhile.
        waiting: How many may wait.
        workers: How many are scored at the same time.
        keep: Folder in which clips and results are kept.
        patience: For how long what is waited for.
        log: Takes what whoever runs the server should know.
    """

    def __init__(
        self,
        settings: ScoringSettings,
        spool: Spool,
        *,
        waiting: int = 4,
        workers: int = 1,
        keep: Path | None = None,
        patience: Patience | None = None,
        log: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.settings, self.spool, self.keep = settings, spool, keep
        self.patience = patience or Patience()
        self.most_waiting = waiting
        self.replaced = 0
        self._log = log
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._running: dict[int, Job] = {}
        self._taken: deque[float] = deque(maxlen=8)
        self._is_over = False
        self._changed = threading.Condition()
        self._about: About | Exception | None = None
        self._processes = [ScoringProcess(settings) for _ in range(workers)]
        feeders = [(self._feed, (place,)) for place in range(workers)]
        self._threads = [
            threading.Thread(target=target, args=given, daemon=True)
            for target, given in [*feeders, (self._look_after, ())]
        ]

    def start(self) -> About:
        """Start the processes and wait until the first one has the run.

        Raises:
            QinnError: If the run cannot score clips.
        """
        for thread in self._threads:
            thread.start()
        with self._changed:
            # In pieces, so that a signal is answered.
            while self._about is None:
                self._changed.wait(0.5)
        if isinstance(self._about, Exception):
            raise self._about
        return self._about

    def close(self) -> None:
        """End all processes and threads."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        limit = time.monotonic() + _TO_END
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < limit:
            # Again and again, since one may just be starting.
            for process in self._processes:
                process.kill()
            time.sleep(0.02)

    @property
    def is_over(self) -> bool:
        """Whether it was closed."""
        return self._is_over

    @property
    def processes(self) -> list[ScoringProcess]:
        """The processes that score."""
        return self._processes

    def reserve(
        self, name: str, begin: float | None, end: float | None, words: tuple[str, ...] | None
    ) -> Job:
        """Take a place in the queue for a clip that is to arrive.

        Raises:
            FullError: If there is none.
        """
        with self._changed:
            ahead = sum(not job.state.is_final for job in self._jobs.values())
            if ahead >= self.most_waiting + len(self._processes):
                seconds = self._seconds_of_one() * math.ceil(ahead / len(self._processes))
                raise FullError(
                    f"{ahead} clips are being scored or wait for it, and no more can wait; come again in {seconds} s.",
                    seconds,
                )
            number = secrets.token_urlsafe(16)
            clip = Clip(path=self.spool.place(number), name=name, begin=begin, end=end, words=words)
            job = self._jobs[number] = Job(number, clip)
            return job

    def _seconds_of_one(self) -> int:
        mean = sum(self._taken) / len(self._taken) if self._taken else 10.0
        return max(1, min(round(mean), 60))

    def submit(self, job: Job) -> None:
        """Put a clip that has arrived into the queue."""
        with self._changed:
            if job.id not in self._jobs:
                self._remove_clip(job)
                return
            job.state, job.asked = State.WAITING, time.monotonic()
            self._waiting.append(job)
            self._changed.notify_all()

    def find(self, number: str) -> Job | None:
        """Return a clip, which is thereby asked for."""
        with self._changed:
            job = self._jobs.get(number)
            if job is not None:
                job.asked = time.monotonic()
            return job

    def remove(self, job: Job) -> None:
        """Forget a clip, wherever it is, and end what works on it."""
        with self._changed:
            self._jobs.pop(job.id, None)
            self._end(job, "removed")
        if job.kept is not None:
            shutil.rmtree(job.kept, ignore_errors=True)

    def delete(self, number: str) -> bool:
        """Forget a clip and remove what is kept of it, also where its result was forgotten before.

        Returns:
            Whether there was anything.
        """
        job = self.find(number)
        if job is not None:
            self.remove(job)
            return True
        if self.keep is None or not _NUMBER.fullmatch(number):
            return False
        kept = list(self.keep.glob(f"{_WHEN_KEPT}-{number}"))
        for folder in kept:
            shutil.rmtree(folder, ignore_errors=True)
        return bool(kept)

    def _end(self, job: Job, why: str) -> None:
        job.ending = job.ending or why
        if job in self._waiting:
            self._waiting.remove(job)
        for place, running in self._running.items():
            if running is job:
                self._processes[place].kill()
                return
        self._remove_clip(job)

    def _remove_clip(self, job: Job) -> None:
        """Remove a clip's file; where the disk refuses, say so and go on: it is gone with the server's folder."""
        try:
            job.clip.path.unlink(missing_ok=True)
        except OSError as error:
            self._log(f"a clip could not be removed: {error.strerror or type(error).__name__}")

    def _release(self, job: Job) -> None:
        """Take a clip from the process that worked on it: what ends the clip from now on ends no process."""
        with self._changed:
            self._running = {place: one for place, one in self._running.items() if one is not job}

    @contextmanager
    def watched(self, job: Job) -> Iterator[None]:
        """Have a clip be asked for as long as the block runs, and not much longer."""
        with self._changed:
            job.watchers += 1
            job.was_watched = True
        try:
            yield
        finally:
            with self._changed:
                job.watchers -= 1
                job.asked = time.monotonic()

    def status(self, job: Job) -> dict[str, object]:
        """Return where a clip is, as JSON holds it."""
        with self._changed:
            ahead = None
            if job.state is State.WAITING:
                ahead = len(self._running) + self._waiting.index(job) if job in self._waiting else 0
            return {
                "id": job.id,
                "name": job.clip.name,
                "state": job.state.value,
                "ahead": ahead,
                "stage": job.stage or None,
                "share": job.share,
                "error": job.error or None,
            }

    def counts(self) -> dict[str, int]:
        """Return how many clips are where."""
        with self._changed:
            states = [job.state for job in self._jobs.values()]
        return {state.value: states.count(state) for state in State}

    def _feed(self, place: int) -> None:
        """Score one clip after the other with a process that this thread starts, and starts anew."""
        process = self._processes[place]
        try:
            while not self._is_over:
                if process.must_be_replaced and not self._load(process):
                    return
                job = self._next(place)
                if job is None:
                    return
                self._score(process, job)
        finally:
            process.close()

    def _load(self, process: ScoringProcess) -> bool:
        """Start a process; where the run cannot be loaded, try again after a while, unless it was the first time."""
        first = self._about is None
        try:
            about: About | Exception = process.load()
        except Exception as error:  # noqa: BLE001 - whoever started the server raises it
            about = error
        self.replaced += not first
        with self._changed:
            if self._about is None:
                self._about = about
            self._changed.notify_all()
        if not isinstance(about, Exception):
            return True
        if not first and not self._is_over:
            self._log(f"the run cannot be loaded again: {about}")
            with self._changed:
                for job in self._waiting:
                    self._settle(job, State.FAILED, OURS)
                self._waiting.clear()
                self._changed.wait(2)
        return not first and not self._is_over

    def _next(self, place: int) -> Job | None:
        with self._changed:
            while not self._waiting and not self._is_over:
                self._changed.wait(1)
            if self._is_over:
                return None
            job = self._waiting.popleft()
            job.state, job.began = State.RUNNING, time.monotonic()
            self._running[place] = job
            return job

    def _score(self, process: ScoringProcess, job: Job) -> None:
        def tell(stage: str, share: float | None) -> None:
            job.stage, job.share = stage, share

        if process.must_be_replaced:  # ended between two clips, as by lack of memory
            self._load(process)
        if process.must_be_replaced:  # and cannot be had again, which was said
            self._settle(job, State.FAILED, OURS)
            return
        try:
            score = process.score(job.clip, tell)
            self._release(job)
            self._finish(job, score)
        except Exception as error:  # noqa: BLE001 - each costs its clip and nothing else
            self._settle(job, State.FAILED, self._said(error, job))
        with self._changed:
            self._taken.append(time.monotonic() - job.began)
            self._forget()

    def _settle(self, job: Job, state: State, error: str = "") -> None:
        """Say that a clip is over once nothing is left of it and nothing works on it: whoever reads so relies on it."""
        self._remove_clip(job)
        with self._changed:
            self._release(job)
            job.state, job.stage, job.share, job.error = state, "", None, error

    def _said(self, error: Exception, job: Job) -> str:
        if job.ending and isinstance(error, WorkerDiedError):
            return job.ending
        sentence = refusal_of(error, job.clip, self.settings.run)
        if sentence is None:
            self._log(f"a clip could not be scored: {type(error).__name__}: {' '.join(str(error).split())}")
            return OURS
        return sentence

    def _finish(self, job: Job, score: ClipScore) -> None:
        job.result = json.dumps(score.to_json(), ensure_ascii=False, allow_nan=False).encode()
        if self.keep is not None and not job.ending:
            self._keep(job, self.keep)
        self._settle(job, State.DONE)

    def _keep(self, job: Job, place: Path) -> None:
        folder = place / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{job.id}"
        suffix = Path(job.clip.name).suffix.lower()
        try:
            folder.mkdir(mode=0o700)
            shutil.move(job.clip.path, folder / f"clip{suffix if suffix in CLIP_SUFFIXES else ''}")
            (folder / "score.json").write_bytes(job.result)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._log(f"a clip and its result could not be kept: {error.strerror}")
            return
        with self._changed:
            # It may have been deleted meanwhile.
            if not job.ending:
                job.kept = folder
                return
        shutil.rmtree(folder, ignore_errors=True)

    def _forget(self) -> None:
        """Forget results that nobody asked for in a while, and the oldest where there are too many."""
        now = time.monotonic()
        ended = sorted((job for job in self._jobs.values() if job.state.is_final), key=lambda job: job.asked)
        size = sum(len(job.result) for job in ended)
        for number, job in enumerate(ended):
            is_much = len(ended) - number > _MOST_KEPT or size > _MOST_BYTES
            if (is_much and not job.watchers) or now - job.asked > self.patience.kept:
                del self._jobs[job.id]
                size -= len(job.result)

    def _look_after(self) -> None:
        """End what nobody waits for, what takes too long and what needs too much; forget what is old."""
        while not self._is_over:
            with self._changed:
                now = time.monotonic()
                for job in list(self._jobs.values()):
                    limit = self.patience.unwatched if job.was_watched else self.patience.unasked
                    left = not job.watchers and now - job.asked > limit
                    if left and job.state in (State.WAITING, State.RUNNING):
                        del self._jobs[job.id]
                        self._end(job, "nobody asked for it any more")
                for place, job in list(self._running.items()):
                    if now - job.began > self.patience.working:
                        self._end(job, f"`{job.clip.name}` took too long and was given up; cut it.")
                    elif self._processes[place].memory > self.patience.memory:
                        self._end(job, f"`{job.clip.name}` needs more memory than it may have; cut it.")
                self._forget()
            time.sleep(_EVERY)
