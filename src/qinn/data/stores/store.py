"""The on-disk store: samples of a data set, memory-mapped and free of pickles.

.. code-block:: text

    <store>/manifest.json          what it is, where it came from, its content hash; written last
    <store>/samples.parquet        id, split, label, group, fold, text and extra columns; of a multi-label task
                                   the label is a list of 1 (present), 0 (absent) and null (not known)
    <store>/<modality>.values.npy  (total_steps, dim) float32: the steps of all samples after each other
    <store>/<modality>.offsets.npy (n + 1,) int64: sample i has steps offsets[i] to offsets[i + 1]
    <store>/<modality>.spans.npy   (total_steps, 2) int32, text only: the characters that each step stands for
    <store>/<modality>.times.npy   (total_steps,) float64, where known: seconds at which each step happens
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from qinn.data.files.npy import read_npy_header
from qinn.data.files.parquet import open_parquet, read_in_parts, read_parquet
from qinn.data.stores.cutting import ROWS, even_pieces
from qinn.data.stores.label_column import label_array, label_type
from qinn.data.stores.manifest import (
    FILES,
    MANIFEST_FILE,
    TABLE_FILE,
    ContentDigest,
    Modality,
    Source,
    modalities_of,
    read_manifest,
    task_from_json,
)
from qinn.data.stores.spans import Spans, words_of
from qinn.data.stores.step_arrays import form_of, step_array_digest
from qinn.data.stores.strings import Categories, Strings
from qinn.data.stores.times import Times
from qinn.data.stores.writing import StoreWriter
from qinn.digests import OWN_DIGEST, file_digest, is_intact
from qinn.errors import DataError
from qinn.file_kinds import other_kind
from qinn.opening import open_regular
from qinn.task import Task

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
        self._checked: set[str] = set()
        self._strings: dict[str, np.ndarray] = {}
        self._columns: dict[str, Strings] = {}
        self._categories: dict[str, Categories] = {}
        self._spans: dict[str, np.ndarray] = {}
        self._times: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """Open a store and check that its parts exist and fit each other.

        Only the manifest, the headers of the other files and both ends of the offsets are read, so the time
        does not depend on the number of samples. All offsets of a modality are checked when they are first
        used, before a sample is read; `verify` reads everything, and
        `qinn.data.stores.unchanged.open_unchanged` does so before the store is used for a number.

        Args:
            path: The store's folder.

        Raises:
            DataError: If there is no store, or it is foreign, newer, truncated or contradicts itself.

        Examples:
            >>> Store.open("no/such/folder")  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            qinn.errors.DataError: No store at `no/such/folder`: it does not exist; ...
        """
        folder = Path(path)
        store = cls(folder, read_manifest(folder))
        n = len(store)
        for name, dim in store.modalities.items():
            entry = store.manifest["modalities"][name]
            offsets = _mapped(folder, name, "offsets", dim, n + 1)
            if offsets[0] != 0 or offsets[-1] != entry.get("num_steps"):
                raise _falling(folder, name, entry.get("num_steps"))
            store._offsets[name] = offsets
            store._values[name] = _mapped(folder, name, "values", dim, int(offsets[-1]))
            for what, known in (("spans", store._spans), ("times", store._times)):
                if f"{what}_sha256" in entry:
                    known[name] = _mapped(folder, name, what, dim, int(offsets[-1]))
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

    @property
    def label_name(self) -> str:
        """What the labels are called where they come from; empty where nothing says it."""
        return str(self.manifest.get("label_name", ""))

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
        with _naming_damage(self.path / TABLE_FILE) as path:
            return read_parquet(path)

    def strings(self, column: str) -> np.ndarray:
        """Return a text column of `table` as an array of strings; null becomes the empty string.

        Equal strings are one object, but of ids and texts, which nearly all differ; for these `lean_strings`
        needs less memory.
        """
        if column not in self._strings:
            if column in ("id", "text"):
                self._strings[column] = np.array(list(self.lean_strings(column)), dtype=object)
            else:
                self._strings[column] = self.categories(column).decoded()
            self._strings[column].flags.writeable = False
        return self._strings[column]

    def lean_strings(self, column: str) -> Strings:
        """Return a text column of `table` as one block of bytes; null becomes the empty string."""
        if column not in self._columns:
            self._columns[column] = Strings(self._column(column))
        return self._columns[column]

    def categories(self, column: str) -> Categories:
        """Return a text column of `table` as its different strings and which of them each sample has."""
        if column not in self._categories:
            found = Categories.of(self._column(column, dictionary=True))
            found.codes.flags.writeable = False
            self._categories[column] = found
        return self._categories[column]

    @cached_property
    def labels(self) -> np.ndarray:
        """Scores (NaN where unlabelled), class indices (-1), or several labels; see `label_array`."""
        labels = label_array(self._column("label"), self.task)
        labels.flags.writeable = False
        return labels

    def offsets(self, modality: str) -> Int64[np.ndarray, "bound"]:
        """First step of every sample in `values`, and the end of the last (n + 1).

        Raises:
            DataError: If they do not rise, which is looked at when they are first used.
        """
        offsets = self._offsets[modality]
        if modality not in self._checked:
            for piece in even_pieces(len(self)):
                part = offsets[piece.start : piece.stop + 1]
                if np.any(part[1:] < part[:-1]):
                    raise _falling(self.path, modality, int(offsets[-1]))
            self._checked.add(modality)
        return offsets

    def num_values(self) -> Int64[np.ndarray, "sample"]:
        """Numbers of every sample, over all its modalities and steps."""
        sizes = (np.diff(self.offsets(name)) * dim for name, dim in self.modalities.items())
        return sum(sizes, start=np.zeros(len(self), np.int64))

    def values(self, modality: str) -> Float32[np.ndarray, "step feature"]:
        """All steps of one modality, memory-mapped and read-only."""
        return self._values[modality]

    def sample(self, row: int, modality: str) -> Float32[np.ndarray, "time feature"]:
        """Features of one sample; no steps where the modality is absent."""
        start, stop = self.offsets(modality)[row : row + 2]
        return self._values[modality][start:stop]

    def content_hash(self, look: Callable[[str, np.ndarray], None] = lambda name, steps: None) -> str:
        """Read everything, in chunks, and return the hash of what is there.

        Args:
            look: Called with a modality's name and its next steps, so that one pass serves several ends.

        Raises:
            DataError: If a part is damaged.
        """
        content = ContentDigest(self.task)
        for part in self.table_parts():
            content.add_rows(part)
        for name, modality in modalities_of(self.manifest).items():
            digest, values = hashlib.sha256(), self._values[name].view(np.ndarray)
            for piece in even_pieces(len(values), modality.dim):
                part = values[piece]
                digest.update(part)  # pyright: ignore[reportArgumentType]
                look(name, part)
            times = step_array_digest(self._times[name]) if name in self._times else None
            content.add_modality(name, modality, digest.hexdigest(), self.offsets(name), times)
        return content.hexdigest()

    def times(self, modality: str) -> Times | None:
        """Seconds from its sample's beginning at which each step happens; None where the store does not know.

        Memory-mapped and read-only, all samples after each other, as `values`.
        """
        return self._times.get(modality)

    def spans(self, modality: str) -> Spans | None:
        """Characters of its transcript that each step stands for; None where the import did not say."""
        return self._spans.get(modality)

    def words(self, row: int, modality: str) -> list[str] | None:
        """What each step of one sample stands for, from its transcript; None where the import did not say.

        Raises:
            DataError: If the spans do not fit the transcript: one of the two was changed.
        """
        if modality not in self._spans:
            return None
        start, stop = self.offsets(modality)[row : row + 2]
        where = f"sample `{self.strings('id')[row]}` in `{self.path / modality}.spans.npy`"
        return words_of(self.strings("text")[row], self._spans[modality][start:stop], where)

    @property
    def files(self) -> list[Path]:
        """The files that hold the samples; the manifest is beside them."""
        optional = {"spans": self._spans, "times": self._times}
        kinds = {
            name: ("values", "offsets", *(kind for kind, known in optional.items() if name in known))
            for name in self._values
        }
        arrays = [self.path / f"{name}.{kind}.npy" for name, each in kinds.items() for kind in each]
        return [self.path / TABLE_FILE, *arrays]

    def changed_files(self, read: Callable[[int], None] = lambda count: None) -> list[str] | None:
        """Read every file, and the manifest, and name those that are not what was written.

        Args:
            read: Called with the number of bytes of each part that was read.

        Returns:
            Names of files; None for a store of an earlier version, whose manifest has no hashes of files.

        Raises:
            DataError: If a file cannot be read.
        """
        stated = self.manifest.get(FILES)
        if stated is None and OWN_DIGEST not in self.manifest:
            return None
        if not isinstance(stated, dict) or not is_intact(self.manifest):
            return [MANIFEST_FILE]
        changed = []
        for path in self.files:
            try:
                found = file_digest(path, read)
            except OSError as error:
                raise DataError(f"Cannot read `{path}`: {error.strerror}; check its permissions.") from None
            if stated.get(path.name) != found:
                changed.append(path.name)
        return changed

    def verify(self) -> None:
        """Read everything and compare it with the hashes of the manifest.

        `qinn.data.checking.verification.verify` also says what is wrong where a hash is not the same.

        Raises:
            DataError: If the content is not what was written.
        """
        found = self.content_hash()
        if found != self.sha256:
            raise DataError(
                f"The store `{self.path}` has changed since it was written: its hash is {found[:12]}…, but "
                f"its manifest says {self.sha256[:12]}…; import the data again."
            )
        for name in self.changed_spans():
            raise self._changed(f"{name}.spans.npy")
        for name in self.changed_files() or ():
            raise self._changed(name)

    def check_files(self, read: Callable[[int], None] = lambda count: None) -> None:
        """Read every file once, as fast as the disk gives it, and compare it with the hashes of the manifest.

        Args:
            read: Called with the number of bytes of each part that was read.

        Raises:
            DataError: If a file is not what was written, or cannot be read.
        """
        changed = self.changed_files(read)
        if changed is None:
            self.verify()
        for name in changed or ():
            raise self._changed(name)

    def _changed(self, name: str) -> DataError:
        return DataError(
            f"`{self.path / name}` has changed since it was written; put it back as it was, or import the "
            "data again."
        )

    def changed_spans(self) -> list[str]:
        """Name the modalities whose spans are not what was written."""
        entries = self.manifest["modalities"]
        return [
            name
            for name, one in self._spans.items()
            if step_array_digest(one) != entries[name]["spans_sha256"]
        ]

    def table_parts(self) -> Iterator[pa.Table]:
        """Read the table a part at a time; all parts have the same columns.

        Raises:
            DataError: If the table is damaged.
        """
        with _naming_damage(self.path / TABLE_FILE) as path, open_parquet(path) as parquet:
            for batch in parquet.iter_batches(ROWS):
                yield pa.table(batch)

    def _column(self, name: str, *, dictionary: bool = False) -> pa.ChunkedArray:
        kept = [name] if dictionary else None
        with (
            _naming_damage(self.path / TABLE_FILE) as path,
            open_parquet(path, read_dictionary=kept) as parquet,
        ):
            if dictionary:
                return parquet.read([name], use_threads=False).column(name)
            return read_in_parts(parquet, [name], path).column(name)

    def _check_table(self) -> None:
        with _naming_damage(self.path / TABLE_FILE) as path:
            if not path.exists():
                raise DataError(f"The store `{self.path}` has no {TABLE_FILE}; import the data again.")
            with open_parquet(path) as parquet:
                num_rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
        expected = {name: pa.string() for name in ("id", "split", "group", "fold", "text")}
        expected |= {"label": label_type(self.task)}
        for name, kind in expected.items():
            if name not in schema.names or schema.field(name).type != kind:
                raise DataError(
                    f"`{path}` is damaged: column `{name}` of type {kind} is missing; import again."
                )
        if num_rows != len(self):
            raise DataError(
                f"`{path}` is damaged: it has {num_rows} rows, but its manifest says {len(self)}."
            )


def _falling(folder: Path, name: str, num_steps: object) -> DataError:
    return DataError(
        f"`{folder / name}.offsets.npy` is damaged: offsets must rise from 0 to {num_steps}; "
        "import the data again."
    )


@contextmanager
def _naming_damage(path: Path) -> Iterator[Path]:
    """Hand out the path of a table, and turn what its reading raises into a refusal that names it."""
    try:
        yield path
    except (OSError, pa.ArrowException) as error:
        if (
            isinstance(error, pa.ArrowException)
            and (other := other_kind(path, ("parquet", "text"))) is not None
        ):
            raise DataError(f"`{path}` is no part of a store but {other}.") from None
        reason = " ".join(str(error).split())
        raise DataError(f"`{path}` is damaged ({reason}); import the data again.") from None


def _mapped(folder: Path, name: str, what: str, dim: int, num_rows: int) -> np.ndarray:
    """Map an array of a modality, known to have its type and shape."""
    path = folder / f"{name}.{what}.npy"
    found = _mapped_file(path)
    kind, width = np.dtype(form_of(what, dim)[0]), form_of(what, dim)[1]
    if found.dtype != kind or found.shape != (num_rows, *width) or not found.flags.c_contiguous:
        raise DataError(
            f"`{path}` is damaged: it must hold {kind} {what} of shape {(num_rows, *width)}, but has shape "
            f"{found.shape} and dtype {found.dtype}; import the data again."
        )
    return found


def _mapped_file(path: Path) -> np.ndarray:
    try:
        with open_regular(path) as stream:
            shape, fortran, dtype = read_npy_header(stream)
            header = stream.tell()
            size = os.fstat(stream.fileno()).st_size
        expected = header + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if size != expected:
            raise ValueError(f"it has {size} bytes instead of {expected}")
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", header, shape, "F" if fortran else "C")
    except FileNotFoundError:
        raise DataError(f"The store `{path.parent}` has no {path.name}; import the data again.") from None
    except OSError as error:
        raise DataError(
            f"Cannot read `{path}`: {error.strerror}; check the file and its permissions."
        ) from None
    except (ValueError, TypeError, OverflowError) as error:
        if (other := other_kind(path, ("npy", "text"))) is not None:
            raise DataError(f"`{path}` is no part of a store but {other}.") from None
        raise DataError(f"`{path}` is damaged ({error}); import the data again.") from None
