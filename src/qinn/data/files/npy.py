"""The header of a .npy file: what numpy reads there, with every way in which it can be wrong made one error."""

import math
import tokenize
from typing import Any

import numpy as np

__all__ = ["read_npy_header"]

_LARGEST = 2**62


def read_npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of a npy stream, of format 1 or 2; the stream stands at the first value then.

    Args:
        stream: Anything that reads bytes, at the start of the file.

    Returns:
        Shape, whether the order is Fortran's, and type.

    Raises:
        ValueError: If it is no such header, or declares a negative, fractional or impossibly large shape.

    Examples:
        >>> import io
        >>> file = io.BytesIO()
        >>> np.save(file, np.zeros((2, 3)))
        >>> _ = file.seek(0)
        >>> read_npy_header(file)
        ((2, 3), False, dtype('float64'))
    """
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"format {version[0]}.{version[1]} is unknown")
    try:
        shape, fortran, dtype = readers[version](stream)
    # The header is a Python expression, and numpy's parser lets the errors of Python's tokenizer through.
    except (tokenize.TokenError, SyntaxError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"its header is not valid: {error}") from error
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"its shape {shape} is not possible")
    if math.prod(max(n, 1) for n in shape) * max(dtype.itemsize, 1) > _LARGEST:
        raise ValueError(f"its shape {str(shape)[:60]} is larger than any file")
    return shape, fortran, dtype
