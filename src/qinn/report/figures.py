"""Figures as SVG text: pure functions of arrays, without a display and without pyplot's global state.

Every figure states its units, is readable at 600 to 700 pixels and uses the Okabe–Ito palette, which
colour-blind readers can tell apart; nothing is told by colour alone. The SVG stands by itself (letters are
outlines), carries its description for screen readers, and is the same for the same input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int, Real
from matplotlib.ticker import MaxNLocator

from qinn.explain.activity import ASLEEP, ASLEEP_ALONG
from qinn.report.canvas import (
    BLUE,
    GREY,
    PALETTE,
    READING,
    STYLE,
    VERMILLION,
    check_columns,
    draw_distributions,
    new_figure,
    require,
    to_svg,
)

MOST_POINTS = 1500
"""More points than this are drawn as density."""

MOST_NAMED_CURVES = len(PALETTE)
"""More curves than this are drawn alike."""

DASHES = ("-", "--", "-.", ":")
"""Line styles, so that curves differ by more than colour."""


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
    named = len(curves) <= MOST_NAMED_CURVES
    with mpl.rc_context(STYLE):
        figure, panels = new_figure(7.0, 2.2, panels=max(1, len(known)), same_scale=False)
        for axes, name in zip(panels, known, strict=False):
            for index, curve in enumerate(curves):
                look: dict[str, Any] = {"color": BLUE, "alpha": 0.35}
                if named:
                    look = {"color": PALETTE[index], "alpha": 0.9, "linestyle": DASHES[index % len(DASHES)]}
                axes.plot(curve.epochs, curve.values[name], label=curve.name, **look)
            if name in _ASLEEP:
                axes.axhline(_ASLEEP[name], color=GREY, linestyle=":", linewidth=0.8)
            axes.set(title=ACTIVITIES[name], xlabel="epoch")
            lowest = min(np.nanmin(curve.values[name], initial=0.0) for curve in curves)
            axes.set_ylim(min(0.0, 1.05 * lowest), 1.05 * axes.get_ylim()[1])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return to_svg(figure, f"Activity of the dynamics in {len(curves)} trainings over epochs")


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
    named = len(curves) <= MOST_NAMED_CURVES
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(7.0, 2.9, panels=2)
        for index, curve in enumerate(curves):
            look: dict[str, Any] = {"color": BLUE, "alpha": 0.35}
            if named:
                look = {"color": PALETTE[index], "alpha": 0.9, "linestyle": DASHES[index % len(DASHES)]}
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
        if named and len(curves) > 1:
            right.legend(loc="upper right")
        return to_svg(figure, f"Learning curves of {len(curves)} trainings: {loss} over epochs")


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
    with mpl.rc_context(STYLE):
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


def confusion_figure(counts: Int[np.ndarray, "true predicted"], classes: Sequence[str]) -> str:
    """Confusion matrix: shade and percentage are the share of the true class, with the count below.

    Args:
        counts: Samples of each true class (row) that were given each class (column).
        classes: Names of the classes.

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
    with mpl.rc_context(STYLE):
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
        axes.set_xticks(range(size), classes, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), classes)
        axes.set(xlabel="predicted class", ylabel="true class")
        figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
        return to_svg(figure, f"Confusion matrix of {int(counts.sum())} samples in {size} classes")


def forest_plot(
    names: Sequence[str],
    values: Sequence[float | None],
    intervals: Sequence[tuple[float | None, float | None]],
    *,
    metric: str,
    better: str,
    reference: str | None = None,
) -> str:
    """One metric of several models with its intervals, one row per model.

    Args:
        names: Names of the models, from top to bottom.
        values: The metric of each model; None where undefined.
        intervals: Lower and upper end for each model; None where there is no interval.
        metric: Wording of the metric for the axis.
        better: ``"lower"`` or ``"higher"``, whichever is better.
        reference: Model whose value is continued as a dashed line.

    Raises:
        ArgumentError: If the lists differ in length or are empty, or the reference is not among the names.

    Examples:
        >>> rows = [("qinn", 0.7, (0.65, 0.75)), ("text", 0.8, (0.74, 0.86))]
        >>> names, values, intervals = zip(*rows)
        >>> forest_plot(names, values, intervals, metric="MAE (score)", better="lower", reference="text")[:4]
        '<svg'
    """
    require(
        0 < len(names) == len(values) == len(intervals),
        "Arguments `names`, `values` and `intervals` must hold one entry per model, but their lengths are "
        f"{len(names)}, {len(values)} and {len(intervals)}.",
    )
    require(
        reference is None or reference in names,
        f"Argument `reference` must be one of {list(names)}, but it is `{reference}`.",
    )
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(6.6, 1.0 + 0.34 * len(names))
        for row, (name, value, (low, high)) in enumerate(zip(names, values, intervals, strict=True)):
            color = VERMILLION if name == reference else BLUE
            if value is None:
                axes.annotate(
                    "undefined", (0.02, row), xycoords=("axes fraction", "data"), va="center", color=GREY
                )
                continue
            if low is not None and high is not None:
                axes.plot([low, high], [row, row], "|-", markersize=8, color=color)
            axes.plot(value, row, "s" if name == reference else "o", markersize=6, color=color)
            if name == reference:
                axes.axvline(value, linestyle="--", linewidth=1.0, zorder=0, color=color)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        arrow = "← better" if better == "lower" else "better →"
        axes.set_xlabel(f"{metric}   ({arrow})")
        return to_svg(figure, f"{metric} of {len(names)} models with intervals; {better} is better")


