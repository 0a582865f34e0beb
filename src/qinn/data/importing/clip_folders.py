"""A folder with a table of samples and a folder of files per modality: what belongs to what."""

from pathlib import Path

from qinn.data.files.tables import TABLE_SUFFIXES
from qinn.errors import ConfigError, DataError
from qinn.opening import UnsuitableFileError, check_regular

__all__ = ["clip_suffix", "feature_folders", "refused_suffix", "table_in", "tables_in"]

CLIP_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".csv", ".tsv")
_ELSEWHERE = {
    ".pt": "a tensor of torch",
    ".pth": "a tensor of torch",
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".mat": "a MATLAB file",
    ".wav": "sound and no features",
    ".mp3": "sound and no features",
    ".mp4": "video and no features",
    ".avi": "video and no features",
    ".png": "an image and no features",
    ".jpg": "an image and no features",
}
_TABLES = tuple(suffix for suffix in TABLE_SUFFIXES if suffix != ".npz")
_ORDER = ("text", "audio", "vision")


def clip_suffix(folder: Path | str) -> str:
    """Return the suffix of a folder's files, one per clip; ``.npy`` if there are such or there is nothing.

    Args:
        folder: The folder.

    Raises:
        ConfigError: If there are several kinds of files, or one that can't be read; with what to do.
    """
    folder = Path(folder)
    found = {file.suffix.lower() for file in folder.iterdir() if file.is_file()} if folder.is_dir() else set()
    known = [suffix for suffix in CLIP_SUFFIXES if suffix in found]
    if ".npy" in known or not found:
        return ".npy"
    if len(known) == 1:
        return known[0]
    if known:
        raise ConfigError(
            f"`{folder}` has {' and '.join(known)} files; say which are meant, as in {folder}/{{id}}{known[0]}."
        )
    other = next((suffix for suffix in sorted(found) if suffix in _ELSEWHERE), None)
    raise ConfigError(
        f"`{folder}` has no files of features ({', '.join(CLIP_SUFFIXES)})"
        + (f"; {other} is {_ELSEWHERE[other]}: save numbers as npy." if other else ".")
    )


def refused_suffix(file: str) -> str:
    """Say why features are not read from such a file, as a part of a sentence; empty if nothing is known."""
    place = Path(file.split(":")[0])
    try:
        check_regular(place)
    except UnsuitableFileError as error:
        if not place.is_dir():
            return f"{error.strerror}; "
    except OSError:
        pass
    kind = _ELSEWHERE.get(place.suffix.lower())
    return f"{place.suffix} is {kind}, so save numbers as npy, npz, HDF5 or csv; " if kind else ""


def tables_in(folder: Path) -> list[Path]:
    """Return the tables that lie directly in a folder; npz files there may as well be features."""
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in _TABLES)


def table_in(folder: Path) -> Path:
    """Return the only table in a folder.

    Raises:
        DataError: If there is none, or more than one.
    """
    tables = tables_in(folder)
    if len(tables) != 1:
        what = (
            f"{len(tables)} tables ({', '.join(file.name for file in tables[:5])})" if tables else "no table"
        )
        raise DataError(
            f"`{folder}` has {what}; a folder to import must have one table ({', '.join(_TABLES)}) beside its "
            "folders of features, or name the table itself."
        )
    return tables[0]


def feature_folders(folder: Path) -> list[str]:
    """Return a folder's subfolders as features: text, audio and vision first, then by name.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("vision", "text", ".hidden"):
        ...     (folder / name).mkdir()
        >>> [feature.split("=")[0] for feature in feature_folders(folder)]
        ['text', 'vision']
    """
    names = [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    names.sort(key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    return [f"{name}={folder / name}/" for name in names]
