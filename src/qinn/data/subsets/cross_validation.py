"""Who learns from what: training and validation samples in one hand, the sealed test samples in another."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qinn.data.stores.store import Store
from qinn.data.stores.strings import Categories
from qinn.data.subsets.stratified_draw import hold_out
from qinn.data.subsets.subset import Subset, subset_of_rows
from qinn.errors import ArgumentError, DataError


@dataclass(frozen=True)
class Development:
    """All that training and tuning ever receive.

    Attributes:
        train: Samples to fit.
        valid: Samples to choose with.

    Raises:
        DataError: If a sample has no label or is in both.
    """

    train: Subset
    valid: Subset

    def __post_init__(self) -> None:
        for name, subset in (("training", self.train), ("validation", self.valid)):
            if not subset.labelled.all():
                where = subset.ids[int(np.argmin(subset.labelled))]
                raise DataError(
                    f"The {name} sample `{where}` has no label; label it or leave it out of the {name} split."
                )
        _check_disjoint(self.train, self.valid, "training", "validation")

    @property
    def merged(self) -> Subset:
        """Training and validation samples together, for the fit after everything was chosen."""
        return self.train.join(self.valid)

    def pool(self, modalities: Sequence[str]) -> "Development":
        """Return the same samples with some sequences pooled, see `qinn.data.subsets.subset.Subset.pool`."""
        return Development(self.train.pool(modalities), self.valid.pool(modalities))

    def select(self, modalities: Sequence[str]) -> "Development":
        """Return the same samples with some of the modalities, in the given order."""
        return Development(self.train.select(modalities), self.valid.select(modalities))


@dataclass(frozen=True)
class Fold:
    """One division of a data set.

    Attributes:
        name: What it is called in run folders.
        development: What training may see.
        test: What only the final evaluation may see.

    Raises:
        DataError: If a test sample is among the development samples.
    """

    name: str
    development: Development
    test: Subset

    def __post_init__(self) -> None:
        _check_disjoint(self.development.train, self.test, "training", "test")
        _check_disjoint(self.development.valid, self.test, "validation", "test")

    def pool(self, modalities: Sequence[str]) -> "Fold":
        """Return the same division with some sequences pooled, see `qinn.data.subsets.subset.Subset.pool`."""
        return Fold(self.name, self.development.pool(modalities), self.test.pool(modalities))


def fixed_fold(
    store: Store,
    *,
    modalities: Sequence[str] | None = None,
    valid_fraction: float | None = None,
    seed: int = 0,
    allow_leak: bool = False,
) -> Fold:
    """Return the division that the store's own splits state; samples without a split are left out.

    Args:
        store: A store with splits.
        modalities: Which modalities, in which order; None for all in the store's order.
        valid_fraction: Where there is no validation split, hold out this fraction of the training samples,
            group-disjoint and stratified by label, see `qinn.data.subsets.stratified_draw.hold_out`; test samples are
            never used for it.
        seed: Of the hold-out.
        allow_leak: Accept splits that share a group (a speaker in training and in test, say).

    Raises:
        DataError: If a split is missing, a training sample has no label, or splits share a group.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> store = write_synthetic_store(tempfile.mkdtemp(), spec)
        >>> fold = fixed_fold(store)
        >>> len(fold.development.train), len(fold.development.valid), len(fold.test)
        (40, 10, 20)
    """
    splits, groups = store.categories("split"), store.categories("group")
    rows = {split: splits.rows(split) for split in ("train", "valid", "test")}
    for split in ("train", "test"):
        if not len(rows[split]):
            by = "fold" if any(store.categories("fold").names) else "group" if any(groups.names) else ""
            remedy = f"cross-validate by `data.split: {by}`, or divide it" if by else "divide it"
            raise DataError(f"The store `{store.name}` has no {split} split; {remedy} by `qinn data split`.")
    if not len(rows["valid"]):
        if valid_fraction is None:
            raise DataError(f"The store `{store.name}` has no valid split; set `valid_fraction`.")
        held = hold_out(
            store.labels[rows["train"]], store.strings("group")[rows["train"]], valid_fraction, seed
        )
        rows["train"], rows["valid"] = rows["train"][~held], rows["train"][held]
    if not allow_leak and (leaks := _shared(splits, groups)):
        group, where = next(iter(leaks.items()))
        raise DataError(
            f"Group `{group}` of the store `{store.name}` is in the splits {' and '.join(where)} "
            f"({len(leaks)} such groups); use cross-validation by group, or set `allow_leak` to accept it."
        )
    development = Development(
        subset_of_rows(store, rows["train"], modalities), subset_of_rows(store, rows["valid"], modalities)
    )
    return Fold("fixed", development, subset_of_rows(store, rows["test"], modalities))


def cross_validation(
    store: Store,
    *,
    by: Literal["fold", "group"],
    modalities: Sequence[str] | None = None,
    valid_fraction: float = 0.15,
    seed: int = 0,
) -> list[Fold]:
    """Return one division per fold or group, which is its test set; every sample of the store is used.

    The validation samples are a seeded part of the rest, group-disjoint where there are groups and stratified
    by label as well as the groups allow.

    Args:
        store: A store whose samples all have a fold, or all have a group.
        by: ``"fold"`` for the official folds, ``"group"`` to leave one group out at a time.
        modalities: Which modalities, in which order; None for all in the store's order.
        valid_fraction: Part of the remaining samples that validates.
        seed: Of the choice of validation samples.

    Returns:
        The divisions, ordered by name (numbers by value).

    Raises:
        DataError: If there are fewer than two folds, a sample has none, a group is in two folds, a sample has
            no label, or too few groups remain to validate on.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> store = write_synthetic_store(tempfile.mkdtemp(), spec)
        >>> [(fold.name, len(fold.test)) for fold in cross_validation(store, by="fold")]
        [('0', 20), ('1', 20), ('2', 10), ('3', 10), ('4', 10)]
    """
    if by not in ("fold", "group"):
        raise ArgumentError(f"Argument `by` must be `fold` or `group`, but it is `{by}`.")
    keys, groups = store.categories(by), store.strings("group")
    if len(without := keys.rows("")):
        where = store.lean_strings("id")[int(without[0])]
        raise DataError(f"Sample `{where}` of the store `{store.name}` has no {by}; every sample needs one.")
    names = sorted(keys.names, key=_natural)
    if len(names) < 2:
        raise DataError(
            f"Cross-validation needs at least 2 {by}s, but the store `{store.name}` has {len(names)}."
        )
    if by == "fold" and (leaks := _shared(store.categories(by), store.categories("group"))):
        group, where = next(iter(leaks.items()))
        raise DataError(
            f"Group `{group}` of the store `{store.name}` is in the folds {' and '.join(where)}; "
            "a group must be in one fold, or cross-validate by group."
        )
    folds = []
    for number, name in enumerate(names):
        test, rest = keys.rows(name), keys.rows(*(other for other in names if other != name))
        try:
            held = hold_out(store.labels[rest], groups[rest], valid_fraction, seed, stream=number)
        except DataError as error:
            raise DataError(f"{by.capitalize()} `{name}` of the store `{store.name}`: {error}") from None
        development = Development(
            subset_of_rows(store, rest[~held], modalities), subset_of_rows(store, rest[held], modalities)
        )
        folds.append(Fold(name, development, subset_of_rows(store, test, modalities)))
    return folds


def shared_groups(parts: np.ndarray, groups: np.ndarray) -> dict[str, tuple[str, ...]]:
    """Return the groups that are in more than one part (split or fold), with the parts' names.

    Samples without a group or without a part are not counted.

    Examples:
        >>> shared_groups(np.array(["train", "test", "test"]), np.array(["a", "a", "b"]))
        {'a': ('test', 'train')}
    """
    return _shared(Categories.of(np.asarray(parts)), Categories.of(np.asarray(groups)))


def _shared(part: Categories, group: Categories) -> dict[str, tuple[str, ...]]:
    counted = np.ones(len(part.codes), dtype=bool)
    for column in (part, group):
        counted[column.rows("")] = False
    num_parts = len(part.names)
    pairs = np.unique(group.codes[counted] * np.int64(num_parts) + part.codes[counted])
    owner, where = pairs // max(num_parts, 1), pairs % max(num_parts, 1)
    # The pairs are sorted by group: where a group's second begins, it is in more than one part.
    again = np.unique(owner[1:][owner[1:] == owner[:-1]])
    first, last = np.searchsorted(owner, again), np.searchsorted(owner, again, side="right")
    return {
        group.names[index]: tuple(sorted(part.names[code] for code in where[start:stop]))
        for index, start, stop in zip(again, first, last, strict=True)
    }


def _check_disjoint(first: Subset, second: Subset, first_name: str, second_name: str) -> None:
    if both := second.ids.shared_with(first.ids):
        raise DataError(f"Sample `{min(both)}` is both a {first_name} and a {second_name} sample.")


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
