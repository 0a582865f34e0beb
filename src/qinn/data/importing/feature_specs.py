"""Where the features of a table's samples lie, said in one line of text.

``name=FILE:array`` with, where they apply, ``@offsets`` or ``@lengths``, and ``#id``:

=============================================== =====================================================
``audio=f.npz:lld``                              one row per sample, in the table's order
``audio=f.npz:lld@offsets``                      rows offsets[i] to offsets[i + 1] are sample i's steps
``vision=f.h5:group/frames@lengths``             (samples, time, features), the first lengths[i] steps
``audio=f.npz:lld#id``                           rows are matched by the array ``id``, in any order
``audio=f.npz:a+b#person+turn``                  two arrays side by side; ids joined as ``person_turn``
``vision=f.npy``                                 a single array
``vision=f.h5:group`` or ``f.h5:{id}/frames``    one HDF5 dataset per sample, named by its id
``audio=folder/`` or ``folder/{id}.npz:mfcc``    one file per sample (``folder/``: of the kind that lies there)
``vision=folder/{id}.csv:AU*_r@success``         columns of a table per sample; rows where success is not 0
``audio=f.npz:lld@offsets@@seconds``             the array ``seconds`` says when each step happens
``vision=folder/{id}.csv:AU*_r@@timestamp``      the same, of a file per sample
``ecg=ecg.csv#id``                               a row of a table per sample, or a run of rows, one per step
``ecg=ecg.csv:rr*+hr@valid@@time#id``            its columns by name or pattern; rows where valid is not 0, by time
``audio=:mfcc_*``                                columns of the table of samples itself
=============================================== =====================================================

In the name of a file, and of an HDF5 dataset, ``{column}`` stands for what that column of the table says of the sample,
as in ``{video}/{clip}.npy``; ``{id}`` is its id.

Several lines with one name are put side by side: sequences step by step, a vector repeated at every step.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from qinn.data.importing.clip_folders import clip_suffix, refused_suffix
from qinn.data.stores.manifest import is_modality_name
from qinn.errors import ConfigError

__all__ = ["FeatureSpec", "is_there", "kept_name"]

_GRAMMAR = re.compile(
    r"(?P<name>[^=]*)=(?P<file>.+?\.(?:npz|npy|h5|hdf5|csv|tsv|parquet))"
    r"(?::(?P<keys>[^@#]+))?(?:@(?P<bounds>(?!@)[^#]+?))?(?:@@(?P<times>[^#]+))?(?:#(?P<ids>.+))?",
    re.IGNORECASE,
)
_COLUMNS = re.compile(r"(?P<name>[^=]*)=:(?P<keys>[^@#]+)")
_FOLDER = re.compile(r"(?P<name>[^=]*)=(?P<file>.*[/\\])")
_EXAMPLES = (
    "for example audio=features.npz:mfcc@offsets, vision=features.h5:group/frames#id or audio=folder/{id}.npy"
)


@dataclass(frozen=True)
class FeatureSpec:
    """Where one modality's features lie; see this module's table.

    Attributes:
        name: Modality.
        file: Path of the file; with ``{id}`` or another column in it, one file per sample; empty for the table of
            samples itself.
        keys: Arrays to put side by side, columns of a table; empty for a npy file, and for all columns.
        bounds: Array of offsets or lengths; None for one vector per sample. With a file per sample, and in a table: an
            array that is 0 at the steps to leave out.
        ids: Arrays that, joined, name the rows; empty when rows are in the table's order.
        times: Array that says at how many seconds from its sample's beginning each step happens, shaped as the steps
            are; None where that is not known.
    """

    name: str
    file: str
    keys: tuple[str, ...] = ()
    bounds: str | None = None
    ids: tuple[str, ...] = ()
    times: str | None = None

    @classmethod
    def parse(cls, text: str) -> "FeatureSpec":
        """Read a specification.

        Raises:
            ConfigError: If it does not follow the grammar.

        Examples:
            >>> FeatureSpec.parse("audio=ravdess.npz:lld@offsets")
            FeatureSpec(name='audio', file='ravdess.npz', keys=('lld',), bounds='offsets', ids=(), times=None)
        """
        if match := _COLUMNS.fullmatch(text.strip()):
            spec = cls(match["name"].strip(), "", tuple(match["keys"].split("+")))
        elif match := _GRAMMAR.fullmatch(text.strip()):
            keys, ids = match["keys"], match["ids"]
            spec = cls(
                match["name"].strip(),
                match["file"],
                tuple(keys.split("+")) if keys else (),
                match["bounds"],
                tuple(ids.split("+")) if ids else (),
                match["times"],
            )
        elif match := _FOLDER.fullmatch(text.strip()):
            spec = cls(match["name"].strip(), match["file"] + "{id}" + clip_suffix(match["file"]))
        else:
            raise ConfigError(
                f"Feature `{text}` is not understood: {refused_suffix(text.partition('=')[2])}write NAME=FILE:ARRAY, "
                f"{_EXAMPLES}."
            )
        if not is_modality_name(spec.name):
            raise ConfigError(
                f"Feature `{text}` must begin with a modality's name (letters, digits, `_`, `-`) and `=`, "
                f"but the name is `{spec.name}`."
            )
        return spec

    def __str__(self) -> str:
        """Return the text that `parse` reads as this."""
        times = f"@@{self.times}" if self.times else ""
        bounds = f"@{self.bounds}" if self.bounds else ""
        keys = f":{'+'.join(self.keys)}" if self.keys else ""
        return f"{self.name}={self.file}{keys}{bounds}{times}{'#' + '+'.join(self.ids) if self.ids else ''}"

    @property
    def where(self) -> str:
        """File and arrays, for messages."""
        return (self.file or "table") + (f":{'+'.join(self.keys)}" if self.keys else "")

    @property
    def tier(self) -> str:
        """File name and arrays: what is known of the extractor that made them."""
        return (Path(self.file).name or "table") + (f":{'+'.join(self.keys)}" if self.keys else "")


def kept_name(file: str) -> str:
    """Return what is kept of a path: the file's name, and of one file per sample its folder's.

    Examples:
        >>> kept_name("/home/me/set/f.npz"), kept_name("/home/me/set/audio/{id}.npy")
        ('f.npz', 'audio/{id}.npy')
    """
    parts = re.split(r"[/\\]", file)
    first = next((place for place, part in enumerate(parts) if "{" in part), len(parts))
    return "/".join(part for part in parts[min(max(first - 1, 0), len(parts) - 1) :] if part)


def is_there(file: str) -> bool:
    """Tell whether a file is there; of one file per sample, whether its folder is."""
    return Path(file.partition("{")[0] or ".").is_dir() if "{" in file else Path(file).exists()
