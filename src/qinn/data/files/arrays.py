"""Array files of other people (npz, npy, HDF5): opened lazily, without pickles, and checked on the way."""

import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qinn.data.files.array_file import ArrayFile
from qinn.data.files.delimited_tables import DelimitedTable
from qinn.data.files.hdf5_checks import KNOWN_FILTERS, check_chunks, check_heaps, filters_of
from qinn.data.files.npy import read_npy_header
from qinn.data.files.object_arrays import read_objects
from qinn.errors import DataError
from qinn.extras import needs
from qinn.file_kinds import DAMAGED_ARCHIVE, damage_of, other_kind
from qinn.opening import check_regular

if TYPE_CHECKING:
    import h5py

__all__ = ["ARRAY_SUFFIXES", "Hdf5File", "check_file", "open_arrays"]

_KINDS = {".npz": "npz", ".npy": "npy", ".h5": "hdf5", ".hdf5": "hdf5", ".csd": "hdf5"}
ARRAY_SUFFIXES = tuple(_KINDS)
IN_MEMORY_BYTES = 64 * 2**20
MOST_COMPRESSED = 1100
"""No file unpacks to more than this many times its size: deflate, the strongest method read, ends at 1032."""

_FEW_CHUNKS = 2**14
_HDF5_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    AttributeError,
)


def open_arrays(path: Path | str) -> ArrayFile:
    """Open an npz, npy or HDF5 file for reading single arrays.

    Args:
        path: The file; its suffix says which kind it is (`ARRAY_SUFFIXES`).

    Raises:
        DataError: If it is missing, a folder, of another kind, or damaged.

    Examples:
        >>> file = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(file, x=np.zeros((2, 3)))
        >>> with open_arrays(file) as arrays:
        ...     arrays.keys(), arrays.shape("x")
        (['x'], (2, 3))
    """
    path = Path(path)
    check_file(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return DelimitedTable(path)
    kinds = {".npz": _Npz, ".npy": _Npy, ".h5": Hdf5File, ".hdf5": Hdf5File, ".csd": Hdf5File}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"`{path}` must be one of {', '.join(ARRAY_SUFFIXES)}; other kinds of files hold no arrays."
        )
    try:
        return kind(path)
    except PermissionError as error:
        raise DataError(f"`{path}` can't be read: permission denied.") from error


def check_file(path: Path, expected: str = "an array file") -> None:
    """Refuse what is missing or no regular file."""
    try:
        check_regular(path)
    except FileNotFoundError:
        raise DataError(f"`{path}` does not exist.") from None
    except OSError as error:
        raise DataError(f"`{path}` can't be read: {error.strerror}; {expected} was expected.") from error


def _instead(path: Path, error: Exception | None = None) -> str:
    """Say what a file is that its reader can't open, or what happened to it, as the end of a sentence."""
    other = other_kind(path, (_KINDS[path.suffix.lower()], "zip"))
    if other is not None:
        return f": it is {other}"
    return (f" ({error})" if error else "") + damage_of(path)


