"""The seeded draw of samples that are held out: whole groups, with the labels' distribution of all."""

import numpy as np
from jaxtyping import Bool, Int64

from qinn.data.stores.strings import Categories
from qinn.errors import ArgumentError, DataError

_CANDIDATES = 128
_LABEL_BINS = 5


def hold_out(
    labels: np.ndarray | None, groups: np.ndarray, fraction: float, seed: int, *, stream: int = 0
) -> Bool[np.ndarray, "n"]:
    """Choose about a fraction of samples, whole groups at a time, with the labels' distribution of all.

    Without groups each stratum (class, fifth of the scores, or of several labels the rarest that a sample has) gives
    its share. With groups the best of 128 seeded random orders is taken: the prefix of groups whose counts per stratum
    h come closest to the wanted shares f T in Σ_s (h_s − f T_s)² / T_s.

    Args:
        labels: Scores or class indices, (n,), or several labels, (n, labels); None to ignore labels.
        groups: Group names, (n,); an empty name is a group of its own.
        fraction: Wanted share, above 0 and below 1.
        seed: Seed.
        stream: Number of an independent choice under the same seed.

    Returns:
        True for the chosen samples: at least one, and at least one is left.

    Raises:
        ArgumentError: If the fraction or the seed is impossible.
        DataError: If there are fewer than two groups.

    Source: own.

    Examples:
        >>> hold_out(None, np.array(["a", "a", "b", "b"], dtype=object), 0.5, seed=0).sum()
        np.int64(2)
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"Argument `valid_fraction` must be above 0 and below 1, but it is {fraction}.")
    if seed < 0:
        raise ArgumentError(f"Argument `seed` must be 0 or more, but it is {seed}.")
    generator = np.random.default_rng([seed, stream])
    unit, num_units = _units(groups)
    if num_units < 2:
        raise DataError(
            f"validation samples must come from other groups than training samples, but {num_units} group "
            "remains; use more groups or folds."
        )
    strata = _strata(labels, len(groups))
    if num_units == len(groups):
        return _stratified(strata, fraction, generator)
    counts = np.zeros((num_units, int(strata.max()) + 1))
    np.add.at(counts, (unit, strata), 1)
    totals = counts.sum(axis=0)
    best, chosen = np.inf, np.empty(0, dtype=np.int64)
    for _ in range(_CANDIDATES):
        order = generator.permutation(num_units)
        reached = np.cumsum(counts[order[:-1]], axis=0)
        distance = (((reached - fraction * totals) ** 2) / totals).sum(axis=1)
        stop = int(np.argmin(distance))
        if distance[stop] < best:
            best, chosen = distance[stop], order[: stop + 1]
    return np.isin(unit, chosen)


def _units(groups: np.ndarray) -> tuple[Int64[np.ndarray, "n"], int]:
    """Number the groups in the order of their names; each sample without a group is one, before all others."""
    found = Categories.of(groups)
    alone = np.flatnonzero(np.asarray(groups) == "")
    names = [name for name in found.names if name]
    num_units = len(names) + len(alone)
    if num_units == len(groups):
        return np.arange(num_units), num_units
    rank = {name: len(alone) + index for index, name in enumerate(sorted(names))}
    unit = np.array([rank.get(name, -1) for name in found.names], dtype=np.int64)[found.codes]
    # The positions in the order of their decimal spellings, which decides what a seed chooses.
    unit[alone[np.argsort(alone.astype("S"))]] = np.arange(len(alone))
    return unit, num_units


def _strata(labels: np.ndarray | None, n: int) -> Int64[np.ndarray, "n"]:
    if labels is None:
        return np.zeros(n, dtype=np.int64)
    if labels.ndim == 2:
        labels = _rarest(labels)
    if labels.dtype.kind == "f":
        edges = np.nanquantile(labels, np.linspace(0, 1, _LABEL_BINS + 1)[1:-1]) if n else np.empty(0)
        labels = np.searchsorted(edges, labels, side="right")
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _rarest(labels: np.ndarray) -> np.ndarray:
    """Of several labels the one that is present and rarest in all samples, -1 where none is: what divides worst."""
    counts = (labels == 1).sum(axis=0)
    order = np.argsort(counts, kind="stable")
    present = labels[:, order] == 1
    return np.where(present.any(axis=1), order[present.argmax(axis=1)], -1)


def _stratified(strata: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    sizes = np.bincount(strata)
    wanted = min(max(round(fraction * len(strata)), 1), len(strata) - 1)
    share = sizes * (wanted / len(strata))
    take = np.floor(share).astype(np.int64)
    remainder = share - take + generator.random(len(sizes)) * 1e-9
    take[np.argsort(-remainder)[: wanted - take.sum()]] += 1
    held = np.zeros(len(strata), dtype=bool)
    for stratum, count in enumerate(take):
        held[generator.permutation(np.flatnonzero(strata == stratum))[:count]] = True
    return held
