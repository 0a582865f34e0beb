"""Finished runs: everything from their files, each known to be the run's own."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int, Shaped

from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.errors import CheckpointError, ConfigError, QinnError
from qinn.evaluation.intervals import Interval
from qinn.evaluation.metric_names import metrics_of
from qinn.evaluation.metrics import confusion_matrix, metrics
from qinn.evaluation.outcomes import decided
from qinn.results.coupling import CouplingResult, read_coupling
from qinn.results.coverage import Coverage, coverage_of
from qinn.results.evaluation import labels_table
from qinn.results.explanation import ExplanationTable, read_explanation, read_summary
from qinn.results.folder import RunFolder
from qinn.results.frames import frame_of
from qinn.results.metric_columns import metric_columns, metric_names, shown_metrics
from qinn.results.number_text import FINE, counted, interval, number, percent
from qinn.results.predictions import read_metrics, read_predictions
from qinn.results.steps import FILE as STEPS_FILE
from qinn.results.steps import ShownSteps, steps_by_sample
from qinn.results.summary import RunSummary
from qinn.results.tables import Cell, Column, Table, columns
from qinn.task import Task
from qinn.yaml_files import yaml_of


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        test: Metric → its value and interval on the test samples.
        valid: Metric → its value on the validation samples.
        monitor: Name of the validation value that selected the epoch.
        ids: Test samples, pooled over folds.
        groups: Group of each test sample; None where there are none.
        labels: Scores, class indices, or several labels (-1 where one is not known).
        outputs: Predicted scores, or logits.
        trajectory_std: Standard deviation of the output over trajectories; None for deterministic models.
        histories: Fold → one row per epoch; empty for a fold that was not trained.
        explanation: Explained test samples; None where the model has no quantum state or none was wanted.
        texts: Sample → its text, where it was asked for.
        coupling: What `qinn explain --coupling` found on the run's own data; None without.
        steps: What its steps do, of the first fold of a model along the stream; None for other models.
        coverage: How its intervals or sets do on the test samples; None where it held nothing else out.
    """

    path: Path
    summary: RunSummary
    test: Mapping[str, Interval]
    valid: Mapping[str, float | None]
    monitor: str
    config: Mapping[str, object]
    level: float
    num_resamples: int
    task: Task
    ids: tuple[str, ...]
    groups: list[str] | None
    labels: Shaped[np.ndarray, "sample *label"]
    outputs: Float[np.ndarray, "sample output"]
    trajectory_std: Float[np.ndarray, "sample output"] | None
    histories: Mapping[str, list[dict[str, float]]]
    explanation: ExplanationTable | None
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    coupling: CouplingResult | None = None
    steps: ShownSteps | None = None
    coverage: Coverage | None = None

    @property
    def spread(self) -> Float[np.ndarray, "sample output"] | None:
        """The old name of `trajectory_std`."""
        warnings.warn("`spread` is called `trajectory_std` now: it is no error bar.", DeprecationWarning, 2)
        return self.trajectory_std

    @property
    def title(self) -> str:
        """Label and seed."""
        return self.summary.title

    @property
    def best_epochs(self) -> dict[str, int]:
        """Fold → the epoch whose weights the validation split selected; only folds that were trained."""
        return {fold.name: fold.best_epoch for fold in self.summary.folds if fold.best_epoch >= 0}

    @property
    def num_groups(self) -> int | None:
        """Number of groups of the test samples; None where there are none."""
        return len(set(self.groups)) if self.groups else None

    def confusion(self) -> Int[np.ndarray, "true predicted"]:
        """Return how many test samples of each class were taken for which."""
        return confusion_matrix(self.labels, self.outputs)

    def table(self) -> Table:
        """Return the metrics with intervals, on test and validation samples."""
        known = metrics_of(self.task)
        rows = tuple(
            (
                Cell(name),
                Cell("undefined" if found.value is None else number(found.value)),
                Cell(interval(found.low, found.high) or "–"),
                Cell(number(self.valid.get(name))),
                Cell(known[name].label if name in known else name),
            )
            for name in metric_names(self.task, self.test)
            for found in [self.test[name]]
        )
        level = percent(self.level)
        return Table(
            caption=f"Metrics of {self.title}: on the test samples, which neither training nor selection saw, with "
            f"{level} bootstrap intervals ({counted(self.num_resamples, 'resample')}, drawing "
            f"{'whole groups' if self.groups else 'samples'}), and on the validation samples, which selected the epoch "
            "and therefore flatter.",
            columns=columns(
                "metric", "test", f"{level} interval", "validation", Column("meaning", left=True)
            ),
            rows=rows,
            notes=tuple(f"{name}: {found.note}." for name, found in self.test.items() if found.note),
            title=f"{self.title}, {self.summary.num_parameters:,} parameters: test",
        )

    def labels_table(self) -> Table | None:
        """Return the test metrics of each of several labels, and how often each is present; None for other tasks."""
        level = percent(self.level)
        found = labels_table(
            self.test,
            self.title,
            f"Test metrics of {self.title} label by label, with {level} bootstrap intervals; a label counts as present "
            f"from a probability of {self.task.cut:g} on. Present and decided: share of the samples of which it is "
            "known that have the label, and of which the model says so.",
        )
        if found is None:
            return None
        known = np.maximum((self.labels >= 0).sum(axis=0), 1)
        present = (self.labels == 1).sum(axis=0) / known
        said = (decided(self.task, self.outputs) & (self.labels >= 0)).sum(axis=0) / known
        shares = [
            (Cell(f"{100 * has:.1f} %"), Cell(f"{100 * says:.1f} %"))
            for has, says in zip(present, said, strict=True)
        ]
        label, *others = found.columns
        return replace(
            found,
            columns=(label, *columns("present", "decided"), *others),
            rows=tuple((row[0], *two, *row[1:]) for two, row in zip(shares, found.rows, strict=True)),
        )

    def folds_table(self) -> Table | None:
        """Return the folds of a cross-validated run; None where there is one fold."""
        folds = self.summary.folds
        if len(folds) < 2:
            return None
        rows = tuple(
            (
                Cell(fold.name),
                *(Cell(f"{n:,}") for n in (fold.num_train, fold.num_valid, fold.num_test, fold.epochs)),
                Cell(str(fold.best_epoch) if fold.best_epoch >= 0 else "–"),
                Cell(number(fold.best_value, digits=FINE)),
            )
            for fold in folds
        )
        return Table(
            caption=f"Folds of {self.title}: samples, epochs trained, and the epoch (numbered from 0) that the fold's "
            "own validation samples selected.",
            columns=columns("fold", "train", "validation", "test", "epochs", "selected", self.monitor),
            rows=rows,
        )

    def removal_table(self) -> Table | None:
        """Return what each removal does to the score and to the metrics; None where nothing was removed."""
        if self.explanation is None:
            return None
        shifts = self.explanation.shifts()
        rows = {identifier: row for row, identifier in enumerate(self.ids)}
        known = [row for row, identifier in enumerate(self.explanation.ids) if identifier in rows]
        if not shifts or not known:
            return None
        labels = self.labels[[rows[self.explanation.ids[row]] for row in known]]
        names = shown_metrics(self.task)[:4]

        def scored(outputs: Float[np.ndarray, "sample output"]) -> list[Cell]:
            values = metrics(self.task, labels, outputs[known])
            return [Cell(number(values[name])) for name in names]

        body = [(Cell("nothing (intact model)"), Cell("–"), Cell("–"), *scored(self.explanation.output))]
        for name, outputs in self.explanation.counterfactuals.items():
            shift = shifts[name][known]
            body.append(
                (
                    Cell(name.removeprefix("no ").removeprefix("without ")),
                    Cell(number(float(shift.mean()), signed=True)),
                    Cell(number(float(np.abs(shift).mean()))),
                    *scored(outputs),
                )
            )
        return Table(
            caption=f"What the {counted(len(known), 'explained test sample')} become when a part of the trained model "
            "is removed, without training it again: mean and mean absolute change of the "
            f"{self.explanation.shifted_quantity}, and the test metrics then.",
            columns=columns("removed", "mean change", "mean |change|", *metric_columns(self.task, names)),
            rows=tuple(body),
        )

    def to_frame(self) -> Any:
        """Return a pandas data frame with a row for each metric: test value, interval and validation value.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        return frame_of(
            [
                {
                    "metric": name,
                    "test": found.value,
                    "low": found.low,
                    "high": found.high,
                    "valid": self.valid.get(name),
                }
                for name, found in self.test.items()
            ]
        )

    def _repr_html_(self) -> str:
        return self.table().to_html()


def read_run(path: Path, *, include_text: bool = False) -> RunResult:
    """Read a run folder.

    Args:
        path: The folder.
        include_text: Whether to look up the samples' texts in the store.

    Raises:
        CheckpointError: If the run is missing, unfinished or damaged, or holds a file that is not its own.
    """
    folder = RunFolder(path)
    summary = folder.summary()
    predictions = read_predictions(folder, summary.task)
    config = _read_yaml(folder)
    measured = read_metrics(folder, predictions, summary.task)
    try:
        evaluation = cast(Mapping[str, object], config["evaluation"])
        level, num_resamples = float(str(evaluation["level"])), int(str(evaluation["num_resamples"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"`{folder.config_file}` lacks or contradicts something ({type(error).__name__}: {error}); the run folder "
            "is damaged, repeat the run."
        ) from error
    store = _own_store(config, summary) if include_text else None
    return RunResult(
        path=path,
        summary=summary,
        test=measured.test,
        valid={name: found.value for name, found in measured.valid.items()},
        monitor=measured.selection.monitor,
        config=config,
        level=level,
        num_resamples=num_resamples,
        task=summary.task,
        ids=predictions.ids,
        groups=None if predictions.groups is None else predictions.groups.tolist(),
        labels=predictions.labels,
        outputs=predictions.outputs,
        trajectory_std=predictions.trajectory_std,
        histories={
            fold.name: _read_history(folder, index) if fold.best_epoch >= 0 else []
            for index, fold in enumerate(summary.folds)
        },
        explanation=read_explanation(path) if folder.holds(folder.explanation_table) else None,
        texts={} if store is None else _texts(store),
        coupling=read_coupling(path / "explanation", folder),
        coverage=coverage_of(folder, predictions, summary.task),
        steps=_read_steps(folder, summary, {} if store is None else _words(store, summary, predictions.ids)),
    )


def _read_steps(
    run: RunFolder, summary: RunSummary, words: Mapping[str, Mapping[str, list[str]]]
) -> ShownSteps | None:
    """The steps of the first fold, their rows where words are known; None of another model, and of older runs."""
    place = run.fold(0)
    if not run.holds(place / STEPS_FILE) or (found := read_summary(place, run).steps) is None:
        return None
    rows = steps_by_sample(run.table(place / STEPS_FILE), words) if words else {}
    return ShownSteps(found, rows, summary.folds[0].name)


def _read_yaml(run: RunFolder) -> Mapping[str, object]:
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


def _read_history(run: RunFolder, index: int) -> list[dict[str, float]]:
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


def _own_store(config: Mapping[str, object], summary: RunSummary) -> Store | None:
    """The run's store; None where it has moved or holds other data.

    Raises:
        DataError: If it was changed in place.
    """
    try:
        store = Store.open(str(cast(Mapping[str, object], config["data"])["store"]))
    except QinnError:
        return None
    return open_unchanged(store.path) if store.sha256 == summary.data.sha256 else None


def _texts(store: Store) -> dict[str, str]:
    """Sample → its text."""
    if "text" not in store.table.column_names:
        return {}
    pairs = zip(store.table.column("id").to_pylist(), store.table.column("text").to_pylist(), strict=True)
    return {identifier: text for identifier, text in pairs if text}


def _words(store: Store, summary: RunSummary, ids: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Sample → modality → what its steps stand for."""
    named = [name for name in summary.data.modalities if name in store.modalities]
    named = [name for name in named if store.spans(name) is not None]
    if not named:
        return {}
    rows = {identifier: row for row, identifier in enumerate(store.table.column("id").to_pylist())}
    return {one: {name: store.words(rows[one], name) or [] for name in named} for one in ids if one in rows}
