"""Reading the features of a table's samples from the places that `qinn.data.importing.feature_specs` names."""

import contextlib
from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.array_file import ArrayFile
from qinn.data.files.arrays import open_arrays, rows_of
from qinn.data.files.numerals import counted
from qinn.data.files.ragged_arrays import RaggedSteps, is_ragged, ragged_steps
from qinn.data.importing.feature_reader import FeatureReader, Named, joint_source, refuse_missing
from qinn.data.importing.feature_specs import FeatureSpec
from qinn.data.importing.feature_tables import ColumnsOfSamples, RowsOfTable
from qinn.data.importing.row_names import rows_by_name, rows_in_order
from qinn.data.importing.steps import nonzero_window
from qinn.data.stores.manifest import Source, extractor_of
from qinn.errors import DataError

__all__ = ["extractor_beside", "open_features"]


def open_features(
    specs: Sequence[FeatureSpec], samples: Named, *, absent: str, roles: Collection[str] = ()
) -> FeatureReader:
    """Open a modality's features and check them against the samples.

    Args:
        specs: Where they lie; those of several places are put side by side.
        samples: The samples.
        absent: What to do about a sample that has no features there.
        roles: Columns of the table of samples that are labels, names and the like, and no features.

    Raises:
        DataError: If files or arrays are missing, damaged or don't fit the samples or each other.
    """
    with contextlib.ExitStack() as opened:
        readers: list[FeatureReader] = []
        for spec in specs:
            readers.append(_open_one(spec, samples, absent, roles))
            opened.callback(readers[-1].close)
        opened.pop_all()
    return readers[0] if len(readers) == 1 else _SideBySide(specs, samples.ids, readers)


def extractor_beside(specs: Sequence[FeatureSpec]) -> str | None:
    """Return what a modality's files say of the extractor; None unless every place says it.

    An npz or HDF5 file says it by an array of one text: ``ARRAY_extractor``, or ``extractor`` for all its arrays.

    Args:
        specs: Where the features lie.

    Raises:
        DataError: If such an array holds anything else, or a file is damaged.
    """
    found = [_said_in(spec) for spec in specs]
    stated = [one for one in found if one is not None]
    return " + ".join(dict.fromkeys(stated)) if stated and len(stated) == len(found) else None


def _said_in(spec: FeatureSpec) -> str | None:
    if "{" in spec.file or not spec.file.lower().endswith((".npz", ".h5", ".hdf5")):
        return None
    with open_arrays(spec.file) as arrays:
        for key in (*(f"{key}_extractor" for key in spec.keys), "extractor"):
            if key in arrays:
                text = np.asarray(arrays.array(key)[...])
                said = text.reshape(-1).tolist()
                named = (
                    said[0].decode()
                    if len(said) == 1 and isinstance(said[0], bytes)
                    else said[0]
                    if said
                    else ""
                )
                if len(said) != 1 or not isinstance(named, str) or extractor_of(named) is None:
                    raise DataError(
                        f"`{spec.file}:{key}` must be one text, name and version of the extractor as in `egemaps@2.0`."
                    )
                return named
    return None


def _open_one(spec: FeatureSpec, samples: Named, absent: str, roles: Collection[str]) -> FeatureReader:
    if not spec.file:
        return ColumnsOfSamples(spec, samples, absent, roles)
    if "{" in spec.file:
        return _FilePerSample(spec, samples, absent)
    if spec.file.lower().endswith((".csv", ".tsv", ".parquet")):
        return RowsOfTable(spec, samples, absent, roles)
    arrays = open_arrays(spec.file)
    try:
        if any("{" in key for key in spec.keys):
            return _ArrayPerSample(spec, samples, absent, arrays, spec.keys)
        group = spec.keys[0] if len(spec.keys) == 1 else ""
        children = getattr(arrays, "children", lambda _: None)(group) if len(spec.keys) < 2 else None
        if children is not None and spec.bounds is None:
            return _ArrayPerSample(spec, samples, absent, arrays, (f"{group}/{{id}}" if group else "{id}",))
        return _Rows(spec, samples.ids, absent, arrays)
    except BaseException:
        arrays.close()
        raise


