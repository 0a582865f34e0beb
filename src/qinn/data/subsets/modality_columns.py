"""One modality of a subset: access to the steps of its own samples and to no others, and what is made of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from qinn.data.stores.cutting import pieces
from qinn.data.stores.ragged import gather_padded, gather_steps
from qinn.data.stores.spans import Spans
from qinn.data.stores.store import Store
from qinn.errors import ArgumentError

__all__ = ["ModalityColumn", "absent_column", "column_of", "column_of_store"]

Gather = Callable[[np.ndarray], np.ndarray]
SpansOf = Callable[[int], Spans]


@dataclass(frozen=True)
class ModalityColumn:
    """One modality of a subset: the lengths of its own samples, and access to their steps and no others.

    `times` are padded by zeros as `padded` is; None where the store does not know when steps happen. `whole` are the
    steps of which a pooled column has made vectors.
    """

    dim: int
    lengths: np.ndarray
    padded: Gather
    steps: Gather
    times: Gather | None = None
    spans: SpansOf | None = None
    whole: "ModalityColumn | None" = None

    @property
    def num_steps(self) -> np.ndarray:
        """Number of steps of each sample, before any pooling."""
        return self.lengths if self.whole is None else self.whole.lengths

    def take(self, rows: np.ndarray) -> "ModalityColumn":
        """Return the samples at some positions."""
        spans = self.spans

        def narrowed(gather: Gather) -> Gather:
            return lambda positions: gather(rows[positions])

        return ModalityColumn(
            self.dim,
            self.lengths[rows],
            narrowed(self.padded),
            narrowed(self.steps),
            None if self.times is None else narrowed(self.times),
            None if spans is None else lambda position: spans(int(rows[position])),
            None if self.whole is None else self.whole.take(rows),
        )

    def pooled(self) -> "ModalityColumn":
        """Return one vector for each sample, computed now: mean and standard deviation over its steps."""
        vectors = np.zeros((len(self.lengths), 2 * self.dim), dtype=np.float32)
        for row, length in enumerate(self.lengths):
            if length:
                values = self.steps(np.array([row])).astype(np.float64)
                vectors[row] = np.concatenate([values.mean(axis=0), values.std(axis=0)])
        lengths = (self.lengths > 0).astype(self.lengths.dtype)

        def padded(positions: np.ndarray) -> np.ndarray:
            return vectors[positions][:, None]

        def steps(positions: np.ndarray) -> np.ndarray:
            return vectors[positions[lengths[positions] > 0]]

        return ModalityColumn(2 * self.dim, lengths, padded, steps, whole=self)

    def thinned(self, gone: np.ndarray) -> "ModalityColumn":
        """Return the same samples without some of their steps; what pooling made of them is made anew.

        Args:
            gone: True where a step goes, (steps,), those of all samples after each other.
        """
        if self.whole is not None:
            return self.whole.thinned(gone).pooled()
        before, kept = self.lengths, ~gone
        starts = np.cumsum(before) - before
        lengths = np.add.reduceat(np.append(kept, False), np.append(starts, len(kept)))[:-1].astype(
            before.dtype
        )
        lengths[before == 0] = 0

        def of(positions: np.ndarray) -> np.ndarray:
            return np.concatenate(
                [kept[starts[row] : starts[row] + before[row]] for row in positions.tolist()]
            )

        def thinned(gather: Gather) -> Gather:
            def padded(positions: np.ndarray) -> np.ndarray:
                given = gather(positions)
                there = np.arange(given.shape[1]) < before[positions][:, None]
                staying = np.zeros_like(there)
                staying[there] = of(positions)
                left = lengths[positions]
                longest = max(1, int(left.max(initial=0)))
                values = np.zeros((len(positions), longest, *given.shape[2:]), dtype=given.dtype)
                values[np.arange(longest) < left[:, None]] = given[staying]
                return values

            return padded

        spans = self.spans
        return ModalityColumn(
            self.dim,
            lengths,
            thinned(self.padded),
            lambda positions: self.steps(positions)[of(positions)],
            None if self.times is None else thinned(self.times),
            None if spans is None else lambda position: spans(position)[of(np.array([position]))],
        )

    def with_values(self, values: np.ndarray) -> "ModalityColumn":
        """Return other features of the same steps; what pooling made of them is made anew.

        Args:
            values: (steps, features), those of all samples after each other.
        """
        if self.whole is not None:
            return self.whole.with_values(values).pooled()
        starts = np.cumsum(self.lengths) - self.lengths
        found = column_of(values, lambda positions: starts[positions], self.lengths)
        return replace(found, times=self.times, spans=self.spans)

    def emptied(self, gone: np.ndarray) -> "ModalityColumn":
        """Return the same samples, some of them without a step."""
        lengths = np.where(gone, 0, self.lengths)

        def emptied(gather: Gather) -> Gather:
            def padded(positions: np.ndarray) -> np.ndarray:
                longest = max(1, int(lengths[positions].max(initial=0)))
                values = gather(positions)[:, :longest]
                values[gone[positions]] = 0
                return values

            return padded

        def steps(positions: np.ndarray) -> np.ndarray:
            return self.steps(positions[~gone[positions]])

        times = None if self.times is None else emptied(self.times)
        places = self.spans
        spans = None if places is None else lambda position: places(position)[: lengths[position]]
        source = None if self.whole is None else self.whole.emptied(gone)
        return ModalityColumn(self.dim, lengths, emptied(self.padded), steps, times, spans, source)

    def joined(self, other: "ModalityColumn", name: str) -> "ModalityColumn":
        """Return these samples followed by others.

        Args:
            other: The others.
            name: Of the modality, as an error names it.

        Raises:
            ArgumentError: If only one of the two knows when steps happen.
        """
        size = len(self.lengths)
        early_times, late_times = self._times_beside(other), other._times_beside(self)
        if (early_times is None) != (late_times is None):
            raise ArgumentError(
                f"Only subsets that both know when the steps of `{name}` happen can be joined, or that both do not; "
                "import both with times or both without."
            )
        lengths = np.concatenate([self.lengths, other.lengths])

        def joined(early_gather: Gather, late_gather: Gather) -> Gather:
            def padded(positions: np.ndarray) -> np.ndarray:
                early = positions < size
                parts = [
                    (chosen, gather(positions[chosen] - start))
                    for chosen, gather, start in ((early, early_gather, 0), (~early, late_gather, size))
                    if chosen.any()
                ]
                longest = max(1, int(lengths[positions].max(initial=0)))
                like = parts[0][1]
                values = np.zeros((len(positions), longest, *like.shape[2:]), dtype=like.dtype)
                for chosen, part in parts:
                    values[chosen, : part.shape[1]] = part
                return values

            return padded

        def steps(positions: np.ndarray) -> np.ndarray:
            # Runs of positions of one subset are read together; their order is kept.
            cuts = np.flatnonzero(np.diff(positions < size)) + 1
            return np.concatenate(
                [
                    self.steps(run) if run[0] < size else other.steps(run - size)
                    for run in np.split(positions, cuts)
                ]
            )

        before, after = self.spans, other.spans

        def spans(position: int) -> Spans:
            assert before is not None  # else this is not used
            assert after is not None
            return before(position) if position < size else after(position - size)

        return ModalityColumn(
            self.dim,
            lengths,
            joined(self.padded, other.padded),
            steps,
            joined(early_times, late_times) if early_times is not None and late_times is not None else None,
            None if before is None or after is None else spans,
            None if self.whole is None or other.whole is None else self.whole.joined(other.whole, name),
        )

    def chunks(self) -> Iterator[Float32[np.ndarray, "step feature"]]:
        """Give the steps of all samples, some samples at a time."""
        for piece in pieces(self.lengths * self.dim):
            if self.lengths[piece].any():
                yield self.steps(np.arange(piece.start, piece.stop))

    def _times_beside(self, other: "ModalityColumn") -> Gather | None:
        """Return when steps happen; what has no steps lacks no times beside what knows them."""
        if self.times is None and other.times is not None and not self.lengths.any():
            return lambda positions: np.zeros((len(positions), 1))
        return self.times


def column_of_store(store: Store, name: str, rows: np.ndarray) -> ModalityColumn:
    """Return some rows of a store in one modality."""
    # The whole memory map stays inside these two closures, which see positions of the subset only:
    # nothing that a Subset offers leads to another sample.
    # Views without numpy's class for memory maps, whose every slice is slow.
    values, offsets = np.asarray(store.values(name)), np.asarray(store.offsets(name))
    values, offsets = values.view(np.ndarray), offsets.view(np.ndarray)
    lengths = offsets[1:][rows]
    lengths -= offsets[rows]
    known, written = store.times(name), store.spans(name)
    return column_of(
        values,
        lambda positions: offsets[rows[positions]],
        lengths,
        None if known is None else np.asarray(known).view(np.ndarray),
        None if written is None else np.asarray(written).view(np.ndarray),
    )


def column_of(
    values: np.ndarray,
    starts: Gather,
    lengths: np.ndarray,
    moments: np.ndarray | None = None,
    places: np.ndarray | None = None,
) -> ModalityColumn:
    """Return samples whose steps, with their times and spans where there are any, lie in arrays from `starts` on."""

    def gathering(gather: Callable[..., np.ndarray], array: np.ndarray) -> Gather:
        return lambda positions: gather(array, starts(positions), lengths[positions])

    def spans(position: int) -> Spans:
        assert places is not None  # else this is not used
        start = int(starts(np.array([position]))[0])
        return places[start : start + int(lengths[position])].copy()

    seconds = None if moments is None else gathering(gather_padded, moments[:, None])
    return ModalityColumn(
        values.shape[1],
        lengths,
        gathering(gather_padded, values),
        gathering(gather_steps, values),
        None if seconds is None else lambda positions: seconds(positions)[:, :, 0],
        None if places is None else spans,
    )


def absent_column(size: int, dim: int) -> ModalityColumn:
    """Return samples without a step."""

    def padded(positions: np.ndarray) -> np.ndarray:
        return np.zeros((len(positions), 1, dim), dtype=np.float32)

    def steps(positions: np.ndarray) -> np.ndarray:
        return np.zeros((0, dim), dtype=np.float32)

    return ModalityColumn(dim, np.zeros(size, dtype=np.int64), padded, steps)
