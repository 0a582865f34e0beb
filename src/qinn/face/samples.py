"""Samples in memory, which can be counted, indexed and divided like an array."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from qinn.data.stores.manifest import is_modality_name
from qinn.data.subsets.in_memory import subset_of_arrays
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError
from qinn.face.arrays import (
    Integers,
    Kind,
    RowError,
    Steps,
    absent_steps,
    as_array,
    in_one_line,
    is_mapping,
    steps_of,
)
from qinn.task import Task

PLAIN = "features"
"""Name of the modality of a plain array."""

_ROWS = "Samples are indexed by rows (a position, a slice, a list of positions or one truth value per sample)"


class Samples:
    """Samples in memory: one array or list per modality, all with the same rows.

    It has a length and is indexed by rows (an integer, slice, mask or list of positions, each of which gives samples
    again), so that scikit-learn's `cross_val_score` and `GridSearchCV` divide it. Features are kept in single
    precision.

    Args:
        modalities: Modality → its features: an array (n, d) of vectors, (n, T, d) of padded sequences or (n,) of single
            numbers; or a list with an array (T_i, d), a vector (d,) or None for each sample. None in place of a
            modality: no sample has it. A row that is NaN throughout is absent too, and steps that are NaN throughout at
            the end of a sequence are padding.
        lengths: Modality → number of steps of every sample, for arrays (n, T, d) that are padded with anything else.
        ids: Names of the samples; their positions where None.

    Raises:
        ArgumentError: If a modality has another form, numbers that are not finite, or another number of samples.

    Examples:
        >>> samples = Samples({"text": np.ones((3, 2)), "audio": [np.ones((5, 4)), None, np.ones((1, 4))]})
        >>> samples[1:], len(samples[[0, 2]])
        (Samples(2 samples: text (2), audio (4 along time, 1 absent)), 2)
    """

    def __init__(
        self,
        modalities: Mapping[Any, object],
        *,
        lengths: Mapping[Any, object] | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        _refuse_repeated(modalities)
        for argument, value in (
            ("modalities", cast("object", modalities)),
            ("lengths", cast("object", lengths)),
        ):
            if value is None and argument == "lengths":
                continue
            if not is_mapping(value) and not hasattr(value, "columns"):
                raise ArgumentError(
                    f"Argument `{argument}` must map the name of each modality to what it has, as in "
                    f'`{{"text": …}}`, but it is {in_one_line(value)}.'
                )
        stated = dict(lengths or {})
        for name in (*modalities, *stated):
            if not isinstance(name, str) or not is_modality_name(name):
                raise ArgumentError(
                    "A modality's name must start with a letter and have only letters of any script, digits, `_` and "
                    f"`-`, but it is `{name}`; rename it."
                )
            if name not in modalities:
                raise ArgumentError(
                    f"Argument `lengths` must name modalities among {list(modalities)}, but it names `{name}`."
                )
        given = {
            name: steps_of(name, value, stated.get(name))
            for name, value in modalities.items()
            if value is not None
        }
        if not given:
            raise ArgumentError(
                "Argument `modalities` must have one modality with samples at least, but has none."
            )
        sizes = {name: len(steps.lengths) for name, steps in given.items()}
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{size} of `{name}`" for name, size in sizes.items())
            raise ArgumentError(
                f"All modalities must have the same number of samples, but there are {said}; use None for a sample "
                "that lacks one."
            )
        number = next(iter(sizes.values()))
        self._steps = {name: given.get(name, absent_steps(number)) for name in modalities}
        self._ids = _names([str(row) for row in range(number)] if ids is None else ids, number)

    @classmethod
    def of(cls, data: object) -> "Samples":
        """Return samples as they are, or make them of a mapping, a data frame or a plain array.

        A data frame of numbers throughout is a plain array; one with a cell that is a list, an array or nothing has a
        column for each modality. A plain array is a single modality called ``features``.

        Args:
            data: What `Estimator.fit` takes as ``X``.

        Raises:
            ArgumentError: As for `Samples`.
        """
        if isinstance(data, Samples):
            return data
        if is_mapping(data):
            return cls(data)
        if is_frame_of_modalities(data):
            frame = cast("Any", data)
            _refuse_repeated(frame)
            return cls(
                {str(name): frame[name].to_numpy() for name in frame.columns},
                ids=[str(name) for name in frame.index],
            )
        if not hasattr(data, "toarray"):
            if isinstance(data, (str, bytes, Path)):
                raise ArgumentError(
                    f"Argument `X` must be samples in memory, but it is the text {in_one_line(data)}; read the file "
                    "first, or make a store of it with `qinn.import_data` and train on that with `qinn.compare`."
                )
            _refuse_repeated(data)
            array = as_array(data)
            if array is not None and array.ndim < 2 and array.dtype != object:
                raise ArgumentError(
                    f"Expected 2D array, got {'1D' if array.ndim else 'scalar'} array instead: argument `X` has the "
                    f"shape {array.shape}. Reshape your data by `.reshape(-1, 1)` if it has a single feature, or by "
                    "`.reshape(1, -1)` if it is a single sample."
                )
            return cls({PLAIN: data if array is None else array})
        return cls({PLAIN: data})

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples and of features of all modalities together."""
        return len(self), sum(self.dims.values())

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(self._steps)

    @property
    def dims(self) -> dict[str, int]:
        """Modality → number of features; 0 where no sample has it and nothing says how many there are."""
        return {name: steps.dim for name, steps in self._steps.items()}

    @property
    def kinds(self) -> dict[str, Kind]:
        """Modality → ``"vector"`` or ``"sequence"``."""
        return {name: steps.kind for name, steps in self._steps.items()}

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the samples."""
        return tuple(self._ids.tolist())

    def lengths(self, modality: str) -> Integers:
        """Return how many steps each sample has in one modality; 0 where it is absent.

        Args:
            modality: Which.

        Raises:
            ArgumentError: If it is unknown.
        """
        return self.steps(modality).lengths.copy()

    def __getitem__(self, key: Any) -> "Samples":
        # What an array is indexed with: rows, or rows and an ellipsis.
        chosen: Any = key
        if isinstance(key, tuple):
            if len(cast("tuple[Any, ...]", key)) != 2 or key[1] is not Ellipsis:
                raise ArgumentError("Samples are indexed by rows alone; choose modalities with `select`.")
            chosen = cast("tuple[Any, ...]", key)[0]
        try:
            rows = np.atleast_1d(
                np.arange(len(self))[chosen if isinstance(chosen, slice) else _index(chosen)]
            )
        except (IndexError, TypeError, ValueError) as error:
            raise RowError(f"{_ROWS}, but {error}; there are {len(self)} samples.") from None
        if rows.ndim != 1:
            raise RowError(
                f"{_ROWS}, but the index has the shape {np.shape(cast('Any', chosen))}; there are {len(self)} samples."
            )
        return self._with({name: steps.take(rows) for name, steps in self._steps.items()}, self._ids[rows])

    def __iter__(self) -> Iterator["Samples"]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        said: list[str] = []
        for name, steps in self._steps.items():
            absent = int((steps.lengths == 0).sum())
            along = " along time" if steps.kind == "sequence" else ""
            said.append(f"{name} ({steps.dim}{along}{f', {absent} absent' if absent else ''})")
        return f"Samples({len(self)} sample{'' if len(self) == 1 else 's'}: {', '.join(said)})"

    def select(self, modalities: Sequence[str]) -> "Samples":
        """Return the same samples with some of the modalities, in the given order.

        Args:
            modalities: Which.

        Raises:
            ArgumentError: If one is unknown.
        """
        if (
            isinstance(modalities, str)
            or not isinstance(cast("object", modalities), Iterable)
            or not modalities
        ):
            raise ArgumentError(
                f"Argument `modalities` must list names among {list(self._steps)}, but it is {in_one_line(modalities)}."
            )
        for name in modalities:
            self.steps(name)
        return self._with({name: self._steps[name] for name in modalities}, self._ids)

    def renamed(self, ids: Sequence[str]) -> "Samples":
        """Return the same samples under other names.

        Args:
            ids: One for each.

        Raises:
            ArgumentError: If there is not one for each.
        """
        return self._with(self._steps, _names(ids, len(self)))

    def like(self, dims: Mapping[str, int], kinds: Mapping[str, Kind]) -> "Samples":
        """Return the same samples with the modalities of a fit, in their order.

        Args:
            dims: Modality → number of features of the fit.
            kinds: Modality → kind of the fit.

        Raises:
            ArgumentError: If modalities, numbers of features or kinds are others.
        """
        if set(dims) != set(self._steps):
            raise ArgumentError(
                f"Argument `X` must have the modalities {list(dims)} of the fit, but has {list(self._steps)}; pass "
                "None for one that is absent."
            )
        found: dict[str, Steps] = {}
        for name, dim in dims.items():
            steps = self._steps[name]
            if not steps.dim:
                steps = Steps(np.zeros((0, dim), dtype=np.float32), steps.lengths, kinds[name])
            if steps.dim != dim:
                raise ArgumentError(
                    f"X has {steps.dim} features, but Estimator is expecting {dim} features as input, in modality "
                    f"`{name}`."
                )
            if kinds[name] == "vector" and steps.lengths.max(initial=0) > 1:
                raise ArgumentError(
                    f"Modality `{name}` had one vector per sample in the fit, but has sequences; pool them."
                )
            found[name] = steps
        return self._with(found, self._ids)

    def steps(self, modality: str) -> Steps:
        """Return the steps of one modality.

        Args:
            modality: Which.

        Raises:
            ArgumentError: If it is unknown.
        """
        if modality not in self._steps:
            raise ArgumentError(
                f"Argument `modalities` must name modalities among {list(self._steps)}, but it names `{modality}`."
            )
        return self._steps[modality]

    def subset(
        self,
        task: Task,
        labels: npt.NDArray[Any] | None = None,
        groups: npt.NDArray[Any] | None = None,
    ) -> Subset:
        """Return the samples as training and prediction take them.

        Args:
            task: What is predicted.
            labels: float64 scores or int64 class indices.
            groups: Group names.
        """
        features = {name: (steps.values, steps.lengths) for name, steps in self._steps.items()}
        return subset_of_arrays(task, features, ids=self.ids, labels=labels, groups=groups)

    def _with(self, steps: dict[str, Steps], ids: npt.NDArray[Any]) -> "Samples":
        found = object.__new__(type(self))
        found._steps, found._ids = steps, ids
        return found


def _names(ids: object, number: int) -> npt.NDArray[Any]:
    """Return the names of samples, one for each."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ArgumentError(f"Argument `ids` must list {number} names, but it is {in_one_line(ids)}.")
    given = list(cast("Iterable[Any]", ids))
    if len(given) != number:
        raise ArgumentError(f"Argument `ids` must have {number} names, but has {len(given)}.")
    names = np.empty(number, dtype=object)
    names[:] = given
    return names


def _refuse_repeated(data: object) -> None:
    """Refuse a data frame in which two columns, thus two modalities, have the same name."""
    columns = [str(name) for name in getattr(data, "columns", ())]
    if repeated := [name for name in columns if columns.count(name) > 1]:
        raise ArgumentError(
            f"Each column of a data frame must have a name of its own, but `{repeated[0]}` names "
            f"{columns.count(repeated[0])}; rename them."
        )


def _index(key: Any) -> npt.NDArray[Any]:
    index = np.asarray(key)
    # An empty list is one of positions, though numpy takes it for numbers.
    return index.astype(np.int64) if not index.size else index


def is_frame_of_modalities(data: object) -> bool:
    """Tell whether something is a data frame with a column for each modality, not one of numbers throughout.

    Args:
        data: Anything.
    """
    if not (hasattr(data, "columns") and hasattr(data, "iloc")):
        return False
    frame = cast("Any", data)
    return any(
        not isinstance(cell, (int, float, np.number, np.bool_, str))
        for place in range(len(frame.columns))
        if frame.iloc[:, place].dtype == object
        for cell in frame.iloc[:, place]
    )
