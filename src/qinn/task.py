"""What a model is to predict; without torch, so that data can be read and checked without loading it."""

from dataclasses import dataclass, field
from typing import Literal

from qinn.errors import ArgumentError

Kind = Literal["regression", "classification", "multilabel"]

THRESHOLD = 0.5
"""Probability from which on a label is decided to be present, where no other is stated."""


@dataclass(frozen=True)
class Task:
    """What is predicted: a score on a stated scale, one of several classes, or which of several labels are present.

    Attributes:
        kind: ``"regression"``, ``"classification"`` or ``"multilabel"``.
        low: Lowest possible score (regression).
        high: Highest possible score (regression).
        scale: Which conventions the metrics follow: ``"mosi"`` for labels in [-3, 3], ``"sims"`` for labels
            in [-1, 1], ``"plain"`` for any other range.
        classes: Names of the classes, in the order of the class indices (classification).
        labels: Names of the labels, each present or absent in a sample whatever the others are (multilabel); None of
            other tasks.
        threshold: Probability from which on a label is decided to be present (multilabel), by default `THRESHOLD`; None
            of other tasks. It is stated, and never chosen by what is measured.

    Raises:
        ArgumentError: If the fields do not fit the kind.

    Examples:
        >>> task = Task("multilabel", labels=("happy", "sad"))
        >>> task.num_outputs, task.threshold
        (2, 0.5)
    """

    kind: Kind
    low: float = 0.0
    high: float = 0.0
    scale: Literal["mosi", "sims", "plain"] = "plain"
    classes: tuple[str, ...] = ()
    # What only one kind of task has is left out of the documents of others, which stay what they were.
    labels: tuple[str, ...] | None = field(default=None, metadata={"optional": True})
    threshold: float | None = field(default=None, metadata={"optional": True})

    def __post_init__(self) -> None:
        if self.kind == "regression":
            self._check_range()
        elif self.kind == "classification":
            if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
                raise ArgumentError(
                    f"A classification task must name at least two distinct classes, but got {self.classes}."
                )
        elif self.kind == "multilabel":
            self._check_labels()
        else:
            raise ArgumentError(
                f"Argument `kind` must be `regression`, `classification` or `multilabel`, but it is `{self.kind}`."
            )
        if self.kind != "multilabel" and (self.labels is not None or self.threshold is not None):
            raise ArgumentError(
                f"A {self.kind} task has no labels and no threshold; leave them out, or ask for `multilabel`."
            )

    def _check_range(self) -> None:
        if not self.low < self.high:
            raise ArgumentError(
                f"A regression task must have low < high, but low is {self.low} and high is {self.high}; "
                "state the range of the labels."
            )
        fixed = {"mosi": (-3.0, 3.0), "sims": (-1.0, 1.0)}.get(self.scale)
        if fixed is not None and fixed != (self.low, self.high):
            raise ArgumentError(
                f"Scale `{self.scale}` must have the range {fixed}, but it is ({self.low}, {self.high}); "
                "use scale `plain` for another range."
            )

    def _check_labels(self) -> None:
        names = self.labels or ()
        if len(names) < 2 or len(set(names)) != len(names) or not all(names):
            raise ArgumentError(
                f"A multi-label task must name at least two distinct labels, but got {names}; of a single one make a "
                "classification task."
            )
        if self.threshold is None:
            object.__setattr__(self, "threshold", THRESHOLD)
        if not 0.0 < self.cut < 1.0:
            raise ArgumentError(
                f"Argument `threshold` must lie between 0 and 1, but it is {self.threshold}; it is the probability "
                "from which on a label counts as present."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What the outputs are of: the classes, or the labels; empty where there is one score."""
        return self.classes or self.labels or ()

    @property
    def num_outputs(self) -> int:
        """Width of a model's output: 1 score, or one logit per class or label."""
        return len(self.names) or 1

    @property
    def is_independent(self) -> bool:
        """Whether every output is a logit of its own, whatever the others are."""
        return self.kind == "multilabel"

    @property
    def cut(self) -> float:
        """The threshold, of a multi-label task."""
        return THRESHOLD if self.threshold is None else self.threshold

    @property
    def described(self) -> str:
        """The task in words.

        Examples:
            >>> Task("classification", classes=("sad", "glad")).described
            'classification into sad, glad'
        """
        if self.kind == "regression":
            low, high = (f"{end:g}".replace("-", "−") for end in (self.low, self.high))
            return f"regression on [{low}, {high}], conventions: {self.scale}"
        if self.kind == "classification":
            return f"classification into {', '.join(self.classes)}"
        return f"multi-label: which of {', '.join(self.names)} are present, from a probability of {self.cut:g} on"


ONE_LABEL = Task("classification", classes=("absent", "present"))
"""What is predicted of one label of a multi-label task, looked at alone."""


def refuse_labels(task: Task, what: str, remedy: str) -> None:
    """Refuse several labels where one score or class per sample is needed; the one place where that is said.

    Args:
        task: What is predicted.
        what: What cannot take several labels, as the beginning of a sentence.
        remedy: What to do, as its end.

    Raises:
        ArgumentError: If the task is a multi-label one.

    Examples:
        >>> refuse_labels(Task("multilabel", labels=("a", "b")), "The layout of MMSA", "convert to npz")
        Traceback (most recent call last):
        qinn.errors.ArgumentError: The layout of MMSA has one score or class per sample, but the task is multi-label \
(a, b); convert to npz.
    """
    if task.kind == "multilabel":
        raise ArgumentError(
            f"{what} has one score or class per sample, but the task is multi-label ({', '.join(task.names)}); "
            f"{remedy}."
        )
