"""What a model is to predict; without torch, so that data can be read and checked without loading it."""

from dataclasses import dataclass
from typing import Literal

from qinn.errors import ArgumentError


@dataclass(frozen=True)
class Task:
    """What is predicted: a score on a stated scale, or one of several classes.

    Attributes:
        kind: ``"regression"`` or ``"classification"``.
        low: Lowest possible score (regression).
        high: Highest possible score (regression).
        scale: Which conventions the metrics follow: ``"mosi"`` for labels in [-3, 3], ``"sims"`` for labels
            in [-1, 1], ``"plain"`` for any other range.
        classes: Names of the classes, in the order of the class indices (classification).

    Raises:
        ArgumentError: If the fields do not fit the kind.
    """

    kind: Literal["regression", "classification"]
    low: float = 0.0
    high: float = 0.0
    scale: Literal["mosi", "sims", "plain"] = "plain"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "regression":
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
        elif self.kind == "classification":
            if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
                raise ArgumentError(
                    f"A classification task must name at least two distinct classes, but got {self.classes}."
                )
        else:
            raise ArgumentError(
                f"Argument `kind` must be `regression` or `classification`, but it is `{self.kind}`."
            )

    @property
    def num_outputs(self) -> int:
        """Width of a model's output: 1 score, or one logit per class."""
        return 1 if self.kind == "regression" else len(self.classes)
