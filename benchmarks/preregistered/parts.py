"""From the registered design to fits: first those that choose a setting for every cell, then those that count."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from preregistered.fits import Fit, chosen_trials

SELECTION, EVALUATION, EQUAL_CPU = "selection", "evaluation", "equal CPU"

# The larger the better; every other metric that a part may select by is an error.
_ACCURACIES = ("accuracy", "corr")
_MOST_EPOCHS = 40

# Whatever stands in a design is meant to do something.
_KEYS = {
    "analysis",
    "cells",
    "data",
    "encoder",
    "equal_cpu",
    "failed_below",
    "failed_below_share",
    "folds",
    "fraction",
    "high",
    "keep_outputs",
    "kind",
    "margin",
    "monitor",
    "none_cell",
    "rates",
    "reference",
    "seeds",
    "selection_seeds",
    "solved",
    "tests",
    "training",
    "trials",
    "variants",
}


def selection_fits(part: str, design: Mapping[str, Any]) -> list[Fit]:
    """Return the fits that choose each cell's setting by validation values; none where nothing is chosen.

    Args:
        part: Name of the part.
        design: Its section of the design.
    """
    return [
        _fit(part, SELECTION, variant, section, cell, trial, seed, fold)
        for variant, section in _variants(design)
        for cell in section["cells"]
        for trial in _trials(section)
        for seed in section.get("selection_seeds", ())
        for fold in range(section.get("folds", 1))
    ]


def evaluation_fits(
    part: str, design: Mapping[str, Any], selection: Sequence[Mapping[str, Any]]
) -> list[Fit]:
    """Return the fits that count, every cell with its chosen setting, or with all where nothing is chosen.

    Args:
        part: Name of the part.
        design: Its section of the design.
        selection: Results of `selection_fits`.
    """
    chosen = chosen_settings(design, selection)
    fits = []
    for variant, section in _variants(design):
        for cell in section["cells"]:
            trials = [chosen[variant, cell]] if chosen else list(_trials(section))
            fits += [
                _fit(part, EVALUATION, variant, section, cell, trial, seed, fold)
                for trial in trials
                for seed in section["seeds"]
                for fold in range(section.get("folds", 1))
            ]
    return fits


def equal_cpu_fits(part: str, design: Mapping[str, Any], selection: Sequence[Mapping[str, Any]]) -> list[Fit]:
    """Return the fits in which every cell has as much CPU time as the one that the design names.

    Args:
        part: Name of the part.
        design: Its section of the design; without ``equal_cpu`` there are none.
        selection: Results of `selection_fits`, whose CPU times decide how many epochs a cell gets.
    """
    if "equal_cpu" not in design:
        return []
    chosen = chosen_settings(design, selection)
    fits = []
    for variant, section in _variants(design):
        epochs = equal_cpu_epochs(section, [one for one in selection if one["variant"] == variant])
        for cell, number in epochs.items():
            if cell == section["equal_cpu"]:
                continue
            longer = {**section, "training": {**section["training"], "max_epochs": number}}
            fits += [
                _fit(part, EQUAL_CPU, variant, longer, cell, chosen[variant, cell], seed, 0)
                for seed in section["seeds"]
            ]
    return fits


def equal_cpu_epochs(section: Mapping[str, Any], selection: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return cell → epochs that take as much CPU time as the cell that `section` names takes for its own.

    Args:
        section: A variant's design.
        selection: Results of its selection.
    """
    seconds = {
        cell: median(one["cpu_seconds"] for one in selection if one["cell"] == cell)
        for cell in section["cells"]
    }
    own = section["training"]["max_epochs"]
    budget = seconds[section["equal_cpu"]]
    return {cell: max(1, min(_MOST_EPOCHS, round(own * budget / spent))) for cell, spent in seconds.items()}


def chosen_settings(
    design: Mapping[str, Any], selection: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """Return (variant, cell) → the chosen trial; empty where nothing is chosen."""
    monitor = design.get("monitor", "")
    return chosen_trials(selection, monitor, larger_is_better=monitor in _ACCURACIES) if selection else {}


def _variants(design: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each variant's whole section: what the part says, and over it what the variant says."""
    for name, differing in design.get("variants", {"": {}}).items():
        if unknown := (set(design) | set(differing)) - _KEYS:
            raise ValueError(f"A design must have only known keys, but it has `{min(unknown)}`.")
        yield name, {**design, **differing, "data": {**design.get("data", {}), **differing.get("data", {})}}


def _trials(section: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    if "trials" in section:
        return section["trials"]
    return {f"rate {rate:g}": {"training": {"learning_rate": rate}} for rate in section["rates"]}


def _fit(
    part: str,
    phase: str,
    variant: str,
    section: Mapping[str, Any],
    cell: str,
    trial: str,
    seed: int,
    fold: int,
) -> Fit:
    tried = _trials(section)[trial]
    source: dict[str, Any] = {"kind": section["kind"], "data": section["data"]}
    if section["kind"] == "streams":
        # What is chosen by validation needs no test samples.
        source |= {"tests": {} if phase == SELECTION else section.get("tests", {}), "seed": seed}
    else:
        source |= {"fold": fold, **({"fraction": section["fraction"]} if "fraction" in section else {})}
        source |= {"seed": seed} if "fraction" in section else {}
    encoder = dict(section["encoder"])
    for key, value in tried.get("encoder", {}).items():
        encoder[key] = {**encoder.get(key, {}), **value} if isinstance(value, Mapping) else value
    model = dict(section["cells"][cell])
    # As in a configuration, where a model may differ in its training.
    training = {**section["training"], **model.pop("training", {}), **tried.get("training", {})}
    return Fit(
        part=part,
        phase=phase,
        variant=variant,
        cell=cell,
        trial=trial,
        seed=seed,
        fold=fold,
        source=source,
        model=model,
        encoder=encoder,
        training=training,
        keep_outputs=bool(section.get("keep_outputs", False)) and phase != SELECTION,
    )
