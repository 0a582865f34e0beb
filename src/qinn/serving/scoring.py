"""The process that scores: started with the run loaded, asked clip by clip, replaced when it dies or has grown."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qinn.errors import ArgumentError, ClipError, ConfigError
from qinn.experiment.clip_process import why_it_died
from qinn.experiment.process_limits import ProcessLimits
from qinn.experiment.workers import Worker, WorkerDiedError
from qinn.results.clip_score import ClipScore

__all__ = ["About", "Clip", "ScoringProcess", "ScoringSettings", "refusal_of"]

_PLACE = re.compile(r"(?:^|[\s`'\"(=])(?:/|~/|[A-Za-z]:[\\/]|\\\\)\S")
_QUOTED = re.compile(r"begins with `.*`", re.DOTALL)
"""What a file of the sender's own has at its front, which may look like a place of ours."""
_GROWTH = 2**29
OURS = "The clip could not be scored for a reason that lies with this server; its own output says which."
"""What is said of errors that a clip has no part in."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What is to be scored.

    Attributes:
        path: Where it lies.
        name: What whoever sent it calls it.
        begin: Where to begin, in seconds.
        end: Where to end.
        words: What is said, if that is known.
    """

    path: Path
    name: str
    begin: float | None = None
    end: float | None = None
    words: tuple[str, ...] | None = None


@dataclass(frozen=True)
class About:
    """What a run is.

    Attributes:
        name: Its name.
        tiers: Modality → what makes its features.
        kind: What it predicts.
        stages: What is done with a clip, one after the other.
    """

    name: str
    tiers: Mapping[str, str]
    kind: str
    stages: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """What scores, and what it may use.

    Attributes:
        run: Folder of a run, of a model or of what was published.
        level: Share of new clips whose label the interval is to hold.
        max_seconds: Longest clip.
        module: Where the function is that does it.
        growth: Bytes by which its memory may grow before it is replaced.
    """

    run: Path
    level: float = 0.9
    max_seconds: float = 300.0
    module: str = "qinn.serving.score_in_process"
    growth: int = _GROWTH

    @property
    def limits(self) -> ProcessLimits:
        """What the process may use: some ten times what a film of that length needs."""
        return ProcessLimits(cpu_seconds=120 + 2 * self.max_seconds, file_bytes=2**24, files=256)


@dataclass
class ScoringProcess:
    """A process with a run loaded. Whoever starts it must live as long as it.

    Attributes:
        settings: What scores.
    """

    settings: ScoringSettings
    _worker: Worker | None = None
    _first: int | None = field(default=None, init=False)
    _is_over: bool = field(default=False, init=False)

    def load(self) -> About:
        """Start it, if it is not there, and load the run.

        Raises:
            QinnError: If the run cannot score clips.
        """
        self.close()
        self._is_over, self._first = False, None
        self._worker = Worker(self.settings.module, self.settings.limits)
        try:
            found = self._worker.ask({"load": str(self.settings.run), "level": self.settings.level})
        except BaseException:
            self.close()  # alive but without a run it would be asked to score
            raise
        return About(str(found["name"]), dict(found["tiers"]), str(found["kind"]), tuple(found["stages"]))

    def score(self, clip: Clip, tell: Callable[[str, float | None], object]) -> ClipScore:
        """Score a clip.

        Args:
            clip: The clip.
            tell: Told the stage, and which share of it is done.

        Raises:
            WorkerDiedError: If the process ended.
            QinnError: If the clip is refused.
        """
        assert self._worker is not None
        job = {
            "path": str(clip.path),
            "name": clip.name,
            "begin": clip.begin,
            "end": clip.end,
            "words": None if clip.words is None else list(clip.words),
            "max_seconds": self.settings.max_seconds,
        }
        try:
            # Checked, since what reads files of others may say anything.
            score = ClipScore.from_json(self._worker.ask(job, lambda told: tell(*_stage(told))))
        except WorkerDiedError:
            self._is_over = True
            raise
        # Not before the first clip: much is loaded when it is needed.
        self._first = self._first or self.memory
        return score

    @property
    def memory(self) -> int:
        """Bytes that it has in memory; 0 where that is not known."""
        return 0 if self._worker is None else self._worker.resident_memory or 0

    @property
    def must_be_replaced(self) -> bool:
        """Whether it is not there, died or has grown too much since its first clip."""
        if self._worker is None or self._is_over or self._worker.process.poll() is not None:
            return True
        return self._first is not None and self.memory > self._first + self.settings.growth

    def kill(self) -> None:
        """End it at once, from any thread; whoever waits for an answer learns it."""
        self._is_over = True
        if self._worker is not None:
            self._worker.kill()

    def close(self) -> None:
        """End it at once; nobody may be waiting for an answer."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _stage(told: Any) -> tuple[str, float | None]:
    stage, share = told
    return str(stage)[:40], None if share is None else min(max(float(share), 0.0), 1.0)


def refusal_of(error: Exception, clip: Clip, run: Path | None = None) -> str | None:
    """Return what is said of an error to whoever sent the clip; None where that is nobody's business but ours.

    Args:
        error: What was raised.
        clip: The clip.
        run: Folder of the run, which is called by its last part.

    Examples:
        >>> refusal_of(ClipError("`a.mp4` is too long."), Clip(path=Path("/x/1"), name="a.mp4"))
        '`a.mp4` is too long.'
        >>> refusal_of(ConfigError("Weights in `/x/y` are others."), Clip(path=Path("/x/1"), name="a.mp4")) is None
        True
    """
    if isinstance(error, WorkerDiedError):
        return f"`{clip.name}` {why_it_died(error)}."
    if isinstance(error, (ClipError, ArgumentError, ConfigError)):
        said = str(error).replace(str(clip.path), clip.name)
        sentence = " ".join((said if run is None else said.replace(str(run), run.name)).split())
        if not _PLACE.search(_QUOTED.sub("", sentence)):
            return sentence
    return None