class _Rows(FeatureReader):
    """Samples are rows, or runs of rows, of one array."""

    def __init__(self, spec: FeatureSpec, ids: Sequence[str], absent: str, arrays: ArrayFile) -> None:
        self._spec = spec
        self._file = arrays
        self._order: list[str] = []
        if not spec.keys and arrays.keys() != [""]:
            raise DataError(
                f"`{spec.file}` holds several arrays; say which, as in "
                f"{spec.name}={spec.file}:ARRAY ({', '.join(arrays.keys()[:12])})."
            )
        self._arrays = [self._array(key) for key in spec.keys or ("",)]
        if other := [array.dtype for array in self._arrays if array.dtype.kind not in "biuf"]:
            raise DataError(
                f"`{spec.where}` must hold numbers, but its type is {other[0]}; save it with a type of numbers, as by "
                '`.astype("float32")`.'
            )
        found = [tuple(array.shape) for array in self._arrays]
        shapes = [(*shape, 1) if len(shape) == 1 else shape for shape in found]
        fit = all(
            len(shape) in (2, 3) and shape[:-1] == shapes[0][:-1] and 0 not in shape[1:] for shape in shapes
        )
        if not fit:
            raise DataError(
                f"`{spec.where}` has shape {' + '.join(map(str, found))}; (samples, features), "
                "(steps, features) with offsets or (samples, time, features) was expected."
            )
        ragged = any(isinstance(array, RaggedSteps) for array in self._arrays)
        if ragged and (len(self._arrays) > 1 or spec.bounds or spec.times):
            raise DataError(
                f"`{spec.where}` holds an array for each sample, which says their lengths itself and goes beside no "
                "other; name it alone, without offsets, lengths or times."
            )
        self._padded = len(shapes[0]) == 3 and not ragged
        self.dim = sum(shape[-1] for shape in shapes)
        self.kind = "sequence" if self._padded or spec.bounds or ragged else "vector"
        self._trimmed = self._padded and spec.bounds is None
        num_rows = shapes[0][0]
        self._starts, self._stops = self._bounds(num_rows, shapes[0])
        self._moments = None if spec.times is None else self._checked_moments(spec.times, shapes[0][:-1])
        self._index = self._match(ids, absent)

    def _array(self, key: str) -> Any:
        array = self._file.array(key)
        if self._file.path.suffix.lower() in (".npz", ".npy") and is_ragged(array):
            return ragged_steps(array, f"`{self._spec.where}`")
        return array

    def _bounds(self, num_rows: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        if self._spec.bounds is None:
            return np.arange(num_rows), np.arange(num_rows) + 1
        bounds = np.asarray(self._file.array(self._spec.bounds)[...])
        name = f"`{self._spec.file}:{self._spec.bounds}`"
        if bounds.ndim != 1 or bounds.dtype.kind not in "iu" or not len(bounds):
            raise DataError(
                f"{name} must be a list of whole numbers, but has type "
                f"{bounds.dtype} and shape {bounds.shape}."
            )
        bounds = bounds.astype(np.int64)
        if self._padded:
            if len(bounds) != num_rows or bounds.min() < 0 or bounds.max() > shape[1]:
                raise DataError(
                    f"{name} must give {num_rows} lengths between 0 and {shape[1]}, but gives {len(bounds)} "
                    f"between {bounds.min()} and {bounds.max()}."
                )
            return np.zeros_like(bounds), bounds
        if bounds[0] != 0 or (np.diff(bounds) < 0).any():
            at = 0 if bounds[0] != 0 else int(np.argmax(np.diff(bounds) < 0)) + 1
            raise DataError(
                f"{name} must be offsets that start at 0 and never fall, but entry {at} is {bounds[at]}."
            )
        if bounds[-1] != num_rows:
            raise DataError(
                f"{name} must end at {num_rows}, the steps of `{self._spec.where}`, but ends at {bounds[-1]}."
            )
        return bounds[:-1], bounds[1:]

    def _checked_moments(self, key: str, shape: tuple[int, ...]) -> Any:
        moments = self._file.array(key)
        if moments.dtype.kind not in "iuf" or tuple(moments.shape) not in (shape, (*shape, 1)):
            raise DataError(
                f"`{self._spec.file}:{key}` must hold a number of seconds for each step of `{self._spec.where}`, of "
                f"shape {shape}, but has type {moments.dtype} and shape {tuple(moments.shape)}."
            )
        return moments

    def _match(self, ids: Sequence[str], absent: str) -> np.ndarray:
        num_samples = len(self._starts)
        if not self._spec.ids:
            used = {*(self._spec.keys or ("",)), self._spec.bounds, self._spec.times} - {None}
            rows, self._order = rows_in_order(
                self._file, used, ids, num_samples, where=self._spec.where, modality=self._spec.name
            )
            return rows
        index = rows_by_name(self._file, self._spec.ids, ids, num_samples, where=self._spec.where)
        if absent == "refuse":
            refuse_missing(self._spec, [name for name in ids if name not in index], index)
        self._order = without_row(self._spec, index, ids, "row")
        return np.array([index.get(name, -1) for name in ids], np.int64)

    def read(self, rows: Sequence[int]) -> list[np.ndarray | None]:
        found = [int(self._index[row]) for row in rows]
        if self.kind == "vector":
            present = [row for row in found if row >= 0]
            values = iter(
                self._side_by_side([rows_of(array, present) for array in self._arrays], len(present))
            )
            return [next(values) if row >= 0 else None for row in found]
        return [self._sequence(row) if row >= 0 else None for row in found]

    def _sequence(self, row: int) -> np.ndarray:
        start, stop = int(self._starts[row]), int(self._stops[row])
        if isinstance(self._arrays[0], RaggedSteps):
            return self._arrays[0][row]
        if not self._padded:
            return self._side_by_side([np.asarray(array[start:stop]) for array in self._arrays], stop - start)
        if self._trimmed:
            values = self._side_by_side(
                [np.asarray(array[row]) for array in self._arrays], self._arrays[0].shape[1]
            )
            return values[slice(*nonzero_window(values))]
        return self._side_by_side(
            [np.asarray(array[row, start:stop]) for array in self._arrays], stop - start
        )

    def times(self, rows: Sequence[int]) -> list[np.ndarray | None] | None:
        found = [int(self._index[row]) for row in rows]
        moments = self._moments
        return (
            None if moments is None else [self._times_of(moments, row) if row >= 0 else None for row in found]
        )

    def _times_of(self, moments: Any, row: int) -> np.ndarray:
        start, stop = int(self._starts[row]), int(self._stops[row])
        if not self._padded:
            return np.asarray(moments[start:stop]).reshape(-1)
        if self._trimmed:
            start, stop = nonzero_window(*[np.asarray(array[row]) for array in self._arrays])
        return np.asarray(moments[row, start:stop]).reshape(-1)

    def _side_by_side(self, parts: list[np.ndarray], num_rows: int) -> np.ndarray:
        parts = [part.reshape(num_rows, -1) if num_rows else np.zeros((0, 1)) for part in parts]
        return (
            (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))
            if num_rows
            else np.zeros((0, self.dim))
        )

    def notes(self) -> list[str]:
        if self._trimmed:
            return [
                *self._order,
                f"`{self._spec.name}`: steps of zeros at the front and end were taken as padding",
            ]
        return self._order

    def sources(self) -> dict[str, Source]:
        return {self._spec.file: Source.of(self._spec.file)}

    def close(self) -> None:
        self._file.close()


