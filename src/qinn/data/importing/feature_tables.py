"""Features in tables: a row for each sample, a run of rows for one, or columns of the table of samples itself."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from qinn.data.files.arrays import check_file
from qinn.data.files.delimited_tables import BOOKKEEPING, DelimitedTable, chosen_columns
from qinn.data.files.numerals import counted
from qinn.data.files.tables import Columns, read_columns
from qinn.data.importing.feature_reader import FeatureReader, Named, refuse_missing
from qinn.data.importing.feature_specs import FeatureSpec
from qinn.data.stores.manifest import Source
from qinn.errors import ConfigError, DataError

__all__ = ["ColumnsOfSamples", "RowsOfTable"]


class ColumnsOfSamples(FeatureReader):
    """Columns of the table of samples: one vector each, absent where all its cells are empty.

    Args:
        spec: Which columns, by names or patterns.
        samples: The samples and their table.
        absent: What to do about samples without features.
        roles: Columns that no pattern takes: ids, labels, splits and the like.

    Raises:
        ConfigError: If such a column is named as a feature.
        DataError: If a column is not there, or a cell is no number.
    """

    def __init__(self, spec: FeatureSpec, samples: Named, absent: str, roles: Collection[str]) -> None:
        table = samples.table
        if taken := [key for key in spec.keys if key in roles]:
            raise ConfigError(
                f"Feature `{spec.name}` takes the column `{taken[0]}`, which is an id, label, split, group, fold or "
                "transcript of the samples; name other columns."
            )
        free = [name for name in table.values if name not in roles]
        chosen = chosen_columns(free, spec.keys, table.path)
        self._values = table.numbers(chosen)
        self._present = [not row.all() for row in np.isnan(self._values)]
        self.kind, self.dim = "vector", len(chosen)
        if absent == "refuse":
            refuse_missing(
                spec, [name for name, there in zip(samples.ids, self._present, strict=True) if not there]
            )
        self._note = f"`{spec.name}` is {_counted(chosen)} of the table"

    def read(self, rows: Sequence[int]) -> list[np.ndarray | None]:
        """Return the features of some samples."""
        return [self._values[row] if self._present[row] else None for row in rows]

    def notes(self) -> list[str]:
        """Say which columns were taken, and how."""
        return [self._note]

    def sources(self) -> dict[str, Source]:
        """Return what was read beside the table of samples."""
        return {}

    def close(self) -> None:
        """Nothing to do: the table was read as a whole."""


class RowsOfTable(FeatureReader):
    """A table of features whose rows belong to samples by their names.

    A sample with a single row has a vector; where one has several, these are its steps, by the column of times or,
    if they lie together, as they lie.

    Args:
        spec: The table, its columns, and the columns of names, of times and of what rows count.
        samples: The samples.
        absent: What to do about samples without a row.
        roles: Columns that are taken for features only where they are named: ids, labels, splits and the like.

    Raises:
        ConfigError: If no column of names is stated, or it is the table of samples itself.
        DataError: If a column is not there or a cell is no number; or if the order of a sample's rows isn't clear.
    """

    def __init__(self, spec: FeatureSpec, samples: Named, absent: str, roles: Collection[str]) -> None:
        self._spec = spec
        path = Path(spec.file)
        check_file(path, "a table of features")
        if any(file.exists() and file.samefile(path) for file in samples.table.files):
            raise ConfigError(
                f"`{spec.where}` is the table of samples itself; take its columns as {spec.name}=:"
                f"{'+'.join(spec.keys) or 'COLUMNS'}."
            )
        table = read_columns(path) if path.suffix.lower() == ".parquet" else DelimitedTable(path)
        columns = list(table.values) if isinstance(table, Columns) else table.columns
        if not spec.ids:
            raise ConfigError(
                f"`{spec.where}` is a table, so the column that names its samples must be stated, as in "
                f"{spec.name}={spec.where}#{columns[0]}; it has {', '.join(columns[:12])}. One table per sample is "
                "read as folder/{id}.csv."
            )
        aside = {*spec.ids, spec.bounds, spec.times}
        if not spec.keys and set(columns) >= BOOKKEEPING:
            aside |= BOOKKEEPING
        named_as_samples = [name for name in columns if name in roles and name not in {*aside, *spec.keys}]
        aside |= set(named_as_samples)
        chosen = chosen_columns([name for name in columns if name not in aside], spec.keys, path)
        joined = [table.texts(key) for key in spec.ids]
        names: list[str] = ["_".join(parts) for parts in zip(*joined, strict=True)]
        values = table.numbers(chosen)
        moments = None if spec.times is None else table.numbers([spec.times])[:, 0]
        rows = np.arange(len(names))
        self._notes = [f"`{spec.name}` is {_counted(chosen)} of `{path.name}`"]
        if named_as_samples:
            self._notes.append(
                f"{_counted(named_as_samples)} of `{path.name}` has the name of a label or the like and is no feature"
            )
        if spec.bounds is not None:
            rows = rows[np.nan_to_num(table.numbers([spec.bounds])[:, 0]) != 0]
            if len(rows) < len(names):
                self._notes.append(_left_out(len(names) - len(rows), "row", spec))
        self._rows = self._divided(rows, names, moments)
        wanted = set(samples.ids)
        others = [name for name in self._rows if name not in wanted]
        if self._rows and len(others) == len(self._rows):
            raise DataError(
                f"`{spec.file}:{'+'.join(spec.ids)}` names none of the table's samples (`{others[0][:60]}`, where the "
                f"table has `{samples.ids[0][:60]}`); write the same ids in both."
            )
        if others:
            self._notes.append(
                counted(len(others), "name", f"of `{path.name}` is", f"of `{path.name}` are")
                + " none of the table's samples"
            )
        most = max((len(found) for name, found in self._rows.items() if name in wanted), default=0)
        stated = spec.times is not None or spec.bounds is not None
        self.kind = "sequence" if stated or most > 1 else "vector"
        if most > 1 and spec.times is None:
            self._notes.append(
                f"up to {most} rows of `{path.name}` have one name: they are the steps of `{spec.name}`, in the "
                "file's order"
            )
        self.dim = len(chosen)
        self._ids, self._values, self._moments = samples.ids, values, moments
        if self.kind == "vector":
            # A row without a value says that there is no vector; among steps that is for the policy about NaN.
            self._rows = {name: own for name, own in self._rows.items() if not np.isnan(values[own]).all()}
        if absent == "refuse":
            refuse_missing(spec, [name for name in samples.ids if name not in self._rows])

    def _divided(
        self, rows: np.ndarray, names: Sequence[str], moments: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Return the rows of each name in the order of their steps."""
        found: dict[str, list[int]] = {}
        for row in rows.tolist():
            found.setdefault(names[int(row)], []).append(row)
        divided = {name: np.array(own) for name, own in found.items()}
        if moments is not None:
            if np.isnan(moments[rows]).any():
                row = int(rows[np.isnan(moments[rows])][0])
                raise DataError(
                    f"`{self._spec.file}:{self._spec.times}` must say when each step happens, but has nothing for a "
                    f"row of `{names[row][:60]}`."
                )
            return {name: own[np.argsort(moments[own], kind="stable")] for name, own in divided.items()}
        place = {row: at for at, row in enumerate(rows.tolist())}
        for name, own in divided.items():
            if place[own[-1]] - place[own[0]] >= len(own):
                raise DataError(
                    f"`{self._spec.file}` has {len(own)} rows for `{name[:60]}` that do not lie together, so the "
                    f"order of its steps isn't clear; name a column of times, as in {self._spec.where}@@TIMES"
                    f"#{'+'.join(self._spec.ids)}."
                )
        return divided

    def read(self, rows: Sequence[int]) -> list[np.ndarray | None]:
        """Return the features of some samples."""
        found = [self._rows.get(self._ids[row]) for row in rows]
        if self.kind == "vector":
            return [None if own is None else self._values[own[0]] for own in found]
        return [None if own is None else self._values[own] for own in found]

    def times(self, rows: Sequence[int]) -> list[np.ndarray | None] | None:
        """Return when the steps of some samples happen, where a column says it."""
        moments = self._moments
        if moments is None:
            return None
        return [None if (own := self._rows.get(self._ids[row])) is None else moments[own] for row in rows]

    def notes(self) -> list[str]:
        """Say which columns were taken, and how."""
        return self._notes

    def sources(self) -> dict[str, Source]:
        """Return what was read beside the table of samples."""
        return {self._spec.file: Source.of(self._spec.file)}

    def close(self) -> None:
        """Nothing to do: the table was read as a whole."""


def _left_out(count: int, noun: str, spec: FeatureSpec) -> str:
    of = f"of `{spec.name}` whose `{spec.bounds}` is 0"
    return counted(count, noun, f"{of} was left out", f"{of} were left out")


def _counted(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"column `{names[0]}`"
    return f"{len(names)} columns ({names[0]} … {names[-1]})"
