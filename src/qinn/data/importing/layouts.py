"""The layouts that can be imported, and which of them a file or folder has."""

from pathlib import Path

from qinn.data.files.tables import TABLE_SUFFIXES
from qinn.data.importing.csd import CSD
from qinn.data.importing.mfn import MFN
from qinn.data.importing.misa import MISA
from qinn.data.importing.mmsa import MMSA
from qinn.data.importing.mult import MULT
from qinn.data.importing.reader import Candidate, ImportOptions, Layout
from qinn.data.importing.table import TABLE
from qinn.errors import ConfigError, DataError
from qinn.file_kinds import file_kind
from qinn.opening import check_regular

__all__ = ["LAYOUTS", "detect_layout", "fitting_layouts", "layout_of"]

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        TABLE,
        MMSA,
        MULT,
        MISA,
        MFN,
        CSD,
    )
}
"""Every layout by its name."""


_CALLED = {
    "pickle": (".pkl", ".pickle"),
    "hdf5": (".h5", ".hdf5", ".csd"),
    "npz": (".npz",),
    "npy": (".npy",),
    "parquet": (".parquet",),
}
"""Kinds of files that are read, and how their names end."""


def layout_of(options: ImportOptions) -> Layout:
    """Return the layout that some options belong to.

    Raises:
        ConfigError: If they are those of no layout.
    """
    for layout in LAYOUTS.values():
        if type(options) is layout.options:
            return layout
    known = ", ".join(layout.options.__name__ for layout in LAYOUTS.values())
    raise ConfigError(
        f"Argument `options` must be the options of a layout ({known}), but it is {type(options).__name__}."
    )


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
    candidate = Candidate(source)
    if not candidate.is_folder:
        try:
            check_regular(source)
        except OSError as error:
            raise DataError(
                f"`{source}` can't be read: {error.strerror}; name a file or folder of data."
            ) from error
    found = _fitting(candidate)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"`{source}` has files of the layouts {' and '.join(sorted(found))}; say which is meant."
        )
    if not candidate.is_folder and (what := _refused_kind(source)) is not None:
        raise DataError(f"`{source}` is {what}.")
    if candidate.is_folder:
        raise DataError(
            f"`{source}` is a folder of no known layout: neither y_train.h5 …, train.pkl … nor one table, or one for "
            "each split, is in it."
        )
    if candidate.is_pickle:
        raise DataError(
            f"`{source}` is a pickle of neither the MMSA layout nor the MulT layout ({{train, valid, test}}, each "
            "with vision, text, audio) nor the MISA layout (a list of tuples)."
        )
    if candidate.suffix in (".h5", ".hdf5", ".npy", ".npz"):
        raise DataError(
            f"`{source}` holds features without samples: import a table and name it "
            "as a feature, or the folder it lies in."
        )
    raise DataError(
        f"`{source}` is of no known layout; known are {', '.join(LAYOUTS)}, and "
        f"tables are {', '.join(TABLE_SUFFIXES)}."
    )


def fitting_layouts(source: Path) -> list[str]:
    """Name the layouts that a file or folder has, none or several among them.

    Raises:
        DataError: If it cannot be read.
    """
    return _fitting(Candidate(source))


def _fitting(candidate: Candidate) -> list[str]:
    found = [layout.name for layout in LAYOUTS.values() if layout.fits(candidate)]
    # Tables lie beside files of other layouts too.
    return [name for name in found if name != TABLE.name] or found


def _refused_kind(source: Path) -> str | None:
    """Say what a file is that no layout can have, by what is in it, and what to do; None if that does not tell."""
    kind = file_kind(source)
    if kind is None or kind.name == "text":
        return None
    suffixes = _CALLED.get(kind.name)
    if suffixes is None:
        return kind.said_of(source)
    if source.suffix.lower() in suffixes:
        return None
    return f"{kind.title} that is not called so; rename it to `{source.stem}{suffixes[0]}`"
