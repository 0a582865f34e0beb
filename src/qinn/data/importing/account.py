"""What an import understood, in a few plain lines, so that a wrong guess is seen at once."""

from collections.abc import Mapping

import numpy as np

from qinn.data.importing.layouts import LAYOUTS
from qinn.data.stores.label_column import counts_of, labelled_mask
from qinn.data.stores.store import Store

__all__ = ["describe_import"]


def describe_import(store: Store) -> list[str]:
    """Say what a store was made from and what is in it: layout, splits, labels, modalities, repairs.

    Args:
        store: The store that an import has written.

    Returns:
        Lines of text, the manifest's notes last.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=20, num_valid=5, num_test=5)
        >>> store = write_synthetic_store(Path(tempfile.mkdtemp()) / "store", spec)
        >>> describe_import(store)[1]
        'splits: 20 train, 5 valid, 5 test'
    """
    manifest = store.manifest
    layout = manifest["layout"]
    files = ", ".join(f"{source['file']} ({_bytes(source['bytes'])})" for source in manifest["sources"][:6])
    more = f" and {len(manifest['sources']) - 6} more files" if len(manifest["sources"]) > 6 else ""
    splits = ", ".join(f"{count} {split or 'in no split'}" for split, count in manifest["splits"].items())
    lines = [
        f"layout: {layout}"
        + (f", {LAYOUTS[layout].title}" if layout in LAYOUTS else "")
        + (f": {files}{more}" if files else ""),
        f"splits: {splits}{_official(manifest['splits'], layout)}",
        f"labels: {_named(store)}{_labels(store)}",
        f"groups: {_groups(store)}",
    ]
    for name, entry in manifest["modalities"].items():
        lengths = np.diff(store.offsets(name))
        present = lengths[lengths > 0]
        steps = (
            f"{present.min()} to {present.max()} steps (median {int(np.median(present))})"
            if entry["kind"] == "sequence" and len(present)
            else "one vector"
        )
        absent = (
            f"absent in {len(lengths) - len(present)} of {len(lengths)} samples"
            if len(present) < len(lengths)
            else "in every sample"
        )
        lines.append(f"{name}: {entry['dim']} features, {steps}, {absent}; from {entry['tier'] or 'unknown'}")
    return [*lines, *(f"note: {note}" for note in manifest["notes"])]


def _official(splits: Mapping[str, int], layout: str) -> str:
    sizes = (splits.get("train", 0), splits.get("valid", 0), splits.get("test", 0))
    known = {counts: name for one in LAYOUTS.values() for counts, name in one.official.items()}
    if sizes in known:
        return f"; the official sizes of {known[sizes]}"
    return "" if layout not in LAYOUTS or layout == "table" else "; not the sizes of a known official split"


def _named(store: Store) -> str:
    return f"`{store.label_name}`, " if store.label_name else ""


def _labels(store: Store) -> str:
    task, labels = store.task, store.labels
    if task.kind == "classification":
        counts = [int((labels == index).sum()) for index in range(len(task.classes))]
        known = ", ".join(f"{count} {name}" for name, count in zip(task.classes, counts, strict=True))
        missing = int((labels < 0).sum())
        text = f"classes: {known}"
    elif task.kind == "multilabel":
        has_any = labelled_mask(labels)
        missing = int((~has_any).sum())
        known = ", ".join(f"{count} {name}" for name, count in counts_of(labels, task).items())
        text = f"labels that are present: {known}; {int((labels[has_any] <= 0).all(axis=1).sum())} samples have none"
    else:
        missing = int(np.isnan(labels).sum())
        found = store.manifest["label_range"]
        text = f"scores on the scale {task.scale}, {task.low:g} to {task.high:g}" + (
            f"; found {found[0]:g} to {found[1]:g}, mean {np.nanmean(labels):.3f}" if found else ""
        )
    return text + (f"; {missing} unlabelled" if missing else "")


def _groups(store: Store) -> str:
    groups = set(store.strings("group").tolist()) - {""}
    return f"{len(groups)} (videos, speakers …)" if groups else "not known"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
