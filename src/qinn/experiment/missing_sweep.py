"""How finished runs bear the loss of modalities: one sweep over missing rates, the same masks for every model."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from qinn.data.files.numerals import number_of
from qinn.data.subsets.absence import Absence, present_modalities
from qinn.data.subsets.subset import Subset
from qinn.destinations import Product, check_destinations, marked
from qinn.digests import file_digest, sealed
from qinn.errors import ArgumentError, CheckpointError, DataError
from qinn.escaping import markdown_code, markdown_text
from qinn.evaluation.conventions import metrics_of
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import probabilities_of
from qinn.evaluation.statistics import bootstrap_intervals, holm_correction, paired_test, summarize_seeds
from qinn.experiment import provenance
from qinn.experiment.comparison import (
    COMPARISON_FILE,
    format_cell,
    read_comparison,
    shown_metrics,
    task_of,
)
from qinn.experiment.evaluation import evaluated_subsets, predict_parts, training_labels
from qinn.experiment.folder import (
    FILES,
    RunFolder,
    check_document,
    check_version,
    digests_of,
    read_json,
    write_json,
    write_text,
)
from qinn.experiment.predictor import Predictor
from qinn.task import Task

FORMAT = "qinn-missing-sweep"
VERSION = 2
"""Version 1 had no digests; it is read, with a note."""
COMMAND = "qinn sweep-missing"
MARK = f"<!-- made by {COMMAND} -->"
"""Last line of its tables and figures."""

SWEEP_FILE = "sweep.json"
TABLE_FILE = "table.md"
FOLDER = "missing"
"""Where a comparison keeps its sweep."""

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class _Samples:
    """What all runs were tested on, in the order of the ids."""

    task: Task
    ids: tuple[str, ...]
    labels: Shaped[np.ndarray, "sample"]
    groups: Shaped[np.ndarray, "sample"] | None


@dataclass(frozen=True)
class _Swept:
    """One run's outputs: (rate, mask, sample, output), and what it says about samples that have nothing."""

    outputs: Float[np.ndarray, "rate mask sample output"]
    empty: Float[np.ndarray, "sample output"]
    training_labels: list[np.ndarray]
    remarks: list[str]


