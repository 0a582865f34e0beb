"""Results as data frames."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from qinn.extras import needs

Columns = dict[str, Sequence[object] | npt.NDArray[np.generic]]
"""Columns of a table by name, all of one length."""


def frame_of(content: Columns | Sequence[Mapping[str, str | float | None]]) -> Any:
    """Return columns, or rows, as a pandas data frame.

    Raises:
        MissingPackageError: If pandas is not installed.
    """
    with needs("frames", "A data frame"):
        pandas: Any = import_module("pandas")
    return pandas.DataFrame(content)
