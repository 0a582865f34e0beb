"""Several models × seeds on one data set: runs, one table, intervals and paired tests."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from qinn.atomic_writing import is_partial
from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.destinations import check_folder
from qinn.errors import CheckpointError, ConfigError
from qinn.evaluation.intervals import interval_of, summarize_seeds
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import metrics
from qinn.evaluation.over_seeds import interval_over_seeds
from qinn.evaluation.resampling import Resampled, resampled_metrics
from qinn.experiment import provenance
from qinn.experiment.build import build_folds
from qinn.experiment.config import ExperimentConfig, read_run_config, slug
from qinn.experiment.cost import cost_notes
from qinn.experiment.grid import TASKS_FOLDER, Engine, Grid, encodings_path, run_path
from qinn.experiment.kept_encodings import ENCODINGS_FOLDER
from qinn.experiment.masked_texts import check_absence_in_training
from qinn.experiment.run import config_text, run
from qinn.experiment.simple_rows import with_simple_rows
from qinn.experiment.trained_elsewhere import GivenOutputs, outputs_trained_elsewhere
from qinn.experiment.verdicts import check_margins, judged
from qinn.experiment.workers import run_in_workers
from qinn.explain.activity import mean_activity
from qinn.extras import require
from qinn.folder_locks import held
from qinn.results.calibration import remove_stale_calibration
from qinn.results.comparison import COMPARISON_FILE, TABLE_FILE, ComparisonResult, ModelResult
from qinn.results.files import digests_of, read_json, write_text
from qinn.results.folder import RunFolder, runs_of
from qinn.results.metric_columns import EnsembleMetric, SeedMetric, shown_metrics
from qinn.results.predictions import check_samples, read_metrics, read_predictions
from qinn.results.summary import RunSummary, commits_of
from qinn.task import Task

_UNRECORDED = (
    "Whether the dynamics act was not recorded: the run was made by an earlier version, whose weight decay could stop "
    "them. Train it anew."
)
_GIVEN = (
    "Trained elsewhere: its test predictions were given. Nothing here shows how its settings and epochs were chosen, "
    "or whether test samples played a part in that."
)
CONFIG_FILE = "config.yaml"


def compare(
    config: ExperimentConfig,
    folder: Path | str,
    *,
    workers: int = 1,
    engine: Engine | None = None,
    overwrite: bool = False,
    on_run: Callable[[int, int, str], None] | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> ComparisonResult:
    """Run every model with every seed, then compare them on the same test samples.

    The constant and linear models are among them, unless the configuration has `simple_rows: false`.
    Runs that are complete are kept and interrupted ones are resumed, so that a killed comparison continues
    where it stopped.

    Args:
        config: The experiment.
        folder: Where the comparison goes; runs lie in ``<model>/seed-<seed>``.
        workers: Number of runs at the same time, each in its own process.
        engine: Who trains instead, fold by fold, on machines that see the folder and the store under the same paths.
        overwrite: Replace runs of another configuration or of other data.
        on_run: Called with (runs done, runs in all, label of the last) after each run, or task of an engine.
        on_remark: Called before the first run with each sentence about what runs will cost, where that is much.

    Returns:
        The result, as ``comparison.json`` keeps it.

    Raises:
        CheckpointError: If the folder holds something else.
        DataError: If predictions of a model that was trained elsewhere are not of the test samples.
        MissingPackageError: If what the extra `train` brings is not installed.
        OutputError: If another command works in the folder, or it cannot be written.
        QinnError: If a run fails, or its process is killed.
    """
    require("train", what="Training")
    folder = Path(folder)
    check_folder(folder, inputs=[config.data.store])
    store = open_unchanged(config.data.store)
    check_margins(config.evaluation.margins, store.task)
    check_absence_in_training(config, store)
    config = with_simple_rows(config, store)
    _check_trained_elsewhere(config, store)
    _check_place(folder, config)
    with held(folder):
        # Another command may have worked there until now.
        _check_place(folder, config)
        jobs = [(label, seed) for seed in config.seeds for label in config.models]
        shared = {seed: encodings_path(config, folder, seed) for seed in config.seeds}
        left, done = Counter(seed for _, seed in jobs), 0
        if on_remark is not None:
            _say_costs(config, folder, on_remark)

        def count(index: int) -> None:
            nonlocal done
            done += 1
            seed = jobs[index][1]
            left[seed] -= 1
            if not left[seed] and (encodings := shared[seed]) is not None:
                shutil.rmtree(encodings, ignore_errors=True)
            if on_run is not None:
                on_run(done, len(jobs), "{}, seed {}".format(*jobs[index]))

        if engine is not None:
            grid = Grid.of(config, folder)
            if grid.pending():
                engine.check()
            grid.write(overwrite=overwrite)
            engine.finish(grid, on_run or (lambda *_: None), on_remark or (lambda _: None))
            grid.collect()
        elif workers <= 1:
            for index, (label, seed) in enumerate(jobs):
                place = run_path(folder, label, seed)
                run(config.only(label, seed), place, overwrite=overwrite, encodings=shared[seed])
                count(index)
        else:
            described = [
                (config_text(config.only(label, seed)), run_path(folder, label, seed), shared[seed])
                for label, seed in jobs
            ]
            run_in_workers(described, workers, count, overwrite=overwrite)
        shutil.rmtree(folder / ENCODINGS_FOLDER, ignore_errors=True)
        if overwrite:
            for label in config.models:
                model = folder / slug(label)
                remove_stale_calibration(model, runs_of(model))
        return summarize(config, folder)


def _check_trained_elsewhere(config: ExperimentConfig, store: Store) -> None:
    """Refuse predictions that cannot be compared before anything is trained."""
    if config.trained_elsewhere:
        folds = build_folds(store, config.data, seed=config.seeds[0])
        outputs_trained_elsewhere(config, store.task, [name for fold in folds for name in fold.test.ids])


def _say_costs(config: ExperimentConfig, folder: Path, on_remark: Callable[[str], None]) -> None:
    """Say what models will cost that are not trained yet."""
    store, seed = open_unchanged(config.data.store), config.seeds[0]
    folds = build_folds(store, config.data, seed=seed)
    for label in config.models:
        if all(RunFolder(run_path(folder, label, each)).is_complete for each in config.seeds):
            continue
        for remark in cost_notes(config.only(label, seed), store, folds):
            on_remark(remark)


def _check_place(folder: Path, config: ExperimentConfig) -> None:
    """Refuse a folder that holds anything but a comparison, finished or interrupted."""
    if not folder.is_dir() or (folder / COMPARISON_FILE).is_file():
        return
    own = {TASKS_FOLDER, *(slug(label) for label in config.models)}
    with suppress(ConfigError):
        if read_run_config(folder / CONFIG_FILE) == config:
            own |= {CONFIG_FILE, TABLE_FILE}
    foreign = {entry.name for entry in folder.iterdir() if not is_partial(entry)} - own
    if foreign:
        raise CheckpointError(
            f"Folder `{folder}` holds `{min(foreign)}`, which is not of this comparison; choose another folder."
        )


def summarize(config: ExperimentConfig, folder: Path) -> ComparisonResult:
    """Gather the finished runs of a comparison into ``comparison.json`` and ``table.md``.

    Every number is made from the runs' predictions, whose samples, labels and groups are those of the store.
    Each metric is given as mean ± sd over seeds, with an interval of the mean with other test samples (groups where
    there are groups) and other seeds; each model is tested against the reference on the same samples, for a difference
    and for equivalence within the margins of the configuration, p-values corrected over the models by Holm's method,
    metric by metric.

    Raises:
        CheckpointError: If a run is incomplete, a file of it is not what it wrote, or its predictions are of other
            samples or labels than the store's, or give other metrics than it says.
    """
    store = open_unchanged(config.data.store)
    task, reference = store.task, config.reference_label
    tested = [fold.test for fold in build_folds(store, config.data, seed=config.seeds[0])]
    outputs: dict[str, np.ndarray] = {}
    described: dict[str, list[RunSummary]] = {}
    ids, labels, groups = (), np.zeros(0), None
    for label in config.models:
        runs = [RunFolder(run_path(folder, label, seed)) for seed in config.seeds]
        described[label] = [one.summary() for one in runs]
        found = []
        for one in runs:
            table = read_predictions(one, task)
            check_samples(table, tested, task, store=config.data.store)
            read_metrics(one, table, task)
            found.append(table.sorted_by_id())
        ids, labels, groups = found[0].ids, found[0].labels, found[0].groups
        outputs[label] = np.stack([table.outputs for table in found])
    given = outputs_trained_elsewhere(config, task, ids)
    outputs |= {label: one.outputs for label, one in given.items()}
    options = {
        "groups": groups,
        "num_resamples": config.evaluation.num_resamples,
        "level": config.evaluation.level,
        "seed": 0,
    }
    margins = config.evaluation.margins
    ensembles = (
        _ensembles(task, labels, outputs, reference, margins, options) if len(config.seeds) > 1 else {}
    )
    resampled = _resampled(task, labels, outputs, options)
    level, known = config.evaluation.level, metrics_of(task)
    models: dict[str, ModelResult] = {}
    for label, of_seeds in outputs.items():
        values = summarize_seeds([metrics(task, labels, one) for one in of_seeds])
        intervals = {
            name: interval_over_seeds(one, level, known[name]) for name, one in resampled[label].items()
        }
        models[label] = ModelResult(
            **(
                _trained_here(config, label, folder, described[label])
                if label in described
                else _trained_elsewhere(given[label])
            ),
            seeds=config.seeds,
            ensemble=ensembles.get(label),
            metrics={
                name: SeedMetric(**asdict(values[name]), low=interval.low, high=interval.high)
                for name, interval in intervals.items()
            },
        )
    write_text(folder / CONFIG_FILE, config_text(config))
    result = ComparisonResult(
        name=config.name,
        reference=reference,
        data=described[reference][0].data,
        level=config.evaluation.level,
        num_resamples=config.evaluation.num_resamples,
        num_test=len(labels),
        num_groups=None if groups is None else len(np.unique(groups)),
        models=models,
        paired=judged(task, labels, outputs, reference, resampled, margins, options),
        margins=margins,
        over_seeds=len(config.seeds) > 1,
        trained_at=commits_of(one for summaries in described.values() for one in summaries),
        **provenance.origin(),
        folder=folder,
    )
    shown = shown_metrics(task)
    tables = (
        result.table(shown),
        result.labels_table(shown),
        result.paired_table(shown),
        result.ensemble_table(shown),
    )
    write_text(folder / TABLE_FILE, "\n".join(table.to_markdown() for table in tables if table is not None))
    made_from = [run for label in models for run in result.runs(label)]
    files = [folder / CONFIG_FILE, folder / TABLE_FILE, *(one for run in made_from for one in _read_of(run))]
    result = replace(result, files=digests_of(folder, files))
    result.write()
    return result


def _trained_here(
    config: ExperimentConfig, label: str, folder: Path, summaries: Sequence[RunSummary]
) -> dict[str, Any]:
    """Return what a model's runs say of it, as fields of its result."""
    folders = [run_path(folder, label, seed) for seed in config.seeds]
    return {
        "model": summaries[0].model,
        "num_parameters": summaries[0].num_parameters,
        "runs": tuple(run_path(Path(), label, seed).as_posix() for seed in config.seeds),
        "seconds": float(np.mean([summary.seconds for summary in summaries])),
        "cpu_seconds": _mean_cpu_seconds(summaries),
        "dynamics": mean_activity([summary.dynamics for summary in summaries]),
        "remarks": _remarks_of(summaries, folders, config.models[label]),
    }


