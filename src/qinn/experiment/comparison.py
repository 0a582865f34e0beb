"""Several models × seeds on one data set: runs, one table, intervals and paired tests."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.stores.store import Store
from qinn.errors import CheckpointError, ConfigError, DataError
from qinn.escaping import markdown_code, markdown_text
from qinn.evaluation.conventions import metrics_of
from qinn.evaluation.statistics import bootstrap_intervals, holm_correction, paired_test, summarize_seeds
from qinn.experiment import provenance
from qinn.experiment.config import ExperimentConfig, read_run_config, slug
from qinn.experiment.folder import RunFolder, read_json, read_table, write_json, write_text
from qinn.experiment.run import config_text, groups_of, labels_of, outputs_of, run
from qinn.experiment.workers import run_in_workers
from qinn.placement import is_partial
from qinn.task import Task

FORMAT = "qinn-comparison"
COMPARISON_FILE = "comparison.json"
TABLE_FILE = "table.md"
CONFIG_FILE = "config.yaml"


def compare(
    config: ExperimentConfig,
    folder: Path | str,
    *,
    workers: int = 1,
    on_run: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Run every model with every seed, then compare them on the same test samples.

    Runs that are complete are kept and interrupted ones are resumed, so that a killed comparison continues
    where it stopped.

    Args:
        config: The experiment.
        folder: Where the comparison goes; runs lie in ``<model>/seed-<seed>``.
        workers: Number of runs at the same time, each in its own process.
        on_run: Called with (runs done, runs in all, label of the last) after each run.

    Returns:
        The content of ``comparison.json``.

    Raises:
        CheckpointError: If the folder holds something else.
        QinnError: If a run fails, or its process is killed.
    """
    folder = Path(folder)
    _check_place(folder, config)
    jobs = [(label, seed) for seed in config.seeds for label in config.models]
    done = 0

    def count(index: int) -> None:
        nonlocal done
        done += 1
        if on_run is not None:
            on_run(done, len(jobs), "{}, seed {}".format(*jobs[index]))

    if workers <= 1:
        for index, (label, seed) in enumerate(jobs):
            run(config.only(label, seed), run_path(folder, label, seed))
            count(index)
    else:
        described = [
            (config_text(config.only(label, seed)), run_path(folder, label, seed)) for label, seed in jobs
        ]
        run_in_workers(described, workers, count)
    return summarize(config, folder)


def _check_place(folder: Path, config: ExperimentConfig) -> None:
    """Refuse a folder that holds anything but a comparison, finished or interrupted."""
    if not folder.is_dir() or (folder / COMPARISON_FILE).is_file():
        return
    own = {slug(label) for label in config.models}
    with suppress(ConfigError):
        if read_run_config(folder / CONFIG_FILE) == config:
            own |= {CONFIG_FILE, TABLE_FILE}
    foreign = {entry.name for entry in folder.iterdir() if not is_partial(entry)} - own
    if foreign:
        raise CheckpointError(
            f"Folder `{folder}` holds `{min(foreign)}`, which is not of this comparison; choose another folder."
        )


def run_path(folder: Path, label: str, seed: int) -> Path:
    """Return where a comparison keeps one run."""
    return folder / slug(label) / f"seed-{seed}"


