"""Lines of a text file of others, read one at a time and refused where they are no text or have no end."""

import io
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from qinn.errors import DataError
from qinn.file_kinds import other_kind
from qinn.opening import open_regular
from qinn.resources import available_memory, shown_size

__all__ = ["LONGEST_LINE", "encoding_of", "text_lines"]

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
            raise DataError(f"`{path}` is not text in UTF-8 ({_how_to_recode(path, number)}.") from error


_LOOKED_AT = 2**20
_ENCODINGS = {
    "GB18030": "as programs for Chinese write it",
    "WINDOWS-1252": "Latin-1, as old programs write it",
}


def _how_to_recode(path: Path, num_read: int) -> str:
    """Say where a text is none in UTF-8, what it may be written in, and what to do, as the end of a sentence."""
    with open_regular(path) as stream:
        content = stream.read(_LOOKED_AT)
    place = f"behind line {num_read})"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = f"line {line})"
    encoding = encoding_of(content)
    if not encoding:
        return f"{place}; save it as UTF-8"
    return (
        f"{place}; it looks like {encoding} ({_ENCODINGS[encoding]}): save it as UTF-8, as by `iconv -f {encoding} -t "
        f"UTF-8 {shlex.quote(str(path))} > NEW`"
    )


def encoding_of(content: bytes) -> str:
    """Guess what a text that is not in UTF-8 is written in, by how its bytes beyond ASCII follow each other.

    Letters with accents stand alone among others; Chinese characters are pairs of such bytes, of which the first of a
    common one is 0xB0 to 0xD7.

    Returns:
        ``WINDOWS-1252``, ``GB18030``, or empty where neither is likely.

    Examples:
        >>> encoding_of("id,text\\na,caf\u00e9".encode("latin-1")), encoding_of("\u4e00\u822c\u5427".encode("gb18030"))
        ('WINDOWS-1252', 'GB18030')
    """
    runs = [match[0] for match in re.finditer(rb"[\x80-\xff]+", content)]
    count = sum(map(len, runs))
    paired = [run[at] for run in runs for at in range(0, len(run) - 1, 2)]
    if 2 * len(paired) > 0.9 * count and sum(0xB0 <= one <= 0xD7 for one in paired) > 0.5 * len(paired):
        return "GB18030"
    single = sum(len(run) == 1 for run in runs)
    return "WINDOWS-1252" if runs and single > 0.7 * len(runs) and b"\0" not in content else ""


def _check_size(path: Path, size: int) -> None:
    if size > (most := available_memory()):
        raise DataError(
            f"`{path}` has {shown_size(size)}, more than the {shown_size(most)} of memory that this process can have; "
            "import it in parts, or save it as parquet."
        )
