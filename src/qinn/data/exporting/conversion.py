"""Which writer makes which file."""

import dataclasses
from pathlib import Path

from qinn.data.exporting.options import FORMATS, ConversionOptions, ConversionReport
from qinn.data.stores.store import Store
from qinn.destinations import Product, check_destination, check_folder
from qinn.errors import ConfigError

__all__ = ["convert"]


def convert(store: Store, target: Path | str, options: ConversionOptions | None = None) -> ConversionReport:
    """Write a store's samples as a file of another format; it appears complete or not at all.

    Args:
        store: The store; it is read in chunks, so that it may be larger than memory.
        target: The file (for ``parquet`` also a folder) to be.
        options: Which format and how; by default the target's suffix decides.

    Returns:
        What was written, with everything that the format cannot say or that was filled in.

    Raises:
        ConfigError: If the format is unknown or an option does not fit it.
        DataError: If the store lacks what the format needs.
        OutputError: If the place is taken, belongs to a store or a run, or cannot be written.

    Examples:
        >>> import tempfile
        >>> import pyarrow.parquet as pq
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> folder = Path(tempfile.mkdtemp())
        >>> spec = SyntheticSpec(num_train=4, num_valid=2, num_test=2)
        >>> report = convert(write_synthetic_store(folder / "store", spec), folder / "all.parquet")
        >>> report.format, pq.read_table(folder / "all.parquet").num_rows
        ('parquet', 8)
    """
    target, options = Path(target), options or ConversionOptions()
    format = options.format or _format_of(target)
    if format != "mmsa" and (options.aligned or options.max_lengths):
        raise ConfigError(f"Options `aligned` and `max_length` belong to the format mmsa, not {format}.")
    if format == "parquet" and not target.suffix:
        check_folder(target, inputs=[store.path], writes="beside")
    else:
        check_destination(
            target, Product("qinn data convert"), overwrite=options.overwrite, inputs=[store.path]
        )
    # Only what is asked for is imported: each format has libraries of its own.
    if format == "mmsa":
        from qinn.data.exporting.mmsa import write_mmsa as write
    elif format == "parquet":
        from qinn.data.exporting.parquet import write_parquet as write
    else:
        from qinn.data.exporting.npz import write_npz as write
    return write(store, target, dataclasses.replace(options, format=format))


def _format_of(target: Path) -> str:
    found = [name for name, suffixes in FORMATS.items() if target.suffix.lower() in suffixes]
    if not found:
        known = ", ".join(f"{name} ({' '.join(suffixes)})" for name, suffixes in FORMATS.items())
        raise ConfigError(f"`{target}` does not tell the format by its suffix; state it: {known}.")
    return found[0]
