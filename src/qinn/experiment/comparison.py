"""Several models × seeds on one data set: runs, one table, intervals and paired tests."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.stores.unchanged import open_unchanged
from qinn.destinations import check_folder
from qinn.digests import sealed
from qinn.errors import CheckpointError, ConfigError
from qinn.escaping import markdown_code, markdown_text
from qinn.evaluation.conventions import metrics_of
from qinn.evaluation.metrics import metrics
from qinn.evaluation.statistics import bootstrap_intervals, holm_correction, paired_test, summarize_seeds
from qinn.experiment import provenance
from qinn.experiment.build import build_folds
from qinn.experiment.config import ExperimentConfig, read_run_config, slug
from qinn.experiment.folder import (
    FILES,
    UNCHECKED,
    RunFolder,
    check_document,
    check_files,
    check_version,
    digests_of,
    read_json,
    write_json,
    write_text,
)
from qinn.experiment.predictions import check_samples, read_metrics, read_predictions
from qinn.experiment.run import config_text, run
from qinn.experiment.workers import run_in_workers
from qinn.explain.activity import mean_activity
from qinn.extras import require
from qinn.placement import is_partial
from qinn.task import Task

FORMAT = "qinn-comparison"
VERSION = 2
"""Version 1 had no digests; it is read, with a note."""
ACTIVITY_COLUMNS = {
    "jumps": ("jumps", "expected jumps of a trajectory"),
    "turning": ("‖H‖T", "largest angle (rad) by which the Hamiltonian turns phases"),
    "contraction": ("contraction", "how much of the memory a step makes it forget"),
    "rotation": ("rotation", "angle (rad) by which a step turns the memory"),
}
"""Heading and wording of what tables show beside the metrics of how much dynamics do (see `qinn.explain.activity`)."""

CPU_HEADING = "CPU s"
CPU_NOTE = (
    "CPU s: processor seconds of training and validation, all threads and folds, mean over seeds; – in runs of an "
    "earlier version, which did not record them"
)
"""Of the column beside the parameters, in which `format_cpu_seconds` stands."""

_UNRECORDED = (
    "Whether the dynamics act was not recorded: the run was made by an earlier version, whose weight decay could stop "
    "them. Train it anew."
)
COMPARISON_FILE = "comparison.json"
TABLE_FILE = "table.md"
CONFIG_FILE = "config.yaml"


def compare(
    config: ExperimentConfig,
    folder: Path | str,
    *,
    workers: int = 1,
    overwrite: bool = False,
    on_run: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Run every model with every seed, then compare them on the same test samples.

    Runs that are complete are kept and interrupted ones are resumed, so that a killed comparison continues
    where it stopped.

    Args:
        config: The experiment.
        folder: Where the comparison goes; runs lie in ``<model>/seed-<seed>``.
        workers: Number of runs at the same time, each in its own process.
        overwrite: Replace runs of another configuration or of other data.
        on_run: Called with (runs done, runs in all, label of the last) after each run.

    Returns:
        The content of ``comparison.json``.

    Raises:
        CheckpointError: If the folder holds something else.
        MissingPackageError: If what the extra `train` brings is not installed.
        QinnError: If a run fails, or its process is killed.
    """
    require("train", what="Training")
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
            run(config.only(label, seed), run_path(folder, label, seed), overwrite=overwrite)
            count(index)
    else:
        described = [
            (config_text(config.only(label, seed)), run_path(folder, label, seed)) for label, seed in jobs
        ]
        run_in_workers(described, workers, count, overwrite=overwrite)
    return summarize(config, folder)


