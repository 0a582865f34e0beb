"""Reading pickle files without running them: a pickle machine that knows arrays and plain containers only.

A pickle is a program. Python's own unpickler runs it and can be talked into calling anything; this one is
written the other way round: it interprets the instructions itself, a name in the file is never looked up
anywhere, and only the handful of calls that numpy arrays and plain containers need are imitated. What is
allocated stays proportional to the size of the file, and the values of its arrays stay on disk until they
are looked at.
"""

import warnings
from pathlib import Path
from typing import Any

from qinn.data.files.pickles.content import PickleBytes
from qinn.data.files.pickles.machine import PickleDamageError, PickleMachine
from qinn.errors import DataError
from qinn.file_kinds import damage_of, other_kind

__all__ = ["PickleFile", "load_pickle", "open_pickle"]

_MAY_BE = ("pickle", "text", "empty")
"""What begins as a pickle may: those of the oldest protocol are text."""


class PickleFile:
    """An open pickle; made by `open_pickle`.

    Attributes:
        content: What was pickled. Its arrays are read-only views of the file.
    """

    def __init__(self, content: Any, source: PickleBytes) -> None:
        self.content = content
        self._source = source

    def release(self) -> None:
        """Give back the memory of the values that were looked at so far; they stay readable from the file."""
        self._source.release()


def open_pickle(
    path: str | Path, *, sketch: bool = False, most_instructions: int | None = None
) -> PickleFile:
    """Open a pickle of numpy arrays and plain containers, running nothing that the file asks for.

    Protocols 0 to 5 are read, also from Python 2 (its byte strings become text through latin-1), and arrays
    from any numpy. Arrays are views of the file, so that a file larger than memory can be taken in piece by
    piece, with `PickleFile.release` after each. Where a file of an old protocol holds arrays as text, these are
    unpacked to a temporary file first.

    Args:
        path: The pickle file.
        sketch: Only look: arrays that would have to be unpacked have their shape and type, but zeros in them.
        most_instructions: Refuse a file that has more, so that looking takes no longer; None for no bound.

    Raises:
        DataError: If the file is missing, is no pickle, is cut short, or asks for anything else than arrays
            and plain containers; the message names the file and what was asked for.

    Examples:
        >>> import pickle, tempfile
        >>> import numpy as np
        >>> file = Path(tempfile.mkdtemp()) / "scores.pkl"
        >>> _ = file.write_bytes(pickle.dumps({"score": np.arange(1000)}))
        >>> opened = open_pickle(file)
        >>> int(opened.content["score"].sum())
        499500
        >>> opened.release()
    """
    path = Path(path)
    try:
        other = other_kind(path, _MAY_BE)
        source = None if other else PickleBytes(path, sketch=sketch)
    except OSError as error:
        raise DataError(f"`{path}` can't be read: {error.strerror or error}.") from error
    if source is None:
        raise DataError(f"`{path}` is not a pickle file but {other}.")
    with warnings.catch_warnings():
        # Python's tokens warn about escapes that a damaged file makes by chance.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            content = PickleMachine(source, most_instructions).run()
        except PickleDamageError as error:
            raise DataError(f"{str(error).rstrip('.')}{_what_happened(path, error)}.") from error
    source.release()
    return PickleFile(content, source)


def _what_happened(path: Path, error: PickleDamageError) -> str:
    """Say why a file is no pickle or a damaged one, where its bytes tell, as the end of a sentence."""
    if happened := damage_of(path):
        return happened
    text = other_kind(path, ("pickle",)) if error.is_no_pickle else None
    return f"; it is {text}" if text else ""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of numpy arrays and plain containers; see `open_pickle`.

    Args:
        path: The pickle file.

    Returns:
        What was pickled: arrays, numpy scalars, dict, list, tuple, set, str, bytes and numbers. Arrays are
        read-only where the file's own bytes back them.

    Raises:
        DataError: If the file is missing, is no pickle, is cut short, or asks for anything else than arrays
            and plain containers; the message names the file and what was asked for.

    Examples:
        >>> import pickle, tempfile
        >>> import numpy as np
        >>> file = Path(tempfile.mkdtemp()) / "scores.pkl"
        >>> _ = file.write_bytes(pickle.dumps({"score": np.arange(3)}))
        >>> load_pickle(file)
        {'score': array([0, 1, 2])}
    """
    return open_pickle(path).content
