"""From the label column of a source to a task and its labels."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from qinn.data.files.numerals import counted, has_decimal_comma, number_of, why_no_number
from qinn.data.importing.faults import Faults, UnstatedError, together
from qinn.data.stores.label_column import Label
from qinn.errors import ArgumentError, ConfigError, DataError
from qinn.stated_options import Typed, check_options, option
from qinn.task import THRESHOLD, Task

__all__ = ["DROP", "TAKE_OUT", "Labels", "TaskOptions", "read_labels"]

TAKE_OUT = "or take the sample out of the file if it is unlabelled"
DROP = "or leave such samples out with `--drop-label {label}`"

_NOT_FINITE = ("nan", "inf", "-inf", "+inf")
_WORDS = {"true": 1, "false": 0}
"""What truth values are called in tables."""

_RANGES = {"mosi": (-3.0, 3.0), "sims": (-1.0, 1.0)}


@dataclass(frozen=True)
class TaskOptions:
    """What the labels mean.

    Raises:
        ConfigError: If the options contradict each other.

    Examples:
        >>> TaskOptions("classification", classes=("negative", "positive"), drop_labels=("9",)).kind
        'classification'
    """

    kind: str = option(
        "regression",
        "What is predicted: a score, a class, or which of several `--labels` are present",
        name="task",
        choices=("regression", "classification", "multilabel"),
    )
    scale: str | None = option(
        None,
        "Labels in [-3, 3], in [-1, 1], or in a `--range`; it decides which metrics are computed",
        choices=("mosi", "sims", "plain"),
    )
    low: float | int | None = option(
        None,
        "Lowest and highest possible score, on the scale plain",
        name="range",
        form="range",
        metavar="LOW HIGH",
    )
    high: float | int | None = None
    classes: tuple[str, ...] = option(
        (),
        "Names of the classes, in order; by default the order of the label map, or all that occur, sorted",
        form="listed",
        metavar="A,B,C",
    )
    labels: tuple[str, ...] = option(
        (),
        "Names of the labels of a multi-label task, in order: columns of a table, keys of a pickle, or columns of an "
        "array of labels; NAME=PLACE where a column or key is called otherwise, or an array has further columns, "
        "counted from 0",
        form="listed",
        metavar="A,B=PLACE,C",
    )
    present_above: float | int = option(
        0.0,
        "A label of a multi-label task is present where its value is above this, as CMU-MOSEI counts an emotion of an "
        "intensity above 0",
        form="number",
        metavar="VALUE",
        bounds=(-1e12, 1e12),
    )
    threshold: float | int = option(
        THRESHOLD,
        "Probability from which on a model decides that a label is present; stated here, and never chosen by scores",
        form="number",
        bounds=(0.0, 1.0),
        metavar="P",
    )
    label_map: Mapping[str, str | float | int] = option(
        {}, "What a label in the file stands for: a class or a score", metavar="RAW=MEANING,…"
    )
    drop_labels: tuple[str, ...] = option(
        (), "Leave out the samples with this label; repeat for more", name="drop_label", metavar="RAW"
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.kind == "classification" and (self.scale is not None or self.low is not None):
            raise ConfigError(
                "A classification task has no scale or range; leave them out, or ask for regression."
            )
        if self.kind == "regression" and self.classes:
            raise ConfigError("A regression task has no classes; leave them out, or ask for classification.")
        self._check_labels()
        if (self.low is None) != (self.high is None):
            raise ConfigError("Option `range` needs both ends, the lowest and the highest possible score.")

    def _check_labels(self) -> None:
        several = self.kind == "multilabel"
        stated = {
            "scale": self.scale is not None,
            "range": self.low is not None,
            "classes": bool(self.classes),
            "drop_label": bool(self.drop_labels),
        }
        if several and (wrong := [name for name, given in stated.items() if given]):
            raise ConfigError(
                f"A multi-label task has labels that are present or absent, so option `{wrong[0]}` says nothing of it; "
                "leave it out."
            )
        if several and not self.labels:
            raise ConfigError(
                "A multi-label task needs the names of its labels; give them by `--labels`, as in happy,sad,anger."
            )
        own = {
            "labels": bool(self.labels),
            "present_above": self.present_above != 0,
            "threshold": self.threshold != THRESHOLD,
        }
        if not several and (wrong := [name for name, given in own.items() if given]):
            raise ConfigError(
                f"Option `{wrong[0]}` is one of a multi-label task; leave it out, or ask for `--task multilabel`."
            )
        if several:
            self.places()
            if not 0 < self.threshold < 1:
                raise ConfigError(
                    f"Option `threshold` must lie between 0 and 1, but it is {self.threshold}; it is the probability "
                    "from which on a label counts as present."
                )

    def refuse_single(self, option: str, *, given: bool) -> None:
        """Refuse an option that says which one label is taken, where the task has several.

        Args:
            option: Its name.
            given: Whether it was given.

        Raises:
            ConfigError: If it was, of a multi-label task.
        """
        if given and self.kind == "multilabel":
            raise ConfigError(
                f"Option `{option}` says where the one label of a sample lies, but the task has several; say where "
                "they are by `--labels NAME=PLACE,…`."
            )

    def places(self) -> dict[str, str]:
        """Return the labels of a multi-label task, each with the column or key that holds it.

        Raises:
            ConfigError: If two have the same name or the same place, or one has none.

        Examples:
            >>> TaskOptions("multilabel", labels=("happy", "sad=2")).places()
            {'happy': 'happy', 'sad': '2'}
        """
        found: dict[str, str] = {}
        for label in self.labels:
            name, says, place = label.partition("=")
            if not name or name in found:
                raise ConfigError(
                    f"Option `labels` must name each label once, but it is {','.join(self.labels)}."
                )
            if says and not place:
                raise ConfigError(
                    f"Option `labels` must say where each label lies, but says nothing behind `{label}`; name its "
                    "column or key, or leave the sign out."
                )
            if (place or name) in found.values():
                raise ConfigError(
                    f"Option `labels` must name another column or key for each label, but names `{place or name}` "
                    f"twice ({','.join(self.labels)})."
                )
            found[name] = place or name
        return found

    def columns(self, count: int, where: str) -> list[int]:
        """Return which columns of an array of labels are the labels of a multi-label task.

        Args:
            count: How many columns there are.
            where: File and array, for messages.

        Raises:
            ConfigError: If there are others than as many as there are labels, and no places are stated, or wrong ones.

        Examples:
            >>> TaskOptions("multilabel", labels=("happy=1", "sad=2")).columns(7, "y.h5")
            [1, 2]
        """
        places = self.places()
        if not any("=" in label for label in self.labels) and len(places) == count:
            return list(range(count))
        columns = [int(place) for place in places.values() if place.isdecimal() and int(place) < count]
        if len(set(columns)) < len(places):
            raise ConfigError(
                f"{where} has {count} column{'s' if count > 1 else ''} of labels, but option `labels` names "
                f"{len(places)} ({','.join(self.labels)}); give each as NAME=COLUMN, another for each, counted from 0."
            )
        return columns

    def changed(self, **stated: Any) -> "TaskOptions":
        """Return these options with others in their place; a scale gives way to classes, or to a range.

        Examples:
            >>> TaskOptions(scale="mosi").changed(low=1, high=5).scale
        """
        gives_way = stated.get("kind") in ("classification", "multilabel") or "low" in stated
        return replace(TaskOptions() if gives_way else self, **stated)

    def regression_task(self, labels: Sequence[float], what: str) -> Task:
        """Return the regression task, or say which range the labels at hand have if none is stated."""
        fixed = _RANGES.get(self.scale or "")
        low, high = (self.low, self.high) if self.low is not None else fixed or (None, None)
        if low is None or high is None:
            found = f", which run from {min(labels):g} to {max(labels):g} here" if labels else ""
            raise UnstatedError(
                f"A regression task needs the possible range of its labels{found} ({what}): "
                "state the scale mosi or sims, or the scale plain with its range.",
                *_ways_to_state(labels),
            )
        try:
            scale = cast(Literal["mosi", "sims", "plain"], self.scale or "plain")  # checked above
            return Task("regression", float(low), float(high), scale)
        except ArgumentError as error:
            raise ConfigError(str(error)) from error


def _ways_to_state(labels: Sequence[float]) -> list[dict[str, Typed]]:
    """Return the options that say the range of labels, of the scales that hold them."""
    low, high = (min(labels), max(labels)) if labels else (0.0, 1.0)
    scales: list[dict[str, Typed]] = [
        {"scale": name} for name, (lowest, highest) in _RANGES.items() if lowest <= low and high <= highest
    ]
    return [*scales, {"scale": "plain", "range": [low, high]}]


@dataclass(frozen=True)
class Labels:
    """Labels that are ready for a store.

    Attributes:
        task: What is predicted.
        values: One score, class index or list of labels (1, 0, None) per kept row; None = unlabelled.
        kept: Rows of the source that are not dropped, ascending.
        notes: What was done that the file does not show.
    """

    task: Task
    values: tuple[Label, ...]
    kept: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def chunks(self, sizes: Iterable[int], at_once: int | None = 256) -> Iterator["Chunk"]:
        """Go through the kept rows of a source whose parts (splits, videos) follow each other.

        Args:
            sizes: Rows of each part.
            at_once: Rows of a part that are looked at together; None for all.

        Examples:
            >>> labels = Labels(Task("regression", -3.0, 3.0, "mosi"), (1.0, 2.0, 3.0), (0, 2, 3))
            >>> [(chunk.part, chunk.rows, chunk.values) for chunk in labels.chunks([3, 1])]
            [(0, [0, 2], [1.0, 2.0]), (1, [0], [3.0])]
        """
        by_row = dict(zip(self.kept, self.values, strict=True))
        first = 0
        for part, size in enumerate(sizes):
            step = at_once or max(size, 1)
            for start in range(0, size, step):
                rows = [row for row in range(start, min(start + step, size)) if first + row in by_row]
                if rows:
                    yield Chunk(part, first, rows, [by_row[first + row] for row in rows])
            first += size


@dataclass(frozen=True)
class Chunk:
    """Some rows of one part of a source.

    Attributes:
        part: Which part, from 0.
        first: Row of the source at which the part begins.
        rows: Rows within the part.
        values: Their labels.
    """

    part: int
    first: int
    rows: list[int]
    values: list[Label]


def read_labels(
    values: Sequence[Any] | None,
    num_rows: int,
    options: TaskOptions,
    *,
    place: Callable[[int], str],
    what: str,
    unlabelled: str = TAKE_OUT,
) -> Labels:
    """Turn raw labels into scores or class indices, drop what is to be dropped, and find the task.

    Args:
        values: Raw labels (numbers or text), None or empty text where a row is unlabelled; None if the
            source has no labels at all. Of a multi-label task each is a sequence of them.
        num_rows: Number of rows of the source.
        options: What the labels mean.
        place: Row → where it is, for messages.
        what: File and column, for messages.
        unlabelled: What to do in this kind of file about a sample that has no label, for messages.

    Raises:
        DataError: If a label is not a finite number within the range, or not one of the classes.
        ConfigError: If the options don't say enough.

    Examples:
        >>> options = TaskOptions("classification", label_map={"1": "sad", "2": "glad"}, drop_labels=("9",))
        >>> read_labels([2, 9, 1], 3, options, place=str, what="mood").values
        (1, 0)
    """
    if options.kind == "multilabel":
        return _multilabel(values, num_rows, options, place, what)
    values = [None] * num_rows if values is None else values
    keys = [_key(value) for value in values]
    dropped = {_key(label) for label in options.drop_labels}
    if unused := dropped - set(keys):
        raise ConfigError(f"Label `{min(unused)}` is to be dropped, but it does not occur in {what}.")
    kept = [row for row in range(num_rows) if keys[row] not in dropped]
    notes = []
    if len(kept) < num_rows:
        of = f"with the label {', '.join(sorted(dropped))}"
        notes.append(counted(num_rows - len(kept), "sample", f"{of} was left out", f"{of} were left out"))
    renamed = {_key(label): meaning for label, meaning in options.label_map.items()}
    found: list[str | float | int | None] = []
    unmapped: list[tuple[DataError, str]] = []
    for row in kept:
        key = keys[row]
        if key == "":
            found.append(None)
        elif renamed and key not in renamed:
            found.append(None)
            unmapped.append(
                (
                    DataError(
                        f"{place(row)} has the label `{key}` in {what}, which the label map does not know "
                        f"(it knows {', '.join(renamed)}); add it to the map or drop it."
                    ),
                    f"{place(row)} (`{key}`)",
                )
            )
        else:
            found.append(renamed.get(key, key))
    _refuse(unmapped)
    if options.kind == "classification":
        return _classification(found, kept, options, renamed, notes, place, what, unlabelled)
    scores: list[float | None] = []
    no_scores: list[tuple[DataError, str]] = []
    for row, value in zip(kept, found, strict=True):
        try:
            scores.append(_score(value, place(row), what, unlabelled))
        except DataError as error:
            no_scores.append((error, f"{place(row)} (`{value}`)"))
            scores.append(None)
    faults = Faults()
    faults.of(lambda: _refuse(no_scores), None)
    if no_scores and not any(score is not None for score in scores):
        faults.refuse()
    task = options.regression_task([score for score in scores if score is not None], what)
    outside = [
        (
            DataError(
                f"{place(row)} has the label {score:g} in {what}, outside the scale {task.scale} "
                f"[{task.low:g}, {task.high:g}]; correct it or state the true scale."
            ),
            f"{place(row)} ({score:g})",
        )
        for row, score in zip(kept, scores, strict=True)
        if score is not None and not task.low <= score <= task.high
    ]
    faults.of(lambda: _refuse(outside), None)
    faults.refuse()
    return Labels(task, tuple(scores), tuple(kept), tuple(notes))


def _multilabel(
    values: Sequence[Any] | None,
    num_rows: int,
    options: TaskOptions,
    place: Callable[[int], str],
    what: str,
) -> Labels:
    """Return which labels each row has: 1 where the value is above the limit, 0 where not, None where there is none."""
    names = tuple(options.places())
    renamed = {_key(label): meaning for label, meaning in options.label_map.items()}
    found: list[Label] = []
    wrong: list[tuple[DataError, str]] = []
    unknown, intensities = 0, False
    for row in range(num_rows):
        states: list[int | None] = []
        for name, value in zip(names, [None] * len(names) if values is None else values[row], strict=True):
            key = _key(value)
            text = renamed.get(key, _WORDS.get(key.lower(), key))
            try:
                number = None if text == "" else number_of(str(text))
            except ValueError:
                said = (
                    f"{place(row)} has `{key[:60]}` for the label `{name}` in {what}, which is not a number"
                )
                wrong.append(
                    (DataError(f"{said}; correct it, or map it to one by `--label-map`."), place(row))
                )
                continue
            if number is None or np.isnan(number):
                states.append(None)
                continue
            if np.isinf(number):
                said = f"{place(row)} has `{key[:60]}` for the label `{name}` in {what}, which is no finite number"
                wrong.append(
                    (DataError(f"{said}; correct it, or empty it where it is not known."), place(row))
                )
                continue
            intensities |= number not in (0, 1)
            states.append(int(number > options.present_above))
        unknown += sum(state is None for state in states)
        found.append(None if all(state is None for state in states) else states)
    _refuse(wrong)
    notes = []
    if intensities or options.present_above:
        notes.append(
            f"a label is present where its value is above {options.present_above:g}, as CMU-MOSEI counts emotions from "
            "their intensities"
            if not options.present_above
            else f"a label is present where its value is above {options.present_above:g}"
        )
    partly = unknown - len(names) * sum(states is None for states in found)
    if partly:
        notes.append(f"{partly} labels of samples that have others are not known")
    try:
        task = Task("multilabel", labels=names, threshold=float(options.threshold))
    except ArgumentError as error:
        raise ConfigError(f"{error} ({what})") from error
    return Labels(task, tuple(found), tuple(range(num_rows)), tuple(notes))


def _refuse(wrong: Sequence[tuple[DataError, str]]) -> None:
    if wrong:
        raise together([error for error, _ in wrong], [where for _, where in wrong])


def _classification(
    found: list[str | float | int | None],
    kept: list[int],
    options: TaskOptions,
    renamed: Mapping[str, str | float | int],
    notes: list[str],
    place: Callable[[int], str],
    what: str,
    unlabelled: str,
) -> Labels:
    names = [None if value is None else _key(value) for value in found]
    classes = options.classes or tuple(dict.fromkeys(_key(name) for name in renamed.values()))
    if not classes:
        occurring = {name for name in names if name is not None and name.lower() not in _NOT_FINITE}
        classes = tuple(sorted(occurring, key=_sort_key))
        notes.append(f"classes are the labels that occur, sorted: {', '.join(classes)}")
    index = {name: position for position, name in enumerate(classes)}
    labels: list[int | None] = []
    for row, name in zip(kept, names, strict=True):
        if name is not None and name.lower() in _NOT_FINITE and name not in options.classes:
            raise DataError(
                f"{place(row)} has the label {name} in {what}, which is no class; correct it, "
                f"{unlabelled.format(label=name)}."
            )
        if name is not None and name not in index:
            raise DataError(
                f"{place(row)} has the label `{name}` in {what}, which is none of the classes "
                f"{', '.join(classes)}; name it among the classes, map it or drop it."
            )
        labels.append(None if name is None else index[name])
    try:
        task = Task("classification", classes=classes)
    except ArgumentError as error:
        raise ConfigError(f"{error} ({what})") from error
    return Labels(task, tuple(labels), tuple(kept), tuple(notes))


def _key(value: Any) -> str:
    """Text by which a label is known: whole numbers lose their decimal point, so 1, 1.0 and "1.0" are one.

    A single-precision 1.8 becomes the text 1.8, not the double that its bits spell out.
    """
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value).strip()
    try:
        number = number_of(text)
    except ValueError:
        return text
    return str(int(number)) if np.isfinite(number) and number == int(number) else text


def _sort_key(name: str) -> tuple[int, float, str]:
    try:
        return (0, number_of(name), name)
    except ValueError:
        return (1, 0.0, name)


def _score(value: str | float | int | None, place: str, what: str, unlabelled: str) -> float | None:
    if value is None:
        return None
    try:
        score = number_of(value) if isinstance(value, str) else float(value)
    except ValueError:
        raise DataError(
            f"{place} has the label `{str(value)[:60]}` in {what}, {why_no_number(value)}"
            + (
                "."
                if has_decimal_comma(str(value))
                else "; correct it, map it to one or ask for classification."
            )
        ) from None
    if not np.isfinite(score):
        raise DataError(
            f"{place} has the label {score} in {what}, which is no finite number; correct it, "
            f"{unlabelled.format(label=score)}."
        )
    return score