def without_row(spec: FeatureSpec, there: Iterable[str], ids: Sequence[str], what: str) -> list[str]:
    """Note what (in the singular) there are features of, but no row of the table."""
    known = set(ids)
    found = [name for name in there if name not in known]
    if not found:
        return []
    return [
        counted(len(found), what, f"of `{spec.name}` belongs", f"of `{spec.name}` belong")
        + f" to no row of the table, as that of `{min(found)[:60]}`"
    ]


_MOST_NAMES = 100_000


class _PerSample(FeatureReader):
    """Each sample has an array of its own; the first one found says what all must look like."""

    def __init__(self, spec: FeatureSpec, samples: Named, absent: str) -> None:
        self._spec = spec
        self._samples = samples
        self._ids = samples.ids
        found = [row for row in range(len(samples.ids)) if self._exists(row)]
        if absent == "refuse" or not found:
            present = set(found)
            missing = [name for row, name in enumerate(samples.ids) if row not in present]
            refuse_missing(spec, missing, self._names_there())
        self._without_row = without_row(spec, self._names_there(), samples.ids, self._what)
        first = self._read_one(found[0])
        self.kind = "vector" if first.ndim == 1 else "sequence"
        self.dim = first.shape[-1]

    _what = "array"
    """What a sample has of its own, for notes."""

    def _names_there(self) -> list[str]:
        """Return what there are features of, where the place tells it by ids alone; a few thousand at most."""
        return []

    def notes(self) -> list[str]:
        return self._without_row

    @abstractmethod
    def _exists(self, row: int) -> bool: ...

    @abstractmethod
    def _load(self, row: int) -> list[Any]: ...

    @abstractmethod
    def _load_times(self, row: int, key: str) -> np.ndarray: ...

    def times(self, rows: Sequence[int]) -> list[np.ndarray | None] | None:
        key = self._spec.times
        if key is None:
            return None
        return [self._load_times(row, key).reshape(-1) if self._exists(row) else None for row in rows]

    def _read_one(self, row: int) -> np.ndarray:
        parts = [np.asarray(part) for part in self._load(row)]
        shapes = [part.shape for part in parts]
        if (
            any(
                part.ndim not in (1, 2) or part.dtype.kind not in "biuf" or not part.shape[-1]
                for part in parts
            )
            or len({shape[:-1] for shape in shapes}) > 1
        ):
            raise DataError(
                f"Sample `{self._ids[row]}` must have numbers of shape (features,) or (steps, features) in "
                f"`{self._spec.where}`, but has {' + '.join(map(str, shapes))} of type {parts[0].dtype}."
            )
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def read(self, rows: Sequence[int]) -> list[np.ndarray | None]:
        results: list[np.ndarray | None] = []
        for row in rows:
            value = self._read_one(row) if self._exists(row) else None
            if value is not None and (
                value.shape[-1] != self.dim or (value.ndim == 1) != (self.kind == "vector")
            ):
                raise DataError(
                    f"Sample `{self._ids[row]}` has shape {value.shape} in "
                    f"`{self._spec.where}`, but the first sample's "
                    f"{self.kind} has {self.dim} features."
                )
            results.append(value)
        return results


