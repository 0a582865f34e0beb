"""The on-disk store: samples of a data set, memory-mapped and free of pickles.

.. code-block:: text

    <store>/manifest.json          what it is, where it came from, its content hash; written last
    <store>/samples.parquet        id, split, label, group, fold, text and extra columns
    <store>/<modality>.values.npy  (total_steps, dim) float32: the steps of all samples after each other
    <store>/<modality>.offsets.npy (n + 1,) int64: sample i has steps offsets[i] to offsets[i + 1]
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from qinn.data.manifest import (
    TABLE_FILE,
    Modality,
    Source,
    content_hash,
    modalities_of,
    read_manifest,
    task_from_json,
)
from qinn.data.npy import read_npy_header
from qinn.data.writing import StoreWriter
from qinn.errors import DataError
from qinn.records import Task

__all__ = ["Modality", "Source", "Store", "StoreWriter"]


class Store:
    """A data set on disk, opened read-only without reading its feature values; see `Store.open`.

    Attributes:
        path: Its folder.
        manifest: Everything that ``manifest.json`` says.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._offsets: dict[str, np.ndarray] = {}
        self._values: dict[str, np.ndarray] = {}
        self._strings: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """Open a store and check that its parts exist and fit each other.

        Only the manifest, the offsets and the headers of the other files are read; `verify` reads everything.

        Args:
            path: The store's folder.

        Raises:
            DataError: If there is no store, or it is foreign, newer, truncated or contradicts itself.

        Example:
            >>> Store.open("no/such/folder")  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            qinn.errors.DataError: No store at `no/such/folder`: it does not exist; ...
        """
        folder = Path(path)
        store = cls(folder, read_manifest(folder))
        n = len(store)
        for name, dim in store.modalities.items():
            entry = store.manifest["modalities"][name]
            offsets = _mapped(folder / f"{name}.offsets.npy")
            if offsets.dtype != np.int64 or offsets.shape != (n + 1,):
                raise DataError(
                    f"`{folder / name}.offsets.npy` is damaged: it must hold {n + 1} int64 offsets, but has "
                    f"shape {offsets.shape} and dtype {offsets.dtype}; import the data again."
                )
            steps = np.diff(offsets)
            if offsets[0] != 0 or np.any(steps < 0) or offsets[-1] != entry.get("num_steps"):
                raise DataError(
                    f"`{folder / name}.offsets.npy` is damaged: offsets must rise from 0 to "
                    f"{entry.get('num_steps')}; import the data again."
                )
            values = _mapped(folder / f"{name}.values.npy")
            if (
                values.dtype != np.float32
                or values.shape != (offsets[-1], dim)
                or not values.flags.c_contiguous
            ):
                raise DataError(
                    f"`{folder / name}.values.npy` is damaged: it must hold float32 values of shape "
                    f"({offsets[-1]}, {dim}), but has shape {values.shape} and dtype {values.dtype}; "
                    "import the data again."
                )
            store._offsets[name], store._values[name] = offsets, values
        store._check_table()
        return store

    def __len__(self) -> int:
        """Number of samples."""
        return self.manifest["num_samples"]

    def __repr__(self) -> str:
        return f"Store({self.name!r}, {len(self)} samples, {self.modalities})"

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.manifest["name"]

    @property
    def sha256(self) -> str:
        """Hash of the content, as recorded when the store was written."""
        return self.manifest["sha256"]

    @cached_property
    def task(self) -> Task:
        """What is predicted."""
        return task_from_json(self.manifest["task"])

    @cached_property
    def modalities(self) -> dict[str, int]:
        """Modality → feature dimension, in the store's order."""
        return {name: modality.dim for name, modality in modalities_of(self.manifest).items()}

    @cached_property
    def tiers(self) -> dict[str, str]:
        """Modality → the extractor that made its features."""
        return {name: modality.tier for name, modality in modalities_of(self.manifest).items()}

    @cached_property
    def table(self) -> pa.Table:
        """The samples' id, split, label, group, fold, text and extra columns.

        Raises:
            DataError: If the table is damaged.
        """
        try:
            return pq.read_table(self.path / TABLE_FILE)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"`{self.path / TABLE_FILE}` is damaged ({error}); import the data again."
            ) from None

    def strings(self, column: str) -> np.ndarray:
        """Return a text column of `table` as an array of strings; null becomes the empty string."""
        if column not in self._strings:
            values = [value or "" for value in self.table.column(column).to_pylist()]
            self._strings[column] = np.array(values, dtype=object)
            self._strings[column].flags.writeable = False
        return self._strings[column]

    @cached_property
    def labels(self) -> np.ndarray:
        """float64 scores (NaN where unlabelled) or int64 class indices (-1 where unlabelled)."""
        column, missing = self.table.column("label"), np.nan if self.task.kind == "regression" else -1
        kind = np.float64 if self.task.kind == "regression" else np.int64
        labels = np.array([missing if label is None else label for label in column.to_pylist()], dtype=kind)
        labels.flags.writeable = False
        return labels

    def offsets(self, modality: str) -> Int64[np.ndarray, "bound"]:
        """First step of every sample in `values`, and the end of the last (n + 1)."""
        return self._offsets[modality]

    def values(self, modality: str) -> Float32[np.ndarray, "step feature"]:
        """All steps of one modality, memory-mapped and read-only."""
        return self._values[modality]

    def sample(self, row: int, modality: str) -> Float32[np.ndarray, "time feature"]:
        """Features of one sample; no steps where the modality is absent."""
        start, stop = self._offsets[modality][row : row + 2]
        return self._values[modality][start:stop]

    def verify(self) -> None:
        """Read everything and compare it with the content hash of the manifest.

        Raises:
            DataError: If the content is not what was written.
        """
        digests = {}
        for name in self.modalities:
            digest = hashlib.sha256()
            values = self._values[name]
            for start in range(0, len(values), 65536):
                digest.update(np.ascontiguousarray(values[start : start + 65536]).tobytes())
            digests[name] = digest.hexdigest()
        found = content_hash(self.task, modalities_of(self.manifest), self.table, digests, self._offsets)
        if found != self.sha256:
            raise DataError(
                f"The store `{self.path}` has changed since it was written: its hash is {found[:12]}…, but "
                f"its manifest says {self.sha256[:12]}…; import the data again."
            )

    def _check_table(self) -> None:
        path = self.path / TABLE_FILE
        try:
            with pq.ParquetFile(path) as parquet:
                num_rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
        except FileNotFoundError:
            raise DataError(f"The store `{self.path}` has no {TABLE_FILE}; import the data again.") from None
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"`{path}` is damaged ({error}); import the data again.") from None
        label = pa.float64() if self.task.kind == "regression" else pa.int64()
        expected = {name: pa.string() for name in ("id", "split", "group", "fold", "text")} | {"label": label}
        for name, kind in expected.items():
            if name not in schema.names or schema.field(name).type != kind:
                raise DataError(
                    f"`{path}` is damaged: column `{name}` of type {kind} is missing; import again."
                )
        if num_rows != len(self):
            raise DataError(
                f"`{path}` is damaged: it has {num_rows} rows, but its manifest says {len(self)}."
            )


def _mapped(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = read_npy_header(stream)
            header = stream.tell()
        expected = header + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        size = path.stat().st_size
        if size != expected:
            raise ValueError(f"it has {size} bytes instead of {expected}")
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", header, shape, "F" if fortran else "C")
    except FileNotFoundError:
        raise DataError(f"The store `{path.parent}` has no {path.name}; import the data again.") from None
    except OSError as error:
        raise DataError(f"Cannot read `{path}`: {error.strerror}; check its permissions.") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"`{path}` is damaged ({error}); import the data again.") from None
