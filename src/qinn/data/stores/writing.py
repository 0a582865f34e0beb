"""Writing a store: streamed, checked sample by sample, and either complete or not there at all."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, SupportsFloat

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import qinn
from qinn.atomic_writing import flush, flush_folder, locked_folder, put_in_place, remove_stale, unlock
from qinn.data.stores.columns import (
    Column,
    checked_ids,
    checked_splits,
    checked_texts,
    one_per_sample,
)
from qinn.data.stores.identifiers import SeenIdentifiers
from qinn.data.stores.label_column import checked_labels, label_type, range_of
from qinn.data.stores.manifest import (
    FILES,
    FORMAT,
    MANIFEST_FILE,
    SPLITS,
    TABLE_FILE,
    ContentDigest,
    Modality,
    Source,
    check_modalities,
    task_to_json,
    version_of,
)
from qinn.data.stores.ragged import Ragged, as_ragged
from qinn.data.stores.recipe import RECIPE, Recipe
from qinn.data.stores.spans import checked_spans
from qinn.data.stores.step_arrays import StepArrayWriter, form_of
from qinn.data.stores.store_place import check_store_place, maker_of
from qinn.data.stores.times import checked_times
from qinn.destinations import resolved
from qinn.digests import file_digest, sealed
from qinn.errors import ArgumentError, DataError, OutputError
from qinn.escaping import json_text
from qinn.task import Task

_COLUMNS = ("id", "split", "label", "group", "fold", "text")
_ROWS_AT_ONCE = 2**15
_SPOOL = "rows.arrow"
_BESIDE = ("spans", "times")
"""What may lie beside the steps of a modality."""


class StoreWriter:
    """Write a store into a hidden sibling folder and put it in its place when it is complete.

    Use it as a context manager. Everything goes to disk as it is added, so the data may be larger than memory:
    what is held is some ten thousand rows of the table and 8 bytes per id. Leaving the block without an exception
    completes the store; with one, or when the process is killed, nothing that opens remains, and the next
    import to the same place removes what a dead process left behind.

    Args:
        path: Folder of the store to be.
        name: Name of the data set.
        task: What is predicted.
        modalities: Name → `Modality`, in the order that every later stage uses.
        layout: Which reader wrote it, for example ``"mmsa"``.
        sources: The files it is made from; more can follow by `add_source`.
        notes: Remarks kept in the manifest; more can follow by `note`.
        label_name: What the labels are called where they come from: a column, a key.
        recipe: How it is imported.
        overwrite: Replace a store that the same command made (see `maker_of`), atomically where the system can
            exchange two folders.
        non_finite: ``"refuse"`` raises at NaN and ±inf feature values; ``"zero"`` replaces them by 0,
            counts them and notes the count in the manifest.

    Raises:
        ArgumentError: If a declared modality is not possible.
        OutputError: If the place is taken, is no store or another command's (with `overwrite`), or cannot be
            written.

    Examples:
        >>> import tempfile
        >>> from qinn.data.stores.store import Store
        >>> folder = Path(tempfile.mkdtemp()) / "tiny"
        >>> with StoreWriter(folder, name="tiny", task=Task("regression", -3.0, 3.0, "mosi"),
        ...                  modalities={"text": Modality(2)}, layout="example") as writer:
        ...     writer.add("a", {"text": np.ones((4, 2))}, split="train", label=1.5)
        ...     writer.add("b", {"text": np.zeros((1, 2))}, split="test", label=-3)
        >>> len(Store.open(folder))
        2
    """

    def __init__(
        self,
        path: Path | str,
        *,
        name: str,
        task: Task,
        modalities: Mapping[str, Modality],
        layout: str,
        sources: Iterable[Source | Path | str] = (),
        notes: Iterable[str] = (),
        label_name: str = "",
        recipe: Recipe | None = None,
        overwrite: bool = False,
        non_finite: Literal["refuse", "zero"] = "refuse",
    ) -> None:
        check_modalities(modalities)
        if non_finite not in ("refuse", "zero"):
            raise ArgumentError(
                f"Argument `non_finite` must be `refuse` or `zero`, but it is `{non_finite}`."
            )
        self.path = resolved(path)
        self.name = name
        self.task = task
        self.modalities = dict(modalities)
        self.layout = layout
        self._sources: list[Source] = []
        for source in sources:
            self.add_source(source)
        self._notes = list(notes)
        self._label_name = label_name
        self._recipe = recipe
        self._overwrite = overwrite
        self._non_finite = non_finite
        self._replaced = dict.fromkeys(modalities, 0)
        self._rows: dict[str, list[Any]] = {column: [] for column in _COLUMNS}
        self._extra: dict[str, list[Any]] = {}
        self._num_samples = 0
        self._schemas: list[pa.Schema] = []
        self._ids = SeenIdentifiers(self._is_spooled)
        self._split_sizes = Counter[str]()
        self._label_range: list[float | int] | None = None
        self._max_length = dict.fromkeys(modalities, 0)
        self._arrays: dict[tuple[str, str], StepArrayWriter] = {}
        self._spool: BinaryIO | None = None
        self._failed = False
        self._folder: Path | None = None
        self._lock: int | None = None

    def __len__(self) -> int:
        """Number of samples added so far."""
        return self._num_samples

    def add_source(self, source: Source | Path | str) -> None:
        """Record a file that the store is made from; a path is hashed here and only its base name kept."""
        self._sources.append(source if isinstance(source, Source) else Source.of(source))

    def note(self, text: str) -> None:
        """Keep a remark in the manifest (say what was dropped, repaired or assumed)."""
        self._notes.append(text)

    def __enter__(self) -> "StoreWriter":
        self._check_place()
        with self._disk():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_stale(self.path)
            self._folder, self._lock = locked_folder(self.path)
        try:
            with self._disk():
                for name in self.modalities:
                    self._array("values", name)
                    self._array("offsets", name).write(np.zeros(1, np.int64))
                self._spool = (self._folder / _SPOOL).open("w+b")
        except OutputError:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._discard()

    def add(
        self,
        id: str,
        features: Mapping[str, np.ndarray | None],
        *,
        split: str = "",
        label: SupportsFloat | None = None,
        group: str = "",
        fold: str = "",
        text: str = "",
        extra: Mapping[str, Any] | None = None,
        times: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Append one sample; nothing of it is kept when it is refused.

        Args:
            id: Identifier, unique in the store.
            features: Modality → (steps, dim), or (dim,) for one step; None, no steps or no entry = absent.
            split: ``"train"``, ``"valid"``, ``"test"`` or ``""`` (no official split).
            label: Score within the task's range, or class index; None when unlabelled.
            group: What must not be divided between training and test (speaker, video …); ``""`` if unknown.
            fold: Name of the official fold; ``""`` if there is none.
            text: Raw transcript.
            extra: Further columns of the table; plain values.
            times: Modality → seconds (steps,) at which its steps happen, as in `add_many`.

        Raises:
            DataError: If the sample is not acceptable: the message names sample, modality and step.
        """
        self.add_many(
            [id],
            {name: [value] for name, value in features.items()},
            splits=[split],
            labels=[label],
            groups=[group],
            folds=[fold],
            texts=[text],
            extra={name: [value] for name, value in (extra or {}).items()},
            times={name: [value] for name, value in (times or {}).items()},
        )

    def add_many(
        self,
        ids: Column,
        features: Mapping[str, np.ndarray | Ragged | Sequence[np.ndarray | None]],
        *,
        lengths: Mapping[str, np.ndarray] | None = None,
        splits: Column | str = "",
        labels: Column | None = None,
        groups: Column | None = None,
        folds: Column | None = None,
        texts: Column | None = None,
        extra: Mapping[str, Column] | None = None,
        spans: Mapping[str, Sequence[np.ndarray]] | None = None,
        times: Mapping[str, Sequence[np.ndarray | None]] | None = None,
    ) -> None:
        """Append many samples at once, with vectorised checks; all of them or none.

        Args:
            ids: Identifiers (n).
            features: Modality → one of: an array (n, dim), one vector per sample; a padded array
                (n, time, dim) with its `lengths`; a pair of (total_steps, dim) and the steps of each sample
                (n,); a list of n arrays as `add` takes them. Modalities that are not given are absent.
            lengths: Valid steps of padded arrays; without an entry every step counts.
            splits: One split for all, or one per sample.
            labels: One per sample; None = unlabelled.
            groups: One per sample.
            folds: One per sample.
            texts: One per sample.
            extra: Further columns, one value per sample.
            spans: Modality → for each sample (steps, 2), which characters of its text each step stands for
                (see `qinn.data.stores.spans`); for every sample of a store or for none.
            times: Modality → for each sample (steps,), the seconds from its beginning at which its steps happen
                (see `qinn.data.stores.times`); for every sample of a store or for none.

        Raises:
            DataError: If a sample is not acceptable: the message names sample, modality and step.
        """
        if self._folder is None:
            raise ArgumentError("A StoreWriter takes samples only inside its `with` block.")
        ids = [str(identifier) for identifier in ids]
        rows: dict[str, list[Any]] = {"id": checked_ids(ids, self._ids)}
        rows["split"] = checked_splits(ids, [splits] * len(ids) if isinstance(splits, str) else splits)
        rows["label"] = checked_labels(ids, labels, self.task)
        for column, values in (("group", groups), ("fold", folds), ("text", texts)):
            rows[column] = [
                "" if value is None else str(value) for value in one_per_sample(ids, column, values)
            ]
        extra_rows = {name: one_per_sample(ids, name, values) for name, values in (extra or {}).items()}
        for column, values in (*rows.items(), *extra_rows.items()):
            if column not in ("label", "split"):
                checked_texts(ids, column, values)
        if taken := set(extra_rows) & set(_COLUMNS):
            raise DataError(f"Extra column `{min(taken)}` has the name of a standard column; rename it.")
        named = (*features, *(spans or {}), *(times or {}))
        unknown = [name for name in named if name not in self.modalities]
        if unknown:
            raise DataError(
                f"Sample `{ids[0] if ids else ''}` has the undeclared modality `{unknown[0]}`; "
                f"the store has {list(self.modalities)}."
            )
        padded = lengths or {}
        ragged = {
            name: self._checked_features(ids, name, features.get(name), padded.get(name))
            for name in self.modalities
        }
        present = sum((steps > 0 for _, steps in ragged.values()), start=np.zeros(len(ids), dtype=bool))
        if not np.all(present):
            raise DataError(
                f"Sample `{ids[int(np.argmin(present))]}` has no step in any modality; leave it out."
            )
        found = {
            ("spans", name): checked_spans(ids, name, given, ragged[name][1], rows["text"])
            for name, given in (spans or {}).items()
        }
        for name, given in (times or {}).items():
            found["times", name] = checked_times(ids, name, given, ragged[name][1])
        for name, (values, steps) in ragged.items():
            found["values", name] = values
            found["offsets", name] = self._array("values", name).count + np.cumsum(steps)
            self._max_length[name] = max(self._max_length[name], int(steps.max(initial=0)))
        with self._disk():
            for (what, name), values in found.items():
                self._array(what, name).write(values)
        waiting = len(self._rows["id"])
        for name in dict.fromkeys([*self._extra, *extra_rows]):
            column = self._extra.setdefault(name, [None] * waiting)
            column.extend(extra_rows.get(name, [None] * len(ids)))
        for column, values in rows.items():
            self._rows[column].extend(values)
        self._num_samples += len(ids)
        self._ids.update(ids)
        self._split_sizes.update(rows["split"])
        if (found := range_of(rows["label"])) is not None:
            so_far = self._label_range or found
            self._label_range = [min(so_far[0], found[0]), max(so_far[1], found[1])]
        if len(self._rows["id"]) >= _ROWS_AT_ONCE:
            self._spool_rows()

    def _checked_features(
        self,
        ids: list[str],
        name: str,
        given: np.ndarray | Ragged | Sequence[np.ndarray | None] | None,
        lengths: np.ndarray | None,
    ) -> Ragged:
        modality = self.modalities[name]
        values, steps = as_ragged(ids, name, modality.dim, given, lengths)
        if modality.kind == "vector" and np.any(steps > 1):
            at = int(np.argmax(steps > 1))
            raise DataError(
                f"Sample `{ids[at]}` has {steps[at]} steps in `{name}`, but a vector has one step."
            )
        if values.dtype.kind not in "fiub":
            raise DataError(
                f"Modality `{name}` of sample `{ids[0]}` must hold real numbers, not {values.dtype}."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.astype("<f4", copy=False)
        finite = np.isfinite(values)
        if not finite.all():
            if self._non_finite == "refuse":
                step, feature = np.argwhere(~finite)[0]
                at = int(np.searchsorted(np.cumsum(steps), step, side="right"))
                inside = int(step - steps[:at].sum())
                raise DataError(
                    f"Sample `{ids[at]}` has the value {values[step, feature]} in modality `{name}`, "
                    f"step {inside}, feature {feature}; repair the source or import with `zero` for these."
                )
            self._replaced[name] += int(finite.size - np.count_nonzero(finite))
            values = np.where(finite, values, np.float32(0))
        return values, steps

    def _array(self, what: str, name: str) -> StepArrayWriter:
        """An array of a modality, begun when it is first asked for."""
        if (what, name) not in self._arrays:
            assert self._folder is not None
            form = form_of(what, self.modalities[name].dim)
            self._arrays[what, name] = StepArrayWriter(self._folder / f"{name}.{what}.npy", *form)
        return self._arrays[what, name]

    def _check_place(self) -> None:
        with self._disk():
            check_store_place(self.path, maker_of(self.layout, self._notes), overwrite=self._overwrite)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            raise OutputError(
                f"Cannot write the store `{self.path}`: {error.strerror or error}; "
                "free space or choose a folder that can be written."
            ) from error

    def _spool_rows(self) -> None:
        """Append the rows that wait in memory to a file, with the types that their values have so far."""
        assert self._spool is not None
        columns: dict[str, pa.Array] = {}
        for name, values in self._rows.items():
            columns[name] = pa.array(values, type=label_type(self.task) if name == "label" else pa.string())
        for name, values in self._extra.items():
            try:
                columns[name] = pa.array(values)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise _mixed(name, error) from None
        table = pa.table(columns)
        encoded = pa.BufferOutputStream()
        with pa.ipc.new_stream(encoded, table.schema) as stream:
            stream.write_table(table)
        with self._disk():
            self._spool.seek(0, os.SEEK_END)
            self._spool.write(encoded.getvalue())
        self._schemas.append(table.schema)
        for values in (*self._rows.values(), *self._extra.values()):
            values.clear()

    def _spooled(self) -> Iterator[pa.Table]:
        """Read back the rows, a part at a time."""
        assert self._spool is not None
        with self._disk():
            self._spool.flush()
            self._spool.seek(0)
            for _ in self._schemas:
                with pa.ipc.open_stream(self._spool) as stream:
                    yield stream.read_all()

    def _is_spooled(self, identifier: str) -> bool:
        """Tell whether a row has an id: among those that wait, or among those on disk."""
        wanted = pa.scalar(identifier)
        return identifier in self._rows["id"] or any(
            pc.index(part.column("id"), wanted).as_py() >= 0 for part in self._spooled()
        )  # pyright: ignore[reportAttributeAccessIssue]

    def _schema(self) -> pa.Schema:
        """One schema for all rows: the standard columns, then the extra ones in order of appearance."""
        names = list(_COLUMNS) + list(self._extra)
        fields = []
        for name in names:
            parts = [pa.schema([schema.field(name)]) for schema in self._schemas if name in schema.names]
            try:
                fields.append(pa.unify_schemas(parts, promote_options="permissive").field(name))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise _mixed(name, error) from None
        return pa.schema(fields)

    def _write_table(self, path: Path, content: ContentDigest) -> None:
        """Write the table a part at a time, and add its rows to the hash."""
        schema = self._schema()
        with path.open("wb") as target, pq.ParquetWriter(target, schema) as parquet:
            for part in self._spooled():
                columns = []
                for field in schema:
                    found = part.column(field.name) if field.name in part.column_names else None
                    try:
                        columns.append(
                            pa.nulls(len(part), field.type) if found is None else found.cast(field.type)
                        )
                    except pa.ArrowInvalid as error:
                        raise _mixed(field.name, error) from None
                table = pa.table(columns, schema=schema)
                content.add_rows(table)
                parquet.write_table(table)
            parquet.close()
            flush(target)

    def _complete(self) -> None:
        folder = self._folder
        if self._failed:
            raise DataError(f"The store `{self.path}` is incomplete because a write failed; import it again.")
        if folder is None or not len(self):
            raise DataError(f"The store `{self.path}` would be empty; its source has no sample.")
        for (what, name), array in self._arrays.items():
            num_steps = self._arrays["values", name].count
            if what in _BESIDE and array.count != num_steps:
                raise DataError(
                    f"The store `{self.path}` has {num_steps} steps in `{name}`, but {what} for "
                    f"{array.count}; give {what} for every sample or for none."
                )
        content = ContentDigest(self.task)
        with self._disk():
            self._spool_rows()
            self._write_table(folder / TABLE_FILE, content)
            digests = {key: array.complete() for key, array in self._arrays.items()}
            for name, modality in self.modalities.items():
                offsets = np.load(folder / f"{name}.offsets.npy", mmap_mode="r")
                times = digests.get(("times", name))
                content.add_modality(name, modality, digests["values", name], offsets, times)
            (folder / _SPOOL).unlink()
            files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
            with (folder / MANIFEST_FILE).open("wb") as target:
                manifest = self._manifest(content.hexdigest())
                for (what, name), digest in digests.items():
                    if what in _BESIDE:
                        manifest["modalities"][name][f"{what}_sha256"] = digest
                manifest = sealed({**manifest, FILES: files})
                target.write(json_text(manifest).encode() + b"\n")
                flush(target)
            flush_folder(folder)
        self._check_place()
        with self._disk():
            put_in_place(folder, self.path, overwrite=self._overwrite)
            flush_folder(self.path.parent)

    def _manifest(self, sha256: str) -> dict[str, Any]:
        replaced = [
            f"{count} non-finite values of `{name}` were replaced by 0"
            for name, count in self._replaced.items()
            if count
        ]
        return {
            "format": FORMAT,
            "version": version_of(self.task),
            "name": self.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": task_to_json(self.task),
            "modalities": {
                name: {
                    "dim": modality.dim,
                    "num_steps": self._arrays["values", name].count,
                    "max_length": self._max_length[name],
                    "kind": modality.kind,
                    "tier": modality.tier,
                    **({"vocabulary": list(modality.vocabulary)} if modality.vocabulary else {}),
                }
                for name, modality in self.modalities.items()
            },
            "num_samples": len(self),
            "splits": {split: self._split_sizes[split] for split in SPLITS if split in self._split_sizes},
            "label_range": self._label_range,
            **({"label_name": self._label_name} if self._label_name else {}),
            "sources": [vars(source) for source in self._sources],
            "layout": self.layout,
            **({} if self._recipe is None else {RECIPE: self._recipe.to_json()}),
            "sha256": sha256,
            "notes": self._notes + replaced,
            "qinn_version": qinn.__version__,
        }

    def _discard(self) -> None:
        """Close everything and remove the working folder (after an exchange it holds the old store)."""
        spool = [] if self._spool is None else [self._spool]
        for file in (*self._arrays.values(), *spool):
            with suppress(OSError):
                file.close()
        self._arrays, self._spool = {}, None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        unlock(self._lock)
        self._lock = None


def _mixed(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"Extra column `{name}` mixes kinds of values ({reason}); use one kind.")
