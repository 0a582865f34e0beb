"""The features of a clip as the job of another process, see `qinn.experiment.workers`."""

import base64
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

from qinn.errors import ClipError, QinnError
from qinn.experiment.clip_process import throttled
from qinn.experiment.workers import Tell
from qinn.features.clip import Limits
from qinn.features.extraction import ClipOptions, Extractor
from qinn.resources import release_memory

__all__ = ["do"]


def do(job: dict[str, Any], tell: Tell) -> str | None:
    """Make the features of a clip and save them, or answer with them; without a clip, load what makes them.

    Whatever a clip leads to is said of that clip; what is wrong with all of them is raised as it is.

    Args:
        job: What to make, and of a clip its path, its name, where it begins and ends, the words if they are known,
            and what is kept; ``target`` names the file for it, or an answer is given.
        tell: Told the stage and which share of it is done.
    """
    extractor = _extractor(tuple(sorted(job["options"].items())))
    extractor.load()
    if "path" not in job:
        return None
    name, limits = job["name"], job.get("limits")
    try:
        features = extractor.extract(
            job["path"],
            begin=job["begin"],
            end=job["end"],
            words=job["words"],
            landmarks=job.get("landmarks", False),
            name=name,
            limits=None if limits is None else Limits(**limits),
            progress=throttled(tell),
        )
    except QinnError:
        raise
    except MemoryError as error:
        raise ClipError(f"`{name}` needs more memory than there is.") from error
    except Exception as error:
        # Nine hundred clips that are done shall not be lost to one that nobody thought of.
        said = " ".join(str(error).split())
        raise ClipError(
            f"`{name}` was not understood, which is a mistake of qinn: {type(error).__name__}, {said}."
        ) from error
    finally:
        release_memory()
    if target := job.get("target"):
        features.save(Path(target))
        return None
    stream = io.BytesIO()
    features.write(stream)
    return base64.b64encode(stream.getvalue()).decode("ascii")


@lru_cache(maxsize=1)
def _extractor(options: tuple[tuple[str, Any], ...]) -> Extractor:
    return Extractor(ClipOptions(**dict(options)))
