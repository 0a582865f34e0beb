"""Array files of other people (npz, npy, HDF5): opened lazily, without pickles, and checked on the way."""

import shutil
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from qinn.errors import DataError

__all__ = ["ARRAY_SUFFIXES", "ArrayFile", "open_arrays"]

ARRAY_SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".csd")
IN_MEMORY_BYTES = 64 * 2**20


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

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    @abstractmethod
    def array(self, key: str) -> Any:
        """Return an array or something that slices like one.

        Raises:
            DataError: If there is no such array, it holds Python objects, or it is damaged.
        """

    def strings(self, key: str) -> list[str]:
        """Return a one-dimensional array as text."""
        values = np.asarray(self.array(key)[...])
        if values.ndim != 1:
            raise DataError(f"`{self.path}:{key}` must be one-dimensional, but has shape {values.shape}.")
        return [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for value in values.tolist()
        ]

    def _missing(self, key: str) -> DataError:
        names = self.keys()
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        return DataError(f"`{self.path}` has no array `{key}`; it has {shown or 'none'}.")


def open_arrays(path: Path | str) -> ArrayFile:
    """Open an npz, npy or HDF5 file for reading single arrays.

    Args:
        path: The file; its suffix says which kind it is (`ARRAY_SUFFIXES`).

    Raises:
        DataError: If it is missing, a folder, of another kind, or damaged.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(file, x=np.zeros((2, 3)))
        >>> with open_arrays(file) as arrays:
        ...     arrays.keys(), arrays.shape("x")
        (['x'], (2, 3))
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"`{path}` is a folder; an array file was expected.")
    if not path.exists():
        raise DataError(f"`{path}` does not exist.")
    if path.suffix.lower() in (".csv", ".tsv"):
        from qinn.data.readers.clip_tables import ClipTable

        return ClipTable(path)
    kinds = {".npz": _Npz, ".npy": _Npy, ".h5": _Hdf5, ".hdf5": _Hdf5, ".csd": _Hdf5}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"`{path}` must be one of {', '.join(ARRAY_SUFFIXES)}; other kinds of files hold no arrays."
        )
    try:
        return kind(path)
    except PermissionError as error:
        raise DataError(f"`{path}` can't be read: permission denied.") from error


class _Npz(ArrayFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise DataError(f"`{path}` is no npz archive or is damaged ({error}).") from error
        self._names = {name[:-4]: name for name in self._zip.namelist() if name.endswith(".npy")}
        self._headers: dict[str, tuple[tuple[int, ...], bool, np.dtype, int]] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        self._zip.close()
        self._arrays.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def keys(self) -> list[str]:
        return list(self._names)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._header(key)[0]

    def _header(self, key: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
        if key not in self._names:
            raise self._missing(key)
        if key not in self._headers:
            try:
                with self._zip.open(self._names[key]) as stream:
                    shape, fortran, dtype = read_npy_header(stream)
                    start = stream.tell()
            except (
                zipfile.BadZipFile,
                zlib.error,
                ValueError,
                EOFError,
                NotImplementedError,
                RuntimeError,
            ) as error:
                raise DataError(f"`{self.path}:{key}` is damaged ({error}).") from error
            if dtype.hasobject:
                raise DataError(
                    f"`{self.path}:{key}` holds Python objects, which can't be "
                    "read safely; save plain numbers."
                )
            size = self._zip.getinfo(self._names[key]).file_size - start
            if size != np.prod(shape, dtype=object) * dtype.itemsize:
                raise DataError(
                    f"`{self.path}:{key}` is damaged: shape {shape} does not fit its {size} bytes."
                )
            self._headers[key] = (shape, fortran, dtype, start)
        return self._headers[key]

    def array(self, key: str) -> np.ndarray:
        shape, fortran, dtype, start = self._header(key)
        if key not in self._arrays:
            info = self._zip.getinfo(self._names[key])
            try:
                with self._zip.open(info) as stream:
                    if info.file_size <= IN_MEMORY_BYTES:
                        self._arrays[key] = np.lib.format.read_array(stream, allow_pickle=False)
                    else:
                        # A member is compressed as a whole: unpack it to disk and map it from there.
                        if self._folder is None:
                            self._folder = tempfile.TemporaryDirectory(prefix="qinn-")
                        file = Path(self._folder.name) / f"{len(self._arrays)}.npy"
                        with file.open("wb") as target:
                            shutil.copyfileobj(stream, target, 2**20)
                        order = "F" if fortran else "C"
                        self._arrays[key] = np.memmap(file, dtype, "r", start, shape, order)
            except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
                raise DataError(f"`{self.path}:{key}` is damaged ({error}).") from error
        return self._arrays[key]


class _Npy(ArrayFile):
    """One array, whatever its name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with path.open("rb") as stream:
                _, _, dtype = read_npy_header(stream)
            if dtype.hasobject:
                raise DataError(
                    f"`{path}` holds Python objects, which can't be read safely; save plain numbers."
                )
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DataError(f"`{path}` is no npy file or is damaged ({error}).") from error

    def close(self) -> None:
        """Nothing to do: the mapping ends with its last array."""

    def keys(self) -> list[str]:
        return [""]

    def array(self, key: str) -> np.ndarray:
        if key:
            raise DataError(f"`{self.path}` is a npy file with a single array; leave out `:{key}`.")
        return self._array