class _Npz(ArrayFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except PermissionError:
            raise
        except DAMAGED_ARCHIVE as error:
            raise DataError(f"`{path}` is no npz archive or is damaged{_instead(path, error)}.") from error
        self._names = {name[:-4]: name for name in self._zip.namelist() if name.endswith(".npy")}
        if not self._names and self._zip.namelist():
            self._zip.close()
            other = other_kind(path, ("npz",)) or "an archive of something else"
            raise DataError(f"`{path}` is no npz archive: none of its files is an array, it is {other}.")
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

    def kind(self, key: str) -> str:
        return str(self._header(key)[2])

    def _header(self, key: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
        if key not in self._names:
            raise self._missing(key)
        if key not in self._headers:
            if self._zip.getinfo(self._names[key]).compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise DataError(
                    f"`{self.path}:{key}` is compressed in a way that numpy never writes; save the file again."
                )
            try:
                with self._zip.open(self._names[key]) as stream:
                    shape, fortran, dtype = read_npy_header(stream)
                    start = stream.tell()
            except DAMAGED_ARCHIVE as error:
                raise DataError(f"`{self.path}:{key}` is damaged ({error}).") from error
            size = self._zip.getinfo(self._names[key]).file_size - start
            if not dtype.hasobject and size != np.prod(shape, dtype=object) * dtype.itemsize:
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
                    if dtype.hasobject:
                        read_npy_header(stream)
                        self._arrays[key] = read_objects(
                            stream, shape, info.file_size - start, where=f"{self.path}:{key}"
                        )
                    elif info.file_size <= IN_MEMORY_BYTES:
                        self._arrays[key] = np.lib.format.read_array(stream, allow_pickle=False)
                    else:
                        # A member is compressed as a whole: unpack it to disk and map it from there.
                        if self._folder is None:
                            self._folder = tempfile.TemporaryDirectory(prefix="qinn-")
                        self._check_space(key, info.file_size)
                        file = Path(self._folder.name) / f"{len(self._arrays)}.npy"
                        with file.open("wb") as target:
                            shutil.copyfileobj(stream, target, 2**20)
                        order = "F" if fortran else "C"
                        self._arrays[key] = np.memmap(file, dtype, "r", start, shape, order)
            except DAMAGED_ARCHIVE as error:
                raise DataError(f"`{self.path}:{key}` is damaged ({error}).") from error
        return self._arrays[key]

    def _check_space(self, key: str, size: int) -> None:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if size > free // 2:
            raise DataError(
                f"`{self.path}:{key}` unpacks to {size / 2**30:.1f} GiB, more than half of what is free in the "
                "folder of temporary files; save it uncompressed, or set TMPDIR to a folder with more space."
            )


class _Npy(ArrayFile):
    """One array, whatever its name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            with path.open("rb") as stream:
                shape, fortran, dtype = read_npy_header(stream)
                start = stream.tell()
                stream.seek(start - 1)
                if stream.read(1) != b"\n":
                    # Where a copy has changed line ends, every value behind would be another.
                    raise ValueError("its header has no end")
                if dtype.hasobject:
                    self._array = read_objects(stream, shape, path.stat().st_size - start, where=str(path))
                    return
            if path.stat().st_size < start + math.prod(shape) * dtype.itemsize:
                raise ValueError(f"shape {shape} needs more bytes than it has")
            empty = 0 in shape or not dtype.itemsize
            order = "F" if fortran else "C"
            self._array = (
                np.empty(shape, dtype) if empty else np.memmap(path, dtype, "r", start, shape, order)
            )
        except (ValueError, EOFError) as error:
            raise DataError(f"`{path}` is no npy file or is damaged{_instead(path, error)}.") from error

    def close(self) -> None:
        """Nothing to do: the mapping ends with its last array."""

    def keys(self) -> list[str]:
        return [""]

    def array(self, key: str) -> np.ndarray:
        if key:
            raise DataError(f"`{self.path}` is a npy file with a single array; leave out `:{key}`.")
        return self._array


class Hdf5File(ArrayFile):
    """An HDF5 file; whatever its library raises on damage becomes a refusal that names file and dataset."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        check_file(path)
        with path.open("rb"):
            pass
        with needs("data", f"`{path}` is an HDF5 file, and reading it"):
            import h5py
        self._library = h5py
        try:
            self._file = h5py.File(path, "r")
        except _HDF5_ERRORS as error:
            raise DataError(f"`{path}` is no HDF5 file or is damaged{_instead(path)}.") from error
        self._heaps_checked = False
        self._size = path.stat().st_size
        self._most_bytes = max(IN_MEMORY_BYTES, MOST_COMPRESSED * self._size)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def keys(self) -> list[str]:
        """Names of the datasets, with those of their groups."""
        names: list[str] = []
        with _naming_damage(self.path):
            self._file.visititems(
                lambda name, node: names.append(name) if isinstance(node, self._library.Dataset) else None
            )
        return names

    def first_datasets(self, most: int) -> tuple[list[tuple[str, tuple[int, ...], str]], bool]:
        """Return name, shape and type of the first datasets, and whether these are all; nothing of them is read."""
        found: list[tuple[str, tuple[int, ...], str]] = []

        def take(name: str, node: Any) -> bool | None:
            if isinstance(node, self._library.Dataset):
                found.append((name, tuple(node.shape or ()), str(node.dtype)))
            return True if len(found) >= most else None

        with _naming_damage(self.path):
            stopped = self._file.visititems(take)
        return found, stopped is None

    def children(self, group: str) -> list[str] | None:
        """Names below a group; None if it is not a group."""
        try:
            node = self._file[group] if group else self._file
        except _HDF5_ERRORS:
            return None
        if not isinstance(node, self._library.Group):
            return None
        with _naming_damage(self.path, group):
            return list(node)

    def __contains__(self, key: str) -> bool:
        try:
            return isinstance(self._file.get(key), self._library.Dataset)
        except _HDF5_ERRORS:
            return False

    def _check_heaps(self) -> None:
        if not self._heaps_checked:
            check_heaps(self.path, self._file.id.get_create_plist().get_sizes()[1])
            self._heaps_checked = True

    def _item_bytes(self, node: Any) -> int:
        if not node.dtype.hasobject:
            return node.id.get_type().get_size()
        # Text of variable length: its length, and address and number of its object in a heap.
        return 4 + self._file.id.get_create_plist().get_sizes()[0] + 4

    def array(self, key: str) -> Any:
        """Return a dataset: text as an array, numbers as something that is read when it is sliced.

        Raises:
            DataError: If there is none, it is damaged, lies in another file or is out of proportion.
        """
        if key not in self:
            raise self._missing(key)
        with _naming_damage(self.path, key):
            node: Any = self._file[key]
            # A link or external storage could make any other file of the machine appear as data.
            if node.file.filename != self._file.filename or node.external or node.is_virtual:
                raise DataError(
                    f"`{self.path}:{key}` lies in another file, which is refused; copy it into this file."
                )
            if node.shape is None:
                raise DataError(f"`{self.path}:{key}` is empty: it has no shape.")
            text = self._library.check_string_dtype(node.dtype)
            if (node.dtype.hasobject and not text) or node.dtype.fields:
                raise DataError(f"`{self.path}:{key}` holds neither numbers nor text ({node.dtype}).")
            if unknown := [number for number in filters_of(node) if number not in KNOWN_FILTERS]:
                raise DataError(
                    f"`{self.path}:{key}` is packed by HDF5 filter {unknown[0]}, which is not read; save it with "
                    f"{', '.join(KNOWN_FILTERS.values())} or none."
                )
            # Parts of a dataset that were never written take no space in the file, but all of it in memory.
            for shape in (node.shape, node.chunks or ()):
                if math.prod(shape) * node.dtype.itemsize > self._most_bytes:
                    raise DataError(
                        f"`{self.path}:{key}` unpacks to far more than the file's size (its shape is "
                        f"{node.shape}), which is refused."
                    )
            if node.chunks is not None:
                pieces = math.prod(-(-n // each) for n, each in zip(node.shape, node.chunks, strict=True))
                if pieces > max(self._size // 8, _FEW_CHUNKS):
                    raise DataError(
                        f"`{self.path}:{key}` is cut into {pieces} chunks, more than the file can hold."
                    )
                check_chunks(node, self._item_bytes(node), self._size)
            elif not node.dtype.hasobject:
                stored = node.id.get_storage_size()
                if stored not in (0, math.prod(node.shape) * self._item_bytes(node)):
                    # The library would return whatever its memory holds for what is not there.
                    raise DataError(
                        f"`{self.path}:{key}` has {stored} bytes in the file, which do not fit its shape "
                        f"{node.shape}."
                    )
            if text:
                if text.length is None:
                    self._check_heaps()
                return node.asstr(errors="replace")[...]
            return _Dataset(self.path, key, node)


class _Dataset:
    """A dataset of numbers that is read when it is sliced."""

    def __init__(self, path: Path, key: str, node: "h5py.Dataset") -> None:
        self._path = path
        self._key = key
        self._node = node
        self.shape: tuple[int, ...] = node.shape
        self.dtype: np.dtype = node.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: Any) -> Any:
        with _naming_damage(self._path, self._key):
            return self._node[place]


@contextmanager
def _naming_damage(path: Path, key: str = "") -> Iterator[None]:
    try:
        yield
    except _HDF5_ERRORS as error:
        where = f"{path}:{key}" if key else str(path)
        raise DataError(f"`{where}` is damaged ({' '.join(str(error).split())[:200]}).") from error


def rows_of(array: Any, rows: Sequence[int]) -> np.ndarray:
    """Read single rows, in the given order, from anything that slices."""
    first = rows[0] if len(rows) else 0
    if list(rows) == list(range(first, first + len(rows))):
        return np.asarray(array[first : first + len(rows)])
    return np.stack([np.asarray(array[row]) for row in rows])