class _ArrayPerSample(_PerSample):
    def __init__(
        self, spec: FeatureSpec, samples: Named, absent: str, arrays: ArrayFile, keys: Sequence[str]
    ) -> None:
        self._file = arrays
        self._keys = keys
        super().__init__(spec, samples, absent)

    def _names_there(self) -> list[str]:
        group, _, rest = self._keys[0].partition("{id}")
        children = getattr(self._file, "children", lambda _: None)(group.rstrip("/"))
        if len(self._keys) > 1 or children is None or (rest and not rest.startswith("/")) or "{" in group:
            return []
        return children[:_MOST_NAMES]

    def _exists(self, row: int) -> bool:
        return all(self._samples.array(key, row) in self._file for key in self._keys)

    def _load(self, row: int) -> list[Any]:
        return [self._file.array(self._samples.array(key, row))[...] for key in self._keys]

    def _load_times(self, row: int, key: str) -> np.ndarray:
        if "{" not in key:
            raise DataError(
                f"`{self._spec.where}` has an array for each sample, so its times must too: write @@ and a name with "
                f"{{id}} in it, not `{key}`."
            )
        return np.asarray(self._file.array(self._samples.array(key, row))[...])

    def sources(self) -> dict[str, Source]:
        return {self._spec.file: Source.of(self._spec.file)}

    def close(self) -> None:
        self._file.close()


