"""Runs and comparisons as the report reads them: everything from files, nothing computed again."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.errors import ArgumentError, CheckpointError, ConfigError, QinnError
from qinn.experiment.comparison import COMPARISON_FILE, read_comparison, task_of
from qinn.experiment.coupling import read_coupling
from qinn.experiment.folder import RunFolder
from qinn.experiment.missing_sweep import read_own_sweep
from qinn.experiment.predictions import read_metrics, read_predictions
from qinn.experiment.yaml_files import yaml_of
from qinn.report.explanation import ExplanationTable, read_explanation
from qinn.report.stream import ShownSteps, read_run_steps
from qinn.task import Task

_NO_INTERVAL: Mapping[str, Any] = {"low": None, "high": None, "note": ""}


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        path: Its folder.
        summary: Content of ``run.json``.
        test: Metric → its ``value``, ``low``, ``high`` and ``note`` on the test samples.
        valid: Metric → its value on the validation samples.
        monitor: Name of the validation value that selected the epoch.
        config: Content of ``config.yaml``.
        level: Confidence level of the intervals.
        num_resamples: Number of bootstrap resamples.
        task: What is predicted.
        ids: Test samples, pooled over folds.
        groups: Group of each test sample; None where there are none.
        labels: Scores, or class indices.
        outputs: Predicted scores, or logits.
        spread: Standard deviation of the output over trajectories; None for deterministic models.
        histories: Fold → one row per epoch; empty for a fold that was not trained.
        explanation: Explained test samples; None where the model has no quantum state or none was wanted.
        texts: Sample → its text, where it was asked for.
        coupling: Content of the ``coupling.json`` of `qinn explain --coupling` on the run's own data; None without.
        steps: What its steps do, of the first fold of a model along the stream; None for other models.
    """

    path: Path
    summary: Mapping[str, Any]
    test: Mapping[str, Mapping[str, Any]]
    valid: Mapping[str, float | None]
    monitor: str
    config: Mapping[str, Any]
    level: float
    num_resamples: int
    task: Task
    ids: tuple[str, ...]
    groups: list[str] | None
    labels: Shaped[np.ndarray, "sample"]
    outputs: Float[np.ndarray, "sample output"]
    spread: Float[np.ndarray, "sample output"] | None
    histories: Mapping[str, list[dict[str, float]]]
    explanation: ExplanationTable | None
    texts: Mapping[str, str] = field(default_factory=dict)
    coupling: Mapping[str, Any] | None = None
    steps: ShownSteps | None = None

    @property
    def title(self) -> str:
        """Label and seed."""
        return f"{self.summary['label']}, seed {self.summary['seed']}"

    @property
    def best_epochs(self) -> dict[str, int]:
        """Fold → the epoch whose weights the validation split selected; only folds that were trained."""
        return {fold["name"]: fold["best_epoch"] for fold in self.summary["folds"] if fold["best_epoch"] >= 0}


@dataclass(frozen=True)
class ComparisonResult:
    """One finished comparison and its runs.

    Attributes:
        path: Its folder.
        content: Content of ``comparison.json``.
        task: What is predicted.
        summaries: Model label → ``run.json`` of each of its runs, in the order of the seeds.
        reference: The reference model's first run.
        missing: Content of the ``sweep.json`` of `qinn sweep-missing`; None where there is none.
    """

    path: Path
    content: Mapping[str, Any]
    task: Task
    summaries: Mapping[str, list[Mapping[str, Any]]]
    reference: RunResult
    missing: Mapping[str, Any] | None = None

    @property
    def seeds(self) -> list[int]:
        """Seeds of every model."""
        return next(iter(self.content["models"].values()))["seeds"]


def read_results(
    paths: Sequence[Path], *, include_text: bool = False
) -> tuple[list[ComparisonResult], list[RunResult]]:
    """Read run and comparison folders, each once.

    Args:
        paths: Folders, in the order in which they are to appear.
        include_text: Whether to look up the samples' texts in the store.

    Returns:
        The comparisons, and the runs to be shown one by one: the first run of each comparison's reference
        model, and every run that was named.

    Raises:
        ArgumentError: If there is no path.
        CheckpointError: If a folder is missing, unfinished, damaged or of another kind.
    """
    if not paths:
        raise ArgumentError("A report must be about at least one run or comparison; name its folder.")
    comparisons: dict[Path, ComparisonResult] = {}
    runs: dict[Path, RunResult] = {}
    for path in map(Path, paths):
        place = path.resolve()
        if (path / COMPARISON_FILE).is_file():
            if place not in comparisons:
                comparisons[place] = _read_comparison_folder(path, include_text=include_text)
                reference = comparisons[place].reference
                runs.setdefault(reference.path.resolve(), reference)
        elif place not in runs:
            runs[place] = read_run(path, include_text=include_text)
    return list(comparisons.values()), list(runs.values())