def _check_place(folder: Path, config: ExperimentConfig) -> None:
    """Refuse a folder that holds anything but a comparison, finished or interrupted."""
    check_folder(folder, inputs=[config.data.store])
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

    Every number is made from the runs' predictions, whose samples, labels and groups are those of the store.
    Each metric is given as mean ± sd over seeds, with a bootstrap interval (over groups where there are
    groups) of the mean over seeds on new test samples; each model is tested against the reference on the same
    samples, p-values corrected over the models by Holm's method, metric by metric.

    Raises:
        CheckpointError: If a run is incomplete, a file of it is not what it wrote, or its predictions are of other
            samples or labels than the store's, or give other metrics than it says.
    """
    store = open_unchanged(config.data.store)
    task, reference = store.task, config.reference_label
    tested = [fold.test for fold in build_folds(store, config.data, seed=config.seeds[0])]
    outputs: dict[str, np.ndarray] = {}
    values: dict[str, list[dict[str, float | None]]] = {}
    models: dict[str, Any] = {}
    labels, groups = np.zeros(0), None
    for label in config.models:
        runs = [RunFolder(run_path(folder, label, seed)) for seed in config.seeds]
        summaries = [one.summary() for one in runs]
        found = []
        for one in runs:
            table = read_predictions(one, task)
            check_samples(table, tested, task, store=config.data.store)
            read_metrics(one, table, task)
            found.append(table.sorted_by_id())
        labels, groups = found[0].labels, found[0].groups
        outputs[label] = np.stack([table.outputs for table in found])
        values[label] = [metrics(task, table.labels, table.outputs) for table in found]
        models[label] = {
            "model": summaries[0]["model"],
            "num_parameters": summaries[0]["num_parameters"],
            "seeds": list(config.seeds),
            "runs": [str(one.path.relative_to(folder)) for one in runs],
            "seconds": float(np.mean([summary["seconds"] for summary in summaries])),
            "cpu_seconds": _mean_cpu_seconds(summaries),
            "dynamics": _activity_of(summaries),
            "remarks": list(
                dict.fromkeys(one for run in summaries for one in _remarks_of(run, config.models[label]))
            ),
        }
    options = {
        "groups": groups,
        "num_resamples": config.evaluation.num_resamples,
        "level": config.evaluation.level,
        "seed": 0,
    }
    for label, entry in models.items():
        seeds = summarize_seeds(values[label])
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
        "version": VERSION,
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
    made_from = [RunFolder(folder / run) for entry in models.values() for run in entry["runs"]]
    files = [folder / CONFIG_FILE, folder / TABLE_FILE, *(one for run in made_from for one in _read_of(run))]
    content = sealed({**content, FILES: digests_of(folder, files)})
    write_json(folder / COMPARISON_FILE, content)
    return content


def _activity_of(summaries: Sequence[Mapping[str, Any]]) -> dict[str, float | None] | None:
    """Mean over seeds; None for models without dynamics, and where a run does not say."""
    known = [summary["dynamics"] for summary in summaries if summary.get("dynamics") is not None]
    mean = mean_activity(known) if len(known) == len(summaries) else None
    return None if mean is None else mean.to_dict()


def _mean_cpu_seconds(summaries: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over seeds; None where a run does not say."""
    found = [summary.get("cpu_seconds") for summary in summaries]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if len(known) == len(found) else None


def _remarks_of(summary: Mapping[str, Any], model: Any) -> list[str]:
    learned = getattr(model, "evolution", "none") not in ("none", "linear_map")
    unrecorded = learned and "dynamics" not in summary
    return [*([_UNRECORDED] if unrecorded else []), *summary.get("remarks", [])]


def _read_of(run: RunFolder) -> list[Path]:
    """The file that stands for a run: ``run.json``, and where that has no digests, the files that it cannot name."""
    if run.summary()["version"] > 1:
        return [run.summary_file]
    return [run.summary_file, run.config_file, run.predictions_file, run.metrics_file, run.explanation_table]


def read_comparison(folder: Path | str) -> dict[str, Any]:
    """Read the result of a comparison, known to be what was written, from the runs that lie beside it now.

    Raises:
        CheckpointError: If the folder holds no finished comparison, or a run was changed or made anew since.
    """
    path = Path(folder) / COMPARISON_FILE
    if not path.is_file():
        raise CheckpointError(f"`{folder}` holds no finished comparison; run `qinn compare` first.")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"`{path}` does not describe a comparison; check the path.")
    check_version(path, content, VERSION, remedy="repeat the comparison: finished runs are kept")
    check_document(path, content, remedy="repeat the comparison: finished runs are kept")
    try:
        check_files(path, {name: digest for name, digest in content.get(FILES, {}).items() if "/" in name})
    except CheckpointError as error:
        raise CheckpointError(
            f"The comparison `{folder}` was made from other runs than lie in it now: "
            f"{str(error).split(';')[0]}; put the right files back, or repeat `qinn compare` with `--overwrite`."
        ) from error
    return content


