"""What the columns of a table are for, as far as their names and first rows tell."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, islice
from pathlib import Path

from qinn.data.files.delimiters import delimiter_of, is_headless
from qinn.data.files.numerals import has_decimal_comma, is_number, number_of
from qinn.data.files.text_lines import text_lines
from qinn.stated_options import Typed

__all__ = ["NAMES_OF_IDS", "TableHead"]

_ROWS = 2000
_NAMES = {
    "id": (
        "id",
        "ids",
        "name",
        "clip",
        "clip_id",
        "segment",
        "segment_id",
        "sample",
        "utterance",
        "key",
        "file",
    ),
    "label": (
        "label",
        "labels",
        "score",
        "sentiment",
        "y",
        "target",
        "emotion",
        "class",
        "regression_labels",
    ),
    "split": ("split", "mode", "partition", "subset", "set", "fold_name"),
    "group": ("speaker", "group", "video", "video_id", "actor", "participant", "subject", "user"),
    "text": ("text", "transcript", "raw_text", "sentence", "utterance_text", "words"),
}
"""What a column is for → names that say so, as found in published data sets."""
NAMES_OF_IDS = frozenset(_NAMES["id"])
"""What columns and arrays of ids are called, in small letters."""
_SPLITS = frozenset(("train", "training", "valid", "validation", "val", "dev", "test", "testing"))
_SCALES = {"sims": 1, "mosi": 3}
_FOREIGN_SHARE = 0.2
"""Share of letters of other scripts than the Latin one above which a text is taken to be in none of its languages."""


@dataclass(frozen=True)
class TableHead:
    """The first rows of a table.

    Attributes:
        columns: Names of the columns; of a table without a header, names that its first rows suggest.
        rows: Its first rows; none where the table is no delimited text.
        is_headless: Whether its first line is a sample already.
    """

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]] = field(default=(), repr=False)
    is_headless: bool = False

    @classmethod
    def of(cls, path: Path, columns: Sequence[str], named: Sequence[str] = ()) -> "TableHead":
        """Read the first rows of a table.

        Args:
            path: The table.
            columns: Its columns.
            named: Names that were given to the columns of a table without a header.

        Raises:
            DataError: If it is no text in UTF-8.
        """
        if path.suffix.lower() not in (".csv", ".tsv"):
            return cls(tuple(columns))
        reader = csv.reader(text_lines(path), delimiter=delimiter_of(path))
        rows = [row for row in islice(reader, _ROWS) if row]
        if named:
            return cls(tuple(named), rows)
        if is_headless(columns):
            return cls(tuple(_suggested(rows)), rows, is_headless=True)
        return cls(tuple(columns), rows[1:])

    def cells(self, column: str) -> list[str]:
        """Return a column of the first rows, as far as they have it."""
        at = self.columns.index(column)
        return [row[at].strip() for row in self.rows if at < len(row)]

    def role(self, role: str) -> str | None:
        """Return the column that is called as those of a role are."""
        lowered = {name.strip().lower(): name for name in self.columns}
        return next((lowered[name] for name in _NAMES[role] if name in lowered), None)

    def are_unique(self, columns: Sequence[str]) -> bool:
        """Tell whether some columns together name each of the first rows once."""
        names = list(zip(*map(self.cells, columns), strict=False))
        return len(set(names)) == len(names)

    @cached_property
    def ids(self) -> list[str]:
        """The columns that together name a sample: one, or two where none does alone; empty where none is known."""
        known = {name for role in ("id", "group") for name in _NAMES[role]}
        called = [
            name for name in self.columns if (low := name.strip().lower()) in known or low.endswith("_id")
        ]
        first = self.role("id")
        ordered = [first, *(name for name in called if name != first)] if first is not None else called
        alone = [name for name in ordered if self.are_unique([name])]
        if alone and (first is not None or self.rows):
            return alone[:1]
        together = [pair for pair in combinations(called, 2) if self.are_unique(pair)]
        return list(together[0]) if together else [] if first is None else [first]

    def options(self) -> dict[str, Typed]:
        """Return the options of an import that the columns tell; what they do not tell stands in capitals."""
        found: dict[str, Typed] = {}
        if self.is_headless:
            found["columns"] = ",".join(self.columns)
        found["id_column"] = self.ids or ["COLUMN"]
        label, split, group = map(self.role, ("label", "split", "group"))
        if label is None:
            found["no_labels"] = True
        else:
            found["label_column"] = label
        if split is not None:
            found["split_column"] = split
        if group is not None:
            found["group_column"] = group
        return found | self.scale(label)

    def scale(self, label: str | None) -> dict[str, Typed]:
        """Return the options that say what a column of labels means, as far as the first rows tell."""
        try:
            numbers = [number_of(cell) for cell in self.cells(label) if cell] if label is not None else []
        except ValueError:
            return {} if self.decimal_commas(label) else {"task": "classification"}
        if not numbers:
            return {"scale": "mosi"}
        low, high = min(numbers), max(numbers)
        if low < 0:
            for scale, bound in _SCALES.items():
                if -bound <= low and high <= bound:
                    return {"scale": scale}
        return {"scale": "plain", "range": [low, high]}

    def fits(self, label: str, scale: Mapping[str, object]) -> bool:
        """Tell whether the numbers of a column of labels lie in the range that options state."""
        ends = scale.get("range")
        bound = _SCALES.get(str(scale.get("scale")))
        if bound is not None:
            ends = (-bound, bound)
        if not isinstance(ends, list | tuple):
            return True
        low, high = map(float, ends)
        try:
            return all(low <= number_of(cell) <= high for cell in self.cells(label) if cell)
        except ValueError:
            return True

    def decimal_commas(self, column: str | None) -> bool:
        """Tell whether a column holds numbers with a comma in place of the point."""
        cells = [cell for cell in self.cells(column) if cell] if column is not None else []
        return any(map(has_decimal_comma, cells)) and all(map(_is_number, cells))

    def is_foreign(self, column: str) -> bool:
        """Tell whether a text is in another script than the Latin one."""
        letters = [one for cell in self.cells(column) for one in cell[:200] if one.isalpha()]
        # The Latin script, with all its accents, ends before U+0250.
        return sum(ord(one) >= 0x250 for one in letters) > _FOREIGN_SHARE * len(letters)


def _is_number(cell: str) -> bool:
    return is_number(cell) or has_decimal_comma(cell)


def _suggested(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return names for columns without a header: the splits, the first unique text, and the first number."""
    names: list[str] = []
    for at, cell in enumerate(rows[0]):
        cells = [row[at].strip() for row in rows if at < len(row)]
        is_number = _is_number(cell)
        if "split" not in names and {one.lower() for one in cells} <= _SPLITS:
            names.append("split")
        elif "id" not in names and not is_number and len(set(cells)) == len(cells):
            names.append("id")
        elif "label" not in names and is_number:
            names.append("label")
        else:
            names.append(f"column_{at + 1}")
    return names
