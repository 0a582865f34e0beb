"""Dividing a store anew: whole groups, the same labels everywhere, as near to the sizes asked for as groups allow."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from qinn.data.stores.copying import copy_samples
from qinn.data.stores.label_column import labelled_mask
from qinn.data.stores.manifest import Modality, Source, modalities_of
from qinn.data.stores.recipe import recipe_of
from qinn.data.stores.store import Store, StoreWriter
from qinn.data.stores.store_place import DIVIDED, check_store_place
from qinn.data.subsets.stratified_draw import hold_out
from qinn.errors import ArgumentError, ConfigError, DataError
from qinn.escaping import visible
from qinn.stated_options import option

__all__ = ["Division", "SplitOptions", "divide", "write_division"]

_FEW_GROUPS = 10
_SMALL = 50
_REPLACED = ("split sizes", "divided by qinn data split", DIVIDED)
COMMAND = "qinn data split"
_FAR = 0.05
_BINS = 6


@dataclass(frozen=True)
class SplitOptions:
    """How a store is to be divided.

    Attributes:
        fractions: Shares of the parts; ignored where there are folds.
        stratified: Give every part the distribution of labels of the whole: classes, or fifths of the scores.

    Raises:
        ConfigError: If the fractions do not add up, or there are fewer than two folds.

    Examples:
        >>> SplitOptions(folds=5).num_parts
        5
    """

    fractions: tuple[float, float, float] = option(
        (0.7, 0.1, 0.2),
        "Shares of train, valid and test; they add up to 1 (default: 0.7 0.1 0.2)",
        form="three",
    )
    folds: int | None = option(None, "Make this many folds, not splits", bounds=(2, 10_000))
    seed: int = option(0, "Seed (default: 0)", bounds=(0, 2**32 - 1))
    stratified: bool = option(True, "The same labels in every part", name="stratify")
    grouped: bool = option(True, "Keep each group in one part", name="group")

    def __post_init__(self) -> None:
        if self.folds is not None and self.folds < 2:
            raise ConfigError(f"Option `folds` must be at least 2, but it is {self.folds}.")
        if not all(0 < share < 1 for share in self.fractions) or abs(sum(self.fractions) - 1) > 1e-6:
            raise ConfigError(
                f"Option `fractions` must be three numbers above 0 that add up to 1, but it is {self.fractions}."
            )
        if self.seed < 0:
            raise ConfigError(f"Option `seed` must be 0 or more, but it is {self.seed}.")

    @property
    def num_parts(self) -> int:
        """Number of splits or folds."""
        return 3 if self.folds is None else self.folds

    @property
    def wanted(self) -> dict[str, float]:
        """Part → its share of the samples."""
        if self.folds is None:
            return dict(zip(("train", "valid", "test"), self.fractions, strict=True))
        return {str(fold): 1 / self.folds for fold in range(self.folds)}

    def describe(self) -> str:
        """Say it in one sentence, for the manifest."""
        parts = (
            f"{self.folds} folds"
            if self.folds is not None
            else "train / valid / test of " + " / ".join(f"{share:g}" for share in self.fractions)
        )
        how = [
            "grouped" if self.grouped else "not grouped",
            "stratified" if self.stratified else "not stratified",
        ]
        return f"divided by qinn data split into {parts}, {', '.join(how)}, seed {self.seed}"


@dataclass(frozen=True)
class Division:
    """Which part every sample is in, and what is to be known about the parts.

    Attributes:
        parts: Part of every sample of the store, (n,).
        sizes: Part → number of samples.
        groups: Part → number of groups in it; empty where nothing is grouped.
        labels: Part → class or interval → number of samples.
        warnings: What makes results on this division uncertain.
    """

    parts: np.ndarray
    sizes: dict[str, int]
    groups: dict[str, int]
    labels: dict[str, dict[str, int]]
    warnings: tuple[str, ...]

    def render(self) -> str:
        """Return a table of sizes and labels as plain text."""
        names = list(next(iter(self.labels.values())))
        widths = [max(len(visible(name)), 6) for name in names]
        heading = "  ".join(f"{visible(name):>{width}}" for name, width in zip(names, widths, strict=True))
        lines = [f"part    samples   share  groups  {heading}"]
        total = sum(self.sizes.values())
        for part, size in self.sizes.items():
            counts = self.labels[part]
            cells = "  ".join(f"{counts[name]:>{width}}" for name, width in zip(names, widths, strict=True))
            groups = self.groups.get(part, "–")
            lines.append(f"{visible(part):<7}{size:>8}{size / total:>8.1%}{groups:>8}  {cells}")
        return "\n".join([*lines, *(f"warning: {visible(warning)}" for warning in self.warnings)])


def divide(store: Store, options: SplitOptions) -> Division:
    """Choose a part for every sample: whole groups, seeded, with the labels' distribution of the whole.

    One part after the other is held out of what is left by `qinn.data.subsets.stratified_draw.hold_out`.

    Args:
        store: The store; its own splits and folds play no part.
        options: Which parts, and how.

    Raises:
        DataError: If there are fewer groups (or samples) than parts.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=120, num_valid=40, num_test=40)
        >>> store = write_synthetic_store(tempfile.mkdtemp(), spec)
        >>> divide(store, SplitOptions()).sizes
        {'train': 140, 'valid': 20, 'test': 40}
    """
    n = len(store)
    groups = store.strings("group") if options.grouped else np.full(n, "", dtype=object)
    labels = store.labels if options.stratified and labelled_mask(store.labels).any() else None
    num_units = len(set(groups) - {""}) + int((groups == "").sum())
    if num_units < options.num_parts:
        raise DataError(
            f"The store `{store.name}` has {num_units} {'groups' if num_units < n else 'samples'}, too few for "
            f"{options.num_parts} parts that share none; ask for fewer folds."
        )
    wanted = options.wanted
    parts = np.full(n, "", dtype=object)
    left, share = np.arange(n), 1.0
    # The smallest parts are chosen first, while there is most to choose from.
    order = sorted(wanted, key=lambda part: (wanted[part], part))
    for number, part in enumerate(order[:-1]):
        chosen = _held(
            labels, groups, left, wanted[part] / share, options.seed, number, len(order) - number - 1
        )
        parts[left[chosen]] = part
        left, share = left[~chosen], share - wanted[part]
    parts[left] = order[-1]
    sizes = {part: int((parts == part).sum()) for part in wanted}
    found = {part: len(set(groups[parts == part]) - {""}) for part in wanted} if any(groups) else {}
    histogram = _histograms(store, parts, wanted)
    return Division(parts, sizes, found, histogram, tuple(_warnings(store, options, sizes, found, histogram)))


def _held(
    labels: np.ndarray | None,
    groups: np.ndarray,
    left: np.ndarray,
    fraction: float,
    seed: int,
    number: int,
    others: int,
) -> np.ndarray:
    """Hold out one part and leave at least one group for each of the others."""
    chosen = hold_out(None if labels is None else labels[left], groups[left], fraction, seed, stream=number)
    units = np.array([name or f"\0{row}" for name, row in zip(groups[left], left, strict=True)], dtype=object)
    remaining = list(dict.fromkeys(units[~chosen]))
    if len(remaining) < others:
        inside = list(dict.fromkeys(units[chosen]))
        inside.sort(key=lambda unit: int((units == unit).sum()))
        given = set(inside[: min(others - len(remaining), len(inside) - 1)])
        chosen &= np.array([unit not in given for unit in units])
    return chosen


def _histograms(store: Store, parts: np.ndarray, wanted: dict[str, float]) -> dict[str, dict[str, int]]:
    labels, task = store.labels, store.task
    known = labelled_mask(labels)
    if task.kind == "classification":
        columns = {name: known & (labels == index) for index, name in enumerate(task.classes)}
    elif task.kind == "multilabel":
        columns = {name: labels[:, index] == 1 for index, name in enumerate(task.names)}
    else:
        edges = np.linspace(task.low, task.high, _BINS + 1)
        bins = np.clip(np.searchsorted(edges, labels, side="right") - 1, 0, _BINS - 1)
        columns = {
            f"{low:.3g}…{high:.3g}": known & (bins == index)
            for index, (low, high) in enumerate(pairwise(edges))
        }
    if not known.all():
        columns["unlabelled"] = ~known
    return {
        part: {name: int((inside & (parts == part)).sum()) for name, inside in columns.items()}
        for part in wanted
    }


def _warnings(
    store: Store,
    options: SplitOptions,
    sizes: dict[str, int],
    groups: dict[str, int],
    labels: dict[str, dict[str, int]],
) -> Iterator[str]:
    if options.grouped and not groups:
        yield "the store has no groups, so samples of one speaker or video may be in several parts"
    elif not options.grouped and any(store.strings("group")):
        yield "groups were not kept together, so a test sees speakers or videos of its training"
    for part, number in groups.items():
        if number < _FEW_GROUPS:
            yield f"{part} has only {number} groups, so its scores depend on who is in it"
    for part, share in options.wanted.items():
        reached = sizes[part] / len(store)
        if abs(reached - share) > _FAR * max(share, 0.2):
            yield f"{part} has {reached:.1%} of the samples instead of {share:.1%}"
        if sizes[part] < _SMALL and (options.folds is not None or part != "train"):
            yield f"{part} has only {sizes[part]} samples, so its scores are very uncertain"
        missing = [name for name in store.task.names if not labels[part][name]]
        if missing:
            yield f"{part} has no sample of {', '.join(missing)}"
    unlabelled = {part: counts.get("unlabelled", 0) for part, counts in labels.items()}
    if any(unlabelled.values()):
        yield f"{sum(unlabelled.values())} samples have no label: training refuses them in train and valid"


def write_division(
    store: Store,
    division: Division,
    options: SplitOptions,
    target: Path | str,
    *,
    name: str | None = None,
    overwrite: bool = False,
) -> Store:
    """Write a copy of a store with other splits or folds; it stands by itself, and appears complete or not at all.

    Args:
        store: The store, which stays as it is.
        division: From `divide`.
        options: Those that it was made with.
        target: Folder of the new store.
        name: Its name; by default that of the old one.
        overwrite: Replace an existing store.

    Raises:
        ArgumentError: If the division is not one of this store.
        OutputError: If the target is the store itself, is taken or another's, or cannot be written.
    """
    if len(division.parts) != len(store):
        raise ArgumentError(
            f"Argument `division` must hold {len(store)} parts, one per sample, but holds {len(division.parts)}."
        )
    target = Path(target)
    check_store_place(target, COMMAND, overwrite=overwrite, inputs=[store.path])
    modalities: dict[str, Modality] = modalities_of(store.manifest)
    kept = [note for note in store.manifest["notes"] if not note.startswith(_REPLACED)]
    with StoreWriter(
        target,
        name=name or store.name,
        task=store.task,
        modalities=modalities,
        layout=store.manifest["layout"],
        sources=[Source(**source) for source in store.manifest["sources"]],
        label_name=store.label_name,
        notes=[*kept, options.describe(), f"{DIVIDED}{store.sha256}"],
        recipe=recipe_of(store.manifest),
        overwrite=overwrite,
    ) as writer:
        copy_samples(store, writer, {"split" if options.folds is None else "fold": division.parts})
    return Store.open(target)