def _trained_elsewhere(given: GivenOutputs) -> dict[str, Any]:
    """Return what is known of a model whose predictions were given, as fields of its result."""
    return {
        "model": "trained elsewhere",
        "num_parameters": None,
        "runs": (),
        "predictions": given.digests,
        "seconds": None,
        "remarks": (_GIVEN, *given.remarks()),
    }


def _ensembles(
    task: Task,
    labels: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    reference: str,
    margins: Mapping[str, float],
    options: Mapping[str, Any],
) -> dict[str, dict[str, EnsembleMetric]]:
    """Return the metrics of the mean over seeds of each model's outputs, tested against those of the reference."""
    together = {label: found.mean(0, keepdims=True) for label, found in outputs.items()}
    resampled = _resampled(task, labels, together, options)
    tests = judged(task, labels, together, reference, resampled, margins, options)
    found: dict[str, dict[str, EnsembleMetric]] = {}
    for label, of_metrics in resampled.items():
        found[label] = {}
        for name, one in of_metrics.items():
            interval = interval_of(one, options["level"], metrics_of(task)[name])
            found[label][name] = EnsembleMetric(
                value=interval.value,
                low=interval.low,
                high=interval.high,
                test=tests.get(label, {}).get(name),
            )
    return found


def _resampled(
    task: Task, labels: np.ndarray, outputs: Mapping[str, np.ndarray], options: Mapping[str, Any]
) -> dict[str, dict[str, Resampled]]:
    chosen = {key: options[key] for key in ("groups", "num_resamples", "seed")}
    return {label: resampled_metrics(task, labels, found, **chosen) for label, found in outputs.items()}


def _mean_cpu_seconds(summaries: Sequence[RunSummary]) -> float | None:
    """Mean over seeds; None where a run does not say."""
    known = [summary.cpu_seconds for summary in summaries if summary.cpu_seconds is not None]
    return float(np.mean(known)) if len(known) == len(summaries) else None


def _remarks_of(summaries: Sequence[RunSummary], folders: Sequence[Path], model: Any) -> tuple[str, ...]:
    learned = getattr(model, "evolution", "none") not in ("none", "linear_map")
    remarks: list[str] = []
    for summary, folder in zip(summaries, folders, strict=True):
        # A run without dynamics says so; one of an earlier version says nothing.
        if learned and "dynamics" not in read_json(RunFolder(folder).summary_file):
            remarks.append(_UNRECORDED)
        remarks += summary.remarks
    return tuple(dict.fromkeys(remarks))


def _read_of(run: RunFolder) -> list[Path]:
    """The file that stands for a run: ``run.json``, and where that has no digests, the files that it cannot name."""
    if run.summary().version > 1:
        return [run.summary_file]
    return [run.summary_file, run.config_file, run.predictions_file, run.metrics_file, run.explanation_table]
