"""Predicting stores of millions of samples on a cluster of Ray, by Ray Data: part by part, into a Parquet file."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError, QinnError
from qinn.escaping import visible
from qinn.experiment.prediction import PreparedPrediction
from qinn.experiment.prediction_files import predictions_destination
from qinn.experiment.prediction_rows import PredictionRow
from qinn.experiment.ray_cluster import connected
from qinn.extras import needs
from qinn.results.coverage import LEVEL
from qinn.results.files import table_metadata, write_atomically

__all__ = ["predict_by_ray"]

SAMPLES_OF_A_PART = 8192
"""Samples that a process is given at a time: some seconds of work, some megabytes of rows."""
_COMMAND = "qinn predict"
_TEXTS = ("id", "class", "set", "absent")
_FAILED = "failed"
"""Column of a part that could not be predicted: why."""


def predict_by_ray(
    folder: Path | str,
    store: Path | str,
    to: Path | str,
    *,
    split: str | None = None,
    batch_size: int = 256,
    absent: Sequence[str] = (),
    coupling: float = 1.0,
    level: float = LEVEL,
    address: str | None = None,
    processes: int | None = None,
    overwrite: bool = False,
    on_remark: Callable[[str], None] | None = None,
) -> int:
    """Predict a store's samples by Ray Data, and write a Parquet file with the rows of one process, in their order.

    Every process opens the store and the run for itself, under the same paths. No more is held at a time than the parts
    that are being worked at.

    Args:
        folder: As of `qinn.experiment.prediction.predict_store`; so are those that are not named here.
        store: The samples.
        to: The file.
        split: Split to predict.
        batch_size: Samples per pass.
        absent: Modalities to do without.
        coupling: Factor of what couples the modalities.
        level: Share of new samples whose label is to be held.
        address: Of the cluster; one of this machine alone if None.
        processes: How many predict at the same time; one for each core if None.
        overwrite: Replace a file that another program made, or was changed since.
        on_remark: Called with each sentence that a user should know about the samples.

    Returns:
        How many samples were predicted.

    Raises:
        ArgumentError: If the file is no .parquet, or there are to be no processes.
        ConfigError: If there is no cluster at the address.
        MissingPackageError: If Ray, or what Ray Data needs, is not installed.
        OutputError: If the file cannot be written.
        QinnError: If a process cannot predict, or Ray does not finish.
    """
    if Path(to).suffix != ".parquet":
        raise ArgumentError(f"By Ray predictions are written to .parquet alone, but the file is `{to}`.")
    if processes is not None and processes < 1:
        raise ArgumentError(f"Argument `processes` must be 1 or more, but it is {processes}.")
    place = predictions_destination(to, overwrite=overwrite, inputs=[folder, store])
    options: dict[str, Any] = {
        "folder": str(Path(folder).absolute()),
        "store": str(Path(store).absolute()),
        "split": split,
        "batch_size": batch_size,
        "absent": tuple(absent),
        "coupling": coupling,
        "level": level,
    }
    prepared = PreparedPrediction.of(**options)
    if on_remark is not None:
        for remark in prepared.remarks:
            on_remark(remark)
    number = len(prepared.subset)
    prepared.rows(prepared.subset.take([0]))  # what the model can't do is said here, at once
    starts = list(range(0, number, SAMPLES_OF_A_PART))
    with connected(address, processes) as ray, needs("ray", "Predicting by Ray Data"):
        import ray.data  # pyright: ignore[reportMissingImports]

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context.execution_options.preserve_order = True
        cores = max(1, int(ray.cluster_resources().get("CPU", 1))) if processes is None else processes
        parts = ray.data.from_items([{"start": start} for start in starts], override_num_blocks=len(starts))
        predicted = parts.map_batches(
            _Predicting,
            fn_constructor_kwargs=options,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(cores, len(starts))),
            num_cpus=1,
        )
        found = predicted.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
        try:
            write_atomically(place.path, lambda target: _write(target, found), overwrite=place.replaces)
        except ray.exceptions.RayError as error:
            raise _in_a_sentence(error) from error
    return number


def _in_a_sentence(error: Exception) -> QinnError:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return QinnError(
        f"Ray did not finish the prediction ({visible(lines[-1].strip()).rstrip('.')}), and nothing was written; see "
        "that its machines can reach package, run and store, and repeat the command."
    )


class _Predicting:
    """What a process of Ray's keeps between the parts that it is given."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    @cached_property
    def _prepared(self) -> PreparedPrediction:
        return PreparedPrediction.of(**self._options)

    def __call__(self, part: pa.Table) -> pa.Table:
        [start] = part["start"].to_pylist()
        try:
            return table_of_rows(self._prepared.rows(_some(self._prepared.subset, start)))
        except QinnError as error:  # of which Ray would tell a traceback, and no cause
            return pa.table({_FAILED: [str(error)]})


def _some(subset: Subset, start: int) -> Subset:
    return subset.take(np.arange(start, min(start + SAMPLES_OF_A_PART, len(subset))))


def table_of_rows(rows: Sequence[PredictionRow]) -> pa.Table:
    """Return predictions as columns whose types do not depend on which samples they are of.

    Args:
        rows: As of `predict_store`.
    """

    def kind(name: str) -> pa.DataType:
        if name in _TEXTS or name.startswith("set:"):
            return pa.string()
        return pa.int64() if name.startswith("decided:") else pa.float64()

    columns: Mapping[str, pa.Array] = {
        name: pa.array([row[name] for row in rows], kind(name)) for name in rows[0]
    }
    return pa.table(dict(columns))


def _write(target: Path, found: Any) -> None:
    writer = None
    try:
        for table in found:
            if table.column_names == [_FAILED]:
                raise QinnError(table[_FAILED][0].as_py())
            if writer is None:
                schema = table.schema.with_metadata(table_metadata(_COMMAND))
                writer = pq.ParquetWriter(target, schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
