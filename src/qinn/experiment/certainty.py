"""What is known of how sure predictions are, in words: of which errors intervals are made, or why there are none."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qinn.evaluation.conformal import (
    HeldOut,
    check_level,
    intervals,
)
from qinn.results.calibration import FILE as CALIBRATION
from qinn.results.calibration import (
    Calibration,
    CalibrationRecord,
)
from qinn.results.folder import RunFolder
from qinn.results.number_text import counted
from qinn.results.summary import PUBLISHED
from qinn.task import Task


def why_uncalibrated(folder: Path, runs: Sequence[RunFolder]) -> str:
    """Say why nothing is known of the errors on samples held out.

    Args:
        folder: The run, or the model's folder.
        runs: The run, or those of all seeds.
    """
    if len(runs) == 1 and (folder.absolute().parent / CALIBRATION).is_file():
        return (
            "This is one seed of a model whose errors are kept of the mean of all its seeds, so nothing says how far "
            "its own predictions are off; predict with the folder that it lies in, or `qinn calibrate` it on labelled "
            "samples of your own."
        )
    if runs[0].summary().status == PUBLISHED:
        return (
            f"The published model has no `{CALIBRATION}`, so nothing says how far its predictions are off; `qinn "
            "calibrate` it on labelled samples of your own."
        )
    if len(runs) > 1:
        return (
            f"The {len(runs)} seeds did not all hold the same samples out, so nothing says how far their mean is off; "
            "`qinn calibrate` the model's folder on labelled samples of your own, or predict with one seed."
        )
    return (
        "The run held no sample out, so nothing says how far its predictions are off; `qinn calibrate` it on "
        "labelled samples of your own."
    )


def said_of_certainty(
    calibration: Calibration | str, task: Task, level: float, absent: Sequence[str], coupling: float
) -> list[str]:
    """Say what intervals and sets are made of, or why there are none.

    Args:
        calibration: The run's errors on samples held out, or why nothing is known of them.
        task: What is predicted.
        level: Share of new samples whose label is to be held.
        absent: Modalities to do without.
        coupling: Factor of what couples the modalities.
    """
    if isinstance(calibration, str):
        return [calibration]
    if absent or coupling != 1:
        return [
            "There are no intervals: the run's errors on samples held out are those of the model as it was trained, "
            "with every modality."
        ]
    if level > calibration.held_out.smallest_level_missed():
        return [
            f"There are too few samples held out ({len(calibration.held_out)}) for intervals of level {level:g}; ask "
            f"for at most {_rounded_down(calibration.held_out.smallest_level_missed()):g}, or `qinn calibrate` the run."
        ]
    what = {
        "regression": "Intervals",
        "classification": "Sets of classes",
        "multilabel": "Sets (absent, present or both) of each label alone",
    }[task.kind]
    said = f"{what} of level {level:g} are made of the errors of {calibration.source}"
    return [f"{said}{_lacking(calibration.without, several=task.kind == 'multilabel')}."]


def _lacking(without: Sequence[str], *, several: bool) -> str:
    """Say which classes, or which of several labels, no sample held out has."""
    if not without:
        return ""
    one, more = ("label", "labels") if several else ("class", "classes")
    named = ", ".join(f"`{name}`" for name in without)
    return (
        f"; none of them has the {one if len(without) == 1 else more} {named}, about which they say nothing"
    )


def _rounded_down(level: float) -> float:
    """Return a level of three digits that is not above a level."""
    return math.floor(level * 1000 + 1e-9) / 1000


def certainty_of(record: CalibrationRecord, level: float) -> str:
    """Say what a calibration comes to: half the width of intervals, or the probability from which a class is held.

    Args:
        record: The calibration.
        level: Share of new samples whose label is to be held.
    """
    check_level(level)
    if record.without:
        lacking = _lacking(record.without, several=record.by_label is not None)
        return certainty_of(replace(record, without=None), level) + lacking
    if record.by_label is not None:
        return "; ".join(
            f"{name}: {certainty_of(replace(record, errors=errors, by_label=None), level)}"
            for name, errors in record.by_label.items()
        )
    held_out = HeldOut(np.array(record.errors))
    what = f"{100 * level:g}% of {counted(len(held_out), 'sample')}" + (
        "" if record.num_groups is None else f" of {counted(record.num_groups, 'group')}"
    )
    if level > held_out.smallest_level_missed():
        return f"too few samples ({len(held_out)}) for intervals of level {level:g}"
    half = float(intervals(np.zeros((1, 1)), held_out, level)[1][0])
    if record.classes:
        return f"{what}: a class is in the set from a probability of {max(0.0, 1 - half):.3g}"
    return f"{what}: the score ± {half:.3g}"