def sweep_missing(
    paths: Sequence[Path | str],
    target: Path | str,
    *,
    rates: Sequence[float] = RATES,
    mask_seeds: Sequence[int] = (0, 1, 2),
    split: str = "test",
    reference: str | None = None,
    num_resamples: int | None = None,
    overwrite: bool = False,
    on_run: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Evaluate runs with modalities taken away at rising rates and write ``sweep.json`` and ``table.md``.

    At rate r every modality of every sample goes with probability r, independently (see `Absence`); samples that
    lose everything stay, and their prediction is the model's prior. Masks depend on the mask seed and the samples'
    ids alone, so that all models and seeds lose the same. Nothing is trained or chosen.

    Args:
        paths: Comparisons (all their runs) and single runs, all on one data set and split.
        target: Folder for the files.
        rates: Missing rates.
        mask_seeds: Seeds of the masks; a metric is the mean over them.
        split: ``"test"`` or ``"valid"``.
        reference: Model that the others are tested against (default: the comparison's, or the first).
        num_resamples: Bootstrap resamples and permutations (default: those of the first run's configuration).
        overwrite: Replace files of the names that are written where another program made them.
        on_run: Called with (runs done, runs in all, label) after each run.

    Returns:
        The content of ``sweep.json``. Per model and rate every metric's mean, its standard deviation over training
        seeds (each averaged over masks) and over masks (each averaged over training seeds), its bootstrap interval,
        and the paired test against the reference; per model under ``empty`` what it says about samples that have
        nothing, beside mean and median of the training labels.

    Raises:
        ArgumentError: If rates or seeds are impossible, a run is named twice, or the reference is unknown.
        CheckpointError: If a folder is no finished run or comparison.
        DataError: If the runs were not tested on the same samples.
        OutputError: If the files, or the figures that will lie beside them, would replace another's.
    """
    started = time.perf_counter()
    _check_options(rates, mask_seeds)
    runs = _find_runs([Path(path) for path in paths])
    first = next(iter(runs.values()))[0]
    check_destinations(target, _products(task_of(first.summary())), overwrite=overwrite, inputs=list(paths))
    config = first.config()
    reference = _reference(reference, runs, paths)
    samples, swept = None, {}
    done, total = 0, sum(map(len, runs.values()))
    for label, folders in runs.items():
        swept[label] = []
        for folder in folders:
            samples, result = _sweep_run(folder, rates, mask_seeds, split, samples)
            swept[label].append(result)
            done += 1
            if on_run is not None:
                on_run(done, total, f"{label}, seed {folder.summary()['seed']}")
    assert samples is not None
    options = {
        "groups": samples.groups,
        "num_resamples": num_resamples or config.evaluation.num_resamples,
        "level": config.evaluation.level,
        "seed": 0,
    }
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": first.summary()["name"],
        "reference": reference,
        "data": first.summary()["data"],
        "split": split,
        "rates": list(rates),
        "mask_seeds": list(mask_seeds),
        "level": config.evaluation.level,
        "num_resamples": options["num_resamples"],
        "num_test": len(samples.ids),
        "num_groups": None if samples.groups is None else len(np.unique(samples.groups)),
        "absent": _shares(first, rates, mask_seeds, split),
        "models": {
            label: {
                "model": runs[label][0].summary()["model"],
                "num_parameters": runs[label][0].summary()["num_parameters"],
                "training": _absences_in_training(runs[label][0]),
                "seeds": [folder.summary()["seed"] for folder in runs[label]],
                "runs_sha256": [file_digest(folder.summary_file) for folder in runs[label]],
                "rates": _metrics_by_rate(samples, swept[label], options),
                "empty": _prior(samples, swept[label]),
            }
            for label in runs
        },
        "paired": {
            label: _tests_by_rate(samples, swept[label], swept[reference], options)
            for label in runs
            if label != reference and len(swept[label]) == len(swept[reference])
        },
        "remarks": list(
            dict.fromkeys(one for results in swept.values() for r in results for one in r.remarks)
        ),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "command": provenance.command(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    _correct(content["paired"], len(rates))
    target = Path(target)
    write_text(target / TABLE_FILE, f"{markdown_tables(content, samples.task)}\n{MARK}\n")
    content = sealed({**content, FILES: digests_of(target, [target / TABLE_FILE])})
    write_json(target / SWEEP_FILE, content)
    return content


def _products(task: Task) -> list[tuple[str, Product]]:
    """Every file that a sweep and its figures may write."""
    figures = [f"{name}.svg" for name in shown_metrics(task)]
    return [
        (SWEEP_FILE, marked(COMMAND, f'"format": "{FORMAT}"')),
        *((name, marked(COMMAND, MARK)) for name in (TABLE_FILE, *figures)),
    ]


def parse_rates(text: str) -> tuple[float, ...]:
    """Return rates that are separated by commas.

    Raises:
        ArgumentError: If a part is no number.

    Examples:
        >>> parse_rates("0, 0.5")
        (0.0, 0.5)
    """
    try:
        return tuple(number_of(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(
            f"Missing rates must be numbers separated by commas, but they are `{text}`."
        ) from None


def read_sweep(folder: Path | str) -> dict[str, Any]:
    """Read the result of a sweep, known to be what was written.

    Raises:
        CheckpointError: If the folder holds none, or it was changed.
    """
    path = Path(folder) / SWEEP_FILE
    if not path.is_file():
        raise CheckpointError(f"`{folder}` holds no finished sweep; run `qinn sweep-missing` first.")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"`{path}` does not describe a sweep; check the path.")
    check_version(path, content, VERSION, remedy="run `qinn sweep-missing` again")
    check_document(path, content, remedy="run `qinn sweep-missing` again")
    return content


def read_own_sweep(folder: Path, comparison: dict[str, Any]) -> dict[str, Any] | None:
    """Read the sweep that a comparison keeps, known to be of its runs; None where it keeps none.

    Args:
        folder: The comparison.
        comparison: Content of its ``comparison.json``.

    Raises:
        CheckpointError: If the sweep is unfinished, was changed, or is of other runs.
    """
    place = folder / FOLDER
    if not place.is_dir() or not any(place.iterdir()):
        return None
    content = read_sweep(place)
    for label, entry in comparison["models"].items():
        swept = content["models"].get(label, {})
        known = dict(zip(swept.get("seeds", ()), swept.get("runs_sha256", ()), strict=False))
        for seed, run in zip(entry["seeds"], entry["runs"], strict=True):
            if seed in known and known[seed] != file_digest(RunFolder(folder / run).summary_file):
                raise CheckpointError(
                    f"The sweep in `{place}` is of another run than `{folder / run}`; run `qinn sweep-missing` again."
                )
    return content


def _check_options(rates: Sequence[float], mask_seeds: Sequence[int]) -> None:
    if not rates or list(rates) != sorted(set(rates)) or not 0 <= rates[0] <= rates[-1] <= 1:
        raise ArgumentError(
            f"Missing rates must be distinct, rising and between 0 and 1, but they are {list(rates)}."
        )
    if not mask_seeds or len(set(mask_seeds)) < len(mask_seeds) or min(mask_seeds) < 0:
        raise ArgumentError(f"Mask seeds must be distinct and 0 or more, but they are {list(mask_seeds)}.")


def _find_runs(paths: Sequence[Path]) -> dict[str, list[RunFolder]]:
    """Label → its finished runs; those of a comparison in the order of its models and seeds."""
    if not paths:
        raise ArgumentError("A sweep must be over at least one run or comparison; name its folder.")
    found: dict[str, list[RunFolder]] = {}
    places: set[tuple[str, int]] = set()
    folders = list(_folders(paths))
    data = folders[0].summary()["data"]["sha256"]
    for folder in folders:
        summary = folder.summary()
        if summary["data"]["sha256"] != data:
            raise DataError(
                f"Run `{folder.path}` is on other data than `{folders[0].path}`; sweep them apart."
            )
        place = (summary["label"], summary["seed"])
        if place in places:
            raise ArgumentError(
                f"Model `{place[0]}` with seed {place[1]} is named twice, the second time by `{folder.path}`; "
                "give runs of different labels, or each run once."
            )
        places.add(place)
        found.setdefault(summary["label"], []).append(folder)
    return found


def _folders(paths: Sequence[Path]) -> Iterator[RunFolder]:
    for path in paths:
        if (path / COMPARISON_FILE).is_file():
            for entry in read_comparison(path)["models"].values():
                yield from (RunFolder(path / run) for run in entry["runs"])
        else:
            yield RunFolder(path)


def _reference(named: str | None, runs: dict[str, list[RunFolder]], paths: Sequence[Path | str]) -> str:
    if named is not None:
        if named not in runs:
            raise ArgumentError(f"The reference must be one of {list(runs)}, but it is `{named}`.")
        return named
    for path in map(Path, paths):
        if (path / COMPARISON_FILE).is_file():
            return read_comparison(path)["reference"]
    return next(iter(runs))


def _sweep_run(
    folder: RunFolder,
    rates: Sequence[float],
    mask_seeds: Sequence[int],
    split: str,
    expected: _Samples | None,
) -> tuple[_Samples, _Swept]:
    predictor = Predictor.load(folder.path)
    parts = evaluated_subsets(predictor, split=split)
    samples, order = _samples(predictor.task, [subset for _, subset in parts], folder)
    if expected is not None and samples.ids != expected.ids:
        raise DataError(
            f"Run `{folder.path}` was tested on other samples than the first run; sweep them apart."
        )

    def outputs(absence: Absence) -> np.ndarray:
        taken = [(fold, absence.apply(subset)) for fold, subset in parts]
        return np.concatenate([table.outputs for table in predict_parts(predictor, taken)])[order]

    complete = outputs(Absence())
    by_rate = [
        [complete if rate == 0 else outputs(Absence(rate=rate, seed=seed)) for seed in mask_seeds]
        for rate in rates
    ]
    remarks = predictor.remarks([subset for _, subset in parts])
    return samples, _Swept(np.array(by_rate), outputs(Absence(rate=1.0)), training_labels(predictor), remarks)


def _samples(task: Task, subsets: Sequence[Subset], folder: RunFolder) -> tuple[_Samples, np.ndarray]:
    """The samples of all folds, sorted by id, and how to sort what is predicted fold by fold."""
    ids = [identifier for subset in subsets for identifier in subset.ids]
    labels = [subset.labels for subset in subsets if subset.labels is not None and subset.labelled.all()]
    if len(labels) < len(subsets):
        raise ArgumentError(f"Samples of run `{folder.path}` have no labels, so there is nothing to measure.")
    groups = [group for subset in subsets if subset.groups is not None for group in subset.groups]
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    return (
        _Samples(
            task,
            tuple(ids[row] for row in order),
            np.concatenate(labels)[order],
            np.array(groups)[order] if len(groups) == len(ids) else None,
        ),
        order,
    )


def _metrics_by_rate(
    samples: _Samples, results: Sequence[_Swept], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Per rate and metric: mean, sd over seeds, sd over masks, interval."""
    entries = []
    for index in range(len(results[0].outputs)):
        outputs = np.stack([result.outputs[index] for result in results])
        values = [
            [metrics(samples.task, samples.labels, masked) for masked in by_mask] for by_mask in outputs
        ]
        intervals = bootstrap_intervals(
            samples.task, samples.labels, outputs.reshape(-1, *outputs.shape[2:]), **options
        )
        over_seeds = summarize_seeds([_mean(by_mask) for by_mask in values])
        over_masks = summarize_seeds([_mean(by_seed) for by_seed in zip(*values, strict=True)])
        entries.append(
            {
                name: {
                    "mean": over_seeds[name].mean,
                    "sd": over_seeds[name].sd,
                    "sd_masks": over_masks[name].sd,
                    "low": interval.low,
                    "high": interval.high,
                    "note": interval.note,
                }
                for name, interval in intervals.items()
            }
        )
    return entries


def _mean(runs: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of every metric; None where one is undefined."""
    means: dict[str, float | None] = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        known = [value for value in values if value is not None]
        means[name] = float(np.mean(known)) if len(known) == len(values) else None
    return means


def _tests_by_rate(
    samples: _Samples, results: Sequence[_Swept], reference: Sequence[_Swept], options: dict[str, Any]
) -> list[dict[str, dict[str, Any]]]:
    tests = []
    for index in range(len(results[0].outputs)):
        ours, theirs = (
            np.concatenate([result.outputs[index] for result in one]) for one in (results, reference)
        )
        found = paired_test(
            samples.task,
            samples.labels,
            ours,
            theirs,
            num_permutations=options["num_resamples"],
            **options,
        )
        tests.append({name: result.to_dict() for name, result in found.items()})
    return tests


def _correct(paired: dict[str, list[dict[str, dict[str, Any]]]], num_rates: int) -> None:
    """Holm's correction over the models, rate by rate and metric by metric."""
    for index in range(num_rates):
        for name in next(iter(paired.values()))[index] if paired else ():
            tests = {label: by_rate[index][name] for label, by_rate in paired.items()}
            corrected = holm_correction({label: test["p_value"] for label, test in tests.items()})
            for label, test in tests.items():
                test["p_value_holm"] = corrected[label]


def _prior(samples: _Samples, results: Sequence[_Swept]) -> dict[str, Any]:
    """What a model says about samples that have nothing, beside what its training labels say."""
    task = samples.task
    values = [metrics(task, samples.labels, result.empty) for result in results]
    entry: dict[str, Any] = {
        "finite": bool(all(np.isfinite(result.empty).all() for result in results)),
        "metrics": {name: summary.to_dict() for name, summary in summarize_seeds(values).items()},
    }
    if task.kind == "classification":
        size = len(task.classes)
        said = [probabilities_of(result.empty).mean(axis=0) for result in results]
        trained = [
            np.mean(
                [np.bincount(part, minlength=size) / len(part) for part in result.training_labels], axis=0
            )
            for result in results
        ]
        distances = [0.5 * float(np.abs(one - other).sum()) for one, other in zip(said, trained, strict=True)]
        return {
            **entry,
            "prediction": dict(zip(task.classes, np.mean(said, axis=0).tolist(), strict=True)),
            "training": dict(zip(task.classes, np.mean(trained, axis=0).tolist(), strict=True)),
            "distance": float(np.mean(distances)),
            "distance_sd": _deviation(distances),
        }
    scores = [float(result.empty.mean()) for result in results]
    means = [float(np.mean([part.mean() for part in result.training_labels])) for result in results]
    medians = [float(np.mean([np.median(part) for part in result.training_labels])) for result in results]
    spreads = [float(np.mean([part.std() for part in result.training_labels])) for result in results]
    distances = [abs(score - mean) for score, mean in zip(scores, means, strict=True)]
    return {
        **entry,
        "in_range": bool(
            all(task.low <= result.empty.min() and result.empty.max() <= task.high for result in results)
        ),
        "prediction": float(np.mean(scores)),
        "prediction_sd": _deviation(scores),
        "training_mean": float(np.mean(means)),
        "training_median": float(np.mean(medians)),
        "training_sd": float(np.mean(spreads)),
        "distance": float(np.mean(distances)),
        "distance_sd": _deviation(distances),
        "distance_from_median": float(
            np.mean([abs(score - median) for score, median in zip(scores, medians, strict=True)])
        ),
    }


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _shares(
    folder: RunFolder, rates: Sequence[float], mask_seeds: Sequence[int], split: str
) -> list[dict[str, float]]:
    """Per rate, the share of absent modalities and of samples that have none, over all masks."""
    subsets = [subset for _, subset in evaluated_subsets(Predictor.load(folder.path), split=split)]
    shares = []
    for rate in rates:
        present = np.concatenate(
            [
                present_modalities(Absence(rate=rate, seed=seed).apply(subset))
                for seed in mask_seeds
                for subset in subsets
            ]
        )
        shares.append({"modalities": float((~present).mean()), "empty": float((~present.any(axis=1)).mean())})
    return shares


def _absences_in_training(folder: RunFolder) -> dict[str, Any]:
    training = folder.config().training
    return {
        "modality_missing": training.modality_missing,
        "modality_missing_all": training.modality_missing_all,
    }


def markdown_tables(content: dict[str, Any], task: Task) -> str:
    """Return a sweep as Markdown: one table per shown metric (models × rates), one of the empty samples."""
    seeds = max(len(entry["seeds"]) for entry in content["models"].values())
    reference = markdown_code(content["reference"])
    lines = []
    for name in shown_metrics(task)[:2]:
        lines += [
            f"**{name}**: {metrics_of(task)[name].label}",
            "",
            "| model | " + " | ".join(f"{rate:g}" for rate in content["rates"]) + " |",
            "|---" * (1 + len(content["rates"])) + "|",
        ]
        for label, entry in content["models"].items():
            cells = []
            for index, values in enumerate(entry["rates"]):
                tests = content["paired"].get(label)
                value = {**values[name], "low": None}
                cells.append(format_cell(value, None if tests is None else tests[index][name]))
            lines.append(f"| {markdown_text(label)} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        f"{content['split'].capitalize()} split, {content['num_test']} samples; columns: the probability with which "
        f"each modality of each sample is taken away. Mean ± sd over {seeds} seeds (each averaged over "
        f"{len(content['mask_seeds'])} masks, the same for all models); * differs from {reference} "
        "(paired permutation test, p < 0.05 after Holm's correction over the models, rate by rate).",
        "",
        *_empty_table(content, task),
    ]
    return "\n".join(lines) + "\n"


def _empty_table(content: dict[str, Any], task: Task) -> list[str]:
    first = shown_metrics(task)[0]
    entries = {label: entry["empty"] for label, entry in content["models"].items()}
    if task.kind == "classification":
        rows = [
            f"| {markdown_text(label)} | {_with_deviation(empty['distance'], empty['distance_sd'])} | "
            f"{_with_deviation(empty['metrics'][first]['mean'], empty['metrics'][first]['sd'])} |"
            for label, empty in entries.items()
        ]
        return [
            "**Nothing left**: predicted class probabilities against the class frequencies of the training samples "
            "(total variation distance).",
            "",
            f"| model | distance | {first} |",
            "|---|---|---|",
            *rows,
        ]
    some = next(iter(entries.values()))
    rows = [
        f"| {markdown_text(label)} | {_with_deviation(empty['prediction'], empty['prediction_sd'])} | "
        f"{_with_deviation(empty['distance'], empty['distance_sd'])} | {empty['distance_from_median']:.3f} | "
        f"{'yes' if empty['in_range'] else 'no'} | "
        f"{_with_deviation(empty['metrics'][first]['mean'], empty['metrics'][first]['sd'])} |"
        for label, empty in entries.items()
    ]
    return [
        f"**Nothing left**: training labels have the mean {some['training_mean']:.3f}, the median "
        f"{some['training_median']:.3f} and the standard deviation {some['training_sd']:.3f}.",
        "",
        f"| model | prediction | distance from the mean | from the median | in the label range | {first} |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


def _with_deviation(value: float | None, deviation: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
