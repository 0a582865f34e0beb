"""Pickles in parts, one for each split, or whole: what is checked and noted of them, and their columns in a row."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qinn.data.files.array_file import decoded
from qinn.data.files.ragged_arrays import RaggedSteps, is_ragged, ragged_steps
from qinn.data.importing.intake import split_name
from qinn.errors import ConfigError, DataError
from qinn.stated_options import option

__all__ = [
    "SplitPart",
    "alignment",
    "check_parts",
    "joined_columns",
    "not_taken",
    "notes_of_parts",
    "parts_of",
]


def parts_of(content: Any) -> dict[str, Mapping[str, Any]]:
    """Return what a pickle holds of each of its splits; all of it under an empty name where it has none.

    Keys that are bytes, as Python 3 reads those of Python 2, become text.

    Examples:
        >>> parts_of({"test": {"audio": []}}), parts_of({"audio": []})
        ({'test': {'audio': []}}, {'': {'audio': []}})
    """
    if not isinstance(content, Mapping):
        return {}
    divided = bool(content) and all(isinstance(part, Mapping) for part in content.values())
    parts = content.items() if divided else [("", content)]
    return {decoded(name): {decoded(key): value for key, value in part.items()} for name, part in parts}


def alignment() -> Any:
    """Return the option that says whether a step is the same moment in all modalities."""
    return option(
        None,
        "Whether a step is the same moment in every modality, and padding where all are zero at once; by default yes "
        "where all have the same number of steps",
        choices=("yes", "no"),
    )


class SplitPart:
    """One split of a pickle; layouts read its columns from it.

    Args:
        source: The file.
        key: What the split is called there; empty for samples that are in none.
        content: What the file holds of it, by keys.

    Attributes:
        where: File and split, for messages.
        split: train, valid, test or empty.
        ids: Names of the samples.
        groups: What training and test must not share.
        arrays: Modality → (samples, steps, features), an array or `RaggedSteps`.
        aligned: Whether a step is the same moment in all modalities.
        extra: Further columns to keep.
    """

    form: ClassVar[str] = "an array (samples, steps, features), or a list of arrays (steps, features),"
    """What features are to be, for messages."""
    ndims: ClassVar[tuple[int, ...]] = (2, 3)
    counted: str = "ids"
    """What says how many samples there are, for messages."""
    ids: list[str]
    groups: list[str]
    arrays: dict[str, Any]
    aligned: bool

    def __init__(self, source: Path, key: str, content: Mapping[str, Any]) -> None:
        self.where = f"`{source}` [{key}]" if key else f"`{source}`"
        self.key = key
        self.stem = source.stem
        self.split = split_name(key, f"`{source}`")
        self.content = content
        self.extra: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dims(self) -> dict[str, int]:
        """Modality → number of its features."""
        return {name: array.shape[2] for name, array in self.arrays.items()}

    def numbered(self, size: int) -> list[str]:
        """Return names for samples that have none: test-0000, test-0001 …; by the file where there are no splits."""
        return [f"{self.split or self.key or self.stem}-{row:04d}" for row in range(size)]

    def entry(self, key: str) -> Any:
        """Return what stands under a key.

        Raises:
            DataError: If there is none.
        """
        if key not in self.content:
            raise DataError(f"{self.where} has no key `{key}`; it has {', '.join(map(str, self.content))}.")
        return self.content[key]

    def check_length(self, key: str, values: Sequence[Any] | np.ndarray | RaggedSteps) -> None:
        """Refuse entries that are more or fewer than the samples."""
        if len(values) != len(self):
            raise DataError(
                f"{self.where} has {len(values)} entries under `{key}`, but {len(self)} {self.counted}."
            )

    def features(self, key: str) -> Any:
        """Return what is (samples, steps, features) under a key: an array, or `RaggedSteps` of a list of arrays.

        What has no steps has a single one.

        Raises:
            DataError: If it is of another form or size.
        """
        array = self.entry(key)
        if is_ragged(array):
            self.check_length(key, array)
            array = ragged_steps(array, f"{self.where} `{key}`")
        is_array = isinstance(array, np.ndarray | RaggedSteps)
        if not is_array or array.ndim not in self.ndims or array.dtype.kind not in "biuf":
            found = f"shape {array.shape} of {array.dtype}" if is_array else type(array).__name__
            raise DataError(f"{self.where} must have {self.form} under `{key}`, but it is {found}.")
        self.check_length(key, array)
        array = array[:, None, :] if isinstance(array, np.ndarray) and array.ndim == 2 else array
        if 0 in array.shape[1:]:
            raise DataError(f"{self.where} has the empty shape {array.shape} under `{key}`.")
        return array

    def settled(self, stated: str | None, *, can_be: bool, is_new: bool) -> bool:
        """Return whether a step is the same moment in all modalities.

        Args:
            stated: What the option says.
            can_be: Whether all have the same number of steps.
            is_new: Whether these are new samples, read as a run's own were: those of unequal lengths are not aligned.

        Raises:
            ConfigError: If they are stated to be and cannot be.
        """
        if stated == "yes" and not can_be and not is_new:
            raise ConfigError(
                f"Option `aligned` is yes, but {self.where} has modalities of unequal numbers of steps, or stated "
                "lengths; leave the option out."
            )
        return can_be and stated != "no"

    def sequences(self) -> dict[str, np.ndarray]:
        """Modality → array, of those whose samples have several steps and padding."""
        return {
            name: array
            for name, array in self.arrays.items()
            if isinstance(array, np.ndarray) and array.shape[1] > 1
        }


def check_parts(source: Path, parts: Sequence[SplitPart]) -> None:
    """Refuse parts that do not fit each other.

    Raises:
        DataError: If two are of one split, or differ in their modalities, features or alignment.
    """
    splits = [part.split for part in parts]
    if len(set(splits)) != len(splits):
        raise DataError(f"`{source}` has two parts for one split: {', '.join(part.key for part in parts)}.")
    first = parts[0]
    for part in parts[1:]:
        for name, dim in first.dims.items():
            if name not in part.dims:
                raise DataError(f"{part.where} lacks `{name}`, which {first.where} has; leave it out.")
            if part.dims[name] != dim:
                raise DataError(
                    f"{part.where} has {part.dims[name]} features in `{name}`, but {first.where} has {dim}."
                )
        if part.aligned != first.aligned:
            raise DataError(f"{part.where} and {first.where} differ in whether their modalities are aligned.")


def notes_of_parts(parts: Sequence[SplitPart], official: Mapping[tuple[int, int, int], str]) -> list[str]:
    """Say whether modalities are aligned, and whose sizes the splits have.

    Args:
        parts: The parts.
        official: Sizes of train, valid and test → data set.
    """
    aligned = "modalities are aligned step by step" if parts[0].aligned else "modalities are not aligned"
    sizes = {part.split: len(part) for part in parts}
    if set(sizes) == {""}:
        return [aligned, "the file has no splits"]
    counts = (sizes.get("train", 0), sizes.get("valid", 0), sizes.get("test", 0))
    known = (
        f"are the official ones of {official[counts]}"
        if counts in official
        else "are not those of a known official split"
    )
    return [
        aligned,
        f"split sizes {' / '.join(map(str, counts))} {known}",
    ]


def not_taken(parts: Sequence[SplitPart], called: Mapping[str, Sequence[str]]) -> list[str]:
    """Note what lies beside another array of the same modality, and was not taken.

    Args:
        parts: The parts.
        called: What is taken → the keys by which it may be called, the first there being the one.
    """
    found: dict[str, str] = {}
    for part in parts:
        for keys in called.values():
            there = [key for key in keys if key in part.content]
            found |= dict.fromkeys(there[1:], there[0] if there else "")
    return [f"`{key}` lies beside `{taken}`, which was taken in its place" for key, taken in found.items()]


def joined_columns(parts: Sequence[SplitPart], names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of the parts of a source after each other, as `Samples` takes them.

    Args:
        parts: Each with columns by these names, one entry per sample.
        names: Of the columns.
    """
    columns: dict[str, Any] = {
        name: [value for part in parts for value in getattr(part, name)] for name in names
    }
    columns["splits"] = [part.split for part in parts for _ in range(len(part))]
    several = {
        name for name, count in Counter(name for part in parts for name in part.ids).items() if count > 1
    }
    columns["place"] = [
        # A name that is there more than once does not say which sample is meant.
        f"{part.where} sample `{name}`" + (f" (row {row})" if name in several else "")
        for part in parts
        for row, name in enumerate(part.ids, start=1)
    ].__getitem__
    known = dict.fromkeys(key for part in parts for key in part.extra)
    columns["extra"] = {
        key: [value for part in parts for value in part.extra.get(key, [None] * len(part))] for key in known
    }
    return columns
