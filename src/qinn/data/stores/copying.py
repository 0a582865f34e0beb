"""Samples of stores in other stores: with other columns, or those of several in one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from qinn.data.stores.cutting import ROWS, pieces
from qinn.data.stores.manifest import Modality, extractor_of, may_be_alike, modalities_of
from qinn.data.stores.ragged import gather_steps
from qinn.data.stores.store import Store, StoreWriter
from qinn.errors import DataError

__all__ = ["copy_samples", "join_stores"]

_STANDARD = ("id", "split", "label", "group", "fold", "text")


def copy_samples(
    store: Store, writer: StoreWriter, changed: Mapping[str, Sequence[str] | np.ndarray]
) -> None:
    """Write the samples of a store into another one.

    Args:
        store: The store.
        writer: Writes the other, which has its modalities.
        changed: Column of the table → other values, one for each sample.
    """
    for piece in pieces(store.num_values(), times=16, most=ROWS):
        rows = np.arange(len(store))[piece]
        columns = {key: store.table.column(key).take(rows).to_pylist() for key in store.table.column_names}
        columns |= {key: [values[row] for row in rows] for key, values in changed.items()}
        writer.add_many(
            columns["id"],
            {key: _steps(store, key, rows) for key in store.modalities},
            splits=columns["split"],
            labels=columns["label"],
            groups=columns["group"],
            folds=columns["fold"],
            texts=columns["text"],
            extra={key: values for key, values in columns.items() if key not in _STANDARD},
            spans=_beside(store.spans, store, rows),
            times=_beside(store.times, store, rows),
        )


def join_stores(stores: Sequence[Store], target: Path, *, name: str) -> Store:
    """Write the samples of several stores into one, their ids with the stores' names before them if any occurs twice.

    Where some have test samples, all samples of a store that has none are test samples too: those which are meant where
    no split is named.

    Args:
        stores: Stores of one task.
        target: Folder of the new store.
        name: Its name.

    Raises:
        DataError: If they have other modalities than the first, or those of another extractor.
    """
    first = stores[0]
    modalities = modalities_of(first.manifest)
    for other in stores[1:]:
        modalities = _common(modalities, first, other)
    ids = [store.strings("id").tolist() for store in stores]
    if len(set().union(*ids)) < sum(map(len, ids)):
        ids = [[f"{store.name}:{one}" for one in own] for store, own in zip(stores, ids, strict=True)]
    with StoreWriter(
        target, name=name, task=first.task, modalities=modalities, layout=first.manifest["layout"]
    ) as writer:
        tested = [store for store in stores if "test" in store.manifest["splits"]]
        for store, own in zip(stores, ids, strict=True):
            whole = {"split": ["test"] * len(store)} if tested and store not in tested else {}
            copy_samples(store, writer, {"id": own, **whole})
    return Store.open(target)


def _common(known: Mapping[str, Modality], first: Store, other: Store) -> dict[str, Modality]:
    """Return the modalities of two stores, with the tier that says less where they differ in that."""
    found = modalities_of(other.manifest)
    common: dict[str, Modality] = {}
    for name in dict.fromkeys([*known, *found]):
        if name not in known or name not in found:
            having, lacking = (first, other) if name in known else (other, first)
            raise DataError(
                f"`{having.name}` has the modality `{name}`, but `{lacking.name}` has none; give them one after the "
                "other."
            )
        one, two = known[name], found[name]
        if one.dim != two.dim or one.vocabulary != two.vocabulary or not may_be_alike(one.tier, two.tier):
            raise DataError(
                f"`{first.name}` has {one.dim} features of `{one.tier}` in `{name}`, but `{other.name}` has {two.dim} "
                f"of `{two.tier}`; give them one after the other."
            )
        kind = one.kind if one.kind == two.kind else "sequence"
        stated = extractor_of(one.tier) is not None
        common[name] = Modality(one.dim, kind, two.tier if stated else one.tier, one.vocabulary)
    return common


def _steps(store: Store, name: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.asarray(store.offsets(name))
    lengths = np.diff(offsets)[rows]
    return gather_steps(store.values(name), offsets[:-1][rows], lengths), lengths


def _beside(
    kept: Callable[[str], np.ndarray | None], store: Store, rows: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Return what a store keeps beside the steps of its modalities, sample by sample."""
    found = {}
    for name in store.modalities:
        if (values := kept(name)) is not None:
            offsets = store.offsets(name)
            found[name] = [np.asarray(values[offsets[row] : offsets[row + 1]]) for row in rows]
    return found
