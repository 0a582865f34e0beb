"""One door to all readers: what layout is this, and bring it into a store."""

from pathlib import Path

from qinn.data.files.pickles.reading import open_pickle
from qinn.data.files.tables import TABLE_SUFFIXES
from qinn.data.importing.clip_folders import tables_in
from qinn.data.importing.csd import CsdOptions, import_csd
from qinn.data.importing.intake import Progress
from qinn.data.importing.mfn import MfnOptions, import_mfn, is_mfn
from qinn.data.importing.misa import MisaOptions, import_misa, is_misa
from qinn.data.importing.mmsa import MmsaOptions, import_mmsa, is_mmsa
from qinn.data.importing.mult import MultOptions, import_mult, is_mult
from qinn.data.importing.table import TableOptions, import_table
from qinn.data.importing.transcripts import EncoderOrLearner
from qinn.data.stores.store import Store
from qinn.data.stores.writing import check_store_place
from qinn.errors import ConfigError, DataError
from qinn.opening import check_regular

__all__ = ["LAYOUTS", "Options", "detect_layout", "import_data"]

Options = TableOptions | MmsaOptions | MultOptions | MisaOptions | MfnOptions | CsdOptions

LAYOUTS: dict[str, type] = {
    "table": TableOptions,
    "mmsa": MmsaOptions,
    "mult": MultOptions,
    "misa": MisaOptions,
    "mfn": MfnOptions,
    "csd": CsdOptions,
}


def detect_layout(source: Path | str) -> str:
    """Name the layout of a file or folder, by what is in it; the values of a pickle's arrays are not read.

    Args:
        source: The file or folder.

    Returns:
        A key of `LAYOUTS`.

    Raises:
        DataError: If it is missing, of no known layout, or of more than one.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mine.csv"
        >>> _ = file.write_text("id,label\\n")
        >>> detect_layout(file)
        'table'
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"`{source}` does not exist.")
    if source.is_dir():
        found = ["mfn"] * is_mfn(source) + ["misa"] * any(
            (source / f"{name}.pkl").exists() for name in ("train", "dev")
        )
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"`{source}` has files of the layouts {' and '.join(found)}; say which is meant.")
        if tables_in(source):
            return "table"
        raise DataError(
            f"`{source}` is a folder of no known layout: neither y_train.h5 …, train.pkl … nor a table is in it."
        )
    try:
        check_regular(source)
    except OSError as error:
        raise DataError(
            f"`{source}` can't be read: {error.strerror}; name a file or folder of data."
        ) from error
    suffix = source.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return "table"
    if suffix == ".csd":
        return "csd"
    if suffix in (".pkl", ".pickle"):
        content = open_pickle(source, sketch=True).content
        if is_mult(content):
            return "mult"
        if is_mmsa(content):
            return "mmsa"
        if is_misa(content):
            return "misa"
        raise DataError(
            f"`{source}` is a pickle of neither the MMSA layout nor the MulT layout ({{train, valid, test}}, each "
            "with vision, text, audio) nor the MISA layout (a list of tuples)."
        )
    if suffix in (".h5", ".hdf5", ".npy"):
        raise DataError(
            f"`{source}` holds features without samples: import a table and name it "
            "as a feature, or the folder it lies in."
        )
    raise DataError(
        f"`{source}` is of no known layout; known are {', '.join(LAYOUTS)}, and "
        f"tables are {', '.join(TABLE_SUFFIXES)}."
    )


def import_data(
    source: Path | str,
    target: Path | str,
    options: Options,
    *,
    encoder: EncoderOrLearner | None = None,
    progress: Progress | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Store:
    """Import a source of any layout into a store; the kind of the options says which.

    Args:
        source: File or folder.
        target: Folder of the store to be; it appears complete or not at all.
        options: What to take and how to read it.
        encoder: Makes features of transcripts, where the layout has them.
        progress: Told how many samples are done.
        name: Name of the data set; by default the target's.
        overwrite: Replace an existing store.

    Returns:
        The new store, opened.

    Raises:
        DataError: If the source is damaged, unsafe or contradicts itself.
        ConfigError: If the options don't fit it.
        OutputError: If the place is taken or another's, or cannot be written.
    """
    check_store_place(target, "qinn data import", overwrite=overwrite, inputs=[source])
    if isinstance(options, MfnOptions | MultOptions):
        if encoder is not None:
            raise ConfigError("This layout has no transcripts to encode; leave the text encoder out.")
        run = import_mfn if isinstance(options, MfnOptions) else import_mult
        return run(source, target, options, progress=progress, name=name, overwrite=overwrite)  # pyright: ignore[reportArgumentType]
    keywords = {"encoder": encoder, "progress": progress, "name": name, "overwrite": overwrite}
    if isinstance(options, MmsaOptions):
        return import_mmsa(source, target, options, **keywords)
    if isinstance(options, MisaOptions):
        return import_misa(source, target, options, **keywords)
    if isinstance(options, CsdOptions):
        return import_csd(source, target, options, **keywords)
    return import_table(source, target, options, **keywords)
