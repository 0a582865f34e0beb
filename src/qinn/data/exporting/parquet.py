"""Parquet: one row per sample, its features as lists of steps; for pyarrow, pandas, datasets, polars, DuckDB.

=================== ====================================================================================
id                   text
split                train, valid, test or empty
label                double, or int64 with the class's name in ``label_name``; null = unlabelled; of several labels a
                     list of int64: 1 present, 0 absent, null where it is not known
group, fold          text, empty where there is none
text                 transcript
<modality>_features  list of steps, each a list of ``dim`` floats; null where the sample lacks the modality
<modality>_times     list of doubles, where the store knows them: seconds at which the steps happen; null likewise
=================== ====================================================================================

Extra columns of the store follow. The schema's metadata has a JSON document under ``qinn``: name, task, modalities
with their tiers, and the content hash of the store.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qinn.atomic_writing import complete_file, complete_folder
from qinn.data.exporting.options import ConversionOptions, ConversionReport
from qinn.data.stores.cutting import ROWS, pieces
from qinn.data.stores.store import Store
from qinn.errors import DataError, OutputError


def write_parquet(store: Store, target: Path, options: ConversionOptions) -> ConversionReport:
    """Write a store as one Parquet file or, where the target has no suffix, as a folder with one per split.

    Args:
        store: The store.
        target: The file or folder to be.
        options: Whether a file may be replaced; a folder never is.

    Raises:
        OutputError: If the place is taken or cannot be written.
    """
    splits = store.strings("split")
    sizes = {str(split): int((splits == split).sum()) for split in store.manifest["splits"]}
    if target.suffix:
        with complete_file(target, overwrite=options.overwrite) as stream:
            _write(store, np.arange(len(store)), stream)
    else:
        _write_folder(store, splits, target.resolve())
    shapes = {name: (len(store.values(name)), dim) for name, dim in store.modalities.items()}
    return ConversionReport(target, "parquet", sizes, shapes)


def _write_folder(store: Store, splits: np.ndarray, target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"`{target}` exists already; choose another place.")
    try:
        with complete_folder(target, overwrite=False) as folder:
            for split in dict.fromkeys(splits):
                with complete_file(folder / f"{split or 'rest'}.parquet", overwrite=False) as stream:
                    _write(store, np.flatnonzero(splits == split), stream)
    except OSError as error:
        raise OutputError(
            f"Cannot write `{target}`: {error.strerror or error}; "
            "free space or choose a folder that can be written."
        ) from error


def _write(store: Store, rows: np.ndarray, stream: Any) -> None:
    columns = store.table.drop_columns(["label"])
    extra = [name for name in columns.column_names if name not in ("id", "split", "group", "fold", "text")]
    classes = store.task.classes
    features = feature_columns(store)
    times = {f"{name}_times": name for name in store.modalities if store.times(name) is not None}
    if taken := set(times) & set(columns.column_names):
        raise DataError(
            f"The store `{store.name}` has a column `{min(taken)}` where the times of `{times[min(taken)]}` would "
            "stand; import it under another name."
        )
    fields = [
        ("id", pa.string()),
        ("split", pa.string()),
        ("label", store.table.schema.field("label").type),
        *([("label_name", pa.string())] if classes else []),
        *((name, pa.string()) for name in ("group", "fold", "text")),
        *((key, pa.list_(pa.list_(pa.float32(), store.modalities[name]))) for key, name in features.items()),
        *((key, pa.list_(pa.float64())) for key in times),
        *((name, columns.schema.field(name).type) for name in extra),
    ]
    about = {
        "name": store.name,
        "task": store.manifest["task"],
        "modalities": store.manifest["modalities"],
        "sha256": store.sha256,
    }
    schema = pa.schema(fields, metadata={"qinn": json.dumps(about, ensure_ascii=False)})
    with pq.ParquetWriter(stream, schema) as writer:
        for piece in pieces(store.num_values()[rows], times=8, most=8 * ROWS):
            chosen = rows[piece]
            arrays: dict[str, Any] = {}
            for name, kind in fields:
                if name in features:
                    arrays[name] = _steps(store, features[name], chosen, kind)
                elif name in times:
                    arrays[name] = _times(store, times[name], chosen)
                elif name == "label_name":
                    indices = store.labels[chosen]
                    arrays[name] = [classes[index] if index >= 0 else None for index in indices]
                else:
                    arrays[name] = store.table.column(name).take(chosen).combine_chunks()
            writer.write_table(pa.table(arrays, schema=schema))


def feature_columns(store: Store) -> dict[str, str]:
    """Return column → modality: the names under which features stand beside the columns of the table.

    Raises:
        DataError: If a column of the store's own has such a name.
    """
    found = {f"{name}_features": name for name in store.modalities}
    if taken := set(found) & set(store.table.column_names):
        raise DataError(
            f"The store `{store.name}` has a column `{min(taken)}` where the features of "
            f"`{found[min(taken)]}` would stand; import it under another name."
        )
    return found


def _steps(store: Store, name: str, rows: np.ndarray, kind: pa.DataType) -> pa.Array:
    parts = [store.sample(int(row), name) for row in rows]
    dim = store.modalities[name]
    values = np.concatenate(parts) if parts else np.zeros((0, dim), np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    inner = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), dim)
    absent = pa.array([len(part) == 0 for part in parts])
    return pa.ListArray.from_arrays(pa.array(offsets), inner, type=kind, mask=absent)


def _times(store: Store, name: str, rows: np.ndarray) -> list[np.ndarray | None]:
    times, offsets = store.times(name), store.offsets(name)
    assert times is not None
    found = [np.asarray(times[offsets[row] : offsets[row + 1]]) for row in rows]
    return [part if len(part) else None for part in found]
