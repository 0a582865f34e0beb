"""The figures of runs and comparisons: which data go into which figure."""

from collections.abc import Sequence

import numpy as np

from qinn.evaluation.conventions import metrics_of
from qinn.report import figures
from qinn.report.drawings import drawn, plain
from qinn.results.comparison import ComparisonResult
from qinn.results.run import RunResult


def forest_figures(result: ComparisonResult, names: Sequence[str]) -> dict[str, str]:
    """Draw every model's mean and interval, one panel per metric.

    Returns:
        Description → SVG text.
    """
    models, known = result.models, metrics_of(result.task)

    def panel(name: str) -> str:
        entries = [entry.metrics[name] for entry in models.values()]
        return figures.forest_plot(
            [plain(label) for label in models],
            [entry.mean for entry in entries],
            [(entry.low, entry.high) for entry in entries],
            metric=name,
            better=known[name].direction,
            reference=plain(result.reference),
        )

    return {
        f"{name} of every model with its interval": drawn(lambda name=name: panel(name))
        for name in names
        if name in known
    }


def learning_curve_figure(run: RunResult) -> str | None:
    """Draw the losses of every fold; None for a model that has nothing to train."""
    chosen = run.best_epochs
    curves = [
        figures.LearningCurve(
            name=plain(f"fold {fold}"),
            epochs=_column(rows, "epoch"),
            train_loss=_column(rows, "train_loss"),
            valid_loss=_column(rows, "valid_loss"),
            chosen_epoch=chosen.get(fold),
        )
        for fold, rows in run.histories.items()
        if rows
    ]
    return drawn(lambda: figures.learning_curves(curves)) if curves else None


def activity_figure(run: RunResult) -> str | None:
    """Draw how much the learned dynamics do, epoch by epoch; None where that was not recorded."""
    curves = [
        figures.ActivityCurve(
            name=plain(f"fold {fold}"),
            epochs=_column(rows, "epoch"),
            values={name: _column(rows, f"dynamics_{name}") for name in figures.ACTIVITIES},
        )
        for fold, rows in run.histories.items()
        if rows and any(f"dynamics_{name}" in rows[0] for name in figures.ACTIVITIES)
    ]
    return drawn(lambda: figures.activity_curves(curves)) if curves else None


def regression_figure(run: RunResult) -> str:
    """Draw predicted against true scores.

    Args:
        run: A run of a regression task.
    """
    return drawn(
        lambda: figures.predicted_against_true(
            run.labels, run.outputs[:, 0], low=run.task.low, high=run.task.high
        )
    )


def calibration_figure(run: RunResult) -> str | None:
    """Draw the error against the spread over trajectories; None for a deterministic model.

    Args:
        run: A run of a regression task.
    """
    if run.spread is None or not (run.spread > 0).any():
        return None
    spread = run.spread[:, 0]
    return drawn(lambda: figures.spread_calibration(spread, run.outputs[:, 0] - run.labels))


def confusion_figure(run: RunResult) -> str:
    """Draw the confusion matrix.

    Args:
        run: A run of a classification task.
    """
    return drawn(
        lambda: figures.confusion_figure(
            run.confusion(), [plain(name, longest=16) for name in run.task.classes]
        )
    )


def _column(rows: list[dict[str, float]], name: str) -> np.ndarray:
    return np.array([row.get(name, np.nan) for row in rows], dtype=np.float64)
