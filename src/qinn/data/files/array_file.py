"""What every file of arrays offers, whatever its format."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from qinn.errors import DataError

__all__ = ["ArrayFile", "decoded", "name_of"]


class ArrayFile(ABC):
    """Named arrays of one file, sliceable without loading the file; use as a context manager.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Names of the arrays."""

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of an array, without reading it."""
        return tuple(self.array(key).shape)

    def kind(self, key: str) -> str:
        """Type of an array's values, without reading them."""
        return str(self.array(key).dtype)

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    @abstractmethod
    def array(self, key: str) -> Any:
        """Return an array or something that slices like one.

        Raises:
            DataError: If there is no such array, it holds Python objects that are neither text nor numbers, or it
                is damaged.
        """

    def strings(self, key: str) -> list[str]:
        """Return an array of one dimension, or with one row or column, as text; empty where there is no value.

        Raises:
            DataError: As `array`; or if it has another shape or holds neither text nor numbers.
        """
        values = np.asarray(self.array(key)[...])
        if values.ndim == 0 or max(values.shape) != values.size:
            raise DataError(f"`{self.path}:{key}` must be one-dimensional, but has shape {values.shape}.")
        if values.dtype.kind not in "SUObiuf" or any(isinstance(value, np.ndarray) for value in values.flat):
            raise DataError(f"`{self.path}:{key}` must hold text or numbers, but its type is {values.dtype}.")
        return [name_of(value) for value in values.reshape(-1).tolist()]

    def _missing(self, key: str) -> DataError:
        names = self.keys()
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        return DataError(f"`{self.path}` has no array `{key}`; it has {shown or 'none'}.")


def name_of(value: Any) -> str:
    """Return what one value says as a name: text as it is, a whole number without a decimal point, nothing for NaN.

    Examples:
        >>> name_of(b"a"), name_of(7.0), name_of(None), name_of(float("nan"))
        ('a', '7', '', '')
    """
    if value is None or value != value:
        return ""
    # Whole numbers with gaps become floats in pandas and Parquet.
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return decoded(value)


def decoded(value: Any) -> str:
    """Return one value as text; bytes as UTF-8, with a mark where they are none."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
