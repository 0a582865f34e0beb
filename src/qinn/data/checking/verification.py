"""Whether a store, and the files that it was made from, are still what they were."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from qinn.data.stores.label_column import labelled_mask, limits_of, outside
from qinn.data.stores.manifest import SPLITS, Source, modalities_of
from qinn.data.stores.store import Store
from qinn.data.stores.times import faults_of_times
from qinn.errors import DataError
from qinn.escaping import visible

Outcome = Literal["right", "wrong", "not found"]

_SHOWN = 5
_SOURCE = "source "


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        outcome: ``"right"``, ``"wrong"``, or ``"not found"`` for a source file that is not there to compare.
        message: What was found.
    """

    name: str
    outcome: Outcome
    message: str


@dataclass(frozen=True)
class Verification:
    """Everything that was looked at in a store.

    Attributes:
        name: Name of the data set.
        sha256: Hash of the content that the manifest states.
        checks: What was looked at, in order.
    """

    name: str
    sha256: str
    checks: tuple[Check, ...]

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong; source files that were not found are not wrong."""
        return all(check.outcome != "wrong" for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """Return everything as plain JSON values."""
        return {**asdict(self), "is_right": self.is_right, "checks": [asdict(check) for check in self.checks]}

    def render(self) -> str:
        """Return a plain-text summary; of many source files with the same outcome, one line."""
        lines = [f"{self.name}: content {self.sha256}"]
        seen: Counter[str] = Counter()
        for check in self.checks:
            if check.name.startswith(_SOURCE) and check.outcome != "wrong":
                seen[check.outcome] += 1
                if seen[check.outcome] > _SHOWN:
                    continue
            lines.append(f"{check.outcome:>10}  {check.name}: {check.message}")
        lines += [
            f"{outcome:>10}  and {count - _SHOWN} more sources"
            for outcome, count in seen.items()
            if count > _SHOWN
        ]
        return "\n".join(
            [*map(visible, lines), "nothing is wrong" if self.is_right else "something is wrong"]
        )


def verify(store: Store, sources: Sequence[Path | str] = ()) -> Verification:
    """Read a whole store once, in chunks, and check everything that opening it leaves out.

    The content hash, and that of every file; that offsets rise and fit the manifest; that every value is a finite
    number; that ids are distinct, splits known and labels in range, as the manifest counts them; and the hashes of
    the source files, where they are found.

    Args:
        store: The store.
        sources: The source files, or folders in which (at any depth) to look for them by name. A store does
            not know where its sources lay.

    Returns:
        What was found, right or wrong.

    Raises:
        DataError: If a place to look for sources does not exist.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> found = verify(write_synthetic_store(tempfile.mkdtemp(), spec))
        >>> found.is_right, [check.name for check in found.checks]
        (True, ['text', 'audio', 'vision', 'table', 'content', 'files'])
    """
    files = _files(sources)
    infinite = dict.fromkeys(store.modalities, 0)

    def look(name: str, steps: np.ndarray) -> None:
        infinite[name] += int(steps.size - np.count_nonzero(np.isfinite(steps)))

    try:
        found = store.content_hash(look)
        fits = found == store.sha256
        said = "as it was written" if fits else f"hash {found}, but the manifest says {store.sha256}"
        content = Check("content", "right" if fits else "wrong", said)
    except DataError as error:
        content = Check("content", "wrong", str(error))
    checks = [_modality(store, name, infinite[name]) for name in store.modalities]
    checks += [_table(store), content, *_files_as_written(store)]
    checks += [_source(Source(**entry), files) for entry in store.manifest["sources"]]
    return Verification(store.name, store.sha256, tuple(checks))


def _files_as_written(store: Store) -> list[Check]:
    """What the manifest says about files; nothing for a store of an earlier version that says nothing."""
    try:
        changed = store.changed_files()
        spans = [f"{name}.spans.npy" for name in store.changed_spans()]
    except DataError as error:
        return [Check("files", "wrong", str(error))]
    if changed is None and not spans:
        return []
    faults = [f"`{name}` has changed" for name in dict.fromkeys([*(changed or ()), *spans])]
    return [_judged("files", faults, f"{len(store.files)} files and the manifest as they were written")]


def _judged(name: str, faults: list[str], praise: str) -> Check:
    return Check(name, "wrong" if faults else "right", "; ".join(faults) or praise)


def _modality(store: Store, name: str, infinite: int) -> Check:
    try:
        lengths = np.diff(store.offsets(name))
    except DataError as error:
        return Check(name, "wrong", str(error))
    faults, entry = [], store.manifest["modalities"][name]
    if infinite:
        faults.append(f"{infinite} values are not finite")
    longest = int(lengths.max())
    if "max_length" in entry and longest != entry["max_length"]:
        faults.append(f"the longest sample has {longest} steps, not {entry['max_length']}")
    if modalities_of(store.manifest)[name].kind == "vector" and longest > 1:
        faults.append(f"a vector has one step, but a sample has {longest}")
    times = store.times(name)
    if times is not None:
        faults += faults_of_times(times, store.offsets(name))
    present = int(np.count_nonzero(lengths))
    timed = "" if times is None else ", each with its time"
    return _judged(name, faults, f"{int(lengths.sum())} steps of {present} samples, all finite{timed}")


def _table(store: Store) -> Check:
    try:
        return _judged("table", _faults_of_table(store), f"{len(store)} samples")
    except DataError as error:
        return Check("table", "wrong", str(error))


def _faults_of_table(store: Store) -> list[str]:
    faults, ids, task = [], store.lean_strings("id"), store.task
    counts = pc.value_counts(ids.block)  # pyright: ignore[reportAttributeAccessIssue]
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    if repeated:
        faults.append(f"{len(repeated)} ids appear more than once, such as {_named(repeated)}")
    if "" in ids:
        faults.append("a sample has an empty id")
    splits = store.categories("split")
    counted = np.bincount(splits.codes, minlength=len(splits.names)).tolist()
    sizes = dict(zip(splits.names, counted, strict=True))
    if unknown := sorted(set(sizes) - set(SPLITS)):
        faults.append(f"unknown splits {_named(unknown)}")
    if sizes != store.manifest["splits"]:
        faults.append(f"the splits have {_counted(sizes)} samples, not {_counted(store.manifest['splits'])}")
    labels = store.labels
    wrong = np.flatnonzero(outside(labels, task))
    if len(wrong):
        (low, high), where = limits_of(task), _named(ids.pick(wrong[:_SHOWN]))
        faults.append(f"{len(wrong)} labels lie outside [{low:g}, {high:g}], such as that of {where}")
    inside = labels[labels >= 0] if labels.ndim == 2 else labels[labelled_mask(labels)]
    found = [inside.min().item(), inside.max().item()] if len(inside) else None
    if "label_range" in store.manifest and found != store.manifest["label_range"]:
        faults.append(f"the labels range over {found}, not {store.manifest['label_range']}")
    return faults


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:_SHOWN])


def _counted(sizes: dict[str, int]) -> str:
    return ", ".join(f"{split or 'none'} {count}" for split, count in sorted(sizes.items()))


def _files(places: Iterable[Path | str]) -> dict[str, list[Path]]:
    """Every file in some places, by name."""
    files: dict[str, list[Path]] = {}
    for place in map(Path, places):
        if place.is_file():
            files.setdefault(place.name, []).append(place)
        elif place.is_dir():
            for folder, _, names in os.walk(place):
                for name in names:
                    files.setdefault(name, []).append(Path(folder) / name)
        else:
            raise DataError(f"`{place}` does not exist; give the source files or a folder that has them.")
    return files


def _source(source: Source, files: dict[str, list[Path]]) -> Check:
    found = files.get(source.file, [])
    name = f"{_SOURCE}{source.file}"
    if not found:
        said = "not among the files given" if files else "not looked for; say where the sources are"
        return Check(name, "not found", said)
    sizes = {path: path.stat().st_size for path in found}
    same = [path for path, size in sizes.items() if size == source.bytes]
    if any(Source.of(path).sha256 == source.sha256 for path in same):
        return Check(name, "right", f"{source.bytes} bytes, as they were imported")
    size = f"{source.bytes} bytes with another hash" if same else f"not {source.bytes} bytes"
    return Check(name, "wrong", f"changed since the import: {size}")
