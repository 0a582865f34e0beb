"""From the numbers of all fits to what the registration asks: means, counts, tests and verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from preregistered.parts import EVALUATION, chosen_settings
from preregistered.stores import samples_of
from qinn.evaluation.paired_tests import holm_correction, paired_test

LEVEL = 0.05
_MOST_PATTERNS = 2**14

Result = Mapping[str, Any]


def rows_of(results: Sequence[Result], design: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per phase, variant, cell and trial: what was trained, how it went, over its seeds and folds.

    Args:
        results: Of the fits that count.
        design: The part's section of the design.
    """
    keys = dict.fromkeys((one["phase"], one["variant"], one["cell"], one["trial"]) for one in results)
    rows = []
    for key in keys:
        phase, variant, cell, trial = key
        own = [one for one in results if (one["phase"], one["variant"], one["cell"], one["trial"]) == key]
        row: dict[str, Any] = {
            "phase": phase,
            "variant": variant,
            "cell": cell,
            "trial": trial,
            "parameters": own[0]["parameters"],
            "epochs": own[0]["epochs"],
            "fits": len(own),
            "diverged": sum(one["failed"] is not None for one in own),
            "cpu_seconds": median(one["cpu_seconds"] for one in own),
            "valid": _summary(own, lambda one: one["valid"]),
            "tests": {
                name: _summary(own, lambda one, name=name: one["tests"].get(name, {}))
                for name in next((one["tests"] for one in own if one["tests"]), {})
            },
            "dynamics": _mean_of([one["dynamics"] for one in own if one["dynamics"]]),
        }
        if "solved" in design:
            row["solved"] = sum(one["valid"].get("accuracy", 0) > design["solved"] for one in own)
            row["each"] = {
                name: [one["tests"].get(name, {}).get("accuracy") for one in own] for name in row["tests"]
            }
        rows.append(row)
    return rows


def stream_contrasts(results: Sequence[Result], test: str) -> dict[str, Any]:
    """Compare every cell with the first on one test, seed by seed: exact sign flips, Holm's correction.

    Args:
        results: Of the fits that count.
        test: Name of the test.

    Returns:
        Variant → cell → mean difference of accuracies (first minus cell), p-value, corrected p-value.
    """
    contrasts: dict[str, Any] = {}
    own = [one for one in results if one["phase"] == EVALUATION]
    for variant in dict.fromkeys(one["variant"] for one in own):
        cells = dict.fromkeys(one["cell"] for one in own if one["variant"] == variant)
        values = {
            cell: np.array(
                [
                    one["tests"].get(test, {}).get("accuracy", 0.0)
                    for one in own
                    if one["cell"] == cell and one["variant"] == variant
                ]
            )
            for cell in cells
        }
        first, *others = cells
        raw = {cell: sign_flip_p_value(values[first] - values[cell]) for cell in others}
        corrected = holm_correction(raw)
        contrasts[variant] = {
            cell: {
                "difference": float((values[first] - values[cell]).mean()),
                "p_value": raw[cell],
                "p_value_holm": corrected[cell],
            }
            for cell in others
        }
    return contrasts


