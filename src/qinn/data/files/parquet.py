"""Parquet files of other people: opened only where they are regular files, and never read beyond the memory.

A few kilobytes of Parquet can hold a column of a thousand million rows, or one long text a million times. So the
number of cells is looked at before anything is read, and what is read is counted on the way.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qinn.opening import check_regular
from qinn.resources import available_memory, shown_size

# Made when it is imported, so that no checker knows what it has.
_compute: Any = pc
_CELL_BYTES = 8
_ROWS_AT_ONCE = 2**13
_SHARE = 2


class ParquetTooLargeError(OSError):
    """What a Parquet file holds does not fit the memory."""

    def __init__(self, path: Path | bytes, size: int, most: int) -> None:
        reason = (
            f"it unpacks to {shown_size(size)} or more of memory, but {shown_size(float(most))} are the most that one "
            "table is given"
        )
        super().__init__(errno.ENOMEM, reason, None if isinstance(path, bytes) else str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def open_parquet(path: Path | bytes, *, read_dictionary: Sequence[str] | None = None) -> pq.ParquetFile:
    """Open a Parquet file; use it as a context manager.

    Args:
        path: The file, or what it holds.
        read_dictionary: Text columns whose different values are kept apart.

    Raises:
        OSError: If it is missing or no regular file.
        pyarrow.ArrowException: If it is damaged.
    """
    if isinstance(path, bytes):
        source: Any = pa.BufferReader(path)
    else:
        check_regular(path)
        # pyarrow takes names that are no UTF-8 as bytes alone, and those not for a file to be opened.
        source = path if _is_utf8(path) else pa.OSFile(os.fsencode(path))
    return pq.ParquetFile(source, read_dictionary=list(read_dictionary or []) or None)


def _is_utf8(path: Path) -> bool:
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def read_parquet(path: Path | bytes, *, cell_bytes: int = _CELL_BYTES) -> pa.Table:
    """Read all columns of a Parquet file.

    Args:
        path: The file, or what it holds.
        cell_bytes: What each cell will take in memory at least.

    Raises:
        ParquetTooLargeError: If that is more than half the memory.
        OSError: If it is missing or no regular file.
        pyarrow.ArrowException: If it is damaged.
    """
    with open_parquet(path) as parquet:
        return read_in_parts(parquet, None, path, cell_bytes=cell_bytes)


def read_in_parts(
    parquet: pq.ParquetFile,
    columns: Sequence[str] | None,
    path: Path | bytes,
    *,
    cell_bytes: int = _CELL_BYTES,
) -> pa.Table:
    """Read columns of an open Parquet file a part at a time, and stop where they fill the memory.

    Args:
        parquet: The file.
        columns: Which; None for all.
        path: Where it lies, or what it holds.
        cell_bytes: See `read_parquet`.

    Raises:
        ParquetTooLargeError: If the columns take more than half the memory.
    """
    most = available_memory() // _SHARE
    names = list(parquet.schema_arrow.names if columns is None else columns)
    expected = _num_values(parquet, names) * cell_bytes
    if expected <= most and _may_repeat_texts(parquet, names, most):
        expected = max(expected, _text_bytes(path, parquet, names))
    if expected > most:
        raise ParquetTooLargeError(path, expected, most)
    parts, size = [], 0
    for part in parquet.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
        parts.append(part)
        size += part.nbytes
        if size > most:
            raise ParquetTooLargeError(path, size, most)
    return pa.Table.from_batches(parts) if parts else parquet.read(names, use_threads=False)


def _chunks(parquet: pq.ParquetFile, names: Sequence[str]) -> Iterator[Any]:
    """What the file says about each column of each of its row groups."""
    chosen = set(names)
    for group in range(parquet.metadata.num_row_groups):
        row_group = parquet.metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            if column.path_in_schema.split(".")[0] in chosen:
                yield column


def _num_values(parquet: pq.ParquetFile, names: Sequence[str]) -> int:
    return sum(column.num_values for column in _chunks(parquet, names))


def _may_repeat_texts(parquet: pq.ParquetFile, names: Sequence[str], most: int) -> bool:
    """Tell whether texts that the file has once could be so long and so frequent that they fill the memory."""
    return any(
        column.physical_type == "BYTE_ARRAY"
        and any("DICTIONARY" in encoding for encoding in column.encodings)
        and column.num_values * column.total_uncompressed_size > most
        for column in _chunks(parquet, names)
    )


def _text_bytes(path: Path | bytes, parquet: pq.ParquetFile, names: Sequence[str]) -> int:
    """Return how many bytes the texts of some columns have, each as often as it occurs."""
    schema = parquet.schema_arrow
    texts = [name for name in names if _holds_texts(schema.field(name).type)]
    total = 0
    if not texts:
        return total
    with open_parquet(path, read_dictionary=texts) as encoded:
        for part in encoded.iter_batches(_ROWS_AT_ONCE, columns=texts, use_threads=False):
            for column in part.columns:
                if pa.types.is_dictionary(column.type):
                    lengths = _compute.binary_length(column.dictionary).take(column.indices)
                else:
                    lengths = _compute.binary_length(column)
                total += _compute.sum(lengths.cast(pa.int64())).as_py() or 0
    return total


def _holds_texts(kind: Any) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(
        test(inner)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )
