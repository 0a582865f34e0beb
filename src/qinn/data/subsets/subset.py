"""Rows of a store that can reach nothing but themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from qinn.data.stores.label_column import labelled_mask
from qinn.data.stores.spans import words_of
from qinn.data.stores.store import Store
from qinn.data.stores.strings import Strings
from qinn.data.subsets.modality_columns import ModalityColumn, absent_column, column_of_store
from qinn.errors import ArgumentError
from qinn.task import Task


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and spread of one modality's features over the valid steps of a subset.

    Attributes:
        mean: Mean of every feature; 0 where there is no step.
        sd: Population standard deviation of every feature.
        num_steps: Steps that were counted.
    """

    mean: Float64[np.ndarray, "feature"]
    sd: Float64[np.ndarray, "feature"]
    num_steps: int

    @property
    def scale(self) -> Float64[np.ndarray, "feature"]:
        """What to divide by when standardising: `sd`, and 1 where a feature is constant up to rounding.

        Examples:
            >>> FeatureStatistics(np.array([3.0, 1.0]), np.array([2.0, 0.0]), 5).scale.tolist()
            [2.0, 1.0]
        """
        return np.where(self.sd > 1e-6 * (1e-30 + np.abs(self.mean)), self.sd, 1.0)


class Subset:
    """Some samples of a store: their features, labels and texts, and no way to those of any other sample.

    Positions run from 0 to ``len(subset) - 1``; negative positions and positions beyond are errors. Make one
    by `subset_of`, or by the functions of `qinn.data.subsets.cross_validation`.

    Attributes:
        task: What is predicted.
        ids: Sample identifiers.
        texts: Raw transcripts, read when one is asked for; empty strings where there are none.
        labels: float64 scores (NaN where unlabelled), class indices (-1 where unlabelled), or several labels,
            (n, labels), of 1, 0 and -1 where one is not known; None when no sample is labelled.
        groups: Name of each sample's group; a sample without one is a group of its own, ``"id:<id>"``.
            None when no sample has a group.
    """

    def __init__(
        self,
        task: Task,
        ids: Strings | Sequence[str],
        texts: Strings | Sequence[str],
        labels: np.ndarray | None,
        groups: np.ndarray | None,
        columns: dict[str, ModalityColumn],
    ) -> None:
        self.task = task
        self.ids = ids if isinstance(ids, Strings) else Strings(ids)
        self.texts = texts if isinstance(texts, Strings) else Strings(texts)
        self.labels = labels
        self.groups = groups
        self._columns = columns

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Subset({len(self)} samples, {self.dims})"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(self._columns)

    @property
    def dims(self) -> dict[str, int]:
        """Modality → width of its feature vectors, in order."""
        return {name: column.dim for name, column in self._columns.items()}

    @cached_property
    def labelled(self) -> Bool[np.ndarray, "n"]:
        """True where a sample has a label."""
        if self.labels is None:
            return np.zeros(len(self), dtype=bool)
        return labelled_mask(self.labels)

    def lengths(self, modality: str) -> Int64[np.ndarray, "n"]:
        """Number of steps of every sample in one modality; 0 = absent.

        Raises:
            ArgumentError: If there is no such modality.
        """
        return self._columns[self._checked_modalities([modality])[0]].lengths.copy()

    def padded(
        self, indices: Sequence[int] | np.ndarray
    ) -> dict[str, tuple[Float32[np.ndarray, "sample time feature"], Int64[np.ndarray, "sample"]]]:
        """Return the features at some positions, padded by zeros to the longest of them, and their lengths.

        A modality that is absent in all of them has one step of zeros, with length 0.

        Args:
            indices: Positions within this subset.

        Raises:
            ArgumentError: If a position is outside the subset or there is none.
        """
        rows = self._checked_positions(indices)
        return {name: (column.padded(rows), column.lengths[rows]) for name, column in self._columns.items()}

    @property
    def timed(self) -> tuple[str, ...]:
        """Names of the modalities whose steps have times, in order."""
        return tuple(name for name, column in self._columns.items() if column.times is not None)

    def times(self, indices: Sequence[int] | np.ndarray) -> dict[str, Float64[np.ndarray, "sample time"]]:
        """Return when the steps at some positions happen, padded by zeros as `padded` pads, of `timed` modalities.

        Args:
            indices: Positions within this subset.

        Raises:
            ArgumentError: If a position is outside the subset or there is none.
        """
        rows = self._checked_positions(indices)
        return {
            name: column.times(rows) for name, column in self._columns.items() if column.times is not None
        }

    def words(self, index: int, modality: str) -> list[str] | None:
        """Return what each step of one sample stands for, as `Store.words` does; None where the store does not say.

        Args:
            index: Position within this subset.
            modality: A modality.

        Raises:
            ArgumentError: If the position is outside the subset or there is no such modality.
            DataError: If the store's spans do not fit the transcript.
        """
        position = int(self._checked_positions([index])[0])
        spans_of = self._columns[self._checked_modalities([modality])[0]].spans
        if spans_of is None:
            return None
        return words_of(self.texts[index], spans_of(position), f"sample `{self.ids[index]}` in `{modality}`")

    def select(self, modalities: Sequence[str]) -> "Subset":
        """Return the same samples with some of the modalities, in the given order.

        Raises:
            ArgumentError: If a modality is unknown or named twice, or none is named.
        """
        names = self._checked_modalities(modalities)
        columns = {name: self._columns[name] for name in names}
        return Subset(self.task, self.ids, self.texts, self.labels, self.groups, columns)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Subset":
        """Return the samples at some positions as a subset of their own.

        Raises:
            ArgumentError: If a position is outside the subset or there is none.
        """
        rows = self._checked_positions(indices)
        columns = {name: column.take(rows) for name, column in self._columns.items()}
        return Subset(
            self.task,
            self.ids.take(rows),
            self.texts.take(rows),
            None if self.labels is None else self.labels[rows],
            None if self.groups is None else self.groups[rows],
            columns,
        )

    def join(self, other: "Subset") -> "Subset":
        """Return these samples followed by those of another subset of the same modalities.

        Raises:
            ArgumentError: If tasks or modalities differ, or only one of the two has labels, groups or the times of a
                modality.
        """
        same = self.task == other.task and list(self.dims.items()) == list(other.dims.items())
        if not same or (self.labels is None) != (other.labels is None):
            raise ArgumentError(
                f"Only subsets of the same task and modalities can be joined, but they are {self} and {other}."
            )
        labels, groups = None, None
        if self.labels is not None and other.labels is not None:
            labels = np.concatenate([self.labels, other.labels])
        if self.groups is not None or other.groups is not None:
            groups = np.concatenate([_groups_or_ids(self), _groups_or_ids(other)])
        columns = {name: column.joined(other._columns[name], name) for name, column in self._columns.items()}
        return Subset(self.task, self.ids + other.ids, self.texts + other.texts, labels, groups, columns)

    def pool(self, modalities: Sequence[str]) -> "Subset":
        """Return the same samples with the sequences of some modalities reduced to one vector each.

        The vector holds the mean over a sample's steps, then the standard deviation, and has no time; an absent
        modality stays absent. It is computed here, once.

        Raises:
            ArgumentError: If a modality is unknown or named twice.
        """
        chosen = self._checked_modalities(modalities) if modalities else []
        columns = {
            name: column.pooled() if name in chosen else column for name, column in self._columns.items()
        }
        return Subset(self.task, self.ids, self.texts, self.labels, self.groups, columns)

    def widened(self, dims: Mapping[str, int]) -> "Subset":
        """Return the same samples with the modalities of `dims`, in that order; new ones are absent throughout.

        Args:
            dims: Modality → width of its feature vectors.

        Raises:
            ArgumentError: If a modality of this subset is not among them, or has another width.
        """
        for name, column in self._columns.items():
            if dims.get(name) != column.dim:
                raise ArgumentError(
                    f"Argument `dims` must have {column.dim} features for `{name}`, but has {dims.get(name)}."
                )
        columns = {
            name: self._columns.get(name) or absent_column(len(self), dim) for name, dim in dims.items()
        }
        return Subset(self.task, self.ids, self.texts, self.labels, self.groups, columns)

    def lacking(self, absent: Bool[np.ndarray, "n modality"]) -> "Subset":
        """Return the same samples with some modalities absent for some of them.

        Args:
            absent: True where a modality is taken away, one column per modality, in order.

        Raises:
            ArgumentError: If the shape is not (samples, modalities).
        """
        if absent.shape != (len(self), len(self._columns)):
            raise ArgumentError(
                f"Argument `absent` must have the shape {(len(self), len(self._columns))}, but has {absent.shape}."
            )
        columns = {
            name: column.emptied(gone)
            for (name, column), gone in zip(self._columns.items(), absent.T, strict=True)
        }
        return Subset(self.task, self.ids, self.texts, self.labels, self.groups, columns)

    def num_steps(self, modality: str) -> Int64[np.ndarray, "n"]:
        """Number of steps of every sample in one modality, before any pooling; 0 = absent.

        Raises:
            ArgumentError: If there is no such modality.
        """
        return self._columns[self._checked_modalities([modality])[0]].num_steps.copy()

    def without_steps(self, modality: str, gone: Bool[np.ndarray, "step"]) -> "Subset":
        """Return the same samples without some steps of a modality; one of which all go is absent.

        What `pool` made of the steps is made of those that are left.

        Args:
            modality: A modality.
            gone: True where a step goes, those of all samples after each other (see `num_steps`).

        Raises:
            ArgumentError: If there is no such modality, or it has another number of steps.
        """
        column = self._checked_steps(modality, len(gone))
        return self._with_column(modality, column.thinned(gone))

    def with_features(self, modality: str, values: Float32[np.ndarray, "step feature"]) -> "Subset":
        """Return the same samples with other features of the same steps of a modality.

        Args:
            modality: A modality.
            values: Features of the steps of all samples after each other, before any pooling.

        Raises:
            ArgumentError: If there is no such modality, or it has another number of steps or features.
        """
        column = self._checked_steps(modality, len(values))
        width = (column if column.whole is None else column.whole).dim
        if values.shape[1] != width:
            raise ArgumentError(
                f"Argument `values` must have {width} features for `{modality}`, but has {values.shape[1]}."
            )
        return self._with_column(modality, column.with_values(values))

    def _checked_steps(self, modality: str, given: int) -> ModalityColumn:
        column = self._columns[self._checked_modalities([modality])[0]]
        if given != (expected := int(column.num_steps.sum())):
            raise ArgumentError(
                f"Modality `{modality}` has {expected} steps in these samples, but {given} were given."
            )
        return column

    def _with_column(self, modality: str, column: ModalityColumn) -> "Subset":
        columns = {**self._columns, modality: column}
        return Subset(self.task, self.ids, self.texts, self.labels, self.groups, columns)

    def statistics(self) -> dict[str, FeatureStatistics]:
        """Return each modality's mean and standard deviation over this subset's valid steps.

        Computed in chunks, in double precision, by Chan's update of mean and sum of squares. Call it on the
        training samples only, and standardise every other split with the result.

        Source: T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance", Am.
        Stat. 37 (1983), eq. 2.1.
        """
        result = {}
        for name, column in self._columns.items():
            count, mean, squares = 0, np.zeros(column.dim), np.zeros(column.dim)
            for steps in column.chunks():
                chunk_mean = steps.mean(axis=0, dtype=np.float64)
                centred = steps - chunk_mean
                difference, total = chunk_mean - mean, count + len(steps)
                squares += np.einsum("ij,ij->j", centred, centred)
                squares += difference**2 * (count * len(steps) / total)
                mean += difference * (len(steps) / total)
                count = total
            result[name] = FeatureStatistics(mean, np.sqrt(squares / max(count, 1)), count)
        return result

    def _checked_positions(self, indices: Sequence[int] | np.ndarray) -> Int64[np.ndarray, "chosen"]:
        rows = np.asarray(indices)
        if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
            raise ArgumentError(
                f"Argument `indices` must be a non-empty list of integers, but has shape {rows.shape} "
                f"and dtype {rows.dtype}."
            )
        outside = (rows < 0) | (rows >= len(self))
        if outside.any():
            raise ArgumentError(
                f"Argument `indices` must lie between 0 and {len(self) - 1}, but has {rows[outside][0]}."
            )
        return rows.astype(np.int64)

    def _checked_modalities(self, modalities: Sequence[str]) -> list[str]:
        return checked_modalities(modalities, self._columns)


def checked_modalities(modalities: Sequence[str], known: Sequence[str] | dict) -> list[str]:
    """Return the chosen modalities, known to be distinct and present.

    Raises:
        ArgumentError: If one is unknown or named twice, or none is named.
    """
    chosen = [modalities] if isinstance(modalities, str) else list(modalities)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen or len(set(chosen)) != len(chosen):
        raise ArgumentError(
            f"Argument `modalities` must name distinct modalities among {list(known)}, but it is {chosen}."
        )
    return chosen


def subset_of(store: Store, split: str | None = None, *, modalities: Sequence[str] | None = None) -> Subset:
    """Return all samples of a store, or those of one split, for prediction and inspection.

    Args:
        store: The store.
        split: ``"train"``, ``"valid"``, ``"test"``; None for every sample.
        modalities: Which modalities, in which order; None for all in the store's order.

    Raises:
        ArgumentError: If the split has no sample or a modality is unknown.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> store = write_synthetic_store(tempfile.mkdtemp(), spec)
        >>> test = subset_of(store, "test", modalities=["audio", "text"])
        >>> test.ids[:2], test.dims
        (('test-00000', 'test-00001'), {'audio': 12, 'text': 24})
    """
    rows = np.arange(len(store))
    if split is not None:
        rows = store.categories("split").rows(split)
        if not len(rows):
            raise ArgumentError(
                f"Argument `split` must be one of {list(store.manifest['splits'])} of `{store.name}`, "
                f"but it is `{split}`."
            )
    return subset_of_rows(store, rows, modalities)


def subset_of_rows(
    store: Store, rows: Int64[np.ndarray, "n"], modalities: Sequence[str] | None = None
) -> Subset:
    """Return the samples at some rows of a store.

    Args:
        store: The store.
        rows: Rows of its table.
        modalities: Which modalities, in which order; None for all in the store's order.

    Raises:
        ArgumentError: If a modality is unknown.
    """
    names = list(store.modalities) if modalities is None else checked_modalities(modalities, store.modalities)
    ids = Strings.chosen(rows, lambda: store.lean_strings("id"))
    labels = store.labels[rows]
    return Subset(
        store.task,
        ids,
        Strings.chosen(rows, lambda: store.lean_strings("text")),
        labels if labelled_mask(labels).any() else None,
        _groups(store, rows, ids),
        {name: column_of_store(store, name, rows) for name in names},
    )


def _groups(store: Store, rows: np.ndarray, ids: Strings) -> np.ndarray | None:
    groups = store.strings("group")[rows]
    without = groups == ""
    if without.all():
        return None
    own = np.flatnonzero(without)
    groups[own] = [f"id:{identifier}" for identifier in ids.pick(own)]
    return groups


def _groups_or_ids(subset: Subset) -> np.ndarray:
    if subset.groups is not None:
        return subset.groups
    return np.array([f"id:{identifier}" for identifier in subset.ids], dtype=object)
