"""How finished runs bear the loss of modalities: one sweep over rates of absence, the same masks for every model."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from qinn.data.files.numerals import number_of
from qinn.data.subsets.absence import Absence, present_modalities
from qinn.data.subsets.subset import Subset
from qinn.destinations import Product, check_destinations, marked
from qinn.digests import file_digest
from qinn.errors import ArgumentError, DataError
from qinn.evaluation.intervals import bootstrap_intervals, summarize_seeds
from qinn.evaluation.metrics import metrics
from qinn.evaluation.outcomes import outcome_probabilities
from qinn.evaluation.paired_tests import paired_test
from qinn.experiment import provenance
from qinn.experiment.config import config_of
from qinn.experiment.evaluation import evaluated_subsets, predict_parts, training_labels
from qinn.experiment.predictor import Predictor
from qinn.experiment.verdicts import corrected
from qinn.explain.activity import sleep_remarks
from qinn.results.comparison import COMPARISON_FILE, read_comparison
from qinn.results.files import digests_of, write_text
from qinn.results.folder import RunFolder
from qinn.results.metric_columns import PairedDifference, shown_metrics
from qinn.results.sweep import (
    FORMAT,
    SWEEP_FILE,
    TABLE_FILE,
    EmptyClasses,
    EmptyScores,
    RateMetric,
    Shares,
    SweepResult,
    SweptModel,
)
from qinn.task import Task

COMMAND = "qinn sweep-absent"
MARK = f"<!-- made by {COMMAND} -->"
"""Last line of its tables and figures."""

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class _Samples:
    """What all runs were tested on, in the order of the ids."""

    task: Task
    ids: tuple[str, ...]
    labels: Shaped[np.ndarray, "sample *label"]
    groups: Shaped[np.ndarray, "sample"] | None


@dataclass(frozen=True)
class _Swept:
    """One run's outputs: (rate, mask, sample, output), and what it says about samples that have nothing."""

    outputs: Float[np.ndarray, "rate mask sample output"]
    empty: Float[np.ndarray, "sample output"]
    shares: tuple[Shares, ...]
    training_labels: list[np.ndarray]
    remarks: list[str]


def sweep_absent(
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
) -> SweepResult:
    """Evaluate runs with modalities taken away at rising rates and write ``sweep.json`` and ``table.md``.

    At rate r every modality of every sample goes with probability r, independently (see `Absence`); samples that
    lose everything stay, and their prediction is the model's prior. Masks depend on the mask seed and the samples'
    ids alone, so that all models and seeds lose the same. Nothing is trained or chosen.

    Args:
        paths: Comparisons (all their runs) and single runs, all on one data set and split.
        target: Folder for the files.
        rates: Rates of absence.
        mask_seeds: Seeds of the masks; a metric is the mean over them.
        split: ``"test"`` or ``"valid"``.
        reference: Model that the others are tested against (default: the comparison's, or the first).
        num_resamples: Bootstrap resamples and permutations (default: those of the first run's configuration).
        overwrite: Replace files of the names that are written where another program made them.
        on_run: Called with (runs done, runs in all, label) after each run.

    Returns:
        The result, as ``sweep.json`` keeps it. Per model and rate every metric's mean, its standard deviation over
        training seeds (each averaged over masks) and over masks (each averaged over training seeds), its bootstrap
        interval, and the paired test against the reference; per model under ``empty`` what it says about samples that
        have nothing, beside mean and median of the training labels.

    Raises:
        ArgumentError: If rates or seeds are impossible, a run is named twice, or the reference is unknown.
        CheckpointError: If a folder is no finished run or comparison.
        DataError: If the runs were not tested on the same samples.
        OutputError: If the files, or the figures that will lie beside them, would replace another's.
    """
    started = time.perf_counter()
    _check_options(rates, mask_seeds)
    runs, reference = _find_runs([Path(path) for path in paths], reference)
    first = next(iter(runs.values()))[0]
    check_destinations(target, _products(first.summary().task), overwrite=overwrite, inputs=list(paths))
    config = config_of(first)
    samples, swept = None, {}
    done, total = 0, sum(map(len, runs.values()))
    for label, folders in runs.items():
        swept[label] = []
        for folder in folders:
            samples, result = _sweep_run(folder, rates, mask_seeds, split, samples)
            swept[label].append(result)
            done += 1
            if on_run is not None:
                on_run(done, total, f"{label}, seed {folder.summary().seed}")
    assert samples is not None
    options = {
        "groups": samples.groups,
        "num_resamples": num_resamples or config.evaluation.num_resamples,
        "level": config.evaluation.level,
        "seed": 0,
    }
    described = {label: [folder.summary() for folder in folders] for label, folders in runs.items()}
    result = SweepResult(
        name=first.summary().name,
        reference=reference,
        data=first.summary().data,
        split=split,
        rates=tuple(rates),
        mask_seeds=tuple(mask_seeds),
        level=config.evaluation.level,
        num_resamples=options["num_resamples"],
        num_test=len(samples.ids),
        num_groups=None if samples.groups is None else len(np.unique(samples.groups)),
        absent=next(iter(swept.values()))[0].shares,
        models={
            label: SweptModel(
                model=described[label][0].model,
                num_parameters=described[label][0].num_parameters,
                training=_absences_in_training(folders[0]),
                seeds=tuple(summary.seed for summary in described[label]),
                asleep=any(sleep_remarks(one.remarks) for one in described[label]),
                runs_sha256=tuple(file_digest(folder.summary_file) for folder in folders),
                rates=_metrics_by_rate(samples, swept[label], options),
                empty=_prior(samples, swept[label]),
            )
            for label, folders in runs.items()
        },
        paired=_tests_by_rate(samples, swept, reference, options),
        remarks=tuple(dict.fromkeys(one for found in swept.values() for r in found for one in r.remarks)),
        **provenance.origin(),
        seconds=round(time.perf_counter() - started, 1),
        folder=Path(target),
    )
    table = result.folder / TABLE_FILE
    write_text(table, f"{result.to_markdown()}\n{MARK}\n")
    result = replace(result, files=digests_of(result.folder, [table]))
    result.write()
    return result


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
            f"Rates of absence must be numbers separated by commas, but they are `{text}`."
        ) from None


