"""What a run's own samples were like, which new ones are compared with: ``reference.json``.

It stands alone, without any sample: how far the model's state is correlated in test samples, as sorted values; who
heard the words of the data; how many samples lack a modality.
"""

# pyarrow states few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import qinn
from qinn.data.stores.store import Store
from qinn.errors import CheckpointError
from qinn.formats import check_format
from qinn.results.as_json import document as as_document
from qinn.results.documents import object_of, parsed
from qinn.results.files import json_of, read_table, write_json
from qinn.results.folder import RunFolder

FORMAT = "qinn-reference"
VERSION = 1
WORDS_BY = "words_by"
"""Column of a store that says who heard the words of each sample."""

_MOST_VALUES = 201
_KINDS = ("entropy:", "mutual_information:")


@dataclass(frozen=True, kw_only=True)
class ReferenceRecord:
    """Content of ``reference.json``.

    Attributes:
        samples: Samples of the run's data.
        absent: Modality → how many of them lack it.
        heard_by: Who heard the words → in how many samples; None where the data do not say.
        correlations: Column of the explanation (``entropy:CUT``, ``mutual_information:PAIR``) → its values in the test
            samples, in bits, in rising order, evenly thinned out to 201; None where these were not explained.
    """

    format: str = FORMAT
    version: int = VERSION
    qinn_version: str = qinn.__version__
    samples: int | None
    absent: Mapping[str, int] | None
    heard_by: Mapping[str, int] | None
    correlations: Mapping[str, tuple[float, ...]] | None


def percentile(value: float, others: Sequence[float]) -> float:
    """Return the share of some values that are smaller, 0 to 100; half of those that are equal count.

    Examples:
        >>> percentile(2.0, [1.0, 2.0, 3.0, 4.0])
        37.5
    """
    known = np.asarray(others)
    return float(100 * ((known < value).sum() + 0.5 * (known == value).sum()) / len(known))


def write_reference(run: RunFolder, store: Store) -> None:
    """Write what a run's samples are like; its test samples are explained by then, if they are to be."""
    table = run.explanation_table
    record = ReferenceRecord(
        samples=len(store),
        absent={name: int((np.diff(store.offsets(name)) == 0).sum()) for name in store.modalities},
        heard_by=_heard_by(store),
        correlations=_correlations(read_table(table)) if table.is_file() else None,
    )
    write_json(run.reference_file, as_document(record))


def read_reference(run: RunFolder) -> ReferenceRecord | None:
    """Return what a complete run's samples were like; of a run of an earlier version what its explanation says.

    Raises:
        CheckpointError: If the file is missing, damaged or not of this run.
    """
    if run.holds(run.reference_file):
        content, remedy = run.content(run.reference_file), "the run folder is damaged, repeat the run"
        found = object_of(json_of(content, run.reference_file, remedy=remedy)) or {}
        check_format(run.reference_file, found, range(1, VERSION + 1), remedy=remedy, error=CheckpointError)
        return parsed(content, run.reference_file, ReferenceRecord, remedy=remedy)
    if run.holds(run.explanation_table):
        correlations = _correlations(run.table(run.explanation_table))
        return ReferenceRecord(samples=None, absent=None, heard_by=None, correlations=correlations)
    return None


def _heard_by(store: Store) -> dict[str, int] | None:
    if WORDS_BY not in store.table.column_names:
        return None
    return dict(Counter(store.strings(WORDS_BY).tolist()).most_common())


def _correlations(table: Any) -> dict[str, tuple[float, ...]]:
    """Return the values of the columns about correlations; a column without any is left out."""
    found: dict[str, tuple[float, ...]] = {}
    for name in table.column_names:
        if not name.startswith(_KINDS):
            continue
        values = np.asarray(table.column(name).to_numpy(), dtype=np.float64)
        values = np.sort(values[np.isfinite(values)])
        if len(values):
            places = np.linspace(0, len(values) - 1, min(len(values), _MOST_VALUES)).round().astype(int)
            found[name] = tuple(values[places].round(6).tolist())
    return found