def entropy_distributions(
    cuts: Sequence[str],
    entropy: Float[np.ndarray, "sample cut"],
    maximum: Float[np.ndarray, "cut"],
) -> str:
    """Entanglement entropy of every cut over the samples, with the largest possible value marked.

    Args:
        cuts: Names of the cuts.
        entropy: Entanglement entropy of each sample and cut, bits.
        maximum: Largest possible entropy of each cut, log₂ min(d_A, d_B), bits.

    Raises:
        ArgumentError: If arrays and names do not fit.

    Examples:
        >>> entropy_distributions(["text | audio"], np.array([[0.2], [0.5]]), np.array([1.0]))[:4]
        '<svg'
    """
    check_columns("entropy", entropy, cuts)
    require(
        len(maximum) == len(cuts),
        f"Argument `maximum` must hold one value for each of {len(cuts)} cuts, but it holds {len(maximum)}.",
    )
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(6.6, 1.2 + 0.5 * len(cuts))
        draw_distributions(axes, cuts, entropy)
        rows = np.arange(len(cuts))
        axes.vlines(
            maximum, rows - 0.4, rows + 0.4, color=VERMILLION, linestyle="--", label="largest possible"
        )
        top = float(maximum.max()) or 1.0
        axes.set_xlim(-0.03 * top, 1.05 * top)
        axes.set(xlabel="entanglement entropy (bits)", title=READING)
        figure.legend(loc="outside lower right")
        return to_svg(
            figure, f"Entanglement entropy of {len(cuts)} cuts over {len(entropy)} samples, in bits"
        )


def counterfactual_shifts(
    names: Sequence[str],
    shifts: Float[np.ndarray, "sample counterfactual"],
    *,
    unit: str = "score",
) -> str:
    """How far each sample's output moves when a part of the model or of the input is removed.

    Args:
        names: What is removed, for example ``"no jumps"``.
        shifts: Output without it minus output with it.
        unit: Unit of the output.

    Raises:
        ArgumentError: If array and names do not fit.

    Examples:
        >>> counterfactual_shifts(["no jumps"], np.array([[0.2], [-0.1]]))[:4]
        '<svg'
    """
    check_columns("shifts", shifts, names)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(6.6, 1.1 + 0.45 * len(names))
        axes.axvline(0.0, color=VERMILLION, linestyle="--", linewidth=1.0)
        draw_distributions(axes, names, shifts)
        axes.set(xlabel=f"change of the {unit} when removed", title=READING)
        return to_svg(figure, f"Change of the {unit} of {len(shifts)} samples under {len(names)} removals")


def mutual_information_distributions(
    pairs: Sequence[str],
    information: Float[np.ndarray, "sample pair"],
    *,
    quantity: str = "quantum mutual information",
) -> str:
    """Quantum mutual information of every pair of modalities over the samples, or another measure in bits.

    Args:
        pairs: Names of the pairs.
        information: Mutual information of each sample and pair on the averaged state, bits.
        quantity: Name of the measure for the axis.

    Raises:
        ArgumentError: If array and names do not fit.

    Examples:
        >>> mutual_information_distributions(["text : audio"], np.array([[0.2], [0.4]]))[:4]
        '<svg'
    """
    check_columns("information", information, pairs)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(6.6, 1.1 + 0.45 * len(pairs))
        draw_distributions(axes, pairs, information)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.set(xlabel=f"{quantity} (bits)", title=READING)
        return to_svg(
            figure, f"{quantity.capitalize()} of {len(pairs)} pairs over {len(information)} samples, in bits"
        )


def spread_calibration(
    spread: Float[np.ndarray, "sample"],
    errors: Float[np.ndarray, "sample"],
    *,
    num_bins: int = 8,
    unit: str = "score",
) -> str:
    """Root mean square error against the spread over trajectories, in bins of equally many samples.

    Points on the dashed line mean that the spread is the size of the error; above it the model is too sure.

    Args:
        spread: Standard deviation over the trajectories of each sample.
        errors: Prediction minus label.
        num_bins: Largest number of bins; fewer where there are fewer than 10 samples for each.
        unit: Unit of the score.

    Raises:
        ArgumentError: If no sample has a spread.

    Examples:
        >>> generator = np.random.default_rng(0)
        >>> spread = generator.uniform(0.1, 1.0, 100)
        >>> spread_calibration(spread, spread * generator.normal(size=100))[:4]
        '<svg'
    """
    require(
        bool((spread > 0).any()),
        "Argument `spread` must be positive for some sample, but none is; a deterministic model has none.",
    )
    order = np.argsort(spread, kind="stable")
    bins = np.array_split(order, max(1, min(num_bins, len(order) // 10)))
    mean_spread = np.array([spread[members].mean() for members in bins])
    error = np.array([np.sqrt((errors[members] ** 2).mean()) for members in bins])
    top = 1.08 * float(max(mean_spread.max(), error.max()))
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(4.4, 3.6)
        axes.plot([0, top], [0, top], "--", color=VERMILLION, label="spread = error")
        axes.plot(
            mean_spread, error, "o-", color=BLUE, label=f"bins of about {len(order) // len(bins)} samples"
        )
        axes.set(
            xlim=(0, top),
            ylim=(0, top),
            xlabel=f"spread over trajectories (standard deviation, {unit})",
            ylabel=f"root mean square error ({unit})",
        )
        axes.legend(loc="best")
        return to_svg(figure, f"Error against spread over trajectories of {len(spread)} samples")
