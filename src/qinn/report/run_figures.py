"""The figures of runs: training, what the dynamics do, predictions and how sure they are.

Figures are SVG text, drawn without a display and without pyplot's global state. Every figure states its units, is
readable at 600 to 700 pixels and uses the Okabe–Ito palette, which colour-blind readers can tell apart; nothing is
told by colour alone. The SVG stands by itself (letters are outlines), carries its description for screen readers, and
is the same for the same input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Real
from matplotlib.ticker import MaxNLocator

from qinn.explain.activity import ASLEEP, ASLEEP_ALONG
from qinn.report.figure_style import (
    BLUE,
    DASHES,
    GREY,
    PALETTE,
    VERMILLION,
    new_figure,
    plain,
    require,
    styled,
    to_svg,
)
from qinn.results.run import RunResult

MOST_POINTS = 1500
"""More points than this are drawn as density."""

MOST_NAMED_CURVES = len(PALETTE)
"""More curves than this are drawn alike."""

ACTIVITIES = {
    "jumps": "jumps of a trajectory",
    "turning": "‖H‖T (rad)",
    "gap": "gap × T",
    "entanglement": "entanglement (bits)",
    "contraction": "contraction per step",
    "rotation": "rotation per step (rad)",
}
"""What the figure of the dynamics shows, with its unit (see `qinn.explain.activity.Activity`)."""

_ASLEEP = {"jumps": ASLEEP, "turning": ASLEEP, "contraction": ASLEEP_ALONG, "rotation": ASLEEP_ALONG}


@dataclass(frozen=True)
class LearningCurve:
    """The history of one training.

    Attributes:
        name: What is trained, for example ``"fold 1, seed 0"``.
        epochs: Epoch numbers.
        train_loss: Training loss after each epoch.
        valid_loss: Validation loss after each epoch.
        chosen_epoch: Epoch whose weights were kept; None if there was no choice.
    """

    name: str
    epochs: Real[np.ndarray, "epoch"]
    train_loss: Real[np.ndarray, "epoch"]
    valid_loss: Real[np.ndarray, "epoch"]
    chosen_epoch: int | None = None


@dataclass(frozen=True)
class ActivityCurve:
    """How much the dynamics did in the course of one training.

    Attributes:
        name: What was trained, for example ``"fold 1"``.
        epochs: Epoch numbers.
        values: Name of `ACTIVITIES` → its value after each epoch, NaN where it is not known.
    """

    name: str
    epochs: Real[np.ndarray, "epoch"]
    values: Mapping[str, Float[np.ndarray, "epoch"]]


@styled
def activity_curves(curves: Sequence[ActivityCurve]) -> str:
    """Jumps, turning, gap and entanglement, or contraction and rotation, over epochs, a panel for each that is known.

    Args:
        curves: One training each.

    Raises:
        ArgumentError: If there is no training.

    Examples:
        >>> activity_curves([ActivityCurve("fold 1", np.arange(3), {"jumps": np.array([0.5, 0.4, 0.4])})])[:4]
        '<svg'
    """
    require(len(curves) > 0, "Argument `curves` must hold at least one training, but it is empty.")
    known = [
        name
        for name in ACTIVITIES
        if any(np.isfinite(curve.values.get(name, np.nan)).any() for curve in curves)
    ]
    figure, panels = new_figure(7.0, 2.2, panels=max(1, len(known)), same_scale=False)
    for axes, name in zip(panels, known, strict=False):
        for curve, look in zip(curves, _looks(len(curves)), strict=True):
            axes.plot(curve.epochs, curve.values[name], label=curve.name, **look)
        if name in _ASLEEP:
            axes.axhline(_ASLEEP[name], color=GREY, linestyle=":", linewidth=0.8)
        axes.set(title=ACTIVITIES[name], xlabel="epoch")
        lowest = min(np.nanmin(curve.values[name], initial=0.0) for curve in curves)
        axes.set_ylim(min(0.0, 1.05 * lowest), 1.05 * axes.get_ylim()[1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return to_svg(figure, f"Activity of the dynamics in {len(curves)} trainings over epochs")


@styled
def learning_curves(curves: Sequence[LearningCurve], *, loss: str = "loss") -> str:
    """Training and validation loss over epochs, side by side, with the chosen epoch of each training marked.

    Up to seven trainings are named and coloured; more are drawn alike, since only their bundle can be read.

    Args:
        curves: One training each (folds, seeds).
        loss: Name and unit of the loss for the axis, for example ``"loss (mean absolute error, score)"``.

    Raises:
        ArgumentError: If there is no training.

    Examples:
        >>> losses = np.array([1.0, 0.6, 0.5])
        >>> learning_curves([LearningCurve("seed 0", np.arange(3), losses, losses + 0.1, 2)])[:4]
        '<svg'
    """
    require(len(curves) > 0, "Argument `curves` must hold at least one training, but it is empty.")
    figure, (left, right) = new_figure(7.0, 2.9, panels=2)
    for curve, look in zip(curves, _looks(len(curves)), strict=True):
        left.plot(curve.epochs, curve.train_loss, label=curve.name, **look)
        right.plot(curve.epochs, curve.valid_loss, label=curve.name, **look)
        if curve.chosen_epoch is not None:
            chosen = np.flatnonzero(curve.epochs == curve.chosen_epoch)
            (dot,) = right.plot(curve.epochs[chosen], curve.valid_loss[chosen], **look)
            dot.set(linestyle="none", marker="o", markeredgecolor="white")
    left.set(title="Training", xlabel="epoch", ylabel=loss)
    right.set(title="Validation (dot: chosen epoch)", xlabel="epoch")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if 1 < len(curves) <= MOST_NAMED_CURVES:
        right.legend(loc="upper right")
    return to_svg(figure, f"Learning curves of {len(curves)} trainings: {loss} over epochs")


def _looks(number: int) -> list[dict[str, Any]]:
    """Return how each of some curves is drawn."""
    if number > MOST_NAMED_CURVES:
        return [{"color": BLUE, "alpha": 0.35}] * number
    return [
        {"color": PALETTE[index], "alpha": 0.9, "linestyle": DASHES[index % len(DASHES)]}
        for index in range(number)
    ]


@styled
def predicted_against_true(
    labels: Float[np.ndarray, "sample"],
    predictions: Float[np.ndarray, "sample"],
    *,
    low: float,
    high: float,
    unit: str = "score",
) -> str:
    """Predicted against true score, with the line on which they are equal; density where points are many.

    Args:
        labels: True scores.
        predictions: Predicted scores.
        low: Lowest possible score.
        high: Highest possible score.
        unit: Unit of the score for both axes.

    Raises:
        ArgumentError: If there is no sample.

    Examples:
        >>> predicted_against_true(np.array([-1.0, 2.0]), np.array([-0.5, 1.0]), low=-3.0, high=3.0)[:4]
        '<svg'
    """
    require(len(labels) > 0, "Argument `labels` must hold at least one sample, but it is empty.")
    margin = 0.05 * (high - low)
    bottom = min(low, float(predictions.min())) - margin
    top = max(high, float(predictions.max())) + margin
    figure, (axes,) = new_figure(4.4, 3.8)
    if len(labels) > MOST_POINTS:
        extent = (low - margin, high + margin, bottom, top)
        cells = axes.hexbin(labels, predictions, gridsize=32, mincnt=1, cmap="Blues", extent=extent)
        figure.colorbar(cells, ax=axes, label="samples per cell")
    else:
        axes.plot(labels, predictions, "o", color=BLUE, alpha=0.35, markersize=4, markeredgewidth=0)
    axes.plot([low, high], [low, high], "--", color=VERMILLION, label="predicted = true")
    axes.set(
        xlim=(low - margin, high + margin),
        ylim=(bottom, top),
        xlabel=f"true {unit}",
        ylabel=f"predicted {unit}",
        title=f"{len(labels)} samples",
    )
    axes.legend(loc="upper left")
    return to_svg(figure, f"Predicted against true {unit} of {len(labels)} samples")


@styled
def confusion_figure(
    counts: Int[np.ndarray, "true predicted"], classes: Sequence[str], label_name: str = ""
) -> str:
    """Confusion matrix: shade and percentage are the share of the true class, with the count below.

    Args:
        counts: Samples of each true class (row) that were given each class (column).
        classes: Names of the classes.
        label_name: What the labels are called where they come from.

    Raises:
        ArgumentError: If counts and names do not fit.

    Examples:
        >>> confusion_figure(np.array([[3, 1], [0, 2]]), ["calm", "happy"])[:4]
        '<svg'
    """
    size = len(classes)
    require(
        size > 0 and counts.shape == (size, size),
        f"Argument `counts` must have shape ({size}, {size}) for {size} classes, but its shape is {counts.shape}.",
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.55 * size
    figure, (axes,) = new_figure(side + 0.8, side)
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in np.ndindex(size, size):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{share:.0%}\n{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if share > 0.55 else "black",
        )
    names = [plain(name, longest=16) for name in classes]
    axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), names)
    called = f" ({plain(label_name, longest=40)})" if label_name else ""
    axes.set(xlabel="predicted class", ylabel=f"true class{called}")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return to_svg(figure, f"Confusion matrix of {int(counts.sum())} samples in {size} classes")


@styled
def coverage_curve(curve: Mapping[float, float]) -> str:
    """How many test labels lie in the intervals, or sets, of each level.

    Points on the dashed line mean that the level is kept; below it the model is too sure.

    Args:
        curve: Level → share of labels.

    Examples:
        >>> coverage_curve({0.5: 0.55, 0.9: 0.91})[:4]
        '<svg'
    """
    figure, (axes,) = new_figure(4.4, 3.6)
    axes.plot([0, 1], [0, 1], "--", color=VERMILLION, label="as stated")
    axes.plot(list(curve), list(curve.values()), "o-", color=BLUE, label="on the test samples")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="level", ylabel="share of labels inside")
    axes.legend(loc="best")
    return to_svg(figure, f"Share of test labels inside, at {len(curve)} levels")


def learning_curve_figure(run: RunResult) -> str | None:
    """Draw the losses of every fold; None for a model that has nothing to train."""
    curves = [
        LearningCurve(
            plain(f"fold {fold}"),
            *(_column(rows, name) for name in ("epoch", "train_loss", "valid_loss")),
            chosen_epoch=run.best_epochs.get(fold),
        )
        for fold, rows in run.histories.items()
        if rows
    ]
    return learning_curves(curves) if curves else None


def activity_figure(run: RunResult) -> str | None:
    """Draw how much the learned dynamics do, epoch by epoch; None where that was not recorded."""
    curves = [
        ActivityCurve(
            plain(f"fold {fold}"),
            _column(rows, "epoch"),
            {name: _column(rows, f"dynamics_{name}") for name in ACTIVITIES},
        )
        for fold, rows in run.histories.items()
        if rows and any(f"dynamics_{name}" in rows[0] for name in ACTIVITIES)
    ]
    return activity_curves(curves) if curves else None


def regression_figure(run: RunResult) -> str:
    """Draw predicted against true scores of a run of a regression task."""
    name = plain(run.summary.data.label_name, longest=40)
    return predicted_against_true(
        run.labels,
        run.outputs[:, 0],
        low=run.task.low,
        high=run.task.high,
        unit=f"score ({name})" if name else "score",
    )


def _column(rows: list[dict[str, float]], name: str) -> np.ndarray:
    return np.array([row.get(name, np.nan) for row in rows], dtype=np.float64)
