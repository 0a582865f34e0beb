"""A process with limits that makes features of clips, for whoever does not want to open files of others itself."""

import base64
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qinn.errors import ClipError
from qinn.experiment.process_limits import ProcessLimits
from qinn.experiment.workers import Tell, Worker, WorkerDiedError
from qinn.features.clip import Limits
from qinn.features.clip_features import ClipFeatures
from qinn.features.extraction import ClipOptions

__all__ = ["ClipProcess", "ExtractorElsewhere", "limits_for", "throttled", "why_it_died"]

_MODULE = "qinn.experiment.clip_in_process"
_BETWEEN = 0.1
"""Seconds between two words about the same stage."""


def limits_for(seconds: float) -> ProcessLimits:
    """Return what a process may use that reads clips of at most so many seconds, some forty times what films need.

    Args:
        seconds: Longest clip.
    """
    return ProcessLimits(cpu_seconds=120 + 10 * seconds)


def why_it_died(error: WorkerDiedError) -> str:
    """Return what a clip did that ended the process which read it, as the end of a sentence."""
    if error.out_of_time:
        return "needs more computing time than a clip may have: it is damaged, or larger than is sensible; cut it"
    return "ended the process that read it: it is damaged, or needs more memory than there is"


class ClipProcess:
    """A process that makes features, started when it is first needed and anew when a clip ended it.

    Args:
        limits: What it may use; by default enough for the longest clip of `ClipOptions`.

    Examples:
        >>> with ClipProcess() as process:
        ...     extractor = process.extractor(ClipOptions(speech="none", face="none"))
        >>> extractor.options.sound
        'acoustic'
    """

    def __init__(self, limits: ProcessLimits | None = None) -> None:
        self.limits = limits or limits_for(ClipOptions().max_seconds)
        self._worker: Worker | None = None

    def __enter__(self) -> "ClipProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def extractor(self, options: ClipOptions) -> "ExtractorElsewhere":
        """Return what makes features there."""
        return ExtractorElsewhere(self, options)

    def ask(self, job: dict[str, Any], tell: Tell = lambda what: None) -> Any:
        """Have a job done by `qinn.experiment.clip_in_process`.

        Raises:
            WorkerDiedError: If the process ended.
            QinnError: If the clip is refused, or something is missing.
        """
        if self._worker is not None and self._worker.process.poll() is not None:
            self.close()  # it ended between two jobs, which is not the fault of this one
        if self._worker is None:
            self._worker = Worker(_MODULE, self.limits)
        try:
            return self._worker.ask(job, tell)
        except WorkerDiedError:
            self.close()
            raise


class ExtractorElsewhere:
    """An extractor that works in another process, with the features and refusals of `qinn.features`' own.

    Args:
        process: Where.
        options: What to make.
    """

    def __init__(self, process: ClipProcess, options: ClipOptions) -> None:
        self.process, self.options = process, options

    def load(self) -> None:
        """Load all networks there now, see `Extractor.load`."""
        self.process.ask({"options": asdict(self.options)})

    def extract(
        self,
        path: Path | str,
        *,
        begin: float | None = None,
        end: float | None = None,
        words: Sequence[str] | None = None,
        name: str | None = None,
        limits: Limits | None = None,
        progress: Callable[[str, float | None], object] | None = None,
    ) -> ClipFeatures:
        """Make the features of a clip, see `Extractor.extract`.

        Raises:
            ClipError: If the clip cannot be read, is beyond a limit, or ended the process.
        """
        called = str(path) if name is None else name
        job = {
            "path": str(path),
            "name": called,
            "begin": begin,
            "end": end,
            "words": None if words is None else list(words),
            "options": asdict(self.options),
            "limits": None if limits is None else asdict(limits),
        }
        try:
            answer = self.process.ask(job, lambda told: None if progress is None else progress(*told))
        except WorkerDiedError as error:
            raise ClipError(f"`{called}` {why_it_died(error)}.") from error
        return ClipFeatures.read(io.BytesIO(base64.b64decode(answer)), f"What was made of `{called}`")


def throttled(tell: Tell) -> Callable[[str, float | None], None]:
    """Return what tells of each new stage at once, and of the same one now and then."""
    last: tuple[str, float] = ("", 0.0)

    def progress(stage: str, share: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or now - last[1] >= _BETWEEN:
            last = (stage, now)
            tell([stage, share])

    return progress
