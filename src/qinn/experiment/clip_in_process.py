"""The features of a clip as the job of another process, see `qinn.experiment.workers`."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from qinn.errors import ClipError, QinnError
from qinn.experiment.workers import Tell
from qinn.features.extraction import ClipOptions, Extractor

__all__ = ["do"]


def do(job: dict[str, Any], tell: Tell) -> None:
    """Make the features of a clip and save them.

    Whatever a clip leads to is said of that clip; what is wrong with all of them is raised as it is.
    """
    name = job["name"]
    extractor = _extractor(tuple(sorted(job["options"].items())))
    extractor.load()
    try:
        features = extractor.extract(
            job["path"],
            begin=job["begin"],
            end=job["end"],
            words=job["words"],
            landmarks=job["landmarks"],
            name=name,
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
    features.save(Path(job["target"]))


@lru_cache(maxsize=1)
def _extractor(options: tuple[tuple[str, Any], ...]) -> Extractor:
    return Extractor(ClipOptions(**dict(options)))