class _FilePerSample(_PerSample):
    def __init__(self, spec: FeatureSpec, samples: Named, absent: str) -> None:
        self._hashes: dict[str, Source] = {}
        self._left_out: dict[int, int] = {}
        super().__init__(spec, samples, absent)

    _what = "file"

    def _names_there(self) -> list[str]:
        folder, name = Path(self._spec.file).parent, Path(self._spec.file).name
        before, mark, behind = name.partition("{id}")
        if not mark or "{" in before + behind or "{" in str(folder) or not folder.is_dir():
            return []
        found = (entry.name for entry in islice(folder.iterdir(), _MOST_NAMES))
        return [
            one[len(before) : len(one) - len(behind)]
            for one in found
            if one.startswith(before) and one.endswith(behind) and len(one) > len(before) + len(behind)
        ]

    def _path(self, row: int) -> Path:
        return Path(self._samples.file(self._spec.file, row))

    def _exists(self, row: int) -> bool:
        return self._path(row).is_file()

    def _load(self, row: int) -> list[Any]:
        path = self._path(row)
        with open_arrays(path) as arrays:
            keys = self._spec.keys or tuple(arrays.keys()[:1])
            if not self._spec.keys and len(arrays.keys()) != 1:
                raise DataError(
                    f"`{path}` holds {len(arrays.keys())} arrays; say which, as in "
                    f"{self._spec.name}={self._spec.file}:ARRAY."
                )
            self._hashes[self._ids[row]] = Source.of(path)
            parts = [np.array(arrays.array(self._samples.array(key, row))[...]) for key in keys]
            if self._spec.bounds is None:
                return parts
            kept = self._kept(arrays, self._spec.bounds, parts)
            self._left_out[row] = int((~kept).sum())
            return [part[kept] for part in parts]

    def _kept(self, arrays: ArrayFile, key: str, parts: Sequence[np.ndarray]) -> np.ndarray:
        mask = np.asarray(arrays.array(key)[...])
        steps = mask.reshape(-1)
        if (
            mask.size != len(mask)
            or mask.dtype.kind not in "biuf"
            or any(part.ndim not in (1, 2) or len(part) != len(steps) for part in parts)
        ):
            raise DataError(
                f"`{arrays.path}:{key}` must have one number per step, 0 for those to leave out, but has "
                f"{mask.dtype} of shape {mask.shape} beside {' + '.join(str(part.shape) for part in parts)}."
            )
        return np.nan_to_num(steps) != 0

    def _load_times(self, row: int, key: str) -> np.ndarray:
        with open_arrays(self._path(row)) as arrays:
            moments = np.array(arrays.array(self._samples.array(key, row))[...]).reshape(-1)
            return (
                moments
                if self._spec.bounds is None
                else moments[self._kept(arrays, self._spec.bounds, [moments])]
            )

    def notes(self) -> list[str]:
        count = sum(self._left_out.values())
        of = f"of `{self._spec.name}` whose `{self._spec.bounds}` is 0"
        left_out = counted(count, "step", f"{of} was left out", f"{of} were left out")
        return [*super().notes(), *([left_out] if count else [])]

    def sources(self) -> dict[str, Source]:
        return {self._spec.file: joint_source(self._spec.file, self._hashes)}

    def close(self) -> None:
        """Nothing to do: each file is closed once it is read."""


class _SideBySide(FeatureReader):
    """One modality from several places: a sample's parts are put side by side, vectors at every step."""

    def __init__(
        self, specs: Sequence[FeatureSpec], ids: Sequence[str], readers: Sequence[FeatureReader]
    ) -> None:
        self._specs = specs
        self._ids = ids
        self._readers = readers
        self.dim = sum(reader.dim for reader in readers)
        self.kind = "sequence" if any(reader.kind == "sequence" for reader in readers) else "vector"

    def read(self, rows: Sequence[int]) -> list[np.ndarray | None]:
        columns = [reader.read(rows) for reader in self._readers]
        return [self._joined(row, parts) for row, parts in zip(rows, zip(*columns, strict=True), strict=True)]

    def times(self, rows: Sequence[int]) -> list[np.ndarray | None] | None:
        known = [moments for reader in self._readers if (moments := reader.times(rows)) is not None]
        for row, *several in zip(rows, *known, strict=True):
            given = [one for one in several if one is not None]
            if any(not np.array_equal(one, given[0]) for one in given[1:]):
                raise DataError(
                    f"Sample `{self._ids[row]}` has other times in one of the places of `{self._specs[0].name}` than "
                    "in the others; give them names of their own."
                )
        return known[0] if known else None

    def _joined(self, row: int, parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
        present = [part for part in parts if part is not None]
        if not present:
            return None
        if len(present) < len(parts):
            lacking = next(spec for spec, part in zip(self._specs, parts, strict=True) if part is None)
            raise DataError(
                f"Sample `{self._ids[row]}` has no features in `{lacking.where}`, but has others of "
                f"`{lacking.name}`; add them, or give the places names of their own."
            )
        if self.kind == "vector":
            return np.concatenate([part.reshape(-1) for part in present])
        steps = [
            len(part)
            for part, reader in zip(present, self._readers, strict=True)
            if reader.kind == "sequence"
        ]
        if len(set(steps)) > 1:
            raise DataError(
                f"Sample `{self._ids[row]}` has {' and '.join(map(str, steps))} steps in the places of "
                f"`{self._specs[0].name}`, which cannot be put side by side; give them names of their own."
            )
        wide = [
            part if reader.kind == "sequence" else np.broadcast_to(part.reshape(-1), (steps[0], reader.dim))
            for part, reader in zip(present, self._readers, strict=True)
        ]
        return np.concatenate(wide, axis=1)

    def notes(self) -> list[str]:
        return [note for reader in self._readers for note in reader.notes()]

    def sources(self) -> dict[str, Source]:
        return {file: source for reader in self._readers for file, source in reader.sources().items()}

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