def notes_of(content: dict[str, Any]) -> list[str]:
    """Return what a user should know about a comparison or sweep that was read."""
    return [UNCHECKED.replace("This run", "This result")] if content["version"] == 1 else []


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
    names, acting = shown_metrics(task), activity_columns(content)
    header = ["model", "parameters", CPU_HEADING, *acting.headings, *names]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for label, entry in content["models"].items():
        cells = [
            markdown_text(label),
            f"{entry['num_parameters']:,}",
            format_cpu_seconds(entry),
            *acting.cells[label],
        ]
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
        f"- {CPU_NOTE}",
        *([f"- {acting.note}"] if acting.note else []),
        *(
            f"- **{markdown_text(whom)}**: {markdown_text(remark)}"
            for whom, remark in remarks_by_model(content)
        ),
    ]
    return "\n".join(lines) + "\n"


def format_cpu_seconds(entry: Mapping[str, Any]) -> str:
    """Return the CPU seconds of a run or of a comparison's model, as tables show them; a dash where they are unknown.

    Examples:
        >>> format_cpu_seconds({"cpu_seconds": 3214.81}), format_cpu_seconds({"cpu_seconds": 2.1})
        ('3,215', '2.1')
        >>> format_cpu_seconds({})
        '–'
    """
    value = entry.get("cpu_seconds")
    if value is None:
        return "–"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


@dataclass(frozen=True)
class ActivityColumns:
    """What a comparison's table says about the models' dynamics.

    Attributes:
        headings: One for each of `ACTIVITY_COLUMNS` that any model has.
        cells: Label → one text for each heading, a dash for what a model does not have.
        note: What the columns hold; empty where there are none.
    """

    headings: tuple[str, ...]
    cells: dict[str, tuple[str, ...]]
    note: str


def activity_columns(content: Mapping[str, Any]) -> ActivityColumns:
    """Return what a comparison's table says about each model's dynamics.

    Args:
        content: Content of ``comparison.json``.

    Examples:
        >>> models = {"a": {"dynamics": {"jumps": 0.5, "turning": 0.81}}, "b": {"dynamics": None}}
        >>> columns = activity_columns({"models": models})
        >>> columns.headings, columns.cells
        (('jumps', '‖H‖T'), {'a': ('0.5', '0.81'), 'b': ('–', '–')})
    """
    found = {label: entry.get("dynamics") or {} for label, entry in content["models"].items()}
    known = [
        name for name in ACTIVITY_COLUMNS if any(values.get(name) is not None for values in found.values())
    ]
    stated = [f"{heading}: {wording}" for heading, wording in (ACTIVITY_COLUMNS[name] for name in known)]
    return ActivityColumns(
        tuple(ACTIVITY_COLUMNS[name][0] for name in known),
        {
            label: tuple("–" if values.get(name) is None else f"{values[name]:.2g}" for name in known)
            for label, values in found.items()
        },
        "; ".join([*stated, "means over test samples, folds and seeds"]) if known else "",
    )


def remarks_by_model(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a user should know about the models of a comparison, each remark once.

    Args:
        content: Content of ``comparison.json``.

    Returns:
        Pairs of the models that a remark is about, and the remark.

    Examples:
        >>> remarks_by_model({"models": {"a": {"remarks": ["Old."]}, "b": {"remarks": ["Old."]}, "c": {"remarks": []}}})
        [('a, b', 'Old.')]
    """
    found: dict[str, list[str]] = {}
    for label, entry in content["models"].items():
        for remark in entry.get("remarks", []):
            found.setdefault(remark, []).append(label)
    every = len(content["models"])
    return [
        ("all models" if len(labels) == every > 1 else ", ".join(labels), remark)
        for remark, labels in found.items()
    ]


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
