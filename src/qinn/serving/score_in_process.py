"""Scoring clips as the job of another process, see `qinn.experiment.workers`: a run is loaded once, asked often."""

from typing import Any

from qinn.errors import ClipError, QinnError
from qinn.experiment.clip_process import throttled
from qinn.experiment.clip_scoring import ClipScorer
from qinn.experiment.workers import Tell
from qinn.features.clip import Limits
from qinn.resources import resource_error

__all__ = ["do"]

_loaded: list[ClipScorer] = []


def do(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Load a run and say what it is, or score a clip.

    Args:
        job: ``load`` with a run's folder and a level, or a clip: its path, its name, where it begins and ends, the
            words if they are known, and how long it may be.
        tell: Told the stage and which share of it is done.
    """
    if "load" in job:
        scorer = ClipScorer.load(job["load"], level=job["level"])
        _loaded[:] = [scorer]
        return {
            "name": scorer.name,
            "tiers": dict(scorer.tiers),
            "kind": scorer.task.kind,
            "stages": scorer.stages,
        }
    try:
        score = _loaded[0].score(
            job["path"],
            name=job["name"],
            begin=job["begin"],
            end=job["end"],
            words=job["words"],
            limits=Limits(max_seconds=job["max_seconds"]),
            progress=throttled(tell),
        )
    except Exception as error:
        if isinstance(error, QinnError) or resource_error(error) is None:
            raise
        raise ClipError(f"`{job['name']}` needs more memory than there is.") from error
    return score.to_json()
