"""What reads one modality of a table's samples, and what the table says of where a sample's features lie."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from qinn.data.files.tables import Columns
from qinn.data.importing.feature_specs import FeatureSpec
from qinn.data.importing.row_names import zeros_lost
from qinn.data.stores.manifest import Source
from qinn.errors import DataError

__all__ = ["FeatureReader", "Named", "joint_source", "refuse_missing"]

_COLUMN = re.compile(r"\{([^{}]+)\}")


class Named:
    """The samples of a table by what it says of them, which names of files and arrays stand for by ``{column}``.

    Args:
        ids: The samples' ids, in the table's order: ``{id}``.
        table: The table.

    Examples:
        >>> from pathlib import Path
        >>> table = Columns(Path("t.csv"), {"video": ["v", "w"], "clip": ["01", "02"]})
        >>> Named(["v_01", "w_02"], table).file("features/{video}/{clip}.npy", 1)
        'features/w/02.npy'
    """

    def __init__(self, ids: Sequence[str], table: Columns) -> None:
        self.ids = ids
        self.table = table
        self._columns: dict[str, Sequence[str]] = {"id": ids}

    def array(self, template: str, row: int) -> str:
        """Return the name of a sample's array.

        Raises:
            ConfigError: If the table has no such column.
        """
        return _COLUMN.sub(lambda match: self._value(match[1], row), template)

    def file(self, template: str, row: int) -> str:
        """Return the path of a sample's file.

        Raises:
            DataError: If what the table says of the sample would lead to another folder, or is nothing.
            ConfigError: If the table has no such column.
        """
        for name in _COLUMN.findall(template):
            value = self._value(name, row)
            if re.search(r"[/\\\0]", value) or value.strip() in ("", ".", ".."):
                said = "its id" if name == "id" else f"its `{name}`, `{value[:60]}`,"
                why = "has a path separator" if value.strip() not in ("", ".", "..") else "is no name"
                raise DataError(f"Sample `{self.ids[row]}` can't name a file for `{template}`: {said} {why}.")
        return self.array(template, row)

    def _value(self, name: str, row: int) -> str:
        if name not in self._columns:
            self._columns[name] = self.table.texts(name)
        return self._columns[name][row]


class FeatureReader(ABC):
    """Reads one modality sample by sample; made by `open_features`.

    Attributes:
        dim: Width of a feature vector.
        kind: ``"vector"`` or ``"sequence"``.
    """

    dim: int
    kind: Literal["vector", "sequence"]

    @abstractmethod
    def read(self, rows: Sequence[int]) -> list[np.ndarray | None]:
        """Read the features of some samples; None where a sample has none.

        Args:
            rows: Rows of the table.
        """

    def times(self, rows: Sequence[int]) -> list[np.ndarray | None] | None:
        """Read when the steps of some samples happen, as many as `read` gives; None where no array says it.

        Args:
            rows: Rows of the table.
        """
        return None

    def notes(self) -> list[str]:
        """Say what was assumed."""
        return []

    @abstractmethod
    def sources(self) -> dict[str, Source]:
        """File as it was named → what was read."""

    @abstractmethod
    def close(self) -> None:
        """Release files."""


def refuse_missing(spec: FeatureSpec, missing: list[str], there: Iterable[str] = ()) -> None:
    """Refuse samples that a place has no features for, if there are any.

    Args:
        spec: The place.
        missing: Their ids.
        there: What it has features for, where that is known.

    Raises:
        DataError: Naming the first.
    """
    if missing:
        raise DataError(
            f"`{spec.where}` has no features for sample `{missing[0]}`"
            + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
            + zeros_lost(missing, there)
            + "; add them, or import with `--absent-features allow`."
        )


def joint_source(template: str, files: Mapping[str, Source]) -> Source:
    """Return one source in place of a file per sample.

    Args:
        template: Path of the files.
        files: Sample → its file.
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {files[name].sha256}\n".encode())
    return Source(Path(template).name, digest.hexdigest(), sum(file.bytes for file in files.values()))
