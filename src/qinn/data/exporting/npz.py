"""One npz file from which `qinn data import table` makes the same store again, and which numpy alone reads.

The columns ``id``, ``split``, ``label`` (as text; empty = unlabelled; of several labels one column each, by their
names), ``group``, ``fold``, ``text`` and the store's
extra columns have one entry per sample; ``<modality>_features`` holds the steps of all samples after each
other, ``<modality>_offsets`` where each begins and, where the store knows it, ``<modality>_times`` when each step
happens. Nothing is compressed, so that the file can be mapped into memory.
"""

import zipfile
from pathlib import Path

import numpy as np

from qinn.atomic_writing import complete_file
from qinn.data.exporting.options import ConversionOptions, ConversionReport
from qinn.data.exporting.parquet import feature_columns
from qinn.data.stores.cutting import even_pieces
from qinn.data.stores.step_arrays import array_header
from qinn.data.stores.store import Store
from qinn.errors import DataError
from qinn.task import THRESHOLD


def write_npz(store: Store, target: Path, options: ConversionOptions) -> ConversionReport:
    """Write a store as one npz file.

    Args:
        store: The store.
        target: The file to be.
        options: Whether it may be replaced.

    Raises:
        DataError: If a modality has the name of a column, or the file cannot be written.
    """
    named = {name: store.table.column(name).to_pylist() for name in store.table.column_names}
    labels = _labels(store)
    if taken := (set(labels) - {"label"}) & set(named):
        raise DataError(
            f"The store `{store.name}` has a label `{min(taken)}`, which is also the name of a column; import it under "
            "another name."
        )
    columns = {
        key: column
        for name, values in named.items()
        for key, column in (labels if name == "label" else {name: values}).items()
    }
    timed = {name: times for name in store.modalities if (times := store.times(name)) is not None}
    beside = {f"{name}_offsets" for name in store.modalities} | {f"{name}_times" for name in timed}
    if taken := beside & set(columns):
        raise DataError(
            f"The store `{store.name}` has a column `{min(taken)}`; import it under another name."
        )
    features = feature_columns(store)
    with (
        complete_file(target, overwrite=options.overwrite) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name, values in columns.items():
            _member(archive, name, [np.array(["" if value is None else value for value in values])])
        for key, name in features.items():
            values = store.values(name)
            chunks = [values[piece] for piece in even_pieces(len(values), values.shape[1])] or [values]
            _member(archive, key, chunks, values.shape)
            _member(archive, f"{name}_offsets", [np.asarray(store.offsets(name))])
            if name in timed:
                _member(archive, f"{name}_times", [np.asarray(timed[name])])
    sizes = {str(split): count for split, count in store.manifest["splits"].items()}
    shapes = {name: tuple(store.values(name).shape) for name in store.modalities}
    return ConversionReport(target, "npz", sizes, shapes, (_command(store, target),))


def _labels(store: Store) -> dict[str, list[str]]:
    labels = store.table.column("label").to_pylist()
    if store.task.kind == "multilabel":
        return {
            name: ["" if row[index] is None else str(row[index]) for row in labels]
            for index, name in enumerate(store.task.names)
        }
    classes = store.task.classes
    return {
        "label": ["" if label is None else classes[label] if classes else repr(label) for label in labels]
    }


def _member(
    archive: zipfile.ZipFile, name: str, chunks: list[np.ndarray], shape: tuple[int, ...] | None = None
) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        member.write(array_header(chunks[0].dtype.str, *(chunks[0].shape if shape is None else shape)))
        for chunk in chunks:
            member.write(np.ascontiguousarray(chunk).tobytes())


def _command(store: Store, target: Path) -> str:
    task = store.task
    if task.kind == "classification":
        said = f"--task classification --classes {','.join(task.classes)}"
    elif task.kind == "multilabel":
        said = f"--task multilabel --labels {','.join(task.names)}" + (
            "" if task.threshold == THRESHOLD else f" --threshold {task.threshold:g}"
        )
    else:
        said = f"--scale {task.scale}" + (
            f" --range {task.low:g} {task.high:g}" if task.scale == "plain" else ""
        )
    options = [said, "--split-column split", "--group-column group", "--fold-column fold"]
    options += ["--text-column text"]
    options += [
        f"--feature {name}={target}:{name}_features@{name}_offsets"
        + ("" if store.times(name) is None else f"@@{name}_times")
        for name in store.modalities
    ]
    return f"read it again by `qinn data import table {target} --to STORE {' '.join(options)}`"