class _Hdf5(ArrayFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb"):
            pass
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"`{path}` is no HDF5 file or is damaged.") from error

    def close(self) -> None:
        self._file.close()

    def keys(self) -> list[str]:
        names: list[str] = []
        self._file.visititems(
            lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None
        )
        return names

    def children(self, group: str) -> list[str] | None:
        """Names below a group; None if it is not a group."""
        try:
            node = self._file[group] if group else self._file
        except (KeyError, OSError):
            return None
        return list(node) if isinstance(node, h5py.Group) else None

    def __contains__(self, key: str) -> bool:
        try:
            return isinstance(self._file.get(key), h5py.Dataset)
        except (OSError, RuntimeError, ValueError):
            return False

    def array(self, key: str) -> Any:
        if key not in self:
            raise self._missing(key)
        node: Any = self._file[key]
        check_dataset(node, self.path, key, self._file.filename)
        if h5py.check_string_dtype(node.dtype):
            return node.asstr(errors="replace")[...]
        if node.dtype.hasobject or node.dtype.fields:
            raise DataError(f"`{self.path}:{key}` holds neither numbers nor text ({node.dtype}).")
        return node


def check_dataset(node: h5py.Dataset, path: Path, key: str, filename: str) -> None:
    """Refuse an HDF5 dataset that lies in another file, or that would unpack without bound.

    Args:
        node: The dataset.
        path: Its file, for messages.
        key: Its name, for messages.
        filename: What HDF5 calls the file that it must lie in.

    Raises:
        DataError: If it is refused.
    """
    # A link or external storage could make any other file of the machine appear as data.
    if node.file.filename != filename or node.external or node.is_virtual:
        raise DataError(f"`{path}:{key}` lies in another file, which is refused; copy it into this file.")
    # No compression packs more densely than deflate's 1032 to 1; more is declared and not there.
    if node.nbytes > IN_MEMORY_BYTES + 1032 * node.id.get_storage_size():
        raise DataError(f"`{path}:{key}` is damaged: it declares {node.nbytes} bytes, but holds far fewer.")


def read_npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of a npy stream, of format 1 or 2."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"format {version[0]}.{version[1]} is unknown")
    return readers[version](stream)


def rows_of(array: Any, rows: Sequence[int]) -> np.ndarray:
    """Read single rows, in the given order, from anything that slices."""
    first = rows[0] if len(rows) else 0
    if list(rows) == list(range(first, first + len(rows))):
        return np.asarray(array[first : first + len(rows)])
    return np.stack([np.asarray(array[row]) for row in rows])
