"""Arrays of Python objects in npy and npz files, as pandas makes them of text: read by the safe pickle reader.

Sequences of unequal lengths are kept so too, each an array of its own.
"""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.pickles.reading import load_pickle
from qinn.errors import DataError

__all__ = ["read_objects"]

_MOST_BYTES = 64 * 2**20


def read_objects(stream: Any, shape: tuple[int, ...], size: int, *, where: str) -> np.ndarray:
    """Read an array of Python objects all of which are text, numbers or nothing, or else all of which are arrays.

    Args:
        stream: The file, behind the header.
        shape: The array's shape, as the header says.
        size: Bytes behind the header.
        where: File and array, for messages.

    Raises:
        DataError: If there are other objects in it, or it is damaged or too large.

    Examples:
        >>> import io, pickle
        >>> stream = io.BytesIO(pickle.dumps(np.array(["first", "second"], dtype=object), 2))
        >>> read_objects(stream, (2,), len(stream.getvalue()), where="f.npz:id").tolist()
        ['first', 'second']
    """
    if size > _MOST_BYTES:
        raise DataError(
            f"`{where}` holds {size / 2**20:.0f} MiB of Python objects, more than the {_MOST_BYTES >> 20} MiB that are "
            'read of such an array; save it with a type of its own, as by `.astype(str)` or `.astype("float32")`.'
        )
    with tempfile.TemporaryDirectory(prefix="qinn-") as folder:
        copy = Path(folder) / "objects.pkl"
        with copy.open("wb") as target:
            shutil.copyfileobj(stream, target, 2**20)
        try:
            content = load_pickle(copy)
        except DataError as error:
            raise _refused(where) from error
    if not isinstance(content, np.ndarray) or content.dtype != object or content.size != math.prod(shape):
        raise _refused(where)
    if len({isinstance(item, np.ndarray) for item in content.flat}) > 1:
        raise _refused(where)
    return content.reshape(shape)


def _refused(where: str) -> DataError:
    return DataError(
        f"`{where}` holds Python objects that are not all text or numbers, or all arrays, or is damaged; such can't be "
        "read safely: "
        "save names by `.astype(str)`, numbers with a type of numbers, and sequences of unequal lengths one after "
        "another with their offsets."
    )