def _check_options(rates: Sequence[float], mask_seeds: Sequence[int]) -> None:
    if not rates or list(rates) != sorted(set(rates)) or not 0 <= rates[0] <= rates[-1] <= 1:
        raise ArgumentError(
            f"Rates of absence must be distinct, rising and between 0 and 1, but they are {list(rates)}."
        )
    if not mask_seeds or len(set(mask_seeds)) < len(mask_seeds) or min(mask_seeds) < 0:
        raise ArgumentError(f"Mask seeds must be distinct and 0 or more, but they are {list(mask_seeds)}.")


def _find_runs(paths: Sequence[Path], reference: str | None) -> tuple[dict[str, list[RunFolder]], str]:
    """Label → its finished runs, those of a comparison in the order of its models and seeds; and the reference."""
    if not paths:
        raise ArgumentError("A sweep must be over at least one run or comparison; name its folder.")
    folders, references = [], []
    for path in paths:
        if (path / COMPARISON_FILE).is_file():
            compared = read_comparison(path)
            references.append(compared.reference)
            folders += [run for label in compared.models for run in compared.runs(label)]
        else:
            folders.append(RunFolder(path))
    found: dict[str, dict[int, RunFolder]] = {}
    data = folders[0].summary().data.sha256
    for folder in folders:
        summary = folder.summary()
        if summary.data.sha256 != data:
            raise DataError(
                f"Run `{folder.path}` is on other data than `{folders[0].path}`; sweep them apart."
            )
        seeds = found.setdefault(summary.label, {})
        if summary.seed in seeds:
            raise ArgumentError(
                f"Model `{summary.label}` with seed {summary.seed} is named twice, the second time by `{folder.path}`; "
                "give runs of different labels, or each run once."
            )
        seeds[summary.seed] = folder
    if reference is not None and reference not in found:
        raise ArgumentError(f"The reference must be one of {list(found)}, but it is `{reference}`.")
    runs = {label: list(seeds.values()) for label, seeds in found.items()}
    return runs, reference or next(iter([*references, *found]))


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

    def taken(absence: Absence) -> list[tuple[str | None, Subset]]:
        return [(fold, absence.apply(subset)) for fold, subset in parts]

    def outputs(lacking: Sequence[tuple[str | None, Subset]]) -> np.ndarray:
        return np.concatenate([table.outputs for table in predict_parts(predictor, lacking)])[order]

    complete, by_rate, shares = outputs(parts), [], []
    for rate in rates:
        masked, there = [], []
        for seed in mask_seeds:
            lacking = taken(Absence(rate=rate, seed=seed))
            masked.append(outputs(lacking) if rate else complete)
            there += [present_modalities(subset) for _, subset in lacking]
        present = np.concatenate(there)
        by_rate.append(masked)
        shares.append(Shares(float((~present).mean()), float((~present.any(axis=1)).mean())))
    return samples, _Swept(
        np.array(by_rate),
        outputs(taken(Absence(rate=1.0))),
        tuple(shares),
        training_labels(predictor),
        predictor.remarks([subset for _, subset in parts]),
    )


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
) -> tuple[dict[str, RateMetric], ...]:
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
                name: RateMetric(
                    mean=over_seeds[name].mean,
                    sd=over_seeds[name].sd,
                    sd_masks=over_masks[name].sd,
                    low=interval.low,
                    high=interval.high,
                    note=interval.note,
                )
                for name, interval in intervals.items()
            }
        )
    return tuple(entries)