def read_run(path: Path, *, include_text: bool = False) -> RunResult:
    """Read a run folder.

    Args:
        path: The folder.
        include_text: Whether to look up the samples' texts in the store.

    Returns:
        The run.

    Raises:
        CheckpointError: If the run is missing, unfinished or damaged, or holds a file that is not its own.
    """
    folder = RunFolder(path)
    summary = folder.summary()
    try:
        task = task_of(dict(summary))
        predictions = read_predictions(folder, task)
        config = _read_yaml(folder)
        metrics = read_metrics(folder, predictions, task)
        return RunResult(
            path=path,
            summary=summary,
            test={
                name: {**_NO_INTERVAL, **entry, "value": entry["value"]}
                for name, entry in metrics["test"].items()
            },
            valid={name: entry["value"] for name, entry in metrics["valid"].items()},
            monitor=metrics["selection"]["monitor"],
            config=config,
            level=float(config["evaluation"]["level"]),
            num_resamples=int(config["evaluation"]["num_resamples"]),
            task=task,
            ids=predictions.ids,
            groups=None if predictions.groups is None else predictions.groups.tolist(),
            labels=predictions.labels,
            outputs=predictions.outputs,
            spread=predictions.spread,
            histories={
                fold["name"]: _read_history(folder, index, trained=fold["best_epoch"] >= 0)
                for index, fold in enumerate(summary["folds"])
            },
            explanation=read_explanation(path) if folder.holds(folder.explanation_table) else None,
            texts=_texts(config, summary) if include_text else {},
            coupling=read_coupling(path / "explanation", folder),
            steps=read_run_steps(
                folder,
                summary["folds"][0]["name"] if summary["folds"] else "",
                _words(config, summary, predictions.ids) if include_text else {},
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"Run folder `{path}` lacks or contradicts something ({type(error).__name__}: {error}); "
            "it is damaged, repeat the run."
        ) from error


def _read_comparison_folder(path: Path, *, include_text: bool) -> ComparisonResult:
    content = read_comparison(path)
    try:
        reference = content["models"][content["reference"]]["runs"][0]
        return ComparisonResult(
            path=path,
            content=content,
            task=task_of(content),
            summaries={
                label: [RunFolder(path / run).summary() for run in entry["runs"]]
                for label, entry in content["models"].items()
            },
            reference=read_run(path / reference, include_text=include_text),
            missing=read_own_sweep(path, content),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"`{path / COMPARISON_FILE}` lacks something ({type(error).__name__}: {error}); "
            "it is damaged, repeat the comparison: finished runs are kept."
        ) from error


def _read_yaml(run: RunFolder) -> Mapping[str, Any]:
    path, text = run.config_file, run.content(run.config_file)
    try:
        content = yaml_of(text, path)
    except ConfigError as error:
        reason = str(error).rstrip(".")
        raise CheckpointError(
            f"`{path}` cannot be read ({reason}); the run folder is damaged, repeat the run."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"`{path}` holds no configuration; the run folder is damaged, repeat the run.")
    return content


def _read_history(run: RunFolder, index: int, *, trained: bool) -> list[dict[str, float]]:
    if not trained:
        return []
    path = run.fold(index) / "history.csv"
    text = run.content(path)
    try:
        return [
            {name: float(value) for name, value in row.items() if value not in (None, "")}
            for row in csv.DictReader(io.StringIO(text.decode("utf-8"), newline=""))
        ]
    except (ValueError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({error}); the run folder is damaged, repeat the run."
        ) from error


def _texts(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Mapping[str, str]:
    """Look up texts in the run's store; nothing where it has moved, holds other data or has no texts.

    Raises:
        DataError: If it was changed in place.
    """
    store = _own_store(config, summary)
    if store is None or "text" not in store.table.column_names:
        return {}
    pairs = zip(store.table.column("id").to_pylist(), store.table.column("text").to_pylist(), strict=True)
    return {identifier: text for identifier, text in pairs if text}


def _words(
    config: Mapping[str, Any], summary: Mapping[str, Any], ids: Sequence[str]
) -> dict[str, dict[str, list[str]]]:
    """Look up what the steps of some samples stand for, likewise."""
    store = _own_store(config, summary)
    if store is None:
        return {}
    named = [name for name in summary["data"]["modalities"] if name in store.modalities]
    named = [name for name in named if store.spans(name) is not None]
    if not named:
        return {}
    rows = {identifier: row for row, identifier in enumerate(store.table.column("id").to_pylist())}
    return {one: {name: store.words(rows[one], name) or [] for name in named} for one in ids if one in rows}


def _own_store(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Store | None:
    try:
        store = Store.open(config["data"]["store"])
    except QinnError:
        return None
    return open_unchanged(store.path) if store.sha256 == summary["data"]["sha256"] else None