def sign_flip_p_value(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the mean of paired differences under random signs; exact up to 14 of them.

    Example:
        >>> sign_flip_p_value(np.array([1.0, 1.0, 1.0, 1.0]))
        0.125
    """
    number = len(differences)
    if 2**number <= _MOST_PATTERNS:
        signs = np.array(list(product((1, -1), repeat=number)))
    else:
        signs = np.random.default_rng(0).choice((1, -1), size=(_MOST_PATTERNS, number))
        signs[0] = 1
    means = np.abs(signs @ differences)
    return float((means >= abs(differences.sum()) - 1e-12).mean())


def group_tests(
    results: Sequence[Result], design: Mapping[str, Any], work: Path, metrics: Sequence[str]
) -> dict[str, Any]:
    """Compare cells with a reference on the same test samples, whole groups swapped, with a test of equivalence.

    Equivalent within a margin means that the 90 % interval of the difference lies within it (two one-sided tests at
    5 %).

    Args:
        results: Of the fits that count, with outputs.
        design: The part's section of the design, with ``margin`` of its first metric and the cell
            that is the ``reference``, one for all or one for each variant.
        work: Folder of the stores.
        metrics: Names of the metrics.
    """
    found: dict[str, Any] = {}
    for variant in dict.fromkeys(one["variant"] for one in results):
        own = [one for one in results if one["variant"] == variant and not one["failed"]]
        section = {**design, **design.get("variants", {}).get(variant, {})}
        reference = section["reference"]
        source = {"kind": "store", "data": {**design.get("data", {}), **section["data"]}}
        test = samples_of(source, work).tests["test"]
        outputs = {
            cell: np.array([one["outputs"]["test"] for one in own if one["cell"] == cell])
            for cell in section["cells"]
        }
        tests, narrow = {}, {}
        for cell, values in outputs.items():
            if cell == reference or len(values) != len(outputs[reference]):
                continue
            given = (test.task, test.labels, values, outputs[reference])
            tests[cell] = paired_test(*given, groups=test.groups)
            narrow[cell] = paired_test(*given, groups=test.groups, level=0.9)
        found[variant] = {}
        for metric in metrics:
            corrected = holm_correction({cell: one[metric].p_value for cell, one in tests.items()})
            found[variant][metric] = {
                cell: {**asdict(one[metric]), "p_value_holm": corrected[cell]} for cell, one in tests.items()
            }
        if "margin" in design:
            first, margin = metrics[0], design["margin"]
            for cell, one in narrow.items():
                low, high = one[first].low, one[first].high
                inside = low is not None and high is not None and -margin < low and high < margin
                found[variant][first][cell]["equivalent"] = inside
    return found


def failures(results: Sequence[Result], design: Mapping[str, Any]) -> dict[str, Any]:
    """Return which share of the fits failed: diverged, or worse on validation than the registration allows.

    Args:
        results: Of the fits that count.
        design: The part's section of the design: by variant ``failed_below``, a number, or ``failed_below_share`` of
            the best median over trials of the cell ``none_cell``.
    """
    found: dict[str, Any] = {}
    for variant, section in design["variants"].items():
        own = [one for one in results if one["variant"] == variant]
        bound = section.get("failed_below")
        if bound is None:
            cell = section["none_cell"]
            bound = section["failed_below_share"] * max(
                median(
                    one["valid"].get("accuracy", 0.0)
                    for one in own
                    if (one["cell"], one["trial"]) == (cell, trial)
                )
                for trial in dict.fromkeys(one["trial"] for one in own)
            )
        shares: dict[str, dict[str, list[bool]]] = {}
        for one in own:
            failed = one["failed"] is not None or one["valid"]["accuracy"] < bound
            shares.setdefault(one["cell"], {}).setdefault(one["trial"], []).append(failed)
        high = section.get("high", design.get("high", []))
        found[variant] = {
            "bound": bound,
            "cells": {
                cell: {
                    "by trial": {trial: float(np.mean(values)) for trial, values in by_trial.items()},
                    "high rates": float(np.mean([by_trial[trial] for trial in high])),
                }
                for cell, by_trial in shares.items()
            },
        }
    return found


def likelihoods(results: Sequence[Result], design: Mapping[str, Any], work: Path) -> dict[str, Any]:
    """Compare the negative log-likelihood of two cells on the test samples of all folds, by groups.

    Args:
        results: Of the fits that count, with outputs (logits).
        design: The part's section of the design; its two cells, a minus b.
        work: Folder of the stores.
    """
    first, second = design["cells"]
    by_group: dict[str, list[float]] = {}
    folds = []
    for fold in range(design["folds"]):
        test = samples_of({"kind": "store", "data": design["data"], "fold": fold}, work).tests["test"]
        losses = {}
        for cell in (first, second):
            runs = [
                one for one in results if (one["cell"], one["fold"]) == (cell, fold) and not one["failed"]
            ]
            outputs = np.array([one["outputs"]["test"] for one in runs])
            shifted = outputs - outputs.max(-1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
            losses[cell] = -logs[:, np.arange(len(test)), np.asarray(test.labels, int)].mean(0)
        difference = losses[first] - losses[second]
        folds.append(float(difference.mean()))
        groups = test.groups if test.groups is not None else np.array(test.ids)
        for group, value in zip(groups, difference, strict=True):
            by_group.setdefault(str(group), []).append(float(value))
    means = np.array([fmean(values) for values in by_group.values()])
    rng = np.random.default_rng(0)
    drawn = means[rng.integers(0, len(means), (10_000, len(means)))].mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "difference": float(means.mean()),
        "low": float(low),
        "high": float(high),
        "p_value": sign_flip_p_value(means),
        "groups": len(means),
        "folds": folds,
    }


def contents_of(
    part: str,
    design: Mapping[str, Any],
    selection: Sequence[Result],
    counted: Sequence[Result],
    work: Path,
) -> dict[str, Any]:
    """Return everything that is kept of a part.

    Args:
        part: Its name.
        design: Its section of the design.
        selection: Results of the fits that chose.
        counted: Results of the fits that count.
        work: Folder of fits and stores.
    """
    chosen = chosen_settings(design, selection)
    contents: dict[str, Any] = {
        "chosen": {" · ".join(filter(None, key)): trial for key, trial in chosen.items()},
        "selection": rows_of(selection, {}),
        "rows": rows_of(counted, design),
        "cpu_hours": round(sum(one["cpu_seconds"] for one in [*selection, *counted]) / 3600, 2),
    }
    analysis = design.get("analysis", {})
    if "contrast" in analysis:
        contents["contrasts"] = stream_contrasts(counted, analysis["contrast"])
    if "paired" in analysis:
        contents["paired"] = group_tests(counted, design, work, analysis["paired"])
    if analysis.get("failures"):
        contents["failures"] = failures(counted, design)
    if analysis.get("likelihood"):
        contents["likelihood"] = likelihoods(counted, design, work)
    return contents


def _summary(own: Sequence[Result], values_of: Any) -> dict[str, Any]:
    names = dict.fromkeys(name for one in own for name in values_of(one))
    found = {}
    for name in names:
        values = [values_of(one).get(name) for one in own]
        known = [value for value in values if value is not None]
        if known:
            sd = stdev(known) if len(known) > 1 else None
            found[name] = {"mean": fmean(known), "sd": sd, "n": len(known)}
    return found


def _mean_of(parts: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    names: Iterable[str] = dict.fromkeys(name for part in parts for name in part)
    means = {}
    for name in names:
        known = [value for part in parts if (value := part.get(name)) is not None]
        if known:
            means[name] = fmean(known)
    return means