def _mean(runs: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of every metric; None where one is undefined."""
    means: dict[str, float | None] = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        known = [value for value in values if value is not None]
        means[name] = float(np.mean(known)) if len(known) == len(values) else None
    return means


def _tests_by_rate(
    samples: _Samples, swept: dict[str, list[_Swept]], reference: str, options: dict[str, Any]
) -> dict[str, tuple[dict[str, PairedDifference], ...]]:
    """Per model and rate its difference to the reference, p-values corrected over the models, rate by rate."""
    others = [label for label in swept if label != reference and len(swept[label]) == len(swept[reference])]
    by_rate = []
    for index in range(len(swept[reference][0].outputs)):
        outputs = {
            label: np.concatenate([result.outputs[index] for result in swept[label]])
            for label in (*others, reference)
        }
        tests = {
            label: paired_test(
                samples.task,
                samples.labels,
                outputs[label],
                outputs[reference],
                num_permutations=options["num_resamples"],
                **options,
            )
            for label in others
        }
        by_rate.append(corrected(tests))
    return {label: tuple(found[label] for found in by_rate) for label in others}


def _prior(samples: _Samples, results: Sequence[_Swept]) -> EmptyScores | EmptyClasses:
    """What a model says about samples that have nothing, beside what its training labels say."""
    task = samples.task
    finite = bool(all(np.isfinite(result.empty).all() for result in results))
    measured = summarize_seeds([metrics(task, samples.labels, result.empty) for result in results])
    if task.kind != "regression":
        said = [outcome_probabilities(task, result.empty).mean(axis=0) for result in results]
        trained = [
            np.mean([_frequencies(part, task) for part in result.training_labels], axis=0)
            for result in results
        ]
        share = 0.5 if task.kind == "classification" else 1 / task.num_outputs
        distances = [
            share * float(np.abs(one - other).sum()) for one, other in zip(said, trained, strict=True)
        ]
        return EmptyClasses(
            finite=finite,
            metrics=measured,
            prediction=dict(zip(task.names, np.mean(said, axis=0).tolist(), strict=True)),
            training=dict(zip(task.names, np.mean(trained, axis=0).tolist(), strict=True)),
            distance=float(np.mean(distances)),
            distance_sd=_deviation(distances),
        )

    def trained_on(statistic: Callable[[np.ndarray], Any]) -> list[float]:
        return [float(np.mean([statistic(part) for part in result.training_labels])) for result in results]

    scores = [float(result.empty.mean()) for result in results]
    means, medians = trained_on(np.mean), trained_on(np.median)
    distances = [abs(score - mean) for score, mean in zip(scores, means, strict=True)]
    from_medians = [abs(score - median) for score, median in zip(scores, medians, strict=True)]
    return EmptyScores(
        finite=finite,
        metrics=measured,
        in_range=bool(
            all(task.low <= result.empty.min() and result.empty.max() <= task.high for result in results)
        ),
        prediction=float(np.mean(scores)),
        prediction_sd=_deviation(scores),
        training_mean=float(np.mean(means)),
        training_median=float(np.mean(medians)),
        training_sd=float(np.mean(trained_on(np.std))),
        distance=float(np.mean(distances)),
        distance_sd=_deviation(distances),
        distance_from_median=float(np.mean(from_medians)),
    )


def _frequencies(labels: np.ndarray, task: Task) -> np.ndarray:
    """How often each class occurs, or each label is present among the samples of which that is known."""
    if task.kind == "multilabel":
        return (labels == 1).sum(axis=0) / np.maximum((labels >= 0).sum(axis=0), 1)
    return np.bincount(labels, minlength=len(task.classes)) / len(labels)


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _absences_in_training(folder: RunFolder) -> dict[str, bool | float | Mapping[str, float]]:
    training = config_of(folder).training
    return {
        "absent_rate": training.absent_rate,
        "absent_all": training.absent_all,
    }
