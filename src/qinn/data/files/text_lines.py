"""Lines of a text file of others, read one at a time and refused where they are no text or have no end."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

from qinn.errors import DataError
from qinn.file_kinds import other_kind
from qinn.opening import open_regular
from qinn.resources import available_memory, shown_size

__all__ = ["LONGEST_LINE", "text_lines"]

LONGEST_LINE = 2**24
"""Most characters of a line: a header of a hundred thousand columns has a tenth of it."""


def text_lines(path: Path) -> Iterator[str]:
    """Read a text file in UTF-8 line by line, with the ends of the lines.

    Args:
        path: The file.

    Raises:
        DataError: If it is no text in UTF-8, a line is too long, or it is larger than memory.
        OSError: If it can't be opened or is no regular file.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = file.write_bytes(b"\\xef\\xbb\\xbfid,label\\r\\na,1")
        >>> list(text_lines(file))
        ['id,label\\r\\n', 'a,1']
    """
    if (other := other_kind(path, ("text", "empty"))) is not None:
        raise DataError(f"`{path}` is no table but {other}.")
    with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as stream:
        number = 0
        try:
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise DataError(
                        f"`{path}` line {number} has more than {LONGEST_LINE >> 20} million characters, which no row "
                        "of a table has; check that it is a table in UTF-8."
                    )
                if number == 1:
                    _check_size(path, os.fstat(stream.fileno()).st_size)
                yield line
        except UnicodeDecodeError as error:
            raise DataError(
                f"`{path}` is not text in UTF-8 (byte {error.start} of a block, behind line {number}); save it as "
                "UTF-8."
            ) from error


def _check_size(path: Path, size: int) -> None:
    if size > (most := available_memory()):
        raise DataError(
            f"`{path}` has {shown_size(size)}, more than the {shown_size(most)} of memory that this process can have; "
            "import it in parts, or save it as parquet."
        )
