"""Results as data frames."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from qinn.errors import QinnError


def frame_of(rows: Sequence[Mapping[str, str | float | None]]) -> Any:
    """Return rows as a pandas data frame.

    Args:
        rows: Column → value, of each row.

    Raises:
        QinnError: If pandas is not installed.
    """
    try:
        return pa.Table.from_pylist([dict(row) for row in rows]).to_pandas()
    except ModuleNotFoundError as error:
        raise QinnError(
            "A data frame needs pandas, which is not installed; install it with `pip install pandas`."
        ) from error
