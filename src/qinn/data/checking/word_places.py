"""Do the words of a clip lie where its sound does, and in its transcript one after the other."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np

from qinn.data.checking.findings import Finding, found_in
from qinn.data.stores.store import Store

__all__ = ["segments", "word_spans", "word_times"]

_LEAST_SECONDS = 0.1
_OFTEN = 0.2
_FEWEST = 5


def word_spans(store: Store) -> Iterator[Finding]:
    """Find transcripts that go on behind the last step of the text, and steps out of order or upon each other."""
    texts, ids = store.strings("text"), store.strings("id")
    for name in store.modalities:
        spans = store.spans(name)
        if spans is None:
            continue
        offsets = np.asarray(store.offsets(name))
        cut, unordered, overlapping = [], [], []
        for row, (start, stop) in enumerate(pairwise(offsets)):
            places = np.asarray(spans[start:stop])
            places = places[places[:, 1] > places[:, 0]]
            if not len(places):
                continue
            behind = texts[row][int(places[:, 1].max()) :]
            if any(character.isalnum() for character in behind):
                cut.append(ids[row])
            before, after = places[:-1], places[1:]
            # Pieces of one letter stand for the same characters.
            others = (after != before).any(axis=1)
            if (others & (after[:, 0] < before[:, 0])).any():
                unordered.append(ids[row])
            elif (others & (after[:, 0] < before[:, 1])).any():
                overlapping.append(ids[row])
        if cut:
            text = f"{len(cut)} transcripts go on behind the last step of {name}: they were cut at the encoder's length"
            yield found_in("warning", "text-cut", text, cut)
        if unordered:
            text = f"The steps of {name} are not in the order of the transcript in {len(unordered)} samples"
            yield found_in("warning", "spans-out-of-order", text, unordered)
        if overlapping:
            text = f"Steps of {name} overlap in the transcript of {len(overlapping)} samples"
            yield found_in("warning", "spans-overlap", text, overlapping)


def word_times(store: Store) -> Iterator[Finding]:
    """Find words that are said when the sound or the picture is over, as where one of them is shifted."""
    timed = {name: times for name in store.modalities if (times := store.times(name)) is not None}
    words = [name for name in timed if name == "text" or store.spans(name) is not None]
    for name in words:
        for other in timed:
            if other in words or not len(timed[name]) or not len(timed[other]):
                continue
            yield from _behind(store, name, other, timed)


def _behind(store: Store, name: str, other: str, timed: dict[str, np.ndarray]) -> Iterator[Finding]:
    ids = store.strings("id")
    bounds = {one: np.asarray(store.offsets(one)) for one in (name, other)}
    both = np.flatnonzero((np.diff(bounds[name]) > 0) & (np.diff(bounds[other]) > 1))
    if not len(both):
        return
    first = {one: np.asarray(timed[one][bounds[one][both]]) for one in bounds}
    last = {one: np.asarray(timed[one][bounds[one][both + 1] - 1]) for one in bounds}
    steps = np.diff(bounds[other])[both] - 1
    pause = float(np.median((last[other] - first[other]) / steps))
    over = last[name] - last[other]
    late = over > max(_LEAST_SECONDS, 2 * pause)
    if not late.any():
        return
    text = (
        f"The last step of {name} comes after the last of {other} in {int(late.sum())} of {len(both)} samples, by "
        f"{np.median(over[late]):.3g} s at the median"
    )
    kind, severity = "words-beyond-end", "warning"
    if late.sum() >= max(_FEWEST, _OFTEN * len(both)):
        # Words lie somewhere within the sound, so their middles differ from its middle by the shift, on average.
        middles = (first[name] + last[name] - first[other] - last[other]) / 2
        kind = "words-shifted"
        text += (
            f"; their times seem to be shifted by {np.median(middles):+.3g} s"
            if (first[name] <= last[other]).mean() > 1 / 2
            else f"; most begin when {other} is over, as where times count from the beginning of a longer recording"
        )
    yield found_in(severity, kind, text, ids[both[late]])


def segments(store: Store) -> Iterator[Finding]:
    """Find clips whose interval (columns ``start`` and ``end``) is impossible, overlaps others or is too short."""
    limits = _limits(store)
    if limits is None:
        return
    ids, groups = store.strings("id"), store.strings("group")
    known = np.isfinite(limits).all(axis=1)
    if (negative := known & (limits[:, 1] <= limits[:, 0])).any():
        text = f"{int(negative.sum())} samples end before they begin, or are of no length"
        yield found_in("warning", "segment-order", text, ids[negative])
    overlapping = []
    for group in sorted(set(groups[known].tolist()) - {""}):
        rows = np.flatnonzero(known & (groups == group) & ~negative)
        rows = rows[np.argsort(limits[rows, 0], kind="stable")]
        for before, after in pairwise(rows):
            if limits[after, 0] < limits[before, 1] - _LEAST_SECONDS:
                overlapping.append(f"{ids[before]} = {ids[after]}")
    if overlapping:
        text = f"The intervals of {len(overlapping)} pairs of samples of one group overlap"
        yield found_in("warning", "segments-overlap", text, overlapping)
    for name in store.modalities:
        times, offsets = store.times(name), np.asarray(store.offsets(name))
        if times is None:
            continue
        filled = np.flatnonzero((np.diff(offsets) > 0) & known & ~negative)
        over = np.asarray(times[offsets[filled + 1] - 1]) - (limits[filled, 1] - limits[filled, 0])
        if (late := over > _LEAST_SECONDS).any():
            text = (
                f"{name} has steps behind the end of its clip in {int(late.sum())} of {len(filled)} samples, by "
                f"{np.median(over[late]):.3g} s at the median"
            )
            yield found_in("warning", "steps-beyond-end", text, ids[filled[late]])


def _limits(store: Store) -> np.ndarray | None:
    """Return start and end of each sample in seconds, NaN where they are no numbers; None without such columns."""
    if not {"start", "end"} <= set(store.table.column_names):
        return None
    limits = np.full((len(store), 2), np.nan)
    for at, column in enumerate(("start", "end")):
        for row, value in enumerate(store.table[column].to_pylist()):
            with suppress(TypeError, ValueError):
                limits[row, at] = float(value)
    return limits
