"""Checks for what is possible but hardly meant: each looks at a whole store and says what it finds.

Every check reads features in chunks, so that the store may be larger than memory.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from qinn.data.checking.findings import Finding, Severity, found_in
from qinn.data.stores.cutting import even_pieces
from qinn.data.stores.label_column import labelled_mask
from qinn.data.stores.label_gaps import label_gaps
from qinn.data.stores.manifest import num_words_of
from qinn.data.stores.store import Store

__all__ = ["OFFICIAL_SPLITS", "PLAUSIBILITY_CHECKS"]

OFFICIAL_SPLITS = {
    "CMU-MOSI": (1284, 229, 686),
    "CMU-MOSEI": (16326, 1871, 4659),
    "CH-SIMS": (1368, 456, 457),
    "CH-SIMS v2": (2722, 647, 1034),
}
"""Numbers of training, validation and test samples of the official splits."""


_NEAR_OFFICIAL = 0.02
_COVERAGE_SHIFT = 0.1
_SURE = 4.0
_ZERO_STEPS = 0.2
_LARGE = 1e6
_FAR_OUT = 50.0
_CLIPPED = 0.05
_WORDS = 5
_REPEATED = 0.1
_GRIDS = (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 8, 1 / 10, 1 / 12)
_ON_GRID = 0.98
_SPREAD_RATIO = 3.0
_ENOUGH = 20


def features(store: Store) -> Iterator[Finding]:
    """Look at single values: zeros, outliers, another scale in one split, half precision."""
    splits = store.strings("split")
    names = [split for split in ("train", "valid", "test") if (splits == split).any()]
    number = {split: index for index, split in enumerate(names)}
    split_of = np.array([number.get(split, len(names)) for split in splits])
    for name, dim in store.modalities.items():
        yield from _Features(store, name, dim, split_of, names).findings()


class _Features:
    """One pass over the steps of one modality."""

    def __init__(self, store: Store, name: str, dim: int, split_of: np.ndarray, splits: list[str]) -> None:
        self.store, self.name, self.dim, self.splits = store, name, dim, splits
        values, offsets = store.values(name), np.asarray(store.offsets(name))
        self.lengths = np.diff(offsets)
        owner = np.repeat(np.arange(len(store)), self.lengths)
        self.zero = np.zeros(len(values), bool)
        parts = len(splits) + 1
        self.count = np.zeros((parts, dim))
        self.total, self.squares = np.zeros((parts, dim)), np.zeros((parts, dim))
        self.largest, self.signed = np.zeros(dim), np.zeros(dim)
        self.where = np.zeros(dim, np.int64)
        self.is_half, self.has_fractions = bool(len(values)), False
        self.shift = np.zeros(dim)
        if len(values):
            first = np.asarray(values[0], np.float64)
            self.shift = np.where(np.isfinite(first), first, 0.0)
        for piece in even_pieces(len(values), dim):
            self._take(np.asarray(values[piece]), piece.start, split_of[owner[piece]])
        self.owner = owner

    def _take(self, chunk: np.ndarray, start: int, parts: np.ndarray) -> None:
        finite = np.isfinite(chunk)
        chunk = chunk if finite.all() else np.where(finite, chunk, np.float32(0))
        self.zero[start : start + len(chunk)] = ~chunk.any(axis=1)
        if self.is_half:
            with np.errstate(over="ignore"):
                self.is_half = bool((chunk.astype(np.float16) == chunk).all())
            self.has_fractions = self.has_fractions or bool((chunk != np.floor(chunk)).any())
        centred = np.where(finite, chunk - self.shift, 0.0)
        size = np.abs(centred)
        at = size.argmax(axis=0)
        peak = size[at, np.arange(self.dim)]
        signed = centred[at, np.arange(self.dim)]
        larger = peak > self.largest
        self.largest = np.where(larger, peak, self.largest)
        self.signed = np.where(larger, signed, self.signed)
        self.where = np.where(larger, start + at, self.where)
        for part in np.unique(parts):
            inside = parts == part
            self.count[part] += finite[inside].sum(axis=0)
            self.total[part] += centred[inside].sum(axis=0)
            self.squares[part] += (centred[inside] ** 2).sum(axis=0)

    def findings(self) -> Iterator[Finding]:
        """Say what the pass has found."""
        ids = self.store.strings("id")
        if not len(self.zero):
            return
        # An unknown word that no lexicon has is a step of zeros.
        yield from () if self.name in num_words_of(self.store.tiers) else self._zeros(ids)
        yield from self._outliers(ids)
        yield from self._shifts()
        if self.is_half and self.has_fractions and len(self.zero) >= _ENOUGH:
            text = (
                f"All values of {self.name} are those of half precision: digits were lost before the import"
            )
            yield found_in("info", "half-precision", text)

    def _zeros(self, ids: np.ndarray) -> Iterator[Finding]:
        zeros = np.bincount(self.owner, self.zero, len(self.lengths))
        empty = ids[(self.lengths > 0) & (zeros == self.lengths)]
        if len(empty):
            text = f"{len(empty)} samples have nothing but zeros in {self.name}"
            yield found_in("warning", "zero-sample", text, empty)
        if (share := self.zero.mean()) > _ZERO_STEPS:
            text = f"{share:.0%} of the steps of {self.name} are zeros throughout, as padding would be"
            yield found_in("warning", "zero-steps", text)

    def _outliers(self, ids: np.ndarray) -> Iterator[Finding]:
        count = self.count.sum(axis=0)
        # Mean and spread of all other values: one that is far out would hide itself in those that count it.
        others = np.maximum(count - 1, 1)
        mean = (self.total.sum(axis=0) - self.signed) / others
        spread = np.sqrt(np.maximum((self.squares.sum(axis=0) - self.largest**2) / others - mean**2, 0))
        # A feature that is rarely other than zero has hardly a spread of its own: it is measured by the others'.
        typical = np.maximum(spread + np.abs(mean), np.median(spread))
        far = (count >= _ENOUGH) & (spread > 0) & (self.largest > _FAR_OUT * typical)
        far |= self.largest > _LARGE
        if far.any():
            rows = dict.fromkeys(ids[self.owner[step]] for step in self.where[far])
            text = (
                f"{int(far.sum())} features of {self.name} have values beyond {_LARGE:.0e} or more than "
                f"{_FAR_OUT:g} times farther out than the rest"
            )
            yield found_in("warning", "outlier", text, rows)

    def _shifts(self) -> Iterator[Finding]:
        """Compare each split's mean and spread with those of the training samples."""
        if "train" not in self.splits:
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.total / self.count
            spread = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        base = self.splits.index("train")
        for index, split in enumerate(self.splits):
            if index == base or min(self.count[index].max(), self.count[base].max()) < _ENOUGH:
                continue
            usable = (spread[base] > 0) & (spread[index] > 0)
            if not usable.any():
                continue
            ratio = np.median(spread[index][usable] / spread[base][usable])
            distance = np.abs(mean[index] - mean[base])[usable]
            moved = np.median(distance / np.maximum(spread[base], spread[index])[usable])
            if not 1 / _SPREAD_RATIO < ratio < _SPREAD_RATIO or moved > 1:
                text = (
                    f"The features of {self.name} have another scale in {split} than in train: the typical spread "
                    f"is {ratio:.2g} times, the typical shift {moved:.2g} spreads"
                )
                yield found_in("warning", "feature-shift", text)


