"""Formats of the files that qinn keeps, and the sentence that says which qinn reads one that this one does not."""

from collections.abc import Mapping
from pathlib import Path

import qinn
from qinn.errors import QinnError


def check_format(
    path: Path, content: Mapping[str, object], reads: range, *, remedy: str, error: type[QinnError]
) -> None:
    """Make sure that a document has a format version that this qinn reads.

    Args:
        path: Where it lies.
        content: The document, with ``version``; who wrote it, in ``qinn_version`` or ``versions``, is quoted.
        reads: Format versions that can be read.
        remedy: What makes the file anew.
        error: What is raised.

    Raises:
        QinnError: Of the class `error`, saying which qinn wrote it, which this is, and what to do.

    Examples:
        >>> newer = {"version": 3, "qinn_version": "0.9.0"}
        >>> check_format(Path("run.json"), newer, range(1, 3), remedy="repeat the run", error=QinnError)
        Traceback (most recent call last):
        ...
        qinn.errors.QinnError: `run.json` was written by qinn 0.9.0 with format version 3, but this is qinn 0.1.0, \
which reads versions 1 to 2; install qinn 0.9.0 or newer.
    """
    version, writer = content.get("version"), writer_of(content)
    if type(version) is int and version in reads:
        return
    by = f"qinn {writer}" if writer else "a qinn that it does not name"
    last = reads.stop - 1
    known = f"version {last}" if len(reads) == 1 else f"versions {reads.start} to {last}"
    if type(version) is not int:
        advice = remedy
    elif version < reads.start:
        advice = f"{remedy}, or read it with qinn {writer}" if writer else remedy
    else:
        # A version under development may read less than another of the same name wrote.
        names_it = writer is not None and writer != qinn.__version__
        advice = f"install {f'qinn {writer} or newer' if names_it else 'a newer qinn'}"
    raise error(
        f"`{path}` was written by {by} with format version {version}, but this is qinn {qinn.__version__}, "
        f"which reads {known}; {advice}."
    )


def writer_of(content: Mapping[str, object]) -> str | None:
    """Return the version of the qinn that wrote a document; None where it does not say.

    Examples:
        >>> writer_of({"versions": {"qinn": "0.1.0", "python": "3.11.7"}})
        '0.1.0'
    """
    versions = content.get("versions")
    stated = content.get("qinn_version", versions.get("qinn") if isinstance(versions, dict) else None)
    return stated if isinstance(stated, str) else None