def summarize(config: ExperimentConfig, folder: Path) -> dict[str, Any]:
    """Gather the finished runs of a comparison into ``comparison.json`` and ``table.md``.

    Each metric is given as mean ± sd over seeds, with a bootstrap interval (over groups where there are
    groups) of the mean over seeds on new test samples; each model is tested against the reference on the same
    samples, p-values corrected over the models by Holm's method, metric by metric.

    Raises:
        CheckpointError: If a run is incomplete.
        DataError: If the runs were not tested on the same samples.
    """
    task = Store.open(config.data.store).task
    reference = config.reference_label
    outputs: dict[str, np.ndarray] = {}
    models: dict[str, Any] = {}
    labels, groups, ids = np.zeros(0), None, None
    for label in config.models:
        runs = [RunFolder(run_path(folder, label, seed)) for seed in config.seeds]
        summaries = [one.summary() for one in runs]
        tables = [_sorted_table(one) for one in runs]
        for table, one in zip(tables, runs, strict=True):
            found = table["id"].to_pylist()
            if ids is not None and found != ids:
                raise DataError(
                    f"Run `{one.path}` was tested on other samples than the first run; rerun both."
                )
            ids, labels, groups = found, labels_of(table, task), groups_of(table)
        outputs[label] = np.stack([outputs_of(_columns(table)) for table in tables])
        models[label] = {
            "model": summaries[0]["model"],
            "num_parameters": summaries[0]["num_parameters"],
            "seeds": list(config.seeds),
            "runs": [str(one.path.relative_to(folder)) for one in runs],
            "seconds": float(np.mean([summary["seconds"] for summary in summaries])),
            "remarks": list(dict.fromkeys(one for run in summaries for one in run.get("remarks", []))),
        }
    options = {
        "groups": groups,
        "num_resamples": config.evaluation.num_resamples,
        "level": config.evaluation.level,
        "seed": 0,
    }
    for label, entry in models.items():
        seeds = summarize_seeds(
            [
                {
                    name: value["value"]
                    for name, value in read_json(folder / path / "metrics.json")["test"].items()
                }
                for path in entry["runs"]
            ]
        )
        intervals = bootstrap_intervals(task, labels, outputs[label], **options)
        entry["metrics"] = {
            name: {**seeds[name].to_dict(), "low": interval.low, "high": interval.high}
            for name, interval in intervals.items()
        }
    tests = {
        label: paired_test(task, labels, outputs[label], outputs[reference], **options)
        for label in models
        if label != reference
    }
    paired: dict[str, dict[str, Any]] = {label: {} for label in tests}
    for name in next(iter(tests.values()), {}):
        corrected = holm_correction({label: results[name].p_value for label, results in tests.items()})
        for label, results in tests.items():
            paired[label][name] = {**results[name].to_dict(), "p_value_holm": corrected[label]}
    content = {
        "format": FORMAT,
        "version": 1,
        "name": config.name,
        "reference": reference,
        "data": RunFolder(run_path(folder, reference, config.seeds[0])).summary()["data"],
        "level": config.evaluation.level,
        "num_test": len(labels),
        "num_groups": None if groups is None else len(np.unique(groups)),
        "models": models,
        "paired": paired,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "command": provenance.command(),
    }
    write_text(folder / CONFIG_FILE, config_text(config))
    write_text(folder / TABLE_FILE, markdown_table(content))
    write_json(folder / COMPARISON_FILE, content)
    return content


def read_comparison(folder: Path | str) -> dict[str, Any]:
    """Read the result of a comparison.

    Raises:
        CheckpointError: If the folder holds no finished comparison.
    """
    path = Path(folder) / COMPARISON_FILE
    if not path.is_file():
        raise CheckpointError(f"`{folder}` holds no finished comparison; run `qinn compare` first.")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"`{path}` does not describe a comparison; check the path.")
    return content


def task_of(content: dict[str, Any]) -> Task:
    """Return the task of a comparison or of a run's summary."""
    stated = content["data"]["task"]
    return Task(**{**stated, "classes": tuple(stated["classes"])})


def shown_metrics(task: Task) -> list[str]:
    """Return the metrics of a task that a table shows, most important first."""
    if task.kind == "classification":
        return ["accuracy", "f1_macro", "f1_weighted", "auc"]
    return {
        "mosi": ["mae", "corr", "acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc7", "acc5"],
        "sims": ["mae", "corr", "acc2", "f1", "acc3", "acc5"],
        "plain": ["mae", "corr", "r2", "auc_midpoint"],
    }[task.scale]


def markdown_table(content: dict[str, Any]) -> str:
    """Return a comparison as a Markdown table: value ± sd over seeds [interval], * where it differs."""
    task = task_of(content)
    names = shown_metrics(task)
    header = ["model", "parameters", *names]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for label, entry in content["models"].items():
        cells = [markdown_text(label), f"{entry['num_parameters']:,}"]
        for name in names:
            value = entry["metrics"][name]
            test = content["paired"].get(label, {}).get(name)
            cells.append(format_cell(value, test))
        lines.append("| " + " | ".join(cells) + " |")
    seeds = len(next(iter(content["models"].values()))["seeds"])
    groups = f", {content['num_groups']} groups" if content["num_groups"] else ""
    lines += [
        "",
        f"Test split, {content['num_test']} samples{groups}; mean ± sd over {seeds} seeds "
        f"[{content['level']:.0%} bootstrap interval{' over groups' if content['num_groups'] else ''}]; "
        f"* differs from {markdown_code(content['reference'])} "
        "(paired permutation test, p < 0.05 after Holm's correction).",
        "",
        *(f"- {name}: {metrics_of(task)[name].label}" for name in names),
    ]
    return "\n".join(lines) + "\n"


def format_cell(value: dict[str, Any], test: dict[str, Any] | None) -> str:
    """Return ``value ± sd [low, high]`` and a star where a paired test found a difference."""
    if value["mean"] is None:
        return "undefined"
    text = f"{value['mean']:.3f}"
    if value["sd"] is not None:
        text += f" ± {value['sd']:.3f}"
    if value["low"] is not None:
        text += f" [{value['low']:.3f}, {value['high']:.3f}]"
    significant = test is not None and test["p_value_holm"] is not None and test["p_value_holm"] < 0.05
    return text + (" *" if significant else "")


def _sorted_table(one: RunFolder) -> Any:
    return read_table(one.predictions_file).sort_by("id")


def _columns(table: Any) -> dict[str, Any]:
    return {name: table.column(name) for name in table.column_names}
