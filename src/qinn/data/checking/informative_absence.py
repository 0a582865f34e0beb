"""Does it tell the label whether a modality is there: then a model can learn from the absence itself."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from qinn.data.checking.findings import Finding, found_in
from qinn.data.stores.label_column import labelled_mask
from qinn.data.stores.store import Store
from qinn.task import Task

__all__ = ["LEVEL", "informative_absence", "p_of_absence"]

LEVEL = 0.01
"""Level of significance over all modalities, by Holm's correction."""
_FEWEST = 5
_ENOUGH_GROUPS = 10
_WORK = 2 * 10**7
_AT_ONCE = 128
_FEWEST_DRAWS, _MOST_DRAWS = 999, 9_999


def informative_absence(store: Store) -> Iterator[Finding]:
    """Find modalities whose presence goes with the label, by a permutation test for each."""
    labels = store.labels
    known = np.asarray(labelled_mask(labels), bool)
    present = {name: np.diff(store.offsets(name))[known] > 0 for name in store.modalities}
    tested = {
        name: there for name, there in present.items() if _FEWEST <= there.sum() <= len(there) - _FEWEST
    }
    if not tested:
        return
    targets = _targets(np.asarray(labels)[known], store.task)
    splits, groups = store.strings("split")[known], store.strings("group")[known]
    p_values = {name: p_of_absence(there, targets, splits, groups) for name, there in tested.items()}
    how = "signs of groups" if _by_groups(groups) else "permutation within splits"
    of = "" if len(tested) == 1 else f", corrected for {len(tested)} modalities"
    for name, p in _rejected(p_values).items():
        text = (
            f"Whether {name} is there tells the label, so that a model may learn from its absence: "
            f"{_described(store, np.asarray(labels)[known], tested[name])} (p = {p:.2g} by {how}; level {LEVEL:g}{of})"
        )
        lacking = store.strings("id")[known][~tested[name]]
        yield found_in("warning", "informative-absence", text, lacking)


def p_of_absence(
    there: np.ndarray, targets: Float64[np.ndarray, "sample target"], splits: np.ndarray, groups: np.ndarray
) -> float:
    """Return the p-value of the null hypothesis that presence and label are independent within splits.

    The statistic is T = ‖Σᵢ (aᵢ − ā) yᵢ‖², of presence a and targets y, both centred within splits. Without groups
    presence is permuted within splits. Samples of one group (video, speaker) may go together: where there are
    enough groups, the sums of whole groups get random signs in place of permutations.

    Args:
        there: Whether each sample has the modality.
        targets: Ranks of scores, or one column per class or label.
        splits: Split of each sample.
        groups: Group of each; empty where it is not known.

    Source:
        Own; random signs of clusters are the score form of the wild cluster bootstrap (Kline and Santos, 2012).

    Examples:
        >>> there = np.arange(40) % 2 == 0
        >>> none = np.full(40, "")
        >>> p_of_absence(there, np.where(there, 1.0, -1.0)[:, None], none, none)
        0.0001
    """
    presence = there.astype(np.float64)
    targets = targets.copy()
    inside = [np.flatnonzero(splits == split) for split in dict.fromkeys(splits.tolist())]
    for rows in inside:
        presence[rows] -= presence[rows].mean()
        targets[rows] -= targets[rows].mean(axis=0)
    generator = np.random.default_rng(0)
    draws = int(np.clip(_WORK // (len(there) * targets.shape[1]), _FEWEST_DRAWS, _MOST_DRAWS))
    observed = float(((presence @ targets) ** 2).sum())
    if _by_groups(groups):
        _, owner = np.unique(groups, return_inverse=True)
        sums = np.zeros((int(owner.max()) + 1, targets.shape[1]))
        np.add.at(sums, owner, presence[:, None] * targets)
        signs = generator.choice([-1.0, 1.0], (draws, len(sums)))
        found = ((signs @ sums) ** 2).sum(axis=1)
    else:
        sums = np.zeros((draws, targets.shape[1]))
        for start in range(0, draws, _AT_ONCE):
            for rows in inside:
                several = np.tile(presence[rows], (min(_AT_ONCE, draws - start), 1))
                shuffled = generator.permuted(several, axis=1)
                sums[start : start + _AT_ONCE] += shuffled @ targets[rows]
        found = (sums**2).sum(axis=1)
    return float((1 + (found >= observed * (1 - 1e-9)).sum()) / (1 + draws))


def _by_groups(groups: np.ndarray) -> bool:
    return bool((groups != "").all()) and _ENOUGH_GROUPS <= len(set(groups.tolist())) < len(groups)


def _targets(labels: np.ndarray, task: Task) -> np.ndarray:
    """Return ranks of scores, which no outlier carries away, or one column per class, rare ones as heavy as others.

    Of several labels one column each, likewise; what is not known of a label counts as its mean.
    """
    if task.kind == "multilabel":
        present, counted = labels == 1, labels >= 0
        means = present.sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
        return np.where(counted, present, means) / np.sqrt(np.maximum(present.sum(axis=0), 1))
    values, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if task.kind == "classification":
        return (numbers[:, None] == np.arange(len(values))) / np.sqrt(counts)
    middle = np.cumsum(counts) - (counts - 1) / 2
    return (middle[numbers] / len(labels))[:, None]


def _rejected(p_values: dict[str, float]) -> dict[str, float]:
    """Return the modalities that Holm's procedure finds at the level."""
    found: dict[str, float] = {}
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if p_values[name] * (len(p_values) - place) > LEVEL:
            break
        found[name] = p_values[name]
    return found


def _described(store: Store, labels: np.ndarray, there: np.ndarray) -> str:
    if store.task.kind == "classification":
        shares = {
            name: float(there[labels == index].mean())
            for index, name in enumerate(store.task.classes)
            if (labels == index).any()
        }
        most, least = (pick(shares, key=lambda name: shares[name]) for pick in (max, min))
        return f"{shares[most]:.0%} of `{most}` have it and {shares[least]:.0%} of `{least}`"
    if store.task.kind == "multilabel":
        present, counted = labels == 1, labels >= 0
        of_each = [
            (present & rows[:, None]).sum(axis=0) / np.maximum((counted & rows[:, None]).sum(axis=0), 1)
            for rows in (there, ~there)
        ]
        widest = int(np.argmax(np.abs(of_each[0] - of_each[1])))
        return (
            f"`{store.task.names[widest]}` is present in {of_each[0][widest]:.0%} of those that have it and in "
            f"{of_each[1][widest]:.0%} of those that lack it"
        )
    have, lack = labels[there], labels[~there]
    return (
        f"the mean label of {len(have)} that have it is {have.mean():.3g}, of {len(lack)} that lack it "
        f"{lack.mean():.3g}"
    )
