"""What a store says about its samples, in a form that two readers of one file can be compared by."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from qinn.data.stores.store import Store


@dataclass
class Contents:
    """Samples as they come out of a file, column by column.

    Attributes:
        ids: Identifiers.
        splits: train, valid, test or empty.
        labels: Scores; None = unlabelled.
        groups: Names of groups.
        texts: Transcripts.
        features: Modality → float32 steps of each sample, (steps, dim); no steps = absent.
    """

    ids: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    labels: list[float | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    features: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def digest(self) -> str:
        """Hash of everything; equal exactly when `difference` finds none."""
        digest = hashlib.blake2b(digest_size=16)
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Mapping):
                for name, arrays in value.items():
                    digest.update(name.encode())
                    for array in arrays:
                        digest.update(str(array.shape).encode() + _bytes(array))
            else:
                digest.update(repr(value).encode("utf-8", "replace"))
        return digest.hexdigest()

    def difference(self, other: "Contents") -> str | None:
        """Name the first thing that differs; None if nothing does."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if not isinstance(mine, Mapping):
                if mine != theirs:
                    return f"{each.name}: {_first(mine, theirs)}"
                continue
            if list(mine) != list(theirs):
                return f"modalities: {list(mine)} and {list(theirs)}"
            for name in mine:
                if len(mine[name]) != len(theirs[name]):
                    return f"{name}: {len(mine[name])} and {len(theirs[name])} samples"
                for row, (first, second) in enumerate(zip(mine[name], theirs[name], strict=True)):
                    if first.shape != second.shape or _bytes(first) != _bytes(second):
                        return f"{name} of sample {row}: shapes {first.shape} and {second.shape}"
        return None


def contents_of(store: Store) -> Contents:
    """Return what a store holds."""
    columns = {
        name: store.table.column(name).to_pylist() for name in ("id", "split", "label", "group", "text")
    }
    return Contents(
        columns["id"],
        columns["split"],
        columns["label"],
        columns["group"],
        columns["text"],
        {name: [np.array(store.sample(row, name)) for row in range(len(store))] for name in store.modalities},
    )


def steps(values: Any, dim: int | None = None) -> np.ndarray:
    """Return a sample's steps as a store keeps them: single precision, (steps, dim)."""
    with np.errstate(all="ignore"):
        array = np.atleast_2d(np.asarray(values)).astype(np.float32)
    return array if array.size or dim is None else np.zeros((0, dim), np.float32)


def number(value: Any) -> float | None:
    """Return a label as the decimal that it means; None where there is none."""
    if value is None:
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value).strip()
    return float(text) if text else None


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _first(mine: Sequence[Any], theirs: Sequence[Any]) -> str:
    if len(mine) != len(theirs):
        return f"{len(mine)} and {len(theirs)} entries"
    at = next(at for at, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
    return f"entry {at} is {mine[at]!r:.60} and {theirs[at]!r:.60}"