def copies(store: Store) -> Iterator[Finding]:
    """Find modalities that hold the same values."""
    names = list(store.modalities)
    for at, first in enumerate(names):
        for second in names[at + 1 :]:
            same = store.modalities[first] == store.modalities[second] and np.array_equal(
                store.offsets(first), store.offsets(second)
            )
            if same and len(store.values(first)) and _same_values(store, first, second):
                text = f"The modalities {first} and {second} hold the same values"
                yield found_in("error", "copied-modality", text)


def _same_values(store: Store, first: str, second: str) -> bool:
    one, other = store.values(first), store.values(second)
    return all(np.array_equal(one[piece], other[piece], equal_nan=True) for piece in even_pieces(*one.shape))


def lengths(store: Store) -> Iterator[Finding]:
    """Find sequences that were cut at a common length."""
    for name in store.modalities:
        found = np.diff(store.offsets(name))
        found = found[found > 0]
        if len(found) < _ENOUGH or found.min() == found.max() or found.max() < 8:
            continue
        longest = int(found.max())
        at_end = int((found == longest).sum())
        before = int(((found < longest) & (found >= longest - max(2, longest // 20))).sum())
        if at_end >= _CLIPPED * len(found) and at_end > 3 * before:
            text = f"{at_end} samples have exactly {longest} steps of {name}, the most of all: they were probably cut"
            yield found_in("warning", "truncated", text)


def coverage(store: Store) -> Iterator[Finding]:
    """Find modalities that are much rarer in one split than in another."""
    splits = store.strings("split")
    names = [split for split in ("train", "valid", "test") if (splits == split).sum()]
    for name in store.modalities:
        present = np.diff(store.offsets(name)) > 0
        shares = {split: float(present[splits == split].mean()) for split in names}
        if len(shares) < 2:
            continue
        most, least = (pick(shares, key=lambda split: shares[split]) for pick in (max, min))
        # A difference must also be more than chance makes of it, which in small splits is a lot.
        share = float(present[np.isin(splits, (most, least))].mean())
        chance = sum(1 / max(int((splits == split).sum()), 1) for split in (most, least))
        least_gap = max(_COVERAGE_SHIFT, _SURE * np.sqrt(share * (1 - share) * chance))
        if shares[most] - shares[least] > least_gap:
            said = ", ".join(f"{share:.0%} of {split}" for split, share in shares.items())
            severity = "error" if shares.get("train") == 0 else "warning"
            text = f"{name} is not equally often there in all splits: {said}"
            yield found_in(severity, "coverage-shift", text)


def texts(store: Store) -> Iterator[Finding]:
    """Find transcripts that are missing, damaged, or mean different things in different samples."""
    found, ids, labels = store.strings("text"), store.strings("id"), store.labels
    if not any(found):
        return
    spoken = np.diff(store.offsets("text")) > 0 if "text" in store.modalities else np.ones(len(store), bool)
    if empty := [ids[row] for row in np.flatnonzero(spoken) if not found[row].strip()]:
        text = f"{len(empty)} samples have no transcript, but others have"
        yield found_in("warning", "empty-text", text, empty)
    if damaged := [name for name, text in zip(ids, found, strict=True) if "\ufffd" in text]:
        text = f"{len(damaged)} transcripts hold the sign of undecodable characters"
        yield found_in("warning", "damaged-text", text, damaged)
    rows: dict[str, list[int]] = defaultdict(list)
    known = labelled_mask(labels)
    for row, text in enumerate(found):
        words = text.lower().split()
        if known[row] and len(words) >= _WORDS:
            rows[" ".join(words)].append(row)
    far = (store.task.high - store.task.low) / 3 if store.task.kind == "regression" else 0.5
    apart = [same for same in rows.values() if len(same) > 1 and _range_of(labels[same]) > far]
    repeated = sum(len(same) - 1 for same in rows.values())
    # Where many samples say one of a few sentences, as in acted speech, these mean nothing by design.
    if apart and repeated <= _REPEATED * len(store):
        named = [" = ".join(str(ids[row]) for row in same[:3]) for same in apart]
        text = f"{len(named)} transcripts occur several times with very different labels"
        yield found_in("warning", "contradicting-labels", text, named)


def _range_of(labels: np.ndarray) -> float:
    """Return how far labels of the same words lie apart; of several the share of them that differ."""
    if labels.ndim == 2:
        return float(((labels == 1).any(axis=0) & (labels == 0).any(axis=0)).mean())
    return float(np.ptp(labels))


def label_values(store: Store) -> Iterator[Finding]:
    """Find labels off the grid of all others, splits with one label only, and classes never trained on."""
    ids, labels, splits = store.strings("id"), store.labels, store.strings("split")
    known = labelled_mask(labels)
    parts = {split: labels[known & (splits == split)] for split in ("train", "valid", "test")}
    yield from _gaps(store, labels[known], parts)
    if store.task.kind == "multilabel":
        yield from _one_state(store.task.names, np.asarray(labels), splits)
        return
    for split, inside in parts.items():
        enough = _ENOUGH if split != "train" else 2
        if len(inside) >= enough and np.ptp(inside) == 0 and np.ptp(labels[known]) > 0:
            text = f"Every label of {split} is the same"
            yield found_in("error", "constant-label-split", text)
    if store.task.kind == "classification":
        return
    for grid in _GRIDS:
        off = known & (np.abs(labels / grid - np.round(labels / grid)) > 1e-3)
        if known.sum() >= _ENOUGH and 1 - off.sum() / known.sum() >= _ON_GRID:
            if off.any():
                text = f"{off.sum()} labels are no multiples of {grid:.3g}, as all others are"
                yield found_in("warning", "label-grid", text, ids[off])
            return


def _gaps(store: Store, labels: np.ndarray, parts: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """Find classes, or labels, that no sample has, that training never sees, and that validation says nothing of."""
    task = store.task
    if task.kind == "regression" or not len(labels):
        return
    nowhere = set(label_gaps(labels, task).none)
    untrained, unheld = (
        set(label_gaps(parts[split], task).none) if len(parts[split]) else set[str]()
        for split in ("train", "valid")
    )
    kind, what = ("label", "labels") if task.kind == "multilabel" else ("class", "classes")
    found: tuple[tuple[Severity, str, set[str], str], ...] = (
        ("error", "unseen", untrained - nowhere, "occur in valid or test, but not in train"),
        ("warning", "absent", nowhere, "occur in no sample, so nothing can be learned about them"),
        (
            "warning",
            "unheld",
            unheld - untrained,
            "occur in train, but not in valid, by which models are chosen",
        ),
    )
    for severity, which, names, said in found:
        if names:
            text = f"{len(names)} {what} {said}"
            yield found_in(severity, f"{which}-{kind}", text, [name for name in task.names if name in names])


def _one_state(names: Sequence[str], labels: np.ndarray, splits: np.ndarray) -> Iterator[Finding]:
    """Find labels that are present in every sample of a split or in none, though not in the whole set."""
    varies = (labels == 1).any(axis=0) & (labels == 0).any(axis=0)
    for split in ("train", "valid", "test"):
        inside = labels[splits == split]
        counted = (inside >= 0).sum(axis=0) >= _ENOUGH
        one = varies & counted & ~((inside == 1).any(axis=0) & (inside == 0).any(axis=0))
        if split == "train":  # a label that none has is one that is never trained on
            one = varies & (inside == 1).any(axis=0) & ~(inside == 0).any(axis=0)
        if one.any():
            text = f"{one.sum()} labels are present in every sample of {split} or in none"
            yield found_in(
                "error", "constant-label-split", text, [names[int(index)] for index in np.flatnonzero(one)]
            )


def near_official(store: Store) -> Iterator[Finding]:
    """Find split sizes that miss an official split by a few samples."""
    splits = store.strings("split")
    sizes = np.array([(splits == split).sum() for split in ("train", "valid", "test")])
    for name, official in OFFICIAL_SPLITS.items():
        gap = np.abs(sizes - official)
        if gap.any() and (gap <= np.maximum(_NEAR_OFFICIAL * np.array(official), 3)).all():
            text = (
                f"The split sizes {' / '.join(map(str, sizes))} are near, but not, those of the official {name} "
                f"split ({' / '.join(map(str, official))}): results cannot be compared with published ones"
            )
            yield found_in("warning", "near-official-split", text)


PLAUSIBILITY_CHECKS: tuple[Callable[[Store], Iterator[Finding]], ...] = (
    features,
    copies,
    lengths,
    coverage,
    texts,
    label_values,
    near_official,
)
"""Every check of this module."""
